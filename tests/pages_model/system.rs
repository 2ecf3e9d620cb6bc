//! The system's own view.

use crate::steps::Step;
use folio::{Protection, query_range};
use std::fmt::Debug;
use std::ops::Range;
use std::ptr::without_provenance;

pub const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Address space where nothing is mapped of itself, in slots.
const ARENA: usize = if usize::BITS == 64 { 1_usize.wrapping_shl(37) } else { 5 << 27 };
const SLOT: usize = 4 << 20;
const SLOTS: usize = 16;

/// An address in the middle of a slot: guard pages fit in before it, and what becomes longer behind.
pub fn slot(number: usize) -> usize {
    ARENA + number % SLOTS * SLOT + SLOT / 4
}

pub fn in_arena(range: &Range<usize>) -> bool {
    ARENA <= range.start && range.end <= ARENA + SLOTS * SLOT
}

/// Each page of a mapping grants what its type says, as far as the platform can.
pub fn shows(range: Range<usize>, protection: Protection, what: &impl Debug) {
    let mut next = range.start;
    for region in query_range(without_provenance::<u8>(range.start), range.len()).unwrap() {
        let region = region.unwrap();
        let shown = region.protection();
        let as_far_as_possible = protection | Protection::READ;
        let same = shown == protection || (!LINUX && !protection.is_empty() && shown == as_far_as_possible);
        assert!(same, "{what:?}: {region:x?} in {range:x?}: {shown} and not {protection}");
        assert!(region.as_range().start <= next, "{what:?}: a hole at {next:#x}");
        next = region.as_range().end;
    }
    assert!(next >= range.end, "{what:?}: a hole at {next:#x}");
}

/// Nothing is there but what is taken. (On Windows addresses stay reserved until the last part of a mapping is gone: there it is
/// memory that counts. A view of a file goes as a whole, too, and until then its other pages grant nothing.)
pub fn arena_has_only(taken: &[Range<usize>], step: &Step) {
    for region in query_range(without_provenance::<u8>(ARENA), SLOTS * SLOT).unwrap() {
        let region = region.unwrap();
        let view = region.is_shared() && region.protection().is_empty();
        if cfg!(windows) && (view || !region.is_committed()) {
            continue;
        }
        let mut next = region.as_range().start.max(ARENA);
        let end = region.as_range().end.min(ARENA + SLOTS * SLOT);
        while next < end {
            let Some(of) = taken.iter().find(|taken| taken.contains(&next)) else {
                panic!("{step:?}: nobody's: {next:#x} in {region:x?}; {taken:x?}");
            };
            next = of.end;
        }
    }
}

/// A line of `/proc/self/status`, in bytes.
#[cfg(target_os = "linux")]
fn status(name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The pages that are locked are those of the mappings that are.
#[cfg(target_os = "linux")]
pub fn locked_is(bytes: usize, step: &Step) {
    assert_eq!(status("VmLck"), bytes, "{step:?}");
}

#[cfg(not(target_os = "linux"))]
pub fn locked_is(_bytes: usize, _step: &Step) {}

/// What the process has.
#[derive(Debug)]
pub struct Held {
    regions: usize,
    bytes: usize,
}

impl Held {
    pub fn now() -> Self {
        let (mut regions, mut bytes) = (0, 0);
        for region in query_range(without_provenance::<u8>(1), usize::MAX - 1).unwrap() {
            let region = region.unwrap();
            if region.is_committed() {
                regions += 1;
                bytes += region.len();
            }
        }
        Self { regions, bytes }
    }

    /// Apart from what the allocator has got meanwhile.
    pub fn compare(&self, later: &Self) {
        assert!(later.regions <= self.regions + 4, "{self:?}, then {later:?}");
        assert!(later.bytes <= self.bytes + (4 << 20), "{self:?}, then {later:?}");
    }
}
