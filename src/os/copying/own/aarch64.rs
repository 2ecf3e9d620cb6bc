//! arm64.
//!
//! At every instruction that may fault, in a copy: `x0` (to), `x1` (from) and `x2` (left) tell what is still to be done, all before
//! being done. Whatever faults first among the wide moves, the copy goes on byte by byte from there, and that one's fault is the exact
//! one. The handler leaves the kind of the fault in `x9`.
//!
//! A store that begins in a page that cannot be written and reaches into the next one may change what lies there. So the first byte is
//! stored alone: when it can be, the next page that cannot be written begins behind it, and the first store that reaches it begins
//! before it and ends in it.

use super::Outcome;
use core::arch::global_asm;
use core::num::NonZeroUsize;

/// Of one width: a load.
macro_rules! load {
    ($name:literal, $load:literal) => {
        concat!(function!($name), $load, " [x0]\nmov x1, xzr\nret\n")
    };
}

/// Of one width, each writing also where nothing changes: a word that cannot be written to is one that faults.
macro_rules! changes {
    ($swap:literal, $add:literal, $exchange:literal, $suffix:literal, $x:literal) => {
        concat!(
            function!($swap),
            concat!("2: ldaxr", $suffix, " ", $x, "6, [x0]\nstlxr", $suffix, " w7, ", $x, "1, [x0]\n"),
            "cbnz w7, 2b\nmov x0, x6\nmov x1, xzr\nret\n",
            function!($add),
            concat!("2: ldaxr", $suffix, " ", $x, "6, [x0]\nadd x8, x6, x1\n"),
            concat!("stlxr", $suffix, " w7, ", $x, "8, [x0]\n"),
            "cbnz w7, 2b\nmov x0, x6\nmov x1, xzr\nret\n",
            function!($exchange),
            concat!("2: ldaxr", $suffix, " ", $x, "6, [x0]\ncmp x6, x1\ncsel x8, x2, x6, eq\n"),
            concat!("stlxr", $suffix, " w7, ", $x, "8, [x0]\n"),
            "cbnz w7, 2b\nmov x0, x6\nmov x1, xzr\nret\n",
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
            ("47b", "48b", "72b")
            ("48b", "49b", "73b")
            ("52b", "86b", "66b")
            ("87b", "88b", "66b")
            ("89b", "90b", "66b")
            ("67b", "68b", "73b")
            ("74b", "75b", "72b")
            ("75b", "76b", "73b")
        }
    };
}

pub(super) const ROWS: usize = rows!(count_of);

