//! Ranges of a process's memory: the traits, and those of guests.

use super::control::Control;
use super::slice::{ReadableProcessSlice, WriteableProcessSlice};
use super::{Error, GuestId, Result};
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr;

/// Memory of a process that may be read, as long as that process lives.
///
/// [`ReadOnlyProcessBuffer`] and [`ReadWriteProcessBuffer`] are those of a [`Guest`](super::Guest)'s. Who has processes of another
/// kind implements this for buffers of theirs (the repository has an example for the memory of a wasm machine, `wasmi-guest`), and
/// code that takes any buffer takes those as well:
///
/// ```
/// use folio::process::{Error, ReadOnlyProcessBuffer, ReadableProcessBuffer};
///
/// fn checksum(buffer: &impl ReadableProcessBuffer) -> Result<u32, Error> {
///     buffer.enter(|slice| slice.bytes().map(u32::from).sum())
/// }
///
/// assert_eq!(checksum(&ReadOnlyProcessBuffer::default()), Err(Error::NoSuchApp));
/// ```
///
/// # Safety
///
/// Users trust what an implementation says, with pointers. While the process lives, [`ptr`](Self::ptr) points to as many bytes of its memory as
/// [`len`](Self::len) says, which may be read (in the ways of [`ReadableProcessSlice::from_raw_parts`]) as long as a closure runs in
/// [`enter`](Self::enter); and [`enter`](Self::enter) hands out these bytes and no others. The methods do what their documentation says.
pub unsafe trait ReadableProcessBuffer {
    /// How many bytes there are: 0 when the process has ended and its memory is reclaimed.
    ///
    /// The process may end at any time: this is how things are now, unless a closure runs inside.
    ///
    /// A default buffer has 0.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address of the first byte, for what cannot be said by a slice.
    ///
    /// If the length that was allowed is 0 (whatever [`len`](Self::len) says by now), this is null: a process may give any
    /// address for nothing, and that address is not handed on. So no slice is to be made of it without a look.
    ///
    /// The memory is only there while a closure runs in [`enter`](Self::enter). Nobody makes references to it.
    ///
    /// A default buffer gives null.
    fn ptr(&self) -> *const u8;

    /// Lets `fun` have the memory, and gives what it gives.
    ///
    /// The memory stays until `fun` is through, also when the process ends meanwhile. A range of length 0 is an empty slice.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchApp`] when the process has ended, or the buffer is a default one: then `fun` does not run.
    ///
    /// # Panics
    ///
    /// When `fun` does; the memory is left as it would have been without.
    fn enter<F, R>(&self, fun: F) -> Result<R>
    where
        F: FnOnce(&ReadableProcessSlice) -> R;
}

/// Memory of a process that may be read and written, as long as that process lives.
///
/// # Safety
///
/// As [`ReadableProcessBuffer`], for writing (in the ways of [`WriteableProcessSlice::from_raw_parts`]) by way of
/// [`mut_ptr`](Self::mut_ptr) and [`mut_enter`](Self::mut_enter). Both describe the same memory as [`ptr`](ReadableProcessBuffer::ptr) and
/// [`len`](ReadableProcessBuffer::len). Who keeps the provided `mut_ptr` promises that `ptr`, made mutable, is one that may be written
/// through.
pub unsafe trait WriteableProcessBuffer: ReadableProcessBuffer {
    /// The address of the first byte, to be written to: as [`ptr`](ReadableProcessBuffer::ptr), null for a range of no bytes and for
    /// a default buffer.
    fn mut_ptr(&self) -> *mut u8 {
        self.ptr().cast_mut()
    }

    /// Lets `fun` have the memory, to be read and written, and gives what it gives.
    ///
    /// # Errors, panics
    ///
    /// As [`enter`](ReadableProcessBuffer::enter).
    fn mut_enter<F, R>(&self, fun: F) -> Result<R>
    where
        F: FnOnce(&WriteableProcessSlice) -> R;
}

/// Part of a guest's memory, or nobody's.
struct Part {
    process: Option<Arc<Control>>,
    /// Null for no bytes. Otherwise, `len` bytes from here on lie in the memory of `process`.
    start: *mut u8,
    len: usize,
}

// SAFETY: the pointer is one into the memory of `process`, which any thread may use.
unsafe impl Send for Part {}
// SAFETY: as for `Send`.
unsafe impl Sync for Part {}

