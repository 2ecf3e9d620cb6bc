//! Memory for generated code: what is published runs, and nothing is ever written and executed at once.
#![cfg(feature = "allow_exec")]

mod common;

use common::{Helper, died, role, rounds, say, skipped};
use folio::{
    Capabilities, CodeMemory, CodeOptions, CodePiece, CodeStrategy, ErrorKind, FnRef, Operation, Protection,
    page, query_range,
};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

type Number = extern "C" fn() -> u32;

/// A function that returns a number below 32,768, in the words of this processor: 12 bytes at most.
fn returning(number: u32) -> Option<Vec<u8>> {
    assert!(number < 0x8000);
    let words = |words: &[u32]| Some(words.iter().copied().flat_map(u32::to_ne_bytes).collect());
    if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        // mov eax, number; ret
        Some([&[0xb8][..], &number.to_le_bytes(), &[0xc3]].concat())
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        // mov w0, number; ret
        words(&[0x5280_0000 | number << 5, 0xd65f_03c0])
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        // li 3, number; blr
        words(&[0x3860_0000 | number, 0x4e80_0020])
    } else if cfg!(target_arch = "riscv64") {
        // lui a0, of the upper bits, one more where the lower ones are taken for negative; addi a0, a0, of the lower; ret
        let upper = (number + 0x800) & 0xffff_f000;
        words(&[0x0000_0537 | upper, 0x0005_0513 | (number & 0xfff) << 20, 0x0000_8067])
    } else {
        None
    }
}

fn can_run(test: &str) -> bool {
    if returning(1).is_none() {
        skipped(test, "no code for this processor");
    }
    returning(1).is_some()
}

/// One area for each strategy that there is here.
fn areas(test: &str, capacity: usize) -> Vec<CodeMemory> {
    let all = CodeStrategy::all().iter().filter_map(|&strategy| {
        match CodeOptions::new(capacity).strategy(strategy).map() {
            Ok(code) => Some(code),
            Err(error) => {
                // That others are not here says `code_by_thread`.
                if APART.contains(&strategy) {
                    skipped(test, &format!("{strategy:?}: {error}"));
                }
                None
            }
        }
    });
    all.collect()
}

/// A function of `len` bytes that returns a number.
fn function(code: &CodeMemory, number: u32, len: usize) -> CodePiece {
    let bytes = returning(number).unwrap();
    let mut draft = code.draft(len.max(bytes.len())).unwrap();
    draft.fill(0xcc);
    draft[..bytes.len()].copy_from_slice(&bytes);
    draft.publish().unwrap()
}

/// The number that a piece returns.
///
/// QEMU 7.2 keeps what it has made of a page that was replaced or unmapped, but for its first 4 KiB, where pages are longer than that
/// (`tlb_flush_page_by_mmuidx_async_0` in its `accel/tcg/cputlb.c`): what it executes there is old, though what is read is new.
/// So there the function is read.
fn call(piece: &CodePiece) -> u32 {
    if piece.address().addr() % page::size() >= 4096 && std::env::var_os("FOLIO_KEEPS_TRANSLATIONS").is_some()
    {
        let found = begin(piece);
        let word = u32::from_ne_bytes(found[..4].try_into().unwrap());
        let number = if cfg!(target_arch = "aarch64") { word >> 5 } else { word } & 0x7fff;
        assert_eq!(found, returning(number).unwrap());
        return number;
    }
    // SAFETY: a function of this type.
    let function: FnRef<'_, Number> = unsafe { piece.get_fn(0) }.unwrap();
    function.call(())
}

/// What is at its start, as data: as many bytes as the functions of this processor have.
fn begin(piece: &CodePiece) -> Vec<u8> {
    let len = returning(0).unwrap().len();
    assert!(len <= piece.len());
    // SAFETY: published code can be read, and nobody writes to it meanwhile.
    unsafe { std::slice::from_raw_parts(piece.address(), len) }.to_vec()
}

/// By these no page ever grants writing and executing at once.
const APART: [CodeStrategy; 2] = [CodeStrategy::Dual, CodeStrategy::Toggle];

