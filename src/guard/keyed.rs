//! Pages that each thread opens for itself, by protection keys.

mod key;
#[cfg(test)]
mod tests;

use super::report;
use crate::Protection;
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os::{self, Rights};
use crate::range::{PageLen, PageRange};
use alloc::sync::Arc;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::{fmt, slice};
use key::Key;

/// Pages of this process that nobody can touch but a thread that has opened them, by a register of its own instead of a system
/// call: protection keys.
///
/// The pages are private, zeroed at first, and closed for every thread. [`open`](Self::open) gives a guard for reading,
/// [`open_mut`](Self::open_mut) one for writing, both for the calling thread alone; when it is dropped, the pages are closed
/// again. Guards nest and may be dropped in any order. A thread that touches the pages without a guard gets SIGSEGV
/// (`si_code` `SEGV_PKUERR`): an access by mistake ends the process, instead of reading a secret or overwriting what matters.
///
/// # How this differs from `protect`
///
/// The two are not interchangeable, and folio never falls back on the one where the other is not to be had:
///
/// - **Rights belong to a thread.** A guard opens the pages for its own thread; it cannot be sent, and no plain slice is handed
///   out but by `unsafe` calls, since it could be sent to a thread for which the pages are closed.
/// - **Rights belong to a key**, and there are 15 of them, for the whole process with all its libraries. Pages made by
///   [`beside`](Self::beside) share a key: a guard of the ones lets raw pointers reach the others, too.
/// - **A new thread inherits** the rights of the thread that makes it, as they are at that moment, but no guard: what was open
///   then stays open there until the new thread has opened and closed a guard of the same key itself. Threads that were there
///   before the key have it closed. Make threads while no guard is open.
/// - **Signal handlers** start with nothing open, whatever the thread that they interrupt has open. A guard that the handler opens
///   works there. It must be dropped before the handler ends: the kernel then restores the rights of the interrupted code.
/// - **System calls** obey the rights of the thread that makes them: `read` into closed pages fails with `EFAULT`, and
///   [`lock`](crate::lock()) of pages that are not open for writing with `ENOMEM`. But
///   `/proc/self/mem`, `process_vm_readv`, `process_vm_writev` and debuggers **go through**. Work that the kernel does later
///   or on threads of its own (io_uring, asynchronous I/O) is done with rights that pkeys(7) does not tell: do not have it
///   done on such pages.
/// - **A freed key is given out again**, by its number. folio gives a key back only when its last pages are unmapped, so that a
///   later owner gets no pages of ours. But the number's rights stay in the registers of other threads: a thread that has
///   forgotten a guard ([`mem::forget`](core::mem::forget)), or has inherited open rights, finds the pages of the next owner
///   of the number open, until it has opened and closed a guard of those.
/// - **It is no barrier against hostile code**: any thread can write the register, by one unprivileged instruction.
/// - `mprotect` (folio's `protect`) leaves pages their key, and restricts access further, for all threads. Only pages made
///   executable *alone* lose it to a key of the kernel's own, and have none afterwards.
/// - In the child of a `fork`, copies of the pages, the keys and the guards of the thread that forked are as in the parent.
///
/// # Cost
///
/// Opening and closing: one read of the register each and a count in a thread-local, and, unless other guards of the same key and
/// thread make it needless, one write, together some tens of cycles; no system call, no allocation. For making and dropping
/// pages see [`new`](Self::new) and [`beside`](Self::beside).
///
/// Dropping: `munmap`; with the last pages of a key, one call more, which gives the key back. If the pages cannot be unmapped,
/// they keep the key for ever, and debug builds say why on standard error.
///
/// # Platforms
///
/// Linux on x86 processors that have keys (Intel since Skylake-SP, AMD since Zen 3), and the feature `std`: where
/// [`Capabilities::protection_keys`](crate::Capabilities::protection_keys) says so. Elsewhere [`ErrorKind::Unsupported`].
///
/// # Examples
///
/// ```
/// use folio::{Capabilities, KeyedPages};
///
/// # fn main() -> folio::Result<()> {
/// if !Capabilities::probe().protection_keys() {
///     println!("no protection keys here");
///     return Ok(());
/// }
/// let mut pages = KeyedPages::new(32)?;
/// pages.open_mut().write(0, b"a secret")?;
/// // Closed again: to read here by a stray pointer would end the process.
/// let mut copy = [0; 8];
/// pages.open().read(0, &mut copy)?;
/// assert_eq!(&copy, b"a secret");
/// # Ok(())
/// # }
/// ```
///
/// References: [pkeys(7)](https://man7.org/linux/man-pages/man7/pkeys.7.html),
/// [pkey_alloc(2)](https://man7.org/linux/man-pages/man2/pkey_alloc.2.html),
/// [Memory Protection Keys](https://docs.kernel.org/core-api/protection-keys.html).
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub struct KeyedPages {
    /// Of a mapping of our own, which this value alone owns, of `range`; readable and writable for whom the key is open.
    place: NonNull<u8>,
    range: PageRange,
    /// The key that the pages carry: held until they are gone.
    key: ManuallyDrop<Arc<Key>>,
}

