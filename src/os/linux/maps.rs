//! The text of `/proc/PID/maps`, parsed as bytes, line by line, without allocating for a line.

use super::sys;
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::range::PageRange;
use crate::region::{Device, Region};
use alloc::vec::Vec;
use core::ops::Range;
use rustix::fd::{AsFd, OwnedFd};

/// What follows the addresses and permissions in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rest<'a> {
    pub(super) offset: u64,
    pub(super) device: Option<Device>,
    pub(super) inode: u64,
    /// As it stands in the line: newlines of a path are written `\012`, a deleted file is marked.
    pub(super) name: &'a [u8],
}

/// Why a line gave no region.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is not a line of `maps`.
    Malformed,
    /// Its addresses are wider than ours: a 64-bit process seen by a 32-bit one.
    TooWide,
}

impl Bad {
    pub(super) fn failure(self, line: &[u8]) -> Failure {
        match self {
            Self::Malformed => Failure::unexpected(line),
            Self::TooWide => too_wide(),
        }
    }
}

pub(super) fn too_wide() -> Failure {
    Failure::new(ErrorKind::Unsupported)
        .detail("the process has addresses of 64 bits, this program has 32")
        .remedy("look at it with a 64-bit program")
}

/// The digits' values; 0xff for what is none.
const DIGITS: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut value = 0_u8;
    while value < 16 {
        let digit =
            if value < 10 { b'0'.wrapping_add(value) } else { b'a'.wrapping_sub(10).wrapping_add(value) };
        #[expect(
            clippy::indexing_slicing,
            clippy::as_conversions,
            reason = "computed at compile time; u8 < 256"
        )]
        {
            table[digit as usize] = value;
        }
        value = value.wrapping_add(1);
    }
    table
};

/// The hexadecimal number at the front, of 1 to 16 lower-case digits, and what follows.
#[inline(always)]
fn hexadecimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    let mut rest = text;
    let mut digits = 0_u32;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = *DIGITS.get(usize::from(byte))?;
        if digit == 0xff {
            break;
        }
        digits = digits.wrapping_add(1);
        if digits > 16 {
            return None;
        }
        value = value << 4 | u64::from(digit);
        rest = after;
    }
    if digits == 0 { None } else { Some((value, rest)) }
}

/// The decimal number at the front, and what follows.
#[inline(always)]
fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        rest = after;
    }
    if rest.len() == text.len() { None } else { Some((value, rest)) }
}

#[inline(always)]
fn skip(text: &[u8], byte: u8) -> Option<&[u8]> {
    match text.split_first() {
        Some((&first, rest)) if first == byte => Some(rest),
        _ => None,
    }
}

/// Addresses and permissions: the region, and the text that follows.
#[inline]
pub(super) fn region(line: &[u8]) -> Result<(Region, &[u8]), Bad> {
    if let Some((head, text)) = line.split_first_chunk::<30>() {
        if let Some(region) = common_region(head) {
            return Ok((region, text));
        }
    }
    any_region(line)
}

fn any_region(line: &[u8]) -> Result<(Region, &[u8]), Bad> {
    let parsed = (|| {
        let (start, text) = hexadecimal(line)?;
        let (end, text) = hexadecimal(skip(text, b'-')?)?;
        let (&rights, text) = skip(text, b' ')?.split_first_chunk::<4>()?;
        let (protection, shared) = permissions(rights)?;
        (end > start).then_some((start, end, protection, shared, text))
    })();
    let (start, end, protection, shared, text) = parsed.ok_or(Bad::Malformed)?;
    let (Ok(base), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(Bad::TooWide);
    };
    let len = end.wrapping_sub(base);
    Ok((Region { base, len, protection, max_protection: protection, shared, ..Region::default() }, text))
}

/// Eight lower-case hexadecimal digits at once. `None` when one of them is none.
#[inline(always)]
fn eight_digits(digits: [u8; 8]) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    let text = u64::from_be_bytes(digits);
    // In each byte, while its top bit is clear: `x + (0x7f - n)` sets the top bit just if x > n, and carries nothing over.
    let decimal = (text ^ (ONES * 0x30)) & !TOPS;
    let letter = (text ^ (ONES * 0x60)) & !TOPS;
    let is_decimal = !decimal.wrapping_add(ONES * (0x7f - 9));
    let is_letter = !letter.wrapping_add(ONES * (0x7f - 6)) & letter.wrapping_add(ONES * 0x7f);
    if (is_decimal | is_letter) & !text & TOPS != TOPS {
        return None;
    }
    // A letter has bit 6 set, and its low half counts from 1.
    let nibbles = (text & (ONES * 0x0f)).wrapping_add((text >> 6 & ONES).wrapping_mul(9));
    let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((quads | quads >> 16) & 0xffff_ffff)
}

