//! The addresses of a reservation.

use crate::pages::map::Map;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

/// Addresses that a reservation and what was carved out of it share: given back when the last of them ends.
#[derive(Debug)]
pub(in crate::pages) struct Space {
    map: Map,
    /// Whether the system has lost some of the addresses, so that they may be somebody else's.
    torn: AtomicBool,
}

impl Space {
    pub(super) fn of(map: Map) -> Self {
        Self { map, torn: AtomicBool::new(false) }
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.map.base()
    }

    pub(super) fn start(&self) -> usize {
        self.map.start()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// From here on the addresses as a whole are never given back, nor those that are lost used again.
    #[cold]
    pub(in crate::pages) fn tear(&self) {
        self.torn.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if self.is_torn() {
            self.map.abandon_all();
        }
    }
}
