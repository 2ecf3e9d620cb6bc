//! A process, held on to by a right to its task's port.

use super::sys::{self, Of, Port};
use crate::error::Failure;
use crate::range::wide;
use alloc::sync::Arc;
use libc::pid_t;

/// This process, or another.
#[derive(Clone)]
pub(crate) struct Target(Option<Other>);

#[derive(Clone)]
struct Other {
    pid: pid_t,
    port: Arc<Port>,
    page: u64,
}

impl Target {
    /// Whichever process asks.
    pub(crate) const CURRENT: Self = Self(None);

    pub(crate) fn open(pid: u32) -> Result<Self, Failure> {
        let port = Port::open(pid)?;
        let own = wide(crate::page::size());
        // Programs for other processors (Rosetta) have pages of their own size. Pages are counted in the smaller of the two
        // sizes, ours and theirs (`vm_self_region_page_shift` in osfmk/vm/vm_map.c).
        let theirs = sys::vm_info(Some(&port)).ok().and_then(|(info, _)| u64::try_from(info.page_size).ok());
        let page = theirs.filter(|&page| page > 0).map_or(own, |page| page.min(own));
        let pid = pid_t::from_ne_bytes(pid.to_ne_bytes());
        Ok(Self(Some(Other { pid, port: Arc::new(port), page })))
    }

    /// The identifier; `None` for [`CURRENT`](Self::CURRENT).
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.0.as_ref()?.pid.unsigned_abs())
    }

    pub(super) fn port(&self) -> Of<'_> {
        Some(&self.0.as_ref()?.port)
    }

    /// The identifier, by which the system is asked for files.
    pub(super) fn id(&self) -> pid_t {
        self.0.as_ref().map_or_else(sys::own_pid, |other| other.pid)
    }

    /// The size of the pages that the system counts when we ask about this process.
    pub(super) fn counted_page(&self) -> u64 {
        self.0.as_ref().map_or_else(|| wide(crate::page::size()), |other| other.page)
    }
}

pub(crate) fn process_id() -> u32 {
    // A process's identifier is positive.
    sys::own_pid().unsigned_abs()
}
