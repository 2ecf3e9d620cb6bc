//! What can only be tested from inside: both ways of answering, the kept descriptor under attack, injected failures.

use super::maps::{self, Reader};
use super::{Method, force, kept};
use crate::os::inject;
use crate::region::{Process, Region};
use crate::{ErrorKind, Protection, page, query, query_range};
use core::ptr::without_provenance;
use std::format;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::string::String;
use std::vec::Vec;

use crate::area::Area;

fn listed(address: usize, len: usize) -> Vec<Region> {
    query_range(without_provenance::<u8>(address), len).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Runs `body` in the child of a `fork`, where this thread is alone, and gives what it returned; 255 if it panicked.
fn in_child(body: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child runs `body` and ends by `_exit`. glibc and musl keep their allocators usable in a forked child.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(255);
        // SAFETY: ends the child at once, without running the parent's exit handlers.
        unsafe { libc::_exit(i32::from(code)) }
    }
    let mut status = 0;
    // SAFETY: `pid` is our child, `status` writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    libc::WEXITSTATUS(status)
}

/// Another process of this very program, which waits and changes nothing.
fn waiting() -> std::process::Child {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "os::linux::tests::helper_that_waits", "--nocapture"])
        .env("FOLIO_WAIT", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    while !said.ends_with(b"waiting") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
        said.push(byte[0]);
    }
    // The thread that speaks for the test runner may still be settling down.
    std::thread::sleep(std::time::Duration::from_millis(100));
    child
}

#[test]
fn helper_that_waits() {
    if std::env::var_os("FOLIO_WAIT").is_some() {
        std::io::stdout().write_all(b"waiting").unwrap();
        std::io::stdout().flush().unwrap();
        let _read = std::io::stdin().read_line(&mut String::new());
    }
}

/// Gives a number that folio keeps to another file.
fn replace(number: i32, file: &File) {
    // SAFETY: this takes folio's descriptor away from it: that is the test.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), number) }, number);
}

fn ioctl_is_there() -> bool {
    matches!(crate::Capabilities::probe().query_method(), crate::QueryMethod::Ioctl)
}

fn skip(test: &str, why: &str) {
    crate::area::skipped(test, why);
}

const NO_IOCTL: &str = "this kernel has no PROCMAP_QUERY (Linux 6.11)";

/// Every protection, both ways, shared and private: the same regions.
#[test]
fn text_and_ioctl_give_the_same_regions_of_an_area() {
    if !ioctl_is_there() {
        return skip("text_and_ioctl_give_the_same_regions_of_an_area", NO_IOCTL);
    }
    let area = Area::new(16);
    for (index, bits) in (0..8).enumerate() {
        area.protect(index * 2, 1, Protection::from_bits_truncate(bits));
    }
    let by = |method| {
        force(method, || {
            let listed = listed(area.base(), area.len());
            let queried: Vec<_> =
                (0..16).map(|index| query(without_provenance::<u8>(area.page(index) + 1)).unwrap()).collect();
            (listed, queried)
        })
    };
    let (ioctl, text) = (by(Method::Ioctl), by(Method::Text));
    assert_eq!(ioctl, text);
    assert!(ioctl.0.len() > 8);
}

