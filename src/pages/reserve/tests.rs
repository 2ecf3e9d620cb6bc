//! What can only be tested from inside: a system that refuses at each of its calls.

use super::{PartState, Reservation};
use crate::os::inject::fail_nth;
use crate::{ErrorKind, MmapMut, MmapOptions, Operation, Protection, page, query};
on_linux! {
use crate::os::{self, inject};
use crate::range::PageRange;
use crate::{Mmap, Pages};
}
use core::ops::Range;
use core::ptr::without_provenance;
use std::vec::Vec;

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

const RW: Protection = Protection::READ_WRITE;
const R: Protection = Protection::READ;

fn shown(address: usize) -> Protection {
    query(without_provenance::<u8>(address)).unwrap().protection()
}

fn pages(range: Range<usize>) -> Range<usize> {
    range.start * page::size()..range.end * page::size()
}

fn states(room: &Reservation) -> Vec<PartState> {
    room.parts().flat_map(|part| core::iter::repeat_n(part.state, part.range.len() / page::size())).collect()
}

/// The list says what the system does. (Of what is not known it says so.)
fn is_true(room: &Reservation) {
    for (number, state) in states(room).into_iter().enumerate() {
        let granted = shown(room.start() + number * page::size());
        match state {
            PartState::Reserved => assert_eq!(granted, Protection::NONE, "page {number}"),
            PartState::Committed(protection) => assert_eq!(granted, protection, "page {number}"),
            PartState::Carved | PartState::Unsettled | PartState::Leaving => {}
        }
        let range = pages(number..number + 1);
        let readable = matches!(state, PartState::Committed(protection) if protection.contains(R));
        assert_eq!(room.get(range).is_ok(), readable);
    }
}

/// Pages 0 and 1 reserved, 2 and 3 to be read and written, 4 and 5 to be read, 6 and 7 reserved.
fn mixed() -> Reservation {
    let mut room = Reservation::new(8 * page::size()).unwrap();
    room.commit(pages(2..6), RW).unwrap();
    room.get_mut(pages(2..6)).unwrap().fill(7);
    room.protect(pages(4..6), R).unwrap();
    room
}

/// Trap: an error on the way left the record untrue.
#[test]
fn a_refused_change_leaves_all_as_it_was() {
    type Change = fn(&mut Reservation) -> crate::Result<()>;
    let changes: [(Operation, Change); 5] = [
        (Operation::Commit, |room| room.commit(pages(0..8), RW)),
        (Operation::Commit, |room| room.commit(pages(1..5), R)),
        (Operation::Protect, |room| room.protect(pages(3..5), Protection::NONE)),
        (Operation::Decommit, |room| room.decommit(pages(1..7))),
        (Operation::Carve, |room| room.carve(pages(1..7)).map(|pages: MmapMut| core::mem::forget(pages))),
    ];
    for (operation, change) in changes {
        let mut reached = 0;
        for n in 0.. {
            let mut room = mixed();
            let before = states(&room);
            let (done, failed) = fail_nth(None, n, REFUSED, || change(&mut room));
            is_true(&room);
            if let Err(error) = done {
                reached += 1;
                assert_eq!((error.operation(), error.changed()), (operation, None), "call {n}: {error}");
                assert_eq!(error.kind(), ErrorKind::Exhausted);
                assert_eq!(states(&room), before, "call {n}");
                assert!(room.get(pages(2..6)).unwrap().iter().all(|&byte| byte == 7));
                // And then it can be done.
                change(&mut room).unwrap();
                is_true(&room);
            }
            if !failed {
                break;
            }
        }
        assert!(reached >= 1, "{operation:?}");
    }
}

#[test]
fn a_refused_reservation_is_an_error_and_leaves_nothing() {
    let size = page::size();
    let options = [
        MmapOptions::new(2 * size),
        MmapOptions::new(2 * size).align(1 << 20),
        MmapOptions::new(2 * size).guard_before(size).guard_after(size),
    ];
    for options in options {
        for n in 0.. {
            let (made, failed) = fail_nth(None, n, REFUSED, || options.reserve_mut());
            match made {
                Ok(room) => assert_eq!(room.len(), 2 * size),
                Err(error) => assert_eq!((failed, error.operation()), (true, Operation::Reserve), "{error}"),
            }
            if !failed {
                break;
            }
        }
    }
}

