//! A mapping without memory.

use crate::error::{Error, Result};
use crate::pages::map::Map;
use crate::pages::{
    AllowRead, AllowWrite, DenyExec, DenyRead, DenyWrite, ExecAccess, Mmap, MmapMut, MmapNone, Pages,
    ReadAccess, Together, WriteAccess,
};
use crate::protection::Protection;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

/// A mapping without memory behind it: addresses that nobody else is given, for pages of the rights that the type says.
///
/// The system keeps no promise of memory for it (Linux: it is not in `Committed_AS`; Windows: `MEM_RESERVE`): terabytes can be
/// reserved where there are gigabytes of memory. It lends no slice, and touching its addresses ends the process.
/// [`commit`](Self::commit) makes [`Pages`] of it, all at once; for memory bit by bit there is [`Reservation`](crate::Reservation).
///
/// Made by [`MmapOptions::reserve`](crate::MmapOptions::reserve) and its like, and by [`Pages::into_reserved`].
///
/// | alias | what it becomes |
/// |---|---|
/// | [`ReservedNone`] | [`MmapNone`] |
/// | `Reserved` | [`Mmap`] |
/// | [`ReservedMut`] | [`MmapMut`] |
///
/// # Platforms
///
/// Limits of address space (`RLIMIT_AS`) count what is reserved like all else.
///
/// # Examples
///
/// ```
/// use folio::{MmapOptions, page};
///
/// let mut rest = MmapOptions::new(16 * page::size()).reserve_mut()?;
/// let first = rest.split_to(page::size())?;
///
/// let mut pages = first.commit()?;
/// pages[0] = 1;
///
/// // Their memory can be given back and the addresses kept. What they held is gone.
/// let mut first = pages.into_reserved()?;
/// first.merge(rest)?;
/// let pages = first.commit()?;
/// assert_eq!((pages.len(), pages[0]), (16 * page::size(), 0));
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0608
/// let room = folio::MmapOptions::new(1).reserve()?;
/// let first = room[0]; // there is nothing to be read
/// # Ok::<(), folio::Error>(())
/// ```
#[must_use = "the addresses are given back when the value is dropped"]
pub struct Reserved<R = AllowRead, W = DenyWrite, X = DenyExec>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Private and anonymous, of ordinary pages, without memory as far as the system gave it back.
    map: Map,
    access: PhantomData<(R, W, X)>,
}

/// Address space for pages that grant nothing.
pub type ReservedNone = Reserved<DenyRead, DenyWrite, DenyExec>;
/// Address space for pages that can be read and written.
pub type ReservedMut = Reserved<AllowRead, AllowWrite, DenyExec>;
/// Address space for pages that can be read and executed.
#[cfg(feature = "allow_exec")]
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
pub type ReservedExec = Reserved<AllowRead, DenyWrite, super::super::AllowExec>;

