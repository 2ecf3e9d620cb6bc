//! Process slices of memory that others use, too: other slices, other threads, and who takes it away.

mod common;

use common::{Area, rounds, skipped};
use folio::fault;
use folio::process::{
    Error, Host, ReadableProcessSlice, WriteableProcessBuffer, WriteableProcessByte, WriteableProcessSlice,
};
use folio::{Pages, Protection, page};
use std::cell::UnsafeCell;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Views of the same bytes, used in turn in every order: each sees what another has written. (A compiler that were told that nobody
/// else writes could keep what it has read.)
#[test]
fn overlapping_views_see_each_other() {
    #[inline(never)]
    fn read_write_read(read: &ReadableProcessSlice, write: &WriteableProcessSlice) -> (u8, u8) {
        let before = read[1].get();
        write[0].set(before.wrapping_add(1));
        (before, read[1].get())
    }
    #[inline(never)]
    fn write_write_read(one: &WriteableProcessByte, other: &WriteableProcessByte) -> u8 {
        one.set(1);
        other.set(2);
        one.get()
    }
    let guest = Host::new().guest(Pages::new(8).unwrap()).unwrap();
    guest
        .memory()
        .mut_enter(|memory| {
            let slice = &memory[..8];
            (0..8).for_each(|value| slice[usize::from(value)].set(value));
            assert_eq!(read_write_read(slice, &slice[1..]), (1, 2));
            assert_eq!(read_write_read(slice, slice), (2, 2));
            assert_eq!(write_write_read(&slice[3], &slice[3]), 2);
            assert_eq!(write_write_read(&slice[3], &slice[4]), 1);
            let views: [&WriteableProcessSlice; 4] = [slice, &slice[..6], &slice[2..], &slice[2..6]];
            let offsets = [0, 0, 2, 2];
            let mut value = 10_u8;
            for first in 0..4 {
                for second in 0..4 {
                    for third in 0..4 {
                        let at = |view: usize| 3 - offsets[view];
                        value = value.wrapping_add(3);
                        views[first][at(first)].set(value);
                        let seen = views[second].as_readable()[at(second)].get();
                        views[third].write(at(third), [value ^ 0xFF, 1]).unwrap();
                        assert_eq!(seen, value);
                        assert_eq!(views[first][at(first)].get(), value ^ 0xFF);
                        assert_eq!(views[second].read::<[u8; 2]>(at(second)), Ok([value ^ 0xFF, 1]));
                        assert_eq!(
                            views[third].iter().nth(at(third)).map(|byte| byte.get()),
                            Some(value ^ 0xFF)
                        );
                    }
                }
            }
        })
        .unwrap();
}

/// Memory that Rust knows of: a variable with a cell, whose bytes are changed by slices and by its owner in turn.
#[test]
fn memory_that_rust_knows_of_is_reached_too() {
    let variable = UnsafeCell::new([1_u8, 2, 3, 4]);
    // SAFETY: nobody has references to it while the slice is used; a cell lets it change.
    let slice = unsafe { WriteableProcessSlice::from_raw_parts(variable.get().cast(), 4) };
    slice.write(1, [7_u8, 8]).unwrap();
    // SAFETY: nobody else is at it.
    assert_eq!(unsafe { variable.get().read() }, [1, 7, 8, 4]);
    // SAFETY: as above.
    unsafe { variable.get().write([9; 4]) };
    assert_eq!(slice.to_vec(), [9; 4]);
    assert_eq!(variable.into_inner(), [9; 4]);
}

/// Whether there are copies of our own here that survive a fault.
fn survives(test: &str) -> bool {
    let words = cfg!(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ));
    let can = words && fault::install().is_ok();
    if !can {
        skipped(test, "no copies of our own that survive a fault");
    }
    can
}