/// Addresses and permissions where both addresses have the twelve digits of most on 64 bits: the bulk of all lines.
#[inline(always)]
fn common_region(line: &[u8; 30]) -> Option<Region> {
    let &[
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
        k,
        l,
        b'-',
        a2,
        b2,
        c2,
        d2,
        e2,
        f2,
        g2,
        h2,
        i2,
        j2,
        k2,
        l2,
        b' ',
        r,
        w,
        x,
        s,
    ] = line
    else {
        return None;
    };
    let start_high = eight_digits([a, b, c, d, e, f, g, h])?;
    let end_high = eight_digits([a2, b2, c2, d2, e2, f2, g2, h2])?;
    let lows = eight_digits([i, j, k, l, i2, j2, k2, l2])?;
    let base = usize::try_from(start_high << 16 | lows >> 16).ok()?;
    let end = usize::try_from(end_high << 16 | (lows & 0xffff)).ok()?;
    let (protection, shared) = permissions([r, w, x, s])?;
    let len = end.checked_sub(base).filter(|&len| len != 0)?;
    Some(Region { base, len, protection, max_protection: protection, shared, ..Region::default() })
}

#[inline(always)]
fn permissions([r, w, x, sharing]: [u8; 4]) -> Option<(Protection, bool)> {
    let mut protection = Protection::NONE;
    for (letter, yes, right) in
        [(r, b'r', Protection::READ), (w, b'w', Protection::WRITE), (x, b'x', Protection::EXECUTE)]
    {
        if letter == yes {
            protection |= right;
        } else if letter != b'-' {
            return None;
        }
    }
    match sharing {
        b's' => Some((protection, true)),
        b'p' => Some((protection, false)),
        _ => None,
    }
}

/// The region of the line at the front of `text` and the length of that line with its newline, if it is one of the most
/// common kind: anonymous memory without a name, whose line has one form and one length.
#[inline(always)]
pub(super) fn plain_line(text: &[u8]) -> Option<(Region, usize)> {
    const TAIL: &[u8; 19] = b" 00000000 00:00 0 \n";
    let (head, rest) = text.split_first_chunk::<30>()?;
    if rest.first_chunk::<19>()? != TAIL {
        return None;
    }
    Some((common_region(head)?, 49))
}

/// Offset, device, inode and name: `text` is what follows the permissions.
#[inline]
pub(super) fn rest(text: &[u8]) -> Option<Rest<'_>> {
    let (offset, text) = hexadecimal(skip(text, b' ')?)?;
    let (major, text) = hexadecimal(skip(text, b' ')?)?;
    let (minor, text) = hexadecimal(skip(text, b':')?)?;
    let (inode, text) = decimal(skip(text, b' ')?)?;
    // The name begins after padding, which is there only if there is a name; without one a single space may end the line.
    // A path begins with `/` or a word, never with a space.
    let name = match text {
        [] => text,
        [b' ', padded @ ..] => {
            let blanks = padded.iter().take_while(|&&byte| byte == b' ').count();
            padded.get(blanks..)?
        }
        _ => return None,
    };
    let device = Device { major: u32::try_from(major).ok()?, minor: u32::try_from(minor).ok()? };
    let device = (inode != 0 || device != Device { major: 0, minor: 0 }).then_some(device);
    Some(Rest { offset, device, inode, name })
}

/// Where the first newline is: eight bytes at a time.
#[inline]
fn newline(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut chunks = text.chunks_exact(8);
    let mut at = 0_usize;
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(<[u8; 8]>::try_from(chunk).ok()?);
        // Bytes that are newlines become 0, and the classic test marks the lowest zero byte exactly.
        let difference = word ^ (ONES * 0x0a);
        let zeroes = difference.wrapping_sub(ONES) & !difference & (ONES << 7);
        if zeroes != 0 {
            return at.checked_add(crate::range::index(zeroes.trailing_zeros() / 8));
        }
        at = at.wrapping_add(8);
    }
    let found = chunks.remainder().iter().position(|&byte| byte == b'\n')?;
    at.checked_add(found)
}

/// Where a reader keeps what it has read.
pub(super) trait Room {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes more room for a line that does not fit. False: there is to be no more; the line's head is enough.
    fn grow(&mut self) -> Result<bool, Failure>;
}

