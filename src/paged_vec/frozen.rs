//! A vector that nobody writes to.

use super::PagedVec;
use crate::error::{Error, Operation};
use crate::os;
use crate::protection::Protection;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem::{self, ManuallyDrop};
use core::ops::Deref;
use core::ptr;
use zerocopy::Immutable;

/// Elements in pages that can be read only: made by [`PagedVec::freeze`]. It is a slice by [`Deref`].
///
/// Whoever writes to them, by whatever mistake, ends the process. When it is dropped, the elements are moved out one by one and
/// dropped, so that their drops do not write to the pages either.
///
/// # Examples
///
/// ```
/// use folio::PagedVec;
///
/// let frozen = PagedVec::from([1_u64, 2, 3]).freeze()?;
/// assert_eq!(frozen[1], 2);
///
/// let mut vec = frozen.thaw()?;
/// vec[1] = 7;
/// # Ok::<(), folio::Error>(())
/// ```
///
/// A table of one's own type, built once and read by many threads. ([`Immutable`] is derived; it is the one of zerocopy 0.8.)
///
/// ```
/// use folio::PagedVec;
///
/// #[derive(zerocopy::Immutable)]
/// struct Square {
///     of: u32,
///     is: u64,
/// }
///
/// let table: PagedVec<_> = (0..10_000_u32).map(|of| Square { of, is: u64::from(of).pow(2) }).collect();
/// let table = std::sync::Arc::new(table.freeze()?);
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         let table = table.clone();
///         scope.spawn(move || assert_eq!(table.iter().find(|square| square.is == 49).unwrap().of, 7));
///     }
/// });
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0594
/// let mut frozen = folio::PagedVec::from([1_u64]).freeze()?;
/// frozen[0] = 2; // cannot assign
/// # Ok::<(), folio::Error>(())
/// ```
///
/// What could be written to by a shared reference cannot be frozen:
///
/// ```compile_fail
/// let vec = folio::PagedVec::from([std::cell::Cell::new(1)]);
/// let frozen = vec.freeze();
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "zerocopy")))]
pub struct FrozenVec<T> {
    /// Invariant: its pages can be read, and perhaps not be written to.
    vec: ManuallyDrop<PagedVec<T>>,
}

#[cfg_attr(docsrs, doc(cfg(feature = "zerocopy")))]
#[allow(clippy::result_large_err, reason = "what fails gives the vector back, beside the error")]
impl<T: Immutable> PagedVec<T> {
    /// Lets nobody write to the elements any more, until they are [thawed](FrozenVec::thaw).
    ///
    /// # Cost
    ///
    /// One system call; none for a vector without memory.
    ///
    /// # Errors
    ///
    /// The vector, and why: as [`protect`](crate::protect). What the system had changed before it refused is changed back. Should it refuse
    /// that as well, the elements are moved to other pages; if there is no memory for them either, they are dropped, and the vector is
    /// empty.
    pub fn freeze(self) -> Result<FrozenVec<T>, (Self, Error)> {
        let Some((_, pages)) = self.all_pages() else { return Ok(FrozenVec::of(self)) };
        // SAFETY: the vector's own pages, to which nobody has references; what is made of it does not write to them.
        let Err(failure) = (unsafe { os::protect(pages, Protection::READ) }) else {
            return Ok(FrozenVec::of(self));
        };
        let failed = |failure: crate::error::Failure| failure.during(Operation::Protect, Some(pages), None);
        match failure.changed_part() {
            // SAFETY: as above; what they granted.
            Some(changed) if unsafe { os::protect(changed, Protection::READ_WRITE) }.is_ok() => {
                Err((self, failed(failure.unchanged())))
            }
            Some(_) => Err((FrozenVec::of(self).moved(), failed(failure))),
            None => Err((self, failed(failure))),
        }
    }
}

#[allow(clippy::result_large_err, reason = "what fails gives the vector back, beside the error")]
impl<T> FrozenVec<T> {
    pub(super) fn of(vec: PagedVec<T>) -> Self {
        Self { vec: ManuallyDrop::new(vec) }
    }

