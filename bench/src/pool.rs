//! Pages that are used again and again, beside those that are mapped each time.

use crate::measure::{Bench, Contender};
use folio::{PagePool, page};
use std::hint::black_box;
use std::ptr;

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Maps pages, touches each of them if so wanted, and unmaps them.
fn mapped(len: usize, touched: bool) {
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe {
        libc::mmap(ptr::null_mut(), len, READ_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(place, libc::MAP_FAILED);
    if touched {
        // SAFETY: as many bytes were just mapped there, zeroed, and nobody else knows of them.
        touch(unsafe { std::slice::from_raw_parts_mut(place.cast(), len) });
    }
    // SAFETY: the mapping made above, to which there are no references any more.
    let done = unsafe { libc::munmap(black_box(place), len) };
    assert_eq!(done, 0);
}

fn touch(bytes: &mut [u8]) {
    for byte in black_box(bytes).iter_mut().step_by(page::size()) {
        *byte = 1;
    }
}

pub(crate) fn run(bench: &mut Bench) {
    for (name, len) in [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("2 MiB", 2 << 20)] {
        let pool = PagePool::new(len, 4);
        bench.group(
            format!("pages from a pool and back, {name}, untouched"),
            vec![
                Contender::new("limit: mmap + munmap", || mapped(black_box(len), false)),
                Contender::aiming("folio::PagePool: as they were", 0.05, || {
                    black_box(pool.take_dirty().unwrap()).len()
                }),
                Contender::new("folio::PagePool: cleaned", || black_box(pool.take().unwrap()).len()),
                Contender::new("folio::Pages", || {
                    black_box(folio::Pages::new(black_box(len)).unwrap()).len()
                }),
                Contender::new("Vec::with_capacity", || {
                    black_box(Vec::<u8>::with_capacity(black_box(len))).capacity()
                }),
                Contender::new("vec![0; n]", || black_box(vec![0_u8; black_box(len)]).len()),
            ],
        );
        let pool = PagePool::new(len, 4);
        bench.group(
            format!("pages from a pool and back, {name}, each touched"),
            vec![
                Contender::new("limit: mmap + munmap", || mapped(black_box(len), true)),
                Contender::aiming("folio::PagePool: as they were", 0.05, || {
                    touch(&mut pool.take_dirty().unwrap());
                }),
                Contender::new("folio::PagePool: cleaned", || touch(&mut pool.take().unwrap())),
                Contender::new("vec![0; n]", || touch(&mut vec![0_u8; black_box(len)])),
            ],
        );
    }
}