/// The same process, held still: each line of its `maps` against the ioctl's answer for the same region, field by field.
#[test]
fn text_and_ioctl_agree_on_every_field_of_a_whole_process() {
    if !ioctl_is_there() {
        return skip("text_and_ioctl_agree_on_every_field_of_a_whole_process", NO_IOCTL);
    }
    let mut child = waiting();
    let process = Process::open(child.id()).unwrap();
    let mut compared = 0;
    let mut mappings = process.mappings().unwrap();
    while let Some(mapping) = mappings.advance().unwrap() {
        let region = mapping.region();
        let start = region.as_range().start;
        assert_eq!(process.query(start).unwrap(), region);
        assert_eq!(process.query(region.as_range().end - 1).unwrap(), region);
        let by_ioctl = process.backing(start).unwrap();
        let by_text = force(Method::Text, || process.backing(start).unwrap());
        assert_eq!(mapping.backing(), &by_ioctl);
        assert_eq!(by_text, by_ioctl);
        assert_eq!(force(Method::Text, || process.query(start).unwrap()), region);
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A long list is begun by the ioctl and ended by the text: the change must not show.
#[test]
fn changing_from_the_ioctl_to_the_text_on_the_way_leaves_no_trace() {
    let area = Area::new(1000);
    for index in (0..1000).step_by(2) {
        area.protect(index, 1, Protection::READ);
    }
    let inside = |regions: Vec<Region>| -> Vec<Region> {
        regions
            .into_iter()
            .filter(|region| {
                area.page(0) <= region.as_range().start && region.as_range().end <= area.page(1000)
            })
            .collect()
    };
    for hint in [0, 1, 40, 100, 100_000] {
        for from in [0, area.page(3)] {
            // Other threads may note the length of their listing meanwhile; either way the answer is the same.
            kept::note_listed(hint);
            let found = inside(listed(from, area.page(1000) - from));
            let skipped = if from == 0 { 0 } else { 3 };
            assert_eq!(found.len(), 1000 - skipped, "hint {hint}");
            for (index, region) in found.iter().enumerate() {
                assert_eq!(region.as_range(), area.page(index + skipped)..area.page(index + skipped + 1));
            }
        }
    }
}

/// Trap: a descriptor kept open across `fork` describes the parent.
#[test]
fn after_fork_the_child_hears_about_itself() {
    let area = Area::new(3);
    assert!(query(area.pointer()).unwrap().is_writable());
    let code = in_child(|| {
        area.protect(1, 1, Protection::READ);
        let first = query(without_provenance::<u8>(area.page(1))).unwrap();
        let listed = listed(area.page(1), 1);
        // And the child's child, too.
        let grandchild = in_child(|| {
            area.protect(1, 1, Protection::NONE);
            u8::from(query(without_provenance::<u8>(area.page(1))).unwrap().protection() != Protection::NONE)
        });
        u8::from(first.protection() != Protection::READ)
            + 2 * u8::from(listed[0].protection() != Protection::READ)
            + 4 * u8::from(grandchild != 0)
    });
    assert_eq!(code, 0);
    assert_eq!(query(without_provenance::<u8>(area.page(1))).unwrap().protection(), Protection::READ_WRITE);
}

/// Trap: `/proc/self/maps` is empty once the first thread has ended while others live on; and a thread's own is not.
#[test]
fn a_process_whose_first_thread_has_ended_is_still_found() {
    let code = in_child(|| {
        let worker = std::thread::spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let local = 1_u8;
            let found = query(&raw const local).is_ok_and(|region| region.is_writable())
                && force(Method::Text, || query(&raw const local)).is_ok_and(|region| region.is_writable());
            // SAFETY: ends the process; no other thread of it runs.
            unsafe { libc::_exit(if found { 7 } else { 8 }) }
        });
        core::mem::forget(worker);
        // SAFETY: ends this thread alone, by the bare system call; nothing of it is used afterwards.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        9
    });
    assert_eq!(code, 7);
}

/// The same of another process: it is not to be taken for one that has ended.
#[test]
fn another_process_whose_first_thread_has_ended_is_still_found() {
    let area = Area::new(3);
    let (mut said, mut speaks) = std::os::unix::net::UnixStream::pair().unwrap();
    // SAFETY: the child does what `in_child` lets it do.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let worker = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let _said = speaks.write_all(b"x");
            let _waited = std::io::Read::read(&mut speaks, &mut [0]);
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        });
        core::mem::forget(worker);
        // SAFETY: ends this thread alone; nothing of it is used afterwards.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let opened_before = Process::open(pid.unsigned_abs()).unwrap();
    std::io::Read::read_exact(&mut said, &mut [0]).unwrap();
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(super::process::state_from(&stat), super::process::State::Ended, "the first thread has ended");
    for process in [opened_before, Process::open(pid.unsigned_abs()).unwrap()] {
        for method in [Method::Ioctl, Method::Text] {
            let found = || force(method, || process.query(area.page(1)));
            assert!(found().unwrap().is_writable(), "{method:?}");
        }
        assert!(process.snapshot().unwrap().find(area.page(1)).is_some());
        assert_eq!(process.usage(area.page(1)).unwrap().size(), crate::range::wide(area.len()));
        assert!(process.backing(area.page(1)).unwrap().name().is_empty());
    }
    said.write_all(b"x").unwrap();
    let mut status = 0;
    // SAFETY: our child, and `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}