/// Bytes that are gone: zeroes, lost writes, errors; never a signal, never a panic; nothing behind is touched.
#[test]
fn memory_that_is_taken_away_ends_nothing() {
    if !survives("memory_that_is_taken_away_ends_nothing") {
        return;
    }
    let area = Area::new(3);
    let size = page::size();
    // SAFETY: the area's own pages, to which nobody has references; the handler is installed.
    let all = unsafe { WriteableProcessSlice::from_raw_parts(area.pointer().cast_mut(), area.len()) };
    all.fill(7);
    area.protect(1, 1, Protection::NONE);
    let slice = &all[size - 10..size + 30];

    assert_eq!((slice[9].get(), slice[10].get()), (7, 0));
    slice[10].set(1);
    let mut expected = [0; 40];
    expected[..10].fill(7);
    let mut copy = [1; 40];
    slice.copy_to_slice(&mut copy);
    assert_eq!(copy, expected);
    copy.fill(1);
    assert_eq!(slice.copy_to_slice_or_err(&mut copy), Err(Error::MemoryGone));
    assert_eq!((&copy[..10], &copy[10..]), (&[7; 10][..], &[1; 30][..]));
    assert_eq!(slice.to_vec(), expected);
    assert_eq!(slice.to_vec_or_err(), Err(Error::MemoryGone));
    assert_eq!(slice[..10].to_vec_or_err(), Ok(vec![7; 10]));
    // What lies behind counts as gone to the end of a copy.
    assert_eq!((all.to_vec()[2 * size], all.bytes().nth(2 * size), all.find(0)), (0, Some(7), Some(size)));
    assert_eq!(slice.bytes().collect::<Vec<_>>(), expected);
    assert_eq!((slice.find(0), slice.find(9)), (Some(10), None));
    assert!(slice.equals(&expected) && slice.compare(&[7; 40]).is_lt());
    assert_eq!(slice.read::<u64>(2), Ok(0x0707_0707_0707_0707));
    for offset in [3, 9, 10, 20] {
        assert_eq!(slice.read::<u64>(offset), Err(Error::MemoryGone));
        assert_eq!(slice.read::<[u8; 13]>(offset), Err(Error::MemoryGone));
        assert_eq!(slice.write(offset, u64::MAX), Err(Error::MemoryGone));
    }
    all[..size].fill(7);
    assert_eq!(all.load::<u32>(size), Err(Error::MemoryGone));
    assert_eq!(all.store(size, 1_u32), Err(Error::MemoryGone));
    assert_eq!(all.fetch_add(size, 1_u32), Err(Error::MemoryGone));
    assert_eq!(all.fetch_or(size, 1_u32), Err(Error::MemoryGone));
    assert_eq!(all.compare_exchange(size, 0, 1_u32), Err(Error::MemoryGone));
    assert_eq!(slice.copy_from_slice_or_err(&[8; 40]), Err(Error::MemoryGone));
    assert!(all[size - 10..size].equals(&[8; 10]));
    slice.copy_from_slice(&[9; 40]);
    slice.fill(9);
    assert_eq!(slice.copy_from_or_err(&all[..40]), Err(Error::MemoryGone));
    assert_eq!(all[..40].copy_from_or_err(slice), Err(Error::MemoryGone));
    slice[..30].copy_from(&slice[10..]);
    slice[10..].copy_from(&slice[..30]);
    let error = slice.cursor().write(&[1; 40]).unwrap_err();
    assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&Error::MemoryGone));
    assert!(slice.cursor().read(&mut [1; 40]).is_err());

    area.protect(1, 1, Protection::READ_WRITE);
    assert!(all[size..].equals(&vec![7; 2 * size]), "nothing was written to what was gone, or behind");
}

/// Trap: a safe call that ends the program on bad input, here a length for which there is no memory.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_slice_too_long_to_be_copied_is_an_error() {
    if fault::install().is_err() || !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return skipped(
            "a_slice_too_long_to_be_copied_is_an_error",
            "no copies of our own that survive a fault",
        );
    }
    let Ok(pages) = folio::MmapOptions::new(1 << 44).map_none() else {
        return skipped("a_slice_too_long_to_be_copied_is_an_error", "too little address space");
    };
    // SAFETY: pages to which nobody has references, and which cannot be read; the handler is installed.
    let slice = unsafe { ReadableProcessSlice::from_raw_parts(pages.as_ptr(), pages.len()) };
    // (Who promises any amount finds out later that there is nothing to be copied.)
    let error = slice.to_vec_or_err().unwrap_err();
    assert!(matches!(error, Error::OutOfMemory | Error::MemoryGone), "{error}");
}

/// What cannot be written to, and can be read.
#[test]
fn writes_to_what_is_read_only_by_now_are_lost() {
    if !survives("writes_to_what_is_read_only_by_now_are_lost") {
        return;
    }
    let area = Area::new(1);
    // SAFETY: the area's own pages, to which nobody has references; the handler is installed.
    let slice = unsafe { WriteableProcessSlice::from_raw_parts(area.pointer().cast_mut(), area.len()) };
    slice.fill(7);
    area.protect(0, 1, Protection::READ);
    slice[0].set(1);
    slice.fill(1);
    assert_eq!(slice.write(0, 1_u16), Err(Error::MemoryGone));
    assert_eq!(slice.swap(0, 1_u16), Err(Error::MemoryGone));
    assert_eq!((slice.load(0), slice[0].get()), (Ok(0x0707_u16), 7));
}

