//! Parts of folio under a model checker, which tries every order in which threads can take their steps, and everything that the
//! weakest of processors may make of it. Run by `ci/models.sh`.
#![cfg(test)]

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering};
}

#[allow(dead_code, unreachable_pub, reason = "its own tests are not for here")]
#[path = "../../../src/process/entry.rs"]
mod entry;

use entry::{Entered, Entry};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// What a guest is made of: the word, and memory that is given back once.
struct Guest {
    entry: Entry,
    /// The checker finds accesses to it that are not in order with giving it back, and with it a second giving back.
    memory: UnsafeCell<Option<u32>>,
    given_back: AtomicUsize,
}

impl Guest {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entry: Entry::new(),
            memory: UnsafeCell::new(Some(7)),
            given_back: AtomicUsize::new(0),
        })
    }

    /// Whether one got in.
    fn enter(&self, inside: impl FnOnce()) -> bool {
        match self.entry.enter() {
            Entered::Over => false,
            Entered::OverAndLast => {
                self.reclaim();
                false
            }
            Entered::Inside => {
                self.look();
                inside();
                self.look();
                if self.entry.leave() {
                    self.reclaim();
                }
                true
            }
        }
    }

    fn look(&self) {
        self.memory.with(|memory| {
            // SAFETY: the checker says if somebody changes it at the same time.
            assert_eq!(unsafe { *memory }, Some(7), "the memory is gone");
        });
    }

    fn end(&self) {
        if self.entry.end() {
            self.reclaim();
        }
    }

    fn reclaim(&self) {
        self.memory.with_mut(|memory| {
            // SAFETY: the checker says if somebody looks at it, or changes it, at the same time.
            assert_eq!(unsafe { (*memory).take() }, Some(7), "given back twice");
        });
        self.given_back.fetch_add(1, Ordering::Relaxed);
    }

    /// When all are through.
    fn is_over(&self) {
        assert_eq!(self.given_back.load(Ordering::Relaxed), 1);
        assert!(!self.enter(|| unreachable!()));
        assert_eq!(self.given_back.load(Ordering::Relaxed), 1);
    }
}

/// All orders in which threads are interrupted at most so often at other places than where they wait: three threads have too many
/// orders to try all.
fn interrupted(times: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(times);
    builder.check(model);
}

/// One that enters and one that ends it, in all orders.
#[test]
fn entering_once_and_ending() {
    loom::model(|| {
        let guest = Guest::new();
        let other = Arc::clone(&guest);
        let thread = thread::spawn(move || other.enter(|| ()));
        guest.end();
        thread.join().unwrap();
        guest.is_over();
    });
}

/// Two that enter and one that ends it.
#[test]
fn entering_and_ending() {
    interrupted(4, || {
        let guest = Guest::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let guest = Arc::clone(&guest);
                thread::spawn(move || guest.enter(|| ()))
            })
            .collect();
        guest.end();
        assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).count(), 2);
        guest.is_over();
    });
}

/// One that enters twice in turn, one that enters within itself.
#[test]
fn entering_again_and_within() {
    interrupted(3, || {
        let guest = Guest::new();
        let (one, other) = (Arc::clone(&guest), Arc::clone(&guest));
        let threads = [
            thread::spawn(move || {
                let first = one.enter(|| ());
                // Who did not get in does not later.
                assert!(!one.enter(|| ()) || first);
            }),
            thread::spawn(move || {
                let within = Arc::clone(&other);
                other.enter(|| {
                    let _within = within.enter(|| ());
                });
            }),
        ];
        guest.end();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        guest.is_over();
    });
}

/// Two that end it, one of them from within, while somebody enters.
#[test]
fn ending_twice_and_from_within() {
    interrupted(3, || {
        let guest = Guest::new();
        let (one, other) = (Arc::clone(&guest), Arc::clone(&guest));
        let threads = [
            thread::spawn(move || {
                let within = Arc::clone(&one);
                one.enter(|| within.end());
            }),
            thread::spawn(move || {
                let _entered = other.enter(|| ());
            }),
        ];
        guest.end();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        guest.is_over();
    });
}
