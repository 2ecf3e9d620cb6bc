//! What options make again and again: for pools.

use super::make::rounded;
use super::{Choice, Fallback, MmapOptions, Place};
use crate::error::{Failure, Result};
use crate::page;
use crate::pages::MmapMut;
use crate::pages::map::{Content, Marks};
use alloc::sync::Arc;

impl MmapOptions<'_> {
    /// Fresh pages for a pool, of which one is to be like the other.
    pub(crate) fn map_alike(&self) -> Result<MmapMut> {
        match self.no_pool() {
            None => self.map_mut(),
            Some(why) => Err(self.failed(Failure::invalid(why))),
        }
    }

    /// What it is that a pool cannot have.
    fn no_pool(&self) -> Option<&'static str> {
        match self.place {
            _ if self.len.is_none() => Some("pages of a pool have a length"),
            _ if self.room > 0 => Some("pages of a pool stay as long as they are: no `room`"),
            _ if self
                .more
                .as_ref()
                .is_some_and(|more| more.file.is_some() || more.offset.is_some() || more.copied) =>
            {
                Some("pages of a pool have no file")
            }
            Place::Anywhere => None,
            _ => Some("pages of a pool lie anywhere: no place"),
        }
    }

    /// Whether pages are as these options make them and have changed since in nothing but what they hold, as far as the value tells.
    pub(crate) fn could_have_made(&self, pages: &MmapMut) -> bool {
        let map = &pages.map;
        let Some(len) = self.len.filter(|&len| len > 0 && self.no_pool().is_none()) else { return false };
        let (kind, jit) = self.more.as_ref().map_or((Choice::Ordinary, false), |more| (more.pages, more.jit));
        let unit = map.unit();
        let of_pages = match kind {
            Choice::Ordinary | Choice::Transparent => unit == page::size(),
            Choice::Exactly(size) => unit == size.bytes().get(),
            Choice::Largest(_) => true,
        };
        of_pages
            && len.checked_next_multiple_of(unit) == Some(map.len)
            && self.align.is_power_of_two()
            && map.start() & self.align.wrapping_sub(1) == 0
            && rounded(self.before).is_ok_and(|before| before == map.before)
            && rounded(self.after).is_ok_and(|after| after == map.after)
            && map.locks == u32::from(self.locked)
            && map.content == Content::Zeroes
            && map.marks == self.marks()
            && map.jit == jit
            && self.could_leave(pages, kind)
    }

    fn marks(&self) -> Marks {
        let no_dump = if self.no_core_dump { Marks::NO_DUMP } else { Marks::NONE };
        let wiped = if self.wipe_on_fork { Marks::WIPED } else { Marks::NONE };
        no_dump.with(wiped)
    }

    /// Whether the pages are no part of something that others have parts of, nor of something larger than these options map.
    fn could_leave(&self, pages: &MmapMut, kind: Choice) -> bool {
        let Some(origin) = pages.map.origin() else { return true };
        // What was mapped for the sake of an alignment was cut off.
        let transparent = match kind {
            Choice::Transparent | Choice::Largest(Fallback::Transparent) => {
                page::transparent_sizes().largest().map_or(1, |size| size.bytes().get())
            }
            _ => 1,
        };
        let align = self.align.max(transparent);
        align > page::granularity()
            && Arc::strong_count(origin) == 1
            && origin.whole_len().zip(pages.map.extent()).is_some_and(|(whole, kept)| {
                whole <= kept.len().saturating_add(align).saturating_add(page::mask())
            })
    }
}
