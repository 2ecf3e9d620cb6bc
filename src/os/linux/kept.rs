//! The descriptor of this process's own `maps` that is kept open between queries.
//!
//! A descriptor of `/proc/self/maps` describes the process that opened it: after a `fork` the child would be told about
//! its parent. And a number is not a property: anybody in the process may close it or give it to another file. So:
//!
//! - The number stands in a page that the kernel clears in the child of a `fork` (`MADV_WIPEONFORK`, Linux 4.14): the child
//!   reads 0 there, which means "nothing done yet". That costs no system call. A new number is put only in the place of
//!   "closed", which is not 0: so it cannot be put there by a child that was forked (in a signal handler, say) after its
//!   parent had opened the file. And the number is read once more after each answer.
//! - Beside the number stands the inode of the file it was given for, in the same atomic word. Whenever an answer is a
//!   surprise (an error, nothing mapped, a region elsewhere), and for every 64th answer without a surprise, `fstat` shows
//!   whether the number still is that file. If not, a new descriptor is opened. The old number is *not* closed: it is
//!   somebody else's.
//! - Threads may have tables of descriptors of their own (`unshare(CLONE_FILES)`): then one thread's number is never another's,
//!   each replaces it in turn, and the files replaced stay open. After some dozens of replacements nothing is kept any more.
//! - The number is high, so that it is not given out again by chance: the system gives the lowest free one.
//! - `/proc/thread-self/maps` is opened rather than `/proc/self/maps`: when the first thread of a process has ended and
//!   others live on, the latter is empty.
//!
//! Nothing here locks or allocates, so that a query may run in a signal handler that interrupted another one.

use super::procmap::{self, Found, Want};
use super::sys;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::fs::Stat;
use rustix::io::{self, Errno};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// The head of the page that `fork` clears. All zero is the state in which nothing was opened yet.
#[repr(C)]
struct Kept {
    /// The descriptor and the identity of its file, as [`Word`] packs them.
    word: AtomicU64,
    /// Counts answers, so that every 64th is verified. Racing increments may be lost; that only shifts which is verified.
    answers: AtomicU32,
    /// How often a descriptor was opened for the word.
    opened: AtomicU32,
    /// How many regions the last complete listing had: a hint.
    listed: AtomicUsize,
    /// Which process of a line of forks this is; see [`life`].
    life: AtomicU64,
}

/// Where the page is; null until it is made. Never unmapped, so that a reference to it may live for ever.
static PAGE: AtomicPtr<Kept> = AtomicPtr::new(ptr::null_mut());

/// Stands in where there is no page that `fork` clears: queries then go by the text.
static NO_PAGE: Kept = Kept {
    word: AtomicU64::new(Word::UNAVAILABLE.0),
    answers: AtomicU32::new(0),
    opened: AtomicU32::new(0),
    listed: AtomicUsize::new(0),
    life: AtomicU64::new(0),
};

const VERIFY_EVERY: u32 = 64;

/// How often a lost descriptor is replaced before none is kept any more.
const MOST_OPENED: u32 = 64;

/// A descriptor's number plus one in the upper half, 32 bits of its file's identity in the lower.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    /// What a page begins with, and what `fork` leaves in the child.
    const FRESH: Self = Self(0);
    /// The ioctl is not to be had: do not try again in this process.
    const UNAVAILABLE: Self = Self(1);
    /// No descriptor is open.
    const CLOSED: Self = Self(2);

    fn new(fd: i32, identity: u32) -> Option<Self> {
        let number = u32::try_from(fd).ok()?.checked_add(1)?;
        Some(Self(u64::from(number) << 32 | u64::from(identity)))
    }

    fn fd(self) -> Option<i32> {
        let number = u32::try_from(self.0 >> 32).ok()?;
        i32::try_from(number.checked_sub(1)?).ok()
    }

    fn identity(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

/// What distinguishes a file of `/proc` from others that are open: its inode, a counter of 32 bits, and its device.
#[allow(clippy::useless_conversion, reason = "the width of these fields differs between processors")]
fn identity(status: &Stat) -> u32 {
    let mixed = u64::from(status.st_ino) ^ u64::from(status.st_dev).rotate_left(20);
    // Only the lower half is kept; the conversion cannot fail.
    u32::try_from(mixed & u64::from(u32::MAX)).unwrap_or(0)
}

fn kept() -> &'static Kept {
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        return make_page();
    }
    // SAFETY: `make_page` stored a pointer to a page that is mapped readable and writable, is never unmapped, is aligned,
    // and holds only atomics, for which every bit pattern is valid.
    unsafe { &*page }
}

