//! Mappings with more said about them than length, place and protection: views of files, large pages, NUMA nodes.

use super::change::{map_at_on, native, no_room, not_mapped, not_mapped_at};
use super::sys::{self, Code, Handle};
use super::system;
use crate::error::{ErrorKind, Failure};
use crate::os::{Content, File, FileFacts, Place, Request};
use crate::protection::Protection;
use crate::range::PageRange;
use core::ffi::CStr;
use core::ptr::NonNull;
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_FILE_INVALID, ERROR_INVALID_ADDRESS, ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER, ERROR_MAPPED_ALIGNMENT, ERROR_NO_SYSTEM_RESOURCES, ERROR_PRIVILEGE_NOT_HELD,
};
use windows_sys::Win32::System::Memory::{
    FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEM_LARGE_PAGES, MEM_RESERVE,
    PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_READONLY, PAGE_READWRITE,
    PAGE_WRITECOPY,
};

/// What has to live as long as a mapping: a handle of its file, where the pages can be written to it.
pub(crate) struct Attached(Option<Handle>);

impl Attached {
    pub(crate) const NOTHING: Self = Self(None);

    /// Whether it has to be kept.
    pub(crate) const fn is_needed(&self) -> bool {
        self.0.is_some()
    }
}

impl core::fmt::Debug for Attached {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Attached").field(&self.0.is_some()).finish()
    }
}

/// A mapping as it is asked for. No reservation, no stack, nothing that is left out of dumps: hints that are without effect here.
///
/// # Safety
///
/// None: nothing is replaced.
pub(crate) unsafe fn map_with(request: &Request<'_>) -> Result<(NonNull<u8>, Attached), Failure> {
    if let Place::Over(_) = request.place {
        return Err(Failure::new(ErrorKind::Unsupported)
            .detail("Windows replaces nothing that is mapped")
            .remedy("unmap what is there before, and map at its address"));
    }
    if request.node.is_some_and(|node| system::highest_node().is_none_or(|highest| node > highest)) {
        return Err(Failure::invalid("there is no such NUMA node"));
    }
    let (base, attached) = match (request.content, request.place) {
        (Content::Zeroes, Place::Hint(place)) => zeroes(request, Place::At(place & !granule_mask()))
            .or_else(|_| zeroes(request, Place::Anywhere))
            .map(|base| (base, Attached::NOTHING))?,
        (Content::Zeroes, place) => (zeroes(request, place)?, Attached::NOTHING),
        (Content::File { file, offset, bytes, shared }, _) => view(request, file, offset, bytes, shared)?,
    };
    if request.populate {
        if let Some(range) = request.range_at(base.as_ptr().expose_provenance()) {
            read_in(range, request.protection);
        }
    }
    Ok((base, attached))
}

fn granule_mask() -> usize {
    system::granularity().saturating_sub(1)
}

/// Private memory.
fn zeroes(request: &Request<'_>, place: Place) -> Result<NonNull<u8>, Failure> {
    if request.huge.is_some() {
        return large(request, place);
    }
    let first = match place {
        Place::At(first) => match request.range_at(first) {
            Some(range) => return map_at_on(range, request.protection, request.node),
            None => return Err(Failure::invalid("the addresses are above those that a process may use")),
        },
        _ => 0,
    };
    let how = if request.protection.is_empty() { MEM_RESERVE } else { MEM_RESERVE | MEM_COMMIT };
    sys::reserve(first, request.len.bytes(), how, native(request.protection), request.node).map_err(|code| {
        match code {
            Code(ERROR_INVALID_PARAMETER) => no_room(code),
            code => not_mapped(code),
        }
    })
}

