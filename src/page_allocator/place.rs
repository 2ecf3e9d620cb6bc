//! Where an allocation comes to lie, and what the system is told of it.

use super::PageAllocator;
use super::options::lasts;
use super::shape::Shape;
use crate::allocation::give_up;
use crate::error::{ErrorKind, Failure};
use crate::os::{self, Place, Request};
use crate::page;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;

/// How often somebody else may be quicker.
const ROUNDS: u32 = 32;

/// Pages that are mapped, and their first byte.
struct Mapped {
    base: NonNull<u8>,
    pages: PageRange,
}

impl Mapped {
    fn new(base: NonNull<u8>, len: PageLen) -> Result<Self, Failure> {
        // What the system gave is a range, below the top of the address space.
        let pages = PageRange::starting_at(base.addr().get(), len);
        pages.map(|pages| Self { base, pages }).ok_or_else(|| Failure::new(ErrorKind::System))
    }

    /// A byte of them.
    fn at(&self, address: usize) -> Result<NonNull<u8>, Failure> {
        NonNull::new(self.base.as_ptr().with_addr(address)).ok_or_else(|| Failure::new(ErrorKind::System))
    }
}

/// Gives pages back that nobody knows of; those that the system does not take wait until it does.
///
/// # Safety
///
/// A whole of what the system gave (or, where `os::unmaps_together`, a part), which nobody uses any more.
pub(super) unsafe fn unmap(pages: PageRange) {
    // SAFETY: the caller's promise.
    if let Err(failure) = unsafe { os::unmap(pages) } {
        give_up(pages, failure);
    }
}

/// What is to be at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum For {
    /// An allocation, with memory.
    Memory,
    /// Pages that are going to be moved there, with all that was said of them.
    Moved,
}

impl PageAllocator {
    /// Maps what a shape takes up, with the first byte of the allocation on a multiple of `align`, and tells the system what is to be
    /// told. Nothing grants access, but for memory: reading and writing.
    ///
    /// Gives the first byte of the allocation.
    #[inline]
    pub(super) fn lay(&self, shape: &Shape, align: usize, what: For) -> Result<NonNull<u8>, Failure> {
        let whole = shape.whole()?;
        let at_once = what == For::Memory && shape.is_plain();
        let protection = if at_once { Protection::READ_WRITE } else { Protection::NONE };
        let mapped = self.map(shape, whole, align, protection)?;
        let laid = self.finish(&mapped, shape, what, at_once);
        if laid.is_err() {
            // SAFETY: just mapped, and nobody was told.
            unsafe { unmap(mapped.pages) };
        }
        laid
    }

    #[inline]
    fn finish(&self, mapped: &Mapped, shape: &Shape, what: For, done: bool) -> Result<NonNull<u8>, Failure> {
        let first = mapped.pages.first().saturating_add(shape.before);
        let from = if what == For::Moved { shape.committed } else { 0 };
        let len = shape.room.saturating_sub(from);
        if len > 0 {
            self.tell(PageRange::touching(first.saturating_add(from), len)?, shape);
        }
        if what == For::Memory && !done {
            let memory = PageRange::touching(first, shape.committed)?;
            // SAFETY: reserved pages, of which nobody was told.
            unsafe { os::commit(memory, Protection::READ_WRITE) }.map_err(Failure::unchanged)?;
        }
        mapped.at(first)
    }

    /// Tells the system what is said of the memory, and of what may become memory: hints, all of them.
    #[inline]
    fn tell(&self, room: PageRange, shape: &Shape) {
        if shape.huge.is_some() {
            let _huge = os::prefer_huge(room);
        }
        if let Some(advice) = self.advice.filter(|&advice| lasts(advice)) {
            let _advised = os::advise(room, advice);
        }
        if let Some(name) = self.name {
            os::name(room, name.get());
        }
    }

