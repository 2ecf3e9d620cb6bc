//! Giving memory back, and what is in it.

use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os::{self, NotDiscarded};
use crate::pages::map::{Content, Map};
use crate::pages::part::Ends;
use crate::pages::{ExecAccess, Pages, ReadAccess, Together, WriteAccess};
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
    /// Gives the memory of pages back, and with it what is in them. They stay as they are otherwise, and get memory again when they are
    /// touched.
    ///
    /// Memory without a file reads as zeroes then. A shared view of a file loses nothing, and a copy of one shows the file again.
    ///
    /// # Cost
    ///
    /// One system call, two on other systems than Linux.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: the range reaches beyond the mapping, or does not consist of whole pages: what shares a page with it
    ///   would be lost, too. (Of a mapping of huge pages, whole ones of those.)
    /// - [`ErrorKind::NotPermitted`]: the mapping is [locked](Self::lock), or, on Linux, somebody else has locked the pages; they are
    ///   sealed.
    /// - [`ErrorKind::Unsupported`]: on FreeBSD, NetBSD, OpenBSD and illumos, of a mapping of which a part was to be
    ///   [wiped on fork](Self::wipe_on_fork) or [kept out of core dumps](Self::keep_out_of_core_dumps): fresh pages would not be.
    /// - [`ErrorKind::Unsupported`]: elsewhere than on Linux, of a copy of a file.
    /// - [`ErrorKind::Exhausted`]: there is no memory for the fresh pages, or it would take more mappings than the process may have.
    ///
    /// [`Error::changed`] says what may have lost its content in spite of a failure. On other systems than Linux memory may run out
    /// half-way, so that those pages cannot grant what the type says; then the mapping has lost the pages up to the last of
    /// them, as after a [conversion](Self::make_none) that failed twice.
    ///
    /// # Platforms
    ///
    /// | Linux, Android | `MADV_DONTNEED` |
    /// |---|---|
    /// | Windows | `VirtualFree`, `VirtualAlloc`. Pages that grant nothing stay without memory until they do; locks of others end |
    /// | shared views of files, elsewhere than on Linux | a hint, or nothing |
    /// | Apple, FreeBSD, NetBSD, OpenBSD, illumos | fresh pages in the place of the old ones (`mmap`); locks of others end |
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Pages, page};
    ///
    /// let mut pages = Pages::new(3 * page::size())?;
    /// pages.fill(7);
    /// pages.decommit(page::size()..2 * page::size())?;
    /// assert_eq!((pages[0], pages[page::size()], pages[2 * page::size()]), (7, 0, 7));
    ///
    /// // Half of a page cannot be given back.
    /// assert!(pages.decommit(..page::size() / 2).is_err());
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0502
    /// let mut pages = folio::Pages::new(1)?;
    /// let first = &pages[0];
    /// pages.decommit(..)?; // cannot borrow as mutable
    /// println!("{first}");
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "MADV_DONTNEED")]
    #[doc(alias = "MEM_DECOMMIT")]
    pub fn decommit(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some(pages) = self.map.part(&range, Ends::BetweenPages, Operation::Decommit)? else {
            return Ok(());
        };
        // SAFETY: pages of the mapping, which is borrowed exclusively, so that nobody has references into it; any byte may become 0.
        unsafe { self.map.discard(pages, Self::PROTECTION, os::discard) }
    }
}

/// One of `os::discard` and `os::discard_lazily`.
pub(in crate::pages) type How =
    unsafe fn(PageRange, Protection, bool) -> core::result::Result<(), NotDiscarded>;

impl Map {
    /// Discards pages of the mapping, all of which grant `protection`. After a failure those that the mapping has still do.
    ///
    /// # Safety
    ///
    /// Nobody has references into the pages, or minds that the content is lost; after `os::discard_lazily`, nobody reads a page before it
    /// has been written to.
    pub(in crate::pages) unsafe fn discard(
        &mut self,
        pages: PageRange,
        protection: Protection,
        how: How,
    ) -> core::result::Result<(), Error> {
        let failed = |failure: Failure| failure.during(Operation::Decommit, Some(pages), None);
        if self.locks > 0 {
            let failure = Failure::new(ErrorKind::NotPermitted).detail("locked pages keep their memory");
            return Err(failed(failure.remedy("unlock them before (Pages::unlock)")));
        }
        let done = match self.content {
            // SAFETY: the caller's promise.
            Content::Zeroes => unsafe { how(pages, protection, self.marks.any()) },
            // SAFETY: the caller's promise.
            Content::Shared => unsafe { os::discard_file(pages, false) },
            // SAFETY: the caller's promise.
            Content::Copied => unsafe { os::discard_file(pages, true) },
        };
        let Err(NotDiscarded { failure, gone }) = done else { return Ok(()) };
        match (gone, failure.changed_part()) {
            (Some(gone), _) => self.abandon(gone),
            // What lacks memory is given some, or, if there is none, is out of reach.
            // SAFETY: what the pages granted before, and the type says.
            (None, Some(changed)) if unsafe { os::protect(changed, protection) }.is_err() => {
                self.shut_out(changed);
            }
            (None, _) => {}
        }
        Err(failed(failure))
    }
}
