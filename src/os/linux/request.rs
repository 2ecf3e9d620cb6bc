//! Mappings with more said about them than length, place and protection.

use super::change::{FIXED_NOREPLACE, flags, not_mapped_at, only_there, pointer};
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Content, File, FileFacts, Place, Request};
use crate::protection::Protection;
use crate::range::{PageRange, index};
use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MsyncFlags};

/// Nothing has to live as long as a mapping: the kernel holds on to the file itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached;

impl Attached {
    pub(crate) const NOTHING: Self = Self;

    /// Whether it has to be kept.
    #[expect(clippy::unused_self, reason = "on Windows it depends")]
    pub(crate) const fn is_needed(&self) -> bool {
        false
    }
}

fn descriptor(file: File<'_>) -> BorrowedFd<'_> {
    // SAFETY: open for as long as the value lives, which somebody borrows from its owner (`file_of`).
    unsafe { BorrowedFd::borrow_raw(file.number()) }
}

/// A mapping as it is asked for.
///
/// # Safety
///
/// With [`Place::Over`], nobody uses what is there.
pub(crate) unsafe fn map_with(request: &Request<'_>) -> Result<(NonNull<u8>, Attached), Failure> {
    let (place, how) = match request.place {
        Place::Anywhere => (0, MapFlags::empty()),
        Place::Hint(place) => (place, MapFlags::empty()),
        Place::At(place) => (place, FIXED_NOREPLACE),
        Place::Over(place) => (place, MapFlags::FIXED),
    };
    // SAFETY: the caller's promise.
    let mapped = match unsafe { mmap(request, place, how) } {
        Ok(mapped) => mapped,
        Err(errno) => return Err(not_mapped(request, errno)),
    };
    let base = match (request.place, request.range_at(place)) {
        // SAFETY: just mapped, and nobody was told.
        (Place::At(_), Some(range)) => unsafe { only_there(mapped, range) }?,
        // The lowest page is never given without being asked for.
        _ => NonNull::new(mapped.cast()).ok_or_else(|| Failure::new(ErrorKind::System))?,
    };
    let Some(node) = request.node else { return Ok((base, Attached)) };
    let Some(range) = request.range_at(base.as_ptr().expose_provenance()) else {
        return Err(Failure::new(ErrorKind::System));
    };
    if let Err(failure) = prefer_node(range, node) {
        // SAFETY: just mapped, and nobody was told.
        let _unmapped = unsafe { mm::munmap(pointer(range), range.len()) };
        return Err(match request.place {
            Place::Over(_) => failure.changed(range),
            _ => failure,
        });
    }
    if request.populate {
        read_in(range, request.protection);
    }
    Ok((base, Attached))
}

/// # Safety
///
/// As [`map_with`]; `how` is of its place.
unsafe fn mmap(request: &Request<'_>, place: usize, how: MapFlags) -> Result<*mut c_void, Errno> {
    sys::injected("mmap")?;
    let mut how = how;
    how.set(MapFlags::NORESERVE, request.no_reserve);
    how.set(MapFlags::STACK, request.stack);
    // What memory it will be is said after the mapping is made.
    how.set(MapFlags::POPULATE, request.populate && request.node.is_none());
    let place = ptr::without_provenance_mut(place);
    let (len, rights) = (request.len.bytes(), flags(request.protection));
    match request.content {
        Content::Zeroes => {
            if let Some(size) = request.huge {
                /// `MAP_HUGE_SHIFT`: the size as a power of two stands in the six bits from there on.
                const SHIFT: u32 = 26;
                how |= MapFlags::HUGETLB
                    | MapFlags::from_bits_retain(size.log2().checked_shl(SHIFT).unwrap_or_default());
            }
            // SAFETY: replaces nothing, or what the caller promises (mmap(2)).
            unsafe { mm::mmap_anonymous(place, len, rights, how | MapFlags::PRIVATE) }
        }
        Content::File { file, offset, shared, .. } => {
            let how = how | if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
            // SAFETY: as above; what the file does to the pages is the matter of whoever makes a mapping of them.
            unsafe { mm::mmap(place, len, rights, how, descriptor(file), offset) }
        }
    }
}

#[cold]
fn not_mapped(request: &Request<'_>, errno: Errno) -> Failure {
    let system = |kind| Failure::system(kind, errno.raw_os_error());
    let at = match request.place {
        Place::At(first) | Place::Over(first) => request.range_at(first),
        Place::Anywhere | Place::Hint(_) => None,
    };
    if let (Place::At(_), Some(range)) = (request.place, at) {
        // Only what the place is to blame for.
        let taken = errno == Errno::EXIST || (errno == Errno::NOMEM && why::has_any(range));
        if taken || (matches!(errno, Errno::INVAL | Errno::NOMEM) && why::above_all(range)) {
            return not_mapped_at(range, errno, request.len.bytes());
        }
    }
    let failure = match (request.content, errno) {
        (Content::File { shared, .. }, _) => not_mapped_file(request, errno, shared),
        (Content::Zeroes, Errno::NOMEM) if request.huge.is_some() => system(ErrorKind::Exhausted)
            .detail("there are not so many free huge pages of this size, or the process may not have them")
            .remedy(
                "reserve some, as root, in /sys/kernel/mm/hugepages/hugepages-*kB/nr_hugepages (vm.nr_hugepages), or let other \
                 pages do where these are not to be had (MmapOptions::largest_pages)",
            ),
        (Content::Zeroes, Errno::INVAL | Errno::OPNOTSUPP | Errno::NODEV) if request.huge.is_some() => {
            system(ErrorKind::Unsupported)
                .detail("the kernel has no huge pages of this size")
                .remedy("page::huge_sizes tells which there are")
        }
        (Content::Zeroes, Errno::ACCESS) => {
            why::executable(why::not_mapped(errno, request.len.bytes()), request.protection)
        }
        (Content::Zeroes, _) => match at {
            Some(range) => not_mapped_at(range, errno, request.len.bytes()),
            None => why::not_mapped(errno, request.len.bytes()),
        },
    };
    match (request.place, at) {
        // Some kernels unmap first what is to be replaced.
        (Place::Over(_), Some(range)) if why::has_hole(range) => failure.changed(range),
        _ => failure,
    }
}

fn not_mapped_file(request: &Request<'_>, errno: Errno, shared: bool) -> Failure {
    let system = |kind| Failure::system(kind, errno.raw_os_error());
    let writes = shared && request.protection.contains(Protection::WRITE);
    match errno {
        Errno::ACCESS if writes => system(ErrorKind::NotPermitted)
            .detail("the file was not opened for reading and writing, or for appending only")
            .remedy("open it with OpenOptions::new().read(true).write(true), or map it for reading, or a copy of it (MmapOptions::map_copy)"),
        Errno::ACCESS => system(ErrorKind::NotPermitted)
            .detail("the file was not opened for reading")
            .remedy("open it with OpenOptions::new().read(true), and for writing to it with write(true) as well"),
        Errno::BADF => system(ErrorKind::NotPermitted)
            .detail("the file was opened as a path only (O_PATH)")
            .remedy("open it for reading"),
        Errno::PERM => system(ErrorKind::NotPermitted)
            .detail("the file is sealed against it, lies where nothing may be executed, or a sandbox forbids it")
            .remedy("before Linux 6.7, what is sealed against writing is shared by a descriptor that was opened for reading only"),
        Errno::NODEV => system(ErrorKind::Unsupported)
            .detail("its file system, or the device, has no mappings of it (or none of this kind)")
            .remedy("read it into memory instead"),
        Errno::TXTBSY => system(ErrorKind::NotPermitted).detail("the file is being executed or swapped to"),
        Errno::NOMEM if request.huge.is_some() => system(ErrorKind::Exhausted)
            .detail("there are not so many free huge pages of this size")
            .remedy("reserve some, as root, in /sys/kernel/mm/hugepages/hugepages-*kB/nr_hugepages"),
        Errno::OVERFLOW | Errno::INVAL => {
            system(ErrorKind::InvalidInput).detail("the file has no such offset, or cannot be mapped in this way")
        }
        errno => why::not_mapped(errno, request.len.bytes()),
    }
}

/// `HUGETLBFS_MAGIC` of `<linux/magic.h>`.
const HUGETLBFS: u64 = 0x9584_58f6;

/// What there is to know of a file before it is mapped: one call, and another one where the file's blocks are larger than pages,
/// as huge pages are.
pub(crate) fn file_facts(file: File<'_>) -> Result<FileFacts, Failure> {
    let failed = |errno: Errno| Failure::system(ErrorKind::System, errno.raw_os_error());
    let status = sys::status(descriptor(file)).map_err(failed)?;
    let page = crate::page::size();
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {}
        FileType::CharacterDevice | FileType::BlockDevice => {
            return Ok(FileFacts { len: None, page, copies: true });
        }
        _ => return Err(unmappable()),
    }
    let len = u64::try_from(status.st_size).ok();
    #[allow(clippy::useless_conversion, reason = "its type is another one on each processor")]
    let block = usize::try_from(status.st_blksize).unwrap_or(0);
    if block <= page || !block.is_power_of_two() {
        return Ok(FileFacts { len, page, copies: true });
    }
    let system = sys::file_system(descriptor(file)).map_err(failed)?;
    Ok(FileFacts { len, page: if system == HUGETLBFS { block } else { page }, copies: true })
}

