//! Getting pages, changing what they grant, giving them back.

pub(crate) use super::parts::Access;

use super::parts::{Part, Parts, hull};
use super::sys::{self, Code};
use super::system;
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT, ERROR_DYNAMIC_CODE_BLOCKED, ERROR_INVALID_ADDRESS,
    ERROR_INVALID_PARAMETER, ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY,
};
use windows_sys::Win32::System::Memory::{
    MEM_COMMIT, MEM_MAPPED, MEM_PRIVATE, MEM_RESERVE, PAGE_EXECUTE, PAGE_EXECUTE_READ,
    PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE,
    PAGE_TARGETS_NO_UPDATE, PAGE_WRITECOPY,
};

/// The constant that grants the three rights, or as little more as there is: no page can be written and not read.
pub(super) fn native(protection: Protection) -> u32 {
    let has = |right| protection.contains(right);
    match (has(Protection::READ), has(Protection::WRITE), has(Protection::EXECUTE)) {
        (false, false, false) => PAGE_NOACCESS,
        (true, false, false) => PAGE_READONLY,
        (_, true, false) => PAGE_READWRITE,
        (false, false, true) => PAGE_EXECUTE,
        (true, false, true) => PAGE_EXECUTE_READ,
        (_, true, true) => PAGE_EXECUTE_READWRITE,
    }
}

/// New pages, zeroed and private, where the system likes. Without access they are reserved only, and get memory by
/// [`protect`].
pub(crate) fn map(len: PageLen, protection: Protection) -> Result<NonNull<u8>, Failure> {
    sys::reserve(0, len.bytes(), how(protection), native(protection), None).map_err(|code| match code {
        // The longest lengths are none of this system; the other parameters are in order.
        Code(ERROR_INVALID_PARAMETER) => no_room(code),
        code => not_mapped(code),
    })
}

fn how(protection: Protection) -> u32 {
    if protection.is_empty() { MEM_RESERVE } else { MEM_RESERVE | MEM_COMMIT }
}

/// Where the allocation begins that [`map_at`] makes for pages from `first` on.
fn allocation_of(first: usize) -> usize {
    first & !system::granularity().saturating_sub(1)
}

/// New pages at exactly this place, if nothing is there.
///
/// Allocations begin at multiples of 64 KiB: where the pages do not, what is below them is reserved together with them, and
/// released with them.
pub(crate) fn map_at(range: PageRange, protection: Protection) -> Result<NonNull<u8>, Failure> {
    map_at_on(range, protection, None)
}

/// As [`map_at`], with memory of a NUMA node as long as there is some.
pub(super) fn map_at_on(
    range: PageRange,
    protection: Protection,
    node: Option<u32>,
) -> Result<NonNull<u8>, Failure> {
    let len = range.page_len()?;
    let base = allocation_of(range.first());
    if base == 0 {
        // Which would be a place of the system's choice.
        return Err(Failure::new(ErrorKind::NotPermitted)
            .detail("the lowest 64 KiB of addresses are not given to programs"));
    }
    if base == range.first() {
        return sys::reserve(base, len.bytes(), how(protection), native(protection), node)
            .map_err(|code| not_mapped_at(range, code));
    }
    let whole = range.last().saturating_sub(base).saturating_add(1);
    let reserved = sys::reserve(base, whole, MEM_RESERVE, PAGE_NOACCESS, node);
    let reserved = reserved.map_err(|code| not_mapped_at(range, code))?;
    if !protection.is_empty() {
        // SAFETY: just reserved, and nobody was told.
        if let Err(code) = unsafe { sys::commit(range, native(protection)) } {
            // SAFETY: the same.
            let _released = unsafe { sys::release(base) };
            return Err(not_mapped(code));
        }
    }
    // The same allocation, further on.
    NonNull::new(reserved.as_ptr().with_addr(range.first())).ok_or_else(|| Failure::new(ErrorKind::System))
}