/// Whether the system shows a page that can be written and executed, against the strategy.
fn is_both(code: &CodeMemory) -> bool {
    let range = code.as_range();
    APART.contains(&code.strategy())
        && query_range(std::ptr::without_provenance::<u8>(range.start), range.len())
            .unwrap()
            .flatten()
            .any(|region| region.protection().contains(Protection::WRITE_EXECUTE))
}

#[test]
fn functions_of_all_sizes_run() {
    const TEST: &str = "functions_of_all_sizes_run";
    if !can_run(TEST) {
        return;
    }
    for code in areas(TEST, 1024 * page::size()) {
        let sizes = [8, 64, 100, 1000, 4096, 10_000, 65_536, page::size(), 3 * page::size() + 1];
        let pieces: Vec<_> =
            (1..200).map(|number| (number, function(&code, number, sizes[number as usize % 9]))).collect();
        for (number, piece) in &pieces {
            assert_eq!(call(piece), *number, "{code:?}");
            assert_eq!(piece.address().addr() % 16, 0);
            assert!(code.as_range().contains(&piece.address().addr()));
        }
        assert!(!is_both(&code));
        let usage = code.usage();
        assert_eq!(usage.pieces, 199);
        drop(pieces);
        let usage = code.usage();
        assert_eq!((usage.pieces, usage.used, usage.holes, usage.largest_hole), (0, 0, 1, usage.capacity));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Publish { len: usize, align: usize },
    Batch { lens: Vec<usize> },
    Drop { index: usize },
    Patch { index: usize },
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![12..300_usize, 12..20_000_usize, Just(page::size()), Just(2 * page::size())];
    prop_oneof![
        4 => (len(), 0..13_u32).prop_map(|(len, align)| Step::Publish { len, align: 1 << align }),
        1 => proptest::collection::vec(len(), 0..8).prop_map(|lens| Step::Batch { lens }),
        3 => any::<usize>().prop_map(|index| Step::Drop { index }),
        2 => any::<usize>().prop_map(|index| Step::Patch { index }),
        1 => Just(Step::Trim),
    ]
}

fn beside_a_model(strategy: CodeStrategy, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let Ok(code) = CodeOptions::new(1 << 18).strategy(strategy).map() else { return Ok(()) };
    let mut pieces: Vec<(u32, CodePiece)> = Vec::new();
    let mut next = 1;
    let mut number = || {
        next = next % 0x7fff + 1;
        next
    };
    let write = |draft: &mut folio::CodeDraft, number| {
        let bytes = returning(number).unwrap();
        draft.fill(0);
        draft[..bytes.len()].copy_from_slice(&bytes);
    };
    for step in steps {
        match step {
            Step::Publish { len, align } => match code.draft_aligned(len, align.min(page::size())) {
                Ok(mut draft) => {
                    let number = number();
                    prop_assert_eq!(draft.address().addr() % align.min(page::size()), 0);
                    prop_assert_eq!(draft.len(), len);
                    write(&mut draft, number);
                    pieces.push((number, draft.publish().unwrap()));
                }
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Exhausted),
            },
            Step::Batch { lens } => {
                let mut drafts = Vec::new();
                let mut numbers = Vec::new();
                for len in lens {
                    if let Ok(mut draft) = code.draft(len) {
                        let number = number();
                        write(&mut draft, number);
                        drafts.push(draft);
                        numbers.push(number);
                    }
                }
                let made = code.publish(drafts).map_err(|(_, error)| error).unwrap();
                pieces.extend(numbers.into_iter().zip(made));
            }
            Step::Drop { index } if !pieces.is_empty() => {
                let index = index % pieces.len();
                drop(pieces.swap_remove(index));
            }
            Step::Patch { index } if !pieces.is_empty() => {
                let index = index % pieces.len();
                let number = number();
                let (now, piece) = &mut pieces[index];
                // SAFETY: another function of the same type, that nobody executes now.
                unsafe { piece.patch(0, &returning(number).unwrap()) }.unwrap();
                *now = number;
            }
            Step::Drop { .. } | Step::Patch { .. } => {}
            Step::Trim => {
                let given = code.trim().unwrap();
                prop_assert!(given <= code.usage().free());
            }
        }
        for (number, piece) in &pieces {
            prop_assert_eq!(call(piece), *number, "{:?}: {:x?}", strategy, begin(piece));
        }
        prop_assert!(!is_both(&code));
        let usage = code.usage();
        prop_assert_eq!(usage.pieces, pieces.len());
        prop_assert!(usage.used >= pieces.iter().map(|(_, piece)| piece.len()).sum());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(64)))]

    /// What is published does what it should, whatever comes and goes beside it.
    #[test]
    fn code_beside_a_model(steps in proptest::collection::vec(step(), 1..60)) {
        if can_run("code_beside_a_model") {
            for &strategy in CodeStrategy::all() {
                beside_a_model(strategy, steps.clone())?;
            }
        }
    }
}

