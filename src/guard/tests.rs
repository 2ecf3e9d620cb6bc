//! What can only be tested from inside: a system that refuses at each of its calls.

use crate::os::inject::{self, fail_from, fail_nth};
use crate::{
    ErrorKind, Protection, alloc, alloc_at, guard, page, protect, protect_with_handle, query, unguard,
};
use core::ptr::without_provenance;
use std::vec::Vec;

use crate::area::Area;

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

/// The call that changes what pages grant.
const CHANGE: &str = if cfg!(windows) { "VirtualProtect" } else { "mprotect" };

fn area() -> Area {
    let area = Area::new(5);
    area.protect(1, 1, Protection::READ);
    area.protect(3, 1, Protection::NONE);
    area
}

fn protections(area: &Area) -> Vec<Protection> {
    (0..area.len() / page::size())
        .map(|index| query(without_provenance::<u8>(area.page(index))).unwrap().protection())
        .collect()
}

/// Trap: an error after the first change left pages changed, and nobody knew.
#[test]
fn a_guard_that_could_not_be_made_has_changed_nothing() {
    let area = area();
    let before = protections(&area);
    let mut reached = 0;
    // How many calls there are differs from time to time (what else is mapped has to be read), so that the change is named, too.
    let orders = (0..16).map(|n| (None, n)).chain([(Some(CHANGE), 0), (Some(CHANGE), 1)]);
    for (call, n) in orders {
        // SAFETY: pages of this test's own, to which nobody has references.
        let (held, _) = fail_nth(call, n, REFUSED, || unsafe {
            protect_with_handle(area.pointer(), area.len(), Protection::READ_EXECUTE)
        });
        match held {
            Ok(held) => {
                // A failure may have been one of looking, for which there is another way.
                assert!(protections(&area).iter().all(|&p| p == Protection::READ_EXECUTE));
                drop(held);
            }
            Err(error) => {
                reached += 1;
                assert_eq!(error.changed(), None, "call {n}: {error}");
            }
        }
        assert_eq!(protections(&area), before, "call {n}");
    }
    assert!(reached >= 1);
}

#[test]
fn a_restore_that_is_refused_says_so_and_goes_on() {
    let area = area();
    let before = protections(&area);
    let (_, calls) = inject::calls_of(|| {
        // SAFETY: pages of this test's own, to which nobody has references.
        drop(unsafe { protect_with_handle(area.pointer(), area.len(), Protection::READ_EXECUTE) }.unwrap());
    });
    assert!(!calls.is_empty());
    // SAFETY: as above.
    let held =
        || unsafe { protect_with_handle(area.pointer(), area.len(), Protection::READ_EXECUTE) }.unwrap();
    for n in 0..16 {
        let held = held();
        let (restored, _) = fail_nth(None, n, REFUSED, || held.restore());
        // One refusal is made up for: the pages of the run that failed are tried one by one.
        restored.unwrap();
        assert_eq!(protections(&area), before, "call {n}");
    }
    // From one call on, each is refused: the error names all that are not as they were.
    let mut errors = 0;
    for n in 0..16 {
        let held = held();
        let (restored, failed) = fail_from(None, n, REFUSED, || held.restore());
        assert_eq!(restored.is_err(), failed, "call {n}");
        let missing = restored.err().map_or(0..0, |error| {
            errors += 1;
            assert_eq!(error.operation(), crate::Operation::Restore);
            error.range().unwrap()
        });
        for (index, (now, before)) in protections(&area).into_iter().zip(&before).enumerate() {
            let expected =
                if missing.contains(&area.page(index)) { Protection::READ_EXECUTE } else { *before };
            assert_eq!(now, expected, "page {index}, call {n}");
        }
        area.protect(0, 5, Protection::READ_WRITE);
        area.protect(1, 1, Protection::READ);
        area.protect(3, 1, Protection::NONE);
    }
    assert!(errors >= 3);
}

/// As a drop it does not panic, whatever happens.
#[test]
fn a_drop_that_is_refused_does_not_panic() {
    let area = area();
    for n in 0..8 {
        // SAFETY: pages of this test's own, to which nobody has references.
        let held = unsafe { protect_with_handle(area.pointer(), area.len(), Protection::READ) }.unwrap();
        let ((), _) = fail_nth(None, n, REFUSED, || drop(held));
    }
}

#[test]
fn a_refused_protect_has_changed_nothing_or_says_what() {
    let area = area();
    for n in 0.. {
        let before = protections(&area);
        // SAFETY: pages of this test's own, to which nobody has references.
        let (done, failed) =
            fail_nth(None, n, REFUSED, || unsafe { protect(area.pointer(), area.len(), Protection::READ) });
        match done {
            Ok(()) => assert_eq!(protections(&area), [Protection::READ; 5]),
            Err(error) => {
                let changed = error.changed().unwrap_or(0..0);
                for (index, (now, before)) in protections(&area).into_iter().zip(before).enumerate() {
                    let expected =
                        if changed.contains(&area.page(index)) { Protection::READ } else { before };
                    assert_eq!(now, expected, "page {index}: {error}");
                }
            }
        }
        if !failed {
            break;
        }
    }
}

/// Trap: an error after a successful `mmap` leaked the mapping.
#[test]
fn a_refused_allocation_leaves_nothing() {
    for n in 0.. {
        let (memory, failed) = fail_nth(None, n, REFUSED, || alloc(3 * page::size(), Protection::READ_WRITE));
        match memory {
            Ok(memory) => assert_eq!(memory.len(), 3 * page::size()),
            Err(error) => assert!(failed, "{error}"),
        }
        if !failed {
            break;
        }
    }
    let spare = alloc(8 * page::granularity(), Protection::NONE).unwrap();
    let place = spare.as_ptr::<u8>().wrapping_add(3 * page::granularity() + page::granularity() / 2);
    let taken = fail_nth(None, 0, REFUSED, || alloc_at(place, page::size(), Protection::READ));
    assert!(taken.0.is_err());
}