/// Trap: the kept descriptor was closed by somebody.
#[test]
fn a_closed_descriptor_is_opened_again() {
    if !ioctl_is_there() {
        return skip("a_closed_descriptor_is_opened_again", NO_IOCTL);
    }
    let area = Area::new(3);
    let code = in_child(|| {
        for _ in 0..5 {
            assert!(query(area.pointer()).unwrap().is_writable());
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
            let number = kept::number().unwrap();
            // SAFETY: takes folio's descriptor away: that is the test.
            assert_eq!(unsafe { libc::close(number) }, 0);
            assert!(query(area.pointer()).unwrap().is_writable());
            assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), open, "one was lost on the way");
        }
        assert_eq!(listed(area.base(), 1).len(), 1);
        0
    });
    assert_eq!(code, 0);
}

/// Trap: its number was given to another file, perhaps another process's maps. The file that has the number now is left
/// alone.
#[test]
fn a_number_given_to_another_file_is_noticed_and_not_closed() {
    if !ioctl_is_there() {
        return skip("a_number_given_to_another_file_is_noticed_and_not_closed", NO_IOCTL);
    }
    let mut other = waiting();
    let others =
        [format!("/proc/{}/maps", other.id()), String::from("/dev/null"), String::from("/proc/self/status")];
    let area = Area::new(3);
    let hole = Area::new(1);
    let code = in_child(|| {
        for path in others {
            assert!(query(area.pointer()).unwrap().is_writable());
            let number = kept::number().unwrap();
            let file = File::open(&path).unwrap();
            replace(number, &file);
            // Mapped here, and hardly there; then a listing; then, unmapped here.
            assert!(query(area.pointer()).unwrap().contains(area.page(1)), "{path}");
            replace(kept::number().unwrap(), &file);
            assert_eq!(listed(area.base(), area.len()).len(), 1, "{path}");
            hole.unmap(0, 1);
            assert_eq!(query(hole.pointer()).unwrap_err().kind(), ErrorKind::Unmapped);
            hole.map(0, 1, Protection::READ);
            // SAFETY: asks whether the number is open still.
            let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
            assert!(flags >= 0, "{path}: somebody else's file was closed");
        }
        0
    });
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(code, 0);
}

/// Trap: a `fork` in a signal handler, while the interrupted code has the parent's file in hand. `call` is the system call
/// before which it happens.
fn forked_just_before(call: &'static str, kept_already: bool) -> i32 {
    in_child(|| {
        let area = Area::new(3);
        if kept_already {
            assert!(query(area.pointer()).unwrap().is_writable());
        }
        let base = area.base();
        static CHILD: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);
        inject::just_before(call, move || {
            // SAFETY: the child goes on with the query below and ends by `_exit`.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let at = core::ptr::without_provenance_mut(base);
                // SAFETY: pages of the area, to which nobody has references.
                unsafe { libc::mprotect(at, 3 * page::size(), libc::PROT_READ) };
            }
            CHILD.store(pid, std::sync::atomic::Ordering::Relaxed);
        });
        let found: Vec<_> = (0..3).map(|_| query(area.pointer()).unwrap().is_writable()).collect();
        let pid = CHILD.load(std::sync::atomic::Ordering::Relaxed);
        if pid == 0 {
            // SAFETY: ends this child of the child.
            unsafe { libc::_exit(i32::from(found != [false; 3])) };
        }
        assert_eq!(found, [true; 3]);
        let mut status = 0;
        // SAFETY: our child, and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        u8::from(status != 0)
    })
}

#[test]
fn a_fork_in_the_middle_of_a_query_does_not_keep_the_parents_file() {
    if !ioctl_is_there() {
        return skip("a_fork_in_the_middle_of_a_query_does_not_keep_the_parents_file", NO_IOCTL);
    }
    for (call, kept_already) in [("fcntl", false), ("fstat", false), ("ioctl", false), ("ioctl", true)] {
        assert_eq!(forked_just_before(call, kept_already), 0, "before {call}, kept: {kept_already}");
    }
}

