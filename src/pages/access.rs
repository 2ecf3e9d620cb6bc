//! What a mapping grants, in its type.

use crate::protection::Protection;
use core::fmt::Debug;

mod sealed {
    pub trait Sealed {}
}

macro_rules! marker {
    ($($(#[$what:meta])* $name:ident: $axis:ident = $rights:expr;)*) => {$(
        $(#[$what])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}

        impl $axis for $name {
            const RIGHTS: Protection = $rights;
        }
    )*};
}

/// Whether pages can be read: [`AllowRead`] or [`DenyRead`].
pub trait ReadAccess: sealed::Sealed + Debug + Send + Sync + Unpin + 'static {
    /// The right on this axis, or none.
    const RIGHTS: Protection;
}

/// Whether pages can be written: [`AllowWrite`] or [`DenyWrite`].
pub trait WriteAccess: sealed::Sealed + Debug + Send + Sync + Unpin + 'static {
    /// The right on this axis, or none.
    const RIGHTS: Protection;
}

/// Whether what is in pages can be executed: [`DenyExec`], or, with the feature `allow_exec`, `AllowExec`.
pub trait ExecAccess: sealed::Sealed + Debug + Send + Sync + Unpin + 'static {
    /// The right on this axis, or none.
    const RIGHTS: Protection;
}

marker! {
    /// The pages can be read.
    AllowRead: ReadAccess = Protection::READ;
    /// The pages are not meant to be read, and cannot be where the processor can deny it: most grant reading with writing.
    DenyRead: ReadAccess = Protection::NONE;
    /// The pages can be written.
    AllowWrite: WriteAccess = Protection::WRITE;
    /// Writing to the pages ends the process.
    DenyWrite: WriteAccess = Protection::NONE;
    /// What is in the pages cannot be executed.
    DenyExec: ExecAccess = Protection::NONE;
}

#[cfg(feature = "allow_exec")]
marker! {
    /// What is in the pages can be executed.
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    AllowExec: ExecAccess = Protection::EXECUTE;
}

/// The pairs of write and execute access that a mapping can have: never both allowed, unless the feature `allow_exec` is on and
/// `deny_xw`, which is on by default, is off.
///
/// Write and execute together is what an attacker wants most: a hole that lets him write is then one that lets him run code.
pub trait Together: sealed::Sealed {}

impl<W: WriteAccess, X: ExecAccess> sealed::Sealed for (W, X) {}

impl Together for (AllowWrite, DenyExec) {}
impl Together for (DenyWrite, DenyExec) {}
#[cfg(feature = "allow_exec")]
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
impl Together for (DenyWrite, AllowExec) {}
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
impl Together for (AllowWrite, AllowExec) {}
