//! What can only be tested from inside: in what order, and with each call refused; also as on a processor whose flush reads.

use super::super::*;
use crate::os::icache::reading;
use crate::os::inject::{calls_of, fail_nth, just_before};
use crate::{ErrorKind, Operation, page, query};
use core::ptr::without_provenance;
on_linux! {
use crate::os::inject::fail_from;
}

/// A code that means "not now" to most calls: `ENOMEM` and its like.
const REFUSED: i32 = if cfg!(windows) { 8 } else { 12 };

const FLUSH: &str = "flush instructions";

fn shown(address: usize) -> Protection {
    query(without_provenance::<u8>(address)).unwrap().protection()
}

/// What the system shows of pages of this type: some rights are not to be had alone.
fn is_shown<R: ReadAccess, W: WriteAccess, X: ExecAccess>(pages: &Pages<R, W, X>)
where
    (W, X): Together,
{
    let (found, wanted) = (shown(pages.start()), Pages::<R, W, X>::PROTECTION);
    let more = found.difference(wanted);
    // Whatever is not nothing can be read on Apple's systems, and what is written on Windows.
    assert!(found.contains(wanted) && (more.is_empty() || (more == Protection::READ && !wanted.is_empty())));
}

fn unwrap<T, U>(changed: core::result::Result<T, (U, Error)>) -> T {
    changed.map_err(|(_, error)| error).unwrap()
}

/// Also as on a processor whose flush reads.
fn both_ways(test: impl Fn(bool)) {
    test(crate::os::flush_reads());
    reading(|| test(true));
}

fn filled() -> MmapMut {
    let mut pages = Pages::new(2 * page::size()).unwrap();
    pages.fill(7);
    pages
}

/// Trap: the instruction cache flushed after the pages became executable.
#[test]
fn the_flush_comes_first() {
    both_ways(|_| {
        let (pages, calls) = calls_of(|| unwrap(filled().make_exec()));
        let flush = calls.iter().position(|&name| name == FLUSH).unwrap();
        let protect = calls.iter().position(|name| name.to_lowercase().ends_with("protect")).unwrap();
        assert!(flush < protect, "{calls:?}");
        is_shown(&pages);
        let start = pages.start();
        // From any state: nothing is executable when the flush begins but what was so before.
        let pages = unwrap(pages.make_none());
        just_before(FLUSH, move || assert!(!shown(start).contains(Protection::EXECUTE)));
        let pages = unwrap(pages.make_exec());
        assert_eq!((shown(start), pages[page::size()]), (Protection::READ_EXECUTE, 7));
    });
}

/// Trap: the instruction cache flushed after the pages became executable; or, where they were copied elsewhere, never.
#[test]
fn what_is_copied_to_be_executed_is_flushed_first() {
    let page = page::size();
    let mut room = crate::Reservation::new(2 * page).unwrap();
    let mut own: MmapMut = room.carve(..).unwrap();
    own.fill(7);
    let mut own = unwrap(own.make_exec());
    let start = own.start();
    let (done, calls) = calls_of(|| own.remap(4 * page));
    done.unwrap();
    let flush = calls.iter().position(|&name| name == FLUSH).expect("flushed");
    let protect = calls.iter().position(|name| name.to_lowercase().ends_with("protect")).unwrap();
    assert!(flush < protect, "{calls:?}");
    assert_ne!(own.start(), start);
    assert_eq!((own.len(), own[2 * page - 1], own[2 * page]), (4 * page, 7, 0));
    is_shown(&own);

    // Refused: all is as it was, and the copy gone. Also of what is made readable for it.
    let mut own: MmapMut = room.carve(..).unwrap();
    own.fill(7);
    let mut own = unwrap(own.make_exec());
    let (done, failed) = fail_nth(Some(FLUSH), 0, 5, || own.remap(4 * page));
    assert!(failed);
    assert_eq!(done.unwrap_err().operation(), Operation::FlushInstructions);
    assert_eq!((own.len(), own[2 * page - 1]), (2 * page, 7));
    is_shown(&own);
    let mut own = unwrap(own.deny_read());
    let (done, failed) = fail_nth(Some(FLUSH), 0, 5, || own.remap(4 * page));
    assert!(failed && done.is_err());
    assert_eq!(own.len(), 2 * page);
    is_shown(&own);
    let own = unwrap(own.allow_read());
    assert_eq!(own[2 * page - 1], 7);
}

/// On processors that read what they flush, touching what cannot be read would end the process.
#[test]
fn what_cannot_be_read_is_made_readable_for_the_flush() {
    for_unreadable(|start| assert!(shown(start).contains(Protection::READ)));
}

