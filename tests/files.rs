//! Files as pages.
#![cfg(feature = "std")]

mod common;

use common::{place_of, skipped};
use folio::{ErrorKind, Mmap, MmapMut, MmapOptions, Operation, Pages, Protection, page, query};
use proptest::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use tempfile::TempDir;

/// Folders on the file systems there are: that of temporary files, and one in memory.
fn folders() -> Vec<TempDir> {
    let mut folders = vec![TempDir::new().unwrap()];
    match TempDir::new_in("/dev/shm") {
        Ok(folder) => folders.push(folder),
        Err(error) => skipped("files in memory", &error.to_string()),
    }
    folders
}

/// Bytes of which no two pages' worth are alike.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect()
}

fn open(path: &PathBuf) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// A file with these bytes, for reading and writing.
fn file_of(folder: &TempDir, name: &str, content: &[u8]) -> (PathBuf, File) {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let file = open(&path);
    (path, file)
}

fn shown(address: usize) -> Protection {
    query(std::ptr::without_provenance::<u8>(address)).unwrap().protection()
}

fn gone(address: usize) -> bool {
    query(std::ptr::without_provenance::<u8>(address)).is_err()
}

#[test]
fn a_whole_file_is_its_bytes() {
    for folder in folders() {
        for len in [1, 4095, 4096, 4097, 70_000] {
            let content = bytes(len);
            let (path, file) = file_of(&folder, "whole", &content);
            // SAFETY: nobody else has the file, here and in the other tests.
            let map = unsafe { Mmap::map(&file) }.unwrap();
            drop(file);
            assert_eq!((map.len(), map.page_size()), (len, page::base_size()));
            assert_eq!(map[..], content);
            assert_eq!(shown(map.start()), Protection::READ);
            let backing = folio::Process::current().backing(map.start()).unwrap();
            assert_eq!(backing.path().and_then(|path| path.file_name()), path.file_name());
            let file = open(&path);
            // SAFETY: as above.
            let map = unsafe { MmapOptions::of_file(&file) }.at(place_of(1)).map().unwrap();
            assert_eq!((map.start(), &map[..]), (place_of(1), &content[..]));
            drop(map);
            assert!(gone(place_of(1)) && gone(place_of(1) + (len - 1)));
        }
    }
}

#[test]
fn what_is_written_is_in_the_file() {
    for folder in folders() {
        let (path, file) = file_of(&folder, "written", &bytes(10_000));
        // SAFETY: as above.
        let mut map = unsafe { MmapMut::map_mut(&file) }.unwrap();
        // The mapping needs it no longer, not even to flush.
        drop(file);
        map[9_999] = 1;
        map[0] = 2;
        map.flush(..).unwrap();
        let now = fs::read(&path).unwrap();
        assert_eq!((now[0], now[9_999], now.len()), (2, 1, 10_000));
        map[5000] = 77;
        map.flush_async(..).unwrap();
        map[5001] = 78;
        drop(map);
        assert_eq!(fs::read(&path).unwrap()[5000..5002], [77, 78]);
    }
}

