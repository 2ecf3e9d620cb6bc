//! What can only be tested from inside: locks that are held, and a system that refuses at each of its calls.

use super::*;
use crate::os::inject::{calls_of, fail_from, fail_nth};
use crate::{ErrorKind, MmapOptions, Pages, page, query, query_range};
use core::ptr::without_provenance;
use std::vec::Vec;

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

fn pool(most: usize) -> PagePool {
    PagePool::new(3 * page::size(), most)
}

fn dirty(pool: &PagePool, number: usize) {
    let mut taken: Vec<_> = (0..number).map(|_| pool.take_dirty().unwrap()).collect();
    taken.iter_mut().for_each(|pages| pages.fill(7));
}

#[test]
fn what_waits_is_handed_out_without_a_call() {
    let pool = pool(2);
    dirty(&pool, 2);
    let ((), calls) = calls_of(|| {
        for _ in 0..10 {
            let clean = pool.take().unwrap();
            assert!(clean.iter().all(|&byte| byte == 0));
            let mut dirty = pool.take_dirty().unwrap();
            dirty.fill(7);
            drop(clean);
            assert!(pool.put(dirty.into_pages()));
        }
    });
    assert!(calls.is_empty(), "{calls:?}");
    assert_eq!((pool.counts().reused(), pool.counts().mapped(), pool.counts().unmapped()), (20, 2, 0));
}

/// Pages fresh from the system are not cleaned: touching them would give them memory.
#[test]
fn fresh_pages_are_not_touched() {
    let pool = pool(4);
    assert_eq!(pool.prepare(9).unwrap(), 4);
    for _ in 0..4 {
        let taken: Vec<_> = (0..2).map(|_| pool.take().unwrap().into_pages()).collect();
        for pages in &taken {
            match pages.resident(..) {
                Ok(resident) => assert_eq!(resident, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            }
        }
    }
}

/// Trap: a fork while a registry's mutex is held deadlocks the child. (Whoever finds a lock taken goes on without it.)
#[test]
fn nobody_waits_for_a_lock() {
    let pool = pool(8);
    dirty(&pool, 3);
    let others = Pages::new(3 * page::size()).unwrap();
    let held: Vec<_> = pool.shards.iter().map(|shard| shard.open().unwrap()).collect();
    // With all of them held it maps and unmaps.
    let taken = pool.take_dirty().unwrap();
    assert!(taken.iter().all(|&byte| byte == 0));
    drop(taken);
    assert!(!pool.put(others));
    assert_eq!((pool.len(), pool.trim(0), pool.prepare(8).unwrap()), (3, 0, 0));
    assert_eq!((pool.counts().reused(), pool.counts().mapped(), pool.counts().unmapped()), (0, 5, 3));
    drop(held);
    assert_eq!(pool.trim(1), 2);

    // With any one of them held it goes on as if there were seven.
    for held in &pool.shards {
        let held = held.open().unwrap();
        let taken: Vec<_> = (0..8).map(|_| pool.take().unwrap()).collect();
        drop(taken);
        assert_eq!(pool.len() - held.len(), 8 - held.len());
        drop(held);
        assert_eq!(pool.len(), 8);
    }
}

#[test]
fn threads_turn_to_different_shards() {
    const THREADS: usize = 24;
    let all_there = std::sync::Barrier::new(THREADS);
    let seen = std::thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| {
            scope.spawn(|| {
                all_there.wait();
                assert_eq!(own(), own());
                own()
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(seen.iter().all(|&shard| shard < SHARDS));
    assert!(seen.iter().any(|&shard| shard != seen[0]), "{seen:?}");
}

/// What a thread of the parent was just changing is half changed for ever in the child: nobody looks at it, not even the drop.
#[test]
fn a_list_that_was_left_half_changed_is_not_touched() {
    // Where nothing is mapped of itself.
    let place = 41_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 24 });
    let len = 3 * page::size();
    let start = without_provenance::<u8>(place);
    for left in [false, true] {
        let pool = pool(2);
        assert!(pool.put(MmapOptions::new(len).at(place).map_mut().unwrap()));
        if left {
            pool.shards.iter().for_each(|shard| core::mem::forget(shard.open().unwrap()));
        }
        drop(pool);
        assert_eq!(query(start).is_ok(), left);
    }
    // SAFETY: the pages are the lost pool's, of which nothing else is left.
    unsafe { crate::os::unmap(crate::range::PageRange::touching(place, len).unwrap()) }.unwrap();
}

/// Everything fits in, whatever the order, and all of it comes out again, once.
#[test]
fn lists_grow_with_what_waits() {
    let pool = PagePool::new(1, 300);
    for number in [1, 3, 40, 300, 2] {
        let taken: Vec<_> = (0..number).map(|_| pool.take().unwrap().into_pages()).collect();
        let mut starts: Vec<_> = taken.iter().map(Pages::start).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), number);
        taken.into_iter().for_each(|pages| assert!(pool.put(pages)));
    }
    assert_eq!((pool.len(), pool.counts().mapped()), (300, 300));
    let waiting: usize = pool.shards.iter().map(|shard| shard.open().unwrap().len()).sum();
    assert_eq!(waiting, 300);
    assert_eq!(pool.clear(), 300);
}

