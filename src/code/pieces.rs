//! Which bytes of an area are free: the piece allocator. It knows numbers only, and touches no memory.

use alloc::collections::{BTreeMap, BTreeSet};

/// Pieces begin at multiples of so many bytes, and are as long: where compilers let functions begin.
pub(super) const GRANULE: usize = 16;

/// How many holes are looked at for one in which a wide alignment happens to fit.
const TRIES: usize = 16;

/// The free parts of `0..capacity`, by place and by length.
///
/// The shortest hole that is long enough is taken, the lowest of several: long holes stay long, and the area is filled from below.
/// What is given back joins its neighbours at once, so that no two holes touch.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Where holes end, and where they begin: pieces are taken from their fronts, so that the end is what stays.
    holes: BTreeMap<usize, usize>,
    /// Their lengths, and where they end.
    lengths: BTreeSet<(usize, usize)>,
    capacity: usize,
    free: usize,
}

/// `len` up to whole granules; at least one.
pub(super) fn rounded(len: usize) -> Option<usize> {
    len.max(1).checked_next_multiple_of(GRANULE)
}

impl Pieces {
    /// All of it free. What is left of `capacity` behind whole granules is not used.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity & !(GRANULE.saturating_sub(1));
        let mut all = Self { holes: BTreeMap::new(), lengths: BTreeSet::new(), capacity, free: capacity };
        if capacity > 0 {
            all.holes.insert(capacity, 0);
            all.lengths.insert((capacity, capacity));
        }
        all
    }

    /// Where a piece of `len` bytes, on a multiple of `align` (a power of two), has room; `None` where there is none.
    pub(super) fn take(&mut self, len: usize, align: usize) -> Option<usize> {
        let len = rounded(len)?;
        let mask = align.max(GRANULE).checked_sub(1)?;
        let begin = |start: usize| Some(start.checked_add(mask)? & !mask);
        let fits = |&(hole, end): &(usize, usize)| {
            begin(end.saturating_sub(hole))
                .and_then(|first| first.checked_add(len))
                .is_some_and(|last| last <= end)
        };
        // In a hole so much longer it fits wherever the hole begins.
        let surely = len.checked_add(mask & !(GRANULE.saturating_sub(1)))?;
        let close = || self.lengths.range((len, 0)..(surely, 0));
        let &(hole, end) = match close().take(TRIES).find(|hole| fits(hole)) {
            Some(found) => found,
            // Behind the tries, what surely fits; and if there is no such hole, whatever does.
            None => self.lengths.range((surely, 0)..).next().or_else(|| close().find(|hole| fits(hole)))?,
        };
        let start = end.saturating_sub(hole);
        let first = begin(start)?;
        let after = first.saturating_add(len);
        self.lengths.remove(&(hole, end));
        // What is behind the piece keeps its end; what alignment left before it is a hole of its own.
        match self.holes.get_mut(&end) {
            Some(begins) if after < end => {
                *begins = after;
                self.lengths.insert((end.saturating_sub(after), end));
            }
            _ => drop(self.holes.remove(&end)),
        }
        if start < first {
            self.holes.insert(first, start);
            self.lengths.insert((first.saturating_sub(start), first));
        }
        self.free = self.free.saturating_sub(len);
        Some(first)
    }

    /// Makes a piece free that [`take`](Self::take) gave for this length. Gives the hole in which it is now.
    pub(super) fn give(&mut self, start: usize, len: usize) -> core::ops::Range<usize> {
        let len = rounded(len).unwrap_or(0);
        let mut hole = start..start.saturating_add(len);
        self.free = self.free.saturating_add(len);
        if let Some(below) = self.holes.remove(&start) {
            self.lengths.remove(&(start.saturating_sub(below), start));
            hole.start = below;
        }
        if let Some((&end, begins)) = self.holes.range_mut(hole.end..).next() {
            if *begins == hole.end {
                *begins = hole.start;
                self.lengths.remove(&(end.saturating_sub(hole.end), end));
                self.lengths.insert((end.saturating_sub(hole.start), end));
                return hole.start..end;
            }
        }
        self.holes.insert(hole.end, hole.start);
        self.lengths.insert((hole.end.saturating_sub(hole.start), hole.end));
        hole
    }

    /// All holes, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = core::ops::Range<usize>> + '_ {
        self.holes.iter().map(|(&end, &start)| start..end)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// The length of the longest hole.
    pub(super) fn largest(&self) -> usize {
        self.lengths.last().map_or(0, |&(len, _)| len)
    }

    /// How many holes there are.
    pub(super) fn holes(&self) -> usize {
        self.holes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const CAPACITY: usize = 1 << 14;

    #[derive(Debug, Clone)]
    enum Step {
        Take { len: usize, align: usize },
        Give { index: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (prop_oneof![Just(0), 1..200_usize, 1..5000_usize], 0..12_u32)
                .prop_map(|(len, align)| Step::Take { len, align: 1 << align }),
            2 => any::<usize>().prop_map(|index| Step::Give { index }),
        ]
    }

    /// The lengths of the runs of granules that are free.
    fn runs(used: &[bool]) -> Vec<usize> {
        used.chunk_by(|a, b| a == b).filter(|run| !run[0]).map(<[bool]>::len).collect()
    }

    proptest! {
        /// Beside a map of granules: pieces never overlap, are aligned, and are refused only where there is no room.
        #[test]
        fn beside_a_map_of_granules(steps in proptest::collection::vec(step(), 1..200)) {
            let mut pieces = Pieces::new(CAPACITY);
            let mut used = vec![false; CAPACITY / GRANULE];
            let mut taken = Vec::new();
            for step in steps {
                match step {
                    Step::Take { len, align } => {
                        let granules = len.max(1).div_ceil(GRANULE);
                        let unit = (align / GRANULE).max(1);
                        let room = (0..=used.len().saturating_sub(granules))
                            .step_by(unit)
                            .any(|at| used.get(at..at + granules).is_some_and(|run| run.iter().all(|&used| !used)));
                        match pieces.take(len, align) {
                            Some(start) => {
                                prop_assert_eq!(start % align.max(GRANULE), 0);
                                let run = &mut used[start / GRANULE..][..granules];
                                prop_assert!(run.iter().all(|&used| !used), "given twice");
                                run.fill(true);
                                taken.push((start, len));
                            }
                            None => prop_assert!(!room, "{} bytes, on multiples of {}", len, align),
                        }
                    }
                    Step::Give { index } if !taken.is_empty() => {
                        let (start, len) = taken.swap_remove(index % taken.len());
                        let granules = len.max(1).div_ceil(GRANULE);
                        used[start / GRANULE..][..granules].fill(false);
                        let hole = pieces.give(start, len);
                        prop_assert!(hole.start <= start && hole.end >= start + len);
                        prop_assert!(used[hole.start / GRANULE..hole.end / GRANULE].iter().all(|&used| !used));
                    }
                    Step::Give { .. } => {}
                }
                let runs = runs(&used);
                prop_assert_eq!(pieces.holes(), runs.len());
                prop_assert_eq!(pieces.free(), runs.iter().sum::<usize>() * GRANULE);
                prop_assert_eq!(pieces.largest(), runs.iter().max().map_or(0, |len| len * GRANULE));
            }
            for (start, len) in taken {
                pieces.give(start, len);
            }
            prop_assert_eq!((pieces.holes(), pieces.free()), (1, CAPACITY));
        }
    }

    #[test]
    fn nothing_wraps() {
        let mut pieces = Pieces::new(usize::MAX);
        assert_eq!(pieces.take(usize::MAX, 1), None);
        assert_eq!(pieces.take(1, 1 << (usize::BITS - 1)), Some(0));
        assert_eq!(pieces.take(1, 1 << (usize::BITS - 1)), Some(1 << (usize::BITS - 1)));
        assert_eq!(pieces.take(1, 1 << (usize::BITS - 1)), None);
        assert_eq!(pieces.capacity(), usize::MAX - 15);
        let mut none = Pieces::new(15);
        assert_eq!((none.take(0, 1), none.holes(), none.largest()), (None, 0, 0));
    }

    /// The hole that fits best is taken, not the first: what is long stays long.
    #[test]
    fn short_holes_are_filled_first() {
        let mut pieces = Pieces::new(1 << 12);
        let starts: Vec<_> = (0..4).map(|_| pieces.take(256, 16).unwrap()).collect();
        let last = pieces.take(64, 16).unwrap();
        pieces.take(64, 16).unwrap();
        pieces.give(starts[1], 256);
        pieces.give(last, 64);
        assert_eq!(pieces.take(50, 16), Some(last));
        assert_eq!(pieces.take(200, 16), Some(starts[1]));
    }
}
