//! Copies from and to memory that is taken away: exact offsets, kinds, and nothing touched that should not be.

mod common;

use common::{Area, rounds, skipped};
use folio::fault::{self, FaultKind, Installed, RawMemory, RawMemoryMut};
use folio::{ErrorKind, MmapOptions, Operation, Pages, Protection, page};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Whether this machine has copies; if not, the test is skipped. Where they are system calls, words are not to be had.
fn supported(test: &str) -> bool {
    match fault::install() {
        Ok(()) => true,
        Err(error) => {
            skipped(test, &error.to_string());
            false
        }
    }
}

fn has_words() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "riscv64"))
}

fn memory(area: &Area) -> RawMemoryMut<'_> {
    // SAFETY: the area's own pages, to which nobody has references; what is unmapped stays within the area's borders.
    unsafe { RawMemoryMut::new(area.pointer().cast_mut(), area.len()) }
}

/// What the byte at an offset is in these tests.
fn pattern(offset: usize) -> u8 {
    (offset.wrapping_mul(31) ^ offset >> 8) as u8
}

#[test]
fn installing_twice_is_installing_once() {
    if !supported("installing_twice_is_installing_once") {
        return;
    }
    fault::install().unwrap();
    assert_eq!(fault::installed().unwrap(), Installed::Yes);
}

/// Every length up to a page, at several alignments of both sides, as `memcpy`; the bytes around are as they were.
#[test]
fn every_length_and_alignment_is_copied_whole() {
    if !supported("every_length_and_alignment_is_copied_whole") {
        return;
    }
    let source: Vec<u8> = (0..8192).map(pattern).collect();
    // SAFETY: bytes of a vector that nobody writes to.
    let memory = unsafe { RawMemory::new(source.as_ptr(), source.len()) };
    let step = if rounds(100) < 100 { 13 } else { 1 };
    for len in (0..=512).chain((513..=4096).step_by(7 * step)).chain([4095, 4096]) {
        for (from, to) in [(0, 0), (1, 0), (0, 1), (3, 7), (15, 16), (31, 33), (63, 1), (64, 63)] {
            let mut copy = vec![0xAA; to + len + 64];
            memory.try_copy_to(from, &mut copy[to..][..len]).unwrap();
            assert_eq!(copy[to..][..len], source[from..][..len], "{len} bytes from {from} to {to}");
            assert!(copy[..to].iter().all(|&byte| byte == 0xAA), "{len} bytes from {from} to {to}: before");
            assert!(
                copy[to + len..].iter().all(|&byte| byte == 0xAA),
                "{len} bytes from {from} to {to}: behind"
            );
            // SAFETY: bytes of a vector that is not used otherwise meanwhile.
            let memory = unsafe { RawMemoryMut::new(copy.as_mut_ptr(), copy.len()) };
            memory.try_fill(to, len, 0x55).unwrap();
            memory.try_copy_from(to, &source[..len / 2]).unwrap();
            assert_eq!(copy[to..][..len / 2], source[..len / 2], "{len} bytes to {to}");
            assert!(
                copy[to + len / 2..][..len - len / 2].iter().all(|&byte| byte == 0x55),
                "{len} bytes at {to}"
            );
            assert!(copy[..to].iter().all(|&byte| byte == 0xAA), "{len} bytes at {to}: before");
            assert!(copy[to + len..].iter().all(|&byte| byte == 0xAA), "{len} bytes at {to}: behind");
        }
    }
    let long: Vec<u8> = (0..5 << 20).map(pattern).collect();
    // SAFETY: bytes of a vector that nobody writes to.
    let memory = unsafe { RawMemory::new(long.as_ptr(), long.len()) };
    for (from, len) in [(0, 5 << 20), (1, 3 << 20), (77, (1 << 20) + 5)] {
        let mut copy = vec![0; len];
        memory.try_copy_to(from, &mut copy).unwrap();
        assert!(copy == long[from..][..len]);
    }
}

