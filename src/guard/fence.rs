//! Guard pages and sealed pages.

use crate::error::{Failure, Operation, Result};
use crate::os;
use crate::protection::Protection;
use crate::range::PageRange;

fn touched<T>(address: *const T, len: usize, operation: Operation) -> Result<PageRange> {
    let _exposed = address.expose_provenance();
    PageRange::touching(address.addr(), len)
        .map_err(|failure| failure.during(operation, Some(PageRange::containing(address.addr())), None))
}

/// Turns the pages that `[address, address + len)` touches into guard pages: their content is gone, and touching them ends the
/// process as touching unmapped memory does.
///
/// [`lock`](crate::lock) refuses guard pages, which cannot be read in: lock around them, or [on
/// fault](crate::lock_on_fault).
///
/// [`unguard`] makes ordinary pages of them again, zeroed. Where the system has the advice for it, guard pages cost no mapping
/// and are cheap to make; they cannot be seen in [`query`](crate::query()) then, [`protect`](crate::protect) does not lift them,
/// and unmapping them is possible as ever.
///
/// # Cost
///
/// One system call where [`Capabilities::guard_advice`](crate::Capabilities::guard_advice) is true, else two or three, and the
/// mapping is split.
///
/// # Errors
///
/// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): `len` is 0.
/// - [`ErrorKind::Unmapped`](crate::ErrorKind::Unmapped): not all of the range is mapped. The parts that are may be guarded, on
///   Linux: [`Error::changed`](crate::Error::changed).
/// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): sealed pages (that are not writable, on
///   Linux); on Linux, locked pages and memory of devices.
/// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): splitting would make more mappings than a process may have.
///
/// # Safety
///
/// - The pages are private, anonymous memory of the caller's ([`alloc`](crate::alloc())), and nobody uses their content any
///   more: it is lost, as if freed.
/// - Nobody touches them until [`unguard`]. (Who does ends the process; that is what they are for. But no reference to data
///   in them may exist.)
///
/// # Platforms
///
/// | Linux ≥ 6.13 | `MADV_GUARD_INSTALL` |
/// |---|---|
/// | Linux, and memory that the advice does not take | `MADV_DONTNEED`, then `PROT_NONE` |
/// | Windows | decommitted, then committed with `PAGE_NOACCESS` |
/// | macOS, iOS, FreeBSD, NetBSD, OpenBSD, illumos | fresh memory with `PROT_NONE` mapped in their place, after `msync` has shown that there is no hole; locks end with the old pages, and memory that was `MAP_JIT` is that no more |
///
/// # Examples
///
/// ```
/// use folio::{Protection, page};
///
/// // A stack with a guard page below it.
/// let stack = folio::alloc(16 * page::size(), Protection::READ_WRITE)?;
/// // SAFETY: nobody uses the memory just allocated.
/// unsafe { folio::guard(stack.as_ptr::<u8>(), page::size())? };
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: `madvise(2)`; MSDN, `VirtualAlloc`.
pub unsafe fn guard<T>(address: *const T, len: usize) -> Result<()> {
    let range = touched(address, len, Operation::Guard)?;
    // SAFETY: the caller's promise.
    unsafe { os::install_guard(range) }.map_err(|failure| failure.during(Operation::Guard, Some(range), None))
}

/// Makes ordinary pages, zeroed, of the [guard pages](guard) that `[address, address + len)` touches, with a protection. Pages in
/// the range that are not guard pages keep their content and get the protection, too.
///
/// # Cost
///
/// One or two system calls.
///
/// # Errors
///
/// As [`protect`](crate::protect).
///
/// # Safety
///
/// As [`protect`](crate::protect).
///
/// # Examples
///
/// ```
/// use folio::{Protection, page};
///
/// let memory = folio::alloc(1, Protection::READ_WRITE)?;
/// let byte = memory.as_ptr::<u8>().cast_mut();
/// // SAFETY: the memory is readable and writable but between the two calls, and nobody else uses it.
/// unsafe {
///     byte.write(7);
///     folio::guard(byte, 1)?;
///     folio::unguard(byte, 1, Protection::READ_WRITE)?;
///     assert_eq!(byte.read(), 0);
/// }
/// # Ok::<(), folio::Error>(())
/// ```
pub unsafe fn unguard<T>(address: *const T, len: usize, protection: Protection) -> Result<()> {
    let range = touched(address, len, Operation::Unguard)?;
    let allowed = if Protection::all().contains(protection) {
        // SAFETY: the caller's promise.
        unsafe { os::remove_guard(range, protection) }
    } else {
        Err(super::protect::unknown_bits())
    };
    allowed.map_err(|failure: Failure| failure.during(Operation::Unguard, Some(range), None))
}

/// Seals the pages that `[address, address + len)` touches: until the process ends, nobody can unmap or move them, change what
/// they grant, or put something else in their place.
///
/// What they grant stays, and whoever may write to them still can; of writable pages the content can still be dropped, by
/// [`guard`] for one. An allocation is better sealed as a whole:
/// [`Allocation::seal`](crate::Allocation::seal), which is safe.
///
/// # Cost
///
/// One system call.
///
/// # Errors
///
/// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): see
///   [`Capabilities::seal`](crate::Capabilities::seal).
/// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): `len` is 0.
/// - [`ErrorKind::Unmapped`](crate::ErrorKind::Unmapped): not all of the range is mapped.
///
/// # Safety
///
/// Nobody will want to unmap the pages or to change what they grant, until the process ends: everybody's attempt fails, also that
/// of owners who rely on its success (an allocator, the end of a thread for its stack,
/// [`Allocation`](crate::Allocation)'s and [`ProtectGuard`](crate::ProtectGuard)'s drop). It cannot be undone.
///
/// # Platforms
///
/// Linux 6.10 on 64-bit processors (`mseal`), OpenBSD 7.3 (`mimmutable`). Nowhere else. On Linux a sealed page that is
/// not writable cannot have its content dropped by advice either.
///
/// References: `mseal` in the kernel's documentation (`userspace-api/mseal.rst`); OpenBSD's `mimmutable(2)`.
pub unsafe fn seal<T>(address: *const T, len: usize) -> Result<()> {
    let range = touched(address, len, Operation::Seal)?;
    // SAFETY: the caller's promise.
    unsafe { os::seal(range) }.map_err(|failure| failure.during(Operation::Seal, Some(range), None))
}
