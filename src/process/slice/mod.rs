//! Process slices: an address and a length, in the shape of a slice that covers no memory.

mod bytes;
#[cfg(feature = "std")]
mod cursor;
mod endian;
mod index;
mod iter;
mod reading;
mod writing;

pub use bytes::{ReadableProcessByte, WriteableProcessByte};
#[cfg(feature = "std")]
pub use cursor::ProcessCursor;
pub use endian::Endian;
pub use index::ProcessSliceIndex;
pub(super) use index::within;
pub use iter::{Bytes, Chunks, Iter};

use core::fmt;
use core::ops::{Deref, Index};
use core::panic::RefUnwindSafe;
use core::ptr::{self, NonNull};

/// Memory of a process, to be read: the process, and others, may write to it at any time.
///
/// A buffer's [`enter`](super::ReadableProcessBuffer::enter) lends one to a closure. It has the shape of a slice (`&slice[1..4]`, `slice[1]`,
/// [`iter`](Self::iter)), but what lies in it are [bytes](ReadableProcessByte) without a size: a reference to it is an address and a
/// length, and never one to the process's memory. Values come out by copies.
///
/// Any number of slices of the same bytes may be alive, those that can be written to among them, in any threads.
///
/// # Errors and panics
///
/// Positions and ranges outside of the slice, and lengths that differ, panic where `[T]` panics; methods that give a `Result` or an `Option`
/// do not. What a process names is for those: offsets that come from it are to be expected to be wrong.
///
/// # What is read once stays
///
/// Each access reads anew, and two need not agree: a length that was found to be small enough may be large the second time. So read it
/// once, into a variable, check that, and go on with that; or [copy](Self::copy_to_slice) everything first, and look at the copy.
///
/// ```
/// use folio::process::{Error, ReadableProcessSlice};
///
/// /// A message that begins with its length.
/// fn message(slice: &ReadableProcessSlice, to: &mut [u8; 64]) -> Result<usize, Error> {
///     // WRONG, by a peer that writes meanwhile:
///     //     if slice.read_le::<u16>(0)? > 64 { return … }
///     //     slice.get(2..2 + usize::from(slice.read_le::<u16>(0)?))  // perhaps another number
///     let len = usize::from(slice.read_le::<u16>(0)?);
///     let to = to.get_mut(..len).ok_or(Error::SizeMismatch)?;
///     slice.get(2..).and_then(|rest| rest.get(..len)).ok_or(Error::AddressOutOfBounds)?.copy_to_slice(to);
///     Ok(len)
/// }
///
/// let mut memory = *b"\x05\x00folio, and more";
/// // SAFETY: an array that nobody else uses as long as the slice does.
/// let slice = unsafe { ReadableProcessSlice::from_raw_parts(memory.as_mut_ptr(), memory.len()) };
/// let mut to = [0; 64];
/// assert_eq!(message(slice, &mut to), Ok(5));
/// assert_eq!(&to[..5], b"folio");
/// ```
///
/// # Cost
///
/// A bulk copy takes what `memcpy` does. Single bytes and values take a call of a function of a few instructions each:
/// [`bytes`](Self::bytes) reads many at once, and to parse much of a slice, copy it first.
///
/// # Examples
///
/// ```
/// use folio::process::{Host, ReadableProcessBuffer};
///
/// let guest = Host::new().guest(folio::Pages::new(1)?)?;
/// guest.allow_read_only(0, 100..110)?;
/// guest.read_only(0).enter(|slice| {
///     assert_eq!(slice.len(), 10);
///     assert_eq!(slice[3].get(), 0);
///     assert_eq!(slice[2..4].iter().map(|byte| byte.get()).sum::<u8>(), 0);
///     assert_eq!(slice.read::<u64>(2), Ok(0));
///     assert_eq!(slice.find(1), None);
/// })?;
/// # Ok::<(), folio::Error>(())
/// ```
///
/// No references to the memory:
///
/// ```compile_fail,E0308
/// # fn f(slice: &folio::process::ReadableProcessSlice) {
/// let byte: &u8 = &slice[0];
/// # }
/// ```
///
/// Nothing leaves the closure:
///
/// ```compile_fail
/// # use folio::process::{ReadOnlyProcessBuffer, ReadableProcessBuffer};
/// let buffer = ReadOnlyProcessBuffer::default();
/// let kept = buffer.enter(|slice| slice); // lifetime may not live long enough
/// ```
///
/// What can only be read cannot be written to:
///
/// ```compile_fail,E0599
/// # fn f(slice: &folio::process::ReadableProcessSlice) {
/// slice[0].set(1);
/// # }
/// ```
#[repr(transparent)]
pub struct ReadableProcessSlice {
    bytes: [ReadableProcessByte],
}

