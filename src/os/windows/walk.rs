//! Questions about one page, and walks over all regions.

use super::process::{Target, name_bytes};
use super::sys::{self, Code, Handle, LOCKED, Of, VALID};
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::range::{PageRange, wide};
use crate::region::{Backing, BackingKind, Detail, Region, Usage};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use windows_sys::Win32::System::Memory::{
    MEM_FREE, MEM_IMAGE, MEM_MAPPED, MEM_PRIVATE, MEM_RESERVE, MEMORY_BASIC_INFORMATION, PAGE_EXECUTE,
    PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_GUARD, PAGE_READONLY,
    PAGE_READWRITE, PAGE_WRITECOPY,
};
use windows_sys::Win32::System::ProcessStatus::PSAPI_WORKING_SET_EX_INFORMATION;

/// What `VirtualQuery` says, in our words; `None` for free address space.
fn region_from(info: &MEMORY_BASIC_INFORMATION) -> Option<Region> {
    if info.State == MEM_FREE {
        return None;
    }
    let reserved = info.State == MEM_RESERVE;
    // Of reserved pages `Protect` is undefined.
    let protection = if reserved { Protection::NONE } else { protection_from(info.Protect) };
    Some(Region {
        base: info.BaseAddress.addr(),
        len: info.RegionSize,
        protection,
        max_protection: protection,
        allocation_base: Some(info.AllocationBase.addr()),
        shared: info.Type != MEM_PRIVATE,
        reserved,
        guarded: !reserved && info.Protect & PAGE_GUARD != 0,
    })
}

/// One of eight values in the low byte; what else is set (guard, no cache, write-combine, what is yet to come) does not
/// change the access.
fn protection_from(native: u32) -> Protection {
    match native & 0xff {
        PAGE_READONLY => Protection::READ,
        PAGE_READWRITE | PAGE_WRITECOPY => Protection::READ_WRITE,
        PAGE_EXECUTE => Protection::EXECUTE,
        PAGE_EXECUTE_READ => Protection::READ_EXECUTE,
        PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY => Protection::READ_WRITE_EXECUTE,
        _ => Protection::NONE,
    }
}

fn failure(process: Of<'_>, code: Code) -> Failure {
    if process.is_some_and(Handle::has_ended) {
        Failure::new(ErrorKind::ProcessEnded)
    } else {
        code.failure()
    }
}

/// The whole region that holds `page`, with the native answer.
///
/// `VirtualQuery` counts from the page it is asked about; the region may begin below, though never below its allocation.
/// Of a page below it tells where that page's region ends: in the same place, if it is the same region. So the start is
/// found by steps of doubling length downward and a binary search: a number of calls that grows with the logarithm of the
/// region's pages.
fn native(process: Of<'_>, page: PageRange) -> Result<Option<(MEMORY_BASIC_INFORMATION, Region)>, Failure> {
    let ask = |address| sys::virtual_query(process, address).map_err(|code| failure(process, code));
    let Some(info) = ask(page.first())? else { return ended_or(process, None) };
    let Some(mut region) = region_from(&info) else { return ended_or(process, None) };
    let allocation = info.AllocationBase.addr();
    let end = region.as_range().end;
    let same_region = |address| -> Result<bool, Failure> {
        let below = ask(address)?;
        Ok(below
            .and_then(|info| region_from(&info))
            .is_some_and(|below| below.allocation_base == Some(allocation) && below.as_range().end == end))
    };
    let page_size = crate::page::size();
    // The lowest address known to be in the region, and the highest known to be below it, if any is.
    let (mut inside, mut outside) = (region.base, None);
    let mut step = page_size;
    while inside > allocation && outside.is_none() {
        let probe = inside.saturating_sub(step).max(allocation);
        if same_region(probe)? {
            inside = probe;
            step = step.saturating_mul(2);
        } else {
            outside = Some(probe);
        }
    }
    if let Some(mut outside) = outside {
        // Both are multiples of the page size.
        while let Some(pages) = inside
            .checked_sub(outside)
            .and_then(|bytes| bytes.checked_div(page_size))
            .filter(|&pages| pages > 1)
        {
            let probe = outside.saturating_add((pages / 2).saturating_mul(page_size));
            if same_region(probe)? {
                inside = probe;
            } else {
                outside = probe;
            }
        }
    }
    region.len = end.saturating_sub(inside);
    region.base = inside;
    Ok(Some((info, region)))
}