// SAFETY: the mapping belongs to the value, not to a thread; so does the key. What each thread has open is counted by threads,
// and guards, which hold counts, stay on theirs.
unsafe impl Send for KeyedPages {}

// SAFETY: through a shared reference the pages are only read: writing takes a `KeyGuardMut`, which borrows exclusively. The key
// does not change, and counts are each thread's own.
unsafe impl Sync for KeyedPages {}

impl KeyedPages {
    /// New pages under a key of their own: at least `len` bytes, rounded up to whole pages, zeroed, closed for every thread.
    ///
    /// # Cost
    ///
    /// Three system calls (`pkey_alloc`, `mmap`, `pkey_mprotect`) and one small allocation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when `len` is 0 or more than `isize::MAX`; [`ErrorKind::Unsupported`] where there are no keys;
    /// [`ErrorKind::Exhausted`] when all 15 are in use, with the [limit](Error::limit) and a [remedy](Error::remedy), or when
    /// there is no memory, no address space or no mapping left. Whatever fails, nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{ErrorKind, KeyedPages};
    ///
    /// match KeyedPages::new(1) {
    ///     Ok(pages) => assert_eq!(pages.len(), folio::page::size()),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// ```
    pub fn new(len: usize) -> Result<Self> {
        // What makes no sense anywhere is said first.
        let len = PageLen::covering(len).map_err(failed)?;
        let key = Key::new().map_err(failed)?;
        Self::under(Arc::new(key), len)
    }

    /// More pages under the same key: opened and closed together with these, as far as raw pointers are concerned. They live on
    /// when these are dropped.
    ///
    /// # Cost
    ///
    /// Two system calls (`mmap`, `pkey_mprotect`); no allocation.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), but that no key is needed.
    pub fn beside(&self, len: usize) -> Result<Self> {
        let len = PageLen::covering(len).map_err(failed)?;
        Self::under(Arc::clone(&self.key), len)
    }

    fn under(key: Arc<Key>, len: PageLen) -> Result<Self> {
        let place = os::map(len, Protection::READ_WRITE).map_err(failed)?;
        let Some(range) = PageRange::starting_at(place.as_ptr().expose_provenance(), len) else {
            // No system gives such a place.
            return Err(failed(Failure::new(ErrorKind::UnexpectedAnswer)));
        };
        // From here on the pages are unmapped when something fails; should that fail as well, some of them may carry the key,
        // and it is kept.
        let pages = Self { place, range, key: ManuallyDrop::new(key) };
        // SAFETY: pages that were mapped just now, for what they have already: nobody knows of them.
        unsafe { os::keys::assign(range, Protection::READ_WRITE, pages.key.number()) }
            .map_err(|failure| pages.failed(failure))?;
        Ok(pages)
    }

