//! What the machine and the process have: page sizes, capabilities, limits.

use super::sys;
use crate::capabilities::{Abilities, Limits, QueryMethod};
use crate::error::Failure;
use crate::page::PageSizes;
use core::mem::offset_of;
use mach2::task_info::task_vm_info;
use mach2::vm_page_size::vm_page_size;

/// 4 KiB on Intel and for programs for it, 16 KiB on Apple's own processors.
pub(crate) fn page_size() -> usize {
    // SAFETY: a number that the system's library writes before `main`, and never again (mach_init.c: only if it is 0).
    unsafe { vm_page_size }
}

pub(crate) fn granularity() -> usize {
    page_size()
}

/// 2 MiB, by `VM_FLAGS_SUPERPAGE_SIZE_2MB`, on Intel's processors alone, and not for programs that are translated for another
/// processor (Rosetta).
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn huge_page_sizes() -> Option<PageSizes> {
    #[cfg(target_arch = "x86_64")]
    if sys::system_number(c"sysctl.proc_translated").unwrap_or(0) == 0 {
        return Some(PageSizes::EMPTY.with_bytes(2 << 20));
    }
    Some(PageSizes::EMPTY)
}

#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn transparent_page_sizes() -> Option<PageSizes> {
    Some(PageSizes::EMPTY)
}

pub(crate) fn capabilities() -> Abilities {
    Abilities {
        query_method: QueryMethod::Native,
        other_processes: cfg!(target_os = "macos"),
        usage: true,
        maximum_protection: true,
        transparent_huge_pages: None,
        lock_on_fault: false,
        guard_advice: false,
        seal: false,
        protection_keys: false,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn limits() -> Result<Limits, Failure> {
    let mut limits = Limits {
        lock_limit: sys::soft_limit(libc::RLIMIT_MEMLOCK),
        address_space_limit: sys::soft_limit(libc::RLIMIT_AS),
        ..Limits::default()
    };
    let Ok((info, known)) = sys::vm_info(None) else { return Ok(limits) };
    limits.address_space = Some(info.virtual_size);
    if known >= offset_of!(task_vm_info, ledger_phys_footprint_peak) {
        let space = info.max_address.saturating_sub(info.min_address);
        limits.address_space_limit = Some(limits.address_space_limit.map_or(space, |limit| limit.min(space)));
    }
    // What a process may use before the system ends it, as phones have it. 0: there is no such limit.
    if known >= offset_of!(task_vm_info, decompressions) && info.limit_bytes_remaining > 0 {
        limits.group_memory = Some(info.phys_footprint);
        limits.group_memory_limit = Some(info.phys_footprint.saturating_add(info.limit_bytes_remaining));
    }
    Ok(limits)
}
