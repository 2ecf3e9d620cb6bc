//! What a mapping can be asked to be: places, pages, hints.

mod common;

use common::{Helper, place_of, role, say, skipped};
use folio::{
    BackingKind, Capabilities, ErrorKind, Fallback, Limits, MmapOptions, Process, TransparentHugePages, page,
    query,
};

fn gone(address: usize) -> bool {
    !query(std::ptr::without_provenance::<u8>(address)).is_ok_and(|region| region.is_committed())
}

/// Free for a moment.
fn free_place(len: usize) -> usize {
    MmapOptions::new(len).align(1 << 21).map_none().unwrap().start()
}

#[test]
fn a_hint_is_a_hint() {
    let place = free_place(4 << 20);
    // (Mostly there.)
    let pages = MmapOptions::new(page::size()).hint(place).map_mut().unwrap();
    // Taken now.
    let taken = pages.start();
    let mut others = Vec::new();
    for hint in [taken, taken + 1, 0, 1, usize::MAX, usize::MAX - page::size(), 1 << (usize::BITS - 1)] {
        let mut other = MmapOptions::new(page::size()).hint(hint).map_mut().unwrap();
        other.fill(1);
        others.push(other);
        let guarded =
            MmapOptions::new(page::size()).hint(hint).guard_before(1).guard_after(1).map_mut().unwrap();
        others.push(guarded);
    }
    assert!(pages.iter().all(|&byte| byte == 0));
}

#[test]
fn hints_are_no_errors() {
    let len = 10 * page::size();
    let base = || MmapOptions::new(len);
    let all = [
        base().populate(),
        base().no_reserve(),
        base().stack(),
        base().transparent_huge_pages(),
        base().name(c"folio's own (1)"),
        base().numa_node(0),
        base().populate().no_reserve().name(c"").numa_node(0).transparent_huge_pages(),
        base().hint(1 << 30).populate().guard_before(1).guard_after(1).align(1 << 20).name(c"x"),
        base().largest_pages(Fallback::Transparent),
        base().largest_pages(Fallback::Ordinary).populate(),
    ];
    for options in all {
        let mut pages = match options.map_mut() {
            Err(error) if options.clone().map_none().is_err() && error.kind() == ErrorKind::NotPermitted => {
                skipped("hints_are_no_errors", &format!("{options:?}: {error}"));
                continue;
            }
            made => made.unwrap(),
        };
        assert!(pages.len() >= len && pages.iter().all(|&byte| byte == 0), "{options:?}");
        pages.fill(1);
        let pages = pages.make_read_only().map_err(|(_, error)| error).unwrap();
        let pages = pages.make_none().map_err(|(_, error)| error).unwrap();
        let start = pages.start();
        drop(pages);
        let _ = start;
    }
}

#[test]
fn contradictions_are_errors() {
    let base = || MmapOptions::new(page::size());
    let huge = page::PageSize::from_bytes(1 << 21).unwrap();
    let place = 1 << 30;
    // SAFETY: never mapped.
    let replaced = unsafe { base().replace(place) };
    let all = [
        base().at(place).near(place, 1 << 20),
        base().hint(place).at(place),
        replaced.clone().near(place, 1 << 20),
        replaced.clone().guard_before(1),
        replaced.clone().align(1 << 31),
        base().huge_pages(huge).transparent_huge_pages(),
        base().huge_pages(huge).no_reserve(),
        base().huge_pages(huge).at(page::size()),
        base().huge_pages(page::PageSize::from_bytes(1).unwrap()),
        base().name(c"[heap]"),
        base().name(c"new\nline"),
        base().name(c"eighty characters, which are one too many: 12345678901234567890123456789012345678"),
        base().populate().align(0),
        MmapOptions::new(0).populate(),
        MmapOptions::new(usize::MAX).populate(),
        MmapOptions::new(usize::MAX).huge_pages(huge),
        MmapOptions::new(isize::MAX as usize - page::size()).huge_pages(huge).guard_before(usize::MAX),
        base().guard_before(usize::MAX).populate(),
        base().at(page::size()).guard_before(4 * page::size()).populate(),
        base().at(usize::MAX - page::size() + 1).populate(),
    ];
    for options in all {
        let error = options.map_mut().unwrap_err();
        let odd = options.clone().map_none().unwrap_err();
        assert_eq!(error.kind(), odd.kind());
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{options:?}: {error}");
    }
}

