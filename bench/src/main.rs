//! folio beside the bare system calls and its peers, in one run.
//!
//! `cargo run --release -p folio-bench` prints a table of ratios; `--json FILE` also writes every number; `--short` makes
//! each measurement just long enough to show that it works.

#[cfg(target_os = "linux")]
mod change;
#[cfg(target_os = "linux")]
mod code;
#[cfg(target_os = "linux")]
mod collections;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod keyed;
#[cfg(target_os = "linux")]
mod lock;
#[cfg(target_os = "linux")]
mod look;
#[cfg(target_os = "linux")]
mod mapped;
mod measure;
#[cfg(target_os = "linux")]
mod pool;
#[cfg(target_os = "linux")]
mod process;
mod report;
#[cfg(target_os = "linux")]
mod reserve;
#[cfg(target_os = "linux")]
mod upkeep;
#[cfg(target_os = "linux")]
mod vectors;

use clap::Parser;
use std::process::ExitCode;

/// Measures folio beside the bare system calls and its peers, and prints ratios.
#[derive(Parser)]
struct Arguments {
    /// Only groups whose name contains this.
    filter: Option<String>,
    /// Just long enough to show that everything works: the ratios mean nothing.
    #[arg(long)]
    short: bool,
    /// Write all numbers to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Print the table as Markdown, for `bench/README.md`.
    #[arg(long)]
    markdown: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut bench = measure::Bench::new(arguments.short, arguments.filter);
    #[cfg(target_os = "linux")]
    {
        look::run(&mut bench);
        change::run(&mut bench);
        reserve::run(&mut bench);
        keyed::run(&mut bench);
        lock::run(&mut bench);
        files::run(&mut bench);
        upkeep::run(&mut bench);
        mapped::run(&mut bench);
        fault::run(&mut bench);
        process::run(&mut bench);
        vectors::run(&mut bench);
        collections::run(&mut bench);
        pool::run(&mut bench);
        code::run(&mut bench);
    }
    let groups = bench.finish();
    if groups.is_empty() {
        eprintln!("folio-bench: nothing to measure by that name, or on this system");
        return ExitCode::from(2);
    }
    report::print(&groups, arguments.markdown);
    if let Some(path) = arguments.json
        && let Err(error) = report::write_json(&groups, &path)
    {
        eprintln!("folio-bench: cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
