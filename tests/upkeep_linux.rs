//! What Linux's own books (`smaps`, and what the kernel takes) say of pages after it was told something about them.
#![cfg(any(target_os = "linux", target_os = "android"))]

mod common;

use common::skipped;
use folio::{Advice, ErrorKind, MmapMut, MmapOptions, Operation, Pages, page};

fn unwrap<T, U>(changed: Result<T, (U, folio::Error)>) -> T {
    changed.map_err(|(_, error)| error).unwrap()
}

/// Each page with bytes of its own.
fn pattern(pages: &mut [u8]) {
    for (number, page) in pages.chunks_mut(page::size()).enumerate() {
        page.fill(u8::try_from(number % 250 + 1).unwrap());
    }
}

fn filled(count: usize) -> MmapMut {
    let mut pages = Pages::new(count * page::size()).unwrap();
    pattern(&mut pages);
    pages
}

/// The lines of `smaps` about the mapping that begins there or holds it.
fn smaps(address: usize) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let holds = |line: &str| {
        let (first, rest) = line.split_once('-')?;
        let (first, end) = (first, rest.split_once(' ')?.0);
        let range = usize::from_str_radix(first, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        Some(range.contains(&address))
    };
    let lines = text.lines().skip_while(|line| holds(line) != Some(true));
    let about = lines.enumerate().take_while(|(number, line)| *number == 0 || holds(line).is_none());
    about.map(|(_, line)| line.to_owned()).collect()
}

fn has(address: usize, flag: &str) -> bool {
    let lines = smaps(address);
    let flags = lines.iter().find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
    flags.split_whitespace().any(|word| word == flag)
}

fn figure(address: usize, name: &str) -> usize {
    let lines = smaps(address);
    let line = lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

/// Of the middle pages, and of those alone.
#[test]
fn the_kernel_has_heard() {
    let size = page::size();
    let mut pages = filled(5);
    let place = |n: usize| pages.start() + n * size;
    let places = [0, 1, 2, 3, 4].map(place);
    let flagged = |flag| places.map(|place| u8::from(has(place, flag)));
    assert_eq!(flagged("dd"), [0; 5]);
    pages.keep_out_of_core_dumps(size..2 * size + 1, true).unwrap();
    assert_eq!(flagged("dd"), [0, 1, 1, 0, 0]);
    pages.keep_out_of_core_dumps(.., false).unwrap();
    assert_eq!(flagged("dd"), [0; 5]);
    pages.wipe_on_fork(2 * size.., true).unwrap();
    assert_eq!(flagged("wf"), [0, 0, 1, 1, 1]);
    pages.wipe_on_fork(3 * size..4 * size, false).unwrap();
    assert_eq!(flagged("wf"), [0, 0, 1, 0, 1]);
    pages.wipe_on_fork(.., false).unwrap();
    for (advice, flag, back) in [
        (Advice::Sequential, "sr", Advice::Normal),
        (Advice::Random, "rr", Advice::Normal),
        (Advice::HugePages, "hg", Advice::NoHugePages),
        (Advice::NoHugePages, "nh", Advice::HugePages),
        (Advice::Mergeable, "mg", Advice::Unmergeable),
    ] {
        pages.advise(.., back).unwrap();
        pages.advise(size + 1..3 * size, advice).unwrap();
        let now = flagged(flag);
        // A kernel may lack huge pages or merging.
        if now != [0; 5] {
            assert_eq!(now, [0, 1, 1, 0, 0], "{advice:?}");
        } else if !["hg", "nh", "mg"].contains(&flag) {
            panic!("{advice:?}");
        } else {
            skipped("the_kernel_has_heard", &format!("{advice:?}"));
        }
        pages.advise(.., back).unwrap();
        assert_eq!(flagged(flag), [0; 5], "{advice:?}");
    }
    let made = MmapOptions::new(1).no_core_dump().wipe_on_fork().map().unwrap();
    assert!(has(made.start(), "dd") && has(made.start(), "wf"));
}

#[test]
fn pages_collapse_now() {
    let size = page::transparent_sizes();
    let Some(huge) = size.iter().map(|size| size.bytes().get()).max().filter(|&huge| huge <= 64 << 20) else {
        return skipped("pages_collapse_now", "no transparent huge pages");
    };
    let mut pages = MmapOptions::new(2 * huge).align(huge).map_mut().unwrap();
    pages.advise(.., Advice::NoHugePages).unwrap();
    pattern(&mut pages);
    let expected = pages.to_vec();
    let error = pages.advise(.., Advice::Collapse).unwrap_err();
    assert!([ErrorKind::NotPermitted, ErrorKind::Unsupported].contains(&error.kind()), "{error}");
    assert_eq!(figure(pages.start(), "AnonHugePages:"), 0);
    pages.advise(.., Advice::HugePages).unwrap();
    match pages.advise(..huge, Advice::Collapse) {
        Ok(()) => assert!(figure(pages.start(), "AnonHugePages:") >= huge),
        Err(error) => {
            assert!([ErrorKind::Exhausted, ErrorKind::Unsupported].contains(&error.kind()), "{error}");
            skipped("pages_collapse_now", &error.to_string());
        }
    }
    assert!(*pages == *expected);
}

/// Trap: lazily freed pages change under a `&[u8]` until they are written to. After `reuse` they do not: the kernel, told
/// to page them out, would else drop them at once.
#[test]
fn reused_pages_stay_as_they_are() {
    let out = |start: usize, len: usize| {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: loses nothing but what the kernel was told it may take (madvise(2)).
        let _advised = unsafe { libc::madvise(start, len, libc::MADV_PAGEOUT) };
    };
    let pages = filled(64);
    pages.advise(.., Advice::NoHugePages).unwrap();
    let expected = pages.to_vec();
    let pages = unwrap(pages.free_lazily()).reuse();
    let seen = pages.to_vec();
    out(pages.start(), pages.len());
    assert!(*pages == *seen);
    for (page, was) in pages.chunks(page::size()).zip(expected.chunks(page::size())) {
        assert!(page == was || page.iter().all(|&byte| byte == 0));
    }
    // And what is taken while they are free reads as zeroes.
    let freed = unwrap(pages.free_lazily());
    out(freed.start(), freed.len());
    let pages = freed.reuse();
    let gone = pages.chunks(page::size()).filter(|page| page.iter().all(|&byte| byte == 0)).count();
    if gone == 0 {
        skipped("reused_pages_stay_as_they_are", "the kernel took no page at once");
    }
}

/// A page that cannot be had is an error where a touch would end the process.
#[test]
fn populating_reports_what_a_touch_would_die_of() {
    let size = page::size();
    let mut pages = filled(4);
    // SAFETY: nobody touches the page from here on.
    unsafe { folio::guard(pages.as_ptr().wrapping_add(2 * size), size) }.unwrap();
    for error in [pages.prefault(..).unwrap_err(), pages.prefault_mut(..).unwrap_err()] {
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::NotPermitted, Operation::Prefault),
            "{error}"
        );
    }
    pages.prefault(..2 * size).unwrap();
    pages.prefault_mut(3 * size..).unwrap();
}

