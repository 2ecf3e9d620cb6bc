//! Questions about one page, and walks over all regions.

use super::offset::offset_by_a_page;
use super::process::Target;
use super::sys::{self, Found, Of};
use super::tags;
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::range::{PageRange, wide};
use crate::region::{Backing, BackingKind, Detail, Device, Region, Usage};
use alloc::borrow::Cow;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{c_uchar, c_uint};
use core::ops::Range;
use mach2::vm_inherit::{VM_INHERIT_SHARE, vm_inherit_t};
use mach2::vm_prot::{VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE, vm_prot_t};
use mach2::vm_region::{
    SM_COW, SM_EMPTY, SM_LARGE_PAGE, SM_PRIVATE, SM_PRIVATE_ALIASED, SM_SHARED, SM_SHARED_ALIASED,
    SM_TRUESHARED, vm_region_submap_info_64, vm_region_submap_short_info_64,
};

/// The form of the answer for which the kernel looks at no pages.
type Short = vm_region_submap_short_info_64;
/// The form for which it looks at each page of the region, whether there is memory or not.
type Full = vm_region_submap_info_64;

/// The tag of a region that is none: behind the last one, the kernel adds it for programs that have asked it to count memory
/// in another way (`task_self_region_footprint`).
const FOOTPRINT: c_uint = c_uint::MAX;

/// A region, with what the same answer says about the memory behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    region: Region,
    tag: c_uint,
    /// It belongs to a map within the map: the system's libraries, which all processes share, and the pages of the kernel.
    nested: bool,
    /// Between it and the file, there is memory for pages that are written to: so it is from the beginning with a private
    /// mapping (`vm_object_copy_delayed`).
    shadowed: bool,
    /// Its memory comes from a pager other than that for swapping: a file, or a device.
    paged: bool,
}

fn seen(found: &Found<Short>) -> Option<Seen> {
    // The fields of a packed structure can be read, but not borrowed.
    let info = found.info;
    if info.user_tag == FOOTPRINT {
        return None;
    }
    let region = Region {
        base: usize::try_from(found.address).ok()?,
        len: usize::try_from(found.size).ok()?,
        protection: protection_from(info.protection),
        max_protection: protection_from(info.max_protection),
        allocation_base: None,
        shared: is_shared(info.share_mode, info.inheritance),
        reserved: false,
        guarded: false,
    };
    Some(Seen {
        region,
        tag: info.user_tag,
        nested: found.depth > 0,
        shadowed: info.shadow_depth > 0,
        paged: info.external_pager != 0,
    })
}

/// What else is set (the marks of protected and of copied memory) does not change the access.
fn protection_from(native: vm_prot_t) -> Protection {
    let mut protection = Protection::NONE;
    for (bit, right) in [
        (VM_PROT_READ, Protection::READ),
        (VM_PROT_WRITE, Protection::WRITE),
        (VM_PROT_EXECUTE, Protection::EXECUTE),
    ] {
        if native & bit != 0 {
            protection |= right;
        }
    }
    protection
}

/// Memory that was mapped to be shared is inherited as such (`mmap` with `MAP_SHARED`), also while there is nobody to share it
/// with. Memory that is shared now has a mode that says so. Copy-on-write is not sharing.
fn is_shared(mode: c_uchar, inheritance: vm_inherit_t) -> bool {
    matches!(mode, SM_SHARED | SM_TRUESHARED | SM_SHARED_ALIASED) || inheritance == VM_INHERIT_SHARE
}

/// "Nothing" as the answer about a process that has ended is an error: what lives has some memory.
fn ended_or<T>(process: Of<'_>, nothing: Option<T>) -> Result<Option<T>, Failure> {
    if process.is_some() && sys::region::<Short>(process, 0)?.is_none() {
        return Err(Failure::new(ErrorKind::ProcessEnded));
    }
    Ok(nothing)
}

fn at(target: &Target, page: PageRange) -> Result<Option<Seen>, Failure> {
    let found = sys::region::<Short>(target.port(), page.first())?;
    match found.and_then(|found| seen(&found)) {
        Some(seen) => Ok(Some(seen).filter(|seen| seen.region.contains(page.first()))),
        None => ended_or(target.port(), None),
    }
}

