//! What can only be tested from inside: a system that refuses at each of its calls, or is older than ours.

use crate::os::inject::{calls_of, fail_from, fail_nth};
use crate::{Advice, ErrorKind, MmapMut, MmapOptions, Operation, Pages, page, query};
use core::ptr::without_provenance;
use std::vec::Vec;

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

const PAGES: usize = 5;

fn filled() -> MmapMut {
    let mut pages = Pages::new(PAGES * page::size()).unwrap();
    pages.fill(7);
    pages
}

/// All of what the mapping still has can be read and written, and each page holds what it held, or zeroes.
fn check(pages: &mut MmapMut) {
    for page in pages.chunks(page::size()) {
        let first = page[0];
        assert!(first == 0 || first == 7, "{first}");
        assert!(page.iter().all(|&byte| byte == first));
    }
    for page in pages.chunks_mut(page::size()) {
        page[0] += 1;
    }
}

/// At each call of the system, once or from then on.
fn refused_everywhere(mut call: impl FnMut(&mut MmapMut) -> crate::Result<()>) -> Vec<crate::Error> {
    let mut errors = Vec::new();
    for lasting in [false, true] {
        for n in 0.. {
            let mut pages = filled();
            let (start, end) = (pages.start(), pages.end());
            let body = || call(&mut pages);
            let (done, failed) =
                if lasting { fail_from(None, n, REFUSED, body) } else { fail_nth(None, n, REFUSED, body) };
            check(&mut pages);
            assert_eq!(pages.end(), end);
            match done {
                // (Also where the call is for a question that has another answer.)
                Ok(()) => assert_eq!(pages.start(), start),
                Err(error) => {
                    // Out of reach only what is said to be changed.
                    let lost = pages.start() - start;
                    assert!(lost == 0 || error.changed().is_some_and(|changed| changed.end >= pages.start()));
                    errors.push(error);
                }
            }
            if !failed {
                break;
            }
        }
    }
    errors
}

#[test]
fn refused_hints_and_flags_lose_nothing() {
    let all = |pages: &MmapMut| pages.iter().all(|&byte| byte == 7);
    for advice in [Advice::Normal, Advice::WillNeed, Advice::Cold, Advice::HugePages, Advice::Collapse] {
        for error in refused_everywhere(|pages| {
            let done = pages.advise(page::size().., advice);
            assert!(all(pages));
            done
        }) {
            assert_eq!(error.operation(), Operation::Advise, "{error}");
        }
    }
    refused_everywhere(|pages| pages.keep_out_of_core_dumps(.., true).inspect(|()| assert!(all(pages))));
    refused_everywhere(|pages| pages.wipe_on_fork(.., true).inspect(|()| assert!(all(pages))));
    refused_everywhere(|pages| pages.prefault_mut(..).inspect(|()| assert!(all(pages))));
    refused_everywhere(|pages| pages.prefault(..).inspect(|()| assert!(all(pages))));
    for error in refused_everywhere(|pages| pages.resident(..).map(drop)) {
        assert_eq!((error.operation(), error.changed()), (Operation::Resident, None), "{error}");
    }
}

/// Trap: an error half-way left pages of which the type said what did not hold.
#[test]
fn refused_decommits_leave_the_type_true() {
    let page = page::size();
    for range in [0..PAGES * page, page..2 * page, 0..page, 3 * page..PAGES * page] {
        let errors = refused_everywhere(|pages| {
            let done = pages.decommit(range.clone());
            if done.is_ok() {
                assert!(pages[range.clone()].iter().all(|&byte| byte == 0));
            }
            done
        });
        assert!(!errors.is_empty());
        for error in errors {
            assert_eq!(error.operation(), Operation::Decommit, "{error}");
        }
    }
}

#[test]
fn refused_lazy_frees_give_the_mapping_back() {
    for n in 0.. {
        let pages = filled();
        let start = pages.start();
        let (done, failed) = fail_from(None, n, REFUSED, || pages.free_lazily());
        let mut pages = done.map_or_else(|(pages, _)| pages, super::FreedLazily::reuse);
        check(&mut pages);
        assert!(pages.start() >= start);
        if !failed {
            break;
        }
    }
}

