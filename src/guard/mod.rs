//! Floor 3: changing what pages grant, and holding them in memory, with guards that undo it.

mod book;
mod counts;
mod keyed;
mod lock;
mod protect;

pub use lock::{LockGuard, lock, lock_available, lock_on_fault, unlock};

use crate::error::Error;

/// A failure that nobody can be given, because it happened in a `drop`: written to standard error in debug builds. Never panics.
pub(crate) fn report(error: &Error) {
    #[cfg(all(debug_assertions, feature = "std"))]
    {
        use std::io::Write;
        let _written = writeln!(std::io::stderr().lock(), "folio: {error}");
    }
    #[cfg(not(all(debug_assertions, feature = "std")))]
    let _ = error;
}
