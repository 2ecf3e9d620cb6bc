//! Memory for address space that is set aside, and address space again of memory.
//!
//! What `map` and `map_at` give without access is address space alone: the kernel counts private pages from when they can first be
//! written (`mmap_region`, `mprotect_fixup`). `MAP_NORESERVE` is not used: it would keep the pages from being counted when they
//! get memory, too.

use super::change::{self, pointer, sealed};
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::protection::Protection;
use crate::range::PageRange;
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

/// Lets pages have memory, zeroed, as they are touched.
///
/// # Safety
///
/// The pages are the caller's, reserved, and nobody relies on that they grant nothing.
#[inline]
pub(crate) unsafe fn commit(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // Nothing is counted before there is a right to write.
    if protection.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { change::protect(range, protection) }.map_err(|failure| {
        if failure.kind() != ErrorKind::Exhausted || failure.has_remedy() {
            return failure;
        }
        failure.detail("the system does not promise so much memory, or the process may not have it").remedy(
            "commit less, or see Limits::commit_limit, vm.overcommit_memory and RLIMIT_DATA (ulimit -d)",
        )
    })
}

/// Takes the memory from pages, and with it what they hold and the right to touch them.
///
/// Fresh pages are put in the place of the old ones: by anything less (`MADV_DONTNEED`, `PROT_NONE`) pages that were written to stay
/// counted as promised.
///
/// # Safety
///
/// The pages are the caller's, private and anonymous, and nobody uses them.
#[inline]
pub(crate) unsafe fn decommit(range: PageRange) -> Result<(), Failure> {
    let replaced = sys::injected("mmap").and_then(|()| {
        let how = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the caller's promise: what is replaced nobody uses (mmap(2)).
        unsafe { mm::mmap_anonymous(pointer(range), range.len(), ProtFlags::empty(), how) }
    });
    match replaced {
        Ok(_) => Ok(()),
        Err(errno) => not_decommitted(range, errno),
    }
}

/// Takes the memory from pages, and with it what they hold, but never their addresses; they grant the protection then, or more. (So
/// they stay counted as promised, as they do not after [`decommit`]; but what was said of them stays said, and they stay one mapping
/// with their neighbours.)
///
/// # Safety
///
/// The pages are the caller's, private and anonymous, can be read and written, and nobody uses them.
pub(crate) unsafe fn vacate(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { super::discard(range, protection, false) }.map_err(|refused| refused.failure)?;
    if protection != Protection::READ_WRITE {
        // To grant more is allowed. SAFETY: the caller's promise.
        let _protected = unsafe { change::protect(range, protection) };
    }
    Ok(())
}

/// The kernel looks at its limits before it takes the old pages away; but when it lacks memory of its own after that, they are gone
/// (`vms_abort_munmap_vmas`; before 6.12, `mmap_region`), and somebody else could be given their addresses.
#[cold]
fn not_decommitted(range: PageRange, errno: Errno) -> Result<(), Failure> {
    let failure = match errno {
        Errno::NOMEM => why::too_many_mappings(errno),
        Errno::PERM => sealed(errno),
        Errno::AGAIN => Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
            .detail("the process locks all its memory (mlockall), and may not lock so much"),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    };
    if is_whole(range) {
        return Err(failure);
    }
    match change::map_at(range, Protection::NONE) {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::system(ErrorKind::Unmapped, errno.raw_os_error())
            .detail("the system has lost the pages")
            .changed(range)),
    }
}

/// Whether all of the range is mapped: by a call that fails over a hole, changes nothing (msync(2)), and needs nothing that a program
/// may have run out of.
fn is_whole(range: PageRange) -> bool {
    let synced = sys::injected("msync").and_then(|()| {
        // SAFETY: changes neither what pages hold nor what they grant (msync(2)).
        unsafe { mm::msync(pointer(range), range.len(), MsyncFlags::ASYNC) }
    });
    match synced {
        Ok(()) => true,
        Err(Errno::NOMEM) => false,
        // Not known by this call (on powerpc64 a static program was told -1): the list of mappings tells.
        Err(_) => !why::has_hole(range),
    }
}
