//! Pages within reach of an address.

use super::owned::Allocation;
use super::{MapAt, pending, sensible};
use crate::error::{ErrorKind, Failure, Operation, Result};
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
/// A listing of the regions within the distance (see [`query_range`](crate::query_range)), for which the heap is used, two queries
/// of the [backing](crate::Process::backing) for each gap that is tried from the nearest on (mostly one or two), and the
/// allocation; all again for each place that was taken in between or that the system does not give, of which there are few.
///
/// # Errors
///
/// As [`alloc`](crate::alloc()) and [`query_range`](crate::query_range); and [`ErrorKind::Exhausted`] when there is no room for
/// so much within the distance. [`Error::range`](crate::Error::range) is where it was looked for. The lowest 64 KiB of the
/// address space are given to nobody.
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
    near(address.addr(), distance, len, protection, os::map_at)
}

/// The same, mapped in a certain way.
pub(crate) fn near(
    address: usize,
    distance: usize,
    len: usize,
    protection: Protection,
    map_at: MapAt,
) -> Result<Allocation> {
    pending::give_back();
    let here = PageRange::containing(address);
    let len =
        sensible(len, protection).map_err(|failure| failure.during(Operation::Allocate, Some(here), None))?;
    let reach =
        Reach { address, first: address.saturating_sub(distance), last: address.saturating_add(distance) };
    let window = reach.window();
    let given = search(&reach, window, len, |pages| map_at(pages, protection));
    match given {
        // SAFETY: `map_at` gave exactly these pages, to nobody else.
        Ok(base) => Ok(unsafe { Allocation::own(base, len.bytes()) }),
        Err(failure) => Err(failure.during(Operation::Allocate, Some(window), None)),
    }
}

/// How often another thread may be quicker.
const ROUNDS: usize = 1000;

/// How many gaps the system may refuse before it is taken for a refusal of what is asked for, not of the place: those below the
/// lowest address and above the highest one are few. Each costs a listing.
const REFUSALS: usize = 8;

/// Tries places from the nearest on.
fn search<T>(
    reach: &Reach,
    window: PageRange,
    len: PageLen,
    mut give: impl FnMut(PageRange) -> core::result::Result<T, Failure>,
) -> core::result::Result<T, Failure> {
    let mut refused = Vec::new();
    let mut last_refusal = None;
    let mut taken = None;
    for _ in 0..ROUNDS {
        if refused.len() >= REFUSALS {
            break;
        }
        let Some(place) = nearest(reach, window, len, &refused)? else { break };
        let failure = match give(place.pages) {
            Ok(given) => return Ok(given),
            Err(failure) => failure,
        };
        match failure.kind() {
            // Somebody was quicker. If the same place is found free once more, it is the system that keeps it.
            ErrorKind::Occupied if taken != Some(place.pages) => taken = Some(place.pages),
            ErrorKind::Occupied => refused.push(place.gap),
            ErrorKind::NotPermitted | ErrorKind::InvalidInput => {
                refused.push(place.gap);
                last_refusal = Some(failure);
            }
            _ => return Err(failure),
        }
    }
    Err(match last_refusal {
        // Refused for what it is, not for where: it says itself why.
        Some(failure) if failure.kind() == ErrorKind::NotPermitted => failure,
        _ => Failure::new(ErrorKind::Exhausted)
            .detail("there is no room for so much within the distance")
            .remedy("ask for less, or reach further"),
    })
}

/// Below this nobody gets anything: systems keep 64 KiB free, so that null pointers with an offset point to nothing.
const LOWEST: usize = 64 << 10;

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
        let lowest = self.first.max(gap.first()).max(LOWEST).checked_add(align_mask)? & !align_mask;
        // The last byte of all belongs to nobody.
        let last = self.last.min(gap.last()).min(usize::MAX ^ 1);
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
    let mut candidates = Vec::new();
    let mut consider = |gap: PageRange| {
        if refused.iter().all(|refused| refused.intersection(gap).is_none()) {
            if let Some(pages) = reach.nearest_in(gap, len) {
                candidates.push((reach.furthest(pages), gap));
            }
        }
    };
    // Also what stands near the window, if it may want to grow into it.
    let range = Reach {
        address: reach.address,
        first: window.first().saturating_sub(FOR_HEAP),
        last: window.last().saturating_add(FOR_STACK),
    }
    .window();
    let mut next = Some(range.first());
    let mut walk = os::Walk::new(&os::Target::CURRENT, range, Detail::Region)?;
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
    if let Some(gap) = next.and_then(|from| PageRange::between(from, range.last())) {
        consider(gap);
    }
    // What stands beside a gap is asked of the nearest gaps only, until none of the others can be better: there may be many
    // thousands, and where the text has to be read for it, a question costs as much as the listing.
    candidates.sort_unstable_by_key(|&(furthest, _)| furthest);
    let mut best: Option<(usize, Place)> = None;
    for (furthest, gap) in candidates {
        if best.as_ref().is_some_and(|&(best, _)| best <= furthest) {
            break;
        }
        let Some(pages) = room_to_grow(gap).and_then(|free| reach.nearest_in(free, len)) else { continue };
        let furthest = reach.furthest(pages);
        if best.as_ref().is_none_or(|&(best, _)| furthest < best) {
            best = Some((furthest, Place { gap, pages }));
        }
    }
    Ok(best.map(|(_, place)| place))
}

