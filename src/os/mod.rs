//! Floor 1: the only place that knows a platform.
//!
//! One module a platform, each with the same functions, in this order:
//!
//! ```text
//! page_size() -> usize                          a power of two
//! granularity() -> usize                        what new mappings are aligned to
//! huge_page_sizes() -> Option<PageSizes>        that a mapping can ask for; None: cannot be found out for now
//! transparent_page_sizes() -> Option<PageSizes> that the system gives by itself
//! capabilities() -> Abilities
//! limits() -> Result<Limits, Failure>           all but the number of mappings
//! process_id() -> u32
//! os_str(&[u8]) -> &OsStr                       with `std`: the name of a backing as the system's string
//! Target                                        a process: CURRENT, open(pid), pid() (None for CURRENT)
//! query(&Target, page) -> Option<Region>        the region that holds a page
//! backing(&Target, page) -> Option<Backing>     what stands behind it
//! usage(&Target, page) -> Option<Usage>         what it uses
//! Walk                                          new(&Target, range, Detail), step() -> Option<Region>, and of the region
//!                                               stepped to: backing(), usage()
//! map(PageLen, Protection) -> NonNull<u8>       new zeroed private pages at a place of the system's choice
//! map_at(PageRange, Protection) -> NonNull<u8>  exactly there; ErrorKind::Occupied when something is there
//! unmap(PageRange)                              unsafe; a whole of what these two gave
//! unmap_part(PageRange)                         unsafe; a part of what these gave, whose other parts live on: its memory is given
//!                                               back, its addresses where the system can
//! release(PageRange)                            unsafe; the whole of it, when all its parts are unmapped
//! commit(PageRange, Protection)                 unsafe; lets pages have memory that `map` or `map_at` gave without access: till then
//!                                               they are address space only, and nothing that the system counts as promised
//! decommit(PageRange)                           unsafe; makes such address space of pages again; after a failure those in
//!                                               `changed` may have lost what they held, or (`Unmapped`) their addresses
//! vacate(PageRange, Protection)                 unsafe; memory that can be written reads as zeroes then and grants the protection or
//!                                               more, but for what is `changed` after a failure, which has no memory; it is never
//!                                               lost
//! protect(PageRange, Protection)                unsafe; a failure says what is changed nevertheless
//! Access                                        what a page grants, with the bits that only this system knows; COPY and EQ
//! accesses(PageRange, to, found)                calls `found` with the runs of pages of equal access, ascending, clipped to the
//!                                               range; holes are left out; `to` is what they will be changed to
//! give_back(PageRange, Access)                  unsafe; gives one run back what `accesses` found
//! lock(PageRange)                               reads the pages in and keeps them; after a failure any of them may be kept
//! lock_on_fault(PageRange)                      keeps them as they come in
//! unlock(PageRange)                             Ok where they were not locked, or are not there
//! life() -> u64                                 not 0; another number in the child of a `fork`
//! yield_now()                                   lets other threads run
//! install_guard(PageRange)                      unsafe; drops the content, touching ends the process
//! remove_guard(PageRange, Protection)           unsafe; fresh pages of that protection
//! advise(PageRange, Advice)                     loses nothing; Ok where the system does not know the hint (but for Collapse)
//! keep_out_of_core_dumps(PageRange, bool)       a flag that holds, or a failure; what is left changed is not told
//! dumps_chosen_when_mapped() -> bool            whether a request alone can leave pages out of core dumps
//! wipe_on_fork(PageRange, bool)                 likewise; the content is that of the parent alone then
//! discard(PageRange, Protection, marked)        unsafe; memory that `map` gave reads as zeroes then and grants the protection,
//!                                               but for what a failure says is changed: that is zeroes and grants the
//!                                               protection or less, or is gone ([`NotDiscarded`]); `marked`: some of the pages
//!                                               may have one of the two flags above, which they shall keep
//! discard_lazily(PageRange, Protection, marked) unsafe; the same at a time of the system's choice, until a page is written to
//! discard_file(PageRange, copied)               unsafe; of a file's view: shows the file again then; what is shared loses nothing
//! populate(PageRange, write) -> bool            reads pages in; false: not done, since the system has no call for it
//! resident(PageRange) -> usize                  how many of the pages are in memory
//! seal(PageRange)                               unsafe; no change any more, until the process ends
//! map_with(&Request) -> (NonNull<u8>, Attached) unsafe (it may replace); see `request`. `Attached` is what must live as long
//!                                               as the mapping
//! file_facts(File) -> FileFacts                 of a file that can be mapped; others are ErrorKind::InvalidInput
//! flush(PageRange, wait, &Attached)             writes to the file what was written to its pages
//! prefer_huge(PageRange) -> bool                a hint: whether the system takes it
//! read_in(PageRange, Protection)                a hint: reads the pages in
//! name(PageRange, &CStr)                        a hint: what tools call these anonymous pages
//! unmaps_together() -> bool                     whether `unmap` takes neighbours that were mapped one by one
//! lengthen(PageRange, PageLen, moving)          unsafe; a longer mapping of private zeroed pages, elsewhere only if `moving`;
//!                                               ErrorKind::Unsupported where that is to be done by copying
//! moves_pages() -> bool                         whether `move_pages` does
//! move_pages(PageRange, PageRange)              unsafe; such pages to the place of others, which become theirs, longer if that is;
//!                                               after a failure the latter are still the caller's, but for what is `changed`
//! replace_pages(PageRange, PageRange)           with `allow_exec`, where `moves_pages`: unsafe; puts pages in the place of others at once
//! transparent_unit() -> Option<usize>           the size of the larger pages that long aligned memory is given; the same for ever
//! flush_reads() -> bool                         with `allow_exec`: whether the next one reads the bytes
//! flush_instructions(NonNull<[u8]>)             with `allow_exec`: unsafe; lets what was written be executed. (Bytes, not pages: a
//!                                               cache has finer lines)
//! map_twice(PageLen, Place) -> Twice            with `allow_exec`: zeroed memory at two places: that one, to be read and executed, and
//!                                               another, to be read and written; each a whole of its own for `unmap`
//! empty_twice(PageRange) -> usize               likewise; unsafe; takes the memory from pages of the writable one, as far as the system
//!                                               can: so many bytes of both read as zeroes then
//! let_execute(PageRange, only_targets)          likewise; unsafe; lets pages be read and executed; `only_targets`: indirect branches
//!                                               may lead to marked instructions only
//! has_branch_targets() -> Result                likewise; whether `only_targets` can be
//! allows_code(twice) -> Result                  likewise; whether the calls that make memory executable (`map_twice`, or else
//!                                               `let_execute`) end nobody; found out without ending this process
//! jit_by_thread() -> bool                       likewise, without `deny_xw`: whether each thread lets itself write or execute what is
//!                                               mapped to be code (`Request::jit`), by the next one
//! let_thread_write_jit(bool)                    likewise
//! keys                                          protection keys: new() -> u32, free(u32), assign(PageRange, Protection, u32)
//!                                               (unsafe), rights(u32) -> Rights, set_rights(u32, Rights)
//! fault                                         install(), and installed() -> Installed: who catches the faults of `copying`
//! ```
//!
//! `copying`, the copies that survive a fault, is chosen by architecture.
//!
//! The shapes were chosen with all systems' calls in view: `mach_vm_region_recurse` and `VirtualQuery` answer "this
//! address or the next", which `query` and `Walk` both are; `KERN_PROC_VMMAP`, `kinfo_vmentry` and `/proc/self/xmap`
//! give all at once, from which a `Walk` steps and in which a `query` searches: `listed` is what these share, and `unix` what all
//! of them do who change mappings by the calls of POSIX alone. A `Walk` need
//! not be monotonic while mappings change: the floor above sees to that.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::*;

