//! Memory that can be written and executed, by no thread both: who writes opens it for itself, for as long as it takes to copy.

use super::CodeStrategy;
use crate::allocation::{self, place_near};
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::os::{self, Place, Request, Rights, keys};
use crate::page;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ops::Range;
use core::ptr::{self, NonNull};

type Tried<T> = core::result::Result<T, Failure>;

/// Pages that grant everything, but for what the thread is not granted.
pub(super) struct ByThread {
    base: NonNull<u8>,
    range: PageRange,
    lock: Lock,
}

enum Lock {
    /// The pages carry this protection key, which nobody else has.
    Key(u32),
    /// They are `MAP_JIT`.
    Jit,
}

// SAFETY: the address of a mapping that belongs to the value, and to no thread; so does the key.
unsafe impl Send for ByThread {}
// SAFETY: what is written through it is written under the area's lock, or is one draft's own.
unsafe impl Sync for ByThread {}

impl ByThread {
    /// Pages under a key of their own, which this thread may read.
    pub(super) fn with_key(len: PageLen, near: Option<(usize, usize)>) -> Result<Self> {
        let failed = |failure: Failure| failure.during(Operation::Allocate, None, None);
        let key = keys::new().map_err(failed)?;
        let give_back = |failure| {
            // No page carries it.
            let _freed = keys::free(key);
            failure
        };
        let area = Self::map(len, near, Lock::Key(key), |request| {
            // SAFETY: `Place::Over` is nobody's wish.
            unsafe { os::map_with(&request) }.map(|(base, _)| base)
        });
        let area = area.map_err(give_back)?;
        // From here on the pages are unmapped, and the key given back, when something fails.
        // SAFETY: pages that were mapped just now, and that nobody knows of.
        unsafe { keys::assign(area.range, Protection::READ_WRITE_EXECUTE, key) }.map_err(failed)?;
        keys::set_rights(key, Rights::Read);
        Ok(area)
    }

    pub(super) fn of_jit(len: PageLen, near: Option<(usize, usize)>) -> Result<Self> {
        if !os::jit_by_thread() {
            let failure = Failure::new(ErrorKind::Unsupported)
                .detail("that a thread lets itself write what is MAP_JIT is a matter of macOS on Apple's own processors");
            return Err(failure.during(Operation::Allocate, None, None));
        }
        Self::map(len, near, Lock::Jit, |request| {
            let request = Request { jit: true, protection: Protection::READ_WRITE_EXECUTE, ..request };
            // SAFETY: `Place::Over` is nobody's wish.
            unsafe { os::map_with(&request) }.map(|(base, _)| base)
        })
    }

    fn map(
        len: PageLen,
        near: Option<(usize, usize)>,
        lock: Lock,
        map: impl Fn(Request<'static>) -> Tried<NonNull<u8>>,
    ) -> Result<Self> {
        allocation::give_back();
        let failed = |failure: Failure| failure.during(Operation::Allocate, None, None);
        let request = Request::new(len, Protection::NONE);
        let base = match near {
            None => map(request).map_err(failed)?,
            Some((address, distance)) => place_near(address, distance, len, |pages| {
                map(Request { place: Place::At(pages.first()), ..request })
            })?,
        };
        let range = PageRange::starting_at(base.as_ptr().expose_provenance(), len);
        range
            .map(|range| Self { base, range, lock })
            .ok_or_else(|| failed(Failure::new(ErrorKind::UnexpectedAnswer)))
    }

    pub(super) fn strategy(&self) -> CodeStrategy {
        match self.lock {
            Lock::Key(_) => CodeStrategy::ProtectionKey,
            Lock::Jit => CodeStrategy::MapJit,
        }
    }

    pub(super) fn range(&self) -> PageRange {
        self.range
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Lets this thread read, if it may not.
    pub(super) fn let_read(&self) {
        if let Lock::Key(key) = self.lock {
            if keys::rights(key) == Rights::Closed {
                keys::set_rights(key, Rights::Read);
            }
        }
    }

    /// Writes bytes to their place.
    ///
    /// # Safety
    ///
    /// They are within the area, and nobody else writes to their words or has references to them.
    pub(super) unsafe fn write(&self, offset: usize, bytes: &[u8], write: unsafe fn(NonNull<u8>, &[u8])) {
        let place = NonNull::new(self.base.as_ptr().wrapping_add(offset)).unwrap_or(self.base);
        // Whatever happens, the pages are as closed behind it as before.
        let _open = Open::new(&self.lock);
        // SAFETY: the caller's promise; the pages can be written by this thread now.
        unsafe { write(place, bytes) };
    }

    /// Takes the memory from pages in which nobody's code is.
    pub(super) fn empty(&self, pages: Range<usize>) -> Tried<usize> {
        let Lock::Key(_) = self.lock else { return Ok(0) };
        let size = page::size();
        let first = self.range.first().saturating_add(pages.start.saturating_mul(size));
        let range = PageRange::touching(first, pages.len().saturating_mul(size))?;
        // SAFETY: of no draft, and of no piece. Where there are keys, the pages stay mapped, with all that they grant.
        unsafe { os::discard(range, Protection::READ_WRITE_EXECUTE, false) }
            .map_err(|error| error.failure)?;
        Ok(range.len())
    }
}

/// For the time being, this thread may write.
struct Open<'a> {
    lock: &'a Lock,
    before: Rights,
}

impl<'a> Open<'a> {
    fn new(lock: &'a Lock) -> Self {
        let before = match *lock {
            Lock::Key(key) => {
                let before = keys::rights(key);
                keys::set_rights(key, Rights::Write);
                before
            }
            Lock::Jit => {
                os::let_thread_write_jit(true);
                Rights::Read
            }
        };
        Self { lock, before }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        match *self.lock {
            Lock::Key(key) => keys::set_rights(key, self.before),
            Lock::Jit => os::let_thread_write_jit(false),
        }
    }
}

impl Drop for ByThread {
    fn drop(&mut self) {
        // SAFETY: all of the area, whose drafts and pieces are gone.
        match unsafe { os::unmap(self.range) } {
            Ok(()) => {
                if let Lock::Key(key) = self.lock {
                    // For this thread as it was; the next owner of the number shall find it closed.
                    keys::set_rights(key, Rights::Closed);
                    let _freed = keys::free(key);
                }
            }
            // The pages go on carrying the key, which nobody else gets.
            Err(failure) => allocation::give_up(self.range, failure),
        }
        allocation::give_back();
    }
}

/// Copies bytes.
///
/// # Safety
///
/// So many can be written there, and are nobody else's.
pub(super) unsafe fn copy(to: NonNull<u8>, bytes: &[u8]) {
    // SAFETY: the caller's promise; `bytes` are somebody's own, and not of code memory, to which there are no references.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
}
