//! Floor 5: pages that are used again and again.

mod pooled;
mod shard;
#[cfg(test)]
mod tests;

pub use pooled::PooledPages;

use crate::error::Result;
use crate::os;
use crate::page;
use crate::pages::{MmapMut, MmapOptions};
use core::fmt;
use core::panic::RefUnwindSafe;
use core::sync::atomic::{AtomicUsize, Ordering};
use shard::{Idle, Nothing, Shard};

/// Among how many locks the pages of a pool are spread, so that threads rarely meet at one.
const SHARDS: usize = 8;

/// Pages of one length that are used again and again: mapped once, handed out and taken back without asking the system.
///
/// To map pages, to have them filled in by page faults and to unmap them costs microseconds; to have them from a pool some ten
/// nanoseconds, and their memory is there. A pool keeps up to so many; what comes back beyond that is unmapped.
///
/// ```
/// use folio::PagePool;
///
/// // Buffers of 64 KiB for all threads, of which at most 32 wait to be used again.
/// static BUFFERS: PagePool = PagePool::new(64 << 10, 32);
///
/// let mut buffer = BUFFERS.take()?;
/// assert_eq!(buffer[..], [0; 64 << 10]);
/// buffer[..5].copy_from_slice(b"folio");
/// drop(buffer);
///
/// // The same pages; what was written is gone.
/// assert_eq!(BUFFERS.len(), 1);
/// assert_eq!(BUFFERS.take()?[..5], [0; 5]);
///
/// // Memory that is overwritten at once need not be cleaned before.
/// let mut buffer = BUFFERS.take_dirty()?;
/// buffer.fill(b'x');
/// drop(buffer);
///
/// // All of it back to the system.
/// assert_eq!(BUFFERS.clear(), 1);
/// # Ok::<(), folio::Error>(())
/// ```
///
/// The process's own allocator keeps memory, too, and a `Vec` of the same length is as fast to have or faster. A pool is for what must be
/// pages, and nobody else's: between guard pages, locked, in huge pages, with other rights for a while; or surely given back when the
/// program says so.
///
/// # What the pages hold
///
/// [`take`](Self::take) gives zeroes. Pages fresh from the system are not cleaned again; others are cleaned when they are handed out,
/// by writing zeroes to all of them: no system call, but memory for each page, also where the one who had them before touched only a
/// few. (What the system does instead, giving memory back and zeroing fresh pages as they are touched, was slower for
/// pages that are all used again, whatever their length: 40 times for 64 KiB, 20 times for 256 MiB, and 1.5 to 4 times in huge pages; on
/// Linux 6.18.) Where little is used of each, writing all the zeroes costs more than pages fresh from the system would from about 256 KiB on: for
/// that there is [`decommit_from`](Self::decommit_from).
///
/// [`take_dirty`](Self::take_dirty) gives what somebody left.
///
/// Pages that wait keep their memory, and what was written to it: secrets are to be overwritten by who had them.
///
/// # What is taken back
///
/// Only pages like those that the pool makes: of its length, readable and writable as their type says, whole, not locked, without
/// guard pages or flags, unless the pool's [options](Self::with_options) ask for these. Others are unmapped, and so are those that do not fit
/// in. Advice ([`Pages::advise`](crate::Pages::advise)) is a hint that is not seen, and stays.
///
/// # Threads, `fork`
///
/// Any number of threads may use a pool. None waits for another: who finds a lock taken tries the next of eight, and, if all are
/// taken, maps or unmaps pages. A child of `fork` has a copy of the pool and of its pages. What each other thread of its parent was just
/// putting in or taking out is lost to it, and with it one of the eight locks and what is behind it; nothing blocks. Pages that were locked
/// in the parent are not in the child. Not for signal handlers.
///
/// # Cost
///
/// Handing out pages that wait, and taking them back: no system call, four atomic exchanges, and a look at what the value
/// tells. Taking back allocates now and then, for the list of those that wait: it never gets shorter.
///
/// # Drop
///
/// Unmaps all that wait. What is handed out borrows the pool. (A `static` one is never dropped.)
#[doc(alias = "cache")]
#[doc(alias = "recycle")]
pub struct PagePool {
    options: MmapOptions<'static>,
    most: usize,
    decommit_from: usize,
    shards: [Shard; SHARDS],
    numbers: Numbers,
}

