//! Processes as `/proc` shows them.
//!
//! The folder of a process in `/proc` belongs to the process, not to its number: once it has ended, everything in a folder
//! that was opened before answers `ENOENT`, whoever has the number then.

use crate::error::{ErrorKind, Failure};
use crate::os::listed::buffer::resize;
use crate::os::listed::sys::Errno;
use crate::region::Device;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;

/// A descriptor that is ours to close.
struct Descriptor(c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the number came from `openat` or `fcntl`, is owned by this value alone and is not used after this.
        let _closed = unsafe { libc::close(self.0) };
    }
}

/// This process, or another.
pub(crate) struct Target(Option<Other>);

struct Other {
    pid: u32,
    folder: Descriptor,
}

/// A path that ends with a NUL: long enough for `/proc/self/object/` and a name of the list, which has 64 bytes at most.
struct Place([u8; 96]);

impl Place {
    fn path(&self) -> Result<&CStr, Errno> {
        CStr::from_bytes_until_nul(&self.0).map_err(|_| Errno(libc::ENAMETOOLONG))
    }
}

fn open_at(folder: c_int, path: &CStr) -> Result<Descriptor, Errno> {
    loop {
        Errno::injected("openat")?;
        // SAFETY: the path ends with a NUL; the folder is an open descriptor or AT_FDCWD (open(2)).
        let fd = unsafe { libc::openat(folder, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if fd >= 0 {
            return Ok(Descriptor(fd));
        }
        match Errno::last() {
            Errno(libc::EINTR) => {}
            errno => return Err(errno),
        }
    }
}

/// Reads from the start.
fn read(file: &Descriptor, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        Errno::injected("pread")?;
        // SAFETY: the descriptor is open; `buffer` is writable for its length (pread(2)).
        let read = unsafe { libc::pread(file.0, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if let Ok(read) = usize::try_from(read) {
            return Ok(read);
        }
        match Errno::last() {
            Errno(libc::EINTR) => {}
            errno => return Err(errno),
        }
    }
}

impl Target {
    /// Whichever process asks.
    pub(crate) const CURRENT: Self = Self(None);

    pub(crate) fn open(pid: u32) -> Result<Self, Failure> {
        if pid == 0 {
            return Err(Failure::new(ErrorKind::NoSuchProcess)
                .detail("0 is the kernel; Process::current is this one"));
        }
        let path = CString::new(alloc::format!("/proc/{pid}"))
            .map_err(|_| Failure::new(ErrorKind::NoSuchProcess))?;
        let folder = open_at(libc::AT_FDCWD, &path).map_err(|errno| match errno.0 {
            libc::ENOENT if open_at(libc::AT_FDCWD, c"/proc/self").is_ok() => {
                errno.system(ErrorKind::NoSuchProcess)
            }
            _ => failure(errno),
        })?;
        let target = Self(Some(Other { pid, folder }));
        // Whether it may be looked into, and whether it still has memory to look at.
        target.check()?;
        Ok(target)
    }

    /// The identifier; `None` for [`CURRENT`](Self::CURRENT).
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.0.as_ref()?.pid)
    }

    pub(super) fn duplicate(&self) -> Result<Self, Failure> {
        let Some(Other { pid, folder }) = &self.0 else { return Ok(Self::CURRENT) };
        let duplicate = Errno::injected("fcntl").and_then(|()| {
            // SAFETY: the descriptor is open; a new number for it is asked for (fcntl(2)).
            let fd = unsafe { libc::fcntl(folder.0, libc::F_DUPFD_CLOEXEC, 0) };
            if fd >= 0 { Ok(Descriptor(fd)) } else { Err(Errno::last()) }
        });
        Ok(Self(Some(Other { pid: *pid, folder: duplicate.map_err(failure)? })))
    }

    /// Reads one entry of the map: of a process that has ended that is refused.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.is_none() {
            return Ok(());
        }
        let map = self.open_file(c"map").map_err(|errno| self.failure(errno))?;
        let mut some = [0; 128];
        read(&map, &mut some).map(drop).map_err(|errno| self.failure(errno))
    }

    /// A file of the process.
    fn open_file(&self, name: &CStr) -> Result<Descriptor, Errno> {
        let (folder, place) = self.place(b"", name.to_bytes())?;
        open_at(folder, place.path()?)
    }

    /// Where a file of the process is to be found. Does not allocate.
    fn place(&self, folder: &[u8], name: &[u8]) -> Result<(c_int, Place), Errno> {
        let (start, prefix): (_, &[u8]) = match &self.0 {
            Some(other) => (other.folder.0, b""),
            None => (libc::AT_FDCWD, b"/proc/self/"),
        };
        let mut place = Place([0; 96]);
        // The last byte stays 0.
        let (room, _) = place.0.split_at_mut(95);
        let bytes = prefix.iter().chain(folder).chain(name);
        if prefix.len().saturating_add(folder.len()).saturating_add(name.len()) > room.len() {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok((start, place))
    }

    /// Reads all of a list by one call: the kernel makes it anew for each, so that parts need not fit together.
    pub(super) fn read(&self, name: &CStr, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        let file = self.open_file(name).map_err(|errno| self.failure(errno))?;
        let mut room: usize = 32 << 10;
        loop {
            buffer.clear();
            resize(buffer, room)?;
            let len = read(&file, buffer).map_err(|errno| self.failure(errno))?;
            if len < room {
                buffer.truncate(len);
                return Ok(());
            }
            // It may have been cut off.
            room = room.saturating_mul(2);
        }
    }

    /// The path that an entry's name stands for, in `path`; empty when it is not known (any more).
    pub(super) fn path(&self, name: &[u8], path: &mut Vec<u8>) {
        path.clear();
        let Ok((folder, place)) = self.place(b"path/", name) else { return };
        let Ok(link) = place.path() else { return };
        // The longest path that the system knows: PATH_MAX.
        if Errno::injected("readlinkat").is_err() || resize(path, 1024).is_err() {
            return;
        }
        // SAFETY: the link's name ends with a NUL; `path` is writable for its length (readlinkat(2)).
        let len = unsafe { libc::readlinkat(folder, link.as_ptr(), path.as_mut_ptr().cast(), path.len()) };
        path.truncate(usize::try_from(len).unwrap_or(0));
    }

    /// Device and inode of an object of the process.
    pub(super) fn object(&self, name: &[u8]) -> Option<(Device, u64)> {
        let (folder, place) = self.place(b"object/", name).ok()?;
        let path = place.path().ok()?;
        Errno::injected("fstatat").ok()?;
        let mut status = MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: the path ends with a NUL; `status` is writable (fstatat(2)).
        let done = unsafe { libc::fstatat(folder, path.as_ptr(), status.as_mut_ptr(), 0) };
        if done != 0 {
            return None;
        }
        // SAFETY: all of it was zeroed, which is valid for numbers, and then filled by the call.
        let status = unsafe { status.assume_init() };
        // `getmajor` and `getminor` of 64-bit device numbers (`<sys/sysmacros.h>`): 32 bits each.
        let [b0, b1, b2, b3, b4, b5, b6, b7] = status.st_dev.to_le_bytes();
        let device = Device {
            major: u32::from_le_bytes([b4, b5, b6, b7]),
            minor: u32::from_le_bytes([b0, b1, b2, b3]),
        };
        Some((device, status.st_ino))
    }

    fn failure(&self, errno: Errno) -> Failure {
        match (&self.0, errno.0) {
            // The folder was there: so the process was.
            (Some(_), libc::ENOENT | libc::ESRCH) => errno.system(ErrorKind::ProcessEnded),
            _ => failure(errno),
        }
    }
}

fn failure(errno: Errno) -> Failure {
    let (kind, remedy) = match errno.0 {
        libc::EACCES | libc::EPERM => (
            ErrorKind::NotPermitted,
            "run as the same user as the process, as root, or with the privilege proc_owner",
        ),
        // What a descriptor answers after its process has gained rights by running another program (proc(5)).
        libc::EAGAIN => (ErrorKind::NotPermitted, "the process gained rights: open it anew, as root"),
        libc::EOVERFLOW => (ErrorKind::Unsupported, "use a 64-bit program to look at a 64-bit process"),
        libc::EMFILE => {
            (ErrorKind::Exhausted, "close descriptors, or raise the limit of open files (ulimit -n)")
        }
        libc::ENOENT => (ErrorKind::Unsupported, "mount /proc: folio reads a process's mappings there"),
        libc::ENOMEM | libc::ENFILE => return errno.system(ErrorKind::Exhausted),
        _ => return errno.system(ErrorKind::System),
    };
    errno.system(kind).remedy(remedy)
}
