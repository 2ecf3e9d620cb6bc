//! Bytes and pieces of a slice, one after the other, from both ends.

use super::{ProcessSlice, ReadableProcessSlice};
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// What is left of a slice: an address and a length.
struct Rest<'a, S: ?Sized> {
    start: *mut u8,
    len: usize,
    slice: PhantomData<&'a S>,
}

// SAFETY: as good as a reference to the slice.
unsafe impl<S: Sync + ?Sized> Send for Rest<'_, S> {}
// SAFETY: as good as a reference to the slice.
unsafe impl<S: Sync + ?Sized> Sync for Rest<'_, S> {}

impl<S: ?Sized> Clone for Rest<'_, S> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, S: ProcessSlice + ?Sized> Rest<'a, S> {
    fn new(slice: &'a S) -> Self {
        let (start, len) = slice.parts();
        Self { start, len, slice: PhantomData }
    }

    /// Takes so many from the front, or all that are left.
    #[inline]
    fn front(&mut self, len: usize) -> &'a S {
        let (start, len) = (self.start, len.min(self.len));
        self.start = start.wrapping_add(len);
        self.len = self.len.saturating_sub(len);
        // SAFETY: bytes of the slice, which is borrowed as long.
        unsafe { S::at(start, len) }
    }

    /// Takes so many from the back, or all that are left.
    #[inline]
    fn back(&mut self, len: usize) -> &'a S {
        let len = len.min(self.len);
        self.len = self.len.saturating_sub(len);
        // SAFETY: bytes of the slice, which is borrowed as long.
        unsafe { S::at(self.start.wrapping_add(self.len), len) }
    }
}

/// The bytes of a process slice, each to be reached by itself: made by `iter`.
pub struct Iter<'a, S: ?Sized>(Rest<'a, S>);

impl<'a, S: ProcessSlice + ?Sized> Iter<'a, S> {
    pub(super) fn new(slice: &'a S) -> Self {
        Self(Rest::new(slice))
    }

    /// What is left.
    pub fn as_slice(&self) -> &'a S {
        self.0.clone().front(usize::MAX)
    }
}

/// The only byte of a slice.
#[inline]
fn only<S: ProcessSlice + ?Sized>(slice: &S) -> Option<&S::Byte> {
    let (start, len) = slice.parts();
    // SAFETY: a byte of the slice, which is borrowed as long.
    (len != 0).then(|| unsafe { S::byte_at(start) })
}

impl<'a, S: ProcessSlice + ?Sized> Iterator for Iter<'a, S> {
    type Item = &'a S::Byte;

    #[inline]
    fn next(&mut self) -> Option<&'a S::Byte> {
        only(self.0.front(1))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len, Some(self.0.len))
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<&'a S::Byte> {
        self.0.front(n);
        self.next()
    }
}

impl<'a, S: ProcessSlice + ?Sized> DoubleEndedIterator for Iter<'a, S> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a S::Byte> {
        only(self.0.back(1))
    }
}

/// Pieces of a process slice: made by `chunks`.
pub struct Chunks<'a, S: ?Sized> {
    rest: Rest<'a, S>,
    /// Not 0.
    size: usize,
}

impl<'a, S: ProcessSlice + ?Sized> Chunks<'a, S> {
    #[track_caller]
    pub(super) fn new(slice: &'a S, size: usize) -> Self {
        if size == 0 {
            no_size();
        }
        Self { rest: Rest::new(slice), size }
    }
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of slices")]
fn no_size() -> ! {
    panic!("chunk size must be non-zero")
}

impl<'a, S: ProcessSlice + ?Sized> Iterator for Chunks<'a, S> {
    type Item = &'a S;

    #[inline]
    fn next(&mut self) -> Option<&'a S> {
        (self.rest.len != 0).then(|| self.rest.front(self.size))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.rest.len.div_ceil(self.size);
        (len, Some(len))
    }

    #[inline]
    fn nth(&mut self, n: usize) -> Option<&'a S> {
        self.rest.front(self.size.saturating_mul(n));
        self.next()
    }
}

impl<'a, S: ProcessSlice + ?Sized> DoubleEndedIterator for Chunks<'a, S> {
    #[inline]
    fn next_back(&mut self) -> Option<&'a S> {
        let last = match self.rest.len.checked_rem(self.size)? {
            0 => self.size,
            short => short,
        };
        (self.rest.len != 0).then(|| self.rest.back(last))
    }
}

macro_rules! both {
    ($($iterator:ident)*) => {$(
        impl<S: ProcessSlice + ?Sized> ExactSizeIterator for $iterator<'_, S> {}
        impl<S: ProcessSlice + ?Sized> FusedIterator for $iterator<'_, S> {}

        /// How many are left.
        impl<S: ProcessSlice + ?Sized> fmt::Debug for $iterator<'_, S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($iterator), "({} left)"), self.len())
            }
        }
    )*};
}

both! { Iter Chunks }

impl<S: ?Sized> Clone for Iter<'_, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: ?Sized> Clone for Chunks<'_, S> {
    fn clone(&self) -> Self {
        Self { rest: self.rest.clone(), size: self.size }
    }
}

/// How many bytes [`Bytes`] reads at once.
const AHEAD: usize = 64;

/// The values of the bytes of a process slice, each read once, 64 at a time: made by [`ReadableProcessSlice::bytes`].
#[derive(Clone)]
pub struct Bytes<'a> {
    rest: &'a ReadableProcessSlice,
    read: [MaybeUninit<u8>; AHEAD],
    /// Those at `next..end` were read, and not given out yet. `end` is at most `AHEAD`.
    next: usize,
    end: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(slice: &'a ReadableProcessSlice) -> Self {
        Self { rest: slice, read: [MaybeUninit::uninit(); AHEAD], next: 0, end: 0 }
    }

    #[cold]
    fn read(&mut self) {
        let mut rest = Rest::new(self.rest);
        let piece = rest.front(AHEAD);
        if let Some(room) = self.read.get_mut(..piece.len()) {
            (self.next, self.end) = (0, piece.copy_to_uninit(room).len());
        }
        self.rest = rest.front(usize::MAX);
    }
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        if self.next >= self.end {
            if self.rest.is_empty() {
                return None;
            }
            self.read();
        }
        let byte = self.read.get(self.next)?;
        self.next = self.next.saturating_add(1);
        // SAFETY: before `end`: it was read.
        Some(unsafe { byte.assume_init() })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.rest.len().saturating_add(self.end.saturating_sub(self.next));
        (len, Some(len))
    }
}

impl ExactSizeIterator for Bytes<'_> {}
impl FusedIterator for Bytes<'_> {}

/// How many are left.
impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} left)", self.len())
    }
}
