//! Keeping pages in memory.

#[cfg(test)]
mod tests;

use super::sys;
use super::why::{self, Reading};
use crate::error::{ErrorKind, Failure};
use crate::range::PageRange;
use core::ffi::c_void;
use core::ptr;
use rustix::io::Errno;
use rustix::mm::{self, MlockFlags};

pub(crate) use super::kept::life;

fn pointer(range: PageRange) -> *mut c_void {
    ptr::with_exposed_provenance_mut(range.first())
}

/// The kernel rounds the length of the whole address space up to 0, and then has nothing to do; of any other range up to the
/// last address it says itself that the end is before the start.
fn within_addresses(range: PageRange) -> Result<(), Errno> {
    if range.first() == 0 && range.last() == usize::MAX { Err(Errno::INVAL) } else { Ok(()) }
}

/// Reads the pages in and keeps them.
#[inline]
pub(crate) fn lock(range: PageRange) -> Result<(), Failure> {
    let locked = sys::injected("mlock").and_then(|()| within_addresses(range)).and_then(|()| {
        // SAFETY: reads pages in and marks them; what they hold and grant stays the same (mlock(2)).
        unsafe { mm::mlock(pointer(range), range.len()) }
    });
    locked.map_err(|errno| why::not_locked(range, errno, Reading::Now))
}

/// Keeps the pages from when they come in.
pub(crate) fn lock_on_fault(range: PageRange) -> Result<(), Failure> {
    let ready = sys::injected("mlock2").and_then(|()| sys::admitted(c"mlock2"));
    let locked = ready.and_then(|()| within_addresses(range)).and_then(|()| {
        // SAFETY: as `lock`.
        unsafe { mm::mlock_with(pointer(range), range.len(), MlockFlags::ONFAULT) }
    });
    locked.map_err(|errno| match errno {
        Errno::INVAL if range.last() == usize::MAX => why::not_locked(range, errno, Reading::OnFault),
        Errno::NOSYS | Errno::INVAL => Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
            .remedy("locking on fault takes Linux 4.4"),
        errno => why::not_locked(range, errno, Reading::OnFault),
    })
}

/// Keeps the pages no longer. Where there are none, there is nothing to do.
#[inline]
pub(crate) fn unlock(range: PageRange) -> Result<(), Failure> {
    match munlock(range) {
        Ok(()) => Ok(()),
        Err(Errno::NOMEM | Errno::INVAL) => unlock_around_holes(range),
        Err(errno) => Err(Failure::system(ErrorKind::System, errno.raw_os_error())),
    }
}

fn munlock(range: PageRange) -> Result<(), Errno> {
    sys::injected("munlock")?;
    within_addresses(range)?;
    // SAFETY: changes neither what pages hold nor what they grant (munlock(2)).
    unsafe { mm::munlock(pointer(range), range.len()) }
}

/// The kernel stops at the first hole, and where it would need one mapping more; what is behind that is still locked.
#[cold]
fn unlock_around_holes(range: PageRange) -> Result<(), Failure> {
    let mut failed = None;
    let mut walk = super::Walk::new(&super::Target::CURRENT, range, crate::region::Detail::Region)?;
    while let Some(region) = walk.step()? {
        let Some(run) = PageRange::between(region.base.max(range.first()), region.last().min(range.last()))
        else {
            continue;
        };
        if Some(run.first()) == super::VSYSCALL {
            continue;
        }
        match munlock(run) {
            Ok(()) => {}
            // Gone in the meantime.
            Err(Errno::NOMEM) if why::has_hole(run) => {}
            Err(errno) => failed = failed.or(Some(errno)),
        }
    }
    match failed {
        None => Ok(()),
        Some(Errno::NOMEM) => Err(why::too_many_mappings(Errno::NOMEM)),
        Some(errno) => Err(Failure::system(ErrorKind::System, errno.raw_os_error())),
    }
}

/// Lets other threads run.
pub(crate) fn yield_now() {
    rustix::thread::sched_yield();
}
