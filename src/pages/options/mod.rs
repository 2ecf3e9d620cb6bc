//! Where and how pages are made.

mod made;
mod make;
mod recycle;
mod special;
#[cfg(all(test, feature = "std"))]
on_linux! {
mod tests;
}

#[cfg(feature = "std")]
use crate::os;
#[cfg(feature = "std")]
use crate::os::AsFile;
use crate::os::File;
use crate::page::PageSize;
use core::ffi::CStr;

/// Where and how pages are made, and of what.
///
/// What is asked for is done or is an error; what is called a hint may be without effect. What contradicts itself is
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): two places, an offset without a file.
///
/// | wish | ask |
/// |---|---|
/// | a place | [`at`](Self::at), [`near`](Self::near), [`align`](Self::align), [`hint`](Self::hint); [`replace`](Self::replace) |
/// | a file | [`of_file`](Self::of_file), [`file`](Self::file), [`offset`](Self::offset), [`copy_on_write`](Self::copy_on_write) |
/// | a file that others write to | [`map_shared`](Self::map_shared), [`map_shared_mut`](Self::map_shared_mut), [`whole`](Self::whole) |
/// | pages that must not be touched around it | [`guard_before`](Self::guard_before), [`guard_after`](Self::guard_after) |
/// | fewer, larger pages | [`largest_pages`](Self::largest_pages), [`huge_pages`](Self::huge_pages), [`transparent_huge_pages`](Self::transparent_huge_pages) |
/// | memory at once | [`locked`](Self::locked), [`populate`](Self::populate) |
/// | memory by its place in the machine | [`numa_node`](Self::numa_node) |
/// | a word to the system | [`name`](Self::name), [`no_reserve`](Self::no_reserve), [`stack`](Self::stack) |
///
/// # Examples
///
/// ```
/// use folio::{MmapOptions, page};
///
/// // A stack of 64 KiB with a page on either side that ends the process when it is touched.
/// let mut stack = MmapOptions::new(64 << 10).guard_before(page::size()).guard_after(page::size()).map_mut()?;
/// stack[0] = 1;
///
/// // A megabyte aligned to a megabyte.
/// let aligned = MmapOptions::new(1 << 20).align(1 << 20).map_mut()?;
/// assert_eq!(aligned.start() % (1 << 20), 0);
/// # Ok::<(), folio::Error>(())
/// ```
///
/// A part of a file, from any byte on:
///
/// ```
/// use folio::MmapOptions;
///
/// let file = tempfile::tempfile()?;
/// file.set_len(10_000)?;
/// // SAFETY: nobody else has this file.
/// let mut part = unsafe { MmapOptions::new(10).file(&file) }.offset(5001).map_mut()?;
/// assert_eq!(part.len(), 10);
/// part.fill(1);
///
/// // What is written to a copy stays in the copy.
/// // SAFETY: as above; `part` is not written to while the copy lives.
/// let mut copy = unsafe { MmapOptions::of_file(&file) }.map_copy()?;
/// assert_eq!(copy[5000..5003], [0, 1, 1]);
/// copy.fill(2);
/// assert_eq!(part[0], 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options make nothing: call one of the `map` methods"]
pub struct MmapOptions<'f> {
    /// `None`: as long as the file is, from the offset on.
    len: Option<usize>,
    place: Place,
    align: usize,
    before: usize,
    after: usize,
    room: usize,
    locked: bool,
    no_core_dump: bool,
    wipe_on_fork: bool,
    /// All that takes more than an allocation.
    more: Option<More<'f>>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Anywhere,
    Hint(usize),
    At(usize),
    Near { address: usize, distance: usize },
    Over(usize),
}

#[derive(Clone, Copy, Debug, Default)]
struct More<'f> {
    file: Option<File<'f>>,
    offset: Option<u64>,
    copied: bool,
    /// Others may write to the file, or cut it short.
    others: bool,
    pages: Choice,
    populate: bool,
    no_reserve: bool,
    stack: bool,
    jit: bool,
    node: Option<u32>,
    name: Option<&'f CStr>,
    /// Two of what there can be only one of.
    conflict: Option<&'static str>,
}

