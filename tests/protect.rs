//! `protect`, its guard, and guard pages.

mod common;

use common::{Area, Helper, protections, role, skipped};
use folio::{
    Capabilities, ErrorKind, Operation, Protection, alloc, guard, page, protect, protect_with_handle, query,
    query_range, unguard,
};
use std::ptr::without_provenance;

fn shown(area: &Area, index: usize) -> Protection {
    query(without_provenance::<u8>(area.page(index))).unwrap().protection()
}

fn all(area: &Area) -> Vec<Protection> {
    (0..area.len() / page::size()).map(|index| shown(area, index)).collect()
}

#[test]
fn every_protection_is_what_the_system_then_reports() {
    let area = Area::new(3);
    for protection in protections() {
        // SAFETY: pages of this test's own, to which nobody has references.
        unsafe { protect(without_provenance::<u8>(area.page(1) + 7), 1, protection).unwrap() };
        assert_eq!(all(&area), [Protection::READ_WRITE, protection, Protection::READ_WRITE]);
    }
    // SAFETY: as above.
    unsafe { protect(without_provenance::<u8>(area.page(1) - 1), 2, Protection::READ).unwrap() };
    assert_eq!(all(&area), [Protection::READ, Protection::READ, Protection::READ_WRITE]);
}

/// Every combination has an answer: what cannot be granted is an error, never a panic, and never less than was asked for.
#[test]
fn what_cannot_be_granted_is_an_error() {
    let area = Area::new(1);
    for bits in 0..8 {
        let wanted = Protection::from_bits_truncate(bits);
        // SAFETY: pages of this test's own, to which nobody has references.
        match unsafe { protect(area.pointer(), 1, wanted) } {
            Ok(()) => assert!(shown(&area, 0).contains(wanted)),
            Err(error) => assert!(!protections().contains(&wanted), "{error}"),
        }
    }
}

#[test]
fn nonsense_is_an_error_that_says_so() {
    let area = Area::new(1);
    let beyond = Protection::from_bits_retain(1 << 20);
    for (address, len, protection) in
        [(area.base(), 0, Protection::READ), (area.base(), 1, beyond), (usize::MAX, 0, Protection::NONE)]
    {
        // SAFETY: refused before anything is changed.
        let error = unsafe { protect(without_provenance::<u8>(address), len, protection) }.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Protect));
        // SAFETY: as above.
        let error = unsafe { protect_with_handle(without_provenance::<u8>(address), len, protection) };
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(shown(&area, 0), Protection::READ_WRITE);
    // Trap: near `usize::MAX` a rounded end wrapped round to a low address.
    for (address, len) in [(usize::MAX, 1), (usize::MAX, usize::MAX), (0, usize::MAX), (usize::MAX - 1, 2)] {
        // SAFETY: nothing is mapped at one end of these at least; where a part is changed all the same, it says so.
        let error = unsafe { protect_with_handle(without_provenance::<u8>(address), len, Protection::READ) };
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.changed()), (ErrorKind::Unmapped, None), "{error}");
    }
}

/// Trap: a failed protect over a hole left the first pages changed and said nothing.
#[test]
fn over_a_hole_the_error_says_what_is_changed() {
    let test = "over_a_hole_the_error_says_what_is_changed";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    for hole in 0..6 {
        let area = Area::apart(6);
        area.protect(1, 1, Protection::READ);
        area.unmap(hole, 1);
        let before: Vec<_> = (0..6)
            .map(|index| {
                query(without_provenance::<u8>(area.page(index)))
                    .ok()
                    .filter(folio::Region::is_committed)
                    .map(|r| r.protection())
            })
            .collect();
        // SAFETY: pages of this test's own, to which nobody has references.
        let result = unsafe { protect_with_handle(area.pointer(), area.len(), Protection::NONE) };
        let now = |index: usize| {
            query(without_provenance::<u8>(area.page(index)))
                .ok()
                .filter(folio::Region::is_committed)
                .map(|region| region.protection())
        };
        if cfg!(windows) {
            // What was decommitted is reserved still, and becomes committed: there is no hole.
            drop(result.unwrap());
            continue;
        }
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.changed()), (ErrorKind::Unmapped, None), "{error}");
        assert_eq!((0..6).map(now).collect::<Vec<_>>(), before);

        // SAFETY: as above.
        let error = unsafe { protect(area.pointer(), area.len(), Protection::NONE) }.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unmapped);
        let changed = error.changed();
        for (index, &before) in before.iter().enumerate() {
            let within = changed.as_ref().is_some_and(|changed| changed.contains(&area.page(index)));
            let expected = if within { Some(Protection::NONE) } else { before };
            assert_eq!(now(index), expected, "page {index}, hole at {hole}: {error}");
        }
    }
}

