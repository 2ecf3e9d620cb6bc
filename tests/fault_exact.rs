//! A hole at every byte of a copy: what is left is exact, and nothing behind the fault is written, on every processor.

mod common;

use common::{Area, rounds, skipped};
use folio::fault::{self, Fault, FaultKind, RawMemoryMut};
use folio::{Protection, page};

const LENGTHS: [usize; 16] = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 100, 129, 200, 300];

fn supported(test: &str) -> bool {
    let installed = fault::install();
    if let Err(error) = &installed {
        skipped(test, &error.to_string());
    }
    installed.is_ok()
}

fn memory(area: &Area) -> RawMemoryMut<'_> {
    // SAFETY: the area's own pages, to which nobody has references.
    unsafe { RawMemoryMut::new(area.pointer().cast_mut(), area.len()) }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ at >> 8) as u8 | 1).collect()
}

/// Of the bytes before the hole, in a copy of `len`: all numbers, or some.
fn numbers(len: usize) -> impl Iterator<Item = usize> {
    let step = if rounds(100) < 100 { 7 } else { 1 };
    (0..len).step_by(step).chain([len - 1, len])
}

/// As expected where `before` bytes come before the hole.
fn check(done: folio::Result<()>, len: usize, offset: usize, before: usize, write: bool) {
    let expected = (before < len).then_some((offset + before, write, FaultKind::NotPermitted));
    let seen = done.err().map(|error| error.fault().unwrap());
    let seen = seen.map(|fault: Fault| (fault.offset(), fault.is_write(), fault.kind()));
    assert_eq!(seen, expected, "{len} bytes, {before} before the hole");
}

#[test]
fn a_hole_is_met_exactly_wherever_it_begins() {
    if !supported("a_hole_is_met_exactly_wherever_it_begins") {
        return;
    }
    let (size, area) = (page::size(), Area::new(3));
    let memory = memory(&area);
    for len in LENGTHS {
        for before in numbers(len) {
            let (offset, bytes, shift) = (size - before, pattern(len), before % 9);
            // Out of it.
            memory.try_copy_from(offset, &bytes[..before]).unwrap();
            area.protect(1, 1, Protection::NONE);
            let mut copy = vec![0xAA; len + 64];
            check(memory.try_copy_to(offset, &mut copy[shift..][..len]), len, offset, before, false);
            assert!(copy[shift..][..before] == bytes[..before], "{len} {before}");
            let rest = copy[..shift].iter().chain(&copy[shift + before..]);
            assert!(rest.copied().all(|byte| byte == 0xAA), "{len} {before}: too far");
            // Into it.
            area.protect(1, 1, Protection::READ);
            for fill in [false, true] {
                memory.try_fill(offset - 64, before + 64, 0xAA).unwrap();
                let done = match fill {
                    false => memory.try_copy_from(offset, &bytes),
                    true => memory.try_fill(offset, len, bytes[0]),
                };
                check(done, len, offset, before, true);
                let mut now = vec![0; before + 64];
                memory.try_copy_to(offset - 64, &mut now).unwrap();
                let expected = if fill { vec![bytes[0]; before] } else { bytes[..before].to_vec() };
                assert!(now[64..] == expected, "{len} {before}");
                assert!(now[..64].iter().all(|&byte| byte == 0xAA), "{len} {before}: in front");
            }
            area.protect(1, 1, Protection::READ_WRITE);
        }
    }
}

/// Processors may write what lies behind a page that they cannot write to, in one store that reaches into both.
#[test]
fn what_begins_in_a_hole_writes_nothing_behind_it() {
    if !supported("what_begins_in_a_hole_writes_nothing_behind_it") {
        return;
    }
    let (size, area) = (page::size(), Area::new(3));
    let memory = memory(&area);
    area.protect(1, 1, Protection::READ);
    for len in LENGTHS {
        for inside in numbers(len).filter(|&inside| inside > 0) {
            let offset = 2 * size - inside;
            check(memory.try_copy_from(offset, &pattern(len)), len, offset, 0, true);
            check(memory.try_fill(offset, len, 7), len, offset, 0, true);
            let mut behind = vec![1; len];
            memory.try_copy_to(2 * size, &mut behind).unwrap();
            assert!(behind.iter().all(|&byte| byte == 0), "{len} {inside}");
        }
    }
}

/// Long ones have ways of their own; and their other side may lie at the same place in its cache lines, or not.
#[test]
fn a_hole_is_met_exactly_in_long_copies() {
    if !supported("a_hole_is_met_exactly_in_long_copies") {
        return;
    }
    let size = page::size();
    let len = 300_000;
    let count = len / size + 3;
    let area = Area::new(count);
    let memory = memory(&area);
    let bytes = pattern(area.len() + 64);
    for (hole, start) in [(1, 0), (1, size - 1), (2, 77), (count - 3, 64), (count - 3, size - 3), (0, 5)] {
        for shift in [0, 1, 64] {
            let before = (hole * size).saturating_sub(start);
            let from = &bytes[shift..][..len];
            memory.try_fill(0, area.len(), 0xAA).unwrap();
            memory.try_copy_from(start, from).unwrap();
            area.protect(hole, 1, Protection::NONE);
            let mut room = vec![0; len + 128];
            let place = memory.as_ptr().addr() + start;
            let to = if shift == 0 { place.wrapping_sub(room.as_ptr().addr()) % 64 } else { shift };
            let copy = &mut room[to..][..len];
            check(memory.try_copy_to(start, copy), len, start, before, false);
            assert!(copy[..before] == from[..before] && copy[before..].iter().all(|&byte| byte == 0));
            // The other way round.
            let (mut now, mut expected) = (vec![0; area.len()], vec![0xAA; area.len()]);
            for fill in [false, true] {
                area.protect(hole, 1, Protection::READ_WRITE);
                memory.try_fill(0, area.len(), 0xAA).unwrap();
                area.protect(hole, 1, Protection::READ);
                copy.copy_from_slice(from);
                expected.fill(0xAA);
                if fill {
                    expected[start..][..before].fill(0x33);
                    check(memory.try_fill(start, len, 0x33), len, start, before, true);
                } else {
                    expected[start..][..before].copy_from_slice(&from[..before]);
                    check(memory.try_copy_from(start, copy), len, start, before, true);
                }
                memory.try_copy_to(0, &mut now).unwrap();
                assert!(now == expected, "{hole} {start} {shift} {fill}");
            }
            area.protect(hole, 1, Protection::READ_WRITE);
        }
    }
}
