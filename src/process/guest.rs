//! A program inside of ours, and its memory.

use super::buffer::{
    ReadOnlyProcessBuffer, ReadOnlyProcessBufferRef, ReadWriteProcessBuffer, ReadWriteProcessBufferRef,
};
use super::control::{Control, GuestId};
use super::limits::{GuestLimits, Place, admit};
use super::slice::within;
use super::table::{Table, Way};
use super::{Error, Result};
use crate::pages::MmapMut;
use alloc::sync::Arc;
use core::fmt;
use core::ops::{Bound, RangeBounds};

/// A program inside of ours that has memory of its own, which it lends to us in parts: made by [`Host::guest`](super::Host::guest).
///
/// What the program is, and who runs it, is not our concern: an interpreter, code made at run time, an emulated processor, a
/// plugin. It reaches its memory by [raw pointers](Self::as_mut_ptr). (Or by [`memory`](Self::memory), which is safe.) Its system calls, by whatever
/// way they come, are to end here: in [`allow_read_only`](Self::allow_read_only) and [`allow_read_write`](Self::allow_read_write).
///
/// All threads may use it by reference. Dropping it [terminates](Self::terminate) it.
///
/// # Examples
///
/// ```
/// use folio::Pages;
/// use folio::process::{Error, Host, ReadableProcessBuffer, WriteableProcessBuffer};
///
/// let mut guest = Host::new().guest(Pages::new(4096)?)?;
/// guest.allow_read_write(0, 0..1024)?;
///
/// // Ended while somebody is inside: that one goes on, and nobody else comes in.
/// let buffer = guest.allow_read_write(0, 0..0)?;
/// buffer.mut_enter(|slice| {
///     guest.terminate();
///     assert_eq!(buffer.enter(|_| ()), Err(Error::NoSuchApp));
///     slice.fill(7);
///     assert_eq!(slice[1023].get(), 7);
/// })?; // Here the memory is given back.
///
/// // Another life: what was allowed in the one before stays dead.
/// let id = guest.id();
/// guest.restart(Pages::new(4096)?)?;
/// assert_ne!(guest.id(), id);
/// assert_eq!(buffer.enter(|_| ()), Err(Error::NoSuchApp));
/// # Ok::<(), folio::Error>(())
/// ```
pub struct Guest {
    control: Arc<Control>,
    allowed: Table,
    limits: GuestLimits,
}

impl Guest {
    pub(super) fn new(control: Control, allowed: Table, limits: GuestLimits) -> Self {
        Self { control: Arc::new(control), allowed, limits }
    }

    /// Which guest it is: another one after each [`restart`](Self::restart).
    pub fn id(&self) -> GuestId {
        self.control.id()
    }

    /// Whether it has not been [terminated](Self::terminate). (By now it may have been.)
    pub fn is_alive(&self) -> bool {
        self.control.is_alive()
    }

