//! How many locks hold each page: arithmetic on page numbers, without any system call.
//!
//! The counts are a step function: each [`Step`] says how many locks hold the pages from its own to that of the next step, and
//! before the first step there are none. A lock over a range changes the function by the same amount everywhere in it, so that
//! however many steps the range covers, it takes at most two new ones, at its ends.
//!
//! The steps stand in chunks of a fixed size, so that a new step moves a few hundred bytes, not the thousands of steps behind
//! it. Nothing here allocates but [`Counts::with_chunks`]: who changes the counts sees first whether there is room
//! ([`Counts::wanted`]), and takes them over into something larger if not.

use crate::range::index;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// Pages by their numbers (addresses divided by the page size), from the first to before the end. Not empty.
///
/// Even the end of the address space has a page number, as pages have more than one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pages {
    pub(super) first: usize,
    pub(super) end: usize,
}

/// From this page on, so many locks. A count that has reached `u32::MAX` stays there: nobody knows any more how many they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    page: usize,
    count: u32,
}

const IN_CHUNK: usize = 64;

/// A change makes at most two new steps, each of which splits at most one chunk; the first of all takes one.
const FOR_A_CHANGE: usize = 2;

/// Some steps in a row: the first `len`. Pages ascend.
#[derive(Clone, Copy)]
struct Chunk {
    len: usize,
    steps: [Step; IN_CHUNK],
}

impl Chunk {
    const EMPTY: Self = Self { len: 0, steps: [Step { page: 0, count: 0 }; IN_CHUNK] };

    fn steps(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or(&[])
    }

    fn starts_by(&self, page: usize) -> bool {
        self.steps().first().is_some_and(|step| step.page <= page)
    }

    /// How many steps stand before this page's own.
    fn before(&self, page: usize) -> usize {
        self.steps().partition_point(|step| step.page < page)
    }

    fn insert(&mut self, at: usize, step: Step) {
        if let Some(tail) = self.steps.get_mut(at..=self.len) {
            let mut moved = step;
            for slot in tail {
                core::mem::swap(slot, &mut moved);
            }
            self.len = self.len.saturating_add(1);
        }
    }

    /// Appends steps, which the caller knows to fit.
    fn append(&mut self, more: &[Step]) {
        let len = self.len.saturating_add(more.len());
        if let Some(to) = self.steps.get_mut(self.len..len) {
            to.copy_from_slice(more);
            self.len = len;
        }
    }

    /// Takes out the steps from `from` to before `to`.
    fn remove(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        if let Some(tail) = self.steps.get_mut(from..self.len) {
            let removed = to.saturating_sub(from).min(tail.len());
            if removed < tail.len() {
                tail.copy_within(removed.., 0);
            }
            self.len = self.len.saturating_sub(removed);
        }
    }
}

/// How many locks hold each page.
///
/// Invariants: `order` has each number of a chunk once; its first `used` are the chunks in use, none of them empty, in the order
/// of their pages; pages ascend through all of them; no step has the count of the one before it, and the first not 0.
pub(super) struct Counts {
    order: Vec<u32>,
    chunks: Vec<Chunk>,
    used: usize,
}

impl Counts {
    pub(super) const EMPTY: Self = Self { order: Vec::new(), chunks: Vec::new(), used: 0 };

    /// Empty counts with room. The only place that allocates.
    pub(super) fn with_chunks(wanted: u32) -> Result<Self, TryReserveError> {
        let mut counts = Self::EMPTY;
        counts.order.try_reserve_exact(index(wanted))?;
        counts.chunks.try_reserve_exact(index(wanted))?;
        counts.order.extend(0..wanted);
        counts.chunks.resize(index(wanted), Chunk::EMPTY);
        Ok(counts)
    }

    /// How many chunks it takes for the next change; `None` where there is room.
    pub(super) fn wanted(&self) -> Option<u32> {
        let room = self.order.len();
        if self.used.saturating_add(FOR_A_CHANGE) <= room {
            return None;
        }
        // More than 2^32 chunks are more than any memory holds.
        Some(u32::try_from(room.saturating_mul(2).max(8)).unwrap_or(u32::MAX))
    }

    /// Whether there are so many chunks.
    pub(super) fn has_chunks(&self, wanted: u32) -> bool {
        self.order.len() >= index(wanted)
    }

