//! Keeping pages in memory, for as long as anybody wants them there.

use super::counts::Pages;
use super::{book, report};
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::range::PageRange;
use core::fmt;
use core::mem;
use core::ops::Range;

/// Keeps all pages that `[address, address + len)` touches in memory: reads them in, and lets the system neither swap them out
/// nor drop them until the [`LockGuard`] is dropped.
///
/// Locks nest and may overlap. Neither POSIX nor Windows counts them: there the first unlocking undoes all. folio does, a page
/// at a time: a page is unlocked when the last guard over it is dropped. Each call locks in the system, too, so that what became
/// of the pages since an earlier one (they were unmapped and mapped anew, say) does not matter. Several copies of folio in one
/// program (two versions of it) count each for itself, as does whoever else locks: a page that folio unlocks, or of which it
/// failed to lock a range, is unlocked for `mlock`, `mlockall` or `VirtualLock` elsewhere in the program, too.
///
/// Locked is not secret: hibernation writes all memory to disk, and a core dump does. The content of pages is not needed by
/// anybody for this: locking is not `unsafe`, also where the caller does not own what lies there.
///
/// # After `fork`
///
/// A child has the parent's memory but none of its locks, and folio's counts begin anew in it. A guard made in the parent does
/// nothing when it is dropped in the child. May be called in the child of a `fork` from a program with threads, as far as the
/// allocator may.
///
/// # Threads, signal handlers
///
/// May be called from any thread; a thread that unlocks makes others wait that begin to lock or unlock in that moment, but those
/// that wait for pages to be read in keep nobody waiting. Not to be called in a signal handler: it could wait for the thread
/// that it interrupted.
///
/// # Cost
///
/// One system call (`mlock`, `VirtualLock`), and one on drop if pages become free, or one for each run of them. Counting takes
/// some 0.3 microseconds for a lock and its unlocking together, 0.5 when 30,000 separate runs of pages are held; it does not
/// grow with the length of the range, but with the number of places within it where the count changes (some nanoseconds each).
/// Memory for the counts is allocated in steps that double, at first 8 KiB, and not given back; the guard itself is three words.
/// To explain an error folio reads some of `/proc`.
///
/// # Errors
///
/// In each case nothing is locked that was not before.
///
/// - [`ErrorKind::InvalidInput`]: `len` is 0.
/// - [`ErrorKind::Unmapped`]: something in the range is not mapped.
/// - [`ErrorKind::NotPermitted`]: pages that grant no access cannot be read in (see [`lock_on_fault`]).
/// - [`ErrorKind::Exhausted`]: the process may not lock so much. [`Error::limit`](crate::Error::limit) and
///   [`Error::in_use`](crate::Error::in_use) say how much in bytes, [`Error::remedy`](crate::Error::remedy) how to raise it;
///   [`lock_available`] locks what can be locked. Also when the pages do not fit into memory, the process has as many mappings
///   as it may have (a locked part of a mapping is one of its own), or no memory was left for counting.
/// - [`ErrorKind::Unsupported`]: this system has no such call that folio knows.
///
/// # Platforms
///
/// | system | what limits it |
/// |---|---|
/// | Linux, Android | `RLIMIT_MEMLOCK` (`ulimit -l`; often 8 MiB, 64 KiB before 5.16), unless the program has `CAP_IPC_LOCK`, as root has |
/// | Windows | the minimum working set, some 50 pages less: `SetProcessWorkingSetSize` |
/// | Apple, FreeBSD, NetBSD, OpenBSD | `RLIMIT_MEMLOCK`, and what may be wired in all |
/// | illumos | the privilege `proc_lock_memory`, and `project.max-locked-memory` |
///
/// A page locked by more than 4 billion guards at once stays locked for ever.
///
/// # Examples
///
/// ```
/// let key = [7_u8; 32];
/// let guard = folio::lock(key.as_ptr(), key.len())?;
/// {
///     let _again = folio::lock(&key, 1)?;
/// }
/// // Still locked.
/// assert!(guard.as_range().contains(&key.as_ptr().addr()));
/// guard.unlock()?;
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html),
/// [`VirtualLock`](https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-virtuallock).
pub fn lock<T>(address: *const T, len: usize) -> Result<LockGuard> {
    hold(touching(Operation::Lock, address.addr(), len)?, os::lock)
}

