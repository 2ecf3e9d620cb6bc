//! Pools of pages: what they hand out, what they take back, and what the system says of it.

mod common;

use common::{rounds, skipped};
use folio::{
    ErrorKind, Fallback, MmapMut, MmapOptions, Operation, PagePool, Pages, PooledPages, Reservation, page,
    query, query_range,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::without_provenance;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where nothing is mapped of itself: what is unmapped there stays unmapped.
fn place_of(number: usize) -> usize {
    23_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 26 }) + (number << 22)
}

fn is_mapped(start: usize) -> bool {
    query(without_provenance::<u8>(start)).is_ok()
}

fn zeroes(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

static STATIC: PagePool =
    PagePool::with_options(MmapOptions::new(100).guard_after(1), 2).decommit_from(1 << 30);

#[test]
fn a_pool_can_be_static_and_is_for_all_threads() {
    fn any_thread<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    any_thread::<PagePool>();
    any_thread::<PooledPages<'_>>();
    any_thread::<folio::PoolCounts>();

    let first: PooledPages<'static> = STATIC.take().unwrap();
    assert_eq!((first.len(), first.pool().most()), (page::size(), 2));
    let start = std::thread::spawn(move || first.start()).join().unwrap();
    assert!(is_mapped(start));
    assert_eq!((STATIC.len(), STATIC.clear()), (1, 1));
    assert!(format!("{STATIC:?}").starts_with("PagePool"));
}

#[test]
fn what_a_pool_cannot_make_is_said() {
    let of = |options| PagePool::with_options(options, 2);
    // SAFETY: never mapped.
    let replaced = unsafe { MmapOptions::new(1).replace(place_of(0)) };
    for pool in [
        PagePool::new(0, 2),
        PagePool::new(usize::MAX, 2),
        of(MmapOptions::whole()),
        of(MmapOptions::new(1).room(1)),
        of(MmapOptions::new(1).at(place_of(0))),
        of(MmapOptions::new(1).near(place_of(0), 1 << 30)),
        of(MmapOptions::new(1).hint(place_of(0))),
        of(replaced),
        of(MmapOptions::new(1).align(3)),
        of(MmapOptions::new(1).offset(1)),
    ] {
        for error in [pool.take().unwrap_err(), pool.take_dirty().unwrap_err(), pool.prepare(1).unwrap_err()]
        {
            assert_eq!(
                (error.kind(), error.operation()),
                (ErrorKind::InvalidInput, Operation::Allocate),
                "{error}"
            );
        }
        assert!(!pool.put(Pages::new(1).unwrap()));
        assert!(pool.is_empty());
    }
}

/// What a pool makes of any options, it takes back: also what was taken apart and put together meanwhile.
#[test]
fn pages_of_every_kind_come_back() {
    let len = 2 << 20;
    let plain = || MmapOptions::new(len);
    let mut kinds = vec![
        ("plain", plain()),
        ("guards", plain().guard_before(1).guard_after(3 * page::size())),
        ("aligned", plain().align(1 << 20)),
        ("aligned between guards", plain().align(1 << 20).guard_before(1).guard_after(1)),
        ("aligned little", plain().align(8)),
        ("named", plain().name(c"pool")),
        ("at once", plain().populate()),
        ("without reserve, a stack", plain().no_reserve().stack()),
        ("of node 0", plain().numa_node(0)),
        ("perhaps huge", plain().transparent_huge_pages()),
        (
            "perhaps huge, aligned between guards",
            plain().transparent_huge_pages().align(4 << 20).guard_before(1),
        ),
        ("the largest", plain().largest_pages(Fallback::Ordinary)),
        ("the largest, or perhaps huge", plain().largest_pages(Fallback::Transparent)),
        ("wiped", plain().wipe_on_fork()),
        ("out of dumps", plain().no_core_dump()),
        ("both", plain().no_core_dump().wipe_on_fork()),
        ("locked", MmapOptions::new(1).locked()),
    ];
    kinds.extend(page::huge_sizes().iter().map(|size| ("huge", plain().huge_pages(size))));
    for (name, options) in kinds {
        for pool in
            [PagePool::with_options(options.clone(), 2), PagePool::with_options(options, 2).decommit_from(1)]
        {
            let mut pages = match pool.take() {
                Ok(pages) => pages,
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
                    skipped("pages_of_every_kind_come_back", &format!("{name}: {error}"));
                    continue;
                }
            };
            let (start, len) = (pages.start(), pages.len());
            for round in 0..3 {
                assert!(zeroes(&pages), "{name}");
                pages.fill(1);
                // Other rights, and these again; in raw parts.
                let own = pages.into_pages().make_read_only().unwrap().make_mut().unwrap();
                // SAFETY: what was taken apart just now.
                let own = unsafe { MmapMut::from_raw_parts(own.into_raw_parts()) };
                assert!(pool.put(own), "{name}");
                assert_eq!((pool.len(), pool.counts().reused()), (1, round), "{name}");
                pages = pool.take().unwrap();
                assert_eq!((pages.start(), pages.len()), (start, len), "{name}");
            }
            assert_eq!(pool.counts().mapped(), 1);
        }
    }
}