/// Whatever lies directly before a page that cannot be touched, or behind one, is copied without touching that page.
#[test]
fn nothing_outside_of_the_range_is_touched() {
    if !supported("nothing_outside_of_the_range_is_touched") {
        return;
    }
    let area = Area::new(3);
    let size = page::size();
    let bytes: Vec<u8> = (0..size).map(pattern).collect();
    memory(&area).try_copy_from(size, &bytes).unwrap();
    area.protect(0, 1, Protection::NONE);
    area.protect(2, 1, Protection::NONE);
    let mut copy = vec![0; size];
    for len in (0..=300).chain([511, 512, 1000, size - 1, size]) {
        for from in [size, 2 * size - len] {
            memory(&area).try_copy_to(from, &mut copy[..len]).unwrap();
            assert_eq!(copy[..len], bytes[from - size..][..len]);
            memory(&area).try_copy_from(from, &copy[..len]).unwrap();
            assert_eq!(memory(&area).try_compare(from, &copy[..len]).unwrap(), Ordering::Equal);
        }
        memory(&area).try_fill(2 * size - len, len, bytes[0]).unwrap();
        memory(&area).try_copy_from(size, &bytes).unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Hole {
    None,
    ReadOnly,
}

fn hole() -> impl Strategy<Value = Hole> {
    prop_oneof![Just(Hole::None), Just(Hole::ReadOnly)]
}

/// As many as 24 of 4 KiB, where these are larger.
fn pages() -> usize {
    (24 * 4096 / page::size()).max(4)
}

proptest! {
    /// Trap: the offset of a fault comes from the registers. Exact, wherever the hole is, and what comes before it is copied.
    #[test]
    fn faults_are_exact_to_the_byte(
        start in 0_usize..3 * 4096,
        len in prop_oneof![0_usize..300, 0_usize..4 * 4096, 16 * 4096_usize..20 * 4096],
        shift in 0_usize..80,
        // Both sides at the same place in their cache lines: long copies have a way of their own for that.
        alike in any::<bool>(),
        first in prop_oneof![0_usize..4, 0..pages()],
        hole in hole(),
    ) {
        if !supported("faults_are_exact_to_the_byte") {
            return Ok(());
        }
        let size = page::size();
        let area = Area::new(pages());
        let all: Vec<u8> = (0..area.len()).map(pattern).collect();
        memory(&area).try_copy_from(0, &all).unwrap();
        area.protect(first, 1, match hole { Hole::None => Protection::NONE, Hole::ReadOnly => Protection::READ });
        let memory = memory(&area);
        let start = start + size - 4096;
        let len = len.min(area.len() - start);
        let hole_at = (start..start + len).find(|at| at / size == first);
        let readable = matches!(hole, Hole::ReadOnly);

        // Out of it.
        let mut copy = vec![0xAA; shift + len + 128];
        let place = memory.as_ptr().addr().wrapping_add(start);
        let shift = if alike { place.wrapping_sub(copy.as_ptr().addr()) % 64 } else { shift };
        let result = memory.try_copy_to(start, &mut copy[shift..][..len]);
        let expected = hole_at.filter(|_| !readable);
        let done = expected.map_or(len, |at| at - start);
        prop_assert_eq!(&copy[shift..][..done], &all[start..][..done]);
        prop_assert!(copy[..shift].iter().chain(&copy[shift + done..]).all(|&byte| byte == 0xAA));
        match expected {
            None => result.unwrap(),
            Some(at) => {
                let error = result.unwrap_err();
                prop_assert_eq!(error.kind(), ErrorKind::Fault);
                let fault = error.fault().unwrap();
                prop_assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (at, false, FaultKind::NotPermitted));
            }
        }
        match (memory.try_compare(start, &all[start..][..len]), expected) {
            (Ok(order), None) => prop_assert_eq!(order, Ordering::Equal),
            (Err(error), Some(at)) => prop_assert_eq!(error.fault().unwrap().offset(), at),
            other => prop_assert!(false, "{:?}", other),
        }

        // Into it, and a byte everywhere in it.
        let new: Vec<u8> = all.iter().map(|byte| !byte).collect();
        for fill in [false, true] {
            let result = if fill {
                memory.try_fill(start, len, 0x77)
            } else {
                let mut from = vec![0; shift + len + 64];
                let shift = if alike { place.wrapping_sub(from.as_ptr().addr()) % 64 } else { shift };
                from[shift..][..len].copy_from_slice(&new[start..][..len]);
                memory.try_copy_from(start, &from[shift..][..len])
            };
            let done = hole_at.map_or(len, |at| at - start);
            match hole_at {
                None => result.unwrap(),
                Some(at) => {
                    let fault = result.unwrap_err().fault().unwrap();
                    prop_assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (at, true, FaultKind::NotPermitted));
                }
            }
            area.protect(first, 1, Protection::READ_WRITE);
            let mut now = vec![0; area.len()];
            memory.try_copy_to(0, &mut now).unwrap();
            let mut model = all.clone();
            if fill {
                model[start..][..done].fill(0x77);
            } else {
                model[start..][..done].copy_from_slice(&new[start..][..done]);
            }
            // Where the hole begins in the midst of it, a store that reaches from the hole into the next page may have been made in
            // part, but for x86.
            prop_assert!(now == model);
            memory.try_copy_from(0, &all).unwrap();
            area.protect(first, 1, match hole { Hole::None => Protection::NONE, Hole::ReadOnly => Protection::READ });
        }
    }
}

