//! What needs room: it is made once, before anything else is done.

use super::{PagedVec, Splice};
use crate::error::{Error, Failure, Operation, Result};
use crate::page_allocator::PageAllocator;
use allocator_api2::vec::Vec;
use core::alloc::Layout;
use core::mem;
use core::ops::RangeBounds;

/// Why there is no room.
pub(super) enum NoRoom {
    /// More than `isize::MAX` bytes, or than `usize::MAX` elements.
    Overflow,
    /// By the system.
    Refused(Error),
}

impl NoRoom {
    #[cold]
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Overflow => Failure::invalid("capacity overflow: longer than any piece of memory can be")
                .during(Operation::Allocate, None, None),
            Self::Refused(error) => error,
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    #[expect(clippy::panic, reason = "documented, as of `Vec`, which aborts for some of it")]
    pub(super) fn panic(self) -> ! {
        match self {
            Self::Overflow => panic!("capacity overflow"),
            Self::Refused(error) => panic!("{error}"),
        }
    }
}

impl From<Error> for NoRoom {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// How much more room than is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// As much as there was, so that pushes cost the same on average however many there are.
    Amortized,
    /// No more than up to whole pages.
    Exact,
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of `Vec`")]
pub(super) fn no_such_range() -> ! {
    panic!("no such range of elements")
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of `Vec`")]
pub(super) fn no_such_index(what: &str, index: usize, relation: &str, len: usize) -> ! {
    panic!("{what} index (is {index}) should be {relation} len (is {len})")
}

/// Keeps count of the elements that are written where the vector does not know of them yet, also when something panics.
pub(super) struct Filling<'a, T> {
    vec: &'a mut Vec<T, PageAllocator>,
    /// The vector's, read once: what is written through it could be the vector's own fields, for all the compiler knows.
    first: *mut T,
    len: usize,
}

impl<'a, T> Filling<'a, T> {
    pub(super) fn new(vec: &'a mut Vec<T, PageAllocator>) -> Self {
        Self { first: vec.as_mut_ptr(), len: vec.len(), vec }
    }

    /// # Safety
    ///
    /// There is room for one more.
    #[inline(always)]
    pub(super) unsafe fn put(&mut self, value: T) {
        // SAFETY: within the capacity (the caller's promise).
        let place = unsafe { self.first.add(self.len) };
        // SAFETY: memory of the vector, where no element is.
        unsafe { place.write(value) };
        self.len = self.len.wrapping_add(1);
    }
}

impl<T> Drop for Filling<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as many were written, within the capacity.
        unsafe { self.vec.set_len(self.len) };
    }
}

/// Room.
impl<T> PagedVec<T> {
    /// Makes room for `additional` more elements, and for as many again as there were before, so that pushing costs the same on average
    /// however many there are; within the [reserved](Self::reserved) address space never for more than what lies in it.
    ///
    /// # Panics
    ///
    /// "capacity overflow", or the system's refusal; the vector is as it was. See [`try_reserve`](Self::try_reserve).
    #[inline]
    #[track_caller]
    pub fn reserve(&mut self, additional: usize) {
        if self.lacks(additional) {
            self.make_room(additional, Growth::Amortized);
        }
    }

    /// Makes room for `additional` more elements, and what is left of the last page.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    #[track_caller]
    pub fn reserve_exact(&mut self, additional: usize) {
        if self.lacks(additional) {
            self.make_room(additional, Growth::Exact);
        }
    }

