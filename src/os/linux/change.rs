//! Getting pages, changing what they grant, giving them back.

use super::keys;
use super::process::Target;
use super::walk::{Walk, query};
use super::{sys, why};
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::range::{PageLen, PageRange};
use crate::region::Detail;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

pub(super) fn pointer(range: PageRange) -> *mut c_void {
    ptr::with_exposed_provenance_mut(range.first())
}

/// The three rights; whatever else `bits` had was refused by a higher floor.
pub(super) fn flags(protection: Protection) -> ProtFlags {
    let mut flags = ProtFlags::empty();
    flags.set(ProtFlags::READ, protection.contains(Protection::READ));
    flags.set(ProtFlags::WRITE, protection.contains(Protection::WRITE));
    flags.set(ProtFlags::EXEC, protection.contains(Protection::EXECUTE));
    flags
}

/// New pages, zeroed and private, where the system likes.
pub(crate) fn map(len: PageLen, protection: Protection) -> Result<NonNull<u8>, Failure> {
    let mapped = sys::injected("mmap").and_then(|()| {
        // SAFETY: a new mapping at a place of the kernel's choice touches nobody's memory (mmap(2)).
        unsafe { mm::mmap_anonymous(ptr::null_mut(), len.bytes(), flags(protection), MapFlags::PRIVATE) }
    });
    match mapped {
        // The lowest page is never given without being asked for, and of nobody at all by `mmap_min_addr`.
        Ok(place) => NonNull::new(place.cast()).ok_or_else(|| Failure::new(ErrorKind::System)),
        Err(errno) => Err(why::executable(why::not_mapped(errno, len.bytes()), protection)),
    }
}

/// `MAP_FIXED_NOREPLACE`, which rustix leaves out for Android; the same on all processors that Rust's std knows but Alpha.
pub(super) const FIXED_NOREPLACE: MapFlags = MapFlags::from_bits_retain(0x10_0000);

/// New pages at exactly this place, if nothing is there.
pub(crate) fn map_at(range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    let len = range.page_len()?;
    let mapped = sys::injected("mmap").and_then(|()| {
        let place = ptr::without_provenance_mut(range.first());
        let how = MapFlags::PRIVATE | FIXED_NOREPLACE;
        // SAFETY: where something is mapped already, the kernel refuses; one before 4.17 does not know the flag and takes the
        // place as a wish, which touches nobody's memory either (mmap(2)).
        unsafe { mm::mmap_anonymous(place, len.bytes(), flags(protection), how) }
    });
    match mapped {
        // SAFETY: just mapped, and nobody was told.
        Ok(place) => unsafe { only_there(place, range) },
        Err(errno @ Errno::ACCESS) => {
            Err(why::executable(not_mapped_at(range, errno, len.bytes()), protection))
        }
        Err(errno) => Err(not_mapped_at(range, errno, len.bytes())),
    }
}

/// Why so many bytes were not to be had at a place.
#[cold]
pub(super) fn not_mapped_at(range: PageRange, errno: Errno, len: usize) -> Failure {
    match errno {
        Errno::EXIST => Failure::system(ErrorKind::Occupied, errno.raw_os_error()),
        Errno::PERM => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("addresses so low are not given to ordinary programs (vm.mmap_min_addr)"),
        Errno::INVAL | Errno::NOMEM if why::above_all(range) => {
            Failure::invalid("the addresses are above those that a process may use")
        }
        // The kernel looks at other things first: how many mappings there are, whether the end is too high.
        Errno::NOMEM if why::has_any(range) => Failure::system(ErrorKind::Occupied, errno.raw_os_error()),
        errno => why::not_mapped(errno, len),
    }
}

/// Pages that were mapped by a wish, if it was granted.
///
/// # Safety
///
/// As many pages as the range has were mapped at `place`, and are the caller's.
pub(super) unsafe fn only_there(place: *mut c_void, range: PageRange) -> Result<NonNull<u8>, Failure> {
    if place.addr() == range.first() {
        return NonNull::new(place.cast()).ok_or_else(|| Failure::new(ErrorKind::System));
    }
    // SAFETY: the caller's, who learns nothing of them.
    let _unmapped = unsafe { mm::munmap(place, range.len()) };
    Err(Failure::new(ErrorKind::Occupied))
}

