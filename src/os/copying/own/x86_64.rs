//! x86-64. The functions follow the convention of System V on every system, so that the text is one: Windows' leaves registers
//! untouched that are not used here either, and a function without a frame needs no unwinding table there.
//!
//! At every instruction that may fault, in a copy: `rdi` (to), `rsi` (from) and `rdx` (left) tell what is still to be done, all before
//! being done (`rcx` tells what is left while `rep` runs). Whatever faults first among the wide moves, the copy goes on byte by byte
//! from there, and that one's fault is the exact one. The handler leaves the kind of the fault in `r11`.
//!
//! Stores ascend, and none is made before all below it are: what is behind a fault is as it was, if the page was gone from the
//! start. (A store that reaches into a page that cannot be written writes nothing at all.) If it went in the midst of the copy, the
//! last wide store before may have reached further than is counted.

use super::Outcome;
use core::arch::global_asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::num::NonZeroUsize;

/// Of one width: load(rdi: place), swap(rdi, rsi: value), add(rdi, rsi), compare_exchange(rdi, rsi: expected, rdx: value), all
/// -> rax: what was there, rdx: why not.
macro_rules! load {
    ($name:literal, $load:literal) => {
        concat!(function!($name), $load, "\nxor edx, edx\nret\n")
    };
}

macro_rules! changes {
    ($swap:literal, $add:literal, $exchange:literal, $rsi:literal, $rdx:literal) => {
        concat!(
            function!($swap),
            concat!("xchg [rdi], ", $rsi, "\nmov rax, rsi\nxor edx, edx\nret\n"),
            function!($add),
            concat!("lock xadd [rdi], ", $rsi, "\nmov rax, rsi\nxor edx, edx\nret\n"),
            function!($exchange),
            concat!("mov rax, rsi\nlock cmpxchg [rdi], ", $rdx, "\nxor edx, edx\nret\n"),
        )
    };
}

/// Where an instruction may fault: from, up to, and where to go on.
macro_rules! rows {
    ($of:ident) => {
        $of! {
            ("20b", "80b", "46b")
            ("81b", "82b", "46b")
            ("83b", "33b", "46b")
            ("34b", "84b", "45b")
            ("85b", "86b", "45b")
            ("87b", "88b", "45b")
            ("42b", "43b", "44b")
            ("47b", "48b", "72b")
            ("48b", "49b", "73b")
            ("52b", "89b", "66b")
            ("90b", "91b", "66b")
            ("59b", "64b", "65b")
            ("67b", "68b", "73b")
            ("202b", "205b", "213b")
            ("206b", "208b", "213b")
            ("212b", "213b", "213b")
            ("74b", "75b", "72b")
            ("75b", "76b", "73b")
        }
    };
}

pub(super) const ROWS: usize = rows!(count_of);