/// On the stack, for one look-up: of a long line only the head is seen. Small enough for the stack of a signal handler.
pub(super) struct OnStack([u8; 2048]);

impl Room for OnStack {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn grow(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }
}

/// On the heap, for a walk with names: grows to what the longest name needs (4096 bytes, each written as four at worst).
pub(super) struct OnHeap(Vec<u8>);

impl OnHeap {
    const FIRST: usize = 8 << 10;
    const MOST: usize = 64 << 10;

    fn new() -> Self {
        Self(alloc::vec![0; Self::FIRST])
    }
}

impl Room for OnHeap {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn grow(&mut self) -> Result<bool, Failure> {
        if self.0.len() >= Self::MOST {
            return Err(Failure::unexpected(self.0.get(..256).unwrap_or_default()));
        }
        let more = self.0.len().saturating_mul(2);
        self.0.resize(more, 0);
        Ok(true)
    }
}

/// Gives the lines of an open file.
pub(super) struct Reader<R> {
    file: OwnedFd,
    room: R,
    /// What was read and not yet given.
    unread: Range<usize>,
    /// The line given last was cut; the rest of it is to be passed over.
    cut: bool,
    /// The file has been read to its end.
    ended: bool,
}

impl Reader<OnHeap> {
    pub(super) fn with_names(file: OwnedFd) -> Self {
        Self { file, room: OnHeap::new(), unread: 0..0, cut: false, ended: false }
    }
}

impl Reader<OnStack> {
    fn without_names(file: OwnedFd) -> Self {
        Self { file, room: OnStack([0; 2048]), unread: 0..0, cut: false, ended: false }
    }
}

impl<R: Room> Reader<R> {
    /// Reads more behind what is unread, which is first moved to the front. False at the end of the file.
    pub(super) fn fill(&mut self) -> Result<bool, Failure> {
        if self.ended {
            return Ok(false);
        }
        let room = self.room.bytes_mut();
        let kept = self.unread.len();
        if self.unread.start != 0 {
            room.copy_within(self.unread.clone(), 0);
            self.unread = 0..kept;
        }
        let Some(free @ [_, ..]) = room.get_mut(kept..) else { return Ok(true) };
        let read = sys::read(self.file.as_fd(), free).map_err(sys::failure)?;
        self.unread.end = kept.saturating_add(read);
        self.ended = read == 0;
        Ok(read != 0)
    }

    /// Where the next line is in [`bytes`](Self::bytes), without its newline; `None` at the end.
    #[inline]
    pub(super) fn line(&mut self) -> Result<Option<Range<usize>>, Failure> {
        let mut searched = 0;
        loop {
            let unread = self.room.bytes().get(self.unread.clone()).unwrap_or_default();
            if let Some(found) = newline(unread.get(searched..).unwrap_or_default()) {
                let start = self.unread.start;
                let end = start.saturating_add(searched).saturating_add(found);
                self.unread.start = end.saturating_add(1);
                if core::mem::take(&mut self.cut) {
                    searched = 0;
                    continue;
                }
                return Ok(Some(start..end));
            }
            searched = unread.len();
            if searched == self.room.bytes().len() && !self.room.grow()? {
                // A line longer than the room, of which the head is enough.
                let whole = self.unread.clone();
                self.unread = 0..0;
                if core::mem::replace(&mut self.cut, true) {
                    searched = 0;
                    continue;
                }
                return Ok(Some(whole));
            }
            if !self.fill()? {
                if searched == 0 || self.cut {
                    return Ok(None);
                }
                let torn = self.room.bytes().get(self.unread.clone()).unwrap_or_default();
                return Err(Failure::unexpected(torn));
            }
        }
    }

    /// The next line's region, if the line is of the most common kind and has been read already; the line is then passed.
    #[inline(always)]
    pub(super) fn plain(&mut self) -> Option<Region> {
        let (region, len) = plain_line(self.room.bytes().get(self.unread.clone())?)?;
        self.unread.start = self.unread.start.saturating_add(len);
        Some(region)
    }

    /// Takes the line given last back: it will be given again. Only directly after it was given, and not a cut one.
    pub(super) fn unread(&mut self, line: &Range<usize>) {
        self.unread.start = line.start;
    }

    pub(super) fn bytes(&self, line: &Range<usize>) -> &[u8] {
        self.room.bytes().get(line.clone()).unwrap_or_default()
    }