/// The region that holds `page`. Does not allocate.
#[inline]
pub(crate) fn query(target: &Target, page: PageRange) -> Result<Option<Region>, Failure> {
    Ok(at(target, page)?.map(|seen| seen.region))
}

/// What stands behind the region that holds `page`.
pub(crate) fn backing(target: &Target, page: PageRange) -> Result<Option<Backing<'static>>, Failure> {
    let Some(seen) = at(target, page)? else { return Ok(None) };
    let mut files = Files::default();
    files.find(target, &seen)?;
    Ok(Some(files.backing(&seen).into_owned()))
}

/// What the region uses that holds `page`.
pub(crate) fn usage(target: &Target, page: PageRange) -> Result<Option<Usage>, Failure> {
    match at(target, page)? {
        Some(seen) => usage_of(target, &seen.region).map(Some),
        None => Ok(None),
    }
}

/// What a region uses. It may have changed since it was seen: then the figures are of what is there now.
fn usage_of(target: &Target, region: &Region) -> Result<Usage, Failure> {
    let found = sys::region::<Full>(target.port(), region.base)?;
    let info = match found {
        Some(found) if found.address == wide(region.base) => found.info,
        Some(_) => Full { share_mode: SM_EMPTY, ..Full::default() },
        None => ended_or(target.port(), Some(Full { share_mode: SM_EMPTY, ..Full::default() }))?
            .unwrap_or_default(),
    };
    Ok(usage_from(&info, wide(region.len), target.counted_page()))
}

fn usage_from(info: &Full, size: u64, page: u64) -> Usage {
    let info = *info;
    let bytes = |pages: c_uint| u64::from(pages).saturating_mul(page);
    let resident = bytes(info.pages_resident);
    let private = match info.share_mode {
        SM_PRIVATE | SM_PRIVATE_ALIASED | SM_LARGE_PAGE | SM_EMPTY => Some(resident),
        SM_SHARED | SM_TRUESHARED | SM_SHARED_ALIASED => Some(0),
        // The copies that were made for this process; the rest is what they were copied from.
        SM_COW => Some(bytes(info.pages_shared_now_private).min(resident)),
        _ => None,
    };
    let all_if = |condition: bool| Some(if condition { resident } else { 0 });
    Usage {
        size,
        resident,
        private,
        shared: private.map(|private| resident.saturating_sub(private)),
        dirty: Some(bytes(info.pages_dirtied)),
        swapped: Some(bytes(info.pages_swapped_out)),
        huge: all_if(info.share_mode == SM_LARGE_PAGE),
        locked: all_if(info.user_wired_count > 0),
        ..Usage::default()
    }
}

