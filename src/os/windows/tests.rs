//! What can only be tested from inside: the system's own bits, several allocations at once, injected failures.

use super::change::{kept_targets, native};
use super::parts::{Part, Parts};
use super::sys::{self, LOCKED, VALID};
use super::*;
use crate::error::{ErrorKind, Operation};
use crate::os::inject;
use crate::range::{PageLen, PageRange};
use crate::{Error, Protection, page};
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_COMMITMENT_LIMIT, ERROR_INVALID_ADDRESS, ERROR_NOT_ENOUGH_MEMORY, ERROR_NOT_LOCKED,
    ERROR_WORKING_SET_QUOTA, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT,
    MEM_RESERVE, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE,
    PAGE_EXECUTE_WRITECOPY, PAGE_GUARD, PAGE_NOACCESS, PAGE_NOCACHE, PAGE_READONLY, PAGE_READWRITE,
    PAGE_TARGETS_NO_UPDATE, PAGE_WRITECOMBINE, PAGE_WRITECOPY, SEC_RESERVE, UnmapViewOfFile,
};
use windows_sys::Win32::System::ProcessStatus::PSAPI_WORKING_SET_EX_INFORMATION;

use crate::area::skipped;

const GRANULE: usize = 64 << 10;

fn every_protection() -> impl Iterator<Item = Protection> {
    (0..8).map(|bits| Protection::from_bits(bits).unwrap())
}

fn pages(count: usize) -> PageLen {
    PageLen::covering(count * page::size()).unwrap()
}

fn range(address: usize, count: usize) -> PageRange {
    PageRange::starting_at(address, pages(count)).unwrap()
}

fn parts(of: PageRange) -> Vec<Part> {
    let mut walk = Parts::of(of);
    core::iter::from_fn(|| walk.step().unwrap()).collect()
}

/// What each page of the range grants, by the system's own word.
fn state(of: PageRange) -> Vec<Option<Access>> {
    let mut state = Vec::new();
    for part in parts(of) {
        state.resize(state.len() + part.pages.len() / page::size(), part.access);
    }
    state
}

fn committed(native: u32) -> Option<Access> {
    Some(Access::Committed(native))
}

const RESERVED: Option<Access> = Some(Access::Reserved);

/// Pages of our own, given back at the end.
struct Mapped(PageRange);

impl Mapped {
    fn new(count: usize, protection: Protection) -> Self {
        Self(range(map(pages(count), protection).unwrap().as_ptr().expose_provenance(), count))
    }

    /// At a place that nobody else comes to, since the system gives its own from the bottom: several granules from `first` on
    /// are free.
    fn lonely() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let place = if usize::BITS == 64 { 1_usize.wrapping_shl(44) } else { 0x5000_0000 };
            let place = place + NEXT.fetch_add(16 * GRANULE, Ordering::Relaxed);
            if state(range(place, 16 * GRANULE / page::size())).iter().all(Option::is_none) {
                return place;
            }
        }
    }

    fn at(address: usize, count: usize, protection: Protection) -> Self {
        let range = range(address, count);
        let given = map_at(range, protection).unwrap();
        assert_eq!(given.as_ptr().expose_provenance(), address);
        Self(range)
    }

    fn page(&self, index: usize) -> PageRange {
        PageRange::containing(self.0.first() + index * page::size())
    }

    fn part(&self, first: usize, count: usize) -> PageRange {
        range(self.page(first).first(), count)
    }

    fn protect(&self, protection: Protection) {
        // SAFETY: pages of our own, to which nobody has references.
        unsafe { protect(self.0, protection) }.unwrap();
    }

    fn set(&self, index: usize, native: u32) {
        // SAFETY: as in `protect`.
        unsafe { sys::virtual_protect(self.page(index), native) }.unwrap();
    }

    fn byte(&self, index: usize) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.page(index).first())
    }

    fn write(&self, index: usize, value: u8) {
        // SAFETY: a page of our own that the test has made writable.
        unsafe { self.byte(index).write_volatile(value) }
    }

    fn read(&self, index: usize) -> u8 {
        // SAFETY: a page of our own that the test has made readable.
        unsafe { self.byte(index).read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: ours, and not used any more.
        unsafe { unmap(self.0) }.unwrap();
    }
}

fn error(failure: crate::error::Failure) -> Error {
    failure.during(Operation::Protect, None, None)
}

/// A view of memory that can be shared, two pages long.
struct View(MEMORY_MAPPED_VIEW_ADDRESS);

impl View {
    fn new(section: u32, access: u32) -> Self {
        let len = u32::try_from(2 * page::size()).unwrap();
        // SAFETY: the handle means the paging file; no name, no attributes.
        let section =
            unsafe { CreateFileMappingW(INVALID_HANDLE_VALUE, ptr::null(), section, 0, len, ptr::null()) };
        assert!(!section.is_null(), "{}", std::io::Error::last_os_error());
        // SAFETY: a section of our own, at a place of the system's choice.
        let view = unsafe { MapViewOfFile(section, access, 0, 0, 0) };
        // SAFETY: our handle, not used after this; the view keeps the section.
        unsafe { CloseHandle(section) };
        assert!(!view.Value.is_null(), "{}", std::io::Error::last_os_error());
        Self(view)
    }

    fn range(&self) -> PageRange {
        range(self.0.Value.expose_provenance(), 2)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: ours, and not used any more.
        unsafe { UnmapViewOfFile(self.0) };
    }
}

