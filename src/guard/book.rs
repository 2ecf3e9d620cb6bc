//! The counts of this process, behind a lock that a `fork` cannot leave closed.
//!
//! The lock is a word that holds 0, or the [`life`](os::life) of the process that holds it. Who finds another life's number there
//! is the child of a `fork` made while a thread of the parent held it. That thread does not exist in the child and will never
//! let go: the child takes the lock over, and forgets the counts, which may be half changed. Counts of another life that are
//! whole are cleared: locks are not inherited.
//!
//! While the lock is held nothing is allocated or freed: the allocator may be anybody's, and may itself lock pages. (What the
//! system is asked for under it, [`os::unlock`], may allocate where something in the range is not mapped, and when it fails.)
//!
//! Not for signal handlers: one that interrupts the holder would wait for ever.

use super::counts::Counts;
use crate::error::{ErrorKind, Failure};
use crate::os;
use core::cell::UnsafeCell;
use core::mem;
use core::sync::atomic::{AtomicU64, Ordering};

struct Book {
    /// Whose life's number it is may touch `entries`, and nobody else of that life; 0: nobody.
    holder: AtomicU64,
    entries: UnsafeCell<Entries>,
}

struct Entries {
    /// In which the counts were made.
    life: u64,
    counts: Counts,
}

// SAFETY: `entries` is reached through `Open` alone, of which there is one at a time in a process: see `Book::open`.
unsafe impl Sync for Book {}

static BOOK: Book = Book::new();

/// The book, held by this thread until dropped.
struct Open<'a>(&'a Book);

impl Book {
    const fn new() -> Self {
        let entries = Entries { life: 0, counts: Counts::EMPTY };
        Self { holder: AtomicU64::new(0), entries: UnsafeCell::new(entries) }
    }

    fn open(&self, life: u64) -> Open<'_> {
        let mut waited = 0_u32;
        let deserted = loop {
            match self.holder.compare_exchange(0, life, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break false,
                Err(holder) if holder == life => wait(&mut waited),
                Err(parent) => {
                    if self
                        .holder
                        .compare_exchange(parent, life, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                    {
                        break true;
                    }
                }
            }
        };
        let mut open = Open(self);
        let entries = open.entries();
        if deserted {
            mem::forget(mem::replace(&mut entries.counts, Counts::EMPTY));
            entries.life = life;
        } else if entries.life != life {
            entries.counts.clear();
            entries.life = life;
        }
        open
    }
}

impl Open<'_> {
    fn entries(&mut self) -> &mut Entries {
        // SAFETY: `holder` changed from 0, or from the number of a process that is not this one, to this life's number when
        // this `Open` was made, and does not change before it is dropped, as only the word's holder and processes of another
        // life (whose memory is another) change it from there. So no other `Open` exists, and the reference borrows this one.
        unsafe { &mut *self.0.entries.get() }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}

/// Waits a little, and a little longer each time: the lock is held for some nanoseconds, or for a system call.
#[cold]
fn wait(waited: &mut u32) {
    *waited = waited.saturating_add(1);
    match *waited {
        0..64 => core::hint::spin_loop(),
        // A thread of higher priority than the holder's would yield to itself for ever.
        #[cfg(feature = "std")]
        256.. => std::thread::sleep(std::time::Duration::from_micros(50)),
        _ => os::yield_now(),
    }
}

/// Lets `change` make one change to the counts of this life.
pub(super) fn change<T>(life: u64, change: impl FnOnce(&mut Counts) -> T) -> Result<T, Failure> {
    // Declared before the book is opened, so that whatever is left in it is freed after the book is closed.
    let mut spare: Option<Counts> = None;
    loop {
        let mut open = BOOK.open(life);
        let counts = &mut open.entries().counts;
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
        let counts = &mut open.entries().counts;
        if let Some(wanted) = counts.wanted() {
            *counts = Counts::with_chunks(wanted).unwrap();
        }
        counts.add(SOME);
    }

    fn count(book: &Book, life: u64) -> u32 {
        book.open(life).entries().counts.of(4)
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
        assert_eq!(book.holder.load(Ordering::Relaxed), 0);
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
                        open.entries().counts.add(SOME);
                        drop(open);
                        book.open(1).entries().counts.subtract(SOME, false, |_| {});
                    }
                });
            }
        });
        assert_eq!(count(&book, 1), 1);
    }
}
