//! The own wing: a page that one thread opens and closes again, by the system and by a protection key.

use crate::measure::{Bench, Contender};
use folio::KeyedPages;
use std::hint::black_box;
use std::ptr;

/// A page that nobody may touch but between two `mprotect`.
struct Closed {
    place: *mut libc::c_void,
    len: usize,
}

impl Closed {
    fn new() -> Self {
        let len = folio::page::size();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let place = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(place, libc::MAP_FAILED);
        Self { place, len }
    }

    fn protect(&self, protection: libc::c_int) {
        // SAFETY: a page of ours, with no reference into it.
        let done = unsafe { libc::mprotect(self.place, self.len, protection) };
        assert_eq!(done, 0);
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, to which nobody has references.
        unsafe { libc::munmap(self.place, self.len) };
    }
}

pub(crate) fn run(bench: &mut Bench) {
    for writing in [true, false] {
        toggle(bench, writing);
    }
}

fn toggle(bench: &mut Bench, writing: bool) {
    let name = format!("open a page for {}, touch it, close it", if writing { "writing" } else { "reading" });
    if !bench.wants(&name) {
        return;
    }
    if !folio::Capabilities::probe().protection_keys() {
        return eprintln!("skipped: {name}: no protection keys here");
    }
    let closed = Closed::new();
    let bare = Contender::new("limit: two mprotect", || {
        let place = black_box(closed.place).cast::<u8>();
        if writing {
            closed.protect(libc::PROT_READ | libc::PROT_WRITE);
            // SAFETY: open just now.
            unsafe { place.write_volatile(1) };
        } else {
            closed.protect(libc::PROT_READ);
            // SAFETY: open just now.
            unsafe { place.read_volatile() };
        }
        closed.protect(libc::PROT_NONE);
    });
    let mut pages = KeyedPages::new(1).unwrap();
    let ours = if writing {
        Contender::aiming("folio::KeyedPages::open_mut", 0.02, move || {
            let mut guard = black_box(&mut pages).open_mut();
            // SAFETY: open while the guard lives.
            unsafe { guard.as_mut_ptr().write_volatile(1) };
        })
    } else {
        Contender::aiming("folio::KeyedPages::open", 0.02, move || {
            let guard = black_box(&pages).open();
            // SAFETY: open while the guard lives.
            unsafe { guard.as_ptr().read_volatile() }
        })
    };
    bench.group(name, vec![bare, ours]);
}
