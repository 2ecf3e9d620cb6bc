//! Mappings of files, and large memory with the largest pages there are.

use crate::measure::{Bench, Contender};
use folio::{MmapOptions, page};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::ptr;

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

pub(crate) fn run(bench: &mut Bench) {
    for (name, len, short) in [("4 KiB", 4 << 10, true), ("1 MiB", 1 << 20, true), ("1 GiB", 1 << 30, false)]
    {
        read_file(bench, name, if bench.is_short() && !short { 16 << 20 } else { len });
    }
    copy_file(bench);
    large(bench);
    longer(bench);
}

/// A file of so many bytes, in memory as far as there is room: it is read once.
fn file(len: usize) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let block = vec![0x5a_u8; len.min(1 << 20)];
    for _ in 0..len / block.len() {
        file.write_all(&block).unwrap();
    }
    file
}

/// A byte of each page.
fn read(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(page::size()).map(|&byte| u64::from(byte)).sum()
}

fn mmap_file(file: &File, len: usize, protection: i32, how: i32) -> *mut libc::c_void {
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe { libc::mmap(ptr::null_mut(), len, protection, how, file.as_raw_fd(), 0) };
    assert_ne!(place, libc::MAP_FAILED);
    place
}

fn munmap(place: *mut libc::c_void, len: usize) {
    // SAFETY: a mapping of the measurement's own, to which nobody has references.
    let done = unsafe { libc::munmap(place, len) };
    assert_eq!(done, 0);
}

fn read_file(bench: &mut Bench, name: &str, len: usize) {
    let group = format!("map a file of {name}, read a byte of each page, unmap");
    if !bench.wants(&group) {
        return;
    }
    let file = file(len);
    bench.group(
        group,
        vec![
            Contender::new("limit: fstat + mmap + munmap", || {
                // What the length of the mapping is taken from.
                let len = usize::try_from(black_box(&file).metadata().unwrap().len()).unwrap();
                let place = mmap_file(&file, len, libc::PROT_READ, libc::MAP_SHARED);
                // SAFETY: just mapped, `len` bytes of a file that nobody changes.
                let sum = read(unsafe { std::slice::from_raw_parts(place.cast(), len) });
                munmap(place, len);
                sum
            }),
            Contender::aiming("folio", 1.05, || {
                // SAFETY: nobody changes the file.
                read(&unsafe { MmapOptions::of_file(black_box(&file)) }.map().unwrap())
            }),
            Contender::new("memmap2", || {
                // SAFETY: nobody changes the file.
                read(&unsafe { memmap2::Mmap::map(black_box(&file)) }.unwrap())
            }),
            Contender::new("mmap-rs", || {
                let options = mmap_rs::MmapOptions::new(len).unwrap();
                // SAFETY: nobody changes the file.
                read(&unsafe { options.with_file(black_box(&file), 0) }.map().unwrap())
            }),
        ],
    );
}

fn copy_file(bench: &mut Bench) {
    let len = 64 << 10;
    let file = file(len);
    bench.group(
        "map a file of 64 KiB copy-on-write, write a byte, unmap".to_owned(),
        vec![
            Contender::new("limit: fstat + mmap + munmap", || {
                let len = usize::try_from(black_box(&file).metadata().unwrap().len()).unwrap();
                let place = mmap_file(&file, len, READ_WRITE, libc::MAP_PRIVATE);
                // SAFETY: just mapped, and writable.
                unsafe { place.cast::<u8>().write_volatile(1) };
                munmap(place, len);
            }),
            Contender::aiming("folio", 1.05, || {
                // SAFETY: nobody changes the file.
                let mut pages = unsafe { MmapOptions::of_file(black_box(&file)) }.map_copy().unwrap();
                black_box(&mut pages)[0] = 1;
            }),
            Contender::new("memmap2", || {
                // SAFETY: nobody changes the file.
                let mut pages = unsafe { memmap2::MmapOptions::new().map_copy(black_box(&file)) }.unwrap();
                black_box(&mut pages)[0] = 1;
            }),
        ],
    );
}

