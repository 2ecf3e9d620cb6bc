//! Page sizes and page boundaries.
//!
//! Everything here is asked of the system once and then remembered: after the first call none of these functions makes
//! a system call, and none allocates.
//!
//! # Examples
//!
//! ```
//! use folio::page;
//!
//! let data = [0_u8; 100];
//! let first = page::floor(data.as_ptr());
//! assert_eq!(first.addr() % page::size(), 0);
//! assert!(first <= data.as_ptr());
//!
//! assert!(page::sizes().contains(page::base_size()));
//! println!("pages of {}, huge pages of {:?}", page::base_size(), page::huge_sizes());
//! ```

use crate::error::{Failure, Operation, Result};
use crate::os;
use crate::range::{index, wide};
use core::fmt;
use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A number that the system is asked for once; 0 stands for "not asked yet".
///
/// Relaxed is enough: the number carries no other memory with it, and two threads that ask at once get the same answer.
struct Once(AtomicUsize);

impl Once {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    #[inline]
    fn get(&self, ask: impl FnOnce() -> usize) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => {
                let answer = ask();
                self.0.store(answer, Ordering::Relaxed);
                answer
            }
            known => known,
        }
    }
}

impl Once {
    /// A set of page sizes; `None` (it could not be found out for now) is not remembered.
    fn sizes(&self, ask: fn() -> Option<PageSizes>) -> PageSizes {
        match self.0.load(Ordering::Relaxed) {
            0 => match ask() {
                Some(sizes) => {
                    self.0.store(sizes.marked(), Ordering::Relaxed);
                    sizes
                }
                None => PageSizes::EMPTY,
            },
            known => PageSizes::from_marked(known),
        }
    }
}

/// The size in bytes of the system's ordinary (smallest) page: a power of two, at least 512.
///
/// # Cost
///
/// No system call after the first one. Safe in a signal handler.
///
/// # Platforms
///
/// | Linux, Android | the least alignment that `madvise` takes, found by one to five calls of no effect: 4, 16 or 64 KiB |
/// |---|---|
/// | Windows | `GetSystemInfo`: 4 KiB |
/// | FreeBSD, NetBSD, OpenBSD, illumos | `sysconf(_SC_PAGESIZE)` |
/// | unsupported | 64 KiB, the page of WebAssembly |
#[inline]
pub fn size() -> usize {
    static SIZE: Once = Once::new();
    SIZE.get(os::page_size)
}

/// `size() - 1`: the bits of an address that lie inside its page.
#[inline]
pub(crate) fn mask() -> usize {
    size().wrapping_sub(1)
}

/// The page size as a [`PageSize`].
#[inline]
pub fn base_size() -> PageSize {
    // The page size is a power of two on every system; were it not, its lowest bit would still be one.
    PageSize { log2: size().trailing_zeros() }
}

/// The number of bytes to which the system aligns the start of a new mapping: a multiple of [`size`].
///
/// # Platforms
///
/// 64 KiB on Windows (`dwAllocationGranularity`), the page size elsewhere.
#[inline]
pub fn granularity() -> usize {
    static GRANULARITY: Once = Once::new();
    GRANULARITY.get(os::granularity)
}

/// The page boundary at or below `address`.
///
/// # Examples
///
/// ```
/// use core::ptr::without_provenance;
/// let size = folio::page::size();
/// assert_eq!(folio::page::floor(without_provenance::<u8>(size + 1)).addr(), size);
/// ```
#[inline]
#[must_use]
pub fn floor<T>(address: *const T) -> *const T {
    address.map_addr(|address| address & !mask())
}

/// The page boundary at or above `address`.
///
/// Above the last boundary of the address space there is none; an address in the last page gives that last boundary, as
/// in `region`. Use [`checked_ceil`] where this matters.
///
/// # Examples
///
/// ```
/// use core::ptr::without_provenance;
/// let size = folio::page::size();
/// assert_eq!(folio::page::ceil(without_provenance::<u8>(1)).addr(), size);
/// assert_eq!(folio::page::ceil(without_provenance::<u8>(size)).addr(), size);
/// assert_eq!(folio::page::ceil(without_provenance::<u8>(usize::MAX)).addr(), usize::MAX - size + 1);
/// ```
#[inline]
#[must_use]
pub fn ceil<T>(address: *const T) -> *const T {
    address.map_addr(|address| address.checked_add(mask()).unwrap_or(address) & !mask())
}

/// The page boundary at or above `address`.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when there is no such boundary: `address` lies above the
/// start of the last page.
///
/// # Examples
///
/// ```
/// use core::ptr::without_provenance;
/// assert_eq!(folio::page::checked_ceil(without_provenance::<u8>(1))?.addr(), folio::page::size());
/// assert!(folio::page::checked_ceil(without_provenance::<u8>(usize::MAX)).is_err());
/// # Ok::<(), folio::Error>(())
/// ```
pub fn checked_ceil<T>(address: *const T) -> Result<*const T> {
    match address.addr().checked_add(mask()) {
        Some(raised) => Ok(address.with_addr(raised & !mask())),
        None => Err(Failure::invalid("no page boundary lies above the last page").during(
            Operation::Page,
            Some(crate::range::PageRange::containing(address.addr())),
            None,
        )),
    }
}