/// How much the stack may want below it, and the heap above it.
const FOR_STACK: usize = 256 << 20;
const FOR_HEAP: usize = 64 << 20;

/// The gap without what the heap below it or the stack above it may grow into.
fn room_to_grow(gap: PageRange) -> Option<PageRange> {
    let is = |address: Option<usize>, kind| {
        address.is_some_and(|address| {
            Process::current().backing(address).is_ok_and(|backing| backing.kind() == kind)
        })
    };
    let mut first = gap.first();
    let mut last = gap.last();
    if is(first.checked_sub(1), BackingKind::Heap) {
        first = first.saturating_add(FOR_HEAP);
    }
    if is(last.checked_add(1), BackingKind::Stack) {
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
            let best = (first.max(LOWEST.div_ceil(granule))..first + count)
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
    fn everywhere() -> (Reach, PageRange, PageLen) {
        let address = (everywhere as *const ()).addr();
        let reach = Reach { address, first: 0, last: usize::MAX };
        let window = reach.window();
        (reach, window, PageLen::covering(1).unwrap())
    }

    /// A place that is free to see and yet never given (a system that takes wishes only, a security module that forbids this
    /// protection everywhere) was tried a thousand times, and each time all was listed.
    #[test]
    fn what_is_never_given_is_soon_given_up() {
        let (reach, window, len) = everywhere();
        for kind in [ErrorKind::Occupied, ErrorKind::NotPermitted, ErrorKind::InvalidInput] {
            let mut tried = 0;
            let given = search::<()>(&reach, window, len, |_| {
                tried += 1;
                Err(Failure::new(kind).detail("why"))
            });
            let expected = if kind == ErrorKind::NotPermitted { kind } else { ErrorKind::Exhausted };
            assert_eq!(given.unwrap_err().kind(), expected);
            // Twice a gap where it is seen free; other tests' mappings come and go, and make gaps of their own.
            assert!((2..=8 * REFUSALS).contains(&tried), "{tried}");
        }
    }

    /// Somebody who is quicker once costs nothing but another round, also at the same place.
    #[test]
    fn what_was_taken_once_is_tried_again() {
        let (reach, window, len) = everywhere();
        let mut tried = 0;
        let given = search(&reach, window, len, |pages| {
            tried += 1;
            if tried == 1 { Err(Failure::new(ErrorKind::Occupied)) } else { Ok(pages) }
        });
        assert!(given.unwrap().first() >= LOWEST);
        assert_eq!(tried, 2);
    }

    /// The text of a refusal was that there is no room.
    #[test]
    fn a_refusal_says_why_itself() {
        let (reach, window, len) = everywhere();
        let refused = search::<()>(&reach, window, len, |_| {
            Err(Failure::new(ErrorKind::NotPermitted).detail("a policy forbids it"))
        });
        let error = refused.unwrap_err().during(Operation::Allocate, None, None);
        let text = alloc::format!("{error}");
        assert!(text.contains("a policy forbids it") && !text.contains("no room"), "{text}");
    }

    /// With the address among the lowest, which nobody gets, what lies above them in the same gap was given up, too.
    #[test]
    fn the_lowest_addresses_are_passed_over() {
        let len = PageLen::covering(1).unwrap();
        let gap = PageRange::between(0, PageRange::containing(8 << 20).last()).unwrap();
        let reach = Reach { address: 4096, first: 0, last: 1 << 20 };
        assert_eq!(reach.nearest_in(gap, len).unwrap().first(), LOWEST.next_multiple_of(page::granularity()));
    }

    /// The end of the heap, or the start of the stack.
    fn find(kind: BackingKind) -> Option<core::ops::Range<usize>> {
        let regions = Process::current().regions().unwrap().map(|region| region.unwrap().as_range());
        let mut of_kind = regions.filter(|range| {
            Process::current().backing(range.start).is_ok_and(|backing| backing.kind() == kind)
        });
        of_kind.next()
    }

    /// Of the room of a heap or a stack that stands just beside the window nothing was known.
    #[test]
    fn heap_and_stack_have_room_where_they_are_out_of_reach_themselves() {
        let len = PageLen::covering(1).unwrap();
        if let Some(heap) = find(BackingKind::Heap) {
            let first = heap.end + 16 * page::size();
            let reach = Reach { address: first, first, last: first + (1 << 20) };
            let place = nearest(&reach, reach.window(), len, &[]).unwrap();
            assert!(place.is_none_or(|place| place.pages.first() >= heap.end + FOR_HEAP), "{heap:x?}");
        }
        if let Some(stack) = find(BackingKind::Stack) {
            let last = stack.start - 512 * page::size();
            let reach = Reach { address: last, first: last - (1 << 20), last };
            let place = nearest(&reach, reach.window(), len, &[]).unwrap();
            assert!(place.is_none_or(|place| place.pages.last() < stack.start - FOR_STACK), "{stack:x?}");
        }
    }
}
