//! Systems without a backend: everything compiles, and says so.

use crate::capabilities::{Capabilities, Limits, QueryMethod};
use crate::error::{ErrorKind, Failure};
use crate::page::PageSizes;
use crate::range::PageRange;
use crate::region::{Backing, Detail, Region, Usage};

fn unsupported() -> Failure {
    Failure::new(ErrorKind::Unsupported).detail("folio has no backend for it")
}

/// The page of WebAssembly; elsewhere a multiple of any page there is likely to be.
pub(crate) fn page_size() -> usize {
    64 << 10
}

pub(crate) fn granularity() -> usize {
    page_size()
}

pub(crate) fn huge_page_sizes() -> Option<PageSizes> {
    Some(PageSizes::EMPTY)
}

pub(crate) fn transparent_page_sizes() -> Option<PageSizes> {
    Some(PageSizes::EMPTY)
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        query_method: QueryMethod::Unsupported,
        other_processes: false,
        usage: false,
        maximum_protection: false,
        transparent_huge_pages: None,
    }
}

pub(crate) fn limits() -> Result<Limits, Failure> {
    Err(unsupported())
}

pub(crate) fn process_id() -> u32 {
    0
}

#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::new(core::str::from_utf8(name).unwrap_or_default())
}

pub(crate) enum Target {
    Current,
}

impl Target {
    pub(crate) const CURRENT: Self = Self::Current;

    pub(crate) fn open(_pid: u32) -> Result<Self, Failure> {
        Err(unsupported())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        None
    }
}

pub(crate) fn query(_target: &Target, _page: PageRange) -> Result<Option<Region>, Failure> {
    Err(unsupported())
}

pub(crate) fn backing(_target: &Target, _page: PageRange) -> Result<Option<Backing<'static>>, Failure> {
    Err(unsupported())
}

pub(crate) fn usage(_target: &Target, _page: PageRange) -> Result<Option<Usage>, Failure> {
    Err(unsupported())
}

/// Never made: `new` fails.
pub(crate) struct Walk;

impl Walk {
    pub(crate) fn new(_target: &Target, _range: PageRange, _detail: Detail) -> Result<Self, Failure> {
        Err(unsupported())
    }

    pub(crate) fn step(&mut self) -> Result<Option<Region>, Failure> {
        Ok(None)
    }

    pub(crate) fn backing(&self) -> Backing<'_> {
        Backing::ANONYMOUS
    }

    pub(crate) fn usage(&self) -> Option<&Usage> {
        None
    }
}
