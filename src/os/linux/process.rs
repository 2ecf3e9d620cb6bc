//! A process, held on to by the descriptor of its folder in `/proc`.

use super::sys;
use crate::error::{ErrorKind, Failure};
use alloc::ffi::CString;
use alloc::format;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::RawDir;
use rustix::io::Errno;

/// This process, or another.
pub(crate) struct Target(Option<Other>);

/// Another process: `/proc/PID` as it was when the handle was made. The kernel binds that folder to the process, not to
/// the number: once the process has ended, everything in it answers `ESRCH`, whoever has the number then.
///
/// No file in it is kept open: `maps` is bound to the memory that the process had when it was opened, which may become or
/// be another process's: between `vfork` and `exec` a process uses its parent's.
pub(super) struct Other {
    pid: u32,
    folder: OwnedFd,
}

impl Target {
    /// Whichever process asks.
    pub(crate) const CURRENT: Self = Self(None);

    pub(crate) fn open(pid: u32) -> Result<Self, Failure> {
        if pid == 0 {
            return Err(Failure::new(ErrorKind::NoSuchProcess)
                .detail("0 is no process that has memory; Process::current is this one"));
        }
        let folder = folder_of(pid)?;
        // A thread's number opens its process, which may outlive it.
        let (pid, folder) = match leader(&folder) {
            Some(leader) if leader != pid => (leader, folder_of(leader)?),
            _ => (pid, folder),
        };
        let other = Other { pid, folder };
        // Whether we are let in is seen here, and not at the first question.
        let _maps = other.open(c"maps")?;
        if other.state() == State::Ended && other.open_in_thread(c"maps").is_none() {
            return Err(Failure::new(ErrorKind::ProcessEnded));
        }
        Ok(Self(Some(other)))
    }

    /// The identifier; `None` for [`CURRENT`](Self::CURRENT).
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.0.as_ref()?.pid)
    }

    pub(super) fn other(&self) -> Option<&Other> {
        self.0.as_ref()
    }

    pub(super) fn folder(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_ref()?.folder.as_fd())
    }
}

fn folder_of(pid: u32) -> Result<OwnedFd, Failure> {
    let no_such_process = || Failure::system(ErrorKind::NoSuchProcess, Errno::SRCH.raw_os_error());
    let path = CString::new(format!("/proc/{pid}")).map_err(|_| no_such_process())?;
    sys::open(&path).map_err(|errno| match errno {
        // Is there no such process, or no /proc?
        Errno::NOENT | Errno::SRCH if !matches!(sys::open(c"/proc/self"), Err(Errno::NOENT)) => {
            no_such_process()
        }
        other => sys::failure(other),
    })
}

/// The process that a folder of `/proc` belongs to, from its `status`.
fn leader(folder: &OwnedFd) -> Option<u32> {
    let status = sys::open_at(folder.as_fd(), c"status").ok()?;
    let mut buffer = [0; 512];
    let read = sys::read(status.as_fd(), &mut buffer).ok()?;
    let line =
        buffer.get(..read)?.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    core::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// Why a process has no mappings, if it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It is a thread of the kernel: it lives, and has no memory of its own.
    Kernel,
    /// It has ended, or is about to and has given up its memory.
    Ended,
    /// Neither: it should have mappings.
    Alive,
}

impl Other {
    /// A file of the process, opened anew.
    pub(super) fn open(&self, name: &CStr) -> Result<OwnedFd, Failure> {
        sys::open_at(self.folder.as_fd(), name).map_err(|errno| match errno {
            Errno::NOENT if self.state() != State::Ended => {
                Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
                    .detail("this kernel was built without that file of /proc")
            }
            // The folder was there: so the process was.
            Errno::NOENT | Errno::SRCH => Failure::system(ErrorKind::ProcessEnded, errno.raw_os_error()),
            other => sys::failure(other),
        })
    }

    /// The same file, of a thread that lives on after the process's first thread has ended: the first one's shows nothing
    /// then, though the process has its memory still.
    pub(super) fn open_in_thread(&self, name: &CStr) -> Option<OwnedFd> {
        let threads = sys::open_at(self.folder.as_fd(), c"task").ok()?;
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut entries = RawDir::new(threads.as_fd(), &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let thread = entry.file_name().to_bytes();
            if !thread.first().is_some_and(u8::is_ascii_digit) {
                continue;
            }
            let of_thread = |name: &CStr| {
                let path = CString::new([thread, b"/", name.to_bytes()].concat()).ok()?;
                sys::open_at(threads.as_fd(), &path).ok()
            };
            if of_thread(c"stat").map_or(State::Ended, |stat| read_state(&stat)) == State::Alive {
                return of_thread(name);
            }
        }
        None
    }

    /// What became of the process's first thread, from its `stat`.
    fn state(&self) -> State {
        sys::open_at(self.folder.as_fd(), c"stat").map_or(State::Ended, |stat| read_state(&stat))
    }

    /// That the process has no mappings: fine for a kernel thread, an error for any other.
    pub(super) fn without_memory(&self) -> Result<(), Failure> {
        match self.state() {
            State::Kernel => Ok(()),
            State::Ended | State::Alive => Err(Failure::new(ErrorKind::ProcessEnded)),
        }
    }
}

fn read_state(stat: &OwnedFd) -> State {
    let mut buffer = [0; 512];
    let read = sys::read(stat.as_fd(), &mut buffer).unwrap_or(0);
    state_from(buffer.get(..read).unwrap_or_default())
}

/// The name in `stat` is in parentheses and may hold any byte, parentheses too: what counts stands after the last one.
pub(super) fn state_from(stat: &[u8]) -> State {
    const PF_EXITING: u64 = 0x4;
    const PF_KTHREAD: u64 = 0x0020_0000;
    let after = stat.iter().rposition(|&byte| byte == b')').and_then(|at| stat.get(at.saturating_add(2)..));
    let mut fields = after.unwrap_or_default().split(|&byte| byte == b' ');
    let state = fields.next();
    let flags = fields
        .nth(5)
        .and_then(|field| core::str::from_utf8(field).ok())
        .and_then(|field| field.parse::<u64>().ok())
        .unwrap_or(0);
    if flags & PF_KTHREAD != 0 {
        State::Kernel
    } else if matches!(state, Some(b"Z" | b"X" | b"x") | None) || flags & PF_EXITING != 0 {
        State::Ended
    } else {
        State::Alive
    }
}

pub(crate) fn process_id() -> u32 {
    // A process's identifier is positive.
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_after_any_name() {
        let line = |name: &str, state: &str, flags: u64| {
            format!("12 ({name}) {state} 1 12 12 0 -1 {flags} 0 0 0").into_bytes()
        };
        assert_eq!(state_from(&line("cat", "S", 0x400000)), State::Alive);
        assert_eq!(state_from(&line("a) Z 1 (b", "R", 0)), State::Alive);
        assert_eq!(state_from(&line("x", "Z", 0)), State::Ended);
        assert_eq!(state_from(&line("x", "R", 4)), State::Ended);
        assert_eq!(state_from(&line("kthreadd", "S", 0x0020_8040)), State::Kernel);
        for torn in [&b""[..], b"12", b"12 (cat", b"12 (cat)", b"12 (cat) "] {
            let _any = state_from(torn);
        }
    }
}
