//! A process whose memory is looked at: this one or another.

use super::query::{Walk, in_target, unmapped};
use super::{Backing, Detail, QueryIter, Region, Snapshot, Usage};
use crate::error::{Operation, Result};
use crate::os;
use crate::range::PageRange;
use core::fmt;

/// A process whose memory can be looked at: the calling one, or another by its identifier.
///
/// Addresses of a process are numbers here (`usize`), since a pointer into another process is none.
///
/// A handle to another process holds on to that process, not to its number: when it ends and the number is given to a new
/// process, the handle says [`ErrorKind::ProcessEnded`](crate::ErrorKind::ProcessEnded), and never speaks of the new one.
///
/// # Examples
///
/// What does a process have mapped, and from which files?
///
/// ```
/// let pid = std::process::id(); // or that of any process that we may look into
/// let process = folio::Process::open(pid)?;
/// let mut mappings = process.mappings()?;
/// while let Some(mapping) = mappings.advance()? {
///     let name = String::from_utf8_lossy(mapping.backing().name());
///     println!("{:#x} {} {name}", mapping.region().as_range().start, mapping.region().protection());
/// }
/// # Ok::<(), folio::Error>(())
/// ```
pub struct Process {
    target: os::Target,
}

impl Process {
    /// The process that calls: after a `fork`, each of the two means itself.
    ///
    /// # Cost
    ///
    /// Nothing.
    pub const fn current() -> Self {
        Self { target: os::Target::CURRENT }
    }

