//! Copies by system calls, which some processors have to do with: on all.

use super::Ready;
use super::without::{copy, fill, try_out};
use crate::ErrorKind;
use crate::access_fault::Stop;
use crate::os::inject::{calls_of, fail_nth};
use crate::{MmapOptions, page, protect};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use core::ptr;
use std::vec;
use std::vec::Vec;

const READY: Ready = Ready(NonZeroUsize::MIN);

/// Whether the system has the call: filters forbid it here and there.
fn is_there(test: &str) -> bool {
    match try_out() {
        Ok(()) => true,
        Err(stop) => {
            crate::area::skipped(test, &std::format!("{stop:?}"));
            false
        }
    }
}

/// A hole at each place of a copy, on either side, and of a fill.
#[test]
fn what_is_left_is_exact() {
    if !is_there("what_is_left_is_exact") {
        return;
    }
    let size = page::size();
    let mut pages = MmapOptions::new(2 * size).map_mut().unwrap();
    let place = pages.as_mut_ptr();
    // SAFETY: the second page, of which only this test knows.
    unsafe { protect(place.wrapping_add(size), 1, crate::Protection::NONE) }.unwrap();
    let len = 700;
    for before in [0, 1, 5, 64, 500, 699, 700] {
        let at = place.wrapping_add(size - before);
        let mut ours: Vec<u8> = (0..len).map(|at| at as u8 | 1).collect();
        let expected = |write| match before {
            700 => Ok(()),
            _ => Err((len - before, write)),
        };
        let seen = |done: Result<(), Stop>| done.map_err(|stop| (stop.left, stop.write));
        // SAFETY: pages and a vector of this test.
        assert_eq!(seen(unsafe { copy(READY, at, ours.as_ptr(), len) }), expected(true), "{before}");
        let mut copied = vec![0_u8; len];
        // SAFETY: as above.
        assert_eq!(seen(unsafe { copy(READY, copied.as_mut_ptr(), at, len) }), expected(false), "{before}");
        assert_eq!(copied[..before], ours[..before]);
        assert!(copied[before..].iter().all(|&byte| byte == 0));
        // SAFETY: as above.
        assert_eq!(seen(unsafe { fill(READY, at, 9, len) }), expected(true), "{before}");
        // SAFETY: as above.
        let read = unsafe { copy(READY, ours.as_mut_ptr(), at, before) };
        assert_eq!(seen(read), Ok(()));
        assert!(ours[..before].iter().all(|&byte| byte == 9));
    }
}

/// Trap: a call that a filter refuses is no fault of the memory.
#[test]
fn what_the_system_refuses_is_no_fault() {
    if !is_there("what_the_system_refuses_is_no_fault") {
        return;
    }
    let from = [7_u8; 2000];
    let mut to = [0_u8; 2000];
    let hole = MmapOptions::new(1).map_none().unwrap();
    for (code, kind) in [
        (libc::EPERM, ErrorKind::NotPermitted),
        (libc::ENOSYS, ErrorKind::Unsupported),
        (libc::ENOMEM, ErrorKind::System),
    ] {
        let refused = Some((kind, code));
        let (done, _) = fail_nth(None, 0, code, try_out);
        assert_eq!(done.unwrap_err().refused, refused);
        // SAFETY: two arrays.
        let (done, _) =
            fail_nth(None, 0, code, || unsafe { copy(READY, to.as_mut_ptr(), from.as_ptr(), 2000) });
        let stop = done.unwrap_err();
        assert_eq!((stop.left, stop.refused), (2000, refused));
        // Of four pieces, the third.
        // SAFETY: an array.
        let (done, _) = fail_nth(None, 2, code, || unsafe { fill(READY, to.as_mut_ptr(), 3, 2000) });
        let stop = done.unwrap_err();
        assert_eq!((stop.left, stop.refused), (2000 - 1024, refused));
        assert!(to[..1024].iter().all(|&byte| byte == 3) && to[1024..].iter().all(|&byte| byte == 0));
        to.fill(0);
        // While it is looked which side it was.
        // SAFETY: a mapping without access, and an array.
        let copy_in = || unsafe { copy(READY, hole.as_ptr().cast_mut(), from.as_ptr(), 10) };
        for n in [1, 2] {
            let (done, reached) = fail_nth(None, n, code, copy_in);
            assert!(reached);
            assert_eq!(done.unwrap_err().refused, refused);
        }
        // SAFETY: as above.
        let copy_out = || unsafe { copy(READY, to.as_mut_ptr(), hole.as_ptr(), 10) };
        assert_eq!(fail_nth(None, 1, code, copy_out).0.unwrap_err().refused, refused);
        let failure = Stop { refused, ..stop }.refusal().unwrap();
        let error = failure.during(crate::Operation::Copy, None, None);
        assert_eq!((error.kind(), error.raw_os_error(), error.fault()), (kind, Some(code), None));
    }
    // SAFETY: two arrays.
    let (done, calls) = calls_of(|| unsafe { copy(READY, to.as_mut_ptr(), from.as_ptr(), 2000) });
    assert_eq!((done, calls), (Ok(()), vec!["process_vm_readv"]));
}

/// Trap: the process's own number means its first thread, which may have ended.
#[test]
fn copies_go_on_when_the_first_thread_has_ended() {
    extern "C" fn rest(_: *mut c_void) -> *mut c_void {
        // SAFETY: waits for the other thread.
        unsafe { libc::usleep(100_000) };
        // SAFETY: ends this process.
        unsafe { libc::_exit(if try_out().is_ok() { 33 } else { 1 }) };
    }
    if !is_there("copies_go_on_when_the_first_thread_has_ended") {
        return;
    }
    // SAFETY: the child starts a thread that copies, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut id = MaybeUninit::uninit();
        // SAFETY: a function that takes nothing.
        unsafe { libc::pthread_create(id.as_mut_ptr(), ptr::null(), rest, ptr::null_mut()) };
        // SAFETY: ends this thread alone; nothing of its stack is in use elsewhere.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let mut status: c_int = 0;
    // SAFETY: a child of this process.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 33));
}
