//! How an area for code is asked for.

#[cfg(not(feature = "deny_xw"))]
use super::by_thread::ByThread;
use super::dual::Dual;
use super::toggle::Toggle;
use super::{Area, CodeMemory};
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::range::PageLen;
use core::fmt;

/// How it is kept that no page can be written and executed at once.
///
/// [`Capabilities::code`](crate::Capabilities::code) tells which of them this system allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CodeStrategy {
    /// The memory is mapped twice: at one address it can be written, at another it can be executed, and at none both. What is published
    /// is executed all the while, whatever is written beside it: nothing ever changes what it grants.
    ///
    /// The best, where it is to be had. Whoever learns the address for writing can write to what is executed; it is told to nobody, and
    /// chosen by the system.
    ///
    /// It is shared memory: a process that was forked has the same, and sees what its parent does with it. The child can execute what was published,
    /// as long as the parent keeps it, and drafting, publishing, patching and trimming are errors there. A draft that was made before the
    /// fork is the same bytes in both.
    Dual,
    /// The memory is mapped once, and can be written first and executed then. To write beside what is published, and to patch, its page
    /// is copied, and the copy put in its place at once (Linux; each such page is a mapping of its own then); elsewhere each piece has
    /// pages of its own.
    Toggle,
    /// The memory is mapped once, to be written and executed, but every thread is granted reading and executing only, or executing only,
    /// by a [protection key](crate::KeyedPages): writing is opened for the thread that publishes, for as long as it copies. A write by any
    /// other thread meanwhile ends the process, as one at any other time does. It is no barrier against code that is hostile: that can open
    /// the key itself.
    ///
    /// **Who reads.** A thread executes what it may not read; but whether it may read, constants that lie beside the instructions for one,
    /// is a matter of the thread: see [`CodeMemory::let_thread_read`].
    ///
    /// When the area is gone, its key is given back: threads that may read by it may read what the next owner of the key protects, until that
    /// says otherwise.
    ///
    /// Linux, on x86 processors with protection keys. There are 15 keys for the whole process. All of the area is memory that the system counts
    /// as promised.
    #[cfg(not(feature = "deny_xw"))]
    #[cfg_attr(docsrs, doc(cfg(not(feature = "deny_xw"))))]
    ProtectionKey,
    /// The memory is mapped once, as `MAP_JIT`, which each thread may execute, or write: the thread that publishes may write, for as long as it
    /// copies, and executes when that is done, whatever it was doing before. (A signal handler that comes in between must not call generated code.)
    ///
    /// macOS on Apple's own processors: there it is what the system wants. Programs with the hardened runtime need the entitlement
    /// `com.apple.security.cs.allow-jit`, and must not have `com.apple.security.cs.jit-write-allowlist`, which forbids the calls that are used. The memory
    /// of holes is kept by [`CodeMemory::trim`].
    #[cfg(not(feature = "deny_xw"))]
    #[cfg_attr(docsrs, doc(cfg(not(feature = "deny_xw"))))]
    MapJit,
}

impl CodeStrategy {
    /// In the order in which they are tried where none is asked for.
    const ORDER: &'static [Self] = &[
        Self::Dual,
        #[cfg(not(feature = "deny_xw"))]
        Self::MapJit,
        Self::Toggle,
    ];

    /// All that folio knows, on whatever system, and that the features leave.
    pub const fn all() -> &'static [Self] {
        &[
            Self::Dual,
            Self::Toggle,
            #[cfg(not(feature = "deny_xw"))]
            Self::ProtectionKey,
            #[cfg(not(feature = "deny_xw"))]
            Self::MapJit,
        ]
    }
}

impl fmt::Display for CodeStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dual => "two mappings",
            Self::Toggle => "toggling",
            #[cfg(not(feature = "deny_xw"))]
            Self::ProtectionKey => "protection key",
            #[cfg(not(feature = "deny_xw"))]
            Self::MapJit => "MAP_JIT",
        })
    }
}

