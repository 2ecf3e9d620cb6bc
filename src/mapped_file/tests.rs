//! What needs the failures of system calls.

use super::{MappedFile, SHORTEST};
use crate::os::inject::{calls_of, fail_nth, just_before};
use std::fs::File;
use std::io::{BufRead, Read};
use std::vec::Vec;

const LEN: usize = 2 * SHORTEST as usize;

fn file(len: usize) -> File {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&std::vec![7; len]).unwrap();
    file
}

/// Each call refused in turn: an error, or all bytes by another way; never a part of them as if it were all.
#[test]
fn a_refused_call_loses_no_bytes() {
    for len in [100, LEN] {
        let mut tried = 0;
        loop {
            let file = file(len);
            let read_all = || {
                let mut all = Vec::new();
                MappedFile::new(file)?.read_to_end(&mut all)?;
                std::io::Result::Ok(all)
            };
            let (read, failed) = fail_nth(None, tried, 5, read_all);
            if !failed {
                assert_eq!(read.unwrap().len(), len);
                break;
            }
            if let Ok(all) = read {
                assert_eq!(all.len(), len, "call {tried}");
            }
            tried += 1;
        }
        assert!(tried >= 2, "{tried}");
    }
}

/// Short files cost what reading them costs, long ones are read without system calls of reading.
#[test]
fn the_calls_are_those_and_no_others() {
    let short = file(100);
    let (_, calls) = calls_of(|| {
        let mut all = Vec::new();
        MappedFile::new(short).unwrap().read_to_end(&mut all).unwrap();
    });
    assert_eq!(calls, ["file_about", "read_file"]);
    let mut long = MappedFile::new(file(LEN)).unwrap();
    if !long.is_mapped() {
        return;
    }
    let (_, calls) = calls_of(|| {
        let len = long.fill_buf().unwrap().len();
        long.consume(len);
    });
    assert!(!calls.contains(&"read_file") && calls.contains(&"file_about"), "{calls:?}");
}

/// Where the file cannot be mapped, it is read.
#[test]
fn a_file_that_cannot_be_mapped_is_read() {
    for call in ["mmap", "MapViewOfFileEx"] {
        let file = file(LEN);
        let (made, failed) = fail_nth(Some(call), 0, 12, || MappedFile::new(file).unwrap());
        assert_eq!(made.is_mapped(), !failed && crate::fault::install().is_ok());
        let mut made = made;
        let mut all = Vec::new();
        made.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), LEN);
    }
}

/// A page that cannot be read although the file has it: by the system, and if that cannot either, an error that tells of the fault.
#[test]
fn a_page_that_is_not_there_is_read_by_the_system() {
    let mapped = MappedFile::new(file(LEN)).unwrap();
    let file = mapped.as_file();
    if !mapped.is_mapped() || file.set_len(0).is_err() {
        return;
    }
    let mut some = std::vec![1; 10_000];
    let longer = |file: &File| {
        let file = file.try_clone().unwrap();
        move || file.set_len(LEN as u64).unwrap()
    };
    just_before("file_about", longer(file));
    assert_eq!(mapped.read_at(5, &mut some).unwrap(), 10_000);
    assert!(some.iter().all(|&byte| byte == 0));

    file.set_len(0).unwrap();
    just_before("file_about", longer(file));
    let (read, failed) = fail_nth(Some("read_file"), 0, 5, || mapped.read_at(5, &mut some));
    assert!(failed);
    let error = read.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<crate::Error>()).unwrap();
    assert_eq!(inner.fault().map(|fault| (fault.offset(), fault.is_write())), Some((5, false)));
}
