//! Floor 5: a vector in pages.

#[cfg(feature = "zerocopy")]
mod frozen;
mod growing;
#[cfg(feature = "std")]
mod io;
mod iterating;
mod pages;
#[cfg(feature = "zerocopy")]
mod plain;
mod removing;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
mod tests;
mod traits;

#[cfg(feature = "zerocopy")]
pub use frozen::FrozenVec;
pub use iterating::{Drain, ExtractIf, IntoIter, Splice};

use crate::error::Result;
use crate::page_allocator::PageAllocator;
use allocator_api2::vec::Vec;
use core::alloc::Layout;
use core::mem::{self, MaybeUninit};
use core::ops::{Range, RangeBounds};
use core::ptr::NonNull;
use growing::{Growth, NoRoom};

/// A vector whose elements lie in pages of their own.
///
/// It has what [`Vec`](alloc::vec::Vec) has and is a slice by [`Deref`](core::ops::Deref). And it has what only pages can do:
///
/// - [`with_reserved`](Self::with_reserved): address space for as many elements as there may ever be, memory as they come. Up to the
///   last of these the elements never move.
/// - [`clear_decommit`](Self::clear_decommit), [`truncate_decommit`](Self::truncate_decommit), [`shrink_to_fit`](Self::shrink_to_fit):
///   memory goes back to the system at once; capacity and addresses stay.
/// - Growing beyond what is reserved moves page tables where the system can, instead of copying.
/// - [`try_push`](Self::try_push), [`try_reserve`](Self::try_reserve), [`try_extend_from_slice`](Self::try_extend_from_slice): errors that say
///   what the system said.
/// - The first element lies on a page boundary, so that of [many types](Self::never_straddles) none lies in two pages.
/// - With the feature `zerocopy`: `into_pages`, `from_pages`, and `freeze`, which lets nobody write to the elements any more.
///
/// # When
///
/// Each vector takes whole pages, system calls to make and to drop, and page faults as it is filled for the first time. `Vec` has the
/// faults too, but for memory that the heap kept from what was dropped before. The time that it takes to make a vector and to push `u64`
/// until it is full, as a multiple of `Vec`'s (both made with the capacity; Linux 6.18, glibc, huge pages by `madvise`):
///
/// | | 4 KiB | 64 KiB | 1 MiB | 4 MiB | 16 MiB | 128 MiB |
/// |---|---|---|---|---|---|---|
/// | made once, and kept | 1.6 | 1.1 | 1.0 | 0.3 | 0.3 | |
/// | made and dropped again and again | 23 | 9 | 8 | 1.9 | 1.6 | 0.3 |
///
/// So, for speed: [`Vec`](alloc::vec::Vec) below 4 MiB, and below 32 MiB where vectors come and go. For what only pages can do, whatever the
/// size. A vector that is emptied and filled again keeps its memory, as `Vec` does: [`clear`](Self::clear) costs no page faults.
///
/// # Unlike `Vec`
///
/// - `new` takes a capacity. [`default`](Self::default) makes one without memory, [`with_allocator`](Self::with_allocator) does so where it has to
///   be `const`.
/// - What gives memory back returns a [`Result`], and [`shrink_to_fit`](Self::shrink_to_fit) keeps the capacity.
/// - There is no `into_boxed_slice`, `into_flattened`, `from_raw_parts`; and `From` is for slices, arrays, `Vec` and boxed slices alone. What else
///   there is can be collected.
/// - It holds no references to what is dropped before it: only the standard library may promise that a drop does not look at them.
///
/// ```compile_fail,E0597
/// let mut vec = folio::PagedVec::default();
/// let text = String::from("dropped first");
/// vec.push(&text); // does not live long enough
/// ```
///
/// # When memory ends
///
/// What `Vec` aborts for is a panic here, with the text of the [`Error`](crate::Error), and the vector is as it was. The `try_` methods
/// give the error. A capacity beyond `isize::MAX` bytes is the panic "capacity overflow", as of `Vec`, or an error of
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
///
/// # Cost
///
/// The value is three words and the [allocator](PageAllocator)'s options. A push is one comparison and a write, until the capacity is
/// used up: then it doubles, which takes one or two system calls. An empty vector without capacity takes nothing.
///
/// # Examples
///
/// ```
/// use folio::PagedVec;
///
/// let mut vec = PagedVec::new(0x10000);
/// for number in 0..1_000_000_u32 {
///     vec.push(number);
/// }
/// assert_eq!(vec[..3], [0, 1, 2]);
///
/// // Clears the vector and keeps its capacity, but frees the physical memory, which comes back as it is filled again.
/// vec.clear_decommit()?;
/// assert!(vec.is_empty() && vec.capacity() >= 1_000_000);
/// # Ok::<(), folio::Error>(())
/// ```
pub struct PagedVec<T> {
    /// Invariant: its capacity is what its memory was got for, by `PageAllocator`'s own functions. It is never let to grow or to shrink by
    /// itself: its doubling knows nothing of reservations.
    vec: Vec<T, PageAllocator>,
}

