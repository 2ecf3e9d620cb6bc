//! The system calls used here, each through the failure-injection point, and what their codes mean.

use crate::error::{ErrorKind, Failure};
use crate::os::inject;
use crate::protection::Protection;
use crate::range::{PageRange, index};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use rustix::io::{self, Errno};
use rustix::process::{self, Resource};

pub(super) fn injected(call: &'static str) -> io::Result<()> {
    match inject::point(call) {
        Some(code) => Err(Errno::from_raw_os_error(code)),
        None => Ok(()),
    }
}

pub(super) fn open(path: &CStr) -> io::Result<OwnedFd> {
    injected("open")?;
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn open_at(folder: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    injected("openat")?;
    fs::openat(folder, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        injected("read")?;
        match io::read(fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        injected("pread")?;
        match io::pread(fd, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn status(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    injected("fstat")?;
    fs::fstat(fd)
}

pub(super) fn status_at(folder: BorrowedFd<'_>, path: &CStr) -> io::Result<Stat> {
    injected("fstatat")?;
    fs::statat(folder, path, AtFlags::NO_AUTOMOUNT)
}

/// The kind of file system that a file lies on, by its magic number.
pub(super) fn file_system(fd: BorrowedFd<'_>) -> io::Result<u64> {
    injected("fstatfs")?;
    let system = fs::fstatfs(fd)?;
    // As wide as a word, signed or not, by the processor.
    #[allow(
        clippy::as_conversions,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "a bit pattern of 32 bits"
    )]
    Ok(u64::from(system.f_type as u32))
}

/// `PR_SET_VMA_ANON_NAME`.
pub(super) fn name(range: PageRange, name: &CStr) -> io::Result<()> {
    /// `PR_SET_VMA` and `PR_SET_VMA_ANON_NAME` of `<linux/prctl.h>`.
    const SET_VMA: libc::c_int = 0x5356_4d41;
    const ANON_NAME: usize = 0;
    injected("prctl")?;
    let name = word(name.as_ptr().expose_provenance());
    let (first, len) = (word(range.first()), word(range.len()));
    // SAFETY: what the pages hold and grant stays the same; the name is read, and ends with a NUL (PR_SET_VMA(2const)).
    done(unsafe { libc::prctl(SET_VMA, word(ANON_NAME), first, len, name) })
}

/// `mbind` with `MPOL_PREFERRED`.
pub(super) fn prefer_node(range: PageRange, node: usize) -> io::Result<()> {
    const PREFERRED: usize = 1;
    /// As many nodes as any kernel has.
    const NODES: usize = 1024;
    const WORD: usize = index(usize::BITS);
    injected("mbind")?;
    admitted(c"mbind")?;
    // A bit for each, in words of C's `long`, which is as wide as `usize`.
    let mut nodes = [0_usize; NODES / WORD];
    let bits = nodes.get_mut(node / WORD).ok_or(Errno::INVAL)?;
    *bits = 1_usize.rotate_left(u32::try_from(node % WORD).unwrap_or(0));
    let (first, len) = (word(range.first()), word(range.len()));
    let (mode, flags) = (word(PREFERRED), word(0));
    // The kernel takes one off.
    let most = word(NODES.saturating_add(1));
    // SAFETY: what the pages hold and grant stays the same; as many bits as are said are read (mbind(2)).
    result(unsafe { libc::syscall(libc::SYS_mbind, first, len, mode, nodes.as_ptr(), most, flags) }).map(drop)
}

/// The same file under a number of at least `lowest`, `CLOEXEC`.
pub(super) fn duplicate(fd: BorrowedFd<'_>, lowest: i32) -> io::Result<OwnedFd> {
    injected("fcntl")?;
    io::fcntl_dupfd_cloexec(fd, lowest)
}

/// `MADV_GUARD_INSTALL` and its reverse: Linux 6.13.
pub(super) const GUARD_INSTALL: i32 = 102;
pub(super) const GUARD_REMOVE: i32 = 103;

/// `madvise` with an advice that rustix does not know.
///
/// # Safety
///
/// Nobody minds what the advice does to the pages.
pub(super) unsafe fn advise(range: PageRange, advice: i32) -> io::Result<()> {
    injected("madvise")?;
    let start = core::ptr::with_exposed_provenance_mut(range.first());
    // SAFETY: the caller's promise.
    done(unsafe { libc::madvise(start, range.len(), advice) })
}

/// Whether the kernel knows an advice: tried on no bytes at all.
pub(super) fn knows_advice(advice: i32) -> bool {
    let start = core::ptr::without_provenance_mut(crate::page::size());
    // SAFETY: a range of no bytes: nothing is advised about (madvise(2)).
    injected("madvise").is_ok() && unsafe { libc::madvise(start, 0, advice) } == 0
}

/// Fills in, for each page, whether it is in memory: in the lowest bit.
pub(super) fn in_core(range: PageRange, states: &mut [u8]) -> io::Result<()> {
    injected("mincore")?;
    if states.len() < range.len().checked_div(crate::page::size()).unwrap_or(usize::MAX) {
        return Err(Errno::INVAL);
    }
    let start = core::ptr::with_exposed_provenance_mut(range.first());
    // SAFETY: a byte is written for each page of the range, of which `states` has enough (mincore(2)).
    done(unsafe { libc::mincore(start, range.len(), states.as_mut_ptr()) })
}

/// What a call of libc's gave.
fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    #[cfg(target_os = "android")]
    // SAFETY: the address of this thread's own `errno`.
    let place = unsafe { libc::__errno() };
    #[cfg(not(target_os = "android"))]
    // SAFETY: the address of this thread's own `errno`.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: valid for as long as the thread lives.
    Errno::from_raw_os_error(unsafe { *place })
}

/// A word as the variadic `syscall` takes it.
#[expect(clippy::as_conversions, reason = "a bit pattern: c_ulong is as wide as usize on Linux")]
pub(super) fn word(value: usize) -> libc::c_ulong {
    value as libc::c_ulong
}

/// Whether a call may be tried that the system may not know. On Android an app's filter ends the process (`SIGSYS`) for every call
/// that is not in bionic's list of those it makes (`SYSCALLS.TXT`): asked for are a filter, and the function of that name.
#[cfg(target_os = "android")]
pub(super) fn admitted(function: &CStr) -> io::Result<()> {
    const FILTER: libc::c_int = 2;
    let unused: libc::c_ulong = 0;
    // SAFETY: asks for a number (PR_GET_SECCOMP(2const)).
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, unused, unused, unused, unused) };
    if mode != FILTER {
        return Ok(());
    }
    // SAFETY: the name ends with a NUL; nothing is called (dlsym(3)).
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, function.as_ptr()) };
    if address.is_null() { Err(Errno::NOSYS) } else { Ok(()) }
}