    /// Lets the elements be written to again.
    ///
    /// # Cost
    ///
    /// One system call; none for a vector without memory.
    ///
    /// # Errors
    ///
    /// The frozen vector, and why: as [`protect`](crate::protect). Where [`Error::changed`] names pages, those may be written to.
    ///
    /// # Examples
    ///
    /// ```
    /// let frozen = folio::PagedVec::from([1_u64, 2]).freeze()?;
    /// let mut vec = frozen.thaw()?;
    /// vec.push(3);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn thaw(self) -> Result<PagedVec<T>, (Self, Error)> {
        let mut this = ManuallyDrop::new(self);
        if let Some((_, pages)) = this.vec.all_pages() {
            // SAFETY: the vector's own pages, to which nobody has references: it is given away here.
            if let Err(failure) = unsafe { os::protect(pages, Protection::READ_WRITE) } {
                let failure = match failure.changed_part() {
                    // SAFETY: as above; what they granted.
                    Some(changed) if unsafe { os::protect(changed, Protection::READ) }.is_ok() => {
                        failure.unchanged()
                    }
                    _ => failure,
                };
                let error = failure.during(Operation::Protect, Some(pages), None);
                return Err((ManuallyDrop::into_inner(this), error));
            }
        }
        // SAFETY: taken out once: the drop does not run.
        Ok(unsafe { ManuallyDrop::take(&mut this.vec) })
    }

    /// The elements in other pages, that can be written to; none if there are none to be had.
    #[cold]
    pub(super) fn moved(mut self) -> PagedVec<T> {
        let mut other = PagedVec::with_allocator(*self.vec.allocator());
        let count = self.len();
        if other.try_reserve_exact(count).is_ok() {
            // SAFETY: as many initialized elements, into memory of another vector that has room for them.
            unsafe { ptr::copy_nonoverlapping(self.as_ptr(), other.as_mut_ptr(), count) };
            // SAFETY: less: the elements are the other vector's now.
            unsafe { self.vec.set_len(0) };
            // SAFETY: they were just moved there.
            unsafe { other.set_len(count) };
        }
        other
    }
}

/// The elements that are not dropped yet.
struct Rest<'a, T> {
    vec: &'a mut PagedVec<T>,
    next: usize,
    end: usize,
}

impl<T> Rest<'_, T> {
    /// Moves one after the other out, and drops it.
    fn drop_all(&mut self) {
        while self.next < self.end {
            // SAFETY: less than the number of elements.
            let place = unsafe { self.vec.as_ptr().add(self.next) };
            self.next = self.next.wrapping_add(1);
            // SAFETY: each element once; the vector knows of none.
            drop(unsafe { place.read() });
        }
    }
}

/// One drop may panic, and the others are to be dropped all the same. (If another does, the process ends, as it does for `Vec`.)
impl<T> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        self.drop_all();
    }
}

impl<T> Drop for FrozenVec<T> {
    fn drop(&mut self) {
        // SAFETY: taken out once: this is the end of the value.
        let mut vec = unsafe { ManuallyDrop::take(&mut self.vec) };
        let end = vec.len();
        // SAFETY: less; what is in the value itself, not in its pages, is changed.
        unsafe { vec.set_len(0) };
        if mem::needs_drop::<T>() {
            Rest { vec: &mut vec, next: 0, end }.drop_all();
        }
    }
}

impl<T> Deref for FrozenVec<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.vec.as_slice()
    }
}

impl<T> AsRef<[T]> for FrozenVec<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> Borrow<[T]> for FrozenVec<T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T: fmt::Debug> fmt::Debug for FrozenVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

macro_rules! equal {
    ($([$($extra:tt)*] $right:ty;)*) => {$(
        impl<T: PartialEq<U>, U, $($extra)*> PartialEq<$right> for FrozenVec<T> {
            fn eq(&self, other: &$right) -> bool {
                let (own, other): (&[T], &[U]) = (self.as_ref(), other.as_ref());
                own == other
            }
        }
    )*};
}

equal! {
    [] FrozenVec<U>;
    [] PagedVec<U>;
    [] [U];
    [] &[U];
    [const N: usize] [U; N];
    [] alloc::vec::Vec<U>;
}

impl<T: Eq> Eq for FrozenVec<T> {}

impl<T: PartialOrd> PartialOrd for FrozenVec<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Ord> Ord for FrozenVec<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Hash> Hash for FrozenVec<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<'a, T> IntoIterator for &'a FrozenVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