/// Trap: `WRITE` alone had no constant and panicked; read-only was set to `PAGE_READWRITE`.
#[test]
fn every_combination_is_what_the_system_reports() {
    for before in every_protection() {
        let mapped = Mapped::new(3, before);
        let expected = if before.is_empty() { RESERVED } else { committed(native(before)) };
        assert_eq!(state(mapped.0), [expected; 3], "{before}");
        for after in every_protection() {
            mapped.protect(after);
            let expected = match committed(native(after)) {
                Some(Access::Committed(PAGE_NOACCESS)) if state(mapped.0)[0] == RESERVED => RESERVED,
                expected => expected,
            };
            assert_eq!(state(mapped.0), [expected; 3], "{before} to {after}");
            let reported = query(&Target::CURRENT, mapped.page(1)).unwrap().unwrap().protection();
            assert!(reported.contains(after), "{after}: {reported}");
            // Nothing more than what goes with it everywhere.
            assert_eq!(reported.contains(Protection::WRITE), after.contains(Protection::WRITE));
            assert_eq!(reported.contains(Protection::EXECUTE), after.contains(Protection::EXECUTE));
            assert_eq!(reported.is_empty(), after.is_empty());
        }
    }
    assert_eq!(native(Protection::READ), PAGE_READONLY);
    assert_eq!(native(Protection::WRITE), PAGE_READWRITE);
    assert_eq!(native(Protection::WRITE_EXECUTE), PAGE_EXECUTE_READWRITE);
}

/// Traps: "reserved" memory that was in fact committed, and a commit that did nothing.
#[test]
fn pages_without_access_are_reserved_and_get_memory_when_they_are_given_some() {
    let mapped = Mapped::new(20, Protection::NONE);
    assert_eq!(state(mapped.0), [RESERVED; 20]);
    // SAFETY: pages of our own.
    unsafe { protect(mapped.part(2, 3), Protection::READ_WRITE) }.unwrap();
    mapped.write(3, 7);
    // SAFETY: the same.
    unsafe { protect(mapped.part(1, 6), Protection::READ) }.unwrap();
    assert_eq!((mapped.read(1), mapped.read(3), mapped.read(6)), (0, 7, 0));
    let mut expected = [RESERVED; 20];
    expected[1..7].fill(committed(PAGE_READONLY));
    assert_eq!(state(mapped.0), expected);
    mapped.protect(Protection::NONE);
    expected[1..7].fill(committed(PAGE_NOACCESS));
    assert_eq!(state(mapped.0), expected);
    mapped.protect(Protection::READ_WRITE);
    assert_eq!((mapped.read(3), mapped.read(19)), (7, 0));
}

#[test]
fn pages_come_exactly_there_or_not_at_all() {
    let place = Mapped::lonely();
    for protection in every_protection() {
        for offset in [0, page::size(), GRANULE - page::size()] {
            let mapped = Mapped::at(place + offset, 3, protection);
            let expected = if protection.is_empty() { RESERVED } else { committed(native(protection)) };
            assert_eq!(state(mapped.0), [expected; 3]);
            let below = range(place, 16);
            let reserved = offset / page::size();
            assert!(state(below)[..reserved].iter().all(|&access| access == RESERVED));
            let far = range(place + 2 * GRANULE, 16);
            let around = [below, mapped.0, far];
            for (taken, range) in [true, true, false].into_iter().zip(around) {
                let again = map_at(range, Protection::READ);
                if taken {
                    let failure = again.unwrap_err();
                    assert_eq!(failure.kind(), ErrorKind::Occupied, "{range:?} {failure:?}");
                } else {
                    again.unwrap();
                    // SAFETY: just mapped.
                    unsafe { unmap(range) }.unwrap();
                }
            }
            assert_eq!(state(mapped.0), [expected; 3]);
            if protection.contains(Protection::WRITE) {
                mapped.write(2, 5);
                assert_eq!((mapped.read(1), mapped.read(2)), (0, 5));
            }
        }
        // All of it is given back, what lies below the pages included.
        assert!(state(range(place, 64)).iter().all(Option::is_none));
    }
}

#[test]
fn places_that_cannot_be_had_are_errors() {
    let kind = |range| map_at(range, Protection::READ_WRITE).unwrap_err().kind();
    assert_eq!(kind(PageRange::containing(0)), ErrorKind::NotPermitted);
    assert_eq!(kind(range(page::size(), 100)), ErrorKind::NotPermitted);
    assert_eq!(kind(PageRange::containing(usize::MAX)), ErrorKind::InvalidInput);
    let most = isize::MAX.unsigned_abs() & !(GRANULE - 1);
    assert_eq!(kind(PageRange::containing(most)), ErrorKind::InvalidInput);
    assert_eq!(kind(PageRange::containing(most + page::size())), ErrorKind::InvalidInput);
    // One that exists, and whatever has this very code.
    assert_eq!(kind(PageRange::containing(page::size as *const () as usize)), ErrorKind::Occupied);
    for protection in [Protection::NONE, Protection::READ_WRITE] {
        let failure = map(PageLen::covering(most).unwrap(), protection).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Exhausted, "{failure:?}");
        assert!(failure.has_remedy());
    }
}

#[test]
fn several_allocations_are_protected_as_one() {
    let place = Mapped::lonely();
    let per = GRANULE / page::size();
    let low = Mapped::at(place, per, Protection::READ_WRITE);
    let _high = Mapped::at(place + GRANULE, per, Protection::READ);
    let both = range(place, 2 * per);
    low.write(per - 1, 3);
    let across = range(low.page(per - 2).first(), 4);
    // SAFETY: pages of our own.
    unsafe { protect(across, Protection::READ_EXECUTE) }.unwrap();
    let mut expected = vec_of(both, committed(PAGE_READWRITE));
    expected[per..].fill(committed(PAGE_READONLY));
    expected[per - 2..per + 2].fill(committed(PAGE_EXECUTE_READ));
    assert_eq!(state(both), expected);
    assert_eq!(low.read(per - 1), 3);
    // One run over both, as the floor above may join them.
    // SAFETY: the same.
    unsafe { give_back(across, Access::Committed(PAGE_READWRITE)) }.unwrap();
    expected[per - 2..per + 2].fill(committed(PAGE_READWRITE));
    assert_eq!(state(both), expected);
}

