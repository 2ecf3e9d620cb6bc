//! An allocation as the mapping that it is.

use super::PageAllocator;
use super::shape::Shape;
use core::alloc::Layout;

impl PageAllocator {
    /// The mapping of an allocation: bytes below its first one, bytes with memory, bytes behind these that nobody may touch; `None` where
    /// more than unmapping has to be done at its end.
    pub(crate) fn extent(&self, layout: Layout) -> Option<(usize, usize, usize)> {
        let shape = Shape::of(self, layout.size()).ok().filter(|_| !self.is_locked())?;
        let behind = shape.room.checked_sub(shape.committed)?.checked_add(shape.after)?;
        Some((shape.before, shape.committed, behind))
    }
}
