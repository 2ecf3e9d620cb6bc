//! Windows: `VirtualAlloc`, `VirtualProtect`, `VirtualQueryEx`, `GetMappedFileName`, `QueryWorkingSetEx`.

mod change;
pub(crate) mod fault;
mod lock;
mod parts;
mod process;
mod sys;
mod system;
mod walk;

#[cfg(test)]
mod tests;

#[cfg(feature = "std")]
pub(crate) use super::keyless as keys;
pub(crate) use change::{
    Access, accesses, give_back, install_guard, map, map_at, protect, release, remove_guard, seal, unmap,
    unmap_part,
};
pub(crate) use lock::{life, lock, lock_on_fault, unlock, yield_now};
#[cfg(feature = "std")]
pub(crate) use process::os_str;
pub(crate) use process::{Target, process_id};
pub(crate) use system::{
    capabilities, granularity, huge_page_sizes, limits, page_size, transparent_page_sizes,
};
pub(crate) use walk::{Walk, backing, query, usage};

#[cfg(fuzzing)]
pub(crate) mod fuzz {}
