//! Questions about one page, and walks over all regions.

use super::kept::{self, Answer, Verify};
use super::maps::{self, OnHeap, Reader};
use super::names::{self, Names, Raw, Resolved};
use super::process::{Other, Target};
use super::procmap::{self, Want};
use super::smaps::{self, Figures};
use super::{Method, VSYSCALL, forced, sys};
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::range::PageRange;
use crate::region::{Backing, Detail, Device, Region, Usage};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

/// The region that holds `page`. Neither allocates nor locks.
#[inline]
pub(crate) fn query(target: &Target, page: PageRange) -> Result<Option<Region>, Failure> {
    match by_ioctl(target, page, None)? {
        Answer::Found(found) => Ok(Some(found.region)),
        Answer::Nothing => Ok(None),
        Answer::Unavailable => by_text(target, page),
    }
}

/// Asks the ioctl. `Unavailable` where only the text can answer.
#[inline]
fn by_ioctl(target: &Target, page: PageRange, mut name: Option<&mut [u8]>) -> Result<Answer, Failure> {
    if forced() == Some(Method::Text) || VSYSCALL == Some(page.first()) {
        return Ok(Answer::Unavailable);
    }
    let Some(other) = target.other() else {
        return Ok(kept::ask(page.first(), Want::Covering, Verify::Sampled, name));
    };
    let maps = other.open(c"maps")?;
    let mut asked = procmap::ask(maps.as_fd(), page.first(), Want::Covering, name.as_deref_mut());
    if matches!(asked, Err(Errno::SRCH)) {
        if let Some(maps) = other.open_in_thread(c"maps") {
            asked = procmap::ask(maps.as_fd(), page.first(), Want::Covering, name);
        }
    }
    match asked {
        Ok(found) => Ok(Answer::Found(found)),
        Err(Errno::NOENT) => Ok(Answer::Nothing),
        Err(Errno::SRCH) => other.without_memory().map(|()| Answer::Nothing),
        Err(errno) if procmap::means_unavailable(errno) => Ok(Answer::Unavailable),
        Err(errno) => Err(procmap::failure(errno)),
    }
}

#[cold]
fn by_text(target: &Target, page: PageRange) -> Result<Option<Region>, Failure> {
    let foreign = target.other().is_some();
    let mut found = maps::find(open_text(target, Detail::Region)?, page, foreign)?;
    if let maps::Found::NoMemory = found {
        if let Some(file) = text_of_thread(target, Detail::Region) {
            found = maps::find(file, page, foreign)?;
        }
    }
    match found {
        maps::Found::Region(region) => Ok(Some(region)),
        maps::Found::Hole => Ok(None),
        maps::Found::NoMemory => no_memory(target).map(|()| None),
    }
}

/// The text by way of another thread than the first, which has ended.
fn text_of_thread(target: &Target, detail: Detail) -> Option<OwnedFd> {
    target.other()?.open_in_thread(if detail == Detail::Usage { c"smaps" } else { c"maps" })
}

fn no_memory(target: &Target) -> Result<(), Failure> {
    target.other().map_or(Ok(()), Other::without_memory)
}

fn open_text(target: &Target, detail: Detail) -> Result<OwnedFd, Failure> {
    match (target.other(), detail) {
        (Some(other), Detail::Usage) => other.open(c"smaps"),
        (Some(other), _) => other.open(c"maps"),
        (None, Detail::Usage) => {
            kept::open_own(c"/proc/thread-self/smaps", c"/proc/self/smaps").map_err(|errno| match errno {
                Errno::NOENT => Failure::system(ErrorKind::Unsupported, errno.raw_os_error())
                    .detail("there is no smaps: the kernel was built without it, or /proc is not mounted"),
                other => own_failure(other),
            })
        }
        (None, _) => kept::open_maps().map_err(own_failure),
    }
}

