//! Taking turns: the contenders of a group run one after the other, many times round, so that what the machine does
//! meanwhile falls on all of them alike.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What was measured of one contender.
#[derive(serde::Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Nanoseconds an operation: the median of all rounds.
    pub(crate) nanoseconds: f64,
    /// The median, over the rounds, of this one's time by that of the limit in the same round.
    pub(crate) ratio: f64,
    /// What folio aims at; the row keeps it if `ratio` is not above.
    pub(crate) aim: Option<f64>,
    /// Where it was asked for.
    pub(crate) memory: Option<Memory>,
}

/// What one run takes of memory beyond what there was, in MiB of the resident set.
#[derive(serde::Serialize)]
pub(crate) struct Memory {
    /// At its height.
    pub(crate) peak: u64,
    /// When it is over, but for dropping what it made.
    pub(crate) held: u64,
    /// When that is dropped, too.
    pub(crate) left: u64,
}

/// Contenders that do the same work. The first row is the limit.
#[derive(serde::Serialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
}

/// Calls what it is given before it drops what it made.
type Body<'a> = Box<dyn FnMut(Option<&mut dyn FnMut()>) + 'a>;

pub(crate) struct Contender<'a> {
    name: &'static str,
    aim: Option<f64>,
    body: Body<'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new<T>(name: &'static str, mut body: impl FnMut() -> T + 'a) -> Self {
        let body = Box::new(move |before_drop: Option<&mut dyn FnMut()>| {
            let made = black_box(body());
            if let Some(look) = before_drop {
                look();
            }
            drop(made);
        });
        Self { name, aim: None, body }
    }

    /// One of ours, with the ratio that it is to keep.
    pub(crate) fn aiming<T>(name: &'static str, aim: f64, body: impl FnMut() -> T + 'a) -> Self {
        Self { aim: Some(aim), ..Self::new(name, body) }
    }
}

pub(crate) struct Bench {
    short: bool,
    filter: Option<String>,
    groups: Vec<Group>,
}

impl Bench {
    pub(crate) fn new(short: bool, filter: Option<String>) -> Self {
        Self { short, filter, groups: Vec::new() }
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// Measures a group: the first contender is the limit.
    pub(crate) fn group(&mut self, name: String, contenders: Vec<Contender<'_>>) {
        self.measure(name, contenders, 41, false);
    }

    /// The same, with what each takes of memory.
    pub(crate) fn with_memory(&mut self, name: String, contenders: Vec<Contender<'_>>) {
        self.measure(name, contenders, 41, true);
    }

    /// The same, for what takes seconds each time.
    pub(crate) fn few(&mut self, name: String, contenders: Vec<Contender<'_>>) {
        self.measure(name, contenders, 5, true);
    }

    fn measure(&mut self, name: String, mut contenders: Vec<Contender<'_>>, rounds: usize, memory: bool) {
        if !self.wants(&name) {
            return;
        }
        eprintln!("measuring {name} ...");
        let (rounds, slice) =
            if self.short { (2, Duration::from_micros(100)) } else { (rounds, Duration::from_millis(4)) };
        let begun = Instant::now();
        // How often each is repeated in one round: about as often as fits a slice of time.
        let repeats: Vec<u32> = contenders
            .iter_mut()
            .map(|contender| {
                let started = Instant::now();
                let mut done = 0;
                while started.elapsed() < slice && done < 1_000_000 {
                    (contender.body)(None);
                    done += 1;
                }
                done
            })
            .collect();
        // What takes long has more to be taken the median of within each round.
        let rounds = if begun.elapsed() > Duration::from_secs(1) { rounds.min(11) } else { rounds };
        let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
        for _ in 0..rounds {
            for ((contender, &repeats), times) in contenders.iter_mut().zip(&repeats).zip(&mut times) {
                let started = Instant::now();
                for _ in 0..repeats {
                    (contender.body)(None);
                }
                times.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(repeats));
            }
        }
        let rows = contenders
            .iter_mut()
            .zip(&times)
            .map(|(contender, own)| Row {
                name: contender.name.to_owned(),
                nanoseconds: median(own.clone()),
                ratio: median(own.iter().zip(&times[0]).map(|(own, limit)| own / limit).collect()),
                aim: contender.aim,
                memory: memory.then(|| memory_of(&mut contender.body)).flatten(),
            })
            .collect();
        self.groups.push(Group { name, rounds, rows });
    }

    pub(crate) fn finish(self) -> Vec<Group> {
        self.groups
    }
}

/// `None` where the system does not count it.
fn memory_of(body: &mut Body<'_>) -> Option<Memory> {
    // Lets the peak begin anew (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let before = status("VmRSS:")?;
    let mut seen = None;
    body(Some(&mut || seen = status("VmHWM:").zip(status("VmRSS:"))));
    let ((peak, held), left) = (seen?, status("VmRSS:")?);
    let mib = |kib: u64| (kib.saturating_sub(before) + 512) >> 10;
    Some(Memory { peak: mib(peak), held: mib(held), left: mib(left) })
}

/// A number of KiB.
fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
