//! A mapping without a type: what all states have in common.

mod fences;
mod locks;
mod parts;
mod rights;

use super::origin::Origin;
use super::part::Ends;
use crate::allocation::{Allocation, give_back, give_up};
use crate::error::{Error, Failure, Operation};
use crate::os;
use crate::page::PageSize;
use crate::range::PageRange;
use alloc::sync::Arc;
use core::mem::ManuallyDrop;
use core::ops::RangeBounds;
use core::ptr::{self, NonNull};

/// Pages of one's own.
///
/// Invariants: (1) the `len` bytes from `base` on, with `before` bytes below and `after` bytes above them, which nobody may touch
/// (guard pages, and what of a page is not of the file's part that was asked for), are whole pages of `unit` bytes, mapped and
/// nobody else's; (2) each of the `len` bytes grants what the typed owner says; (3) `origin` is `Some` as soon as the mapping is,
/// or was once, a part of a larger one, and then the same for all of its parts, or one that holds theirs; also as soon as
/// something has to live as long as the pages.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) base: NonNull<u8>,
    pub(super) len: usize,
    pub(super) before: usize,
    pub(super) after: usize,
    pub(super) origin: Option<Arc<Origin>>,
    /// How many locks of [`Map::lock`] the pages have.
    pub(super) locks: u32,
    /// The pages that the mapping is made of, as a power of two: ordinary or huge ones.
    unit: u8,
    pub(super) content: Content,
    pub(super) marks: Marks,
    /// Made for code that is written while the program runs.
    pub(super) jit: bool,
}

/// Flags that some of the pages may have, and that fresh ones in their place would not; of each, whether others may lack it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) const NONE: Self = Self(0);
    /// Left out of core dumps.
    pub(super) const NO_DUMP: Self = Self(1);
    /// Wiped on fork.
    pub(super) const WIPED: Self = Self(2);

    pub(super) fn any(self) -> bool {
        self != Self::NONE
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// By how many bits further up stands that some pages may lack a flag.
    const LACKING: u32 = 2;

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.in_part().0)
    }

    /// The same flags, but that some pages may lack them.
    pub(super) fn in_part(self) -> Self {
        Self(self.0 | self.0.wrapping_shl(Self::LACKING))
    }

    /// Those of all pages, when these are of some and `other` those of the others.
    pub(super) fn beside(self, other: Self) -> Self {
        self.with(other).with(Self((self.0 ^ other.0) & Self::NO_DUMP.with(Self::WIPED).0).in_part())
    }
}

/// What the pages hold when nobody has written to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Private zeroes.
    Zeroes,
    /// A file, to which is written what is written to the pages.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "without `std` there are no files"))]
    Shared,
    /// A file, whose pages are copied when they are written to first.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "without `std` there are no files"))]
    Copied,
}

// SAFETY: the pages are the value's alone (invariant 1), and the same in every thread; `Map` reaches what is in them by raw pointers
// only, and its typed owners lend references by the rules of borrowing.
unsafe impl Send for Map {}
// SAFETY: as for `Send`.
unsafe impl Sync for Map {}

impl Map {
    /// The pages of an allocation, which grant what it was made with: the typed owner is to say the same.
    pub(super) fn of(allocation: Allocation) -> Self {
        let (base, len) = allocation.into_parts();
        Self::plain(base, len, None)
    }

    fn plain(base: NonNull<u8>, len: usize, origin: Option<Arc<Origin>>) -> Self {
        let unit = exponent(crate::page::size());
        let (content, marks) = (Content::Zeroes, Marks::NONE);
        Self { base, len, before: 0, after: 0, origin, locks: 0, unit, content, marks, jit: false }
    }

    /// A part of what a reservation has.
    ///
    /// # Safety
    ///
    /// `len` bytes of whole pages from `base` on, as invariant 1 says, which are `origin`'s to give.
    pub(super) unsafe fn carved(base: NonNull<u8>, len: usize, origin: Arc<Origin>) -> Self {
        Self::plain(base, len, Some(origin))
    }

    /// What the mapping is a part of.
    pub(super) fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// Ends the mapping, and leaves its pages as they are: they are the caller's.
    pub(super) fn leave_pages(self) -> Option<Arc<Origin>> {
        self.end_locks(self.len);
        ManuallyDrop::new(self).origin.take()
    }

    /// A mapping as it was made: the `len` bytes from `before` bytes behind `first` on, and `after` bytes behind these.
    ///
    /// # Safety
    ///
    /// Invariant 1: `before`, `len` and `after` are whole pages of `unit` bytes, a power of two, that were just mapped, and are given
    /// to nobody else.
    pub(super) unsafe fn made(
        first: NonNull<u8>,
        (before, len, after): (usize, usize, usize),
        unit: usize,
        content: Content,
        attached: os::Attached,
    ) -> Self {
        // SAFETY: inside the mapping (the caller's promise).
        let base = unsafe { first.add(before) };
        let unit = exponent(unit);
        let mut map = Self {
            base,
            len,
            before,
            after,
            origin: None,
            locks: 0,
            unit,
            content,
            marks: Marks::NONE,
            jit: false,
        };
        if attached.is_needed() {
            map.origin = map.extent().map(|whole| Arc::new(Origin::whole(whole, attached)));
        }
        map
    }

