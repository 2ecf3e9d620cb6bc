//! Systems that tell a thread of a fault by a signal: `SIGSEGV` and `SIGBUS`.
//!
//! Our handler looks whether the instruction that faulted is one of our own (`copying`), and lets the thread go on behind the copy. All
//! other signals are passed on to whoever had them before, as if we were not there. To be that, ours takes over the other's mask and
//! flags: signals that he wants held back are, a second one interrupts him or not, he runs on the stack that he wants.
//!
//! Everything that runs in the handler is async-signal-safe: it reads a table and some words that change no more, and, to end the
//! process, calls sigaction(2) and raises the signal anew.

mod chain;
mod context;
#[allow(clippy::duplicate_mod, reason = "in tests, Linux has the rest of `unix` as well")]
#[path = "../unix/errno.rs"]
pub(super) mod errno;
mod install;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub(crate) use install::{install, installed};

use crate::access_fault::FaultKind;
use core::ffi::c_int;

/// The signals that faults give.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// The code of a signal that comes of a fault, or `None` for one that somebody sent (`SI_USER`, `SI_QUEUE`, ...): Linux, NetBSD,
/// OpenBSD and illumos give those codes of 0 or less, FreeBSD and Apple's systems of 0x10000 or more, but for `SI_UNDEFINED`, 0.
fn of_fault(code: c_int) -> Option<c_int> {
    (0 < code && code < 0x1_0000).then_some(code)
}

/// Whether the signal is about something that is over, or that the thread has not touched: it comes at any instruction. Linux has
/// `BUS_MCEERR_AO` for memory that broke, and `SEGV_MTEAERR` for an access by a wrong tag, some time ago.
fn is_late(signal: c_int, code: c_int) -> bool {
    const MCEERR_AO: c_int = 5;
    const MTEAERR: c_int = 8;
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    linux && ((signal == libc::SIGBUS && code == MCEERR_AO) || (signal == libc::SIGSEGV && code == MTEAERR))
}

/// Why, by the signal and its code. Those of POSIX have the same numbers everywhere (`<signal.h>`, `<sys/siginfo.h>`).
fn kind(signal: c_int, code: c_int) -> FaultKind {
    const FIRST: c_int = 1;
    const SECOND: c_int = 2;
    const THIRD: c_int = 3;
    const FOURTH: c_int = 4;
    const NINTH: c_int = 9;
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    match (signal == libc::SIGSEGV, code) {
        // SEGV_MAPERR. Linux has `SI_KERNEL` where the processor refuses the form of the address.
        (true, FIRST) => FaultKind::NotMapped,
        (true, 0x80) if linux => FaultKind::NotMapped,
        // SEGV_ACCERR, and Linux' SEGV_PKUERR and SEGV_MTESERR.
        (true, SECOND) => FaultKind::NotPermitted,
        (true, FOURTH | NINTH) if linux => FaultKind::NotPermitted,
        // Apple's kernel has BUS_ADRERR for all that is mapped and cannot be reached (`ux_exception`).
        (false, _) if cfg!(target_vendor = "apple") => FaultKind::Other,
        // BUS_ADRERR; BUS_OBJERR of what the pager could not bring (`vm_fault_trap` of FreeBSD, `trap` of illumos and OpenBSD).
        (false, SECOND | THIRD) => FaultKind::NoBacking,
        // BUS_MCEERR_AR.
        (false, FOURTH) if linux => FaultKind::HardwarePoison,
        _ => FaultKind::Other,
    }
}
