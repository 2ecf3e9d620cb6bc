//! Floor 4: mappings whose access is in their type.
#![allow(
    clippy::result_large_err,
    reason = "what fails gives the mapping back, beside the error; boxing it would allocate"
)]

mod access;
mod convert;
mod copies;
#[cfg(feature = "allow_exec")]
mod exec;
#[cfg(feature = "std")]
mod files;
mod flush;
mod map;
mod options;
mod origin;
mod part;
#[cfg(feature = "zerocopy")]
mod plain;
mod reserve;
mod resize;
mod shared;
#[cfg(test)]
mod tests;
mod upkeep;

#[cfg(feature = "allow_exec")]
pub use access::AllowExec;
pub use access::{
    AllowRead, AllowWrite, DenyExec, DenyRead, DenyWrite, ExecAccess, ReadAccess, Together, WriteAccess,
};
#[cfg(feature = "allow_exec")]
pub use exec::MmapExec;
#[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
pub use exec::MmapExecMut;
pub use options::{Fallback, MmapOptions};
#[cfg(feature = "allow_exec")]
pub use reserve::ReservedExec;
pub use reserve::{PartState, Parts, Reservation, ReservationPart, Reserved, ReservedMut, ReservedNone};
pub use shared::{SharedPages, SharedPagesMut};
pub use upkeep::FreedLazily;

#[cfg(feature = "collections")]
pub(crate) use part::resolve;

use crate::error::{Error, Result};
use crate::guard::LockGuard;
use crate::page::PageSize;
use crate::protection::Protection;
use core::borrow::{Borrow, BorrowMut};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut, Index, IndexMut, Range};
use core::slice::SliceIndex;
use map::{Map, Raw};

/// Pages of one's own that the compiler knows the rights of: whether they can be read, written and executed stands in the type.
///
/// Private, anonymous memory: zeroed at first, nobody else's, unmapped when dropped; or, by [`MmapOptions`], the bytes of a file.
/// What can be read is a `[u8]` by
/// [`Deref`], what can also be written a mutable one; what cannot has pointers only. The rights are changed by methods that
/// consume the mapping and give it back with another type, so that no reference can survive a change: `make_*` set all three
/// rights, `allow_*` and `deny_*` one of them. When the system refuses, they give the mapping back as it was, with the error.
///
/// | alias | read | write | execute |
/// |---|---|---|---|
/// | [`MmapNone`] | – | – | – |
/// | [`Mmap`] | yes | – | – |
/// | [`MmapMut`] | yes | yes | – |
/// | `MmapExec`, with the feature `allow_exec` | yes | – | yes |
/// | `MmapExecMut`, with `allow_exec` and without `deny_xw` | yes | yes | yes |
///
/// # What is denied
///
/// The type promises what works. What it denies, the system denies as far as the processor can: see [`Protection`].
///
/// # Cost
///
/// The value is six words. Making and dropping it is one system call each, a change of rights one.
/// [Splitting](Self::split_off) allocates some words, once for all parts. A mapping that is dropped [locked](Self::lock) is unlocked
/// before, one system call more.
///
/// # Drop
///
/// Unmaps the pages. Where the system refuses, the same happens as with an [`Allocation`](crate::Allocation): it is tried again at
/// the next allocation or drop of either, and reported on standard error in builds with debug assertions.
///
/// # Examples
///
/// ```
/// use folio::{MmapMut, Pages};
///
/// let mut pages = Pages::new(10_000)?;
/// pages[..5].copy_from_slice(b"folio");
///
/// // From here on it can be read only; to write to it does not compile.
/// let pages = pages.make_read_only()?;
/// assert_eq!(&pages[..5], b"folio");
///
/// let mut pages: MmapMut = pages.try_into()?;
/// pages[0] = b'F';
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0594
/// let pages = folio::Pages::new(1)?.make_read_only()?;
/// let mut pages = pages;
/// pages[0] = 1; // cannot assign
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0505
/// let pages = folio::Pages::new(1)?;
/// let first = &pages[0];
/// let pages = pages.make_none(); // cannot move out of `pages` because it is borrowed
/// println!("{first}");
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0608
/// let pages = folio::MmapOptions::new(1).map_none()?;
/// let first = pages[0]; // cannot index into what cannot be read
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0614
/// let pages = folio::MmapOptions::new(1).map_none()?;
/// let all = *pages; // cannot be dereferenced
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0608
/// let pages = folio::Pages::new(1)?.deny_read()?;
/// let first = pages[0]; // writable only
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0502
/// let mut pages = folio::Pages::new(8192)?;
/// let all = &pages[..];
/// let high = pages.split_off(4096); // cannot borrow as mutable: `all` reaches into both parts
/// println!("{all:?}");
/// # Ok::<(), folio::Error>(())
/// ```
#[cfg_attr(
    not(feature = "allow_exec"),
    doc = "```compile_fail,E0599