/// "Nothing" as the answer about a process that has ended is an error.
fn ended_or<T>(process: Of<'_>, nothing: Option<T>) -> Result<Option<T>, Failure> {
    if process.is_some_and(Handle::has_ended) {
        return Err(Failure::new(ErrorKind::ProcessEnded));
    }
    Ok(nothing)
}

/// The region that holds `page`. Does not allocate.
#[inline]
pub(crate) fn query(target: &Target, page: PageRange) -> Result<Option<Region>, Failure> {
    Ok(native(target.handle(), page)?.map(|(_, region)| region))
}

/// What stands behind the region that holds `page`.
pub(crate) fn backing(target: &Target, page: PageRange) -> Result<Option<Backing<'static>>, Failure> {
    let Some((info, _)) = native(target.handle(), page)? else { return Ok(None) };
    let name = name_of(target.handle(), &info);
    Ok(Some(backing_from(info.Type, Cow::Owned(name))))
}

fn name_of(process: Of<'_>, info: &MEMORY_BASIC_INFORMATION) -> Vec<u8> {
    if info.Type != MEM_IMAGE && info.Type != MEM_MAPPED {
        return Vec::new();
    }
    sys::mapped_file_name(process, info.AllocationBase.addr())
        .map(|name| name_bytes(&name))
        .unwrap_or_default()
}

