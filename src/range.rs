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

    /// The pages from one address to another, both of which the caller knows to be those of a page's first byte and of the
    /// same or a later page's last one; `None` when they are not.
    pub(crate) fn between(first: usize, last: usize) -> Option<Self> {
        let mask = crate::page::mask();
        (first & mask == 0 && last & mask == mask && first < last).then_some(Self { first, last })
    }

    /// `len` bytes of whole pages from a page boundary on; `None` when `first` is none, or when they do not fit below the top of
    /// the address space.
    pub(crate) fn starting_at(first: usize, len: PageLen) -> Option<Self> {
        Self::between(first, first.checked_add(len.bytes().wrapping_sub(1))?)
    }

    /// The pages that both have.
    pub(crate) fn intersection(self, other: Self) -> Option<Self> {
        Self::between(self.first.max(other.first), self.last.min(other.last))
    }

    /// In bytes; `usize::MAX` for the whole address space, which is one more.
    pub(crate) fn len(self) -> usize {
        self.last.wrapping_sub(self.first).saturating_add(1)
    }

    /// As a length, unless it is longer than a pointer can span.
    pub(crate) fn page_len(self) -> Result<PageLen, Failure> {
        PageLen::covering(self.len())
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

/// A number of bytes that is a multiple of the page size, not zero, and at most `isize::MAX`: what Rust's pointers can span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageLen(usize);

impl PageLen {
    /// `len` rounded up to whole pages.
    pub(crate) fn covering(len: usize) -> Result<Self, Failure> {
        let mask = crate::page::mask();
        if len == 0 {
            return Err(Failure::invalid("a length of zero bytes"));
        }
        match len.checked_add(mask) {
            Some(raised) if raised & !mask <= isize::MAX.unsigned_abs() => Ok(Self(raised & !mask)),
            _ => Err(Failure::invalid("longer than any piece of memory can be: isize::MAX bytes")),
        }
    }

    /// In bytes.
    pub(crate) fn bytes(self) -> usize {
        self.0
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

    /// Trap: rounding a length upward near `usize::MAX` wrapped round to a small one.
    #[test]
    fn lengths_are_whole_pages_or_errors() {
        let page = crate::page::size();
        assert_eq!(PageLen::covering(1).unwrap().bytes(), page);
        assert_eq!(PageLen::covering(page).unwrap().bytes(), page);
        assert_eq!(PageLen::covering(page + 1).unwrap().bytes(), 2 * page);
        let most = isize::MAX.unsigned_abs() & !(page - 1);
        assert_eq!(PageLen::covering(most).unwrap().bytes(), most);
        for len in [0, most + 1, usize::MAX - page, usize::MAX - 1, usize::MAX] {
            assert!(PageLen::covering(len).is_err(), "{len:#x}");
        }
    }

    #[test]
    fn parts_of_ranges_are_ranges() {
        let page = crate::page::size();
        let five = PageRange::between(page, 6 * page - 1).unwrap();
        assert_eq!(five.len(), 5 * page);
        assert_eq!(five.intersection(PageRange::containing(3 * page)), Some(PageRange::containing(3 * page)));
        assert_eq!(five.intersection(PageRange::containing(6 * page)), None);
        assert_eq!(PageRange::touching(0, usize::MAX).unwrap().len(), usize::MAX);
        assert_eq!(PageRange::between(page, page - 1), None);
        assert_eq!(PageRange::between(1, page - 1), None);
        let len = PageLen::covering(2 * page).unwrap();
        assert_eq!(PageRange::starting_at(usize::MAX - page + 1, len), None);
        assert_eq!(PageRange::starting_at(usize::MAX - 2 * page + 1, len).unwrap().last(), usize::MAX);
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
