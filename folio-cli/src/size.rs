//! Sizes for people. Units are powers of 1024.

use std::fmt;

const UNITS: [(&str, &str); 7] =
    [("B", "B"), ("K", "KiB"), ("M", "MiB"), ("G", "GiB"), ("T", "TiB"), ("P", "PiB"), ("E", "EiB")];

/// A `usize` as `u64`: no system that Rust knows has wider addresses.
pub(crate) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// At most five characters, as in `132K`, `1.5M`, `1023K`: for columns.
pub(crate) fn short(bytes: u64) -> String {
    let (number, unit) = scaled(bytes);
    format!("{number}{}", UNITS.get(unit).map_or("", |names| names.0))
}

/// As in `132 KiB`, `1.5 MiB`: for sentences.
pub(crate) fn long(bytes: u64) -> String {
    let (number, unit) = scaled(bytes);
    format!("{number} {}", UNITS.get(unit).map_or("", |names| names.1))
}

/// A number with up to four digits and the index of its unit. Below 100, what is not whole has one decimal.
fn scaled(bytes: u64) -> (Number, usize) {
    let bytes = u128::from(bytes);
    let (mut unit, mut one) = (0, 1_u128);
    while bytes >= one * 1024 && unit + 1 < UNITS.len() {
        one *= 1024;
        unit += 1;
    }
    let tenths = (bytes * 10 + one / 2) / one;
    let rounded = (bytes + one / 2) / one;
    if rounded >= 1024 && unit + 1 < UNITS.len() {
        (Number { tenths: 10, decimal: true }, unit + 1)
    } else if bytes % one == 0 || tenths >= 1000 {
        (Number { tenths: rounded * 10, decimal: false }, unit)
    } else {
        (Number { tenths, decimal: true }, unit)
    }
}

struct Number {
    tenths: u128,
    decimal: bool,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decimal {
            true => write!(f, "{}.{}", self.tenths / 10, self.tenths % 10),
            false => write!(f, "{}", self.tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_say_1024() {
        for (bytes, expected) in [
            (0, "0B"),
            (512, "512B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (4096, "4K"),
            (135_168, "132K"),
            (1_048_575, "1.0M"),
            (1 << 20, "1M"),
            ((1 << 20) + 1, "1.0M"),
            (150 << 20 | 700_000, "151M"),
            (1 << 40, "1T"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(short(bytes), expected, "{bytes}");
        }
        for shift in 0..64 {
            for bytes in
                [(1_u64 << shift).wrapping_sub(1), 1 << shift, (1 << shift) + 1, (1 << shift) / 10 * 9]
            {
                assert!(short(bytes).len() <= 5, "{bytes}: {}", short(bytes));
            }
        }
        assert_eq!(long(3 << 19), "1.5 MiB");
    }
}
