//! Getting and changing pages, where XNU differs from the other Unix systems.
//!
//! - There is a call that maps at a place only if it is free: `mach_vm_map` without `VM_FLAGS_OVERWRITE`. Memory that is `MAP_JIT`
//!   it cannot give; that takes `mmap` and a wish.
//! - Memory is not always given the rights that were asked for, without an error: where the kernel does not grant writing and
//!   executing at once, some versions refuse and others take executing away (`VM_MAP_POLICY_WX_STRIP_X` in `vm_map_enter` and
//!   `vm_map_protect`). So it is looked at.
//! - Locks count in the kernel, a mapping at a time: `munlock` takes one (`user_wired_count`).

use super::Target;
use super::sys;
use super::walk::query;
use crate::error::{ErrorKind, Failure};
use crate::os::unix::{self, Attached};
use crate::os::{Place, Request};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::{self, NonNull};
use mach2::kern_return::{KERN_INVALID_ADDRESS, KERN_INVALID_ARGUMENT, KERN_NO_SPACE};
use mach2::vm_region::vm_region_submap_info_64;

/// New pages, zeroed and private, where the system likes.
pub(crate) fn map(len: PageLen, protection: Protection) -> Result<NonNull<u8>, Failure> {
    let place = unix::map(len, protection)?;
    match PageRange::starting_at(place.as_ptr().expose_provenance(), len) {
        Some(range) => settled(place, range, protection),
        None => Ok(place),
    }
}

/// New pages at exactly this place, if nothing is there.
pub(crate) fn map_at(range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    if unix::is_jit(protection) {
        return unix::map_at_wish(range, protection);
    }
    match sys::map_fixed(range.first(), range.page_len()?.bytes(), unix::native(protection)) {
        Ok(address) => {
            let place = NonNull::new(ptr::with_exposed_provenance_mut(address));
            settled(place.ok_or_else(|| Failure::new(ErrorKind::System))?, range, protection)
        }
        Err(code @ KERN_NO_SPACE) => Err(Failure::mach(ErrorKind::Occupied, code)),
        Err(KERN_INVALID_ADDRESS | KERN_INVALID_ARGUMENT) => Err(out_of_reach(range)),
        Err(code) => Err(unix::not_granted(sys::failure(code, false), protection)),
    }
}

/// A mapping as it is asked for: by `mmap`, and looked at again, for executing may have been taken away.
///
/// # Safety
///
/// With [`Place::Over`], nobody uses what is there.
pub(crate) unsafe fn map_with(request: &Request<'_>) -> Result<(NonNull<u8>, Attached), Failure> {
    // SAFETY: the caller's promise.
    let (base, attached) = unsafe { unix::map_with(request) }?;
    let Some(range) = request.range_at(base.as_ptr().expose_provenance()) else {
        return Ok((base, attached));
    };
    match settled(base, range, request.protection) {
        Ok(base) => Ok((base, attached)),
        // What was there is gone.
        Err(failure) if matches!(request.place, Place::Over(_)) => Err(failure.changed(range)),
        Err(failure) => Err(failure),
    }
}

/// Not between the lowest and the highest address of the map. (Below 4 GiB, no 64-bit program has anything.)
fn out_of_reach(range: PageRange) -> Failure {
    unix::refused_place(range)
        .unwrap_or_else(|| Failure::invalid("the addresses are not among those that a process may use"))
}

/// New pages, if they grant what was asked for; else they are given back.
fn settled(place: NonNull<u8>, range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    if grants_both(range, protection) {
        return Ok(place);
    }
    // SAFETY: just mapped, and nobody was told.
    let _unmapped = unsafe { unix::munmap(range) };
    Err(unix::not_granted(Failure::new(ErrorKind::NotPermitted), protection))
}

/// Whether pages that are to be writable and executable at once are.
fn grants_both(range: PageRange, protection: Protection) -> bool {
    let both = Protection::WRITE_EXECUTE;
    if !protection.contains(both) {
        return true;
    }
    let mut next = range.first();
    // The answer of a region or two, mostly.
    while let Ok(Some(region)) = query(&Target::CURRENT, PageRange::containing(next)) {
        if !region.protection().contains(both) {
            return false;
        }
        match region.last().checked_add(1) {
            Some(after) if after <= range.last() => next = after,
            _ => break,
        }
    }
    true
}

/// Changes what the pages grant.
///
/// # Safety
///
/// Nobody relies on the access that the pages grant now and will not grant then, nor on that they do not grant more.
#[inline]
pub(crate) unsafe fn protect(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { unix::protect(range, protection) }?;
    if grants_both(range, protection) {
        return Ok(());
    }
    Err(unix::not_granted(Failure::new(ErrorKind::NotPermitted), protection).changed(range))
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

/// Keeps the pages no longer, however often they were locked. Where there are none, there is nothing to do.
pub(crate) fn unlock(range: PageRange) -> Result<(), Failure> {
    let mut next = range.first();
    while let Some(found) = sys::region::<vm_region_submap_info_64>(None, next)? {
        let (Ok(base), Ok(len)) = (usize::try_from(found.address), usize::try_from(found.size)) else {
            break;
        };
        let Some(last) = len.checked_sub(1).and_then(|rest| base.checked_add(rest)) else { break };
        if base > range.last() {
            break;
        }
        if let Some(run) = PageRange::between(base.max(next), last.min(range.last())) {
            let locks = found.info.user_wired_count;
            for _ in 0..locks {
                match unix::munlock(run) {
                    Ok(()) => {}
                    // Gone in the meantime.
                    Err(unix::errno::Errno(libc::ENOMEM)) => break,
                    Err(errno) => return Err(errno.system(ErrorKind::System)),
                }
            }
        }
        match last.checked_add(1) {
            Some(after) if after <= range.last() => next = after,
            _ => break,
        }
    }
    Ok(())
}