/// Trap: a fixed-address mapping offered as a safe function overwrites somebody's heap.
#[test]
fn what_is_there_is_replaced_only_where_that_was_promised() {
    let mut taken = MmapOptions::new(4 * page::granularity()).at(place_of(1)).map_mut().unwrap();
    taken.fill(7);
    for options in [MmapOptions::new(1).populate(), MmapOptions::new(1).stack()] {
        let error = options.at(taken.start()).map_mut().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Occupied, "{error}");
    }
    assert!(taken.iter().all(|&byte| byte == 7));

    let parts = taken.into_raw_parts();
    let start = parts.as_ptr().addr();
    // SAFETY: the pages are nobody's any more.
    let made = unsafe { MmapOptions::new(parts.len()).replace(start) }.map_mut();
    if cfg!(windows) {
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Unsupported);
        // SAFETY: as they were.
        return drop(unsafe { folio::MmapMut::from_raw_parts(parts) });
    }
    let mut pages = made.unwrap();
    assert_eq!((pages.start(), pages.len()), (start, parts.len()));
    assert!(pages.iter().all(|&byte| byte == 0));
    pages.fill(1);
    drop(pages);
    assert!(gone(start));
}

#[test]
fn what_is_populated_is_there() {
    if !Capabilities::probe().usage() || !cfg!(any(target_os = "linux", target_os = "android")) {
        return skipped("what_is_populated_is_there", "only Linux populates anonymous memory");
    }
    let len = 64 * page::size();
    for options in
        [MmapOptions::new(len).populate(), MmapOptions::new(len).populate().guard_after(1).numa_node(0)]
    {
        let pages = match options.map_mut() {
            Err(error) if error.kind() == ErrorKind::NotPermitted => {
                skipped("what_is_populated_is_there", &error.to_string());
                continue;
            }
            made => made.unwrap(),
        };
        // An older kernel populates in one way only.
        if common::resident(&pages) < len as u64 {
            assert!(!knows_populate(), "{options:?}");
        }
    }
}

/// Whether the kernel knows `MADV_POPULATE_WRITE`: tried on no bytes at all.
#[cfg(unix)]
fn knows_populate() -> bool {
    // SAFETY: advises about nothing.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(page::size()), 0, 23) == 0 }
}
#[cfg(not(unix))]
fn knows_populate() -> bool {
    false
}

#[test]
fn a_node_that_is_not_there_is_an_error() {
    for node in [1000, 1023, 1024, 100_000, u32::MAX] {
        let error = MmapOptions::new(1).numa_node(node).map_mut().unwrap_err();
        match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::Unsupported => {}
            ErrorKind::NotPermitted => {
                return skipped("a_node_that_is_not_there_is_an_error", &error.to_string());
            }
            _ => panic!("{node}: {error}"),
        }
    }
}

#[test]
fn a_name_is_shown() {
    let pages = MmapOptions::new(3 * page::size()).name(c"folio test").map_mut().unwrap();
    let backing = Process::current().backing(pages.start()).unwrap();
    if backing.kind() == BackingKind::Anonymous && backing.name().is_empty() {
        return skipped("a_name_is_shown", "the system knows no names of anonymous memory");
    }
    assert!(format!("{backing:?}").contains("folio test"), "{backing:?}");
}

