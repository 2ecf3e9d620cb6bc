//! Floor 5: code that is made while the program runs, and functions in it.

mod fn_pointer;
mod fn_ref;
#[allow(dead_code, reason = "to come")]
mod pieces;

pub use fn_pointer::{FnPointer, SafeFnPointer, UnsafeFnPointer};
pub use fn_ref::FnRef;