    /// Becomes what `smaller` is.
    pub(super) fn take_over(&mut self, smaller: &Self) {
        self.used = 0;
        for position in 0..smaller.used {
            if let (Some(from), Some(to)) = (smaller.chunk(position), self.open_chunk(position)) {
                *to = *from;
            }
        }
    }

    /// Forgets all locks, and keeps the room.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// One lock more for each of the pages.
    #[inline]
    pub(super) fn add(&mut self, pages: Pages) {
        if !self.add_apart(pages) {
            self.add_anywhere(pages);
        }
    }

    fn add_anywhere(&mut self, pages: Pages) {
        self.change(pages, |count| count.saturating_add(1), |_, _| {});
    }

    /// One lock less for each of the pages that have any. Calls `free` with the runs of pages that no lock holds any more,
    /// ascending: only those that this subtraction freed, or, with `idle_too`, also those that none had held.
    #[inline]
    pub(super) fn subtract(&mut self, pages: Pages, idle_too: bool, mut free: impl FnMut(Pages)) {
        match self.subtract_apart(pages) {
            Some(0) => free(pages),
            Some(_) => {}
            None => self.subtract_anywhere(pages, idle_too, free),
        }
    }

    fn subtract_anywhere(&mut self, pages: Pages, idle_too: bool, mut free: impl FnMut(Pages)) {
        let mut run = None;
        let less = |count: u32| if count == u32::MAX { count } else { count.saturating_sub(1) };
        self.change(pages, less, |page, change| match change {
            Some((before, 0)) if before > 0 || idle_too => {
                run.get_or_insert(page);
            }
            _ => {
                if let Some(first) = run.take() {
                    free(Pages { first, end: page });
                }
            }
        });
    }

    /// The common case, in less code, which after a system call has to be fetched anew: the count is the same in all of the pages
    /// and beyond them, and the chunk has room. Says whether it was so.
    #[inline]
    fn add_apart(&mut self, pages: Pages) -> bool {
        let position = self.position(pages.first);
        let last = position.saturating_add(1) >= self.used;
        let Some(chunk) = self.chunk_mut(position).filter(|chunk| chunk.len < IN_CHUNK - 1) else {
            return false;
        };
        let at = chunk.before(pages.first);
        match chunk.steps().get(at) {
            Some(step) if step.page <= pages.end => return false,
            None if !last => return false,
            _ => {}
        }
        let count =
            at.checked_sub(1).and_then(|before| chunk.steps().get(before)).map_or(0, |step| step.count);
        if count == u32::MAX {
            return false;
        }
        chunk.insert(at, Step { page: pages.end, count });
        chunk.insert(at, Step { page: pages.first, count: count.saturating_add(1) });
        true
    }

    /// The same the other way round: gives the count that the pages have then, like those before and behind them.
    #[inline]
    fn subtract_apart(&mut self, pages: Pages) -> Option<u32> {
        let position = self.position(pages.first);
        // What is left does not need to be joined to another chunk.
        let chunk = self.chunk_mut(position).filter(|chunk| chunk.len > IN_CHUNK / 2 || position == 0)?;
        let at = chunk.before(pages.first);
        let before = match at.checked_sub(1) {
            Some(before) => chunk.steps().get(before)?.count,
            None if position == 0 => 0,
            None => return None,
        };
        let [own, behind] = *chunk.steps().get(at..at.saturating_add(2))? else { return None };
        let apart = own.page == pages.first
            && behind.page == pages.end
            && behind.count == before
            && own.count.checked_sub(1) == Some(before)
            && own.count != u32::MAX;
        if !apart {
            return None;
        }
        chunk.remove(at, at.saturating_add(2));
        if chunk.len == 0 {
            self.close_chunk(position);
        }
        Some(before)
    }

    fn chunk(&self, position: usize) -> Option<&Chunk> {
        let in_use = self.order.get(..self.used)?;
        self.chunks.get(index(*in_use.get(position)?))
    }

    fn chunk_mut(&mut self, position: usize) -> Option<&mut Chunk> {
        let in_use = self.order.get(..self.used)?;
        self.chunks.get_mut(index(*in_use.get(position)?))
    }

    /// Takes an empty chunk into use.
    fn open_chunk(&mut self, position: usize) -> Option<&mut Chunk> {
        self.order.get_mut(position..=self.used)?.rotate_right(1);
        self.used = self.used.saturating_add(1);
        let chunk = self.chunk_mut(position)?;
        chunk.len = 0;
        Some(chunk)
    }

