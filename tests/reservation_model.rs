//! Random sequences of what a reservation can do, against a plain model and the system's own view.

mod common;

use common::rounds;
use folio::{Mmap, MmapMut, MmapNone, MmapOptions, PartState, Protection, Reservation, page, query_range};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Range;
use std::ptr::without_provenance;

const PAGES: usize = 10;

/// Where nothing is mapped of itself; `None` where there is no such place.
const PLACE: Option<usize> = if usize::BITS == 64 { 11_usize.checked_shl(36) } else { None };

#[derive(Clone, Debug)]
enum Step {
    Commit(Range<usize>, Protection),
    Decommit(Range<usize>),
    Protect(Range<usize>, Protection),
    Write(Range<usize>, u8),
    Carve(Range<usize>, Protection),
    TakeBack(usize),
    Change(usize, Protection),
    WriteOwn(usize, u8),
    Split(usize, usize),
    Merge(usize, usize),
    Again(usize),
    Drop(usize),
}

fn range() -> impl Strategy<Value = Range<usize>> {
    (0..PAGES, 0..=PAGES).prop_map(|(a, b)| if a < b { a..b } else { b..a + 1 })
}

fn protection() -> impl Strategy<Value = Protection> {
    prop_oneof![1 => Just(Protection::NONE), 1 => Just(Protection::READ), 3 => Just(Protection::READ_WRITE)]
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0..64_usize;
    prop_oneof![
        3 => (range(), protection()).prop_map(|(range, protection)| Step::Commit(range, protection)),
        2 => range().prop_map(Step::Decommit),
        2 => (range(), protection()).prop_map(|(range, protection)| Step::Protect(range, protection)),
        3 => (range(), 1..255_u8).prop_map(|(range, value)| Step::Write(range, value)),
        3 => (range(), protection()).prop_map(|(range, protection)| Step::Carve(range, protection)),
        2 => any.clone().prop_map(Step::TakeBack),
        2 => (any.clone(), protection()).prop_map(|(which, protection)| Step::Change(which, protection)),
        3 => (any.clone(), 1..255_u8).prop_map(|(which, value)| Step::WriteOwn(which, value)),
        3 => (any.clone(), any.clone()).prop_map(|(which, at)| Step::Split(which, at)),
        3 => (any.clone(), any.clone()).prop_map(|(low, high)| Step::Merge(low, high)),
        1 => any.clone().prop_map(Step::Again),
        3 => any.prop_map(Step::Drop),
    ]
}

enum Any {
    None(MmapNone),
    Read(Mmap),
    Mut(MmapMut),
}

impl Any {
    fn change(self, to: Protection) -> Self {
        macro_rules! change {
            ($pages:expr) => {
                match to {
                    Protection::NONE => Self::None($pages.make_none().map_err(|(_, error)| error).unwrap()),
                    Protection::READ => {
                        Self::Read($pages.make_read_only().map_err(|(_, error)| error).unwrap())
                    }
                    _ => Self::Mut($pages.make_mut().map_err(|(_, error)| error).unwrap()),
                }
            };
        }
        match self {
            Self::None(pages) => change!(pages),
            Self::Read(pages) => change!(pages),
            Self::Mut(pages) => change!(pages),
        }
    }
}

macro_rules! each {
    ($any:expr, $pages:ident => $what:expr) => {
        match $any {
            Any::None($pages) => $what,
            Any::Read($pages) => $what,
            Any::Mut($pages) => $what,
        }
    };
}

macro_rules! same {
    ($any:expr, $pages:ident => $what:expr) => {
        match $any {
            Any::None($pages) => Any::None($what),
            Any::Read($pages) => Any::Read($what),
            Any::Mut($pages) => Any::Mut($what),
        }
    };
}

/// Pages that live on their own: where, what they grant, and of which carvings their addresses come.
struct Own {
    pages: Any,
    range: Range<usize>,
    protection: Protection,
    from: BTreeSet<usize>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Page {
    Reserved,
    Committed(Protection),
    /// Of which carving.
    Carved(usize),
}

struct Model {
    pages: [Page; PAGES],
    content: [u8; PAGES],
    own: Vec<Own>,
    carvings: usize,
}

impl Model {
    /// What is carved out and has ended is reserved again.
    fn page(&self, number: usize) -> Page {
        match self.pages[number] {
            Page::Carved(of) if !self.own.iter().any(|own| own.from.contains(&of)) => Page::Reserved,
            page => page,
        }
    }

    fn is_free(&self, range: &Range<usize>) -> bool {
        range.clone().all(|number| !matches!(self.page(number), Page::Carved(_)))
    }

