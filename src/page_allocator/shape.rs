//! What an allocation takes up: from the options and the layout alone, so that it need not be written down.

use super::PageAllocator;
use crate::error::Failure;
use crate::range::PageLen;
use core::alloc::Layout;

/// How an allocation lies in its mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes with memory.
    pub(super) committed: usize,
    /// Bytes of address space behind the first one, the guard pages not counted.
    pub(super) room: usize,
    /// All that is mapped.
    pub(super) whole: PageLen,
}

impl Shape {
    pub(super) fn of(allocator: &PageAllocator, layout: Layout) -> Result<Self, Failure> {
        let whole = PageLen::covering(layout.size().max(allocator.reserved))?;
        Ok(Self { committed: whole.bytes(), room: whole.bytes(), whole })
    }
}