    fn close_chunk(&mut self, position: usize) {
        if let Some(rest) = self.order.get_mut(position..self.used).filter(|rest| !rest.is_empty()) {
            rest.rotate_left(1);
            self.used = self.used.saturating_sub(1);
        }
    }

    /// The position of the chunk in which a step for this page would stand.
    fn position(&self, page: usize) -> usize {
        let in_use = self.order.get(..self.used).unwrap_or(&[]);
        let starting_by = in_use
            .partition_point(|&number| self.chunks.get(index(number)).is_some_and(|c| c.starts_by(page)));
        starting_by.saturating_sub(1)
    }

    /// Lets a step begin at this page, with the count that holds there anyway. Says where it is; `position` is where it would
    /// stand.
    #[inline]
    fn split_at(&mut self, page: usize, position: usize) -> (usize, usize) {
        let Some(chunk) = self.chunk_mut(position) else { return (position, 0) };
        let at = chunk.before(page);
        if chunk.steps().get(at).is_some_and(|step| step.page == page) {
            return (position, at);
        }
        let count =
            at.checked_sub(1).and_then(|before| chunk.steps().get(before)).map_or(0, |step| step.count);
        let step = Step { page, count };
        if chunk.len == IN_CHUNK {
            return self.insert_in_full(position, at, step);
        }
        chunk.insert(at, step);
        (position, at)
    }

    #[cold]
    fn insert_in_full(&mut self, position: usize, at: usize, step: Step) -> (usize, usize) {
        const HALF: usize = IN_CHUNK / 2;
        let above = position.saturating_add(1);
        let Some(chunk) = self.chunk_mut(position) else { return (position, at) };
        let full = *chunk;
        chunk.len = HALF;
        if let Some(upper) = self.open_chunk(above) {
            upper.append(full.steps().get(HALF..).unwrap_or(&[]));
        }
        let (position, at) = match at.checked_sub(HALF) {
            None | Some(0) => (position, at),
            Some(in_upper) => (above, in_upper),
        };
        if let Some(chunk) = self.chunk_mut(position) {
            chunk.insert(at, step);
        }
        (position, at)
    }

    /// Changes the count of each of the pages, and says of each step, ascending, what it was and is; and at last where the
    /// pages end.
    fn change(
        &mut self,
        pages: Pages,
        change: impl Fn(u32) -> u32,
        mut changed: impl FnMut(usize, Option<(u32, u32)>),
    ) {
        if self.used == 0 {
            self.open_chunk(0);
        }
        let (mut position, _) = self.split_at(pages.end, self.position(pages.end));
        // Chunks above that of the end do not begin by the first page either.
        if !self.chunk(position).is_some_and(|chunk| chunk.starts_by(pages.first)) {
            position = self.position(pages.first);
        }
        let (mut position, mut at) = self.split_at(pages.first, position);
        let Some(chunk) = self.chunk(position) else { return };
        // What the step before has: a step that comes to the same goes.
        let mut previous = match at.checked_sub(1) {
            Some(before) => chunk.steps().get(before),
            None => position.checked_sub(1).and_then(|before| self.chunk(before)?.steps().last()),
        }
        .map_or(0, |step| step.count);
        let mut ended = false;
        while !ended {
            let Some(chunk) = self.chunk_mut(position) else { return };
            let (mut from, mut kept) = (at, at);
            while let Some(&step) = chunk.steps().get(from) {
                from = from.saturating_add(1);
                let mut count = step.count;
                if step.page < pages.end {
                    count = change(count);
                    changed(step.page, Some((step.count, count)));
                } else {
                    changed(step.page, None);
                    ended = true;
                }
                if count != previous {
                    previous = count;
                    if let Some(slot) = chunk.steps.get_mut(kept) {
                        *slot = Step { page: step.page, count };
                        kept = kept.saturating_add(1);
                    }
                }
                if ended {
                    break;
                }
            }
            chunk.remove(kept, from);
            at = 0;
            if !self.is_joined(position) {
                position = position.saturating_add(1);
            }
        }
        self.is_joined(position);
    }

    /// Puts a chunk that has little, or nothing, to the one before it, if that has little, too. Says whether it did so.
    #[inline]
    fn is_joined(&mut self, position: usize) -> bool {
        let len = |position| self.chunk(position).map(|chunk: &Chunk| chunk.len);
        let Some(own) = len(position) else { return false };
        if own > 0 {
            match position.checked_sub(1).and_then(len) {
                Some(before) if before.saturating_add(own) <= IN_CHUNK / 2 => {
                    self.append_to_previous(position)
                }
                _ => return false,
            }
        }
        self.close_chunk(position);
        true
    }