/// Trap: page sizes stored as bytes where log2 was meant; lengths of huge pages not rounded at unmap.
#[test]
fn huge_pages_are_huge_or_an_error() {
    let sizes = page::huge_sizes();
    if sizes.is_empty() {
        let error = MmapOptions::new(1 << 21)
            .huge_pages(page::PageSize::from_bytes(1 << 21).unwrap())
            .map_mut()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let error = MmapOptions::new(1 << 21).largest_pages(Fallback::Error).map_mut().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        return skipped("huge_pages_are_huge_or_an_error", "the system has none");
    }
    for size in sizes {
        let unit = size.bytes().get();
        if unit > isize::MAX as usize / 4 {
            continue;
        }
        let free = Limits::current()
            .unwrap()
            .huge_pages()
            .iter()
            .find(|pool| pool.size() == size)
            .map_or(0, |pool| pool.free());
        let options = MmapOptions::new(unit + 1).huge_pages(size).at(place_of(2));
        let made = options.map_mut();
        if free < 2 {
            // (Windows tells of no pool.)
            if let Err(error) = made {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::Exhausted | ErrorKind::NotPermitted | ErrorKind::Unsupported
                    ),
                    "{error}"
                );
                assert!(error.remedy().is_some(), "{error}");
                // Of smaller ones there may be enough.
                match MmapOptions::new(unit).largest_pages(Fallback::Error).map_mut() {
                    Ok(pages) => assert!(pages.page_size().bytes().get() < unit, "{pages:?}"),
                    Err(error) => assert!(error.remedy().is_some(), "{error}"),
                }
            }
            let pages = MmapOptions::new(unit).largest_pages(Fallback::Ordinary).map_none().unwrap();
            assert!(pages.page_size().bytes().get() <= unit);
            skipped("huge_pages_are_huge_or_an_error", &format!("no free pages of {size}"));
            continue;
        }
        let mut pages = made.unwrap();
        assert_eq!((pages.page_size(), pages.len(), pages.start() % unit), (size, 2 * unit, 0));
        pages.fill(1);
        assert!(pages.split_off(page::size()).is_err());
        let high = pages.split_off(unit).unwrap();
        let high = high.make_read_only().map_err(|(_, error)| error).unwrap();
        assert_eq!(high[unit - 1], 1);
        let start = pages.start();
        drop(pages);
        assert!(gone(start) && !gone(start + unit));
        drop(high);
        assert!(gone(start + unit));

        // Between guard pages, and aligned.
        let options = MmapOptions::new(unit).huge_pages(size).guard_before(1).guard_after(1).align(2 * unit);
        if cfg!(windows) {
            assert_eq!(options.map_mut().unwrap_err().kind(), ErrorKind::Unsupported);
            continue;
        }
        assert_eq!(options.map_mut().unwrap().start() % (2 * unit), 0);
        let pages = options.at(place_of(2) + 4 * unit).map_mut().unwrap();
        assert_eq!((pages.start() % (2 * unit), pages.len()), (0, unit));
        let start = pages.start();
        assert_eq!(common::shown(start - 1), folio::Protection::NONE);
        assert_eq!(common::shown(start + unit), folio::Protection::NONE);
        drop(pages);
        assert!(gone(start - 1) && gone(start) && gone(start + unit));
        let pages = MmapOptions::new(unit).largest_pages(Fallback::Error).map_mut().unwrap();
        assert!(pages.page_size() >= size);
    }
}

#[test]
fn transparent_huge_pages_are_given_where_the_system_does() {
    const TEST: &str = "transparent_huge_pages_are_given_where_the_system_does";
    let Some(size) = page::transparent_sizes().largest() else { return skipped(TEST, "there are none") };
    let unit = size.bytes().get();
    for options in [
        MmapOptions::new(4 * unit).transparent_huge_pages(),
        MmapOptions::new(4 * unit).largest_pages(Fallback::Transparent),
        MmapOptions::new(4 * unit).transparent_huge_pages().guard_before(1).guard_after(1).name(c"huge"),
    ] {
        let mut pages = options.map_mut().unwrap();
        if pages.page_size() != page::base_size() {
            skipped(TEST, "huge pages are free");
            continue;
        }
        assert_eq!(pages.start() % unit, 0);
        pages.fill(1);
        match Capabilities::probe().transparent_huge_pages() {
            None | Some(TransparentHugePages::Never) => return skipped(TEST, "switched off"),
            _ => {}
        }
        let usage = Process::current().usage(pages.start()).unwrap();
        match usage.huge() {
            Some(0) if options.clone().map_mut().is_ok() && !plain_gets_huge(unit) => {
                return skipped(TEST, "no memory in one piece");
            }
            huge => assert!(huge.unwrap() >= unit as u64, "{usage:?}"),
        }
    }
}

