//! Code memory that each thread opens for itself: by protection keys, or as `MAP_JIT`.
#![cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]

mod common;

use common::{Helper, died, role, rounds, say, skipped};
use folio::{Capabilities, CodeMemory, CodeOptions, CodePiece, CodeStrategy, FnRef, Protection, query};
use std::sync::mpsc;

type Number = extern "C" fn() -> u32;

/// A function that returns a number which stands behind it; where that is.
fn reading(number: u32) -> Option<(Vec<u8>, usize)> {
    if cfg!(target_arch = "x86_64") {
        // mov eax, [rip + 2]; ret; int3
        Some(([&[0x8b, 5, 2, 0, 0, 0, 0xc3, 0xcc][..], &number.to_le_bytes()].concat(), 8))
    } else if cfg!(target_arch = "aarch64") {
        // ldr w0, 8; ret
        let words = [0x1800_0040_u32, 0xd65f_03c0, number];
        Some((words.into_iter().flat_map(u32::to_le_bytes).collect(), 8))
    } else {
        None
    }
}

fn areas(test: &str, capacity: usize) -> Vec<CodeMemory> {
    if reading(1).is_none() {
        skipped(test, "no code for this processor");
        return Vec::new();
    }
    let all = [CodeStrategy::ProtectionKey, CodeStrategy::MapJit].into_iter().filter_map(|strategy| {
        let made = CodeOptions::new(capacity).strategy(strategy).map();
        assert_eq!(Capabilities::probe().code(strategy), made.is_ok());
        made.inspect_err(|error| skipped(test, &format!("{strategy:?}: {error}"))).ok()
    });
    all.collect()
}

fn function(code: &CodeMemory, number: u32) -> CodePiece {
    let (bytes, _) = reading(number).unwrap();
    let mut draft = code.draft(bytes.len()).unwrap();
    draft.copy_from_slice(&bytes);
    draft.publish().unwrap()
}

fn call(piece: &CodePiece) -> u32 {
    // SAFETY: a function of this type.
    let function: FnRef<'_, Number> = unsafe { piece.get_fn(0) }.unwrap();
    function.call(())
}

#[test]
fn functions_are_published_and_patched() {
    for code in areas("functions_are_published_and_patched", 1 << 16) {
        let pieces: Vec<_> = (0..100).map(|number| function(&code, number)).collect();
        for (piece, number) in pieces.iter().zip(0..) {
            assert_eq!(call(piece), number);
        }
        for (piece, number) in pieces.iter().zip(1000_u32..) {
            // SAFETY: the constant, which nobody reads now.
            unsafe { piece.patch(8, &number.to_le_bytes()) }.unwrap();
        }
        for (piece, number) in pieces.iter().zip(1000..) {
            assert_eq!(call(piece), number);
        }
        assert_eq!(query(pieces[0].address()).unwrap().protection(), Protection::READ_WRITE_EXECUTE);
        let used = code.usage().used;
        drop(pieces);
        assert!(used > 0 && code.usage().used == 0);
        code.trim().unwrap();
        assert_eq!(call(&function(&code, 7)), 7);
    }
}

/// Threads publish and call at once, each with its own rights.
#[test]
fn threads_publish_and_call() {
    for code in areas("threads_publish_and_call", 1 << 20) {
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let code = &code;
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    for round in 0..rounds(1000) {
                        let number = thread << 16 | round;
                        kept.push((number, function(code, number)));
                        if kept.len() > 10 {
                            kept.swap_remove(round as usize % 10);
                        }
                        assert!(kept.iter().all(|(number, piece)| call(piece) == *number));
                    }
                });
            }
        });
    }
}

/// A thread that was there before may execute, and read once it says so.
#[test]
fn older_threads_may_read_when_they_say_so() {
    let (ask, asked) = mpsc::channel::<(CodeMemory, CodePiece)>();
    let (answer, answered) = mpsc::channel();
    let older = std::thread::spawn(move || {
        for (code, piece) in asked {
            code.let_thread_read();
            answer.send(call(&piece)).unwrap();
        }
    });
    for code in areas("older_threads_may_read_when_they_say_so", 1) {
        let piece = function(&code, 5);
        ask.send((code, piece)).unwrap();
        assert_eq!(answered.recv().unwrap(), 5);
    }
    drop(ask);
    older.join().unwrap();
}

/// While one thread publishes without end, another that writes dies of it; and so does the one that publishes, when it does not.
#[test]
fn who_writes_without_publishing_dies() {
    const TEST: &str = "who_writes_without_publishing_dies";
    match role() {
        None => {
            for code in areas(TEST, 1) {
                for writer in ["other", "same"] {
                    let mut child = Helper::start(TEST, format!("{:?} {writer}", code.strategy()));
                    assert_eq!(child.line(), "ready");
                    let status = child.wait();
                    assert!(died(status), "{writer}: {status:?}");
                }
            }
        }
        Some(role) => {
            let role = role.into_string().unwrap();
            let strategy =
                if role.starts_with("MapJit") { CodeStrategy::MapJit } else { CodeStrategy::ProtectionKey };
            let code = CodeOptions::new(1 << 16).strategy(strategy).map().unwrap();
            let piece = function(&code, 1);
            let place = std::ptr::with_exposed_provenance_mut::<u8>(piece.address().addr());
            assert_eq!(call(&piece), 1);
            let write = move |place: usize| {
                say("ready");
                // SAFETY: it is not: this ends the process.
                unsafe { std::ptr::with_exposed_provenance_mut::<u8>(place).write_volatile(2) };
                say("alive");
            };
            if role.ends_with("same") {
                return write(place.addr());
            }
            let place = place.addr();
            let other = std::thread::spawn(move || write(place));
            while !other.is_finished() {
                drop(function(&code, 3));
            }
        }
    }
}

/// Keys come back with the area.
#[test]
fn keys_come_back() {
    const TEST: &str = "keys_come_back";
    if !Capabilities::probe().code(CodeStrategy::ProtectionKey) {
        return skipped(TEST, "no protection keys");
    }
    match role() {
        None => Helper::start(TEST, "child").finish(),
        Some(_) => {
            for _ in 0..40 {
                let code = CodeOptions::new(1).strategy(CodeStrategy::ProtectionKey).map().unwrap();
                drop(code.draft(1).unwrap().publish().unwrap());
            }
        }
    }
}
