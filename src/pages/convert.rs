//! From one set of rights to another.

use super::{
    AllowRead, AllowWrite, DenyExec, DenyRead, DenyWrite, ExecAccess, Mmap, MmapMut, MmapNone, Pages,
    ReadAccess, Together, WriteAccess,
};
use crate::error::Error;

/// What a change of rights gives: the mapping with its new type, or as it was with the reason.
pub(super) type Changed<To, From> = Result<To, (From, Error)>;

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    #[inline]
    pub(super) fn change<R2, W2, X2>(self) -> Changed<Pages<R2, W2, X2>, Self>
    where
        R2: ReadAccess,
        W2: WriteAccess,
        X2: ExecAccess,
        (W2, X2): Together,
    {
        let mut this = self;
        let (from, to) = (Self::PROTECTION, Pages::<R2, W2, X2>::PROTECTION);
        // SAFETY: `self` is consumed, so that no reference into the pages is left; what is made of it below says what they grant.
        match unsafe { this.map.protect(from, to) } {
            // SAFETY: the pages grant just that now.
            Ok(()) => Ok(unsafe { Pages::from_map(this.map) }),
            Err(error) => Err((this, error)),
        }
    }

    /// Takes all rights from the pages.
    ///
    /// # Cost
    ///
    /// One system call.
    ///
    /// # Errors
    ///
    /// The mapping as it was, and why: as for [`protect`](crate::protect).
    ///
    /// What the system had changed before it refused is changed back. Should it refuse that as well, the mapping has lost the pages
    /// up to the last of those, and is shorter, or even empty: what it has still grants what its type says.
    /// [`Error::changed`] names what was changed then; the pages are unmapped when the mapping is dropped.
    #[inline]
    pub fn make_none(self) -> Result<MmapNone, (Self, Error)> {
        self.change::<DenyRead, DenyWrite, DenyExec>()
    }

    /// Lets the pages be read and nothing else.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn make_read_only(self) -> Result<Mmap, (Self, Error)> {
        self.change::<AllowRead, DenyWrite, DenyExec>()
    }

    /// Lets the pages be read and written, and not executed.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn make_mut(self) -> Result<MmapMut, (Self, Error)> {
        self.change::<AllowRead, AllowWrite, DenyExec>()
    }

    /// Lets the pages be written and not executed; whether they can be read stays as it is.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn allow_write_no_exec(self) -> Result<Pages<R, AllowWrite, DenyExec>, (Self, Error)> {
        self.change::<R, AllowWrite, DenyExec>()
    }
}

impl<W, X> Pages<DenyRead, W, X>
where
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// Lets the pages be read, too.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn allow_read(self) -> Result<Pages<AllowRead, W, X>, (Self, Error)> {
        self.change::<AllowRead, W, X>()
    }
}

impl<W, X> Pages<AllowRead, W, X>
where
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    /// No longer lets the pages be read. (Most processors cannot deny it to pages that can be written.)
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn deny_read(self) -> Result<Pages<DenyRead, W, X>, (Self, Error)> {
        self.change::<DenyRead, W, X>()
    }
}

impl<R: ReadAccess> Pages<R, DenyWrite, DenyExec> {
    /// Lets the pages be written, too.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn allow_write(self) -> Result<Pages<R, AllowWrite, DenyExec>, (Self, Error)> {
        self.change::<R, AllowWrite, DenyExec>()
    }
}

impl<R, X> Pages<R, AllowWrite, X>
where
    R: ReadAccess,
    X: ExecAccess,
    (DenyWrite, X): Together,
    (AllowWrite, X): Together,
{
    /// No longer lets the pages be written.
    ///
    /// # Cost, errors
    ///
    /// As [`make_none`](Self::make_none).
    #[inline]
    pub fn deny_write(self) -> Result<Pages<R, DenyWrite, X>, (Self, Error)> {
        self.change::<R, DenyWrite, X>()
    }
}

/// One direction between two aliases; a generic one would be in conflict with the reflexive one of `core`.
macro_rules! try_from {
    ($($from:ident => $to:ident by $method:ident;)*) => {$(
        /// The mapping is unmapped if the system refuses; the method of the same meaning gives it back.
        impl TryFrom<$from> for $to {
            type Error = Error;

            fn try_from(pages: $from) -> Result<Self, Error> {
                pages.$method().map_err(|(_, error)| error)
            }
        }
    )*};
}

#[cfg(feature = "allow_exec")]
pub(super) use try_from;

try_from! {
    MmapNone => Mmap by make_read_only;
    MmapNone => MmapMut by make_mut;
    Mmap => MmapNone by make_none;
    Mmap => MmapMut by make_mut;
    MmapMut => MmapNone by make_none;
    MmapMut => Mmap by make_read_only;
}
