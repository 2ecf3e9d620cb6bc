//! Reaching pages by copies that survive their being taken away: [`fault`](crate::fault).

use super::{AllowRead, AllowWrite, ExecAccess, Pages, ReadAccess, Together, WriteAccess};
use crate::fault::Span;

impl<R, W, X> Pages<R, W, X>
where
    R: ReadAccess,
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    fn span(&self) -> Span {
        Span::new(self.map.base().as_ptr(), self.map.len())
    }
}

/// Reading by copies: an error where the pages cannot be read after all, since their file was cut short, say. The pages are the
/// mapping's alone, and borrowed: they may be read.
impl<W, X> Pages<AllowRead, W, X>
where
    W: WriteAccess,
    X: ExecAccess,
    (W, X): Together,
{
    reading! { self => self.span() }
}

/// Writing by copies. The pages are the mapping's alone, and borrowed exclusively: they may be written to.
impl<R, X> Pages<R, AllowWrite, X>
where
    R: ReadAccess,
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    writing! { self: &mut Self => self.span() }
}

/// Reading and writing at once.
impl<X> Pages<AllowRead, AllowWrite, X>
where
    X: ExecAccess,
    (AllowWrite, X): Together,
{
    changing! { self: &mut Self => self.span() }
}
