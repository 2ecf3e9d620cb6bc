//! The address space to scale.
//!
//! Drawn at one scale, a process is a few dots in 128 TiB of nothing. So the strip is cut where a gap takes much of it:
//! between the cuts lie clusters, each drawn to a scale of its own, and the gaps are told in words.

use crate::collect::Row;
use crate::kind::Kind;
use crate::out::{Failure, Out};
use crate::size::{long, short};
use std::cmp::Reverse;
use std::io::Write;
use std::ops::Range;

/// At most so many clusters: what does not get a line of its own is a gap within one.
const CLUSTERS: usize = 9;
/// A gap is cut out when it would take more than one part in so many of its cluster's line …
const PART: u64 = 5;
/// … and is at least so large.
const LEAST_GAP: u64 = 1 << 20;
/// The width when there is no terminal.
const WIDTH: usize = 80;

/// What the strip needs to know of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    start: u64,
    end: u64,
    kind: Kind,
}

/// Writes the strip for rows that ascend, and its legend.
pub(crate) fn print(out: &mut Out, rows: &[Row], filtered: bool) -> Result<(), Failure> {
    let pen = out.pen();
    let pieces: Vec<_> =
        rows.iter().map(|row| Piece { start: row.start(), end: row.end(), kind: row.kind }).collect();
    let digits = pieces.iter().map(|piece| address(piece.end).len()).max().unwrap_or(12);
    // Two addresses, a size, and what separates them from the cells.
    let cells = out.width().unwrap_or(WIDTH).saturating_sub(2 * digits + " || 12345".len() + 2).max(8);
    let clusters = clusters(&pieces);
    let most = if clusters.len() > 3 { 2 } else { 4 };
    writeln!(out, "{}", pen.bold("ADDRESS SPACE, each part to its own scale"))?;
    if filtered {
        writeln!(out, "(what matches only: in the gaps there may be other mappings)")?;
    }
    let mut below: Option<u64> = None;
    for cluster in clusters {
        let Some((first, last)) = ends(cluster) else { continue };
        if let Some(below) = below {
            let gap = format!("··· gap {} ···", long(first.saturating_sub(below)));
            writeln!(out, "{:digits$}  {}", "", pen.dim(gap))?;
        }
        below = Some(last);
        let lines = cluster.len().div_ceil(cells / 3).clamp(1, most);
        let drawn = draw(cluster, first..last, lines * cells);
        for (line, kinds) in drawn.chunks(cells).enumerate() {
            let edge = |line: usize| boundary(&(first..last), line, lines);
            let (start, end) = (edge(line), edge(line + 1));
            write!(out, "{:>digits$} |", address(start))?;
            // Neighbouring cells of a kind are painted at once: less to write, and nothing between them.
            for run in kinds.chunk_by(|one, other| one == other) {
                match run.first().copied().flatten() {
                    Some(kind) => {
                        let letters: String = run.iter().map(|_| kind.letter()).collect();
                        write!(out, "{}", pen.paint(kind.cell(), letters))?;
                    }
                    None => write!(out, "{}", pen.dim("·".repeat(run.len())))?,
                }
            }
            writeln!(out, "| {:>digits$} {:>5}", address(end), short(end.saturating_sub(start)))?;
        }
    }
    legend(out, &pieces)
}

fn address(address: u64) -> String {
    format!("{address:012x}")
}

fn legend(out: &mut Out, pieces: &[Piece]) -> Result<(), Failure> {
    let pen = out.pen();
    for kind in Kind::ALL.into_iter().filter(|kind| pieces.iter().any(|piece| piece.kind == *kind)) {
        write!(out, "{} {}  ", pen.paint(kind.cell(), kind.letter()), kind.name())?;
    }
    Ok(writeln!(out, "{} gap", pen.dim("·"))?)
}

/// The first address of a cluster and the one after its last.
fn ends(pieces: &[Piece]) -> Option<(u64, u64)> {
    Some((pieces.first()?.start, pieces.last()?.end))
}

/// Where part `index` of `parts` equal ones begins.
fn boundary(span: &Range<u64>, index: usize, parts: usize) -> u64 {
    let (len, index, parts) = (span.end.saturating_sub(span.start), to_u128(index), to_u128(parts.max(1)));
    let offset = u128::from(len) * index / parts;
    span.start.saturating_add(u64::try_from(offset).unwrap_or(len))
}

fn to_u128(value: usize) -> u128 {
    u128::from(crate::size::wide(value))
}