    /// Commits what is reserved; what is committed keeps its content.
    fn fill(&mut self, range: &Range<usize>, to: Page) {
        for number in range.clone() {
            if self.page(number) == Page::Reserved {
                self.content[number] = 0;
            }
            self.pages[number] = to;
        }
    }
}

fn bytes(range: &Range<usize>) -> Range<usize> {
    range.start * page::size()..range.end * page::size()
}

fn act(room: &mut Reservation, model: &mut Model, step: Step) {
    let size = page::size();
    let count = model.own.len();
    match step {
        Step::Commit(range, protection) => {
            let done = room.commit(bytes(&range), protection);
            assert_eq!(done.is_ok(), model.is_free(&range), "{done:?}");
            if done.is_ok() {
                model.fill(&range, Page::Committed(protection));
            }
        }
        Step::Decommit(range) => {
            let done = room.decommit(bytes(&range));
            assert_eq!(done.is_ok(), model.is_free(&range), "{done:?}");
            if done.is_ok() {
                model.pages[range].fill(Page::Reserved);
            }
        }
        Step::Protect(range, protection) => {
            let committed = range.clone().all(|number| matches!(model.page(number), Page::Committed(_)));
            let done = room.protect(bytes(&range), protection);
            assert_eq!(done.is_ok(), committed, "{done:?}");
            if committed {
                model.fill(&range, Page::Committed(protection));
            }
        }
        Step::Write(range, value) => {
            let writable = Page::Committed(Protection::READ_WRITE);
            let possible = range.clone().all(|number| model.page(number) == writable);
            let found = room.get_mut(bytes(&range));
            assert_eq!(found.is_ok(), possible);
            if let Ok(found) = found {
                found.fill(value);
                model.content[range].fill(value);
            }
        }
        Step::Carve(range, protection) => {
            let at = bytes(&range);
            let done = match protection {
                Protection::NONE => room.carve(at).map(Any::None),
                Protection::READ => room.carve(at).map(Any::Read),
                _ => room.carve(at).map(Any::Mut),
            };
            assert_eq!(done.is_ok(), model.is_free(&range));
            if let Ok(pages) = done {
                let of = model.carvings;
                model.carvings += 1;
                model.fill(&range, Page::Carved(of));
                model.own.push(Own { pages, range, protection, from: [of].into() });
            }
        }
        _ if count == 0 => {}
        Step::TakeBack(which) => {
            let own = model.own.swap_remove(which % count);
            each!(own.pages, pages => room.take_back(pages).map_err(|(_, error)| error).unwrap());
            model.pages[own.range].fill(Page::Committed(own.protection));
        }
        Step::Change(which, protection) => {
            let own = model.own.swap_remove(which % count);
            model.own.push(Own { pages: own.pages.change(protection), protection, ..own });
        }
        Step::WriteOwn(which, value) => {
            let own = &mut model.own[which % count];
            if let Any::Mut(pages) = &mut own.pages {
                pages.fill(value);
                model.content[own.range.clone()].fill(value);
            }
        }
        Step::Split(which, at) => {
            let own = &mut model.own[which % count];
            let at = at % own.range.len();
            if at == 0 {
                return assert!(each!(&mut own.pages, pages => pages.split_off(0).is_err()));
            }
            let pages = same!(&mut own.pages, pages => pages.split_off(at * size).unwrap());
            let high = own.range.start + at..own.range.end;
            own.range.end = high.start;
            let other = Own { pages, range: high, protection: own.protection, from: own.from.clone() };
            model.own.push(other);
        }
        Step::Merge(low, high) => {
            let (low, high) = (low % count, high % count);
            if low == high {
                return;
            }
            let other = model.own.swap_remove(high);
            let low = if low == model.own.len() { high } else { low };
            let own = &mut model.own[low];
            let adjacent = own.range.end == other.range.start;
            let back = match (&mut own.pages, other.pages) {
                (Any::None(own), Any::None(other)) => {
                    own.merge(other).err().map(|(pages, _)| Any::None(pages))
                }
                (Any::Read(own), Any::Read(other)) => {
                    own.merge(other).err().map(|(pages, _)| Any::Read(pages))
                }
                (Any::Mut(own), Any::Mut(other)) => own.merge(other).err().map(|(pages, _)| Any::Mut(pages)),
                (_, pages) => return model.own.push(Own { pages, ..other }),
            };
            match back {
                Some(pages) => {
                    assert!(!adjacent);
                    model.own.push(Own { pages, ..other });
                }
                None => {
                    assert!(adjacent);
                    own.range.end = other.range.end;
                    own.from.extend(other.from);
                }
            }
        }
        Step::Again(which) => {
            let own = model.own.swap_remove(which % count);
            let pages = same!(own.pages, pages => {
                let room = pages.into_reserved().map_err(|(_, error)| error).unwrap();
                room.commit().map_err(|(_, error)| error).unwrap()
            });
            model.content[own.range.clone()].fill(0);
            model.own.push(Own { pages, ..own });
        }
        Step::Drop(which) => drop(model.own.swap_remove(which % count)),
    }
}

fn check(room: &Reservation, model: &Model) {
    let size = page::size();
    let mut granted = [Protection::NONE; PAGES];
    let mut has_memory = [false; PAGES];
    let mut states = [PartState::Reserved; PAGES];
    for number in 0..PAGES {
        states[number] = match model.page(number) {
            Page::Reserved => PartState::Reserved,
            Page::Committed(protection) => {
                (granted[number], has_memory[number]) = (protection, true);
                PartState::Committed(protection)
            }
            Page::Carved(_) => PartState::Carved,
        };
        let readable = granted[number].contains(Protection::READ);
        match room.get(bytes(&(number..number + 1))) {
            Ok(bytes) => assert!(readable && bytes.iter().all(|&byte| byte == model.content[number])),
            Err(_) => assert!(!readable),
        }
    }
    for own in &model.own {
        granted[own.range.clone()].fill(own.protection);
        has_memory[own.range.clone()].fill(true);
        let found: &[u8] = match &own.pages {
            Any::None(pages) => {
                assert_eq!(pages.start(), room.start() + own.range.start * size);
                continue;
            }
            Any::Read(pages) => pages,
            Any::Mut(pages) => pages,
        };
        assert_eq!(found.as_ptr().addr(), room.start() + own.range.start * size);
        for (number, page) in own.range.clone().zip(found.chunks(size)) {
            assert!(page.iter().all(|&byte| byte == model.content[number]), "page {number}");
        }
        assert_eq!(found.len(), own.range.len() * size);
    }
    let mut next = 0;
    for part in room.parts() {
        assert_eq!(part.range.start, next);
        next = part.range.end;
        assert!(states[part.range.start / size..next / size].iter().all(|state| *state == part.state));
    }
    assert_eq!(next, room.len());
    let committed = states.iter().filter(|state| matches!(state, PartState::Committed(_))).count();
    assert_eq!(room.committed(), committed * size);
    // What the system says.
    let mut number = 0;
    for region in query_range(without_provenance::<u8>(room.start()), room.len()).unwrap() {
        let region = region.unwrap();
        let end = (region.as_range().end.min(room.end()) - room.start()) / size;
        assert_eq!(region.as_range().start.max(room.start()), room.start() + number * size);
        for number in number..end {
            assert_eq!(region.protection(), granted[number], "page {number}");
            if cfg!(windows) {
                assert_eq!(region.is_committed(), has_memory[number], "page {number}");
            }
        }
        number = end;
    }
    assert_eq!(number, PAGES);
}

/// Nothing is left anywhere.
fn gone(range: Range<usize>) -> bool {
    let regions = query_range(without_provenance::<u8>(range.start), range.len()).unwrap();
    regions.count() == 0
}

#[test]
fn random_sequences_agree_with_the_model_and_the_system() {
    let size = page::size();
    let config = ProptestConfig { cases: rounds(300), ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..50), reservation_first: bool)| {
        let options = MmapOptions::new(PAGES * size);
        let options = match PLACE {
            Some(place) => options.at(place),
            None => options,
        };
        let mut room = options.reservation().unwrap();
        let mut model = Model {
            pages: [Page::Reserved; PAGES],
            content: [0; PAGES],
            own: Vec::new(),
            carvings: 0,
        };
        for step in steps {
            act(&mut room, &mut model, step);
            check(&room, &model);
        }
        let range = room.as_range();
        if reservation_first {
            drop(room);
            for own in &model.own {
                let found: &[u8] = match &own.pages {
                    Any::None(_) => continue,
                    Any::Read(pages) => pages,
                    Any::Mut(pages) => pages,
                };
                let first: Vec<u8> = found.iter().step_by(size).copied().collect();
                prop_assert_eq!(&first[..], &model.content[own.range.clone()]);
            }
            drop(model);
        } else {
            drop(model);
            drop(room);
        }
        prop_assert!(PLACE.is_none() || gone(range));
    });
}