#[cfg(target_vendor = "apple")]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod apple;
#[cfg(target_vendor = "apple")]
pub(crate) use apple::*;

// What of it needs nothing of the system is tested everywhere.
#[cfg(all(test, not(target_vendor = "apple")))]
#[path = "apple/offset.rs"]
mod apple_offset;

#[cfg(windows)]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

#[cfg(target_os = "freebsd")]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod freebsd;
#[cfg(target_os = "freebsd")]
pub(crate) use freebsd::*;

#[cfg(target_os = "netbsd")]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod netbsd;
#[cfg(target_os = "netbsd")]
pub(crate) use netbsd::*;

#[cfg(target_os = "openbsd")]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod openbsd;
#[cfg(target_os = "openbsd")]
pub(crate) use openbsd::*;

#[cfg(target_os = "illumos")]
#[cfg_attr(
    not(feature = "collections"),
    allow(dead_code, unused_imports, reason = "some of it is for collections alone")
)]
mod illumos;
#[cfg(target_os = "illumos")]
pub(crate) use illumos::*;

// In tests also where the C types have the sizes that they have on these systems.
#[cfg(any(
    all(test, unix, target_pointer_width = "64"),
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos"
))]
mod listed;

// In tests also on Linux.
#[cfg(any(
    all(test, any(target_os = "linux", target_os = "android")),
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos"
))]
#[allow(dead_code, unused_imports, reason = "each system has use for some of it")]
mod unix;

