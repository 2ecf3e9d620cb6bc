//! Copies that survive a fault: our own instructions, by architecture, and the table of where to go on behind each.
//!
//! In `global_asm!`, so that each stands there once, whatever is inlined. The handlers (`signals`, `windows/fault.rs`) look the
//! instruction that faulted up by [`recovery`], and let the thread go on at the place found there, with the kind of the fault in a
//! register.
//!
//! In the assembly, labels are numbers: those are local in every object format.

/// The name of a symbol, without what the object format puts before it. The version is in it: a program may link two.
macro_rules! name {
    ($name:expr) => {
        concat!(
            "folio_",
            env!("CARGO_PKG_VERSION_MAJOR"),
            "_",
            env!("CARGO_PKG_VERSION_MINOR"),
            "_",
            env!("CARGO_PKG_VERSION_PATCH"),
            "_",
            $name
        )
    };
}

#[cfg(any(target_vendor = "apple", all(windows, target_arch = "x86")))]
macro_rules! symbol {
    ($name:expr) => {
        concat!("_", name!($name))
    };
}
#[cfg(not(any(target_vendor = "apple", all(windows, target_arch = "x86"))))]
macro_rules! symbol {
    ($name:expr) => {
        name!($name)
    };
}

// A function that this crate alone calls; and the begin and the end of all of them. Apple's linker takes what stands between two
// symbols for a piece of its own, unless told that they are entries to one. Unwinders are told that there are no frames where they
// would not assume it.
#[cfg(target_vendor = "apple")]
macro_rules! function {
    ($name:expr) => {
        concat!(
            ".globl ",
            symbol!($name),
            "\n.private_extern ",
            symbol!($name),
            "\n.alt_entry ",
            symbol!($name),
            "\n",
            symbol!($name),
            ":\n"
        )
    };
}
#[cfg(target_vendor = "apple")]
macro_rules! begin {
    () => {
        concat!(
            ".text\n.globl ",
            symbol!("code"),
            "\n.private_extern ",
            symbol!("code"),
            "\n.balign 64\n",
            symbol!("code"),
            ":\n"
        )
    };
}
#[cfg(windows)]
macro_rules! function {
    ($name:expr) => {
        concat!(".globl ", symbol!($name), "\n", symbol!($name), ":\n")
    };
}
#[cfg(not(any(windows, target_vendor = "apple")))]
macro_rules! function {
    ($name:expr) => {
        concat!(".globl ", symbol!($name), "\n.hidden ", symbol!($name), "\n", symbol!($name), ":\n")
    };
}
#[cfg(windows)]
macro_rules! begin {
    () => {
        ".text\n.balign 64"
    };
}
#[cfg(not(any(windows, target_vendor = "apple")))]
macro_rules! begin {
    () => {
        ".text\n.balign 64\n.cfi_startproc"
    };
}
#[cfg(any(windows, target_vendor = "apple"))]
macro_rules! end {
    () => {
        ""
    };
}
#[cfg(not(any(windows, target_vendor = "apple")))]
macro_rules! end {
    () => {
        ".cfi_endproc"
    };
}

// The table: lines of it, which `text_of` makes. Where code may be executed and not be read (OpenBSD), it must not lie behind it; the
// other object formats know no distances between sections, and their systems let code be read.
#[cfg(not(any(windows, target_vendor = "apple")))]
macro_rules! table {
    ($rows:expr) => {
        concat!(".section .rodata.folio,\"a\"\n.balign 4\n", function!("table"), "99:\n", $rows, ".text")
    };
}
#[cfg(any(windows, target_vendor = "apple"))]
macro_rules! table {
    ($rows:expr) => {
        concat!(".balign 4\n", function!("table"), "99:\n", $rows)
    };
}