/// Trap: threads with tables of descriptors of their own, to whom one number cannot serve: what is replaced stays open, so
/// replacing has an end.
#[test]
fn threads_with_descriptors_of_their_own_do_not_fill_their_tables() {
    let code = in_child(|| {
        let area = Area::new(3);
        let ask = || {
            for index in 0..3000 {
                let region = query(without_provenance::<u8>(area.page(index % 3))).unwrap();
                assert!(region.is_writable());
                assert!(query(core::ptr::null::<u8>()).is_err());
            }
            std::fs::read_dir("/proc/thread-self/fd").unwrap().count()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                // SAFETY: gives this thread a table of descriptors of its own.
                let unshared = unsafe { libc::unshare(libc::CLONE_FILES) };
                if unshared == 0 { ask() } else { 0 }
            });
            let here = ask();
            let there = other.join().unwrap();
            u8::from(here > 200 || there > 200)
        })
    });
    assert_eq!(code, 0);
}

/// The mappings of one file in a row, however it is called, cost the system's answer about its name once.
#[test]
fn names_of_two_meanings_are_asked_about_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(r"x\012\012\012\012\012\012\012 (deleted)");
    std::fs::write(&path, std::vec![0; 64 * page::size()]).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // SAFETY: a new mapping at a place of the kernel's choice; nobody refers to it.
    let base = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            64 * page::size(),
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(base, libc::MAP_FAILED);
    for index in (0..64).step_by(2) {
        // SAFETY: a page of that mapping.
        let done = unsafe {
            libc::mprotect(base.wrapping_byte_add(index * page::size()), page::size(), libc::PROT_NONE)
        };
        assert_eq!(done, 0);
    }
    let (snapshot, calls) = inject::calls_of(|| Process::current().snapshot().unwrap());
    assert!(snapshot.find(base.addr()).unwrap().backing().is_deleted());
    assert!(calls.iter().filter(|call| **call == "fstatat").count() <= 60, "{calls:?}");
    // SAFETY: the mapping made above.
    unsafe { libc::munmap(base, 64 * page::size()) };
}

/// The one disguise that no answer gives away: another process with the very same mappings. It is found out after at most
/// 64 answers.
#[test]
fn a_perfect_double_is_found_out_in_time() {
    if !ioctl_is_there() {
        return skip("a_perfect_double_is_found_out_in_time", NO_IOCTL);
    }
    let area = Area::new(3);
    let code = in_child(|| {
        assert!(query(area.pointer()).unwrap().is_writable());
        // The parent of this child has the same area; its protection there stays as it is.
        // SAFETY: no precondition.
        let file = File::open(format!("/proc/{}/maps", unsafe { libc::getppid() })).unwrap();
        let number = kept::number().unwrap();
        replace(number, &file);
        area.protect(0, 3, Protection::READ);
        let wrong = (0..200).filter(|_| query(area.pointer()).unwrap().is_writable()).count();
        u8::from(wrong >= 64)
    });
    assert_eq!(code, 0);
}

#[test]
fn the_kept_descriptor_is_not_inherited_by_other_programs_and_has_a_high_number() {
    if !ioctl_is_there() {
        return skip(
            "the_kept_descriptor_is_not_inherited_by_other_programs_and_has_a_high_number",
            NO_IOCTL,
        );
    }
    let code = in_child(|| {
        let local = 1_u8;
        assert!(query(&raw const local).is_ok());
        let number = kept::number().unwrap();
        // SAFETY: reads a descriptor's flags.
        assert_ne!(unsafe { libc::fcntl(number, libc::F_GETFD) } & libc::FD_CLOEXEC, 0);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is writable.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
        if limit.rlim_cur >= 256 {
            assert!(number >= 128, "{number}");
        }
        0
    });
    assert_eq!(code, 0);
}

