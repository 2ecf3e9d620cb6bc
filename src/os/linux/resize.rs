//! Making mappings longer, and moving them.

use super::{sys, why};
use crate::error::{ErrorKind, Failure};
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