    #[cold]
    fn append_to_previous(&mut self, position: usize) {
        let Some(&chunk) = self.chunk(position) else { return };
        if let Some(before) = position.checked_sub(1).and_then(|before| self.chunk_mut(before)) {
            before.append(chunk.steps());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Counts {
        fn steps(&self) -> Vec<Step> {
            (0..self.used).flat_map(|position| self.chunk(position).unwrap().steps().to_vec()).collect()
        }

        fn check(&self) {
            let mut numbers = self.order.clone();
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..u32::try_from(self.chunks.len()).unwrap()));
            for position in 0..self.used {
                assert!((1..=IN_CHUNK).contains(&self.chunk(position).unwrap().len));
            }
            let mut previous = None;
            for step in self.steps() {
                let (page, count) = previous.map_or((None, 0), |s: Step| (Some(s.page), s.count));
                assert!(page < Some(step.page), "pages ascend");
                assert_ne!(count, step.count, "equal neighbours are one");
                previous = Some(step);
            }
            assert_eq!(previous.map_or(0, |step| step.count), 0, "all ends");
        }

        pub(in crate::guard) fn of(&self, page: usize) -> u32 {
            self.steps().iter().rev().find(|step| step.page <= page).map_or(0, |step| step.count)
        }

        fn ready(&mut self) {
            if let Some(wanted) = self.wanted() {
                let mut bigger = Self::with_chunks(wanted).unwrap();
                bigger.take_over(self);
                assert!(bigger.has_chunks(wanted) && bigger.wanted().is_none());
                *self = bigger;
            }
        }
    }

    /// One count a page: slow and plainly right.
    #[derive(Default)]
    struct Model(BTreeMap<usize, u32>);

    impl Model {
        fn add(&mut self, pages: Pages) {
            for page in pages.first..pages.end {
                *self.0.entry(page).or_default() += 1;
            }
        }

