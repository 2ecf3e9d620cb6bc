//! Making visible what was written to be executed: also to other threads, where Linux can.

use super::sys;
use crate::error::{ErrorKind, Failure};
use crate::os::icache::{begin, by_program, unknown};
use core::ptr::NonNull;
use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, membarrier};

/// Lets all threads execute what was written to the bytes.
///
/// # Safety
///
/// The bytes are mapped and, where [`flush_reads`](crate::os::flush_reads), can be read.
pub(crate) unsafe fn flush_instructions(bytes: NonNull<[u8]>) -> Result<(), Failure> {
    begin()?;
    if let Some(flush) = CALL {
        return flush(bytes).map_err(|errno| Failure::system(ErrorKind::System, errno.raw_os_error()));
    }
    // SAFETY: the caller's promise.
    if !unsafe { by_program(bytes) } {
        return Err(unknown());
    }
    if FETCHES_AHEAD {
        reach_other_threads();
    }
    Ok(())
}

/// Where other processors go on with what they have fetched ahead until they are told.
const FETCHES_AHEAD: bool = cfg!(any(target_arch = "aarch64", target_arch = "powerpc64"));

/// Lets every processor on which a thread of this process runs fetch again what it has fetched ahead (membarrier(2), Linux 4.16:
/// "core serializing instruction"). Threads that do not run do so when they are scheduled. Where the kernel cannot, it is for
/// those who let other threads run the code, as on other systems.
fn reach_other_threads() {
    if sys::admitted(c"membarrier").is_err() {
        return;
    }
    let barrier = |command| sys::injected("membarrier").and_then(|()| membarrier(command));
    if barrier(MembarrierCommand::PrivateExpeditedSyncCore) != Err(Errno::PERM) {
        return;
    }
    // Once for a process: that it will ask.
    if barrier(MembarrierCommand::RegisterPrivateExpeditedSyncCore).is_ok() {
        let _told = barrier(MembarrierCommand::PrivateExpeditedSyncCore);
    }
}

type Call = fn(NonNull<[u8]>) -> Result<(), Errno>;

/// The processors of which the kernel alone may flush, or knows where else a thread may run.
#[cfg(not(any(target_arch = "arm", target_arch = "riscv32", target_arch = "riscv64")))]
const CALL: Option<Call> = None;

/// `cacheflush`, one of the calls of 32-bit Arm alone (`__ARM_NR_cacheflush`); it does nothing about other processors' pipelines.
#[cfg(target_arch = "arm")]
const CALL: Option<Call> = Some(|bytes| {
    flush_by(0xf0002, bytes)?;
    reach_other_threads();
    Ok(())
});

/// `riscv_flush_icache` (Linux 4.15): with flags of 0, for all threads, wherever they run.
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
const CALL: Option<Call> = Some(|bytes| flush_by(259, bytes));

/// A call that takes the start, the end, and flags, none of which is set.
#[cfg(any(target_arch = "arm", target_arch = "riscv32", target_arch = "riscv64"))]
fn flush_by(number: libc::c_long, bytes: NonNull<[u8]>) -> Result<(), Errno> {
    let start = bytes.as_ptr().cast::<u8>().expose_provenance();
    let end = start.saturating_add(bytes.len());
    sys::injected("cacheflush")?;
    // SAFETY: takes three words, and changes neither what the bytes hold nor what they grant.
    sys::result(unsafe { libc::syscall(number, sys::word(start), sys::word(end), sys::word(0)) }).map(drop)
}
