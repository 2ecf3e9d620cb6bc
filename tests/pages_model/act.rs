//! What is done with a mapping, and what comes of it by the model.

use crate::any::{Any, How, becomes, convert, on_pages, on_reserved, rebuilt};
use crate::steps::{Part, Step};
use crate::system::{LINUX, in_arena};
use crate::using::{pages_of, within};
use crate::world::{Entry, Kind, World};
use folio::{ErrorKind, Protection, page};

pub type Outcome = Result<(), ErrorKind>;

pub fn kind<T>(done: folio::Result<T>) -> Outcome {
    done.map(drop).map_err(|error| error.kind())
}

impl World<'_> {
    pub fn act(&mut self, step: Step) {
        match step {
            Step::New(new) => self.make(new),
            Step::Room(_)
            | Step::RoomCommit(..)
            | Step::RoomDecommit(..)
            | Step::RoomProtect(..)
            | Step::RoomWrite(..)
            | Step::Carve(..)
            | Step::TakeBack(..)
            | Step::RoomDrop(_) => self.act_on_room(step),
            _ if self.pool.is_empty() => {}
            Step::Drop(which) => drop(self.take(which)),
            Step::Convert(which, how) => {
                let mut entry = self.take(which);
                let from = entry.pages.protection();
                let usable = on_pages!(&entry.pages, _ => true, _ => false);
                let to = if usable { becomes(from, how) } else { None };
                let Some(to) = to else { return self.pool.push(entry) };
                // Not every system lets files be executed.
                let may_fail = entry.kind != Kind::Zeroes && to.contains(Protection::EXECUTE) && !LINUX;
                if may_fail && matches!(how, How::TryInto(_)) {
                    // It would be gone.
                    return self.pool.push(entry);
                }
                match convert(entry.pages, how) {
                    Ok(pages) => {
                        assert_eq!(pages.protection(), to, "{how:?}");
                        entry.pages = pages;
                    }
                    Err((pages, error)) => {
                        assert!(may_fail, "{how:?}: {error}");
                        assert_eq!(pages.protection(), from);
                        entry.pages = pages;
                    }
                }
                self.pool.push(entry);
            }
            Step::Write(which, part, value) => self.write(which, part, value),
            Step::SplitOff(which, at, nudge) | Step::SplitTo(which, at, nudge) => {
                let to = matches!(step, Step::SplitTo(..));
                self.split(which, at, nudge, to);
            }
            Step::MergeNext(which) => {
                let next = |entry: &Entry| {
                    let follows =
                        |next: &Entry| next.start == entry.range().end && next.pages.like(&entry.pages);
                    self.pool.iter().position(follows)
                };
                let pairs: Vec<_> =
                    (0..).zip(&self.pool).filter_map(|(low, entry)| Some((low, next(entry)?))).collect();
                if let Some(at) = which.checked_rem(pairs.len()) {
                    self.merge(pairs[at].0, pairs[at].1);
                }
            }
            Step::Merge(low, high) => self.merge(low % self.pool.len(), high % self.pool.len()),
            Step::Grow(which, pages) => self.lengthen(which, pages * page::size() + 1, false),
            Step::Remap(which, pages) => self.lengthen(which, (pages * page::size()).saturating_sub(1), true),
            Step::Shrink(which, pages) => {
                let mut entry = self.take(which);
                let len = (pages * page::size()).saturating_sub(pages % 3);
                let done = on_pages!(&mut entry.pages, pages => kind(pages.shrink(len)), _ => return self.pool.push(entry));
                assert_eq!(done, if len == 0 { Err(ErrorKind::InvalidInput) } else { Ok(()) });
                shortened(&mut entry, len);
                self.pool.push(entry);
            }
            Step::FreeLazily(which) => self.free_lazily(which),
            Step::Reuse(which) => {
                let mut entry = self.take(which);
                entry.pages = match entry.pages {
                    Any::Lazy(freed) => {
                        let pages = freed.reuse();
                        self.settle(&mut entry.content, entry.kind, &pages);
                        pages.into()
                    }
                    Any::LazyWrite(freed) => {
                        let pages = freed.reuse().allow_read().map_err(|(_, error)| error).unwrap();
                        self.settle(&mut entry.content, entry.kind, &pages);
                        pages.deny_read().map_err(|(_, error)| error).unwrap().into()
                    }
                    other => other,
                };
                self.pool.push(entry);
            }
            Step::Rebuild(which) => {
                let mut entry = self.take(which);
                entry.pages = rebuilt(entry.pages);
                self.pool.push(entry);
            }
            Step::IntoReserved(which) => self.reserve_again(which),
            Step::Commit(which) => {
                let mut entry = self.take(which);
                entry.pages = on_reserved!(
                    entry.pages,
                    room => room.commit().map_err(|(_, error)| error).unwrap().into(),
                    other => other
                );
                entry.uneven = true;
                self.pool.push(entry);
            }
            step => {
                let mut entry = self.take(match step {
                    Step::Decommit(which, _)
                    | Step::Advise(which, ..)
                    | Step::KeepOut(which, ..)
                    | Step::Prefault(which, _)
                    | Step::PrefaultMut(which, _)
                    | Step::Resident(which, _)
                    | Step::Lock(which)
                    | Step::Unlock(which)
                    | Step::Hold(which)
                    | Step::Flush(which, ..) => which,
                    step => unreachable!("{step:?}"),
                });
                self.use_one(&mut entry, &step);
                self.pool.push(entry);
            }
        }
    }

    fn take(&mut self, which: usize) -> Entry {
        let which = which % self.pool.len();
        self.pool.swap_remove(which)
    }

    fn write(&mut self, which: usize, part: Part, value: u8) {
        let which = which % self.pool.len();
        let entry = &mut self.pool[which];
        let part = part.bytes(entry.hidden());
        if within(entry, &part).is_err() {
            return;
        }
        match &mut entry.pages {
            Any::Mut(pages) => pages[part.clone()].fill(value),
            Any::Write(pages) => {
                let first = pages.as_mut_ptr().wrapping_add(part.start);
                // SAFETY: inside the mapping (just checked), which can be written.
                unsafe { first.write_bytes(value, part.len()) };
            }
            _ => return,
        }
        match entry.kind {
            Kind::Shared(offset) => self.shared[offset + part.start..offset + part.end].fill(value),
            _ => entry.content[part.clone()].fill(value),
        }
        let touched = pages_of(entry, &part);
        let resident = on_pages!(&entry.pages, pages => pages.resident(part), _ => unreachable!());
        match resident {
            Ok(resident) => assert_eq!(resident, touched),
            Err(error) => assert_eq!((error.kind(), LINUX), (ErrorKind::Unsupported, false), "{error}"),
        }
    }

    fn split(&mut self, which: usize, at: usize, nudge: usize, to: bool) {
        let mut entry = self.take(which);
        let at = at * page::size() - entry.hidden() + nudge;
        let possible = at > 0 && at < entry.len && (entry.start + at) % page::size() == 0;
        macro_rules! cut {
            ($pages:expr) => {
                if to { $pages.split_to(at).map(Any::from) } else { $pages.split_off(at).map(Any::from) }
            };
        }
        let cut = on_pages!(&mut entry.pages, pages => cut!(pages), other => on_reserved!(other, room => cut!(room), _ => {
            return self.pool.push(entry);
        }));
        let other = match cut {
            Ok(other) => other,
            Err(error) => {
                assert_eq!((error.kind(), possible), (ErrorKind::InvalidInput, false), "{error}");
                return self.pool.push(entry);
            }
        };
        assert!(possible);
        let high_content = if entry.content.is_empty() { Vec::new() } else { entry.content.split_off(at) };
        let (low, high) = if to { (other, entry.pages) } else { (entry.pages, other) };
        let high = Entry {
            pages: high,
            start: entry.start + at,
            len: entry.len - at,
            before: 0,
            kind: match entry.kind {
                Kind::Zeroes => Kind::Zeroes,
                Kind::Shared(offset) => Kind::Shared(offset + at),
                Kind::Copied(offset) => Kind::Copied(offset + at),
            },
            content: high_content,
            from: entry.from.clone(),
            ..entry
        };
        let low = Entry { pages: low, len: at, after: 0, ..entry };
        self.pool.push(low);
        self.pool.push(high);
    }

    /// Only neighbours that were one; any other is given back.
    fn merge(&mut self, low: usize, high: usize) {
        if low == high {
            return;
        }
        let mut other = self.pool.swap_remove(high);
        let mut entry = self.pool.swap_remove(if low == self.pool.len() { high } else { low });
        let possible = entry.family == other.family
            && entry.range().end == other.start
            && entry.after == 0
            && other.before == 0
            && entry.locks == other.locks;
        macro_rules! merge {
            ($($(#[$only:meta])* $name:ident)*) => {
                match (&mut entry.pages, other.pages) {
                    $($(#[$only])* (Any::$name(own), Any::$name(pages)) => own.merge(pages).map_err(|(pages, error)| (Any::$name(pages), error)),)*
                    (_, pages) => {
                        other.pages = pages;
                        self.pool.push(other);
                        return self.pool.push(entry);
                    }
                }
            };
        }
        let merged = merge! {
            None Read Mut Write #[cfg(feature = "allow_exec")] Exec #[cfg(feature = "allow_exec")] ExecOnly
            ReservedNone Reserved ReservedMut ReservedWrite
            #[cfg(feature = "allow_exec")] ReservedExec #[cfg(feature = "allow_exec")] ReservedExecOnly
        };
        if let Err((pages, error)) = merged {
            assert_eq!((error.kind(), possible), (ErrorKind::InvalidInput, false), "{error}");
            other.pages = pages;
            self.pool.push(other);
            return self.pool.push(entry);
        }
        assert!(possible, "merged: {entry:?}");
        entry.len += other.len;
        entry.after = other.after;
        entry.content.append(&mut other.content);
        entry.from.append(&mut other.from);
        entry.marked |= other.marked;
        entry.uneven = true;
        self.pool.push(entry);
    }

    fn lengthen(&mut self, which: usize, len: usize, moving: bool) {
        let mut entry = self.take(which);
        let size = page::size();
        let done = on_pages!(&mut entry.pages, pages => {
            kind(if moving { pages.remap(len) } else { pages.grow(len) })
        }, _ => return self.pool.push(entry));
        if len <= entry.len {
            let nonsense = moving && len == 0;
            assert_eq!(done, if nonsense { Err(ErrorKind::InvalidInput) } else { Ok(()) });
            if moving {
                shortened(&mut entry, len);
            }
            return self.pool.push(entry);
        }
        let len = len.next_multiple_of(size);
        let more = len.wrapping_sub(entry.len);
        let into_room = entry.room() >= more;
        let behind = entry.range().end..entry.range().end + more;
        if entry.locks > 0 {
            assert_eq!(done, Err(ErrorKind::InvalidInput));
        } else if entry.kind != Kind::Zeroes {
            assert_eq!(done, Err(ErrorKind::Unsupported));
        } else if into_room {
            assert_eq!(done, if entry.marked { Err(ErrorKind::Unsupported) } else { Ok(()) });
        } else if moving {
            match done {
                Ok(()) => {}
                Err(kind) => assert_eq!((kind, entry.marked), (ErrorKind::Unsupported, true)),
            }
        } else if entry.after > 0 || entry.room_end != 0 {
            // Room is a limit, also when it is used up.
            assert_eq!(done, Err(ErrorKind::Occupied));
        } else if entry.room.is_some() || !LINUX {
            assert_eq!(done, Err(ErrorKind::Unsupported));
        } else {
            let free = self.is_free(&behind);
            match done {
                Ok(()) => assert!(free, "grown over something: {entry:?}"),
                Err(ErrorKind::Occupied) => assert!(!free || !in_arena(&behind), "{entry:?}"),
                Err(ErrorKind::Unsupported) => assert!(entry.uneven, "{entry:?}"),
                Err(kind) => panic!("{kind} {entry:?}"),
            }
        }
        if done.is_err() {
            return self.pool.push(entry);
        }
        if into_room {
            entry.after -= more;
        } else {
            entry.after -= entry.room();
            entry.start = entry.pages.start();
            entry.family = self.number();
            entry.room = None;
            entry.from.clear();
            entry.room_end = 0;
        }
        entry.len = len;
        entry.content.resize(len, 0);
        self.families.entry(entry.family).or_insert(entry.extent());
        self.pool.push(entry);
    }

    fn free_lazily(&mut self, which: usize) {
        let mut entry = self.take(which);
        let freed = match entry.pages {
            Any::Mut(pages) => {
                pages.free_lazily().map(Any::from).map_err(|(pages, error)| (pages.into(), error))
            }
            Any::Write(pages) => {
                pages.free_lazily().map(Any::from).map_err(|(pages, error)| (pages.into(), error))
            }
            other => {
                entry.pages = other;
                return self.pool.push(entry);
            }
        };
        entry.pages = match freed {
            Ok(pages) => {
                assert_eq!(entry.locks, 0);
                pages
            }
            Err((pages, error)) => {
                let allowed = match error.kind() {
                    ErrorKind::NotPermitted => entry.locks > 0,
                    ErrorKind::Unsupported => {
                        !LINUX && (entry.marked || matches!(entry.kind, Kind::Copied(_)))
                    }
                    _ => false,
                };
                assert!(allowed, "{error}");
                pages
            }
        };
        self.pool.push(entry);
    }

    /// Each page holds what it held, or what it held at first; from now on that.
    fn settle(&self, content: &mut [u8], kind: Kind, found: &[u8]) {
        let (size, hidden) = (page::size(), found.as_ptr().addr() % page::size());
        if let Kind::Shared(offset) = kind {
            return assert!(*found == self.shared[offset..offset + found.len()]);
        }
        let mut at = 0;
        while at < found.len() {
            let end = ((at + hidden) / size * size + size - hidden).min(found.len());
            let fresh = match kind {
                Kind::Copied(offset) => self.still[offset + at..offset + end].to_vec(),
                _ => vec![0; end - at],
            };
            if content[at..end] != found[at..end] {
                assert!(found[at..end] == fresh, "neither old nor fresh");
                content[at..end].copy_from_slice(&fresh);
            }
            at = end;
        }
    }

    fn reserve_again(&mut self, which: usize) {
        let mut entry = self.take(which);
        let reserved = on_pages!(
            entry.pages,
            pages => pages.into_reserved().map(Any::from).map_err(|(pages, error)| (Any::from(pages), error)),
            other => {
                entry.pages = other;
                return self.pool.push(entry);
            }
        );
        entry.pages = match reserved {
            Ok(room) => {
                assert_eq!((entry.kind, entry.marked), (Kind::Zeroes, false));
                entry.content.fill(0);
                entry.locks = 0;
                entry.uneven = true;
                room
            }
            Err((pages, error)) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(entry.kind != Kind::Zeroes || entry.marked);
                pages
            }
        };
        self.pool.push(entry);
    }
}

/// The first `len` bytes stay.
fn shortened(entry: &mut Entry, len: usize) {
    if len == 0 || len >= entry.len {
        return;
    }
    let size = page::size();
    let kept = if entry.kind == Kind::Zeroes { len.next_multiple_of(size) } else { len };
    let pages_end = entry.whole_pages().end;
    let cut = (entry.start + kept).next_multiple_of(size);
    let whole = entry.extent().end;
    // What is given up keeps its addresses if something of the mapping lies behind.
    let end = if cut < pages_end && whole == pages_end { cut } else { whole };
    entry.after = end - (entry.start + kept);
    entry.len = kept;
    if !matches!(entry.kind, Kind::Shared(_)) {
        entry.content.truncate(kept);
    }
}