/// Trap: an error after a successful `mmap` leaked the mapping.
#[test]
fn flags_that_cannot_be_had_leave_nothing_mapped() {
    // Where nothing is mapped of itself, and by no other test.
    let place = 9_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 28 });
    for options in [MmapOptions::new(1).no_core_dump(), MmapOptions::new(1).wipe_on_fork()] {
        for n in 0.. {
            let (made, failed) = fail_nth(None, n, REFUSED, || options.clone().at(place).map_mut());
            match made {
                Ok(pages) => assert_eq!(pages.start(), place),
                // Where the system has no such flag, it was the unmapping that was refused, which is made up for later.
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    if failed {
                        drop(Pages::new(1).unwrap());
                        continue;
                    }
                }
                Err(_) => assert!(failed),
            }
            assert!(!query(without_provenance::<u8>(place)).is_ok_and(|region| region.is_committed()));
            if !failed {
                break;
            }
        }
    }
}

on_linux! {
/// Trap: pages that may change under a `&[u8]` until they are written to again: also when the call failed half-way.
#[test]
fn what_a_refused_lazy_free_has_freed_changes_no_more() {
    let pages = filled();
    let range = pages.map.pages().unwrap();
    crate::os::inject::just_before("madvise", move || {
        // SAFETY: pages of a mapping that is consumed, and that hold nothing that is wanted.
        unsafe { crate::os::discard_lazily(range, crate::Protection::READ_WRITE, false) }.unwrap();
    });
    let (done, failed) = fail_nth(Some("madvise"), 1, REFUSED, || pages.free_lazily());
    assert!(failed);
    let (mut pages, error) = done.map(drop).unwrap_err();
    assert!(error.changed().is_some());
    // What is still free to go goes by this.
    let before = pages.to_vec();
    pages.advise(.., Advice::PageOut).unwrap();
    assert!(pages[..] == before);
    check(&mut pages);
}
}

/// Where the system would take them all the same, their locks would end unseen.
#[test]
fn locked_pages_are_not_even_asked_for() {
    let mut pages = filled();
    if pages.lock().is_err() {
        return;
    }
    let ((mut pages, errors), calls) = calls_of(|| {
        let first = pages.decommit(..).unwrap_err();
        let (pages, second) = pages.free_lazily().map(drop).unwrap_err();
        (pages, [first, second])
    });
    assert!(calls.is_empty(), "{calls:?}");
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::NotPermitted));
    pages.unlock().unwrap();
    pages.decommit(..).unwrap();
}

/// A mapping that begins and ends within a page has that page alone.
#[test]
fn a_mappings_own_ends_need_not_be_between_pages() {
    let page = page::size();
    let mut pages = filled();
    pages.map.hide_ends(100, 50);
    let len = PAGES * page - 150;
    assert_eq!(pages.len(), len);
    for odd in [0..1, 0..page, 1..page - 100, page - 100..len - 1, page..len] {
        assert_eq!(pages.decommit(odd.clone()).unwrap_err().kind(), ErrorKind::InvalidInput, "{odd:?}");
        assert!(pages.iter().all(|&byte| byte == 7));
    }
    pages.decommit(..page - 100).unwrap();
    assert!(pages[..page - 100].iter().all(|&byte| byte == 0));
    assert!(pages[page - 100..].iter().all(|&byte| byte == 7));
    pages.decommit(len - (page - 50)..).unwrap();
    assert_eq!((pages[len - (page - 50) - 1], pages[len - (page - 50)]), (7, 0));
    for old in [false, true] {
        let mut touch = || {
            pages.prefault(..).unwrap();
            pages.prefault_mut(..).unwrap();
            pages.advise(.., Advice::WillNeed).unwrap();
        };
        if old {
            fail_from(Some("madvise"), 0, 22, touch).0
        } else {
            touch()
        }
        assert!(pages.resident(..).is_ok_and(|resident| resident == PAGES) || pages.resident(..).is_err());
    }
    pages.decommit(..).unwrap();
    assert!(pages.iter().all(|&byte| byte == 0));
}

/// Each of them is one call.
#[test]
fn costs_are_as_documented() {
    let mut pages = filled();
    let most = if cfg!(windows) { 2 } else { 3 };
    let (done, calls) = calls_of(|| pages.decommit(..));
    assert!(done.is_ok() && calls.len() <= most, "{calls:?}");
    let (done, calls) = calls_of(|| pages.prefault_mut(..));
    assert!(done.is_ok() && calls.len() <= 1, "{calls:?}");
    let (done, calls) = calls_of(|| pages.advise(.., Advice::Sequential));
    assert!(done.is_ok() && calls.len() <= 1, "{calls:?}");
}