/// Making one.
impl<T> PagedVec<T> {
    /// An empty vector with memory for at least `capacity` elements: the same as [`with_capacity`](Self::with_capacity).
    ///
    /// # Panics
    ///
    /// When there is no memory; see [`try_new`](Self::try_new).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::new(0x10000);
    /// for number in 0..1_000_000_u64 {
    ///     vec.push(number);
    /// }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn new(capacity: usize) -> Self {
        Self::with_capacity(capacity)
    }

    /// [`new`](Self::new), with an error.
    ///
    /// # Errors
    ///
    /// As [`try_with_capacity`](Self::try_with_capacity).
    pub fn try_new(capacity: usize) -> Result<Self> {
        Self::try_with_capacity(capacity)
    }

    /// An empty vector with memory for at least `capacity` elements, and as many more as fill the last page.
    ///
    /// The memory is promised, on systems that count it so; it is not used before there are elements in it. Until there are more than
    /// [`capacity`](Self::capacity) none moves.
    ///
    /// # Cost
    ///
    /// One or two system calls; none for 0.
    ///
    /// # Panics
    ///
    /// When there is no memory; see [`try_with_capacity`](Self::try_with_capacity).
    #[must_use]
    #[track_caller]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut vec = Self::default();
        vec.reserve_exact(capacity);
        vec
    }

    /// [`with_capacity`](Self::with_capacity), with an error.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_with_capacity(capacity: usize) -> Result<Self> {
        let mut vec = Self::default();
        vec.try_reserve_exact(capacity)?;
        Ok(vec)
    }

    /// An empty vector with address space for at least `elements` elements, and memory as it grows.
    ///
    /// The elements never move as long as there are not more than that: [`as_ptr`](Self::as_ptr) gives the same address from now on. Address
    /// space costs next to nothing: where there may be a million or a thousand million elements, reserve for a thousand million. (On
    /// 32-bit systems there is less of it.)
    ///
    /// Beyond, the vector grows on, and may move.
    ///
    /// # Cost
    ///
    /// One or two system calls; none for 0.
    ///
    /// # Panics
    ///
    /// When there is no memory, or not so much address space in a row; see [`try_with_reserved`](Self::try_with_reserved).
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagedVec;
    ///
    /// let mut vec = PagedVec::with_reserved(1_000_000);
    /// let first = vec.as_ptr();
    /// for number in 0..1_000_000_u64 {
    ///     vec.push(number);
    /// }
    /// assert_eq!(vec.as_ptr(), first);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn with_reserved(elements: usize) -> Self {
        match Self::reserving(elements) {
            Ok(vec) => vec,
            Err(no_room) => no_room.panic(),
        }
    }

    /// [`with_reserved`](Self::with_reserved), with an error.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_with_reserved(elements: usize) -> Result<Self> {
        Self::reserving(elements).map_err(NoRoom::into_error)
    }

    fn reserving(elements: usize) -> core::result::Result<Self, NoRoom> {
        let layout = Layout::array::<T>(elements).map_err(|_| NoRoom::Overflow)?;
        let mut vec = Self::with_allocator(PageAllocator::new().reserved(layout.size()));
        if elements > 0 {
            vec.try_make_room(1, Growth::Exact)?;
        }
        Ok(vec)
    }

    /// An empty vector, without memory yet, that gets it as the allocator's options say.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{PageAllocator, PagedVec};
    ///
    /// let mut vec = PagedVec::with_allocator(PageAllocator::new().reserved(1 << 20));
    /// vec.extend(0..10_u8);
    /// assert!(vec.reserved() >= 1 << 20);
    /// ```
    #[must_use]
    pub const fn with_allocator(allocator: PageAllocator) -> Self {
        Self { vec: Vec::new_in(allocator) }
    }

    /// Where the memory comes from.
    pub fn allocator(&self) -> &PageAllocator {
        self.vec.allocator()
    }
}

