//! Of what mappings are parts, and what becomes of the addresses when a part ends.

use super::reserve::Space;
use crate::allocation::give_up;
use crate::error::{ErrorKind, Failure, Operation};
use crate::guard::report;
use crate::os;
use crate::range::PageRange;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the parts of a mapping share, for as long as any part lives.
#[derive(Debug)]
pub(super) enum Origin {
    /// What `os::map` once gave as a whole.
    Whole(Whole),
    /// What was once carved out of a reservation.
    Carved(Carved),
    /// Some of the latter, of one reservation, of which parts have been merged.
    Joint(Vec<Arc<Origin>>),
}

#[derive(Debug)]
pub(super) struct Whole {
    pages: PageRange,
    /// What the system wants kept for as long as there are pages.
    attached: os::Attached,
    /// The address up to which its last part can become longer, into what it has behind itself; 0: not at all.
    room_end: AtomicUsize,
}

impl Drop for Whole {
    fn drop(&mut self) {
        // SAFETY: the last part is gone.
        if let Err(failure) = unsafe { os::release(self.pages) } {
            give_up(self.pages, failure);
        }
    }
}

/// Pages carved out of a reservation.
#[derive(Debug)]
pub(super) struct Carved {
    /// The reservation's addresses.
    space: Arc<Space>,
    pages: PageRange,
    /// Whether the memory of some part could not be given back when it ended.
    spoiled: AtomicBool,
}

impl Carved {
    /// The pages that were carved out together.
    pub(super) fn pages(&self) -> PageRange {
        self.pages
    }

    /// Whether some of the pages may still have memory, after all parts have ended.
    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed)
    }
}

impl Origin {
    pub(super) fn whole(pages: PageRange, attached: os::Attached) -> Self {
        Self::Whole(Whole { pages, attached, room_end: AtomicUsize::new(0) })
    }

    /// Leaves room for the last part, up to an address; of what is a reservation's, never.
    pub(super) fn set_room_end(&mut self, room_end: usize) {
        if let Self::Whole(whole) = self {
            *whole.room_end.get_mut() = room_end;
        }
    }

    /// There is no room any more beyond what there is: pages in it may hold what they held before.
    #[cold]
    pub(super) fn end_room(&self) {
        if let Self::Whole(whole) = self {
            // Not 0: a mapping that had room is one that does not grow where there is none.
            whole.room_end.fetch_min(1, Ordering::Relaxed);
        }
    }

    /// The address up to which the last part can become longer; 0: not at all.
    pub(super) fn room_end(&self) -> usize {
        match self {
            // Only whoever has the last part asks, or changes it.
            Self::Whole(whole) => whole.room_end.load(Ordering::Relaxed),
            Self::Carved(_) | Self::Joint(_) => 0,
        }
    }

    /// How many bytes `os::map` gave as a whole; `None` of what is a reservation's.
    pub(super) fn whole_len(&self) -> Option<usize> {
        match self {
            Self::Whole(whole) => Some(whole.pages.len()),
            Self::Carved(_) | Self::Joint(_) => None,
        }
    }

    /// What the system wants kept.
    pub(super) fn attached(&self) -> &os::Attached {
        match self {
            Self::Whole(whole) => &whole.attached,
            Self::Carved(_) | Self::Joint(_) => &os::Attached::NOTHING,
        }
    }

    pub(super) fn carved(space: Arc<Space>, pages: PageRange) -> Self {
        Self::Carved(Carved { space, pages, spoiled: AtomicBool::new(false) })
    }

    /// The reservation that all of it comes from.
    pub(super) fn space(&self) -> Option<&Arc<Space>> {
        match self {
            Self::Whole(_) => None,
            Self::Carved(carved) => Some(&carved.space),
            Self::Joint(parts) => parts.first()?.space(),
        }
    }

    /// Ends a part.
    ///
    /// # Safety
    ///
    /// The pages are a part's, which ends here.
    pub(super) unsafe fn unmap_part(&self, pages: PageRange) -> Result<(), Failure> {
        match self {
            // SAFETY: the caller's promise.
            Self::Whole(_) => unsafe { os::unmap_part(pages) },
            Self::Carved(_) | Self::Joint(_) => {
                // SAFETY: the caller's promise; what a reservation has is private and anonymous.
                if let Err(failure) = unsafe { os::decommit(pages) } {
                    self.spoil(pages, failure);
                }
                Ok(())
            }
        }
    }

    /// The addresses stay the reservation's, which tries again.
    #[cold]
    fn spoil(&self, pages: PageRange, failure: Failure) {
        self.mark_spoiled(failure.kind());
        report(&failure.during(Operation::Decommit, Some(pages), None));
    }

    /// Says to the reservation that memory of a part could not be given back, for such a reason.
    #[cold]
    pub(super) fn mark_spoiled(&self, kind: ErrorKind) {
        if let (Some(space), ErrorKind::Unmapped) = (self.space(), kind) {
            space.tear();
        }
        match self {
            Self::Whole(_) => {}
            // Read by the reservation after it has seen that the last part is gone, which comes after this.
            Self::Carved(carved) => carved.spoiled.store(true, Ordering::Relaxed),
            Self::Joint(parts) => parts.iter().for_each(|part| part.mark_spoiled(kind)),
        }
    }
}

/// Whether two parts come from what `os::map` gave as one.
pub(super) fn are_one(own: &Arc<Origin>, other: &Arc<Origin>) -> bool {
    if Arc::ptr_eq(own, other) {
        return true;
    }
    match (own.space(), other.space()) {
        (Some(own), Some(other)) => Arc::ptr_eq(own, other),
        _ => false,
    }
}

fn parts(origin: &Arc<Origin>) -> &[Arc<Origin>] {
    match &**origin {
        Origin::Joint(parts) => parts,
        _ => core::slice::from_ref(origin),
    }
}

fn holds(origin: &Arc<Origin>, part: &Arc<Origin>) -> bool {
    parts(origin).iter().any(|held| Arc::ptr_eq(held, part))
}

/// Makes `own` hold what both hold, which [are one](are_one).
pub(super) fn unite(own: &mut Arc<Origin>, other: &Arc<Origin>) -> Result<(), Failure> {
    let no_room = |_| Failure::new(ErrorKind::Exhausted).detail("no memory for the list of what was merged");
    if parts(other).iter().all(|part| holds(own, part)) {
        return Ok(());
    }
    if parts(own).iter().all(|part| holds(other, part)) {
        *own = Arc::clone(other);
        return Ok(());
    }
    if let Some(Origin::Joint(held)) = Arc::get_mut(own) {
        held.try_reserve(parts(other).len()).map_err(no_room)?;
        for part in parts(other) {
            if !held.iter().any(|held| Arc::ptr_eq(held, part)) {
                held.push(Arc::clone(part));
            }
        }
        return Ok(());
    }
    let mut both = Vec::new();
    both.try_reserve(parts(own).len().saturating_add(parts(other).len())).map_err(no_room)?;
    both.extend_from_slice(parts(own));
    both.extend(parts(other).iter().filter(|part| !holds(own, part)).map(Arc::clone));
    *own = Arc::new(Origin::Joint(both));
    Ok(())
}
