//! What a vector in pages promises besides being a vector: where its elements lie, what memory it has, how it fails.
#![cfg(feature = "collections")]

mod common;

use common::skipped;
use folio::{Advice, ErrorKind, Operation, PageAllocator, PagedVec, page, query};
use std::ops::{Bound, RangeBounds};
use std::panic::catch_unwind;

/// How many pages of the vector's memory are in memory, where the system tells.
fn resident<T>(vec: &PagedVec<T>, test: &str) -> Option<usize> {
    match vec.resident(..) {
        Ok(count) => Some(count),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            skipped(test, "the system does not tell what is in memory");
            None
        }
    }
}

fn full(elements: usize) -> PagedVec<u64> {
    let mut vec = PagedVec::with_reserved(elements);
    vec.extend(1..=u64::try_from(elements).unwrap());
    vec
}

/// Trap: doubling growth left the reservation at the last step and moved the elements after all.
#[test]
fn elements_do_not_move_up_to_the_last_reserved_one() {
    fn check<T: Clone + PartialEq + std::fmt::Debug>(elements: usize, value: T) {
        let mut vec = PagedVec::with_reserved(elements);
        let (first, reserved) = (vec.as_ptr(), vec.reserved());
        assert!(reserved >= elements && vec.capacity() < elements.max(2));
        for count in 0..elements {
            vec.push(value.clone());
            assert_eq!(vec.as_ptr(), first, "{count} of {elements}");
            assert_eq!(vec.reserved(), reserved);
        }
        // By each of what grows in other ways, too, up to the last one.
        for _ in 0..2 {
            vec.truncate(elements / 3);
            vec.shrink_to(0).unwrap();
            vec.reserve(elements / 2 - vec.len());
            vec.extend_from_within(..elements / 8);
            vec.insert(0, value.clone());
            vec.splice(1..2, [value.clone(), value.clone(), value.clone()]);
            let mut others = vec.split_off(vec.len() / 2);
            vec.append(&mut others);
            vec.resize(elements - 1, value.clone());
            vec.extend([value.clone()]);
            assert_eq!((vec.len(), vec.as_ptr()), (elements, first));
        }
        assert!(vec.iter().all(|element| *element == value));
        // Behind it, it goes on, wherever that is.
        vec.resize(reserved + 10, value.clone());
        assert!(vec.reserved() >= vec.capacity() && vec.capacity() >= reserved + 10);
        assert!(vec.iter().all(|element| *element == value));
    }
    let size = page::size();
    check(10_000, 7_u64);
    // Not a number that doubling meets, of a size that no page holds a whole number of.
    check(3 * size / 24 + 5, [7_u64; 3]);
    check(5 * size + 1, 7_u8);
    check(19, [7_u8; 5000]);
}

/// Trap: doubling growth left the reservation at the last step: of each operation, where two pages of three are full.
#[test]
fn no_operation_doubles_beyond_what_is_reserved() {
    let operations: [fn(&mut PagedVec<u64>); 14] = [
        |vec| vec.push(7),
        |vec| vec.try_push(7).unwrap(),
        |vec| vec.insert(0, 7),
        |vec| vec.append(&mut PagedVec::from([7])),
        |vec| vec.extend([7]),
        |vec| vec.extend([6, 7].into_iter().filter(|number| *number == 7)),
        |vec| vec.extend_from_slice(&[7]),
        |vec| vec.try_extend_from_slice(&[7]).unwrap(),
        |vec| vec.extend_from_within(..1),
        |vec| vec.resize(vec.len() + 1, 7),
        |vec| vec.resize_with(vec.len() + 1, || 7),
        |vec| drop(vec.splice(1..1, [7])),
        |vec| drop(vec.splice(..0, [6, 7].into_iter().filter(|number| *number == 7))),
        |vec| vec.clone_from(&PagedVec::from(vec![7; vec.len() + 1])),
    ];
    let full = 2 * page::size() / 8;
    for (number, operation) in operations.into_iter().enumerate() {
        let mut vec = PagedVec::with_reserved(full + 1);
        vec.resize(full, 7);
        assert_eq!(vec.capacity(), full);
        let (first, reserved) = (vec.as_ptr(), vec.reserved());
        operation(&mut vec);
        assert_eq!((vec.as_ptr(), vec.reserved()), (first, reserved), "{number}");
        assert!(vec.len() == full + 1 && vec.iter().all(|number| *number == 7), "{number}");
    }
}

