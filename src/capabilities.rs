//! What this system can do, and how much of it.

use crate::error::{Operation, Result};
use crate::os;
use crate::page::PageSize;
use alloc::vec::Vec;
use core::fmt;

/// By what way [`query`](crate::query()) gets its answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum QueryMethod {
    /// `PROCMAP_QUERY` on a descriptor that is kept open: Linux 6.11 and later. Its cost does not grow with the mappings.
    Ioctl,
    /// The text of `/proc/thread-self/maps`: older Linux, or a sandbox that forbids the other. Its cost grows with the
    /// mappings below the address.
    Text,
    /// A system call made for it: `VirtualQuery`, `mach_vm_region_recurse`.
    Native,
    /// The list of all mappings, which the system gives only as a whole: FreeBSD, NetBSD, OpenBSD, illumos. Its cost grows
    /// with the mappings.
    List,
    /// There is no backend for this system.
    Unsupported,
}

impl fmt::Display for QueryMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ioctl => "PROCMAP_QUERY",
            Self::Text => "/proc text",
            Self::Native => "native",
            Self::List => "whole list",
            Self::Unsupported => "unsupported",
        })
    }
}

/// When the system gives huge pages to ordinary memory by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TransparentHugePages {
    /// Wherever it can.
    Always,
    /// Where the program advises it (`MADV_HUGEPAGE`).
    Advised,
    /// Never.
    Never,
}

impl fmt::Display for TransparentHugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Always => "always",
            Self::Advised => "where advised",
            Self::Never => "never",
        })
    }
}

/// What this system offers of what folio can use, found out without harm.
///
/// Page sizes are in [`page`](crate::page). The type grows with the crate.
///
/// # Examples
///
/// ```
/// use folio::{Capabilities, QueryMethod};
///
/// match Capabilities::probe().query_method() {
///     QueryMethod::Ioctl | QueryMethod::Native => println!("a query costs the same however many mappings there are"),
///     _ => println!("take a snapshot if you have many questions"),
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Capabilities {
    found: Abilities,
    #[cfg(all(feature = "allow_exec", feature = "std"))]
    code: crate::code::Allowed,
}

/// What floor 1 finds out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Abilities {
    pub(crate) query_method: QueryMethod,
    pub(crate) other_processes: bool,
    pub(crate) usage: bool,
    pub(crate) maximum_protection: bool,
    pub(crate) transparent_huge_pages: Option<TransparentHugePages>,
    pub(crate) lock_on_fault: bool,
    pub(crate) guard_advice: bool,
    pub(crate) seal: bool,
    pub(crate) protection_keys: bool,
}

impl Capabilities {
    /// Asks the system. Never fails: what cannot be found out is not there.
    ///
    /// # Cost
    ///
    /// Linux: one query, three files opened, one of them read. Elsewhere: none to speak of. With the feature `allow_exec`, a page of code is made in
    /// each way that there is, some 20 system calls.
    pub fn probe() -> Self {
        Self {
            found: os::capabilities(),
            #[cfg(all(feature = "allow_exec", feature = "std"))]
            code: crate::code::allowed(),
        }
    }

    /// By what way queries of this process are answered.
    pub fn query_method(&self) -> QueryMethod {
        self.found.query_method
    }

    /// Whether [`Process::open`](crate::Process::open) can look at other processes (if their owner and the system permit).
    pub fn other_processes(&self) -> bool {
        self.found.other_processes
    }

    /// Whether [`Process::usage`](crate::Process::usage) can measure.
    pub fn usage(&self) -> bool {
        self.found.usage
    }

    /// Whether [`Region::max_protection`](crate::Region::max_protection) says more than the protection.
    pub fn maximum_protection(&self) -> bool {
        self.found.maximum_protection
    }

    /// Whether [`lock_on_fault`](crate::lock_on_fault) works (Linux 4.4).
    pub fn lock_on_fault(&self) -> bool {
        self.found.lock_on_fault
    }

    /// Whether [`guard`](crate::guard) costs no mapping of its own (`MADV_GUARD_INSTALL`, Linux 6.13); without it, pages are
    /// guarded by taking all access from them.
    pub fn guard_advice(&self) -> bool {
        self.found.guard_advice
    }

    /// Whether [`seal`](crate::seal) works (Linux 6.10, 64-bit; OpenBSD 7.3).
    pub fn seal(&self) -> bool {
        self.found.seal
    }

    /// Whether there are [protection keys](crate::KeyedPages): Linux on x86 processors that have them.
    pub fn protection_keys(&self) -> bool {
        self.found.protection_keys
    }

    /// When ordinary memory gets huge pages; `None` where the system has none.
    pub fn transparent_huge_pages(&self) -> Option<TransparentHugePages> {
        self.found.transparent_huge_pages
    }

    /// Whether the system lets this process make [code memory](crate::CodeMemory) by a strategy.
    ///
    /// Each is tried, without executing anything; so what SELinux (`execmem`), a hardened runtime, Windows' policy of dynamic code, `vm.memfd_noexec`
    /// or a filter of system calls forbid is known. Why it is forbidden tells the error of [`CodeOptions::strategy`](crate::CodeOptions::strategy).
    ///
    /// # Platforms
    ///
    /// Where this thread's system calls are filtered (Linux: seccomp), a child process tries first, lest the filter end this one: see
    /// [`CodeOptions::without_trial`](crate::CodeOptions::without_trial). On OpenBSD, a program that has called `pledge` without `prot_exec` is ended
    /// for trying.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Capabilities, CodeStrategy};
    ///
    /// let here = Capabilities::probe();
    /// if !CodeStrategy::all().iter().any(|&strategy| here.code(strategy)) {
    ///     println!("no code can be made here: let us interpret");
    /// }
    /// ```
    #[cfg(all(feature = "allow_exec", feature = "std"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    pub fn code(&self, strategy: crate::CodeStrategy) -> bool {
        self.code.has(strategy)
    }
}

