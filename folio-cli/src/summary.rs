//! One row a kind, and the largest files.

use crate::args::Sort;
use crate::collect::{Row, Totals};
use crate::kind::Kind;
use crate::out::{Failure, Out};
use crate::size::short;
use crate::table::{figures, measured, titles};
use crate::text::{fit, shown};
use folio::BackingKind;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Write;

/// How many files are named.
const FILES: usize = 10;

/// The mappings, added up.
pub(crate) struct Summary<'a> {
    /// The kinds that occur.
    pub(crate) kinds: Vec<(Kind, Totals)>,
    /// The files with the most resident memory, if that was measured, else the most address space.
    pub(crate) files: Vec<(&'a [u8], Totals)>,
}

impl<'a> Summary<'a> {
    /// `sort` decides the order of the kinds; by address, it is that of the legend.
    pub(crate) fn of(rows: &'a [Row], sort: Sort) -> Self {
        let mut kinds = Kind::ALL.map(|kind| (kind, Totals::default()));
        let mut files: HashMap<&[u8], Totals> = HashMap::new();
        for row in rows {
            if let Some((_, totals)) = kinds.get_mut(row.kind.index()) {
                totals.add(row);
            }
            if matches!(row.backing.kind(), BackingKind::File | BackingKind::Image) {
                files.entry(row.backing.name()).or_default().add(row);
            }
        }
        let mut kinds: Vec<_> = kinds.into_iter().filter(|(_, totals)| totals.mappings > 0).collect();
        match sort {
            Sort::Address => {}
            Sort::Size => kinds.sort_by_key(|(_, totals)| Reverse(totals.size)),
            Sort::Rss => kinds.sort_by_key(|(_, totals)| Reverse(totals.resident())),
        }
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_unstable_by_key(|(name, totals)| (Reverse((totals.resident(), totals.size)), *name));
        files.truncate(FILES);
        Self { kinds, files }
    }

    pub(crate) fn print(&self, out: &mut Out, totals: &Totals) -> Result<(), Failure> {
        let (pen, figures) = (out.pen(), figures(totals.usage.as_ref()));
        let titles = titles(&figures);
        writeln!(out, "{}", pen.bold(format_args!("KIND      COUNT  SIZE{titles}")))?;
        for (kind, totals) in &self.kinds {
            let (size, usage) = (short(totals.size), measured(&figures, totals.usage.as_ref()));
            let name = pen.paint(kind.style(), kind.name());
            writeln!(out, "{name:<9} {:>5} {size:>5}{usage}", totals.mappings)?;
        }
        let (size, usage) = (short(totals.size), measured(&figures, totals.usage.as_ref()));
        writeln!(out, "{}", pen.bold(format_args!("total     {:>5} {size:>5}{usage}", totals.mappings)))?;

        if !self.files.is_empty() {
            writeln!(out, "\n{}", pen.bold(format_args!("COUNT  SIZE{titles} FILE")))?;
        }
        let before = "12345 12345 ".len() + 6 * figures.len();
        for (name, totals) in &self.files {
            let (size, usage) = (short(totals.size), measured(&figures, totals.usage.as_ref()));
            let name = shown(name);
            let name = match out.width() {
                Some(width) => fit(&name, width.saturating_sub(before).max(16)),
                None => name,
            };
            writeln!(out, "{:>5} {size:>5}{usage} {name}", totals.mappings)?;
        }
        Ok(())
    }
}