    /// [`reserve`](Self::reserve), with an error. Where there is not twice the memory, but as much as is needed, that is got.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): more than `isize::MAX` bytes.
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): no memory, or not so much address space in a row; or too many mappings.
    ///
    /// The vector is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::from([1_u64, 2, 3]);
    /// let error = vec.try_reserve(usize::MAX / 8).unwrap_err();
    /// assert_eq!(error.kind(), folio::ErrorKind::InvalidInput);
    /// assert_eq!(vec, [1, 2, 3]);
    /// ```
    #[inline]
    pub fn try_reserve(&mut self, additional: usize) -> Result<()> {
        if !self.lacks(additional) {
            return Ok(());
        }
        self.try_make_room(additional, Growth::Amortized).map_err(NoRoom::into_error)
    }

    /// [`reserve_exact`](Self::reserve_exact), with an error.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    pub fn try_reserve_exact(&mut self, additional: usize) -> Result<()> {
        self.try_make_room(additional, Growth::Exact).map_err(NoRoom::into_error)
    }

    #[inline(always)]
    fn lacks(&self, additional: usize) -> bool {
        // (The capacity is never less than the length.)
        additional > self.vec.capacity().wrapping_sub(self.vec.len())
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn make_room(&mut self, additional: usize, growth: Growth) {
        if let Err(no_room) = self.try_make_room(additional, growth) {
            no_room.panic();
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn try_make_room(
        &mut self,
        additional: usize,
        growth: Growth,
    ) -> core::result::Result<(), NoRoom> {
        self.try_make_room_behind(self.len(), additional, growth)
    }

    /// Room for more behind `used` elements, of which the vector may know only the first ones.
    pub(super) fn try_make_room_behind(
        &mut self,
        used: usize,
        additional: usize,
        growth: Growth,
    ) -> core::result::Result<(), NoRoom> {
        let capacity = self.capacity();
        let least = used.checked_add(additional).ok_or(NoRoom::Overflow)?;
        if least <= capacity {
            return Ok(());
        }
        // Also of elements without size, of which there can be `usize::MAX`: beyond that, the addition overflowed.
        let most = isize::MAX.unsigned_abs().checked_div(size_of::<T>()).ok_or(NoRoom::Overflow)?;
        if least > most {
            return Err(NoRoom::Overflow);
        }
        let wanted = match growth {
            Growth::Exact => least,
            Growth::Amortized => least.max(capacity.saturating_mul(2).min(most)),
        };
        let (wanted, least) = (self.kept_in_place(wanted, least), self.whole_pages(least));
        match self.grow_to(wanted) {
            Err(_) if wanted > least => Ok(self.grow_to(least)?),
            done => Ok(done?),
        }
    }

    /// As many elements as fit the pages that this many need.
    pub(super) fn whole_pages(&self, capacity: usize) -> usize {
        let Ok(layout) = Layout::array::<T>(capacity) else { return capacity };
        let elements = self.allocator().committed(layout).checked_div(size_of::<T>()).unwrap_or(capacity);
        let fits = Layout::array::<T>(elements).is_ok();
        if fits { elements.max(capacity) } else { capacity }
    }

    /// How many elements to have memory for: those that are wanted, unless that would leave a place which the least number would not.
    fn kept_in_place(&self, wanted: usize, least: usize) -> usize {
        let room = |capacity| Layout::array::<T>(capacity).map_or(0, |layout| self.allocator().room(layout));
        let now = room(self.capacity());
        let stays = |capacity| now > 0 && room(capacity) == now;
        let wanted = self.whole_pages(wanted);
        if stays(wanted) || !stays(least) {
            return wanted;
        }
        // Up to the end of the reservation.
        let last = self.whole_pages(now.checked_div(size_of::<T>()).unwrap_or(least).max(least));
        if stays(last) { last } else { least }
    }

    /// Gets memory for so many elements, which are more than now.
    fn grow_to(&mut self, capacity: usize) -> Result<()> {
        let allocator = *self.allocator();
        let Ok(new) = Layout::array::<T>(capacity) else { return Err(NoRoom::Overflow.into_error()) };
        let place = match self.memory() {
            None => allocator.make(new)?,
            // SAFETY: the vector's memory, got for that layout, and used from here on where it is now; more elements of the same type.
            Some((place, old)) => unsafe { allocator.lengthen(place, old, new) }?,
        };
        let len = self.len();
        // SAFETY: the elements, at the place they are at now, with memory of this allocator for that many.
        let vec = unsafe { Vec::from_raw_parts_in(place.cast().as_ptr(), len, capacity, allocator) };
        // What was there before has nothing to give back.
        mem::forget(mem::replace(&mut self.vec, vec));
        Ok(())
    }
}

/// Elements that are added.
impl<T> PagedVec<T> {
    /// Adds an element behind the last one.
    ///
    /// # Cost
    ///
    /// One comparison and a write; system calls where the capacity is used up, which then doubles.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    #[track_caller]
    pub fn push(&mut self, value: T) {
        let len = self.vec.len();
        if len == self.vec.capacity() {
            self.make_room(1, Growth::Amortized);
        }
        // SAFETY: less than the capacity (just compared, or made so).
        let place = unsafe { self.vec.as_mut_ptr().add(len) };
        // SAFETY: memory of the vector, where no element is.
        unsafe { place.write(value) };
        // SAFETY: the element just written, within the capacity.
        unsafe { self.vec.set_len(len.wrapping_add(1)) };
    }

    /// Adds an element, unless that takes more memory than there is.
    ///
    /// # Errors
    ///
    /// The element: the capacity is used up.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::with_capacity(1);
    /// while vec.push_within_capacity(7_u8).is_ok() {}
    /// assert_eq!(vec.len(), vec.capacity());
    /// ```
    #[inline]
    pub fn push_within_capacity(&mut self, value: T) -> core::result::Result<(), T> {
        self.vec.push_within_capacity(value)
    }

    /// Adds an element, with an error where there is no memory.
    ///
    /// # Errors
    ///
    /// The element, and why: as [`try_reserve`](Self::try_reserve). (Where [`Error`] is what a function returns, `?` takes it and lets the element go.)
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::default();
    /// vec.try_push("a")?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    #[allow(clippy::result_large_err, reason = "what fails gives the element back, beside the error")]
    pub fn try_push(&mut self, value: T) -> core::result::Result<(), (T, Error)> {
        if let Err(error) = self.try_reserve(1) {
            return Err((value, error));
        }
        self.push(value);
        Ok(())
    }

    /// Puts an element before that at `index`, or behind the last one; those from there on move on by one.
    ///
    /// # Panics
    ///
    /// When `index` is greater than the length; as [`reserve`](Self::reserve).
    #[track_caller]
    pub fn insert(&mut self, index: usize, element: T) {
        let len = self.len();
        if index > len {
            no_such_index("insertion", index, "<=", len);
        }
        self.reserve(1);
        self.vec.insert(index, element);
    }

    /// Moves all elements of another vector behind these; it keeps its capacity.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn append(&mut self, other: &mut Self) {
        self.reserve(other.len());
        self.vec.append(&mut other.vec);
    }

    /// Takes elements away, and puts others in their place: when the result is dropped, which gives those that were taken.
    ///
    /// # Panics
    ///
    /// When the range is not one of the elements; when the result is dropped, as [`reserve`](Self::reserve).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::from([1, 2, 3, 4]);
    /// let taken = vec.splice(..2, [7, 8, 9]).collect::<Vec<_>>();
    /// assert_eq!(taken, [1, 2]);
    /// assert_eq!(vec, [7, 8, 9, 3, 4]);
    /// ```
    #[track_caller]
    pub fn splice<I>(&mut self, range: impl RangeBounds<usize>, replace_with: I) -> Splice<'_, I::IntoIter>
    where
        I: IntoIterator<Item = T>,
    {
        let range = self.part(range);
        Splice::new(self, range, replace_with.into_iter())
    }

    /// Makes it `len` elements long: by dropping the last ones, or by adding what the closure makes.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn resize_with(&mut self, len: usize, make: impl FnMut() -> T) {
        if let Some(additional) = len.checked_sub(self.len()) {
            self.reserve(additional);
        }
        self.vec.resize_with(len, make);
    }

    #[track_caller]
    pub(super) fn extend_by(&mut self, values: impl IntoIterator<Item = T>) {
        let mut values = values.into_iter();
        self.reserve(values.size_hint().0);
        loop {
            let spare = self.capacity().wrapping_sub(self.len());
            let mut filling = Filling::new(&mut self.vec);
            for _ in 0..spare {
                let Some(value) = values.next() else { return };
                // SAFETY: not more than there is room for.
                unsafe { filling.put(value) };
            }
            drop(filling);
            // Only now is it known that there is more.
            let Some(value) = values.next() else { return };
            self.reserve(values.size_hint().0.saturating_add(1));
            self.push(value);
        }
    }
}

