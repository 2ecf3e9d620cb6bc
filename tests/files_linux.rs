//! Descriptors of all kinds.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use common::skipped;
use folio::{ErrorKind, Mmap, MmapMut, MmapOptions, page};
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

fn owned(number: c_int) -> Option<OwnedFd> {
    // SAFETY: just opened, and nobody else's.
    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

fn memfd(flags: libc::c_uint, len: u64) -> File {
    // SAFETY: a name that ends.
    let number = unsafe { libc::memfd_create(c"folio".as_ptr(), flags) };
    let file = File::from(owned(number).unwrap());
    file.set_len(len).unwrap();
    file
}

fn seal(file: &File, seals: c_int) -> bool {
    // SAFETY: numbers only.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) == 0 }
}

#[test]
fn what_is_no_file_is_refused() {
    // SAFETY: numbers only.
    let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).unwrap();
    // SAFETY: numbers only.
    let event = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).unwrap();
    for file in [epoll, event] {
        // SAFETY: nothing is mapped of these.
        let options = unsafe { MmapOptions::new(1).file(&file) };
        for error in [options.map().unwrap_err(), options.map_copy().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    // Files without a length.
    let file = File::open("/proc/self/status").unwrap();
    // SAFETY: as above.
    let whole = unsafe { MmapOptions::of_file(&file) };
    // SAFETY: as above.
    let part = unsafe { MmapOptions::new(1).file(&file) };
    for error in [whole.map().unwrap_err(), part.map().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    // (Not by `custom_flags`, of which Rust takes this one away on musl.)
    // SAFETY: a path that ends.
    let path =
        owned(unsafe { libc::open(c"/proc/self/exe".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }).unwrap();
    // SAFETY: as above.
    let error = unsafe { Mmap::map(&path) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("O_PATH"));
    // A program that runs.
    let program = File::open("/proc/self/exe").unwrap();
    // SAFETY: nobody writes to it while it runs.
    let error = unsafe { MmapMut::map_mut(&program) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    // SAFETY: as above.
    let map = unsafe { Mmap::map(&program) }.unwrap();
    assert_eq!(map[..4], *b"\x7fELF");
}

/// Trap: a mapping made for reading is made writable later, where the file's owner had forbidden it.
#[test]
fn seals_hold() {
    let len = 2 * page::size() as u64;
    let file = memfd(libc::MFD_ALLOW_SEALING, len);
    assert!(seal(&file, libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE));
    // SAFETY: nobody else has the file, here and below.
    let error = unsafe { MmapMut::map_mut(&file) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    // SAFETY: as above.
    match unsafe { Mmap::map(&file) } {
        Ok(map) => assert_eq!(map.make_mut().unwrap_err().1.kind(), ErrorKind::NotPermitted),
        // Before Linux 6.7.
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}"),
    }
    // SAFETY: as above.
    unsafe { MmapOptions::of_file(&file) }.map_copy().unwrap().fill(1);

    let file = memfd(libc::MFD_ALLOW_SEALING, len);
    // SAFETY: as above.
    let mut before = unsafe { MmapMut::map_mut(&file) }.unwrap();
    if !seal(&file, libc::F_SEAL_FUTURE_WRITE) {
        return skipped("seals_hold", "no F_SEAL_FUTURE_WRITE");
    }
    before[0] = 1;
    drop(before);
    // SAFETY: as above.
    let map = unsafe { Mmap::map(&file) }.unwrap();
    let (map, error) = map.make_mut().unwrap_err();
    assert_eq!((error.kind(), map[0]), (ErrorKind::NotPermitted, 1), "{error}");
}

#[test]
fn secret_memory() {
    // SAFETY: numbers only.
    let secret = c_int::try_from(unsafe { libc::syscall(libc::SYS_memfd_secret, 0) }).unwrap();
    let Some(secret) = owned(secret) else { return skipped("secret_memory", "no memfd_secret") };
    let secret = File::from(secret);
    secret.set_len(page::size() as u64).unwrap();
    // SAFETY: nobody else has the file.
    let options = unsafe { MmapOptions::of_file(&secret) };
    let error = options.map_copy().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    match options.map_mut() {
        Ok(mut map) => map.fill(1),
        // No more memory may be locked.
        Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}"),
    }
}

/// Trap: offsets that are cut to 32 bits.
#[test]
fn offsets_have_64_bits() {
    const FAR: u64 = (5 << 32) + 12_345;
    let file = tempfile::tempfile().unwrap();
    if let Err(error) = file.set_len(FAR + 10) {
        return skipped("offsets_have_64_bits", &error.to_string());
    }
    // SAFETY: nobody else has the file, and the mappings are not of the same bytes.
    let new = |offset| unsafe { MmapOptions::new(10).file(&file) }.offset(offset);
    new(FAR).map_mut().unwrap().fill(7);
    assert_eq!(new(FAR).map().unwrap()[..], [7; 10]);
    assert_eq!(new(FAR % (1 << 32)).map().unwrap()[..], [0; 10]);
    // SAFETY: as above.
    match unsafe { Mmap::map(&file) } {
        Ok(map) => assert_eq!((map.len() as u64, map[map.len() - 1]), (FAR + 10, 7)),
        Err(error) if usize::BITS == 32 => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}"),
    }
    // Of a device, nothing is known beforehand.
    let zero = File::open("/dev/zero").unwrap();
    for offset in [u64::MAX, u64::MAX - 5000, 1 << 63, (1 << 63) - 1, 1 << 62, 1 << 44] {
        for len in [1, 4097, isize::MAX as usize - 5000, isize::MAX as usize, usize::MAX] {
            // SAFETY: nobody's bytes.
            match unsafe { MmapOptions::new(len).file(&zero) }.offset(offset).map_copy() {
                Ok(map) => assert_eq!(map.len(), len),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Exhausted),
                    "{offset:#x} {len:#x}: {error}"
                ),
            }
        }
    }
}

/// Trap: a flag that the kernel cannot honour is passed over in silence.
#[test]
fn flags_that_a_file_cannot_have_are_errors() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(10_000).unwrap();
    // SAFETY: nobody else has the file.
    let of_file = unsafe { MmapOptions::of_file(&file) };
    let error = of_file.clone().wipe_on_fork().map_mut().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    drop(of_file.clone().no_core_dump().map_mut().unwrap());
    let error = of_file.clone().room(1).map_mut().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let huge = page::PageSize::from_bytes(1 << 21).unwrap();
    let error = of_file.clone().huge_pages(huge).map_mut().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    // Pages that grant nothing cannot be locked.
    let error = of_file.locked().map_none().unwrap_err();
    assert_eq!(error.operation(), folio::Operation::Lock, "{error}");
    MmapOptions::new(1).locked().map_none().unwrap_err();
}
