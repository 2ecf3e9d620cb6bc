//! What the systems' few codes meant: found out after a failure.

use super::errno::Errno;
use super::sys;
use crate::error::{ErrorKind, Failure};
use crate::os::{Target, Walk};
use crate::protection::Protection;
use crate::range::{PageRange, wide};
use crate::region::Detail;

pub(super) const CAN_SEAL: bool = cfg!(target_os = "openbsd");

/// Where writing and executing at once is refused, how a program gets leave.
const TOGETHER: &str = if cfg!(target_vendor = "apple") {
    "grant the two one after the other, or sign the program with the entitlement com.apple.security.cs.allow-jit and ask for \
     both when the memory is allocated"
} else if cfg!(target_os = "freebsd") {
    "grant the two one after the other, or mark the program (elfctl -e +wxneeded), or set kern.elf64.allow_wx"
} else if cfg!(target_os = "netbsd") {
    "grant the two one after the other, or lift PaX MPROTECT for the program (paxctl +m)"
} else if cfg!(target_os = "openbsd") {
    "grant the two one after the other, or link the program with -z wxneeded and put it on a file system mounted with wxallowed"
} else {
    "grant the two one after the other"
};

/// How a program gets leave to execute what it has written.
const ALONE: &str = if cfg!(target_vendor = "apple") {
    "sign the program with the entitlement com.apple.security.cs.allow-jit and make the mapping with MmapOptions::jit, or with \
     com.apple.security.cs.allow-unsigned-executable-memory; iOS and its kin grant it to debugged programs and browsers alone"
} else if cfg!(target_os = "netbsd") {
    "lift PaX MPROTECT for the program (paxctl +m)"
} else if cfg!(target_os = "openbsd") {
    "link the program with -z wxneeded and put it on a file system mounted with wxallowed"
} else {
    "see which policy of the system forbids it"
};

/// A protection that is not to be had.
pub(crate) fn not_granted(failure: Failure, protection: Protection) -> Failure {
    if protection.contains(Protection::WRITE_EXECUTE) {
        failure
            .detail("the system does not grant this program writing and executing at once")
            .remedy(TOGETHER)
    } else if protection.contains(Protection::EXECUTE) {
        failure
            .detail(
                "the system does not let this program execute what it has written, or the memory is mapped for less",
            )
            .remedy(ALONE)
    } else {
        failure
    }
}

/// Why `mmap` of so many bytes failed.
#[cold]
pub(super) fn not_mapped(errno: Errno, len: usize, protection: Protection) -> Failure {
    match errno {
        Errno(libc::EACCES | libc::EPERM | libc::ENOTSUP) => {
            not_granted(errno.system(ErrorKind::NotPermitted), protection)
        }
        // Of what is asked here, only the protection and the length can be to blame: PaX and Apple's kernel say it so.
        Errno(libc::EINVAL) if protection.contains(Protection::EXECUTE) => {
            not_granted(errno.system(ErrorKind::NotPermitted), protection)
        }
        Errno(libc::ENOMEM | libc::EAGAIN | libc::EINVAL) => no_room(errno, len),
        errno => errno.system(ErrorKind::System),
    }
}

/// Which limit it was.
fn no_room(errno: Errno, len: usize) -> Failure {
    let failure = errno.system(ErrorKind::Exhausted);
    let len = wide(len);
    if cfg!(target_os = "openbsd") {
        // (What is in use only the list of mappings tells, for which the kernel ends a program under pledge(2).)
        return match data_limit() {
            Some(limit) if len > limit => failure
                .detail("the process may not have so much memory of its own")
                .remedy("raise RLIMIT_DATA (ulimit -d, login.conf(5))")
                .limit(limit, None, "bytes"),
            _ => failure
                .detail("neither memory nor address space for so much, or a limit")
                .remedy("ask for less, or raise RLIMIT_DATA (ulimit -d, login.conf(5))"),
        };
    }
    if let Some(limit) = crate::os::limits().ok().and_then(|limits| limits.address_space_limit) {
        let used = mapped();
        if used.saturating_add(len) > limit {
            return failure
                .detail("the process may not use so much address space")
                .remedy("raise RLIMIT_AS (ulimit -v)")
                .limit(limit, Some(used), "bytes");
        }
    }
    failure
        .detail("neither memory nor address space for so much")
        .remedy("ask for less, or give the system more memory or swap space")
}

#[cfg(target_os = "openbsd")]
fn data_limit() -> Option<u64> {
    crate::os::listed::sys::limit(libc::RLIMIT_DATA)
}

