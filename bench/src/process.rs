//! The share wing: process buffers and slices, beside what nobody else writes to.

use crate::measure::{Bench, Contender};
use folio::Pages;
use folio::process::{Guest, Host, ReadableProcessBuffer, ReadableProcessSlice, WriteableProcessBuffer};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use vm_memory::VolatileSlice;

pub(crate) fn run(bench: &mut Bench) {
    enter(bench, false);
    enter(bench, true);
    for (len, aim) in [(64, 1.4), (4096, 1.05), (1 << 20, 1.02)] {
        copy(bench, len, aim);
    }
    packet(bench);
}

fn guest(len: usize) -> Guest {
    let guest = Host::new().guest(Pages::new(len).unwrap()).unwrap();
    let _before = guest.allow_read_only(0, ..len).unwrap();
    guest
}

/// What cannot be done without: a word that says who is inside, changed twice.
fn enter(bench: &mut Bench, contended: bool) {
    let (live, dead) = (guest(4096), guest(4096));
    let buffer = live.read_only(0);
    let dead_buffer = dead.read_only(0);
    dead.terminate();
    let word = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let name =
        if contended { "enter a live buffer, another thread does, too" } else { "enter a live buffer" };
    if !bench.wants(name) {
        return;
    }
    let change = |word: &AtomicUsize| {
        black_box(word).fetch_add(4, Ordering::Acquire);
        black_box(word).fetch_sub(4, Ordering::Release)
    };
    std::thread::scope(|scope| {
        if contended {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    change(&word);
                    buffer.enter(|slice| slice.len()).unwrap();
                }
            });
        }
        let bare = Contender::new("limit: two atomic read-modify-writes", || change(&word));
        let mut rows = vec![bare];
        let inside = || black_box(&*buffer).enter(|slice| slice.len()).unwrap();
        let outside = || black_box(&*dead_buffer).enter(|slice| slice.len()).unwrap_err();
        if contended {
            rows.push(Contender::new("folio::ReadOnlyProcessBuffer::enter", inside));
        } else {
            rows.push(Contender::aiming("folio::ReadOnlyProcessBuffer::enter", 1.5, inside));
            rows.push(Contender::aiming("folio::ReadOnlyProcessBuffer::enter, dead", 1.5, outside));
        }
        bench.group(name.into(), rows);
        over.store(true, Ordering::Relaxed);
    });
}

fn size(len: usize) -> String {
    match len {
        len if len >= 1 << 20 => format!("{} MiB", len >> 20),
        len if len >= 1 << 10 => format!("{} KiB", len >> 10),
        len => format!("{len} B"),
    }
}

fn copy(bench: &mut Bench, len: usize, aim: f64) {
    let guest = guest(len);
    let memory = guest.memory();
    let mut own = Pages::new(len).unwrap();
    own.fill(1);
    let place = own.as_mut_ptr();
    let own = || {
        // SAFETY: pages of this function, used by one contender at a time.
        unsafe { std::slice::from_raw_parts_mut(black_box(place), len) }
    };
    memory
        .mut_enter(|slice| {
            let slice = &slice[..len];
            let theirs = slice.as_mut_ptr();
            // SAFETY: the guest's memory, in which we are, and which this thread alone touches.
            let volatile = unsafe { VolatileSlice::new(theirs, len) };
            // SAFETY: as above: cells, of which several references may be had in one thread.
            let cells = unsafe { std::slice::from_raw_parts(theirs.cast::<Cell<u8>>(), len) };

            let bare = Contender::new("limit: memcpy", || {
                // SAFETY: both are `len` bytes, and apart.
                unsafe {
                    std::ptr::copy_nonoverlapping(black_box(theirs), own().as_mut_ptr(), black_box(len))
                };
            });
            let ours = Contender::aiming("folio::ReadableProcessSlice::copy_to_slice", aim, || {
                black_box(slice).copy_to_slice(own());
            });
            let machine =
                Contender::new("vm_memory::VolatileSlice::copy_to", || black_box(&volatile).copy_to(own()));
            let loop_ = Contender::new("a loop over Cell<u8>", || {
                own().iter_mut().zip(black_box(cells)).for_each(|(to, from)| *to = from.get());
            });
            bench.group(
                format!("copy {} out of a process slice", size(len)),
                vec![bare, ours, machine, loop_],
            );

            let bare = Contender::new("limit: memcpy", || {
                // SAFETY: both are `len` bytes, and apart.
                unsafe { std::ptr::copy_nonoverlapping(own().as_ptr(), black_box(theirs), black_box(len)) };
            });
            let ours = Contender::aiming("folio::WriteableProcessSlice::copy_from_slice", aim, || {
                black_box(slice).copy_from_slice(own());
            });
            let machine = Contender::new("vm_memory::VolatileSlice::copy_from", || {
                black_box(&volatile).copy_from(own())
            });
            let loop_ = Contender::new("a loop over Cell<u8>", || {
                own().iter().zip(black_box(cells)).for_each(|(from, to)| to.set(*from));
            });
            bench.group(format!("copy {} into a process slice", size(len)), vec![bare, ours, machine, loop_]);
        })
        .unwrap();
}