let pages = folio::Pages::new(1)?;
let pages = pages.make_exec(); // no such method without the feature `allow_exec`
# Ok::<(), folio::Error>(())
```

```compile_fail,E0432
use folio::MmapExec;
```

```compile_fail,E0432
use folio::AllowExec;
```

```compile_fail,E0599
let pages = folio::MmapOptions::new(1).map_exec();
```"
)]
#[must_use = "the pages are unmapped when the value is dropped"]
pub struct Pages<R = AllowRead, W = AllowWrite, X = DenyExec>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Invariant: the pages of `map` grant what the three types say.
    map: Map,
    access: PhantomData<(R, W, X)>,
}

/// Pages that grant nothing. (On Windows, those that are made so are reserved only, and get memory by the first change of rights.)
pub type MmapNone = Pages<DenyRead, DenyWrite, DenyExec>;
/// Pages that can be read.
pub type Mmap = Pages<AllowRead, DenyWrite, DenyExec>;
/// Pages that can be read and written.
pub type MmapMut = Pages<AllowRead, AllowWrite, DenyExec>;

impl Pages {
    /// At least `len` bytes, zeroed, that can be read and written.
    ///
    /// For other rights and places, [`MmapOptions`].
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// As [`alloc`](crate::alloc()).
    #[inline]
    pub fn new(len: usize) -> Result<Self> {
        MmapOptions::new(len).map_mut()
    }
}

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// What the pages grant.
    pub const PROTECTION: Protection = R::RIGHTS.union(W::RIGHTS).union(X::RIGHTS);

    /// # Safety
    ///
    /// The type's invariant.
    unsafe fn from_map(map: Map) -> Self {
        Self { map, access: PhantomData }
    }

    /// The address of the first byte.
    #[inline]
    pub fn start(&self) -> usize {
        self.map.base().addr().get()
    }

    /// The address after the last byte.
    #[inline]
    pub fn end(&self) -> usize {
        self.start().saturating_add(self.map.len())
    }

    /// The size in bytes: a multiple of the [page size](Self::page_size), at least what was asked for; of a file, exactly that.
    #[inline]
    pub fn size(&self) -> usize {
        self.map.len()
    }

    /// The size in bytes, as [`size`](Self::size).
    #[inline]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is nothing in it: only after a conversion that failed twice over, see [`make_none`](Self::make_none).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// The addresses, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        self.start()..self.end()
    }

    /// The address of the first byte: on a page boundary, but for a file that was mapped from an offset between two.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.map.base().as_ptr().cast_const()
    }

    /// The address of the first byte, as [`as_ptr`](Self::as_ptr). Whether it can be written to is the type's matter.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.base().as_ptr()
    }

    /// The size of the pages that the mapping is made of: [`page::base_size`](crate::page::base_size), or that of the huge pages
    /// which it was given by [`MmapOptions::huge_pages`] or [`MmapOptions::largest_pages`], or has by its file.
    ///
    /// Between two of these it can be split; of what is changed, they change as a whole.
    ///
    /// (The huge pages that the system gives to ordinary memory by itself, it also takes away by itself: how many there are at
    /// a moment, [`Usage::huge`](crate::Usage::huge) tells.)
    ///
    /// # Cost
    ///
    /// No system call.
    #[inline]
    pub fn page_size(&self) -> PageSize {
        self.map.page_size()
    }

    /// Keeps the pages in memory, as [`lock`](crate::lock) does, until as many [`unlock`](Self::unlock)s or the drop.
    ///
    /// The two halves of a [split](Self::split_off) stay locked, each on its own.
    ///
    /// # Cost
    ///
    /// As [`lock`](crate::lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](crate::lock).
    pub fn lock(&mut self) -> Result<()> {
        self.map.lock()
    }

    /// Takes one [`lock`](Self::lock) away.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the pages are not locked by this mapping; as
    /// [`unlock`](crate::unlock), and then the lock still counts: it can be tried again.
    pub fn unlock(&mut self) -> Result<()> {
        self.map.unlock()
    }

    /// Keeps the pages in memory until the guard is dropped, which borrows them.
    ///
    /// # Errors
    ///
    /// As [`lock`](crate::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// let pages = folio::Pages::new(1)?;
    /// let held = pages.hold()?;
    /// assert_eq!(held.len(), pages.len());
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0505
    /// let pages = folio::Pages::new(1)?;
    /// let held = pages.hold()?;
    /// drop(pages); // cannot move out: `held` unlocks them at the end
    /// # Ok::<(), folio::Error>(())
    /// ```
    ///
    /// ```compile_fail,E0502
    /// let mut pages = folio::Pages::new(1)?;
    /// let held = pages.hold()?;
    /// pages[0] = 1; // cannot assign
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn hold(&self) -> Result<Held<'_>> {
        Ok(Held { guard: self.map.hold()?, _pages: Borrowed(PhantomData) })
    }

    /// Cuts the mapping in two at an offset in bytes: `self` keeps the pages before it, the result has the others.
    ///
    /// The two are as good as any mapping, have the same rights, and may be dropped in any order.
    ///
    /// # Cost
    ///
    /// No system call; the first split of a mapping allocates some words.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when `at` is not between two pages, of the [size](Self::page_size) that
    /// the mapping is made of (of a file that was mapped from an offset between two pages: `start() + at` counts), or one of the two
    /// would have no pages. `self` is as it was.
    ///
    /// # Platforms
    ///
    /// Windows cannot release a part: the memory of one that is dropped is given back at once, its addresses with the last part.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Pages, page};
    ///
    /// let mut low = Pages::new(4 * page::size())?;
    /// let mut high = low.split_off(page::size())?;
    /// assert_eq!((low.len(), high.len()), (page::size(), 3 * page::size()));
    ///
    /// // Each has rights of its own now.
    /// let low = low.make_read_only()?;
    /// high[0] = low[0] + 1;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn split_off(&mut self, at: usize) -> Result<Self> {
        let map = self.map.split_off(at)?;
        // SAFETY: pages of this mapping, which grant what its type says.
        Ok(unsafe { Self::from_map(map) })
    }

    /// Cuts the mapping in two at an offset in bytes: `self` keeps the pages from there on, the result has those before it.
    ///
    /// # Cost, errors
    ///
    /// As [`split_off`](Self::split_off).
    pub fn split_to(&mut self, at: usize) -> Result<Self> {
        let map = self.map.split_to(at)?;
        // SAFETY: pages of this mapping, which grant what its type says.
        Ok(unsafe { Self::from_map(map) })
    }

    /// Adds the pages of `other`, which must come directly behind and have been one mapping with these before.
    ///
    /// # Cost
    ///
    /// No system call.
    ///
    /// # Errors
    ///
    /// `other`, and why. [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the two were never parts of one mapping (to Rust,
    /// memory that comes from two mappings is never one piece, also where one follows the other); there is something between
    /// them; one is locked more often than the other.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Pages, page};
    ///
    /// let mut low = Pages::new(2 * page::size())?;
    /// let high = low.split_off(page::size())?;
    /// low.merge(high)?;
    /// assert_eq!(low.len(), 2 * page::size());
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn merge(&mut self, other: Self) -> core::result::Result<(), (Self, Error)> {
        self.map.merge(other.map).map_err(|(map, error)| {
            // SAFETY: the mapping that was `other`, as it was.
            (unsafe { Self::from_map(map) }, error)
        })
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
    /// The parts came from this type's [`into_raw_parts`](Self::into_raw_parts), of a mapping with the same rights (or the pages
    /// grant by now what the type says), and no other mapping is made of them.
    pub unsafe fn from_raw_parts(parts: RawParts) -> Self {
        // SAFETY: the caller's promise.
        let map = unsafe { Map::from_raw(parts.0) };
        // SAFETY: the caller's promise.
        unsafe { Self::from_map(map) }
    }
}

