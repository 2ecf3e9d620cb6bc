//! Page-aligned ranges, and the few conversions between integers that cannot lose anything.

use crate::error::Failure;
use core::ops::Range;

/// One or more whole pages, from the first byte to the last one, both included.
///
/// Keeping the last byte instead of the end makes the range that reaches the top of the address space an ordinary one.
///
/// Invariants: `first` is a multiple of the page size; `last + 1` is one too (or would be 2^N); `first < last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageRange {
    first: usize,
    last: usize,
}

impl PageRange {
    /// The page that holds `address`.
    pub(crate) fn containing(address: usize) -> Self {
        let mask = crate::page::mask();
        Self { first: address & !mask, last: address | mask }
    }

    /// All pages that `[address, address + len)` touches, cut off at the top of the address space.
    pub(crate) fn touching(address: usize, len: usize) -> Result<Self, Failure> {
        let Some(before_end) = len.checked_sub(1) else {
            return Err(Failure::invalid("a length of zero bytes names no page"));
        };
        let mask = crate::page::mask();
        Ok(Self { first: address & !mask, last: address.saturating_add(before_end) | mask })
    }

    /// The address of the first byte.
    pub(crate) fn first(self) -> usize {
        self.first
    }

    /// The address of the last byte.
    pub(crate) fn last(self) -> usize {
        self.last
    }

    /// Half-open, for showing; the end saturates when it is the top of the address space.
    pub(crate) fn to_range(self) -> Range<usize> {
        self.first..self.last.saturating_add(1)
    }
}

/// `usize` into `u64`: no platform of Rust has wider addresses.
#[expect(clippy::as_conversions, reason = "usize has at most 64 bits on every target")]
pub(crate) const fn wide(value: usize) -> u64 {
    value as u64
}

/// `u32` into `usize`; folio needs at least 32-bit addresses.
#[expect(clippy::as_conversions, reason = "asserted below: usize has at least 32 bits")]
pub(crate) const fn index(value: u32) -> usize {
    const { assert!(usize::BITS >= 32, "folio needs addresses of 32 bits or more") };
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn touching_covers_the_bytes_and_nothing_further(address: usize, len: usize) {
            let page = crate::page::size();
            match PageRange::touching(address, len) {
                Err(_) => prop_assert_eq!(len, 0),
                Ok(range) => {
                    let last_byte = address.saturating_add(len - 1);
                    prop_assert!(range.first() <= address && last_byte <= range.last());
                    prop_assert!(address - range.first() < page && range.last() - last_byte < page);
                    prop_assert_eq!(range.first() % page, 0);
                    prop_assert_eq!(range.last() % page, page - 1);
                }
            }
        }
    }

    /// Trap: rounding an end upward near `usize::MAX` wrapped round to a low address.
    #[test]
    fn the_last_page_does_not_wrap() {
        let range = PageRange::touching(usize::MAX, usize::MAX).unwrap();
        assert_eq!(range.last(), usize::MAX);
        assert_eq!(range, PageRange::containing(usize::MAX));
        assert_eq!(range.to_range().end, usize::MAX);
        assert_eq!(PageRange::touching(0, usize::MAX).unwrap().last(), usize::MAX);
    }
}
