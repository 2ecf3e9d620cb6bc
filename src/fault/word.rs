//! Words that the processor can reach as a whole.

use super::Plain;

mod sealed {
    pub trait Sealed {}
}

/// An integer that the processor reads and writes as a whole: `u8`, `u16`, `u32`, `usize`, and `u64` where addresses have 64 bits.
pub trait Word: Plain + PartialEq + sealed::Sealed {
    #[doc(hidden)]
    fn from_wide(wide: usize) -> Self;
    #[doc(hidden)]
    fn to_wide(self) -> usize;
}

macro_rules! word {
    ($($type:ident)*) => {$(
        impl sealed::Sealed for $type {}

        impl Word for $type {
            #[inline]
            #[allow(clippy::as_conversions, trivial_numeric_casts, reason = "the lower bits are the word")]
            fn from_wide(wide: usize) -> Self {
                wide as Self
            }

            #[inline]
            #[allow(clippy::as_conversions, trivial_numeric_casts, reason = "at most as wide")]
            fn to_wide(self) -> usize {
                self as usize
            }
        }
    )*};
}

word! { u8 u16 u32 usize }
#[cfg(target_pointer_width = "64")]
word! { u64 }
