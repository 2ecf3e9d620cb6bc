//! Mappings that become longer and shorter, where they lie or elsewhere.

mod common;

use common::{Helper, role, rounds, say};
use folio::{ErrorKind, MmapMut, MmapOptions, Operation, Pages, Protection, page, query, query_range};
use proptest::prelude::*;
use std::ops::Range;

fn shown(address: usize) -> Protection {
    query(std::ptr::without_provenance::<u8>(address)).unwrap().protection()
}

/// Whether pages lie there that can be used.
fn usable(range: Range<usize>) -> bool {
    let pointer = std::ptr::without_provenance::<u8>(range.start);
    let mut next = range.start;
    for region in query_range(pointer, range.len()).unwrap() {
        let region = region.unwrap();
        if region.as_range().start > next || !region.protection().contains(Protection::READ) {
            return false;
        }
        next = region.as_range().end;
    }
    next >= range.end
}

/// Whether nothing there has memory.
fn gone(range: Range<usize>) -> bool {
    let pointer = std::ptr::without_provenance::<u8>(range.start);
    query_range(pointer, range.len())
        .unwrap()
        .all(|region| region.is_ok_and(|region| !region.is_committed() || region.protection().is_empty()))
}

#[test]
fn a_mapping_grows_into_its_room_and_no_further() {
    let page = page::size();
    let mut pages =
        MmapOptions::new(page).room(7 * page).guard_before(page).guard_after(page).map_mut().unwrap();
    let start = pages.start();
    pages[0] = 1;
    assert!(gone(start + page..start + 9 * page));
    for count in 2..=8 {
        // Rounded up, and again: nothing more.
        pages.grow((count - 1) * page + 1).unwrap();
        pages.grow(count * page).unwrap();
        assert_eq!((pages.len(), pages.start()), (count * page, start));
        assert!(usable(start..start + count * page) && gone(pages.end()..start + 9 * page));
        assert_eq!(pages[pages.len() - 1], 0);
        *pages.last_mut().unwrap() = 1;
    }
    let error = pages.grow(8 * page + 1).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Occupied, Operation::Resize));
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("room")), "{error}");
    assert_eq!((pages.len(), pages.iter().filter(|&&byte| byte == 1).count()), (8 * page, 8));

    // What is given back becomes room again.
    pages.shrink(page + 1).unwrap();
    assert_eq!(pages.len(), 2 * page);
    assert!(gone(pages.end()..start + 9 * page));
    pages.grow(8 * page).unwrap();
    assert!(pages[2 * page..].iter().all(|&byte| byte == 0), "old content came back");
}

/// What was mapped for the sake of the alignment is given back without what is kept of it, where addresses go back as a whole.
#[test]
fn an_aligned_mapping_has_room_too() {
    let page = page::size();
    for align in [1 << 20, 1 << 22] {
        let mut pages =
            MmapOptions::new(page).align(align).room(2 * page).guard_after(page).map_mut().unwrap();
        let start = pages.start();
        assert_eq!(start % align, 0);
        pages[0] = 7;
        pages.grow(3 * page).unwrap();
        assert_eq!((pages.start(), pages[0], pages[3 * page - 1]), (start, 7, 0));
        assert!(usable(start..start + 3 * page) && gone(start + 3 * page..start + 4 * page));
        assert_eq!(pages.grow(4 * page).unwrap_err().kind(), ErrorKind::Occupied);
        drop(pages);
    }
}

#[test]
fn room_belongs_to_the_last_part() {
    let page = page::size();
    let mut low = MmapOptions::new(2 * page).room(page).map_mut().unwrap();
    let mut high = low.split_off(page).unwrap();
    // Directly behind the low one is the high one.
    assert_ne!(low.grow(2 * page).unwrap_err().kind(), ErrorKind::InvalidInput);
    high.grow(2 * page).unwrap();
    high[page] = 3;
    low.merge(high).map_err(|(_, error)| error).unwrap();
    assert_eq!((low.len(), low[2 * page]), (3 * page, 3));
    // The end of the room is the end.
    assert!(low.grow(3 * page + 1).is_err());
}

