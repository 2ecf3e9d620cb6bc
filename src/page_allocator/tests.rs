//! What can only be tested from inside: a system that refuses at each of its calls.

use super::PageAllocator;
use crate::os::inject::{fail_from, fail_nth};
use crate::page;
use core::alloc::Layout;
use core::ptr::NonNull;
use std::vec::Vec;

/// Codes that mean "not now", "not this", "not at all".
const REFUSED: &[i32] = if cfg!(windows) { &[8, 87, 487] } else { &[12, 22, 14, 1, 11] };

/// `EPERM`.
const FORBIDDEN: i32 = 1;

/// The calls that allocations are made of.
const CALLS: [&str; 7] = if cfg!(windows) {
    [
        "VirtualAlloc",
        "VirtualFree",
        "VirtualProtect",
        "VirtualLock",
        "VirtualUnlock",
        "VirtualQuery",
        "VirtualAllocExNuma",
    ]
} else {
    ["mmap", "munmap", "mremap", "mprotect", "madvise", "mlock", "munlock"]
};

const MIB: usize = 1 << 20;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// What is in the bytes of a block.
fn content<'a>(place: NonNull<u8>, len: usize) -> &'a [u8] {
    // SAFETY: a block of at least so many bytes, all of which are zeroes or were written, and are not while the reference is used.
    unsafe { core::slice::from_raw_parts(place.as_ptr(), len) }
}

/// Nothing is allocated on the heap between two looks at what is mapped: it may keep it.
static ZEROES: [u8; 8 * MIB] = [0; 8 * MIB];

fn is_zero(place: NonNull<u8>, bytes: core::ops::Range<usize>) -> bool {
    // Compared as one piece: a loop takes long in builds for tests.
    content(place, bytes.end)[bytes.start..] == ZEROES[..bytes.len()]
}

