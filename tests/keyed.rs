//! Keyed pages as the machine treats them: what faults, what system calls may do, what threads, signal handlers and children of
//! a `fork` find open.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use common::{Helper, role, skipped};
use folio::{Capabilities, ErrorKind, KeyGuard, KeyGuardMut, KeyedPages, Operation, page};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys are few: one test of a process at a time. `None` where there are none, and the test is skipped.
fn keys(test: &str) -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    if !Capabilities::probe().protection_keys() {
        skipped(test, "no protection keys here");
        return None;
    }
    Some(ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Open {
    Closed,
    Read,
    Write,
}

/// What this thread may do with a byte, found out by system calls, which obey the thread's rights but end no process. Keeps what
/// the byte holds. May be called in signal handlers.
fn open(byte: *const u8) -> Open {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the kernel reads one byte, or says that it cannot.
    let written = unsafe { libc::write(ends[1], byte.cast(), 1) };
    let refused = std::io::Error::last_os_error().raw_os_error();
    let mut open = Open::Closed;
    if written == 1 {
        // SAFETY: the kernel writes what the byte holds already, or says that it cannot.
        let read = unsafe { libc::read(ends[0], byte.cast_mut().cast(), 1) };
        let refused = std::io::Error::last_os_error().raw_os_error();
        assert!(read == 1 || refused == Some(libc::EFAULT), "{refused:?}");
        open = if read == 1 { Open::Write } else { Open::Read };
    } else {
        assert_eq!(refused, Some(libc::EFAULT));
    }
    for end in ends {
        // SAFETY: ours, and closed once.
        unsafe { libc::close(end) };
    }
    open
}

fn start(pages: &KeyedPages) -> *const u8 {
    std::ptr::with_exposed_provenance(pages.as_range().start)
}

/// The first byte of pages that a test has open.
fn first(guard: &KeyGuard<'_>) -> u8 {
    let mut byte = [0];
    guard.read(0, &mut byte).unwrap();
    byte[0]
}

mod death {
    use super::*;

    /// Where the fault is expected: addresses of pages, and what else is reported is wrong.
    static EXPECTED: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));

    extern "C" fn handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel's own.
        let info = unsafe { &*info };
        // SAFETY: a SIGSEGV has an address.
        let address = unsafe { info.si_addr() }.addr();
        let here = EXPECTED.0.load(Ordering::Relaxed)..EXPECTED.1.load(Ordering::Relaxed);
        let code = if here.contains(&address) { 100 + info.si_code } else { 99 };
        // SAFETY: ends the process, as is allowed in a signal handler.
        unsafe { libc::_exit(code) }
    }

    /// From here on a fault in the pages ends the process with status 100 and its `si_code`.
    fn expect(pages: &KeyedPages) {
        let range = pages.as_range();
        EXPECTED.0.store(range.start, Ordering::Relaxed);
        EXPECTED.1.store(range.end, Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handler;
        // SAFETY: an all-zero sigaction is a valid one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler calls only what may be called in one.
        let done = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
        assert_eq!(done, 0);
    }

    fn load(place: *const u8) -> u8 {
        // SAFETY: mapped; the fault that the test wants ends the process.
        unsafe { place.read_volatile() }
    }

    fn store(place: *const u8, value: u8) {
        // SAFETY: as in `load`.
        unsafe { place.cast_mut().write_volatile(value) }
    }

    /// What each child does: the last line of each must not be survived.
    fn die(case: &str) {
        let mut pages = KeyedPages::new(3).unwrap();
        expect(&pages);
        let place = start(&pages);
        match case {
            "never opened, read" => drop(load(place)),
            "never opened, written" => store(place, 1),
            "beside, never opened" => {
                let beside = pages.beside(1).unwrap();
                expect(&beside);
                load(start(&beside));
            }
            "written while open for reading" => {
                let guard = pages.open();
                assert_eq!(load(guard.as_ptr()), 0);
                store(place, 1);
            }
            "read after the guard was dropped" => {
                let mut guard = pages.open_mut();
                store(guard.as_mut_ptr(), 5);
                assert_eq!(load(guard.as_ptr()), 5);
                drop(guard);
                load(place);
            }
            "written after only the reader is left" => {
                let other = pages.beside(1).unwrap();
                let reader = other.open();
                let mut writer = pages.open_mut();
                store(writer.as_mut_ptr(), 5);
                drop(writer);
                assert_eq!((load(place), first(&reader)), (5, 0));
                store(place, 1);
            }
            "older thread" => {
                drop(pages);
                let (give, take) = channel();
                let older =
                    std::thread::spawn(move || load(std::ptr::with_exposed_provenance(take.recv().unwrap())));
                // The thread is there, and waits.
                std::thread::sleep(std::time::Duration::from_millis(20));
                let pages = KeyedPages::new(1).unwrap();
                expect(&pages);
                let guard = pages.open();
                assert_eq!(load(guard.as_ptr()), 0);
                give.send(pages.as_range().start).unwrap();
                older.join().unwrap();
            }
            "slice of another thread" => {
                let guard = pages.open();
                // SAFETY: breaks the promise: that is the test.
                let slice = unsafe { guard.as_slice() };
                assert_eq!(slice[0], 0);
                let (give, take) = channel::<&[u8]>();
                std::thread::scope(|scope| {
                    // Its rights are closed as this is, by a guard of its own; `KeyedPages` may go to other threads.
                    let pages = &pages;
                    scope.spawn(move || {
                        drop(pages.open());
                        load(take.recv().unwrap().as_ptr())
                    });
                    give.send(slice).unwrap();
                });
            }
            "signal handler" => {
                extern "C" fn touch(_: libc::c_int) {
                    load(std::ptr::with_exposed_provenance(EXPECTED.0.load(Ordering::Relaxed)));
                }
                let _guard = pages.open_mut();
                on_signal(libc::SIGUSR1, touch);
                // SAFETY: the handler does what the test wants.
                unsafe { libc::raise(libc::SIGUSR1) };
            }
            "mprotect leaves the key" => {
                for protection in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
                    // SAFETY: pages of ours, with no reference into them.
                    let done = unsafe { libc::mprotect(place.cast_mut().cast(), page::size(), protection) };
                    assert_eq!(done, 0);
                }
                pages.open_mut().write(0, &[1]).unwrap();
                load(place);
            }
            other => panic!("{other}"),
        }
        println!("survived: {case}");
    }

    #[test]
    fn what_is_closed_ends_the_process() {
        let test = "death::what_is_closed_ends_the_process";
        let Some(_one) = keys(test) else { return };
        if let Some(case) = role() {
            die(case.to_str().unwrap());
            std::process::exit(1);
        }
        for case in [
            "never opened, read",
            "never opened, written",
            "beside, never opened",
            "written while open for reading",
            "read after the guard was dropped",
            "written after only the reader is left",
            "older thread",
            "slice of another thread",
            "signal handler",
            "mprotect leaves the key",
        ] {
            let mut helper = Helper::start(test, case);
            let status = helper.child.wait().unwrap();
            /// `SEGV_PKUERR` of `asm-generic/siginfo.h`.
            const BY_KEY: i32 = 4;
            assert_eq!(status.code(), Some(100 + BY_KEY), "{case}: {status}");
        }
    }
}

