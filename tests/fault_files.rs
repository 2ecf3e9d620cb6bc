//! Files that are cut short while they are read, file systems that are full: what mapped files are copied for.
#![cfg(unix)]

mod common;

use common::{cuts, rounds, skipped};
use folio::fault::{self, FaultKind, RawMemory, RawMemoryMut};
use folio::page;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// A file mapped shared.
struct View {
    place: *mut libc::c_void,
    len: usize,
}

// SAFETY: an address and a length.
unsafe impl Sync for View {}

impl View {
    fn new(file: &File, len: usize) -> Self {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the system's choice, which this process reaches by copies only.
        let place =
            unsafe { libc::mmap(std::ptr::null_mut(), len, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(place, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self { place, len }
    }

    fn memory(&self) -> RawMemoryMut<'_> {
        // SAFETY: the mapping of this value, to which nobody has references.
        unsafe { RawMemoryMut::new(self.place.cast(), self.len) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: the mapping of this value.
        unsafe { libc::munmap(self.place, self.len) };
    }
}

/// Filled with ones.
fn file(pages: usize) -> (tempfile::NamedTempFile, View) {
    let named = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(named.path(), vec![1; pages * page::size()]).unwrap();
    let view = View::new(named.as_file(), pages * page::size());
    (named, view)
}

/// What a copy of a file that is being cut may give: ones, zeroes where the file ends inside a page, and
/// an end anywhere.
fn check(memory: RawMemory<'_>, start: usize, copy: &mut [u8]) -> bool {
    copy.fill(7);
    let result = memory.try_copy_to(start, copy);
    let done = match &result {
        Ok(()) => copy.len(),
        Err(error) => {
            let fault = error.fault().unwrap();
            let expected = if cfg!(target_os = "linux") && cfg!(not(target_arch = "powerpc64")) {
                fault.kind() == FaultKind::NoBacking
            } else {
                // Looked at afterwards, the page may be there again.
                true
            };
            assert!(expected && !fault.is_write(), "{fault}");
            fault.offset() - start
        }
    };
    assert!(copy[..done].iter().all(|&byte| byte <= 1));
    assert!(copy[done..].iter().all(|&byte| byte == 7));
    result.is_err()
}

/// Lets the other thread end, also when this one panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_file_cut_short_is_an_error() {
    if let Err(error) = fault::install() {
        return skipped("a_file_cut_short_is_an_error", &error.to_string());
    }
    let (file, view) = file(4);
    let size = page::size();
    file.as_file().set_len(size as u64 + 10).unwrap();
    let memory = view.memory();
    let mut copy = vec![7; 4 * size];
    let fault = memory.try_copy_to(3, &mut copy[3..]).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (2 * size, false, FaultKind::NoBacking));
    // The rest of the last page is zeroes.
    assert!(copy[3..size + 10].iter().all(|&byte| byte == 1));
    assert!(copy[size + 10..2 * size].iter().all(|&byte| byte == 0));
    assert!(copy[2 * size..].iter().all(|&byte| byte == 7));
    let fault = memory.try_copy_from(2 * size - 5, &[2; 50]).unwrap_err().fault().unwrap();
    assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (2 * size, true, FaultKind::NoBacking));
    if cfg!(not(target_arch = "powerpc64")) {
        let fault = memory.try_fetch_add(2 * size, 1_u32).unwrap_err().fault().unwrap();
        assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (2 * size, true, FaultKind::NoBacking));
    }
    // Longer again: as if nothing had been.
    file.as_file().set_len(4 * size as u64).unwrap();
    memory.try_copy_to(0, &mut copy).unwrap();
}

/// In the midst of copies, by another thread: long, short and unaligned ones.
#[test]
fn a_file_is_cut_by_another_thread_meanwhile() {
    if let Err(error) = fault::install() {
        return skipped("a_file_is_cut_by_another_thread_meanwhile", &error.to_string());
    }
    let pages = 16;
    let (file, view) = file(pages);
    let size = page::size();
    let done = AtomicBool::new(false);
    let faults = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Relaxed) {
                round = (round + 5) % pages;
                file.as_file().set_len((round * size + round) as u64).unwrap();
                file.as_file().set_len((pages * size) as u64).unwrap();
            }
        });
        let _ends = Ends(&done);
        let mut copy = vec![0; pages * size];
        for round in 0..rounds(1000) as usize {
            let start = round * 61 % size;
            let len = copy.len() - start;
            faults.fetch_add(check(*view.memory(), start, &mut copy[..len]).into(), Relaxed);
            // Writing: whatever happens, it ends.
            if let Err(error) = view.memory().try_fill(start, len, 1) {
                assert!(error.fault().unwrap().is_write());
            }
        }
    });
    eprintln!("{} copies found the file short, or were cut", faults.into_inner());
}

/// Reads and writes that lose the pages under their hands.
#[test]
fn copies_are_cut_in_the_midst_by_another_thread() {
    if let Err(error) = fault::install() {
        return skipped("copies_are_cut_in_the_midst_by_another_thread", &error.to_string());
    }
    let (file, view) = file(cuts::PAGES);
    cuts::by_a_thread(file.as_file(), view.memory(), rounds(1000));
}

#[test]
fn copies_are_cut_in_the_midst_by_another_process() {
    let test = "copies_are_cut_in_the_midst_by_another_process";
    if cuts::is_the_process() {
        return;
    }
    if let Err(error) = fault::install() {
        return skipped(test, &error.to_string());
    }
    let (file, view) = file(cuts::PAGES);
    cuts::by_a_process(test, file.path(), view.memory(), rounds(1000));
}

/// Memory of a file system that is full: reading gives zeroes, writing cannot be done.
#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_is_an_error() {
    let test = "a_full_file_system_is_an_error";
    if let Err(error) = fault::install() {
        return skipped(test, &error.to_string());
    }
    common::small::in_small_tmpfs(test, |folder| {
        let len = 2 << 20;
        let file = File::options().read(true).write(true).create_new(true).open(folder.join("full")).unwrap();
        file.set_len(len as u64).unwrap();
        let view = View::new(&file, len);
        let fault = view.memory().try_fill(0, len, 1).unwrap_err().fault().unwrap();
        assert_eq!((fault.offset(), fault.is_write(), fault.kind()), (1 << 20, true, FaultKind::NoBacking));
    });
}
