//! Address space with a list of what its parts are.

mod carved;
mod change;
mod places;

use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use crate::guard::{report, unknown_bits};
use crate::os;
use crate::pages::map::{Map, Marks};
use crate::pages::origin::Origin;
use crate::pages::reserve::runs::{Runs, State};
use crate::pages::reserve::space::Space;
use crate::pages::{DenyExec, ExecAccess, MmapOptions, Pages, ReadAccess, Together, WriteAccess};
use crate::protection::Protection;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Range, RangeBounds};

/// Address space whose parts get memory, and give it back, as the program runs.
///
/// It keeps a list of what its pages are: [`commit`](Self::commit) gives a range memory and rights, [`decommit`](Self::decommit) takes
/// them away, [`protect`](Self::protect) changes rights; [`get`](Self::get) and [`get_mut`](Self::get_mut) lend what is
/// committed as slices, and answer with an error where the list says that the bytes cannot be had: nothing that is safe can touch
/// what is not there. The addresses never change, and nobody else is given them.
///
/// Ranges are offsets in bytes from the start. [`carve`](Self::carve) makes [`Pages`] of a part, which live on their own, and
/// [`take_back`](Self::take_back) takes them in again. When they are dropped, their memory is given back at once; their
/// addresses are the reservation's again as soon as all is dropped that was carved out together with them (if they were split; what is
/// taken back is the reservation's at once). The address space as a whole is given back when the reservation and all that was carved out
/// of it are gone, in whatever order.
///
/// # Cost
///
/// The list has an entry for each run of pages of one state. Looking into it takes time by the logarithm of their number, changing it
/// moves the entries behind; no call allocates for an entry after it has asked the system.
///
/// # Examples
///
/// A growable arena, whose bytes never move:
///
/// ```
/// use folio::{Protection, Reservation, page};
///
/// struct Arena {
///     room: Reservation,
///     used: usize,
///     committed: usize,
/// }
///
/// impl Arena {
///     fn push(&mut self, text: &str) -> folio::Result<std::ops::Range<usize>> {
///         let end = self.used + text.len();
///         if end > self.committed {
///             let more = page::ceil(end as *const u8) as usize;
///             self.room.commit(self.committed..more, Protection::READ_WRITE)?;
///             self.committed = more;
///         }
///         let place = self.used..end;
///         self.room.get_mut(place.clone())?.copy_from_slice(text.as_bytes());
///         self.used = end;
///         Ok(place)
///     }
/// }
///
/// let mut arena = Arena { room: Reservation::new(1 << 30)?, used: 0, committed: 0 };
/// let place = arena.push("folio")?;
/// arena.push(&"x".repeat(100_000))?;
/// assert_eq!(arena.room.get(place)?, b"folio");
/// # Ok::<(), folio::Error>(())
/// ```
///
/// The linear memory of a guest, as WebAssembly has it: what is beyond its end is there, and cannot be touched.
///
/// ```
/// use folio::{ErrorKind, MmapOptions, Protection};
///
/// const PAGE: usize = 64 << 10;
/// let mut memory = MmapOptions::new(1 << 28).guard_after(PAGE).reservation()?;
/// memory.commit(..2 * PAGE, Protection::READ_WRITE)?;
/// memory.get_mut(PAGE..PAGE + 4)?.copy_from_slice(&7_u32.to_le_bytes());
///
/// // An access of the guest's beyond the end of its memory:
/// let out = memory.get(2 * PAGE - 2..2 * PAGE + 2).unwrap_err();
/// assert_eq!(out.kind(), ErrorKind::Unmapped);
/// assert_eq!(out.range().unwrap().start, memory.start() + 2 * PAGE);
///
/// // `memory.grow`:
/// memory.commit(2 * PAGE..3 * PAGE, Protection::READ_WRITE)?;
/// assert_eq!(memory.get(2 * PAGE - 2..2 * PAGE + 2)?, [0; 4]);
/// # Ok::<(), folio::Error>(())
/// ```
#[must_use = "the addresses are given back when the value is dropped"]
pub struct Reservation {
    /// Invariant: what `runs` says of a page is so, and nobody else uses the pages that are not carved out.
    space: Arc<Space>,
    runs: Runs,
    /// The origins of what is carved out, by the number in [`State::Carved`].
    slots: Vec<Slot>,
    /// The first free slot.
    free: usize,
    /// What some of the pages that were taken back may have.
    marks: Marks,
}

