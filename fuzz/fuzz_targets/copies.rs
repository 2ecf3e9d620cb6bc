//! Copies of any offset, length and alignment from and to pages of which one is a hole, against a byte-by-byte model.
#![no_main]

use folio::fault::RawMemoryMut;
use folio::{Pages, Protection, page};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const PAGES: usize = 24;

/// Pages, and nobody's but the copies'.
static MEMORY: LazyLock<RawMemoryMut<'static>> = LazyLock::new(|| {
    let mut pages = Pages::new(PAGES * page::size()).unwrap();
    let (place, len) = (pages.as_mut_ptr(), pages.len());
    std::mem::forget(pages);
    // SAFETY: never unmapped, and nobody has references to them.
    unsafe { RawMemoryMut::new(place, len) }
});

fn grant(page: usize, protection: Protection) {
    let place = MEMORY.as_mut_ptr().wrapping_add(page * page::size());
    // SAFETY: pages that are reached by copies only.
    unsafe { folio::protect(place, 1, protection) }.unwrap();
}

fuzz_target!(|input: (u32, u32, u8, u8, u8)| {
    let (offset, len, hole, shift, what) = input;
    let all = MEMORY.len();
    let offset = offset as usize % (all + 1);
    let len = len as usize % (all - offset + 1);
    let (hole, shift, seed) = (usize::from(hole) % (PAGES + 1), usize::from(shift), what);
    let before: Vec<u8> = (0..all).map(|at| (at as u8).wrapping_mul(seed | 1)).collect();
    MEMORY.try_copy_from(0, &before).unwrap();
    let protection = if what & 4 == 0 { Protection::NONE } else { Protection::READ };
    if hole < PAGES {
        grant(hole, protection);
    }
    let reading = what & 3 == 0;
    let blocked = |at: usize| at / page::size() == hole && !(reading && protection == Protection::READ);
    let end = (offset..offset + len).find(|&at| blocked(at));
    let done = end.unwrap_or(offset + len) - offset;
    let mut copy = vec![0xA5; shift + len + 32];
    let source: Vec<u8> = (0..shift + len).map(|at| at as u8 ^ seed).collect();
    let result = match what & 3 {
        0 => MEMORY.try_copy_to(offset, &mut copy[shift..][..len]),
        1 => MEMORY.try_fill(offset, len, seed),
        _ => MEMORY.try_copy_from(offset, &source[shift..]),
    };
    if hole < PAGES {
        grant(hole, Protection::READ_WRITE);
    }
    match (result, end) {
        (Ok(()), None) => {}
        (Err(error), Some(end)) => {
            let fault = error.fault().unwrap();
            assert_eq!((fault.offset(), fault.is_write()), (end, !reading));
        }
        (result, end) => panic!("{result:?} {end:?}"),
    }
    let mut model = before.clone();
    match what & 3 {
        0 => {
            assert_eq!(copy[shift..][..done], before[offset..][..done]);
            assert!(copy[..shift].iter().chain(&copy[shift + done..]).all(|&byte| byte == 0xA5));
        }
        1 => model[offset..][..done].fill(seed),
        _ => model[offset..][..done].copy_from_slice(&source[shift..][..done]),
    }
    let mut now = vec![0; all];
    MEMORY.try_copy_to(0, &mut now).unwrap();
    assert!(now == model);
});