    /// Whether the process that the file describes still has its memory: reading it from the start again gives something.
    pub(super) fn still_there(&self) -> bool {
        let mut probe = [0; 1];
        sys::read_at(self.file.as_fd(), &mut probe, 0).is_ok_and(|read| read != 0)
    }
}

/// The region that holds a page, from the text of `maps`: neither allocates nor needs much stack.
pub(super) fn find(maps: OwnedFd, page: PageRange, foreign: bool) -> Result<Found, Failure> {
    let mut reader = Reader::without_names(maps);
    let mut any = false;
    while let Some(line) = reader.line()? {
        any = true;
        let line = reader.bytes(&line);
        let (region, _) = region(line).map_err(|bad| bad.failure(line))?;
        if region.contains(page.first()) {
            return Ok(Found::Region(region));
        }
        if region.base > page.last() {
            return Ok(Found::Hole);
        }
    }
    // The end of the text is the end of the mappings, or of the process.
    Ok(if any && (!foreign || reader.still_there()) { Found::Hole } else { Found::NoMemory })
}

/// What a look-up in the text came to.
pub(super) enum Found {
    Region(Region),
    /// There are mappings, but none there.
    Hole,
    /// There is no mapping at all: a kernel thread, or a process that has ended.
    NoMemory,
}

/// Reads `data` as `maps`, by the parser and by a naive one, and compares: for the fuzzer and for the replay of its corpus.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzers only")]
pub fn fuzz_lines(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        let fast = region(line).map(|(region, text)| (region, rest(text)));
        let slow = naive(line);
        match (fast, slow) {
            (Ok((region, Some(rest))), Some(naive)) => {
                let range = region.as_range();
                let device = rest.device.unwrap_or(Device { major: 0, minor: 0 });
                let got = (
                    crate::range::wide(range.start),
                    crate::range::wide(range.end),
                    region.protection(),
                    region.is_shared(),
                    rest.offset,
                    device,
                    rest.inode,
                    rest.name,
                );
                assert_eq!(got, naive, "{}", line.escape_ascii());
            }
            (Ok((_, None)) | Err(Bad::Malformed), None) => {}
            // Only on 32 bits, where the naive parser, which has 64, sees nothing wrong.
            (Err(Bad::TooWide), _) => {}
            (fast, slow) => panic!("{}: {fast:?} but naively {slow:?}", line.escape_ascii()),
        }
        assert_eq!(newline(line), None);
        let common = [line, b"\n"].concat();
        if let Some((region, len)) = plain_line(&common) {
            assert_eq!(len, common.len());
            assert_eq!(any_region(line).ok().map(|(region, _)| region), Some(region));
        }
    }
    assert_eq!(newline(data), data.iter().position(|&byte| byte == b'\n'));
}

/// The fields of a line, by the obvious way.
#[cfg(any(test, fuzzing))]
#[allow(clippy::type_complexity, clippy::arithmetic_side_effects, reason = "an oracle, for tests only")]
fn naive(line: &[u8]) -> Option<(u64, u64, Protection, bool, u64, Device, u64, &[u8])> {
    fn number(text: &[u8], radix: u32) -> Option<u64> {
        let text = core::str::from_utf8(text).ok()?;
        if text.starts_with('+')
            || text.contains(|c: char| c.is_ascii_uppercase())
            || (radix == 16 && text.len() > 16)
        {
            return None;
        }
        u64::from_str_radix(text, radix).ok()
    }
    let mut words = line.splitn(6, |&byte| byte == b' ');
    let addresses = words.next()?;
    let dash = addresses.iter().position(|&byte| byte == b'-')?;
    let (start, end) = (number(&addresses[..dash], 16)?, number(&addresses[dash + 1..], 16)?);
    let &[ref rights @ .., sharing] = words.next()? else { return None };
    if rights.len() != 3 || end <= start {
        return None;
    }
    let shared = match sharing {
        b's' => true,
        b'p' => false,
        _ => return None,
    };
    let protection: Protection = core::str::from_utf8(rights).ok()?.parse().ok()?;
    let offset = number(words.next()?, 16)?;
    let device = words.next()?;
    let colon = device.iter().position(|&byte| byte == b':')?;
    let device = Device {
        major: number(&device[..colon], 16)?.try_into().ok()?,
        minor: number(&device[colon + 1..], 16)?.try_into().ok()?,
    };
    let inode = number(words.next()?, 10)?;
    let name = words.next().unwrap_or_default();
    let blanks = name.iter().take_while(|&&byte| byte == b' ').count();
    Some((start, end, protection, shared, offset, device, inode, &name[blanks..]))
}