/// Memory of a process, to be read and written: the process, and others, may write to it at any time.
///
/// As [`ReadableProcessSlice`], whose methods it has, too. Writing takes a shared reference, for others may write at the same
/// time anyway: two slices of the same bytes may be written to in turn, or at once.
///
/// # Examples
///
/// ```
/// use folio::process::{Host, WriteableProcessBuffer};
///
/// let guest = Host::new().guest(folio::Pages::new(1)?)?;
/// guest.allow_read_write(0, 0..16)?;
/// guest.read_write(0).mut_enter(|slice| {
///     slice[..5].copy_from_slice(b"folio");
///     slice[5].set(b'!');
///     slice.write_be(8, 0x0102_0304_u32).unwrap();
///     assert_eq!(slice.to_vec(), b"folio!\0\0\x01\x02\x03\x04\0\0\0\0");
///
///     // Two views of the same bytes.
///     let (one, other) = (&slice[..6], &slice[2..]);
///     one[2].set(b'L');
///     assert_eq!(other[0].get(), b'L');
///
///     // A word that the guest's program and ours change in turn.
///     assert_eq!(slice.fetch_add(8, 1_u32), Ok(0x0403_0201));
/// })?;
/// # Ok::<(), folio::Error>(())
/// ```
#[repr(transparent)]
pub struct WriteableProcessSlice {
    bytes: [WriteableProcessByte],
}

// No reference to either covers any memory, and none is one that the compiler takes for unchanging.
const _: () = assert!(size_of::<ReadableProcessByte>() == 0 && align_of::<ReadableProcessByte>() == 1);
const _: () = assert!(size_of::<WriteableProcessByte>() == 0 && align_of::<WriteableProcessByte>() == 1);

mod sealed {
    pub trait Sealed {}
}

/// One of the two kinds of process slices. (Nobody else can implement it.)
pub trait ProcessSlice: sealed::Sealed + 'static {
    /// What lies in it.
    type Byte: 'static;

    #[doc(hidden)]
    fn parts(&self) -> (*mut u8, usize);

    /// # Safety
    ///
    /// As the kind's `from_raw_parts`, but that provenance is exposed already.
    #[doc(hidden)]
    unsafe fn at<'a>(start: *mut u8, len: usize) -> &'a Self;

    /// # Safety
    ///
    /// As [`at`](Self::at), of one byte.
    #[doc(hidden)]
    unsafe fn byte_at<'a>(at: *mut u8) -> &'a Self::Byte;
}

macro_rules! kind {
    ($slice:ident of $byte:ident) => {
        impl sealed::Sealed for $slice {}

        impl ProcessSlice for $slice {
            type Byte = $byte;

            #[inline]
            fn parts(&self) -> (*mut u8, usize) {
                // The reference covers no memory: what may be reached is what was exposed.
                let start = ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr());
                (start, self.bytes.len())
            }

            #[inline]
            unsafe fn at<'a>(start: *mut u8, len: usize) -> &'a Self {
                let bytes: *const [$byte] = ptr::slice_from_raw_parts(start.cast(), len);
                #[expect(
                    clippy::as_conversions,
                    reason = "there is no other way between pointers with a length"
                )]
                let slice = bytes as *const Self;
                // SAFETY: not null, aligned (to 1), and of no size (as asserted above), whatever the length.
                unsafe { &*slice }
            }

            #[inline]
            unsafe fn byte_at<'a>(at: *mut u8) -> &'a $byte {
                // SAFETY: not null, aligned (to 1), and of no size.
                unsafe { &*at.cast::<$byte>() }
            }
        }

        // SAFETY: an address and a length; the accesses are such that any number of threads may make them (`access`).
        unsafe impl Sync for $slice {}

        // Nothing in it can be found half changed that could not be found so anyway: others write to it.
        impl RefUnwindSafe for $slice {}

        impl $slice {
            /// A part, or a byte: by position (`slice.get(1)`) or range (`slice.get(1..)`, `slice.get(..=3)` …); `None` where it
            /// is not in the slice.
            #[inline]
            pub fn get<I: ProcessSliceIndex<Self>>(&self, index: I) -> Option<&I::Output> {
                index.get(self)
            }

            /// The bytes before `at`, and those from there on.
            ///
            /// # Panics
            ///
            /// If `at` is greater than the length.
            #[inline]
            #[track_caller]
            pub fn split_at(&self, at: usize) -> (&Self, &Self) {
                (&self[..at], &self[at..])
            }

            /// The bytes before `at`, and those from there on; `None` if it is greater than the length.
            #[inline]
            pub fn split_at_checked(&self, at: usize) -> Option<(&Self, &Self)> {
                Some((self.get(..at)?, self.get(at..)?))
            }

            /// All bytes, each to be reached by itself. For many values, [`bytes`](ReadableProcessSlice::bytes) is faster.
            #[inline]
            pub fn iter(&self) -> Iter<'_, Self> {
                Iter::new(self)
            }

            /// Pieces of `len` bytes, the last one perhaps shorter.
            ///
            /// # Panics
            ///
            /// If `len` is 0.
            #[inline]
            #[track_caller]
            pub fn chunks(&self, len: usize) -> Chunks<'_, Self> {
                Chunks::new(self, len)
            }
        }

        impl<I: ProcessSliceIndex<$slice>> Index<I> for $slice {
            type Output = I::Output;

            #[inline]
            #[track_caller]
            fn index(&self, index: I) -> &I::Output {
                index.index(self)
            }
        }

        impl<'a> IntoIterator for &'a $slice {
            type Item = &'a $byte;
            type IntoIter = Iter<'a, $slice>;

            #[inline]
            fn into_iter(self) -> Iter<'a, $slice> {
                self.iter()
            }
        }

        /// The address and the length. (What the bytes are is another question each time.)
        impl fmt::Debug for $slice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (start, len) = self.parts();
                write!(f, concat!(stringify!($slice), "({:p}, {} bytes)"), start, len)
            }
        }

        /// No bytes.
        impl Default for &$slice {
            fn default() -> Self {
                // SAFETY: no bytes.
                unsafe { $slice::from_raw_parts(ptr::null_mut(), 0) }
            }
        }
    };
}

