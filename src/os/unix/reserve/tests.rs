//! Memory that comes and goes, and a system that loses it on the way.

use super::*;
use crate::os::inject::{fail_from, fail_nth, just_before};
use crate::range::PageLen;
use core::ptr;

const REFUSED: i32 = libc::ENOMEM;

fn shown(page: PageRange) -> Option<Protection> {
    os::query(&os::Target::CURRENT, page).unwrap().map(|region| region.protection())
}

/// Four pages where nobody else comes.
fn reserved(number: usize) -> PageRange {
    let place = if usize::BITS == 64 {
        number.wrapping_shl(37)
    } else {
        0x4400_0000 + (number - 21).wrapping_shl(22)
    };
    let range = PageRange::starting_at(place, PageLen::covering(4 * crate::page::size()).unwrap()).unwrap();
    let given = os::map_at(range, Protection::NONE).unwrap();
    given.as_ptr().expose_provenance();
    range
}

fn gone(range: PageRange) {
    // SAFETY: pages of a test's own, which ends here.
    unsafe { os::unmap(range) }.unwrap();
}

#[test]
fn memory_comes_zeroed_and_goes() {
    let range = reserved(21);
    let place: *mut u8 = ptr::with_exposed_provenance_mut(range.first());
    for _ in 0..2 {
        // SAFETY: pages of this test's own.
        unsafe { commit(range, Protection::NONE) }.unwrap();
        assert_eq!(shown(range), Some(Protection::NONE));
        // SAFETY: likewise.
        unsafe { commit(range, Protection::READ_WRITE) }.unwrap();
        assert_eq!(shown(range), Some(Protection::READ_WRITE));
        // SAFETY: likewise; readable.
        assert_eq!(unsafe { place.read() }, 0);
        // SAFETY: likewise; writable.
        unsafe { place.write(1) };
        // SAFETY: likewise; nobody has a reference.
        unsafe { decommit(range) }.unwrap();
        assert_eq!(shown(range), Some(Protection::NONE));
    }
    gone(range);
}

#[test]
fn what_is_refused_stays_and_what_is_lost_is_filled_or_told() {
    let range = reserved(22);
    // SAFETY: pages of this test's own.
    unsafe { commit(range, Protection::READ_WRITE) }.unwrap();
    // SAFETY: likewise; nobody has a reference.
    let (done, failed) = fail_nth(Some("mmap"), 0, REFUSED, || unsafe { decommit(range) });
    let failure = done.unwrap_err();
    assert!(failed);
    assert_eq!((failure.kind(), failure.changed_part()), (ErrorKind::Exhausted, None));
    assert_eq!(shown(range), Some(Protection::READ_WRITE));
    let lost = move || gone(range);
    just_before("mmap", lost);
    // SAFETY: likewise.
    let (done, failed) = fail_nth(Some("mmap"), 0, REFUSED, || unsafe { decommit(range) });
    done.unwrap();
    assert!(failed);
    assert_eq!(shown(range), Some(Protection::NONE));
    just_before("mmap", lost);
    // SAFETY: likewise.
    let (done, _) = fail_from(Some("mmap"), 0, REFUSED, || unsafe { decommit(range) });
    let failure = done.unwrap_err();
    assert_eq!((failure.kind(), failure.changed_part()), (ErrorKind::Unmapped, Some(range)));
    assert_eq!(shown(range), None);
}

/// Only illumos is told not to count.
#[test]
fn nothing_is_asked_for_beside() {
    assert_eq!(sys::uncounted(Protection::READ), 0);
    assert_eq!(sys::uncounted(Protection::NONE), 0);
}
