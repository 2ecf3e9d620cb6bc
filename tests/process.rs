//! Other processes: live, of many mappings, foreign, ended; what stands behind their regions and what they use.

mod common;

use common::{Area, Helper, role, say, skipped, wait_for_parent};
use folio::{BackingKind, ErrorKind, Operation, Process, Protection, Region, page};

/// Whether the system tells what memory regions use: else the error says so.
fn usage_is_told() -> bool {
    let told = folio::Capabilities::probe().usage();
    if !told {
        let local = 1_u8;
        let error = Process::current().usage(&raw const local as usize).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Operation::Usage), "{error}");
    }
    told
}

fn all(process: &Process) -> Vec<Region> {
    process.regions().unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn another_process_is_found_as_it_is() {
    let test = "another_process_is_found_as_it_is";
    if role().is_some() {
        let area = Area::new(4);
        area.protect(1, 2, Protection::READ);
        say(area.base());
        wait_for_parent();
        return;
    }
    let mut helper = Helper::start(test, "child");
    let base: usize = helper.line().parse().unwrap();
    let Some(process) = helper.open(test) else { return };
    assert_eq!(process.id(), helper.pid());
    let middle = process.query(base + page::size() + 1).unwrap();
    assert_eq!(middle.as_range(), base + page::size()..base + 3 * page::size());
    assert_eq!(middle.protection(), Protection::READ);
    assert_eq!(process.backing(base).unwrap().kind(), BackingKind::Anonymous);
    let listed = all(&process);
    assert!(listed.contains(&middle));
    assert!(listed.windows(2).all(|pair| pair[0].as_range().end <= pair[1].as_range().start));
    let part: Vec<_> = process.query_range(base, 4 * page::size()).unwrap().map(Result::unwrap).collect();
    assert_eq!(part.len(), 3);
    for address in [0, usize::MAX] {
        assert_eq!(process.query(address).unwrap_err().kind(), ErrorKind::Unmapped);
    }
    let error = process.query(0).unwrap_err();
    assert_eq!((error.operation(), error.pid()), (Operation::Query, Some(helper.pid())));
    let snapshot = process.snapshot().unwrap();
    assert_eq!(snapshot.find_region(base + page::size()), Some(middle));
    helper.finish();
}

/// The calling process by its number is the calling process.
#[test]
fn this_process_by_its_number_is_the_same() {
    let area = Area::new(3);
    area.protect(1, 1, Protection::READ);
    let (by_number, current) = (Process::open(std::process::id()).unwrap(), Process::current());
    assert_eq!(current.id(), std::process::id());
    assert_eq!(by_number.id(), std::process::id());
    for index in 0..3 {
        assert_eq!(by_number.query(area.page(index)).unwrap(), current.query(area.page(index)).unwrap());
    }
    let within = |process: &Process| -> Vec<Region> {
        process.query_range(area.base(), area.len()).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(within(&by_number), within(&current));
    assert_eq!(by_number.backing(area.page(1)).unwrap(), current.backing(area.page(1)).unwrap());
}

#[test]
fn a_process_that_does_not_exist_is_not_found() {
    for pid in [0, u32::MAX, u32::MAX / 2, 0x7fff_fff3] {
        let error = Process::open(pid).unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::NoSuchProcess, Operation::OpenProcess),
            "{error}"
        );
        assert_eq!(error.pid(), Some(pid));
    }
}

/// Trap: process ids are reused. A handle never speaks of another process than the one it was made for.
#[test]
fn a_process_that_ends_says_so() {
    let test = "a_process_that_ends_says_so";
    if role().is_some() {
        say("here");
        wait_for_parent();
        return;
    }
    let mut helper = Helper::start(test, "child");
    helper.line();
    let pid = helper.pid();
    let Some(process) = helper.open(test) else { return };
    let address = all(&process)[0].as_range().start;
    let mut iter = process.regions().unwrap();
    iter.next().unwrap().unwrap();
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
    for result in [
        process.query(address).map(drop),
        process.backing(address).map(drop),
        process.usage(address).map(drop),
        process.snapshot().map(drop),
        process.regions().map(|mut regions| regions.next()).map(|next| next.transpose()).flatten_result(),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProcessEnded, "{error}");
        assert_eq!(error.pid(), Some(pid));
    }
    // A list that was begun before never looks complete, unless all of it had been read already.
    let rest: Vec<_> = iter.collect();
    if let Some(Err(error)) = rest.last() {
        assert_eq!(error.kind(), ErrorKind::ProcessEnded);
    } else {
        panic!("the list of an ended process ended like a complete one");
    }
    drop(helper);
    let error = Process::open(pid).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSuchProcess | ErrorKind::ProcessEnded), "{error}");
}

