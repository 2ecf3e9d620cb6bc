//! The list of FreeBSD: `struct kinfo_vmentry` of `<sys/user.h>`, packed.
//!
//! Each entry names its own size: the path at its end is cut off behind its NUL, and the whole is rounded up to 8 bytes
//! (`kern_proc_vmmap_out` in `sys/kern/kern_proc.c`). All fields have fixed widths, so that the layout is the same on every
//! processor.

use super::fields::{protection, span, text, u16_at, u32_at, u64_at};
use super::walk::Entry;
use crate::region::{Backing, BackingKind, Device, Region, Usage};
use alloc::borrow::Cow;

pub(crate) const STRUCTSIZE: usize = 0;
pub(crate) const TYPE: usize = 4;
pub(crate) const START: usize = 8;
pub(crate) const END: usize = 16;
pub(crate) const OFFSET: usize = 24;
pub(crate) const VN_FILEID: usize = 32;
/// Since FreeBSD 12 a remnant: the lower half of the number at [`VN_FSID`].
pub(crate) const VN_FSID_FREEBSD11: usize = 40;
pub(crate) const FLAGS: usize = 44;
pub(crate) const RESIDENT: usize = 48;
pub(crate) const PRIVATE_RESIDENT: usize = 52;
pub(crate) const PROTECTION: usize = 56;
pub(crate) const REF_COUNT: usize = 60;
pub(crate) const STATUS: usize = 86;
/// Since FreeBSD 12; zero before.
pub(crate) const VN_FSID: usize = 88;
pub(crate) const PATH: usize = 136;
/// The size of the structure, of which an entry is the front part: `KINFO_VMENTRY_SIZE`.
#[allow(dead_code, reason = "tests of the layout have no use for it")]
pub(crate) const WHOLE: usize = 1160;

const TYPE_NONE: u32 = 0;
const TYPE_DEFAULT: u32 = 1;
const TYPE_VNODE: u32 = 2;
const TYPE_SWAP: u32 = 3;
const TYPE_DEVICE: u32 = 4;
const TYPE_PHYS: u32 = 5;
const TYPE_SG: u32 = 7;
const TYPE_MGTDEVICE: u32 = 8;
/// `KVME_TYPE_GUARD`, in newer versions.
const TYPE_GUARD: u32 = 9;

/// `KVME_PROT_READ`, `_WRITE`, `_EXEC`.
const PROT: [u32; 3] = [1, 2, 4];

const FLAG_COW: u32 = 0x01;
const FLAG_NEEDS_COPY: u32 = 0x02;
const FLAG_GROWS_DOWN: u32 = 0x20;
const FLAG_USER_WIRED: u32 = 0x40;

/// `KF_ATTR_VALID`: device and inode are known.
const ATTR_VALID: u16 = 1;

pub(crate) fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let size = usize::try_from(u32_at(bytes, STRUCTSIZE)?).ok()?;
    if size <= PATH {
        return None;
    }
    let bytes = bytes.get(..size)?;
    let flags = u32_at(bytes, FLAGS)?;
    let kind = u32_at(bytes, TYPE)?;
    let name = text(bytes.get(PATH..)?);
    let protection = protection(u32_at(bytes, PROTECTION)?, PROT);
    let private = flags & (FLAG_COW | FLAG_NEEDS_COPY) != 0;
    // Memory without a file and without a name counts as private: that is what nearly all of it is, and the entry does
    // not tell it from anonymous memory mapped with MAP_SHARED.
    let shared = !private
        && match kind {
            TYPE_VNODE | TYPE_DEVICE | TYPE_PHYS | TYPE_SG | TYPE_MGTDEVICE => true,
            TYPE_DEFAULT | TYPE_SWAP => !name.is_empty(),
            _ => false,
        };
    let region = Region {
        protection,
        max_protection: protection,
        shared,
        guarded: kind == TYPE_GUARD,
        ..span(u64_at(bytes, START)?, u64_at(bytes, END)?)?
    };
    let valid = u16_at(bytes, STATUS)? & ATTR_VALID != 0;
    let number = match u64_at(bytes, VN_FSID)? {
        0 => u64::from(u32_at(bytes, VN_FSID_FREEBSD11)?),
        number => number,
    };
    let backing = Backing {
        kind: match kind {
            TYPE_VNODE => BackingKind::File,
            TYPE_PHYS | TYPE_SG => BackingKind::Kernel,
            TYPE_DEVICE | TYPE_MGTDEVICE => BackingKind::SharedMemory,
            TYPE_DEFAULT | TYPE_SWAP if shared => BackingKind::SharedMemory,
            TYPE_NONE | TYPE_DEFAULT | TYPE_SWAP if flags & FLAG_GROWS_DOWN != 0 => BackingKind::Stack,
            _ => BackingKind::Anonymous,
        },
        name: Cow::Borrowed(name),
        offset: u64_at(bytes, OFFSET)?,
        device: (kind == TYPE_VNODE && valid).then(|| device(number)),
        inode: u64_at(bytes, VN_FILEID)?,
        deleted: false,
    };
    let usage = usage(bytes, &region, flags & FLAG_USER_WIRED != 0)?;
    Some(Entry { region, backing, usage: Some(usage), size })
}