fn on_signal(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handlers of these tests call only what may be called in one.
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
}

/// Three guards of one key, in every order of making and dropping.
#[test]
fn guards_nest_in_any_order() {
    let Some(_one) = keys("guards_nest_in_any_order") else { return };
    enum Guard<'a> {
        Reading(#[expect(dead_code, reason = "held")] KeyGuard<'a>),
        Writing(#[expect(dead_code, reason = "held")] KeyGuardMut<'a>),
    }
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for kinds in 0..8_u32 {
        for order in orders {
            let first = KeyedPages::new(1).unwrap();
            let place = start(&first);
            let mut all = [first.beside(1).unwrap(), first.beside(1).unwrap(), first];
            let writes = |index: usize| kinds & (1 << index) != 0;
            let mut held: Vec<_> = all
                .iter_mut()
                .enumerate()
                .map(|(index, pages)| {
                    Some(match writes(index) {
                        true => Guard::Writing(pages.open_mut()),
                        false => Guard::Reading(pages.open()),
                    })
                })
                .collect();
            for dropped in order {
                let most = (0..3).filter(|&index| held[index].is_some()).map(|index| match writes(index) {
                    true => Open::Write,
                    false => Open::Read,
                });
                assert_eq!(Some(open(place)), most.max(), "{kinds:b} {order:?} {dropped}");
                held[dropped] = None;
            }
            assert_eq!(open(place), Open::Closed);
        }
    }
}

/// `read` and `write` of the system obey the thread's rights; `/proc/self/mem` and `process_vm_readv` go through.
#[test]
fn system_calls_obey_the_key_and_foreign_access_does_not() {
    let Some(_one) = keys("system_calls_obey_the_key_and_foreign_access_does_not") else { return };
    let mut pages = KeyedPages::new(1).unwrap();
    let place = start(&pages);
    assert_eq!(open(place), Open::Closed);
    let guard = pages.open();
    assert_eq!(open(place), Open::Read);
    drop(guard);
    let mut guard = pages.open_mut();
    guard.write(0, b"abc").unwrap();
    assert_eq!(open(place), Open::Write);
    drop(guard);
    assert_eq!(open(place), Open::Closed);

    let file = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    let at = u64::try_from(place.addr()).unwrap();
    let written = file.write_at(b"xyz", at);
    if matches!(written, Ok(3)) {
        let mut copy = [0; 3];
        pages.open().read(0, &mut copy).unwrap();
        assert_eq!(&copy, b"xyz");
    } else {
        skipped(
            "system_calls_obey_the_key_and_foreign_access_does_not",
            &format!("/proc/self/mem: {written:?}"),
        );
        pages.open_mut().write(0, b"xyz").unwrap();
    }
    let mut copy = [0_u8; 3];
    let into = libc::iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: 3 };
    let from = libc::iovec { iov_base: place.cast_mut().cast(), iov_len: 3 };
    // SAFETY: no precondition.
    let this = unsafe { libc::getpid() };
    // SAFETY: `into` is writable, and the kernel checks `from`.
    let read = unsafe { libc::process_vm_readv(this, &raw const into, 1, &raw const from, 1, 0) };
    if read == 3 {
        assert_eq!(&copy, b"xyz");
    } else {
        let error = std::io::Error::last_os_error();
        skipped(
            "system_calls_obey_the_key_and_foreign_access_does_not",
            &format!("process_vm_readv: {error}"),
        );
    }
    assert_eq!(open(place), Open::Closed);
}

