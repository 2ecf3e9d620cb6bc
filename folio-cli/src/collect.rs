//! Reading the mappings of a process.

use crate::args::Pid;
use crate::kind::Kind;
use crate::out::Failure;
use crate::progress::Progress;
use crate::size::wide;
use folio::{Backing, Process, Region, Usage};
use std::time::SystemTime;

/// One mapping.
pub(crate) struct Row {
    pub(crate) region: Region,
    pub(crate) backing: Backing<'static>,
    pub(crate) kind: Kind,
    pub(crate) usage: Option<Usage>,
}

impl Row {
    pub(crate) fn start(&self) -> u64 {
        wide(self.region.as_range().start)
    }

    pub(crate) fn end(&self) -> u64 {
        wide(self.region.as_range().end)
    }

    pub(crate) fn size(&self) -> u64 {
        wide(self.region.len())
    }

    pub(crate) fn resident(&self) -> u64 {
        self.usage.map_or(0, |usage| usage.resident())
    }

    /// The name for people: one line, and whether the file is gone.
    pub(crate) fn shown_name(&self) -> String {
        let mut name = crate::text::shown(self.backing.name()).into_owned();
        if self.backing.is_deleted() {
            name.push_str(" (deleted)");
        }
        name
    }
}

/// What a process had mapped at a moment.
pub(crate) struct Map {
    pub(crate) pid: u32,
    pub(crate) taken: SystemTime,
    /// In ascending order of addresses.
    pub(crate) rows: Vec<Row>,
}

/// The process that is meant.
pub(crate) fn open(pid: Pid) -> Result<Process, Failure> {
    Ok(match pid {
        Pid::Current => Process::current(),
        Pid::Other(pid) => Process::open(pid)?,
    })
}

/// Reads all mappings; half of them, when the process ends meanwhile, are never taken for all.
pub(crate) fn read(pid: Pid, with_usage: bool) -> Result<Map, Failure> {
    let process = open(pid)?;
    let taken = SystemTime::now();
    let progress = Progress::start(pid);
    let mut mappings = if with_usage { process.mappings_with_usage()? } else { process.mappings()? };
    let mut rows = Vec::new();
    while let Some(mapping) = mappings.advance()? {
        let region = mapping.region();
        rows.push(Row {
            region,
            kind: Kind::of(&region, mapping.backing()),
            usage: mapping.usage().copied(),
            backing: mapping.backing().clone().into_owned(),
        });
        progress.step();
    }
    Ok(Map { pid: process.id(), taken, rows })
}

/// Sums over mappings. They saturate: reserved address space can be far more than there is memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) mappings: u64,
    pub(crate) size: u64,
    pub(crate) usage: Option<Usage>,
}

impl Totals {
    pub(crate) fn add(&mut self, row: &Row) {
        self.mappings = self.mappings.saturating_add(1);
        self.size = self.size.saturating_add(row.size());
        if let Some(usage) = &row.usage {
            *self.usage.get_or_insert_default() += usage;
        }
    }

    pub(crate) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut totals = Self::default();
        rows.into_iter().for_each(|row| totals.add(row));
        totals
    }

    pub(crate) fn resident(&self) -> u64 {
        self.usage.map_or(0, |usage| usage.resident())
    }
}