/// Trap: a capacity test in bytes let a 24-byte element straddle the end.
#[test]
fn the_last_element_ends_within_the_memory() {
    for elements in [1, 170, 171, 1000] {
        let mut vec = PagedVec::<[u8; 24]>::with_capacity(elements);
        let capacity = vec.capacity();
        assert!(capacity >= elements);
        while vec.len() < capacity {
            vec.push_within_capacity([7; 24]).unwrap();
        }
        assert_eq!(vec.capacity(), capacity);
        assert_eq!(vec.push_within_capacity([8; 24]), Err([8; 24]));
        let last = vec.as_ptr_range().end.addr() - 1;
        let region = query(std::ptr::without_provenance::<u8>(last)).unwrap();
        assert!(region.protection().contains(folio::Protection::READ_WRITE));
        assert!(vec.iter().all(|element| *element == [7; 24]));
    }
}

/// Trap: `remove` left a stale copy that was dropped again on the next push: double free.
#[test]
fn what_is_removed_is_dropped_once() {
    let element = std::rc::Rc::new(());
    let mut vec = PagedVec::from(vec![element.clone(); 10]);
    for index in [0, 4, 7] {
        let removed = vec.remove(index);
        vec.push(removed);
        drop(vec.swap_remove(index));
        vec.push(element.clone());
    }
    assert_eq!(std::rc::Rc::strong_count(&element), 11);
    drop(vec);
    assert_eq!(std::rc::Rc::strong_count(&element), 1);
}

/// Trap: `capacity * size_of::<T>()` wrapped.
#[test]
fn capacities_near_the_end_of_numbers_are_refused() {
    fn check<T: Default + Clone + std::fmt::Debug>() {
        let least = isize::MAX.unsigned_abs() / size_of::<T>() + 1;
        for count in
            [least, least + 1, usize::MAX / size_of::<T>(), usize::MAX / size_of::<T>() + 1, usize::MAX]
        {
            let error = PagedVec::<T>::try_with_capacity(count).unwrap_err();
            assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Allocate));
            assert!(error.to_string().contains("capacity overflow"), "{error}");
            assert_eq!(PagedVec::<T>::try_with_reserved(count).unwrap_err().kind(), ErrorKind::InvalidInput);
            let mut vec = PagedVec::<T>::default();
            vec.resize(3, T::default());
            let first = vec.as_ptr();
            for additional in [count - 3, count, usize::MAX] {
                assert!(vec.try_reserve(additional).is_err() && vec.try_reserve_exact(additional).is_err());
            }
            assert_eq!((vec.len(), vec.as_ptr()), (3, first));
            for panics in [
                catch_unwind(|| PagedVec::<T>::with_capacity(count).len()),
                catch_unwind(|| PagedVec::<T>::with_reserved(count).len()),
                catch_unwind(|| PagedVec::<T>::new(count).len()),
                catch_unwind(|| PagedVec::<T>::from([T::default()]).reserve(count)).map(|()| 0),
                catch_unwind(|| PagedVec::<T>::from([T::default()]).resize(count, T::default())).map(|()| 0),
            ] {
                assert_eq!(panics.unwrap_err().downcast_ref(), Some(&"capacity overflow"));
            }
        }
        // What a pointer can span, but no address space holds.
        for count in [least - 1, least / 2 + 1] {
            if size_of::<usize>() == 8 {
                assert_eq!(
                    PagedVec::<T>::try_with_capacity(count).unwrap_err().operation(),
                    Operation::Allocate
                );
                assert!(PagedVec::<T>::try_with_reserved(count).is_err());
                assert!(catch_unwind(|| PagedVec::<T>::with_capacity(count)).is_err());
            }
        }
    }
    check::<u16>();
    check::<[u64; 3]>();
    check::<[u8; 32]>();
}

