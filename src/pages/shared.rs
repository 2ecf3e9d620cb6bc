//! Files that others may write to or cut short, as pages: without references to their bytes.

#[cfg(feature = "std")]
use super::MmapOptions;
use super::map::{Content, Map};
use super::part::Ends;
use super::{AllowRead, AllowWrite, DenyExec, DenyWrite, Pages, RawParts, Together, WriteAccess};
use crate::advice::Advice;
use crate::error::{Error, Failure, Operation, Result};
use crate::fault::{RawMemory, RawMemoryMut, Span};
use crate::os;
#[cfg(feature = "std")]
use crate::os::AsFile;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Range, RangeBounds};

/// A file as pages that others may write to, and cut short, at any time: of this process and of others.
///
/// Made without `unsafe`, by [`MmapOptions::map_shared`](crate::MmapOptions::map_shared) and
/// [`map_shared_mut`](crate::MmapOptions::map_shared_mut). There are no references to the bytes, ever: they are reached by
/// copies and by atomic accesses to words ([`fault`](crate::fault)), which give an error where a page is not there any more.
/// What others write to the file, by whatever means, is seen here, and the other way round.
///
/// A copy of bytes to which somebody writes meanwhile is any mixture of old and new ones. Who has to agree with others on what
/// they may read does so by words ([`try_load`](Self::try_load), [`try_store`](SharedPages::try_store),
/// [`try_compare_exchange`](SharedPages::try_compare_exchange)), or looks at copies only.
///
/// Writing takes `&self`, for others write at the same time anyway; threads share it by reference.
///
/// # Cost
///
/// The value is about as large as [`Pages`]. Copies cost what `memcpy` does.
///
/// # Platforms
///
/// As [`MmapOptions::file`](crate::MmapOptions::file). Where there are no [copies](crate::fault#platforms), pages can be made,
/// and each copy is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). Windows lets nobody cut a file short that is
/// mapped, and others must not be surprised by that.
///
/// Bytes behind the end of the file, in its last page, read as zeroes (or as what others who map the file have written there);
/// what is written to them is lost. So of a file that is cut in the middle of a page, the rest of that page is no error.
///
/// # Examples
///
/// ```
/// use folio::{ErrorKind, MmapOptions};
///
/// let file = tempfile::tempfile()?;
/// file.set_len(10_000)?;
/// let one = MmapOptions::whole().map_shared_mut(&file)?;
/// let other = MmapOptions::new(8).offset(5000).map_shared(&file)?;
/// # if one.try_read::<u8>(0).is_err_and(|error| error.kind() == ErrorKind::Unsupported) { return Ok(()) }
/// one.try_write(5000, 77_u64)?;
/// assert_eq!(other.try_read::<u64>(0)?, 77);
/// assert_eq!(one.try_fetch_add(5000, 1_u32)?, 77);
///
/// # if cfg!(windows) { return Ok(()) }
/// // Somebody cuts the file short.
/// file.set_len(0)?;
/// let error = other.try_read::<u64>(0).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Fault);
/// assert_eq!(error.fault().unwrap().offset(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail,E0614
/// # let file = tempfile::tempfile().unwrap();
/// let pages = folio::MmapOptions::whole().map_shared(&file).unwrap();
/// let all = *pages; // no references
/// ```
///
/// ```compile_fail,E0608
/// # let file = tempfile::tempfile().unwrap();
/// let pages = folio::MmapOptions::whole().map_shared(&file).unwrap();
/// let first = pages[0]; // no references
/// ```
///
/// ```compile_fail,E0599
/// # let file = tempfile::tempfile().unwrap();
/// let pages = folio::MmapOptions::whole().map_shared(&file).unwrap();
/// pages.try_fill(0, 1, 1); // to be read only
/// ```
///
/// ```compile_fail,E0505
/// # let file = tempfile::tempfile().unwrap();
/// let pages = folio::MmapOptions::whole().map_shared(&file).unwrap();
/// let part = pages.part(0, 1).unwrap();
/// drop(pages); // borrowed
/// println!("{part:?}");
/// ```
#[must_use = "the pages are unmapped when the value is dropped"]
pub struct SharedPages<W: WriteAccess = DenyWrite> {
    /// Invariant: pages of a file, mapped shared, that can be read, and written if `W` says so; nobody has references to them.
    map: Map,
    access: PhantomData<W>,
}

/// [`SharedPages`] that can be written to as well.
pub type SharedPagesMut = SharedPages<AllowWrite>;

