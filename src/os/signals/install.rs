//! Installing the handler, once, and seeing whether it is there.

use super::chain::{self, Action};
use super::errno::Errno;
use super::{SIGNALS, context, is_late, kind, of_fault};
use crate::access_fault::{Installed, Stop};
use crate::error::{ErrorKind, Failure};
use crate::os::copying::{self, Ready};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};

/// The process whose thread is installing, or 0. (The child of a `fork` at that moment has no such thread.)
static INSTALLING: AtomicI32 = AtomicI32::new(0);

/// Lets faults in our copies end in errors from now on. Nothing is done the second time.
pub(crate) fn install() -> Result<Ready, Failure> {
    if let Some(ready) = copying::ready() {
        return Ok(ready);
    }
    if !copying::HANDLED {
        if let Some(failure) = copying::try_out().err().and_then(Stop::refusal) {
            return Err(failure);
        }
        return Ok(copying::set_ready());
    }
    // A handler that ran in the midst of it and copied would wait for the thread that it interrupts.
    let held_back = HeldBack::all()?;
    // SAFETY: no precondition (getpid(2)).
    let this = unsafe { libc::getpid() };
    while let Err(other) = INSTALLING.compare_exchange(0, this, Ordering::Acquire, Ordering::Acquire) {
        let dead = other != this;
        if dead && INSTALLING.compare_exchange(other, this, Ordering::Acquire, Ordering::Acquire).is_ok() {
            break;
        }
        crate::os::yield_now();
    }
    let done = install_for_both().map(|()| copying::set_ready());
    INSTALLING.store(0, Ordering::Release);
    drop(held_back);
    done.map_err(|errno| errno.system(ErrorKind::System).detail("the signal handler could not be installed"))
}

/// Where the handler is.
#[expect(clippy::as_conversions, reason = "a function's address has no other form")]
fn ours() -> usize {
    (handler as *const ()).expose_provenance()
}

/// Both, or none.
fn install_for_both() -> Result<(), Errno> {
    let [first, second] = SIGNALS;
    let found = install_for(first)?;
    install_for(second).map(drop).inspect_err(|_| {
        if let Some(found) = &found {
            take_back(first, found);
        }
    })
}

/// Puts back what was there before ours, if ours still is. (Somebody who comes now would find ours, and would call it; when it is
/// installed anew in front of him, the two would call each other for ever.) If not even that can be done, ours stays and passes all on.
fn take_back(signal: c_int, found: &Action) {
    if current(signal).is_ok_and(|now| now.sa_sigaction == ours()) {
        let _replaced = set(signal, found);
    }
}

/// Whom ours is in front of now, or `None` if it was there already.
fn install_for(signal: c_int) -> Result<Option<Action>, Errno> {
    let found = current(signal)?;
    // By a parent that was forked in the midst of it.
    if found.sa_sigaction == ours() {
        return Ok(None);
    }
    // Before ours can run, it is known what to pass signals on to.
    chain::set_former(signal, &found);
    let new = chain::in_front_of(&found, ours());
    let replaced = set(signal, &new)?;
    if !chain::same(&replaced, &found) && replaced.sa_sigaction != ours() {
        // Somebody installed another in between.
        chain::set_former(signal, &replaced);
        if let Err(errno) = set(signal, &chain::in_front_of(&replaced, ours())) {
            take_back(signal, &replaced);
            return Err(errno);
        }
        return Ok(Some(replaced));
    }
    Ok(Some(found))
}

fn current(signal: c_int) -> Result<Action, Errno> {
    Errno::injected("sigaction")?;
    let mut found = MaybeUninit::<Action>::uninit();
    // SAFETY: the place is writable; nothing is changed (sigaction(2)).
    let answer = unsafe { libc::sigaction(signal, ptr::null(), found.as_mut_ptr()) };
    if answer != 0 {
        return Err(Errno::last());
    }
    // SAFETY: filled in by the call, which succeeded.
    Ok(unsafe { found.assume_init() })
}

fn set(signal: c_int, new: &Action) -> Result<Action, Errno> {
    Errno::injected("sigaction")?;
    let mut found = MaybeUninit::<Action>::uninit();
    // SAFETY: the handler is `handler`, which may run at any time, and does nothing that a handler must not, or one that was there
    // before (sigaction(2)).
    let answer = unsafe { libc::sigaction(signal, new, found.as_mut_ptr()) };
    if answer != 0 {
        return Err(Errno::last());
    }
    // SAFETY: filled in by the call, which succeeded.
    Ok(unsafe { found.assume_init() })
}

/// Who catches faults now.
pub(crate) fn installed() -> Result<Installed, Failure> {
    if copying::ready().is_none() {
        return Ok(Installed::No);
    }
    if !copying::HANDLED {
        return Ok(Installed::Yes);
    }
    for signal in SIGNALS {
        let found = current(signal).map_err(|errno| errno.system(ErrorKind::System))?;
        if found.sa_sigaction != ours() {
            return Ok(Installed::Covered);
        }
    }
    Ok(Installed::Yes)
}

/// Holds all signals of this thread back until it is dropped.
struct HeldBack {
    before: libc::sigset_t,
}

impl HeldBack {
    fn all() -> Result<Self, Failure> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the place is writable (sigfillset(3)).
        let _filled = unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: a set filled in just now, and a writable place; a fault meanwhile ends the process, as any would (pthread_sigmask(3)).
        let code = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) };
        if code != 0 {
            return Err(Errno(code).system(ErrorKind::System));
        }
        // SAFETY: filled in by the call, which succeeded.
        Ok(Self { before: unsafe { before.assume_init() } })
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // SAFETY: the set that the thread had before (pthread_sigmask(3)).
        let _code =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// The handler of both signals.
///
/// # Safety
///
/// The system calls it, with what belongs to a signal.
unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what the system calls a handler with (sigaction(2), SA_SIGINFO).
    let code = unsafe { code(info) };
    let is_prompt = of_fault(code).is_some() && !is_late(signal, code);
    // SAFETY: the context of this call.
    if is_prompt && unsafe { recover(signal, code, context) } {
        return;
    }
    // SAFETY: as the system gave them.
    unsafe { chain::pass_on(signal, code, info, context) }
}

/// # Safety
///
/// As the system called the handler with.
unsafe fn code(info: *const libc::siginfo_t) -> c_int {
    if info.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise, and not null.
    let info = unsafe { &*info };
    #[cfg(target_os = "netbsd")]
    // SAFETY: every signal has a code.
    return unsafe { info.si_code() };
    #[cfg(not(target_os = "netbsd"))]
    info.si_code
}

/// Lets the thread go on behind one of our copies; `false` if it was not in one.
///
/// # Safety
///
/// The context is that of a fault.
unsafe fn recover(signal: c_int, code: c_int, context: *mut c_void) -> bool {
    // SAFETY: the caller's promise.
    let Some((place, why)) = (unsafe { context::registers(context) }) else { return false };
    // SAFETY: a word of the context, as is the other.
    let at = unsafe { place.read() };
    let Some(recovery) = copying::recovery(at) else { return false };
    // SAFETY: as above; the thread goes on where the copy expects it to.
    unsafe { place.write(recovery) };
    // SAFETY: as above; of this register the copy makes no use but for this.
    unsafe { why.write(kind(signal, code).code()) };
    true
}
