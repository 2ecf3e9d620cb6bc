//! A code of `errno`, read directly after the call that left it.

use crate::error::{ErrorKind, Failure};
use crate::os::inject;
use core::ffi::c_int;

/// A code of `errno`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Errno(pub(crate) c_int);

impl Errno {
    pub(crate) fn last() -> Self {
        #[cfg(target_os = "illumos")]
        use libc::___errno as location;
        #[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "android"))]
        use libc::__errno as location;
        #[cfg(target_os = "linux")]
        use libc::__errno_location as location;
        #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
        use libc::__error as location;
        // SAFETY: no precondition; gives the place of this thread's `errno` (`<errno.h>`).
        let place = unsafe { location() };
        // SAFETY: that place is valid as long as the thread is, and nobody else writes to it.
        Self(unsafe { *place })
    }

    pub(crate) fn injected(call: &'static str) -> Result<(), Self> {
        match inject::point(call) {
            Some(code) => Err(Self(code)),
            None => Ok(()),
        }
    }

    pub(crate) const fn system(self, kind: ErrorKind) -> Failure {
        Failure::system(kind, self.0)
    }
}