/// As [`lock`], but does not read the pages in: each is kept from when it is first used.
///
/// For large memory of which little is used, and for pages that grant no access yet. What is in memory already is kept from now
/// on. Of pages that another guard keeps by [`lock`] nothing is lost, but those that come new into their range later (because
/// they granted no access until then) come in when they are used.
///
/// # Cost
///
/// As [`lock`], without the reading in. The whole range counts against the limit.
///
/// # Errors
///
/// As [`lock`]; [`ErrorKind::Unsupported`] where the system cannot do it: see
/// [`Capabilities::lock_on_fault`](crate::Capabilities::lock_on_fault). There is no falling back to [`lock`], which would need
/// memory for all of the range at once.
///
/// # Platforms
///
/// Linux and Android, since Linux 4.4.
///
/// # Examples
///
/// ```
/// let large = vec![0_u8; 100_000];
/// if folio::Capabilities::probe().lock_on_fault() {
///     let _guard = folio::lock_on_fault(large.as_ptr(), large.len())?;
/// }
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: [mlock2(2)](https://man7.org/linux/man-pages/man2/mlock.2.html).
pub fn lock_on_fault<T>(address: *const T, len: usize) -> Result<LockGuard> {
    hold(touching(Operation::Lock, address.addr(), len)?, os::lock_on_fault)
}

/// As [`lock`], but where not all can be locked because a limit is reached, as many pages from the start as can be.
///
/// [`LockGuard::len`] and [`LockGuard::as_range`] say how much that is. Nothing beyond that is locked when the call returns,
/// though more may be for a moment while it tries.
///
/// # Cost
///
/// Where all can be locked, that of [`lock`]. Else at most twice as many attempts as the number of pages has binary digits; three
/// where the system tells how much is left and nobody else locks meanwhile.
///
/// # Errors
///
/// As [`lock`], with the limit, when not even the first page can be locked. What is no limit is an error, too, and then nothing
/// is locked: a hole anywhere in the range, pages that grant no access.
///
/// # Platforms
///
/// As [`lock`].
///
/// # Examples
///
/// ```
/// let large = vec![0_u8; 10_000_000];
/// let guard = folio::lock_available(large.as_ptr(), large.len())?;
/// println!("{} bytes stay in memory", guard.len());
/// # Ok::<(), folio::Error>(())
/// ```
pub fn lock_available<T>(address: *const T, len: usize) -> Result<LockGuard> {
    available(touching(Operation::Lock, address.addr(), len)?)
}

/// Takes one lock from each page that `[address, address + len)` touches. Those that no lock holds any more, and those that none
/// held before, are unlocked by the system.
///
/// For locks whose guard was forgotten (`mem::forget`), and for those that somebody made without folio. A guard that is kept
/// needs no `unlock`: taking its lock away like this ends it early, and the guard then finds nothing to unlock when it is
/// dropped, or takes the lock of another guard with it. That is not unsafe: pages that are not locked hold what they held.
///
/// # Cost
///
/// One system call for each run of pages that become free (`munlock`, `VirtualUnlock`), and counting as for [`lock`]. Where
/// something in the range is not mapped, as many more as there are regions in it, which have to be looked up.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] when `len` is 0. [`ErrorKind::Exhausted`] when the system would need one mapping more for it than
/// the process may have (a locked region is split by unlocking its middle); the error names the first run of pages that stayed
/// locked, the others were unlocked. The locks are taken from the counts nevertheless: another `unlock` tries once more. Or when
/// no memory was left for counting: then nothing was done. That pages are not locked, or not mapped, is no error.
///
/// # Platforms
///
/// As [`lock`].
///
/// # Examples
///
/// ```
/// let data = [0_u8; 100];
/// std::mem::forget(folio::lock(&data, 100)?);
/// folio::unlock(&data, 100)?;
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: [munlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html),
/// [`VirtualUnlock`](https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-virtualunlock).
pub fn unlock<T>(address: *const T, len: usize) -> Result<()> {
    release(touching(Operation::Unlock, address.addr(), len)?, os::life(), true)
}

/// Keeps pages in memory: made by [`lock`], [`lock_on_fault`] and [`lock_available`].
///
/// Dropping it unlocks the pages that no other guard of this process holds. It does not borrow the memory: pages that were
/// unmapped in the meantime are passed over, but what was mapped in their place and locked *by other means than folio* is
/// unlocked. A failure on drop (see [`unlock`](Self::unlock)) is written to standard error in debug builds.
#[must_use = "a lock ends when its guard is dropped, which here is at once: give it a name"]
pub struct LockGuard {
    range: PageRange,
    /// In which it was made: in the child of a `fork` it holds nothing.
    life: u64,
}

impl LockGuard {
    /// The addresses of the locked pages. The end of a range that reaches the top of the address space saturates at
    /// `usize::MAX`.
    pub fn as_range(&self) -> Range<usize> {
        self.range.to_range()
    }

    /// How many bytes are locked: whole pages.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Ends the lock, as dropping it does, and says whether that succeeded.
    ///
    /// # Errors
    ///
    /// As [`unlock`](crate::unlock()).
    pub fn unlock(self) -> Result<()> {
        let done = self.end();
        mem::forget(self);
        done
    }

    fn end(&self) -> Result<()> {
        if self.life != os::life() {
            return Ok(());
        }
        release(self.range, self.life, false)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            report(&error);
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&format_args!("{:#x?}", self.as_range())).finish()
    }
}

