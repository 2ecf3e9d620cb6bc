//! The calls used here, each through the failure-injection point, and what their codes mean.
//!
//! `GetLastError` is read directly after the call that failed: anything in between may overwrite it.

use crate::error::{ErrorKind, Failure};
use crate::os::{File, inject};
use crate::range::PageRange;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use windows_sys::Win32::Foundation::{
    CloseHandle, DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_ACCESS_DENIED, ERROR_COMMITMENT_LIMIT,
    ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_PARAMETER, ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY,
    ERROR_PARTIAL_COPY, GetLastError, HANDLE, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_DISK, FlushFileBuffers, GetFileSizeEx, GetFileType};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, PVECTORED_EXCEPTION_HANDLER,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FlushViewOfFile, GetProcessWorkingSetSizeEx, MEM_COMMIT, MEM_DECOMMIT, MEM_RELEASE,
    MEM_RESET, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFileEx, MapViewOfFileExNuma,
    PAGE_NOACCESS, PrefetchVirtualMemory, UnmapViewOfFile, VirtualAlloc, VirtualAllocExNuma, VirtualFree,
    VirtualLock, VirtualProtect, VirtualQuery, VirtualQueryEx, VirtualUnlock, WIN32_MEMORY_RANGE_ENTRY,
};
use windows_sys::Win32::System::ProcessStatus::{
    K32GetMappedFileNameW, K32QueryWorkingSetEx, PSAPI_WORKING_SET_EX_INFORMATION,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, PROCESS_QUERY_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_VM_READ,
    WaitForSingleObject,
};

/// A code of `GetLastError`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Code(pub(super) u32);

impl Code {
    pub(super) fn last() -> Self {
        // SAFETY: reads a number of this thread; no precondition (MSDN, GetLastError).
        Self(unsafe { GetLastError() })
    }

    fn injected(call: &'static str) -> Result<(), Self> {
        match inject::point(call) {
            Some(code) => Err(Self(code.unsigned_abs())),
            None => Ok(()),
        }
    }

    /// A failure of this kind that carries the code.
    pub(super) fn of_kind(self, kind: ErrorKind) -> Failure {
        Failure::system(kind, i32::from_ne_bytes(self.0.to_ne_bytes()))
    }

    pub(super) fn failure(self) -> Failure {
        let code = i32::from_ne_bytes(self.0.to_ne_bytes());
        match self.0 {
            ERROR_ACCESS_DENIED => Failure::system(ErrorKind::NotPermitted, code).remedy(
                "run as the same user as the process and with the same integrity level, or as an administrator with \
                 SeDebugPrivilege; protected processes admit nobody",
            ),
            ERROR_NOT_ENOUGH_MEMORY | ERROR_OUTOFMEMORY | ERROR_COMMITMENT_LIMIT => {
                Failure::system(ErrorKind::Exhausted, code)
            }
            ERROR_PARTIAL_COPY => Failure::system(ErrorKind::ProcessEnded, code),
            _ => Failure::system(ErrorKind::System, code),
        }
    }
}

/// A handle of a process, a file or a section that is ours to close.
pub(super) struct Handle(HANDLE);

// SAFETY: a handle is a number that is valid in the whole process; the calls made on it here may be made from any thread,
// and at the same time (MSDN, "Handles and Objects").
unsafe impl Send for Handle {}
// SAFETY: as for `Send`; the number itself is never changed.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from `OpenProcess`, `DuplicateHandle` or `CreateFileMapping`, is owned by this value alone and is not used
        // after this.
        let _closed = unsafe { CloseHandle(self.0) };
    }
}

impl Handle {
    pub(super) fn open(pid: u32) -> Result<Self, Failure> {
        let asked = Code::injected("OpenProcess").and_then(|()| {
            let access = PROCESS_QUERY_INFORMATION | PROCESS_VM_READ | PROCESS_SYNCHRONIZE;
            // SAFETY: takes numbers only (MSDN, OpenProcess).
            let handle = unsafe { OpenProcess(access, 0, pid) };
            if handle.is_null() { Err(Code::last()) } else { Ok(Self(handle)) }
        });
        asked.map_err(|code| match code {
            // What `OpenProcess` answers when no process has the number.
            Code(ERROR_INVALID_PARAMETER) => code.of_kind(ErrorKind::NoSuchProcess),
            other => other.failure(),
        })
    }

