//! Vectors of plain data as pages and back, frozen ones, and vectors as sequences of serde.
#![cfg(all(feature = "collections", feature = "zerocopy"))]

mod common;

use common::{Helper, role, shown};
use folio::{Advice, ErrorKind, MmapMut, MmapOptions, PageAllocator, PagedVec, Pages, Protection, page};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use zerocopy::{FromBytes, Immutable, IntoBytes};

fn numbers(count: u64) -> PagedVec<u64> {
    (0..count).collect()
}

/// The bytes behind the elements are zeroes, whatever was there.
fn check_pages(pages: &MmapMut, len: usize) {
    assert_eq!(pages.len() % page::size(), 0);
    assert!(
        pages
            .chunks(8)
            .take(len)
            .map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()))
            .eq(0..len as u64)
    );
    assert!(pages[8 * len..].iter().all(|&byte| byte == 0));
}

/// Trap: what is behind the last element are bytes that were never initialized, or those of elements that are gone.
#[test]
fn what_is_behind_the_elements_is_zeroes() {
    let per_page = page::size() / 8;
    let options = PageAllocator::new();
    for allocator in [
        options,
        options.reserved(20 << 20),
        options.guard_before(1).guard_after(1),
        options.huge_pages(false).advice(Advice::Random),
    ] {
        for len in [0, 1, per_page - 1, per_page, 3 * per_page + 7] {
            for dirty in [0, 5 * per_page, 600_000] {
                let mut vec = PagedVec::with_allocator(allocator);
                vec.resize(dirty, u64::MAX);
                vec.clear();
                vec.extend(0..len as u64);
                vec.spare_capacity_mut().iter_mut().take(2).for_each(|place| {
                    place.write(7);
                });
                let first = vec.as_ptr();
                let (pages, told) = vec.into_pages().unwrap();
                assert_eq!(told, len);
                if len > 0 {
                    assert_eq!(pages.as_ptr(), first.cast());
                }
                check_pages(&pages, len);
                // Good pages: they can be split, protected, grown, dropped.
                let frozen = pages.make_read_only().unwrap();
                let mut pages = frozen.make_mut().unwrap();
                if pages.len() > page::size() {
                    drop(pages.split_off(page::size()).unwrap());
                }
                pages.fill(1);
            }
        }
    }
}

#[test]
fn pages_become_vectors_without_being_copied() {
    // (Also such as are long enough for huge pages, and not a whole number of these.)
    for len in [1, 7 * page::size(), (5 << 20) + page::size()] {
        let mut pages = Pages::new(len).unwrap();
        pages[..8].copy_from_slice(&7_u64.to_ne_bytes());
        let first = pages.as_ptr();
        let mut vec = PagedVec::<u64>::from_pages(pages, 2).unwrap();
        assert_eq!((vec.as_ptr().cast(), &vec[..]), (first, &[7, 0][..]));
        assert!(vec.capacity() * 8 >= len);
        // And grow, shrink and go as vectors do.
        vec.extend(0..1_000_000);
        vec.truncate(3);
        vec.shrink_to(0).unwrap();
        assert_eq!(vec, [7, 0, 0]);
    }
    let vec = numbers(1000);
    let (pages, len) = vec.into_pages().unwrap();
    let first = pages.as_ptr();
    let vec = PagedVec::<u64>::from_pages(pages, len).unwrap();
    assert_eq!(vec.as_ptr().cast(), first);
    assert!(vec.iter().copied().eq(0..1000));
}

