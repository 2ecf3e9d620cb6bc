//! What one tells the system about pages that one has, and asks it.

mod discard;
mod lazily;
#[cfg(test)]
mod tests;
mod touch;

pub use lazily::FreedLazily;

use super::map::Marks;
use super::part::Ends;
use super::{AllowWrite, ExecAccess, Pages, ReadAccess, Together, WriteAccess};
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::protection::Protection;
use crate::range::PageRange;
use core::ops::RangeBounds;

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Tells the system how pages will be used, or how to treat them. They hold what they held.
    ///
    /// `range`: in bytes, from the mapping's first one; `..` is all of it. All pages that it touches are meant; of an empty range,
    /// none.
    ///
    /// # Cost
    ///
    /// One system call, or none where the system has no such advice. A part that is treated otherwise than the rest counts as a mapping
    /// of its own where their number is limited. [`Advice::Collapse`] copies the pages.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the range reaches beyond the mapping.
    /// - [`ErrorKind::NotPermitted`]: the system knows the advice and does not take it for these pages: [`Advice::Cold`] and
    ///   [`Advice::PageOut`] for locked ones, [`Advice::Collapse`] where there can be no huge page.
    /// - [`ErrorKind::Exhausted`]: it would take more mappings than the process may have, or more memory than there is; for
    ///   [`Advice::Collapse`], also that no huge page is free.
    /// - [`ErrorKind::Unsupported`]: for [`Advice::Collapse`] alone.
    ///
    /// # Platforms
    ///
    /// See [`Advice`]. What a system does not know is `Ok`, and has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Advice, Pages};
    ///
    /// let mut pages = Pages::new(4 << 20)?;
    /// pages.advise(.., Advice::HugePages)?;
    /// pages[0] = 1;
    /// pages.advise(1 << 20.., Advice::Cold)?;
    /// assert_eq!(pages[0], 1);
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// Reference: [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html).
    #[doc(alias = "madvise")]
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        self.on_part(&range, Ends::Anywhere, Operation::Advise, |pages| os::advise(pages, advice))
    }

    /// [`Advice::WillNeed`] for all pages.
    ///
    /// # Errors
    ///
    /// As [`advise`](Self::advise).
    #[doc(alias = "adivse_use_soon")]
    pub fn advise_use_soon(&self) -> Result<()> {
        self.advise(.., Advice::WillNeed)
    }

    /// [`Advice::Sequential`] for all pages.
    ///
    /// # Errors
    ///
    /// As [`advise`](Self::advise).
    #[doc(alias = "adivse_use_seq")]
    pub fn advise_use_seq(&self) -> Result<()> {
        self.advise(.., Advice::Sequential)
    }

    /// [`Advice::Random`] for all pages.
    ///
    /// # Errors
    ///
    /// As [`advise`](Self::advise).
    #[doc(alias = "adivse_use_rng")]
    #[doc(alias = "advise_use_rng")]
    pub fn advise_use_rnd(&self) -> Result<()> {
        self.advise(.., Advice::Random)
    }

    /// Leaves pages out of core dumps, or no longer does. All pages that the range touches are meant.
    ///
    /// To map pages so, [`MmapOptions::no_core_dump`](crate::MmapOptions::no_core_dump).
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the range reaches beyond the mapping.
    /// - [`ErrorKind::Unsupported`]: the system has no such flag.
    /// - [`ErrorKind::Exhausted`]: it would take more mappings than the process may have.
    ///
    /// On failure [`Error::changed`] says what may be changed nevertheless.
    ///
    /// # Platforms
    ///
    /// Linux since 3.4 (`MADV_DONTDUMP`) and FreeBSD (`MADV_NOCORE`). On OpenBSD pages are mapped so, by
    /// [`MmapOptions::no_core_dump`](crate::MmapOptions::no_core_dump) (`MAP_CONCEAL`), and that is never changed. Elsewhere `true`
    /// is an error, and `false` does nothing, since no pages are left out.
    ///
    /// Also left out are pages that a debugger or another process could read all the same: this is no secrecy.
    #[doc(alias = "MADV_DONTDUMP")]
    pub fn keep_out_of_core_dumps(&mut self, range: impl RangeBounds<usize>, out: bool) -> Result<()> {
        let stays = os::dumps_chosen_when_mapped() && self.map.marks.has(Marks::NO_DUMP) && !out;
        if stays {
            let failure = Failure::new(ErrorKind::Unsupported)
                .detail("what is left out of core dumps on this system, was mapped so, and stays so");
            return Err(failure.during(Operation::Advise, self.map.pages(), None));
        }
        self.mark(&range, Ends::Anywhere, Marks::NO_DUMP, out, os::keep_out_of_core_dumps)
    }

    /// Lets the child of a `fork` have zeroes where this process has its content, or the content again. Nothing changes here.
    ///
    /// For keys, the state of random number generators, and what else must not be twice. To map pages so,
    /// [`MmapOptions::wipe_on_fork`](crate::MmapOptions::wipe_on_fork).
    ///
    /// A reference into the pages that lives through a `fork` sees zeroes in the child: that is a matter of who calls `fork`, which
    /// is not safe to call.
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the range reaches beyond the mapping, or does not consist of whole pages: what shares a page
    ///   with it would be wiped, too.
    /// - [`ErrorKind::Unsupported`]: the system cannot do it, or not take it back.
    /// - [`ErrorKind::NotPermitted`]: not private memory without a file.
    /// - [`ErrorKind::Exhausted`]: it would take more mappings than the process may have.
    ///
    /// On failure [`Error::changed`] says what may be changed nevertheless.
    ///
    /// # Platforms
    ///
    /// | Linux, Android | `MADV_WIPEONFORK`, 4.14 |
    /// |---|---|
    /// | Windows | nothing to do: there is no `fork` |
    /// | FreeBSD | `INHERIT_ZERO`, 12 |
    /// | NetBSD, OpenBSD | `MAP_INHERIT_ZERO`, 7 and 5.6 |
    /// | illumos | `MC_INHERIT_ZERO`, of 2015; never taken back |
    /// | Apple | no |
    ///
    /// # Examples
    ///
    /// ```
    /// let mut seed = folio::Pages::new(32)?;
    /// match seed.wipe_on_fork(.., true) {
    ///     Ok(()) => {}
    ///     Err(error) if error.kind() == folio::ErrorKind::Unsupported => println!("{error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// seed[0] = 7;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "MADV_WIPEONFORK")]
    #[doc(alias = "minherit")]
    pub fn wipe_on_fork(&mut self, range: impl RangeBounds<usize>, wipe: bool) -> Result<()> {
        self.mark(&range, Ends::BetweenPages, Marks::WIPED, wipe, os::wipe_on_fork)
    }

    /// Reads pages in, so that reading them later neither waits nor ends the process: what is wrong with one is an error now. All
    /// pages that the range touches are meant.
    ///
    /// Of private pages that nobody has written to yet, systems may map one common page of zeroes: writing to them still takes memory
    /// then. For that, [`prefault_mut`](Self::prefault_mut). Pages that are read in may be paged out again, unless they are
    /// [locked](Self::lock).
    ///
    /// # Cost
    ///
    /// One system call where the system has one (Linux since 5.14); else each page is touched, which costs a page fault for each that
    /// was not in memory.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the range reaches beyond the mapping.
    /// - [`ErrorKind::NotPermitted`]: the pages are not to be read, by their type; or some page cannot be had, such as one beyond the end
    ///   of its file.
    /// - [`ErrorKind::Exhausted`]: there is not so much memory.
    ///
    /// Pages before the one that failed may have been read in.
    ///
    /// # Platforms
    ///
    /// On other systems than Linux, and on Linux before 5.14, what is wrong with a page ends the process, by a signal or exception, as it
    /// would when it is used.
    ///
    /// # Examples
    ///
    /// ```
    /// let pages = folio::Pages::new(1 << 20)?;
    /// pages.prefault(..4096)?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "populate")]
    #[doc(alias = "MADV_POPULATE_READ")]
    pub fn prefault(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some(pages) = self.map.part(&range, Ends::Anywhere, Operation::Prefault)? else { return Ok(()) };
        let failed = |failure: Failure| failure.during(Operation::Prefault, Some(pages), None);
        if !Self::PROTECTION.contains(Protection::READ) {
            return Err(failed(
                Failure::new(ErrorKind::NotPermitted)
                    .detail("the pages are not to be read")
                    .remedy("let them be read (Pages::allow_read), or, if they can be written, use Pages::prefault_mut"),
            ));
        }
        if !os::populate(pages, false).map_err(failed)? {
            // SAFETY: pages of the mapping, which can be read (just checked, and the type's invariant).
            unsafe { touch::read(self.map.base(), pages) };
        }
        Ok(())
    }

    /// How many pages of [`page::size`](crate::page::size) bytes are in memory, of all that the range touches. (Of huge ones, as many as
    /// they are large.)
    ///
    /// An answer of the past: they come and go at any time.
    ///
    /// # Cost
    ///
    /// A system call for every 1,024 pages; for every 64 on Windows. Does not allocate.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the range reaches beyond the mapping.
    /// - [`ErrorKind::Unsupported`]: the system does not tell.
    ///
    /// # Platforms
    ///
    /// | system | what counts |
    /// |---|---|
    /// | Linux, Android | `mincore`: what is mapped to memory, the common page of zeroes included, which pages that were only read share; what was swapped out and is still, or again, in the swap cache; of files, what is in the page cache. Of files that the caller neither owns nor may write to, all pages count (since 5.2) |
    /// | Windows | the working set (`QueryWorkingSetEx`) |
    /// | Apple, FreeBSD, NetBSD, illumos | `mincore` |
    /// | OpenBSD | no: removed in 6.5 |
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Pages, page};
    ///
    /// let mut pages = Pages::new(64 * page::size())?;
    /// pages[..10 * page::size()].fill(1);
    /// match pages.resident(..) {
    ///     Ok(count) => assert!(count >= 10),
    ///     Err(error) => assert_eq!(error.kind(), folio::ErrorKind::Unsupported),
    /// }
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// References: [mincore(2)](https://man7.org/linux/man-pages/man2/mincore.2.html),
    /// [`QueryWorkingSetEx`](https://learn.microsoft.com/windows/win32/api/psapi/nf-psapi-queryworkingsetex).
    #[doc(alias = "mincore")]
    pub fn resident(&self, range: impl RangeBounds<usize>) -> Result<usize> {
        let Some(pages) = self.map.part(&range, Ends::Anywhere, Operation::Resident)? else { return Ok(0) };
        os::resident(pages).map_err(|failure| failure.during(Operation::Resident, Some(pages), None))
    }

    /// Sets a flag of pages or takes it from them, and notes whether some may have it.
    fn mark(
        &mut self,
        range: &impl RangeBounds<usize>,
        ends: Ends,
        mark: Marks,
        set: bool,
        call: fn(PageRange, bool) -> core::result::Result<(), Failure>,
    ) -> Result<()> {
        let operation = Operation::Advise;
        let Some(pages) = self.map.part(range, ends, operation)? else { return Ok(()) };
        let done = call(pages, set).map_err(|failure| failure.during(operation, Some(pages), None));
        let (marks, all) = (self.map.marks, Some(pages) == self.map.pages());
        // Of core dumps, not every system tells what is changed in spite of a failure.
        let may_have = |error: &Error| {
            error.changed().is_some() || (mark == Marks::NO_DUMP && error.kind() != ErrorKind::Unsupported)
        };
        let changed = done.as_ref().err().is_none_or(may_have);
        self.map.marks = match (set, all && done.is_ok()) {
            (true, true) => marks.without(mark).with(mark),
            (false, true) => marks.without(mark),
            // What all of them had already, they still have; what none had, none lacks.
            (true, false) if changed && !marks.has(mark) => marks.with(mark.in_part()),
            (false, false) if changed && marks.has(mark) => marks.with(mark.in_part()),
            _ => marks,
        };
        done
    }

    fn on_part(
        &self,
        range: &impl RangeBounds<usize>,
        ends: Ends,
        operation: Operation,
        call: impl FnOnce(PageRange) -> core::result::Result<(), Failure>,
    ) -> Result<()> {
        let Some(pages) = self.map.part(range, ends, operation)? else { return Ok(()) };
        call(pages).map_err(|failure| failure.during(operation, Some(pages), None))
    }
}