fn unmappable() -> Failure {
    Failure::invalid("only regular files and devices can be mapped: not folders, pipes, sockets")
}

/// Writes what was written to the pages to their file: when this returns, or (`MS_ASYNC`, which has started nothing since Linux
/// 2.6.19) when the kernel writes back what has changed of files anyway.
pub(crate) fn flush(range: PageRange, wait: bool, _attached: &Attached) -> Result<(), Failure> {
    let how = if wait { MsyncFlags::SYNC } else { MsyncFlags::ASYNC };
    let done = sys::injected("msync").and_then(|()| {
        // SAFETY: changes neither what pages hold nor what they grant (msync(2)).
        unsafe { mm::msync(pointer(range), range.len(), how) }
    });
    done.map_err(|errno| match errno {
        Errno::NOMEM => Failure::system(ErrorKind::Unmapped, errno.raw_os_error()),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    })
}

/// Huge pages where the kernel can: `MADV_HUGEPAGE`. False where it has none.
pub(crate) fn prefer_huge(range: PageRange) -> Result<bool, Failure> {
    const HUGEPAGE: i32 = 14;
    // SAFETY: what the pages hold and grant stays the same (madvise(2)).
    match unsafe { sys::advise(range, HUGEPAGE) } {
        Ok(()) => Ok(true),
        // A kernel without them, or memory that cannot have them.
        Err(Errno::INVAL) => Ok(false),
        Err(Errno::NOMEM) => Err(why::too_many_mappings(Errno::NOMEM)),
        Err(errno) => Err(Failure::system(ErrorKind::System, errno.raw_os_error())),
    }
}