/// What somebody has changed is nobody else's, and goes.
#[test]
fn pages_unlike_those_of_the_pool_are_unmapped() {
    let len = 4 * page::granularity();
    let pool = PagePool::new(len, 100);
    let at = |number: usize| MmapOptions::new(len).at(place_of(number));
    let put = |name: &str, pages: MmapMut, kept: bool| {
        let start = pages.start();
        assert_eq!((pool.put(pages), is_mapped(start)), (kept, kept), "{name}");
    };
    put("like its own", at(1).map_mut().unwrap(), true);
    put("longer", MmapOptions::new(len + 1).at(place_of(2)).map_mut().unwrap(), false);
    put("shorter", MmapOptions::new(len - page::size()).at(place_of(3)).map_mut().unwrap(), false);
    put("with guards", at(4).guard_after(1).map_mut().unwrap(), false);
    put("with room", at(5).room(1).map_mut().unwrap(), false);
    let aligned = MmapOptions::new(len).align(8 * page::granularity()).map_mut().unwrap();
    assert!(!pool.put(aligned), "aligned, which may have left addresses behind");

    let mut pages = MmapOptions::new(2 * len).at(place_of(6)).map_mut().unwrap();
    let high = pages.split_off(len).unwrap();
    // (Where addresses cannot be given back by parts, they stay with the other part.)
    assert!(!pool.put(high), "a part, the other one there");
    put("a part, the other one gone", pages, false);

    let mut pages = at(7).map_mut().unwrap();
    let high = pages.split_off(len / 2).unwrap();
    pages.merge(high).unwrap();
    put("put together again", pages, false);
    let mut pages = at(8).map_mut().unwrap();
    if pages.shrink(len / 2).is_ok() {
        put("shortened", pages, false);
    }
    let mut pages = at(9).map_mut().unwrap();
    if pages.lock().is_ok() {
        pages.lock().unwrap();
        pages.unlock().unwrap();
        put("locked", pages, false);
        let mut pages = at(10).map_mut().unwrap();
        pages.lock().unwrap();
        pages.unlock().unwrap();
        put("no longer locked", pages, true);
    }
    let mut pages = at(11).map_mut().unwrap();
    if pages.wipe_on_fork(..page::size(), true).is_ok() {
        put("wiped in part", pages, false);
    }
    let mut pages = at(12).map_mut().unwrap();
    if pages.keep_out_of_core_dumps(.., true).is_ok() {
        put("out of dumps", pages, false);
    }
    let mut space = Reservation::new(len).unwrap();
    let carved: MmapMut = space.carve(..).unwrap();
    assert!(!pool.put(carved), "a reservation's");
    let file = tempfile::tempfile().unwrap();
    file.set_len(len as u64).unwrap();
    // SAFETY: nobody else has the file.
    let of_file = unsafe { MmapOptions::of_file(&file).at(place_of(13)) };
    put("a file", of_file.map_mut().unwrap(), false);
    put("a copy of a file", of_file.map_copy().unwrap(), false);

    // The other way round.
    let guarded = PagePool::with_options(MmapOptions::new(len).guard_before(1), 100);
    assert!(!guarded.put(Pages::new(len).unwrap()));
    let wiped = PagePool::with_options(MmapOptions::new(len).wipe_on_fork(), 100);
    assert!(!wiped.put(Pages::new(len).unwrap()));
    let locked = PagePool::with_options(MmapOptions::new(len).locked(), 100);
    assert!(!locked.put(Pages::new(len).unwrap()));
}

