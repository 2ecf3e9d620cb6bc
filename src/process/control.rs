//! A guest's memory, and that it lives: what its buffers hold on to.

use super::entry::{Entered, Entry};
use super::limits::Place;
use super::{Error, Result};
use crate::pages::MmapMut;
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::fmt;
use core::panic::RefUnwindSafe;
use core::ptr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Which guest it is, or was: a number that is given once, in all of this process, whichever host the guest has.
///
/// Two are ordered as they were given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GuestId(u64);

impl GuestId {
    /// One a nanosecond would last for 584 years.
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a guest: shared by the guest and all buffers of its memory.
pub(super) struct Control {
    entry: Entry,
    id: GuestId,
    /// The first byte of `held`, its provenance exposed: nobody has references to any of them.
    start: *mut u8,
    len: usize,
    guests: Arc<AtomicUsize>,
    /// Taken out once, by who is told to by `entry`; before that nobody touches it.
    held: UnsafeCell<Option<Held>>,
}

/// In this order they go.
struct Held {
    _pages: MmapMut,
    _place: Place,
}

// SAFETY: `held`, which may be sent, is taken out by one thread alone, the one to which `entry` says so, and touched by no other; the
// pointer is one to memory that any thread may reach by what is no data race (`access`). All else is `Sync`.
unsafe impl Sync for Control {}
// SAFETY: as for `Sync`.
unsafe impl Send for Control {}

// Nothing is changed in several steps that a panic could come between.
impl RefUnwindSafe for Control {}

/// Somebody is inside of a guest's memory, which stays until this is dropped.
pub(super) struct Inside<'a>(&'a Control);

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.entry.leave() {
            self.0.reclaim();
        }
    }
}

impl Control {
    pub(super) fn new(mut pages: MmapMut, place: Place) -> Self {
        let (start, len) = (pages.as_mut_ptr(), pages.len());
        let _address = start.expose_provenance();
        Self {
            entry: Entry::new(),
            id: GuestId::next(),
            start,
            len,
            guests: Arc::clone(place.guests()),
            held: UnsafeCell::new(Some(Held { _pages: pages, _place: place })),
        }
    }

    pub(super) fn id(&self) -> GuestId {
        self.id
    }

    /// The first byte. (Of a guest that has ended, where it was.)
    pub(super) fn start(&self) -> *mut u8 {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the host counts it, as long as it does.
    pub(super) fn guests(&self) -> &Arc<AtomicUsize> {
        &self.guests
    }

    /// Whether it still counts as a guest: its memory is not being given back yet.
    pub(super) fn is_counted(&self) -> bool {
        !self.entry.is_claimed()
    }

    #[inline]
    pub(super) fn is_alive(&self) -> bool {
        !self.entry.is_over()
    }

    #[inline]
    pub(super) fn enter(&self) -> Result<Inside<'_>> {
        match self.entry.enter() {
            Entered::Inside => Ok(Inside(self)),
            Entered::Over => Err(Error::NoSuchApp),
            Entered::OverAndLast => {
                self.reclaim();
                Err(Error::NoSuchApp)
            }
        }
    }

    pub(super) fn end(&self) {
        if self.entry.end() {
            self.reclaim();
        }
    }

    /// Gives the memory back: called once, by who was told to by `entry`.
    #[cold]
    fn reclaim(&self) {
        // SAFETY: `entry` said so to this thread alone: nobody else touches it, then or later; and all that were inside have left.
        let held = unsafe { &mut *self.held.get() };
        drop(held.take());
    }

    /// Where bytes are that lie in the memory; null for none.
    pub(super) fn place(&self, offset: usize, len: usize) -> *mut u8 {
        if len == 0 { ptr::null_mut() } else { self.start.wrapping_add(offset) }
    }
}