#[cold]
fn make_page() -> &'static Kept {
    const { assert!(size_of::<Kept>() <= 512 && align_of::<Kept>() <= 512) };
    let Some(page) = new_page() else { return &NO_PAGE };
    match PAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `new_page` gave a zeroed, page-aligned, writable mapping that nobody else knows and that stays: zeroes
        // are valid atomics.
        Ok(_) => unsafe { &*page },
        Err(first) => {
            // SAFETY: this thread has just mapped the page and told nobody.
            let _unmapped = unsafe { mm::munmap(page.cast(), crate::page::size()) };
            // SAFETY: as in `kept`: a page that another thread's `make_page` stored.
            unsafe { &*first }
        }
    }
}

fn new_page() -> Option<*mut Kept> {
    if crate::os::inject::point("mmap").is_some() {
        return None;
    }
    let size = crate::page::size();
    // SAFETY: a new mapping at a place of the kernel's choice touches nobody's memory (mmap(2)).
    let page = unsafe {
        mm::mmap_anonymous(ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }
    .ok()?;
    let wiped = match crate::os::inject::point("madvise") {
        Some(code) => Err(Errno::from_raw_os_error(code)),
        // SAFETY: the range is the mapping just made; the advice has no effect on this process's content (madvise(2)).
        None => unsafe { mm::madvise(page, size, Advice::LinuxWipeOnFork) },
    };
    if wiped.is_err() {
        // SAFETY: the mapping was just made and nobody knows of it.
        let _unmapped = unsafe { mm::munmap(page, size) };
        return None;
    }
    Some(page.cast())
}

/// This process's own `maps` or another of its files, for the thread that asks.
pub(super) fn open_own(in_thread: &core::ffi::CStr, in_process: &core::ffi::CStr) -> io::Result<OwnedFd> {
    match sys::open(in_thread) {
        // `/proc/thread-self` came with Linux 3.17, and some sandboxes leave it out.
        Err(Errno::NOENT) => sys::open(in_process),
        opened => opened,
    }
}

pub(super) fn open_maps() -> io::Result<OwnedFd> {
    open_own(c"/proc/thread-self/maps", c"/proc/self/maps")
}

/// Opens our own `maps` under a high number and puts it in the place of "closed". `None`: another thread was faster, or this
/// is the child of a `fork` made meanwhile: look at the word again.
fn open(kept: &Kept) -> io::Result<Option<Word>> {
    let low = open_maps()?;
    // The highest numbers below 1024: above that the table of descriptors would have to grow for it.
    let lowest = sys::descriptor_limit().min(1024).saturating_sub(64);
    let fd = match i32::try_from(lowest) {
        Ok(lowest) if lowest > low.as_raw_fd() => sys::duplicate(low.as_fd(), lowest).unwrap_or(low),
        _ => low,
    };
    // From here on the number is not owned in Rust's sense: whoever closes it in our stead must not bring this thread to an
    // abort in a destructor.
    let number = fd.into_raw_fd();
    // SAFETY: the descriptor was ours a moment ago; see `ask` for what happens if somebody takes it away.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let Some(word) = Word::new(number, identity(&sys::status(fd)?)) else { return Err(Errno::BADF) };
    if kept.word.compare_exchange(Word::CLOSED.0, word.0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        return Ok(Some(word));
    }
    if verified(word, fd) {
        // Whoever takes descriptors away may do so just now; `try_close` and not `close`, which takes that for a bug of
        // its caller's and panics in debug builds.
        // SAFETY: the number is the file opened above, and nobody was told of it.
        let _closed = unsafe { io::try_close(number) };
    }
    Ok(None)
}

/// Sees to it that the word is one to ask by, and gives it.
#[cold]
fn reopened(kept: &Kept) -> io::Result<Word> {
    loop {
        let word = Word(kept.word.load(Ordering::Acquire));
        match word {
            Word::FRESH => {
                let _ = kept.word.compare_exchange(
                    Word::FRESH.0,
                    Word::CLOSED.0,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
            }
            Word::CLOSED => {
                if kept.opened.load(Ordering::Relaxed) >= MOST_OPENED {
                    kept.word.store(Word::UNAVAILABLE.0, Ordering::Release);
                } else if let Some(word) = open(kept)? {
                    kept.opened.fetch_add(1, Ordering::Relaxed);
                    return Ok(word);
                }
            }
            word => return Ok(word),
        }
    }
}

/// Whether the descriptor of `word` still is the file for which the word was made.
fn verified(word: Word, fd: BorrowedFd<'_>) -> bool {
    sys::status(fd).is_ok_and(|status| u64::from(identity(&status)) == word.identity())
}

/// When the descriptor is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Before the answer is believed.
    Always,
    /// When the answer is a surprise, and every 64th time.
    Sampled,
}

/// What the kept descriptor said.
pub(super) enum Answer {
    Found(Found),
    /// Nothing is mapped there (or above).
    Nothing,
    /// Not to be had by this way: ask the text.
    Unavailable,
}

/// Asks the kept descriptor, which is opened or replaced if need be.
#[inline]
pub(super) fn ask(address: usize, want: Want, verify: Verify, mut name: Option<&mut [u8]>) -> Answer {
    let kept = kept();
    // Each round that does not answer has replaced the descriptor. Three surprises in a row mean that somebody is at war
    // with us; the text, on a descriptor of its own, cannot be disturbed.
    for _ in 0..3 {
        let mut word = Word(kept.word.load(Ordering::Acquire));
        if matches!(word, Word::FRESH | Word::CLOSED) {
            match reopened(kept) {
                Ok(opened) => word = opened,
                Err(_) => return Answer::Unavailable,
            }
        }
        let Some(number) = word.fd() else { return Answer::Unavailable };
        // SAFETY: the number is not -1. It was a descriptor of ours when the word was stored. `borrow_raw` asks that it stay
        // open, which nobody can promise of a number that others may close; it is needed for the types only. What it
        // protects against does not happen here: the calls made on the number (`ioctl` with PROCMAP_QUERY, `fstat`)
        // change nothing in any file, whichever it is by then, and `verified` finds out.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let asked = procmap::ask(fd, address, want, name.as_deref_mut());
        let plausible = match &asked {
            Ok(found) => {
                let count = kept.answers.load(Ordering::Relaxed).wrapping_add(1);
                kept.answers.store(count, Ordering::Relaxed);
                let expected = match want {
                    Want::Covering => found.region.contains(address),
                    Want::CoveringOrNext => found.region.last() >= address,
                };
                expected && verify == Verify::Sampled && count % VERIFY_EVERY != 0
            }
            // The end of a walk, whose beginning was verified, is no surprise either.
            Err(Errno::NOENT) => verify == Verify::Sampled && want == Want::CoveringOrNext,
            Err(_) => false,
        };
        if Word(kept.word.load(Ordering::Acquire)) != word {
            // Replaced meanwhile, or cleared: this has become the child of a `fork`, and the answer is about its parent.
            continue;
        }
        if plausible || verified(word, fd) {
            match asked {
                Ok(found) => return Answer::Found(found),
                Err(Errno::NOENT) => return Answer::Nothing,
                Err(errno) => {
                    if procmap::means_unavailable(errno) {
                        // The descriptor is the right one, and yet: an old kernel, or a sandbox. Do not ask again. (It
                        // stays open: closing a number is never certain to hit the right file.)
                        let _ = kept.word.compare_exchange(
                            word.0,
                            Word::UNAVAILABLE.0,
                            Ordering::AcqRel,
                            Ordering::Relaxed,
                        );
                    }
                    return Answer::Unavailable;
                }
            }
        }
        let _ = kept.word.compare_exchange(word.0, Word::CLOSED.0, Ordering::AcqRel, Ordering::Relaxed);
    }
    Answer::Unavailable
}

/// How many regions the last complete listing of this process had; 0 if none was made yet.
pub(super) fn listed() -> usize {
    kept().listed.load(Ordering::Relaxed)
}

/// Notes how many regions a complete listing had.
pub(super) fn note_listed(regions: usize) {
    kept().listed.store(regions, Ordering::Relaxed);
}

/// Another number in each process of a line of forks, never 0.
///
/// Costs no system call where the page is cleared by `fork`; else the process is asked its number, which another process of the
/// line can have had before it, long ago.
pub(crate) fn life() -> u64 {
    static LIVES: AtomicU64 = AtomicU64::new(0);
    const UNDECIDED: u32 = 0;
    const BY_PAGE: u32 = 1;
    const BY_ID: u32 = 2;
    /// By which of the two ways: decided once, since a process must not change its number, and a page that was not to be had the
    /// first time may be had the next.
    static WAY: AtomicU32 = AtomicU32::new(UNDECIDED);

    let mut way = WAY.load(Ordering::Acquire);
    if way == UNDECIDED {
        let own = if ptr::eq(kept(), &NO_PAGE) { BY_ID } else { BY_PAGE };
        way = WAY.compare_exchange(UNDECIDED, own, Ordering::AcqRel, Ordering::Acquire).err().unwrap_or(own);
    }
    if way == BY_ID {
        return u64::from(super::process_id()) | 1 << 63;
    }
    // The page exists: who decided for it had seen it.
    let kept = kept();
    match kept.life.load(Ordering::Relaxed) {
        0 => {
            // A parent's number was taken from the same counter before the fork, so that ours is another.
            let new = LIVES.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            match kept.life.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => new,
                Err(first) => first,
            }
        }
        life => life,
    }
}

/// The number kept open, for tests that take it away.
#[cfg(test)]
pub(super) fn number() -> Option<i32> {
    Word(kept().word.load(Ordering::Acquire)).fd()
}
