//! Pages that can be executed: real machine code in them, and what the system denies.
#![cfg(feature = "allow_exec")]

mod common;

use common::{Helper, role, rounds, say, skipped};
use folio::{
    AllowExec, AllowRead, AllowWrite, DenyExec, DenyRead, DenyWrite, ErrorKind, Mmap, MmapExec, MmapMut,
    MmapNone, MmapOptions, Pages, Protection, page, query,
};
use proptest::prelude::*;
use std::sync::mpsc;

type ExecOnly = Pages<DenyRead, DenyWrite, AllowExec>;
type WriteOnly = Pages<DenyRead, AllowWrite, DenyExec>;

fn unwrap<T, U>(changed: Result<T, (U, folio::Error)>) -> T {
    changed.map_err(|(_, error)| error).unwrap()
}

fn shown(address: usize) -> Protection {
    query(std::ptr::without_provenance::<u8>(address)).unwrap().protection()
}

/// Whether the system grants what was wanted, or as little more as there is: Windows knows no writing without reading, and on
/// Apple's systems whatever is not nothing can be read.
fn granted(address: usize, wanted: Protection) -> bool {
    let found = shown(address);
    let with_read = if wanted.is_empty() { wanted } else { wanted | Protection::READ };
    found == wanted || (cfg!(any(windows, target_vendor = "apple")) && found == with_read)
}

/// A function that returns a number below 128, in the words of this processor.
fn code(number: u8) -> Option<Vec<u8>> {
    assert!(number < 128);
    let words = |words: [u32; 2]| Some(words.into_iter().flat_map(u32::to_ne_bytes).collect());
    let n = u32::from(number);
    if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        // mov eax, n; ret
        Some(vec![0xb8, number, 0, 0, 0, 0xc3])
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        // mov w0, n; ret
        words([0x5280_0000 | n << 5, 0xd65f_03c0])
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        // li 3, n; blr
        words([0x3860_0000 | n, 0x4e80_0020])
    } else if cfg!(any(target_arch = "riscv32", target_arch = "riscv64")) {
        // li a0, n; ret
        words([n << 20 | 10 << 7 | 0x13, 0x0000_8067])
    } else if cfg!(target_arch = "arm") {
        // mov r0, n; bx lr
        words([0xe3a0_0000 | n, 0xe12f_ff1e])
    } else if cfg!(target_arch = "loongarch64") {
        // ori a0, zero, n; ret
        words([0x0380_0004 | n << 10, 0x4c00_0020])
    } else {
        None
    }
}

/// Further apart than any cache's lines are long, so that each function has lines of its own.
const STEP: usize = 256;

/// Fills pages with functions, the first of which returns `first`, the next one more, and so on.
fn write_code(pages: &mut [u8], first: usize) {
    for (number, room) in pages.chunks_mut(STEP).enumerate() {
        let code = code(((first + number) % 128).try_into().unwrap()).unwrap();
        room[..code.len()].copy_from_slice(&code);
    }
}

/// Calls the function at an address.
///
/// # Safety
///
/// There is one, of [`code`].
unsafe fn call(address: usize) -> usize {
    let place: *const u8 = std::ptr::with_exposed_provenance(address);
    // SAFETY: the caller's promise.
    let function = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u32>(place) };
    function().try_into().unwrap()
}

/// Whether all functions that [`write_code`] wrote answer as they were written to.
fn answers<R: folio::ReadAccess, W: folio::WriteAccess>(pages: &Pages<R, W, AllowExec>, first: usize)
where
    (W, AllowExec): folio::Together,
{
    let _exposed = pages.as_ptr().expose_provenance();
    for number in 0..pages.len() / STEP {
        // SAFETY: `write_code` put one there (the tests), and the type says that it can be executed.
        let answer = unsafe { call(pages.start() + number * STEP) };
        assert_eq!(answer, (first + number) % 128, "function {number}");
    }
}

