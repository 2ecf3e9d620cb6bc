//! Copies that survive a fault, by architecture.
//!
//! ```text
//! HANDLED                        whether a handler of signals or exceptions takes part
//! ready(), set_ready()           whether faults are caught, and how copies are made then
//! way(), way_of_words()          how copies are made of what needs nobody who catches faults
//! ANYWHERE                       whether words are loaded at any address, not as a whole
//! try_out()                      whether the system refuses the call by which copies are made
//! copy, fill, word               the accesses: what is left, and why, after a fault
//! recovery(place)                where to go on when the instruction at `place` has faulted
//! ```
#![allow(dead_code, reason = "each system has use for some of it")]

#[cfg(any(
    all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "illumos",
            target_vendor = "apple",
            windows
        )
    ),
    all(
        target_arch = "aarch64",
        target_pointer_width = "64",
        target_endian = "little",
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_vendor = "apple",
            windows
        )
    ),
    all(target_arch = "x86", any(target_os = "linux", target_os = "android", windows)),
    all(target_arch = "riscv64", target_os = "linux"),
))]
mod own;
#[cfg(not(any(
    all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "illumos",
            target_vendor = "apple",
            windows
        )
    ),
    all(
        target_arch = "aarch64",
        target_pointer_width = "64",
        target_endian = "little",
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_vendor = "apple",
            windows
        )
    ),
    all(target_arch = "x86", any(target_os = "linux", target_os = "android", windows)),
    all(target_arch = "riscv64", target_os = "linux"),
)))]
#[path = "without.rs"]
mod own;

pub(crate) use own::{ANYWHERE, HANDLED, WORDS, WORKS, copy, fill, word};
#[allow(unused_imports, reason = "what handles faults uses them")]
pub(super) use own::{recovery, try_out};

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::duplicate_mod, reason = "where it is not used it is tested all the same")]
#[path = "without.rs"]
mod without;

#[cfg(all(test, target_os = "linux"))]
mod tests;

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicUsize, Ordering};

/// An access to a word; values have the word's width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Load,
    Swap(usize),
    Add(usize),
    /// What is expected, and what is put there then.
    Exchange(usize, usize),
}

/// That faults are caught (or that none can come, see [`way`]); and which of its ways the processor does best, as `own::detect` found:
/// both in one word, since a short copy takes hardly longer than to look at another.
#[derive(Clone, Copy)]
pub(crate) struct Ready(NonZeroUsize);

static READY: AtomicUsize = AtomicUsize::new(0);

/// Whether faults are caught: for ever, from when the handler is installed.
#[inline]
pub(crate) fn ready() -> Option<Ready> {
    NonZeroUsize::new(READY.load(Ordering::Acquire)).map(Ready)
}

static WAY: AtomicUsize = AtomicUsize::new(0);

/// How this processor copies best, whether faults are caught or not: for memory that is there as long as it is reached, and for what
/// came into reach only after [`ready`] had said so.
#[inline]
pub(crate) fn way() -> Ready {
    match NonZeroUsize::new(WAY.load(Ordering::Relaxed)) {
        Some(way) => Ready(way),
        None => find_way(),
    }
}

/// As [`way`], for words: there is one way to reach them on every processor.
#[inline]
pub(crate) fn way_of_words() -> Ready {
    Ready(NonZeroUsize::MIN)
}

#[cold]
fn find_way() -> Ready {
    // Whoever finds it, finds the same.
    let way = own::detect();
    WAY.store(way.get(), Ordering::Relaxed);
    Ready(way)
}

/// Faults are caught from now on.
pub(super) fn set_ready() -> Ready {
    let way = own::detect();
    READY.store(way.get(), Ordering::Release);
    Ready(way)
}
