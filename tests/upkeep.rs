//! What is told to the system about pages, and asked: what they hold after each call, in bytes and in the system's own books.

mod common;

#[cfg(unix)]
use common::say;
use common::{Helper, role, rounds, skipped};
use folio::{
    Advice, AllowWrite, DenyExec, DenyRead, ErrorKind, MmapMut, MmapOptions, Operation, Pages, Process, page,
};
use proptest::prelude::*;
use std::ops::{Bound, RangeBounds};

const HINTS: [Advice; 10] = [
    Advice::Normal,
    Advice::WillNeed,
    Advice::Sequential,
    Advice::Random,
    Advice::HugePages,
    Advice::NoHugePages,
    Advice::Cold,
    Advice::PageOut,
    Advice::Mergeable,
    Advice::Unmergeable,
];

const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));

fn unwrap<T, U>(changed: Result<T, (U, folio::Error)>) -> T {
    changed.map_err(|(_, error)| error).unwrap()
}

/// Each page with bytes of its own.
fn pattern(pages: &mut [u8]) {
    for (number, page) in pages.chunks_mut(page::size()).enumerate() {
        page.fill(u8::try_from(number % 250 + 1).unwrap());
    }
}

fn filled(count: usize) -> MmapMut {
    let mut pages = Pages::new(count * page::size()).unwrap();
    pattern(&mut pages);
    pages
}

/// How many pages are in memory, where the system tells.
fn resident(pages: &MmapMut, range: impl RangeBounds<usize>) -> Option<usize> {
    match pages.resident(range) {
        Err(error) if cfg!(target_os = "openbsd") => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            None
        }
        told => Some(told.unwrap()),
    }
}

#[test]
fn hints_lose_nothing() {
    let mut pages = filled(6);
    let mut expected = pages.to_vec();
    for advice in HINTS {
        for part in [0..pages.len(), 1..2, page::size() - 1..page::size() + 1, 5..5] {
            pages.advise(part.clone(), advice).unwrap();
            assert_eq!(*pages, *expected, "{advice:?} {part:?}");
        }
        // They can be written, too, as before.
        pages[0] += 1;
        expected[0] += 1;
    }
    pages.advise_use_soon().unwrap();
    pages.advise_use_seq().unwrap();
    pages.advise_use_rnd().unwrap();
    assert_eq!(*pages, *expected);
    // In every state.
    let pages = unwrap(pages.make_none());
    for advice in HINTS {
        pages.advise(.., advice).unwrap();
    }
    assert_eq!(*unwrap(pages.make_read_only()), *expected);
}

#[test]
fn decommitted_pages_are_zeroes_in_every_state() {
    let size = page::size();
    let mut pages = filled(4);
    pages.decommit(size..2 * size).unwrap();
    let firsts = |pages: &[u8]| [0, 1, 2, 3].map(|n| pages[n * size]);
    assert_eq!(firsts(&pages), [1, 0, 3, 4]);
    assert!(pages[size..2 * size].iter().all(|&byte| byte == 0));
    let mut pages = unwrap(pages.make_read_only());
    pages.decommit(2 * size..3 * size).unwrap();
    assert_eq!(firsts(&pages), [1, 0, 0, 4]);
    let mut pages = unwrap(pages.make_none());
    pages.decommit(3 * size..).unwrap();
    pages.decommit(3 * size..).unwrap();
    let mut pages = unwrap(pages.make_mut());
    assert_eq!(firsts(&pages), [1, 0, 0, 0]);
    pages.fill(9);
    pages.decommit(..).unwrap();
    assert!(pages.iter().all(|&byte| byte == 0));
    pages.fill(9);
    let mut pages: Pages<DenyRead, AllowWrite, DenyExec> = unwrap(pages.deny_read());
    pages.decommit(..size).unwrap();
    assert_eq!(firsts(&unwrap(pages.allow_read())), [0, 9, 9, 9]);
    // Of what was never more than addresses.
    let mut none = MmapOptions::new(2 * size).map_none().unwrap();
    none.decommit(..).unwrap();
    none.decommit(size..).unwrap();
    assert!(unwrap(none.make_mut()).iter().all(|&byte| byte == 0));
}

