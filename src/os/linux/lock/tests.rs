//! What a failed lock meant, and unlocking around what refuses.

use super::super::{Method, force};
use super::*;
use crate::os::{inject, map, protect, unmap};
use crate::protection::Protection;
use crate::range::PageLen;

/// Three pages: readable, of no access, readable; unmapped in the end.
struct Three(PageRange);

impl Three {
    fn new() -> Self {
        let size = crate::page::size();
        let len = PageLen::covering(3 * size).unwrap();
        let place = map(len, Protection::READ_WRITE).unwrap();
        let whole = PageRange::starting_at(place.as_ptr().expose_provenance(), len).unwrap();
        let middle = PageRange::containing(whole.first() + size);
        // SAFETY: a page of this test's own, to which nobody has references.
        unsafe { protect(middle, Protection::NONE) }.unwrap();
        Self(whole)
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        // SAFETY: pages of this test's own, which ends.
        unsafe { unmap(self.0) }.unwrap();
    }
}

const NO_MEMORY: i32 = 12;

/// Trap: a walk by the text went on behind the range, where every gap was taken for a hole in it. (Between this memory and the
/// stack there is one.)
#[test]
fn gaps_behind_the_range_are_no_holes() {
    let three = Three::new();
    let next = PageRange::containing(three.0.last());
    for method in [Method::Text, Method::Ioctl] {
        force(method, || {
            assert!(!why::has_hole(three.0), "{method:?}");
            assert!(!why::has_hole(next), "{method:?}");
            let (failed, _) = inject::fail_nth(Some("mlock"), 0, NO_MEMORY, || lock(next).unwrap_err());
            assert_ne!(failed.kind(), ErrorKind::Unmapped, "{method:?}");
        });
    }
    assert!(why::has_hole(PageRange::touching(0, usize::MAX).unwrap()));
}

/// What is locked on fault is not read in: that pages grant no access is not the reason, and locking on fault no remedy.
#[test]
fn a_lock_on_fault_that_fails_blames_no_missing_access() {
    let three = Three::new();
    let (failed, reached) =
        inject::fail_nth(Some("mlock2"), 0, NO_MEMORY, || lock_on_fault(three.0).unwrap_err());
    assert!(reached);
    assert_eq!(failed.kind(), ErrorKind::Exhausted);
    assert!(!failed.has_remedy());
    let (failed, reached) = inject::fail_nth(Some("mlock"), 0, NO_MEMORY, || lock(three.0).unwrap_err());
    assert!(reached && failed.has_remedy());
    assert_eq!(failed.kind(), ErrorKind::NotPermitted);
}

/// Where one region refuses, for want of mappings, those behind it are unlocked nevertheless.
#[test]
fn unlocking_goes_on_behind_what_refuses() {
    let three = Three::new();
    let ((done, _), calls) = inject::calls_of(|| {
        inject::fail_nth(Some("munlock"), 0, NO_MEMORY, || {
            // The first region's as well, after that of the whole.
            inject::just_before("munlock", || {
                inject::just_before("munlock", || inject::order("munlock", NO_MEMORY));
            });
            unlock(three.0)
        })
    });
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(calls.iter().filter(|&&call| call == "munlock").count(), 4, "{calls:?}");
}

/// Trap: a program that may lock any amount was told of the limit, whatever had failed.
#[test]
fn a_limit_that_does_not_apply_is_not_blamed() {
    let limit = crate::os::limits().unwrap().lock_limit.and_then(|limit| usize::try_from(limit).ok());
    let Some(len) = limit.and_then(|limit| PageLen::covering(limit.checked_add(1)?).ok()) else { return };
    let Ok(place) = map(len, Protection::NONE) else { return };
    let range = PageRange::starting_at(place.as_ptr().expose_provenance(), len).unwrap();
    let failed = lock(range).unwrap_err();
    // SAFETY: pages of this test's own, which ends.
    unsafe { unmap(range) }.unwrap();
    let privileged = rustix::thread::capabilities(None).unwrap();
    if privileged.effective.contains(rustix::thread::CapabilitySet::IPC_LOCK) {
        assert_eq!(failed.kind(), ErrorKind::NotPermitted);
    } else {
        assert_eq!(failed.kind(), ErrorKind::Exhausted);
    }
    assert!(failed.has_remedy());
}
