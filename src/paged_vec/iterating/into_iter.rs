//! A whole vector, element by element.

use crate::PagedVec;
use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;

/// The elements of a vector, which it owns, and its pages: made by `into_iter`.
pub struct IntoIter<T> {
    /// Its length is 0: it has the memory only.
    vec: PagedVec<T>,
    /// Where elements are still. (Not pointers, of which those to elements without size would have to be counted by other means.)
    left: Range<usize>,
}

impl<T> IntoIter<T> {
    fn new(mut vec: PagedVec<T>) -> Self {
        let left = 0..vec.len();
        // SAFETY: less than the capacity; the elements are the iterator's from now on.
        unsafe { vec.set_len(0) };
        Self { vec, left }
    }

    /// Those that are still to come.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: within the memory, where these elements are.
        let first = unsafe { self.vec.as_ptr().add(self.left.start) };
        // SAFETY: so many elements, which are borrowed with the iterator.
        unsafe { core::slice::from_raw_parts(first, self.left.len()) }
    }

    /// Those that are still to come.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as `as_slice`.
        let first = unsafe { self.vec.as_mut_ptr().add(self.left.start) };
        // SAFETY: as `as_slice`; the iterator is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(first, self.left.len()) }
    }

    /// Moves an element out.
    ///
    /// # Safety
    ///
    /// One that is not moved out otherwise, before or after.
    #[inline]
    unsafe fn element(&self, index: usize) -> T {
        // SAFETY: within the memory (the caller's promise).
        let place = unsafe { self.vec.as_ptr().add(index) };
        // SAFETY: the caller's promise.
        unsafe { place.read() }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let index = self.left.next()?;
        // SAFETY: it was among those that are left, and is no more.
        Some(unsafe { self.element(index) })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    #[inline]
    fn count(self) -> usize {
        self.left.len()
    }
}

impl<T> DoubleEndedIterator for IntoIter<T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        let index = self.left.next_back()?;
        // SAFETY: it was among those that are left, and is no more.
        Some(unsafe { self.element(index) })
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<T> Drop for IntoIter<T> {
    fn drop(&mut self) {
        let rest: *mut [T] = self.as_mut_slice();
        // SAFETY: the elements that nobody took, and nobody will any more. (Should one panic, the others are dropped all the same,
        // and the vector's memory given back.)
        unsafe { rest.drop_in_place() };
    }
}

impl<T: Clone> Clone for IntoIter<T> {
    fn clone(&self) -> Self {
        let mut vec = PagedVec::with_allocator(*self.vec.allocator());
        vec.extend_from_slice(self.as_slice());
        vec.into_iter()
    }
}

impl<T> Default for IntoIter<T> {
    fn default() -> Self {
        PagedVec::default().into_iter()
    }
}

impl<T> AsRef<[T]> for IntoIter<T> {
    fn as_ref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: fmt::Debug> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntoIter").field(&self.as_slice()).finish()
    }
}

impl<T> IntoIterator for PagedVec<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter::new(self)
    }
}

impl<'a, T> IntoIterator for &'a PagedVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut PagedVec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
