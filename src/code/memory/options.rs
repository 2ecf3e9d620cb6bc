//! How an area for code is asked for.

use super::dual::Dual;
use super::toggle::Toggle;
use super::{Area, CodeMemory};
use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::range::PageLen;

/// How it is kept that no page can be written and executed at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CodeStrategy {
    /// The memory is mapped twice: at one address it can be written, at another it can be executed, and at none both. What is published
    /// is executed all the while, whatever is written beside it: nothing ever changes what it grants.
    ///
    /// The best, where it is to be had. Whoever learns the address for writing can write to what is executed; it is told to nobody, and
    /// chosen by the system.
    Dual,
    /// The memory is mapped once, and can be written first and executed then. To write beside what is published, and to patch, its page
    /// is copied, and the copy put in its place at once (Linux; each such page is a mapping of its own then); elsewhere each piece has
    /// pages of its own.
    Toggle,
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
    strategy: Option<CodeStrategy>,
    near: Option<(usize, usize)>,
}

impl CodeOptions {
    /// For at least `capacity` bytes of code, up to whole pages.
    ///
    /// It is address space, of which only what is used has memory.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, strategy: None, near: None }
    }

    /// By this strategy and no other. Without it, by the first that the system allows: [`Dual`](CodeStrategy::Dual), then
    /// [`Toggle`](CodeStrategy::Toggle).
    #[must_use]
    pub const fn strategy(mut self, strategy: CodeStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Where it is executed, no byte is further than `distance` bytes from an address: jumps and addresses relative to the instruction
    /// reach ±2 GiB on x86-64, ±128 MiB on aarch64.
    #[must_use]
    pub fn near<T>(mut self, address: *const T, distance: usize) -> Self {
        self.near = Some((address.addr(), distance));
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
    ///   of these forbid one strategy only. A policy that is asked about each change is not asked here: then it is publishing that fails.
    /// - [`ErrorKind::Unsupported`]: this system has not the strategy that was asked for.
    pub fn map(&self) -> Result<CodeMemory> {
        let len = PageLen::covering(self.capacity)
            .map_err(|failure: Failure| failure.during(Operation::Allocate, None, None))?;
        match self.strategy {
            Some(strategy) => self.by(strategy, len),
            None => match self.by(CodeStrategy::Dual, len) {
                Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotPermitted) => {
                    self.by(CodeStrategy::Toggle, len)
                }
                made => made,
            },
        }
    }

    fn by(&self, strategy: CodeStrategy, len: PageLen) -> Result<CodeMemory> {
        Ok(CodeMemory::of(match strategy {
            CodeStrategy::Dual => Area::Dual(Dual::map(len, self.near)?),
            CodeStrategy::Toggle => Area::Toggle(Toggle::map(len, self.near)?),
        }))
    }
}