/// Something else for each place and each block.
fn fill(place: NonNull<u8>, len: usize, seed: u8) {
    for at in (0..len).step_by(509).chain([len - 1]) {
        // SAFETY: inside a block of so many bytes.
        let byte = unsafe { place.add(at) };
        // SAFETY: as above, and nobody has a reference.
        unsafe { byte.write((at % 251) as u8 ^ seed | 1) };
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Grow,
    Shrink,
    Discard(usize),
}

/// One change of a block under a failure: then it is as it was, or changed, and whole in each case.
fn change(
    allocator: PageAllocator,
    (old, new): (Layout, Layout),
    what: Change,
    before: &mut Vec<u8>,
    under: &dyn Fn(&mut dyn FnMut()) -> bool,
) -> bool {
    // What cannot be locked here is another test's matter.
    let Ok(place) = allocator.make(old) else { return false };
    fill(place, old.size(), 3);
    before.clear();
    before.extend_from_slice(content(place, old.size()));
    let mut now = (place, old);
    let failed = under(&mut || match what {
        // SAFETY: made for this layout.
        Change::Grow => match unsafe { allocator.lengthen(place, old, new) } {
            Ok(grown) => now = (grown, new),
            Err(error) => assert!(error.changed().is_none(), "{error}"),
        },
        Change::Shrink => {
            // SAFETY: as above.
            unsafe { allocator.shorten(place, old, new) }.unwrap();
            now = (place, new);
        }
        Change::Discard(kept) => {
            // SAFETY: as above.
            match unsafe { allocator.discard(place, old, kept) } {
                Err(error) if error.changed().is_some() => now = (place, new),
                _ => {}
            }
        }
    });
    let (place, layout) = now;
    assert_eq!(place.addr().get() % layout.align(), 0);
    let same = match what {
        Change::Discard(kept) => kept,
        _ => old.size().min(layout.size()),
    };
    let committed = allocator.committed(layout);
    assert!(content(place, committed)[..same] == before[..same], "{what:?} lost something");
    if let (Change::Grow, true) = (what, layout == new) {
        let fresh = allocator.committed(old).min(committed);
        assert!(is_zero(place, fresh..committed), "not zeroes");
    }
    fill(place, committed, 5);
    // What was given back is zeroes when it comes again.
    if let (Change::Shrink, true) = (what, old.align() == new.align()) {
        // SAFETY: made for this layout, and all that fits it.
        if let Ok(place) = unsafe { allocator.lengthen(place, new, old) } {
            assert!(is_zero(place, committed.min(old.size())..old.size()), "{allocator:?}");
            fill(place, old.size(), 9);
            // SAFETY: as above.
            unsafe { allocator.give_back(place, old) };
            return failed;
        }
    }
    // SAFETY: as above.
    unsafe { allocator.give_back(place, layout) };
    failed
}

fn allocators() -> Vec<PageAllocator> {
    let plain = PageAllocator::new();
    let size = page::size();
    [
        plain,
        plain.huge_pages(false),
        plain.reserved(200 << 10),
        plain.reserved(6 * MIB),
        plain.guard_before(size).guard_after(3 * size),
        plain.guard_after(1).reserved(300 << 10).name(c"guarded"),
        plain.locked(true),
        plain.locked(true).reserved(MIB).guard_before(1),
        plain.advice(crate::Advice::Random),
    ]
    .into()
}

fn changes() -> Vec<(Layout, Layout, Change)> {
    let size = page::size();
    [
        (layout(100, 8), layout(90_000, 8), Change::Grow),
        (layout(90_000, 8), layout(400_000, 8), Change::Grow),
        (layout(90_000, 8), layout(400_000, 4 * size), Change::Grow),
        (layout(90_000, MIB), layout(400_000, MIB), Change::Grow),
        (layout(300_000, 1), layout(4 * MIB, 1), Change::Grow),
        (layout(400_000, 8), layout(90_000, 8), Change::Shrink),
        (layout(5 * MIB, 8), layout(100, 8), Change::Shrink),
        (layout(400_000, 8), layout(90_000, 8), Change::Discard(90_000)),
    ]
    .into()
}

/// What is mapped in all. (Of a process that does nothing else.)
fn mapped() -> usize {
    let regions = crate::query_range(core::ptr::null::<u8>(), usize::MAX).unwrap();
    regions.map(|region| region.unwrap().as_range().len()).sum()
}

fn quietly() -> usize {
    // What waits to be given back is offered again.
    crate::allocation::give_back();
    mapped()
}

/// Whether this is a process of the test's own, where nobody else maps anything: else it is run in one.
fn alone(test: &str) -> bool {
    let test = std::format!("page_allocator::tests::{test}");
    if std::env::var("FOLIO_ALONE").is_ok_and(|name| name == test) {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env("FOLIO_ALONE", &test)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", std::string::String::from_utf8_lossy(&output.stderr));
    false
}

/// Every call refused once, or from some point on for ever: what could not be done leaves all as it was, and nothing behind.
#[test]
fn refused_calls_leave_whole_blocks_and_no_leaks() {
    if !alone("refused_calls_leave_whole_blocks_and_no_leaks") {
        return;
    }
    let counts = cfg!(any(target_pointer_width = "64", target_pointer_width = "32")) && !cfg!(windows);
    let mut spare = Vec::with_capacity(8 * MIB);
    let mut reached = 0;
    // On emulated machines some of them.
    let step = if crate::area::rounds(100) < 50 { 3 } else { 1 };
    for allocator in allocators().into_iter().step_by(step) {
        for (old, new, what) in changes() {
            // Once for what the heap and the book of locks need.
            let _first = change(allocator, (old, new), what, &mut spare, &|body| {
                body();
                false
            });
            for &code in REFUSED {
                // What is forbidden is not offered again; and where nothing works, it cannot be found out whose a place is.
                for (call, lasting, counted) in CALLS
                    .map(|call| (Some(call), true, true))
                    .into_iter()
                    .chain([(None, false, true), (None, true, false)])
                {
                    if lasting && code != REFUSED[0] {
                        continue;
                    }
                    for n in 0.. {
                        let before = quietly();
                        let failed = change(allocator, (old, new), what, &mut spare, &|body| {
                            if lasting {
                                fail_from(call, n, code, body).1
                            } else {
                                fail_nth(call, n, code, body).1
                            }
                        });
                        let after = quietly();
                        assert!(
                            before == after || !counts || !counted || code == FORBIDDEN,
                            "{allocator:?}, {old:?} to {new:?}, {what:?}: {call:?} {n}, {code}, {lasting}: {before} {after}"
                        );
                        if !failed {
                            break;
                        }
                        reached += 1;
                    }
                }
            }
        }
        for layout in [layout(1, 1), layout(70_000, 1 << 17), layout(5 * MIB, 8)] {
            for (n, lasting) in (0..40).flat_map(|n| [(n, false), (n, true)]) {
                let before = quietly();
                let made = || allocator.make(layout);
                let (made, failed) = if lasting {
                    fail_from(None, n, REFUSED[0], made)
                } else {
                    fail_nth(None, n, REFUSED[0], made)
                };
                if let Ok(place) = made {
                    fill(place, allocator.committed(layout), 1);
                    // SAFETY: made for this layout.
                    let gone = || unsafe { allocator.give_back(place, layout) };
                    if lasting { fail_from(None, 0, REFUSED[0], gone).0 } else { gone() }
                }
                let after = quietly();
                assert!(!counts || before == after, "{allocator:?}, {layout:?}: call {n}, {lasting}");
                if !failed {
                    break;
                }
                reached += 1;
            }
        }
    }
    assert!(reached > 200 / step, "{reached}");
}

on_linux! {
/// What the documentation counts.
#[test]
fn system_calls_are_as_few_as_said() {
    use crate::os::inject::calls_of;
    use allocator_api2::alloc::Allocator;
    let calls = |allocator: PageAllocator, sizes: &[usize], align| {
        let mut all = Vec::new();
        let mut now: Option<(NonNull<u8>, Layout)> = None;
        for &size in sizes {
            let next = layout(size, align);
            let (place, calls) = calls_of(|| match now {
                None => allocator.make(next).unwrap(),
                // SAFETY: made for this layout.
                Some((place, old)) if size > old.size() => unsafe { allocator.lengthen(place, old, next) }.unwrap(),
                Some((place, old)) => {
                    // SAFETY: as above.
                    unsafe { allocator.shorten(place, old, next) }.unwrap();
                    place
                }
            });
            now = Some((place, next));
            all.push(calls.join(" "));
        }
        let (place, last) = now.unwrap();
        // SAFETY: as above.
        let ((), gone) = calls_of(|| unsafe { allocator.give_back(place, last) });
        all.push(gone.join(" "));
        all
    };
    let pages = PageAllocator::new();
    let small = 3 * page::size();
    let few = calls(pages, &[small, small - 1, 20 * page::size(), small], 8);
    assert_eq!(few, ["mmap", "", "mremap", "munmap", "munmap"]);
    let reserved = calls(pages.reserved(MIB), &[small, MIB, small], 8);
    assert_eq!(reserved, ["mmap mprotect", "mprotect", "madvise mprotect", "munmap"]);
    let aligned = calls(pages, &[small, 20 * page::size()], MIB);
    assert!(["mmap munmap munmap", "mmap munmap"].contains(&&*aligned[0]), "{aligned:?}");
    assert!(aligned[1].ends_with("mremap") && aligned[2] == "munmap", "{aligned:?}");
    let huge = calls(pages, &[8 * MIB, 16 * MIB], 8);
    assert!(huge[0].ends_with("madvise") && huge[1].ends_with("mremap") && huge[2] == "munmap", "{huge:?}");
    let guarded = calls(pages.guard_before(1).guard_after(1), &[small, 20 * page::size(), small], 8);
    assert_eq!(guarded, ["mmap mprotect", "mmap mremap munmap munmap", "madvise mprotect munmap", "munmap"]);
    let named = calls(pages.name(c"named"), &[small, 20 * page::size()], 8);
    assert_eq!(named, ["mmap prctl", "mremap", "munmap"]);
    let advised = calls(pages.advice(crate::Advice::Random), &[small, 20 * page::size()], 8);
    assert_eq!(advised, ["mmap madvise", "mremap", "munmap"]);
    // It has become long enough for huge pages.
    let becomes_huge = calls(pages, &[small, 8 * MIB], 8);
    assert!(becomes_huge[1].ends_with("mremap madvise"), "{becomes_huge:?}");
    if pages.locked(true).make(layout(1, 1)).map(|place| {
        // SAFETY: made for this layout.
        unsafe { pages.locked(true).give_back(place, layout(1, 1)) };
    }).is_ok() {
        let locked = calls(pages.locked(true), &[small, 20 * page::size()], 8);
        // The lock goes along.
        assert_eq!(locked, ["mmap mlock", "mmap mremap", "munlock munmap"]);
        // What does not go along is unlocked.
        let (old, new) = (layout(9 * page::size(), 1), layout(page::size(), 1 << 22));
        let place = pages.locked(true).make(old).unwrap();
        // SAFETY: made for this layout.
        let shrink = || unsafe { pages.locked(true).shrink(place, old, new) }.unwrap();
        let (shrunk, calls) = calls_of(shrink);
        assert!(shrunk.cast() == place || calls.ends_with(&["mremap", "munlock", "munmap"]), "{calls:?}");
        // SAFETY: as above.
        unsafe { pages.locked(true).deallocate(shrunk.cast(), new) };
    }
}
}

on_linux! {
/// What was about to be memory, and cannot be locked, is address space again.
#[test]
fn growth_that_cannot_be_locked_leaves_no_access() {
    let pages = PageAllocator::new().locked(true).reserved(MIB);
    let (old, new) = (layout(1, 1), layout(MIB, 1));
    let Ok(place) = pages.make(old) else { return std::eprintln!("skipped: nothing can be locked") };
    let behind = place.as_ptr().cast_const().wrapping_add(page::size());
    // SAFETY: made for this layout.
    let (grown, failed) = fail_nth(Some("mlock"), 0, REFUSED[0], || unsafe { pages.lengthen(place, old, new) });
    assert!(failed && grown.is_err());
    assert!(crate::query(behind).unwrap().protection().is_empty());
    // SAFETY: as it was.
    unsafe { pages.give_back(place, old) };
}

/// Trap: a failed move that lost the place to another thread unmapped what was that thread's.
#[test]
fn what_others_took_meanwhile_is_left_alone() {
    use crate::os;
    use crate::range::PageRange;
    use core::cell::Cell;
    use std::rc::Rc;
    if !alone("what_others_took_meanwhile_is_left_alone") {
        return;
    }
    let size = page::size();
    let pages = PageAllocator::new().huge_pages(false).guard_before(1).guard_after(1);
    // Aligned, so that nothing lies directly about it; and of a length that nothing else has.
    let (old, new) = (layout(3 * size, MIB), layout(777 * size, MIB));
    let place = pages.make(old).unwrap();
    fill(place, old.size(), 1);
    let taken = Rc::new(Cell::new(None));
    let found = Rc::clone(&taken);
    crate::os::inject::just_before("mremap", move || {
        let all = crate::query_range(core::ptr::null::<u8>(), usize::MAX).unwrap().map(Result::unwrap);
        let mut spaces = all.filter(|region| region.protection().is_empty());
        let space = spaces.find(|region| region.as_range().len() == 779 * size).unwrap();
        let there = PageRange::touching(space.as_range().start + size, 777 * size).unwrap();
        // SAFETY: the place for the block, which is lost to another thread here.
        unsafe { os::unmap(there) }.unwrap();
        os::map_at(there, crate::Protection::READ).unwrap();
        os::inject::order("mremap", REFUSED[0]);
        found.set(Some(there));
    });
    // SAFETY: made for this layout.
    let error = unsafe { pages.lengthen(place, old, new) }.unwrap_err();
    assert!(error.changed().is_none(), "{error}");
    let there = taken.take().unwrap();
    let shown = |address| crate::query(core::ptr::without_provenance::<u8>(address));
    for page in [there.first(), there.last()] {
        assert_eq!(shown(page).unwrap().protection(), crate::Protection::READ);
    }
    assert!(shown(there.first() - 1).is_err() && shown(there.last() + 1).is_err(), "its guard pages stayed");
    fill(place, old.size(), 2);
    // SAFETY: the test's own.
    unsafe { os::unmap(there) }.unwrap();
    // SAFETY: as it was.
    unsafe { pages.give_back(place, old) };
}
}

#[test]
fn the_value_is_small() {
    let words = size_of::<PageAllocator>().div_ceil(size_of::<usize>());
    assert!(words <= 7, "{words}");
    if usize::BITS == 64 {
        assert_eq!(size_of::<PageAllocator>(), 32);
    }
}
