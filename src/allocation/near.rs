//! Pages within reach of an address.

use super::owned::Allocation;
use super::{pending, sensible};
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use crate::region::{BackingKind, Detail, Process};
use alloc::vec::Vec;

/// Allocates pages within reach of an address: at least `len` bytes, none of which is further than `distance` bytes from
/// `address`, as near to it as there is room.
///
/// For code that jumps to or from existing code, whose instructions reach ±2 GiB on x86-64 (`i32::MAX`, less the length of the
/// instruction) and ±128 MiB on arm64.
///
/// Where another thread takes the place that was found, the next is looked for. Room that the heap and the stack may still grow
/// into is left free.
///
/// # Cost
///
/// A listing of the regions within the distance (see [`query_range`](crate::query_range)), two queries and the allocation; again for
/// each place that was taken in between or that the system does not give.
///
/// # Errors
///
/// As [`alloc`](crate::alloc()) and [`query_range`](crate::query_range); and [`ErrorKind::Exhausted`] when there is no room for
/// so much within the distance. [`Error::range`] is where it was looked for.
///
/// # Platforms
///
/// All. On Windows the start is aligned to [`page::granularity`](crate::page::granularity).
///
/// # Examples
///
/// ```
/// use folio::Protection;
///
/// // Room for a trampoline to this function.
/// let function = folio::page::size as *const ();
/// let near = folio::alloc_near(function, 1 << 30, 100, Protection::READ_WRITE)?;
/// assert!(near.as_range().end.abs_diff(function.addr()) <= 1 << 30);
/// # Ok::<(), folio::Error>(())
/// ```
pub fn alloc_near<T>(
    address: *const T,
    distance: usize,
    len: usize,
    protection: Protection,
) -> Result<Allocation> {
    pending::give_back();
    let address = address.addr();
    let here = PageRange::containing(address);
    let len =
        sensible(len, protection).map_err(|failure| failure.during(Operation::Allocate, Some(here), None))?;
    let reach =
        Reach { address, first: address.saturating_sub(distance), last: address.saturating_add(distance) };
    let window = reach.window();
    let failed = |failure: Failure| failure.during(Operation::Allocate, Some(window), None);

    // Gaps in which the system gives nothing: below the lowest address, above the highest one.
    let mut refused = Vec::new();
    let mut last_failure = None;
    // Each round but the last was one in which somebody took the place, or in which a gap was ruled out, of which there are few.
    for _ in 0..ROUNDS {
        let Some(place) = nearest(&reach, window, len, &refused).map_err(failed)? else { break };
        match os::map_at(place.pages, protection) {
            // SAFETY: `map_at` gave exactly these pages, to nobody else.
            Ok(base) => return Ok(unsafe { Allocation::own(base, len.bytes()) }),
            Err(failure) if failure.kind() == ErrorKind::Occupied => last_failure = None,
            Err(failure) if matches!(failure.kind(), ErrorKind::NotPermitted | ErrorKind::InvalidInput) => {
                refused.push(place.gap);
                last_failure = Some(failure);
            }
            Err(failure) => return Err(failed(failure)),
        }
    }
    Err(none(window, last_failure))
}

const ROUNDS: usize = 1000;

#[cold]
fn none(window: PageRange, last_failure: Option<Failure>) -> Error {
    let failure = match last_failure {
        // Refused everywhere for what it is, not for where.
        Some(failure) if failure.kind() == ErrorKind::NotPermitted => failure,
        _ => Failure::new(ErrorKind::Exhausted),
    };
    failure
        .detail("there is no room for so much within the distance")
        .remedy("ask for less, or reach further")
        .during(Operation::Allocate, Some(window), None)
}

/// What is within reach: bytes from `first` to `last`.
struct Reach {
    address: usize,
    first: usize,
    last: usize,
}

impl Reach {
    /// The pages that have bytes within reach.
    fn window(&self) -> PageRange {
        let (low, high) = (PageRange::containing(self.first), PageRange::containing(self.last));
        PageRange::between(low.first(), high.last()).unwrap_or(low)
    }

    /// Where `len` bytes in a gap are nearest, aligned; `None` when they do not fit, or not within reach.
    fn nearest_in(&self, gap: PageRange, len: PageLen) -> Option<PageRange> {
        let align_mask = page::granularity().checked_sub(1)?;
        // The page at address 0 is nobody's, even where the system would give it.
        let lowest = self.first.max(gap.first()).max(1).checked_add(align_mask)? & !align_mask;
        // The last byte of all belongs to nobody.
        let last = self.last.min(gap.last()).min(usize::MAX.wrapping_sub(1));
        let highest = last.checked_sub(len.bytes().checked_sub(1)?)? & !align_mask;
        if lowest > highest {
            return None;
        }
        // The distance of the furthest byte is least with the address in the middle; of the boundaries on either side of that
        // place one is the best.
        let middle = self.address.saturating_sub(len.bytes() / 2) & !align_mask;
        let below = middle.clamp(lowest, highest);
        let above = middle.saturating_add(page::granularity()).clamp(lowest, highest);
        let range = |start| PageRange::starting_at(start, len);
        match (range(below), range(above)) {
            (Some(below), Some(above)) if self.furthest(below) < self.furthest(above) => Some(below),
            (_, above) => above,
        }
    }

