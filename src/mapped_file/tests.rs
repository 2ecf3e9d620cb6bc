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
                let mut mapped = MappedFile::new(file)?;
                mapped.read_to_end(&mut all)?;
                let mut again = std::vec![0; len];
                mapped.read_exact_at(0, &mut again)?;
                assert!(again == all);
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
    assert_eq!(calls_of(|| long.fill_buf().unwrap().len()).1, ["read_file"]);
    let mut some = [0; 5000];
    assert_eq!(calls_of(|| long.read_at(1, &mut some[..4095]).unwrap()).1, ["read_file"]);
    assert!(!long.is_mapped());
    long.read_exact_at(1, &mut some).unwrap();
    if long.is_mapped() {
        let (_, mut calls) = calls_of(|| long.read_at(1, &mut some).unwrap());
        // By which some processors copy.
        calls.retain(|&call| call != "process_vm_readv");
        assert_eq!(calls, ["file_about"]);
    }
    assert!(some.iter().all(|&byte| byte == 7));
}

/// Where the file cannot be mapped, it is read.
#[test]
fn a_file_that_cannot_be_mapped_is_read() {
    for call in ["mmap", "MapViewOfFileEx"] {
        let file = file(LEN);
        let made = MappedFile::new(file).unwrap();
        let mut all = std::vec![0; LEN];
        let (read, failed) = fail_nth(Some(call), 0, 12, || made.read_exact_at(0, &mut all));
        read.unwrap();
        assert_eq!(made.is_mapped(), !failed && crate::fault::install().is_ok());
        assert!(all.iter().all(|&byte| byte == 7));
    }
}

/// A page that cannot be read although the file has it: by the system, and if that cannot either, an error that tells of the fault.
#[test]
fn a_page_that_is_not_there_is_read_by_the_system() {
    let mapped = MappedFile::new(file(LEN)).unwrap();
    let file = mapped.as_file();
    mapped.read_exact_at(0, &mut [0; 5000]).unwrap();
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
