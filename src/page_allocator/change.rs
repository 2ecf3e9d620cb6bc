//! Allocations that begin, become longer or shorter, and end.

use super::PageAllocator;
use super::place::{For, unmap};
use super::shape::Shape;
use crate::allocation;
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::guard;
use crate::os;
use crate::page;
use crate::protection::Protection;
use crate::range::PageRange;
use core::alloc::Layout;
use core::mem;
use core::ptr::{self, NonNull};

type Tried<T> = core::result::Result<T, Failure>;

/// The pages from one byte of an allocation to another; `None` where there are none.
fn pages(place: NonNull<u8>, from: usize, to: usize) -> Option<PageRange> {
    let first = place.addr().get();
    PageRange::between(first.checked_add(from)?, first.checked_add(to)?.checked_sub(1)?)
}

impl PageAllocator {
    /// Zeroed memory for `layout.size()` bytes, not 0: as many as [`committed`](Self::committed) says.
    #[inline]
    pub(crate) fn make(&self, layout: Layout) -> Result<NonNull<u8>> {
        allocation::give_back();
        let laid = Shape::of(self, layout.size())
            .and_then(|shape| Ok((self.lay(&shape, layout.align(), For::Memory)?, shape)));
        match laid {
            Ok((place, shape)) if self.is_locked() => self.make_locked(place, layout, &shape),
            Ok((place, _)) => Ok(place),
            Err(failure) => Err(failure.during(Operation::Allocate, None, None)),
        }
    }

    #[cold]
    fn make_locked(&self, place: NonNull<u8>, layout: Layout, shape: &Shape) -> Result<NonNull<u8>> {
        match guard::lock(place.as_ptr().cast_const(), shape.committed) {
            Ok(lock) => {
                mem::forget(lock);
                Ok(place)
            }
            Err(error) => {
                // SAFETY: just made, and nobody was told.
                unsafe { self.unlocked().give_back(place, layout) };
                Err(error)
            }
        }
    }