/// An area for code as it is asked for.
///
/// # Examples
///
/// ```
/// use folio::{CodeOptions, CodeStrategy};
///
/// // So near to this function that the jumps of every processor reach it.
/// let near = CodeOptions::new(1 << 16).near(folio::page::size as *const (), 100 << 20).map();
/// // By no other strategy.
/// let code = CodeOptions::new(1 << 16).strategy(CodeStrategy::Toggle).map()?;
/// assert_eq!(code.strategy(), CodeStrategy::Toggle);
/// # drop(near);
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
pub struct CodeOptions {
    capacity: usize,
    strategy: Option<Wish>,
    near: Option<(usize, usize)>,
    only_targets: bool,
    trial: bool,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    First(CodeStrategy),
    Only(CodeStrategy),
}

impl CodeOptions {
    /// For at least `capacity` bytes of code, up to whole pages.
    ///
    /// It is address space, of which only what is used has memory. (By [`Dual`](CodeStrategy::Dual), Windows, FreeBSD and illumos count all of it
    /// as promised.)
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, strategy: None, near: None, only_targets: false, trial: true }
    }

    /// By this strategy and no other.
    ///
    /// Without it, by the first that the system allows: [`Dual`](CodeStrategy::Dual), `MapJit` where there is no feature `deny_xw`, then
    /// [`Toggle`](CodeStrategy::Toggle).
    #[must_use]
    pub const fn strategy(mut self, strategy: CodeStrategy) -> Self {
        self.strategy = Some(Wish::Only(strategy));
        self
    }

    /// By this strategy if the system allows it, else by another, in the order of [`strategy`](Self::strategy).
    #[must_use]
    pub const fn prefer(mut self, strategy: CodeStrategy) -> Self {
        self.strategy = Some(Wish::First(strategy));
        self
    }

    /// Where it is executed, no byte is further than `distance` bytes from an address: jumps and addresses relative to the instruction
    /// reach ±2 GiB on x86-64, ±128 MiB on aarch64.
    #[must_use]
    pub fn near<T>(mut self, address: *const T, distance: usize) -> Self {
        self.near = Some((address.addr(), distance));
        self
    }

    /// Indirect branches into the code may lead to marked instructions only (arm64's `BTI`, and what implies it); others end the process:
    /// `PROT_BTI`, Linux 5.8, on processors that have it. What [`get_fn`](super::CodePiece::get_fn) is asked for is called so: it begins with `bti c`.
    ///
    /// Elsewhere an error, [`ErrorKind::Unsupported`], for it is wanted for safety; and so it is with the strategies that the feature `deny_xw` takes away.
    #[must_use]
    pub const fn branch_targets(mut self) -> Self {
        self.only_targets = true;
        self
    }

    /// Does without the trial in a child process where system calls are filtered (Linux: seccomp).
    ///
    /// A filter can end the process for a call, and cannot be asked what it does. So a child tries first, whose death does no harm. For programs
    /// whose filter ends the process for having a child, and allows that memory is made executable.
    #[must_use]
    pub const fn without_trial(mut self) -> Self {
        self.trial = false;
        self
    }

    /// Makes the area.
    ///
    /// # Cost
    ///
    /// See [`CodeMemory`]; with [`near`](Self::near), a listing of the regions there.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: `capacity` is 0, or more than `isize::MAX`.
    /// - [`ErrorKind::Exhausted`]: not so much address space is free, or not near enough.
    /// - [`ErrorKind::NotPermitted`]: a policy forbids programs to execute what they have written; see [`Pages::make_exec`](crate::Pages::make_exec). Some
    ///   of these forbid one strategy only. Where a strategy is asked for, a policy that is asked about each change is not asked here: then it is
    ///   publishing that fails.
    /// - [`ErrorKind::Unsupported`]: this system has not the strategy that was asked for, or no branch targets.
    ///
    /// # Platforms
    ///
    /// On OpenBSD, a program that has called `pledge` without `prot_exec` is ended by the system: it cannot be found out before.
    pub fn map(&self) -> Result<CodeMemory> {
        let len = PageLen::covering(self.capacity)
            .map_err(|failure: Failure| failure.during(Operation::Allocate, None, None))?;
        let first = match self.strategy {
            Some(Wish::Only(strategy)) => return self.by(strategy, len),
            Some(Wish::First(strategy)) => Some(strategy),
            None => None,
        };
        let others = CodeStrategy::ORDER.iter().copied().filter(|&strategy| Some(strategy) != first);
        let mut refused: Option<Error> = None;
        for strategy in first.into_iter().chain(others) {
            let made = self.by(strategy, len).and_then(|code| match strategy {
                // Of which policies learn when code is published.
                CodeStrategy::Toggle => try_out(&code).map(|()| code),
                _ => Ok(code),
            });
            match made {
                // The first is told of, unless there is just no such thing.
                Err(error) if may_do_otherwise(&error) => match refused {
                    Some(ref first) if first.kind() != ErrorKind::Unsupported => {}
                    _ => refused = Some(error),
                },
                made => return made,
            }
        }
        // There is one at least.
        let none = || Failure::new(ErrorKind::Unsupported).during(Operation::Allocate, None, None);
        Err(refused.unwrap_or_else(none))
    }

    fn by(&self, strategy: CodeStrategy, len: PageLen) -> Result<CodeMemory> {
        let failed = |failure: Failure| failure.during(Operation::Allocate, None, None);
        if self.only_targets {
            os::has_branch_targets().map_err(failed)?;
        }
        if self.trial {
            os::allows_code(strategy == CodeStrategy::Dual).map_err(failed)?;
        }
        #[cfg(not(feature = "deny_xw"))]
        if self.only_targets && matches!(strategy, CodeStrategy::ProtectionKey | CodeStrategy::MapJit) {
            return Err(failed(
                Failure::new(ErrorKind::Unsupported)
                    .detail("branch targets, with this strategy")
                    .remedy("take Dual or Toggle"),
            ));
        }
        let area = match strategy {
            CodeStrategy::Dual => Area::Dual(Dual::map(len, self.near, self.only_targets)?),
            CodeStrategy::Toggle => Area::Toggle(Toggle::map(len, self.near, self.only_targets)?),
            #[cfg(not(feature = "deny_xw"))]
            CodeStrategy::ProtectionKey => Area::ByThread(ByThread::with_key(len, self.near)?),
            #[cfg(not(feature = "deny_xw"))]
            CodeStrategy::MapJit => Area::ByThread(ByThread::of_jit(len, self.near)?),
        };
        Ok(CodeMemory::of(area))
    }
}

