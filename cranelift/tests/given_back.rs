//! What is freed is the system's again. Alone in its process, so that nobody maps something there meanwhile.

use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use folio::Process;
use folio_cranelift::{FolioMemoryProvider, Jit};

/// Bytes of address space.
fn mapped() -> usize {
    Process::current().regions().unwrap().map(|region| region.unwrap().len()).sum()
}

#[test]
fn memory_is_given_back() {
    let capacity = 64 << 20;
    let use_all = || {
        let provider = FolioMemoryProvider::new(capacity).unwrap();
        let code = provider.code().unwrap().as_range();
        let mut jit = Jit::new(Box::new(provider)).unwrap();
        let functions = jit.functions().unwrap();
        for number in 0..50 {
            jit.mix(number).unwrap();
            jit.finalize().unwrap();
        }
        // Not finalized: what is freed is all.
        jit.mix(50).unwrap();
        assert!(code.contains(&(functions.fibonacci as *const u8).addr()));
        assert_eq!((functions.fibonacci)(10), 55);
        let data = functions.primes.addr();
        // SAFETY: nothing of it is called, or looked at, any more.
        unsafe { jit.free() };
        (code, data)
    };
    // What the heap and the library take for themselves the first time, they keep.
    use_all();
    let before = mapped();
    for _ in 0..5 {
        let (code, data) = use_all();
        let there =
            |address: usize| folio::query(address as *const u8).is_ok_and(|region| region.is_committed());
        assert!(!there(code.start) && !there(code.end - 1) && !there(data));
    }
    assert!(mapped() < before + capacity / 4, "{} after {before}", mapped());

    // Nothing was finalized, so that nobody has anything of it.
    for _ in 0..5 {
        let mut provider = FolioMemoryProvider::new(capacity).unwrap();
        provider.allocate(100, 1, JITMemoryKind::Executable).unwrap();
        provider.allocate(100, 1, JITMemoryKind::Writable).unwrap();
    }
    assert!(mapped() < before + capacity / 4);
    // The other way round: what was finalized stays.
    let mut provider = FolioMemoryProvider::new(capacity).unwrap();
    provider.allocate(100, 1, JITMemoryKind::Executable).unwrap();
    provider.finalize(BranchProtection::None).unwrap();
    drop(provider);
    assert!(mapped() >= before + capacity);
}
