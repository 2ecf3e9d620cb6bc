//! Floor 3: pages of one's own, in the plainest form: an address and a length.

mod near;
mod owned;
mod pending;

pub use near::alloc_near;
pub(crate) use near::near;
pub(crate) use owned::leave as give_up;
pub use owned::{Allocation, SealedPages};
pub(crate) use pending::give_back;

use crate::error::{ErrorKind, Failure, Operation, Result};
use crate::guard::unknown_bits;
use crate::os;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use core::ptr::NonNull;

/// Allocates pages: at least `len` bytes, zeroed, private to this process, with a protection, at a place of the system's choice.
///
/// The length is rounded up to whole pages. The pages are the [`Allocation`]'s, which unmaps them when it is dropped.
///
/// # Cost
///
/// One system call, one more for the drop; no allocation. (And one for each allocation that could not be unmapped when it was
/// dropped, of which at most 64 wait.) Memory is taken when a page is first touched; see
/// [`lock`](crate::lock) for taking it at once.
///
/// # Errors
///
/// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): `len` is 0 or more than `isize::MAX` bytes, or `protection`
///   has other bits than the three.
/// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): no memory, address space or mapping is left; where a limit of the
///   process was reached, [`Error::limit`](crate::Error::limit) says which.
/// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): the system does not grant such a protection to this program
///   (writing and executing together on OpenBSD, NetBSD, hardened programs).
///
/// # Platforms
///
/// | Linux, Android | `mmap` |
/// |---|---|
/// | Windows | `VirtualAlloc`; the start is aligned to [`page::granularity`](crate::page::granularity). [`Protection::NONE`] reserves address space without memory behind it; [`protect`](crate::protect) commits it |
/// | macOS, iOS | `mmap`; whatever is not nothing includes reading; writing and executing together is asked for as `MAP_JIT` on Apple's processors, which lets the two be granted to each thread in turn, and on others looked at again, since some versions take executing away without an error |
/// | FreeBSD, OpenBSD, illumos | `mmap` |
/// | NetBSD | `mmap`, with leave to change to any protection later, as far as PaX lets |
///
/// # Examples
///
/// ```
/// use folio::Protection;
///
/// let memory = folio::alloc(100, Protection::READ_WRITE)?;
/// assert_eq!(memory.len(), folio::page::size());
///
/// let first = memory.as_ptr::<u64>().cast_mut();
/// // SAFETY: inside the allocation, aligned to a page, writable, and nobody else knows of it.
/// unsafe {
///     assert_eq!(first.read(), 0);
///     first.write(42);
/// }
/// # Ok::<(), folio::Error>(())
/// ```
///
/// References: `mmap(2)`; MSDN, `VirtualAlloc`.
#[inline]
pub fn alloc(len: usize, protection: Protection) -> Result<Allocation> {
    pending::give_back();
    let allocated = sensible(len, protection).and_then(|len| Ok((os::map(len, protection)?, len)));
    match allocated {
        // SAFETY: `map` gave exactly these pages, to nobody else.
        Ok((base, len)) => Ok(unsafe { Allocation::own(base, len.bytes()) }),
        Err(failure) => Err(failure.during(Operation::Allocate, None, None)),
    }
}

/// The same for code that is written while the program runs.
pub(crate) fn alloc_jit(len: usize, protection: Protection) -> Result<Allocation> {
    pending::give_back();
    let allocated = sensible(len, protection).and_then(|len| Ok((os::map_jit(len, protection)?, len)));
    match allocated {
        // SAFETY: `map_jit` gave exactly these pages, to nobody else.
        Ok((base, len)) => Ok(unsafe { Allocation::own(base, len.bytes()) }),
        Err(failure) => Err(failure.during(Operation::Allocate, None, None)),
    }
}

fn sensible(len: usize, protection: Protection) -> core::result::Result<PageLen, Failure> {
    if Protection::all().contains(protection) { PageLen::covering(len) } else { Err(unknown_bits()) }
}