/// What a mapping is made of: given by [`Pages::into_raw_parts`].
#[derive(Clone, Copy, Debug)]
pub struct RawParts(Raw);

impl RawParts {
    /// The address of the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there is nothing in it: never.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }
}

/// Keeps the pages of a mapping in memory, and borrows it: made by [`Pages::hold`].
#[must_use = "a lock ends when its guard is dropped, which here is at once: give it a name"]
#[derive(Debug)]
pub struct Held<'pages> {
    guard: LockGuard,
    _pages: Borrowed<'pages>,
}

/// A borrow that lasts until it is dropped: without a drop that could use it, it would end with the last mention of the guard, and
/// the guard could outlive the pages.
#[derive(Debug)]
struct Borrowed<'pages>(PhantomData<&'pages ()>);

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {}
}

impl Held<'_> {
    /// How many bytes are kept: whole pages.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.guard.len()
    }

    /// Ends the lock, as dropping it does, and says whether that succeeded.
    ///
    /// # Errors
    ///
    /// As [`unlock`](crate::unlock).
    pub fn unlock(self) -> Result<()> {
        self.guard.unlock()
    }
}

/// The addresses and what they grant.
impl<R, W, X> fmt::Debug for Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({:#x?} {})", self.as_range(), Self::PROTECTION)
    }
}