    /// Another process, by its identifier (or this one: the handle then keeps meaning it after a `fork`, but for Apple's
    /// systems).
    ///
    /// # Cost
    ///
    /// Linux: the folder `/proc/PID` is opened and kept (`CLOEXEC`), three files in it are opened, read and closed. Windows:
    /// one handle. Apple: one port, and a decision of the system's daemon `taskgated`.
    /// illumos: one file (`/proc/PID`, `CLOEXEC`). FreeBSD, NetBSD, OpenBSD: nothing is kept but two numbers, the identifier
    /// and the time at which the process was started; both are compared after every list, by one call of `sysctl` on NetBSD, three on the others
    /// (where setting the clock moves that time: it is reckoned out, with more calls if the clock is being set just then).
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::NoSuchProcess`](crate::ErrorKind::NoSuchProcess): there is none, or none that we may know of
    ///   (`/proc` mounted with `hidepid`).
    /// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): we may not look into it. Linux lets the same user do
    ///   so unless the process gained rights (set-user-ID, file capabilities) or was marked undumpable; root, or
    ///   `CAP_SYS_PTRACE`, always. Windows: `PROCESS_QUERY_INFORMATION | PROCESS_VM_READ`. macOS: root, or a program signed with the
    ///   entitlement `com.apple.security.cs.debugger`; nobody looks into the system's own processes while System Integrity
    ///   Protection is on. Other systems of Apple: this process alone. FreeBSD: who
    ///   may debug it. OpenBSD: root alone.
    /// - [`ErrorKind::ProcessEnded`](crate::ErrorKind::ProcessEnded): it has ended, and waits only for its parent to take
    ///   notice.
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): no descriptor or handle is left.
    ///
    /// # Platforms
    ///
    /// Linux, Android: a thread's identifier opens its process, which [`id`](Self::id) then names.
    ///
    /// Apple: a process that begins to run another program (`exec`) has ended for the handle. A handle does not outlive
    /// `fork`: in the child it says [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// FreeBSD, NetBSD, OpenBSD, illumos: a process that runs another program (`exec`) is still the same; FreeBSD refuses to tell
    /// of it while it does so ([`ErrorKind::System`](crate::ErrorKind::System), `EBUSY`: try again).
    ///
    /// On systems without a backend `Unsupported`, always.
    pub fn open(pid: u32) -> Result<Self> {
        match os::Target::open(pid) {
            Ok(target) => Ok(Self { target }),
            Err(failure) => Err(failure.during(Operation::OpenProcess, None, Some(pid))),
        }
    }

    /// The identifier: of [`Process::current`], that of whoever asks. 0 on systems without a backend.
    pub fn id(&self) -> u32 {
        self.target.pid().unwrap_or_else(os::process_id)
    }

    /// The region in which `address` lies: [`query`](crate::query()) for this process.
    ///
    /// # Cost
    ///
    /// Linux 6.11: `maps` is opened, asked by one `ioctl` and closed, some microseconds however many mappings there are. (A
    /// descriptor that was kept would describe memory, not the process, which changes it by `exec`.) Otherwise as
    /// [`query`](crate::query()). To ask often, take a [`snapshot`](Self::snapshot).
    ///
    /// # Errors
    ///
    /// As [`query`](crate::query()), and [`ErrorKind::ProcessEnded`](crate::ErrorKind::ProcessEnded).
    pub fn query(&self, address: usize) -> Result<Region> {
        in_target(&self.target, address)
    }

    /// The mapped regions that overlap `[address, address + len)`: [`query_range`](crate::query_range) for this process.
    ///
    /// # Errors
    ///
    /// As [`query_range`](crate::query_range); [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted) when the process has
    /// gained rights meanwhile; and [`ErrorKind::ProcessEnded`](crate::ErrorKind::ProcessEnded), also in the middle: a list that was cut short by the end of the process never looks complete.
    pub fn query_range(&self, address: usize, len: usize) -> Result<QueryIter> {
        QueryIter::new(&self.target, address, len)
    }

    /// All regions. The same as a [`query_range`](Self::query_range) over all addresses, at the same cost and with the same
    /// errors.
    pub fn regions(&self) -> Result<QueryIter> {
        self.query_range(0, usize::MAX)
    }

    /// All regions, each with what stands behind it.
    ///
    /// # Cost
    ///
    /// Linux: one pass over the text of `maps`, one buffer. Where a name looks like that of a deleted file, or holds `\012`,
    /// the file is asked for by `stat`, up to eight times, once for neighbours with the same name. (Who maps a file of
    /// a slow network can make that slow.) Windows: one `VirtualQuery` a region, and one `GetMappedFileName` for each
    /// allocation that is mapped from a file. FreeBSD, NetBSD, OpenBSD: one list. illumos: one list, and one `readlink` for
    /// each file that differs from the one before. Apple: one
    /// `mach_vm_region_recurse` a region; for each that is mapped from a file, and for each stretch of others, one
    /// `proc_pidinfo`; for each that is mapped privately from a file, up to three `mach_vm_page_info`; for neighbours with
    /// the same file, one `stat`.
    ///
    /// # Errors
    ///
    /// As [`query_range`](Self::query_range).
    pub fn mappings(&self) -> Result<Mappings> {
        Mappings::new(&self.target, Detail::Backing)
    }

    /// All regions, each with what stands behind it and what it uses.
    ///
    /// # Cost
    ///
    /// Linux: one pass over `smaps`, for which the kernel looks at every page that the process has: milliseconds for each
    /// gigabyte in memory. Windows: one `QueryWorkingSetEx` for each 1024 pages. FreeBSD: as [`mappings`](Self::mappings),
    /// since its list always has the figure. illumos: for `xmap`, too, the kernel looks at every page; a region whose pages
    /// have several sizes comes in parts of one size each, and memory mapped with `MAP_NORESERVE` as far as it was touched. Apple: another
    /// `mach_vm_region_recurse` a region, for which the kernel looks at each page of address space that could hold memory.
    ///
    /// # Errors
    ///
    /// As [`query_range`](Self::query_range); [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on a kernel built
    /// without `smaps`.
    pub fn mappings_with_usage(&self) -> Result<Mappings> {
        Mappings::new(&self.target, Detail::Usage)
    }

    /// What stands behind the region in which `address` lies.
    ///
    /// # Cost
    ///
    /// Linux: as [`query`](Self::query); the name is copied into memory of its own. One `stat` more where the name looks like
    /// that of a deleted file; by the text, see [`mappings`](Self::mappings). Windows: `VirtualQuery` and `GetMappedFileName`.
    /// Apple: `mach_vm_region_recurse`, `proc_pidinfo`, up to three `mach_vm_page_info`, `stat`.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub fn backing(&self, address: usize) -> Result<Backing<'static>> {
        self.detail(Operation::Backing, address, os::backing)
    }

    /// What memory the region uses in which `address` lies.
    ///
    /// # Cost
    ///
    /// Linux: `smaps` is read up to the region, for which the kernel looks at every page below it, too; to measure many
    /// regions use [`mappings_with_usage`](Self::mappings_with_usage). Windows: one `QueryWorkingSetEx` for each 1024
    /// pages of the region. Apple: two `mach_vm_region_recurse`, for one of which the kernel looks at each page of the region.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on a kernel built without
    /// `smaps`, on NetBSD and on OpenBSD.
    pub fn usage(&self, address: usize) -> Result<Usage> {
        self.detail(Operation::Usage, address, os::usage)
    }

    /// All mappings at this moment, in a form that answers many look-ups without the system.
    ///
    /// # Cost
    ///
    /// As [`mappings`](Self::mappings); allocates some 150 bytes a region, and room for the names: once for neighbours with
    /// the same.
    ///
    /// # Errors
    ///
    /// As [`query_range`](Self::query_range).
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        snapshot.refresh(self)?;
        Ok(snapshot)
    }

    fn detail<T>(
        &self,
        operation: Operation,
        address: usize,
        find: fn(&os::Target, PageRange) -> core::result::Result<Option<T>, crate::error::Failure>,
    ) -> Result<T> {
        let page = PageRange::containing(address);
        match find(&self.target, page) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(unmapped(operation, page, self.target.pid())),
            Err(failure) => Err(failure.during(operation, Some(page), self.target.pid())),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target.pid() {
            Some(pid) => f.debug_tuple("Process").field(&pid).finish(),
            None => f.write_str("Process(current)"),
        }
    }
}

/// One region with what stands behind it, borrowed from [`Mappings`] or a [`Snapshot`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping<'a> {
    pub(super) region: Region,
    pub(super) backing: Backing<'a>,
    pub(super) usage: Option<&'a Usage>,
}

impl<'a> Mapping<'a> {
    /// The region.
    pub fn region(&self) -> Region {
        self.region
    }

    /// What stands behind it.
    pub fn backing(&self) -> &Backing<'a> {
        &self.backing
    }

    /// Both, for keeping: the backing may be made independent by [`Backing::into_owned`].
    pub fn into_parts(self) -> (Region, Backing<'a>) {
        (self.region, self.backing)
    }

    /// The offset, in bytes from the start of the file, at which the byte at `address` stands: what a symbolizer needs.
    /// `None` when the address is not in this region, or [`Backing::offset`] is not known.
    pub fn file_offset(&self, address: usize) -> Option<u64> {
        let inside = address.checked_sub(self.region.base).filter(|&inside| inside < self.region.len)?;
        self.backing.offset()?.checked_add(crate::range::wide(inside))
    }

    /// What it uses, if that was asked for by [`Process::mappings_with_usage`]: of the whole region, also where the iteration
    /// gave only its upper part because it had grown meanwhile.
    pub fn usage(&self) -> Option<&'a Usage> {
        self.usage
    }
}

/// The regions of a process with what stands behind them: made by [`Process::mappings`] and
/// [`Process::mappings_with_usage`].
///
/// Not an [`Iterator`], because each mapping borrows the name from the walk, so that nothing is allocated for it.
/// Otherwise the guarantees of [`query_range`](crate::query_range) hold.
///
/// # Examples
///
/// ```
/// let mut mappings = folio::Process::current().mappings()?;
/// let mut files = 0;
/// while let Some(mapping) = mappings.advance()? {
///     files += u32::from(mapping.backing().path().is_some());
/// }
/// assert!(files > 0);
/// # Ok::<(), folio::Error>(())
/// ```
pub struct Mappings {
    walk: Option<Walk>,
}

impl Mappings {
    pub(super) fn new(target: &os::Target, detail: Detail) -> Result<Self> {
        let all = PageRange::touching(0, usize::MAX)
            .map_err(|failure| failure.during(Operation::List, None, target.pid()))?;
        Ok(Self { walk: Some(Walk::new(target, all, detail)?) })
    }

    /// The next mapping; `None` at the end, and for ever after it or after an error.
    ///
    /// # Errors
    ///
    /// As [`Process::query_range`].
    pub fn advance(&mut self) -> Result<Option<Mapping<'_>>> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let step = walk.step();
        if !matches!(step, Ok(Some(_))) {
            self.walk = None;
        }
        let (Some(region), Some(walk)) = (step?, &self.walk) else { return Ok(None) };
        let mut backing = walk.details().backing();
        backing.offset = backing.offset.saturating_add(crate::range::wide(walk.cut()));
        Ok(Some(Mapping { region, backing, usage: walk.details().usage() }))
    }
}

impl fmt::Debug for Mappings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mappings").field("ended", &self.walk.is_none()).finish()
    }
}

impl Process {
    pub(super) fn target(&self) -> &os::Target {
        &self.target
    }
}
