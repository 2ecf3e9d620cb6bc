//! Keeping pages in memory: what the system has locked is what somebody holds.

mod common;

use common::{Area, Helper, role, rounds, say, skipped};
use folio::{ErrorKind, LockGuard, Operation, Protection, page};
use std::mem;
use std::ptr::{null, without_provenance};

/// Which pages of an area the system has locked; `None` where it does not tell a page at a time.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn locked(area: &Area, pages: usize) -> Option<Vec<bool>> {
    let text = std::fs::read("/proc/self/smaps").ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut found = vec![false; pages];
    let mut region = 0..0;
    for line in text.lines() {
        let word = line.split(' ').next().unwrap();
        if let Some((start, end)) = word.split_once('-').filter(|_| !word.ends_with(':')) {
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            region = number(start)..number(end);
        } else if word == "VmFlags:" && line.split(' ').any(|flag| flag == "lo") {
            for (index, locked) in found.iter_mut().enumerate() {
                *locked |= region.contains(&area.page(index));
            }
        }
    }
    Some(found)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn locked(_area: &Area, _pages: usize) -> Option<Vec<bool>> {
    None
}

#[track_caller]
fn expect(area: &Area, expected: &[bool]) {
    if let Some(found) = locked(area, expected.len()) {
        assert_eq!(found, expected);
    }
}

fn lock(area: &Area, first: usize, pages: usize) -> LockGuard {
    folio::lock(area.pointer().wrapping_add(first * page::size()), pages * page::size()).unwrap()
}

/// Whether a few pages may be locked on this machine; says so if not.
fn may_lock(test: &str, pages: usize) -> bool {
    let area = Area::new(pages);
    match folio::lock(area.pointer(), area.len()) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Exhausted) => {
            skipped(test, &error.to_string());
            false
        }
        Err(error) => panic!("{error}"),
    }
}

const T: bool = true;
const F: bool = false;

/// Trap: two lock guards on one page, one dropped: the page was unlocked.
#[test]
fn nested_and_overlapping_locks_count_per_page() {
    if !may_lock("nested_and_overlapping_locks_count_per_page", 6) {
        return;
    }
    let area = Area::new(6);
    let outer = lock(&area, 1, 4);
    assert_eq!(outer.as_range(), area.page(1)..area.page(5));
    assert_eq!(outer.len(), 4 * page::size());
    expect(&area, &[F, T, T, T, T, F]);
    let before = lock(&area, 0, 2);
    let after = lock(&area, 4, 2);
    let inner = lock(&area, 2, 1);
    expect(&area, &[T; 6]);
    outer.unlock().unwrap();
    expect(&area, &[T, T, T, F, T, T]);
    drop(inner);
    expect(&area, &[T, T, F, F, T, T]);
    drop(before);
    expect(&area, &[F, F, F, F, T, T]);
    drop(after);
    expect(&area, &[F; 6]);
}

/// What `region` 4 documents: addresses are rounded outward, a guard may be forgotten and the pages unlocked by hand.
#[test]
fn a_program_for_region_behaves_as_before() {
    if !may_lock("a_program_for_region_behaves_as_before", 3) {
        return;
    }
    let area = Area::new(3);
    let size = page::size();
    {
        let _guard = folio::lock(area.pointer().wrapping_add(size - 1), 2).unwrap();
        expect(&area, &[T, T, F]);
    }
    expect(&area, &[F; 3]);
    mem::forget(folio::lock(area.pointer(), 3 * size).unwrap());
    mem::forget(folio::lock(area.pointer(), 1).unwrap());
    folio::unlock(area.pointer(), 3 * size).unwrap();
    expect(&area, &[T, F, F]);
    folio::unlock(area.pointer(), 1).unwrap();
    expect(&area, &[F; 3]);
    // Once too often is no error, nor is what was never locked, nor mapped.
    folio::unlock(area.pointer(), 3 * size).unwrap();
    folio::unlock(null::<u8>(), 1).unwrap();
}

#[cfg(unix)]
#[test]
fn unlock_undoes_locks_made_by_other_means() {
    if !may_lock("unlock_undoes_locks_made_by_other_means", 3) {
        return;
    }
    let area = Area::new(3);
    let guard = lock(&area, 1, 1);
    // SAFETY: changes neither what pages hold nor what they grant.
    assert_eq!(unsafe { libc::mlock(area.pointer().cast(), area.len()) }, 0);
    folio::unlock(area.pointer(), page::size()).unwrap();
    expect(&area, &[F, T, T]);
    drop(guard);
    expect(&area, &[F, F, T]);
}

