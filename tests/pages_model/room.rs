//! Reservations, and what is carved out of them.

use crate::any::{Any, on_pages};
use crate::steps::{Part, Step};
use crate::system;
use crate::world::{Entry, Kind, World};
use folio::{ErrorKind, MmapOptions, Protection, Reservation, page};
use std::collections::BTreeSet;
use std::ops::Range;

const PAGES: usize = 7;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Page {
    Reserved,
    Committed(Protection),
    /// Of which carving.
    Carved(usize),
}

pub struct Room {
    room: Reservation,
    /// Also the family of what is carved out.
    pub number: usize,
    pub extent: Range<usize>,
    pages: [Page; PAGES],
    content: Vec<u8>,
}

impl Room {
    /// What is carved out and has ended is reserved again.
    fn page(&self, pool: &[Entry], number: usize) -> Page {
        match self.pages[number] {
            Page::Carved(of) if !pool.iter().any(|entry| entry.from.contains(&of)) => Page::Reserved,
            page => page,
        }
    }

    pub fn check(&self, world: &World, step: &Step) {
        let size = page::size();
        for number in 0..PAGES {
            let range = number * size..(number + 1) * size;
            let found = self.room.get(range.clone());
            match (self.page(&world.pool, number), found) {
                (Page::Committed(protection), Ok(found)) => {
                    assert!(protection.contains(Protection::READ), "{step:?}");
                    assert!(
                        *found == self.content[range.clone()],
                        "{step:?}: page {number} of a reservation"
                    );
                }
                (Page::Committed(protection), Err(error)) => {
                    assert!(!protection.contains(Protection::READ), "{step:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::NotPermitted);
                }
                (Page::Reserved, found) => {
                    assert_eq!(found.unwrap_err().kind(), ErrorKind::Unmapped, "{step:?}")
                }
                (Page::Carved(_), found) => {
                    assert_eq!(found.unwrap_err().kind(), ErrorKind::Occupied, "{step:?}")
                }
            }
            let shown = match self.page(&world.pool, number) {
                Page::Committed(protection) => protection,
                Page::Reserved => Protection::NONE,
                Page::Carved(_) => continue,
            };
            let at = self.room.start() + range.start;
            system::shows(at..at + size, shown, step);
        }
    }
}

/// Which pages a part consists of; `Err` if not of whole ones, or not within.
fn pages_of(range: &Range<usize>) -> Result<Range<usize>, ErrorKind> {
    let size = page::size();
    let odd = range.start % size != 0 || range.end % size != 0;
    let beyond = range.start > range.end || range.end > PAGES * size;
    if odd || beyond { Err(ErrorKind::InvalidInput) } else { Ok(range.start / size..range.end / size) }
}

impl World<'_> {
    pub fn act_on_room(&mut self, step: Step) {
        match step {
            Step::Room(number) => self.new_room(number),
            _ if self.rooms.is_empty() => {}
            Step::RoomDrop(which) => {
                let which = which % self.rooms.len();
                drop(self.rooms.swap_remove(which));
            }
            Step::RoomCommit(which, part, to) => {
                let range = part.bytes(0);
                let (room, pool) = self.room(which);
                let done = room.room.commit(range.clone(), to).map_err(|error| error.kind());
                let expected = room.free_pages(pool, &range);
                assert_eq!(done, expected.clone().map(drop));
                if let Ok(pages) = expected {
                    room.fill(pool, pages, Page::Committed(to));
                }
            }
            Step::RoomProtect(which, part, to) => {
                let range = part.bytes(0);
                let (room, pool) = self.room(which);
                let done = room.room.protect(range.clone(), to).map_err(|error| error.kind());
                let expected = room.free_pages(pool, &range).and_then(|pages| {
                    let bare = pages.clone().any(|number| room.page(pool, number) == Page::Reserved);
                    if bare { Err(ErrorKind::Unmapped) } else { Ok(pages) }
                });
                assert_eq!(done, expected.clone().map(drop));
                if let Ok(pages) = expected {
                    room.fill(pool, pages, Page::Committed(to));
                }
            }
            Step::RoomDecommit(which, part) => {
                let range = part.bytes(0);
                let (room, pool) = self.room(which);
                let done = room.room.decommit(range.clone()).map_err(|error| error.kind());
                let expected = room.free_pages(pool, &range);
                assert_eq!(done, expected.clone().map(drop));
                if let Ok(pages) = expected {
                    room.fill(pool, pages, Page::Reserved);
                }
            }
            Step::RoomWrite(which, part, value) => {
                let range = part.bytes(0);
                let (room, pool) = self.room(which);
                let Ok(found) = room.room.get_mut(range.clone()) else { return };
                found.fill(value);
                let size = page::size();
                let pages = range.start / size..range.end.div_ceil(size);
                let writable = Page::Committed(Protection::READ_WRITE);
                assert!(range.is_empty() || pages.clone().all(|number| room.page(pool, number) == writable));
                room.content[range].fill(value);
            }
            Step::Carve(which, part, grants) => self.carve(which, part, grants),
            Step::TakeBack(which, of) => self.take_back(which, of),
            _ => unreachable!(),
        }
    }