/// Trap: a hint that fails: aligned pages do not fit where others do.
#[test]
fn transparent_huge_pages_are_a_hint_in_narrow_room_too() {
    const TEST: &str = "transparent_huge_pages_are_a_hint_in_narrow_room_too";
    let Some(size) = page::transparent_sizes().largest() else { return skipped(TEST, "there are none") };
    let unit = size.bytes().get();
    let start = place_of(10);
    // Just as much as there is room for, and no boundary of huge pages at its beginning.
    let options = MmapOptions::new(unit).near(start + unit + page::size() + unit / 2, unit / 2);
    let plain = match options.map_none() {
        Ok(plain) => plain.start(),
        Err(error) => return skipped(TEST, &error.to_string()),
    };
    assert_ne!(plain % unit, 0);
    for options in [
        options.clone().transparent_huge_pages(),
        options.clone().largest_pages(Fallback::Transparent),
        options.largest_pages(Fallback::Ordinary),
    ] {
        assert_eq!(options.map_none().unwrap().start(), plain, "{options:?}");
    }
}

/// Trap: what a fallback is for is an error: huge pages are in the way of somebody, where ordinary ones are not.
#[test]
fn the_largest_pages_that_there_is_room_for() {
    const TEST: &str = "the_largest_pages_that_there_is_room_for";
    let Some(size) = page::huge_sizes().smallest() else { return skipped(TEST, "there are no huge pages") };
    let unit = size.bytes().get();
    let (place, len) = (place_of(7), unit + page::granularity());
    let neighbour = MmapOptions::new(1).at(place + len).map_mut().unwrap();
    for fallback in [Fallback::Ordinary, Fallback::Transparent] {
        let pages = MmapOptions::new(len).at(place).largest_pages(fallback).map_mut().unwrap();
        assert_eq!((pages.start(), pages.len(), pages.page_size()), (place, len, page::base_size()));
    }
    assert!(MmapOptions::new(len).at(place).largest_pages(Fallback::Error).map_mut().is_err());
    assert_eq!(neighbour[0], 0);
}

/// Whether a large aligned mapping with the bare advice gets any.
#[cfg(target_os = "linux")]
fn plain_gets_huge(unit: usize) -> bool {
    let mut pages = MmapOptions::new(4 * unit).align(unit).map_mut().unwrap();
    // SAFETY: an advice, for pages of our own.
    unsafe { libc::madvise(pages.as_mut_ptr().cast(), pages.len(), libc::MADV_HUGEPAGE) };
    pages.fill(1);
    Process::current().usage(pages.start()).unwrap().huge() != Some(0)
}
#[cfg(not(target_os = "linux"))]
fn plain_gets_huge(_unit: usize) -> bool {
    false
}

#[cfg(feature = "std")]
mod with_files {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    fn file(len: usize) -> (Vec<u8>, File) {
        let content: Vec<u8> = (0..len).map(|at| (at / 7).to_le_bytes()[0]).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        (content, file)
    }

