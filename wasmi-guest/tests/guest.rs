//! A program in a wasm machine that asks something of us, grows its memory, and ends.

use folio::process::{Error, ReadableProcessBuffer, WriteableProcessBuffer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmi_guest::{Allowed, WasmProcess, WasmReadOnly, WasmReadWrite};

/// `ask(n)` lets a question be read and room for an answer be written, asks, and gives the answer's first byte. `grow(n)` grows the memory.
/// `allow(offset)` lets 16 bytes from there on be written. `nothing(offset)` lets nothing be read.
const PROGRAM: &str = r#"
(module
  (import "host" "allow_read_only" (func $allow_read_only (param i32 i32 i32) (result i32)))
  (import "host" "allow_read_write" (func $allow_read_write (param i32 i32 i32) (result i32)))
  (import "host" "command" (func $command (param i32) (result i32)))
  (memory (export "memory") 1 100)
  (data (i32.const 256) "question")
  (func (export "ask") (param i32) (result i32)
    (drop (call $allow_read_only (i32.const 0) (i32.const 256) (i32.const 8)))
    (drop (call $allow_read_write (i32.const 0) (i32.const 512) (i32.const 16)))
    (drop (call $command (local.get 0)))
    (i32.load8_u (i32.const 512)))
  (func (export "grow") (param i32) (result i32)
    (memory.grow (local.get 0)))
  (func (export "allow") (param i32) (result i32)
    (call $allow_read_write (i32.const 1) (local.get 0) (i32.const 16)))
  (func (export "nothing") (param i32) (result i32)
    (call $allow_read_only (i32.const 2) (local.get 0) (i32.const 0)))
  (func (export "load") (param i32) (result i32)
    (i32.load8_u (local.get 0)))
  (func (export "trap") (param i32) (result i32)
    (unreachable)))
"#;

fn process(command: impl FnMut(&Allowed, u32) -> u32 + Send + 'static) -> WasmProcess {
    WasmProcess::new(&wat::parse_str(PROGRAM).unwrap(), command).unwrap()
}

fn read_write(process: &WasmProcess, number: u32) -> WasmReadWrite {
    process.allowed().unwrap().read_write(number)
}

#[test]
fn a_question_is_answered() {
    let mut process = process(|allowed, argument| {
        let question = allowed.read_only(0).enter(|slice| slice.to_vec()).unwrap();
        assert_eq!(question, b"question");
        allowed.read_write(0).mut_enter(|slice| slice.write_le(0, argument + 1).unwrap()).unwrap();
        0
    });
    assert_eq!(process.call("ask", 41).unwrap(), 42);
    // Between two calls, too.
    let buffer = read_write(&process, 0);
    assert_eq!(buffer.enter(|slice| slice.read_le::<u32>(0)), Ok(Ok(42)));
    buffer.mut_enter(|slice| slice[1].set(9)).unwrap();
    assert_eq!(process.call("load", 513).unwrap(), 9);
}

#[test]
fn a_default_buffer_is_nobodys() {
    let buffer = WasmReadWrite::default();
    assert_eq!(buffer.mut_enter(|_| unreachable!()), Err::<(), _>(Error::NoSuchApp));
    assert!(buffer.len() == 0 && buffer.ptr().is_null() && buffer.mut_ptr().is_null());
    assert_eq!(WasmReadOnly::default().enter(|_| unreachable!()), Err::<(), _>(Error::NoSuchApp));
}

#[test]
fn what_is_not_in_the_memory_is_not_allowed() {
    let mut process = process(|_, _| 0);
    for (offset, refused) in [(0, 0), (65520, 0), (65521, 1), (65536, 1), (u32::MAX, 1), (u32::MAX - 15, 1)] {
        assert_eq!(process.call("allow", offset).unwrap(), refused, "{offset}");
    }
    assert_eq!(read_write(&process, 1).len(), 16);
    // Nothing may lie anywhere, and has no address.
    for offset in [0, 65536, u32::MAX] {
        assert_eq!(process.call("nothing", offset).unwrap(), 0);
        let nothing = process.allowed().unwrap().read_only(2);
        assert!(nothing.ptr().is_null());
        assert_eq!(nothing.enter(|slice| slice.len()), Ok(0));
    }
    drop(process);
}

/// The memory grows, and lies elsewhere then: the same buffer has the same bytes.
#[test]
fn a_buffer_follows_the_memory_that_grows() {
    let mut process = process(|_, _| 0);
    assert_eq!(process.call("allow", 1000).unwrap(), 0);
    let buffer = read_write(&process, 1);
    let mut places = std::collections::HashSet::new();
    for (round, pages) in [1_u8, 5, 20, 50].into_iter().enumerate() {
        buffer.mut_enter(|slice| slice.fill(pages)).unwrap();
        assert_ne!(process.call("grow", u32::from(pages)).unwrap(), u32::MAX);
        assert_eq!(
            buffer.enter(|slice| (slice.as_ptr() == buffer.ptr(), slice.to_vec())),
            Ok((true, vec![pages; 16]))
        );
        assert_eq!(process.call("load", 1015).unwrap(), u32::from(pages));
        let grown = 65536 + [1, 6, 26, 76][round] * 65536 - 16;
        assert_eq!(process.call("allow", grown + 1).unwrap(), 1);
        places.insert(buffer.ptr());
    }
    assert!(places.len() > 1, "it never moved: nothing is tested");
}

#[test]
fn one_that_has_ended_lets_nobody_in_and_goes_with_the_last() {
    let mut process = process(|_, _| 0);
    assert_eq!(process.call("allow", 0).unwrap(), 0);
    let buffer = read_write(&process, 1);
    buffer
        .mut_enter(|slice| {
            slice.fill(1);
            drop(process);
            assert_eq!((buffer.len(), buffer.enter(|_| ())), (0, Err(Error::NoSuchApp)));
            slice.fill(2);
            assert!(slice.equals(&[2; 16]));
        })
        .unwrap();
    assert_eq!(buffer.mut_enter(|_| unreachable!()), Err::<(), _>(Error::NoSuchApp));
}

#[test]
fn panics_and_traps_leave_it_usable() {
    let mut process = process(|allowed, argument| {
        allowed.read_only(0).enter(|_| assert_ne!(argument, 13, "in a closure, in a system call")).unwrap();
        7
    });
    assert!(process.call("trap", 0).is_err());
    assert_eq!(process.call("allow", 0).unwrap(), 0);
    let buffer = read_write(&process, 1);
    assert!(catch_unwind(AssertUnwindSafe(|| buffer.enter(|_| panic!("in a closure")))).is_err());
    assert_eq!(buffer.enter(|slice| slice.len()), Ok(16));
    assert_eq!(process.call("load", 256).unwrap(), u32::from(b'q'));
    // In a system call: nobody waits for ever for a program that is no more.
    assert!(catch_unwind(AssertUnwindSafe(|| process.call("ask", 13))).is_err());
    assert_eq!(buffer.enter(|_| unreachable!()), Err::<(), _>(Error::NoSuchApp));
    assert!(process.call("ask", 1).is_err());
}

/// Threads that are in its memory whenever it rests, while it grows and asks.
#[test]
fn it_runs_when_nobody_is_inside() {
    let entered = Arc::new(AtomicUsize::new(0));
    let mut process = process(|_, _| {
        std::thread::yield_now();
        0
    });
    assert_eq!(process.call("allow", 2048).unwrap(), 0);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (buffer, entered) = (read_write(&process, 1), Arc::clone(&entered));
            std::thread::spawn(move || {
                while buffer.mut_enter(|slice| slice.fetch_add(0, 1_u32).unwrap()).is_ok() {
                    entered.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            })
        })
        .collect();
    for _ in 0..50 {
        process.call("grow", 1).unwrap();
        process.call("ask", 1).unwrap();
    }
    while entered.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let buffer = read_write(&process, 1);
    drop(process);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(buffer.len(), 0);
}