#[test]
fn the_kind_of_a_fault_is_told() {
    if !supported("the_kind_of_a_fault_is_told") {
        return;
    }
    let area = Area::apart(3);
    area.unmap(1, 1);
    let size = page::size();
    let mut bytes = vec![0; 2 * size];
    let error = memory(&area).try_copy_to(1, &mut bytes).unwrap_err();
    let fault = error.fault().unwrap();
    assert_eq!((fault.offset(), fault.kind(), fault.is_write()), (size, FaultKind::NotMapped, false));
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Fault, Operation::Copy));
    assert_eq!(error.range(), Some(area.base()..area.page(3)));
    let text = error.to_string();
    assert!(text.contains("could not be read: nothing is mapped there"), "{text}");
    let fault = memory(&area).try_fill(size - 3, 10, 1).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.kind(), fault.is_write()), (size, FaultKind::NotMapped, true));
    area.map(1, 1, Protection::READ_WRITE);
    memory(&area).try_copy_to(0, &mut bytes).unwrap();
    assert_eq!(bytes[size - 3..][..3], [1; 3]);
}

/// The kind is that of the side that failed, whichever it is.
#[test]
fn a_fault_of_the_other_side_is_told_as_such() {
    if !supported("a_fault_of_the_other_side_is_told_as_such") {
        return;
    }
    let (good, bad) = (Area::new(1), Area::new(1));
    bad.protect(0, 1, Protection::NONE);
    // SAFETY: pages of this test; that they cannot be touched is what it is about.
    let other = unsafe { std::slice::from_raw_parts_mut(bad.pointer().cast_mut(), 90) };
    let fault = memory(&good).try_copy_from(5, other).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (5, false, FaultKind::NotPermitted));
    let fault = memory(&good).try_copy_to(5, other).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (5, true, FaultKind::NotPermitted));
}

/// Trap: `si_addr` is 0 for addresses that no process can have; the kernel's own are not to be had either.
#[test]
fn addresses_that_no_process_has_are_faults() {
    if !supported("addresses_that_no_process_has_are_faults") {
        return;
    }
    let high = |bit| 1_usize.checked_shl(bit).unwrap_or(0);
    for start in [0, high(47), high(63), usize::MAX - 4096, usize::MAX - 200, 8] {
        let start = if usize::BITS == 64 { start } else { start & 0xff };
        // SAFETY: nothing is there.
        let memory = unsafe { RawMemoryMut::new(std::ptr::without_provenance_mut(start), 190) };
        for (offset, len) in [(0, 1), (3, 8), (5, 60), (0, 190)] {
            let error = memory.try_copy_to(offset, &mut vec![0; len]).unwrap_err();
            let fault = error.fault().unwrap_or_else(|| panic!("{start:#x}: {error}"));
            assert_eq!((fault.offset(), fault.is_write()), (offset, false), "{start:#x}");
            assert!(
                matches!(fault.kind(), FaultKind::NotMapped | FaultKind::NotPermitted),
                "{start:#x}: {fault}"
            );
            let fault = memory.try_fill(offset, len, 1).unwrap_err().fault().unwrap();
            assert_eq!((fault.offset(), fault.is_write()), (offset, true), "{start:#x}");
            let fault = memory.try_copy_from(offset, &vec![0; len]).unwrap_err().fault().unwrap();
            assert_eq!((fault.offset(), fault.is_write()), (offset, true), "{start:#x}");
        }
    }
}