    pub(super) fn content(&self) -> Content {
        self.content
    }

    /// Writes to the file what was written to its pages. What has no file, or does not write to it, has nothing to do.
    pub(super) fn flush(&self, bytes: &impl RangeBounds<usize>, wait: bool) -> Result<(), Error> {
        let pages = self.part(bytes, Ends::Anywhere, Operation::Flush)?;
        let (Some(pages), Content::Shared) = (pages, self.content) else { return Ok(()) };
        let attached = self.origin.as_ref().map_or(&os::Attached::NOTHING, |origin| origin.attached());
        os::flush(pages, wait, attached)
            .map_err(|failure| failure.during(Operation::Flush, Some(pages), None))
    }

    /// The size of the pages that the mapping is made of, in bytes: between two of them it can be split.
    pub(super) fn unit(&self) -> usize {
        1_usize.checked_shl(self.unit.into()).unwrap_or(1)
    }

    pub(super) fn page_size(&self) -> PageSize {
        PageSize::from_log2(self.unit.into()).unwrap_or_else(crate::page::base_size)
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn start(&self) -> usize {
        self.base.addr().get()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All that the mapping takes up; `None` never: see invariant 1.
    pub(super) fn extent(&self) -> Option<PageRange> {
        let first = self.start().checked_sub(self.before)?;
        let len = self.before.checked_add(self.len)?.checked_add(self.after)?;
        PageRange::between(first, first.checked_add(len.checked_sub(1)?)?)
    }

    /// `None` for a mapping that has lost all its bytes ([`shut_out`](Self::shut_out)).
    pub(super) fn pages(&self) -> Option<PageRange> {
        self.units(self.start(), self.len)
    }

    /// The pages, in the size that the mapping is made of, that some bytes of the mapping lie in; `None` for no bytes.
    fn units(&self, first: usize, len: usize) -> Option<PageRange> {
        let mask = self.unit().saturating_sub(1);
        let last = first.checked_add(len.checked_sub(1)?)?;
        PageRange::between(first & !mask, last | mask)
    }

    /// Whether it was made for code that is written while the program runs.
    #[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
    pub(super) fn is_jit(&self) -> bool {
        self.jit
    }

    /// As a part of a file leaves it that does not begin or end between two pages.
    #[cfg(test)]
    pub(super) fn hide_ends(&mut self, before: usize, after: usize) {
        assert!(before + after < self.len);
        // SAFETY: less than the length (just checked).
        self.base = unsafe { self.base.add(before) };
        self.before += before;
        self.after += after;
        self.len -= before + after;
    }

    pub(super) fn nothing(&self, operation: Operation) -> Error {
        Failure::invalid("no pages").during(operation, None, None)
    }

    /// The share of the origin, out of the mapping's hands: for [`from_raw`](Self::from_raw).
    pub(super) fn into_raw(self) -> Raw {
        let mut this = ManuallyDrop::new(self);
        let owner = this.origin.take().map_or(ptr::null(), Arc::into_raw);
        Raw {
            base: this.base,
            len: this.len,
            before: this.before,
            after: this.after,
            owner,
            locks: this.locks,
            unit: this.unit,
            content: this.content,
            marks: this.marks,
            jit: this.jit,
        }
    }

    /// # Safety
    ///
    /// What [`into_raw`](Self::into_raw) gave, and nobody else makes a mapping of.
    pub(super) unsafe fn from_raw(raw: Raw) -> Self {
        let Raw { base, len, before, after, owner, locks, unit, content, marks, jit } = raw;
        // SAFETY: not null, so that it came from `Arc::into_raw`, whose share it carries (the caller's promise).
        let origin = if owner.is_null() { None } else { Some(unsafe { Arc::from_raw(owner) }) };
        Self { base, len, before, after, origin, locks, unit, content, marks, jit }
    }
}

/// A mapping taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub(super) base: NonNull<u8>,
    pub(super) len: usize,
    before: usize,
    after: usize,
    owner: *const Origin,
    locks: u32,
    unit: u8,
    content: Content,
    marks: Marks,
    jit: bool,
}

/// Of a power of two, which one.
fn exponent(size: usize) -> u8 {
    u8::try_from(size.trailing_zeros()).unwrap_or(0)
}

impl Drop for Map {
    fn drop(&mut self) {
        let Some(pages) = self.extent() else { return };
        self.end_locks(self.len);
        let gone = match &self.origin {
            // SAFETY: the pages are the value's (invariant 1), which ends here.
            None => unsafe { os::unmap(pages) },
            // SAFETY: as above.
            Some(origin) => unsafe { origin.unmap_part(pages) },
        };
        match gone {
            Ok(()) => give_back(),
            Err(failure) => give_up(pages, failure),
        }
    }
}
