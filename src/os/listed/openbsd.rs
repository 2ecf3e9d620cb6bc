//! The list of OpenBSD: `struct kinfo_vmentry` of `<sys/sysctl.h>`, one behind the other.
//!
//! It has neither names nor files: what stands behind a region can be told in broad strokes only.

use super::buffer::resize;
use super::fields::{protection, span, u32_at, u64_at, word_at};
use super::walk::Entry;
use crate::range::wide;
use crate::region::{Backing, BackingKind, Region};
use alloc::vec::Vec;
use core::ffi::c_ulong;
use core::mem::offset_of;

/// The kernel's structure, for its layout alone.
#[repr(C)]
#[allow(dead_code, reason = "fields are read by their offsets")]
pub(crate) struct Layout {
    pub(crate) start: c_ulong,
    pub(crate) end: c_ulong,
    pub(crate) guard: c_ulong,
    pub(crate) fspace: c_ulong,
    pub(crate) fspace_augment: c_ulong,
    pub(crate) offset: u64,
    pub(crate) wired_count: i32,
    pub(crate) etype: i32,
    pub(crate) protection: i32,
    pub(crate) max_protection: i32,
    pub(crate) advice: i32,
    pub(crate) inheritance: i32,
    pub(crate) flags: u8,
}

pub(crate) const WHOLE: usize = size_of::<Layout>();

const ET_OBJ: u32 = 0x01;
const ET_SUBMAP: u32 = 0x02;
const ET_COPYONWRITE: u32 = 0x04;
const ET_STACK: u32 = 0x40;

/// `KVE_PROT_READ`, `_WRITE`, `_EXEC`.
const PROT: [u32; 3] = [1, 2, 4];

pub(crate) fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let bytes = bytes.get(..WHOLE)?;
    let etype = u32_at(bytes, offset_of!(Layout, etype))?;
    let shared = etype & ET_COPYONWRITE == 0;
    let region = Region {
        protection: protection(u32_at(bytes, offset_of!(Layout, protection))?, PROT),
        max_protection: protection(u32_at(bytes, offset_of!(Layout, max_protection))?, PROT),
        shared,
        ..span(
            wide(word_at(bytes, offset_of!(Layout, start))?),
            wide(word_at(bytes, offset_of!(Layout, end))?),
        )?
    };
    let backing = Backing {
        kind: if etype & ET_SUBMAP != 0 {
            BackingKind::Kernel
        } else if etype & ET_OBJ != 0 {
            // A file, or (less often) an object that can be shared: which, it does not say.
            BackingKind::File
        } else if etype & ET_STACK != 0 {
            BackingKind::Stack
        } else if shared {
            BackingKind::SharedMemory
        } else {
            BackingKind::Anonymous
        },
        offset: u64_at(bytes, offset_of!(Layout, offset))?,
        ..Backing::ANONYMOUS
    };
    Some(Entry { region, backing, usage: None, size: WHOLE })
}

/// Where to go on after a list that ends with this entry: the kernel gives the entries that start at the address or above,
/// and no two start at the same one. 0 would mean "from the start".
pub(crate) fn resume_after(last: &[u8]) -> Option<usize> {
    word_at(last.get(..WHOLE)?, offset_of!(Layout, start))?.checked_add(1)
}

/// `VMMAP_MAXLEN` in `sys/kern/kern_sysctl.c` is `MAXPHYS`: 64 KiB everywhere. The length must be a multiple of an entry's.
const PART: usize = (64 << 10) / WHOLE * WHOLE;

