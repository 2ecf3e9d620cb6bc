//! Where and how address space is set aside.

use super::reservation::Reservation;
#[cfg(feature = "allow_exec")]
use super::reserved::ReservedExec;
use super::reserved::{Reserved, ReservedMut, ReservedNone};
use crate::error::Result;
use crate::pages::MmapOptions;

impl MmapOptions<'_> {
    /// Address space for pages that can be read: see [`Reserved`].
    ///
    /// The options about the place mean what they mean for [`map_none`](Self::map_none); guard pages are address space that never
    /// gets memory.
    ///
    /// # Cost
    ///
    /// One system call; with an alignment beyond [`page::granularity`](crate::page::granularity) two more and an allocation.
    ///
    /// # Errors
    ///
    /// As [`map_none`](Self::map_none); and [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) with any option that is about
    /// memory, as all are but [`at`](Self::at), [`near`](Self::near), [`align`](Self::align), [`guard_before`](Self::guard_before) and
    /// [`guard_after`](Self::guard_after).
    ///
    /// # Examples
    ///
    /// ```
    /// // 64 GiB of addresses, and nothing that the system must keep a promise about.
    /// let len = 64 << (if usize::BITS == 64 { 30 } else { 20 });
    /// let room = folio::MmapOptions::new(len).reserve();
    /// # if room.is_err() { return Ok(()) }
    /// assert_eq!(room?.len(), len);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn reserve(&self) -> Result<Reserved> {
        self.set_aside().map(Reserved::from_map)
    }

    /// Address space for pages that grant nothing: see [`ReservedNone`].
    ///
    /// # Cost, errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn reserve_none(&self) -> Result<ReservedNone> {
        self.set_aside().map(Reserved::from_map)
    }

    /// Address space for pages that can be read and written: see [`ReservedMut`].
    ///
    /// # Cost, errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn reserve_mut(&self) -> Result<ReservedMut> {
        self.set_aside().map(Reserved::from_map)
    }

    /// Address space for pages that can be read and executed: see [`ReservedExec`].
    ///
    /// # Cost, errors
    ///
    /// As [`reserve`](Self::reserve).
    #[cfg(feature = "allow_exec")]
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    #[inline]
    pub fn reserve_exec(&self) -> Result<ReservedExec> {
        self.set_aside().map(Reserved::from_map)
    }

    /// Address space whose parts get memory one by one: see [`Reservation`].
    ///
    /// # Cost, errors
    ///
    /// As [`reserve`](Self::reserve), and two small allocations.
    pub fn reservation(&self) -> Result<Reservation> {
        Reservation::from_map(self.set_aside()?)
    }
}
