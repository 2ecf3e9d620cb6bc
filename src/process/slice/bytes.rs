//! Bytes without a size: their address is all there is of them.

use crate::process::access;
use core::cell::UnsafeCell;
use core::fmt;
use core::panic::RefUnwindSafe;
use core::ptr;

/// A byte of a process's memory, to be read: what a [`ReadableProcessSlice`](super::ReadableProcessSlice) is made of.
///
/// It has no size: a reference to it is an address, and covers no memory.
///
/// ```
/// assert_eq!(size_of::<folio::process::ReadableProcessByte>(), 0);
/// ```
// The cell tells the compiler that what is behind a reference may change; without it, it would be told that nobody writes.
#[repr(transparent)]
pub struct ReadableProcessByte(UnsafeCell<()>);

/// A byte of a process's memory, to be read and written: what a [`WriteableProcessSlice`](super::WriteableProcessSlice) is made of.
///
/// It has no size: a reference to it is an address, and covers no memory.
#[repr(transparent)]
pub struct WriteableProcessByte(UnsafeCell<()>);

macro_rules! byte {
    ($byte:ident) => {
        // SAFETY: an address; any number of threads may access what is there (`access`).
        unsafe impl Sync for $byte {}

        impl RefUnwindSafe for $byte {}

        impl $byte {
            #[inline]
            fn place(&self) -> *mut u8 {
                ptr::with_exposed_provenance_mut(ptr::from_ref(self).addr())
            }

            /// What it is now. (0 if it has been [taken away](crate::process#memory-that-is-taken-away).)
            #[inline]
            pub fn get(&self) -> u8 {
                // SAFETY: a byte of a slice, which is borrowed.
                unsafe { access::read(self.place()) }.unwrap_or(0)
            }
        }

        /// The address.
        impl fmt::Debug for $byte {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($byte), "({:p})"), self.place())
            }
        }
    };
}

byte! { ReadableProcessByte }
byte! { WriteableProcessByte }

impl WriteableProcessByte {
    /// Writes it. (Lost if it has been [taken away](crate::process#memory-that-is-taken-away).)
    #[inline]
    pub fn set(&self, value: u8) {
        // SAFETY: a byte of a slice that may be written to, which is borrowed.
        let _lost = unsafe { access::write(self.place(), value) };
    }
}
