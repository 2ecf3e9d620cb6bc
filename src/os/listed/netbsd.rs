//! The list of NetBSD: `struct kinfo_vmentry` of `<sys/sysctl.h>`, one behind the other.
//!
//! All fields have fixed widths, so that the layout is the same on every processor.

use super::fields::{protection, span, text, u32_at, u64_at};
use super::walk::Entry;
use crate::region::{Backing, BackingKind, Device, Region};
use alloc::borrow::Cow;

pub(crate) const START: usize = 0;
pub(crate) const END: usize = 8;
pub(crate) const OFFSET: usize = 16;
pub(crate) const TYPE: usize = 24;
pub(crate) const FLAGS: usize = 28;
pub(crate) const PROTECTION: usize = 48;
pub(crate) const MAX_PROTECTION: usize = 52;
pub(crate) const VN_FILEID: usize = 64;
pub(crate) const VN_FSID: usize = 80;
pub(crate) const PATH: usize = 104;
/// The size of each: what is asked for, and given.
pub(crate) const WHOLE: usize = 1128;

const TYPE_OBJECT: u32 = 1;
const TYPE_VNODE: u32 = 2;
const TYPE_KERN: u32 = 3;
const TYPE_DEVICE: u32 = 4;
const TYPE_SUBMAP: u32 = 6;

/// `KVME_PROT_READ`, `_WRITE`, `_EXEC`.
const PROT: [u32; 3] = [1, 2, 4];

const FLAG_COW: u32 = 0x01;

pub(crate) fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let bytes = bytes.get(..WHOLE)?;
    let kind = u32_at(bytes, TYPE)?;
    // Private memory is copied on writing, anonymous memory included (`uvm_mmap`); shared memory never is.
    let shared = u32_at(bytes, FLAGS)? & FLAG_COW == 0;
    let region = Region {
        protection: protection(u32_at(bytes, PROTECTION)?, PROT),
        max_protection: protection(u32_at(bytes, MAX_PROTECTION)?, PROT),
        shared,
        ..span(u64_at(bytes, START)?, u64_at(bytes, END)?)?
    };
    let number = u64_at(bytes, VN_FSID)?;
    let backing = Backing {
        kind: match kind {
            TYPE_VNODE => BackingKind::File,
            TYPE_KERN | TYPE_SUBMAP => BackingKind::Kernel,
            TYPE_DEVICE | TYPE_OBJECT => BackingKind::SharedMemory,
            _ if shared => BackingKind::SharedMemory,
            _ => BackingKind::Anonymous,
        },
        name: Cow::Borrowed(text(bytes.get(PATH..)?)),
        offset: u64_at(bytes, OFFSET)?,
        // Attributes that could not be had stay zero.
        device: (kind == TYPE_VNODE && number != 0).then(|| device(number)),
        inode: u64_at(bytes, VN_FILEID)?,
        deleted: false,
    };
    Some(Entry { region, backing, usage: None, size: WHOLE })
}

/// `major` and `minor` of `<sys/types.h>`: the number has 32 bits that mean something.
fn device(number: u64) -> Device {
    let part = |bits: u64| u32::try_from(bits).unwrap_or(0);
    Device { major: part(number >> 8 & 0xfff), minor: part(number >> 12 & 0xf_ff00 | number & 0xff) }
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

    fn raw(kind: u32, flags: u32, path: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; WHOLE];
        put(&mut bytes, START, &0x10000_u64.to_ne_bytes());
        put(&mut bytes, END, &0x50000_u64.to_ne_bytes());
        put(&mut bytes, OFFSET, &0x3000_u64.to_ne_bytes());
        put(&mut bytes, TYPE, &kind.to_ne_bytes());
        put(&mut bytes, FLAGS, &flags.to_ne_bytes());
        put(&mut bytes, PROTECTION, &1_u32.to_ne_bytes());
        put(&mut bytes, MAX_PROTECTION, &7_u32.to_ne_bytes());
        put(&mut bytes, VN_FILEID, &5_u64.to_ne_bytes());
        put(&mut bytes, VN_FSID, &0x1234_5678_u64.to_ne_bytes());
        put(&mut bytes, PATH, path);
        bytes
    }

    #[test]
    fn an_entry_is_read() {
        let bytes = raw(TYPE_VNODE, FLAG_COW, b"/usr/lib/libc.so.12");
        let entry = entry(&bytes).unwrap();
        assert_eq!((entry.size, entry.region.as_range()), (WHOLE, 0x10000..0x50000));
        assert_eq!(entry.region.protection, Protection::READ);
        assert_eq!(entry.region.max_protection, Protection::READ_WRITE_EXECUTE);
        assert!(!entry.region.shared);
        assert_eq!(entry.backing.name(), b"/usr/lib/libc.so.12");
        assert_eq!((entry.backing.offset(), entry.backing.inode()), (Some(0x3000), Some(5)));
        // makedev(0x456, 0x12378)
        assert_eq!(entry.backing.device, Some(Device { major: 0x456, minor: 0x12378 }));
    }

    #[test]
    fn kinds_and_sharing() {
        for (kind, flags, expected, shared) in [
            (TYPE_VNODE, 0, BackingKind::File, true),
            (5, FLAG_COW, BackingKind::Anonymous, false),
            (5, 0, BackingKind::SharedMemory, true),
            (255, FLAG_COW, BackingKind::Anonymous, false),
            (255, 0, BackingKind::SharedMemory, true),
            (TYPE_DEVICE, 0, BackingKind::SharedMemory, true),
            (TYPE_KERN, u32::MAX, BackingKind::Kernel, false),
        ] {
            let bytes = raw(kind, flags, b"");
            let entry = entry(&bytes).unwrap();
            assert_eq!((entry.backing.kind, entry.region.shared), (expected, shared), "{kind} {flags}");
        }
    }

    #[test]
    fn hostile_entries_are_refused() {
        let good = raw(TYPE_VNODE, 0, b"/file");
        for cut in 0..good.len() {
            assert!(entry(&good[..cut]).is_none(), "cut at {cut}");
        }
        let mut bytes = good.clone();
        put(&mut bytes, END, &0_u64.to_ne_bytes());
        assert!(entry(&bytes).is_none(), "ends before it begins");
        let mut bytes = good;
        bytes[PATH..].fill(b'x');
        assert_eq!(entry(&bytes).unwrap().backing.name().len(), WHOLE - PATH);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 1100..1200)) {
            prop_assert!(entry(&bytes).is_none_or(|entry| entry.size <= bytes.len()));
        }
    }
}