/// Trap: a call that is refused changes what later calls do: pages that have no flag are as good as new ones.
#[test]
fn a_flag_that_is_refused_is_none() {
    let size = page::size();
    let mut pages = folio::MmapOptions::new(size).room(4 * size).map_mut().unwrap();
    pages.keep_out_of_core_dumps(..size + 1, true).unwrap_err();
    pages.wipe_on_fork(..size + 1, true).unwrap_err();
    pages.grow(2 * size).unwrap();
    match pages.keep_out_of_core_dumps(.., true) {
        Ok(()) => assert_eq!(pages.grow(3 * size).unwrap_err().kind(), ErrorKind::Unsupported),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            pages.grow(3 * size).unwrap();
            pages.decommit(..).unwrap();
        }
    }
}

/// Trap: ranged calls reached the system with their bounds unchecked, and changed the neighbour's pages.
#[test]
fn ranges_beyond_the_mapping_are_errors() {
    let size = page::size();
    let mut low = filled(3);
    let mut pages = low.split_off(size).unwrap();
    let high = pages.split_off(size).unwrap();
    let before = (low.to_vec(), pages.to_vec(), high.to_vec());
    let ranges: [(Bound<usize>, Bound<usize>); 9] = [
        (Bound::Included(0), Bound::Excluded(size + 1)),
        (Bound::Included(0), Bound::Included(size)),
        (Bound::Included(size), Bound::Excluded(2 * size)),
        (Bound::Included(2 * size), Bound::Excluded(size)),
        (Bound::Included(2), Bound::Excluded(1)),
        (Bound::Unbounded, Bound::Included(usize::MAX)),
        (Bound::Excluded(usize::MAX), Bound::Unbounded),
        (Bound::Included(usize::MAX), Bound::Unbounded),
        (Bound::Included(0_usize.wrapping_sub(size)), Bound::Excluded(size)),
    ];
    for range in ranges {
        for error in [
            pages.advise(range, Advice::PageOut).unwrap_err(),
            pages.keep_out_of_core_dumps(range, true).unwrap_err(),
            pages.wipe_on_fork(range, true).unwrap_err(),
            pages.decommit(range).unwrap_err(),
            pages.prefault(range).unwrap_err(),
            pages.prefault_mut(range).unwrap_err(),
            pages.resident(range).unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.changed()),
                (ErrorKind::InvalidInput, None),
                "{range:?}: {error}"
            );
            assert_eq!(error.range(), Some(pages.as_range()));
        }
    }
    // Half of a page, where something would be lost.
    for range in [0..1, 1..size, 0..size - 1, size - 1..size] {
        for error in [
            pages.decommit(range.clone()).unwrap_err(),
            pages.wipe_on_fork(range.clone(), true).unwrap_err(),
            pages.wipe_on_fork(range.clone(), false).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{range:?}: {error}");
        }
    }
    // Nothing at all is in order anywhere.
    for at in [0, 1, size - 1, size] {
        pages.decommit(at..at).unwrap();
        pages.advise(at..at, Advice::Collapse).unwrap();
        pages.prefault(at..at).unwrap();
        assert_eq!(pages.resident(at..at).unwrap(), 0);
    }
    assert_eq!((low.to_vec(), pages.to_vec(), high.to_vec()), before);
}

#[test]
fn locked_pages_keep_their_memory() {
    let mut pages = filled(2);
    if pages.lock().is_err() {
        return skipped("locked_pages_keep_their_memory", "nothing may be locked here");
    }
    let expected = pages.to_vec();
    let error = pages.decommit(..page::size()).unwrap_err();
    assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
    assert!(error.remedy().unwrap().contains("unlock"), "{error}");
    let (pages, error) = pages.free_lazily().unwrap_err();
    assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
    let mut pages = pages;
    for advice in [Advice::Cold, Advice::PageOut] {
        let done = pages.advise(.., advice).map_err(|error| error.kind());
        assert_eq!(done, if LINUX { Err(ErrorKind::NotPermitted) } else { Ok(()) });
    }
    assert_eq!(*pages, *expected);
    pages.unlock().unwrap();
    // By somebody else: where the kernel minds, that is an error, too.
    let lock = folio::lock(&pages[0], 1).unwrap();
    match pages.decommit(..) {
        Ok(()) => assert!(!LINUX && pages.iter().all(|&byte| byte == 0)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
            assert!(pages.iter().zip(&expected).all(|(&now, &was)| now == was || now == 0));
        }
    }
    let _unlocked = lock.unlock();
    pages.decommit(..).unwrap();
    assert!(pages.iter().all(|&byte| byte == 0));
}

