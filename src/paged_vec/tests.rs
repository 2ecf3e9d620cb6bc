//! What can only be tested from inside: a system that refuses at each of its calls.

use super::PagedVec;
use crate::os::inject::{fail_from, fail_nth};
use crate::{Error, ErrorKind, PageAllocator, page};
use std::rc::Rc;
use std::vec::Vec;

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

/// More than there is room for, whatever the size of a page.
fn many() -> usize {
    page::size() / 8 * 5
}

type Shared = Rc<usize>;

struct Case {
    vec: PagedVec<Shared>,
    values: Vec<Shared>,
}

impl Case {
    fn new(reserved: usize, count: usize) -> Self {
        let values: Vec<_> = (0..count).map(Rc::new).collect();
        let mut vec = PagedVec::with_allocator(PageAllocator::new().reserved(reserved));
        vec.extend(values.iter().cloned());
        Self { vec, values }
    }

    /// The first elements are as they were, each counted once by the vector; there is memory for as many as the capacity says.
    fn check(&mut self, len: usize) {
        assert_eq!(self.vec.len(), len);
        for (index, value) in self.values.iter().enumerate() {
            let held = self.vec.get(index).inspect(|held| assert!(Rc::ptr_eq(held, value)));
            assert_eq!(Rc::strong_count(value), 1 + usize::from(held.is_some()));
        }
        let more = Rc::new(0);
        while self.vec.push_within_capacity(Rc::clone(&more)).is_ok() {}
        assert_eq!(self.vec.len(), self.vec.capacity());
        self.vec.truncate(len);
        assert_eq!(Rc::strong_count(&more), 1);
    }
}

/// At each call of the system, once or from then on; `check` is given how it went.
fn refused_everywhere(
    case: impl Fn() -> Case,
    call: impl Fn(&mut PagedVec<Shared>) -> Result<(), Error>,
    check: impl Fn(&mut Case, Result<&(), &Error>),
) -> Vec<Error> {
    let mut errors = Vec::new();
    for lasting in [false, true] {
        for n in 0.. {
            let mut case = case();
            let body = || call(&mut case.vec);
            let (done, failed) =
                if lasting { fail_from(None, n, REFUSED, body) } else { fail_nth(None, n, REFUSED, body) };
            check(&mut case, done.as_ref());
            errors.extend(done.err());
            if !failed {
                break;
            }
        }
    }
    errors
}

#[test]
fn a_refused_growth_leaves_all_as_it_was() {
    for reserved in [0, 100 * page::size()] {
        for count in [0, 10] {
            let grow = |vec: &mut PagedVec<Shared>| vec.try_reserve(many());
            let errors = refused_everywhere(
                || Case::new(reserved, count),
                grow,
                |case, done| {
                    assert_eq!(done.is_ok(), case.vec.capacity() >= many());
                    case.check(count);
                },
            );
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.kind() == ErrorKind::Exhausted), "{errors:?}");
        }
    }
}

#[test]
fn a_refused_push_gives_the_element_back() {
    let mut case = Case::new(0, 0);
    let value = Rc::new(1);
    let (refused, _) = fail_from(None, 0, REFUSED, || case.vec.try_push(Rc::clone(&value)));
    let (back, error) = refused.unwrap_err();
    assert!(Rc::ptr_eq(&back, &value) && error.kind() == ErrorKind::Exhausted);
    drop(back);
    assert_eq!(Rc::strong_count(&value), 1);

    let full = case.vec.capacity();
    assert_eq!(full, 0);
    let (refused, _) =
        fail_from(None, 0, REFUSED, || case.vec.try_extend_from_slice(&std::vec![Rc::clone(&value); 9]));
    assert!(refused.is_err());
    assert_eq!(Rc::strong_count(&value), 1);
    case.check(0);
}

/// Where there is not twice the memory, but as much as is needed.
#[test]
fn what_is_needed_is_got_where_more_is_refused() {
    let per_page = page::size() / size_of::<Shared>();
    let mut case = Case::new(0, 4 * per_page);
    let full = case.vec.capacity();
    assert_eq!(full, 4 * per_page);
    let (done, refused) = fail_nth(None, 0, REFUSED, || case.vec.try_push(Rc::new(7)));
    assert!(done.is_ok() && refused);
    assert_eq!(case.vec.capacity(), full + per_page);
}

#[test]
fn what_panics_for_want_of_memory_changes_nothing() {
    type Call = fn(&mut PagedVec<Shared>, Shared);
    let calls: [Call; 8] = [
        |vec, _| vec.reserve(many()),
        |vec, value| vec.resize(many(), value),
        |vec, value| vec.resize_with(many(), || Rc::clone(&value)),
        |vec, value| vec.extend(std::vec![value; many()]),
        |vec, value| vec.extend_from_slice(&std::vec![value; many()]),
        |vec, value| vec.append(&mut std::vec![value; many()].into()),
        |vec, value| drop(vec.splice(1..1, std::vec![value; many()])),
        |vec, _| drop(vec.clone()),
    ];
    for call in calls {
        let mut case = Case::new(0, 10);
        let value = Rc::new(1);
        let share = Rc::clone(&value);
        let vec = core::panic::AssertUnwindSafe(&mut case.vec);
        let (panicked, _) = fail_from(None, 0, REFUSED, move || {
            std::panic::catch_unwind(move || {
                let vec = vec;
                call(vec.0, share);
            })
        });
        let panic = panicked.unwrap_err();
        let text = panic.downcast_ref::<std::string::String>().unwrap();
        assert!(text.starts_with("cannot "), "{text}");
        case.check(10);
        assert_eq!(Rc::strong_count(&value), 1);
    }
}