/// Trap: memory that another one writes at the same time. A peer writes garbage all along while every operation runs. What is read into
/// a variable stays; what the peer does not write to is as we left it.
#[test]
fn a_peer_that_writes_garbage_disturbs_nothing_but_its_bytes() {
    let guest = Host::new().guest(Pages::new(64 << 10).unwrap()).unwrap();
    let over = AtomicBool::new(false);
    let written = AtomicUsize::new(0);
    // The peer has the first half, and some at the end.
    let half = guest.len() / 2;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let memory = guest.memory();
            let mut seed = 1_u64;
            while !over.load(Ordering::Relaxed) {
                let done = memory.mut_enter(|memory| {
                    seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    let (at, byte) = ((seed >> 33) as usize % half, (seed >> 56) as u8);
                    match seed >> 30 & 3 {
                        0 => memory[at].set(byte),
                        1 => memory[at..half].fill(byte),
                        2 => memory[..half].copy_within(at.., 0),
                        _ => memory.store(at & !7, seed as usize).unwrap(),
                    }
                });
                done.unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..rounds(100) {
            let inside = guest.memory().mut_enter(|memory| {
                let (theirs, ours) = memory.split_at(half);
                let value = round as u8;
                ours.fill(value);
                assert!(ours.equals(&vec![value; ours.len()]));
                // What was read is of one piece, whatever happens to where it came from.
                let copy = theirs.to_vec();
                let again = copy.clone();
                theirs.copy_from_slice(&copy);
                theirs.copy_within(100.., 7);
                ours[..100].copy_from(&theirs[..100]);
                assert!(copy == again);
                let kept = ours[..100].to_vec();
                assert!(ours[..100].equals(&kept), "nobody else writes here");
                for at in (0..1000).step_by(8) {
                    let seen = theirs.read::<u64>(at).unwrap();
                    let same = std::hint::black_box(seen);
                    theirs.write_be(at + 1, seen).unwrap();
                    assert_eq!(same, seen);
                    let _any = (theirs.load::<u32>(at).unwrap(), theirs.fetch_add(at, 3_u16).unwrap());
                    let _any =
                        (theirs.fetch_xor(at, 1_u8).unwrap(), theirs.compare_exchange(at, 0_u32, 1).unwrap());
                }
                let _any = (theirs.find(value), theirs.compare(&copy), theirs.bytes().max());
                let _any = theirs
                    .chunks(77)
                    .map(|piece| piece.iter().map(|byte| byte.get() as usize).sum::<usize>())
                    .max();
                let mut cursor = theirs.cursor();
                cursor.write_all(&[value; 500]).unwrap();
                cursor.read_exact(&mut [0; 500]).unwrap();
                assert!(ours[100..].equals(&vec![value; ours.len() - 100]));
            });
            inside.unwrap();
        }
        while written.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// A queue between two threads, by words and copies: what is read behind a word is what was written before it.
#[test]
fn words_put_copies_in_order() {
    const ENTRIES: usize = 16;
    const SIZE: usize = 64;
    let guest = Host::new().guest(Pages::new(ENTRIES * SIZE + 128).unwrap()).unwrap();
    let memory = guest.memory();
    let count = rounds(20_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let put = memory.mut_enter(|queue| {
                for number in 0..count {
                    while number.wrapping_sub(queue.load::<u32>(64).unwrap()) as usize >= ENTRIES {
                        std::thread::yield_now();
                    }
                    let entry = &queue[128..][number as usize % ENTRIES * SIZE..][..SIZE];
                    entry.fill(number as u8);
                    entry.write(0, number).unwrap();
                    queue.store(0, number + 1).unwrap();
                }
            });
            put.unwrap();
        });
        let taken = memory.mut_enter(|queue| {
            for number in 0..count {
                while queue.load::<u32>(0).unwrap() == number {
                    std::thread::yield_now();
                }
                let entry = queue[128..][number as usize % ENTRIES * SIZE..][..SIZE].to_vec();
                assert_eq!(entry[..4], number.to_ne_bytes());
                assert!(entry[4..].iter().all(|&byte| byte == number as u8));
                queue.store(64, number + 1).unwrap();
            }
        });
        taken.unwrap();
    });
}
