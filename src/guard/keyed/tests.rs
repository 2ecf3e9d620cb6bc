//! What can only be tested from inside: injected failures, numbers of keys, the register.

use super::*;
use crate::os::inject;
use crate::page;
use proptest::prelude::*;
use std::string::ToString;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::area::skipped;

/// Keys are few, and some tests want to know the number of the next one: one test at a time. `None` where there are none.
fn keys(test: &str) -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    if !crate::Capabilities::probe().protection_keys() {
        skipped(test, "no protection keys here");
        return None;
    }
    Some(ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn rights(pages: &KeyedPages) -> Rights {
    os::keys::rights(pages.key.number())
}

fn is_mapped(range: PageRange) -> bool {
    crate::query(ptr::without_provenance::<u8>(range.first())).is_ok()
}

#[test]
fn making_and_dropping_costs_the_calls_that_are_documented() {
    let Some(_one) = keys("making_and_dropping_costs_the_calls_that_are_documented") else { return };
    let (first, calls) = inject::calls_of(|| KeyedPages::new(1).unwrap());
    assert_eq!(calls, ["pkey_alloc", "mmap", "pkey_mprotect"]);
    let (mut second, calls) = inject::calls_of(|| first.beside(1).unwrap());
    assert_eq!(calls, ["mmap", "pkey_mprotect"]);
    let (_, calls) = inject::calls_of(|| {
        drop(first.open());
        second.open_mut().write(0, &[1]).unwrap();
    });
    assert!(calls.is_empty(), "{calls:?}");
    assert_eq!(inject::calls_of(|| drop(first)).1, ["munmap"]);
    assert_eq!(inject::calls_of(|| drop(second)).1, ["munmap", "pkey_free"]);
}

/// Whatever call fails: the error says so, and nothing is left behind.
#[test]
fn a_failure_leaves_nothing_behind() {
    let Some(_one) = keys("a_failure_leaves_nothing_behind") else { return };
    for (call, code, kind, undone) in [
        ("pkey_alloc", 5, ErrorKind::System, &[][..]),
        ("mmap", 12, ErrorKind::Exhausted, &["pkey_free"][..]),
        ("pkey_mprotect", 12, ErrorKind::Exhausted, &["munmap", "pkey_free"][..]),
        ("pkey_mprotect", 22, ErrorKind::InvalidInput, &["munmap", "pkey_free"][..]),
    ] {
        let ((made, came), calls) =
            inject::calls_of(|| inject::fail_nth(Some(call), 0, code, || KeyedPages::new(1)));
        assert!(came);
        let error = made.unwrap_err();
        assert_eq!((error.operation(), error.kind()), (Operation::Key, kind), "{error}");
        assert_eq!(error.raw_os_error(), Some(code));
        assert_eq!(error.range().is_some(), call == "pkey_mprotect", "{error}");
        let after = calls.iter().position(|&made| made == call).unwrap();
        let rest: Vec<_> = calls[after + 1..].iter().copied().filter(|made| undone.contains(made)).collect();
        assert_eq!(rest, undone, "{calls:?}");
    }
    // The same for pages beside others, whose key stays.
    let pages = KeyedPages::new(1).unwrap();
    for (call, code) in [("mmap", 12), ("pkey_mprotect", 12)] {
        let ((made, came), calls) =
            inject::calls_of(|| inject::fail_nth(Some(call), 0, code, || pages.beside(1)));
        assert!(came && made.is_err());
        assert!(!calls.contains(&"pkey_free"), "{calls:?}");
    }
    assert_eq!(inject::calls_of(|| drop(pages)).1, ["munmap", "pkey_free"]);
}

/// Trap: a freed key is given out again while pages still carry it. Pages that cannot be unmapped keep theirs.
#[test]
fn a_key_is_kept_when_unmapping_fails() {
    let Some(_one) = keys("a_key_is_kept_when_unmapping_fails") else { return };
    let pages = KeyedPages::new(1).unwrap();
    let beside = pages.beside(1).unwrap();
    let (range, number) = (pages.range, pages.key.number());
    let ((_, came), calls) = inject::calls_of(|| inject::fail_nth(Some("munmap"), 0, 12, || drop(pages)));
    assert!(came && calls.starts_with(&["munmap"]) && !calls.contains(&"pkey_free"), "{calls:?}");
    assert_eq!(inject::calls_of(|| drop(beside)).1, ["munmap"]);
    assert!(is_mapped(range));
    let mut others = Vec::new();
    while let Ok(other) = KeyedPages::new(1) {
        assert_ne!(other.key.number(), number);
        others.push(other);
    }
    drop(others);
    // SAFETY: pages that their owner has given up.
    unsafe { os::unmap(range) }.unwrap();
    os::keys::free(number).unwrap();
}

/// The same when making them fails half-way, and unmapping then as well: some of them may carry the key.
#[test]
fn a_key_is_kept_when_undoing_fails() {
    let Some(_one) = keys("a_key_is_kept_when_undoing_fails") else { return };
    inject::just_before("munmap", || inject::order("munmap", 12));
    let ((made, _), calls) =
        inject::calls_of(|| inject::fail_nth(Some("pkey_mprotect"), 0, 12, || KeyedPages::new(1)));
    let range = made.unwrap_err().range().unwrap();
    assert!(calls.contains(&"munmap") && !calls.contains(&"pkey_free"), "{calls:?}");
    let range = PageRange::containing(range.start);
    assert!(is_mapped(range));
    // SAFETY: a page that its owner has given up.
    unsafe { os::unmap(range) }.unwrap();
    // Its key is not known here: it is lost to this process, as it should be.
}

/// Giving back a key can fail, if only by somebody else's doing: no panic.
#[test]
fn a_key_that_cannot_be_given_back_is_reported() {
    let Some(_one) = keys("a_key_that_cannot_be_given_back_is_reported") else { return };
    let pages = KeyedPages::new(1).unwrap();
    let number = pages.key.number();
    let (_, came) = inject::fail_nth(Some("pkey_free"), 0, 22, || drop(pages));
    assert!(came);
    os::keys::free(number).unwrap();
}

/// Trap: counts of a guard that was forgotten must not open the pages of the number's next owner for good.
#[test]
fn a_forgotten_guard_does_not_count_for_the_next_owner_of_the_number() {
    let Some(_one) = keys("a_forgotten_guard_does_not_count_for_the_next_owner_of_the_number") else {
        return;
    };
    let mut pages = KeyedPages::new(1).unwrap();
    let number = pages.key.number();
    core::mem::forget(pages.open());
    core::mem::forget(pages.open_mut());
    assert_eq!(rights(&pages), Rights::Write);
    // Still a guard of the same owner: the forgotten ones count.
    drop(pages.open());
    assert_eq!(rights(&pages), Rights::Write);
    drop(pages);
    let mut others = Vec::new();
    // The lowest free number is given; other tests may hold one for a moment.
    let mut next = loop {
        let next = KeyedPages::new(1).unwrap();
        if next.key.number() == number {
            break next;
        }
        others.push(next);
    };
    assert_eq!(rights(&next), Rights::Closed);
    // As on a thread that had forgotten the guard, and did not make the new key.
    os::keys::set_rights(number, Rights::Write);
    let guard = next.open();
    assert_eq!(os::keys::rights(number), Rights::Read);
    drop(guard);
    assert_eq!(rights(&next), Rights::Closed);
    drop(next.open_mut());
    assert_eq!(rights(&next), Rights::Closed);
}

/// A guard works although somebody else has written the register, or a signal handler was left by `siglongjmp`.
#[test]
fn a_guard_opens_again_what_others_have_closed() {
    let Some(_one) = keys("a_guard_opens_again_what_others_have_closed") else { return };
    let mut pages = KeyedPages::new(1).unwrap();
    let number = pages.key.number();
    let mut guard = pages.open_mut();
    os::keys::set_rights(number, Rights::Closed);
    guard.write(0, &[7]).unwrap();
    os::keys::set_rights(number, Rights::Read);
    guard.write(1, &[8]).unwrap();
    os::keys::set_rights(number, Rights::Closed);
    let mut copy = [0; 2];
    guard.read(0, &mut copy).unwrap();
    os::keys::set_rights(number, Rights::Closed);
    // SAFETY: used here alone.
    let slice = unsafe { guard.as_mut_slice() };
    slice[1] += 1;
    assert_eq!((copy, slice[1]), ([7, 8], 9));
}

#[test]
fn sizes_that_make_no_sense_are_errors_everywhere() {
    for len in [0, isize::MAX.unsigned_abs() + 1, usize::MAX - 1, usize::MAX] {
        let error = KeyedPages::new(len).unwrap_err();
        assert_eq!((error.operation(), error.kind()), (Operation::Key, ErrorKind::InvalidInput), "{error}");
    }
    let Some(_one) = keys("sizes_that_make_no_sense_are_errors_everywhere") else { return };
    let pages = KeyedPages::new(1).unwrap();
    for len in [0, usize::MAX] {
        assert_eq!(pages.beside(len).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let most = isize::MAX.unsigned_abs() & !(page::size() - 1);
    let (made, calls) = inject::calls_of(|| KeyedPages::new(most));
    assert_eq!(made.unwrap_err().kind(), ErrorKind::Exhausted);
    assert!(calls.contains(&"pkey_free"), "{calls:?}");
}

/// Trap: bounds that wrap round.
#[test]
fn copies_stay_within_the_pages() {
    let Some(_one) = keys("copies_stay_within_the_pages") else { return };
    let mut pages = KeyedPages::new(1).unwrap();
    let (range, len) = (pages.as_range(), pages.len());
    assert_eq!((len, range.len()), (page::size(), page::size()));
    let mut guard = pages.open_mut();
    let mut two = [0; 2];
    for offset in [len - 1, len, len + 1, usize::MAX - 1, usize::MAX] {
        for error in [guard.read(offset, &mut two).unwrap_err(), guard.write(offset, &two).unwrap_err()] {
            assert_eq!((error.operation(), error.kind()), (Operation::Key, ErrorKind::InvalidInput));
            assert_eq!(error.range(), Some(range.clone()));
            assert!(error.to_string().contains("beyond the end"), "{error}");
        }
    }
    assert!(guard.write(0, &std::vec![1; len + 1]).is_err());
    guard.write(len - 2, &[1, 2]).unwrap();
    guard.read(len - 2, &mut two).unwrap();
    assert_eq!(two, [1, 2]);
    for offset in [0, 1, len] {
        guard.write(offset, &[]).unwrap();
        guard.read(offset, &mut []).unwrap();
    }
    assert!(guard.read(len + 1, &mut []).is_err());
}

#[test]
fn what_is_shown_names_the_place() {
    let Some(_one) = keys("what_is_shown_names_the_place") else { return };
    let mut pages = KeyedPages::new(1).unwrap();
    let start = std::format!("{:#x}", pages.as_range().start);
    assert!(std::format!("{pages:?}").contains(&start));
    assert!(std::format!("{:?}", pages.open()).contains(&start));
    assert!(std::format!("{:?}", pages.open_mut()).contains(&start));
}

enum Guard {
    Reading(KeyGuard<'static>),
    Writing(KeyGuardMut<'static>),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(usize),
    OpenMut(usize),
    /// Of those held, counted from anywhere.
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..5_usize).prop_map(Step::Open),
        (0..5_usize).prop_map(Step::OpenMut),
        any::<usize>().prop_map(Step::Drop),
    ]
}

/// Any guards, dropped in any order, of pages of which some share a key: the register grants what the model says after each
/// step, on each of several threads.
#[test]
fn any_sequence_of_guards_agrees_with_the_model() {
    let Some(_one) = keys("any_sequence_of_guards_agrees_with_the_model") else { return };
    let (first, second) = (KeyedPages::new(1).unwrap(), KeyedPages::new(1).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Three under one key, two under another.
                let of = [&first, &first, &first, &second, &second];
                proptest!(ProptestConfig::with_cases(100), |(steps in prop::collection::vec(step(), 0..60))| {
                    run(&mut of.map(|shared| shared.beside(1).unwrap()), &steps)?;
                });
            });
        }
    });
}

