//! Blocks of a page allocator that come, change and go at random, beside what their bytes should be and what the system reports.
//!
//! One test alone in its process: what is gone shall stay gone.
#![cfg(feature = "collections")]

mod common;

use allocator_api2::alloc::{Allocator, Layout};
use common::{rounds, skipped};
use folio::{Advice, ErrorKind, PageAllocator, Protection, page, query_range};
use std::ptr::{NonNull, without_provenance};

/// Numbers that look like chance, and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * end as u128) >> 64) as usize
    }

    /// Of each magnitude as often.
    fn size(&mut self) -> usize {
        let most = 1 << self.below(24);
        1 + self.below(most)
    }

    fn align(&mut self) -> usize {
        match self.below(4) {
            0 => 1 << self.below(23),
            _ => 1 << self.below(7),
        }
    }
}

struct Block {
    place: NonNull<u8>,
    layout: Layout,
    /// As many as the last answer said.
    usable: usize,
    /// What the bytes are.
    model: Vec<u8>,
}

impl Block {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: a live block, borrowed as long as the value is; its bytes are zeroes or were written.
        unsafe { std::slice::from_raw_parts_mut(self.place.as_ptr(), self.model.len()) }
    }

    fn write(&mut self, chance: &mut Chance) {
        if self.model.is_empty() {
            return;
        }
        for _ in 0..20 {
            let from = chance.below(self.model.len());
            let to = (from + 1 + chance.below(10_000)).min(self.model.len());
            let byte = chance.below(256) as u8;
            self.model[from..to].fill(byte);
            self.bytes()[from..to].fill(byte);
        }
        let last = self.model.len() - 1;
        (self.model[last], self.bytes()[last]) = (99, 99);
    }

    /// The block as the system should show it.
    fn check(&mut self, allocator: &PageAllocator, guards: (usize, usize)) {
        let len = self.model.len();
        assert!(self.place.addr().get() % self.layout.align() == 0);
        let model = std::mem::take(&mut self.model);
        // SAFETY: as in `bytes`.
        let bytes = unsafe { std::slice::from_raw_parts(self.place.as_ptr(), len) };
        assert!(*bytes == *model, "{allocator:?}: {:?}", self.layout);
        self.model = model;
        if self.layout.size() == 0 {
            return;
        }
        let (committed, room) = (allocator.committed(self.layout), allocator.room(self.layout));
        assert_eq!(self.usable, committed);
        let start = self.place.addr().get();
        shows(start..start + committed, Protection::READ_WRITE);
        shows(start + committed..start + room + guards.1, Protection::NONE);
        shows(start - guards.0..start, Protection::NONE);
    }
}

fn shows(range: std::ops::Range<usize>, protection: Protection) {
    if range.is_empty() {
        return;
    }
    let mut next = range.start;
    for region in query_range(without_provenance::<u8>(range.start), range.len()).unwrap() {
        let region = region.unwrap();
        assert!(region.as_range().start <= next, "a hole at {next:#x} of {range:#x?}");
        assert_eq!(region.protection(), protection, "{:#x?} in {range:#x?}", region.as_range());
        next = region.as_range().end;
    }
    assert!(next >= range.end, "a hole at {next:#x} of {range:#x?}");
}

fn is_gone(range: std::ops::Range<usize>) {
    let left = query_range(without_provenance::<u8>(range.start), range.len()).unwrap().next();
    assert!(left.is_none(), "{range:#x?}: {left:?}");
}

struct Run<'a> {
    allocator: &'a PageAllocator,
    guards: (usize, usize),
    blocks: Vec<Block>,
    chance: Chance,
}

