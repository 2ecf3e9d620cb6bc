//! The calls, each through the failure-injection point, and the flags in which the systems differ.

use super::errno::Errno;
use crate::os::File;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ffi::{c_int, c_void};
use core::ptr;

pub(crate) fn pointer(range: PageRange) -> *mut c_void {
    ptr::with_exposed_provenance_mut(range.first())
}

/// The three rights; whatever else there was in `protection` was refused by a higher floor.
pub(crate) fn native(protection: Protection) -> c_int {
    [
        (Protection::READ, libc::PROT_READ),
        (Protection::WRITE, libc::PROT_WRITE),
        (Protection::EXECUTE, libc::PROT_EXEC),
    ]
    .into_iter()
    .filter(|&(right, _)| protection.contains(right))
    .fold(libc::PROT_NONE, |all, (_, bit)| all | bit)
}

/// The rights that new memory may be given later, where that is said when it is mapped: NetBSD, where PaX takes those granted
/// at first for all otherwise. `PROT_MPROTECT` of `<sys/mman.h>`.
pub(super) const LATER: c_int =
    if cfg!(target_os = "netbsd") { (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) << 3 } else { 0 };

/// That of them which a file may lack.
const LATER_WRITE: c_int = libc::PROT_WRITE << 3;

/// Whether new memory is to be `MAP_JIT`: without it, Apple's processors never grant writing and executing at once.
pub(crate) fn is_jit(protection: Protection) -> bool {
    cfg!(all(target_vendor = "apple", target_arch = "aarch64"))
        && protection.contains(Protection::WRITE_EXECUTE)
}

/// Memory without access is address space only. illumos counts anonymous memory as promised from when it is mapped, also without a
/// right to write, unless it is told not to (`segvn_create`); then it counts each page when it is first touched.
pub(super) fn uncounted(protection: Protection) -> c_int {
    if protection.is_empty() { NOT_RESERVED } else { 0 }
}

#[cfg(target_os = "illumos")]
const NOT_RESERVED: c_int = libc::MAP_NORESERVE;
#[cfg(not(target_os = "illumos"))]
const NOT_RESERVED: c_int = 0;

/// What marks memory for code that is written while the program runs.
#[cfg(target_vendor = "apple")]
pub(super) const JIT: c_int = libc::MAP_JIT;
#[cfg(not(target_vendor = "apple"))]
pub(super) const JIT: c_int = 0;

/// The place is a wish.
#[cfg(target_os = "netbsd")]
pub(super) const WISH: c_int = libc::MAP_TRYFIXED;
#[cfg(not(target_os = "netbsd"))]
pub(super) const WISH: c_int = 0;

/// Exactly there, and only if nothing is.
#[cfg(target_os = "freebsd")]
pub(super) const IF_FREE: Option<c_int> = Some(libc::MAP_FIXED | libc::MAP_EXCL);
/// `__MAP_NOREPLACE` of `<sys/mman.h>`, since 2014; `sys_mmap` refuses flags that it does not know.
#[cfg(target_os = "openbsd")]
pub(super) const IF_FREE: Option<c_int> = Some(libc::MAP_FIXED | 0x0800);
/// For tests.
#[cfg(target_os = "linux")]
pub(super) const IF_FREE: Option<c_int> = Some(libc::MAP_FIXED_NOREPLACE);
/// For tests: the same, which libc does not declare.
#[cfg(target_os = "android")]
pub(super) const IF_FREE: Option<c_int> = Some(0x10_0000);
#[cfg(any(target_vendor = "apple", target_os = "netbsd", target_os = "illumos"))]
pub(super) const IF_FREE: Option<c_int> = None;

/// New private memory, zeroed. `how`: what is meant by the place, in flags.
///
/// # Safety
///
/// With `MAP_FIXED` alone, nobody uses what is there.
pub(super) unsafe fn mmap(
    place: usize,
    len: PageLen,
    protection: Protection,
    how: c_int,
) -> Result<*mut c_void, Errno> {
    // SAFETY: the caller's promise.
    unsafe { mmap_of(place, len, protection, how, NO_FILE) }
}

/// What stands in the place of a descriptor where there is none.
pub(super) const NO_FILE: c_int = -1;

/// As [`mmap`]; `kind` stands in the place of a descriptor, and is none.
///
/// # Safety
///
/// As [`mmap`].
pub(super) unsafe fn mmap_of(
    place: usize,
    len: PageLen,
    protection: Protection,
    how: c_int,
    kind: c_int,
) -> Result<*mut c_void, Errno> {
    Errno::injected("mmap")?;
    let rights = native(protection) | LATER;
    let flags = libc::MAP_PRIVATE
        | libc::MAP_ANON
        | how
        | uncounted(protection)
        | if is_jit(protection) { JIT } else { 0 };
    // SAFETY: takes no descriptor, and touches nobody's memory but with `MAP_FIXED`, which is the caller's promise (mmap(2)).
    let mapped =
        unsafe { libc::mmap(ptr::without_provenance_mut(place), len.bytes(), rights, flags, kind, 0) };
    if mapped == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(mapped) }
}

