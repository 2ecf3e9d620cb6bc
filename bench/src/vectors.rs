//! Vectors in pages, beside `Vec` and bare pages; and what memory each has at its height and at its end.

use crate::files::huge;
use crate::measure::{Bench, Contender};
use folio::{PagedVec, page};
use memory_pages::PagedVec as Peer;
use std::hint::black_box;

pub(crate) fn run(bench: &mut Bench) {
    push(bench);
    refill(bench);
    zeroed(bench);
    random(bench);
    for shift in [6, 9, 12, 14, 16, 18, 20, 22, 24, 27] {
        sizes(bench, 1 << shift);
    }
    for shift in [12, 16, 20, 22, 24] {
        kept(bench, 1 << shift);
    }
}

fn fill<T>(count: u64, mut vec: T, push: impl Fn(&mut T, u64)) -> T {
    for number in 0..black_box(count) {
        push(&mut vec, number);
    }
    vec
}

fn by_vec(count: u64, vec: Vec<u64>) -> Vec<u64> {
    fill(count, vec, |vec, number| vec.push(number))
}

fn by_paged(count: u64, vec: PagedVec<u64>) -> PagedVec<u64> {
    fill(count, vec, |vec, number| vec.push(number))
}

fn by_peer(count: u64, vec: Peer<u64>) -> Peer<u64> {
    fill(count, vec, |vec, number| vec.push(number))
}

fn bare(count: u64, place: *mut u8) {
    let place = place.cast::<u64>();
    for number in 0..black_box(count) {
        // SAFETY: `count` numbers of a mapping of the measurement's own.
        let place = unsafe { place.add(number as usize) };
        // SAFETY: likewise.
        unsafe { place.write(number) };
    }
    black_box(place);
}

/// The same, a number at a time, as pushing does it: the compiler makes no wider stores of it.
fn bare_singly(count: u64, place: *mut u8) {
    let place = place.cast::<u64>();
    for number in 0..black_box(count) {
        let mut number = number;
        // SAFETY: no instruction at all; the compiler does not know what becomes of the number.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) number, options(nomem, nostack, preserves_flags)) };
        // SAFETY: `count` numbers of a mapping of the measurement's own.
        let place = unsafe { place.add(number as usize) };
        // SAFETY: likewise.
        unsafe { place.write(number) };
    }
    black_box(place);
}

fn push(bench: &mut Bench) {
    let count: u64 = if bench.is_short() { 1 << 20 } else { 50_000_000 };
    let (len, group) = (count as usize * 8, "50 million u64: push from empty, drop");
    bench.with_memory(
        group.to_owned(),
        vec![
            Contender::new("limit: a write loop into huge pages, singly", || {
                huge(len, |place| bare_singly(count, place));
            }),
            Contender::aiming("folio::PagedVec::with_reserved", 1.1, || {
                by_paged(count, PagedVec::with_reserved(count as usize))
            }),
            Contender::aiming("folio::PagedVec::new", 1.1, || by_paged(count, PagedVec::new(count as usize))),
            Contender::new("folio::PagedVec, from nothing", || by_paged(count, PagedVec::default())),
            Contender::new("a write loop, vectorized by the compiler", || {
                huge(len, |place| bare(count, place))
            }),
        ],
    );
    bench.with_memory(
        "50 million u64: collected, dropped".to_owned(),
        vec![
            Contender::new("limit: a write loop into huge pages, vectorized", || {
                huge(len, |place| bare(count, place));
            }),
            Contender::aiming("folio::PagedVec: collected", 1.1, || (0..count).collect::<PagedVec<_>>()),
            Contender::aiming("folio::PagedVec::with_reserved: extend", 1.1, || {
                let mut vec = PagedVec::with_reserved(count as usize);
                vec.extend(0..count);
                vec
            }),
        ],
    );
    // In a group of its own: whoever takes huge pages after so many small ones were given back, waits for them to become some.
    bench.with_memory(
        format!("{group}, beside the others"),
        vec![
            Contender::new("limit: a write loop into huge pages, singly", || {
                huge(len, |place| bare_singly(count, place));
            }),
            Contender::new("folio::PagedVec::with_reserved", || {
                by_paged(count, PagedVec::with_reserved(count as usize))
            }),
            Contender::new("Vec::with_capacity", || by_vec(count, Vec::with_capacity(count as usize))),
            Contender::new("Vec, from nothing", || by_vec(count, Vec::new())),
            Contender::new("memory_pages::PagedVec::new", || by_peer(count, Peer::new(count as usize))),
            Contender::new("memory_pages::PagedVec, from nothing", || by_peer(count, Peer::new(1))),
        ],
    );
}