fn vec_of(range: PageRange, access: Option<Access>) -> Vec<Option<Access>> {
    let mut state = Vec::new();
    state.resize(range.len() / page::size(), access);
    state
}

/// Trap: a failed protect over a hole left the first pages changed.
#[test]
fn a_hole_leaves_everything_as_it_was() {
    let place = Mapped::lonely();
    let low = Mapped::at(place, 2, Protection::READ_WRITE);
    let high = Mapped::at(place + GRANULE, 2, Protection::NONE);
    let all = range(place, GRANULE / page::size() + 2);
    let before = state(all);
    for protection in every_protection() {
        // SAFETY: pages of our own.
        let failure = unsafe { protect(all, protection) }.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unmapped);
        assert_eq!(error(failure).changed(), None);
        assert_eq!(state(all), before);
        // SAFETY: the same.
        let failure = unsafe { install_guard(all) }.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unmapped);
        assert_eq!(state(all), before);
    }
    let above = PageRange::containing(usize::MAX);
    // SAFETY: nothing is there.
    assert_eq!(unsafe { protect(above, Protection::READ) }.unwrap_err().kind(), ErrorKind::Unmapped);
    drop((low, high));
}

fn accesses_of(of: PageRange, to: Protection) -> Vec<(PageRange, Access)> {
    let mut found = Vec::new();
    accesses(of, to, &mut |pages, access| found.push((pages, access))).unwrap();
    found
}

/// Changes all, and gives back what was there, run by run.
fn there_and_back(of: PageRange, to: Protection) {
    let before = state(of);
    let found = accesses_of(of, to);
    // SAFETY: pages of the test, to which nobody has references.
    unsafe { protect(of, to) }.unwrap();
    for (run, access) in found {
        // SAFETY: the same.
        unsafe { give_back(run, access) }.unwrap();
    }
    let expected: Vec<_> = before
        .into_iter()
        .map(|access| match access {
            Some(Access::Reserved) if !to.is_empty() => committed(PAGE_NOACCESS),
            access => access,
        })
        .collect();
    assert_eq!(state(of), expected, "{to}");
}

/// Trap: `PAGE_GUARD`, `WRITECOPY`, `NOCACHE` survive a restore; unknown native bits are no panic.
#[test]
fn the_systems_own_bits_survive() {
    for to in every_protection() {
        let mapped = Mapped::new(8, Protection::READ_WRITE);
        mapped.set(1, PAGE_READWRITE | PAGE_GUARD);
        mapped.set(2, PAGE_READONLY | PAGE_GUARD);
        mapped.set(3, PAGE_READWRITE | PAGE_NOCACHE);
        mapped.set(4, PAGE_READWRITE | PAGE_WRITECOMBINE);
        mapped.set(5, PAGE_EXECUTE_READ | PAGE_GUARD);
        mapped.set(6, PAGE_NOACCESS);
        assert_eq!(state(mapped.page(1)), [committed(PAGE_READWRITE | PAGE_GUARD)]);
        there_and_back(mapped.0, to);
        // A part of a run, whose rest stays as it is.
        there_and_back(mapped.part(2, 3), to);
        assert_eq!(state(mapped.page(5)), [committed(PAGE_EXECUTE_READ | PAGE_GUARD)]);
    }
    let mapped = Mapped::new(1, Protection::READ_WRITE);
    for (bit, name) in [(PAGE_NOCACHE, "PAGE_NOCACHE"), (PAGE_WRITECOMBINE, "PAGE_WRITECOMBINE")] {
        mapped.set(0, PAGE_READWRITE | bit);
        if state(mapped.0) != [committed(PAGE_READWRITE | bit)] {
            skipped("the_systems_own_bits_survive", &format!("{name} is not reported by this system"));
        }
    }
    // No alarm went off: the guard is still there to be touched.
    let reserved = Mapped::new(4, Protection::NONE);
    for to in every_protection() {
        there_and_back(reserved.0, to);
    }
}

/// `VirtualProtect` takes a guard away without an alarm, and giving back puts it there again, to be used up by one touch.
#[test]
fn a_guard_that_was_given_back_goes_off_once() {
    use windows_sys::Win32::System::Diagnostics::Debug::EXCEPTION_RECORD;

    #[repr(C)]
    struct Pointers {
        record: *const EXCEPTION_RECORD,
        context: *mut c_void,
    }
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn AddVectoredExceptionHandler(
            first: u32,
            handler: extern "system" fn(*const Pointers) -> i32,
        ) -> *mut c_void;
        fn RemoveVectoredExceptionHandler(handler: *mut c_void) -> u32;
    }
    static WATCHED: AtomicUsize = AtomicUsize::new(usize::MAX);
    static ALARMS: AtomicUsize = AtomicUsize::new(0);
    extern "system" fn alarm(pointers: *const Pointers) -> i32 {
        // SAFETY: what the system gives a handler (MSDN, PVECTORED_EXCEPTION_HANDLER).
        let record = unsafe { (*pointers).record };
        // SAFETY: the same.
        let record = unsafe { &*record };
        let watched = PageRange::containing(WATCHED.load(Ordering::Relaxed));
        if u32::from_ne_bytes(record.ExceptionCode.to_ne_bytes()) != 0x8000_0001
            || PageRange::containing(record.ExceptionInformation[1]) != watched
        {
            return 0; // EXCEPTION_CONTINUE_SEARCH
        }
        ALARMS.fetch_add(1, Ordering::Relaxed);
        -1 // EXCEPTION_CONTINUE_EXECUTION
    }

    let mapped = Mapped::new(1, Protection::READ_WRITE);
    mapped.write(0, 8);
    mapped.set(0, PAGE_READONLY | PAGE_GUARD);
    WATCHED.store(mapped.0.first(), Ordering::Relaxed);
    // SAFETY: a handler that lets everything pass but the alarms of our page.
    let handler = unsafe { AddVectoredExceptionHandler(1, alarm) };
    assert!(!handler.is_null());
    let found = accesses_of(mapped.0, Protection::READ_WRITE);
    mapped.protect(Protection::READ_WRITE);
    assert_eq!((mapped.read(0), ALARMS.load(Ordering::Relaxed)), (8, 0));
    // SAFETY: pages of our own.
    unsafe { give_back(found[0].0, found[0].1) }.unwrap();
    assert_eq!((mapped.read(0), ALARMS.load(Ordering::Relaxed)), (8, 1));
    assert_eq!((mapped.read(0), ALARMS.load(Ordering::Relaxed)), (8, 1));
    assert_eq!(state(mapped.0), [committed(PAGE_READONLY)]);
    // SAFETY: the handler added above.
    unsafe { RemoveVectoredExceptionHandler(handler) };
}