const NO_SLOT: usize = usize::MAX;

enum Slot {
    Used(Arc<Origin>),
    /// And the next free one, or [`NO_SLOT`].
    Free(usize),
}

/// A run of pages of one state: given by [`Reservation::parts`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ReservationPart {
    /// The offsets in bytes, the end excluded.
    pub range: Range<usize>,
    /// What the pages are.
    pub state: PartState,
}

/// What pages of a reservation are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PartState {
    /// Address space only.
    Reserved,
    /// Memory that grants this.
    Committed(Protection),
    /// Carved out, and not yet dropped.
    Carved,
    /// Memory of which it is not known what it grants, since the system refused a change half-way and then to undo it. It cannot be
    /// reached; [`commit`](Reservation::commit) and [`protect`](Reservation::protect) try again, and keep what it holds.
    Unsettled,
    /// Given up, by [`decommit`](Reservation::decommit) or by a drop of what was carved out, and the system refused to take it.
    /// [`decommit`](Reservation::decommit) and [`commit`](Reservation::commit) try again.
    Leaving,
}

/// The runs of pages of one state, ascending, without gaps: made by [`Reservation::parts`].
pub struct Parts<'a> {
    of: &'a Reservation,
    next: usize,
}

impl Iterator for Parts<'_> {
    type Item = ReservationPart;

    fn next(&mut self) -> Option<ReservationPart> {
        let mut found: Option<ReservationPart> = None;
        for (range, state) in self.of.runs.within(self.next..self.of.len()) {
            let state = self.of.seen(state);
            match &mut found {
                Some(part) if part.state == state => part.range.end = range.end,
                Some(_) => break,
                None => found = Some(ReservationPart { range, state }),
            }
        }
        self.next = found.as_ref()?.range.end;
        found
    }
}

impl core::iter::FusedIterator for Parts<'_> {}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Parts { ..*self }).finish()
    }
}

/// Which protections a reservation's pages can be given.
fn admitted(protection: Protection) -> core::result::Result<(), Failure> {
    if !Protection::all().contains(protection) {
        return Err(unknown_bits());
    }
    if protection.contains(Protection::EXECUTE) {
        return Err(Failure::new(ErrorKind::NotPermitted)
            .detail("only typed pages can be executed")
            .remedy("carve them out and convert them (Pages::make_exec, feature allow_exec); they can be taken back as they are"));
    }
    Ok(())
}

impl Reservation {
    /// At least `len` bytes of address space, rounded up to whole pages, at a place of the system's choice.
    ///
    /// For other places, [`MmapOptions::reservation`].
    ///
    /// # Cost
    ///
    /// One system call and two small allocations.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: `len` is 0 or more than `isize::MAX` bytes.
    /// - [`ErrorKind::Exhausted`]: there is no room for so much, or a limit of address space is reached.
    pub fn new(len: usize) -> Result<Self> {
        MmapOptions::new(len).reservation()
    }

    pub(super) fn from_map(map: Map) -> Result<Self> {
        let runs = Runs::new(map.len());
        let runs = runs.map_err(|failure| failure.during(Operation::Reserve, map.pages(), None))?;
        Ok(Self {
            space: Arc::new(Space::of(map)),
            runs,
            slots: Vec::new(),
            free: NO_SLOT,
            marks: Marks::NONE,
        })
    }

    /// The address of the first byte.
    #[inline]
    pub fn start(&self) -> usize {
        self.space.start()
    }

    /// The address after the last byte.
    #[inline]
    pub fn end(&self) -> usize {
        self.start().saturating_add(self.len())
    }

    /// The size in bytes: a multiple of the page size, at least what was asked for.
    #[inline]
    pub fn len(&self) -> usize {
        self.space.len()
    }

    /// Whether there is nothing in it: never.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses, the end excluded.
    #[inline]
    pub fn as_range(&self) -> Range<usize> {
        self.start()..self.end()
    }

