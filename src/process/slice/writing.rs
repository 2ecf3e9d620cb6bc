//! What is written to a slice.

#[cfg(feature = "std")]
use super::ProcessCursor;
use super::index::within;
use super::{Endian, ProcessSlice, ReadableProcessSlice, WriteableProcessSlice, lengths_differ};
use crate::fault::{Plain, Word};
use crate::os::copying::Access;
use crate::process::access::{self, Gone};
use crate::process::{Error, Result};
use core::mem::MaybeUninit;
use core::ops::RangeBounds;

/// How many bytes are copied at once where the two sides overlap.
const PIECE: usize = 1024;

impl WriteableProcessSlice {
    /// The address of the first byte. (`&self`, for what can be done with it is not exclusive in any case.)
    #[inline]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.parts().0
    }

    /// Writes all bytes, as many as `from` has. What is [gone](crate::process#memory-that-is-taken-away) is not written to, nor what comes
    /// behind.
    ///
    /// # Cost
    ///
    /// That of `memcpy`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[track_caller]
    pub fn copy_from_slice(&self, from: &[u8]) {
        if self.copy_from_slice_or_err(from) == Err(Error::SizeMismatch) {
            lengths_differ("copy_from_slice", self.len(), from.len());
        }
    }

    /// Writes all bytes, as many as `from` has.
    ///
    /// # Cost
    ///
    /// That of `memcpy`.
    ///
    /// # Errors
    ///
    /// [`Error::SizeMismatch`] when the lengths differ, and nothing is written; [`Error::MemoryGone`], and the bytes before the first
    /// that is gone are written.
    #[inline]
    pub fn copy_from_slice_or_err(&self, from: &[u8]) -> Result<()> {
        if self.len() != from.len() {
            return Err(Error::SizeMismatch);
        }
        // SAFETY: bytes of the slice, which is borrowed and may be written to; a borrowed slice is no part of it.
        unsafe { access::copy(self.as_mut_ptr(), from.as_ptr(), from.len()) }.map_err(Error::from)
    }

    /// Writes the bytes of another process slice, of this process or another one, as many as this one has. The two may overlap: the bytes
    /// are those that were there before. (Where one piece of memory is mapped at two addresses, that is not seen: what overlaps by way of that
    /// is any mixture.)
    ///
    /// # Cost
    ///
    /// That of `memcpy`; twice that where the two overlap.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    ///
    /// # Examples
    ///
    /// ```
    /// # use folio::process::{Host, WriteableProcessBuffer};
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_write(0, 0..5)?;
    /// guest.read_write(0).mut_enter(|slice| {
    ///     slice.copy_from_slice(b"abcde");
    ///     slice[1..].copy_from(&slice[..4]);
    ///     assert_eq!(slice.to_vec(), b"aabcd");
    /// })?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn copy_from(&self, from: &ReadableProcessSlice) {
        if self.copy_from_or_err(from) == Err(Error::SizeMismatch) {
            lengths_differ("copy_from", self.len(), from.len());
        }
    }

    /// As [`copy_from`](Self::copy_from), without a panic.
    ///
    /// # Errors
    ///
    /// [`Error::SizeMismatch`] when the lengths differ, and nothing is written; [`Error::MemoryGone`], of either side: those before (where
    /// the two overlap, those behind, too) may have been written.
    pub fn copy_from_or_err(&self, from: &ReadableProcessSlice) -> Result<()> {
        let len = self.len();
        if len != from.len() {
            return Err(Error::SizeMismatch);
        }
        let (to, from) = (self.as_mut_ptr(), from.as_ptr());
        if to.addr().abs_diff(from.addr()) >= len {
            // SAFETY: bytes of two slices, which are borrowed, and of which this one may be written to; apart.
            return unsafe { access::copy(to, from, len) }.map_err(Error::from);
        }
        // SAFETY: as above.
        unsafe { copy_overlapping(to, from, len) }.map_err(Error::from)
    }

    /// Copies bytes of the slice to another place in it, from where they may overlap: as [`copy_from`](Self::copy_from).
    ///
    /// # Panics
    ///
    /// If either place is not in the slice.
    #[track_caller]
    pub fn copy_within(&self, from: impl RangeBounds<usize>, to: usize) {
        let all = self.len();
        let parts = within(&from, all).and_then(|(first, len)| {
            let from = self.get(first..)?.get(..len)?;
            Some((from, self.get(to..)?.get(..len)?))
        });
        let Some((from, to)) = parts else {
            outside((from.start_bound().cloned(), from.end_bound().cloned()), to, all)
        };
        to.copy_from(from);
    }

    /// Writes the same byte everywhere. What is [gone](crate::process#memory-that-is-taken-away) is not written to, nor what comes behind.
    ///
    /// # Cost
    ///
    /// That of `memset`.
    #[inline]
    pub fn fill(&self, byte: u8) {
        // SAFETY: bytes of the slice, which is borrowed and may be written to.
        let _lost = unsafe { access::fill(self.as_mut_ptr(), byte, self.len()) };
    }

    /// Writes the bytes of a value to `offset`, which may be any. As a whole it is written only if it is a word
    /// ([`store`](Self::store)).
    ///
    /// # Cost
    ///
    /// A few nanoseconds.
    ///
    /// # Errors
    ///
    /// [`Error::AddressOutOfBounds`] when not all of it is in the slice, and nothing is written; [`Error::MemoryGone`].
    #[inline]
    pub fn write<T: Plain>(&self, offset: usize, value: T) -> Result<()> {
        let place = self.place_of::<T>(offset)?;
        // SAFETY: bytes of the slice, which is borrowed and may be written to.
        unsafe { access::write(place, value) }.map_err(Error::from)
    }

    /// Writes an integer to `offset`, its lowest byte first.
    ///
    /// # Cost, errors
    ///
    /// As [`write`](Self::write).
    #[inline]
    pub fn write_le<T: Endian>(&self, offset: usize, value: T) -> Result<()> {
        self.write(offset, value.of_le())
    }

    /// Writes an integer to `offset`, its highest byte first (as networks have it).
    ///
    /// # Cost, errors
    ///
    /// As [`write`](Self::write).
    #[inline]
    pub fn write_be<T: Endian>(&self, offset: usize, value: T) -> Result<()> {
        self.write(offset, value.of_be())
    }

    #[inline]
    fn word<T: Word>(&self, offset: usize, access: Access) -> Result<T> {
        let place = self.word_at::<T>(offset)?;
        // SAFETY: bytes of the slice, which is borrowed and may be written to; aligned.
        unsafe { access::word(place, access) }.map_err(Error::from)
    }

    /// Writes the word at `offset` as a whole, sequentially consistent.
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    #[inline]
    pub fn store<T: Word>(&self, offset: usize, value: T) -> Result<()> {
        self.swap(offset, value).map(drop)
    }

    /// Writes the word at `offset` and gives what was there, as one access, sequentially consistent.
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    #[inline]
    pub fn swap<T: Word>(&self, offset: usize, value: T) -> Result<T> {
        self.word(offset, Access::Swap(value.to_wide()))
    }

    /// Writes the word at `offset` if it is `current`, as one access, sequentially consistent: `Ok` with what was there if it was, `Err`
    /// with what is there if not.
    ///
    /// # Errors
    ///
    /// The outer one, as [`load`](ReadableProcessSlice::load).
    ///
    /// # Examples
    ///
    /// ```
    /// # use folio::process::{Host, WriteableProcessBuffer};
    /// # let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// # let _before = guest.allow_read_write(0, 0..5)?;
    /// guest.read_write(0).mut_enter(|slice| {
    ///     assert_eq!(slice.compare_exchange(0, 0_u32, 7), Ok(Ok(0)));
    ///     assert_eq!(slice.compare_exchange(0, 0_u32, 8), Ok(Err(7)));
    /// })?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn compare_exchange<T: Word>(
        &self,
        offset: usize,
        current: T,
        new: T,
    ) -> Result<core::result::Result<T, T>> {
        let found = self.word::<T>(offset, Access::Exchange(current.to_wide(), new.to_wide()))?;
        Ok(if found == current { Ok(found) } else { Err(found) })
    }

    /// Adds to the word at `offset`, wrapping round, as one access, sequentially consistent, and gives what was there.
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    #[inline]
    pub fn fetch_add<T: Word>(&self, offset: usize, value: T) -> Result<T> {
        self.word(offset, Access::Add(value.to_wide()))
    }

    /// Subtracts from the word at `offset`; otherwise as [`fetch_add`](Self::fetch_add).
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    #[inline]
    pub fn fetch_sub<T: Word>(&self, offset: usize, value: T) -> Result<T> {
        self.word(offset, Access::Add(value.to_wide().wrapping_neg()))
    }

    /// Changes a word until nobody changed it meanwhile: what was there.
    fn update<T: Word>(&self, offset: usize, change: impl Fn(usize) -> usize) -> Result<T> {
        let mut seen = self.load::<T>(offset)?;
        loop {
            match self.compare_exchange(offset, seen, T::from_wide(change(seen.to_wide())))? {
                Ok(seen) => return Ok(seen),
                Err(other) => seen = other,
            }
        }
    }

    /// Keeps of the word at `offset` those bits that `value` has, and gives what was there; otherwise as
    /// [`fetch_add`](Self::fetch_add), by compare-exchange: again as often as somebody else changed the word in between.
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    pub fn fetch_and<T: Word>(&self, offset: usize, value: T) -> Result<T> {
        self.update(offset, |seen| seen & value.to_wide())
    }

    /// Adds to the word at `offset` those bits that `value` has; otherwise as [`fetch_and`](Self::fetch_and).
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    pub fn fetch_or<T: Word>(&self, offset: usize, value: T) -> Result<T> {
        self.update(offset, |seen| seen | value.to_wide())
    }

    /// Turns those bits of the word at `offset` that `value` has; otherwise as [`fetch_and`](Self::fetch_and).
    ///
    /// # Errors
    ///
    /// As [`load`](ReadableProcessSlice::load).
    pub fn fetch_xor<T: Word>(&self, offset: usize, value: T) -> Result<T> {
        self.update(offset, |seen| seen ^ value.to_wide())
    }

    /// The bytes to be read and written as those of a file that does not grow.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn cursor(&self) -> ProcessCursor<'_, Self> {
        ProcessCursor::new(self)
    }
}

