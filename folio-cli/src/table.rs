//! Aligned columns.

use crate::collect::{Row, Totals};
use crate::kind::Kind;
use crate::out::{Failure, Out, Pen};
use crate::size::short;
use crate::text::fit;
use anstyle::{AnsiColor, Style};
use folio::{Protection, Usage};
use std::borrow::Cow;
use std::io::Write;

const WRITABLE_CODE: Style = AnsiColor::Red.on_default().bold();
/// The least a name gets, however narrow the terminal.
const LEAST_NAME: usize = 16;
/// From this width on, addresses are written in full.
const WIDE: usize = 110;

/// One figure of the memory used.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    title: &'static str,
    of: fn(&Usage) -> Option<u64>,
}

/// The figures that are worth a column: those that are always asked for, and those that are anything here.
pub(crate) fn figures(total: Option<&Usage>) -> Vec<Figure> {
    fn figure(title: &'static str, of: fn(&Usage) -> Option<u64>) -> Figure {
        Figure { title, of }
    }
    let Some(total) = total else { return Vec::new() };
    let mut figures = vec![
        figure("RSS", |usage| Some(usage.resident())),
        figure("PSS", Usage::proportional),
        figure("DIRTY", Usage::dirty),
    ];
    let rare = [figure("SWAP", Usage::swapped), figure("HUGE", Usage::huge), figure("LOCK", Usage::locked)];
    figures.retain(|figure| (figure.of)(total).is_some());
    figures.extend(rare.into_iter().filter(|figure| (figure.of)(total).is_some_and(|sum| sum > 0)));
    figures
}

/// Writes the titles of the figures.
pub(crate) fn titles(figures: &[Figure]) -> String {
    figures.iter().map(|figure| format!(" {:>5}", figure.title)).collect()
}

/// Writes the figures: `0` is measured and nothing, `-` is not known.
pub(crate) fn measured(figures: &[Figure], usage: Option<&Usage>) -> String {
    let mut text = String::new();
    for figure in figures {
        let shown = match usage.and_then(figure.of) {
            Some(0) => Cow::Borrowed("0"),
            Some(bytes) => Cow::Owned(short(bytes)),
            None => Cow::Borrowed("-"),
        };
        text.push_str(&format!(" {shown:>5}"));
    }
    text
}

/// `r-xp`, as in `/proc/PID/maps`.
pub(crate) fn rights(row: &Row) -> String {
    format!("{}{}", row.region.protection(), if row.region.is_shared() { 's' } else { 'p' })
}

/// What can be written and executed is what to look for: it stands out.
pub(crate) fn rights_style(row: &Row) -> Style {
    match row.region.protection().contains(Protection::WRITE_EXECUTE) {
        true => WRITABLE_CODE,
        false => Style::new(),
    }
}

/// The addresses from the first byte to the one after the last. Where the column is too narrow for both, only the last
/// digits of the second are given.
pub(crate) fn range(start: u64, end: u64, columns: usize) -> String {
    let whole = format!("{start:012x}-{end:012x}");
    if whole.len() <= columns {
        return whole;
    }
    let (start, end) = (format!("{start:012x}"), format!("{end:012x}"));
    let digits = columns.saturating_sub(start.len() + 2).clamp(4, end.len());
    format!("{start}-…{}", end.get(end.len() - digits..).unwrap_or_default())
}

/// Where the columns are.
struct Layout {
    pen: Pen,
    range: usize,
    figures: Vec<Figure>,
    /// `None`: as long as it is.
    name: Option<usize>,
}

impl Layout {
    fn new(out: &Out, rows: &[&Row], totals: &Totals) -> Self {
        let longest = rows.iter().map(|row| format!("{:012x}", row.end()).len()).max().unwrap_or(12);
        let range = match out.width() {
            Some(width) if width < WIDE => 25,
            _ => longest * 2 + 1,
        };
        let figures = figures(totals.usage.as_ref());
        let before = range + " 12345 rwxp anonymous ".len() + 6 * figures.len();
        let name = out.width().map(|width| width.saturating_sub(before).max(LEAST_NAME));
        Self { pen: out.pen(), range, figures, name }
    }

    fn row(&self, out: &mut Out, row: &Row) -> Result<(), Failure> {
        let pen = self.pen;
        let range = range(row.start(), row.end(), self.range);
        let (size, usage) = (short(row.size()), measured(&self.figures, row.usage.as_ref()));
        let rights = pen.paint(rights_style(row), rights(row));
        let kind = pen.paint(row.kind.style(), row.kind.name());
        let columns = self.range;
        write!(out, "{range:<columns$} {size:>5}{usage} {rights} ")?;
        let name = row.shown_name();
        if name.is_empty() {
            writeln!(out, "{kind}")?;
            return Ok(());
        }
        let name = self.name.map_or(Cow::Borrowed(&*name), |columns| fit(&name, columns));
        let style = match row.kind {
            _ if row.backing.is_deleted() => AnsiColor::Red.on_default(),
            Kind::Guard | Kind::Reserved => row.kind.style(),
            _ => Style::new(),
        };
        Ok(writeln!(out, "{kind:<9} {}", pen.paint(style, name))?)
    }
}

/// One row a mapping, and the sum.
pub(crate) fn print(out: &mut Out, rows: &[&Row], totals: &Totals) -> Result<(), Failure> {
    let layout = Layout::new(out, rows, totals);
    let (pen, titles) = (layout.pen, titles(&layout.figures));
    let columns = layout.range;
    let header = format!("{:<columns$} {:>5}{titles} PERM {:<9} NAME", "ADDRESS", "SIZE", "KIND");
    writeln!(out, "{}", pen.bold(header))?;
    for row in rows {
        layout.row(out, row)?;
    }
    let mappings = match totals.mappings {
        1 => "total of 1 mapping".to_owned(),
        count => format!("total of {count} mappings"),
    };
    let usage = measured(&layout.figures, totals.usage.as_ref());
    let total = format!("{mappings:<columns$} {:>5}{usage}", short(totals.size));
    Ok(writeln!(out, "{}", pen.bold(total))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_fits_its_column() {
        assert_eq!(range(0x1000, 0x2000, 25), "000000001000-000000002000");
        let top = (0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_1000);
        assert_eq!(range(top.0, top.1, 25), "ffffffffff600000-…f601000");
        assert_eq!(range(top.0, top.1, 33), "ffffffffff600000-ffffffffff601000");
        assert_eq!(range(top.0, top.1, 25).chars().count(), 25);
    }
}
