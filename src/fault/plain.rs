//! Types that any bytes are a value of.

/// Plain data: each pattern of bits is a value, none of its bytes is padding.
///
/// # Safety
///
/// Every pattern of `size_of::<Self>()` bytes is a valid value; no byte of a value is uninitialized (padding); nothing in it can be
/// changed through a shared reference.
///
/// # Examples
///
/// ```
/// use folio::fault::Plain;
///
/// #[derive(Clone, Copy)]
/// #[repr(C)]
/// struct Header {
///     length: u32,
///     kind: u32,
/// }
///
/// // SAFETY: two integers without a gap.
/// unsafe impl Plain for Header {}
/// ```
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($type:ty)*) => {$(
        // SAFETY: a number: all bits count, and any are allowed.
        unsafe impl Plain for $type {}
    )*};
}

plain! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

// SAFETY: one value after another, without gaps.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
