//! The JSON output of `map` and `query`. Its shape is told in the help of `folio map`, and stays.

use crate::collect::{Map, Row, Totals};
use crate::out::{Failure, Out};
use crate::query::Found;
use crate::summary::Summary;
use crate::text::{hexadecimal, is_hostile};
use folio::Usage;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Serialize)]
struct MapJson<'a> {
    pid: u32,
    taken: u64,
    mappings_in_process: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    mappings: Option<Vec<MappingJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<SummaryJson<'a>>,
    totals: TotalsJson,
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    kinds: Vec<KindJson>,
    files: Vec<FileJson<'a>>,
}

#[derive(Serialize)]
struct KindJson {
    kind: &'static str,
    #[serde(flatten)]
    totals: TotalsJson,
}

#[derive(Serialize)]
struct FileJson<'a> {
    #[serde(flatten)]
    name: NameJson<'a>,
    #[serde(flatten)]
    totals: TotalsJson,
}

#[derive(Serialize)]
struct TotalsJson {
    mappings: u64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageJson>,
}

#[derive(Serialize)]
struct NameJson<'a> {
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_bytes: Option<String>,
}

#[derive(Serialize)]
struct MappingJson<'a> {
    start: String,
    end: String,
    size: u64,
    protection: String,
    shared: bool,
    kind: &'static str,
    backing: String,
    #[serde(flatten)]
    name: NameJson<'a>,
    offset: Option<u64>,
    device: Option<String>,
    inode: Option<u64>,
    deleted: bool,
    committed: bool,
    guarded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageJson>,
}

#[derive(Serialize)]
struct UsageJson {
    resident: u64,
    proportional: Option<u64>,
    shared: Option<u64>,
    private: Option<u64>,
    dirty: Option<u64>,
    referenced: Option<u64>,
    anonymous: Option<u64>,
    swapped: Option<u64>,
    huge: Option<u64>,
    locked: Option<u64>,
}

#[derive(Serialize)]
struct QueryJson<'a> {
    pid: u32,
    taken: u64,
    address: String,
    /// The address within the file or object.
    offset: Option<u64>,
    mapping: Option<MappingJson<'a>>,
    below: Option<NeighbourJson<'a>>,
    above: Option<NeighbourJson<'a>>,
}

#[derive(Serialize)]
struct NeighbourJson<'a> {
    gap: u64,
    mapping: MappingJson<'a>,
}

impl<'a> NeighbourJson<'a> {
    fn new(row: &'a Option<Row>, gap: u64) -> Option<Self> {
        Some(Self { gap, mapping: row.as_ref()?.into() })
    }
}

impl<'a> From<&'a [u8]> for NameJson<'a> {
    fn from(name: &'a [u8]) -> Self {
        let bytes = std::str::from_utf8(name).is_err().then(|| hexadecimal(name));
        Self { name: (!name.is_empty()).then(|| String::from_utf8_lossy(name)), name_bytes: bytes }
    }
}

impl<'a> From<&'a Row> for MappingJson<'a> {
    fn from(row: &'a Row) -> Self {
        let (region, backing) = (&row.region, &row.backing);
        Self {
            start: format!("{:#x}", row.start()),
            end: format!("{:#x}", row.end()),
            size: row.size(),
            protection: region.protection().to_string(),
            shared: region.is_shared(),
            kind: row.kind.name(),
            backing: backing.kind().to_string(),
            name: backing.name().into(),
            offset: backing.offset(),
            device: backing.device().map(|device| device.to_string()),
            inode: backing.inode(),
            deleted: backing.is_deleted(),
            committed: region.is_committed(),
            guarded: region.is_guarded(),
            usage: row.usage.as_ref().map(UsageJson::from),
        }
    }
}

impl From<&Usage> for UsageJson {
    fn from(usage: &Usage) -> Self {
        Self {
            resident: usage.resident(),
            proportional: usage.proportional(),
            shared: usage.shared(),
            private: usage.private(),
            dirty: usage.dirty(),
            referenced: usage.referenced(),
            anonymous: usage.anonymous(),
            swapped: usage.swapped(),
            huge: usage.huge(),
            locked: usage.locked(),
        }
    }
}

impl From<&Totals> for TotalsJson {
    fn from(totals: &Totals) -> Self {
        let usage = totals.usage.as_ref().map(UsageJson::from);
        Self { mappings: totals.mappings, size: totals.size, usage }
    }
}

impl<'a> From<&'a Summary<'_>> for SummaryJson<'a> {
    fn from(summary: &'a Summary<'_>) -> Self {
        let kinds =
            summary.kinds.iter().map(|(kind, totals)| KindJson { kind: kind.name(), totals: totals.into() });
        let files = summary
            .files
            .iter()
            .map(|(name, totals)| FileJson { name: (*name).into(), totals: totals.into() });
        Self { kinds: kinds.collect(), files: files.collect() }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(crate) fn map(
    out: &mut Out,
    map: &Map,
    in_process: usize,
    rows: &[&Row],
    summary: Option<&Summary<'_>>,
    totals: &Totals,
) -> Result<(), Failure> {
    let mappings = || rows.iter().map(|row| MappingJson::from(*row)).collect();
    write(
        out,
        &MapJson {
            pid: map.pid,
            taken: seconds(map.taken),
            mappings_in_process: in_process,
            mappings: summary.is_none().then(mappings),
            summary: summary.map(SummaryJson::from),
            totals: totals.into(),
        },
    )
}

pub(crate) fn query(out: &mut Out, found: &Found) -> Result<(), Failure> {
    write(
        out,
        &QueryJson {
            pid: found.pid,
            taken: seconds(found.taken),
            address: format!("{:#x}", found.address),
            offset: found.offset(),
            mapping: found.owner.as_ref().map(MappingJson::from),
            below: NeighbourJson::new(&found.below, found.gap_below()),
            above: NeighbourJson::new(&found.above, found.gap_above()),
        },
    )
}

/// Writes one line of JSON.
pub(crate) fn write(out: &mut Out, value: &impl Serialize) -> Result<(), Failure> {
    value
        .serialize(&mut Serializer::with_formatter(&mut *out, Tame))
        .map_err(|error| Failure::Output(error.into()))?;
    Ok(out.write_all(b"\n")?)
}

/// Compact, and with every control and invisible character escaped: JSON asks it of the first 32 only, but a terminal
/// heeds others, too.
struct Tame;

impl Formatter for Tame {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = fragment;
        while let Some((at, character)) = plain.char_indices().find(|(_, character)| is_hostile(*character)) {
            let (before, rest) = plain.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = rest.get(character.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(plain.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_heed_is_escaped_and_comes_back() {
        let name = "/a\u{1b}\u{7f}\u{9b}é\u{202e}\u{e0001}\n\"";
        let mut bytes = Vec::new();
        name.serialize(&mut Serializer::with_formatter(&mut bytes, Tame)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.chars().any(is_hostile), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name);
    }
}
