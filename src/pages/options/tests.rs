//! A system that refuses at each of its calls.
//!
//! Where exactly nothing may be left is looked for at places that nobody else comes to.

use super::{Fallback, MmapOptions};
use crate::ErrorKind;
use crate::os::inject::{calls_of, fail_nth, just_before};
use crate::page::{self, PageSize};
use crate::{MmapMut, alloc_at, query};
use core::ptr::without_provenance;
use std::fs::File;
use std::vec::Vec;

/// `ENOMEM`.
const REFUSED: i32 = 12;

/// Where nothing is mapped of itself, and by no other test.
fn place_of(number: usize) -> usize {
    number.wrapping_shl(if usize::BITS == 64 { 37 } else { 26 })
}

fn file(pages: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len((pages * page::size()) as u64).unwrap();
    file
}

fn anything(first: usize, pages: usize) -> Vec<usize> {
    let places = (first..first + pages * page::size()).step_by(page::size());
    places.filter(|&place| query(without_provenance::<u8>(place)).is_ok()).collect()
}

/// Descriptors of this file.
fn descriptors(file: &File) -> usize {
    use std::os::fd::AsRawFd;
    let link = |fd: std::path::PathBuf| std::fs::read_link(fd).ok();
    let own = link(std::format!("/proc/self/fd/{}", file.as_raw_fd()).into());
    std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter(|fd| link(fd.path()) == own).count()
}

/// What is plain costs what the bare calls cost.
#[test]
fn the_calls_are_those_and_no_others() {
    let file = file(3);
    // SAFETY: nobody else has the file, here and below.
    let options = unsafe { MmapOptions::of_file(&file) };
    let made = |options: &MmapOptions<'_>| {
        let (_, calls) = calls_of(|| drop(options.map_mut().unwrap()));
        calls
    };
    // (Files in a memory that has huge pages have blocks as large.)
    let of_file = |calls: Vec<&'static str>| -> Vec<_> {
        calls.into_iter().filter(|&call| call != "fstatfs").collect()
    };
    assert_eq!(of_file(made(&options)), ["fstat", "mmap", "munmap"]);
    assert_eq!(of_file(made(&options.clone().offset(5).populate())), ["fstat", "mmap", "munmap"]);
    assert_eq!(made(&MmapOptions::new(5)), ["mmap", "munmap"]);
    assert_eq!(made(&MmapOptions::new(5).populate().no_reserve().stack()), ["mmap", "munmap"]);
    assert_eq!(made(&MmapOptions::new(5).hint(place_of(11))), ["mmap", "munmap"]);
    assert_eq!(made(&MmapOptions::new(5).name(c"five")), ["mmap", "prctl", "munmap"]);
    assert_eq!(
        made(&options.clone().guard_before(1).guard_after(1)).iter().filter(|&&call| call == "mmap").count(),
        4
    );
    // SAFETY: as above.
    let mut map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    map[0] = 1;
    let flushes = || {
        map.flush(..).unwrap();
        map.flush(5..5).unwrap();
        map.flush_async(5..6).unwrap();
    };
    assert_eq!(calls_of(flushes).1, ["msync", "msync"]);
    let pages = MmapMut::new(1).unwrap();
    assert_eq!(calls_of(|| pages.flush(..).unwrap()).1.len(), 0);
}

