//! Processes as `sysctl` knows them: FreeBSD, NetBSD, OpenBSD.
//!
//! There is nothing to hold a process by but its number. So the time at which it was started is kept beside it, and asked
//! for again after every list: if it is the same, the list was that process's, for it has lived all the while.

use super::started::{Started, micros, with_boot};
use super::sys::{Errno, own_pid};
use super::walk::{Entry, Listed};
use crate::error::{ErrorKind, Failure};
use crate::region::Detail;
use alloc::vec::Vec;
use core::ffi::c_int;
use core::marker::PhantomData;
use core::mem::offset_of;
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
use core::ops::Range;
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

/// Reads a list that the kernel gives whole, into a buffer that it takes whole. `step`: the size of one entry at most.
/// `most`: the longest buffer that the kernel takes.
#[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
pub(crate) fn read_list(
    call: &'static str,
    name: &[c_int],
    buffer: &mut Vec<u8>,
    step: usize,
    most: usize,
) -> Result<(), Errno> {
    use super::buffer::{Stopped, read_growing};
    let fill = |room: &mut [u8]| match read(call, name, room) {
        Ok(len) => Ok(Some(len)),
        // It did not fit. (NetBSD's kernel calls that ENOSPC inside, and ENOMEM at the gate.)
        Err(Errno(libc::ENOMEM | libc::ENOSPC)) => Ok(None),
        Err(errno) => Err(errno),
    };
    read_growing(buffer, step, most, || len(call, name), fill).map_err(|stopped| match stopped {
        Stopped::Refused(errno) => errno,
        Stopped::NoMemory => Errno(libc::ENOMEM),
        // As NetBSD's kernel calls a longer buffer.
        Stopped::TooLong => Errno(libc::E2BIG),
    })
}

/// What the kernel says of one process, in its structure for that; nothing if there is no such process.
pub(crate) fn process<'a>(call: &'static str, name: &[c_int], info: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    match read(call, name, info) {
        Ok(len) => Ok(info.get(..len).unwrap_or_default()),
        Err(Errno(libc::ESRCH)) => Ok(&[]),
        Err(errno) => Err(errno),
    }
}

/// A size as a number in the name of a question.
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn c_size(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

/// A `struct timeval`, in microseconds.
pub(crate) fn timeval(bytes: &[u8], at: usize) -> Option<i64> {
    let field = |offset: usize, len: usize| {
        let start = at.saturating_add(offset);
        start..start.saturating_add(len)
    };
    micros(
        bytes,
        field(offset_of!(libc::timeval, tv_sec), size_of::<libc::time_t>()),
        field(offset_of!(libc::timeval, tv_usec), size_of::<libc::suseconds_t>()),
    )
}

/// The time of day at which the machine was started: moves when the clock is set.
fn boot_time() -> Result<i64, Errno> {
    let mut told = [0_u8; size_of::<libc::timeval>()];
    let len = read("sysctl kern.boottime", &[libc::CTL_KERN, libc::KERN_BOOTTIME], &mut told)?;
    Ok(timeval(told.get(..len).unwrap_or_default(), 0).unwrap_or(0))
}

/// What the system says of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// A process with memory, and when it was started: what the kernel tells, in microseconds.
    Alive(i64),
    /// A process that waits for its parent to take note of its end, or has given up its memory.
    Ended,
    /// No process, or none that we may know of.
    Nobody,
}

/// What differs between the three.
pub(crate) trait Processes {
    /// What they must do who are not permitted.
    const REMEDY: &'static str;

    /// Whether the start of a process is told as a time of day that moves when the clock is set.
    const START_MOVES: bool;

    /// Reads the whole list of a process into a buffer that is empty.
    fn list(pid: c_int, buffer: &mut Vec<u8>) -> Result<(), Errno>;

    /// The first entry of the bytes; `None` when they do not begin with a whole one that makes sense.
    fn entry(bytes: &[u8]) -> Option<Entry<'_>>;

    fn life(pid: c_int) -> Result<Life, Errno>;

    /// Asks for the list and throws it away: to see whether one may.
    fn probe(pid: c_int) -> Result<(), Errno>;
}

/// This process, or another, of the system `P`.
pub(crate) struct Target<P>(Option<Other>, PhantomData<P>);

