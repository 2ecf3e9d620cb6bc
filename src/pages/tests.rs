//! What can only be tested from inside: a system that refuses at each of its calls.

use super::{MmapMut, MmapOptions, Pages};
use crate::os::{self, inject::fail_nth};
on_linux! {
use crate::{ErrorKind, alloc};
use crate::os::inject;
}
use crate::{Operation, Protection, page, query};
use core::ptr::without_provenance;

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

fn shown(address: usize) -> Protection {
    query(without_provenance::<u8>(address)).unwrap().protection()
}

/// Trap: the permission's change had failed, and the type lied.
#[test]
fn a_refused_conversion_gives_the_mapping_back_as_it_was() {
    let mut reached = 0;
    for n in 0.. {
        let mut pages = Pages::new(3 * page::size()).unwrap();
        pages[0] = 7;
        let start = pages.start();
        let (done, failed) = fail_nth(None, n, REFUSED, || pages.make_read_only());
        match done {
            Ok(pages) => assert_eq!((shown(start), pages[0]), (Protection::READ, 7)),
            Err((mut pages, error)) => {
                reached += 1;
                assert_eq!((error.operation(), error.changed()), (Operation::Protect, None));
                assert_eq!(error.range(), Some(pages.as_range()));
                assert_eq!((pages.len(), shown(start)), (3 * page::size(), Protection::READ_WRITE));
                pages[0] += 1;
                assert_eq!(pages[0], 8);
            }
        }
        if !failed {
            break;
        }
    }
    assert!(reached >= 1);
    for n in 0.. {
        let pages = MmapOptions::new(1).map_none().unwrap();
        let start = pages.start();
        let (done, failed) = fail_nth(None, n, REFUSED, || MmapMut::try_from(pages));
        // By `try_from` the mapping is gone.
        assert_eq!(failed && done.is_err(), done.is_err());
        if let Ok(pages) = done {
            assert_eq!(pages.start(), start);
        }
        if !failed {
            break;
        }
    }
}