/// Whether this machine lets the test execute anything; says so if not.
fn may_execute(test: &str) -> bool {
    if code(0).is_none() {
        skipped(test, "no machine code for this processor");
        return false;
    }
    match Pages::new(1).unwrap().make_exec() {
        Err((_, error)) if error.kind() == ErrorKind::NotPermitted => {
            skipped(test, &format!("nothing may be executed here: {error}"));
            false
        }
        done => {
            drop(unwrap(done));
            true
        }
    }
}

/// Trap: the instruction cache flushed after the pages became executable, or not at all.
#[test]
fn what_was_written_last_is_executed() {
    if !may_execute("what_was_written_last_is_executed") {
        return;
    }
    let mut pages = Pages::new(2 * page::size()).unwrap();
    for round in 0..rounds(60).try_into().unwrap() {
        write_code(&mut pages, round);
        // Through each of the ways to executable pages, from each state.
        let exec: MmapExec = match round % 8 {
            0 => unwrap(pages.make_exec()),
            1 => unwrap(unwrap(pages.make_read_only()).make_exec()),
            2 => unwrap(unwrap(pages.make_none()).make_exec()),
            3 => unwrap(unwrap(pages.make_read_only()).allow_exec()),
            4 => unwrap(pages.set_protected_exec()),
            5 => MmapExec::try_from(pages).unwrap(),
            6 => {
                let exec: ExecOnly = unwrap(unwrap(pages.make_none()).allow_exec());
                answers(&exec, round);
                unwrap(exec.allow_read())
            }
            _ => {
                pages.flush_icache().unwrap();
                // SAFETY: just flushed.
                unwrap(unsafe { pages.make_exec_no_flush() })
            }
        };
        answers(&exec, round);
        assert_eq!(shown(exec.start()), Protection::READ_EXECUTE);
        pages = match round % 3 {
            0 => unwrap(exec.make_mut()),
            1 => unwrap(exec.allow_write_no_exec()),
            _ => unwrap(unwrap(exec.deny_exec()).allow_write()),
        };
        assert_eq!(shown(pages.start()), Protection::READ_WRITE);
    }
}

#[test]
fn a_part_can_be_flushed() {
    if !may_execute("a_part_can_be_flushed") {
        return;
    }
    let mut pages = Pages::new(2 * page::size()).unwrap();
    write_code(&mut pages, 0);
    let mut pages = unwrap(unwrap(pages.make_exec()).make_mut());
    let mut numbers: Vec<usize> = (0..pages.len() / STEP).map(|number| number % 128).collect();
    for round in 0..rounds(40).try_into().unwrap() {
        let number = (round * 7) % numbers.len();
        let start = number * STEP;
        numbers[number] = (round + 31) % 128;
        let code = code(numbers[number].try_into().unwrap()).unwrap();
        pages[start..start + code.len()].copy_from_slice(&code);
        // Neither end on a line.
        pages.flush_icache_range(start..start + code.len()).unwrap();
        // SAFETY: what was written is flushed.
        let exec = unwrap(unsafe { pages.make_exec_no_flush() });
        let _exposed = exec.as_ptr().expose_provenance();
        for (number, expected) in numbers.iter().enumerate() {
            // SAFETY: functions are in all of these places.
            assert_eq!(unsafe { call(exec.start() + number * STEP) }, *expected);
        }
        pages = unwrap(exec.make_mut());
    }
}

/// Code written by one thread and executed by another one, which has executed what was there before. (Between the two they
/// exchange a message, in which a processor without `membarrier` serializes as well.)
#[test]
fn another_thread_executes_what_was_written_last() {
    if !may_execute("another_thread_executes_what_was_written_last") {
        return;
    }
    let (to, given) = mpsc::channel::<(MmapExec, usize)>();
    let (back, done) = mpsc::channel();
    let other = std::thread::spawn(move || {
        for (exec, round) in given {
            answers(&exec, round);
            back.send(exec).unwrap();
        }
    });
    let mut pages = Pages::new(1).unwrap();
    for round in 0..rounds(200).try_into().unwrap() {
        write_code(&mut pages, round);
        to.send((unwrap(pages.make_exec()), round)).unwrap();
        pages = unwrap(done.recv().unwrap().make_mut());
    }
    drop(to);
    other.join().unwrap();
}