/// Trap: counts that outlive an unmap would skip a needed lock.
#[test]
fn pages_that_are_new_are_locked_anew() {
    const TEST: &str = "pages_that_are_new_are_locked_anew";
    if role().is_none() {
        if !may_lock(TEST, 3) {
            return;
        }
        let mut helper = Helper::start(TEST, "child");
        assert_eq!(helper.line(), "done");
        return helper.finish();
    }
    let area = Area::apart(3);
    let first = lock(&area, 0, 3);
    area.unmap(1, 1);
    // A hole: an error that says so, and nothing else is changed by it.
    // (On Windows the allocation keeps its place: it is reserved.)
    let kind = if cfg!(windows) { ErrorKind::NotPermitted } else { ErrorKind::Unmapped };
    let error = folio::lock(area.pointer(), area.len()).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (kind, Operation::Lock), "{error}");
    assert_eq!(error.range(), Some(area.page(0)..area.page(3)));
    let error = folio::lock_available(area.pointer(), area.len()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    expect(&area, &[T, F, T]);
    area.map(1, 1, Protection::READ_WRITE);
    expect(&area, &[T, F, T]);
    let second = lock(&area, 0, 3);
    expect(&area, &[T; 3]);
    drop(first);
    expect(&area, &[T; 3]);
    // Unlocking goes around the hole.
    area.unmap(1, 1);
    second.unlock().unwrap();
    area.map(1, 1, Protection::READ_WRITE);
    expect(&area, &[F; 3]);
    // A hole and nothing held: what was locked before the hole was met is unlocked.
    area.unmap(2, 1);
    assert_eq!(folio::lock(area.pointer(), area.len()).unwrap_err().kind(), kind);
    area.map(2, 1, Protection::READ_WRITE);
    expect(&area, &[F; 3]);
    say("done");
}

/// In a process of its own: what fails for all addresses counts all pages for a moment, and takes locks that others made.
#[test]
fn odd_ranges_get_an_answer() {
    const TEST: &str = "odd_ranges_get_an_answer";
    if role().is_none() {
        return Helper::start(TEST, "child").finish();
    }
    let may_lock = may_lock(TEST, 1);
    for function in [folio::lock, folio::lock_on_fault, folio::lock_available] {
        let error = function(null::<u8>(), 0).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Lock));
        for (address, len) in [
            (0, 1),
            (0, usize::MAX),
            (1, usize::MAX),
            (page::size(), usize::MAX),
            (usize::MAX, 1),
            (usize::MAX, usize::MAX),
            (usize::MAX - page::size(), usize::MAX),
        ] {
            let error = function(without_provenance::<u8>(address), len).unwrap_err();
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::Unmapped | ErrorKind::Unsupported) || !may_lock,
                "{address:#x}, {len:#x}: {error}"
            );
            assert_eq!(error.operation(), Operation::Lock);
        }
    }
    let error = folio::unlock(null::<u8>(), 0).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Unlock));
    if may_lock {
        folio::unlock(without_provenance::<u8>(usize::MAX), usize::MAX).unwrap();
    }
}

/// `unlock` of everything: in a process of its own, for it takes the locks of all other tests.
#[test]
fn everything_can_be_unlocked_at_once() {
    const TEST: &str = "everything_can_be_unlocked_at_once";
    if role().is_none() {
        if !may_lock(TEST, 5) {
            return;
        }
        let mut helper = Helper::start(TEST, "child");
        assert_eq!(helper.line(), "done");
        return helper.finish();
    }
    let area = Area::new(5);
    for (address, len) in [(0, usize::MAX), (page::size(), usize::MAX)] {
        mem::forget(lock(&area, 0, 3));
        mem::forget(lock(&area, 2, 3));
        folio::unlock(without_provenance::<u8>(address), len).unwrap();
        expect(&area, &[F, F, T, F, F]);
        folio::unlock(without_provenance::<u8>(address), len).unwrap();
        expect(&area, &[F; 5]);
    }
    say("done");
}