on_linux! {
/// The first pages are changed when the system comes to one that it refuses.
mod halfway {
    use super::*;
    use crate::error::Error;
    use crate::os;
    use crate::range::PageRange;

    const PAGES: usize = 4;

    /// A conversion that has changed `changed` pages when it is refused, and all attempts after that with it if `lasting`.
    fn refused(pages: MmapMut, changed: usize, lasting: bool) -> (MmapMut, Error) {
        let first = PageRange::touching(pages.start(), changed * page::size()).unwrap();
        inject::just_before("mprotect", move || {
            // SAFETY: pages of a mapping that is consumed.
            unsafe { os::protect(first, Protection::READ) }.unwrap();
        });
        let convert = || pages.make_read_only();
        let call = Some("mprotect");
        let (done, failed) = if lasting {
            inject::fail_from(call, 1, REFUSED, convert)
        } else {
            fail_nth(call, 1, REFUSED, convert)
        };
        assert!(failed);
        done.unwrap_err()
    }

    #[test]
    fn what_was_changed_is_changed_back() {
        let mut pages = Pages::new(PAGES * page::size()).unwrap();
        pages.fill(3);
        let (mut pages, error) = refused(pages, 2, false);
        assert_eq!(error.changed(), None);
        assert_eq!(pages.len(), PAGES * page::size());
        assert!(pages.iter().all(|&byte| byte == 3));
        pages.fill(4);
    }

    /// What cannot be changed back is out of the mapping's reach: by its type, safe code would write to it.
    #[test]
    fn what_cannot_be_changed_back_is_lost() {
        let size = page::size();
        for guards in [0, size] {
            let options = MmapOptions::new(PAGES * size).at(place_of(7));
            let mut pages = options.guard_before(guards).guard_after(guards).map_mut().unwrap();
            pages.fill(3);
            let (start, end) = (pages.start(), pages.end());
            let _locked = pages.lock();
            let (mut pages, error) = refused(pages, 2, true);
            assert_eq!(error.changed(), Some(start..start + 2 * size));
            assert_eq!(pages.as_range(), start + 2 * size..end);
            pages.fill(4);
            // What is left is a mapping as any other, and all is unmapped with it.
            let high = pages.split_off(size).unwrap();
            pages.merge(high).unwrap();
            drop(pages);
            for place in (start - guards..end + guards).step_by(size) {
                assert!(query(without_provenance::<u8>(place)).is_err(), "{place:#x}");
            }
        }
    }

    #[test]
    fn nothing_may_be_left() {
        let size = page::size();
        let mut low = Pages::new(PAGES * size).unwrap();
        let pages = low.split_off(size).unwrap();
        let (start, end) = (pages.start(), pages.end());
        // All but the last page are seen to be changed; after another failure, that one too.
        let (pages, _) = refused(pages, 2, true);
        let (mut pages, _) = refused(pages, 1, false);
        assert_eq!(pages.as_range(), start + 2 * size..end);
        let (alone, error) = low.merge(pages).map(|()| unreachable!()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        pages = alone;
        let whole = pages.map.pages().unwrap();
        pages.map.shut_out(whole);
        assert!(pages.is_empty() && pages.iter().next().is_none());
        assert!(pages.lock().is_err() && pages.hold().is_err() && pages.unlock().is_err());
        assert!(pages.split_off(0).is_err());
        assert_eq!(pages.map.extent().unwrap().to_range(), start..end);
        let pages = pages.make_none().unwrap().make_mut().unwrap();
        drop(pages);
        low.fill(1);
    }
}
}

/// At each call.
#[test]
fn options_that_cannot_be_had_are_errors() {
    let size = page::size();
    let options = [
        MmapOptions::new(2 * size),
        MmapOptions::new(2 * size).guard_before(size).guard_after(3 * size),
        MmapOptions::new(2 * size).align(1 << 20),
        MmapOptions::new(2 * size).guard_after(size).locked(),
    ];
    for options in options {
        for n in 0.. {
            let (made, failed) = fail_nth(None, n, REFUSED, || options.map_mut());
            match made {
                Ok(pages) => assert_eq!(pages.len(), 2 * size),
                // (Where nothing may be locked at all, the limit refuses.)
                Err(error) => assert!(failed || error.operation() == Operation::Lock, "call {n}: {error}"),
            }
            if !failed {
                break;
            }
        }
    }
}

on_linux! {
/// Where nothing is mapped of itself, and by no other test.
fn place_of(number: usize) -> usize {
    number.wrapping_shl(if usize::BITS == 64 { 37 } else { 28 })
}
}

on_linux! {
/// Trap: an error after a successful `mmap` leaked the mapping. All is unmapped, the pages behind that were to be guard pages, too.
#[test]
fn a_refused_guard_page_leaves_nothing() {
    let size = page::size();
    // A place that nobody else comes to.
    let place = place_of(5);
    for (n, name) in ["before", "behind"].into_iter().enumerate() {
        let options = MmapOptions::new(2 * size).at(place + size).guard_before(size).guard_after(3 * size);
        // Not `EINVAL`, for which there is another way.
        let (made, failed) = fail_nth(Some("madvise"), n, REFUSED, || options.map_mut());
        assert!(failed, "{name}");
        let error = made.unwrap_err();
        assert_eq!(error.operation(), Operation::Guard, "{name}: {error}");
        for number in 0..6 {
            assert!(query(without_provenance::<u8>(place + number * size)).is_err(), "{name}, page {number}");
        }
    }
    // And with nothing refused, it can be had there.
    let pages = MmapOptions::new(2 * size).at(place + size).guard_before(size).guard_after(3 * size);
    let pages = pages.map_mut().unwrap();
    assert_eq!(pages.as_range(), place + size..place + 3 * size);
}
}

on_linux! {
/// A lock that could not be taken away is still the mapping's.
#[test]
fn a_refused_unlock_can_be_tried_again() {
    let mut pages = Pages::new(2 * page::size()).unwrap();
    if pages.lock().is_err() {
        return crate::area::skipped("a_refused_unlock_can_be_tried_again", "nothing may be locked here");
    }
    let (done, failed) = inject::fail_from(Some("munlock"), 0, REFUSED, || pages.unlock());
    assert!(failed && done.is_err());
    pages.unlock().unwrap();
    assert_eq!(pages.unlock().unwrap_err().kind(), ErrorKind::InvalidInput);
    // And one that could not be had is not.
    let (done, failed) = fail_nth(Some("mlock"), 0, REFUSED, || pages.lock());
    assert!(failed && done.is_err());
    assert_eq!(pages.unlock().unwrap_err().kind(), ErrorKind::InvalidInput);
}
}

on_linux! {
/// What could not be given back is given back later: whole mappings, and parts.
#[test]
fn a_refused_drop_is_made_up_for() {
    let size = page::size();
    let place = place_of(6);
    let gone = |at: usize| query(without_provenance::<u8>(at)).is_err();
    let make = || MmapOptions::new(3 * size).at(place).map_mut().unwrap();
    let drops: [fn(); 2] = [|| drop(alloc(1, Protection::READ).unwrap()), || drop(Pages::new(1).unwrap())];
    for next in drops {
        let pages = make();
        let ((), failed) = fail_nth(None, 0, REFUSED, || drop(pages));
        assert!(failed);
        next();
        settled(|| gone(place));

        let mut low = make();
        let high = low.split_off(size).unwrap();
        let ((), failed) = fail_nth(None, 0, REFUSED, || drop(high));
        assert!(failed);
        next();
        settled(|| gone(place + size) && gone(place + 2 * size));
        assert!(!gone(place));
        low.fill(1);
        drop(low);
        settled(|| gone(place));
    }
    // A drop alone is enough.
    let (pages, other) = (make(), Pages::new(1).unwrap());
    let ((), failed) = fail_nth(None, 0, REFUSED, || drop(pages));
    assert!(failed);
    drop(other);
    settled(|| gone(place));
}
}

on_linux! {
/// Another thread may be about to do it.
fn settled(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("still mapped");
}
}

/// Trap: a failure half-way leaves a mapping that is neither the old nor the new one.
#[test]
fn a_refused_change_of_length_leaves_the_mapping_as_it_was() {
    let page = page::size();
    let plain = MmapOptions::new(2 * page);
    let cases = [
        (plain.clone().room(8 * page), 4),
        (plain.clone().room(8 * page), 1),
        (plain.clone(), 40),
        (plain.clone(), 1),
        (plain.clone().guard_before(1).guard_after(1), 40),
    ];
    for (options, count) in cases {
        let mut reached = 0;
        for n in 0.. {
            let mut pages = options.map_mut().unwrap();
            (pages[0], pages[page]) = (3, 4);
            let range = pages.as_range();
            let ((pages, done), failed) = fail_nth(None, n, REFUSED, move || {
                let done = pages.remap(count * page);
                (pages, done)
            });
            match done {
                Ok(()) => assert_eq!((pages.len(), pages[0]), (count * page, 3)),
                Err(error) => {
                    reached += 1;
                    assert_eq!((pages.as_range(), pages[0], pages[page]), (range, 3, 4), "{error}");
                    assert_eq!(
                        (shown(pages.start()), shown(pages.end() - 1)),
                        (Protection::READ_WRITE, Protection::READ_WRITE)
                    );
                }
            }
            if !failed {
                break;
            }
        }
        // (Where what is refused comes back with the whole, becoming shorter is never refused.)
        assert!(reached >= 1 || count == 1 && !os::unmaps_together(), "{options:?}");
    }
}

/// The same of pages that cannot be read, which are made readable to be copied.
#[test]
fn what_cannot_be_read_is_copied_and_cannot_be_read_again() {
    let page = page::size();
    let mut reached = 0;
    for n in 0.. {
        let mut full = MmapOptions::new(2 * page).guard_after(1).map_mut().unwrap();
        full.fill(6);
        let mut none = full.make_none().map_err(|(_, error)| error).unwrap();
        let ((none, done), failed) = fail_nth(None, n, REFUSED, move || {
            let done = none.remap(3 * page);
            (none, done)
        });
        reached += usize::from(done.is_err());
        assert_eq!(none.len(), if done.is_ok() { 3 * page } else { 2 * page });
        assert!(!shown(none.start()).contains(Protection::WRITE));
        assert_eq!((shown(none.start()), shown(none.end() - 1)), (Protection::NONE, Protection::NONE));
        let read = none.make_read_only().map_err(|(_, error)| error).unwrap();
        assert!(read[..2 * page].iter().all(|&byte| byte == 6));
        assert!(read[2 * page..].iter().all(|&byte| byte == 0));
        if !failed {
            break;
        }
    }
    assert!(reached >= 3, "{reached}");
}

/// A lock goes with the parts that a mapping is taken apart into, and comes back with them.
#[test]
fn a_lock_goes_round_with_the_parts() {
    let mut pages = Pages::new(1).unwrap();
    if pages.lock().is_err() {
        return;
    }
    // SAFETY: the parts just taken apart.
    let mut pages: MmapMut = unsafe { Pages::from_raw_parts(pages.into_raw_parts()) };
    pages.unlock().unwrap();
    assert!(pages.unlock().is_err());
}

on_linux! {
/// Trap: one piece made of two. What the system has moved is nothing's part any more, wherever it comes to lie.
#[test]
fn what_was_moved_is_no_part_of_what_it_was() {
    let page = page::size();
    let mut low = Pages::new(4 * page).unwrap();
    let high = low.split_off(page).unwrap();
    low.remap(3 * page).unwrap();
    assert!(low.map.origin().is_none() && high.map.origin().is_some());
}
}
