//! Operations of process slices, as bytes tell, on a guest's memory and on a `Vec<u8>`: for the property test and for the fuzzer.

use folio::Pages;
use folio::process::{
    Error, Guest, Host, ReadableProcessBuffer, WriteableProcessBuffer, WriteableProcessSlice,
};
use std::cmp::Ordering;
use std::io::{Read, Seek, SeekFrom, Write};

/// Bytes of the input, one after the other; zeroes when there are none left.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    /// Mostly within the memory, seldom beyond, very seldom far beyond.
    fn number(&mut self, len: usize) -> usize {
        let (low, high) = (usize::from(self.byte()), usize::from(self.byte()));
        match high {
            255 => usize::MAX - low,
            254 => len.wrapping_add(low).wrapping_sub(8),
            high => (high << 8 | low) % (len + 2),
        }
    }

    fn some(&mut self, most: usize) -> Vec<u8> {
        let len = usize::from(self.byte()) * 9 % (most + 1);
        let seed = self.byte();
        (0..len).map(|at| (at as u8).wrapping_mul(7) ^ seed).collect()
    }
}

/// More than what is copied at once where two sides overlap, and no multiple of it.
const LEN: usize = 2 * 1024 + 77;

/// Runs what the bytes tell, and compares all along.
pub(crate) fn run(input: &[u8]) {
    let mut input = Input(input);
    let guest = Host::new().guest(Pages::new(LEN).unwrap()).unwrap();
    let mut model = vec![0_u8; LEN];
    let _before = guest.allow_read_write(0, 0..LEN).unwrap();
    while !input.0.is_empty() {
        let (start, end) = (input.number(LEN), input.number(LEN));
        let op = input.byte();
        allow(&guest, &model, start, end);
        guest.read_write(0).mut_enter(|all| part(&mut input, op, all, &mut model, start, end)).unwrap();
        let now = guest.read_write(0).enter(|all| all.to_vec()).unwrap();
        assert!(now == model, "after operation {op}");
    }
}

/// What may be allowed, and what it then holds.
fn allow(guest: &Guest, model: &[u8], start: usize, end: usize) {
    let whole = guest.len();
    match guest.allow_read_only(0, start..end) {
        Ok(_before) => {
            let buffer = guest.read_only(0);
            assert!(start == end || start < end && end <= whole);
            assert_eq!(buffer.len(), end - start);
            assert_eq!(buffer.ptr().is_null(), start == end);
            if end <= LEN {
                assert!(buffer.enter(|slice| slice.equals(&model[start..end])).unwrap());
            }
        }
        Err(error) => {
            assert_eq!(error, Error::AddressOutOfBounds);
            assert!(start > end || end > whole);
        }
    }
}

/// One operation on a part of the memory, if there is such a part.
fn part(
    input: &mut Input<'_>,
    op: u8,
    all: &WriteableProcessSlice,
    model: &mut [u8],
    start: usize,
    end: usize,
) {
    let (Some(slice), Some(part)) = (all.get(start..end), model.get_mut(start..end)) else {
        assert!(all.get(start..end).is_none() && model.get(start..end).is_none());
        return;
    };
    assert_eq!(slice.len(), part.len());
    let len = part.len();
    match op % 16 {
        0 => {
            let value = input.byte();
            slice.fill(value);
            part.fill(value);
        }
        1 => {
            let from = input.some(2 * LEN);
            let done = slice.copy_from_slice_or_err(&from);
            assert_eq!(done.is_ok(), from.len() == len);
            if let Some(room) = part.get_mut(..from.len()) {
                slice[..from.len()].copy_from_slice(&from);
                room.copy_from_slice(&from);
            }
        }
        2 => {
            let mut copy = vec![0xEE; len];
            slice.copy_to_slice(&mut copy);
            assert!(copy == *part);
            assert_eq!(slice.copy_to_slice_or_err(&mut copy), Ok(()));
            copy.push(0);
            assert_eq!(slice.copy_to_slice_or_err(&mut copy), Err(Error::SizeMismatch));
        }
        3 => {
            let (from, to, count) = (input.number(len), input.number(len), input.number(len));
            let fits = |at: usize| at.checked_add(count).is_some_and(|end| end <= len);
            if fits(from) && fits(to) {
                slice.copy_within(from..from + count, to);
                part.copy_within(from..from + count, to);
            }
        }
        4 => {
            let at = input.number(len);
            let value = input.byte();
            assert_eq!(slice.get(at).map(|byte| byte.get()), part.get(at).copied());
            if let (Some(byte), Some(model)) = (slice.get(at), part.get_mut(at)) {
                byte.set(value);
                *model = value;
            }
        }
        5 => values::<u16>(input, slice, part),
        6 => values::<u32>(input, slice, part),
        7 => values::<u64>(input, slice, part),
        8 => values::<[u8; 13]>(input, slice, part),
        9 => word(input, slice, part),
        10 => {
            let with = input.some(2 * LEN);
            assert_eq!(slice.compare(&with), (*part).cmp(&with));
            let mut same = part.to_vec();
            assert_eq!((slice.compare(&same), slice.equals(&same)), (Ordering::Equal, true));
            if let Some(byte) = same.last_mut() {
                *byte ^= 1;
                assert_eq!((slice.compare(&same), slice.equals(&same)), ((*part).cmp(&same), false));
            }
        }
        11 => {
            let byte = input.byte();
            assert_eq!(slice.find(byte), part.iter().position(|&seen| seen == byte));
        }
        12 => {
            let size = input.number(len).max(1);
            let (ours, theirs) = (slice.chunks(size), part.chunks(size));
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.zip(theirs).all(|(ours, theirs)| ours.equals(theirs)));
            let (ours, theirs) = (slice.chunks(size).rev(), part.chunks(size).rev());
            assert!(ours.map(|piece| piece.to_vec()).eq(theirs));
        }
        13 => {
            assert!(slice.bytes().eq(part.iter().copied()));
            assert!(slice.iter().rev().map(|byte| byte.get()).eq(part.iter().rev().copied()));
        }
        14 => cursor(input, slice, part),
        _ => {
            let at = input.number(len);
            match (slice.split_at_checked(at), part.split_at_checked(at)) {
                (Some((low, high)), Some((first, second))) => {
                    assert!(low.equals(first) && high.equals(second));
                    if low.len() == high.len() {
                        low.copy_from(high);
                        part.copy_within(at.., 0);
                    }
                }
                (ours, theirs) => assert!(ours.is_none() && theirs.is_none()),
            }
        }
    }
}

