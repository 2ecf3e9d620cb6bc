//! Writing to the file.

use super::{ExecAccess, Pages, ReadAccess, Together, WriteAccess};
use crate::error::Result;
use core::ops::RangeBounds;

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Writes to the file what was written to its pages, and waits until it is there.
    ///
    /// `range` is in bytes from the first one on (`..`: all), not necessarily on page boundaries: whole pages are written.
    ///
    /// What is written to the pages other programs see in the file at once; this is for what shall outlive the machine. Without it the
    /// system writes sooner or later, also when the mapping is dropped. Anonymous memory and copies of files have nothing to
    /// write: `Ok`, without a system call.
    ///
    /// # Cost
    ///
    /// One system call (on Windows two), and the writing.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::System`](crate::ErrorKind::System): the device refuses (`EIO`), or is full. What is in the file then, nobody
    ///   knows.
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the range ends before it begins, or behind the mapping. An
    ///   empty range is `Ok`.
    ///
    /// # Platforms
    ///
    /// | Linux, FreeBSD, NetBSD, OpenBSD, illumos | `msync(MS_SYNC)`: on the device |
    /// |---|---|
    /// | macOS, iOS | `msync(MS_SYNC)`: handed to the device, which may hold it in a cache of its own; `File::sync_all` (`F_FULLFSYNC`) after it empties that |
    /// | Windows | `FlushViewOfFile` and `FlushFileBuffers`, by a duplicate of the handle: on the device |
    ///
    /// What the file system knows *about* the file (its size, its times) is a matter of `File::sync_all`.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::MmapMut;
    ///
    /// let file = tempfile::tempfile()?;
    /// file.set_len(3)?;
    /// // SAFETY: nobody else has this file.
    /// let mut map = unsafe { MmapMut::map_mut(&file) }?;
    /// map.copy_from_slice(b"abc");
    /// map.flush(..)?;
    /// map[1] = b'B';
    /// map.flush(1..2)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.map.flush(&range, true)
    }

    /// Lets the system begin to write to the file what was written to its pages, and does not wait.
    ///
    /// A hint: Linux begins nothing by it, for it always writes in the background; Windows hands all to the file system.
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush), for what is known at once.
    pub fn flush_async(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.map.flush(&range, false)
    }
}
