//! What an allocation takes up: from the options and the size alone, so that it need not be written down.
//!
//! An allocation may be given back with any size from the one that was asked for to the one that was given (`Allocator`, "memory
//! fitting"): all of these have the same shape, since each decision is made about whole pages.

use super::PageAllocator;
use crate::error::Failure;
use crate::os;
use crate::range::PageLen;

/// From so many bytes of address space on, huge pages are asked for: two of them.
pub(super) const HUGE_FROM: usize = 4 << 20;

/// How an allocation lies in its mapping: guard pages, room, guard pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// Bytes that nobody may touch, below the first one of the allocation.
    pub(super) before: usize,
    /// Bytes with memory, from the first one on; not 0.
    pub(super) committed: usize,
    /// Bytes of address space from the first one on: not less.
    pub(super) room: usize,
    /// Bytes that nobody may touch, behind the room.
    pub(super) after: usize,
    /// Whether it may be made of huge pages, and of what size these are.
    pub(super) huge: Option<usize>,
}

fn too_long() -> Failure {
    Failure::invalid("longer than any piece of memory can be: isize::MAX bytes")
}

/// Up to whole pages; 0 stays 0.
fn pages(len: usize) -> Result<usize, Failure> {
    if len == 0 { Ok(0) } else { PageLen::covering(len).map(PageLen::bytes) }
}

/// Up to whole huge pages, if it is long enough for these.
fn large(len: usize, unit: Option<usize>) -> Result<usize, Failure> {
    match unit {
        Some(unit) if len >= HUGE_FROM => len.checked_next_multiple_of(unit).ok_or_else(too_long),
        _ => Ok(len),
    }
}

impl Shape {
    /// The shape of an allocation of `size` bytes, not 0.
    #[inline]
    pub(super) fn of(allocator: &PageAllocator, size: usize) -> Result<Self, Failure> {
        // Always the same: an answer that depended on what the system can tell for now would not do.
        let unit = if allocator.wants_huge() { os::transparent_unit() } else { None };
        let committed = large(PageLen::covering(size)?.bytes(), unit)?;
        let room = committed.max(large(pages(allocator.reserved)?, unit)?);
        let (before, after) = (pages(allocator.guard_before.bytes())?, pages(allocator.guard_after.bytes())?);
        let shape = Self { before, committed, room, after, huge: unit.filter(|_| room >= HUGE_FROM) };
        shape.whole().map(|_| shape)
    }

    /// All that is mapped.
    #[inline]
    pub(super) fn whole(&self) -> Result<PageLen, Failure> {
        let whole = self.before.checked_add(self.room).and_then(|sum| sum.checked_add(self.after));
        PageLen::covering(whole.ok_or_else(too_long)?)
    }

    /// Whether it is nothing but memory.
    pub(super) fn is_plain(&self) -> bool {
        self.before == 0 && self.after == 0 && self.room == self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page;
    use proptest::prelude::*;

    proptest! {
        /// Whoever is given more than was asked for may give it back by any size between the two.
        #[test]
        fn all_sizes_that_fit_have_the_same_shape(
            size in 1_usize..(40 << 20),
            reserved in prop_oneof![Just(0), 1_usize..(60 << 20)],
            huge: bool,
            guards in (0_usize..100_000, 0_usize..100_000),
            between in 0.0..1.0_f64,
        ) {
            let allocator = PageAllocator::new()
                .reserved(reserved)
                .huge_pages(huge)
                .guard_before(guards.0)
                .guard_after(guards.1);
            let shape = Shape::of(&allocator, size).unwrap();
            prop_assert!(shape.committed >= size && shape.room >= reserved && shape.room >= shape.committed);
            prop_assert!(shape.before >= guards.0 && shape.before < guards.0 + page::size() + 4096);
            let more = ((shape.committed - size) as f64 * between) as usize;
            for fits in [size + more, shape.committed, (size + 1).min(shape.committed)] {
                prop_assert_eq!(Shape::of(&allocator, fits).unwrap(), shape);
            }
        }

        /// Trap: doubling growth left the reservation at the last step. Up to the last byte asked for there is room.
        #[test]
        fn what_is_reserved_can_be_used_to_the_last_byte(reserved in 1_usize..(60 << 20), size in 1_usize..(60 << 20)) {
            let allocator = PageAllocator::new().reserved(reserved);
            let size = size.min(reserved);
            let (whole, part) = (Shape::of(&allocator, reserved).unwrap(), Shape::of(&allocator, size).unwrap());
            prop_assert_eq!((whole.room, whole.huge), (part.room, part.huge));
            prop_assert_eq!(whole.committed, whole.room);
        }
    }

    #[test]
    fn nothing_wraps() {
        let most = isize::MAX.unsigned_abs();
        for allocator in [
            PageAllocator::new(),
            PageAllocator::new().huge_pages(false),
            PageAllocator::new().reserved(usize::MAX),
            PageAllocator::new().reserved(most),
            PageAllocator::new().guard_before(usize::MAX).guard_after(usize::MAX),
        ] {
            for size in [most, most - 1, most - (2 << 20), usize::MAX, usize::MAX - 4095] {
                if let Ok(shape) = Shape::of(&allocator, size) {
                    assert!(shape.committed >= size && shape.whole().unwrap().bytes() <= most);
                }
            }
        }
        assert!(Shape::of(&PageAllocator::new().reserved(usize::MAX), 1).is_err());
    }
}
