//! Access rights of pages.

use core::fmt;
use core::str::FromStr;

bitflags::bitflags! {
    /// The access rights of pages: any combination of read, write and execute.
    ///
    /// A protection states what the system *grants*, not what it forbids: on x86 a page that may be written can
    /// also be read, and a page that may be executed can be read unless protection keys say otherwise. What the
    /// system adds beyond these three (guard pages, write-copy, protection keys) is reported by
    /// [`Region`](crate::Region) where it can be seen.
    ///
    /// # Examples
    ///
    /// ```
    /// use folio::Protection;
    ///
    /// let protection = Protection::READ | Protection::EXECUTE;
    /// assert_eq!(protection, Protection::READ_EXECUTE);
    /// assert_eq!(protection.to_string(), "r-x");
    /// assert_eq!("r-x".parse(), Ok(Protection::READ_EXECUTE));
    /// ```
    #[derive(Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Clone, Copy)]
    pub struct Protection: usize {
        /// No access.
        const NONE = 0;
        /// Reading.
        const READ = 1 << 0;
        /// Writing. Most processors cannot grant this without reading.
        const WRITE = 1 << 1;
        /// Executing.
        const EXECUTE = 1 << 2;
        /// Reading and writing.
        const READ_WRITE = Self::READ.bits() | Self::WRITE.bits();
        /// Reading and executing.
        const READ_EXECUTE = Self::READ.bits() | Self::EXECUTE.bits();
        /// Writing and executing.
        const WRITE_EXECUTE = Self::WRITE.bits() | Self::EXECUTE.bits();
        /// Reading, writing and executing.
        const READ_WRITE_EXECUTE = Self::READ.bits() | Self::WRITE.bits() | Self::EXECUTE.bits();
    }
}

/// `r`, `w` and `x` in this order, each `-` when the right is missing; width and alignment are honoured.
impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.contains(Self::READ), self.contains(Self::WRITE), self.contains(Self::EXECUTE)) {
            (false, false, false) => "---",
            (false, false, true) => "--x",
            (false, true, false) => "-w-",
            (false, true, true) => "-wx",
            (true, false, false) => "r--",
            (true, false, true) => "r-x",
            (true, true, false) => "rw-",
            (true, true, true) => "rwx",
        })
    }
}

/// The text was not a protection: see [`Protection`]'s `FromStr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseProtectionError;

impl fmt::Display for ParseProtectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a protection is written with the letters r, w and x, such as `rw` or `r-x`, or `none`")
    }
}

impl core::error::Error for ParseProtectionError {}

/// Reads what [`Display`](fmt::Display) writes, and shorter forms: the letters `r`, `w` and `x`, each at most once and
/// in this order, with or without `-` in the place of a missing one; `none` is [`Protection::NONE`].
///
/// # Errors
///
/// [`ParseProtectionError`] for anything else, the empty text included.
impl FromStr for Protection {
    type Err = ParseProtectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        if text.is_empty() || (text.contains('-') && text.len() != 3) {
            return Err(ParseProtectionError);
        }
        let mut rest = text.as_bytes();
        let mut protection = Self::NONE;
        for (letter, right) in [(b'r', Self::READ), (b'w', Self::WRITE), (b'x', Self::EXECUTE)] {
            match rest.split_first() {
                Some((&first, tail)) if first == letter => {
                    protection |= right;
                    rest = tail;
                }
                Some((b'-', tail)) => rest = tail,
                _ => {}
            }
        }
        if rest.is_empty() { Ok(protection) } else { Err(ParseProtectionError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn every_combination_survives_the_round_trip() {
        for bits in 0..8 {
            let protection = Protection::from_bits(bits).unwrap();
            let text = protection.to_string();
            assert_eq!(text.len(), 3);
            assert_eq!(text.parse(), Ok(protection), "{text}");
            let short = text.replace('-', "");
            if !short.is_empty() {
                assert_eq!(short.parse(), Ok(protection), "{short}");
            }
        }
        assert_eq!(format!("{:>5}", Protection::READ), "  r--");
    }

    #[test]
    fn what_is_not_a_protection_is_refused() {
        for text in ["", "wr", "rr", "rwxx", "R", "r-", "-", "--", "----", "r--p", "rw -", "é"] {
            assert_eq!(text.parse::<Protection>(), Err(ParseProtectionError), "{text:?}");
        }
    }
}