/// # Safety
///
/// The pages are the caller's, and nobody uses them any more.
pub(crate) unsafe fn unmap(range: PageRange) -> Result<(), Failure> {
    let unmapped = sys::injected("munmap").and_then(|()| {
        // SAFETY: the caller's promise.
        unsafe { mm::munmap(pointer(range), range.len()) }
    });
    unmapped.map_err(|errno| match errno {
        // Only the middle of what the kernel has merged with its neighbours: that takes one mapping more.
        Errno::NOMEM => why::too_many_mappings(errno),
        Errno::PERM => sealed(errno),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
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

pub(super) fn sealed(errno: Errno) -> Failure {
    Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
        .detail("the pages are sealed, or a sandbox forbids the call")
}

/// Changes what the pages grant.
///
/// # Safety
///
/// Nobody relies on the access that the pages grant now and will not grant then, nor on that they do not grant more.
#[inline]
pub(crate) unsafe fn protect(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    match unsafe { mprotect(range, protection) } {
        Ok(()) => Ok(()),
        Err(errno) => Err(not_protected(range, protection, errno)),
    }
}

/// # Safety
///
/// As [`protect`].
unsafe fn mprotect(range: PageRange, protection: Protection) -> Result<(), Errno> {
    sys::injected("mprotect")?;
    let flags = MprotectFlags::from_bits_retain(flags(protection).bits());
    // SAFETY: the caller's promise.
    unsafe { mm::mprotect(pointer(range), range.len(), flags) }
}

/// Why, and what of the range is changed nevertheless: the kernel goes from mapping to mapping, and stops at the first one that
/// it cannot change, or at a hole.
#[cold]
pub(super) fn not_protected(range: PageRange, protection: Protection, errno: Errno) -> Failure {
    let mut next = range.first();
    let mut changed = None;
    let mut stopped = false;
    let walked = Walk::new(&Target::CURRENT, range, Detail::Region).and_then(|mut walk| {
        while let Some(region) = walk.step()? {
            if region.base > next {
                stopped = true;
                return Ok(Errno::NOMEM);
            }
            if region.protection() != protection {
                stopped = true;
                return Ok(errno);
            }
            let Some(until) = PageRange::between(range.first(), region.last().min(range.last())) else {
                break;
            };
            changed = Some(until);
            match until.last().checked_add(1) {
                Some(after) => next = after,
                None => break,
            }
        }
        stopped = next <= range.last();
        Ok(if stopped { Errno::NOMEM } else { errno })
    });
    let hole = stopped && matches!(walked, Ok(Errno::NOMEM)) && query_is_empty(next);
    let failure = match errno {
        Errno::NOMEM if hole => Failure::system(ErrorKind::Unmapped, errno.raw_os_error()),
        Errno::NOMEM => why::too_many_mappings(errno),
        Errno::ACCESS => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error()).detail(
            "a shared mapping of a file that was opened without this right, or a security module forbids it",
        ),
        Errno::PERM => sealed(errno),
        Errno::INVAL => Failure::system(ErrorKind::Unsupported, errno.raw_os_error()),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    };
    let failure = why::executable(failure, protection);
    match changed {
        // Not known: all of it may be.
        _ if walked.is_err() => failure.changed(range),
        // Where the whole range is as it was to become, it was so before, or became so in the meantime.
        Some(changed) if changed != range => failure.changed(changed),
        _ => failure,
    }
}

fn query_is_empty(address: usize) -> bool {
    matches!(query(&Target::CURRENT, PageRange::containing(address)), Ok(None))
}

/// What pages grant, and what else `mprotect` could take from them: on x86, a protection key (execute-only memory is given one
/// by the kernel itself); on arm64, that branches may only lead to marked places (BTI).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    protection: Protection,
    key: Option<u32>,
    branch_targets: bool,
}

pub(super) const PROT_BTI: u32 = 0x10;

/// The runs of equal access in the range, ascending and clipped to it. Holes are left out.
#[inline]
pub(crate) fn accesses(
    range: PageRange,
    to: Protection,
    found: &mut dyn FnMut(PageRange, Access),
) -> Result<(), Failure> {
    let first = query(&Target::CURRENT, PageRange::containing(range.first()))?;
    if let Some(region) = first {
        let protection = region.protection();
        if region.last() >= range.last() && !needs_more(protection, to) {
            found(range, Access { protection, key: None, branch_targets: false });
            return Ok(());
        }
    }
    many_accesses(range, to, found)
}

/// Whether `maps` tells too little of pages with this protection to give them back what they have after a change `to` another.
///
/// `mprotect` leaves a page its protection key, unless it is or becomes executable alone (`arch_override_mprotect_pkey`, the same on
/// x86, arm64 and powerpc).
fn needs_more(protection: Protection, to: Protection) -> bool {
    let alone = Protection::EXECUTE;
    protection == alone
        || to == alone
        || (protection.contains(Protection::EXECUTE) && sys::has_branch_targets())
}

#[cold]
fn many_accesses(
    range: PageRange,
    to: Protection,
    found: &mut dyn FnMut(PageRange, Access),
) -> Result<(), Failure> {
    let mut detail = Detail::Region;
    let mut walk = Walk::new(&Target::CURRENT, range, detail)?;
    let mut from = range.first();
    while let Some(region) = walk.step()? {
        let protection = region.protection();
        let Some(run) = PageRange::between(region.base.max(from), region.last().min(range.last())) else {
            continue;
        };
        if detail == Detail::Region && needs_more(protection, to) {
            // From here on with all that `smaps` tells.
            if let Some(rest) = PageRange::between(run.first(), range.last()) {
                detail = Detail::Usage;
                match Walk::new(&Target::CURRENT, rest, detail) {
                    Ok(with_more) => {
                        walk = with_more;
                        continue;
                    }
                    // Without `smaps` nothing is known of keys; what `maps` tells has to do.
                    Err(failure) if failure.kind() == ErrorKind::Unsupported => {}
                    Err(failure) => return Err(failure),
                }
            }
        }
        let (key, branch_targets) = walk.marks();
        found(run, Access { protection, key, branch_targets });
        match run.last().checked_add(1) {
            Some(after) => from = after,
            None => break,
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
    if let Some(key) = access.key {
        // SAFETY: the caller's promise.
        match unsafe { keys::assign(range, access.protection, key) } {
            // The key that the kernel gives to execute-only memory is not ours to give: it does so again, below.
            Err(failure) if failure.kind() == ErrorKind::InvalidInput => {}
            done => return done,
        }
    }
    if access.branch_targets {
        sys::injected("mprotect").map_err(|errno| not_protected(range, access.protection, errno))?;
        let flags = MprotectFlags::from_bits_retain(flags(access.protection).bits() | PROT_BTI);
        // SAFETY: the caller's promise.
        let done = unsafe { mm::mprotect(pointer(range), range.len(), flags) };
        return done.map_err(|errno| not_protected(range, access.protection, errno));
    }
    // SAFETY: the caller's promise.
    unsafe { protect(range, access.protection) }
}

/// Drops the content and lets every touch end the process.
///
/// # Safety
///
/// Nobody uses the pages.
pub(crate) unsafe fn install_guard(range: PageRange) -> Result<(), Failure> {
    // The kernel goes from mapping to mapping: those before one that it refuses are guarded, and have lost their content.
    // Around holes it goes on.
    let refused = |errno| {
        let failure = not_guarded(range, errno);
        let changed = match errno {
            Errno::NOMEM => why::mapped_in(range),
            _ if why::is_one_mapping(range) => None,
            _ => Some(range),
        };
        match changed {
            Some(changed) => failure.changed(changed),
            None => failure,
        }
    };
    // SAFETY: the caller's promise.
    match unsafe { sys::advise(range, sys::GUARD_INSTALL) } {
        Ok(()) => return Ok(()),
        // An older kernel, or memory of another kind: locked, of hugetlb, special.
        Err(Errno::INVAL) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let dropped = sys::injected("madvise").and_then(|()| {
        // SAFETY: the caller's promise: nobody uses the content.
        unsafe { mm::madvise(pointer(range), range.len(), Advice::LinuxDontNeed) }
    });
    match dropped {
        // SAFETY: the caller's promise.
        Ok(()) => unsafe { protect(range, Protection::NONE) }.map_err(|failure| failure.changed(range)),
        Err(errno) => Err(refused(errno)),
    }
}

#[cold]
fn not_guarded(range: PageRange, errno: Errno) -> Failure {
    match errno {
        // The latter where the range reaches to the top of all addresses, which the kernel takes for nonsense.
        Errno::NOMEM | Errno::INVAL if why::has_hole(range) => {
            Failure::system(ErrorKind::Unmapped, errno.raw_os_error())
        }
        Errno::NOMEM => why::too_many_mappings(errno),
        Errno::PERM => sealed(errno),
        Errno::INVAL => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("locked pages, and those of some devices, cannot be dropped")
            .remedy("unlock them before"),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    }
}

/// Makes ordinary pages of guard pages.
///
/// # Safety
///
/// As [`protect`].
pub(crate) unsafe fn remove_guard(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: takes only what `GUARD_INSTALL` put there.
    match unsafe { sys::advise(range, sys::GUARD_REMOVE) } {
        // SAFETY: the caller's promise.
        Ok(()) => unsafe { protect(range, protection) }.map_err(|failure| failure.changed(range)),
        // Where the advice is not known, or not for this memory, there are no such guards.
        // SAFETY: the caller's promise.
        Err(Errno::INVAL) => unsafe { protect(range, protection) },
        // The kernel goes around holes.
        Err(errno) => Err(not_guarded(range, errno).changed(range)),
    }
}

/// No change to the pages any more.
///
/// # Safety
///
/// Nobody will want to unmap the pages, or to change what they grant, until the process ends.
pub(crate) unsafe fn seal(range: PageRange) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { sys::seal(range) }.map_err(|errno| match errno {
        Errno::NOSYS => Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
            .remedy("sealing takes Linux 6.10 and a 64-bit processor"),
        Errno::NOMEM | Errno::INVAL if why::has_hole(range) => {
            Failure::system(ErrorKind::Unmapped, errno.raw_os_error())
        }
        // Mapping after mapping.
        Errno::NOMEM => why::too_many_mappings(errno).changed(range),
        Errno::PERM => Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
            .remedy("sealing takes a 64-bit program"),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    })
}

#[cfg(test)]
mod tests;
