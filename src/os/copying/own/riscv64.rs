//! riscv64.
//!
//! At every instruction that may fault, in a copy: `a0` (to), `a1` (from) and `a2` (left) tell what is still to be done, all before
//! being done. Whatever faults first among the wide moves, the copy goes on byte by byte from there, and that one's fault is the exact
//! one. The handler leaves the kind of the fault in `t0`.
//!
//! All stores are aligned: none reaches into two pages.

use super::{Given, Outcome};
use crate::os::copying::Access;
use core::arch::global_asm;
use core::num::NonZeroUsize;

/// Of one width: a load.
macro_rules! load {
    ($name:literal, $load:literal) => {
        concat!(function!($name), "fence rw, rw\n", $load, " a0, 0(a0)\nfence r, rw\nli a1, 0\nret\n")
    };
}

/// Of one width, each writing also where nothing changes: a word that cannot be written to is one that faults.
macro_rules! changes {
    ($swap:literal, $add:literal, $exchange:literal, $suffix:literal, $extend:literal) => {
        concat!(
            function!($swap),
            concat!("amoswap.", $suffix, ".aqrl a0, a1, (a0)\nli a1, 0\nret\n"),
            function!($add),
            concat!("amoadd.", $suffix, ".aqrl a0, a1, (a0)\nli a1, 0\nret\n"),
            function!($exchange),
            concat!($extend, "\n2: lr.", $suffix, ".aqrl t1, (a0)\nmv t2, t1\nbne t1, a1, 3f\nmv t2, a2\n"),
            concat!("3: sc.", $suffix, ".rl t3, t2, (a0)\nbnez t3, 2b\nmv a0, t1\nli a1, 0\nret\n"),
        )
    };
}

/// Where an instruction may fault: from, up to, and where to go on.
macro_rules! rows {
    ($of:ident) => {
        $of! {
            ("20b", "80b", "46b")
            ("81b", "82b", "46b")
            ("83b", "84b", "46b")
            ("85b", "86b", "46b")
            ("47b", "48b", "72b")
            ("48b", "49b", "73b")
            ("52b", "88b", "66b")
            ("89b", "90b", "66b")
            ("91b", "92b", "66b")
            ("67b", "68b", "73b")
            ("74b", "75b", "72b")
            ("75b", "76b", "73b")
        }
    };
}

pub(super) const ROWS: usize = rows!(count_of);

global_asm!(
    begin!(),
    // copy(a0: to, a1: from, a2: length) -> a0: left, a1: why
    function!("copy"),
    "20:",
    "xor t1, a0, a1",
    "andi t1, t1, 7",
    "bnez t1, 24f",
    "21:",
    "beqz a2, 29f",
    "andi t1, a0, 7",
    "beqz t1, 22f",
    "lbu t2, 0(a1)",
    "sb t2, 0(a0)",
    "80:",
    "addi a0, a0, 1",
    "addi a1, a1, 1",
    "addi a2, a2, -1",
    "81:",
    "j 21b",
    "22:",
    "li t1, 64",
    "bltu a2, t1, 23f",
    "25:",
    "ld t2, 0(a1)",
    "ld t3, 8(a1)",
    "ld t4, 16(a1)",
    "ld t5, 24(a1)",
    "ld t6, 32(a1)",
    "ld a3, 40(a1)",
    "ld a4, 48(a1)",
    "ld a5, 56(a1)",
    "sd t2, 0(a0)",
    "sd t3, 8(a0)",
    "sd t4, 16(a0)",
    "sd t5, 24(a0)",
    "sd t6, 32(a0)",
    "sd a3, 40(a0)",
    "sd a4, 48(a0)",
    "sd a5, 56(a0)",
    "82:",
    "addi a0, a0, 64",
    "addi a1, a1, 64",
    "addi a2, a2, -64",
    "83:",
    "bgeu a2, t1, 25b",
    "23:",
    "li t1, 8",
    "26:",
    "bltu a2, t1, 24f",
    "ld t2, 0(a1)",
    "sd t2, 0(a0)",
    "84:",
    "addi a0, a0, 8",
    "addi a1, a1, 8",
    "addi a2, a2, -8",
    "85:",
    "j 26b",
    "24:",
    "beqz a2, 29f",
    "lbu t2, 0(a1)",
    "sb t2, 0(a0)",
    "86:",
    "addi a0, a0, 1",
    "addi a1, a1, 1",
    "addi a2, a2, -1",
    "j 24b",
    "29:",
    "li a0, 0",
    "ret",
    // Behind a fault: byte by byte. If none of 256 faults again, what was there was mended meanwhile.
    // (Nothing is left when what came, behind the last one, was no fault.)
    "46:",
    "beqz a2, 29b",
    "li t1, 256",
    "47:",
    "lbu t2, 0(a1)",
    "48:",
    "sb t2, 0(a0)",
    "49:",
    "addi a0, a0, 1",
    "addi a1, a1, 1",
    "addi a2, a2, -1",
    "beqz a2, 29b",
    "addi t1, t1, -1",
    "bnez t1, 47b",
    "j 20b",
    // fill(a0: to, a1: byte, a2: length) -> a0: left, a1: why
    function!("fill"),
    "52:",
    "andi a1, a1, 255",
    "slli t1, a1, 8",
    "or t2, a1, t1",
    "slli t1, t2, 16",
    "or t2, t2, t1",
    "slli t1, t2, 32",
    "or t2, t2, t1",
    "53:",
    "beqz a2, 57f",
    "andi t1, a0, 7",
    "beqz t1, 54f",
    "sb a1, 0(a0)",
    "88:",
    "addi a0, a0, 1",
    "addi a2, a2, -1",
    "89:",
    "j 53b",
    "54:",
    "li t1, 8",
    "55:",
    "bltu a2, t1, 56f",
    "sd t2, 0(a0)",
    "90:",
    "addi a0, a0, 8",
    "addi a2, a2, -8",
    "91:",
    "j 55b",
    "56:",
    "beqz a2, 57f",
    "sb a1, 0(a0)",
    "92:",
    "addi a0, a0, 1",
    "addi a2, a2, -1",
    "j 56b",
    "57:",
    "li a0, 0",
    "ret",
    "66:",
    "beqz a2, 57b",
    "li t1, 256",
    "67:",
    "sb a1, 0(a0)",
    "68:",
    "addi a0, a0, 1",
    "addi a2, a2, -1",
    "beqz a2, 57b",
    "addi t1, t1, -1",
    "bnez t1, 67b",
    "j 52b",
    // A byte that could not be read, or written.
    "72:",
    "mv a0, a2",
    "mv a1, t0",
    "ret",
    "73:",
    "mv a0, a2",
    "ori a1, t0, 256",
    "ret",
    "74:",
    load!("load_8", "lbu"),
    load!("load_16", "lhu"),
    load!("load_32", "lwu"),
    load!("load_64", "ld"),
    "75:",
    changes!("swap_32", "add_32", "exchange_32", "w", "sext.w a1, a1"),
    changes!("swap_64", "add_64", "exchange_64", "d", "nop"),
    "76:",
    end!(),
    table!(rows!(text_of)),
);

