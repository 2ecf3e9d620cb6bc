//! Offsets, pages and what can be reached.

use super::{BARE, CARVED, PartState, Reservation};
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::page;
use crate::pages::reserve::runs::State;
use crate::protection::Protection;
use crate::range::PageRange;
use core::ops::{Bound, Range, RangeBounds};

/// Pages and offsets.
impl Reservation {
    pub(super) fn pages(&self, range: &Range<usize>) -> Option<PageRange> {
        let first = self.start().checked_add(range.start)?;
        PageRange::between(first, first.checked_add(range.len().checked_sub(1)?)?)
    }

    pub(super) fn offsets(&self, pages: PageRange) -> Range<usize> {
        let start = pages.first().saturating_sub(self.start());
        start..start.saturating_add(pages.len())
    }

    pub(super) fn error(&self, failure: Failure, range: &Range<usize>, operation: Operation) -> Error {
        failure.during(operation, self.pages(range), None)
    }

    #[cold]
    pub(super) fn page_error(
        &self,
        at: usize,
        operation: Operation,
        kind: ErrorKind,
        detail: &'static str,
    ) -> Error {
        let page = PageRange::containing(self.start().saturating_add(at));
        Failure::new(kind).detail(detail).during(operation, Some(page), None)
    }

    #[inline]
    pub(super) fn bounds(
        &self,
        range: impl RangeBounds<usize>,
        operation: Operation,
    ) -> Result<Range<usize>> {
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(self.len()),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= self.len() => Ok(start..end),
            _ => {
                let failure = Failure::invalid("the range is not within the reservation");
                Err(failure.during(operation, None, None))
            }
        }
    }

    pub(super) fn whole_pages(
        &self,
        range: impl RangeBounds<usize>,
        operation: Operation,
    ) -> Result<Range<usize>> {
        let range = self.bounds(range, operation)?;
        if (range.start | range.end) & page::size().wrapping_sub(1) != 0 {
            let failure = Failure::invalid("an end of the range is not on a page boundary");
            return Err(self.error(failure, &range, operation));
        }
        Ok(range)
    }

    #[inline]
    pub(super) fn reach(&self, range: impl RangeBounds<usize>, needed: Protection) -> Result<Range<usize>> {
        let range = self.bounds(range, Operation::Access)?;
        for (run, state) in self.runs.within(range.clone()) {
            match state {
                State::Committed(granted) if granted.contains(needed) => {}
                _ => return Err(self.out_of_reach(run.start, state)),
            }
        }
        Ok(range)
    }

    #[cold]
    pub(super) fn out_of_reach(&self, at: usize, state: State) -> Error {
        let (kind, detail) = match self.seen(state) {
            PartState::Reserved => (ErrorKind::Unmapped, BARE),
            PartState::Committed(_) => (ErrorKind::NotPermitted, "the page is committed without this right"),
            PartState::Carved => (ErrorKind::Occupied, CARVED),
            PartState::Unsettled => (ErrorKind::NotPermitted, "it is not known what the page grants"),
            PartState::Leaving => (ErrorKind::Unmapped, "the page is to be reserved only"),
        };
        self.page_error(at, Operation::Access, kind, detail)
    }
}
