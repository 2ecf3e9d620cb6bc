//! From options to pages: anonymous memory of ordinary pages.

use super::{Choice, MmapOptions, More, Place};
use crate::allocation::{alloc, alloc_at, alloc_near, give_back};
use crate::error::{Error, Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::pages::map::{Content, Map};
use crate::pages::{ExecAccess, Pages, ReadAccess, Together, WriteAccess};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::without_provenance;

/// Everything that a mapping takes up, in bytes: guard pages, and what is aligned between them.
struct Plan {
    before: usize,
    after: usize,
    /// Without what is mapped for the sake of the alignment.
    kept: usize,
    /// As much as must be mapped for an aligned place to be in it.
    whole: PageLen,
}

pub(super) fn too_long() -> Failure {
    Failure::invalid("longer than any piece of memory can be: isize::MAX bytes")
}

/// Up to whole pages; 0 stays 0.
pub(super) fn rounded(len: usize) -> core::result::Result<usize, Failure> {
    if len == 0 { Ok(0) } else { PageLen::covering(len).map(PageLen::bytes) }
}

impl MmapOptions<'_> {
    #[inline]
    pub(super) fn make<R, W, X>(&self) -> Result<Pages<R, W, X>>
    where
        R: ReadAccess,
        W: WriteAccess,
        X: ExecAccess,
        (W, X): Together,
    {
        let protection = Pages::<R, W, X>::PROTECTION;
        let plain = self.more.is_none()
            && matches!(self.place, Place::Anywhere)
            && self.before == 0
            && self.after == 0
            && self.align.is_power_of_two()
            && self.align <= page::granularity();
        let map = match self.len {
            Some(len) if plain => Map::of(alloc(len, protection)?),
            _ => self.arranged(protection)?,
        };
        // SAFETY: the pages were mapped with just this protection.
        let mut pages = unsafe { Pages::from_map(map) };
        if self.locked {
            pages.lock()?;
        }
        Ok(pages)
    }

    /// A failure with what is known of the place.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        let range = match self.place {
            Place::At(address) | Place::Over(address) => {
                PageRange::touching(address, self.len.unwrap_or(1)).ok()
            }
            _ => None,
        };
        failure.during(Operation::Allocate, range, None)
    }

    #[cold]
    fn arranged(&self, protection: Protection) -> Result<Map> {
        let nothing = More::default();
        let more = match (&self.more, self.place) {
            (Some(more), _) => more,
            (None, Place::Hint(_) | Place::Over(_)) => &nothing,
            (None, _) => return self.allocated(protection),
        };
        self.consistent(more).map_err(|failure| self.failed(failure))?;
        give_back();
        let (map, transparent) = self.special(more, protection)?;
        let Some(pages) = map.pages() else { return Ok(map) };
        if transparent {
            // A hint.
            let _huge = os::prefer_huge(pages);
        }
        if let (Some(name), Content::Zeroes) = (more.name, map.content()) {
            os::name(pages, name);
        }
        if more.populate && !self.at_once() {
            os::populate(pages, protection);
        }
        Ok(map)
    }

    /// Whether a mapping is made by one call that can read in as well.
    pub(super) fn at_once(&self) -> bool {
        self.before == 0
            && self.after == 0
            && self.align <= page::granularity()
            && self
                .more
                .as_ref()
                .is_some_and(|more| matches!(more.pages, Choice::Ordinary | Choice::Exactly(_)))
    }

    fn plan(&self, align: usize) -> core::result::Result<Plan, Failure> {
        if !align.is_power_of_two() {
            return Err(Failure::invalid("the alignment is no power of two"));
        }
        let aligned_by_itself = align <= page::granularity();
        let fixed = matches!(self.place, Place::At(_) | Place::Over(_));
        if let Place::At(address) | Place::Over(address) = self.place {
            let odd = |multiple: usize| address & multiple.wrapping_sub(1) != 0;
            if odd(page::size()) || odd(align) {
                return Err(Failure::invalid("the address is not aligned to pages, or not as asked for"));
            }
        }
        let (before, after) = (rounded(self.before)?, rounded(self.after)?);
        let len = PageLen::covering(self.len.unwrap_or(0))?;
        // With guard pages before it, the first byte is not where the system would have put it.
        let needs_room = !fixed && (!aligned_by_itself || (before > 0 && align > page::size()));
        let room = if needs_room { align } else { 0 };
        let kept =
            before.checked_add(len.bytes()).and_then(|sum| sum.checked_add(after)).ok_or_else(too_long)?;
        let whole = PageLen::covering(kept.checked_add(room).ok_or_else(too_long)?)?;
        Ok(Plan { before, after, kept, whole })
    }

    /// Nothing is said but place, alignment, guard pages.
    fn allocated(&self, protection: Protection) -> Result<Map> {
        let plan = self.plan(self.align).map_err(|failure| self.failed(failure))?;
        let whole = plan.whole.bytes();
        let allocation = match self.place {
            Place::Near { address, distance } => {
                alloc_near(without_provenance::<u8>(address), distance, whole, protection)?
            }
            Place::At(address) => match address.checked_sub(plan.before) {
                Some(first) => alloc_at(without_provenance::<u8>(first), whole, protection)?,
                None => {
                    return Err(
                        self.failed(Failure::invalid("there is no room for guard pages below the address"))
                    );
                }
            },
            _ => alloc(whole, protection)?,
        };
        self.cut(Map::of(allocation), &plan, self.align)
    }

    /// Zeroes in ordinary pages.
    pub(super) fn anonymous(&self, align: usize, protection: Protection) -> Result<Map> {
        let plan = self.plan(align).map_err(|failure| self.failed(failure))?;
        let mut request = self.request(plan.whole, protection);
        request.populate = request.populate && self.at_once();
        let (base, attached) = self.put(request, plan.before, page::granularity())?;
        // SAFETY: as many bytes were just mapped there.
        let map =
            unsafe { Map::made(base, (0, plan.whole.bytes(), 0), page::size(), Content::Zeroes, attached) };
        self.cut(map, &plan, align)
    }

    /// Gives the surplus back, and makes the guard pages.
    fn cut(&self, map: Map, plan: &Plan, align: usize) -> Result<Map> {
        let mut map = map;
        // Where the first byte is to be; there is room for it.
        let mask = align.wrapping_sub(1);
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
