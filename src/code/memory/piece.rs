//! Code that is published.

use super::toggle::Write;
use super::{Area, Room, flush, pages_of};
use crate::code::fn_ref::code_at;
use crate::code::{FnPointer, FnRef};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Failure, Operation, Result};
use crate::os;
use crate::range::PageRange;
use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Code that can be executed, and not be written; made by [`CodeDraft::publish`](super::CodeDraft::publish).
///
/// When it is dropped, its room is taken for other code. The functions that [`get_fn`](Self::get_fn) gives borrow it, so that none of
/// them can be called then. To keep code for ever, `mem::forget` its piece.
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
pub struct CodePiece {
    room: Room,
}

impl CodePiece {
    pub(super) fn of(mut room: Room) -> Self {
        room.published = true;
        Self { room }
    }

    /// Where it is executed.
    pub fn address(&self) -> *const u8 {
        self.room.code().as_ptr()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.room.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.room.len == 0
    }

    /// The function that begins `offset` bytes behind the start.
    ///
    /// # Errors
    ///
    /// As [`Pages::get_fn`](crate::Pages::get_fn).
    ///
    /// # Safety
    ///
    /// As [`Pages::get_fn`](crate::Pages::get_fn): at `offset` begins a whole function of type `F`. This thread's processor has been told of it by
    /// publishing; for what others have to do that may have executed what was in its place before, see
    /// [`Pages::flush_icache`](crate::Pages::flush_icache).
    pub unsafe fn get_fn<F: FnPointer>(&self, offset: usize) -> Result<FnRef<'_, F>> {
        let code = code_at(self.address(), self.room.len, offset)?;
        // SAFETY: the caller's promise; what is returned borrows the piece, whose room is not given back before.
        Ok(unsafe { FnRef::at(code) })
    }

    /// As [`get_fn`](Self::get_fn), but a plain pointer, of no type and no lifetime.
    ///
    /// # Errors
    ///
    /// As [`get_fn`](Self::get_fn).
    pub fn get_fn_ptr(&self, offset: usize) -> Result<*const ()> {
        code_at(self.address(), self.room.len, offset).map(|code| code.as_ptr().cast_const().cast())
    }

    /// Changes instructions of what is published: the target of a jump, a constant, a breakpoint.
    ///
    /// Bytes that lie within one word (8 bytes, on a multiple of 8; on 32-bit processors 4) change at once: who executes them executes the
    /// old ones or the new ones.
    ///
    /// # Cost
    ///
    /// See [`CodeMemory`](super::CodeMemory).
    ///
    /// # Errors
    ///
    /// As [`publish`](super::CodeDraft::publish), and [`ErrorKind::InvalidInput`]: the bytes are not within the piece. Then all is as it
    /// was; but with `Toggle`, where the system cannot put pages in the place of others (all but Linux), the piece may be one that can no longer be
    /// executed: [`Error::changed`](crate::Error::changed) says so.
    ///
    /// # Safety
    ///
    /// - What the piece holds then is as [`get_fn`](Self::get_fn) was promised for each function that is used of it.
    /// - A thread that may execute the bytes meanwhile is one whose processor can bear it: the manuals of most permit it for single
    ///   instructions of certain kinds only, which are written at once. (On x86, a patch of bytes within one word is seen old or new as a
    ///   whole; on aarch64 only `B`, `BL`, `BRK`, `NOP`, `ISB`, `SVC`, `HVC` and `SMC` may be replaced by each other: manual B2.2.5.)
    /// - With [`CodeStrategy::Toggle`](super::CodeStrategy::Toggle) on other systems than Linux, nobody executes any of the piece meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// let code = folio::CodeMemory::new(1 << 16)?;
    /// let piece = code.draft(16)?.publish()?;
    /// // SAFETY: nobody executes it.
    /// unsafe { piece.patch(8, &[0x90; 4])? };
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub unsafe fn patch(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let failed = |failure: Failure| failure.during(Operation::Patch, self.room.range(), None);
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.room.len) {
            return Err(failed(Failure::invalid("the bytes are not within the piece of code")));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let start = self.room.start.saturating_add(offset);
        let inner = &self.room.memory;
        inner.may_write().map_err(failed)?;
        let mut state = inner.state();
        match &inner.area {
            Area::Dual(dual) => {
                // SAFETY: bytes of the piece, where it is written: nobody else does so meanwhile (the lock).
                unsafe { store(dual.data(start), bytes) };
                // SAFETY: bytes that can be read.
                unsafe { flush(inner.code(start), bytes.len()) }.map_err(failed)
            }
            #[cfg(not(feature = "deny_xw"))]
            Area::ByThread(area) => {
                // SAFETY: bytes of the piece: nobody else writes to their words meanwhile (the lock).
                unsafe { area.write(start, bytes, store) };
                // SAFETY: bytes that can be read.
                unsafe { flush(inner.code(start), bytes.len()) }.map_err(failed)
            }
            Area::Toggle(area) => {
                let book = &mut state.pages;
                let pages = pages_of(start, bytes.len());
                // Elsewhere they are the piece's alone, and nobody executes it (the caller's promise).
                let alone = !os::moves_pages();
                if alone {
                    book.withdraw(pages.clone());
                }
                let done = area.rewrite(book, pages.clone(), &Write { start, bytes });
                if alone {
                    book.publish(pages);
                }
                done.map_err(|failure| {
                    match PageRange::touching(inner.code(start).addr().get(), bytes.len()) {
                        // No longer to be executed, perhaps.
                        Ok(range) if alone => failed(failure.changed(range)),
                        _ => failed(failure),
                    }
                })
            }
        }
    }
}

/// Writes bytes: at once, if they lie within a word.
///
/// # Safety
///
/// Bytes of memory that can be written, as the words are in which they lie; nobody else writes to these.
pub(super) unsafe fn store(to: NonNull<u8>, bytes: &[u8]) {
    const WORD: usize = size_of::<usize>();
    let within = to.addr().get() & WORD.saturating_sub(1);
    if within.saturating_add(bytes.len()) > WORD {
        // SAFETY: the caller's promise.
        return unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
    }
    let place = to.as_ptr().wrapping_sub(within).cast::<usize>();
    // SAFETY: aligned, and of memory that lives (the caller's promise).
    let word = unsafe { AtomicUsize::from_ptr(place) };
    let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
    if let Some(part) = value.get_mut(within..within.saturating_add(bytes.len())) {
        part.copy_from_slice(bytes);
    }
    word.store(usize::from_ne_bytes(value), Ordering::Release);
}

impl fmt::Debug for CodePiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodePiece").field("address", &self.address()).field("len", &self.len()).finish()
    }
}