/// Where giving back fails, what is kept is as it was, and whatever capacity is left can be used.
#[test]
fn a_refused_decommit_drops_the_elements_and_keeps_usable_memory() {
    for reserved in [0, 100 * page::size()] {
        let kept = 10;
        let errors = refused_everywhere(
            || Case::new(reserved, many()),
            |vec| vec.truncate_decommit(10),
            |case, _| case.check(kept),
        );
        assert!(!errors.is_empty());
        // Which keeps what the system does not take, and is no error.
        let errors = refused_everywhere(
            || {
                let mut case = Case::new(reserved, many());
                case.vec.truncate(kept);
                case
            },
            |vec| vec.shrink_to(20),
            |case, done| {
                let capacity = case.vec.capacity();
                case.check(kept);
                assert!(done.is_err() || capacity < many());
            },
        );
        assert!(errors.is_empty());
    }
}

/// What `prefault` does where the system has no call for it.
#[test]
fn touched_pages_are_in_memory_and_hold_what_they_held() {
    let mut vec = PagedVec::<u64>::with_capacity(many());
    vec.extend(1..=many() as u64 / 2);
    let pages = vec.pages_of(&.., crate::Operation::Prefault).unwrap().unwrap();
    vec.touch(pages);
    assert!(vec.iter().copied().eq(1..=many() as u64 / 2));
    match vec.resident(..) {
        Ok(count) => assert_eq!(count, pages.len() / page::size()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    }
}

#[cfg(feature = "zerocopy")]
mod frozen {
    use super::*;
    use crate::FrozenVec;
    use crate::os::inject;

    #[test]
    fn a_refused_change_of_rights_gives_the_vector_back() {
        // (What is behind them is not as fresh pages are.)
        let numbers = || {
            let mut vec = PagedVec::from(std::vec![u64::MAX; 2 * many()]);
            vec.clear();
            vec.extend(0..many() as u64);
            vec
        };
        for lasting in [false, true] {
            let refuse = |n| {
                move |body: &mut dyn FnMut()| {
                    if lasting {
                        fail_from(None, n, REFUSED, body).1
                    } else {
                        fail_nth(None, n, REFUSED, body).1
                    }
                }
            };
            for n in 0.. {
                let (mut vec, mut got) = (Some(numbers()), None);
                let failed = refuse(n)(&mut || got = vec.take().map(PagedVec::freeze));
                match got.unwrap() {
                    Ok(frozen) => assert!(frozen.iter().copied().eq(0..many() as u64)),
                    Err((mut vec, error)) => {
                        assert_eq!(error.operation(), crate::Operation::Protect);
                        if lasting && error.changed().is_some() {
                            // Neither could they be changed back, nor was there memory to move to.
                            assert!(vec.is_empty());
                        } else {
                            assert!(vec.iter().copied().eq(0..many() as u64));
                            vec[0] = 1;
                        }
                    }
                }
                if !failed {
                    break;
                }
            }
            for n in 0.. {
                let (mut frozen, mut got) = (Some(numbers().freeze().unwrap()), None);
                let failed = refuse(n)(&mut || got = frozen.take().map(FrozenVec::thaw));
                match got.unwrap() {
                    Ok(mut vec) => vec[0] = 1,
                    Err((frozen, _)) => assert!(frozen.iter().copied().eq(0..many() as u64)),
                }
                if !failed {
                    break;
                }
            }
            for n in 0.. {
                let (mut vec, mut got) = (Some(numbers()), None);
                let failed = refuse(n)(&mut || got = vec.take().map(PagedVec::into_pages));
                match got.unwrap() {
                    Ok((pages, len)) => {
                        assert_eq!(pages[8..16], 1_u64.to_ne_bytes());
                        assert!(pages[len * 8..].iter().all(|&byte| byte == 0));
                    }
                    Err((vec, _)) => assert!(vec.iter().copied().eq(0..many() as u64)),
                }
                if !failed {
                    break;
                }
            }
        }
    }

    /// What could be changed neither on nor back.
    #[test]
    fn elements_are_moved_from_pages_that_cannot_be_written() {
        let elements = Case::new(0, 100);
        let Case { vec, values } = elements;
        let moved = FrozenVec::of(vec).moved();
        let mut case = Case { vec: moved, values };
        case.check(100);
        let Case { vec, values } = case;
        let (empty, failed) = inject::fail_from(None, 0, REFUSED, || FrozenVec::of(vec).moved());
        assert!(failed && empty.is_empty());
        assert!(values.iter().all(|value| Rc::strong_count(value) == 1));
    }
}
