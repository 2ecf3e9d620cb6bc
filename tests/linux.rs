//! What Linux and Android have of their own: names, deleted files, other users' processes, kernel threads, signal handlers.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use common::{Area, Helper, role, say, skipped, wait_for_parent};
use folio::{Backing, BackingKind, ErrorKind, Process, Protection, page, query};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr::without_provenance;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

#[cfg(target_os = "android")]
use libc::__errno as errno_location;
#[cfg(target_os = "linux")]
use libc::{__errno_location as errno_location, ITIMER_REAL};

/// As in `linux/time.h`: libc leaves it out for Android.
#[cfg(target_os = "android")]
const ITIMER_REAL: libc::c_int = 0;

/// A mapping of a file, unmapped on drop.
struct Mapped {
    base: usize,
    len: usize,
}

impl Mapped {
    fn new(file: &File, offset_pages: usize, shared: bool) -> Self {
        let len = page::size();
        let flags = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let offset = libc::off_t::try_from(offset_pages * page::size()).unwrap();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, flags, file.as_raw_fd(), offset)
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self { base: base.addr(), len }
    }

    /// What stands behind it, by every way of asking: all must agree.
    fn backing(&self) -> Backing<'static> {
        let this = Process::current();
        let backing = this.backing(self.base).unwrap();
        let by_number = Process::open(std::process::id()).unwrap();
        assert_eq!(by_number.backing(self.base).unwrap(), backing);
        assert_eq!(this.snapshot().unwrap().find(self.base).unwrap().backing(), &backing);
        assert_eq!(by_number.snapshot().unwrap().find(self.base).unwrap().backing(), &backing);
        let mut listing = this.mappings_with_usage().unwrap();
        let mut seen = false;
        while let Some(mapping) = listing.advance().unwrap() {
            if mapping.region().contains(self.base) {
                assert_eq!(mapping.backing(), &backing);
                seen = true;
            }
        }
        assert!(seen);
        backing
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, to which nobody has references.
        unsafe { libc::munmap(std::ptr::without_provenance_mut(self.base), self.len) };
    }
}

fn file_of(folder: &Path, name: &[u8], pages: usize) -> (PathBuf, File) {
    let path = folder.join(OsStr::from_bytes(name));
    std::fs::write(&path, vec![7_u8; pages * page::size()]).unwrap();
    let file = File::open(&path).unwrap();
    (path, file)
}

/// Trap: one file whose name is not UTF-8 made every query of the process fail; spaces, newlines, `\012` and `(deleted)`
/// in names were misread.
#[test]
fn files_of_any_name_are_found_by_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    for name in [
        &b"plain"[..],
        b"with  two spaces ",
        b" ",
        b"not \xff\xfe utf-8",
        b"new\nline",
        b"\n",
        b"literally \\012 and \\",
        b"both\n\\012",
        b"called (deleted)",
        b"called\n(deleted)",
        b"new\nline (deleted)",
        b"[heap]",
        b"[anon:x]",
        b"tab\tand \x1b[31m colour",
    ] {
        let (path, file) = file_of(&folder, name, 3);
        let mapped = Mapped::new(&file, 2, false);
        let backing = mapped.backing();
        let shown = name.escape_ascii();
        assert_eq!(backing.kind(), BackingKind::File, "{shown}");
        assert_eq!(backing.path(), Some(path.as_path()), "{shown}");
        assert!(!backing.is_deleted(), "{shown}");
        assert_eq!(backing.inode(), Some(file.metadata().unwrap().ino()), "{shown}");
        assert_eq!(backing.offset(), Some(u64::try_from(2 * page::size()).unwrap()), "{shown}");
        assert!(backing.device().is_some());
        std::fs::remove_file(&path).unwrap();
        // The text writes a newline and the four letters `\012` alike; of a file that is gone nobody can tell them apart.
        if !(name.contains(&b'\\') || name.contains(&b'\n')) {
            let backing = mapped.backing();
            assert!(backing.is_deleted(), "{shown}");
            assert_eq!(backing.path(), Some(path.as_path()), "{shown}");
        } else {
            assert!(Process::current().backing(mapped.base).unwrap().is_deleted(), "{shown}");
        }
    }
}