/// Without a free descriptor: an error that says so, and no descriptor lost.
#[test]
fn without_descriptors_there_is_an_error_with_a_remedy() {
    let code = in_child(|| {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: lowers this child's limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        let local = 1_u8;
        let error = query(&raw const local).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert!(error.remedy().unwrap().contains("ulimit"), "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(query_range(&raw const local, 1).unwrap().next().unwrap().is_err());
        0
    });
    assert_eq!(code, 0);
}

/// A query that finds its descriptor open makes one system call, and one that reads the text frees its descriptor.
#[test]
fn a_query_costs_the_calls_that_its_documentation_names() {
    if !ioctl_is_there() {
        return skip("a_query_costs_the_calls_that_its_documentation_names", NO_IOCTL);
    }
    let code = in_child(|| {
        let local = 1_u8;
        assert!(query(&raw const local).is_ok());
        let ((), calls) = inject::calls_of(|| {
            for _ in 0..640 {
                let _found = query(&raw const local).unwrap();
            }
        });
        assert_eq!(calls.iter().filter(|call| **call == "ioctl").count(), 640);
        assert_eq!(calls.iter().filter(|call| **call == "fstat").count(), 10);
        assert_eq!(calls.len(), 650);
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..100 {
            force(Method::Text, || query(&raw const local)).unwrap();
            listed(0, usize::MAX);
        }
        assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
        0
    });
    assert_eq!(code, 0);
}

/// Each system call of each operation fails once, with each of several codes: an answer or an error, never a panic, and the
/// next call works.
#[test]
fn injected_failures_give_answers_or_errors_and_leave_no_damage() {
    let codes = [
        libc::EPERM,
        libc::ENOENT,
        libc::ESRCH,
        libc::EBADF,
        libc::ENOMEM,
        libc::EACCES,
        libc::ENOTTY,
        libc::EINVAL,
        libc::EMFILE,
        libc::ENOSYS,
        libc::EINTR,
        libc::EIO,
        libc::EOVERFLOW,
    ];
    let mut child = waiting();
    let pid = child.id();
    let code = in_child(move || {
        let area = Area::new(3);
        area.protect(1, 1, Protection::READ);
        let page = area.page(1);
        let other = Process::open(pid).unwrap();
        let there = other.regions().unwrap().next().unwrap().unwrap().as_range().start;
        type Operation<'a> = &'a dyn Fn() -> crate::Result<Option<bool>>;
        let operations: [Operation<'_>; 9] = [
            &|| {
                query(without_provenance::<u8>(page))
                    .map(|region| Some(region.protection() == Protection::READ))
            },
            &|| {
                let all: Vec<Region> =
                    query_range(without_provenance::<u8>(page), 1)?.collect::<crate::Result<_>>()?;
                Ok(Some(all.len() == 1 && all[0].protection() == Protection::READ))
            },
            &|| {
                let all: Vec<Region> = Process::current().regions()?.collect::<crate::Result<_>>()?;
                Ok(Some(all.iter().filter(|region| region.contains(page)).count() == 1))
            },
            &|| Process::current().backing(page).map(|backing| Some(backing.name().is_empty())),
            &|| {
                Process::current()
                    .usage(page)
                    .map(|usage| Some(usage.size() == crate::range::wide(page::size())))
            },
            &|| Process::current().snapshot().map(|snapshot| Some(snapshot.find(page).is_some())),
            &|| Process::open(pid).map(|_| None),
            &|| other.query(there).map(|region| Some(region.contains(there))),
            &|| other.backing(there).map(|backing| Some(!backing.name().is_empty())),
        ];
        let mut failures = 0;
        for (index, operation) in operations.iter().enumerate() {
            for code in codes {
                for nth in 0.. {
                    let (result, reached) = inject::fail_nth(None, nth, code, operation);
                    match result {
                        Ok(answer) => {
                            assert_ne!(answer, Some(false), "operation {index}, call {nth}, code {code}")
                        }
                        Err(error) => {
                            failures += 1;
                            assert!(!format!("{error}").is_empty());
                        }
                    }
                    assert_ne!(
                        operation().unwrap(),
                        Some(false),
                        "after operation {index}, call {nth}, code {code}"
                    );
                    if !reached || nth > 60 {
                        break;
                    }
                }
            }
        }
        u8::from(failures < 50)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(code, 0);
}

/// An old kernel or a sandbox: the ioctl is refused on the right descriptor. The text answers, and goes on doing so.
#[test]
fn where_the_ioctl_is_forbidden_the_text_answers() {
    for code in [libc::ENOTTY, libc::EPERM, libc::ENOSYS] {
        let exit = in_child(|| {
            let local = 1_u8;
            let (first, _) = inject::fail_nth(Some("ioctl"), 0, code, || query(&raw const local));
            assert!(first.unwrap().is_writable());
            let ((), calls) = inject::calls_of(|| assert!(query(&raw const local).unwrap().is_writable()));
            assert!(!calls.contains(&"ioctl"), "{calls:?}");
            assert_eq!(crate::Capabilities::probe().query_method(), crate::QueryMethod::Text);
            0
        });
        assert_eq!(exit, 0);
    }
}

/// Without a page that `fork` clears nothing is kept: the text answers.
#[test]
fn without_a_page_that_fork_clears_the_text_answers() {
    for call in ["mmap", "madvise"] {
        // A program of its own: in this one the page is made already.
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "os::linux::tests::helper_without_page", "--nocapture"])
            .env("FOLIO_FAIL_CALL", call)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn helper_without_page() {
    let Ok(call) = std::env::var("FOLIO_FAIL_CALL") else { return };
    let call = if call == "mmap" { "mmap" } else { "madvise" };
    let local = 1_u8;
    let (result, reached) = inject::fail_nth(Some(call), 0, libc::ENOMEM, || query(&raw const local));
    assert!(reached && result.unwrap().is_writable());
}

fn reader_of(content: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.into()
}

fn lines_of(content: &[u8]) -> Result<Vec<Vec<u8>>, crate::error::Failure> {
    let mut reader = Reader::with_names(reader_of(content));
    let mut lines = Vec::new();
    while let Some(line) = reader.line()? {
        lines.push(reader.bytes(&line).to_vec());
    }
    Ok(lines)
}

/// Trap: a bad line silently ended the iteration. It is an error that carries the line.
#[test]
fn a_bad_line_is_an_error_that_carries_it() {
    let good = b"00400000-00409000 r-xs 00000000 08:00 16088 /usr/bin/head\n";
    for bad in [
        &b"00400000-00409000 r-xq 00000000 08:00 16088"[..],
        b"00400000-00409000",
        b"00409000-00400000 r-xs 00000000 08:00 16088",
        b"00400000-00400000 r-xs 00000000 08:00 16088",
        b"0040000g-00409000 r-xs 00000000 08:00 16088",
        b"00400000-00409000 rwxsx",
        b"",
        b"\xff\xfe",
        b"00000000000400000-00409000 r-xs 00000000 08:00 16088",
    ] {
        assert_eq!(
            maps::region(bad)
                .map(|(region, rest)| (region, maps::rest(rest).is_some()))
                .ok()
                .filter(|found| found.1),
            None,
            "{}",
            bad.escape_ascii()
        );
        let content = [&good[..], bad, b"\n"].concat();
        let page = crate::range::PageRange::containing(usize::MAX / 2);
        match maps::find(reader_of(&content), page, false) {
            Err(failure) => {
                let error = failure.during(crate::Operation::Query, None, None);
                assert_eq!(error.kind(), ErrorKind::UnexpectedAnswer);
                assert_eq!(error.evidence(), Some(bad));
            }
            Ok(_) => assert!(maps::region(bad).is_ok(), "{}", bad.escape_ascii()),
        }
    }
    // A file that ends inside a line was torn.
    assert_eq!(lines_of(b"a\nbc").unwrap_err().kind(), ErrorKind::UnexpectedAnswer);
    assert_eq!(lines_of(b"a\n\nbc\n").unwrap(), [&b"a"[..], b"", b"bc"]);
}

/// Trap: minor device numbers above 255 ended the iteration.
#[test]
fn wide_device_numbers_and_odd_names_are_parsed() {
    for (line, device, inode, name) in [
        (
            &b"00400000-00409000 r-xs 00001000 103:3ff 16088                /a b"[..],
            (0x103, 0x3ff),
            16088,
            &b"/a b"[..],
        ),
        (
            b"00400000-00409000 r-xs 00001000 fff:fffff 18446744073709551615 /x\\012y",
            (0xfff, 0xfffff),
            u64::MAX,
            br"/x\012y",
        ),
        (
            b"00400000-00409000 r-xs 00001000 00:01 1 /memfd:\xff (deleted)",
            (0, 1),
            1,
            b"/memfd:\xff (deleted)",
        ),
        (b"00400000-00409000 r-xs 00001000 00:01 1 ", (0, 1), 1, b""),
        (b"00400000-00409000 r-xs 00001000 00:01 1", (0, 1), 1, b""),
    ] {
        let (region, rest) = maps::region(line).unwrap();
        assert_eq!(region.as_range(), 0x40_0000..0x40_9000);
        assert!(region.is_shared() && region.protection() == Protection::READ_EXECUTE);
        let rest = maps::rest(rest).unwrap();
        let found = rest.device.unwrap();
        assert_eq!((found.major, found.minor), device);
        assert_eq!((rest.offset, rest.inode, rest.name), (0x1000, inode, name));
    }
    let (region, _) = maps::region(b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]")
        .unwrap_or_default();
    assert_eq!(region.is_empty(), usize::BITS < 64);
}

/// Lines longer than any buffer: heads suffice for a look-up, names grow the buffer up to what a path can need.
#[test]
fn lines_longer_than_the_buffer_are_read() {
    for len in [0, 1, 1990, 2047, 2048, 2049, 4096, 8191, 8192, 20_000, 50_000] {
        let name: Vec<u8> = (0..len).map(|index| b'a' + u8::try_from(index % 26).unwrap()).collect();
        let long = [&b"00400000-00490000 r-xs 00000000 08:00 16088 /"[..], &name].concat();
        let content = [&long[..], b"\n00490000-004a0000 rw-p 00000000 00:00 0 \n", &long, b"\n"].concat();
        let lines = lines_of(&content).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0], &lines[2]), (&long, &long));
        let find =
            |address| maps::find(reader_of(&content), crate::range::PageRange::containing(address), false);
        let maps::Found::Region(second) = find(0x49_0000).unwrap() else { panic!("{len}") };
        assert_eq!(second.protection(), Protection::READ_WRITE);
        assert!(matches!(find(0x40_0000).unwrap(), maps::Found::Region(_)));
        assert!(matches!(find(0x10_0000).unwrap(), maps::Found::Hole));
    }
    assert!(lines_of(&[b'a'; 100_000]).is_err());
    let nowhere = maps::find(reader_of(b""), crate::range::PageRange::containing(0), false).unwrap();
    assert!(matches!(nowhere, maps::Found::NoMemory));
}

