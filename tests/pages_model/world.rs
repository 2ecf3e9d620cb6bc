//! The mappings there are, and what the model says of each.

use crate::any::Any;
use crate::room::Room;
use crate::steps::Step;
use crate::system;
use folio::page;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// The bytes of the files when the test begins, of which no two pages' worth are alike.
fn original(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect()
}

pub struct Files {
    /// What is written to shared mappings is in it.
    pub shared: File,
    /// Nobody writes to it.
    pub still: File,
}

impl Files {
    pub fn len() -> usize {
        6 * page::size() + 100
    }

    pub fn new() -> Self {
        let file = || {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&original(Self::len())).unwrap();
            file
        };
        Self { shared: file(), still: file() }
    }

    pub fn read_shared(&self, part: Range<usize>) -> Vec<u8> {
        let mut file = &self.shared;
        file.seek(SeekFrom::Start(part.start.try_into().unwrap())).unwrap();
        let mut bytes = vec![0; part.len()];
        file.read_exact(&mut bytes).unwrap();
        bytes
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Zeroes,
    /// From this byte of the file on.
    Shared(usize),
    Copied(usize),
}

/// One mapping, and what is to be so about it.
#[derive(Debug)]
pub struct Entry {
    pub pages: Any,
    pub start: usize,
    pub len: usize,
    /// Guard pages, room, and what of the first and the last page is not the mapping's.
    pub before: usize,
    pub after: usize,
    /// Up to where it can become longer.
    pub room_end: usize,
    pub kind: Kind,
    /// Of a shared file: nothing, for that is in [`World::shared`].
    pub content: Vec<u8>,
    pub locks: u32,
    /// What was once one mapping.
    pub family: usize,
    /// The number of a reservation, and those of the carvings out of it.
    pub room: Option<usize>,
    pub from: BTreeSet<usize>,
    /// Whether pages may be left out of core dumps.
    pub marked: bool,
    /// Whether the kernel may have it as several mappings.
    pub uneven: bool,
}

impl Entry {
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    pub fn extent(&self) -> Range<usize> {
        self.start - self.before..self.start + self.len + self.after
    }

    /// The pages that its bytes lie in.
    pub fn whole_pages(&self) -> Range<usize> {
        let mask = page::size() - 1;
        self.start & !mask..(self.start + self.len + mask) & !mask
    }

    /// How far behind the beginning of a page it begins.
    pub fn hidden(&self) -> usize {
        self.start % page::size()
    }

    pub fn room(&self) -> usize {
        self.room_end.saturating_sub(self.range().end).min(self.after)
    }
}

pub struct World<'f> {
    pub files: &'f Files,
    pub pool: Vec<Entry>,
    pub rooms: Vec<Room>,
    /// The bytes of the shared file.
    pub shared: Vec<u8>,
    /// The bytes of the other one.
    pub still: Vec<u8>,
    /// Where that lies, of which the addresses stay taken on Windows until the last part is gone; and reservations, everywhere.
    pub families: BTreeMap<usize, Range<usize>>,
    next: usize,
}

impl<'f> World<'f> {
    pub fn new(files: &'f Files) -> Self {
        Self {
            files,
            pool: Vec::new(),
            rooms: Vec::new(),
            shared: files.read_shared(0..Files::len()),
            still: original(Files::len()),
            families: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    pub fn check(&mut self, step: &Step) {
        for entry in &self.pool {
            assert_eq!(
                (entry.pages.start(), entry.pages.len()),
                (entry.start, entry.len),
                "{step:?}: {entry:?}"
            );
            if let Some(found) = entry.pages.bytes() {
                let expected = match entry.kind {
                    Kind::Shared(offset) => &self.shared[offset..offset + entry.len],
                    _ => &entry.content,
                };
                assert_same(found, expected, step, entry);
            }
            system::shows(entry.whole_pages(), entry.pages.protection(), &(step, &entry.pages));
        }
        for room in &self.rooms {
            room.check(self, step);
        }
        self.families.retain(|&family, _| {
            self.pool.iter().any(|entry| entry.family == family)
                || self.rooms.iter().any(|room| room.number == family)
        });
        let taken = self.taken();
        system::arena_has_only(&taken, step);
        let locked =
            self.pool.iter().filter(|entry| entry.locks > 0).map(|entry| entry.whole_pages().len()).sum();
        system::locked_is(locked, step);
    }

    /// All that is somebody's.
    pub fn taken(&self) -> Vec<Range<usize>> {
        let mut taken: Vec<_> = self.pool.iter().map(Entry::extent).collect();
        // A reservation keeps all its addresses for the last part.
        taken.extend(self.rooms.iter().map(|room| room.extent.clone()));
        for entry in &self.pool {
            if entry.room.is_some() {
                taken.extend(self.families.get(&entry.family).cloned());
            }
        }
        taken
    }

    pub fn is_free(&self, range: &Range<usize>) -> bool {
        let overlaps = |taken: &Range<usize>| taken.start < range.end && range.start < taken.end;
        !self.taken().iter().any(overlaps)
    }

    /// Drops all there is, and sees that nothing is left.
    pub fn end(mut self) {
        let mut last = false;
        while !self.pool.is_empty() || !self.rooms.is_empty() {
            // From both ends.
            last = !last;
            let step = Step::Drop(0);
            if last && !self.rooms.is_empty() {
                drop(self.rooms.pop());
            } else if !self.pool.is_empty() {
                drop(self.pool.remove(if last { self.pool.len() - 1 } else { 0 }));
            }
            self.check(&step);
        }
        let found = self.files.read_shared(0..Files::len());
        assert!(found == self.shared, "the file is not as it was written");
    }
}

/// All bytes of small pages; of larger ones those at both ends and some between.
pub fn assert_same(found: &[u8], expected: &[u8], what: &Step, entry: &Entry) {
    assert_eq!(found.len(), expected.len());
    let size = page::size();
    let same = if size <= 4096 {
        found == expected
    } else {
        let edge = 64;
        found.chunks(size / 8).zip(expected.chunks(size / 8)).all(|(found, expected)| {
            let edge = edge.min(found.len());
            let end = found.len() - edge;
            found[..edge] == expected[..edge] && found[end..] == expected[end..]
        })
    };
    if !same {
        let at = found.iter().zip(expected).position(|(found, expected)| found != expected).unwrap();
        panic!(
            "{what:?}: byte {at:#x} is {} and not {}: {:?} {:?}",
            found[at], expected[at], entry.pages, entry.kind
        );
    }
}