on_linux! {
mod old_kernels {
    use super::*;

    const EINVAL: i32 = 22;

    /// A kernel that knows no advice but that by which mappings are found.
    fn old<T>(body: impl FnOnce() -> T) -> T {
        fail_from(Some("madvise"), 0, EINVAL, body).0
    }

    #[test]
    fn unknown_hints_have_no_effect_and_unknown_flags_are_errors() {
        let mut pages = filled();
        for advice in [
            Advice::Normal, Advice::WillNeed, Advice::Sequential, Advice::Random, Advice::HugePages,
            Advice::NoHugePages, Advice::Cold, Advice::PageOut, Advice::Mergeable, Advice::Unmergeable,
        ] {
            old(|| pages.advise(.., advice)).unwrap();
            // And one that knows it, and does not take it for these pages.
            let (done, failed) = fail_nth(Some("madvise"), 0, EINVAL, || pages.advise(.., advice));
            assert!(failed);
            assert_eq!(done.unwrap_err().kind(), ErrorKind::NotPermitted);
        }
        for error in [
            old(|| pages.advise(.., Advice::Collapse)).unwrap_err(),
            old(|| pages.keep_out_of_core_dumps(.., true)).unwrap_err(),
            old(|| pages.wipe_on_fork(.., true)).unwrap_err(),
            old(|| MmapOptions::new(1).no_core_dump().map()).unwrap_err(),
            old(|| MmapOptions::new(1).wipe_on_fork().map()).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Operation::Advise), "{error}");
            assert!(error.remedy().unwrap().contains("Linux"), "{error}");
        }
        check(&mut pages);
    }

    /// A kernel without swap space answers so for anonymous memory.
    #[test]
    fn nothing_to_read_in_is_no_error() {
        const EBADF: i32 = 9;
        let pages = filled();
        let (done, failed) = fail_nth(Some("madvise"), 0, EBADF, || pages.advise(.., Advice::WillNeed));
        assert!(failed);
        done.unwrap();
    }

    #[test]
    fn without_the_call_pages_are_touched() {
        let mut pages = Pages::new(PAGES * page::size()).unwrap();
        pages.advise(.., Advice::NoHugePages).unwrap();
        assert_eq!(pages.resident(..).unwrap(), 0);
        old(|| pages.prefault(page::size()..2 * page::size() + 1)).unwrap();
        let each: Vec<_> = (0..PAGES).map(|n| pages.resident(n * page::size()..=n * page::size()).unwrap()).collect();
        assert_eq!(each, [0, 1, 1, 0, 0]);
        pages.decommit(..).unwrap();
        old(|| pages.prefault_mut(3 * page::size() - 1..4 * page::size())).unwrap();
        let each: Vec<_> = (0..PAGES).map(|n| pages.resident(n * page::size()..=n * page::size()).unwrap()).collect();
        assert_eq!(each, [0, 0, 1, 1, 0]);
        // Content stays.
        let mut pages = filled();
        old(|| pages.prefault_mut(..)).unwrap();
        assert!(pages.iter().all(|&byte| byte == 7));
        let none = pages.make_none().unwrap();
        assert_eq!(old(|| none.prefault(..)).unwrap_err().kind(), ErrorKind::NotPermitted);
    }

    #[test]
    fn without_lazy_freeing_memory_is_given_back_at_once() {
        let pages = filled();
        let (freed, failed) = fail_nth(Some("madvise"), 0, EINVAL, || pages.free_lazily());
        assert!(failed);
        let pages = freed.unwrap().reuse();
        assert!(pages.iter().all(|&byte| byte == 0));
    }

    /// Codes that say what is wrong with a page, or that another attempt may be made.
    #[test]
    fn codes_of_populating_are_told_apart() {
        let pages = filled();
        let refused = |code| {
            let (done, failed) = fail_nth(Some("madvise"), 0, code, || pages.prefault(..));
            assert!(failed);
            done.map_err(|error| error.kind())
        };
        let (efault, ehwpoison, eagain, eperm) = (14, 133, 11, 1);
        let (done, calls) = calls_of(|| refused(4));
        assert_eq!((done, calls), (Ok(()), std::vec!["madvise"; 2]), "interrupted, and asked again");
        assert_eq!(refused(efault), Err(ErrorKind::NotPermitted));
        assert_eq!(refused(EINVAL), Err(ErrorKind::NotPermitted));
        assert_eq!(refused(ehwpoison), Err(ErrorKind::System));
        assert_eq!(refused(eagain), Err(ErrorKind::Exhausted));
        assert_eq!(refused(eperm), Err(ErrorKind::NotPermitted));
        assert_eq!(refused(REFUSED), Err(ErrorKind::Exhausted));
    }

    /// What could not grant what the type says any more is out of reach; what is left is a mapping as any other.
    #[test]
    fn what_does_not_come_back_is_out_of_reach() {
        let page = page::size();
        let mut pages = filled();
        let (start, end) = (pages.start(), pages.end());
        // Two mappings, of which the kernel refuses the second.
        pages.advise(3 * page.., Advice::Sequential).unwrap();
        let (done, failed) = fail_from(None, 0, REFUSED, || pages.decommit(page..4 * page));
        assert!(failed);
        assert_eq!(done.unwrap_err().changed(), Some(start + page..start + 4 * page));
        assert_eq!(pages.as_range(), start + 4 * page..end);
        check(&mut pages);
    }
}

