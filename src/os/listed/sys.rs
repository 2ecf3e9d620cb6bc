//! Calls and codes that all of them have.

use crate::capabilities::Limits;
use crate::error::Failure;
use crate::page::PageSizes;
use core::ffi::c_int;

pub(crate) use crate::os::unix::errno::Errno;

/// `sysconf(_SC_PAGESIZE)`, which does not fail.
pub(crate) fn page_size() -> usize {
    // SAFETY: takes a number, answers with one (sysconf(3)).
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

pub(crate) fn granularity() -> usize {
    page_size()
}

/// The page sizes of a kind that the system does not have.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn no_page_sizes() -> Option<PageSizes> {
    Some(PageSizes::EMPTY)
}

pub(crate) fn own_pid() -> c_int {
    // SAFETY: no precondition, cannot fail (getpid(2)).
    unsafe { libc::getpid() }
}

pub(crate) fn process_id() -> u32 {
    // A process's identifier is positive.
    own_pid().unsigned_abs()
}

/// The name of a backing as the system's string: any bytes are.
#[cfg(feature = "std")]
pub(crate) fn os_str(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}

/// The soft limit; `None` when there is none.
#[allow(clippy::useless_conversion, reason = "the type of limits differs between the systems")]
pub(crate) fn limit(resource: c_int) -> Option<u64> {
    Errno::injected("getrlimit").ok()?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable (getrlimit(2)).
    let done = unsafe { libc::getrlimit(resource, &raw mut limit) };
    if done != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
        return None;
    }
    u64::try_from(limit.rlim_cur).ok()
}

/// The limits that all of them tell of: those of `getrlimit`.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) fn limits(lock: Option<c_int>, address_space: Option<c_int>) -> Result<Limits, Failure> {
    Ok(Limits {
        lock_limit: lock.and_then(limit),
        address_space_limit: address_space.and_then(limit),
        ..Limits::default()
    })
}

/// The sizes that `getpagesizes` gives: the ordinary page's, and those above it.
#[cfg(any(target_os = "freebsd", target_os = "illumos"))]
pub(crate) fn larger_page_sizes() -> PageSizes {
    let mut sizes = [0_usize; 16];
    if Errno::injected("getpagesizes").is_err() {
        return PageSizes::EMPTY;
    }
    // SAFETY: `sizes` is writable for 16 elements (getpagesizes(3)).
    let count = unsafe { libc::getpagesizes(sizes.as_mut_ptr(), 16) };
    let base = page_size();
    let given = usize::try_from(count).ok().and_then(|count| sizes.get(..count)).unwrap_or_default();
    given
        .iter()
        .filter(|&&size| size > base)
        .fold(PageSizes::EMPTY, |all, &size| all.with_bytes(crate::range::wide(size)))
}
