//! Linux and Android: `PROCMAP_QUERY` (6.11), and the text of `/proc/PID/maps` and `smaps` before that.

mod advise;
mod change;
#[cfg(feature = "allow_exec")]
mod coding;
#[cfg(feature = "allow_exec")]
mod icache;
mod kept;
pub(crate) mod keys;
mod lock;
mod maps;
mod names;
mod process;
mod procmap;
mod request;
mod reserve;
mod resize;
mod smaps;
mod sys;
mod system;
#[cfg(feature = "allow_exec")]
mod twice;
mod walk;
mod why;

#[cfg(test)]
mod tests;

pub(crate) use super::signals as fault;
pub(crate) use advise::{
    advise, discard, discard_file, discard_lazily, dumps_chosen_when_mapped, keep_out_of_core_dumps,
    populate, resident, wipe_on_fork,
};
pub(crate) use change::{
    Access, accesses, give_back, install_guard, map, map_at, protect, release, remove_guard, seal, unmap,
    unmap_part,
};
pub(crate) use lock::{life, lock, lock_on_fault, unlock, yield_now};

#[cfg(feature = "allow_exec")]
pub(crate) use super::icache::flush_reads;
#[cfg(feature = "allow_exec")]
pub(crate) use coding::{allows_code, has_branch_targets, let_execute};
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub(crate) use coding::{jit_by_thread, let_thread_write_jit};
#[cfg(feature = "allow_exec")]
pub(crate) use icache::flush_instructions;
pub(crate) use process::{Target, process_id};
pub(crate) use request::{
    Attached, file_facts, flush, map_with, name, prefer_huge, read_in, unmaps_together,
};
pub(crate) use reserve::{commit, decommit, vacate};
#[cfg(feature = "allow_exec")]
pub(crate) use resize::replace_pages;
pub(crate) use resize::{lengthen, move_pages, moves_pages, transparent_unit};
pub(crate) use system::{
    capabilities, granularity, huge_page_sizes, limits, page_size, transparent_page_sizes,
};
#[cfg(feature = "allow_exec")]
pub(crate) use twice::{empty_twice, map_twice};
pub(crate) use walk::{Walk, backing, query, usage};

/// The name of a backing as the system's string: any bytes are.
#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

#[cfg(fuzzing)]
pub(crate) mod fuzz {
    pub use super::maps::fuzz_lines;
    pub use super::smaps::fuzz_usage;
}

/// The page of `[vsyscall]` on x86-64: not one of the process's mappings, but in the text of `maps`; the ioctl does not
/// know it. It is one page at this address on every kernel that has it (see vsyscall in `Documentation/admin-guide`).
const VSYSCALL: Option<usize> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    Some(0_usize.wrapping_sub(10 << 20))
} else {
    None
};

/// By what way a question is answered; tests force one for their thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Ioctl,
    Text,
}

#[cfg(not(test))]
#[inline(always)]
const fn forced() -> Option<Method> {
    None
}

#[cfg(test)]
pub(super) use forcing::{force, forced};

#[cfg(test)]
mod forcing {
    use super::Method;
    use core::cell::Cell;

    std::thread_local! {
        static FORCED: Cell<Option<Method>> = const { Cell::new(None) };
    }

    pub(crate) fn forced() -> Option<Method> {
        FORCED.get()
    }

    /// Runs `body` with this thread's questions answered by `method` alone.
    pub(crate) fn force<T>(method: Method, body: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                FORCED.set(None);
            }
        }
        let _reset = Reset;
        FORCED.set(Some(method));
        body()
    }
}