/// Trap: pages that were writable and executable for a moment. A second thread asks the system all the while, and a third one
/// executes what lies in the very pages that are written to.
#[test]
fn never_both_while_threads_publish_and_call() {
    const TEST: &str = "never_both_while_threads_publish_and_call";
    if !can_run(TEST) {
        return;
    }
    // Other tests have pages that grant both, where a strategy is such.
    if role().is_none() {
        return Helper::start(TEST, "alone").finish();
    }
    for strategy in APART {
        let Ok(code) = CodeOptions::new(1 << 20).strategy(strategy).map() else { continue };
        let stop = AtomicBool::new(false);
        let running = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let (code, stop, running) = (&code, &stop, &running);
            let watcher = scope.spawn(move || {
                let mut looks = 0_u32;
                while !stop.load(Ordering::Relaxed) || looks == 0 {
                    // All that this process has: the address for writing is told to nobody.
                    let all = folio::Process::current().regions().unwrap();
                    for region in all.flatten() {
                        assert!(!region.protection().contains(Protection::WRITE_EXECUTE), "{region:?}");
                    }
                    looks += 1;
                }
            });
            for thread in 0..3_u32 {
                running.fetch_add(1, Ordering::Relaxed);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for round in 0..rounds(400) {
                        let number = thread * 10_000 + round % 1000;
                        let len = [40, 200, 5000][round as usize % 3];
                        kept.push((number, function(code, number, len)));
                        if kept.len() > 20 {
                            kept.swap_remove(round as usize % 20);
                        }
                        for (number, piece) in &kept {
                            assert_eq!(call(piece), *number);
                        }
                    }
                    running.fetch_sub(1, Ordering::Release);
                });
            }
            while running.load(Ordering::Acquire) > 0 && !watcher.is_finished() {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(code.usage().used, 0);
    }
}

