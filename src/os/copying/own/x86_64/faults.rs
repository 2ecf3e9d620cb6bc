//! A hole at every byte of a copy, in each of the ways that processors have it: also in those that this one would not choose.

use super::super::WRITE;
use super::{NARROW, Outcome, copy, copy_avx, detect, exchange_8, exchange_16, exchange_32, exchange_64};
use super::{add_8, add_16, add_32, add_64, fill, fill_avx};
use crate::Protection;
use crate::access_fault::FaultKind;
use crate::area::Area;
use crate::page;
use std::vec::Vec;

const LENGTHS: [usize; 28] = [
    1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 47, 63, 64, 65, 80, 96, 127, 128, 129, 159, 160, 200,
    257, 300,
];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Narrow,
    /// With AVX; from how many bytes on by `rep`.
    Wide(usize),
}

fn ways() -> Vec<Way> {
    let all = [Way::Narrow, Way::Wide(usize::MAX), Way::Wide(65)];
    all.into_iter().filter(|&way| way == Way::Narrow || detect().get() > NARROW).collect()
}

fn copy_by(way: Way, to: *mut u8, from: *const u8, len: usize) -> Outcome {
    match way {
        // SAFETY: bytes of this file's areas, which nobody refers to.
        Way::Narrow => unsafe { copy(to, from, len) },
        // SAFETY: as above; the processor has AVX (`ways`).
        Way::Wide(rep_from) => unsafe { copy_avx(to, from, len, rep_from) },
    }
}

/// (Without AVX, too, there is `rep`.)
fn fill_by(way: Way, rep_from: usize, to: *mut u8, len: usize) -> Outcome {
    match way {
        // SAFETY: as above.
        Way::Narrow => unsafe { fill(to, 0xC3, len, rep_from) },
        // SAFETY: as above.
        Way::Wide(_) => unsafe { fill_avx(to, 0xC3, len, rep_from) },
    }
}

/// Two pages, the second of which can be read at most, and a third.
struct Holed {
    area: Area,
}

impl Holed {
    fn new(hole: Protection) -> Self {
        let area = Area::new(3);
        area.protect(1, 1, hole);
        Self { area }
    }

    fn place(&self, offset: usize) -> *mut u8 {
        self.area.pointer().cast_mut().wrapping_add(offset)
    }

    fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        // SAFETY: readable pages, that are read by nobody else.
        unsafe { core::slice::from_raw_parts(self.place(offset), len) }.to_vec()
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: writable pages, that nobody else uses.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.place(offset), bytes.len()) };
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31) as u8 | 1).collect()
}

/// What an outcome says, in bytes that were done; and that it is of the right kind.
fn done(outcome: Outcome, len: usize, is_write: bool) -> usize {
    if outcome.first > 0 {
        assert_eq!(FaultKind::from_code(outcome.why & 255), FaultKind::NotPermitted);
        assert_eq!(outcome.why & !255, if is_write { WRITE } else { 0 });
    }
    len - outcome.first
}