impl Run<'_> {
    fn whole(&self, (place, layout): (NonNull<u8>, Layout)) -> std::ops::Range<usize> {
        if layout.size() == 0 {
            return 0..0;
        }
        let start = place.addr().get();
        start - self.guards.0..start + self.allocator.room(layout) + self.guards.1
    }

    /// Where a block was, there is nothing; but what moved may have come to lie there. (Before anything else is allocated, which may come
    /// to lie there, too.)
    fn has_moved(&self, old: (NonNull<u8>, Layout), new: (NonNull<u8>, Layout)) {
        let (was, is) = (self.whole(old), self.whole(new));
        if old.1.size() == 0 || old.0 == new.0 {
            return;
        }
        if is.start >= was.end || is.end <= was.start {
            is_gone(was);
        } else if was.start < is.start {
            is_gone(was.start..is.start);
        }
    }

    fn step(&mut self) {
        let (allocator, chance) = (self.allocator, &mut self.chance);
        let what = chance.below(100);
        if self.blocks.is_empty() || (what < 25 && self.blocks.len() < 12) {
            let size = if chance.below(20) == 0 { 0 } else { chance.size() };
            let layout = Layout::from_size_align(size, chance.align()).unwrap();
            let zeroed = chance.below(2) == 0;
            let given = if zeroed { allocator.allocate_zeroed(layout) } else { allocator.allocate(layout) };
            let given = given.unwrap();
            let mut block =
                Block { place: given.cast(), layout, usable: given.len(), model: vec![0; given.len()] };
            assert!(given.len() >= size);
            block.check(allocator, self.guards);
            block.write(chance);
            return self.blocks.push(block);
        }
        let number = chance.below(self.blocks.len());

        let mut block = self.blocks.swap_remove(number);
        block.check(allocator, self.guards);
        let whole = self.whole((block.place, block.layout));
        let chance = &mut self.chance;
        // All that fits the block may be given back.
        let old = if chance.below(2) == 0 && block.layout.size() > 0 {
            let fits = block.layout.size() + chance.below(block.usable - block.layout.size() + 1);
            Layout::from_size_align(fits, block.layout.align()).unwrap()
        } else {
            block.layout
        };
        let place = block.place;
        match what {
            0..55 => {
                let size = old.size() + chance.size();
                let new = self.other(old, size);
                let zeroed = self.chance.below(2) == 0;
                let given = match zeroed {
                    // SAFETY: a block that the old layout fits, and that is used no more.
                    true => unsafe { allocator.grow_zeroed(place, old, new) },
                    // SAFETY: as above.
                    false => unsafe { allocator.grow(place, old, new) },
                };
                let given = given.unwrap();
                self.has_moved((place, old), (given.cast(), new));
                let kept = block.model.len().min(old.size());
                let stays =
                    size <= allocator.room(old) && place.addr().get() % new.align() == 0 && old.size() > 0;
                assert!(!stays || given.cast() == place, "moved within its room");
                let tail = block.model.len();
                block.model.truncate(kept);
                (block.place, block.layout, block.usable) = (given.cast(), new, given.len());
                block.model.resize(given.len(), 0);
                if !zeroed && kept < tail {
                    // What was behind the old size may be anything.
                    let tail = tail.min(given.len());
                    block.bytes()[kept..tail].fill(0);
                } else if kept < tail {
                    let (from, to) = (size.min(tail), tail.min(given.len()));
                    block.bytes()[from..to].fill(0);
                }
            }
            55..75 => {
                let size = self.chance.below(old.size() + 1);
                let new = self.other(old, size);
                // SAFETY: as above.
                let given = unsafe { allocator.shrink(place, old, new) }.unwrap();
                self.has_moved((place, old), (given.cast(), new));
                let stays = place.addr().get() % new.align() == 0 && size > 0;
                assert!(!stays || given.cast() == place, "moved, though it shrank");
                (block.place, block.layout, block.usable) = (given.cast(), new, given.len());
                let tail = block.model.len();
                block.model.truncate(size);
                block.model.resize(given.len(), 0);
                let tail = tail.min(given.len());
                block.bytes()[size.min(tail)..tail].fill(0);
            }
            _ => {
                // SAFETY: as above.
                unsafe { allocator.deallocate(place, old) };
                if old.size() > 0 {
                    is_gone(whole);
                }
                return;
            }
        }
        block.check(allocator, self.guards);
        block.write(&mut self.chance);
        block.check(allocator, self.guards);
        self.blocks.push(block);
    }

    /// A layout of another size, and now and then of another alignment.
    fn other(&mut self, old: Layout, size: usize) -> Layout {
        let align = if self.chance.below(4) == 0 { self.chance.align() } else { old.align() };
        Layout::from_size_align(size, align).unwrap()
    }
}

#[test]
fn blocks_are_what_they_should_be() {
    let pages = PageAllocator::new();
    let size = page::size();
    let all = [
        pages,
        pages.huge_pages(false),
        pages.reserved(3 << 20),
        pages.reserved(17 << 20),
        pages.guard_before(1).guard_after(5 * size),
        pages.reserved(100_000).guard_after(1),
        pages.reserved(6 << 20).guard_before(3 * size).name(c"model"),
        pages.advice(Advice::Sequential).huge_pages(false),
        pages.advice(Advice::NoHugePages).reserved(5 << 20),
        pages.numa_node(0),
        pages.numa_node(0).reserved(1 << 20).guard_before(1),
    ];
    for (number, allocator) in all.iter().enumerate() {
        if let Err(error) = allocator.try_allocate(Layout::new::<u8>()) {
            assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotPermitted), "{error}");
            skipped("blocks_are_what_they_should_be", &format!("{allocator:?}: {error}"));
            continue;
        }
        let round = |len: usize| len.next_multiple_of(size);
        let guards = [(0, 0), (0, 0), (0, 0), (0, 0), (1, 5 * size), (0, 1), (3 * size, 0)];
        let guards = match number {
            10 => (1, 0),
            _ => *guards.get(number).unwrap_or(&(0, 0)),
        };
        let guards = (round(guards.0), round(guards.1));
        let seed = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1);
        let mut run = Run { allocator, guards, blocks: Vec::new(), chance: Chance(seed) };
        for _ in 0..rounds(120) {
            run.step();
        }
        for block in std::mem::take(&mut run.blocks) {
            // SAFETY: a live block, which ends here.
            unsafe { allocator.deallocate(block.place, block.layout) };
            if block.layout.size() > 0 {
                is_gone(run.whole((block.place, block.layout)));
            }
        }
    }
}
