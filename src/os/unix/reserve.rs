//! Memory for address space that is set aside, and address space again of memory.
//!
//! What `map` and `map_at` give without access is address space alone. FreeBSD counts private pages as promised from when they can
//! first be written (`vm_map_insert`, `vm_map_protect`: `swap_reserve`), illumos these from when they are touched (`uncounted` in
//! `sys`; to have them counted when they get memory, they would have to be mapped anew, and a refusal would leave a
//! hole); NetBSD, OpenBSD and XNU promise without counting, but OpenBSD takes what grants anything as the process's own
//! (`RLIMIT_DATA`). On Apple's processors what is to be written and executed at once must have been mapped so: it cannot be reserved.

use super::change::sealed;
use super::errno::Errno;
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os;
use crate::protection::Protection;
use crate::range::PageRange;

/// Lets pages have memory, zeroed, as they are touched.
///
/// # Safety
///
/// The pages are the caller's, reserved, and nobody relies on that they grant nothing.
#[inline]
pub(crate) unsafe fn commit(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // Nothing is counted before there is a right to write.
    if protection.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { os::protect(range, protection) }
}

/// Takes the memory from pages, and with it what they hold and the right to touch them: by fresh pages in their place.
///
/// # Safety
///
/// The pages are the caller's, private and anonymous, and nobody uses them.
#[inline]
pub(crate) unsafe fn decommit(range: PageRange) -> Result<(), Failure> {
    let len = range.page_len()?;
    // SAFETY: the caller's promise: what is replaced nobody uses.
    match unsafe { sys::mmap(range.first(), len, Protection::NONE, libc::MAP_FIXED) } {
        Ok(_) => Ok(()),
        Err(errno) => not_decommitted(range, errno),
    }
}

/// Takes what the pages hold, and their memory when the system wants it, but never their addresses; they grant the protection then, or
/// more.
///
/// Fresh pages in the place of the old ones, as by [`decommit`], could leave neither. So zeroes are written, which `MADV_FREE` keeps or
/// makes anew.
///
/// # Safety
///
/// The pages are the caller's, private and anonymous, can be read and written, and nobody uses them.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) unsafe fn vacate(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::write_bytes(sys::pointer(range).cast::<u8>(), 0, range.len()) };
    // SAFETY: the caller's promise; each page holds zeroes in any case.
    let _freed = unsafe { super::advise::free(range) };
    if protection != Protection::READ_WRITE {
        // To grant more is allowed. SAFETY: the caller's promise.
        let _protected = unsafe { os::protect(range, protection) };
    }
    Ok(())
}

/// Some unmap the old pages first, and may then lack memory for the new mapping: then somebody else could be given the addresses.
#[cold]
fn not_decommitted(range: PageRange, errno: Errno) -> Result<(), Failure> {
    let failure = match errno {
        Errno(libc::EPERM) if why::CAN_SEAL => sealed(errno),
        errno => why::not_mapped(errno, range.len(), Protection::NONE),
    };
    if sys::is_whole(range) {
        return Err(failure);
    }
    match os::map_at(range, Protection::NONE) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(errno.system(ErrorKind::Unmapped).detail("the system has lost the pages").changed(range))
        }
    }
}

// They know what Linux answers, as those of the other parts.
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;
