//! Whoever else handles `SIGSEGV` and `SIGBUS`: before ours, after ours, or nobody. Each case in a child process of its own.
#![cfg(all(
    unix,
    any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "riscv64")
))]

mod common;

use common::{Helper, role, say};
use folio::fault::{self, Installed, RawMemory};
use folio::{MmapNone, MmapOptions};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

/// A copy that meets a hole and comes back.
fn copies_survive() {
    let hole: MmapNone = MmapOptions::new(1).map_none().unwrap();
    // SAFETY: a mapping of this function.
    let memory = unsafe { RawMemory::new(hole.as_ptr(), hole.len()) };
    assert_eq!(memory.try_copy_to(1, &mut [0; 100]).unwrap_err().fault().unwrap().offset(), 1);
}

/// A place that nobody may touch.
fn hole() -> *const u8 {
    let hole = MmapOptions::new(1).map_none().unwrap();
    let place = hole.as_ptr();
    std::mem::forget(hole);
    place
}

fn touch(place: *const u8) {
    // SAFETY: that it cannot be read is what the test is about, in a process that may end for it.
    unsafe { place.read_volatile() };
}

fn action(handler: usize, flags: c_int, held_back: Option<c_int>) -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: numbers, of which zeroes are fine.
    let mut action = unsafe { action.assume_init_mut() }.to_owned();
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    if let Some(signal) = held_back {
        // SAFETY: a set that is there.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, signal) };
    }
    action
}

fn handle(signal: c_int, new: &libc::sigaction) -> libc::sigaction {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a handler of this file.
    let done = unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) };
    assert_eq!(done, 0);
    // SAFETY: filled in by the call.
    unsafe { old.assume_init() }
}

static SEEN: AtomicUsize = AtomicUsize::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static HELD_BACK: AtomicUsize = AtomicUsize::new(0);

fn is_held_back(signal: c_int) -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a place for the set; nothing is changed.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr()) };
    // SAFETY: filled in by the call.
    unsafe { libc::sigismember(set.as_ptr(), signal) == 1 }
}

/// Somebody's handler: notes what it was called with, and lets the page be read from then on.
extern "C" fn opens(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    assert!(!context.is_null());
    // SAFETY: what the system calls a handler with.
    let info = unsafe { &*info };
    // SAFETY: read for faults alone.
    let (code, address) = (info.si_code, unsafe { info.si_addr() }.addr());
    CODE.store(code, SeqCst);
    ADDRESS.store(address, SeqCst);
    SEEN.fetch_add(1, SeqCst);
    HELD_BACK.store(usize::from(is_held_back(signal)) + 2 * usize::from(is_held_back(libc::SIGUSR2)), SeqCst);
    if code > 0 {
        let page = address & !(folio::page::size() - 1);
        // SAFETY: the page of `hole`.
        unsafe { libc::mprotect(ptr::without_provenance_mut(page), 1, libc::PROT_READ) };
    }
}

extern "C" fn counts(_signal: c_int) {
    SEEN.fetch_add(1, SeqCst);
}

static FORMER: AtomicUsize = AtomicUsize::new(0);

/// A later handler that passes on what it does not know.
extern "C" fn passes_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    SEEN.fetch_add(1, SeqCst);
    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    let former = ptr::with_exposed_provenance::<()>(FORMER.load(SeqCst));
    // SAFETY: the handler that was there before.
    let former = unsafe { std::mem::transmute::<*const (), Handler>(former) };
    former(signal, info, context);
}

/// A handler that is not about memory and copies.
/// Rust's alternate stack has room for one signal for sure. Of a second one upon the first, what a processor with many registers
/// saves (protection keys, wide vectors) can be too much for it.
fn use_ample_stack() {
    let ample = Box::leak(vec![0_u8; 256 << 10].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: ample.as_mut_ptr().cast(), ss_flags: 0, ss_size: ample.len() };
    // SAFETY: memory that nobody else uses, for ever.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) }, 0);
}

extern "C" fn copies(_signal: c_int) {
    copies_survive();
    SEEN.fetch_add(1, SeqCst);
}

fn address(handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void)) -> usize {
    (handler as *const ()).expose_provenance()
}

fn simple(handler: extern "C" fn(c_int)) -> usize {
    (handler as *const ()).expose_provenance()
}

fn raise(signal: c_int) {
    // SAFETY: what the test is about.
    unsafe { libc::raise(signal) };
}

#[allow(unconditional_recursion, reason = "that is what it is for")]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    overflow(depth ^ room[3]) ^ room[5]
}

