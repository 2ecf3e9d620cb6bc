//! Memory for address space that is set aside, and address space again of memory.
//!
//! What `map` and `map_at` give without access is reserved only.

use super::change::{native, refused};
use super::sys;
use crate::error::Failure;
use crate::protection::Protection;
use crate::range::PageRange;

/// Lets pages of one allocation have memory, zeroed. All of them, or none (MSDN, `VirtualAlloc`).
///
/// # Safety
///
/// The pages are the caller's, reserved, and nobody relies on that they grant nothing.
#[inline]
pub(crate) unsafe fn commit(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { sys::commit(range, native(protection)) }.map_err(refused)
}

/// Takes the memory from pages of one allocation, and with it what they hold and the right to touch them.
///
/// # Safety
///
/// The pages are the caller's, and nobody uses them.
#[inline]
pub(crate) unsafe fn decommit(range: PageRange) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { sys::decommit(range) }.map_err(refused)
}

/// Takes the memory from pages of one allocation, and with it what they hold; they grant the protection then. If the system has promised
/// the memory to somebody else in between, they are reserved only, as the failure says.
///
/// # Safety
///
/// The pages are the caller's, and nobody uses them.
pub(crate) unsafe fn vacate(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { super::discard(range, protection, false) }.map_err(|refused| refused.failure)
}