    /// The address of the first byte of its memory, for who runs it.
    ///
    /// The memory is there as long as the guest is not terminated; longer only while somebody is [inside](Self::memory), who therefore
    /// runs it there, or sees to it otherwise that it does not run any more when it is terminated. No references are made to it, and it
    /// is read and written in the ways that [`WriteableProcessSlice::from_raw_parts`](super::WriteableProcessSlice::from_raw_parts)
    /// names, since others may be inside at the same time.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.control.start()
    }

    /// How many bytes of memory it has. (Had, if it is terminated.)
    #[expect(clippy::len_without_is_empty, reason = "pages are never empty")]
    pub fn len(&self) -> usize {
        self.control.len()
    }

    /// All of its memory, as a buffer: for who runs it, and loads its program, since while somebody is inside the memory stays.
    pub fn memory(&self) -> ReadWriteProcessBuffer {
        ReadWriteProcessBuffer::new(&self.control, 0, self.control.len())
    }

    /// The offset and the length, if it lives and they lie in its memory.
    fn check(&self, range: &impl RangeBounds<usize>) -> Result<(usize, usize)> {
        if !self.is_alive() {
            return Err(Error::NoSuchApp);
        }
        match within(range, self.control.len()) {
            Some(bytes) => Ok(bytes),
            // A range of nothing may lie anywhere.
            None if range.end_bound() != Bound::Unbounded
                && matches!(within(range, usize::MAX), Some((_, 0))) =>
            {
                Ok((0, 0))
            }
            None => Err(Error::AddressOutOfBounds),
        }
    }

    /// What the guest does to let us read bytes of its memory, `range` counted from its first byte on, under a number: gives what it allowed before
    /// under that number (at first, a default buffer).
    ///
    /// What comes back is **not** a buffer of what is allowed by this call: that is [`read_only`](Self::read_only).
    ///
    /// A range of nothing may lie anywhere, and takes back what was allowed. What is allowed may overlap with whatever else is. What was
    /// allowed before stays within reach of who holds a buffer of it: this gives it to the caller, whose concern that is.
    ///
    /// # Cost
    ///
    /// A lock of its own, and some atomic operations. No system call, no allocation.
    ///
    /// # Errors
    ///
    /// [`Error::AddressOutOfBounds`] when a byte of it is not in its memory (or the end is before the start), [`Error::LimitExceeded`] when
    /// there is [no such number](super::GuestLimits::numbers), [`Error::NoSuchApp`] when it is terminated: what it allowed before is still allowed.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::process::{Error, Host, ReadableProcessBuffer};
    ///
    /// let guest = Host::new().guest(folio::Pages::new(1)?)?;
    /// let len = guest.len();
    /// guest.allow_read_only(0, len - 4..)?;
    /// assert_eq!(guest.allow_read_only(0, len - 4..=len).unwrap_err(), Error::AddressOutOfBounds);
    ///
    /// let before = guest.allow_read_only(0, 0..100)?;
    /// assert_eq!(before.consume(), (guest.as_mut_ptr().wrapping_add(len - 4).cast_const(), 4));
    /// assert_eq!(guest.read_only(0).len(), 100);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn allow_read_only(
        &self,
        number: usize,
        range: impl RangeBounds<usize>,
    ) -> Result<ReadOnlyProcessBuffer> {
        let before = self.allowed.replace(Way::ReadOnly, number, self.check(&range)?)?;
        Ok(self.buffer(before, ReadOnlyProcessBuffer::new))
    }

    /// What the guest does to let us read and write bytes of its memory, under a number: gives what it allowed **before** under that
    /// number; what is allowed by this call is [`read_write`](Self::read_write). These numbers are others than those of [`allow_read_only`](Self::allow_read_only).
    ///
    /// # Cost, errors
    ///
    /// As [`allow_read_only`](Self::allow_read_only).
    pub fn allow_read_write(
        &self,
        number: usize,
        range: impl RangeBounds<usize>,
    ) -> Result<ReadWriteProcessBuffer> {
        let before = self.allowed.replace(Way::ReadWrite, number, self.check(&range)?)?;
        Ok(self.buffer(before, ReadWriteProcessBuffer::new))
    }

    fn buffer<B: Default>(
        &self,
        bytes: Option<(usize, usize)>,
        new: fn(&Arc<Control>, usize, usize) -> B,
    ) -> B {
        bytes.map(|(offset, len)| new(&self.control, offset, len)).unwrap_or_default()
    }

    /// What the guest allows us to read under this number, now. Where nothing ever was (also under a number beyond the limit), a default buffer, which
    /// answers [`Error::NoSuchApp`] as that of a dead guest does; where it was taken back, one of no bytes.
    ///
    /// To be kept for later, keep the guest (in an `Arc`, say), the number and the [`id`](Self::id), and ask again.
    ///
    /// # Cost
    ///
    /// A lock of its own, and some atomic operations. No system call, no allocation.
    pub fn read_only(&self, number: usize) -> ReadOnlyProcessBufferRef<'_> {
        let bytes = self.allowed.get(Way::ReadOnly, number);
        ReadOnlyProcessBufferRef::new(self.buffer(bytes, ReadOnlyProcessBuffer::new))
    }

    /// What the guest allows us to read and write under this number, now: as [`read_only`](Self::read_only).
    ///
    /// # Cost
    ///
    /// As [`read_only`](Self::read_only).
    pub fn read_write(&self, number: usize) -> ReadWriteProcessBufferRef<'_> {
        let bytes = self.allowed.get(Way::ReadWrite, number);
        ReadWriteProcessBufferRef::new(self.buffer(bytes, ReadWriteProcessBuffer::new))
    }

    /// Ends the guest: no closure is let into its memory any more, and each buffer of it answers [`Error::NoSuchApp`].
    ///
    /// The memory is given back to the system: now, if no closure runs in it; otherwise when the last one is through, by the thread
    /// that it runs in. This never waits, and may be called from within a closure. The second time nothing is done. Whoever runs the guest's program
    /// is not stopped by it: he asks [`is_alive`](Self::is_alive), or runs it inside of [`memory`](Self::memory), piece by piece.
    ///
    /// # Cost
    ///
    /// Two atomic operations, and one system call where the memory is given back.
    pub fn terminate(&self) {
        self.control.end();
    }

    /// (It takes the guest exclusively. Who shares it, in an `Arc`, terminates it and makes another one.)
    ///
    /// Ends the guest, as [`terminate`](Self::terminate), and begins another life with these pages, another [`id`](Self::id), and
    /// nothing allowed. Buffers of the life before stay dead.
    ///
    /// # Errors
    ///
    /// The pages, and what [`Host::guest`](super::Host::guest) says; the guest goes on as it was. A life in which closures still run
    /// counts as a guest until they are through: where there are as many guests as may be, one such life is passed over, and more are
    /// [`Error::LimitExceeded`]. One that has ended, and whose memory is given back, has left its place to others.
    pub fn restart(&mut self, pages: MmapMut) -> core::result::Result<(), (MmapMut, Error)> {
        match self.admit_next(pages.len()) {
            Ok((table, place)) => {
                // What was here is dropped, and ends.
                *self = Self::new(Control::new(pages, place), table, self.limits);
                Ok(())
            }
            Err(error) => Err((pages, error)),
        }
    }

    /// What the next life takes. This one, which is to end, is passed over if it is counted.
    fn admit_next(&self, len: usize) -> Result<(Table, Place)> {
        let guests = self.control.guests();
        if self.control.is_counted() {
            let admitted = admit(guests, self.limits.beside_one(), len)?;
            // It is claimed before it is counted no more: who was let in beside one that was there no more finds that here.
            if self.control.is_counted() {
                return Ok(admitted);
            }
        }
        admit(guests, self.limits, len)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.control.end();
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_alive() { "" } else { ", terminated" };
        write!(f, "Guest({}: {:p}, {} bytes{state})", self.id(), self.control.start(), self.control.len())
    }
}
