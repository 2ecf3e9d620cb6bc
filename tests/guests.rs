//! Process buffers and guests: the rules, by name.

mod common;

use common::guests::{guest, nobody_gets_in};
use folio::process::{
    Error, Guest, GuestLimits, Host, ReadOnlyProcessBuffer, ReadOnlyProcessBufferRef, ReadWriteProcessBuffer,
    ReadWriteProcessBufferRef, ReadableProcessBuffer, ReadableProcessSlice, WriteableProcessBuffer,
    WriteableProcessSlice,
};
use folio::{ErrorKind, Operation, Pages, page};
use std::cell::Cell;
use std::ops::Bound;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A buffer of the guest's whole memory to be read, as one that was allowed.
fn read_only(guest: &Guest) -> ReadOnlyProcessBuffer {
    let _before = guest.allow_read_only(0, ..).unwrap();
    guest.allow_read_only(0, ..).unwrap()
}

/// Rule: a default buffer has length 0, a null pointer, and answers `NoSuchApp` without running the closure.
#[test]
fn a_default_buffer_is_nobodys() {
    static READ: ReadOnlyProcessBuffer = ReadOnlyProcessBuffer::const_default();
    static WRITE: ReadWriteProcessBuffer = ReadWriteProcessBuffer::const_default();
    fn check(buffer: &impl ReadableProcessBuffer) {
        let ran = Cell::new(false);
        assert_eq!(buffer.enter(|_| ran.set(true)), Err(Error::NoSuchApp));
        assert!(!ran.get());
        assert!(buffer.len() == 0 && buffer.is_empty() && buffer.ptr().is_null());
    }
    check(&READ);
    check(&WRITE);
    check(&ReadOnlyProcessBuffer::default());
    check(&ReadOnlyProcessBufferRef::default());
    for buffer in [&WRITE, &ReadWriteProcessBuffer::default()] {
        nobody_gets_in(buffer);
        assert!(buffer.mut_ptr().is_null() && buffer.guest().is_none());
    }
    nobody_gets_in(&ReadWriteProcessBufferRef::default());
    assert!(ReadWriteProcessBufferRef::default().mut_ptr().is_null());
    let (start, len) = ReadWriteProcessBuffer::default().consume();
    assert!(start.is_null() && len == 0);
    assert!(format!("{READ:?} {WRITE:?}").contains("of no process"));

    // What was never allowed is the same.
    let guest = guest(100);
    check(&guest.read_only(5));
    nobody_gets_in(&guest.read_write(5));
    check(&guest.read_only(usize::MAX));
    check(&guest.allow_read_only(5, 0..1).unwrap());
}

/// Rule: of a process that has ended, the length is 0, and `enter` and `mut_enter` answer `NoSuchApp` without running the closure.
#[test]
fn a_dead_process_lets_nobody_in() {
    let guest = guest(100);
    let _before = guest.allow_read_write(0, 10..20).unwrap();
    let lent = guest.read_write(0);
    let kept = guest.allow_read_write(0, 30..50).unwrap();
    let (memory, read) = (guest.memory(), read_only(&guest));
    assert_eq!((lent.len(), kept.len(), memory.len(), read.len()), (10, 10, guest.len(), guest.len()));
    assert!(guest.is_alive());
    guest.terminate();
    assert!(!guest.is_alive());
    for buffer in [&*lent, &kept, &memory, &guest.read_write(0)] {
        nobody_gets_in(buffer);
    }
    assert_eq!((read.len(), read.enter(|_| ())), (0, Err(Error::NoSuchApp)));
    assert_eq!(guest.allow_read_only(0, 0..1).unwrap_err(), Error::NoSuchApp);
    assert_eq!(guest.allow_read_write(0, 0..0).unwrap_err(), Error::NoSuchApp);
    guest.terminate();
    // By its guest's end, too.
    let other = guest_and_buffer();
    nobody_gets_in(&other);
}

fn guest_and_buffer() -> ReadWriteProcessBuffer {
    let guest = guest(1);
    guest.memory()
}

