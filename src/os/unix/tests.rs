//! The calls of POSIX, on real memory, with what each system answers injected.

use super::errno::Errno;
use super::life::{counted, wiped};
use super::place::{self, Place};
use super::*;
use crate::error::{ErrorKind, Failure};
use crate::os::inject;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use std::ptr::{self, NonNull};
use std::vec::Vec;

/// Pages of a test's own, with a page on either side that belongs to it and grants nothing, unmapped in the end.
pub(super) struct Area {
    place: NonNull<u8>,
    pub(super) range: PageRange,
    pub(super) whole: PageRange,
}

impl Area {
    pub(super) fn new(pages: usize) -> Self {
        let page = crate::page::size();
        let len = PageLen::covering((pages + 2) * page).unwrap();
        let place = map(len, Protection::NONE).unwrap();
        let whole = PageRange::starting_at(place.as_ptr().expose_provenance(), len).unwrap();
        let range = PageRange::between(whole.first() + page, whole.last() - page).unwrap();
        // SAFETY: pages of this test's own, to which nobody has references.
        unsafe { protect(range, Protection::READ_WRITE) }.unwrap();
        Self { place, range, whole }
    }

    pub(super) fn pages(&self, first: usize, count: usize) -> PageRange {
        let page = crate::page::size();
        let first = self.range.first() + first * page;
        PageRange::between(first, first + count * page - 1).unwrap()
    }

    pub(super) fn byte(&self, page: usize) -> *mut u8 {
        self.place.as_ptr().wrapping_add((page + 1) * crate::page::size())
    }

    pub(super) fn fill(&self, value: u8) {
        // SAFETY: pages of this test's own, writable.
        unsafe { self.byte(0).write_bytes(value, self.range.len()) };
    }

    /// The first byte of a page that is readable.
    pub(super) fn read(&self, page: usize) -> u8 {
        // SAFETY: a page of this test's own.
        unsafe { self.byte(page).read() }
    }

    pub(super) fn shown(&self) -> Vec<Option<Protection>> {
        let page = crate::page::size();
        (0..self.range.len() / page)
            .map(|index| {
                let region = crate::os::query(&crate::os::Target::CURRENT, self.pages(index, 1)).unwrap();
                region.map(|region| region.protection())
            })
            .collect()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: pages of this test's own, which ends.
        unsafe { unmap(self.whole) }.unwrap();
    }
}

pub(super) fn kind<T>(result: Result<T, Failure>) -> ErrorKind {
    result.err().expect("an error").kind()
}

const RW: Option<Protection> = Some(Protection::READ_WRITE);
const R: Option<Protection> = Some(Protection::READ);
const NONE: Option<Protection> = Some(Protection::NONE);

#[test]
fn memory_is_mapped_zeroed_and_granted_what_was_asked() {
    let area = Area::new(3);
    assert_eq!(area.shown(), [RW; 3]);
    assert_eq!((area.read(0), area.read(1), area.read(2)), (0, 0, 0));
    area.fill(7);
    for bits in 0..8 {
        let wanted = Protection::from_bits_truncate(bits);
        // SAFETY: as above; nobody has references to the pages.
        unsafe { protect(area.pages(1, 1), wanted) }.unwrap();
        assert_eq!(area.shown(), [RW, Some(wanted), RW]);
        assert_eq!(native(wanted), i32::try_from(bits).unwrap(), "the bits of POSIX are the same");
    }
    // SAFETY: as above.
    unsafe { protect(area.pages(0, 2), Protection::READ) }.unwrap();
    assert_eq!((area.read(0), area.read(1)), (7, 7));
}

type MapAt = fn(PageRange, Protection) -> Result<NonNull<u8>, Failure>;

/// Trap: a fixed-address mapping offered as a safe function overwrote somebody's heap.
#[test]
fn a_place_is_taken_if_it_is_free_and_only_then() {
    for map_at in [map_at_if_free as MapAt, map_at_wish] {
        let area = Area::new(8);
        area.fill(7);
        for (first, count) in [(0, 8), (0, 1), (7, 1), (3, 2)] {
            assert_eq!(kind(map_at(area.pages(first, count), Protection::READ_WRITE)), ErrorKind::Occupied);
        }
        // Also where only a part of it is taken.
        let beyond = PageRange::between(area.range.first(), area.whole.last() + (64 << 20)).unwrap();
        assert_eq!(kind(map_at(beyond, Protection::READ_WRITE)), ErrorKind::Occupied);
        assert_eq!(area.shown(), [RW; 8]);
        assert_eq!((area.read(0), area.read(7)), (7, 7));
    }
}

