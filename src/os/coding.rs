//! Code that is made while the program runs, on systems that do nothing special about it: `let_execute` and its kin.

use super::protect;
use crate::error::{ErrorKind, Failure};
use crate::protection::Protection;
use crate::range::PageRange;

/// Lets pages be read and executed.
///
/// # Safety
///
/// As [`protect`].
pub(crate) unsafe fn let_execute(range: PageRange, only_targets: bool) -> Result<(), Failure> {
    if only_targets {
        return Err(no_branch_targets());
    }
    // SAFETY: the caller's promise.
    unsafe { protect(range, Protection::READ_EXECUTE) }
}

/// Whether `only_targets` is to be had.
pub(crate) fn has_branch_targets() -> Result<(), Failure> {
    Err(no_branch_targets())
}

pub(crate) fn no_branch_targets() -> Failure {
    Failure::new(ErrorKind::Unsupported)
        .detail("that indirect branches may only lead to marked instructions is a matter of Linux on arm64 processors with BTI")
        .remedy("leave out CodeOptions::branch_targets")
}

/// No filter is known here that would end the process for it.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there are filters")]
pub(crate) fn allows_code(_twice: bool) -> Result<(), Failure> {
    Ok(())
}

#[cfg(not(feature = "deny_xw"))]
pub(crate) fn jit_by_thread() -> bool {
    false
}

#[cfg(not(feature = "deny_xw"))]
pub(crate) fn let_thread_write_jit(_write: bool) {}