/// A flag that the pool promises is one of all pages: whoever took it from some, or had it for some only, gives nothing back.
#[test]
fn a_flag_that_some_pages_lack_is_none() {
    let (len, one) = (4 * page::size(), page::size());
    type Set = fn(&mut MmapMut, std::ops::Range<usize>, bool) -> folio::Result<()>;
    let flags: [(MmapOptions<'static>, Set); 2] = [
        (MmapOptions::new(len).no_core_dump(), |pages, part, set| pages.keep_out_of_core_dumps(part, set)),
        (MmapOptions::new(len).wipe_on_fork(), |pages, part, set| pages.wipe_on_fork(part, set)),
    ];
    for (options, set) in flags {
        let pool = PagePool::with_options(options, 2);
        let Ok(mut taken) = pool.take() else {
            skipped("a_flag_that_some_pages_lack_is_none", "no such flag");
            continue;
        };
        // Where it can be taken back.
        if set(&mut taken, one..2 * one, false).is_ok() {
            drop(taken);
            assert!(pool.is_empty(), "taken from a part");
            let mut taken = pool.take().unwrap();
            set(&mut taken, one..2 * one, false).unwrap();
            set(&mut taken, 0..len, true).unwrap();
            drop(taken);
            assert_eq!(pool.len(), 1, "and given again to all");
            let mut taken = pool.take().unwrap();
            set(&mut taken, 0..len, false).unwrap();
            drop(taken);
            assert!(pool.is_empty(), "taken from all");
        }
        let mut own = Pages::new(len).unwrap();
        if set(&mut own, 0..one, true).is_ok() {
            assert!(!pool.put(own), "of a part");
            let mut own = Pages::new(len).unwrap();
            set(&mut own, 0..len, true).unwrap();
            set(&mut own, 0..one, true).unwrap();
            assert!(pool.put(own), "of all");
        }
    }
}

/// The value that was handed out can be anything by the time it is dropped.
#[test]
fn what_stands_in_the_value_at_its_end_is_looked_at() {
    let pool = PagePool::new(page::size(), 4);
    let mut taken = pool.take().unwrap();
    let other = MmapOptions::new(2 * page::size()).at(place_of(20)).map_mut().unwrap();
    let own = std::mem::replace(&mut *taken, other);
    drop(taken);
    assert_eq!((pool.len(), is_mapped(place_of(20))), (0, false));
    // One that has changed its place is as good as before.
    let mut first = pool.take().unwrap();
    *first = own;
    first.fill(3);
    drop(first);
    let mut grown = pool.take().unwrap();
    assert!(zeroes(&grown));
    let _longer = grown.remap(3 * page::size());
    let kept = grown.len() == page::size();
    drop(grown);
    assert_eq!(pool.is_empty(), !kept);
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    TakeDirty,
    Drop(usize),
    Keep(usize),
    Put(usize),
    PutOther,
    Lock(usize),
    Prepare(usize),
    Trim(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Take),
        4 => Just(Step::TakeDirty),
        6 => (0..64_usize).prop_map(Step::Drop),
        1 => (0..64_usize).prop_map(Step::Keep),
        5 => (0..12_usize).prop_map(Step::Put),
        1 => Just(Step::PutOther),
        1 => (0..64_usize).prop_map(Step::Lock),
        1 => (0..6_usize).prop_map(Step::Prepare),
        2 => (0..6_usize).prop_map(Step::Trim),
    ];
    prop::collection::vec(step, 1..60)
}

/// What waits in the pool: what each byte of the pages is, by their address.
type Waiting = BTreeMap<usize, u8>;

