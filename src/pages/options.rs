//! Where and how pages are made.

use super::map::Map;
use super::{ExecAccess, Mmap, MmapMut, MmapNone, Pages, ReadAccess, Together, WriteAccess};
use crate::allocation::{alloc, alloc_jit, at, near};
use crate::error::{Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::protection::Protection;
use crate::range::PageLen;

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
    jit: bool,
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
        Self { len, place: Place::Anywhere, align: 1, before: 0, after: 0, locked: false, jit: false }
    }

    /// With the first byte exactly at this address, which must be a multiple of [`page::size`], or not at all: what is mapped there
    /// is never replaced.
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
    ///
    /// Beyond [`page::granularity`], so much more is mapped for a moment, and the surplus given back. (On Windows it stays reserved,
    /// without memory, for as long as the mapping lives.)
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

    /// For code that is written while the program runs: what it takes to make the pages writable and executable at once
    /// (without the feature `deny_xw`: `map_exec_mut`, `Pages::make_exec_mut`), and, where programs may not execute what they have
    /// written, to be admitted all the same.
    ///
    /// # Platforms
    ///
    /// | macOS, iOS | `MAP_JIT`, which takes the entitlement `com.apple.security.cs.allow-jit` in programs with the hardened runtime; an address is a wish then, whose answer is checked |
    /// |---|---|
    /// | NetBSD | nothing more: `PROT_MPROTECT` for all rights is asked for with any mapping |
    /// | OpenBSD | nothing: leave is given to programs that are linked with `-z wxneeded` and lie on a file system mounted with `wxallowed` |
    /// | Windows | nothing: an arbitrary code guard is a matter of the whole process |
    /// | others | nothing: any mapping will do |
    #[cfg(feature = "allow_exec")]
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    pub fn jit(mut self) -> Self {
        self.jit = true;
        self
    }

    #[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
    pub(super) fn is_jit(&self) -> bool {
        self.jit
    }
}

/// Everything that a mapping takes up, in bytes: guard pages, and what is aligned between them.
struct Plan {
    before: usize,
    after: usize,
    /// Without what is mapped for the sake of the alignment.
    kept: usize,
    /// As much as must be mapped for an aligned place to be in it.
    whole: PageLen,
}

impl MmapOptions {
    /// Pages that grant nothing.
    ///
    /// # Cost
    ///
    /// One system call; with guard pages one or two more for each side, with an alignment beyond
    /// [`page::granularity`] two more and an allocation.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): a length of 0, more than `isize::MAX` bytes in all, an alignment that
    ///   is no power of two, an address that is not aligned as asked for or to pages.
    /// - [`ErrorKind::Occupied`](crate::ErrorKind::Occupied): something is mapped where the mapping was to be.
    /// - As [`alloc`](crate::alloc()) and [`alloc_near`](crate::alloc_near), [`guard`](crate::guard()) and, with
    ///   [`locked`](Self::locked), [`lock`](crate::lock).
    ///
    /// On failure nothing stays mapped.
    #[inline]
    pub fn map_none(&self) -> Result<MmapNone> {
        self.make()
    }

    /// Pages that can be read: zeroes, until they are made writable.
    ///
    /// # Cost, errors
    ///
    /// As [`map_none`](Self::map_none).
    #[inline]
    pub fn map(&self) -> Result<Mmap> {
        self.make()
    }

    /// Pages that can be read and written.
    ///
    /// # Cost, errors
    ///
    /// As [`map_none`](Self::map_none).
    #[inline]
    pub fn map_mut(&self) -> Result<MmapMut> {
        self.make()
    }

    #[inline]
    pub(super) fn make<R, W, X>(&self) -> Result<Pages<R, W, X>>
    where
        R: ReadAccess,
        W: WriteAccess,
        X: ExecAccess,
        (W, X): Together,
    {
        let protection = Pages::<R, W, X>::PROTECTION;
        let plain = matches!(self.place, Place::Anywhere)
            && self.before == 0
            && self.after == 0
            && self.align.is_power_of_two()
            && self.align <= page::granularity();
        let map = if plain && !self.jit {
            Map::of(alloc(self.len, protection)?, false)
        } else {
            self.arranged(protection)?
        };
        // SAFETY: the pages were mapped with just this protection.
        let mut pages = unsafe { Pages::from_map(map) };
        if self.locked {
            pages.lock()?;
        }
        Ok(pages)
    }

    fn plan(&self) -> core::result::Result<Plan, Failure> {
        let too_long = || Failure::invalid("longer than any piece of memory can be: isize::MAX bytes");
        let rounded = |len: usize| if len == 0 { Ok(0) } else { PageLen::covering(len).map(PageLen::bytes) };
        if !self.align.is_power_of_two() {
            return Err(Failure::invalid("the alignment is no power of two"));
        }
        let aligned_by_itself = self.align <= page::granularity();
        if let Place::At(address) = self.place {
            let odd = |multiple: usize| address & multiple.wrapping_sub(1) != 0;
            if odd(page::size()) || odd(self.align) {
                return Err(Failure::invalid("the address is not aligned to pages, or not as asked for"));
            }
        }
        let (before, after) = (rounded(self.before)?, rounded(self.after)?);
        let len = PageLen::covering(self.len)?;
        // With guard pages before it, the first byte is not where the system would have put it.
        let needs_room = !matches!(self.place, Place::At(_))
            && (!aligned_by_itself || (before > 0 && self.align > page::size()));
        let room = if needs_room { self.align } else { 0 };
        let kept =
            before.checked_add(len.bytes()).and_then(|sum| sum.checked_add(after)).ok_or_else(too_long)?;
        let whole = PageLen::covering(kept.checked_add(room).ok_or_else(too_long)?)?;
        Ok(Plan { before, after, kept, whole })
    }

    #[cold]
    fn arranged(&self, protection: Protection) -> Result<Map> {
        let failed = |failure: Failure| failure.during(Operation::Allocate, None, None);
        let plan = self.plan().map_err(failed)?;
        let whole = plan.whole.bytes();
        let how = if self.jit { os::map_jit_at } else { os::map_at };
        let allocation = match self.place {
            Place::Anywhere if self.jit => alloc_jit(whole, protection)?,
            Place::Anywhere => alloc(whole, protection)?,
            Place::Near { address, distance } => near(address, distance, whole, protection, how)?,
            Place::At(address) => match address.checked_sub(plan.before) {
                Some(first) => at(first, whole, protection, how)?,
                None => {
                    return Err(failed(Failure::invalid(
                        "there is no room for guard pages below the address",
                    )));
                }
            },
        };
        let mut map = Map::of(allocation, self.jit);
        // Where the first byte is to be; there is room for it.
        let mask = self.align.wrapping_sub(1);
        let first = map.start().saturating_add(plan.before).saturating_add(mask) & !mask;
        let surplus = first.saturating_sub(map.start()).saturating_sub(plan.before);
        if surplus > 0 {
            drop(map.split_to(surplus)?);
        }
        if map.len() > plan.kept {
            drop(map.split_off(plan.kept)?);
        }
        map.fence(plan.before, plan.after)?;
        Ok(map)
    }
}
