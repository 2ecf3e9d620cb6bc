//! How memory is touched that others write to at the same time: by instructions that the compiler does not look into.
//!
//! Where there are copies that survive a fault, it is these, since a slice does not know whether its memory can be taken away. They are
//! assembly, which to Rust is as if each byte were read or written on its own, by a relaxed atomic access: whoever writes
//! at the same time, nothing is undefined, and what was read into a variable stays as it was read. Where there are none, nobody makes slices
//! of memory that can be taken away ([`from_raw_parts`](super::ReadableProcessSlice::from_raw_parts)), and volatile accesses do.

use crate::fault::{Plain, Word};
use crate::os::copying::{self, Access};
use core::mem::MaybeUninit;

/// Bytes that were not there: how many before them were reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone {
    pub(super) done: usize,
}

/// Copies.
///
/// # Safety
///
/// Of `to` and `from`, each is Rust's and the caller's to write, or to read, or is memory of which slices may be made; the two do not
/// overlap.
#[inline]
pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Gone> {
    if copying::HANDLED {
        // SAFETY: the caller's promise. What can be taken away came into reach after the handler was installed.
        match unsafe { copying::copy(copying::way(), to, from, len) } {
            Ok(()) => Ok(()),
            Err(stop) => Err(gone(len, stop.left)),
        }
    } else {
        // SAFETY: the caller's promise; without a handler there is nothing that can be taken away.
        unsafe { volatile::copy(to, from, len) };
        Ok(())
    }
}

#[cold]
fn gone(len: usize, left: usize) -> Gone {
    Gone { done: len.saturating_sub(left) }
}

/// Writes the same byte everywhere.
///
/// # Safety
///
/// As for `to` of [`copy`].
#[inline]
pub(super) unsafe fn fill(to: *mut u8, byte: u8, len: usize) -> Result<(), Gone> {
    if copying::HANDLED {
        // SAFETY: as in `copy`.
        unsafe { copying::fill(copying::way(), to, byte, len) }.map_err(|stop| gone(len, stop.left))
    } else {
        // SAFETY: as in `copy`.
        unsafe { volatile::fill(to, byte, len) };
        Ok(())
    }
}

