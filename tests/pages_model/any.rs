//! A mapping of any type, and the conversions by their names.

#[cfg(feature = "allow_exec")]
use folio::{AllowExec, MmapExec, ReservedExec};
use folio::{
    AllowWrite, DenyExec, DenyRead, Error, ExecAccess, FreedLazily, Mmap, MmapMut, MmapNone, Pages,
    Protection, ReadAccess, Reserved, ReservedMut, ReservedNone, Together, WriteAccess,
};

pub type WriteOnly = Pages<DenyRead, AllowWrite, DenyExec>;
#[cfg(feature = "allow_exec")]
pub type ExecOnly = Pages<DenyRead, folio::DenyWrite, AllowExec>;

#[derive(Debug)]
pub enum Any {
    None(MmapNone),
    Read(Mmap),
    Mut(MmapMut),
    Write(WriteOnly),
    #[cfg(feature = "allow_exec")]
    Exec(MmapExec),
    #[cfg(feature = "allow_exec")]
    ExecOnly(ExecOnly),
    Lazy(FreedLazily),
    LazyWrite(FreedLazily<DenyRead>),
    ReservedNone(ReservedNone),
    Reserved(Reserved),
    ReservedMut(ReservedMut),
    ReservedWrite(Reserved<DenyRead, AllowWrite>),
    #[cfg(feature = "allow_exec")]
    ReservedExec(ReservedExec),
    #[cfg(feature = "allow_exec")]
    ReservedExecOnly(Reserved<DenyRead, folio::DenyWrite, AllowExec>),
}

macro_rules! from {
    ($($(#[$only:meta])* $name:ident($type:ty);)*) => {$(
        $(#[$only])*
        impl From<$type> for Any {
            fn from(pages: $type) -> Self {
                Self::$name(pages)
            }
        }
    )*};
}

from! {
    None(MmapNone);
    Read(Mmap);
    Mut(MmapMut);
    Write(WriteOnly);
    #[cfg(feature = "allow_exec")]
    Exec(MmapExec);
    #[cfg(feature = "allow_exec")]
    ExecOnly(ExecOnly);
    Lazy(FreedLazily);
    LazyWrite(FreedLazily<DenyRead>);
    ReservedNone(ReservedNone);
    Reserved(Reserved);
    ReservedMut(ReservedMut);
    ReservedWrite(Reserved<DenyRead, AllowWrite>);
    #[cfg(feature = "allow_exec")]
    ReservedExec(ReservedExec);
    #[cfg(feature = "allow_exec")]
    ReservedExecOnly(Reserved<DenyRead, folio::DenyWrite, AllowExec>);
}

/// What all pages can do, whatever they grant; something else for those that are not to be touched.
macro_rules! on_pages {
    ($any:expr, $pages:pat => $what:expr, $other:pat => $else:expr) => {
        match $any {
            Any::None($pages) => $what,
            Any::Read($pages) => $what,
            Any::Mut($pages) => $what,
            Any::Write($pages) => $what,
            #[cfg(feature = "allow_exec")]
            Any::Exec($pages) => $what,
            #[cfg(feature = "allow_exec")]
            Any::ExecOnly($pages) => $what,
            $other => $else,
        }
    };
}

/// The same for address space without memory.
macro_rules! on_reserved {
    ($any:expr, $room:pat => $what:expr, $other:pat => $else:expr) => {
        match $any {
            Any::ReservedNone($room) => $what,
            Any::Reserved($room) => $what,
            Any::ReservedMut($room) => $what,
            Any::ReservedWrite($room) => $what,
            #[cfg(feature = "allow_exec")]
            Any::ReservedExec($room) => $what,
            #[cfg(feature = "allow_exec")]
            Any::ReservedExecOnly($room) => $what,
            $other => $else,
        }
    };
}

pub(crate) use {on_pages, on_reserved};

type Changed = Result<Any, (Any, Error)>;

/// A change of one type to another, of whichever.
pub fn done(changed: Result<impl Into<Any>, (impl Into<Any>, Error)>) -> Changed {
    changed.map(Into::into).map_err(|(pages, error)| (pages.into(), error))
}

impl Any {
    pub fn protection(&self) -> Protection {
        match self {
            Self::Read(_) => Protection::READ,
            Self::Mut(_) | Self::Lazy(_) => Protection::READ_WRITE,
            Self::Write(_) | Self::LazyWrite(_) => Protection::WRITE,
            #[cfg(feature = "allow_exec")]
            Self::Exec(_) => Protection::READ_EXECUTE,
            #[cfg(feature = "allow_exec")]
            Self::ExecOnly(_) => Protection::EXECUTE,
            _ => Protection::NONE,
        }
    }

    pub fn start(&self) -> usize {
        on_pages!(self, pages => pages.start(), other => on_reserved!(other, room => room.start(), other => match other {
            Self::Lazy(freed) => freed.start(),
            Self::LazyWrite(freed) => freed.start(),
            _ => unreachable!(),
        }))
    }

    pub fn len(&self) -> usize {
        on_pages!(self, pages => pages.len(), other => on_reserved!(other, room => room.len(), other => match other {
            Self::Lazy(freed) => freed.len(),
            Self::LazyWrite(freed) => freed.len(),
            _ => unreachable!(),
        }))
    }

    /// Whether two are of one type.
    pub fn like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Read(pages) => Some(pages),
            Self::Mut(pages) => Some(pages),
            #[cfg(feature = "allow_exec")]
            Self::Exec(pages) => Some(pages),
            _ => None,
        }
    }
}