trait FlattenResult {
    fn flatten_result(self) -> Result<(), folio::Error>;
}

impl FlattenResult for Result<Result<Option<Region>, folio::Error>, folio::Error> {
    fn flatten_result(self) -> Result<(), folio::Error> {
        self?.map(drop)
    }
}

/// A snapshot that could not be taken is empty, not old.
#[test]
fn a_snapshot_refreshed_from_an_ended_process_is_empty() {
    let test = "a_snapshot_refreshed_from_an_ended_process_is_empty";
    if role().is_some() {
        say("here");
        wait_for_parent();
        return;
    }
    let mut helper = Helper::start(test, "child");
    helper.line();
    let Some(process) = helper.open(test) else { return };
    let mut snapshot = process.snapshot().unwrap();
    assert!(snapshot.len() > 5 && snapshot.taken().is_some() && snapshot.age().is_some());
    let last = snapshot.iter().next_back().unwrap().region();
    assert_eq!(snapshot.find_region(last.as_range().start), Some(last));
    assert!(snapshot.find(0).is_none() && snapshot.find(usize::MAX).is_none());
    helper.child.kill().unwrap();
    helper.child.wait().unwrap();
    assert_eq!(snapshot.refresh(&process).unwrap_err().kind(), ErrorKind::ProcessEnded);
    assert!(
        snapshot.is_empty() && snapshot.taken().is_none() && snapshot.find(last.as_range().start).is_none()
    );
    snapshot.refresh(&Process::current()).unwrap();
    assert!(!snapshot.is_empty());
}

/// A child of 60,000 mappings (fewer where the system allows only fewer): each is found, in order, once.
#[test]
fn a_child_of_sixty_thousand_mappings_is_listed_whole() {
    let test = "a_child_of_sixty_thousand_mappings_is_listed_whole";
    if role().is_some() {
        let most = folio::Limits::current().unwrap().max_mappings().unwrap_or(65_530);
        let pages = usize::try_from(most).unwrap().saturating_sub(1000).min(60_000);
        let area = Area::new(pages);
        for index in (0..pages).step_by(2) {
            area.protect(index, 1, Protection::READ);
        }
        say(format!("{} {}", area.base(), pages));
        // In this process, too: every region by a listing, and some by themselves.
        let regions: Vec<_> =
            folio::query_range(area.pointer(), area.len()).unwrap().map(Result::unwrap).collect();
        assert_eq!(regions.len(), pages);
        let whole =
            all(&Process::current()).into_iter().filter(|region| region.as_range().start >= area.base());
        assert!(whole.count() >= pages);
        for index in (0..pages).step_by(99_700 / usize::try_from(common::rounds(100)).unwrap()) {
            assert_eq!(
                folio::query(std::ptr::without_provenance::<u8>(area.page(index))).unwrap(),
                regions[index]
            );
        }
        say("checked");
        wait_for_parent();
        return;
    }
    let mut helper = Helper::start(test, "child");
    let line = helper.line();
    let (base, pages) = line.split_once(' ').unwrap();
    let (base, pages): (usize, usize) = (base.parse().unwrap(), pages.parse().unwrap());
    if pages < 60_000 {
        skipped(test, &format!("the system allows {pages} mappings here: tried with these"));
    }
    assert_eq!(helper.line(), "checked");
    let Some(process) = helper.open(test) else { return };
    let listed: Vec<_> = all(&process)
        .into_iter()
        .filter(|region| (base..base + pages * page::size()).contains(&region.as_range().start))
        .collect();
    assert_eq!(listed.len(), pages);
    for (index, region) in listed.iter().enumerate() {
        assert_eq!(region.as_range(), base + index * page::size()..base + (index + 1) * page::size());
        assert_eq!(region.is_writable(), index % 2 == 1);
    }
    let snapshot = process.snapshot().unwrap();
    for index in (0..pages).step_by(33_100 / usize::try_from(common::rounds(100)).unwrap()) {
        let address = base + index * page::size() + 5;
        assert_eq!(snapshot.find_region(address), Some(listed[index]));
        assert_eq!(process.query(address).unwrap(), listed[index]);
    }
    helper.finish();
}

