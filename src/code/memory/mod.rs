//! Memory for code that is made while the program runs: drafts of it, pieces of it, and how it is kept from being written and executed
//! at once.

#[cfg(not(feature = "deny_xw"))]
mod by_thread;
mod draft;
mod dual;
mod options;
mod piece;
mod toggle;

#[cfg(test)]
mod tests;

pub use draft::CodeDraft;
pub(crate) use options::{Allowed, allowed};
pub use options::{CodeOptions, CodeStrategy};
pub use piece::CodePiece;

use super::pieces::Pieces;
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::page;
use crate::range::PageRange;
use alloc::sync::Arc;
use alloc::vec::Vec;
#[cfg(not(feature = "deny_xw"))]
use by_thread::ByThread;
use core::fmt;
use core::ptr::NonNull;
use dual::Dual;
use std::sync::{Mutex, MutexGuard, PoisonError};
use toggle::Toggle;

/// Memory for functions that are made while the program runs: by JIT compilers, wasm and language runtimes, hooks.
///
/// It is one area of address space, of which memory is taken as it fills; functions of any size share its pages. The life of each:
///
/// 1. [`draft`](Self::draft) finds room, and tells at which [address](CodeDraft::address) the function will be: for jumps that are
///    relative, to and from it.
/// 2. The draft is written to, as a slice of bytes. Nothing of it can be executed.
/// 3. [`publish`](CodeDraft::publish) makes a [`CodePiece`] of it: the processor is told, and it can be executed and no longer be written.
/// 4. [`get_fn`](CodePiece::get_fn) gives the function, [`patch`](CodePiece::patch) changes instructions, and when the piece is dropped, its room is
///    taken for others.
///
/// At no moment and by no address can a page be written and executed at once; with the two strategies that the feature `deny_xw` takes away, not
/// by the same thread. How that is kept is the area's [strategy](CodeStrategy).
///
/// Clones are the same area, which lives until the last of them is gone, and the last draft and piece. All of it is for any thread.
///
/// # Cost
///
/// | System calls | [`Dual`](CodeStrategy::Dual) | [`Toggle`](CodeStrategy::Toggle) | by thread: `ProtectionKey`, `MapJit` |
/// |---|---|---|---|
/// | make the area | 5 | 1 | 3; 1 |
/// | draft | none | none; 1 if it is of whole pages | none |
/// | publish | none | 2; on Linux 4 if it shares a page with what is published; 1 if of whole pages | none |
/// | patch | none | 4 on Linux, 2 elsewhere | none |
///
/// And the flush with publishing and patching. On Linux, making the area also takes the four calls to read a file of `/proc` (`Dual`: two), and where it says that this
/// thread's system calls are filtered (seccomp), a child process that tries first, which takes as long as a `fork` does: see
/// [`CodeOptions::without_trial`].
///
/// The flush: see [`Pages::flush_icache`](crate::Pages::flush_icache). Finding room takes some 100 nanoseconds.
///
/// # Examples
///
/// ```
/// use folio::{CodeMemory, FnRef};
///
/// # let add: &[u8] = if cfg!(all(target_arch = "x86_64", windows)) {
/// #     &[0x48, 0x8d, 0x04, 0x11, 0xc3] // lea rax, [rcx+rdx]; ret
/// # } else if cfg!(target_arch = "x86_64") {
/// #     &[0x48, 0x8d, 0x04, 0x37, 0xc3] // lea rax, [rdi+rsi]; ret
/// # } else if cfg!(target_arch = "aarch64") {
/// #     &[0x00, 0x00, 0x01, 0x8b, 0xc0, 0x03, 0x5f, 0xd6] // add x0, x0, x1; ret
/// # } else {
/// #     return Ok(());
/// # };
/// // Room for a megabyte of functions.
/// let code = CodeMemory::new(1 << 20)?;
///
/// // `add` is what a compiler has made of an addition.
/// let mut draft = code.draft(add.len())?;
/// draft.copy_from_slice(add);
/// let piece = draft.publish()?;
///
/// // SAFETY: the bytes are a function of this type.
/// let add: FnRef<'_, extern "C" fn(u64, u64) -> u64> = unsafe { piece.get_fn(0)? };
/// assert_eq!(add.call((43, 57)), 100);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone)]
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
pub struct CodeMemory {
    inner: Arc<Inner>,
}

