//! What Apple's systems, FreeBSD, NetBSD, OpenBSD and illumos share: changing mappings and locking them, by the calls of POSIX.
//!
//! What is said here of a kernel is from its sources: `sys/vm/vm_map.c` and `vm_mmap.c` of FreeBSD, `sys/uvm/uvm_map.c` and
//! `uvm_mmap.c` of NetBSD and of OpenBSD, `usr/src/uts/common/os/grow.c` and `vm/vm_as.c` of illumos, `bsd/kern/kern_mman.c` and
//! `osfmk/vm/vm_map.c` of XNU. In tests it is compiled on Linux, too, and run there: the calls are the same.

mod advise;
mod change;
pub(super) mod errno;
mod life;
mod lock;
mod place;
mod request;
mod reserve;
mod sys;
#[cfg(all(
    feature = "allow_exec",
    any(target_os = "freebsd", target_os = "netbsd", target_os = "illumos", all(test, target_os = "linux"))
))]
mod twice;
mod why;

// They know what Linux answers; on the systems that this is for, the tests of the floors above run it.
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests;

pub(crate) use advise::{
    advise, discard, discard_file, discard_lazily, dumps_chosen_when_mapped, keep_out_of_core_dumps,
    populate, resident, wipe_on_fork,
};
pub(crate) use change::{
    Access, accesses, give_back, install_guard, map, map_at_if_free, map_at_wish, protect, release,
    remove_guard, seal_unsupported, sealed, unmap, unmap_part,
};
pub(crate) use life::life;
pub(crate) use lock::{lock, no_lock_on_fault, unlock, yield_now};
pub(crate) use place::refused_place;
pub(crate) use request::{Attached, file_facts, flush, map_with, no_huge, no_name, read_in, unmaps_together};
pub(crate) use reserve::{commit, decommit, vacate};
pub(crate) use sys::{is_jit, is_whole, munlock, munmap, native, pointer};
#[cfg(all(
    feature = "allow_exec",
    any(target_os = "freebsd", target_os = "netbsd", target_os = "illumos", all(test, target_os = "linux"))
))]
pub(crate) use twice::{empty_twice, map_twice};
pub(crate) use why::not_granted;