/// What indirect calls may go to (Control Flow Guard) is left as it is where pages were executable already, and only there.
#[test]
fn call_targets_are_kept_where_pages_are_executable_already() {
    let place = Mapped::lonely();
    let low = Mapped::at(place, 16, Protection::READ_EXECUTE);
    let high = Mapped::at(place + GRANULE, 16, Protection::READ_EXECUTE);
    for to in [PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE] {
        assert_eq!(kept_targets(low.0, to), PAGE_TARGETS_NO_UPDATE);
        assert_eq!(kept_targets(range(place, 32), to), 0);
        assert_eq!(kept_targets(range(place + 4 * GRANULE, 1), to), 0);
    }
    assert_eq!(kept_targets(low.0, PAGE_READWRITE), 0);
    high.protect(Protection::READ_WRITE);
    assert_eq!(kept_targets(high.0, PAGE_EXECUTE_READ), 0);
    low.protect(Protection::READ_WRITE_EXECUTE);
    assert_eq!(state(low.page(3)), [committed(PAGE_EXECUTE_READWRITE)]);
    let view = View::new(PAGE_EXECUTE_READWRITE, FILE_MAP_READ | FILE_MAP_EXECUTE);
    assert_eq!(kept_targets(view.range(), PAGE_EXECUTE_READ), 0);
    let (_, calls) = inject::calls_of(|| low.protect(Protection::READ));
    assert_eq!(calls, ["VirtualProtect"]);
}

/// Write-copy pages stay what they are, and those that have been written stay the process's own.
#[test]
fn views_that_are_copied_when_written_can_be_made_writable() {
    for (section, access, native, executable) in [
        (PAGE_READWRITE, FILE_MAP_COPY, PAGE_WRITECOPY, false),
        (PAGE_EXECUTE_READWRITE, FILE_MAP_COPY | FILE_MAP_EXECUTE, PAGE_EXECUTE_WRITECOPY, true),
    ] {
        let view = View::new(section, access);
        assert_eq!(state(view.range()), [committed(native); 2]);
        assert!(parts(view.range())[0].copied);
        for to in every_protection().filter(|to| executable || !to.contains(Protection::EXECUTE)) {
            there_and_back(view.range(), to);
            // SAFETY: pages of our own.
            unsafe { protect(view.range(), to) }.unwrap();
            let reported = query(&Target::CURRENT, view.range()).unwrap().unwrap().protection();
            assert_eq!(reported.contains(Protection::WRITE), to.contains(Protection::WRITE));
        }
        // SAFETY: as above.
        unsafe { protect(view.range(), Protection::READ_WRITE) }.unwrap();
        // SAFETY: just made writable.
        unsafe { view.0.Value.cast::<u8>().write_volatile(9) };
        // Of a copied page the system says PAGE_READWRITE, and takes it back as PAGE_WRITECOPY only.
        let found = accesses_of(view.range(), Protection::READ);
        // SAFETY: as above.
        unsafe { protect(view.range(), Protection::READ) }.unwrap();
        for (run, access) in found {
            // SAFETY: as above.
            unsafe { give_back(run, access) }.unwrap();
        }
        // SAFETY: as above.
        unsafe { give_back(view.range(), Access::Committed(PAGE_READWRITE)) }.unwrap();
        // SAFETY: readable, and writable again.
        assert_eq!(unsafe { view.0.Value.cast::<u8>().read_volatile() }, 9);
        // SAFETY: the same.
        unsafe { view.0.Value.cast::<u8>().write_volatile(10) };
    }
}

/// What is written to a view shall be written to what it is a view of: a view without that right gets no other meaning.
#[test]
fn views_that_were_mapped_without_a_right_are_not_given_it() {
    let view = View::new(PAGE_READWRITE, FILE_MAP_READ);
    let mapped = state(view.range());
    for to in [Protection::WRITE, Protection::READ_WRITE, Protection::READ_EXECUTE] {
        // SAFETY: pages of our own.
        let failure = unsafe { protect(view.range(), to) }.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::NotPermitted, "{to}");
        let error = error(failure);
        assert!(error.raw_os_error().is_some() && error.changed().is_none(), "{error}");
        assert_eq!(state(view.range()), mapped);
    }
    // SAFETY: the same.
    unsafe { protect(view.range(), Protection::NONE) }.unwrap();
    // SAFETY: the same.
    unsafe { protect(view.range(), Protection::READ) }.unwrap();

    // What is reserved of a section gets memory as well.
    let view = View::new(PAGE_READWRITE | SEC_RESERVE, FILE_MAP_WRITE);
    assert_eq!(state(view.range()), [RESERVED; 2]);
    // SAFETY: the same.
    unsafe { protect(view.range(), Protection::READ_WRITE) }.unwrap();
    assert_eq!(state(view.range()), [committed(PAGE_READWRITE); 2]);
}

