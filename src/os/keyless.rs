//! Systems without protection keys: `keys` of every backend but that of Linux.

use super::Rights;
use crate::error::{ErrorKind, Failure};
use crate::protection::Protection;
use crate::range::PageRange;

pub(crate) const COUNT: usize = 16;

fn unsupported() -> Failure {
    Failure::new(ErrorKind::Unsupported).detail("protection keys are a matter of Linux on x86 processors")
}

pub(crate) fn new() -> Result<u32, Failure> {
    Err(unsupported())
}

pub(crate) fn free(_key: u32) -> Result<(), Failure> {
    Err(unsupported())
}

/// # Safety
///
/// None: nothing is done.
pub(crate) unsafe fn assign(_range: PageRange, _protection: Protection, _key: u32) -> Result<(), Failure> {
    Err(unsupported())
}

pub(crate) fn rights(_key: u32) -> Rights {
    Rights::Closed
}

pub(crate) fn set_rights(_key: u32, _rights: Rights) {}
