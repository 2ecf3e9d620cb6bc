//! Process slices: what they have of slices, and what slices cannot have.

use folio::Pages;
use folio::process::{
    Error, Host, ProcessSliceIndex, ReadableProcessByte, ReadableProcessSlice, WriteableProcessBuffer,
    WriteableProcessByte, WriteableProcessSlice,
};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::slice::SliceIndex;

/// Lets a test have a slice of so many bytes, which hold 0, 1, 2 …
fn with_bytes<R>(len: usize, test: impl FnOnce(&WriteableProcessSlice) -> R) -> R {
    let mut pages = Pages::new(len.max(1)).unwrap();
    pages.iter_mut().zip(0_u8..=255).for_each(|(byte, value)| *byte = value);
    let guest = Host::new().guest(pages).unwrap();
    let _before = guest.allow_read_write(0, 0..len).unwrap();
    guest.read_write(0).mut_enter(test).unwrap()
}

/// A reference to a slice covers no memory, whatever its length.
#[test]
fn a_slice_covers_no_memory() {
    assert_eq!((size_of::<ReadableProcessByte>(), align_of::<ReadableProcessByte>()), (0, 1));
    assert_eq!((size_of::<WriteableProcessByte>(), align_of::<WriteableProcessByte>()), (0, 1));
    with_bytes(100, |slice| {
        assert_eq!((size_of_val(slice), size_of_val(slice.as_readable())), (0, 0));
        assert_eq!(std::ptr::from_ref(&slice[7]).addr(), slice.as_ptr().addr() + 7);
        assert_eq!(slice[10..].as_ptr().addr(), slice.as_mut_ptr().addr() + 10);
    });
}

#[test]
fn any_thread_may_have_one() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    all::<&ReadableProcessSlice>();
    all::<&WriteableProcessSlice>();
    all::<&ReadableProcessByte>();
    all::<&WriteableProcessByte>();
    all::<folio::process::Iter<'_, WriteableProcessSlice>>();
    all::<folio::process::Chunks<'_, ReadableProcessSlice>>();
    all::<folio::process::Bytes<'_>>();
    all::<folio::process::ProcessCursor<'_, WriteableProcessSlice>>();
}

/// Each kind of range gives what it gives of a slice, or panics where it does.
#[test]
fn parts_are_those_of_slices() {
    fn check<I>(index: I, slice: &WriteableProcessSlice, model: &[u8])
    where
        I: SliceIndex<[u8], Output = [u8]>
            + ProcessSliceIndex<WriteableProcessSlice, Output = WriteableProcessSlice>
            + ProcessSliceIndex<ReadableProcessSlice, Output = ReadableProcessSlice>
            + RangeBounds<usize>
            + Clone
            + RefUnwindSafe
            + std::fmt::Debug,
    {
        let expected = model.get(index.clone());
        let part = slice.get(index.clone());
        assert_eq!(part.map(|part| part.to_vec()).as_deref(), expected, "{index:?}");
        let read = slice.as_readable().get(index.clone());
        assert_eq!(read.map(ReadableProcessSlice::to_vec).as_deref(), expected, "{index:?}");
        if let (Some(part), Some(expected)) = (part, expected) {
            let distance = expected.as_ptr().addr() - model.as_ptr().addr();
            assert!(part.is_empty() || part.as_ptr().addr() == slice.as_ptr().addr() + distance);
        }
        let indexed = catch_unwind(|| slice[index.clone()].to_vec());
        assert_eq!(indexed.ok().as_deref(), expected, "{index:?}");
        let indexed = catch_unwind(|| slice.as_readable()[index.clone()].to_vec());
        assert_eq!(indexed.ok().as_deref(), expected, "{index:?}");
    }
    let model: Vec<u8> = (0..5).collect();
    let places = [0, 1, 2, 4, 5, 6, 7, usize::MAX / 2, usize::MAX - 1, usize::MAX];
    with_bytes(5, |slice| {
        check(.., slice, &model);
        for a in places {
            check(a.., slice, &model);
            check(..a, slice, &model);
            check(..=a, slice, &model);
            assert_eq!(slice.get(a).map(|byte| byte.get()), model.get(a).copied());
            assert_eq!(catch_unwind(|| slice[a].get()).ok(), model.get(a).copied());
            assert_eq!(
                slice.split_at_checked(a).map(|(low, high)| (low.to_vec(), high.to_vec())),
                model.split_at_checked(a).map(|(low, high)| (low.to_vec(), high.to_vec()))
            );
            assert_eq!(
                catch_unwind(|| slice.split_at(a).1.len()).ok(),
                model.split_at_checked(a).map(|s| s.1.len())
            );
            for b in places {
                check(a..b, slice, &model);
                check(a..=b, slice, &model);
                for low in [Bound::Included(a), Bound::Excluded(a), Bound::Unbounded] {
                    for high in [Bound::Included(b), Bound::Excluded(b), Bound::Unbounded] {
                        check((low, high), slice, &model);
                    }
                }
            }
        }
        // One that has been run through is empty, at its end.
        let mut through = 2..=3;
        assert_eq!(through.by_ref().count(), 2);
        check(through, slice, &model);
    });
}

