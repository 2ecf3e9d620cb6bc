//! What the pages grant, whether they have memory, and what becomes of those that are lost on the way.

use super::{Content, Map};
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::os;
use crate::protection::Protection;
use crate::range::PageRange;

impl Map {
    /// Gives all pages memory.
    ///
    /// # Safety
    ///
    /// The pages are address space only; the typed owner says from now on what they grant.
    pub(in crate::pages) unsafe fn commit(&mut self, to: Protection) -> Result<(), Error> {
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
    pub(in crate::pages) unsafe fn decommit(&mut self) -> Result<(), Error> {
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
    pub(in crate::pages) fn can_be_replaced(&self) -> Result<(), Failure> {
        if !self.marks.any() {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Unsupported)
            .detail("some pages are wiped on fork or left out of core dumps, and new ones would not be")
            .remedy("take that from all of them before, and set it again for all of them"))
    }

    /// Lets all pages grant something else. On failure those that the mapping still has grant what they did.
    ///
    /// # Safety
    ///
    /// The typed owner ends here, or says from now on what the pages grant now; no reference into them is left.
    pub(in crate::pages) unsafe fn protect(&mut self, from: Protection, to: Protection) -> Result<(), Error> {
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
    pub(in crate::pages) unsafe fn change(
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

    /// Makes the mapping begin behind these of its pages, which do not grant what the typed owner says and cannot be made to: safe
    /// code could reach them by it. Like guard pages they are unmapped with the rest.
    #[cold]
    pub(in crate::pages) fn shut_out(&mut self, changed: PageRange) {
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

    /// Makes the mapping begin behind pages that are no longer its own. What it had below them stays mapped for ever: to unmap it all
    /// could unmap what somebody else has there by now.
    #[cold]
    pub(in crate::pages) fn abandon(&mut self, gone: PageRange) {
        self.shut_out(gone);
        self.before = 0;
        self.say_lost();
    }

    /// Lets go of the pages for ever: for when they may be somebody else's.
    #[cold]
    pub(in crate::pages) fn abandon_all(&mut self) {
        self.before = 0;
        self.after = 0;
        self.len = 0;
        self.locks = 0;
    }

    /// Addresses of the mapping may be somebody else's from now on: those who share them are to know.
    #[cold]
    pub(super) fn say_lost(&self) {
        if let Some(origin) = &self.origin {
            origin.mark_spoiled(ErrorKind::Unmapped);
        }
    }
}
