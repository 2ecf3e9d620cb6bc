//! What each page of a range granted: pure interval arithmetic, without a system call.

use crate::range::PageRange;
use alloc::vec::Vec;

/// Runs of pages with the same property, ascending, disjoint, inside one range.
///
/// Invariants: (1) each run lies in `range`; (2) each begins behind the end of the one before; (3) two that touch differ in their
/// property. A range with one property throughout takes no allocation.
#[derive(Clone, Debug)]
pub(super) struct Runs<A> {
    range: PageRange,
    first: Option<(PageRange, A)>,
    rest: Vec<(PageRange, A)>,
}

impl<A: Copy + PartialEq> Runs<A> {
    pub(super) fn new(range: PageRange) -> Self {
        Self { range, first: None, rest: Vec::new() }
    }

    pub(super) fn range(&self) -> PageRange {
        self.range
    }

    /// Adds the pages of `run` that lie in the range and behind the runs there are. Runs come in ascending order; what was known
    /// before stays, so that a mapping that is told twice, because it grew between two answers, counts once.
    pub(super) fn push(&mut self, run: PageRange, property: A) {
        let last = self.rest.last_mut().or(self.first.as_mut());
        let after = match &last {
            // Nothing lies behind the last page.
            Some((known, _)) => match known.last().checked_add(1) {
                Some(after) => after,
                None => return,
            },
            None => self.range.first(),
        };
        let Some(part) = PageRange::between(run.first().max(after), run.last().min(self.range.last())) else {
            return;
        };
        match last {
            Some((known, same)) if *same == property && part.first() == after => {
                if let Some(longer) = PageRange::between(known.first(), part.last()) {
                    *known = longer;
                }
            }
            Some(_) => self.rest.push((part, property)),
            None => self.first = Some((part, property)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PageRange, A)> + '_ {
        self.first.iter().chain(&self.rest).copied()
    }

    /// The runs' parts in another range.
    pub(super) fn within(&self, part: PageRange) -> impl Iterator<Item = (PageRange, A)> + '_ {
        self.iter().filter_map(move |(run, property)| Some((run.intersection(part)?, property)))
    }

    /// The first pages of the range that no run has.
    pub(super) fn hole(&self) -> Option<PageRange> {
        let mut next = self.range.first();
        for (run, _) in self.iter() {
            if let Some(hole) = run.first().checked_sub(1).and_then(|last| PageRange::between(next, last)) {
                return Some(hole);
            }
            next = run.last().checked_add(1)?;
        }
        PageRange::between(next, self.range.last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const FIRST: usize = 16;

    fn pages(first: usize, count: usize) -> PageRange {
        let page = crate::page::size();
        PageRange::between(first * page, (first + count) * page - 1).unwrap()
    }

    fn numbers(range: PageRange) -> impl Iterator<Item = usize> {
        let page = crate::page::size();
        range.first() / page..=range.last() / page
    }

    proptest! {
        /// Against a map from page to property.
        #[test]
        fn every_page_has_what_was_first_said_of_it(
            told in prop::collection::vec((0_usize..40, 1_usize..12, 0_u8..3), 0..12),
            part in (0_usize..40, 1_usize..12),
        ) {
            let range = pages(FIRST, 16);
            let mut runs = Runs::new(range);
            let mut model = BTreeMap::new();
            let mut told = told;
            told.sort();
            let mut known_until = FIRST;
            for (first, count, property) in told {
                let run = pages(first, count);
                runs.push(run, property);
                for number in numbers(run).filter(|&n| n >= known_until && numbers(range).contains_page(n)) {
                    model.insert(number, property);
                }
                known_until = model.last_key_value().map_or(FIRST, |(&last, _)| last + 1);
            }
            let found: BTreeMap<_, _> =
                runs.iter().flat_map(|(run, property)| numbers(run).map(move |n| (n, property))).collect();
            prop_assert_eq!(&found, &model);

            let listed: Vec<_> = runs.iter().collect();
            for pair in listed.windows(2) {
                prop_assert!(pair[0].0.last() < pair[1].0.first());
                prop_assert!(pair[0].0.last() + 1 != pair[1].0.first() || pair[0].1 != pair[1].1);
            }
            let first_missing = numbers(range).find(|n| !model.contains_key(n));
            prop_assert_eq!(runs.hole().map(|hole| hole.first() / crate::page::size()), first_missing);

            let part = pages(part.0, part.1);
            let within: BTreeMap<_, _> =
                runs.within(part).flat_map(|(run, property)| numbers(run).map(move |n| (n, property))).collect();
            let expected: BTreeMap<_, _> =
                model.iter().filter(|&(&n, _)| numbers(part).contains_page(n)).map(|(&n, &p)| (n, p)).collect();
            prop_assert_eq!(within, expected);
        }
    }

    trait ContainsPage {
        fn contains_page(self, number: usize) -> bool;
    }

    impl<I: Iterator<Item = usize>> ContainsPage for I {
        fn contains_page(mut self, number: usize) -> bool {
            self.any(|each| each == number)
        }
    }

    /// Trap: a guard over part of a larger region restored pages that it never covered.
    #[test]
    fn a_region_that_reaches_beyond_the_range_is_clipped() {
        let mut runs = Runs::new(pages(20, 2));
        runs.push(pages(10, 30), 'a');
        assert_eq!(runs.iter().collect::<Vec<_>>(), [(pages(20, 2), 'a')]);
        assert_eq!(runs.hole(), None);
    }

    #[test]
    fn the_last_page_of_all_has_nothing_behind_it() {
        let last = PageRange::containing(usize::MAX);
        let mut runs = Runs::new(last);
        runs.push(last, 1);
        runs.push(last, 2);
        assert_eq!(runs.iter().collect::<Vec<_>>(), [(last, 1)]);
        assert_eq!(runs.hole(), None);
    }

    #[test]
    fn one_property_takes_no_allocation() {
        let mut runs = Runs::new(pages(20, 8));
        runs.push(pages(20, 4), 'a');
        runs.push(pages(24, 4), 'a');
        assert_eq!(runs.rest.capacity(), 0);
        assert_eq!(runs.hole(), None);
    }
}