/// Reads a list in parts into an empty buffer. `fill` passes a buffer to the kernel, which goes on where the first field of
/// its first entry says (0 is the start), and gives the length that it filled. The error is `None` when there is no memory
/// for the list.
pub(crate) fn read_parts<E>(
    buffer: &mut Vec<u8>,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Option<E>> {
    let mut from = 0_usize;
    loop {
        let filled = buffer.len();
        resize(buffer, filled.saturating_add(PART)).map_err(|_| None)?;
        let room = buffer.get_mut(filled..).unwrap_or_default();
        if let Some(first) = room.first_chunk_mut() {
            *first = from.to_ne_bytes();
        }
        let len = fill(room)?;
        buffer.truncate(filled.saturating_add(len));
        let last = buffer.len().checked_sub(WHOLE).filter(|_| len >= WHOLE);
        let next = last.and_then(|last| resume_after(buffer.get(last..)?));
        // A part that is not full is the last one; and each goes upward, so that this ends.
        match next {
            Some(next) if len == PART && next > from => from = next,
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protection;
    use proptest::prelude::*;

    fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
        bytes[at..at + field.len()].copy_from_slice(field);
    }

    fn raw(start: usize, end: usize, etype: u32) -> Vec<u8> {
        let mut bytes = alloc::vec![0; WHOLE];
        put(&mut bytes, offset_of!(Layout, start), &start.to_ne_bytes());
        put(&mut bytes, offset_of!(Layout, end), &end.to_ne_bytes());
        put(&mut bytes, offset_of!(Layout, etype), &etype.to_ne_bytes());
        put(&mut bytes, offset_of!(Layout, protection), &3_u32.to_ne_bytes());
        put(&mut bytes, offset_of!(Layout, max_protection), &7_u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_entry_is_read() {
        let bytes = raw(0x1000, 0x3000, ET_COPYONWRITE | ET_STACK);
        let entry = entry(&bytes).unwrap();
        assert_eq!(entry.region.as_range(), 0x1000..0x3000);
        assert_eq!(entry.region.protection, Protection::READ_WRITE);
        assert_eq!(entry.region.max_protection, Protection::READ_WRITE_EXECUTE);
        assert_eq!((entry.region.shared, entry.backing.kind), (false, BackingKind::Stack));
        assert!(entry.backing.name().is_empty() && entry.backing.device().is_none());
        assert_eq!(resume_after(&bytes), Some(0x1001));
    }

    #[test]
    fn kinds_and_sharing() {
        for (etype, kind, shared) in [
            (ET_COPYONWRITE, BackingKind::Anonymous, false),
            (ET_COPYONWRITE | ET_OBJ, BackingKind::File, false),
            (ET_OBJ, BackingKind::File, true),
            (0, BackingKind::SharedMemory, true),
            (u32::MAX, BackingKind::Kernel, false),
        ] {
            let bytes = raw(0x1000, 0x2000, etype);
            let entry = entry(&bytes).unwrap();
            assert_eq!((entry.backing.kind, entry.region.shared), (kind, shared), "{etype:#x}");
        }
    }

    /// The kernel's entries for free space begin where they end.
    #[test]
    fn an_empty_entry_is_an_entry() {
        assert!(entry(&raw(0x1000, 0x1000, 0)).unwrap().region.is_empty());
    }

    #[test]
    fn hostile_entries_are_refused() {
        let good = raw(0x1000, 0x2000, 0);
        for cut in 0..good.len() {
            assert!(entry(&good[..cut]).is_none() && resume_after(&good[..cut]).is_none(), "cut at {cut}");
        }
        assert!(entry(&raw(0x1000, 0xfff, 0)).is_none(), "ends before it begins");
        assert_eq!(resume_after(&raw(usize::MAX, usize::MAX, 0)), None);
    }

    /// A kernel with so many entries, of which some are free space that begins where it ends.
    fn part_of(count: usize, room: &mut [u8]) -> usize {
        assert_eq!(room.len() % WHOLE, 0);
        let from = word_at(room, 0).unwrap();
        let entries = (1..=count).map(|n| n * 0x1000).filter(|&start| start >= from);
        let mut len = 0;
        for (start, place) in entries.zip(room.chunks_exact_mut(WHOLE)) {
            place.copy_from_slice(&raw(start, start + start % 0x2000, ET_COPYONWRITE));
            len += WHOLE;
        }
        len
    }

    #[test]
    fn a_list_of_several_parts_is_read_once_and_in_order() {
        let part = PART / WHOLE;
        for count in [0, 1, part - 1, part, part + 1, 2 * part, 3 * part + 7] {
            let (mut buffer, mut calls) = (Vec::new(), 0);
            let read = read_parts(&mut buffer, |room| {
                calls += 1;
                Ok::<_, ()>(part_of(count, room))
            });
            assert_eq!((read, calls), (Ok(()), count / part + 1));
            let starts: Vec<_> =
                buffer.chunks(WHOLE).map(|bytes| entry(bytes).unwrap().region.base).collect();
            assert_eq!(starts, (1..=count).map(|n| n * 0x1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_kernel_that_does_not_go_on_is_not_asked_for_ever() {
        let mut calls = 0;
        let read = read_parts(&mut Vec::new(), |room| {
            calls += 1;
            room[..WHOLE].fill(0);
            Ok::<_, ()>(part_of(usize::MAX / 0x1000, room))
        });
        assert_eq!((read, calls), (Ok(()), 2));
    }

    #[test]
    fn a_refusal_between_parts_is_passed_on() {
        let mut calls = 0;
        let read = read_parts(&mut Vec::new(), |room| {
            calls += 1;
            if calls == 2 { Err(3) } else { Ok(part_of(5000, room)) }
        });
        assert_eq!(read, Err(Some(3)));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(entry(&bytes).is_none_or(|entry| entry.size <= bytes.len()));
        }
    }
}
