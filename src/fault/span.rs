//! Addresses to be reached by copies: what all that have them share.

use super::{Plain, Word};
use crate::access_fault::{Fault, FaultKind, Stop};
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::os::copying::{self, Access, Ready};
use crate::protection::Protection;
use crate::range::PageRange;
use core::cmp::Ordering;
use core::mem::MaybeUninit;

/// Bytes in a row that need not be there.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    base: *mut u8,
    len: usize,
}

/// Which of the two sides of a copy are ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    To,
}

impl Span {
    pub(crate) fn new(base: *mut u8, len: usize) -> Self {
        Self { base, len }
    }

    pub(crate) fn base(self) -> *mut u8 {
        self.base
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// A part, if it lies inside.
    #[inline]
    pub(crate) fn part(self, offset: usize, len: usize) -> Result<Self> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(Self { base: self.base.wrapping_add(offset), len }),
            _ => Err(self.outside()),
        }
    }

    #[cold]
    fn outside(self) -> Error {
        Failure::invalid("offset and length reach beyond the end").during(Operation::Copy, self.pages(), None)
    }

    fn pages(self) -> Option<PageRange> {
        PageRange::touching(self.base.addr(), self.len).ok()
    }

    #[inline]
    fn ready(self) -> Result<Ready> {
        match copying::ready() {
            Some(ready) => Ok(ready),
            None => self.make_ready(),
        }
    }

    #[cold]
    fn make_ready(self) -> Result<Ready> {
        os::fault::install().map_err(|failure| failure.during(Operation::Copy, self.pages(), None))
    }

    /// The error for what stopped an access to `len` bytes at `offset`; `other` is the side that is not this one.
    #[cold]
    fn stopped(self, offset: usize, len: usize, stop: Stop, side: Side, other: *const u8) -> Error {
        if !copying::WORKS {
            let failure =
                Failure::new(ErrorKind::Unsupported).detail("there are no copies for this processor");
            return failure.during(Operation::Copy, self.pages(), None);
        }
        if let Some(failure) = stop.refusal() {
            return failure.during(Operation::Copy, self.pages(), None);
        }
        let done = len.saturating_sub(stop.left);
        let here = (side == Side::To) == stop.write;
        let place = if here { self.base.cast_const().wrapping_add(offset) } else { other };
        let kind = match stop.kind {
            FaultKind::Other => look(place.wrapping_add(done), stop.write),
            kind => kind,
        };
        let fault = Fault { offset: offset.saturating_add(done), kind, write: stop.write };
        let range = PageRange::touching(self.base.addr().wrapping_add(offset), len).ok();
        Failure::fault(fault).during(Operation::Copy, range, None)
    }

    /// # Safety
    ///
    /// The bytes may be read if they are there; `to` can be written to, and is no part of them.
    #[inline]
    pub(crate) unsafe fn copy_to(self, offset: usize, to: &mut [MaybeUninit<u8>]) -> Result<()> {
        let part = self.part(offset, to.len())?;
        let ready = self.ready()?;
        // SAFETY: the caller's promise.
        match unsafe { copying::copy(ready, to.as_mut_ptr().cast(), part.base, part.len) } {
            Ok(()) => Ok(()),
            Err(stop) => Err(self.stopped(offset, part.len, stop, Side::From, to.as_ptr().cast())),
        }
    }

    /// # Safety
    ///
    /// The bytes may be written to if they are there; `from` is no part of them.
    #[inline]
    pub(crate) unsafe fn copy_from(self, offset: usize, from: &[u8]) -> Result<()> {
        let part = self.part(offset, from.len())?;
        let ready = self.ready()?;
        // SAFETY: the caller's promise.
        match unsafe { copying::copy(ready, part.base, from.as_ptr(), part.len) } {
            Ok(()) => Ok(()),
            Err(stop) => Err(self.stopped(offset, part.len, stop, Side::To, from.as_ptr())),
        }
    }

    /// # Safety
    ///
    /// As [`copy_from`](Self::copy_from).
    #[inline]
    pub(crate) unsafe fn fill(self, offset: usize, len: usize, byte: u8) -> Result<()> {
        let part = self.part(offset, len)?;
        let ready = self.ready()?;
        // SAFETY: the caller's promise.
        match unsafe { copying::fill(ready, part.base, byte, len) } {
            Ok(()) => Ok(()),
            Err(stop) => Err(self.stopped(offset, len, stop, Side::To, part.base)),
        }
    }

    /// # Safety
    ///
    /// As [`copy_to`](Self::copy_to).
    #[inline]
    pub(crate) unsafe fn read<T: Plain>(self, offset: usize) -> Result<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let place = value.as_mut_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: the bytes of a value that is there; they need not be initialized.
        let bytes = unsafe { core::slice::from_raw_parts_mut(place, size_of::<T>()) };
        // SAFETY: the caller's promise; a new variable.
        unsafe { self.copy_to(offset, bytes)? };
        // SAFETY: all bytes are written, and any are a value (`Plain`).
        Ok(unsafe { value.assume_init() })
    }

    /// # Safety
    ///
    /// As [`copy_from`](Self::copy_from).
    #[inline]
    pub(crate) unsafe fn write<T: Plain>(self, offset: usize, value: T) -> Result<()> {
        // SAFETY: a value without padding (`Plain`), so that all of its bytes are initialized.
        let bytes = unsafe { core::slice::from_raw_parts((&raw const value).cast::<u8>(), size_of::<T>()) };
        // SAFETY: the caller's promise; a new variable.
        unsafe { self.copy_from(offset, bytes) }
    }

    /// The order of what is there and of `with`, byte by byte.
    ///
    /// # Safety
    ///
    /// As [`copy_to`](Self::copy_to).
    pub(crate) unsafe fn compare(self, offset: usize, with: &[u8]) -> Result<Ordering> {
        let mut piece = [MaybeUninit::<u8>::uninit(); 1024];
        self.part(offset, with.len())?;
        let mut at = offset;
        for with in with.chunks(piece.len()) {
            let (piece, _) = piece.split_at_mut(with.len());
            // SAFETY: the caller's promise; a new variable.
            let copied = unsafe { self.copy_to(at, piece) };
            let done = match &copied {
                Ok(()) => with.len(),
                Err(error) => match error.fault() {
                    Some(fault) => fault.offset().saturating_sub(at).min(with.len()),
                    None => return copied.map(|()| Ordering::Equal),
                },
            };
            // SAFETY: the first `done` bytes have been copied.
            let seen = unsafe { core::slice::from_raw_parts(piece.as_ptr().cast::<u8>(), done) };
            let order = seen.cmp(with.split_at(done).0);
            if order.is_ne() {
                return Ok(order);
            }
            copied?;
            at = at.saturating_add(with.len());
        }
        Ok(Ordering::Equal)
    }

    /// # Safety
    ///
    /// The bytes may be read and, unless by a load, written to, if they are there.
    #[inline]
    pub(crate) unsafe fn word<T: Word>(self, offset: usize, access: Access) -> Result<T> {
        let part = self.part(offset, size_of::<T>())?;
        if part.base.addr() & size_of::<T>().saturating_sub(1) != 0 {
            return Err(part.misaligned());
        }
        let ready = self.ready()?;
        if !copying::WORDS {
            return Err(part.no_words());
        }
        // SAFETY: the caller's promise, and aligned.
        match unsafe { copying::word(ready, part.base, size_of::<T>(), access) } {
            Ok(value) => Ok(T::from_wide(value)),
            Err(stop) => {
                let side = if access == Access::Load { Side::From } else { Side::To };
                Err(self.stopped(offset, part.len, stop, side, part.base))
            }
        }
    }

    #[cold]
    fn misaligned(self) -> Error {
        Failure::invalid("a word must lie at a multiple of its size").during(
            Operation::Copy,
            self.pages(),
            None,
        )
    }

    #[cold]
    fn no_words(self) -> Error {
        let failure = Failure::new(ErrorKind::Unsupported)
            .detail("on this processor, bytes can be copied, words cannot be reached as a whole");
        failure.during(Operation::Copy, self.pages(), None)
    }

    /// Changes a word until nobody changed it meanwhile: what was there.
    ///
    /// # Safety
    ///
    /// As [`word`](Self::word).
    pub(crate) unsafe fn update<T: Word>(self, offset: usize, change: impl Fn(T) -> T) -> Result<T> {
        // Beginning with a write, so that a fault is one of writing.
        let mut seen = T::from_wide(0);
        loop {
            let access = Access::Exchange(seen.to_wide(), change(seen).to_wide());
            // SAFETY: the caller's promise.
            let found = unsafe { self.word::<T>(offset, access)? };
            if found == seen {
                return Ok(seen);
            }
            seen = found;
        }
    }
}

/// Why a place could not be reached, where the fault itself did not say: as things are now.
#[cold]
fn look(place: *const u8, write: bool) -> FaultKind {
    let right = if write { Protection::WRITE } else { Protection::READ };
    match crate::region::query(place) {
        Ok(region) if !region.is_committed() => FaultKind::NotMapped,
        Ok(region) if region.is_guarded() || !region.protection().contains(right) => FaultKind::NotPermitted,
        Ok(_) => FaultKind::NoBacking,
        Err(error) if error.kind() == ErrorKind::Unmapped => FaultKind::NotMapped,
        Err(_) => FaultKind::Other,
    }
}
