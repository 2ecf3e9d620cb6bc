//! Mappings that become longer or shorter.

use super::map::{Content, Map};
use super::{ExecAccess, Pages, ReadAccess, Together, WriteAccess};
use crate::allocation::alloc;
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Makes the mapping longer where it lies: at least `len` bytes in all, rounded up to whole pages.
    ///
    /// The new pages hold zeroes and grant what the others do. A mapping that is that long already stays as it is.
    ///
    /// A mapping that was made with [room](crate::MmapOptions::room) grows into it, on every system, and never further. Without, Linux makes a
    /// mapping longer if nothing lies behind it, by chance. Mappings of files do not become longer: map the file again.
    ///
    /// # Cost
    ///
    /// One or two system calls.
    ///
    /// # Errors
    ///
    /// The mapping is as it was.
    ///
    /// - [`ErrorKind::Occupied`]: something is mapped directly behind, or a [guard page](crate::MmapOptions::guard_after) is; the room
    ///   is used up.
    /// - [`ErrorKind::InvalidInput`]: more than `isize::MAX` bytes; the pages are [locked](Self::lock): unlock them before.
    /// - [`ErrorKind::Unsupported`]: a mapping of a file; one without room elsewhere than on Linux; a part of a
    ///   [`Reservation`](crate::Reservation); pages of a kind that cannot become longer. Into room, and where it is copied, pages that
    ///   are [wiped on fork](Self::wipe_on_fork) or [left out of core dumps](Self::keep_out_of_core_dumps): new ones would not be.
    /// - [`ErrorKind::Exhausted`]: as [`alloc`](crate::alloc()).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut pages = folio::MmapOptions::new(1).room(1 << 20).map_mut()?;
    /// pages.grow(100_000)?;
    /// assert!(pages.len() >= 100_000 && pages.iter().all(|&byte| byte == 0));
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// Source: mremap(2).
    pub fn grow(&mut self, len: usize) -> Result<()> {
        self.map.lengthen(len, Self::PROTECTION, Moving::Never)
    }

    /// How many bytes the mapping can [grow](Self::grow) by where it lies, for sure: what is left of its
    /// [room](crate::MmapOptions::room).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut pages = folio::MmapOptions::new(1).room(1 << 20).map_mut()?;
    /// let most = pages.len() + pages.room();
    /// pages.grow(most)?;
    /// assert_eq!(pages.room(), 0);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn room(&self) -> usize {
        self.map.room()
    }

    /// Makes the mapping shorter: the pages that hold its first `len` bytes stay, those behind are given back. Of a file, just so
    /// many bytes stay.
    ///
    /// A mapping that is not longer than that stays as it is. Where there are guard pages or [room](crate::MmapOptions::room) behind the
    /// mapping, the addresses become theirs, and the memory alone is given back.
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`]: a `len` of 0 (drop the mapping). [`ErrorKind::Exhausted`]: the process has as many mappings as it
    /// may have, and the system had put this one together with the next. The mapping is as it was.
    ///
    /// # Platforms
    ///
    /// On Windows the memory is given back, the addresses with the rest.
    pub fn shrink(&mut self, len: usize) -> Result<()> {
        self.map.shorten(len)
    }

    /// Makes the mapping `len` bytes long, rounded up to whole pages, and lets it move for that: afterwards it may
    /// [begin](Self::start) elsewhere. What it holds comes along; new pages hold zeroes.
    ///
    /// # Cost
    ///
    /// On Linux one system call, which moves pages without copying them. Elsewhere, and where there are guard pages or room about
    /// the mapping that do not suffice: one to [`grow`](Self::grow), and if that fails a new mapping into which all is copied, with
    /// guard pages of the same size (but no room).
    ///
    /// # Errors
    ///
    /// As [`grow`](Self::grow), but for `Occupied`, and [`shrink`](Self::shrink).
    ///
    /// # Platforms
    ///
    /// Where it is copied, the new mapping has none of the properties that were asked for beside: an alignment beyond a page, a
    /// name, advice, being made for code (`MmapOptions::jit`). [Huge pages](crate::MmapOptions::huge_pages) are not copied:
    /// [`ErrorKind::Unsupported`]. What can be executed is flushed before it can be, as by `make_exec`.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut pages = folio::Pages::new(4096)?;
    /// pages[0] = 7;
    /// pages.remap(1 << 20)?;
    /// assert_eq!((pages[0], pages.len()), (7, 1 << 20));
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// What borrows the mapping keeps it where it is:
    ///
    /// ```compile_fail,E0502
    /// let mut pages = folio::Pages::new(4096)?;
    /// let first = &pages[0];
    /// pages.remap(1 << 20)?; // cannot borrow as mutable
    /// println!("{first}");
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn remap(&mut self, len: usize) -> Result<()> {
        if len <= self.len() {
            return self.map.shorten(len);
        }
        self.map.lengthen(len, Self::PROTECTION, Moving::Allowed)
    }
}

/// Whether a mapping may lie elsewhere afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moving {
    Never,
    Allowed,
}