/// Trap: a commit that did nothing, an error that lost the address space.
#[test]
fn a_refused_commit_gives_the_address_space_back() {
    let mut room = MmapOptions::new(2 * page::size()).reserve_mut().unwrap();
    let range = room.as_range();
    let mut n = 0;
    let mut all = loop {
        let (done, failed) = fail_nth(None, n, REFUSED, || room.commit());
        match done {
            Ok(pages) => break pages,
            Err((back, error)) => {
                assert!(failed);
                assert_eq!((error.operation(), error.kind()), (Operation::Commit, ErrorKind::Exhausted));
                assert!(error.remedy().is_some() || cfg!(windows), "{error}");
                assert_eq!((back.as_range(), shown(range.start)), (range.clone(), Protection::NONE));
                room = back;
            }
        }
        n += 1;
    };
    assert!(n >= 1);
    all.fill(5);
    // The same the other way.
    let (done, failed) = fail_nth(None, 0, REFUSED, || all.into_reserved());
    assert!(failed);
    let (mut all, error) = done.map(drop).unwrap_err();
    assert_eq!((error.operation(), error.changed()), (Operation::Decommit, None));
    assert!(all.iter().all(|&byte| byte == 5));
    all.fill(6);
    drop(all.into_reserved().unwrap());
}

/// What could not be taken from a part that was dropped is tried again, and never shown to anybody.
#[test]
fn a_refused_drop_of_a_part_is_made_up_for() {
    let mut room = Reservation::new(4 * page::size()).unwrap();
    for joint in [false, true] {
        let mut own: MmapMut = room.carve(pages(1..2)).unwrap();
        if joint {
            own.merge(room.carve(pages(2..3)).unwrap()).map_err(|(_, error)| error).unwrap();
        }
        own.fill(9);
        let ((), failed) = fail_nth(None, 0, REFUSED, || drop(own));
        assert!(failed);
        assert_eq!(states(&room)[1], PartState::Leaving);
        assert_eq!(room.get(pages(1..2)).unwrap_err().kind(), ErrorKind::Unmapped);
        assert_eq!(room.protect(pages(1..2), R).unwrap_err().kind(), ErrorKind::Unmapped);
        let (done, failed) = fail_nth(None, 0, REFUSED, || room.commit(pages(1..2), RW));
        assert!(failed && done.is_err());
        assert_eq!(states(&room)[1], PartState::Leaving);
        room.commit(pages(1..2), RW).unwrap();
        assert!(room.get(pages(1..2)).unwrap().iter().all(|&byte| byte == 0));
        room.decommit(..).unwrap();
        assert_eq!(states(&room), [PartState::Reserved; 4]);
        is_true(&room);
    }
}

on_linux! {
/// What the documentation says a call costs.
#[test]
fn each_costs_the_calls_that_it_says() {
    let size = page::size();
    let (mut room, calls) = inject::calls_of(|| Reservation::new(8 * size).unwrap());
    assert_eq!(calls, ["mmap"]);
    let cost = |room: &mut Reservation, of: fn(&mut Reservation)| inject::calls_of(|| of(room)).1;
    assert_eq!(cost(&mut room, |room| room.commit(pages(1..3), RW).unwrap()), ["mprotect"]);
    assert_eq!(cost(&mut room, |room| room.commit(pages(1..3), RW).unwrap()), [""; 0]);
    assert_eq!(cost(&mut room, |room| room.get_mut(pages(1..3)).unwrap().fill(1)), [""; 0]);
    assert_eq!(cost(&mut room, |room| room.commit(.., RW).unwrap()), ["mprotect"; 2]);
    assert_eq!(cost(&mut room, |room| room.protect(.., R).unwrap()), ["mprotect"]);
    assert_eq!(cost(&mut room, |room| room.decommit(pages(2..3)).unwrap()), ["mmap"]);
    assert_eq!(cost(&mut room, |room| room.decommit(..).unwrap()), ["mmap"]);
    assert_eq!(cost(&mut room, |room| room.decommit(..).unwrap()), [""; 0]);
    let take_back = |room: &mut Reservation| {
        let own: MmapMut = room.carve(pages(1..3)).unwrap();
        room.take_back(own).map_err(|(_, error)| error).unwrap();
    };
    assert_eq!(cost(&mut room, take_back), ["mprotect"]);
    assert_eq!(inject::calls_of(|| drop(room)).1, ["munmap"]);
    let (room, calls) = inject::calls_of(|| MmapOptions::new(size).reserve_mut().unwrap());
    assert_eq!(calls, ["mmap"]);
    let (own, calls) = inject::calls_of(|| room.commit().unwrap());
    assert_eq!(calls, ["mprotect"]);
    let (room, calls) = inject::calls_of(|| own.into_reserved().unwrap());
    assert_eq!(calls, ["mmap"]);
    drop(room);
    let none = MmapOptions::new(size).reserve_none().unwrap();
    assert_eq!(inject::calls_of(|| none.commit().unwrap()).1, [""; 0]);
}
}

