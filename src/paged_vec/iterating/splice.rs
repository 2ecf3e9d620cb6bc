//! A range of elements, taken away, and others put in their place.

use crate::PagedVec;
use crate::paged_vec::growing::{Growth, NoRoom};
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;
use core::ptr;

/// Elements that are taken out of a vector, and others that come in their place when this is dropped: made by [`PagedVec::splice`].
pub struct Splice<'a, I: Iterator> {
    gap: Gap<'a, I::Item>,
    replace_with: I,
}

impl<'a, I: Iterator> Splice<'a, I> {
    /// A range of the elements.
    pub(in crate::paged_vec) fn new(
        vec: &'a mut PagedVec<I::Item>,
        range: Range<usize>,
        replace_with: I,
    ) -> Self {
        let tail = range.end..vec.len();
        // SAFETY: less than the length; the others come back when `Gap` is dropped, or are forgotten with it.
        unsafe { vec.set_len(range.start) };
        Self { gap: Gap { vec, left: range, tail }, replace_with }
    }
}

/// A vector that ends before a gap, behind which it goes on.
///
/// Invariant: `vec.len() <= left.start <= left.end <= tail.start <= tail.end <= vec.capacity()` (but that behind an empty tail the vector may
/// go on); there are elements in `left` and `tail`,
/// which are nobody else's. When it is dropped, also for a panic, the gap is closed; `left` is empty by then.
struct Gap<'a, T> {
    vec: &'a mut PagedVec<T>,
    left: Range<usize>,
    tail: Range<usize>,
}

impl<T> Gap<'_, T> {
    /// # Safety
    ///
    /// At most the capacity.
    unsafe fn place(&mut self, index: usize) -> *mut T {
        // SAFETY: within the memory (the caller's promise).
        unsafe { self.vec.as_mut_ptr().add(index) }
    }

    /// Moves an element of `left` out.
    ///
    /// # Safety
    ///
    /// One that was in `left` and is no more.
    unsafe fn take(&mut self, index: usize) -> T {
        // SAFETY: less than the capacity (the invariant).
        let place = unsafe { self.place(index) };
        // SAFETY: the caller's promise.
        unsafe { place.read() }
    }

    fn drop_left(&mut self) {
        let left = core::mem::replace(&mut self.left, self.tail.start..self.tail.start);
        // SAFETY: less than the capacity (the invariant).
        let first = unsafe { self.place(left.start) };
        // SAFETY: elements that are no longer counted as left. (Should one panic, the others are dropped all the same.)
        unsafe { ptr::slice_from_raw_parts_mut(first, left.len()).drop_in_place() };
    }

    /// Puts elements into the gap; false when there are not enough to fill it. Nothing is left in it any more.
    fn fill(&mut self, values: &mut impl Iterator<Item = T>) -> bool {
        while self.vec.len() < self.tail.start {
            let Some(value) = values.next() else { return false };
            // There is room: no more than up to the tail.
            self.vec.push(value);
        }
        true
    }

    /// Moves the tail away by so many places.
    fn widen(&mut self, additional: usize) -> Result<(), NoRoom> {
        let end = self.tail.end;
        self.vec.try_make_room_behind(end, additional, Growth::Amortized)?;
        self.move_tail(self.tail.start.wrapping_add(additional));
        self.left = self.tail.start..self.tail.start;
        Ok(())
    }

    /// There is room for it, and it overwrites no element.
    fn move_tail(&mut self, start: usize) {
        let count = self.tail.len();
        // SAFETY: less than the capacity (the invariant).
        let from = unsafe { self.place(self.tail.start) };
        // SAFETY: the tail ends within the capacity there, too (as the callers see to).
        let to = unsafe { self.place(start) };
        // SAFETY: elements, to where no others are.
        unsafe { ptr::copy(from, to, count) };
        self.tail = start..start.wrapping_add(count);
    }
}

impl<T> Drop for Gap<'_, T> {
    /// (`Splice` has dropped what was left.)
    fn drop(&mut self) {
        let start = self.vec.len();
        if self.tail.start != start {
            self.move_tail(start);
        }
        let end = self.tail.end;
        // SAFETY: the elements of the tail follow upon those that the vector knows of.
        unsafe { self.vec.set_len(end) };
    }
}

impl<I: Iterator> Iterator for Splice<'_, I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        let index = self.gap.left.next()?;
        // SAFETY: just taken from those that are left.
        Some(unsafe { self.gap.take(index) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.gap.left.size_hint()
    }
}

impl<I: Iterator> DoubleEndedIterator for Splice<'_, I> {
    #[inline]
    fn next_back(&mut self) -> Option<I::Item> {
        let index = self.gap.left.next_back()?;
        // SAFETY: just taken from those that are left.
        Some(unsafe { self.gap.take(index) })
    }
}

impl<I: Iterator> ExactSizeIterator for Splice<'_, I> {}
impl<I: Iterator> FusedIterator for Splice<'_, I> {}

impl<I: Iterator> Drop for Splice<'_, I> {
    #[track_caller]
    fn drop(&mut self) {
        let Self { gap, replace_with } = self;
        gap.drop_left();
        if gap.tail.is_empty() {
            // Nothing behind that would have to be moved out of the way: no elements to be moved back either.
            gap.vec.extend_by(replace_with);
            return;
        }
        if !gap.fill(replace_with) {
            return;
        }
        // As many as are promised, and then, of what promised too little, as many as there are.
        let promised = replace_with.size_hint().0;
        if promised > 0 {
            if let Err(no_room) = gap.widen(promised) {
                no_room.panic();
            }
            if !gap.fill(replace_with) {
                return;
            }
        }
        let rest = replace_with.collect::<alloc::vec::Vec<_>>();
        if let Err(no_room) = gap.widen(rest.len()) {
            no_room.panic();
        }
        gap.fill(&mut rest.into_iter());
    }
}

impl<I: Iterator> fmt::Debug for Splice<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splice").field("left", &self.gap.left.len()).finish_non_exhaustive()
    }
}
