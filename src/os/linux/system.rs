//! What the machine and the process have: page sizes, capabilities, limits.

use super::procmap::Want;
use super::{Method, forced, kept, sys};
use crate::capabilities::{Abilities, HugePages, Limits, Overcommit, QueryMethod, TransparentHugePages};
use crate::error::Failure;
use crate::page::{PageSize, PageSizes};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::str::from_utf8;
use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::mm::{self, Advice};
use rustix::process::{self, Resource};

const HUGE: &CStr = c"/sys/kernel/mm/hugepages";
const TRANSPARENT: &CStr = c"/sys/kernel/mm/transparent_hugepage";

/// The least power of two that `madvise` takes as the address of an empty range, which it otherwise leaves alone (madvise(2):
/// `EINVAL` if the address is not page-aligned).
///
/// The auxiliary vector tells as well, but only libc has it without opening a file, and a query must work, and must not
/// panic, without libc, `/proc` and free descriptors.
pub(crate) fn page_size() -> usize {
    for log2 in 12..=18 {
        let size = 1_usize << log2;
        // SAFETY: a range of no bytes: nothing is advised about (madvise(2)).
        let taken = unsafe { mm::madvise(core::ptr::without_provenance_mut(size), 0, Advice::Normal) };
        // Refused for another reason: by a sandbox that lets nobody use `madvise`. Then the most common size has to do.
        if taken != Err(Errno::INVAL) {
            return if taken.is_ok() { size } else { 4096 };
        }
    }
    4096
}

pub(crate) fn granularity() -> usize {
    page_size()
}

pub(crate) fn huge_page_sizes() -> Option<PageSizes> {
    sizes_in(HUGE)
}

pub(crate) fn transparent_page_sizes() -> Option<PageSizes> {
    let listed = sizes_in(TRANSPARENT)?;
    if !listed.is_empty() {
        return Some(listed);
    }
    // Before Linux 6.8 there is one size, that of a page of the second level.
    let mut buffer = [0; 32];
    let size =
        sys::read_small(c"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", &mut buffer).and_then(number);
    Some(size.map_or(listed, |bytes| listed.with_bytes(bytes)))
}

/// The sizes named by the folders `hugepages-<n>kB` in a folder. `None` where it cannot be read for now, as when there is no
/// free descriptor. Does not allocate.
fn sizes_in(folder: &CStr) -> Option<PageSizes> {
    let mut sizes = PageSizes::EMPTY;
    match each_size(folder, |bytes| sizes = sizes.with_bytes(bytes)) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => Some(sizes),
        Err(_) => None,
    }
}

fn each_size(folder: &CStr, mut each: impl FnMut(u64)) -> rustix::io::Result<()> {
    let opened = sys::open(folder)?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(opened, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let kilobytes =
            name.strip_prefix(b"hugepages-").and_then(|rest| rest.strip_suffix(b"kB")).and_then(number);
        if let Some(bytes) = kilobytes.and_then(|kilobytes| kilobytes.checked_mul(1024)) {
            each(bytes);
        }
    }
    Ok(())
}

/// A decimal number with blanks around it.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

pub(crate) fn capabilities() -> Abilities {
    // Whether anything is mapped at this address does not matter, only whether there is an answer.
    let answer = kept::ask(0, Want::Covering, kept::Verify::Sampled, None);
    let mut buffer = [0; 64];
    let transparent = sys::read_small(c"/sys/kernel/mm/transparent_hugepage/enabled", &mut buffer)
        .and_then(|text| from_utf8(text).ok())
        .and_then(|text| {
            // The choice in force is bracketed: `always [madvise] never`.
            let chosen = text.split_once('[')?.1.split_once(']')?.0;
            match chosen {
                "always" => Some(TransparentHugePages::Always),
                "madvise" => Some(TransparentHugePages::Advised),
                "never" => Some(TransparentHugePages::Never),
                _ => None,
            }
        });
    let unavailable = matches!(answer, kept::Answer::Unavailable) || forced() == Some(Method::Text);
    Abilities {
        query_method: if unavailable { QueryMethod::Text } else { QueryMethod::Ioctl },
        other_processes: sys::open(c"/proc/self/maps").is_ok(),
        usage: sys::open(c"/proc/self/smaps").is_ok(),
        maximum_protection: false,
        transparent_huge_pages: transparent,
        lock_on_fault: can_lock_on_fault(),
        guard_advice: sys::knows_advice(sys::GUARD_INSTALL),
        seal: sys::can_seal(),
        protection_keys: super::keys::available(),
    }
}