fn case(name: &str) {
    let before = |flags, held_back| {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            handle(signal, &action(address(opens), libc::SA_SIGINFO | flags, held_back));
        }
        fault::install().unwrap();
        copies_survive();
        assert_eq!(SEEN.load(SeqCst), 0);
    };
    let default = || {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            handle(signal, &action(libc::SIG_DFL, 0, None));
        }
    };
    match name {
        "a handler before ours has what is not ours" => {
            before(0, Some(libc::SIGUSR2));
            let place = hole();
            touch(place.wrapping_add(5));
            assert_eq!((SEEN.load(SeqCst), ADDRESS.load(SeqCst)), (1, place.addr() + 5));
            // Its mask, and its own signal.
            assert_eq!(HELD_BACK.load(SeqCst), 3);
            copies_survive();
            assert_eq!(SEEN.load(SeqCst), 1);
            raise(libc::SIGSEGV);
            assert!(CODE.load(SeqCst) <= 0 && SEEN.load(SeqCst) == 2);
            raise(libc::SIGBUS);
            assert_eq!(SEEN.load(SeqCst), 3);
            assert_eq!(fault::installed().unwrap(), Installed::Yes);
        }
        "a handler that wants to be interrupted is" => {
            before(libc::SA_NODEFER, None);
            touch(hole());
            assert_eq!((SEEN.load(SeqCst), HELD_BACK.load(SeqCst)), (1, 0));
        }
        "a handler that wants to run once does" => {
            before(libc::SA_RESETHAND, None);
            touch(hole());
            assert_eq!(SEEN.load(SeqCst), 1);
            copies_survive();
            say("once");
            touch(hole());
        }
        "a handler of the old form" => {
            handle(libc::SIGSEGV, &action(simple(counts), 0, None));
            fault::install().unwrap();
            raise(libc::SIGSEGV);
            copies_survive();
            assert_eq!(SEEN.load(SeqCst), 1);
        }
        "a handler behind ours that passes on" => {
            fault::install().unwrap();
            for signal in [libc::SIGSEGV, libc::SIGBUS] {
                let old = handle(signal, &action(address(passes_on), libc::SA_SIGINFO, None));
                FORMER.store(old.sa_sigaction, SeqCst);
            }
            assert_eq!(fault::installed().unwrap(), Installed::Covered);
            // (A fault of many bytes at once is followed by that of the one.)
            copies_survive();
            let seen = SEEN.load(SeqCst);
            assert!(seen > 0);
            fault::install().unwrap();
            copies_survive();
            assert_eq!(SEEN.load(SeqCst), 2 * seen);
        }
        "a handler behind ours that does not" => {
            fault::install().unwrap();
            default();
            assert_eq!(fault::installed().unwrap(), Installed::Covered);
            say("covered");
            copies_survive();
        }
        "ignored signals that somebody sends" => {
            for signal in [libc::SIGSEGV, libc::SIGBUS] {
                handle(signal, &action(libc::SIG_IGN, 0, None));
            }
            fault::install().unwrap();
            raise(libc::SIGSEGV);
            raise(libc::SIGBUS);
            copies_survive();
        }
        "ignored faults" => {
            handle(libc::SIGSEGV, &action(libc::SIG_IGN, 0, None));
            fault::install().unwrap();
            say("ready");
            touch(hole());
        }
        "a fault that is not ours" => {
            default();
            fault::install().unwrap();
            copies_survive();
            say("ready");
            touch(hole());
        }
        "a fault that is not ours, under Rust's handler" => {
            fault::install().unwrap();
            copies_survive();
            say("ready");
            touch(hole());
        }
        "a file's end that is not ours" => {
            default();
            fault::install().unwrap();
            let file = tempfile::tempfile().unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            // SAFETY: a new mapping at a place of the system's choice.
            let place = unsafe { libc::mmap(ptr::null_mut(), 1, libc::PROT_READ, libc::MAP_SHARED, fd, 0) };
            assert_ne!(place, libc::MAP_FAILED);
            say("ready");
            touch(place.cast());
        }
        "SIGSEGV raised" | "SIGBUS raised" => {
            default();
            fault::install().unwrap();
            say("ready");
            raise(if name == "SIGSEGV raised" { libc::SIGSEGV } else { libc::SIGBUS });
        }
        "SIGSEGV sent" | "SIGBUS sent" => {
            default();
            fault::install().unwrap();
            say("ready");
            loop {
                copies_survive();
            }
        }
        "a blocked signal" => {
            fault::install().unwrap();
            let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
            // SAFETY: a set that is there.
            unsafe { libc::sigemptyset(set.as_mut_ptr()) };
            // SAFETY: a set that is there.
            unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGSEGV) };
            // SAFETY: a set that is filled in.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
            say("ready");
            copies_survive();
        }
        "a thread without an alternate stack" => {
            extern "C" fn thread(_: *mut c_void) -> *mut c_void {
                copies_survive();
                ptr::null_mut()
            }
            let mut id = MaybeUninit::uninit();
            // SAFETY: a function that takes nothing.
            let made = unsafe { libc::pthread_create(id.as_mut_ptr(), ptr::null(), thread, ptr::null_mut()) };
            assert_eq!(made, 0);
            // SAFETY: filled in by the call.
            let id = unsafe { id.assume_init() };
            // SAFETY: joined once.
            unsafe { libc::pthread_join(id, ptr::null_mut()) };
            let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            // SAFETY: this thread goes on without one.
            unsafe { libc::sigaltstack(&raw const none, ptr::null_mut()) };
            copies_survive();
        }
        "a fault inside somebody's handler" => {
            handle(libc::SIGUSR1, &action(simple(copies), 0, None));
            raise(libc::SIGUSR1);
            use_ample_stack();
            handle(libc::SIGUSR1, &action(simple(copies), libc::SA_ONSTACK, None));
            raise(libc::SIGUSR1);
            assert_eq!(SEEN.load(SeqCst), 2);
        }
        "a fault inside a handler of faults" => {
            extern "C" fn nested(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
                copies_survive();
                opens(signal, info, context);
            }
            handle(libc::SIGSEGV, &action(address(nested), libc::SA_SIGINFO | libc::SA_NODEFER, None));
            use_ample_stack();
            fault::install().unwrap();
            touch(hole());
            assert_eq!(SEEN.load(SeqCst), 1);
        }
        "the child of a fork" => {
            copies_survive();
            // SAFETY: the child copies, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                copies_survive();
                // SAFETY: ends this process.
                unsafe { libc::_exit(33) };
            }
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(libc::WEXITSTATUS(status), 33);
        }
        "errno" => {
            fault::install().unwrap();
            // SAFETY: sets this thread's errno.
            unsafe { libc::close(-1) };
            copies_survive();
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
        }
        other => panic!("{other}"),
    }
}