/// A name as long as names can be, every byte of it written as four.
#[test]
fn the_longest_name_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().canonicalize().unwrap();
    let part = [b'\n'; 255];
    let mut parts = 0;
    while path.as_os_str().len() + 2 * 256 < 4096 {
        path.push(OsStr::from_bytes(&part));
        if std::fs::create_dir(&path).is_err() {
            path.pop();
            break;
        }
        parts += 1;
    }
    if parts < 10 {
        return skipped("the_longest_name_is_found", "this file system does not take such names");
    }
    let (path, file) = file_of(&path, b"end\n", 1);
    let backing = Mapped::new(&file, 0, false).backing();
    assert_eq!(backing.path(), Some(path.as_path()));
}

#[test]
fn memory_objects_are_told_from_files() {
    let name = std::ffi::CString::new(b"pool\n \xff".to_vec()).unwrap();
    // SAFETY: `name` ends with a NUL.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    file.set_len(u64::try_from(page::size()).unwrap()).unwrap();
    let mapped = Mapped::new(&file, 0, true);
    let backing = mapped.backing();
    assert_eq!((backing.kind(), backing.is_deleted()), (BackingKind::SharedMemory, false));
    assert_eq!(backing.name(), b"/memfd:pool\n \xff");
    assert_eq!(backing.path(), None);
    assert!(query(without_provenance::<u8>(mapped.base)).unwrap().is_shared());
}

#[test]
fn what_the_system_made_is_told_by_its_kind() {
    let this = Process::current();
    let local = 1_u8;
    let _heap = Box::new(1_u8);
    let snapshot = this.snapshot().unwrap();
    let kinds: Vec<_> = snapshot.iter().map(|mapping| mapping.backing().kind()).collect();
    assert!(kinds.contains(&BackingKind::Stack) && kinds.contains(&BackingKind::File));
    assert!(kinds.contains(&BackingKind::Anonymous));
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        assert!(snapshot.iter().any(|mapping| mapping.backing().name() == b"[vdso]"));
    }
    // A thread's stack is ordinary memory.
    std::thread::spawn(move || {
        let inner = 2_u8;
        let backing = Process::current().backing((&raw const inner).addr()).unwrap();
        assert_eq!(backing.kind(), BackingKind::Anonymous);
        assert!(backing.offset().is_none() && backing.path().is_none());
    })
    .join()
    .unwrap();
    assert_eq!(query(&local).unwrap().protection(), Protection::READ_WRITE);
}

/// The process of another user: its list is refused with a remedy, never shown empty.
#[test]
fn a_foreign_process_is_refused_with_a_remedy() {
    let test = "a_foreign_process_is_refused_with_a_remedy";
    // SAFETY: no precondition.
    if unsafe { libc::geteuid() } != 0 {
        // Then the first process is foreign.
        let error = match Process::open(1) {
            Err(error) if error.kind() == ErrorKind::NoSuchProcess => {
                return skipped(test, "the first process is hidden");
            }
            Err(error) => error,
            Ok(_) => return skipped(test, "the first process belongs to this user"),
        };
        assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
        assert!(error.remedy().unwrap().contains("CAP_SYS_PTRACE"), "{error}");
        return;
    }
    let mut helper = Helper::start("helper_that_waits", "child");
    helper.line();
    let pid = helper.pid();
    // A child of this root process becomes nobody and looks at the helper, which is root's.
    // SAFETY: the child makes system calls, looks, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: gives up root's rights in this child; no other thread of it exists.
        let group_dropped = unsafe { libc::setgid(65_534) } == 0;
        // SAFETY: as above.
        let dropped = group_dropped && unsafe { libc::setuid(65_534) } == 0;
        let refused = Process::open(pid).is_err_and(|error| {
            error.kind() == ErrorKind::NotPermitted
                && error.remedy().is_some()
                && error.raw_os_error() == Some(libc::EACCES)
        });
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!dropped) + 2 * i32::from(!refused)) }
    }
    let mut status = 0;
    // SAFETY: our child, and `status` is writable.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(libc::WEXITSTATUS(status), 0, "{status:#x}");
    helper.finish();
}

#[test]
fn helper_that_waits() {
    if role().is_some() {
        say("here");
        wait_for_parent();
    }
}

/// A process that has ended but not been waited for has no memory any more, which must not look like "nothing mapped".
#[test]
fn a_process_not_waited_for_has_ended() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let error = Process::open(child.id()).unwrap_err();
    // An ordinary user is not let in to look at it at all.
    assert!(matches!(error.kind(), ErrorKind::ProcessEnded | ErrorKind::NotPermitted), "{error}");
    child.wait().unwrap();
}

