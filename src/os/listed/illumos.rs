//! The lists of illumos: `prmap_t` and `prxmap_t` of `<sys/procfs.h>`, one behind the other (proc(5), `map`,
//! `rmap` and `xmap`).

use super::fields::{protection, span, text, u32_at, u64_at, word_at};
use super::walk::Entry;
use crate::range::wide;
use crate::region::{Backing, BackingKind, Device, Region, Usage};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ffi::{c_int, c_ulong};
use core::mem::offset_of;

/// `prmap_t`, for its layout alone.
#[repr(C)]
#[allow(dead_code, reason = "fields are read by their offsets")]
pub(crate) struct Map {
    vaddr: usize,
    size: usize,
    mapname: [u8; 64],
    offset: i64,
    mflags: c_int,
    pagesize: c_int,
    shmid: c_int,
    filler: [c_int; 1],
}

/// `prxmap_t`, for its layout alone: begins as `prmap_t` does.
#[repr(C)]
#[allow(dead_code, reason = "fields are read by their offsets")]
pub(crate) struct ExtendedMap {
    vaddr: usize,
    size: usize,
    mapname: [u8; 64],
    offset: i64,
    mflags: c_int,
    pagesize: c_int,
    shmid: c_int,
    dev: c_ulong,
    ino: u64,
    rss: usize,
    anon: usize,
    locked: usize,
    pad: usize,
    hatpagesize: u64,
    filler: [c_ulong; if cfg!(target_pointer_width = "64") { 7 } else { 6 }],
}

// As the header has them for 64-bit programs.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(
    size_of::<Map>() == 104
        && size_of::<ExtendedMap>() == 216
        && offset_of!(ExtendedMap, dev) == 104
        && offset_of!(ExtendedMap, hatpagesize) == 152
);

/// The name by which the program's own file is listed.
pub(crate) const PROGRAM: &[u8] = b"a.out";

/// `MA_READ`, `MA_WRITE`, `MA_EXEC`.
const PROT: [u32; 3] = [4, 2, 1];

const MA_SHARED: u32 = 0x08;
const MA_BREAK: u32 = 0x10;
const MA_STACK: u32 = 0x20;
const MA_ANON: u32 = 0x40;
const MA_ISM: u32 = 0x80;
const MA_SHM: u32 = 0x200;

fn is_stack(entry: &[u8]) -> bool {
    u32_at(entry, offset_of!(Map, mflags)).is_some_and(|flags| flags & MA_STACK != 0)
}

/// Gives the list of `rmap` the stack that `map` shows: `rmap` has all that the stack may grow into, once for each part of it
/// with a protection of its own (`prgetmap`).
pub(crate) fn take_stack(rmap: &mut Vec<u8>, map: &[u8]) {
    const SIZE: usize = size_of::<Map>();
    let stack: Vec<u8> = map.chunks_exact(SIZE).filter(|entry| is_stack(entry)).flatten().copied().collect();
    let Some(before) = rmap.chunks_exact(SIZE).position(is_stack).filter(|_| !stack.is_empty()) else {
        return;
    };
    let count = rmap.chunks_exact(SIZE).skip(before).take_while(|entry| is_stack(entry)).count();
    let start = before.saturating_mul(SIZE);
    rmap.splice(start..start.saturating_add(count.saturating_mul(SIZE)), stack);
}

/// An entry of `map` or `rmap`. The name is the one in `/proc/PID/path`, still to be followed.
pub(crate) fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    read(bytes.get(..size_of::<Map>())?)
}

/// An entry of `xmap`.
pub(crate) fn extended_entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let bytes = bytes.get(..size_of::<ExtendedMap>())?;
    let mut entry = read(bytes)?;
    let page = crate::page::size();
    let pages = |at| Some(wide(word_at(bytes, at)?.saturating_mul(page)));
    let resident = pages(offset_of!(ExtendedMap, rss))?;
    let huge = u64_at(bytes, offset_of!(ExtendedMap, hatpagesize))? > wide(page);
    entry.usage = Some(Usage {
        size: wide(entry.region.len),
        resident,
        anonymous: Some(pages(offset_of!(ExtendedMap, anon))?),
        locked: Some(pages(offset_of!(ExtendedMap, locked))?),
        // An entry ends where the size of the pages changes.
        huge: Some(if huge { resident } else { 0 }),
        ..Usage::default()
    });
    Some(entry)
}

