//! Collections in pages, and what allocations do that no other allocator's do: places, memory, locks.
#![cfg(feature = "collections")]

mod common;

use allocator_api2::alloc::{Allocator, Layout};
use allocator_api2::{boxed::Box, vec::Vec};
use common::{role, say, shown, skipped};
use folio::{Advice, ErrorKind, Operation, PageAllocator, Process, Protection, page};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use std::ptr::NonNull;

const MIB: usize = 1 << 20;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// How much of these bytes is in memory.
fn resident(place: NonNull<u8>, len: usize) -> u64 {
    // SAFETY: of a live allocation, which is not written to meanwhile.
    common::resident(unsafe { std::slice::from_raw_parts(place.as_ptr(), len) })
}

fn counts_memory() -> bool {
    let local = 0_u8;
    let page = page::floor(&local);
    Process::current().usage(page.addr()).is_ok()
}

/// Trap: alignment above a page was not honoured; sizes near the largest wrapped round.
#[test]
fn layouts_are_honoured_or_refused() {
    let pages = PageAllocator::new();
    for align in (0..30).map(|shift| 1_usize << shift) {
        for size in [1, page::size(), 100_000] {
            match pages.allocate(layout(size, align)) {
                Ok(memory) => {
                    let place: NonNull<u8> = memory.cast();
                    assert_eq!(place.addr().get() % align, 0);
                    // SAFETY: given for this layout, and used no more.
                    unsafe { pages.deallocate(place, layout(size, align)) };
                }
                Err(_) => assert!(usize::BITS == 32 && align > 1 << 27),
            }
        }
    }
    let most = isize::MAX as usize;
    for (size, align) in
        [(most, 1), (most - 5000, 1), (most - 4 * MIB, 1), (1, 1 << (usize::BITS - 2)), (most & !63, 64)]
    {
        for pages in [pages, pages.huge_pages(false), pages.guard_before(1).guard_after(usize::MAX / 2)] {
            match pages.try_allocate(layout(size, align)) {
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Exhausted),
                        "{error}"
                    );
                    assert_eq!(error.operation(), Operation::Allocate);
                    assert!(pages.allocate_zeroed(layout(size, align)).is_err());
                }
                Ok(memory) => {
                    assert!(usize::BITS == 32 && memory.len() >= size, "nowhere are there so many addresses");
                    // SAFETY: given for this layout, and used no more.
                    unsafe { pages.deallocate(memory.cast(), layout(size, align)) };
                }
            }
        }
    }
    for pages in [pages.reserved(usize::MAX), pages.guard_before(usize::MAX), pages.guard_after(usize::MAX)] {
        assert_eq!(pages.try_allocate(layout(1, 1)).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!((pages.room(layout(1, 1)), pages.committed(layout(1, 1))), (0, 0));
        assert_eq!(pages.allocate(layout(0, 4096)).unwrap().len(), 0);
    }
    // What cannot become larger stays as it is.
    let small = layout(3, 1);
    let place: NonNull<u8> = pages.allocate(small).unwrap().cast();
    // SAFETY: a live allocation.
    unsafe { place.write(7) };
    // SAFETY: given for this layout.
    let refused = unsafe { pages.try_grow(place, small, layout(most, 1)) }.unwrap_err();
    assert_eq!(refused.operation(), Operation::Resize);
    // SAFETY: as it was.
    assert_eq!(unsafe { place.read() }, 7);
    // SAFETY: given for this layout, and used no more.
    unsafe { pages.deallocate(place, small) };
}

#[test]
fn of_nothing_there_is_nothing() {
    let pages = PageAllocator::new().locked(true).reserved(1 << 20);
    for align in [1, 16, 1 << 20] {
        let memory = pages.allocate(layout(0, align)).unwrap();
        assert_eq!((memory.len(), memory.cast::<u8>().addr().get()), (0, align));
        // SAFETY: given for these layouts.
        let grown = unsafe { pages.grow_zeroed(memory.cast(), layout(0, align), layout(0, 2 * align)) };
        assert_eq!(grown.unwrap().len(), 0);
        // SAFETY: as above.
        let shrunk = unsafe { pages.shrink(memory.cast(), layout(0, align), layout(0, 1)) };
        assert_eq!(shrunk.unwrap().len(), 0);
        // SAFETY: as above.
        unsafe { pages.deallocate(memory.cast(), layout(0, align)) };
    }
    let mut nothing: Vec<(), _> = Vec::new_in(pages);
    nothing.resize(1000, ());
    assert_eq!(nothing.len(), 1000);
}