fn for_unreadable(at_flush: fn(usize)) {
    reading(|| {
        let from = unwrap(filled().make_none());
        let start = from.start();
        let looked = || just_before(FLUSH, move || at_flush(start));
        looked();
        let only: Pages<DenyRead, DenyWrite, AllowExec> = unwrap(from.allow_exec());
        is_shown(&only);
        looked();
        let only = unwrap(only.set_protected_exec());
        let write_only: Pages<DenyRead, AllowWrite, DenyExec> = unwrap(only.allow_write_no_exec());
        looked();
        let only: Pages<DenyRead, DenyWrite, AllowExec> = unwrap(write_only.set_protected_exec());
        is_shown(&only);
        // The content is as it was.
        assert!(unwrap(only.allow_read()).iter().all(|&byte| byte == 7));
    });
}

#[test]
fn a_flush_that_would_read_what_cannot_be_read_is_refused() {
    let none = unwrap(filled().make_none());
    reading(|| {
        let (done, calls) = calls_of(|| none.flush_icache());
        let error = done.unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::NotPermitted, Operation::FlushInstructions)
        );
        assert!(error.remedy().is_some() && !calls.contains(&FLUSH));
        // Of no bytes there is nothing to be read.
        none.flush_icache_range(0..0).unwrap();
    });
    if !crate::os::flush_reads() {
        none.flush_icache().unwrap();
    }
}

/// Where caches are coherent, no system call: only the test's own point.
#[test]
fn coherent_caches_cost_nothing() {
    if cfg!(any(target_arch = "x86", target_arch = "x86_64", target_arch = "s390x")) {
        let pages = filled();
        let (done, calls) = calls_of(|| pages.flush_icache());
        done.unwrap();
        assert_eq!(calls, [FLUSH]);
    }
}

/// Each conversion to executable pages, with each of its calls refused in turn.
///
/// Trap: the permission's change had failed, and the type lied.
#[test]
fn a_refused_conversion_gives_the_mapping_back_as_it_was() {
    macro_rules! refuse {
        ($from:expr, $convert:ident) => {
            both_ways(|reads| {
                let mut reached = 0;
                for n in 0.. {
                    let pages = $from;
                    let start = pages.start();
                    let (done, failed) = fail_nth(None, n, REFUSED, || pages.$convert());
                    match done {
                        Ok(pages) => {
                            is_shown(&pages);
                            assert!(!failed || reached > 0);
                            assert_eq!(unwrap(pages.make_read_only())[page::size()], 7);
                        }
                        Err((pages, error)) => {
                            assert!(failed, "{error}");
                            reached += 1;
                            is_shown(&pages);
                            let operations = [Operation::Protect, Operation::FlushInstructions];
                            assert!(operations.contains(&error.operation()), "{error}");
                            assert_eq!(error.range(), Some(pages.as_range()));
                            assert_eq!(
                                (error.changed(), pages.start(), pages.len()),
                                (None, start, 2 * page::size())
                            );
                            assert_eq!(unwrap(pages.make_read_only())[page::size()], 7);
                        }
                    }
                    if !failed {
                        break;
                    }
                }
                // The flush, the change; where it reads and must not, the change before.
                let least = if reads && !shown_readable(&$from) { 3 } else { 2 };
                assert!(reached >= least, "{} {reached} of {least}", stringify!($convert));
            })
        };
    }
    let none = || unwrap(filled().make_none());
    let write_only = || unwrap(filled().deny_read());
    let execute_only = || unwrap(none().allow_exec());
    refuse!(filled(), make_exec);
    refuse!(unwrap(filled().make_read_only()), make_exec);
    refuse!(none(), make_exec);
    refuse!(write_only(), make_exec);
    refuse!(execute_only(), make_exec);
    refuse!(unwrap(filled().make_exec()), make_exec);
    refuse!(none(), allow_exec);
    refuse!(unwrap(filled().make_read_only()), allow_exec);
    refuse!(filled(), set_protected_exec);
    refuse!(write_only(), set_protected_exec);
    refuse!(execute_only(), set_protected_exec);
}

fn shown_readable<R: ReadAccess, W: WriteAccess, X: ExecAccess>(_: &Pages<R, W, X>) -> bool
where
    (W, X): Together,
{
    R::RIGHTS == Protection::READ
}

