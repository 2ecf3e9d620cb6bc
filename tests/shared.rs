//! Files that others write to and cut short, as pages.
#![cfg(feature = "std")]

mod common;

use common::{Helper, place_of, role, say, skipped, wait_for_parent};
use folio::fault::{self, FaultKind};
use folio::{
    Advice, ErrorKind, MmapMut, MmapOptions, Operation, Pages, Protection, SharedPages, SharedPagesMut, page,
    query,
};
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs::File;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect()
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

fn no_copies(test: &str) -> bool {
    fault::install().map_err(|error| skipped(test, &error.to_string())).is_err()
}

fn all<W: folio::WriteAccess>(pages: &SharedPages<W>) -> Vec<u8> {
    let mut copy = vec![0; pages.len()];
    pages.try_copy_to(0, &mut copy).unwrap();
    copy
}

#[test]
fn they_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<SharedPages>();
    check::<SharedPagesMut>();
}

#[test]
fn two_see_each_other_and_the_file() {
    if no_copies("two_see_each_other_and_the_file") {
        return;
    }
    let content = bytes(10_000);
    let file = file(&content);
    let one = MmapOptions::whole().map_shared_mut(file.as_file()).unwrap();
    let other = MmapOptions::new(20).offset(5001).map_shared(file.as_file()).unwrap();
    assert_eq!((one.len(), other.len(), one.is_empty()), (10_000, 20, false));
    assert_eq!((all(&one), all(&other)), (content.clone(), content[5001..5021].to_vec()));
    assert_eq!(query(one.as_ptr()).unwrap().protection(), Protection::READ_WRITE);
    assert_eq!(query(other.as_ptr()).unwrap().protection(), Protection::READ);
    assert_eq!(other.start() % page::size(), 5001 % page::size());

    one.try_copy_from(5001, b"folio").unwrap();
    assert_eq!(&all(&other)[..5], b"folio");
    one.try_fill(5003, 2, b'!').unwrap();
    assert_eq!(other.try_compare(0, b"fo!!o").unwrap(), std::cmp::Ordering::Equal);
    one.part_mut(5000, 100).unwrap().try_write(1, 0x0102_0304_u32).unwrap();
    assert_eq!(other.try_read::<u32>(0).unwrap(), 0x0102_0304);
    assert_eq!(other.part(0, 4).unwrap().try_read::<u32>(0).unwrap(), 0x0102_0304);
    one.flush(..).unwrap();
    one.flush_async(5001..5005).unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap()[5001..5005], 0x0102_0304_u32.to_ne_bytes());
    // By the file.
    use std::io::{Seek, Write};
    let mut writer = File::options().write(true).open(file.path()).unwrap();
    writer.seek(std::io::SeekFrom::Start(5001)).unwrap();
    writer.write_all(b"FOLIO").unwrap();
    assert_eq!(&all(&other)[..5], b"FOLIO");
    // The words, where the processor reaches them.
    let at = 5008 - one.start() % 8;
    match one.try_store(at, 7_u32) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return skipped("two_see_each_other_and_the_file", &error.to_string());
        }
        done => done.unwrap(),
    }
    assert_eq!(one.try_swap(at, 8_u32).unwrap(), 7);
    assert_eq!(one.try_compare_exchange(at, 8_u32, 9).unwrap(), Ok(8));
    assert_eq!(one.try_compare_exchange(at, 8_u32, 9).unwrap(), Err(9));
    assert_eq!((one.try_fetch_add(at, 1_u32).unwrap(), one.try_load::<u32>(at).unwrap()), (9, 10));
}