/// The files behind a process's regions, asked for in ascending order.
#[derive(Default)]
struct Files {
    /// Where there is no file: the system is asked for the next one, and says where that is.
    without: Range<usize>,
    /// From where on it said that there is none. That may mean only that it could not get at the next one; so memory that
    /// comes from a pager is asked about all the same.
    none_from: Option<usize>,
    /// The file behind the region asked about last, if there is one, and its name.
    file: Option<File>,
    name: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct File {
    device: libc::dev_t,
    inode: libc::ino_t,
    offset: u64,
    deleted: bool,
}

impl Files {
    /// Finds out about the file behind a region.
    fn find(&mut self, target: &Target, seen: &Seen) -> Result<(), Failure> {
        let base = seen.region.base;
        let before = self.file.take();
        // The system does not tell of the files behind a map within the map.
        if seen.nested || self.rules_out(seen) {
            return Ok(());
        }
        let answer = sys::next_file(target.id(), base);
        if target.port().is_some() {
            // It was asked by its number, which is free for another process once this one has ended: then neither an
            // answer nor an error is about this one.
            ended_or(target.port(), Some(()))?;
        }
        let Some(answer) = answer? else {
            self.none_from.get_or_insert(base);
            return Ok(());
        };
        if answer.region.address > wide(base) {
            self.without = base..usize::try_from(answer.region.address).unwrap_or(usize::MAX);
            return Ok(());
        }
        // The region that holds `base`. It begins below if it grew meanwhile.
        let inside = wide(base).saturating_sub(answer.region.address);
        if inside >= answer.region.size {
            return Ok(());
        }
        let answered = answer.file;
        let device = libc::dev_t::from_ne_bytes(answered.device.to_ne_bytes());
        let inode = answered.inode;
        let name = answered.path.split(|&byte| byte == 0).next().unwrap_or_default();
        // Neighbours mostly belong to the same file.
        let same = before.filter(|file| (file.device, file.inode) == (device, inode) && self.name == name);
        if same.is_none() {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
        let deleted = match same {
            Some(file) => file.deleted,
            None => answered.links == 0 || self.name_is_of_another(device, inode),
        };
        let offset = if seen.shadowed {
            // What the region counts its offset from may be the memory for written pages (`vm_object_shadow`).
            let page = target.counted_page();
            let offset_of = |address| sys::offset_in_file(target.port(), address);
            offset_by_a_page(wide(base), wide(seen.region.len), page, offset_of).unwrap_or(Backing::UNTOLD)
        } else {
            answer.region.offset.saturating_add(inside)
        };
        self.file = Some(File { device, inode, offset, deleted });
        Ok(())
    }

    /// Whether it is known that there is no file behind a region.
    fn rules_out(&self, seen: &Seen) -> bool {
        let base = seen.region.base;
        self.without.contains(&base) || (!seen.paged && self.none_from.is_some_and(|from| from <= base))
    }

    /// Whether there is no file of that name any more, or it is another one. What cannot be found out is assumed to be there.
    fn name_is_of_another(&self, device: libc::dev_t, inode: libc::ino_t) -> bool {
        let Ok(path) = CString::new(self.name.as_slice()) else { return false };
        if self.name.is_empty() {
            return false;
        }
        match sys::file_status(&path) {
            Ok(there) => there != (device, inode),
            Err(code) => matches!(code, libc::ENOENT | libc::ENOTDIR),
        }
    }

    /// What stands behind the region asked about last.
    fn backing(&self, seen: &Seen) -> Backing<'_> {
        let Some(file) = &self.file else {
            let (kind, name) = without_file(seen);
            return Backing { kind, name: Cow::Borrowed(name.as_bytes()), ..Backing::ANONYMOUS };
        };
        Backing {
            kind: BackingKind::File,
            name: Cow::Borrowed(&self.name),
            offset: file.offset,
            device: Some(Device {
                major: u32::from_ne_bytes(libc::major(file.device).to_ne_bytes()),
                minor: u32::from_ne_bytes(libc::minor(file.device).to_ne_bytes()),
            }),
            inode: file.inode,
            deleted: file.deleted,
        }
    }
}

/// Kind and name of memory behind which no file is told.
fn without_file(seen: &Seen) -> (BackingKind, &'static str) {
    let name = tags::name(seen.tag);
    if seen.nested {
        return (BackingKind::Kernel, name.unwrap_or("[submap]"));
    }
    let kind = tags::kind(seen.tag).unwrap_or(if seen.region.shared {
        BackingKind::SharedMemory
    } else {
        BackingKind::Anonymous
    });
    (kind, name.unwrap_or_default())
}

/// A walk over the regions that overlap a range.
pub(crate) struct Walk {
    target: Target,
    detail: Detail,
    last: usize,
    /// Where to ask next; `None` at the end.
    next: Option<usize>,
    /// Of the region given last, with [`Detail::Backing`] and more.
    seen: Option<Seen>,
    files: Files,
    usage: Usage,
}

impl Walk {
    #[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
    pub(crate) fn new(target: &Target, range: PageRange, detail: Detail) -> Result<Self, Failure> {
        Ok(Self {
            target: target.clone(),
            detail,
            last: range.last(),
            next: Some(range.first()),
            seen: None,
            files: Files::default(),
            usage: Usage::default(),
        })
    }

    #[inline]
    pub(crate) fn step(&mut self) -> Result<Option<Region>, Failure> {
        let Some(cursor) = self.next.take().filter(|&cursor| cursor <= self.last) else { return Ok(None) };
        let found = sys::region::<Short>(self.target.port(), cursor)?;
        let Some(seen) = found.and_then(|found| seen(&found)) else {
            return ended_or(self.target.port(), None);
        };
        // Each step goes upward; were it not so, the walk would end here rather than never.
        self.next = seen.region.last().checked_add(1).filter(|&next| next > cursor);
        if self.detail >= Detail::Backing {
            self.files.find(&self.target, &seen)?;
            self.seen = Some(seen);
        }
        if self.detail == Detail::Usage {
            self.usage = usage_of(&self.target, &seen.region)?;
        }
        Ok(Some(seen.region))
    }

