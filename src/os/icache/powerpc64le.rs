//! powerpc64le: from the data cache to memory, and what is there thrown out of the instruction cache.
//!
//! Inline assembly for PowerPC is younger than the oldest Rust that folio promises. But a function is words of code in a section
//! that is executable, called by the rules of ELF v2: a function's address is that of its first word.

use core::hint::black_box;
use core::ptr::NonNull;

/// `fn(start, end, line)`: `dcbst` from line to line, `sync`, `icbi` from line to line, `sync`, `isync`. What is written in is not
/// kept across calls by any caller: `r3` to `r6`, `cr0`.
#[unsafe(link_section = ".text.folio_flush")]
static CODE: [u32; 13] = [
    0x7c66_1b78, // mr    6, 3
    0x7c00_306c, // dcbst 0, 6
    0x7cc6_2a14, // add   6, 6, 5
    0x7c26_2040, // cmpld 6, 4
    0x4180_fff4, // blt   back to dcbst
    0x7c00_04ac, // sync
    0x7c00_1fac, // icbi  0, 3
    0x7c63_2a14, // add   3, 3, 5
    0x7c23_2040, // cmpld 3, 4
    0x4180_fff4, // blt   back to icbi
    0x7c00_04ac, // sync
    0x4c00_012c, // isync
    0x4e80_0020, // blr
];

/// A part of any line there is (128 bytes since POWER4): a line that is told twice is none the worse.
const STEP: usize = 32;

type Flush = unsafe extern "C" fn(start: usize, end: usize, line: usize);

/// # Safety
///
/// The bytes can be read.
pub(super) unsafe fn flush(bytes: NonNull<[u8]>) {
    let address = bytes.as_ptr().cast::<u8>().expose_provenance();
    let start = address & !STEP.wrapping_sub(1);
    // The compiler is not to know that this is no function of its own: what was written is to be in memory.
    let code: *const [u32; 13] = black_box(&raw const CODE);
    // SAFETY: the address of words that are such a function, in a section that is executable.
    let function = unsafe { core::mem::transmute::<*const [u32; 13], Flush>(code) };
    // SAFETY: lines of the bytes, which can be read (the caller's promise) and stay as they are.
    unsafe { function(start, address.saturating_add(bytes.len()), STEP) };
}
