//! Exceptions of our copies: a vectored handler, in front of those that are there when it is added.

use super::sys;
use crate::access_fault::{FaultKind, Installed};
use crate::error::{ErrorKind, Failure};
use crate::os::copying::{self, Ready};
use core::sync::atomic::{AtomicBool, Ordering};
use windows_sys::Win32::Foundation::{
    EXCEPTION_ACCESS_VIOLATION, EXCEPTION_IN_PAGE_ERROR, STATUS_GUARD_PAGE_VIOLATION,
};
use windows_sys::Win32::System::Diagnostics::Debug::EXCEPTION_POINTERS;

/// What a vectored handler answers: look further; go on with the context as it is now (`<excpt.h>`).
const CONTINUE_SEARCH: i32 = 0;
const CONTINUE_EXECUTION: i32 = -1;

static ADDED: AtomicBool = AtomicBool::new(false);

/// Two threads may add the handler at once: the second one never finds anything to do.
pub(crate) fn install() -> Result<Ready, Failure> {
    if let Some(ready) = copying::ready() {
        return Ok(ready);
    }
    if copying::HANDLED && !ADDED.load(Ordering::Acquire) {
        // SAFETY: `handler` is there for ever, and does what a vectored handler may.
        unsafe { sys::add_vectored_handler(Some(handler)) }.map_err(|code| {
            code.of_kind(ErrorKind::System).detail("the exception handler could not be added")
        })?;
        ADDED.store(true, Ordering::Release);
    }
    Ok(copying::set_ready())
}

/// Whether another was added in front of it cannot be seen.
#[expect(clippy::unnecessary_wraps, reason = "the other systems can fail")]
pub(crate) fn installed() -> Result<Installed, Failure> {
    Ok(if copying::ready().is_some() { Installed::Yes } else { Installed::No })
}

/// # Safety
///
/// The system calls it, with what belongs to an exception.
unsafe extern "system" fn handler(exception: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: what the system calls a vectored handler with (MSDN, PVECTORED_EXCEPTION_HANDLER).
    let exception = unsafe { &*exception };
    // SAFETY: the record of this exception.
    let code = unsafe { (*exception.ExceptionRecord).ExceptionCode };
    let kind = match code {
        // Whether anything is mapped there is asked later.
        EXCEPTION_ACCESS_VIOLATION => FaultKind::Other,
        EXCEPTION_IN_PAGE_ERROR => FaultKind::NoBacking,
        STATUS_GUARD_PAGE_VIOLATION => FaultKind::NotPermitted,
        _ => return CONTINUE_SEARCH,
    };
    // SAFETY: the context of this exception, which a handler may change.
    let context = unsafe { &mut *exception.ContextRecord };
    #[cfg(target_arch = "x86_64")]
    let (place, why) = (&mut context.Rip, &mut context.R11);
    #[cfg(target_arch = "x86")]
    let (place, why) = (&mut context.Eip, &mut context.Edx);
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    return resume(place, why, kind);
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: the registers one by one, or as an array: all are initialized.
        let why = unsafe { &mut context.Anonymous.X[9] };
        resume(&mut context.Pc, why, kind)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
    {
        let (_, _) = (context, kind);
        CONTINUE_SEARCH
    }
}

/// Lets the thread go on behind one of our copies, if it is in one.
fn resume<T>(place: &mut T, why: &mut T, kind: FaultKind) -> i32
where
    T: TryFrom<usize> + Copy,
    usize: TryFrom<T>,
{
    let at = usize::try_from(*place).ok();
    let recovery = at.and_then(copying::recovery).and_then(|recovery| T::try_from(recovery).ok());
    match (recovery, T::try_from(kind.code())) {
        (Some(recovery), Ok(code)) => {
            *place = recovery;
            *why = code;
            CONTINUE_EXECUTION
        }
        _ => CONTINUE_SEARCH,
    }
}
