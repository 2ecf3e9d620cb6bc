//! Who gives memory to guests.

use super::guest::{Control, Guest};
use super::table::Table;
use super::{Error, Result};
use crate::pages::MmapMut;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// How much a guest may take of its host.
///
/// # Examples
///
/// ```
/// use folio::Pages;
/// use folio::process::{Error, GuestLimits, Host};
///
/// let host = Host::with_limits(GuestLimits::new().numbers(2).memory(1 << 20));
/// let guest = host.guest(Pages::new(1 << 20)?)?;
/// guest.allow_read_only(1, 0..1)?;
/// assert_eq!(guest.allow_read_only(2, 0..1).unwrap_err(), Error::LimitExceeded);
///
/// let (pages, error) = host.guest(Pages::new((1 << 20) + 1)?).unwrap_err();
/// assert_eq!(error, Error::LimitExceeded);
/// # drop(pages);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestLimits {
    pub(super) numbers: usize,
    pub(super) memory: usize,
    pub(super) guests: usize,
}

impl GuestLimits {
    /// 32 numbers in each way; memory of any length; any number of guests.
    pub const fn new() -> Self {
        Self { numbers: 32, memory: usize::MAX, guests: usize::MAX }
    }

    /// Under how many numbers, from 0 on, a guest may allow ranges: so many to be read, so many to be read and written. The host keeps
    /// 24 bytes or less for each of them, from the beginning.
    #[must_use]
    pub const fn numbers(mut self, numbers: usize) -> Self {
        self.numbers = numbers;
        self
    }

    /// How many bytes of memory a guest may have.
    #[must_use]
    pub const fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// How many guests may be there at once. One counts until its memory is given back.
    #[must_use]
    pub const fn guests(mut self, guests: usize) -> Self {
        self.guests = guests;
        self
    }
}

impl Default for GuestLimits {
    /// As [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// Gives memory to guests, within limits.
///
/// All threads may use it by reference. Guests need not end before it does.
///
/// # Examples
///
/// ```
/// use folio::Pages;
/// use folio::process::Host;
///
/// let host = Host::new();
/// let guests = [host.guest(Pages::new(1)?)?, host.guest(Pages::new(1)?)?];
/// assert_eq!(host.guests(), 2);
/// assert_ne!(guests[0].id(), guests[1].id());
/// drop(guests);
/// assert_eq!(host.guests(), 0);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Debug)]
pub struct Host {
    limits: GuestLimits,
    guests: Arc<AtomicUsize>,
}

impl Host {
    /// One with the usual [limits](GuestLimits::new).
    pub fn new() -> Self {
        Self::with_limits(GuestLimits::new())
    }

    /// One with other limits for each of its guests.
    pub fn with_limits(limits: GuestLimits) -> Self {
        Self { limits, guests: Arc::new(AtomicUsize::new(0)) }
    }

    /// The limits.
    pub fn limits(&self) -> GuestLimits {
        self.limits
    }

    /// How many guests there are whose memory is not given back yet.
    pub fn guests(&self) -> usize {
        self.guests.load(Ordering::Acquire)
    }

    /// Makes these pages the memory of a new guest. What they hold stays, and is the guest's.
    ///
    /// From now on nobody has references to them: they are reached by raw pointers ([`Guest::as_mut_ptr`]), by who runs the guest, and
    /// by buffers. They are unmapped when the guest has [ended](Guest::terminate).
    ///
    /// # Cost
    ///
    /// Two small allocations. No system call.
    ///
    /// # Errors
    ///
    /// The pages, as they were, and [`Error::LimitExceeded`] when they are longer than the [limits](GuestLimits) say, or
    /// there are as many guests as may be; [`Error::OutOfMemory`].
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::Pages;
    /// use folio::process::{Host, ReadableProcessBuffer};
    ///
    /// let mut pages = Pages::new(1)?;
    /// pages[..5].copy_from_slice(b"image");
    /// let guest = Host::new().guest(pages)?;
    /// assert!(guest.memory().enter(|memory| memory[..5].equals(b"image"))?);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn guest(&self, pages: MmapMut) -> core::result::Result<Guest, (MmapMut, Error)> {
        match self.admit(pages.len()) {
            Ok((table, place)) => Ok(Guest::new(Control::new(pages, place), table, self.limits)),
            Err(error) => Err((pages, error)),
        }
    }

    fn admit(&self, len: usize) -> Result<(Table, Place)> {
        admit(&self.guests, self.limits, len)
    }
}

/// What a new guest takes: its table, and that it is counted.
pub(super) fn admit(guests: &Arc<AtomicUsize>, limits: GuestLimits, len: usize) -> Result<(Table, Place)> {
    if len > limits.memory {
        return Err(Error::LimitExceeded);
    }
    let table = Table::new(limits.numbers)?;
    Ok((table, Place::new(guests, limits.guests)?))
}

/// What the next life of a guest takes. The life before, which is to end, is passed over if it is counted.
pub(super) fn admit_again(before: &Control, limits: GuestLimits, len: usize) -> Result<(Table, Place)> {
    let (guests, one_more) = (before.guests(), limits.guests(limits.guests.saturating_add(1)));
    if before.is_counted() {
        let (table, place) = admit(guests, one_more, len)?;
        // Claimed before it is not counted any more: who was admitted for its sake when it was no more finds it claimed here.
        if before.is_counted() {
            return Ok((table, place));
        }
    }
    admit(guests, limits, len)
}

impl Default for Host {
    /// As [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// That a guest is counted, until this is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn new(guests: &Arc<AtomicUsize>, most: usize) -> Result<Self> {
        let more = |count: usize| if count < most { count.checked_add(1) } else { None };
        match guests.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(Arc::clone(guests))),
            Err(_) => Err(Error::LimitExceeded),
        }
    }

    /// Where it is counted.
    pub(super) fn guests(&self) -> &Arc<AtomicUsize> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
