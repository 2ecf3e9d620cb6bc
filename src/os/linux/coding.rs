//! Code that is made while the program runs: marked branch targets, and filters that end the process for it.

use super::change::{PROT_BTI, flags, not_protected, pointer, protect};
use super::sys;
use crate::error::{ErrorKind, Failure};
use crate::os::coding::no_branch_targets;
#[cfg(not(feature = "deny_xw"))]
pub(crate) use crate::os::coding::{jit_by_thread, let_thread_write_jit};
use crate::protection::Protection;
use crate::range::PageRange;
use rustix::mm::{self, MprotectFlags};

/// Lets pages be read and executed; where wanted, so that indirect branches lead to marked instructions alone (arm64: `PROT_BTI`).
///
/// # Safety
///
/// As [`protect`].
pub(crate) unsafe fn let_execute(range: PageRange, only_targets: bool) -> Result<(), Failure> {
    if !only_targets {
        // SAFETY: the caller's promise.
        return unsafe { protect(range, Protection::READ_EXECUTE) };
    }
    has_branch_targets()?;
    let failed = |errno| not_protected(range, Protection::READ_EXECUTE, errno);
    sys::injected("mprotect").map_err(failed)?;
    let rights = MprotectFlags::from_bits_retain(flags(Protection::READ_EXECUTE).bits() | PROT_BTI);
    // SAFETY: the caller's promise.
    unsafe { mm::mprotect(pointer(range), range.len(), rights) }.map_err(failed)
}

pub(crate) fn has_branch_targets() -> Result<(), Failure> {
    if sys::has_branch_targets() { Ok(()) } else { Err(no_branch_targets()) }
}

/// Whether a filter of system calls (seccomp(2)) ends the process for the calls by which memory becomes executable.
///
/// What a filter does cannot be read, only tried: by a child process, which has the same one. It is asked only where there is a filter,
/// or where that is not known. (Errors are of no interest here: they do no harm.)
pub(crate) fn allows_code(twice: bool) -> Result<(), Failure> {
    if !is_filtered() {
        return Ok(());
    }
    match sys::survives(|| sys::make_code(twice)) {
        // Who cannot be asked does not forbid.
        Some(true) | None => Ok(()),
        Some(false) => Err(Failure::new(ErrorKind::NotPermitted)
            .detail("a filter of system calls (seccomp) ends whoever makes memory executable")
            .remedy("permit mmap and mprotect with PROT_EXEC, and memfd_create, or make the code memory before the filter")),
    }
}

/// Whether this thread's calls are filtered: not asked of `prctl`, for which a filter may end the process too.
fn is_filtered() -> bool {
    let mut buffer = [0; 4096];
    let Some(status) = sys::read_small(c"/proc/thread-self/status", &mut buffer) else { return true };
    status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Seccomp:"))
        .is_some_and(|mode| mode.trim_ascii() != b"0")
}