/// A value of some size, at any place.
trait Value: folio::fault::Plain + PartialEq + std::fmt::Debug {
    fn of(bytes: &[u8]) -> Option<Self>;
    fn to(self) -> Vec<u8>;
}

macro_rules! value {
    ($($type:ty)*) => {$(
        impl Value for $type {
            fn of(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_ne_bytes(bytes.try_into().ok()?))
            }

            fn to(self) -> Vec<u8> {
                self.to_ne_bytes().to_vec()
            }
        }
    )*};
}

value! { u16 u32 u64 }

impl Value for [u8; 13] {
    fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }

    fn to(self) -> Vec<u8> {
        self.to_vec()
    }
}

fn values<T: Value>(input: &mut Input<'_>, slice: &WriteableProcessSlice, part: &mut [u8]) {
    let at = input.number(part.len());
    let room = at.checked_add(size_of::<T>()).and_then(|end| part.get_mut(at..end));
    let Some(room) = room else {
        assert_eq!(slice.read::<T>(at), Err(Error::AddressOutOfBounds));
        return;
    };
    let value = T::of(room).unwrap();
    assert_eq!(slice.read::<T>(at), Ok(value));
    let new: Vec<u8> = value.to().iter().map(|byte| byte ^ input.byte()).collect();
    assert_eq!(slice.write(at, T::of(&new).unwrap()), Ok(()));
    room.copy_from_slice(&new);
}

fn word(input: &mut Input<'_>, slice: &WriteableProcessSlice, part: &mut [u8]) {
    let at = input.number(part.len());
    let (what, value) = (input.byte(), u32::from(input.byte()).wrapping_mul(0x0101_0101));
    let room = at.checked_add(4).and_then(|end| part.get_mut(at..end));
    let Some(room) = room else {
        assert_eq!(slice.load::<u32>(at), Err(Error::AddressOutOfBounds));
        return;
    };
    if (slice.as_ptr().addr() + at) % 4 != 0 {
        assert_eq!(slice.load::<u32>(at), Err(Error::Misaligned));
        assert_eq!(slice.fetch_add(at, value), Err(Error::Misaligned));
        return;
    }
    let old = u32::of(room).unwrap();
    assert_eq!(slice.load::<u32>(at), Ok(old));
    let (given, new) = match what % 8 {
        0 => (slice.swap(at, value), value),
        1 => (slice.fetch_add(at, value), old.wrapping_add(value)),
        2 => (slice.fetch_sub(at, value), old.wrapping_sub(value)),
        3 => (slice.fetch_and(at, value), old & value),
        4 => (slice.fetch_or(at, value), old | value),
        5 => (slice.fetch_xor(at, value), old ^ value),
        6 => (slice.compare_exchange(at, old, value).map(Result::unwrap), value),
        _ => (slice.compare_exchange(at, !old, value).map(Result::unwrap_err), old),
    };
    assert_eq!(given, Ok(old));
    room.copy_from_slice(&new.to_ne_bytes());
}

fn cursor(input: &mut Input<'_>, slice: &WriteableProcessSlice, part: &mut [u8]) {
    let (at, data) = (input.number(part.len()) as u64, input.some(LEN));
    let mut ours = slice.cursor();
    let mut theirs = std::io::Cursor::new(part);
    for to in
        [SeekFrom::Start(at), SeekFrom::Current(-1), SeekFrom::End(0), SeekFrom::End(-3), SeekFrom::Start(at)]
    {
        assert_eq!(ours.seek(to).ok(), theirs.seek(to).ok());
        assert_eq!(ours.position(), theirs.position());
    }
    assert_eq!(ours.write(&data).unwrap(), theirs.write(&data).unwrap());
    assert_eq!(ours.position(), theirs.position());
    ours.set_position(at / 2);
    theirs.set_position(at / 2);
    let (mut one, mut other) = (vec![1; data.len()], vec![1; data.len()]);
    assert_eq!(ours.read(&mut one).unwrap(), theirs.read(&mut other).unwrap());
    assert!(one == other);
}