/// Trap: doubling growth left the reservation at the last step.
#[test]
fn a_reservation_is_used_to_the_last_byte() {
    for (reserved, align) in [(100_001, 1), (5 * MIB + 1, 8), (64 << 10, 1 << 18)] {
        let pages = PageAllocator::new().reserved(reserved).guard_before(1).guard_after(1);
        let mut now = layout(1, align);
        let place: NonNull<u8> = pages.allocate(now).unwrap().cast();
        let start = place.addr().get();
        for size in (1..=reserved).step_by(70_001).chain([reserved - 1, reserved]) {
            // SAFETY: given for this layout.
            let grown = unsafe { pages.grow(place, now, layout(size, align)) }.unwrap();
            now = layout(size, align);
            assert_eq!(grown.cast(), place);
            // SAFETY: inside the allocation.
            let last = unsafe { place.add(size - 1) };
            // SAFETY: as above.
            unsafe { last.write(1) };
            let end = start + pages.committed(now);
            assert_eq!(shown(end - 1), Protection::READ_WRITE);
            assert_eq!(shown(end), Protection::NONE);
        }
        assert_eq!(pages.room(now), pages.committed(now));
        assert_eq!((shown(start - 1), shown(start + pages.room(now))), (Protection::NONE, Protection::NONE));
        // SAFETY: given for this layout, and used no more.
        unsafe { pages.deallocate(place, now) };
    }
}

/// Growth by moving page tables: what is in the pages is not touched, so that what never was in memory does not come in.
#[test]
fn growth_does_not_touch_pages() {
    let test = "growth_does_not_touch_pages";
    if !cfg!(any(target_os = "linux", target_os = "android")) || !counts_memory() {
        return skipped(test, "no system that moves pages, or that tells what is in memory");
    }
    let size = page::size();
    for (pages, align) in [
        (PageAllocator::new().huge_pages(false), 1),
        (PageAllocator::new().huge_pages(false), 1 << 22),
        (PageAllocator::new().huge_pages(false).guard_before(1).guard_after(1), 1),
        (PageAllocator::new(), 1),
    ] {
        let (old, new) = (layout(12 * MIB, align), layout(32 * MIB, align));
        let place: NonNull<u8> = pages.allocate(old).unwrap().cast();
        for at in [0, 5 * MIB, 12 * MIB - 1] {
            // SAFETY: inside the allocation.
            let byte = unsafe { place.add(at) };
            // SAFETY: as above.
            unsafe { byte.write(9) };
        }
        let before = resident(place, old.size());
        // SAFETY: given for this layout.
        let grown: NonNull<u8> = unsafe { pages.grow(place, old, new) }.unwrap().cast();
        let after = resident(grown, new.size());
        assert_eq!(before, after, "{pages:?}");
        assert!(after <= 3 * (2 * MIB).max(size) as u64);
        for (at, byte) in [(0, 9), (1, 0), (5 * MIB, 9), (12 * MIB - 1, 9), (12 * MIB, 0), (32 * MIB - 1, 0)]
        {
            // SAFETY: inside the allocation.
            let place = unsafe { grown.add(at) };
            // SAFETY: as above.
            assert_eq!(unsafe { place.read() }, byte);
        }
        // SAFETY: given for this layout, and used no more.
        unsafe { pages.deallocate(grown, new) };
    }
}

/// Trap: decommitting did nothing. The resident set falls, and what comes again is zeroes.
#[test]
fn what_shrinks_gives_its_memory_back() {
    let test = "what_shrinks_gives_its_memory_back";
    for pages in [PageAllocator::new().huge_pages(false), PageAllocator::new().reserved(16 * MIB)] {
        let mut bytes = Vec::with_capacity_in(16 * MIB, pages);
        bytes.resize(16 * MIB, 1_u8);
        let place = bytes.as_ptr();
        bytes.truncate(MIB);
        bytes.shrink_to(5 * MIB);
        assert_eq!(bytes.as_ptr(), place);
        if pages.room(layout(1, 1)) > MIB {
            let committed = pages.committed(layout(bytes.capacity(), 1));
            assert_eq!(shown(place.addr() + committed), Protection::NONE);
            bytes.reserve_exact(15 * MIB);
            assert_eq!(bytes.as_ptr(), place);
            if counts_memory() {
                let left = resident(NonNull::new(place.cast_mut()).unwrap(), 16 * MIB);
                assert!(left <= committed as u64, "{left}");
            } else {
                skipped(test, "this system does not tell what is in memory");
            }
            // SAFETY: all of it has memory; zeroes are bytes.
            unsafe { bytes.set_len(16 * MIB) };
            assert!(bytes[6 * MIB..].iter().all(|&byte| byte == 0));
        }
        assert!(bytes[..MIB].iter().all(|&byte| byte == 1));
    }
}