    fn map(
        &self,
        shape: &Shape,
        whole: PageLen,
        align: usize,
        protection: Protection,
    ) -> Result<Mapped, Failure> {
        // The system aligns the first of the guard pages.
        let by_itself = align <= page::size() || (align <= page::granularity() && shape.before == 0);
        let Some(unit) = shape.huge.filter(|&unit| unit > align) else {
            return if by_itself {
                self.anywhere(whole, protection)
            } else {
                self.aligned(shape, whole, align, protection)
            };
        };
        // Aligned to huge pages, if there is room for that. Some kernels do it by themselves.
        if by_itself && shape.before == 0 {
            let mapped = self.anywhere(whole, protection)?;
            if mapped.pages.first() & unit.saturating_sub(1) == 0 {
                return Ok(mapped);
            }
            // SAFETY: just mapped, and nobody was told.
            unsafe { unmap(mapped.pages) };
        }
        match self.aligned(shape, whole, unit, protection) {
            Err(_) if by_itself => self.anywhere(whole, protection),
            Err(_) => self.aligned(shape, whole, align, protection),
            mapped => mapped,
        }
    }

    fn anywhere(&self, len: PageLen, protection: Protection) -> Result<Mapped, Failure> {
        Mapped::new(self.ask(len, protection, Place::Anywhere)?, len)
    }

    fn ask(&self, len: PageLen, protection: Protection, place: Place) -> Result<NonNull<u8>, Failure> {
        if self.node.is_none() {
            match place {
                Place::At(first) => {
                    let range = PageRange::starting_at(first, len);
                    let range = range.ok_or_else(|| Failure::new(ErrorKind::Exhausted))?;
                    return os::map_at(range, protection);
                }
                _ => return os::map(len, protection),
            }
        }
        let request = Request { place, node: self.node_number(), ..Request::new(len, protection) };
        // SAFETY: `lay` asks for no place that has something in it.
        let mapped = unsafe { os::map_with(&request) };
        // Without a file nothing has to be kept beside.
        mapped.map(|(base, _)| base)
    }

    /// Pages of which the byte behind `before` others is on a multiple of `align`.
    #[cold]
    fn aligned(
        &self,
        shape: &Shape,
        whole: PageLen,
        align: usize,
        protection: Protection,
    ) -> Result<Mapped, Failure> {
        let no_room = || Failure::new(ErrorKind::Exhausted).detail("no room for so much, so much aligned");
        let wider = PageLen::covering(whole.bytes().checked_add(align).ok_or_else(no_room)?)?;
        // The first multiple in pages that are so much longer.
        let within = |pages: PageRange| {
            let mask = align.saturating_sub(1);
            let first = pages.first().checked_add(shape.before)?.checked_add(mask)? & !mask;
            PageRange::starting_at(first.checked_sub(shape.before)?, whole)
        };
        if os::unmaps_together() {
            let mapped = self.anywhere(wider, protection)?;
            return match within(mapped.pages) {
                Some(kept) => trim(&mapped, kept),
                None => {
                    // SAFETY: just mapped, and nobody was told.
                    unsafe { unmap(mapped.pages) };
                    Err(no_room())
                }
            };
        }
        // Addresses are given back as a whole only: a place is looked for, and asked for.
        let mut last = no_room();
        for _ in 0..ROUNDS {
            let found = Mapped::new(os::map(wider, Protection::NONE)?, wider)?;
            // SAFETY: just mapped, and nobody was told.
            if let Err(failure) = unsafe { os::unmap(found.pages) } {
                give_up(found.pages, failure);
                return Err(no_room());
            }
            let place = within(found.pages).ok_or_else(no_room)?;
            match self.ask(whole, protection, Place::At(place.first())) {
                Ok(base) => return Mapped::new(base, whole),
                Err(failure) if failure.kind() == ErrorKind::Occupied => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last.detail("other threads took each place that was found"))
    }
}

/// Gives back what is about the pages that are kept.
fn trim(mapped: &Mapped, kept: PageRange) -> Result<Mapped, Failure> {
    let all = mapped.pages;
    let below = kept.first().checked_sub(1).and_then(|last| PageRange::between(all.first(), last));
    let above = kept.last().checked_add(1).and_then(|first| PageRange::between(first, all.last()));
    let mut surplus = [below, above].into_iter().flatten();
    while let Some(pages) = surplus.next() {
        // SAFETY: just mapped, and nobody was told.
        let Err(failure) = (unsafe { os::unmap_part(pages) }) else { continue };
        for pages in surplus.chain([pages, kept]) {
            // SAFETY: as above.
            unsafe { unmap(pages) };
        }
        return Err(failure);
    }
    Ok(Mapped { base: mapped.at(kept.first())?, pages: kept })
}