/// Reads the pages in, as far as that goes: `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`, Linux 5.14.
pub(crate) fn read_in(range: PageRange, protection: Protection) {
    const POPULATE_READ: i32 = 22;
    const POPULATE_WRITE: i32 = 23;
    let advice = if protection.contains(Protection::WRITE) { POPULATE_WRITE } else { POPULATE_READ };
    if !protection.is_empty() {
        // SAFETY: what the pages hold and grant stays the same (madvise(2)).
        let _populated = unsafe { sys::advise(range, advice) };
    }
}

/// `PR_SET_VMA_ANON_NAME`: Linux 5.17, if it was built with it.
pub(crate) fn name(range: PageRange, name: &CStr) {
    let _named = sys::name(range, name);
}

/// One `munmap` takes whatever is in its range.
pub(crate) const fn unmaps_together() -> bool {
    true
}

/// Lets the pages have memory of a NUMA node, as long as it has some.
fn prefer_node(range: PageRange, node: u32) -> Result<(), Failure> {
    match sys::prefer_node(range, index(node)) {
        // A kernel without NUMA has the one node.
        Ok(()) => Ok(()),
        Err(Errno::NOSYS) if node == 0 => Ok(()),
        Err(errno @ Errno::NOSYS) => Err(Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
            .detail("the kernel knows one NUMA node only")),
        Err(errno @ Errno::INVAL) => Err(Failure::system(ErrorKind::InvalidInput, errno.raw_os_error())
            .detail("there is no such NUMA node, or none with memory that this process may have")
            .remedy("/sys/devices/system/node/has_memory tells which there are")),
        Err(errno @ Errno::PERM) => Err(Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("a sandbox forbids the call (mbind)")
            .remedy("containers admit it to programs with CAP_SYS_NICE")),
        Err(errno @ Errno::NOMEM) => Err(why::too_many_mappings(errno)),
        Err(errno) => Err(Failure::system(ErrorKind::System, errno.raw_os_error())),
    }
}