/// Random steps on a pool and on a plain map; pages that are put in lie where nothing else ever is, so that the system tells
/// whether they still are.
fn follow(number: usize, steps: Vec<Step>, most: usize, decommit: bool) {
    let len = 2 * page::size();
    let pool = PagePool::new(len, most).decommit_from(if decommit { 1 } else { usize::MAX });
    let places: Vec<usize> = (0..12).map(|at| place_of(number) + at * 4 * page::granularity()).collect();
    let mut out: Vec<(PooledPages<'_>, u8)> = Vec::new();
    let mut own: Vec<MmapMut> = Vec::new();
    let mut waiting = Waiting::new();
    let mut next = 1_u8;
    for step in steps {
        match step {
            Step::Take | Step::TakeDirty => {
                let mut taken =
                    if matches!(step, Step::Take) { pool.take() } else { pool.take_dirty() }.unwrap();
                let left = waiting.remove(&taken.start());
                // Pages are fresh only if none wait.
                assert!(left.is_some() || waiting.is_empty());
                let expected = if matches!(step, Step::Take) { 0 } else { left.unwrap_or(0) };
                assert!(taken.iter().all(|&byte| byte == expected));
                taken.fill(next);
                out.push((taken, next));
                next = next.wrapping_add(1).max(1);
            }
            Step::Drop(which) if !out.is_empty() => {
                let (taken, content) = out.swap_remove(which % out.len());
                assert!(taken.iter().all(|&byte| byte == content));
                if waiting.len() < most {
                    waiting.insert(taken.start(), content);
                }
            }
            Step::Keep(which) if !out.is_empty() => {
                own.push(out.swap_remove(which % out.len()).0.into_pages())
            }
            Step::Put(which) if !is_mapped(places[which]) => {
                let mut pages = MmapOptions::new(len).at(places[which]).map_mut().unwrap();
                pages.fill(next);
                let kept = pool.put(pages);
                assert_eq!(kept, waiting.len() < most);
                if kept {
                    waiting.insert(places[which], next);
                }
                next = next.wrapping_add(1).max(1);
            }
            Step::PutOther => assert!(!pool.put(Pages::new(3 * len).unwrap())),
            Step::Lock(which) if !out.is_empty() => {
                let (mut taken, _) = out.swap_remove(which % out.len());
                if taken.lock().is_err() {
                    own.push(taken.into_pages());
                }
            }
            Step::Prepare(wanted) => {
                let made = pool.prepare(wanted).unwrap();
                assert_eq!(made, wanted.min(most).saturating_sub(waiting.len()));
                // Where they lie only the pool knows; these are the only ones that it is asked for at once.
                if made > 0 {
                    let all: Vec<_> = (0..waiting.len() + made).map(|_| pool.take_dirty().unwrap()).collect();
                    for taken in &all {
                        let content = waiting.entry(taken.start()).or_insert(0);
                        assert!(taken.iter().all(|byte| byte == content));
                    }
                }
            }
            Step::Trim(keep) => {
                let unmapped = pool.trim(keep);
                assert_eq!(unmapped, waiting.len().saturating_sub(keep));
                // Which ones is the pool's choice.
                let left: Vec<_> =
                    (0..waiting.len() - unmapped).map(|_| pool.take_dirty().unwrap()).collect();
                waiting = left.iter().map(|taken| (taken.start(), waiting[&taken.start()])).collect();
            }
            _ => {}
        }
        assert_eq!(pool.len(), waiting.len());
        for &place in &places {
            let elsewhere = out.iter().map(|(pages, _)| pages.start()).chain(own.iter().map(Pages::start));
            let expected = waiting.contains_key(&place) || elsewhere.into_iter().any(|start| start == place);
            assert_eq!(is_mapped(place), expected);
        }
    }
    let counts = pool.counts();
    assert!(counts.reused() + counts.mapped() >= out.len() + own.len());
    drop(out);
    drop(own);
    drop(pool);
    let room = 12 * 4 * page::granularity();
    assert!(query_range(without_provenance::<u8>(place_of(number)), room).unwrap().next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(200), ..ProptestConfig::default() })]

    #[test]
    fn a_pool_is_a_bounded_bag_of_pages(steps in steps(), most in 0..6_usize, decommit: bool) {
        follow(30, steps, most, decommit);
    }
}

