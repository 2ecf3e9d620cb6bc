//! How much guests may take, and what they have taken.

use super::table::Table;
use super::{Error, Result};
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
    numbers: usize,
    memory: usize,
    guests: usize,
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

impl GuestLimits {
    /// For a guest that takes the place of another one, which may still be there.
    pub(super) fn beside_one(self) -> Self {
        self.guests(self.guests.saturating_add(1))
    }
}

impl Default for GuestLimits {
    /// As [`new`](Self::new).
    fn default() -> Self {
        Self::new()
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
