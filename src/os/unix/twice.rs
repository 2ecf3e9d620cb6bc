//! The same memory at two places: two views of a shared memory object, or (NetBSD) a mapping and its double.

use super::change::given;
use super::errno::Errno;
use super::{munmap, place, sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Place, Twice};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;

/// Zeroed memory: readable and executable at the place, readable and writable where the system likes.
///
/// It is there once it is touched. FreeBSD and illumos promise all of it from the start (`shm_dotruncate`, `tmpnode_trunc`).
pub(crate) fn map_twice(len: PageLen, place: Place) -> Result<Twice, Failure> {
    match place {
        Place::Anywhere => views(len, None),
        Place::At(first) => views(len, Some(PageRange::starting_at(first, len).ok_or_else(place::too_high)?)),
        Place::Hint(_) | Place::Over(_) => Err(Failure::new(ErrorKind::Unsupported)),
    }
}

/// # Safety
///
/// A mapping that nobody was told of.
unsafe fn forget(view: NonNull<u8>, len: PageLen) {
    if let Some(range) = PageRange::starting_at(view.as_ptr().expose_provenance(), len) {
        // SAFETY: the caller's promise.
        let _unmapped = unsafe { munmap(range) };
    }
}

/// Shared memory keeps what it has as long as it is there.
///
/// # Safety
///
/// None: nothing is done.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) unsafe fn empty_twice(_data: PageRange) -> Result<usize, Failure> {
    Ok(0)
}

#[cfg(not(target_os = "netbsd"))]
fn views(len: PageLen, there: Option<PageRange>) -> Result<Twice, Failure> {
    use super::change::{at_if_free, at_wish};
    use crate::os::File;

    let object = object::Object::new(len.bytes()).map_err(|errno| object::refused(errno, len))?;
    let view = |protection, there: Option<PageRange>| {
        let refused = |errno| why::not_mapped(errno, len.bytes(), protection);
        let first = there.map_or(0, PageRange::first);
        let map = |how| {
            let file = File::numbered(object.number());
            // SAFETY: nothing is replaced: without a place nothing ever is, and for one the two functions give flags with which nothing is.
            unsafe { sys::mmap_file(first, len, protection, how | libc::MAP_SHARED, file, 0) }
        };
        match there {
            None => given(map(0).map_err(refused)?),
            Some(range) if sys::IF_FREE.is_some() => at_if_free(range, &map, &refused),
            Some(range) => at_wish(range, &map, &refused),
        }
    };
    let code = view(Protection::READ_EXECUTE, there)?;
    match view(Protection::READ_WRITE, None) {
        Ok(data) => Ok(Twice { code, data }),
        Err(failure) => {
            // SAFETY: just mapped, and nobody was told.
            unsafe { forget(code, len) };
            Err(failure)
        }
    }
}

#[cfg(not(target_os = "netbsd"))]
mod object {
    use super::super::errno::Errno;
    use super::super::why;
    use crate::error::{ErrorKind, Failure};
    use crate::protection::Protection;
    use crate::range::PageLen;
    use core::ffi::c_int;

    /// Why there is none.
    #[cold]
    pub(super) fn refused(errno: Errno, len: PageLen) -> Failure {
        match errno {
            Errno(libc::EACCES | libc::EPERM | libc::EROFS) => {
                let failure = errno.system(ErrorKind::NotPermitted);
                let failure = failure.detail("the program may make no shared memory");
                if cfg!(target_os = "illumos") {
                    failure
                        .remedy("let it write to /tmp, where the system keeps shared memory (shm_open(3C))")
                } else {
                    failure
                }
            }
            Errno(libc::EMFILE | libc::ENFILE) => errno
                .system(ErrorKind::Exhausted)
                .detail("no file descriptor is left, of which shared memory takes one for a moment")
                .remedy("close files, or raise RLIMIT_NOFILE (ulimit -n)"),
            Errno(libc::EFBIG) => errno
                .system(ErrorKind::Exhausted)
                .detail("the process may not make files so long, and shared memory is one")
                .remedy("ask for less, or raise RLIMIT_FSIZE (ulimit -f)"),
            Errno(libc::ENOSPC | libc::EDQUOT) => errno
                .system(ErrorKind::Exhausted)
                .detail("neither memory nor swap space for so much")
                .remedy("ask for less, or give the system more memory or swap space"),
            Errno(libc::ENOSYS) => errno.system(ErrorKind::Unsupported),
            errno => why::not_mapped(errno, len.bytes(), Protection::READ_WRITE),
        }
    }

    /// A shared memory object without a name.
    pub(super) struct Object(c_int);

    impl Object {
        pub(super) fn new(len: usize) -> Result<Self, Errno> {
            let long = libc::off_t::try_from(len).map_err(|_| Errno(libc::EFBIG))?;
            if !is_allowed(len) {
                return Err(Errno(libc::EFBIG));
            }
            let object = Self(open()?);
            Errno::injected("ftruncate")?;
            // SAFETY: a descriptor of our own (ftruncate(2)).
            super::sys::done(unsafe { libc::ftruncate(object.0, long) }).map(|()| object)
        }

        pub(super) fn number(&self) -> c_int {
            self.0
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            // SAFETY: opened here, and used no more: the mappings hold the object themselves.
            let _closed = unsafe { libc::close(self.0) };
        }
    }

    /// What would be longer than files may be ends the process (`SIGXFSZ`), where shared memory is a file: not on FreeBSD (`shm_truncate`).
    fn is_allowed(len: usize) -> bool {
        if cfg!(target_os = "freebsd") {
            return true;
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: room for the answer.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } == 0;
        #[allow(clippy::useless_conversion, reason = "signed on some systems")]
        let most = u64::try_from(limit.rlim_cur).unwrap_or(u64::MAX);
        !known || u64::try_from(len).is_ok_and(|len| len <= most)
    }

