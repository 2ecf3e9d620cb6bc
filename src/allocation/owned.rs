//! An allocation, and what becomes of it.

use super::pending;
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::guard::report;
use crate::os;
use crate::range::PageRange;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::NonNull;

/// Pages of one's own: made by [`alloc`](crate::alloc()), [`alloc_at`](crate::alloc_at) and
/// [`alloc_near`](crate::alloc_near), and unmapped when dropped.
///
/// It is an address and a length, and does not dereference: what the pages grant can be anything, and can be changed by
/// [`protect`](crate::protect). The pointers of [`as_ptr`](Self::as_ptr) and [`as_mut_ptr`](Self::as_mut_ptr) may both be written
/// through: the value lends no reference to what is in the pages, so that access is all up to whoever uses them.
///
/// # Examples
///
/// ```
/// use folio::Protection;
///
/// let memory = folio::alloc(1, Protection::READ)?;
/// let range = memory.as_range();
/// assert_eq!(range.len(), memory.len());
/// drop(memory);
/// # Ok::<(), folio::Error>(())
/// ```
pub struct Allocation {
    /// Invariant: these pages are this value's alone, as `os::map` or `os::map_at` gave them: a whole of `len` bytes, a
    /// multiple of the page size and not 0, from `base` on.
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages are the value's alone, and the same in every thread; what is in them is reached by raw pointers only, whose
// users see to it themselves.
unsafe impl Send for Allocation {}
// SAFETY: as for `Send`; through a shared reference only the numbers can be read.
unsafe impl Sync for Allocation {}

impl Allocation {
    /// # Safety
    ///
    /// The type's invariant.
    #[inline]
    pub(super) unsafe fn own(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// The address of the first byte; always on a page boundary.
    #[inline]
    pub fn as_ptr<T>(&self) -> *const T {
        self.base.as_ptr().cast_const().cast()
    }

    /// The address of the first byte; always on a page boundary.
    #[inline]
    pub fn as_mut_ptr<T>(&mut self) -> *mut T {
        self.base.as_ptr().cast()
    }

    /// The addresses of the first byte and of the one after the last, as pointers. (Of types whose size does not divide the
    /// length, the range ends within a value.)
    #[inline]
    pub fn as_ptr_range<T>(&self) -> Range<*const T> {
        let start = self.base.as_ptr().cast_const();
        start.cast()..start.wrapping_add(self.len).cast()
    }

    /// The addresses of the first byte and of the one after the last, as pointers.
    #[inline]
    pub fn as_mut_ptr_range<T>(&mut self) -> Range<*mut T> {
        let start = self.base.as_ptr();
        start.cast()..start.wrapping_add(self.len).cast()
    }

    /// The addresses of the pages, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        let start = self.base.addr().get();
        start..start.saturating_add(self.len)
    }

    /// The size in bytes: a multiple of the page size.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it: never.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages, which are the caller's from then on.
    pub(crate) fn into_parts(self) -> (NonNull<u8>, usize) {
        let this = ManuallyDrop::new(self);
        (this.base, this.len)
    }

    fn pages(&self) -> Option<PageRange> {
        let first = self.base.addr().get();
        PageRange::between(first, first.checked_add(self.len.checked_sub(1)?)?)
    }

    /// Gives the pages back to the system, as the drop does, and says how it went.
    ///
    /// # Errors
    ///
    /// The allocation, which stays as it was, and why:
    ///
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): the system keeps the pages in one mapping with their neighbours,
    ///   splitting it would make more mappings than a process may have (Linux).
    /// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): somebody has [sealed](crate::seal) pages of it.
    pub fn free(self) -> Result<(), (Self, Error)> {
        let this = ManuallyDrop::new(self);
        let Some(pages) = this.pages() else { return Ok(()) };
        // SAFETY: the pages are the value's (its invariant), which ends here.
        match unsafe { os::unmap(pages) } {
            Ok(()) => Ok(()),
            Err(failure) => {
                let error = failure.during(Operation::Free, Some(pages), None);
                Err((ManuallyDrop::into_inner(this), error))
            }
        }
    }

