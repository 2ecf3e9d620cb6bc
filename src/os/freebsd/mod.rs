//! FreeBSD: the list of `kern.proc.vmmap` (`KERN_PROC_VMMAP`, sysctl(3)).
//!
//! The kernel gives all mappings at once, so that a question about one address costs as much as a listing.

use super::listed::freebsd as layout;
use super::listed::sys::{self, Errno};
use super::listed::sysctl::{self, Life, Processes};
use super::listed::walk::{self, Entry};
use crate::capabilities::{Abilities, Limits, QueryMethod, TransparentHugePages};
use crate::error::Failure;
use crate::page::PageSizes;
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
pub(crate) use super::listed::sys::{granularity, no_page_sizes as huge_page_sizes, page_size, process_id};
pub(crate) use super::listed::walk::{backing, query, usage};
pub(crate) use super::signals as fault;
pub(crate) use super::unix::{
    Access, accesses, advise, commit, decommit, discard, discard_file, discard_lazily,
    dumps_chosen_when_mapped, give_back, install_guard, keep_out_of_core_dumps, life, lock, map,
    map_at_if_free as map_at, no_lock_on_fault as lock_on_fault, populate, protect, release, remove_guard,
    resident, seal_unsupported as seal, unlock, unmap, unmap_part, vacate, wipe_on_fork, yield_now,
};
pub(crate) use super::unix::{
    Attached, file_facts, flush, map_with, no_huge as prefer_huge, no_name as name, read_in, unmaps_together,
};
#[cfg(feature = "allow_exec")]
pub(crate) use super::unix::{empty_twice, map_twice};
#[cfg(feature = "allow_exec")]
pub(crate) use super::unmovable::replace_pages;
pub(crate) use super::unmovable::{lengthen, move_pages, moves_pages, superpage as transparent_unit};

/// A process, held on to by its number and the time of its start.
pub(crate) type Target = sysctl::Target<Native>;

/// A walk over the regions that overlap a range. Allocates one buffer for the list, one for names.
pub(crate) type Walk = walk::Walk<Target>;

/// The kernel makes superpages of ordinary memory by itself, of the sizes that getpagesizes(3) gives.
pub(crate) fn transparent_page_sizes() -> Option<PageSizes> {
    Some(sys::larger_page_sizes())
}

pub(crate) fn capabilities() -> Abilities {
    Abilities {
        query_method: QueryMethod::List,
        other_processes: true,
        usage: true,
        maximum_protection: false,
        transparent_huge_pages: superpages(),
        lock_on_fault: false,
        guard_advice: false,
        seal: false,
        protection_keys: false,
    }
}

/// Whether superpages are made: `vm.pmap.pg_ps_enabled` or, on some processors, `vm.pmap.superpages_enabled`.
fn superpages() -> Option<TransparentHugePages> {
    if transparent_page_sizes().is_none_or(PageSizes::is_empty) {
        return None;
    }
    [c"vm.pmap.pg_ps_enabled", c"vm.pmap.superpages_enabled"].into_iter().find_map(|name| {
        Errno::injected("sysctlbyname").ok()?;
        let mut on: c_int = 0;
        let mut len = size_of::<c_int>();
        // SAFETY: the name ends with a NUL; `on` is writable for `len` bytes and `len` is writable; nothing is to be set
        // (sysctlbyname(3)).
        let done = unsafe {
            libc::sysctlbyname(name.as_ptr(), (&raw mut on).cast(), &raw mut len, core::ptr::null(), 0)
        };
        let told = done == 0 && len == size_of::<c_int>();
        told.then_some(if on != 0 { TransparentHugePages::Always } else { TransparentHugePages::Never })
    })
}

pub(crate) fn limits() -> Result<Limits, Failure> {
    sys::limits(Some(libc::RLIMIT_MEMLOCK), Some(libc::RLIMIT_AS))
}

fn list_name(pid: c_int) -> [c_int; 4] {
    [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_VMMAP, pid]
}

/// This system, for the code that all with such a `sysctl` share.
pub(crate) struct Native;

impl Processes for Native {
    const REMEDY: &'static str = "run as the same user as the process, or as root; a process that gained rights admits only \
         root, security.bsd.unprivileged_proc_debug may forbid it to everybody else, and in capability mode \
         (capsicum(4)) nobody is told";

    const START_MOVES: bool = true;

    fn list(pid: c_int, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        sysctl::read_list("sysctl kern.proc.vmmap", &list_name(pid), buffer, layout::WHOLE, usize::MAX)
    }

    fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
        layout::entry(bytes)
    }

    fn life(pid: c_int) -> Result<Life, Errno> {
        let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid];
        let mut info = [0_u8; size_of::<libc::kinfo_proc>()];
        let told = sysctl::process("sysctl kern.proc.pid", &name, &mut info)?;
        let started = sysctl::timeval(told, offset_of!(libc::kinfo_proc, ki_start));
        let state = told.get(offset_of!(libc::kinfo_proc, ki_stat));
        Ok(match (started, state) {
            // The state is a `char` that holds a small number.
            (Some(_), Some(&state)) if libc::c_char::from_ne_bytes([state]) == libc::SZOMB => Life::Ended,
            (Some(started), Some(_)) => Life::Alive(started),
            _ => Life::Nobody,
        })
    }

    fn probe(pid: c_int) -> Result<(), Errno> {
        sysctl::len("sysctl kern.proc.vmmap", &list_name(pid)).map(drop)
    }
}

#[cfg(fuzzing)]
pub(crate) mod fuzz {}

// The structure as `libc` has it.
const _: () = {
    use libc::kinfo_vmentry as Native;
    assert!(size_of::<Native>() == layout::WHOLE);
    assert!(offset_of!(Native, kve_structsize) == layout::STRUCTSIZE);
    assert!(offset_of!(Native, kve_type) == layout::TYPE);
    assert!(offset_of!(Native, kve_start) == layout::START);
    assert!(offset_of!(Native, kve_end) == layout::END);
    assert!(offset_of!(Native, kve_offset) == layout::OFFSET);
    assert!(offset_of!(Native, kve_vn_fileid) == layout::VN_FILEID);
    assert!(offset_of!(Native, kve_flags) == layout::FLAGS);
    assert!(layout::FLAGS == layout::VN_FSID_FREEBSD11 + 4);
    assert!(offset_of!(Native, kve_resident) == layout::RESIDENT);
    assert!(offset_of!(Native, kve_private_resident) == layout::PRIVATE_RESIDENT);
    assert!(offset_of!(Native, kve_protection) == layout::PROTECTION);
    assert!(offset_of!(Native, kve_ref_count) == layout::REF_COUNT);
    assert!(offset_of!(Native, kve_status) == layout::STATUS);
    assert!(layout::VN_FSID == layout::STATUS + 2);
    assert!(offset_of!(Native, kve_path) == layout::PATH);
};