global_asm!(
    ".text",
    begin!(),
    // copy(rdi: to, rsi: from, rdx: length) -> rax: left, rdx: why
    ".balign 64",
    function!("copy"),
    "20:",
    "cmp rdx, 16",
    "jb 24f",
    "cmp rdx, 32",
    "ja 22f",
    "21:",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "xor eax, eax",
    "ret",
    "22:",
    "cmp rdx, 64",
    "ja 23f",
    "30:",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + rdx - 32]",
    "movups xmm3, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + rdx - 32], xmm2",
    "movups [rdi + rdx - 16], xmm3",
    "xor eax, eax",
    "ret",
    // More than 64: to an aligned place, then 64 at a time; 1 to 64 are left for the end.
    "23:",
    "movups xmm0, [rsi]",
    "movups [rdi], xmm0",
    "mov eax, edi",
    "and eax, 15",
    "sub rax, 16",
    "80:",
    "sub rdi, rax",
    "sub rsi, rax",
    "add rdx, rax",
    "81:",
    "cmp rdx, 64",
    "jbe 26f",
    ".balign 16",
    "25:",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + 32]",
    "movups xmm3, [rsi + 48]",
    "movaps [rdi], xmm0",
    "movaps [rdi + 16], xmm1",
    "movaps [rdi + 32], xmm2",
    "movaps [rdi + 48], xmm3",
    "82:",
    "add rsi, 64",
    "add rdi, 64",
    "sub rdx, 64",
    "83:",
    "cmp rdx, 64",
    "ja 25b",
    "26:",
    "movups xmm0, [rsi + rdx - 64]",
    "movups xmm1, [rsi + rdx - 48]",
    "movups xmm2, [rsi + rdx - 32]",
    "movups xmm3, [rsi + rdx - 16]",
    "movups [rdi + rdx - 64], xmm0",
    "movups [rdi + rdx - 48], xmm1",
    "movups [rdi + rdx - 32], xmm2",
    "movups [rdi + rdx - 16], xmm3",
    "xor eax, eax",
    "ret",
    // Less than 16.
    ".balign 16",
    "24:",
    "cmp edx, 8",
    "jb 27f",
    "mov rax, [rsi]",
    "mov rcx, [rsi + rdx - 8]",
    "mov [rdi], rax",
    "mov [rdi + rdx - 8], rcx",
    "xor eax, eax",
    "ret",
    "27:",
    "cmp edx, 4",
    "jb 28f",
    "mov eax, [rsi]",
    "mov ecx, [rsi + rdx - 4]",
    "mov [rdi], eax",
    "mov [rdi + rdx - 4], ecx",
    "xor eax, eax",
    "ret",
    "28:",
    "cmp edx, 1",
    "jb 29f",
    "movzx eax, byte ptr [rsi]",
    "je 32f",
    "movzx ecx, word ptr [rsi + rdx - 2]",
    "mov [rdi], al",
    "mov [rdi + rdx - 2], cx",
    "29:",
    "xor eax, eax",
    "ret",
    "32:",
    "mov [rdi], al",
    "xor eax, eax",
    "ret",
    "33:",
    // copy_avx(rdi: to, rsi: from, rdx: length, rcx: from how many on by `rep`): the same with wider moves
    ".balign 64",
    function!("copy_avx"),
    "34:",
    "cmp rdx, 32",
    "jb 31f",
    "cmp rdx, 64",
    "ja 41f",
    "vmovdqu ymm0, [rsi]",
    "vmovdqu ymm1, [rsi + rdx - 32]",
    "vmovdqu [rdi], ymm0",
    "vmovdqu [rdi + rdx - 32], ymm1",
    "xor eax, eax",
    "vzeroupper",
    "ret",
    "31:",
    "cmp edx, 16",
    "jb 24b",
    "jmp 21b",
    "41:",
    "cmp rdx, rcx",
    "jae 39f",
    "35:",
    "vmovdqu ymm0, [rsi]",
    "cmp rdx, 128",
    "ja 36f",
    "vmovdqu ymm1, [rsi + 32]",
    "vmovdqu ymm2, [rsi + rdx - 64]",
    "vmovdqu ymm3, [rsi + rdx - 32]",
    "vmovdqu [rdi], ymm0",
    "vmovdqu [rdi + 32], ymm1",
    "vmovdqu [rdi + rdx - 64], ymm2",
    "vmovdqu [rdi + rdx - 32], ymm3",
    "xor eax, eax",
    "vzeroupper",
    "ret",
    "36:",
    "vmovdqu [rdi], ymm0",
    "mov eax, edi",
    "and eax, 31",
    "sub rax, 32",
    "84:",
    "sub rdi, rax",
    "sub rsi, rax",
    "add rdx, rax",
    "85:",
    "cmp rdx, 128",
    "jbe 38f",
    ".balign 32",
    "37:",
    "vmovdqu ymm0, [rsi]",
    "vmovdqu ymm1, [rsi + 32]",
    "vmovdqu ymm2, [rsi + 64]",
    "vmovdqu ymm3, [rsi + 96]",
    "vmovdqa [rdi], ymm0",
    "vmovdqa [rdi + 32], ymm1",
    "vmovdqa [rdi + 64], ymm2",
    "vmovdqa [rdi + 96], ymm3",
    "86:",
    "sub rsi, -128",
    "sub rdi, -128",
    "add rdx, -128",
    "87:",
    "cmp rdx, 128",
    "ja 37b",
    "38:",
    "vmovdqu ymm0, [rsi + rdx - 128]",
    "vmovdqu ymm1, [rsi + rdx - 96]",
    "vmovdqu ymm2, [rsi + rdx - 64]",
    "vmovdqu ymm3, [rsi + rdx - 32]",
    "vmovdqu [rdi + rdx - 128], ymm0",
    "vmovdqu [rdi + rdx - 96], ymm1",
    "vmovdqu [rdi + rdx - 64], ymm2",
    "vmovdqu [rdi + rdx - 32], ymm3",
    "xor eax, eax",
    "vzeroupper",
    "ret",
    // `rep`, where both sides lie alike in their cache lines, from the begin of one on: otherwise it can be many times slower.
    "39:",
    "mov eax, edi",
    "sub eax, esi",
    "test eax, 63",
    "jnz 35b",
    "mov eax, edi",
    "neg eax",
    "and eax, 63",
    "jz 40f",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + 32]",
    "movups xmm3, [rsi + 48]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + 32], xmm2",
    "movups [rdi + 48], xmm3",
    "88:",
    "add rdi, rax",
    "add rsi, rax",
    "sub rdx, rax",
    "40:",
    "mov rcx, rdx",
    "42:",
    "rep movsb",
    "43:",
    "xor eax, eax",
    "ret",
    // Behind a fault: byte by byte. If none of 256 faults again, what was there was mended meanwhile.
    "44:",
    "mov rdx, rcx",
    "jmp 46f",
    "45:",
    "vzeroupper",
    // (Nothing is left when what came, behind the last one, was no fault.)
    "46:",
    "test rdx, rdx",
    "jz 29b",
    "mov ecx, 256",
    "47:",
    "mov al, [rsi]",
    "48:",
    "mov [rdi], al",
    "49:",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jz 29b",
    "dec ecx",
    "jnz 47b",
    "jmp 20b",
    // fill(rdi: to, sil: byte, rdx: length, rcx: from how many on by `rep`) -> rax: left, rdx: why
    ".balign 64",
    function!("fill"),
    "52:",
    "movzx eax, sil",
    "mov r8, 0x0101010101010101",
    "imul rax, r8",
    "cmp rdx, 16",
    "jb 54f",
    "cmp rdx, rcx",
    "jae 58f",
    "movq xmm0, rax",
    "punpcklqdq xmm0, xmm0",
    "53:",
    "cmp rdx, 16",
    "jbe 62f",
    "movups [rdi], xmm0",
    "89:",
    "add rdi, 16",
    "sub rdx, 16",
    "90:",
    "jmp 53b",
    "62:",
    "movups [rdi + rdx - 16], xmm0",
    "xor eax, eax",
    "ret",
    "54:",
    "cmp edx, 8",
    "jb 55f",
    "mov [rdi], rax",
    "mov [rdi + rdx - 8], rax",
    "xor eax, eax",
    "ret",
    "55:",
    "cmp edx, 4",
    "jb 56f",
    "mov [rdi], eax",
    "mov [rdi + rdx - 4], eax",
    "xor eax, eax",
    "ret",
    "56:",
    "test edx, edx",
    "jz 57f",
    "63:",
    "mov [rdi], al",
    "91:",
    "inc rdi",
    "dec edx",
    "jnz 63b",
    "57:",
    "xor eax, eax",
    "ret",
    "58:",
    "mov rcx, rdx",
    "59:",
    "rep stosb",
    "64:",
    "xor eax, eax",
    "ret",
    "65:",
    "mov rdx, rcx",
    "66:",
    "test rdx, rdx",
    "jz 57b",
    "mov ecx, 256",
    "67:",
    "mov [rdi], sil",
    "68:",
    "inc rdi",
    "dec rdx",
    "jz 57b",
    "dec ecx",
    "jnz 67b",
    "mov rcx, -1",
    "jmp 52b",
    // fill_avx(rdi: to, sil: byte, rdx: length, rcx: from how many on by `rep`): the same with wider stores
    ".balign 64",
    function!("fill_avx"),
    "202:",
    "cmp rdx, 32",
    "jb 52b",
    "movzx eax, sil",
    "vmovd xmm0, eax",
    "vpxor xmm1, xmm1, xmm1",
    "vpshufb xmm0, xmm0, xmm1",
    "cmp rdx, rcx",
    "jae 58b",
    "vinsertf128 ymm0, ymm0, xmm0, 1",
    "vmovdqu [rdi], ymm0",
    "cmp rdx, 128",
    "ja 204f",
    "cmp rdx, 64",
    "jbe 203f",
    "vmovdqu [rdi + 32], ymm0",
    "vmovdqu [rdi + rdx - 64], ymm0",
    "203:",
    "vmovdqu [rdi + rdx - 32], ymm0",
    "xor eax, eax",
    "vzeroupper",
    "ret",
    "204:",
    "mov eax, edi",
    "and eax, 31",
    "sub rax, 32",
    "205:",
    "sub rdi, rax",
    "add rdx, rax",
    "206:",
    "cmp rdx, 128",
    "jbe 209f",
    ".balign 16",
    "207:",
    "vmovdqa [rdi], ymm0",
    "vmovdqa [rdi + 32], ymm0",
    "vmovdqa [rdi + 64], ymm0",
    "vmovdqa [rdi + 96], ymm0",
    "208:",
    "sub rdi, -128",
    "add rdx, -128",
    "212:",
    "cmp rdx, 128",
    "ja 207b",
    "209:",
    "vmovdqu [rdi + rdx - 128], ymm0",
    "vmovdqu [rdi + rdx - 96], ymm0",
    "vmovdqu [rdi + rdx - 64], ymm0",
    "vmovdqu [rdi + rdx - 32], ymm0",
    "xor eax, eax",
    "vzeroupper",
    "ret",
    "213:",
    "vzeroupper",
    "jmp 66b",
    // A byte that could not be read, or written.
    "72:",
    "mov rax, rdx",
    "mov rdx, r11",
    "ret",
    "73:",
    "mov rax, rdx",
    "mov rdx, r11",
    "or rdx, 256",
    "ret",
    "74:",
    load!("load_8", "movzx eax, byte ptr [rdi]"),
    load!("load_16", "movzx eax, word ptr [rdi]"),
    load!("load_32", "mov eax, [rdi]"),
    load!("load_64", "mov rax, [rdi]"),
    "75:",
    changes!("swap_8", "add_8", "exchange_8", "sil", "dl"),
    changes!("swap_16", "add_16", "exchange_16", "si", "dx"),
    changes!("swap_32", "add_32", "exchange_32", "esi", "edx"),
    changes!("swap_64", "add_64", "exchange_64", "rsi", "rdx"),
    "76:",
    end!(),
    table!(rows!(text_of)),
);

