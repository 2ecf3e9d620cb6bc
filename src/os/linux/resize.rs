//! Making mappings longer, and moving them.

use super::change::map_at;
use super::process::Target;
use super::walk::query;
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;
use rustix::io::Errno;

/// Makes a mapping longer; where it lies, or elsewhere if need be and `moving`. What is new is as what was there, and zeroed.
///
/// # Safety
///
/// The pages are the caller's, and of private anonymous memory; if they may move, nobody relies on where they are.
pub(crate) unsafe fn lengthen(range: PageRange, len: PageLen, moving: bool) -> Result<NonNull<u8>, Failure> {
    // SAFETY: the caller's promise.
    match unsafe { sys::remap(range, len.bytes(), moving) } {
        Ok(place) => NonNull::new(place).ok_or_else(|| Failure::new(ErrorKind::System)),
        Err(errno) => Err(not_lengthened(range, len, moving, errno)),
    }
}

/// Whether pages can be moved to a place.
pub(crate) const fn moves_pages() -> bool {
    true
}

/// Moves pages to a place, with all that was said of them; the mapping becomes longer there if the place is. What is new is as what
/// was there, and zeroed. Where the pages were is a hole then.
///
/// After a failure the pages are where they were, and the place is still the caller's unless it is what the failure says is changed.
///
/// One mapping only: of several that do not become longer, Linux 6.17 and later move one after the other, and leave those where they
/// have come to that were moved before one was refused.
///
/// # Safety
///
/// Both ranges are the caller's; private anonymous memory that nobody relies on to be where it is, and address space without access
/// that is at least as long, of a mapping of its own.
pub(crate) unsafe fn move_pages(range: PageRange, place: PageRange) -> Result<(), Failure> {
    if range.len() == place.len() && !why::is_one_mapping(range) {
        return Err(not_lengthened(range, range.page_len()?, true, Errno::FAULT));
    }
    // SAFETY: the caller's promise; two mappings do not overlap.
    match unsafe { sys::remap_to(range, place) } {
        Ok(()) => Ok(()),
        Err(errno) => Err(not_moved(range, place, errno)),
    }
}

/// Puts pages in the place of others, which are gone then: who touches them meanwhile waits, and finds the old ones or the new ones.
///
/// After a failure both are as they were, but for the place if that is what the failure says is changed: then it grants nothing.
///
/// # Safety
///
/// Both ranges are the caller's, of the same length; private anonymous memory, the pages of a mapping of their own. Nobody minds that
/// those at the place are gone, or keeps a pointer to where the pages were.
#[cfg(feature = "allow_exec")]
pub(crate) unsafe fn replace_pages(pages: PageRange, place: PageRange) -> Result<(), Failure> {
    // The kernel looks at its limits before it unmaps what is at the place. When it lacks memory of its own after that, there is a hole,
    // which nobody else shall be given: then once more.
    for _ in 0..3 {
        // SAFETY: the caller's promise; two mappings do not overlap.
        let errno = match unsafe { sys::remap_to(pages, place) } {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        if !why::has_hole(place) {
            return Err(match place.page_len() {
                Ok(len) => not_lengthened(pages, len, true, errno),
                Err(failure) => failure,
            });
        }
        let _held = map_at(place, Protection::NONE);
    }
    Err(Failure::new(ErrorKind::Exhausted).detail("the kernel has no memory for the mapping").changed(place))
}

/// The kernel unmaps what is at the place after some of its checks, and before others (`mremap_to`).
#[cold]
fn not_moved(range: PageRange, place: PageRange, errno: Errno) -> Failure {
    let failure = match place.page_len() {
        Ok(len) => not_lengthened(range, len, true, errno),
        Err(failure) => failure,
    };
    let is_there = match query(&Target::CURRENT, PageRange::containing(place.first())) {
        Ok(Some(region)) => region.protection().is_empty() && region.last() >= place.last(),
        // Unknown: rather too little is given back than what is somebody else's.
        Ok(None) | Err(_) => false,
    };
    if is_there || map_at(place, Protection::NONE).is_ok() { failure } else { failure.changed(place) }
}

/// From what size on, and in pieces of what size, memory for which no page size is asked can have larger pages: those of the second
/// level of page tables, with the pages of 4 KiB that nearly all machines have (with others they are larger, but there are some of this
/// size since Linux 6.8).
pub(crate) const fn transparent_unit() -> Option<usize> {
    Some(2 << 20)
}

#[cold]
fn not_lengthened(range: PageRange, len: PageLen, moving: bool, errno: Errno) -> Failure {
    let code = errno.raw_os_error();
    match errno {
        Errno::FAULT => Failure::system(ErrorKind::Unsupported, code)
            .detail("the kernel has them as several mappings: some of the pages were advised or locked on their own")
            .remedy("advise about the whole mapping, or about nothing, before it is made longer"),
        // The kernel's word for both: behind is no room, or there is no memory.
        Errno::NOMEM if !moving && is_taken(range, len) => Failure::system(ErrorKind::Occupied, code)
            .detail("something is mapped directly behind")
            .remedy("let it move (Pages::remap), or leave room when it is made (MmapOptions::room)"),
        // So much that the kernel does not even look for room.
        Errno::INVAL if beyond_all(range, len) => why::not_mapped(Errno::NOMEM, len.bytes()),
        Errno::INVAL => Failure::system(ErrorKind::Unsupported, code)
            .detail("the kernel does not make mappings of this kind longer"),
        Errno::PERM => Failure::system(ErrorKind::NotPermitted, code)
            .detail("the pages are sealed, or a sandbox forbids the call"),
        errno => why::not_mapped(errno, len.bytes().saturating_sub(range.len())),
    }
}

/// Whether no process could have so long a mapping there.
fn beyond_all(range: PageRange, len: PageLen) -> bool {
    let last = range.first().checked_add(len.bytes()).and_then(|end| end.checked_sub(1));
    last.and_then(|last| PageRange::between(range.first(), last)).is_none_or(why::above_all)
}

/// Whether something lies where the longer mapping would.
fn is_taken(range: PageRange, len: PageLen) -> bool {
    let behind = range
        .last()
        .checked_add(1)
        .and_then(|after| PageRange::between(after, range.first().checked_add(len.bytes().checked_sub(1)?)?));
    // Where there are no such addresses, nothing is free either.
    behind.is_none_or(|behind| why::has_any(behind) || why::above_all(behind))
}