#[test]
fn iterators_go_from_both_ends() {
    with_bytes(10, |slice| {
        let mut bytes = slice.iter();
        assert_eq!(bytes.len(), 10);
        assert_eq!(bytes.next().map(|byte| byte.get()), Some(0));
        assert_eq!(bytes.next_back().map(|byte| byte.get()), Some(9));
        assert_eq!(bytes.nth(2).map(|byte| byte.get()), Some(3));
        assert_eq!(bytes.as_slice().to_vec(), [4, 5, 6, 7, 8]);
        assert_eq!(bytes.clone().rev().map(|byte| byte.get()).collect::<Vec<_>>(), [8, 7, 6, 5, 4]);
        assert!(bytes.nth(5).is_none() && bytes.next().is_none() && bytes.next_back().is_none());
        for byte in slice {
            byte.set(byte.get() * 2);
        }
        let mut chunks = slice.chunks(4);
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks.next_back().unwrap().to_vec(), [16, 18]);
        assert_eq!(chunks.next_back().unwrap().to_vec(), [8, 10, 12, 14]);
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks.next().unwrap().to_vec(), [0, 2, 4, 6]);
        assert!(chunks.next().is_none() && chunks.next_back().is_none());
        assert_eq!(slice.chunks(4).nth(2).unwrap().len(), 2);
        assert!(slice.chunks(4).nth(3).is_none() && slice.chunks(4).nth(usize::MAX).is_none());
        assert_eq!(slice.chunks(usize::MAX).len(), 1);
        assert_eq!(slice.as_readable().into_iter().map(ReadableProcessByte::get).max(), Some(18));
    });
    with_bytes(200, |slice| {
        let mut bytes = slice.bytes();
        assert_eq!(bytes.len(), 200);
        assert_eq!(bytes.by_ref().take(70).last(), Some(69));
        assert_eq!((bytes.len(), bytes.clone().count(), bytes.last()), (130, 130, Some(199)));
    });
    assert_eq!(<&WriteableProcessSlice>::default().iter().count(), 0);
    assert_eq!(<&ReadableProcessSlice>::default().chunks(3).len(), 0);
}

#[test]
#[should_panic(expected = "chunk size must be non-zero")]
fn chunks_of_nothing_panic() {
    with_bytes(1, |slice| slice.chunks(0).len());
}