/// In a process of its own: another thread's mapping could come into the hole.
pub(super) fn forked(child: impl FnOnce()) {
    // SAFETY: the child makes system calls, and allocates and panics only where it has failed already, or the lock of the
    // allocator is made free by the C library (glibc's fork).
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if done { 0 } else { 1 }) };
    }
    assert!(pid > 0);
    let mut status = 0;
    // SAFETY: `status` is writable.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((waited, status), (pid, 0));
}

#[test]
fn a_hole_is_filled_exactly() {
    forked(|| {
        for map_at in [map_at_if_free as MapAt, map_at_wish] {
            let area = Area::new(8);
            let hole = area.pages(2, 3);
            // SAFETY: pages of this test's own.
            unsafe { unmap(hole) }.unwrap();
            assert_eq!(area.shown(), [RW, RW, None, None, None, RW, RW, RW]);
            assert_eq!(place::look(hole), Place::Free);
            assert_eq!(kind(map_at(area.pages(1, 3), Protection::READ)), ErrorKind::Occupied);
            let there = map_at(hole, Protection::READ).unwrap();
            assert_eq!(there.addr().get(), hole.first());
            assert_eq!(area.shown(), [RW, RW, R, R, R, RW, RW, RW]);
        }
    });
}

#[test]
fn places_out_of_reach_are_told_from_taken_ones() {
    let page = crate::page::size();
    let high = PageRange::containing(usize::MAX / 2 - 4 * page);
    for map_at in [map_at_if_free as MapAt, map_at_wish] {
        // (With 32 bits, half-way up is an ordinary place.)
        if cfg!(target_pointer_width = "64") {
            assert_eq!(kind(map_at(high, Protection::READ)), ErrorKind::InvalidInput);
            assert_eq!(place::look(high), Place::High);
        }
        let low = PageRange::containing(page);
        match map_at(low, Protection::READ) {
            // SAFETY: just mapped, and nobody was told.
            Ok(_) => unsafe { unmap(low) }.unwrap(),
            Err(failure) => assert_eq!(failure.kind(), ErrorKind::NotPermitted),
        }
    }
    let local = 1_u8;
    assert_eq!(place::look(PageRange::containing((&raw const local).addr())), Place::Taken);
    assert_eq!(place::look(PageRange::containing(1)), Place::Low);
}

/// What another thread has had for a moment, while it looked for a place itself, is wished for again; what is never given is an
/// error that says so.
#[test]
fn wishes_are_repeated() {
    let area = Area::new(4);
    let free = area.pages(1, 1);
    forked(|| {
        // SAFETY: a page of this test's own.
        unsafe { unmap(free) }.unwrap();
        // One thread, and it holds the place when it is asked for the first time.
        let taken = map_at_wish(free, Protection::READ).unwrap();
        inject::just_before("munmap", move || {
            // SAFETY: the page just mapped, which nobody uses.
            let gone = unsafe { libc::munmap(taken.as_ptr().cast(), crate::page::size()) };
            assert_eq!(gone, 0);
        });
        let (found, calls) = inject::calls_of(|| map_at_wish(free, Protection::READ_WRITE));
        found.unwrap();
        assert_eq!(calls.iter().filter(|&&call| call == "mmap").count(), 2);
    });
}

/// What FreeBSD and OpenBSD answer where something is; what all answer where memory is short.
#[test]
fn refusals_to_map_are_told_apart() {
    let area = Area::new(1);
    let one = PageLen::covering(1).unwrap();
    let both = Protection::READ_WRITE_EXECUTE;
    for (code, protection, expected) in [
        (libc::ENOMEM, Protection::READ, ErrorKind::Exhausted),
        (libc::EAGAIN, Protection::READ, ErrorKind::Exhausted),
        (libc::EINVAL, Protection::READ, ErrorKind::Exhausted),
        (libc::EACCES, both, ErrorKind::NotPermitted),
        (libc::EPERM, both, ErrorKind::NotPermitted),
        (libc::ENOTSUP, both, ErrorKind::NotPermitted),
        (libc::EINVAL, both, ErrorKind::NotPermitted),
        (libc::ENXIO, both, ErrorKind::System),
    ] {
        let (result, failed) = inject::fail_nth(Some("mmap"), 0, code, || map(one, protection));
        assert!(failed);
        let failure = result.unwrap_err();
        assert_eq!(failure.kind(), expected, "{code}");
        assert_eq!(failure.has_remedy(), matches!(expected, ErrorKind::Exhausted | ErrorKind::NotPermitted));
    }
    for code in [libc::ENOMEM, libc::EINVAL] {
        for map_at in [map_at_if_free as MapAt, map_at_wish] {
            let (result, _) =
                inject::fail_nth(Some("mmap"), 0, code, || map_at(area.range, Protection::READ));
            assert_eq!(kind(result), ErrorKind::Occupied);
        }
    }
}

