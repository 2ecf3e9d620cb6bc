//! Code that is being written.

use super::toggle::{self, Toggle, Write};
use super::{Area, CodeMemory, CodePiece, Inner, Room, flush};
use crate::error::{Error, ErrorKind, Failure, Operation, Result};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Code that is being written, and cannot be executed yet: made by [`CodeMemory::draft`].
///
/// It derefs to its bytes, which is the only way by which code memory is written. They are not where they are going to be executed:
/// that is at [`address`](Self::address).
///
/// Dropped without being published, it gives its room back.
#[must_use = "a draft that is dropped gives its room back"]
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
pub struct CodeDraft {
    room: Room,
    bytes: Bytes,
}

enum Bytes {
    /// To be copied to where they belong.
    Apart(Vec<u8>),
    /// Written where they belong: as many as the room has, and nobody else's.
    There(NonNull<u8>),
}

// SAFETY: the bytes belong to the draft, as those of a vector do.
unsafe impl Send for CodeDraft {}
// SAFETY: by a shared reference they are read only.
unsafe impl Sync for CodeDraft {}

impl CodeDraft {
    pub(super) fn new(room: Room) -> Result<Self> {
        let failed = |failure: Failure| failure.during(Operation::Allocate, room.range(), None);
        let bytes = match &room.memory.area {
            Area::Dual(dual) => Bytes::There(dual.data(room.start)),
            Area::Toggle(area) if toggle::in_place(&room) => {
                area.open(&mut room.memory.state().pages, room.pages()).map_err(failed)?;
                Bytes::There(room.code())
            }
            // To be copied when it is published.
            _ => {
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(room.len).map_err(|_| {
                    failed(Failure::new(ErrorKind::Exhausted).detail("no memory for the draft"))
                })?;
                bytes.resize(room.len, 0);
                Bytes::Apart(bytes)
            }
        };
        Ok(Self { room, bytes })
    }

    /// Where it is going to be executed.
    pub fn address(&self) -> *const u8 {
        self.room.code().as_ptr()
    }

    /// Lets it be executed, and no longer be written: flushes the instruction cache first, as
    /// [`Pages::flush_icache`](crate::Pages::flush_icache) does, and see there for what other threads have to do.
    ///
    /// # Cost
    ///
    /// See [`CodeMemory`]. For many at once there is [`CodeMemory::publish`].
    ///
    /// # Errors
    ///
    /// The draft comes back with each. (After two refusals in a row, and without any memory, it may have no bytes to be seen any more.)
    ///
    /// - [`ErrorKind::NotPermitted`]: a policy forbids it; see [`Pages::make_exec`](crate::Pages::make_exec).
    /// - [`ErrorKind::Exhausted`]: no memory, or no mapping, is left.
    /// - [`ErrorKind::Unsupported`]: it is not known how this processor is told.
    #[expect(
        clippy::result_large_err,
        reason = "what was to be published comes back, and nothing is allocated for that"
    )]
    pub fn publish(mut self) -> core::result::Result<CodePiece, (Self, Error)> {
        let memory = Arc::clone(&self.room.memory);
        match publish(&memory, core::slice::from_mut(&mut self)) {
            Ok(()) => Ok(CodePiece::of(self.room)),
            Err(error) => Err((self, error)),
        }
    }
}

impl CodeDraft {
    /// After a refusal, when some pages may be executable already: those in which this is written are made such that it can be again; or it gets
    /// a copy.
    fn reopen(&mut self, area: &Toggle, book: &mut toggle::Book) {
        let Bytes::There(first) = self.bytes else { return };
        if area.open(book, self.room.pages()).is_ok() {
            return;
        }
        let mut copy = Vec::new();
        // Without memory none of it is seen any more: what is published then is what is there.
        if copy.try_reserve_exact(self.room.len).is_ok() {
            // SAFETY: the draft's bytes, which can be read in each state that the pages may be in.
            copy.extend_from_slice(unsafe { core::slice::from_raw_parts(first.as_ptr(), self.room.len) });
        }
        self.bytes = Bytes::Apart(copy);
    }
}

