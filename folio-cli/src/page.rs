//! `folio page`.

use crate::args::PageArgs;
use crate::json;
use crate::out::{Failure, Out, Pen};
use crate::size::{long, wide};
use anstyle::AnsiColor;
use folio::{Capabilities, CodeStrategy, Limits, Overcommit, QueryMethod, page};
use serde::Serialize;
use std::io::Write;

/// What the system calls a group of processes with a limit.
const GROUP: &str = if cfg!(windows) { "memory of job" } else { "memory of cgroup" };
/// From this part of a limit on, the figure is a warning.
const TIGHT: u64 = 90;

pub(crate) fn run(args: &PageArgs, out: &mut Out) -> Result<(), Failure> {
    let can = Capabilities::probe();
    // Page sizes are worth showing even where the limits cannot be read.
    let limits = Limits::current();
    let known = limits.as_ref().ok();
    match args.json {
        true => json::write(out, &Report::new(&can, known))?,
        false => print(out, &can, known)?,
    }
    limits.map(|_| ()).map_err(Failure::from)
}

#[derive(Serialize)]
struct Report {
    page_size: usize,
    granularity: usize,
    huge_pages: Vec<HugeReport>,
    transparent_sizes: Vec<u64>,
    transparent_huge_pages: Option<String>,
    /// `null` when they could not be read.
    limits: Option<LimitsReport>,
    capabilities: CapabilitiesReport,
}

#[derive(Serialize)]
struct HugeReport {
    size: u64,
    total: Option<u64>,
    free: Option<u64>,
}

/// What is used of what may be.
#[derive(Serialize)]
struct Part {
    used: Option<u64>,
    limit: Option<u64>,
}

#[derive(Serialize)]
struct LimitsReport {
    mappings: Part,
    locked: Part,
    address_space: Part,
    group_memory: Part,
    committed: Part,
    overcommit: Option<String>,
}

#[derive(Serialize)]
struct CapabilitiesReport {
    query_method: String,
    other_processes: bool,
    usage: bool,
    maximum_protection: bool,
    lock_on_fault: bool,
    guard_advice: bool,
    seal: bool,
    protection_keys: bool,
    /// The ways to generated code that are allowed.
    code: Vec<String>,
}

impl Report {
    fn new(can: &Capabilities, limits: Option<&Limits>) -> Self {
        Self {
            page_size: page::size(),
            granularity: page::granularity(),
            huge_pages: huge(limits),
            transparent_sizes: page::transparent_sizes().iter().map(u64::from).collect(),
            transparent_huge_pages: can.transparent_huge_pages().map(|when| when.to_string()),
            limits: limits.map(|limits| LimitsReport {
                mappings: Part { used: limits.mappings(), limit: limits.max_mappings() },
                locked: Part { used: limits.locked(), limit: limits.lock_limit() },
                address_space: Part { used: limits.address_space(), limit: limits.address_space_limit() },
                group_memory: Part { used: limits.group_memory(), limit: limits.group_memory_limit() },
                committed: Part { used: limits.committed(), limit: limits.commit_limit() },
                overcommit: limits.overcommit().map(|how| how.to_string()),
            }),
            capabilities: CapabilitiesReport {
                query_method: can.query_method().to_string(),
                other_processes: can.other_processes(),
                usage: can.usage(),
                maximum_protection: can.maximum_protection(),
                lock_on_fault: can.lock_on_fault(),
                guard_advice: can.guard_advice(),
                seal: can.seal(),
                protection_keys: can.protection_keys(),
                code: ways_to_code(can),
            },
        }
    }
}

/// Every size that a mapping can ask for, with how many pages of it there are, where that is known.
fn huge(limits: Option<&Limits>) -> Vec<HugeReport> {
    let counts =
        |size| limits.and_then(|limits| limits.huge_pages().iter().find(|pages| pages.size() == size));
    page::huge_sizes()
        .iter()
        .map(|size| {
            let pages = counts(size);
            HugeReport {
                size: size.into(),
                total: pages.map(|pages| pages.total()),
                free: pages.map(|pages| pages.free()),
            }
        })
        .collect()
}

