//! What is read from a slice.

#[cfg(feature = "std")]
use super::ProcessCursor;
use super::{Bytes, Endian, ProcessSlice, ReadableProcessSlice, lengths_differ};
use crate::fault::{Plain, Word};
use crate::os::copying::Access;
use crate::process::access::{self, Gone};
use crate::process::{Error, Result};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::mem::MaybeUninit;

/// How many bytes are copied at once to be looked at.
const PIECE: usize = 1024;

impl ReadableProcessSlice {
    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The address of the first byte. (Of no bytes: any address but null, and not the one that was given.) The provenance of what it
    /// points to is exposed.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.parts().0.cast_const()
    }

    /// Copies all bytes, as many as `to` has. Those that have been [taken away](crate::process#memory-that-is-taken-away), and what
    /// comes behind, are copied as zeroes.
    ///
    /// # Cost
    ///
    /// That of `memcpy`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    ///
    /// # Examples
    ///
    /// ```
    /// # use folio::process::{Host, ReadableProcessBuffer};
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_only(0, 0..8)?;
    /// guest.read_only(0).enter(|slice| {
    ///     let mut copy = [1; 4];
    ///     slice[4..].copy_to_slice(&mut copy);
    ///     assert_eq!(copy, [0; 4]);
    /// })?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn copy_to_slice(&self, to: &mut [u8]) {
        if self.len() != to.len() {
            lengths_differ("copy_to_slice", self.len(), to.len());
        }
        // SAFETY: of the same layout; only initialized bytes are written to it.
        let to =
            unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<MaybeUninit<u8>>(), to.len()) };
        let _copied = self.copy_to_uninit(to);
    }

    /// Copies all bytes, as many as `to` has.
    ///
    /// # Cost
    ///
    /// That of `memcpy`.
    ///
    /// # Errors
    ///
    /// [`Error::SizeMismatch`] when the lengths differ, and nothing is copied; [`Error::MemoryGone`], and `to` has the bytes before the
    /// first that is gone.
    #[inline]
    pub fn copy_to_slice_or_err(&self, to: &mut [u8]) -> Result<()> {
        if self.len() != to.len() {
            return Err(Error::SizeMismatch);
        }
        // SAFETY: bytes of the slice, which is borrowed; a borrowed slice is no part of it.
        unsafe { access::copy(to.as_mut_ptr(), self.as_ptr(), to.len()) }.map_err(Error::from)
    }

    /// As [`copy_to_slice`](Self::copy_to_slice), into memory that need not hold anything yet.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[track_caller]
    pub fn copy_to_uninit<'to>(&self, to: &'to mut [MaybeUninit<u8>]) -> &'to mut [u8] {
        if self.len() != to.len() {
            lengths_differ("copy_to_uninit", self.len(), to.len());
        }
        // SAFETY: bytes of the slice, which is borrowed; a borrowed slice is no part of it.
        if let Err(Gone { done }) = unsafe { access::copy(to.as_mut_ptr().cast(), self.as_ptr(), to.len()) } {
            to.iter_mut().skip(done).for_each(|byte| *byte = MaybeUninit::new(0));
        }
        // SAFETY: all bytes are written.
        unsafe { core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len()) }
    }

    /// A copy of all bytes, as by [`copy_to_slice`](Self::copy_to_slice): what can be looked at twice.
    ///
    /// As every `Vec`, it ends the program where the allocator has no room. Where the process says how long the slice is, look at the
    /// length before, or ask by [`to_vec_or_err`](Self::to_vec_or_err).
    ///
    /// # Cost
    ///
    /// An allocation, and that of `memcpy`.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len());
        let room = copy.spare_capacity_mut();
        let len = room.get_mut(..self.len()).map_or(0, |room| self.copy_to_uninit(room).len());
        // SAFETY: so many have just been written, and there is room for them.
        unsafe { copy.set_len(len) };
        copy
    }

    /// A copy of all bytes.
    ///
    /// # Cost
    ///
    /// As [`to_vec`](Self::to_vec).
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] when the allocator has no room; [`Error::MemoryGone`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use folio::process::{Host, ReadableProcessBuffer};
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_only(0, 0..3)?;
    /// let copy = guest.read_only(0).enter(|slice| slice.to_vec_or_err())??;
    /// assert_eq!(copy, [0; 3]);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn to_vec_or_err(&self) -> Result<Vec<u8>> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.len()).map_err(|_| Error::OutOfMemory)?;
        // SAFETY: bytes of the slice, which is borrowed; there is room for as many, which is the vector's own.
        unsafe { access::copy(copy.as_mut_ptr(), self.as_ptr(), self.len()) }?;
        // SAFETY: so many have just been written, and there is room for them.
        unsafe { copy.set_len(self.len()) };
        Ok(copy)
    }

    /// The values of all bytes, one after the other, each read once, 64 at a time. (What is [gone](crate::process#memory-that-is-taken-away)
    /// is 0.)
    #[inline]
    pub fn bytes(&self) -> Bytes<'_> {
        Bytes::new(self)
    }

    /// Where so many bytes begin, if they are in the slice.
    #[inline]
    fn place(&self, offset: usize, len: usize) -> Result<*mut u8> {
        let (start, all) = self.parts();
        match offset.checked_add(len) {
            Some(end) if end <= all => Ok(start.wrapping_add(offset)),
            _ => Err(Error::AddressOutOfBounds),
        }
    }

    /// Where a value begins.
    #[inline]
    pub(super) fn place_of<T>(&self, offset: usize) -> Result<*mut u8> {
        self.place(offset, size_of::<T>())
    }

    /// Where a word begins, aligned.
    #[inline]
    pub(super) fn word_at<T: Word>(&self, offset: usize) -> Result<*mut u8> {
        let place = self.place(offset, size_of::<T>())?;
        if place.addr() & size_of::<T>().saturating_sub(1) == 0 { Ok(place) } else { Err(Error::Misaligned) }
    }

    /// The value whose bytes lie at `offset`, which may be any. It is a copy, and stays as it is; as a whole it is read only if it is
    /// a word ([`load`](Self::load)).
    ///
    /// # Cost
    ///
    /// A few nanoseconds.
    ///
    /// # Errors
    ///
    /// [`Error::AddressOutOfBounds`] when not all of it is in the slice; [`Error::MemoryGone`].
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::fault::Plain;
    /// use folio::process::{Error, Host, ReadableProcessBuffer};
    ///
    /// #[derive(Clone, Copy, PartialEq, Debug)]
    /// #[repr(C)]
    /// struct Entry {
    ///     offset: u32,
    ///     len: u32,
    /// }
    ///
    /// // SAFETY: two integers without a gap.
    /// unsafe impl Plain for Entry {}
    ///
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_only(0, 0..20)?;
    /// guest.read_only(0).enter(|slice| {
    ///     assert_eq!(slice.read(3), Ok(Entry { offset: 0, len: 0 }));
    ///     assert_eq!(slice.read::<Entry>(13), Err(Error::AddressOutOfBounds));
    /// })?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn read<T: Plain>(&self, offset: usize) -> Result<T> {
        let place = self.place_of::<T>(offset)?;
        // SAFETY: bytes of the slice, which is borrowed.
        unsafe { access::read(place.cast_const()) }.map_err(Error::from)
    }

    /// The integer at `offset`, its lowest byte first.
    ///
    /// # Cost, errors
    ///
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_le<T: Endian>(&self, offset: usize) -> Result<T> {
        Ok(self.read::<T>(offset)?.of_le())
    }

    /// The integer at `offset`, its highest byte first (as networks have it).
    ///
    /// # Cost, errors
    ///
    /// As [`read`](Self::read).
    #[inline]
    pub fn read_be<T: Endian>(&self, offset: usize) -> Result<T> {
        Ok(self.read::<T>(offset)?.of_be())
    }

    /// The word at `offset`, read as a whole, sequentially consistent. Nothing is written: memory that can only be read will do.
    ///
    /// Words put copies in order, between threads and between processes: see [`fault`](crate::fault#memory-model).
    ///
    /// # Errors
    ///
    /// [`Error::AddressOutOfBounds`] when not all of it is in the slice; [`Error::Misaligned`] when its *address* is not a multiple of its
    /// size; [`Error::MemoryGone`].
    #[inline]
    pub fn load<T: Word>(&self, offset: usize) -> Result<T> {
        let place = self.word_at::<T>(offset)?;
        // SAFETY: bytes of the slice, which is borrowed; aligned.
        unsafe { access::word(place, Access::Load) }.map_err(Error::from)
    }

    /// The order of the bytes and of others, as slices have it. (What is [gone](crate::process#memory-that-is-taken-away) counts as
    /// zeroes.)
    ///
    /// There is no `==`: two questions need not have one answer.
    ///
    /// # Cost
    ///
    /// A copy and a comparison, 1 KiB at a time, up to the first difference.
    ///
    /// # Examples
    ///
    /// ```
    /// # use folio::process::{Host, ReadableProcessBuffer};
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_only(0, 0..3)?;
    /// guest.read_only(0).enter(|slice| {
    ///     assert!(slice.compare(&[0, 0, 1]).is_lt());
    ///     assert!(slice.compare(&[0, 0]).is_gt());
    ///     assert!(slice.equals(&[0; 3]));
    /// })?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn compare(&self, with: &[u8]) -> Ordering {
        let mut room = [MaybeUninit::uninit(); PIECE];
        for (piece, with) in self.chunks(PIECE).zip(with.chunks(PIECE)) {
            // Only the last pieces may differ in length: of those, what both have, and then the lengths.
            let both = piece.len().min(with.len());
            let (Some(piece), Some(room), Some(with)) =
                (piece.get(..both), room.get_mut(..both), with.get(..both))
            else {
                break;
            };
            let copy: &[u8] = piece.copy_to_uninit(room);
            let order = copy.cmp(with);
            if order.is_ne() {
                return order;
            }
        }
        self.len().cmp(&with.len())
    }

    /// Whether these are the bytes.
    ///
    /// # Cost
    ///
    /// As [`compare`](Self::compare); nothing is read when the lengths differ.
    pub fn equals(&self, with: &[u8]) -> bool {
        self.len() == with.len() && self.compare(with).is_eq()
    }

    /// Where the first byte of this value is.
    ///
    /// # Cost
    ///
    /// A copy and a search, 1 KiB at a time, up to where it is.
    ///
    /// # Examples
    ///
    /// A string that ends with a zero, and whose length is asked once:
    ///
    /// ```
    /// # use folio::process::{Host, WriteableProcessBuffer};
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_write(0, 0..10)?;
    /// # guest.read_write(0).mut_enter(|slice| {
    /// # slice[..3].copy_from_slice(b"abc");
    /// let len = slice.find(0).unwrap_or(slice.len());
    /// assert_eq!(slice[..len].to_vec(), b"abc");
    /// # })?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn find(&self, byte: u8) -> Option<usize> {
        let mut room = [MaybeUninit::uninit(); PIECE];
        let mut before = 0_usize;
        for piece in self.chunks(PIECE) {
            let copy = piece.copy_to_uninit(room.get_mut(..piece.len())?);
            // `contains` looks at many bytes at once.
            if copy.contains(&byte) {
                return copy.iter().position(|&seen| seen == byte).map(|at| before.saturating_add(at));
            }
            before = before.saturating_add(piece.len());
        }
        None
    }

    /// The bytes to be read as those of a file.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn cursor(&self) -> ProcessCursor<'_, Self> {
        ProcessCursor::new(self)
    }
}

impl From<Gone> for Error {
    #[cold]
    fn from(_: Gone) -> Self {
        Self::MemoryGone
    }
}
