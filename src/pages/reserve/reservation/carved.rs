//! What is carved out, and whether it still is.

use super::{CARVED, Reservation, Slot, carved, is_spoiled};
use crate::error::{ErrorKind, Operation, Result};
use crate::pages::origin::Origin;
use crate::pages::reserve::runs::State;
use alloc::sync::Arc;
use core::ops::Range;

impl Reservation {
    pub(super) fn occupy(&mut self, origin: Arc<Origin>) -> usize {
        let slot = self.free;
        match self.slots.get_mut(slot) {
            Some(free) => {
                if let Slot::Free(next) = core::mem::replace(free, Slot::Used(origin)) {
                    self.free = next;
                }
                slot
            }
            None => {
                self.slots.push(Slot::Used(origin));
                self.slots.len().saturating_sub(1)
            }
        }
    }

    pub(super) fn vacate(&mut self, slot: usize) {
        if let Some(used) = self.slots.get_mut(slot) {
            *used = Slot::Free(self.free);
            self.free = slot;
        }
    }

    /// The first run in a range that is carved out, and its slot.
    pub(super) fn next_carved(&self, range: &Range<usize>) -> Option<(Range<usize>, usize)> {
        self.runs.within(range.clone()).find_map(carved)
    }

    /// The first run that is left of what was carved out together.
    pub(super) fn run_of(&self, slot: usize) -> Option<Range<usize>> {
        let Some(Slot::Used(origin)) = self.slots.get(slot) else { return None };
        let Origin::Carved(whole) = &**origin else { return None };
        let mut runs = self.runs.within(self.offsets(whole.pages())).filter_map(carved);
        runs.find_map(|(run, of)| (of == slot).then_some(run))
    }

    /// Finds out whether a range is free to be changed, what was carved out of it and dropped included; and makes room for the
    /// change in the list.
    pub(super) fn prepare(&mut self, range: &Range<usize>, operation: Operation) -> Result<()> {
        while let Some((run, slot)) = self.next_carved(range) {
            let origin = match self.slots.get_mut(slot) {
                Some(Slot::Used(origin)) => Arc::get_mut(origin),
                _ => None,
            };
            // The only share: all parts have ended, and what they did before that is seen.
            let Some(origin) = origin else {
                return Err(self.page_error(run.start, operation, ErrorKind::Occupied, CARVED));
            };
            let state = if is_spoiled(origin) { State::Leaving } else { State::Reserved };
            while let Some(run) = self.run_of(slot) {
                self.runs.set(run, state);
            }
            self.vacate(slot);
        }
        self.runs.make_room().map_err(|failure| self.error(failure, range, operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MmapMut, page};

    /// Whether it is dropped or taken back, in parts or as a whole: what was kept of it is kept no longer.
    #[test]
    fn slots_are_used_again() {
        let size = page::size();
        let mut room = Reservation::new(4 * size).unwrap();
        for _ in 0..100 {
            let mut low: MmapMut = room.carve(..3 * size).unwrap();
            let other: MmapMut = room.carve(3 * size..).unwrap();
            let high = low.split_off(size).unwrap();
            room.take_back(low).map_err(|(_, error)| error).unwrap();
            room.take_back(high).map_err(|(_, error)| error).unwrap();
            drop(other);
            room.decommit(..).unwrap();
            assert!(room.slots.len() <= 2 && room.slots.iter().all(|slot| matches!(slot, Slot::Free(_))));
            assert_eq!(Arc::strong_count(&room.space), 1);
        }
    }
}