/// At each call of the system, once or from then on: what is handed out holds zeroes and can be written to, and nothing is counted twice.
#[test]
fn a_system_that_refuses_costs_pages_but_not_their_content() {
    let options = MmapOptions::new(5 * page::size());
    let pools = [
        PagePool::with_options(options.clone(), 3),
        PagePool::with_options(options.clone(), 3).decommit_from(1),
        PagePool::with_options(options.guard_before(1).guard_after(1).align(2 * page::granularity()), 3)
            .decommit_from(5 * page::size()),
    ];
    for pool in &pools {
        for lasting in [false, true] {
            for n in 0.. {
                pool.clear();
                dirty(pool, 2);
                let work = || {
                    let taken: Vec<_> = (0..4).map(|_| pool.take()).collect();
                    for taken in taken {
                        let mut taken = match taken {
                            Ok(taken) => taken,
                            Err(error) => {
                                assert!(error.kind() != ErrorKind::InvalidInput, "{error}");
                                continue;
                            }
                        };
                        assert_eq!(taken.len(), 5 * page::size());
                        assert!(taken.iter().all(|&byte| byte == 0));
                        taken.fill(9);
                    }
                    let _prepared = pool.prepare(3);
                    let _trimmed = pool.trim(1);
                };
                let ((), failed) = if lasting {
                    fail_from(None, n, REFUSED, work)
                } else {
                    fail_nth(None, n, REFUSED, work)
                };
                assert!(pool.len() <= 1);
                let counts = pool.counts();
                assert_eq!(counts.mapped(), counts.unmapped() + pool.len(), "at call {n}: {counts:?}");
                if !failed {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_waits_is_handed_out_when_the_system_has_no_more() {
    let pool = pool(4);
    dirty(&pool, 2);
    let (taken, _) = fail_from(None, 0, REFUSED, || (0..3).map(|_| pool.take()).collect::<Vec<_>>());
    let kinds: Vec<_> =
        taken.iter().map(|taken| taken.as_ref().map(drop).map_err(crate::Error::kind)).collect();
    assert_eq!(kinds, [Ok(()), Ok(()), Err(ErrorKind::Exhausted)]);
    assert_eq!(taken[2].as_ref().unwrap_err().operation(), crate::Operation::Allocate);
}

on_linux! {
    use std::vec;

    /// Pages that come back while the system is asked in vain.
    #[test]
    fn what_comes_back_meanwhile_is_handed_out() {
        static POOL: PagePool = PagePool::new(1, 1);
        let mut pages = POOL.take().unwrap().into_pages();
        pages.fill(7);
        crate::os::inject::just_before("mmap", move || assert!(POOL.put(pages)));
        let (taken, failed) = fail_nth(Some("mmap"), 0, REFUSED, || POOL.take());
        assert!(failed && taken.unwrap().iter().all(|&byte| byte == 0));
    }

    /// Others that take pages as fast as they are mapped do not keep it going for ever, nor those that
    /// put them in.
    #[test]
    fn what_others_do_meanwhile_is_theirs() {
        static POOL: PagePool = PagePool::new(1, 4);
        fn take_what_waits(rounds: usize) {
            if !POOL.is_empty() {
                drop(POOL.take().unwrap().into_pages());
            }
            if rounds > 0 {
                crate::os::inject::just_before("mmap", move || take_what_waits(rounds - 1));
            }
        }
        take_what_waits(20);
        assert_eq!((POOL.prepare(9).unwrap(), POOL.counts().mapped()), (4, 4));
        crate::os::inject::just_before("mmap", || ());

        fn put_another(rounds: usize) {
            assert!(rounds == 0 || POOL.put(Pages::new(1).unwrap()));
            if rounds > 0 {
                crate::os::inject::just_before("munmap", move || put_another(rounds - 1));
            }
        }
        POOL.clear();
        put_another(10);
        put_another(10);
        assert_eq!((POOL.trim(0), POOL.len()), (2, 2));
        crate::os::inject::just_before("munmap", || ());
    }

    #[test]
    fn each_step_makes_just_the_calls_that_it_says() {
        let named = |name, number| vec![name; number];
        let pool = pool(3);
        let (taken, calls) = calls_of(|| [(); 5].map(|()| pool.take().unwrap()));
        assert_eq!(calls, named("mmap", 5));
        // Beyond the bound.
        let ((), calls) = calls_of(|| drop(taken));
        assert_eq!((calls, pool.len()), (named("munmap", 2), 3));
        let (unmapped, calls) = calls_of(|| pool.trim(2));
        assert_eq!((calls, unmapped, pool.len()), (named("munmap", 1), 1, 2));
        let (made, calls) = calls_of(|| pool.prepare(9).unwrap());
        assert_eq!((calls, made), (named("mmap", 1), 1));
        // Not like the pool's.
        let other = Pages::new(1).unwrap();
        let (kept, calls) = calls_of(|| pool.put(other));
        assert_eq!((calls, kept), (named("munmap", 1), false));
        let ((), calls) = calls_of(|| drop(pool));
        assert_eq!(calls, named("munmap", 3));

        let by_system = self::pool(1).decommit_from(3 * page::size());
        dirty(&by_system, 1);
        let (taken, calls) = calls_of(|| by_system.take().unwrap());
        assert_eq!((calls, taken.resident(..).unwrap()), (named("madvise", 1), 0));
        drop(taken);
        let shorter = self::pool(1).decommit_from(3 * page::size() + 1);
        dirty(&shorter, 1);
        assert_eq!(calls_of(|| drop(shorter.take())).1, named("", 0));
    }

    /// What cannot be given back, as it is locked by somebody, is filled.
    #[test]
    fn pages_that_keep_their_memory_are_filled() {
        let pool = pool(1).decommit_from(1);
        dirty(&pool, 1);
        let taken = pool.take_dirty().unwrap();
        let Ok(held) = taken.hold() else { return std::eprintln!("skipped: nothing can be locked") };
        core::mem::forget(held);
        drop(taken);
        let (taken, calls) = calls_of(|| pool.take().unwrap());
        // And what it takes to say why not.
        assert_eq!(calls[0], "madvise");
        assert!(taken.iter().all(|&byte| byte == 0));
        assert!(taken.resident(..).unwrap() == 3 && pool.counts().mapped() == 1);
        // Other tests' pages may come to lie there.
        crate::unlock(taken.as_ptr(), taken.len()).unwrap();
    }

    /// A mapping that has lost pages by a refusal is not handed out again.
    #[test]
    fn a_mapping_that_has_become_shorter_ends() {
        let pool = pool(1).decommit_from(1);
        dirty(&pool, 1);
        let mut pages = pool.take_dirty().unwrap().into_pages();
        pages.split_to(page::size()).map(drop).unwrap();
        pool.keep(Idle { pages, fresh: false });
        let (taken, _) = fail_nth(Some("madvise"), 0, 22, || pool.take().unwrap());
        assert_eq!((taken.len(), pool.counts().mapped(), pool.counts().unmapped()), (3 * page::size(), 2, 1));
    }
}

/// All that a pool had is gone with it.
#[test]
fn a_drop_gives_everything_back() {
    let place = 43_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 24 });
    let len = 2 * page::granularity();
    let pool = PagePool::new(len, 20);
    for index in 0..20 {
        assert!(pool.put(MmapOptions::new(len).at(place + 2 * index * len).map_mut().unwrap()));
    }
    let mapped = || query_range(without_provenance::<u8>(place), 40 * len).unwrap().count();
    assert!(mapped() >= 20);
    drop(pool);
    assert_eq!(mapped(), 0);
}
