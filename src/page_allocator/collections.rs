//! The trait by which collections ask.

use super::PageAllocator;
use super::change::is_aligned;
use super::shape::Shape;
use crate::error::Result;
use allocator_api2::alloc::{AllocError, Allocator};
use core::alloc::Layout;
use core::ptr::{self, NonNull};

type Answer = core::result::Result<NonNull<[u8]>, AllocError>;

/// Where nothing is, as `Layout::dangling`.
fn nothing(layout: Layout) -> NonNull<[u8]> {
    let place = NonNull::new(ptr::without_provenance_mut(layout.align())).unwrap_or(NonNull::dangling());
    NonNull::slice_from_raw_parts(place, 0)
}

impl PageAllocator {
    /// The bytes of an allocation that have memory.
    #[inline]
    fn slice(&self, place: NonNull<u8>, layout: Layout) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(place, self.committed(layout))
    }

    /// Memory as [`Allocator::allocate`] gives it (zeroed, at least `layout.size()` bytes in whole pages), or an error that says why
    /// not.
    ///
    /// It is given back by [`deallocate`](Allocator::deallocate). Of no bytes there is nothing to be given back.
    ///
    /// # Cost
    ///
    /// See [`PageAllocator`].
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): with guard pages and what is reserved, it would be more than
    ///   `isize::MAX` bytes; there is no such NUMA node.
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): no memory, address space or mapping is left; with
    ///   [`locked`](Self::locked), the process may not lock so much. [`Error::limit`](crate::Error::limit) says more.
    /// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): locks or
    ///   NUMA nodes, where these are not to be had.
    ///
    /// # Examples
    ///
    /// ```
    /// use allocator_api2::alloc::{Allocator, Layout};
    /// use folio::{ErrorKind, PageAllocator};
    ///
    /// let pages = PageAllocator::new();
    /// let layout = Layout::from_size_align(100_000, 1 << 16)?;
    /// let memory = pages.try_allocate(layout)?;
    /// assert!(memory.len() >= 100_000 && memory.cast::<u8>().addr().get() % (1 << 16) == 0);
    /// // SAFETY: given for this layout, and used no more.
    /// unsafe { pages.deallocate(memory.cast(), layout) };
    ///
    /// let all = Layout::array::<u8>(isize::MAX as usize)?;
    /// println!("{}", pages.try_allocate(all).unwrap_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_allocate(&self, layout: Layout) -> Result<NonNull<[u8]>> {
        if layout.size() == 0 {
            return Ok(nothing(layout));
        }
        self.make(layout).map(|place| self.slice(place, layout))
    }

    /// Makes an allocation larger, as [`Allocator::grow`] does, or says why not; then it is as it was.
    ///
    /// Bytes behind those that the old allocation had memory for ([`committed`](Self::committed)) are zeroes.
    ///
    /// # Cost
    ///
    /// See [`PageAllocator`].
    ///
    /// # Errors
    ///
    /// As [`try_allocate`](Self::try_allocate).
    ///
    /// # Safety
    ///
    /// As [`Allocator::grow`]: an allocation of this allocator (or an equal one), that `old_layout` fits, and `new_layout` is not
    /// smaller. After success it is used by what is returned only.
    ///
    /// # Examples
    ///
    /// ```
    /// use allocator_api2::alloc::{Allocator, Layout};
    /// use folio::PageAllocator;
    ///
    /// let pages = PageAllocator::new().reserved(64 << 20);
    /// let (small, large) = (Layout::new::<[u8; 1000]>(), Layout::new::<[u8; 64 << 20]>());
    /// let memory = pages.try_allocate(small)?.cast();
    /// // SAFETY: given for this layout.
    /// let grown = unsafe { pages.try_grow(memory, small, large)? };
    /// assert_eq!(grown.cast(), memory); // it was reserved
    /// // SAFETY: given for this layout, and used no more.
    /// unsafe { pages.deallocate(memory, large) };
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub unsafe fn try_grow(
        &self,
        place: NonNull<u8>,
        old_layout: Layout,
        new_layout: Layout,
    ) -> Result<NonNull<[u8]>> {
        if old_layout.size() == 0 || new_layout.size() == 0 {
            return self.try_allocate(new_layout);
        }
        // SAFETY: the caller's promise.
        let place = unsafe { self.lengthen(place, old_layout, new_layout) }?;
        Ok(self.slice(place, new_layout))
    }

    /// # Safety
    ///
    /// As [`Allocator::shrink`].
    unsafe fn try_shrink(&self, place: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>> {
        if new.size() == 0 {
            // SAFETY: the caller's promise.
            unsafe { self.deallocate(place, old) };
            return Ok(nothing(new));
        }
        if is_aligned(place, new) {
            // SAFETY: the caller's promise.
            unsafe { self.shorten(place, old, new) }?;
            return Ok(self.slice(place, new));
        }
        let failed =
            |failure: crate::error::Failure| failure.during(crate::error::Operation::Resize, None, None);
        let had = Shape::of(self, old.size()).map_err(failed)?;
        let has = Shape::of(self, new.size()).map_err(failed)?;
        // SAFETY: the caller's promise.
        let place = unsafe { self.relocate(place, (old, had), (new, has)) }?;
        Ok(self.slice(place, new))
    }
}

// SAFETY: each allocation is a mapping of its own, which stays until it is given back; copies of the allocator are the same, and so are
// equal ones.
unsafe impl Allocator for PageAllocator {
    #[inline]
    fn allocate(&self, layout: Layout) -> Answer {
        self.try_allocate(layout).map_err(|_| AllocError)
    }

    /// What comes from the system is zeroed.
    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Answer {
        self.allocate(layout)
    }

    #[inline]
    unsafe fn deallocate(&self, place: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: the caller's promise.
            unsafe { self.give_back(place, layout) };
        }
    }

    unsafe fn grow(&self, place: NonNull<u8>, old_layout: Layout, new_layout: Layout) -> Answer {
        // SAFETY: the caller's promise.
        unsafe { self.try_grow(place, old_layout, new_layout) }.map_err(|_| AllocError)
    }

    unsafe fn grow_zeroed(&self, place: NonNull<u8>, old_layout: Layout, new_layout: Layout) -> Answer {
        // SAFETY: the caller's promise.
        let grown = unsafe { self.grow(place, old_layout, new_layout) }?;
        // Of the pages that were there, the rest may hold anything; those that are new hold zeroes.
        let dirty = self.committed(old_layout).min(new_layout.size()).saturating_sub(old_layout.size());
        if dirty > 0 {
            // SAFETY: inside the allocation, whose size is not less than the old one (the caller's promise).
            let rest = unsafe { grown.cast::<u8>().add(old_layout.size()) };
            // SAFETY: as above: up to the new size.
            unsafe { rest.write_bytes(0, dirty) };
        }
        Ok(grown)
    }

    unsafe fn shrink(&self, place: NonNull<u8>, old_layout: Layout, new_layout: Layout) -> Answer {
        if old_layout.size() == 0 {
            return Ok(nothing(new_layout));
        }
        // SAFETY: the caller's promise.
        unsafe { self.try_shrink(place, old_layout, new_layout) }.map_err(|_| AllocError)
    }
}