/// Pages that are more than memory, or do not fit the type: the elements are copied out of them.
#[test]
fn other_pages_are_copied() {
    let fill = |mut pages: MmapMut| {
        for (bytes, number) in pages.chunks_exact_mut(8).zip(0_u64..) {
            bytes.copy_from_slice(&number.to_ne_bytes());
        }
        pages
    };
    let size = page::size();
    let mut low = fill(Pages::new(4 * size).unwrap());
    let high = low.split_off(size).unwrap();
    let mut locked = fill(Pages::new(size).unwrap());
    let is_locked = locked.lock().is_ok();
    let guarded = MmapOptions::new(size).guard_after(1).map_mut().unwrap();
    let first = (size / 8) as u64;
    for (pages, from, same) in
        [(low, 0, false), (high, first, false), (locked, 0, !is_locked), (fill(guarded), 0, false)]
    {
        let place = pages.as_ptr();
        let vec = PagedVec::<u64>::from_pages(pages, 100).unwrap();
        assert!(vec.iter().copied().eq(from..from + 100));
        assert_eq!(vec.as_ptr().cast() == place, same);
    }
    // Not a whole number of elements; one that is longer.
    let vec = PagedVec::<[u64; 3]>::from_pages(fill(Pages::new(size).unwrap()), 2).unwrap();
    assert_eq!(vec, [[0, 1, 2], [3, 4, 5]]);
    let vec = PagedVec::<[u64; 1000]>::from_pages(fill(Pages::new(16_384).unwrap()), 1).unwrap();
    assert_eq!(vec[0][999], 999);
    let vec = PagedVec::<()>::from_pages(Pages::new(1).unwrap(), 5).unwrap();
    assert_eq!(vec.len(), 5);

    // Aligned to more than pages are: at a place of its own, unless they are by chance.
    #[derive(Debug, FromBytes, IntoBytes)]
    #[repr(C, align(65536))]
    struct Aligned([u64; 8192]);
    for _ in 0..3 {
        let mut low = fill(Pages::new(65536 + size).unwrap());
        let vec = PagedVec::<Aligned>::from_pages(low.split_off(size).unwrap(), 1).unwrap();
        assert_eq!((vec.as_ptr().addr() % 65536, vec[0].0[0]), (0, first));
        let pages = fill(Pages::new(65536).unwrap());
        let vec = PagedVec::<Aligned>::from_pages(pages, 1).unwrap();
        assert_eq!((vec.as_ptr().addr() % 65536, vec[0].0[8191]), (0, 8191));
        let (pages, len) = vec.into_pages().unwrap();
        assert_eq!((pages[8], len), (1_u64.to_ne_bytes()[0], 1));
    }
    // Of memory that its allocator locks, the other way.
    let mut vec = PagedVec::with_allocator(PageAllocator::new().locked(true));
    if vec.try_extend_from_slice(&[7_u64; 3]).is_ok() {
        let (pages, len) = vec.into_pages().unwrap();
        assert_eq!((&pages[..8], len), (&7_u64.to_ne_bytes()[..], 3));
        assert!(pages[24..].iter().all(|&byte| byte == 0));
    }

    let pages = fill(Pages::new(1).unwrap());
    let (pages, error) = PagedVec::<u64>::from_pages(pages, size / 8 + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let (pages, error) = PagedVec::<u64>::from_pages(pages, usize::MAX / 8 + 2).unwrap_err();
    assert_eq!((error.kind(), pages[8]), (ErrorKind::InvalidInput, 1_u64.to_ne_bytes()[0]));
}

#[test]
fn zeroed_elements_are_those_of_fresh_pages() {
    let vec = PagedVec::<[u32; 3]>::zeroed(100_000).unwrap();
    assert!(vec.len() == 100_000 && vec.iter().all(|element| *element == [0; 3]));
    assert!(PagedVec::<u64>::zeroed(usize::MAX).is_err());
    assert_eq!(PagedVec::<()>::zeroed(9).unwrap().len(), 9);
}

/// Trap: permissions "changed" while the call had failed, so that the type lied: here what the system shows.
#[test]
fn frozen_elements_can_be_read_only() {
    let mut vec = PagedVec::with_reserved(100_000);
    vec.extend(0..10_000_u64);
    let last = vec.capacity() - 1;
    let (first, capacity) = (vec.as_ptr().addr(), vec.capacity());
    let frozen = vec.freeze().unwrap();
    for index in [0, 9_999, last] {
        assert_eq!(shown(first + 8 * index), Protection::READ);
    }
    assert!(frozen.iter().copied().eq(0..10_000));
    assert_eq!(frozen, numbers(10_000));
    assert!(frozen == numbers(10_000).freeze().unwrap());
    assert_eq!(frozen, Vec::from(numbers(10_000)));
    assert_eq!((&frozen).into_iter().count(), 10_000);
    let mut vec = frozen.thaw().unwrap();
    for index in [0, 9_999, last] {
        assert_eq!(shown(first + 8 * index), Protection::READ_WRITE);
    }
    assert_eq!((vec.as_ptr().addr(), vec.capacity()), (first, capacity));
    vec.extend(0..50_000);
    assert_eq!(vec.as_ptr().addr(), first);
    // Without memory there is nothing to protect.
    let empty = PagedVec::<u64>::default().freeze().unwrap();
    assert!(empty.is_empty() && empty.thaw().unwrap().is_empty());
    let mut nothing = PagedVec::default();
    nothing.extend([(), ()]);
    assert_eq!(nothing.freeze().unwrap().thaw().unwrap().len(), 2);
}

#[test]
fn writing_to_frozen_elements_ends_the_process() {
    if role().is_some() {
        let frozen = numbers(10).freeze().unwrap();
        let place = frozen.as_ptr().cast_mut();
        common::say("frozen");
        // SAFETY: none: it ends the process, and that is what is tested.
        unsafe { place.write_volatile(7) };
        common::say("written");
        return;
    }
    let mut child = Helper::start("writing_to_frozen_elements_ends_the_process", "write");
    assert_eq!(child.line(), "frozen");
    assert!(!child.wait().success());
}

thread_local! {
    static DROPS: Cell<u32> = const { Cell::new(0) };
}

/// Writes to itself when it is dropped, and panics when it is told to.
#[derive(Debug, Immutable)]
struct Restless {
    number: u64,
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.number += 1;
        std::hint::black_box(self.number);
        DROPS.set(DROPS.get() + 1);
        if self.number == 4 {
            std::panic::resume_unwind(Box::new("told to"));
        }
    }
}

