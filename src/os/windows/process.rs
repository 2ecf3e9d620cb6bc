//! A process, held on to by a handle, and names as the system writes them.

use super::sys::{Handle, Of};
use crate::error::{ErrorKind, Failure};
use alloc::vec::Vec;
use windows_sys::Win32::System::Threading::GetCurrentProcessId;

/// This process, or another. A handle keeps the process's identifier from being given to another.
pub(crate) struct Target(Option<Other>);

struct Other {
    pid: u32,
    handle: Handle,
}

impl Target {
    /// Whichever process asks.
    pub(crate) const CURRENT: Self = Self(None);

    pub(crate) fn open(pid: u32) -> Result<Self, Failure> {
        if pid == 0 {
            return Err(Failure::new(ErrorKind::NoSuchProcess)
                .detail("0 is the idle process, which has no memory; Process::current is this one"));
        }
        let handle = Handle::open(pid)?;
        if handle.has_ended() {
            return Err(Failure::new(ErrorKind::ProcessEnded));
        }
        Ok(Self(Some(Other { pid, handle })))
    }

    /// The identifier; `None` for [`CURRENT`](Self::CURRENT).
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.0.as_ref()?.pid)
    }

    pub(super) fn handle(&self) -> Of<'_> {
        Some(&self.0.as_ref()?.handle)
    }
}

pub(crate) fn process_id() -> u32 {
    // SAFETY: no precondition (MSDN, GetCurrentProcessId).
    unsafe { GetCurrentProcessId() }
}

/// A name in UTF-16 as the bytes that a backing keeps.
#[cfg(feature = "std")]
pub(super) fn name_bytes(wide: &[u16]) -> Vec<u8> {
    <std::ffi::OsString as std::os::windows::ffi::OsStringExt>::from_wide(wide).into_encoded_bytes()
}

/// A name in UTF-16 as WTF-8: UTF-8, in which an unpaired surrogate is written as its three bytes.
#[cfg(not(feature = "std"))]
pub(super) fn name_bytes(wide: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(wide.len());
    for decoded in char::decode_utf16(wide.iter().copied()) {
        match decoded {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(unpaired) => {
                let [high, low] = unpaired.unpaired_surrogate().to_be_bytes();
                bytes.extend_from_slice(&[
                    0xe0 | high >> 4,
                    0x80 | (high & 0x0f) << 2 | low >> 6,
                    0x80 | (low & 0x3f),
                ]);
            }
        }
    }
    bytes
}

/// The name of a backing as the system's string.
#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    // SAFETY: names of backings are made by `name_bytes` alone, from `OsString::into_encoded_bytes` of this very standard
    // library (the invariant of `Backing::name`), and are handed on whole.
    unsafe { std::ffi::OsStr::from_encoded_bytes_unchecked(name) }
}
