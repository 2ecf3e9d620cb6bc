//! What the system is told about pages, and asked.

use super::change::{native, refused};
use super::parts::{Access, Parts};
use super::sys::{self, Code, VALID};
use crate::advice::Advice;
use crate::error::{ErrorKind, Failure};
use crate::os::{NotDiscarded, batch};
use crate::protection::Protection;
use crate::range::PageRange;
use windows_sys::Win32::System::Memory::PAGE_NOACCESS;
use windows_sys::Win32::System::ProcessStatus::PSAPI_WORKING_SET_EX_INFORMATION;

/// A hint: nothing is lost. What the system does not know has no effect.
///
/// (`VirtualUnlock` of pages that are not locked would page them out; but somebody may have locked them.)
pub(crate) fn advise(range: PageRange, advice: Advice) -> Result<(), Failure> {
    match advice {
        Advice::WillNeed => will_need(range),
        Advice::Collapse => Err(Failure::new(ErrorKind::Unsupported).remedy("collapsing takes Linux 6.1")),
        Advice::Normal
        | Advice::Sequential
        | Advice::Random
        | Advice::HugePages
        | Advice::NoHugePages
        | Advice::Cold
        | Advice::PageOut
        | Advice::Mergeable
        | Advice::Unmergeable => Ok(()),
    }
}

fn will_need(range: PageRange) -> Result<(), Failure> {
    let Err(code) = sys::prefetch(range) else { return Ok(()) };
    let mut parts = Parts::of(range);
    while let Some(part) = parts.step().map_err(Code::failure)? {
        match part.access {
            None => return Err(code.of_kind(ErrorKind::Unmapped)),
            // Nothing is to be read in.
            Some(Access::Reserved) => return Ok(()),
            Some(Access::Committed(native)) if native & 0xff == PAGE_NOACCESS => return Ok(()),
            Some(Access::Committed(_)) => {}
        }
    }
    Err(refused(code))
}

/// Whether it is said when memory is mapped that core dumps leave it out, and never changed.
pub(crate) const fn dumps_chosen_when_mapped() -> bool {
    false
}

/// Whether core dumps leave the pages out: not to be had. (`WerRegisterExcludedMemoryBlock` is another thing: a list of at most some
/// hundreds of blocks, by address, that outlives the pages, and that the reports of Windows heed, but no other dump.)
pub(crate) fn keep_out_of_core_dumps(_range: PageRange, out: bool) -> Result<(), Failure> {
    if !out {
        // They never are.
        return Ok(());
    }
    Err(Failure::new(ErrorKind::Unsupported)
        .detail("Windows has no pages that every dump leaves out")
        .remedy("for the reports of Windows Error Reporting alone, there is WerRegisterExcludedMemoryBlock"))
}

/// Nobody forks.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn wipe_on_fork(_range: PageRange, _wipe: bool) -> Result<(), Failure> {
    Ok(())
}

/// Takes the memory, and gives zeroed memory where some is needed: what grants nothing stays reserved.
///
/// (`DiscardVirtualMemory` and `MEM_RESET` do not promise zeroes: MSDN.) Should the system have promised the memory to somebody
/// else in between, the pages stay reserved and grant nothing.
///
/// # Safety
///
/// Pages of one allocation; nobody uses the content, nor has references to it.
pub(crate) unsafe fn discard(
    range: PageRange,
    protection: Protection,
    _marked: bool,
) -> Result<(), NotDiscarded> {
    // SAFETY: the caller's promise.
    unsafe { sys::decommit(range) }.map_err(refused)?;
    if protection.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise; the pages have no memory.
    unsafe { sys::commit(range, native(protection)) }.map_err(|code| refused(code).changed(range).into())
}

/// A view's pages go when the system wants them to: what is shared is in the file, and what was copied cannot be dropped.
///
/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn discard_file(_range: PageRange, copied: bool) -> Result<(), NotDiscarded> {
    if copied {
        return Err(Failure::new(ErrorKind::Unsupported)
            .detail("Windows does not drop the changes to a copy of a file")
            .remedy("map the file again")
            .into());
    }
    Ok(())
}

/// Lets the system take the memory when it wants it (`MEM_RESET`): each page stays as it is, or is a fresh one at any time, until
/// it is written to.
///
/// # Safety
///
/// Pages of one allocation; nobody uses the content, nor has references to it, before each page has been written to.
pub(crate) unsafe fn discard_lazily(
    range: PageRange,
    protection: Protection,
    marked: bool,
) -> Result<(), NotDiscarded> {
    // SAFETY: the caller's promise.
    match unsafe { sys::reset(range) } {
        Ok(()) => Ok(()),
        // Some pages may be freed nevertheless.
        // SAFETY: the caller's promise.
        Err(_) => unsafe { discard(range, protection, marked) }
            .map_err(|refused| NotDiscarded { failure: refused.failure.changed(range), ..refused }),
    }
}

/// The system has hints only.
#[expect(clippy::unnecessary_wraps, reason = "on Linux it can fail")]
pub(crate) fn populate(_range: PageRange, _write: bool) -> Result<bool, Failure> {
    Ok(false)
}

/// How many of the pages are in the working set.
pub(crate) fn resident(range: PageRange) -> Result<usize, Failure> {
    const BATCH: usize = 64;
    let page_size = crate::page::size();
    let mut entries = [PSAPI_WORKING_SET_EX_INFORMATION::default(); BATCH];
    let mut count = 0_usize;
    batch::for_each(range, BATCH, |pages| {
        let mut next = pages.first();
        let mut asked = 0_usize;
        for entry in &mut entries {
            if next > pages.last() {
                break;
            }
            entry.VirtualAddress = core::ptr::without_provenance_mut(next);
            asked = asked.saturating_add(1);
            next = next.saturating_add(page_size);
        }
        let Some(asked) = entries.get_mut(..asked) else { return Ok(()) };
        sys::working_set(None, asked).map_err(Code::failure)?;
        for entry in asked {
            // SAFETY: every bit pattern of the union is a valid number; the call has written it.
            let flags = unsafe { entry.VirtualAttributes.Flags };
            if flags & VALID != 0 {
                count = count.saturating_add(1);
            }
        }
        Ok(())
    })?;
    Ok(count)
}