struct Inner {
    area: Area,
    state: Mutex<State>,
}

/// By what strategy it was made, and where it lies.
enum Area {
    Toggle(Toggle),
    Dual(Dual),
    #[cfg(not(feature = "deny_xw"))]
    ByThread(ByThread),
}

struct State {
    pieces: Pieces,
    /// What `Toggle` knows of its pages.
    pages: toggle::Book,
    /// How many pieces are published.
    published: usize,
}

/// How an area is filled, in bytes: see [`CodeMemory::usage`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CodeUsage {
    /// All of it.
    pub capacity: usize,
    /// Taken by drafts and pieces, whose lengths are rounded up to 16 bytes.
    pub used: usize,
    /// How many pieces are published.
    pub pieces: usize,
    /// How many holes there are: parts that are free, and no neighbours of each other.
    pub holes: usize,
    /// The longest hole: what is longer has no room, although more may be free in all.
    pub largest_hole: usize,
}

impl CodeUsage {
    /// Bytes that are free.
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.used)
    }

    /// How much of what is free is not in the longest hole: from 0.0, where all of it is one hole, to nearly 1.0.
    #[expect(clippy::as_conversions, reason = "a ratio, which may be inexact")]
    pub fn fragmentation(&self) -> f64 {
        match self.free() {
            0 => 0.0,
            free => 1.0 - self.largest_hole as f64 / free as f64,
        }
    }
}

impl CodeMemory {
    /// An area for at least `capacity` bytes of code, by the best strategy that this system allows.
    ///
    /// For more, see [`CodeOptions`].
    ///
    /// # Errors
    ///
    /// As [`CodeOptions::map`].
    pub fn new(capacity: usize) -> Result<Self> {
        CodeOptions::new(capacity).map()
    }

    fn of(area: Area) -> Self {
        let capacity = match &area {
            Area::Toggle(toggle) => toggle.range().len(),
            Area::Dual(dual) => dual.range().len(),
            #[cfg(not(feature = "deny_xw"))]
            Area::ByThread(area) => area.range().len(),
        };
        let state = State { pieces: Pieces::new(capacity), pages: toggle::Book::default(), published: 0 };
        Self { inner: Arc::new(Inner { area, state: Mutex::new(state) }) }
    }

    /// By which strategy it was made.
    pub fn strategy(&self) -> CodeStrategy {
        match &self.inner.area {
            Area::Toggle(_) => CodeStrategy::Toggle,
            Area::Dual(_) => CodeStrategy::Dual,
            #[cfg(not(feature = "deny_xw"))]
            Area::ByThread(area) => area.strategy(),
        }
    }

    /// The addresses at which code is executed.
    pub fn as_range(&self) -> core::ops::Range<usize> {
        self.inner.range().to_range()
    }

    /// Finds room for a function of `len` bytes.
    ///
    /// It begins on a multiple of 16 bytes; for more see [`draft_aligned`](Self::draft_aligned). What the bytes are at first is not said: zeroes, or
    /// those of a piece that was dropped.
    ///
    /// # Cost
    ///
    /// See [`CodeMemory`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exhausted`]: no hole is long enough ([`usage`](Self::usage) tells how long the longest one is), or no memory is left for it.
    /// [`ErrorKind::NotPermitted`]: another process made it; see [`CodeStrategy::Dual`].
    pub fn draft(&self, len: usize) -> Result<CodeDraft> {
        self.draft_aligned(len, 1)
    }

