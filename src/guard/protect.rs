//! `protect`, and the guard that takes a change back.

use super::report;
use super::runs::Runs;
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os::{self, Access};
use crate::protection::Protection;
use crate::range::PageRange;
use core::fmt;
use core::ops::Range;

/// Changes what the pages grant that `[address, address + len)` touches.
///
/// What they granted before is forgotten; [`protect_with_handle`] keeps it. Content stays as it is.
///
/// The caller names any protection, [`READ_WRITE_EXECUTE`](Protection::READ_WRITE_EXECUTE) included, where the system allows it.
///
/// # Cost
///
/// One system call, and no allocation. (Windows: one for each allocation that the range touches. FreeBSD, NetBSD, OpenBSD: two.) A change of a part of a
/// mapping splits it, which uses up mappings, of which a process may have a limited number:
/// [`Limits::max_mappings`](crate::Limits::max_mappings).
///
/// # Errors
///
/// - [`ErrorKind::InvalidInput`]: `len` is 0, or `protection` has other bits than the three.
/// - [`ErrorKind::Unmapped`]: not all of the range is mapped.
/// - [`ErrorKind::NotPermitted`]: a right that these pages cannot have (writing to a file opened for reading, writing and
///   executing together on some systems), or sealed pages.
/// - [`ErrorKind::Exhausted`]: splitting would make more mappings than a process may have.
///
/// On failure the pages are as they were, but for those that [`Error::changed`] names: Linux and illumos change mapping after
/// mapping, and stop at the first that they cannot change; Apple's systems may grant writing alone where executing was asked for,
/// too. What those before it granted is not known here; the guard of
/// [`protect_with_handle`] knows it, and changes them back.
///
/// # Safety
///
/// - Nobody, in any thread, uses the pages in a way that they will not grant then, for as long as they do not: no reference to
///   data in them is used that they do not let read (or, if mutable, write), no code in them is run that they do not let run.
///   This includes what Rust and its runtime use without being asked: stacks, thread-locals, heaps, constants, the program's code.
/// - Pages that become writable were not lent out as constant (`static`s, `&'static str`, code).
/// - Pages that become executable hold nothing that must not be run, and code that was written there is made known to the
///   processor before it is run: on x86 that is so by itself; on arm64, riscv64 and most others the instruction cache has to be
///   flushed (`__clear_cache` of the C compiler's library, `FlushInstructionCache`, `sys_icache_invalidate`).
///
/// # Platforms
///
/// | Linux, Android | `mprotect`; a protection key that the pages carry stays, unless they are or become executable alone |
/// |---|---|
/// | Windows | `VirtualProtect`; writing includes reading; reserved pages become committed |
/// | macOS, iOS | `mprotect`; whatever is not nothing includes reading; not beyond the maximum protection; on Apple's processors writing and executing together only in memory made by [`alloc`](crate::alloc()) with both |
/// | FreeBSD, NetBSD, OpenBSD | `mprotect`, after `msync` has shown that there is no hole; NetBSD and OpenBSD forbid writing and executing together, but for programs marked for it, FreeBSD if it is set so. FreeBSD passes over its own guard regions (below stacks, `MAP_GUARD`), which stay as they are; OpenBSD unlocks pages that are to grant nothing |
/// | illumos | `mprotect` |
///
/// Most processors cannot grant writing without reading, and some cannot grant executing without it: what is denied does not
/// always fail. See [`Protection`].
///
/// # Examples
///
/// ```
/// use folio::Protection;
///
/// let memory = folio::alloc(100, Protection::READ_WRITE)?;
/// // SAFETY: nobody has a reference into the memory just allocated.
/// unsafe { folio::protect(memory.as_ptr::<u8>(), 1, Protection::READ)? };
/// assert_eq!(folio::query(memory.as_ptr::<u8>())?.protection(), Protection::READ);
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: `mprotect(2)`; MSDN, `VirtualProtect`.
#[inline]
pub unsafe fn protect<T>(address: *const T, len: usize, protection: Protection) -> Result<()> {
    let range = checked(address.addr(), len, protection)?;
    let _exposed = address.expose_provenance();
    // SAFETY: the caller's promise.
    unsafe { os::protect(range, protection) }
        .map_err(|failure| failure.during(Operation::Protect, Some(range), None))
}

