//! What a mapping can be asked to be, beyond new pages at a place.

use super::file::File;
use crate::page::PageSize;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};

/// A mapping as it is asked for.
///
/// What a system lacks is an error, unless it is marked as a hint.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "unsupported systems read none of it, and only some all of it")]
pub(crate) struct Request<'f> {
    /// A multiple of the size of the pages that it is to be made of.
    pub(crate) len: PageLen,
    pub(crate) protection: Protection,
    pub(crate) place: Place,
    pub(crate) content: Content<'f>,
    /// Pages of just this size.
    pub(crate) huge: Option<PageSize>,
    /// Memory of this NUMA node where there is some left.
    pub(crate) node: Option<u32>,
    /// Hint: read in at once.
    pub(crate) populate: bool,
    /// Hint: not counted against what the system promises.
    pub(crate) no_reserve: bool,
    /// A thread's stack, where the system distinguishes that.
    pub(crate) stack: bool,
    /// Code that is going to be written and executed in turn, where the system distinguishes that.
    pub(crate) jit: bool,
    /// Left out of core dumps, where that is a matter of mapping alone: see `dumps_chosen_when_mapped`.
    #[allow(dead_code, reason = "only OpenBSD's flag")]
    pub(crate) no_dump: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "unsupported systems have no places")]
pub(crate) enum Place {
    /// Where the system likes.
    Anywhere,
    /// There, or else where the system likes.
    Hint(usize),
    /// Exactly there; [`ErrorKind::Occupied`](crate::ErrorKind::Occupied) when something is there.
    At(usize),
    /// Exactly there, in the place of whatever is.
    Over(usize),
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "unsupported systems read none of it, and only some all of it")]
pub(crate) enum Content<'f> {
    /// Private zeroes.
    Zeroes,
    File {
        file: File<'f>,
        /// A multiple of [`granularity`](super::granularity), and of the file's own pages ([`FileFacts::page`]).
        offset: u64,
        /// How much of the file is meant: the length, but for what of the last page is behind it.
        bytes: usize,
        /// Whether what is written to the pages is written to the file.
        shared: bool,
    },
}

impl Request<'_> {
    /// New zeroes where the system likes.
    pub(crate) const fn new(len: PageLen, protection: Protection) -> Self {
        Self {
            len,
            protection,
            place: Place::Anywhere,
            content: Content::Zeroes,
            huge: None,
            node: None,
            populate: false,
            no_reserve: false,
            stack: false,
            jit: false,
            no_dump: false,
        }
    }

    /// The pages, if they begin there.
    #[allow(dead_code, reason = "unsupported systems have no places")]
    pub(crate) fn range_at(&self, first: usize) -> Option<PageRange> {
        PageRange::starting_at(first, self.len)
    }
}

/// What there is to know of a file before it is mapped.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "without `std` there are no files"))]
pub(crate) struct FileFacts {
    /// In bytes; `None` for a device, which has none.
    pub(crate) len: Option<u64>,
    /// The size in bytes of the pages that its mappings are made of.
    pub(crate) page: usize,
    /// Whether its pages can be copied when they are written to; else the system would write to the file without a word.
    pub(crate) copies: bool,
}