/// Pages of a file. `how`: what is meant by the place, and whether the pages are shared, in flags.
///
/// # Safety
///
/// With `MAP_FIXED` alone, nobody uses what is there.
pub(super) unsafe fn mmap_file(
    place: usize,
    len: PageLen,
    protection: Protection,
    how: c_int,
    file: File<'_>,
    offset: u64,
) -> Result<*mut c_void, Errno> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno(libc::EOVERFLOW))?;
    let (place, len) = (ptr::without_provenance_mut(place), len.bytes());
    let map = |later| {
        Errno::injected("mmap")?;
        let rights = native(protection) | later;
        // SAFETY: the descriptor is open for as long as the value lives; touches nobody's memory but with `MAP_FIXED`, which is the
        // caller's promise (mmap(2)).
        let mapped = unsafe { libc::mmap(place, len, rights, how, file.number(), offset) };
        if mapped == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(mapped) }
    };
    match map(LATER) {
        // Leave to write later is refused where the file was opened for reading alone, before anything is replaced (`sys_mmap` in
        // NetBSD's `sys/uvm/uvm_mmap.c`: what is neither among the rights nor to be had is `EACCES`).
        Err(Errno(libc::EACCES)) if LATER != 0 && !protection.contains(Protection::WRITE) => {
            map(LATER & !LATER_WRITE)
        }
        mapped => mapped,
    }
}

/// The length, as the calls take it. A range up to the last address of all is nobody's, and its end would come out as 0.
pub(super) fn len(range: PageRange) -> Result<usize, Errno> {
    if range.last() == usize::MAX { Err(Errno(libc::ENOMEM)) } else { Ok(range.len()) }
}

pub(super) fn done(answer: c_int) -> Result<(), Errno> {
    if answer == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// # Safety
///
/// The pages are the caller's, and nobody uses them any more.
pub(crate) unsafe fn munmap(range: PageRange) -> Result<(), Errno> {
    Errno::injected("munmap")?;
    let len = len(range)?;
    // SAFETY: the caller's promise (munmap(2)).
    done(unsafe { libc::munmap(pointer(range), len) })
}

/// # Safety
///
/// As [`protect`](super::protect).
pub(super) unsafe fn mprotect(range: PageRange, protection: Protection) -> Result<(), Errno> {
    Errno::injected("mprotect")?;
    let len = len(range)?;
    // SAFETY: the caller's promise (mprotect(2)).
    done(unsafe { libc::mprotect(pointer(range), len, native(protection)) })
}

pub(super) fn mlock(range: PageRange) -> Result<(), Errno> {
    Errno::injected("mlock")?;
    let len = len(range)?;
    // SAFETY: reads pages in and marks them; what they hold and grant stays the same (mlock(2)).
    done(unsafe { libc::mlock(pointer(range), len) })
}

pub(crate) fn munlock(range: PageRange) -> Result<(), Errno> {
    Errno::injected("munlock")?;
    let len = len(range)?;
    // SAFETY: changes neither what pages hold nor what they grant (munlock(2)).
    done(unsafe { libc::munlock(pointer(range), len) })
}

/// Whether all of the range is mapped: the call of which every one of these systems says that it fails over a hole, and which
/// changes nothing, since what a file lacks is written to it sooner or later anyway. OpenBSD admits it to programs under
/// pledge(2), unlike the list of mappings. FreeBSD (`vm_map_sync`), NetBSD and OpenBSD (`uvm_map_clean`) look for holes before
/// anything else; XNU (`VM_SYNC_CONTIGUOUS`) and illumos (`as_ctl`) on the way. Nothing is done for anonymous memory.
pub(crate) fn is_whole(range: PageRange) -> bool {
    match msync(range, libc::MS_ASYNC) {
        Ok(()) => true,
        // Any other failure is one of a file's, and is not what is asked here.
        Err(Errno(code)) => !matches!(code, libc::ENOMEM | libc::EFAULT | libc::EINVAL),
    }
}

pub(super) fn msync(range: PageRange, how: c_int) -> Result<(), Errno> {
    Errno::injected("msync")?;
    let len = len(range)?;
    // SAFETY: changes neither what pages hold nor what they grant (msync(2)).
    done(unsafe { libc::msync(pointer(range), len, how) })
}

/// `MADV_WILLNEED`.
pub(super) fn will_need(range: PageRange) -> Result<(), Errno> {
    Errno::injected("madvise")?;
    let len = len(range)?;
    // SAFETY: changes neither what pages hold nor what they grant (madvise(2)).
    done(unsafe { libc::madvise(pointer(range).cast(), len, libc::MADV_WILLNEED) })
}