/// A name that needs every byte escaped, and both ways of asking about the same file.
#[test]
fn the_corpus_of_the_fuzzers_is_read_as_the_naive_parser_reads_it() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let replay = |name: &str, run: fn(&[u8])| -> usize {
        let Ok(entries) = std::fs::read_dir(folder.join(name)) else { return 0 };
        entries.map(|entry| run(&std::fs::read(entry.unwrap().path()).unwrap())).count()
    };
    let counted = (replay("maps", maps::fuzz_lines), replay("smaps", super::smaps::fuzz_usage));
    if counted.0 == 0 || counted.1 == 0 {
        skip(
            "the_corpus_of_the_fuzzers_is_read_as_the_naive_parser_reads_it",
            "the sources are not on this machine",
        );
    }
    maps::fuzz_lines(&std::fs::read("/proc/self/maps").unwrap());
    super::smaps::fuzz_usage(&std::fs::read("/proc/self/smaps").unwrap_or_default());
}

mod generated {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the text, the parser says what the naive one says.
        #[test]
        fn the_parser_agrees_with_the_naive_one(
            start in prop_oneof![any::<u32>().prop_map(u64::from), 0x1000_0000_0000_u64..0xffff_0000_0000], pages in any::<u16>(), flags in "[r-][w-][x-][spq]", offset: u64, major: u16, minor: u32,
            inode: u64, blanks in 0..30_usize, name in prop::collection::vec(any::<u8>(), 0..40),
            cut in any::<Option<u8>>(), flipped in any::<Option<(u8, u8)>>(),
        ) {
            let end = start + u64::from(pages) * 4096;
            let mut line = format!(
                "{start:08x}-{end:08x} {flags} {offset:08x} {major:02x}:{minor:02x} {inode} {:blanks$}", ""
            ).into_bytes();
            line.extend_from_slice(&name);
            if let Some(cut) = cut {
                line.truncate(usize::from(cut));
            }
            if let Some((at, byte)) = flipped {
                if let Some(place) = line.get_mut(usize::from(at)) {
                    *place = byte;
                }
            }
            maps::fuzz_lines(&line);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..300)) {
            maps::fuzz_lines(&content);
            super::super::smaps::fuzz_usage(&content);
            let _any = lines_of(&content);
        }
    }
}

