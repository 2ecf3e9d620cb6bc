//! Address space now, memory later.

use crate::measure::{Bench, Contender};
use folio::{MmapOptions, Protection, Reservation, page};
use std::hint::black_box;
use std::ptr;

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn map(place: *mut u8, len: usize, how: i32) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | how;
    // SAFETY: at a place of the kernel's choice, or over pages of the measurement's own, to which nobody has references.
    let place = unsafe { libc::mmap(place.cast(), len, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(place, libc::MAP_FAILED);
    place.cast()
}

fn unmap(place: *mut u8, len: usize) {
    // SAFETY: a mapping made by `map`, to which nobody has references.
    let done = unsafe { libc::munmap(place.cast(), len) };
    assert_eq!(done, 0);
}

fn mprotect(place: *mut u8, len: usize, protection: i32) {
    // SAFETY: pages of the measurement's own, to which nobody has references.
    let done = unsafe { libc::mprotect(place.cast(), len, protection) };
    assert_eq!(done, 0);
}

pub(crate) fn run(bench: &mut Bench) {
    for (name, len) in [("1 MiB", 1 << 20), ("64 GiB", 64 << 30)] {
        reserve(bench, name, len);
    }
    commit(bench, "1 page", 1);
    commit(bench, "16 pages", 16);
    whole(bench);
    get(bench);
}

fn reserve(bench: &mut Bench, name: &str, len: usize) {
    bench.group(
        format!("reserve and drop, {name}"),
        vec![
            Contender::new("limit: mmap (PROT_NONE) + munmap", || {
                let len = black_box(len);
                unmap(black_box(map(ptr::null_mut(), len, 0)), len);
            }),
            Contender::aiming("folio: MmapOptions::reserve_mut", 1.02, || {
                black_box(MmapOptions::new(black_box(len)).reserve_mut().unwrap()).len()
            }),
            Contender::new("folio::Reservation", || {
                black_box(Reservation::new(black_box(len)).unwrap()).len()
            }),
        ],
    );
}

/// In the middle of a reservation whose other pages are here and there committed, too. The bare calls are made on the very same pages
/// (what they cost depends on the neighbours), and leave them as they were.
fn commit(bench: &mut Bench, name: &str, pages: usize) {
    const ALL: usize = 256;
    let size = page::size();
    let mut room = Reservation::new(ALL * size).unwrap();
    for number in (0..ALL / 4).chain(ALL / 2..ALL).step_by(8) {
        room.commit(number * size..(number + 1) * size, Protection::READ_WRITE).unwrap();
    }
    let (at, len) = (ALL / 3 * size, pages * size);
    let place = room.as_mut_ptr().wrapping_add(at);
    bench.group(
        format!("commit, touch a byte and decommit, {name}"),
        vec![
            Contender::new(BARE, || come_and_go(place, len)),
            Contender::aiming("folio: commit, get_mut, decommit", 1.05, || {
                let at = black_box(at);
                room.commit(at..at + len, Protection::READ_WRITE).unwrap();
                room.get_mut(at..at + 1).unwrap()[0] = black_box(1);
                room.decommit(at..at + len).unwrap();
            }),
        ],
    );
}

const BARE: &str = "limit: mprotect + mmap (MAP_FIXED, PROT_NONE)";

fn come_and_go(place: *mut u8, len: usize) {
    mprotect(black_box(place), len, READ_WRITE);
    // SAFETY: writable now, and nobody has a reference.
    unsafe { place.write_volatile(1) };
    map(black_box(place), len, libc::MAP_FIXED);
}

fn whole(bench: &mut Bench) {
    let len = 16 * page::size();
    let mut ours = Some(MmapOptions::new(len).reserve_mut().unwrap());
    let place = ours.as_mut().unwrap().as_mut_ptr();
    bench.group(
        "commit a whole mapping of 16 pages, touch a byte, and reserve it again".to_owned(),
        vec![
            Contender::new(BARE, || come_and_go(place, len)),
            Contender::aiming("folio: Reserved::commit, Pages::into_reserved", 1.05, || {
                let mut pages = ours.take().unwrap().commit().map_err(|(_, error)| error).unwrap();
                pages[0] = black_box(1);
                ours = Some(pages.into_reserved().map_err(|(_, error)| error).unwrap());
            }),
        ],
    );
}

fn get(bench: &mut Bench) {
    const ALL: usize = 1000;
    let size = page::size();
    let mut room = Reservation::new(ALL * size).unwrap();
    room.commit(.., Protection::READ_WRITE).unwrap();
    let mut many = Reservation::new(ALL * size).unwrap();
    let mut sorted = Vec::new();
    for number in 0..ALL {
        let protection = if number % 2 == 0 { Protection::READ_WRITE } else { Protection::READ };
        many.commit(number * size..(number + 1) * size, protection).unwrap();
        sorted.push((number * size, protection));
    }
    let at = 617 * size + 100;
    bench.group(
        "find 8 bytes of a reservation".to_owned(),
        vec![
            Contender::new("limit: binary search in a sorted Vec of 1,000 runs", || {
                let at = black_box(at);
                let run = sorted.partition_point(|&(start, _)| start <= at) - 1;
                assert!(sorted[run].1.contains(Protection::READ));
                run
            }),
            Contender::new("folio: get, 1 run", || {
                let at = black_box(at);
                room.get(at..at + 8).unwrap()[0]
            }),
            Contender::new("folio: get, 1,000 runs", || {
                let at = black_box(at);
                many.get(at..at + 8).unwrap()[0]
            }),
        ],
    );
}
