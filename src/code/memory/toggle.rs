//! One memory at one place, written first and executed then.

use super::{Room, flush};
use crate::allocation::{self, place_near};
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::{self, NonNull};

type Tried<T> = core::result::Result<T, Failure>;

/// How many pages are put in the place of others before pieces get pages of their own: each is a mapping of its own then, of which a
/// process has 65,530 at most.
const MOST_REPLACED: usize = 8192;

/// Address space, pages of which are made to be written or executed.
pub(super) struct Toggle {
    base: NonNull<u8>,
    range: PageRange,
    /// Whether indirect branches lead to marked instructions only.
    only_targets: bool,
}

// SAFETY: the address of a mapping that belongs to the value, and to no thread.
unsafe impl Send for Toggle {}
// SAFETY: what it does to pages it does with the book, of which there is one, behind a lock.
unsafe impl Sync for Toggle {}

/// What is known of the pages, by number.
#[derive(Default)]
pub(super) struct Book {
    pages: Vec<Page>,
    replaced: usize,
}

#[derive(Clone, Copy, Default)]
struct Page {
    /// How many published pieces touch it.
    live: u32,
    grants: Grants,
    /// Whether it was put in the place of another.
    apart: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Grants {
    #[default]
    Nothing,
    Writing,
    Executing,
}

impl Book {
    /// Whether a page that holds published code can be written to beside it.
    pub(super) fn may_share(&self) -> bool {
        os::moves_pages() && self.replaced < MOST_REPLACED
    }

    fn get(&self, page: usize) -> Page {
        self.pages.get(page).copied().unwrap_or_default()
    }

    /// Room for what will be known of them.
    fn reach(&mut self, pages: &Range<usize>) -> Tried<()> {
        let more = pages.end.saturating_sub(self.pages.len());
        self.pages.try_reserve(more).map_err(|_| {
            Failure::new(ErrorKind::Exhausted).detail("no memory in which to keep account of the pages")
        })?;
        if more > 0 {
            self.pages.resize(pages.end, Page::default());
        }
        Ok(())
    }

    fn each(&mut self, pages: Range<usize>, change: impl FnMut(&mut Page)) {
        self.pages.get_mut(pages).into_iter().flatten().for_each(change);
    }

    pub(super) fn publish(&mut self, pages: Range<usize>) {
        self.each(pages, |page| page.live = page.live.saturating_add(1));
    }

    pub(super) fn withdraw(&mut self, pages: Range<usize>) {
        self.each(pages, |page| page.live = page.live.saturating_sub(1));
    }
}

/// What is to be written, and where.
pub(super) struct Write<'a> {
    pub(super) start: usize,
    pub(super) bytes: &'a [u8],
}

/// Pages side by side that are all published in part, or none of them.
struct Run {
    pages: Range<usize>,
    /// Where they are written: a copy of what is published, else they themselves.
    place: NonNull<u8>,
    copy: Option<PageRange>,
}

impl Toggle {
    pub(super) fn map(len: PageLen, near: Option<(usize, usize)>, only_targets: bool) -> Result<Self> {
        allocation::give_back();
        let base = match near {
            None => os::map(len, Protection::NONE)
                .map_err(|failure| failure.during(Operation::Allocate, None, None))?,
            Some((address, distance)) => {
                place_near(address, distance, len, |pages| os::map_at(pages, Protection::NONE))?
            }
        };
        let range = PageRange::starting_at(base.as_ptr().expose_provenance(), len);
        range
            .map(|range| Self { base, range, only_targets })
            .ok_or_else(|| Failure::new(ErrorKind::System).during(Operation::Allocate, None, None))
    }

