//! All mappings at one moment.

use super::process::{Mapping, Mappings, Process};
use super::{Backing, BackingKind, Detail, Device, Region};
use crate::error::Result;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// All mappings of a process at one moment: answers look-ups without the system, for symbolizers and profilers.
///
/// Made by [`Process::snapshot`]; brought up to date by [`refresh`](Self::refresh); [`default`](Self::default) is an empty one. It is as true as the system's listing:
/// while it was being taken, other threads may have changed mappings (see [`query_range`](crate::query_range)).
///
/// # Examples
///
/// ```
/// let snapshot = folio::Process::current().snapshot()?;
/// let address = folio::page::size as usize;
/// let mapping = snapshot.find(address).expect("code is mapped");
/// println!("{address:#x} is at {:x?} of {}", mapping.file_offset(address), mapping.backing().path().unwrap().display());
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The first address of each entry, ascending: kept apart, so that a look-up touches few cache lines.
    starts: Vec<usize>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    #[cfg(feature = "std")]
    taken: Option<(std::time::SystemTime, std::time::Instant)>,
}

#[derive(Clone)]
struct Entry {
    region: Region,
    kind: BackingKind,
    deleted: bool,
    device: Option<Device>,
    inode: u64,
    offset: u64,
    name: Range<usize>,
}

impl Snapshot {
    /// Takes the snapshot anew, of the same or of another process.
    ///
    /// # Cost
    ///
    /// As [`Process::snapshot`], but allocates only what the new one needs beyond the old one's room.
    ///
    /// # Errors
    ///
    /// As [`Process::query_range`]. The snapshot is empty afterwards: half a list never looks like a whole one.
    pub fn refresh(&mut self, process: &Process) -> Result<()> {
        self.clear();
        let filled = self.fill(process);
        if filled.is_err() {
            self.clear();
        }
        filled
    }

    fn clear(&mut self) {
        self.starts.clear();
        self.entries.clear();
        self.names.clear();
        #[cfg(feature = "std")]
        {
            self.taken = None;
        }
    }

    fn fill(&mut self, process: &Process) -> Result<()> {
        #[cfg(feature = "std")]
        let now = (std::time::SystemTime::now(), std::time::Instant::now());
        let mut mappings = Mappings::new(process.target(), Detail::Backing)?;
        let mut previous = 0..0;
        while let Some(Mapping { region, backing, .. }) = mappings.advance()? {
            // Neighbours mostly belong to the same file: its name is kept once, also across memory without a name.
            if !backing.name().is_empty() && self.names.get(previous.clone()) != Some(backing.name()) {
                let start = self.names.len();
                self.names.extend_from_slice(backing.name());
                previous = start..self.names.len();
            }
            self.starts.push(region.base);
            self.entries.push(Entry {
                region,
                kind: backing.kind,
                deleted: backing.deleted,
                device: backing.device,
                inode: backing.inode,
                offset: backing.offset,
                name: if backing.name().is_empty() { 0..0 } else { previous.clone() },
            });
        }
        #[cfg(feature = "std")]
        {
            self.taken = Some(now);
        }
        Ok(())
    }

    /// The mapping in which `address` lay.
    ///
    /// # Cost
    ///
    /// A binary search: no system call, no allocation.
    #[inline]
    pub fn find(&self, address: usize) -> Option<Mapping<'_>> {
        let entry = self.entry(address)?;
        Some(self.mapping(entry))
    }

    /// The region in which `address` lay.
    ///
    /// # Cost
    ///
    /// As [`find`](Self::find), and a little less.
    #[inline]
    pub fn find_region(&self, address: usize) -> Option<Region> {
        Some(self.entry(address)?.region)
    }

    #[inline]
    fn entry(&self, address: usize) -> Option<&Entry> {
        let after = self.starts.partition_point(|&start| start <= address);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        entry.region.contains(address).then_some(entry)
    }

    fn mapping<'a>(&'a self, entry: &'a Entry) -> Mapping<'a> {
        let backing = Backing {
            kind: entry.kind,
            name: Cow::Borrowed(self.names.get(entry.name.clone()).unwrap_or_default()),
            offset: entry.offset,
            device: entry.device,
            inode: entry.inode,
            deleted: entry.deleted,
        };
        Mapping { region: entry.region, backing, usage: None }
    }

    /// All mappings, in ascending order.
    pub fn iter(&self) -> SnapshotIter<'_> {
        SnapshotIter { snapshot: self, entries: self.entries.iter() }
    }

    /// How many mappings there were.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there was none: so it is with kernel threads, and after a [`refresh`](Self::refresh) that failed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the taking of the snapshot began; `None` after a [`refresh`](Self::refresh) that failed.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn taken(&self) -> Option<std::time::SystemTime> {
        Some(self.taken?.0)
    }

    /// How long ago the taking of the snapshot began, by a clock that nobody sets.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn age(&self) -> Option<std::time::Duration> {
        Some(self.taken?.1.elapsed())
    }
}

impl<'a> IntoIterator for &'a Snapshot {
    type Item = Mapping<'a>;
    type IntoIter = SnapshotIter<'a>;

    fn into_iter(self) -> SnapshotIter<'a> {
        self.iter()
    }
}

/// The mappings of a [`Snapshot`], in ascending order.
#[derive(Clone)]
pub struct SnapshotIter<'a> {
    snapshot: &'a Snapshot,
    entries: core::slice::Iter<'a, Entry>,
}

impl<'a> Iterator for SnapshotIter<'a> {
    type Item = Mapping<'a>;

    fn next(&mut self) -> Option<Mapping<'a>> {
        self.entries.next().map(|entry| self.snapshot.mapping(entry))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl DoubleEndedIterator for SnapshotIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.entries.next_back().map(|entry| self.snapshot.mapping(entry))
    }
}

impl ExactSizeIterator for SnapshotIter<'_> {}
impl core::iter::FusedIterator for SnapshotIter<'_> {}

impl fmt::Debug for SnapshotIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotIter").field("left", &self.entries.len()).finish()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("mappings", &self.entries.len()).finish_non_exhaustive()
    }
}
