//! Floor 3: changing what pages grant, and holding them in memory, with guards that undo it.

#[cfg(feature = "std")]
mod keyed;
mod lock;
mod protect;

#[cfg(feature = "std")]
pub use keyed::{KeyGuard, KeyGuardMut, KeyedPages};

/// Says what went wrong in a `drop`, which cannot return it: in debug builds, and without panicking when nobody can hear it.
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "what needs `std` uses it"))]
pub(crate) fn report(error: &crate::Error) {
    #[cfg(all(debug_assertions, feature = "std"))]
    {
        use std::io::Write;
        let _written = std::writeln!(std::io::stderr(), "folio: {error}");
    }
    #[cfg(not(all(debug_assertions, feature = "std")))]
    let _unheard = error;
}
