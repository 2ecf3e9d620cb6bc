//! From options to pages: anonymous memory of ordinary pages.

use super::{Choice, MmapOptions, More, Place};
use crate::allocation::{alloc, alloc_at, alloc_near, give_back};
use crate::error::{Error, Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::pages::map::{Content, Map, Marks};
use crate::pages::{ExecAccess, Pages, ReadAccess, Together, WriteAccess};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::without_provenance;

/// Everything that a mapping takes up, in bytes: guard pages, and what is aligned between them.
struct Plan {
    before: usize,
    room: usize,
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
    pub(in crate::pages) fn make<R, W, X>(&self) -> Result<Pages<R, W, X>>
    where
        R: ReadAccess,
        W: WriteAccess,
        X: ExecAccess,
        (W, X): Together,
    {
        let protection = Pages::<R, W, X>::PROTECTION;
        let map = match self.len {
            Some(len) if self.is_plain() => Map::of(alloc(len, protection)?),
            _ => self.arranged(protection)?,
        };
        // SAFETY: the pages were mapped with just this protection.
        let mut pages = unsafe { Pages::from_map(map) };
        match self.finish(&mut pages) {
            Ok(()) => Ok(pages),
            Err(error) => Err(self.not_finished(error, pages.map.extent())),
        }
    }

    /// What is done to pages when they are there.
    #[inline]
    fn finish<R, W, X>(&self, pages: &mut Pages<R, W, X>) -> Result<()>
    where
        R: ReadAccess,
        W: WriteAccess,
        X: ExecAccess,
        (W, X): Together,
    {
        if self.no_core_dump && !self.conceals() {
            pages.keep_out_of_core_dumps(.., true)?;
        }
        if self.wipe_on_fork {
            pages.wipe_on_fork(.., true)?;
        }
        if self.locked {
            pages.lock()?;
        }
        Ok(())
    }

    /// What was replaced is gone, also if the pages in its place are given back.
    #[cold]
    fn not_finished(&self, error: Error, made: Option<PageRange>) -> Error {
        match (self.place, made) {
            (Place::Over(_), Some(made)) => error.changing(made),
            _ => error,
        }
    }

    /// Whether the system is to be told when it maps the pages that core dumps leave them out.
    #[inline]
    pub(super) fn conceals(&self) -> bool {
        os::dumps_chosen_when_mapped() && self.no_core_dump
    }

    /// Whether any place will do, and nothing is wanted but the pages.
    #[inline]
    fn is_plain(&self) -> bool {
        self.more.is_none()
            && !self.conceals()
            && matches!(self.place, Place::Anywhere)
            && self.before == 0
            && self.after == 0
            && self.room == 0
            && self.align.is_power_of_two()
            && self.align <= page::granularity()
    }

    /// Address space alone, where the options say.
    #[inline]
    pub(in crate::pages) fn set_aside(&self) -> Result<Map> {
        let map = match self.len {
            Some(len) if self.is_plain() && !self.asks_for_memory() => {
                alloc(len, Protection::NONE).map(Map::of)
            }
            _ => self.placed_aside(),
        };
        map.map_err(|error| error.instead(Operation::Reserve))
    }

    /// Whether something is asked for that is a property of memory, which address space has none of.
    fn asks_for_memory(&self) -> bool {
        self.no_space().is_some()
    }

    /// What it is that address space cannot have.
    fn no_space(&self) -> Option<&'static str> {
        match self.place {
            _ if self.locked => Some("`locked` is about memory, and what is reserved has none"),
            _ if self.no_core_dump => Some("`no_core_dump` is about memory, and what is reserved has none"),
            _ if self.wipe_on_fork => Some("`wipe_on_fork` is about memory, and what is reserved has none"),
            _ if self.room > 0 => Some("`room` is for pages that grow; reserve all of it"),
            Place::Hint(_) => Some("a `hint` for a reservation; say `near` or `at`"),
            Place::Over(_) => Some("a reservation that would `replace` pages"),
            _ if self.more.is_some() => Some(
                "what was said of files or kinds of pages is about memory, and what is reserved has none",
            ),
            _ => None,
        }
    }

    #[cold]
    fn placed_aside(&self) -> Result<Map> {
        if let Some(why) = self.no_space() {
            return Err(self
                .failed(Failure::invalid(why).remedy("reserve by place, alignment and guard pages alone")));
        }
        let plan = self.plan(self.align).map_err(|failure| self.failed(failure))?;
        let mut map = self.placed(&plan, Protection::NONE)?;
        map.set_apart(plan.before, plan.after)?;
        Ok(map)
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
            (None, _) if self.conceals() => &nothing,
            (None, _) => return self.allocated(protection),
        };
        self.consistent(more).map_err(|failure| self.failed(failure))?;
        give_back();
        let (mut map, transparent) = self.special(more, protection)?;
        map.jit = more.jit;
        if self.conceals() {
            map.marks = map.marks.with(Marks::NO_DUMP);
        }
        let Some(pages) = map.pages() else { return Ok(map) };
        if transparent {
            // A hint.
            let _huge = os::prefer_huge(pages);
        }
        if let (Some(name), Content::Zeroes) = (more.name, map.content()) {
            os::name(pages, name);
        }
        if more.populate && !self.at_once() {
            os::read_in(pages, protection);
        }
        Ok(map)
    }

    /// Whether a mapping is made by one call that can read in as well.
    pub(super) fn at_once(&self) -> bool {
        self.before == 0
            && self.after == 0
            && self.room == 0
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
        let (before, behind, after) = (rounded(self.before)?, rounded(self.room)?, rounded(self.after)?);
        let len = PageLen::covering(self.len.unwrap_or(0))?;
        // With guard pages before it, the first byte is not where the system would have put it.
        let needs_room = !fixed && (!aligned_by_itself || (before > 0 && align > page::size()));
        let room = if needs_room { align } else { 0 };
        let kept = [len.bytes(), behind, after]
            .into_iter()
            .try_fold(before, usize::checked_add)
            .ok_or_else(too_long)?;
        let whole = PageLen::covering(kept.checked_add(room).ok_or_else(too_long)?)?;
        Ok(Plan { before, room: behind, after, kept, whole })
    }

    /// Nothing is said but place, alignment, guard pages.
    fn allocated(&self, protection: Protection) -> Result<Map> {
        let plan = self.plan(self.align).map_err(|failure| self.failed(failure))?;
        let map = self.placed(&plan, plan.at_first(protection))?;
        self.fence(map, &plan, protection)
    }

    /// Pages where the options say, cut to what is kept.
    fn placed(&self, plan: &Plan, protection: Protection) -> Result<Map> {
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
        Self::cut(Map::of(allocation), plan, self.align)
    }

    /// Zeroes in ordinary pages.
    pub(super) fn anonymous(&self, align: usize, protection: Protection) -> Result<Map> {
        let plan = self.plan(align).map_err(|failure| self.failed(failure))?;
        let mut request = self.request(plan.whole, plan.at_first(protection));
        request.populate = request.populate && self.at_once();
        let (base, attached) = self.put(request, plan.before, page::granularity())?;
        // SAFETY: as many bytes were just mapped there.
        let map =
            unsafe { Map::made(base, (0, plan.whole.bytes(), 0), page::size(), Content::Zeroes, attached) };
        let map = Self::cut(map, &plan, align)?;
        self.fence(map, &plan, protection)
    }

    /// Makes the guard pages, and leaves room.
    fn fence(&self, map: Map, plan: &Plan, protection: Protection) -> Result<Map> {
        let mut map = map;
        if plan.room == 0 {
            map.fence(plan.before, plan.after)?;
            return Ok(map);
        }
        map.leave_room(plan.before, plan.room, plan.after)?;
        // SAFETY: the mapping is new, and granted nothing so far: nobody has a reference into it.
        unsafe { map.commit(protection) }?;
        Ok(map)
    }

    /// Gives the surplus back.
    fn cut(map: Map, plan: &Plan, align: usize) -> Result<Map> {
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
        Ok(map)
    }
}

impl Plan {
    /// What the pages are to grant when they are mapped: room is address space alone, and so is what comes before it until then.
    fn at_first(&self, protection: Protection) -> Protection {
        if self.room > 0 { Protection::NONE } else { protection }
    }
}