/// What could not be given back is given back later. Trap: memory was leaked, and the failure ignored.
#[test]
fn what_could_not_be_freed_is_freed_later() {
    let memory = alloc(page::size(), Protection::READ_WRITE).unwrap();
    let place = memory.as_ptr::<u8>();
    let (freed, failed) = fail_nth(None, 0, REFUSED, || memory.free());
    assert!(failed);
    let (memory, error) = freed.unwrap_err();
    assert_eq!(error.operation(), crate::Operation::Free);
    assert_eq!(query(place).unwrap().protection(), Protection::READ_WRITE);
    let ((), failed) = fail_nth(None, 0, REFUSED, || drop(memory));
    assert!(failed);
    // Other tests allocate, too: any of them may have done it by now. After the next allocation it is done.
    let (_memory, calls) = inject::calls_of(|| alloc(page::size(), Protection::READ));
    let unmaps = calls.iter().filter(|call| call.contains("unmap") || call.contains("Free")).count();
    assert!(unmaps <= 1, "{calls:?}");
}

#[test]
fn a_refused_guard_page_is_an_error() {
    let memory = alloc(2 * page::size(), Protection::READ_WRITE).unwrap();
    let place = memory.as_ptr::<u8>().cast_mut();
    for n in 0.. {
        // SAFETY: inside the allocation, to which nobody has references.
        unsafe { place.write(7) };
        // SAFETY: likewise.
        let (done, failed) = fail_nth(None, n, REFUSED, || unsafe { guard(place, 1) });
        // (What is left out may be something that others make up for: pages that were decommitted are guarded, too.)
        assert!(failed || done.is_ok(), "call {n}: {done:?}");
        // SAFETY: likewise.
        unsafe { unguard(place, 1, Protection::READ_WRITE).unwrap() };
        if done.is_ok() {
            // SAFETY: ordinary again, and zeroed.
            assert_eq!(unsafe { place.read() }, 0, "call {n}");
        }
        if !failed {
            break;
        }
    }
    for n in 0.. {
        // SAFETY: likewise.
        unsafe { guard(place, 1).unwrap() };
        // SAFETY: likewise.
        let (done, failed) =
            fail_nth(None, n, REFUSED, || unsafe { unguard(place, 1, Protection::READ_WRITE) });
        assert!(failed || done.is_ok(), "call {n}: {done:?}");
        // SAFETY: likewise.
        unsafe { unguard(place, 1, Protection::READ_WRITE).unwrap() };
        // SAFETY: ordinary again, and zeroed.
        assert_eq!(unsafe { place.read() }, 0);
        if !failed {
            break;
        }
    }
}

/// Where the kernel does not know the advice, all access is taken away instead: the same meaning.
#[test]
fn without_the_advice_a_guard_means_the_same() {
    let memory = alloc(3 * page::size(), Protection::READ_WRITE).unwrap();
    let place = memory.as_ptr::<u8>().cast_mut();
    // SAFETY: inside the allocation, to which nobody has references.
    unsafe { place.write_bytes(7, memory.len()) };
    let middle = place.wrapping_add(page::size());
    // EINVAL.
    let code = if cfg!(windows) { 0 } else { 22 };
    if code == 0 {
        return crate::area::skipped(
            "without_the_advice_a_guard_means_the_same",
            "there is one way only on this system",
        );
    }
    // SAFETY: likewise.
    let (done, _) = fail_nth(Some("madvise"), 0, code, || unsafe { guard(middle, 1) });
    done.unwrap();
    assert_eq!(query(middle).unwrap().protection(), Protection::NONE);
    // SAFETY: likewise.
    let (done, _) =
        fail_nth(Some("madvise"), 0, code, || unsafe { unguard(middle, 1, Protection::READ_WRITE) });
    done.unwrap();
    // SAFETY: untouched.
    assert_eq!(unsafe { place.read() }, 7);
    // SAFETY: readable again.
    assert_eq!(unsafe { middle.read() }, 0);
    assert_eq!(query(middle).unwrap().protection(), Protection::READ_WRITE);
    assert_eq!(ErrorKind::Unmapped, query(core::ptr::null::<u8>()).unwrap_err().kind());
}

/// Sealed pages cannot be freed ever: they were tried again at each later allocation, and took the place of others that wait.
#[test]
fn what_is_not_permitted_does_not_wait() {
    let memory = alloc(page::size(), Protection::READ_WRITE).unwrap();
    let (base, len) = (memory.as_ptr::<u8>().cast_mut(), memory.len());
    // EPERM.
    if cfg!(windows) {
        return;
    }
    let ((), failed) = fail_nth(None, 0, 1, || drop(memory));
    assert!(failed);
    let (_memory, _calls) = inject::calls_of(|| alloc(page::size(), Protection::READ));
    assert!(query(base).is_ok());
    // SAFETY: still mapped, as just seen, and nobody's.
    drop(unsafe { crate::Allocation::from_raw_parts(base, len) });
}

/// Over a hole, which is seen beforehand, nothing is changed even for a moment.
#[test]
fn over_a_hole_no_guard_tries_a_change() {
    let nowhere = without_provenance::<u8>(usize::MAX);
    // SAFETY: nothing can be mapped there.
    let (held, calls) = inject::calls_of(|| unsafe { protect_with_handle(nowhere, 1, Protection::READ) });
    assert_eq!(held.unwrap_err().kind(), ErrorKind::Unmapped);
    assert!(!calls.contains(&CHANGE), "{calls:?}");
}