    pub(super) fn duplicate(&self) -> Result<Self, Failure> {
        let mut copy = ptr::null_mut();
        // SAFETY: a pseudo handle, which needs no closing (MSDN, GetCurrentProcess).
        let this = unsafe { GetCurrentProcess() };
        // SAFETY: `self.0` is an open handle of this process, and `copy` is writable.
        let done = unsafe { DuplicateHandle(this, self.0, this, &raw mut copy, 0, 0, DUPLICATE_SAME_ACCESS) };
        if done == 0 { Err(Code::last().failure()) } else { Ok(Self(copy)) }
    }

    /// Whether the process has ended: its handle is signalled then.
    pub(super) fn has_ended(&self) -> bool {
        // SAFETY: the handle is open and was opened with SYNCHRONIZE; a wait of 0 milliseconds returns at once.
        let waited = unsafe { WaitForSingleObject(self.0, 0) };
        waited == WAIT_OBJECT_0
    }
}

/// The process that a call is about: this one if `None`.
pub(super) type Of<'a> = Option<&'a Handle>;

fn raw(process: Of<'_>) -> HANDLE {
    match process {
        Some(handle) => handle.0,
        // SAFETY: a pseudo handle, which needs no closing (MSDN, GetCurrentProcess).
        None => unsafe { GetCurrentProcess() },
    }
}

/// The pages around `address`. `None`: the address is above what a process may use.
#[inline]
pub(super) fn virtual_query(
    process: Of<'_>,
    address: usize,
) -> Result<Option<MEMORY_BASIC_INFORMATION>, Code> {
    Code::injected("VirtualQuery")?;
    let mut info = MEMORY_BASIC_INFORMATION::default();
    let size = size_of::<MEMORY_BASIC_INFORMATION>();
    let address: *const c_void = ptr::without_provenance(address);
    let written = match process {
        // SAFETY: `info` is writable and `size` bytes long; the address is not followed (MSDN, VirtualQuery).
        None => unsafe { VirtualQuery(address, &raw mut info, size) },
        // SAFETY: the same, and the handle is open with PROCESS_QUERY_INFORMATION (MSDN, VirtualQueryEx).
        Some(handle) => unsafe { VirtualQueryEx(handle.0, address, &raw mut info, size) },
    };
    if written != 0 {
        return Ok(Some(info));
    }
    match Code::last() {
        Code(ERROR_INVALID_PARAMETER) => Ok(None),
        code => Err(code),
    }
}

/// The name of the file mapped at `address`, in UTF-16 without a NUL; `None` when there is no such file.
pub(super) fn mapped_file_name(process: Of<'_>, address: usize) -> Option<Vec<u16>> {
    const LONGEST: usize = 32 << 10;
    let mut name: Vec<u16> = alloc::vec![0; 512];
    loop {
        Code::injected("GetMappedFileName").ok()?;
        let room = u32::try_from(name.len()).ok()?;
        // SAFETY: `name` is writable for `room` elements; the handle is open with PROCESS_QUERY_INFORMATION and
        // PROCESS_VM_READ, or is this process; the address is not followed here (MSDN, GetMappedFileName).
        let len = unsafe {
            K32GetMappedFileNameW(raw(process), ptr::without_provenance(address), name.as_mut_ptr(), room)
        };
        let code = Code::last();
        let fits = crate::range::index(len) < name.len().saturating_sub(1);
        if len == 0 && code != Code(ERROR_INSUFFICIENT_BUFFER) {
            return None;
        }
        if len != 0 && fits {
            name.truncate(crate::range::index(len));
            return Some(name);
        }
        // It did not fit, or filled the room, so that its end may be missing.
        if name.len() >= LONGEST {
            return None;
        }
        let more = name.len().saturating_mul(4);
        name.resize(more, 0);
    }
}