#[cfg(not(target_os = "openbsd"))]
fn data_limit() -> Option<u64> {
    None
}

/// How much address space is in use.
fn mapped() -> u64 {
    sum(Detail::Region, |walk, len| {
        let _ = walk;
        len
    })
}

fn sum(detail: Detail, of: impl Fn(&Walk, u64) -> u64) -> u64 {
    let walk = PageRange::touching(0, usize::MAX).and_then(|all| Walk::new(&Target::CURRENT, all, detail));
    let Ok(mut walk) = walk else { return 0 };
    let mut sum = 0_u64;
    while let Ok(Some(region)) = walk.step() {
        sum = sum.saturating_add(of(&walk, wide(region.len())));
    }
    sum
}

/// Why `mprotect` failed, in a range without holes.
pub(super) fn not_protected(errno: Errno, protection: Protection) -> Failure {
    match errno {
        Errno(libc::EPERM) if CAN_SEAL => super::change::sealed(errno),
        Errno(libc::EACCES | libc::EPERM | libc::ENOTSUP | libc::EINVAL) => {
            let failure = errno.system(ErrorKind::NotPermitted);
            if protection.contains(Protection::EXECUTE) {
                return not_granted(failure, protection);
            }
            failure.detail("a mapping of a file that was opened without this right, or more than the pages may be given at most")
        }
        Errno(libc::ENOMEM | libc::EAGAIN) => errno
            .system(ErrorKind::Exhausted)
            .detail("neither memory nor swap space for what the pages would need then"),
        errno => errno.system(ErrorKind::System),
    }
}

/// Why `mlock` failed.
#[cold]
pub(super) fn not_locked(range: PageRange, errno: Errno) -> Failure {
    match errno {
        Errno(libc::EPERM) => not_privileged(errno),
        Errno(libc::ENOMEM | libc::EINVAL | libc::EFAULT | libc::EAGAIN | libc::EACCES) => {
            if !sys::is_whole(range) {
                return errno.system(ErrorKind::Unmapped);
            }
            let limit = crate::os::limits().ok().and_then(|limits| limits.lock_limit);
            let used = locked();
            if let Some(limit) =
                limit.filter(|&limit| wide(range.len()) > limit.saturating_sub(used.unwrap_or(0)))
            {
                return no_more_locks(errno).limit(limit, used, "bytes");
            }
            if is_unreadable(range) {
                return errno
                    .system(ErrorKind::NotPermitted)
                    .detail("pages that grant no access cannot be read in")
                    .remedy("let them be readable before they are locked");
            }
            no_more_locks(errno)
        }
        errno => errno.system(ErrorKind::System),
    }
}

fn no_more_locks(errno: Errno) -> Failure {
    let failure = errno.system(ErrorKind::Exhausted);
    if cfg!(target_os = "illumos") {
        return failure
            .detail("the process may not lock so much memory, or there is not so much")
            .remedy("raise project.max-locked-memory or zone.max-locked-memory (resource-controls(7))");
    }
    failure
        .detail("the process may not lock so much memory, in bytes, or the system not so much for all")
        .remedy("raise RLIMIT_MEMLOCK (ulimit -l)")
}

/// What the process has locked, where the system counts that in what it tells of a mapping.
fn locked() -> Option<u64> {
    crate::os::capabilities()
        .usage
        .then(|| sum(Detail::Usage, |walk, _| walk.usage().and_then(|usage| usage.locked()).unwrap_or(0)))
}

fn is_unreadable(range: PageRange) -> bool {
    let Ok(mut walk) = Walk::new(&Target::CURRENT, range, Detail::Region) else { return false };
    while let Ok(Some(region)) = walk.step() {
        if region.base > range.last() {
            break;
        }
        if region.last() >= range.first() && region.protection().is_empty() {
            return true;
        }
    }
    false
}

fn not_privileged(errno: Errno) -> Failure {
    errno.system(ErrorKind::NotPermitted).detail("this program may not lock memory").remedy(
        if cfg!(target_os = "illumos") {
            "give the program the privilege proc_lock_memory (privileges(7))"
        } else {
            "run as root, or let everybody lock (FreeBSD: security.bsd.unprivileged_mlock)"
        },
    )
}

/// Why `munlock` failed.
#[cold]
pub(super) fn not_unlocked(errno: Errno) -> Failure {
    match errno {
        Errno(libc::EPERM) => not_privileged(errno),
        errno => errno.system(ErrorKind::System),
    }
}
