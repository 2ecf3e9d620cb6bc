//! What `mprotect` would take from pages, and the guard gives back.

use super::*;
use crate::{Process, alloc, page, protect_with_handle};
use core::ptr::without_provenance;
use std::format;
use std::string::String;

/// The lines of `smaps` for the region at an address that begin with a word.
fn smaps(address: usize, key: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let region = Process::current().query(address).unwrap();
    let head = format!("{:08x}-", region.as_range().start);
    let mut lines = text
        .lines()
        .skip_while(|line| !line.trim_start_matches('0').starts_with(head.trim_start_matches('0')));
    lines.next()?;
    lines.take_while(|line| line.contains(':')).find_map(|line| Some(line.strip_prefix(key)?.trim().into()))
}

use crate::area::skipped;

/// arm64: pages whose branches may only lead to marked places stay so.
#[test]
fn marked_branch_targets_are_given_back() {
    let test = "marked_branch_targets_are_given_back";
    if !sys::has_branch_targets() {
        return skipped(test, "this processor does not know marked branch targets");
    }
    let memory = alloc(3 * page::size(), Protection::READ).unwrap();
    let middle = PageRange::containing(memory.as_range().start + page::size());
    let flags = MprotectFlags::from_bits_retain(flags(Protection::READ_EXECUTE).bits() | PROT_BTI);
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { mm::mprotect(pointer(middle), middle.len(), flags) }.unwrap();
    let marked = || smaps(middle.first(), "VmFlags:").unwrap().split_whitespace().any(|flag| flag == "bt");
    assert!(marked());
    // SAFETY: as above.
    let guard = unsafe { protect_with_handle(memory.as_ptr::<u8>(), memory.len(), Protection::READ_WRITE) };
    let guard = guard.unwrap();
    assert!(!marked());
    guard.restore().unwrap();
    assert!(marked());
    assert_eq!(query(&Target::CURRENT, middle).unwrap().unwrap().protection(), Protection::READ_EXECUTE);
}

/// x86: pages keep their protection key, also where `mprotect` takes it from them because they become executable alone.
#[test]
fn a_protection_key_is_given_back() {
    let test = "a_protection_key_is_given_back";
    let Ok(key) = keys::new() else {
        return skipped(test, "there are no protection keys on this machine");
    };
    let memory = alloc(3 * page::size(), Protection::READ).unwrap();
    let middle = PageRange::containing(memory.as_range().start + page::size());
    for own in [Protection::READ, Protection::READ_WRITE, Protection::EXECUTE] {
        // SAFETY: pages of this test's own, to which nobody has references.
        unsafe { keys::assign(middle, own, key) }.unwrap();
        let found = || smaps(middle.first(), "ProtectionKey:").unwrap();
        assert_eq!(found(), format!("{key}"));
        for other in [Protection::EXECUTE, Protection::READ, Protection::NONE] {
            // SAFETY: as above.
            drop(unsafe { protect_with_handle(memory.as_ptr::<u8>(), memory.len(), other) }.unwrap());
            assert_eq!(found(), format!("{key}"), "{own} after {other}");
            let region = query(&Target::CURRENT, middle).unwrap().unwrap();
            assert_eq!(region.protection(), own);
        }
    }
    drop(memory);
    keys::free(key).unwrap();
}

/// Execute-only pages get a key by the kernel itself, which is not ours to give; the guard gives them back as they were.
#[test]
fn execute_only_pages_are_given_back() {
    let memory = alloc(2 * page::size(), Protection::EXECUTE).unwrap();
    let place = memory.as_ptr::<u8>();
    // SAFETY: pages of this test's own, to which nobody has references.
    drop(unsafe { protect_with_handle(place, 1, Protection::READ) }.unwrap());
    let region = Process::current().query(place.addr()).unwrap();
    assert_eq!(region.protection(), Protection::EXECUTE);
    assert!(region.len() >= memory.len(), "the two pages are one mapping again, with the same key");
}

/// Pages of which the fourth cannot become writable: a shared mapping of a file that was opened for reading.
fn with_a_file_in_it() -> (crate::Allocation, std::vec::Vec<Protection>) {
    let memory = alloc(5 * page::size(), Protection::READ).unwrap();
    let at = |index: usize| PageRange::containing(memory.as_range().start + index * page::size());
    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { protect(at(1), Protection::NONE) }.unwrap();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let (len, how) = (page::size(), MapFlags::SHARED | MapFlags::FIXED);
    // SAFETY: as above; the page is the allocation's still.
    unsafe { mm::mmap(pointer(at(3)), len, ProtFlags::READ, how, file, 0) }.unwrap();
    let before = protections(&memory);
    assert_eq!(before[3], Protection::READ);
    (memory, before)
}

fn protections(memory: &crate::Allocation) -> std::vec::Vec<Protection> {
    let pages = memory.as_range().step_by(page::size());
    pages.map(|address| Process::current().query(address).unwrap().protection()).collect()
}