/// Longer than any address space: an answer, whichever way the system says no.
#[test]
fn too_much_is_exhausted() {
    let most = PageLen::covering(isize::MAX.unsigned_abs() & !crate::page::mask()).unwrap();
    match map(most, Protection::READ_WRITE) {
        // Half of all addresses: of 32 bits there may be so many.
        Ok(base) => {
            assert_eq!(usize::BITS, 32);
            let range = PageRange::starting_at(base.addr().get(), most).unwrap();
            // SAFETY: just mapped, and nobody was told.
            unsafe { unmap(range) }.unwrap();
        }
        Err(failure) => assert_eq!(failure.kind(), ErrorKind::Exhausted),
    }
}

#[test]
fn holes_are_seen() {
    forked(|| {
        let area = Area::new(5);
        assert!(is_whole(area.range) && is_whole(area.whole));
        // SAFETY: pages of this test's own.
        unsafe { protect(area.pages(1, 1), Protection::NONE) }.unwrap();
        assert!(is_whole(area.range), "what grants nothing is mapped");
        // SAFETY: as above.
        unsafe { unmap(area.pages(3, 1)) }.unwrap();
        for (first, count, whole) in [(0, 3, true), (4, 1, true), (0, 4, false), (3, 1, false), (3, 2, false)]
        {
            assert_eq!(is_whole(area.pages(first, count)), whole, "{first} {count}");
        }
        for all in [PageRange::touching(0, usize::MAX), PageRange::touching(usize::MAX, 1)] {
            assert!(!is_whole(all.unwrap()));
        }
    });
}

/// Trap: a failed protect over a hole left the first pages changed and said nothing.
#[test]
fn over_a_hole_the_failure_says_what_is_changed() {
    forked(|| {
        for hole in 0..5 {
            let area = Area::new(5);
            // SAFETY: pages of this test's own, to which nobody has references.
            unsafe { unmap(area.pages(hole, 1)) }.unwrap();
            // SAFETY: as above.
            let failure = unsafe { protect(area.range, Protection::READ) }.unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Unmapped);
            let changed = (hole > 0).then(|| area.pages(0, hole));
            assert_eq!(failure.changed_part(), changed, "hole at {hole}");
            let expected: Vec<_> =
                (0..5).map(|page| (page != hole).then_some(if page < hole { R } else { RW })).collect();
            assert_eq!(area.shown(), expected.into_iter().map(Option::flatten).collect::<Vec<_>>());
        }
    });
}

#[test]
fn refusals_to_protect_are_told_apart() {
    let area = Area::new(3);
    for (code, protection, expected) in [
        (libc::EACCES, Protection::READ_WRITE_EXECUTE, ErrorKind::NotPermitted),
        (libc::ENOTSUP, Protection::READ_WRITE_EXECUTE, ErrorKind::NotPermitted),
        (libc::EACCES, Protection::READ, ErrorKind::NotPermitted),
        (libc::EINVAL, Protection::READ, ErrorKind::NotPermitted),
        (libc::ENOMEM, Protection::READ, ErrorKind::Exhausted),
        (libc::EAGAIN, Protection::READ, ErrorKind::Exhausted),
        (libc::EIO, Protection::READ, ErrorKind::System),
    ] {
        let (result, failed) = inject::fail_nth(Some("mprotect"), 0, code, || {
            // SAFETY: pages of this test's own, to which nobody has references.
            unsafe { protect(area.range, protection) }
        });
        assert!(failed);
        let failure = result.unwrap_err();
        assert_eq!((failure.kind(), failure.changed_part()), (expected, None), "{code}");
        assert_eq!(area.shown(), [RW; 3]);
    }
    // Nothing wraps: the whole address space is not a length of 0.
    for (address, len) in [(0, usize::MAX), (usize::MAX, 1), (usize::MAX - 1, 2)] {
        let range = PageRange::touching(address, len).unwrap();
        // SAFETY: refused.
        assert_eq!(kind(unsafe { protect(range, Protection::READ) }), ErrorKind::Unmapped);
        assert_eq!(kind(lock(range)), ErrorKind::Unmapped);
    }
}