fn run(test: &str, name: &str) -> ExitStatus {
    Helper::start(test, name).wait()
}

#[test]
fn others_are_as_if_we_were_not_there() {
    let test = "others_are_as_if_we_were_not_there";
    if let Some(name) = role() {
        return case(name.to_str().unwrap());
    }
    for name in [
        "a handler before ours has what is not ours",
        "a handler that wants to be interrupted is",
        "a handler of the old form",
        "a handler behind ours that passes on",
        "ignored signals that somebody sends",
        "a thread without an alternate stack",
        "a fault inside somebody's handler",
        "a fault inside a handler of faults",
        "the child of a fork",
        "errno",
    ] {
        let status = run(test, name);
        assert_eq!(status.code(), Some(0), "{name}: {status:?}");
    }
}

/// Trap: a blocked signal kills in spite of a handler. And what is not ours ends the process by its own signal.
#[test]
fn what_is_not_ours_ends_the_process_by_its_signal() {
    let test = "what_is_not_ours_ends_the_process_by_its_signal";
    if let Some(name) = role() {
        return case(name.to_str().unwrap());
    }
    for (name, signal) in [
        ("a handler that wants to run once does", libc::SIGSEGV),
        ("a handler behind ours that does not", libc::SIGSEGV),
        ("ignored faults", libc::SIGSEGV),
        ("a fault that is not ours", libc::SIGSEGV),
        ("a fault that is not ours, under Rust's handler", libc::SIGSEGV),
        ("a file's end that is not ours", libc::SIGBUS),
        ("SIGSEGV raised", libc::SIGSEGV),
        ("SIGBUS raised", libc::SIGBUS),
        ("a blocked signal", libc::SIGSEGV),
    ] {
        let status = run(test, name);
        // Apple's systems have SIGBUS for what is mapped without rights.
        let alike = cfg!(target_vendor = "apple") && status.signal() == Some(libc::SIGBUS);
        assert!(status.signal() == Some(signal) || alike, "{name}: {status:?}");
    }
}

/// Trap: `si_code <= 0`, a signal that somebody sends, is always passed on, in the midst of copies as well.
#[test]
fn a_signal_that_somebody_sends_is_no_fault() {
    let test = "a_signal_that_somebody_sends_is_no_fault";
    if let Some(name) = role() {
        return case(name.to_str().unwrap());
    }
    for (name, signal) in [("SIGSEGV sent", libc::SIGSEGV), ("SIGBUS sent", libc::SIGBUS)] {
        for _ in 0..common::rounds(3) {
            let mut child = Helper::start(test, name);
            assert_eq!(child.line(), "ready");
            // SAFETY: a child of this process.
            unsafe { libc::kill(child.pid() as libc::pid_t, signal) };
            let status = child.wait();
            assert_eq!(status.signal(), Some(signal), "{name}: {status:?}");
        }
    }
}

#[test]
fn a_stack_overflow_is_still_reported_by_rust() {
    let test = "a_stack_overflow_is_still_reported_by_rust";
    if let Some(_name) = role() {
        copies_survive();
        std::thread::Builder::new().stack_size(1 << 18).spawn(|| overflow(1)).unwrap().join().unwrap();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("FOLIO_CHILD", "overflow")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has overflowed its stack"), "{said}");
}
