//! Elements that a closure wants, taken away.

use crate::PagedVec;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;
use core::ptr;

/// Elements that a closure wants: made by [`PagedVec::extract_if`].
#[must_use = "nothing is taken before the iterator is asked for it; `retain_mut` drops elements"]
pub struct ExtractIf<'a, T, F> {
    /// Its length is 0 meanwhile: where this value is forgotten, so are the elements.
    vec: &'a mut PagedVec<T>,
    filter: F,
    /// The elements that the closure was not asked about yet.
    ahead: Range<usize>,
    /// How many were taken: so many places before `ahead` have no element.
    taken: usize,
    /// How many elements there were.
    len: usize,
}

impl<'a, T, F> ExtractIf<'a, T, F> {
    /// A range of the elements.
    pub(in crate::paged_vec) fn new(vec: &'a mut PagedVec<T>, range: Range<usize>, filter: F) -> Self {
        let len = vec.len();
        // SAFETY: less than the capacity; the elements come back when this value is dropped.
        unsafe { vec.set_len(0) };
        Self { vec, filter, ahead: range, taken: 0, len }
    }

    /// # Safety
    ///
    /// At most `len`.
    #[inline]
    unsafe fn place(&mut self, index: usize) -> *mut T {
        // SAFETY: within the memory (the caller's promise).
        unsafe { self.vec.as_mut_ptr().add(index) }
    }
}

impl<T, F: FnMut(&mut T) -> bool> Iterator for ExtractIf<'_, T, F> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        while !self.ahead.is_empty() {
            let index = self.ahead.start;
            // SAFETY: less than `len`.
            let place = unsafe { self.place(index) };
            // SAFETY: an element that was neither taken nor moved yet. Should the closure panic, it stays one of those ahead.
            let wanted = (self.filter)(unsafe { &mut *place });
            self.ahead.start = index.wrapping_add(1);
            if wanted {
                self.taken = self.taken.wrapping_add(1);
                // SAFETY: its place counts as empty from now on.
                return Some(unsafe { place.read() });
            }
            if self.taken > 0 {
                // SAFETY: the first of the empty places.
                let hole = unsafe { self.place(index.wrapping_sub(self.taken)) };
                // SAFETY: two places, of which one holds no element.
                unsafe { ptr::copy_nonoverlapping(place, hole, 1) };
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.ahead.len()))
    }
}

impl<T, F: FnMut(&mut T) -> bool> FusedIterator for ExtractIf<'_, T, F> {}

impl<T, F> Drop for ExtractIf<'_, T, F> {
    fn drop(&mut self) {
        let (next, taken, len) = (self.ahead.start, self.taken, self.len);
        // SAFETY: at most `len`.
        let from = unsafe { self.place(next) };
        // SAFETY: the first of the empty places.
        let to = unsafe { self.place(next.wrapping_sub(taken)) };
        // SAFETY: the elements that are left, to just behind those that stayed.
        unsafe { ptr::copy(from, to, len.wrapping_sub(next)) };
        // SAFETY: all but those that were taken, without a gap.
        unsafe { self.vec.set_len(len.wrapping_sub(taken)) };
    }
}

impl<T, F> fmt::Debug for ExtractIf<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractIf")
            .field("ahead", &self.ahead)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}
