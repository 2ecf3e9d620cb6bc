//! Copies that survive memory being taken away: an error where a reference would end the process.
//!
//! A file that is mapped can be cut short by anybody who may write to it; memory that is shared can be punched by the peer; a `tmpfs`
//! can be full, the huge pages used up, a page broken. Who then touches the page by a reference gets a signal (`SIGBUS`, `SIGSEGV`; on
//! Windows an exception), and is ended by it. The methods here, of [`RawMemory`] and [`RawMemoryMut`] for any addresses and of
//! [`Pages`](crate::Pages), give [`ErrorKind::Fault`](crate::ErrorKind::Fault) instead, and [`Error::fault`](crate::Error::fault) tells
//! the byte that could not be reached, why, and whether it was to be read or written. What comes before that byte has been copied;
//! what comes behind it has not been touched. (Unless the page was taken away in the midst of the copy: then up to 128 bytes behind
//! may have been copied as well, as they were a moment before.)
//!
//! # How
//!
//! The copies are instructions of our own, written in assembly, each with a place to go on at when it faults. A handler of signals
//! (on Windows a vectored exception handler) looks up which instruction it was. Nothing is prepared and nothing is asked before a copy:
//! it costs what `memcpy` costs, and a fault costs what a signal does.
//!
//! The handler is installed when it is first needed, or by [`install`]. Signals that are not about these copies are passed on to
//! whoever had them before, as if it were not there: Rust's own report of a stack overflow, say, or the default action, by which the
//! process ends with the signal's number and a core.
//!
//! # What can still end the process
//!
//! - A thread that *blocks* `SIGSEGV` or `SIGBUS`: the system ends the process for a fault whose signal is blocked, handler or not.
//!   Handlers of these two signals themselves run with theirs blocked, unless they were installed with `SA_NODEFER`: in one that
//!   was installed before ours, a copy from bad memory is the end, as a bad reference would be.
//! - A handler that somebody installs *later* and that does not call the one it found. [`installed`] tells of such a one:
//!   [`Installed::Covered`]. Crash reporters, language runtimes (the JVM, Go), sanitizers and emulators have handlers; most pass on
//!   what they do not know. Where the order is yours to choose, install those first and call [`install`] after them.
//! - A library that contains folio and is *unloaded* (`dlclose`, `FreeLibrary`): the handler stays where the system finds it, its code
//!   does not, and the next such signal of any kind is the end. Once [`install`]ed, nothing takes the handler away again, since others
//!   may have noted it as the one to pass signals on to. Such a library must stay loaded: link it with `-z nodelete`, or open it with
//!   `RTLD_NODELETE` (Windows: `GET_MODULE_HANDLE_EX_FLAG_PIN`).
//! - A thread whose stack has no room for the system to call the handler on (some KiB), and that has no alternate stack. Rust gives its
//!   own threads one, of 8 KiB or little more: a copy that faults inside a handler which itself runs there can need more, where
//!   processors have many registers to save. Who does so sets a larger one (`sigaltstack`).
//! - A debugger stops at each fault before the handler sees it; tell it to pass them on (`handle SIGSEGV SIGBUS nostop noprint pass`
//!   in gdb, `process handle` in lldb).
//!
//! On Apple's systems a debugger or crash reporter with an exception port sees faults first.
//!
//! # Platforms
//!
//! x86-64, x86, arm64 and riscv64 as `PLATFORM.md` tells. On other processors Linux copies by system calls (`process_vm_readv` on the
//! process itself), and words cannot be reached; where a filter (seccomp) refuses that call, copies and [`install`] give an error with
//! its code, and no fault. Other systems answer [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
//!
//! # Memory model
//!
//! What these methods touch is, to Rust, like memory of a device: assembly reaches it, as volatile accesses would, and no object of
//! Rust lies there that the compiler knows of. So others (threads, processes, the system) may write to it at the same time: that is no
//! data race in Rust's sense. A copy is then any mixture of old and new bytes; only accesses to words are atomic.
//!
//! Accesses to words put copies in order, between threads and between processes: who sees in a word what another one has put there
//! (by `try_store` or any other change) also sees all that that one had copied before. So a queue writes an entry by
//! `try_copy_from` and then its number by `try_store`; the reader finds the number by `try_load` and copies the entry by
//! `try_copy_to`.
//!
//! A child by `fork` has the mappings, and the handler as well; a program that is executed has neither.

#[macro_use]
mod methods;
mod memory;
mod plain;
mod span;
#[cfg(test)]
mod tests;
mod word;

pub use crate::access_fault::{Fault, FaultKind, Installed};
pub use memory::{RawMemory, RawMemoryMut};
pub use plain::Plain;
pub(crate) use span::Span;
pub use word::Word;

use crate::error::{Operation, Result};
use crate::os;

/// Lets faults in copies end in errors from now on, in all threads: what the first copy does otherwise.
///
/// Calling it early decides the order of handlers: whoever installs one later has signals first, and must pass on to the one he found.
/// The second time nothing is done, also when another handler [covers](Installed::Covered) ours: two that call each other would
/// never end.
///
/// # Cost
///
/// The first time, about eight system calls; after that, none.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on a system or processor that folio does not know; whatever the system
/// refuses.
///
/// # Examples
///
/// ```
/// use folio::fault::{self, Installed};
///
/// # if fault::install().is_err() { return Ok(()) }
/// fault::install()?;
/// assert_eq!(fault::installed()?, Installed::Yes);
/// # Ok::<(), folio::Error>(())
/// ```
pub fn install() -> Result<()> {
    let installed = os::fault::install().map(drop);
    installed.map_err(|failure| failure.during(Operation::CatchFaults, None, None))
}

/// Who catches faults now.
///
/// # Cost
///
/// Two system calls on Unix, none on Windows (where a handler that was added later and in front cannot be seen).
///
/// # Errors
///
/// Whatever the system refuses.
pub fn installed() -> Result<Installed> {
    os::fault::installed().map_err(|failure| failure.during(Operation::CatchFaults, None, None))
}