/// What it holds.
impl<T> PagedVec<T> {
    /// The number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.vec.len()
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.vec.is_empty()
    }

    /// For how many elements there is memory: whole pages of it. `usize::MAX` for types of no size.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.vec.capacity()
    }

    /// Up to how many elements none of them will move: for so many there is address space where they are. At least
    /// [`capacity`](Self::capacity).
    ///
    /// (Of a vector without memory yet: for so many there will be at least, from the first element on.)
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagedVec;
    ///
    /// let vec = PagedVec::<[u8; 24]>::with_reserved(1000);
    /// assert!(vec.reserved() >= 1000);
    /// assert!(PagedVec::<()>::default().reserved() == usize::MAX);
    /// ```
    pub fn reserved(&self) -> usize {
        let capacity = self.capacity();
        let layout = Layout::array::<T>(capacity.max(1)).unwrap_or(Layout::new::<()>());
        let room = self.allocator().room(layout).checked_div(size_of::<T>());
        room.map_or(usize::MAX, |elements| elements.max(capacity))
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        self.vec.as_slice()
    }

    /// The elements.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.vec.as_mut_slice()
    }

    /// The address of the first element: on a page boundary, and the same for as long as there are not more than
    /// [`reserved`](Self::reserved). Not to be used while there is no memory.
    #[inline]
    pub fn as_ptr(&self) -> *const T {
        self.vec.as_ptr()
    }

    /// The address of the first element, as [`as_ptr`](Self::as_ptr).
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.vec.as_mut_ptr()
    }

    /// What there is memory for behind the last element. Who writes there makes elements of it by [`set_len`](Self::set_len).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::with_capacity(2);
    /// vec.spare_capacity_mut()[0].write(7);
    /// // SAFETY: there is memory for it, and it was just written.
    /// unsafe { vec.set_len(1) };
    /// assert_eq!(vec, [7]);
    /// ```
    #[inline]
    pub fn spare_capacity_mut(&mut self) -> &mut [MaybeUninit<T>] {
        self.vec.spare_capacity_mut()
    }

    /// Says how many elements there are.
    ///
    /// # Safety
    ///
    /// Not more than [`capacity`](Self::capacity), all of which are initialized. What is no longer counted is not dropped.
    #[inline]
    pub unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.vec.set_len(len) };
    }

    /// The elements, never to be dropped, nor their pages.
    pub fn leak<'a>(self) -> &'a mut [T] {
        let mut this = mem::ManuallyDrop::new(self);
        let (first, len) = (this.as_mut_ptr(), this.len());
        // SAFETY: so many elements; nobody has the vector any more.
        unsafe { core::slice::from_raw_parts_mut(first, len) }
    }

    /// The first byte of the memory, and what it was got for; `None` where there is none.
    fn memory(&self) -> Option<(NonNull<u8>, Layout)> {
        let layout = Layout::array::<T>(self.capacity()).ok().filter(|layout| layout.size() > 0)?;
        Some((NonNull::new(self.vec.as_ptr().cast_mut())?.cast(), layout))
    }

    /// Where a number of elements ends, in bytes; they are not more than there are, or there is memory for.
    fn bytes(elements: usize) -> usize {
        elements.saturating_mul(size_of::<T>())
    }

    /// A range of the elements. It is asked for its bounds but once: safe code can give others the next time.
    #[track_caller]
    #[expect(clippy::indexing_slicing, reason = "panics as a slice does")]
    fn part(&self, range: impl RangeBounds<usize>) -> Range<usize> {
        match crate::pages::resolve(&range, self.len()) {
            Some(part) => part,
            None => {
                let _none = &self[(range.start_bound().cloned(), range.end_bound().cloned())];
                growing::no_such_range()
            }
        }
    }
}
