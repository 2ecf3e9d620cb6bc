//! A slice as a file.

use super::{ProcessSlice, ReadableProcessSlice, WriteableProcessSlice};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// A process slice with a position, to be used as a file is: made by `cursor`.
///
/// Reads and writes end at the end of the slice, which does not grow. What was
/// [taken away](crate::process#memory-that-is-taken-away) is an error.
///
/// # Examples
///
/// ```
/// use folio::process::{Host, WriteableProcessBuffer};
/// use std::io::{Read, Seek, SeekFrom, Write};
///
/// let guest = Host::new().guest(folio::Pages::new(1)?)?;
/// guest.allow_read_write(0, 0..20)?;
/// guest.read_write(0).mut_enter(|slice| -> std::io::Result<()> {
///     let mut cursor = slice.cursor();
///     write!(cursor, "{} pages", 7)?;
///     assert_eq!(cursor.position(), 7);
///     cursor.seek(SeekFrom::Start(2))?;
///     let mut word = [0; 5];
///     cursor.read_exact(&mut word)?;
///     assert_eq!(&word, b"pages");
///     Ok(())
/// })?.unwrap();
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Debug)]
pub struct ProcessCursor<'a, S: ?Sized> {
    slice: &'a S,
    /// May lie behind the end.
    position: u64,
}

impl<S: ?Sized> Clone for ProcessCursor<'_, S> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, S: ProcessSlice + ?Sized> ProcessCursor<'a, S> {
    pub(super) fn new(slice: &'a S) -> Self {
        Self { slice, position: 0 }
    }

    /// The slice.
    pub fn get_ref(&self) -> &'a S {
        self.slice
    }

    /// The offset of the byte that is read or written next; it may lie behind the end.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to an offset, which may lie behind the end: there is nothing to be read there, and no room to write.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// How many bytes there are.
    fn len(&self) -> usize {
        self.slice.parts().1
    }

    /// The bytes at the position, at most so many.
    fn next(&self, len: usize) -> (usize, usize) {
        let start = usize::try_from(self.position).unwrap_or(usize::MAX).min(self.len());
        (start, len.min(self.len().saturating_sub(start)))
    }

    fn went_on(&mut self, by: usize) {
        self.position = self.position.saturating_add(u64::try_from(by).unwrap_or(u64::MAX));
    }
}

impl<S: ProcessSlice + AsRef<ReadableProcessSlice> + ?Sized> Read for ProcessCursor<'_, S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let (start, len) = self.next(to.len());
        let piece = self.slice.as_ref().get(start..).and_then(|rest| rest.get(..len));
        if let (Some(piece), Some(to)) = (piece, to.get_mut(..len)) {
            piece.copy_to_slice_or_err(to)?;
            self.went_on(len);
        }
        Ok(len)
    }
}

impl Write for ProcessCursor<'_, WriteableProcessSlice> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let (start, len) = self.next(from.len());
        let piece = self.slice.get(start..).and_then(|rest| rest.get(..len));
        if let (Some(piece), Some(from)) = (piece, from.get(..len)) {
            piece.copy_from_slice_or_err(from)?;
            self.went_on(len);
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: ProcessSlice + ?Sized> Seek for ProcessCursor<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => u64::try_from(self.len()).ok().and_then(|len| len.checked_add_signed(by)),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let Some(position) = position else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a position before the first byte, or too far",
            ));
        };
        self.position = position;
        Ok(position)
    }
}
