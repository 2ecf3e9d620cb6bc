//! Asking about pages some at a time, without allocating.

use crate::error::Failure;
use crate::range::PageRange;

/// How many pages are asked about in one call.
pub(super) const PAGES: usize = 1024;

/// Counts the pages of which `ask` says that they are in memory: the lowest bit of each one's byte, as mincore(2) gives it.
pub(super) fn resident(
    range: PageRange,
    ask: impl Fn(PageRange, &mut [u8]) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    let mut states = [0_u8; PAGES];
    let mut count = 0_usize;
    for_each(range, PAGES, |pages| {
        let number = pages.len().checked_div(crate::page::size()).unwrap_or(0);
        let Some(states) = states.get_mut(..number) else { return Ok(()) };
        ask(pages, states)?;
        let resident = states.iter().filter(|&&state| state & 1 != 0).count();
        count = count.saturating_add(resident);
        Ok(())
    })?;
    Ok(count)
}

/// Calls `each` with the range in parts of at most `most` pages, ascending.
pub(super) fn for_each(
    range: PageRange,
    most: usize,
    mut each: impl FnMut(PageRange) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stride = most.saturating_mul(crate::page::size());
    let mut next = Some(range.first());
    while let Some(first) = next.take_if(|first| *first <= range.last()) {
        let last = first.saturating_add(stride.saturating_sub(1)).min(range.last());
        let Some(pages) = PageRange::between(first, last) else { break };
        each(pages)?;
        next = last.checked_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn parts_cover_the_range_once() {
        let page = crate::page::size();
        let top = PageRange::touching(usize::MAX - 5 * page + 1, usize::MAX).unwrap();
        let low = PageRange::between(page, 6 * page - 1).unwrap();
        for range in [top, low] {
            for most in 1..7 {
                let mut parts = Vec::new();
                for_each(range, most, |part| {
                    parts.push(part);
                    Ok(())
                })
                .unwrap();
                assert!(parts.iter().all(|part| part.len() <= most * page));
                assert_eq!((parts[0].first(), parts.last().unwrap().last()), (range.first(), range.last()));
                assert!(parts.windows(2).all(|two| two[0].last() + 1 == two[1].first()));
                assert_eq!(parts.len(), 5_usize.div_ceil(most));
            }
        }
    }

    #[test]
    fn only_the_lowest_bit_counts() {
        let page = crate::page::size();
        let range = PageRange::between(page, (PAGES + 5) * page - 1).unwrap();
        let count = resident(range, |pages, states| {
            assert_eq!(pages.len(), states.len() * page);
            states.fill(2);
            states[0] = 0x61;
            states[1] = 1;
            Ok(())
        });
        assert_eq!(count.unwrap(), 4);
    }
}