#[test]
fn guard_pages_end_the_process() {
    const TEST: &str = "guard_pages_end_the_process";
    let pages = PageAllocator::new().guard_before(1).guard_after(1);
    if let Some(place) = role() {
        let mut bytes = Vec::with_capacity_in(page::size(), pages);
        bytes.push(1_u8);
        let first = bytes.as_mut_ptr();
        let touched =
            if place == "before" { first.wrapping_sub(1) } else { first.wrapping_add(page::size()) };
        say("ready");
        // SAFETY: none: this is to end the process.
        unsafe { touched.write_volatile(1) };
        say("survived");
        return;
    }
    for place in ["before", "behind"] {
        let mut child = common::Helper::start(TEST, place);
        assert_eq!(child.line(), "ready");
        assert!(!child.wait().success(), "{place}");
    }
}

#[test]
fn locks_are_counted_and_end() {
    let test = "locks_are_counted_and_end";
    let locked =
        |address: usize| Process::current().usage(address).map(|usage| usage.locked().map(|bytes| bytes > 0));
    for pages in [
        PageAllocator::new().locked(true),
        PageAllocator::new().locked(true).reserved(32 * page::size()),
        PageAllocator::new().locked(true).guard_before(1).guard_after(1),
    ] {
        let size = page::size();
        let (small, large) = (layout(2 * size, 1), layout(9 * size, 1));
        let place: NonNull<u8> = match pages.try_allocate(small) {
            Ok(memory) => memory.cast(),
            Err(error) => {
                assert_eq!(error.operation(), Operation::Lock);
                return skipped(test, &format!("{error}"));
            }
        };
        let start = place.addr().get();
        // Another lock of the same pages, which ends before.
        drop(folio::lock(place.as_ptr(), size).unwrap());
        let told = locked(start).is_ok_and(|locked| locked == Some(true));
        if !told && cfg!(any(target_os = "linux", target_os = "android")) {
            assert!(locked(start).is_err() || locked(start).unwrap().is_none(), "a lock inside ended it");
        }
        // SAFETY: given for this layout.
        let grown: NonNull<u8> = unsafe { pages.grow(place, small, large) }.unwrap().cast();
        let address = grown.addr().get();
        // Its count has come along.
        drop(folio::lock(grown.as_ptr(), 9 * size).unwrap());
        if told {
            for number in 0..9 {
                assert_eq!(locked(address + number * size).unwrap(), Some(true), "{pages:?}, page {number}");
            }
        }
        // SAFETY: as above.
        let shrunk = unsafe { pages.shrink(grown, large, small) }.unwrap();
        assert_eq!(shrunk.cast(), grown);
        drop(folio::lock(grown.as_ptr(), size).unwrap());
        if told {
            assert_eq!(locked(address + size).unwrap(), Some(true));
            if pages.room(small) > 2 * size {
                assert_ne!(locked(address + 2 * size).unwrap(), Some(true));
            }
        }
        // SAFETY: given for this layout, and used no more.
        unsafe { pages.deallocate(grown, small) };
    }
}

/// What a user has locked, protected or advised in the middle makes several mappings of one: these are copied.
#[test]
fn what_others_have_split_is_copied() {
    let size = page::size();
    let pages = PageAllocator::new();
    let mut numbers: Vec<u8, _> = Vec::with_capacity_in(8 * size, pages);
    numbers.resize(8 * size, 3);
    let lock = folio::lock(&numbers[3 * size], 1).ok();
    numbers.reserve_exact(100 * size);
    drop(lock);
    assert!(numbers.iter().all(|&byte| byte == 3));
    numbers.resize(100 * size, 4);
    assert!(numbers[8 * size..].iter().all(|&byte| byte == 4));
}