/// Rule: a range whose length was 0 has a null pointer, whatever the process gave; it is entered with an empty slice while the process
/// lives.
#[test]
fn a_range_of_nothing_is_entered_and_has_no_address() {
    let guest = guest(100);
    let len = guest.len();
    let mut kept = Vec::new();
    for range in [0..0, 50..50, len..len, len + 1..len + 1, 0xdead_beef..0xdead_beef, usize::MAX..usize::MAX]
    {
        let _before = guest.allow_read_only(0, range.clone()).unwrap();
        let read = guest.read_only(0);
        assert!(read.ptr().is_null() && read.len() == 0, "{range:?}");
        assert_eq!(read.enter(|slice| (slice.len(), slice.as_ptr().addr() == range.start)), Ok((0, false)));
        let _before = guest.allow_read_write(0, range.clone()).unwrap();
        let write = guest.read_write(0);
        assert!(write.ptr().is_null() && write.mut_ptr().is_null());
        assert_eq!(write.mut_enter(|slice| slice.len()), Ok(0));
        kept.push(guest.allow_read_write(0, range).unwrap());
    }
    assert!(kept.iter().all(|buffer| buffer.guest() == Some(guest.id()) && buffer.enter(|_| ()).is_ok()));
    guest.terminate();
    for buffer in kept {
        nobody_gets_in(&buffer);
        assert!(buffer.mut_ptr().is_null());
        let (start, len) = buffer.consume();
        assert!(start.is_null() && len == 0);
    }
}

/// Rule: `mut_ptr` is `ptr` made mutable, and both describe the same memory of the same length, as the slices do.
#[test]
fn pointers_and_slices_are_of_the_same_memory() {
    let guest = guest(1000);
    let _before = guest.allow_read_write(0, 100..200).unwrap();
    let buffer = guest.read_write(0);
    assert_eq!(buffer.mut_ptr().cast_const(), buffer.ptr());
    assert_eq!(buffer.ptr().addr(), guest.as_mut_ptr().addr() + 100);
    buffer
        .mut_enter(|slice| {
            assert_eq!(
                (slice.as_ptr(), slice.as_mut_ptr(), slice.len()),
                (buffer.ptr(), buffer.mut_ptr(), 100)
            );
            // SAFETY: inside, the memory is there; nobody else is at it.
            unsafe { buffer.mut_ptr().wrapping_add(99).write_volatile(7) };
            assert_eq!(slice[99].get(), 7);
            slice[98].set(8);
            // SAFETY: as above.
            assert_eq!(unsafe { buffer.ptr().wrapping_add(98).read_volatile() }, 8);
        })
        .unwrap();
    buffer.enter(|slice| assert_eq!((slice.as_ptr(), slice.len()), (buffer.ptr(), 100))).unwrap();
    assert_eq!(guest.memory().enter(|memory| memory[198..201].to_vec()), Ok(vec![8, 7, 0]));
    let pointer = buffer.mut_ptr();
    assert_eq!(guest.allow_read_write(0, ..).unwrap().consume(), (pointer, 100));
}

/// The traits, for a kind of process of somebody else's, whose `mut_ptr` is the provided one.
#[test]
fn an_embedder_has_processes_of_its_own_kind() {
    struct Own {
        memory: std::cell::UnsafeCell<[u8; 16]>,
        alive: Cell<bool>,
    }
    // SAFETY: the array is there as long as the value is, can be read, and is reached by slices alone.
    unsafe impl ReadableProcessBuffer for Own {
        fn len(&self) -> usize {
            if self.alive.get() { 16 } else { 0 }
        }
        fn ptr(&self) -> *const u8 {
            self.memory.get().cast()
        }
        fn enter<F, R>(&self, fun: F) -> Result<R, Error>
        where
            F: FnOnce(&ReadableProcessSlice) -> R,
        {
            self.mut_enter(|slice| fun(slice))
        }
    }
    // SAFETY: a cell can be written to; `ptr` was a pointer for that.
    unsafe impl WriteableProcessBuffer for Own {
        fn mut_enter<F, R>(&self, fun: F) -> Result<R, Error>
        where
            F: FnOnce(&WriteableProcessSlice) -> R,
        {
            if !self.alive.get() {
                return Err(Error::NoSuchApp);
            }
            // SAFETY: as above; the value is borrowed.
            Ok(fun(unsafe { WriteableProcessSlice::from_raw_parts(self.mut_ptr(), 16) }))
        }
    }
    let own = Own { memory: [3; 16].into(), alive: Cell::new(true) };
    assert_eq!(own.mut_ptr().cast_const(), own.ptr());
    own.mut_enter(|slice| slice[2..4].copy_from_slice(&[1, 2])).unwrap();
    assert_eq!(own.enter(|slice| slice.read_be(2)), Ok(Ok(0x0102_u16)));
    own.alive.set(false);
    nobody_gets_in(&own);
}

#[test]
fn any_thread_may_have_them() {
    fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    all::<Host>();
    all::<Guest>();
    all::<ReadOnlyProcessBuffer>();
    all::<ReadWriteProcessBuffer>();
    all::<ReadOnlyProcessBufferRef<'_>>();
    all::<ReadWriteProcessBufferRef<'_>>();
    all::<Error>();
}

