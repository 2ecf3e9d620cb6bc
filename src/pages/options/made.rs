//! What options can be asked to make.

use super::MmapOptions;
use crate::error::Result;
use crate::pages::{Mmap, MmapMut, MmapNone};

impl MmapOptions<'_> {
    /// Pages that grant nothing.
    ///
    /// # Cost
    ///
    /// One system call, and what the options name; with guard pages one or two more for each side (around a file, or huge pages,
    /// two more to find room, and one for each side), with an alignment beyond
    /// [`page::granularity`](crate::page::granularity) two more and an allocation.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): a length of 0, more than `isize::MAX` bytes in all, an
    ///   alignment that is no power of two, an address that is not aligned as asked for or to pages; options that contradict each
    ///   other.
    /// - [`ErrorKind::Occupied`](crate::ErrorKind::Occupied): something is mapped where the mapping was to be.
    /// - As [`alloc`](crate::alloc()) and [`alloc_near`](crate::alloc_near), [`guard`](crate::guard()) and, with
    ///   [`locked`](Self::locked), [`lock`](crate::lock); with [`no_core_dump`](Self::no_core_dump) and
    ///   [`wipe_on_fork`](Self::wipe_on_fork), [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// On failure nothing stays mapped.
    #[inline]
    pub fn map_none(&self) -> Result<MmapNone> {
        self.make()
    }

    /// Pages that can be read: zeroes, until they are made writable.
    ///
    /// # Cost, errors
    ///
    /// As [`map_none`](Self::map_none).
    #[inline]
    pub fn map(&self) -> Result<Mmap> {
        self.make()
    }

    /// Pages that can be read and written.
    ///
    /// # Cost, errors
    ///
    /// As [`map_none`](Self::map_none).
    #[inline]
    pub fn map_mut(&self) -> Result<MmapMut> {
        self.make()
    }

    /// Pages of a [file](Self::file) that can be read and written, of which what is written stays in the mapping: `map_mut` of a
    /// [copy](Self::copy_on_write).
    ///
    /// # Cost, errors
    ///
    /// As [`map_none`](Self::map_none); [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) without a file.
    pub fn map_copy(&self) -> Result<MmapMut> {
        self.clone().copy_on_write().map_mut()
    }

    /// As [`map_copy`](Self::map_copy), to be read only until it is made writable.
    ///
    /// # Cost, errors
    ///
    /// As [`map_copy`](Self::map_copy).
    pub fn map_copy_read_only(&self) -> Result<Mmap> {
        self.clone().copy_on_write().map()
    }
}