    /// The address of the first byte; always on a page boundary. What can be read there, the parts say.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.space.base().as_ptr().cast_const()
    }

    /// The address of the first byte; always on a page boundary. What can be written there, the parts say.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.space.base().as_ptr()
    }

    /// How many bytes are committed, without those that are carved out. Takes time by the number of parts.
    pub fn committed(&self) -> usize {
        let committed = self.runs.all().filter(|(_, state)| matches!(state, State::Committed(_)));
        committed.fold(0, |sum, (range, _)| sum.saturating_add(range.len()))
    }

    /// The runs of pages of one state, ascending, without gaps.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{PartState, Protection, Reservation, page};
    ///
    /// let mut room = Reservation::new(3 * page::size())?;
    /// room.commit(page::size()..2 * page::size(), Protection::READ)?;
    /// let states: Vec<PartState> = room.parts().map(|part| part.state).collect();
    /// assert_eq!(states, [PartState::Reserved, PartState::Committed(Protection::READ), PartState::Reserved]);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn parts(&self) -> Parts<'_> {
        Parts { of: self, next: 0 }
    }

    /// A run's state, as it will be found by the next change: of what is carved out, the last part may be gone.
    fn seen(&self, state: State) -> PartState {
        match state {
            State::Reserved => PartState::Reserved,
            State::Committed(protection) => PartState::Committed(protection),
            State::Unsettled => PartState::Unsettled,
            State::Leaving => PartState::Leaving,
            State::Carved(slot) => match self.slots.get(slot) {
                Some(Slot::Used(origin)) if Arc::strong_count(origin) > 1 => PartState::Carved,
                Some(Slot::Used(origin)) if is_spoiled(origin) => PartState::Leaving,
                _ => PartState::Reserved,
            },
        }
    }

    /// Gives a range memory, zeroed, with this protection.
    ///
    /// What is committed already keeps what it holds, and is given the protection. After a failure all is as it was, unless
    /// [`Error::changed`] says otherwise; the [parts](Self::parts) say how it is then.
    ///
    /// # Cost
    ///
    /// One system call for each run of pages of one state in the range, which mostly is one. An allocation when there are several.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: an end is not on a page boundary, or beyond the reservation; the protection has other
    ///   bits than the three.
    /// - [`ErrorKind::Occupied`]: something in the range is carved out.
    /// - [`ErrorKind::NotPermitted`]: the protection includes executing.
    /// - [`ErrorKind::Exhausted`]: the system does not promise so much memory, or the process may not have it, or as many mappings.
    pub fn commit(&mut self, range: impl RangeBounds<usize>, protection: Protection) -> Result<()> {
        let operation = Operation::Commit;
        let range = self.whole_pages(range, operation)?;
        admitted(protection).map_err(|failure| self.error(failure, &range, operation))?;
        self.prepare(&range, operation)?;
        self.grant(&range, protection, operation)
    }

    /// Changes what a range grants, all of which is committed.
    ///
    /// # Cost, errors
    ///
    /// As [`commit`](Self::commit); and [`ErrorKind::Unmapped`]: something in the range is not committed.
    pub fn protect(&mut self, range: impl RangeBounds<usize>, protection: Protection) -> Result<()> {
        let operation = Operation::Protect;
        let range = self.whole_pages(range, operation)?;
        admitted(protection).map_err(|failure| self.error(failure, &range, operation))?;
        self.prepare(&range, operation)?;
        let is_bare = |state| matches!(state, State::Reserved | State::Leaving);
        let bare = self.runs.within(range.clone()).find(|&(_, state)| is_bare(state));
        if let Some((run, _)) = bare {
            return Err(self.page_error(run.start, operation, ErrorKind::Unmapped, BARE));
        }
        self.grant(&range, protection, operation)
    }

    /// Takes the memory from a range, with what it holds. Its addresses stay reserved.
    ///
    /// # Cost
    ///
    /// One system call, from the first to the last page in the range that has memory; none when there is none.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: an end is not on a page boundary, or beyond the reservation.
    /// - [`ErrorKind::Occupied`]: something in the range is carved out.
    /// - [`ErrorKind::Exhausted`]: the process has as many mappings as it may have (Linux).
    pub fn decommit(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let operation = Operation::Decommit;
        let range = self.whole_pages(range, operation)?;
        self.prepare(&range, operation)?;
        let Some(held) = self.with_memory(&range) else { return Ok(()) };
        if let Err(failure) = self.take_memory(&held) {
            return Err(self.error(failure, &held, operation));
        }
        if self.marks.any() && self.runs.all().all(|(_, state)| state == State::Reserved) {
            self.marks = Marks::NONE;
        }
        Ok(())
    }

    /// The bytes of a range, all of which are committed and can be read.
    ///
    /// # Cost
    ///
    /// No system call: a search in the list of parts.
    ///
    /// # Errors
    ///
    /// [`Error::range`] is the first page that cannot be read:
    ///
    /// - [`ErrorKind::Unmapped`]: it is not committed.
    /// - [`ErrorKind::NotPermitted`]: it is committed without the right to read.
    /// - [`ErrorKind::Occupied`]: it is carved out.
    ///
    /// [`ErrorKind::InvalidInput`] when the range reaches beyond the reservation, or ends before it starts.
    ///
    /// # Examples
    ///
    /// ```compile_fail,E0502
    /// use folio::{Protection, Reservation, page};
    ///
    /// let mut room = Reservation::new(page::size())?;
    /// room.commit(.., Protection::READ_WRITE)?;
    /// let bytes = room.get(..4)?;
    /// room.decommit(..)?; // cannot borrow as mutable: `bytes` are in it
    /// println!("{bytes:?}");
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub fn get(&self, range: impl RangeBounds<usize>) -> Result<&[u8]> {
        let range = self.reach(range, Protection::READ)?;
        // SAFETY: the offset is within the reservation (just checked).
        let first = unsafe { self.space.base().add(range.start) };
        // SAFETY: the bytes are committed, so initialized (zeroes at first), and can be read (just checked; the invariant); they are
        // written to only through this value, which is borrowed; at most `isize::MAX` bytes.
        Ok(unsafe { core::slice::from_raw_parts(first.as_ptr(), range.len()) })
    }

    /// The bytes of a range, all of which are committed and can be read and written.
    ///
    /// # Cost, errors
    ///
    /// As [`get`](Self::get).
    #[inline]
    pub fn get_mut(&mut self, range: impl RangeBounds<usize>) -> Result<&mut [u8]> {
        let range = self.reach(range, Protection::READ_WRITE)?;
        // SAFETY: the offset is within the reservation (just checked).
        let first = unsafe { self.space.base().add(range.start) };
        // SAFETY: as in `get`; they can be written, too, and the value is borrowed exclusively.
        Ok(unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), range.len()) })
    }

    /// Makes typed pages of a range, which live on their own until they are dropped or [taken back](Self::take_back).
    ///
    /// What is reserved only is committed; what is committed keeps what it holds, and is given the rights of the type. Pages that are to
    /// be executed are carved out without that right and given it then (`Pages::make_exec`, which sees to all that it takes).
    ///
    /// # Cost
    ///
    /// As [`commit`](Self::commit), and an allocation.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit); an empty range is [`ErrorKind::InvalidInput`].
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::{Mmap, MmapMut, Protection, Reservation, page};
    ///
    /// let mut room = Reservation::new(8 * page::size())?;
    /// let mut own: MmapMut = room.carve(page::size()..2 * page::size())?;
    /// own[0] = 1;
    ///
    /// // They can be given rights, split, moved to another thread, and taken back with what they hold.
    /// let own: Mmap = own.try_into()?;
    /// room.take_back(own)?;
    /// assert_eq!(room.get(page::size()..2 * page::size())?[0], 1);
    /// # Ok::<(), folio::Error>(())
    /// ```
    pub fn carve<R, W>(&mut self, range: impl RangeBounds<usize>) -> Result<Pages<R, W, DenyExec>>
    where
        R: ReadAccess,
        W: WriteAccess,
        (W, DenyExec): Together,
    {
        let operation = Operation::Carve;
        let range = self.whole_pages(range, operation)?;
        let pages = self.pages(&range);
        let pages = pages.ok_or_else(|| Failure::invalid("no pages").during(operation, None, None))?;
        self.prepare(&range, operation)?;
        self.slots.try_reserve(1).map_err(|_| {
            let failure = Failure::new(ErrorKind::Exhausted).detail("no memory for the list of the parts");
            self.error(failure, &range, operation)
        })?;
        let origin = Arc::new(Origin::carved(Arc::clone(&self.space), pages));
        self.grant(&range, Pages::<R, W, DenyExec>::PROTECTION, operation)?;
        let slot = self.occupy(Arc::clone(&origin));
        self.runs.set(range.clone(), State::Carved(slot));
        // SAFETY: the offset is within the reservation (`whole_pages`).
        let base = unsafe { self.space.base().add(range.start) };
        // SAFETY: the pages are the reservation's, which leaves them to the mapping from here on.
        let mut map = unsafe { Map::carved(base, range.len(), origin) };
        map.marks = self.marks;
        // SAFETY: the pages grant just that (`grant`).
        Ok(unsafe { Pages::from_map(map) })
    }

    /// Takes pages in again that were carved out of this reservation, or a part of such: committed, with the rights of their
    /// type and what they hold. Their [locks](Pages::lock) end. That they are [wiped on fork](Pages::wipe_on_fork) or [left out of core
    /// dumps](Pages::keep_out_of_core_dumps) stays so until they are decommitted.
    ///
    /// # Cost
    ///
    /// No system call, but one for each lock.
    ///
    /// # Errors
    ///
    /// The pages, and why: [`ErrorKind::InvalidInput`] when they are not of this reservation.
    pub fn take_back<R, W, X>(
        &mut self,
        pages: Pages<R, W, X>,
    ) -> core::result::Result<(), (Pages<R, W, X>, Error)>
    where
        R: ReadAccess,
        W: WriteAccess,
        X: ExecAccess,
        (W, X): Together,
    {
        let operation = Operation::TakeBack;
        let origin = pages.map.origin();
        let own =
            origin.and_then(|origin| origin.space()).is_some_and(|space| Arc::ptr_eq(space, &self.space));
        let refused = if own {
            self.runs.make_room().err()
        } else {
            Some(Failure::invalid("the pages are not of this reservation"))
        };
        // With the pages that it has lost.
        let extent = pages.map.extent().filter(|_| refused.is_none());
        let Some(extent) = extent.map(|extent| self.offsets(extent)) else {
            let failure = refused.unwrap_or_else(|| Failure::invalid("no pages"));
            let error = failure.during(operation, pages.map.pages(), None);
            return Err((pages, error));
        };
        let start = pages.start().saturating_sub(self.start());
        let range = start..start.saturating_add(pages.len());
        self.marks = self.marks.with(pages.map.marks);
        // Its share of the origins ends here.
        drop(pages.map.leave_pages());
        while let Some((run, slot)) = self.next_carved(&extent) {
            self.runs.set(run, State::Unsettled);
            if self.run_of(slot).is_none() {
                self.vacate(slot);
            }
        }
        self.runs.set(range, State::Committed(Pages::<R, W, X>::PROTECTION));
        Ok(())
    }
}

