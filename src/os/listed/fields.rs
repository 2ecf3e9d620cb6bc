//! Fields of a structure that lies somewhere in a buffer: read by copies, never by references, which would have to be
//! aligned.

use crate::Protection;
use crate::region::Region;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A C `long`, `size_t` or pointer: all have the width of an address on these systems.
pub(super) fn word_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The bytes before the first NUL; all of them if there is none.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// A protection from the bits that stand for reading, writing and executing.
pub(super) fn protection(native: u32, [read, write, execute]: [u32; 3]) -> Protection {
    let mut protection = Protection::NONE;
    for (bit, right) in [(read, Protection::READ), (write, Protection::WRITE), (execute, Protection::EXECUTE)]
    {
        if native & bit != 0 {
            protection |= right;
        }
    }
    protection
}

/// A region without properties; `None` when it ends before it begins or lies beyond what an address can be.
pub(super) fn span(start: u64, end: u64) -> Option<Region> {
    let len = usize::try_from(end.checked_sub(start)?).ok()?;
    Some(Region { base: usize::try_from(start).ok()?, len, ..Region::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_read() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!(u32_at(&bytes, 4), Some(u32::from_ne_bytes([2, 0, 0, 0])));
        for at in [6, 9, 10, usize::MAX] {
            assert_eq!((u32_at(&bytes, at), u64_at(&bytes, at), word_at(&bytes, at)), (None, None, None));
        }
        assert_eq!((u64_at(&bytes, 2), u16_at(&bytes, 8)), (None, None));
        assert_eq!((text(b"ab\0c"), text(b"ab"), text(b"")), (&b"ab"[..], &b"ab"[..], &b""[..]));
        assert_eq!(span(5, 4), None);
        assert_eq!(span(4, 4).map(|region| region.len), Some(0));
    }
}