/// Trap: decommit by a call that did nothing. What counts is the memory, by two ways of asking.
#[test]
fn memory_comes_and_goes() {
    if role().is_none() {
        return Helper::start("memory_comes_and_goes", "child").finish();
    }
    let size = page::size();
    let count = (16 << 20) / size;
    let mut pages = Pages::new(count * size).unwrap();
    pages.advise(.., Advice::NoHugePages).unwrap();
    let start = pages.start();
    let by_usage = || Process::current().usage(start);
    let told = by_usage().is_ok();
    let usage = || if told { usize::try_from(by_usage().unwrap().resident()).unwrap() } else { 0 };
    let before = usage();
    let expect = |pages: &MmapMut, wanted: usize| {
        if let Some(resident) = resident(pages, ..) {
            assert_eq!(resident, wanted);
        }
        // Other memory may be of the same region.
        let more = usage().saturating_sub(before);
        assert!(!told || more.abs_diff(wanted * size) <= 1 << 20, "{more} {wanted}");
        #[cfg(target_os = "linux")]
        assert_eq!(present(pages), wanted);
    };
    expect(&pages, 0);
    pages.prefault_mut(..count / 2 * size).unwrap();
    expect(&pages, count / 2);
    pages.fill(3);
    expect(&pages, count);
    pages.decommit(size..).unwrap();
    expect(&pages, 1);
    if let (Some(first), Some(rest)) = (resident(&pages, ..size), resident(&pages, size..)) {
        assert_eq!((first, rest), (1, 0));
        assert_eq!(resident(&pages, size - 1..size + 1), Some(1));
    }
    pages.prefault_mut(3 * size + 1..5 * size + 1).unwrap();
    expect(&pages, 4);
    assert!(pages[0] == 3 && pages[size..].iter().all(|&byte| byte == 0));
    // And with the types that deny something.
    pages.fill(4);
    let mut pages = unwrap(pages.make_none());
    pages.decommit(..).unwrap();
    if let Ok(resident) = pages.resident(..) {
        assert_eq!(resident, 0);
    }
    let pages = unwrap(pages.make_read_only());
    pages.prefault(..).unwrap();
    if let Ok(resident) = pages.resident(..) {
        assert_eq!(resident, count);
    }
}

/// The pages with memory behind them, by the page table.
#[cfg(target_os = "linux")]
fn present(pages: &[u8]) -> usize {
    use std::os::unix::fs::FileExt;
    let map = std::fs::File::open("/proc/self/pagemap").unwrap();
    let mut entries = vec![0; pages.len() / page::size() * 8];
    let at = u64::try_from(pages.as_ptr().addr() / page::size() * 8).unwrap();
    map.read_exact_at(&mut entries, at).unwrap();
    entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_fault() {
    let none = MmapOptions::new(2 * page::size()).map_none().unwrap();
    let error = none.prefault(1..).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::NotPermitted, Operation::Prefault), "{error}");
    none.prefault(3..3).unwrap();
    let mut write_only = unwrap(filled(2).deny_read());
    assert_eq!(write_only.prefault(..).unwrap_err().kind(), ErrorKind::NotPermitted);
    write_only.prefault_mut(..).unwrap();
    assert_eq!(unwrap(write_only.allow_read())[0], 1);
}