/// Where memory is given back by fresh pages, these would lack the flags: so it is known of each part whether it may have some.
#[test]
fn flags_are_remembered() {
    use crate::pages::map::Marks;
    let page = page::size();
    let mut low = filled();
    let (done, _) = fail_from(Some("madvise"), 0, 22, || low.wipe_on_fork(.., true));
    assert!(done.is_err() && !low.map.marks.any(), "not to be had");
    low.wipe_on_fork(.., false).unwrap();
    low.keep_out_of_core_dumps(.., false).unwrap();
    assert!(!low.map.marks.any());
    let mut high = low.split_off(page).unwrap();
    high.wipe_on_fork(..page, true).unwrap();
    assert!(high.map.marks.any() && !low.map.marks.any());
    let top = high.split_off(page).unwrap();
    // SAFETY: the parts just taken apart.
    let top = unsafe { MmapMut::from_raw_parts(top.into_raw_parts()) };
    assert!(top.map.marks.any());
    high.merge(top).unwrap();
    low.merge(high).unwrap();
    assert!(low.map.marks == Marks::WIPED.in_part());
    low.wipe_on_fork(.., true).unwrap();
    assert!(low.map.marks == Marks::WIPED);
    let (done, _) = fail_nth(Some("madvise"), 0, REFUSED, || low.wipe_on_fork(..page, false));
    assert!(done.unwrap_err().changed().is_some() && low.map.marks == Marks::WIPED.in_part());
    // Taken from a part, the rest may have it; and one flag says nothing of the other.
    low.wipe_on_fork(..page, false).unwrap();
    assert!(low.map.marks.any());
    low.keep_out_of_core_dumps(.., true).unwrap();
    low.wipe_on_fork(.., false).unwrap();
    assert!(low.map.marks.any());
    low.keep_out_of_core_dumps(.., false).unwrap();
    assert!(!low.map.marks.any());
    assert!(low.keep_out_of_core_dumps(..=PAGES * page, true).is_err() && !low.map.marks.any());
    let mut other = filled();
    let (done, _) = fail_nth(Some("madvise"), 0, REFUSED, || other.keep_out_of_core_dumps(.., true));
    assert!(done.unwrap_err().changed().is_some() && other.map.marks.any(), "some of them may be");
    assert!(MmapOptions::new(1).no_core_dump().map().unwrap().map.marks.any());
}

/// What is no longer mapped is never unmapped: somebody else may be there.
#[test]
fn what_is_gone_is_left_alone() {
    let page = page::size();
    let mut pages = Pages::new(4 * page).unwrap();
    let whole = pages.map.extent().unwrap();
    let gone = crate::range::PageRange::between(whole.first() + page, whole.first() + 2 * page - 1).unwrap();
    pages.map.abandon(gone);
    assert_eq!(pages.start(), whole.first() + 2 * page);
    assert_eq!(pages.map.extent().unwrap().first(), whole.first() + 2 * page);
    pages.fill(1);
    drop(pages);
    // Nothing is gone, really: it is this test's own.
    let rest = crate::range::PageRange::between(whole.first(), gone.last()).unwrap();
    // SAFETY: what was left of a mapping that is gone.
    unsafe { crate::os::unmap_part(rest) }.unwrap();
}
}
