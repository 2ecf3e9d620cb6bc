//! What needs the failures of system calls. Each case in a process of its own: there is one handler for all of it.

crate::os::on_linux! {
    use super::{Installed, RawMemory, install, installed};
    use crate::os::inject::{fail_from, fail_nth, just_before};
    use crate::{ErrorKind, MmapOptions, Operation};
    use core::ffi::{c_int, c_void};
    use core::mem::MaybeUninit;
    use core::ptr;
    use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use libc::{SIGBUS, SIGSEGV};
    use std::format;

    /// A child process that runs the test of this name again, or `true` in that process.
    fn is_alone(test: &str) -> bool {
        if std::env::var("FOLIO_ALONE").is_ok_and(|name| name == test) {
            return true;
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("fault::tests::{test}"), "--nocapture"])
            .env("FOLIO_ALONE", test)
            .output()
            .unwrap();
        let said = std::string::String::from_utf8_lossy(&output.stdout);
        let complained = std::string::String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{:?} {said} {complained}", output.status);
        false
    }

    /// Whether there is a handler to install.
    fn is_handled() -> bool {
        crate::os::copying::WORDS
    }

    fn copies_survive() {
        let hole = MmapOptions::new(1).map_none().unwrap();
        // SAFETY: a mapping of this function.
        let memory = unsafe { RawMemory::new(hole.as_ptr(), hole.len()) };
        assert_eq!(memory.try_copy_to(7, &mut [0; 100]).unwrap_err().fault().unwrap().offset(), 7);
    }

    /// The handler and the flags of a signal.
    fn now(signal: c_int) -> (usize, c_int) {
        let mut found = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the place is writable; nothing is changed.
        assert_eq!(unsafe { libc::sigaction(signal, ptr::null(), found.as_mut_ptr()) }, 0);
        // SAFETY: filled in by the call.
        let found = unsafe { found.assume_init() };
        (found.sa_sigaction, found.sa_flags)
    }

    static SEEN: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn other(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        SEEN.fetch_add(if info.is_null() || context.is_null() { 1000 } else { 1 }, SeqCst);
    }

    fn handle_by_other(signal: c_int) {
        let mut new = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: numbers, of which zeroes are fine.
        let new = unsafe { new.assume_init_mut() };
        new.sa_sigaction = (other as *const ()).expose_provenance();
        new.sa_flags = libc::SA_SIGINFO;
        // SAFETY: a handler of this file, which counts.
        assert_eq!(unsafe { libc::sigaction(signal, new, ptr::null_mut()) }, 0);
    }

    fn raise(signal: c_int) {
        // SAFETY: there is a handler for it, which counts.
        unsafe { libc::raise(signal) };
    }

    /// Lets something happen just before the `n`-th call (from 0).
    fn before_nth(n: usize, act: fn()) {
        just_before("sigaction", move || match n {
            0 => act(),
            _ => before_nth(n - 1, act),
        });
    }

    #[test]
    fn a_refused_installation_leaves_all_as_it_was() {
        if !is_handled() || !is_alone("a_refused_installation_leaves_all_as_it_was") {
            return;
        }
        let before = [now(SIGSEGV), now(SIGBUS)];
        let mut refused = 0;
        loop {
            let (result, reached) = fail_nth(Some("sigaction"), refused, libc::EPERM, install);
            if !reached {
                result.unwrap();
                break;
            }
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.operation()), (ErrorKind::System, Operation::CatchFaults));
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            assert_eq!(installed().unwrap(), Installed::No);
            assert_eq!([now(SIGSEGV), now(SIGBUS)], before, "refused at {refused}");
            refused += 1;
        }
        assert_eq!(refused, 4);
        assert_eq!(installed().unwrap(), Installed::Yes);
        copies_survive();
        assert!(fail_nth(Some("sigaction"), 0, libc::EPERM, installed).0.is_err());
    }

    /// The error is that of the copy, then.
    #[test]
    fn a_copy_that_cannot_be_made_safe_is_not_made() {
        if !is_handled() || !is_alone("a_copy_that_cannot_be_made_safe_is_not_made") {
            return;
        }
        let bytes = [1_u8; 9];
        // SAFETY: a variable that nobody writes to.
        let memory = unsafe { RawMemory::new(bytes.as_ptr(), bytes.len()) };
        let mut copy = [0; 9];
        let (result, _) = fail_nth(Some("sigaction"), 1, libc::EPERM, || memory.try_copy_to(0, &mut copy));
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::System, Operation::Copy));
        assert_eq!(copy, [0; 9]);
        memory.try_copy_to(0, &mut copy).unwrap();
        assert_eq!(copy, [1; 9]);
    }

    /// What cannot be taken back either passes signals on, and is taken up by the next attempt.
    #[test]
    fn a_handler_that_must_stay_is_taken_up_again() {
        if !is_handled() || !is_alone("a_handler_that_must_stay_is_taken_up_again") {
            return;
        }
        handle_by_other(SIGSEGV);
        handle_by_other(SIGBUS);
        let (result, _) = fail_from(Some("sigaction"), 3, libc::EPERM, install);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::System);
        assert_eq!(installed().unwrap(), Installed::No);
        raise(SIGSEGV);
        raise(SIGBUS);
        assert_eq!(SEEN.load(SeqCst), 2);
        install().unwrap();
        raise(SIGSEGV);
        raise(SIGBUS);
        assert_eq!(SEEN.load(SeqCst), 4);
        copies_survive();
        assert_eq!((SEEN.load(SeqCst), installed().unwrap()), (4, Installed::Yes));
    }

    /// Trap: between looking and installing somebody else can install one.
    #[test]
    fn who_comes_in_between_is_passed_on_to() {
        if !is_handled() || !is_alone("who_comes_in_between_is_passed_on_to") {
            return;
        }
        // Refused when it comes to light: he stays.
        let bus = now(SIGBUS);
        before_nth(1, || handle_by_other(SIGSEGV));
        let (result, reached) = fail_nth(Some("sigaction"), 2, libc::EPERM, install);
        assert!(reached && result.is_err());
        let there = (other as *const ()).expose_provenance();
        assert_eq!((now(SIGSEGV).0, now(SIGBUS)), (there, bus));
        // The other signal.
        before_nth(3, || handle_by_other(SIGBUS));
        install().unwrap();
        for signal in [SIGSEGV, SIGBUS] {
            assert_eq!(now(signal).1 & (libc::SA_ONSTACK | libc::SA_RESTART), 0, "not his flags");
            raise(signal);
        }
        assert_eq!(SEEN.load(SeqCst), 2);
        copies_survive();
        assert_eq!((SEEN.load(SeqCst), installed().unwrap()), (2, Installed::Yes));
    }

    #[test]
    fn the_child_of_a_fork_in_the_midst_of_installing_can_install() {
        if !is_handled() || !is_alone("the_child_of_a_fork_in_the_midst_of_installing_can_install") {
            return;
        }
        handle_by_other(SIGSEGV);
        before_nth(3, || {
            // SAFETY: the child copies, and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // (In truth another thread forks, with its own mask.)
                let mut none = MaybeUninit::<libc::sigset_t>::zeroed();
                // SAFETY: a set that is there.
                unsafe { libc::sigemptyset(none.as_mut_ptr()) };
                // SAFETY: a set that is filled in.
                unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
                install().unwrap();
                raise(SIGSEGV);
                copies_survive();
                let good = SEEN.load(SeqCst) == 1 && installed().unwrap() == Installed::Yes;
                // SAFETY: ends this process.
                unsafe { libc::_exit(if good { 33 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: a child of this process.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 33));
        });
        install().unwrap();
        raise(SIGSEGV);
        assert_eq!(SEEN.load(SeqCst), 1);
        copies_survive();
    }

    /// No thread copies before the handler is there for all, and nobody is noted as his own former.
    #[test]
    fn many_threads_install_at_once() {
        if !is_handled() || !is_alone("many_threads_install_at_once") {
            return;
        }
        handle_by_other(SIGSEGV);
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    copies_survive();
                });
            }
        });
        assert_eq!(SEEN.load(SeqCst), 0);
        raise(SIGSEGV);
        assert_eq!((SEEN.load(SeqCst), installed().unwrap()), (1, Installed::Yes));
    }
}
