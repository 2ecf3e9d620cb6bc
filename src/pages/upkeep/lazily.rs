//! Pages whose content may go at any moment.

use super::touch;
use crate::error::Error;
use crate::os;
use crate::pages::map::Content;
use crate::pages::{AllowRead, AllowWrite, DenyExec, ExecAccess, Pages, ReadAccess, Together};
use core::fmt;

/// Pages whose memory the system may take at any moment: made by [`Pages::free_lazily`].
///
/// What they hold may change between two reads, from what it was to zeroes, so nothing of it can be reached; [`reuse`](Self::reuse)
/// gives the mapping back. Dropping it unmaps the pages.
#[must_use = "the pages are unmapped when the value is dropped"]
pub struct FreedLazily<R = AllowRead, X = DenyExec>
where
    R: ReadAccess,
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    /// Invariant: nobody reads it before each page has been written to.
    pages: Pages<R, AllowWrite, X>,
}

impl<R, X> FreedLazily<R, X>
where
    R: ReadAccess,
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    pub(super) fn new(pages: Pages<R, AllowWrite, X>) -> Result<Self, (Pages<R, AllowWrite, X>, Error)> {
        let mut pages = pages;
        let Some(range) = pages.map.pages() else { return Ok(Self { pages }) };
        let protection = Pages::<R, AllowWrite, X>::PROTECTION;
        // SAFETY: the mapping is consumed, so that nobody has references into it; see the invariant.
        match unsafe { pages.map.discard(range, protection, os::discard_lazily) } {
            Ok(()) => Ok(Self { pages }),
            Err(error) => {
                // Some of them may be freed already.
                let freed = Self { pages };
                let pages = if error.changed().is_some() { freed.reuse() } else { freed.pages };
                Err((pages, error))
            }
        }
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there is nothing in it: see [`Pages::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The address of the first byte.
    pub fn start(&self) -> usize {
        self.pages.start()
    }

    /// The pages, to be used again. Each of them holds what it held before, or zeroes, and that stays so.
    ///
    /// # Cost
    ///
    /// Each page is written to (a byte is exchanged for itself): a page fault for each whose memory is gone. No system call. Pages of
    /// files, whose memory was given back at once, are not touched.
    pub fn reuse(self) -> Pages<R, AllowWrite, X> {
        // Of a file, to write to a hole takes room on its device: for lack of that, the process would be ended.
        let lazily = self.pages.map.content() == Content::Zeroes;
        if let Some(range) = self.pages.map.pages().filter(|_| lazily) {
            // SAFETY: pages of the mapping, which this value owns and nobody else reaches, and which can be written, as its type says.
            unsafe { touch::write(self.pages.map.base(), range) };
        }
        self.pages
    }
}

impl<R, X> fmt::Debug for FreedLazily<R, X>
where
    R: ReadAccess,
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FreedLazily({:#x?})", self.pages.as_range())
    }
}
