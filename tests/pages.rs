//! Typed pages: their rights, places, parts.

mod common;

use common::{Helper, role, rounds, say};
use folio::{
    AllowRead, AllowWrite, DenyExec, DenyRead, DenyWrite, ErrorKind, Mmap, MmapMut, MmapNone, MmapOptions,
    Pages, Protection, page, query, query_range,
};
use proptest::prelude::*;
use std::borrow::{Borrow, BorrowMut};

type WriteOnly = Pages<DenyRead, AllowWrite, DenyExec>;

fn shown(address: usize) -> Protection {
    query(std::ptr::without_provenance::<u8>(address)).unwrap().protection()
}

fn gone(address: usize) -> bool {
    !query(std::ptr::without_provenance::<u8>(address)).is_ok_and(|region| region.is_committed())
}

fn unwrap<T, U>(changed: Result<T, (U, folio::Error)>) -> T {
    changed.map_err(|(_, error)| error).unwrap()
}

#[test]
fn the_types_rights_are_the_systems() {
    let pages: MmapMut = Pages::new(3 * page::size() - 1).unwrap();
    let start = pages.start();
    assert_eq!(
        (pages.len(), pages.size(), pages.end() - start),
        (3 * page::size(), pages.len(), pages.len())
    );
    assert_eq!(pages.as_range(), start..pages.end());
    assert_eq!(MmapMut::PROTECTION, Protection::READ_WRITE);
    assert_eq!(shown(start), Protection::READ_WRITE);
    let pages: MmapNone = unwrap(pages.make_none());
    assert_eq!((shown(start), pages.start()), (Protection::NONE, start));
    let pages: Mmap = unwrap(pages.make_read_only());
    assert_eq!(shown(start), Protection::READ);
    let pages: MmapMut = unwrap(pages.make_mut());
    assert_eq!(shown(start), Protection::READ_WRITE);

    // One right at a time.
    let pages: Pages<AllowRead, DenyWrite, DenyExec> = unwrap(pages.deny_write());
    assert_eq!(shown(start), Protection::READ);
    let pages: MmapNone = unwrap(pages.deny_read());
    assert_eq!(shown(start), Protection::NONE);
    let pages: WriteOnly = unwrap(pages.allow_write());
    assert!(shown(start).contains(Protection::WRITE));
    let pages: MmapMut = unwrap(pages.allow_read());
    assert_eq!(shown(start), Protection::READ_WRITE);

    // By `TryFrom`, each pair.
    let pages = Mmap::try_from(pages).unwrap();
    let pages = MmapNone::try_from(pages).unwrap();
    let pages = MmapMut::try_from(pages).unwrap();
    let pages = MmapNone::try_from(pages).unwrap();
    let pages = Mmap::try_from(pages).unwrap();
    let pages = MmapMut::try_from(pages).unwrap();
    assert!(format!("{pages:?}").ends_with(" rw-)"), "{pages:?}");
}

#[test]
fn content_survives_every_change() {
    let mut pages = Pages::new(2 * page::size()).unwrap();
    assert!(pages.iter().all(|&byte| byte == 0));
    pages[page::size() - 1] = 7;
    pages.last_mut().map(|last| *last = 8).unwrap();
    let pages = unwrap(unwrap(pages.make_none()).make_read_only());
    assert_eq!((pages[page::size() - 1], pages[pages.len() - 1]), (7, 8));
    let mut pages = unwrap(pages.make_mut());
    let (shared, borrowed): (&[u8], &[u8]) = (pages.as_ref(), pages.borrow());
    assert_eq!(shared, borrowed);
    let exclusive: &mut [u8] = pages.as_mut();
    exclusive[0] = 1;
    let exclusive: &mut [u8] = pages.borrow_mut();
    assert_eq!(exclusive[0], 1);
    let write_only: WriteOnly = unwrap(pages.deny_read());
    let mut write_only = write_only;
    // SAFETY: the first byte of pages that can be written.
    unsafe { write_only.as_mut_ptr().write(9) };
    assert_eq!(unwrap(write_only.allow_read())[0], 9);
}

#[test]
fn mappings_go_between_threads() {
    fn both<T: Send + Sync>(pages: T) -> T {
        pages
    }
    let mut pages = both(Pages::new(1).unwrap());
    let pages = std::thread::spawn(move || {
        pages[0] = 3;
        unwrap(pages.make_read_only())
    })
    .join()
    .unwrap();
    assert_eq!(both(pages)[0], 3);
    drop(both(MmapOptions::new(1).map_none().unwrap()));
}