/// The conversions, by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    MakeNone,
    MakeReadOnly,
    MakeMut,
    AllowRead,
    DenyRead,
    AllowWrite,
    DenyWrite,
    AllowWriteNoExec,
    TryInto(Protection),
    #[cfg(feature = "allow_exec")]
    MakeExec,
    #[cfg(feature = "allow_exec")]
    AllowExec,
    #[cfg(feature = "allow_exec")]
    DenyExec,
    #[cfg(feature = "allow_exec")]
    SetProtectedExec,
}

/// `None` where it does not compile.
pub fn becomes(from: Protection, how: How) -> Option<Protection> {
    let (read, write, execute) = (Protection::READ, Protection::WRITE, Protection::EXECUTE);
    let to = match how {
        How::MakeNone => Protection::NONE,
        How::MakeReadOnly => read,
        How::MakeMut => read | write,
        How::AllowRead if !from.contains(read) => from | read,
        How::DenyRead if from.contains(read) => from - read,
        How::AllowWrite if !from.intersects(write | execute) => from | write,
        How::DenyWrite if from.contains(write) => from - write,
        How::AllowWriteNoExec => (from & read) | write,
        How::TryInto(to) if from != to && from != write && from != execute => to,
        #[cfg(feature = "allow_exec")]
        How::MakeExec => read | execute,
        #[cfg(feature = "allow_exec")]
        How::AllowExec if !from.intersects(write | execute) => from | execute,
        #[cfg(feature = "allow_exec")]
        How::DenyExec if from.contains(execute) => from - execute,
        #[cfg(feature = "allow_exec")]
        How::SetProtectedExec => (from & read) | execute,
        _ => return None,
    };
    Some(to)
}

fn again<R, W, X>(pages: Pages<R, W, X>) -> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    let parts = pages.into_raw_parts();
    // SAFETY: of the same type, and made of the parts once.
    unsafe { Pages::from_raw_parts(parts) }
}

/// Taken apart and put together.
pub fn rebuilt(any: Any) -> Any {
    on_pages!(any, pages => again(pages).into(), other => other)
}