#[test]
fn the_types_rights_are_the_systems() {
    if !may_execute("the_types_rights_are_the_systems") {
        return;
    }
    let exec: MmapExec = MmapOptions::new(3 * page::size() - 1).map_exec().unwrap();
    let start = exec.start();
    assert_eq!((exec.len(), MmapExec::PROTECTION), (3 * page::size(), Protection::READ_EXECUTE));
    assert!(exec.iter().all(|&byte| byte == 0) && shown(start) == Protection::READ_EXECUTE);
    assert!(format!("{exec:?}").ends_with(" r-x)"), "{exec:?}");
    // By `TryFrom`, each pair.
    let none = MmapNone::try_from(exec).unwrap();
    assert_eq!(shown(start), Protection::NONE);
    let exec = MmapExec::try_from(none).unwrap();
    let read = Mmap::try_from(exec).unwrap();
    assert_eq!(shown(start), Protection::READ);
    let exec = MmapExec::try_from(read).unwrap();
    let writable = MmapMut::try_from(exec).unwrap();
    assert_eq!(shown(start), Protection::READ_WRITE);
    let exec = MmapExec::try_from(writable).unwrap();
    assert_eq!(shown(start), Protection::READ_EXECUTE);

    // One right at a time.
    let only: ExecOnly = unwrap(exec.deny_read());
    assert!(granted(start, Protection::EXECUTE));
    let none: MmapNone = unwrap(only.deny_exec());
    assert_eq!(shown(start), Protection::NONE);
    let only: ExecOnly = unwrap(none.set_protected_exec());
    assert!(granted(start, Protection::EXECUTE));
    let write_only: WriteOnly = unwrap(only.allow_write_no_exec());
    assert!(granted(start, Protection::WRITE));
    let only: ExecOnly = unwrap(write_only.set_protected_exec());
    assert!(granted(start, Protection::EXECUTE));
    let exec: MmapExec = unwrap(only.allow_read());
    let read: Pages<AllowRead, DenyWrite, DenyExec> = unwrap(exec.deny_exec());
    assert_eq!(shown(start), Protection::READ);
    let _exec: MmapExec = unwrap(read.allow_exec());
    assert_eq!(shown(start), Protection::READ_EXECUTE);

    // Placed, aligned, guarded, split and merged as any other.
    let page = page::size();
    let options = MmapOptions::new(4 * page).align(1 << 20).guard_before(page).guard_after(page).jit();
    let mut exec = options.map_exec().unwrap();
    assert_eq!(exec.start() % (1 << 20), 0);
    let high = exec.split_off(page).unwrap();
    let high = unwrap(unwrap(high.make_mut()).make_exec());
    unwrap(exec.merge(high));
    assert_eq!((exec.len(), shown(exec.end() - 1)), (4 * page, Protection::READ_EXECUTE));
    let function = the_types_rights_are_the_systems as *const () as usize;
    let near = MmapOptions::new(1).near(function, 256 << 20).jit().map_exec().unwrap();
    assert!(near.start().abs_diff(function) <= 256 << 20);
    let at = near.start();
    drop(near);
    let error = MmapOptions::new(1).at(exec.start()).jit().map_exec().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Occupied);
    if let Ok(there) = MmapOptions::new(1).at(at).jit().map_mut() {
        assert_eq!(there.start(), at);
    }
}

