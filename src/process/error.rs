//! Why a buffer, a slice or a guest did not do what was asked.

use crate::error::{self, ErrorKind, Failure, Operation};
use core::fmt;

/// The result of what concerns processes and their memory.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a [buffer](super::ReadableProcessBuffer), a [slice](super::ReadableProcessSlice) or a [guest](super::Guest) did not do what was
/// asked.
///
/// A word, and nothing else: what a process does wrong is told to that process, perhaps a million times a second. Where
/// [`folio::Error`](crate::Error) is expected, it becomes one, by `?`.
///
/// # Examples
///
/// ```
/// use folio::process::{Error, ReadOnlyProcessBuffer, ReadableProcessBuffer};
///
/// let buffer = ReadOnlyProcessBuffer::default();
/// assert_eq!(buffer.enter(|_| ()), Err(Error::NoSuchApp));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The process has ended, so that its memory is, or is about to be, reclaimed; or the buffer never belonged to one: a default buffer, which is
    /// also what there is under a number where nothing was ever allowed. (Whether a guest lives tells
    /// [`Guest::is_alive`](super::Guest::is_alive).)
    NoSuchApp,
    /// Bytes outside of the process's memory, or of the slice, were named.
    AddressOutOfBounds,
    /// Two pieces of memory were to be of one length, and are not.
    SizeMismatch,
    /// A word does not lie at an address that is a multiple of its size.
    Misaligned,
    /// The memory was taken away, by who shares it, while it was used: see [the module](super#memory-that-is-taken-away).
    MemoryGone,
    /// A [limit](super::GuestLimits) is reached.
    LimitExceeded,
    /// The host has no memory left for its own part.
    OutOfMemory,
}

impl Error {
    fn text(self) -> &'static str {
        match self {
            Self::NoSuchApp => "the process has ended, or there never was one",
            Self::AddressOutOfBounds => "outside of the memory",
            Self::SizeMismatch => "the lengths differ",
            Self::Misaligned => "a word must lie at a multiple of its size",
            Self::MemoryGone => "the memory was taken away",
            Self::LimitExceeded => "as much as GuestLimits allows is in use, or less than was asked for",
            Self::OutOfMemory => "the host has no memory left",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}

/// Of what failed and was given back with the error: so that `?` takes the error and lets the other go.
impl<T> From<(T, Self)> for Error {
    fn from((_, error): (T, Self)) -> Self {
        error
    }
}

/// The [operation](crate::Operation) is [`Enter`](crate::Operation::Enter). (The error of [`MemoryGone`](Error::MemoryGone) does not tell the
/// byte: [`Error::fault`](crate::Error::fault) is `None`.)
impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NoSuchApp => ErrorKind::ProcessEnded,
            Error::AddressOutOfBounds | Error::SizeMismatch | Error::Misaligned => ErrorKind::InvalidInput,
            Error::MemoryGone => ErrorKind::Fault,
            Error::LimitExceeded | Error::OutOfMemory => ErrorKind::Exhausted,
        };
        Failure::new(kind).detail(error.text()).during(Operation::Enter, None, None)
    }
}

/// Of what failed and was given back with the error.
impl<T> From<(T, Error)> for error::Error {
    fn from((_, error): (T, Error)) -> Self {
        error.into()
    }
}

#[cfg(feature = "std")]
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error {
            Error::NoSuchApp => ErrorKind::NotFound,
            Error::AddressOutOfBounds | Error::SizeMismatch | Error::Misaligned => ErrorKind::InvalidInput,
            Error::OutOfMemory => ErrorKind::OutOfMemory,
            Error::MemoryGone | Error::LimitExceeded => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