/// After a refusal, whose the place is that pages were to be moved to.
#[test]
fn a_place_for_pages_is_kept_lost_or_told_lost() {
    use super::resize::move_pages;
    use crate::os::{inject, map, map_at, unmap};
    use crate::range::{PageLen, PageRange};
    let len = PageLen::covering(3 * crate::page::size()).unwrap();
    let range_of = |place: core::ptr::NonNull<u8>| PageRange::starting_at(place.addr().get(), len).unwrap();
    // A place that no other test comes to.
    let place = PageRange::starting_at(42 << if usize::BITS == 64 { 37 } else { 25 }, len).unwrap();
    for case in 0..4 {
        let from = map(len, Protection::READ_WRITE).unwrap();
        let source = range_of(from);
        // SAFETY: just mapped.
        unsafe { from.write(7) };
        map_at(place, Protection::NONE).unwrap();
        if case > 0 {
            inject::just_before("mremap", move || {
                if case > 1 {
                    // SAFETY: the test's own.
                    unsafe { unmap(place) }.unwrap();
                }
                if case > 2 {
                    map_at(place, Protection::READ).unwrap();
                }
                inject::order("mremap", 12);
            });
        }
        // SAFETY: both are the test's own.
        let moved = unsafe { move_pages(source, place) };
        if case == 0 {
            moved.unwrap();
            let there = core::ptr::with_exposed_provenance::<u8>(place.first());
            // SAFETY: moved there.
            assert_eq!(unsafe { there.read() }, 7);
        } else {
            let failure = moved.unwrap_err();
            assert_eq!(failure.changed_part(), (case == 3).then_some(place), "case {case}");
            // SAFETY: still there.
            assert_eq!(unsafe { from.read() }, 7);
            // SAFETY: the test's own.
            unsafe { unmap(source) }.unwrap();
        }
        let shown = crate::query(core::ptr::without_provenance::<u8>(place.first())).unwrap();
        let grants = [Protection::READ_WRITE, Protection::NONE, Protection::NONE, Protection::READ][case];
        assert_eq!((shown.protection(), shown.as_range().len()), (grants, len.bytes()), "case {case}");
        // SAFETY: as above.
        unsafe { unmap(place) }.unwrap();
    }
}

