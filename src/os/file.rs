//! A file as the systems hand it around: the only type that a floor above must name without knowing the system.

use core::marker::PhantomData;

/// What can be mapped: any value that owns or borrows a descriptor (on Windows a handle) of a file.
#[cfg(all(feature = "std", unix))]
pub use std::os::fd::AsFd as AsFile;
/// What can be mapped: any value that owns or borrows a handle of a file.
#[cfg(all(feature = "std", windows))]
pub use std::os::windows::io::AsHandle as AsFile;

/// What could be mapped. Here nothing can: there is no backend for this system.
#[cfg(all(feature = "std", not(any(unix, windows))))]
pub trait AsFile {}

#[cfg(all(feature = "std", not(any(unix, windows))))]
impl AsFile for std::fs::File {}

/// The number by which the system knows an open file: a descriptor, a handle (which is no pointer to anything).
#[cfg(unix)]
type Number = core::ffi::c_int;
#[cfg(not(unix))]
type Number = usize;

/// An open file of somebody's, who keeps it open for as long as this lives.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "without `std` none is ever made"))]
pub(crate) struct File<'f> {
    number: Number,
    open: PhantomData<&'f ()>,
}

impl File<'_> {
    #[allow(dead_code, reason = "unsupported systems do not look at it")]
    pub(super) fn number(self) -> Number {
        self.number
    }

    /// A file of the backend's own, which is open as long as this is used.
    #[allow(dead_code, reason = "some make none")]
    pub(super) const fn numbered(number: Number) -> Self {
        Self { number, open: PhantomData }
    }
}

#[cfg(all(feature = "std", unix))]
pub(crate) fn file_of(file: &(impl AsFile + ?Sized)) -> File<'_> {
    use std::os::fd::AsRawFd;
    File { number: file.as_fd().as_raw_fd(), open: PhantomData }
}

#[cfg(all(feature = "std", windows))]
pub(crate) fn file_of(file: &(impl AsFile + ?Sized)) -> File<'_> {
    use std::os::windows::io::AsRawHandle;
    File { number: file.as_handle().as_raw_handle().addr(), open: PhantomData }
}

#[cfg(all(feature = "std", not(any(unix, windows))))]
pub(crate) fn file_of(_file: &(impl AsFile + ?Sized)) -> File<'_> {
    File { number: 0, open: PhantomData }
}

/// An error instead of a system call, in tests.
#[cfg(feature = "std")]
fn injected(call: &'static str) -> std::io::Result<()> {
    super::inject::point(call).map_or(Ok(()), |code| Err(std::io::Error::from_raw_os_error(code)))
}

/// What a file is, and how long it is now.
#[cfg(feature = "std")]
pub(crate) fn file_about(file: &std::fs::File) -> std::io::Result<std::fs::Metadata> {
    injected("file_about")?;
    file.metadata()
}

/// Reads what there is of a file from an offset on, by the system. Where the file's own offset is afterwards, nobody knows.
#[cfg(feature = "std")]
pub(crate) fn read_file(file: &std::fs::File, offset: u64, to: &mut [u8]) -> std::io::Result<usize> {
    loop {
        let done = injected("read_file").and_then(|()| read_at(file, offset, to));
        match done {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(all(feature = "std", unix))]
use std::os::unix::fs::FileExt;
#[cfg(all(feature = "std", windows))]
use std::os::windows::fs::FileExt;

#[cfg(all(feature = "std", unix))]
fn read_at(file: &std::fs::File, offset: u64, to: &mut [u8]) -> std::io::Result<usize> {
    file.read_at(to, offset)
}

#[cfg(all(feature = "std", windows))]
fn read_at(file: &std::fs::File, offset: u64, to: &mut [u8]) -> std::io::Result<usize> {
    file.seek_read(to, offset)
}

#[cfg(all(feature = "std", not(any(unix, windows))))]
fn read_at(_file: &std::fs::File, _offset: u64, _to: &mut [u8]) -> std::io::Result<usize> {
    Err(std::io::ErrorKind::Unsupported.into())
}