/// Of an architecture's rows: from where, up to where, where to go on.
///
/// Not among them are those at which the registers do not tell what is left, between two of several additions: a signal that looks
/// like that of a fault and is not (Apple's kernel gives `SIGBUS` the same code whoever sends it) can come at any instruction. Nor are
/// stretches that reach no memory.
macro_rules! text_of {
    ($(($from:literal, $to:literal, $recovery:literal))*) => {
        concat!($(".long ", $from, " - 99b, ", $to, " - 99b, ", $recovery, " - 99b\n"),*)
    };
}

macro_rules! count_of {
    ($(($from:literal, $to:literal, $recovery:literal))*) => {
        [$($from),*].len()
    };
}

/// Declares functions by the names of their symbols.
macro_rules! declare {
    (extern $convention:literal {$(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*}) => {
        unsafe extern $convention {$(
            #[link_name = name!(stringify!($name))]
            fn $name($($argument: $type),*) -> $result;
        )*}
    };
}

/// The accesses to words, of each width.
#[allow(unused_macros, reason = "riscv64 lacks some widths")]
macro_rules! words {
    ($convention:literal) => {
        words! {$convention, load_8, swap_8, add_8, exchange_8}
        words! {$convention, load_16, swap_16, add_16, exchange_16}
        words! {$convention, load_32, swap_32, add_32, exchange_32}
        #[cfg(target_pointer_width = "64")]
        words! {$convention, load_64, swap_64, add_64, exchange_64}

        /// # Safety
        ///
        /// As [`super::word`]; the handler is installed.
        // What is known of size and access where it is called decides what is left of it there.
        #[inline]
        pub(super) unsafe fn word_now(
            place: *mut u8,
            size: usize,
            access: crate::os::copying::Access,
        ) -> Outcome {
            use crate::os::copying::Access::{Add, Exchange, Load, Swap};
            macro_rules! of {
                ($load:ident, $swap:ident, $add:ident, $exchange:ident) => {
                    match access {
                        // SAFETY: the caller's promise.
                        Load => unsafe { $load(place) }.into(),
                        // SAFETY: the caller's promise.
                        Swap(value) => unsafe { $swap(place, value) }.into(),
                        // SAFETY: the caller's promise.
                        Add(value) => unsafe { $add(place, value) }.into(),
                        // SAFETY: the caller's promise.
                        Exchange(old, new) => unsafe { $exchange(place, old, new) }.into(),
                    }
                };
            }
            match size {
                1 => of!(load_8, swap_8, add_8, exchange_8),
                2 => of!(load_16, swap_16, add_16, exchange_16),
                #[cfg(target_pointer_width = "64")]
                8 => of!(load_64, swap_64, add_64, exchange_64),
                _ => of!(load_32, swap_32, add_32, exchange_32),
            }
        }
    };
    ($convention:literal, $load:ident, $swap:ident, $add:ident, $exchange:ident) => {
        declare! {
            extern $convention {
                fn $load(place: *mut u8) -> super::Given;
                fn $swap(place: *mut u8, value: usize) -> super::Given;
                fn $add(place: *mut u8, value: usize) -> super::Given;
                fn $exchange(place: *mut u8, expected: usize, value: usize) -> super::Given;
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "riscv64")]
use riscv64 as arch;
#[cfg(target_arch = "x86")]
mod x86;
#[cfg(target_arch = "x86")]
use x86 as arch;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

pub(crate) use arch::detect;

use crate::access_fault::{FaultKind, Stop};
use crate::os::copying::{Access, Ready};

pub(crate) const HANDLED: bool = true;
pub(crate) const WORKS: bool = true;
pub(crate) const WORDS: bool = true;
/// What the words' instructions load, they load at any address: as a whole only where it is aligned.
pub(crate) const ANYWHERE: bool = cfg!(any(target_arch = "x86_64", target_arch = "x86"));

/// What the functions in assembly give, in two registers.
///
/// Of a copy: how many bytes are left, and, if any are, why. Of an access to a word: what was there, and why it could not be made, or 0.
#[derive(Clone, Copy)]
#[repr(C)]
struct Outcome {
    first: usize,
    why: usize,
}

/// The same as it comes: where a pair is not given in registers, the second word is the upper half of a wide one.
#[cfg(not(target_pointer_width = "32"))]
type Given = Outcome;
#[cfg(target_pointer_width = "32")]
type Given = u64;

#[cfg(target_pointer_width = "32")]
impl From<u64> for Outcome {
    #[inline]
    #[expect(clippy::as_conversions, reason = "the halves, one by one")]
    fn from(given: u64) -> Self {
        Self { first: given as u32 as usize, why: (given >> 32) as usize }
    }
}

/// In the second word: the access that faulted was a write.
const WRITE: usize = 256;

#[cold]
fn stop(left: usize, why: usize) -> Stop {
    Stop { left, kind: FaultKind::from_code(why & 255), write: why & WRITE != 0, refused: None }
}

/// The instructions are there: nothing is to be tried.
#[expect(clippy::unnecessary_wraps, reason = "system calls can be refused")]
pub(crate) fn try_out() -> Result<(), Stop> {
    Ok(())
}

/// Copies; after a fault, how many bytes are left, all before them being copied and none behind.
///
/// # Safety
///
/// Of `to` and `from` each byte belongs to Rust and is the caller's to write, or to read, or else it lies outside of all
/// that Rust knows of, and may be written, or read, if it is there; the two do not overlap.
#[inline]
pub(crate) unsafe fn copy(ready: Ready, to: *mut u8, from: *const u8, len: usize) -> Result<(), Stop> {
    // SAFETY: the caller's promise; the handler is installed.
    let Outcome { first: left, why } = unsafe { arch::copy_now(ready.0, to, from, len) };
    if left == 0 { Ok(()) } else { Err(stop(left, why)) }
}

/// Writes the same byte everywhere; after a fault as [`copy`].
///
/// # Safety
///
/// As for `to` of [`copy`].
#[inline]
pub(crate) unsafe fn fill(ready: Ready, to: *mut u8, byte: u8, len: usize) -> Result<(), Stop> {
    // SAFETY: the caller's promise; the handler is installed.
    let Outcome { first: left, why } = unsafe { arch::fill_now(ready.0, to, byte, len) };
    if left == 0 { Ok(()) } else { Err(stop(left, why)) }
}

/// One access, sequentially consistent, to an aligned word of 1, 2, 4 or (where addresses have 64 bits) 8 bytes: what was there. A load
/// need not be aligned where [`ANYWHERE`] says so, and is none of a whole then.
///
/// # Safety
///
/// As for `from` of [`copy`] for a load, as for both otherwise.
#[inline]
pub(crate) unsafe fn word(_: Ready, place: *mut u8, size: usize, access: Access) -> Result<usize, Stop> {
    // SAFETY: the caller's promise; the handler is installed.
    let Outcome { first: value, why } = unsafe { arch::word_now(place, size, access) };
    if why == 0 { Ok(value) } else { Err(Stop { write: access != Access::Load, ..stop(size, why) }) }
}

#[repr(C)]
struct Entry {
    from: i32,
    to: i32,
    recovery: i32,
}

unsafe extern "C" {
    #[link_name = name!("table")]
    safe static TABLE: [Entry; arch::ROWS];
}

/// Where to go on when the instruction at `place` has faulted; `None` when it is not one of ours.
///
/// Async-signal-safe.
pub(crate) fn recovery(place: usize) -> Option<usize> {
    let table = (&raw const TABLE).addr();
    let distant =
        |distance: i32| isize::try_from(distance).ok().map(|distance| table.wrapping_add_signed(distance));
    for &Entry { from, to, recovery } in &TABLE {
        if distant(from)? <= place && place < distant(to)? {
            return distant(recovery);
        }
    }
    None
}

// (Nothing else may touch what the assembly defines.)
const _: () = assert!(size_of::<Entry>() == 12);
