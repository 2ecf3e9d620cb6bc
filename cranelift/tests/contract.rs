//! The provider alone, by what the trait lets its callers do.

mod common;

use common::{assert_nothing_writable_is_executable, grants};
use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use folio::page;
use folio_cranelift::FolioMemoryProvider;
use std::{io, slice};

const KINDS: [fn() -> JITMemoryKind; 3] =
    [|| JITMemoryKind::Executable, || JITMemoryKind::Writable, || JITMemoryKind::ReadOnly];

fn provider(capacity: usize) -> FolioMemoryProvider {
    FolioMemoryProvider::new(capacity).unwrap()
}

fn free(mut provider: FolioMemoryProvider) {
    // SAFETY: the tests that end so look at nothing of it any more.
    unsafe { provider.free_memory() };
}

/// Sizes and alignments that no compiler would ask for.
#[test]
fn nonsense_is_refused() {
    let mut provider = provider(1 << 20);
    for kind in KINDS {
        for size in [usize::MAX, usize::MAX - 1, isize::MAX as usize, (1 << 20) + 1] {
            for align in [1, 8, page::size() as u64] {
                assert!(provider.allocate(size, align, kind()).is_err());
            }
        }
        for align in [0, 3, 24, page::size() as u64 * 2, 1 << 63, u64::MAX] {
            assert!(provider.allocate(16, align, kind()).is_err());
        }
        assert!(provider.allocate(16, 16, kind()).is_ok());
    }
    free(provider);
    assert!(FolioMemoryProvider::new(0).is_err());
    for capacity in [usize::MAX, isize::MAX as usize, 1 << 30, i32::MAX as usize] {
        assert!(FolioMemoryProvider::new(capacity).is_err());
    }
}

/// What is given is aligned, nobody else's, can be written until it is finalized, and keeps what is written.
#[test]
fn parts_are_apart() {
    let mut provider = provider(8 << 20);
    let mut parts: Vec<(*mut u8, usize, u8, usize)> = Vec::new();
    for round in 0_usize..6 {
        let before = parts.len();
        for number in 0_usize..150 {
            let kind = number % 3;
            // The longest is longer than a chunk.
            let size = [0, 1, 7, 300, 5000, 100_000][(number / 3 + round) % 6] / (1 + number % 5);
            let align = 1 << (number % 13);
            let part = provider.allocate(size, align, KINDS[kind]()).unwrap();
            assert_eq!(part.addr() % align as usize, 0);
            let mark = (round * 50 + number) as u8;
            // SAFETY: given for this.
            unsafe { part.write_bytes(mark, size) };
            parts.push((part, size, mark, kind));
        }
        provider.finalize(BranchProtection::None).unwrap();
        assert_nothing_writable_is_executable();
        for &(part, size, mark, kind) in &parts {
            // SAFETY: written above, or a round before.
            let bytes = unsafe { slice::from_raw_parts(part, size) };
            assert!(bytes.iter().all(|&byte| byte == mark));
            let expected = [[true, false, true], [true, true, false], [true, false, false]][kind];
            assert_eq!(grants(part), expected);
        }
        let mut ranges: Vec<_> = parts.iter().map(|&(part, size, ..)| (part.addr(), size.max(1))).collect();
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        assert!(parts.len() > before);
    }
    free(provider);
}

/// Whoever finalizes after each function loses no more than the rest of a page.
#[test]
fn short_portions_take_a_page_each() {
    let mut provider = provider(300 * page::size());
    let code = provider.code().unwrap().clone();
    for round in 1..=300 {
        let part = provider.allocate(40, 16, JITMemoryKind::Executable).unwrap();
        provider.finalize(BranchProtection::None).unwrap();
        assert_eq!(grants(part), [true, false, true]);
        let usage = code.usage();
        assert_eq!((usage.pieces, usage.used), (round, round * page::size()));
    }
    assert!(provider.allocate(40, 16, JITMemoryKind::Executable).is_err());
    free(provider);
    assert_eq!((code.usage().pieces, code.usage().used), (0, 0));
}

/// All of what was asked for is to be had, in chunks that become longer.
#[test]
fn the_capacity_is_kept() {
    let capacity = 1 << 20;
    let mut provider = provider(capacity);
    let code = provider.code().unwrap().clone();
    for kind in KINDS.into_iter().take(2) {
        for _ in 0..capacity / 4096 {
            provider.allocate(4096, 16, kind()).unwrap();
        }
        let refused = provider.allocate(4096, 16, kind()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::OutOfMemory);
    }
    provider.finalize(BranchProtection::None).unwrap();
    assert!(code.usage().pieces <= 24, "{:?}", code.usage());
    free(provider);
}

#[test]
fn nothing_after_the_end() {
    let mut provider = provider(1 << 20);
    provider.finalize(BranchProtection::None).unwrap();
    provider.allocate(10, 1, JITMemoryKind::Executable).unwrap();
    provider.finalize(BranchProtection::None).unwrap();
    provider.finalize(BranchProtection::None).unwrap();
    for _ in 0..2 {
        // SAFETY: nothing of it is used.
        unsafe { provider.free_memory() };
        assert!(provider.code().is_none());
        assert!(KINDS.into_iter().all(|kind| provider.allocate(10, 1, kind()).is_err()));
        assert!(provider.finalize(BranchProtection::None).is_err());
    }
}

/// What cannot be honoured is no success.
#[test]
fn branch_protection_is_as_asked_for() {
    let mut provider = provider(1 << 20);
    let part = provider.allocate(10, 1, JITMemoryKind::Executable).unwrap();
    assert!(provider.finalize(BranchProtection::BTI).is_err());
    assert_eq!(grants(part), [true, true, false]);
    // It is still there to be finalized.
    provider.finalize(BranchProtection::None).unwrap();
    assert_eq!(grants(part), [true, false, true]);
    free(provider);
    if let Ok(mut provider) = FolioMemoryProvider::with_branch_targets(1 << 20) {
        let part = provider.allocate(10, 1, JITMemoryKind::Executable).unwrap();
        assert!(provider.finalize(BranchProtection::None).is_err());
        provider.finalize(BranchProtection::BTI).unwrap();
        assert_eq!(grants(part), [true, false, true]);
        free(provider);
    }
}

#[test]
fn it_goes_to_other_threads() {
    let mut provider = provider(1 << 20);
    provider.allocate(10, 1, JITMemoryKind::Writable).unwrap();
    let provider = std::thread::spawn(move || {
        provider.allocate(10, 1, JITMemoryKind::Executable).unwrap();
        provider.finalize(BranchProtection::None).unwrap();
        provider
    });
    free(provider.join().unwrap());
}
