//! What the kernel's few codes meant: found out after a failure, at the cost of some files of `/proc`.

use super::process::Target;
use super::sys;
use super::system::{lock_limit, status_figure};
use super::walk::{Walk, query};
use crate::error::{ErrorKind, Failure};
use crate::protection::Protection;
use crate::range::{PageRange, wide};
use crate::region::Detail;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

/// Whether something in the range is not mapped.
pub(super) fn has_hole(range: PageRange) -> bool {
    let Ok(mut walk) = Walk::new(&Target::CURRENT, range, Detail::Region) else { return false };
    let mut next = range.first();
    while let Ok(Some(region)) = walk.step() {
        if region.base > next {
            return true;
        }
        match region.last().checked_add(1) {
            Some(after) => next = next.max(after),
            None => return false,
        }
    }
    next <= range.last()
}

/// Whether something in the range is mapped.
pub(super) fn has_any(range: PageRange) -> bool {
    Walk::new(&Target::CURRENT, range, Detail::Region)
        .and_then(|mut walk| walk.step())
        .is_ok_and(|region| region.is_some_and(|region| region.base <= range.last()))
}

/// Whether all of the range is part of one mapping.
pub(super) fn is_one_mapping(range: PageRange) -> bool {
    let first = query(&Target::CURRENT, PageRange::containing(range.first()));
    matches!(first, Ok(Some(region)) if region.last() >= range.last())
}

/// From the first to the last page in the range that is mapped.
pub(super) fn mapped_in(range: PageRange) -> Option<PageRange> {
    let mut walk = Walk::new(&Target::CURRENT, range, Detail::Region).ok()?;
    let mut ends = None;
    while let Ok(Some(region)) = walk.step() {
        let (first, last) = ends.unwrap_or((region.base, region.last()));
        ends = Some((first.min(region.base), last.max(region.last())));
    }
    let (first, last) = ends?;
    PageRange::between(first.max(range.first()), last.min(range.last()))
}

/// Whether the range ends above what the kernel gives to processes: above everything that is mapped, the stack included, that
/// is, and the answer to a wish for memory there is the same as that to one for too much.
pub(super) fn above_all(range: PageRange) -> bool {
    let Some(rest) = PageRange::between(range.first(), PageRange::containing(usize::MAX).last()) else {
        return false;
    };
    let Ok(mut walk) = Walk::new(&Target::CURRENT, rest, Detail::Region) else { return false };
    loop {
        match walk.step() {
            // The one page above the kernel's own lower end.
            Ok(Some(region)) if Some(region.base) == super::VSYSCALL => {}
            Ok(None) => return true,
            _ => return false,
        }
    }
}

/// `ENOMEM` where one mapping more was needed, or memory of the kernel's own.
#[cold]
pub(super) fn too_many_mappings(errno: Errno) -> Failure {
    let failure = Failure::system(ErrorKind::Exhausted, errno.raw_os_error());
    let mut buffer = [0; 32];
    let most = sys::read_small(c"/proc/sys/vm/max_map_count", &mut buffer).and_then(super::system::number);
    let (Some(most), Some(now)) = (most, mappings()) else { return failure };
    // A split takes up to two.
    if now.saturating_add(2) < most {
        return failure;
    }
    failure
        .detail("the process has as many mappings as it may have")
        .remedy("raise vm.max_map_count, or change fewer, larger ranges")
        .limit(most, Some(now), "mappings")
}

pub(super) fn mappings() -> Option<u64> {
    let mut walk =
        Walk::new(&Target::CURRENT, PageRange::touching(0, usize::MAX).ok()?, Detail::Region).ok()?;
    let mut count = 0_u64;
    let mut next = 0;
    while let Some(region) = walk.step().ok()? {
        // A walk may begin again on the way.
        if region.base >= next {
            count = count.saturating_add(1);
            next = region.last();
        }
    }
    Some(count)
}

/// Adds to a refusal what a program can do that may not execute what it has written.
pub(super) fn executable(failure: Failure, protection: Protection) -> Failure {
    if failure.kind() != ErrorKind::NotPermitted || !protection.contains(Protection::EXECUTE) {
        return failure;
    }
    failure
        .detail("a policy forbids this program to execute what it has written, or the memory is sealed or mapped for less")
        .remedy(
            "see which policy it is: SELinux (allow the program execmem), PaX (paxctl -m), systemd (MemoryDenyWriteExecute=), or \
             PR_SET_MDWE, which nothing takes back",
        )
}

