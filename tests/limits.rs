//! Real limits, each in a process of its own: address space, the number of mappings, calls that a sandbox refuses.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use common::{Helper, role, skipped};
use folio::{
    Allocation, ErrorKind, Limits, Operation, Protection, alloc, alloc_at, page, protect,
    protect_with_handle, query,
};
use std::ptr::without_provenance;

fn child(test: &str, body: impl FnOnce()) {
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    body();
}

#[test]
fn beyond_the_limit_of_address_space_the_error_names_it() {
    child("beyond_the_limit_of_address_space_the_error_names_it", || {
        // Where there was room a moment ago: a number of our own may lie in a heap placed at random.
        let room = alloc(256 << 20, Protection::NONE).unwrap().as_ptr::<u8>().addr();
        let used = Limits::current().unwrap().address_space().unwrap();
        let most = used + (64 << 20);
        #[allow(clippy::useless_conversion, reason = "the width differs between processors")]
        let limit = libc::rlimit { rlim_cur: most.try_into().unwrap(), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: lowers the soft limit of this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        for error in [
            alloc(256 << 20, Protection::READ_WRITE).unwrap_err(),
            alloc_at(without_provenance::<u8>(room), 256 << 20, Protection::READ_WRITE).unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.operation()),
                (ErrorKind::Exhausted, Operation::Allocate),
                "{error}"
            );
            assert_eq!(error.limit(), Some(most), "{error}");
            assert!(error.in_use().unwrap() <= most && error.in_use().unwrap() >= used / 2, "{error}");
            assert!(error.remedy().unwrap().contains("RLIMIT_AS"), "{error}");
        }
        alloc(1 << 20, Protection::READ_WRITE).unwrap();
    });
}

/// Pages of which every other has another protection, until the system gives no more mappings.
fn fill(filler: &Allocation) -> folio::Error {
    let pages = filler.len() / page::size();
    let at = |index: usize| filler.as_ptr::<u8>().wrapping_add(index * page::size());
    // From within, a change makes two mappings more; where that is too much, one at the edge of a mapping still makes one.
    let mut last = None;
    let mut index = 1;
    while index < pages - 1 {
        // SAFETY: pages of this test's own, to which nobody has references.
        if let Err(error) = unsafe { protect(at(index), page::size(), Protection::READ) } {
            last = Some(error);
            break;
        }
        index += 2;
    }
    let mut edge = pages - 1;
    while index < edge {
        // SAFETY: as above.
        if let Err(error) = unsafe { protect(at(edge), page::size(), Protection::READ) } {
            let before = query(at(edge)).unwrap().protection();
            assert_eq!((before, error.changed()), (Protection::NONE, None));
            return error;
        }
        // The next edge is that of the rest.
        edge -= 1;
        // SAFETY: as above.
        if let Err(error) = unsafe { protect(at(edge), page::size(), Protection::READ_WRITE) } {
            return error;
        }
        edge -= 1;
    }
    last.unwrap()
}

/// Trap: undoing can fail. A split by `protect` uses up mappings, and giving back can hit the limit.
#[test]
fn where_mappings_are_used_up_undoing_says_so_and_nothing_is_lost() {
    let test = "where_mappings_are_used_up_undoing_says_so_and_nothing_is_lost";
    child(test, || {
        let most = Limits::current().unwrap().max_mappings().unwrap();
        if most > 100_000 {
            return skipped(test, &format!("a process may have {most} mappings here: too many to use up"));
        }
        let filler = alloc((usize::try_from(most).unwrap() + 100) * page::size(), Protection::NONE).unwrap();
        // A guard over three mappings, which make one while it holds.
        let three = alloc(5 * page::size(), Protection::READ_WRITE).unwrap();
        let at = |index: usize| three.as_ptr::<u8>().wrapping_add(index * page::size());
        // SAFETY: pages of this test's own, to which nobody has references.
        unsafe { protect(at(2), page::size(), Protection::READ).unwrap() };
        // SAFETY: as above.
        let held = unsafe { protect_with_handle(at(1), 3 * page::size(), Protection::NONE) }.unwrap();
        // Three allocations that the kernel keeps as one mapping.
        let spare = alloc(6 * page::size(), Protection::READ).unwrap();
        let place = spare.as_ptr::<u8>();
        drop(spare);
        let parts: Vec<_> = (0..3)
            .map(|index| place.wrapping_add(2 * index * page::size()))
            .map(|place| alloc_at(place, 2 * page::size(), Protection::READ).unwrap())
            .collect();
        assert!(query(place).unwrap().len() >= 6 * page::size());

        let error = fill(&filler);
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Exhausted, Operation::Protect), "{error}");
        assert_eq!(error.limit(), Some(most), "{error}");
        assert!((most - 4..=most + 2).contains(&error.in_use().unwrap()), "{error}");
        assert!(error.remedy().unwrap().contains("max_map_count"), "{error}");

        let [first, middle, last] = <[Allocation; 3]>::try_from(parts).unwrap();
        let (middle, error) = middle.free().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Exhausted, Operation::Free), "{error}");
        let address = middle.as_ptr::<u8>();
        // Reported, kept for later, and no panic.
        drop(middle);
        assert!(query(address).is_ok());

        let error = held.restore().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Exhausted, Operation::Restore), "{error}");

        drop(filler);
        // There is room again: the next allocation gives back what waited.
        let _other = alloc(64 * page::size(), Protection::NONE).unwrap();
        for page in [address, address.wrapping_add(page::size())] {
            assert_eq!(query(page).unwrap_err().kind(), ErrorKind::Unmapped);
        }
        drop((first, last));
        assert_eq!(query(place).unwrap_err().kind(), ErrorKind::Unmapped);
    });
}

/// From here on a call answers `EPERM` in this thread.
fn refuse(call: libc::c_long) {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        line(LOAD_NUMBER, 0, 0, 0),
        line(JUMP_IF_EQUAL, 0, 1, u32::try_from(call).unwrap()),
        line(RETURN, 0, 0, REFUSE),
        line(RETURN, 0, 0, ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: gives up gaining rights, for this process, which is the test's own.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program is four lines long, and lets every other call through.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn what_a_sandbox_refuses_is_an_error_and_leaves_all_as_it_was() {
    child("what_a_sandbox_refuses_is_an_error_and_leaves_all_as_it_was", || {
        let memory = alloc(3 * page::size(), Protection::READ_WRITE).unwrap();
        let place = memory.as_ptr::<u8>();
        refuse(libc::SYS_mprotect);
        // SAFETY: refused.
        let error = unsafe { protect(place, 1, Protection::READ) }.unwrap_err();
        assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
        // SAFETY: refused.
        let error = unsafe { protect_with_handle(place, 1, Protection::READ) }.unwrap_err();
        assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
        assert_eq!(query(place).unwrap().protection(), Protection::READ_WRITE);

        refuse(libc::SYS_mlock);
        let error = folio::lock(place, 1).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::NotPermitted, Operation::Lock), "{error}");

        refuse(libc::SYS_munmap);
        let (memory, error) = memory.free().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::NotPermitted, Operation::Free), "{error}");
        assert!(query(place).is_ok());
        drop(memory);
    });
}