    /// As [`draft`](Self::draft), for a function that begins on a multiple of `align`, a power of two.
    ///
    /// # Errors
    ///
    /// As [`draft`](Self::draft), and [`ErrorKind::InvalidInput`]: `align` is no power of two, or more than a page.
    ///
    /// # Examples
    ///
    /// ```
    /// let code = folio::CodeMemory::new(1 << 16)?;
    /// let draft = code.draft_aligned(100, 64)?;
    /// assert_eq!(draft.address().addr() % 64, 0);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn draft_aligned(&self, len: usize, align: usize) -> Result<CodeDraft> {
        let failed = |failure: Failure| failure.during(Operation::Allocate, Some(self.inner.range()), None);
        if !align.is_power_of_two() || align > page::size() {
            return Err(failed(Failure::invalid("the alignment is no power of two, or more than a page")));
        }
        self.inner.may_write().map_err(failed)?;
        let mut state = self.inner.state();
        let exclusive = matches!(self.inner.area, Area::Toggle(_)) && !state.pages.may_share();
        // A page of its own, where a page that holds code cannot be written to any more.
        let (taken, align) = match len.max(1).checked_next_multiple_of(page::size()) {
            Some(whole) if exclusive => (whole, page::size()),
            Some(whole) if whole == len => (len, page::size()),
            _ => (len, align),
        };
        let start = state.pieces.take(taken, align).ok_or_else(|| {
            let longest = state.pieces.largest() < len;
            let failure = Failure::new(ErrorKind::Exhausted);
            failed(if longest {
                failure
                    .detail("no part of the code memory that is free is so long")
                    .remedy("drop pieces that are no longer executed, or make a larger area")
            } else {
                failure.detail("no part of the code memory that is free is so long on such a boundary")
            })
        })?;
        let room = Room { memory: self.inner.clone(), start, len, taken, published: false };
        drop(state);
        CodeDraft::new(room)
    }

    /// Publishes several drafts at once: cheaper where strategies make system calls, since what lies side by side takes the same ones.
    ///
    /// # Errors
    ///
    /// As [`CodeDraft::publish`]; then none is published, and all are given back.
    ///
    /// # Panics
    ///
    /// Never. Drafts of another area are an error.
    ///
    /// # Examples
    ///
    /// ```
    /// let code = folio::CodeMemory::new(1 << 16)?;
    /// let drafts = vec![code.draft(40)?, code.draft(200)?];
    /// let pieces = code.publish(drafts)?;
    /// assert_eq!((pieces.len(), code.usage().pieces), (2, 2));
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[expect(
        clippy::result_large_err,
        reason = "what was to be published comes back, and nothing is allocated for that"
    )]
    pub fn publish(
        &self,
        drafts: Vec<CodeDraft>,
    ) -> core::result::Result<Vec<CodePiece>, (Vec<CodeDraft>, Error)> {
        draft::publish_all(self, drafts)
    }

    /// Gives the memory of holes back to the system, as far as it is of whole pages, and says how many bytes that is. Their addresses
    /// stay.
    ///
    /// # Cost
    ///
    /// A system call or two for each hole of a page and more. Nobody drafts or publishes meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`], [`ErrorKind::Exhausted`]: the system refused one; those before it are given back.
    ///
    /// # Examples
    ///
    /// ```
    /// let code = folio::CodeMemory::new(1 << 16)?;
    /// drop(code.draft(1 << 15)?.publish()?);
    /// println!("{} bytes given back", code.trim()?);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn trim(&self) -> Result<usize> {
        let failed = |failure: Failure| failure.during(Operation::Decommit, Some(self.inner.range()), None);
        self.inner.may_write().map_err(failed)?;
        let size = page::size();
        let mut state = self.inner.state();
        let State { pieces, pages: book, .. } = &mut *state;
        let mut given = 0_usize;
        for hole in pieces.iter() {
            let pages = hole.start.div_ceil(size)..hole.end.checked_div(size).unwrap_or(0);
            if pages.is_empty() {
                continue;
            }
            let done = match &self.inner.area {
                Area::Toggle(area) => area.empty(book, pages),
                Area::Dual(area) => area.empty(pages),
                #[cfg(not(feature = "deny_xw"))]
                Area::ByThread(area) => area.empty(pages),
            };
            given = given.saturating_add(done.map_err(failed)?);
        }
        Ok(given)
    }

    /// Lets the calling thread read what is published, where that is a matter of threads: with
    /// protection keys (`CodeStrategy::ProtectionKey`). Elsewhere it does nothing.
    ///
    /// Needed by functions that read their own bytes, or constants beside them. The thread that makes the area may read, and so may those that it, and
    /// they, make then. A thread that was there before calls this once, and a signal handler each time.
    ///
    /// # Cost
    ///
    /// Reads a register, and writes it the first time.
    pub fn let_thread_read(&self) {
        #[cfg(not(feature = "deny_xw"))]
        if let Area::ByThread(area) = &self.inner.area {
            area.let_read();
        }
    }

    /// How it is filled.
    ///
    /// # Cost
    ///
    /// A look at what is counted anyway.
    ///
    /// # Examples
    ///
    /// ```
    /// let code = folio::CodeMemory::new(1 << 16)?;
    /// let piece = code.draft(100)?.publish()?;
    /// let usage = code.usage();
    /// assert_eq!(usage.free() + usage.used, usage.capacity);
    /// assert!(usage.used >= 100 && usage.pieces == 1 && usage.fragmentation() == 0.0);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn usage(&self) -> CodeUsage {
        let state = self.inner.state();
        let pieces = &state.pieces;
        CodeUsage {
            capacity: pieces.capacity(),
            used: pieces.capacity().saturating_sub(pieces.free()),
            pieces: state.published,
            holes: pieces.holes(),
            largest_hole: pieces.largest(),
        }
    }
}