/// Trap: a guard over part of a larger region restored pages that it never covered.
#[test]
fn a_guard_gives_back_its_own_pages_and_no_others() {
    let area = Area::new(8);
    area.protect(3, 2, Protection::READ);
    area.protect(5, 1, Protection::NONE);
    let before = all(&area);
    // SAFETY: pages of this test's own, to which nobody has references.
    let held = unsafe {
        protect_with_handle(
            without_provenance::<u8>(area.page(2) + 1),
            3 * page::size(),
            Protection::READ_EXECUTE,
        )
    };
    let held = held.unwrap();
    assert_eq!(held.as_range(), area.page(2)..area.page(6));
    for index in 2..6 {
        assert_eq!(shown(&area, index), Protection::READ_EXECUTE);
    }
    // Meanwhile others change what is beside, and split and merge what is inside.
    area.protect(0, 1, Protection::READ_EXECUTE);
    area.protect(6, 2, Protection::READ_EXECUTE);
    area.protect(3, 1, Protection::NONE);
    drop(held);
    let mut expected = before;
    expected[0] = Protection::READ_EXECUTE;
    expected[6] = Protection::READ_EXECUTE;
    expected[7] = Protection::READ_EXECUTE;
    assert_eq!(all(&area), expected);
}

#[test]
fn nested_guards_end_in_reverse_order() {
    let area = Area::new(4);
    // SAFETY: pages of this test's own, to which nobody has references.
    let outer = unsafe { protect_with_handle(area.pointer(), 3 * page::size(), Protection::READ) }.unwrap();
    // SAFETY: as above.
    let inner = unsafe {
        protect_with_handle(without_provenance::<u8>(area.page(1)), 3 * page::size(), Protection::NONE)
    }
    .unwrap();
    assert_eq!(all(&area), [Protection::READ, Protection::NONE, Protection::NONE, Protection::NONE]);
    inner.restore().unwrap();
    assert_eq!(all(&area), [Protection::READ, Protection::READ, Protection::READ, Protection::READ_WRITE]);
    outer.restore().unwrap();
    assert_eq!(all(&area), [Protection::READ_WRITE; 4]);
}

#[test]
fn a_forgotten_guard_leaves_all_as_it_is() {
    let area = Area::new(2);
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { protect_with_handle(area.pointer(), area.len(), Protection::READ) }.unwrap().forget();
    assert_eq!(all(&area), [Protection::READ; 2]);
}

/// A guard may be dropped in another thread, and while that thread panics. Trap: a drop that asserts aborts an unwinding program.
#[test]
fn a_guard_ends_in_another_thread_and_while_unwinding() {
    let area = Area::new(3);
    // SAFETY: pages of this test's own, to which nobody has references.
    let held = unsafe { protect_with_handle(area.pointer(), area.len(), Protection::NONE) }.unwrap();
    let thread = std::thread::spawn(move || {
        let _held = held;
        std::panic::resume_unwind(Box::new("on the way"));
    });
    assert!(thread.join().is_err());
    assert_eq!(all(&area), [Protection::READ_WRITE; 3]);
}

/// The pages behind one that is gone are given back what they had, and the guard's end says that one was missing; as a drop it
/// does not panic.
#[test]
fn a_guard_of_pages_that_are_gone_gives_back_the_others() {
    let test = "a_guard_of_pages_that_are_gone_gives_back_the_others";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    for by_drop in [false, true] {
        let area = Area::apart(6);
        area.protect(4, 1, Protection::READ);
        // SAFETY: pages of this test's own, to which nobody has references; that one goes is the test.
        let held = unsafe { protect_with_handle(area.pointer(), area.len(), Protection::NONE) }.unwrap();
        area.unmap(2, 1);
        if by_drop {
            drop(held);
        } else if let Err(error) = held.restore() {
            assert_eq!(
                (error.kind(), error.operation()),
                (ErrorKind::Unmapped, Operation::Restore),
                "{error}"
            );
        } else if !cfg!(windows) {
            panic!("what is decommitted is still reserved on Windows, and nowhere else");
        }
        for (index, expected) in [
            (0, Protection::READ_WRITE),
            (1, Protection::READ_WRITE),
            (3, Protection::READ_WRITE),
            (4, Protection::READ),
            (5, Protection::READ_WRITE),
        ] {
            assert_eq!(shown(&area, index), expected, "page {index}");
        }
    }
}

