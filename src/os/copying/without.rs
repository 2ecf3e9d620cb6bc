//! Where there are no instructions of our own: by a system call that copies between processes, ours being both. Slower, and words
//! cannot be reached.

use super::Access;
use crate::access_fault::{FaultKind, Stop};

pub(crate) const HANDLED: bool = false;
pub(crate) const WORKS: bool = cfg!(any(target_os = "linux", target_os = "android"));
pub(crate) const WORDS: bool = false;

pub(super) fn detect() {}

pub(crate) fn recovery(_place: usize) -> Option<usize> {
    None
}

/// # Safety
///
/// As `copy` of `own.rs`.
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Stop> {
    // SAFETY: the caller's promise.
    unsafe { way::copy(to, from, len) }
}

/// # Safety
///
/// As `fill` of `own.rs`.
pub(crate) unsafe fn fill(to: *mut u8, byte: u8, len: usize) -> Result<(), Stop> {
    let bytes = [byte; 512];
    let mut done = 0_usize;
    while done < len {
        let step = bytes.len().min(len.saturating_sub(done));
        // SAFETY: the caller's promise; the first bytes of an array.
        let copied = unsafe { copy(to.wrapping_add(done), bytes.as_ptr(), step) };
        if let Err(stop) = copied {
            let left = len.saturating_sub(done).saturating_sub(step).saturating_add(stop.left);
            return Err(Stop { left, ..stop });
        }
        done = done.saturating_add(step);
    }
    Ok(())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn word(_place: *mut u8, size: usize, access: Access) -> Result<usize, Stop> {
    Err(Stop { left: size, kind: FaultKind::Other, write: access != Access::Load })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod way {
    use super::{FaultKind, Stop};

    /// One byte range after another that lies in one page, each of which is copied whole or not at all; first, as the usual case,
    /// everything at once.
    ///
    /// The call gives what it copied, or fails when that is nothing. It copies page by page, on both sides (`process_vm_rw` of
    /// `mm/process_vm_access.c`), but is not bound to say how much of one piece it copied: so that pieces are made that have no inside.
    ///
    /// # Safety
    ///
    /// As the function outside.
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Stop> {
        // SAFETY: the caller's promise.
        if unsafe { copy_piece(to, from, len) } {
            return Ok(());
        }
        let page = crate::page::size();
        let mut done = 0_usize;
        while done < len {
            let (to, from) = (to.wrapping_add(done), from.wrapping_add(done));
            let inside = |address: usize| page.saturating_sub(address & page.wrapping_sub(1));
            let piece = inside(to.addr()).min(inside(from.addr())).min(len.saturating_sub(done));
            // SAFETY: the caller's promise, for a part.
            if !unsafe { copy_piece(to, from, piece) } {
                let mut byte = 0_u8;
                // Can the first byte be read?
                // SAFETY: the caller's promise, for a byte; `byte` is ours.
                let write = unsafe { copy_piece(&raw mut byte, from, 1) };
                return Err(Stop { left: len.saturating_sub(done), kind: FaultKind::Other, write });
            }
            done = done.saturating_add(piece);
        }
        Ok(())
    }

    /// Our own memory is read by the call, and what lies on the other side is checked there: it is tried from both.
    ///
    /// # Safety
    ///
    /// As [`copy`].
    unsafe fn copy_piece(to: *mut u8, from: *const u8, len: usize) -> bool {
        let local = libc::iovec { iov_base: to.cast(), iov_len: len };
        let remote = libc::iovec { iov_base: from.cast_mut().cast(), iov_len: len };
        // SAFETY: no precondition (getpid(2)).
        let this = unsafe { libc::getpid() };
        // SAFETY: two lists of one piece each; what is written to is the caller's to write to, or is not there, which the call
        // finds out (process_vm_readv(2)).
        let done = unsafe { libc::process_vm_readv(this, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(done) == Ok(len)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod way {
    use super::{FaultKind, Stop};

    /// # Safety
    ///
    /// None: nothing is done.
    pub(super) unsafe fn copy(_to: *mut u8, _from: *const u8, len: usize) -> Result<(), Stop> {
        Err(Stop { left: len, kind: FaultKind::Other, write: false })
    }
}