#[test]
fn nonsense_is_an_error_that_says_so() {
    let page = page::size();
    let odd = [
        MmapOptions::new(0),
        MmapOptions::new(usize::MAX),
        MmapOptions::new(isize::MAX.unsigned_abs() + 1),
        MmapOptions::new(isize::MAX.unsigned_abs() - page).guard_after(2 * page),
        MmapOptions::new(1).guard_before(usize::MAX),
        MmapOptions::new(1).guard_before(usize::MAX / 2).guard_after(usize::MAX / 2 + 2),
        MmapOptions::new(1).align(0),
        MmapOptions::new(1).align(3),
        MmapOptions::new(1).align(1 << (usize::BITS - 1)),
        MmapOptions::new(1).at(page + 1),
        MmapOptions::new(1).at(16 * page).align(32 * page.max(page::granularity())),
        MmapOptions::new(1).at(page).guard_before(2 * page),
        MmapOptions::new(1).at(usize::MAX - page + 1),
    ];
    for options in odd {
        let error = options.map_mut().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{options:?}: {error}");
    }
    let mut pages = Pages::new(4 * page).unwrap();
    for at in [0, 1, page - 1, 4 * page, 5 * page, usize::MAX, usize::MAX - page + 1] {
        for error in [pages.split_off(at).unwrap_err(), pages.split_to(at).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{at}: {error}");
        }
    }
    assert_eq!(pages.len(), 4 * page);
    assert_eq!(pages.unlock().unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Trap: `merge` joined what were never one mapping.
#[test]
fn only_parts_of_one_mapping_are_merged() {
    let page = page::size();
    let mut low = Pages::new(4 * page).unwrap();
    let start = low.start();
    low[3 * page] = 4;
    let mut high = low.split_off(page).unwrap();
    let top = high.split_off(2 * page).unwrap();
    assert_eq!((low.len(), high.len(), top.len(), top[0]), (page, 2 * page, page, 4));

    // Not beside one another, or the wrong way round.
    let (top, error) = low.merge(top).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let mut top = top;
    let (high, _) = top.merge(high).unwrap_err();
    // Beside one another, and never one.
    let other = MmapOptions::new(page).at(start + 4 * page).map_mut();
    if let Ok(other) = other {
        let (other, error) = top.merge(other).unwrap_err();
        assert_eq!((error.kind(), other.len()), (ErrorKind::InvalidInput, page));
    }
    low.merge(high).map_err(|(_, error)| error).unwrap();
    low.merge(top).map_err(|(_, error)| error).unwrap();
    assert_eq!((low.start(), low.len(), low[3 * page]), (start, 4 * page, 4));
    low[..].fill(5);
}

#[test]
fn locks_end_with_the_pages() {
    let page = page::size();
    let mut pages = Pages::new(3 * page).unwrap();
    match pages.lock() {
        Err(error) if matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::NotPermitted) => {
            return common::skipped("locks_end_with_the_pages", "nothing may be locked here");
        }
        done => done.unwrap(),
    }
    let held = pages.hold().unwrap();
    assert_eq!(held.len(), 3 * page);
    held.unlock().unwrap();
    pages.lock().unwrap();
    // The halves keep their locks, and are merged with the same number only.
    let mut high = pages.split_off(page).unwrap();
    high.unlock().unwrap();
    let (mut high, error) = pages.merge(high).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    high.lock().unwrap();
    pages.merge(high).map_err(|(_, error)| error).unwrap();
    pages.unlock().unwrap();
    pages.unlock().unwrap();
    assert!(pages.unlock().is_err());
    let locked = MmapOptions::new(1).locked().map_mut().unwrap();
    #[cfg(target_os = "linux")]
    assert!(folio::Process::current().usage(locked.start()).unwrap().locked() > Some(0));
    drop(locked);
}

#[test]
fn a_mapping_is_where_it_was_wanted() {
    let page = page::size();
    let code = a_mapping_is_where_it_was_wanted as *const () as usize;
    let near = MmapOptions::new(1).near(code, 256 << 20).map().unwrap();
    assert!(near.start().abs_diff(code) <= 256 << 20);
    for align in [1, page, page::granularity(), 1 << 20, 4 << 20] {
        for guards in [0, page] {
            let options =
                MmapOptions::new(3 * page).align(align).guard_before(guards).guard_after(2 * guards);
            let mut pages = options.map_mut().unwrap();
            assert_eq!((pages.start() % align, pages.len()), (0, 3 * page), "{options:?}");
            pages.fill(1);
            let read = unwrap(pages.make_read_only());
            assert!(read.iter().all(|&byte| byte == 1));
        }
    }
}

/// A mapping of its own process: what was surplus is given back, and all of it when the mapping is dropped.
#[test]
fn nothing_is_left_of_what_was_mapped() {
    let test = "nothing_is_left_of_what_was_mapped";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let page = page::size();
    let count = || {
        query_range(std::ptr::null::<u8>(), usize::MAX)
            .unwrap()
            .filter(|region| region.as_ref().unwrap().is_committed())
            .count()
    };
    let before = count();
    let pages =
        MmapOptions::new(2 * page).align(1 << 20).guard_before(page).guard_after(page).map_mut().unwrap();
    let (start, end) = (pages.start(), pages.end());
    assert!(gone(start - 2 * page) && gone(end + page));
    drop(pages);
    assert!(gone(start - page) && gone(start) && gone(end - page) && gone(end));

    // The parts in any order.
    for order in 0..6 {
        let mut low = Pages::new(3 * page).unwrap();
        let mut middle = low.split_off(page).unwrap();
        let high = middle.split_off(page).unwrap();
        let places = [low.start(), middle.start(), high.start()];
        let mut parts = [Some(low), Some(middle), Some(high)];
        let mut alive = [true; 3];
        for which in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]][order] {
            drop(parts[which].take());
            alive[which] = false;
            for (place, alive) in places.into_iter().zip(alive) {
                assert_eq!(!gone(place), alive);
            }
        }
    }
    let parts = Pages::new(page).unwrap().into_raw_parts();
    let place = parts.as_ptr().addr();
    assert!(!gone(place) && parts.len() == page && !parts.is_empty());
    // SAFETY: just taken apart.
    drop(unsafe { MmapMut::from_raw_parts(parts) });
    assert!(gone(place));
    let after = count();
    assert!(after <= before + 1, "{before} regions, then {after}");
}

