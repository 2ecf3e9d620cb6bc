//! A byte of each page: where the system has no call that reads pages in, and to put an end to what it may do by itself.

use crate::range::PageRange;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

/// Calls `each` with a byte of each page, by the provenance of `base`. The first page may begin below `base`: its byte is that at
/// `base`, which the mapping has.
fn each_page(base: NonNull<u8>, pages: PageRange, mut each: impl FnMut(*mut u8)) {
    let size = crate::page::size();
    let mut next = Some(pages.first());
    while let Some(at) = next.take_if(|at| *at <= pages.last()) {
        each(base.as_ptr().with_addr(at.max(base.addr().get())));
        next = at.checked_add(size);
    }
}

/// Reads a byte of each page.
///
/// # Safety
///
/// The pages are of the mapping that `base` is the first byte of, and can be read.
pub(super) unsafe fn read(base: NonNull<u8>, pages: PageRange) {
    each_page(base, pages, |byte| {
        // SAFETY: the caller's promise.
        let _value = unsafe { byte.read_volatile() };
    });
}

/// Writes to each page without changing anything: a byte is exchanged for itself in one step, so that also where the page is
/// replaced by another at that very moment, or another process writes to it, nothing comes back that was gone.
///
/// # Safety
///
/// The pages are of the mapping that `base` is the first byte of, and can be written; nobody reads or writes them meanwhile but by
/// atomics.
pub(super) unsafe fn write(base: NonNull<u8>, pages: PageRange) {
    each_page(base, pages, |byte| {
        // SAFETY: the caller's promise; bytes are always aligned.
        let byte = unsafe { AtomicU8::from_ptr(byte) };
        let mut held = 0;
        // An addition of 0 would be one that compilers turn into a mere read.
        while let Err(other) = byte.compare_exchange_weak(held, held, Ordering::AcqRel, Ordering::Acquire) {
            held = other;
        }
    });
}
