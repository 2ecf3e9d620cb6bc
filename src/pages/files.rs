//! Whole files.

use super::{Mmap, MmapMut, MmapOptions};
use crate::error::Result;
use crate::os::AsFile;

impl Mmap {
    /// A whole file, to be read: `MmapOptions::of_file(file).map()`.
    ///
    /// # Cost, errors
    ///
    /// As [`MmapOptions::file`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an empty file, of which nothing can
    /// be mapped.
    ///
    /// # Safety
    ///
    /// As [`MmapOptions::file`].
    ///
    /// # Examples
    ///
    /// ```
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// // SAFETY: nobody changes this file while the example runs.
    /// let map = unsafe { folio::Mmap::map(&file) }?;
    /// assert_eq!(map[..], std::fs::read("Cargo.toml")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub unsafe fn map(file: &(impl AsFile + ?Sized)) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { MmapOptions::of_file(file) }.map()
    }
}

impl MmapMut {
    /// A whole file, to be read and written: `MmapOptions::of_file(file).map_mut()`. What is written to the pages is written to
    /// the file.
    ///
    /// (New memory without a file is [`MmapMut::new`](super::Pages::new).)
    ///
    /// # Cost, errors
    ///
    /// As [`Mmap::map`].
    ///
    /// # Safety
    ///
    /// As [`MmapOptions::file`].
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub unsafe fn map_mut(file: &(impl AsFile + ?Sized)) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { MmapOptions::of_file(file) }.map_mut()
    }
}