impl Part {
    const NOBODYS: Self = Self { process: None, start: ptr::null_mut(), len: 0 };

    fn len(&self) -> usize {
        match &self.process {
            Some(process) if process.is_alive() => self.len,
            _ => 0,
        }
    }

    #[inline]
    fn enter<R>(&self, fun: impl FnOnce(*mut u8, usize) -> R) -> Result<R> {
        let process = self.process.as_ref().ok_or(Error::NoSuchApp)?;
        // Leaves when `fun` panics, too.
        let _inside = process.enter()?;
        Ok(fun(self.start, self.len))
    }

    fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            None => write!(f, "{name}(of no process)"),
            Some(process) => {
                write!(f, "{name}({:p}, {} bytes, of guest {})", self.start, self.len, process.id())
            }
        }
    }
}

macro_rules! buffer {
    ($buffer:ident, $lent:ident, $pointer:ty) => {
        impl $buffer {
            /// A buffer that belongs to no process: of no bytes, at null, and nobody gets in.
            ///
            /// # Examples
            ///
            /// ```
            /// # use folio::process::*;
            #[doc = concat!("static EMPTY: ", stringify!($buffer), " = ", stringify!($buffer), "::const_default();")]
            /// assert_eq!(EMPTY.len(), 0);
            /// ```
            pub const fn const_default() -> Self {
                Self(Part::NOBODYS)
            }

            pub(super) fn new(process: &Arc<Control>, offset: usize, len: usize) -> Self {
                let start = process.place(offset, len);
                Self(Part { process: Some(Arc::clone(process)), start, len })
            }

            /// Whose memory it is; `None` of a default one.
            pub fn guest(&self) -> Option<GuestId> {
                self.0.process.as_ref().map(|process| process.id())
            }

            /// Ends the buffer, and gives the address and the length that were allowed: to be handed back to the process, say. Nobody can enter
            /// any more by it; the process may be dead. (A range of no bytes, and a default buffer, give null and 0.)
            ///
            /// # Examples
            ///
            /// ```
            /// # use folio::process::*;
            #[doc = concat!("let (start, len) = ", stringify!($buffer), "::default().consume();")]
            /// assert!(start.is_null() && len == 0);
            /// ```
            pub fn consume(self) -> ($pointer, usize) {
                let start: $pointer = self.0.start;
                (start, self.0.len)
            }
        }

        impl Default for $buffer {
            /// As [`const_default`](Self::const_default).
            fn default() -> Self {
                Self::const_default()
            }
        }

        // SAFETY: the bytes lie in the guest's memory (`Part`), which is there, and may be read and written by all, while somebody is
        // inside; `enter` lends these.
        unsafe impl ReadableProcessBuffer for $buffer {
            fn len(&self) -> usize {
                self.0.len()
            }

            fn ptr(&self) -> *const u8 {
                self.0.start
            }

            #[inline]
            fn enter<F, R>(&self, fun: F) -> Result<R>
            where
                F: FnOnce(&ReadableProcessSlice) -> R,
            {
                self.0.enter(|start, len| {
                    // SAFETY: bytes of a guest's memory, in which we are; nobody has references to it (`Host::guest`).
                    fun(unsafe { ReadableProcessSlice::from_raw_parts(start, len) })
                })
            }
        }

        impl fmt::Debug for $buffer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(stringify!($buffer), f)
            }
        }

        impl $lent<'_> {
            pub(super) fn new(buffer: $buffer) -> Self {
                Self { buffer, lent: PhantomData }
            }
        }

        impl Deref for $lent<'_> {
            type Target = $buffer;

            #[inline]
            fn deref(&self) -> &$buffer {
                &self.buffer
            }
        }

        impl Default for $lent<'_> {
            fn default() -> Self {
                Self::new($buffer::const_default())
            }
        }

        // SAFETY: as the buffer.
        unsafe impl ReadableProcessBuffer for $lent<'_> {
            fn len(&self) -> usize {
                self.buffer.len()
            }

            fn ptr(&self) -> *const u8 {
                self.buffer.ptr()
            }

            #[inline]
            fn enter<F, R>(&self, fun: F) -> Result<R>
            where
                F: FnOnce(&ReadableProcessSlice) -> R,
            {
                self.buffer.enter(fun)
            }
        }

        impl fmt::Debug for $lent<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.buffer.0.fmt(stringify!($lent), f)
            }
        }
    };
}

