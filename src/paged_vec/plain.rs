//! Elements of plain data: pages as a vector, and back.

use super::PagedVec;
use crate::error::{Error, Failure, Operation, Result};
use crate::page_allocator::PageAllocator;
use crate::pages::{MmapMut, Pages};
use allocator_api2::vec::Vec;
use core::alloc::Layout;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

#[cfg_attr(docsrs, doc(cfg(feature = "zerocopy")))]
#[allow(clippy::result_large_err, reason = "what fails gives the vector or the pages back, beside the error")]
impl<T> PagedVec<T> {
    /// A vector of `len` zeroes: those of fresh pages, which nobody writes.
    ///
    /// # Cost
    ///
    /// One or two system calls, however many there are.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::<u64>::zeroed(1_000_000)?;
    /// vec[999_999] += 1;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn zeroed(len: usize) -> Result<Self>
    where
        T: FromZeros,
    {
        let mut vec = Self::try_with_capacity(len)?;
        // SAFETY: fresh pages are zeroes, which are such elements; within the capacity.
        unsafe { vec.set_len(len) };
        Ok(vec)
    }

    /// The pages with the bytes of the elements, and how many elements there are. Behind the last one there are zeroes.
    ///
    /// Elements that have a drop are not dropped.
    ///
    /// # Cost
    ///
    /// One system call, or two. The bytes are copied only where the [allocator](Self::allocator)'s options are such that the mapping
    /// could not be a [`Pages`].
    ///
    /// # Errors
    ///
    /// The vector, and why: as [`clear_decommit`](Self::clear_decommit); and, where there is nothing that could be pages yet or copying is
    /// needed, as [`Pages::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagedVec;
    ///
    /// let vec = PagedVec::from([1_u32, 2, 3]);
    /// let (pages, len) = vec.into_pages()?;
    /// assert_eq!(pages[..4], 1_u32.to_ne_bytes());
    /// assert!(pages[12..].iter().all(|&byte| byte == 0));
    ///
    /// let vec = PagedVec::<u32>::from_pages(pages, len)?;
    /// assert_eq!(vec, [1, 2, 3]);
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// Elements with bytes that may never have been written have no such pages:
    ///
    /// ```compile_fail,E0277
    /// let vec = folio::PagedVec::from([Some(1_u32)]);
    /// let pages = vec.into_pages();
    /// ```
    pub fn into_pages(mut self) -> core::result::Result<(MmapMut, usize), (Self, Error)>
    where
        T: IntoBytes,
    {
        let len = self.len();
        let Some((place, layout)) = self.memory() else {
            // Nothing but elements without size.
            return match Pages::new(1) {
                Ok(pages) => Ok((pages, len)),
                Err(error) => Err((self, error)),
            };
        };
        let committed = self.allocator().committed(layout);
        let used = Self::bytes(len);
        if let Some(extent) = self.allocator().extent(layout) {
            if let Err(error) = self.zero_behind(place, used, committed) {
                return Err((self, error));
            }
            let _pages_now = ManuallyDrop::new(self);
            // SAFETY: a whole mapping of that extent, private and anonymous, which nobody else has: the vector ended, and its drop does
            // not run. Each byte is initialized: those of the elements by their type, the others as zeroes.
            return Ok((unsafe { MmapMut::from_plain(place, extent) }, len));
        }
        let mut pages = match Pages::new(committed) {
            Ok(pages) => pages,
            Err(error) => return Err((self, error)),
        };
        // SAFETY: not more bytes than either has; apart; all are initialized, by the type of the elements.
        unsafe { place.as_ptr().copy_to_nonoverlapping(pages.as_mut_ptr(), used) };
        // Not dropped, as above.
        // SAFETY: less.
        unsafe { self.set_len(0) };
        Ok((pages, len))
    }