/// Several mappings of equal length are moved one after the other (Linux 6.17), until one is refused: what was one piece of memory would
/// be two then.
#[test]
fn several_mappings_are_moved_as_a_whole_or_not_at_all() {
    use super::resize::move_pages;
    use crate::os::{map, seal, unmap};
    use crate::range::{PageLen, PageRange};
    let size = crate::page::size();
    let len = PageLen::covering(3 * size).unwrap();
    let (from, to) = (map(len, Protection::READ_WRITE).unwrap(), map(len, Protection::NONE).unwrap());
    let range = |first: usize, len: usize| PageRange::touching(first, len).unwrap();
    let (source, place) = (range(from.addr().get(), 3 * size), range(to.addr().get(), 3 * size));
    // SAFETY: just mapped.
    unsafe { from.write(7) };
    // What is sealed does not move, and stays for ever.
    // SAFETY: the test's own.
    if let Err(failure) = unsafe { seal(range(source.first() + size, size)) } {
        std::eprintln!("skipped: nothing can be sealed: {failure:?}");
        // SAFETY: as above.
        return [source, place].iter().for_each(|&pages| unsafe { unmap(pages) }.unwrap());
    }
    // SAFETY: as above.
    let failure = unsafe { move_pages(source, place) }.unwrap_err();
    assert_eq!((failure.kind(), failure.changed_part()), (ErrorKind::Unsupported, None));
    let shown = |page: usize| crate::query(core::ptr::without_provenance::<u8>(page)).unwrap().protection();
    assert_eq!((shown(source.first()), shown(place.first())), (Protection::READ_WRITE, Protection::NONE));
    // SAFETY: still there.
    assert_eq!(unsafe { from.read() }, 7);
    // SAFETY: as above; the sealed page stays.
    unsafe { unmap(place) }.unwrap();
}