impl Map {
    /// `grants` is what the pages grant, the new ones among them.
    pub(super) fn lengthen(&mut self, len: usize, grants: Protection, moving: Moving) -> Result<()> {
        if len <= self.len {
            return Ok(());
        }
        let Some(pages) = self.pages() else { return Err(self.nothing(Operation::Resize)) };
        let failed = |failure: Failure| failure.during(Operation::Resize, Some(pages), None);
        self.can_be_longer().map_err(failed)?;
        let len = self.whole_pages(len).map_err(failed)?;
        let more = len.bytes().saturating_sub(self.len);
        if self.room() >= more {
            self.can_be_replaced().map_err(failed)?;
            return self.lengthen_into_room(more, grants).map_err(failed);
        }
        // Room is a limit, also where by chance nothing lies behind it.
        let limited = self.origin.as_ref().is_some_and(|origin| origin.room_end() != 0);
        if (self.after > 0 || limited) && moving == Moving::Never {
            let detail = match (limited, self.after > 0) {
                (true, _) => "there is less room than that",
                (false, _) => "there are guard pages behind",
            };
            return Err(failed(Failure::new(ErrorKind::Occupied).detail(detail).remedy(
                "leave more room when the mapping is made (MmapOptions::room), or let it move (Pages::remap)",
            )));
        }
        // Guard pages and room stay with what they surround: that is copied, if it must move.
        let may_move = moving == Moving::Allowed && self.before == 0 && self.after == 0;
        // Of a reservation, the addresses are not the mapping's to give up.
        let carved = self.origin.as_ref().is_some_and(|origin| origin.space().is_some());
        if self.after == 0 && !carved && (may_move || !limited) {
            // SAFETY: private pages of this mapping (`can_be_longer`), which is borrowed exclusively: nobody relies on where
            // they are who was not told that they may move.
            match unsafe { os::lengthen(pages, len, may_move) } {
                Ok(base) => {
                    // What the system gave back as one piece has nothing to do with the parts it once had beside it.
                    (self.base, self.len, self.origin) = (base, len.bytes(), None);
                    return Ok(());
                }
                Err(failure) if moving == Moving::Never => return Err(failed(failure)),
                Err(failure) if may_move && failure.kind() != ErrorKind::Unsupported => {
                    return Err(failed(failure));
                }
                Err(_) => {}
            }
        }
        if moving == Moving::Never {
            return Err(failed(
                Failure::new(ErrorKind::Unsupported)
                    .detail("a part of a reservation is as long as it was carved out")
                    .remedy("take it back and carve out more, or let it move (Pages::remap)"),
            ));
        }
        self.can_be_replaced().map_err(failed)?;
        self.copy_out(len, grants)
    }

    fn can_be_longer(&self) -> core::result::Result<(), Failure> {
        if self.locks > 0 {
            return Err(Failure::invalid("the pages are locked")
                .remedy("unlock them before, and lock all of them after"));
        }
        match self.content {
            Content::Zeroes => Ok(()),
            Content::Shared | Content::Copied => Err(Failure::new(ErrorKind::Unsupported)
                .detail("a mapping of a file stays as long as it was made, or becomes shorter")
                .remedy("map the file again")),
        }
    }

    fn whole_pages(&self, len: usize) -> core::result::Result<PageLen, Failure> {
        let mask = self.unit().saturating_sub(1);
        let raised = len.checked_add(mask).map_or(usize::MAX, |raised| raised & !mask);
        PageLen::covering(raised)
    }

    /// How many bytes of those behind the mapping it can take.
    pub(super) fn room(&self) -> usize {
        let end = self.start().saturating_add(self.len);
        self.origin.as_ref().map_or(0, |origin| origin.room_end().saturating_sub(end).min(self.after))
    }

    fn lengthen_into_room(&mut self, more: usize, grants: Protection) -> core::result::Result<(), Failure> {
        let end = self.start().saturating_add(self.len);
        let new = PageRange::touching(end, more)?;
        // SAFETY: pages of this mapping that nobody may touch: nobody relies on what they grant.
        if let Err(failure) = unsafe { os::commit(new, grants) } {
            if let Some(changed) = failure.changed_part() {
                // Nobody may touch them in any case: they are given back to keep as little as there is to keep.
                // SAFETY: as above.
                let given_back = unsafe { os::decommit(changed) };
                if given_back.is_err_and(|lost| lost.kind() == ErrorKind::Unmapped) {
                    // They may be somebody else's from now on: all from there on is let go of, for ever.
                    self.after = changed.first().saturating_sub(end);
                }
            }
            return Err(failure.unchanged());
        }
        self.len = self.len.saturating_add(more);
        self.after = self.after.saturating_sub(more);
        Ok(())
    }