fn refill(bench: &mut Bench) {
    let count: u64 = if bench.is_short() { 1 << 18 } else { 8 << 20 };
    let (len, group) = (count as usize * 8, "64 MiB: emptied, and filled again");
    huge(len, |place| {
        bare(count, place);
        let mut ours = by_paged(count, PagedVec::with_reserved(count as usize));
        let mut fresh = by_paged(count, PagedVec::new(count as usize));
        let mut vec = by_vec(count, Vec::with_capacity(count as usize));
        let mut kept = by_vec(count, Vec::with_capacity(count as usize));
        let mut ours_kept = by_paged(count, PagedVec::with_reserved(count as usize));
        bench.group(
            group.to_owned(),
            vec![
                Contender::new("limit: MADV_DONTNEED, a write loop into huge pages, singly", || {
                    // SAFETY: pages of the measurement's own, to which nobody has references.
                    let done = unsafe { libc::madvise(place.cast(), len, libc::MADV_DONTNEED) };
                    assert_eq!(done, 0);
                    bare_singly(count, place);
                }),
                Contender::aiming("folio::PagedVec: clear_decommit", 1.1, || {
                    ours.clear_decommit().unwrap();
                    let vec = std::mem::take(&mut ours);
                    ours = by_paged(count, vec);
                }),
                Contender::new("folio::PagedVec: dropped, and a new one", || {
                    fresh = PagedVec::default();
                    fresh = by_paged(count, PagedVec::new(count as usize));
                }),
                Contender::new("Vec: dropped, and a new one", || {
                    vec = Vec::new();
                    vec = by_vec(count, Vec::with_capacity(count as usize));
                }),
                Contender::new("folio::PagedVec: clear, which keeps the memory", || {
                    ours_kept.clear();
                    let vec = std::mem::take(&mut ours_kept);
                    ours_kept = by_paged(count, vec);
                }),
                Contender::new("Vec: clear, which keeps the memory", || {
                    kept.clear();
                    let vec = std::mem::take(&mut kept);
                    kept = by_vec(count, vec);
                }),
            ],
        );
    });
    bench.with_memory(
        "64 MiB: filled, emptied and kept".to_owned(),
        vec![
            Contender::new("limit: Vec: clear", || {
                let mut vec = by_vec(count, Vec::with_capacity(count as usize));
                vec.clear();
                vec
            }),
            Contender::new("folio::PagedVec: clear_decommit", || {
                let mut vec = by_paged(count, PagedVec::with_reserved(count as usize));
                vec.clear_decommit().unwrap();
                vec
            }),
            Contender::new("memory_pages::PagedVec: clear_decommit", || {
                let mut vec = by_peer(count, Peer::new(count as usize));
                vec.clear_decommit();
                vec
            }),
        ],
    );
}

fn touch(bytes: &mut [u64]) {
    for number in bytes.iter_mut().step_by(page::size() / 8) {
        *number = 1;
    }
}

fn zeroed(bench: &mut Bench) {
    let len: usize = if bench.is_short() { 8 << 20 } else { 256 << 20 };
    bench.with_memory(
        "256 MiB of zeroes: allocate, touch every page, free".to_owned(),
        vec![
            Contender::new("limit: mmap + MADV_HUGEPAGE + munmap", || {
                huge(len, |place| {
                    // SAFETY: pages of the measurement's own, zeroed, on a page boundary.
                    touch(unsafe { std::slice::from_raw_parts_mut(place.cast(), len / 8) });
                });
            }),
            Contender::aiming("folio::PagedVec::zeroed", 1.05, || {
                let mut vec = PagedVec::zeroed(black_box(len / 8)).unwrap();
                touch(&mut vec);
                vec
            }),
            Contender::new("vec![0; n]", || {
                let mut vec = vec![0; black_box(len / 8)];
                touch(&mut vec);
                vec
            }),
        ],
    );
}

/// Each place read tells the next one.
fn walk(numbers: &[u64]) -> u64 {
    let mask = numbers.len() as u64 - 1;
    let mut at = 1_u64;
    for _ in 0..10_000 {
        at =
            at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(numbers[(at >> 20 & mask) as usize] + 99);
    }
    at
}

fn random(bench: &mut Bench) {
    let group = "10,000 reads in no order, from 4 GiB";
    if !bench.wants(group) {
        return;
    }
    let len: usize = if bench.is_short() { 8 << 20 } else { 4 << 30 };
    huge(len, |place| {
        // SAFETY: pages of the measurement's own, zeroed, on a page boundary.
        let bare = unsafe { std::slice::from_raw_parts_mut(place.cast::<u64>(), len / 8) };
        let mut ours = PagedVec::<u64>::zeroed(len / 8).unwrap();
        let mut vec = vec![0_u64; len / 8];
        touch(bare);
        touch(&mut ours);
        touch(&mut vec);
        bench.group(
            group.to_owned(),
            vec![
                Contender::new("limit: huge pages", || walk(black_box(bare))),
                Contender::aiming("folio::PagedVec", 1.05, || walk(black_box(&ours))),
                Contender::new("Vec", || walk(black_box(&vec))),
            ],
        );
    });
}

fn size_of(len: usize) -> String {
    match len {
        len if len >= 1 << 20 => format!("{} MiB", len >> 20),
        len if len >= 1 << 10 => format!("{} KiB", len >> 10),
        len => format!("{len} B"),
    }
}

/// From which size on it pays where nothing is dropped, so that no heap has memory left of what was.
fn kept(bench: &mut Bench, len: usize) {
    let count = len as u64 / 8;
    let (mut vecs, mut ours) = (Vec::new(), Vec::new());
    bench.group(
        format!("a vector of {}: made, pushed to, kept", size_of(len)),
        vec![
            Contender::new("limit: Vec::with_capacity", || {
                vecs.push(by_vec(count, Vec::with_capacity(count as usize)));
            }),
            Contender::new("folio::PagedVec::new", || {
                ours.push(by_paged(count, PagedVec::new(count as usize)))
            }),
        ],
    );
}

/// From which size on it pays.
fn sizes(bench: &mut Bench, len: usize) {
    let count = len as u64 / 8;
    bench.group(
        format!("a vector of {}: made, pushed to, dropped", size_of(len)),
        vec![
            Contender::new("limit: Vec::with_capacity", || by_vec(count, Vec::with_capacity(count as usize))),
            Contender::new("Vec, from nothing", || by_vec(count, Vec::new())),
            Contender::new("folio::PagedVec::new", || by_paged(count, PagedVec::new(count as usize))),
            Contender::new("folio::PagedVec, from nothing", || by_paged(count, PagedVec::default())),
            Contender::new("memory_pages::PagedVec::new", || by_peer(count, Peer::new(count as usize))),
        ],
    );
}
