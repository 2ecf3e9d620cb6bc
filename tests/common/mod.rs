//! What several tests need: pages in a chosen state, child processes, and a word for skipping.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use folio::Protection;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// How often long tests repeat themselves: `FOLIO_TEST_ROUNDS`, in percent of the ordinary number.
pub fn rounds(ordinary: u32) -> u32 {
    let percent =
        std::env::var("FOLIO_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_u32);
    (ordinary.saturating_mul(percent) / 100).max(1)
}

/// Says that a test was skipped and why; CI collects what is written to `FOLIO_SKIPPED`.
pub fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("FOLIO_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Ok(mut file) = file {
            let _written = file.write_all(format!("{test}: {why}\n").as_bytes());
        }
    }
}

/// The protections that ordinary memory can have here.
pub fn protections() -> Vec<Protection> {
    let all = (0..8).map(Protection::from_bits_truncate);
    if cfg!(windows) {
        // There is no native constant for writing without reading.
        all.filter(|p| !p.contains(Protection::WRITE) || p.contains(Protection::READ)).collect()
    } else {
        all.collect()
    }
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
        self.pages * folio::page::size()
    }

    /// The address of a page's first byte.
    pub fn page(&self, index: usize) -> usize {
        assert!(index <= self.pages);
        self.base + index * folio::page::size()
    }

    pub fn pointer(&self) -> *const u8 {
        std::ptr::without_provenance(self.base)
    }
}

#[cfg(unix)]
impl Area {
    /// Readable and writable pages, surrounded by a page without access on either side, so that neighbours never merge.
    pub fn new(pages: usize) -> Self {
        let size = folio::page::size();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                (pages + 2) * size,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
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
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
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
        let size = folio::page::size();
        let start = std::ptr::without_provenance_mut(self.base - size);
        // SAFETY: the mapping made by `new`, in whatever state, and its surroundings.
        unsafe { libc::munmap(start, (self.pages + 2) * size) };
    }
}

#[cfg(windows)]
impl Area {
    /// Readable and writable pages of one allocation.
    pub fn new(pages: usize) -> Self {
        use windows_sys::Win32::System::Memory::*;
        // SAFETY: a new allocation at a place of the system's choice.
        let start = unsafe {
            VirtualAlloc(
                std::ptr::null(),
                pages * folio::page::size(),
                MEM_RESERVE | MEM_COMMIT,
                PAGE_READWRITE,
            )
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

/// A child process: this very test binary, running one of its tests alone, with `FOLIO_CHILD` set.
///
/// The child speaks by lines that begin with `>`, and ends when its standard input is closed.
pub struct Helper {
    pub child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    pub fn start(test: &str, argument: impl Into<OsString>) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("FOLIO_CHILD", argument.into())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the child says. The test runner's own words, before it on the same line too, are passed over.
    pub fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the child ended without a word");
            if let Some((_, said)) = line.split_once("> ") {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Lets the child end, and waits for it.
    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// What a helper is to do; `None` in an ordinary run of the test.
pub fn role() -> Option<OsString> {
    std::env::var_os("FOLIO_CHILD")
}

/// A helper's word to its parent.
pub fn say(word: impl std::fmt::Display) {
    println!("> {word}");
    std::io::stdout().flush().unwrap();
}

/// Waits until the parent closes the pipe.
pub fn wait_for_parent() {
    let _read = std::io::stdin().read_line(&mut String::new());
}
