//! Where and how pages are made.

use super::map::Map;
use super::{ExecAccess, Mmap, MmapMut, MmapNone, Pages, ReadAccess, Together, WriteAccess};
use crate::allocation::{Allocation, alloc, alloc_at, alloc_near};
use crate::error::{Error, Failure, Operation, Result};
use crate::guard::guard;
use crate::page;
use crate::range::{PageLen, PageRange};

/// Where and how pages are made.
///
/// What is asked for is done or is an error; only the place of [`near`](Self::near) is chosen by the system within what it is told.
///
/// # Examples
///
/// ```
/// use folio::{MmapOptions, page};
///
/// // A stack of 64 KiB with a page on either side that ends the process when it is touched.
/// let mut stack = MmapOptions::new(64 << 10).guard_before(page::size()).guard_after(page::size()).map_mut()?;
/// stack[0] = 1;
///
/// // A megabyte aligned to a megabyte.
/// let aligned = MmapOptions::new(1 << 20).align(1 << 20).map_mut()?;
/// assert_eq!(aligned.start() % (1 << 20), 0);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options make nothing: call one of the `map` methods"]
pub struct MmapOptions {
    len: usize,
    place: Place,
    align: usize,
    before: usize,
    after: usize,
    locked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Anywhere,
    At(usize),
    Near { address: usize, distance: usize },
}

impl MmapOptions {
    /// At least `len` bytes, rounded up to whole pages, at a place of the system's choice.
    pub fn new(len: usize) -> Self {
        Self { len, place: Place::Anywhere, align: 1, before: 0, after: 0, locked: false }
    }

    /// Exactly at this address, which must be a multiple of [`page::granularity`], or not at all: what is mapped there is
    /// never replaced.
    pub fn at(mut self, address: usize) -> Self {
        self.place = Place::At(address);
        self
    }

    /// As near to an address as there is room, all bytes within `distance` bytes of it: see
    /// [`alloc_near`](crate::alloc_near).
    pub fn near(mut self, address: usize, distance: usize) -> Self {
        self.place = Place::Near { address, distance };
        self
    }

    /// With the first byte on a multiple of `align` bytes, a power of two.
    pub fn align(mut self, align: usize) -> Self {
        self.align = align;
        self
    }

    /// With at least `len` bytes of [guard pages](crate::guard()) directly before, which belong to the mapping but not to its
    /// bytes.
    pub fn guard_before(mut self, len: usize) -> Self {
        self.before = len;
        self
    }

    /// With at least `len` bytes of [guard pages](crate::guard()) directly behind.
    pub fn guard_after(mut self, len: usize) -> Self {
        self.after = len;
        self
    }

    /// Locked in memory from the start: see [`Pages::lock`]. What cannot be locked is an error.
    pub fn locked(mut self) -> Self {
        self.locked = true;
        self
    }
}
