//! Keeping pages in memory.
//!
//! Locks do not count: one `VirtualUnlock` undoes any number of `VirtualLock`s. A page that loses all access, or is given
//! `PAGE_GUARD`, loses its lock as well (`STATUS_WAS_UNLOCKED`).

use super::parts::{Access, Part, Parts};
use super::sys::{self, Code, LOCKED, VALID};
use crate::error::{ErrorKind, Failure};
use crate::range::{PageRange, wide};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT, ERROR_INVALID_ADDRESS, ERROR_NO_SYSTEM_RESOURCES,
    ERROR_NOACCESS, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_LOCKED, ERROR_WORKING_SET_QUOTA,
};
use windows_sys::Win32::System::Memory::{PAGE_GUARD, PAGE_NOACCESS};
use windows_sys::Win32::System::ProcessStatus::PSAPI_WORKING_SET_EX_INFORMATION;
use windows_sys::Win32::System::Threading::SwitchToThread;

/// There is no `fork`: one life.
pub(crate) const fn life() -> u64 {
    1
}

/// Whether there is something in the pages that can be kept.
fn can_be_locked(part: &Part) -> bool {
    matches!(part.access, Some(Access::Committed(native)) if native & PAGE_GUARD == 0 && native & 0xff != PAGE_NOACCESS)
}

/// Why not.
#[cold]
fn not_lockable(part: &Part) -> Failure {
    match part.access {
        Some(Access::Reserved) => Failure::new(ErrorKind::NotPermitted)
            .detail("pages that are reserved only have no memory that could be kept")
            .remedy("let them be readable before"),
        Some(Access::Committed(native)) if native & PAGE_GUARD != 0 => Failure::new(ErrorKind::NotPermitted)
            .detail("locking would use up the guard (PAGE_GUARD) of some of the pages"),
        _ => Failure::new(ErrorKind::NotPermitted)
            .detail("pages that grant no access cannot be read in")
            .remedy("let them be readable before"),
    }
}

/// Reads the pages in and keeps them.
///
/// The pages are looked at before: `VirtualLock` would run into their guards, and clear them.
pub(crate) fn lock(range: PageRange) -> Result<(), Failure> {
    let mut parts = Parts::of(range);
    let (mut allocation, mut several, mut obstacle) = (None, false, None);
    while let Some(part) = parts.step().map_err(Code::failure)? {
        if part.access.is_none() {
            return Err(Failure::new(ErrorKind::Unmapped));
        }
        if !can_be_locked(&part) {
            obstacle = obstacle.or(Some(part));
        }
        several |= allocation.is_some_and(|before| before != part.allocation);
        allocation = Some(part.allocation);
    }
    if let Some(part) = obstacle {
        return Err(not_lockable(&part));
    }
    match sys::virtual_lock(range) {
        Ok(()) => Ok(()),
        // It is not said anywhere that one call does for several allocations.
        Err(code) if several && !is_limit(code) => lock_parts(range),
        Err(code) => Err(not_locked(code)),
    }
}

fn is_limit(code: Code) -> bool {
    matches!(
        code,
        Code(
            ERROR_WORKING_SET_QUOTA
                | ERROR_NOT_ENOUGH_MEMORY
                | ERROR_NO_SYSTEM_RESOURCES
                | ERROR_COMMITMENT_LIMIT
        )
    )
}

/// The same, a part after the other. If one refuses, those before it stay locked: the caller, who knows which pages others hold and
/// keeps them from changing that meanwhile, unlocks the rest.
#[cold]
fn lock_parts(range: PageRange) -> Result<(), Failure> {
    Parts::of(range).all(None)?.iter().try_for_each(|part| sys::virtual_lock(part.pages)).map_err(not_locked)
}

/// Calls `found` with each page of the range that is locked.
fn locked(range: PageRange, found: &mut dyn FnMut(PageRange)) -> Result<(), Code> {
    const BATCH: usize = 64;
    let page_size = crate::page::size();
    let mut next = Some(range.first());
    let mut batch = [PSAPI_WORKING_SET_EX_INFORMATION::default(); BATCH];
    while next.is_some() {
        let mut count = 0_usize;
        for entry in &mut batch {
            let Some(address) = next.take_if(|address| *address <= range.last()) else { break };
            *entry = PSAPI_WORKING_SET_EX_INFORMATION {
                VirtualAddress: core::ptr::without_provenance_mut(address),
                ..PSAPI_WORKING_SET_EX_INFORMATION::default()
            };
            count = count.saturating_add(1);
            next = address.checked_add(page_size);
        }
        let Some(asked) = batch.get_mut(..count).filter(|asked| !asked.is_empty()) else { break };
        sys::working_set(None, asked)?;
        for entry in asked {
            // SAFETY: every bit pattern of the union is a valid number; the call has written it.
            let flags = unsafe { entry.VirtualAttributes.Flags };
            if flags & VALID != 0 && flags & LOCKED != 0 {
                found(PageRange::containing(entry.VirtualAddress.addr()));
            }
        }
    }
    Ok(())
}

#[cold]
fn not_locked(code: Code) -> Failure {
    match code.0 {
        ERROR_WORKING_SET_QUOTA => {
            let failure = code
                .of_kind(ErrorKind::Exhausted)
                .detail("the process may lock a little less than its minimum working set, in bytes")
                .remedy("raise the minimum working set (SetProcessWorkingSetSize)");
            match sys::minimum_working_set() {
                Some(limit) => failure.limit(wide(limit), None, "bytes"),
                None => failure,
            }
        }
        // Changed since it was looked at.
        ERROR_NOACCESS | ERROR_INVALID_ADDRESS => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("pages that grant no access, or have no memory, cannot be read in"),
        // Wine's answer, whatever the reason.
        ERROR_ACCESS_DENIED => code.of_kind(ErrorKind::NotPermitted),
        _ if is_limit(code) => code.of_kind(ErrorKind::Exhausted),
        _ => code.of_kind(ErrorKind::System),
    }
}

/// Keeps the pages from when they come in: not to be had.
pub(crate) fn lock_on_fault(_range: PageRange) -> Result<(), Failure> {
    Err(Failure::new(ErrorKind::Unsupported)
        .detail("Windows reads pages in when it locks them")
        .remedy("lock them, which reads them in"))
}

/// Keeps the pages no longer. Where there are none, there is nothing to do.
#[inline]
pub(crate) fn unlock(range: PageRange) -> Result<(), Failure> {
    match sys::virtual_unlock(range) {
        Ok(()) => Ok(()),
        Err(_) => unlock_rest(range),
    }
}

/// Where some pages were not locked, or are not there, it is not said what becomes of the others.
#[cold]
fn unlock_rest(range: PageRange) -> Result<(), Failure> {
    let mut parts = Parts::of(range);
    while let Some(part) = parts.step().map_err(Code::failure)? {
        if !can_be_locked(&part) {
            continue;
        }
        let mut failed = None;
        let unlock = &mut |page| match sys::virtual_unlock(page) {
            // Somebody else was faster.
            Ok(()) | Err(Code(ERROR_NOT_LOCKED)) => {}
            Err(code) => failed = Some(code),
        };
        locked(part.pages, unlock).map_err(Code::failure)?;
        if let Some(code) = failed {
            return Err(code.of_kind(ErrorKind::System));
        }
    }
    Ok(())
}

/// Lets other threads run.
pub(crate) fn yield_now() {
    // SAFETY: no precondition (MSDN, SwitchToThread).
    let _ran = unsafe { SwitchToThread() };
}
