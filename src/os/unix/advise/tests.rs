//! On real memory of Linux, with what each system answers injected.

use super::super::tests::{Area, forked, kind};
use super::*;
use crate::os::inject::{calls_of, fail_from, fail_nth, just_before, order};

const RW: Option<Protection> = Some(Protection::READ_WRITE);
const NONE: Option<Protection> = Some(Protection::NONE);

fn discarded(area: &Area, first: usize, count: usize) -> Result<(), NotDiscarded> {
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { discard(area.pages(first, count), Protection::READ_WRITE, false) }
}

#[test]
fn discarded_pages_are_zeroes_and_no_others() {
    let area = Area::new(4);
    area.fill(7);
    assert_eq!(resident(area.range).unwrap(), 4);
    discarded(&area, 1, 2).unwrap();
    assert_eq!(resident(area.range).unwrap(), 2);
    assert_eq!([0, 1, 2, 3].map(|page| area.read(page)), [7, 0, 0, 7]);
    assert_eq!(area.shown(), [RW; 4]);
    // What fresh pages would not have is not lost without a word.
    // SAFETY: as above.
    let refused = unsafe { discard(area.range, Protection::READ_WRITE, true) }.unwrap_err();
    assert_eq!((refused.failure.kind(), refused.gone), (ErrorKind::Unsupported, None));
    assert_eq!(area.read(0), 7);
}

#[test]
fn what_is_refused_before_is_as_it_was() {
    let area = Area::new(2);
    area.fill(7);
    for (code, kind) in [(libc::ENOMEM, ErrorKind::Exhausted), (libc::EACCES, ErrorKind::NotPermitted)] {
        let (done, failed) = fail_nth(Some("mmap"), 0, code, || discarded(&area, 0, 2));
        assert!(failed);
        let NotDiscarded { failure, gone } = done.unwrap_err();
        assert_eq!((failure.kind(), failure.changed_part(), gone), (kind, None, None));
        assert_eq!((area.read(0), area.read(1)), (7, 7));
    }
}

/// What was unmapped before the new pages were refused is somebody else's at once, unless it is taken back.
#[test]
fn a_hole_half_way_is_filled_or_gone() {
    forked(|| {
        let area = Area::new(4);
        area.fill(7);
        let hole = area.pages(1, 2);
        for filled in [true, false] {
            just_before("mmap", move || {
                // SAFETY: pages of this test's own.
                unsafe { sys::munmap(hole) }.unwrap();
                if filled {
                    order("mmap", libc::ENOMEM);
                }
            });
            let body = || discarded(&area, 1, 2);
            let done = if filled { body() } else { fail_from(Some("mmap"), 0, libc::ENOMEM, body).0 };
            let NotDiscarded { failure, gone } = done.unwrap_err();
            assert_eq!(failure.changed_part(), Some(hole));
            assert_eq!(gone, (!filled).then_some(hole));
            let between = if filled { NONE } else { None };
            assert_eq!(area.shown(), [RW, between, between, RW]);
            assert_eq!((area.read(0), area.read(3)), (7, 7));
        }
        // Nothing is put into a hole.
        assert_eq!(discarded(&area, 0, 2).unwrap_err().failure.kind(), ErrorKind::Unmapped);
    });
}

#[test]
fn lazily_freed_pages_are_old_or_fresh() {
    let area = Area::new(2);
    area.fill(7);
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { discard_lazily(area.range, Protection::READ_WRITE, false) }.unwrap();
    assert!([0, 7].contains(&area.read(0)));
    // Where that is not to be had, at once; where neither is, some may be freed.
    area.fill(7);
    let (done, failed) = fail_nth(Some("madvise"), 0, libc::EINVAL, || {
        // SAFETY: as above.
        unsafe { discard_lazily(area.range, Protection::READ_WRITE, false) }
    });
    assert!(failed && done.is_ok());
    assert_eq!((area.read(0), area.read(1)), (0, 0));
    let (done, _) = fail_from(None, 0, libc::ENOMEM, || {
        // SAFETY: as above.
        unsafe { discard_lazily(area.range, Protection::READ_WRITE, false) }
    });
    assert_eq!(done.unwrap_err().failure.changed_part(), Some(area.range));
}

/// Trap: what is a hint on one system drops content on another, by the same name.
#[test]
fn hints_lose_nothing() {
    let area = Area::new(2);
    area.fill(7);
    let all = [
        Advice::Normal,
        Advice::WillNeed,
        Advice::Sequential,
        Advice::Random,
        Advice::HugePages,
        Advice::NoHugePages,
        Advice::Cold,
        Advice::PageOut,
        Advice::Mergeable,
        Advice::Unmergeable,
    ];
    for advice in all {
        let (done, calls) = calls_of(|| advise(area.range, advice));
        done.unwrap();
        assert_eq!(calls.len(), usize::from(native(advice).is_some()), "{advice:?}");
        assert_eq!((area.read(0), area.read(1)), (7, 7), "{advice:?}");
    }
    assert_eq!(kind(advise(area.range, Advice::Collapse)), ErrorKind::Unsupported);
    assert_eq!(kind(keep_out_of_core_dumps(area.range, true)), ErrorKind::Unsupported);
    assert_eq!(kind(wipe_on_fork(area.range, true)), ErrorKind::Unsupported);
    keep_out_of_core_dumps(area.range, false).unwrap();
    wipe_on_fork(area.range, false).unwrap();
    assert!(!populate(area.range, true).unwrap());
    for (code, expected) in [
        (libc::EINVAL, ErrorKind::NotPermitted),
        (libc::ENOMEM, ErrorKind::Exhausted),
        (libc::EIO, ErrorKind::System),
    ] {
        let (done, _) = fail_nth(Some("madvise"), 0, code, || advise(area.range, Advice::WillNeed));
        assert_eq!(kind(done), expected);
        let (done, _) = fail_nth(Some("mincore"), 0, code, || resident(area.range));
        assert!(done.is_err());
    }
}

#[test]
fn holes_are_told() {
    forked(|| {
        let area = Area::new(3);
        // SAFETY: a page of this test's own.
        unsafe { sys::munmap(area.pages(1, 1)) }.unwrap();
        assert_eq!(kind(advise(area.range, Advice::WillNeed)), ErrorKind::Unmapped);
        assert_eq!(kind(resident(area.range)), ErrorKind::Unmapped);
    });
}
