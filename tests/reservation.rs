//! A reservation: its parts, what they grant and hold, what is carved out of it.

mod common;

use common::{Helper, role, say, skipped};
use folio::{
    ErrorKind, Mmap, MmapMut, MmapNone, MmapOptions, Operation, PartState, Protection, Reservation, page,
    query,
};
use std::ops::Range;
use std::ptr::without_provenance;

fn shown(address: usize) -> Protection {
    query(without_provenance::<u8>(address)).unwrap().protection()
}

fn gone(address: usize) -> bool {
    query(without_provenance::<u8>(address)).is_err()
}

fn pages(range: Range<usize>) -> Range<usize> {
    range.start * page::size()..range.end * page::size()
}

/// The parts, in pages.
fn parts(room: &Reservation) -> Vec<(Range<usize>, PartState)> {
    let size = page::size();
    room.parts().map(|part| (part.range.start / size..part.range.end / size, part.state)).collect()
}

use PartState::{Carved, Committed, Reserved};
const RW: Protection = Protection::READ_WRITE;
const R: Protection = Protection::READ;

#[test]
fn memory_comes_and_goes() {
    let size = page::size();
    let mut room = Reservation::new(8 * size - 5).unwrap();
    assert_eq!((room.len(), room.end() - room.start(), room.committed()), (8 * size, 8 * size, 0));
    assert_eq!((room.as_range(), room.is_empty()), (room.start()..room.end(), false));
    assert_eq!((room.as_ptr().addr(), room.as_mut_ptr().addr()), (room.start(), room.start()));
    assert_eq!(parts(&room), [(0..8, Reserved)]);
    assert_eq!(shown(room.start()), Protection::NONE);

    room.commit(pages(2..5), RW).unwrap();
    assert_eq!(parts(&room), [(0..2, Reserved), (2..5, Committed(RW)), (5..8, Reserved)]);
    assert_eq!(room.committed(), 3 * size);
    assert!(room.get(pages(2..5)).unwrap().iter().all(|&byte| byte == 0));
    room.get_mut(pages(2..5)).unwrap().fill(9);
    room.protect(pages(3..4), R).unwrap();
    assert_eq!(shown(room.start() + 3 * size), R);
    // Over several parts, as bytes.
    assert_eq!(room.get(2 * size + 7..5 * size - 1).unwrap(), vec![9; 3 * size - 8]);
    assert_eq!(room.get(2 * size..=2 * size).unwrap(), [9]);
    assert!(room.get(size..size).unwrap().is_empty());
    // What is committed stays as it is, what is not is added.
    room.commit(pages(1..7), RW).unwrap();
    assert_eq!(parts(&room), [(0..1, Reserved), (1..7, Committed(RW)), (7..8, Reserved)]);
    let first: Vec<u8> = room.get(pages(1..7)).unwrap().iter().step_by(size).copied().collect();
    assert_eq!(first, [0, 9, 9, 9, 0, 0]);
    // What was there is gone.
    room.decommit(pages(3..8)).unwrap();
    assert_eq!(parts(&room), [(0..1, Reserved), (1..3, Committed(RW)), (3..8, Reserved)]);
    assert_eq!(shown(room.start() + 4 * size), Protection::NONE);
    room.commit(pages(3..4), R).unwrap();
    assert_eq!(room.get(pages(3..4)).unwrap()[0], 0);
    room.decommit(..).unwrap();
    room.decommit(..).unwrap();
    assert_eq!((parts(&room), room.committed()), (vec![(0..8, Reserved)], 0));
    assert!(format!("{room:?}").ends_with(", 1 parts)"), "{room:?}");
    assert!(format!("{:?}", room.parts()).contains("Reserved"));
}

