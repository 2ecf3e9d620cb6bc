//! Looking up one address, and the regions of a range.

use super::{Detail, Region};
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::os;
use crate::range::PageRange;
use core::fmt;
use core::iter::FusedIterator;

/// The region in which `address` lies, in this process.
///
/// # Cost
///
/// Linux 6.11 and later: one `ioctl` (`PROCMAP_QUERY`), however many mappings there are, on a descriptor that folio keeps
/// open; every 64th answer, and every answer of "unmapped", takes one `fstat` more, which proves that the descriptor is
/// still ours. Older Linux, or a sandbox that forbids it: `/proc/thread-self/maps` is read up to the address. Windows: one
/// `VirtualQuery`, and when the address is not in the first page of its allocation as many more as finding the region's
/// start takes, which grows with the logarithm of its pages. Apple: one `mach_vm_region_recurse`, which goes by a tree, and
/// for memory that is shared now counts who shares it. None of these allocates, the first time neither. FreeBSD, NetBSD,
/// OpenBSD, illumos: all mappings are listed, by a few system calls and into a buffer that is allocated; use a
/// [`Snapshot`](crate::Snapshot) for many questions.
///
/// # Errors
///
/// [`ErrorKind::Unmapped`] when nothing is mapped at the address: holes, address 0, addresses that the system keeps for
/// itself. [`ErrorKind::NotPermitted`], [`ErrorKind::Unsupported`] or [`ErrorKind::Exhausted`] when `/proc` may not be
/// read, is not there, or no descriptor is left; [`ErrorKind::UnexpectedAnswer`], which allocates to carry the answer.
///
/// # In signal handlers, after `fork`, with threads
///
/// May be called from a signal handler on Linux: no lock, no allocation, by the text 5 KiB of stack when optimized. On x86,
/// arm and riscv64 the system calls are raw and `errno` is left alone; on other processors they are libc's: save it.
///
/// In the child of a `fork` it answers for the child: the kept descriptor belongs to the parent, which a page that the
/// kernel clears on `fork` gives away, and a new one is opened; the inherited number stays open and unused until `exec`.
/// May be called from many threads at once; none waits for another.
///
/// Should somebody close the kept descriptor, or give its number to another file, folio notices and opens a new one; it
/// never closes a number that is no longer its own. A number deliberately replaced by the `maps` of *another process that
/// has the same address mapped* (`dup2` onto it) can go unnoticed for up to 63 answers. When it has been lost 64 times (to
/// threads that share memory but not descriptors, say), none is kept any more, and the text answers.
///
/// For another process, and by a plain number: [`Process::query`](crate::Process::query).
///
/// # Platforms
///
/// Linux, Android, Windows, FreeBSD, NetBSD, OpenBSD, illumos, macOS and the other systems of Apple (where it must not be called from a signal handler: the
/// answer comes by message, to a port that belongs to the thread). Elsewhere [`ErrorKind::Unsupported`]. NetBSD lists about
/// 9,000 mappings of a process at most, and beyond that answers [`ErrorKind::Exhausted`]. OpenBSD: no promise of `pledge`
/// admits the question, not in a process's own case either: after `pledge` the kernel ends the process, or with the promise
/// `error` refuses, as [`ErrorKind::NotPermitted`]. Ask before, or keep a [`Snapshot`](crate::Snapshot).
///
/// # Examples
///
/// ```
/// let local = 1_u8;
/// assert!(folio::query(&local)?.is_writable());
///
/// let code = folio::query(folio::page::size as *const ())?;
/// assert!(code.is_executable() && !code.is_writable());
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: [proc_pid_maps(5)](https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html),
/// [`PROCMAP_QUERY`](https://docs.kernel.org/filesystems/proc.html),
/// [`VirtualQuery`](https://learn.microsoft.com/windows/win32/api/memoryapi/nf-memoryapi-virtualquery),
/// [`mach_vm_region_recurse`](https://github.com/apple-oss-distributions/xnu/blob/main/osfmk/mach/mach_vm.defs).
#[inline]
pub fn query<T>(address: *const T) -> Result<Region> {
    in_target(&os::Target::CURRENT, address.addr())
}

