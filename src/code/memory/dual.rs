//! One memory at two places.

use crate::allocation::{self, place_near};
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::os::{self, Place, Twice};
use crate::page;
use crate::range::{PageLen, PageRange};
use core::ops::Range;
use core::ptr::NonNull;

/// Both views of shared memory, of one length.
pub(super) struct Dual {
    views: Twice,
    code: PageRange,
    data: PageRange,
    /// Of the process that made it.
    life: u64,
}

// SAFETY: addresses of mappings that belong to the value, and to no thread.
unsafe impl Send for Dual {}
// SAFETY: as above: nothing is reached through it but by drafts and pieces, each of which has a part of its own.
unsafe impl Sync for Dual {}

impl Dual {
    pub(super) fn map(len: PageLen, near: Option<(usize, usize)>, only_targets: bool) -> Result<Self> {
        allocation::give_back();
        let failed = |failure: Failure| failure.during(Operation::Allocate, None, None);
        let views = match near {
            None => os::map_twice(len, Place::Anywhere).map_err(failed)?,
            Some((address, distance)) => {
                place_near(address, distance, len, |pages| os::map_twice(len, Place::At(pages.first())))?
            }
        };
        let range = |view: NonNull<u8>| {
            PageRange::starting_at(view.as_ptr().expose_provenance(), len)
                .ok_or_else(|| failed(Failure::new(ErrorKind::System)))
        };
        let dual = Self { views, code: range(views.code)?, data: range(views.data)?, life: os::life() };
        if only_targets {
            // SAFETY: pages that were mapped just now, to be executed.
            unsafe { os::let_execute(dual.code, true) }.map_err(failed)?;
        }
        Ok(dual)
    }

    /// Whether this is the process that made it. The memory is shared with one that was forked from that, which would write to the code of
    /// this one, without knowing what is free.
    pub(super) fn is_ours(&self) -> core::result::Result<(), Failure> {
        if self.life == os::life() {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::NotPermitted)
            .detail("the code memory is that of the process from which this one was forked, which shares it")
            .remedy("make code memory after the fork, or by CodeStrategy::Toggle"))
    }

    pub(super) fn range(&self) -> PageRange {
        self.code
    }

    pub(super) fn code(&self) -> NonNull<u8> {
        self.views.code
    }

    /// Takes the memory from pages in which nobody's code is.
    pub(super) fn empty(&self, pages: Range<usize>) -> core::result::Result<usize, Failure> {
        let size = page::size();
        let first = self.data(pages.start.saturating_mul(size)).addr().get();
        let range = PageRange::touching(first, pages.len().saturating_mul(size))?;
        // SAFETY: of no draft, and of no piece.
        unsafe { os::empty_twice(range) }
    }

    /// Where the byte at an offset is written.
    pub(super) fn data(&self, offset: usize) -> NonNull<u8> {
        // Offsets are within the area, which ends below the top of the address space.
        NonNull::new(self.views.data.as_ptr().wrapping_add(offset)).unwrap_or(self.views.data)
    }
}

impl Drop for Dual {
    fn drop(&mut self) {
        for view in [self.code, self.data] {
            // SAFETY: the whole of a mapping, whose drafts and pieces are gone.
            if let Err(failure) = unsafe { os::unmap(view) } {
                allocation::give_up(view, failure);
            }
        }
        allocation::give_back();
    }
}