impl<W, X> Deref for Pages<AllowRead, W, X>
where
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the pages are mapped, initialized (zeroed at first, or a file's), readable as the type says, and written to by
        // nobody but through this value, which is borrowed for as long as the slice lives (of a file's, by the promise of who
        // named it, see `MmapOptions::file`); at most `isize::MAX` bytes (`PageLen`).
        unsafe { core::slice::from_raw_parts(self.as_ptr(), self.map.len()) }
    }
}

impl<X> DerefMut for Pages<AllowRead, AllowWrite, X>
where
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `deref`; the pages are writable as the type says, and the value is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.as_mut_ptr(), self.map.len()) }
    }
}

impl<I, W, X> Index<I> for Pages<AllowRead, W, X>
where
    I: SliceIndex<[u8]>,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    type Output = I::Output;

    #[inline]
    fn index(&self, index: I) -> &I::Output {
        Index::index(&**self, index)
    }
}

impl<I, X> IndexMut<I> for Pages<AllowRead, AllowWrite, X>
where
    I: SliceIndex<[u8]>,
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        IndexMut::index_mut(&mut **self, index)
    }
}

macro_rules! as_slice {
    ($($trait:ident $method:ident;)*) => {$(
        impl<W, X> $trait<[u8]> for Pages<AllowRead, W, X>
        where
            W: WriteAccess,
            X: ExecAccess,
            (W, X): Together,
        {
            #[inline]
            fn $method(&self) -> &[u8] {
                self
            }
        }
    )*};
}

as_slice! {
    AsRef as_ref;
    Borrow borrow;
}

macro_rules! as_mut_slice {
    ($($trait:ident $method:ident;)*) => {$(
        impl<X> $trait<[u8]> for Pages<AllowRead, AllowWrite, X>
        where
            X: ExecAccess,
            (AllowWrite, X): Together,
        {
            #[inline]
            fn $method(&mut self) -> &mut [u8] {
                self
            }
        }
    )*};
}

as_mut_slice! {
    AsMut as_mut;
    BorrowMut borrow_mut;
}
