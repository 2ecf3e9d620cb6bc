//! Windows: `VirtualAlloc`, `VirtualProtect`, `VirtualQueryEx`, `GetMappedFileName`, `QueryWorkingSetEx`.

mod advise;
mod change;
pub(crate) mod fault;
#[cfg(feature = "allow_exec")]
mod icache;
mod lock;
mod parts;
mod process;
mod request;
mod reserve;
mod sys;
mod system;
#[cfg(feature = "allow_exec")]
mod twice;
mod walk;

#[cfg(test)]
mod tests;

#[cfg(feature = "allow_exec")]
pub(crate) use super::coding::{allows_code, has_branch_targets, let_execute};
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub(crate) use super::coding::{jit_by_thread, let_thread_write_jit};
#[cfg(feature = "allow_exec")]
pub(crate) use super::icache::flush_reads;
#[cfg(feature = "std")]
pub(crate) use super::keyless as keys;
#[cfg(feature = "allow_exec")]
pub(crate) use super::unmovable::replace_pages;
pub(crate) use super::unmovable::{
    lengthen, move_pages, moves_pages, no_transparent_unit as transparent_unit,
};
pub(crate) use advise::{
    advise, discard, discard_file, discard_lazily, dumps_chosen_when_mapped, keep_out_of_core_dumps,
    populate, resident, wipe_on_fork,
};
pub(crate) use change::{
    Access, accesses, give_back, install_guard, map, map_at, protect, release, remove_guard, seal, unmap,
    unmap_part,
};
#[cfg(feature = "allow_exec")]
pub(crate) use icache::flush_instructions;
pub(crate) use lock::{life, lock, lock_on_fault, unlock, yield_now};
#[cfg(feature = "std")]
pub(crate) use process::os_str;
pub(crate) use process::{Target, process_id};
pub(crate) use request::{
    Attached, file_facts, flush, map_with, name, prefer_huge, read_in, unmaps_together,
};
pub(crate) use reserve::{commit, decommit, vacate};
pub(crate) use system::{
    capabilities, granularity, huge_page_sizes, limits, page_size, transparent_page_sizes,
};
#[cfg(feature = "allow_exec")]
pub(crate) use twice::{empty_twice, map_twice};
pub(crate) use walk::{Walk, backing, query, usage};

#[cfg(fuzzing)]
pub(crate) mod fuzz {}
