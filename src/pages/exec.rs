//! Pages that can be executed: to and fro, and what the processor must be told between writing and executing.

#[cfg(not(feature = "deny_xw"))]
use super::AllowWrite;
use super::convert::{Changed, try_from};
use super::map::Map;
use super::part::resolve;
use super::{
    AllowExec, AllowRead, DenyExec, DenyWrite, ExecAccess, Mmap, MmapMut, MmapNone, MmapOptions, Pages,
    ReadAccess, Together, WriteAccess,
};
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::os;
use crate::protection::Protection;
use core::ops::{Range, RangeBounds};
use core::ptr::NonNull;

#[cfg(test)]
mod tests;

/// Pages that can be read and executed.
///
/// # Examples
///
/// ```
/// use folio::{MmapExec, Pages};
///
/// let mut pages = Pages::new(1)?;
/// // A function that returns 42.
#[cfg_attr(
    any(target_arch = "x86", target_arch = "x86_64"),
    doc = "let code = [0xb8, 42, 0, 0, 0, 0xc3]; // mov eax, 42; ret"
)]
#[cfg_attr(
    target_arch = "aarch64",
    doc = "let code = [0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]; // mov w0, 42; ret"
)]
#[cfg_attr(
    not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")),
    doc = "let code = []; return Ok::<(), folio::Error>(());"
)]
/// pages[..code.len()].copy_from_slice(&code);
///
/// // It can be executed now, and no longer be written.
/// let pages: MmapExec = match pages.make_exec() {
///     Ok(pages) => pages,
///     Err((_, error)) => return Ok(println!("not here: {error}")),
/// };
/// // SAFETY: the bytes are a function of this type.
/// let function: extern "C" fn() -> i32 = unsafe { core::mem::transmute(pages.as_ptr()) };
/// assert_eq!(function(), 42);
///
/// // To write something else, back; `function` must not be called any more.
/// let pages = pages.make_mut()?;
/// # Ok::<(), folio::Error>(())
/// ```
///
/// ```compile_fail,E0594
/// let mut pages = folio::MmapOptions::new(1).map_exec()?;
/// pages[0] = 0xc3; // cannot assign
/// # Ok::<(), folio::Error>(())
/// ```
#[cfg_attr(
    feature = "deny_xw",
    doc = "
With the feature `deny_xw`, there is no such type as one that can be written and executed:

```compile_fail,E0277
use folio::{AllowExec, AllowRead, AllowWrite, Pages};
fn run(pages: Pages<AllowRead, AllowWrite, AllowExec>) {}
```

```compile_fail,E0432
use folio::MmapExecMut;
```

```compile_fail,E0599
let pages = folio::MmapOptions::new(1).jit().map_mut()?;
// SAFETY: nothing is executed.
let pages = unsafe { pages.make_exec_mut() };
# Ok::<(), folio::Error>(())
```

```compile_fail,E0599
// SAFETY: nothing is executed.
let pages = unsafe { folio::MmapOptions::new(1).jit().map_exec_mut() };
```"
)]
///
/// One right more may be allowed or denied, but never so that the two come together by a safe call:
///
#[cfg_attr(feature = "deny_xw", doc = "```compile_fail,E0599")]
#[cfg_attr(not(feature = "deny_xw"), doc = "```compile_fail,E0133")]
/// let pages = folio::MmapOptions::new(1).jit().map_exec()?;
/// let pages = pages.allow_write();
/// # Ok::<(), folio::Error>(())
/// ```
///
#[cfg_attr(feature = "deny_xw", doc = "```compile_fail,E0599")]
#[cfg_attr(not(feature = "deny_xw"), doc = "```compile_fail,E0133")]
/// let pages = folio::MmapOptions::new(1).jit().map_mut()?;
/// let pages = pages.allow_exec();
/// # Ok::<(), folio::Error>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
pub type MmapExec = Pages<AllowRead, DenyWrite, AllowExec>;