#[test]
fn accesses_are_found_in_runs_and_given_back() {
    forked(|| {
        let area = Area::new(8);
        for (first, count, protection) in [(1, 2, Protection::READ), (5, 1, Protection::NONE)] {
            // SAFETY: pages of this test's own, to which nobody has references.
            unsafe { protect(area.pages(first, count), protection) }.unwrap();
        }
        // SAFETY: as above.
        unsafe { unmap(area.pages(6, 1)) }.unwrap();
        let before = area.shown();
        let within = area.pages(0, 8);
        let mut runs = Vec::new();
        accesses(within, Protection::NONE, &mut |run, access| runs.push((run, access))).unwrap();
        let ranges: Vec<_> = runs.iter().map(|&(run, _)| run).collect();
        assert_eq!(
            ranges,
            [area.pages(0, 1), area.pages(1, 2), area.pages(3, 2), area.pages(5, 1), area.pages(7, 1)]
        );
        for &run in &ranges {
            // SAFETY: as above.
            unsafe { protect(run, Protection::READ_EXECUTE) }.unwrap();
        }
        for &(run, access) in &runs {
            // SAFETY: as above.
            unsafe { give_back(run, access) }.unwrap();
        }
        assert_eq!(area.shown(), before);
        // Clipped on both sides.
        let mut clipped = Vec::new();
        accesses(area.pages(2, 2), Protection::NONE, &mut |run, _| clipped.push(run)).unwrap();
        assert_eq!(clipped, [area.pages(2, 1), area.pages(3, 1)]);
    });
}

/// Guard pages: the content is gone, the pages come back zeroed, and grant whatever is wanted then.
#[test]
fn guards_drop_the_content_and_come_back_zeroed() {
    let area = Area::new(4);
    area.fill(7);
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { install_guard(area.pages(1, 2)) }.unwrap();
    assert_eq!(area.shown(), [RW, NONE, NONE, RW]);
    // SAFETY: as above.
    unsafe { remove_guard(area.pages(0, 3), Protection::READ_WRITE) }.unwrap();
    assert_eq!(area.shown(), [RW; 4]);
    for (page, expected) in [(0, 7), (1, 0), (2, 0), (3, 7)] {
        assert_eq!(area.read(page), expected);
    }
    area.fill(1);
}

#[test]
fn nothing_is_guarded_over_a_hole_or_on_failure() {
    forked(|| {
        let area = Area::new(4);
        area.fill(7);
        let (result, _) = inject::fail_nth(Some("mmap"), 0, libc::ENOMEM, || {
            // SAFETY: pages of this test's own, to which nobody has references.
            unsafe { install_guard(area.pages(1, 2)) }
        });
        let failure = result.unwrap_err();
        assert_eq!((failure.kind(), failure.changed_part()), (ErrorKind::Exhausted, None));
        // SAFETY: as above.
        unsafe { unmap(area.pages(2, 1)) }.unwrap();
        // SAFETY: as above.
        let failure = unsafe { install_guard(area.range) }.unwrap_err();
        assert_eq!((failure.kind(), failure.changed_part()), (ErrorKind::Unmapped, None));
        assert_eq!(area.shown(), [RW, RW, None, RW]);
        assert_eq!(area.read(1), 7);
        // A kernel that has unmapped the old pages and has no memory for the new mapping.
        let gone = area.pages(0, 1);
        inject::just_before("mmap", move || {
            // SAFETY: as above.
            let gone = unsafe { libc::munmap(ptr::without_provenance_mut(gone.first()), gone.len()) };
            assert_eq!(gone, 0);
        });
        let (result, _) = inject::fail_nth(Some("mmap"), 0, libc::ENOMEM, || {
            // SAFETY: as above.
            unsafe { install_guard(area.pages(0, 2)) }
        });
        assert_eq!(result.unwrap_err().changed_part(), Some(area.pages(0, 2)));
    });
}