/// The pages meant, if the arguments make sense.
#[inline]
fn checked(address: usize, len: usize, protection: Protection) -> Result<PageRange> {
    let range = PageRange::touching(address, len).and_then(|range| {
        if Protection::all().contains(protection) { Ok(range) } else { Err(unknown_bits()) }
    });
    range.map_err(|failure| failure.during(Operation::Protect, Some(PageRange::containing(address)), None))
}

#[cold]
pub(crate) fn unknown_bits() -> Failure {
    Failure::invalid("a protection has the bits for reading, writing and executing only")
}

/// Changes what the pages grant that `[address, address + len)` touches, until the guard is dropped.
///
/// The guard gives every page back what it granted before, with all that the system keeps beside reading, writing and executing,
/// and changes no other page; also when the range begins or ends within larger mappings, and when mappings were split or merged
/// meanwhile.
///
/// Name the guard: `let _ = …` drops it at once, `let _guard = …` at the end of the block.
///
/// # Cost
///
/// A query and a change, then a change for each run of pages that granted the same; no allocation where that is one run. See
/// [`query`](crate::query()) for what the query costs.
///
/// # Errors
///
/// As [`protect`], and those of [`query_range`](crate::query_range). On failure, what was changed is changed back; where that
/// fails as well, [`Error::changed`] says what is left.
///
/// # Safety
///
/// As [`protect`], for both changes: that of this call, and that of the guard's end, which may be
/// [restored](ProtectGuard::restore), dropped or never come. The pages stay mapped until then: the guard would change what has
/// taken their place. What other threads change of the same pages while this call runs, or between it and the guard's end, the
/// guard overwrites or does not know; guards whose ranges overlap are to be dropped in reverse order, lest the pages end up with
/// what the later one found.
///
/// # Platforms
///
/// Beside reading, writing and executing, these are given back: on Windows all that `VirtualQuery` tells (`PAGE_GUARD`,
/// `PAGE_WRITECOPY`, `PAGE_NOCACHE`, …), on Linux the protection key and the marked branch targets of arm64. (Where these could be
/// lost — pages that are or become executable alone; on arm64 with marked branch targets all executable pages — finding
/// them out takes the text of `smaps`, and some ten microseconds for each region before them.) Maximum protections are not
/// changed on any system. OpenBSD ends a program under `pledge(2)` that asks for its mappings, as this call does; [`protect`] does
/// not.
///
/// # Examples
///
/// ```
/// use folio::Protection;
///
/// let memory = folio::alloc(100, Protection::READ)?;
/// {
///     // SAFETY: nobody has a reference into the memory just allocated.
///     let _guard =
///         unsafe { folio::protect_with_handle(memory.as_ptr::<u8>(), memory.len(), Protection::READ_WRITE)? };
///     // SAFETY: the pages are writable now, and nobody else uses them.
///     unsafe { memory.as_ptr::<u8>().cast_mut().write(7) };
/// }
/// assert_eq!(folio::query(memory.as_ptr::<u8>())?.protection(), Protection::READ);
/// # Ok::<(), folio::Error>(())
/// ```
pub unsafe fn protect_with_handle<T>(
    address: *const T,
    len: usize,
    protection: Protection,
) -> Result<ProtectGuard> {
    let range = checked(address.addr(), len, protection)?;
    let _exposed = address.expose_provenance();
    let failed = |failure: Failure| failure.during(Operation::Protect, Some(range), None);
    let mut before = Runs::new(range);
    os::accesses(range, protection, &mut |run, access| before.push(run, access)).map_err(failed)?;
    if before.hole().is_some() {
        return Err(failed(Failure::new(ErrorKind::Unmapped)));
    }
    // SAFETY: the caller's promise.
    match unsafe { os::protect(range, protection) } {
        Ok(()) => Ok(ProtectGuard { before: Some(before) }),
        Err(failure) => {
            let undone = match failure.changed_part() {
                // SAFETY: these pages were changed by this call just now; giving them back what they had is undoing it.
                Some(changed) => unsafe { give_back(&before, changed) },
                None => Ok(()),
            };
            Err(failed(match undone {
                Ok(()) => failure.unchanged(),
                Err((left, _)) => failure.changed(left),
            }))
        }
    }
}