/// A patch within a word is seen as a whole, by a thread that is executing it.
#[test]
fn a_patch_is_seen_old_or_new() {
    const TEST: &str = "a_patch_is_seen_old_or_new";
    // On aarch64 a `mov` may not be replaced under way.
    if !cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        return skipped(TEST, "this processor's manual permits it for jumps only");
    }
    for code in areas(TEST, 1 << 16) {
        if !cfg!(any(target_os = "linux", target_os = "android")) && code.strategy() == CodeStrategy::Toggle {
            skipped(TEST, "Toggle: only on Linux may a piece be executed meanwhile");
            continue;
        }
        let beside = function(&code, 7, 16);
        let piece = function(&code, 0x1111, 16);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (piece, beside, stop) = (&piece, &beside, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let found = call(piece);
                    assert!(found == 0x1111 || found == 0x2222, "{found:x}");
                    assert_eq!(call(beside), 7);
                }
            });
            for round in 0..rounds(2000) {
                let number: u32 = if round % 2 == 0 { 0x2222 } else { 0x1111 };
                // SAFETY: an operand within a word, on x86.
                unsafe { piece.patch(1, &number.to_le_bytes()) }.unwrap();
                assert_eq!(call(piece), number);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn what_makes_no_sense_is_an_error() {
    const TEST: &str = "what_makes_no_sense_is_an_error";
    for capacity in [0, usize::MAX, isize::MAX as usize] {
        for &strategy in CodeStrategy::all() {
            let error = CodeOptions::new(capacity).strategy(strategy).map().unwrap_err();
            let kinds = [
                ErrorKind::InvalidInput,
                ErrorKind::Exhausted,
                ErrorKind::Unsupported,
                ErrorKind::NotPermitted,
            ];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    }
    // A page for each of two pieces, which share none everywhere.
    for code in areas(TEST, page::size() + 1) {
        let capacity = code.usage().capacity;
        assert_eq!(capacity, 2 * page::size());
        for len in [capacity + 1, usize::MAX, usize::MAX - 15] {
            let error = code.draft(len).unwrap_err();
            assert_eq!(
                (error.kind(), error.operation()),
                (ErrorKind::Exhausted, Operation::Allocate),
                "{error}"
            );
        }
        for align in [0, 3, 2 * page::size(), usize::MAX] {
            assert_eq!(code.draft_aligned(1, align).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let nothing = code.draft(0).unwrap();
        assert!(nothing.is_empty());
        let nothing = nothing.publish().unwrap();
        assert!(nothing.get_fn_ptr(0).is_err() && nothing.is_empty());
        // SAFETY: nothing is executed.
        let patched = unsafe { nothing.patch(0, &[1]) };
        assert_eq!(patched.unwrap_err().kind(), ErrorKind::InvalidInput);
        // SAFETY: as above.
        assert!(unsafe { nothing.patch(usize::MAX, &[1]) }.is_err());
        // SAFETY: as above.
        unsafe { nothing.patch(0, &[]) }.unwrap();
        let other = CodeMemory::new(1).unwrap();
        let (drafts, error) = other.publish(vec![code.draft(16).unwrap()]).unwrap_err();
        assert_eq!((error.kind(), drafts.len()), (ErrorKind::InvalidInput, 1));
        drop((drafts, nothing));
        assert_eq!(code.usage().used, 0);
    }
}

/// Room comes back, of drafts too, and what is fragmented is said to be.
#[test]
fn room_comes_back() {
    const TEST: &str = "room_comes_back";
    for code in areas(TEST, 1 << 16) {
        let count = (1 << 16) / 64;
        let drafts: Vec<_> = (0..count).map_while(|_| code.draft(64).ok()).collect();
        if code.strategy() == CodeStrategy::Dual {
            assert_eq!(drafts.len(), count);
            assert_eq!(code.draft(1).unwrap_err().kind(), ErrorKind::Exhausted);
        }
        let kept: Vec<_> = drafts
            .into_iter()
            .enumerate()
            .filter_map(|(index, draft)| (index % 2 == 0).then_some(draft))
            .collect();
        let usage = code.usage();
        if code.strategy() == CodeStrategy::Dual {
            assert_eq!((usage.holes, usage.largest_hole), (count / 2, 64));
            assert!(usage.fragmentation() > 0.99 && usage.free() == 1 << 15);
            assert_eq!(code.draft(65).unwrap_err().kind(), ErrorKind::Exhausted);
        }
        drop(kept);
        assert_eq!(code.usage().fragmentation(), 0.0);
        assert_eq!(code.draft(1 << 16).unwrap().len(), 1 << 16);
    }
}

/// The memory of holes goes back to the system.
#[test]
fn trimming_empties_pages() {
    const TEST: &str = "trimming_empties_pages";
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return skipped(TEST, "the system does not tell what is in memory, page by page");
    }
    for code in areas(TEST, 64 * page::size()) {
        let mut large = code.draft(40 * page::size()).unwrap();
        large.fill(1);
        let piece = large.publish().unwrap();
        let range = code.as_range();
        // SAFETY: mapped as long as the area; read by the system only.
        let bytes = |len| unsafe {
            std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(range.start), len)
        };
        assert_eq!(common::resident(bytes(40 * page::size())), 40 * page::size() as u64);
        drop(piece);
        let given = code.trim().unwrap();
        assert!(given >= 40 * page::size(), "{given}");
        assert_eq!(common::resident(bytes(64 * page::size())), 0);
        let mut again = code.draft(16).unwrap();
        again.fill(2);
        drop(again.publish().unwrap());
    }
}

#[test]
fn code_is_near_where_wanted() {
    const TEST: &str = "code_is_near_where_wanted";
    let here = code_is_near_where_wanted as *const ();
    for &strategy in CodeStrategy::all() {
        let made = CodeOptions::new(1 << 20).strategy(strategy).near(here, 1 << 30).map();
        match made {
            Ok(code) => {
                let range = code.as_range();
                assert!(
                    range.start.abs_diff(here.addr()) <= 1 << 30
                        && range.end.abs_diff(here.addr()) <= 1 << 30
                );
                assert_eq!(code.strategy(), strategy);
            }
            Err(error) if APART.contains(&strategy) => skipped(TEST, &format!("{strategy:?}: {error}")),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
    }
    let error = CodeOptions::new(1 << 20).near(here, 1 << 12).map().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
}

/// Whoever writes to what is published dies of it.
#[test]
fn published_code_cannot_be_written() {
    const TEST: &str = "published_code_cannot_be_written";
    let area = |strategy| CodeOptions::new(1).strategy(strategy).map();
    for &strategy in CodeStrategy::all() {
        let name = format!("{strategy:?}");
        let Some(role) = role() else {
            if let Err(error) = area(strategy) {
                skipped(TEST, &format!("{name}: {error}"));
                continue;
            }
            let mut child = Helper::start(TEST, &name);
            assert_eq!(child.line(), "ready");
            let status = child.wait();
            assert!(died(status), "{name}: {status:?}");
            continue;
        };
        if role.to_str() == Some(&name) {
            let mut draft = area(strategy).unwrap().draft(16).unwrap();
            draft.fill(1);
            let piece = draft.publish().unwrap();
            let place = std::ptr::with_exposed_provenance_mut::<u8>(piece.address().addr());
            // SAFETY: published code can be read.
            assert_eq!(unsafe { place.read_volatile() }, 1);
            say("ready");
            // SAFETY: it is not: this ends the process.
            unsafe { place.write_volatile(2) };
            return;
        }
    }
}

#[test]
fn parts_may_be_sent_and_shared() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<CodeMemory>();
    check::<folio::CodeDraft>();
    check::<CodePiece>();
    let _capabilities = Capabilities::probe();
}

/// Trap: memory that a child of `fork` shares with its parent, and writes to.
#[cfg(unix)]
#[test]
fn a_forked_process_leaves_shared_code_alone() {
    const TEST: &str = "a_forked_process_leaves_shared_code_alone";
    if !can_run(TEST) {
        return;
    }
    // A process of its own, without other tests' threads.
    if role().is_none() {
        return Helper::start(TEST, "parent").finish();
    }
    for code in areas(TEST, 1 << 16) {
        let shared = code.strategy() == CodeStrategy::Dual;
        let piece = function(&code, 5, 16);
        let draft = code.draft(16).unwrap();
        // SAFETY: the child calls nothing but what follows, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let refused = |kind| shared == (kind == Some(ErrorKind::NotPermitted));
            // SAFETY: nobody executes it; or it is refused.
            let patched = unsafe { piece.patch(0, &returning(6).unwrap()) };
            let right = call(&piece) == if shared { 5 } else { 6 }
                && refused(patched.err().map(|error| error.kind()))
                && refused(code.draft(16).err().map(|error| error.kind()))
                && refused(draft.publish().err().map(|(_, error)| error.kind()))
                && refused(code.trim().err().map(|error| error.kind()));
            // SAFETY: ends the child, without running what the parent has registered.
            unsafe { libc::_exit(i32::from(!right)) };
        }
        let mut status = 0;
        // SAFETY: writes one number.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "{:?}", code.strategy());
        assert_eq!(call(&piece), 5);
        drop(draft);
    }
}
