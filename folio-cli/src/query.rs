//! `folio query`.

use crate::args::{Pid, QueryArgs};
use crate::collect::{self, Row};
use crate::json;
use crate::kind::Kind;
use crate::out::{Failure, Out};
use crate::size::{long, wide};
use crate::table::{range, rights, rights_style};
use std::io::Write;
use std::time::SystemTime;

/// Who owns an address, and who lies next to it.
pub(crate) struct Found {
    pub(crate) pid: u32,
    pub(crate) taken: SystemTime,
    pub(crate) address: u64,
    pub(crate) below: Option<Row>,
    pub(crate) owner: Option<Row>,
    pub(crate) above: Option<Row>,
}

impl Found {
    /// One walk for all three, so that they belong to one listing; it ends at the mapping above.
    fn find(pid: Pid, address: usize) -> Result<Self, Failure> {
        let process = collect::open(pid)?;
        let mut found = Self {
            pid: process.id(),
            taken: SystemTime::now(),
            address: wide(address),
            below: None,
            owner: None,
            above: None,
        };
        let mut mappings = process.mappings()?;
        let mut below = None;
        while let Some(mapping) = mappings.advance()? {
            let region = mapping.region();
            if region.as_range().end <= address && !region.contains(address) {
                below = Some((region, mapping.backing().clone().into_owned()));
                continue;
            }
            let row = Row {
                region,
                kind: Kind::of(&region, mapping.backing()),
                usage: None,
                backing: mapping.backing().clone().into_owned(),
            };
            if region.contains(address) {
                found.owner = Some(row);
            } else {
                found.above = Some(row);
                break;
            }
        }
        found.below = below.map(|(region, backing)| {
            let kind = Kind::of(&region, &backing);
            Row { region, backing, kind, usage: None }
        });
        Ok(found)
    }

    /// The bytes between the owner (or the address, where there is none) and the mapping below.
    pub(crate) fn gap_below(&self) -> u64 {
        let to = self.owner.as_ref().map_or(self.address, Row::start);
        to.saturating_sub(self.below.as_ref().map_or(0, Row::end))
    }

    /// The bytes between the end of the owner (or the address) and the mapping above.
    pub(crate) fn gap_above(&self) -> u64 {
        let from = self.owner.as_ref().map_or(self.address, Row::end);
        self.above.as_ref().map_or(0, Row::start).saturating_sub(from)
    }

    /// Where in the owner's file the address is.
    pub(crate) fn offset(&self) -> Option<u64> {
        let owner = self.owner.as_ref()?;
        Some(owner.backing.offset()?.saturating_add(self.address.saturating_sub(owner.start())))
    }
}

pub(crate) fn run(args: &QueryArgs, out: &mut Out) -> Result<(), Failure> {
    let found = Found::find(args.process, args.address)?;
    match args.json {
        true => json::query(out, &found)?,
        false => print(out, &found)?,
    }
    match found.owner {
        Some(_) => Ok(()),
        None => {
            Err(Failure::Told(format!("nothing is mapped at {:#x} in process {}", found.address, found.pid)))
        }
    }
}

fn print(out: &mut Out, found: &Found) -> Result<(), Failure> {
    let (pen, address) = (out.pen(), format!("{:#x}", found.address));
    let verdict = match &found.owner {
        Some(owner) => {
            let name = owner.shown_name();
            match name.is_empty() {
                true => format!("{} memory", owner.kind.name()),
                false => name,
            }
        }
        None => "nothing is mapped there".to_owned(),
    };
    writeln!(out, "{} in process {}: {}\n", pen.bold(address), found.pid, pen.bold(verdict))?;

    if let Some(row) = &found.below {
        neighbour(out, "below", row)?;
        gap(out, found.gap_below())?;
    }
    match &found.owner {
        Some(row) => owner(out, row, found)?,
        None => writeln!(out, "{}  {:012x}  nothing", pen.bold("here "), found.address)?,
    }
    if let Some(row) = &found.above {
        gap(out, found.gap_above())?;
        neighbour(out, "above", row)?;
    }
    Ok(())
}

fn neighbour(out: &mut Out, title: &str, row: &Row) -> Result<(), Failure> {
    line(out, title, row)?;
    let name = row.shown_name();
    match name.is_empty() {
        true => writeln!(out)?,
        false => writeln!(out, "  {name}")?,
    }
    Ok(())
}

/// Everything but the name and the end of the line.
fn line(out: &mut Out, title: &str, row: &Row) -> Result<(), Failure> {
    let pen = out.pen();
    let range = range(row.start(), row.end(), usize::MAX);
    let (rights, size) = (pen.paint(rights_style(row), rights(row)), long(row.size()));
    let kind = pen.paint(row.kind.style(), row.kind.name());
    Ok(write!(out, "{}  {range}  {rights}  {size}  {kind}", pen.bold(format_args!("{title:<5}")))?)
}

fn gap(out: &mut Out, bytes: u64) -> Result<(), Failure> {
    let pen = out.pen();
    match bytes {
        0 => writeln!(out, "       {}", pen.dim("adjacent"))?,
        bytes => writeln!(out, "       {}", pen.dim(format_args!("··· gap {} ···", long(bytes))))?,
    }
    Ok(())
}

fn owner(out: &mut Out, row: &Row, found: &Found) -> Result<(), Failure> {
    line(out, "here", row)?;
    writeln!(out)?;
    let (region, backing) = (&row.region, &row.backing);
    let mut fact = |title: &str, value: String| writeln!(out, "         {title:<10} {value}");
    if !backing.name().is_empty() {
        fact("name", row.shown_name())?;
    }
    fact("backing", backing.kind().to_string())?;
    fact("position", format!("{:#x} bytes after the start", found.address.saturating_sub(row.start())))?;
    if let Some(offset) = found.offset() {
        fact("in file at", format!("{offset:#x}"))?;
    }
    if let (Some(device), Some(inode)) = (backing.device(), backing.inode()) {
        fact("file", format!("inode {inode} on device {device}"))?;
    }
    if let Some(base) = region.allocation_base() {
        fact("allocation", format!("from {base:#x}"))?;
    }
    if region.is_guarded() {
        fact("guard", "marked as guard pages".to_owned())?;
    }
    Ok(())
}
