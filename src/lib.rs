//! Virtual memory, soundly: what is mapped, here or in another process.
//!
//! | wish | ask |
//! |---|---|
//! | the region an address lies in | [`query()`] |
//! | the regions of a range, or all | [`query_range`] |
//! | the same of another process, with files, names and memory used | [`Process`] |
//! | many look-ups of one moment | [`Snapshot`] |
//! | page sizes and boundaries | [`page`] |
//! | pages that stay in memory, not in swap | [`lock`], [`lock_on_fault`], [`lock_available`] |
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
//! # Features
//!
//! - `std` (default): paths, `io::Error`, the time of a snapshot. Without it the crate is `no_std` and needs `alloc`.
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

mod capabilities;
mod error;
mod guard;
mod os;
pub mod page;
mod protection;
mod range;
mod region;

pub use capabilities::{Capabilities, HugePages, Limits, Overcommit, QueryMethod, TransparentHugePages};
pub use error::{Error, ErrorKind, Operation, Result};
pub use guard::{LockGuard, lock, lock_available, lock_on_fault, unlock};
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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