/// Whoever has pages has them alone, what is taken clean is clean, and never do more wait than may.
#[test]
fn threads_share_pages_and_never_the_same() {
    const MOST: usize = 5;
    let len = 3 * page::size();
    let pool = PagePool::new(len, MOST);
    let worst = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 1..=6_u8 {
            let (pool, worst) = (&pool, &worst);
            scope.spawn(move || {
                let mut held: Vec<PooledPages<'_>> = Vec::new();
                for round in 0..rounds(3000) {
                    let mut taken = if round % 3 == 0 {
                        pool.take_dirty().unwrap()
                    } else {
                        let taken = pool.take().unwrap();
                        assert!(zeroes(&taken));
                        taken
                    };
                    taken.fill(thread);
                    held.push(taken);
                    if held.len() > 2 {
                        assert!(held.iter().all(|pages| pages.iter().all(|&byte| byte == thread)));
                        held.truncate(usize::try_from(round % 3).unwrap());
                    }
                    if round % 100 == 99 {
                        pool.trim(2);
                        pool.prepare(3).unwrap();
                    }
                    worst.fetch_max(pool.len(), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(worst.load(Ordering::Relaxed) <= MOST && pool.len() <= MOST);
    let counts = pool.counts();
    assert_eq!(counts.mapped(), counts.unmapped() + pool.len());
    let waiting = pool.len();
    assert_eq!((pool.clear(), pool.len()), (waiting, 0));
}

/// Trap: test the resident set, not the return value.
#[test]
fn memory_that_the_system_cleans_is_gone() {
    let len = 256 * page::size();
    for (from, few) in [(len, true), (len + 1, false)] {
        let pool = PagePool::new(len, 1).decommit_from(from);
        pool.take().unwrap().fill(1);
        let taken = pool.take().unwrap();
        match taken.resident(..) {
            Ok(resident) => assert_eq!(resident, if few { 0 } else { 256 }),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
        assert!(zeroes(&taken));
    }
}

#[cfg(unix)]
mod forked {
    use super::*;
    use common::{Helper, role, say};
    use std::sync::atomic::AtomicBool;

    /// Trap: a fork while a registry's mutex is held deadlocks the child.
    #[test]
    fn a_fork_while_others_take_and_put_leaves_the_child_able_to() {
        const TEST: &str = "forked::a_fork_while_others_take_and_put_leaves_the_child_able_to";
        if role().is_none() {
            let mut helper = Helper::start(TEST, "child");
            assert_eq!(helper.line(), "done");
            return helper.finish();
        }
        let pool = PagePool::new(page::size(), 16);
        pool.prepare(16).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        let taken = [(); 4].map(|()| pool.take_dirty().unwrap());
                        drop(taken);
                    }
                });
            }
            for _ in 0..rounds(150) {
                // SAFETY: the child uses the pool, which at most allocates, as the C libraries that we test with let it, and ends by
                // `_exit`; if it waited for ever, the alarm would end it.
                let pid = unsafe { libc::fork() };
                assert!(pid >= 0, "{}", std::io::Error::last_os_error());
                if pid == 0 {
                    // SAFETY: a signal in a minute, that ends the child.
                    unsafe { libc::alarm(60) };
                    let works = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        for _ in 0..20 {
                            let mut taken = [(); 8].map(|()| pool.take().unwrap());
                            assert!(taken.iter().all(|pages| zeroes(pages)));
                            taken.iter_mut().for_each(|pages| pages.fill(1));
                        }
                        pool.clear();
                        // As the pool's end does: what was half changed is not touched.
                        // SAFETY: this child ends without ever looking at the pool again.
                        drop(unsafe { std::ptr::read(&raw const pool) });
                    }));
                    // SAFETY: ends the child without running what the parent has registered for its end.
                    unsafe { libc::_exit(i32::from(works.is_err())) }
                }
                let mut status = 0;
                // SAFETY: our child, and a status to write to.
                assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
            }
            ended.store(true, Ordering::Relaxed);
        });
        say("done");
    }
}
