//! `folio`: what a process has mapped, who owns an address, and what this machine's pages are like.
//!
//! The tool is written against the library's public interface alone.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions
    )
)]

mod args;
mod collect;
mod filter;
mod json;
mod kind;
mod map;
mod out;
mod page;
mod progress;
mod query;
mod size;
mod strip;
mod summary;
mod table;
mod text;

use args::{Cli, Command};
use clap::Parser;
use out::{Failure, Out};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return said(&message),
    };
    let mut out = Out::new(cli.color);
    let done = match &cli.command {
        Command::Map(args) => map::run(args, &mut out),
        Command::Query(args) => query::run(args, &mut out),
        Command::Page(args) => page::run(args, &mut out),
        Command::Completions { shell } => args::completions(*shell, &mut out),
    };
    // What was written before a failure belongs before its message.
    let done = match (done, out.flush()) {
        (Ok(()), flushed) => flushed.map_err(Failure::from),
        (failed, _) => failed,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does: nothing went wrong, and nobody is there to be told.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Standard error may be closed, too; then the exit code has to do.
            let _told = writeln!(std::io::stderr(), "folio: {failure}");
            ExitCode::from(1)
        }
    }
}

/// Help, the version, or what is wrong with the arguments: 0 for what was asked for, 2 for wrong usage.
fn said(message: &clap::Error) -> ExitCode {
    // Fails only when nobody reads it.
    let _printed = message.print();
    ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2))
}
