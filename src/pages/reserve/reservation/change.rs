//! What the system is asked for, and the record of its answers.

use super::Reservation;
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::pages::reserve::runs::State;
use crate::protection::Protection;
use crate::range::PageRange;
use alloc::vec::Vec;
use core::ops::Range;

impl Reservation {
    /// Commits or protects pages none of which is carved out. After a failure the list says how they are.
    pub(super) fn grant(&mut self, range: &Range<usize>, to: Protection, operation: Operation) -> Result<()> {
        let Some((run, state)) = self.runs.within(range.clone()).next() else { return Ok(()) };
        let done = if run == *range { self.step(&run, state, to) } else { self.steps(range, to) };
        match done {
            Ok(()) => {
                self.runs.set(range.clone(), State::Committed(to));
                Ok(())
            }
            Err(failure) => Err(self.error(failure, range, operation)),
        }
    }

    /// One run after the other; if one is refused, those before it are made again what they were.
    pub(super) fn steps(
        &mut self,
        range: &Range<usize>,
        to: Protection,
    ) -> core::result::Result<(), Failure> {
        let count = self.runs.within(range.clone()).count();
        let mut before = Vec::new();
        let listed = before.try_reserve(count);
        listed
            .map_err(|_| Failure::new(ErrorKind::Exhausted).detail("no memory for the list of the parts"))?;
        before.extend(self.runs.within(range.clone()));
        self.runs.make_room_for(count)?;
        for (number, (run, state)) in before.iter().enumerate() {
            let Err(failure) = self.step(run, *state, to) else { continue };
            let mut left = failure.changed_part();
            for (run, state) in before.iter().take(number) {
                if let Some(pages) = self.undo(run, *state, to) {
                    let first = left.map_or(pages.first(), |left| left.first().min(pages.first()));
                    let last = left.map_or(pages.last(), |left| left.last().max(pages.last()));
                    left = PageRange::between(first, last);
                }
            }
            return Err(match left {
                Some(left) => failure.changed(left),
                None => failure,
            });
        }
        Ok(())
    }

    /// Lets a run grant something, and leaves the record to the caller; unless it fails: then the record is true, and the failure
    /// says what is not as it was.
    pub(super) fn step(
        &mut self,
        run: &Range<usize>,
        state: State,
        to: Protection,
    ) -> core::result::Result<(), Failure> {
        let Some(pages) = self.pages(run) else { return Ok(()) };
        match state {
            State::Committed(from) if from == to => Ok(()),
            State::Committed(from) => {
                // SAFETY: pages of the reservation's own, of which this call borrows all that could lend references.
                let Err(failure) = (unsafe { os::protect(pages, to) }) else { return Ok(()) };
                let Some(changed) = failure.changed_part() else { return Err(failure) };
                // SAFETY: as above.
                if unsafe { os::protect(changed, from) }.is_ok() {
                    return Err(failure.unchanged());
                }
                self.runs.set(self.offsets(changed), State::Unsettled);
                Err(failure)
            }
            // SAFETY: as above.
            State::Unsettled => unsafe { os::protect(pages, to) }.map_err(Failure::unchanged),
            State::Leaving => {
                self.take_memory(run)?;
                self.fill(pages, to)
            }
            State::Reserved => self.fill(pages, to),
            // Not found by `prepare`: never.
            State::Carved(_) => Err(Failure::new(ErrorKind::Occupied)),
        }
    }

    /// Gives memory to what is reserved.
    pub(super) fn fill(&mut self, pages: PageRange, to: Protection) -> core::result::Result<(), Failure> {
        // SAFETY: pages of the reservation's own, without memory: nobody can have a reference into them.
        let Err(failure) = (unsafe { os::commit(pages, to) }) else { return Ok(()) };
        match failure.changed_part() {
            None => Err(failure),
            Some(changed) => match self.take_memory(&self.offsets(changed)) {
                Ok(()) => Err(failure.unchanged()),
                Err(_) => {
                    self.runs.set(self.offsets(changed), State::Leaving);
                    Err(failure)
                }
            },
        }
    }

    /// Makes a run again what it was before a [`step`](Self::step) that succeeded; tells if that failed.
    pub(super) fn undo(&mut self, run: &Range<usize>, state: State, to: Protection) -> Option<PageRange> {
        let pages = self.pages(run)?;
        self.runs.set(run.clone(), State::Committed(to));
        let back = match state {
            State::Committed(from) if from == to => true,
            State::Committed(from) => {
                // SAFETY: pages of the reservation's own, of which this call borrows all that could lend references.
                match unsafe { os::protect(pages, from) } {
                    Ok(()) => {
                        self.runs.set(run.clone(), State::Committed(from));
                        true
                    }
                    Err(failure) => {
                        if let Some(changed) = failure.changed_part() {
                            self.runs.set(self.offsets(changed), State::Unsettled);
                        }
                        false
                    }
                }
            }
            State::Reserved | State::Leaving => self.take_memory(run).is_ok(),
            State::Unsettled | State::Carved(_) => false,
        };
        (!back).then_some(pages)
    }

    /// From the first to the last page in a range that has memory.
    pub(super) fn with_memory(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let mut held = self.runs.within(range.clone()).filter(|(_, state)| *state != State::Reserved);
        let (first, _) = held.next()?;
        let last = held.last().map_or(first.end, |(last, _)| last.end);
        Some(first.start..last)
    }

    /// Makes address space of pages none of which is carved out, and records it.
    pub(super) fn take_memory(&mut self, range: &Range<usize>) -> core::result::Result<(), Failure> {
        let Some(pages) = self.pages(range) else { return Ok(()) };
        if self.space.is_torn() && self.runs.within(range.clone()).any(|(_, state)| state == State::Leaving) {
            return Err(Failure::new(ErrorKind::Unmapped).detail("the system has lost the pages"));
        }
        // SAFETY: private anonymous pages of the reservation's own, of which this call borrows all that could lend references.
        match unsafe { os::decommit(pages) } {
            Ok(()) => {
                self.runs.set(range.clone(), State::Reserved);
                Ok(())
            }
            Err(failure) => {
                if let Some(changed) = failure.changed_part() {
                    self.runs.set(self.offsets(changed), State::Leaving);
                }
                if failure.kind() == ErrorKind::Unmapped {
                    self.space.tear();
                }
                Err(failure)
            }
        }
    }
}