/// Fills in the attributes of the pages whose addresses stand in `pages`.
pub(super) fn working_set(
    process: Of<'_>,
    pages: &mut [PSAPI_WORKING_SET_EX_INFORMATION],
) -> Result<(), Code> {
    Code::injected("QueryWorkingSetEx")?;
    let Ok(bytes) = u32::try_from(size_of_val(pages)) else { return Err(Code(ERROR_INVALID_PARAMETER)) };
    // SAFETY: `pages` is writable for `bytes` bytes and its entries hold addresses, which are not followed; the handle is
    // open with PROCESS_QUERY_INFORMATION, or is this process (MSDN, QueryWorkingSetEx).
    let done = unsafe { K32QueryWorkingSetEx(raw(process), pages.as_mut_ptr().cast(), bytes) };
    if done == 0 { Err(Code::last()) } else { Ok(()) }
}

/// `QueryWorkingSetEx`: the page is in the working set, without which the other attributes mean nothing.
pub(super) const VALID: usize = 1;
/// `QueryWorkingSetEx`: the page is locked in memory.
pub(super) const LOCKED: usize = 1 << 22;

fn address(pages: PageRange) -> *mut c_void {
    ptr::with_exposed_provenance_mut(pages.first())
}

fn ok(done: i32) -> Result<(), Code> {
    if done == 0 { Err(Code::last()) } else { Ok(()) }
}

/// New address space, `MEM_RESERVE` alone, or with memory, `MEM_RESERVE | MEM_COMMIT`; 0 is a place of the system's choice.
/// With another place, which must be a multiple of the granularity: there or nowhere.
/// With a NUMA node, memory of it as long as there is some.
pub(super) fn reserve(
    place: usize,
    len: usize,
    how: u32,
    native: u32,
    node: Option<u32>,
) -> Result<NonNull<u8>, Code> {
    Code::injected("VirtualAlloc")?;
    let place = ptr::without_provenance(place);
    let given = match node {
        // SAFETY: `how` contains MEM_RESERVE (the callers, in `change` and `request`): where something is already, this fails,
        // and touches nobody's memory (MSDN, VirtualAlloc).
        None => unsafe { VirtualAlloc(place, len, how, native) },
        // SAFETY: as above; the handle means this process (MSDN, VirtualAllocExNuma).
        Some(node) => unsafe { VirtualAllocExNuma(raw(None), place, len, how, native, node) },
    };
    NonNull::new(given.cast()).ok_or_else(Code::last)
}

/// Puts zeroed memory behind pages that are reserved, all of one allocation.
///
/// # Safety
///
/// As [`virtual_protect`]: of pages that have memory already, content stays and the protection may change.
pub(super) unsafe fn commit(pages: PageRange, native: u32) -> Result<(), Code> {
    Code::injected("VirtualAlloc")?;
    // SAFETY: the caller's promise; without MEM_RESERVE only what is reserved is given memory (MSDN, VirtualAlloc).
    let given = unsafe { VirtualAlloc(address(pages), pages.len(), MEM_COMMIT, native) };
    if given.is_null() { Err(Code::last()) } else { Ok(()) }
}

/// Takes the memory from behind pages of one allocation, which stay reserved.
///
/// # Safety
///
/// Nobody uses the pages or wants their content.
pub(super) unsafe fn decommit(pages: PageRange) -> Result<(), Code> {
    Code::injected("VirtualFree")?;
    // SAFETY: the caller's promise (MSDN, VirtualFree).
    ok(unsafe { VirtualFree(address(pages), pages.len(), MEM_DECOMMIT) })
}

/// Lets the system drop what is in pages that have memory, instead of paging it out, until they are written to.
///
/// # Safety
///
/// Nobody wants the content; it may change at any time until a page is written to.
pub(super) unsafe fn reset(pages: PageRange) -> Result<(), Code> {
    Code::injected("VirtualAlloc")?;
    // SAFETY: the caller's promise; the protection stays, though one must be named (MSDN, VirtualAlloc, MEM_RESET).
    let given = unsafe { VirtualAlloc(address(pages), pages.len(), MEM_RESET, PAGE_NOACCESS) };
    if given.is_null() { Err(Code::last()) } else { Ok(()) }
}