fn run(pages: &mut [KeyedPages; 5], steps: &[Step]) -> core::result::Result<(), TestCaseError> {
    let numbers = pages.each_ref().map(|pages| pages.key.number());
    let all: *mut KeyedPages = pages.as_mut_ptr();
    let key = |index: usize| usize::from(index >= 3);
    let mut held: Vec<(usize, Guard)> = Vec::new();
    for &step in steps {
        let of = |index: usize| held.iter().filter(move |(other, _)| *other == index);
        match step {
            Step::Open(index) if of(index).all(|(_, guard)| matches!(guard, Guard::Reading(_))) => {
                // SAFETY: an element of the array, of which only shared borrows are alive; guards are dropped before this ends.
                let pages: &'static KeyedPages = unsafe { &*all.wrapping_add(index) };
                held.push((index, Guard::Reading(pages.open())));
            }
            Step::OpenMut(index) if of(index).next().is_none() => {
                // SAFETY: likewise, with no borrow alive.
                let pages: &'static mut KeyedPages = unsafe { &mut *all.wrapping_add(index) };
                held.push((index, Guard::Writing(pages.open_mut())));
            }
            Step::Drop(any) if !held.is_empty() => drop(held.swap_remove(any % held.len())),
            _ => {}
        }
        for (index, &number) in numbers.iter().enumerate() {
            let of_key = || held.iter().filter(|(other, _)| key(*other) == key(index));
            let expected = if of_key().any(|(_, guard)| matches!(guard, Guard::Writing(_))) {
                Rights::Write
            } else if of_key().next().is_some() {
                Rights::Read
            } else {
                Rights::Closed
            };
            prop_assert_eq!(os::keys::rights(number), expected);
        }
        for (index, guard) in &mut held {
            let mut byte = [0];
            let value = u8::try_from(*index).unwrap();
            match guard {
                Guard::Reading(guard) => guard.read(3, &mut byte).unwrap(),
                Guard::Writing(guard) => {
                    guard.write(3, &[value]).unwrap();
                    guard.read(3, &mut byte).unwrap();
                    prop_assert_eq!(byte[0], value);
                }
            }
        }
    }
    Ok(())
}
