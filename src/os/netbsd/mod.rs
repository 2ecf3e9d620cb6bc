//! NetBSD: the list of `vm.proc.map` (`VM_PROC_MAP`, sysctl(7)).
//!
//! The kernel gives all mappings at once, so that a question about one address costs as much as a listing; and it takes no
//! buffer beyond 10 MiB, which hold about 9,000 mappings.

use super::listed::sys::{self, Errno};
use super::listed::sysctl::{self, Life, Processes};
use super::listed::{self, Entry, System};
use crate::capabilities::{Capabilities, Limits, QueryMethod};
use crate::error::Failure;
use crate::page::PageSizes;
use crate::range::PageRange;
use crate::region::{Backing, Detail, Region, Usage};
use alloc::vec::Vec;
use core::ffi::c_int;
use core::mem::offset_of;

use super::listed::netbsd as layout;

pub(crate) use super::listed::sys::process_id;
pub(crate) use super::listed::sysctl::Target;

pub(crate) fn page_size() -> usize {
    sys::page_size()
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
        query_method: QueryMethod::List,
        other_processes: true,
        usage: false,
        maximum_protection: true,
        transparent_huge_pages: None,
        lock_on_fault: false,
        guard_advice: false,
        seal: false,
        protection_keys: false,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn limits() -> Result<Limits, Failure> {
    Ok(sys::limits(Some(libc::RLIMIT_MEMLOCK), Some(libc::RLIMIT_AS)))
}

/// The name of a backing as the system's string: any bytes are.
#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

impl Target {
    pub(crate) fn open(pid: u32) -> Result<Self, Failure> {
        Self::open_as::<Native>(pid)
    }
}

/// The last number asks for entries of that size.
fn list_name(pid: c_int) -> [c_int; 5] {
    [libc::CTL_VM, libc::VM_PROC, libc::VM_PROC_MAP, pid, c_size(layout::WHOLE)]
}

/// A size as a number in the name of a question.
fn c_size(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

fn list(pid: c_int, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    const MOST: usize = (10 << 20) / layout::WHOLE * layout::WHOLE;
    sysctl::read_list("sysctl vm.proc.map", &list_name(pid), buffer, layout::WHOLE, MOST)
}

/// This system, for the code that all systems with lists share.
pub(crate) struct Native;

impl System for Native {
    type Target = Target;

    fn list(target: &Target, _detail: Detail, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        list(target.number(), buffer).map_err(|errno| target.failure::<Self>(errno))
    }

    fn entry(bytes: &[u8], _detail: Detail) -> Option<Entry<'_>> {
        layout::entry(bytes)
    }

    fn hold(target: &Target) -> Result<Target, Failure> {
        Ok(*target)
    }

    fn still_there(target: &Target) -> Result<(), Failure> {
        target.still_there::<Self>()
    }
}

impl Processes for Native {
    const REMEDY: &'static str =
        "run as the same user as the process, or as root (security.curtain hides the processes of others)";

    fn life(pid: c_int) -> Result<Life, Errno> {
        type Info = libc::kinfo_proc2;
        let name = [libc::CTL_KERN, libc::KERN_PROC2, libc::KERN_PROC_PID, pid, c_size(size_of::<Info>()), 1];
        let mut info = [0_u8; size_of::<Info>()];
        let told = match sysctl::read("sysctl kern.proc2", &name, &mut info) {
            Ok(len) => info.get(..len).unwrap_or_default(),
            Err(Errno(libc::ESRCH)) => return Ok(Life::Nobody),
            Err(errno) => return Err(errno),
        };
        Ok(sysctl::life_from(
            told,
            offset_of!(Info, p_uvalid),
            offset_of!(Info, p_ustart_sec)..offset_of!(Info, p_uutime_sec),
        ))
    }

    fn probe(pid: c_int) -> Result<(), Errno> {
        sysctl::len("sysctl vm.proc.map", &list_name(pid)).map(drop)
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

/// What the region uses that holds `page`.
pub(crate) fn usage(target: &Target, page: PageRange) -> Result<Option<Usage>, Failure> {
    listed::usage::<Native>(target, page)
}

/// A walk over the regions that overlap a range. Allocates one buffer for the list, one for names.
pub(crate) type Walk = listed::Walk<Native>;

#[cfg(fuzzing)]
pub(crate) mod fuzz {}

// The structure as `libc` has it.
const _: () = {
    use libc::kinfo_vmentry as Native;
    assert!(size_of::<Native>() == layout::WHOLE);
    assert!(offset_of!(Native, kve_start) == layout::START);
    assert!(offset_of!(Native, kve_end) == layout::END);
    assert!(offset_of!(Native, kve_offset) == layout::OFFSET);
    assert!(offset_of!(Native, kve_type) == layout::TYPE);
    assert!(offset_of!(Native, kve_flags) == layout::FLAGS);
    assert!(offset_of!(Native, kve_protection) == layout::PROTECTION);
    assert!(offset_of!(Native, kve_max_protection) == layout::MAX_PROTECTION);
    assert!(offset_of!(Native, kve_vn_fileid) == layout::VN_FILEID);
    assert!(offset_of!(Native, kve_vn_fsid) == layout::VN_FSID);
    assert!(offset_of!(Native, kve_path) == layout::PATH);
};