fn locked(area: &Area) -> u64 {
    let usage = crate::os::usage(&crate::os::Target::CURRENT, area.pages(0, 1)).unwrap();
    usage.and_then(|usage| usage.locked()).unwrap_or_default()
}

#[test]
fn pages_are_locked_and_unlocked_around_holes() {
    forked(|| {
        let page = u64::try_from(crate::page::size()).unwrap();
        let area = Area::new(4);
        assert_eq!(locked(&area), 0);
        lock(area.pages(0, 4)).unwrap();
        assert_eq!(locked(&area), 4 * page);
        unlock(area.range).unwrap();
        assert_eq!(locked(&area), 0);
        unlock(area.range).unwrap();
        lock(area.range).unwrap();
        // SAFETY: pages of this test's own.
        unsafe { unmap(area.pages(1, 2)) }.unwrap();
        assert_eq!(kind(lock(area.range)), ErrorKind::Unmapped);
        unlock(area.range).unwrap();
        assert_eq!(locked(&area), 0);
        unlock(area.pages(1, 2)).unwrap();
        // NetBSD: pages that were not locked leave all others locked.
        lock(area.pages(0, 1)).unwrap();
        let (result, failed) =
            inject::fail_nth(Some("munlock"), 0, libc::EINVAL, || unlock(area.pages(0, 1)));
        assert!(failed && result.is_ok());
        assert_eq!(locked(&area), 0);
    });
}

#[test]
fn refusals_to_lock_are_told_apart() {
    let area = Area::new(2);
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { protect(area.pages(1, 1), Protection::NONE) }.unwrap();
    assert_eq!(kind(lock(area.range)), ErrorKind::NotPermitted);
    let (refused, _) = inject::fail_nth(Some("mlock"), 0, libc::EPERM, || lock(area.pages(0, 1)));
    let refused = refused.unwrap_err();
    assert!(refused.kind() == ErrorKind::NotPermitted && refused.has_remedy());
    for code in [libc::EAGAIN, libc::ENOMEM] {
        let (refused, _) = inject::fail_nth(Some("mlock"), 0, code, || lock(area.pages(0, 1)));
        let refused = refused.unwrap_err();
        assert!(refused.kind() == ErrorKind::Exhausted && refused.has_remedy());
    }
    let (refused, _) = inject::fail_nth(Some("munlock"), 0, libc::EPERM, || unlock(area.pages(0, 1)));
    assert_eq!(kind(refused), ErrorKind::NotPermitted);
    assert_eq!(kind(no_lock_on_fault(area.range)), ErrorKind::Unsupported);
    yield_now();
}

/// A limit that is hit is told with its number.
#[test]
fn the_lock_limit_is_told() {
    let Some(limit) = crate::os::limits().unwrap().lock_limit.filter(|&limit| limit < 1 << 30) else {
        return std::eprintln!("skipped: the_lock_limit_is_told: there is no limit here");
    };
    let pages = usize::try_from(limit).unwrap() / crate::page::size() + 1;
    let area = Area::new(pages);
    let (refused, _) = inject::fail_nth(Some("mlock"), 0, libc::EAGAIN, || lock(area.range));
    let error = refused.unwrap_err().during(crate::error::Operation::Lock, Some(area.range), None);
    assert_eq!((error.kind(), error.limit()), (ErrorKind::Exhausted, Some(limit)));
}

/// Trap: the process's identifier may be an ancestor's.
#[test]
fn every_child_lives_a_life_of_its_own() {
    for life in [wiped::life as fn() -> u64, counted::life] {
        let parent = life();
        assert_ne!(parent, 0);
        assert_eq!(life(), parent);
        assert_eq!(parent >> 63, 0, "by the better way");
        forked(move || {
            let child = life();
            assert!(child != parent && child != 0 && child == life());
            forked(move || {
                let grandchild = life();
                assert!(grandchild != parent && grandchild != child && grandchild == life());
            });
        });
        assert_eq!(life(), parent);
    }
}

#[test]
fn what_is_refused_for_good_says_so() {
    let area = Area::new(1);
    // SAFETY: nothing is done.
    assert_eq!(kind(unsafe { seal_unsupported(area.range) }), ErrorKind::Unsupported);
    assert_eq!(sealed(Errno(libc::EPERM)).kind(), ErrorKind::NotPermitted);
    assert!(!is_jit(Protection::READ_WRITE_EXECUTE), "a matter of Apple's processors");
    assert_eq!(pointer(area.range).addr(), area.range.first());
}