/// The pages of a program's image: read-only data is made writable for a moment.
#[test]
fn pages_of_an_image_are_written_and_given_back() {
    #[repr(align(65536))]
    struct Page([u8; GRANULE]);
    static CONSTANT: Page = Page([7; GRANULE]);
    let range = PageRange::containing((&raw const CONSTANT).expose_provenance());
    let before = state(range);
    assert_eq!(before, [committed(PAGE_READONLY)]);
    for to in [Protection::WRITE, Protection::READ_WRITE, Protection::READ_WRITE_EXECUTE] {
        there_and_back(range, to);
    }
    // Code, that of this very module's neighbourhood.
    let code = PageRange::containing(page::size as *const () as usize);
    there_and_back(code, Protection::READ_WRITE_EXECUTE);
    assert_eq!(CONSTANT.0[page::size()], 7);
}

/// Trap: an error after a success leaked what the success had given.
#[test]
fn injected_failures_of_mappings_leave_nothing() {
    for (code, kind) in [
        (ERROR_NOT_ENOUGH_MEMORY, ErrorKind::Exhausted),
        (ERROR_COMMITMENT_LIMIT, ErrorKind::Exhausted),
        (windows_sys::Win32::Foundation::ERROR_DYNAMIC_CODE_BLOCKED, ErrorKind::NotPermitted),
        (windows_sys::Win32::Foundation::ERROR_ACCESS_DENIED, ErrorKind::NotPermitted),
        (ERROR_INVALID_ADDRESS, ErrorKind::System),
    ] {
        let code = i32::try_from(code).unwrap();
        let (failed, reached) =
            inject::fail_nth(Some("VirtualAlloc"), 0, code, || map(pages(3), Protection::READ_WRITE));
        assert!(reached);
        let failure = failed.unwrap_err();
        assert_eq!(failure.kind(), kind);
        if code == i32::try_from(ERROR_COMMITMENT_LIMIT).unwrap() {
            let error = failure.during(Operation::Allocate, None, None);
            assert!(
                error.limit().is_some() && error.in_use().is_some() && error.remedy().is_some(),
                "{error}"
            );
        }
        // Off the granularity: the reservation succeeds, the memory fails.
        let place = Mapped::lonely();
        for nth in 0..2 {
            let (failed, reached) = inject::fail_nth(Some("VirtualAlloc"), nth, code, || {
                map_at(range(place + page::size(), 3), Protection::READ_WRITE)
            });
            assert!(reached && failed.is_err());
            assert!(state(range(place, 16)).iter().all(Option::is_none), "{nth}");
        }
    }
    let mapped = Mapped::new(1, Protection::READ);
    // SAFETY: ours.
    let (failed, reached) = inject::fail_nth(Some("VirtualFree"), 0, 487, || unsafe { unmap(mapped.0) });
    assert!(reached && failed.is_err());
    assert_eq!(state(mapped.0), [committed(PAGE_READONLY)]);
}

#[test]
fn injected_failures_of_changes_are_taken_back() {
    let place = Mapped::lonely();
    let per = GRANULE / page::size();
    let low = Mapped::at(place, per, Protection::READ_WRITE);
    let mid = Mapped::at(place + GRANULE, per, Protection::NONE);
    let high = Mapped::at(place + 2 * GRANULE, per, Protection::READ);
    low.set(1, PAGE_READWRITE | PAGE_GUARD);
    low.write(2, 4);
    let all = range(place, 3 * per);
    let before = state(all);
    // The first call is the one for all of it, which fails of itself.
    for call in ["VirtualProtect", "VirtualAlloc", "VirtualQuery"] {
        for nth in 0.. {
            // SAFETY: pages of our own.
            let change = || unsafe { protect(all, Protection::READ_EXECUTE) };
            let (result, reached) = inject::fail_nth(Some(call), nth, 5, change);
            if let Err(failure) = result {
                assert!(reached, "{call} {nth}");
                assert_eq!(error(failure).changed(), None, "{call} {nth}");
                assert_eq!(state(all), before, "{call} {nth}");
                continue;
            }
            assert_eq!(state(all), vec_of(all, committed(PAGE_EXECUTE_READ)), "{call} {nth}");
            // SAFETY: the same. What was reserved is taken back by hand.
            unsafe { sys::decommit(mid.0) }.unwrap();
            low.protect(Protection::READ_WRITE);
            low.set(1, PAGE_READWRITE | PAGE_GUARD);
            high.protect(Protection::READ);
            assert_eq!(state(all), before);
            if !reached {
                break;
            }
        }
    }
    assert_eq!(low.read(2), 4);

    // The third allocation is refused: the second one's memory is taken away again.
    let (result, calls) = inject::calls_of(|| {
        // SAFETY: the same.
        inject::fail_nth(Some("VirtualProtect"), 4, 5, || unsafe { protect(all, Protection::READ_EXECUTE) })
    });
    assert!(result.1);
    assert!(error(result.0.unwrap_err()).changed().is_none(), "{calls:?}");
    assert_eq!(calls.iter().filter(|call| **call == "VirtualFree").count(), 1, "{calls:?}");
    assert_eq!(state(all), before);
}

/// Where even changing back is refused, the error names the pages.
#[test]
fn what_could_not_be_changed_back_is_named() {
    let place = Mapped::lonely();
    let per = GRANULE / page::size();
    let low = Mapped::at(place, per, Protection::READ_WRITE);
    let high = Mapped::at(place + GRANULE, per, Protection::READ);
    let all = range(place, 2 * per);
    // The change of the second allocation is refused; by then the first one has been unmapped by somebody. The calls: one for
    // all of it, one for each allocation.
    let first = low.0;
    core::mem::forget(low);
    let refused = || {
        let (result, reached) = inject::fail_nth(Some("VirtualProtect"), 2, 5, || {
            // SAFETY: pages of our own.
            unsafe { protect(all, Protection::READ_EXECUTE) }
        });
        assert!(reached);
        error(result.unwrap_err())
    };
    assert_eq!(refused().changed(), None);
    inject::just_before("VirtualProtect", move || {
        inject::just_before("VirtualProtect", move || {
            inject::just_before("VirtualProtect", move || {
                // SAFETY: ours, and used by nobody.
                unsafe { sys::release(first.first()) }.unwrap();
            });
        });
    });
    let error = refused();
    assert_eq!(error.changed(), Some(first.to_range()), "{error}");
    assert_eq!(state(high.0), vec_of(high.0, committed(PAGE_READONLY)));
}