    /// Opens the pages for reading, for this thread, until the guard is dropped.
    ///
    /// # Cost
    ///
    /// See [above](Self#cost). No system call.
    ///
    /// # Examples
    ///
    /// Guards nest, and stay on their thread:
    ///
    /// ```
    /// # use folio::{Capabilities, KeyedPages};
    /// # fn main() -> folio::Result<()> {
    /// # if !Capabilities::probe().protection_keys() { return Ok(()) }
    /// let pages = KeyedPages::new(1)?;
    /// let (mut copy, outer) = ([1], pages.open());
    /// drop(pages.open());
    /// outer.read(0, &mut copy)?;
    /// assert_eq!(copy, [0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// ```compile_fail,E0277
    /// let pages = folio::KeyedPages::new(1).unwrap();
    /// let guard = pages.open();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| guard.len());
    /// });
    /// ```
    #[inline]
    pub fn open(&self) -> KeyGuard<'_> {
        self.key.open(Rights::Read);
        KeyGuard { pages: self, here: PhantomData }
    }

    /// Opens the pages for reading and writing, for this thread, until the guard is dropped.
    ///
    /// # Cost
    ///
    /// See [above](Self#cost). No system call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use folio::{Capabilities, KeyedPages};
    /// # fn main() -> folio::Result<()> {
    /// # if !Capabilities::probe().protection_keys() { return Ok(()) }
    /// let mut pages = KeyedPages::new(1)?;
    /// let mut guard = pages.open_mut();
    /// guard.write(7, &[1, 2])?;
    /// assert!(guard.write(folio::page::size() - 1, &[1, 2]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// ```compile_fail,E0277
    /// let mut pages = folio::KeyedPages::new(1).unwrap();
    /// let mut guard = pages.open_mut();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(move || guard.write(0, &[1]));
    /// });
    /// ```
    #[inline]
    pub fn open_mut(&mut self) -> KeyGuardMut<'_> {
        self.key.open(Rights::Write);
        KeyGuardMut { pages: self, here: PhantomData }
    }

    /// The addresses of the pages, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        self.range.to_range()
    }

    /// The size in bytes: whole pages, never 0.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// The place of `len` bytes from `offset` on, all within the pages.
    #[inline]
    fn place(&self, offset: usize, len: usize) -> Result<*mut u8> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(self.place.as_ptr().wrapping_add(offset)),
            _ => Err(self.beyond()),
        }
    }

    #[cold]
    fn beyond(&self) -> Error {
        self.failed(Failure::invalid("the bytes reach beyond the end of the pages"))
    }

    /// Copies from the pages. This thread has a guard of them.
    #[inline]
    fn copy_out(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let from = self.place(offset, buffer.len())?;
        self.key.settle(Rights::Read);
        // SAFETY: `from` begins `buffer.len()` bytes of our mapping, initialized by the kernel, and open to this thread: a guard
        // of it lives here, and `settle` has looked. Nobody writes there: that takes an exclusive borrow of the pages, and the
        // guard has one, if only a shared one. `buffer` is none of these bytes, since safe code gets no reference to them and
        // that of `as_mut_slice` borrows the guard exclusively. The compiler does not move the copy out of the guard's life: the
        // instruction that writes the register counts as one that reads and writes all memory which others may know of (the
        // assembly is not `nomem`), and this place came from the system. Nor does the processor: no access passes a WRPKRU, not
        // even a speculated one (Intel SDM, WRPKRU). A length of 0 touches nothing, and `from` is not null.
        unsafe { ptr::copy_nonoverlapping(from.cast_const(), buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    #[cold]
    fn failed(&self, failure: Failure) -> Error {
        failure.during(Operation::Key, Some(self.range), None)
    }
}

#[cold]
fn failed(failure: Failure) -> Error {
    failure.during(Operation::Key, None, None)
}

impl Drop for KeyedPages {
    fn drop(&mut self) {
        // SAFETY: the whole of a mapping that `under` made. Nobody uses it: guards, and with them what they hand out, borrow the
        // value.
        match unsafe { os::unmap(self.range) } {
            // SAFETY: not used again.
            Ok(()) => unsafe { ManuallyDrop::drop(&mut self.key) },
            // The pages go on carrying the key: it is held for ever.
            Err(failure) => report(&self.failed(failure)),
        }
    }
}

impl fmt::Debug for KeyedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPages")
            .field("range", &format_args!("{:#x?}", self.as_range()))
            .field("key", &self.key.number())
            .finish()
    }
}

/// Pages that are open to this thread for reading: made by [`KeyedPages::open`]. Dropping it closes them, if it is the last guard
/// of their key on this thread.
///
/// A forgotten guard leaves the key open for its thread.
///
/// # Why it does not deref to a slice
///
/// `&[u8]` is `Send`: safe code could pass it to another thread, for which the pages are closed. [`read`](Self::read) copies;
/// for everything else there are [`as_ptr`](Self::as_ptr) and [`as_slice`](Self::as_slice).
#[must_use = "the pages are closed again when the guard is dropped"]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub struct KeyGuard<'a> {
    pages: &'a KeyedPages,
    /// Neither `Send` nor `Sync`: the register is this thread's.
    here: PhantomData<*const ()>,
}