/// Our own files: what keeps us from them is not who we are.
fn own_failure(errno: Errno) -> Failure {
    match errno {
        Errno::ACCESS | Errno::PERM => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error()).remedy(
            "a sandbox or security module keeps this process from its own files in /proc: let it read them",
        ),
        other => sys::failure(other),
    }
}

/// What stands behind the region that holds `page`.
pub(crate) fn backing(target: &Target, page: PageRange) -> Result<Option<Backing<'static>>, Failure> {
    // The kernel gives at most PATH_MAX bytes, the NUL included.
    let mut name: Vec<u8> = alloc::vec![0; 4096];
    match by_ioctl(target, page, Some(&mut name))? {
        Answer::Found(found) => {
            name.truncate(found.name);
            let raw = Raw {
                name: &name,
                escaped: false,
                shared: found.region.is_shared(),
                offset: found.offset,
                device: found.device,
                inode: found.inode,
            };
            let mut resolved = Resolved::default();
            resolved.resolve(&Names::of(target), &raw);
            Ok(Some(names::backing(&resolved, raw).into_owned()))
        }
        Answer::Nothing => Ok(None),
        // Of a name that does not fit the ioctl tells nothing: the text does.
        Answer::Unavailable => {
            Ok(find(target, page, Detail::Backing)?.map(|walk| walk.backing().into_owned()))
        }
    }
}

/// What the region uses that holds `page`.
pub(crate) fn usage(target: &Target, page: PageRange) -> Result<Option<Usage>, Failure> {
    Ok(find(target, page, Detail::Usage)?.and_then(|walk| walk.usage().copied()))
}

/// A walk that has stepped to the region that holds `page`.
fn find(target: &Target, page: PageRange, detail: Detail) -> Result<Option<Walk>, Failure> {
    let mut walk = Walk::new(target, page, detail)?;
    while let Some(region) = walk.step()? {
        if region.contains(page.first()) {
            return Ok(Some(walk));
        }
    }
    Ok(None)
}

/// How many regions a walk takes from the ioctl before it changes to the text if it knows no better. One region costs two
/// to three times as much by the ioctl as by the text, whose opening and first page cost as much as about 40.
const FEW: usize = 48;

/// A walk over the regions that overlap a range.
pub(crate) struct Walk {
    range: PageRange,
    detail: Detail,
    /// Whether the process is another one, which may end on the way.
    foreign: bool,
    source: Source,
    /// How many regions were given.
    given: usize,
    /// Of the region given last: what its line says of the backing, and with [`Detail::Usage`] the name and the figures.
    rest: Rest,
    name: Vec<u8>,
    usage: Usage,
    marks: (Option<u32>, bool),
    names: Names<'static>,
    resolved: Resolved,
}

/// What a line says of the backing; the name stands in the reader's buffer.
#[derive(Default)]
struct Rest {
    shared: bool,
    offset: u64,
    device: Option<Device>,
    inode: u64,
    name: Range<usize>,
}

enum Source {
    /// One ioctl a region, from this address on; only of this process.
    Ioctl {
        next: usize,
        allowed: usize,
    },
    /// Behind the last region of the ioctl: `[vsyscall]` is left.
    Vsyscall,
    Text(Reader<OnHeap>),
    Ended,
}

