//! Floor 5: code that is made while the program runs, and functions in it.

mod fn_pointer;
mod fn_ref;
#[cfg(feature = "std")]
mod memory;
#[cfg(feature = "std")]
mod pieces;

pub use fn_pointer::{FnPointer, SafeFnPointer, UnsafeFnPointer};
pub use fn_ref::FnRef;
#[cfg(feature = "std")]
pub(crate) use memory::{Allowed, allowed};
#[cfg(feature = "std")]
pub use memory::{CodeDraft, CodeMemory, CodeOptions, CodePiece, CodeStrategy, CodeUsage};
