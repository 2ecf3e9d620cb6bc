//! Pages of which parts are given away one behind the other.

use folio::page;
use std::io;

/// So long are chunks at most, unless a part is longer.
const LONGEST: usize = 64 << 10;

/// Pages, the beginning of which is given away.
pub(crate) struct Chunk<T> {
    owner: T,
    first: *mut u8,
    len: usize,
    used: usize,
}

// SAFETY: the pointer is to what the owner owns, and nothing is done by it here.
unsafe impl<T: Send> Send for Chunk<T> {}

impl<T> Chunk<T> {
    /// `first` is that of `len` bytes that belong to the owner, and begins a page.
    pub(crate) fn new(owner: T, first: *mut u8, len: usize) -> Self {
        Self { owner, first, len, used: 0 }
    }

    /// The next `size` bytes on a multiple of `align`, which is no more than a page.
    fn take(&mut self, size: usize, align: usize) -> Option<*mut u8> {
        let start = self.used.checked_next_multiple_of(align)?;
        let end = start.checked_add(size).filter(|&end| end <= self.len)?;
        self.used = end;
        Some(self.first.wrapping_add(start))
    }
}

/// Chunks of one kind, that can be written.
pub(crate) struct Chunks<T> {
    open: Vec<Chunk<T>>,
    /// How long the next one is, if that is long enough.
    next: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { open: Vec::new(), next: 0 }
    }
}

impl<T> Chunks<T> {
    /// `size` bytes on a multiple of `align`: of the last chunk, or of a new one that `more` makes of whole pages.
    ///
    /// Chunks grow from one page to `LONGEST`: what of a chunk is not used when it is closed is lost, and whoever closes one after each
    /// function loses less than a page so.
    pub(crate) fn take(
        &mut self,
        size: usize,
        align: usize,
        mut more: impl FnMut(usize) -> io::Result<Chunk<T>>,
    ) -> io::Result<*mut u8> {
        if let Some(part) = self.open.last_mut().and_then(|chunk| chunk.take(size, align)) {
            return Ok(part);
        }
        let whole = size
            .checked_next_multiple_of(page::size())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "longer than there are addresses"))?;
        let wished = self.next.clamp(page::size(), LONGEST.max(page::size()));
        let mut chunk = match more(whole.max(wished)) {
            Err(_) if whole < wished => more(whole)?,
            made => made?,
        };
        self.next = wished.saturating_mul(2);
        let part = chunk.take(size, align);
        self.open.push(chunk);
        part.ok_or_else(|| io::Error::other("a chunk is shorter than it was to be"))
    }

    /// Gives the chunks away, to be closed; the next one is short again.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = T> {
        self.next = 0;
        std::mem::take(&mut self.open).into_iter().map(|chunk| chunk.owner)
    }
}