        fn subtract(&mut self, pages: Pages, idle_too: bool) -> Vec<usize> {
            let mut free = Vec::new();
            for page in pages.first..pages.end {
                match self.0.get_mut(&page) {
                    Some(1) => {
                        self.0.remove(&page);
                        free.push(page);
                    }
                    Some(count) => *count -= 1,
                    None if idle_too => free.push(page),
                    None => {}
                }
            }
            free
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Do {
        Add(Pages),
        Subtract(Pages, bool),
    }

    fn pages(span: usize) -> impl Strategy<Value = Pages> {
        let short = (0..span, 1_usize..4);
        let long = (0..span, 1..span);
        prop_oneof![4 => short, 1 => long].prop_map(|(first, len)| Pages { first, end: first + len })
    }

    fn doings(span: usize, most: usize) -> impl Strategy<Value = Vec<Do>> {
        let add = pages(span).prop_map(Do::Add);
        let subtract = (pages(span), any::<bool>()).prop_map(|(pages, idle)| Do::Subtract(pages, idle));
        prop::collection::vec(prop_oneof![3 => add, 2 => subtract], 0..most)
    }

    fn as_the_model(doings: &[Do], span: usize, check_each: bool) {
        let (mut counts, mut model) = (Counts::EMPTY, Model::default());
        for (number, &what) in doings.iter().enumerate() {
            counts.ready();
            let steps = counts.steps().len();
            match what {
                Do::Add(pages) => {
                    counts.add(pages);
                    model.add(pages);
                }
                Do::Subtract(pages, idle_too) => {
                    let mut free = Vec::new();
                    let mut last_end = None;
                    counts.subtract(pages, idle_too, |run| {
                        assert!(pages.first <= run.first && run.first < run.end && run.end <= pages.end);
                        assert!(last_end < Some(run.first), "runs are as long as can be, and ascend");
                        last_end = Some(run.end);
                        free.extend(run.first..run.end);
                    });
                    assert_eq!(free, model.subtract(pages, idle_too));
                }
            }
            assert!(counts.steps().len() <= steps + 2);
            if check_each || number + 1 == doings.len() {
                counts.check();
                for page in 0..2 * span {
                    assert_eq!(counts.of(page), model.0.get(&page).copied().unwrap_or(0), "page {page}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: crate::area::rounds(100), ..ProptestConfig::default() })]

        #[test]
        fn a_few_pages_are_counted_as_one_by_one(doings in doings(24, 60)) {
            as_the_model(&doings, 24, true);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: crate::area::rounds(12), ..ProptestConfig::default() })]

        /// So many that chunks split and join.
        #[test]
        fn many_pages_are_counted_as_one_by_one(doings in doings(1_500, crate::area::rounds(1_500) as usize)) {
            as_the_model(&doings, 1_500, false);
        }
    }

    #[test]
    fn chunks_split_fill_and_go_in_any_order() {
        const RUNS: usize = 5_000;
        // Ascending, descending, and a stride that has no common factor with the number.
        for (order, back) in [(1, 1), (RUNS - 1, RUNS - 1), (2_003, 1), (1, 3_001)] {
            let mut counts = Counts::EMPTY;
            let pages = |run: usize| Pages { first: 3 * run, end: 3 * run + 2 };
            for index in 0..RUNS {
                counts.ready();
                counts.add(pages(index * order % RUNS));
            }
            counts.check();
            assert_eq!(counts.steps().len(), 2 * RUNS);
            assert!(counts.used <= 2 * RUNS / (IN_CHUNK / 4), "{} chunks", counts.used);
            for index in 0..RUNS {
                counts.ready();
                let mut free = Vec::new();
                let run = pages(index * back % RUNS);
                counts.subtract(run, false, |pages| free.push(pages));
                assert_eq!(free, [run]);
                if index % 500 == 0 {
                    counts.check();
                }
            }
            assert_eq!(counts.used, 0);
            counts.check();
        }
    }

    /// Chunks of which little is left give their room back.
    #[test]
    fn sparse_chunks_join() {
        let mut counts = Counts::EMPTY;
        let one = |page: usize| Pages { first: page, end: page + 1 };
        for page in 0..8_000 {
            counts.ready();
            counts.add(one(2 * page));
        }
        for page in (0..8_000).filter(|page| page % 100 != 0) {
            counts.ready();
            counts.subtract(one(2 * page), false, |_| {});
        }
        counts.check();
        assert_eq!(counts.steps().len(), 160);
        assert!(counts.used <= 160 / (IN_CHUNK / 4) + 1, "{} chunks", counts.used);
        // And a long range that takes out the middle of many.
        counts.subtract(Pages { first: 150, end: 15_000 }, false, |_| {});
        counts.check();
        assert_eq!(counts.steps().len(), 12);
        assert_eq!(counts.used, 1);
    }

    #[test]
    fn a_count_at_the_top_stays_there() {
        let mut counts = Counts::EMPTY;
        counts.ready();
        counts.add(Pages { first: 1, end: 4 });
        for position in 0..counts.used {
            for step in &mut counts.chunk_mut(position).unwrap().steps {
                if step.count == 1 {
                    step.count = u32::MAX - 1;
                }
            }
        }
        counts.add(Pages { first: 2, end: 3 });
        assert_eq!([1, 2, 3].map(|page| counts.of(page)), [u32::MAX - 1, u32::MAX, u32::MAX - 1]);
        counts.add(Pages { first: 0, end: 9 });
        assert_eq!([0, 1, 2, 3, 4].map(|page| counts.of(page)), [1, u32::MAX, u32::MAX, u32::MAX, 1]);
        counts.check();
        counts.subtract(Pages { first: 0, end: 9 }, true, |run| assert!(run.end == 1 || run.first == 4));
        assert_eq!([0, 1, 3, 4].map(|page| counts.of(page)), [0, u32::MAX, u32::MAX, 0]);
        counts.check();
    }

    #[test]
    fn the_last_pages_are_counted_as_others() {
        let end = 1_usize << (usize::BITS - 12);
        let all = Pages { first: 0, end };
        let mut counts = Counts::EMPTY;
        counts.ready();
        counts.add(all);
        counts.add(Pages { first: end - 1, end });
        counts.check();
        assert_eq!([0, end - 2, end - 1, end].map(|page| counts.of(page)), [1, 1, 2, 0]);
        let mut free = Vec::new();
        counts.subtract(all, false, |run| free.push(run));
        assert_eq!(free, [Pages { first: 0, end: end - 1 }]);
        counts.clear();
        assert_eq!(counts.of(end - 1), 0);
    }
}
