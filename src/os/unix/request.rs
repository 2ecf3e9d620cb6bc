//! Mappings with more said about them than length, place and protection; files.

use super::change::{at_if_free, at_wish, given};
use super::errno::Errno;
use super::{place, sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Content, File, FileFacts, Place, Request};
use crate::protection::Protection;
use crate::range::PageRange;
use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

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

/// The flags in which the systems differ, each 0 where there is none.
///
/// FreeBSD's `MAP_STACK` is no stack of one's own: the mapping grows downward as it is touched, and its lowest pages never come.
#[cfg(target_os = "openbsd")]
mod flag {
    pub(super) const NO_RESERVE: i32 = 0;
    pub(super) const STACK: i32 = libc::MAP_STACK;
    pub(super) const NO_DUMP: i32 = libc::MAP_CONCEAL;
    pub(super) const JIT: i32 = 0;
}
#[cfg(target_os = "netbsd")]
mod flag {
    pub(super) const NO_RESERVE: i32 = libc::MAP_NORESERVE;
    pub(super) const STACK: i32 = libc::MAP_STACK;
    pub(super) const NO_DUMP: i32 = 0;
    pub(super) const JIT: i32 = 0;
}
#[cfg(target_os = "freebsd")]
mod flag {
    pub(super) const NO_RESERVE: i32 = 0;
    pub(super) const STACK: i32 = 0;
    pub(super) const NO_DUMP: i32 = 0;
    pub(super) const JIT: i32 = 0;
}
#[cfg(target_vendor = "apple")]
mod flag {
    pub(super) const NO_RESERVE: i32 = libc::MAP_NORESERVE;
    pub(super) const STACK: i32 = 0;
    pub(super) const NO_DUMP: i32 = 0;
    pub(super) const JIT: i32 = libc::MAP_JIT;
}
#[cfg(any(target_os = "illumos", target_os = "linux", target_os = "android"))]
mod flag {
    pub(super) const NO_RESERVE: i32 = libc::MAP_NORESERVE;
    pub(super) const STACK: i32 = 0;
    pub(super) const NO_DUMP: i32 = 0;
    pub(super) const JIT: i32 = 0;
}

/// The one size of pages that a mapping can ask for: that of XNU's superpages, where the processor has them.
const SUPERPAGE: usize = 2 << 20;

/// What stands in the place of a descriptor for them: `VM_FLAGS_SUPERPAGE_SIZE_2MB` (`mach/vm_statistics.h`; mmap(2)).
const SUPERPAGES: c_int =
    if cfg!(all(target_vendor = "apple", target_arch = "x86_64")) { 2 << 16 } else { sys::NO_FILE };

/// A mapping as it is asked for.
///
/// # Safety
///
/// With [`Place::Over`], nobody uses what is there.
pub(crate) unsafe fn map_with(request: &Request<'_>) -> Result<(NonNull<u8>, Attached), Failure> {
    if request.huge.is_some_and(|size| size.bytes().get() != SUPERPAGE || SUPERPAGES == sys::NO_FILE) {
        return Err(Failure::new(ErrorKind::Unsupported)
            .detail("this system gives no mapping pages of a size that it asks for")
            .remedy("ask for transparent huge pages, which are a hint"));
    }
    if request.node.is_some_and(|node| node != 0) {
        return Err(
            Failure::new(ErrorKind::Unsupported).detail("this system lets no mapping choose its NUMA node")
        );
    }
    if flag::STACK != 0 && cfg!(target_os = "openbsd") && request.stack && !is_stack(request) {
        return Err(Failure::invalid("OpenBSD's stacks are private memory that can be read and written"));
    }
    let refused = |errno| not_mapped(request, errno);
    let mapped = match request.place {
        // SAFETY: at a place of the system's choice.
        Place::Anywhere => given(unsafe { mmap(request, 0, 0) }.map_err(refused)?)?,
        // SAFETY: a wish replaces nothing (mmap(2)).
        Place::Hint(wish) => match unsafe { mmap(request, wish, sys::WISH) } {
            Ok(mapped) => given(mapped)?,
            // Where wishes out of reach are errors.
            // SAFETY: at a place of the system's choice.
            Err(_) => given(unsafe { mmap(request, 0, 0) }.map_err(refused)?)?,
        },
        Place::At(first) => {
            let range = request.range_at(first).ok_or_else(place::too_high)?;
            // SAFETY: the two functions give flags with which nothing is replaced.
            let map = |how| unsafe { mmap(request, first, how) };
            if sys::IF_FREE.is_some() {
                at_if_free(range, &map, &refused)?
            } else {
                at_wish(range, &map, &refused)?
            }
        }
        Place::Over(first) => {
            let range = request.range_at(first).ok_or_else(place::too_high)?;
            // SAFETY: the caller's promise.
            match unsafe { mmap(request, first, libc::MAP_FIXED) } {
                Ok(mapped) => given(mapped)?,
                // Some unmap the old pages first.
                Err(errno) if sys::is_whole(range) => return Err(refused(errno)),
                Err(errno) => return Err(refused(errno).changed(range)),
            }
        }
    };
    if request.populate {
        if let Some(range) = request.range_at(mapped.as_ptr().expose_provenance()) {
            read_in(range, request.protection);
        }
    }
    Ok((mapped, Attached))
}

fn is_stack(request: &Request<'_>) -> bool {
    matches!(request.content, Content::Zeroes) && request.protection == Protection::READ_WRITE
}

