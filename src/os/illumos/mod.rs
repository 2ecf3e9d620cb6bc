//! illumos: `/proc/PID/rmap`, `/proc/PID/map` for the stack and, for what a region uses, `/proc/PID/xmap` (proc(5)).
//!
//! The kernel makes the whole list for every read and gives the part asked for: so all of it is read at once, and a
//! question about one address costs as much as a listing.

mod files;

use super::listed::illumos as layout;
use super::listed::sys;
use super::listed::walk::{self, Entry, Listed, Scratch};
use crate::capabilities::{Abilities, Limits, QueryMethod};
use crate::error::Failure;
use crate::page::PageSizes;
use crate::region::{Backing, BackingKind, Detail};
use alloc::borrow::Cow;
use alloc::vec::Vec;

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
    granularity, no_page_sizes as transparent_page_sizes, page_size, process_id,
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
pub(crate) use files::Target;

/// A walk over the regions that overlap a range. Allocates one buffer for the list; with names, a few small ones for each
/// file that differs from the one before. Of a region with pages of several sizes, what it uses is told in parts of one size.
pub(crate) type Walk = walk::Walk<Target>;

/// The sizes of getpagesizes(3): a mapping asks for one by memcntl(2), `MC_HAT_ADVISE`.
pub(crate) fn huge_page_sizes() -> Option<PageSizes> {
    Some(sys::larger_page_sizes())
}

pub(crate) fn capabilities() -> Abilities {
    Abilities {
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

pub(crate) fn limits() -> Result<Limits, Failure> {
    sys::limits(None, Some(libc::RLIMIT_VMEM))
}

impl Listed for Target {
    fn list(&self, detail: Detail, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        if detail == Detail::Usage {
            // The kernel looks at every page.
            return self.read(c"xmap", buffer);
        }
        // `map` leaves out what was mapped with MAP_NORESERVE and never touched (`pr_getprot`), and the pages of a mapping
        // that lie behind its file's end (`pr_getsegsize`).
        self.read(c"rmap", buffer)?;
        let mut map = Vec::new();
        self.read(c"map", &mut map)?;
        layout::take_stack(buffer, &map);
        Ok(())
    }

    fn entry(bytes: &[u8], detail: Detail) -> Option<Entry<'_>> {
        if detail == Detail::Usage { layout::extended_entry(bytes) } else { layout::entry(bytes) }
    }

    fn hold(&self) -> Result<Self, Failure> {
        self.duplicate()
    }

    fn still_there(&self) -> Result<(), Failure> {
        self.check()
    }

    /// The list names objects by their device and inode; what these are called, links in `/proc/PID/path` tell. Neighbours
    /// mostly belong to the same object, whose link is followed once.
    fn complete<'a>(&self, backing: Backing<'a>, scratch: &'a mut Scratch) -> Backing<'a> {
        if backing.kind != BackingKind::File {
            return backing;
        }
        let Scratch { listed, name, program } = scratch;
        if listed.as_slice() != &*backing.name {
            listed.clear();
            listed.extend_from_slice(&backing.name);
            self.path(listed, name);
        }
        let mut backing = backing;
        if *backing.name == *layout::PROGRAM {
            let known = *program.get_or_insert_with(|| self.object(layout::PROGRAM));
            if let Some((device, inode)) = known {
                (backing.device, backing.inode) = (Some(device), inode);
            }
        }
        Backing { name: Cow::Borrowed(name), ..backing }
    }
}

#[cfg(fuzzing)]
pub(crate) mod fuzz {}
