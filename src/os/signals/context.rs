//! Where a signal's context keeps two registers of the thread: that of the next instruction, and the one in which our copies expect
//! the kind of a fault.

use core::ffi::c_void;

/// The places of the two; both are words of the processor. `None` where the context is not known (and no copy waits for it).
///
/// # Safety
///
/// `context` is the third argument of a signal handler.
pub(super) unsafe fn registers(context: *mut c_void) -> Option<(*mut usize, *mut usize)> {
    if context.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { here::registers(context) }
}

#[allow(unused_macros, reason = "some systems are unlike the others")]
macro_rules! fields {
    ($name:ident: $place:expr, $why:expr) => {
        mod here {
            use core::ffi::c_void;

            /// # Safety
            ///
            /// As outside.
            pub(super) unsafe fn registers(context: *mut c_void) -> Option<(*mut usize, *mut usize)> {
                let $name = context.cast::<libc::ucontext_t>();
                // SAFETY: a field of a context that is there (the caller's promise).
                let place = unsafe { &raw mut $place };
                // SAFETY: as above.
                let why = unsafe { &raw mut $why };
                const { assert!(size_of::<usize>() == size_of::<libc::c_long>()) };
                Some((place.cast(), why.cast()))
            }
        }
    };
}

#[cfg(all(
    target_arch = "x86_64",
    target_pointer_width = "64",
    any(target_os = "linux", target_os = "android")
))]
fields!(c: (*c).uc_mcontext.gregs[16], (*c).uc_mcontext.gregs[3]);
#[cfg(all(target_arch = "x86", any(target_os = "linux", target_os = "android")))]
fields!(c: (*c).uc_mcontext.gregs[14], (*c).uc_mcontext.gregs[9]);
#[cfg(all(
    target_arch = "aarch64",
    target_pointer_width = "64",
    any(target_os = "linux", target_os = "android")
))]
fields!(c: (*c).uc_mcontext.pc, (*c).uc_mcontext.regs[9]);
#[cfg(all(target_arch = "riscv64", target_os = "linux"))]
fields!(c: (*c).uc_mcontext.__gregs[0], (*c).uc_mcontext.__gregs[5]);
#[cfg(all(target_arch = "x86_64", target_os = "freebsd"))]
fields!(c: (*c).uc_mcontext.mc_rip, (*c).uc_mcontext.mc_r11);
#[cfg(all(target_arch = "aarch64", target_os = "freebsd"))]
fields!(c: (*c).uc_mcontext.mc_gpregs.gp_elr, (*c).uc_mcontext.mc_gpregs.gp_x[9]);
#[cfg(all(target_arch = "x86_64", target_os = "netbsd"))]
fields!(c: (*c).uc_mcontext.__gregs[21], (*c).uc_mcontext.__gregs[7]);
#[cfg(all(target_arch = "x86_64", target_os = "openbsd"))]
fields!(c: (*c).sc_rip, (*c).sc_r11);
#[cfg(all(target_arch = "aarch64", target_os = "openbsd"))]
fields!(c: (*c).sc_elr, (*c).sc_x[9]);
#[cfg(all(target_arch = "x86_64", target_os = "illumos"))]
fields!(c: (*c).uc_mcontext.gregs[17], (*c).uc_mcontext.gregs[4]);

/// libc's array ends before the instruction's register (`_REG_ELR` is 32 of `_NGREG`, 35: `<aarch64/mcontext.h>`).
#[cfg(all(target_arch = "aarch64", target_os = "netbsd"))]
mod here {
    use core::ffi::c_void;

    /// # Safety
    ///
    /// As outside.
    pub(super) unsafe fn registers(context: *mut c_void) -> Option<(*mut usize, *mut usize)> {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: a field of a context that is there (the caller's promise).
        let first = unsafe { &raw mut (*context).uc_mcontext.__gregs }.cast::<usize>();
        Some((first.wrapping_add(32), first.wrapping_add(9)))
    }
}

/// The context points to the registers.
#[cfg(all(target_vendor = "apple", target_pointer_width = "64"))]
mod here {
    use core::ffi::c_void;

    /// # Safety
    ///
    /// As outside.
    pub(super) unsafe fn registers(context: *mut c_void) -> Option<(*mut usize, *mut usize)> {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: a field of a context that is there (the caller's promise).
        let registers = unsafe { (*context).uc_mcontext };
        if registers.is_null() {
            return None;
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: what the context points to is there (the kernel's `sendsig`).
        let place = unsafe { &raw mut (*registers).__ss.__rip };
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        let why = unsafe { &raw mut (*registers).__ss.__r11 };
        #[cfg(target_arch = "aarch64")]
        // SAFETY: what the context points to is there (the kernel's `sendsig`).
        let place = unsafe { &raw mut (*registers).__ss.__pc };
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        let why = unsafe { &raw mut (*registers).__ss.__x[9] };
        Some((place.cast(), why.cast()))
    }
}

#[cfg(not(any(
    all(target_vendor = "apple", target_pointer_width = "64"),
    all(
        target_arch = "x86_64",
        any(
            all(target_pointer_width = "64", any(target_os = "linux", target_os = "android")),
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "illumos"
        )
    ),
    all(target_arch = "x86", any(target_os = "linux", target_os = "android")),
    all(
        target_arch = "aarch64",
        any(
            all(target_pointer_width = "64", any(target_os = "linux", target_os = "android")),
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd"
        )
    ),
    all(target_arch = "riscv64", target_os = "linux"),
)))]
mod here {
    use core::ffi::c_void;

    /// # Safety
    ///
    /// None: nothing is done.
    pub(super) unsafe fn registers(_context: *mut c_void) -> Option<(*mut usize, *mut usize)> {
        None
    }
}