/// # Safety
///
/// As [`map_with`]; `how` is of its place.
unsafe fn mmap(request: &Request<'_>, place: usize, how: c_int) -> Result<*mut c_void, Errno> {
    let mut how = how;
    for (wanted, flag) in [
        (request.no_reserve, flag::NO_RESERVE),
        (request.stack, flag::STACK),
        (request.no_dump, flag::NO_DUMP),
        (request.jit, flag::JIT),
    ] {
        if wanted {
            how |= flag;
        }
    }
    match request.content {
        Content::Zeroes => {
            let of = if request.huge.is_some() { SUPERPAGES } else { sys::NO_FILE };
            // SAFETY: the caller's promise.
            unsafe { sys::mmap_of(place, request.len, request.protection, how, of) }
        }
        Content::File { file, offset, shared, .. } => {
            let how = how | if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            // SAFETY: the caller's promise; what the file does to the pages is the matter of whoever makes a mapping of them.
            unsafe { sys::mmap_file(place, request.len, request.protection, how, file, offset) }
        }
    }
}

#[cold]
fn not_mapped(request: &Request<'_>, errno: Errno) -> Failure {
    if request.jit && flag::JIT != 0 && errno == Errno(libc::EINVAL) {
        // (XNU's `mmap`, in `bsd/kern/kern_mman.c`.)
        return errno.system(ErrorKind::InvalidInput).detail(
            "memory for code that is written while it can be executed has no file, and replaces nothing",
        );
    }
    let Content::File { shared, .. } = request.content else {
        return why::not_mapped(errno, request.len.bytes(), request.protection);
    };
    let writes = shared && request.protection.contains(Protection::WRITE);
    match errno {
        Errno(libc::EACCES) if writes => errno
            .system(ErrorKind::NotPermitted)
            .detail("the file was not opened for reading and writing, or for appending only")
            .remedy("open it with OpenOptions::new().read(true).write(true), or map it for reading, or a copy of it (MmapOptions::map_copy)"),
        Errno(libc::EACCES) => errno
            .system(ErrorKind::NotPermitted)
            .detail("the file was not opened for reading")
            .remedy("open it with OpenOptions::new().read(true), and for writing to it with write(true) as well"),
        Errno(libc::EPERM) => errno
            .system(ErrorKind::NotPermitted)
            .detail("the file, or its file system, does not permit such a mapping"),
        Errno(libc::ENODEV | libc::ENOTSUP) => errno
            .system(ErrorKind::Unsupported)
            .detail("its file system, or the device, has no mappings of it (or none of this kind)")
            .remedy("read it into memory instead"),
        Errno(libc::EINVAL | libc::ENXIO | libc::EOVERFLOW) => errno
            .system(ErrorKind::InvalidInput)
            .detail("the file has no such offset, or cannot be mapped in this way"),
        errno => why::not_mapped(errno, request.len.bytes(), request.protection),
    }
}

/// NetBSD (`vn_mmap`) and OpenBSD (`sys_mmap`) take `MAP_PRIVATE` for `MAP_SHARED` where the file is a character device. The others
/// refuse it, or copy.
const COPIES_DEVICES: bool = !cfg!(any(target_os = "netbsd", target_os = "openbsd"));

/// What there is to know of a file before it is mapped: one call.
pub(crate) fn file_facts(file: File<'_>) -> Result<FileFacts, Failure> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    let asked = Errno::injected("fstat").and_then(|()| {
        // SAFETY: the descriptor is open for as long as the value lives, and `status` is writable (fstat(2)).
        let done = unsafe { libc::fstat(file.number(), status.as_mut_ptr()) };
        if done == 0 { Ok(()) } else { Err(Errno::last()) }
    });
    asked.map_err(|errno| errno.system(ErrorKind::System))?;
    // SAFETY: the call succeeded, and has filled it in.
    let status = unsafe { status.assume_init() };
    let page = crate::page::size();
    match status.st_mode & libc::S_IFMT {
        libc::S_IFREG => Ok(FileFacts { len: u64::try_from(status.st_size).ok(), page, copies: true }),
        libc::S_IFCHR | libc::S_IFBLK => Ok(FileFacts { len: None, page, copies: COPIES_DEVICES }),
        _ => {
            Err(Failure::invalid("only regular files and devices can be mapped: not folders, pipes, sockets"))
        }
    }
}

/// Writes what was written to the pages to their file.
pub(crate) fn flush(range: PageRange, wait: bool, _attached: &Attached) -> Result<(), Failure> {
    let how = if wait { libc::MS_SYNC } else { libc::MS_ASYNC };
    sys::msync(range, how).map_err(|errno| match errno {
        Errno(libc::ENOMEM) => errno.system(ErrorKind::Unmapped),
        errno => errno.system(ErrorKind::System),
    })
}

/// There is no such hint: FreeBSD makes superpages of whatever is aligned to them, without being asked.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) const fn no_huge(_range: PageRange) -> Result<bool, Failure> {
    Ok(false)
}

/// Reads the pages of files in: a hint.
pub(crate) fn read_in(range: PageRange, protection: Protection) {
    if !protection.is_empty() {
        let _advised = sys::will_need(range);
    }
}

/// Memory has no names.
pub(crate) const fn no_name(_range: PageRange, _name: &CStr) {}

/// One `munmap` takes whatever is in its range.
pub(crate) const fn unmaps_together() -> bool {
    true
}

#[cfg(all(test, feature = "std", any(target_os = "linux", target_os = "android")))]
mod tests;