    /// What stands behind the region stepped to. Only of a walk with that detail.
    pub(crate) fn backing(&self) -> Backing<'_> {
        self.seen.as_ref().map_or(Backing::ANONYMOUS, |seen| self.files.backing(seen))
    }

    /// What the region stepped to uses. Only of a walk with that detail.
    pub(crate) fn usage(&self) -> Option<&Usage> {
        (self.detail == Detail::Usage).then_some(&self.usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::inject;
    use mach2::kern_return::{KERN_PROTECTION_FAILURE, KERN_RESOURCE_SHORTAGE};
    use mach2::vm_inherit::{VM_INHERIT_COPY, VM_INHERIT_NONE};

    /// Trap: unknown native bits are no panic, and do not hide the access.
    #[test]
    fn every_native_protection_has_an_answer() {
        for native in 0..=0xffff {
            let bits = usize::try_from(native & 7).unwrap();
            assert_eq!(protection_from(native), Protection::from_bits_truncate(bits));
        }
        assert_eq!(protection_from(-1), Protection::READ_WRITE_EXECUTE);
    }

    #[test]
    fn sharing_is_told_by_the_mode_or_by_what_a_child_would_inherit() {
        for mode in 0..=c_uchar::MAX {
            let expected = matches!(mode, 4 | 5 | 7);
            assert_eq!(is_shared(mode, VM_INHERIT_COPY), expected, "{mode}");
            assert_eq!(is_shared(mode, VM_INHERIT_NONE), expected, "{mode}");
            assert!(is_shared(mode, VM_INHERIT_SHARE));
        }
    }

    fn shown(info: Short, depth: u32) -> Option<Seen> {
        seen(&Found { address: 0x10_0000, size: 0x4000, depth, info })
    }

    #[test]
    fn an_answer_is_understood() {
        let info = Short {
            protection: 1,
            max_protection: 3,
            inheritance: VM_INHERIT_COPY,
            share_mode: SM_COW,
            shadow_depth: 1,
            user_tag: 2,
            ..Short::default()
        };
        let seen = shown(info, 0).unwrap();
        assert_eq!(seen.region.as_range(), 0x10_0000..0x10_4000);
        assert_eq!(seen.region.protection(), Protection::READ);
        assert_eq!(seen.region.max_protection(), Protection::READ_WRITE);
        assert!(!seen.region.is_shared() && seen.region.is_committed() && !seen.region.is_guarded());
        assert!(seen.shadowed && !seen.nested && !seen.paged);
        assert_eq!(without_file(&seen), (BackingKind::Heap, "MALLOC_SMALL"));
        assert_eq!(shown(Short { user_tag: FOOTPRINT, ..info }, 0), None);
    }

    #[test]
    fn memory_without_a_file_is_what_its_tag_and_its_sharing_say() {
        let of = |user_tag, share_mode, depth| {
            let info = Short { user_tag, share_mode, inheritance: VM_INHERIT_COPY, ..Short::default() };
            without_file(&shown(info, depth).unwrap())
        };
        assert_eq!(of(0, SM_PRIVATE, 0), (BackingKind::Anonymous, ""));
        assert_eq!(of(0, SM_TRUESHARED, 0), (BackingKind::SharedMemory, ""));
        assert_eq!(of(30, SM_COW, 0), (BackingKind::Stack, "STACK"));
        assert_eq!(of(60, SM_PRIVATE, 0), (BackingKind::Anonymous, "DYLD"));
        assert_eq!(of(88, SM_SHARED, 0), (BackingKind::SharedMemory, "IOSURFACE"));
        assert_eq!(of(0, SM_COW, 1), (BackingKind::Kernel, "[submap]"));
    }

    #[test]
    fn usage_is_divided_by_the_mode_of_sharing() {
        let info = Full {
            pages_resident: 5,
            pages_shared_now_private: 2,
            pages_dirtied: 3,
            pages_swapped_out: 7,
            share_mode: SM_COW,
            ..Full::default()
        };
        let usage = usage_from(&info, 1 << 20, 4096);
        assert_eq!((usage.size(), usage.resident()), (1 << 20, 5 * 4096));
        assert_eq!((usage.private(), usage.shared()), (Some(2 * 4096), Some(3 * 4096)));
        assert_eq!((usage.dirty(), usage.swapped()), (Some(3 * 4096), Some(7 * 4096)));
        assert_eq!((usage.huge(), usage.locked(), usage.proportional()), (Some(0), Some(0), None));
        let of = |share_mode| usage_from(&Full { share_mode, ..info }, 1 << 20, 4096);
        assert_eq!((of(SM_PRIVATE).private(), of(SM_PRIVATE).shared()), (Some(5 * 4096), Some(0)));
        assert_eq!((of(SM_SHARED).private(), of(SM_SHARED).shared()), (Some(0), Some(5 * 4096)));
        assert_eq!((of(99).private(), of(99).shared()), (None, None));
        assert_eq!(of(SM_LARGE_PAGE).huge(), Some(5 * 4096));
        let wired = Full { user_wired_count: 1, ..info };
        assert_eq!(usage_from(&wired, 1 << 20, 4096).locked(), Some(5 * 4096));
    }

    /// Trap: a file that the kernel cannot get at any more gives the same code as the end of all files.
    #[test]
    fn files_are_asked_for_behind_one_that_is_gone() {
        let at = |address, external_pager| {
            let info = Short { external_pager, ..Short::default() };
            seen(&Found { address, size: 0x4000, depth: 0, info }).unwrap()
        };
        let files = Files { without: 0x1000..0x2000, none_from: Some(0x10_0000), ..Files::default() };
        assert!(files.rules_out(&at(0x1000, 1)) && files.rules_out(&at(0x1000, 0)));
        assert!(!files.rules_out(&at(0x2000, 1)) && !files.rules_out(&at(0x2000, 0)));
        assert!(files.rules_out(&at(0x10_0000, 0)) && !files.rules_out(&at(0x10_0000, 1)));
        assert!(!Files::default().rules_out(&at(0x10_0000, 0)));
    }

    #[test]
    fn a_private_file_mapping_all_written_to_tells_no_offset() {
        let seen = shown(Short::default(), 0).unwrap();
        let file = File { device: 0x0100_0004, inode: 7, offset: 0x4000, deleted: true };
        let mut files = Files { file: Some(file), name: b"/a\xff".to_vec(), ..Files::default() };
        let backing = files.backing(&seen);
        assert_eq!((backing.kind(), backing.name()), (BackingKind::File, &b"/a\xff"[..]));
        assert_eq!((backing.offset(), backing.inode()), (Some(0x4000), Some(7)));
        assert_eq!(backing.device(), Some(Device { major: 1, minor: 4 }));
        assert!(backing.is_deleted());
        files.file = Some(File { offset: Backing::UNTOLD, ..file });
        let backing = files.backing(&seen);
        assert_eq!((backing.offset(), backing.inode()), (None, Some(7)));
    }

    /// Every call that fails gives an error that carries its code, and the next question is answered again.
    #[test]
    fn injected_failures_are_errors_and_leave_no_damage() {
        let local = 1_u8;
        let page = PageRange::containing((&raw const local).addr());
        for (code, kind) in [
            (KERN_RESOURCE_SHORTAGE, ErrorKind::Exhausted),
            (KERN_PROTECTION_FAILURE, ErrorKind::NotPermitted),
        ] {
            let ask = || query(&Target::CURRENT, page);
            let (failed, reached) = inject::fail_nth(Some("mach_vm_region_recurse"), 0, code, ask);
            assert!(reached);
            assert_eq!(failed.unwrap_err().kind(), kind);
            assert!(query(&Target::CURRENT, page).unwrap().is_some());
        }
        let ask = || backing(&Target::CURRENT, page);
        let (failed, reached) = inject::fail_nth(Some("proc_pidinfo"), 0, libc::EPERM, ask);
        assert!(reached);
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::NotPermitted);
    }
}