#[test]
fn what_is_written_to_a_copy_is_not() {
    for folder in folders() {
        let content = bytes(10_000);
        let (path, _) = file_of(&folder, "copied", &content);
        // Read-only is enough.
        let file = File::open(&path).unwrap();
        // SAFETY: as above.
        let mut copy = unsafe { MmapOptions::of_file(&file) }.map_copy().unwrap();
        copy.fill(9);
        copy.flush(..).unwrap();
        assert!(copy.iter().all(|&byte| byte == 9));
        // SAFETY: as above.
        let copy = unsafe { MmapOptions::of_file(&file) }.map_copy_read_only().unwrap();
        assert_eq!(copy[..], content);
        let mut copy = copy.make_mut().map_err(|(_, error)| error).unwrap();
        copy[0] = !content[0];
        let copy = copy.make_read_only().map_err(|(_, error)| error).unwrap();
        let copy = copy.make_none().map_err(|(_, error)| error).unwrap();
        let copy = copy.make_mut().map_err(|(_, error)| error).unwrap();
        assert_eq!((copy[0], &copy[1..]), (!content[0], &content[1..]));
        drop(copy);
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

/// With raw pointers, for two mutable references there may not be.
#[test]
fn two_mappings_of_a_file_see_each_other() {
    for folder in folders() {
        let (_, file) = file_of(&folder, "two", &bytes(5000));
        // SAFETY: no reference is made of either while the other is written to.
        let mut one = unsafe { MmapMut::map_mut(&file) }.unwrap();
        // SAFETY: as above.
        let other = unsafe { MmapOptions::new(10).file(&file) }.offset(4500).map().unwrap();
        let (from, to) = (one.as_mut_ptr().wrapping_add(4503), other.as_ptr().wrapping_add(3));
        // SAFETY: inside the mapping, which is writable.
        unsafe { from.write_volatile(123) };
        // SAFETY: inside the mapping, which is readable.
        assert_eq!(unsafe { to.read_volatile() }, 123);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(common::rounds(200)))]

    /// Trap: ranges that reached the system unchecked. Any offset, any length: those bytes and no others, or an error.
    #[test]
    fn any_part_of_a_file(offset in 0_usize..300_000, len in 0_usize..200_000, shared: bool) {
        const LEN: usize = 250_001;
        std::thread_local! {
            static FILE: (Vec<u8>, File) = {
                let content = bytes(LEN);
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&content).unwrap();
                (content, file)
            };
        }
        FILE.with(|(content, file)| {
            // SAFETY: nobody else has the file.
            let options = unsafe { MmapOptions::new(len).file(file) }.offset(offset as u64);
            let options = if shared { options } else { options.copy_on_write() };
            let made = options.map();
            if len == 0 || offset + len > LEN {
                let error = made.unwrap_err();
                prop_assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, Operation::Allocate));
                return Ok(());
            }
            let mut map = made.unwrap();
            prop_assert_eq!(&map[..], &content[offset..offset + len]);
            prop_assert_eq!(map.start() % page::size(), offset % page::size());
            prop_assert_eq!(map.as_ptr().addr(), map.start());
            // The first boundary inside.
            let at = (page::size() - offset % page::size()) % page::size();
            for at in [at, at + page::size()] {
                if at == 0 || at >= len {
                    prop_assert!(map.split_off(at).is_err());
                    continue;
                }
                prop_assert!(map.split_off(at + 1).is_err() || at + 1 == len);
                let high = map.split_off(at).unwrap();
                prop_assert_eq!(&map[..], &content[offset..offset + at]);
                prop_assert_eq!(&high[..], &content[offset + at..offset + len]);
                map.merge(high).unwrap();
            }
            prop_assert_eq!(&map[..], &content[offset..offset + len]);
            Ok(())
        })?;
    }
}