/// The value whose bytes lie at `from`, which need not be aligned.
///
/// # Safety
///
/// As for `from` of [`copy`].
#[inline]
pub(super) unsafe fn read<T: Plain>(from: *const u8) -> Result<T, Gone> {
    let size = size_of::<T>();
    // As many bytes as some word has.
    let has_word = copying::HANDLED && (matches!(size, 1 | 2 | 4) || size == size_of::<usize>());
    if has_word && (copying::ANYWHERE || from.addr() & size.saturating_sub(1) == 0) {
        // SAFETY: the caller's promise; aligned, or need not be.
        let word = unsafe { copying::word(copying::way_of_words(), from.cast_mut(), size, Access::Load) };
        let Ok(word) = word else { return Err(Gone { done: 0 }) };
        // The processors with instructions of ours keep the lower bytes of a word first.
        const { assert!(!copying::HANDLED || cfg!(target_endian = "little")) };
        // SAFETY: the first bytes of the word are those that were read, at most all of it; any bytes are a value (`Plain`).
        return Ok(unsafe { (&raw const word).cast::<T>().read_unaligned() });
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the caller's promise; a new variable.
    unsafe { copy(value.as_mut_ptr().cast(), from, size)? };
    // SAFETY: all bytes are written, and any are a value (`Plain`).
    Ok(unsafe { value.assume_init() })
}

/// Writes the bytes of a value.
///
/// # Safety
///
/// As for `to` of [`copy`].
#[inline]
pub(super) unsafe fn write<T: Plain>(to: *mut u8, value: T) -> Result<(), Gone> {
    // SAFETY: the caller's promise; all bytes of a value without padding (`Plain`).
    unsafe { copy(to, (&raw const value).cast(), size_of::<T>()) }
}

/// One access, sequentially consistent, to a word: what was there.
///
/// # Safety
///
/// As for `to` of [`copy`], or, for a load, for `from`; aligned.
#[inline]
pub(super) unsafe fn word<T: Word>(place: *mut u8, access: Access) -> Result<T, Gone> {
    if copying::HANDLED {
        // SAFETY: the caller's promise; as in `copy`.
        match unsafe { copying::word(copying::way_of_words(), place, size_of::<T>(), access) } {
            Ok(word) => Ok(T::from_wide(word)),
            Err(_) => Err(Gone { done: 0 }),
        }
    } else {
        // SAFETY: the caller's promise; as in `copy`.
        Ok(T::from_wide(unsafe { volatile::word(place, size_of::<T>(), access) }))
    }
}

/// Where there are no instructions of our own. Compiled and tested everywhere.
#[cfg_attr(not(test), allow(dead_code, reason = "some processors have use for it"))]
mod volatile {
    use crate::os::copying::Access;
    use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence};

    const WORD: usize = size_of::<usize>();

    fn is_aligned(place: *const u8) -> bool {
        place.addr() & WORD.saturating_sub(1) == 0
    }

    /// # Safety
    ///
    /// As [`super::copy`]; the memory is there.
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
        let mut done = 0_usize;
        while done < len {
            let (to, from) = (to.wrapping_add(done), from.wrapping_add(done));
            if len.saturating_sub(done) >= WORD && is_aligned(to) && is_aligned(from) {
                // SAFETY: the caller's promise, for some of the bytes; aligned.
                let word = unsafe { from.cast::<usize>().read_volatile() };
                // SAFETY: as above.
                unsafe { to.cast::<usize>().write_volatile(word) };
                done = done.saturating_add(WORD);
            } else {
                // SAFETY: the caller's promise, for one of the bytes.
                let byte = unsafe { from.read_volatile() };
                // SAFETY: as above.
                unsafe { to.write_volatile(byte) };
                done = done.saturating_add(1);
            }
        }
    }

    /// # Safety
    ///
    /// As [`super::fill`]; the memory is there.
    pub(super) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
        let word = usize::from_ne_bytes([byte; WORD]);
        let mut done = 0_usize;
        while done < len {
            let to = to.wrapping_add(done);
            if len.saturating_sub(done) >= WORD && is_aligned(to) {
                // SAFETY: the caller's promise, for some of the bytes; aligned.
                unsafe { to.cast::<usize>().write_volatile(word) };
                done = done.saturating_add(WORD);
            } else {
                // SAFETY: the caller's promise, for one of the bytes.
                unsafe { to.write_volatile(byte) };
                done = done.saturating_add(1);
            }
        }
    }

    macro_rules! word_of {
        ($atomic:ident, $type:ident, $place:ident, $access:ident) => {{
            // Rust has no other way to an atomic access than by a reference, which here covers the word as long as the access lasts.
            // SAFETY: the caller's promise; aligned.
            let word = unsafe { $atomic::from_ptr($place.cast()) };
            let of = |wide: usize| {
                #[allow(clippy::as_conversions, trivial_numeric_casts, reason = "the lower bits are the word")]
                {
                    wide as $type
                }
            };
            let found = match $access {
                // Memory that can only be read may be read so, and by no other load (`core::sync::atomic`). Between the fences it is as
                // sequentially consistent as the other accesses.
                Access::Load => {
                    fence(Ordering::SeqCst);
                    let found = word.load(Ordering::Relaxed);
                    fence(Ordering::Acquire);
                    found
                }
                Access::Swap(value) => word.swap(of(value), Ordering::SeqCst),
                Access::Add(value) => word.fetch_add(of(value), Ordering::SeqCst),
                Access::Exchange(old, new) => {
                    match word.compare_exchange(of(old), of(new), Ordering::SeqCst, Ordering::SeqCst) {
                        Ok(found) | Err(found) => found,
                    }
                }
            };
            #[allow(clippy::as_conversions, trivial_numeric_casts, reason = "at most as wide")]
            {
                found as usize
            }
        }};
    }

    /// # Safety
    ///
    /// As [`super::word`]; the memory is there; the size is that of a [`Word`](crate::fault::Word).
    pub(super) unsafe fn word(place: *mut u8, size: usize, access: Access) -> usize {
        match size {
            1 => word_of!(AtomicU8, u8, place, access),
            2 => word_of!(AtomicU16, u16, place, access),
            WORD => word_of!(AtomicUsize, usize, place, access),
            _ => word_of!(AtomicU32, u32, place, access),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::volatile;
    use crate::os::copying::Access;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn volatile_copies_are_those_of_slices() {
        let from: Vec<u8> = (0..100).collect();
        for (shift, to, len) in [(0, 0, 100), (1, 1, 90), (3, 4, 50), (8, 16, 8), (8, 0, 0), (5, 5, 7)] {
            let mut copy = vec![0xAA_u8; 128];
            // SAFETY: both are in their vectors, and apart.
            unsafe {
                volatile::copy(copy.as_mut_ptr().wrapping_add(to), from.as_ptr().wrapping_add(shift), len)
            };
            assert_eq!(copy[to..][..len], from[shift..][..len]);
            assert!(copy[..to].iter().chain(&copy[to + len..]).all(|&byte| byte == 0xAA));
            // SAFETY: in its vector.
            unsafe { volatile::fill(copy.as_mut_ptr().wrapping_add(to), 0x55, len) };
            assert!(copy[to..][..len].iter().all(|&byte| byte == 0x55));
            assert!(copy[..to].iter().chain(&copy[to + len..]).all(|&byte| byte == 0xAA));
        }
    }

    #[test]
    fn volatile_words_are_of_their_width() {
        for size in [1, 2, 4, size_of::<usize>()] {
            let mut words = [usize::MAX; 3];
            let place = (&raw mut words[1]).cast::<u8>();
            let mask = usize::MAX >> (usize::BITS as usize - 8 * size);
            let access = |access| {
                // SAFETY: a word of this function's.
                unsafe { volatile::word(place, size, access) }
            };
            assert_eq!(access(Access::Add(2)), mask);
            assert_eq!(access(Access::Swap(7)), 1);
            assert_eq!(access(Access::Exchange(6, 9)), 7);
            assert_eq!(access(Access::Exchange(7, 9)), 7);
            assert_eq!(access(Access::Load), 9);
            assert_eq!((words[0], words[2]), (usize::MAX, usize::MAX));
        }
    }

    /// A load writes nothing, not even what is there already.
    #[test]
    fn volatile_words_are_loaded_from_what_can_only_be_read() {
        static WORD: usize = usize::MAX;
        for size in [1, 2, 4, size_of::<usize>()] {
            let place = (&raw const WORD).cast::<u8>().cast_mut();
            // SAFETY: a word that is there for ever, to be read.
            let word = unsafe { volatile::word(place, size, Access::Load) };
            assert_eq!(word, usize::MAX >> (usize::BITS as usize - 8 * size));
        }
    }
}
