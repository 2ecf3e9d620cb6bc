//! x86 of 32 bits: `rep movsd`, which every processor does well, and bytes for what is left.
//!
//! At every instruction that may fault, in a copy: `edi` (to), `esi` (from) and `ecx` (left) tell what is still to be done, all before
//! being done; under `rep`, four times `ecx` and `eax`. Where a read or a write faults there, the copy goes on byte by byte, and
//! that one's fault tells which it was. The handler leaves the kind of the fault in `edx`.

use super::Outcome;
use core::arch::global_asm;
use core::num::NonZeroUsize;

/// Of one width: a load.
macro_rules! load {
    ($name:literal, $load:literal) => {
        concat!(function!($name), "mov ecx, [esp + 4]\n", $load, "\nxor edx, edx\nret\n")
    };
}

macro_rules! changes {
    ($swap:literal, $add:literal, $exchange:literal, $eax:literal, $edx:literal) => {
        concat!(
            function!($swap),
            concat!("mov ecx, [esp + 4]\nmov eax, [esp + 8]\nxchg [ecx], ", $eax, "\nxor edx, edx\nret\n"),
            function!($add),
            concat!(
                "mov ecx, [esp + 4]\nmov eax, [esp + 8]\nlock xadd [ecx], ",
                $eax,
                "\nxor edx, edx\nret\n"
            ),
            function!($exchange),
            "mov ecx, [esp + 4]\nmov eax, [esp + 8]\nmov edx, [esp + 12]\n",
            concat!("lock cmpxchg [ecx], ", $edx, "\nxor edx, edx\nret\n"),
        )
    };
}

/// Saves a register; then there are so many bytes up to the caller's. Unwinders are told; Windows' have no tables here.
macro_rules! push {
    ($register:literal, $bytes:literal) => {
        concat!(
            "push ",
            $register,
            told!("\n.cfi_def_cfa_offset ", $bytes, "\n.cfi_offset ", $register, ", -", $bytes)
        )
    };
}

/// Takes registers back, the one that was saved last first, and returns; behind each, so many bytes are left. What follows stands as if
/// that had not been. (LLVM knows offsets no more after `.cfi_restore_state`, but for those that are said as they are.)
macro_rules! pop {
    ($(($register:literal, $bytes:literal)),*) => {
        concat!(
            told!(".cfi_remember_state\n"),
            $(
                "pop ",
                $register,
                "\n",
                told!(".cfi_def_cfa_offset ", $bytes, "\n.cfi_restore ", $register, "\n"),
            )*
            "ret\n",
            told!(".cfi_restore_state"),
        )
    };
}

/// Another function begins, in which nothing is saved yet.
macro_rules! next {
    () => {
        told!(".cfi_endproc\n.cfi_startproc")
    };
}

#[cfg(not(windows))]
macro_rules! told {
    ($($words:literal),*) => {
        concat!($($words),*)
    };
}
#[cfg(windows)]
macro_rules! told {
    ($($words:literal),*) => {
        ""
    };
}

/// Where an instruction may fault: from, up to, and where to go on.
macro_rules! rows {
    ($of:ident) => {
        $of! {
            ("42b", "43b", "44b")
            ("47b", "48b", "72b")
            ("48b", "49b", "73b")
            ("59b", "64b", "65b")
            ("74b", "75b", "78b")
            ("75b", "76b", "79b")
        }
    };
}

pub(super) const ROWS: usize = rows!(count_of);

global_asm!(
    begin!(),
    // copy(to, from, length) -> eax: left, edx: why
    function!("copy"),
    push!("esi", "8"),
    push!("edi", "12"),
    "mov edi, [esp + 12]",
    "mov esi, [esp + 16]",
    "mov ecx, [esp + 20]",
    "cmp ecx, 16",
    "jb 45f",
    "mov eax, ecx",
    "and eax, 3",
    "shr ecx, 2",
    "42:",
    "rep movsd",
    "43:",
    "mov ecx, eax",
    "45:",
    "test ecx, ecx",
    "jz 29f",
    "47:",
    "mov al, [esi]",
    "48:",
    "mov [edi], al",
    "49:",
    "inc esi",
    "inc edi",
    "dec ecx",
    "jnz 47b",
    "29:",
    "xor eax, eax",
    pop!(("edi", "8"), ("esi", "4")),
    "44:",
    "lea ecx, [eax + 4 * ecx]",
    "jmp 45b",
    "73:",
    "or edx, 256",
    "72:",
    "mov eax, ecx",
    pop!(("edi", "8"), ("esi", "4")),
    next!(),
    // fill(to, byte, length) -> eax: left, edx: why
    function!("fill"),
    push!("edi", "8"),
    "mov edi, [esp + 8]",
    "mov eax, [esp + 12]",
    "mov ecx, [esp + 16]",
    "59:",
    "rep stosb",
    "64:",
    "xor eax, eax",
    pop!(("edi", "4")),
    "65:",
    "mov eax, ecx",
    "or edx, 256",
    pop!(("edi", "4")),
    next!(),
    // load(place), swap(place, value), add(place, value), exchange(place, expected, value) -> eax: what was there, edx: why not
    "79:",
    "or edx, 256",
    "78:",
    "ret",
    "74:",
    load!("load_8", "movzx eax, byte ptr [ecx]"),
    load!("load_16", "movzx eax, word ptr [ecx]"),
    load!("load_32", "mov eax, [ecx]"),
    "75:",
    changes!("swap_8", "add_8", "exchange_8", "al", "dl"),
    changes!("swap_16", "add_16", "exchange_16", "ax", "dx"),
    changes!("swap_32", "add_32", "exchange_32", "eax", "edx"),
    "76:",
    end!(),
    table!(rows!(text_of)),
);

declare! {
    extern "C" {
        fn copy(to: *mut u8, from: *const u8, len: usize) -> Given;
        fn fill(to: *mut u8, byte: usize, len: usize) -> Given;
    }
}

words! { "C" }

use super::Given;

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
    unsafe { copy(to, from, len) }.into()
}

/// # Safety
///
/// As [`super::fill`].
pub(super) unsafe fn fill_now(_: NonZeroUsize, to: *mut u8, byte: u8, len: usize) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe { fill(to, usize::from(byte), len) }.into()
}
