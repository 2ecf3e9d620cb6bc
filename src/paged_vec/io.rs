//! A vector of bytes to write to.

use super::PagedVec;
use std::io::{IoSlice, Result, Write};

/// Appends. Where there is no memory, that is the error.
impl Write for PagedVec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> Result<usize> {
        let sum = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        self.try_reserve(sum)?;
        for part in parts {
            self.write_all(part)?;
        }
        Ok(sum)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.try_extend_from_slice(bytes)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