on_linux! {
/// Only the system's own accounts tell what is left: by the addresses, which nobody else comes to.
mod by_addresses {
    use super::*;

    /// Where no other test comes.
    fn place_of(number: usize) -> usize {
        10_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 28 }) + (number << 20)
    }

    fn gone(at: usize) -> bool {
        query(without_provenance::<u8>(at)).is_err()
    }

    /// Trap: an error after a successful `mmap` leaked the mapping.
    #[test]
    fn nothing_is_left_whatever_is_refused() {
        let size = page::size();
        let place = place_of(9);
        let run = || {
            let mut room = MmapOptions::new(8 * size).at(place).guard_after(size).reservation()?;
            room.commit(pages(0..4), RW)?;
            let mut own: MmapMut = room.carve(pages(3..6))?;
            let high = own.split_off(size)?;
            room.decommit(pages(0..2))?;
            let own: Mmap = own.try_into()?;
            room.take_back(own).map_err(|(_, error)| error)?;
            let other: MmapMut = room.carve(pages(6..7))?;
            let mut high = high;
            high.merge(other).map_err(|(_, error)| error)?;
            drop(room);
            drop(high);
            Ok::<(), crate::Error>(())
        };
        let mut reached = 0;
        for n in 0.. {
            let (done, failed) = fail_nth(None, n, REFUSED, run);
            // What could not be unmapped waits for the next drop.
            drop(Pages::new(1).unwrap());
            for number in 0..9 {
                assert!(gone(place + number * size), "call {n}, page {number}: {done:?}");
            }
            reached += usize::from(done.is_err());
            if !failed {
                done.unwrap();
                break;
            }
        }
        assert!(reached >= 6, "{reached}");
    }

    /// The first pages are changed when the system comes to one that it refuses, and it does not change them back.
    #[test]
    fn what_is_half_done_is_known_to_be() {
        let size = page::size();
        let half = |room: &Reservation, from: usize, to| {
            let first = PageRange::touching(room.start() + from * size, size).unwrap();
            inject::just_before("mprotect", move || {
                // SAFETY: pages of a reservation that is borrowed for a change.
                unsafe { os::protect(first, to) }.unwrap();
                inject::just_before("mmap", || inject::order("mmap", REFUSED));
            });
        };
        // A protection that is refused.
        let mut room = mixed();
        half(&room, 2, R);
        let (done, failed) = inject::fail_from(Some("mprotect"), 1, REFUSED, || room.protect(pages(2..4), R));
        let error = done.unwrap_err();
        assert!(failed);
        assert_eq!(error.changed(), Some(room.start() + 2 * size..room.start() + 3 * size));
        assert_eq!(states(&room)[2..4], [PartState::Unsettled, PartState::Committed(RW)]);
        is_true(&room);
        assert_eq!(room.get(pages(2..3)).unwrap_err().kind(), ErrorKind::NotPermitted);
        // It is settled by the next change, and has kept what it holds.
        room.protect(pages(2..4), RW).unwrap();
        assert!(room.get_mut(pages(2..4)).unwrap().iter().all(|&byte| byte == 7));

        // A commit that is refused, and cannot be undone.
        half(&room, 6, RW);
        let (done, failed) = fail_nth(Some("mprotect"), 1, REFUSED, || {
            room.commit(pages(6..8), RW)
        });
        assert!(failed && done.is_err());
        assert_eq!(states(&room)[6..8], [PartState::Leaving, PartState::Reserved]);
        is_true(&room);
        room.commit(pages(6..8), R).unwrap();
        is_true(&room);

        // One that can be undone leaves nothing changed.
        room.decommit(pages(6..8)).unwrap();
        inject::just_before("mprotect", {
            let first = PageRange::touching(room.start() + 6 * size, size).unwrap();
            // SAFETY: pages of a reservation that is borrowed for a change.
            move || unsafe { os::protect(first, RW) }.unwrap()
        });
        let (done, failed) = fail_nth(Some("mprotect"), 1, REFUSED, || room.commit(pages(6..8), RW));
        assert!(failed);
        assert_eq!(done.unwrap_err().changed(), None);
        assert_eq!(states(&room)[6..8], [PartState::Reserved; 2]);
        is_true(&room);

        // Of several runs, the last is refused, and the first cannot be undone.
        let mut room = mixed();
        inject::just_before("mmap", || inject::order("mmap", REFUSED));
        let (done, failed) = fail_nth(Some("mprotect"), 1, REFUSED, || room.commit(pages(0..6), RW));
        assert!(failed);
        assert_eq!(done.unwrap_err().changed(), Some(room.start()..room.start() + 2 * size));
        assert_eq!(states(&room)[..4], [PartState::Committed(RW); 4]);
        assert_eq!(states(&room)[4..6], [PartState::Committed(R); 2]);
        is_true(&room);
        let mut room = mixed();
        let call = Some("mprotect");
        let (done, _) = inject::fail_from(call, 1, REFUSED, || room.commit(pages(2..8), Protection::NONE));
        assert_eq!(done.unwrap_err().changed(), Some(room.start() + 2 * size..room.start() + 4 * size));
        assert_eq!(states(&room)[2..4], [PartState::Committed(Protection::NONE); 2]);
        is_true(&room);
        room.commit(.., RW).unwrap();
        assert_eq!(room.get(2 * size..2 * size + 1).unwrap(), [7]);
    }

    /// Pages that a failed conversion has lost come back with the rest, as not known.
    #[test]
    fn lost_pages_are_taken_back_too() {
        let size = page::size();
        let mut room = Reservation::new(4 * size).unwrap();
        let mut own: MmapMut = room.carve(pages(0..4)).unwrap();
        own.fill(3);
        let first = PageRange::touching(own.start(), size).unwrap();
        inject::just_before("mprotect", move || {
            // SAFETY: pages of a mapping that is consumed.
            unsafe { os::protect(first, R) }.unwrap();
        });
        let (done, _) = inject::fail_from(Some("mprotect"), 1, REFUSED, || own.make_read_only());
        let (own, _) = done.unwrap_err();
        assert_eq!(own.len(), 3 * size);
        room.take_back(own).map_err(|(_, error)| error).unwrap();
        assert_eq!(states(&room)[..2], [PartState::Unsettled, PartState::Committed(RW)]);
        room.protect(.., RW).unwrap();
        assert!(room.get(..).unwrap().iter().all(|&byte| byte == 3));
        is_true(&room);
    }

    /// Trap: locks that outlive what was locked would keep the next owner's pages.
    #[test]
    fn lost_pages_are_no_longer_locked() {
        let size = page::size();
        let mut own = Pages::new(4 * size).unwrap();
        if own.lock().is_err() {
            return;
        }
        let first = PageRange::touching(own.start(), size).unwrap();
        inject::just_before("mprotect", move || {
            // SAFETY: pages of a mapping that is consumed.
            unsafe { os::protect(first, R) }.unwrap();
        });
        let ((done, _), calls) = inject::calls_of(|| {
            inject::fail_from(Some("mprotect"), 1, REFUSED, || own.make_read_only())
        });
        let (mut own, _) = done.unwrap_err();
        assert_eq!((own.len(), calls.iter().filter(|&&call| call == "munlock").count()), (3 * size, 1));
        own.unlock().unwrap();
        assert!(own.unlock().is_err());
    }

    fn unmap(pages: PageRange) {
        // SAFETY: pages of a reservation that is borrowed for a change: what the kernel itself would do.
        unsafe { os::unmap(pages) }.unwrap();
    }

    /// The kernel takes the old pages away, and cannot make the new ones: the hole is filled, or never touched again.
    #[test]
    fn a_hole_is_filled_or_left_to_whoever_has_it() {
        let size = page::size();
        let place = place_of(10);
        let make = || {
            let mut room = MmapOptions::new(4 * size).at(place).reservation().unwrap();
            room.commit(.., RW).unwrap();
            room
        };
        let middle = PageRange::touching(place + size, 2 * size).unwrap();
        let mut room = make();
        inject::just_before("mmap", move || unmap(middle));
        let (done, failed) = fail_nth(Some("mmap"), 0, REFUSED, || room.decommit(pages(1..3)));
        done.unwrap();
        assert!(failed);
        assert_eq!(states(&room)[1..3], [PartState::Reserved; 2]);
        is_true(&room);
        room.commit(.., RW).unwrap();
        drop(room);
        assert!(gone(place));

        // Not filled: somebody else may have it.
        let mut room = make();
        inject::just_before("mmap", move || unmap(middle));
        let (done, _) = inject::fail_from(Some("mmap"), 0, REFUSED, || room.decommit(pages(1..3)));
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.changed()), (ErrorKind::Unmapped, Some(middle.to_range())));
        let others = crate::alloc_at(without_provenance::<u8>(place + size), 2 * size, RW).unwrap();
        assert!(room.commit(pages(1..2), RW).is_err() && room.decommit(..).is_err());
        assert!(room.get(pages(0..1)).is_ok() && room.get(pages(1..2)).is_err());
        drop(room);
        assert_eq!(shown(place + size), RW);
        drop(others);
        // The rest is never given back: of what is torn, nobody knows whose it is. So for pages of their own, and for parts.
        assert!(!gone(place));
        for carved in [false, true] {
            let place = place_of(11 + usize::from(carved));
            let middle = PageRange::touching(place, 2 * size).unwrap();
            let mut room = carved.then(|| MmapOptions::new(2 * size).at(place).reservation().unwrap());
            let own: MmapMut = match &mut room {
                Some(room) => room.carve(..).unwrap(),
                None => MmapOptions::new(2 * size).at(place).map_mut().unwrap(),
            };
            inject::just_before("mmap", move || unmap(middle));
            let (done, _) = inject::fail_from(Some("mmap"), 0, REFUSED, || own.into_reserved());
            let (own, error) = done.map(drop).unwrap_err();
            assert_eq!((error.kind(), own.len()), (ErrorKind::Unmapped, 0));
            let others = crate::alloc_at(without_provenance::<u8>(place), size, RW).unwrap();
            drop(own);
            if let Some(mut room) = room {
                assert!(room.commit(.., RW).is_err());
            }
            assert_eq!(shown(place), RW);
            drop(others);
        }
    }

    /// Before the call, a commit's first page is changed; before the next one, that page is gone.
    fn lose_after_half(first: PageRange) {
        inject::just_before("mprotect", move || {
            // SAFETY: pages of a mapping that is borrowed for a change.
            unsafe { os::protect(first, RW) }.unwrap();
            inject::just_before("mmap", move || {
                unmap(first);
                inject::order("mmap", REFUSED);
                inject::just_before("msync", || {
                    inject::just_before("mmap", || inject::order("mmap", REFUSED));
                });
            });
        });
    }

    /// Trap: what had become somebody else's was unmapped with the rest.
    #[test]
    fn what_a_refused_commit_has_lost_is_never_touched_again() {
        let size = page::size();
        // As a whole.
        let place = place_of(13);
        let first = PageRange::touching(place, size).unwrap();
        let room = MmapOptions::new(2 * size).at(place).reserve_mut().unwrap();
        lose_after_half(first);
        let (done, failed) = fail_nth(Some("mprotect"), 1, REFUSED, || room.commit());
        let (room, error) = done.map(drop).unwrap_err();
        assert!(failed && error.changed().is_some() && room.is_empty(), "{error}");
        let others = crate::alloc_at(without_provenance::<u8>(place), size, RW).unwrap();
        drop(room);
        assert_eq!(shown(place), RW);
        drop(others);

        // Into room.
        let place = place_of(14);
        let first = PageRange::touching(place + size, size).unwrap();
        let mut own = MmapOptions::new(size).at(place).room(2 * size).map_mut().unwrap();
        lose_after_half(first);
        let (done, failed) = fail_nth(Some("mprotect"), 1, REFUSED, || own.grow(3 * size));
        assert!(failed && done.is_err());
        let others = crate::alloc_at(without_provenance::<u8>(place + size), size, RW).unwrap();
        own[0] = 1;
        assert!(own.grow(2 * size).is_err());
        drop(own);
        assert!(gone(place));
        assert_eq!(shown(place + size), RW);
        drop(others);
    }

    /// The same for pages of a part that are lost when their content is given up, as other systems may lose them.
    #[test]
    fn a_reservation_learns_what_a_part_has_lost() {
        let size = page::size();
        let place = place_of(15);
        let mut room = MmapOptions::new(4 * size).at(place).reservation().unwrap();
        let own: MmapMut = room.carve(pages(0..3)).unwrap();
        let mut own = own;
        let middle = PageRange::touching(place + size, size).unwrap();
        unsafe fn lose(range: PageRange, _: Protection, _: bool) -> Result<(), os::NotDiscarded> {
            unmap(range);
            let failure = crate::error::Failure::new(ErrorKind::Exhausted).changed(range);
            Err(os::NotDiscarded { failure, gone: Some(range) })
        }
        // SAFETY: nobody has references into the pages.
        unsafe { own.map.discard(middle, RW, lose) }.unwrap_err();
        assert_eq!(own.as_range(), place + 2 * size..place + 3 * size);
        own.fill(1);
        let others = crate::alloc_at(without_provenance::<u8>(place + size), size, RW).unwrap();
        drop(own);
        assert_eq!(states(&room)[..3], [PartState::Leaving; 3]);
        assert!(room.commit(pages(1..2), R).is_err() && room.decommit(..).is_err());
        assert_eq!(shown(place + size), RW);
        drop(room);
        assert_eq!(shown(place + size), RW);
        drop(others);
    }
}
}