    pub(super) fn shorten(&mut self, len: usize) -> Result<()> {
        let Some(pages) = self.pages() else { return Err(self.nothing(Operation::Resize)) };
        let failed = |failure: Failure| failure.during(Operation::Resize, Some(pages), None);
        if len == 0 {
            return Err(failed(Failure::invalid("a mapping of no pages").remedy("drop it")));
        }
        if len >= self.len {
            return Ok(());
        }
        let kept = match self.content {
            Content::Zeroes => self.whole_pages(len).map_err(failed)?.bytes(),
            Content::Shared | Content::Copied => len,
        };
        // The first byte behind the pages that stay, which is not behind the last one.
        let mask = self.unit().saturating_sub(1);
        let cut = self.start().saturating_add(kept).saturating_add(mask) & !mask;
        let whole = self.start().saturating_add(self.len).saturating_add(self.after);
        if let Some(tail) = PageRange::between(cut, pages.last()) {
            let beyond = whole.saturating_sub(1) > pages.last();
            self.give_up_tail(tail, beyond).map_err(failed)?;
            if !beyond {
                self.after = cut.saturating_sub(self.start()).saturating_sub(kept);
                self.len = kept;
                return Ok(());
            }
        }
        self.after = whole.saturating_sub(self.start()).saturating_sub(kept);
        self.len = kept;
        Ok(())
    }

    /// Gives the memory of the last pages back; and their addresses unless something of the mapping lies `beyond`.
    fn give_up_tail(&mut self, tail: PageRange, beyond: bool) -> core::result::Result<(), Failure> {
        let first = self.base.as_ptr().cast_const().with_addr(tail.first());
        // Before they are given back: what is locked, some systems hold on to.
        for _ in 0..self.locks {
            let _unlocked = crate::guard::unlock(first, tail.len());
        }
        let ordinary = self.content == Content::Zeroes && self.unit() == crate::page::size();
        let given_up = match &self.origin {
            // SAFETY: pages of this mapping, which is borrowed exclusively, and whose bytes they are no longer; private and
            // anonymous (just checked).
            _ if beyond && ordinary => unsafe { os::decommit(tail) },
            // SAFETY: as above.
            _ if beyond => unsafe { os::install_guard(tail) },
            // SAFETY: as above.
            Some(origin) => unsafe { origin.unmap_part(tail) },
            // SAFETY: as above.
            None => unsafe { os::unmap_part(tail) },
        };
        match given_up {
            // Pages that are lost can be given to anybody: all behind them is let go of, for ever.
            Err(failure) if failure.kind() == ErrorKind::Unmapped => {
                self.len = tail.first().saturating_sub(self.start());
                self.after = 0;
                Err(failure)
            }
            // Pages that have lost what they held cannot be among the bytes any more.
            Err(failure) if failure.changed_part().is_none() => {
                for _ in 0..self.locks {
                    // What cannot be locked again, a later unlocking will not miss.
                    let _locked = crate::guard::lock(first, tail.len()).map(core::mem::forget);
                }
                Err(failure)
            }
            Err(_) => {
                if let Some(origin) = &self.origin {
                    origin.end_room();
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Makes a longer mapping and copies into it what this one holds.
    #[cold]
    fn copy_out(&mut self, len: PageLen, grants: Protection) -> Result<()> {
        let Some(pages) = self.pages() else { return Err(self.nothing(Operation::Resize)) };
        if self.unit() != crate::page::size() {
            let failure = Failure::new(ErrorKind::Unsupported)
                .detail("pages of another size than the ordinary one are not copied");
            return Err(failure.during(Operation::Resize, Some(pages), None));
        }
        let (before, after) = (self.before, self.after.saturating_sub(self.room()));
        let whole = len.bytes().checked_add(before).and_then(|sum| sum.checked_add(after));
        let mut new = Self::of(alloc(whole.unwrap_or(usize::MAX), Protection::READ_WRITE)?);
        new.fence(before, after)?;
        let readable = grants.contains(Protection::READ);
        if !readable {
            // SAFETY: the mapping is borrowed exclusively: nobody relies on what its pages grant.
            unsafe { self.protect(grants, Protection::READ) }?;
        }
        // SAFETY: `self.len` bytes that can be read, and as many at least that can be written; two mappings do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(self.base.as_ptr(), new.base.as_ptr(), self.len) };
        let granted = new.tell_processor(self.len, grants).and_then(|()| {
            if grants == Protection::READ_WRITE {
                return Ok(());
            }
            // SAFETY: the mapping is new: nobody has a reference into it.
            unsafe { new.protect(Protection::READ_WRITE, grants) }
        });
        match granted {
            Ok(()) => {
                *self = new;
                Ok(())
            }
            Err(error) if readable => Err(error),
            Err(error) => {
                // SAFETY: as when they were made readable.
                if unsafe { os::protect(pages, grants) }.is_err() {
                    self.shut_out(pages);
                }
                Err(error)
            }
        }
    }

    /// Lets the processor execute what was copied, if that is to be executed: before it can be.
    #[cfg(feature = "allow_exec")]
    fn tell_processor(&self, len: usize, grants: Protection) -> Result<()> {
        if !grants.contains(Protection::EXECUTE) {
            return Ok(());
        }
        self.flush_icache(0..len, true)
            .map_err(|failure| failure.during(Operation::FlushInstructions, self.pages(), None))
    }

    #[cfg(not(feature = "allow_exec"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "with `allow_exec` it can fail")]
    fn tell_processor(&self, _len: usize, _grants: Protection) -> Result<()> {
        Ok(())
    }
}
