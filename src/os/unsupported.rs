//! Systems without a backend: everything compiles, and says so.

use crate::advice::Advice;
use crate::capabilities::{Abilities, Limits, QueryMethod};
use crate::error::{ErrorKind, Failure};
use crate::os::NotDiscarded;
use crate::os::{File, FileFacts, Request};
use crate::page::PageSizes;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use crate::region::{Backing, Detail, Region, Usage};
use core::ffi::CStr;
use core::ptr::NonNull;

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

pub(crate) fn capabilities() -> Abilities {
    Abilities {
        query_method: QueryMethod::Unsupported,
        other_processes: false,
        usage: false,
        maximum_protection: false,
        transparent_huge_pages: None,
        lock_on_fault: false,
        guard_advice: false,
        seal: false,
        protection_keys: false,
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

pub(crate) fn map(_len: PageLen, _protection: Protection) -> Result<NonNull<u8>, Failure> {
    Err(unsupported())
}

pub(crate) fn map_at(_range: PageRange, _protection: Protection) -> Result<NonNull<u8>, Failure> {
    Err(unsupported())
}

/// Never made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached;

impl Attached {
    pub(crate) const NOTHING: Self = Self;

    #[expect(clippy::unused_self, reason = "on Windows it depends")]
    pub(crate) const fn is_needed(&self) -> bool {
        false
    }
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn map_with(_request: &Request<'_>) -> Result<(NonNull<u8>, Attached), Failure> {
    Err(unsupported())
}

pub(crate) fn file_facts(_file: File<'_>) -> Result<FileFacts, Failure> {
    Err(unsupported())
}

pub(crate) fn flush(_range: PageRange, _wait: bool, _attached: &Attached) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn prefer_huge(_range: PageRange) -> Result<bool, Failure> {
    Err(unsupported())
}

pub(crate) fn read_in(_range: PageRange, _protection: Protection) {}

pub(crate) fn name(_range: PageRange, _name: &CStr) {}

pub(crate) fn unmaps_together() -> bool {
    false
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn unmap(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn unmap_part(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn release(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn commit(_range: PageRange, _protection: Protection) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn decommit(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn vacate(_range: PageRange, _protection: Protection) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn protect(_range: PageRange, _protection: Protection) -> Result<(), Failure> {
    Err(unsupported())
}

/// Never found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access;

pub(crate) fn accesses(
    _range: PageRange,
    _to: Protection,
    _found: &mut dyn FnMut(PageRange, Access),
) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn give_back(_range: PageRange, _access: Access) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn lock(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn lock_on_fault(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn unlock(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn advise(_range: PageRange, _advice: Advice) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) const fn dumps_chosen_when_mapped() -> bool {
    false
}

pub(crate) fn keep_out_of_core_dumps(_range: PageRange, _out: bool) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn wipe_on_fork(_range: PageRange, _wipe: bool) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn discard(
    _range: PageRange,
    _protection: Protection,
    _marked: bool,
) -> Result<(), NotDiscarded> {
    Err(unsupported().into())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn discard_lazily(
    _range: PageRange,
    _protection: Protection,
    _marked: bool,
) -> Result<(), NotDiscarded> {
    Err(unsupported().into())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn discard_file(_range: PageRange, _copied: bool) -> Result<(), NotDiscarded> {
    Err(unsupported().into())
}

pub(crate) fn populate(_range: PageRange, _write: bool) -> Result<bool, Failure> {
    Err(unsupported())
}

pub(crate) fn resident(_range: PageRange) -> Result<usize, Failure> {
    Err(unsupported())
}

pub(crate) fn life() -> u64 {
    1
}

pub(crate) fn yield_now() {
    core::hint::spin_loop();
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn install_guard(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn remove_guard(_range: PageRange, _protection: Protection) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn seal(_range: PageRange) -> Result<(), Failure> {
    Err(unsupported())
}

#[cfg(feature = "allow_exec")]
pub(crate) use super::coding::{allows_code, has_branch_targets, let_execute};
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub(crate) use super::coding::{jit_by_thread, let_thread_write_jit};
#[cfg(feature = "allow_exec")]
pub(crate) use super::icache::{flush_instructions, flush_reads};
#[cfg(feature = "std")]
pub(crate) use super::keyless as keys;
#[cfg(feature = "allow_exec")]
pub(crate) use super::once::{empty_twice, map_twice};
#[cfg(feature = "allow_exec")]
pub(crate) use super::unmovable::replace_pages;
pub(crate) use super::unmovable::{
    lengthen, move_pages, moves_pages, no_transparent_unit as transparent_unit,
};

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

/// No copies either, but for a system of which only the processor is unknown.
pub(crate) mod fault {
    use crate::access_fault::Installed;
    use crate::error::Failure;
    use crate::os::copying::Ready;

    pub(crate) fn install() -> Result<Ready, Failure> {
        Err(super::unsupported())
    }

    pub(crate) fn installed() -> Result<Installed, Failure> {
        Ok(Installed::No)
    }
}
