//! Who gives memory to guests.

use super::Error;
use super::control::Control;
use super::guest::Guest;
use super::limits::{GuestLimits, admit};
use crate::pages::MmapMut;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

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
        match admit(&self.guests, self.limits, pages.len()) {
            Ok((table, place)) => Ok(Guest::new(Control::new(pages, place), table, self.limits)),
            Err(error) => Err((pages, error)),
        }
    }
}

impl Default for Host {
    /// As [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}
