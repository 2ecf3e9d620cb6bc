//! What only pages can do: their memory given back while the vector keeps its place, brought in before it is used, counted.

use super::PagedVec;
use crate::advice::Advice;
use crate::error::{Error, Failure, Operation, Result};
use crate::os;
use crate::range::PageRange;
use allocator_api2::vec::Vec;
use core::alloc::Layout;
use core::mem::{self, MaybeUninit};
use core::ops::RangeBounds;

/// Memory given back.
impl<T> PagedVec<T> {
    /// Drops all elements and gives their memory back: the resident set falls at once (where: see below). Capacity and addresses stay; it comes
    /// back as the vector is filled again, zeroed. (Of an [allocator](Self::allocator) that [locks](crate::PageAllocator::locked) it, the
    /// memory stays, and is zeroed at once.)
    ///
    /// # Cost
    ///
    /// One system call, two on Windows, and the drops. Every page that is filled again costs a page fault.
    ///
    /// # Platforms
    ///
    /// At once on Linux, Android and Windows. On other systems all that there is memory for behind the elements, used or not, is written
    /// with zeroes and offered to the system (`MADV_FREE`), which takes it when it needs some: there the resident set falls later, and the
    /// call takes the longer the larger the capacity is.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): the pages are [locked](crate::lock), not by the allocator.
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): on Windows, that there is no memory for fresh pages.
    ///
    /// The elements are dropped nevertheless. Where the system took memory and gave none for it, which [`Error::changed`] says, the
    /// capacity is less than before.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagedVec;
    ///
    /// let mut vec = PagedVec::new(0x10000);
    /// vec.extend(0..0x10000_u64);
    /// let (first, capacity) = (vec.as_ptr(), vec.capacity());
    /// vec.clear_decommit()?;
    /// assert_eq!((vec.len(), vec.as_ptr(), vec.capacity()), (0, first, capacity));
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "MADV_DONTNEED")]
    pub fn clear_decommit(&mut self) -> Result<()> {
        self.truncate_decommit(0)
    }

    /// Drops all elements but the first `len`, and gives the memory of all whole pages behind those back, as
    /// [`clear_decommit`](Self::clear_decommit) does. (What is left of the page that the last one ends in holds what it held.)
    ///
    /// # Cost, platforms, errors
    ///
    /// As [`clear_decommit`](Self::clear_decommit).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec: folio::PagedVec<u64> = (0..100_000).collect();
    /// let capacity = vec.capacity();
    /// vec.truncate_decommit(10)?;
    /// assert_eq!((vec.len(), vec.capacity()), (10, capacity));
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn truncate_decommit(&mut self, len: usize) -> Result<()> {
        self.truncate(len);
        self.shrink_to_fit()
    }

    /// Gives the memory of all pages behind the last element back, as [`clear_decommit`](Self::clear_decommit) does.
    ///
    /// Unlike that of `Vec`, it keeps the capacity, which takes no memory then, and the address. What lowers the capacity is
    /// [`shrink_to`](Self::shrink_to).
    ///
    /// # Cost, platforms, errors
    ///
    /// As [`clear_decommit`](Self::clear_decommit).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec: folio::PagedVec<u64> = (0..100_000).collect();
    /// let first = vec.as_ptr();
    /// vec.truncate(10);
    /// vec.shrink_to_fit()?;
    /// assert_eq!((vec.as_ptr(), &vec[..2]), (first, &[0, 1][..]));
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn shrink_to_fit(&mut self) -> Result<()> {
        let Some((place, layout)) = self.memory() else { return Ok(()) };
        let kept = Self::bytes(self.len());
        // SAFETY: the vector's memory, got for that layout; what is behind the last element is nobody's.
        let Err(error) = (unsafe { self.allocator().discard(place, layout, kept) }) else { return Ok(()) };
        if error.changed().is_some() {
            self.forgo(kept);
        }
        Err(error)
    }

    /// Lowers the capacity to what lies in the pages of the first `kept` bytes, all elements among them: the others are without memory, and
    /// are as if the allocation had been shortened to these.
    #[cold]
    fn forgo(&mut self, kept: usize) {
        let allocator = *self.allocator();
        let mask = crate::page::mask();
        let whole = kept.saturating_add(mask) & !mask;
        let capacity = whole.checked_div(size_of::<T>()).unwrap_or(0).min(self.capacity());
        if capacity == 0 {
            // Nothing that could be used: the drop of what there was gives the addresses back.
            *self = Self::with_allocator(allocator);
            return;
        }
        self.now_for(capacity);
    }

    /// The same elements, at the same place, with a capacity that is less.
    fn now_for(&mut self, capacity: usize) {
        let (len, allocator) = (self.len(), *self.allocator());
        // SAFETY: the elements, where they are, with memory of this allocator for that many (as the callers see to).
        let vec = unsafe { Vec::from_raw_parts_in(self.as_mut_ptr(), len, capacity, allocator) };
        mem::forget(mem::replace(&mut self.vec, vec));
    }

    /// Lowers the capacity to `capacity`, or the length if that is more, and what is left of the last page. The memory behind it is given
    /// back; the elements do not move.
    ///
    /// What is [reserved](Self::reserved) stays, unless nothing is left at all: an empty vector, shrunk to 0, gives everything back.
    ///
    /// # Cost
    ///
    /// One or two system calls.
    ///
    /// # Errors
    ///
    /// None that is known: memory that the system does not take stays with the vector's place until it is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec: folio::PagedVec<u8> = folio::PagedVec::with_capacity(1_000_000);
    /// vec.push(1);
    /// vec.shrink_to(100_000)?;
    /// assert!((100_000..1_000_000).contains(&vec.capacity()));
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn shrink_to(&mut self, capacity: usize) -> Result<()> {
        let Some((place, old)) = self.memory() else { return Ok(()) };
        let allocator = *self.allocator();
        let capacity = capacity.max(self.len());
        if capacity == 0 {
            *self = Self::with_allocator(allocator);
            return Ok(());
        }
        let capacity = self.whole_pages(capacity);
        if capacity >= self.capacity() {
            return Ok(());
        }
        let Ok(new) = Layout::array::<T>(capacity) else { return Ok(()) };
        // SAFETY: the vector's memory, got for that layout; fewer elements, but all that there are.
        unsafe { allocator.shorten(place, old, new) }?;
        self.now_for(capacity);
        Ok(())
    }
}