/// Large pages, which have memory from the start.
fn large(request: &Request<'_>, place: Place) -> Result<NonNull<u8>, Failure> {
    const HOW: u32 = MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES;
    let known = system::huge_page_sizes().zip(request.huge).is_some_and(|(sizes, size)| sizes.contains(size));
    let none = |failure: Failure| {
        failure
            .detail("there are no large pages of this size")
            .remedy("page::huge_sizes tells which there are")
    };
    if !known {
        return Err(none(Failure::new(ErrorKind::Unsupported)));
    }
    let first = match place {
        Place::At(first) => first,
        _ => 0,
    };
    let given = sys::reserve(first, request.len.bytes(), HOW, PAGE_READWRITE, request.node);
    let base = given.map_err(|code| match code {
        Code(ERROR_PRIVILEGE_NOT_HELD) => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("the program may not lock pages in memory, as large pages are")
            .remedy(
                "give the account the right \"Lock pages in memory\" (SeLockMemoryPrivilege), and let the program switch it on \
                 (AdjustTokenPrivileges)",
            ),
        Code(ERROR_NO_SYSTEM_RESOURCES) => code
            .of_kind(ErrorKind::Exhausted)
            .detail("memory is in too many pieces for so many large pages")
            .remedy("ask soon after the system has started, or for less"),
        Code(ERROR_INVALID_ADDRESS) if first != 0 => code.of_kind(ErrorKind::Occupied),
        Code(ERROR_INVALID_PARAMETER) => none(code.of_kind(ErrorKind::Unsupported)),
        code => not_mapped(code),
    })?;
    let wanted = native(request.protection);
    let Some(range) = request.range_at(base.as_ptr().expose_provenance()) else { return Ok(base) };
    if wanted != PAGE_READWRITE {
        // SAFETY: just mapped, and nobody was told.
        if let Err(code) = unsafe { sys::virtual_protect(range, wanted) } {
            // SAFETY: the same.
            let _released = unsafe { sys::release(range.first()) };
            return Err(not_mapped(code));
        }
    }
    Ok(base)
}

/// How a file is to be seen: the protection of the section, the access of the view, and what its pages grant at first.
struct Sight {
    section: u32,
    access: u32,
    /// The pages can be written to the file.
    writes: bool,
}

/// All that the handle permits, so that pages can be made to grant it later; without writing, where it does not permit that and
/// nobody asks for it now.
fn sights(protection: Protection, shared: bool) -> [Option<Sight>; 2] {
    let executes = protection.contains(Protection::EXECUTE);
    let sight = |plain, executable, access, writes| {
        let (section, access) =
            if executes { (executable, access | FILE_MAP_EXECUTE) } else { (plain, access) };
        Some(Sight { section, access, writes })
    };
    if !shared {
        return [sight(PAGE_WRITECOPY, PAGE_EXECUTE_WRITECOPY, FILE_MAP_COPY, false), None];
    }
    let writable = sight(PAGE_READWRITE, PAGE_EXECUTE_READWRITE, FILE_MAP_READ | FILE_MAP_WRITE, true);
    if protection.contains(Protection::WRITE) {
        return [writable, None];
    }
    [writable, sight(PAGE_READONLY, PAGE_EXECUTE_READ, FILE_MAP_READ, false)]
}

fn view(
    request: &Request<'_>,
    file: File<'_>,
    offset: u64,
    bytes: usize,
    shared: bool,
) -> Result<(NonNull<u8>, Attached), Failure> {
    let mut refused = Code(ERROR_ACCESS_DENIED);
    let sights = sights(request.protection, shared);
    let opened = sights.into_iter().flatten().find_map(|sight| {
        // As long as the file is: it is never made longer.
        match sys::create_file_mapping(file, sight.section) {
            Ok(section) => Some((section, sight)),
            Err(code) => {
                refused = code;
                None
            }
        }
    });
    let Some((section, sight)) = opened else { return Err(not_seen(refused, request.protection)) };
    // The section lives as long as it has views (MSDN, CreateFileMapping): it is closed at the end of this function.
    let map = |place| sys::map_view(&section, sight.access, offset, bytes, place, request.node);
    let mapped = match request.place {
        Place::At(place) => map(place).map_err(|code| match (code, request.range_at(place)) {
            (Code(ERROR_INVALID_ADDRESS | ERROR_INVALID_PARAMETER), Some(range)) => {
                not_mapped_at(range, code)
            }
            _ => not_viewed(code),
        }),
        Place::Hint(place) => map(place & !granule_mask()).or_else(|_| map(0)).map_err(not_viewed),
        _ => map(0).map_err(not_viewed),
    };
    let base = mapped?;
    let range =
        request.range_at(base.as_ptr().expose_provenance()).ok_or_else(|| Failure::new(ErrorKind::System))?;
    let ready = ready(range, request.protection, &sight, file);
    if ready.is_err() {
        // SAFETY: just mapped, and nobody was told.
        let _unmapped = unsafe { sys::unmap_view(range.first()) };
    }
    Ok((base, ready?))
}