/// Cuts at the largest gaps, as long as they are a large part of what they are in.
fn clusters(pieces: &[Piece]) -> Vec<&[Piece]> {
    let mut gaps: Vec<(u64, usize)> = pieces
        .windows(2)
        .enumerate()
        .filter_map(|(at, pair)| match pair {
            [below, above] => Some((above.start.saturating_sub(below.end), at + 1)),
            _ => None,
        })
        .filter(|(gap, _)| *gap >= LEAST_GAP)
        .collect();
    gaps.sort_unstable_by_key(|(gap, at)| (Reverse(*gap), *at));
    let mut clusters = vec![pieces];
    for (gap, at) in gaps {
        if clusters.len() >= CLUSTERS {
            break;
        }
        // Clusters stay in order: the one with this gap is found by counting their pieces off.
        let mut before = 0;
        let Some(index) = clusters.iter().position(|cluster| {
            let within = at - before < cluster.len();
            before += if within { 0 } else { cluster.len() };
            within
        }) else {
            continue;
        };
        let Some(cluster) = clusters.get(index).copied() else { continue };
        let span = ends(cluster).map_or(0, |(first, last)| last.saturating_sub(first));
        if let Some((below, above)) = cluster.split_at_checked(at - before)
            && gap.saturating_mul(PART) > span
        {
            clusters.splice(index..=index, [below, above]);
        }
    }
    clusters
}

/// The kind that has the most bytes of each cell; `None` where nothing is mapped at all. So a small mapping still shows in
/// a large gap.
fn draw(pieces: &[Piece], span: Range<u64>, cells: usize) -> Vec<Option<Kind>> {
    let mut bytes = vec![[0_u64; Kind::ALL.len()]; cells];
    let len = u128::from(span.end.saturating_sub(span.start)).max(1);
    for piece in pieces {
        // The cell of an address; `boundary` rounds down, so the cell before may still reach into it.
        let offset = u128::from(piece.start.saturating_sub(span.start));
        let first = usize::try_from(offset * to_u128(cells) / len).unwrap_or(cells).saturating_sub(1);
        for (index, cell) in bytes.iter_mut().enumerate().skip(first) {
            let (start, end) = (boundary(&span, index, cells), boundary(&span, index + 1, cells));
            if start >= piece.end {
                break;
            }
            let part = end.min(piece.end).saturating_sub(start.max(piece.start));
            if let Some(sum) = cell.get_mut(piece.kind.index()) {
                *sum = sum.saturating_add(part);
            }
        }
    }
    let largest = |cell: [u64; Kind::ALL.len()]| {
        Kind::ALL.into_iter().zip(cell).filter(|(_, bytes)| *bytes > 0).max_by_key(|(_, bytes)| *bytes)
    };
    bytes.into_iter().map(|cell| largest(cell).map(|(kind, _)| kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn piece(start: u64, len: u64, kind: Kind) -> Piece {
        Piece { start, end: start + len, kind }
    }

    fn drawn(pieces: &[Piece], span: Range<u64>, cells: usize) -> String {
        draw(pieces, span, cells).into_iter().map(|kind| kind.map_or('.', Kind::letter)).collect()
    }

    #[test]
    fn cells_are_to_scale_and_gaps_are_gaps() {
        let pieces = [piece(100, 30, Kind::Code), piece(130, 20, Kind::File), piece(180, 20, Kind::Heap)];
        assert_eq!(drawn(&pieces, 100..200, 10), "CCCFF...HH");
        assert_eq!(drawn(&pieces, 100..200, 20), "CCCCCCFFFF......HHHH");
        // The kind with most bytes of a cell, and any kind before none.
        assert_eq!(drawn(&pieces, 100..200, 2), "CH");
        assert_eq!(drawn(&[piece(0, 1, Kind::Stack), piece(999, 1, Kind::Kernel)], 0..1000, 5), "S...K");
    }

    #[test]
    fn the_whole_address_space_can_be_drawn() {
        let pieces = [piece(0, 1, Kind::Code), piece(u64::MAX - 1, 1, Kind::Kernel)];
        assert_eq!(drawn(&pieces, 0..u64::MAX, 4), "C..K");
        // More cells than bytes: no cell is lost.
        assert_eq!(drawn(&[piece(8, 2, Kind::Heap)], 8..10, 5).len(), 5);
    }

    #[test]
    fn only_gaps_that_take_much_of_the_line_are_cut_out() {
        let pieces = [
            piece(0, MIB, Kind::Code),
            piece(2 * MIB, 99 * MIB, Kind::File),
            piece(1 << 40, MIB, Kind::Heap),
            piece((1 << 40) + MIB, MIB, Kind::Heap),
            piece(1 << 46, MIB, Kind::Stack),
        ];
        let sizes: Vec<_> = clusters(&pieces).iter().map(|cluster| cluster.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_eq!(clusters(&pieces).concat(), pieces);
    }

    #[test]
    fn there_are_never_too_many_clusters() {
        let pieces: Vec<_> = (0..200).map(|index| piece(index << 32, MIB, Kind::Anonymous)).collect();
        let clusters = clusters(&pieces);
        assert!(clusters.len() <= CLUSTERS);
        assert_eq!(clusters.concat(), pieces);
    }
}
