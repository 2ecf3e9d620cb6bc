//! What a guest allows, by number.

use super::{Error, Result};
use crate::life_lock::LifeLock;
use crate::os;
use alloc::vec::Vec;
use core::panic::RefUnwindSafe;

/// Where the bytes are that were allowed; `None` where nothing was.
type Slot = Option<(usize, usize)>;

/// Which of the two ways something is allowed in: each has numbers of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    ReadOnly,
    ReadWrite,
}

pub(super) struct Table {
    /// How many numbers there are in each way.
    numbers: usize,
    /// Those of the one way, then those of the other: `2 * numbers`. Nothing is allocated or freed while it is locked.
    slots: LifeLock<Vec<Slot>>,
}

// Nothing panics that is done while it is locked.
impl RefUnwindSafe for Table {}

impl Table {
    pub(super) fn new(numbers: usize) -> Result<Self> {
        let count = numbers.checked_mul(2).ok_or(Error::OutOfMemory)?;
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        slots.resize(count, None);
        Ok(Self { numbers, slots: LifeLock::new(slots) })
    }

    fn index(&self, way: Way, number: usize) -> Option<usize> {
        match way {
            _ if number >= self.numbers => None,
            Way::ReadOnly => Some(number),
            Way::ReadWrite => number.checked_add(self.numbers),
        }
    }

    fn with<R>(&self, look: impl FnOnce(&mut [Slot]) -> R) -> R {
        let (mut slots, deserted) = self.slots.open(os::life());
        if deserted {
            // One of them may be half changed, and name bytes that nobody has allowed, or that are nobody's.
            slots.fill(None);
        }
        look(&mut slots)
    }

    /// Puts something there: what was there before.
    pub(super) fn replace(&self, way: Way, number: usize, bytes: (usize, usize)) -> Result<Slot> {
        let index = self.index(way, number).ok_or(Error::LimitExceeded)?;
        self.with(|slots| slots.get_mut(index).map(|slot| slot.replace(bytes))).ok_or(Error::LimitExceeded)
    }

    pub(super) fn get(&self, way: Way, number: usize) -> Slot {
        let index = self.index(way, number)?;
        self.with(|slots| slots.get(index).copied())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem;

    #[test]
    fn the_two_ways_have_numbers_of_their_own() {
        let table = Table::new(2).unwrap();
        assert_eq!(table.replace(Way::ReadOnly, 1, (1, 2)), Ok(None));
        assert_eq!(table.replace(Way::ReadWrite, 1, (3, 4)), Ok(None));
        assert_eq!(table.replace(Way::ReadWrite, 0, (5, 6)), Ok(None));
        assert_eq!(table.replace(Way::ReadOnly, 1, (7, 8)), Ok(Some((1, 2))));
        assert_eq!(table.get(Way::ReadWrite, 1), Some((3, 4)));
        assert_eq!(table.get(Way::ReadOnly, 0), None);
        assert_eq!(table.replace(Way::ReadOnly, 2, (0, 0)), Err(Error::LimitExceeded));
        assert_eq!(table.get(Way::ReadOnly, 2), None);
    }

    #[test]
    fn a_table_too_large_is_an_error() {
        assert_eq!(Table::new(usize::MAX).err(), Some(Error::OutOfMemory));
        assert_eq!(Table::new(usize::MAX / 2).err(), Some(Error::OutOfMemory));
    }

    /// Trap: a fork while a registry's mutex is held deadlocks the child.
    #[test]
    fn a_table_that_a_parent_held_is_taken_over() {
        let table = Table::new(1).unwrap();
        table.replace(Way::ReadOnly, 0, (1, 2)).unwrap();
        mem::forget(table.slots.open(os::life().wrapping_add(1)));
        assert_eq!(table.get(Way::ReadOnly, 0), None);
        assert_eq!(table.replace(Way::ReadOnly, 0, (3, 4)), Ok(None));
        assert_eq!(table.get(Way::ReadOnly, 0), Some((3, 4)));
    }
}
