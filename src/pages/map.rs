//! A mapping without a type: what all states have in common.

use crate::allocation::{Allocation, give_back, give_up};
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::guard::{LockGuard, unlock};
use crate::os;
use crate::protection::Protection;
use crate::range::PageRange;
use alloc::sync::Arc;
use core::mem::{self, ManuallyDrop};
use core::ptr::{self, NonNull};

/// Pages of one's own.
///
/// Invariants: (1) the `len` bytes from `base` on, with `before` bytes below and `after` bytes above them, which nobody may touch (guard
/// pages, and what of a page is not of the file's part that was asked for), are whole pages of `unit` bytes, mapped and nobody
/// else's; (2) each of the `len` bytes grants what the typed owner
/// says; (3) `origin` is `Some` as soon as the mapping is, or was once, a part of a larger one, and
/// then the same for all of its parts.
#[derive(Debug)]
pub(super) struct Map {
    base: NonNull<u8>,
    len: usize,
    before: usize,
    after: usize,
    origin: Option<Arc<Origin>>,
    /// How many locks of [`Map::lock`] the pages have.
    locks: u32,
    /// The pages that the mapping is made of, as a power of two: ordinary or huge ones.
    unit: u8,
    content: Content,
    /// Made for code that is written while the program runs.
    jit: bool,
}

/// What the pages hold when nobody has written to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Zeroes,
}

/// What `os::map` once gave as a whole, for as long as any part of it lives.
#[derive(Debug)]
struct Origin {
    whole: PageRange,
}

impl Drop for Origin {
    fn drop(&mut self) {
        // SAFETY: the last part is gone.
        if let Err(failure) = unsafe { os::release(self.whole) } {
            give_up(self.whole, failure);
        }
    }
}

// SAFETY: the pages are the value's alone (invariant 1), and the same in every thread; `Map` reaches what is in them by raw pointers
// only, and its typed owners lend references by the rules of borrowing.
unsafe impl Send for Map {}
// SAFETY: as for `Send`.
unsafe impl Sync for Map {}

impl Map {
    /// The pages of an allocation, which grant what it was made with: the typed owner is to say the same.
    pub(super) fn of(allocation: Allocation, jit: bool) -> Self {
        let (base, len) = allocation.into_parts();
        let unit = exponent(crate::page::size());
        Self { base, len, before: 0, after: 0, origin: None, locks: 0, unit, content: Content::Zeroes, jit }
    }