/// Pages that can be read, written and executed.
///
/// To write to them is as good as to run something. Think of [`make_mut`](Pages::make_mut) and [`make_exec`](Pages::make_exec) in turn.
#[cfg(not(feature = "deny_xw"))]
pub type MmapExecMut = Pages<AllowRead, AllowWrite, AllowExec>;

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// To rights among which is that to execute.
    fn change_to_exec<R2, W2>(self) -> Changed<Pages<R2, W2, AllowExec>, Self>
    where
        R2: ReadAccess,
        W2: WriteAccess,
        (W2, AllowExec): Together,
    {
        let mut this = self;
        let (from, to) = (Self::PROTECTION, Pages::<R2, W2, AllowExec>::PROTECTION);
        // SAFETY: `self` is consumed, so that no reference into the pages is left; what is made of it below says what they grant.
        match unsafe { this.map.flush_and_protect(from, to) } {
            // SAFETY: the pages grant just that now.
            Ok(()) => Ok(unsafe { Pages::from_map(this.map) }),
            Err(error) => Err((this, error)),
        }
    }

    /// Lets the pages be read and executed, and not written.
    ///
    /// Before they become executable, the processor is told to execute what was written, as by [`flush_icache`](Self::flush_icache):
    /// see there for what other threads have to do. (Pages that cannot be read are made readable for that, where the
    /// processor would read them.)
    ///
    /// # Cost
    ///
    /// One system call, two where pages are made readable before; and the flush.
    ///
    /// # Errors
    ///
    /// As [`make_none`](Self::make_none) and [`flush_icache`](Self::flush_icache). Where a policy forbids a program to execute what it has
    /// written (SELinux, PaX, `PR_SET_MDWE`, the hardened runtime of macOS, iOS, arbitrary code guard of Windows),
    /// [`ErrorKind::NotPermitted`], and a [remedy](Error::remedy).
    ///
    /// # Platforms
    ///
    /// OpenBSD ends a program that has pledged without `prot_exec` (pledge(2)).
    pub fn make_exec(self) -> Result<MmapExec, (Self, Error)> {
        self.change_to_exec::<AllowRead, DenyWrite>()
    }

    /// As [`make_exec`](Self::make_exec), without telling the processor.
    ///
    /// # Safety
    ///
    /// What was written to the pages since they were last flushed ([`flush_icache`](Self::flush_icache)) is not executed before it
    /// is: the processor may execute what was there before, or any mixture. (On x86 and s390x nothing has to be done.)
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    pub unsafe fn make_exec_no_flush(self) -> Result<MmapExec, (Self, Error)> {
        self.change::<AllowRead, DenyWrite, AllowExec>()
    }

    /// Lets the pages be executed and not written; whether they can be read stays as it is. Flushes as
    /// [`make_exec`](Self::make_exec) does.
    ///
    /// # Cost, errors
    ///
    /// As [`make_exec`](Self::make_exec).
    pub fn set_protected_exec(self) -> Result<Pages<R, DenyWrite, AllowExec>, (Self, Error)> {
        self.change_to_exec::<R, DenyWrite>()
    }

    /// Lets this thread execute what was written to the pages.
    ///
    /// Processors fetch what they execute through a cache of its own, which on many does not see what was written. The
    /// conversions to executable pages flush it; this is for what is written otherwise, and before
    /// [`make_exec_no_flush`](Self::make_exec_no_flush).
    ///
    /// # Other threads
    ///
    /// A thread that is running may have fetched some instructions ahead. This matters when code takes the place of other code
    /// that the thread has executed, or when it lies where other code lay before.
    ///
    /// | processor | another thread executes the new code after |
    /// |---|---|
    /// | x86 | it has learned of it (an acquiring load, say) and, by the letter of Intel's manual (volume 3A, "Handling Self- and Cross-Modifying Code"), executed a serializing instruction, such as `cpuid` |
    /// | aarch64, 32-bit Arm, powerpc64le on Linux ≥ 4.16 | it has learned of it: the flush makes all running threads serialize, by `MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE` (membarrier(2)) |
    /// | aarch64 on other systems, on kernels without that command, or in sandboxes that forbid it | an `isb` |
    /// | powerpc64le likewise | an `isync` |
    /// | loongarch64 | an `ibar` |
    /// | riscv on Linux | it has learned of it: the kernel flushes for all threads (riscv_flush_icache(2)) |
    ///
    /// # Cost
    ///
    /// Nothing on x86 and s390x; no system call, either. On aarch64 and powerpc64le an instruction or two for each line of a cache (64 to
    /// 128 bytes), as far as the processor demands, and on Linux one system call, `membarrier`, which interrupts the processors that
    /// run other threads of the process. On 32-bit Arm, RISC-V, Apple's systems and Windows one call. Never allocates.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NotPermitted`]: the pages cannot be read, and this processor's flush (aarch64, Arm, powerpc64le) would read them.
    /// - [`ErrorKind::Unsupported`]: it is not known how this processor is told.
    /// - On 32-bit Arm, RISC-V and Windows, [`ErrorKind::System`]: the system refused.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut pages = folio::Pages::new(1)?;
    /// pages[0] = 0xc3;
    /// pages.flush_icache()?;
    /// // SAFETY: just flushed.
    /// let pages = unsafe { pages.make_exec_no_flush() };
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn flush_icache(&self) -> Result<(), Error> {
        self.flush_icache_range(..)
    }

    /// The same for a part: `range` is in bytes from the start of the pages.
    ///
    /// # Cost
    ///
    /// As [`flush_icache`](Self::flush_icache).
    ///
    /// # Errors
    ///
    /// As [`flush_icache`](Self::flush_icache), and [`ErrorKind::InvalidInput`] when the range is not within the pages. An empty range
    /// within them is none.
    pub fn flush_icache_range(&self, range: impl RangeBounds<usize>) -> Result<(), Error> {
        let readable = Self::PROTECTION.contains(Protection::READ);
        resolve(&range, self.len())
            .ok_or_else(|| Failure::invalid("the range is not within the pages"))
            .and_then(|range| self.map.flush_icache(range, readable))
            .map_err(|failure| failure.during(Operation::FlushInstructions, self.map.pages(), None))
    }
}