/// Many regions: the runs of a long guard.
#[test]
fn a_guard_over_many_regions_gives_each_what_it_had() {
    let area = Area::new(600);
    for index in 0..600 {
        area.protect(index, 1, [Protection::READ, Protection::NONE, Protection::READ_WRITE][index % 3]);
    }
    let before = all(&area);
    // SAFETY: pages of this test's own, to which nobody has references.
    let held = unsafe {
        protect_with_handle(without_provenance::<u8>(area.page(1)), 598 * page::size(), Protection::READ)
    }
    .unwrap();
    assert!(all(&area)[1..599].iter().all(|&protection| protection == Protection::READ));
    held.restore().unwrap();
    assert_eq!(all(&area), before);
}

/// Guard pages: the content is gone, the pages come back zeroed, in both forms.
#[test]
fn guarded_pages_come_back_zeroed() {
    let memory = alloc(4 * page::size(), Protection::READ_WRITE).unwrap();
    let start = memory.as_ptr::<u8>().cast_mut();
    let byte = |index: usize| start.wrapping_add(index * page::size());
    for index in 0..4 {
        // SAFETY: inside the allocation, which is writable.
        unsafe { byte(index).write(7) };
    }
    for protection in [Protection::READ_WRITE, Protection::READ] {
        // SAFETY: nobody has references to the pages, whose content is not wanted any more.
        unsafe { guard(byte(1).wrapping_add(9), page::size()).unwrap() };
        // Trap: guard advice is not lifted by `mprotect`; and it is in no listing.
        // SAFETY: inside the allocation, in pages that are not guarded.
        assert_eq!(unsafe { byte(0).read() }, 7);
        // SAFETY: likewise.
        assert_eq!(unsafe { byte(3).read() }, 7);
        // SAFETY: as above.
        unsafe { unguard(byte(1), 2 * page::size(), protection).unwrap() };
        for index in [1, 2] {
            assert_eq!(query(byte(index)).unwrap().protection(), protection);
            // SAFETY: readable again.
            assert_eq!(unsafe { byte(index).read() }, 0);
        }
        // SAFETY: as above.
        unsafe { unguard(byte(0), 4 * page::size(), Protection::READ_WRITE).unwrap() };
        for index in [1, 2] {
            // SAFETY: writable again.
            unsafe { byte(index).write(7) };
        }
    }
    // SAFETY: refused.
    let error = unsafe { guard(byte(0), 0) }.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Guard));
    // SAFETY: refused.
    let error = unsafe { unguard(byte(0), 1, Protection::from_bits_retain(64)) }.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Unguard));
}

/// Where there is the advice, guards cost no mapping: that is what it is for.
#[test]
fn guards_by_advice_split_no_mapping() {
    if !Capabilities::probe().guard_advice() {
        return skipped("guards_by_advice_split_no_mapping", "this system has no advice for guard pages");
    }
    let area = Area::new(16);
    for index in (0..16).step_by(2) {
        // SAFETY: pages of this test's own, to which nobody has references.
        unsafe { guard(without_provenance::<u8>(area.page(index)), 1).unwrap() };
    }
    let regions = query_range(area.pointer(), area.len()).unwrap().count();
    assert_eq!(regions, 1);
}

/// An error says that pages are changed only where some are.
#[test]
fn where_nothing_is_mapped_no_guard_has_changed_anything() {
    // SAFETY: nothing is mapped in the first page.
    let error = unsafe { guard(std::ptr::null::<u8>(), 1) }.unwrap_err();
    assert_eq!((error.kind(), error.changed()), (ErrorKind::Unmapped, None), "{error}");
    assert!(format!("{error:?}").contains("nothing is mapped there"), "{error:?}");
}

/// Guard pages cannot be read in, and that is no limit reached: nothing is locked, not even a part.
#[test]
fn guard_pages_cannot_be_locked() {
    let memory = alloc(3 * page::size(), Protection::READ_WRITE).unwrap();
    let start = memory.as_ptr::<u8>();
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { guard(start.wrapping_add(page::size()), 1).unwrap() };
    for lock in [folio::lock, folio::lock_available] {
        match lock(start, memory.len()) {
            Ok(_) => skipped("guard_pages_cannot_be_locked", "this system locks what cannot be read"),
            Err(error) if error.limit().is_some() || error.kind() == ErrorKind::Unsupported => {
                skipped("guard_pages_cannot_be_locked", "nothing may be locked here");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
                assert!(error.remedy().is_some(), "{error}");
            }
        }
    }
}