/// Trap: division by zero for zero-sized types.
#[test]
fn types_without_size_take_no_memory() {
    let mut vec = PagedVec::with_reserved(usize::MAX);
    vec.resize(1_000_000, ());
    vec.prefault(..).unwrap();
    vec.advise_use_soon(..).unwrap();
    vec.shrink_to_fit().unwrap();
    vec.shrink_to(0).unwrap();
    assert_eq!((vec.resident(..).unwrap(), vec.len(), vec.capacity()), (0, 1_000_000, usize::MAX));
    vec.truncate_decommit(7).unwrap();
    assert_eq!(vec.into_iter().rev().count(), 7);
    // As many as numbers go, and no further.
    let mut vec = PagedVec::default();
    // SAFETY: elements of no size are everywhere.
    unsafe { vec.set_len(usize::MAX) };
    assert_eq!(vec.try_push(()).unwrap_err().1.kind(), ErrorKind::InvalidInput);
    let panic = catch_unwind(move || vec.push(())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"capacity overflow"));
    assert!(PagedVec::<()>::never_straddles());
}

/// Trap: alignment above a page not honoured.
#[test]
fn alignment_above_a_page_is_honoured() {
    #[derive(Clone, Copy)]
    #[repr(align(65536))]
    struct Aligned(u8);

    for vec in [PagedVec::default(), PagedVec::with_capacity(3), PagedVec::with_reserved(9)] {
        let mut vec: PagedVec<Aligned> = vec;
        for number in 0..12 {
            vec.push(Aligned(number));
            assert_eq!(vec.as_ptr().addr() % 65536, 0);
        }
        assert!(vec.iter().map(|element| element.0).eq(0..12));
        vec.shrink_to(0).unwrap();
        assert_eq!(vec.clone().as_ptr().addr() % 65536, 0);
    }
}

/// Trap: decommit through a call that does nothing: the resident set is what counts.
#[test]
fn memory_given_back_is_out_of_the_resident_set_at_once() {
    const TEST: &str = "memory_given_back_is_out_of_the_resident_set_at_once";
    if !cfg!(any(target_os = "linux", target_os = "android", windows)) {
        return skipped(TEST, "the system takes memory back when it wants it");
    }
    let per_page = page::size() / 8;
    // Less than a huge page, also where pages have 64 KiB: the system may give these by itself.
    let pages = 30;
    let mut vec = full(pages * per_page);
    let (first, capacity) = (vec.as_ptr(), vec.capacity());
    let Some(before) = resident(&vec, TEST) else { return };
    assert!(before >= pages, "{before}");

    // To the page behind the last element, not further.
    vec.truncate_decommit(10 * per_page + 1).unwrap();
    assert_eq!(resident(&vec, TEST), Some(11));
    assert_eq!((vec.as_ptr(), vec.capacity()), (first, capacity));
    assert!(vec.iter().copied().eq(1..=10 * per_page as u64 + 1));

    // What was given back reads as fresh pages do when it is used again, and comes back.
    vec.extend(0..15 * per_page as u64);
    assert_eq!(resident(&vec, TEST), Some(26));
    vec.truncate(20 * per_page);
    assert_eq!(resident(&vec, TEST), Some(26));
    vec.shrink_to_fit().unwrap();
    assert_eq!(resident(&vec, TEST), Some(20));
    assert_eq!((vec.as_ptr(), vec.capacity()), (first, capacity));
    assert!(vec[..10 * per_page].iter().copied().eq(1..=10 * per_page as u64));

    vec.clear_decommit().unwrap();
    assert_eq!(resident(&vec, TEST), Some(0));
    assert_eq!((vec.as_ptr(), vec.capacity(), vec.len()), (first, capacity, 0));

    // A lower capacity: that memory is no longer the vector's, and it grows again at the same place.
    vec.extend(0..25 * per_page as u64);
    vec.truncate(5 * per_page);
    vec.shrink_to(7 * per_page).unwrap();
    assert_eq!((vec.as_ptr(), vec.capacity()), (first, 7 * per_page));
    assert_eq!(resident(&vec, TEST), Some(7));
    vec.extend(0..20 * per_page as u64);
    assert_eq!(vec.as_ptr(), first);
    assert!(vec[5 * per_page..].iter().copied().eq(0..20 * per_page as u64));
}

#[test]
fn memory_comes_as_the_vector_grows() {
    const TEST: &str = "memory_comes_as_the_vector_grows";
    let mut vec = PagedVec::<u8>::with_reserved(if usize::BITS == 64 { 1 << 40 } else { 1 << 28 });
    assert!(vec.capacity() <= 16 << 20);
    vec.push(1);
    assert!(resident(&vec, TEST).is_none_or(|count| count * page::size() <= 4 << 20));
    let mut vec = PagedVec::<u8>::with_capacity(100 * page::size());
    if resident(&vec, TEST).is_some_and(|count| count != 0) {
        skipped(TEST, "the system brings all memory in at once");
    }
    vec.prefault(10 * page::size()..20 * page::size()).unwrap();
    assert!(resident(&vec, TEST).is_none_or(|count| count >= 10));
    assert!(vec.is_empty());
}