#[cold]
pub(super) fn not_mapped_at(range: PageRange, code: Code) -> Failure {
    if !matches!(code, Code(ERROR_INVALID_ADDRESS | ERROR_INVALID_PARAMETER)) {
        return not_mapped(code);
    }
    // Outside of all that can be used, or taken? The pages below the range count, with which it shares its granule.
    let asked = PageRange::between(allocation_of(range.first()), range.last()).unwrap_or(range);
    let mut parts = Parts::of(asked);
    loop {
        match parts.step() {
            Ok(Some(part)) if part.access.is_some() => return code.of_kind(ErrorKind::Occupied),
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(code) => return code.failure(),
        }
    }
    match sys::virtual_query(None, PageRange::containing(range.last()).first()) {
        Ok(None) => Failure::invalid("the addresses are above those that a process may use"),
        // Taken, and free again since.
        _ => code.of_kind(ErrorKind::Occupied),
    }
}

#[cold]
pub(super) fn not_mapped(code: Code) -> Failure {
    match code {
        Code(ERROR_NOT_ENOUGH_MEMORY | ERROR_OUTOFMEMORY) => no_room(code),
        code => refused(code),
    }
}

pub(super) fn no_room(code: Code) -> Failure {
    code.of_kind(ErrorKind::Exhausted)
        .detail("neither memory nor address space for so much")
        .remedy("ask for less, or reserve (Protection::NONE) and let pages have memory as they are needed")
}

/// What the codes mean that are not about the range.
pub(super) fn refused(code: Code) -> Failure {
    match code.0 {
        ERROR_COMMITMENT_LIMIT => {
            let failure = code
                .of_kind(ErrorKind::Exhausted)
                .detail("the system, or the job of this process, has promised as much memory as it may")
                .remedy("end other programs, let the paging file grow, or raise the limit of the job");
            match system::limits() {
                Ok(limits) => match limits.commit_limit {
                    Some(limit) => failure.limit(limit, limits.committed, "bytes"),
                    None => failure,
                },
                Err(_) => failure,
            }
        }
        ERROR_NOT_ENOUGH_MEMORY | ERROR_OUTOFMEMORY => code.of_kind(ErrorKind::Exhausted),
        ERROR_DYNAMIC_CODE_BLOCKED => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("this process may not make memory executable (arbitrary code guard)")
            .remedy("start it without the mitigation ProhibitDynamicCode"),
        ERROR_ACCESS_DENIED => code.of_kind(ErrorKind::NotPermitted),
        _ => code.of_kind(ErrorKind::System),
    }
}

/// # Safety
///
/// The pages are a whole of what [`map`], [`map_at`] or [`map_with`](super::map_with) gave, and nobody uses them any more.
pub(crate) unsafe fn unmap(range: PageRange) -> Result<(), Failure> {
    let base = allocation_of(range.first());
    // SAFETY: the caller's promise.
    let Err(code) = (unsafe { sys::release(base) }) else { return Ok(()) };
    // Views of files are refused there, and everything else here.
    // SAFETY: the caller's promise.
    unsafe { sys::unmap_view(base) }.map_err(|_| refused(code))
}

/// The memory of a part; its addresses are given back with the whole.
///
/// # Safety
///
/// The pages are a part of what [`map`], [`map_at`] or [`map_with`](super::map_with) gave, and nobody uses them any more.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) unsafe fn unmap_part(range: PageRange) -> Result<(), Failure> {
    // What is refused now comes back with the whole.
    // SAFETY: the caller's promise.
    if unsafe { sys::decommit(range) }.is_err() {
        // A view of a file has no memory of its own.
        // SAFETY: the caller's promise.
        let _closed = unsafe { sys::virtual_protect(range, PAGE_NOACCESS) };
    }
    Ok(())
}

/// The addresses of all parts.
///
/// # Safety
///
/// As [`unmap`].
pub(crate) unsafe fn release(range: PageRange) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { unmap(range) }
}

/// Changes what the pages grant. Those that are reserved only get memory.
///
/// # Safety
///
/// Nobody relies on the access that the pages grant now and will not grant then, nor on that they do not grant more.
#[inline]
pub(crate) unsafe fn protect(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { change(range, native(protection)) }
}