/// Why `mmap` of so many bytes failed.
#[cold]
pub(super) fn not_mapped(errno: Errno, len: usize) -> Failure {
    match errno {
        Errno::NOMEM => {}
        Errno::ACCESS | Errno::PERM => {
            return Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
                .detail("a security module or sandbox forbids memory of this kind");
        }
        Errno::AGAIN => return no_more_locks(errno),
        _ => return Failure::system(ErrorKind::System, errno.raw_os_error()),
    }
    let len = wide(len);
    let failure = Failure::system(ErrorKind::Exhausted, errno.raw_os_error());
    if let (Some(limit), Some(used)) = (getrlimit(Resource::As).current, status_figure(b"VmSize:")) {
        if used.saturating_add(len) > limit {
            return failure
                .detail("the process may not use so much address space")
                .remedy("raise RLIMIT_AS (ulimit -v)")
                .limit(limit, Some(used), "bytes");
        }
    }
    if let (Some(limit), Some(used)) = (getrlimit(Resource::Data).current, status_figure(b"VmData:")) {
        if used.saturating_add(len) > limit {
            return failure
                .detail("the process may not have so much memory of its own")
                .remedy("raise RLIMIT_DATA (ulimit -d)")
                .limit(limit, Some(used), "bytes");
        }
    }
    let at_count = too_many_mappings(errno);
    if at_count.has_remedy() {
        return at_count;
    }
    failure.detail("neither memory nor address space for so much").remedy(
        "ask for less, or, where the system counts what it promises, see Limits::commit_limit and vm.overcommit_memory",
    )
}

/// When pages are read in that are locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    Now,
    OnFault,
}

/// Why `mlock` failed.
#[cold]
pub(super) fn not_locked(range: PageRange, errno: Errno, reading: Reading) -> Failure {
    match errno {
        Errno::NOMEM | Errno::INVAL if has_hole(range) => {
            Failure::system(ErrorKind::Unmapped, errno.raw_os_error())
        }
        Errno::NOMEM | Errno::PERM => {
            let beyond = lock_limit().is_some_and(|limit| {
                wide(range.len()) > limit.saturating_sub(status_figure(b"VmLck:").unwrap_or(0))
            });
            // Who may lock beyond the limit may do so in the system's first user namespace alone, which cannot be asked about:
            // then it is what remains when nothing else is found.
            if beyond && (errno == Errno::PERM || !has_lock_capability()) {
                return no_more_locks(errno);
            }
            if errno == Errno::PERM {
                return Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
                    .detail("a sandbox forbids the call");
            }
            if reading == Reading::Now && unreadable(range) {
                return Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
                    .detail("pages that grant no access cannot be read in")
                    .remedy("lock them on fault, or let them be readable");
            }
            let failure = too_many_mappings(errno);
            if failure.has_remedy() {
                return failure;
            }
            if beyond {
                return no_more_locks(errno);
            }
            match reading {
                Reading::Now => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
                    .detail(
                        "some page cannot be read in: a guard page, one beyond the end of its file, or one whose protection key \
                         is closed here",
                    )
                    .remedy("lock around it, or on fault"),
                Reading::OnFault => failure,
            }
        }
        Errno::AGAIN => Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
            .detail("some of the pages could not be read in"),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    }
}

fn has_lock_capability() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

fn unreadable(range: PageRange) -> bool {
    let Ok(mut walk) = Walk::new(&Target::CURRENT, range, Detail::Region) else { return false };
    while let Ok(Some(region)) = walk.step() {
        if region.protection().is_empty() {
            return true;
        }
    }
    false
}

fn no_more_locks(errno: Errno) -> Failure {
    let failure = Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
        .detail("the process may not lock so much memory")
        .remedy("raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=), or give the program CAP_IPC_LOCK");
    match lock_limit() {
        Some(limit) => failure.limit(limit, status_figure(b"VmLck:"), "bytes"),
        None => failure,
    }
}
