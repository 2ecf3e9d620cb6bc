//! Systems whose mappings stay as long as they are, and where they are: `lengthen` and its kin, of every backend but
//! that of Linux.

use crate::error::{ErrorKind, Failure};
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn lengthen(
    _range: PageRange,
    _len: PageLen,
    _moving: bool,
) -> Result<NonNull<u8>, Failure> {
    Err(Failure::new(ErrorKind::Unsupported)
        .detail("this system makes no mapping longer where it lies")
        .remedy("leave room when it is made (MmapOptions::room), or let it move (Pages::remap)"))
}

/// Whether pages can be moved to a place.
pub(crate) const fn moves_pages() -> bool {
    false
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn move_pages(_range: PageRange, _place: PageRange) -> Result<(), Failure> {
    Err(Failure::new(ErrorKind::Unsupported).detail("this system moves no mapping"))
}

/// # Safety
///
/// None: nothing is done.
#[cfg(feature = "allow_exec")]
pub(crate) unsafe fn replace_pages(_pages: PageRange, _place: PageRange) -> Result<(), Failure> {
    Err(Failure::new(ErrorKind::Unsupported).detail("this system moves no mapping"))
}

/// The system does not make pages larger because their mapping is aligned and long.
pub(crate) const fn no_transparent_unit() -> Option<usize> {
    None
}

/// Where superpages are taken for any mapping that has room for one: FreeBSD, by the sizes that amd64 and arm64 have.
pub(crate) const fn superpage() -> Option<usize> {
    Some(2 << 20)
}
