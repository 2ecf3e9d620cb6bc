//! `alloc`, `alloc_at`, `alloc_near`, and what becomes of an allocation.

mod common;

use common::{Helper, protections, role, skipped};
use folio::{
    Allocation, Capabilities, ErrorKind, Operation, Protection, alloc, alloc_at, alloc_near, page, query,
};
use std::ptr::without_provenance;

/// Every protection, or an error; nothing panics. Trap: writing alone had no Windows constant and panicked.
#[test]
fn every_protection_can_be_allocated() {
    for bits in 0..8 {
        let wanted = Protection::from_bits_truncate(bits);
        match alloc(1, wanted) {
            Ok(memory) => {
                let region = query(memory.as_ptr::<u8>()).unwrap();
                if protections().contains(&wanted) {
                    assert_eq!(region.protection(), wanted);
                } else {
                    assert!(region.protection().contains(wanted));
                }
            }
            Err(error) => assert!(!protections().contains(&wanted), "{wanted}: {error}"),
        }
    }
}

#[test]
fn memory_is_zeroed_whole_and_gone_after_the_drop() {
    let memory = alloc(3 * page::size() - 1, Protection::READ_WRITE).unwrap();
    assert_eq!(memory.len(), 3 * page::size());
    assert!(!memory.is_empty());
    assert_eq!(memory.as_range().len(), memory.len());
    let start = memory.as_ptr::<u8>();
    assert_eq!(start.addr() % page::granularity(), 0);
    assert_eq!(memory.as_ptr_range::<u8>(), start..start.wrapping_add(memory.len()));
    for offset in 0..memory.len() {
        let byte = start.wrapping_add(offset).cast_mut();
        // SAFETY: inside the allocation, which is writable.
        assert_eq!(unsafe { byte.read() }, 0);
        // SAFETY: as above.
        unsafe { byte.write(0xff) };
    }
}

#[test]
fn freed_memory_is_unmapped() {
    // In a process of its own: another thread's mapping may come into the hole.
    let test = "freed_memory_is_unmapped";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let memory = alloc(5 * page::size(), Protection::READ).unwrap();
    let start = memory.as_ptr::<u8>();
    assert!(query(start).is_ok());
    drop(memory);
    assert_eq!(query(start).unwrap_err().kind(), ErrorKind::Unmapped);

    let (address, len) = alloc(1, Protection::READ).unwrap().into_raw_parts::<u8>();
    // SAFETY: just taken apart.
    let again = unsafe { Allocation::from_raw_parts(address, len) };
    assert_eq!(again.as_range(), address.addr()..address.addr() + len);
    again.free().unwrap();
    assert_eq!(query(address).unwrap_err().kind(), ErrorKind::Unmapped);
}