#[test]
fn pages_without_access_are_locked_on_fault_only() {
    let area = Area::new(3);
    area.protect(1, 1, Protection::NONE);
    if !may_lock("pages_without_access_are_locked_on_fault_only", 3) {
        return;
    }
    if cfg!(any(target_os = "linux", target_os = "android")) {
        for function in [folio::lock, folio::lock_available] {
            let error = function(area.pointer(), area.len()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
            assert!(error.remedy().is_some());
            expect(&area, &[F; 3]);
        }
    }
    let guard = match folio::lock_on_fault(area.pointer(), area.len()) {
        Ok(guard) => guard,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(!folio::Capabilities::probe().lock_on_fault());
            return skipped("pages_without_access_are_locked_on_fault_only", &error.to_string());
        }
    };
    expect(&area, &[T; 3]);
    guard.unlock().unwrap();
    expect(&area, &[F; 3]);
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Guards, forgotten guards and unlocking in any order, compared with what the system says after each step.
fn at_random(seed: u64, steps: u32) {
    const PAGES: usize = 12;
    let area = Area::new(PAGES);
    let mut random = Random(seed);
    let mut counts = [0_u32; PAGES];
    let mut guards: Vec<(usize, usize, LockGuard)> = Vec::new();
    for step in 0..steps {
        let first = random.below(PAGES);
        let pages = 1 + random.below(PAGES - first);
        match random.below(8) {
            0..=3 => {
                guards.push((first, pages, lock(&area, first, pages)));
                counts[first..first + pages].iter_mut().for_each(|count| *count += 1);
            }
            4 => {
                mem::forget(lock(&area, first, pages));
                counts[first..first + pages].iter_mut().for_each(|count| *count += 1);
                // Or the guards below would find the counts of others.
                folio::unlock(without_provenance::<u8>(area.page(first)), pages * page::size()).unwrap();
                counts[first..first + pages].iter_mut().for_each(|count| *count -= 1);
            }
            _ if guards.is_empty() => {}
            5 => {
                let (first, pages, guard) = guards.swap_remove(random.below(guards.len()));
                guard.unlock().unwrap();
                counts[first..first + pages].iter_mut().for_each(|count| *count -= 1);
            }
            _ => {
                let (first, pages, guard) = guards.swap_remove(random.below(guards.len()));
                drop(guard);
                counts[first..first + pages].iter_mut().for_each(|count| *count -= 1);
            }
        }
        if let Some(found) = locked(&area, PAGES) {
            assert_eq!(found, counts.map(|count| count > 0), "after step {step} of {seed}: {counts:?}");
        }
    }
    drop(guards);
    expect(&area, &[F; PAGES]);
}

#[test]
fn what_is_locked_is_what_is_held() {
    if may_lock("what_is_locked_is_what_is_held", 60) {
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || at_random(seed, rounds(150)));
            }
        });
    }
}

/// Two threads on the same pages: whoever holds a guard finds its pages locked.
#[test]
fn threads_do_not_undo_each_others_locks() {
    if !may_lock("threads_do_not_undo_each_others_locks", 12) {
        return;
    }
    let area = Area::new(6);
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            let area = &area;
            scope.spawn(move || {
                let mut random = Random(seed);
                for round in 0..rounds(2_000) {
                    let first = random.below(6);
                    let pages = 1 + random.below(6 - first);
                    let guard = lock(area, first, pages);
                    if round % 16 == 0 {
                        if let Some(found) = locked(area, 6) {
                            assert!(found[first..first + pages].iter().all(|&locked| locked));
                        }
                    }
                    drop(guard);
                }
            });
        }
    });
    expect(&area, &[F; 6]);
}