declare! {
    extern "sysv64" {
        fn copy_avx(to: *mut u8, from: *const u8, len: usize, rep_from: usize) -> Outcome;
        fn copy(to: *mut u8, from: *const u8, len: usize) -> Outcome;
        fn fill_avx(to: *mut u8, byte: usize, len: usize, rep_from: usize) -> Outcome;
        fn fill(to: *mut u8, byte: usize, len: usize, rep_from: usize) -> Outcome;
    }
}

words! { "sysv64" }

/// The way without AVX. All others have it, and are named by the number of bytes from which on they use `rep movsb` and `rep stosb`.
const NARROW: usize = 1;

/// Which of the ways this processor does best. The answer is the same each time.
pub(crate) fn detect() -> NonZeroUsize {
    #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
    // SAFETY: every processor of this architecture has the instruction.
    let most = unsafe { __cpuid(0) }.eax;
    #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
    // SAFETY: as above.
    let features = unsafe { __cpuid(1) }.ecx;
    const SAVED_AND_AVX: u32 = 3 << 27;
    let mut is_wide = false;
    if features & SAVED_AND_AVX == SAVED_AND_AVX {
        // SAFETY: the processor and the system have it, as the bit just looked at (OSXSAVE) says.
        let saved = unsafe { _xgetbv(0) };
        // The system saves the lower and the upper halves.
        is_wide = saved & 6 == 6;
    }
    if !is_wide {
        return NonZeroUsize::MIN;
    }
    if most >= 7 {
        #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
        // SAFETY: as above; there is such a leaf.
        let features = unsafe { __cpuid_count(7, 0) }.ebx;
        if features & 1 << 9 != 0 {
            return FAST_REP_FROM;
        }
    }
    NonZeroUsize::MAX
}

/// As measured: see `bench/`.
const FAST_REP_FROM: NonZeroUsize = NonZeroUsize::new(65536).unwrap();

/// # Safety
///
/// As [`super::copy`]; the handler is installed.
#[inline]
pub(super) unsafe fn copy_now(way: NonZeroUsize, to: *mut u8, from: *const u8, len: usize) -> Outcome {
    if way.get() > NARROW {
        // SAFETY: the caller's promise; the processor has the instructions.
        unsafe { copy_avx(to, from, len, way.get()) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy(to, from, len) }
    }
}

/// # Safety
///
/// As [`super::fill`]; the handler is installed.
pub(super) unsafe fn fill_now(way: NonZeroUsize, to: *mut u8, byte: u8, len: usize) -> Outcome {
    if way.get() > NARROW {
        // SAFETY: the caller's promise; the processor has the instructions.
        unsafe { fill_avx(to, usize::from(byte), len, way.get()) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { fill(to, usize::from(byte), len, usize::MAX) }
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod faults;
#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests;