/// Lengths that differ: a panic as of slices, and an error from what says `or_err`; nothing is copied.
#[test]
fn lengths_that_differ_are_refused() {
    with_bytes(8, |slice| {
        for len in [0, 7, 9] {
            let mut other = vec![0xAA; len];
            assert_eq!(slice.copy_to_slice_or_err(&mut other), Err(Error::SizeMismatch));
            assert_eq!(slice.copy_from_slice_or_err(&other), Err(Error::SizeMismatch));
            assert_eq!(slice.copy_from_or_err(&slice[..len.min(7)]), Err(Error::SizeMismatch));
            let mut again = other.clone();
            assert!(catch_unwind(AssertUnwindSafe(|| slice.copy_to_slice(&mut again))).is_err());
            assert!(catch_unwind(|| slice.copy_from_slice(&other)).is_err());
            assert!(catch_unwind(|| slice.copy_from(&slice[..len.min(7)])).is_err());
            assert!(again.iter().all(|&byte| byte == 0xAA));
        }
        assert!(catch_unwind(|| slice.copy_within(0..3, 6)).is_err());
        assert!(catch_unwind(|| slice.copy_within(6..9, 0)).is_err());
        assert!(catch_unwind(|| slice.copy_within(usize::MAX.., 0)).is_err());
        assert_eq!(slice.to_vec(), [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

/// Every distance and length up to some hundred, and some beyond what is copied at once.
#[test]
fn copies_within_a_slice_are_as_if_by_way_of_another() {
    let lens = (0..=130).chain([1023, 1024, 1025, 2500, 4097]);
    with_bytes(4097 + 5000, |memory| {
        for len in lens {
            for distance in [0, 1, 2, 7, 8, 15, 16, 31, 33, 63, 64, 65, 127, 1000, 1024, 5000] {
                let slice = &memory[..len + distance];
                let mut model: Vec<u8> = (0..len + distance).map(|at| (at * 7) as u8).collect();
                slice.copy_from_slice(&model);
                slice.copy_within(..len, distance);
                model.copy_within(..len, distance);
                assert!(slice.equals(&model), "{len} bytes up by {distance}");
                slice[..len].copy_from(&slice[distance..]);
                model.copy_within(distance.., 0);
                assert!(slice.equals(&model), "{len} bytes down by {distance}");
            }
        }
    });
}

/// Trap: sizes near the end of the address space wrap round.
#[test]
fn offsets_that_wrap_round_are_out_of_bounds() {
    with_bytes(16, |slice| {
        for offset in [13, 16, 17, usize::MAX - 4, usize::MAX - 3, usize::MAX] {
            assert_eq!(slice.read::<u32>(offset), Err(Error::AddressOutOfBounds), "{offset}");
            assert_eq!(slice.write(offset, 1_u32), Err(Error::AddressOutOfBounds), "{offset}");
            assert_eq!(slice.load::<u32>(offset), Err(Error::AddressOutOfBounds), "{offset}");
            assert_eq!(slice.store(offset, 1_u32), Err(Error::AddressOutOfBounds), "{offset}");
            assert_eq!(slice.compare_exchange(offset, 0, 1_u32), Err(Error::AddressOutOfBounds), "{offset}");
            assert_eq!(slice.fetch_or(offset, 1_u32), Err(Error::AddressOutOfBounds), "{offset}");
        }
        assert_eq!(slice.read::<[u8; 0]>(16), Ok([]));
        assert_eq!(slice.read::<[u8; 0]>(17), Err(Error::AddressOutOfBounds));
        assert_eq!(slice.read::<[u8; 17]>(0), Err(Error::AddressOutOfBounds));
        assert!(slice.equals(&(0..16).collect::<Vec<u8>>()));
    });
}

#[test]
fn values_are_read_and_written_at_any_offset_in_either_order() {
    macro_rules! check {
        ($($type:ident)*) => {$(
            with_bytes(64, |slice| {
                let model: Vec<u8> = (0..64).map(|at| (at * 37) as u8 ^ 0xC0).collect();
                for at in 0..=64 - size_of::<$type>() {
                    slice.copy_from_slice(&model);
                    let bytes = model[at..][..size_of::<$type>()].try_into().unwrap();
                    let (le, be) = ($type::from_le_bytes(bytes), $type::from_be_bytes(bytes));
                    assert_eq!(slice.read(at), Ok($type::from_ne_bytes(bytes)));
                    assert_eq!((slice.read_le(at), slice.read_be(at)), (Ok(le), Ok(be)));
                    slice.write_le(at, be).unwrap();
                    let mut expected = model.clone();
                    expected[at..][..size_of::<$type>()].reverse();
                    assert!(slice.equals(&expected));
                    slice.write_be(at, be).unwrap();
                    assert!(slice.equals(&model));
                }
            });
        )*};
    }
    check! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }
    with_bytes(16, |slice| {
        slice.write(3, [1.5_f32, -2.0]).unwrap();
        assert_eq!(slice.read::<[f32; 2]>(3), Ok([1.5, -2.0]));
        assert_eq!(slice.read::<usize>(0).map(usize::to_ne_bytes), slice.read(0));
    });
}

#[test]
fn words_are_changed_as_a_whole_where_they_are_aligned() {
    macro_rules! check {
        ($($type:ident)*) => {$(
            with_bytes(32, |slice| {
                let size = size_of::<$type>();
                slice.fill(0);
                for at in 0..32 {
                    if at % size != 0 {
                        let expected = if at + size > 32 { Error::AddressOutOfBounds } else { Error::Misaligned };
                        assert_eq!(slice.load::<$type>(at), Err(expected));
                        assert_eq!(slice.swap::<$type>(at, 1), Err(expected));
                        continue;
                    }
                    assert_eq!(slice.store::<$type>(at, $type::MAX - 1), Ok(()));
                    assert_eq!(slice.fetch_add::<$type>(at, 4), Ok($type::MAX - 1));
                    assert_eq!(slice.fetch_sub::<$type>(at, 3), Ok(2));
                    assert_eq!(slice.fetch_and::<$type>(at, 0x7c), Ok($type::MAX));
                    assert_eq!(slice.fetch_or::<$type>(at, 3), Ok(0x7c));
                    assert_eq!(slice.fetch_xor::<$type>(at, 0x11), Ok(0x7f));
                    assert_eq!(slice.swap::<$type>(at, 9), Ok(0x6e));
                    assert_eq!(slice.compare_exchange::<$type>(at, 8, 1), Ok(Err(9)));
                    assert_eq!(slice.compare_exchange::<$type>(at, 9, 1), Ok(Ok(9)));
                    assert_eq!(slice.as_readable().load::<$type>(at), Ok(1));
                    assert_eq!(slice.bytes().map(usize::from).sum::<usize>(), 1, "neighbours are untouched");
                    slice.store::<$type>(at, 0).unwrap();
                }
            });
        )*};
    }
    check! { u8 u16 u32 usize }
    #[cfg(target_pointer_width = "64")]
    check! { u64 }
}

#[test]
fn what_is_compared_and_found_is_what_slices_say() {
    for len in [0, 1, 63, 1023, 1024, 1025, 3000] {
        with_bytes(len, |slice| {
            let mut model: Vec<u8> = vec![7; len];
            slice.fill(7);
            assert!(slice.equals(&model) && slice.find(8).is_none());
            assert_eq!(slice.find(7), (len != 0).then_some(0));
            for other in [len.saturating_sub(1), len, len + 1, len + 2000] {
                assert_eq!(slice.compare(&vec![7; other]), len.cmp(&other), "{len} and {other}");
                assert_eq!(slice.equals(&vec![7; other]), len == other);
            }
            for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|&at| at < len) {
                slice[at].set(9);
                assert_eq!(slice.find(9), Some(at));
                assert!(slice.compare(&model).is_gt() && !slice.equals(&model));
                assert!(slice.compare(&vec![8; len + 5]).is_lt() == (at != 0));
                model[at] = 9;
                assert!(slice.equals(&model));
                slice.fill(7);
                model[at] = 7;
            }
        });
    }
}

#[test]
fn cursors_end_where_the_slice_ends() {
    with_bytes(5, |slice| {
        let mut cursor = slice.cursor();
        assert_eq!(cursor.write(b"0123456789").unwrap(), 5);
        assert_eq!(cursor.write(b"x").unwrap(), 0);
        assert_eq!(cursor.read(&mut [0]).unwrap(), 0);
        assert!(cursor.write_all(b"x").is_err());
        assert_eq!(cursor.seek(SeekFrom::End(-2)).unwrap(), 3);
        let mut text = String::new();
        assert_eq!(cursor.read_to_string(&mut text).unwrap(), 2);
        assert_eq!((text.as_str(), cursor.position()), ("34", 5));
        assert!(cursor.seek(SeekFrom::Current(-6)).is_err());
        assert_eq!(cursor.position(), 5);
        cursor.set_position(u64::MAX);
        assert_eq!((cursor.read(&mut [0]).unwrap(), cursor.write(b"x").unwrap()), (0, 0));
        assert!(cursor.seek(SeekFrom::Current(1)).is_err());
        cursor.flush().unwrap();
        let mut all = Vec::new();
        slice.as_readable().cursor().read_to_end(&mut all).unwrap();
        assert_eq!(all, b"01234");
        assert_eq!(cursor.get_ref().as_ptr(), slice.as_ptr());
    });
}

/// Trap: the address that is given for nothing is not handed on.
#[test]
fn a_slice_of_nothing_hides_its_address() {
    for address in [0_usize, 1, 0xdead_beef, usize::MAX] {
        let pointer = std::ptr::without_provenance_mut(address);
        // SAFETY: no bytes.
        let slice = unsafe { WriteableProcessSlice::from_raw_parts(pointer, 0) };
        assert!(!slice.as_ptr().is_null());
        assert_ne!(slice.as_ptr().addr(), 0xdead_beef);
        slice.fill(1);
        slice.copy_from_slice(&[]);
        slice.copy_from(slice);
        assert_eq!((slice.len(), slice.is_empty(), slice.to_vec(), slice.find(0)), (0, true, vec![], None));
        assert_eq!(slice.read::<u8>(0), Err(Error::AddressOutOfBounds));
    }
}
