//! Memory that each thread may either write or execute: `MAP_JIT` on Apple's own processors.

/// Whether this processor distinguishes it: `pthread_jit_write_protect_supported_np`, which on Intel's answers 0. There are these
/// functions on macOS alone (`<pthread.h>`: not for iOS).
pub(crate) fn jit_by_thread() -> bool {
    #[cfg(all(target_os = "macos", target_arch = "aarch64"))]
    // SAFETY: answers a question (pthread_jit_write_protect_np(3), macOS 11).
    return unsafe { libc::pthread_jit_write_protect_supported_np() } != 0;
    #[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
    false
}

/// Lets this thread write to all such memory, and execute none of it; or the reverse, as it is at first.
pub(crate) fn let_thread_write_jit(write: bool) {
    #[cfg(all(target_os = "macos", target_arch = "aarch64"))]
    // SAFETY: the callers write to their own memory only, and execute none of it meanwhile (pthread_jit_write_protect_np(3)).
    unsafe {
        libc::pthread_jit_write_protect_np(libc::c_int::from(!write))
    };
    let _ = write;
}