/// One of those that [`becomes`] admits.
pub fn convert(any: Any, how: How) -> Changed {
    match (how, any) {
        (How::AllowRead, Any::None(pages)) => done(pages.allow_read()),
        (How::AllowRead, Any::Write(pages)) => done(pages.allow_read()),
        #[cfg(feature = "allow_exec")]
        (How::AllowRead, Any::ExecOnly(pages)) => done(pages.allow_read()),
        (How::DenyRead, Any::Read(pages)) => done(pages.deny_read()),
        (How::DenyRead, Any::Mut(pages)) => done(pages.deny_read()),
        #[cfg(feature = "allow_exec")]
        (How::DenyRead, Any::Exec(pages)) => done(pages.deny_read()),
        (How::AllowWrite, Any::None(pages)) => done(pages.allow_write()),
        (How::AllowWrite, Any::Read(pages)) => done(pages.allow_write()),
        (How::DenyWrite, Any::Mut(pages)) => done(pages.deny_write()),
        (How::DenyWrite, Any::Write(pages)) => done(pages.deny_write()),
        #[cfg(feature = "allow_exec")]
        (How::AllowExec, Any::None(pages)) => done(pages.allow_exec()),
        #[cfg(feature = "allow_exec")]
        (How::AllowExec, Any::Read(pages)) => done(pages.allow_exec()),
        #[cfg(feature = "allow_exec")]
        (How::DenyExec, Any::Exec(pages)) => done(pages.deny_exec()),
        #[cfg(feature = "allow_exec")]
        (How::DenyExec, Any::ExecOnly(pages)) => done(pages.deny_exec()),
        (How::TryInto(to), any) => Ok(try_into(any, to)),
        (how, any) => {
            macro_rules! all {
                ($method:ident) => {
                    on_pages!(any, pages => done(pages.$method()), other => Ok(other))
                };
            }
            match how {
                How::MakeNone => all!(make_none),
                How::MakeReadOnly => all!(make_read_only),
                How::MakeMut => all!(make_mut),
                How::AllowWriteNoExec => all!(allow_write_no_exec),
                #[cfg(feature = "allow_exec")]
                How::MakeExec => all!(make_exec),
                #[cfg(feature = "allow_exec")]
                How::SetProtectedExec => all!(set_protected_exec),
                how => unreachable!("{how:?} {any:?}"),
            }
        }
    }
}

/// By `TryFrom`, between the aliases.
fn try_into(any: Any, to: Protection) -> Any {
    match (any, to) {
        (Any::Read(pages), Protection::NONE) => MmapNone::try_from(pages).unwrap().into(),
        (Any::Mut(pages), Protection::NONE) => MmapNone::try_from(pages).unwrap().into(),
        (Any::None(pages), Protection::READ) => Mmap::try_from(pages).unwrap().into(),
        (Any::Mut(pages), Protection::READ) => Mmap::try_from(pages).unwrap().into(),
        (Any::None(pages), Protection::READ_WRITE) => MmapMut::try_from(pages).unwrap().into(),
        (Any::Read(pages), Protection::READ_WRITE) => MmapMut::try_from(pages).unwrap().into(),
        #[cfg(feature = "allow_exec")]
        (Any::Exec(pages), Protection::NONE) => MmapNone::try_from(pages).unwrap().into(),
        #[cfg(feature = "allow_exec")]
        (Any::Exec(pages), Protection::READ) => Mmap::try_from(pages).unwrap().into(),
        #[cfg(feature = "allow_exec")]
        (Any::Exec(pages), Protection::READ_WRITE) => MmapMut::try_from(pages).unwrap().into(),
        #[cfg(feature = "allow_exec")]
        (Any::None(pages), Protection::READ_EXECUTE) => MmapExec::try_from(pages).unwrap().into(),
        #[cfg(feature = "allow_exec")]
        (Any::Read(pages), Protection::READ_EXECUTE) => MmapExec::try_from(pages).unwrap().into(),
        #[cfg(feature = "allow_exec")]
        (Any::Mut(pages), Protection::READ_EXECUTE) => MmapExec::try_from(pages).unwrap().into(),
        (any, to) => unreachable!("{any:?} {to}"),
    }
}
