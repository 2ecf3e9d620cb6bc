//! New mappings, by each way of making them.

use crate::any::Any;
use crate::steps::{New, What, Where};
use crate::system::{self, LINUX};
use crate::world::{Entry, Files, Kind, World};
use folio::{ErrorKind, Fallback, MmapOptions, Protection, page};
use std::collections::BTreeSet;

impl World<'_> {
    pub fn make(&mut self, new: New) {
        if self.pool.len() >= 8 {
            return;
        }
        let (size, granularity) = (page::size(), page::granularity());
        let is_file = matches!(new.what, What::Shared | What::Copied);
        let (before, after, room) = (new.before * granularity, new.after * size, new.room * size);
        let offset = if is_file { new.offset % Files::len() } else { 0 };
        let len = (new.pages * size).saturating_sub(new.short).max(1);
        let len = if is_file { len.min(Files::len() - offset) } else { len };
        let kind = match new.what {
            What::Shared => Kind::Shared(offset),
            What::Copied => Kind::Copied(offset),
            _ => Kind::Zeroes,
        };
        // From the boundary that the first byte's page is mapped at.
        let hidden = offset % granularity;
        let rest = if is_file { (hidden + len).next_multiple_of(size) - hidden - len } else { 0 };
        let len_made = if is_file { len } else { len.next_multiple_of(size) };

        let options = MmapOptions::new(len).guard_before(before).guard_after(after).room(room);
        let options = if new.locked { options.locked() } else { options };
        let mut exactly = None;
        let mut options = match new.place {
            Where::Anywhere => options,
            Where::Hint(number) => options.hint(system::slot(number)),
            Where::Near(number) => options.near(system::slot(number), 64 << 20),
            Where::Aligned(log) => options.align(1 << log),
            Where::At(number) => {
                exactly = Some(system::slot(number) + hidden);
                options.at(system::slot(number) + hidden)
            }
            Where::Behind(which) => {
                let Some(entry) = self.pool.get(which % self.pool.len().max(1)) else { return };
                let address = entry.extent().end.next_multiple_of(granularity) + before + hidden;
                exactly = Some(address);
                options.at(address)
            }
        };
        options = match new.what {
            What::Named => options.name(c"a model"),
            What::NoReserve => options.no_reserve(),
            What::Transparent => options.transparent_huge_pages(),
            What::Largest => options.largest_pages(Fallback::Ordinary),
            What::Populated => options.populate(),
            // SAFETY: nobody else has this file, it keeps its length, and one reference at a time is made of all mappings of it.
            What::Shared => unsafe { options.file(&self.files.shared) }.offset(offset as u64),
            // SAFETY: as above; nobody writes to it.
            What::Copied => unsafe { options.file(&self.files.still) }.offset(offset as u64).copy_on_write(),
            What::Anonymous | What::Reserved => options,
        };
        let grants = new.grants;
        let reserved = new.what == What::Reserved;
        let made: folio::Result<Any> = match grants {
            Protection::NONE if reserved => options.reserve_none().map(Any::from),
            Protection::READ if reserved => options.reserve().map(Any::from),
            Protection::READ_WRITE if reserved => options.reserve_mut().map(Any::from),
            #[cfg(feature = "allow_exec")]
            _ if reserved => options.reserve_exec().map(Any::from),
            Protection::NONE => options.map_none().map(Any::from),
            Protection::READ => options.map().map(Any::from),
            Protection::READ_WRITE => options.map_mut().map(Any::from),
            #[cfg(feature = "allow_exec")]
            _ => options.map_exec().map(Any::from),
            #[cfg(not(feature = "allow_exec"))]
            _ => unreachable!(),
        };

        // What must be refused, and as what.
        let unaligned = match new.place {
            Where::Aligned(log) => {
                let align = 1_usize << log;
                is_file
                    && (hidden & (align.min(granularity) - 1) != 0 || (align > granularity && hidden != 0))
            }
            _ => false,
        };
        let nonsense = (room > 0 && (is_file || matches!(new.what, What::Transparent | What::Largest)))
            || (reserved && (new.locked || room > 0))
            || unaligned;
        let hinted = reserved && matches!(new.place, Where::Hint(_));
        let extent = exactly.map(|at| at - before - hidden..at + len_made + rest + room + after);
        let taken = extent.as_ref().is_some_and(|extent| !self.is_free(extent));
        let pages = match made {
            Ok(pages) => {
                assert!(!nonsense && !hinted, "{new:?} was made");
                assert!(!taken, "{new:?} was made where something is");
                pages
            }
            Err(error) => {
                let kind = error.kind();
                let allowed = match kind {
                    ErrorKind::InvalidInput => nonsense || hinted,
                    // Outside of the arena others can be there; on Windows, addresses whose owner is not yet gone as a whole.
                    ErrorKind::Occupied => {
                        exactly.is_some()
                            && (taken
                                || cfg!(windows)
                                || extent.is_some_and(|extent| !system::in_arena(&extent)))
                    }
                    ErrorKind::Exhausted | ErrorKind::NotPermitted if new.locked => true,
                    ErrorKind::NotPermitted => is_file && grants.contains(Protection::EXECUTE),
                    ErrorKind::Unsupported => is_file && !LINUX,
                    _ => false,
                };
                assert!(allowed, "{new:?}: {error}");
                return;
            }
        };
        if let Some(at) = exactly {
            assert_eq!(pages.start(), at, "{new:?}");
        }
        if let Where::Aligned(log) = new.place {
            assert_eq!(pages.start() % (1 << log), 0, "{new:?}");
        }
        let content = match kind {
            Kind::Zeroes => vec![0; len_made],
            Kind::Shared(_) => Vec::new(),
            Kind::Copied(_) => self.still[offset..offset + len].to_vec(),
        };
        let number = self.number();
        let start = pages.start();
        let entry = Entry {
            start,
            pages,
            len: len_made,
            before: before + hidden,
            after: rest + room + after,
            room_end: if room > 0 { start + len_made + room } else { 0 },
            kind,
            content,
            locks: u32::from(new.locked),
            family: number,
            room: None,
            from: BTreeSet::new(),
            marked: false,
            uneven: false,
        };
        self.families.insert(number, entry.extent());
        self.pool.push(entry);
    }
}