/// Usage follows what is touched.
#[test]
fn usage_follows_what_is_touched() {
    if !usage_is_told() {
        return skipped("usage_follows_what_is_touched", "the system does not tell");
    }
    let pages = 64;
    let area = Area::new(pages);
    let this = Process::current();
    let before = this.usage(area.base()).unwrap();
    assert_eq!(before.size(), u64::try_from(area.len()).unwrap());
    assert_eq!(before.resident(), 0);
    for index in 0..pages / 2 {
        let page = std::ptr::with_exposed_provenance_mut::<u8>(area.page(index));
        // SAFETY: a writable page of this area, to which nobody else has a reference.
        unsafe { page.write_volatile(1) };
    }
    let after = this.usage(area.base()).unwrap();
    let touched = u64::try_from(area.len() / 2).unwrap();
    assert!(after.resident() >= touched, "{after:?}");
    assert!(after.resident() <= after.size());
    // FreeBSD knows of pages that nobody else has only where they are not part of a larger mapping's; illumos not at all.
    let vague = cfg!(any(target_os = "freebsd", target_os = "illumos"));
    assert!(after.private().map_or(vague, |private| private >= touched), "{after:?}");
    let mut listing = this.mappings_with_usage().unwrap();
    let mut seen = false;
    while let Some(mapping) = listing.advance().unwrap() {
        let usage = mapping.usage().unwrap();
        if mapping.region().contains(area.base()) {
            seen = true;
            assert_eq!(usage.size(), u64::try_from(mapping.region().len()).unwrap());
            assert_eq!(usage.resident(), after.resident());
            assert_eq!(mapping.backing().kind(), BackingKind::Anonymous);
        }
    }
    assert!(seen);
    assert!(this.mappings().unwrap().advance().unwrap().unwrap().usage().is_none());
}

#[test]
fn the_program_itself_is_a_file_with_an_offset() {
    let address = the_program_itself_is_a_file_with_an_offset as *const () as usize;
    let backing = Process::current().backing(address).unwrap();
    assert!(matches!(backing.kind(), BackingKind::File | BackingKind::Image));
    assert!(!backing.is_deleted());
    // OpenBSD's list has no names.
    if cfg!(target_os = "openbsd") {
        return assert!(backing.path().is_none());
    }
    let exe = std::env::current_exe().unwrap();
    assert_eq!(backing.path().unwrap().file_name(), exe.file_name());
    let snapshot = Process::current().snapshot().unwrap();
    let found = snapshot.find(address).unwrap();
    // Windows has no offsets. Elsewhere the file has there what the memory has.
    let offset = found.file_offset(address);
    assert_eq!(offset.is_some(), !cfg!(windows));
    if let Some(offset) = offset {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = std::fs::File::open(&exe).unwrap();
        let mut there = [0_u8; 16];
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.read_exact(&mut there).unwrap();
        // SAFETY: the first bytes of a function longer than that, which nobody changes.
        let here = unsafe { std::ptr::with_exposed_provenance::<[u8; 16]>(address).read() };
        assert_eq!(here, there);
    }
    assert_eq!(found.backing(), &backing);
    assert_eq!(found.clone().backing().as_borrowed().into_owned(), backing);
}

#[test]
fn limits_are_those_of_this_process() {
    let limits = folio::Limits::current().unwrap();
    assert!(limits.mappings().unwrap() > 5);
    if let (Some(used), Some(limit)) = (limits.address_space(), limits.address_space_limit()) {
        assert!(used > 0 && used <= limit);
    }
    for pool in limits.huge_pages() {
        assert!(pool.free() <= pool.total() && page::huge_sizes().contains(pool.size()));
    }
    let capabilities = folio::Capabilities::probe();
    let phone = cfg!(all(target_vendor = "apple", not(target_os = "macos")));
    assert_eq!(capabilities.other_processes(), !phone);
    assert_eq!(capabilities.usage(), usage_is_told());
}
