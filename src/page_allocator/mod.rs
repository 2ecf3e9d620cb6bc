//! Collections' memory from pages of their own: an allocator without state, for each allocation a mapping.

mod shape;

use crate::error::{Failure, Operation, Result};
use crate::os;
use crate::protection::Protection;
use allocator_api2::alloc::{AllocError, Allocator};
use core::alloc::Layout;
use core::ptr::NonNull;
use shape::Shape;

/// Memory for collections, in pages of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageAllocator {
    /// How many bytes of address space each allocation has at least.
    reserved: usize,
}

impl PageAllocator {
    /// Pages as they are needed.
    pub const fn new() -> Self {
        Self { reserved: 0 }
    }

    /// With at least `len` bytes of address space for each allocation.
    #[must_use]
    pub const fn reserved(mut self, len: usize) -> Self {
        self.reserved = len;
        self
    }

    /// How many bytes an allocation of this layout could grow to where it lies.
    pub(crate) fn room(&self, layout: Layout) -> usize {
        Shape::of(self, layout).map_or(0, |shape| shape.room)
    }

    /// How many bytes of an allocation have memory: those that were asked for, up to whole pages.
    pub(crate) fn committed(&self, layout: Layout) -> usize {
        Shape::of(self, layout).map_or(0, |shape| shape.committed)
    }

    /// Zeroed memory for `layout.size()` bytes, not 0: as many as [`committed`](Self::committed) says.
    pub(crate) fn make(&self, layout: Layout) -> Result<NonNull<u8>> {
        let failed = |failure: Failure| failure.during(Operation::Allocate, None, None);
        let shape = Shape::of(self, layout).map_err(failed)?;
        os::map(shape.whole, Protection::READ_WRITE).map_err(failed)
    }

    /// Makes an allocation larger, where it lies if there is room; what is new is zeroes from `committed(old)` on.
    ///
    /// # Safety
    ///
    /// What this allocator (or one that is equal) gave for `old`, and is used no more, but by the place returned; `new` is larger, of
    /// the same alignment. After an error all is as it was.
    pub(crate) unsafe fn lengthen(
        &self,
        place: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<u8>> {
        let longer = self.make(new)?;
        // SAFETY: two mappings, at least that long.
        unsafe { core::ptr::copy_nonoverlapping(place.as_ptr(), longer.as_ptr(), old.size()) };
        // SAFETY: the caller's promise.
        unsafe { self.give_back(place, old) };
        Ok(longer)
    }

    /// Makes an allocation smaller where it lies: its memory behind `committed(new)` is given back, its address space stays.
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen), but that `new` is smaller, and not 0.
    pub(crate) unsafe fn shorten(&self, _place: NonNull<u8>, _old: Layout, _new: Layout) -> Result<()> {
        Ok(())
    }

    /// Gives the memory of whole pages back behind the first `kept` bytes, which read as zeroes then, and can be written to again
    /// without asking: they stay committed.
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen); what is behind `kept` bytes is not used meanwhile, and has lost its content.
    pub(crate) unsafe fn discard(&self, _place: NonNull<u8>, _layout: Layout, _kept: usize) -> Result<()> {
        Ok(())
    }

    /// Ends an allocation. (What the system refuses to take is told as drops of mappings tell it.)
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen), and it is used no more.
    pub(crate) unsafe fn give_back(&self, place: NonNull<u8>, layout: Layout) {
        let Ok(shape) = Shape::of(self, layout) else { return };
        let Ok(range) = crate::range::PageRange::touching(place.addr().get(), shape.whole.bytes()) else {
            return;
        };
        // SAFETY: the caller's promise.
        let _gone = unsafe { os::unmap(range) };
    }
}

impl Default for PageAllocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: each allocation is a mapping of its own, which stays until it is given back; copies of the allocator are the same.
unsafe impl Allocator for PageAllocator {
    fn allocate(&self, layout: Layout) -> core::result::Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            let place = NonNull::new(core::ptr::without_provenance_mut(layout.align())).ok_or(AllocError)?;
            return Ok(NonNull::slice_from_raw_parts(place, 0));
        }
        let place = self.make(layout).map_err(|_| AllocError)?;
        Ok(NonNull::slice_from_raw_parts(place, self.committed(layout)))
    }

    unsafe fn deallocate(&self, place: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: the caller's promise.
            unsafe { self.give_back(place, layout) };
        }
    }
}