impl fmt::Debug for CodeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeMemory")
            .field("range", &format_args!("{:#x?}", self.as_range()))
            .field("strategy", &self.strategy())
            .field("usage", &self.usage())
            .finish()
    }
}

impl Inner {
    fn range(&self) -> PageRange {
        match &self.area {
            Area::Toggle(toggle) => toggle.range(),
            Area::Dual(dual) => dual.range(),
            #[cfg(not(feature = "deny_xw"))]
            Area::ByThread(area) => area.range(),
        }
    }

    /// Whether this process may write to it.
    fn may_write(&self) -> core::result::Result<(), Failure> {
        match &self.area {
            Area::Dual(dual) => dual.is_ours(),
            _ => Ok(()),
        }
    }

    /// Counts only, each change of which is whole: a panic leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the byte at an offset is executed.
    fn code(&self, offset: usize) -> NonNull<u8> {
        let base = match &self.area {
            Area::Toggle(toggle) => toggle.base(),
            Area::Dual(dual) => dual.code(),
            #[cfg(not(feature = "deny_xw"))]
            Area::ByThread(area) => area.base(),
        };
        // Offsets are within the area, which ends below the top of the address space.
        NonNull::new(base.as_ptr().wrapping_add(offset)).unwrap_or(base)
    }
}

/// A part of an area that is taken: given back when dropped.
struct Room {
    memory: Arc<Inner>,
    start: usize,
    /// As was asked for.
    len: usize,
    /// As was taken: more, if it is not to share its last page.
    taken: usize,
    /// Whether it is counted among the pieces.
    published: bool,
}

impl Room {
    fn code(&self) -> NonNull<u8> {
        self.memory.code(self.start)
    }

    /// The pages that it touches, by number in the area.
    fn pages(&self) -> core::ops::Range<usize> {
        pages_of(self.start, self.len)
    }

    fn range(&self) -> Option<PageRange> {
        PageRange::touching(self.code().addr().get(), self.len.max(1)).ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        if self.published {
            state.published = state.published.saturating_sub(1);
            if let Area::Toggle(_) = self.memory.area {
                state.pages.withdraw(self.pages());
            }
        }
        state.pieces.give(self.start, self.taken);
    }
}

/// The pages that bytes touch, by number in the area; one at least.
fn pages_of(start: usize, len: usize) -> core::ops::Range<usize> {
    let size = page::size();
    let end = start.saturating_add(len.max(1));
    start.checked_div(size).unwrap_or(0)..end.div_ceil(size)
}

/// Lets the processor execute what was written.
///
/// # Safety
///
/// Bytes that can be read.
unsafe fn flush(first: NonNull<u8>, len: usize) -> core::result::Result<(), Failure> {
    if len == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { os::flush_instructions(NonNull::slice_from_raw_parts(first, len)) }
}