declare! {
    extern "C" {
        fn copy(to: *mut u8, from: *const u8, len: usize) -> Given;
        fn fill(to: *mut u8, byte: usize, len: usize) -> Given;
        fn load_8(place: *mut u8) -> Given;
        fn load_16(place: *mut u8) -> Given;
        fn load_32(place: *mut u8) -> Given;
        fn load_64(place: *mut u8) -> Given;
        fn swap_32(place: *mut u8, value: usize) -> Given;
        fn swap_64(place: *mut u8, value: usize) -> Given;
        fn add_32(place: *mut u8, value: usize) -> Given;
        fn add_64(place: *mut u8, value: usize) -> Given;
        fn exchange_32(place: *mut u8, expected: usize, value: usize) -> Given;
        fn exchange_64(place: *mut u8, expected: usize, value: usize) -> Given;
    }
}

/// # Safety
///
/// As [`super::word`].
pub(super) unsafe fn word_now(place: *mut u8, size: usize, access: Access) -> Outcome {
    match (size, access) {
        // SAFETY: the caller's promise.
        (1, Access::Load) => unsafe { load_8(place) },
        // SAFETY: the caller's promise.
        (2, Access::Load) => unsafe { load_16(place) },
        // SAFETY: the caller's promise.
        (4, Access::Load) => unsafe { load_32(place) },
        // SAFETY: the caller's promise.
        (_, Access::Load) => unsafe { load_64(place) },
        // SAFETY: the caller's promise.
        (1 | 2, change) => unsafe { narrow(place, size, change) },
        // SAFETY: the caller's promise.
        (4, Access::Swap(value)) => unsafe { swap_32(place, value) },
        // SAFETY: the caller's promise.
        (4, Access::Add(value)) => unsafe { add_32(place, value) },
        // SAFETY: the caller's promise.
        (4, Access::Exchange(old, new)) => unsafe { exchange_32(place, old, new) },
        // SAFETY: the caller's promise.
        (_, Access::Swap(value)) => unsafe { swap_64(place, value) },
        // SAFETY: the caller's promise.
        (_, Access::Add(value)) => unsafe { add_64(place, value) },
        // SAFETY: the caller's promise.
        (_, Access::Exchange(old, new)) => unsafe { exchange_64(place, old, new) },
    }
}

/// Changes a part of a word of four bytes, the others staying as they are at that moment: the processor has nothing narrower.
///
/// # Safety
///
/// As [`super::word`].
unsafe fn narrow(place: *mut u8, size: usize, change: Access) -> Outcome {
    let inside = place.addr() & 3;
    let whole = place.wrapping_sub(inside);
    let shift = u32::try_from(inside).unwrap_or(0).wrapping_mul(8);
    let ones: usize = if size == 1 { 0xff } else { 0xffff };
    let mask = ones.wrapping_shl(shift);
    let mut seen = 0_usize;
    loop {
        let part = seen.wrapping_shr(shift) & ones;
        let new = match change {
            Access::Load => part,
            Access::Swap(value) => value & ones,
            Access::Add(value) => part.wrapping_add(value) & ones,
            Access::Exchange(old, new) if part == old & ones => new & ones,
            Access::Exchange(..) => part,
        };
        // SAFETY: the caller's promise; the word lies in one page with its part, and what is not of the part is not changed.
        let outcome = unsafe { exchange_32(whole, seen, seen & !mask | new.wrapping_shl(shift)) };
        if outcome.why != 0 {
            return outcome;
        }
        let found = outcome.first & 0xffff_ffff;
        if found == seen {
            return Outcome { first: part, why: 0 };
        }
        seen = found;
    }
}

/// One way does for all.
pub(crate) fn detect() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// # Safety
///
/// As [`super::copy`].
#[inline]
pub(super) unsafe fn copy_now(_: NonZeroUsize, to: *mut u8, from: *const u8, len: usize) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe { copy(to, from, len) }
}

/// # Safety
///
/// As [`super::fill`].
pub(super) unsafe fn fill_now(_: NonZeroUsize, to: *mut u8, byte: u8, len: usize) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe { fill(to, usize::from(byte), len) }
}
