//! The own wing: locking. Nested locks are counted by folio alone; the others' numbers are those of the bare calls.

use crate::measure::{Bench, Contender};
use folio::LockGuard;
use std::hint::black_box;
use std::ptr;

/// Pages in a row, in memory already.
struct Pages {
    base: *mut u8,
    len: usize,
}

impl Pages {
    fn new(pages: usize) -> Self {
        let len = pages * folio::page::size();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        Self { base: base.cast(), len }
    }

    fn page(&self, index: usize) -> *const u8 {
        let offset = index * folio::page::size();
        assert!(offset < self.len);
        self.base.wrapping_add(offset)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, to which nobody has references.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

fn bare_lock(at: *const u8, len: usize) {
    // SAFETY: changes neither what pages hold nor what they grant.
    assert_eq!(unsafe { libc::mlock(at.cast(), len) }, 0);
}

fn bare_unlock(at: *const u8, len: usize) {
    // SAFETY: as `bare_lock`.
    assert_eq!(unsafe { libc::munlock(at.cast(), len) }, 0);
}

fn bare(at: *const u8, len: usize) {
    bare_lock(at, len);
    bare_unlock(at, len);
}

/// The three of them on the same pages, which nobody else holds.
fn compare(bench: &mut Bench, name: &str, at: *const u8, len: usize, aim: f64) {
    bench.group(
        name.to_owned(),
        vec![
            Contender::new("limit: mlock and munlock", || bare(black_box(at), len)),
            Contender::aiming("folio::lock and drop", aim, || folio::lock(black_box(at), len).unwrap()),
            Contender::new("region::lock and drop", || region::lock(black_box(at), len).unwrap()),
        ],
    );
}

/// May so much be locked here?
fn allowed(bytes: usize) -> bool {
    let pages = Pages::new(bytes / folio::page::size());
    let allowed = folio::lock(pages.base, pages.len);
    if let Err(error) = &allowed {
        eprintln!("folio-bench: locking is not measured: {error}");
    }
    allowed.is_ok()
}

pub(crate) fn run(bench: &mut Bench) {
    let page = folio::page::size();
    if !allowed(1_200 * page) {
        return;
    }
    let one = Pages::new(1);
    compare(bench, "lock and unlock one page", one.page(0), page, 1.1);
    let thousand = Pages::new(1_000);
    compare(bench, "lock and unlock 1,000 pages", thousand.page(0), thousand.len, 1.1);
    while_nested_locks_are_held(bench);
    while_runs_are_held(bench);
}

fn while_nested_locks_are_held(bench: &mut Bench) {
    let page = folio::page::size();
    let held = Pages::new(1_000);
    // Of all lengths and beginnings, so that the counts differ from page to page.
    let guards: Vec<LockGuard> = (0..10_000)
        .map(|index| {
            let first = index * 7_919 % 1_000;
            let pages = 1 + index * 104_729 % 8;
            folio::lock(held.page(first), pages.min(1_000 - first) * page).unwrap()
        })
        .collect();
    let other = Pages::new(1);
    let name = "lock and unlock one page, while 10,000 nested locks on 1,000 others are held";
    compare(bench, name, other.page(0), page, 1.1);
    // A lock more on those pages: the bare calls would undo the others' locks. What is compared is a lock that nobody undoes.
    let within = held.page(500);
    bench.group(
        "lock one page of 1,000 with 10,000 nested locks once more".to_owned(),
        vec![
            Contender::new("limit: mlock", || bare_lock(black_box(within), page)),
            Contender::new("folio::lock and drop", || folio::lock(black_box(within), page).unwrap()),
        ],
    );
    bench.group(
        "lock 1,000 pages with 10,000 nested locks once more".to_owned(),
        vec![
            Contender::new("limit: mlock", || bare_lock(held.page(0), held.len)),
            Contender::aiming("folio::lock and drop", 1.1, || folio::lock(held.page(0), held.len).unwrap()),
        ],
    );
    drop(guards);
}

/// Every other page of very many: each run is a mapping of its own, of which there are 65,530 at most.
fn while_runs_are_held(bench: &mut Bench) {
    let page = folio::page::size();
    let name = "lock and unlock one page, while 30,000 single pages are held";
    if !bench.wants(name) || !allowed(30_100 * page) {
        return;
    }
    let held = Pages::new(60_001);
    let guards: Vec<LockGuard> =
        (0..30_000).map(|index| folio::lock(held.page(2 * index), page).unwrap()).collect();
    let mut turn = 0;
    let mut other = || {
        turn = (turn + 7_919) % 30_000;
        held.page(2 * turn)
    };
    // In the middle of them, at changing places: what is taken away is locked again, by either.
    let places: Vec<*const u8> = (0..1_024).map(|_| other()).collect();
    let (mut first, mut second) = (0, 0);
    let mut guards: Vec<Option<LockGuard>> = guards.into_iter().map(Some).collect();
    let index_of = |at: *const u8| (at.addr() - held.base.addr()) / page / 2;
    bench.group(
        name.to_owned(),
        vec![
            Contender::new("limit: munlock and mlock", || {
                first = (first + 1) % places.len();
                bare_unlock(places[first], page);
                bare_lock(places[first], page);
            }),
            Contender::aiming("folio: drop and lock", 1.2, || {
                second = (second + 1) % places.len();
                let at = places[second];
                let slot = &mut guards[index_of(at)];
                *slot = None;
                *slot = Some(folio::lock(at, page).unwrap());
            }),
        ],
    );
}