/// Trap: an error after a successful `mmap` leaked the mapping.
#[test]
fn a_failure_leaves_nothing() {
    let size = page::size();
    let file = file(5);
    let huge = PageSize::from_bytes(1 << 21).unwrap();
    let place = place_of(12) + (1 << 25);
    // SAFETY: nobody else has the file.
    let of_file = unsafe { MmapOptions::new(2 * size).file(&file) };
    let options = [
        of_file.clone().at(place),
        of_file.clone().offset(7).at(place + 7).copy_on_write(),
        of_file.clone().at(place).guard_before(size).guard_after(2 * size),
        of_file.clone().at(place).numa_node(0).populate().locked(),
        of_file.at(place).name(c"none").transparent_huge_pages().locked(),
        MmapOptions::new(2 * size).at(place).numa_node(0).populate().guard_before(1),
        MmapOptions::new(2 * size).at(place).name(c"name").transparent_huge_pages(),
        MmapOptions::new(2 * size).at(place).largest_pages(Fallback::Transparent),
        MmapOptions::new(2 * size).at(place).huge_pages(huge),
    ];
    for options in options {
        // What is asked of the system once and then remembered is asked.
        drop(options.map_mut());
        let mut refused = 0;
        for n in 0.. {
            let (made, failed) = fail_nth(None, n, REFUSED, || options.map_mut());
            if made.is_err() {
                refused += 1;
                assert_eq!(anything(place - 2 * size, 8), [], "{options:?}, call {n}");
                assert_eq!(descriptors(&file), 1);
            }
            drop(made);
            assert_eq!(anything(place - 2 * size, 8), [], "{options:?}, call {n}");
            if !failed {
                break;
            }
        }
        assert!(refused >= 1, "{options:?}");
    }
}

/// Somebody takes the place that was found: all is tried again elsewhere, and nothing is replaced.
#[test]
fn a_place_that_is_taken_in_between_is_left_alone() {
    let size = page::size();
    let file = file(3);
    // SAFETY: nobody else has the file.
    let options = unsafe { MmapOptions::of_file(&file) };
    for late in [false, true] {
        let options = options.clone().guard_before(size).guard_after(size).hint(place_of(14));
        // Found is `place - size`, for there the guard pages are to be.
        let place = place_of(14);
        just_before("fstat", move || {
            just_before("munmap", move || {
                just_before("mmap", move || {
                    // The first page of the file's, or the last guard page.
                    let at = if late { place + 3 * size } else { place };
                    let taken = alloc_at(without_provenance::<u8>(at), 1, crate::Protection::READ).unwrap();
                    let _parts = taken.into_raw_parts::<u8>();
                });
            });
        });
        let map = options.map().unwrap();
        assert!(map.start() < place - size || map.start() > place + 4 * size);
        let (at, other) = if late { (place + 3 * size, place) } else { (place, place + 3 * size) };
        assert_eq!(anything(place - size, 5), [at], "{other:#x}");
        // SAFETY: the pages that were put there above.
        drop(unsafe { crate::Allocation::from_raw_parts(core::ptr::without_provenance_mut::<u8>(at), size) });
    }
}

/// Huge pages by a system that would give them, of which each size is tried in turn.
#[test]
fn each_size_is_tried_from_the_largest_on() {
    let sizes = page::huge_sizes();
    let Some(largest) = sizes.largest() else {
        return crate::area::skipped("each_size_is_tried_from_the_largest_on", "no huge pages");
    };
    let options = MmapOptions::new(largest.bytes().get()).largest_pages(Fallback::Error);
    let (made, calls) = calls_of(|| {
        crate::os::inject::fail_from(Some("mmap"), 0, REFUSED, || options.map_none()).0
    });
    let error = made.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.remedy().unwrap().contains("nr_hugepages"));
    assert_eq!(calls.iter().filter(|&&call| call == "mmap").count(), sizes.len());
}

/// What a system says that refuses a file.
#[test]
fn what_is_wrong_with_a_file_is_said() {
    let file = file(2);
    // SAFETY: nobody else has the file.
    let options = unsafe { MmapOptions::of_file(&file) };
    for (code, kind) in [
        (libc::EACCES, ErrorKind::NotPermitted),
        (libc::EPERM, ErrorKind::NotPermitted),
        (libc::EBADF, ErrorKind::NotPermitted),
        (libc::ETXTBSY, ErrorKind::NotPermitted),
        (libc::ENODEV, ErrorKind::Unsupported),
        (libc::EINVAL, ErrorKind::InvalidInput),
        (libc::EOVERFLOW, ErrorKind::InvalidInput),
        (libc::ENOMEM, ErrorKind::Exhausted),
        (libc::EIO, ErrorKind::System),
    ] {
        let (made, failed) = fail_nth(Some("mmap"), 0, code, || options.map_mut());
        let error = made.unwrap_err();
        assert!(failed);
        assert_eq!((error.kind(), error.raw_os_error()), (kind, Some(code)), "{error}");
    }
    let map = options.map_mut().unwrap();
    let (done, _) = fail_nth(Some("msync"), 0, libc::EIO, || map.flush(..));
    let error = done.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::System, crate::Operation::Flush));
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
}

