//! Memory that another program uses at the same time, and that may end at any moment: buffers, slices, guests.
//!
//! A program that hosts others (plugins, sandboxed code, a wasm or an emulated machine) is asked to work on memory of theirs: to read a
//! request, to fill in an answer. That memory is not its own. Its owner writes to it meanwhile, names ranges that do not exist, and
//! ends before the answer is there. The words for it, and the rules, are those of [Tock](https://tockos.org)'s process buffers, carried
//! from a kernel to an ordinary program.
//!
//! - A **process** is whoever has memory that we may use and that can end at any time. Here it is a [`Guest`]: a program inside of ours, to which
//!   a [`Host`] gave pages. Whoever has another kind (a wasm machine with memory of its own, say) implements the two traits below for
//!   it.
//! - A process *allows* a range of its memory to us, under a number, to be read only ([`Guest::allow_read_only`]) or read and written
//!   ([`Guest::allow_read_write`]), and gets back what it allowed before under that number.
//! - We hold it as a **buffer**: [`ReadOnlyProcessBuffer`], [`ReadWriteProcessBuffer`]; by their traits, [`ReadableProcessBuffer`] and
//!   [`WriteableProcessBuffer`]. A buffer gives the memory to a closure, and to nobody for longer:
//!   [`enter`](ReadableProcessBuffer::enter) and [`mut_enter`](WriteableProcessBuffer::mut_enter). While the closure runs, the
//!   memory stays; when the process has ended, it does not run, and the answer is [`Error::NoSuchApp`].
//! - The closure gets a **slice**: [`ReadableProcessSlice`], [`WriteableProcessSlice`]. It looks like a slice, and covers no
//!   memory: values are copied out and in, and there never is a reference to a byte that others write to.
//!
//! ```
//! use folio::Pages;
//! use folio::process::{Error, Host, ReadableProcessBuffer, WriteableProcessBuffer};
//!
//! // A guest with 64 KiB. Whatever runs it (an interpreter, say) has its memory by raw pointers.
//! let host = Host::new();
//! let guest = host.guest(Pages::new(64 << 10)?)?;
//!
//! // The guest asks for something, by a call of its own: here is my question, and there is room for the answer.
//! guest.allow_read_only(0, 0x100..0x105)?;
//! guest.allow_read_write(0, 0x200..0x240)?;
//! # guest.memory().mut_enter(|memory| memory[0x100..0x105].copy_from_slice(b"folio"))?;
//!
//! // We answer.
//! let question = guest.read_only(0).enter(|slice| slice.to_vec())?;
//! assert_eq!(question, b"folio");
//! let answer = guest.read_write(0);
//! answer.mut_enter(|slice| {
//!     slice[..4].copy_from_slice(b"2^n ");
//!     slice.write_le(4, 7_u32)
//! })??;
//!
//! // It names what is not its own.
//! assert_eq!(guest.allow_read_write(0, 0x200..1 << 20).unwrap_err(), Error::AddressOutOfBounds);
//!
//! // It ends, and with it all that it allowed; its memory is given back.
//! guest.terminate();
//! assert_eq!(answer.mut_enter(|_| unreachable!()), Err::<(), _>(Error::NoSuchApp));
//! assert_eq!(answer.len(), 0);
//! # Ok::<(), folio::Error>(())
//! ```
//!
//! # Who writes at the same time
//!
//! Anybody: the guest, from whatever threads it runs in; other closures, in other threads or within this one; slices of the same bytes,
//! to be read or written, overlapping or not. None of it is undefined. Bytes that somebody writes to while they are copied come out as any mixture of
//! old and new; who has to agree with others about more does so by words, which are read and changed as a whole
//! ([`load`](ReadableProcessSlice::load), [`fetch_add`](WriteableProcessSlice::fetch_add) and kin), and put copies in order:
//!
//! ```
//! use folio::process::{Error, WriteableProcessSlice};
//!
//! const HEAD: usize = 0;
//! const TAIL: usize = 4;
//! const RING: usize = 64;
//!
//! /// A power of two, so that places follow each other also where the count wraps.
//! const LEN: usize = 1024;
//!
//! /// Puts a byte into a ring that the guest takes them from; how many there were is ours to know. `false`: there is no room now.
//! fn put(ring: &WriteableProcessSlice, head: &mut u32, byte: u8) -> Result<bool, Error> {
//!     // The guest may have written anything there, and any time: asked once.
//!     let tail = ring.load::<u32>(TAIL)?;
//!     if head.wrapping_sub(tail) as usize >= LEN {
//!         return Ok(false);
//!     }
//!     ring.write(RING + *head as usize % LEN, byte)?;
//!     *head = head.wrapping_add(1);
//!     // Who finds this number finds the byte as well.
//!     ring.store(HEAD, *head)?;
//!     Ok(true)
//! }
//!
//! # use folio::process::{Host, WriteableProcessBuffer};
//! # let guest = Host::new().guest(folio::Pages::new(1)?)?;
//! # guest.memory().mut_enter(|ring| {
//! # let mut head = 0;
//! # assert!(put(ring, &mut head, 7)? && put(ring, &mut head, 8)?);
//! # while put(ring, &mut head, 9)? {}
//! # assert_eq!(head, 1024);
//! # assert_eq!((ring[RING].get(), ring[RING + 1].get(), ring.load::<u32>(HEAD)?), (7, 8, 1024));
//! # Ok::<(), Error>(()) })??;
//! # Ok::<(), folio::Error>(())
//! ```
//!
//! All that was copied before a word is [stored](WriteableProcessSlice::store) or changed, in or out, is done for who finds the word, and what is copied
//! behind a [`load`](ReadableProcessSlice::load) is copied after it: words are sequentially consistent. They pair with the atomic instructions of
//! others: those of a guest's machine code, or of Rust's `AtomicU32::from_ptr`, which is one of the ways to reach the memory.
//!
//! What was read into a variable stays as it was read. What is read twice need not be the same twice: see
//! [the trap](ReadableProcessSlice#what-is-read-once-stays).
//!
//! # Who ends meanwhile
//!
//! [`Guest::terminate`] may be called at any time, in any thread, also by a closure that is inside of the guest's memory. It never waits.
//! From then on no closure is let in. Those that run, run on: their slices are as good as before. When the last one is through,
//! whether it returns or panics, the memory is given back, by that thread.
//!
//! A guest that begins anew ([`Guest::restart`]) has another [identity](GuestId), which no guest had or will have. What the one before
//! allowed stays dead.
//!
//! # Memory that is taken away
//!
//! A guest's pages are the host's own, and are there as long as it lives. Memory that is shared with others may go at any
//! moment. Who makes slices of such memory ([`ReadableProcessSlice::from_raw_parts`]) installs [`fault`](crate::fault)'s handler before; each access
//! to a slice is made so that it survives. Then
//!
//! - methods that give a `Result` give [`Error::MemoryGone`];
//! - others, which have the shape that they have for slices, read zeroes for what is gone, and what they write there is lost. A copy ends
//!   at the first byte that is gone: what lies behind it counts as gone, too, to the end of the copy (of the 64 bytes that
//!   [`bytes`](ReadableProcessSlice::bytes) reads at once, or the 1,024 of comparisons and searches).
//!
//! Nothing panics, and nothing ends the program.
//!
//! # In the child of a `fork`
//!
//! It has a copy of the host, its guests and their memory, as far as pages are inherited. If another thread of the parent was inside of a
//! guest's memory at that moment, that thread is not in the child and never leaves: the memory of this guest stays mapped there, though
//! it is terminated. If one was just changing what a guest allows, or looking at it, the child finds that nothing is allowed.
//!
//! # Platforms
//!
//! All. On processors without [recoverable copies](crate::fault#platforms) of our own making, accesses are volatile ones, and atomic ones
//! for words. A program does not survive memory that is taken away there. And where other threads *of this program* write at the same
//! time, it is the compiler that makes nothing of it, as it does for device memory, rather than Rust's rules, which have no name for
//! such copies.

mod access;
mod buffer;
mod control;
mod entry;
mod error;
mod guest;
mod host;
mod limits;
mod slice;
mod table;

/// What the model checker replaces.
mod atomic {
    pub(super) use core::sync::atomic::{AtomicUsize, Ordering};
}

pub use buffer::{
    ReadOnlyProcessBuffer, ReadOnlyProcessBufferRef, ReadWriteProcessBuffer, ReadWriteProcessBufferRef,
    ReadableProcessBuffer, WriteableProcessBuffer,
};
pub use control::GuestId;
pub use error::{Error, Result};
pub use guest::Guest;
pub use host::Host;
pub use limits::GuestLimits;
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub use slice::ProcessCursor;
pub use slice::{
    Bytes, Chunks, Endian, Iter, ProcessSlice, ProcessSliceIndex, ReadableProcessByte, ReadableProcessSlice,
    WriteableProcessByte, WriteableProcessSlice,
};
