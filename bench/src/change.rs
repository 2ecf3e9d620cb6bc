//! The own wing's first floor: pages allocated, protected, guarded.

use crate::measure::{Bench, Contender};
use folio::{Protection, page};
use std::hint::black_box;
use std::ptr;

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn map(len: usize) -> *mut libc::c_void {
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe {
        libc::mmap(ptr::null_mut(), len, READ_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(place, libc::MAP_FAILED);
    place
}

fn unmap(place: *mut libc::c_void, len: usize) {
    // SAFETY: a mapping made by `map`, to which nobody has references.
    let done = unsafe { libc::munmap(place, len) };
    assert_eq!(done, 0);
}

fn mprotect(place: *mut u8, len: usize, protection: i32) {
    // SAFETY: pages of the measurement's own, to which nobody has references.
    let done = unsafe { libc::mprotect(place.cast(), len, protection) };
    assert_eq!(done, 0);
}

pub(crate) fn run(bench: &mut Bench) {
    for (name, len) in [("1 page", page::size()), ("64 KiB", 64 << 10), ("50 MB", 50_000_000)] {
        allocate(bench, name, len);
    }
    allocate_at(bench);
    protect(bench);
    convert(bench);
    protect_for_a_while(bench, "one page in the middle of a mapping", 3, 1);
    protect_for_a_while(bench, "a mapping of 16 pages as a whole", 0, 16);
    guard(bench);
}

fn allocate(bench: &mut Bench, name: &str, len: usize) {
    bench.group(
        format!("allocate and free, {name}, untouched"),
        vec![
            Contender::new("limit: mmap + munmap", || {
                let len = black_box(len);
                unmap(black_box(map(len)), len);
            }),
            Contender::aiming("folio", 1.02, || {
                black_box(folio::alloc(black_box(len), Protection::READ_WRITE).unwrap()).len()
            }),
            Contender::aiming("folio::Pages", 1.02, || {
                black_box(folio::Pages::new(black_box(len)).unwrap()).len()
            }),
            Contender::new("mmap-rs", || {
                black_box(mmap_rs::MmapOptions::new(black_box(len)).unwrap().map_mut().unwrap()).len()
            }),
            Contender::new("region 4", || {
                black_box(region::alloc(black_box(len), region::Protection::READ_WRITE).unwrap()).len()
            }),
        ],
    );
}

fn allocate_at(bench: &mut Bench) {
    let len = page::size();
    // A place where nothing is mapped while this runs.
    let place = {
        let spare = folio::alloc(64 * len, Protection::NONE).unwrap();
        spare.as_ptr::<u8>().wrapping_add(32 * len)
    };
    bench.group(
        "allocate at a place, one page".to_owned(),
        vec![
            Contender::new("limit: mmap (MAP_FIXED_NOREPLACE) + munmap", || {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                // SAFETY: nothing is replaced.
                let got =
                    unsafe { libc::mmap(black_box(place).cast_mut().cast(), len, READ_WRITE, flags, -1, 0) };
                assert_eq!(got.addr(), place.addr());
                unmap(got, len);
            }),
            Contender::aiming("folio", 1.05, || {
                folio::alloc_at(black_box(place), len, Protection::READ_WRITE).unwrap().len()
            }),
        ],
    );
    let near = allocate_at as fn(&mut Bench) as *const ();
    bench.group(
        "allocate near code, one page".to_owned(),
        vec![
            Contender::new("limit: mmap (MAP_FIXED_NOREPLACE) + munmap", || {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                // SAFETY: nothing is replaced.
                let got =
                    unsafe { libc::mmap(black_box(place).cast_mut().cast(), len, READ_WRITE, flags, -1, 0) };
                assert_eq!(got.addr(), place.addr());
                unmap(got, len);
            }),
            Contender::new("folio: alloc_near, within 2 GiB", || {
                folio::alloc_near(black_box(near), 0x7fff_0000, len, Protection::READ_WRITE).unwrap().len()
            }),
        ],
    );
}

/// Sixteen pages in a mapping of their own, one of them touched.
struct Pages(*mut u8);

impl Pages {
    fn new() -> Self {
        let len = 18 * page::size();
        let all: *mut u8 = map(len).cast();
        // Pages without access on either side, so that the mapping is not merged with others.
        mprotect(all, page::size(), libc::PROT_NONE);
        mprotect(all.wrapping_add(17 * page::size()), page::size(), libc::PROT_NONE);
        let pages = Self(all.wrapping_add(page::size()));
        // SAFETY: writable, of this process alone.
        unsafe { pages.0.write(1) };
        pages
    }

    fn page(&self, index: usize) -> *mut u8 {
        self.0.wrapping_add(index * page::size())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        unmap(self.0.wrapping_sub(page::size()).cast(), 18 * page::size());
    }
}

fn protect(bench: &mut Bench) {
    let pages = Pages::new();
    let (place, len) = (pages.page(3), page::size());
    bench.group(
        "protect a page and back".to_owned(),
        vec![
            Contender::new("limit: two mprotect", || {
                mprotect(black_box(place), len, libc::PROT_READ);
                mprotect(black_box(place), len, READ_WRITE);
            }),
            Contender::aiming("folio", 1.05, || {
                // SAFETY: pages of the measurement's own, to which nobody has references.
                unsafe { folio::protect(black_box(place), len, Protection::READ).unwrap() };
                // SAFETY: as above.
                unsafe { folio::protect(black_box(place), len, Protection::READ_WRITE).unwrap() };
            }),
            Contender::new("region 4", || {
                // SAFETY: as above.
                unsafe { region::protect(black_box(place), len, region::Protection::READ).unwrap() };
                // SAFETY: as above.
                unsafe { region::protect(black_box(place), len, region::Protection::READ_WRITE).unwrap() };
            }),
        ],
    );
}

/// The same by mappings whose type changes with what they grant.
fn convert(bench: &mut Bench) {
    let len = page::size();
    let bare = Pages::new();
    let place = bare.page(3);
    let mut ours = Some(folio::Pages::new(len).unwrap());
    ours.as_mut().unwrap()[0] = 1;
    let mut theirs = Some(mmap_rs::MmapOptions::new(len).unwrap().map_mut().unwrap());
    theirs.as_mut().unwrap()[0] = 1;
    bench.group(
        "make a mapping read-only and writable again".to_owned(),
        vec![
            Contender::new("limit: two mprotect", || {
                mprotect(black_box(place), len, libc::PROT_READ);
                mprotect(black_box(place), len, READ_WRITE);
            }),
            Contender::aiming("folio: make_read_only, make_mut", 1.05, || {
                let read = ours.take().unwrap().make_read_only().map_err(|(_, error)| error).unwrap();
                ours = Some(read.make_mut().map_err(|(_, error)| error).unwrap());
            }),
            Contender::new("mmap-rs: make_read_only, make_mut", || {
                let read = theirs.take().unwrap().make_read_only().map_err(|(_, error)| error).unwrap();
                theirs = Some(read.make_mut().map_err(|(_, error)| error).unwrap());
            }),
        ],
    );
}

fn protect_for_a_while(bench: &mut Bench, name: &str, first: usize, count: usize) {
    let pages = Pages::new();
    let (place, len) = (pages.page(first), count * page::size());
    bench.group(
        format!("protect for a while: {name}"),
        vec![
            Contender::new("limit: two mprotect", || {
                mprotect(black_box(place), len, libc::PROT_READ);
                mprotect(black_box(place), len, READ_WRITE);
            }),
            Contender::aiming("folio: protect_with_handle", 1.5, || {
                // SAFETY: pages of the measurement's own, to which nobody has references.
                drop(unsafe { folio::protect_with_handle(black_box(place), len, Protection::READ).unwrap() });
            }),
            Contender::new("region 4: protect_with_handle", || {
                let protection = region::Protection::READ;
                // SAFETY: as above.
                drop(unsafe { region::protect_with_handle(black_box(place), len, protection).unwrap() });
            }),
        ],
    );
}

fn guard(bench: &mut Bench) {
    let pages = Pages::new();
    let (place, len) = (pages.page(3), page::size());
    let advice = folio::Capabilities::probe().guard_advice();
    let mut contenders = Vec::new();
    if advice {
        contenders.push(Contender::new("limit: MADV_GUARD_INSTALL + MADV_GUARD_REMOVE", || {
            for advice in [102, 103] {
                // SAFETY: pages of the measurement's own, to which nobody has references.
                let done = unsafe { libc::madvise(black_box(place).cast(), len, advice) };
                assert_eq!(done, 0);
            }
        }));
    }
    contenders.push(Contender::new("two mprotect", || {
        mprotect(black_box(place), len, libc::PROT_NONE);
        mprotect(black_box(place), len, READ_WRITE);
    }));
    contenders.push(Contender::new("folio: guard + unguard", || {
        // SAFETY: as above.
        unsafe { folio::guard(black_box(place), len).unwrap() };
        // SAFETY: as above.
        unsafe { folio::unguard(black_box(place), len, Protection::READ_WRITE).unwrap() };
    }));
    bench.group("guard a page and back".to_owned(), contenders);
}
