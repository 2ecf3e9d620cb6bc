//! A whole mapping without memory: counted by nobody, committed, reserved again.

mod common;

use common::{Helper, role, say, skipped};
use folio::{
    ErrorKind, Limits, Mmap, MmapMut, MmapNone, MmapOptions, Operation, Pages, Protection, Reserved,
    ReservedMut, ReservedNone, page, query, query_range,
};
use std::ptr::without_provenance;

fn shown(address: usize) -> Protection {
    query(without_provenance::<u8>(address)).unwrap().protection()
}

/// Whether there is address space, and nothing behind it as far as the system tells.
fn is_reserved(range: std::ops::Range<usize>) -> bool {
    let regions: Vec<_> = query_range(without_provenance::<u8>(range.start), range.len())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut next = range.start;
    for region in &regions {
        if region.as_range().start > next || !region.protection().is_empty() {
            return false;
        }
        if cfg!(windows) && region.is_committed() {
            return false;
        }
        next = region.as_range().end;
    }
    next >= range.end
}

fn gone(address: usize) -> bool {
    query(without_provenance::<u8>(address)).is_err()
}

#[test]
fn what_is_reserved_becomes_pages_and_back() {
    let size = page::size();
    let room = MmapOptions::new(4 * size - 1).reserve_mut().unwrap();
    assert_eq!((room.len(), room.size(), room.end() - room.start()), (4 * size, 4 * size, 4 * size));
    assert_eq!(room.as_range(), room.start()..room.end());
    assert_eq!(room.as_ptr().addr(), room.start());
    assert!(!room.is_empty());
    assert_eq!(ReservedMut::PROTECTION, Protection::READ_WRITE);
    assert!(format!("{room:?}").ends_with(" rw-)"), "{room:?}");
    assert!(is_reserved(room.as_range()));
    let range = room.as_range();

    let mut pages = room.commit().unwrap();
    assert_eq!((pages.as_range(), shown(pages.start())), (range.clone(), Protection::READ_WRITE));
    assert!(pages.iter().all(|&byte| byte == 0));
    pages.fill(7);
    let mut room = pages.into_reserved().unwrap();
    assert_eq!(room.as_range(), range);
    assert!(is_reserved(range.clone()));
    assert_eq!(room.as_mut_ptr().addr(), range.start);
    // What was there is gone.
    let pages = room.commit().unwrap();
    assert!(pages.iter().all(|&byte| byte == 0));
    drop(pages);

    // Each alias becomes its own.
    let none = MmapNone::try_from(MmapOptions::new(size).reserve_none().unwrap()).unwrap();
    assert_eq!(shown(none.start()), Protection::NONE);
    let mut none = none.make_mut().unwrap();
    none[0] = 1;
    let read = Mmap::try_from(MmapOptions::new(size).reserve().unwrap()).unwrap();
    assert_eq!((shown(read.start()), read[0]), (Protection::READ, 0));
    let mut write = MmapMut::try_from(MmapOptions::new(size).reserve_mut().unwrap()).unwrap();
    write[0] = 1;
    // Back from each.
    let _: ReservedMut = none.into_reserved().unwrap();
    let _: Reserved = read.into_reserved().unwrap();
    let again: ReservedMut = write.into_reserved().unwrap();
    assert!(is_reserved(again.as_range()));
    let none: ReservedNone = MmapOptions::new(size).map_none().unwrap().into_reserved().unwrap();
    assert!(is_reserved(none.as_range()));
}

#[test]
fn parts_are_committed_merged_and_dropped_in_any_order() {
    let size = page::size();
    let mut a = MmapOptions::new(6 * size).reserve_mut().unwrap();
    let whole = a.as_range();
    let c = a.split_off(4 * size).unwrap();
    let b = a.split_off(2 * size).unwrap();
    let mut b = b.commit().unwrap();
    b.fill(5);
    assert!(is_reserved(a.as_range()) && is_reserved(c.as_range()));
    // What has memory and what has none are of different types.
    let mut b = b.into_reserved().unwrap();
    let (c, error) = a.merge(c).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Merge));
    b.merge(c).unwrap();
    a.merge(b).unwrap();
    assert_eq!(a.as_range(), whole);
    assert_eq!(a.split_off(1).unwrap_err().kind(), ErrorKind::InvalidInput);
    let first = a.split_to(size).unwrap();
    assert_eq!((first.start(), a.start()), (whole.start, whole.start + size));
    drop(a);
    let mut first = first.commit().unwrap();
    first.fill(1);
    drop(first);
}