#[test]
fn nonsense_is_an_error() {
    let folder = TempDir::new().unwrap();
    let (_, file) = file_of(&folder, "nonsense", &bytes(10_000));
    // SAFETY: nobody else has the file, and nothing of it is mapped.
    let new = |len| unsafe { MmapOptions::new(len).file(&file) };
    // SAFETY: as above.
    let whole = || unsafe { MmapOptions::of_file(&file) };
    let refused = [
        new(0),
        new(10_001),
        new(1).offset(10_000),
        new(2).offset(9_999),
        new(1).offset(u64::MAX),
        new(usize::MAX),
        new(usize::MAX).offset(u64::MAX),
        new(isize::MAX as usize).offset(1),
        whole().offset(10_000),
        whole().offset(10_001),
        whole().offset(u64::MAX),
        whole().stack(),
        whole().align(3),
        whole().at(page::size() + 1),
        whole().at(1 << 30).near(1 << 30, 1 << 30),
        whole().offset(1).align(2),
        MmapOptions::new(1).offset(0),
        MmapOptions::new(1).copy_on_write(),
    ];
    for options in refused {
        let error = options.map().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{options:?}: {error}");
        assert_eq!(error.operation(), Operation::Allocate);
    }
    assert_eq!(MmapOptions::new(1).map_copy().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(MmapOptions::new(1).map_copy_read_only().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(whole().offset(9_999).map().unwrap().len(), 1);
}

/// Trap: a mapping made longer than the file, by which Windows makes the file longer.
#[test]
fn no_file_is_made_longer() {
    let folder = TempDir::new().unwrap();
    let (path, file) = file_of(&folder, "short", b"short");
    for len in [6, page::size(), 1 << 20] {
        // SAFETY: nobody else has the file.
        unsafe { MmapOptions::new(len).file(&file) }.map_mut().unwrap_err();
    }
    // SAFETY: as above.
    let mut map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    map.flush(..).unwrap();
    map[0] = b'S';
    drop(map);
    assert_eq!(fs::read(&path).unwrap(), b"Short");
    let (_, empty) = file_of(&folder, "empty", b"");
    // SAFETY: as above.
    let error = unsafe { Mmap::map(&empty) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("empty"), "{error}");
}

#[test]
fn descriptors_that_were_opened_the_wrong_way() {
    for folder in folders() {
        let (path, _) = file_of(&folder, "rights", &bytes(100));
        let write_only = OpenOptions::new().write(true).open(&path).unwrap();
        let read_only = File::open(&path).unwrap();
        let refused = |error: folio::Error, open: &str| {
            assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
            assert!(error.remedy().unwrap().contains(open), "{error}");
            assert!(error.raw_os_error().is_some());
        };
        // SAFETY: nobody else has the file.
        refused(unsafe { Mmap::map(&write_only) }.unwrap_err(), "read(true)");
        // SAFETY: as above.
        refused(unsafe { MmapMut::map_mut(&write_only) }.unwrap_err(), "read(true)");
        // SAFETY: as above.
        refused(unsafe { MmapOptions::of_file(&write_only) }.map_copy().unwrap_err(), "read(true)");
        // SAFETY: as above.
        refused(unsafe { MmapMut::map_mut(&read_only) }.unwrap_err(), "write(true)");

        // What may not be written later, either.
        // SAFETY: as above.
        let map = unsafe { Mmap::map(&read_only) }.unwrap();
        let (map, error) = map.make_mut().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
        assert_eq!(map[..], bytes(100));
        // And what may.
        let file = open(&path);
        // SAFETY: as above.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        let mut map = map.make_mut().map_err(|(_, error)| error).unwrap();
        map[1] = 200;
        map.flush(..).unwrap();
        drop(map);
        assert_eq!(fs::read(&path).unwrap()[1], 200);
        // SAFETY: as above.
        let map = unsafe { MmapOptions::of_file(&file) }.map_none().unwrap();
        assert_eq!(shown(map.start()), Protection::NONE);
        let map = map.make_read_only().map_err(|(_, error)| error).unwrap();
        assert_eq!(map[1], 200);
    }
}

#[test]
fn a_mapping_outlives_its_file() {
    for folder in folders() {
        let content = bytes(20_000);
        let (path, file) = file_of(&folder, "deleted", &content);
        // SAFETY: nobody else has the file.
        let map = unsafe { MmapOptions::of_file(&file) }.offset(10).map().unwrap();
        drop(file);
        // Windows keeps a file that is mapped, and its name.
        if fs::remove_file(&path).is_ok() {
            let _written = fs::write(&path, b"another");
        }
        assert_eq!(map[..], content[10..]);
        drop(map);

        // Replaced by another of its name.
        let (path, file) = file_of(&folder, "replaced", &content);
        // SAFETY: as above.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        let (other, _) = file_of(&folder, "other", &[1; 20_000]);
        let _replaced = fs::rename(&other, &path);
        assert_eq!(map[..], content);
    }
}

#[test]
fn a_file_that_grows_does_not_make_its_mapping_longer() {
    for folder in folders() {
        let (path, mut file) = file_of(&folder, "grown", &bytes(page::size() + 100));
        // SAFETY: what is written to the file is behind what is mapped.
        let map = unsafe { MmapMut::map_mut(&file) }.unwrap();
        file.seek(std::io::SeekFrom::End(0)).unwrap();
        file.write_all(&[3; 100_000]).unwrap();
        assert_eq!(map.len(), page::size() + 100);
        assert_eq!(map[..], bytes(page::size() + 100));
        map.flush(..).unwrap();
        drop(map);
        assert_eq!(fs::metadata(&path).unwrap().len(), (page::size() + 100_100) as u64);
        // SAFETY: as above.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        assert_eq!(map[page::size() + 100..], [3; 100_000]);
    }
}

#[test]
fn flushes_stay_within_the_mapping() {
    let folder = TempDir::new().unwrap();
    let len = 3 * page::size() + 7;
    let (path, file) = file_of(&folder, "flushed", &bytes(len + 50));
    // SAFETY: nobody else has the file.
    let mut shared = unsafe { MmapOptions::new(len).file(&file) }.offset(50).map_mut().unwrap();
    shared.fill(4);
    // SAFETY: nothing is written to the file while it lives.
    let copy = unsafe { MmapOptions::new(len).file(&file) }.map_copy().unwrap();
    let anonymous = Pages::new(len).unwrap();
    fn all<R, W, X>(pages: &Pages<R, W, X>)
    where
        R: folio::ReadAccess,
        W: folio::WriteAccess,
        X: folio::ExecAccess,
        (W, X): folio::Together,
    {
        let len = pages.len();
        type Flush<R, W, X> = fn(&Pages<R, W, X>, std::ops::Range<usize>) -> folio::Result<()>;
        let flushes: [Flush<R, W, X>; 2] =
            [|pages, range| pages.flush(range), |pages, range| pages.flush_async(range)];
        for flush in flushes {
            for good in [0..0, len..len, 0..1, 1..2, 5..len, page::size() - 1..page::size() + 1, 0..len] {
                flush(pages, good.clone()).unwrap_or_else(|error| panic!("{good:?}: {error}"));
            }
            #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
            for bad in [0..len + 1, len..len + 1, 2..1, usize::MAX..usize::MAX, 0..usize::MAX, usize::MAX..0]
            {
                let error = flush(pages, bad.clone()).unwrap_err();
                assert_eq!(
                    (error.kind(), error.operation()),
                    (ErrorKind::InvalidInput, Operation::Flush),
                    "{bad:?}"
                );
            }
        }
        pages.flush(..).unwrap();
        pages.flush_async(..).unwrap();
    }
    all(&shared);
    all(&copy);
    all(&anonymous);
    all(&shared.make_read_only().map_err(|(_, error)| error).unwrap());
    all(&anonymous.make_none().map_err(|(_, error)| error).unwrap());
    assert_eq!(fs::read(&path).unwrap()[50..], vec![4; len]);
}

/// Trap: a slice across two mappings is not one Rust allocation.
#[test]
fn only_what_was_one_mapping_is_merged() {
    let folder = TempDir::new().unwrap();
    let (_, file) = file_of(&folder, "merged", &bytes(4 * page::granularity()));
    let granule = page::granularity();
    let room = MmapOptions::new(4 * granule).map_none().unwrap().start();
    let mut neighbours = Vec::new();
    for at in 0..2 {
        // SAFETY: nobody else has the file.
        let options = unsafe { MmapOptions::new(granule).file(&file) }.offset((at * granule) as u64);
        match options.at(room + at * granule).map() {
            Ok(map) => neighbours.push(map),
            Err(error) => return skipped("only_what_was_one_mapping_is_merged", &error.to_string()),
        }
    }
    let high = neighbours.pop().unwrap();
    let (_, error) = neighbours[0].merge(high).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    // Parts are mappings as any other: dropped in any order, with rights of their own.
    // SAFETY: as above.
    let mut low = unsafe { MmapOptions::of_file(&file) }.at(place_of(2)).map_mut().unwrap();
    let mut middle = low.split_off(page::size()).unwrap();
    let mut high = middle.split_off(2 * page::size()).unwrap();
    drop(low);
    high[0] = 5;
    middle[0] = 6;
    let middle = middle.make_read_only().map_err(|(_, error)| error).unwrap();
    drop(high);
    assert_eq!(middle[0], 6);
    middle.flush(..).unwrap();
    let start = middle.start();
    drop(middle);
    assert_eq!(start, place_of(2) + page::size());
    assert!(gone(start) && gone(start - page::size()));
    let mut content = Vec::new();
    let mut file = file;
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    assert_eq!((content[page::size()], content[3 * page::size()]), (6, 5));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::fd::{AsFd, BorrowedFd};

    #[test]
    fn folders_and_pipes_are_no_files() {
        let folder = TempDir::new().unwrap();
        let opened = File::open(folder.path()).unwrap();
        let (end, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut pipe = [0; 2];
        // SAFETY: two numbers are written.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        // SAFETY: open until the process ends.
        let pipe = unsafe { BorrowedFd::borrow_raw(pipe[0]) };
        for (what, file) in [("folder", opened.as_fd()), ("socket", end.as_fd()), ("pipe", pipe)] {
            // SAFETY: nothing is mapped of these.
            let whole = unsafe { MmapOptions::of_file(&file) };
            // SAFETY: as above.
            let part = unsafe { MmapOptions::new(10).file(&file) };
            for options in [whole, part] {
                let error = options.map().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
            }
        }
    }

    #[test]
    fn a_device_has_as_many_bytes_as_are_asked_for() {
        let zero = OpenOptions::new().read(true).write(true).open("/dev/zero").unwrap();
        // SAFETY: nobody's bytes.
        let error = unsafe { Mmap::map(&zero) }.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.remedy().is_some());
        // SAFETY: as above.
        match unsafe { MmapOptions::new(10_000).file(&zero) }.map_copy() {
            Ok(mut map) => {
                assert_eq!((map.len(), map.iter().all(|&byte| byte == 0)), (10_000, true));
                map.fill(1);
            }
            // Where it would be no copy.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
        }
        // SAFETY: as above.
        match unsafe { MmapOptions::new(10_000).file(&zero) }.map_mut() {
            Ok(mut map) => map.fill(2),
            Err(error) => skipped("shared /dev/zero", &error.to_string()),
        }
        let null = File::open("/dev/null").unwrap();
        // SAFETY: as above.
        let error = unsafe { MmapOptions::new(10).file(&null) }.map().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput), "{error}");
    }
}
