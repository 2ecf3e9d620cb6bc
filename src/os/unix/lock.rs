//! Keeping pages in memory.

use super::errno::Errno;
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Target, Walk};
use crate::range::PageRange;
use crate::region::Detail;

/// Reads the pages in and keeps them.
#[inline]
pub(crate) fn lock(range: PageRange) -> Result<(), Failure> {
    sys::mlock(range).map_err(|errno| why::not_locked(range, errno))
}

/// Only Linux keeps pages without reading them in.
pub(crate) fn no_lock_on_fault(_range: PageRange) -> Result<(), Failure> {
    Err(Failure::new(ErrorKind::Unsupported)
        .detail("this system reads pages in when it locks them")
        .remedy("lock them (folio::lock); locking on fault takes Linux 4.4"))
}

/// Keeps the pages no longer. Where there are none, or where they were not locked, there is nothing to do.
#[inline]
pub(crate) fn unlock(range: PageRange) -> Result<(), Failure> {
    match sys::munlock(range) {
        Ok(()) => Ok(()),
        // A hole; on NetBSD and OpenBSD also a page that was not locked, which leaves all others locked (`uvm_map_pageable`).
        Err(Errno(libc::ENOMEM | libc::EINVAL | libc::EFAULT)) => one_by_one(range),
        Err(errno) => Err(why::not_unlocked(errno)),
    }
}

/// A mapping is locked as a whole: the kernels divide one when a part of it is locked.
#[cold]
fn one_by_one(range: PageRange) -> Result<(), Failure> {
    let mut walk = Walk::new(&Target::CURRENT, range, Detail::Region)?;
    while let Some(region) = walk.step()? {
        if region.base > range.last() {
            break;
        }
        let Some(run) = PageRange::between(region.base.max(range.first()), region.last().min(range.last()))
        else {
            continue;
        };
        match sys::munlock(run) {
            // Not locked, or gone in the meantime.
            Ok(()) | Err(Errno(libc::ENOMEM | libc::EINVAL | libc::EFAULT)) => {}
            Err(errno) => return Err(why::not_unlocked(errno)),
        }
    }
    Ok(())
}

/// Lets other threads run.
pub(crate) fn yield_now() {
    // SAFETY: no precondition (sched_yield(2)).
    let _yielded = unsafe { libc::sched_yield() };
}