    fn opened(number: c_int) -> Result<c_int, Errno> {
        if number < 0 { Err(Errno::last()) } else { Ok(number) }
    }

    #[cfg(target_os = "freebsd")]
    fn open() -> Result<c_int, Errno> {
        Errno::injected("shm_open")?;
        // SAFETY: what stands for no name at all (shm_open(2)).
        opened(unsafe { libc::shm_open(libc::SHM_ANON, libc::O_RDWR | libc::O_CLOEXEC, 0o600) })
    }

    /// By a name that lives for a moment. (The descriptor is closed by `exec`, by POSIX.)
    ///
    /// illumos keeps a lock file with the name in `/tmp`, and waits for a minute where somebody else has it (`__pos4obj_lock`): so it is none
    /// that others guess.
    #[cfg(not(target_os = "freebsd"))]
    fn open() -> Result<c_int, Errno> {
        use core::fmt::Write;
        use core::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..64 {
            let mut name = Name { text: [0; 48], len: 0 };
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            // SAFETY: no precondition (getpid(2)).
            let process = unsafe { libc::getpid() };
            let moment = moment();
            write!(name, "/folio.{process}.{number}.{moment}").map_err(|_| Errno(libc::ENAMETOOLONG))?;
            let place = name.text.as_ptr().cast();
            Errno::injected("shm_open")?;
            // SAFETY: a name that ends with a zero: there is room for one more than is written.
            match opened(unsafe { libc::shm_open(place, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600) })
            {
                Ok(number) => {
                    // SAFETY: as above.
                    let _unlinked = unsafe { libc::shm_unlink(place) };
                    return Ok(number);
                }
                Err(Errno(libc::EEXIST)) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno(libc::EEXIST))
    }

    /// The nanoseconds of the present second.
    #[cfg(not(target_os = "freebsd"))]
    fn moment() -> core::ffi::c_long {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: room for the answer (clock_gettime(3C)); without one it is 0.
        let _known = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        now.tv_nsec
    }

    #[cfg(not(target_os = "freebsd"))]
    struct Name {
        text: [u8; 48],
        len: usize,
    }

    #[cfg(not(target_os = "freebsd"))]
    impl core::fmt::Write for Name {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            let end = self.len.checked_add(text.len()).filter(|&end| end < self.text.len());
            let place = end.and_then(|end| self.text.get_mut(self.len..end)).ok_or(core::fmt::Error)?;
            place.copy_from_slice(text.as_bytes());
            self.len = self.len.saturating_add(text.len());
            Ok(())
        }
    }
}

/// NetBSD 8.0: made for this (mremap(2)).
#[cfg(target_os = "netbsd")]
fn views(len: PageLen, there: Option<PageRange>) -> Result<Twice, Failure> {
    use core::ptr;

    let mapped = Errno::injected("mmap").and_then(|()| {
        let rights = super::native(Protection::READ_WRITE) | sys::LATER;
        let how = libc::MAP_SHARED | libc::MAP_ANON;
        // SAFETY: new memory at a place of the kernel's choice (mmap(2)).
        let data = unsafe { libc::mmap(ptr::null_mut(), len.bytes(), rights, how, sys::NO_FILE, 0) };
        if data == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(data) }
    });
    let data = given(mapped.map_err(|errno| why::not_mapped(errno, len.bytes(), Protection::READ_WRITE))?)?;
    let code = double(data, len, there);
    if code.is_err() {
        // SAFETY: just mapped, and nobody was told.
        unsafe { forget(data, len) };
    }
    code.map(|code| Twice { code, data })
}

/// The same memory at another place, where it can be executed and not written.
#[cfg(target_os = "netbsd")]
fn double(data: NonNull<u8>, len: PageLen, there: Option<PageRange>) -> Result<NonNull<u8>, Failure> {
    use core::ptr;

    let doubled = Errno::injected("mremap").and_then(|()| {
        let how = libc::MAP_REMAPDUP | if there.is_some() { libc::MAP_FIXED } else { 0 };
        let place = there.map_or(ptr::null_mut(), super::pointer);
        // SAFETY: the mapping stays. Unlike that of mmap(2), this `MAP_FIXED` replaces nothing: where something is, the call fails
        // (mremap(2); `uvm_map_reserve` in `sys/uvm/uvm_mremap.c`).
        let code = unsafe { libc::mremap(data.as_ptr().cast(), len.bytes(), place, len.bytes(), how) };
        if code == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(code) }
    });
    let code = doubled.map_err(|errno| match (errno, there.and_then(place::refused_place)) {
        (Errno(libc::ENOMEM | libc::EINVAL), Some(failure)) => failure,
        (Errno(libc::EINVAL), None) => errno
            .system(ErrorKind::Unsupported)
            .detail("mapping the same memory a second time takes NetBSD 8.0"),
        (errno, _) => why::not_mapped(errno, len.bytes(), Protection::READ_WRITE),
    })?;
    let code = given(code)?;
    let opened = match PageRange::starting_at(code.as_ptr().expose_provenance(), len) {
        // SAFETY: just mapped, and nobody was told.
        Some(range) => unsafe { sys::mprotect(range, Protection::READ_EXECUTE) },
        None => Err(Errno(libc::EINVAL)),
    };
    opened.map(|()| code).map_err(|errno| {
        // SAFETY: as above.
        unsafe { forget(code, len) };
        why::not_protected(errno, Protection::READ_EXECUTE)
    })
}
