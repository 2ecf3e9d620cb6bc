//! What the parts of the wing do to one another: every kind of mapping through every change of its length, its memory, its parts.

mod common;

use folio::{
    ErrorKind, FreedLazily, Held, Mmap, MmapMut, MmapNone, MmapOptions, Pages, Protection, Reservation,
    Reserved, page, query, query_range,
};
use std::fs::File;
use std::panic::{RefUnwindSafe, UnwindSafe};

fn gone(start: usize, len: usize) -> bool {
    query_range(std::ptr::without_provenance::<u8>(start), len).unwrap().next().is_none()
}

/// Where no other test comes.
fn place_of(number: usize) -> usize {
    19_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 27 }) + (number << 22)
}

fn file(len: usize) -> File {
    let file = tempfile::tempfile().unwrap();
    let bytes: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    file
}

fn around(options: MmapOptions<'_>) -> MmapOptions<'_> {
    options.guard_before(page::size()).guard_after(2 * page::size())
}

/// Each kind of mapping at a place, of `len` bytes: with the address of all that it takes up, and how much that is.
fn kinds(len: usize, number: usize, test: impl Fn(&str, MmapMut, (usize, usize))) {
    let page = page::size();
    let place = place_of(number);
    let whole = len.next_multiple_of(page);
    let all = 8 * page + whole;
    let kind = |name: &str, at: usize, made: folio::Result<MmapMut>| {
        let mut pages = match made {
            Ok(pages) => pages,
            // Guard pages around files.
            Err(error) if error.kind() == ErrorKind::Unsupported => return,
            Err(error) => panic!("{name}: {error}"),
        };
        pages.fill(7);
        test(name, pages, (at, all));
    };
    kind("plain", place, MmapOptions::new(len).at(place).map_mut());
    kind("guards", place - page, around(MmapOptions::new(len).at(place)).map_mut());
    kind("room", place - page, around(MmapOptions::new(len).at(place).room(3 * page)).map_mut());
    for copied in [false, true] {
        for guards in [false, true] {
            let file = file(len + 5 * page::granularity());
            let offset = page::granularity() + if guards { 11 } else { 0 };
            // SAFETY: nobody else has the file.
            let options = unsafe { MmapOptions::new(len).file(&file) }.offset(offset as u64);
            let options = options.at(place + if guards { 11 } else { 0 });
            let options = if guards { around(options) } else { options };
            let made = if copied { options.map_copy() } else { options.map_mut() };
            kind(&format!("file, copied: {copied}, guards: {guards}"), place - page, made);
        }
    }
}

/// Nothing is left, whatever is done to it, and what is done to one part is not seen in the other.
#[test]
fn every_kind_is_cut_shortened_and_put_together_again() {
    let page = page::size();
    kinds(6 * page, 0, |name, mut pages, (at, all)| {
        assert!(!gone(at, all), "{name}");
        let skew = pages.start() & (page - 1);
        let cut = 3 * page - skew;
        let mut high = pages.split_off(cut).unwrap();
        // SAFETY: what was taken apart just now.
        high = unsafe { MmapMut::from_raw_parts(high.into_raw_parts()) };
        high.fill(9);
        assert!(pages.iter().all(|&byte| byte == 7), "{name}");
        let high = high.make_read_only().map_err(|(_, error)| error).unwrap();
        pages.lock().or_else(common_limit).unwrap();
        let locked = pages.unlock().is_ok();
        let high: MmapMut = high.try_into().unwrap();
        pages.merge(high).map_err(|(_, error)| error).unwrap();
        assert_eq!((pages.len(), pages[cut - 1], pages[cut]), (6 * page, 7, 9), "{name}, {locked}");

        // Shorter, within a page of a file, and still all of it is unmapped at the end.
        pages.shrink(4 * page - 5).unwrap();
        assert!(pages.len() >= 4 * page - 5 && pages.len() <= 4 * page, "{name}");
        let length = pages.len();
        assert_eq!((pages[0], pages[length - 1]), (7, 9), "{name}");
        let low = pages.split_to(cut).unwrap();
        drop(low);
        assert_eq!(pages.len(), length - cut, "{name}");
        assert!(pages.iter().all(|&byte| byte == 9), "{name}");
        let pages: MmapNone = pages.try_into().unwrap();
        let mut pages: MmapMut = pages.try_into().unwrap();
        pages.shrink(1).unwrap();
        assert_eq!(pages[0], 9, "{name}");
        drop(pages);
        assert!(gone(at, all), "{name}");
    });
}

fn common_limit(error: folio::Error) -> folio::Result<()> {
    if matches!(error.kind(), ErrorKind::NotPermitted | ErrorKind::Exhausted) { Ok(()) } else { Err(error) }
}

/// What is given up is fresh, or the file's; what comes back is what it says.
#[test]
fn every_kind_gives_its_memory_back_or_says_that_it_does_not() {
    let page = page::size();
    kinds(4 * page, 1, |name, mut pages, (at, all)| {
        let skew = pages.start() & (page - 1);
        let second = page - skew..2 * page - skew;
        let is_file = name.starts_with("file");
        let (shared, copied) = (name.contains("copied: false"), name.contains("copied: true"));
        match pages.decommit(second.clone()) {
            Ok(()) if shared => assert!(pages.iter().all(|&byte| byte == 7), "{name}"),
            Ok(()) if copied => assert_ne!(pages[second.clone()], vec![7; page][..], "{name}"),
            Ok(()) => assert_eq!(pages[second.clone()], vec![0; page][..], "{name}"),
            Err(error) => assert!(copied && error.kind() == ErrorKind::Unsupported, "{name}: {error}"),
        }
        assert_eq!((pages[0], pages[second.end]), (7, 7), "{name}");
        let idle = pages.free_lazily().map_err(|(_, error)| error);
        let Ok(idle) = idle else {
            assert!(copied, "{name}");
            return;
        };
        let pages = idle.reuse();
        assert!(!shared || pages.iter().all(|&byte| byte == 7), "{name}");
        let pages = match pages.into_reserved() {
            Ok(reserved) => {
                assert!(!is_file, "{name}");
                let inside = query(std::ptr::without_provenance::<u8>(reserved.start())).unwrap();
                assert_eq!(inside.protection(), Protection::NONE);
                let pages = reserved.commit().map_err(|(_, error)| error).unwrap();
                assert!(pages.iter().all(|&byte| byte == 0), "{name}");
                pages
            }
            Err((pages, error)) => {
                assert!(is_file && error.kind() == ErrorKind::Unsupported, "{name}: {error}");
                pages
            }
        };
        drop(pages);
        assert!(gone(at, all), "{name}");
    });
}

/// A part that moves away leaves its addresses to the reservation, without memory.
#[test]
fn a_part_that_moves_away_leaves_its_place() {
    let page = page::size();
    let mut room = Reservation::new(4 * page).unwrap();
    let mut own: MmapMut = room.carve(page..3 * page).unwrap();
    own.fill(7);
    let mut high = own.split_off(page).unwrap();
    high.remap(8 * page).unwrap();
    assert!(!room.as_range().contains(&high.start()));
    assert_eq!((high[page - 1], high[page]), (7, 0));
    let left = query(std::ptr::without_provenance::<u8>(room.start() + 2 * page)).unwrap();
    assert_eq!(left.protection(), Protection::NONE);
    let (high, error) = room.take_back(high).unwrap_err();
    assert_eq!((error.kind(), high.len()), (ErrorKind::InvalidInput, 8 * page));
    // What is left of it is still carved out.
    assert_eq!(room.commit(2 * page..3 * page, Protection::READ).unwrap_err().kind(), ErrorKind::Occupied);
    room.take_back(own).map_err(|(_, error)| error).unwrap();
    room.commit(2 * page.., Protection::READ).unwrap();
    assert_eq!((room.get(2 * page - 1..2 * page + 1).unwrap(), high[0]), (&[7, 0][..], 7));
    drop(room);
    assert_eq!(high[0], 7);
}

/// One that was shortened gives back what it has; the rest of its addresses come with the last part.
#[test]
fn a_part_that_was_shortened_is_taken_back() {
    let page = page::size();
    let mut room = Reservation::new(4 * page).unwrap();
    let mut own: MmapMut = room.carve(..).unwrap();
    own.fill(7);
    own.lock().or_else(common_limit).unwrap();
    own.shrink(page).unwrap();
    assert!(own.grow(2 * page).is_err());
    room.take_back(own).map_err(|(_, error)| error).unwrap();
    assert!(room.get(..page).unwrap().iter().all(|&byte| byte == 7));
    assert_eq!(room.get(page..).unwrap_err().kind(), ErrorKind::Unmapped);
    room.commit(.., Protection::READ).unwrap();
    assert!(room.get(page..).unwrap().iter().all(|&byte| byte == 0));
}

/// Growing takes what lies directly behind only if nobody has it, also where the system keeps both in one region.
#[test]
fn a_part_grows_over_nobody() {
    let page = page::size();
    let mut low = Pages::new(4 * page).unwrap();
    low.fill(1);
    let mut high = low.split_off(2 * page).unwrap();
    high.fill(2);
    let error = low.grow(3 * page).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Occupied | ErrorKind::Unsupported), "{error}");
    let start = low.start();
    low.remap(8 * page).unwrap();
    assert_ne!(low.start(), start);
    assert!(low[..2 * page].iter().all(|&byte| byte == 1) && low[2 * page..].iter().all(|&byte| byte == 0));
    assert!(high.iter().all(|&byte| byte == 2));
    // They are no longer of one piece, wherever they lie.
    assert!(low.merge(high).is_err());
}

#[test]
fn all_may_be_sent_and_shared() {
    fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    all::<MmapMut>();
    all::<Mmap>();
    all::<Reserved>();
    all::<Reservation>();
    all::<FreedLazily>();
    all::<Held<'static>>();
    all::<MmapOptions<'static>>();
}