fn print(out: &mut Out, can: &Capabilities, limits: Option<&Limits>) -> Result<(), Failure> {
    let pen = out.pen();
    section(out, "Pages")?;
    fact(out, "ordinary", long(wide(page::size())))?;
    fact(
        out,
        "granularity",
        format!("{}, to which new mappings are aligned", long(wide(page::granularity()))),
    )?;
    let sizes = huge(limits);
    if sizes.is_empty() {
        fact(out, "huge", "none".to_owned())?;
    }
    for pages in sizes {
        let size = long(pages.size);
        fact(
            out,
            "huge",
            match (pages.total, pages.free) {
                (Some(0), _) => format!("{size}, none set aside"),
                (Some(total), Some(free)) => format!("{size}, {free} free of {total}"),
                _ => size,
            },
        )?;
    }
    let transparent: Vec<_> = page::transparent_sizes().iter().map(|size| size.to_string()).collect();
    let when = can.transparent_huge_pages().map_or("none".to_owned(), |when| when.to_string());
    fact(
        out,
        "transparent",
        match transparent.is_empty() {
            true => when,
            false => format!("{when}; {}", several(&transparent)),
        },
    )?;

    if let Some(limits) = limits {
        section(out, "\nLimits of a process started from here")?;
        fact(
            out,
            "mappings",
            part(pen, limits.mappings(), limits.max_mappings(), |count| count.to_string()),
        )?;
        fact(out, "locked memory", part(pen, limits.locked(), limits.lock_limit(), long))?;
        fact(out, "address space", part(pen, limits.address_space(), limits.address_space_limit(), long))?;
        fact(out, GROUP, part(pen, limits.group_memory(), limits.group_memory_limit(), long))?;
        section(out, "\nMemory promised by the system")?;
        let how = limits.overcommit().map_or("unknown".to_owned(), |how| how.to_string());
        fact(out, "overcommit", how)?;
        // The commit limit is one only where the system keeps to it.
        let binding = limits.overcommit() == Some(Overcommit::Never);
        let promised = match (limits.committed(), limits.commit_limit()) {
            (Some(now), Some(most)) if !binding => {
                format!("{} ({} if overcommit were never)", long(now), long(most))
            }
            (now, most) => part(pen, now, most, long),
        };
        fact(out, "promised", promised)?;
    }

    section(out, "\nWhat folio can do here")?;
    let method = match can.query_method() {
        QueryMethod::Ioctl => "by PROCMAP_QUERY: the same cost however many mappings there are",
        QueryMethod::Text => "by the text of /proc/thread-self/maps: the cost grows with the mappings",
        QueryMethod::Native => "by a system call made for it",
        QueryMethod::List => "by the list of all mappings: the cost grows with the mappings",
        _ => "not at all",
    };
    let yes = |can: bool| if can { "yes" } else { "no" }.to_owned();
    fact(out, "query", method.to_owned())?;
    fact(out, "other processes", yes(can.other_processes()))?;
    fact(out, "memory used", yes(can.usage()))?;
    fact(out, "maximum rights", yes(can.maximum_protection()))?;
    fact(out, "lock on fault", yes(can.lock_on_fault()))?;
    let guards = if can.guard_advice() { "by advice, at no mapping's cost" } else { "by taking all access" };
    fact(out, "guard pages", guards.to_owned())?;
    fact(out, "seal", yes(can.seal()))?;
    fact(out, "protection keys", yes(can.protection_keys()))?;
    let ways = ways_to_code(can);
    fact(
        out,
        "generated code",
        if ways.is_empty() { "forbidden".to_owned() } else { format!("by {}", ways.join(", by ")) },
    )
}

fn ways_to_code(can: &Capabilities) -> Vec<String> {
    let all = CodeStrategy::all().iter().filter(|&&strategy| can.code(strategy));
    all.map(ToString::to_string).collect()
}

/// All of a few, the ends of many.
fn several(sizes: &[String]) -> String {
    match sizes {
        [first, _, .., _, last] => format!("{first} … {last} ({} sizes)", sizes.len()),
        few => few.join(", "),
    }
}

fn section(out: &mut Out, title: &str) -> Result<(), Failure> {
    let pen = out.pen();
    Ok(writeln!(out, "{}", pen.bold(title))?)
}

fn fact(out: &mut Out, title: &str, value: String) -> Result<(), Failure> {
    Ok(writeln!(out, "  {title:<16} {value}")?)
}

/// `used of limit (percent)`, red when there is little left.
fn part(pen: Pen, used: Option<u64>, limit: Option<u64>, show: impl Fn(u64) -> String) -> String {
    match (used, limit) {
        (None, None) => "no limit known".to_owned(),
        (Some(used), None) => format!("{}, no limit known", show(used)),
        (None, Some(limit)) => format!("at most {}", show(limit)),
        (Some(used), Some(limit)) => {
            let percent =
                used.saturating_mul(100).checked_div(limit).unwrap_or(if used > 0 { 100 } else { 0 });
            let text = format!("{} of {} ({percent} %)", show(used), show(limit));
            match percent >= TIGHT {
                true => pen.paint(AnsiColor::Red.on_default(), text).to_string(),
                false => text,
            }
        }
    }
}