#[cfg(feature = "std")]
impl MmapOptions<'_> {
    /// The bytes of a file that others may write to, or cut short: so many, or the [`whole`](Self::whole) file, from the
    /// [offset](Self::offset) on, which may be any. To be read by copies.
    ///
    /// Safe: no reference to the bytes is ever made, and a page that is not there is an error. Place, guard pages, alignment,
    /// `populate`, `locked`, `numa_node` and `no_core_dump` go with it as with [`file`](Self::file). So does
    /// [`no_reserve`](Self::no_reserve): of a file on hugetlbfs, a huge page that is not to be had when it is touched is then an
    /// error of the copy; without it, too few of them are one here ([`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted)).
    ///
    /// Length and offset are checked against the file as it is now. One that is new is to be made long enough before
    /// (`File::set_len`; storage behind it, so that writing cannot fail later, takes `fallocate`). It need not have a name: what
    /// `memfd_create` gives will do.
    ///
    /// # Cost
    ///
    /// As [`file`](Self::file).
    ///
    /// # Errors
    ///
    /// As [`map_none`](Self::map_none) and [`file`](Self::file); [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// also for devices (what their registers do when they are read or written, no type knows; see [`Pages::into_shared`]),
    /// beside another [`file`](Self::file), [`copy_on_write`](Self::copy_on_write), `room`, `stack`, `largest_pages` and `jit`.
    ///
    /// As with `std::fs` and files such as `/proc/self/mem`, files that are no storage but doors to other things are the
    /// business of who opens them: those under `/sys` that stand for the memory of devices, say, which take root.
    ///
    /// # Examples
    ///
    /// ```
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let pages = folio::MmapOptions::new(9).map_shared(&file)?;
    /// let mut bytes = [0; 9];
    /// # if pages.try_read::<u8>(0).is_err_and(|error| error.kind() == folio::ErrorKind::Unsupported) { return Ok(()) }
    /// pages.try_copy_to(0, &mut bytes)?;
    /// assert_eq!(&bytes, b"[workspac");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn map_shared(&self, file: &(impl AsFile + ?Sized)) -> Result<SharedPages> {
        let pages: Pages<AllowRead, DenyWrite, DenyExec> = self.with_others(os::file_of(file)).make()?;
        Ok(SharedPages { map: pages.map, access: PhantomData })
    }

    /// As [`map_shared`](Self::map_shared), to be written to as well: what is written is written to the file.
    ///
    /// # Cost, errors
    ///
    /// As [`map_shared`](Self::map_shared); [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted) for a file that was not
    /// opened for reading and writing, or is sealed against writing.
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn map_shared_mut(&self, file: &(impl AsFile + ?Sized)) -> Result<SharedPagesMut> {
        let pages: Pages<AllowRead, AllowWrite, DenyExec> = self.with_others(os::file_of(file)).make()?;
        Ok(SharedPages { map: pages.map, access: PhantomData })
    }
}

impl<W: WriteAccess> SharedPages<W> {
    fn span(&self) -> Span {
        Span::new(self.map.base().as_ptr(), self.map.len())
    }

    /// The address of the first byte.
    #[inline]
    pub fn start(&self) -> usize {
        self.map.start()
    }