#[test]
fn errors_name_the_page_and_change_nothing() {
    let size = page::size();
    let mut room = Reservation::new(8 * size).unwrap();
    room.commit(pages(1..3), RW).unwrap();
    room.commit(pages(3..4), R).unwrap();
    room.commit(pages(4..5), Protection::NONE).unwrap();
    let carved: MmapMut = room.carve(pages(5..6)).unwrap();
    let before = parts(&room);
    let at = |number: usize| Some(room.start() + number * size..room.start() + (number + 1) * size);

    for (range, number, kind) in [
        (0..size, 0, ErrorKind::Unmapped),
        (size..4 * size + 1, 4, ErrorKind::NotPermitted),
        (5 * size..5 * size + 1, 5, ErrorKind::Occupied),
        (6 * size..6 * size + 1, 6, ErrorKind::Unmapped),
    ] {
        let error = room.get(range.clone()).unwrap_err();
        let told = (error.kind(), error.operation(), error.range());
        assert_eq!(told, (kind, Operation::Access, at(number)), "{range:?}: {error}");
    }
    let (first, third, fifth) = (at(0), at(3), at(5));
    let error = room.get_mut(2 * size..4 * size).unwrap_err();
    assert_eq!((error.kind(), error.range()), (ErrorKind::NotPermitted, third));
    let error = room.protect(pages(0..2), R).unwrap_err();
    assert_eq!(
        (error.kind(), error.operation(), error.range()),
        (ErrorKind::Unmapped, Operation::Protect, first)
    );
    for error in [
        room.commit(pages(4..6), R).unwrap_err(),
        room.protect(pages(4..6), R).unwrap_err(),
        room.decommit(..).unwrap_err(),
        room.carve::<folio::AllowRead, folio::DenyWrite>(pages(5..6)).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.range()), (ErrorKind::Occupied, fifth.clone()), "{error}");
    }

    // Nonsense.
    let odd: [Range<usize>; 7] =
        [1..size, 0..1, 0..9 * size, 9 * size..9 * size, size..0, 0..usize::MAX, usize::MAX..usize::MAX];
    for range in odd {
        let empty = range.start == range.end && range.end <= room.len();
        let errors = [
            room.commit(range.clone(), R).err(),
            room.protect(range.clone(), R).err(),
            room.decommit(range.clone()).err(),
            room.carve::<folio::AllowRead, folio::DenyWrite>(range.clone()).err(),
        ];
        for error in errors.into_iter().flatten() {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{range:?}: {error}");
        }
        assert!(empty || room.commit(range.clone(), R).is_err());
    }
    assert_eq!(room.get(0..=usize::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    let above = (std::ops::Bound::Excluded(usize::MAX), std::ops::Bound::Unbounded);
    assert_eq!(room.get(above).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(room.get_mut(8 * size..8 * size + 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let bits = Protection::from_bits_retain(8);
    assert_eq!(room.commit(pages(0..1), bits).unwrap_err().kind(), ErrorKind::InvalidInput);
    let execute = room.commit(pages(0..1), Protection::READ_EXECUTE).unwrap_err();
    assert_eq!(execute.kind(), ErrorKind::NotPermitted);
    assert!(room.carve::<folio::AllowRead, folio::DenyWrite>(0..0).is_err());
    // Nothing of no pages.
    room.commit(size..size, R).unwrap();
    room.protect(0..0, R).unwrap();
    room.decommit(8 * size..).unwrap();
    assert_eq!(parts(&room), before);
    drop(carved);
}

#[test]
fn what_is_carved_out_lives_on_its_own() {
    let size = page::size();
    let mut room = Reservation::new(10 * size).unwrap();
    room.commit(pages(0..4), RW).unwrap();
    room.get_mut(pages(0..4)).unwrap().fill(4);
    // Content is kept, what has no memory gets it.
    let mut low: MmapMut = room.carve(pages(2..5)).unwrap();
    assert_eq!((low[0], low[2 * size]), (4, 0));
    assert_eq!(low.start(), room.start() + 2 * size);
    let none: MmapNone = room.carve(pages(6..7)).unwrap();
    assert_eq!(parts(&room)[1], (2..5, Carved));
    assert_eq!(shown(none.start()), Protection::NONE);
    low.fill(5);
    let low =
        std::thread::spawn(move || low.make_read_only().map_err(|(_, error)| error).unwrap()).join().unwrap();
    assert_eq!(shown(low.start()), R);

    // Dropped: without memory, and the reservation's again.
    drop(none);
    room.commit(pages(5..8), RW).unwrap();
    room.take_back(low).unwrap();
    let states = [(0..2, Committed(RW)), (2..5, Committed(R)), (5..8, Committed(RW)), (8..10, Reserved)];
    assert_eq!(parts(&room), states);
    assert_eq!(room.get(pages(2..3)).unwrap()[0], 5);
    let low: Mmap = room.carve(pages(2..5)).unwrap();
    assert_eq!(low[0], 5);

    // Not by another reservation, nor pages of another kind.
    let mut other = Reservation::new(size).unwrap();
    let (low, error) = other.take_back(low).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::TakeBack));
    let own = folio::Pages::new(size).unwrap();
    assert!(room.take_back(own).is_err());
    assert_eq!(room.get(pages(2..3)).unwrap_err().kind(), ErrorKind::Occupied);
    // The reservation may end before what was carved out of it.
    let start = room.start();
    drop(room);
    assert_eq!(shown(start), Protection::NONE);
    assert_eq!((low[0], low[3 * size - 1]), (5, 5));
}

#[test]
fn what_was_carved_out_is_split_and_merged() {
    let size = page::size();
    let mut room = Reservation::new(8 * size).unwrap();
    let mut a: MmapMut = room.carve(pages(0..4)).unwrap();
    a.fill(1);
    let mut b = a.split_off(size).unwrap();
    let c = b.split_off(2 * size).unwrap();
    // The middle goes; its neighbours live, and the addresses are not given out before they have ended.
    let middle = b.start();
    drop(b);
    assert_eq!(shown(middle), Protection::NONE);
    assert_eq!(room.commit(pages(1..2), RW).unwrap_err().kind(), ErrorKind::Occupied);
    room.take_back(c).unwrap();
    assert_eq!(parts(&room), [(0..3, Carved), (3..4, Committed(RW)), (4..8, Reserved)]);
    assert_eq!(room.get(pages(3..4)).unwrap()[0], 1);
    drop(a);
    assert_eq!(parts(&room), [(0..3, Reserved), (3..4, Committed(RW)), (4..8, Reserved)]);
    room.commit(pages(0..3), RW).unwrap();
    assert!(room.get(pages(0..3)).unwrap().iter().all(|&byte| byte == 0));
    room.decommit(..).unwrap();

    // Parts carved out one by one can become one: one reservation made them.
    let mut a: MmapMut = room.carve(pages(0..1)).unwrap();
    let b: MmapMut = room.carve(pages(1..2)).unwrap();
    let c: MmapMut = room.carve(pages(2..4)).unwrap();
    let d: MmapMut = room.carve(pages(5..6)).unwrap();
    let (d, error) = a.merge(d).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    a.merge(b).unwrap();
    a.merge(c).unwrap();
    a.fill(6);
    assert_eq!(a.len(), 4 * size);
    // Split elsewhere than they were joined, and joined again.
    let rest = a.split_to(3 * size).unwrap();
    let (mut low, high) = (rest, a);
    assert_eq!((low.len(), high.len()), (3 * size, size));
    low.merge(high).unwrap();
    let high = low.split_off(size).unwrap();
    drop(low);
    assert_eq!(room.commit(pages(0..1), RW).unwrap_err().kind(), ErrorKind::Occupied);
    room.take_back(high).unwrap();
    room.commit(pages(0..1), RW).unwrap();
    assert_eq!(parts(&room), [(0..4, Committed(RW)), (4..5, Reserved), (5..6, Carved), (6..8, Reserved)]);
    drop(d);
    // Whichever of the two holds more: nobody else is given what the merged one has.
    room.decommit(..).unwrap();
    let mut a: MmapMut = room.carve(pages(0..3)).unwrap();
    let mut joint = a.split_off(2 * size).unwrap();
    let mut low = a;
    joint.merge(room.carve(pages(3..4)).unwrap()).map_err(|(_, error)| error).unwrap();
    low.merge(joint).unwrap();
    assert_eq!(room.commit(pages(3..4), RW).unwrap_err().kind(), ErrorKind::Occupied);
    low.fill(8);
    drop(low);
    room.commit(pages(0..4), RW).unwrap();
    room.decommit(..).unwrap();
    // Of two reservations, never.
    let mut other = Reservation::new(size).unwrap();
    let mut own: MmapMut = room.carve(pages(7..8)).unwrap();
    let others: MmapMut = other.carve(..).unwrap();
    assert!(own.merge(others).is_err());
    // Address space again, and back.
    let own = own.into_reserved().unwrap().commit().unwrap();
    room.take_back(own).unwrap();
}

#[test]
fn many_parts_are_carved_merged_and_dropped() {
    let size = page::size();
    const COUNT: usize = 300;
    let mut room = Reservation::new(COUNT * size).unwrap();
    let mut all: Vec<MmapMut> = (0..COUNT).map(|n| room.carve(pages(n..n + 1)).unwrap()).collect();
    let mut whole = all.remove(0);
    for part in all {
        whole.merge(part).unwrap();
    }
    whole.fill(1);
    assert_eq!((whole.len(), parts(&room).len()), (COUNT * size, 1));
    drop(whole);
    assert_eq!(parts(&room), [(0..COUNT, Reserved)]);
    let again: MmapMut = room.carve(..).unwrap();
    assert!(again.iter().step_by(size).all(|&byte| byte == 0));
}

#[test]
fn locks_of_what_is_carved_out_end_with_it() {
    let mut room = Reservation::new(4 * page::size()).unwrap();
    let mut own: MmapMut = room.carve(pages(0..2)).unwrap();
    if own.lock().is_err() {
        return skipped("locks_of_what_is_carved_out_end_with_it", "nothing may be locked here");
    }
    let locked =
        |at: usize| folio::Process::current().usage(at).ok().and_then(|usage| usage.locked()).unwrap_or(0);
    let start = own.start();
    drop(own);
    assert_eq!(locked(start), 0);
    let mut own: MmapMut = room.carve(pages(0..2)).unwrap();
    assert_eq!((own.unlock().unwrap_err().kind(), locked(start)), (ErrorKind::InvalidInput, 0));
    own.lock().unwrap();
    room.take_back(own).unwrap();
    assert_eq!(locked(start), 0);
}

#[test]
fn the_addresses_go_with_the_last_part() {
    const TEST: &str = "the_addresses_go_with_the_last_part";
    let Some(order) = role() else {
        for order in ["reservation first", "parts first"] {
            let mut child = Helper::start(TEST, order);
            assert_eq!(child.line(), "gone");
            child.finish();
        }
        return;
    };
    let mut room = MmapOptions::new(64 << 20).align(1 << 20).guard_before(1).reservation().unwrap();
    let (start, end) = (room.start(), room.end());
    room.commit(.., RW).unwrap();
    room.get_mut(..).unwrap()[5] = 1;
    let low: MmapMut = room.carve(..1 << 20).unwrap();
    let high: Mmap = room.carve(2 << 20..).unwrap();
    if order == "parts first" {
        drop((low, high));
        drop(room);
    } else {
        drop(room);
        // What nobody can reach any more has no memory.
        assert_eq!(shown(start + (1 << 20)), Protection::NONE);
        assert_eq!(low[5], 1);
        drop(low);
        assert!(!gone(start) && !gone(end - 1));
        drop(high);
    }
    for place in [start - page::size(), start, start + (1 << 20), end - 1] {
        assert!(gone(place), "{place:#x}");
    }
    say("gone");
}

#[test]
fn touching_what_has_no_memory_ends_the_process() {
    const TEST: &str = "touching_what_has_no_memory_ends_the_process";
    if let Some(what) = role() {
        let mut room = Reservation::new(2 * page::size()).unwrap();
        room.commit(pages(0..1), RW).unwrap();
        room.get_mut(0..1).unwrap()[0] = 1;
        let mut at = room.as_mut_ptr();
        match what.to_str().unwrap() {
            "reserved" => at = at.wrapping_add(page::size()),
            "decommitted" => room.decommit(..).unwrap(),
            "dropped" => drop(room.carve::<folio::AllowRead, folio::AllowWrite>(pages(0..1)).unwrap()),
            "left" => {
                let _other: Mmap = room.carve(pages(1..2)).unwrap();
                std::mem::forget(_other);
                drop(room);
            }
            _ => room.protect(pages(0..1), R).unwrap(),
        }
        say("ready");
        // SAFETY: whether the place can be written is what is found out, in a process that is to end for it.
        unsafe { at.write_volatile(1) };
        return say("alive");
    }
    for what in ["reserved", "decommitted", "dropped", "left", "read-only"] {
        let mut child = Helper::start(TEST, what);
        assert_eq!(child.line(), "ready");
        assert!(!child.wait().success(), "{what}");
    }
}

/// A place in the terabytes, of which pages here and there are used.
#[test]
fn far_apart_parts_of_a_tebibyte() {
    const TEST: &str = "far_apart_parts_of_a_tebibyte";
    let Some(len) = 1_usize.checked_shl(40).filter(|_| usize::BITS == 64) else {
        return skipped(TEST, "too few addresses");
    };
    let mut room = match Reservation::new(len) {
        Ok(room) => room,
        Err(error) if error.kind() == ErrorKind::Exhausted => return skipped(TEST, &error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let size = page::size();
    for number in 0..64 {
        let at = len / 64 * number;
        room.commit(at..at + size, RW).unwrap();
        room.get_mut(at..at + 1).unwrap()[0] = u8::try_from(number).unwrap();
    }
    assert_eq!(room.committed(), 64 * size);
    for number in 0..64 {
        let at = len / 64 * number;
        assert_eq!(usize::from(room.get(at..at + 1).unwrap()[0]), number);
        assert_eq!(room.get(at..at + size + 1).unwrap_err().range().unwrap().start, room.start() + at + size);
    }
    room.decommit(..).unwrap();
    assert_eq!(parts(&room), [(0..len / size, Reserved)]);
}