pub(super) fn in_target(target: &os::Target, address: usize) -> Result<Region> {
    let page = PageRange::containing(address);
    match os::query(target, page) {
        Ok(Some(region)) => Ok(region),
        Ok(None) => Err(unmapped(Operation::Query, page, target.pid())),
        Err(failure) => Err(failure.during(Operation::Query, Some(page), target.pid())),
    }
}

#[cold]
pub(super) fn unmapped(operation: Operation, page: PageRange, pid: Option<u32>) -> Error {
    Failure::new(ErrorKind::Unmapped).during(operation, Some(page), pid)
}

/// The mapped regions that overlap `[address, address + len)`, in ascending order, in this process.
///
/// The first and last region are given whole, also where they reach beyond the range. Holes are left out. A range that
/// reaches beyond what a process may use is no error: `query_range(null::<()>(), usize::MAX)` lists everything.
///
/// # What is guaranteed while others change mappings
///
/// The answer is not a snapshot: the system is asked as the iteration goes on. Regions come in ascending order and never
/// overlap; none comes twice; the iteration always ends. A region that grew downward over one already given is cut to
/// its new part. What was mapped before the iteration began and is left alone until it ends is always in it. (The one
/// exception is that of [`query()`]: a program that gives the number of folio's descriptor to another process's `maps`
/// while the iteration runs may get up to 63 regions of that.)
///
/// # Cost
///
/// Linux: one `ioctl` a region for short lists; for long ones the text of `/proc/thread-self/maps`, which the kernel gives
/// a page at a time and which then costs less (folio remembers how long the list was the last time). Allocates one buffer
/// of some pages if the text is used, nothing for each region. Windows: one `VirtualQuery` a region or hole. FreeBSD, NetBSD, OpenBSD, illumos: the list is read
/// when the iteration is made, into one buffer, which on NetBSD takes 1.1 KiB a region. Apple: one
/// `mach_vm_region_recurse` a region.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] when `len` is 0; otherwise as [`query`]. An error during the iteration is its last item.
///
/// # Examples
///
/// ```
/// let mut bytes = 0;
/// for region in folio::query_range(core::ptr::null::<()>(), usize::MAX)? {
///     let region = region?;
///     bytes += region.len() as u64;
///     println!("{:#x?} {}", region.as_range(), region.protection());
/// }
/// assert!(bytes > 0);
/// # Ok::<(), folio::Error>(())
/// ```
pub fn query_range<T>(address: *const T, len: usize) -> Result<QueryIter> {
    QueryIter::new(&os::Target::CURRENT, address.addr(), len)
}

/// The regions that overlap a range, in ascending order: made by [`query_range`] and
/// [`Process::query_range`](crate::Process::query_range).
///
/// Fused: after the end, or after an error, it gives `None` for ever.
pub struct QueryIter {
    walk: Option<Walk>,
}

impl QueryIter {
    pub(super) fn new(target: &os::Target, address: usize, len: usize) -> Result<Self> {
        let range = PageRange::touching(address, len)
            .map_err(|failure| failure.during(Operation::List, None, target.pid()))?;
        Ok(Self { walk: Some(Walk::new(target, range, Detail::Region)?) })
    }
}

impl Iterator for QueryIter {
    type Item = Result<Region>;

    #[inline]
    fn next(&mut self) -> Option<Result<Region>> {
        let step = self.walk.as_mut()?.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.walk = None;
        }
        step
    }
}

impl FusedIterator for QueryIter {}

impl fmt::Debug for QueryIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryIter").field("ended", &self.walk.is_none()).finish()
    }
}

/// A walk of the backend, made monotonic: whatever the system answers, the regions ascend, do not overlap and end.
pub(super) struct Walk {
    inner: os::Walk,
    range: PageRange,
    pid: Option<u32>,
    progress: Progress,
    cut: usize,
}

impl Walk {
    pub(super) fn new(target: &os::Target, range: PageRange, detail: Detail) -> Result<Self> {
        let pid = target.pid();
        let inner = os::Walk::new(target, range, detail)
            .map_err(|failure| failure.during(Operation::List, Some(range), pid))?;
        Ok(Self { inner, range, pid, progress: Progress::Start, cut: 0 })
    }

