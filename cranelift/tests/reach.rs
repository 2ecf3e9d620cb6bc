//! Code reaches its data, whatever the process has mapped already. Alone in its process, so that nobody changes what is mapped.

use folio::MmapOptions;
use folio_cranelift::{FIRST_PRIMES, FolioMemoryProvider, Jit};

/// Where the system, left to itself, would put them too far from each other: code in a hole that is just as long, below which all is taken.
#[test]
fn all_is_within_reach() {
    if usize::BITS < 64 {
        return println!("everything is within reach of everything");
    }
    for capacity in [16 << 20, 768 << 20] {
        let hole = MmapOptions::new(capacity).reserve().unwrap();
        let below = MmapOptions::new(5 << 30).reserve().unwrap();
        let beside = hole.start() == below.end();
        drop(hole);
        // Nothing is near enough: that is an error, and not a far place.
        let provider = match FolioMemoryProvider::new(capacity) {
            Ok(provider) => provider,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        let code = provider.code().unwrap().as_range();
        println!("a hole: {beside}; code at {code:#x?}");
        let mut jit = Jit::new(Box::new(provider)).unwrap();
        let functions = jit.functions().unwrap();
        assert_eq!((functions.prime)(1), FIRST_PRIMES[1]);
        for data in [functions.primes, functions.counter] {
            // From any byte of the code to any of the data, of which there may be as much.
            assert!(data.addr().abs_diff(code.start) + code.len() < i32::MAX as usize);
            assert!((data.addr() + code.len()).abs_diff(code.start) < i32::MAX as usize);
        }
        // SAFETY: nothing of it is used below.
        unsafe { jit.free() };
        drop(below);
    }
}