/// Rule: what is allowed lies in the guest's memory.
///
/// Trap: sizes near the end of the address space wrap round.
#[test]
fn what_is_not_the_guests_is_not_allowed() {
    let guest = guest(1);
    let len = guest.len();
    let (_, _) = (guest.allow_read_only(0, 0..7).unwrap(), guest.allow_read_write(0, 0..7).unwrap());
    let refused: [(Bound<usize>, Bound<usize>); 13] = [
        (Bound::Included(0), Bound::Excluded(len + 1)),
        (Bound::Included(0), Bound::Included(len)),
        (Bound::Included(len), Bound::Included(len)),
        (Bound::Included(len), Bound::Excluded(len + 1)),
        (Bound::Included(len - 1), Bound::Excluded(usize::MAX)),
        (Bound::Included(0), Bound::Included(usize::MAX)),
        (Bound::Included(5), Bound::Included(usize::MAX)),
        (Bound::Included(usize::MAX), Bound::Included(usize::MAX)),
        (Bound::Excluded(usize::MAX), Bound::Excluded(usize::MAX)),
        (Bound::Included(len + 1), Bound::Unbounded),
        (Bound::Included(usize::MAX), Bound::Unbounded),
        (Bound::Included(usize::MAX - 1), Bound::Excluded(usize::MAX)),
        (Bound::Included(4), Bound::Excluded(3)),
    ];
    for range in refused {
        assert_eq!(guest.allow_read_only(0, range).unwrap_err(), Error::AddressOutOfBounds, "{range:?}");
        assert_eq!(guest.allow_read_write(0, range).unwrap_err(), Error::AddressOutOfBounds, "{range:?}");
        // What was allowed is still allowed.
        assert_eq!((guest.read_only(0).len(), guest.read_write(0).len()), (7, 7));
    }
    let last = guest
        .allow_read_only(0, len - 1..=len - 1)
        .and_then(|_| guest.allow_read_only(0, ..=len - 1))
        .unwrap();
    assert_eq!((last.len(), last.ptr().addr()), (1, guest.as_mut_ptr().addr() + len - 1));
    assert_eq!(guest.read_only(0).len(), len);
}

/// Rule: overlapping ranges are fine, under any numbers, and each allow gives what was allowed before under its number.
#[test]
fn each_number_gives_what_was_allowed_before() {
    let guest = guest(100);
    let base = guest.as_mut_ptr().addr();
    let mut before = (0, 0);
    for (start, end) in [(0, 10), (5, 15), (5, 15), (0, 100), (99, 100)] {
        let was = guest.allow_read_only(1, start..end).unwrap();
        assert_eq!((was.ptr().addr(), was.len()), before);
        before = (base + start, end - start);
        let now = guest.read_only(1);
        assert_eq!((now.ptr().addr(), now.len()), before);
        assert_eq!(guest.read_only(2).len(), 0);
        assert_eq!(guest.read_write(1).len(), 0, "the two kinds have numbers of their own");
    }
    let _before = (guest.allow_read_write(1, 90..100).unwrap(), guest.allow_read_write(2, 95..100).unwrap());
    let (one, two, read) = (guest.read_write(1), guest.read_write(2), guest.read_only(1));
    one.mut_enter(|one| {
        two.mut_enter(|two| {
            read.enter(|read| {
                one[9].set(1);
                assert_eq!((two[4].get(), read[0].get()), (1, 1));
                two[4].set(2);
                assert_eq!((one[9].get(), read[0].get()), (2, 2));
            })
        })
    })
    .unwrap()
    .unwrap()
    .unwrap();
}

