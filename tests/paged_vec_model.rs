//! The same operations on `Vec` and `PagedVec`: the same content, the same results, the same elements dropped in the same order; also where
//! a drop, a clone, a closure or an iterator panics on the way.
#![cfg(feature = "collections")]

mod common;

use common::rounds;
use folio::PagedVec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static DROPPED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static FUSE: Cell<Option<u32>> = const { Cell::new(None) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

/// Something that code of the user does, and that panics if it was chosen for it.
fn event() {
    if let Some(left) = FUSE.get() {
        FUSE.set(left.checked_sub(1));
        if left == 0 {
            // (Not `panic!`: nothing shall be printed.)
            resume_unwind(Box::new("fuse"));
        }
    }
}

trait Element: Clone {
    /// About as many as fill a page.
    const MANY: usize;

    fn new(id: u32) -> Self;
    fn id(&self) -> u32;
}

fn make<T: Element>() -> T {
    let id = NEXT.get();
    NEXT.set(id + 1);
    T::new(id)
}

impl Element for u8 {
    const MANY: usize = 5000;

    fn new(id: u32) -> Self {
        (id % 251) as u8
    }

    fn id(&self) -> u32 {
        u32::from(*self)
    }
}

impl Element for [u64; 3] {
    const MANY: usize = 200;

    fn new(id: u32) -> Self {
        [id.into(), 1, 2]
    }

    fn id(&self) -> u32 {
        assert_eq!(self[1..], [1, 2]);
        u32::try_from(self[0]).unwrap()
    }
}

/// With a drop that is counted, and memory of its own, so that what checks memory sees two drops of one.
struct Counted(Box<u32>);

impl Element for Counted {
    const MANY: usize = 600;

    fn new(id: u32) -> Self {
        LIVE.set(LIVE.get() + 1);
        Self(Box::new(id))
    }

    fn id(&self) -> u32 {
        *self.0
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        event();
        Self::new(self.id() + 1_000_000)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
        DROPPED.with_borrow_mut(|dropped| dropped.push(*self.0));
        event();
    }
}

/// Aligned to more than a page.
#[derive(Clone)]
#[repr(align(8192))]
struct Aligned(Counted);

impl Element for Aligned {
    const MANY: usize = 2;

    fn new(id: u32) -> Self {
        Self(Counted::new(id))
    }

    fn id(&self) -> u32 {
        assert_eq!(std::ptr::from_ref(self).addr() % 8192, 0);
        self.0.id()
    }
}

/// Of no size, aligned, and dropped.
#[repr(align(16))]
struct Nothing;

impl Element for Nothing {
    const MANY: usize = 5000;

    fn new(_: u32) -> Self {
        LIVE.set(LIVE.get() + 1);
        Self
    }

    fn id(&self) -> u32 {
        assert_eq!(std::ptr::from_ref(self).addr() % 16, 0);
        0
    }
}

impl Clone for Nothing {
    fn clone(&self) -> Self {
        event();
        Self::new(0)
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
        DROPPED.with_borrow_mut(|dropped| dropped.push(0));
        event();
    }
}

/// Promises `hint` elements at least, and has `left`.
struct Values<T> {
    left: usize,
    hint: usize,
    first: Option<T>,
}

impl<T: Element> Iterator for Values<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        event();
        self.left = self.left.checked_sub(1)?;
        self.hint = self.hint.saturating_sub(1);
        self.first.take().or_else(|| Some(make()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.hint, None)
    }
}

fn values<T: Element>(left: usize, hint: usize) -> Values<T> {
    Values { left, hint, first: None }
}

#[derive(Clone, Debug)]
enum Op {
    Push,
    Pop,
    PopIf,
    Insert(usize),
    Remove(usize),
    SwapRemove(usize),
    Truncate(usize),
    Clear,
    Extend(usize, usize),
    Collect(usize),
    FromSlice(usize),
    FromWithin(usize, usize),
    Append(usize),
    SplitOff(usize),
    Resize(usize),
    ResizeWith(usize),
    Drain(usize, usize, usize, usize),
    Splice(usize, usize, usize, usize, usize),
    Retain(u32),
    Dedup(u32),
    ExtractIf(usize, usize, u32, usize),
    Clone,
    CloneFrom(usize),
    IntoIter(usize, usize),
    Reserve(usize),
    Shrink(usize),
    Decommit(usize),
    Array,
}