/// Begins to read pages in.
pub(super) fn prefetch(pages: PageRange) -> Result<(), Code> {
    Code::injected("PrefetchVirtualMemory")?;
    let entry = WIN32_MEMORY_RANGE_ENTRY { VirtualAddress: address(pages), NumberOfBytes: pages.len() };
    // SAFETY: the handle means this process; one entry is readable; what pages hold and grant stays the same (MSDN,
    // PrefetchVirtualMemory).
    ok(unsafe { PrefetchVirtualMemory(raw(None), 1, &raw const entry, 0) })
}

/// Gives an allocation back, as a whole.
///
/// # Safety
///
/// `base` is what [`reserve`] gave, and nobody uses its pages any more.
pub(super) unsafe fn release(base: usize) -> Result<(), Code> {
    Code::injected("VirtualFree")?;
    // SAFETY: the caller's promise; a length of 0 means all that was reserved in one call (MSDN, VirtualFree).
    ok(unsafe { VirtualFree(ptr::with_exposed_provenance_mut(base), 0, MEM_RELEASE) })
}

fn handle(file: File<'_>) -> HANDLE {
    // A number, not an address.
    ptr::without_provenance_mut(file.number())
}

/// Whether it is a file on a disk: no pipe, no console.
pub(super) fn is_on_disk(file: File<'_>) -> Result<bool, Code> {
    Code::injected("GetFileType")?;
    // SAFETY: the handle is open for as long as the value lives (MSDN, GetFileType).
    Ok(unsafe { GetFileType(handle(file)) } == FILE_TYPE_DISK)
}

pub(super) fn file_size(file: File<'_>) -> Result<u64, Code> {
    Code::injected("GetFileSizeEx")?;
    let mut size = 0;
    // SAFETY: the handle is open for as long as the value lives, and `size` is writable (MSDN, GetFileSizeEx).
    ok(unsafe { GetFileSizeEx(handle(file), &raw mut size) })?;
    Ok(u64::try_from(size).unwrap_or(0))
}

/// Another handle of the file.
pub(super) fn duplicate_file(file: File<'_>) -> Result<Handle, Code> {
    Code::injected("DuplicateHandle")?;
    let mut copy = ptr::null_mut();
    let this = raw(None);
    // SAFETY: the file's handle is open for as long as the value lives, and `copy` is writable.
    let done =
        unsafe { DuplicateHandle(this, handle(file), this, &raw mut copy, 0, 0, DUPLICATE_SAME_ACCESS) };
    if done == 0 { Err(Code::last()) } else { Ok(Handle(copy)) }
}

/// A section over all of a file, as long as it is now.
pub(super) fn create_file_mapping(file: File<'_>, protection: u32) -> Result<Handle, Code> {
    Code::injected("CreateFileMapping")?;
    // SAFETY: the handle is open for as long as the value lives; without attributes and without a name nothing else is read (MSDN,
    // CreateFileMapping).
    let section = unsafe { CreateFileMappingW(handle(file), ptr::null(), protection, 0, 0, ptr::null()) };
    if section.is_null() { Err(Code::last()) } else { Ok(Handle(section)) }
}

/// A section of memory that is in no file, and promised in whole.
#[cfg(feature = "allow_exec")]
pub(super) fn create_memory(len: usize, protection: u32) -> Result<Handle, Code> {
    Code::injected("CreateFileMapping")?;
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    let half = |shift| u32::try_from(len.wrapping_shr(shift) & 0xffff_ffff).unwrap_or(0);
    let none = windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
    // SAFETY: of no file; without attributes and without a name nothing is read (MSDN, CreateFileMapping).
    let section =
        unsafe { CreateFileMappingW(none, ptr::null(), protection, half(32), half(0), ptr::null()) };
    if section.is_null() { Err(Code::last()) } else { Ok(Handle(section)) }
}

/// A view of `bytes` bytes; at `place`, if that is not 0, or nowhere.
pub(super) fn map_view(
    section: &Handle,
    access: u32,
    offset: u64,
    bytes: usize,
    place: usize,
    node: Option<u32>,
) -> Result<NonNull<u8>, Code> {
    Code::injected("MapViewOfFile")?;
    let half = |shift| u32::try_from(offset.wrapping_shr(shift) & 0xffff_ffff).unwrap_or(0);
    let (high, low) = (half(32), half(0));
    let place = ptr::without_provenance(place);
    let view = match node {
        // SAFETY: the section is open; where something is mapped already, this fails (MSDN, MapViewOfFileEx).
        None => unsafe { MapViewOfFileEx(section.0, access, high, low, bytes, place) },
        // SAFETY: as above (MSDN, MapViewOfFileExNuma).
        Some(node) => unsafe { MapViewOfFileExNuma(section.0, access, high, low, bytes, place, node) },
    };
    NonNull::new(view.Value.cast()).ok_or_else(Code::last)
}

