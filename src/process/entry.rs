//! Who is inside of a process's memory, and whether that process has ended: one word.
//!
//! It counts those inside, and has two bits: that the process is over, so that nobody comes in any more, and that somebody has taken it upon
//! himself to give the memory back. To come in and to go out take one read-modify-write each, and nobody ever waits.
//!
//! Compiled twice: here, and by a model checker (`ci/models`), which lends it other atomics.

use super::atomic::{AtomicUsize, Ordering};

/// Nobody comes in any more.
const OVER: usize = 1;
/// Somebody gives, or has given, the memory back.
const CLAIMED: usize = 2;
/// One who is inside. (Who comes too late is counted for a moment, too.) The count cannot reach the upper end of the word: each one
/// takes up some of a stack.
const INSIDE: usize = 4;

/// See the module.
pub(super) struct Entry {
    state: AtomicUsize,
}

/// What came of an attempt to come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entered {
    /// The memory stays until [`Entry::leave`], which is to be called once.
    Inside,
    /// It is over.
    Over,
    /// It is over, and the caller was the last: he is to give the memory back.
    OverAndLast,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self { state: AtomicUsize::new(0) }
    }

    /// Comes in, if it is not over.
    #[inline]
    pub(super) fn enter(&self) -> Entered {
        // What is over costs no more than this.
        if self.is_over() {
            return Entered::Over;
        }
        // Acquire: whatever is done inside comes behind.
        if self.state.fetch_add(INSIDE, Ordering::Acquire) & OVER == 0 {
            return Entered::Inside;
        }
        self.too_late()
    }

    #[cold]
    fn too_late(&self) -> Entered {
        if self.leave() { Entered::OverAndLast } else { Entered::Over }
    }

    /// Goes out: whether the caller was the last, and is to give the memory back.
    #[inline]
    pub(super) fn leave(&self) -> bool {
        // Release: whatever was done inside comes before.
        let before = self.state.fetch_sub(INSIDE, Ordering::Release);
        before == INSIDE | OVER && self.claim()
    }

    /// Ends it: whether the caller is to give the memory back, since nobody is inside. Otherwise the last one to leave is.
    pub(super) fn end(&self) -> bool {
        // Release, for who finds it over.
        self.state.fetch_or(OVER, Ordering::AcqRel) & OVER == 0 && self.claim()
    }

    /// Takes the memory upon oneself, if it is over and nobody is inside: one alone can. If somebody has just come too late, that
    /// one will find himself the last, or the next one.
    fn claim(&self) -> bool {
        // Acquire: all that left have done so before; each of their changes was a release, and each one that followed a
        // read-modify-write, so that this one sees them all.
        self.state.compare_exchange(OVER, OVER | CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) & OVER != 0
    }

    /// Whether somebody gives, or has given, the memory back.
    pub(super) fn is_claimed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLAIMED != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_is_last_is_told_so_once() {
        let entry = Entry::new();
        assert_eq!((entry.enter(), entry.enter()), (Entered::Inside, Entered::Inside));
        assert!(!entry.leave());
        assert!(!entry.end() && !entry.end());
        assert_eq!(entry.enter(), Entered::Over);
        assert!(!entry.is_claimed());
        assert!(entry.leave() && entry.is_claimed());
        assert!(!entry.end());
        assert_eq!((entry.enter(), entry.too_late_for_tests()), (Entered::Over, Entered::Over));
    }

    #[test]
    fn where_nobody_is_inside_the_end_is_at_once() {
        let entry = Entry::new();
        assert_eq!(entry.enter(), Entered::Inside);
        assert!(!entry.leave());
        assert!(entry.end());
        assert!(!entry.end() && entry.is_over());
    }

    /// Who has looked before the end and counts himself behind it.
    #[test]
    fn who_comes_too_late_can_be_the_last() {
        let entry = Entry::new();
        entry.state.fetch_add(INSIDE, Ordering::Acquire);
        assert!(!entry.end());
        assert_eq!(entry.too_late(), Entered::OverAndLast);
        assert_eq!(entry.too_late_for_tests(), Entered::Over);
    }

    impl Entry {
        fn too_late_for_tests(&self) -> Entered {
            self.state.fetch_add(INSIDE, Ordering::Acquire);
            self.too_late()
        }
    }
}