/// A refusal in the middle: what was changed is said, or changed back.
#[test]
fn a_refusal_in_the_middle_is_undone_or_said() {
    let (memory, before) = with_a_file_in_it();
    let start = memory.as_range().start;
    let place = memory.as_ptr::<u8>();
    // SAFETY: pages of this test's own, to which nobody has references.
    let error = unsafe { protect_with_handle(place, memory.len(), Protection::READ_WRITE) }.unwrap_err();
    assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
    assert_eq!(protections(&memory), before);
    // SAFETY: as above.
    let error = unsafe { crate::protect(place, memory.len(), Protection::READ_WRITE) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    assert_eq!(error.changed(), Some(start..start + 3 * page::size()), "{error}");
    assert_eq!(protections(&memory)[..3], [Protection::READ_WRITE; 3]);
    assert_eq!(protections(&memory)[3..], before[3..]);
}

/// Where the mappings could not be looked up after a refusal, nothing was said to be changed, and nothing changed back; where
/// several runs could not be changed back, the first alone was named.
#[test]
fn what_may_be_changed_is_said_whatever_fails_besides() {
    // ENOMEM.
    for with_handle in [false, true] {
        let mut left = 0;
        for n in 0..24 {
            let (memory, before) = with_a_file_in_it();
            let (place, len) = (memory.as_ptr::<u8>(), memory.len());
            let (error, _) = crate::os::inject::fail_from(None, n, 12, || {
                if with_handle {
                    // SAFETY: pages of this test's own, to which nobody has references.
                    unsafe { protect_with_handle(place, len, Protection::READ_WRITE) }.unwrap_err()
                } else {
                    // SAFETY: as above.
                    unsafe { crate::protect(place, len, Protection::READ_WRITE) }.unwrap_err()
                }
            });
            let changed = error.changed().unwrap_or(0..0);
            for (index, (now, before)) in protections(&memory).into_iter().zip(before).enumerate() {
                if now != before {
                    left += 1;
                    let page = memory.as_range().start + index * page::size();
                    assert!(changed.contains(&page), "page {index}, call {n}: {error}");
                }
            }
        }
        assert!(left >= 3);
    }
}

/// Of several mappings the first was a guard already, and its content gone, when the kernel refused another.
#[test]
fn what_was_guarded_before_a_refusal_is_said() {
    let memory = alloc(3 * page::size(), Protection::READ_WRITE).unwrap();
    let middle = PageRange::containing(memory.as_range().start + page::size());
    if crate::os::lock(middle).is_err() {
        return skipped("what_was_guarded_before_a_refusal_is_said", "nothing may be locked here");
    }
    // SAFETY: pages of this test's own, whose content nobody wants.
    let error = unsafe { crate::guard(memory.as_ptr::<u8>(), memory.len()) }.unwrap_err();
    assert_eq!(
        (error.kind(), error.changed()),
        (ErrorKind::NotPermitted, Some(memory.as_range())),
        "{error}"
    );
    let inside = memory.as_ptr::<u8>().wrapping_add(page::size());
    // SAFETY: as above.
    let error = unsafe { crate::guard(inside, 1) }.unwrap_err();
    assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
}

/// To the top of the address space: the kernel calls it nonsense, and it was taken for locked pages.
#[test]
fn ranges_without_end_are_not_mapped() {
    let place = without_provenance::<u8>(usize::MAX - page::size());
    // SAFETY: nothing is there.
    let error = unsafe { crate::guard(place, usize::MAX) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unmapped, "{error}");
    // SAFETY: nothing is there.
    let error = unsafe { crate::unguard(place, usize::MAX, Protection::READ) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unmapped, "{error}");
    // SAFETY: nothing is there.
    let error = unsafe { crate::seal(place, usize::MAX) }.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unmapped | ErrorKind::Unsupported), "{error}");
}

/// What begins in something and ends above all addresses was an error of too little memory.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_range_that_is_occupied_and_too_long_is_occupied() {
    let memory = alloc(1, Protection::READ).unwrap();
    let error = crate::alloc_at(memory.as_ptr::<u8>(), 1 << 62, Protection::READ).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Occupied, "{error}");
}

/// The number of mappings was too high by those that a walk had given before it began again.
#[test]
fn mappings_are_counted_once() {
    let area = alloc(400 * page::size(), Protection::READ).unwrap();
    for page in area.as_range().step_by(2 * page::size()) {
        // SAFETY: pages of this test's own, to which nobody has references.
        unsafe { protect(PageRange::containing(page), Protection::NONE) }.unwrap();
    }
    // Other tests map and unmap meanwhile.
    let close = (0..20).any(|_| {
        let listed = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        why::mappings().is_some_and(|count| count.abs_diff(listed.try_into().unwrap()) <= 8)
    });
    assert!(close);
}

/// What a kernel before 4.17 does, which takes the place as a wish.
#[test]
fn what_came_elsewhere_is_not_taken() {
    let there = alloc(page::size(), Protection::READ).unwrap();
    let range = PageRange::containing(there.as_range().start);
    let elsewhere = map(range.page_len().unwrap(), Protection::READ).unwrap();
    // SAFETY: just mapped, and this test's own.
    let taken = unsafe { only_there(elsewhere.as_ptr().cast(), range) };
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Occupied);
    assert!(Process::current().query(range.first()).is_ok());
}