/// # Safety
///
/// `base` is where a view begins that [`map_view`] gave, and nobody uses its pages any more; or where no view does.
pub(super) unsafe fn unmap_view(base: usize) -> Result<(), Code> {
    Code::injected("UnmapViewOfFile")?;
    let view = MEMORY_MAPPED_VIEW_ADDRESS { Value: ptr::with_exposed_provenance_mut(base) };
    // SAFETY: the caller's promise (MSDN, UnmapViewOfFile).
    ok(unsafe { UnmapViewOfFile(view) })
}

/// Hands what was written to the pages of views to the file system.
pub(super) fn flush_view(pages: PageRange) -> Result<(), Code> {
    Code::injected("FlushViewOfFile")?;
    // SAFETY: changes neither what pages hold nor what they grant (MSDN, FlushViewOfFile).
    ok(unsafe { FlushViewOfFile(address(pages), pages.len()) })
}

/// Waits until what was written to a file is on the device.
pub(super) fn flush_file(file: &Handle) -> Result<(), Code> {
    Code::injected("FlushFileBuffers")?;
    // SAFETY: the handle is open (MSDN, FlushFileBuffers).
    ok(unsafe { FlushFileBuffers(file.0) })
}

/// Changes what pages grant, all or none of them: they must be of one allocation and have memory.
///
/// # Safety
///
/// Nobody relies on the access that the pages grant now and will not grant then, nor on that they do not grant more.
#[inline]
pub(super) unsafe fn virtual_protect(pages: PageRange, native: u32) -> Result<(), Code> {
    Code::injected("VirtualProtect")?;
    let mut old = 0;
    // SAFETY: the caller's promise; `old` is writable (MSDN, VirtualProtect).
    ok(unsafe { VirtualProtect(address(pages), pages.len(), native, &raw mut old) })
}

/// Reads pages in and keeps them.
pub(super) fn virtual_lock(pages: PageRange) -> Result<(), Code> {
    Code::injected("VirtualLock")?;
    // SAFETY: changes neither what pages hold nor what they grant, but for the guard (PAGE_GUARD) that a page may have, which
    // is one against running into it by accident (MSDN, VirtualLock; "Creating Guard Pages").
    ok(unsafe { VirtualLock(address(pages), pages.len()) })
}

/// Keeps pages no longer.
pub(super) fn virtual_unlock(pages: PageRange) -> Result<(), Code> {
    Code::injected("VirtualUnlock")?;
    // SAFETY: changes neither what pages hold nor what they grant (MSDN, VirtualUnlock).
    ok(unsafe { VirtualUnlock(address(pages), pages.len()) })
}

/// Adds a vectored exception handler in front of all others.
///
/// # Safety
///
/// It may be called from now on, in any thread, at any instruction.
pub(super) unsafe fn add_vectored_handler(handler: PVECTORED_EXCEPTION_HANDLER) -> Result<(), Code> {
    Code::injected("AddVectoredExceptionHandler")?;
    // SAFETY: the caller's promise (MSDN, AddVectoredExceptionHandler).
    let added = unsafe { AddVectoredExceptionHandler(1, handler) };
    if added.is_null() { Err(Code::last()) } else { Ok(()) }
}

/// The least size of the working set, which bounds what the process may lock.
pub(super) fn minimum_working_set() -> Option<usize> {
    Code::injected("GetProcessWorkingSetSizeEx").ok()?;
    let (mut least, mut most, mut flags) = (0_usize, 0_usize, 0_u32);
    // SAFETY: the handle means this process, and the three numbers are writable (MSDN, GetProcessWorkingSetSizeEx).
    let done =
        unsafe { GetProcessWorkingSetSizeEx(raw(None), &raw mut least, &raw mut most, &raw mut flags) };
    (done != 0).then_some(least)
}
