//! What the machine and the process have: page sizes, capabilities, limits.

use crate::capabilities::{Abilities, Limits, Overcommit, QueryMethod};
use crate::error::Failure;
use crate::page::PageSizes;
use crate::range::{index, wide};
use core::ptr;
use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, QueryInformationJobObject,
};
use windows_sys::Win32::System::Memory::GetLargePageMinimum;
use windows_sys::Win32::System::SystemInformation::{
    GetSystemInfo, GlobalMemoryStatusEx, MEMORYSTATUSEX, SYSTEM_INFO,
};
use windows_sys::Win32::System::Threading::GetNumaHighestNodeNumber;

fn system_info() -> SYSTEM_INFO {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: `info` is writable (MSDN, GetSystemInfo).
    unsafe { GetSystemInfo(&raw mut info) };
    info
}

pub(crate) fn page_size() -> usize {
    index(system_info().dwPageSize)
}

pub(crate) fn granularity() -> usize {
    index(system_info().dwAllocationGranularity)
}

pub(crate) fn huge_page_sizes() -> Option<PageSizes> {
    // SAFETY: no precondition; 0 when the processor has no large pages (MSDN, GetLargePageMinimum).
    Some(PageSizes::EMPTY.with_bytes(wide(unsafe { GetLargePageMinimum() })))
}

/// The highest number of a NUMA node; they are numbered from 0 on.
pub(super) fn highest_node() -> Option<u32> {
    let mut highest = 0;
    // SAFETY: `highest` is writable (MSDN, GetNumaHighestNodeNumber).
    (unsafe { GetNumaHighestNodeNumber(&raw mut highest) } != 0).then_some(highest)
}

pub(crate) fn transparent_page_sizes() -> Option<PageSizes> {
    Some(PageSizes::EMPTY)
}

pub(crate) fn capabilities() -> Abilities {
    Abilities {
        query_method: QueryMethod::Native,
        other_processes: true,
        usage: true,
        maximum_protection: false,
        transparent_huge_pages: None,
        lock_on_fault: false,
        guard_advice: false,
        seal: false,
        protection_keys: false,
    }
}

pub(crate) fn limits() -> Result<Limits, Failure> {
    let mut limits = Limits { overcommit: Some(Overcommit::Never), ..Limits::default() };

    let length = u32::try_from(size_of::<MEMORYSTATUSEX>()).unwrap_or(0);
    let mut memory = MEMORYSTATUSEX { dwLength: length, ..MEMORYSTATUSEX::default() };
    // SAFETY: `memory` is writable and names its length (MSDN, GlobalMemoryStatusEx).
    if unsafe { GlobalMemoryStatusEx(&raw mut memory) } != 0 {
        limits.address_space_limit = Some(memory.ullTotalVirtual);
        limits.address_space = Some(memory.ullTotalVirtual.saturating_sub(memory.ullAvailVirtual));
        limits.commit_limit = Some(memory.ullTotalPageFile);
        limits.committed = Some(memory.ullTotalPageFile.saturating_sub(memory.ullAvailPageFile));
    }

    limits.lock_limit = super::sys::minimum_working_set().map(wide);

    let mut job = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    let size = u32::try_from(size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>()).unwrap_or(0);
    // SAFETY: a null job means that of this process; `job` is writable for `size` bytes; no length is wanted back
    // (MSDN, QueryInformationJobObject).
    let asked = unsafe {
        QueryInformationJobObject(
            ptr::null_mut(),
            JobObjectExtendedLimitInformation,
            (&raw mut job).cast(),
            size,
            ptr::null_mut(),
        )
    };
    if asked != 0 {
        let set = job.BasicLimitInformation.LimitFlags;
        let of_job = (set & JOB_OBJECT_LIMIT_JOB_MEMORY != 0).then_some(wide(job.JobMemoryLimit));
        let of_process = (set & JOB_OBJECT_LIMIT_PROCESS_MEMORY != 0).then_some(wide(job.ProcessMemoryLimit));
        limits.group_memory_limit = [of_job, of_process].into_iter().flatten().min();
    }
    Ok(limits)
}