/// How many, as shares of 1000 of about two pages: mostly few.
fn count() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..8_usize, 1 => 8..2000_usize]
}

fn place() -> impl Strategy<Value = usize> {
    0..1001_usize
}

fn op() -> impl Strategy<Value = Op> {
    use Op::*;
    prop_oneof![
        Just(Push),
        Just(Pop),
        Just(PopIf),
        place().prop_map(Insert),
        place().prop_map(Remove),
        place().prop_map(SwapRemove),
        place().prop_map(Truncate),
        Just(Clear),
        (count(), count()).prop_map(|(n, hint)| Extend(n, hint)),
        count().prop_map(Collect),
        count().prop_map(FromSlice),
        (place(), place()).prop_map(|(from, to)| FromWithin(from, to)),
        count().prop_map(Append),
        place().prop_map(SplitOff),
        count().prop_map(Resize),
        count().prop_map(ResizeWith),
        (place(), place(), 0..3_usize, 0..3_usize)
            .prop_map(|(from, to, front, back)| Drain(from, to, front, back)),
        (place(), place(), count(), count(), 0..3_usize)
            .prop_map(|(from, to, n, hint, taken)| Splice(from, to, n, hint, taken)),
        (2..5_u32).prop_map(Retain),
        (1..4_u32).prop_map(Dedup),
        (place(), place(), 1..4_u32, 0..9_usize)
            .prop_map(|(from, to, every, n)| ExtractIf(from, to, every, n)),
        Just(Clone),
        count().prop_map(CloneFrom),
        (0..4_usize, 0..4_usize).prop_map(|(front, back)| IntoIter(front, back)),
        count().prop_map(Reserve),
        count().prop_map(Shrink),
        place().prop_map(Decommit),
        Just(Array),
    ]
}

/// What only one of the two has, or has only since lately.
trait Extra<T>: Sized {
    fn pop_if_odd(&mut self) -> Option<T>;
    fn extract(&mut self, range: Range<usize>, want: impl FnMut(&mut T) -> bool, most: usize) -> Vec<T>;
    fn shrink(&mut self, capacity: usize);
    fn decommit(&mut self, len: usize);
}

impl<T: Element> Extra<T> for Vec<T> {
    fn pop_if_odd(&mut self) -> Option<T> {
        event();
        if self.last()?.id() % 2 == 1 { self.pop() } else { None }
    }

    fn extract(&mut self, range: Range<usize>, mut want: impl FnMut(&mut T) -> bool, most: usize) -> Vec<T> {
        let (mut index, mut end) = (range.start, range.end);
        let mut found = Vec::new();
        while index < end && found.len() < most {
            if want(&mut self[index]) {
                found.push(self.remove(index));
                end -= 1;
            } else {
                index += 1;
            }
        }
        found
    }

    fn shrink(&mut self, capacity: usize) {
        self.shrink_to(capacity);
    }

    fn decommit(&mut self, len: usize) {
        self.truncate(len);
    }
}

impl<T: Element> Extra<T> for PagedVec<T> {
    fn pop_if_odd(&mut self) -> Option<T> {
        // `Vec`'s asks before it looks whether there is one.
        if self.is_empty() {
            event();
        }
        self.pop_if(|last| {
            event();
            last.id() % 2 == 1
        })
    }

    fn extract(&mut self, range: Range<usize>, want: impl FnMut(&mut T) -> bool, most: usize) -> Vec<T> {
        self.extract_if(range, want).take(most).collect()
    }

    fn shrink(&mut self, capacity: usize) {
        let before = self.capacity();
        self.shrink_to(capacity).unwrap();
        assert!(self.capacity() <= before && self.capacity() >= self.len());
    }

    fn decommit(&mut self, len: usize) {
        let (first, capacity) = (self.as_ptr(), self.capacity());
        self.truncate_decommit(len).unwrap();
        assert_eq!((self.as_ptr(), self.capacity()), (first, capacity));
    }
}