/// Threads that are there before the key have it closed, and open it for themselves alone.
#[test]
fn an_older_thread_has_the_key_closed_and_opens_it_for_itself() {
    let Some(_one) = keys("an_older_thread_has_the_key_closed_and_opens_it_for_itself") else { return };
    let (give, take) = channel::<std::sync::Arc<KeyedPages>>();
    let (answer, hear) = channel();
    let older = std::thread::spawn(move || {
        for pages in take {
            let before = open(start(&pages));
            let guard = pages.open();
            let during = (open(start(&pages)), first(&guard));
            drop(guard);
            answer.send((before, during, open(start(&pages)))).unwrap();
        }
    });
    let mut pages = KeyedPages::new(1).unwrap();
    pages.open_mut().write(0, &[9]).unwrap();
    let pages = std::sync::Arc::new(pages);
    let guard = pages.open();
    give.send(pages.clone()).unwrap();
    assert_eq!(hear.recv().unwrap(), (Open::Closed, (Open::Read, 9), Open::Closed));
    assert_eq!((open(start(&pages)), first(&guard)), (Open::Read, 9));
    drop(guard);
    assert_eq!(open(start(&pages)), Open::Closed);
    give.send(pages.clone()).unwrap();
    assert_eq!(hear.recv().unwrap(), (Open::Closed, (Open::Read, 9), Open::Closed));
    drop(give);
    older.join().unwrap();
}

