//! Floor 2: what is mapped, in this process and in others.

mod backing;
mod process;
mod query;
mod snapshot;
mod usage;

pub use backing::{Backing, BackingKind, Device};
pub use process::{Mapping, Mappings, Process};
pub use query::{QueryIter, query, query_range};
pub use snapshot::{Snapshot, SnapshotIter};
pub use usage::Usage;

use crate::Protection;
use core::fmt;
use core::ops::Range;
use core::ptr;

/// How much a walk is to find out about each region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Detail {
    /// The region alone.
    Region,
    /// Also what stands behind it.
    Backing,
    /// Also what it uses.
    Usage,
}

/// One region: neighbouring pages that the system keeps as one, with the same properties.
///
/// A region is a description, not a handle: it says what was there when it was asked for. Other threads may have changed
/// it since. It is `Copy`, and small.
///
/// What costs more is asked for separately: the file behind it by [`Process::backing`], the memory it uses by
/// [`Process::usage`].
///
/// # Examples
///
/// ```
/// let value = 7_u32;
/// let region = folio::query(&value)?;
///
/// assert!(region.is_readable() && region.is_writable() && !region.is_executable());
/// assert!(region.as_ptr_range::<u32>().contains(&core::ptr::from_ref(&value)));
/// assert_eq!(region.len() % folio::page::size(), 0);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Region {
    pub(crate) base: usize,
    pub(crate) len: usize,
    pub(crate) protection: Protection,
    pub(crate) max_protection: Protection,
    pub(crate) allocation_base: Option<usize>,
    pub(crate) shared: bool,
    pub(crate) reserved: bool,
    pub(crate) guarded: bool,
}

/// Addresses in hexadecimal, rights as letters.
impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("range", &format_args!("{:#x?}", self.as_range()))
            .field("protection", &format_args!("{}", self.protection))
            .field("max_protection", &format_args!("{}", self.max_protection))
            .field("shared", &self.shared)
            .field("committed", &self.is_committed())
            .field("guarded", &self.guarded)
            .field("allocation_base", &format_args!("{:x?}", self.allocation_base))
            .finish()
    }
}

impl Region {
    /// The address of the first byte, as a pointer; always on a page boundary.
    ///
    /// In a region of another process it is a number, not something to follow.
    #[inline]
    pub fn as_ptr<T>(&self) -> *const T {
        ptr::with_exposed_provenance(self.base)
    }

    /// The address of the first byte, as a pointer; always on a page boundary.
    #[inline]
    pub fn as_mut_ptr<T>(&self) -> *mut T {
        ptr::with_exposed_provenance_mut(self.base)
    }

    /// The addresses of the first byte and of the one after the last, as pointers.
    #[inline]
    pub fn as_ptr_range<T>(&self) -> Range<*const T> {
        let range = self.as_range();
        ptr::with_exposed_provenance(range.start)..ptr::with_exposed_provenance(range.end)
    }

    /// The addresses of the first byte and of the one after the last, as pointers.
    #[inline]
    pub fn as_mut_ptr_range<T>(&self) -> Range<*mut T> {
        let range = self.as_range();
        ptr::with_exposed_provenance_mut(range.start)..ptr::with_exposed_provenance_mut(range.end)
    }

    /// The addresses of the region, the end excluded. (The end saturates at `usize::MAX` if the region should reach the
    /// top of the address space; no system that folio knows lets it.)
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        self.base..self.base.saturating_add(self.len)
    }

    /// Whether `address` lies in the region.
    #[inline]
    pub fn contains(&self, address: usize) -> bool {
        address.checked_sub(self.base).is_some_and(|offset| offset < self.len)
    }

    /// The size in bytes: a multiple of the page size.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region is empty (only [`Region::default`] is; OpenBSD may report such ones).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The access that the pages grant now.
    ///
    /// # Platforms
    ///
    /// Windows: of a reserved region, [`Protection::NONE`]; write-copy counts as writable. What the native flags say
    /// beyond that is in [`is_guarded`](Self::is_guarded).
    ///
    /// Apple: this is what the kernel's map says, which for some memory is not what a thread may do there. Memory for
    /// generated code (`MAP_JIT`) is readable, writable and executable if it was mapped so, all the time; on Apple's
    /// processors each thread can then either write or execute, by a switch of its own
    /// (`pthread_jit_write_protect_np`) that no map shows. Memory that only the system's own switch makes writable
    /// (`MAP_TPRO`) is shown as read-only, also while a thread may write there.
    ///
    /// Linux, likewise: protection keys, which are per thread, are not in the map.
    #[inline]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The most that [`protection`](Self::protection) may ever be changed to.
    ///
    /// # Platforms
    ///
    /// Apple systems, NetBSD and OpenBSD keep one for each region; where the system does not tell, this is the protection
    /// itself.
    #[inline]
    pub fn max_protection(&self) -> Protection {
        self.max_protection
    }

    /// Whether the pages grant reading.
    #[inline]
    pub fn is_readable(&self) -> bool {
        self.protection.contains(Protection::READ)
    }

    /// Whether the pages grant writing.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.protection.contains(Protection::WRITE)
    }

    /// Whether the pages grant executing.
    #[inline]
    pub fn is_executable(&self) -> bool {
        self.protection.contains(Protection::EXECUTE)
    }

    /// Whether the region is shared with other processes or with a file.
    ///
    /// # Platforms
    ///
    /// Linux: mapped with `MAP_SHARED`. Apple: mapped with `MAP_SHARED`, or shared with other processes now (and not only
    /// until one of them writes). Windows: a view of a section, which includes program images (`MEM_MAPPED` and
    /// `MEM_IMAGE`), whether or not its pages are copied when written. FreeBSD: not copied when written, and mapped from a
    /// file, a device or a named object; its list does not tell anonymous memory that is shared from private. NetBSD,
    /// OpenBSD: not copied when written. illumos: `MA_SHARED`.
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether memory stands behind the region, or may be brought in without asking again. False for reserved address
    /// space on Windows (`MEM_RESERVE`); true elsewhere.
    #[inline]
    pub fn is_committed(&self) -> bool {
        !self.reserved
    }

    /// Whether the system's own flags mark the pages as guard pages (`PAGE_GUARD` on Windows, `KVME_TYPE_GUARD` on
    /// FreeBSD).
    ///
    /// Guard pages of other kinds are not seen here: a region without access is one whose
    /// [`protection`](Self::protection) is `NONE`, and on Linux those made by `MADV_GUARD_INSTALL` are in no listing
    /// of regions at all (a page at a time, `PAGEMAP_SCAN` tells).
    #[inline]
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// The start of the allocation that the region was once made in (`AllocationBase` on Windows); `None` where the
    /// system does not keep it.
    #[inline]
    pub fn allocation_base(&self) -> Option<usize> {
        self.allocation_base
    }

    /// The address of the last byte. Only of regions that are not empty.
    #[inline]
    pub(crate) fn last(&self) -> usize {
        self.base.saturating_add(self.len.saturating_sub(1))
    }
}
