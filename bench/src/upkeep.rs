//! What one tells the system about one's pages: given back, read in, counted.

use crate::measure::{Bench, Contender};
use folio::page;
use std::hint::black_box;

const PAGES: usize = 256;

fn advise(pages: &mut folio::MmapMut, advice: i32) {
    let len = pages.len();
    // SAFETY: pages of the measurement's own, to which nobody has references.
    let done = unsafe { libc::madvise(pages.as_mut_ptr().cast(), len, advice) };
    assert_eq!(done, 0);
}

fn touch(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().step_by(page::size()) {
        *byte = 1;
    }
}

pub(crate) fn run(bench: &mut Bench) {
    let len = PAGES * page::size();
    let (mut bare, mut ours) = (folio::Pages::new(len).unwrap(), folio::Pages::new(len).unwrap());
    bench.group(
        "touch 256 pages and give their memory back".to_owned(),
        vec![
            Contender::new("limit: MADV_DONTNEED", || {
                touch(black_box(&mut bare));
                advise(&mut bare, libc::MADV_DONTNEED);
            }),
            Contender::aiming("folio: decommit", 1.05, || {
                touch(black_box(&mut ours));
                ours.decommit(..).unwrap();
            }),
        ],
    );
    let (mut bare, mut ours) = (folio::Pages::new(len).unwrap(), folio::Pages::new(len).unwrap());
    bench.group(
        "read 256 pages in for writing, and give their memory back".to_owned(),
        vec![
            Contender::new("limit: MADV_POPULATE_WRITE, MADV_DONTNEED", || {
                advise(&mut bare, libc::MADV_POPULATE_WRITE);
                advise(&mut bare, libc::MADV_DONTNEED);
            }),
            Contender::aiming("folio: prefault_mut, decommit", 1.05, || {
                ours.prefault_mut(..).unwrap();
                ours.decommit(..).unwrap();
            }),
            Contender::new("touched one by one, MADV_DONTNEED", || {
                let mut pages = folio::Pages::new(len).unwrap();
                touch(black_box(&mut pages));
            }),
        ],
    );
    let mut pages = folio::Pages::new(len).unwrap();
    touch(&mut pages);
    let mut seen = [0_u8; PAGES];
    bench.group(
        "count which of 256 pages are in memory".to_owned(),
        vec![
            Contender::new("limit: mincore", || {
                let start = pages.as_ptr().cast_mut().cast();
                // SAFETY: pages of the measurement's own; `seen` has a byte for each.
                let done = unsafe { libc::mincore(start, black_box(len), seen.as_mut_ptr()) };
                assert_eq!(done, 0);
                seen.iter().filter(|&&byte| byte & 1 != 0).count()
            }),
            Contender::aiming("folio: resident", 1.10, || pages.resident(..).unwrap()),
        ],
    );
}
