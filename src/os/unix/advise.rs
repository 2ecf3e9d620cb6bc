//! What the systems are told about pages, and asked.
//!
//! A name does not mean the same everywhere: `MADV_DONTNEED` takes pages for the next ones to be paged out on Apple's systems
//! (`VM_SYNC_DEACTIVATE`), FreeBSD (`vm_page_advise`), NetBSD and OpenBSD (`PGO_DEACTIVATE`), and drops them on Linux; `MADV_FREE` drops them
//! some time or other, and skips those that are shared or busy. Only fresh pages in the place of the old ones are zeroes for sure.

use super::errno::Errno;
use super::{sys, why};
use crate::advice::Advice;
use crate::error::{ErrorKind, Failure};
use crate::os::NotDiscarded;
use crate::protection::Protection;
use crate::range::PageRange;
use core::ffi::c_int;

/// `MADV_DONTNEED` where it loses nothing.
#[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
const COLD: Option<c_int> = Some(libc::MADV_DONTNEED);
/// illumos: not known to lose nothing. (On Linux, for tests: it loses all.)
#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd"
)))]
const COLD: Option<c_int> = None;

fn native(advice: Advice) -> Option<c_int> {
    match advice {
        Advice::Normal => Some(libc::MADV_NORMAL),
        Advice::WillNeed => Some(libc::MADV_WILLNEED),
        Advice::Sequential => Some(libc::MADV_SEQUENTIAL),
        Advice::Random => Some(libc::MADV_RANDOM),
        Advice::Cold => COLD,
        Advice::HugePages
        | Advice::NoHugePages
        | Advice::PageOut
        | Advice::Collapse
        | Advice::Mergeable
        | Advice::Unmergeable => None,
    }
}

/// A hint: nothing is lost. What the system does not know has no effect.
pub(crate) fn advise(range: PageRange, advice: Advice) -> Result<(), Failure> {
    if advice == Advice::Collapse {
        return Err(Failure::new(ErrorKind::Unsupported).remedy("collapsing takes Linux 6.1"));
    }
    let Some(native) = native(advice) else { return Ok(()) };
    // SAFETY: none of these changes what the pages hold or grant, on the systems where it stands above (madvise(2)).
    unsafe { madvise(range, native) }.map_err(|errno| refused(range, errno))
}

/// # Safety
///
/// Nobody minds what the advice does to the pages.
unsafe fn madvise(range: PageRange, advice: c_int) -> Result<(), Errno> {
    Errno::injected("madvise")?;
    let len = sys::len(range)?;
    // SAFETY: the caller's promise.
    sys::done(unsafe { libc::madvise(sys::pointer(range), len, advice) })
}

#[cold]
fn refused(range: PageRange, errno: Errno) -> Failure {
    match errno {
        Errno(libc::ENOMEM | libc::EINVAL | libc::EFAULT) if !sys::is_whole(range) => {
            errno.system(ErrorKind::Unmapped)
        }
        Errno(libc::ENOMEM | libc::EAGAIN) => errno.system(ErrorKind::Exhausted),
        Errno(libc::EPERM) if why::CAN_SEAL => super::sealed(errno),
        Errno(libc::EPERM | libc::EACCES | libc::EINVAL | libc::ENOTSUP) => {
            errno.system(ErrorKind::NotPermitted).detail("the system does not do this for pages of this kind")
        }
        errno => errno.system(ErrorKind::System),
    }
}

/// Whether core dumps leave the pages out.
#[cfg(target_os = "freebsd")]
pub(crate) fn keep_out_of_core_dumps(range: PageRange, out: bool) -> Result<(), Failure> {
    let advice = if out { libc::MADV_NOCORE } else { libc::MADV_CORE };
    // SAFETY: changes neither what the pages hold nor what they grant (madvise(2)).
    unsafe { madvise(range, advice) }.map_err(|errno| refused(range, errno))
}

/// Whether it is said when memory is mapped that core dumps leave it out, and never changed: `MAP_CONCEAL` of OpenBSD (mmap(2)).
pub(crate) const fn dumps_chosen_when_mapped() -> bool {
    cfg!(target_os = "openbsd")
}

