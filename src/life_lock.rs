//! A lock that a `fork` cannot leave closed.
//!
//! It is a word that holds 0, or the [`life`](os::life) of the process that holds it. Who finds another life's number there
//! is the child of a `fork` made while a thread of the parent held it. That thread does not exist in the child and will never
//! let go: the child takes the lock over, and is told so, for what is behind it may be half changed.
//!
//! While it is held nothing should be allocated or freed: the allocator may be anybody's, and may itself come by here.
//!
//! Not for signal handlers: one that interrupts the holder would wait for ever.

use crate::os;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct LifeLock<T> {
    /// Whose life's number it is may touch `value`, and nobody else of that life; 0: nobody.
    holder: AtomicU64,
    value: UnsafeCell<T>,
}

// SAFETY: `value` is reached through `Open` alone, of which there is one at a time in a process (see `LifeLock::open`), in whichever
// thread, for which it is `Send`.
unsafe impl<T: Send> Sync for LifeLock<T> {}

/// What is behind the lock, held by this thread until dropped: to be lent to others as `&mut T` is.
pub(crate) struct Open<'a, T>(&'a LifeLock<T>, PhantomData<&'a mut T>);

impl<T> LifeLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { holder: AtomicU64::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock, and says whether somebody deserted it: then the value is to be mended.
    pub(crate) fn open(&self, life: u64) -> (Open<'_, T>, bool) {
        let mut waited = 0_u32;
        let deserted = loop {
            match self.holder.compare_exchange(0, life, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break false,
                Err(holder) if holder == life => wait(&mut waited),
                Err(parent) => {
                    if self
                        .holder
                        .compare_exchange(parent, life, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                    {
                        break true;
                    }
                }
            }
        };
        (Open(self, PhantomData), deserted)
    }

    #[cfg(test)]
    pub(crate) fn is_held(&self) -> bool {
        self.holder.load(Ordering::Relaxed) != 0
    }
}

impl<T> Deref for Open<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `holder` changed from 0, or from the number of a process that is not this one, to this life's number when
        // this `Open` was made, and does not change before it is dropped, as only the word's holder and processes of another
        // life (whose memory is another) change it from there. So no other `Open` exists, and the reference borrows this one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Open<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this one is borrowed exclusively.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Open<'_, T> {
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}

/// Waits a little, and a little longer each time: the lock is held for some nanoseconds, or for a system call.
#[cold]
fn wait(waited: &mut u32) {
    *waited = waited.saturating_add(1);
    match *waited {
        0..64 => core::hint::spin_loop(),
        // A thread of higher priority than the holder's would yield to itself for ever.
        #[cfg(feature = "std")]
        256.. => std::thread::sleep(std::time::Duration::from_micros(50)),
        _ => os::yield_now(),
    }
}
