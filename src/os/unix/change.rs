//! Getting pages, changing what they grant, giving them back.

use super::errno::Errno;
use super::place::{self, Place};
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Target, Walk};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use crate::region::Detail;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

fn given(place: *mut c_void) -> Result<NonNull<u8>, Failure> {
    // The lowest page is never given without being asked for.
    NonNull::new(place.cast()).ok_or_else(|| Failure::new(ErrorKind::System))
}

/// New pages, zeroed and private, where the system likes.
#[inline]
pub(crate) fn map(len: PageLen, protection: Protection) -> Result<NonNull<u8>, Failure> {
    // SAFETY: at a place of the system's choice.
    match unsafe { sys::mmap(0, len, protection, 0) } {
        Ok(place) => given(place),
        Err(errno) => Err(why::not_mapped(errno, len.bytes(), protection)),
    }
}

/// The same for code that is written while the program runs. It may be refused for that alone.
pub(crate) fn map_jit(len: PageLen, protection: Protection) -> Result<NonNull<u8>, Failure> {
    // SAFETY: at a place of the system's choice.
    match unsafe { sys::mmap(0, len, protection, sys::JIT) } {
        Ok(place) => given(place),
        Err(errno) => Err(why::not_mapped(errno, len.bytes(), protection | Protection::EXECUTE)),
    }
}

/// New pages at exactly this place, if nothing is there: where the system has a flag for that.
pub(crate) fn map_at_if_free(range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    let Some(how) = sys::IF_FREE else { return map_at_wish(range, protection) };
    let len = range.page_len()?;
    // SAFETY: with these flags the system refuses to replace anything: `MAP_EXCL` (mmap(2) of FreeBSD), `__MAP_NOREPLACE`
    // (`uvm_mmapanon` in OpenBSD's `sys/uvm/uvm_mmap.c`: without it, and only then, `UVM_FLAG_UNMAP`).
    let errno = match unsafe { sys::mmap(range.first(), len, protection, how) } {
        Ok(place) if place.addr() == range.first() => return given(place),
        // Only a system that does not know the flag (and does not refuse it).
        Ok(elsewhere) => {
            unmap_elsewhere(elsewhere, len);
            return Err(Failure::new(ErrorKind::Occupied));
        }
        Err(errno) => errno,
    };
    // On OpenBSD it can be nothing else; all but the page at address 0, which is nobody's, are low enough.
    if cfg!(target_os = "openbsd") && errno == Errno(libc::EINVAL) {
        return Err(place::too_high());
    }
    Err(match (errno, place::look(range)) {
        (Errno(libc::ENOMEM | libc::EEXIST | libc::EINVAL), Place::Taken) => {
            errno.system(ErrorKind::Occupied)
        }
        (Errno(libc::EINVAL | libc::ENOMEM), Place::High) => place::too_high(),
        (Errno(libc::EINVAL | libc::ENOMEM | libc::EPERM), Place::Low) => place::too_low(),
        (errno, _) => why::not_mapped(errno, len.bytes(), protection),
    })
}

/// How often a place that looks free is wished for: other threads that look for one may have had it for a moment.
const WISHES: u32 = 8;

/// New pages at exactly this place, if nothing is there: where the system takes it as a wish, and goes elsewhere if something is.
pub(crate) fn map_at_wish(range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    map_at_wish_as(range, protection, 0)
}

/// The same, as [`map_jit`]: with the flag for that, nothing but a wish is taken.
pub(crate) fn map_jit_at_wish(range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    map_at_wish_as(range, protection, sys::JIT)
}

fn map_at_wish_as(range: PageRange, protection: Protection, how: c_int) -> Result<NonNull<u8>, Failure> {
    let mut refused = None;
    for _ in 0..WISHES {
        match wish(range, protection, how)? {
            Some(place) => return Ok(place),
            None => match place::refused_place(range) {
                Some(failure) => return Err(failure),
                None => refused = Some(ELSEWHERE),
            },
        }
    }
    Err(Failure::new(ErrorKind::NotPermitted).detail(refused.unwrap_or_default()))
}