#[test]
fn what_lies_outside_is_refused_before_anything_is_done() {
    if !supported("what_lies_outside_is_refused_before_anything_is_done") {
        return;
    }
    let mut pages = Pages::new(1).unwrap();
    let size = pages.len();
    for (offset, len) in
        [(size, 1), (size - 1, 2), (usize::MAX, 1), (usize::MAX, 2), (size + 1, 0), (0, size + 1)]
    {
        let mut bytes = vec![7; len];
        let refused = [
            pages.try_copy_to(offset, &mut bytes).unwrap_err().kind(),
            pages.try_compare(offset, &bytes).unwrap_err().kind(),
            pages.try_copy_from(offset, &bytes).unwrap_err().kind(),
            pages.try_fill(offset, len, 7).unwrap_err().kind(),
            pages.try_fill(offset, usize::MAX, 7).unwrap_err().kind(),
            pages.try_read::<[u8; 9]>(size - 8).unwrap_err().kind(),
            pages.try_write(size - 8, [7_u8; 9]).unwrap_err().kind(),
            pages.try_load::<u16>(size - 1).unwrap_err().kind(),
            pages.try_load::<u16>(1).unwrap_err().kind(),
            pages.try_store(size, 7_u8).unwrap_err().kind(),
            pages.try_fetch_add(2, 7_u32).unwrap_err().kind(),
        ];
        assert_eq!(refused, [ErrorKind::InvalidInput; 11], "{offset} {len}");
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
    assert!(pages.iter().all(|&byte| byte == 0));
    pages.try_copy_from(size, &[]).unwrap();
    pages.try_fill(size, 0, 1).unwrap();
}

#[test]
fn values_are_read_and_written_at_any_offset() {
    if !supported("values_are_read_and_written_at_any_offset") {
        return;
    }
    let mut pages = Pages::new(1).unwrap();
    pages.try_write(3, 0x1122_3344_5566_7788_u64).unwrap();
    assert_eq!(pages.try_read::<u64>(3).unwrap(), 0x1122_3344_5566_7788);
    pages.try_write(100, [1.5_f32, -2.0, 3.25]).unwrap();
    assert_eq!(pages.try_read::<[f32; 3]>(100).unwrap(), [1.5, -2.0, 3.25]);
    pages.try_write(200, u128::MAX - 5).unwrap();
    assert_eq!(pages.try_read::<u128>(200).unwrap(), u128::MAX - 5);
    let mut room = [std::mem::MaybeUninit::uninit(); 8];
    assert_eq!(pages.try_copy_to_uninit(3, &mut room).unwrap(), 0x1122_3344_5566_7788_u64.to_ne_bytes());
    let pages = pages.make_read_only().unwrap();
    assert_eq!(pages.try_read::<u64>(3).unwrap(), 0x1122_3344_5566_7788);
    assert_eq!(pages.try_compare(100, &1.5_f32.to_ne_bytes()).unwrap(), Ordering::Equal);
    let mut write_only = MmapOptions::new(1).map_mut().unwrap().deny_read().unwrap();
    let written = write_only.try_write(5, 7_u8);
    if let Err(error) = written {
        assert_eq!(error.fault().unwrap().kind(), FaultKind::NotPermitted);
    }
}

#[test]
fn comparing_is_comparing_slices() {
    if !supported("comparing_is_comparing_slices") {
        return;
    }
    let area = Area::new(2);
    let size = page::size();
    let bytes: Vec<u8> = (0..size).map(pattern).collect();
    memory(&area).try_copy_from(0, &bytes).unwrap();
    area.protect(1, 1, Protection::NONE);
    let compare = |offset, with: &[u8]| memory(&area).try_compare(offset, with);
    assert_eq!(compare(0, &bytes).unwrap(), Ordering::Equal);
    for at in [0, 1, 15, 1023, 1024, 1500, size - 1] {
        for change in [1_u8, 0xff] {
            let mut other = bytes.clone();
            other[at] = other[at].wrapping_add(change);
            // A difference before the hole decides.
            let mut beyond = other.clone();
            beyond.extend([0; 10]);
            assert_eq!(compare(0, &other).unwrap(), bytes.cmp(&other), "{at}");
            assert_eq!(compare(0, &beyond).unwrap(), bytes.cmp(&other), "{at}");
        }
    }
    let mut beyond = bytes.clone();
    beyond.extend([0; 10]);
    assert_eq!(compare(0, &beyond).unwrap_err().fault().unwrap().offset(), size);
    assert_eq!(compare(5, &beyond[5..]).unwrap_err().fault().unwrap().offset(), size);
}

/// Of one type of word: every access as that of `core::sync::atomic`.
macro_rules! word {
    ($memory:expr, $type:ident) => {{
        let (memory, most) = ($memory, $type::MAX);
        let at = 8 * size_of::<$type>();
        // Neighbours that must stay.
        memory.try_fill(at - 8, 8, 0xEE).unwrap();
        memory.try_fill(at + size_of::<$type>(), 8, 0xEE).unwrap();
        memory.try_store::<$type>(at, 5).unwrap();
        assert_eq!(memory.try_load::<$type>(at).unwrap(), 5);
        assert_eq!(memory.try_swap::<$type>(at, most).unwrap(), 5);
        assert_eq!(memory.try_fetch_add::<$type>(at, 3).unwrap(), most);
        assert_eq!(memory.try_fetch_sub::<$type>(at, 4).unwrap(), 2);
        assert_eq!(memory.try_load::<$type>(at).unwrap(), most - 1);
        assert_eq!(memory.try_fetch_and::<$type>(at, 0x7c).unwrap(), most - 1);
        assert_eq!(memory.try_fetch_or::<$type>(at, 0x03).unwrap(), 0x7c);
        assert_eq!(memory.try_fetch_xor::<$type>(at, 0x0f).unwrap(), 0x7f);
        assert_eq!(memory.try_compare_exchange::<$type>(at, 0x70, most - 9).unwrap(), Ok(0x70));
        assert_eq!(memory.try_compare_exchange::<$type>(at, 0x70, 0).unwrap(), Err(most - 9));
        assert_eq!(memory.try_compare_exchange::<$type>(at, most, 0).unwrap(), Err(most - 9));
        assert_eq!(memory.try_load::<$type>(at).unwrap(), most - 9);
        assert_eq!(memory.try_compare(at - 8, &[0xEE; 8]).unwrap(), Ordering::Equal);
        assert_eq!(memory.try_compare(at + size_of::<$type>(), &[0xEE; 8]).unwrap(), Ordering::Equal);
    }};
}

#[test]
fn words_are_reached_as_a_whole() {
    let test = "words_are_reached_as_a_whole";
    if !supported(test) {
        return;
    }
    let area = Area::new(1);
    let memory = memory(&area);
    if !has_words() {
        assert_eq!(memory.try_load::<u8>(0).unwrap_err().kind(), ErrorKind::Unsupported);
        return skipped(test, "words cannot be reached on this processor");
    }
    word!(memory, u8);
    word!(memory, u16);
    word!(memory, u32);
    word!(memory, usize);
    #[cfg(target_pointer_width = "64")]
    word!(memory, u64);
    // Many threads.
    memory.try_fill(0, 64, 0).unwrap();
    let times = rounds(20_000);
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                // One that loses an update now and then is found by many.
                for _ in 0..5 * times {
                    let mut seen = memory.try_load::<u32>(32).unwrap();
                    while let Err(now) = memory.try_compare_exchange(32, seen, seen + 1).unwrap() {
                        seen = now;
                    }
                }
                for _ in 0..times {
                    memory.try_fetch_add(8, 1_u16).unwrap();
                    memory.try_fetch_sub(16, 1_usize).unwrap();
                    memory.try_fetch_xor(24, 1_u8).unwrap();
                }
            });
        }
    });
    assert_eq!(memory.try_load::<u16>(8).unwrap(), (4 * times) as u16);
    assert_eq!(memory.try_load::<usize>(16).unwrap(), (4 * times as usize).wrapping_neg());
    assert_eq!(memory.try_load::<u8>(24).unwrap(), 0);
    assert_eq!(memory.try_load::<u32>(32).unwrap(), 20 * times);
}

