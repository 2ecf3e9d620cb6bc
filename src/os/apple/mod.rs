//! Apple's systems: `mach_vm_region_recurse`, and `proc_pidinfo` for the files.
//!
//! What is said here of the kernel is from the sources of XNU (`apple-oss-distributions/xnu`); the functions are named where
//! something rests on them.

mod change;
#[cfg(feature = "allow_exec")]
mod icache;
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
mod jit;
mod offset;
mod process;
mod sys;
mod system;
mod tags;
mod walk;

#[cfg(feature = "allow_exec")]
pub(crate) use super::coding::{allows_code, has_branch_targets, let_execute};
#[cfg(feature = "allow_exec")]
pub(crate) use super::icache::flush_reads;
#[cfg(feature = "std")]
pub(crate) use super::keyless as keys;
#[cfg(feature = "allow_exec")]
pub(crate) use super::once::{empty_twice, map_twice};
pub(crate) use super::signals as fault;
pub(crate) use super::unix::{
    Access, accesses, advise, commit, decommit, discard, discard_file, discard_lazily,
    dumps_chosen_when_mapped, give_back, install_guard, keep_out_of_core_dumps, life, lock,
    no_lock_on_fault as lock_on_fault, populate, release, resident, seal_unsupported as seal, unmap,
    unmap_part, vacate, wipe_on_fork, yield_now,
};
pub(crate) use super::unix::{
    Attached, file_facts, flush, no_huge as prefer_huge, no_name as name, read_in, unmaps_together,
};
#[cfg(feature = "allow_exec")]
pub(crate) use super::unmovable::replace_pages;
pub(crate) use super::unmovable::{
    lengthen, move_pages, moves_pages, no_transparent_unit as transparent_unit,
};
pub(crate) use change::{map, map_at, map_with, protect, remove_guard, unlock};
#[cfg(feature = "allow_exec")]
pub(crate) use icache::flush_instructions;
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub(crate) use jit::{jit_by_thread, let_thread_write_jit};
pub(crate) use process::{Target, process_id};
pub(crate) use system::{
    capabilities, granularity, huge_page_sizes, limits, page_size, transparent_page_sizes,
};
pub(crate) use walk::{Walk, backing, query, usage};

/// The name of a backing as the system's string: any bytes are.
#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(fuzzing)]
pub(crate) mod fuzz {}