impl KeyGuard<'_> {
    /// Copies `buffer.len()` bytes from `offset` on into `buffer`.
    ///
    /// # Cost
    ///
    /// A read of the register and a `memcpy`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when they reach beyond the end of the pages; nothing is copied then. An empty buffer at the
    /// end is fine.
    #[inline]
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        self.pages.copy_out(offset, buffer)
    }

    /// The first byte: to be read through by this thread while the guard lives.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.pages.place.as_ptr().cast_const()
    }

    /// The size of the pages in bytes, never 0.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// All bytes of the pages, as a slice.
    ///
    /// # Safety
    ///
    /// Neither the slice nor a reference derived from it is used by another thread, by a signal handler that interrupts this
    /// one, or by the kernel on behalf of another thread (io_uring). A slice that a signal handler gets is not used after
    /// it, nor this thread's after a `siglongjmp` out of a handler.
    #[inline]
    pub unsafe fn as_slice(&self) -> &[u8] {
        self.pages.key.settle(Rights::Read);
        // SAFETY: our mapping, at most `isize::MAX` bytes, initialized by the kernel; open to this thread while the guard lives,
        // which the slice borrows, and used on no other by the caller's promise. Writing takes an exclusive borrow of the pages.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len()) }
    }
}

impl Drop for KeyGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pages.key.close(Rights::Read);
    }
}

impl fmt::Debug for KeyGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyGuard").field("pages", self.pages).finish()
    }
}

/// Pages that are open to this thread for reading and writing: made by [`KeyedPages::open_mut`]. Dropping it closes them, as far
/// as other guards of their key on this thread allow.
///
/// It hands out copies and raw pointers for the reasons told at [`KeyGuard`].
#[must_use = "the pages are closed again when the guard is dropped"]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub struct KeyGuardMut<'a> {
    pages: &'a mut KeyedPages,
    /// As in [`KeyGuard`].
    here: PhantomData<*const ()>,
}

impl KeyGuardMut<'_> {
    /// Copies `buffer.len()` bytes from `offset` on into `buffer`: as [`KeyGuard::read`].
    ///
    /// # Errors
    ///
    /// As [`KeyGuard::read`].
    #[inline]
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        self.pages.copy_out(offset, buffer)
    }

    /// Copies all of `bytes` into the pages, from `offset` on.
    ///
    /// # Cost
    ///
    /// A read of the register and a `memcpy`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when they reach beyond the end of the pages; nothing is copied then. No bytes at the end are
    /// fine.
    #[inline]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let to = self.pages.place(offset, bytes.len())?;
        self.pages.key.settle(Rights::Write);
        // SAFETY: as in `copy_out`: `to` begins `bytes.len()` bytes of our mapping, which are open to this thread for writing, and
        // which nobody reads or writes meanwhile, as the guard borrows the pages exclusively and is itself borrowed so; for that
        // reason `bytes` is none of them.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// The first byte: to be read through by this thread while the guard lives.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.pages.place.as_ptr().cast_const()
    }

    /// The first byte: to be read and written through by this thread while the guard lives.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.pages.place.as_ptr()
    }

    /// The size of the pages in bytes, never 0.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// All bytes of the pages, as a slice.
    ///
    /// # Safety
    ///
    /// As [`KeyGuard::as_slice`].
    #[inline]
    pub unsafe fn as_slice(&self) -> &[u8] {
        self.pages.key.settle(Rights::Read);
        // SAFETY: as in `KeyGuard::as_slice`.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// All bytes of the pages, as a slice to write to.
    ///
    /// # Safety
    ///
    /// As [`KeyGuard::as_slice`].
    #[inline]
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        self.pages.key.settle(Rights::Write);
        // SAFETY: as in `KeyGuard::as_slice`; the pages are borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) }
    }
}

impl Drop for KeyGuardMut<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pages.key.close(Rights::Write);
    }
}

impl fmt::Debug for KeyGuardMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyGuardMut").field("pages", self.pages).finish()
    }
}