global_asm!(
    begin!(),
    // copy(x0: to, x1: from, x2: length) -> x0: left, x1: why
    function!("copy"),
    "20:",
    "cbz x2, 29f",
    "ldrb w6, [x1]",
    "strb w6, [x0]",
    "add x4, x1, x2",
    "add x5, x0, x2",
    "cmp x2, #16",
    "b.lo 24f",
    "cmp x2, #32",
    "b.hi 22f",
    "ldr q0, [x1]",
    "ldur q1, [x4, #-16]",
    "str q0, [x0]",
    "stur q1, [x5, #-16]",
    "mov x0, xzr",
    "ret",
    "22:",
    "cmp x2, #64",
    "b.hi 23f",
    "ldp q0, q1, [x1]",
    "ldp q2, q3, [x4, #-32]",
    "stp q0, q1, [x0]",
    "stp q2, q3, [x5, #-32]",
    "mov x0, xzr",
    "ret",
    // More than 64: to an aligned place, then 64 at a time; 1 to 64 are left for the end.
    "23:",
    "ldr q0, [x1]",
    "str q0, [x0]",
    "and x6, x0, #15",
    "sub x6, x6, #16",
    "80:",
    "sub x0, x0, x6",
    "sub x1, x1, x6",
    "add x2, x2, x6",
    "81:",
    "cmp x2, #64",
    "b.ls 26f",
    ".balign 16",
    "25:",
    "ldp q0, q1, [x1]",
    "ldp q2, q3, [x1, #32]",
    "stp q0, q1, [x0]",
    "stp q2, q3, [x0, #32]",
    "82:",
    "add x1, x1, #64",
    "add x0, x0, #64",
    "sub x2, x2, #64",
    "83:",
    "cmp x2, #64",
    "b.hi 25b",
    "26:",
    "ldp q0, q1, [x4, #-64]",
    "ldp q2, q3, [x4, #-32]",
    "stp q0, q1, [x5, #-64]",
    "stp q2, q3, [x5, #-32]",
    "mov x0, xzr",
    "ret",
    // Less than 16.
    "24:",
    "tbz x2, #3, 27f",
    "ldr x6, [x1]",
    "ldur x7, [x4, #-8]",
    "str x6, [x0]",
    "stur x7, [x5, #-8]",
    "mov x0, xzr",
    "ret",
    "27:",
    "tbz x2, #2, 28f",
    "ldr w6, [x1]",
    "ldur w7, [x4, #-4]",
    "str w6, [x0]",
    "stur w7, [x5, #-4]",
    "mov x0, xzr",
    "ret",
    "28:",
    "32:",
    "ldrb w6, [x1]",
    "strb w6, [x0]",
    "84:",
    "add x1, x1, #1",
    "add x0, x0, #1",
    "subs x2, x2, #1",
    "b.ne 32b",
    "29:",
    "mov x0, xzr",
    "ret",
    // Behind a fault: byte by byte. If none of 256 faults again, what was there was mended meanwhile.
    // (Nothing is left when what came, behind the last one, was no fault.)
    "46:",
    "cbz x2, 29b",
    "mov x4, #256",
    "47:",
    "ldrb w6, [x1]",
    "48:",
    "strb w6, [x0]",
    "49:",
    "add x1, x1, #1",
    "add x0, x0, #1",
    "subs x2, x2, #1",
    "b.eq 29b",
    "subs x4, x4, #1",
    "b.ne 47b",
    "b 20b",
    // fill(x0: to, x1: byte, x2: length) -> x0: left, x1: why
    function!("fill"),
    "52:",
    "cbz x2, 57f",
    "strb w1, [x0]",
    "dup v0.16b, w1",
    "cmp x2, #16",
    "b.lo 54f",
    "53:",
    "cmp x2, #64",
    "b.ls 55f",
    "stp q0, q0, [x0]",
    "stp q0, q0, [x0, #32]",
    "86:",
    "add x0, x0, #64",
    "sub x2, x2, #64",
    "87:",
    "b 53b",
    "55:",
    "cmp x2, #16",
    "b.ls 62f",
    "str q0, [x0]",
    "88:",
    "add x0, x0, #16",
    "sub x2, x2, #16",
    "89:",
    "b 55b",
    "62:",
    "add x5, x0, x2",
    "stur q0, [x5, #-16]",
    "mov x0, xzr",
    "ret",
    "54:",
    "63:",
    "strb w1, [x0]",
    "90:",
    "add x0, x0, #1",
    "subs x2, x2, #1",
    "b.ne 63b",
    "57:",
    "mov x0, xzr",
    "ret",
    "66:",
    "cbz x2, 57b",
    "mov x4, #256",
    "67:",
    "strb w1, [x0]",
    "68:",
    "add x0, x0, #1",
    "subs x2, x2, #1",
    "b.eq 57b",
    "subs x4, x4, #1",
    "b.ne 67b",
    "b 52b",
    // A byte that could not be read, or written.
    "72:",
    "mov x0, x2",
    "mov x1, x9",
    "ret",
    "73:",
    "mov x0, x2",
    "orr x1, x9, #256",
    "ret",
    "74:",
    load!("load_8", "ldarb w0,"),
    load!("load_16", "ldarh w0,"),
    load!("load_32", "ldar w0,"),
    load!("load_64", "ldar x0,"),
    "75:",
    changes!("swap_8", "add_8", "exchange_8", "b", "w"),
    changes!("swap_16", "add_16", "exchange_16", "h", "w"),
    changes!("swap_32", "add_32", "exchange_32", "", "w"),
    changes!("swap_64", "add_64", "exchange_64", "", "x"),
    "76:",
    end!(),
    table!(rows!(text_of)),
);

declare! {
    extern "C" {
        fn copy(to: *mut u8, from: *const u8, len: usize) -> Outcome;
        fn fill(to: *mut u8, byte: usize, len: usize) -> Outcome;
    }
}

words! { "C" }

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
