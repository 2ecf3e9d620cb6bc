//! Floor 5: collections' memory in pages of their own, by an allocator without state: for each allocation a mapping.

mod change;
mod collections;
#[cfg(feature = "zerocopy")]
mod extent;
mod options;
mod place;
mod shape;
#[cfg(test)]
mod tests;

use crate::advice::Advice;
use core::alloc::Layout;
use core::ffi::CStr;
use core::fmt;
use core::num::NonZeroU32;
use options::{Bytes, Name};
use shape::Shape;

/// Memory for collections, in pages of their own: an [`Allocator`](allocator_api2::alloc::Allocator) that gives each allocation a mapping.
///
/// `hashbrown`'s maps and sets, and `allocator_api2`'s `Vec` and `Box`, take it as their last type parameter. It is a value of options,
/// without state: `Copy`, some words long, and two that are equal are the same allocator.
///
/// - What is large grows without being copied: on Linux page tables move, whatever is in the pages. With
///   [`reserved`](Self::reserved) address space it does not even move, on every system, and addresses stay.
/// - From 4 MiB on it is made of huge pages where the system has some ([`huge_pages`](Self::huge_pages)).
/// - Memory comes when it is touched, zeroed by the system (and by nobody else: `allocate_zeroed` costs as much as `allocate`), and goes
///   back to the system at once when it is freed or shrunk.
/// - Any alignment there is: above a page, too.
/// - It can be [locked](Self::locked), stand between [guard pages](Self::guard_after), have a [name](Self::name), lie on a
///   [NUMA node](Self::numa_node).
///
/// For a vector there is [`PagedVec`](crate::PagedVec), which does more with it.
///
/// # When the default allocator is the better choice
///
/// For all that is small, or comes and goes. Each allocation here is at least a page and two system calls (some microseconds, and half a
/// microsecond for the first touch of each page of 4 KiB), where a heap takes a fraction of a microsecond and recycles its memory. Small
/// allocations are served (by a whole page), so that a collection may begin small; but thousands of them are a waste, and, if they are no
/// neighbours, as many mappings (with guard pages, twice as many), of which Linux gives a process 65,530. So: tables and arrays of
/// megabytes, that live long or grow far; or what must be locked, guarded, or given back to the system for sure.
///
/// # Cost
///
/// | | system calls |
/// |---|---|
/// | allocate | 1: `mmap`, `VirtualAlloc` |
/// | … with `reserved`, guard pages | 1 more, that gives the memory |
/// | … huge (Linux) | 1 more to ask for them; where the kernel (before 6.7) does not align by itself, 4 more |
/// | … aligned above a page (Windows: above 64 KiB) | 2 more: what is about it is given back |
/// | … `advice`, `name`, `numa_node`, `locked` | 1 more each |
/// | grow, within what is committed | 0 |
/// | grow, within what is `reserved` | 1 |
/// | grow beyond, Linux | 1, moving page tables (some 10 ns for each page of memory, huge or not); 2 where there are huge pages or locks; 2 more each for an alignment above a page, and for guard pages; 1 more for what was reserved |
/// | grow beyond, other systems | a new allocation, a copy, and a deallocation |
/// | shrink | 1; 2 with `reserved`, 3 with guard pages; 1 more if `locked` |
/// | deallocate | 1; 1 more if `locked` |
///
/// Memory is counted in whole pages, and from 4 MiB on (where the system has huge pages) in whole huge pages of 2 MiB: a little more than 4
/// MiB takes 6, once its end is touched.
///
/// # Errors
///
/// `AllocError`, by the trait: nothing aborts here, though collections do so whose methods cannot fail. [`try_allocate`](Self::try_allocate)
/// says why. Memory that cannot be grown is as it was. Where no page tables can move because the allocation has become several mappings
/// (some of its pages were [locked](crate::lock) or protected on their own), it is copied.
///
/// # Platforms
///
/// | | Linux, Android | Windows | Apple, NetBSD, OpenBSD, illumos | FreeBSD |
/// |---|---|---|---|---|
/// | growth beyond what is reserved | `mremap` | copied | copied | copied |
/// | huge pages | `MADV_HUGEPAGE`, aligned to 2 MiB | – | – | aligned to 2 MiB, of which the system makes superpages |
/// | alignment above a page | what is about it is unmapped | a place is looked for, and asked for (up to 32 times, if others are quicker) | as Linux | as Linux |
/// | what shrinks in a reservation | `MADV_DONTNEED`; it stays counted as promised (`vm.overcommit_memory` = 2) until all is freed | decommitted | zeroed, and `MADV_FREE` | as the others |
/// | `name` | 5.17 | – | – | – |
/// | `numa_node` | `mbind` | `VirtualAllocExNuma` | node 0 alone | node 0 alone |
///
/// # Examples
///
/// ```
/// use folio::PageAllocator;
/// use hashbrown::{DefaultHashBuilder, HashMap};
///
/// let mut map = HashMap::with_capacity_and_hasher_in(1_000_000, DefaultHashBuilder::default(), PageAllocator::new());
/// for number in 0..1_000_000_u64 {
///     map.insert(number, number * number);
/// }
/// assert_eq!(map[&999], 998_001);
/// ```
///
/// A vector that stays where it is while it grows, between guard pages, and a boxed table on huge pages:
///
/// ```
/// use allocator_api2::boxed::Box;
/// use allocator_api2::vec::Vec;
/// use folio::PageAllocator;
///
/// const STAYING: PageAllocator = PageAllocator::new().reserved(1 << 26).guard_before(1).guard_after(1);
/// let mut numbers = Vec::with_capacity_in(1, STAYING);
/// let first = numbers.as_ptr();
/// for number in 0..1_000_000_u64 {
///     numbers.push(number);
/// }
/// assert_eq!(numbers.as_ptr(), first);
///
/// let table = Box::<[u64], _>::new_zeroed_slice_in(1 << 20, PageAllocator::new().name(c"table"));
/// // SAFETY: zeroes are numbers.
/// let table = unsafe { table.assume_init() };
/// assert!(table.iter().all(|&number| number == 0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageAllocator {
    /// How many bytes of address space each allocation has at least.
    reserved: usize,
    name: Option<Name>,
    guard_before: Bytes,
    guard_after: Bytes,
    /// Its number and 1.
    node: Option<NonZeroU32>,
    advice: Option<Advice>,
    huge: bool,
    locked: bool,
}

