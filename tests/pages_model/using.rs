//! What leaves a mapping where it is, and what each call answers.

use crate::act::{Outcome, kind};
use crate::any::{Any, on_pages};
use crate::steps::Step;
use crate::system::LINUX;
use crate::world::{Entry, Kind, World};
use folio::{Advice, ErrorKind, Protection, page};
use std::ops::Range;

/// A part as slices take it.
pub fn within(entry: &Entry, range: &Range<usize>) -> Outcome {
    let inside = range.start <= range.end && range.end <= entry.len;
    if inside { Ok(()) } else { Err(ErrorKind::InvalidInput) }
}

/// The same, of whole pages.
fn whole(entry: &Entry, range: &Range<usize>) -> Outcome {
    within(entry, range)?;
    let odd = |at: usize| at != 0 && at != entry.len && (entry.start + at) % page::size() != 0;
    if !range.is_empty() && (odd(range.start) || odd(range.end)) {
        Err(ErrorKind::InvalidInput)
    } else {
        Ok(())
    }
}

/// How many pages a part touches.
pub fn pages_of(entry: &Entry, part: &Range<usize>) -> usize {
    let size = page::size();
    if part.is_empty() {
        return 0;
    }
    (entry.start + part.end - 1) / size - (entry.start + part.start) / size + 1
}

impl World<'_> {
    pub fn use_one(&mut self, entry: &mut Entry, step: &Step) {
        let protection = entry.pages.protection();
        let hidden = entry.hidden();
        macro_rules! call {
            ($pages:ident => $what:expr) => {
                on_pages!(&mut entry.pages, $pages => $what, _ => return)
            };
        }
        match *step {
            Step::Decommit(_, part) => {
                let part = part.bytes(hidden);
                let done = call!(pages => kind(pages.decommit(part.clone())));
                let expected = whole(entry, &part).and(match entry.kind {
                    _ if part.is_empty() => Ok(()),
                    _ if entry.locks > 0 => Err(ErrorKind::NotPermitted),
                    Kind::Copied(_) if !LINUX => Err(ErrorKind::Unsupported),
                    _ => Ok(()),
                });
                if !LINUX && entry.marked && done == Err(ErrorKind::Unsupported) {
                    return;
                }
                assert_eq!(done, expected, "{part:?} {entry:?}");
                if done.is_ok() {
                    match entry.kind {
                        Kind::Zeroes => entry.content[part].fill(0),
                        Kind::Shared(_) => {}
                        Kind::Copied(offset) => {
                            let fresh = &self.still[offset + part.start..offset + part.end];
                            entry.content[part].copy_from_slice(fresh);
                        }
                    }
                }
            }
            Step::Advise(_, part, advice) => {
                let part = part.bytes(hidden);
                let done = call!(pages => kind(pages.advise(part.clone(), advice)));
                entry.uneven = true;
                let leaves = matches!(advice, Advice::Cold | Advice::PageOut);
                let expected = within(entry, &part).and_then(|()| {
                    let kept = LINUX && leaves && entry.locks > 0 && !part.is_empty();
                    if kept { Err(ErrorKind::NotPermitted) } else { Ok(()) }
                });
                if advice != Advice::Collapse || part.is_empty() || expected.is_err() {
                    assert_eq!(done, expected, "{advice:?} {part:?} {entry:?}");
                }
            }
            Step::KeepOut(_, part, out) => {
                let part = part.bytes(hidden);
                let done = call!(pages => kind(pages.keep_out_of_core_dumps(part.clone(), out)));
                let page_of = |at: usize| (entry.start + at) / page::size();
                let all = !part.is_empty()
                    && page_of(part.start.min(entry.len)) == page_of(0)
                    && page_of(part.end.min(entry.len) - 1) == page_of(entry.len - 1);
                match done {
                    Ok(()) if out => entry.marked |= !part.is_empty(),
                    // Only when no page can have the flag any more is that known.
                    Ok(()) => entry.marked &= !all,
                    Err(_) => {}
                }
                entry.uneven = true;
                if done != Err(ErrorKind::Unsupported) || LINUX {
                    assert_eq!(done, within(entry, &part));
                }
            }
            Step::Prefault(_, part) => {
                let part = part.bytes(hidden);
                let done = call!(pages => kind(pages.prefault(part.clone())));
                let denied = !protection.contains(Protection::READ) && !part.is_empty();
                let expected = within(entry, &part);
                assert_eq!(done, if denied { expected.and(Err(ErrorKind::NotPermitted)) } else { expected });
            }
            Step::PrefaultMut(_, part) => {
                let part = part.bytes(hidden);
                let done = match &mut entry.pages {
                    Any::Mut(pages) => pages.prefault_mut(part.clone()),
                    Any::Write(pages) => pages.prefault_mut(part.clone()),
                    _ => return,
                };
                assert_eq!(kind(done), within(entry, &part));
                if within(entry, &part).is_ok() {
                    self.is_resident(entry, part);
                }
            }
            Step::Resident(_, part) => {
                let part = part.bytes(hidden);
                let found = call!(pages => pages.resident(part.clone()));
                match found {
                    Ok(found) if entry.locks > 0 && LINUX && !protection.is_empty() => {
                        assert_eq!(found, pages_of(entry, &part));
                    }
                    Ok(found) => assert!(within(entry, &part).is_ok() && found <= pages_of(entry, &part)),
                    Err(error) if error.kind() == ErrorKind::Unsupported => assert!(!LINUX, "{error}"),
                    Err(error) => assert_eq!(Err(error.kind()), within(entry, &part), "{error}"),
                }
            }
            Step::Lock(_) => match call!(pages => kind(pages.lock())) {
                Ok(()) => entry.locks += 1,
                Err(ErrorKind::Exhausted) => {}
                Err(kind) => {
                    assert_eq!((kind, protection), (ErrorKind::NotPermitted, Protection::NONE), "{entry:?}")
                }
            },
            Step::Unlock(_) => {
                let done = call!(pages => kind(pages.unlock()));
                assert_eq!(done, if entry.locks == 0 { Err(ErrorKind::InvalidInput) } else { Ok(()) });
                entry.locks = entry.locks.saturating_sub(1);
            }
            Step::Hold(_) => {
                let whole = entry.whole_pages().len();
                call!(pages => match pages.hold() {
                    Ok(held) => {
                        assert_eq!(held.len(), whole);
                        held.unlock().unwrap();
                    }
                    Err(error) => assert!(matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::NotPermitted)),
                });
            }
            Step::Flush(_, part, wait) => {
                let part = part.bytes(hidden);
                let done = call!(pages => {
                    kind(if wait { pages.flush(part.clone()) } else { pages.flush_async(part.clone()) })
                });
                assert_eq!(done, within(entry, &part));
                if let (Kind::Shared(offset), true, Ok(())) = (entry.kind, wait, done) {
                    let part = offset + part.start..offset + part.end;
                    assert!(self.files.read_shared(part.clone()) == self.shared[part]);
                }
            }
            _ => unreachable!(),
        }
    }

    fn is_resident(&self, entry: &Entry, part: Range<usize>) {
        let pages = pages_of(entry, &part);
        let resident = on_pages!(&entry.pages, pages => pages.resident(part), _ => return);
        match resident {
            Ok(resident) => assert_eq!(resident, pages, "{entry:?}"),
            Err(error) => assert_eq!((error.kind(), LINUX), (ErrorKind::Unsupported, false), "{error}"),
        }
    }
}