/// What the processor denies ends the process.
#[test]
fn what_is_denied_ends_the_process() {
    let test = "what_is_denied_ends_the_process";
    if let Some(name) = role() {
        let mut pages = Pages::new(1).unwrap();
        write_code(&mut pages, 1);
        let exec = unwrap(pages.make_exec());
        answers(&exec, 1);
        let place = exec.start();
        say("ready");
        let pages: Box<dyn std::any::Any> = match name.to_str().unwrap() {
            "execute" | "write" => Box::new(exec),
            "execute nothing" => Box::new(unwrap(exec.make_none())),
            "execute read-only" => Box::new(unwrap(exec.make_read_only())),
            "execute writable" => Box::new(unwrap(exec.make_mut())),
            "execute denied" => Box::new(unwrap(exec.deny_exec())),
            other => panic!("{other}"),
        };
        if name == "write" {
            let place: *mut u8 = std::ptr::with_exposed_provenance_mut(place);
            // SAFETY: it is found out, in a process that ends for it, what the system denies.
            unsafe { place.write_volatile(1) };
        } else {
            // SAFETY: likewise.
            assert_eq!(unsafe { call(place) }, 1);
        }
        return drop(pages);
    }
    if !may_execute(test) {
        return;
    }
    for (name, dies) in [
        ("execute", false),
        ("write", true),
        ("execute nothing", true),
        ("execute read-only", true),
        ("execute writable", true),
        ("execute denied", true),
    ] {
        let mut child = Helper::start(test, name);
        assert_eq!(child.line(), "ready");
        assert_eq!(!child.wait().success(), dies, "{name}");
    }
}

/// Trap: an error on the way to executable pages gave a type that lied. Here the kernel really refuses: `PR_SET_MDWE` (Linux 6.3).
#[cfg(target_os = "linux")]
#[test]
fn a_policy_that_forbids_it_is_an_error_with_a_remedy() {
    let test = "a_policy_that_forbids_it_is_an_error_with_a_remedy";
    if role().is_none() {
        return Helper::start(test, "child").finish();
    }
    const SET_MDWE: libc::c_int = 65;
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    let nothing: libc::c_ulong = 0;
    let mut pages = MmapOptions::new(2 * page::size()).map_mut().unwrap();
    // SAFETY: a promise of this process about itself.
    if unsafe { libc::prctl(SET_MDWE, REFUSE_EXEC_GAIN, nothing, nothing, nothing) } != 0 {
        return skipped(test, "the kernel does not know PR_SET_MDWE");
    }
    for _ in 0..2 {
        let (mut kept, error) = pages.make_exec().unwrap_err();
        assert_eq!((error.kind(), error.changed()), (ErrorKind::NotPermitted, None), "{error}");
        assert!(error.remedy().unwrap().contains("PR_SET_MDWE"), "{error}");
        assert_eq!(shown(kept.start()), Protection::READ_WRITE);
        kept.fill(3);
        let none = unwrap(kept.make_none());
        let (none, error) = none.set_protected_exec().unwrap_err();
        assert_eq!((error.kind(), shown(none.start())), (ErrorKind::NotPermitted, Protection::NONE));
        pages = unwrap(none.make_mut());
        assert!(pages.iter().all(|&byte| byte == 3));
    }
    // What is executable from the start and never was anything else may be had; then the policy holds for it, too.
    let exec = MmapOptions::new(1).map_exec().unwrap();
    let (_, error) = unwrap(exec.make_mut()).make_exec().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
}

enum Any {
    None(MmapNone),
    Read(Mmap),
    Mut(MmapMut),
    WriteOnly(WriteOnly),
    Exec(MmapExec),
    ExecOnly(ExecOnly),
}

macro_rules! each {
    ($any:expr, $pages:ident => $what:expr) => {
        match $any {
            Any::None($pages) => $what,
            Any::Read($pages) => $what,
            Any::Mut($pages) => $what,
            Any::WriteOnly($pages) => $what,
            Any::Exec($pages) => $what,
            Any::ExecOnly($pages) => $what,
        }
    };
}

impl Any {
    fn rights(&self) -> Protection {
        match self {
            Any::None(_) => Protection::NONE,
            Any::Read(_) => Protection::READ,
            Any::Mut(_) => Protection::READ_WRITE,
            Any::WriteOnly(_) => Protection::WRITE,
            Any::Exec(_) => Protection::READ_EXECUTE,
            Any::ExecOnly(_) => Protection::EXECUTE,
        }
    }

