//! A vector in pages.

use crate::page_allocator::PageAllocator;
use allocator_api2::vec::Vec;

/// A vector whose elements lie in pages of their own.
pub struct PagedVec<T> {
    vec: Vec<T, PageAllocator>,
}
