//! From options to pages: files, huge pages, and whatever else is asked of the system beside a place.

use super::make::{rounded, too_long};
use super::{Choice, Fallback, MmapOptions, More, Place};
use crate::allocation::{give_up, place_near, whole};
use crate::error::{ErrorKind, Failure, Result};
use crate::os::{self, Attached, File, Request};
use crate::page::{self, PageSize};
use crate::pages::map::{Content, Map};
use crate::protection::Protection;
use crate::range::{PageLen, PageRange, wide};
use core::ffi::CStr;
use core::ptr::NonNull;

type Tried<T> = core::result::Result<T, Failure>;

/// What a mapping takes up that is of one piece: a file's, or one of huge pages.
struct Shape {
    /// Bytes before the first one: of the file, but not asked for.
    hidden: usize,
    len: usize,
    /// With what is hidden, a multiple of `unit`.
    whole: PageLen,
    unit: usize,
}

impl MmapOptions<'_> {
    /// Nothing contradicts anything else, as far as can be said without asking the system.
    pub(super) fn consistent(&self, more: &More<'_>) -> Tried<()> {
        let refuse = |why| Err(Failure::invalid(why));
        if let Some(why) = more.conflict {
            return refuse(why);
        }
        if !self.align.is_power_of_two() {
            return refuse("the alignment is no power of two");
        }
        if matches!(self.place, Place::Over(_)) && (self.before > 0 || self.after > 0) {
            return refuse("guard pages around pages that replace others");
        }
        if self.room > 0 && (more.file.is_some() || !matches!(more.pages, Choice::Ordinary)) {
            return refuse("room behind a file, or behind huge pages");
        }
        if self.room > 0 && matches!(self.place, Place::Over(_)) {
            return refuse("room behind pages that replace others");
        }
        if more.no_reserve && matches!(more.pages, Choice::Exactly(_)) {
            return refuse("huge pages without a reservation: touching them could end the process");
        }
        if more.name.is_some_and(|name| !can_be_name(name)) {
            return refuse("a name is up to 79 printable characters, none of them one of [ ] \\ $ `");
        }
        if more.file.is_none() {
            if more.offset.is_some() {
                return refuse("an offset, but no file");
            }
            if more.copied {
                return refuse("a copy of a file, but no file");
            }
            return Ok(());
        }
        if more.stack {
            return refuse("a stack is no file");
        }
        if more.others && more.copied {
            return refuse(
                "a copy of a file that others may write to: until a page is copied, it is theirs as well",
            );
        }
        if more.others && more.jit {
            return refuse("code that is made while the program runs is no file");
        }
        match more.pages {
            Choice::Largest(_) => refuse("the pages of a file are the file system's choice"),
            _ => Ok(()),
        }
    }

    /// The mapping, and whether the system is to be asked for transparent huge pages.
    pub(super) fn special(&self, more: &More<'_>, protection: Protection) -> Result<(Map, bool)> {
        if let Some(file) = more.file {
            let map = self.file_map(more, file, protection)?;
            return Ok((map, more.pages == Choice::Transparent));
        }
        match more.pages {
            Choice::Ordinary => Ok((self.anonymous(self.align, protection)?, false)),
            Choice::Transparent => self.transparent(protection),
            Choice::Exactly(size) => Ok((self.huge(size, protection)?, false)),
            Choice::Largest(fallback) => self.largest(fallback, protection),
        }
    }

    /// What is to be asked of the system for so many bytes, but for the place.
    pub(super) fn request(&self, len: PageLen, protection: Protection) -> Request<'_> {
        let mut request = Request::new(len, protection);
        request.no_dump = self.conceals();
        if let Some(more) = &self.more {
            request.populate = more.populate;
            request.no_reserve = more.no_reserve;
            request.stack = more.stack;
            request.jit = more.jit;
            request.node = more.node;
        }
        request
    }

    /// Has a mapping made where the options say, which has `below` bytes before the first byte and begins on a multiple of `multiple`.
    pub(super) fn put(
        &self,
        request: Request<'_>,
        below: usize,
        multiple: usize,
    ) -> Result<(NonNull<u8>, Attached)> {
        let map = |place| {
            // SAFETY: nothing is replaced, or what `replace`'s caller promised is not used.
            unsafe { os::map_with(&Request { place, ..request }) }
        };
        let fixed = |address: usize, multiple: usize| {
            let first = address.checked_sub(below).ok_or_else(|| {
                Failure::invalid("there is no room below the address for what comes before it")
            })?;
            if first & multiple.wrapping_sub(1) != 0 {
                return Err(Failure::invalid(
                    "the address is not where the page that holds the first byte can put it",
                ));
            }
            whole(first, request.len.bytes())?;
            Ok(first)
        };
        let made = match self.place {
            Place::Anywhere => map(os::Place::Anywhere),
            Place::Hint(address) => {
                map(os::Place::Hint(address.saturating_sub(below) & !multiple.wrapping_sub(1)))
            }
            Place::At(address) => fixed(address, page::size()).and_then(|first| map(os::Place::At(first))),
            Place::Over(address) => {
                fixed(address, page::size()).and_then(|first| map(os::Place::Over(first)))
            }
            Place::Near { address, distance } => {
                return place_near(address, distance, request.len, |pages| map(os::Place::At(pages.first())));
            }
        };
        made.map_err(|failure| self.failed(failure))
    }

    fn file_map(&self, more: &More<'_>, file: File<'_>, protection: Protection) -> Result<Map> {
        let failed = |failure| self.failed(failure);
        let facts = os::file_facts(file).map_err(failed)?;
        if more.others && facts.len.is_none() {
            // What is written to some of them makes them write to memory of this process.
            return Err(failed(
                Failure::invalid("a device: writing to it, or reading, can have any effect")
                    .remedy("promise that it has none: MmapOptions::file, Pages::into_shared"),
            ));
        }
        if more.copied && !facts.copies {
            return Err(failed(Failure::new(ErrorKind::Unsupported).detail(
                "this system makes no copies of a device's pages: what is written goes to the device",
            )));
        }
        let offset = more.offset.unwrap_or(0);
        let len = self.file_len(offset, facts.len).map_err(failed)?;
        if matches!(more.pages, Choice::Exactly(size) if size.bytes().get() != facts.page) {
            return Err(failed(
                Failure::invalid("the file does not lie on a file system with pages of this size")
                    .remedy("files on hugetlbfs do, and those of memfd_create with MFD_HUGETLB"),
            ));
        }
        let multiple = facts.page.max(page::granularity());
        let mask = multiple.saturating_sub(1);
        // Less than the mask, which is a `usize`.
        let hidden = usize::try_from(offset & wide(mask)).unwrap_or(0);
        let shape = Shape::of(hidden, len, facts.page).map_err(failed)?;
        let mut request = self.request(shape.whole, protection);
        request.huge = PageSize::from_bytes(facts.page).filter(|&size| size != page::base_size());
        request.content = os::Content::File {
            file,
            offset: offset.saturating_sub(wide(hidden)),
            // No more than the whole.
            bytes: hidden.saturating_add(len),
            shared: !more.copied,
        };
        let content = if more.copied { Content::Copied } else { Content::Shared };
        self.shaped(&shape, request, content)
    }

    /// How many bytes of a file are to be mapped.
    fn file_len(&self, offset: u64, file_len: Option<u64>) -> Tried<usize> {
        let Some(file_len) = file_len else {
            return match self.len {
                Some(len) if len > 0 && offset.checked_add(wide(len)).is_some() => Ok(len),
                Some(_) => Err(Failure::invalid("no bytes, or more than there can be")),
                None => Err(Failure::invalid("a device has no length")
                    .remedy("say how many bytes: MmapOptions::new(len).file(…)")),
            };
        };
        let rest = match file_len.checked_sub(offset) {
            Some(0) if file_len == 0 => {
                return Err(Failure::invalid("the file is empty, or says so, as those of /proc do")
                    .remedy("read it instead"));
            }
            Some(0) | None => return Err(Failure::invalid("the offset is not before the end of the file")),
            Some(rest) => rest,
        };
        match self.len {
            Some(0) => Err(Failure::invalid("a length of zero bytes")),
            Some(len) if wide(len) > rest => Err(Failure::invalid("the file ends before the mapping")
                .remedy("make it longer before (File::set_len), or map less")),
            Some(len) => Ok(len),
            None => usize::try_from(rest).map_err(|_| too_long()),
        }
    }

    /// Pages of just this size.
    fn huge(&self, size: PageSize, protection: Protection) -> Result<Map> {
        let failed = |failure| self.failed(failure);
        if size == page::base_size() {
            return self.anonymous(self.align, protection);
        }
        let unit = size.bytes().get();
        if unit < page::size() {
            return Err(failed(Failure::invalid("smaller than the smallest pages there are")));
        }
        let len = PageLen::covering(self.len.unwrap_or(0)).map_err(failed)?;
        let len = len.bytes().checked_next_multiple_of(unit).ok_or_else(|| failed(too_long()))?;
        let shape = Shape::of(0, len, unit).map_err(failed)?;
        let mut request = self.request(shape.whole, protection);
        request.huge = Some(size);
        request.no_reserve = false;
        self.shaped(&shape, request, Content::Zeroes)
    }

    /// The largest pages to be had.
    fn largest(&self, fallback: Fallback, protection: Protection) -> Result<(Map, bool)> {
        let len = self.len.unwrap_or(0);
        let mut refused = None;
        let mut sizes = page::huge_sizes();
        while let Some(size) = sizes.largest() {
            sizes = sizes.without(size);
            let unit = size.bytes().get();
            let fits = match self.place {
                Place::At(address) => address & unit.wrapping_sub(1) == 0,
                // Nothing is replaced that was not named, as it would be by a length that is rounded up.
                Place::Over(address) => (address | len) & unit.wrapping_sub(1) == 0,
                _ => true,
            };
            if unit > len || !fits {
                continue;
            }
            match self.huge(size, protection) {
                Ok(map) => return Ok((map, false)),
                // What was to be replaced is gone.
                Err(error) if error.changed().is_some() => return Err(error),
                // Also where something is in the way: of a longer length only, perhaps.
                Err(error) => refused = Some(error),
            }
        }
        match fallback {
            Fallback::Ordinary => Ok((self.anonymous(self.align, protection)?, false)),
            Fallback::Transparent => self.transparent(protection),
            Fallback::Error => Err(refused.unwrap_or_else(|| {
                self.failed(
                    Failure::new(ErrorKind::Unsupported)
                        .detail("there are no huge pages that fit into the length and to the address")
                        .remedy("page::huge_sizes tells which there are"),
                )
            })),
        }
    }

    /// Ordinary pages where huge ones could be.
    fn transparent(&self, protection: Protection) -> Result<(Map, bool)> {
        let len = self.len.unwrap_or(0);
        let mut sizes = page::transparent_sizes();
        while let Some(size) = sizes.largest() {
            let unit = size.bytes().get();
            if unit > len {
                sizes = sizes.without(size);
                continue;
            }
            if !matches!(self.place, Place::Anywhere | Place::Near { .. }) {
                break;
            }
            if matches!(self.place, Place::Anywhere) && self.before == 0 && self.align <= unit {
                // Some kernels put it there by themselves.
                let map = self.anonymous(self.align, protection)?;
                if map.start() & unit.wrapping_sub(1) == 0 {
                    return Ok((map, true));
                }
            }
            // A hint: room that is too narrow for it will do.
            return match self.anonymous(self.align.max(unit), protection) {
                Err(error) if error.kind() == ErrorKind::Exhausted && self.align < unit => {
                    Ok((self.anonymous(self.align, protection)?, true))
                }
                made => Ok((made?, true)),
            };
        }
        Ok((self.anonymous(self.align, protection)?, !sizes.is_empty()))
    }

    /// A mapping of one piece, between guard pages if there are to be any.
    fn shaped(&self, shape: &Shape, request: Request<'_>, content: Content) -> Result<Map> {
        let failed = |failure| self.failed(failure);
        let natural = shape.unit.max(page::granularity());
        let (before, after) = (rounded(self.before).map_err(failed)?, rounded(self.after).map_err(failed)?);
        // The first byte is as far behind a multiple as what is hidden is long.
        if shape.hidden & self.align.min(natural).wrapping_sub(1) != 0
            || (self.align > natural && shape.hidden != 0)
        {
            return Err(failed(Failure::invalid("the offset into the file is not aligned as asked for")));
        }
        if let Place::At(address) | Place::Over(address) = self.place {
            if address & self.align.wrapping_sub(1) != 0 {
                return Err(failed(Failure::invalid("the address is not aligned as asked for")));
            }
            if address.wrapping_sub(shape.hidden) & natural.wrapping_sub(1) != 0 {
                return Err(failed(Failure::invalid(
                    "the address is not as far behind a boundary of the pages (Windows: of 64 KiB) as the first byte is",
                )));
            }
        }
        let fixed = matches!(self.place, Place::At(_) | Place::Over(_));
        let in_parts = before > 0 || after > 0 || (!fixed && self.align > natural);
        let (first, attached) = if in_parts {
            self.in_parts(shape, request, before, after)?
        } else {
            let mut request = request;
            request.populate = request.populate && self.at_once();
            // Places that are found must fit to the pages.
            if shape.unit > page::granularity() && matches!(self.place, Place::Near { .. }) {
                self.in_parts(shape, request, 0, 0)?
            } else {
                self.put(request, shape.hidden, natural)?
            }
        };
        let rest = shape.whole.bytes().saturating_sub(shape.hidden).saturating_sub(shape.len);
        let parts = (shape.hidden, shape.len, rest);
        // SAFETY: as many bytes were just mapped there, of pages of this size.
        let mut map = unsafe { Map::made(first, parts, shape.unit, content, attached) };
        map.fenced(before, after);
        Ok(map)
    }

    /// A mapping and its guard pages, one by one: where something is found to be free all is put, and never over anything.
    ///
    /// (To set the room aside first and to replace its middle would take fewer calls. But a system that refuses to replace may
    /// have unmapped before, and then nobody knows whose the middle is.)
    fn in_parts(
        &self,
        shape: &Shape,
        request: Request<'_>,
        before: usize,
        after: usize,
    ) -> Result<(NonNull<u8>, Attached)> {
        /// How often somebody else may be quicker.
        const ROUNDS: usize = 32;
        let failed = |failure| self.failed(failure);
        if (before > 0 || after > 0) && !os::unmaps_together() {
            return Err(failed(
                Failure::new(ErrorKind::Unsupported)
                    .detail("guard pages around files, or around huge pages, on this system")
                    .remedy("leave pages of the file's own free, or map it without"),
            ));
        }
        let request = Request { populate: false, ..request };
        let natural = shape.unit.max(page::granularity());
        // Where the piece may begin.
        let multiple = self.align.max(natural);
        let len = shape.whole.bytes();
        let room = before
            .checked_add(len)
            .and_then(|sum| sum.checked_add(after))
            .and_then(|sum| sum.checked_add(if multiple > page::size() { multiple } else { 0 }))
            .ok_or_else(|| failed(too_long()))?;
        let room = PageLen::covering(room).map_err(failed)?;
        // The first place for the piece in a room.
        let within = |room: PageRange| {
            let mask = multiple.wrapping_sub(1);
            let first = room.first().checked_add(before)?.checked_add(mask)? & !mask;
            (first.checked_add(len)?.checked_add(after)?.checked_sub(1)? <= room.last()).then_some(first)
        };
        let no_room = || Failure::new(ErrorKind::Exhausted).detail("no room for an aligned mapping");
        match self.place {
            Place::At(address) | Place::Over(address) => address
                .checked_sub(shape.hidden)
                .ok_or_else(|| Failure::invalid("there is no room below the address"))
                .and_then(|first| parts_at(request, first, before, after))
                .map_err(failed),
            Place::Near { address, distance } => place_near(address, distance, room, |found| {
                parts_at(request, within(found).ok_or_else(no_room)?, before, after)
            }),
            Place::Anywhere | Place::Hint(_) => {
                let mut last = no_room();
                for round in 0..ROUNDS {
                    let wish = match self.place {
                        Place::Hint(address) if round == 0 => {
                            os::Place::Hint(address.saturating_sub(before) & !page::mask())
                        }
                        _ => os::Place::Anywhere,
                    };
                    let found = free_room(room, wish).map_err(failed)?;
                    let made = within(found)
                        .ok_or_else(no_room)
                        .and_then(|first| parts_at(request, first, before, after));
                    match made {
                        Err(failure) if failure.kind() == ErrorKind::Occupied => last = failure,
                        made => return made.map_err(failed),
                    }
                }
                Err(failed(last.detail("other threads took each place that was found")))
            }
        }
    }
}