/// Trap: a thread spawned while a guard is open inherits the open register. Its first guard that is dropped closes it.
#[test]
fn a_new_thread_inherits_until_its_first_guard_is_dropped() {
    let Some(_one) = keys("a_new_thread_inherits_until_its_first_guard_is_dropped") else { return };
    let mut pages = KeyedPages::new(1).unwrap();
    let beside = pages.beside(1).unwrap();
    let guard = pages.open_mut();
    let place = guard.as_ptr().expose_provenance();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let place = std::ptr::with_exposed_provenance(place);
            assert_eq!(open(place), Open::Write);
            // A guard for reading is one for reading.
            let reader = beside.open();
            assert_eq!((open(place), first(&reader)), (Open::Read, 0));
            drop(reader);
            assert_eq!(open(place), Open::Closed);
        });
    });
    assert_eq!(open(guard.as_ptr()), Open::Write);
    drop(guard);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(open(std::ptr::with_exposed_provenance(place)), Open::Closed));
    });
}

/// Pages may go to another thread and be dropped there; the key comes back all the same.
#[test]
fn pages_may_be_sent_and_shared() {
    let Some(_one) = keys("pages_may_be_sent_and_shared") else { return };
    let mut pages = KeyedPages::new(1).unwrap();
    pages.open_mut().write(0, &[3]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..common::rounds(2000) {
                    assert_eq!(first(&pages.open()), 3);
                }
                assert_eq!(open(start(&pages)), Open::Closed);
            });
        }
    });
    let sent = std::thread::spawn(move || {
        pages.open_mut().write(0, &[4]).unwrap();
        assert_eq!(first(&pages.open()), 4);
    });
    sent.join().unwrap();
}

/// A signal handler finds everything closed, whatever the interrupted code has open; its own guards work, and leave no trace.
#[test]
fn a_signal_handler_has_rights_of_its_own() {
    static PAGES: AtomicPtr<KeyedPages> = AtomicPtr::new(std::ptr::null_mut());
    static RIGHT: AtomicUsize = AtomicUsize::new(0);
    static WRONG: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn handler(_: libc::c_int) {
        // SAFETY: a valid pointer, set before the signal comes; only shared borrows are alive.
        let pages = unsafe { &*PAGES.load(Ordering::Relaxed) };
        let place = start(pages);
        let before = open(place);
        let guard = pages.open();
        let during = (open(place), first(&guard));
        let right = before == Open::Closed && during == (Open::Read, 6);
        (if right { &RIGHT } else { &WRONG }).fetch_add(1, Ordering::Relaxed);
    }

    let test = "a_signal_handler_has_rights_of_its_own";
    let Some(_one) = keys(test) else { return };
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let mut pages = KeyedPages::new(1).unwrap();
    pages.open_mut().write(0, &[6]).unwrap();
    let pages = &pages;
    PAGES.store(std::ptr::from_ref(pages).cast_mut(), Ordering::Relaxed);
    on_signal(libc::SIGUSR1, handler);
    let raise = || {
        // SAFETY: the handler is there.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR1) }, 0);
    };
    let place = start(pages);
    raise();
    assert_eq!(open(place), Open::Closed);
    let guard = pages.open();
    raise();
    assert_eq!((open(place), first(&guard)), (Open::Read, 6));
    drop(guard);
    assert_eq!(open(place), Open::Closed);
    assert_eq!((RIGHT.load(Ordering::Relaxed), WRONG.load(Ordering::Relaxed)), (2, 0));

    // At any point of opening and closing.
    let done = AtomicI32::new(0);
    // SAFETY: no precondition.
    let this = unsafe { libc::pthread_self() } as usize; // A number with glibc, a pointer with musl.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while done.load(Ordering::Relaxed) == 0 {
                // SAFETY: the thread waits for this one at the end of the scope.
                unsafe { libc::pthread_kill(this as libc::pthread_t, libc::SIGUSR1) };
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
        });
        let started = std::time::Instant::now();
        let wanted = common::rounds(500) as usize;
        while RIGHT.load(Ordering::Relaxed) < wanted && started.elapsed().as_secs() < 20 {
            for _ in 0..1000 {
                let outer = pages.open();
                let inner = pages.open();
                assert_eq!(first(&outer), 6);
                drop(outer);
                assert_eq!(first(&inner), 6);
            }
            assert_eq!(open(place), Open::Closed);
        }
        done.store(1, Ordering::Relaxed);
        assert!(RIGHT.load(Ordering::Relaxed) >= wanted);
    });
    assert_eq!(WRONG.load(Ordering::Relaxed), 0);
}