macro_rules! subject {
    ($name:ident, $($Vec:tt)+) => {
        /// Applies an operation; gives what came out of it.
        fn $name<T: Element>(vec: &mut $($Vec)+<T>, op: &Op) -> Vec<u32> {
            let len = vec.len();
            let at = |place: &usize| place * len / 1000;
            let part = |from: &usize, to: &usize| at(from.min(to))..at(from.max(to));
            let many = |count: &usize| if *count < 8 { *count } else { count * T::MANY / 1000 };
            let mut seen = Vec::new();
            match op {
                Op::Push => vec.push(make()),
                Op::Pop => seen.extend(vec.pop().map(|value| value.id())),
                Op::PopIf => seen.extend(vec.pop_if_odd().map(|value| value.id())),
                Op::Insert(place) => vec.insert(at(place), make()),
                // (Those at the end are no elements: a panic.)
                Op::Remove(place) if len > 0 => seen.push(vec.remove(at(place).min(len - 1)).id()),
                Op::SwapRemove(place) if len > 0 => seen.push(vec.swap_remove(at(place).min(len - 1)).id()),
                Op::Remove(_) | Op::SwapRemove(_) => {}
                Op::Truncate(place) => vec.truncate(at(place)),
                Op::Clear => vec.clear(),
                Op::Extend(n, hint) => vec.extend(values(many(n), many(hint))),
                Op::Collect(n) => *vec = values(many(n), 0).collect(),
                Op::FromSlice(n) => {
                    let slice: Vec<T> = (0..many(n)).map(|_| make()).collect();
                    vec.extend_from_slice(&slice);
                }
                Op::FromWithin(from, to) => vec.extend_from_within(part(from, to)),
                Op::Append(n) => {
                    let mut other: $($Vec)+<T> = (0..many(n)).map(|_| make()).collect();
                    vec.append(&mut other);
                    assert!(other.is_empty());
                }
                Op::SplitOff(place) => seen.extend(vec.split_off(at(place)).iter().map(T::id)),
                Op::Resize(n) => vec.resize(many(n), make()),
                Op::ResizeWith(n) => vec.resize_with(many(n), || {
                    event();
                    make()
                }),
                Op::Drain(from, to, front, back) => {
                    let mut drain = vec.drain(part(from, to));
                    for _ in 0..*front {
                        seen.extend(drain.next().map(|value| value.id()));
                    }
                    for _ in 0..*back {
                        seen.extend(drain.next_back().map(|value| value.id()));
                    }
                    seen.push(u32::try_from(drain.len()).unwrap());
                    seen.extend(drain.as_slice().iter().map(T::id));
                }
                Op::Splice(from, to, n, hint, taken) => {
                    let mut splice = vec.splice(part(from, to), values(many(n), many(hint)));
                    for _ in 0..*taken {
                        seen.extend(splice.next().map(|value| value.id()));
                        seen.extend(splice.next_back().map(|value| value.id()));
                    }
                }
                Op::Retain(every) => vec.retain_mut(|value| {
                    event();
                    value.id() % every != 0
                }),
                Op::Dedup(by) => vec.dedup_by_key(|value| {
                    event();
                    value.id() / by
                }),
                Op::ExtractIf(from, to, every, most) => {
                    let mut asked = 0;
                    let found = vec.extract(part(from, to), |value| {
                        event();
                        asked += 1;
                        value.id() % every == 0 && asked % every == 0
                    }, *most);
                    seen.extend(found.iter().map(T::id));
                }
                Op::Clone => *vec = vec.clone(),
                Op::CloneFrom(n) => {
                    let other: $($Vec)+<T> = (0..many(n)).map(|_| make()).collect();
                    vec.clone_from(&other);
                }
                Op::IntoIter(front, back) => {
                    let mut values = mem::take(vec).into_iter();
                    for _ in 0..*front {
                        seen.extend(values.next().map(|value| value.id()));
                    }
                    for _ in 0..*back {
                        seen.extend(values.next_back().map(|value| value.id()));
                    }
                    seen.push(u32::try_from(values.len()).unwrap());
                    seen.extend(values.as_mut_slice().iter().map(T::id));
                    assert_eq!(values.clone().len(), values.len());
                    assert_eq!(values.as_slice().len(), values.size_hint().0);
                }
                Op::Reserve(n) => {
                    vec.reserve(many(n));
                    assert!(vec.capacity() - vec.len() >= many(n));
                    vec.reserve_exact(2 * many(n));
                }
                Op::Shrink(n) => vec.shrink(many(n)),
                Op::Decommit(place) => vec.decommit(at(place)),
                Op::Array => {
                    if let Ok(array) = <[T; 2]>::try_from(mem::take(vec)).map_err(|back| *vec = back) {
                        vec.extend(array);
                    }
                }
            }
            seen
        }
    };
}