fn touching(operation: Operation, address: usize, len: usize) -> Result<PageRange> {
    PageRange::touching(address, len).map_err(|failure| failure.during(operation, None, None))
}

/// The numbers of the pages.
fn pages(range: PageRange) -> Pages {
    let shift = page::mask().count_ones();
    let number = |address: usize| address.wrapping_shr(shift);
    Pages { first: number(range.first()), end: number(range.last()).saturating_add(1) }
}

/// The pages of these numbers.
fn range(pages: Pages) -> Option<PageRange> {
    let mask = page::mask();
    let shift = mask.count_ones();
    let last = pages.end.saturating_sub(1).wrapping_shl(shift) | mask;
    PageRange::between(pages.first.wrapping_shl(shift), last)
}

/// Counts the pages first and locks them then: whoever unlocks some of them meanwhile sees that they are wanted.
fn hold(range: PageRange, how: fn(PageRange) -> core::result::Result<(), Failure>) -> Result<LockGuard> {
    let life = os::life();
    let counted = book::change(life, |counts| counts.add(pages(range)));
    counted.map_err(|failure| failure.during(Operation::Lock, Some(range), None))?;
    match how(range) {
        Ok(()) => Ok(LockGuard { range, life }),
        Err(failure) => {
            // The system may have locked the first pages before it came to one that it could not lock.
            if let Err(error) = release(range, life, false) {
                report(&error);
            }
            Err(failure.during(Operation::Lock, Some(range), None))
        }
    }
}

/// Lets pages that have a lock be moved by the system, which takes the lock along: counts it where they are then.
#[cfg(feature = "collections")]
pub(crate) fn moving(
    from: PageRange,
    to: PageRange,
    moved: impl FnOnce() -> core::result::Result<(), Failure>,
) -> core::result::Result<(), Failure> {
    let life = os::life();
    // Before they are there, when nothing is lost by a refusal.
    book::change(life, |counts| counts.add(pages(to)))?;
    let done = moved();
    let left = if done.is_ok() { from } else { to };
    // There is nothing to be unlocked any more, or not yet. (A refusal, for want of memory, leaves a count that is never asked for.)
    let _counted = book::change(life, |counts| counts.subtract(pages(left), false, |_| {}));
    done
}

/// Takes one lock from each page, and unlocks those that nobody holds then; with `idle_too`, also those that nobody held.
///
/// The book stays open meanwhile: a lock that somebody begins on the same pages comes before the subtraction, or after the
/// unlocking, which would else undo it.
fn release(whole: PageRange, life: u64, idle_too: bool) -> Result<()> {
    let mut failed = None;
    let counted = book::change(life, |counts| {
        counts.subtract(pages(whole), idle_too, |run| {
            // Parts of a range are ranges.
            let Some(run) = range(run) else { return };
            if let Err(failure) = os::unlock(run) {
                failed.get_or_insert((run, failure));
            }
        });
    });
    if let Err(failure) = counted {
        failed = Some((whole, failure));
    }
    match failed {
        None => Ok(()),
        Some((range, failure)) => Err(failure.during(Operation::Unlock, Some(range), None)),
    }
}

