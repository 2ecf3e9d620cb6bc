//! What a reservation's addresses are used for: pure interval arithmetic, without a system call.

use crate::error::{ErrorKind, Failure};
use crate::protection::Protection;
use alloc::vec::Vec;
use core::ops::Range;

/// What pages of a reservation are, as it keeps count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Address space only.
    Reserved,
    /// Memory of the reservation's own, that grants this.
    Committed(Protection),
    /// Somebody else's, by the slot of its origin.
    Carved(usize),
    /// Memory of which it is not known what it grants: a change was refused half-way, twice over.
    Unsettled,
    /// To be address space only: the system has refused to take the memory.
    Leaving,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    start: usize,
    state: State,
}

/// The state of each byte from 0 to a length.
///
/// Invariants: (1) the first run starts at 0; (2) each starts behind the one before and below `len`; (3) two neighbours differ.
#[derive(Debug)]
pub(super) struct Runs {
    len: usize,
    runs: Vec<Run>,
}

impl Runs {
    pub(super) fn new(len: usize) -> Result<Self, Failure> {
        let mut runs = Self { len, runs: Vec::new() };
        runs.make_room()?;
        runs.runs.push(Run { start: 0, state: State::Reserved });
        Ok(runs)
    }

    /// As many as an operation adds at most: it cuts runs at its two ends, and at those of what the system leaves half done.
    const ROOM: usize = 4;

    /// Makes room for one operation, so that nothing allocates between the system's answer and the record of it.
    pub(super) fn make_room(&mut self) -> Result<(), Failure> {
        self.make_room_for(0)
    }

    /// The same for an operation that may leave each of so many runs half done.
    pub(super) fn make_room_for(&mut self, runs: usize) -> Result<(), Failure> {
        self.runs
            .try_reserve(runs.saturating_mul(2).saturating_add(Self::ROOM))
            .map_err(|_| Failure::new(ErrorKind::Exhausted).detail("no memory for the list of the parts"))
    }

    /// How many runs there are.
    pub(super) fn count(&self) -> usize {
        self.runs.len()
    }

    /// The runs that touch a range, clipped to it, ascending.
    pub(super) fn within(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, State)> + '_ {
        let behind = self.runs.partition_point(|run| run.start <= range.start);
        let rest = self.runs.get(behind.saturating_sub(1)..).unwrap_or_default();
        let ends = rest.iter().skip(1).map(|run| run.start).chain(core::iter::once(self.len));
        rest.iter().zip(ends).map_while(move |(run, end)| {
            let (start, end) = (run.start.max(range.start), end.min(range.end));
            (start < end).then_some((start..end, run.state))
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Range<usize>, State)> + '_ {
        self.within(0..self.len)
    }

    /// Gives a range another state. After [`make_room`](Self::make_room), it does not allocate.
    pub(super) fn set(&mut self, range: Range<usize>, state: State) {
        if range.start >= range.end || range.end > self.len {
            return;
        }
        let first = self.runs.partition_point(|run| run.start < range.start);
        let after = self.runs.partition_point(|run| run.start <= range.end);
        // What comes behind the range, and whether it needs a run of its own.
        let behind = after.checked_sub(1).and_then(|last| self.runs.get(last)).map(|run| run.state);
        let before = first.checked_sub(1).and_then(|last| self.runs.get(last)).map(|run| run.state);
        let own = (before != Some(state)).then_some(Run { start: range.start, state });
        let next = behind
            .filter(|&behind| range.end < self.len && behind != state)
            .map(|state| Run { start: range.end, state });
        let mut at = first;
        for run in [own, next].into_iter().flatten() {
            match self.runs.get_mut(at) {
                Some(old) if at < after => *old = run,
                _ => self.runs.insert(at, run),
            }
            at = at.saturating_add(1);
        }
        if at < after {
            drop(self.runs.drain(at..after));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 24;

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Reserved),
            Just(State::Unsettled),
            Just(State::Committed(Protection::READ)),
            Just(State::Committed(Protection::READ_WRITE)),
            (0..2_usize).prop_map(State::Carved),
        ]
    }

    proptest! {
        #[test]
        fn runs_are_what_an_array_of_states_is(
            steps in prop::collection::vec((0..=LEN, 0..=LEN, state()), 1..40),
            window in (0..=LEN, 0..=LEN),
        ) {
            let mut runs = Runs::new(LEN).unwrap();
            let mut model = [State::Reserved; LEN];
            for (a, b, state) in steps {
                let range = a.min(b)..a.max(b);
                runs.make_room().unwrap();
                let (count, capacity) = (runs.count(), runs.runs.capacity());
                runs.set(range.clone(), state);
                model[range].fill(state);
                prop_assert!(runs.count() <= count + 2);
                prop_assert_eq!(runs.runs.capacity(), capacity);
                prop_assert_eq!(runs.runs[0].start, 0);
                prop_assert!(runs.runs.windows(2).all(|two| two[0].start < two[1].start && two[0].state != two[1].state));
                prop_assert!(runs.runs.last().unwrap().start < LEN);
                let mut next = 0;
                for (run, state) in runs.all() {
                    prop_assert_eq!(run.start, next);
                    next = run.end;
                    prop_assert!(model[run].iter().all(|&known| known == state));
                }
                prop_assert_eq!(next, LEN);
                let window = window.0.min(window.1)..window.0.max(window.1);
                let bytes: Vec<State> =
                    runs.within(window.clone()).flat_map(|(run, state)| run.map(move |_| state)).collect();
                prop_assert_eq!(&bytes[..], &model[window]);
            }
        }
    }
}