impl PageAllocator {
    /// Pages as they are needed.
    pub const fn new() -> Self {
        Self {
            reserved: 0,
            name: None,
            guard_before: Bytes::NONE,
            guard_after: Bytes::NONE,
            node: None,
            advice: None,
            huge: true,
            locked: false,
        }
    }

    /// With at least `len` bytes of address space for each allocation: up to that size, to the last byte, it grows where it lies. Without
    /// access, and without memory behind it until then.
    ///
    /// It is for *each* allocation: a collection that grows by making a new table beside the old one (as hash tables do) has two
    /// for a while. Address space is plentiful where addresses have 64 bits (128 TiB), and scarce elsewhere.
    ///
    /// # Examples
    ///
    /// ```
    /// use allocator_api2::vec::Vec;
    /// use folio::PageAllocator;
    ///
    /// let mut bytes = Vec::with_capacity_in(1, PageAllocator::new().reserved(10_000_000));
    /// let first = bytes.as_ptr();
    /// bytes.resize(1_000_000, 7_u8);
    /// bytes.reserve_exact(9_000_000);
    /// assert_eq!(bytes.as_ptr(), first);
    /// ```
    #[must_use]
    pub const fn reserved(mut self, len: usize) -> Self {
        self.reserved = len;
        self
    }

    /// Whether allocations whose [room](Self::room) is 4 MiB or more are made of huge pages, where the system has some: the default.
    ///
    /// They begin on a multiple of 2 MiB then, if there is room for that, and the system is asked for huge pages; and when they have 4
    /// MiB of memory or more, memory is counted in huge pages of 2 MiB. Half of the time and more of what is touched for the first
    /// time is saved by it, and most misses of the TLB of what is read in no order. Turn it off for large memory of which little is ever
    /// touched: of each huge page, all is in memory.
    ///
    /// # Platforms
    ///
    /// Linux, where `/sys/kernel/mm/transparent_hugepage/enabled` says `madvise` or `always`. FreeBSD makes superpages of what is
    /// aligned. On other systems without any effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::PageAllocator;
    ///
    /// // A large table, of which little is ever touched.
    /// let sparse = PageAllocator::new().huge_pages(false);
    /// assert_ne!(sparse, PageAllocator::new());
    /// ```
    #[must_use]
    pub const fn huge_pages(mut self, huge: bool) -> Self {
        self.huge = huge;
        self
    }

    /// Tells the system how allocations are going to be used: a hint, whose failure nobody notices.
    ///
    /// [`Advice::NoHugePages`] turns [`huge_pages`](Self::huge_pages) off, too. What is a matter of the moment (`WillNeed`, `Cold`, `PageOut`,
    /// `Collapse`) has nothing to work on in memory that is not there yet, and no effect.
    #[must_use]
    pub const fn advice(mut self, advice: Advice) -> Self {
        self.advice = Some(advice);
        self
    }