/// Copies by way of memory of ours: upward where `to` lies below `from`, downward where above, so that nothing is written that is still
/// to be read.
///
/// # Safety
///
/// As [`access::copy`], of memory of which slices may be made; the two may overlap.
unsafe fn copy_overlapping(to: *mut u8, from: *const u8, len: usize) -> core::result::Result<(), Gone> {
    let mut room = [MaybeUninit::<u8>::uninit(); PIECE];
    let room = room.as_mut_ptr().cast::<u8>();
    let upward = to.addr() < from.addr();
    let mut done = 0_usize;
    while done < len {
        let step = PIECE.min(len.saturating_sub(done));
        let at = if upward { done } else { len.saturating_sub(done).saturating_sub(step) };
        // SAFETY: the caller's promise, for a part; a new variable, long enough.
        unsafe { access::copy(room, from.wrapping_add(at), step)? };
        // SAFETY: the caller's promise, for a part; so many bytes of the variable have just been written.
        unsafe { access::copy(to.wrapping_add(at), room, step)? };
        done = done.saturating_add(step);
    }
    Ok(())
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of slices")]
fn outside(from: (core::ops::Bound<usize>, core::ops::Bound<usize>), to: usize, len: usize) -> ! {
    panic!("copy of {from:?} to {to} out of range for process slice of length {len}")
}
