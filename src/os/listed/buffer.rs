//! Buffers for lists.

use crate::error::{ErrorKind, Failure};
use alloc::vec::Vec;

/// Gives the buffer this length, zeroed where it is new.
pub(crate) fn resize(buffer: &mut Vec<u8>, len: usize) -> Result<(), Failure> {
    let more = len.saturating_sub(buffer.len());
    if buffer.try_reserve_exact(more).is_err() {
        return Err(Failure::new(ErrorKind::Exhausted).detail("no memory for the list of mappings"));
    }
    buffer.resize(len, 0);
    Ok(())
}

/// Why a list could not be read.
#[cfg(any(test, target_os = "freebsd", target_os = "netbsd"))]
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Stopped<E> {
    Refused(E),
    NoMemory,
    /// It does not fit into the longest buffer that the kernel takes.
    TooLong,
}

/// Reads a list whose length may grow between asking for it and reading it, if only because the buffer is a new mapping.
/// `step`: the size of one entry at most. `most`: the longest buffer that the kernel takes. `fill` gives `None` when the
/// buffer was too short.
#[cfg(any(test, target_os = "freebsd", target_os = "netbsd"))]
pub(crate) fn read_growing<E>(
    buffer: &mut Vec<u8>,
    step: usize,
    most: usize,
    mut needed: impl FnMut() -> Result<usize, E>,
    mut fill: impl FnMut(&mut [u8]) -> Result<Option<usize>, E>,
) -> Result<(), Stopped<E>> {
    const TRIES: u32 = 10;
    let mut slack = step.saturating_mul(8);
    for _ in 0..TRIES {
        buffer.clear();
        let needed = needed().map_err(Stopped::Refused)?;
        if needed == 0 {
            return Ok(());
        }
        let room = needed.saturating_add(needed / 8).saturating_add(slack).min(most);
        resize(buffer, room).map_err(|_| Stopped::NoMemory)?;
        if let Some(len) = fill(buffer).map_err(Stopped::Refused)? {
            buffer.truncate(len);
            return Ok(());
        }
        if room == most {
            return Err(Stopped::TooLong);
        }
        slack = slack.saturating_mul(2);
    }
    Err(Stopped::NoMemory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// A kernel whose list has so many bytes, and grows by `growth` before each reading.
    fn read_from(kernel: usize, growth: usize, most: usize) -> (Result<(), Stopped<i32>>, usize, usize) {
        let (len, calls) = (Cell::new(kernel), Cell::new(0));
        let mut buffer = alloc::vec![9; 3];
        let result = read_growing(
            &mut buffer,
            10,
            most,
            || Ok(len.get()),
            |room| {
                calls.set(calls.get() + 1);
                len.set(len.get() + growth);
                assert!(room.len() <= most);
                Ok((len.get() <= room.len()).then(|| len.get()))
            },
        );
        (result, buffer.len(), calls.get())
    }

    #[test]
    fn a_list_that_grows_meanwhile_is_read() {
        assert_eq!(read_from(500, 0, usize::MAX), (Ok(()), 500, 1));
        assert_eq!(read_from(500, 80, usize::MAX), (Ok(()), 580, 1));
        assert_eq!(read_from(500, 200, usize::MAX), (Ok(()), 900, 2));
        assert_eq!(read_from(0, 10, usize::MAX), (Ok(()), 0, 0), "a process without memory");
    }

    #[test]
    fn a_list_that_always_outgrows_the_buffer_is_given_up() {
        let mut calls = 0;
        let mut buffer = Vec::new();
        let result = read_growing(
            &mut buffer,
            10,
            usize::MAX,
            || Ok::<_, i32>(500),
            |_| {
                calls += 1;
                Ok(None)
            },
        );
        assert_eq!((result, calls), (Err(Stopped::NoMemory), 10));
    }

    #[test]
    fn a_list_beyond_the_longest_buffer_is_said_to_be_that() {
        assert_eq!(read_from(999, 0, 1000).0, Ok(()));
        assert_eq!(read_from(1001, 0, 1000).0, Err(Stopped::TooLong));
        assert_eq!(read_from(usize::MAX, 0, 1000).0, Err(Stopped::TooLong));
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert_eq!(read_from(usize::MAX, 0, usize::MAX).0, Err(Stopped::NoMemory));
    }

    #[test]
    fn refusals_are_passed_on() {
        let mut buffer = Vec::new();
        let refused = read_growing(&mut buffer, 10, 100, || Err(3), |_| Ok(None));
        assert_eq!(refused, Err(Stopped::Refused(3)));
        let refused = read_growing(&mut buffer, 10, 100, || Ok(10), |_| Err(4));
        assert_eq!(refused, Err(Stopped::Refused(4)));
    }
}