/// Nothing wraps, nothing panics on what makes no sense.
#[test]
fn nonsense_is_an_error_that_says_so() {
    let beyond = Protection::from_bits_retain(8);
    for (len, protection, kind) in [
        (0, Protection::READ, ErrorKind::InvalidInput),
        (usize::MAX, Protection::READ, ErrorKind::InvalidInput),
        (isize::MAX.unsigned_abs() + 1, Protection::READ, ErrorKind::InvalidInput),
        (1, beyond, ErrorKind::InvalidInput),
    ] {
        for error in [
            alloc(len, protection).unwrap_err(),
            alloc_at(without_provenance::<u8>(1 << 30), len, protection).unwrap_err(),
            alloc_near(without_provenance::<u8>(1 << 30), 1 << 30, len, protection).unwrap_err(),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.operation(), Operation::Allocate);
        }
    }
    let most = isize::MAX.unsigned_abs() & !(page::size() - 1);
    // Half of all addresses: of 32 bits there may be so many.
    match alloc(most, Protection::READ_WRITE) {
        Ok(memory) => assert!(usize::BITS == 32 && memory.len() == most),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}"),
    }
    for address in [usize::MAX, usize::MAX - page::size(), usize::MAX - 2 * page::size()] {
        let error =
            alloc_at(without_provenance::<u8>(address), 3 * page::size(), Protection::READ).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    // A 32-bit program under a 64-bit kernel may have nearly all addresses.
    match alloc_at(without_provenance::<u8>(usize::MAX - 2 * page::size()), 1, Protection::READ) {
        Ok(memory) => assert!(usize::BITS == 32 && memory.len() == page::size()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
    }
    // The lowest pages are nobody's; Windows gives them to nobody, others only to privileged programs.
    if let Err(error) = alloc_at(std::ptr::null::<u8>(), 1, Protection::READ) {
        assert!(
            matches!(error.kind(), ErrorKind::NotPermitted | ErrorKind::InvalidInput | ErrorKind::Occupied),
            "{error}"
        );
    }
}

/// Trap: a fixed-address mapping offered as a safe function overwrote somebody's heap.
#[test]
fn what_is_there_is_never_replaced() {
    let there = alloc(4 * page::size(), Protection::READ_WRITE).unwrap();
    let bytes = there.as_ptr::<u8>().cast_mut();
    // SAFETY: inside the allocation, which is writable.
    unsafe { bytes.write_bytes(7, there.len()) };
    for (first, count) in [(0, 4), (0, 1), (1, 2), (3, 5)] {
        let at = bytes.wrapping_add(first * page::size());
        let error = alloc_at(at, count * page::size(), Protection::READ_WRITE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Occupied, "{error}");
        assert_eq!(error.range().unwrap().start, at.addr());
    }
    let local = 1_u8;
    assert_eq!(alloc_at(&raw const local, 1, Protection::NONE).unwrap_err().kind(), ErrorKind::Occupied);
    for offset in 0..there.len() {
        // SAFETY: as above.
        assert_eq!(unsafe { bytes.wrapping_add(offset).read() }, 7);
    }
}

#[test]
fn a_free_place_is_taken_exactly() {
    let test = "a_free_place_is_taken_exactly";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let spare = alloc(16 * page::granularity(), Protection::NONE).unwrap();
    let place = spare.as_ptr::<u8>().wrapping_add(8 * page::granularity());
    drop(spare);
    // Anywhere inside the first page, with an end inside the second one.
    let memory = alloc_at(place.wrapping_add(3), page::size(), Protection::READ_WRITE).unwrap();
    assert_eq!(memory.as_range(), place.addr()..place.addr() + 2 * page::size());
    // SAFETY: inside the allocation, which is writable.
    unsafe { memory.as_ptr::<u8>().cast_mut().write_bytes(1, memory.len()) };
    drop(memory);
    // Not on a boundary of the granularity.
    let odd = place.wrapping_add(page::granularity() - page::size());
    let memory = alloc_at(odd, page::size(), Protection::READ_WRITE).unwrap();
    assert_eq!(memory.as_range(), odd.addr()..odd.addr() + page::size());
    assert_eq!(query(odd).unwrap().protection(), Protection::READ_WRITE);
    drop(memory);
    assert!(query(odd).is_err());
}

#[test]
fn near_is_within_the_distance() {
    let code = near_is_within_the_distance as *const u8;
    for distance in [64 << 20, 128 << 20, 0x7fff_0000_usize] {
        for len in [1, 10 * page::size(), 1 << 20] {
            let memory = alloc_near(code, distance, len, Protection::READ_WRITE).unwrap();
            let range = memory.as_range();
            assert!(range.start.abs_diff(code.addr()) <= distance);
            assert!((range.end - 1).abs_diff(code.addr()) <= distance);
            assert_eq!(memory.len(), len.next_multiple_of(page::size()));
            // SAFETY: inside the allocation, which is writable.
            unsafe { memory.as_ptr::<u8>().cast_mut().write_bytes(1, memory.len()) };
        }
    }
}

/// Where there is no room there is an error, and the allocations between are left alone.
#[test]
fn near_comes_to_an_end() {
    let middle = alloc(64 * page::granularity(), Protection::READ_WRITE).unwrap();
    let address = middle.as_ptr::<u8>().wrapping_add(32 * page::granularity());
    let error = alloc_near(address, 16 * page::granularity(), 1, Protection::READ).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.remedy().is_some());
    let error = alloc_near(address, 1 << 30, (1 << 31) + 1, Protection::READ);
    assert!(error.is_err());
    for address in [0, usize::MAX] {
        let error = alloc_near(without_provenance::<u8>(address), 0, 1, Protection::READ).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::NotPermitted), "{error}");
    }
    // From the far ends a place is found if the distance lets.
    drop(alloc_near(without_provenance::<u8>(usize::MAX), usize::MAX, 1, Protection::READ).unwrap());
    drop(alloc_near(std::ptr::null::<u8>(), usize::MAX, 1, Protection::READ).unwrap());
}

/// Many at once, near one address: threads take each other's places.
#[test]
fn threads_find_room_near_one_address() {
    let code = near_is_within_the_distance as *const u8;
    let mut ranges: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let code = code.addr();
                scope.spawn(move || {
                    let code = without_provenance::<u8>(code);
                    (0..50)
                        .map(|_| alloc_near(code, 256 << 20, 1, Protection::READ_WRITE).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let kept: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        kept.iter().map(Allocation::as_range).collect()
    });
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert_eq!(ranges.len(), 200);
}

#[test]
fn a_sealed_allocation_stays() {
    let test = "a_sealed_allocation_stays";
    if !Capabilities::probe().seal() {
        let (memory, error) = alloc(1, Protection::READ).unwrap().seal().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(query(memory.as_ptr::<u8>()).is_ok());
        return skipped(test, "this system cannot seal");
    }
    let memory = alloc(2 * page::size(), Protection::READ_WRITE).unwrap();
    // SAFETY: inside the allocation, which is writable.
    unsafe { memory.as_ptr::<u8>().cast_mut().write(7) };
    let sealed = memory.seal().unwrap();
    let copy = sealed;
    assert_eq!((copy.as_range(), copy.len(), copy.is_empty()), (sealed.as_range(), 2 * page::size(), false));
    // SAFETY: pages of this test's own, to which nobody has references.
    let error = unsafe { folio::protect(sealed.as_ptr::<u8>(), 1, Protection::READ) }.unwrap_err();
    assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
    // SAFETY: as above.
    let guard = unsafe { folio::protect_with_handle(sealed.as_ptr::<u8>(), 1, Protection::READ) };
    assert_eq!(guard.unwrap_err().kind(), ErrorKind::NotPermitted);
    // SAFETY: given to nobody else; that it cannot be freed is the test.
    let again = unsafe { Allocation::from_raw_parts(sealed.as_mut_ptr::<u8>(), sealed.len()) };
    let (again, error) = again.free().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotPermitted, Operation::Free), "{error}");
    std::mem::forget(again);
    assert_eq!(query(sealed.as_ptr::<u8>()).unwrap().protection(), Protection::READ_WRITE);
    // SAFETY: still readable.
    assert_eq!(unsafe { sealed.as_ptr::<u8>().read() }, 7);
}
