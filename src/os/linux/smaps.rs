//! The text of `/proc/PID/smaps`: a line as in `maps`, then lines of `Key:   number kB` for that region.

use crate::region::Usage;

/// Whether a line begins a region (an address in lower case) rather than telling a figure of it (a word in capitals).
pub(super) fn begins_region(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'0'..=b'9' | b'a'..=b'f'))
}

/// The figures of one region, as they are read.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    shared: [Option<u64>; 2],
    private: [Option<u64>; 2],
    dirty: [Option<u64>; 2],
    huge: [Option<u64>; 5],
    usage: Usage,
    /// The protection key, where the processor has them.
    pub(super) key: Option<u32>,
    /// Whether branches may only lead to marked places (arm64: `bt`).
    pub(super) branch_targets: bool,
}

impl Figures {
    /// Takes a line in; one that is of no interest, or not understood, changes nothing: kernels add lines of many forms.
    pub(super) fn take(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return };
        let (Some(key), Some(value)) = (line.get(..colon), line.get(colon.saturating_add(1)..)) else {
            return;
        };
        match key {
            b"ProtectionKey" => {
                let text = core::str::from_utf8(value.trim_ascii());
                return self.key = text.ok().and_then(|text| text.parse().ok());
            }
            b"VmFlags" => {
                return self.branch_targets = value.split(u8::is_ascii_whitespace).any(|flag| flag == b"bt");
            }
            _ => {}
        }
        let Some(bytes) = kilobytes(value) else { return };
        let usage = &mut self.usage;
        let figure = match key {
            b"Size" => return usage.size = bytes,
            b"Rss" => return usage.resident = bytes,
            b"Pss" => &mut usage.proportional,
            b"Referenced" => &mut usage.referenced,
            b"Anonymous" => &mut usage.anonymous,
            b"Swap" => &mut usage.swapped,
            b"Locked" => &mut usage.locked,
            b"Shared_Clean" => &mut self.shared[0],
            b"Shared_Dirty" => {
                self.dirty[0] = Some(bytes);
                &mut self.shared[1]
            }
            b"Private_Clean" => &mut self.private[0],
            b"Private_Dirty" => {
                self.dirty[1] = Some(bytes);
                &mut self.private[1]
            }
            b"AnonHugePages" => &mut self.huge[0],
            b"ShmemPmdMapped" => &mut self.huge[1],
            b"FilePmdMapped" => &mut self.huge[2],
            b"Shared_Hugetlb" => &mut self.huge[3],
            b"Private_Hugetlb" => &mut self.huge[4],
            _ => return,
        };
        *figure = Some(bytes);
    }

    /// What the region uses. Pages of hugetlb are in no other figure of the kernel's, not even in `Rss`; they are in memory
    /// all the same, and counted as such here.
    pub(super) fn usage(&self) -> Usage {
        fn sum(parts: &[Option<u64>]) -> Option<u64> {
            parts.iter().flatten().copied().reduce(u64::saturating_add)
        }
        let mut usage = self.usage;
        let [.., shared_huge, private_huge] = self.huge;
        usage.shared = sum(&[self.shared[0], self.shared[1], shared_huge]);
        usage.private = sum(&[self.private[0], self.private[1], private_huge]);
        usage.dirty = sum(&self.dirty);
        usage.huge = sum(&self.huge);
        usage.resident = usage.resident.saturating_add(sum(&[shared_huge, private_huge]).unwrap_or(0));
        usage
    }
}

/// `    123 kB` in bytes.
fn kilobytes(value: &[u8]) -> Option<u64> {
    let number = value.trim_ascii().strip_suffix(b" kB")?;
    core::str::from_utf8(number).ok()?.trim_ascii().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads `data` as figures: for the fuzzer and for the replay of its corpus.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzers only")]
pub fn fuzz_usage(data: &[u8]) {
    let mut figures = Figures::default();
    for line in data.split(|&byte| byte == b'\n') {
        if !begins_region(line) {
            figures.take(line);
        }
    }
    let usage = figures.usage();
    let total = usage;
    let mut sum = total;
    sum += &usage;
    assert!(sum.resident() >= usage.resident());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_summed_in_bytes_and_unknown_lines_passed_over() {
        let mut figures = Figures::default();
        for line in [
            &b"Size:                 16 kB"[..],
            b"KernelPageSize:        4 kB",
            b"Rss:                   8 kB",
            b"Pss:                   6 kB",
            b"Pss_Dirty:             5 kB",
            b"Shared_Clean:          1 kB",
            b"Shared_Dirty:          2 kB",
            b"Private_Clean:         3 kB",
            b"Private_Dirty:         4 kB",
            b"AnonHugePages:      2048 kB",
            b"Private_Hugetlb:    4096 kB",
            b"Swap:                  0 kB",
            b"Locked:                7 kB",
            b"THPeligible:           0",
            b"ProtectionKey:         0",
            b"VmFlags: rd wr mr mw me ac sd",
            b"Rss:  99999999999999999999 kB",
            b"Rss",
            b":",
        ] {
            assert!(!begins_region(line));
            figures.take(line);
        }
        let usage = figures.usage();
        let k = |bytes: u64| bytes * 1024;
        assert_eq!((usage.size(), usage.resident()), (k(16), k(8 + 4096)));
        assert_eq!(
            (usage.proportional(), usage.locked(), usage.swapped()),
            (Some(k(6)), Some(k(7)), Some(0))
        );
        assert_eq!((usage.shared(), usage.private()), (Some(k(3)), Some(k(7 + 4096))));
        assert_eq!(
            (usage.dirty(), usage.huge(), usage.referenced()),
            (Some(k(6)), Some(k(2048 + 4096)), None)
        );
    }
}