impl Walk {
    pub(crate) fn new(target: &Target, range: PageRange, detail: Detail) -> Result<Self, Failure> {
        let foreign = target.other().is_some();
        let mut walk = Self {
            range,
            detail,
            foreign,
            source: Source::Ended,
            given: 0,
            rest: Rest::default(),
            name: Vec::new(),
            usage: Usage::default(),
            marks: (None, false),
            names: if detail == Detail::Region { Names::Own } else { Names::kept_of(target) },
            resolved: Resolved::default(),
        };
        let known = if foreign { 0 } else { kept::listed() };
        // A whole listing that was long the last time goes by the text at once. For a part, the ioctl may take as many
        // regions as the text would have to pass over at worst.
        let whole = range.first() == 0;
        let by_ioctl = match forced() {
            Some(method) => method == Method::Ioctl,
            None => !whole || known <= FEW,
        };
        if !foreign && detail == Detail::Region && by_ioctl {
            let allowed = match forced() {
                Some(_) => usize::MAX,
                None => FEW.max(known / 2),
            };
            walk.source = Source::Ioctl { next: range.first(), allowed };
            return Ok(walk);
        }
        let mut reader = Reader::with_names(open_text(target, detail)?);
        // Nothing at all to read: a process without memory. Now is when its folder can be asked why.
        if !reader.fill()? {
            match text_of_thread(target, detail) {
                Some(file) => reader = Reader::with_names(file),
                None => {
                    no_memory(target)?;
                    return Ok(walk);
                }
            }
        }
        walk.source = Source::Text(reader);
        Ok(walk)
    }

