//! What ends a process and what does not: touching pages that grant nothing, that are guarded, that are gone.

mod common;

use common::{Helper, died, role, say, skipped};
use folio::{Capabilities, Protection, alloc, guard, page, protect, protect_with_handle};

#[derive(Clone, Copy)]
enum Touch {
    Read,
    Write,
}

fn touch(place: *mut u8, how: Touch) {
    match how {
        // SAFETY: whether the place can be read is what is found out, in a process that may end for it.
        Touch::Read => drop(unsafe { place.read_volatile() }),
        // SAFETY: likewise.
        Touch::Write => unsafe { place.write_volatile(1) },
    }
}

/// The child does something to a page and then touches it.
fn case(name: &str) {
    let memory = alloc(3 * page::size(), Protection::READ_WRITE).unwrap();
    let place = memory.as_ptr::<u8>().cast_mut().wrapping_add(page::size());
    let grant = |protection| {
        // SAFETY: pages of this process's own, to which nobody has references.
        unsafe { protect(place, page::size(), protection).unwrap() }
    };
    let how = match name {
        "read nothing" => {
            grant(Protection::NONE);
            Touch::Read
        }
        "write nothing" => {
            grant(Protection::NONE);
            Touch::Write
        }
        "write read-only" => {
            grant(Protection::READ);
            Touch::Write
        }
        "write code" => {
            grant(Protection::READ_EXECUTE);
            Touch::Write
        }
        "read write-only" => {
            grant(Protection::WRITE);
            Touch::Read
        }
        "read execute-only" => {
            grant(Protection::EXECUTE);
            Touch::Read
        }
        "read guarded" => {
            // SAFETY: as in `grant`.
            unsafe { guard(place, 1).unwrap() };
            Touch::Read
        }
        "write guarded, protected" => {
            // SAFETY: as in `grant`.
            unsafe { guard(place, 1).unwrap() };
            // By advice or not: a change of the neighbours does not lift the guard.
            // SAFETY: as in `grant`.
            unsafe {
                protect(place.wrapping_sub(page::size()), page::size(), Protection::READ_WRITE).unwrap()
            };
            Touch::Write
        }
        "read freed" => {
            drop(memory);
            say("ready");
            return touch(place, Touch::Read);
        }
        "write restored" => {
            grant(Protection::READ);
            // SAFETY: as in `grant`.
            drop(unsafe { protect_with_handle(place, 1, Protection::READ_WRITE) }.unwrap());
            Touch::Write
        }
        "write read-write" => Touch::Write,
        other => panic!("{other}"),
    };
    say("ready");
    touch(place, how);
    let around = [place.wrapping_sub(1), place.wrapping_add(page::size())];
    for place in around {
        touch(place, Touch::Write);
    }
}

/// Whether the machine really denies it; `None`: it is not known.
fn expected(name: &str) -> Option<bool> {
    let x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    match name {
        "write read-write" => Some(false),
        // No processor of ours can grant writing without reading; some kernels would note it and deny until the page is there.
        "read write-only" => x86.then_some(false),
        // On x86 that takes a protection key, which Linux spends on it.
        "read execute-only" if cfg!(any(target_os = "linux", target_os = "android")) => {
            x86.then(|| Capabilities::probe().protection_keys())
        }
        "read execute-only" => None,
        _ => Some(true),
    }
}

#[test]
fn what_is_denied_ends_the_process() {
    let test = "what_is_denied_ends_the_process";
    if let Some(name) = role() {
        return case(name.to_str().unwrap());
    }
    for name in [
        "write read-write",
        "read nothing",
        "write nothing",
        "write read-only",
        "write code",
        "read write-only",
        "read execute-only",
        "read guarded",
        "write guarded, protected",
        "read freed",
        "write restored",
    ] {
        let Some(expected) = expected(name) else {
            skipped(test, &format!("`{name}` is not known of this processor"));
            continue;
        };
        let mut child = Helper::start(test, name);
        assert_eq!(child.line(), "ready");
        let status = child.wait();
        assert_eq!(died(status), expected, "{name}: {status:?}");
    }
}
