//! Systems that map the same memory once, or (those of Apple) on which nobody has tried to execute the second mapping: `map_twice` and its
//! kin.

use super::{Place, Twice};
use crate::error::{ErrorKind, Failure};
use crate::range::{PageLen, PageRange};

fn unsupported() -> Failure {
    Failure::new(ErrorKind::Unsupported).detail("on this system memory is mapped once")
}

pub(crate) fn map_twice(_len: PageLen, _place: Place) -> Result<Twice, Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn empty_twice(_data: PageRange) -> Result<usize, Failure> {
    Err(unsupported())
}
