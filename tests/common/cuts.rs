//! A file that somebody else cuts short in the midst of copies.
#![cfg(all(unix, feature = "std"))]

use super::{Helper, role, say};
use folio::fault::{FaultKind, RawMemoryMut};
use folio::page;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// As many as the memory has.
pub const PAGES: usize = 64;

/// Into the first page: who comes afterwards stops at the second one; who stops behind that has found pages that were then taken away.
fn cut(file: &File, round: usize) {
    // Until the other one is somewhere in a copy, on the same processor perhaps.
    std::thread::sleep(Duration::from_micros(50 + round as u64 * 7919 % 100));
    file.set_len((1 + round % (page::size() - 1)) as u64).unwrap();
}

/// Copies from and to the file while it is cut at each request, until that was in the midst of a copy so often.
fn be_caught(file: &File, memory: RawMemoryMut<'_>, wanted: u32, mut request: impl FnMut()) {
    let (size, len) = (page::size(), memory.len());
    assert_eq!((memory.as_ptr().addr() % size, len), (0, PAGES * size));
    // Less often where pages are larger, which takes as much longer.
    let wanted = (wanted / (size as u32 / 4096)).max(1);
    let mut copy = vec![0; len];
    let (mut caught, mut rounds) = (0, 0);
    while caught < wanted {
        rounds += 1;
        assert!(rounds / 20 <= wanted + 10, "caught {caught} times in {rounds} rounds");
        file.set_len(len as u64).unwrap();
        let start =
            if rounds % 4 < 2 { rounds as usize * 61 % size } else { size - 1 - rounds as usize % 31 };
        let write = rounds % 2 == 0;
        request();
        // The file stays short: some copy is cut, or finds it so.
        let fault = (0..1 << 22).find_map(|_| {
            let result = if write {
                memory.try_fill(start, len - start, 1)
            } else {
                copy.fill(7);
                memory.try_copy_to(start, &mut copy[start..])
            };
            result.err().map(|error| error.fault().unwrap())
        });
        let fault = fault.expect("nobody cuts the file");
        let end = fault.offset();
        assert!(fault.is_write() == write && end >= size, "{fault}");
        // (On powerpc64 the kernel copies, and does not say why it ends.)
        let known = cfg!(target_os = "linux") && cfg!(not(target_arch = "powerpc64"));
        assert!(fault.kind() == FaultKind::NoBacking || !known, "{fault}");
        if !write {
            // Ones; zeroes where the file ended, or is new; and what was here before.
            assert!(copy[start..end].iter().all(|&byte| byte <= 1));
            // Of a page that goes between two moves of one place, the first may have had more than the second.
            let (near, far) = copy[end..].split_at((len - end).min(128));
            assert!(near.iter().all(|&byte| byte <= 1 || byte == 7), "{fault}, from {start}");
            assert!(far.iter().all(|&byte| byte == 7), "{fault}, from {start}");
        }
        caught += u32::from(end > size);
    }
    eprintln!("caught in the midst {caught} times, in {rounds} rounds");
}

/// Another thread cuts the file.
pub fn by_a_thread(file: &File, memory: RawMemoryMut<'_>, wanted: u32) {
    let (request, requests) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // Ends with the other end of the channel.
        scope.spawn(move || requests.iter().enumerate().for_each(|(round, ())| cut(file, round)));
        be_caught(file, memory, wanted, || request.send(()).unwrap());
        drop(request);
    });
}

/// Another process cuts the file: `true` in that one, for which the test ends here.
pub fn is_the_process() -> bool {
    let Some(path) = role() else { return false };
    let file = File::options().write(true).open(path).unwrap();
    say("ready");
    std::io::stdin().lock().bytes().enumerate().for_each(|(round, _)| cut(&file, round));
    true
}

/// Another process cuts the file, which runs the same test and asks [`is_the_process`].
pub fn by_a_process(test: &str, path: &Path, memory: RawMemoryMut<'_>, wanted: u32) {
    let mut child = Helper::start(test, path);
    assert_eq!(child.line(), "ready");
    let file = File::options().write(true).open(path).unwrap();
    let mut requests = child.child.stdin.take().unwrap();
    be_caught(&file, memory, wanted, || requests.write_all(b".").unwrap());
    drop(requests);
    child.finish();
}