/// Trap: a compare-and-swap on read-only memory faults; a load must not write.
#[test]
fn words_of_read_only_memory_can_be_loaded_and_nothing_else() {
    let test = "words_of_read_only_memory_can_be_loaded_and_nothing_else";
    if !supported(test) || !has_words() {
        return skipped(test, "no words");
    }
    let area = Area::new(2);
    memory(&area).try_store(0, 9_u32).unwrap();
    area.protect(0, 1, Protection::READ);
    area.protect(1, 1, Protection::NONE);
    let size = page::size();
    let memory = memory(&area);
    assert_eq!(memory.try_load::<u32>(0).unwrap(), 9);
    for offset in [0, size] {
        let errors = [
            memory.try_store(offset, 1_u8).unwrap_err(),
            memory.try_swap(offset, 1_u16).unwrap_err(),
            memory.try_fetch_add(offset, 1_u32).unwrap_err(),
            memory.try_fetch_and(offset, 1_usize).unwrap_err(),
            memory.try_compare_exchange(offset, 9_u32, 1).unwrap_err(),
            // Also when nothing would be written.
            memory.try_compare_exchange(offset, 8_u32, 1).unwrap_err(),
            memory.try_compare_exchange(offset, 8_usize, 1).unwrap_err(),
        ];
        for error in errors {
            let fault = error.fault().unwrap();
            assert_eq!(
                (fault.offset(), fault.is_write(), fault.kind()),
                (offset, true, FaultKind::NotPermitted)
            );
        }
    }
    let fault = memory.try_load::<usize>(size).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (size, false, FaultKind::NotPermitted));
    assert_eq!(memory.try_load::<u32>(0).unwrap(), 9);
}

