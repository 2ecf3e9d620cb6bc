//! Where the output goes, and how it fails.

use crate::args::ColorWhen;
use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's error; its text names the remedy, if there is one.
    Folio(folio::Error),
    /// The output could not be written.
    Output(io::Error),
    /// Anything else, told in words.
    Told(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folio(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
            Self::Told(words) => f.write_str(words),
        }
    }
}

impl From<folio::Error> for Failure {
    fn from(error: folio::Error) -> Self {
        Self::Folio(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Standard output, buffered, with what is known about who reads it.
pub(crate) struct Out {
    writer: BufWriter<AutoStream<StdoutLock<'static>>>,
    colour: bool,
    width: Option<usize>,
}

impl Out {
    pub(crate) fn new(when: ColorWhen) -> Self {
        let stdout = io::stdout();
        let colour = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
        };
        let width = stdout.is_terminal().then(terminal_width);
        // Old Windows consoles have to be told by calls, which `always` sees to. Without colour there is nothing to
        // translate, and nothing to strip either, since none was put in.
        let stream = match colour {
            true => AutoStream::always(stdout.lock()),
            false => AutoStream::always_ansi(stdout.lock()),
        };
        Self { writer: BufWriter::with_capacity(1 << 16, stream), colour, width }
    }

    /// How many columns the terminal has; `None` when there is no terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    pub(crate) fn pen(&self) -> Pen {
        Pen { colour: self.colour }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)).max(40)
}

/// Colours text, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pen {
    colour: bool,
}

impl Pen {
    pub(crate) fn paint<T>(self, style: Style, text: T) -> Painted<T> {
        Painted { style: self.colour.then_some(style), text }
    }

    pub(crate) fn bold<T>(self, text: T) -> Painted<T> {
        self.paint(Style::new().bold(), text)
    }

    pub(crate) fn dim<T>(self, text: T) -> Painted<T> {
        self.paint(Style::new().dimmed(), text)
    }
}

/// Text with its colour; width and alignment are the text's own.
pub(crate) struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => {
                write!(f, "{style}")?;
                self.text.fmt(f)?;
                write!(f, "{style:#}")
            }
            None => self.text.fmt(f),
        }
    }
}
