//! Floor 3: changing what pages grant, and holding them in memory, with guards that undo it.

mod book;
mod counts;
mod fence;
#[cfg(feature = "std")]
mod keyed;
mod lock;
mod protect;
mod runs;
#[cfg(test)]
mod tests;

pub use fence::{guard, seal, unguard};
#[cfg(feature = "std")]
pub use keyed::{KeyGuard, KeyGuardMut, KeyedPages};
#[cfg(feature = "collections")]
pub(crate) use lock::moving;
pub use lock::{LockGuard, lock, lock_available, lock_on_fault, unlock};
pub(crate) use protect::unknown_bits;
pub use protect::{ProtectGuard, protect, protect_with_handle};

use crate::error::Error;

/// Says in builds with debug assertions that a drop has failed, which cannot say so itself; never panics.
#[cold]
pub(crate) fn report(error: &Error) {
    #[cfg(all(debug_assertions, feature = "std"))]
    {
        use std::io::Write;
        let _written = writeln!(std::io::stderr(), "folio: in a drop: {error}");
    }
    #[cfg(not(all(debug_assertions, feature = "std")))]
    let _unheard = error;
}