/// What pages it is to be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Choice {
    #[default]
    Ordinary,
    Exactly(PageSize),
    Largest(Fallback),
    Transparent,
}

/// What [`MmapOptions::largest_pages`] does where no huge pages are to be had.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fallback {
    /// An error: why the last size that was tried is not to be had.
    Error,
    /// Ordinary pages that the system may make huge ones of, as by [`MmapOptions::transparent_huge_pages`].
    Transparent,
    /// Ordinary pages.
    Ordinary,
}

impl<'f> MmapOptions<'f> {
    /// At least `len` bytes, rounded up to whole pages, at a place of the system's choice; of a [file](Self::file), just `len` bytes.
    #[inline]
    pub const fn new(len: usize) -> Self {
        Self {
            len: Some(len),
            place: Place::Anywhere,
            align: 1,
            before: 0,
            after: 0,
            room: 0,
            locked: false,
            no_core_dump: false,
            wipe_on_fork: false,
            more: None,
        }
    }

    /// As many bytes as the file has, from its first byte, or from the [offset](Self::offset), to its last one, as it is when it is
    /// mapped: for [`map_shared`](Self::map_shared) and [`map_shared_mut`](Self::map_shared_mut), which say what file. Without one
    /// there is no length: [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn whole() -> Self {
        Self { len: None, ..Self::new(0) }
    }

    /// A whole file: from its first byte, or from the [offset](Self::offset), to its last one, as it is when it is mapped.
    ///
    /// # Safety
    ///
    /// As [`file`](Self::file).
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub unsafe fn of_file(file: &'f (impl AsFile + ?Sized)) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::whole().file(file) }
    }

    /// With the bytes of a file instead of zeroes: just as many as the length says ([`Pages::len`](crate::Pages::len) is not rounded
    /// up), from the [offset](Self::offset) on. What is written to the pages is written to the file, unless they are
    /// [copied](Self::copy_on_write).
    ///
    /// The mapping needs the file no longer, once it is made: it may be closed, renamed, deleted. (Windows deletes no file that is mapped.)
    ///
    /// # Errors
    ///
    /// Of the mapping, then:
    ///
    /// - [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): the bytes are not all within the file; it is no regular
    ///   file nor a device; it is empty.
    /// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted): it was not opened for reading, or, for writable pages that are
    ///   not copied, not for writing as well.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): its file system, or the device, has no mappings; a copy of a
    ///   device, where it would be none (NetBSD, OpenBSD).
    ///
    /// # Cost
    ///
    /// Two system calls, `fstat` and `mmap`; of files on hugetlbfs or others with blocks larger than a page, one more. Windows:
    /// `GetFileType`, `GetFileSizeEx`, `CreateFileMapping` (again without writing, where the handle does not permit it),
    /// `MapViewOfFile`, `CloseHandle`; `DuplicateHandle` where the pages can be written to the file, `VirtualProtect` where they
    /// grant less than the handle.
    ///
    /// # Platforms
    ///
    /// Writable pages on Windows keep a duplicate of the handle, for [`flush`](crate::Pages::flush). What a read-only mapping can
    /// be made to grant later depends on what the file was opened for, everywhere; on Windows it can be made executable only if it
    /// was mapped so. Guard pages around files: not on Windows
    /// ([`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported)).
    ///
    /// # Safety
    ///
    /// Safe code reads and writes the mapping by references, so whoever makes it promises for the file's bytes what Rust
    /// promises for memory. From the call on that makes the mapping, and for as long as it or a part of it lives,
    ///
    /// - while a reference to its bytes exists, nobody changes these in another way: not this process by writing to the file, by
    ///   another mapping of it, or by making a hole in it, nor another process, nor, of a file elsewhere, another machine. This
    ///   goes for [copies](Self::copy_on_write) as well, for a page shows the file until it is copied.
    /// - while a *mutable* reference exists, nobody reads them by another mapping of this process that is a `&[u8]`.
    /// - nobody makes the file so short that it ends before the mapping's last page: touching what is behind the end kills the process
    ///   (`SIGBUS`; Windows refuses to shorten a mapped file).
    /// - Of a device, its driver keeps to the same.
    ///
    /// The promise is for each mapping that these options, or clones of them, make.
    ///
    /// Not unsafe, but the end of the process all the same (`SIGBUS`; Windows: an exception): touching a page that cannot be had, for the
    /// device or the network fails, or the disk is full where the file has a hole.
    ///
    /// Locks on files bind those only who ask for them. What cannot be promised is to be read by `std::fs`, or mapped without
    /// references being made of it: [`map_shared`](Self::map_shared).
    ///
    /// # Examples
    ///
    /// ```compile_fail,E0505
    /// let file = tempfile::tempfile()?;
    /// // SAFETY: nobody else has this file.
    /// let options = unsafe { folio::MmapOptions::new(1).file(&file) };
    /// drop(file); // cannot move out of `file` because it is borrowed
    /// let map = options.map()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// ```compile_fail,E0133
    /// let file = tempfile::tempfile()?;
    /// let options = folio::MmapOptions::of_file(&file); // an unsafe function
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub unsafe fn file(mut self, file: &'f (impl AsFile + ?Sized)) -> Self {
        self.more().file = Some(os::file_of(file));
        self
    }

    /// From this byte of the [file](Self::file) on. Any byte: where it is not the first one of a page, the mapping begins in the
    /// middle of a page, whose other bytes are out of reach.
    pub fn offset(mut self, offset: u64) -> Self {
        self.more().offset = Some(offset);
        self
    }

    /// What is written to the pages of a [file](Self::file) is not written to the file: each page is copied when it is written to
    /// first.
    ///
    /// The file need not be opened for writing. Whether a page that is not yet copied shows what is written to the file meanwhile
    /// is the system's matter; see the [safety](Self::file) of files.
    pub fn copy_on_write(mut self) -> Self {
        self.more().copied = true;
        self
    }

    /// With the first byte exactly at this address, which must be a multiple of [`page::size`](crate::page::size), or not at all:
    /// what is mapped there is never replaced.
    ///
    /// Of a [file](Self::file), the address must be as far behind a multiple of [`page::granularity`](crate::page::granularity) as
    /// the offset is.
    pub fn at(self, address: usize) -> Self {
        self.located(Place::At(address))
    }

    /// As near to an address as there is room, all bytes within `distance` bytes of it: see
    /// [`alloc_near`](crate::alloc_near).
    pub fn near(self, address: usize, distance: usize) -> Self {
        self.located(Place::Near { address, distance })
    }

    /// At this address, if the system likes: a hint. (It is taken as one in the page; guard pages come before it.)
    pub fn hint(self, address: usize) -> Self {
        self.located(Place::Hint(address))
    }

    /// With the first byte exactly at this address, as [`at`](Self::at), in the place of whatever is mapped there.
    ///
    /// After a failure, what was there may be gone: [`Error::changed`](crate::Error::changed) says so.
    ///
    /// # Platforms
    ///
    /// Windows replaces nothing: [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). There, unmap what is there, and use
    /// [`at`](Self::at).
    ///
    /// # Safety
    ///
    /// The pages that the bytes from `address` on lie in (of the [size](Self::huge_pages) that was chosen) are the caller's, or
    /// free and will be nobody else's: when the mapping is made, nothing and nobody uses them, nor will whoever owned what is
    /// there unmap or change them, at a drop for instance, for they are the new mapping's from then on
    /// ([`Pages::into_raw_parts`](crate::Pages::into_raw_parts) takes pages out of the hands of their owner). The promise is for
    /// each mapping that these options, or clones of them, make: a second one replaces the first.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{MmapOptions, Pages, page};
    ///
    /// # if cfg!(windows) { return Ok(()) }
    /// let parts = Pages::new(page::size())?.into_raw_parts();
    /// // SAFETY: these pages are ours, and the mapping that they were is gone.
    /// let fresh = unsafe { MmapOptions::new(parts.len()).replace(parts.as_ptr().addr()) }.map()?;
    /// assert_eq!(fresh.as_ptr(), parts.as_ptr().cast_const());
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub unsafe fn replace(self, address: usize) -> Self {
        self.located(Place::Over(address))
    }

    /// With the first byte on a multiple of `align` bytes, a power of two.
    ///
    /// Beyond [`page::granularity`](crate::page::granularity), so much more is mapped for a moment, and the surplus given back.
    /// (On Windows it stays reserved, without memory, for as long as the mapping lives.) Of a [file](Self::file), the offset must
    /// be a multiple of it as well, or of the granularity.
    pub const fn align(mut self, align: usize) -> Self {
        self.align = align;
        self
    }

    /// With at least `len` bytes of [guard pages](crate::guard()) directly before, which belong to the mapping but not to its
    /// bytes.
    ///
    /// Of a [file](Self::file) whose part begins in the middle of a page, they come before that page: it has bytes of the file
    /// that are out of reach of safe code, and do not end the process.
    pub const fn guard_before(mut self, len: usize) -> Self {
        self.before = len;
        self
    }

    /// With at least `len` bytes of [guard pages](crate::guard()) directly behind. (Of a file, behind its last page.)
    pub const fn guard_after(mut self, len: usize) -> Self {
        self.after = len;
        self
    }

    /// Locked in memory from the start: see [`Pages::lock`](crate::Pages::lock). What cannot be locked is an error; so, nearly
    /// everywhere, are pages that grant nothing.
    ///
    /// # Cost
    ///
    /// One system call more.
    pub const fn locked(mut self) -> Self {
        self.locked = true;
        self
    }

    /// With at least `len` bytes of address space directly behind, into which the mapping can [grow](crate::Pages::grow) where it lies.
    ///
    /// They come on top of the length; [`Pages::room`](crate::Pages::room) tells what is left of them. They cost no memory, and
    /// touching them ends the process. [Guard pages](Self::guard_after) come behind them. Not with a [file](Self::file), nor with
    /// [huge](Self::huge_pages) or [the largest](Self::largest_pages) pages.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{MmapOptions, page};
    ///
    /// let mut pages = MmapOptions::new(1).room(64 << 20).map_mut()?;
    /// let place = pages.as_ptr();
    /// pages[0] = 7;
    /// pages.grow(1 << 20)?;
    /// assert_eq!((pages.len(), pages.as_ptr(), pages[0]), (1 << 20, place, 7));
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn room(mut self, len: usize) -> Self {
        self.room = len;
        self
    }

    /// Left out of core dumps: see [`Pages::keep_out_of_core_dumps`](crate::Pages::keep_out_of_core_dumps). Where the system cannot do it, that is an error.
    ///
    /// # Cost
    ///
    /// One system call more; none on OpenBSD.
    ///
    /// # Platforms
    ///
    /// Linux, FreeBSD, and OpenBSD (`MAP_CONCEAL`). Elsewhere [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub const fn no_core_dump(mut self) -> Self {
        self.no_core_dump = true;
        self
    }

    /// Zeroes in the child of a `fork`: see [`Pages::wipe_on_fork`](crate::Pages::wipe_on_fork). Where the system cannot do it, that is an error.
    ///
    /// # Cost
    ///
    /// One system call more.
    pub const fn wipe_on_fork(mut self) -> Self {
        self.wipe_on_fork = true;
        self
    }

    /// Read in, or given memory, at once instead of when it is first touched: a hint. What must be in memory is to be
    /// [locked](Self::locked).
    ///
    /// # Platforms
    ///
    /// Linux: `MAP_POPULATE`, or `MADV_POPULATE_READ` or `_WRITE` (5.14) where the mapping is made in several steps. FreeBSD,
    /// NetBSD, OpenBSD, macOS, illumos: `madvise(MADV_WILLNEED)`, which reads files only. Windows: `PrefetchVirtualMemory`,
    /// likewise.
    pub fn populate(mut self) -> Self {
        self.more().populate = true;
        self
    }

    /// Not counted against the memory that the system has promised: a hint. Where it counts loosely, touching the pages may then
    /// find no memory, and end the process.
    ///
    /// Not with [`huge_pages`](Self::huge_pages), which without their reservation would end the process when they are touched.
    ///
    /// # Platforms
    ///
    /// `MAP_NORESERVE` on Linux (without effect where `vm.overcommit_memory` is 2), illumos, NetBSD. Elsewhere no effect.
    pub fn no_reserve(mut self) -> Self {
        self.more().no_reserve = true;
        self
    }

    /// Memory that a stack pointer will point into. It does not grow.
    ///
    /// # Platforms
    ///
    /// OpenBSD ends a program whose stack pointer points elsewhere, and lets stacks be read and written, nothing else
    /// ([`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput); also with [`room`](Self::room), which grants nothing at first). Linux
    /// keeps transparent huge pages from it (6.7), NetBSD takes the flag; elsewhere no effect (FreeBSD's `MAP_STACK` is another
    /// thing: memory that grows).
    pub fn stack(mut self) -> Self {
        self.more().stack = true;
        self
    }

    /// Made of pages of this size, which are never ordinary ones: the length is rounded up to a multiple of it.
    ///
    /// The sizes that there are: [`page::huge_sizes`](crate::page::huge_sizes). The pages are set aside when the mapping is made, and
    /// never swapped out. In the child of a `fork`, writing to them can end the child when none is free.
    ///
    /// With a [file](Self::file): one that lies on a file system of such pages, or an error.
    ///
    /// # Errors
    ///
    /// Of the mapping, then:
    ///
    /// - [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted): not so many are free. An administrator has to set them aside.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): there are none of this size. On FreeBSD, NetBSD, OpenBSD,
    ///   illumos (which takes sizes as advice): always.
    /// - [`ErrorKind::NotPermitted`](crate::ErrorKind::NotPermitted), on Windows: the account needs the right to lock pages in
    ///   memory, and the program must have switched it on.
    ///
    /// # Platforms
    ///
    /// | Linux, Android | `MAP_HUGETLB` |
    /// |---|---|
    /// | Windows | `MEM_LARGE_PAGES`; without guard pages |
    /// | macOS on Intel's processors | `VM_FLAGS_SUPERPAGE_SIZE_2MB` |
    pub fn huge_pages(self, size: PageSize) -> Self {
        self.made_of(Choice::Exactly(size))
    }

    /// Made of the largest pages to be had that are not longer than the length: as by [`huge_pages`](Self::huge_pages) of each
    /// size from the largest one down, and if none is to be had, what the fallback says. Not with a [file](Self::file). Where it
    /// [replaces](Self::replace) pages, only sizes of which the length is a multiple: nothing is replaced that was not named.
    ///
    /// With [`Fallback::Transparent`] the pages are never why it fails. Not with [room](Self::room).
    /// [`Pages::page_size`](crate::Pages::page_size) tells what it was.
    ///
    /// # Cost
    ///
    /// A system call for each size that is not to be had, and the mapping's.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Fallback, MmapOptions};
    ///
    /// let table = MmapOptions::new(8 << 20).largest_pages(Fallback::Transparent).map_mut()?;
    /// println!("pages of {}", table.page_size());
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn largest_pages(self, fallback: Fallback) -> Self {
        self.made_of(Choice::Largest(fallback))
    }

    /// Made of ordinary pages that the system is asked to make huge ones of by itself, as far as it can: a hint.
    ///
    /// The mapping is aligned to the largest of [`page::transparent_sizes`](crate::page::transparent_sizes) that fits into it,
    /// unless it has an address, or there is no room for that. How much of it is in huge pages, [`Usage::huge`](crate::Usage::huge) tells.
    ///
    /// # Platforms
    ///
    /// Linux: `MADV_HUGEPAGE`. FreeBSD makes such pages by itself where the alignment permits. Elsewhere no effect.
    pub fn transparent_huge_pages(self) -> Self {
        self.made_of(Choice::Transparent)
    }

    /// With memory of this NUMA node, as long as there is some there, and else of others.
    ///
    /// # Errors
    ///
    /// Of the mapping, then: [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) where there is no such node,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for all nodes but 0 where the system has no such call.
    ///
    /// # Platforms
    ///
    /// Linux: `mbind` with `MPOL_PREFERRED`, one call more. Of a [file](Self::file), it is heeded for what is copied, and for files in
    /// memory (`tmpfs`, hugetlbfs): the pages of others are the page cache's (mbind(2)). Windows: `VirtualAllocExNuma`,
    /// `MapViewOfFileExNuma`.
    pub fn numa_node(mut self, node: u32) -> Self {
        self.more().node = Some(node);
        self
    }

    /// With a name that tools show for anonymous memory, `[anon:NAME]` in `/proc/PID/maps`: a hint.
    ///
    /// Up to 79 printable ASCII characters, none of ``[ ] \ $ ` ``: what else there is, is
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) of the mapping, everywhere.
    ///
    /// # Platforms
    ///
    /// Linux 5.17, if the kernel was built with it (`CONFIG_ANON_VMA_NAME`): one call more. Elsewhere, and for files, no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// let pages = folio::MmapOptions::new(1).name(c"scratch").map_mut()?;
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn name(mut self, name: &'f CStr) -> Self {
        self.more().name = Some(name);
        self
    }

    /// For code that is written while the program runs: what it takes to make the pages writable and executable at once
    /// (without the feature `deny_xw`: `map_exec_mut`, `Pages::make_exec_mut`), and, where programs may not execute what they have
    /// written, to be admitted all the same.
    ///
    /// # Platforms
    ///
    /// | macOS, iOS | `MAP_JIT`, which takes the entitlement `com.apple.security.cs.allow-jit` in programs with the hardened runtime; an address is a wish then, whose answer is checked; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) of files, and where it is to replace something |
    /// |---|---|
    /// | NetBSD | nothing more: `PROT_MPROTECT` for all rights is asked for with any mapping |
    /// | OpenBSD | nothing: leave is given to programs that are linked with `-z wxneeded` and lie on a file system mounted with `wxallowed` |
    /// | Windows | nothing: an arbitrary code guard is a matter of the whole process |
    /// | others | nothing: any mapping will do |
    #[cfg(feature = "allow_exec")]
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    pub fn jit(mut self) -> Self {
        self.more().jit = true;
        self
    }

    #[cfg(all(feature = "allow_exec", not(feature = "deny_xw")))]
    pub(super) fn is_jit(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.jit)
    }

    /// The same of a file that others may write to.
    #[cfg(feature = "std")]
    pub(super) fn with_others<'o>(&self, file: File<'o>) -> MmapOptions<'o>
    where
        'f: 'o,
    {
        let mut options: MmapOptions<'o> = self.clone();
        let more = options.more();
        if more.file.replace(file).is_some() {
            more.conflict = Some("two files at once");
        }
        more.others = true;
        options
    }

    fn more(&mut self) -> &mut More<'f> {
        self.more.get_or_insert_default()
    }

    #[inline]
    fn located(mut self, place: Place) -> Self {
        use core::mem::discriminant;
        if !matches!(self.place, Place::Anywhere) && discriminant(&self.place) != discriminant(&place) {
            self.more().conflict = Some("two places at once");
        }
        self.place = place;
        self
    }

    fn made_of(mut self, pages: Choice) -> Self {
        let more = self.more();
        if !matches!(more.pages, Choice::Ordinary) && more.pages != pages {
            more.conflict = Some("two kinds of huge pages at once");
        }
        more.pages = pages;
        self
    }
}
