//! Processes as `sysctl` knows them: FreeBSD, NetBSD, OpenBSD.
//!
//! There is nothing to hold a process by but its number. So the time at which it was started is kept beside it, and asked
//! for again after every list: if it is the same, the list was that process's, for it has lived all the while.

use super::sys::Errno;
use crate::error::{ErrorKind, Failure};
use core::ffi::c_int;
use core::ptr;

/// Asks the kernel; gives how many bytes of the buffer it has filled.
pub(crate) fn read(call: &'static str, name: &[c_int], buffer: &mut [u8]) -> Result<usize, Errno> {
    Errno::injected(call)?;
    let mut len = buffer.len();
    let count = u32::try_from(name.len()).unwrap_or(0);
    // SAFETY: `name` is readable for `count` numbers; `buffer` is writable for `len` bytes, and any bytes may be written
    // there; `len` is writable; nothing is to be set (sysctl(3), sysctl(2)).
    let done = unsafe {
        libc::sysctl(name.as_ptr(), count, buffer.as_mut_ptr().cast(), &raw mut len, ptr::null_mut(), 0)
    };
    if done != 0 {
        return Err(Errno::last());
    }
    Ok(len.min(buffer.len()))
}

/// How many bytes the answer would take now.
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
pub(crate) fn len(call: &'static str, name: &[c_int]) -> Result<usize, Errno> {
    Errno::injected(call)?;
    let mut len = 0_usize;
    let count = u32::try_from(name.len()).unwrap_or(0);
    // SAFETY: `name` is readable for `count` numbers; a null buffer asks for the length, and `len` is writable; nothing is
    // to be set (sysctl(3)).
    let done =
        unsafe { libc::sysctl(name.as_ptr(), count, ptr::null_mut(), &raw mut len, ptr::null_mut(), 0) };
    if done == 0 { Ok(len) } else { Err(Errno::last()) }
}

/// Reads a list whose length may grow between asking for it and reading it, if only because the buffer is a new mapping.
/// `step`: the size of one entry at most. `most`: the longest buffer that the kernel takes.
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
pub(crate) fn read_list(
    call: &'static str,
    name: &[c_int],
    buffer: &mut alloc::vec::Vec<u8>,
    step: usize,
    most: usize,
) -> Result<(), Errno> {
    const TRIES: u32 = 10;
    let mut slack = step.saturating_mul(8);
    for _ in 0..TRIES {
        let needed = len(call, name)?;
        if needed == 0 {
            buffer.clear();
            return Ok(());
        }
        let room = needed.saturating_add(needed / 8).saturating_add(slack).min(most);
        buffer.clear();
        super::sys::resize(buffer, room).map_err(|_| Errno(libc::ENOMEM))?;
        match read(call, name, buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(());
            }
            // It did not fit. (NetBSD's kernel calls that ENOSPC inside, and ENOMEM at the gate.)
            Err(Errno(libc::ENOMEM | libc::ENOSPC)) if room < most => slack = slack.saturating_mul(2),
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno(libc::ENOMEM))
}

/// What the system says of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// A process with memory, and when it was started.
    Alive(Started),
    /// A process that waits for its parent to take note of its end.
    Ended,
    /// No process, or none that we may know of.
    Nobody,
}

/// The bytes in which the kernel keeps the time of a process's start: only compared.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Started([u8; 16]);

impl Started {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut kept = [0; 16];
        for (to, from) in kept.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(kept)
    }
}

/// What differs between the three.
pub(crate) trait Processes {
    /// What they must do who are not permitted.
    const REMEDY: &'static str;
    fn life(pid: c_int) -> Result<Life, Errno>;
    /// Asks for the list and throws it away: to see whether one may.
    fn probe(pid: c_int) -> Result<(), Errno>;
}

/// This process, or another.
#[derive(Clone, Copy)]
pub(crate) struct Target(Option<Other>);

#[derive(Clone, Copy)]
struct Other {
    pid: c_int,
    started: Started,
}

impl Target {
    /// Whichever process asks.
    pub(crate) const CURRENT: Self = Self(None);

    pub(crate) fn open_as<P: Processes>(pid: u32) -> Result<Self, Failure> {
        let nobody = || Failure::new(ErrorKind::NoSuchProcess);
        if pid == 0 {
            return Err(nobody().detail("0 is the kernel; Process::current is this one"));
        }
        let pid = c_int::try_from(pid).map_err(|_| nobody())?;
        let started = match P::life(pid).map_err(failure::<P>)? {
            Life::Alive(started) => started,
            Life::Ended => return Err(Failure::new(ErrorKind::ProcessEnded)),
            Life::Nobody => return Err(nobody()),
        };
        P::probe(pid).map_err(failure::<P>)?;
        Ok(Self(Some(Other { pid, started })))
    }

    /// The identifier; `None` for [`CURRENT`](Self::CURRENT).
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.0?.pid.unsigned_abs())
    }

    /// The number to ask the kernel about.
    pub(crate) fn number(&self) -> c_int {
        match self.0 {
            Some(other) => other.pid,
            // SAFETY: no precondition, cannot fail (getpid(2)).
            None => unsafe { libc::getpid() },
        }
    }

    /// What a failed list means: if the process has ended meanwhile, that.
    pub(crate) fn failure<P: Processes>(&self, errno: Errno) -> Failure {
        match self.still_there::<P>() {
            Err(ended) if ended.kind() == ErrorKind::ProcessEnded => ended,
            _ => failure::<P>(errno),
        }
    }

    pub(crate) fn still_there<P: Processes>(&self) -> Result<(), Failure> {
        let Some(other) = self.0 else { return Ok(()) };
        if P::life(other.pid).map_err(failure::<P>)? == Life::Alive(other.started) {
            Ok(())
        } else {
            Err(Failure::new(ErrorKind::ProcessEnded))
        }
    }
}

fn failure<P: Processes>(errno: Errno) -> Failure {
    match errno.0 {
        libc::ESRCH => errno.system(ErrorKind::ProcessEnded),
        libc::EPERM | libc::EACCES => errno.system(ErrorKind::NotPermitted).remedy(P::REMEDY),
        libc::ENOMEM => errno.system(ErrorKind::Exhausted),
        libc::E2BIG => errno
            .system(ErrorKind::Exhausted)
            .detail("the system lists no more mappings of a process than fit into 10 MiB"),
        libc::ENOENT | libc::EOPNOTSUPP => {
            errno.system(ErrorKind::Unsupported).detail("this kernel does not list mappings")
        }
        _ => errno.system(ErrorKind::System),
    }
}

/// What NetBSD and OpenBSD tell of a process: when it was started stands in some fields of which another says that they are
/// valid, as they are for every process that has not ended.
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn life_from(told: &[u8], valid: usize, started: core::ops::Range<usize>) -> Life {
    match (super::fields::u64_at(told, valid), told.get(started)) {
        (Some(0), Some(_)) => Life::Ended,
        (Some(_), Some(started)) => Life::Alive(Started::from_bytes(started)),
        _ => Life::Nobody,
    }
}