    /// With memory of a NUMA node, as long as it has some; of others then.
    ///
    /// Where there is no such node, or the system (see [`MmapOptions::numa_node`](crate::MmapOptions::numa_node)) knows of none, each
    /// allocation fails.
    #[must_use]
    pub const fn numa_node(mut self, node: u32) -> Self {
        // The largest number of all is none that a node has, nor is the one before.
        self.node = NonZeroU32::new(node.saturating_add(1));
        self
    }

    /// With a name, which tools show for the memory: in `/proc/PID/maps`, say. A hint: Linux 5.17, if it was built with it.
    #[must_use]
    pub const fn name(mut self, name: &'static CStr) -> Self {
        self.name = Name::new(name);
        self
    }

    /// Whether the memory is [locked](crate::lock): in memory from the start, and never swapped out. An allocation fails when the process
    /// may not lock so much.
    ///
    /// Counted with all other locks of folio, and ended before the pages are given back. Reserved address space is locked as it gets
    /// memory. In the child of a `fork` nothing is locked.
    ///
    /// # Examples
    ///
    /// ```
    /// use allocator_api2::vec::Vec;
    /// use folio::PageAllocator;
    ///
    /// let mut key = Vec::new_in(PageAllocator::new().locked(true));
    /// match key.try_reserve(32) {
    ///     Ok(()) => key.extend_from_slice(&[7_u8; 32]),
    ///     Err(error) => println!("not to be locked: {error}"),
    /// }
    /// ```
    #[must_use]
    pub const fn locked(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// With at least so many bytes of guard pages below each allocation, that nobody can touch: an access ends the process.
    #[must_use]
    pub const fn guard_before(mut self, len: usize) -> Self {
        self.guard_before = Bytes::covering(len);
        self
    }

    /// With at least so many bytes of guard pages behind each allocation, and what is [reserved](Self::reserved) for it.
    ///
    /// They stand behind whole pages ([`room`](Self::room)), of which an allocation may need only a part.
    ///
    /// # Examples
    ///
    /// ```
    /// use allocator_api2::vec::Vec;
    /// use folio::PageAllocator;
    ///
    /// // Who writes behind the last page dies of it.
    /// let mut key = Vec::new_in(PageAllocator::new().guard_before(1).guard_after(1));
    /// key.extend_from_slice(&[7_u8; 32]);
    /// ```
    #[must_use]
    pub const fn guard_after(mut self, len: usize) -> Self {
        self.guard_after = Bytes::covering(len);
        self
    }

    /// How many bytes an allocation of this layout could grow to where it lies; 0 where there can be none.
    ///
    /// # Cost
    ///
    /// No system call: it follows from the options and the layout's size.
    pub fn room(&self, layout: Layout) -> usize {
        Shape::of(self, layout.size()).map_or(0, |shape| shape.room)
    }

    /// How many bytes of an allocation have memory (when they are touched): those that were asked for, up to whole pages, or huge
    /// pages. 0 where there can be none.
    ///
    /// # Cost
    ///
    /// As [`room`](Self::room).
    ///
    /// # Examples
    ///
    /// ```
    /// use core::alloc::Layout;
    /// use folio::{PageAllocator, page};
    ///
    /// let pages = PageAllocator::new().reserved(1 << 20);
    /// assert_eq!(pages.committed(Layout::new::<u64>()), page::size());
    /// assert_eq!(pages.room(Layout::new::<u64>()), 1 << 20);
    /// ```
    #[inline]
    pub fn committed(&self, layout: Layout) -> usize {
        Shape::of(self, layout.size()).map_or(0, |shape| shape.committed)
    }

    #[inline]
    fn wants_huge(&self) -> bool {
        self.huge && !matches!(self.advice, Some(Advice::NoHugePages))
    }

    #[inline]
    fn node_number(&self) -> Option<u32> {
        self.node.map(|number| number.get().saturating_sub(1))
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.locked
    }

    /// The same, for what is not locked yet.
    fn unlocked(self) -> Self {
        Self { locked: false, ..self }
    }
}

impl Default for PageAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// The options.
impl fmt::Debug for PageAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageAllocator")
            .field("reserved", &self.reserved)
            .field("huge_pages", &self.huge)
            .field("advice", &self.advice)
            .field("numa_node", &self.node_number())
            .field("name", &self.name)
            .field("locked", &self.locked)
            .field("guard_before", &self.guard_before.bytes())
            .field("guard_after", &self.guard_after.bytes())
            .finish()
    }
}
