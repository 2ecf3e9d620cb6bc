//! Questions about one page, and walks over all regions, in a list that was read whole.

use crate::error::{ErrorKind, Failure};
use crate::range::PageRange;
use crate::region::{Backing, Detail, Device, Region, Usage};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

/// One entry of a list.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Empty ones are passed over.
    pub(crate) region: Region,
    pub(crate) backing: Backing<'a>,
    /// What the region uses, where the list says so.
    pub(crate) usage: Option<Usage>,
    /// How many bytes of the buffer the entry takes: at least one.
    pub(crate) size: usize,
}

/// A process whose mappings the system lists: the calling one or another, held so that no other with its number is taken
/// for it.
pub(crate) trait Listed: Sized {
    /// Reads the whole list into a buffer that is empty: one list of one moment, as far as the system can give that.
    fn list(&self, detail: Detail, buffer: &mut Vec<u8>) -> Result<(), Failure>;

    /// The first entry of the bytes; `None` when they do not begin with a whole one that makes sense.
    fn entry(bytes: &[u8], detail: Detail) -> Option<Entry<'_>>;

    /// Another hold on the same process, for a walk to keep.
    fn hold(&self) -> Result<Self, Failure>;

    /// That the process still is there, and still the same. The calling one always is.
    fn still_there(&self) -> Result<(), Failure>;

    /// Finishes what the entry says of the backing where that takes a system call of its own. `scratch` is kept from one
    /// call to the next of a walk.
    fn complete<'a>(&self, backing: Backing<'a>, _scratch: &'a mut Scratch) -> Backing<'a> {
        backing
    }
}

/// What completing a backing remembers between two regions of a walk.
#[derive(Default, Debug)]
#[allow(dead_code, reason = "only illumos has something to remember")]
pub(crate) struct Scratch {
    /// The name in the list, and what it stands for.
    pub(crate) listed: Vec<u8>,
    pub(crate) name: Vec<u8>,
    /// The device and inode of the program's file, once asked for.
    pub(crate) program: Option<Option<(Device, u64)>>,
}

/// The region that holds `page`. Allocates a buffer for the list, once or (when mappings are being made meanwhile) a few
/// times; nothing for each region.
pub(crate) fn query<T: Listed>(target: &T, page: PageRange) -> Result<Option<Region>, Failure> {
    Ok(find(target, page, Detail::Region)?.map(|(region, _)| region))
}

/// What stands behind the region that holds `page`. Allocates the list's buffer, and the name.
pub(crate) fn backing<T: Listed>(target: &T, page: PageRange) -> Result<Option<Backing<'static>>, Failure> {
    Ok(find(target, page, Detail::Backing)?.map(|(_, walk)| walk.backing().into_owned()))
}

/// What the region uses that holds `page`. Allocates the list's buffer.
pub(crate) fn usage<T: Listed>(target: &T, page: PageRange) -> Result<Option<Usage>, Failure> {
    Ok(find(target, page, Detail::Usage)?.and_then(|(_, walk)| walk.usage().copied()))
}

/// A walk that has stepped to the region that holds `page`.
fn find<T: Listed>(
    target: &T,
    page: PageRange,
    detail: Detail,
) -> Result<Option<(Region, Walk<T>)>, Failure> {
    let mut walk = Walk::new(target, page, detail)?;
    while let Some(region) = walk.step()? {
        if region.contains(page.first()) {
            return Ok(Some((region, walk)));
        }
        if region.base > page.last() {
            break;
        }
    }
    Ok(None)
}

/// A walk over the regions that overlap a range.
///
/// The list is read when the walk is made: the regions are those of that moment.
pub(crate) struct Walk<T: Listed> {
    target: T,
    range: PageRange,
    detail: Detail,
    list: Vec<u8>,
    /// Where in the list the next entry begins.
    next: usize,
    /// Of the region stepped to: what stands behind it, but for the name, which is copied into a buffer that is used again
    /// and again; and what it uses.
    backing: Backing<'static>,
    name: Vec<u8>,
    usage: Option<Usage>,
    scratch: Scratch,
}

impl<T: Listed> Walk<T> {
    pub(crate) fn new(target: &T, range: PageRange, detail: Detail) -> Result<Self, Failure> {
        let mut list = Vec::new();
        target.list(detail, &mut list)?;
        target.still_there()?;
        Ok(Self {
            target: target.hold()?,
            range,
            detail,
            list,
            next: 0,
            backing: Backing::ANONYMOUS,
            name: Vec::new(),
            usage: None,
            scratch: Scratch::default(),
        })
    }