fn backing_from(native_type: u32, name: Cow<'_, [u8]>) -> Backing<'_> {
    let kind = match native_type {
        MEM_IMAGE => BackingKind::Image,
        MEM_MAPPED if name.is_empty() => BackingKind::SharedMemory,
        MEM_MAPPED => BackingKind::File,
        _ => BackingKind::Anonymous,
    };
    Backing { kind, name, ..Backing::ANONYMOUS }
}

/// What the region uses that holds `page`.
pub(crate) fn usage(target: &Target, page: PageRange) -> Result<Option<Usage>, Failure> {
    match native(target.handle(), page)? {
        Some((_, region)) => usage_of(target.handle(), &region).map(Some),
        None => Ok(None),
    }
}

fn usage_of(process: Of<'_>, region: &Region) -> Result<Usage, Failure> {
    const BATCH: usize = 1024;
    const SHARED: usize = 1 << 15;
    const LARGE: usize = 1 << 23;

    let page = crate::page::size();
    let page_bytes = wide(page);
    let mut usage = Usage { size: wide(region.len), ..Usage::default() };
    let (mut shared, mut private, mut huge, mut locked) = (0_u64, 0_u64, 0_u64, 0_u64);
    // Pages that n processes use, by n; the counter of the system ends at 7.
    let mut sharers = [0_u64; 8];
    let mut address = region.base;
    let mut left = if region.is_committed() { region.len.checked_div(page).unwrap_or(0) } else { 0 };
    let mut batch: Vec<PSAPI_WORKING_SET_EX_INFORMATION> = Vec::new();
    while left > 0 {
        let count = left.min(BATCH);
        batch.clear();
        for _ in 0..count {
            batch.push(PSAPI_WORKING_SET_EX_INFORMATION {
                VirtualAddress: core::ptr::without_provenance_mut(address),
                ..PSAPI_WORKING_SET_EX_INFORMATION::default()
            });
            address = address.saturating_add(page);
        }
        sys::working_set(process, &mut batch).map_err(|code| failure(process, code))?;
        for entry in &batch {
            // SAFETY: every bit pattern of the union is a valid number; the call has written it.
            let flags = unsafe { entry.VirtualAttributes.Flags };
            if flags & VALID == 0 {
                continue;
            }
            usage.resident = usage.resident.saturating_add(page_bytes);
            let sharing = (flags >> 1 & 7).max(1);
            if let Some(pages) = sharers.get_mut(sharing) {
                *pages = pages.saturating_add(1);
            }
            let part = if flags & SHARED != 0 { &mut shared } else { &mut private };
            *part = part.saturating_add(page_bytes);
            if flags & LARGE != 0 {
                huge = huge.saturating_add(page_bytes);
            }
            if flags & LOCKED != 0 {
                locked = locked.saturating_add(page_bytes);
            }
        }
        left = left.saturating_sub(count);
    }
    let mut proportional = 0_u64;
    for (divisor, pages) in (0_u64..).zip(sharers).skip(1) {
        let bytes = pages.saturating_mul(page_bytes).checked_div(divisor).unwrap_or(0);
        proportional = proportional.saturating_add(bytes);
    }
    usage.proportional = Some(proportional);
    (usage.shared, usage.private) = (Some(shared), Some(private));
    (usage.huge, usage.locked) = (Some(huge), Some(locked));
    Ok(usage)
}

/// A walk over the regions that overlap a range.
pub(crate) struct Walk {
    process: Option<Handle>,
    detail: Detail,
    last: usize,
    /// Where to ask next; `None` at the end.
    next: Option<Start>,
    native_type: u32,
    /// The name of the file behind the allocation stepped to last, and that allocation.
    name: Vec<u8>,
    named: Option<usize>,
    usage: Usage,
}

enum Start {
    /// The first page of the range, which may lie inside a region.
    Inside(PageRange),
    At(usize),
}

impl Walk {
    pub(crate) fn new(target: &Target, range: PageRange, detail: Detail) -> Result<Self, Failure> {
        Ok(Self {
            process: target.handle().map(Handle::duplicate).transpose()?,
            detail,
            last: range.last(),
            next: Some(Start::Inside(PageRange::containing(range.first()))),
            native_type: MEM_PRIVATE,
            name: Vec::new(),
            named: None,
            usage: Usage::default(),
        })
    }

    pub(crate) fn step(&mut self) -> Result<Option<Region>, Failure> {
        let process = self.process.as_ref();
        while let Some(start) = self.next.take() {
            let cursor = match start {
                Start::Inside(page) => {
                    if let Some((info, region)) = native(process, page)? {
                        self.next = region.last().checked_add(1).map(Start::At);
                        return self.stepped_to(&info, region).map(Some);
                    }
                    page.first()
                }
                Start::At(cursor) => cursor,
            };
            if cursor > self.last {
                break;
            }
            let asked = sys::virtual_query(process, cursor).map_err(|code| failure(process, code))?;
            let Some(info) = asked else { break };
            let end = info.BaseAddress.addr().checked_add(info.RegionSize);
            // Each step goes upward; were it not so, the walk would end here rather than never.
            self.next = end.filter(|&end| end > cursor).map(Start::At);
            if let Some(region) = region_from(&info) {
                return self.stepped_to(&info, region).map(Some);
            }
        }
        self.next = None;
        ended_or(process, None)
    }

    fn stepped_to(&mut self, info: &MEMORY_BASIC_INFORMATION, region: Region) -> Result<Region, Failure> {
        if self.detail >= Detail::Backing {
            self.native_type = info.Type;
            if self.named.is_none() || self.named != region.allocation_base {
                self.name = name_of(self.process.as_ref(), info);
                self.named = region.allocation_base;
            }
        }
        if self.detail == Detail::Usage {
            self.usage = usage_of(self.process.as_ref(), &region)?;
        }
        Ok(region)
    }

    pub(crate) fn backing(&self) -> Backing<'_> {
        backing_from(self.native_type, Cow::Borrowed(&self.name))
    }

    pub(crate) fn usage(&self) -> Option<&Usage> {
        (self.detail == Detail::Usage).then_some(&self.usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap: unknown native bits are no panic; `PAGE_GUARD` and `PAGE_NOCACHE` do not hide the access.
    #[test]
    fn every_native_protection_has_an_answer() {
        for native in 0..=0xffff_u32 {
            let _any = protection_from(native);
        }
        assert_eq!(protection_from(0), Protection::NONE);
        assert_eq!(protection_from(PAGE_READWRITE | PAGE_GUARD), Protection::READ_WRITE);
        assert_eq!(protection_from(PAGE_EXECUTE_READ | 0x4000_0200), Protection::READ_EXECUTE);
        assert_eq!(protection_from(PAGE_WRITECOPY), Protection::READ_WRITE);
    }
}
