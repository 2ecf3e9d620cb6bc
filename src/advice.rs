//! What a program can tell the system about pages without losing what is in them.

/// How pages will be used, or how the system should treat them: a hint, after which they hold what they held before.
///
/// Given by [`Pages::advise`](crate::Pages::advise). What a system does not know has no effect there, and is no error; only
/// [`Collapse`](Self::Collapse), which is an order, fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
///
/// What loses content is not here: see [`Pages::decommit`](crate::Pages::decommit),
/// [`Pages::free_lazily`](crate::Pages::free_lazily) and [`Pages::wipe_on_fork`](crate::Pages::wipe_on_fork).
///
/// # Platforms
///
/// | | Linux, Android | Windows | Apple | FreeBSD, NetBSD, OpenBSD | illumos |
/// |---|---|---|---|---|---|
/// | `Normal`, `Sequential`, `Random` | yes | – | yes | yes | yes |
/// | `WillNeed` | yes | `PrefetchVirtualMemory` | yes | yes | yes |
/// | `HugePages`, `NoHugePages` | 2.6.38 | – | – | – | – |
/// | `Cold` | 5.4 | – | `MADV_DONTNEED` | `MADV_DONTNEED` | – |
/// | `PageOut` | 5.4 | – | – | – | – |
/// | `Collapse` | 6.1 | error | error | error | error |
/// | `Mergeable`, `Unmergeable` | 2.6.32 | – | – | – | – |
///
/// (On Apple's systems and the BSDs `MADV_DONTNEED` takes pages for the next ones to be paged out and loses nothing; on Linux the call of
/// that name drops them.)
///
/// Reference: [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Advice {
    /// Nothing special: takes [`Sequential`](Self::Sequential) and [`Random`](Self::Random) back.
    Normal,
    /// The pages will be used soon: what is not in memory begins to be read in. The call does not wait for it.
    WillNeed,
    /// The pages will be used in ascending order: of files, more is read ahead.
    Sequential,
    /// The pages will be used in no order: of files, nothing is read ahead.
    Random,
    /// Huge pages where there can be some: Linux's transparent ones, in mode `madvise` or `always`. The pages hold what they held; they
    /// become huge when they are touched next, or in the background.
    HugePages,
    /// No huge pages any more. Those that are there stay.
    NoHugePages,
    /// The pages will not be used for some time: where memory is short, they are the first to be paged out.
    Cold,
    /// The pages are paged out now, as far as there is where to: private ones go to swap space, those of files to the file. They
    /// come back, with what they held, when they are touched.
    PageOut,
    /// Huge pages now, of all ranges of a huge page's size that lie within the pages: done when the call returns, or an error.
    Collapse,
    /// Pages that hold the same as other mergeable ones, here or in other processes, may become one with them until they are written
    /// to: found in the background where that is turned on (`/sys/kernel/mm/ksm/run`).
    ///
    /// Who can measure how long a write takes learns whether somebody else has the same page: not for secrets.
    Mergeable,
    /// Takes [`Mergeable`](Self::Mergeable) back, and gives merged pages memory of their own.
    Unmergeable,
}