/// Every page size that memory can have here: the ordinary one, [`huge_sizes`] and [`transparent_sizes`].
///
/// # Cost
///
/// The first call reads two folders of `/sys` on Linux; later ones make no system call.
pub fn sizes() -> PageSizes {
    huge_sizes().union(transparent_sizes()).with(base_size())
}

/// The sizes of huge pages that a mapping can ask for by name. Whether any are free is another question: see
/// [`Limits`](crate::Limits).
///
/// # Cost
///
/// The first call reads a folder of `/sys`; later ones make no system call.
///
/// # Platforms
///
/// | Linux, Android | `/sys/kernel/mm/hugepages`; empty where it cannot be read |
/// |---|---|
/// | Windows | `GetLargePageMinimum`; empty where the processor has none |
/// | illumos | `getpagesizes` |
/// | FreeBSD, NetBSD, OpenBSD, unsupported | empty |
pub fn huge_sizes() -> PageSizes {
    static SIZES: Once = Once::new();
    SIZES.sizes(os::huge_page_sizes)
}

/// The sizes that the system can give to ordinary memory by itself ("transparent huge pages"), whether they are switched
/// on or not.
///
/// # Platforms
///
/// Linux: `/sys/kernel/mm/transparent_hugepage/hugepages-*` (kernel 6.8), before that `hpage_pmd_size`. FreeBSD:
/// `getpagesizes`. Empty elsewhere.
///
/// # Cost
///
/// As [`huge_sizes`].
pub fn transparent_sizes() -> PageSizes {
    static SIZES: Once = Once::new();
    SIZES.sizes(os::transparent_page_sizes)
}

/// The size of a page: a power of two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    /// Invariant: below `usize::BITS`, so that the size in bytes is a `usize`.
    log2: u32,
}

impl PageSize {
    /// The size of 2^`log2` bytes; `None` when that is no `usize`.
    pub const fn from_log2(log2: u32) -> Option<Self> {
        if log2 < usize::BITS { Some(Self { log2 }) } else { None }
    }

    /// The size of `bytes` bytes; `None` when `bytes` is not a power of two.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self { log2: bytes.trailing_zeros() }) } else { None }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> NonZeroUsize {
        // `log2 < usize::BITS` (the field's invariant): the shift keeps the one bit, so the fallback is never taken.
        match NonZeroUsize::new(1_usize.wrapping_shl(self.log2)) {
            Some(bytes) => bytes,
            None => NonZeroUsize::MIN,
        }
    }

    /// The power of two: 12 for 4 KiB.
    pub const fn log2(self) -> u32 {
        self.log2
    }
}