    /// Lets all bytes behind those that are used be zeroes: what is left of their last page by writing, the others by giving their
    /// memory back.
    fn zero_behind(&mut self, place: NonNull<u8>, used: usize, committed: usize) -> Result<()> {
        let mask = crate::page::mask();
        let end = (used.saturating_add(mask) & !mask).min(committed);
        // SAFETY: not more than there is memory for.
        let rest = unsafe { place.as_ptr().add(used) };
        // SAFETY: memory of the vector, where no element is.
        unsafe { rest.write_bytes(0, end.saturating_sub(used)) };
        match self.shrink_to_fit() {
            Err(error) if error.changed().is_some() => return Err(error),
            Ok(()) => return Ok(()),
            Err(_) => {}
        }
        // Memory that the system does not take: locked, say.
        // SAFETY: not more than there is memory for.
        let rest = unsafe { place.as_ptr().add(end) };
        // SAFETY: memory of the vector, where no element is.
        unsafe { rest.write_bytes(0, committed.saturating_sub(end)) };
        Ok(())
    }

    /// A vector of what is in pages: of the first `len` elements.
    ///
    /// # Cost
    ///
    /// None: the vector has the pages (and, where these are 4 MiB or more, but no whole number of huge pages, an
    /// [allocator](Self::allocator) without [`huge_pages`](PageAllocator::huge_pages)). Where they are a part of a larger mapping, locked, of
    /// huge pages asked for, of a file, or too few for the alignment or size of an element, the elements are copied to new pages.
    ///
    /// # Errors
    ///
    /// The pages, and why.
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): there are not so many elements in them.
    /// - As [`try_reserve`](Self::try_reserve) where they are copied.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{PagedVec, Pages};
    ///
    /// let mut pages = Pages::new(8)?;
    /// pages[0] = 1;
    /// let vec = PagedVec::<u64>::from_pages(pages, 2)?;
    /// assert_eq!(vec, [u64::from_le(1), 0]);
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// Not of types that some bytes are no value of:
    ///
    /// ```compile_fail,E0277
    /// let vec = folio::PagedVec::<bool>::from_pages(folio::Pages::new(8)?, 2)?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn from_pages(pages: MmapMut, len: usize) -> core::result::Result<Self, (MmapMut, Error)>
    where
        T: FromBytes,
    {
        let used = len.checked_mul(size_of::<T>()).filter(|&used| used <= pages.len());
        let Some(used) = used else {
            let failure = Failure::invalid("the pages do not hold so many elements");
            return Err((pages, failure.during(Operation::Allocate, None, None)));
        };
        let pages = match Self::taken_over(pages) {
            Ok(mut vec) => {
                // SAFETY: within the capacity, as checked; any bytes are such elements, and those of pages are initialized.
                unsafe { vec.set_len(len) };
                return Ok(vec);
            }
            Err(pages) => pages,
        };
        let mut vec = match Self::try_with_capacity(len) {
            Ok(vec) => vec,
            Err(error) => return Err((pages, error)),
        };
        // SAFETY: not more bytes than either has; apart.
        unsafe { pages.as_ptr().copy_to_nonoverlapping(vec.as_mut_ptr().cast(), used) };
        // SAFETY: just copied; any bytes are such elements.
        unsafe { vec.set_len(len) };
        Ok(vec)
    }

    /// An empty vector whose memory are these pages, if that is what its allocator would have made.
    fn taken_over(pages: MmapMut) -> core::result::Result<Self, MmapMut> {
        let all = pages.len();
        let Some(capacity) = all.checked_div(size_of::<T>()).filter(|&capacity| capacity > 0) else {
            return Err(pages);
        };
        let Ok(layout) = Layout::array::<T>(capacity) else { return Err(pages) };
        let allocators = [PageAllocator::new(), PageAllocator::new().huge_pages(false)];
        let allocator = allocators.into_iter().find(|own| own.extent(layout) == Some((0, all, 0)));
        let Some(allocator) = allocator.filter(|_| pages.as_ptr().cast::<T>().is_aligned()) else {
            return Err(pages);
        };
        let (base, _) = pages.into_plain()?;
        // SAFETY: a mapping like those that the allocator makes for so many elements (just checked), which nobody else has.
        Ok(Self { vec: unsafe { Vec::from_raw_parts_in(base.cast().as_ptr(), 0, capacity, allocator) } })
    }
}
