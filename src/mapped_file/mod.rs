//! A file that is read by way of its pages.

mod stream;
#[cfg(test)]
mod tests;

use crate::error::{Error, Failure, Operation};
use crate::fault;
use crate::os;
use crate::pages::{MmapOptions, SharedPages};
use core::fmt;
use std::boxed::Box;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// Files shorter than this are read by the system: mapping them would cost more than reading them.
const SHORTEST: u64 = 1 << 20;
/// Up to where a file can reach.
const END: u64 = i64::MAX.unsigned_abs();
/// Fewer bytes than these at once are read by the system: that costs less than to ask how long the file is.
const FEWEST: usize = 4096;
/// How many bytes are read ahead of [`BufRead`](io::BufRead) at a time.
const AHEAD: usize = 256 << 10;
/// The same behind a jump to another place, where perhaps little is wanted. From there on, twice as many each time.
const AFTER_JUMP: usize = 8 << 10;

/// A file to be read, by way of its pages where that pays, that others may write to, cut short or make longer meanwhile: the
/// reader never gets a signal for it, and sees what `read` could have seen.
///
/// [`read_at`](Self::read_at) copies from the pages of the file, by [recoverable copies](crate::fault); after each the length
/// of the file is asked, and what lies behind it is not given, so that a file which is cut in the middle of a page ends where
/// it ends. It needs no position, and many threads can use it at once. What the pages do not have (the file has become longer)
/// is read by the system; so is all of a file that was shorter than 1 MiB when it was opened, or that cannot be mapped
/// ([`is_mapped`](Self::is_mapped)): a file system without mappings, a processor without [copies](crate::fault#platforms),
/// address space used up.
///
/// [`Read`](io::Read), [`Seek`](io::Seek) and [`BufRead`](io::BufRead) have a position of their own, and a buffer (of 256 KiB,
/// or of the file's length), which the system fills: who reads from one end to the other looks at each page once, and to map
/// them for that takes longer than to have them copied. Nothing is mapped for the stream. Behind each jump to another place, 8
/// KiB are read first, then twice as many each time.
///
/// # When plain `read` is the better choice
///
/// For files that are in memory, on Linux (ext4, a virtual machine that others used as well), beside `read` with a buffer of
/// 256 KiB:
///
/// - a file of 1 GiB, from one end to the other: the stream does what `read` does. By way of pages, with recoverable copies, it
///   would take 1.07 to 1.3 times as long. Only a mapping of which references are made, which takes the promise of
///   [`MmapOptions::file`], spares the copy: 0.8 to 1.0 times.
/// - 100,000 files of 1 to 16 KiB: 0.75 times, by a small buffer and one call for each; mapped, they take 1.2 times as long.
/// - 64 KiB here and there: `read_at` takes 0.8 to 0.9 times as long as `pread`. 4 KiB: about as long, for to ask how long the
///   file is costs nearly what reading them does; fewer are therefore read by the system. [`SharedPages`], which do not ask,
///   take 0.2 to 0.4 times as long for 4 KiB and 0.1 times for 64 bytes: for a reader that knows by itself where the file ends.
///
/// So who reads a file once, from one end to the other, does as well with `read` and a large buffer. This type is for many
/// threads, or many places, of a long file; and for what would use a mapping, but must live when the file is cut short. Files
/// that are not in memory were not measured: there the disk counts.
///
/// # Platforms
///
/// While a file is mapped (from the first such `read_at` on), Windows lets nobody cut it short or replace its content as a
/// whole (`ERROR_USER_MAPPED_FILE`), nor delete it as long as its name matters: others get errors that they would not get from
/// a reader that only has it open. On Windows, too, reading moves the position of the file itself ([`as_file`](Self::as_file)).
///
/// # Examples
///
/// ```
/// use folio::MappedFile;
/// use std::io::BufRead;
///
/// let file = MappedFile::open("Cargo.toml")?;
/// let mut name = [0; 5];
/// file.read_exact_at(1, &mut name[..4])?;
/// assert_eq!(&name, b"work\0");
/// assert_eq!(file.lines().next().transpose()?.as_deref(), Some("[workspace]"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct MappedFile {
    file: File,
    /// From the first byte on, as long as the file was when it was first asked for; `None` where it cannot be mapped.
    map: OnceLock<Option<SharedPages>>,
    /// How long the file was when it was opened.
    first_len: u64,
    /// Of the next byte that the stream gives.
    position: u64,
    /// The bytes from `position` on are `buffer[start..end]`.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// How many bytes are read ahead the next time, at most.
    reach: usize,
    /// The system has said that the file ends at the position.
    ended: bool,
}

