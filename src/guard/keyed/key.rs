//! A protection key that is given back once, and what each thread holds open of it.

use crate::error::{ErrorKind, Failure, Operation};
use crate::guard::report;
use crate::os::{Rights, keys};
use crate::range::index;
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

/// A key of which nobody else knows. Whoever holds one has pages that carry it, or will: it is given back on drop.
#[derive(Debug)]
pub(super) struct Key {
    /// Below [`keys::COUNT`].
    number: u32,
    /// Never given twice, while numbers of keys are.
    owner: u64,
}

impl Key {
    pub(super) fn new() -> Result<Self, Failure> {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let number = keys::new()?;
        // From 1 on: 0 is nobody's.
        let owner = OWNERS.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let key = Self { number, owner };
        if index(number) < keys::COUNT { Ok(key) } else { Err(Failure::new(ErrorKind::UnexpectedAnswer)) }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// One guard more on this thread, for reading or writing.
    #[inline]
    pub(super) fn open(&self, rights: Rights) {
        // The most is not to be reached, even by forgetting guards.
        self.change(rights, |count| count.saturating_add(1));
    }

    /// One guard less.
    #[inline]
    pub(super) fn close(&self, rights: Rights) {
        self.change(rights, |count| count.saturating_sub(1));
    }

    /// Lets the register grant again what this thread's guards promise, if somebody has taken it away: a `siglongjmp` out of a
    /// signal handler leaves the handler's rights behind, and not only folio writes the register.
    #[inline]
    pub(super) fn settle(&self, needed: Rights) {
        if keys::rights(self.number) < needed {
            self.change(needed, |count| count);
        }
    }

    /// Changes a count of this thread, and the register if it does not grant what the counts say.
    ///
    /// What the register grants is read there, not concluded from the counts: a signal handler finds it closed over the counts of the code that
    /// it has interrupted, and a new thread has inherited it open with no counts at all.
    ///
    /// A signal handler may come in between at any point: it leaves the counts as it found them if it drops the guards it
    /// makes, and the kernel restores the register when it returns.
    #[inline]
    fn change(&self, rights: Rights, change: impl FnOnce(u64) -> u64) {
        let counted = HELD.try_with(|all| {
            // `new` has seen to it that there is one.
            let Some(held) = all.get(index(self.number)) else { return };
            if held.owner.load(Ordering::Relaxed) != self.owner {
                held.pass_to(self.owner);
            }
            let count = held.count(rights);
            count.store(change(count.load(Ordering::Relaxed)), Ordering::Relaxed);
            keys::set_rights(self.number, held.rights());
        });
        if counted.is_err() {
            // In a destructor of another thread-local, after the end of the counts. No guard may be without its rights: what is
            // open stays so for the rest of the thread's life.
            keys::set_rights(self.number, keys::rights(self.number).max(rights));
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if let Err(failure) = keys::free(self.number) {
            report(&failure.during(Operation::Key, None, None));
        }
    }
}

/// How many guards a thread has of a key. Only it, and signal handlers that interrupt it, use them: loads and stores, nothing
/// that locks a bus.
#[derive(Debug)]
struct Held {
    owner: AtomicU64,
    readers: AtomicU64,
    writers: AtomicU64,
}

impl Held {
    const fn nothing() -> Self {
        Self { owner: AtomicU64::new(0), readers: AtomicU64::new(0), writers: AtomicU64::new(0) }
    }

    /// The number is another key's now; what is counted still are guards that were forgotten.
    #[cold]
    fn pass_to(&self, owner: u64) {
        self.readers.store(0, Ordering::Relaxed);
        self.writers.store(0, Ordering::Relaxed);
        // The owner last: a signal handler in between does the same again, and counts of guards are lost to nobody.
        compiler_fence(Ordering::SeqCst);
        self.owner.store(owner, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    #[inline]
    fn count(&self, rights: Rights) -> &AtomicU64 {
        match rights {
            Rights::Write => &self.writers,
            Rights::Read | Rights::Closed => &self.readers,
        }
    }

    #[inline]
    fn rights(&self) -> Rights {
        if self.writers.load(Ordering::Relaxed) > 0 {
            Rights::Write
        } else if self.readers.load(Ordering::Relaxed) > 0 {
            Rights::Read
        } else {
            Rights::Closed
        }
    }
}

std::thread_local! {
    /// By number of key. Made at compile time and without a destructor: there at any time, for destructors of other
    /// thread-locals and signal handlers too, and in reach without a test. (But where the compiler knows no thread-locals, as on
    /// Android, `std` makes them when they are first used, and ends them with the thread.)
    static HELD: [Held; keys::COUNT] = const { [const { Held::nothing() }; keys::COUNT] };
}
