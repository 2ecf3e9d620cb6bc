//! Functions compiled into each provider's memory do what they ought to.

mod common;

use common::{assert_nothing_writable_is_executable, grants};
use folio_cranelift::{FIRST_PRIMES, Jit, Provider, mixed};
use std::sync::atomic::{AtomicBool, Ordering};

const CAPACITY: usize = 16 << 20;

fn jit(provider: Provider) -> Jit {
    Jit::new(provider.make(CAPACITY).unwrap()).unwrap()
}

#[test]
fn they_compute() {
    for provider in Provider::ALL {
        let mut jit = jit(provider);
        let functions = jit.functions().unwrap();
        assert_nothing_writable_is_executable();
        assert_eq!((functions.fibonacci)(20), 6765);
        let numbers: Vec<u64> = (1..=100).collect();
        // SAFETY: so many numbers.
        assert_eq!(unsafe { (functions.sum)(numbers.as_ptr(), 100) }, 5050);
        let told = Jit::told();
        assert_eq!((functions.both)(10), 55 + 20);
        assert!(Jit::told() > told);
        for index in 0..12 {
            assert_eq!((functions.prime)(index), FIRST_PRIMES[index as usize % 6]);
        }
        for expected in 1..4 {
            // SAFETY: by this thread only.
            assert_eq!(unsafe { (functions.next)() }, expected);
        }
        assert_eq!(grants(functions.fibonacci as *const u8), [true, false, true], "{provider:?}");
        assert_eq!(grants(functions.primes), [true, false, false], "{provider:?}");
        assert_eq!(grants(functions.counter), [true, true, false], "{provider:?}");
        // SAFETY: nothing of it is used below.
        unsafe { jit.free() };
    }
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A function takes the place of another, again and again, while other threads call whichever it is.
#[test]
fn they_are_swapped() {
    for provider in Provider::ALL {
        let mut jit = jit(provider);
        let functions = jit.functions().unwrap();
        assert_eq!((functions.swapped)(5), 6);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Nobody waits for what does not come, if something fails here.
            let _ends = Ends(&over);
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut last = 0;
                        while last < 200 && !over.load(Ordering::Relaxed) {
                            let now = (functions.swapped)(0);
                            assert!((last..=200).contains(&now), "{now} after {last}");
                            last = now;
                        }
                    })
                })
                .collect();
            for what in 2..=200 {
                jit.swap(&format!("plus_{what}"), what).unwrap();
                assert_eq!((functions.swapped)(5), 5 + what as u64);
                if what % 50 == 0 {
                    assert_nothing_writable_is_executable();
                }
            }
            for caller in callers {
                caller.join().unwrap();
            }
        });
        // SAFETY: nothing of it is used below.
        unsafe { jit.free() };
    }
}

/// What was finalized does what it did, however much comes later.
#[test]
fn many_in_many_portions() {
    for provider in Provider::ALL {
        let mut jit = jit(provider);
        let mut functions = Vec::new();
        for portion in 0..30 {
            let ids: Vec<_> = (0..portion)
                .map(|index| portion * 100 + index)
                .map(|number| (number, jit.mix(number).unwrap()))
                .collect();
            jit.finalize().unwrap();
            assert_nothing_writable_is_executable();
            // SAFETY: made by this value.
            functions.extend(ids.into_iter().map(|(number, id)| (number, unsafe { jit.mixing(id) })));
            for &(number, function) in &functions {
                assert_eq!(function(7), mixed(number, 7), "{provider:?}, {number}");
                assert_eq!(grants(function as *const u8), [true, false, true]);
            }
        }
        // SAFETY: nothing of it is used below.
        unsafe { jit.free() };
    }
}

/// A module of ours that is dropped, and not freed, leaves its functions to whoever calls them.
#[test]
fn they_outlive_their_module() {
    for provider in Provider::ALL {
        let functions = jit(provider).functions().unwrap();
        assert_eq!((functions.fibonacci)(15), 610);
        assert_eq!((functions.prime)(2), 5);
    }
}

/// Too little room is an error of Cranelift's, and what was compiled before can still be called.
#[test]
fn too_little_room() {
    let mut jit = Jit::new(Provider::Folio.make(1).unwrap()).unwrap();
    let mut ids = Vec::new();
    let refused = (0..1000).find_map(|number| match jit.mix(number) {
        Ok(id) => {
            ids.push((number, id));
            None
        }
        Err(error) => Some(error),
    });
    assert!(refused.is_some() && !ids.is_empty());
    jit.finalize().unwrap();
    for (number, id) in ids {
        // SAFETY: made by this value.
        assert_eq!(unsafe { jit.mixing(id) }(9), mixed(number, 9));
    }
    // SAFETY: nothing of it is used below.
    unsafe { jit.free() };
}