/// Lets the pages of a new view grant what they are to grant, and keeps what is needed for flushes.
fn ready(
    range: PageRange,
    protection: Protection,
    sight: &Sight,
    file: File<'_>,
) -> Result<Attached, Failure> {
    let wanted = match native(protection) {
        PAGE_READWRITE if !sight.writes => PAGE_WRITECOPY,
        PAGE_EXECUTE_READWRITE if !sight.writes => PAGE_EXECUTE_WRITECOPY,
        native => native,
    };
    if wanted != sight.section {
        // SAFETY: just mapped, and nobody was told.
        unsafe { sys::virtual_protect(range, wanted) }.map_err(not_viewed)?;
    }
    if !sight.writes {
        return Ok(Attached::NOTHING);
    }
    sys::duplicate_file(file).map(|handle| Attached(Some(handle))).map_err(not_viewed)
}

#[cold]
fn not_seen(code: Code, protection: Protection) -> Failure {
    match code {
        Code(ERROR_ACCESS_DENIED) if protection.contains(Protection::WRITE) => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("the file was not opened for reading and (unless it is to be copied) for writing")
            .remedy("open it with OpenOptions::new().read(true).write(true), or map it for reading, or a copy (MmapOptions::map_copy) of one opened with read(true)"),
        Code(ERROR_ACCESS_DENIED) => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("the file was not opened for reading")
            .remedy("open it with OpenOptions::new().read(true), and for writing to it with write(true) as well"),
        Code(ERROR_FILE_INVALID) => code.of_kind(ErrorKind::InvalidInput).detail("the file is empty"),
        code => not_viewed(code),
    }
}

#[cold]
fn not_viewed(code: Code) -> Failure {
    match code {
        Code(ERROR_ACCESS_DENIED) => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("the file was not opened for this, or has become shorter"),
        Code(ERROR_MAPPED_ALIGNMENT | ERROR_INVALID_PARAMETER) => code.of_kind(ErrorKind::InvalidInput),
        code => not_mapped(code),
    }
}

/// What there is to know of a file before it is mapped: two calls.
pub(crate) fn file_facts(file: File<'_>) -> Result<FileFacts, Failure> {
    let unmappable = |code: Code| match code {
        Code(ERROR_ACCESS_DENIED) => not_seen(code, Protection::NONE),
        code => code
            .of_kind(ErrorKind::InvalidInput)
            .detail("only files on disks can be mapped: not folders, pipes, consoles"),
    };
    if !sys::is_on_disk(file).map_err(unmappable)? {
        return Err(unmappable(Code(ERROR_INVALID_HANDLE)));
    }
    let len = sys::file_size(file).map_err(unmappable)?;
    Ok(FileFacts { len: Some(len), page: crate::page::size(), copies: true })
}

/// Writes what was written to the pages to their file: to the device, if it is to wait.
pub(crate) fn flush(range: PageRange, wait: bool, attached: &Attached) -> Result<(), Failure> {
    let failed = |code: Code| code.of_kind(ErrorKind::System);
    sys::flush_view(range).map_err(failed)?;
    match (wait, &attached.0) {
        (true, Some(file)) => sys::flush_file(file).map_err(failed),
        // Nothing can have been written.
        _ => Ok(()),
    }
}

/// There is no such hint.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) const fn prefer_huge(_range: PageRange) -> Result<bool, Failure> {
    Ok(false)
}

/// Reads the pages of files in.
pub(crate) fn read_in(range: PageRange, protection: Protection) {
    if !protection.is_empty() {
        let _prefetched = sys::prefetch(range);
    }
}

/// Memory has no names.
pub(crate) const fn name(_range: PageRange, _name: &CStr) {}

/// What was mapped by one call is unmapped by one.
pub(crate) const fn unmaps_together() -> bool {
    false
}

#[cfg(all(test, feature = "std"))]
mod tests;