/// On lines of the processor's cache of their own: what stands above never changes.
#[repr(align(128))]
struct Numbers {
    /// How many wait, or are about to: never above `PagePool::most`.
    kept: AtomicUsize,
    mapped: AtomicUsize,
    unmapped: AtomicUsize,
}

impl PagePool {
    /// A pool of pages of at least `len` bytes, rounded up to whole pages, of which it keeps at most `most`.
    ///
    /// Nothing is mapped yet. A length that cannot be is an error of [`take`](Self::take).
    pub const fn new(len: usize, most: usize) -> Self {
        Self::with_options(MmapOptions::new(len), most)
    }

    /// A pool of pages as [`MmapOptions::map_mut`] makes them of these options: between guard pages, of huge pages, locked, named,
    /// aligned, of a NUMA node, left out of core dumps.
    ///
    /// Not what makes one unlike the other: a place, a [file](MmapOptions::file), [room](MmapOptions::room) to grow. That is an error of
    /// [`take`](Self::take).
    ///
    /// Pages of a pool of [locked](MmapOptions::locked) ones are locked while they wait, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{MmapOptions, PagePool};
    ///
    /// // A page that ends the process when it is touched behind each; all are given to one user after another.
    /// static STACKS: PagePool = PagePool::with_options(MmapOptions::new(256 << 10).guard_before(1), 16);
    ///
    /// let stack = STACKS.take_dirty()?;
    /// assert_eq!(stack.len(), 256 << 10);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub const fn with_options(options: MmapOptions<'static>, most: usize) -> Self {
        Self {
            options,
            most,
            decommit_from: usize::MAX,
            shards: [const { Shard::new() }; SHARDS],
            numbers: Numbers {
                kept: AtomicUsize::new(0),
                mapped: AtomicUsize::new(0),
                unmapped: AtomicUsize::new(0),
            },
        }
    }

    /// With pages of at least `len` bytes cleaned by [`decommit`](crate::Pages::decommit) instead of by writing zeroes: the pool's mappings
    /// then have memory only where they were touched since they were handed out.
    ///
    /// For long mappings of which little is used. One that is used as a whole is zeroed page by page then as it is touched, which takes
    /// several times as long as to fill it (see above). What cannot be decommitted, for it is locked or of
    /// [explicit huge pages](MmapOptions::huge_pages), is filled.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagePool;
    ///
    /// // 1 GiB each, mostly untouched.
    /// # #[cfg(target_pointer_width = "64")]
    /// static ARENAS: PagePool = PagePool::new(1 << 30, 4).decommit_from(16 << 20);
    /// ```
    #[must_use]
    pub const fn decommit_from(mut self, len: usize) -> Self {
        self.decommit_from = len;
        self
    }

    /// Pages that hold zeroes.
    ///
    /// # Cost
    ///
    /// Where some wait: no system call, and writing as many zeroes, about 1 µs for 64 KiB in a processor's caches; with
    /// [`decommit_from`](Self::decommit_from), from there on one system call. Where none wait: as [`MmapOptions::map_mut`].
    ///
    /// # Errors
    ///
    /// As [`MmapOptions::map_mut`], where none wait; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) also for options that a
    /// [pool cannot have](Self::with_options).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = folio::PagePool::new(1 << 16, 4);
    /// pool.take()?.fill(1);
    /// assert!(pool.take()?.iter().all(|&byte| byte == 0));
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn take(&self) -> Result<PooledPages<'_>> {
        self.hand_out(true)
    }

    /// Pages that hold what somebody left in them, or zeroes: for memory that is overwritten before it is read.
    ///
    /// Sound to read all the same: they are bytes of this process. But that makes a leak of it: what one user of the pool wrote,
    /// another one sees. Where that must not be, [`take`](Self::take).
    ///
    /// # Cost
    ///
    /// Where some wait: no system call, some ten nanoseconds. Else as [`take`](Self::take).
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = folio::PagePool::new(1 << 16, 4);
    /// let mut buffer = pool.take_dirty()?;
    /// // Written before it is read.
    /// buffer.copy_from_slice(&[7; 1 << 16]);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn take_dirty(&self) -> Result<PooledPages<'_>> {
        self.hand_out(false)
    }

    /// Takes pages back, or in, and says whether the pool keeps them. It unmaps them if [`most`](Self::most) wait already, they are
    /// [not like its own](Self#what-is-taken-back), or other threads have all locks.
    ///
    /// Of what the value does not tell (a NUMA node, a name, advice), nothing is compared.
    ///
    /// # Cost
    ///
    /// No system call if they are kept, else as the drop of [`Pages`](crate::Pages).
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{PagePool, Pages};
    ///
    /// let pool = PagePool::new(4096, 2);
    /// assert!(pool.put(Pages::new(4096)?));
    /// assert!(!pool.put(Pages::new(1 << 20)?)); // too long
    ///
    /// let mut locked = pool.take()?;
    /// if locked.lock().is_ok() {
    ///     drop(locked); // unmapped
    ///     assert!(pool.is_empty());
    /// }
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn put(&self, pages: MmapMut) -> bool {
        if !self.options.could_have_made(&pages) {
            return self.give_back(pages);
        }
        self.keep(Idle { pages, fresh: false })
    }

    /// Maps pages until `number` wait, or [`most`](Self::most), so that so many [`take`](Self::take)s need no system call. Says how
    /// many it mapped.
    ///
    /// They have no memory before they are touched, unless the [options](Self::with_options) say so
    /// ([`populate`](MmapOptions::populate), [`locked`](MmapOptions::locked)).
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take). What was mapped until then waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = folio::PagePool::new(4096, 8);
    /// assert_eq!(pool.prepare(3)?, 3);
    /// assert_eq!(pool.prepare(2)?, 0);
    /// assert_eq!(pool.len(), 3);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn prepare(&self, number: usize) -> Result<usize> {
        let wanted = number.min(self.most);
        let mut made = 0_usize;
        // No more than that, though others may take them as fast.
        while made < wanted && self.len() < wanted {
            let pages = self.fresh()?;
            if !self.keep(Idle { pages, fresh: true }) {
                break;
            }
            made = made.saturating_add(1);
        }
        Ok(made)
    }

    /// Unmaps pages until at most `keep` wait, and says how many.
    ///
    /// What other threads put in meanwhile may stay, and what is behind a lock that one of them holds for long.
    ///
    /// # Cost
    ///
    /// A system call for each.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = folio::PagePool::new(4096, 8);
    /// pool.prepare(5)?;
    /// assert_eq!(pool.trim(2), 3);
    /// assert_eq!(pool.len(), 2);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[doc(alias = "shrink_to")]
    pub fn trim(&self, keep: usize) -> usize {
        /// How often a thread that has a lock, and perhaps no processor, is given the time to let go.
        const PATIENCE: usize = 8;
        let surplus = self.len().saturating_sub(keep);
        let (mut unmapped, mut waited) = (0_usize, 0_usize);
        while unmapped < surplus && self.len() > keep {
            match self.pop() {
                Ok(idle) => {
                    self.give_back(idle.pages);
                    unmapped = unmapped.saturating_add(1);
                }
                Err(Nothing::Empty) => break,
                Err(Nothing::Busy) if waited < PATIENCE => {
                    waited = waited.saturating_add(1);
                    os::yield_now();
                }
                Err(Nothing::Busy) => break,
            }
        }
        unmapped
    }

    /// Unmaps all that wait, as [`trim`](Self::trim), and says how many.
    pub fn clear(&self) -> usize {
        self.trim(0)
    }

    /// How many wait to be handed out.
    #[inline]
    pub fn len(&self) -> usize {
        self.numbers.kept.load(Ordering::Relaxed)
    }

    /// Whether none wait.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many it keeps at most.
    #[inline]
    pub const fn most(&self) -> usize {
        self.most
    }

    /// How its pages are made.
    #[inline]
    pub const fn options(&self) -> &MmapOptions<'static> {
        &self.options
    }

    /// What it has done so far.
    pub fn counts(&self) -> PoolCounts {
        let popped = self.shards.iter().map(Shard::popped);
        PoolCounts {
            reused: popped.fold(0, usize::wrapping_add),
            mapped: self.numbers.mapped.load(Ordering::Relaxed),
            unmapped: self.numbers.unmapped.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn hand_out(&self, clean: bool) -> Result<PooledPages<'_>> {
        let pages = match self.recycled(clean) {
            Some(pages) => pages,
            None => self.fresh_or_recycled(clean)?,
        };
        Ok(PooledPages::new(self, pages))
    }

    #[cold]
    #[inline(never)]
    fn fresh_or_recycled(&self, clean: bool) -> Result<MmapMut> {
        // Where there is no memory: some may have come back, or a lock become free.
        self.fresh().or_else(|error| self.recycled(clean).ok_or(error))
    }

    fn fresh(&self) -> Result<MmapMut> {
        let pages = self.options.map_alike()?;
        self.numbers.mapped.fetch_add(1, Ordering::Relaxed);
        Ok(pages)
    }

    #[inline]
    fn recycled(&self, clean: bool) -> Option<MmapMut> {
        loop {
            let Idle { pages, fresh } = self.pop().ok()?;
            if fresh || !clean {
                return Some(pages);
            }
            if let Some(pages) = self.cleaned(pages) {
                return Some(pages);
            }
        }
    }

    /// The pages with zeroes in them. (`None`: the system refused to clean them, and they are no longer what they were.)
    fn cleaned(&self, pages: MmapMut) -> Option<MmapMut> {
        let mut pages = pages;
        // Huge pages that were set aside might go to others.
        let by_system = pages.len() >= self.decommit_from && pages.page_size() == page::base_size();
        if by_system && pages.decommit(..).is_ok() {
            return Some(pages);
        }
        if by_system && !self.options.could_have_made(&pages) {
            self.give_back(pages);
            return None;
        }
        pages.fill(0);
        Some(pages)
    }

    /// Takes some out, from the own shard if there are any.
    #[inline]
    fn pop(&self) -> core::result::Result<Idle, Nothing> {
        if self.is_empty() {
            return Err(Nothing::Empty);
        }
        let mut nothing = Nothing::Empty;
        for shard in self.shards_from(own()) {
            match shard.pop() {
                Ok(idle) => {
                    self.numbers.kept.fetch_sub(1, Ordering::Relaxed);
                    return Ok(idle);
                }
                Err(Nothing::Busy) => nothing = Nothing::Busy,
                Err(Nothing::Empty) => {}
            }
        }
        Err(nothing)
    }

    /// Puts pages in, into the own shard if it is free, or unmaps them; says which.
    #[inline]
    fn keep(&self, idle: Idle) -> bool {
        // Counted before they are in: so there are never too many.
        let counted = self.numbers.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
            (kept < self.most).then(|| kept.saturating_add(1))
        });
        if counted.is_err() {
            return self.give_back(idle.pages);
        }
        let mut idle = idle;
        for shard in self.shards_from(own()) {
            match shard.push(idle) {
                Ok(()) => return true,
                Err(back) => idle = back,
            }
        }
        self.numbers.kept.fetch_sub(1, Ordering::Relaxed);
        self.give_back(idle.pages)
    }

    /// Unmaps pages; always `false`.
    #[cold]
    #[inline(never)]
    fn give_back(&self, pages: MmapMut) -> bool {
        self.numbers.unmapped.fetch_add(1, Ordering::Relaxed);
        drop(pages);
        false
    }

    /// All of them, one after the other, from this one on.
    #[inline]
    fn shards_from(&self, first: usize) -> impl Iterator<Item = &Shard> {
        let (before, from) = self.shards.split_at(first.min(SHARDS));
        from.iter().chain(before)
    }
}