    /// How far the byte is that is furthest away.
    fn furthest(&self, pages: PageRange) -> usize {
        pages.first().abs_diff(self.address).max(pages.last().abs_diff(self.address))
    }
}

struct Place {
    gap: PageRange,
    pages: PageRange,
}

/// The nearest place in a gap between regions that is not ruled out.
fn nearest(
    reach: &Reach,
    window: PageRange,
    len: PageLen,
    refused: &[PageRange],
) -> core::result::Result<Option<Place>, Failure> {
    let mut best: Option<Place> = None;
    let mut consider = |gap: PageRange| {
        if refused.iter().any(|refused| refused.intersection(gap).is_some()) {
            return;
        }
        let better =
            |pages| best.as_ref().is_none_or(|best| reach.furthest(pages) < reach.furthest(best.pages));
        let Some(pages) = reach.nearest_in(gap, len).filter(|&pages| better(pages)) else { return };
        let Some(free) = room_to_grow(gap, pages) else { return };
        if let Some(pages) = reach.nearest_in(free, len).filter(|&pages| better(pages)) {
            best = Some(Place { gap, pages });
        }
    };
    // From a page below the window on, so that what stands before the first gap is seen.
    let mut next = Some(window.first());
    let mut walk = os::Walk::new(&os::Target::CURRENT, window, Detail::Region)?;
    while let Some(region) = walk.step()? {
        if let (Some(from), Some(before)) = (next, region.base.checked_sub(1)) {
            if let Some(gap) = PageRange::between(from, before) {
                consider(gap);
            }
        }
        // Regions that changed while they were listed may come twice.
        next = match region.last().checked_add(1) {
            Some(after) => next.map(|from| from.max(after)),
            None => None,
        };
    }
    if let Some(gap) = next.and_then(|from| PageRange::between(from, window.last())) {
        consider(gap);
    }
    Ok(best)
}

/// How much the stack may want below it, and the heap above it.
const FOR_STACK: usize = 256 << 20;
const FOR_HEAP: usize = 64 << 20;

/// The gap without what the heap below it or the stack above it may grow into, if the place wanted is there.
fn room_to_grow(gap: PageRange, wanted: PageRange) -> Option<PageRange> {
    let kind = |address: Option<usize>| {
        let backing = Process::current().backing(address?).ok()?;
        Some(backing.kind())
    };
    let mut first = gap.first();
    let mut last = gap.last();
    if wanted.first().wrapping_sub(first) < FOR_HEAP && kind(first.checked_sub(1)) == Some(BackingKind::Heap)
    {
        first = first.saturating_add(FOR_HEAP);
    }
    if last.wrapping_sub(wanted.last()) < FOR_STACK && kind(last.checked_add(1)) == Some(BackingKind::Stack) {
        last = last.saturating_sub(FOR_STACK);
    }
    PageRange::between(first, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against trying every place.
        #[test]
        fn the_nearest_place_is_found(
            address in 0_usize..4000, distance in 0_usize..3000, first in 0_usize..40, count in 1_usize..20, len in 1_usize..9,
        ) {
            let granule = page::granularity();
            let scale = granule / 100;
            let address = address * scale;
            let distance = distance * scale;
            let reach = Reach {
                address,
                first: address.saturating_sub(distance),
                last: address.saturating_add(distance),
            };
            let gap = PageRange::between(first * granule, (first + count) * granule - 1).unwrap();
            let len = PageLen::covering(len * granule).unwrap();
            let best = (first.max(1)..first + count)
                .filter_map(|start| PageRange::starting_at(start * granule, len))
                .filter(|place| place.last() <= gap.last())
                .filter(|place| place.first() >= reach.first && place.last() <= reach.last)
                .map(|place| reach.furthest(place))
                .min();
            let found = reach.nearest_in(gap, len);
            prop_assert_eq!(found.map(|place| reach.furthest(place)), best);
            if let Some(place) = found {
                prop_assert!(place.first() >= gap.first() && place.last() <= gap.last());
                prop_assert_eq!(place.first() % granule, 0);
            }
        }
    }

    #[test]
    fn the_ends_of_the_address_space_do_not_wrap() {
        let len = PageLen::covering(1).unwrap();
        let top = PageRange::containing(usize::MAX);
        let reach = Reach { address: usize::MAX, first: 0, last: usize::MAX };
        assert_eq!(reach.nearest_in(top, len), None);
        let all = PageRange::between(0, top.last()).unwrap();
        assert!(reach.nearest_in(all, len).unwrap().last() < usize::MAX);
        let reach = Reach { address: 0, first: 0, last: 0 };
        assert_eq!(reach.nearest_in(all, len), None);
    }
}