/// How freely the system promises more memory than it has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Overcommit {
    /// Refuses only what is obviously too much (Linux's default, `overcommit_memory` 0).
    Heuristic,
    /// Never refuses (`overcommit_memory` 1).
    Always,
    /// Promises no more than [`Limits::commit_limit`] (`overcommit_memory` 2; Windows always).
    Never,
}

impl fmt::Display for Overcommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Heuristic => "heuristic",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// The huge pages of one size that the machine has set aside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HugePages {
    pub(crate) size: PageSize,
    pub(crate) total: u64,
    pub(crate) free: u64,
}

impl HugePages {
    /// The size of each.
    pub fn size(&self) -> PageSize {
        self.size
    }

    /// How many there are, in pages.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many of them nobody uses, in pages.
    pub fn free(&self) -> u64 {
        self.free
    }
}

/// How much memory this process and this machine may have, and have: the limits that memory functions run into.
///
/// Everything is in bytes but for the counts of mappings. `None` means that there is no such limit, or that the system does
/// not tell.
///
/// # Examples
///
/// ```
/// let limits = folio::Limits::current()?;
/// if let (Some(now), Some(most)) = (limits.mappings(), limits.max_mappings()) {
///     println!("{now} of {most} mappings");
/// }
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    pub(crate) mappings: Option<u64>,
    pub(crate) max_mappings: Option<u64>,
    pub(crate) locked: Option<u64>,
    pub(crate) lock_limit: Option<u64>,
    pub(crate) address_space: Option<u64>,
    pub(crate) address_space_limit: Option<u64>,
    pub(crate) group_memory: Option<u64>,
    pub(crate) group_memory_limit: Option<u64>,
    pub(crate) overcommit: Option<Overcommit>,
    pub(crate) committed: Option<u64>,
    pub(crate) commit_limit: Option<u64>,
    pub(crate) huge_pages: Vec<HugePages>,
}

impl Limits {
    /// Asks the system, for the calling process.
    ///
    /// # Cost
    ///
    /// All mappings are counted; on Linux, about ten files of `/proc` and `/sys` are read, too. For reports, not for loops.
    ///
    /// # Errors
    ///
    /// As [`query_range`](crate::query_range), when the mappings cannot be counted. A file that cannot be read gives
    /// `None`.
    pub fn current() -> Result<Self> {
        let mut limits = os::limits().map_err(|failure| failure.during(Operation::Limits, None, None))?;
        let mut mappings: u64 = 0;
        for region in crate::Process::current().regions()? {
            region?;
            mappings = mappings.saturating_add(1);
        }
        limits.mappings = Some(mappings);
        Ok(limits)
    }

    /// How many regions this process has now.
    pub fn mappings(&self) -> Option<u64> {
        self.mappings
    }

    /// How many regions a process may have (Linux: `vm.max_map_count`).
    pub fn max_mappings(&self) -> Option<u64> {
        self.max_mappings
    }

    /// How much this process has locked (Linux: `VmLck`).
    pub fn locked(&self) -> Option<u64> {
        self.locked
    }

    /// How much it may lock (Linux, Apple, FreeBSD, NetBSD, OpenBSD: the soft `RLIMIT_MEMLOCK`, which on Linux does not hold for
    /// `CAP_IPC_LOCK`; Windows: its minimum working set, of which a few pages are not to be had).
    pub fn lock_limit(&self) -> Option<u64> {
        self.lock_limit
    }

    /// How much address space this process uses (Linux: `VmSize`; Apple: `virtual_size` of `TASK_VM_INFO`, which includes the
    /// whole region that all processes share).
    pub fn address_space(&self) -> Option<u64> {
        self.address_space
    }

    /// How much it may use (Linux, FreeBSD, NetBSD, illumos: the soft `RLIMIT_AS`; Windows: the user part of the address space;
    /// Apple: the smaller of these two).
    pub fn address_space_limit(&self) -> Option<u64> {
        self.address_space_limit
    }

    /// How much memory the group of processes uses whose limit is [`group_memory_limit`](Self::group_memory_limit).
    pub fn group_memory(&self) -> Option<u64> {
        self.group_memory
    }

    /// The tightest memory limit of the groups this process is in (Linux: `memory.max` of its control group and of those
    /// above it; Windows: of its job; Apple: what the process itself may have before the system ends it, where there is such a
    /// limit, as on phones).
    pub fn group_memory_limit(&self) -> Option<u64> {
        self.group_memory_limit
    }

    /// How freely the system promises memory.
    pub fn overcommit(&self) -> Option<Overcommit> {
        self.overcommit
    }

    /// How much memory the system has promised to all processes.
    pub fn committed(&self) -> Option<u64> {
        self.committed
    }

    /// How much it would promise under [`Overcommit::Never`].
    pub fn commit_limit(&self) -> Option<u64> {
        self.commit_limit
    }

    /// The huge pages set aside, one entry a size.
    pub fn huge_pages(&self) -> &[HugePages] {
        &self.huge_pages
    }
}