    fn room(&mut self, which: usize) -> (&mut Room, &[Entry]) {
        let which = which % self.rooms.len();
        (&mut self.rooms[which], &self.pool)
    }

    fn new_room(&mut self, which: usize) {
        if self.rooms.len() >= 2 {
            return;
        }
        let size = page::size();
        let at = system::slot(which);
        let extent = at..at + (PAGES + 1) * size;
        let made = MmapOptions::new(PAGES * size).guard_after(size).at(at).reservation();
        let room = match made {
            Ok(room) => room,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Occupied, "{error}");
                return assert!(cfg!(windows) || !self.is_free(&extent), "{error}");
            }
        };
        assert!(self.is_free(&extent));
        let number = self.number();
        self.families.insert(number, extent.clone());
        let content = vec![0; PAGES * size];
        self.rooms.push(Room { room, number, extent, pages: [Page::Reserved; PAGES], content });
    }

    fn carve(&mut self, which: usize, part: Part, grants: Protection) {
        if self.pool.len() >= 8 {
            return;
        }
        let of = self.number();
        let range = part.bytes(0);
        let (room, pool) = self.room(which);
        let mut expected = room.free_pages(pool, &range).map(drop);
        if range.is_empty() && expected.is_ok() {
            expected = Err(ErrorKind::InvalidInput);
        }
        let carved: folio::Result<Any> = match grants {
            Protection::NONE => room.room.carve(range.clone()).map(Any::None),
            Protection::READ => room.room.carve(range.clone()).map(Any::Read),
            _ => room.room.carve(range.clone()).map(Any::Mut),
        };
        let pages = match carved {
            Ok(pages) => pages,
            Err(error) => return assert_eq!(Err(error.kind()), expected, "{error}"),
        };
        assert_eq!(expected, Ok(()));
        let numbers = pages_of(&range).unwrap();
        room.fill(pool, numbers, Page::Carved(of));
        let entry = Entry {
            start: room.room.start() + range.start,
            pages,
            len: range.len(),
            before: 0,
            after: 0,
            room_end: 0,
            kind: Kind::Zeroes,
            content: room.content[range].to_vec(),
            locks: 0,
            family: room.number,
            room: Some(room.number),
            from: BTreeSet::from([of]),
            marked: false,
            uneven: true,
        };
        self.pool.push(entry);
    }

    /// What is another's is refused and given back.
    fn take_back(&mut self, which: usize, of: usize) {
        let which = which % self.rooms.len();
        let Some(of) = of.checked_rem(self.pool.len()) else { return };
        let mut entry = self.pool.swap_remove(of);
        let room = &mut self.rooms[which];
        let protection = entry.pages.protection();
        let back = on_pages!(entry.pages, pages => room.room.take_back(pages).map_err(|(pages, error)| (pages.into(), error)), other => {
            entry.pages = other;
            return self.pool.push(entry);
        });
        if let Err((pages, error)) = back {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert_ne!(entry.room, Some(room.number));
            entry.pages = pages;
            return self.pool.push(entry);
        }
        assert_eq!(entry.room, Some(room.number));
        let start = entry.start - room.room.start();
        room.content[start..start + entry.len].copy_from_slice(&entry.content);
        let first = start / page::size();
        room.pages[first..first + entry.len / page::size()].fill(Page::Committed(protection));
        assert!(room.room.committed() >= entry.len);
    }
}

impl Room {
    /// The pages of a part that a change can be made to.
    fn free_pages(&self, pool: &[Entry], range: &Range<usize>) -> Result<Range<usize>, ErrorKind> {
        let pages = pages_of(range)?;
        let carved = pages.clone().any(|number| matches!(self.page(pool, number), Page::Carved(_)));
        if carved { Err(ErrorKind::Occupied) } else { Ok(pages) }
    }

    fn fill(&mut self, pool: &[Entry], pages: Range<usize>, to: Page) {
        let size = page::size();
        for number in pages {
            if self.page(pool, number) == Page::Reserved {
                self.content[number * size..(number + 1) * size].fill(0);
            }
            self.pages[number] = to;
        }
    }
}
