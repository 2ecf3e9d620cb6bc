//! Making visible what was written to be executed.

use crate::error::Failure;
use crate::os::icache::begin;
use core::ptr::NonNull;

/// Lets this process execute what was written to the bytes. On x86 nothing has to be done.
///
/// # Safety
///
/// The bytes are mapped and, where [`flush_reads`](crate::os::flush_reads), can be read.
pub(crate) unsafe fn flush_instructions(bytes: NonNull<[u8]>) -> Result<(), Failure> {
    begin()?;
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    {
        use super::sys::Code;
        use windows_sys::Win32::System::Diagnostics::Debug::FlushInstructionCache;
        use windows_sys::Win32::System::Threading::GetCurrentProcess;
        // SAFETY: a pseudo handle, which needs no closing (MSDN, GetCurrentProcess).
        let this = unsafe { GetCurrentProcess() };
        // SAFETY: bytes of this process, which stay as they are (MSDN, FlushInstructionCache).
        let done = unsafe { FlushInstructionCache(this, bytes.as_ptr().cast_const().cast(), bytes.len()) };
        if done == 0 {
            return Err(Code::last().failure());
        }
    }
    let _ = bytes;
    Ok(())
}
