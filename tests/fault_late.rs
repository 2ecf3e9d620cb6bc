//! Signals that come at any instruction of a copy, and look as if they came of a fault.
#![cfg(all(
    any(target_os = "linux", target_os = "android"),
    any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "riscv64")
))]

mod common;

use common::{Helper, role};
use folio::fault::{self, RawMemory, RawMemoryMut};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

static SEEN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn counts(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    SEEN.fetch_add(1, SeqCst);
}

fn handle(signal: c_int) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: numbers, of which zeroes are fine.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = (counts as *const ()).expose_provenance();
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: a handler of this file, which counts.
    assert_eq!(unsafe { libc::sigaction(signal, action, ptr::null_mut()) }, 0);
}

/// Sends this process, whose first thread calls it, a signal that looks as if the system had made it.
fn send(signal: c_int, code: c_int) {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: numbers, of which zeroes are fine.
    let info = unsafe { info.assume_init_mut() };
    info.si_signo = signal;
    info.si_code = code;
    // SAFETY: no precondition.
    let this = unsafe { libc::getpid() };
    // SAFETY: a signal that is handled (rt_sigqueueinfo(2)).
    let sent = unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, this, signal, &raw const *info) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

fn block(signals: [c_int; 2]) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a set that is there.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: as above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: a set that is filled in.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
}

/// How far a copy came: all, or up to where it says that it met a fault.
fn end(result: folio::Result<()>, start: usize, len: usize, may_fail: bool) -> usize {
    match result {
        Ok(()) => len,
        Err(error) => {
            assert!(may_fail, "{error}");
            error.fault().unwrap().offset() - start
        }
    }
}

/// Copies and fills, of all sizes: what is said to be done is, and nothing besides.
fn copy_and_look(round: usize, may_fail: bool) {
    let from: Vec<u8> = (0..6000_usize).map(|at| (at * 31 ^ at >> 8) as u8 | 1).collect();
    let mut to = vec![0_u8; 6200];
    // SAFETY: bytes of a vector that nobody writes to.
    let source = unsafe { RawMemory::new(from.as_ptr(), from.len()) };
    let len = round * 37 % if round % 2 == 0 { 300 } else { 5800 };
    let (start, shift) = (round % 67, round % 61);
    let done = end(source.try_copy_to(start, &mut to[shift..][..len]), start, len, may_fail);
    assert!(to[shift..][..done] == from[start..][..done], "{len} bytes, {done} copied");
    assert!(
        to[..shift].iter().chain(&to[shift + done..]).all(|&byte| byte == 0),
        "{len} bytes, {done} copied"
    );
    // SAFETY: a vector that is not used otherwise meanwhile.
    let target = unsafe { RawMemoryMut::new(to.as_mut_ptr(), to.len()) };
    let done = end(target.try_fill(shift, len, 0), shift, len, may_fail);
    let done = done.min(end(target.try_fill(shift, len, 0xEE), shift, len, may_fail));
    assert!(to[shift..][..done].iter().all(|&byte| byte == 0xEE));
    assert!(to[..shift].iter().chain(&to[shift + len..]).all(|&byte| byte == 0), "{len} bytes filled");
}

fn case(signals: [(c_int, c_int); 2], may_fail: bool) {
    // SAFETY: the child, of which this is the first thread, ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let body = || {
            for (signal, _) in signals {
                handle(signal);
            }
            fault::install().unwrap();
            let ended = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let copying = scope.spawn(|| {
                    let body = || (0..rounds()).for_each(|round| copy_and_look(round, may_fail));
                    let result = std::panic::catch_unwind(body);
                    ended.store(true, SeqCst);
                    result.unwrap();
                });
                block(signals.map(|(signal, _)| signal));
                while !ended.load(SeqCst) {
                    for (signal, code) in signals {
                        send(signal, code);
                    }
                }
                copying.join().unwrap();
            });
            assert!(SEEN.load(SeqCst) > 0, "nothing was sent");
        };
        let good = std::panic::catch_unwind(body).is_ok();
        // SAFETY: ends this process.
        unsafe { libc::_exit(if good { 33 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a child of this process.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 33), "{status:#x}");
}

fn rounds() -> usize {
    4 * common::rounds(500) as usize
}

/// Trap: not every code above 0 is that of the instruction. `BUS_MCEERR_AO` and `SEGV_MTEAERR` are told at any.
#[test]
fn what_the_system_tells_late_is_passed_on() {
    let test = "what_the_system_tells_late_is_passed_on";
    if role().is_some() {
        return case([(libc::SIGBUS, 5), (libc::SIGSEGV, 8)], false);
    }
    let status = Helper::start(test, "late").wait();
    assert_eq!(status.code(), Some(0), "{status:?}");
}

/// Whatever looks like a fault, and comes between any two instructions: a copy may end by it, but never goes too far.
#[test]
fn signals_that_lie_do_no_harm() {
    let test = "signals_that_lie_do_no_harm";
    if role().is_some() {
        return case([(libc::SIGBUS, 2), (libc::SIGSEGV, 2)], true);
    }
    let status = Helper::start(test, "lies").wait();
    assert_eq!(status.code(), Some(0), "{status:?}");
}