    /// Seals the pages: until the process ends, nobody can unmap or move them, change what they grant, or put something else in
    /// their place. Set the protection before.
    ///
    /// Safe where [`seal`](crate::seal) is not, for the pages are nobody else's, and the result never unmaps them.
    ///
    /// # Errors
    ///
    /// The allocation, and why: [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where
    /// [`Capabilities::seal`](crate::Capabilities::seal) is false.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Capabilities, Protection};
    ///
    /// let memory = folio::alloc(1, Protection::READ)?;
    /// match memory.seal() {
    ///     Ok(sealed) => println!("{:?} cannot be changed any more", sealed.as_range()),
    ///     Err((memory, error)) => println!("{memory:?} is as it was: {error}"),
    /// }
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn seal(self) -> Result<SealedPages, (Self, Error)> {
        let this = ManuallyDrop::new(self);
        let sealed = match this.pages() {
            // SAFETY: the pages are the value's (its invariant), and nobody will unmap them: the drop does not run.
            Some(pages) => unsafe { os::seal(pages) },
            None => Err(Failure::invalid("no pages")),
        };
        match sealed {
            Ok(()) => Ok(SealedPages { base: this.base, len: this.len }),
            Err(failure) => {
                let error = failure.during(Operation::Seal, this.pages(), None);
                Err((ManuallyDrop::into_inner(this), error))
            }
        }
    }

    /// The address and the length in bytes, which are the caller's to unmap.
    #[inline]
    pub fn into_raw_parts<T>(self) -> (*mut T, usize) {
        let this = ManuallyDrop::new(self);
        (this.base.as_ptr().cast(), this.len)
    }

    /// Takes over pages.
    ///
    /// # Safety
    ///
    /// Address and length came from [`into_raw_parts`](Self::into_raw_parts), and are given to nobody else.
    #[inline]
    pub unsafe fn from_raw_parts<T>(ptr: *mut T, length: usize) -> Self {
        // SAFETY: what `into_raw_parts` gave was not null.
        let base = unsafe { NonNull::new_unchecked(ptr.cast()) };
        Self { base, len: length }
    }
}

/// The addresses.
impl fmt::Debug for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allocation({:#x?})", self.as_range())
    }
}

/// Gives the pages back to the system. Where that fails for want of mappings (see [`free`](Self::free)) it is tried again at the
/// next allocation or drop, for up to 64 allocations at a time; what the system does not permit (sealed pages) stays mapped. A
/// failure is reported on standard error in builds with debug assertions.
impl Drop for Allocation {
    #[inline]
    fn drop(&mut self) {
        let Some(pages) = self.pages() else { return };
        // SAFETY: the pages are the value's (its invariant), which ends here.
        match unsafe { os::unmap(pages) } {
            Ok(()) => pending::give_back(),
            Err(failure) => leave(pages, failure),
        }
    }
}

/// Pages that are nobody's any more and could not be unmapped: they wait for another attempt.
#[cold]
pub(crate) fn leave(pages: PageRange, failure: Failure) {
    // What is forbidden now stays so: trying again would cost every later allocation a call.
    if failure.kind() != ErrorKind::NotPermitted {
        // SAFETY: the pages were an allocation's, which has ended.
        let _kept = unsafe { pending::keep(pages) };
    }
    report(&failure.during(Operation::Free, Some(pages), None));
}

/// Pages that nobody can unmap or change any more: made by [`Allocation::seal`]. They stay until the process ends, so that this is
/// no more than an address and a length, and `Copy`.
///
/// What the pages grant when they are sealed they grant for ever.
#[derive(Clone, Copy)]
pub struct SealedPages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address that is valid in every thread, for ever; what is there is reached by raw pointers only.
unsafe impl Send for SealedPages {}
// SAFETY: as for `Send`.
unsafe impl Sync for SealedPages {}

impl SealedPages {
    /// The address of the first byte; always on a page boundary.
    #[inline]
    pub fn as_ptr<T>(&self) -> *const T {
        self.base.as_ptr().cast_const().cast()
    }

    /// The address of the first byte; always on a page boundary.
    #[inline]
    pub fn as_mut_ptr<T>(&self) -> *mut T {
        self.base.as_ptr().cast()
    }

    /// The addresses of the pages, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        let start = self.base.addr().get();
        start..start.saturating_add(self.len)
    }

    /// The size in bytes: a multiple of the page size.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it: never.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The addresses.
impl fmt::Debug for SealedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedPages({:#x?})", self.as_range())
    }
}