/// Gives the pages of a range back what they granted. On failure goes on with those behind; says from where to where some are not
/// as they were, and why the first of them is not.
///
/// # Safety
///
/// As [`protect`].
unsafe fn give_back(
    before: &Runs<Access>,
    part: PageRange,
) -> core::result::Result<(), (PageRange, Failure)> {
    let mut failed: Option<(PageRange, Failure)> = None;
    let mut fail = |pages: PageRange, failure| match &mut failed {
        Some((all, _)) => *all = PageRange::between(all.first(), pages.last()).unwrap_or(pages),
        None => failed = Some((pages, failure)),
    };
    for (run, access) in before.within(part) {
        // SAFETY: the caller's promise.
        let Err(failure) = (unsafe { os::give_back(run, access) }) else { continue };
        // Something of the run is gone, or cannot be changed any more: the pieces that can are.
        let mut there = Runs::new(run);
        let listed = os::accesses(run, Protection::NONE, &mut |piece, now| there.push(piece, now));
        let mut first = Some(failure);
        if listed.is_err() || there.hole().is_some() {
            fail(run, first.take().unwrap_or(Failure::new(ErrorKind::Unmapped)));
        }
        for (piece, now) in there.iter() {
            if now != access {
                // SAFETY: the caller's promise.
                if let Err(again) = unsafe { os::give_back(piece, access) } {
                    fail(piece, first.take().unwrap_or(again));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Gives pages back what they granted when it is dropped: made by [`protect_with_handle`].
///
/// The guard does not borrow the pages; what its maker promised holds until its end. [`forget`](Self::forget) ends it without a
/// change.
#[must_use = "the protection is given back as soon as the guard is dropped"]
pub struct ProtectGuard {
    /// `None` once there is nothing left to do.
    before: Option<Runs<Access>>,
}

/// The addresses.
impl fmt::Debug for ProtectGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtectGuard({:#x?})", self.as_range())
    }
}

impl ProtectGuard {
    /// The pages that are given back what they granted, the end excluded.
    pub fn as_range(&self) -> Range<usize> {
        self.before.as_ref().map_or(0..0, |before| before.range().to_range())
    }

    /// Gives the pages back what they granted, as the drop does, and says how it went.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Unmapped`]: some pages are not mapped any more. All others have what they had.
    /// - [`ErrorKind::Exhausted`], [`ErrorKind::NotPermitted`]: as for [`protect`]; some pages could not be given back what they
    ///   granted, all others were. [`Error::range`] reaches from the first of them to the last.
    pub fn restore(mut self) -> Result<()> {
        self.end()
    }

    /// Leaves the pages as they are.
    ///
    /// `core::mem::forget` does the same, but leaks memory where the pages did not all grant the same.
    pub fn forget(mut self) {
        self.before = None;
    }

    fn end(&mut self) -> Result<()> {
        let Some(before) = self.before.take() else { return Ok(()) };
        // SAFETY: whoever made the guard promised that its end may give the pages back what they granted.
        match unsafe { give_back(&before, before.range()) } {
            Ok(()) => Ok(()),
            Err((run, failure)) => {
                Err::<(), Error>(failure.unchanged().during(Operation::Restore, Some(run), None))
            }
        }
    }
}

/// Gives the pages back what they granted. A failure is reported on standard error in builds with debug assertions; see
/// [`restore`](Self::restore).
impl Drop for ProtectGuard {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            report(&error);
        }
    }
}