impl<R: ReadAccess> Pages<R, DenyWrite, DenyExec> {
    /// Lets the pages be executed, too. Flushes as [`make_exec`](Self::make_exec) does.
    ///
    /// Of pages that can be written, the right to write must be taken before ([`deny_write`](Pages::deny_write)), or at the same time:
    /// [`set_protected_exec`](Self::set_protected_exec).
    ///
    /// # Cost, errors
    ///
    /// As [`make_exec`](Self::make_exec).
    pub fn allow_exec(self) -> Result<Pages<R, DenyWrite, AllowExec>, (Self, Error)> {
        self.change_to_exec::<R, DenyWrite>()
    }
}

impl<R, W> Pages<R, W, AllowExec>
where
    R: ReadAccess,
    W: WriteAccess,
    (W, AllowExec): Together,
    (W, DenyExec): Together,
{
    /// No longer lets the pages be executed.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    pub fn deny_exec(self) -> Result<Pages<R, W, DenyExec>, (Self, Error)> {
        self.change::<R, W, DenyExec>()
    }
}

impl MmapOptions<'_> {
    /// Pages that can be read and executed: zeroes, until they are [made writable](Pages::make_mut) for a while.
    ///
    /// # Cost, errors
    ///
    /// As [`map_none`](Self::map_none), and as [`Pages::make_exec`].
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    pub fn map_exec(&self) -> Result<MmapExec, Error> {
        self.make()
    }
}

/// Writing and executing at once.
#[cfg(not(feature = "deny_xw"))]
mod together {
    use super::*;

    fn not_jit() -> Failure {
        Failure::invalid("the mapping was not made for code that is written while it can be executed")
            .remedy("make it with MmapOptions::jit")
    }

    impl<R, W, X> Pages<R, W, X>
    where
        R: ReadAccess,
        W: WriteAccess,
        X: ExecAccess,
        (W, X): Together,
    {
        fn change_to_both<R2: ReadAccess>(self) -> Changed<Pages<R2, AllowWrite, AllowExec>, Self> {
            if !self.map.is_jit() {
                let error = not_jit().during(Operation::Protect, self.map.pages(), None);
                return Err((self, error));
            }
            self.change_to_exec::<R2, AllowWrite>()
        }

        /// Lets the pages be read, written and executed at once. Flushes what was written so far, as [`make_exec`](Self::make_exec) does.
        ///
        /// There is [`make_mut`](Self::make_mut) and [`make_exec`](Self::make_exec) for doing it in turn, which is what systems and processors
        /// are made for.
        ///
        /// # Safety
        ///
        /// - Whoever can write to the pages decides what is executed: a hole by which an attacker writes becomes one by which he executes.
        ///   No reference to the bytes is given to what is not trusted so far.
        /// - What is written from now on is not executed before it is [flushed](Self::flush_icache), nor written while any thread
        ///   executes it.
        /// - On Apple's processors each thread writes, by the slice or by pointers, only while it has turned writing on for itself
        ///   (`pthread_jit_write_protect_np`), which turns executing off; otherwise a write ends the process.
        ///
        /// # Cost
        ///
        /// As [`make_exec`](Self::make_exec).
        ///
        /// # Errors
        ///
        /// As [`make_exec`](Self::make_exec); [`ErrorKind::InvalidInput`] when the mapping was not made with
        /// [`MmapOptions::jit`](super::super::MmapOptions::jit); [`ErrorKind::NotPermitted`] where the system never grants the two at once
        /// (NetBSD, OpenBSD and hardened programs).
        ///
        /// # Platforms
        ///
        /// On Apple's processors the mapping stays as it is from then on: to change it once more is refused.
        pub unsafe fn make_exec_mut(self) -> Result<MmapExecMut, (Self, Error)> {
            self.change_to_both::<AllowRead>()
        }
    }

    impl<R: ReadAccess> Pages<R, DenyWrite, AllowExec> {
        /// Lets the pages be written, too, although they can be executed.
        ///
        /// # Safety, errors
        ///
        /// As [`make_exec_mut`](Self::make_exec_mut).
        #[expect(clippy::missing_safety_doc, reason = "the section is there, with another one")]
        pub unsafe fn allow_write(self) -> Result<Pages<R, AllowWrite, AllowExec>, (Self, Error)> {
            self.change_to_both::<R>()
        }
    }