#[test]
fn rights_are_those_of_the_type() {
    let page = page::size();
    let mut none = MmapOptions::new(1).room(4 * page).map_none().unwrap();
    none.grow(2 * page).unwrap();
    assert_eq!(shown(none.start() + page), Protection::NONE);
    let mut read = none.make_read_only().map_err(|(_, error)| error).unwrap();
    read.grow(3 * page).unwrap();
    assert_eq!((shown(read.end() - 1), read[3 * page - 1]), (Protection::READ, 0));
    let mut write = read.make_mut().map_err(|(_, error)| error).unwrap();
    write.grow(4 * page).unwrap();
    write.fill(1);
    // Elsewhere, by copying or not.
    let mut none = write.make_none().map_err(|(_, error)| error).unwrap();
    none.remap(40 * page).unwrap();
    assert!(none.len() == 40 * page && shown(none.start()) == Protection::NONE);
    assert_eq!(shown(none.end() - 1), Protection::NONE);
    let read = none.make_read_only().map_err(|(_, error)| error).unwrap();
    assert_eq!(read.iter().map(|&byte| usize::from(byte)).sum::<usize>(), 4 * page);
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let page = page::size();
    let mut pages = Pages::new(2 * page).unwrap();
    pages[page] = 5;
    let range = pages.as_range();
    for len in [usize::MAX, isize::MAX.unsigned_abs() + 1] {
        for error in [pages.grow(len).unwrap_err(), pages.remap(len).unwrap_err()] {
            assert_eq!(
                (error.kind(), error.operation()),
                (ErrorKind::InvalidInput, Operation::Resize),
                "{error}"
            );
            assert_eq!(error.range(), Some(range.clone()));
        }
    }
    // More than there is: of addresses, or of memory. (A 32-bit program of a 64-bit system may have so much.)
    let much = isize::MAX.unsigned_abs() & !(page - 1);
    if usize::BITS > 32 {
        assert!(pages.grow(much).is_err());
        assert_ne!(pages.remap(much).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(pages.shrink(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(pages.remap(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    pages.shrink(usize::MAX).unwrap();
    pages.shrink(2 * page).unwrap();
    pages.shrink(page + 1).unwrap();
    pages.grow(0).unwrap();
    pages.grow(1).unwrap();
    assert_eq!((pages.as_range(), pages[page]), (range, 5));
}

/// Trap: locks that stay behind, or come along without being counted.
#[test]
fn locked_pages_do_not_grow_and_the_tail_is_unlocked() {
    let page = page::size();
    let mut pages = MmapOptions::new(3 * page).room(3 * page).map_mut().unwrap();
    if let Err(error) = pages.lock() {
        return common::skipped("locked_pages_do_not_grow_and_the_tail_is_unlocked", &error.to_string());
    }
    for error in [pages.grow(4 * page).unwrap_err(), pages.remap(40 * page).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("unlock")), "{error}");
    }
    pages.shrink(page).unwrap();
    pages.unlock().unwrap();
    pages.grow(6 * page).unwrap();
    pages.fill(9);
    assert!(pages.unlock().is_err());
}

/// In a process of its own, where nobody else is given the addresses meanwhile.
#[test]
fn moved_pages_leave_nothing_behind() {
    if role().is_none() {
        return Helper::start("moved_pages_leave_nothing_behind", "alone").finish();
    }
    let page = page::size();
    // folio's own page for queries.
    assert!(!usable(0..page));
    for (before, after) in [(0, 0), (page, 0), (0, page), (page, 2 * page)] {
        let mut pages = MmapOptions::new(2 * page).guard_before(before).guard_after(after).map_mut().unwrap();
        let old = pages.as_range();
        pages[0] = 1;
        pages[2 * page - 1] = 2;
        pages.remap(1000 * page).unwrap();
        assert_eq!((pages.len(), pages[0], pages[2 * page - 1]), (1000 * page, 1, 2));
        assert!(pages[2 * page..].iter().all(|&byte| byte == 0));
        pages.fill(7);
        let now = pages.as_range();
        assert!(now == (old.start..now.end) || gone(old), "{before} {after}");
        drop(pages);
        assert!(gone(now.start - before..now.end + after));
    }
}

/// One mapping, grown, shrunk, moved, split at random, beside a vector that does the same.
#[derive(Clone, Debug)]
enum Step {
    Grow(usize),
    Shrink(usize),
    Remap(usize),
    Write(usize, u8),
    CutOff(usize),
    CutTo(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let pages = 1_usize..24;
    prop_oneof![
        pages.clone().prop_map(Step::Grow),
        pages.clone().prop_map(Step::Shrink),
        pages.clone().prop_map(Step::Remap),
        (0_usize..24, any::<u8>()).prop_map(|(page, byte)| Step::Write(page, byte)),
        pages.clone().prop_map(Step::CutOff),
        pages.prop_map(Step::CutTo),
    ]
}

/// The model: the first byte of each page.
fn agree(pages: &MmapMut, model: &[u8]) {
    let page = page::size();
    assert_eq!(pages.len(), model.len() * page);
    let firsts: Vec<u8> = pages.iter().step_by(page).copied().collect();
    assert_eq!(firsts, model);
    assert!(usable(pages.as_range()));
    assert_eq!(shown(pages.start()), Protection::READ_WRITE);
    assert_eq!(shown(pages.end() - 1), Protection::READ_WRITE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(64), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mapping_is_as_a_vector(
        room in prop_oneof![Just(0_usize), 1_usize..16],
        before in 0_usize..2,
        after in 0_usize..2,
        steps in prop::collection::vec(step(), 1..24),
    ) {
        let page = page::size();
        let options = MmapOptions::new(3 * page)
            .room(room * page)
            .guard_before(before * page)
            .guard_after(after * page);
        let mut pages = options.map_mut().unwrap();
        let mut model = vec![0_u8; 3];
        let mut kept = Vec::new();
        for step in steps {
            match step {
                Step::Grow(count) => {
                    if pages.grow(count * page).is_ok() {
                        model.resize(model.len().max(count), 0);
                    }
                }
                Step::Remap(count) => {
                    pages.remap(count * page).unwrap();
                    model.resize(count, 0);
                }
                Step::Shrink(count) => {
                    pages.shrink(count * page).unwrap();
                    model.truncate(count);
                }
                Step::Write(index, byte) => {
                    let index = index % model.len();
                    pages[index * page] = byte;
                    model[index] = byte;
                }
                Step::CutOff(at) | Step::CutTo(at) if at >= model.len() => {}
                Step::CutOff(at) => {
                    kept.push((pages.split_off(at * page).unwrap(), model.split_off(at)));
                }
                Step::CutTo(at) => {
                    let high = model.split_off(at);
                    kept.push((pages.split_to(at * page).unwrap(), std::mem::replace(&mut model, high)));
                }
            }
            agree(&pages, &model);
            for (pages, model) in &kept {
                agree(pages, model);
            }
        }
    }
}

/// Trap: address space that was set aside, or a guard page that did not move along, could be used by mistake.
#[test]
fn what_lies_behind_the_mapping_ends_the_process_that_touches_it() {
    let page = page::size();
    if let Some(case) = role() {
        let mut pages = match case.to_str().unwrap() {
            "room" => MmapOptions::new(page).room(page),
            "room given back" => MmapOptions::new(2 * page).room(page),
            _ => MmapOptions::new(page).guard_before(page).guard_after(page),
        }
        .map_mut()
        .unwrap();
        pages.fill(1);
        let place = match case.to_str().unwrap() {
            "room" => pages.end(),
            "room given back" => {
                pages.shrink(page).unwrap();
                pages.end()
            }
            "guard before" => {
                pages.remap(500 * page).unwrap();
                pages.start() - 1
            }
            _ => {
                pages.remap(500 * page).unwrap();
                pages.end()
            }
        };
        say("touching");
        // SAFETY: an address of the mapping's own that grants nothing: it ends this process.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(place).write_volatile(1) };
        std::process::exit(0);
    }
    for case in ["room", "room given back", "guard before", "guard behind"] {
        let mut helper = Helper::start("what_lies_behind_the_mapping_ends_the_process_that_touches_it", case);
        assert_eq!(helper.line(), "touching", "{case}");
        let status = helper.wait();
        assert!(!status.success(), "{case}: {status}");
    }
}
