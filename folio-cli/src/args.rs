//! The command line.

use crate::filter::Filter;
use crate::out::{Failure, Out};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::io::Write;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  folio map                        what this tool itself has mapped
  folio map 1234 --usage           process 1234, with the memory each mapping uses
  folio map 1234 --filter rwx      what may be written and executed
  folio query 1234 7f3a5be2a123    whose address is that?
  folio page                       page sizes and limits of this machine

Exit codes: 0 done, 1 failed (no such process, nothing mapped there), 2 wrong usage.
No colour when piped or with NO_COLOR set; --color always overrides both.";

const MAP_EXAMPLES: &str = "\
Filters (given several times, all have to match):
  rw, x, rwx …   at least these rights
  r-x, ---       exactly these rights (three characters, with `-`)
  r-xp, rw-s     exactly these, and private (p) or shared (s)
  file           backed by a file, whatever the access
  anon           private and without a file: anonymous memory, heap, stack
  code           executable
  guard          without any access, or marked as guard pages
  heap, stack    the heap and the stack that the system made
  shared         mapped shared, or in a shared object (memfd, System V, POSIX)
  kernel         put there by the kernel: [vdso], [vvar]
  GLOB           what has / \\ * ? or [ in it is matched against the whole name;
                 `*` matches `/`, too

Kinds, the first that fits: kernel, reserved (Windows: no memory behind it),
guard (no access), code (executable), heap, stack, file, shared, anonymous.

Sizes are in powers of 1024: K, M, G, T, P, E. SWAP, HUGE and LOCK get a column
where they are not all 0.

Examples:
  folio map 1234 --sort rss                  the largest users of memory first
  folio map 1234 --summary --usage           one row a kind, the largest files
  folio map 1234 --filter '*/libc.so*'       where is libc?
  folio map 1234 --filter anon --filter wx   writable code without a file
  folio map 1234 --json | jq '.mappings[] | select(.kind == \"heap\")'

JSON, one line:
  {pid, taken, mappings_in_process, mappings: [MAPPING…], totals: TOTALS}
  with --summary, in the place of mappings:
      summary: {kinds: [{kind, …TOTALS}], files: [{name, …TOTALS}]}
  MAPPING  {start, end, size, protection, shared, kind, backing, name, offset,
           device, inode, deleted, committed, guarded, usage: USAGE}
  TOTALS   {mappings, size, usage: USAGE}
  USAGE    with --usage: {resident, proportional, shared, private, dirty,
           referenced, anonymous, swapped, huge, locked}
  Addresses are hexadecimal texts, sizes bytes, `taken` seconds since 1970; what
  is not known is null. A name that is no UTF-8 is given approximately, and
  byte by byte, in hexadecimal, in one more field, name_bytes.";

const QUERY_EXAMPLES: &str = "\
Exit code 1 when nothing is mapped at the address; its neighbours are shown all the same.

Examples:
  folio query 1234 0x7f3a5be2a123
  folio query 1234 7f3a5be2a123 --json";

const PAGE_EXAMPLES: &str = "\
The limits are those of a process started from here.

Examples:
  folio page
  folio page --json | jq .limits.mappings";

/// What is mapped, here or in another process.
#[derive(Parser, Debug)]
#[command(name = "folio", version, about, after_help = EXAMPLES, styles = STYLES, max_term_width = 120)]
pub(crate) struct Cli {
    /// When to colour; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorWhen::Auto)]
    pub(crate) color: ColorWhen,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When output is coloured. (Comments here would be shown in the help.)
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ColorWhen {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List what a process has mapped, with a strip of its address space
    Map(MapArgs),
    /// Say who owns an address, and what lies below and above it
    Query(QueryArgs),
    /// Show this machine's page sizes, huge pages and limits, and what folio can use
    #[command(after_help = PAGE_EXAMPLES)]
    Page(PageArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  folio completions bash > ~/.local/share/bash-completion/completions/folio"
    )]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Args, Debug)]
#[command(after_help = MAP_EXAMPLES)]
pub(crate) struct MapArgs {
    /// The process: its identifier, or `self` for folio itself
    #[arg(value_name = "PID|self", default_value = "self", value_parser = parse_pid)]
    pub(crate) process: Pid,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Show only what matches: rights, file, anon, …, or a glob (see below); may be repeated
    #[arg(long, short, value_name = "WHAT", allow_hyphen_values = true, value_parser = Filter::parse)]
    pub(crate) filter: Vec<Filter>,
    /// By what to sort; size and rss put the largest first, rss implies --usage
    #[arg(long, short, value_enum, value_name = "BY", default_value_t = Sort::Address)]
    pub(crate) sort: Sort,
    /// One row a kind, and the largest files, instead of one row a mapping
    #[arg(long)]
    pub(crate) summary: bool,
    /// Also measure the memory used (the system looks at every page: slow for large processes)
    #[arg(long, short)]
    pub(crate) usage: bool,
    /// Leave out the strip of the address space
    #[arg(long)]
    pub(crate) no_strip: bool,
}

#[derive(Args, Debug)]
#[command(after_help = QUERY_EXAMPLES)]
pub(crate) struct QueryArgs {
    /// The process: its identifier, or `self` for folio itself
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub(crate) process: Pid,
    /// The address: hexadecimal, with or without 0x
    #[arg(value_parser = parse_address)]
    pub(crate) address: usize,
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PageArgs {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which process is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pid {
    Current,
    Other(u32),
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    /// Largest address range first
    Size,
    /// Most resident memory first
    Rss,
    /// Lowest address first
    Address,
}

fn parse_pid(text: &str) -> Result<Pid, String> {
    if text == "self" {
        return Ok(Pid::Current);
    }
    // `u32::from_str` takes a `+`, which no listing of processes shows.
    match text.parse() {
        Ok(pid) if !text.starts_with('+') => Ok(Pid::Other(pid)),
        _ => Err("a process is named by its identifier, a decimal number such as 1234, or `self`".to_owned()),
    }
}

fn parse_address(text: &str) -> Result<usize, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("an address is hexadecimal, with or without 0x, such as 7f3a5be2a123".to_owned());
    }
    usize::from_str_radix(digits, 16).map_err(|_| format!("an address has at most {} bits", usize::BITS))
}

/// Writes the completions of `shell`.
pub(crate) fn completions(shell: Shell, out: &mut Out) -> Result<(), Failure> {
    // The generator panics when it cannot write, as to a closed pipe; memory it can always write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "folio", &mut script);
    Ok(out.write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_are_hexadecimal_with_or_without_prefix() {
        assert_eq!(parse_address("0x10"), Ok(16));
        assert_eq!(parse_address("Ff"), Ok(255));
        for text in ["", "0x", "0x0x1", "+1", "-1", "1g", "1 ", "fffffffffffffffff", "é"] {
            assert!(parse_address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn processes_are_decimal_or_self() {
        assert_eq!(parse_pid("self"), Ok(Pid::Current));
        assert_eq!(parse_pid("12"), Ok(Pid::Other(12)));
        for text in ["", "+1", "-1", "0x1", "4294967296", "me"] {
            assert!(parse_pid(text).is_err(), "{text:?}");
        }
    }
}