#[test]
fn maps_and_sets_are_as_those_of_std() {
    for pages in [PageAllocator::new(), PageAllocator::new().reserved(1 << 20).guard_after(1)] {
        let mut map = HashMap::with_hasher_in(DefaultHashBuilder::default(), pages);
        let mut set = HashSet::with_hasher_in(DefaultHashBuilder::default(), pages);
        let mut real = std::collections::HashMap::new();
        let mut state = 88_172_645_463_325_252_u64;
        for step in 0..60_000_u64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let key = state % 20_000;
            if state & (1 << 40) == 0 {
                assert_eq!(map.insert(key, step.to_string()), real.insert(key, step.to_string()));
                set.insert(key);
            } else {
                assert_eq!(map.remove(&key), real.remove(&key));
                set.remove(&key);
            }
            match step % 9_000 {
                0 => map.shrink_to_fit(),
                1 => set.reserve(50_000),
                _ => {}
            }
        }
        assert_eq!(map.len(), real.len());
        assert_eq!(set.len(), real.len());
        assert!(real.iter().all(|(key, word)| map.get(key) == Some(word) && set.contains(key)));
        let copy = map.clone();
        drop(map);
        assert!(copy.iter().all(|(key, word)| real.get(key) == Some(word)));
    }
}

#[test]
fn boxes_vectors_and_refusals() {
    #[repr(align(65536))]
    struct Aligned([u8; 100]);
    let pages = PageAllocator::new().name(c"boxes").advice(Advice::Random);
    let boxed = Box::new_in(Aligned([7; 100]), pages);
    assert_eq!((&raw const *boxed).addr() % 65536, 0);
    assert_eq!(boxed.0[99], 7);
    let mut words = Vec::new_in(pages);
    for number in 0..10_000_u32 {
        words.push(number.to_string());
    }
    let halves = words.split_off(5_000);
    assert_eq!((words[4_999].as_str(), halves[0].as_str()), ("4999", "5000"));
    words.shrink_to_fit();
    let mut bytes: Vec<u8, _> = Vec::new_in(pages);
    assert!(bytes.try_reserve(isize::MAX as usize - 4096).is_err());
    assert!(bytes.try_reserve(usize::MAX).is_err());
    bytes.push(1);
}

#[test]
fn equal_options_are_equal_allocators() {
    const ALL: PageAllocator = PageAllocator::new()
        .reserved(1 << 20)
        .huge_pages(false)
        .advice(Advice::Sequential)
        .numa_node(3)
        .name(c"everything")
        .locked(true)
        .guard_before(1)
        .guard_after(8192);
    assert_eq!(PageAllocator::default(), PageAllocator::new());
    assert_ne!(ALL, PageAllocator::new());
    // The same word at another place.
    static OTHER: [u8; 11] = *b"everything\0";
    let other = std::ffi::CStr::from_bytes_with_nul(&OTHER).unwrap();
    assert_eq!(ALL, ALL.name(other));
    assert_ne!(ALL, ALL.name(c"something"));
    let text = format!("{ALL:?}");
    for word in ["1048576", "false", "Sequential", "Some(3)", "everything", "true", "4096", "8192"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let none = PageAllocator::new().numa_node(u32::MAX).try_allocate(layout(1, 1)).unwrap_err();
    assert!(
        matches!(none.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::NotPermitted),
        "{none}"
    );
}

/// On huge pages, where there are some: begun on their multiples, and growing by whole ones.
#[test]
fn large_allocations_are_made_for_huge_pages() {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return skipped("large_allocations_are_made_for_huge_pages", "no system with such pages");
    }
    let pages = PageAllocator::new();
    assert_eq!(pages.committed(layout(4 * MIB, 1)), 4 * MIB);
    assert_eq!(pages.committed(layout(4 * MIB + 1, 1)), 6 * MIB);
    assert_eq!(pages.committed(layout(3 * MIB + 1, 1)), 3 * MIB + page::size());
    assert_eq!(pages.huge_pages(false).committed(layout(4 * MIB + 1, 1)), 4 * MIB + page::size());
    for pages in [pages, pages.guard_before(1), pages.reserved(33 * MIB)] {
        let mut now = layout(5 * MIB, 8);
        let mut place: NonNull<u8> = pages.allocate(now).unwrap().cast();
        for size in [5 * MIB, 11 * MIB, 60 * MIB] {
            // SAFETY: given for this layout.
            place = unsafe { pages.grow(place, now, layout(size, 8)) }.unwrap().cast();
            now = layout(size, 8);
            assert_eq!(place.addr().get() % (2 * MIB), 0, "{pages:?}");
        }
        // SAFETY: given for this layout, and used no more.
        unsafe { pages.deallocate(place, now) };
    }
}