#[test]
fn places_alignments_and_guards_are_as_for_pages() {
    let size = page::size();
    let align = 1 << 20;
    let room = MmapOptions::new(3 * size).align(align).guard_before(size).guard_after(2 * size).reserve_mut();
    let room = room.unwrap();
    assert_eq!((room.start() % align, room.len()), (0, 3 * size));
    assert!(is_reserved(room.start() - size..room.end() + 2 * size));
    let mut pages = room.commit().unwrap();
    pages.fill(1);
    // What is around it has no memory, now as before.
    assert!(is_reserved(pages.start() - size..pages.start()));
    assert!(is_reserved(pages.end()..pages.end() + 2 * size));

    let near = MmapOptions::new(size).near(pages.start(), 1 << 30).reserve().unwrap();
    assert!(near.start().abs_diff(pages.start()) <= 1 << 30);
    let taken = MmapOptions::new(size).at(near.start()).reserve().unwrap_err();
    assert_eq!((taken.kind(), taken.operation()), (ErrorKind::Occupied, Operation::Reserve));

    for odd in [
        MmapOptions::new(0),
        MmapOptions::new(usize::MAX),
        MmapOptions::new(1).align(3),
        MmapOptions::new(1).guard_before(usize::MAX),
        MmapOptions::new(1).locked(),
        MmapOptions::new(1).align(1 << 20).locked(),
    ] {
        for error in [
            odd.reserve().unwrap_err(),
            odd.reserve_none().unwrap_err(),
            odd.reserve_mut().unwrap_err(),
            odd.reservation().unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.operation()),
                (ErrorKind::InvalidInput, Operation::Reserve),
                "{odd:?}"
            );
        }
    }
}

#[test]
fn locks_end_with_the_memory() {
    let mut pages = Pages::new(2 * page::size()).unwrap();
    if pages.lock().is_err() {
        return skipped("locks_end_with_the_memory", "nothing may be locked here");
    }
    pages.lock().unwrap();
    let room = pages.into_reserved().unwrap();
    let mut pages = room.commit().unwrap();
    assert_eq!(pages.unlock().unwrap_err().kind(), ErrorKind::InvalidInput);
    let usage = folio::Process::current().usage(pages.start());
    if let Some(locked) = usage.ok().and_then(|usage| usage.locked()) {
        assert_eq!(locked, 0);
    }
}

#[test]
fn dropping_gives_the_addresses_back() {
    const TEST: &str = "dropping_gives_the_addresses_back";
    if role().is_none() {
        let mut child = Helper::start(TEST, "");
        assert_eq!(child.line(), "gone");
        return child.finish();
    }
    let room = MmapOptions::new(64 << 20).reserve().unwrap();
    let (start, end) = (room.start(), room.end());
    drop(room);
    assert!(gone(start) && gone(end - 1));
    let mut low = MmapOptions::new(64 << 20).reserve_mut().unwrap();
    let (start, end) = (low.start(), low.end());
    let high = low.split_off(32 << 20).unwrap().commit().unwrap();
    drop(low);
    drop(high);
    assert!(gone(start) && gone(end - 1));
    say("gone");
}

/// What the system has promised, in bytes.
fn promised() -> Option<u64> {
    Limits::current().ok()?.committed()
}

/// Trap: "reserved" memory that was in fact committed, and a commit that did nothing.
///
/// What is asked for is so large that other programs' doings do not matter.
#[test]
fn what_is_reserved_is_not_promised() {
    const TEST: &str = "what_is_reserved_is_not_promised";
    if usize::BITS < 64 {
        return skipped(TEST, "too few addresses");
    }
    if role().is_none() {
        let mut child = Helper::start(TEST, "");
        match child.line().strip_prefix("skipped ") {
            Some(why) => skipped(TEST, why),
            None => return child.finish(),
        }
        return;
    }
    const GIB: u64 = 1 << 30;
    let len: usize = 1_usize.checked_shl(34).unwrap();
    let Some(before) = promised() else {
        return say("skipped the system does not tell what it has promised");
    };
    let mut room = match MmapOptions::new(len).reserve_mut() {
        Ok(room) => room,
        Err(error) => return say(format!("skipped {error}")),
    };
    let reserved = promised().unwrap();
    assert!(reserved.saturating_sub(before) < GIB, "{before} before, {reserved} with 16 GiB reserved");
    // A gigabyte and more are promised when they get memory, and no longer when they have given it back, also when they were
    // written to.
    let part = 3 << 29;
    let first = room.split_to(part).unwrap();
    let mut pages = match first.commit() {
        Ok(pages) => pages,
        Err((_, error)) => return say(format!("skipped {error}")),
    };
    for byte in pages.iter_mut().step_by(64 << 20) {
        *byte = 1;
    }
    let committed = promised().unwrap();
    if cfg!(windows) && committed == reserved {
        return say("skipped what is promised is not counted at once (Wine)");
    }
    let counts = std::fs::read_to_string("/proc/sys/vm/overcommit_memory");
    // (Also where nothing is refused, the system counts.)
    assert!(
        committed.saturating_sub(reserved) > GIB,
        "{reserved} reserved, {committed} committed, {counts:?}"
    );
    let first = pages.into_reserved().unwrap();
    let again = promised().unwrap();
    assert!(committed.saturating_sub(again) > GIB, "{committed} committed, {again} reserved again");
    drop((first, room));
    say("done");
}

