//! The share wing: copies that survive a fault, beside those that do not.

use crate::measure::{Bench, Contender};
use folio::fault::{RawMemory, RawMemoryMut};
use folio::{Pages, page};
use std::hint::black_box;

pub(crate) fn run(bench: &mut Bench) {
    for (len, aim) in [(64, 1.4), (4096, 1.05), (1 << 20, 1.02)] {
        for shift in [0, 13] {
            copy(bench, len, shift, aim);
        }
    }
    for (len, aim) in [(64, 1.4), (4096, 1.05), (1 << 20, 1.02)] {
        fill(bench, len, aim);
    }
    word(bench);
    fault(bench);
}

fn size(len: usize) -> String {
    match len {
        len if len >= 1 << 20 => format!("{} MiB", len >> 20),
        len if len >= 1 << 10 => format!("{} KiB", len >> 10),
        len => format!("{len} B"),
    }
}

fn copy(bench: &mut Bench, len: usize, shift: usize, aim: f64) {
    let from = Pages::new(len + page::size()).unwrap().make_read_only().unwrap();
    let mut to = Pages::new(len + page::size()).unwrap();
    to.fill(1);
    let odd = if shift == 0 { "" } else { ", unaligned" };
    // SAFETY: pages of this function, which live as long as the contenders.
    let memory = unsafe { RawMemory::new(from.as_ptr().wrapping_add(shift), len) };
    let place = to.as_mut_ptr();
    let slice = || {
        // SAFETY: other pages of this function, used by one contender at a time.
        unsafe { std::slice::from_raw_parts_mut(black_box(place.wrapping_add(2 * shift)), len) }
    };
    let bare = Contender::new("limit: memcpy", || {
        let to = slice();
        // SAFETY: both are `len` bytes, and apart.
        unsafe { std::ptr::copy_nonoverlapping(black_box(memory.as_ptr()), to.as_mut_ptr(), black_box(len)) };
    });
    let ours = Contender::aiming("folio::RawMemory::try_copy_to", aim, || {
        black_box(&memory).try_copy_to(0, slice()).unwrap();
    });
    bench.group(format!("copy {} out{odd}", size(len)), vec![bare, ours]);

    // SAFETY: pages of this function, to which nobody has references.
    let memory = unsafe { RawMemoryMut::new(place.wrapping_add(shift), len) };
    let slice = &from[2 * shift..][..len];
    let bare = Contender::new("limit: memcpy", || {
        // SAFETY: both are `len` bytes, and apart.
        unsafe {
            std::ptr::copy_nonoverlapping(black_box(slice.as_ptr()), memory.as_mut_ptr(), black_box(len));
        };
    });
    let ours = Contender::aiming("folio::RawMemoryMut::try_copy_from", aim, || {
        black_box(&memory).try_copy_from(0, black_box(slice)).unwrap();
    });
    bench.group(format!("copy {} in{odd}", size(len)), vec![bare, ours]);
}

fn fill(bench: &mut Bench, len: usize, aim: f64) {
    let mut pages = Pages::new(len).unwrap();
    // SAFETY: pages of this function, to which nobody has references.
    let memory = unsafe { RawMemoryMut::new(pages.as_mut_ptr(), len) };
    let bare = Contender::new("limit: memset", || {
        // SAFETY: `len` bytes of those pages.
        unsafe { black_box(memory.as_mut_ptr()).write_bytes(black_box(1), black_box(len)) };
    });
    let ours = Contender::aiming("folio::RawMemoryMut::try_fill", aim, || {
        black_box(&memory).try_fill(0, black_box(len), black_box(1)).unwrap();
    });
    bench.group(format!("fill {}", size(len)), vec![bare, ours]);
}

fn word(bench: &mut Bench) {
    let mut pages = Pages::new(1).unwrap();
    // SAFETY: a page of this function, to which nobody has references.
    let memory = unsafe { RawMemoryMut::new(pages.as_mut_ptr(), pages.len()) };
    let place = pages.as_mut_ptr().cast();
    let atomic = || {
        // SAFETY: an aligned word of that page, reached atomically by all.
        unsafe { std::sync::atomic::AtomicU64::from_ptr(black_box(place)) }
    };
    let bare =
        Contender::new("limit: AtomicU64", || atomic().fetch_add(1, std::sync::atomic::Ordering::SeqCst));
    let ours = Contender::new("folio::RawMemoryMut::try_fetch_add", || {
        black_box(&memory).try_fetch_add(0, 1_u64).unwrap()
    });
    bench.group("add to a word".into(), vec![bare, ours]);
    let bare = Contender::new("limit: read_volatile", || {
        // SAFETY: an aligned word of that page.
        unsafe { black_box(place).read_volatile() }
    });
    let ours =
        Contender::new("folio::RawMemory::try_read", || black_box(&memory).try_read::<u64>(0).unwrap());
    bench.group("read a word".into(), vec![bare, ours]);
}

/// A fault that is recovered from: the signal's way to a handler and back is what it cannot do without.
fn fault(bench: &mut Bench) {
    let pages = folio::MmapOptions::new(1).map_none().unwrap();
    // SAFETY: a page of this function.
    let memory = unsafe { RawMemory::new(pages.as_ptr(), pages.len()) };
    extern "C" fn nothing(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: a handler that does nothing, of a signal that nobody else uses here.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    let bare = Contender::new("limit: a signal to oneself", || {
        // SAFETY: no precondition.
        unsafe { libc::raise(libc::SIGUSR1) }
    });
    let mut byte = [0];
    let ours = Contender::new("folio::RawMemory::try_copy_to", move || {
        black_box(&memory).try_copy_to(0, &mut byte).unwrap_err()
    });
    bench.group("recover from a fault".into(), vec![bare, ours]);
}