subject!(on_vec, Vec);
subject!(on_paged, PagedVec);

/// What came of an operation.
#[derive(PartialEq, Debug)]
struct Outcome {
    seen: Option<Vec<u32>>,
    content: Vec<u32>,
    dropped: Vec<u32>,
    live: i64,
}

fn outcome<T: Element, V: AsRef<[T]>>(
    vec: &mut V,
    first: u32,
    fuse: Option<u32>,
    apply: impl FnOnce(&mut V) -> Vec<u32>,
) -> Outcome {
    NEXT.set(first);
    let before = LIVE.get();
    FUSE.set(fuse);
    let seen = catch_unwind(AssertUnwindSafe(|| apply(vec))).ok();
    FUSE.set(None);
    let content = vec.as_ref().iter().map(T::id).collect();
    Outcome { seen, content, dropped: DROPPED.take(), live: LIVE.get() - before }
}

fn same_as_vec<T: Element>(cases: u32) {
    let strategy = (
        prop_oneof![Just(None), (0..4000_usize).prop_map(Some)],
        proptest::collection::vec((op(), proptest::option::weighted(0.3, 0..12_u32)), 1..40),
    );
    let config = ProptestConfig { cases: rounds(cases), failure_persistence: None, ..Default::default() };
    TestRunner::new(config)
        .run(&strategy, |(reserved, ops)| {
            let live = LIVE.get();
            let mut vec = Vec::<T>::new();
            let mut paged = match reserved {
                None => PagedVec::<T>::default(),
                Some(share) => PagedVec::with_reserved(share * T::MANY / 1000),
            };
            for (number, (op, fuse)) in ops.iter().enumerate() {
                let first = 10_000 * u32::try_from(number).unwrap();
                let expected = outcome(&mut vec, first, *fuse, |vec| on_vec(vec, op));
                let (place, room) = (paged.as_ptr(), paged.reserved());
                let had_memory = paged.capacity() > 0;
                let got = outcome(&mut paged, first, *fuse, |vec| on_paged(vec, op));
                prop_assert_eq!(expected, got, "{:?} {:?}", op, fuse);
                prop_assert!(paged.capacity() >= paged.len() && paged.reserved() >= paged.capacity());
                // Trap: doubling growth left the reservation at the last step. (But for what makes another vector, or gives all back.)
                let other =
                    matches!(op, Op::Collect(_) | Op::Clone | Op::IntoIter(..) | Op::Array | Op::Shrink(_));
                // What makes room for more than there are in the end.
                let roomy = fuse.is_some() || matches!(op, Op::Reserve(_) | Op::Extend(..) | Op::Splice(..));
                let needed = if roomy { paged.capacity() } else { paged.len() };
                if had_memory && !other && needed <= room {
                    prop_assert_eq!(paged.as_ptr(), place, "{:?}", op);
                    prop_assert_eq!(paged.reserved(), room, "{:?}", op);
                }
            }
            drop(vec);
            let expected = DROPPED.take();
            drop(paged);
            prop_assert_eq!(expected, DROPPED.take());
            prop_assert_eq!(LIVE.get(), live);
            Ok(())
        })
        .unwrap();
}

#[test]
fn bytes_are_as_in_a_vec() {
    same_as_vec::<u8>(150);
}

#[test]
fn elements_of_24_bytes_are_as_in_a_vec() {
    same_as_vec::<[u64; 3]>(300);
}

#[test]
fn counted_elements_are_as_in_a_vec() {
    same_as_vec::<Counted>(300);
}

#[test]
fn aligned_elements_are_as_in_a_vec() {
    same_as_vec::<Aligned>(300);
}

#[test]
fn elements_without_size_are_as_in_a_vec() {
    same_as_vec::<Nothing>(150);
}
