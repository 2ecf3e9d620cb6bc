//! What `mprotect` would take from pages, and the guard gives back.

use super::*;
use crate::{Process, alloc, page, protect_with_handle};
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
