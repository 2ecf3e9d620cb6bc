//! A part of a mapping, as the caller names it: offsets in bytes.

use super::map::Map;
use crate::error::{Error, Failure, Operation};
use crate::range::PageRange;
use core::ops::{Bound, Range, RangeBounds};

/// What a call does to the bytes that share a page with the part that was named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// Nothing that they mind: the part is rounded outward to whole pages.
    Anywhere,
    /// They would be lost: the part must be whole pages of the mapping.
    BetweenPages,
}

impl Map {
    /// The pages of a part; `None` where it is empty. Never any of another mapping.
    pub(super) fn part(
        &self,
        part: &impl RangeBounds<usize>,
        ends: Ends,
        operation: Operation,
    ) -> Result<Option<PageRange>, Error> {
        let failed = |why| Failure::invalid(why).during(operation, self.pages(), None);
        let Range { start, end } = resolve(part, self.len())
            .ok_or_else(|| failed("the range ends before it begins, or reaches beyond the mapping"))?;
        if start == end {
            return Ok(None);
        }
        let mask = self.unit().saturating_sub(1);
        // The mapping's own ends may lie within a page, of which then nobody else has the rest.
        let odd = |at: usize| {
            at != 0 && at != self.len() && self.start().checked_add(at).is_none_or(|at| at & mask != 0)
        };
        if ends == Ends::BetweenPages && (odd(start) || odd(end)) {
            return Err(failed(
                "an end of the range is not between two pages of the mapping (see Pages::page_size), and all of a page would be \
                 concerned",
            ));
        }
        let (first, last) =
            (self.start().saturating_add(start), self.start().saturating_add(end.saturating_sub(1)));
        // `None` never: a mapping consists of whole pages of its unit.
        Ok(PageRange::between(first & !mask, last | mask))
    }
}

/// The bounds as offsets from 0 to `len`; `None` where they reach beyond that, or end before they start.
pub(crate) fn resolve(part: &impl RangeBounds<usize>, len: usize) -> Option<Range<usize>> {
    let start = match part.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match part.end_bound() {
        Bound::Included(&at) => at.checked_add(1)?,
        Bound::Excluded(&at) => at,
        Bound::Unbounded => len,
    };
    (start <= end && end <= len).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound() -> impl Strategy<Value = Bound<usize>> {
        let at = prop_oneof![0..20_usize, usize::MAX - 2..=usize::MAX];
        (0..3, at).prop_map(|(kind, at)| match kind {
            0 => Bound::Included(at),
            1 => Bound::Excluded(at),
            _ => Bound::Unbounded,
        })
    }

    proptest! {
        /// As slices take their ranges.
        #[test]
        fn bounds_are_those_of_slices(start in bound(), end in bound(), len in 0..12_usize) {
            let bytes = std::vec![0_u8; len];
            let part = (start, end);
            let resolved = resolve(&part, len);
            prop_assert_eq!(resolved.clone().map(|part| part.len()), bytes.get(part).map(<[u8]>::len));
            if let Some(part) = resolved {
                prop_assert!(bytes.get(part).is_some());
            }
        }
    }
}