    /// The address of the first byte.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.map.base().as_ptr().cast_const()
    }

    /// The addresses, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        self.start()..self.start().saturating_add(self.map.len())
    }

    /// How many bytes of the file were mapped. (How many it has by now is the file's matter.)
    #[inline]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none: only of pages that have lost all of theirs before they came here, see [`Pages::make_none`].
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    reading! { self => self.span() }

    /// A part of the bytes, to be lent: by value, and without the type of the mapping. Offsets of faults count from its own
    /// first byte.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it would reach beyond the end.
    pub fn part(&self, offset: usize, len: usize) -> Result<RawMemory<'_>> {
        // SAFETY: pages of this mapping (the type's invariant), which is borrowed for as long: they can be read, no reference to them
        // is there, and reading a file has no effect.
        unsafe { RawMemory::new(self.as_ptr(), self.len()) }.part(offset, len)
    }

    /// Writes to the device what was written to the pages, and waits: see [`Pages::flush`].
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::flush`].
    pub fn flush(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.map.flush(&range, true)
    }

    /// Lets the system begin to: see [`Pages::flush_async`].
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::flush_async`].
    pub fn flush_async(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.map.flush(&range, false)
    }

    /// Tells the system how pages will be used: see [`Pages::advise`].
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::advise`].
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        let Some(pages) = self.map.part(&range, Ends::Anywhere, Operation::Advise)? else { return Ok(()) };
        os::advise(pages, advice).map_err(|failure| failure.during(Operation::Advise, Some(pages), None))
    }

    /// Lets pages be in memory, and mapped, before they are copied from: a hint, by which copies need not wait at each page.
    /// What is not there (behind the end of a file that was cut short) has no effect.
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the range reaches beyond the mapping.
    ///
    /// # Platforms
    ///
    /// Linux 5.14: `MADV_POPULATE_READ`. Elsewhere no effect.
    pub fn prefault(&self, range: impl RangeBounds<usize>) -> Result<()> {
        if let Some(pages) = self.map.part(&range, Ends::Anywhere, Operation::Prefault)? {
            let _read_in = os::populate(pages, false);
        }
        Ok(())
    }

    /// How many pages are in memory: see [`Pages::resident`].
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::resident`].
    pub fn resident(&self, range: impl RangeBounds<usize>) -> Result<usize> {
        let Some(pages) = self.map.part(&range, Ends::Anywhere, Operation::Resident)? else { return Ok(0) };
        os::resident(pages).map_err(|failure| failure.during(Operation::Resident, Some(pages), None))
    }

    /// Keeps the pages in memory: see [`Pages::lock`]. (Pages of a file that is cut short are gone all the same.)
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::lock`].
    pub fn lock(&mut self) -> Result<()> {
        self.map.lock()
    }

    /// Takes one [`lock`](Self::lock) away.
    ///
    /// # Errors
    ///
    /// As [`Pages::unlock`].
    pub fn unlock(&mut self) -> Result<()> {
        self.map.unlock()
    }

    /// Cuts the mapping in two: `self` keeps the pages before `at`, the result has the others. See [`Pages::split_off`].
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::split_off`].
    pub fn split_off(&mut self, at: usize) -> Result<Self> {
        Ok(Self { map: self.map.split_off(at)?, access: PhantomData })
    }

    /// Cuts the mapping in two: `self` keeps the pages from `at` on, the result has those before it.
    ///
    /// # Cost, errors
    ///
    /// As [`split_off`](Self::split_off).
    pub fn split_to(&mut self, at: usize) -> Result<Self> {
        Ok(Self { map: self.map.split_to(at)?, access: PhantomData })
    }

    /// Adds the pages of `other`, which come directly behind, and were of the same mapping. See [`Pages::merge`].
    ///
    /// # Errors
    ///
    /// `other`, and why, as [`Pages::merge`].
    pub fn merge(&mut self, other: Self) -> core::result::Result<(), (Self, Error)> {
        self.map.merge(other.map).map_err(|(map, error)| (Self { map, access: PhantomData }, error))
    }

    /// Takes the mapping apart. Whoever has the parts sees to it that the pages are given back: by
    /// [`from_raw_parts`](Self::from_raw_parts).
    #[must_use = "the pages stay mapped until `from_raw_parts` makes a mapping of the parts"]
    pub fn into_raw_parts(self) -> RawParts {
        RawParts(self.map.into_raw())
    }

    /// Puts a mapping together.
    ///
    /// # Safety
    ///
    /// The parts came from this type's [`into_raw_parts`](Self::into_raw_parts), of a mapping that could be written to if this one
    /// can; no other mapping is made of them.
    pub unsafe fn from_raw_parts(parts: RawParts) -> Self {
        // SAFETY: the caller's promise.
        let map = unsafe { Map::from_raw(parts.0) };
        Self { map, access: PhantomData }
    }

    /// The mapping as one that references are made of.
    ///
    /// # Cost
    ///
    /// No system call.
    ///
    /// # Safety
    ///
    /// As [`MmapOptions::file`](crate::MmapOptions::file): from now on, and as long as the mapping lives, nobody else writes to
    /// these bytes of the file while references to them exist, or makes it shorter than the mapping; all of it is there now.
    pub unsafe fn into_pages(self) -> Pages<AllowRead, W, DenyExec>
    where
        (W, DenyExec): Together,
    {
        // SAFETY: the type's invariant: the pages can be read, and written if `W` says so.
        unsafe { Pages::from_map(self.map) }
    }
}

impl SharedPages<AllowWrite> {
    writing! { self: &Self => self.span() }
    changing! { self: &Self => self.span() }

    /// The address of the first byte. (`&self`, for what can be done with it is not exclusive in any case.)
    #[inline]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.map.base().as_ptr()
    }

    /// A [`part`](Self::part) that can be written to.
    ///
    /// # Errors
    ///
    /// As [`part`](Self::part).
    pub fn part_mut(&self, offset: usize, len: usize) -> Result<RawMemoryMut<'_>> {
        // SAFETY: pages of this mapping (the type's invariant), which is borrowed for as long: they can be read and written, no
        // reference to them is there, and nobody may rely on what others write to as well.
        unsafe { RawMemoryMut::new(self.as_mut_ptr(), self.len()) }.part(offset, len)
    }
}

impl<W> Pages<AllowRead, W, DenyExec>
where
    W: WriteAccess,
    (W, DenyExec): Together,
{
    /// The pages of a file as ones that others may write to and cut short from now on: what whoever mapped the
    /// [file](crate::MmapOptions::file) has promised for them binds no longer.
    ///
    /// # Cost
    ///
    /// No system call.
    ///
    /// # Errors
    ///
    /// The mapping as it was, and [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): it is not of a file, or is a
    /// copy of one.
    #[allow(clippy::result_large_err, reason = "what fails gives the mapping back")]
    pub fn into_shared(self) -> core::result::Result<SharedPages<W>, (Self, Error)> {
        if self.map.content() == Content::Shared {
            return Ok(SharedPages { map: self.map, access: PhantomData });
        }
        let failure = Failure::invalid("nobody else can write to memory without a file, or to a copy of one");
        let error = failure.during(Operation::Copy, self.map.pages(), None);
        Err((self, error))
    }
}

/// The addresses.
impl<W: WriteAccess> fmt::Debug for SharedPages<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if W::RIGHTS.is_empty() { "SharedPages" } else { "SharedPagesMut" };
        write!(f, "{name}({:#x?})", self.as_range())
    }
}
