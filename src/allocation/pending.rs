//! Pages that could not be given back when they were dropped.
//!
//! Unmapping the middle of what the kernel has merged with its neighbours takes one mapping more, and fails when there are as many
//! as a process may have. The pages wait here until the next allocation or drop.

use crate::os;
use crate::range::PageRange;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A range that waits; `first` is 1, which no page begins at, while the slot is being written or emptied, and 0 when it is free.
struct Slot {
    first: AtomicUsize,
    last: AtomicUsize,
    /// The thread that left them there.
    #[cfg(test)]
    by: AtomicUsize,
}

const FREE: usize = 0;
const BUSY: usize = 1;

const SLOTS: usize = 64;

static WAITING: [Slot; SLOTS] = [const {
    Slot {
        first: AtomicUsize::new(FREE),
        last: AtomicUsize::new(0),
        #[cfg(test)]
        by: AtomicUsize::new(0),
    }
}; SLOTS];

/// Whether there may be any.
static ANY: AtomicBool = AtomicBool::new(false);

/// Keeps a range for later; false when too many wait already.
///
/// # Safety
///
/// The pages belong to nobody, and will belong to nobody else before they are unmapped.
pub(super) unsafe fn keep(range: PageRange) -> bool {
    for slot in &WAITING {
        if slot.first.compare_exchange(FREE, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            slot.last.store(range.last(), Ordering::Relaxed);
            #[cfg(test)]
            slot.by.store(os::inject::this_thread(), Ordering::Relaxed);
            slot.first.store(range.first(), Ordering::Release);
            // Not a store: of those whoever takes the flag down would see the last one only, and with it that slot only.
            ANY.swap(true, Ordering::AcqRel);
            return true;
        }
    }
    false
}

/// Tries again to give back what waits. Costs nothing to speak of when nothing does.
#[inline]
pub(crate) fn give_back() {
    if ANY.load(Ordering::Relaxed) {
        try_all();
    }
}

#[cold]
fn try_all() {
    // Whoever keeps one from here on sets it again; what was kept before is seen below. (A store could become visible after the
    // slots were looked at, and take down the flag for one that was kept in between.)
    ANY.swap(false, Ordering::AcqRel);
    for slot in &WAITING {
        let first = slot.first.load(Ordering::Acquire);
        if first == FREE || first == BUSY {
            continue;
        }
        // Other tests' pages are none of the calls that a test counts, or lets fail.
        #[cfg(test)]
        if os::inject::is_counting() && slot.by.load(Ordering::Relaxed) != os::inject::this_thread() {
            ANY.swap(true, Ordering::AcqRel);
            continue;
        }
        if slot.first.compare_exchange(first, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            continue;
        }
        let range = PageRange::between(first, slot.last.load(Ordering::Relaxed));
        // SAFETY: `keep`'s caller gave the pages up, and this thread alone has taken them from the slot.
        let done = range.is_none_or(|range| unsafe { os::unmap(range) }.is_ok());
        slot.first.store(if done { FREE } else { first }, Ordering::Release);
        if !done {
            ANY.swap(true, Ordering::AcqRel);
        }
    }
}