/// The same of a process that was opened while it lived, by every way of asking, also in the middle of a list.
#[test]
fn a_process_that_ended_and_is_not_waited_for_says_so() {
    let mut helper = Helper::start("helper_that_waits", "child");
    helper.line();
    let process = Process::open(helper.pid()).unwrap();
    let address = process.regions().unwrap().next().unwrap().unwrap().as_range().start;
    let mut begun = process.regions().unwrap();
    begun.next().unwrap().unwrap();
    let mut listing = process.mappings_with_usage().unwrap();
    listing.advance().unwrap().unwrap();
    helper.child.kill().unwrap();
    // All its threads, that is.
    let folder = format!("/proc/{}", helper.pid());
    while std::fs::read_dir(format!("{folder}/task")).unwrap().count() > 1
        || !std::fs::read_to_string(format!("{folder}/stat")).unwrap().contains(") Z ")
    {
        std::thread::yield_now();
    }
    let listed = loop {
        match listing.advance() {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(listing.advance().unwrap().is_none(), "an error ends the list");
    for (index, result) in [
        process.query(address).map(drop),
        process.backing(address).map(drop),
        process.usage(address).map(drop),
        process.snapshot().map(drop),
        process.regions().map(drop),
        begun.collect::<Result<Vec<_>, _>>().map(drop),
        listed,
    ]
    .into_iter()
    .enumerate()
    {
        let error = result.expect_err("an ended process looked like one with nothing more mapped");
        // An ordinary user is no longer let in.
        assert!(
            matches!(error.kind(), ErrorKind::ProcessEnded | ErrorKind::NotPermitted),
            "{index}: {error}"
        );
    }
}

/// The regions of a process, each of which a query finds alike, the page of `[vsyscall]` included. The process may take a
/// moment until it only waits.
fn listed_and_queried_alike(process: &Process) -> Vec<folio::Region> {
    for _ in 0..100 {
        let regions: Vec<_> = process.regions().unwrap().collect::<Result<_, _>>().unwrap();
        if regions
            .iter()
            .all(|region| process.query(region.as_range().start).is_ok_and(|found| found == *region))
        {
            return regions;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("a listing and queries never agreed");
}

/// A handle outlives the program that its process was running.
#[test]
fn a_process_that_runs_another_program_is_still_found() {
    let test = "a_process_that_runs_another_program_is_still_found";
    match role().as_deref().and_then(OsStr::to_str) {
        Some("before") => {
            let area = Area::new(1);
            say(area.base());
            wait_for_parent();
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", test, "--nocapture"]).env("FOLIO_CHILD", "after");
            panic!("{}", std::os::unix::process::CommandExt::exec(&mut again));
        }
        Some(_) => {
            say("again");
            return wait_for_parent();
        }
        None => {}
    }
    let mut helper = Helper::start(test, "before");
    let area: usize = helper.line().parse().unwrap();
    let process = Process::open(helper.pid()).unwrap();
    assert!(process.query(area).unwrap().is_writable());
    std::io::Write::write_all(helper.child.stdin.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(helper.line(), "again");
    let regions = listed_and_queried_alike(&process);
    assert_eq!(process.query(area).is_ok(), regions.iter().any(|region| region.contains(area)));
    let code = regions.iter().find(|region| region.is_executable()).unwrap();
    assert!(process.backing(code.as_range().start).unwrap().path().is_some());
    helper.finish();
}

/// Trap: between `vfork` and `exec` a process uses its parent's memory. A handle made then must not go on describing the
/// parent.
#[test]
fn a_handle_made_between_vfork_and_exec_follows_the_process() {
    let test = "a_handle_made_between_vfork_and_exec_follows_the_process";
    if role().is_some() {
        say("again");
        return wait_for_parent();
    }
    struct Plan {
        go: libc::c_int,
        said: libc::c_int,
        program: std::ffi::CString,
        arguments: [*const libc::c_char; 5],
        environment: [*const libc::c_char; 2],
    }
    extern "C" fn child(plan: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the parent passes a `Plan` that it keeps until this process has ended.
        let plan = unsafe { &*plan.cast::<Plan>() };
        let mut byte = 0_u8;
        // SAFETY: descriptors of the plan; `byte` is writable.
        unsafe { libc::read(plan.go, (&raw mut byte).cast(), 1) };
        // SAFETY: descriptors of the plan.
        unsafe { libc::dup2(plan.said, 1) };
        // SAFETY: as above: closed after the parent's last word, it ends the program that is run now.
        unsafe { libc::dup2(plan.go, 0) };
        // SAFETY: strings with a NUL and lists with a null at the end.
        unsafe { libc::execve(plan.program.as_ptr(), plan.arguments.as_ptr(), plan.environment.as_ptr()) };
        1
    }
    let (go, mut said) =
        (std::os::unix::net::UnixStream::pair().unwrap(), std::os::unix::net::UnixStream::pair().unwrap());
    let arguments = [test, "--exact", "--nocapture", "--test-threads=1"]
        .map(|text| std::ffi::CString::new(text).unwrap());
    let role = c"FOLIO_CHILD=after";
    let program = std::ffi::CString::new(std::env::current_exe().unwrap().as_os_str().as_bytes()).unwrap();
    let [a, b, c, _] = &arguments;
    let mut plan = Plan {
        go: go.1.as_raw_fd(),
        said: said.1.as_raw_fd(),
        arguments: [program.as_ptr(), a.as_ptr(), b.as_ptr(), c.as_ptr(), std::ptr::null()],
        environment: [role.as_ptr(), std::ptr::null()],
        program,
    };
    // Where the next program has nothing.
    let area = Area::apart(3);
    let stack = Area::new(64);
    let top = std::ptr::with_exposed_provenance_mut::<libc::c_void>(stack.page(64));
    // SAFETY: the child runs on a stack of its own, makes system calls only, and leaves this memory by `exec`; the plan and
    // the stack are kept until then.
    let pid = unsafe { libc::clone(child, top, libc::CLONE_VM | libc::SIGCHLD, (&raw mut plan).cast()) };
    assert!(pid > 0);
    let process = Process::open(pid.unsigned_abs()).unwrap();
    // Now it shares this memory ...
    assert!(process.query(area.page(1)).unwrap().is_writable());
    std::io::Write::write_all(&mut &go.0, b"x").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"> again") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut said.0, &mut byte).unwrap();
        heard.push(byte[0]);
    }
    // ... and now no longer.
    assert_eq!(process.query(area.page(1)).map_err(|error| error.kind()), Err(ErrorKind::Unmapped));
    assert!(!listed_and_queried_alike(&process).is_empty());
    go.0.shutdown(std::net::Shutdown::Both).unwrap();
    let mut status = 0;
    // SAFETY: our child, and `status` is writable.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
}

/// A thread's number opens its process, for as long as that lives.
#[test]
fn the_number_of_a_thread_opens_its_process() {
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: no precondition.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        tell.send(u32::try_from(thread).unwrap()).unwrap();
        let _ended = ended.recv();
    });
    let process = Process::open(told.recv().unwrap()).unwrap();
    assert_eq!(process.id(), std::process::id());
    drop(end);
    thread.join().unwrap();
    let local = 1_u8;
    assert!(process.query((&raw const local).addr()).unwrap().is_writable());
    assert!(!process.snapshot().unwrap().is_empty());
}