    /// The next region.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Option<Region>, Failure> {
        match self.step_anywhere()? {
            Some(region) if region.base > self.range.last() => {
                self.source = Source::Ended;
                Ok(None)
            }
            stepped => Ok(stepped),
        }
    }

    /// The next region, which may be the first one behind the range.
    #[inline]
    fn step_anywhere(&mut self) -> Result<Option<Region>, Failure> {
        loop {
            match &mut self.source {
                Source::Text(_) => return self.step_text(),
                Source::Ioctl { next, allowed } => {
                    if self.given >= *allowed {
                        self.change_to_text()?;
                        continue;
                    }
                    if *next > self.range.last() {
                        self.source = Source::Ended;
                        continue;
                    }
                    // In a walk a hole is no surprise, so that a wrong descriptor shows less easily: the first answer of
                    // each is verified.
                    let verify = if self.given == 0 { Verify::Always } else { Verify::Sampled };
                    match kept::ask(*next, Want::CoveringOrNext, verify, None) {
                        Answer::Found(found) => {
                            match found.region.last().checked_add(1) {
                                Some(above) => *next = above,
                                None => self.source = Source::Ended,
                            }
                            self.given = self.given.saturating_add(1);
                            return Ok(Some(found.region));
                        }
                        Answer::Nothing => self.source = Source::Vsyscall,
                        Answer::Unavailable => self.change_to_text()?,
                    }
                }
                Source::Vsyscall => {
                    self.finish();
                    if VSYSCALL.is_some_and(|page| self.range.last() >= page) {
                        return vsyscall();
                    }
                }
                Source::Ended => return Ok(None),
            }
        }
    }

    /// Goes on by the text, from its start: what was given already, the floor above passes over.
    fn change_to_text(&mut self) -> Result<(), Failure> {
        self.source = Source::Text(Reader::with_names(open_text(&Target::CURRENT, self.detail)?));
        self.given = 0;
        Ok(())
    }

    /// The end is reached: remembers how long the list of this process was, if it was all of it.
    fn finish(&mut self) {
        self.source = Source::Ended;
        if !self.foreign && self.range.first() == 0 && self.range.last() == usize::MAX {
            kept::note_listed(self.given);
        }
    }

    #[inline]
    fn step_text(&mut self) -> Result<Option<Region>, Failure> {
        loop {
            let Source::Text(reader) = &mut self.source else { return Ok(None) };
            // Most lines of a long list are anonymous memory, and all look alike.
            if self.detail != Detail::Usage {
                if let Some(region) = reader.plain() {
                    self.given = self.given.saturating_add(1);
                    if region.last() < self.range.first() {
                        continue;
                    }
                    self.rest = Rest::default();
                    return Ok(Some(region));
                }
            }
            match self.step_line()? {
                Some(region) if region.last() < self.range.first() => {}
                stepped => return Ok(stepped),
            }
        }
    }

    fn step_line(&mut self) -> Result<Option<Region>, Failure> {
        let Source::Text(reader) = &mut self.source else { return Ok(None) };
        let Some(range) = reader.line()? else {
            if self.foreign && !reader.still_there() {
                return Err(Failure::new(ErrorKind::ProcessEnded).detail(
                    "it ended, or began to run another program, while its mappings were being read",
                ));
            }
            self.finish();
            return Ok(None);
        };
        let line = reader.bytes(&range);
        let (region, text) = maps::region(line).map_err(|bad| bad.failure(line))?;
        self.given = self.given.saturating_add(1);
        if self.detail == Detail::Region {
            return Ok(Some(region));
        }
        let Some(rest) = maps::rest(text) else { return Err(Failure::unexpected(line)) };
        self.rest = Rest {
            shared: region.is_shared(),
            offset: rest.offset,
            device: rest.device,
            inode: rest.inode,
            // The name is the end of the line.
            name: range.end.saturating_sub(rest.name.len())..range.end,
        };
        // What the system has to be asked about is asked once for mappings of one file in a row: there may be many thousands.
        let raw = Raw {
            name: rest.name,
            escaped: true,
            shared: region.is_shared(),
            offset: rest.offset,
            device: rest.device,
            inode: rest.inode,
        };
        self.resolved.resolve(&self.names, &raw);
        if self.detail == Detail::Usage {
            // Reading on overwrites the line in the buffer.
            self.name.clear();
            self.name.extend_from_slice(rest.name);
            self.read_usage()?;
        }
        Ok(Some(region))
    }

    /// Reads the figures behind a region's line.
    fn read_usage(&mut self) -> Result<(), Failure> {
        let Source::Text(reader) = &mut self.source else { return Ok(()) };
        let mut figures = Figures::default();
        while let Some(line) = reader.line()? {
            if smaps::begins_region(reader.bytes(&line)) {
                reader.unread(&line);
                break;
            }
            figures.take(reader.bytes(&line));
        }
        self.usage = figures.usage();
        self.marks = (figures.key, figures.branch_targets);
        Ok(())
    }

    /// What stands behind the region stepped to. Only of a walk with that detail.
    pub(crate) fn backing(&self) -> Backing<'_> {
        let Source::Text(reader) = &self.source else { return Backing::ANONYMOUS };
        let rest = &self.rest;
        let name = if self.detail == Detail::Usage { self.name.as_slice() } else { reader.bytes(&rest.name) };
        names::backing(
            &self.resolved,
            Raw {
                name,
                escaped: true,
                shared: rest.shared,
                offset: rest.offset,
                device: rest.device,
                inode: rest.inode,
            },
        )
    }

    /// The protection key of the region stepped to, and whether it has marked branch targets. Only of a walk with
    /// [`Detail::Usage`].
    pub(super) fn marks(&self) -> (Option<u32>, bool) {
        self.marks
    }

    /// What the region stepped to uses. Only of a walk with that detail.
    pub(crate) fn usage(&self) -> Option<&Usage> {
        (self.detail == Detail::Usage).then_some(&self.usage)
    }
}

/// The page of `[vsyscall]`, if this kernel has one: asked of the text once, for it stays as it was at boot.
fn vsyscall() -> Result<Option<Region>, Failure> {
    const UNKNOWN: usize = 0;
    const ABSENT: usize = 1;
    const PRESENT: usize = 2;
    static STATE: AtomicUsize = AtomicUsize::new(UNKNOWN);

    let Some(base) = VSYSCALL else { return Ok(None) };
    let region = |protection: Protection| Region {
        base,
        len: crate::page::size(),
        protection,
        max_protection: protection,
        ..Region::default()
    };
    match STATE.load(Ordering::Relaxed) {
        ABSENT => Ok(None),
        UNKNOWN => {
            let found = by_text(&Target::CURRENT, PageRange::containing(base))?;
            let state = found.map_or(ABSENT, |region| PRESENT.saturating_add(region.protection().bits()));
            STATE.store(state, Ordering::Relaxed);
            Ok(found)
        }
        known => Ok(Some(region(Protection::from_bits_truncate(known.saturating_sub(PRESENT))))),
    }
}