/// Faults in many threads at once, each of which gets its own.
#[test]
fn sixteen_threads_fault_at_once() {
    if !supported("sixteen_threads_fault_at_once") {
        return;
    }
    let area = Area::new(17);
    for hole in (0..17).filter(|page| page % 2 == 1) {
        area.protect(hole, 1, Protection::NONE);
    }
    let memory = memory(&area);
    let size = page::size();
    std::thread::scope(|scope| {
        for thread in 0..16_usize {
            scope.spawn(move || {
                let even = thread / 2 * 2;
                for round in 0..rounds(500) as usize {
                    let before = (round * 7 + thread) % size.min(4096);
                    let mut bytes = [0; 5000];
                    let start = (even + 1) * size - before;
                    let fault = memory.try_copy_to(start, &mut bytes).unwrap_err().fault().unwrap();
                    assert_eq!((fault.offset(), fault.is_write()), ((even + 1) * size, false));
                    let fault = memory.try_fill(start, 5000, 0).unwrap_err().fault().unwrap();
                    assert_eq!((fault.offset(), fault.is_write()), ((even + 1) * size, true));
                }
            });
        }
    });
}

/// Lets the other thread end, also when this one panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Pages change between nothing and all while they are copied: each copy ends well or with an exact offset.
#[test]
fn protection_that_changes_meanwhile_is_an_error_or_none() {
    use std::sync::atomic::Ordering::Relaxed;
    if !supported("protection_that_changes_meanwhile_is_an_error_or_none") {
        return;
    }
    let area = Area::new(8);
    let all: Vec<u8> = (0..area.len()).map(pattern).collect();
    memory(&area).try_copy_from(0, &all).unwrap();
    let (done, faults) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                for page in 3..6 {
                    area.protect(page, 1, Protection::NONE);
                    area.protect(page, 1, Protection::READ_WRITE);
                }
            }
        });
        let _ends = Ends(&done);
        let mut copy = vec![0; area.len()];
        for _ in 0..rounds(3000) {
            copy.fill(0);
            let seen = match memory(&area).try_copy_to(5, &mut copy[5..]) {
                Ok(()) => area.len(),
                Err(error) => {
                    faults.fetch_add(1, Relaxed);
                    error.fault().unwrap().offset()
                }
            };
            assert!(copy[5..seen] == all[5..seen]);
            assert!(copy[seen..].iter().all(|&byte| byte == 0));
        }
    });
    eprintln!("{} copies met a hole", faults.into_inner());
}