impl Shape {
    fn of(hidden: usize, len: usize, unit: usize) -> Tried<Self> {
        let whole = hidden
            .checked_add(len)
            .and_then(|bytes| bytes.checked_next_multiple_of(unit))
            .ok_or_else(too_long)?;
        Ok(Self { hidden, len, whole: PageLen::covering(whole)?, unit })
    }
}

/// Address space that is free at this moment.
fn free_room(len: PageLen, wish: os::Place) -> Tried<PageRange> {
    let request = Request { place: wish, ..Request::new(len, Protection::NONE) };
    // SAFETY: replaces nothing.
    let (base, _) = unsafe { os::map_with(&request) }?;
    let room = PageRange::starting_at(base.as_ptr().expose_provenance(), len)
        .ok_or_else(|| Failure::new(ErrorKind::System))?;
    // SAFETY: just mapped, and nobody was told.
    match unsafe { os::unmap(room) } {
        Ok(()) => Ok(room),
        Err(failure) => {
            let kind = failure.kind();
            give_up(room, failure);
            Err(Failure::new(kind).detail("what was mapped to find room could not be unmapped again"))
        }
    }
}

/// Pages that are unmapped again if they are not kept.
struct Part(PageRange);

impl Part {
    fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // SAFETY: just mapped, and nobody was told.
        if let Err(failure) = unsafe { os::unmap(self.0) } {
            give_up(self.0, failure);
        }
    }
}