    /// The size of the pages that the mapping is made of, in bytes: between two of them it can be split.
    pub(super) fn unit(&self) -> usize {
        1_usize.checked_shl(self.unit.into()).unwrap_or(1)
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

    /// Makes guard pages of the first and the last ones, which are then no longer among the bytes.
    pub(super) fn fence(&mut self, before: usize, after: usize) -> Result<(), Error> {
        let fences = before.checked_add(after).filter(|&fences| fences < self.len);
        let Some(fences) = fences else { return Err(self.nothing(Operation::Guard)) };
        if before > 0 {
            self.guard(self.start(), before)?;
            // SAFETY: `before` is less than the length (just checked).
            self.base = unsafe { self.base.add(before) };
        }
        self.before = before;
        self.len = self.len.saturating_sub(fences);
        // Also if they cannot be made guard pages: they are unmapped with the others.
        self.after = after;
        if after > 0 {
            self.guard(self.start().saturating_add(self.len), after)?;
        }
        Ok(())
    }

    fn guard(&self, first: usize, len: usize) -> Result<(), Error> {
        let pages = PageRange::touching(first, len)
            .map_err(|failure| failure.during(Operation::Guard, None, None))?;
        // SAFETY: pages of this mapping (the caller's doing), which is new: nobody has used them.
        unsafe { os::install_guard(pages) }
            .map_err(|failure| failure.during(Operation::Guard, Some(pages), None))
    }

    /// `None` for a mapping that has lost all its bytes ([`shut_out`](Self::shut_out)).
    pub(super) fn pages(&self) -> Option<PageRange> {
        PageRange::touching(self.start(), self.len).ok()
    }

    /// Lets all pages grant something else. On failure those that the mapping still has grant what they did.
    ///
    /// # Safety
    ///
    /// The typed owner ends here, or says from now on what the pages grant now; no reference into them is left.
    pub(super) unsafe fn protect(&mut self, from: Protection, to: Protection) -> Result<(), Error> {
        let Some(pages) = self.pages() else { return Ok(()) };
        // SAFETY: the caller's promise.
        let changed = unsafe { self.change(pages, from, to) };
        changed.map_err(|failure| failure.during(Operation::Protect, Some(pages), None))
    }

    /// The same, without what was being done; `pages` are all of the mapping's.
    ///
    /// # Safety
    ///
    /// As [`protect`](Self::protect).
    #[inline]
    pub(super) unsafe fn change(
        &mut self,
        pages: PageRange,
        from: Protection,
        to: Protection,
    ) -> Result<(), Failure> {
        // SAFETY: the caller's promise.
        let Err(failure) = (unsafe { os::protect(pages, to) }) else { return Ok(()) };
        Err(match failure.changed_part() {
            // What the system would need for it was there before: giving back what was makes mappings fewer again.
            // SAFETY: as above.
            Some(changed) if unsafe { os::protect(changed, from) }.is_ok() => failure.unchanged(),
            Some(changed) => {
                self.shut_out(changed);
                failure
            }
            None => failure,
        })
    }

    /// Whether it was made for code that is written while the program runs.
    #[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
    pub(super) fn is_jit(&self) -> bool {
        self.jit
    }

    /// Makes the mapping begin behind these of its pages, which do not grant what the typed owner says and cannot be made to: safe
    /// code could reach them by it. Like guard pages they are unmapped with the rest.
    #[cold]
    pub(super) fn shut_out(&mut self, changed: PageRange) {
        let lost = changed.last().saturating_sub(self.start()).saturating_add(1).min(self.len);
        self.end_locks(lost);
        // SAFETY: at most the length.
        self.base = unsafe { self.base.add(lost) };
        self.before = self.before.saturating_add(lost);
        self.len = self.len.saturating_sub(lost);
        if self.len == 0 {
            self.locks = 0;
        }
    }

    /// Locks that outlived their pages would keep those of the next owner locked.
    fn end_locks(&self, len: usize) {
        for _ in 0..self.locks {
            let _unlocked = unlock(self.base.as_ptr().cast_const(), len);
        }
    }

    /// The offset as one between two pages inside the mapping.
    fn boundary(&self, at: usize, operation: Operation) -> Result<usize, Error> {
        let mask = self.unit().saturating_sub(1);
        let odd = self.start().checked_add(at).is_none_or(|boundary| boundary & mask != 0);
        if odd || at == 0 || at >= self.len {
            let why =
                if odd { "not between two pages of the mapping" } else { "both halves would not have pages" };
            return Err(Failure::invalid(why).during(operation, self.pages(), None));
        }
        Ok(at)
    }

    /// Cuts the mapping in two; `self` keeps the pages below `at`.
    pub(super) fn split_off(&mut self, at: usize) -> Result<Self, Error> {
        let at = self.boundary(at, Operation::Split)?;
        let Some(whole) = self.extent() else { return Err(self.nothing(Operation::Split)) };
        // SAFETY: `at` is less than the length (just checked), so that the place lies inside the mapping.
        let base = unsafe { self.base.add(at) };
        let origin = self.origin.get_or_insert_with(|| Arc::new(Origin { whole }));
        let origin = Some(Arc::clone(origin));
        let len = self.len.saturating_sub(at);
        let rest = Self { base, len, before: 0, after: self.after, origin, ..*self };
        self.len = at;
        self.after = 0;
        Ok(rest)
    }

    /// Cuts the mapping in two; `self` keeps the pages from `at` on.
    pub(super) fn split_to(&mut self, at: usize) -> Result<Self, Error> {
        let rest = self.split_off(at)?;
        Ok(mem::replace(self, rest))
    }

    /// Adds the pages of `other`, which come directly behind, and were once of the same mapping.
    pub(super) fn merge(&mut self, other: Self) -> Result<(), (Self, Error)> {
        let refuse = |other: Self, why| {
            let error = Failure::invalid(why).during(Operation::Merge, other.pages(), None);
            Err((other, error))
        };
        let same_origin = match (&self.origin, &other.origin) {
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            _ => false,
        };
        if !same_origin {
            return refuse(
                other,
                "the mappings were never one: memory of two mappings is not one piece of memory to Rust",
            );
        }
        if self.base.addr().get().checked_add(self.len) != Some(other.base.addr().get()) {
            return refuse(other, "the other mapping does not begin where this one ends");
        }
        if self.after != 0 || other.before != 0 {
            return refuse(other, "there are guard pages between the two");
        }
        if self.locks != other.locks {
            return refuse(other, "one of them is locked more often than the other");
        }
        self.len = self.len.saturating_add(other.len);
        self.after = other.after;
        // The pages are counted as this mapping's; of the other, its share of the origin alone ends.
        let other = ManuallyDrop::new(other);
        // SAFETY: `other` is not used after this, nor dropped: the field is read out once.
        drop(unsafe { ptr::read(&raw const other.origin) });
        Ok(())
    }

    fn nothing(&self, operation: Operation) -> Error {
        Failure::invalid("no pages").during(operation, None, None)
    }

    pub(super) fn lock(&mut self) -> Result<(), Error> {
        let more = self.locks.checked_add(1);
        let Some(more) = more else {
            let failure = Failure::new(ErrorKind::Exhausted).detail("locked 4 billion times");
            return Err(failure.during(Operation::Lock, self.pages(), None));
        };
        mem::forget(self.hold()?);
        self.locks = more;
        Ok(())
    }

    pub(super) fn unlock(&mut self) -> Result<(), Error> {
        let Some(fewer) = self.locks.checked_sub(1) else {
            let failure = Failure::invalid("the pages are not locked");
            return Err(failure.during(Operation::Unlock, self.pages(), None));
        };
        unlock(self.base.as_ptr().cast_const(), self.len)?;
        // Not after a failure: it can be tried again, and the drop takes what was not taken.
        self.locks = fewer;
        Ok(())
    }

    pub(super) fn hold(&self) -> Result<LockGuard, Error> {
        crate::guard::lock(self.base.as_ptr().cast_const(), self.len)
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
            jit: this.jit,
        }
    }

    /// # Safety
    ///
    /// What [`into_raw`](Self::into_raw) gave, and nobody else makes a mapping of.
    pub(super) unsafe fn from_raw(raw: Raw) -> Self {
        let Raw { base, len, before, after, owner, locks, unit, content, jit } = raw;
        // SAFETY: not null, so that it came from `Arc::into_raw`, whose share it carries (the caller's promise).
        let origin = if owner.is_null() { None } else { Some(unsafe { Arc::from_raw(owner) }) };
        Self { base, len, before, after, origin, locks, unit, content, jit }
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
            Some(_) => unsafe { os::unmap_part(pages) },
        };
        match gone {
            Ok(()) => give_back(),
            Err(failure) => give_up(pages, failure),
        }
    }
}