fn touch(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().step_by(page::size()) {
        *byte = 1;
    }
}

fn touch_bare(place: *mut u8, len: usize) {
    // SAFETY: `len` writable bytes of the measurement's own.
    touch(unsafe { std::slice::from_raw_parts_mut(place, len) });
}

pub(crate) fn anonymous(len: usize) -> *mut libc::c_void {
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe {
        libc::mmap(ptr::null_mut(), len, READ_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(place, libc::MAP_FAILED);
    place
}

/// `len` bytes aligned to huge pages, and advised to be of them.
pub(crate) fn huge(len: usize, body: impl FnOnce(*mut u8)) {
    const HUGE: usize = 2 << 20;
    let all = anonymous(len + HUGE);
    let first = all.map_addr(|address| address.next_multiple_of(HUGE));
    // SAFETY: pages of this mapping.
    let done = unsafe { libc::madvise(first, len, libc::MADV_HUGEPAGE) };
    assert_eq!(done, 0);
    body(first.cast());
    munmap(all, len + HUGE);
}

fn large(bench: &mut Bench) {
    let len = if bench.is_short() { 8 << 20 } else { 256 << 20 };
    bench.group(
        "256 MiB: allocate, touch every page, free".to_owned(),
        vec![
            Contender::new("limit: mmap + MADV_HUGEPAGE + munmap", || {
                huge(black_box(len), |place| touch_bare(place, len));
            }),
            Contender::aiming("folio: the largest pages that fit", 1.05, || {
                touch(
                    &mut MmapOptions::new(black_box(len))
                        .largest_pages(folio::Fallback::Transparent)
                        .map_mut()
                        .unwrap(),
                );
            }),
            Contender::new("mmap + munmap, pages of 4 KiB", || {
                let place = anonymous(black_box(len));
                touch_bare(place.cast(), len);
                munmap(place, len);
            }),
            Contender::new("folio::Pages::new", || touch(&mut folio::Pages::new(black_box(len)).unwrap())),
            Contender::new("memmap2", || {
                touch(&mut memmap2::MmapMut::map_anon(black_box(len)).unwrap());
            }),
            Contender::new("mmap-rs", || {
                touch(&mut mmap_rs::MmapOptions::new(black_box(len)).unwrap().map_mut().unwrap());
            }),
        ],
    );
    bench.group(
        "256 MiB in ordinary pages: allocate, touch every page, free".to_owned(),
        vec![
            Contender::new("limit: mmap + munmap", || {
                let place = anonymous(black_box(len));
                touch_bare(place.cast(), len);
                munmap(place, len);
            }),
            Contender::aiming("folio::Pages::new", 1.02, || {
                touch(&mut folio::Pages::new(black_box(len)).unwrap())
            }),
        ],
    );
}

fn longer(bench: &mut Bench) {
    let len = 16 * page::size();
    bench.group(
        "make 16 pages 32, and move them if need be".to_owned(),
        vec![
            Contender::new("limit: mmap + mremap + munmap", || {
                let place = anonymous(black_box(len));
                // SAFETY: a mapping of the measurement's own, to which nobody has references.
                let place = unsafe { libc::mremap(place, len, 2 * len, libc::MREMAP_MAYMOVE) };
                assert_ne!(place, libc::MAP_FAILED);
                munmap(place, 2 * len);
            }),
            Contender::aiming("folio: remap", 1.05, || {
                let mut pages = folio::Pages::new(black_box(len)).unwrap();
                pages.remap(2 * len).unwrap();
            }),
            Contender::new("memmap2: remap", || {
                let mut pages = memmap2::MmapMut::map_anon(black_box(len)).unwrap();
                // SAFETY: anonymous memory: there is no file that could be too short.
                unsafe { pages.remap(2 * len, memmap2::RemapOptions::new().may_move(true)) }.unwrap();
            }),
        ],
    );
}