/// Memory as it is used. Ranges are of elements, from 0 to the [capacity](PagedVec::capacity), which `..` goes up to; all pages that
/// they touch are meant.
impl<T> PagedVec<T> {
    /// Tells the system how elements will be used. They are as they were.
    ///
    /// # Cost
    ///
    /// One system call, or none where the system has no such advice.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the range reaches beyond the capacity. Else as
    /// [`Pages::advise`](crate::Pages::advise).
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Advice, PagedVec};
    ///
    /// let vec: PagedVec<u64> = (0..100_000).collect();
    /// vec.advise(50_000.., Advice::Cold)?;
    /// vec.advise_use_soon(..1000)?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        let Some(pages) = self.pages_of(&range, Operation::Advise)? else { return Ok(()) };
        os::advise(pages, advice).map_err(|failure| failure.during(Operation::Advise, Some(pages), None))
    }

    /// [`Advice::WillNeed`] for elements: what was paged out of them begins to be read in.
    ///
    /// # Errors
    ///
    /// As [`advise`](Self::advise).
    #[doc(alias = "adivse_use_soon")]
    pub fn advise_use_soon(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.advise(range, Advice::WillNeed)
    }

    /// [`Advice::Sequential`] for all elements.
    ///
    /// # Errors
    ///
    /// As [`advise`](Self::advise).
    #[doc(alias = "adivse_use_seq")]
    pub fn advise_use_seq(&self) -> Result<()> {
        self.advise(.., Advice::Sequential)
    }

    /// [`Advice::Random`] for all elements.
    ///
    /// # Errors
    ///
    /// As [`advise`](Self::advise).
    #[doc(alias = "adivse_use_rng")]
    #[doc(alias = "advise_use_rng")]
    pub fn advise_use_rnd(&self) -> Result<()> {
        self.advise(.., Advice::Random)
    }

    /// Brings memory in for elements that there are, and that there will be, up to the [capacity](Self::capacity): no page faults when they
    /// are written. (For more, of what is [reserved](Self::with_reserved), [`reserve`](Self::reserve) first.)
    ///
    /// # Cost
    ///
    /// One system call where the system has one (Linux since 5.14); else each page is touched.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the range reaches beyond the capacity.
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): there is not so much memory.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::with_capacity(100_000);
    /// vec.prefault(..100_000)?;
    /// vec.extend(0..100_000_u32);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "MADV_POPULATE_WRITE")]
    pub fn prefault(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some(pages) = self.pages_of(&range, Operation::Prefault)? else { return Ok(()) };
        let failed = |failure: Failure| failure.during(Operation::Prefault, Some(pages), None);
        if !os::populate(pages, true).map_err(failed)? {
            self.touch(pages);
        }
        Ok(())
    }

    /// A byte of each page is written back as it was read: it may be one that was never written, or padding.
    pub(super) fn touch(&mut self, pages: PageRange) {
        let first = self.as_mut_ptr().cast::<MaybeUninit<u8>>();
        let mut next = Some(pages.first());
        while let Some(at) = next.take_if(|at| *at <= pages.last()) {
            let byte = first.with_addr(at);
            // SAFETY: the first byte of a page of the vector's memory, which is borrowed exclusively.
            let held = unsafe { byte.read_volatile() };
            // SAFETY: likewise; as it was.
            unsafe { byte.write_volatile(held) };
            next = at.checked_add(crate::page::size());
        }
    }

    /// How many pages of [`page::size`](crate::page::size) bytes are in memory, of all that the range touches: an answer of the past.
    ///
    /// # Errors
    ///
    /// As [`Pages::resident`](crate::Pages::resident).
    ///
    /// # Examples
    ///
    /// ```
    /// let vec = folio::PagedVec::from([7_u8; 100]);
    /// if let Ok(pages) = vec.resident(..100) {
    ///     println!("{pages} pages are in memory");
    /// }
    /// ```
    pub fn resident(&self, range: impl RangeBounds<usize>) -> Result<usize> {
        let Some(pages) = self.pages_of(&range, Operation::Resident)? else { return Ok(0) };
        os::resident(pages).map_err(|failure| failure.during(Operation::Resident, Some(pages), None))
    }

    /// Whether no element lies in two pages: the first one begins with a page, so that it is so for all types whose size divides the
    /// [page size](crate::page::size).
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagedVec;
    ///
    /// assert!(PagedVec::<[u64; 8]>::never_straddles());
    /// assert!(!PagedVec::<[u64; 3]>::never_straddles());
    ///
    /// // Padded to the next power of two.
    /// #[repr(align(32))]
    /// struct Padded([u64; 3]);
    /// assert!(PagedVec::<Padded>::never_straddles());
    /// ```
    pub fn never_straddles() -> bool {
        size_of::<T>() == 0 || crate::page::size().checked_rem(size_of::<T>()) == Some(0)
    }

    /// The pages of a range of elements; `None` where it is empty, or they take no memory.
    pub(super) fn pages_of(
        &self,
        range: &impl RangeBounds<usize>,
        operation: Operation,
    ) -> Result<Option<PageRange>> {
        let failed = |why: Failure| -> Error { why.during(operation, None, None) };
        let range = crate::pages::resolve(range, self.capacity()).ok_or_else(|| {
            failed(
                Failure::invalid(
                    "the range ends before it begins, or reaches beyond the capacity of the vector",
                )
                .remedy(
                    "reserve room for the elements first: what with_reserved keeps for them is but addresses",
                ),
            )
        })?;
        let Some((place, _)) = self.memory() else { return Ok(None) };
        if range.is_empty() {
            return Ok(None);
        }
        let first = place.addr().get().saturating_add(Self::bytes(range.start));
        PageRange::touching(first, Self::bytes(range.len())).map(Some).map_err(failed)
    }

    /// All bytes that have memory.
    #[cfg(feature = "zerocopy")]
    pub(super) fn all_pages(&self) -> Option<(core::ptr::NonNull<u8>, PageRange)> {
        let (place, layout) = self.memory()?;
        let committed = self.allocator().committed(layout);
        Some((place, PageRange::touching(place.addr().get(), committed).ok()?))
    }
}
