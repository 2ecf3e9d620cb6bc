//! Pages that go back to their pool.

use super::PagePool;
use crate::pages::MmapMut;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

/// Pages of a [`PagePool`], which go back to it when this is dropped.
///
/// A [`MmapMut`] by [`Deref`]: all that can be done to pages by reference can be done to these. What makes others of them than the
/// pool made (another length, a lock, a flag) is noticed when they are dropped, and they are unmapped.
#[must_use = "the pages go back to the pool when the value is dropped"]
pub struct PooledPages<'pool> {
    /// Invariant: there until this value is dropped or taken apart.
    pages: ManuallyDrop<MmapMut>,
    pool: &'pool PagePool,
}

impl<'pool> PooledPages<'pool> {
    #[inline]
    pub(super) fn new(pool: &'pool PagePool, pages: MmapMut) -> Self {
        Self { pages: ManuallyDrop::new(pages), pool }
    }

    /// The pages, which no longer go back by themselves: [`PagePool::put`] takes them.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PagePool;
    ///
    /// let pool = PagePool::new(4096, 8);
    /// let mut pages = pool.take()?.into_pages();
    /// pages[0] = 1;
    /// // Here they are those of a program that wants to change their rights for a while, and may fail to.
    /// let pages = pages.make_read_only()?;
    /// assert_eq!(pages[0], 1);
    /// pool.put(pages.make_mut()?);
    /// assert_eq!(pool.len(), 1);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn into_pages(self) -> MmapMut {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: they are there (the invariant), and this value is neither used after this nor dropped.
        unsafe { ManuallyDrop::take(&mut this.pages) }
    }

    /// The pool they go back to.
    #[inline]
    pub fn pool(&self) -> &'pool PagePool {
        self.pool
    }
}

impl Drop for PooledPages<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: they are there (the invariant), and this value is used no more.
        let pages = unsafe { ManuallyDrop::take(&mut self.pages) };
        self.pool.put(pages);
    }
}

impl Deref for PooledPages<'_> {
    type Target = MmapMut;

    #[inline]
    fn deref(&self) -> &MmapMut {
        &self.pages
    }
}

impl DerefMut for PooledPages<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut MmapMut {
        &mut self.pages
    }
}

impl AsRef<[u8]> for PooledPages<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.pages
    }
}

impl AsMut<[u8]> for PooledPages<'_> {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.pages
    }
}

/// The addresses.
impl fmt::Debug for PooledPages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledPages({:#x?})", self.pages.as_range())
    }
}
