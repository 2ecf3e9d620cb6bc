//! Ratios for people, numbers for programs.

use crate::measure::{Group, Row};
use std::path::Path;

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

fn ratio(ratio: f64) -> String {
    match ratio {
        r if r < 0.1 => format!("{r:.4}x"),
        r if r < 10.0 => format!("{r:.2}x"),
        r => format!("{r:.0}x"),
    }
}

fn aim(row: &Row) -> String {
    match row.aim {
        None => String::new(),
        Some(aim) if row.ratio <= aim => format!("≤ {aim:.2}x: kept"),
        Some(aim) => format!("≤ {aim:.2}x: missed"),
    }
}

fn memory(row: &Row) -> String {
    row.memory
        .as_ref()
        .map_or_else(String::new, |memory| format!("{} / {} / {} MiB", memory.peak, memory.held, memory.left))
}

pub(crate) fn print(groups: &[Group], markdown: bool) {
    let with_memory = groups.iter().flat_map(|group| &group.rows).any(|row| row.memory.is_some());
    if markdown && with_memory {
        println!("| work | who | time | ratio | aim | memory: at its height / with the result / dropped |");
        println!("|---|---|---:|---:|---|---:|");
    } else if markdown {
        println!("| work | who | time | ratio | aim |\n|---|---|---:|---:|---|");
    }
    for group in groups {
        if !markdown {
            println!("\n{}", group.name);
        }
        for (index, row) in group.rows.iter().enumerate() {
            let (name, time, ratio, aim) = (&row.name, time(row.nanoseconds), ratio(row.ratio), aim(row));
            let memory = memory(row);
            if markdown {
                let memory = if with_memory { format!(" {memory} |") } else { String::new() };
                let work = if index == 0 { group.name.as_str() } else { "" };
                println!("| {work} | {name} | {time} | {ratio} | {aim} |{memory}");
            } else {
                println!("  {name:<44} {time:>12} {ratio:>10}  {aim:<15} {memory}");
            }
        }
    }
}

pub(crate) fn write_json(groups: &[Group], path: &Path) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(groups).map_err(std::io::Error::other)?;
    std::fs::write(path, text + "\n")
}
