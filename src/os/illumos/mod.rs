//! illumos: `/proc/PID/map` and, for what a region uses, `/proc/PID/xmap` (proc(5)).
//!
//! The kernel makes the whole list for every read and gives the part asked for: so all of it is read at once, and a
//! question about one address costs as much as a listing.

mod files;

use super::listed::illumos as layout;
use super::listed::sys;
use super::listed::{self, Entry, Scratch, System};
use crate::capabilities::{Capabilities, Limits, QueryMethod};
use crate::error::Failure;
use crate::page::PageSizes;
use crate::range::PageRange;
use crate::region::{Backing, BackingKind, Detail, Region, Usage};
use alloc::borrow::Cow;
use alloc::vec::Vec;

pub(crate) use super::listed::sys::process_id;
pub(crate) use files::Target;

pub(crate) fn page_size() -> usize {
    sys::page_size()
}

pub(crate) fn granularity() -> usize {
    page_size()
}

/// The sizes of getpagesizes(3): a mapping asks for one by memcntl(2), `MC_HAT_ADVISE`.
pub(crate) fn huge_page_sizes() -> Option<PageSizes> {
    Some(sys::larger_page_sizes())
}

pub(crate) fn transparent_page_sizes() -> Option<PageSizes> {
    Some(PageSizes::EMPTY)
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        query_method: QueryMethod::List,
        other_processes: true,
        usage: true,
        maximum_protection: false,
        transparent_huge_pages: None,
        lock_on_fault: false,
        guard_advice: false,
        seal: false,
        protection_keys: false,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn limits() -> Result<Limits, Failure> {
    Ok(sys::limits(None, Some(libc::RLIMIT_VMEM)))
}

/// The name of a backing as the system's string: any bytes are.
#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

/// This system, for the code that all systems with lists share.
pub(crate) struct Native;

impl System for Native {
    type Target = Target;

    fn list(target: &Target, detail: Detail, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        // For `xmap` the kernel looks at every page.
        target.read(if detail == Detail::Usage { c"xmap" } else { c"map" }, buffer)
    }

    fn entry(bytes: &[u8], detail: Detail) -> Option<Entry<'_>> {
        if detail == Detail::Usage { layout::extended_entry(bytes) } else { layout::entry(bytes) }
    }

    fn hold(target: &Target) -> Result<Target, Failure> {
        target.hold()
    }

    fn still_there(target: &Target) -> Result<(), Failure> {
        target.still_there()
    }

    /// The list names objects by their device and inode; what these are called, links in `/proc/PID/path` tell. Neighbours
    /// mostly belong to the same object, whose link is followed once.
    fn complete<'a>(target: &Target, backing: Backing<'a>, scratch: &'a mut Scratch) -> Backing<'a> {
        if backing.kind != BackingKind::File {
            return backing;
        }
        let Scratch { listed, name, program } = scratch;
        if listed.as_slice() != &*backing.name {
            listed.clear();
            listed.extend_from_slice(&backing.name);
            target.path(listed, name);
        }
        let mut backing = backing;
        if *backing.name == *layout::PROGRAM {
            let known = *program.get_or_insert_with(|| target.object(layout::PROGRAM));
            if let Some((device, inode)) = known {
                (backing.device, backing.inode) = (Some(device), inode);
            }
        }
        Backing { name: Cow::Borrowed(name), ..backing }
    }
}

/// The region that holds `page`. Allocates the list's buffer, and nothing for each region.
pub(crate) fn query(target: &Target, page: PageRange) -> Result<Option<Region>, Failure> {
    listed::query::<Native>(target, page)
}

/// What stands behind the region that holds `page`.
pub(crate) fn backing(target: &Target, page: PageRange) -> Result<Option<Backing<'static>>, Failure> {
    listed::backing::<Native>(target, page)
}

/// What the region uses that holds `page`: of a region with pages of several sizes, the part of one size.
pub(crate) fn usage(target: &Target, page: PageRange) -> Result<Option<Usage>, Failure> {
    listed::usage::<Native>(target, page)
}

/// A walk over the regions that overlap a range. Allocates one buffer for the list; with names, a few small ones for each
/// file that differs from the one before.
pub(crate) type Walk = listed::Walk<Native>;

#[cfg(fuzzing)]
pub(crate) mod fuzz {}