fn read(bytes: &[u8]) -> Option<Entry<'_>> {
    let flags = u32_at(bytes, offset_of!(Map, mflags))?;
    let shared = flags & MA_SHARED != 0;
    let protection = protection(flags, PROT);
    let start = word_at(bytes, offset_of!(Map, vaddr))?;
    let end = start.checked_add(word_at(bytes, offset_of!(Map, size))?)?;
    let name = text(bytes.get(offset_of!(Map, mapname)..offset_of!(Map, offset))?);
    let (device, inode) = object(name).unzip();
    let backing = Backing {
        kind: if !name.is_empty() {
            BackingKind::File
        } else if flags & (MA_SHM | MA_ISM) != 0 {
            BackingKind::SharedMemory
        } else if flags & MA_BREAK != 0 {
            BackingKind::Heap
        } else if flags & MA_STACK != 0 {
            BackingKind::Stack
        } else if shared || flags & MA_ANON == 0 {
            // Also devices, which have no name here.
            BackingKind::SharedMemory
        } else {
            BackingKind::Anonymous
        },
        name: Cow::Borrowed(name),
        offset: u64_at(bytes, offset_of!(Map, offset))?,
        device,
        inode: inode.unwrap_or(0),
        deleted: false,
    };
    let size = bytes.len();
    let region = Region { protection, max_protection: protection, shared, ..span(wide(start), wide(end))? };
    Some(Entry { region, backing, usage: None, size })
}

