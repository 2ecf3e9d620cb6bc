//! Code memory where the system forbids code, or some ways to it: errors, and nobody dies.
#![cfg(all(feature = "allow_exec", any(target_os = "linux", target_os = "android")))]

mod common;

use common::{Helper, role, skipped};
use folio::{Capabilities, CodeMemory, CodeOptions, CodeStrategy, ErrorKind, Operation};

/// What a filter says to those who want executable memory.
#[derive(Clone, Copy)]
enum Answer {
    Error,
    Death,
}

/// From here on calls with an argument that has one of these bits are answered so, in this thread.
fn forbid(calls: &[libc::c_long], argument: u32, bits: u32, answer: Answer) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_BITS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    let forbidden = match answer {
        Answer::Error => 0x0005_0000 | libc::EPERM as u32,
        Answer::Death => 0x8000_0000,
    };
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![line(LOAD, 0, 0, 0)];
    for (index, &call) in calls.iter().enumerate() {
        // To behind `ALLOW`.
        let ahead = u8::try_from(calls.len() - index).unwrap();
        filter.push(line(JUMP_IF_EQUAL, ahead, 0, u32::try_from(call).unwrap()));
    }
    // The lower half of the argument, behind number, architecture and place.
    let half = if cfg!(target_endian = "little") { 0 } else { 4 };
    filter.extend([
        line(RETURN, 0, 0, ALLOW),
        line(LOAD, 0, 0, 16 + 8 * argument + half),
        line(JUMP_IF_BITS, 0, 1, bits),
        line(RETURN, 0, 0, forbidden),
        line(RETURN, 0, 0, ALLOW),
    ]);
    let program = libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: gives up gaining rights, for this process, which is the test's own.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: a program of that many lines.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const MAP: libc::c_long = libc::SYS_mmap;
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const MAP: libc::c_long = libc::SYS_mmap2;

// libc leaves it out there (`<asm/unistd.h>`).
#[cfg(target_arch = "powerpc64")]
const PKEY_PROTECT: libc::c_long = 386;
#[cfg(not(target_arch = "powerpc64"))]
const PKEY_PROTECT: libc::c_long = libc::SYS_pkey_mprotect;

fn forbid_execution(answer: Answer) {
    forbid(&[MAP, libc::SYS_mprotect, PKEY_PROTECT], 2, libc::PROT_EXEC as u32, answer);
}

fn in_child(test: &str, body: impl FnOnce()) {
    match role() {
        None => Helper::start(test, "child").finish(),
        Some(_) => body(),
    }
}

fn strategies() -> Vec<CodeStrategy> {
    vec![
        CodeStrategy::Dual,
        CodeStrategy::Toggle,
        #[cfg(not(feature = "deny_xw"))]
        CodeStrategy::ProtectionKey,
        #[cfg(not(feature = "deny_xw"))]
        CodeStrategy::MapJit,
    ]
}

/// Everything that makes code fails, with an error that says why.
fn all_is_forbidden() {
    let here = Capabilities::probe();
    for strategy in strategies() {
        assert!(!here.code(strategy), "{strategy:?}");
    }
    for options in [CodeOptions::new(1), CodeOptions::new(1).prefer(CodeStrategy::Toggle)] {
        let error = options.map().unwrap_err();
        assert!(
            matches!(error.operation(), Operation::Allocate | Operation::Publish)
                && error.kind() == ErrorKind::NotPermitted,
            "{error}"
        );
    }
    for strategy in strategies() {
        let code = match CodeOptions::new(1).strategy(strategy).map() {
            Ok(code) => code,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::NotPermitted | ErrorKind::Unsupported),
                    "{strategy:?}: {error}"
                );
                continue;
            }
        };
        // Asked about each change: the draft comes back, and nothing is taken.
        let mut draft = code.draft(64).unwrap();
        draft.fill(7);
        let (draft, error) = draft.publish().unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::NotPermitted, Operation::Publish),
            "{error}"
        );
        assert!(draft.iter().all(|&byte| byte == 7));
        drop(draft);
        assert_eq!((code.usage().used, code.usage().pieces), (0, 0));
    }
}

#[test]
fn a_filter_that_refuses_execution_is_an_error() {
    in_child("a_filter_that_refuses_execution_is_an_error", || {
        forbid_execution(Answer::Error);
        all_is_forbidden();
    });
}