/// In the child of a `fork`, pages, keys and the guards of the thread that forked are copies: neither process hears of what
/// becomes of the other's.
#[test]
fn the_child_of_a_fork_has_copies_of_everything() {
    let test = "the_child_of_a_fork_has_copies_of_everything";
    let Some(_one) = keys(test) else { return };
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let mut pages = KeyedPages::new(1).unwrap();
    let place = start(&pages);
    pages.open_mut().write(0, &[1]).unwrap();
    let other = pages.beside(1).unwrap();
    let guard = other.open();
    let mut failed = 1;
    // SAFETY: the child uses memory of its own and ends by `_exit`; glibc and musl keep their allocators usable in it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!((open(place), first(&guard)), (Open::Read, 0));
            drop(guard);
            assert_eq!(open(place), Open::Closed);
            assert_eq!(first(&pages.open()), 1);
            pages.open_mut().write(0, &[2]).unwrap();
            assert_eq!(first(&pages.open()), 2);
            assert_eq!(open(place), Open::Closed);
            // The keys are counted anew for the child: all but the one can be had.
            let others: Vec<_> = std::iter::from_fn(|| KeyedPages::new(1).ok()).collect();
            assert_eq!(others.len(), 14);
            drop(others);
            assert_eq!(KeyedPages::new(1).unwrap().len(), page::size());
        }));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(tried.is_err())) }
    }
    // SAFETY: our child, and `failed` is writable.
    unsafe { libc::waitpid(child, &raw mut failed, 0) };
    assert_eq!(failed, 0);
    assert_eq!((open(place), first(&guard), first(&pages.open())), (Open::Read, 0, 1));
    drop(guard);
    assert_eq!(open(place), Open::Closed);
}

/// Trap: a freed key is given out again while pages still carry it. And the error of the 16th says what to do.
#[test]
fn keys_run_out_and_come_back_with_their_last_pages() {
    let test = "keys_run_out_and_come_back_with_their_last_pages";
    let Some(_one) = keys(test) else { return };
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let all = || -> Vec<KeyedPages> { std::iter::from_fn(|| KeyedPages::new(1).ok()).collect() };
    let exhausted = || {
        let error = KeyedPages::new(1).unwrap_err();
        assert_eq!((error.operation(), error.kind()), (Operation::Key, ErrorKind::Exhausted), "{error}");
        assert_eq!((error.limit(), error.in_use()), (Some(15), Some(15)));
        assert!(error.remedy().unwrap().contains("beside"), "{error}");
    };
    for _ in 0..3 {
        let mut pages = all();
        assert_eq!(pages.len(), 15);
        exhausted();
        // More pages need no more keys.
        let beside = pages[7].beside(5 * page::size()).unwrap();
        assert_eq!(beside.len(), 5 * page::size());
        drop(pages.swap_remove(7));
        exhausted();
        assert_eq!(first(&beside.open()), 0);
        drop(beside);
        pages.push(KeyedPages::new(1).unwrap());
        exhausted();
        drop(pages.split_off(10));
        assert_eq!(all().len(), 5);
    }
    // Nothing is left mapped that carries a key.
    let kept = std::fs::read_to_string("/proc/self/smaps").unwrap();
    assert!(kept.contains("ProtectionKey:"));
    let mut carried = kept.lines().filter_map(|line| line.strip_prefix("ProtectionKey:"));
    assert!(carried.all(|key| key.trim() == "0"));
}