#[expect(
    clippy::result_large_err,
    reason = "what was to be published comes back, and nothing is allocated for that"
)]
pub(super) fn publish_all(
    memory: &CodeMemory,
    mut drafts: Vec<CodeDraft>,
) -> core::result::Result<Vec<CodePiece>, (Vec<CodeDraft>, Error)> {
    match publish(&memory.inner, &mut drafts) {
        Ok(()) => Ok(drafts.into_iter().map(|draft| CodePiece::of(draft.room)).collect()),
        Err(error) => Err((drafts, error)),
    }
}

/// Lets drafts be executed, and counts them.
fn publish(inner: &Arc<Inner>, drafts: &mut [CodeDraft]) -> Result<()> {
    let range = if let [draft] = &*drafts { draft.room.range() } else { Some(inner.range()) };
    let failed = |failure: Failure| failure.during(Operation::Publish, range, None);
    if drafts.iter().any(|draft| !Arc::ptr_eq(&draft.room.memory, inner)) {
        return Err(failed(Failure::invalid("a draft is of another code memory")));
    }
    inner.may_write().map_err(failed)?;
    let mut state = inner.state();
    let state = &mut *state;
    match &inner.area {
        Area::Dual(_) => {
            for draft in &*drafts {
                // SAFETY: the bytes where they are executed can be read.
                unsafe { flush(draft.room.code(), draft.room.len) }.map_err(failed)?;
            }
        }
        #[cfg(not(feature = "deny_xw"))]
        Area::ByThread(area) => {
            for draft in &*drafts {
                // SAFETY: the draft's room, which is nobody else's; nothing of it is executed yet.
                unsafe { area.write(draft.room.start, draft, super::by_thread::copy) };
                // SAFETY: as above.
                unsafe { flush(draft.room.code(), draft.room.len) }.map_err(failed)?;
            }
        }
        Area::Toggle(area) if matches!(drafts, [CodeDraft { bytes: Bytes::There(_), .. }]) => {
            for draft in drafts.iter_mut() {
                let book = &mut state.pages;
                let pages = draft.room.pages();
                let done = area.close(book, &pages);
                if done.is_err() {
                    draft.reopen(area, book);
                }
                done.map_err(failed)?;
                book.publish(pages);
            }
        }
        Area::Toggle(area) => {
            let pages: BTreeSet<usize> = drafts.iter().flat_map(|draft| draft.room.pages()).collect();
            let writes: Vec<Write<'_>> = drafts
                .iter()
                .filter_map(|draft| match &draft.bytes {
                    Bytes::Apart(bytes) => Some(Write { start: draft.room.start, bytes }),
                    Bytes::There(_) => None,
                })
                .collect();
            let book = &mut state.pages;
            let done = area.write(book, &pages, &writes);
            if done.is_err() {
                drafts.iter_mut().for_each(|draft| draft.reopen(area, book));
            }
            done.map_err(failed)?;
            for draft in &*drafts {
                state.pages.publish(draft.room.pages());
            }
        }
    }
    state.published = state.published.saturating_add(drafts.len());
    Ok(())
}

impl Deref for CodeDraft {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Apart(bytes) => bytes,
            // SAFETY: as many bytes, mapped to be read and written as long as the area lives, and nobody else's.
            Bytes::There(first) => unsafe { core::slice::from_raw_parts(first.as_ptr(), self.room.len) },
        }
    }
}

impl DerefMut for CodeDraft {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Apart(bytes) => bytes,
            // SAFETY: as above.
            Bytes::There(first) => unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), self.room.len) },
        }
    }
}

impl fmt::Debug for CodeDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeDraft").field("address", &self.address()).field("len", &self.len()).finish()
    }
}
