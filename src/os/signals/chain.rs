//! Passing on what is not ours, as if we were not there.

use super::SIGNALS;
use core::ffi::{c_int, c_void};
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

pub(super) type Action = libc::sigaction;

/// What of the flags is his own matter, of whom we take it over: whether he can be interrupted by the same signal, on what stack he
/// runs, whether calls are interrupted, and how much of an address he is told (Linux: `SA_EXPOSE_TAGBITS`).
const TAKEN_OVER: c_int = libc::SA_NODEFER
    | libc::SA_ONSTACK
    | libc::SA_RESTART
    | if cfg!(any(target_os = "linux", target_os = "android")) { 0x800 } else { 0 };

/// Whom a signal is passed on to. There are two slots, since another may come to light when ours is installed already; what a handler
/// that runs reads of the first is not changed then.
pub(super) struct Former {
    slots: [Slot; 2],
    /// The slot that counts, from 1 on, or 0.
    current: AtomicUsize,
    /// It has run, and was to run once (`SA_RESETHAND`).
    spent: AtomicBool,
}

/// What is needed of an [`Action`] to do as the system would.
struct Slot {
    handler: AtomicUsize,
    flags: AtomicI32,
}

impl Slot {
    const fn new() -> Self {
        Self { handler: AtomicUsize::new(libc::SIG_DFL), flags: AtomicI32::new(0) }
    }
}

impl Former {
    pub(super) const fn new() -> Self {
        Self {
            slots: [const { Slot::new() }; 2],
            current: AtomicUsize::new(0),
            spent: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, handler: usize, flags: c_int) {
        let [first, second] = &self.slots;
        let (slot, number) = if self.current.load(Ordering::Relaxed) == 1 { (second, 2) } else { (first, 1) };
        slot.handler.store(handler, Ordering::Relaxed);
        slot.flags.store(flags, Ordering::Relaxed);
        self.spent.store(false, Ordering::Relaxed);
        self.current.store(number, Ordering::Release);
    }

    /// The handler and its flags, for a signal that has come: a handler that is to run once is given once.
    pub(super) fn take(&self) -> (usize, c_int) {
        let [first, second] = &self.slots;
        let slot = match self.current.load(Ordering::Acquire) {
            0 => return (libc::SIG_DFL, 0),
            1 => first,
            _ => second,
        };
        let (handler, flags) = (slot.handler.load(Ordering::Relaxed), slot.flags.load(Ordering::Relaxed));
        let once = is_handler(handler) && flags & libc::SA_RESETHAND != 0;
        if once && self.spent.swap(true, Ordering::Relaxed) { (libc::SIG_DFL, 0) } else { (handler, flags) }
    }
}

/// Of each of [`SIGNALS`].
static FORMER: [Former; 2] = [const { Former::new() }; 2];

fn former(signal: c_int) -> &'static Former {
    let [first, second] = &FORMER;
    if signal == SIGNALS[0] { first } else { second }
}

/// Notes whom a signal is passed on to. Called by the one thread that installs.
pub(super) fn set_former(signal: c_int, action: &Action) {
    former(signal).set(action.sa_sigaction, action.sa_flags);
}

/// What to install in front of an action.
pub(super) fn in_front_of(action: &Action, handler: usize) -> Action {
    let mut new = *action;
    new.sa_sigaction = handler;
    new.sa_flags = libc::SA_SIGINFO
        | if is_handler(action.sa_sigaction) {
            action.sa_flags & TAKEN_OVER
        } else {
            libc::SA_ONSTACK | libc::SA_RESTART
        };
    if !is_handler(action.sa_sigaction) {
        // SAFETY: the place is writable (sigemptyset(3)).
        let _emptied = unsafe { libc::sigemptyset(&raw mut new.sa_mask) };
    }
    new
}

fn is_handler(action: usize) -> bool {
    action != libc::SIG_DFL && action != libc::SIG_IGN
}

pub(super) fn same(one: &Action, other: &Action) -> bool {
    one.sa_sigaction == other.sa_sigaction && one.sa_flags == other.sa_flags
}

/// Passes a signal on.
///
/// # Safety
///
/// In a handler, with what the system called it with.
pub(super) unsafe fn pass_on(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let (handler, flags) = former(signal).take();
    let fault = super::of_fault(code).is_some();
    match handler {
        // A fault cannot be ignored: the system takes the default action for it.
        libc::SIG_IGN if !fault => {}
        libc::SIG_IGN | libc::SIG_DFL => end(signal, fault && !super::is_late(signal, code)),
        handler if flags & libc::SA_SIGINFO != 0 => {
            type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            let handler = ptr::with_exposed_provenance::<()>(handler);
            // SAFETY: somebody gave it to sigaction(2) as a handler of this type.
            let handler = unsafe { mem::transmute::<*const (), Handler>(handler) };
            // SAFETY: what the system would call it with.
            unsafe { handler(signal, info, context) }
        }
        handler => {
            type Handler = unsafe extern "C" fn(c_int);
            let handler = ptr::with_exposed_provenance::<()>(handler);
            // SAFETY: somebody gave it to sigaction(2) as a handler of this type.
            let handler = unsafe { mem::transmute::<*const (), Handler>(handler) };
            // SAFETY: what the system would call it with.
            unsafe { handler(signal) }
        }
    }
}

/// Lets the signal end the process, with its own number and its core.
fn end(signal: c_int, comes_again: bool) {
    let mut default = MaybeUninit::<Action>::zeroed();
    let place = default.as_mut_ptr();
    // SAFETY: a field of a value that is there.
    let handler = unsafe { &raw mut (*place).sa_sigaction };
    // SAFETY: as above.
    unsafe { handler.write(libc::SIG_DFL) };
    // SAFETY: all zeroes but for the handler: no flags, no mask; the default action runs no code of the process (sigaction(2)).
    let _set = unsafe { libc::sigaction(signal, place, ptr::null_mut()) };
    // A fault comes again by itself when the handler returns, with all its circumstances.
    if !comes_again {
        // SAFETY: no precondition; it waits until the handler returns (pthread_self(3)).
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: a thread that lives (pthread_kill(3)).
        let _sent = unsafe { libc::pthread_kill(thread, signal) };
    }
}