/// Tried on no bytes at all. Where nothing may be locked the answer is `EPERM`, but the call is there.
fn can_lock_on_fault() -> bool {
    if sys::admitted(c"mlock2").is_err() {
        return false;
    }
    let start = core::ptr::without_provenance_mut(crate::page::size());
    // SAFETY: locks nothing.
    let tried = unsafe { mm::mlock_with(start, 0, mm::MlockFlags::ONFAULT) };
    matches!(tried, Ok(()) | Err(Errno::PERM))
}

/// The soft `RLIMIT_MEMLOCK`, in bytes.
pub(super) fn lock_limit() -> Option<u64> {
    process::getrlimit(Resource::Memlock).current
}

/// A figure of this process's `status`, in bytes.
pub(super) fn status_figure(key: &[u8]) -> Option<u64> {
    let mut long = alloc::vec![0; 64 << 10];
    kilobytes(sys::read_small(c"/proc/thread-self/status", &mut long)?, key)
}

pub(crate) fn limits() -> Result<Limits, Failure> {
    let mut buffer = [0; 4096];
    let mut limits = Limits {
        max_mappings: sys::read_small(c"/proc/sys/vm/max_map_count", &mut buffer).and_then(number),
        lock_limit: lock_limit(),
        address_space_limit: process::getrlimit(Resource::As).current,
        ..Limits::default()
    };
    limits.overcommit = match sys::read_small(c"/proc/sys/vm/overcommit_memory", &mut buffer).and_then(number)
    {
        Some(0) => Some(Overcommit::Heuristic),
        Some(1) => Some(Overcommit::Always),
        Some(2) => Some(Overcommit::Never),
        _ => None,
    };
    // Long enough for the groups of anybody: their numbers stand before the figures.
    let mut long = alloc::vec![0; 64 << 10];
    let status = sys::read_small(c"/proc/thread-self/status", &mut long);
    if let Some(status) = status {
        limits.locked = kilobytes(status, b"VmLck:");
        limits.address_space = kilobytes(status, b"VmSize:");
    }
    if let Some(meminfo) = sys::read_small(c"/proc/meminfo", &mut buffer) {
        limits.committed = kilobytes(meminfo, b"Committed_AS:");
        limits.commit_limit = kilobytes(meminfo, b"CommitLimit:");
    }
    if let Some(groups) = sys::read_small(c"/proc/self/cgroup", &mut buffer) {
        if let Some((limit, usage)) = tightest(groups, b"/sys/fs/cgroup") {
            (limits.group_memory_limit, limits.group_memory) = (Some(limit), usage);
        }
    }
    let _listed = each_size(HUGE, |bytes| {
        let Some(size) = usize::try_from(bytes).ok().and_then(PageSize::from_bytes) else { return };
        let count = |file: &[u8]| {
            let folder = alloc::format!("/sys/kernel/mm/hugepages/hugepages-{}kB/", bytes / 1024);
            read_number([folder.as_bytes(), file].concat())
        };
        limits.huge_pages.push(HugePages {
            size,
            total: count(b"nr_hugepages").unwrap_or(0),
            free: count(b"free_hugepages").unwrap_or(0),
        });
    });
    limits.huge_pages.sort_unstable_by_key(HugePages::size);
    Ok(limits)
}

fn read_number(path: Vec<u8>) -> Option<u64> {
    let mut buffer = [0; 32];
    number(sys::read_small(&CString::new(path).ok()?, &mut buffer)?)
}