    pub(super) fn range(&self) -> PageRange {
        self.range
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn place(&self, offset: usize) -> NonNull<u8> {
        NonNull::new(self.base.as_ptr().wrapping_add(offset)).unwrap_or(self.base)
    }

    fn at(&self, pages: &Range<usize>) -> Tried<PageRange> {
        let size = page::size();
        let first = pages.start.checked_mul(size).map(|offset| self.place(offset).addr().get());
        let len = pages.end.saturating_sub(pages.start).saturating_mul(size);
        first.map_or_else(|| Err(Failure::new(ErrorKind::System)), |first| PageRange::touching(first, len))
    }

    /// Lets pages be written that hold no published code.
    pub(super) fn open(&self, book: &mut Book, pages: Range<usize>) -> Tried<()> {
        book.reach(&pages)?;
        let mut next = pages.start;
        while next < pages.end {
            let grants = book.get(next).grants;
            let end = (next..pages.end).find(|&page| book.get(page).grants != grants).unwrap_or(pages.end);
            let run = next..end;
            match grants {
                // SAFETY: pages of the area, that nobody uses: no code in them is published.
                Grants::Nothing => unsafe { os::commit(self.at(&run)?, Protection::READ_WRITE) },
                // SAFETY: as above.
                Grants::Executing => unsafe { os::protect(self.at(&run)?, Protection::READ_WRITE) },
                Grants::Writing => Ok(()),
            }?;
            book.each(run, |page| page.grants = Grants::Writing);
            next = end;
        }
        Ok(())
    }

    /// Takes the memory from pages in which nobody's code is, and says how many bytes of them had some.
    pub(super) fn empty(&self, book: &mut Book, pages: Range<usize>) -> Tried<usize> {
        let mut given = 0_usize;
        // What was never used is not known.
        let mut rest = pages.start..pages.end.min(book.pages.len());
        while let Some(first) = rest.find(|&page| book.get(page).grants != Grants::Nothing) {
            let end =
                (first..rest.end).find(|&page| book.get(page).grants == Grants::Nothing).unwrap_or(rest.end);
            let range = self.at(&(first..end))?;
            // SAFETY: of no draft, and of no piece.
            unsafe { os::decommit(range) }?;
            let mut joined = 0_usize;
            book.each(first..end, |page| {
                page.grants = Grants::Nothing;
                joined = joined.saturating_add(usize::from(page.apart));
                page.apart = false;
            });
            book.replaced = book.replaced.saturating_sub(joined);
            given = given.saturating_add(range.len());
            rest = end..rest.end;
        }
        Ok(given)
    }

    /// Writes what is to be written, and lets all the pages be executed.
    ///
    /// After a failure what is published is as it was, unless the failure says what is lost; of the rest some may be written.
    pub(super) fn write(&self, book: &mut Book, pages: &BTreeSet<usize>, writes: &[Write<'_>]) -> Tried<()> {
        let mut runs = Vec::new();
        let done = self.lay(book, pages, &mut runs).and_then(|()| {
            for write in writes {
                self.fill(&runs, write);
            }
            self.swing(book, &mut runs)
        });
        drop_copies(&runs);
        done
    }

    /// As [`write`](Self::write), of pages side by side that are all published in part, or none of them.
    pub(super) fn rewrite(&self, book: &mut Book, pages: Range<usize>, write: &Write<'_>) -> Tried<()> {
        let mut runs = [self.run(book, pages)?];
        self.fill(&runs, write);
        let done = self.swing(book, &mut runs);
        drop_copies(&runs);
        done
    }

    /// Makes runs of the pages, each of which can be written.
    fn lay(&self, book: &mut Book, pages: &BTreeSet<usize>, runs: &mut Vec<Run>) -> Tried<()> {
        let mut next: Option<Range<usize>> = None;
        for &page in pages {
            let shared = book.get(page).live > 0;
            match &mut next {
                Some(run) if run.end == page && (book.get(run.start).live > 0) == shared => {
                    run.end = page.saturating_add(1);
                }
                other => {
                    if let Some(run) = other.replace(page..page.saturating_add(1)) {
                        runs.push(self.run(book, run)?);
                    }
                }
            }
        }
        if let Some(run) = next {
            runs.push(self.run(book, run)?);
        }
        Ok(())
    }

    fn run(&self, book: &mut Book, pages: Range<usize>) -> Tried<Run> {
        let there = self.at(&pages)?;
        let place = self.place(pages.start.saturating_mul(page::size()));
        if book.get(pages.start).live == 0 {
            self.open(book, pages.clone())?;
            return Ok(Run { pages, place, copy: None });
        }
        let len = there.page_len()?;
        let copy = os::map(len, Protection::READ_WRITE)?;
        let range = PageRange::starting_at(copy.as_ptr().expose_provenance(), len)
            .ok_or_else(|| Failure::new(ErrorKind::System))?;
        // SAFETY: published pages, which can be read, and which nobody writes to without the book; new ones, as many.
        unsafe { ptr::copy_nonoverlapping(place.as_ptr(), copy.as_ptr(), there.len()) };
        Ok(Run { pages, place: copy, copy: Some(range) })
    }

    /// Writes bytes to the runs that they are in.
    fn fill(&self, runs: &[Run], write: &Write<'_>) {
        let size = page::size();
        let end = write.start.saturating_add(write.bytes.len());
        for run in runs {
            let (first, last) = (run.pages.start.saturating_mul(size), run.pages.end.saturating_mul(size));
            let (from, to) = (write.start.max(first), end.min(last));
            let part = write.bytes.get(from.saturating_sub(write.start)..to.saturating_sub(write.start));
            let Some(part) = part.filter(|part| !part.is_empty() && from >= first) else { continue };
            let target = run.place.as_ptr().wrapping_add(from.saturating_sub(first));
            // SAFETY: inside the run (`from` and `to` are), whose pages can be written, and are used by nobody without the book: they are
            // a new copy, or hold no published code; the bytes are somebody's own.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), target, part.len()) };
        }
    }

    /// Lets pages be executed that were written to where they are, and that hold no published code.
    pub(super) fn close(&self, book: &mut Book, pages: &Range<usize>) -> Tried<()> {
        let there = self.at(pages)?;
        // SAFETY: pages that can be read.
        unsafe { flush(self.place(pages.start.saturating_mul(page::size())), there.len()) }?;
        // Before: of what fails, some may be changed.
        book.each(pages.clone(), |page| page.grants = Grants::Executing);
        // SAFETY: pages of the area, in which no code is published, and which their draft's owner has lent.
        unsafe { os::let_execute(there, self.only_targets) }
    }

    /// Lets what was written be executed: in the place of what was there.
    fn swing(&self, book: &mut Book, runs: &mut [Run]) -> Tried<()> {
        for run in &*runs {
            let Some(copy) = run.copy else {
                self.close(book, &run.pages)?;
                continue;
            };
            // SAFETY: pages that can be read.
            unsafe { flush(run.place, copy.len()) }?;
            // SAFETY: as in `fill`.
            unsafe { os::let_execute(copy, self.only_targets) }?;
        }
        for run in runs {
            let Some(copy) = run.copy else { continue };
            let there = self.at(&run.pages)?;
            // SAFETY: pages that nobody was told of, and pages of the area that hold the same but for what no published code is in (or
            // what the caller of `patch` wants to be another).
            unsafe { os::replace_pages(copy, there) }?;
            run.copy = None;
            let mut more = 0_usize;
            book.each(run.pages.clone(), |page| {
                more = more.saturating_add(usize::from(!page.apart));
                page.apart = true;
            });
            book.replaced = book.replaced.saturating_add(more);
            // Some caches know instructions by their address.
            // SAFETY: pages that can be read.
            unsafe { flush(self.place(run.pages.start.saturating_mul(page::size())), there.len()) }?;
        }
        Ok(())
    }
}

/// Of those that did not take the place of what they are copies of.
fn drop_copies(runs: &[Run]) {
    for copy in runs.iter().filter_map(|run| run.copy) {
        // SAFETY: copies that nobody was told of.
        if let Err(failure) = unsafe { os::unmap(copy) } {
            allocation::give_up(copy, failure);
        }
    }
}

impl Drop for Toggle {
    fn drop(&mut self) {
        // SAFETY: all of the area, whose drafts and pieces are gone.
        if let Err(failure) = unsafe { os::unmap(self.range) } {
            allocation::give_up(self.range, failure);
        }
        allocation::give_back();
    }
}

/// Where a draft is written, if that is where it is going to be executed: in pages of its own.
pub(super) fn in_place(room: &Room) -> bool {
    let mask = page::mask();
    room.start & mask == 0 && room.taken & mask == 0 && room.taken > 0
}