    #[test]
    fn files_have_places_and_neighbours_too() {
        let granule = page::granularity();
        let (content, file) = file(5 * granule + 123);
        // SAFETY: nobody else has the file, here and below.
        let new = |len| unsafe { MmapOptions::new(len).file(&file) };
        let place = place_of(4);
        let map = new(2 * granule).offset(5).at(place + 5).map().unwrap();
        assert_eq!((map.start(), &map[..]), (place + 5, &content[5..2 * granule + 5]));
        // Something is there; and of a page, the offset does not lie elsewhere.
        assert_eq!(new(1).at(place).map().unwrap_err().kind(), ErrorKind::Occupied);
        assert_eq!(new(1).offset(5).at(place).map().unwrap_err().kind(), ErrorKind::InvalidInput);

        let near = new(1000).offset(granule as u64 + 1).near(place, 1 << 30).map().unwrap();
        assert!(near.start().abs_diff(place) < 1 << 30);
        assert_eq!(near[..], content[granule + 1..granule + 1001]);

        for align in [1, 1 << 12, 1 << 20, 1 << 24] {
            let map = new(granule + 1).offset(2 * granule as u64).align(align).map_copy().unwrap();
            assert_eq!((map.start() % align, &map[..]), (0, &content[2 * granule..3 * granule + 1]));
        }
        let locked = new(10).offset(77).locked().map();
        match locked {
            Ok(map) => assert_eq!(map[..], content[77..87]),
            Err(error) => assert_eq!(error.operation(), folio::Operation::Lock),
        }
        for options in [new(granule).populate(), new(10).numa_node(0).name(c"file").transparent_huge_pages()]
        {
            match options.map_mut() {
                Ok(map) => assert_eq!(map[..], content[..map.len()]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotPermitted),
            }
        }
        let size = page::PageSize::from_bytes(1 << 21).unwrap();
        assert_eq!(new(1).huge_pages(size).map().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            new(1).largest_pages(Fallback::Transparent).map().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn guard_pages_around_a_file() {
        let size = page::size();
        let (content, file) = file(4 * size);
        // SAFETY: nobody else has the file.
        let new = |len| unsafe { MmapOptions::new(len).file(&file) };
        for (offset, align) in [(0, 1), (size + 10, 1), (size, 1 << 20), (0, 1 << 22)] {
            let options =
                new(2 * size).offset(offset as u64).align(align).guard_before(1).guard_after(2 * size);
            let made = options.map_mut();
            if cfg!(windows) {
                let odd = offset % page::granularity() != 0 && align > 1;
                let kind = if odd { ErrorKind::InvalidInput } else { ErrorKind::Unsupported };
                assert_eq!(made.unwrap_err().kind(), kind);
                continue;
            }
            let map = made.unwrap();
            assert_eq!((map.start() % align, &map[..]), (0, &content[offset..offset + 2 * size]));
            let (first, last) = (map.start() / size * size, map.end().next_multiple_of(size));
            for (place, granted) in [(first - 1, false), (first, true), (last - 1, true), (last, false)] {
                assert_eq!(!common::shown(place).is_empty(), granted, "{offset}: {place:#x}");
            }
            assert_eq!(common::shown(last + 2 * size - 1), folio::Protection::NONE);
            drop(map);
            // At a place, and near one.
            let place = place_of(3) + (1 << 24);
            let map = options.clone().align(1).at(place + offset % size).map().unwrap();
            assert_eq!(map[..], content[offset..offset + 2 * size]);
            let end = map.end().next_multiple_of(size) + 2 * size;
            assert_eq!(common::shown(end - 1), folio::Protection::NONE);
            drop(map);
            for page in (place - size..end).step_by(size) {
                assert!(gone(page), "{offset}: {page:#x}");
            }
            let map = options.clone().align(1).at(place + offset % size).map().unwrap();
            assert_eq!(map[..], content[offset..offset + 2 * size]);
            let error = options.clone().align(1).at(place - size + offset % size).map().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Occupied);
            let map = options.clone().near(place, 1 << 30).map().unwrap();
            assert_eq!(map[..], content[offset..offset + 2 * size]);
            let map = options.clone().hint(place).map().unwrap();
            assert_eq!(map[..], content[offset..offset + 2 * size]);
        }
    }

    /// Touching them ends the process.
    #[test]
    fn guard_pages_around_a_file_kill() {
        const TEST: &str = "with_files::guard_pages_around_a_file_kill";
        let size = page::size();
        if let Some(which) = role() {
            let (content, file) = file(2 * size);
            // SAFETY: nobody else has the file.
            let options = unsafe { MmapOptions::of_file(&file) }.guard_before(1).guard_after(1);
            let map = options.map_mut().unwrap();
            assert_eq!(map[..], content);
            let place = if which == "before" { map.start() - 1 } else { map.end() };
            say("alive");
            // SAFETY: none: this is to end the process.
            let _byte = unsafe { std::ptr::with_exposed_provenance::<u8>(place).read_volatile() };
            say("still alive");
            return;
        }
        if cfg!(windows) {
            return skipped(TEST, "no guard pages around files on Windows");
        }
        for which in ["before", "behind"] {
            let mut child = Helper::start(TEST, which);
            assert_eq!(child.line(), "alive");
            assert!(!child.wait().success(), "{which}");
        }
    }
}