    /// Goes to the next region.
    #[inline]
    pub(super) fn step(&mut self) -> Result<Option<Region>> {
        loop {
            let region = match self.inner.step() {
                Ok(Some(region)) => region,
                Ok(None) => return Ok(None),
                Err(failure) => {
                    return Err(failure.during(Operation::List, Some(self.range), self.pid));
                }
            };
            match self.progress.admit(region, self.range) {
                Admitted::Skip => {}
                Admitted::End => return Ok(None),
                Admitted::Give(admitted) => {
                    self.cut = admitted.base.saturating_sub(region.base);
                    return Ok(Some(admitted));
                }
            }
        }
    }

    /// How many bytes were cut off the front of the region given last, because they had been given before.
    pub(super) fn cut(&self) -> usize {
        self.cut
    }

    /// The backend's walk, for the details of the region given last.
    pub(super) fn details(&self) -> &os::Walk {
        &self.inner
    }
}

/// How far an iteration has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Start,
    /// Everything up to and including this address has been given.
    Past(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admitted {
    Skip,
    Give(Region),
    End,
}

impl Progress {
    #[inline]
    fn admit(&mut self, mut region: Region, range: PageRange) -> Admitted {
        if region.is_empty() || region.last() < range.first() {
            return Admitted::Skip;
        }
        if region.base > range.last() {
            return Admitted::End;
        }
        let last = region.last();
        if let Self::Past(given) = *self {
            if given >= range.last() {
                return Admitted::End;
            }
            if last <= given {
                return Admitted::Skip;
            }
            if let Some(repeated) = given.checked_add(1).and_then(|next| next.checked_sub(region.base)) {
                region.base = region.base.saturating_add(repeated);
                region.len = region.len.saturating_sub(repeated);
            }
        }
        *self = Self::Past(last);
        Admitted::Give(region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn region(base: usize, len: usize) -> Region {
        Region { base, len, ..Region::default() }
    }

    proptest! {
        /// Trap: a mapping that changes between two steps must not loop, repeat or go backwards. Whatever a system
        /// answers, in whatever order, what comes out ascends without overlap and covers nothing that was not answered.
        #[test]
        fn any_sequence_of_answers_comes_out_ascending(
            answers in prop::collection::vec((0_usize..40, 0_usize..8), 0..60),
            first in 0_usize..40, pages in 1_usize..40,
        ) {
            let page = crate::page::size();
            let range = PageRange::touching(first * page, pages * page).unwrap();
            let mut progress = Progress::Start;
            let mut given: Vec<Region> = Vec::new();
            for &(base, len) in &answers {
                let answer = region(base * page, len * page);
                match progress.admit(answer, range) {
                    Admitted::Skip => {}
                    Admitted::End => break,
                    Admitted::Give(cut) => {
                        prop_assert!(!cut.is_empty());
                        prop_assert_eq!(cut.last(), answer.last());
                        prop_assert!(cut.base >= answer.base);
                        prop_assert!(cut.base <= range.last() && cut.last() >= range.first());
                        given.push(cut);
                    }
                }
            }
            for pair in given.windows(2) {
                prop_assert!(pair[0].last() < pair[1].base);
            }
        }
    }

    /// Found by the test above: a region that had grown, and of which only what lies beyond the range was new, was given.
    #[test]
    fn nothing_beyond_the_range_is_given() {
        let page = crate::page::size();
        let range = PageRange::touching(30 * page, 2 * page).unwrap();
        let mut progress = Progress::Start;
        assert!(matches!(progress.admit(region(29 * page, 7 * page), range), Admitted::Give(_)));
        assert_eq!(progress.admit(region(31 * page, 6 * page), range), Admitted::End);
    }

    #[test]
    fn the_top_of_the_address_space_ends_an_iteration() {
        let page = crate::page::size();
        let range = PageRange::touching(0, usize::MAX).unwrap();
        let mut progress = Progress::Start;
        let top = region(usize::MAX - page + 1, page);
        assert_eq!(progress.admit(top, range), Admitted::Give(top));
        assert_eq!(progress.admit(top, range), Admitted::End);
    }
}
