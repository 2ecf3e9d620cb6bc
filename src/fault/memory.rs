//! Any addresses, as somebody promises that they may be reached.

use super::Span;
use crate::error::Result;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

/// Bytes that may be read if they are there, and that others may take away or write to at any time.
///
/// A pointer, a length and a promise; see [`fault`](crate::fault).
///
/// # Examples
///
/// ```
/// use folio::fault::{FaultKind, RawMemory};
/// use folio::{ErrorKind, Pages, page};
///
/// let pages = Pages::new(2 * page::size())?;
/// // SAFETY: nobody else has these addresses while `low` lives.
/// let memory = unsafe { RawMemory::new(pages.as_ptr(), pages.len()) };
/// # if memory.try_read::<u8>(0).is_err_and(|error| error.kind() == ErrorKind::Unsupported) { return Ok(()) }
/// assert_eq!(memory.try_read::<u64>(page::size() - 4)?, 0);
///
/// // The second page is taken away.
/// let mut low = pages;
/// let high = low.split_off(page::size())?.make_none()?;
/// let mut bytes = vec![1; 10];
/// let error = memory.try_copy_to(page::size() - 4, &mut bytes).unwrap_err();
/// let fault = error.fault().unwrap();
/// assert_eq!((fault.offset(), fault.is_write()), (page::size(), false));
/// assert_eq!(fault.kind(), FaultKind::NotPermitted);
/// assert_eq!(bytes, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct RawMemory<'a> {
    span: Span,
    memory: PhantomData<&'a ()>,
}

/// The same of bytes that may be written to as well: has all methods of [`RawMemory`], too.
///
/// Writing takes `&self`: others may write at the same time anyway.
#[derive(Clone, Copy)]
pub struct RawMemoryMut<'a> {
    memory: RawMemory<'a>,
}

// SAFETY: an address and a length; what lies there may be reached from any thread (the promise made to `new`).
unsafe impl Send for RawMemory<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawMemory<'_> {}

impl<'a> RawMemory<'a> {
    /// The `len` bytes from `start` on. They need not be mapped, now or later; addresses that no process has will do.
    ///
    /// # Safety
    ///
    /// While the value and its copies are used, at most for `'a`, whatever is mapped at these addresses may be read: no `&mut`
    /// to any of it is in use meanwhile, in any thread, and reading it has no effect (as that of some devices has). If it is memory
    /// that Rust knows of (a variable, a heap allocation), all of it is initialized, and `start` was derived from it.
    /// What is read can be any bytes, also of others who get these addresses when they are unmapped: whether that may be is
    /// part of the promise.
    #[inline]
    pub unsafe fn new(start: *const u8, len: usize) -> Self {
        Self { span: Span::new(start.cast_mut(), len), memory: PhantomData }
    }

    /// The address of the first byte.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.span.base().cast_const()
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.span.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.span.len() == 0
    }

    /// A part of the bytes. Offsets of faults count from its own first byte.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it would reach beyond the end.
    #[inline]
    pub fn part(&self, offset: usize, len: usize) -> Result<Self> {
        Ok(Self { span: self.span.part(offset, len)?, memory: PhantomData })
    }

    reading! { self => self.span }
}

impl<'a> RawMemoryMut<'a> {
    /// The `len` bytes from `start` on, as [`RawMemory::new`].
    ///
    /// # Safety
    ///
    /// As [`RawMemory::new`]; and whatever is mapped at these addresses meanwhile may be overwritten with any bytes: no reference to
    /// any of it is in use, shared ones included, and nobody relies on what it holds. So the addresses must not be given to anybody
    /// else meanwhile; if they are unmapped, something keeps them from being used again.
    #[inline]
    pub unsafe fn new(start: *mut u8, len: usize) -> Self {
        Self { memory: RawMemory { span: Span::new(start, len), memory: PhantomData } }
    }

    /// The address of the first byte.
    #[inline]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.memory.span.base()
    }

    /// A part of the bytes. Offsets of faults count from its own first byte.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when it would reach beyond the end.
    #[inline]
    pub fn part(&self, offset: usize, len: usize) -> Result<Self> {
        Ok(Self { memory: self.memory.part(offset, len)? })
    }

    writing! { self: &Self => self.memory.span }
    changing! { self: &Self => self.memory.span }
}

impl<'a> Deref for RawMemoryMut<'a> {
    type Target = RawMemory<'a>;

    #[inline]
    fn deref(&self) -> &RawMemory<'a> {
        &self.memory
    }
}

/// The addresses.
impl fmt::Debug for RawMemory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawMemory({:p}, {} bytes)", self.span.base(), self.span.len())
    }
}

/// The addresses.
impl fmt::Debug for RawMemoryMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawMemoryMut({:p}, {} bytes)", self.memory.span.base(), self.memory.span.len())
    }
}