const ELSEWHERE: &str = if cfg!(target_os = "illumos") {
    "the place is free, but the system takes no wishes from a process whose address space it randomizes (security-flags(7))"
} else {
    "the place is free, but the system does not give it"
};

/// Wishes for a place once; `None` when it is not to be had.
pub(crate) fn wish(
    range: PageRange,
    protection: Protection,
    how: c_int,
) -> Result<Option<NonNull<u8>>, Failure> {
    let len = range.page_len()?;
    // SAFETY: a wish replaces nothing (mmap(2)).
    match unsafe { sys::mmap(range.first(), len, protection, sys::WISH | how) } {
        Ok(place) if place.addr() == range.first() => given(place).map(Some),
        Ok(elsewhere) => {
            unmap_elsewhere(elsewhere, len);
            Ok(None)
        }
        // Where wishes out of reach are errors.
        Err(errno @ Errno(libc::EINVAL | libc::ENOMEM | libc::EPERM)) => match place::look(range) {
            Place::Taken | Place::High | Place::Low => Ok(None),
            Place::Free => Err(why::not_mapped(errno, len.bytes(), protection)),
        },
        Err(errno) => Err(why::not_mapped(errno, len.bytes(), protection)),
    }
}

fn unmap_elsewhere(place: *mut c_void, len: PageLen) {
    if let Some(range) = PageRange::starting_at(place.expose_provenance(), len) {
        // SAFETY: just mapped, and nobody was told.
        let _unmapped = unsafe { sys::munmap(range) };
    }
}

/// # Safety
///
/// The pages are the caller's, and nobody uses them any more.
#[inline]
pub(crate) unsafe fn unmap(range: PageRange) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { sys::munmap(range) }.map_err(|errno| match errno {
        Errno(libc::EPERM) => sealed(errno),
        // An entry more for the list of mappings, when a part of one is unmapped.
        Errno(libc::ENOMEM) => errno.system(ErrorKind::Exhausted),
        errno => errno.system(ErrorKind::System),
    })
}

/// The memory and the addresses of a part.
///
/// # Safety
///
/// As [`unmap`].
pub(crate) unsafe fn unmap_part(range: PageRange) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { unmap(range) }
}

/// Nothing is left to do once all parts are unmapped.
///
/// # Safety
///
/// As [`unmap`].
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) unsafe fn release(_range: PageRange) -> Result<(), Failure> {
    Ok(())
}

pub(crate) fn sealed(errno: Errno) -> Failure {
    errno
        .system(ErrorKind::NotPermitted)
        .detail("the pages are sealed: they stay as they are until the process ends")
}