impl<R, W, X> Reserved<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// What the pages will grant.
    pub const PROTECTION: Protection = Pages::<R, W, X>::PROTECTION;

    pub(super) fn from_map(map: Map) -> Self {
        Self { map, access: PhantomData }
    }

    /// The address of the first byte.
    #[inline]
    pub fn start(&self) -> usize {
        self.map.start()
    }

    /// The address after the last byte.
    #[inline]
    pub fn end(&self) -> usize {
        self.start().saturating_add(self.map.len())
    }

    /// The size in bytes: a multiple of the page size, at least what was asked for.
    #[inline]
    pub fn size(&self) -> usize {
        self.map.len()
    }

    /// The size in bytes, as [`size`](Self::size).
    #[inline]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is nothing in it: never, but for what was made of [empty pages](Pages::is_empty).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// The addresses, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        self.start()..self.end()
    }

    /// The address of the first byte; always on a page boundary. Nothing can be read there.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.map.base().as_ptr().cast_const()
    }

    /// The address of the first byte; always on a page boundary. Nothing can be read or written there.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.base().as_ptr()
    }

    /// Gets memory for all of it: zeroes.
    ///
    /// What is promised here is taken when a page is first touched.
    ///
    /// # Cost
    ///
    /// One system call; none for [`ReservedNone`] but on Windows.
    ///
    /// # Errors
    ///
    /// The address space, and why: [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) when the system does not promise so much
    /// memory, or the process may not have so much; and as [`protect`](crate::protect).
    ///
    /// # Platforms
    ///
    /// | Linux, Android | `mprotect`; counted as promised as soon as it can be written |
    /// |---|---|
    /// | Windows | `VirtualAlloc` with `MEM_COMMIT` |
    /// | FreeBSD | `mprotect`; counted as soon as it can be written |
    /// | macOS, iOS, NetBSD, OpenBSD | `mprotect`; promises are not counted |
    /// | illumos | `mprotect`; counted page by page as they are touched |
    #[inline]
    pub fn commit(self) -> core::result::Result<Pages<R, W, X>, (Self, Error)> {
        let mut this = self;
        // SAFETY: address space only; what is made of it below says what it grants.
        match unsafe { this.map.commit(Self::PROTECTION) } {
            // SAFETY: the pages grant just that now.
            Ok(()) => Ok(unsafe { Pages::from_map(this.map) }),
            Err(error) => Err((this, error)),
        }
    }

    /// Cuts it in two at an offset in bytes: `self` keeps the pages before it, the result has the others.
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::split_off`].
    pub fn split_off(&mut self, at: usize) -> Result<Self> {
        self.map.split_off(at).map(Self::from_map)
    }

    /// Cuts it in two at an offset in bytes: `self` keeps the pages from there on, the result has those before it.
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::split_off`].
    pub fn split_to(&mut self, at: usize) -> Result<Self> {
        self.map.split_to(at).map(Self::from_map)
    }

    /// Adds the addresses of `other`, which must come directly behind and have been one mapping with these before.
    ///
    /// # Cost, errors
    ///
    /// As [`Pages::merge`].
    pub fn merge(&mut self, other: Self) -> core::result::Result<(), (Self, Error)> {
        self.map.merge(other.map).map_err(|(map, error)| (Self::from_map(map), error))
    }
}

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Gives the memory back and keeps the addresses. What the pages held is gone, and their [locks](Self::lock) have ended.
    ///
    /// # Cost
    ///
    /// One system call, and one for each lock.
    ///
    /// # Errors
    ///
    /// The mapping and why, mostly as it was: [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) when there are as many mappings as
    /// there may be; [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted) for [sealed](crate::seal()) pages;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for what is not ordinary private memory, and for pages that are
    /// [wiped on fork](Self::wipe_on_fork) or [left out of core dumps](Self::keep_out_of_core_dumps), which those that come later
    /// would not be: take that from all of them before. Should the system have
    /// stopped half-way, the mapping has lost the pages up to there, as after a failed [`make_none`](Self::make_none).
    ///
    /// # Platforms
    ///
    /// Gone is also what was asked for of the memory: its node, name, advice, being made for code.
    ///
    /// Windows: `VirtualFree` with `MEM_DECOMMIT`. Elsewhere fresh pages without access are put in the place of the old ones.
    pub fn into_reserved(self) -> core::result::Result<Reserved<R, W, X>, (Self, Error)> {
        let mut this = self;
        // SAFETY: `self` is consumed, so that no reference into the pages is left, and what is made of it lends none.
        match unsafe { this.map.decommit() } {
            Ok(()) => Ok(Reserved::from_map(this.map)),
            Err(error) => Err((this, error)),
        }
    }
}

/// The addresses and what they will grant.
impl<R, W, X> fmt::Debug for Reserved<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({:#x?} {})", self.as_range(), Self::PROTECTION)
    }
}

/// From a reserved alias to the one it becomes.
macro_rules! commits_to {
    ($($from:ident => $to:ty;)*) => {$(
        /// The addresses are given back if there is no memory to be had; [`Reserved::commit`] keeps them.
        impl TryFrom<$from> for $to {
            type Error = Error;

            fn try_from(reserved: $from) -> Result<Self> {
                reserved.commit().map_err(|(_, error)| error)
            }
        }
    )*};
}

commits_to! {
    ReservedNone => MmapNone;
    Reserved => Mmap;
    ReservedMut => MmapMut;
}
#[cfg(feature = "allow_exec")]
commits_to! {
    ReservedExec => super::super::MmapExec;
}