#[cfg(not(target_os = "android"))]
#[inline(always)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere a call that is not known is answered")]
pub(super) const fn admitted(_function: &CStr) -> io::Result<()> {
    Ok(())
}

/// `EHWPOISON`, which rustix and libc leave out for Android; the same wherever that runs.
pub(super) const HWPOISON: Errno =
    Errno::from_raw_os_error(if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        168
    } else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        135
    } else {
        133
    });

/// `mremap` without a place, which rustix and libc leave out for Android.
///
/// # Safety
///
/// The pages are the caller's; if they may move, nobody relies on where they are.
pub(super) unsafe fn remap(range: PageRange, len: usize, moving: bool) -> io::Result<*mut u8> {
    /// `MREMAP_MAYMOVE`.
    const MAY_MOVE: usize = 1;
    injected("mremap")?;
    let how = word(if moving { MAY_MOVE } else { 0 });
    let (first, old) = (word(range.first()), word(range.len()));
    // SAFETY: the caller's promise; nothing else is touched: without `MREMAP_FIXED` the kernel takes a free place (mremap(2)).
    let place = result(unsafe { libc::syscall(libc::SYS_mremap, first, old, word(len), how) })?;
    // A word, of as many bits as an address; from where it is, no pointer of Rust's comes.
    Ok(core::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(place.to_ne_bytes())))
}

/// `mremap` to a place, which is replaced. By numbers, as above.
///
/// # Safety
///
/// Both ranges are the caller's, do not overlap, and nobody relies on where the pages of the one are, nor uses those of the other.
pub(super) unsafe fn remap_to(range: PageRange, target: PageRange) -> io::Result<()> {
    /// `MREMAP_MAYMOVE | MREMAP_FIXED`.
    const THERE: usize = 3;
    injected("mremap")?;
    let (first, old, len) = (word(range.first()), word(range.len()), word(target.len()));
    let there = word(target.first());
    // SAFETY: the caller's promise; nothing but the two ranges is touched (mremap(2)).
    result(unsafe { libc::syscall(libc::SYS_mremap, first, old, len, word(THERE), there) }).map(drop)
}

/// A second mapping of the pages of a shared one, as long as these (mremap(2), of an old length of 0).
///
/// # Safety
///
/// The pages are the caller's, and of shared memory.
#[cfg(feature = "allow_exec")]
pub(super) unsafe fn map_again(range: PageRange) -> io::Result<*mut u8> {
    /// `MREMAP_MAYMOVE`.
    const MAY_MOVE: usize = 1;
    injected("mremap")?;
    let (first, len) = (word(range.first()), word(range.len()));
    // SAFETY: nothing is touched: the kernel takes a free place.
    let place = result(unsafe { libc::syscall(libc::SYS_mremap, first, word(0), len, word(MAY_MOVE)) })?;
    // As in `remap`.
    Ok(core::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(place.to_ne_bytes())))
}