impl<R, X> Pages<R, AllowWrite, X>
where
    R: ReadAccess,
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    /// Brings pages in for writing: each has memory of its own then. All pages that the range touches are meant; they hold what
    /// they held.
    ///
    /// # Cost
    ///
    /// As [`prefault`](Self::prefault).
    ///
    /// # Errors
    ///
    /// As [`prefault`](Self::prefault).
    ///
    /// # Platforms
    ///
    /// As [`prefault`](Self::prefault). Where each page is touched, its first byte is exchanged for itself, in one step.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut pages = folio::Pages::new(1 << 20)?;
    /// pages.prefault_mut(..)?;
    /// // No page fault.
    /// pages.fill(1);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "MADV_POPULATE_WRITE")]
    pub fn prefault_mut(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some(pages) = self.map.part(&range, Ends::Anywhere, Operation::Prefault)? else { return Ok(()) };
        let failed = |failure: Failure| failure.during(Operation::Prefault, Some(pages), None);
        if !os::populate(pages, true).map_err(failed)? {
            // SAFETY: pages of the mapping, which is borrowed exclusively and can be written, as the type says.
            unsafe { touch::write(self.map.base(), pages) };
        }
        Ok(())
    }

    /// Lets the system take the memory of all pages when it wants it, and gives up their content until then: cheaper than
    /// [`decommit`](Self::decommit) where the pages are soon used again.
    ///
    /// From now on each page holds what it held or is a fresh one, and may change from the one to the other at any time, also between
    /// two reads. So there is no reading until [`FreedLazily::reuse`] has put an end to that. For a part of the mapping,
    /// [split](Self::split_off) it off before.
    ///
    /// # Cost
    ///
    /// One system call (`MADV_FREE`, `MEM_RESET`); two where the memory is given back at once.
    ///
    /// # Errors
    ///
    /// The mapping, and why: as [`decommit`](Self::decommit). After a failure of the system each page holds what it held or is a
    /// fresh one, which does not change any more.
    ///
    /// # Platforms
    ///
    /// Linux before 4.5, and pages of other kinds than private memory: given back at once, as by [`decommit`](Self::decommit).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut pages = folio::Pages::new(1 << 20)?;
    /// pages.fill(1);
    /// let idle = pages.free_lazily()?;
    /// let pages = idle.reuse();
    /// assert!(pages[0] <= 1);
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0608
    /// let idle = folio::Pages::new(1)?.free_lazily()?;
    /// let first = idle[0]; // cannot index into what changes by itself
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0614
    /// let idle = folio::Pages::new(1)?.free_lazily()?;
    /// let all = *idle; // cannot be dereferenced
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0505
    /// let pages = folio::Pages::new(1)?;
    /// let first = &pages[0];
    /// let idle = pages.free_lazily(); // cannot move out of `pages` because it is borrowed
    /// println!("{first}");
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "MADV_FREE")]
    pub fn free_lazily(self) -> core::result::Result<FreedLazily<R, X>, (Self, Error)> {
        FreedLazily::new(self)
    }
}
