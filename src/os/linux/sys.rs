//! The system calls used here, each through the failure-injection point, and what their codes mean.

use crate::error::{ErrorKind, Failure};
use crate::os::inject;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use rustix::io::{self, Errno};
use rustix::process::{self, Resource};

fn injected(call: &'static str) -> io::Result<()> {
    match inject::point(call) {
        Some(code) => Err(Errno::from_raw_os_error(code)),
        None => Ok(()),
    }
}

pub(super) fn open(path: &CStr) -> io::Result<OwnedFd> {
    injected("open")?;
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn open_at(folder: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    injected("openat")?;
    fs::openat(folder, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        injected("read")?;
        match io::read(fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        injected("pread")?;
        match io::pread(fd, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn status(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    injected("fstat")?;
    fs::fstat(fd)
}

pub(super) fn status_at(folder: BorrowedFd<'_>, path: &CStr) -> io::Result<Stat> {
    injected("fstatat")?;
    fs::statat(folder, path, AtFlags::NO_AUTOMOUNT)
}

/// The same file under a number of at least `lowest`, `CLOEXEC`.
pub(super) fn duplicate(fd: BorrowedFd<'_>, lowest: i32) -> io::Result<OwnedFd> {
    injected("fcntl")?;
    io::fcntl_dupfd_cloexec(fd, lowest)
}

/// How many descriptors the process may have.
pub(super) fn descriptor_limit() -> u64 {
    process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Reads the start of a small file of `/proc` or `/sys`. What is longer than the buffer is left out.
pub(super) fn read_small<'b>(path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let file = open(path).ok()?;
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = buffer.get_mut(filled..) {
        match read(file.as_fd(), rest).ok()? {
            0 => break,
            more => filled = filled.saturating_add(more),
        }
    }
    buffer.get(..filled)
}

/// What a code of the system means when a process's files in `/proc` are opened or read.
pub(super) fn failure(errno: Errno) -> Failure {
    let (kind, remedy) = match errno {
        Errno::ACCESS | Errno::PERM => (
            ErrorKind::NotPermitted,
            "run as the same user as the process, as root, or with CAP_SYS_PTRACE (a process with gained rights or \
             marked undumpable admits only the latter two)",
        ),
        Errno::SRCH => return Failure::system(ErrorKind::ProcessEnded, errno.raw_os_error()),
        Errno::MFILE => {
            (ErrorKind::Exhausted, "close descriptors, or raise the limit of open files (ulimit -n)")
        }
        Errno::NFILE => (ErrorKind::Exhausted, "raise the system's limit of open files (fs.file-max)"),
        Errno::NOMEM => return Failure::system(ErrorKind::Exhausted, errno.raw_os_error()),
        Errno::NOENT | Errno::NOTDIR => {
            (ErrorKind::Unsupported, "mount /proc: folio reads a process's mappings there")
        }
        Errno::NOSYS => return Failure::system(ErrorKind::Unsupported, errno.raw_os_error()),
        _ => return Failure::system(ErrorKind::System, errno.raw_os_error()),
    };
    Failure::system(kind, errno.raw_os_error()).remedy(remedy)
}
