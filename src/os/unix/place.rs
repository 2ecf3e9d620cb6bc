//! Why memory was not to be had at a place.

use crate::error::{ErrorKind, Failure};
#[cfg(not(target_os = "openbsd"))]
use crate::os::{Target, Walk};
use crate::range::PageRange;
#[cfg(not(target_os = "openbsd"))]
use crate::region::Detail;

/// What stands in the way of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Something is mapped there.
    Taken,
    /// Nothing is mapped there or above it.
    High,
    /// Nothing is mapped there or below it.
    Low,
    /// Nothing that can be seen.
    Free,
}

/// Asks for all regions: of the highest one, the stack or what the kernel lends to programs, no place of theirs is above.
#[cfg(not(target_os = "openbsd"))]
pub(super) fn look(range: PageRange) -> Place {
    let (mut below, mut above) = (false, false);
    let walked = PageRange::touching(0, usize::MAX)
        .and_then(|all| Walk::new(&Target::CURRENT, all, Detail::Region))
        .and_then(|mut walk| {
            while let Some(region) = walk.step()? {
                if region.last() < range.first() {
                    below = true;
                } else if region.base <= range.last() {
                    return Ok(Place::Taken);
                } else if cfg!(target_pointer_width = "32") || region.base <= isize::MAX.unsigned_abs() {
                    // (What lies in the kernel's half is not a program's: a page of Linux's.)
                    above = true;
                    break;
                }
            }
            Ok(match (below, above) {
                (_, false) => Place::High,
                (false, true) => Place::Low,
                (true, true) => Place::Free,
            })
        });
    walked.unwrap_or(Place::Free)
}

/// By mquery(2), which a program under pledge(2) may call, unlike the list of mappings.
#[cfg(target_os = "openbsd")]
pub(super) fn look(range: PageRange) -> Place {
    use super::errno::Errno;
    use core::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn mquery(
            address: *mut c_void,
            len: libc::size_t,
            protection: c_int,
            flags: c_int,
            descriptor: c_int,
            offset: libc::off_t,
        ) -> *mut c_void;
    }
    let failed = Errno::injected("mquery").err().or_else(|| {
        let place = core::ptr::without_provenance_mut(range.first());
        // SAFETY: maps nothing, and takes no descriptor (mquery(2)).
        let found = unsafe { mquery(place, range.len(), libc::PROT_NONE, libc::MAP_FIXED, -1, 0) };
        (found == libc::MAP_FAILED).then(Errno::last)
    });
    if failed.is_some() { Place::Taken } else { Place::Free }
}

/// The failure, where the place is at fault.
pub(crate) fn refused_place(range: PageRange) -> Option<Failure> {
    match look(range) {
        Place::Taken => Some(Failure::new(ErrorKind::Occupied)),
        Place::High => Some(too_high()),
        Place::Low => Some(too_low()),
        Place::Free => None,
    }
}

pub(super) fn too_high() -> Failure {
    Failure::invalid("the addresses are above those that a process may use")
}

pub(super) fn too_low() -> Failure {
    Failure::new(ErrorKind::NotPermitted).detail("addresses so low are not given to programs")
}