/// Guard pages: the content is gone, removing the guard gives zeros.
#[test]
fn guards_drop_the_content() {
    let mapped = Mapped::new(6, Protection::READ_WRITE);
    for index in 0..6 {
        mapped.write(index, 1);
    }
    // SAFETY: pages of our own.
    unsafe { protect(mapped.page(3), Protection::READ) }.unwrap();
    // SAFETY: the same.
    unsafe { install_guard(mapped.part(2, 3)) }.unwrap();
    assert_eq!(state(mapped.part(2, 3)), [committed(PAGE_NOACCESS); 3]);
    // SAFETY: the same. Once more changes nothing.
    unsafe { install_guard(mapped.part(2, 3)) }.unwrap();
    // SAFETY: the same.
    unsafe { remove_guard(mapped.part(2, 3), Protection::READ_WRITE) }.unwrap();
    let bytes: Vec<u8> = (0..6).map(|index| mapped.read(index)).collect();
    assert_eq!(bytes, [1, 1, 0, 0, 0, 1]);

    // Reserved pages are guarded as they are, and have memory afterwards.
    let reserved = Mapped::new(2, Protection::NONE);
    // SAFETY: the same.
    unsafe { install_guard(reserved.0) }.unwrap();
    assert_eq!(state(reserved.0), [RESERVED; 2]);
    // SAFETY: the same.
    unsafe { remove_guard(reserved.0, Protection::READ) }.unwrap();
    assert_eq!(reserved.read(1), 0);

    // Views cannot be emptied.
    let view = View::new(PAGE_READWRITE, FILE_MAP_WRITE);
    // SAFETY: a page of our own.
    unsafe { view.0.Value.cast::<u8>().write_volatile(5) };
    // SAFETY: the same.
    unsafe { install_guard(view.range()) }.unwrap();
    assert_eq!(state(view.range()), [committed(PAGE_NOACCESS); 2]);
    // SAFETY: the same.
    unsafe { remove_guard(view.range(), Protection::READ) }.unwrap();
    // SAFETY: the same.
    assert_eq!(unsafe { view.0.Value.cast::<u8>().read_volatile() }, 5);
}

#[test]
fn injected_failures_of_guards_say_what_is_guarded() {
    let place = Mapped::lonely();
    let low = Mapped::at(place, 16, Protection::READ_WRITE);
    let high = Mapped::at(place + GRANULE, 16, Protection::READ_WRITE);
    let all = range(place, 32);
    low.write(0, 1);
    high.write(0, 2);
    // SAFETY: pages of our own.
    let guard = |nth| inject::fail_nth(Some("VirtualFree"), nth, 5, || unsafe { install_guard(all) });
    let (failed, reached) = guard(0);
    assert!(reached);
    assert_eq!(error(failed.unwrap_err()).changed(), None);
    assert_eq!((low.read(0), high.read(0)), (1, 2));
    let (failed, reached) = guard(1);
    assert!(reached);
    assert_eq!(error(failed.unwrap_err()).changed(), Some(low.0.to_range()));
    assert_eq!(high.read(0), 2);
    // Without new memory the pages are guarded all the same.
    let guard = || {
        // SAFETY: the same.
        inject::fail_nth(Some("VirtualAlloc"), 0, 1455, || unsafe { install_guard(high.0) })
    };
    let (done, reached) = guard();
    assert!(reached);
    done.unwrap();
    assert_eq!(state(high.0), [RESERVED; 16]);
    // SAFETY: the same.
    unsafe { remove_guard(all, Protection::READ_WRITE) }.unwrap();
    assert_eq!((low.read(0), high.read(0)), (0, 0));
}

fn locked_pages(of: PageRange) -> usize {
    let mut entries: Vec<_> = (0..of.len() / page::size())
        .map(|index| PSAPI_WORKING_SET_EX_INFORMATION {
            VirtualAddress: ptr::without_provenance_mut(of.first() + index * page::size()),
            ..PSAPI_WORKING_SET_EX_INFORMATION::default()
        })
        .collect();
    sys::working_set(None, &mut entries).unwrap();
    // SAFETY: every bit pattern of the union is a valid number; the call has written it.
    let locked = |entry: &&PSAPI_WORKING_SET_EX_INFORMATION| unsafe {
        entry.VirtualAttributes.Flags & (VALID | LOCKED) == VALID | LOCKED
    };
    entries.iter().filter(locked).count()
}

#[test]
fn pages_are_locked_and_unlocked() {
    let mapped = Mapped::at(Mapped::lonely(), 10, Protection::READ_WRITE);
    lock(mapped.0).unwrap();
    if locked_pages(mapped.0) == 10 {
        unlock(mapped.part(2, 3)).unwrap();
        assert_eq!(locked_pages(mapped.0), 7);
        // Some of them are locked, and all that are will not be.
        unlock(mapped.0).unwrap();
        assert_eq!(locked_pages(mapped.0), 0);
    } else {
        skipped(
            "pages_are_locked_and_unlocked",
            "this system does not report locked pages, or does not lock",
        );
    }
    for _ in 0..3 {
        unlock(mapped.0).unwrap();
    }
    // Where nothing is, or nothing can be locked.
    let freed = mapped.0;
    drop(mapped);
    assert!(state(freed).iter().all(Option::is_none));
    unlock(freed).unwrap();
    unlock(PageRange::containing(usize::MAX)).unwrap();
    let reserved = Mapped::new(100, Protection::NONE);
    unlock(reserved.0).unwrap();
    assert_eq!(life(), 1);
    yield_now();
}