/// A filter that ends the process for it: a child process dies instead.
#[test]
fn a_filter_that_kills_is_an_error_all_the_same() {
    in_child("a_filter_that_kills_is_an_error_all_the_same", || {
        forbid_execution(Answer::Death);
        all_is_forbidden();
        let error = CodeMemory::new(1).unwrap_err();
        assert!(error.to_string().contains("seccomp"), "{error}");
        // The child is nobody's business but ours: there is none to be waited for.
        // SAFETY: writes nothing.
        let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
        assert_eq!((waited, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
    });
}

/// Where there is a filter that does not mind, the trial costs a child, and changes nothing.
#[test]
fn a_filter_that_does_not_mind_changes_nothing() {
    in_child("a_filter_that_does_not_mind_changes_nothing", || {
        let before = Capabilities::probe();
        forbid(&[libc::SYS_mlock], 1, u32::MAX, Answer::Death);
        assert_eq!(Capabilities::probe(), before);
        let code = CodeMemory::new(1).unwrap();
        assert_eq!(code.strategy(), CodeStrategy::Dual);
        code.draft(1).unwrap().publish().unwrap();
    });
}

/// A filter that ends whoever makes a child: asked not to, nobody does.
#[test]
fn without_a_trial_there_is_no_child() {
    in_child("without_a_trial_there_is_no_child", || {
        // No flags and no signal: threads have some.
        let calls = [libc::SYS_clone];
        const THREAD: u32 = libc::CLONE_THREAD as u32;
        let without = CodeOptions::new(1).without_trial();
        forbid(&calls, 0, THREAD, Answer::Error);
        without.map().unwrap();
        forbid_everything_but_threads();
        without.map().unwrap().draft(1).unwrap().publish().unwrap();
        without.strategy(CodeStrategy::Toggle).map().unwrap().draft(1).unwrap().publish().unwrap();
    });
}

/// `clone` without any flag ends the process.
fn forbid_everything_but_threads() {
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let half = if cfg!(target_endian = "little") { 0 } else { 4 };
    let mut filter = [
        line(0x20, 0, 0, 0),
        line(0x15, 1, 0, u32::try_from(libc::SYS_clone).unwrap()),
        line(0x06, 0, 0, 0x7fff_0000),
        line(0x20, 0, 0, 16 + half),
        line(0x15, 0, 1, 0),
        line(0x06, 0, 0, 0x8000_0000),
        line(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: 7, filter: filter.as_mut_ptr() };
    // SAFETY: a program of that many lines.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Trap: a file in memory that may not be executed (`vm.memfd_noexec`, a sandbox): the mapping is doubled otherwise.
#[test]
fn without_files_in_memory_there_are_two_views_all_the_same() {
    in_child("without_files_in_memory_there_are_two_views_all_the_same", || {
        forbid(&[libc::SYS_memfd_create], 1, u32::MAX, Answer::Error);
        let code = CodeOptions::new(1).strategy(CodeStrategy::Dual).map().unwrap();
        code.draft(1).unwrap().publish().unwrap();
        assert!(Capabilities::probe().code(CodeStrategy::Dual));
    });
}

/// Asked for and not forced: another strategy where it is not to be had.
#[test]
fn what_is_preferred_is_taken_if_it_is_there() {
    let here = Capabilities::probe();
    for strategy in strategies() {
        let code = CodeOptions::new(1).prefer(strategy).map().unwrap();
        // (Keys may be in use by others.)
        let is_key = strategies().get(2) == Some(&strategy);
        assert!(is_key || !here.code(strategy) || code.strategy() == strategy, "{code:?}");
    }
}

/// Marked branch targets, where there are any; else an error, for it is asked for as a protection.
mod targets {
    use super::*;

    const OPTIONS: CodeOptions = CodeOptions::new(1).branch_targets();

    fn has_them() -> bool {
        OPTIONS.map().is_ok()
    }

    #[test]
    fn elsewhere_it_is_an_error() {
        if !has_them() {
            skipped(
                "branches_lead_to_marked_instructions_only",
                "the processor has no marked branch targets",
            );
        }
        for strategy in strategies() {
            if let Err(error) = OPTIONS.strategy(strategy).map() {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.to_string().contains("branch"), "{error}");
            }
        }
        assert!(cfg!(target_arch = "aarch64") || !has_them());
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn branches_lead_to_marked_instructions_only() {
        use folio::FnRef;
        use std::os::unix::process::ExitStatusExt;
        const TEST: &str = "targets::branches_lead_to_marked_instructions_only";
        if !has_them() {
            return;
        }
        // bti c; mov w0, 42; ret
        let words = [0xd503_245f_u32, 0x5280_0540, 0xd65f_03c0];
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let child = role();
        for strategy in [CodeStrategy::Dual, CodeStrategy::Toggle] {
            let code = OPTIONS.strategy(strategy).map().unwrap();
            let make = || {
                let mut draft = code.draft(bytes.len()).unwrap();
                draft.copy_from_slice(&bytes);
                draft.publish().unwrap()
            };
            // Two in one page: the second is written beside the first.
            let pieces = [make(), make()];
            // SAFETY: what it was.
            unsafe { pieces[1].patch(4, &words[1].to_le_bytes()) }.unwrap();
            for piece in &pieces {
                // SAFETY: functions of this type.
                let function: FnRef<'_, extern "C" fn() -> u32> = unsafe { piece.get_fn(0) }.unwrap();
                assert_eq!(function.call(()), 42);
                let name = format!("{strategy:?}");
                match &child {
                    None => {
                        let status = Helper::start(TEST, &name).wait();
                        assert_eq!(status.signal(), Some(libc::SIGILL), "{status:?}");
                    }
                    Some(child) if child.to_str() == Some(&name) => {
                        // Behind the mark.
                        // SAFETY: a function of this type, and a branch to it that ends the process.
                        let inside: FnRef<'_, extern "C" fn() -> u32> = unsafe { piece.get_fn(4) }.unwrap();
                        inside.call(());
                        return;
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