    fn change(self, step: usize) -> Self {
        match (step, self) {
            (0, any) => each!(any, pages => Any::None(unwrap(pages.make_none()))),
            (1, any) => each!(any, pages => Any::Read(unwrap(pages.make_read_only()))),
            (2, any) => each!(any, pages => Any::Mut(unwrap(pages.make_mut()))),
            (3, any) => each!(any, pages => Any::Exec(unwrap(pages.make_exec()))),
            (4, Any::None(pages)) => Any::ExecOnly(unwrap(pages.set_protected_exec())),
            (4, Any::WriteOnly(pages)) => Any::ExecOnly(unwrap(pages.set_protected_exec())),
            (4, Any::ExecOnly(pages)) => Any::ExecOnly(unwrap(pages.set_protected_exec())),
            (4, Any::Read(pages)) => Any::Exec(unwrap(pages.set_protected_exec())),
            (4, Any::Mut(pages)) => Any::Exec(unwrap(pages.set_protected_exec())),
            (4, Any::Exec(pages)) => Any::Exec(unwrap(pages.set_protected_exec())),
            (5, Any::None(pages)) => Any::WriteOnly(unwrap(pages.allow_write_no_exec())),
            (5, Any::WriteOnly(pages)) => Any::WriteOnly(unwrap(pages.allow_write_no_exec())),
            (5, Any::ExecOnly(pages)) => Any::WriteOnly(unwrap(pages.allow_write_no_exec())),
            (5, Any::Read(pages)) => Any::Mut(unwrap(pages.allow_write_no_exec())),
            (5, Any::Mut(pages)) => Any::Mut(unwrap(pages.allow_write_no_exec())),
            (5, Any::Exec(pages)) => Any::Mut(unwrap(pages.allow_write_no_exec())),
            (6, Any::None(pages)) => Any::ExecOnly(unwrap(pages.allow_exec())),
            (6, Any::Read(pages)) => Any::Exec(unwrap(pages.allow_exec())),
            (7, Any::ExecOnly(pages)) => Any::None(unwrap(pages.deny_exec())),
            (7, Any::Exec(pages)) => Any::Read(unwrap(pages.deny_exec())),
            (8, Any::None(pages)) => Any::Read(unwrap(pages.allow_read())),
            (8, Any::WriteOnly(pages)) => Any::Mut(unwrap(pages.allow_read())),
            (8, Any::ExecOnly(pages)) => Any::Exec(unwrap(pages.allow_read())),
            (9, Any::Read(pages)) => Any::None(unwrap(pages.deny_read())),
            (9, Any::Mut(pages)) => Any::WriteOnly(unwrap(pages.deny_read())),
            (9, Any::Exec(pages)) => Any::ExecOnly(unwrap(pages.deny_read())),
            (_, any) => any,
        }
    }
}

/// From every state to every one that can be reached from it, in any order: the system has what the types say, what can be read
/// is what was written, and what can be executed answers so.
#[test]
fn whatever_is_done_the_types_are_true() {
    if !may_execute("whatever_is_done_the_types_are_true") {
        return;
    }
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(120)) };
    proptest!(config, |(steps in prop::collection::vec((0_usize..10, 0_usize..128), 1..40))| {
        let mut pages = Pages::new(1).unwrap();
        write_code(&mut pages, 0);
        let mut expected = 0;
        let mut any = Any::Mut(pages);
        for (step, number) in steps {
            any = any.change(step);
            let rights = any.rights();
            let start = each!(&any, pages => pages.start());
            prop_assert!(granted(start, rights), "{:?} for {rights:?}", shown(start));
            match &mut any {
                Any::Mut(pages) => {
                    write_code(pages, number);
                    expected = number;
                }
                Any::Read(pages) => {
                    let code = code(expected.try_into().unwrap()).unwrap();
                    prop_assert_eq!(&pages[..code.len()], &code);
                }
                Any::Exec(pages) => answers(pages, expected),
                Any::ExecOnly(pages) => answers(pages, expected),
                Any::None(_) | Any::WriteOnly(_) => {}
            }
        }
    });
}