/// Locks as many of the pages, from the first on, as a limit lets.
fn available(whole: PageRange) -> Result<LockGuard> {
    let error = match hold(whole, os::lock) {
        Err(error) if error.kind() == ErrorKind::Exhausted => error,
        done => return done,
    };
    let size = page::size();
    let all = pages(whole);
    // `held` pages are locked, and `beyond` is a number of them that could not be.
    let (mut held, mut beyond) = (None::<LockGuard>, all.end);
    // How many more to try next. As many as the limit leaves are a guess, since pages that are locked already cost nothing;
    // then one more, and, if that is granted, two, four and so on. Without a limit to go by, half of what is left.
    let room = error.limit().zip(error.in_use()).map(|(limit, used)| limit.saturating_sub(used));
    let guess = room.and_then(|bytes| usize::try_from(bytes).ok()).and_then(|bytes| bytes.checked_div(size));
    let (mut more, mut after) = match guess {
        Some(guess) => (guess, Some(1)),
        None => (usize::MAX, None),
    };
    loop {
        let next = held.as_ref().map_or(all.first, |guard| pages(guard.range).end);
        let unknown = beyond.saturating_sub(next).saturating_sub(1);
        if unknown == 0 {
            return held.ok_or(error);
        }
        let half = unknown.div_ceil(2);
        let end = next.saturating_add(if more == usize::MAX { half } else { more.clamp(1, unknown) });
        let Some(part) = range(Pages { first: next, end }) else { return held.ok_or(error) };
        match hold(part, os::lock) {
            Ok(guard) => {
                held = Some(match held {
                    Some(first) => first.joined(guard),
                    None => guard,
                });
                more = after.unwrap_or(usize::MAX);
                after = after.map(|tried| tried.saturating_mul(2));
            }
            Err(error) if error.kind() == ErrorKind::Exhausted => {
                beyond = end;
                (more, after) = (usize::MAX, None);
            }
            Err(error) => return Err(error),
        }
    }
}