    impl<R: ReadAccess> Pages<R, AllowWrite, DenyExec> {
        /// Lets the pages be executed, too, although they can be written.
        ///
        /// # Safety, errors
        ///
        /// As [`make_exec_mut`](Self::make_exec_mut).
        #[expect(clippy::missing_safety_doc, reason = "the section is there, with another one")]
        pub unsafe fn allow_exec(self) -> Result<Pages<R, AllowWrite, AllowExec>, (Self, Error)> {
            self.change_to_both::<R>()
        }
    }

    impl MmapOptions<'_> {
        /// Pages that can be read, written and executed at once; only with [`jit`](Self::jit).
        ///
        /// # Safety
        ///
        /// As [`Pages::make_exec_mut`].
        ///
        /// # Cost, errors
        ///
        /// As [`map_none`](Self::map_none), and as [`Pages::make_exec_mut`].
        pub unsafe fn map_exec_mut(&self) -> Result<MmapExecMut, Error> {
            if !self.is_jit() {
                return Err(not_jit().during(Operation::Allocate, None, None));
            }
            self.make()
        }
    }

    try_from! {
        MmapExecMut => MmapNone by make_none;
        MmapExecMut => Mmap by make_read_only;
        MmapExecMut => MmapMut by make_mut;
        MmapExecMut => MmapExec by make_exec;
    }
}

impl Map {
    /// `range` is within the mapping.
    pub(super) fn flush_icache(&self, range: Range<usize>, readable: bool) -> Result<(), Failure> {
        if range.is_empty() {
            return Ok(());
        }
        if !readable && os::flush_reads() {
            return Err(Failure::new(ErrorKind::NotPermitted)
                .detail("this processor's flush reads the pages, and they are not to be read")
                .remedy("let them be readable before (allow_read), or convert them by make_exec, which sees to it"));
        }
        // SAFETY: not beyond the mapping's end (`resolve`).
        let start = unsafe { self.base().add(range.start) };
        // SAFETY: bytes of this mapping, which can be read where the flush does so (just checked; `readable` is what the
        // typed owner says).
        unsafe { os::flush_instructions(NonNull::slice_from_raw_parts(start, range.len())) }
    }

    /// Lets all pages grant something else, to execute among it, after the processor was told to execute what was written. On failure
    /// those that the mapping still has grant what they did.
    ///
    /// # Safety
    ///
    /// As [`protect`](Self::protect).
    unsafe fn flush_and_protect(&mut self, from: Protection, to: Protection) -> Result<(), Error> {
        let Some(pages) = self.pages() else { return Ok(()) };
        let failed = |operation| move |failure: Failure| failure.during(operation, Some(pages), None);
        if from.contains(Protection::READ) || !os::flush_reads() {
            self.flush_icache(0..self.len(), true).map_err(failed(Operation::FlushInstructions))?;
            // SAFETY: the caller's promise.
            return unsafe { self.change(pages, from, to) }.map_err(failed(Operation::Protect));
        }
        // Readable alone: nobody shall execute what is not flushed.
        // SAFETY: the caller's promise; what they grant is put right below.
        unsafe { self.change(pages, from, Protection::READ) }.map_err(failed(Operation::Protect))?;
        let flushed = self.flush_icache(0..self.len(), true);
        let (operation, done) = match flushed {
            // SAFETY: the caller's promise.
            Ok(()) => (Operation::Protect, unsafe { self.change(pages, Protection::READ, to) }),
            refused => (Operation::FlushInstructions, refused),
        };
        let Err(failure) = done else { return Ok(()) };
        // SAFETY: the caller's promise.
        let lost = unsafe { self.put_back(from) };
        let failure = if lost { failure.changed(pages) } else { failure };
        Err(failed(operation)(failure))
    }

    /// Lets all pages grant again what the typed owner says. If they cannot be made to, they are lost, and it is true.
    ///
    /// # Safety
    ///
    /// No reference into the pages is left.
    #[cold]
    unsafe fn put_back(&mut self, from: Protection) -> bool {
        let Some(pages) = self.pages() else { return false };
        // SAFETY: the caller's promise; what they grant then is what the typed owner says.
        let lost = unsafe { os::protect(pages, from) }.is_err();
        if lost {
            self.shut_out(pages);
        }
        lost
    }
}

try_from! {
    MmapExec => MmapNone by make_none;
    MmapExec => Mmap by make_read_only;
    MmapExec => MmapMut by make_mut;
    MmapNone => MmapExec by make_exec;
    Mmap => MmapExec by make_exec;
    MmapMut => MmapExec by make_exec;
}