/// Writing and executing at once: what the feature `deny_xw` takes away.
#[cfg(not(feature = "deny_xw"))]
mod together {
    use super::*;
    use folio::MmapExecMut;

    /// `None`, and the test is skipped, where the system does not grant the two at once.
    fn made(test: &str) -> Option<MmapExecMut> {
        if !may_execute(test) {
            return None;
        }
        if cfg!(all(target_vendor = "apple", target_arch = "aarch64")) {
            skipped(test, "each thread must switch between writing and executing");
            return None;
        }
        // SAFETY: nobody is given a reference to the bytes; they are flushed before they are executed.
        match unsafe { MmapOptions::new(2 * page::size()).jit().map_exec_mut() } {
            Err(error) if error.kind() == ErrorKind::NotPermitted => {
                skipped(test, &error.to_string());
                None
            }
            made => Some(made.unwrap()),
        }
    }

    #[test]
    fn what_was_written_last_is_executed() {
        let Some(mut pages) = made("together::what_was_written_last_is_executed") else { return };
        assert_eq!(shown(pages.start()), Protection::READ_WRITE_EXECUTE);
        for round in 0..20 {
            write_code(&mut pages, round);
            pages.flush_icache().unwrap();
            answers(&pages, round);
        }
        // There and back, with the code kept.
        let start = pages.start();
        let exec = unwrap(pages.make_exec());
        assert_eq!(shown(start), Protection::READ_EXECUTE);
        answers(&exec, 19);
        // SAFETY: as in `made`.
        let both: MmapExecMut = unwrap(unsafe { exec.allow_write() });
        answers(&both, 19);
        let writable: MmapMut = unwrap(both.deny_exec());
        // SAFETY: likewise.
        let both: MmapExecMut = unwrap(unsafe { writable.allow_exec() });
        answers(&both, 19);
        let exec: MmapExec = unwrap(both.deny_write());
        answers(&exec, 19);
        let none = unwrap(exec.make_none());
        // SAFETY: likewise.
        let both = unwrap(unsafe { none.make_exec_mut() });
        answers(&both, 19);
        let exec = MmapExec::try_from(both).unwrap();
        // SAFETY: likewise.
        let writable = MmapMut::try_from(unwrap(unsafe { exec.make_exec_mut() })).unwrap();
        // SAFETY: likewise.
        let read = Mmap::try_from(unwrap(unsafe { writable.make_exec_mut() })).unwrap();
        // SAFETY: likewise.
        let none = MmapNone::try_from(unwrap(unsafe { read.make_exec_mut() })).unwrap();
        assert_eq!(shown(none.start()), Protection::NONE);
    }

    /// Only of what was made for it, on all systems alike; also a part of such a mapping.
    #[test]
    fn it_takes_the_option() {
        // SAFETY: nothing is executed.
        let error = unsafe { MmapOptions::new(1).map_exec_mut() }.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.remedy().unwrap().contains("jit"));
        let pages = Pages::new(1).unwrap();
        // SAFETY: likewise.
        let (pages, error) = unsafe { pages.make_exec_mut() }.unwrap_err();
        assert_eq!((error.kind(), shown(pages.start())), (ErrorKind::InvalidInput, Protection::READ_WRITE));
        // SAFETY: likewise.
        let (pages, error) = unsafe { pages.allow_exec() }.unwrap_err();
        assert_eq!((error.kind(), shown(pages.start())), (ErrorKind::InvalidInput, Protection::READ_WRITE));
        let Some(mut low) = made("together::it_takes_the_option") else { return };
        let high = low.split_off(page::size()).unwrap();
        let parts = unwrap(high.make_none()).into_raw_parts();
        // SAFETY: just taken apart.
        let high = unsafe { MmapNone::from_raw_parts(parts) };
        // SAFETY: nothing is executed.
        drop(unwrap(unsafe { high.make_exec_mut() }));
    }
}