    /// Makes an allocation larger, where it lies if there is room, and `new.align()` divides its place; what is new is zeroes from
    /// `committed(old)` on.
    ///
    /// # Safety
    ///
    /// What this allocator (or one that is equal) gave for `old`, and is used no more, but by the place returned; `new` is not smaller.
    /// After an error all is as it was.
    pub(crate) unsafe fn lengthen(
        &self,
        place: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<u8>> {
        let shapes = self.shapes(place, old, new)?;
        let (had, has) = shapes;
        if has.committed > had.room || !is_aligned(place, new) {
            // SAFETY: the caller's promise.
            return unsafe { self.relocate(place, (old, had), (new, has)) };
        }
        if let Some(fresh) = pages(place, had.committed, has.committed) {
            // SAFETY: reserved pages of the allocation, which the caller may change.
            unsafe { self.extend(place, fresh) }?;
        }
        Ok(place)
    }

    fn shapes(&self, place: NonNull<u8>, old: Layout, new: Layout) -> Result<(Shape, Shape)> {
        let shapes = Shape::of(self, old.size()).and_then(|had| Ok((had, Shape::of(self, new.size())?)));
        shapes.map_err(|failure| {
            let now = PageRange::touching(place.addr().get(), old.size()).ok();
            failure.during(Operation::Resize, now, None)
        })
    }

    /// Lets reserved pages have memory.
    ///
    /// # Safety
    ///
    /// Pages of an allocation, behind those that have memory.
    unsafe fn extend(&self, place: NonNull<u8>, fresh: PageRange) -> Result<()> {
        // SAFETY: the caller's promise.
        if let Err(failure) = unsafe { os::commit(fresh, Protection::READ_WRITE) } {
            if let Some(changed) = failure.changed_part() {
                // They hold nothing: should they go on granting something, no harm is done.
                // SAFETY: the caller's promise.
                let _protected = unsafe { os::protect(changed, Protection::NONE) };
            }
            return Err(failure.unchanged().during(Operation::Resize, Some(fresh), None));
        }
        if self.is_locked() {
            let first = ptr::without_provenance::<u8>(fresh.first());
            match guard::lock(first, fresh.len()) {
                Ok(lock) => mem::forget(lock),
                Err(error) => {
                    // SAFETY: memory that was just given to pages that nobody was told of.
                    unsafe { retire(place, fresh) };
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Moves an allocation to where there is room for it.
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen), but that `new` may be smaller.
    #[cold]
    pub(super) unsafe fn relocate(
        &self,
        place: NonNull<u8>,
        (old, had): (Layout, Shape),
        (new, has): (Layout, Shape),
    ) -> Result<NonNull<u8>> {
        allocation::give_back();
        if os::moves_pages() {
            // SAFETY: the caller's promise.
            match unsafe { self.carry(place, &had, &has, new.align()) } {
                Ok(moved) => return Ok(moved),
                // In several mappings, say, since somebody has locked some of the pages, or given advice about them.
                Err(failure) if failure.kind() == ErrorKind::Unsupported => {}
                Err(failure) => {
                    return Err(failure.during(Operation::Resize, pages(place, 0, had.committed), None));
                }
            }
        }
        let copy = self.make(new)?;
        let len = old.size().min(new.size());
        // SAFETY: as many bytes at least that can be read, and as many that can be written; two mappings do not overlap.
        unsafe { ptr::copy_nonoverlapping(place.as_ptr(), copy.as_ptr(), len) };
        // SAFETY: the caller's promise.
        unsafe { self.give_back(place, old) };
        Ok(copy)
    }

    /// Lets the system move an allocation, without touching what is in it.
    ///
    /// # Safety
    ///
    /// As [`relocate`](Self::relocate).
    unsafe fn carry(&self, place: NonNull<u8>, had: &Shape, has: &Shape, align: usize) -> Tried<NonNull<u8>> {
        let nothing = || Failure::new(ErrorKind::System);
        let plain = had.is_plain() && has.is_plain() && has.huge.is_none() && !self.is_locked();
        if plain && align <= page::size() && has.committed > had.committed {
            let now = pages(place, 0, had.committed).ok_or_else(nothing)?;
            // SAFETY: pages of the allocation, that may move (the caller's promise).
            return unsafe { os::lengthen(now, has.whole()?, true) };
        }
        let len = had.committed.min(has.committed);
        let now = pages(place, 0, len).ok_or_else(nothing)?;
        // A place of the right form first: what moves by itself is aligned to pages only.
        let there = self.lay(has, align, For::Moved)?;
        let then = pages(there, 0, has.committed).ok_or_else(nothing)?;
        // SAFETY: pages of the allocation, that may move (the caller's promise), and a new mapping, of which nobody was told.
        let go = || unsafe { os::move_pages(now, then) };
        let moved = if self.is_locked() { guard::moving(now, then, go) } else { go() };
        if let Err(failure) = moved {
            // SAFETY: just mapped, and nobody was told.
            unsafe { abandon(there, has, failure.changed_part().map(|_| has.committed)) };
            return Err(failure.unchanged());
        }
        if self.is_locked() && len < had.committed {
            self.end_locks(place, len, had.committed);
        }
        // SAFETY: what is left of the old mapping (`had`), which nobody uses any more.
        unsafe { abandon(place, had, Some(len)) };
        if has.huge.is_some() && had.huge.is_none() {
            // A hint.
            let _huge = os::prefer_huge(then);
        }
        Ok(there)
    }

    /// Makes an allocation smaller where it lies: its memory behind `committed(new)` is given back, and its address space behind
    /// `room(new)`. Never fails for a layout that fits: what the system does not take reads as zeroes if it becomes larger again.
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen), but that `new` is not larger, and not 0; `new.align()` divides the place.
    pub(crate) unsafe fn shorten(&self, place: NonNull<u8>, old: Layout, new: Layout) -> Result<()> {
        let (had, has) = self.shapes(place, old, new)?;
        if had.committed == has.committed {
            return Ok(());
        }
        if self.is_locked() {
            // What is locked, some systems hold on to.
            self.end_locks(place, has.committed, had.committed);
        }
        // Where addresses are given back as a whole only, they stay until that ends.
        let whole = has.room.saturating_add(has.after);
        let kept = if os::unmaps_together() { had.committed.min(whole) } else { had.committed };
        if let Some(tail) = pages(place, has.committed, kept) {
            // SAFETY: pages with memory, behind those that the caller goes on using.
            unsafe { retire(place, tail) };
        }
        if os::unmaps_together() {
            if let Some(surplus) = pages(place, whole, had.room.saturating_add(had.after)) {
                // SAFETY: as above: pages that are no longer the allocation's, by its new shape.
                unsafe { unmap(surplus) };
            }
        }
        Ok(())
    }

    /// Gives the memory of whole pages back behind the first `kept` bytes, which read as zeroes then, and can be written to again
    /// without asking: they stay committed. What is [locked](Self::locked) keeps its memory, and is filled with zeroes.
    ///
    /// After an error what is behind `kept` bytes may have lost what it held. If the error has a [`changed`](crate::Error::changed)
    /// part (on Windows, when somebody else was promised the memory in between), that part has no memory any more: from then on the
    /// allocation is as if it had been [shortened](Self::shorten) to whole pages that hold `kept` bytes.
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen); what is behind `kept` bytes is not used meanwhile, and has lost its content.
    pub(crate) unsafe fn discard(&self, place: NonNull<u8>, layout: Layout, kept: usize) -> Result<()> {
        let failed = |failure: Failure, range| failure.during(Operation::Decommit, range, None);
        let shape = Shape::of(self, layout.size()).map_err(|failure| failed(failure, None))?;
        let mask = page::mask();
        let from = kept.checked_add(mask).map_or(usize::MAX, |raised| raised & !mask);
        let Some(tail) = pages(place, from, shape.committed) else { return Ok(()) };
        if self.is_locked() {
            // SAFETY: pages of the allocation that have memory, and are not used (the caller's promise).
            unsafe { clear(place, tail) };
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { os::vacate(tail, Protection::READ_WRITE) }.map_err(|failure| failed(failure, Some(tail)))
    }

    /// Ends an allocation. (What the system refuses to take is told as drops of mappings tell it, and offered to it again.)
    ///
    /// # Safety
    ///
    /// As [`lengthen`](Self::lengthen), and it is used no more.
    #[inline]
    pub(crate) unsafe fn give_back(&self, place: NonNull<u8>, layout: Layout) {
        // By the promise, of a layout that there was memory for.
        let Ok(shape) = Shape::of(self, layout.size()) else { return };
        if self.is_locked() {
            self.end_locks(place, 0, shape.committed);
        }
        // SAFETY: the whole allocation, which ends here.
        unsafe { abandon(place, &shape, None) };
        allocation::give_back();
    }

    /// Locks that outlived their pages would keep those of the next owner locked.
    #[cold]
    fn end_locks(&self, place: NonNull<u8>, from: usize, to: usize) {
        if let Some(locked) = pages(place, from, to) {
            let _unlocked = guard::unlock(ptr::without_provenance::<u8>(locked.first()), locked.len());
        }
    }
}

pub(super) fn is_aligned(place: NonNull<u8>, layout: Layout) -> bool {
    place.addr().get() & layout.align().saturating_sub(1) == 0
}

/// Gives an allocation's mapping back, but for its first `gone` bytes, which are not there any more.
///
/// # Safety
///
/// The allocation has this shape; its pages, but for these, are used by nobody any more.
unsafe fn abandon(place: NonNull<u8>, shape: &Shape, gone: Option<usize>) {
    let first = place.addr().get();
    let end = shape.room.saturating_add(shape.after);
    let below = || {
        let below = first.checked_sub(shape.before)?;
        PageRange::between(below, first.checked_sub(1)?)
    };
    let parts = match gone {
        // By its shape, that many bytes from there on.
        None => [
            first
                .checked_sub(shape.before)
                .and_then(|below| PageRange::between(below, first.checked_add(end)?.checked_sub(1)?)),
            None,
        ],
        Some(gone) => [below(), pages(place, gone, end)],
    };
    for part in parts.into_iter().flatten() {
        // SAFETY: the caller's promise; all of it, or where pages move (and `unmap` takes parts) what is left of it.
        unsafe { unmap(part) };
    }
}

/// Makes address space of pages again, as far as the system can. They hold zeroes in any case.
///
/// # Safety
///
/// Pages of an allocation, that can be written, and that nobody uses.
unsafe fn retire(place: NonNull<u8>, range: PageRange) {
    // SAFETY: the caller's promise.
    if unsafe { os::vacate(range, Protection::NONE) }.is_ok() {
        return;
    }
    // SAFETY: the caller's promise; a refusal leaves them so.
    unsafe { clear(place, range) };
    // They may grant more.
    // SAFETY: the caller's promise.
    let _protected = unsafe { os::protect(range, Protection::NONE) };
}

/// # Safety
///
/// Pages of an allocation, that can be written, and that nobody uses.
unsafe fn clear(place: NonNull<u8>, range: PageRange) {
    let first = place.as_ptr().with_addr(range.first());
    // SAFETY: the caller's promise.
    unsafe { first.write_bytes(0, range.len()) };
}
