//! Making visible what was written to be executed.

use crate::error::Failure;
use crate::os::icache::begin;
use core::ptr::NonNull;

/// Lets this thread execute what was written to the bytes. On Intel's processors nothing has to be done.
///
/// # Safety
///
/// The bytes are mapped and, where [`flush_reads`](crate::os::flush_reads), can be read.
pub(crate) unsafe fn flush_instructions(bytes: NonNull<[u8]>) -> Result<(), Failure> {
    begin()?;
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    {
        unsafe extern "C" {
            /// `<libkern/OSCacheControl.h>`, since macOS 10.5.
            fn sys_icache_invalidate(start: *mut core::ffi::c_void, len: usize);
        }
        // SAFETY: the caller's promise; the bytes stay as they are (sys_icache_invalidate(3)).
        unsafe { sys_icache_invalidate(bytes.as_ptr().cast(), bytes.len()) };
    }
    let _ = bytes;
    Ok(())
}