#[test]
fn the_drop_of_elements_does_not_write_to_frozen_pages() {
    let vec: PagedVec<Restless> = (10..20).map(|number| Restless { number }).collect();
    drop(vec.freeze().unwrap());
    assert_eq!(DROPS.take(), 10);
    // One of them panics: the others are dropped all the same.
    let vec: PagedVec<Restless> = (0..10).map(|number| Restless { number }).collect();
    let frozen = vec.freeze().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(frozen))).is_err());
    assert_eq!(DROPS.take(), 10);
    let vec: PagedVec<Restless> = (10..20).map(|number| Restless { number }).collect();
    drop(vec.freeze().unwrap().thaw().unwrap());
    assert_eq!(DROPS.take(), 10);
}

#[cfg(feature = "serde")]
#[test]
fn vectors_are_sequences() {
    let vec: PagedVec<Option<String>> = [Some("a".to_owned()), None].into();
    let text = serde_json::to_string(&vec).unwrap();
    assert_eq!(text, r#"["a",null]"#);
    assert_eq!(serde_json::from_str::<PagedVec<Option<String>>>(&text).unwrap(), vec);
    assert!(serde_json::from_str::<PagedVec<u8>>("[1, 2, 300]").is_err());
    assert!(serde_json::from_str::<PagedVec<u8>>("{}").unwrap_err().to_string().contains("a sequence"));
    let text = serde_json::to_string(&numbers(10_000)).unwrap();
    assert_eq!(serde_json::from_str::<PagedVec<u64>>(&text).unwrap(), numbers(10_000));

    // A sequence that promises more than there is, and than there is memory for.
    struct Boasting;

    impl<'de> serde::de::SeqAccess<'de> for Boasting {
        type Error = serde_json::Error;

        fn next_element_seed<T>(&mut self, _: T) -> Result<Option<T::Value>, serde_json::Error>
        where
            T: serde::de::DeserializeSeed<'de>,
        {
            Ok(None)
        }

        fn size_hint(&self) -> Option<usize> {
            Some(usize::MAX)
        }
    }

    impl<'de> serde::Deserializer<'de> for Boasting {
        type Error = serde_json::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(
            self,
            visitor: V,
        ) -> Result<V::Value, serde_json::Error> {
            visitor.visit_seq(self)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }

    let vec = <PagedVec<[u64; 8]> as serde::Deserialize>::deserialize(Boasting).unwrap();
    assert!(vec.is_empty() && vec.capacity() <= 1 << 15);
}