/// A file in memory that can be mapped to be executed.
#[cfg(feature = "allow_exec")]
pub(super) fn executable_file(name: &CStr, len: usize) -> io::Result<OwnedFd> {
    use rustix::fs::MemfdFlags;
    let long = u64::try_from(len).map_err(|_| Errno::FBIG)?;
    // A file that would be longer than files may be ends the process (`SIGXFSZ`).
    if process::getrlimit(Resource::Fsize).current.is_some_and(|most| most < long) {
        return Err(Errno::FBIG);
    }
    let make = |flags| injected("memfd_create").and_then(|()| fs::memfd_create(name, flags));
    let made = make(MemfdFlags::CLOEXEC | MemfdFlags::EXEC);
    // Before 6.3 all of them could be executed.
    let file = if made.as_ref().err() == Some(&Errno::INVAL) { make(MemfdFlags::CLOEXEC) } else { made }?;
    injected("ftruncate")?;
    fs::ftruncate(&file, long)?;
    Ok(file)
}

/// `mseal`, Linux 6.10; the number is the same on every processor that folio's users have.
///
/// # Safety
///
/// Nobody will want to change or unmap the pages.
pub(super) unsafe fn seal(range: PageRange) -> io::Result<()> {
    injected("mseal")?;
    admitted(c"mseal")?;
    // SAFETY: the caller's promise; addresses and flags are words.
    result(unsafe { libc::syscall(SYS_MSEAL, word(range.first()), word(range.len()), word(0)) }).map(drop)
}

/// Whether the kernel can seal: tried on no bytes at all.
pub(super) fn can_seal() -> bool {
    // SAFETY: seals nothing.
    injected("mseal").is_ok()
        && admitted(c"mseal").is_ok()
        && unsafe { libc::syscall(SYS_MSEAL, word(0), word(0), word(0)) } == 0
}

const SYS_MSEAL: libc::c_long = 462;

pub(super) fn result(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

/// The numbers of `pkey_mprotect`, `pkey_alloc` and `pkey_free`, which libc does not have for all processors; `None` where there
/// are no such keys.
const KEY_CALLS: Option<[libc::c_long; 3]> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))
{
    Some([329, 330, 331])
} else if cfg!(target_arch = "x86") {
    Some([380, 381, 382])
} else if cfg!(target_arch = "aarch64") {
    Some([288, 289, 290])
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    Some([386, 384, 385])
} else {
    None
};

/// A protection key, closed for this thread.
pub(super) fn key_alloc() -> io::Result<u32> {
    /// `PKEY_DISABLE_ACCESS`.
    const CLOSED: usize = 1;
    injected("pkey_alloc")?;
    admitted(c"pkey_alloc")?;
    let Some([_, alloc, _]) = KEY_CALLS else { return Err(Errno::NOSYS) };
    // SAFETY: takes numbers only; the key is new, so that no page carries it (pkey_alloc(2)).
    let key = result(unsafe { libc::syscall(alloc, word(0), word(CLOSED)) })?;
    u32::try_from(key).map_err(|_| Errno::INVAL)
}

pub(super) fn key_free(key: u32) -> io::Result<()> {
    injected("pkey_free")?;
    let Some([_, _, free]) = KEY_CALLS else { return Err(Errno::NOSYS) };
    let key = word(crate::range::index(key));
    // SAFETY: takes a number only; pages that still carry the key keep it (pkey_free(2)).
    result(unsafe { libc::syscall(free, key) }).map(drop)
}

/// # Safety
///
/// As `mprotect`.
pub(super) unsafe fn key_protect(range: PageRange, protection: Protection, key: u32) -> io::Result<()> {
    injected("pkey_mprotect")?;
    let Some([protect, _, _]) = KEY_CALLS else { return Err(Errno::NOSYS) };
    let (start, len) = (word(range.first()), word(range.len()));
    let (protection, key) = (word(protection.bits()), word(crate::range::index(key)));
    // SAFETY: the caller's promise. (`Protection` has the bits of `PROT_READ` and its like.)
    result(unsafe { libc::syscall(protect, start, len, protection, key) }).map(drop)
}

/// Whether the processor knows marked branch targets (arm64: `HWCAP2_BTI`), which `mprotect` takes from pages unless told not to.
#[cfg(target_arch = "aarch64")]
pub(super) fn has_branch_targets() -> bool {
    const HWCAP2_BTI: libc::c_ulong = 1 << 17;
    // SAFETY: reads a number that the kernel gave when the program began.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_BTI != 0 }
}