/// Trap: a touch that ends the process. To write to a hole of a file takes room on its device, which may be full.
#[test]
fn pages_of_a_file_that_are_used_again_are_not_written_to() {
    use std::os::unix::fs::MetadataExt;
    let file = tempfile::tempfile().unwrap();
    file.set_len(64 * page::size() as u64).unwrap();
    for copied in [false, true] {
        // SAFETY: nobody else has the file.
        let options = unsafe { MmapOptions::of_file(&file) };
        let pages = if copied { options.map_copy() } else { options.map_mut() }.unwrap();
        let pages = pages.free_lazily().map_err(|(_, error)| error).unwrap().reuse();
        pages.flush(..).unwrap();
        assert_eq!(file.metadata().unwrap().blocks(), 0);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines();
        let line = lines
            .by_ref()
            .skip_while(|line| !line.starts_with(&format!("{:x}-", pages.start())))
            .find_map(|line| line.strip_prefix("Anonymous:"));
        assert_eq!(line.map(str::trim), Some("0 kB"));
    }
}

/// Nothing is silently lost: fresh pages would be in core dumps, and in the child of a fork.
#[test]
fn flags_are_taken_from_pages_before_they_are_replaced() {
    let page = page::size();
    let mut pages =
        MmapOptions::new(2 * page).room(2 * page).no_core_dump().wipe_on_fork().map_mut().unwrap();
    assert_eq!(pages.grow(3 * page).unwrap_err().kind(), ErrorKind::Unsupported);
    let (back, error) = pages.into_reserved().map(drop).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Operation::Decommit));
    assert!(error.remedy().is_some());
    pages = back;
    // What the remedy says.
    pages.wipe_on_fork(.., false).unwrap();
    assert!(pages.grow(3 * page).is_err());
    pages.keep_out_of_core_dumps(.., false).unwrap();
    pages.grow(3 * page).unwrap();
    pages.wipe_on_fork(.., true).unwrap();
    pages.wipe_on_fork(.., false).unwrap();
    let pages = pages.into_reserved().map_err(|(_, error)| error).unwrap().commit();
    assert_eq!(pages.map_err(|(_, error)| error).unwrap().len(), 3 * page);

    // Through a reservation and back.
    let mut room = folio::Reservation::new(2 * page).unwrap();
    let mut own: MmapMut = room.carve(..page).unwrap();
    own.wipe_on_fork(.., true).unwrap();
    room.take_back(own).map_err(|(_, error)| error).unwrap();
    let mut own: MmapMut = room.carve(..page).unwrap();
    assert_eq!(own.remap(2 * page).unwrap_err().kind(), ErrorKind::Unsupported);
    room.take_back(own).map_err(|(_, error)| error).unwrap();
    room.decommit(..).unwrap();
    let mut own: MmapMut = room.carve(..page).unwrap();
    own.remap(2 * page).unwrap();
}
