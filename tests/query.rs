//! Looking up addresses and ranges in this process: own mappings made and found, against a model.

mod common;

use common::{Area, Helper, protections, role, rounds};
use folio::{ErrorKind, Operation, Protection, Region, page, query, query_range};
use proptest::prelude::*;
use std::ptr::without_provenance;
use std::sync::atomic::{AtomicBool, Ordering};

fn regions(address: usize, len: usize) -> Vec<Region> {
    query_range(without_provenance::<u8>(address), len).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_protection_is_found() {
    let area = Area::new(3);
    for protection in protections() {
        area.protect(1, 1, protection);
        let region = query(without_provenance::<u8>(area.page(1) + 5)).unwrap();
        assert_eq!(region.protection(), protection);
        assert_eq!(region.is_readable(), protection.contains(Protection::READ));
        assert_eq!(region.is_writable(), protection.contains(Protection::WRITE));
        assert_eq!(region.is_executable(), protection.contains(Protection::EXECUTE));
        assert!(region.is_committed() && !region.is_shared() && !region.is_guarded());
        if protection != Protection::READ_WRITE {
            assert_eq!(region.as_range(), area.page(1)..area.page(2));
            assert_eq!((region.as_ptr::<u8>().addr(), region.len()), (area.page(1), page::size()));
        } else {
            assert_eq!(region.as_range(), area.page(0)..area.page(3));
        }
    }
}

/// Trap: off by one at either end of a page, and (Windows) the base of a region is the region's, not the queried page's.
#[test]
fn a_region_is_found_whole_from_each_of_its_bytes() {
    let area = Area::new(9);
    area.protect(2, 5, Protection::READ);
    for index in 0..9 {
        let expected = match index {
            0..2 => area.page(0)..area.page(2),
            2..7 => area.page(2)..area.page(7),
            _ => area.page(7)..area.page(9),
        };
        for address in [area.page(index), area.page(index) + 1, area.page(index + 1) - 1] {
            let region = query(without_provenance::<u64>(address)).unwrap();
            assert_eq!(region.as_range(), expected, "{address:#x}");
            assert!(region.contains(address));
        }
    }
}

#[test]
fn stack_heap_and_code_are_what_they_are() {
    let on_stack = 1_u8;
    let on_heap = Box::new([1_u8; 100]);
    static CONSTANT: [u8; 64] = [7; 64];
    for pointer in [&raw const on_stack, on_heap.as_ptr()] {
        assert_eq!(query(pointer).unwrap().protection(), Protection::READ_WRITE);
    }
    let code = query(stack_heap_and_code_are_what_they_are as *const ()).unwrap();
    assert_eq!(code.protection(), Protection::READ_EXECUTE);
    assert_eq!(code.is_shared(), cfg!(windows));
    assert!(!query(CONSTANT.as_ptr()).unwrap().is_writable());
}

/// Trap: `query(usize::MAX)` overflowed. Address 0, the last page and what lies between have an answer.
#[test]
fn the_ends_of_the_address_space_have_an_answer() {
    let top = usize::MAX - page::size() + 1;
    for address in [0, 1, page::size() - 1, top, usize::MAX - 1, usize::MAX] {
        let error = query(without_provenance::<u8>(address)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unmapped, "{address:#x}: {error}");
        assert_eq!(error.operation(), Operation::Query);
        assert!(error.range().unwrap().start <= address);
    }
    // Kernel addresses, and those that no page table reaches.
    for address in [usize::MAX / 2 + 1, usize::MAX / 4 * 3] {
        match query(without_provenance::<u8>(address)) {
            Ok(region) => assert!(region.contains(address)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unmapped),
        }
    }
    assert!(regions(0, 1).is_empty());
    assert!(regions(usize::MAX, 1).is_empty());
    assert!(regions(usize::MAX, usize::MAX).is_empty());
    let error = query_range(without_provenance::<u8>(1), 0).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::List));
}

#[test]
fn a_range_is_closed_below_and_open_above() {
    let area = Area::new(3);
    area.protect(1, 1, Protection::READ);
    let shown = |address, len| regions(address, len).iter().map(Region::protection).collect::<Vec<_>>();
    use Protection as P;
    assert_eq!(shown(area.page(0), page::size()), [P::READ_WRITE]);
    assert_eq!(shown(area.page(0), page::size() + 1), [P::READ_WRITE, P::READ]);
    assert_eq!(shown(area.page(1) - 1, 1), [P::READ_WRITE]);
    assert_eq!(shown(area.page(1) - 1, 2), [P::READ_WRITE, P::READ]);
    assert_eq!(shown(area.page(1), page::size() + 1), [P::READ, P::READ_WRITE]);
    // The first and last region are given whole.
    area.protect(1, 1, Protection::READ_WRITE);
    assert_eq!(regions(area.page(1) + 7, 1)[0].as_range(), area.page(0)..area.page(3));
}