/// Rule: limits for each guest, and of guests.
#[test]
fn limits_hold() {
    let limits = GuestLimits::new().numbers(2).memory(3 * page::size()).guests(2);
    let host = Host::with_limits(limits);
    assert_eq!((host.limits(), Host::default().limits()), (limits, GuestLimits::default()));
    let pages = |count: usize| Pages::new(count * page::size()).unwrap();
    let (back, error) = host.guest(pages(4)).unwrap_err();
    assert_eq!((back.len(), error, host.guests()), (4 * page::size(), Error::LimitExceeded, 0));
    let mut one = host.guest(pages(3)).unwrap();
    let two = host.guest(pages(1)).unwrap();
    assert_eq!(host.guest(pages(1)).unwrap_err().1, Error::LimitExceeded);
    for guest in [&one, &two] {
        for number in [2, 3, usize::MAX / 2, usize::MAX] {
            assert_eq!(guest.allow_read_only(number, 0..1).unwrap_err(), Error::LimitExceeded);
            assert_eq!(guest.allow_read_write(number, 0..1).unwrap_err(), Error::LimitExceeded);
        }
        assert!(guest.allow_read_only(1, 0..1).is_ok() && guest.allow_read_write(1, 0..1).is_ok());
    }
    // One that begins anew is no other guest.
    assert_eq!(one.restart(pages(4)).unwrap_err().1, Error::LimitExceeded);
    assert!(one.is_alive() && one.read_only(1).len() == 1);
    one.restart(pages(3)).unwrap();
    assert_eq!((host.guests(), one.read_only(1).len()), (2, 0));
    // One counts until its memory is given back.
    let memory = two.memory();
    memory
        .enter(|_| {
            drop(two);
            assert_eq!((host.guests(), host.guest(pages(1)).unwrap_err().1), (2, Error::LimitExceeded));
        })
        .unwrap();
    assert_eq!(host.guests(), 1);
    let two = host.guest(pages(1)).unwrap();
    // A life in which somebody still is counts beside the next one.
    let former = one.memory();
    former
        .enter(|_| {
            one.restart(pages(1)).unwrap();
            assert_eq!(host.guests(), 3);
            assert_eq!(one.restart(pages(1)).unwrap_err().1, Error::LimitExceeded);
            assert!(one.is_alive());
        })
        .unwrap();
    assert_eq!(host.guests(), 2);
    drop((one, two));
    assert_eq!(host.guests(), 0);
    let host = Host::with_limits(GuestLimits::new().numbers(usize::MAX));
    assert_eq!(host.guest(pages(1)).unwrap_err().1, Error::OutOfMemory);
    let host = Host::with_limits(GuestLimits::new().numbers(0));
    assert_eq!(host.guest(pages(1)).unwrap().allow_read_only(0, 0..0).unwrap_err(), Error::LimitExceeded);
}

/// Rule: limits of guests. One that has ended, and whose memory is given back, begins anew where there is room for one.
#[test]
fn one_that_has_ended_needs_room_to_begin_anew() {
    let host = Host::with_limits(GuestLimits::new().guests(1));
    let pages = || Pages::new(1).unwrap();
    let mut one = host.guest(pages()).unwrap();
    one.terminate();
    let mut other = host.guest(pages()).unwrap();
    assert_eq!(one.restart(pages()).unwrap_err().1, Error::LimitExceeded);
    assert_eq!((host.guests(), one.is_alive()), (1, false));
    other.restart(pages()).unwrap();
    drop(other);
    one.restart(pages()).unwrap();
    assert_eq!((host.guests(), one.is_alive()), (1, true));
    // Ended, and somebody is still inside: it counts, and is passed over.
    let memory = one.memory();
    memory
        .enter(|_| {
            one.terminate();
            one.restart(pages()).unwrap();
            assert_eq!((host.guests(), one.is_alive()), (2, true));
        })
        .unwrap();
    assert_eq!(host.guests(), 1);
}

#[test]
fn errors_say_what_and_become_those_of_the_crate() {
    let all = [
        (Error::NoSuchApp, ErrorKind::ProcessEnded, std::io::ErrorKind::NotFound),
        (Error::AddressOutOfBounds, ErrorKind::InvalidInput, std::io::ErrorKind::InvalidInput),
        (Error::SizeMismatch, ErrorKind::InvalidInput, std::io::ErrorKind::InvalidInput),
        (Error::Misaligned, ErrorKind::InvalidInput, std::io::ErrorKind::InvalidInput),
        (Error::MemoryGone, ErrorKind::Fault, std::io::ErrorKind::Other),
        (Error::LimitExceeded, ErrorKind::Exhausted, std::io::ErrorKind::Other),
        (Error::OutOfMemory, ErrorKind::Exhausted, std::io::ErrorKind::OutOfMemory),
    ];
    for (error, kind, io_kind) in all {
        let text = error.to_string();
        assert!(!text.is_empty());
        let wide = folio::Error::from(error);
        assert_eq!((wide.kind(), wide.operation()), (kind, Operation::Enter));
        assert!(wide.to_string().contains(&text), "{wide}");
        let io = std::io::Error::from(error);
        assert_eq!((io.kind(), io.to_string()), (io_kind, text));
        assert_eq!(folio::Error::from(((), error)).kind(), kind);
        assert_eq!(Error::from(((), error)), error);
    }
}
