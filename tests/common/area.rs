//! Pages in a chosen state, and a word for skipping: for the tests in this folder, and for those inside the library.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use super::{Protection, page};
use std::io::Write;

/// Says that a test was skipped and why; CI collects what is written to `FOLIO_SKIPPED`.
pub fn skipped(test: &str, why: &str) {
    std::eprintln!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("FOLIO_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Ok(mut file) = file {
            let _written = file.write_all(std::format!("{test}: {why}\n").as_bytes());
        }
    }
}

/// How often long tests repeat themselves: `FOLIO_TEST_ROUNDS`, in percent of the ordinary number.
pub fn rounds(ordinary: u32) -> u32 {
    let percent =
        std::env::var("FOLIO_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_u32);
    (ordinary.saturating_mul(percent) / 100).max(1)
}

/// Pages of our own in a row, each of which can be protected, taken away and brought back.
pub struct Area {
    base: usize,
    pages: usize,
}

impl Area {
    pub fn base(&self) -> usize {
        self.base
    }

    pub fn len(&self) -> usize {
        self.pages * page::size()
    }

    /// The address of a page's first byte.
    pub fn page(&self, index: usize) -> usize {
        assert!(index <= self.pages);
        self.base + index * page::size()
    }

    pub fn pointer(&self) -> *const u8 {
        std::ptr::without_provenance(self.base)
    }
}

/// Large areas shall not count against what the system promises: where it counts, there is a flag.
#[cfg(all(unix, not(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))))]
const NO_RESERVE: libc::c_int = libc::MAP_NORESERVE;
#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
const NO_RESERVE: libc::c_int = 0;

#[cfg(unix)]
impl Area {
    /// Readable and writable pages, surrounded by a page without access on either side, so that neighbours never merge.
    pub fn new(pages: usize) -> Self {
        Self::at(0, pages)
    }

    /// The same, at a place where nothing else is mapped of itself: what is unmapped there stays unmapped. (Kernels look for
    /// room from the top; the middle stays free.)
    pub fn apart(pages: usize) -> Self {
        Self::at(if usize::BITS == 64 { 1_usize.wrapping_shl(36) } else { 1 << 31 }, pages)
    }

    fn at(hint: usize, pages: usize) -> Self {
        let size = page::size();
        // SAFETY: a new mapping at a place of the kernel's choice: what is asked for is not insisted on.
        let start = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(hint),
                (pages + 2) * size,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | NO_RESERVE,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        let area = Self { base: start.addr() + size, pages };
        area.protect(0, pages, Protection::READ_WRITE);
        area
    }

    fn native(protection: Protection) -> libc::c_int {
        let mut native = libc::PROT_NONE;
        for (right, bit) in [
            (Protection::READ, libc::PROT_READ),
            (Protection::WRITE, libc::PROT_WRITE),
            (Protection::EXECUTE, libc::PROT_EXEC),
        ] {
            if protection.contains(right) {
                native |= bit;
            }
        }
        native
    }

    pub fn protect(&self, first: usize, pages: usize, protection: Protection) {
        let (at, len) = (self.page(first), self.page(first + pages) - self.page(first));
        // SAFETY: pages of this area, to which nobody has references.
        let done =
            unsafe { libc::mprotect(std::ptr::without_provenance_mut(at), len, Self::native(protection)) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    pub fn unmap(&self, first: usize, pages: usize) {
        let (at, len) = (self.page(first), self.page(first + pages) - self.page(first));
        // SAFETY: as in `protect`. The hole is filled again by `map` or left to the process's end; between them another
        // thread's mapping may come into it, which is why areas with holes are made in processes of their own.
        let done = unsafe { libc::munmap(std::ptr::without_provenance_mut(at), len) };
        assert_eq!(done, 0);
    }

    pub fn map(&self, first: usize, pages: usize, protection: Protection) {
        let (at, len) = (self.page(first), self.page(first + pages) - self.page(first));
        // SAFETY: as in `unmap`: the place belongs to this area.
        let done = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(at),
                len,
                Self::native(protection),
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | NO_RESERVE,
                -1,
                0,
            )
        };
        assert_eq!(done.addr(), at);
    }
}

#[cfg(unix)]
impl Drop for Area {
    fn drop(&mut self) {
        let size = page::size();
        let start = std::ptr::without_provenance_mut(self.base - size);
        // SAFETY: the mapping made by `new`, in whatever state, and its surroundings.
        unsafe { libc::munmap(start, (self.pages + 2) * size) };
    }
}

#[cfg(windows)]
impl Area {
    /// An allocation is a place of its own here: what is decommitted stays its own.
    pub fn apart(pages: usize) -> Self {
        Self::new(pages)
    }

    /// Readable and writable pages of one allocation.
    pub fn new(pages: usize) -> Self {
        use windows_sys::Win32::System::Memory::*;
        // SAFETY: a new allocation at a place of the system's choice.
        let start = unsafe {
            VirtualAlloc(std::ptr::null(), pages * page::size(), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)
        };
        assert!(!start.is_null(), "{}", std::io::Error::last_os_error());
        Self { base: start.addr(), pages }
    }

    fn native(protection: Protection) -> u32 {
        use windows_sys::Win32::System::Memory::*;
        match (protection.bits(), protection) {
            (_, Protection::NONE) => PAGE_NOACCESS,
            (_, Protection::READ) => PAGE_READONLY,
            (_, Protection::READ_WRITE) => PAGE_READWRITE,
            (_, Protection::EXECUTE) => PAGE_EXECUTE,
            (_, Protection::READ_EXECUTE) => PAGE_EXECUTE_READ,
            _ => PAGE_EXECUTE_READWRITE,
        }
    }

    pub fn protect(&self, first: usize, pages: usize, protection: Protection) {
        self.protect_native(first, pages, Self::native(protection));
    }

    pub fn protect_native(&self, first: usize, pages: usize, native: u32) {
        let (at, len) = (self.page(first), self.page(first + pages) - self.page(first));
        let mut old = 0;
        // SAFETY: pages of this area, to which nobody has references.
        let done = unsafe {
            windows_sys::Win32::System::Memory::VirtualProtect(
                std::ptr::without_provenance(at),
                len,
                native,
                &mut old,
            )
        };
        assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    }

    pub fn unmap(&self, first: usize, pages: usize) {
        use windows_sys::Win32::System::Memory::*;
        let (at, len) = (self.page(first), self.page(first + pages) - self.page(first));
        // SAFETY: as in `protect`.
        let done = unsafe { VirtualFree(std::ptr::without_provenance_mut(at), len, MEM_DECOMMIT) };
        assert_ne!(done, 0);
    }

    pub fn map(&self, first: usize, pages: usize, protection: Protection) {
        use windows_sys::Win32::System::Memory::*;
        let (at, len) = (self.page(first), self.page(first + pages) - self.page(first));
        // SAFETY: as in `protect`.
        let done = unsafe {
            VirtualAlloc(std::ptr::without_provenance(at), len, MEM_COMMIT, Self::native(protection))
        };
        assert!(!done.is_null());
        self.protect(first, pages, protection);
    }
}

#[cfg(windows)]
impl Drop for Area {
    fn drop(&mut self) {
        use windows_sys::Win32::System::Memory::*;
        // SAFETY: the allocation made by `new`.
        unsafe { VirtualFree(std::ptr::without_provenance_mut(self.base), 0, MEM_RELEASE) };
    }
}
