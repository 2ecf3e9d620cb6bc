//! A mapping without a type: what all states have in common.

use super::origin::{self, Origin};
use super::part::Ends;
use crate::allocation::{Allocation, give_back, give_up};
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::guard::{LockGuard, unlock};
use crate::os;
use crate::page::PageSize;
use crate::protection::Protection;
use crate::range::PageRange;
use alloc::sync::Arc;
use core::mem::{self, ManuallyDrop};
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

/// Flags that some of the pages may have, and that fresh ones in their place would not.
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

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
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
        let unit = exponent(crate::page::size());
        Self {
            base,
            len,
            before: 0,
            after: 0,
            origin: None,
            locks: 0,
            unit,
            content: Content::Zeroes,
            marks: Marks::NONE,
            jit: false,
        }
    }

    /// A part of what a reservation has.
    ///
    /// # Safety
    ///
    /// `len` bytes of whole pages from `base` on, as invariant 1 says, which are `origin`'s to give.
    pub(super) unsafe fn carved(base: NonNull<u8>, len: usize, origin: Arc<Origin>) -> Self {
        let unit = exponent(crate::page::size());
        let origin = Some(origin);
        Self {
            base,
            len,
            before: 0,
            after: 0,
            origin,
            locks: 0,
            unit,
            content: Content::Zeroes,
            marks: Marks::NONE,
            jit: false,
        }
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

    /// Lets go of the pages for ever: for when they may be somebody else's.
    #[cold]
    pub(super) fn abandon_all(&mut self) {
        self.before = 0;
        self.after = 0;
        self.len = 0;
        self.locks = 0;
    }

    /// Sets the first and the last pages of new address space apart, which are then no longer among the bytes: they never get memory.
    pub(super) fn set_apart(&mut self, before: usize, after: usize) -> Result<(), Error> {
        let apart = before.checked_add(after).filter(|&apart| apart < self.len);
        let Some(apart) = apart else { return Err(self.nothing(Operation::Reserve)) };
        // SAFETY: `before` is less than the length (just checked).
        self.base = unsafe { self.base.add(before) };
        self.before = before;
        self.after = after;
        self.len = self.len.saturating_sub(apart);
        Ok(())
    }

    /// Gives all pages memory.
    ///
    /// # Safety
    ///
    /// The pages are address space only; the typed owner says from now on what they grant.
    pub(super) unsafe fn commit(&mut self, to: Protection) -> Result<(), Error> {
        let Some(pages) = self.pages() else { return Ok(()) };
        // SAFETY: the caller's promise: nobody has a reference into what cannot be touched.
        let Err(failure) = (unsafe { os::commit(pages, to) }) else { return Ok(()) };
        let Some(changed) = failure.changed_part() else {
            return Err(failure.during(Operation::Commit, Some(pages), None));
        };
        // SAFETY: as above.
        let failure = match unsafe { os::decommit(changed) } {
            Ok(()) => failure.unchanged(),
            Err(lost) if lost.kind() == ErrorKind::Unmapped => {
                self.say_lost();
                self.abandon_all();
                failure
            }
            Err(_) => failure,
        };
        Err(failure.during(Operation::Commit, Some(pages), None))
    }

    /// Takes the memory from all pages, and their locks.
    ///
    /// # Safety
    ///
    /// The typed owner ends here, and promises from now on nothing of what they grant; no reference into them is left.
    pub(super) unsafe fn decommit(&mut self) -> Result<(), Error> {
        let Some(pages) = self.pages() else { return Ok(()) };
        if self.content != Content::Zeroes || self.unit() != crate::page::size() {
            let failure = Failure::new(ErrorKind::Unsupported)
                .detail("only ordinary private memory can be reserved again");
            return Err(failure.during(Operation::Decommit, Some(pages), None));
        }
        self.can_be_replaced().map_err(|failure| failure.during(Operation::Decommit, Some(pages), None))?;
        // SAFETY: pages of this mapping, private and anonymous (just checked), which nobody uses (the caller's promise).
        match unsafe { os::decommit(pages) } {
            Ok(()) => {
                self.end_locks(self.len);
                self.locks = 0;
                // What comes in the place of the pages was not asked for as theirs was.
                self.jit = false;
                Ok(())
            }
            Err(failure) => {
                if let Some(changed) = failure.changed_part() {
                    self.shut_out(changed);
                }
                if failure.kind() == ErrorKind::Unmapped {
                    self.say_lost();
                    self.abandon_all();
                }
                Err(failure.during(Operation::Decommit, Some(pages), None))
            }
        }
    }

    /// Fresh pages have none of the flags that were set for those that there are.
    pub(super) fn can_be_replaced(&self) -> Result<(), Failure> {
        if !self.marks.any() {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Unsupported)
            .detail("some pages are wiped on fork or left out of core dumps, and new ones would not be")
            .remedy("take that from all of them before, and set it again for all of them"))
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

    /// Takes guard pages in that were made directly before and behind the mapping.
    pub(super) fn fenced(&mut self, before: usize, after: usize) {
        self.before = self.before.saturating_add(before);
        self.after = self.after.saturating_add(after);
    }

    /// Hides the first and the last bytes, which grant nothing; of the latter, all but the very last `after` ones are room, into
    /// which the mapping can become longer.
    pub(super) fn leave_room(&mut self, before: usize, room: usize, after: usize) -> Result<(), Error> {
        let Some(whole) = self.extent() else { return Err(self.nothing(Operation::Allocate)) };
        let room_end = self.start().saturating_add(self.len).saturating_sub(after);
        self.set_apart(before, room.saturating_add(after))?;
        // It may be what is left of a larger one, for the sake of an alignment: some systems give addresses back as a whole only.
        let origin = self.origin.get_or_insert_with(|| Arc::new(Origin::whole(whole, os::Attached::NOTHING)));
        match Arc::get_mut(origin) {
            Some(origin) => origin.set_room_end(room_end),
            // The surplus is gone: never.
            None => return Err(self.nothing(Operation::Allocate)),
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
        self.units(self.start(), self.len)
    }

    /// The pages, in the size that the mapping is made of, that some bytes of the mapping lie in; `None` for no bytes.
    fn units(&self, first: usize, len: usize) -> Option<PageRange> {
        let mask = self.unit().saturating_sub(1);
        let last = first.checked_add(len.checked_sub(1)?)?;
        PageRange::between(first & !mask, last | mask)
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

    /// Makes the mapping begin behind pages that are no longer its own. What it had below them stays mapped for ever: to unmap it all
    /// could unmap what somebody else has there by now.
    #[cold]
    pub(super) fn abandon(&mut self, gone: PageRange) {
        self.shut_out(gone);
        self.before = 0;
        self.say_lost();
    }

    /// Addresses of the mapping may be somebody else's from now on: those who share them are to know.
    #[cold]
    fn say_lost(&self) {
        if let Some(origin) = &self.origin {
            origin.mark_spoiled(ErrorKind::Unmapped);
        }
    }

    /// Locks that outlived their pages would keep those of the next owner locked.
    pub(super) fn end_locks(&self, len: usize) {
        for _ in 0..self.locks {
            let _unlocked = unlock(self.base.as_ptr().cast_const(), len);
        }
    }

    /// The offset as one between two pages inside the mapping.
    fn boundary(&self, at: usize, operation: Operation) -> Result<usize, Error> {
        let mask = self.unit().saturating_sub(1);
        let odd = self.start().checked_add(at).is_none_or(|boundary| boundary & mask != 0);
        if odd || at == 0 || at >= self.len {
            let why = match at {
                _ if odd => "the offset is not between two pages of the mapping (see Pages::page_size)",
                0 => "the first half would have no pages",
                _ => "the offset is not before the end of the mapping",
            };
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
        let origin = self.origin.get_or_insert_with(|| Arc::new(Origin::whole(whole, os::Attached::NOTHING)));
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
            (Some(own), Some(others)) => origin::are_one(own, others),
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
        if let (Some(own), Some(others)) = (&mut self.origin, &other.origin) {
            if let Err(failure) = origin::unite(own, others) {
                let pages = other.pages();
                return Err((other, failure.during(Operation::Merge, pages, None)));
            }
        }
        self.len = self.len.saturating_add(other.len);
        self.after = other.after;
        self.marks = self.marks.with(other.marks);
        // The pages are counted as this mapping's; of the other, its share of the origin alone ends.
        let other = ManuallyDrop::new(other);
        // SAFETY: `other` is not used after this, nor dropped: the field is read out once.
        drop(unsafe { ptr::read(&raw const other.origin) });
        Ok(())
    }

    pub(super) fn nothing(&self, operation: Operation) -> Error {
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