#[test]
fn what_cannot_be_read_is_exact() {
    crate::fault::install().unwrap();
    let (holed, room) = (Holed::new(Protection::NONE), Holed::new(Protection::READ));
    let size = page::size();
    for way in ways() {
        for len in LENGTHS {
            for before in 0..=len {
                // At different places in their cache lines, and at the same.
                for shift in [0, 5] {
                    let from = size - before;
                    let to = from - 1024 + shift;
                    let (bytes, around) = (pattern(before), std::vec![0xAA; size]);
                    holed.write(from, &bytes);
                    room.write(0, &around);
                    let outcome = copy_by(way, room.place(to), holed.place(from), len);
                    let what = (way, len, before, shift);
                    assert_eq!(done(outcome, len, false), before, "{what:?}");
                    let now = room.bytes(0, size);
                    assert!(now[to..][..before] == bytes, "{what:?}");
                    let rest = now[..to].iter().chain(&now[to + before..]);
                    assert!(rest.copied().all(|byte| byte == 0xAA), "{what:?}: too far");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_written_is_exact() {
    crate::fault::install().unwrap();
    let (holed, source) = (Holed::new(Protection::READ), Holed::new(Protection::READ));
    let size = page::size();
    let bytes = pattern(size);
    source.write(0, &bytes);
    for way in ways() {
        for len in LENGTHS {
            for before in 0..=len {
                for shift in [0, 5] {
                    let to = size - before;
                    let from = to - 1024 + shift;
                    let around = std::vec![0xAA; size];
                    let what = (way, len, before, shift);
                    let look = |outcome: Outcome, expected: &[u8]| {
                        assert_eq!(done(outcome, len, true), before, "{what:?}");
                        let now = holed.bytes(0, size);
                        assert!(now[to..] == *expected, "{what:?}");
                        assert!(now[..to].iter().all(|&byte| byte == 0xAA), "{what:?}: in front");
                        holed.write(0, &around);
                    };
                    holed.write(0, &around);
                    look(copy_by(way, holed.place(to), source.place(from), len), &bytes[from..][..before]);
                    for rep_from in [usize::MAX, 65] {
                        look(fill_by(way, rep_from, holed.place(to), len), &std::vec![0xC3; before]);
                    }
                }
            }
        }
    }
}

/// From within the hole on, and out of it again: nothing is written behind it.
#[test]
fn what_begins_in_a_hole_writes_nothing_behind_it() {
    crate::fault::install().unwrap();
    let (holed, source) = (Holed::new(Protection::READ), Holed::new(Protection::READ));
    let size = page::size();
    source.write(0, &pattern(size));
    for way in ways() {
        for len in LENGTHS {
            for inside in 1..=len {
                let to = 2 * size - inside;
                let outcomes = [
                    copy_by(way, holed.place(to), source.place(3), len),
                    copy_by(way, holed.place(to), source.place(to % 64), len),
                    fill_by(way, usize::MAX, holed.place(to), len),
                    fill_by(way, 65, holed.place(to), len),
                ];
                for outcome in outcomes {
                    assert_eq!(done(outcome, len, true), 0, "{way:?} {len} {inside}");
                }
                assert!(holed.bytes(2 * size, len).iter().all(|&byte| byte == 0), "{way:?} {len} {inside}");
            }
        }
    }
}

/// A change of a word locks it: what is lost without, is lost too seldom to be seen. (`xchg` always does.)
#[test]
fn changes_of_words_are_locked() {
    type Change = [(*const u8, &'static str); 8];
    #[rustfmt::skip]
    let all: Change = [
        (add_8 as *const u8, "add"), (add_16 as *const u8, "add"), (add_32 as *const u8, "add"), (add_64 as *const u8, "add"),
        (exchange_8 as *const u8, "exchange"), (exchange_16 as *const u8, "exchange"),
        (exchange_32 as *const u8, "exchange"), (exchange_64 as *const u8, "exchange"),
    ];
    for (place, name) in all {
        // SAFETY: code of this program, which can be read, and behind which there is more.
        let code = unsafe { core::slice::from_raw_parts(place, 16) };
        // `xadd` and `cmpxchg` (0F C0, C1, B0, B1), behind `lock` (F0) and perhaps 66 and REX.W.
        let at =
            code.windows(2).position(|two| two[0] == 0x0F && matches!(two[1], 0xB0 | 0xB1 | 0xC0 | 0xC1));
        // (The last byte of `mov rax, rsi`, which comes first, looks the same.)
        let prefixes = &code[..at.unwrap()];
        let prefixes = prefixes.strip_prefix(&[0x48, 0x89, 0xF0]).unwrap_or(prefixes);
        assert!(prefixes.contains(&0xF0) && prefixes.len() <= 3, "{name}: {code:x?}");
    }
}