    /// The next region.
    pub(crate) fn step(&mut self) -> Result<Option<Region>, Failure> {
        loop {
            let Some(rest) = self.list.get(self.next..).filter(|rest| !rest.is_empty()) else {
                // As with the other systems, a list that was finished after the process had ended does not look complete.
                self.target.still_there()?;
                return Ok(None);
            };
            let entry = T::entry(rest, self.detail).filter(|entry| entry.size > 0);
            let Some(Entry { region, backing, usage, size }) = entry else {
                let shown: Range<usize> = 0..rest.len().min(128);
                return Err(Failure::unexpected(rest.get(shown).unwrap_or_default()));
            };
            self.next = self.next.saturating_add(size);
            if region.is_empty() || region.last() < self.range.first() {
                continue;
            }
            if self.detail >= Detail::Backing {
                let backing = self.target.complete(backing, &mut self.scratch);
                self.name.clear();
                self.name.extend_from_slice(&backing.name);
                self.backing = Backing { name: Cow::Borrowed(&[]), ..backing };
            }
            if self.detail == Detail::Usage {
                self.usage = Some(usage.ok_or_else(no_usage)?);
            }
            return Ok(Some(region));
        }
    }

    pub(crate) fn backing(&self) -> Backing<'_> {
        Backing { name: Cow::Borrowed(&self.name), ..self.backing }
    }

    pub(crate) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}

fn no_usage() -> Failure {
    Failure::new(ErrorKind::Unsupported).detail("the system does not tell what memory a region uses")
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Entries of four bytes: the first page, the number of pages, the name, how many bytes the entry takes.
    struct Held(Vec<u8>, Cell<bool>);

    fn page_number(number: u8) -> usize {
        usize::from(number) * crate::page::size()
    }

    impl Listed for Held {
        fn list(&self, _detail: Detail, buffer: &mut Vec<u8>) -> Result<(), Failure> {
            buffer.extend_from_slice(&self.0);
            Ok(())
        }

        fn entry(bytes: &[u8], _detail: Detail) -> Option<Entry<'_>> {
            let [first, pages, _, size] = *bytes.first_chunk()?;
            bytes.get(..usize::from(size))?;
            Some(Entry {
                region: Region { base: page_number(first), len: page_number(pages), ..Region::default() },
                backing: Backing { name: Cow::Borrowed(bytes.get(2..3)?), ..Backing::ANONYMOUS },
                usage: None,
                size: usize::from(size),
            })
        }

        fn hold(&self) -> Result<Self, Failure> {
            Ok(Self(Vec::new(), self.1.clone()))
        }

        fn still_there(&self) -> Result<(), Failure> {
            if self.1.get() { Ok(()) } else { Err(Failure::new(ErrorKind::ProcessEnded)) }
        }
    }

    fn held(list: &[u8]) -> Held {
        Held(list.into(), Cell::new(true))
    }

    fn all() -> PageRange {
        PageRange::touching(0, usize::MAX).unwrap()
    }

    const THREE: &[u8] = &[1, 2, b'a', 4, 3, 0, b'-', 4, 5, 1, b'b', 6, 0xff, 0xff, 9, 2, b'c', 4];

    #[test]
    fn a_list_is_walked_and_searched() {
        let target = held(THREE);
        let mut walk = Walk::new(&target, all(), Detail::Backing).unwrap();
        let mut names = Vec::new();
        while let Some(region) = walk.step().unwrap() {
            names.push((region.base, walk.backing().name.to_vec()));
        }
        let expected =
            [(1, b"a"), (5, b"b"), (9, b"c")].map(|(page, name)| (page_number(page), name.to_vec()));
        assert_eq!(names, expected);
        assert!(walk.step().unwrap().is_none(), "the end stays the end");
        for (page, base) in
            [(0, None), (1, Some(1)), (2, Some(1)), (3, None), (5, Some(5)), (10, Some(9)), (11, None)]
        {
            let asked = PageRange::containing(page_number(page) + 1);
            let found = query(&target, asked).unwrap().map(|region| region.base);
            assert_eq!(found, base.map(page_number), "{page}");
            assert_eq!(backing(&target, asked).unwrap().is_some(), base.is_some());
        }
    }

    #[test]
    fn usage_that_is_not_told_is_unsupported() {
        let failure = usage(&held(THREE), PageRange::containing(page_number(1))).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_an_error_with_its_bytes() {
        for bad in [&[1, 2, b'a'][..], &[1, 2, b'a', 0], &[1, 2, b'a', 5], &[1, 2, b'a', 4, 7]] {
            let mut walk = Walk::new(&held(bad), all(), Detail::Region).unwrap();
            let failure = loop {
                match walk.step() {
                    Ok(region) => assert!(region.is_some(), "a bad entry looked like the end"),
                    Err(failure) => break failure,
                }
            };
            assert_eq!(failure.kind(), ErrorKind::UnexpectedAnswer);
        }
    }

    #[test]
    fn a_list_of_an_ended_process_never_looks_complete() {
        let target = held(THREE);
        let mut walk = Walk::new(&target, all(), Detail::Region).unwrap();
        walk.step().unwrap().unwrap();
        walk.target.1.set(false);
        while let Ok(step) = walk.step() {
            assert!(step.is_some());
        }
        target.1.set(false);
        let refused = Walk::new(&target, all(), Detail::Region).err().map(|failure| failure.kind());
        assert_eq!(refused, Some(ErrorKind::ProcessEnded));
    }
}