#[cfg(unix)]
mod forked {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    /// Runs `body` in the child of a `fork`, and says whether it ended, well and in time.
    fn in_child(body: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `body`, which locks and unlocks and at most allocates, as the C libraries that we test with
        // let it, and ends by `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "{}", std::io::Error::last_os_error());
        if pid == 0 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
            // SAFETY: ends the child without running what the parent has registered for its end.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        let started = Instant::now();
        let mut status = 0;
        loop {
            // SAFETY: our child, and a status to write to.
            let ended = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
            if ended == pid {
                return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            }
            assert!(ended == 0, "{}", std::io::Error::last_os_error());
            if started.elapsed() > Duration::from_secs(60) {
                // SAFETY: our child.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                // SAFETY: as above.
                unsafe { libc::waitpid(pid, &raw mut status, 0) };
                return false;
            }
            if started.elapsed() > Duration::from_millis(1) {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    /// Trap: locks are not inherited by `fork`.
    #[test]
    fn a_child_begins_without_locks() {
        const TEST: &str = "forked::a_child_begins_without_locks";
        if role().is_none() {
            if !may_lock(TEST, 4) {
                return;
            }
            let mut helper = Helper::start(TEST, "child");
            assert_eq!(helper.line(), "done");
            return helper.finish();
        }
        let area = Area::new(4);
        let mut guard = Some(lock(&area, 0, 3));
        assert!(in_child(|| {
            expect(&area, &[F; 4]);
            let own = lock(&area, 2, 2);
            expect(&area, &[F, F, T, T]);
            // The parent's guard does not take the child's own lock away.
            drop(guard.take());
            expect(&area, &[F, F, T, T]);
            own.unlock().unwrap();
            expect(&area, &[F; 4]);
            // And a grandchild of it begins anew.
            let own = lock(&area, 0, 1);
            in_child(|| {
                expect(&area, &[F; 4]);
                drop(own);
                let again = lock(&area, 0, 1);
                drop(again);
                locked(&area, 4).is_none_or(|locked| locked == [F; 4])
            })
        }));
        expect(&area, &[T, T, T, F]);
        drop(guard);
        expect(&area, &[F; 4]);
        say("done");
    }

    /// Trap: a fork while a registry's mutex is held deadlocks the child.
    #[test]
    fn a_fork_while_others_lock_leaves_the_child_able_to() {
        const TEST: &str = "forked::a_fork_while_others_lock_leaves_the_child_able_to";
        if role().is_none() {
            if !may_lock(TEST, 300) {
                return;
            }
            let mut helper = Helper::start(TEST, "child");
            assert_eq!(helper.line(), "done");
            return helper.finish();
        }
        let area = Area::new(200);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for offset in [0, 100] {
                let (area, ended) = (&area, &ended);
                scope.spawn(move || {
                    let mut random = Random(7);
                    let mut guards = Vec::new();
                    while !ended.load(Ordering::Relaxed) {
                        // Unlocking happens under the mutex: long runs keep it long.
                        guards.push(lock(area, offset + random.below(50), 1 + random.below(50)));
                        if guards.len() > 20 {
                            guards.clear();
                        }
                    }
                });
            }
            let mut bad = 0;
            for _ in 0..rounds(300) {
                let fine = in_child(|| {
                    let guard = lock(&area, 3, 2);
                    if locked(&area, 6).is_some_and(|locked| locked != [F, F, F, T, T, F]) {
                        return false;
                    }
                    guard.unlock().is_ok()
                        && locked(&area, 6).is_none_or(|locked| locked == [F; 6])
                        && folio::unlock(area.pointer(), area.len()).is_ok()
                });
                bad += u32::from(!fine);
            }
            ended.store(true, Ordering::Relaxed);
            assert_eq!(bad, 0);
        });
        expect(&area, &[F; 200]);
        say("done");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod limited {
    use super::*;

    /// Takes from this thread the right to lock beyond the limit, if it has it. Says whether it is without now.
    fn drop_the_right() -> bool {
        #[repr(C)]
        struct Header {
            version: u32,
            pid: i32,
        }
        #[repr(C)]
        #[derive(Clone, Copy, Default)]
        struct Sets {
            effective: u32,
            permitted: u32,
            inheritable: u32,
        }
        const CAP_IPC_LOCK: u32 = 14;
        let mut header = Header { version: 0x2008_0522, pid: 0 };
        let mut sets = [Sets::default(); 2];
        // SAFETY: a header of version 3 and the two sets that go with it, as capget(2) says.
        let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
        if got != 0 {
            return false;
        }
        sets[0].effective &= !(1 << CAP_IPC_LOCK);
        sets[0].permitted &= !(1 << CAP_IPC_LOCK);
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) == 0 }
    }

    fn limit_to(pages: usize) {
        let bytes = libc::rlim_t::try_from(pages * page::size()).unwrap();
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: a limit to read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    }

    /// In a process of its own, which may lock so many pages.
    fn with_limit(test: &str, pages: usize, body: impl FnOnce()) {
        if role().is_some() {
            if !drop_the_right() {
                return say("capabilities cannot be changed here");
            }
            limit_to(pages);
            body();
            return say("done");
        }
        if !may_lock(test, pages.max(1)) {
            return;
        }
        let mut helper = Helper::start(test, "child");
        match helper.line().as_str() {
            "done" => {}
            why => skipped(test, why),
        }
        helper.finish();
    }

    #[test]
    fn a_limit_that_is_hit_is_named_with_its_remedy() {
        with_limit("limited::a_limit_that_is_hit_is_named_with_its_remedy", 8, || {
            let area = Area::new(20);
            let bytes = |pages: usize| Some(u64::try_from(pages * page::size()).unwrap());
            let held = lock(&area, 0, 3);
            for function in [folio::lock, folio::lock_on_fault] {
                let error = function(without_provenance::<u8>(area.page(10)), 6 * page::size()).unwrap_err();
                assert_eq!((error.kind(), error.operation()), (ErrorKind::Exhausted, Operation::Lock));
                assert_eq!(error.limit(), bytes(8), "{error}");
                assert_eq!(error.in_use(), bytes(3), "{error}");
                assert!(error.remedy().unwrap().contains("RLIMIT_MEMLOCK"), "{error}");
                assert_eq!(error.range(), Some(area.page(10)..area.page(16)));
            }
            let limits = folio::Limits::current().unwrap();
            assert_eq!((limits.lock_limit(), limits.locked()), (bytes(8), bytes(3)));
            // What is locked already costs nothing, also at the limit.
            let rest = lock(&area, 3, 5);
            let again = lock(&area, 0, 8);
            drop((held, rest));
            assert_eq!(locked(&area, 20).unwrap().iter().filter(|&&locked| locked).count(), 8);
            drop(again);
            assert_eq!(folio::Limits::current().unwrap().locked(), Some(0));
        });
    }

    #[test]
    fn as_much_is_locked_as_the_limit_lets() {
        with_limit("limited::as_much_is_locked_as_the_limit_lets", 8, || {
            let area = Area::new(40);
            let size = page::size();
            let count = |area: &Area| locked(area, 40).unwrap().iter().take_while(|&&locked| locked).count();
            let all = folio::lock_available(area.pointer(), 8 * size).unwrap();
            assert_eq!(all.len(), 8 * size);
            drop(all);
            // Elsewhere some are held, and in the range some that cost nothing more.
            for (elsewhere, nested) in [(0, 0), (3, 0), (0, 1), (2, 2), (0, 8), (1, 7), (7, 0), (7, 1)] {
                let others = Area::new(8);
                let others = (elsewhere > 0).then(|| (lock(&others, 0, elsewhere), others));
                let own = (nested > 0).then(|| lock(&area, 2, nested));
                let guard = folio::lock_available(area.pointer(), 40 * size);
                let room = 8 - elsewhere;
                match guard {
                    Ok(guard) => {
                        assert_eq!(guard.as_range(), area.page(0)..area.page(room), "{elsewhere} {nested}");
                        assert_eq!(guard.len(), room * size);
                        assert_eq!(count(&area), room);
                    }
                    Err(error) => {
                        // Those that are held lie further on: no room is left for the first page.
                        assert!(elsewhere + nested == 8, "{elsewhere} {nested}: {error}");
                        assert_eq!(error.kind(), ErrorKind::Exhausted);
                        assert!(error.limit().is_some());
                    }
                }
                drop(own);
                assert_eq!(locked(&area, 40).unwrap(), [F; 40]);
                drop(others);
            }
            // A hole behind what the limit lets: an error, and nothing locked.
            area.unmap(30, 1);
            let error = folio::lock_available(area.pointer(), 40 * size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unmapped, "{error}");
            assert_eq!(locked(&area, 40).unwrap(), [F; 40]);
        });
    }

    #[test]
    fn nothing_may_be_locked() {
        with_limit("limited::nothing_may_be_locked", 0, || {
            let area = Area::new(2);
            for function in [folio::lock, folio::lock_on_fault, folio::lock_available] {
                let error = function(area.pointer(), 1).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                assert_eq!((error.limit(), error.in_use()), (Some(0), Some(0)));
            }
            folio::unlock(area.pointer(), 1).unwrap();
        });
    }
}
