//! `folio map`.

use crate::args::{MapArgs, Sort};
use crate::collect::{self, Row, Totals};
use crate::out::{Failure, Out};
use crate::size::long;
use crate::summary::Summary;
use crate::{json, strip, table};
use std::cmp::Reverse;
use std::io::Write;

pub(crate) fn run(args: &MapArgs, out: &mut Out) -> Result<(), Failure> {
    let mut map = collect::read(args.process, args.usage || args.sort == Sort::Rss)?;
    let in_process = map.rows.len();
    map.rows.retain(|row| args.filter.iter().all(|filter| filter.matches(row)));
    let totals = Totals::of(&map.rows);

    if args.json {
        let summary = args.summary.then(|| Summary::of(&map.rows, args.sort));
        let rows = sorted(&map.rows, args.sort);
        return json::map(out, &map, in_process, &rows, summary.as_ref(), &totals);
    }

    let pen = out.pen();
    write!(out, "{} {}: ", pen.bold("process"), pen.bold(map.pid))?;
    match (in_process, args.filter.is_empty()) {
        (0, _) => writeln!(out, "nothing is mapped (it has no memory of its own: a kernel thread?)")?,
        (_, true) => writeln!(out, "{} of address space", counted(totals.mappings, totals.size))?,
        (_, false) => {
            let filters: Vec<_> =
                args.filter.iter().map(|filter| crate::text::shown(filter.text().as_bytes())).collect();
            let count = counted(totals.mappings, totals.size);
            writeln!(out, "{count}, out of {in_process}, match {}", filters.join(" and "))?;
        }
    }
    if map.rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    match args.summary {
        true => Summary::of(&map.rows, args.sort).print(out, &totals)?,
        false => table::print(out, &sorted(&map.rows, args.sort), &totals)?,
    }
    if !args.no_strip {
        writeln!(out)?;
        strip::print(out, &map.rows, !args.filter.is_empty())?;
    }
    Ok(())
}

fn counted(mappings: u64, size: u64) -> String {
    format!("{mappings} mapping{}, {}", if mappings == 1 { "" } else { "s" }, long(size))
}

/// The rows, which ascend, in the order that is asked for; what is equal still ascends.
fn sorted(rows: &[Row], by: Sort) -> Vec<&Row> {
    let mut rows: Vec<_> = rows.iter().collect();
    match by {
        Sort::Address => {}
        Sort::Size => rows.sort_by_key(|row| Reverse(row.size())),
        Sort::Rss => rows.sort_by_key(|row| Reverse(row.resident())),
    }
    rows
}
