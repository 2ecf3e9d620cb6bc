//! The file as a stream: a position and a buffer.

use super::{AFTER_JUMP, AHEAD, MappedFile};
use crate::range::wide;
use core::mem;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::vec;

impl MappedFile {
    /// What there is from the position on.
    fn next(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if mem::take(&mut self.ended) {
            return Ok(0);
        }
        let done = self.by_system(self.position, to)?;
        // A file of which the system gives less than it is asked for ends there, at its known end at least: to ask again would
        // cost as much as all of a short file.
        let end = self.position.saturating_add(wide(done));
        self.ended = done > 0 && done < to.len() && end == self.first_len;
        Ok(done)
    }

    /// A buffer for long files as for short ones, of which it shows the end.
    fn new_buffer(&self) -> io::Result<std::boxed::Box<[u8]>> {
        let short = usize::try_from(self.first_len).unwrap_or(AHEAD).saturating_add(1);
        let len = if self.first_len == 0 { 4096 } else { short.min(AHEAD) };
        let mut buffer = vec::Vec::new();
        buffer.try_reserve_exact(len)?;
        buffer.resize(len, 0);
        Ok(buffer.into_boxed_slice())
    }
}

impl Read for MappedFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.start >= self.end && to.len() >= AHEAD {
            let done = self.next(to)?;
            self.position = self.position.saturating_add(wide(done));
            return Ok(done);
        }
        let done = self.fill_buf()?.read(to)?;
        self.consume(done);
        Ok(done)
    }
}

impl BufRead for MappedFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start >= self.end {
            let mut buffer = mem::take(&mut self.buffer);
            if buffer.is_empty() {
                buffer = self.new_buffer()?;
            }
            let len = self.reach.min(buffer.len());
            let done = self.next(buffer.split_at_mut(len).0);
            self.reach = self.reach.saturating_mul(2).min(AHEAD);
            self.buffer = buffer;
            (self.start, self.end) = (0, done?);
        }
        Ok(self.buffer.get(self.start..self.end).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.end.saturating_sub(self.start));
        self.start = self.start.saturating_add(amount);
        self.position = self.position.saturating_add(wide(amount));
    }
}

/// Costs no system call, but from the end: one, which asks where that is now. To the place where the position is already, nothing
/// is done, and what is in the buffer stays there.
impl Seek for MappedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len()?.checked_add_signed(by),
        };
        let Some(place) = place else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "before the file, or behind all that there could be",
            ));
        };
        if place != self.position {
            self.position = place;
            self.reach = AFTER_JUMP;
            (self.start, self.end) = (0, 0);
        }
        self.ended = false;
        Ok(place)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}