/// Allocates the pages that `[address, address + len)` touches: exactly there, or not at all.
///
/// What exists there is never replaced, not even a part of it.
///
/// # Cost
///
/// As [`alloc()`].
///
/// # Errors
///
/// As [`alloc()`], and
///
/// - [`ErrorKind::Occupied`](crate::ErrorKind::Occupied): something is mapped in the range already.
/// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the range reaches above what a process may use.
/// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): the range is too low; the first 64 KiB or so are kept free.
///
/// # Platforms
///
/// | Linux, Android | `MAP_FIXED_NOREPLACE`; before Linux 4.17 as a wish, of which the answer is checked |
/// |---|---|
/// | Windows | `VirtualAlloc`; what lies between the [granularity](crate::page::granularity)'s boundary below and the first page is reserved as well, and must be free |
/// | macOS, iOS | `mach_vm_map` without leave to overwrite; writing and executing together on Apple's processors: as a wish, of which the answer is checked |
/// | FreeBSD | `MAP_FIXED` with `MAP_EXCL` |
/// | OpenBSD | `MAP_FIXED` with `__MAP_NOREPLACE` |
/// | NetBSD, illumos | as a wish, of which the answer is checked; illumos takes none from a process whose address space it randomizes (security-flags(7)), unless it is told to: [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted) |
///
/// # Examples
///
/// ```
/// use folio::{ErrorKind, Protection, page};
///
/// let there = folio::alloc(4 * page::size(), Protection::NONE)?;
/// let taken = folio::alloc_at(there.as_ptr::<u8>(), 1, Protection::READ_WRITE);
/// assert_eq!(taken.unwrap_err().kind(), ErrorKind::Occupied);
/// # Ok::<(), folio::Error>(())
/// ```
pub fn alloc_at<T>(address: *const T, len: usize, protection: Protection) -> Result<Allocation> {
    at(address.addr(), len, protection, os::map_at)
}

/// How pages at a place are mapped: `os::map_at` or `os::map_jit_at`.
pub(crate) type MapAt = fn(PageRange, Protection) -> core::result::Result<NonNull<u8>, Failure>;

/// The pages that `[address, address + len)` touches, mapped in a certain way.
pub(crate) fn at(address: usize, len: usize, protection: Protection, map_at: MapAt) -> Result<Allocation> {
    pending::give_back();
    let range = sensible(len, protection)
        .and_then(|_| whole(address, len))
        .map_err(|failure| failure.during(Operation::Allocate, Some(PageRange::containing(address)), None))?;
    match map_at(range, protection) {
        // SAFETY: `map_at` gave exactly these pages, to nobody else.
        Ok(base) => Ok(unsafe { Allocation::own(base, range.len()) }),
        Err(failure) => Err(failure.during(Operation::Allocate, Some(range), None)),
    }
}

/// The pages that the bytes touch, none of them cut off at the top of the address space.
fn whole(address: usize, len: usize) -> core::result::Result<PageRange, Failure> {
    let range = PageRange::touching(address, len)?;
    // The last byte of all cannot be in an object of Rust's: the address one past its end would be 0.
    if address.checked_add(len).is_none() || range.last() == usize::MAX {
        return Err(Failure::invalid("the range reaches beyond the top of the address space"));
    }
    // Root could have it; a pointer to it would be null.
    if range.first() == 0 {
        return Err(Failure::new(ErrorKind::NotPermitted).detail("the page at address 0 is nobody's"));
    }
    range.page_len()?;
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page;

    /// The system refuses most of these as well; what is cut off at the top must not become a shorter range that it could grant.
    #[test]
    fn a_range_is_whole_or_an_error() {
        let page = page::size();
        for (address, len, kind) in [
            (usize::MAX, 1, ErrorKind::InvalidInput),
            (usize::MAX - page, 2 * page, ErrorKind::InvalidInput),
            (usize::MAX - 3 * page, 4 * page, ErrorKind::InvalidInput),
            (0, 1, ErrorKind::NotPermitted),
            (page, usize::MAX / 2 + 1, ErrorKind::InvalidInput),
        ] {
            assert_eq!(whole(address, len).unwrap_err().kind(), kind, "{address:#x}, {len:#x}");
        }
        let range = whole(page + 1, page).unwrap();
        assert_eq!((range.first(), range.len()), (page, 2 * page));
    }
}