#[test]
fn lazily_freed_pages_come_back_old_or_zeroed() {
    let size = page::size();
    let mut low = filled(9);
    let pages = low.split_off(size).unwrap();
    let expected = pages.to_vec();
    let freed = unwrap(pages.free_lazily());
    assert_eq!((freed.start(), freed.len(), freed.is_empty()), (low.end(), 8 * size, false));
    assert!(format!("{freed:?}").starts_with("FreedLazily("));
    let mut pages = freed.reuse();
    for (page, was) in pages.chunks(size).zip(expected.chunks(size)) {
        assert!(page == was || page.iter().all(|&byte| byte == 0));
    }
    pages.fill(1);
    low.merge(pages).unwrap();
    assert_eq!((low[0], low[size], low.len()), (1, 1, 9 * size));
    // Never used again.
    drop(unwrap(low.free_lazily()));
    let write_only = unwrap(filled(2).deny_read());
    drop(unwrap(write_only.free_lazily()).reuse());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    Decommit,
    Advise(Advice),
    Prefault,
    PrefaultMut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..=255_u8).prop_map(Step::Write),
        Just(Step::Decommit),
        (0..HINTS.len()).prop_map(|n| Step::Advise(HINTS[n])),
        Just(Step::Prefault),
        Just(Step::PrefaultMut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(64)) })]

    /// A model of the content beside a mapping, and a neighbour on either side.
    #[test]
    fn content_is_as_in_the_model(
        steps in proptest::collection::vec((step(), 0..12_usize, 0..12_usize, 0..3_usize, 0..3_usize), 1..24),
    ) {
        const PAGES: usize = 10;
        let size = page::size();
        let mut low = filled(PAGES + 2);
        let mut pages = low.split_off(size).unwrap();
        let high = pages.split_off(PAGES * size).unwrap();
        let neighbours = (low.to_vec(), high.to_vec());
        let mut model = pages.to_vec();
        for (step, first, end, before, after) in steps {
            // On page boundaries, one byte before, one behind.
            let at = |page: usize, nudge: usize| (page * size + nudge).saturating_sub(1);
            let part = at(first, before)..at(end, after);
            let inside = part.start <= part.end && part.end <= model.len();
            let even = part.start % size == 0 && part.end % size == 0;
            let (done, expected) = match step {
                Step::Write(value) => {
                    if let (Some(bytes), Some(model)) = (pages.get_mut(part.clone()), model.get_mut(part)) {
                        bytes.fill(value);
                        model.fill(value);
                    }
                    (Ok(()), true)
                }
                Step::Decommit => {
                    let done = pages.decommit(part.clone());
                    if done.is_ok() {
                        model[part.clone()].fill(0);
                    }
                    (done, inside && (even || part.is_empty()))
                }
                Step::Advise(advice) => (pages.advise(part, advice), inside),
                Step::Prefault => (pages.prefault(part), inside),
                Step::PrefaultMut => (pages.prefault_mut(part), inside),
            };
            prop_assert_eq!(done.is_ok(), expected, "{:?}", done);
            prop_assert!(*pages == *model);
        }
        prop_assert!(*low == *neighbours.0 && *high == *neighbours.1);
    }
}

#[test]
fn flags_at_mapping_time_hold_or_are_errors() {
    for options in [MmapOptions::new(1).no_core_dump(), MmapOptions::new(1).wipe_on_fork()] {
        match options.map_mut() {
            Ok(mut pages) => pages[0] = 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
        }
    }
    if LINUX {
        drop(MmapOptions::new(1).no_core_dump().map_none().unwrap());
    }
}

/// What the child of a fork reads at some places, as its exit status: the bits of those that are not zero.
#[cfg(unix)]
fn in_child(places: &[*const u8]) -> i32 {
    // SAFETY: the child reads memory and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let mut seen = 0;
        for (bit, &place) in places.iter().enumerate() {
            // SAFETY: a byte of pages that can be read, of which the child has its own.
            if unsafe { place.read_volatile() } != 0 {
                seen |= 1 << bit;
            }
        }
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(seen) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status));
    libc::WEXITSTATUS(status)
}

#[cfg(unix)]
#[test]
fn the_child_of_a_fork_has_zeroes_where_told() {
    const TEST: &str = "the_child_of_a_fork_has_zeroes_where_told";
    if role().is_none() {
        let mut helper = Helper::start(TEST, "child");
        match helper.line().as_str() {
            "done" => {}
            why => skipped(TEST, why),
        }
        return helper.finish();
    }
    let size = page::size();
    let mut pages = filled(4);
    let places = [0, 1, 2, 3].map(|n| pages.as_ptr().wrapping_add(n * size));
    assert_eq!(in_child(&places), 0b1111);
    match pages.wipe_on_fork(size..3 * size, true) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return say(error),
        done => done.unwrap(),
    }
    let expected = pages.to_vec();
    assert_eq!(in_child(&places), 0b1001);
    assert_eq!(*pages, *expected);
    match pages.wipe_on_fork(size..2 * size, false) {
        Err(error) if cfg!(target_os = "illumos") => assert_eq!(error.kind(), ErrorKind::Unsupported),
        done => {
            done.unwrap();
            assert_eq!(in_child(&places), 0b1011);
        }
    }
    // Giving memory back keeps the flag, or is refused.
    match pages.decommit(size..3 * size) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
        Ok(()) => {
            pages.fill(9);
            assert_eq!(in_child(&places), 0b1011);
        }
    }
    let mut seed = MmapOptions::new(size).wipe_on_fork().map_mut().unwrap();
    seed[0] = 1;
    assert_eq!(in_child(&[seed.as_ptr()]), 0);
    say("done");
}