impl LockGuard {
    /// Both as one; `next` begins where `self` ends.
    fn joined(self, next: Self) -> Self {
        match PageRange::between(self.range.first(), next.range.last()) {
            Some(range) if self.life == next.life => {
                let life = self.life;
                mem::forget(self);
                mem::forget(next);
                Self { range, life }
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::inject;
    use std::vec::Vec;

    /// Pages of the heap, which stay where they are.
    struct Heap {
        memory: Vec<u8>,
    }

    impl Heap {
        fn new(pages: usize) -> Self {
            Self { memory: std::vec![1; (pages + 1) * page::size()] }
        }

        fn page(&self, number: usize) -> *const u8 {
            page::ceil(self.memory.as_ptr()).wrapping_add(number * page::size())
        }
    }

    fn counts(heap: &Heap, pages: usize) -> Vec<u32> {
        let first = heap.page(0).addr() / page::size();
        book::change(os::life(), |counts| (first..first + pages).map(|page| counts.of(page)).collect())
            .unwrap()
    }

    /// The names of the system's calls; `None` where nothing can be locked.
    fn calls() -> Option<(&'static str, &'static str)> {
        let heap = Heap::new(1);
        let (guard, lock) = inject::calls_of(|| lock(heap.page(0), 1));
        let ((), unlock) = inject::calls_of(|| drop(guard.ok()));
        Some((lock.last()?, unlock.last()?))
    }

    #[test]
    fn a_failed_lock_leaves_the_counts_as_they_were() {
        let Some((lock_call, unlock_call)) = calls() else { return };
        let heap = Heap::new(4);
        let size = page::size();
        let held = lock(heap.page(1), size).unwrap();
        let before = counts(&heap, 4);
        assert_eq!(before, [0, 1, 0, 0]);
        let ((failed, reached), calls) =
            inject::calls_of(|| inject::fail_nth(Some(lock_call), 0, 12, || lock(heap.page(0), 3 * size)));
        assert!(reached);
        let error = failed.unwrap_err();
        assert_eq!(error.operation(), Operation::Lock);
        assert_eq!(error.range(), Some(heap.page(0).addr()..heap.page(3).addr()));
        assert_eq!(counts(&heap, 4), before);
        // Page 1 is held; the two beside it may have been locked before the failure, and are unlocked.
        assert_eq!(calls.iter().filter(|&&call| call == unlock_call).count(), 2, "{calls:?}");
        drop(held);
        assert_eq!(counts(&heap, 4), [0; 4]);
    }

    #[test]
    fn a_failed_unlock_is_reported_and_can_be_tried_again() {
        let Some((_, unlock_call)) = calls() else { return };
        let heap = Heap::new(3);
        let size = page::size();
        let guard = lock(heap.page(0), 3 * size).unwrap();
        let inner = lock(heap.page(1), size).unwrap();
        // The first of two runs: the second is unlocked nevertheless.
        let ((failed, reached), calls) =
            inject::calls_of(|| inject::fail_nth(Some(unlock_call), 0, 1, || guard.unlock()));
        assert!(reached);
        // (No error where the system, asked then, says that the pages are not locked.)
        if let Err(error) = failed {
            assert_eq!(error.operation(), Operation::Unlock);
            assert_eq!(error.range(), Some(heap.page(0).addr()..heap.page(1).addr()));
            assert_eq!(error.raw_os_error(), Some(1));
        }
        assert!(calls.iter().filter(|&&call| call == unlock_call).count() >= 2, "{calls:?}");
        assert_eq!(counts(&heap, 3), [0, 1, 0]);
        // Pages without a count are unlocked when asked for.
        let (done, calls) = inject::calls_of(|| unlock(heap.page(0), size));
        done.unwrap();
        assert!(calls.contains(&unlock_call));
        // A drop never panics.
        let ((), reached) = inject::fail_nth(Some(unlock_call), 0, 1, || drop(inner));
        assert!(reached);
        assert_eq!(counts(&heap, 3), [0; 3]);
    }

    /// Trap: two lock guards on one page, one dropped: the page was unlocked.
    #[test]
    fn only_the_last_guard_unlocks() {
        let Some((lock_call, unlock_call)) = calls() else { return };
        let heap = Heap::new(2);
        let size = page::size();
        let (first, made) = inject::calls_of(|| lock(heap.page(0), 2 * size).unwrap());
        assert!(made.contains(&lock_call), "{made:?}");
        // Trap: counts that skip a lock: the pages may be others by now.
        let (second, made) = inject::calls_of(|| lock(heap.page(0), 1).unwrap());
        assert!(made.contains(&lock_call), "{made:?}");
        assert_eq!(counts(&heap, 2), [2, 1]);
        let ((), made) = inject::calls_of(|| drop(first));
        assert!(made.contains(&unlock_call), "{made:?}");
        assert_eq!(counts(&heap, 2), [1, 0]);
        let ((), made) = inject::calls_of(|| drop(second));
        assert!(made.contains(&unlock_call), "{made:?}");
        assert_eq!(counts(&heap, 2), [0, 0]);
    }

    /// Trap: locks are not inherited by `fork`.
    #[test]
    fn a_guard_of_another_life_does_nothing() {
        let Some(_) = calls() else { return };
        let heap = Heap::new(1);
        let own = lock(heap.page(0), 1).unwrap();
        let inherited = LockGuard { range: own.range, life: own.life.wrapping_add(1) };
        let ((), made) = inject::calls_of(|| drop(inherited));
        assert!(made.is_empty(), "{made:?}");
        assert_eq!(counts(&heap, 1), [1]);
    }

    #[test]
    fn what_is_available_is_locked_and_no_more() {
        let Some((lock_call, _)) = calls() else { return };
        let heap = Heap::new(9);
        let size = page::size();
        // One failure that looks like a limit: the whole is not tried again, all but a page of it is locked by then.
        let (done, reached) =
            inject::fail_nth(Some(lock_call), 0, 11, || lock_available(heap.page(0), 9 * size));
        assert!(reached);
        match done {
            Ok(guard) => {
                assert_eq!(guard.len(), 8 * size);
                assert_eq!(counts(&heap, 9), [1, 1, 1, 1, 1, 1, 1, 1, 0]);
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Exhausted),
        }
        assert_eq!(counts(&heap, 9), [0; 9]);
    }

    #[test]
    fn guards_are_small_and_can_be_sent() {
        fn sent<T: Send + Sync>() {}
        sent::<LockGuard>();
        assert!(size_of::<LockGuard>() <= 24);
    }

    #[test]
    fn page_numbers_lead_back_to_the_pages() {
        for whole in [
            PageRange::containing(0),
            PageRange::containing(usize::MAX),
            PageRange::touching(0, usize::MAX).unwrap(),
            PageRange::touching(page::size() + 1, 3 * page::size()).unwrap(),
        ] {
            assert_eq!(range(pages(whole)), Some(whole));
        }
    }
}