/// Trap: process ids are reused.
#[test]
fn a_handle_does_not_follow_its_number_to_another_process() {
    let test = "a_handle_does_not_follow_its_number_to_another_process";
    let mut helper = Helper::start("helper_that_waits", "child");
    helper.line();
    let pid = helper.pid();
    let process = Process::open(pid).unwrap();
    let address = process.regions().unwrap().next().unwrap().unwrap().as_range().start;
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
    for _ in 0..200 {
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
            return skipped(test, "choosing the next process's number takes CAP_CHECKPOINT_RESTORE");
        }
        let mut next = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let reused = next.id() == pid;
        if reused {
            assert_eq!(process.query(address).unwrap_err().kind(), ErrorKind::ProcessEnded);
            assert_eq!(process.snapshot().unwrap_err().kind(), ErrorKind::ProcessEnded);
            assert_eq!(process.usage(address).unwrap_err().kind(), ErrorKind::ProcessEnded);
            assert!(Process::open(pid).is_ok());
        }
        next.kill().unwrap();
        next.wait().unwrap();
        if reused {
            return;
        }
    }
    skipped(test, "other processes kept taking the number");
}

/// Threads of the kernel live and have no memory: an empty list, and nothing mapped anywhere.
#[test]
fn a_kernel_thread_has_nothing_mapped() {
    let test = "a_kernel_thread_has_nothing_mapped";
    let comm = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if comm != "kthreadd\n" {
        return skipped(test, "no kernel thread is to be seen here (a container, or /proc hides them)");
    }
    let process = match Process::open(2) {
        Err(error) if error.kind() == ErrorKind::NotPermitted => {
            return skipped(test, "looking at kernel threads takes CAP_SYS_PTRACE");
        }
        opened => opened.unwrap(),
    };
    assert_eq!(process.regions().unwrap().count(), 0);
    assert_eq!(process.query(0x1000).unwrap_err().kind(), ErrorKind::Unmapped);
    assert!(process.snapshot().unwrap().is_empty());
}