/// The pages on either side end the process, and so does writing to what is read only.
#[test]
fn what_is_denied_ends_the_process() {
    let test = "what_is_denied_ends_the_process";
    if let Some(name) = role() {
        let page = page::size();
        let mut pages = MmapOptions::new(2 * page).guard_before(1).guard_after(1).map_mut().unwrap();
        let start = pages.as_mut_ptr();
        say("ready");
        match name.to_str().unwrap() {
            // SAFETY: it is found out, in a process that ends for it, what the system denies.
            "below" => unsafe { start.wrapping_sub(1).write_volatile(1) },
            // SAFETY: likewise.
            "above" => unsafe { start.wrapping_add(2 * page).write_volatile(1) },
            "read only" => {
                let _pages = unwrap(pages.make_read_only());
                // SAFETY: likewise.
                unsafe { start.write_volatile(1) };
            }
            "inside" => {
                // SAFETY: the first and the last byte of writable pages.
                unsafe { start.write_volatile(1) };
                // SAFETY: likewise.
                unsafe { start.wrapping_add(2 * page - 1).write_volatile(1) };
            }
            other => panic!("{other}"),
        }
        return;
    }
    for (name, dies) in [("inside", false), ("below", true), ("above", true), ("read only", true)] {
        let mut child = Helper::start(test, name);
        assert_eq!(child.line(), "ready");
        assert_eq!(!child.wait().success(), dies, "{name}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    SplitOff(usize, usize),
    SplitTo(usize, usize),
    Merge(usize),
    Change(usize, usize),
    Write(usize, usize, u8),
    Drop(usize),
    Raw(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = 0_usize..12;
    let step = prop_oneof![
        3 => (some.clone(), 1_usize..8).prop_map(|(which, at)| Step::SplitOff(which, at)),
        3 => (some.clone(), 1_usize..8).prop_map(|(which, at)| Step::SplitTo(which, at)),
        4 => some.clone().prop_map(Step::Merge),
        4 => (some.clone(), 0_usize..3).prop_map(|(which, to)| Step::Change(which, to)),
        4 => (some.clone(), 0_usize..8, 1_u8..).prop_map(|(which, page, value)| Step::Write(which, page, value)),
        1 => some.clone().prop_map(Step::Drop),
        1 => some.prop_map(Step::Raw),
    ];
    prop::collection::vec(step, 1..40)
}

enum Any {
    None(MmapNone),
    Read(Mmap),
    Mut(MmapMut),
}

impl Any {
    fn change(self, to: usize) -> Self {
        macro_rules! to {
            ($pages:expr) => {
                match to {
                    0 => Any::None(unwrap($pages.make_none())),
                    1 => Any::Read(unwrap($pages.make_read_only())),
                    _ => Any::Mut(unwrap($pages.make_mut())),
                }
            };
        }
        match self {
            Any::None(pages) => to!(pages),
            Any::Read(pages) => to!(pages),
            Any::Mut(pages) => to!(pages),
        }
    }

    fn split(&mut self, at: usize, off: bool) -> Option<Self> {
        macro_rules! split {
            ($pages:expr, $kind:ident) => {
                if off { $pages.split_off(at) } else { $pages.split_to(at) }.ok().map(Any::$kind)
            };
        }
        match self {
            Any::None(pages) => split!(pages, None),
            Any::Read(pages) => split!(pages, Read),
            Any::Mut(pages) => split!(pages, Mut),
        }
    }

    fn place(&self) -> (usize, usize, Protection) {
        match self {
            Any::None(pages) => (pages.start(), pages.len(), MmapNone::PROTECTION),
            Any::Read(pages) => (pages.start(), pages.len(), Mmap::PROTECTION),
            Any::Mut(pages) => (pages.start(), pages.len(), MmapMut::PROTECTION),
        }
    }
}

/// One mapping, cut, joined, changed and written at random; after each step the system has what the types say, and the content is
/// what was written.
#[test]
fn whatever_is_done_the_types_are_true() {
    const PAGES: usize = 12;
    let page = page::size();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(80)) };
    proptest!(config, |(steps in steps())| {
        let whole = Pages::new(PAGES * page).unwrap();
        let base = whole.start();
        let mut content = [0_u8; PAGES];
        let mut parts = vec![Any::Mut(whole)];
        for step in steps {
            let count = parts.len();
            if count == 0 {
                break;
            }
            match step {
                Step::SplitOff(which, at) => {
                    let more = parts[which % count].split(at * page, true);
                    parts.extend(more);
                }
                Step::SplitTo(which, at) => {
                    let more = parts[which % count].split(at * page, false);
                    parts.extend(more);
                }
                Step::Merge(which) => {
                    let low = parts.swap_remove(which % count);
                    let (start, len, _) = low.place();
                    let next = parts.iter().position(|part| part.place().0 == start + len);
                    let merged = match (low, next.map(|next| parts.swap_remove(next))) {
                        (Any::Mut(mut low), Some(Any::Mut(high))) => { low.merge(high).map_err(|(_, error)| error).unwrap(); vec![Any::Mut(low)] }
                        (Any::Read(mut low), Some(Any::Read(high))) => { low.merge(high).map_err(|(_, error)| error).unwrap(); vec![Any::Read(low)] }
                        (Any::None(mut low), Some(Any::None(high))) => { low.merge(high).map_err(|(_, error)| error).unwrap(); vec![Any::None(low)] }
                        (low, high) => [Some(low), high].into_iter().flatten().collect(),
                    };
                    parts.extend(merged);
                }
                Step::Change(which, to) => {
                    let part = parts.swap_remove(which % count);
                    parts.push(part.change(to));
                }
                Step::Write(which, number, value) => {
                    if let Any::Mut(pages) = &mut parts[which % count] {
                        let number = number % (pages.len() / page);
                        pages[number * page] = value;
                        content[(pages.start() - base) / page + number] = value;
                    }
                }
                Step::Drop(which) => drop(parts.swap_remove(which % count)),
                Step::Raw(which) => {
                    let part = parts.swap_remove(which % count);
                    parts.push(match part {
                        // SAFETY: just taken apart, of the same type.
                        Any::None(pages) => Any::None(unsafe { MmapNone::from_raw_parts(pages.into_raw_parts()) }),
                        // SAFETY: likewise.
                        Any::Read(pages) => Any::Read(unsafe { Mmap::from_raw_parts(pages.into_raw_parts()) }),
                        // SAFETY: likewise.
                        Any::Mut(pages) => Any::Mut(unsafe { MmapMut::from_raw_parts(pages.into_raw_parts()) }),
                    });
                }
            }
            for part in &parts {
                let (start, len, protection) = part.place();
                for number in (start - base) / page..(start - base + len) / page {
                    prop_assert_eq!(shown(base + number * page), protection);
                    let found = match part {
                        Any::None(_) => continue,
                        Any::Read(pages) => pages[base + number * page - start],
                        Any::Mut(pages) => pages[base + number * page - start],
                    };
                    prop_assert_eq!(found, content[number]);
                }
            }
        }
    });
}