#[cfg(not(target_arch = "aarch64"))]
pub(super) const fn has_branch_targets() -> bool {
    false
}

/// Whether a child process lives through what it does; `None` if there can be no child.
///
/// # Safety of `body`
///
/// It runs in a copy of this thread without any other: it must do nothing but make system calls.
#[cfg(feature = "allow_exec")]
pub(super) fn survives(body: impl FnOnce()) -> Option<bool> {
    injected("clone").ok()?;
    let none = word(0);
    // No flags, no signal when it ends: nobody but us learns of it, neither by SIGCHLD nor by `wait`. All words are 0, so that their order,
    // which is different from processor to processor, does not matter.
    // SAFETY: a copy of this process, with a copy of this stack (clone(2)). In it, only what is below is run.
    let child = unsafe { libc::syscall(libc::SYS_clone, none, none, none, none, none) };
    if child == 0 {
        // No handler of the program's is to run here, and no core to be written.
        // SAFETY: of the child alone (signal(2)).
        unsafe { libc::signal(libc::SIGSYS, libc::SIG_DFL) };
        // SAFETY: likewise (PR_SET_DUMPABLE(2const)).
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, none, none, none, none) };
        body();
        // SAFETY: ends the child, without running anything else of the program.
        unsafe { libc::_exit(0) };
    }
    let child = libc::pid_t::try_from(child).ok().filter(|&child| child > 0)?;
    let mut status = 0;
    loop {
        // SAFETY: writes one number (waitpid(2)).
        let done = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
        if done == child {
            return Some(libc::WIFEXITED(status));
        }
        if last_errno() != Errno::INTR {
            return None;
        }
    }
}

/// Makes a page executable, in one of two ways, and looks at no error. Nothing but system calls: see [`survives`].
#[cfg(feature = "allow_exec")]
pub(super) fn make_code(twice: bool) {
    let len = 1 << 16;
    let anywhere = core::ptr::null_mut();
    let (write, execute) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    if twice {
        // SAFETY: makes a descriptor, of the child alone; the name ends with a NUL.
        let file = unsafe { libc::syscall(libc::SYS_memfd_create, c"folio: probe".as_ptr(), word(1)) };
        let Ok(file) = libc::c_int::try_from(file) else { return };
        // SAFETY: of that descriptor, or of none.
        let _sized = unsafe { libc::ftruncate(file, len) };
        // SAFETY: new pages where nothing is.
        unsafe { libc::mmap(anywhere, 1 << 16, execute, libc::MAP_SHARED, file, 0) };
        // SAFETY: as above.
        unsafe { libc::mmap(anywhere, 1 << 16, write, libc::MAP_SHARED, file, 0) };
    } else {
        // SAFETY: as above.
        let pages =
            unsafe { libc::mmap(anywhere, 1 << 16, write, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        // SAFETY: the pages just mapped, or none.
        let _changed = unsafe { libc::mprotect(pages, 1 << 16, execute) };
    }
}

/// How many descriptors the process may have.
pub(super) fn descriptor_limit() -> u64 {
    process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Reads the start of a small file of `/proc` or `/sys`. What is longer than the buffer is left out.
pub(super) fn read_small<'b>(path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = open(path).ok()?;
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = buffer.get_mut(filled..) {
        match read(file.as_fd(), rest).ok()? {
            0 => break,
            more => filled = filled.saturating_add(more),
        }
    }
    buffer.get(..filled)
}

/// What a code of the system means when a process's files in `/proc` are opened or read.
pub(super) fn failure(errno: Errno) -> Failure {
    let (kind, remedy) = match errno {
        Errno::ACCESS | Errno::PERM => (
            ErrorKind::NotPermitted,
            "run as the same user as the process, as root, or with CAP_SYS_PTRACE (a process with gained rights or \
             marked undumpable admits only the latter two)",
        ),
        Errno::SRCH => return Failure::system(ErrorKind::ProcessEnded, errno.raw_os_error()),
        Errno::MFILE => {
            (ErrorKind::Exhausted, "close descriptors, or raise the limit of open files (ulimit -n)")
        }
        Errno::NFILE => (ErrorKind::Exhausted, "raise the system's limit of open files (fs.file-max)"),
        Errno::NOMEM => return Failure::system(ErrorKind::Exhausted, errno.raw_os_error()),
        Errno::NOENT | Errno::NOTDIR => {
            (ErrorKind::Unsupported, "mount /proc: folio reads a process's mappings there")
        }
        Errno::NOSYS => return Failure::system(ErrorKind::Unsupported, errno.raw_os_error()),
        _ => return Failure::system(ErrorKind::System, errno.raw_os_error()),
    };
    Failure::system(kind, errno.raw_os_error()).remedy(remedy)
}
