//! What can be said of allocations.

use crate::advice::Advice;
use core::ffi::{CStr, c_char};
use core::fmt;
use core::ptr::NonNull;

/// A number of bytes, in pieces of 4 KiB: half as long as a `usize`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bytes(u32);

impl Bytes {
    const PIECE: usize = 4096;

    pub(super) const NONE: Self = Self(0);

    /// Rounded up; more than there can be of address space, where it is more than fits.
    #[expect(
        clippy::as_conversions,
        reason = "compared before; and u32 fits where there are addresses of 32 bits"
    )]
    pub(super) const fn covering(bytes: usize) -> Self {
        let pieces = bytes.div_ceil(Self::PIECE);
        if pieces > u32::MAX as usize { Self(u32::MAX) } else { Self(pieces as u32) }
    }

    pub(super) fn bytes(self) -> usize {
        match self.0 {
            u32::MAX => usize::MAX,
            pieces => crate::range::index(pieces).saturating_mul(Self::PIECE),
        }
    }
}

/// A `&'static CStr` of one word.
#[derive(Clone, Copy)]
pub(super) struct Name(NonNull<c_char>);

// SAFETY: what a shared reference for ever was made of, and will be again.
unsafe impl Send for Name {}
// SAFETY: as for `Send`.
unsafe impl Sync for Name {}

impl Name {
    pub(super) const fn new(name: &'static CStr) -> Option<Self> {
        match NonNull::new(name.as_ptr().cast_mut()) {
            Some(first) => Some(Self(first)),
            None => None,
        }
    }

    pub(super) fn get(self) -> &'static CStr {
        // SAFETY: the first byte of a `CStr` that lives for ever, by a pointer to all of it.
        unsafe { CStr::from_ptr(self.0.as_ptr()) }
    }
}

/// The words: one literal may lie at several places.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Whether advice is about the time to come, and so can be given about memory that is not there yet.
pub(super) const fn lasts(advice: Advice) -> bool {
    match advice {
        Advice::Normal
        | Advice::Sequential
        | Advice::Random
        | Advice::HugePages
        | Advice::NoHugePages
        | Advice::Mergeable
        | Advice::Unmergeable => true,
        Advice::WillNeed | Advice::Cold | Advice::PageOut | Advice::Collapse => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_never_fewer_than_said() {
        for bytes in [0, 1, 4095, 4096, 4097, 1 << 31, usize::MAX / 2, usize::MAX - 1, usize::MAX] {
            assert!(Bytes::covering(bytes).bytes() >= bytes, "{bytes:#x}");
        }
        assert_eq!((Bytes::covering(0).bytes(), Bytes::covering(4097).bytes()), (0, 8192));
    }
}