/// Trap: advice given in elements where bytes were meant.
#[test]
fn ranges_are_of_elements() {
    const TEST: &str = "ranges_are_of_elements";
    let per_page = page::size() / 8;
    let mut vec = PagedVec::<u64>::with_capacity(28 * per_page);
    let empty = resident(&vec, TEST) == Some(0);
    vec.prefault(20 * per_page..21 * per_page + 1).unwrap();
    let part = |vec: &PagedVec<u64>, range| vec.resident(range).unwrap();
    if resident(&vec, TEST).is_some() {
        assert_eq!(part(&vec, 20 * per_page..22 * per_page), 2);
        assert_eq!(part(&vec, 21 * per_page - 1..21 * per_page), 1);
        assert_eq!(part(&vec, 0..0), 0);
    }
    if empty {
        assert_eq!((part(&vec, 0..20 * per_page), part(&vec, 22 * per_page..28 * per_page)), (0, 0));
        vec.spare_capacity_mut()[25 * per_page].write(7);
        assert_eq!(
            (part(&vec, 25 * per_page..26 * per_page), part(&vec, 26 * per_page..28 * per_page)),
            (1, 0)
        );
    }
    let capacity = vec.capacity();
    for range in [(Bound::Included(0), Bound::Included(capacity)), (Bound::Included(1), Bound::Excluded(0))] {
        for error in [
            vec.prefault(range).unwrap_err(),
            vec.advise_use_soon(range).unwrap_err(),
            vec.advise(range, Advice::Cold).unwrap_err(),
            vec.resident(range).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    assert!(vec.resident((Bound::Excluded(usize::MAX), Bound::Unbounded)).is_err());
    vec.extend(0..100);
    vec.prefault(..capacity).unwrap();
    vec.advise_use_soon(..).unwrap();
    vec.advise_use_seq().unwrap();
    vec.advise_use_rnd().unwrap();
    assert!(vec.iter().copied().eq(0..100));
}

/// Trap: unsafe code that trusts a safe trait's answer: bounds that are others when asked again.
#[test]
fn bounds_are_asked_for_once() {
    struct Fickle(std::cell::Cell<usize>);

    impl RangeBounds<usize> for Fickle {
        fn start_bound(&self) -> Bound<&usize> {
            Bound::Unbounded
        }

        fn end_bound(&self) -> Bound<&usize> {
            self.0.set(self.0.get() + 1);
            Bound::Excluded(if self.0.get() == 1 { &1 } else { &1000 })
        }
    }

    let fickle = || Fickle(std::cell::Cell::new(0));
    let mut vec = PagedVec::from([1, 2, 3]);
    assert_eq!(vec.drain(fickle()).len(), 1);
    vec.extend_from_within(fickle());
    assert_eq!(vec, [2, 3, 2]);
    assert_eq!(vec.splice(fickle(), [7, 8]).len(), 1);
    assert_eq!(vec.extract_if(fickle(), |_| true).count(), 1);
    assert_eq!(vec, [8, 3, 2]);
}

#[test]
fn what_is_out_of_range_panics_as_of_a_vec() {
    fn message(call: impl FnOnce(&mut PagedVec<u8>) + std::panic::UnwindSafe) -> String {
        let panic = catch_unwind(|| call(&mut PagedVec::from([1, 2, 3]))).unwrap_err();
        panic
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
    }

    assert_eq!(message(|vec| vec.insert(4, 0)), "insertion index (is 4) should be <= len (is 3)");
    assert_eq!(message(|vec| assert_eq!(vec.remove(3), 0)), "removal index (is 3) should be < len (is 3)");
    assert_eq!(
        message(|vec| assert_eq!(vec.swap_remove(9), 0)),
        "swap_remove index (is 9) should be < len (is 3)"
    );
    assert_eq!(message(|vec| drop(vec.split_off(4))), "`at` split index (is 4) should be <= len (is 3)");
    for text in [
        message(|vec| drop(vec.drain(2..4))),
        message(|vec| drop(vec.drain(..=3))),
        message(|vec| drop(vec.splice(4.., []))),
        message(|vec| vec.extend_from_within(5..)),
        message(|vec| drop(vec.extract_if(..9, |_| true))),
        message(|vec| drop(vec[7..].to_vec())),
    ] {
        // In the words of the standard library's slices, which change.
        assert!(text.contains("out of range") || text.contains("index starts at"), "{text}");
    }
    assert!(message(|vec| drop(vec.drain(..=usize::MAX))).len() > 3);
    assert!(message(|vec| drop(vec.drain((Bound::Excluded(usize::MAX), Bound::Unbounded)))).len() > 3);
    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    let text = message(|vec| drop(vec.drain(2..1)));
    assert!(text.contains("2") && text.contains("1"), "{text}");
}

/// A vector that is forgotten half-way loses elements, and no memory safety.
#[test]
fn iterators_can_be_forgotten() {
    let mut vec = PagedVec::from(vec![String::from("a"); 10]);
    std::mem::forget(vec.drain(3..5));
    assert_eq!(vec.len(), 3);
    std::mem::forget(vec.splice(1..2, [String::from("b")]));
    assert_eq!(vec.len(), 1);
    vec.extend(["c".to_owned(), "d".to_owned()]);
    let mut extracting = vec.extract_if(.., |_| true);
    drop(extracting.next());
    std::mem::forget(extracting);
    assert!(vec.is_empty());
    vec.push("e".to_owned());
    assert_eq!(vec, ["e"]);
}

/// Of elements without size, one of them too many, or at a place that is none for them.
#[test]
fn iterators_over_nothing_end() {
    #[repr(align(64))]
    #[derive(Clone, Debug, PartialEq)]
    struct Nothing;

    let mut values = PagedVec::from(vec![Nothing; 5]).into_iter();
    assert_eq!((values.next(), values.next_back(), values.len()), (Some(Nothing), Some(Nothing), 3));
    assert_eq!(values.as_slice().as_ptr().addr() % 64, 0);
    assert_eq!(values.clone().rev().count(), 3);
    assert_eq!(values.by_ref().rev().count(), 3);
    assert_eq!((values.next(), values.next_back()), (None, None));
}

#[test]
fn an_empty_one_takes_nothing() {
    let mut vec = PagedVec::<u64>::default();
    assert_eq!((vec.len(), vec.capacity()), (0, 0));
    assert!(vec.reserved() > 0);
    vec.shrink_to_fit().unwrap();
    vec.clear_decommit().unwrap();
    vec.prefault(..).unwrap();
    vec.advise_use_rnd().unwrap();
    assert_eq!(vec.push_within_capacity(1), Err(1));
    assert_eq!(PagedVec::<u64>::with_capacity(0).capacity(), 0);
    assert_eq!(PagedVec::<u64>::with_reserved(0).capacity(), 0);
    // And again nothing, when it is told to.
    vec.extend(0..1000);
    vec.clear();
    vec.shrink_to(0).unwrap();
    assert_eq!(vec.capacity(), 0);
    vec.push(1);
    assert_eq!(vec, [1]);
}

#[test]
fn copies_have_the_same_options() {
    let mut vec = PagedVec::<u64>::with_allocator(PageAllocator::new().reserved(1 << 20));
    vec.extend(0..100);
    for other in [vec.clone(), vec.try_clone().unwrap(), vec.split_off(0)] {
        assert_eq!(other.allocator(), vec.allocator());
        assert!(other.reserved() >= 1 << 17 && other.iter().copied().eq(0..100));
    }
    assert!(vec.is_empty() && vec.capacity() > 0);
}

#[test]
fn whether_elements_straddle_pages_can_be_asked() {
    fn check<T: Default + Clone + std::fmt::Debug>() {
        let vec = PagedVec::from(vec![T::default(); 4 * page::size() / size_of::<T>()]);
        let straddles = vec.iter().any(|element| {
            let first = std::ptr::from_ref(element).addr();
            first / page::size() != (first + size_of::<T>() - 1) / page::size()
        });
        assert_eq!(straddles, !PagedVec::<T>::never_straddles());
    }
    check::<u8>();
    check::<u64>();
    check::<[u64; 3]>();
    check::<[u64; 16]>();
    check::<[[u64; 32]; 5]>();
}
