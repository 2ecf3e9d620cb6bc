//! Systems whose mappings stay as long as they are, and where they are: `lengthen` of every backend but that of Linux.

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
