//! Instruction caches: what a program can do about them by itself, for each processor.
//!
//! What is fetched to be executed does not come from where data is written, on most processors: what was written must be made
//! visible there first.
//!
//! | processor | what it takes | who may have it fetch something older |
//! |---|---|---|
//! | x86 | nothing (Intel SDM 3A, "Self-Modifying Code") | other processors, until a serializing instruction (SDM 3A, "Handling Self- and Cross-Modifying Code") |
//! | s390x | nothing (z/Architecture Principles of Operation; LLVM's `__clear_cache` is empty for that reason) | likewise |
//! | aarch64 | `dc cvau`, `ic ivau`, as far as `CTR_EL0` demands (Arm ARM, "Concurrent modification and execution of instructions", "CTR_EL0, Cache Type Register") | other processors, until an `isb` |
//! | powerpc64le | `dcbst`, `icbi` (Power ISA, book II, "Instruction Storage") | other processors, until an `isync` |
//! | loongarch64 | `ibar` (LoongArch reference manual, volume 1, "IBAR") | other processors, until an `ibar` |
//!
//! Of the rest, the systems are asked who know ways (32-bit Arm and RISC-V on Linux). The compilers' own `__clear_cache` is no way:
//! in GCC's library it is empty for PowerPC, LoongArch and RISC-V, and nobody would tell.

#[cfg(all(target_arch = "aarch64", not(any(target_vendor = "apple", windows))))]
mod aarch64;
#[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
mod powerpc64le;

use crate::error::{ErrorKind, Failure};
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

/// Whether a flush reads the bytes, so that it must not meet any that cannot be read. (`dc` and `icbi` are loads to the memory
/// management; Windows and Apple do not say, and use the same instructions.)
const READS: bool = !cfg!(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "s390x",
    target_arch = "riscv32",
    target_arch = "riscv64",
    target_arch = "loongarch64"
));

#[cfg(not(test))]
pub(crate) const fn flush_reads() -> bool {
    READS
}

#[cfg(test)]
pub(crate) use testing::{flush_reads, reading};

/// What all flushes begin with: where data and instructions are one to the processor, it is for the compiler to have written all
/// by then. In tests also a point to fail at, though it is a call of the system on few.
pub(super) fn begin() -> Result<(), Failure> {
    compiler_fence(Ordering::SeqCst);
    match crate::os::inject::point("flush instructions") {
        Some(code) => Err(Failure::system(ErrorKind::System, code)),
        None => Ok(()),
    }
}

/// Lets this thread execute what was written to the bytes, without the system's help. False where that is not known how.
///
/// # Safety
///
/// The bytes are mapped and, where [`flush_reads`], can be read.
#[allow(unused_variables, reason = "some processors need nothing")]
pub(super) unsafe fn by_program(bytes: NonNull<[u8]>) -> bool {
    #[cfg(all(target_arch = "aarch64", not(any(target_vendor = "apple", windows))))]
    {
        // SAFETY: the caller's promise.
        unsafe { aarch64::flush(bytes) };
        true
    }
    #[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
    {
        // SAFETY: the caller's promise.
        unsafe { powerpc64le::flush(bytes) };
        true
    }
    #[cfg(target_arch = "loongarch64")]
    {
        // SAFETY: a barrier, which touches neither memory nor registers.
        unsafe { core::arch::asm!("ibar 0", options(nostack, preserves_flags)) };
        true
    }
    #[cfg(not(any(
        all(target_arch = "aarch64", not(any(target_vendor = "apple", windows))),
        all(target_arch = "powerpc64", target_endian = "little"),
        target_arch = "loongarch64"
    )))]
    {
        cfg!(any(target_arch = "x86", target_arch = "x86_64", target_arch = "s390x"))
    }
}

#[cold]
pub(super) fn unknown() -> Failure {
    Failure::new(ErrorKind::Unsupported)
        .detail("folio does not know how this processor is made to execute what was written")
        .remedy("flush its instruction cache by other means, and use make_exec_no_flush")
}

/// For systems that need not be asked.
///
/// # Safety
///
/// As [`by_program`].
#[allow(dead_code, reason = "some systems have ways of their own")]
pub(crate) unsafe fn flush_instructions(bytes: NonNull<[u8]>) -> Result<(), Failure> {
    begin()?;
    // SAFETY: the caller's promise.
    if unsafe { by_program(bytes) } { Ok(()) } else { Err(unknown()) }
}

#[cfg(test)]
mod testing {
    use core::cell::Cell;

    std::thread_local! {
        static READING: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn flush_reads() -> bool {
        super::READS || READING.get()
    }

    /// Runs `body` as on a processor whose flush reads.
    pub(crate) fn reading<T>(body: impl FnOnce() -> T) -> T {
        READING.set(true);
        let done = body();
        READING.set(false);
        done
    }
}
