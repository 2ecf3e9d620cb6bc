//! On Linux, whose calls are the same.

use super::{Attached, file_facts, flush, map_with};
use crate::error::ErrorKind;
use crate::os::{Content, Place, Request, file_of, inject};
use crate::page;
use crate::protection::Protection;
use crate::range::{PageLen, PageRange};
use std::io::{Read, Seek, Write};

fn len(pages: usize) -> PageLen {
    PageLen::covering(pages * page::size()).unwrap()
}

/// Where nothing is mapped of itself, and by no other test.
fn place() -> usize {
    if usize::BITS == 64 { 44_usize.wrapping_shl(37) } else { 0x2800_0000 }
}

#[test]
fn a_file_is_mapped_where_it_is_to_be_and_nowhere_else() {
    let size = page::size();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&std::vec![7; 3 * size - 1]).unwrap();
    let content =
        Content::File { file: file_of(&file), offset: size as u64, bytes: 2 * size - 1, shared: true };
    let request =
        Request { place: Place::At(place()), content, ..Request::new(len(2), Protection::READ_WRITE) };
    assert_eq!(file_facts(file_of(&file)).unwrap().len, Some(3 * size as u64 - 1));
    // SAFETY: replaces nothing, here and below.
    let (base, _) = unsafe { map_with(&request) }.unwrap();
    assert_eq!(base.addr().get(), place());
    // SAFETY: just mapped.
    assert_eq!(unsafe { base.read() }, 7);
    // SAFETY: as above.
    unsafe { base.write(8) };
    let range = PageRange::starting_at(place(), len(2)).unwrap();
    for wait in [false, true] {
        flush(range, wait, &Attached::NOTHING).unwrap();
    }
    let mut written = std::vec::Vec::new();
    (&file).rewind().unwrap();
    (&file).read_to_end(&mut written).unwrap();
    assert_eq!((written[size - 1], written[size], written[size + 1]), (7, 8, 7));

    // Something is there now.
    // SAFETY: as above.
    let failure = unsafe { map_with(&request) }.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Occupied);
    // SAFETY: replaces the mapping above, which nobody uses.
    let (over, _) = unsafe {
        map_with(&Request { place: Place::Over(place()), ..Request::new(len(2), Protection::READ) })
    }
    .unwrap();
    // SAFETY: just mapped.
    assert_eq!(unsafe { over.read() }, 0);
    // SAFETY: the mapping is nobody's but ours, and not used any more.
    unsafe { super::super::unmap(range) }.unwrap();

    // A wish out of reach is a wish.
    let wish = Request { place: Place::Hint(usize::MAX & !page::mask()), populate: true, ..request };
    // SAFETY: as above.
    let (base, _) = unsafe { map_with(&wish) }.unwrap();
    let range = PageRange::starting_at(base.addr().get(), len(2)).unwrap();
    // SAFETY: as above.
    unsafe { super::super::unmap(range) }.unwrap();
}

#[test]
fn what_these_systems_do_not_have_is_an_error() {
    let request = Request::new(len(1), Protection::READ_WRITE);
    let huge = Request { huge: page::PageSize::from_bytes(1 << 21), ..request };
    let node = Request { node: Some(1), ..request };
    for request in [huge, node] {
        // SAFETY: replaces nothing.
        let failure = unsafe { map_with(&request) }.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unsupported);
    }
    let folder = std::fs::File::open("/").unwrap();
    assert_eq!(file_facts(file_of(&folder)).unwrap_err().kind(), ErrorKind::InvalidInput);
    let file = tempfile::tempfile().unwrap();
    let content = Content::File { file: file_of(&file), offset: 0, bytes: 1, shared: true };
    for (code, kind) in [
        (libc::EACCES, ErrorKind::NotPermitted),
        (libc::EPERM, ErrorKind::NotPermitted),
        (libc::ENODEV, ErrorKind::Unsupported),
        (libc::EINVAL, ErrorKind::InvalidInput),
        (libc::ENOMEM, ErrorKind::Exhausted),
        (libc::EIO, ErrorKind::System),
    ] {
        let (made, failed) = inject::fail_nth(Some("mmap"), 0, code, || {
            // SAFETY: replaces nothing.
            unsafe { map_with(&Request { content, ..request }) }
        });
        assert!(failed);
        assert_eq!(made.unwrap_err().kind(), kind, "{code}");
    }
}