/// `PAGE_TARGETS_NO_UPDATE` for pages that are executable already.
///
/// Where Control Flow Guard is on, all of what becomes executable becomes a valid target of indirect calls, of which a program
/// may then exclude some (`SetProcessValidCallTargets`). Such an exclusion shall outlive that code is made writable and is
/// given back. The flag is not for what becomes executable only now: of that, no address might be callable.
pub(super) fn kept_targets(range: PageRange, native: u32) -> u32 {
    const EXECUTABLE: u32 =
        PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
    if native & EXECUTABLE == 0 {
        return 0;
    }
    match Parts::of(range).step() {
        Ok(Some(Part { pages, access: Some(Access::Committed(now)), kind, .. }))
            if pages == range && now & EXECUTABLE != 0 && kind != MEM_MAPPED =>
        {
            PAGE_TARGETS_NO_UPDATE
        }
        _ => 0,
    }
}

/// # Safety
///
/// As [`protect`].
#[inline]
unsafe fn change(range: PageRange, native: u32) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    match unsafe { sys::virtual_protect(range, native | kept_targets(range, native)) } {
        Ok(()) => Ok(()),
        // Several allocations, pages without memory, a hole; or a view that is written by copying.
        Err(code @ Code(ERROR_INVALID_ADDRESS | ERROR_INVALID_PARAMETER)) => {
            // SAFETY: the caller's promise.
            unsafe { change_parts(range, native, code) }
        }
        Err(code) => Err(refused(code)),
    }
}

/// The same, a part after the other; if one refuses, those before it are given back what they had.
///
/// # Safety
///
/// As [`protect`].
#[cold]
unsafe fn change_parts(range: PageRange, native: u32, code: Code) -> Result<(), Failure> {
    let parts = Parts::of(range).all(Some(code))?;
    for (count, part) in parts.iter().enumerate() {
        // SAFETY: the caller's promise, for a part of its range.
        let Err(code) = (unsafe { change_part(part, native) }) else { continue };
        let changed = parts.split_at(count).0;
        // SAFETY: as they were when the call began, on which nobody relies who does not rely on the change.
        let left = unsafe { change_back(changed, native) };
        let failure = part_refused(part, code);
        return Err(match left {
            Some(left) => failure.changed(left),
            None => failure,
        });
    }
    Ok(())
}

/// # Safety
///
/// As [`protect`].
unsafe fn change_part(part: &Part, native: u32) -> Result<(), Code> {
    match part.access {
        // What has no memory grants nothing already.
        Some(Access::Reserved) if native == PAGE_NOACCESS => Ok(()),
        // SAFETY: the caller's promise.
        Some(Access::Reserved) => unsafe { sys::commit(part.pages, native) },
        _ => {
            // SAFETY: the caller's promise.
            let changed = unsafe { sys::virtual_protect(part.pages, native) };
            match (changed, copying(native)) {
                // SAFETY: the caller's promise.
                (Err(Code(ERROR_INVALID_PARAMETER)), Some(copying)) if part.copied => unsafe {
                    sys::virtual_protect(part.pages, copying)
                },
                (changed, _) => changed,
            }
        }
    }
}

/// The constant by which pages of a view may be written that was mapped to be copied when written. `PAGE_READWRITE` is refused
/// there ("must be compatible with the access protection specified when the view was mapped"), even to a page that has been
/// copied, of which the system says that it has it. A view that was mapped for reading *would* take this constant, too; but
/// then what is written to the view of a file would not be written to the file, and nobody said that it should not.
fn copying(native: u32) -> Option<u32> {
    let beside = native & !0xff;
    match native & 0xff {
        PAGE_READWRITE => Some(PAGE_WRITECOPY | beside),
        PAGE_EXECUTE_READWRITE => Some(PAGE_EXECUTE_WRITECOPY | beside),
        _ => None,
    }
}

/// Gives parts back what they had before they were given `native`; tells from where to where that failed.
///
/// # Safety
///
/// As [`protect`].
unsafe fn change_back(parts: &[Part], native: u32) -> Option<PageRange> {
    let mut left: Option<PageRange> = None;
    for part in parts {
        let done = match part.access {
            Some(Access::Reserved) if native == PAGE_NOACCESS => Ok(()),
            // SAFETY: memory that this very call put there, and that nobody was told of.
            Some(Access::Reserved) if part.kind == MEM_PRIVATE => unsafe { sys::decommit(part.pages) },
            // From a view nothing can be taken back. SAFETY: the caller's promise.
            Some(Access::Reserved) => unsafe { sys::virtual_protect(part.pages, PAGE_NOACCESS) },
            // SAFETY: the caller's promise.
            Some(Access::Committed(had)) => unsafe { change_part(part, had) },
            None => Ok(()),
        };
        if done.is_err() {
            let first = left.map_or(part.pages, |left| left).first();
            left = PageRange::between(first, part.pages.last());
        }
    }
    left
}