/// What the entry says of memory. `kve_private_resident` is no figure of the region: it counts the pages of the whole object
/// behind it, and is 0 where that object lies over another one, whose pages the region may show too.
fn usage(bytes: &[u8], region: &Region, wired: bool) -> Option<Usage> {
    let page = crate::range::wide(crate::page::size());
    let size = crate::range::wide(region.len);
    let resident = u64::from(u32_at(bytes, RESIDENT)?).saturating_mul(page).min(size);
    // An object that lies over no other and that only this entry refers to is nobody else's. With more references, others
    // may be this process's own.
    let whole = resident == 0 || u32_at(bytes, PRIVATE_RESIDENT)? > 0;
    let alone = !region.shared && whole && u32_at(bytes, REF_COUNT)? <= 1;
    Some(Usage {
        size,
        resident,
        private: alone.then_some(resident),
        shared: alone.then_some(0),
        locked: Some(if wired { resident } else { 0 }),
        ..Usage::default()
    })
}

/// `major` and `minor` of `<sys/types.h>`, since FreeBSD 12. Of a number of 32 bits they make what FreeBSD 11 did.
fn device(number: u64) -> Device {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = number.to_le_bytes();
    Device { major: u32::from_le_bytes([b1, b5, b6, b7]), minor: u32::from_le_bytes([b0, b4, b2, b3]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protection;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
        bytes[at..at + field.len()].copy_from_slice(field);
    }

    fn raw(kind: u32, flags: u32, protection: u32, path: &[u8]) -> Vec<u8> {
        let size = (PATH + path.len() + 1).next_multiple_of(8);
        let mut bytes = alloc::vec![0; size];
        put(&mut bytes, STRUCTSIZE, &u32::try_from(size).unwrap().to_ne_bytes());
        put(&mut bytes, TYPE, &kind.to_ne_bytes());
        put(&mut bytes, START, &0x10000_u64.to_ne_bytes());
        put(&mut bytes, END, &0x50000_u64.to_ne_bytes());
        put(&mut bytes, OFFSET, &0x2000_u64.to_ne_bytes());
        put(&mut bytes, VN_FILEID, &77_u64.to_ne_bytes());
        put(&mut bytes, FLAGS, &flags.to_ne_bytes());
        put(&mut bytes, PROTECTION, &protection.to_ne_bytes());
        put(&mut bytes, STATUS, &ATTR_VALID.to_ne_bytes());
        put(&mut bytes, VN_FSID, &0x1234_5678_9abc_def0_u64.to_ne_bytes());
        put(&mut bytes, PATH, path);
        bytes
    }

    #[test]
    fn an_entry_is_read() {
        let mut bytes = raw(TYPE_VNODE, FLAG_COW, 5, b"/lib/libc.so.7");
        let size = bytes.len();
        bytes.extend_from_slice(&raw(TYPE_GUARD, 0, 0, b""));
        let first = entry(&bytes).unwrap();
        assert_eq!((first.size, first.region.as_range()), (size, 0x10000..0x50000));
        assert_eq!(first.region.protection, Protection::READ_EXECUTE);
        assert!(!first.region.shared && !first.region.guarded);
        assert_eq!((first.backing.kind, first.backing.name()), (BackingKind::File, &b"/lib/libc.so.7"[..]));
        assert_eq!((first.backing.offset(), first.backing.inode()), (Some(0x2000), Some(77)));
        assert_eq!(first.backing.device, Some(Device { major: 0x1234_56de, minor: 0x9abc_78f0 }));
        let second = entry(&bytes[size..]).unwrap();
        assert!(second.region.guarded && second.backing.device.is_none());
    }

    #[test]
    fn kinds_and_sharing() {
        for (kind, flags, path, expected, shared) in [
            (TYPE_VNODE, 0, &b"/f"[..], BackingKind::File, true),
            (TYPE_VNODE, FLAG_COW | FLAG_NEEDS_COPY, b"", BackingKind::File, false),
            (TYPE_NONE, 0, b"", BackingKind::Anonymous, false),
            (TYPE_SWAP, 0, b"", BackingKind::Anonymous, false),
            (TYPE_DEFAULT, FLAG_COW, b"", BackingKind::Anonymous, false),
            (TYPE_SWAP, 0, b"/shm", BackingKind::SharedMemory, true),
            (TYPE_SWAP, FLAG_GROWS_DOWN, b"", BackingKind::Stack, false),
            (TYPE_PHYS, 0, b"", BackingKind::Kernel, true),
            (TYPE_DEVICE, 0, b"", BackingKind::SharedMemory, true),
            (255, 0, b"", BackingKind::Anonymous, false),
            (4000, u32::MAX, b"", BackingKind::Anonymous, false),
        ] {
            let bytes = raw(kind, flags, 7, path);
            let entry = entry(&bytes).unwrap();
            assert_eq!((entry.backing.kind, entry.region.shared), (expected, shared), "{kind} {flags}");
        }
    }

    #[test]
    fn memory_used() {
        let mut bytes = raw(TYPE_SWAP, FLAG_USER_WIRED, 3, b"");
        put(&mut bytes, REF_COUNT, &1_u32.to_ne_bytes());
        put(&mut bytes, RESIDENT, &2_u32.to_ne_bytes());
        let page = u64::try_from(crate::page::size()).unwrap();
        let usage = entry(&bytes).unwrap().usage.unwrap();
        assert_eq!((usage.resident(), usage.private()), (2 * page, None), "over another object");
        put(&mut bytes, PRIVATE_RESIDENT, &2_u32.to_ne_bytes());
        let usage = entry(&bytes).unwrap().usage.unwrap();
        assert_eq!((usage.size(), usage.resident(), usage.private()), (0x40000, 2 * page, Some(2 * page)));
        assert_eq!((usage.locked(), usage.dirty()), (Some(2 * page), None));
        put(&mut bytes, REF_COUNT, &2_u32.to_ne_bytes());
        put(&mut bytes, RESIDENT, &u32::MAX.to_ne_bytes());
        let usage = entry(&bytes).unwrap().usage.unwrap();
        assert_eq!((usage.resident(), usage.private()), (0x40000, None));
    }

    #[test]
    fn hostile_entries_are_refused() {
        let good = raw(TYPE_VNODE, 0, 1, b"/file");
        for cut in 0..good.len() {
            assert!(entry(&good[..cut]).is_none(), "cut at {cut}");
        }
        for size in [0, 1, 8, 136, u32::try_from(good.len()).unwrap() + 1, 0x7fff_ffff, u32::MAX] {
            let mut bytes = good.clone();
            put(&mut bytes, STRUCTSIZE, &size.to_ne_bytes());
            assert!(entry(&bytes).is_none(), "{size}");
        }
        let mut bytes = good.clone();
        put(&mut bytes, END, &0xffff_u64.to_ne_bytes());
        assert!(entry(&bytes).is_none(), "ends before it begins");
        let mut bytes = good;
        bytes[PATH..].fill(b'x');
        let without_nul = entry(&bytes).unwrap();
        assert_eq!(without_nul.backing.name().len(), bytes.len() - PATH);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 0_u32..400) {
            let mut bytes = bytes;
            if let Some(head) = bytes.first_chunk_mut::<4>() {
                *head = size.to_ne_bytes();
            }
            if let Some(entry) = entry(&bytes) {
                prop_assert!(entry.size > PATH && entry.size <= bytes.len());
            }
        }
    }
}
