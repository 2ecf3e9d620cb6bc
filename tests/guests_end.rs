//! The end of guests: who is inside, who comes too late, and when the memory goes.

mod common;

use common::guests::{guest, nobody_gets_in};
use common::{place_of, rounds, skipped};
use folio::process::{Error, Guest, GuestId, Host, ReadableProcessBuffer, WriteableProcessBuffer};
use folio::{ErrorKind, MmapOptions, Pages, page};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether anything is mapped there.
fn is_mapped(address: usize) -> bool {
    match folio::query(std::ptr::without_provenance::<u8>(address)) {
        Ok(region) => region.is_committed(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unmapped);
            false
        }
    }
}

/// A guest whose memory lies where nothing else does, or the test is skipped.
fn guest_at(number: usize, test: &str) -> Option<Guest> {
    match MmapOptions::new(3 * page::size()).at(place_of(number)).map_mut() {
        Ok(pages) => Some(Host::new().guest(pages).unwrap()),
        Err(error) => {
            skipped(test, &error.to_string());
            None
        }
    }
}

/// Rule: where no closure runs, the memory goes at once; buffers that are kept keep nothing.
#[test]
fn memory_goes_with_the_guest() {
    let Some(guest) = guest_at(1, "memory_goes_with_the_guest") else { return };
    let start = guest.as_mut_ptr().addr();
    let buffer = guest.memory();
    assert!(is_mapped(start));
    guest.terminate();
    assert!(!is_mapped(start) && !is_mapped(start + 2 * page::size()));
    nobody_gets_in(&buffer);
    assert_eq!(guest.as_mut_ptr().addr(), start);
    let Some(guest) = guest_at(1, "memory_goes_with_the_guest") else { return };
    drop(guest);
    assert!(!is_mapped(start));
    // What lies there now is another's.
    let Some(next) = guest_at(1, "memory_goes_with_the_guest") else { return };
    nobody_gets_in(&buffer);
    drop(next);
}

/// Rule: from inside a closure, ending is put off; nobody waits.
///
/// Trap: liveness checked before a closure says nothing during it.
#[test]
fn memory_stays_while_a_closure_runs() {
    let Some(guest) = guest_at(2, "memory_stays_while_a_closure_runs") else { return };
    let start = guest.as_mut_ptr().addr();
    let (outer, inner) = (guest.memory(), guest.memory());
    outer
        .mut_enter(|slice| {
            inner
                .enter(|again| {
                    slice.fill(1);
                    guest.terminate();
                    drop(guest);
                    nobody_gets_in(&inner);
                    slice.fill(2);
                    assert!(again.bytes().all(|byte| byte == 2) && is_mapped(start));
                })
                .unwrap();
            assert!(is_mapped(start) && slice[0].get() == 2);
        })
        .unwrap();
    assert!(!is_mapped(start));
}

/// Ended by another thread while a closure runs here: that thread does not wait, and this one gives the memory back.
#[test]
fn another_thread_ends_it_without_waiting() {
    let Some(guest) = guest_at(3, "another_thread_ends_it_without_waiting") else { return };
    let start = guest.as_mut_ptr().addr();
    let memory = guest.memory();
    memory
        .mut_enter(|slice| {
            std::thread::scope(|scope| scope.spawn(|| guest.terminate()).join()).unwrap();
            assert!(is_mapped(start));
            slice.fill(3);
        })
        .unwrap();
    assert!(!is_mapped(start));
}

/// Trap: a panic in a closure must release what it held.
#[test]
fn a_panic_leaves_the_memory_like_a_return() {
    let Some(guest) = guest_at(4, "a_panic_leaves_the_memory_like_a_return") else { return };
    let start = guest.as_mut_ptr().addr();
    let memory = guest.memory();
    let panicked = catch_unwind(|| {
        memory.mut_enter(|slice| {
            slice[0].set(5);
            panic!("in a closure")
        })
    });
    assert!(panicked.is_err());
    assert_eq!(memory.enter(|slice| slice[0].get()), Ok(5));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        memory.enter(|_| {
            guest.terminate();
            panic!("in a closure")
        })
    }));
    assert!(panicked.is_err());
    assert!(!is_mapped(start));
    nobody_gets_in(&memory);
}

