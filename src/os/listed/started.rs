//! When a process was started: what tells it from a later one with its number.
//!
//! FreeBSD and OpenBSD keep that as a time since the machine was started, and tell it as a time of day, which they reckon
//! anew for each question (`fill_kinfo_proc_only` in `sys/kern/kern_proc.c`, `fill_kproc` in `sys/kern/kern_sysctl.c`): it
//! moves whenever somebody sets the clock. So the time of day at which the machine was started is asked for as well, and
//! taken off again.

use core::ops::Range;

/// In microseconds, by a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started(i64);

impl Started {
    /// `start`: what the kernel tells. `boot`: what it has added, 0 if nothing.
    pub(crate) fn new(start: i64, boot: i64) -> Self {
        Self(start.saturating_sub(boot))
    }

    /// Whether both are one moment. Sum and summand are cut off to microseconds one by one, so that their difference may be
    /// off by one; in so short a time no process ends and another gets its number.
    pub(crate) fn is(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= 1
    }
}

/// A time that lies in fields of 4 or 8 bytes for the seconds and for the microseconds.
pub(crate) fn micros(bytes: &[u8], seconds: Range<usize>, micros: Range<usize>) -> Option<i64> {
    let number = |field: Range<usize>| {
        let field = bytes.get(field)?;
        match field.len() {
            4 => Some(i64::from(i32::from_ne_bytes(*field.first_chunk()?))),
            8 => Some(i64::from_ne_bytes(*field.first_chunk()?)),
            _ => None,
        }
    };
    Some(number(seconds)?.saturating_mul(1_000_000).saturating_add(number(micros)?))
}

/// What `ask` gives, and what `boot` gives for the same moment: the same before and after. (A clock that is set again and
/// again is given up on.)
pub(crate) fn with_boot<T, E>(
    boot: impl Fn() -> Result<i64, E>,
    ask: impl Fn() -> Result<T, E>,
) -> Result<(i64, T), E> {
    const TRIES: u32 = 4;
    let mut before = boot()?;
    let mut told = ask()?;
    for _ in 1..TRIES {
        let after = boot()?;
        if before == after {
            break;
        }
        (before, told) = (after, ask()?);
    }
    Ok((before, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// A machine's clock: each question of when the machine was started takes the next of these times.
    fn ask_while(boots: &[i64], since_boot: i64) -> Started {
        let asked = Cell::new(0);
        let now = || boots[asked.get().min(boots.len() - 1)];
        let boot = || {
            let boot = now();
            asked.set(asked.get() + 1);
            Ok::<_, ()>(boot)
        };
        let (boot, start) = with_boot(boot, || Ok(now() + since_boot)).unwrap();
        Started::new(start, boot)
    }

    #[test]
    fn a_clock_that_is_set_ends_no_process() {
        let first = ask_while(&[1_000_000_000], 77);
        assert!(first.is(ask_while(&[1_000_000_000], 77)));
        assert!(first.is(ask_while(&[5], 77)), "set between two questions");
        assert!(first.is(ask_while(&[-3_000_000], 77)), "to before 1970");
        assert!(first.is(ask_while(&[1_000_000_000, 5], 77)), "set within a question");
        assert!(!first.is(ask_while(&[1_000_000_000], 80)), "another process");
        // A clock set all the time: an answer, of whatever kind.
        let _ = ask_while(&[1, 20, 300, 4000, 50000, 600_000, 7_000_000, 80_000_000], 77);
    }

    #[test]
    fn what_is_cut_off_makes_no_other_moment() {
        // The machine started at 1.9 µs and later (the clock was set) at 2.0 µs; the process 0.2 µs after that.
        assert!(Started::new(2, 1).is(Started::new(2, 2)));
        assert!(!Started::new(i64::MAX, i64::MIN).is(Started::new(i64::MIN, i64::MAX)));
    }

    #[test]
    fn fields_of_both_widths() {
        let mut bytes = alloc::vec::Vec::from((-2_i64).to_ne_bytes());
        bytes.extend_from_slice(&3_i32.to_ne_bytes());
        assert_eq!(micros(&bytes, 0..8, 8..12), Some(-1_999_997));
        assert_eq!(micros(&bytes, 8..12, 8..12), Some(3_000_003));
        for odd in [8..11, 8..13, 12..16, 8..8, usize::MAX..usize::MAX] {
            assert_eq!(micros(&bytes, 0..8, odd.clone()), None);
            assert_eq!(micros(&bytes, odd, 0..8), None);
        }
        assert_eq!(micros(&i64::MAX.to_ne_bytes(), 0..8, 0..8), Some(i64::MAX));
    }
}
