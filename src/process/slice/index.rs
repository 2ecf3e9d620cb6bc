//! Parts of slices, by position and by every kind of range.

use super::{ProcessSlice, sealed::Sealed};
use core::fmt;
use core::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A position in a process slice, or a range of positions: `usize`, and whatever slices take as ranges. (Nobody else can implement it.)
pub trait ProcessSliceIndex<S: ProcessSlice + ?Sized>: Sealed {
    /// A byte, or a slice.
    type Output: ?Sized;

    /// What is there, if it is in the slice.
    fn get(self, slice: &S) -> Option<&Self::Output>;

    /// What is there.
    ///
    /// # Panics
    ///
    /// If it is not in the slice.
    #[track_caller]
    fn index(self, slice: &S) -> &Self::Output;
}

impl Sealed for usize {}

impl<S: ProcessSlice + ?Sized> ProcessSliceIndex<S> for usize {
    type Output = S::Byte;

    #[inline]
    fn get(self, slice: &S) -> Option<&S::Byte> {
        let (start, len) = slice.parts();
        // SAFETY: a byte of the slice, which is borrowed as long.
        (self < len).then(|| unsafe { S::byte_at(start.wrapping_add(self)) })
    }

    #[inline]
    #[track_caller]
    fn index(self, slice: &S) -> &S::Byte {
        match self.get(slice) {
            Some(byte) => byte,
            None => no_such_byte(self, slice.parts().1),
        }
    }
}

/// The first position and the number of bytes, if all are among `len`.
#[inline]
pub(crate) fn within(range: &impl RangeBounds<usize>, len: usize) -> Option<(usize, usize)> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    if end > len { None } else { Some((start, end.checked_sub(start)?)) }
}

macro_rules! ranges {
    ($($range:ty),*) => {$(
        impl Sealed for $range {}

        impl<S: ProcessSlice + ?Sized> ProcessSliceIndex<S> for $range {
            type Output = S;

            #[inline]
            fn get(self, slice: &S) -> Option<&S> {
                let (start, len) = slice.parts();
                let (first, len) = within(&self, len)?;
                // SAFETY: bytes of the slice, which is borrowed as long.
                Some(unsafe { S::at(start.wrapping_add(first), len) })
            }

            #[inline]
            #[track_caller]
            fn index(self, slice: &S) -> &S {
                match self.clone().get(slice) {
                    Some(part) => part,
                    None => no_such_range(&self, slice.parts().1),
                }
            }
        }
    )*};
}

ranges! {
    Range<usize>, RangeInclusive<usize>, RangeFrom<usize>, RangeTo<usize>, RangeToInclusive<usize>, RangeFull,
    (Bound<usize>, Bound<usize>)
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of slices")]
fn no_such_byte(index: usize, len: usize) -> ! {
    panic!("index out of bounds: the len is {len} but the index is {index}")
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of slices")]
fn no_such_range(range: &dyn fmt::Debug, len: usize) -> ! {
    panic!("range {range:?} out of range for process slice of length {len}")
}
