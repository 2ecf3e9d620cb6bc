//! What lies about the bytes and is not among them: guard pages, room.

use super::Map;
use crate::error::{Error, Operation};
use crate::os;
use crate::pages::origin::Origin;
use crate::range::PageRange;
use alloc::sync::Arc;

impl Map {
    /// Sets the first and the last pages of new address space apart, which are then no longer among the bytes: they never get memory.
    pub(in crate::pages) fn set_apart(&mut self, before: usize, after: usize) -> Result<(), Error> {
        let apart = before.checked_add(after).filter(|&apart| apart < self.len);
        let Some(apart) = apart else { return Err(self.nothing(Operation::Reserve)) };
        // SAFETY: `before` is less than the length (just checked).
        self.base = unsafe { self.base.add(before) };
        self.before = before;
        self.after = after;
        self.len = self.len.saturating_sub(apart);
        Ok(())
    }

    /// Makes guard pages of the first and the last ones, which are then no longer among the bytes.
    pub(in crate::pages) fn fence(&mut self, before: usize, after: usize) -> Result<(), Error> {
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
    pub(in crate::pages) fn fenced(&mut self, before: usize, after: usize) {
        self.before = self.before.saturating_add(before);
        self.after = self.after.saturating_add(after);
    }

    /// Hides the first and the last bytes, which grant nothing; of the latter, all but the very last `after` ones are room, into
    /// which the mapping can become longer.
    pub(in crate::pages) fn leave_room(
        &mut self,
        before: usize,
        room: usize,
        after: usize,
    ) -> Result<(), Error> {
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
}
