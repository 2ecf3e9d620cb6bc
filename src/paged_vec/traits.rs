//! What is expected of a vector besides its methods.

use super::PagedVec;
use alloc::boxed::Box;
use allocator_api2::vec::Vec;
use core::borrow::{Borrow, BorrowMut};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::{Deref, DerefMut, Index, IndexMut};
use core::panic::UnwindSafe;
use core::slice::SliceIndex;

impl<T> Deref for PagedVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T> DerefMut for PagedVec<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

impl<T, I: SliceIndex<[T]>> Index<I> for PagedVec<T> {
    type Output = I::Output;

    #[inline]
    fn index(&self, index: I) -> &I::Output {
        Index::index(self.as_slice(), index)
    }
}

impl<T, I: SliceIndex<[T]>> IndexMut<I> for PagedVec<T> {
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        IndexMut::index_mut(self.as_mut_slice(), index)
    }
}

impl<T> AsRef<[T]> for PagedVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> AsMut<[T]> for PagedVec<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T> AsRef<Self> for PagedVec<T> {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<T> AsMut<Self> for PagedVec<T> {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl<T> Borrow<[T]> for PagedVec<T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T> BorrowMut<[T]> for PagedVec<T> {
    fn borrow_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for PagedVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

/// As of `Vec`.
impl<T: UnwindSafe> UnwindSafe for PagedVec<T> {}

/// Empty, without memory.
impl<T> Default for PagedVec<T> {
    fn default() -> Self {
        Self::with_allocator(crate::PageAllocator::new())
    }
}

/// With the same [allocator](PagedVec::allocator): as much address space is reserved.
///
/// Panics when there is no memory; see [`try_clone`](PagedVec::try_clone).
impl<T: Clone> Clone for PagedVec<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let mut vec = Self::with_allocator(*self.allocator());
        vec.reserve_exact(self.len());
        vec.extend_from_slice(self);
        vec
    }

    /// Keeps this vector's memory and allocator.
    #[track_caller]
    fn clone_from(&mut self, other: &Self) {
        self.truncate(other.len());
        let (front, rest) = other.split_at(self.len());
        self.clone_from_slice(front);
        self.extend_from_slice(rest);
    }
}

impl<T: Hash> Hash for PagedVec<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<T: Eq> Eq for PagedVec<T> {}

impl<T: PartialOrd> PartialOrd for PagedVec<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.as_slice().partial_cmp(other.as_slice())
    }
}

impl<T: Ord> Ord for PagedVec<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

macro_rules! equal {
    ($([$($extra:tt)*] $left:ty, $right:ty;)*) => {$(
        impl<T: PartialEq<U>, U, $($extra)*> PartialEq<$right> for $left {
            #[inline]
            fn eq(&self, other: &$right) -> bool {
                let (own, other): (&[T], &[U]) = (self.as_ref(), other.as_ref());
                own == other
            }
        }
    )*};
}

equal! {
    [] PagedVec<T>, PagedVec<U>;
    [] PagedVec<T>, [U];
    [] PagedVec<T>, &[U];
    [] PagedVec<T>, &mut [U];
    [const N: usize] PagedVec<T>, [U; N];
    [const N: usize] PagedVec<T>, &[U; N];
    [] PagedVec<T>, alloc::vec::Vec<U>;
    [] [T], PagedVec<U>;
    [] &[T], PagedVec<U>;
    [] &mut [T], PagedVec<U>;
    [const N: usize] [T; N], PagedVec<U>;
    [] alloc::vec::Vec<T>, PagedVec<U>;
}

impl<T> Extend<T> for PagedVec<T> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        self.extend_by(values);
    }
}

impl<'a, T: Copy + 'a> Extend<&'a T> for PagedVec<T> {
    #[track_caller]
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, values: I) {
        self.extend_by(values.into_iter().copied());
    }
}

impl<T> FromIterator<T> for PagedVec<T> {
    #[track_caller]
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut vec = Self::default();
        vec.extend_by(values);
        vec
    }
}

impl<T: Clone> From<&[T]> for PagedVec<T> {
    #[track_caller]
    fn from(values: &[T]) -> Self {
        let mut vec = Self::with_capacity(values.len());
        vec.extend_from_slice(values);
        vec
    }
}

impl<T: Clone> From<&mut [T]> for PagedVec<T> {
    #[track_caller]
    fn from(values: &mut [T]) -> Self {
        Self::from(&*values)
    }
}

impl<T: Clone, const N: usize> From<&[T; N]> for PagedVec<T> {
    #[track_caller]
    fn from(values: &[T; N]) -> Self {
        Self::from(values.as_slice())
    }
}

impl<T, const N: usize> From<[T; N]> for PagedVec<T> {
    #[track_caller]
    fn from(values: [T; N]) -> Self {
        let mut vec = Self::with_capacity(N);
        vec.extend_by(values);
        vec
    }
}

/// Moves the elements.
impl<T> From<alloc::vec::Vec<T>> for PagedVec<T> {
    #[track_caller]
    fn from(mut values: alloc::vec::Vec<T>) -> Self {
        let count = values.len();
        let mut vec = Self::with_capacity(count);
        // SAFETY: as many initialized elements, into memory of another vector that has room for them.
        unsafe { core::ptr::copy_nonoverlapping(values.as_ptr(), vec.as_mut_ptr(), count) };
        // SAFETY: not more than before: the elements are the other vector's now.
        unsafe { values.set_len(0) };
        // SAFETY: they were just moved there.
        unsafe { vec.set_len(count) };
        vec
    }
}

/// Moves the elements.
impl<T> From<Box<[T]>> for PagedVec<T> {
    #[track_caller]
    fn from(values: Box<[T]>) -> Self {
        Self::from(values.into_vec())
    }
}

/// Moves the elements.
impl<T> From<PagedVec<T>> for alloc::vec::Vec<T> {
    fn from(mut values: PagedVec<T>) -> Self {
        let count = values.len();
        let mut vec = Self::with_capacity(count);
        // SAFETY: as many initialized elements, into memory of another vector that has room for them.
        unsafe { core::ptr::copy_nonoverlapping(values.as_ptr(), vec.as_mut_ptr(), count) };
        // SAFETY: not more than before: the elements are the other vector's now.
        unsafe { values.set_len(0) };
        // SAFETY: they were just moved there.
        unsafe { vec.set_len(count) };
        vec
    }
}

impl From<&str> for PagedVec<u8> {
    #[track_caller]
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

/// The vector comes back when it has not just so many elements.
impl<T, const N: usize> TryFrom<PagedVec<T>> for [T; N] {
    type Error = PagedVec<T>;

    fn try_from(values: PagedVec<T>) -> Result<Self, PagedVec<T>> {
        let PagedVec { vec } = values;
        Self::try_from(vec).map_err(|vec: Vec<_, _>| PagedVec { vec })
    }
}
