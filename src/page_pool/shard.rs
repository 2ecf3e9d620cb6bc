//! Some of what a pool keeps, behind a lock that nobody waits for.
//!
//! The lock is only ever tried: who finds it taken goes elsewhere. So a `fork`, which in the child leaves a lock taken for ever
//! that another thread held, costs the child what is behind this one lock, and nobody waits. While it is held nothing is allocated or freed,
//! and nothing can panic.

use crate::pages::MmapMut;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Pages that wait to be handed out.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) pages: MmapMut,
    /// Nobody has had them since the system gave them: they hold zeroes.
    pub(super) fresh: bool,
}

/// On lines of the processor's cache of its own: neighbours that are changed by other threads do not slow it down. (Two lines, as
/// some processors fetch pairs.)
#[repr(align(128))]
pub(super) struct Shard {
    /// Whoever changed it to `true` may touch `list`, and nobody else.
    taken: AtomicBool,
    /// How many are in the list, for those who have not taken it: changed by the holder alone.
    len: AtomicUsize,
    /// How many were ever taken out: changed by the holder alone.
    popped: AtomicUsize,
    list: UnsafeCell<Vec<Idle>>,
}

// SAFETY: `list` is reached through `Open` alone, of which there is one at a time (see `Shard::open`), and by `drop`, which has the
// shard to itself; what is in it may be sent to other threads, as mappings are `Send`.
unsafe impl Sync for Shard {}

/// Why nothing was taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nothing {
    Empty,
    /// Somebody else is at it.
    Busy,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            popped: AtomicUsize::new(0),
            list: UnsafeCell::new(Vec::new()),
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub(super) fn open(&self) -> Option<Open<'_>> {
        // An `Open` is made here and nowhere else, and only if this thread has the lock: its drop gives the lock up.
        match self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Some(Open(self)),
            Err(_) => None,
        }
    }

    pub(super) fn popped(&self) -> usize {
        self.popped.load(Ordering::Relaxed)
    }

    /// Takes out what was put in last: the likeliest to be in the processor's caches.
    #[inline]
    pub(super) fn pop(&self) -> Result<Idle, Nothing> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return Err(Nothing::Empty);
        }
        let mut list = self.open().ok_or(Nothing::Busy)?;
        let idle = list.pop().ok_or(Nothing::Empty)?;
        self.len.store(list.len(), Ordering::Relaxed);
        // Not one step, which would cost more: the lock is held.
        self.popped.store(self.popped().wrapping_add(1), Ordering::Relaxed);
        Ok(idle)
    }

    /// Puts pages in; gives them back where the lock is taken, or there is no memory for a longer list.
    #[inline]
    pub(super) fn push(&self, idle: Idle) -> Result<(), Idle> {
        let Some(mut list) = self.open() else { return Err(idle) };
        if list.len() == list.capacity() {
            drop(list);
            return self.push_into_longer(idle);
        }
        // Does not allocate: there is room.
        list.push(idle);
        self.len.store(list.len(), Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    fn push_into_longer(&self, idle: Idle) -> Result<(), Idle> {
        /// How often others may use up the room meanwhile.
        const ROUNDS: usize = 8;
        // Declared before the lock is taken: whatever is left in it is freed after the lock is free.
        let mut longer = Vec::new();
        for _ in 0..ROUNDS {
            let wanted = self.len.load(Ordering::Relaxed).max(4).saturating_mul(2);
            if longer.capacity() < wanted && longer.try_reserve_exact(wanted).is_err() {
                return Err(idle);
            }
            let Some(mut list) = self.open() else { return Err(idle) };
            if list.len() == list.capacity() {
                if longer.capacity() <= list.len() {
                    continue;
                }
                // Neither this nor what follows allocates: there is room.
                longer.append(&mut list);
                mem::swap(&mut longer, &mut list);
            }
            list.push(idle);
            self.len.store(list.len(), Ordering::Relaxed);
            return Ok(());
        }
        Err(idle)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // In the child of a `fork`, of a list that a thread of the parent was just changing. That thread is not here, and the list may be
        // half changed: whatever is in it is lost to this process.
        if *self.taken.get_mut() {
            mem::forget(mem::take(self.list.get_mut()));
        }
    }
}

/// A shard's list, held until this is dropped.
pub(super) struct Open<'a>(&'a Shard);

impl Deref for Open<'_> {
    type Target = Vec<Idle>;

    #[inline]
    fn deref(&self) -> &Vec<Idle> {
        // SAFETY: `taken` was `false` and became `true` when this value was made, and nobody changes it before this value is dropped:
        // there is no other `Open`, and the reference borrows this one.
        unsafe { &*self.0.list.get() }
    }
}

impl DerefMut for Open<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<Idle> {
        // SAFETY: as above, and this value is borrowed exclusively.
        unsafe { &mut *self.0.list.get() }
    }
}

impl Drop for Open<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}