#[test]
fn a_tebibyte_can_be_reserved() {
    const TEST: &str = "a_tebibyte_can_be_reserved";
    let Some(len) = 1_usize.checked_shl(40).filter(|_| usize::BITS == 64) else {
        return skipped(TEST, "too few addresses");
    };
    let room = match MmapOptions::new(len).reserve_mut() {
        Ok(room) => room,
        Err(error) if Limits::current().is_ok_and(|limits| limits.address_space_limit().is_some()) => {
            return skipped(TEST, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    assert!(is_reserved(room.start()..room.start() + page::size()));
    let mut rest = room;
    let last = rest.split_off(len - page::size()).unwrap();
    let mut last = last.commit().unwrap();
    last.fill(3);
}

#[test]
fn touching_what_is_reserved_ends_the_process() {
    const TEST: &str = "touching_what_is_reserved_ends_the_process";
    if let Some(what) = role() {
        let size = page::size();
        let room = match what.to_str().unwrap() {
            "reserved" => MmapOptions::new(size).reserve_mut().unwrap(),
            "again" => Pages::new(size).unwrap().into_reserved().unwrap(),
            _ => {
                let mut pages = MmapOptions::new(2 * size).reserve_mut().unwrap().commit().unwrap();
                pages.split_to(size).unwrap().into_reserved().unwrap()
            }
        };
        say("ready");
        // SAFETY: whether the place can be read is what is found out, in a process that is to end for it.
        unsafe { room.as_ptr().read_volatile() };
        return say("alive");
    }
    for what in ["reserved", "again", "a part"] {
        let mut child = Helper::start(TEST, what);
        assert_eq!(child.line(), "ready");
        assert!(!child.wait().success(), "{what}");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::*;

    /// Whether each mapping in a range is counted as promised (`ac` among the flags of `smaps`), and how many KiB are in memory.
    fn counted(range: std::ops::Range<usize>) -> (Vec<bool>, u64) {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut here, mut counts, mut resident) = (false, Vec::new(), 0);
        for line in text.lines() {
            let first = line.split(' ').next().unwrap();
            if let Some((start, end)) = first.split_once('-') {
                let (start, end) =
                    (usize::from_str_radix(start, 16).unwrap(), usize::from_str_radix(end, 16).unwrap());
                here = start < range.end && range.start < end;
            } else if here && line.starts_with("Rss:") {
                resident += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
            } else if here && line.starts_with("VmFlags:") {
                counts.push(line.split_whitespace().any(|flag| flag == "ac"));
            }
        }
        (counts, resident)
    }

    /// Trap: pages that were written to stay counted after `MADV_DONTNEED` and `PROT_NONE`.
    #[test]
    fn the_kernel_counts_memory_and_not_addresses() {
        let size = page::size();
        // With guard pages around, so that neighbours are no part of its mapping.
        let room = MmapOptions::new(64 * size).reserve_mut().unwrap();
        assert!(!counted(room.as_range()).0.contains(&true));
        let mut pages = room.commit().unwrap();
        if counted(pages.as_range()).0.is_empty() {
            return skipped("the_kernel_counts_memory_and_not_addresses", "smaps tells no flags");
        }
        assert!(counted(pages.as_range()).0.contains(&true));
        pages.fill(1);
        assert!(counted(pages.as_range()).1 >= 64 * size as u64 / 1024);
        let room = pages.into_reserved().unwrap();
        assert!(!counted(room.as_range()).0.contains(&true));
        assert!(is_reserved(room.as_range()));
    }
}
