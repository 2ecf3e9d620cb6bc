//! The same memory at two places: one for who writes code, one for who executes it.

use super::change::{pointer, unmap};
use super::request::map_with;
use super::{sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Content, File, Place, Request, Twice};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;
use rustix::fd::AsRawFd;
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

#[cfg(test)]
mod tests;

/// Zeroed memory, which is there once it is touched: readable and executable at the place, readable and writable where the system
/// likes.
///
/// By a file in memory: security modules let a program execute one that may not execute what is anonymous. Where there is to be none
/// (`vm.memfd_noexec`, no descriptor left, a sandbox), by shared anonymous memory, of which the kernel makes a second mapping.
///
/// Where the kernel promises no more than it has (`vm.overcommit_memory` 2), such a file is promised nothing, and who touches it may be ended
/// (SIGBUS): there, the other way, by which all is promised at once.
pub(crate) fn map_twice(len: PageLen, place: Place) -> Result<Twice, Failure> {
    if promises_no_more_than_it_has() {
        return by_copy(len, place, MapFlags::empty());
    }
    match by_file(len, place) {
        // It would be the same.
        Err(failure) if !matches!(failure.kind(), ErrorKind::Occupied | ErrorKind::Exhausted) => {
            by_copy(len, place, MapFlags::NORESERVE).map_err(|_| failure)
        }
        done => done,
    }
}

fn by_file(len: PageLen, place: Place) -> Result<Twice, Failure> {
    let file = sys::executable_file(c"folio: code", len.bytes())
        .map_err(|errno| why::executable(why::not_mapped(errno, len.bytes()), Protection::READ_EXECUTE))?;
    let view = |protection, place| {
        let content = Content::File {
            file: File::numbered(file.as_raw_fd()),
            offset: 0,
            bytes: len.bytes(),
            shared: true,
        };
        let request = Request { place, content, ..Request::new(len, protection) };
        // SAFETY: `Place::Over` is nobody's wish.
        unsafe { map_with(&request) }.map(|(base, _)| base)
    };
    let code = view(Protection::READ_EXECUTE, place)
        .map_err(|failure| why::executable(failure, Protection::READ_EXECUTE))?;
    match view(Protection::READ_WRITE, Place::Anywhere) {
        Ok(data) => Ok(Twice { code, data }),
        Err(failure) => {
            // SAFETY: just mapped, and nobody was told.
            unsafe { forget(code, len) };
            Err(failure)
        }
    }
}

fn promises_no_more_than_it_has() -> bool {
    let mut buffer = [0; 16];
    sys::read_small(c"/proc/sys/vm/overcommit_memory", &mut buffer)
        .is_some_and(|mode| mode.trim_ascii() == b"2")
}

/// `promised`: no flags, or `MAP_NORESERVE`.
fn by_copy(len: PageLen, place: Place, promised: MapFlags) -> Result<Twice, Failure> {
    let (there, how) = match place {
        Place::Anywhere => (0, MapFlags::empty()),
        Place::At(first) => (first, super::change::FIXED_NOREPLACE),
        Place::Hint(_) | Place::Over(_) => return Err(Failure::new(ErrorKind::Unsupported)),
    };
    let failed = |errno| why::executable(why::not_mapped(errno, len.bytes()), Protection::READ_EXECUTE);
    let mapped = sys::injected("mmap").and_then(|()| {
        let how = how | MapFlags::SHARED | promised;
        let rights = ProtFlags::READ | ProtFlags::EXEC;
        // SAFETY: replaces nothing (mmap(2)).
        unsafe { mm::mmap_anonymous(core::ptr::without_provenance_mut(there), len.bytes(), rights, how) }
    });
    let mapped = mapped.map_err(failed)?;
    let code = match PageRange::starting_at(there, len) {
        // SAFETY: just mapped, and nobody was told.
        Some(range) if there != 0 => unsafe { super::change::only_there(mapped, range) }?,
        _ => NonNull::new(mapped.cast()).ok_or_else(|| Failure::new(ErrorKind::System))?,
    };
    let data = twin(code, len).map_err(failed);
    if data.is_err() {
        // SAFETY: as above.
        unsafe { forget(code, len) };
    }
    data.map(|data| Twice { code, data })
}

/// A second mapping of shared memory, that can be written and not executed.
fn twin(code: NonNull<u8>, len: PageLen) -> Result<NonNull<u8>, Errno> {
    let range = PageRange::starting_at(code.addr().get(), len).ok_or(Errno::INVAL)?;
    // SAFETY: nothing becomes of the mapping itself: of a length of 0, the kernel makes another one of the same pages (mremap(2)).
    let data = unsafe { sys::map_again(range) }?;
    let twin = PageRange::starting_at(data.addr(), len).ok_or(Errno::INVAL)?;
    let opened = sys::injected("mprotect").and_then(|()| {
        let rights = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: just mapped, and nobody was told.
        unsafe { mm::mprotect(pointer(twin), twin.len(), rights) }
    });
    match (opened, NonNull::new(data)) {
        (Ok(()), Some(data)) => Ok(data),
        (done, _) => {
            // SAFETY: as above.
            let _unmapped = unsafe { mm::munmap(pointer(twin), twin.len()) };
            Err(done.err().unwrap_or(Errno::INVAL))
        }
    }
}

/// # Safety
///
/// A mapping that nobody was told of.
unsafe fn forget(code: NonNull<u8>, len: PageLen) {
    if let Some(range) = PageRange::starting_at(code.addr().get(), len) {
        // SAFETY: the caller's promise.
        let _unmapped = unsafe { unmap(range) };
    }
}

/// Takes the memory from pages of the writable view: both views read as zeroes then. Gives how many bytes had it, at most.
///
/// # Safety
///
/// Nobody uses what is in them.
pub(crate) unsafe fn empty_twice(data: PageRange) -> Result<usize, Failure> {
    // SAFETY: the caller's promise; pages of shared memory in no file (madvise(2)).
    unsafe { sys::advise(data, libc::MADV_REMOVE) }
        .map(|()| data.len())
        .map_err(|errno| Failure::system(ErrorKind::System, errno.raw_os_error()))
}
