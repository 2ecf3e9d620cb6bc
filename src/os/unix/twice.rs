//! The same memory at two places: two views of a shared memory object, or (NetBSD) a mapping and its double.

use super::errno::Errno;
use super::{munmap, sys, why};
use crate::error::{ErrorKind, Failure};
use crate::os::{Place, Twice};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;

/// Zeroed memory, which is there once it is touched: readable and executable at the place, readable and writable where the system
/// likes.
pub(crate) fn map_twice(len: PageLen, place: Place) -> Result<Twice, Failure> {
    match place {
        Place::Anywhere | Place::At(_) => views(len, place),
        Place::Hint(_) | Place::Over(_) => Err(Failure::new(ErrorKind::Unsupported)),
    }
}

fn refused(errno: Errno, len: PageLen) -> Failure {
    why::not_mapped(errno, len.bytes(), Protection::READ_EXECUTE)
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
fn views(len: PageLen, place: Place) -> Result<Twice, Failure> {
    use super::map_with;
    use crate::os::{Content, File, Request};

    let object = object::Object::new(len.bytes()).map_err(|errno| refused(errno, len))?;
    let view = |protection, place| {
        let content = Content::File {
            file: File::numbered(object.number()),
            offset: 0,
            bytes: len.bytes(),
            shared: true,
        };
        let request = Request { place, content, ..Request::new(len, protection) };
        // SAFETY: nothing is replaced.
        unsafe { map_with(&request) }.map(|(base, _)| base)
    };
    let code = view(Protection::READ_EXECUTE, place)
        .map_err(|failure| super::not_granted(failure, Protection::READ_EXECUTE))?;
    match view(Protection::READ_WRITE, Place::Anywhere) {
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
    use core::ffi::c_int;

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

    /// What would be longer than files may be ends the process on some systems (`SIGXFSZ`).
    fn is_allowed(len: usize) -> bool {
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
        // SAFETY: the name that says that there is to be none (shm_open(2)).
        opened(unsafe { libc::shm_open(libc::SHM_ANON, libc::O_RDWR | libc::O_CLOEXEC, 0o600) })
    }

    /// By a name that lives for a moment. (The descriptor is closed by `exec`, by POSIX.)
    #[cfg(not(target_os = "freebsd"))]
    fn open() -> Result<c_int, Errno> {
        use core::fmt::Write;
        use core::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..64 {
            let mut name = Name { text: [0; 40], len: 0 };
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            // SAFETY: no precondition (getpid(2)).
            let process = unsafe { libc::getpid() };
            write!(name, "/folio.{process}.{number}").map_err(|_| Errno(libc::ENAMETOOLONG))?;
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

    #[cfg(not(target_os = "freebsd"))]
    struct Name {
        text: [u8; 40],
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
fn views(len: PageLen, place: Place) -> Result<Twice, Failure> {
    let there = match place {
        Place::At(first) => {
            let range =
                PageRange::starting_at(first, len).ok_or_else(|| Failure::new(ErrorKind::Exhausted))?;
            Some(super::map_at_wish(range, Protection::NONE)?)
        }
        _ => None,
    };
    let made = doubled(len, there);
    if let (Err(_), Some(there)) = (&made, there) {
        // SAFETY: set aside above, and nobody was told.
        unsafe { forget(there, len) };
    }
    made.map_err(|errno| refused(errno, len))
}

/// `there` is set aside, and replaced.
#[cfg(target_os = "netbsd")]
fn doubled(len: PageLen, there: Option<NonNull<u8>>) -> Result<Twice, Errno> {
    use core::ptr;

    Errno::injected("mmap")?;
    let rights = super::native(Protection::READ_WRITE) | sys::LATER;
    // SAFETY: new memory at a place of the kernel's choice (mmap(2)).
    let data = unsafe {
        libc::mmap(ptr::null_mut(), len.bytes(), rights, libc::MAP_SHARED | libc::MAP_ANON, sys::NO_FILE, 0)
    };
    let data = if data == libc::MAP_FAILED { None } else { NonNull::new(data.cast::<u8>()) };
    let data = data.ok_or_else(Errno::last)?;
    let code = double(data, len, there);
    if code.is_err() {
        // SAFETY: just mapped, and nobody was told.
        unsafe { forget(data, len) };
    }
    code.map(|code| Twice { code, data })
}

#[cfg(target_os = "netbsd")]
fn double(data: NonNull<u8>, len: PageLen, there: Option<NonNull<u8>>) -> Result<NonNull<u8>, Errno> {
    use core::ptr;

    Errno::injected("mremap")?;
    let how = libc::MAP_REMAPDUP | if there.is_some() { libc::MAP_FIXED } else { 0 };
    let place = there.map_or(ptr::null_mut(), |there| there.as_ptr().cast());
    // SAFETY: the mapping stays; what is replaced, if anything, was set aside for this (mremap(2)).
    let code = unsafe { libc::mremap(data.as_ptr().cast(), len.bytes(), place, len.bytes(), how) };
    let code = if code == libc::MAP_FAILED { None } else { NonNull::new(code.cast::<u8>()) };
    let code = code.ok_or_else(Errno::last)?;
    let Some(range) = PageRange::starting_at(code.as_ptr().expose_provenance(), len) else {
        return Err(Errno(libc::EINVAL));
    };
    // SAFETY: just mapped, and nobody was told.
    if let Err(errno) = unsafe { sys::mprotect(range, Protection::READ_EXECUTE) } {
        if there.is_none() {
            // SAFETY: as above.
            unsafe { forget(code, len) };
        }
        return Err(errno);
    }
    Ok(code)
}