/// Device and inode, of which the kernel makes the name: `ufs.102.5.1234` (`pr_object_name`). The program's own file is
/// called [`PROGRAM`] instead.
fn object(name: &[u8]) -> Option<(Device, u64)> {
    fn number<T: core::str::FromStr>(digits: Option<&[u8]>) -> Option<T> {
        core::str::from_utf8(digits?).ok()?.parse().ok()
    }
    // From behind: the name of the kind of file system, if there is one, may be anything.
    let mut parts = name.rsplitn(4, |&byte| byte == b'.');
    let (inode, minor, major) = (parts.next(), parts.next(), parts.next());
    Some((Device { major: number(major)?, minor: number(minor)? }, number(inode)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protection;
    use proptest::prelude::*;

    fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
        bytes[at..at + field.len()].copy_from_slice(field);
    }

    fn raw(whole: usize, flags: u32, name: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; whole];
        put(&mut bytes, offset_of!(Map, vaddr), &0x10000_usize.to_ne_bytes());
        put(&mut bytes, offset_of!(Map, size), &0x40000_usize.to_ne_bytes());
        put(&mut bytes, offset_of!(Map, mapname), name);
        put(&mut bytes, offset_of!(Map, offset), &0x2000_u64.to_ne_bytes());
        put(&mut bytes, offset_of!(Map, mflags), &flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_entry_is_read() {
        let bytes = raw(size_of::<Map>(), 5, b"zfs.228.65538.77");
        let entry = entry(&bytes).unwrap();
        assert_eq!((entry.size, entry.region.as_range()), (size_of::<Map>(), 0x10000..0x50000));
        assert_eq!(entry.region.protection, Protection::READ_EXECUTE);
        assert_eq!(entry.backing.kind, BackingKind::File);
        assert_eq!(entry.backing.device(), Some(Device { major: 228, minor: 65538 }));
        assert_eq!((entry.backing.offset(), entry.backing.inode()), (Some(0x2000), Some(77)));
        assert!(entry.usage.is_none());
    }

    #[test]
    fn memory_used() {
        let mut bytes = raw(size_of::<ExtendedMap>(), 6 | MA_ANON, b"");
        put(&mut bytes, offset_of!(ExtendedMap, rss), &3_usize.to_ne_bytes());
        put(&mut bytes, offset_of!(ExtendedMap, anon), &2_usize.to_ne_bytes());
        put(&mut bytes, offset_of!(ExtendedMap, locked), &1_usize.to_ne_bytes());
        put(&mut bytes, offset_of!(ExtendedMap, hatpagesize), &0x1000_u64.to_ne_bytes());
        let page = u64::try_from(crate::page::size()).unwrap();
        let usage = extended_entry(&bytes).unwrap().usage.unwrap();
        assert_eq!((usage.size(), usage.resident()), (0x40000, 3 * page));
        assert_eq!((usage.anonymous(), usage.locked(), usage.huge()), (Some(2 * page), Some(page), Some(0)));
        put(&mut bytes, offset_of!(ExtendedMap, hatpagesize), &0x20_0000_u64.to_ne_bytes());
        put(&mut bytes, offset_of!(ExtendedMap, locked), &usize::MAX.to_ne_bytes());
        let usage = extended_entry(&bytes).unwrap().usage.unwrap();
        assert_eq!((usage.huge(), usage.private()), (Some(3 * page), None));
    }

    #[test]
    fn kinds_and_sharing() {
        for (flags, name, kind, shared) in [
            (MA_ANON, &b""[..], BackingKind::Anonymous, false),
            (MA_ANON | MA_SHARED, b"", BackingKind::SharedMemory, true),
            (MA_ANON | MA_BREAK, b"", BackingKind::Heap, false),
            (MA_ANON | MA_STACK, b"", BackingKind::Stack, false),
            (MA_ANON | MA_SHARED | MA_ISM | MA_SHM, b"", BackingKind::SharedMemory, true),
            (0, b"", BackingKind::SharedMemory, false),
            (0, b"a.out", BackingKind::File, false),
            (MA_SHARED, b"ufs.1.2.3", BackingKind::File, true),
        ] {
            let bytes = raw(size_of::<Map>(), flags, name);
            let entry = entry(&bytes).unwrap();
            assert_eq!((entry.backing.kind, entry.region.shared), (kind, shared), "{flags:#x}");
        }
    }

    #[test]
    fn names_of_objects() {
        let device = |major, minor| Device { major, minor };
        assert_eq!(object(b"ufs.102.5.1234"), Some((device(102, 5), 1234)));
        assert_eq!(object(b"102.5.1234"), Some((device(102, 5), 1234)));
        assert_eq!(object(b"odd.name.1.2.3"), Some((device(1, 2), 3)));
        for name in [PROGRAM, b"", b"...", b"ufs.1.2.", b"ufs.1.x.3", b"u.99999999999.1.1", b"\xff.1"] {
            assert_eq!(object(name), None);
        }
    }

    #[test]
    fn the_stack_is_as_large_as_it_has_grown() {
        let at = |start: usize, flags| {
            let mut bytes = raw(size_of::<Map>(), flags, b"");
            put(&mut bytes, offset_of!(Map, vaddr), &start.to_ne_bytes());
            bytes
        };
        let starts = |list: &[u8]| -> Vec<usize> {
            list.chunks(size_of::<Map>()).map(|bytes| entry(bytes).unwrap().region.base).collect()
        };
        let rmap =
            [at(0x10000, MA_ANON), at(0x20000, MA_STACK), at(0x20000, MA_STACK), at(0x90000, 0)].concat();
        // Without the first, which was never touched.
        let map =
            [at(0x70000, MA_STACK), at(0x78000, MA_STACK), at(0x7c000, MA_STACK), at(0x90000, 0)].concat();
        let mut list = rmap.clone();
        take_stack(&mut list, &map);
        assert_eq!(starts(&list), [0x10000, 0x70000, 0x78000, 0x7c000, 0x90000]);
        for without in [&[][..], &at(0x10000, 0), &map[..50]] {
            let mut list = rmap.clone();
            take_stack(&mut list, without);
            assert_eq!(list, rmap);
            let mut list = without.to_vec();
            take_stack(&mut list, &map);
            assert_eq!(list, without);
        }
    }

    #[test]
    fn hostile_entries_are_refused() {
        let good = raw(size_of::<ExtendedMap>(), 7, b"a.out");
        for cut in 0..good.len() {
            assert_eq!(entry(&good[..cut]).is_some(), cut >= size_of::<Map>(), "cut at {cut}");
            assert!(extended_entry(&good[..cut]).is_none(), "cut at {cut}");
        }
        let mut bytes = good.clone();
        put(&mut bytes, offset_of!(Map, size), &usize::MAX.to_ne_bytes());
        assert!(entry(&bytes).is_none(), "ends before it begins");
        let mut bytes = good;
        put(&mut bytes, offset_of!(Map, mapname), &[b'x'; 64]);
        assert_eq!(entry(&bytes).unwrap().backing.name().len(), 64);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(entry(&bytes).is_none_or(|entry| entry.size <= bytes.len()));
            prop_assert!(extended_entry(&bytes).is_none_or(|entry| entry.size <= bytes.len()));
        }
    }
}
