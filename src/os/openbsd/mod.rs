//! OpenBSD: the list of `kern.proc_vmmap` (`KERN_PROC_VMMAP`, sysctl(2)).
//!
//! The kernel gives at most 64 KiB of entries at a time, beginning at the address that stands in the buffer's first entry;
//! a longer list is taken in parts. Of other processes it tells root alone.

use super::listed::fields::u32_at;
use super::listed::openbsd as layout;
use super::listed::sys::{self, Errno};
use super::listed::sysctl::{self, Life, Processes};
use super::listed::walk::{self, Entry};
use super::unix;
use crate::capabilities::{Abilities, Limits, QueryMethod};
use crate::error::{ErrorKind, Failure};
use crate::range::PageRange;
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
#[cfg(feature = "allow_exec")]
pub(crate) use super::once::{empty_twice, map_twice};
pub(crate) use super::signals as fault;
pub(crate) use super::unix::{
    Access, accesses, advise, commit, decommit, discard, discard_file, discard_lazily,
    dumps_chosen_when_mapped, give_back, install_guard, keep_out_of_core_dumps, life, lock, map,
    map_at_if_free as map_at, no_lock_on_fault as lock_on_fault, populate, protect, release, remove_guard,
    resident, unlock, unmap, unmap_part, vacate, wipe_on_fork, yield_now,
};
pub(crate) use super::unix::{
    Attached, file_facts, flush, map_with, no_huge as prefer_huge, no_name as name, read_in, unmaps_together,
};
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
        seal: true,
        protection_keys: false,
    }
}

pub(crate) fn limits() -> Result<Limits, Failure> {
    sys::limits(Some(libc::RLIMIT_MEMLOCK), None)
}

/// No change to the pages any more.
///
/// # Safety
///
/// Nobody will want to unmap the pages, or to change what they grant, until the process ends.
pub(crate) unsafe fn seal(range: PageRange) -> Result<(), Failure> {
    // The kernel goes around holes (`uvm_map_immutable`).
    if !unix::is_whole(range) {
        return Err(Failure::new(ErrorKind::Unmapped));
    }
    let sealed = Errno::injected("mimmutable").and_then(|()| {
        // SAFETY: changes neither what pages hold nor what they grant; that they stay so is the caller's promise (mimmutable(2)).
        let done = unsafe { libc::mimmutable(unix::pointer(range), range.len()) };
        if done == 0 { Ok(()) } else { Err(Errno::last()) }
    });
    sealed.map_err(|errno| match errno {
        Errno(libc::EPERM) => unix::sealed(errno),
        Errno(libc::ENOSYS) => errno.system(ErrorKind::Unsupported).remedy("sealing takes OpenBSD 7.3"),
        errno => errno.system(ErrorKind::System),
    })
}

type Info = libc::kinfo_proc;

/// `PS_EXITING` and `PS_SYSTEM` of `<sys/proc.h>`: a process that gives up its memory, and one of the kernel's own, which
/// has none. Of both, the list is refused with EINVAL, before anybody's rights are looked at.
const PS_EXITING: u32 = 0x8;
const PS_SYSTEM: u32 = 0x1_0000;

fn told_of(pid: c_int, info: &mut [u8; size_of::<Info>()]) -> Result<&[u8], Errno> {
    let size = sysctl::c_size(size_of::<Info>());
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid, size, 1];
    sysctl::process("sysctl kern.proc", &name, info)
}

fn flags(told: &[u8]) -> u32 {
    u32_at(told, offset_of!(Info, p_psflags)).unwrap_or(0)
}

fn is_kernel(pid: c_int) -> Result<bool, Errno> {
    let mut info = [0_u8; size_of::<Info>()];
    Ok(flags(told_of(pid, &mut info)?) & PS_SYSTEM != 0)
}

/// A part of the list: nothing of one of the kernel's own processes.
fn read(pid: c_int, room: &mut [u8]) -> Result<usize, Errno> {
    let name = [libc::CTL_KERN, libc::KERN_PROC_VMMAP, pid];
    match sysctl::read("sysctl kern.proc_vmmap", &name, room) {
        Err(Errno(libc::EINVAL)) if is_kernel(pid)? => Ok(0),
        read => read,
    }
}

/// This system, for the code that all with such a `sysctl` share.
pub(crate) struct Native;

impl Processes for Native {
    const REMEDY: &'static str = "run as root: OpenBSD tells nobody else about other processes";

    const START_MOVES: bool = true;

    fn list(pid: c_int, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        let read = layout::read_parts(buffer, |room| read(pid, room));
        read.map_err(|errno| errno.unwrap_or(Errno(libc::ENOMEM)))
    }

    fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
        layout::entry(bytes)
    }

    fn life(pid: c_int) -> Result<Life, Errno> {
        let mut info = [0_u8; size_of::<Info>()];
        let told = told_of(pid, &mut info)?;
        if flags(told) & PS_EXITING != 0 {
            return Ok(Life::Ended);
        }
        Ok(sysctl::life_from(
            told,
            offset_of!(Info, p_uvalid),
            offset_of!(Info, p_ustart_sec)..offset_of!(Info, p_ustart_usec),
            offset_of!(Info, p_ustart_usec)..offset_of!(Info, p_uutime_sec),
        ))
    }

    fn probe(pid: c_int) -> Result<(), Errno> {
        let mut one = [0_u8; layout::WHOLE];
        read(pid, &mut one).map(drop)
    }
}

#[cfg(fuzzing)]
pub(crate) mod fuzz {}

// The structure as `libc` has it.
const _: () = {
    use layout::Layout;
    use libc::kinfo_vmentry as Native;
    assert!(size_of::<Native>() == layout::WHOLE && offset_of!(Native, kve_start) == 0);
    assert!(offset_of!(Native, kve_start) == offset_of!(Layout, start));
    assert!(offset_of!(Native, kve_end) == offset_of!(Layout, end));
    assert!(offset_of!(Native, kve_offset) == offset_of!(Layout, offset));
    assert!(offset_of!(Native, kve_etype) == offset_of!(Layout, etype));
    assert!(offset_of!(Native, kve_protection) == offset_of!(Layout, protection));
    assert!(offset_of!(Native, kve_max_protection) == offset_of!(Layout, max_protection));
};