/// Whether core dumps leave the pages out: not to be had for what is mapped already.
#[cfg(not(target_os = "freebsd"))]
pub(crate) fn keep_out_of_core_dumps(_range: PageRange, out: bool) -> Result<(), Failure> {
    if !out {
        // They never are, but for what OpenBSD was told when it was mapped, of which the floor above knows.
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Unsupported)
        .detail("this system keeps no pages out of core dumps that are mapped already")
        .remedy("that takes Linux 3.4 or FreeBSD, and OpenBSD when they are mapped (MmapOptions::no_core_dump); or let the process dump no core at all (setrlimit, RLIMIT_CORE)"))
}

/// Whether the child of a `fork` has zeroes there: `INHERIT_ZERO` of FreeBSD (12), which NetBSD (7) and OpenBSD (5.6) call
/// `MAP_INHERIT_ZERO` (minherit(2)).
#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn wipe_on_fork(range: PageRange, wipe: bool) -> Result<(), Failure> {
    #[cfg(target_os = "freebsd")]
    use libc::{INHERIT_COPY as COPY, INHERIT_ZERO as ZERO};
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    use libc::{MAP_INHERIT_COPY as COPY, MAP_INHERIT_ZERO as ZERO};
    let how = if wipe { ZERO } else { COPY };
    let told = Errno::injected("minherit").and_then(|()| sys::len(range)).and_then(|len| {
        // SAFETY: changes nothing in this process (minherit(2)).
        sys::done(unsafe { libc::minherit(sys::pointer(range), len, how) })
    });
    told.map_err(|errno| match errno {
        Errno(libc::EINVAL) if sys::is_whole(range) => {
            errno.system(ErrorKind::Unsupported).remedy("that takes FreeBSD 12, NetBSD 7 or OpenBSD 5.6")
        }
        errno => refused(range, errno).changed(range),
    })
}

/// Whether the child of a `fork` has zeroes there: `MC_INHERIT_ZERO` (memcntl(2), `as_ctl`), which is never taken back.
#[cfg(target_os = "illumos")]
pub(crate) fn wipe_on_fork(range: PageRange, wipe: bool) -> Result<(), Failure> {
    /// Of `<sys/mman.h>`.
    const INHERIT_ZERO: c_int = 8;
    unsafe extern "C" {
        fn memcntl(
            address: libc::caddr_t,
            len: libc::size_t,
            command: c_int,
            argument: libc::caddr_t,
            attributes: c_int,
            mask: c_int,
        ) -> c_int;
    }
    if !wipe {
        return Err(Failure::new(ErrorKind::Unsupported).detail("this system never takes it back"));
    }
    let told = Errno::injected("memcntl").and_then(|()| sys::len(range)).and_then(|len| {
        // SAFETY: changes nothing in this process; the other arguments are to be 0 (memcntl(2)).
        sys::done(unsafe {
            memcntl(sys::pointer(range).cast(), len, INHERIT_ZERO, core::ptr::null_mut(), 0, 0)
        })
    });
    told.map_err(|errno| match errno {
        Errno(libc::EINVAL) if sys::is_whole(range) => {
            errno.system(ErrorKind::Unsupported).remedy("that takes an illumos of 2015 or later")
        }
        errno => refused(range, errno).changed(range),
    })
}

/// Whether the child of a `fork` has zeroes there: Apple's minherit(2) has no such way. (For tests, nor has Linux.)
#[cfg(not(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd", target_os = "illumos")))]
pub(crate) fn wipe_on_fork(_range: PageRange, wipe: bool) -> Result<(), Failure> {
    if !wipe {
        // They never are.
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Unsupported).detail(
        "in the child of a fork, this system copies, shares or leaves out pages, and never clears them",
    ))
}