#[test]
fn offsets_beyond_the_end_do_nothing() {
    let file = file(&bytes(100));
    let pages = MmapOptions::whole().map_shared_mut(file.as_file()).unwrap();
    for (offset, len) in [(0, 101), (101, 0), (usize::MAX, 1), (50, usize::MAX)] {
        let error = pages.try_fill(offset, len, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(pages.part(offset, len).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(pages.part_mut(offset, len).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(pages.advise(0..101, Advice::WillNeed).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(pages.prefault(0..101).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(pages.flush(50..101).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes(100));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let named = file(&bytes(10_000));
    let refused = |options: MmapOptions<'_>| {
        let error = options.map_shared(named.as_file()).unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::InvalidInput, Operation::Allocate),
            "{error}"
        );
    };
    refused(MmapOptions::new(10_001));
    refused(MmapOptions::new(0));
    refused(MmapOptions::whole().offset(10_000));
    refused(MmapOptions::new(2).offset(u64::MAX));
    refused(MmapOptions::whole().copy_on_write());
    refused(MmapOptions::whole().room(1));
    refused(MmapOptions::whole().stack());
    refused(MmapOptions::whole().align(3));
    refused(MmapOptions::whole().largest_pages(folio::Fallback::Ordinary));
    // SAFETY: it is never mapped.
    refused(unsafe { MmapOptions::of_file(named.as_file()) });
    let empty = file(&[]);
    assert_eq!(MmapOptions::whole().map_shared(empty.as_file()).unwrap_err().kind(), ErrorKind::InvalidInput);
    // Without a file there is no length.
    assert_eq!(MmapOptions::whole().map_mut().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(MmapOptions::whole().align(1 << 21).map_none().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(MmapOptions::whole().populate().map().unwrap_err().kind(), ErrorKind::InvalidInput);
    // To be read only.
    let read_only = File::open(named.path()).unwrap();
    let error = MmapOptions::whole().map_shared_mut(&read_only).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    drop(MmapOptions::whole().map_shared(&read_only).unwrap());
}

/// What is no storage: whoever could make it do anything by writing to it, could break the memory of this process.
#[cfg(unix)]
#[test]
fn devices_folders_and_pipes_are_refused() {
    for path in ["/dev/zero", "/dev/null", "/"] {
        let file = File::open(path).unwrap();
        let error = MmapOptions::new(100).map_shared(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}: {error}");
    }
    let (pipe, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(MmapOptions::new(100).map_shared(&pipe).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn places_and_parts_are_those_of_files() {
    let size = page::granularity();
    let content = bytes(4 * size);
    let named = file(&content);
    let mut low =
        MmapOptions::whole().at(place_of(1)).populate().locked().map_shared(named.as_file()).unwrap();
    assert_eq!((low.start(), low.as_range().end), (place_of(1), place_of(1) + 4 * size));
    low.lock().unwrap();
    low.unlock().unwrap();
    low.unlock().unwrap();
    assert_eq!(low.unlock().unwrap_err().kind(), ErrorKind::InvalidInput);
    low.advise(.., Advice::Random).unwrap();
    let _counted = low.resident(..);
    let mut high = low.split_off(size).unwrap();
    let middle = high.split_to(size).unwrap();
    assert_eq!((low.len(), middle.len(), high.len()), (size, size, 2 * size));
    let (high, error) = low.merge(high).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    low.merge(middle).unwrap();
    if fault::install().is_ok() {
        assert_eq!((all(&low), all(&high)), (content[..2 * size].to_vec(), content[2 * size..].to_vec()));
    }
    let parts = high.into_raw_parts();
    // SAFETY: just taken apart, of the same type.
    let high: SharedPages = unsafe { SharedPages::from_raw_parts(parts) };
    let (start, end) = (low.start(), high.as_range().end);
    drop((low, high));
    for address in (start..end).step_by(page::size()) {
        let found = query(std::ptr::without_provenance::<u8>(address));
        // Windows keeps the addresses of what was split until the last part is gone: here it is.
        assert!(found.is_err(), "{found:?}");
    }
}

#[test]
fn from_pages_and_back() {
    let content = bytes(5000);
    let named = file(&content);
    // SAFETY: nobody else has the file.
    let mut map: MmapMut =
        unsafe { MmapOptions::of_file(named.as_file()) }.at(place_of(2)).map_mut().unwrap();
    map[0] = 1;
    let start = place_of(2);
    let shared: SharedPagesMut = map.into_shared().map_err(|(_, error)| error).unwrap();
    assert_eq!((shared.start(), shared.len()), (start, 5000));
    if fault::install().is_ok() {
        shared.try_write(1, 2_u8).unwrap();
    }
    // SAFETY: as above.
    let map = unsafe { shared.into_pages() };
    assert_eq!((map[0], &map[2..]), (1, &content[2..]));
    let map = map.make_read_only().map_err(|(_, error)| error).unwrap();
    let shared: SharedPages = map.into_shared().map_err(|(_, error)| error).unwrap();
    drop(shared);
    assert!(query(std::ptr::without_provenance::<u8>(start)).is_err());
    // What is nobody else's.
    let (mut pages, error) = Pages::new(1).unwrap().into_shared().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    pages[0] = 1;
    // SAFETY: nobody writes to the file.
    let copy = unsafe { MmapOptions::of_file(named.as_file()) }.map_copy().unwrap();
    assert!(copy.into_shared().is_err());
}

/// Trap: `SIGBUS` ends the process. An error names the first byte that is not there.
#[test]
fn a_file_cut_short_is_an_error() {
    if no_copies("a_file_cut_short_is_an_error") {
        return;
    }
    let size = page::size();
    let named = file(&vec![1; 4 * size]);
    let pages = MmapOptions::whole().offset(10).map_shared_mut(named.as_file()).unwrap();
    if let Err(error) = named.as_file().set_len(size as u64 + 20) {
        // Nobody cuts a mapped file short there.
        let refused = if cfg!(windows) { error.raw_os_error() } else { None };
        assert_eq!(refused, Some(1224), "{error}");
        return skipped("a_file_cut_short_is_an_error", &error.to_string());
    }
    let mut copy = vec![7; pages.len()];
    let fault = pages.try_copy_to(0, &mut copy).unwrap_err().fault().unwrap();
    assert_eq!(
        (fault.offset(), fault.is_write(), fault.kind()),
        (2 * size - 10, false, FaultKind::NoBacking)
    );
    assert!(copy[..size + 10].iter().all(|&byte| byte == 1));
    assert!(copy[size + 10..2 * size - 10].iter().all(|&byte| byte == 0));
    assert!(copy[2 * size - 10..].iter().all(|&byte| byte == 7));
    let fault = pages.try_copy_from(2 * size - 11, &[3; 9]).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.is_write()), (2 * size - 10, true));
    let part = pages.part_mut(2 * size - 20, 100).unwrap();
    assert_eq!(part.try_fill(0, 100, 1).unwrap_err().fault().unwrap().offset(), 10);
    pages.prefault(..).unwrap();
    let _refused = pages.flush(..);
    // Longer again.
    named.as_file().set_len(4 * size as u64).unwrap();
    pages.try_copy_to(0, &mut copy).unwrap();
    assert!(copy[2 * size - 10..].iter().all(|&byte| byte == 0));
}

/// Words are words for all processes that map the file.
#[test]
fn two_processes_count_together() {
    let test = "two_processes_count_together";
    if let Some(path) = role() {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let pages = MmapOptions::new(8).offset(4).map_shared_mut(&file).unwrap();
        say("ready");
        wait_for_parent();
        for _ in 0..20_000 {
            pages.try_fetch_add(0, 1_u32).unwrap();
        }
        return;
    }
    if no_copies(test) {
        return;
    }
    let named = file(&[0; 64]);
    let pages = MmapOptions::new(8).offset(4).map_shared_mut(named.as_file()).unwrap();
    if let Err(error) = pages.try_load::<u32>(0) {
        return skipped(test, &error.to_string());
    }
    let mut children: Vec<Helper> =
        (0..2).map(|_| Helper::start(test, OsString::from(named.path()))).collect();
    children.iter_mut().for_each(|child| assert_eq!(child.line(), "ready"));
    for child in &mut children {
        drop(child.child.stdin.take());
    }
    for _ in 0..20_000 {
        pages.try_fetch_add(0, 1_u32).unwrap();
    }
    children.into_iter().for_each(Helper::finish);
    assert_eq!(pages.try_load::<u32>(0).unwrap(), 60_000);
    assert_eq!(pages.try_load::<u32>(4).unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(common::rounds(100)))]

    /// Any part of a file, any copies of it, beside the same bytes in a vector.
    #[test]
    fn beside_a_model(
        offset in 0_usize..20_000,
        len in 1_usize..30_000,
        steps in prop::collection::vec((0_usize..31_000, 0_usize..31_000, any::<u8>(), any::<bool>()), 1..20),
    ) {
        if fault::install().is_err() {
            return Ok(());
        }
        let mut model = bytes(offset + len + 100);
        let named = file(&model);
        let pages = MmapOptions::new(len).offset(offset as u64).map_shared_mut(named.as_file()).unwrap();
        for (at, count, byte, write) in steps {
            let fits = at + count <= len;
            let done = if write {
                pages.try_fill(at, count, byte)
            } else {
                let mut copy = vec![byte; count];
                let done = pages.try_copy_to(at, &mut copy);
                if fits {
                    prop_assert_eq!(&copy[..], &model[offset + at..][..count]);
                }
                done
            };
            prop_assert_eq!(done.is_ok(), fits);
            if write && fits {
                model[offset + at..][..count].fill(byte);
            }
        }
        prop_assert_eq!(std::fs::read(named.path()).unwrap(), model);
    }
}