/// Trap: what cannot be locked is said, and loses nothing by being asked for: `VirtualLock` itself uses up `PAGE_GUARD`.
#[test]
fn what_cannot_be_locked_stays_as_it_was() {
    let place = Mapped::lonely();
    let mapped = Mapped::at(place, 4, Protection::READ_WRITE);
    let kind = |range| lock(range).unwrap_err().kind();
    mapped.set(2, PAGE_READWRITE | PAGE_GUARD);
    let before = state(mapped.0);
    assert_eq!(kind(mapped.0), ErrorKind::NotPermitted);
    assert_eq!(state(mapped.0), before);
    mapped.set(2, PAGE_NOACCESS);
    assert_eq!(kind(mapped.0), ErrorKind::NotPermitted);
    assert_eq!(kind(range(place + 2 * GRANULE, 1)), ErrorKind::Unmapped);
    assert_eq!(kind(range(place, 64)), ErrorKind::Unmapped);
    assert_eq!(kind(Mapped::new(1, Protection::NONE).0), ErrorKind::NotPermitted);
    assert_eq!(locked_pages(mapped.0), 0);
    assert_eq!(lock_on_fault(mapped.0).unwrap_err().kind(), ErrorKind::Unsupported);
    // SAFETY: refused.
    assert_eq!(unsafe { seal(mapped.0) }.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(keys::new().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_limit_of_locks_is_told_with_its_remedy() {
    let mapped = Mapped::new(4, Protection::READ_WRITE);
    let code = i32::try_from(ERROR_WORKING_SET_QUOTA).unwrap();
    let (failed, reached) = inject::fail_nth(Some("VirtualLock"), 0, code, || lock(mapped.0));
    assert!(reached);
    let error = failed.unwrap_err().during(Operation::Lock, Some(mapped.0), None);
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("SetProcessWorkingSetSize")), "{error}");
    assert_eq!(error.raw_os_error(), Some(code));
    assert_eq!(error.limit(), limits().unwrap().lock_limit);
    assert!(error.limit().is_some_and(|limit| limit > 0));

    // A real one, where there is one.
    let most = usize::try_from(error.limit().unwrap()).unwrap();
    let large = Mapped::new(most / page::size() * 2 + 256, Protection::READ_WRITE);
    match lock(large.0) {
        Ok(()) => {
            skipped("a_limit_of_locks_is_told_with_its_remedy", "this system locks any number of pages");
            unlock(large.0).unwrap();
        }
        Err(failure) if failure.kind() == ErrorKind::NotPermitted => {
            skipped(
                "a_limit_of_locks_is_told_with_its_remedy",
                "this system does not say why it does not lock",
            );
        }
        Err(failure) => assert_eq!(failure.kind(), ErrorKind::Exhausted, "{failure:?}"),
    }
}

/// Locks over several allocations, if one call does not do for them.
///
/// Trap: those before the one that refused were unlocked here, where it is not known what other threads hold: a lock that one took
/// meanwhile was lost. The floor above does it, which counts.
#[test]
fn a_lock_that_fails_over_several_allocations_unlocks_nothing() {
    let place = Mapped::lonely();
    let low = Mapped::at(place, 16, Protection::READ_WRITE);
    let high = Mapped::at(place + GRANULE, 16, Protection::READ_WRITE);
    let all = range(place, 32);
    // However the system does it.
    lock(all).unwrap();
    unlock(all).unwrap();
    lock(low.page(3)).unwrap();
    let others = locked_pages(all);
    // One call does not do: one for each.
    let ((result, reached), calls) =
        inject::calls_of(|| inject::fail_nth(Some("VirtualLock"), 0, 487, || lock(all)));
    assert!(reached);
    result.unwrap();
    assert_eq!(calls.iter().filter(|call| **call == "VirtualLock").count(), 3, "{calls:?}");
    unlock(all).unwrap();
    lock(low.page(3)).unwrap();
    // And the second one fails.
    let act = || {
        inject::just_before("VirtualLock", move || {
            // SAFETY: pages of our own. From here on the second allocation cannot be locked.
            unsafe { sys::virtual_protect(high.0, PAGE_NOACCESS) }.unwrap();
        });
        let ((result, _), calls) =
            inject::calls_of(|| inject::fail_nth(Some("VirtualLock"), 0, 487, || lock(all)));
        assert!(!calls.contains(&"VirtualUnlock"), "{calls:?}");
        result
    };
    match act() {
        Ok(()) => {
            skipped(
                "a_lock_that_fails_over_several_allocations_unlocks_nothing",
                "this system locks any pages",
            );
        }
        Err(failure) => {
            assert_eq!(failure.kind(), ErrorKind::NotPermitted);
            assert!(locked_pages(all) >= others);
        }
    }
    let code = i32::try_from(ERROR_NOT_LOCKED).unwrap();
    let ((unlocked, reached), calls) =
        inject::calls_of(|| inject::fail_nth(Some("VirtualUnlock"), 0, code, || unlock(low.0)));
    assert!(reached);
    unlocked.unwrap();
    // Which of them are locked still is asked, and these are unlocked.
    assert_eq!(calls[1..3], ["VirtualQuery", "QueryWorkingSetEx"], "{calls:?}");
    assert_eq!(locked_pages(all), 0);
}

#[test]
fn allocations_are_ordinary_memory_to_queries() {
    let mapped = Mapped::new(4, Protection::READ_WRITE);
    let region = query(&Target::CURRENT, mapped.page(2)).unwrap().unwrap();
    assert_eq!((region.base, region.len()), (mapped.0.first(), mapped.0.len()));
    let pointer = NonNull::new(mapped.byte(0)).unwrap();
    // SAFETY: writable pages of our own.
    unsafe { pointer.as_ptr().write_bytes(1, mapped.0.len()) };
    let place: String = format!("{pointer:p}");
    assert!(place.starts_with("0x"));
    assert_eq!(
        sys::reserve(mapped.0.first(), GRANULE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, None).ok(),
        None
    );
}

/// One of the calls, on some of the pages, as the model knows it.
#[derive(Clone, Debug)]
enum Step {
    Protect(Protection),
    Guard,
    /// By somebody who does not know of folio.
    Native(u32),
    /// A change of all, some other change within, and back: the runs give back what they had, and nothing else is touched.
    Around(Protection, Protection),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(crate::area::rounds(100)) })]

    /// Three allocations side by side, one of which begins without memory, against a list of what each page grants and holds.
    #[test]
    fn every_sequence_of_changes_is_as_the_model_says(
        steps in proptest::collection::vec(
            (0_usize..48, 1_usize..48, prop_oneof![
                (0_usize..8).prop_map(|bits| Step::Protect(Protection::from_bits_truncate(bits))),
                Just(Step::Guard),
                prop_oneof![
                    Just(PAGE_READWRITE | PAGE_GUARD), Just(PAGE_READONLY), Just(PAGE_EXECUTE_READ), Just(PAGE_NOACCESS)
                ].prop_map(Step::Native),
                (0_usize..8, 0_usize..8).prop_map(|(one, other)| {
                    Step::Around(Protection::from_bits_truncate(one), Protection::from_bits_truncate(other))
                }),
            ]),
            1..30,
        )
    ) {
        let place = Mapped::lonely();
        let allocations = [Protection::READ_WRITE, Protection::NONE, Protection::READ]
            .into_iter()
            .enumerate()
            .map(|(index, protection)| Mapped::at(place + index * GRANULE, 16, protection))
            .collect::<Vec<_>>();
        let all = range(place, 48);
        let mut model = state(all);
        let mut marked = [false; 48];
        // A page that has memory, and grants something, holds a mark until it is guarded.
        let page_of = |index: usize| allocations[index / 16].page(index % 16);
        for index in (0..16).step_by(3) {
            allocations[0].write(index, 1);
            marked[index] = true;
        }
        for (first, count, step) in steps {
            let count = count.min(48 - first);
            let some = range(place + first * page::size(), count);
            let set = |model: &mut Vec<Option<Access>>, native: u32| {
                for access in &mut model[first..first + count] {
                    if !(*access == RESERVED && native == PAGE_NOACCESS) {
                        *access = committed(native);
                    }
                }
            };
            match step {
                Step::Protect(to) => {
                    // SAFETY: pages of our own, to which nobody has references.
                    unsafe { protect(some, to) }.unwrap();
                    set(&mut model, native(to));
                }
                Step::Guard => {
                    // SAFETY: the same.
                    unsafe { install_guard(some) }.unwrap();
                    set(&mut model, PAGE_NOACCESS);
                    marked[first..first + count].fill(false);
                }
                Step::Native(to) => {
                    for (index, access) in model.iter_mut().enumerate().skip(first).take(count) {
                        if *access != RESERVED {
                            // SAFETY: the same.
                            unsafe { sys::virtual_protect(page_of(index), to) }.unwrap();
                            *access = committed(to);
                        }
                    }
                }
                Step::Around(to, within) => {
                    let found = accesses_of(some, to);
                    // SAFETY: the same.
                    unsafe { protect(some, to) }.unwrap();
                    let inner = range(some.first(), count.div_ceil(2));
                    // SAFETY: the same.
                    unsafe { protect(inner, within) }.unwrap();
                    for (index, access) in model[first..first + count].iter_mut().enumerate() {
                        let given = !to.is_empty() || (index < count.div_ceil(2) && !within.is_empty());
                        if *access == RESERVED && given {
                            *access = committed(PAGE_NOACCESS);
                        }
                    }
                    for (run, access) in found {
                        // SAFETY: the same.
                        unsafe { give_back(run, access) }.unwrap();
                    }
                }
            }
            prop_assert_eq!(state(all), &*model);
        }
        // SAFETY: the same.
        unsafe { protect(all, Protection::READ) }.unwrap();
        for (index, marked) in marked.into_iter().enumerate() {
            prop_assert_eq!(allocations[index / 16].read(index % 16), u8::from(marked));
        }
    }
}

