//! Step by step through the copies, by the processor's trap flag: at each instruction in turn comes a signal that is no fault.

use super::{Outcome, copy, copy_avx, fill, fill_avx};
use core::arch::asm;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::vec;
use std::vec::Vec;

type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// How many steps are still to be made before the signal comes, and that signal with its code.
static STEPS: AtomicUsize = AtomicUsize::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
/// How many of them were taken for faults.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The handler of folio's faults.
static OURS: AtomicUsize = AtomicUsize::new(0);

const TRAP_FLAG: i64 = 0x100;

fn action(signal: c_int, new: Option<Handler>) -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: numbers, of which zeroes are fine.
    let action = unsafe { action.assume_init_mut() };
    if let Some(handler) = new {
        action.sa_sigaction = (handler as *const ()).expose_provenance();
        action.sa_flags = libc::SA_SIGINFO;
    }
    let new = if new.is_some() { ptr::from_ref(action) } else { ptr::null() };
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a handler of this file.
    assert_eq!(unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) }, 0);
    // SAFETY: filled in by the call.
    unsafe { old.assume_init() }
}

/// Of the lying signals where they meet none of our instructions.
unsafe extern "C" fn nothing(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {}

unsafe extern "C" fn step(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let left = STEPS.load(SeqCst);
    STEPS.store(left.saturating_sub(1), SeqCst);
    if left != 1 {
        return;
    }
    // SAFETY: the context of this signal.
    let flags = unsafe { &raw mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[17] };
    // SAFETY: a word of it.
    unsafe { *flags &= !TRAP_FLAG };
    // SAFETY: as above.
    let place = unsafe { &raw const (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[16] };
    // SAFETY: a word of it.
    let before = unsafe { place.read() };
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: numbers, of which zeroes are fine.
    let info = unsafe { info.assume_init_mut() };
    info.si_signo = SIGNAL.load(SeqCst);
    info.si_code = CODE.load(SeqCst);
    let ours = ptr::with_exposed_provenance::<()>(OURS.load(SeqCst));
    // SAFETY: the handler of SIGSEGV, installed with SA_SIGINFO.
    let ours = unsafe { core::mem::transmute::<*const (), Handler>(ours) };
    // SAFETY: what the system would call it with.
    unsafe { ours(info.si_signo, info, context) };
    // SAFETY: as before.
    TAKEN.fetch_add(usize::from(unsafe { place.read() } != before), SeqCst);
}

fn set_trap_flag() {
    // SAFETY: the flag is set, by which a signal comes after each instruction; its handler lets the thread go on.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
}

fn clear_trap_flag() {
    // SAFETY: the flag is cleared.
    unsafe { asm!("pushfq", "and qword ptr [rsp], -257", "popfq") };
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Narrow,
    Wide(usize),
    Fill(usize),
    WideFill(usize),
}

/// One copy in the midst of which the signal comes, after `n` steps; looks whether all is as it says. Whether it came so far.
fn copy_with(way: Way, len: usize, (from_at, to_at): (usize, usize), n: usize) -> bool {
    let from: Vec<u8> = (0..len + 128).map(|at| (at * 31) as u8 | 1).collect();
    let mut to = vec![0_u8; len + 192];
    // From where a cache line begins.
    let from_at = from_at + from.as_ptr().align_offset(64);
    let to_at = to_at + to.as_ptr().align_offset(64);
    let (source, target) = (from[from_at..][..len].as_ptr(), to[to_at..].as_mut_ptr());
    STEPS.store(n, SeqCst);
    set_trap_flag();
    let Outcome { first: left, .. } = match way {
        // SAFETY: `len` bytes of each vector.
        Way::Narrow => unsafe { copy(target, source, len) },
        // SAFETY: as above; the processor has AVX (the caller looked).
        Way::Wide(rep_from) => unsafe { copy_avx(target, source, len, rep_from) },
        // SAFETY: as above.
        Way::Fill(rep_from) => unsafe { fill(target, 0xEF, len, rep_from) },
        // SAFETY: as above; the processor has AVX.
        Way::WideFill(rep_from) => unsafe { fill_avx(target, 0xEF, len, rep_from) },
    };
    clear_trap_flag();
    let came = STEPS.load(SeqCst) == 0;
    let done = len - left;
    let what = (way, len, from_at, to_at, n, left);
    let copied = &to[to_at..][..done];
    match way {
        Way::Fill(_) | Way::WideFill(_) => assert!(copied.iter().all(|&byte| byte == 0xEF), "{what:?}"),
        _ => assert!(copied == &from[from_at..][..done], "{what:?}"),
    }
    assert!(to[..to_at].iter().chain(&to[to_at + len..]).all(|&byte| byte == 0), "{what:?}: too far");
    came
}

fn at_each_instruction(way: Way, len: usize, places: (usize, usize)) {
    let mut n = 1;
    while copy_with(way, len, places, n) {
        // Signals take their time in emulated machines.
        n += if crate::area::rounds(100) < 100 { 5 } else { 1 };
    }
}

/// How many signals of that code are taken for faults.
fn run(signal: c_int, code: c_int) -> usize {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    crate::fault::install().unwrap();
    OURS.store(action(libc::SIGSEGV, None).sa_sigaction, SeqCst);
    action(libc::SIGTRAP, Some(step));
    SIGNAL.store(signal, SeqCst);
    CODE.store(code, SeqCst);
    TAKEN.store(0, SeqCst);
    for len in [0, 1, 3, 7, 12, 20, 40, 65, 130, 270] {
        at_each_instruction(Way::Narrow, len, (3, 17));
        at_each_instruction(Way::Fill(usize::MAX), len, (0, 5));
        if super::detect().get() > super::NARROW {
            at_each_instruction(Way::Wide(usize::MAX), len, (1, 9));
            at_each_instruction(Way::WideFill(usize::MAX), len, (0, 5));
        }
    }
    for place in [0, 7] {
        at_each_instruction(Way::Fill(80), 100, (0, place));
        if super::detect().get() > super::NARROW {
            at_each_instruction(Way::Wide(80), 130, (place, place));
            at_each_instruction(Way::WideFill(80), 100, (0, place));
        }
    }
    TAKEN.load(SeqCst)
}

/// Runs a test in a process of its own, in which nobody else has handlers.
fn is_alone(test: &str) -> bool {
    if std::env::var("FOLIO_ALONE").is_ok_and(|name| name == test) {
        action(libc::SIGSEGV, Some(nothing));
        action(libc::SIGBUS, Some(nothing));
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &std::format!("os::copying::own::x86_64::tests::{test}"), "--nocapture"])
        .env("FOLIO_ALONE", test)
        .output()
        .unwrap();
    let said = std::string::String::from_utf8_lossy(&output.stdout);
    let complained = std::string::String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{:?} {said} {complained}", output.status);
    false
}

/// Whatever looks like a fault, at any instruction: a copy may end by it, but what it says is so, and it never goes too far.
#[test]
fn signals_that_lie_do_no_harm() {
    if is_alone("signals_that_lie_do_no_harm") {
        assert!(run(libc::SIGBUS, 2) > 0);
        assert!(run(libc::SIGSEGV, 1) > 0);
    }
}

/// Trap: not every code above 0 is that of the instruction. `BUS_MCEERR_AO` and `SEGV_MTEAERR` are told at any.
#[test]
fn what_the_system_tells_late_is_passed_on() {
    if is_alone("what_the_system_tells_late_is_passed_on") {
        assert_eq!([run(libc::SIGBUS, 5), run(libc::SIGSEGV, 8)], [0, 0]);
    }
}