/// Elements that are cloned.
impl<T: Clone> PagedVec<T> {
    /// Adds clones of all elements of a slice.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn extend_from_slice(&mut self, other: &[T]) {
        self.reserve(other.len());
        self.clone_within_capacity(other);
    }

    /// [`extend_from_slice`](Self::extend_from_slice), with an error.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::default();
    /// vec.try_extend_from_slice(b"no abort when memory ends")?;
    /// assert_eq!(vec.len(), 25);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn try_extend_from_slice(&mut self, other: &[T]) -> Result<()> {
        self.try_reserve(other.len())?;
        self.clone_within_capacity(other);
        Ok(())
    }

    /// There is room.
    fn clone_within_capacity(&mut self, other: &[T]) {
        let mut filling = Filling::new(&mut self.vec);
        for value in other {
            // SAFETY: there is room for all of them (the two callers).
            unsafe { filling.put(value.clone()) };
        }
    }

    /// Adds clones of some of the vector's own elements.
    ///
    /// # Panics
    ///
    /// When the range is not one of the elements; as [`reserve`](Self::reserve).
    #[track_caller]
    pub fn extend_from_within(&mut self, range: impl RangeBounds<usize>) {
        let range = self.part(range);
        self.reserve(range.len());
        self.vec.extend_from_within(range);
    }

    /// Makes it `len` elements long: by dropping the last ones, or by adding clones of `value`.
    ///
    /// # Panics
    ///
    /// As [`reserve`](Self::reserve).
    #[track_caller]
    pub fn resize(&mut self, len: usize, value: T) {
        if let Some(additional) = len.checked_sub(self.len()) {
            self.reserve(additional);
        }
        self.vec.resize(len, value);
    }

    /// [`clone`](Clone::clone), with an error where there is no memory.
    ///
    /// # Errors
    ///
    /// As [`try_reserve`](Self::try_reserve).
    ///
    /// # Examples
    ///
    /// ```
    /// let vec = folio::PagedVec::from([1, 2, 3]);
    /// assert_eq!(vec.try_clone()?, vec);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<Self> {
        let mut vec = Self::with_allocator(*self.allocator());
        vec.try_reserve_exact(self.len())?;
        vec.clone_within_capacity(self);
        Ok(vec)
    }
}