/// In a signal handler that interrupts queries at any point of theirs, queries work and `errno` is left as it was.
#[test]
fn a_signal_handler_may_query() {
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    static RIGHT: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn handler(_: libc::c_int) {
        // SAFETY: no precondition.
        let errno = unsafe { errno_location() };
        // SAFETY: the address of this thread's `errno`, valid as long as the thread.
        let errno = unsafe { &mut *errno };
        *errno = 4242;
        let local = 1_u8;
        let found = query(&raw const local).is_ok_and(|region| region.is_writable());
        let hole = query(std::ptr::null::<u8>()).is_err_and(|error| error.kind() == ErrorKind::Unmapped);
        // Elsewhere the calls are libc's.
        let raw = cfg!(any(
            target_arch = "x86",
            target_arch = "x86_64",
            target_arch = "arm",
            target_arch = "aarch64",
            target_arch = "riscv64"
        ));
        let counter = if found && hole && (*errno == 4242 || !raw) { &RIGHT } else { &WRONG };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    let test = "a_signal_handler_may_query";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let handler: extern "C" fn(libc::c_int) = handler;
    // SAFETY: an all-zero sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler calls only what may be called in one.
    assert_eq!(unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) }, 0);
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 200 },
        it_value: libc::timeval { tv_sec: 0, tv_usec: 200 },
    };
    // SAFETY: `timer` is readable.
    assert_eq!(unsafe { libc::setitimer(ITIMER_REAL, &raw const timer, std::ptr::null_mut()) }, 0);
    let local = 1_u8;
    let started = std::time::Instant::now();
    while RIGHT.load(Ordering::Relaxed) < 200 && started.elapsed().as_secs() < 20 {
        assert!(query(&local).unwrap().is_writable());
        assert!(Process::current().snapshot().unwrap().find((&raw const local).addr()).is_some());
    }
    assert_eq!(WRONG.load(Ordering::Relaxed), 0);
    assert!(RIGHT.load(Ordering::Relaxed) >= 200);
    let off = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: off, it_value: off };
    // SAFETY: `timer` is readable.
    unsafe { libc::setitimer(ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

/// x86-64 shows a page at the top of the address space that is none of the process's own.
#[test]
fn vsyscall_is_found_where_the_listing_shows_it() {
    let address = 0xffff_ffff_ff60_0000_u64;
    let Ok(address) = usize::try_from(address) else {
        return skipped("vsyscall_is_found_where_the_listing_shows_it", "no address of 64 bits here");
    };
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    let shown = String::from_utf8_lossy(&maps).contains("[vsyscall]");
    let queried = query(without_provenance::<u8>(address + 17));
    assert_eq!(queried.is_ok(), shown);
    let regions = |from: usize, len| -> Vec<folio::Region> {
        folio::query_range(without_provenance::<u8>(from), len).unwrap().map(Result::unwrap).collect()
    };
    for _ in 0..2 {
        assert_eq!(
            regions(0, usize::MAX).iter().filter(|region| region.contains(address)).count(),
            usize::from(shown)
        );
        assert_eq!(regions(address, 1).len(), usize::from(shown));
    }
    let snapshot = folio::Process::current().snapshot().unwrap();
    assert_eq!(
        snapshot.find(address).map(|found| found.backing().name().to_vec()),
        shown.then(|| b"[vsyscall]".to_vec())
    );
}

/// Many threads at once, one of which keeps closing whatever descriptors folio has.
#[test]
fn many_threads_query_while_one_closes_descriptors() {
    let test = "many_threads_query_while_one_closes_descriptors";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    let area = Area::new(3);
    area.protect(1, 1, Protection::READ);
    static LEFT: AtomicI32 = AtomicI32::new(3);
    /// Counts down when a thread panics, too: the last one must not wait for ever.
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            LEFT.fetch_sub(1, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let _done = Done;
                for _ in 0..common::rounds(3000) {
                    let region = query(without_provenance::<u8>(area.page(1))).unwrap();
                    assert_eq!(region.as_range(), area.page(1)..area.page(2));
                }
            });
        }
        scope.spawn(|| {
            while LEFT.load(Ordering::Relaxed) > 0 {
                // Numbers that only folio uses here.
                for number in 900..1100 {
                    // SAFETY: takes folio's descriptors away: that is the test.
                    unsafe { libc::close(number) };
                }
                std::thread::yield_now();
            }
        });
    });
}
