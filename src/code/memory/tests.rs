//! With calls that fail, one after the other.

use super::*;
use crate::os::on_linux;
use std::vec;

on_linux! {
    use crate::os::inject;
    use crate::protection::Protection;
    use crate::query;
    use std::boxed::Box;

    /// `ENOMEM`, `EACCES`.
    const CODES: [i32; 2] = [12, 13];

    fn piece(code: &CodeMemory, len: usize, byte: u8) -> CodePiece {
        let mut draft = code.draft(len).unwrap();
        draft.fill(byte);
        draft.publish().map_err(|(_, error)| error).unwrap()
    }

    /// What is executed there, which is nothing that can be written.
    fn content(piece: &CodePiece) -> Vec<u8> {
        assert_eq!(query(piece.address()).unwrap().protection(), Protection::READ_EXECUTE);
        let mut bytes = vec![0; piece.len()];
        // SAFETY: published code can be read, and nobody writes to it; a vector of as many bytes.
        unsafe { piece.address().copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        bytes
    }

    const STRATEGIES: [CodeStrategy; 2] = [CodeStrategy::Dual, CodeStrategy::Toggle];

    fn area(strategy: CodeStrategy) -> CodeMemory {
        CodeOptions::new(16 * page::size()).strategy(strategy).map().unwrap()
    }

    /// Trap: an error after a successful `mmap` leaked the mapping.
    #[test]
    fn an_area_is_whole_or_nothing_of_it_is_left() {
        for &strategy in CodeStrategy::all() {
            for code in CODES {
                for nth in 0.. {
                    let make = || CodeOptions::new(1 << 16).strategy(strategy).map();
                    let ((made, calls), came) =
                        inject::fail_nth(None, nth, code, || inject::calls_of(make));
                    let count = |name| calls.iter().filter(|&&call| call == name).count();
                    if made.is_err() {
                        // The one that failed made nothing; what was made before is unmapped.
                        let mapped = count("mmap") + count("mremap");
                        assert!(mapped <= count("munmap") + 1, "{nth}: {calls:?}");
                    }
                    if !came {
                        break;
                    }
                }
            }
        }
    }

    /// Where there is to be no file in memory, the kernel doubles a mapping.
    #[test]
    fn without_files_a_mapping_is_doubled() {
        let dual = || CodeOptions::new(16 * page::size()).strategy(CodeStrategy::Dual).map();
        for call in ["memfd_create", "ftruncate"] {
            let (made, failed) = inject::fail_from(Some(call), 0, libc::EACCES, dual);
            assert!(failed);
            let code = made.unwrap();
            assert_eq!(content(&piece(&code, 100, 7)), [7; 100]);
            let hole = piece(&code, 5 * page::size(), 8);
            drop(hole);
            assert!(code.trim().unwrap() >= 4 * page::size());
        }
        // Then it is the file's refusal that is told.
        let (made, _) = inject::fail_from(None, 0, libc::EACCES, dual);
        let error = made.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::NotPermitted, Operation::Allocate), "{error}");
        assert!(error.remedy().is_some(), "{error}");
    }

    /// What is published stays as it is, whichever call fails; what was to be published comes back.
    #[test]
    fn what_is_published_outlives_failures() {
        for strategy in STRATEGIES {
            for code in CODES {
                let memory = area(strategy);
                let beside = piece(&memory, 100, 1);
                // Of a part of a page, of several, and of whole pages.
                for len in [100, 2 * page::size() + 5, page::size()] {
                    for nth in 0.. {
                        let Ok(mut draft) = memory.draft(len) else { panic!("no room") };
                        draft.fill(2);
                        let (done, came) = inject::fail_nth(None, nth, code, || draft.publish().map_err(Box::new));
                        match done {
                            Ok(made) => assert_eq!(content(&made), vec![2; len]),
                            Err(refused) => {
                                let (draft, error) = *refused;
                                assert_eq!(error.operation(), Operation::Publish, "{error}");
                                assert!(draft.iter().all(|&byte| byte == 2));
                                let made = draft.publish().map_err(|(_, error)| error).unwrap();
                                assert_eq!(content(&made), vec![2; len]);
                            }
                        }
                        assert_eq!(content(&beside), [1; 100], "{strategy:?}, call {nth}");
                        if !came {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Trap: drafts that come back after a refusal, and whose pages were executable already, so that a safe write to them ended the process.
    #[test]
    fn drafts_that_come_back_can_be_written() {
        let size = page::size();
        for all in [false, true] {
            for nth in 0.. {
                let memory = area(CodeStrategy::Toggle);
                let _beside = piece(&memory, 100, 1);
                // In pages of their own, and beside what is published.
                let lens = [size, 64, 2 * size, 32, size];
                let drafts: Vec<_> = lens
                    .iter()
                    .zip(2_u8..)
                    .map(|(&len, byte)| {
                        let mut draft = memory.draft(len).unwrap();
                        draft.fill(byte);
                        draft
                    })
                    .collect();
                #[expect(clippy::result_large_err, reason = "what comes back is what is tested")]
                let publish = || memory.publish(drafts);
                let (done, came) = if all {
                    inject::fail_from(Some("mprotect"), nth, libc::ENOMEM, publish)
                } else {
                    inject::fail_nth(None, nth, libc::ENOMEM, publish)
                };
                let pieces = match done {
                    Ok(pieces) => pieces,
                    Err((mut drafts, _)) => {
                        for (draft, byte) in drafts.iter_mut().zip(2..) {
                            assert!(draft.iter().all(|&found| found == byte), "{nth}");
                            draft.fill(byte + 1);
                            draft.fill(byte);
                        }
                        memory.publish(drafts).map_err(|(_, error)| error).unwrap()
                    }
                };
                for ((piece, &len), byte) in pieces.iter().zip(&lens).zip(2..) {
                    assert_eq!(content(piece), vec![byte; len]);
                }
                if !came {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_refused_patch_leaves_what_was_there() {
        for strategy in STRATEGIES {
            for code in CODES {
                let memory = area(strategy);
                let patched = piece(&memory, 100, 1);
                for nth in 0.. {
                    // SAFETY: nobody executes it.
                    let (done, came) = inject::fail_nth(None, nth, code, || unsafe { patched.patch(10, &[2; 3]) });
                    let expected = if done.is_ok() { [2; 3] } else { [1; 3] };
                    let found = content(&patched);
                    // The flush behind a patch that is done may be refused, too.
                    assert!(found[10..13] == expected || (done.is_err() && found[10..13] == [2; 3]));
                    assert!(found[..10] == [1; 10] && found[13..] == [1; 87]);
                    if !came {
                        break;
                    }
                    // SAFETY: as above.
                    unsafe { patched.patch(10, &[1; 3]) }.unwrap();
                }
            }
        }
    }

    #[test]
    fn a_refused_draft_or_trim_keeps_no_room() {
        for strategy in STRATEGIES {
            let memory = area(strategy);
            drop(piece(&memory, 3 * page::size(), 1));
            for nth in 0.. {
                let (made, came) = inject::fail_nth(None, nth, 12, || {
                    memory.trim().map(drop).and_then(|()| memory.draft(4 * page::size()).map(drop))
                });
                assert!(made.is_ok() || came);
                assert_eq!(memory.usage().used, 0);
                if !came {
                    break;
                }
            }
            assert_eq!(content(&piece(&memory, 5 * page::size(), 3)), vec![3; 5 * page::size()]);
        }
    }
}

/// Words are written as wholes, and nothing beside what is to be written.
#[test]
fn stores_touch_nothing_else() {
    let mut words = [0_usize; 6];
    let len = size_of_val(&words);
    let first = NonNull::from(&mut words).cast::<u8>();
    for start in 0..len {
        for count in 1..=(len - start).min(20) {
            // SAFETY: within the array.
            unsafe { first.write_bytes(1, len) };
            // SAFETY: as above.
            let to = unsafe { first.add(start) };
            // SAFETY: as above, whose words can be written.
            unsafe { piece::store(to, &vec![2; count]) };
            // SAFETY: as above.
            let found = unsafe { core::slice::from_raw_parts(first.as_ptr(), len) };
            for (at, &byte) in found.iter().enumerate() {
                assert_eq!(
                    byte,
                    if (start..start + count).contains(&at) { 2 } else { 1 },
                    "{start}, {count}"
                );
            }
        }
    }
}
