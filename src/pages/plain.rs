//! Mappings that are no more than their address and length: what collections in pages are made of, and become.

use super::map::{Content, Map, Marks};
use super::{MmapMut, Pages};
use crate::os;
use core::ptr::NonNull;

impl Map {
    /// Whether unmapping the pages is all that has to be done at the end, and nothing else is known of them.
    fn is_plain(&self) -> bool {
        self.origin.is_none()
            && (self.before, self.after, self.locks) == (0, 0, 0)
            && self.len > 0
            && self.content == Content::Zeroes
            && self.marks == Marks::NONE
            && self.unit() == crate::page::size()
            && !self.jit
    }
}

impl MmapMut {
    /// The address and the length, of pages that somebody else will unmap; the mapping itself where there is more to it.
    pub(crate) fn into_plain(self) -> core::result::Result<(NonNull<u8>, usize), Self> {
        if !self.map.is_plain() {
            return Err(self);
        }
        let raw = self.map.into_raw();
        Ok((raw.base, raw.len))
    }

    /// The other way: the `len` bytes from `base` on, with `before` bytes below and `after` bytes above.
    ///
    /// # Safety
    ///
    /// A whole mapping as [`os::map`] makes them, of whole pages, of which the `len` bytes can be read and written and the others are
    /// reached by nobody; it is given to nobody else.
    pub(crate) unsafe fn from_plain(base: NonNull<u8>, (before, len, after): (usize, usize, usize)) -> Self {
        // SAFETY: inside the mapping (the caller's promise).
        let first = unsafe { base.sub(before) };
        let parts = (before, len, after);
        // SAFETY: the caller's promise.
        let map =
            unsafe { Map::made(first, parts, crate::page::size(), Content::Zeroes, os::Attached::NOTHING) };
        // SAFETY: the pages can be read and written (the caller's promise).
        unsafe { Pages::from_map(map) }
    }
}
