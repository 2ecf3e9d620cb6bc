//! A range in the parts in which the system describes it. Its calls for changes work within one allocation at most, and most
//! within pages of one state only.

use super::sys::{self, Code};
use crate::error::{ErrorKind, Failure};
use crate::range::PageRange;
use alloc::vec::Vec;
use windows_sys::Win32::System::Memory::{MEM_FREE, MEM_RESERVE, PAGE_EXECUTE_WRITECOPY, PAGE_WRITECOPY};

/// What pages grant, as the system writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Nothing: there is no memory behind them yet.
    Reserved,
    /// One of the eight `PAGE_` constants, with `PAGE_GUARD`, `PAGE_NOCACHE` or `PAGE_WRITECOMBINE`.
    Committed(u32),
}

/// A run of pages of one allocation with the same access, clipped to the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) pages: PageRange,
    /// `None`: free address space, or above what a process may use.
    pub(super) access: Option<Access>,
    /// Where its allocation begins.
    pub(super) allocation: usize,
    /// `MEM_PRIVATE`, `MEM_IMAGE`, or `MEM_MAPPED`: a view of a file or of other memory that can be shared.
    pub(super) kind: u32,
    /// Mapped so that each page is copied when it is written first.
    pub(super) copied: bool,
}

/// The parts of a range, ascending, without gaps.
pub(super) struct Parts {
    next: Option<usize>,
    last: usize,
}

impl Parts {
    pub(super) fn of(range: PageRange) -> Self {
        Self { next: Some(range.first()), last: range.last() }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<Option<Part>, Code> {
        let Some(from) = self.next.take() else { return Ok(None) };
        let Some(rest) = PageRange::between(from, self.last) else { return Ok(None) };
        let nothing = Part { pages: rest, access: None, allocation: 0, kind: 0, copied: false };
        let Some(info) = sys::virtual_query(None, from)? else { return Ok(Some(nothing)) };
        let end = info.BaseAddress.addr().checked_add(info.RegionSize);
        // The last byte; the top of the address space ends a region as well as any.
        let until = end.and_then(|end| end.checked_sub(1)).unwrap_or(self.last).min(self.last);
        let Some(pages) = PageRange::between(from, until) else { return Ok(Some(nothing)) };
        self.next = until.checked_add(1);
        let access = match info.State {
            MEM_FREE => return Ok(Some(Part { pages, ..nothing })),
            MEM_RESERVE => Access::Reserved,
            _ => Access::Committed(info.Protect),
        };
        Ok(Some(Part {
            pages,
            access: Some(access),
            allocation: info.AllocationBase.addr(),
            kind: info.Type,
            copied: matches!(info.AllocationProtect & 0xff, PAGE_WRITECOPY | PAGE_EXECUTE_WRITECOPY),
        }))
    }

    /// All of them, in order, none of which is free; `code` is what a call for the whole range gave, if there was one.
    ///
    /// They are found before the first is changed: the memory for the list might come from pages that are about to change.
    #[cold]
    pub(super) fn all(mut self, code: Option<Code>) -> Result<Vec<Part>, Failure> {
        let mut parts = Vec::new();
        while let Some(part) = self.step().map_err(Code::failure)? {
            if part.access.is_none() {
                let kind = ErrorKind::Unmapped;
                return Err(code.map_or_else(|| Failure::new(kind), |code| code.of_kind(kind)));
            }
            parts.push(part);
        }
        Ok(parts)
    }
}

/// The pages from the first part's to the last one's.
pub(super) fn hull(parts: &[Part]) -> Option<PageRange> {
    PageRange::between(parts.first()?.pages.first(), parts.last()?.pages.last())
}