/// Those from executable pages.
#[test]
fn so_does_a_refused_way_back() {
    macro_rules! refuse {
        ($convert:ident) => {
            let mut refused = 0;
            for n in 0.. {
                let pages = unwrap(filled().make_exec());
                let (done, failed) = fail_nth(None, n, REFUSED, || pages.$convert());
                // (Some systems are asked before which bits are to be kept, and can do without an answer.)
                if let Err((pages, error)) = done {
                    refused += 1;
                    assert_eq!((error.operation(), error.changed()), (Operation::Protect, None));
                    assert_eq!((shown(pages.start()), pages[0]), (Protection::READ_EXECUTE, 7));
                }
                if !failed {
                    break;
                }
            }
            assert!(refused >= 1);
        };
    }
    refuse!(make_none);
    refuse!(make_read_only);
    refuse!(make_mut);
    refuse!(deny_exec);
    refuse!(deny_read);
    refuse!(allow_write_no_exec);
}

on_linux! {
/// Pages that were made readable for the flush, and could not be made anything else after: by their type they grant nothing.
#[test]
fn what_cannot_be_put_back_is_lost() {
    // Where no other test comes.
    let place = 8_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 28 });
    for guards in [0, page::size()] {
        let options = MmapOptions::new(2 * page::size()).guard_before(guards).guard_after(guards).at(place);
        let none = options.map_none().unwrap();
        let range = none.as_range();
        let (done, failed) = reading(|| fail_from(Some("mprotect"), 1, REFUSED, || none.make_exec()));
        assert!(failed);
        let (none, error) = done.unwrap_err();
        assert_eq!((error.operation(), error.changed()), (Operation::Protect, Some(range.clone())));
        assert!(none.is_empty());
        // An empty mapping is one as any other.
        let exec = unwrap(none.make_exec());
        exec.flush_icache().unwrap();
        drop(exec);
        for place in (range.start - guards..range.end + guards).step_by(page::size()) {
            assert!(query(without_provenance::<u8>(place)).is_err(), "{place:#x}");
        }
    }
}
}

on_linux! {
/// A part of the pages is changed already when the system comes to one that it refuses: back to what they were before all.
#[test]
fn what_was_changed_is_changed_back() {
    reading(|| {
        let none = unwrap(filled().make_none());
        let start = none.start();
        let first = crate::range::PageRange::touching(start, page::size()).unwrap();
        just_before(FLUSH, move || {
            just_before("mprotect", move || {
                // SAFETY: pages of a mapping that is consumed.
                unsafe { crate::os::protect(first, Protection::READ_EXECUTE) }.unwrap();
            });
        });
        let (done, failed) = fail_nth(Some("mprotect"), 2, REFUSED, || none.make_exec());
        assert!(failed);
        let (none, error) = done.unwrap_err();
        assert_eq!((error.changed(), none.len()), (None, 2 * page::size()));
        assert_eq!((shown(start), shown(start + page::size())), (Protection::NONE, Protection::NONE));
    });
}
}

/// Code that was written is flushed for as many bytes as are asked for, within bounds.
#[test]
fn a_range_is_within_the_pages() {
    let pages = filled();
    let len = pages.len();
    for range in [0..1, 1..len, 0..len, len - 1..len, 5..5, 0..0, len..len] {
        let empty = range.is_empty();
        let (done, calls) = calls_of(|| pages.flush_icache_range(range));
        done.unwrap();
        assert_eq!(calls.contains(&FLUSH), !empty);
    }
    #[expect(clippy::reversed_empty_ranges, reason = "just that")]
    for range in
        [0..len + 1, len..len + 1, 1..0, len + 1..len + 1, usize::MAX..usize::MAX, 0..usize::MAX, len..0]
    {
        let error = pages.flush_icache_range(range).unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::InvalidInput, Operation::FlushInstructions)
        );
    }
}

on_linux! {
/// The refusals of the system have a remedy.
#[test]
fn a_policy_is_named() {
    for code in [libc::EACCES, libc::EPERM] {
        let pages = filled();
        let (done, _) = fail_nth(Some("mprotect"), 0, code, || pages.make_exec());
        let (_, error) = done.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
        assert!(error.remedy().unwrap().contains("SELinux"), "{error}");
        let (made, _) = fail_nth(Some("mmap"), 0, code, || MmapOptions::new(1).map_exec());
        assert!(made.unwrap_err().remedy().unwrap().contains("PaX"));
        // Not where nothing is to be executed.
        let pages = filled();
        let (done, _) = fail_nth(Some("mprotect"), 0, code, || pages.make_read_only());
        assert_eq!(done.unwrap_err().1.remedy(), None);
    }
}
}