kind! { ReadableProcessSlice of ReadableProcessByte }
kind! { WriteableProcessSlice of WriteableProcessByte }

impl ReadableProcessSlice {
    /// The `len` bytes from `start` on. What has a length of 0 may have any address, null included, and is given another one.
    ///
    /// For who implements [`ReadableProcessBuffer`](super::ReadableProcessBuffer) for a kind of process of his own. The pointer's provenance
    /// is [exposed](core::ptr#exposed-provenance).
    ///
    /// # Safety
    ///
    /// As long as `'a`:
    ///
    /// - The bytes may be read, in any thread; reading them has no effect (as that of some devices has). They are at most
    ///   `isize::MAX`; unless there are none, `start` is not null, and `start + len` is no more than the last address.
    /// - They are mapped and can be read; or else [`fault::install`](crate::fault::install) has succeeded before, on a
    ///   processor where [words can be reached](crate::fault#platforms), and nobody is given these addresses whose memory must
    ///   not be read.
    /// - There is no `&mut` to any of it that is used meanwhile. If it is memory that Rust knows of (a variable, a heap allocation),
    ///   `start` was derived from it, and all of it is initialized.
    /// - Who writes to them meanwhile does so by volatile or atomic accesses, by assembly, by slices like this one; or is no
    ///   part of this program (another process, the system, code that it interprets by such accesses, machine code made at run time).
    #[inline]
    pub unsafe fn from_raw_parts<'a>(start: *const u8, len: usize) -> &'a Self {
        let start = exposed(start.cast_mut(), len);
        // SAFETY: the caller's promise; not null.
        unsafe { Self::at(start, len) }
    }
}

impl WriteableProcessSlice {
    /// The `len` bytes from `start` on, as [`ReadableProcessSlice::from_raw_parts`].
    ///
    /// # Safety
    ///
    /// As [`ReadableProcessSlice::from_raw_parts`]; and as long as `'a` the bytes may be written to, with anything, in any
    /// thread: they can be written to as they can be read, there is no reference to any of them, shared ones included, that is used
    /// meanwhile, nobody relies on what they hold, and who reads them does so in the ways that are named there for writing.
    #[inline]
    pub unsafe fn from_raw_parts<'a>(start: *mut u8, len: usize) -> &'a Self {
        let start = exposed(start, len);
        // SAFETY: the caller's promise; not null.
        unsafe { Self::at(start, len) }
    }

    /// The same bytes, to be read.
    #[inline]
    pub fn as_readable(&self) -> &ReadableProcessSlice {
        let (start, len) = self.parts();
        // SAFETY: what may be written to may be read, as long as this slice is borrowed.
        unsafe { ReadableProcessSlice::at(start, len) }
    }
}

/// Not null, and of no bytes not the address that somebody gave.
#[inline]
fn exposed(start: *mut u8, len: usize) -> *mut u8 {
    if len == 0 {
        return NonNull::dangling().as_ptr();
    }
    let _address = start.expose_provenance();
    start
}

impl Deref for WriteableProcessSlice {
    type Target = ReadableProcessSlice;

    #[inline]
    fn deref(&self) -> &ReadableProcessSlice {
        self.as_readable()
    }
}

impl AsRef<ReadableProcessSlice> for ReadableProcessSlice {
    #[inline]
    fn as_ref(&self) -> &ReadableProcessSlice {
        self
    }
}

impl AsRef<ReadableProcessSlice> for WriteableProcessSlice {
    #[inline]
    fn as_ref(&self) -> &ReadableProcessSlice {
        self
    }
}

#[cold]
#[inline(never)]
#[track_caller]
#[expect(clippy::panic, reason = "documented, as of slices")]
fn lengths_differ(what: &str, one: usize, other: usize) -> ! {
    panic!("{what}: the process slice has {one} bytes, the other side {other}")
}
