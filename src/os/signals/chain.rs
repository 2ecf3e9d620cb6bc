//! Passing on what is not ours, as if we were not there.

use super::SIGNALS;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

pub(super) type Action = libc::sigaction;

/// What of the flags is his own matter, of whom we take it over: whether he can be interrupted by the same signal, on what stack he
/// runs, whether calls are interrupted, and how much of an address he is told (Linux: `SA_EXPOSE_TAGBITS`).
const TAKEN_OVER: c_int = libc::SA_NODEFER
    | libc::SA_ONSTACK
    | libc::SA_RESTART
    | if cfg!(any(target_os = "linux", target_os = "android")) { 0x800 } else { 0 };

/// Whom a signal is passed on to. There are two, since another may come to light when ours is installed already.
struct Former {
    slots: [UnsafeCell<MaybeUninit<Action>>; 2],
    /// The one that counts: once told, it is never changed.
    current: AtomicPtr<Action>,
    /// It has run, and was to run once (`SA_RESETHAND`).
    spent: AtomicBool,
}

// SAFETY: the slots are written by the thread that installs, one at a time, before others are told of them by `current`.
unsafe impl Sync for Former {}

impl Former {
    const fn new() -> Self {
        Self {
            slots: [UnsafeCell::new(MaybeUninit::uninit()), UnsafeCell::new(MaybeUninit::uninit())],
            current: AtomicPtr::new(ptr::null_mut()),
            spent: AtomicBool::new(false),
        }
    }
}

/// Of each of [`SIGNALS`].
static FORMER: [Former; 2] = [const { Former::new() }; 2];

fn former(signal: c_int) -> &'static Former {
    let [first, second] = &FORMER;
    if signal == SIGNALS[0] { first } else { second }
}

/// Notes whom a signal is passed on to. Called by the one thread that installs: at most twice before all is done, and again from the
/// first slot when that failed, and no handler of ours was in place.
pub(super) fn set_former(signal: c_int, action: Action) {
    let former = former(signal);
    let [first, second] = &former.slots;
    let slot =
        if ptr::eq(former.current.load(Ordering::Relaxed), first.get().cast()) { second } else { first };
    // SAFETY: nobody was told of this slot, or it was before a failed attempt; a single thread is here.
    unsafe { slot.get().write(MaybeUninit::new(action)) };
    former.current.store(slot.get().cast(), Ordering::Release);
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
    let former = former(signal);
    // SAFETY: null, or a slot that was written and does not change any more.
    let action = unsafe { former.current.load(Ordering::Acquire).as_ref() };
    let (mut handler, flags) =
        action.map_or((libc::SIG_DFL, 0), |action| (action.sa_sigaction, action.sa_flags));
    let once = is_handler(handler) && flags & libc::SA_RESETHAND != 0;
    if once && former.spent.swap(true, Ordering::Relaxed) {
        handler = libc::SIG_DFL;
    }
    let fault = super::of_fault(code).is_some();
    match handler {
        // A fault cannot be ignored: the system takes the default action for it.
        libc::SIG_IGN if !fault => {}
        libc::SIG_IGN | libc::SIG_DFL => end(signal, fault && !is_late(signal, code)),
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

/// Linux' word about memory that broke, and that the thread has not touched: `BUS_MCEERR_AO`.
fn is_late(signal: c_int, code: c_int) -> bool {
    cfg!(any(target_os = "linux", target_os = "android")) && signal == libc::SIGBUS && code == 5
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
