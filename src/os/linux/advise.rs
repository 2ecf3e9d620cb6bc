//! What the kernel is told about pages (madvise(2)), and asked (mincore(2)).

use super::{sys, why};
use crate::advice::Advice;
use crate::error::{ErrorKind, Failure};
use crate::os::NotDiscarded;
use crate::protection::Protection;
use crate::range::PageRange;
use rustix::io::Errno;

fn native(advice: Advice) -> i32 {
    match advice {
        Advice::Normal => libc::MADV_NORMAL,
        Advice::WillNeed => libc::MADV_WILLNEED,
        Advice::Sequential => libc::MADV_SEQUENTIAL,
        Advice::Random => libc::MADV_RANDOM,
        Advice::HugePages => libc::MADV_HUGEPAGE,
        Advice::NoHugePages => libc::MADV_NOHUGEPAGE,
        Advice::Cold => libc::MADV_COLD,
        Advice::PageOut => libc::MADV_PAGEOUT,
        Advice::Collapse => COLLAPSE,
        Advice::Mergeable => libc::MADV_MERGEABLE,
        Advice::Unmergeable => libc::MADV_UNMERGEABLE,
    }
}

/// `MADV_COLLAPSE`, which libc does not have for all C libraries.
const COLLAPSE: i32 = 25;

/// A hint: nothing is lost. What the kernel does not know has no effect.
pub(crate) fn advise(range: PageRange, advice: Advice) -> Result<(), Failure> {
    let native = native(advice);
    // SAFETY: none of these changes what the pages hold or grant (madvise(2)).
    let Err(errno) = (unsafe { sys::advise(range, native) }) else { return Ok(()) };
    match errno {
        Errno::INVAL if !sys::knows_advice(native) => match advice {
            Advice::Collapse => Err(Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
                .remedy("collapsing takes Linux 6.1 with transparent huge pages")),
            _ => Ok(()),
        },
        Errno::INVAL => Err(pointless(advice, errno)),
        // A kernel without swap space has nothing to read anonymous memory in from.
        Errno::BADF if advice == Advice::WillNeed => Ok(()),
        Errno::BUSY => Err(Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
            .detail("the control group may not have a huge page more")),
        Errno::NOMEM if advice == Advice::Collapse && !why::has_hole(range) => {
            Err(Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
                .detail("no huge page is to be had for now"))
        }
        errno => Err(refused(range, errno)),
    }
}

/// The kernel knows the advice, and not for these pages.
#[cold]
fn pointless(advice: Advice, errno: Errno) -> Failure {
    let failure = Failure::system(ErrorKind::NotPermitted, errno.raw_os_error());
    match advice {
        Advice::Cold | Advice::PageOut => {
            failure.detail("locked pages, and those of hugetlb, stay in memory").remedy("unlock them before")
        }
        Advice::Collapse => failure.detail("the pages cannot become huge ones").remedy(
            "ask for a range that holds aligned pages of that size, not advised against huge pages (Advice::NoHugePages)",
        ),
        _ => failure.detail("the kernel does not take this advice for pages of this kind"),
    }
}

/// What other codes mean.
#[cold]
fn refused(range: PageRange, errno: Errno) -> Failure {
    match errno {
        Errno::NOMEM | Errno::INVAL if why::has_hole(range) => {
            Failure::system(ErrorKind::Unmapped, errno.raw_os_error())
        }
        // A range that is treated otherwise than its neighbours is a mapping of its own.
        Errno::NOMEM => why::too_many_mappings(errno),
        Errno::AGAIN => Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
            .detail("the kernel lacked something for now")
            .remedy("try again"),
        Errno::PERM | Errno::ACCESS => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("the pages are sealed, or a sandbox forbids the call"),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    }
}

/// A flag: must hold.
fn flag(range: PageRange, advice: i32, since: &'static str) -> Result<(), Failure> {
    // SAFETY: the flags given here change nothing of what this process's pages hold or grant (madvise(2)).
    unsafe { sys::advise(range, advice) }.map_err(|errno| match errno {
        Errno::INVAL if !sys::knows_advice(advice) => {
            Failure::system(ErrorKind::Unsupported, errno.raw_os_error()).remedy(since)
        }
        Errno::INVAL => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error()).detail(
            "the kernel does this for private memory without a file alone, or not for pages of this kind",
        ),
        errno => refused(range, errno).changed(range),
    })
}