/// A mapping at a place, with guard pages before it and behind it.
fn parts_at(
    request: Request<'_>,
    first: usize,
    before: usize,
    after: usize,
) -> Tried<(NonNull<u8>, Attached)> {
    let end = first.checked_add(request.len.bytes()).ok_or_else(too_long)?;
    let below = first
        .checked_sub(before)
        .ok_or_else(|| Failure::invalid("there is no room for guard pages below the address"))?;
    // None of it at address 0, or beyond the last one.
    let middle = whole(first, request.len.bytes())?;
    let fence = |first: usize, len: usize| {
        if len == 0 {
            return Ok(None);
        }
        let pages = whole(first, len)?;
        os::map_at(pages, Protection::NONE)?;
        Ok(Some(Part(pages)))
    };
    // SAFETY: replaces nothing.
    let (base, attached) = unsafe { os::map_with(&Request { place: os::Place::At(first), ..request }) }?;
    let made = Part(middle);
    // The pages are addressed by numbers from now on, too.
    base.as_ptr().expose_provenance();
    let low = fence(below, before)?;
    let high = fence(end, after)?;
    made.keep();
    [low, high].into_iter().flatten().for_each(Part::keep);
    Ok((base, attached))
}

/// What the kernel takes as a name (`is_valid_name_char` in `mm/madvise.c`).
fn can_be_name(name: &CStr) -> bool {
    let bytes = name.to_bytes();
    let plain = |byte: &u8| (b' '..=b'~').contains(byte) && !b"[]\\$`".contains(byte);
    bytes.len() < 80 && bytes.iter().all(plain)
}