#[test]
fn an_iteration_over_everything_ascends_ends_and_stays_ended() {
    let area = Area::new(2);
    let mut iter = query_range(std::ptr::null::<()>(), usize::MAX).unwrap();
    let mut end = 0;
    let mut found = false;
    for region in iter.by_ref() {
        let region = region.unwrap();
        assert!(region.as_range().start >= end && !region.is_empty());
        end = region.as_range().end;
        found |= region.as_range() == (area.page(0)..area.page(2));
    }
    assert!(found);
    assert!(iter.next().is_none() && iter.next().is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Protect(Protection),
    Unmap,
    Map(Protection),
}

const MODEL_PAGES: usize = 24;

fn steps() -> impl Strategy<Value = Vec<(Step, usize, usize)>> {
    let protection = || proptest::sample::select(protections());
    let step = prop_oneof![
        protection().prop_map(Step::Protect),
        Just(Step::Unmap),
        protection().prop_map(Step::Map)
    ];
    prop::collection::vec((step, 0..MODEL_PAGES, 1..=8_usize), 1..40)
}

/// Random sequences of map, protect and unmap in an area of our own, in a process of its own (a hole must stay one): after
/// each step, what `query`, `query_range` and a snapshot say is what the model says, for every page.
#[test]
fn random_changes_are_found_as_the_model_has_them() {
    let test = "random_changes_are_found_as_the_model_has_them";
    if role().is_none() {
        return Helper::start(test, "model").finish();
    }
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(150)) };
    proptest!(config, |(steps in steps())| {
        let area = Area::apart(MODEL_PAGES);
        let mut model = [Some(Protection::READ_WRITE); MODEL_PAGES];
        for (step, first, count) in steps {
            let count = count.min(MODEL_PAGES - first);
            let pages = first..first + count;
            match step {
                Step::Protect(protection) => {
                    for index in pages {
                        if model[index].is_some() {
                            area.protect(index, 1, protection);
                            model[index] = Some(protection);
                        }
                    }
                }
                Step::Unmap => {
                    area.unmap(first, count);
                    model[pages].fill(None);
                }
                Step::Map(protection) => {
                    area.map(first, count, protection);
                    model[pages].fill(Some(protection));
                }
            }
            let snapshot = folio::Process::current().snapshot().unwrap();
            let mut listed = [None; MODEL_PAGES];
            for region in regions(area.base(), area.len()) {
                for (index, listed) in listed.iter_mut().enumerate() {
                    if region.contains(area.page(index)) && region.is_committed() {
                        *listed = Some(region.protection());
                    }
                }
            }
            prop_assert_eq!(listed, model);
            for (index, &expected) in model.iter().enumerate() {
                let address = area.page(index) + 3;
                let queried = query(without_provenance::<u8>(address)).ok().filter(Region::is_committed);
                prop_assert_eq!(queried.map(|region| region.protection()), expected);
                let looked_up = snapshot.find_region(address).filter(Region::is_committed);
                prop_assert_eq!(looked_up, queried);
            }
        }
    });
}

/// Trap: a mapping that changes between two steps of an iteration must not loop for ever, repeat or go backwards.
#[test]
fn threads_may_map_and_unmap_while_others_query() {
    let area = Area::new(64);
    let steady = Area::new(2);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for start in [0, 1] {
            let (area, stop) = (&area, &stop);
            scope.spawn(move || {
                let mut index = start;
                while !stop.load(Ordering::Relaxed) {
                    // Regions come and go elsewhere, and split and merge in the area.
                    drop(Area::new(3));
                    area.protect(index, 1, Protection::READ);
                    area.protect(index, 1, Protection::READ_WRITE);
                    index = (index + 2) % 64;
                }
            });
        }
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..rounds(150) {
                        let mut end = 0;
                        let mut seen = false;
                        for region in query_range(std::ptr::null::<()>(), usize::MAX).unwrap() {
                            let region = region.unwrap();
                            assert!(region.as_range().start >= end);
                            end = region.as_range().end;
                            seen |= region.contains(steady.page(1));
                        }
                        assert!(seen, "a mapping left alone was not listed");
                        for index in 0..64 {
                            let region = query(without_provenance::<u8>(area.page(index))).unwrap();
                            assert!(region.contains(area.page(index)) && region.is_readable());
                        }
                        assert!(query(steady.pointer()).unwrap().contains(steady.page(1)));
                    }
                })
            })
            .collect();
        let results: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        stop.store(true, Ordering::Relaxed);
        for result in results {
            result.unwrap();
        }
    });
}

/// Trap: page-guard and other native bits beside the access are reported, and hide nothing.
#[cfg(windows)]
#[test]
fn guard_pages_are_reported() {
    use windows_sys::Win32::System::Memory::{PAGE_GUARD, PAGE_READWRITE};
    let area = Area::new(3);
    area.protect_native(1, 1, PAGE_READWRITE | PAGE_GUARD);
    let region = query(without_provenance::<u8>(area.page(1))).unwrap();
    assert!(region.is_guarded() && region.is_writable());
    assert_eq!(region.allocation_base(), Some(area.page(0)));
    assert_eq!(region.as_range(), area.page(1)..area.page(2));
    area.unmap(1, 1);
    let region = query(without_provenance::<u8>(area.page(1))).unwrap();
    assert!(!region.is_committed() && region.protection() == Protection::NONE);
}