#[derive(Clone, Copy)]
struct Other {
    pid: c_int,
    started: Started,
}

impl<P: Processes> Target<P> {
    /// Whichever process asks.
    pub(crate) const CURRENT: Self = Self(None, PhantomData);

    pub(crate) fn open(pid: u32) -> Result<Self, Failure> {
        let nobody = || Failure::new(ErrorKind::NoSuchProcess);
        if pid == 0 {
            return Err(nobody().detail("0 is the kernel; Process::current is this one"));
        }
        let pid = c_int::try_from(pid).map_err(|_| nobody())?;
        let started = match life::<P>(pid)? {
            (boot, Life::Alive(start)) => Started::new(start, boot),
            (_, Life::Ended) => return Err(Failure::new(ErrorKind::ProcessEnded)),
            (_, Life::Nobody) => return Err(nobody()),
        };
        P::probe(pid).map_err(failure::<P>)?;
        Ok(Self(Some(Other { pid, started }), PhantomData))
    }

    /// The identifier; `None` for [`CURRENT`](Self::CURRENT).
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.0?.pid.unsigned_abs())
    }
}

impl<P: Processes> Listed for Target<P> {
    fn list(&self, _detail: Detail, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let pid = self.0.map_or_else(own_pid, |other| other.pid);
        P::list(pid, buffer).map_err(|errno| match self.still_there() {
            // If the process has ended meanwhile, that is what the failure means.
            Err(ended) if ended.kind() == ErrorKind::ProcessEnded => ended,
            _ => failure::<P>(errno),
        })
    }

    fn entry(bytes: &[u8], _detail: Detail) -> Option<Entry<'_>> {
        P::entry(bytes)
    }

    fn hold(&self) -> Result<Self, Failure> {
        Ok(Self(self.0, PhantomData))
    }

    fn still_there(&self) -> Result<(), Failure> {
        let Some(other) = self.0 else { return Ok(()) };
        match life::<P>(other.pid)? {
            (boot, Life::Alive(start)) if Started::new(start, boot).is(other.started) => Ok(()),
            _ => Err(Failure::new(ErrorKind::ProcessEnded)),
        }
    }
}

/// With what is to be taken off the time of the start.
fn life<P: Processes>(pid: c_int) -> Result<(i64, Life), Failure> {
    let boot = || if P::START_MOVES { boot_time() } else { Ok(0) };
    with_boot(boot, || P::life(pid)).map_err(failure::<P>)
}

fn failure<P: Processes>(errno: Errno) -> Failure {
    match errno.0 {
        // EFAULT: what NetBSD says of a process that has given up its memory (`proc_vmspace_getref`). The buffer is sound.
        libc::ESRCH | libc::EFAULT => errno.system(ErrorKind::ProcessEnded),
        libc::EPERM | libc::EACCES => errno.system(ErrorKind::NotPermitted).remedy(P::REMEDY),
        libc::ENOMEM => errno.system(ErrorKind::Exhausted),
        libc::E2BIG => errno
            .system(ErrorKind::Exhausted)
            .detail("the system lists no more mappings of a process than fit into 10 MiB"),
        // FreeBSD's `p_candebug`.
        libc::EBUSY => errno.system(ErrorKind::System).remedy("the process is starting a program: try again"),
        // OpenBSD's `pledge_fail`, where the promise `error` keeps it from ending the process.
        libc::ENOSYS => errno
            .system(ErrorKind::NotPermitted)
            .remedy("ask before pledge(2): none of its promises admits this"),
        libc::ENOENT | libc::EOPNOTSUPP => {
            errno.system(ErrorKind::Unsupported).detail("this kernel does not list mappings")
        }
        _ => errno.system(ErrorKind::System),
    }
}

/// What NetBSD and OpenBSD tell of a process: when it was started stands in fields of which another says that they are
/// valid, as they are for every process that is no zombie.
#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn life_from(
    told: &[u8],
    valid: usize,
    seconds: Range<usize>,
    microseconds: Range<usize>,
) -> Life {
    match (super::fields::u64_at(told, valid), micros(told, seconds, microseconds)) {
        (Some(0), Some(_)) => Life::Ended,
        (Some(_), Some(start)) => Life::Alive(start),
        _ => Life::Nobody,
    }
}
