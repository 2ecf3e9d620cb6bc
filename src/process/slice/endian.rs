//! Integers whose bytes come in a given order.

use super::sealed::Sealed;
use crate::fault::Plain;

/// An integer that is read and written in a given order of bytes: `u8` to `u128`, `i8` to `i128`. (Nobody else can implement it.)
pub trait Endian: Plain + Sealed {
    #[doc(hidden)]
    fn of_le(self) -> Self;
    #[doc(hidden)]
    fn of_be(self) -> Self;
}

macro_rules! endian {
    ($($type:ident)*) => {$(
        impl Sealed for $type {}

        impl Endian for $type {
            #[inline]
            fn of_le(self) -> Self {
                // To and from are the same.
                Self::from_le(self)
            }

            #[inline]
            fn of_be(self) -> Self {
                Self::from_be(self)
            }
        }
    )*};
}

endian! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }
