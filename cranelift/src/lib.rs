//! `cranelift-jit` with its memory from folio: [`FolioMemoryProvider`], and [functions](Jit) on which it is compared with the providers
//! that `cranelift-jit` has itself.
//!
//! A crate of its own, unpublished, since Cranelift needs a newer Rust than folio.

#![expect(clippy::result_large_err, reason = "the error is Cranelift's")]

mod chunk;
mod functions;
mod provider;

pub use functions::{FIRST_PRIMES, Functions, Jit, mixed};
pub use provider::FolioMemoryProvider;

use cranelift_jit::{ArenaMemoryProvider, JITMemoryProvider, SystemMemoryProvider};
use std::io;

/// Where a [`Jit`] has its memory from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// folio's code memory and pages.
    Folio,
    /// What `cranelift-jit` takes by itself: mappings as they are needed, wherever the system puts them.
    System,
    /// `cranelift-jit`'s other one: a part of one reserved range.
    Arena,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Folio, Self::System, Self::Arena];

    /// One that can provide `capacity` bytes of code, and as many of data.
    ///
    /// # Errors
    ///
    /// No such addresses are free.
    pub fn make(self, capacity: usize) -> io::Result<Box<dyn JITMemoryProvider + Send>> {
        Ok(match self {
            Self::Folio => Box::new(FolioMemoryProvider::new(capacity)?),
            Self::System => Box::new(SystemMemoryProvider::new()),
            Self::Arena => Box::new(
                ArenaMemoryProvider::new_with_size(capacity.saturating_mul(2)).map_err(io::Error::other)?,
            ),
        })
    }
}