/// Whether another strategy may do: each has a limit of its own, too (keys, the size of files).
fn may_do_otherwise(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotPermitted | ErrorKind::Exhausted)
}

/// Publishes a page, which nobody executes.
fn try_out(code: &CodeMemory) -> Result<()> {
    code.draft(1)?.publish()?;
    Ok(())
}

/// Which strategies the system allows, by having each make a page of code, which nobody executes.
pub(crate) fn allowed() -> Allowed {
    let one = |strategy| CodeOptions::new(1).strategy(strategy).map().and_then(|code| try_out(&code)).is_ok();
    Allowed {
        dual: one(CodeStrategy::Dual),
        toggle: one(CodeStrategy::Toggle),
        #[cfg(not(feature = "deny_xw"))]
        protection_key: one(CodeStrategy::ProtectionKey),
        #[cfg(not(feature = "deny_xw"))]
        map_jit: one(CodeStrategy::MapJit),
    }
}

/// What [`allowed`] found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Allowed {
    dual: bool,
    toggle: bool,
    #[cfg(not(feature = "deny_xw"))]
    protection_key: bool,
    #[cfg(not(feature = "deny_xw"))]
    map_jit: bool,
}

impl Allowed {
    pub(crate) fn has(&self, strategy: CodeStrategy) -> bool {
        match strategy {
            CodeStrategy::Dual => self.dual,
            CodeStrategy::Toggle => self.toggle,
            #[cfg(not(feature = "deny_xw"))]
            CodeStrategy::ProtectionKey => self.protection_key,
            #[cfg(not(feature = "deny_xw"))]
            CodeStrategy::MapJit => self.map_jit,
        }
    }
}
