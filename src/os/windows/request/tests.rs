//! Files and options on a system that refuses at each of its calls.

use crate::os::inject::{calls_of, fail_nth};
use crate::{MmapMut, MmapOptions, Pages, page, query};
use core::ptr::without_provenance;
use std::fs::File;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};

/// `ERROR_NOT_ENOUGH_MEMORY`.
const REFUSED: i32 = 8;

/// Where nothing is mapped of itself, and by no other test.
const PLACE: usize = if usize::BITS == 64 { 0x3f_u64.wrapping_shl(32) as usize } else { 0x5000_0000 };

fn file(len: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    file
}

fn handles() -> u32 {
    let mut count = 0;
    // SAFETY: a pseudo handle.
    let this = unsafe { GetCurrentProcess() };
    // SAFETY: `count` is writable.
    assert_ne!(unsafe { GetProcessHandleCount(this, &mut count) }, 0);
    count
}

fn is_free() -> bool {
    query(without_provenance::<u8>(PLACE)).is_err()
}

/// Trap: a section handle or a view leaked; the system's code was read after the clean-up calls had overwritten it.
#[test]
fn a_failure_leaves_neither_view_nor_handle() {
    let file = file(3 << 16);
    // SAFETY: nobody else has the file.
    let of_file = unsafe { MmapOptions::of_file(&file) }.at(PLACE);
    let options = [
        of_file.clone(),
        of_file.clone().copy_on_write(),
        of_file.numa_node(0),
        MmapOptions::new(10).at(PLACE).numa_node(0),
    ];
    for options in options {
        drop(options.map().unwrap());
        for n in 0.. {
            let (made, failed) = fail_nth(None, n, REFUSED, || options.map());
            if let Err(error) = &made {
                assert_eq!(error.raw_os_error(), Some(REFUSED), "call {n}: {error}");
                assert!(is_free(), "call {n}");
            }
            drop(made);
            if !failed {
                break;
            }
        }
        assert!(is_free());
    }
    // Other tests open and close some: a leak would grow with the rounds.
    // SAFETY: as above.
    let options = unsafe { MmapOptions::of_file(&file) };
    let before = handles();
    for _ in 0..100 {
        for n in 0..8 {
            drop(fail_nth(None, n, REFUSED, || options.map_mut()));
        }
    }
    assert!(handles() < before + 100, "{before} {}", handles());
}

#[test]
fn the_calls_are_those_and_no_others() {
    let file = file(10);
    // SAFETY: nobody else has the file.
    let options = unsafe { MmapOptions::of_file(&file) };
    let calls = |options: &MmapOptions<'_>| calls_of(|| options.map_mut().map(core::mem::forget).unwrap()).1;
    assert_eq!(
        calls(&options),
        ["GetFileType", "GetFileSizeEx", "CreateFileMapping", "MapViewOfFile", "DuplicateHandle"]
    );
    assert_eq!(
        calls(&options.clone().copy_on_write()),
        ["GetFileType", "GetFileSizeEx", "CreateFileMapping", "MapViewOfFile"]
    );
    assert_eq!(calls(&MmapOptions::new(5)), ["VirtualAlloc"]);
    // SAFETY: as above.
    let map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    assert_eq!(calls_of(|| map.flush(..).unwrap()).1, ["FlushViewOfFile", "FlushFileBuffers"]);
    assert_eq!(calls_of(|| map.flush_async(..).unwrap()).1, ["FlushViewOfFile"]);
    assert_eq!(
        calls_of(|| Pages::flush(&Pages::new(1).unwrap(), ..).unwrap()).1,
        ["VirtualAlloc", "VirtualFree"]
    );
}

/// A view is given back as a whole, at the last part; until then, what is left of a part that is gone cannot be touched.
#[test]
fn parts_of_a_view() {
    let file = file(4 << 12);
    // SAFETY: nobody else has the file.
    let mut low = unsafe { MmapOptions::of_file(&file) }.at(PLACE + (1 << 20)).map_mut().unwrap();
    let start = low.start();
    let high = low.split_off(page::size()).unwrap();
    drop(low);
    let left = query(without_provenance::<u8>(start)).unwrap();
    assert!(left.protection().is_empty());
    drop(high);
    assert!(query(without_provenance::<u8>(start)).is_err());
    assert!(query(without_provenance::<u8>(start + page::size())).is_err());
}
