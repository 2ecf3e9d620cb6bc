//! Virtual memory, soundly: what is mapped, here or in another process; pages of one's own, what they grant, and what holds
//! them in memory.
//!
//! | wish | ask |
//! |---|---|
//! | the region an address lies in | [`query()`] |
//! | the regions of a range, or all | [`query_range`] |
//! | the same of another process, with files, names and memory used | [`Process`] |
//! | many look-ups of one moment | [`Snapshot`] |
//! | pages: anywhere, at a place, near one | [`alloc()`], [`alloc_at`], [`alloc_near`] |
//! | pages whose rights the compiler knows | [`Pages`], [`MmapOptions`] |
//! | address space now, memory later: as a whole, in parts | [`Reserved`], [`Reservation`] |
//! | pages again and again, without the system | [`PagePool`] |
//! | how pages will be used; their memory given back, brought in, counted | [`Pages::advise`], [`Pages::decommit`], [`Pages::prefault`], [`Pages::resident`] |
//! | a file as pages | [`MmapOptions::of_file`] |
//! | a file that others write to, or cut short, as pages; to be read like a file | [`SharedPages`]; [`MappedFile`] |
//! | change what pages grant; for a while | [`protect`]; [`protect_with_handle`] |
//! | keep pages in memory | [`lock`], [`lock_on_fault`], [`lock_available`] |
//! | memory that others can take away | [`fault::RawMemory`], [`Pages::try_copy_to`] |
//! | pages that a thread opens for itself | [`KeyedPages`] |
//! | memory that another program uses at the same time, and that may end at any moment | [`process`] |
//! | a vector whose elements stay where they are, and whose memory goes when it is told to | `PagedVec` |
//! | functions that are made while the program runs | `CodeMemory`, `FnRef` (feature `allow_exec`) |
//! | guard pages; pages that stay as they are | [`guard`]; [`Allocation::seal`], [`seal`] |
//! | page sizes and boundaries | [`page`] |
//! | what this system can do, and its limits | [`Capabilities`], [`Limits`] |
//!
//! ```
//! use folio::Process;
//!
//! // Which region holds this variable, and what may be done there?
//! let variable = 42_u64;
//! let region = folio::query(&variable)?;
//! println!("{:#x?}: {}", region.as_range(), region.protection());
//!
//! // What file does this function come from?
//! let code = Process::current().backing(folio::page::size as usize)?;
//! println!("{}", code.path().unwrap().display());
//! # Ok::<(), folio::Error>(())
//! ```
//!
//! A program for the crate `region`, version 4, compiles with the crate's name changed. From its front page:
//!
//! ```
//! use folio::Protection;
//!
//! let data = [0xDE, 0xAD, 0xBE, 0xEF];
//!
//! // Page size
//! let pz = folio::page::size();
//! let pc = folio::page::ceil(data.as_ptr());
//! let pf = folio::page::floor(data.as_ptr());
//!
//! // VirtualQuery | '/proc/self/maps'
//! let q = folio::query(data.as_ptr())?;
//! let qr = folio::query_range(data.as_ptr(), data.len())?;
//!
//! // VirtualAlloc | mmap
//! let alloc = folio::alloc(100, Protection::READ_WRITE)?;
//!
//! # // Where writing and executing together is forbidden, that is the answer.
//! # if unsafe { folio::protect(alloc.as_ptr::<u8>(), 1, Protection::READ_WRITE_EXECUTE) }.is_err() { return Ok(()) }
//! // VirtualProtect | mprotect
//! // SAFETY: the array and all else in its pages can be read and written as before.
//! unsafe { folio::protect(data.as_ptr(), data.len(), Protection::READ_WRITE_EXECUTE)? };
//!
//! // ... you can also temporarily change one or more pages' protection
//! // SAFETY: likewise.
//! let handle =
//!     unsafe { folio::protect_with_handle(data.as_ptr(), data.len(), Protection::READ_WRITE_EXECUTE)? };
//!
//! // VirtualLock | mlock
//! let guard = folio::lock(data.as_ptr(), data.len())?;
//! # Ok::<(), folio::Error>(())
//! ```
//!
//! # Features
//!
//! - `std` (default): paths, `io::Error`, the time of a snapshot, keyed pages. Without it the crate is `no_std` and needs `alloc`.
//! - `collections` (default): `PageAllocator` and `PagedVec`.
//! - `zerocopy`: `PagedVec` of plain data as pages and back, and `FrozenVec`. `serde`: `PagedVec` as a sequence.
//! - `allow_exec`: all that executes: pages that can be executed (`MmapExec`, `Pages::make_exec`, `MmapOptions::map_exec`), flushes of
//!   the instruction cache. Off by default. ([`protect`] and [`alloc()`] take any [`Protection`] with and without it: what they
//!   make, no safe code can execute or write to.)
//! - `deny_xw` (default): pages that can be written and executed at once cannot be spelled in types, nor the strategies of `CodeMemory` that have such. Nothing without `allow_exec`.
//!   With `default-features = false` and without it, there are `MmapExecMut`, `Pages::make_exec_mut` and
//!   `MmapOptions::map_exec_mut`, which are `unsafe`. It takes something away, and Cargo unites the features that crates of a program
//!   ask for: a library cannot rely on its being off.
//!
//! # Platforms
//!
//! Linux and Android, Windows, macOS and the other systems of Apple, FreeBSD, NetBSD, OpenBSD, illumos. On other systems
//! the crate compiles, and each call answers
//! [`ErrorKind::Unsupported`]. `PLATFORM.md` in the repository has a row for every operation.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]
#![cfg_attr(
    not(feature = "std"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "some lead to what is there with the feature `std` only"
    )
)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod access_fault;
mod advice;
mod allocation;
#[cfg(test)]
#[path = "../tests/common/area.rs"]
mod area;
mod capabilities;
#[cfg(feature = "allow_exec")]
mod code;
mod error;
#[macro_use]
pub mod fault;
mod guard;
mod life_lock;
#[cfg(feature = "std")]
mod mapped_file;
#[macro_use]
mod os;
pub mod page;
#[cfg(feature = "collections")]
mod page_allocator;
mod page_pool;
#[cfg(feature = "collections")]
mod paged_vec;
mod pages;
pub mod process;
mod protection;
mod range;
mod region;