pub(crate) mod copying;

#[cfg(unix)]
#[allow(dead_code, unused_imports, reason = "where there are no copies of our own, nothing is handled")]
pub(crate) mod signals;

// Compiled everywhere, so that they are checked everywhere.
#[cfg(feature = "allow_exec")]
#[allow(dead_code, reason = "Linux and Apple's systems use some of it")]
pub(crate) mod coding;
#[cfg(feature = "allow_exec")]
pub(crate) mod icache;
#[allow(dead_code, reason = "used by every backend but that of Linux")]
pub(crate) mod keyless;
#[cfg(feature = "allow_exec")]
#[allow(dead_code, reason = "used by every backend but that of Linux")]
pub(crate) mod once;
#[allow(dead_code, reason = "used by every backend but that of Linux")]
pub(crate) mod unmovable;
#[allow(dead_code, unused_imports, reason = "used where there is no other backend")]
mod unsupported;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    windows,
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos"
)))]
pub(crate) use unsupported::*;

#[allow(dead_code, reason = "not every backend asks so")]
mod batch;
mod file;
mod request;
#[cfg(feature = "std")]
pub use file::AsFile;
pub(crate) use file::File;
#[cfg(feature = "std")]
pub(crate) use file::{file_about, file_of, read_file};
pub(crate) use request::{Content, FileFacts, Place, Request};

pub(crate) mod inject;

use crate::error::Failure;
use crate::range::PageRange;

/// For unit tests of other floors that know what Linux answers: there, and nowhere else.
#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
macro_rules! on_linux {
    ($($item:item)*) => {$($item)*};
}
#[cfg(all(test, not(any(target_os = "linux", target_os = "android"))))]
macro_rules! on_linux {
    ($($item:item)*) => {};
}
/// For those that stand before this floor.
#[cfg(test)]
pub(crate) use on_linux;

/// Why pages could not be discarded.
#[derive(Debug)]
pub(crate) struct NotDiscarded {
    pub(crate) failure: Failure,
    /// What is no longer mapped, and may be somebody else's at any moment.
    #[allow(dead_code, reason = "most systems replace pages at once or not at all")]
    pub(crate) gone: Option<PageRange>,
}

impl From<Failure> for NotDiscarded {
    fn from(failure: Failure) -> Self {
        Self { failure, gone: None }
    }
}

/// The same memory at two places.
#[cfg(feature = "allow_exec")]
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "what needs `std` uses it"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Twice {
    /// Where it can be read and executed.
    pub(crate) code: core::ptr::NonNull<u8>,
    /// Where it can be read and written.
    pub(crate) data: core::ptr::NonNull<u8>,
}

/// What a protection key grants a thread.
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "what needs `std` uses it"))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rights {
    Closed,
    Read,
    Write,
}
