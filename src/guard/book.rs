//! The counts of this process, behind a lock that a `fork` cannot leave closed.
//!
//! The child of a `fork` that finds the lock deserted forgets the counts, which may be half changed. Counts of another life that
//! are whole are cleared: locks are not inherited.
//!
//! While the lock is held nothing is allocated or freed: the allocator may be anybody's, and may itself lock pages. (What the
//! system is asked for under it, [`os::unlock`](crate::os::unlock), may allocate where something in the range is not mapped, and when it
//! fails.)
//!
//! Not for signal handlers: one that interrupts the holder would wait for ever.

use super::counts::Counts;
use crate::error::{ErrorKind, Failure};
use crate::life_lock::{self, LifeLock};
use core::mem;

struct Book(LifeLock<Entries>);

struct Entries {
    /// In which the counts were made.
    life: u64,
    counts: Counts,
}

static BOOK: Book = Book::new();

/// The book, held by this thread until dropped.
type Open<'a> = life_lock::Open<'a, Entries>;

impl Book {
    const fn new() -> Self {
        Self(LifeLock::new(Entries { life: 0, counts: Counts::EMPTY }))
    }

    fn open(&self, life: u64) -> Open<'_> {
        let (mut entries, deserted) = self.0.open(life);
        if deserted {
            mem::forget(mem::replace(&mut entries.counts, Counts::EMPTY));
            entries.life = life;
        } else if entries.life != life {
            entries.counts.clear();
            entries.life = life;
        }
        entries
    }
}

/// Lets `change` make one change to the counts of this life.
pub(super) fn change<T>(life: u64, change: impl FnOnce(&mut Counts) -> T) -> Result<T, Failure> {
    // Declared before the book is opened, so that whatever is left in it is freed after the book is closed.
    let mut spare: Option<Counts> = None;
    loop {
        let mut open = BOOK.open(life);
        let counts = &mut open.counts;
        let Some(wanted) = counts.wanted() else { return Ok(change(counts)) };
        if let Some(bigger) = spare.as_mut().filter(|spare| spare.has_chunks(wanted)) {
            bigger.take_over(counts);
            mem::swap(counts, bigger);
            return Ok(change(counts));
        }
        drop(open);
        spare = Some(Counts::with_chunks(wanted).map_err(|_| {
            Failure::new(ErrorKind::Exhausted).detail("no memory in which to count the locks of each page")
        })?);
    }
}

#[cfg(test)]
mod tests {
    use super::super::counts::Pages;
    use super::*;

    const SOME: Pages = Pages { first: 3, end: 5 };

    fn add(book: &Book, life: u64) {
        let mut open = book.open(life);
        let counts = &mut open.counts;
        if let Some(wanted) = counts.wanted() {
            *counts = Counts::with_chunks(wanted).unwrap();
        }
        counts.add(SOME);
    }

    fn count(book: &Book, life: u64) -> u32 {
        book.open(life).counts.of(4)
    }

    #[test]
    fn counts_of_another_life_are_cleared() {
        let book = Book::new();
        add(&book, 1);
        assert_eq!(count(&book, 1), 1);
        assert_eq!(count(&book, 2), 0);
        add(&book, 2);
        assert_eq!(count(&book, 2), 1);
    }

    /// Trap: a fork while a registry's mutex is held deadlocks the child.
    #[test]
    fn a_book_that_a_parent_held_is_taken_over() {
        let book = Book::new();
        add(&book, 1);
        mem::forget(book.open(1));
        assert_eq!(count(&book, 2), 0);
        assert!(!book.0.is_held());
        add(&book, 2);
        assert_eq!(count(&book, 2), 1);
    }

    #[test]
    fn one_thread_at_a_time() {
        let book = Book::new();
        add(&book, 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let mut open = book.open(1);
                        open.counts.add(SOME);
                        drop(open);
                        book.open(1).counts.subtract(SOME, false, |_| {});
                    }
                });
            }
        });
        assert_eq!(count(&book, 1), 1);
    }
}