#[cold]
fn part_refused(part: &Part, code: Code) -> Failure {
    match code {
        // Gone since it was found.
        Code(ERROR_INVALID_ADDRESS) => code.of_kind(ErrorKind::Unmapped),
        Code(ERROR_INVALID_PARAMETER) if part.kind != MEM_PRIVATE => {
            code.of_kind(ErrorKind::NotPermitted).detail(
                "a view of a file, or of other memory that can be shared, that was mapped without this right",
            )
        }
        Code(ERROR_INVALID_PARAMETER) => {
            code.of_kind(ErrorKind::NotPermitted).detail("the system holds on to what these pages grant")
        }
        code => refused(code),
    }
}

/// The runs of equal access in the range, ascending and clipped to it. Holes are left out.
#[inline]
pub(crate) fn accesses(
    range: PageRange,
    _to: Protection,
    found: &mut dyn FnMut(PageRange, Access),
) -> Result<(), Failure> {
    let mut parts = Parts::of(range);
    while let Some(part) = parts.step().map_err(Code::failure)? {
        if let Some(access) = part.access {
            found(part.pages, access);
        }
    }
    Ok(())
}

/// Gives a run back what [`accesses`] found.
///
/// Pages that were reserved only, and have been given memory since, keep it and what they hold, and grant nothing.
///
/// # Safety
///
/// As [`protect`].
#[inline]
pub(crate) unsafe fn give_back(range: PageRange, access: Access) -> Result<(), Failure> {
    let native = match access {
        Access::Reserved => PAGE_NOACCESS,
        Access::Committed(native) => native,
    };
    // SAFETY: the caller's promise.
    unsafe { change(range, native) }
}

/// Drops the content and lets every touch end the process.
///
/// Views cannot be emptied: they show again what they showed when the guard is removed.
///
/// # Safety
///
/// Nobody uses the pages.
pub(crate) unsafe fn install_guard(range: PageRange) -> Result<(), Failure> {
    let parts = Parts::of(range).all(None)?;
    for (count, part) in parts.iter().enumerate() {
        // SAFETY: the caller's promise, for a part of its range.
        let Err(code) = (unsafe { guard_part(part) }) else { continue };
        let failure = part_refused(part, code);
        // What these held is gone.
        return Err(match hull(parts.split_at(count).0) {
            Some(guarded) => failure.changed(guarded),
            None => failure,
        });
    }
    Ok(())
}

/// # Safety
///
/// As [`install_guard`].
unsafe fn guard_part(part: &Part) -> Result<(), Code> {
    match part.access {
        // No content, and no access.
        Some(Access::Reserved) | None => Ok(()),
        // SAFETY: the caller's promise.
        Some(Access::Committed(_)) if part.kind != MEM_PRIVATE => unsafe {
            sys::virtual_protect(part.pages, PAGE_NOACCESS)
        },
        Some(Access::Committed(_)) => {
            // SAFETY: the caller's promise.
            unsafe { sys::decommit(part.pages) }?;
            // The memory was promised to these pages a moment ago and is again, so that removing the guard cannot fail for want
            // of it. Should somebody have taken it in between, the pages are guarded nevertheless, as pages without memory.
            // SAFETY: the caller's promise.
            let _committed = unsafe { sys::commit(part.pages, PAGE_NOACCESS) };
            Ok(())
        }
    }
}

/// Makes ordinary pages of guard pages.
///
/// # Safety
///
/// As [`protect`].
pub(crate) unsafe fn remove_guard(range: PageRange, protection: Protection) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { protect(range, protection) }
}

/// No change to the pages any more.
///
/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn seal(_range: PageRange) -> Result<(), Failure> {
    Err(Failure::new(ErrorKind::Unsupported).detail("Windows does not seal mappings"))
}