/// Trap: what a forgotten guard counted must not hold open the pages of the next owner of the key's number.
#[test]
fn a_forgotten_guard_is_forgotten_with_its_key() {
    let test = "a_forgotten_guard_is_forgotten_with_its_key";
    let Some(_one) = keys(test) else { return };
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let (give, take) = channel::<std::sync::Arc<KeyedPages>>();
    let (answer, hear) = channel();
    let other = std::thread::spawn(move || {
        let pages = take.recv().unwrap();
        std::mem::forget(pages.open());
        drop(pages);
        answer.send(Open::Read).unwrap();
        let pages = take.recv().unwrap();
        // Documented: the register of a thread that has forgotten a guard stays open, for the number's next owner too, until ...
        answer.send(open(start(&pages))).unwrap();
        drop(pages.open());
        answer.send(open(start(&pages))).unwrap();
    });
    let pages = std::sync::Arc::new(KeyedPages::new(1).unwrap());
    give.send(pages.clone()).unwrap();
    std::mem::forget(pages.open());
    hear.recv().unwrap();
    assert_eq!(open(start(&pages)), Open::Read);
    drop(pages.open());
    assert_eq!(open(start(&pages)), Open::Read);
    drop(pages);

    let mut pages = KeyedPages::new(1).unwrap();
    assert_eq!(open(start(&pages)), Open::Closed);
    pages.open_mut().write(0, &[1]).unwrap();
    assert_eq!(open(start(&pages)), Open::Closed);
    let pages = std::sync::Arc::new(pages);
    give.send(pages.clone()).unwrap();
    assert_eq!(hear.recv().unwrap(), Open::Read);
    assert_eq!(hear.recv().unwrap(), Open::Closed);
    other.join().unwrap();
}

/// All of a larger area is zero at first, and holds what is written, to the last byte.
#[test]
fn large_areas_hold_what_is_written() {
    let Some(_one) = keys("large_areas_hold_what_is_written") else { return };
    let mut pages = KeyedPages::new(4 << 20).unwrap();
    let len = pages.len();
    let mut guard = pages.open_mut();
    let mut copy = vec![1; len];
    guard.read(0, &mut copy).unwrap();
    assert!(copy.iter().all(|&byte| byte == 0));
    for (index, byte) in copy.iter_mut().enumerate() {
        *byte = u8::try_from(index % 251).unwrap();
    }
    guard.write(0, &copy).unwrap();
    drop(guard);
    let guard = pages.open();
    // SAFETY: used on this thread, while the guard lives.
    assert_eq!(unsafe { guard.as_slice() }, copy);
}

/// Locking reads pages in, which takes the rights of the thread that locks them.
#[test]
fn closed_pages_cannot_be_locked() {
    let Some(_one) = keys("closed_pages_cannot_be_locked") else { return };
    let mut pages = KeyedPages::new(3 * page::size()).unwrap();
    let (place, len) = (start(&pages), pages.len());
    let error = folio::lock(place, len).unwrap_err();
    assert_eq!((error.operation(), error.kind()), (Operation::Lock, ErrorKind::NotPermitted), "{error}");
    assert!(error.to_string().contains("protection key"), "{error}");
    let reading = pages.open();
    assert!(folio::lock(place, len).is_err());
    drop(reading);
    let writing = pages.open_mut();
    let locked = folio::lock(place, len).unwrap();
    drop(writing);
    // Unlocking touches nothing.
    locked.unlock().unwrap();
}

/// Destructors of thread-locals open pages as all other code does.
#[test]
fn a_destructor_of_a_thread_local_may_open_pages() {
    struct Last(std::cell::RefCell<Option<(KeyedPages, std::sync::mpsc::Sender<u8>)>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let Some((pages, answer)) = self.0.take() else { return };
            answer.send(first(&pages.open())).unwrap();
        }
    }
    std::thread_local! {
        static LAST: Last = const { Last(std::cell::RefCell::new(None)) };
    }
    let Some(_one) = keys("a_destructor_of_a_thread_local_may_open_pages") else { return };
    let (answer, hear) = channel();
    std::thread::spawn(move || {
        LAST.with(|last| {
            let mut pages = KeyedPages::new(1).unwrap();
            pages.open_mut().write(0, &[5]).unwrap();
            *last.0.borrow_mut() = Some((pages, answer));
        });
    })
    .join()
    .unwrap();
    assert_eq!(hear.recv(), Ok(5));
}