/// What a program wants of a packet (Ethernet, IPv4, TCP), by fields that are read one by one.
macro_rules! parse {
    ($read:ident, $packet:expr) => {{
        let packet = $packet;
        let kind: u16 = $read(packet, 12)?;
        if kind != 0x0800 {
            return None;
        }
        let first: u8 = $read(packet, 14)?;
        let header = usize::from(first & 15) * 4;
        let total: u16 = $read(packet, 16)?;
        let (ttl, protocol): (u8, u8) = ($read(packet, 22)?, $read(packet, 23)?);
        let (from, to): (u32, u32) = ($read(packet, 26)?, $read(packet, 30)?);
        let tcp = 14 + header;
        let (source, target): (u16, u16) = ($read(packet, tcp)?, $read(packet, tcp + 2)?);
        let (sequence, window): (u32, u16) = ($read(packet, tcp + 4)?, $read(packet, tcp + 14)?);
        let sum = u64::from(from) + u64::from(to) + u64::from(sequence) + u64::from(window);
        Some(
            sum + u64::from(source)
                + u64::from(target)
                + u64::from(total)
                + u64::from(ttl)
                + u64::from(protocol),
        )
    }};
}

trait Field: folio::process::Endian {
    fn of(bytes: &[u8]) -> Option<Self>;
}

macro_rules! field {
    ($($type:ident)*) => {$(
        impl Field for $type {
            fn of(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

field! { u8 u16 u32 }

fn of_bytes<T: Field>(packet: &[u8], offset: usize) -> Option<T> {
    T::of(packet.get(offset..)?.get(..size_of::<T>())?)
}

fn of_slice<T: Field>(packet: &ReadableProcessSlice, offset: usize) -> Option<T> {
    packet.read_be(offset).ok()
}

fn parse_bytes(packet: &[u8]) -> Option<u64> {
    parse!(of_bytes, packet)
}

fn parse_slice(packet: &ReadableProcessSlice) -> Option<u64> {
    parse!(of_slice, packet)
}

fn packet(bench: &mut Bench) {
    let mut packet = vec![0x5A_u8; 1500];
    packet[12..15].copy_from_slice(&[8, 0, 0x45]);
    let guest = guest(1500);
    let memory = guest.memory();
    memory
        .mut_enter(|slice| {
            let slice = &slice[..1500];
            slice.copy_from_slice(&packet);
            assert_eq!(parse_slice(slice), parse_bytes(&packet));
            let bare = Contender::new("limit: bytes of our own", || parse_bytes(black_box(&packet)).unwrap());
            let ours = Contender::new("folio::ReadableProcessSlice::read", || {
                parse_slice(black_box(slice)).unwrap()
            });
            let copied = Contender::new("folio: a copy of the headers, parsed", || {
                let mut copy = [0; 64];
                black_box(slice)[..64].copy_to_slice(&mut copy);
                parse_bytes(&copy).unwrap()
            });
            bench.group("parse a packet of 1,500 bytes".into(), vec![bare, ours, copied]);
        })
        .unwrap();
}