/// The shard that a thread turns to first. Without `std` nothing tells threads apart but where their stacks lie: some MiB from each
/// other.
#[inline]
fn own() -> usize {
    let here = 0_u8;
    let stack = (&raw const here).addr() >> 20;
    // Fibonacci's multiplier: the upper ones of 32 bits depend on all of the number.
    (stack.wrapping_mul(0x9E37_79B9) >> 29) % SHARDS
}

/// What a [`PagePool`] has done so far: given by [`PagePool::counts`].
///
/// The numbers are looked at one after the other while other threads may change them, and begin from 0 again after `usize::MAX`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PoolCounts {
    reused: usize,
    mapped: usize,
    unmapped: usize,
}

impl PoolCounts {
    /// How many were taken out of those that waited.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// How many were mapped since none waited, and by [`PagePool::prepare`].
    pub fn mapped(&self) -> usize {
        self.mapped
    }

    /// How many were unmapped: since enough waited, since they were not like the pool's, by [`PagePool::trim`].
    pub fn unmapped(&self) -> usize {
        self.unmapped
    }
}

// Nothing panics while a list is changed.
impl RefUnwindSafe for PagePool {}

impl fmt::Debug for PagePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagePool")
            .field("options", &self.options)
            .field("len", &self.len())
            .field("most", &self.most)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