/// Whether it is said when memory is mapped that core dumps leave it out, and never changed.
pub(crate) const fn dumps_chosen_when_mapped() -> bool {
    false
}

/// Whether core dumps leave the pages out.
pub(crate) fn keep_out_of_core_dumps(range: PageRange, out: bool) -> Result<(), Failure> {
    let advice = if out { libc::MADV_DONTDUMP } else { libc::MADV_DODUMP };
    flag(range, advice, "that takes Linux 3.4")
}

/// Whether the child of a `fork` has zeroes there.
pub(crate) fn wipe_on_fork(range: PageRange, wipe: bool) -> Result<(), Failure> {
    let advice = if wipe { libc::MADV_WIPEONFORK } else { libc::MADV_KEEPONFORK };
    flag(range, advice, "that takes Linux 4.14")
}

/// Gives the memory back; private pages are fresh ones then. Marks stay (`_marked`: whether there are any).
///
/// # Safety
///
/// Nobody uses the content, nor has references to it.
pub(crate) unsafe fn discard(
    range: PageRange,
    _protection: Protection,
    _marked: bool,
) -> Result<(), NotDiscarded> {
    // SAFETY: the caller's promise.
    let Err(errno) = (unsafe { sys::advise(range, libc::MADV_DONTNEED) }) else { return Ok(()) };
    let failure = match errno {
        Errno::INVAL => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("locked pages cannot be given back; nor those of hugetlb, before Linux 5.18")
            .remedy("unlock them before"),
        errno => refused(range, errno),
    };
    // Mapping after mapping: those before one that is refused are fresh.
    Err(if why::is_one_mapping(range) { failure } else { failure.changed(range) }.into())
}

/// Gives the memory of a file's pages back. What is shared is in the file, or on its way there; of what was `copied`, the changes are
/// lost.
///
/// # Safety
///
/// As [`discard`].
pub(crate) unsafe fn discard_file(range: PageRange, _copied: bool) -> Result<(), NotDiscarded> {
    // SAFETY: the caller's promise; marks and protection are not looked at.
    unsafe { discard(range, Protection::NONE, false) }
}

/// Lets the kernel take the memory when it wants it: each page stays as it is, or is a fresh one at any time, until it is
/// written to.
///
/// # Safety
///
/// Nobody uses the content, nor has references to it, before each page has been written to.
pub(crate) unsafe fn discard_lazily(
    range: PageRange,
    protection: Protection,
    marked: bool,
) -> Result<(), NotDiscarded> {
    // SAFETY: the caller's promise.
    match unsafe { sys::advise(range, libc::MADV_FREE) } {
        // Before 4.5, or pages of another kind.
        // SAFETY: the caller's promise.
        Err(Errno::INVAL) => unsafe { discard(range, protection, marked) },
        Err(errno) => Err(refused(range, errno).changed(range).into()),
        Ok(()) => Ok(()),
    }
}

/// Reads the pages in, for reading, or for writing. Says whether the kernel can.
pub(crate) fn populate(range: PageRange, write: bool) -> Result<bool, Failure> {
    let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    let errno = loop {
        // SAFETY: neither what the pages hold nor what they grant changes (madvise(2)).
        match unsafe { sys::advise(range, advice) } {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(errno) => break errno,
        }
    };
    if errno == Errno::INVAL && !sys::knows_advice(advice) {
        return Ok(false);
    }
    Err(match errno {
        Errno::FAULT => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("some page cannot be had: one beyond the end of its file, or one that is guarded"),
        sys::HWPOISON => Failure::system(ErrorKind::System, errno.raw_os_error())
            .detail("the memory of some page is defective"),
        Errno::INVAL => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error())
            .detail("some page does not grant this access, or belongs to a device"),
        Errno::NOMEM if !why::has_hole(range) => {
            Failure::system(ErrorKind::Exhausted, errno.raw_os_error()).detail("there is not so much memory")
        }
        errno => refused(range, errno),
    })
}

/// How many of the pages are in memory.
pub(crate) fn resident(range: PageRange) -> Result<usize, Failure> {
    crate::os::batch::resident(range, |pages, states| {
        let errno = match sys::in_core(pages, states) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        Err(match errno {
            Errno::NOMEM => Failure::system(ErrorKind::Unmapped, errno.raw_os_error()),
            Errno::AGAIN => Failure::system(ErrorKind::Exhausted, errno.raw_os_error()),
            _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
        })
    })
}