impl MappedFile {
    /// Opens a file for reading.
    ///
    /// # Cost
    ///
    /// As `File::open` and [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// As `File::open` and [`new`](Self::new).
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Reads a file that is open for reading, from its first byte on. (The position that it has as a file is not looked at; it
    /// may be changed.)
    ///
    /// # Cost
    ///
    /// `fstat`. (The first [`read_at`](Self::read_at) of 4 KiB or more maps a file that had 1 MiB or more: what
    /// [`MmapOptions::map_shared`] costs.)
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file: a folder, a pipe, a socket, a device. As `fstat`. A file
    /// that cannot be mapped is read by the system, and so no error; one that is not open for reading is, when it is read.
    pub fn new(file: File) -> io::Result<Self> {
        let about = os::file_about(&file)?;
        if !about.is_file() {
            let failure = Failure::invalid("only regular files: not folders, pipes, sockets, devices");
            return Err(failure.during(Operation::Allocate, None, None).into());
        }
        let first_len = about.len();
        let (map, buffer) = (OnceLock::new(), Box::default());
        Ok(Self { file, map, first_len, position: 0, buffer, start: 0, end: 0, reach: AHEAD, ended: false })
    }

    /// How long the file is now.
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// As `File::metadata`.
    pub fn len(&self) -> io::Result<u64> {
        Ok(os::file_about(&self.file)?.len())
    }

    /// Whether the file has no bytes now.
    ///
    /// # Cost, errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether the file is mapped: it can be, and somebody has used [`read_at`](Self::read_at) for 4 KiB or more.
    pub fn is_mapped(&self) -> bool {
        matches!(self.map.get(), Some(Some(_)))
    }

    /// The file.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// The file, without its pages. Where its own position is, nobody knows.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Copies what there is from an offset in the file on: how many bytes, which may be fewer than wanted, and are none from
    /// the end of the file on. The position of the stream stays where it is.
    ///
    /// Of bytes that others write meanwhile, any mixture of old and new ones.
    ///
    /// # Cost
    ///
    /// One system call, and a copy: of what is mapped, `fstat`; else, and for fewer than 4 KiB, `pread`.
    ///
    /// # Errors
    ///
    /// Of a page that cannot be read although the file has it, on a broken disk, say: those of `read`, with the folio
    /// [`Error`](crate::Error) of the fault inside.
    pub fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let pages = if to.len() < FEWEST { None } else { self.mapped(offset) };
        let Some((map, at, rest)) = pages else {
            return self.by_system(offset, to);
        };
        let (to, _) = to.split_at_mut(rest.min(to.len()));
        let (copied, fault) = match map.try_copy_to(at, to) {
            Ok(()) => (to.len(), None),
            Err(error) => {
                let done = error.fault().map_or(0, |fault| fault.offset().saturating_sub(at));
                (done.min(to.len()), Some(error))
            }
        };
        let rest = self.len()?.saturating_sub(offset);
        let there = usize::try_from(rest).map_or(copied, |rest| rest.min(copied));
        match fault {
            // The file goes on behind the byte that could not be read.
            Some(error) if rest > 0 && there == 0 => self.instead(offset, to, error),
            _ => Ok(there),
        }
    }

    /// Fills all of `to` from an offset in the file on.
    ///
    /// # Cost
    ///
    /// As [`read_at`](Self::read_at).
    ///
    /// # Errors
    ///
    /// As [`read_at`](Self::read_at); [`io::ErrorKind::UnexpectedEof`] where the file ends before, and what is in `to` then is
    /// not said.
    pub fn read_exact_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let (mut offset, mut rest) = (offset, to);
        while !rest.is_empty() {
            let done = self.read_at(offset, rest)?;
            if done == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset = offset.saturating_add(crate::range::wide(done));
            rest = rest.get_mut(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// The pages that have bytes from an offset on, the place there, and how many.
    fn mapped(&self, offset: u64) -> Option<(&SharedPages, usize, usize)> {
        let map = self.map.get_or_init(|| {
            if self.first_len < SHORTEST || fault::install().is_err() {
                return None;
            }
            MmapOptions::whole().map_shared(&self.file).ok()
        });
        let map = map.as_ref()?;
        let at = usize::try_from(offset).ok()?;
        let rest = map.len().checked_sub(at).filter(|&rest| rest > 0)?;
        Some((map, at, rest))
    }

    /// By the system, since the pages gave an error. If that has none, all is well: the file was cut short and is longer again.
    #[cold]
    fn instead(&self, offset: u64, to: &mut [u8], error: Error) -> io::Result<usize> {
        self.by_system(offset, to).map_err(|_| error.into())
    }

    /// By the system.
    fn by_system(&self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        // No file reaches farther than numbers with a sign do, and systems refuse to look there.
        let Some(most) = END.checked_sub(offset) else { return Ok(0) };
        let len = usize::try_from(most).map_or(to.len(), |most| most.min(to.len()));
        let (to, _) = to.split_at_mut(len);
        os::read_file(&self.file, offset, to)
    }
}

/// The file, its pages and the position, not what is in the buffer.
impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MappedFile");
        let pages = self.map.get().and_then(Option::as_ref);
        shown.field("file", &self.file).field("pages", &pages).field("position", &self.position);
        shown.finish_non_exhaustive()
    }
}