const CARVED: &str =
    "carved out; some of what was carved out together with it is neither dropped nor taken back";
const BARE: &str = "reserved, without memory";

fn carved((run, state): (Range<usize>, State)) -> Option<(Range<usize>, usize)> {
    match state {
        State::Carved(slot) => Some((run, slot)),
        _ => None,
    }
}

fn is_spoiled(origin: &Origin) -> bool {
    matches!(origin, Origin::Carved(carved) if carved.is_spoiled())
}

/// Gives the memory back; the addresses too, unless something carved out of them is left: then they go with the last of that.
impl Drop for Reservation {
    fn drop(&mut self) {
        let others = |slot: &Slot| matches!(slot, Slot::Used(origin) if Arc::strong_count(origin) > 1);
        if !self.slots.iter().any(others) {
            return;
        }
        for (run, state) in self.runs.all() {
            if !matches!(state, State::Committed(_) | State::Unsettled) {
                continue;
            }
            let Some(pages) = self.pages(&run) else { continue };
            // SAFETY: private anonymous pages of the reservation's own, which ends here.
            if let Err(failure) = unsafe { os::decommit(pages) } {
                if failure.kind() == ErrorKind::Unmapped {
                    self.space.tear();
                }
                report(&failure.during(Operation::Decommit, Some(pages), None));
            }
        }
    }
}

/// The addresses and what their parts are.
impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({:#x?}, {} parts)", self.as_range(), self.runs.count())
    }
}