/// Of a file that others write to: nothing is left, whatever call is refused, and another file is not mapped instead.
#[test]
fn a_failure_leaves_nothing_of_shared_pages() {
    let file = file(3);
    let place = place_of(40);
    let options = MmapOptions::whole().at(place).guard_before(1).guard_after(1).locked().no_core_dump();
    let mut tried = 0;
    loop {
        let (made, failed) = fail_nth(None, tried, REFUSED, || options.map_shared_mut(&file));
        if !failed {
            assert_eq!(made.unwrap().len(), 3 * page::size());
            break;
        }
        if let Ok(made) = made {
            // A hint, or the like.
            assert_eq!(made.start(), place);
        }
        crate::allocation::give_back();
        assert!(anything(place - page::size(), 5).is_empty(), "call {tried}");
        tried += 1;
    }
    assert!(tried > 3, "{tried}");
    assert_eq!(descriptors(&file), 1);
    let (_, calls) = calls_of(|| drop(MmapOptions::whole().map_shared(&file).unwrap()));
    assert_eq!(calls.iter().filter(|&&call| call != "fstatfs").collect::<Vec<_>>(), [&"fstat", &"mmap", &"munmap"]);
}

/// Trap: what was replaced is gone, and the error of what came after did not say so.
#[test]
fn a_failure_after_pages_were_replaced_says_that_they_are_gone() {
    let size = page::size();
    for flag in [MmapOptions::locked, MmapOptions::no_core_dump, MmapOptions::wipe_on_fork] {
        let parts = MmapOptions::new(3 * size).at(place_of(15)).map_mut().unwrap().into_raw_parts();
        // SAFETY: the pages are nobody's any more.
        let options = flag(unsafe { MmapOptions::new(3 * size).replace(parts.as_ptr().addr()) });
        let mut refused = 0;
        for n in 0.. {
            // (Where it was refused before, nothing is there now, which is replaced as well.)
            let (made, failed) = fail_nth(None, n, REFUSED, || options.map_mut());
            match made {
                Err(error) if n > 0 => {
                    refused += 1;
                    assert_eq!(error.changed(), Some(place_of(15)..place_of(15) + 3 * size), "{error}");
                }
                // The mapping itself.
                Err(error) => assert!(error.changed().is_none(), "{error}"),
                Ok(_) => {}
            }
            if !failed {
                break;
            }
        }
        assert!(refused >= 1, "{options:?}");
    }
}

/// Trap: pages behind those that were named are replaced, too, by a length that is rounded up to huge pages.
#[test]
fn only_what_was_named_is_replaced() {
    let Some(unit) = page::huge_sizes().smallest().map(|size| size.bytes().get()) else {
        return crate::area::skipped("only_what_was_named_is_replaced", "no huge pages");
    };
    for (len, tries) in [(unit + page::size(), 0), (unit, 1)] {
        let parts = MmapOptions::new(len).at(place_of(16)).map_none().unwrap().into_raw_parts();
        // SAFETY: the pages are nobody's any more.
        let options = unsafe { MmapOptions::new(parts.len()).replace(parts.as_ptr().addr()) }
            .largest_pages(Fallback::Ordinary);
        let (made, calls) = calls_of(|| fail_nth(Some("mmap"), 0, REFUSED, || options.map_none()).0);
        // The first call that was refused was one for huge pages, or the only one.
        assert_eq!(made.is_err(), tries == 0, "{made:?}");
        assert_eq!(calls.iter().filter(|&&call| call == "mmap").count(), 1 + tries);
        if made.is_err() {
            // SAFETY: the pages as they were.
            drop(unsafe { crate::MmapNone::from_raw_parts(parts) });
        }
    }
}