/// As in `4 KiB`, `2 MiB`, `1 GiB`.
impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 5] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")];
        for (log2, unit) in UNITS {
            if let Some(rest) = self.log2.checked_sub(log2) {
                return write!(f, "{} {unit}", 1_u64.wrapping_shl(rest));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of page sizes, in ascending order.
///
/// # Examples
///
/// ```
/// let sizes = folio::page::sizes();
/// assert_eq!(sizes.smallest(), Some(folio::page::base_size()));
/// for size in sizes {
///     println!("{size}: {} bytes", size.bytes());
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PageSizes {
    /// Bit n stands for pages of 2^n bytes. Bit 0 (pages of a byte) is never set: the caches use it as "asked already".
    bits: usize,
}

impl PageSizes {
    /// No size at all.
    pub const EMPTY: Self = Self { bits: 0 };

    const ASKED: usize = 1;

    /// The set with `size` added.
    #[must_use]
    pub(crate) const fn with(self, size: PageSize) -> Self {
        self.union(Self { bits: size.bytes().get() })
    }

    /// The set without `size`.
    #[must_use]
    pub(crate) const fn without(self, size: PageSize) -> Self {
        Self { bits: self.bits & !size.bytes().get() }
    }

    /// The set with the size of `bytes` bytes added, if that is a power of two.
    #[must_use]
    #[allow(dead_code, reason = "the backend of an unsupported system knows one size only")]
    pub(crate) fn with_bytes(self, bytes: u64) -> Self {
        match usize::try_from(bytes).ok().and_then(PageSize::from_bytes) {
            Some(size) => self.with(size),
            None => self,
        }
    }

    const fn union(self, other: Self) -> Self {
        Self { bits: (self.bits | other.bits) & !Self::ASKED }
    }

    const fn marked(self) -> usize {
        self.bits | Self::ASKED
    }

    const fn from_marked(bits: usize) -> Self {
        Self { bits: bits & !Self::ASKED }
    }

    /// Whether `size` is in the set.
    pub const fn contains(self, size: PageSize) -> bool {
        self.bits & size.bytes().get() & !Self::ASKED != 0
    }

    /// The smallest size.
    pub fn smallest(self) -> Option<PageSize> {
        PageSize::from_log2(self.bits.trailing_zeros())
    }

    /// The largest size.
    pub fn largest(self) -> Option<PageSize> {
        self.bits.checked_ilog2().and_then(PageSize::from_log2)
    }

    /// How many sizes there are.
    pub fn len(self) -> usize {
        index(self.bits.count_ones())
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The sizes, in ascending order.
    pub fn iter(self) -> PageSizesIter {
        PageSizesIter { rest: self }
    }
}

impl IntoIterator for PageSizes {
    type Item = PageSize;
    type IntoIter = PageSizesIter;

    fn into_iter(self) -> PageSizesIter {
        self.iter()
    }
}

impl fmt::Debug for PageSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The sizes of a [`PageSizes`], in ascending order.
#[derive(Clone, Debug)]
pub struct PageSizesIter {
    rest: PageSizes,
}

impl Iterator for PageSizesIter {
    type Item = PageSize;

    fn next(&mut self) -> Option<PageSize> {
        let smallest = self.rest.smallest()?;
        self.rest.bits &= !smallest.bytes().get();
        Some(smallest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for PageSizesIter {}
impl core::iter::FusedIterator for PageSizesIter {}

/// The size of the page in bytes.
impl From<PageSize> for u64 {
    fn from(size: PageSize) -> Self {
        wide(size.bytes().get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use core::ptr;
    use proptest::prelude::*;

    #[test]
    fn the_page_size_is_a_power_of_two_and_divides_the_granularity() {
        assert!(size().is_power_of_two() && size() >= 512, "{}", size());
        assert_eq!(granularity() % size(), 0);
        assert_eq!(base_size().bytes().get(), size());
    }

    proptest! {
        #[test]
        fn floor_and_ceil_enclose_the_address(address: usize) {
            let pointer = ptr::without_provenance::<u16>(address);
            let (below, above) = (floor(pointer).addr(), ceil(pointer).addr());
            prop_assert!(below <= address && address - below < size());
            prop_assert_eq!(below % size(), 0);
            prop_assert_eq!(above % size(), 0);
            match checked_ceil(pointer) {
                Ok(checked) => {
                    prop_assert_eq!(checked.addr(), above);
                    prop_assert!(above >= address && above - address < size());
                }
                Err(_) => prop_assert_eq!(above, usize::MAX - size() + 1),
            }
        }
    }

    /// Trap: `query(usize::MAX)` overflowed; so would a naive `ceil`.
    #[test]
    fn the_ends_of_the_address_space_round_without_wrapping() {
        let top = usize::MAX - mask();
        for address in [usize::MAX, usize::MAX - 1, top + 1, top] {
            assert_eq!(ceil(ptr::without_provenance::<u8>(address)).addr(), top);
            assert_eq!(floor(ptr::without_provenance::<u8>(address)).addr(), top);
        }
        assert_eq!(ceil(ptr::null::<u8>()).addr(), 0);
        assert_eq!(checked_ceil(ptr::without_provenance::<u8>(top)).unwrap().addr(), top);
        let error = checked_ceil(ptr::without_provenance::<u8>(top + 1)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
    }

    /// Trap: page sizes stored as bytes where log2 was meant.
    #[test]
    fn bytes_and_log2_are_not_confused() {
        let size = PageSize::from_bytes(2 << 20).unwrap();
        assert_eq!((size.log2(), size.bytes().get()), (21, 2 << 20));
        assert_eq!(PageSize::from_log2(21), Some(size));
        assert_eq!(PageSize::from_log2(usize::BITS), None);
        for bytes in [0, 3, usize::MAX] {
            assert_eq!(PageSize::from_bytes(bytes), None);
        }
        let shown: Vec<_> =
            [9, 12, 14, 16, 21, 30].map(|log2| PageSize::from_log2(log2).unwrap().to_string()).into();
        assert_eq!(shown, ["512 B", "4 KiB", "16 KiB", "64 KiB", "2 MiB", "1 GiB"]);
    }

    #[test]
    fn a_set_of_sizes_is_a_set() {
        let set = PageSizes::EMPTY.with_bytes(1 << 21).with_bytes(1 << 12).with_bytes(3).with_bytes(1 << 21);
        assert_eq!(set.iter().map(PageSize::log2).collect::<Vec<_>>(), [12, 21]);
        assert_eq!((set.len(), set.iter().len()), (2, 2));
        assert_eq!(set.smallest().map(PageSize::log2), Some(12));
        assert_eq!(set.largest().map(PageSize::log2), Some(21));
        assert!(PageSizes::EMPTY.is_empty() && PageSizes::EMPTY.largest().is_none());
        assert_eq!(PageSizes::from_marked(set.marked()), set);
    }
}
