//! NetBSD: the list of `vm.proc.map` (`VM_PROC_MAP`, sysctl(7)).
//!
//! The kernel gives all mappings at once, so that a question about one address costs as much as a listing; and it takes no
//! buffer beyond 10 MiB, which hold about 9,000 mappings.

use super::listed::netbsd as layout;
use super::listed::sys::{self, Errno};
use super::listed::sysctl::{self, Life, Processes};
use super::listed::walk::{self, Entry};
use crate::capabilities::{Abilities, Limits, QueryMethod};
use crate::error::Failure;
use alloc::vec::Vec;
use core::ffi::c_int;
use core::mem::offset_of;

#[cfg(feature = "allow_exec")]
pub(crate) use super::coding::{allows_code, has_branch_targets, let_execute};
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub(crate) use super::coding::{jit_by_thread, let_thread_write_jit};
#[cfg(feature = "allow_exec")]
pub(crate) use super::icache::{flush_instructions, flush_reads};
#[cfg(feature = "std")]
pub(crate) use super::keyless as keys;
#[cfg(feature = "std")]
pub(crate) use super::listed::sys::os_str;
pub(crate) use super::listed::sys::{
    granularity, no_page_sizes as huge_page_sizes, no_page_sizes as transparent_page_sizes, page_size,
    process_id,
};
pub(crate) use super::listed::walk::{backing, query, usage};
pub(crate) use super::signals as fault;
pub(crate) use super::unix::{
    Access, accesses, advise, commit, decommit, discard, discard_file, discard_lazily,
    dumps_chosen_when_mapped, give_back, install_guard, keep_out_of_core_dumps, life, lock, map,
    map_at_wish as map_at, no_lock_on_fault as lock_on_fault, populate, protect, release, remove_guard,
    resident, seal_unsupported as seal, unlock, unmap, unmap_part, vacate, wipe_on_fork, yield_now,
};
pub(crate) use super::unix::{
    Attached, file_facts, flush, map_with, no_huge as prefer_huge, no_name as name, read_in, unmaps_together,
};
#[cfg(feature = "allow_exec")]
pub(crate) use super::unix::{empty_twice, map_twice};
#[cfg(feature = "allow_exec")]
pub(crate) use super::unmovable::replace_pages;
pub(crate) use super::unmovable::{
    lengthen, move_pages, moves_pages, no_transparent_unit as transparent_unit,
};

/// A process, held on to by its number and the time of its start.
pub(crate) type Target = sysctl::Target<Native>;

/// A walk over the regions that overlap a range. Allocates one buffer for the list, one for names.
pub(crate) type Walk = walk::Walk<Target>;

pub(crate) fn capabilities() -> Abilities {
    Abilities {
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

pub(crate) fn limits() -> Result<Limits, Failure> {
    sys::limits(Some(libc::RLIMIT_MEMLOCK), Some(libc::RLIMIT_AS))
}

/// The last number asks for entries of that size.
fn list_name(pid: c_int) -> [c_int; 5] {
    [libc::CTL_VM, libc::VM_PROC, libc::VM_PROC_MAP, pid, sysctl::c_size(layout::WHOLE)]
}

/// This system, for the code that all with such a `sysctl` share.
pub(crate) struct Native;

impl Processes for Native {
    const REMEDY: &'static str =
        "run as the same user as the process, or as root (security.curtain hides the processes of others)";

    const START_MOVES: bool = false;

    fn list(pid: c_int, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        const MOST: usize = (10 << 20) / layout::WHOLE * layout::WHOLE;
        sysctl::read_list("sysctl vm.proc.map", &list_name(pid), buffer, layout::WHOLE, MOST)
    }

    fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
        layout::entry(bytes)
    }

    fn life(pid: c_int) -> Result<Life, Errno> {
        type Info = libc::kinfo_proc2;
        let size = sysctl::c_size(size_of::<Info>());
        let name = [libc::CTL_KERN, libc::KERN_PROC2, libc::KERN_PROC_PID, pid, size, 1];
        let mut info = [0_u8; size_of::<Info>()];
        let told = sysctl::process("sysctl kern.proc2", &name, &mut info)?;
        Ok(sysctl::life_from(
            told,
            offset_of!(Info, p_uvalid),
            offset_of!(Info, p_ustart_sec)..offset_of!(Info, p_ustart_usec),
            offset_of!(Info, p_ustart_usec)..offset_of!(Info, p_uutime_sec),
        ))
    }

    fn probe(pid: c_int) -> Result<(), Errno> {
        sysctl::len("sysctl vm.proc.map", &list_name(pid)).map(drop)
    }
}

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
