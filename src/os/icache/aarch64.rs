//! arm64: from the data cache to where both caches look, and what is there thrown out of the instruction cache.
//!
//! Programs may do so themselves on all systems but Apple's and Windows (`SCTLR_EL1.UCI` and `UCT`).

use core::arch::asm;
use core::ptr::NonNull;

/// `CTR_EL0.IDC`: data need not be written out of its cache; `DIC`: the instruction cache need not be told.
const DATA_COHERENT: usize = 1 << 28;
const INSTRUCTIONS_COHERENT: usize = 1 << 29;

/// `CTR_EL0`. Where a machine has processors of several kinds, the system gives what serves them all (Linux:
/// `ARM64_MISMATCHED_CACHE_TYPE`).
fn cache_type() -> usize {
    let value: usize;
    // SAFETY: reads a register, and changes nothing.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Bytes in a line, of which the register has the logarithm in words of four bytes.
fn line(logarithm: usize) -> usize {
    4_usize << (logarithm & 0xf)
}

fn each_line(bytes: NonNull<[u8]>, line: usize, touch: impl Fn(usize)) {
    let start = bytes.as_ptr().cast::<u8>().expose_provenance();
    let end = start.saturating_add(bytes.len());
    let mut at = start & !line.wrapping_sub(1);
    while at < end {
        touch(at);
        at = at.saturating_add(line);
    }
}

/// # Safety
///
/// The bytes can be read.
pub(super) unsafe fn flush(bytes: NonNull<[u8]>) {
    let has = cache_type();
    if has & DATA_COHERENT == 0 {
        each_line(bytes, line(has >> 16), |at| {
            // SAFETY: a line of the bytes, which can be read (the caller's promise); what is written back stays the same.
            unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
        });
    }
    // SAFETY: a barrier: what was written before is where both caches look.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    if has & INSTRUCTIONS_COHERENT == 0 {
        each_line(bytes, line(has), |at| {
            // SAFETY: a line of the bytes, which can be read (the caller's promise): a cache forgets it.
            unsafe { asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)) };
        });
        // SAFETY: a barrier: all processors' caches have forgotten it.
        unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier: this processor fetches again what it has fetched ahead.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}