/// Memory that a [`Guest`](super::Guest) has allowed to be read; or, by default, no memory of nobody.
///
/// Given back by [`Guest::allow_read_only`](super::Guest::allow_read_only) for what was allowed before. For what is allowed now there is the form
/// that is [bound](ReadOnlyProcessBufferRef) to a borrow.
///
/// # Cost
///
/// To enter: two atomic read-modify-writes, of a word that all who enter the same guest's memory change. When it has ended: reading that
/// word.
///
/// # Examples
///
/// ```
/// use folio::process::{Error, Host, ReadableProcessBuffer};
///
/// let guest = Host::new().guest(folio::Pages::new(1)?)?;
/// let before = guest.allow_read_only(3, 10..20)?;
/// assert_eq!((before.len(), before.ptr().is_null()), (0, true));
/// assert_eq!(before.enter(|_| ()), Err(Error::NoSuchApp));
///
/// let before = guest.allow_read_only(3, 0..0)?;
/// assert_eq!((before.len(), before.enter(|slice| slice.len())), (10, Ok(10)));
///
/// // Nothing was allowed last, at no address.
/// let buffer = guest.read_only(3);
/// assert_eq!((buffer.ptr().is_null(), buffer.enter(|slice| slice.len())), (true, Ok(0)));
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0599
/// # use folio::process::{ReadOnlyProcessBuffer, WriteableProcessBuffer};
/// ReadOnlyProcessBuffer::default().mut_enter(|_| ()); // to be read only
/// ```
///
/// ```compile_fail,E0382
/// # use folio::process::{ReadOnlyProcessBuffer, ReadableProcessBuffer};
/// let buffer = ReadOnlyProcessBuffer::default();
/// let given_back = buffer.consume();
/// buffer.enter(|_| ()); // it is no more
/// ```
pub struct ReadOnlyProcessBuffer(Part);

/// Memory that a [`Guest`](super::Guest) has allowed to be read and written; or, by default, no memory of nobody.
///
/// As [`ReadOnlyProcessBuffer`], with [`WriteableProcessBuffer`] besides.
pub struct ReadWriteProcessBuffer(Part);

/// A [`ReadOnlyProcessBuffer`] that is bound to a borrow: made by [`Guest::read_only`](super::Guest::read_only).
///
/// What a guest allows changes, and the buffer is of one moment. The borrow keeps it from being stored where it would soon be wrong: ask again.
///
/// ```compile_fail,E0505
/// let guest = folio::process::Host::new().guest(folio::Pages::new(1)?)?;
/// let buffer = guest.read_only(0);
/// drop(guest); // borrowed
/// println!("{buffer:?}");
/// # Ok::<(), folio::Error>(())
/// ```
pub struct ReadOnlyProcessBufferRef<'a> {
    buffer: ReadOnlyProcessBuffer,
    lent: PhantomData<&'a ()>,
}

/// A [`ReadWriteProcessBuffer`] that is bound to a borrow: made by [`Guest::read_write`](super::Guest::read_write). See
/// [`ReadOnlyProcessBufferRef`].
pub struct ReadWriteProcessBufferRef<'a> {
    buffer: ReadWriteProcessBuffer,
    lent: PhantomData<&'a ()>,
}

buffer! { ReadOnlyProcessBuffer, ReadOnlyProcessBufferRef, *const u8 }
buffer! { ReadWriteProcessBuffer, ReadWriteProcessBufferRef, *mut u8 }

// SAFETY: as for `ReadableProcessBuffer`; a guest's memory can be written to, and `ptr` was a pointer for that.
unsafe impl WriteableProcessBuffer for ReadWriteProcessBuffer {
    #[inline]
    fn mut_enter<F, R>(&self, fun: F) -> Result<R>
    where
        F: FnOnce(&WriteableProcessSlice) -> R,
    {
        self.0.enter(|start, len| {
            // SAFETY: as in `enter`; a guest's memory can be written to.
            fun(unsafe { WriteableProcessSlice::from_raw_parts(start, len) })
        })
    }
}

// SAFETY: as the buffer.
unsafe impl WriteableProcessBuffer for ReadWriteProcessBufferRef<'_> {
    #[inline]
    fn mut_enter<F, R>(&self, fun: F) -> Result<R>
    where
        F: FnOnce(&WriteableProcessSlice) -> R,
    {
        self.buffer.mut_enter(fun)
    }
}
