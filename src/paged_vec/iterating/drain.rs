//! A range of elements, taken away.

use crate::page_allocator::PageAllocator;
use allocator_api2::vec;
use core::fmt;
use core::iter::FusedIterator;

/// Elements that are taken out of a vector: made by [`PagedVec::drain`](crate::PagedVec::drain).
pub struct Drain<'a, T> {
    inner: vec::Drain<'a, T, PageAllocator>,
}

impl<'a, T> Drain<'a, T> {
    pub(in crate::paged_vec) fn new(inner: vec::Drain<'a, T, PageAllocator>) -> Self {
        Self { inner }
    }

    /// Those that are still to come.
    pub fn as_slice(&self) -> &[T] {
        self.inner.as_slice()
    }
}

impl<T> AsRef<[T]> for Drain<'_, T> {
    fn as_ref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: fmt::Debug> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Drain").field(&self.as_slice()).finish()
    }
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.inner.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl<T> DoubleEndedIterator for Drain<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        self.inner.next_back()
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}
impl<T> FusedIterator for Drain<'_, T> {}