/// The figure after `key` in lines of `Key:   number kB`, in bytes.
fn kilobytes(text: &[u8], key: &[u8]) -> Option<u64> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(key))?;
    number(line.trim_ascii().strip_suffix(b" kB")?)?.checked_mul(1024)
}

/// The tightest memory limit among a control group and those above it, and what the group with that limit uses.
///
/// Version 2 names the group in a line `0::/path`, version 1 in one like `4:memory:/path`. Where the files of that path are
/// not to be seen (a container that mounts its own group as the root) the root is tried.
fn tightest(groups: &[u8], mounted: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut found: Option<(u64, Option<u64>)> = None;
    for line in groups.split(|&byte| byte == b'\n') {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (mount, limit_file, usage_file): (&[u8], &[u8], &[u8]) =
            if number == b"0" && controllers.is_empty() {
                (b"", b"/memory.max", b"/memory.current")
            } else if controllers.split(|&byte| byte == b',').any(|name| name == b"memory") {
                (b"/memory", b"/memory.limit_in_bytes", b"/memory.usage_in_bytes")
            } else {
                continue;
            };
        let mut group = path;
        loop {
            let group_path = group.strip_suffix(b"/").unwrap_or(group);
            // `max` is no number: no limit. Version 1 says it by a number near 2^63.
            let limit = read_number([mounted, mount, group_path, limit_file].concat())
                .filter(|&limit| limit < 1 << 62);
            if let Some(limit) = limit {
                if found.is_none_or(|(tightest, _)| limit < tightest) {
                    let usage = read_number([mounted, mount, group_path, usage_file].concat());
                    found = Some((limit, usage));
                }
            }
            match group_path.iter().rposition(|&byte| byte == b'/') {
                Some(slash) => group = group_path.get(..slash).unwrap_or_default(),
                None => break,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn the_page_size_is_that_of_the_system() {
        // SAFETY: no precondition.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        assert_eq!(libc::c_long::try_from(page_size()), Ok(size));
    }

    /// The tightest limit counts, of whichever group above, in both versions of control groups.
    #[test]
    fn the_tightest_limit_of_the_groups_is_found() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let of = |groups: &str| tightest(groups.as_bytes(), root.path().as_os_str().as_bytes());
        assert_eq!(of("0::/a/b\n"), None);
        put("a/b/memory.max", "max\n");
        put("a/b/memory.current", "7\n");
        put("a/memory.max", "2000\n");
        put("a/memory.current", "1500\n");
        put("memory.max", "3000\n");
        assert_eq!(of("0::/a/b\n"), Some((2000, Some(1500))));
        put("a/b/memory.max", "1000\n");
        assert_eq!(of("0::/a/b\n"), Some((1000, Some(7))));
        assert_eq!(of("0::/not/seen/here\n"), Some((3000, None)));
        assert_eq!(of("0::/\n"), Some((3000, None)));
        put("memory/c/memory.limit_in_bytes", "500\n");
        put("memory/c/memory.usage_in_bytes", "499\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(of("12:cpu,memory:/c\n1:name=systemd:/c\n"), Some((500, Some(499))));
        assert_eq!(of("12:memory:/\n"), None);
        for odd in ["", ":", "::", "0::", "a:b", "0::no/slash"] {
            let _any = of(odd);
        }
    }

    #[test]
    fn figures_are_found_by_their_key() {
        let status = b"Name:\tx\nVmSize:\t    12 kB\nVmLck:\t0 kB\nVmSizeX: 5 kB\n";
        assert_eq!(kilobytes(status, b"VmSize:"), Some(12 * 1024));
        assert_eq!(kilobytes(status, b"VmLck:"), Some(0));
        assert_eq!(kilobytes(status, b"VmPin:"), None);
        assert_eq!(kilobytes(b"VmSize: 99999999999999999999 kB", b"VmSize:"), None);
    }
}
