//! What takes elements away. The memory stays: see `pages` for what gives it back.

use super::growing::no_such_index;
use super::{Drain, ExtractIf, PagedVec};
use core::ops::RangeBounds;
use core::ptr;

impl<T> PagedVec<T> {
    /// Takes the last element away.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.vec.pop()
    }

    /// Takes the last element away if it is as the closure wants it.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::from([1, 2]);
    /// assert_eq!(vec.pop_if(|last| *last > 1), Some(2));
    /// assert_eq!(vec.pop_if(|last| *last > 1), None);
    /// ```
    pub fn pop_if(&mut self, take: impl FnOnce(&mut T) -> bool) -> Option<T> {
        if take(self.last_mut()?) { self.pop() } else { None }
    }

    /// Takes the element at `index` away; those behind move back by one.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> T {
        if index >= self.len() {
            no_such_index("removal", index, "<", self.len());
        }
        self.vec.remove(index)
    }

    /// Takes the element at `index` away; the last one takes its place.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn swap_remove(&mut self, index: usize) -> T {
        if index >= self.len() {
            no_such_index("swap_remove", index, "<", self.len());
        }
        self.vec.swap_remove(index)
    }

    /// Drops all elements but the first `len`. The memory is kept; [`truncate_decommit`](Self::truncate_decommit) gives it back.
    pub fn truncate(&mut self, len: usize) {
        self.vec.truncate(len);
    }

    /// Drops all elements. The memory is kept; [`clear_decommit`](Self::clear_decommit) gives it back.
    pub fn clear(&mut self) {
        self.vec.clear();
    }

    /// Takes elements away, and gives them. Those that are not taken from the result are dropped with it.
    ///
    /// Where the result is forgotten ([`core::mem::forget`]), so are these elements and all behind them.
    ///
    /// # Panics
    ///
    /// When the range is not one of the elements.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Drain<'_, T> {
        let range = self.part(range);
        Drain::new(self.vec.drain(range))
    }

    /// Takes those elements of a range away that the closure wants, as the result is asked for them. When it is dropped before the
    /// end, the rest stay.
    ///
    /// # Panics
    ///
    /// When the range is not one of the elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut vec = folio::PagedVec::from([1, 2, 3, 4, 5, 6]);
    /// let even = vec.extract_if(.., |number| *number % 2 == 0).collect::<Vec<_>>();
    /// assert_eq!((vec.as_slice(), even), ([1, 3, 5].as_slice(), [2, 4, 6].into()));
    /// ```
    #[track_caller]
    pub fn extract_if<F>(&mut self, range: impl RangeBounds<usize>, filter: F) -> ExtractIf<'_, T, F>
    where
        F: FnMut(&mut T) -> bool,
    {
        let range = self.part(range);
        ExtractIf::new(self, range, filter)
    }

    /// Drops the elements that the closure does not want.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.vec.retain(keep);
    }

    /// Drops the elements that the closure does not want, and may change.
    pub fn retain_mut(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.vec.retain_mut(keep);
    }

    /// Of elements in a row that are the same to the closure, drops all but the first. The closure is given the later one first.
    pub fn dedup_by(&mut self, same: impl FnMut(&mut T, &mut T) -> bool) {
        self.vec.dedup_by(same);
    }

    /// Of elements in a row that have the same key, drops all but the first.
    pub fn dedup_by_key<K: PartialEq>(&mut self, key: impl FnMut(&mut T) -> K) {
        self.vec.dedup_by_key(key);
    }

    /// Of equal elements in a row, drops all but the first.
    pub fn dedup(&mut self)
    where
        T: PartialEq,
    {
        self.vec.dedup();
    }

    /// Moves the elements from `at` on into a vector of their own, with the same [allocator](Self::allocator). This one keeps its capacity.
    ///
    /// # Panics
    ///
    /// When `at` is greater than the length; as [`reserve`](Self::reserve).
    #[must_use = "use `truncate` if the elements are of no use"]
    #[track_caller]
    pub fn split_off(&mut self, at: usize) -> Self {
        let Some(count) = self.len().checked_sub(at) else {
            no_such_index("`at` split", at, "<=", self.len())
        };
        let mut other = Self::with_allocator(*self.allocator());
        other.reserve_exact(count);
        // SAFETY: not more than the length.
        let from = unsafe { self.as_ptr().add(at) };
        // SAFETY: as many initialized elements, into memory of another vector that has room for them.
        unsafe { ptr::copy_nonoverlapping(from, other.as_mut_ptr(), count) };
        // SAFETY: less than before: the others are the other vector's now.
        unsafe { self.set_len(at) };
        // SAFETY: they were just moved there.
        unsafe { other.set_len(count) };
        other
    }
}