pub use advice::Advice;
pub use allocation::{Allocation, SealedPages, alloc, alloc_at, alloc_near};
pub use capabilities::{Capabilities, HugePages, Limits, Overcommit, QueryMethod, TransparentHugePages};
#[cfg(all(feature = "allow_exec", feature = "std"))]
pub use code::{CodeDraft, CodeMemory, CodeOptions, CodePiece, CodeStrategy, CodeUsage};
#[cfg(feature = "allow_exec")]
pub use code::{FnPointer, FnRef, SafeFnPointer, UnsafeFnPointer};
pub use error::{Error, ErrorKind, Operation, Result};
#[cfg(feature = "std")]
pub use guard::{KeyGuard, KeyGuardMut, KeyedPages};
pub use guard::{LockGuard, lock, lock_available, lock_on_fault, unlock};
pub use guard::{ProtectGuard, guard, protect, protect_with_handle, seal, unguard};
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub use mapped_file::MappedFile;
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub use os::AsFile;
#[cfg(feature = "collections")]
#[cfg_attr(docsrs, doc(cfg(feature = "collections")))]
pub use page_allocator::PageAllocator;
pub use page_pool::{PagePool, PoolCounts, PooledPages};
#[cfg(feature = "zerocopy")]
#[cfg_attr(docsrs, doc(cfg(feature = "zerocopy")))]
pub use paged_vec::FrozenVec;
#[cfg(feature = "collections")]
#[cfg_attr(docsrs, doc(cfg(feature = "collections")))]
pub use paged_vec::{Drain, ExtractIf, IntoIter, PagedVec, Splice};
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub use pages::MmapExecMut;
#[cfg(feature = "allow_exec")]
pub use pages::{AllowExec, MmapExec, ReservedExec};
pub use pages::{
    AllowRead, AllowWrite, DenyExec, DenyRead, DenyWrite, ExecAccess, Fallback, FreedLazily, Held, Mmap,
    MmapMut, MmapNone, MmapOptions, Pages, PartState, Parts, RawParts, ReadAccess, Reservation,
    ReservationPart, Reserved, ReservedMut, ReservedNone, SharedPages, SharedPagesMut, Together, WriteAccess,
};
pub use protection::{ParseProtectionError, Protection};
pub use region::{
    Backing, BackingKind, Device, Mapping, Mappings, Process, QueryIter, Region, Snapshot, SnapshotIter,
    Usage, query, query_range,
};

/// What the fuzzers in `fuzz/` reach.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::os::fuzz::*;
}

// With the feature that one of them needs.
#[cfg(all(doctest, feature = "allow_exec"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