/// Rule: one that begins anew has another identity; what was allowed before stays dead.
///
/// Trap: numbers are used again.
#[test]
fn another_life_is_another_guest() {
    let mut guest = guest(100);
    let mut seen = HashSet::from([guest.id()]);
    let mut dead = Vec::new();
    for _ in 0..20 {
        let _before = guest.allow_read_write(0, 0..10).unwrap();
        dead.push(guest.allow_read_write(0, 0..20).unwrap());
        let last = guest.id();
        // As likely as not at the very same place.
        guest.restart(Pages::new(100).unwrap()).unwrap();
        assert!(seen.insert(guest.id()) && guest.id() > last);
        assert_eq!(guest.read_write(0).len(), 0);
        let _before = guest.allow_read_write(0, 0..10).unwrap();
        assert_eq!(guest.read_write(0).enter(|slice| slice.len()), Ok(10));
        dead.iter().for_each(nobody_gets_in);
        assert!(dead.iter().all(|buffer| buffer.guest() != Some(guest.id())));
    }
    guest.terminate();
    guest.restart(Pages::new(1).unwrap()).unwrap();
    assert!(guest.is_alive() && seen.insert(guest.id()));
}

#[test]
fn identities_are_given_once_in_all_threads() {
    let host = Host::new();
    let per_thread =
        || (0..50).map(|_| host.guest(Pages::new(1).unwrap()).unwrap().id()).collect::<Vec<GuestId>>();
    let ids: Vec<GuestId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(per_thread)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((ids.iter().collect::<HashSet<_>>().len(), host.guests()), (200, 0));
}

/// Threads that enter, allow and look, others that end guests and let them begin anew, and closures that panic: whoever is inside finds his
/// memory there, and in the end all of it is given back.
#[test]
fn entering_and_ending_in_many_threads() {
    let host = Host::new();
    let (entered, refused, panicked) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 0..rounds(200) {
        let guest = host.guest(Pages::new(page::size()).unwrap()).unwrap();
        let barrier = Barrier::new(4);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3_u8 {
                let buffer = guest.memory();
                let (guest, barrier, over) = (&guest, &barrier, &over);
                let (entered, refused, panicked) = (&entered, &refused, &panicked);
                scope.spawn(move || {
                    barrier.wait();
                    for turn in 0_u32.. {
                        let lent = guest.read_only(usize::from(thread));
                        let _allowed = guest.allow_read_only(usize::from(thread), 0..10);
                        let _seen = lent.enter(|slice| slice.to_vec());
                        // (A panic takes long: not in each turn.)
                        let panics = turn % 64 == 9;
                        let result = catch_unwind(AssertUnwindSafe(|| {
                            buffer.mut_enter(|slice| {
                                let own = &slice[usize::from(thread) * 64..][..64];
                                own.fill(thread);
                                assert!(own.equals(&[thread; 64]), "somebody else's memory");
                                if panics {
                                    std::panic::resume_unwind(Box::new("meant"));
                                }
                            })
                        }));
                        match result {
                            Ok(Ok(())) => _ = entered.fetch_add(1, Ordering::Relaxed),
                            Ok(Err(error)) => {
                                assert_eq!(error, Error::NoSuchApp);
                                refused.fetch_add(1, Ordering::Relaxed);
                                if over.load(Ordering::Relaxed) {
                                    break;
                                }
                            }
                            Err(payload) => {
                                assert_eq!(payload.downcast_ref(), Some(&"meant"));
                                panicked.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
            barrier.wait();
            for _ in 0..round % 7 * 50 {
                std::hint::spin_loop();
            }
            guest.terminate();
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(host.guests(), 0);
    }
    assert_eq!(host.guests(), 0);
    assert!(refused.load(Ordering::Relaxed) > 0);
}

/// In the child of a `fork`, a guest whose memory another thread of the parent was in stays mapped, and nothing hangs.
#[cfg(target_os = "linux")]
#[test]
fn a_child_by_fork_does_not_hang() {
    let guest = guest(page::size());
    let memory = guest.memory();
    let (inside, done) = (Barrier::new(2), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            memory.enter(|_| {
                inside.wait();
                while !done.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            })
        });
        inside.wait();
        // SAFETY: the child makes no other calls than such as need no lock that another thread may hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let entered = memory.enter(|slice| slice.len()) == Ok(page::size());
            let allowed = guest.allow_read_only(0, 0..1).is_ok();
            guest.terminate();
            let over = memory.enter(|_| ()) == Err(Error::NoSuchApp);
            // SAFETY: the memory is there, as a thread was inside of it.
            let there = unsafe { guest.as_mut_ptr().read_volatile() } == 0;
            // SAFETY: ends the child, at once.
            unsafe { libc::_exit(if entered && allowed && over && there { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: a child of ours, and a variable.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        done.store(true, Ordering::Relaxed);
        assert_eq!(libc::WEXITSTATUS(status), 7, "{status}");
    });
    assert!(guest.is_alive());
}