/// Discarding takes two calls. When the second is refused, the pages grant nothing, and are given memory by a later change.
#[test]
fn discarded_memory_may_not_come_back() {
    let mapped = Mapped::new(3, Protection::READ_WRITE);
    let middle = range(mapped.0.first() + page::size(), 1);
    let readable = committed(PAGE_READWRITE);
    // SAFETY: pages of this test's own, to which nobody has references.
    let discard = || unsafe { discard(middle, Protection::READ_WRITE, false) };
    discard().unwrap();
    assert_eq!(state(mapped.0), [readable; 3]);
    let code = i32::try_from(ERROR_COMMITMENT_LIMIT).unwrap();
    let (done, failed) = inject::fail_nth(Some("VirtualFree"), 0, code, discard);
    assert!(failed);
    let refused = done.unwrap_err();
    assert_eq!((refused.failure.changed_part(), refused.gone), (None, None));
    assert_eq!(state(mapped.0), [readable; 3]);
    let (done, failed) = inject::fail_nth(Some("VirtualAlloc"), 0, code, discard);
    assert!(failed);
    let refused = done.unwrap_err();
    assert_eq!(
        (refused.failure.kind(), refused.failure.changed_part()),
        (ErrorKind::Exhausted, Some(middle))
    );
    assert_eq!(state(mapped.0), [readable, RESERVED, readable]);
    // SAFETY: as above.
    unsafe { protect(middle, Protection::READ_WRITE) }.unwrap();
    assert_eq!(state(mapped.0), [readable; 3]);
    // What grants nothing needs no memory.
    // SAFETY: as above.
    unsafe { super::discard(mapped.0, Protection::NONE, false) }.unwrap();
    assert_eq!(state(mapped.0), [RESERVED; 3]);
    assert_eq!(resident(mapped.0).unwrap(), 0);
}
