//! Where there are no instructions of our own: by a system call that copies between processes, ours being both. Slower, and words
//! cannot be reached. Compiled in all of Linux' tests, too.

use super::{Access, Ready};
use crate::access_fault::{FaultKind, Stop};
use core::num::NonZeroUsize;

pub(crate) const HANDLED: bool = false;
pub(crate) const WORKS: bool = cfg!(any(target_os = "linux", target_os = "android"));
pub(crate) const WORDS: bool = false;
pub(crate) const ANYWHERE: bool = false;

pub(super) fn detect() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// Whether the system makes copies at all: one of a byte.
pub(crate) fn try_out() -> Result<(), Stop> {
    let (from, mut to) = (1_u8, 0_u8);
    // SAFETY: two variables.
    unsafe { way::copy(&raw mut to, &raw const from, 1) }
}

pub(crate) fn recovery(_place: usize) -> Option<usize> {
    None
}

/// # Safety
///
/// As `copy` of `own.rs`.
pub(crate) unsafe fn copy(_: Ready, to: *mut u8, from: *const u8, len: usize) -> Result<(), Stop> {
    // SAFETY: the caller's promise.
    unsafe { way::copy(to, from, len) }
}

/// # Safety
///
/// As `fill` of `own.rs`.
pub(crate) unsafe fn fill(ready: Ready, to: *mut u8, byte: u8, len: usize) -> Result<(), Stop> {
    let bytes = [byte; 512];
    let mut done = 0_usize;
    while done < len {
        let step = bytes.len().min(len.saturating_sub(done));
        // SAFETY: the caller's promise; the first bytes of an array.
        let copied = unsafe { copy(ready, to.wrapping_add(done), bytes.as_ptr(), step) };
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
pub(crate) unsafe fn word(_: Ready, _place: *mut u8, size: usize, access: Access) -> Result<usize, Stop> {
    Err(Stop { left: size, kind: FaultKind::Other, write: access != Access::Load, refused: None })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod way {
    use super::{FaultKind, Stop};
    use crate::error::ErrorKind;
    use crate::os::signals::errno::Errno;
    use core::ffi::c_int;

    /// The call goes on, page by page, until it cannot, and gives how many bytes it copied (`process_vm_rw` of
    /// `mm/process_vm_access.c`): it is called for the rest until that is none. Nothing is copied twice: of a file that is cut meanwhile,
    /// the second time might come less far.
    ///
    /// # Safety
    ///
    /// As the function outside.
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Stop> {
        let mut done = 0_usize;
        while done < len {
            let left = len.saturating_sub(done);
            let (to, from) = (to.wrapping_add(done), from.wrapping_add(done));
            // SAFETY: the caller's promise, for a part.
            let copied = unsafe { copy_some(to, from, left) }.map_err(|stop| Stop { left, ..stop })?;
            if copied == 0 {
                // Which side was it? The byte by way of ours: what can be read and written by now is copied.
                let mut byte = 0_u8;
                // SAFETY: the caller's promise, for a byte; `byte` is ours.
                let read =
                    unsafe { copy_some(&raw mut byte, from, 1) }.map_err(|stop| Stop { left, ..stop })?;
                if read == 0 {
                    return Err(Stop { left, kind: FaultKind::Other, write: false, refused: None });
                }
                // SAFETY: as above.
                let written =
                    unsafe { copy_some(to, &raw const byte, 1) }.map_err(|stop| Stop { left, ..stop })?;
                if written == 0 {
                    return Err(Stop { left, kind: FaultKind::Other, write: true, refused: None });
                }
            }
            done = done.saturating_add(copied.max(1));
        }
        Ok(())
    }

    /// How many bytes the call copied; 0 where the first could not be reached. Any other failure is none of the memory's: a filter
    /// (seccomp), say, or a kernel without the call.
    ///
    /// # Safety
    ///
    /// As [`copy`].
    unsafe fn copy_some(to: *mut u8, from: *const u8, len: usize) -> Result<usize, Stop> {
        let refused = |Errno(code): Errno| {
            let kind = match code {
                libc::ENOSYS => ErrorKind::Unsupported,
                libc::EPERM | libc::EACCES => ErrorKind::NotPermitted,
                _ => ErrorKind::System,
            };
            Stop { left: len, kind: FaultKind::Other, write: false, refused: Some((kind, code)) }
        };
        Errno::injected("process_vm_readv").map_err(refused)?;
        let local = libc::iovec { iov_base: to.cast(), iov_len: len };
        let remote = libc::iovec { iov_base: from.cast_mut().cast(), iov_len: len };
        // By this thread's own number: when the first thread has ended, and others go on, the process's has no memory any more.
        // SAFETY: no precondition (gettid(2)).
        let this = unsafe { libc::syscall(libc::SYS_gettid) };
        let this = c_int::try_from(this).unwrap_or(0);
        // SAFETY: two lists of one piece each; what is written to is the caller's to write to, or is not there, which the call
        // finds out (process_vm_readv(2)).
        let done = unsafe { libc::process_vm_readv(this, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(done).or_else(|_| match Errno::last() {
            Errno(libc::EFAULT) => Ok(0),
            errno => Err(refused(errno)),
        })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod way {
    use super::{FaultKind, Stop};

    /// # Safety
    ///
    /// None: nothing is done.
    pub(super) unsafe fn copy(_to: *mut u8, _from: *const u8, len: usize) -> Result<(), Stop> {
        Err(Stop { left: len, kind: FaultKind::Other, write: false, refused: None })
    }
}