/// Whether `mprotect` goes around holes: FreeBSD, NetBSD and OpenBSD look at the rights of all mappings in the range before they
/// change any, but not at whether there are holes between them (`vm_map_protect`, `uvm_map_protect`). XNU looks for both before
/// it changes anything (`vm_map_protect`).
const GOES_AROUND_HOLES: bool = cfg!(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"));

/// Whether it stops in the middle, at what it cannot change, with all before it changed: illumos (`as_setprot`), and Linux, where
/// this is tested.
const STOPS_IN_THE_MIDDLE: bool =
    cfg!(any(target_os = "illumos", target_os = "linux", target_os = "android"));

/// Changes what the pages grant.
///
/// # Safety
///
/// Nobody relies on the access that the pages grant now and will not grant then, nor on that they do not grant more.
#[inline]
pub(crate) unsafe fn protect(range: PageRange, protection: Protection) -> Result<(), Failure> {
    if GOES_AROUND_HOLES && !sys::is_whole(range) {
        return Err(Failure::new(ErrorKind::Unmapped));
    }
    // SAFETY: the caller's promise.
    match unsafe { sys::mprotect(range, protection) } {
        Ok(()) => Ok(()),
        Err(errno) => Err(not_protected(range, protection, errno)),
    }
}

/// Why, and what of the range is changed nevertheless.
#[cold]
fn not_protected(range: PageRange, protection: Protection, errno: Errno) -> Failure {
    let changed = if STOPS_IN_THE_MIDDLE { granting(range, protection) } else { Ok(None) };
    let failure = match errno {
        Errno(libc::ENOMEM | libc::EINVAL | libc::EFAULT) if !sys::is_whole(range) => {
            errno.system(ErrorKind::Unmapped)
        }
        errno => why::not_protected(errno, protection),
    };
    match changed {
        // Not known: all of it may be.
        Err(_) => failure.changed(range),
        // Where the whole range is as it was to become, it was so before, or became so in the meantime.
        Ok(Some(changed)) if changed != range => failure.changed(changed),
        Ok(_) => failure,
    }
}

/// How far from its first page on a range grants just this.
fn granting(range: PageRange, protection: Protection) -> Result<Option<PageRange>, Failure> {
    let mut next = range.first();
    let mut walk = Walk::new(&Target::CURRENT, range, Detail::Region)?;
    while let Some(region) = walk.step()? {
        if region.last() < next {
            continue;
        }
        if region.base > next || region.protection() != protection {
            break;
        }
        match region.last().min(range.last()).checked_add(1) {
            Some(after) if after <= range.last() => next = after,
            _ => return Ok(Some(range)),
        }
    }
    Ok(next.checked_sub(1).and_then(|last| PageRange::between(range.first(), last)))
}

/// What pages grant. What they may be made to grant at most, `mprotect` changes on none of these systems.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    protection: Protection,
}

/// The runs of equal access in the range, ascending and clipped to it. Holes are left out.
pub(crate) fn accesses(
    range: PageRange,
    _to: Protection,
    found: &mut dyn FnMut(PageRange, Access),
) -> Result<(), Failure> {
    let mut from = range.first();
    let mut walk = Walk::new(&Target::CURRENT, range, Detail::Region)?;
    while let Some(region) = walk.step()? {
        if region.base > range.last() {
            break;
        }
        let Some(run) = PageRange::between(region.base.max(from), region.last().min(range.last())) else {
            continue;
        };
        found(run, Access { protection: region.protection() });
        match run.last().checked_add(1) {
            Some(after) if after <= range.last() => from = after,
            _ => break,
        }
    }
    Ok(())
}

/// Gives a run back what [`accesses`] found.
///
/// # Safety
///
/// As [`protect`].
#[inline]
pub(crate) unsafe fn give_back(range: PageRange, access: Access) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { protect(range, access.protection) }
}

/// Drops the content and lets every touch end the process: by fresh pages that grant nothing in the place of the old ones.
///
/// Locks end with the old pages.
///
/// # Safety
///
/// Nobody uses the pages.
pub(crate) unsafe fn install_guard(range: PageRange) -> Result<(), Failure> {
    // Nothing is put where nothing was: somebody else could be about to map something there.
    if !sys::is_whole(range) {
        return Err(Failure::new(ErrorKind::Unmapped));
    }
    let len = range.page_len()?;
    // SAFETY: the caller's promise: nobody uses what is replaced.
    let Err(errno) = (unsafe { sys::mmap(range.first(), len, Protection::NONE, libc::MAP_FIXED) }) else {
        return Ok(());
    };
    let failure = match errno {
        Errno(libc::EPERM) if why::CAN_SEAL => sealed(errno),
        errno => why::not_mapped(errno, len.bytes(), Protection::NONE),
    };
    // Some unmap the old pages first, and may then lack memory for the new mapping.
    Err(if sys::is_whole(range) { failure } else { failure.changed(range) })
}

/// Makes ordinary pages of guard pages.
///
/// # Safety
///
/// As [`protect`].
pub(crate) unsafe fn remove_guard(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { protect(range, protection) }
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn seal_unsupported(_range: PageRange) -> Result<(), Failure> {
    Err(Failure::new(ErrorKind::Unsupported)
        .remedy("sealing takes Linux 6.10 and a 64-bit processor, or OpenBSD 7.3"))
}