/// What is written at the one place is read at the other, which can be executed; after a failure nothing is left.
#[cfg(all(feature = "allow_exec", target_os = "linux"))]
#[test]
fn shared_objects_are_seen_twice() {
    use crate::os;
    let page = crate::page::size();
    let len = PageLen::covering(3 * page).unwrap();
    let taken = Area::new(1);
    let twice = map_twice(len, os::Place::Anywhere).unwrap();
    let at = |view: NonNull<u8>| PageRange::starting_at(view.as_ptr().expose_provenance(), len).unwrap();
    let grants = |view: NonNull<u8>| crate::query(view.as_ptr()).unwrap().protection();
    assert_eq!(grants(twice.code), Protection::READ_EXECUTE);
    assert_eq!(grants(twice.data), Protection::READ_WRITE);
    for offset in [0, page + 7, 3 * page - 1] {
        // SAFETY: within the view, which can be written.
        unsafe { twice.data.as_ptr().wrapping_add(offset).write_volatile(9) };
        // SAFETY: within the other one, which can be read.
        assert_eq!(unsafe { twice.code.as_ptr().wrapping_add(offset).read_volatile() }, 9);
    }
    let (code, data) = (at(twice.code), at(twice.data));
    for view in [code, data] {
        // SAFETY: of the test's own.
        unsafe { unmap(view) }.unwrap();
    }
    // The first place is free now; where something is, it stays.
    let again = map_twice(len, os::Place::At(code.first())).unwrap();
    assert_eq!(at(again.code), code);
    let refused = map_twice(len, os::Place::At(taken.range.first())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Occupied);
    for view in [at(again.code), at(again.data)] {
        // SAFETY: as above.
        unsafe { unmap(view) }.unwrap();
    }
    for nth in 0.. {
        let make = || inject::calls_of(|| map_twice(len, os::Place::Anywhere));
        let ((made, calls), came) = inject::fail_nth(None, nth, libc::ENOMEM, make);
        let count = |name| calls.iter().filter(|&&call| call == name).count();
        match made {
            Ok(twice) => {
                for view in [at(twice.code), at(twice.data)] {
                    // SAFETY: as above.
                    unsafe { unmap(view) }.unwrap();
                }
            }
            Err(_) => assert!(count("mmap") <= count("munmap") + 1, "{nth}: {calls:?}"),
        }
        if !came {
            break;
        }
    }
}

/// What is refused says what was wanting, and what else can be done about it than change what may be executed.
#[cfg(all(feature = "allow_exec", target_os = "linux"))]
#[test]
fn shared_objects_are_refused_for_a_reason() {
    use crate::error::Operation;
    use crate::os;
    use std::string::ToString;
    let len = PageLen::covering(1).unwrap();
    for (call, code, kind, word) in [
        ("shm_open", libc::EMFILE, ErrorKind::Exhausted, "descriptor"),
        ("shm_open", libc::EACCES, ErrorKind::NotPermitted, "shared memory"),
        ("shm_open", libc::EEXIST, ErrorKind::System, ""),
        ("ftruncate", libc::EFBIG, ErrorKind::Exhausted, "files"),
        ("ftruncate", libc::ENOSPC, ErrorKind::Exhausted, "swap"),
        ("ftruncate", libc::ENOMEM, ErrorKind::Exhausted, "address space"),
        ("mmap", libc::ENOMEM, ErrorKind::Exhausted, "address space"),
        ("mmap", libc::EACCES, ErrorKind::NotPermitted, "execute"),
    ] {
        // Why memory is wanting at a place depends on the place.
        let places = if code == libc::ENOMEM { 1 } else { 2 };
        for place in [os::Place::Anywhere, os::Place::At(crate::page::size() << 20)].into_iter().take(places)
        {
            let (made, failed) = inject::fail_from(Some(call), 0, code, || map_twice(len, place));
            let failure = made.unwrap_err();
            assert!(failed);
            assert_eq!(failure.kind(), kind, "{call}, {code}");
            let error = failure.during(Operation::Allocate, None, None);
            assert!(error.to_string().contains(word), "{call}, {code}: {error}");
            assert_eq!(
                error.remedy().is_some(),
                kind == ErrorKind::Exhausted || word == "execute",
                "{error}"
            );
        }
    }
}
