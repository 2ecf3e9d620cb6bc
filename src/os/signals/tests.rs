//! What is decided without a signal.

use super::chain::{Former, in_front_of};
use super::{FaultKind, is_late, kind, of_fault};
use core::ffi::c_int;
use core::mem::MaybeUninit;
use libc::{SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART, SA_SIGINFO, SIGBUS, SIGSEGV, SIGUSR1};

fn action(handler: usize, flags: c_int) -> libc::sigaction {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: numbers, of which zeroes are fine.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a set that is there.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, SIGUSR1) };
    *action
}

fn holds_back(action: &libc::sigaction) -> bool {
    // SAFETY: a set that is there.
    unsafe { libc::sigismember(&raw const action.sa_mask, SIGUSR1) == 1 }
}

#[test]
fn flags_and_mask_of_a_handler_are_taken_over() {
    for flags in [0, SA_NODEFER, SA_ONSTACK, SA_RESTART, SA_NODEFER | SA_ONSTACK | SA_RESTART] {
        for own in [0, SA_SIGINFO, SA_RESETHAND] {
            let new = in_front_of(&action(0x1000, flags | own), 0x2000);
            assert_eq!((new.sa_sigaction, new.sa_flags), (0x2000, flags | SA_SIGINFO));
            assert!(holds_back(&new));
        }
    }
}

#[test]
fn before_nobody_our_own_flags_are_used() {
    for handler in [libc::SIG_DFL, libc::SIG_IGN] {
        let new = in_front_of(&action(handler, SA_NODEFER | SA_RESETHAND), 0x2000);
        assert_eq!((new.sa_sigaction, new.sa_flags), (0x2000, SA_SIGINFO | SA_ONSTACK | SA_RESTART));
        assert!(!holds_back(&new));
    }
}

#[test]
fn who_is_to_run_once_is_given_once() {
    let former = Former::new();
    assert_eq!(former.take(), (libc::SIG_DFL, 0));
    former.set(0x1000, SA_RESETHAND | SA_SIGINFO);
    assert_eq!(former.take(), (0x1000, SA_RESETHAND | SA_SIGINFO));
    assert_eq!(former.take(), (libc::SIG_DFL, 0));
    former.set(0x2000, SA_RESETHAND);
    assert_eq!([former.take(), former.take()], [(0x2000, SA_RESETHAND), (libc::SIG_DFL, 0)]);
    former.set(0x3000, SA_SIGINFO);
    assert_eq!([former.take(), former.take()], [(0x3000, SA_SIGINFO); 2]);
    // "Once" is nothing to those that do not run.
    former.set(libc::SIG_IGN, SA_RESETHAND);
    assert_eq!([former.take(), former.take()], [(libc::SIG_IGN, SA_RESETHAND); 2]);
}

/// Trap: `si_code <= 0` is a signal that somebody sends (FreeBSD and Apple: 0x10001).
#[test]
fn codes_of_faults_are_known() {
    for code in [0, -1, -6, -60, 0x1_0001, 0x1_0005] {
        assert_eq!(of_fault(code), None);
    }
    for code in [1, 2, 3, 4, 8, 0x80, 100] {
        assert_eq!(of_fault(code), Some(code));
    }
    assert_eq!(kind(SIGSEGV, 1), FaultKind::NotMapped);
    assert_eq!(kind(SIGSEGV, 0x80), FaultKind::NotMapped);
    for code in [2, 4, 9] {
        assert_eq!(kind(SIGSEGV, code), FaultKind::NotPermitted);
    }
    assert_eq!([kind(SIGBUS, 2), kind(SIGBUS, 3)], [FaultKind::NoBacking; 2]);
    assert_eq!(kind(SIGBUS, 4), FaultKind::HardwarePoison);
    assert_eq!([kind(SIGSEGV, 3), kind(SIGBUS, 1)], [FaultKind::Other; 2]);
    for (signal, code, late) in
        [(SIGBUS, 5, true), (SIGBUS, 4, false), (SIGSEGV, 8, true), (SIGSEGV, 5, false), (SIGBUS, 8, false)]
    {
        assert_eq!(is_late(signal, code), late, "{signal} {code}");
    }
}