/// Fresh pages in the place of the old ones. Locks end with these.
///
/// # Safety
///
/// Private memory without a file; nobody uses the content, nor has references to it.
pub(crate) unsafe fn discard(
    range: PageRange,
    protection: Protection,
    marked: bool,
) -> Result<(), NotDiscarded> {
    if marked {
        return Err(Failure::new(ErrorKind::Unsupported)
            .detail(
                "some pages of the mapping were set to be wiped on fork or kept out of core dumps; here memory is given back by fresh pages, \
                 which would not be",
            )
            .remedy("overwrite them instead")
            .into());
    }
    // Nothing is put where nothing was: somebody else could be about to map something there.
    if !sys::is_whole(range) {
        return Err(Failure::new(ErrorKind::Unmapped).into());
    }
    let len = range.page_len()?;
    // SAFETY: the caller's promise: nobody uses what is replaced.
    let Err(errno) = (unsafe { sys::mmap(range.first(), len, protection, libc::MAP_FIXED) }) else {
        return Ok(());
    };
    let failure = match errno {
        Errno(libc::EPERM) if why::CAN_SEAL => super::sealed(errno),
        errno => why::not_mapped(errno, len.bytes(), protection),
    };
    if sys::is_whole(range) {
        return Err(failure.into());
    }
    // Some unmap the old pages first, and may then lack memory for the new ones; addresses alone take none.
    let failure = failure.changed(range);
    match super::map_at_if_free(range, Protection::NONE) {
        Ok(_) => Err(failure.into()),
        Err(_) => Err(NotDiscarded { failure, gone: Some(range) }),
    }
}

/// Gives the memory of a file's pages back: what is shared, as a hint. What was copied cannot be dropped: where Linux drops pages
/// (`MADV_DONTNEED`), these systems keep what they hold.
///
/// # Safety
///
/// Nobody uses the content of copied pages.
pub(crate) unsafe fn discard_file(range: PageRange, copied: bool) -> Result<(), NotDiscarded> {
    if copied {
        return Err(Failure::new(ErrorKind::Unsupported)
            .detail("this system does not drop the changes to a copy of a file")
            .remedy("map the file again")
            .into());
    }
    advise(range, Advice::Cold).map_err(NotDiscarded::from)
}

/// Lets the system take the memory when it wants it (`MADV_FREE`): each page stays as it is, or is a fresh one at any time, until it
/// is written to.
///
/// # Safety
///
/// Private memory without a file; nobody uses the content, nor has references to it, before each page has been written to.
pub(crate) unsafe fn discard_lazily(
    range: PageRange,
    protection: Protection,
    marked: bool,
) -> Result<(), NotDiscarded> {
    // SAFETY: the caller's promise.
    match unsafe { madvise(range, libc::MADV_FREE) } {
        Ok(()) => Ok(()),
        // Some pages may be freed nevertheless.
        // SAFETY: the caller's promise.
        Err(_) => unsafe { discard(range, protection, marked) }
            .map_err(|refused| NotDiscarded { failure: refused.failure.changed(range), ..refused }),
    }
}

/// Lets the system take the memory when it wants it, as far as it can be told.
///
/// # Safety
///
/// As [`discard_lazily`].
pub(super) unsafe fn free(range: PageRange) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { madvise(range, libc::MADV_FREE) }.map_err(|errno| refused(range, errno))
}

/// No system but Linux has a call for it.
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
pub(crate) fn populate(_range: PageRange, _write: bool) -> Result<bool, Failure> {
    Ok(false)
}

/// How many of the pages are in memory: mincore(2), whose lowest bit says so everywhere.
#[cfg(not(target_os = "openbsd"))]
pub(crate) fn resident(range: PageRange) -> Result<usize, Failure> {
    crate::os::batch::resident(range, |pages, states| {
        in_core(pages, states).map_err(|errno| match errno {
            Errno(libc::ENOMEM | libc::EINVAL) => errno.system(ErrorKind::Unmapped),
            Errno(libc::EAGAIN) => errno.system(ErrorKind::Exhausted),
            errno => errno.system(ErrorKind::System),
        })
    })
}

#[cfg(not(target_os = "openbsd"))]
fn in_core(range: PageRange, states: &mut [u8]) -> Result<(), Errno> {
    Errno::injected("mincore")?;
    let len = sys::len(range)?;
    if states.len() < len.checked_div(crate::page::size()).unwrap_or(usize::MAX) {
        return Err(Errno(libc::EINVAL));
    }
    let (start, states) = (sys::pointer(range), states.as_mut_ptr());
    // SAFETY: a byte is written for each page of the range, of which `states` has enough (mincore(2)).
    sys::done(unsafe { libc::mincore(start.cast(), len, states.cast()) })
}

/// How many of the pages are in memory: not to be had since OpenBSD 6.5.
#[cfg(target_os = "openbsd")]
pub(crate) fn resident(_range: PageRange) -> Result<usize, Failure> {
    Err(Failure::new(ErrorKind::Unsupported).detail("OpenBSD tells nobody which pages are in memory"))
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
