//! What a mapping is to a reader: one word, one letter, one colour.

use anstyle::{AnsiColor, Style};
use folio::{Backing, BackingKind, Protection, Region};

/// The kind of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Code,
    File,
    Heap,
    Stack,
    Anonymous,
    Shared,
    Guard,
    Reserved,
    Kernel,
}

impl Kind {
    /// In the order of the legend.
    pub(crate) const ALL: [Self; 9] = [
        Self::Code,
        Self::File,
        Self::Heap,
        Self::Stack,
        Self::Anonymous,
        Self::Shared,
        Self::Guard,
        Self::Reserved,
        Self::Kernel,
    ];

    /// The one place that decides. What may be done with memory says more than where it comes from, so that access comes
    /// before backing; only what the kernel put there is named by its maker.
    pub(crate) fn of(region: &Region, backing: &Backing<'_>) -> Self {
        if backing.kind() == BackingKind::Kernel {
            return Self::Kernel;
        }
        if !region.is_committed() {
            return Self::Reserved;
        }
        if region.is_guarded() || region.protection() == Protection::NONE {
            return Self::Guard;
        }
        if region.is_executable() {
            return Self::Code;
        }
        match backing.kind() {
            BackingKind::Heap => Self::Heap,
            BackingKind::Stack => Self::Stack,
            BackingKind::File | BackingKind::Image => Self::File,
            BackingKind::SharedMemory => Self::Shared,
            _ if region.is_shared() => Self::Shared,
            _ => Self::Anonymous,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::File => "file",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Anonymous => "anonymous",
            Self::Shared => "shared",
            Self::Guard => "guard",
            Self::Reserved => "reserved",
            Self::Kernel => "kernel",
        }
    }

    /// The letter in the strip, which has to read without colour, too.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Code => 'C',
            Self::File => 'F',
            Self::Heap => 'H',
            Self::Stack => 'S',
            Self::Anonymous => 'A',
            Self::Shared => 'M',
            Self::Guard => '-',
            Self::Reserved => '=',
            Self::Kernel => 'K',
        }
    }

    fn colour(self) -> AnsiColor {
        match self {
            Self::Code => AnsiColor::Green,
            Self::File => AnsiColor::BrightBlue,
            Self::Heap => AnsiColor::Yellow,
            Self::Stack => AnsiColor::Magenta,
            Self::Anonymous => AnsiColor::Cyan,
            Self::Shared => AnsiColor::BrightRed,
            Self::Guard | Self::Reserved => AnsiColor::BrightBlack,
            Self::Kernel => AnsiColor::White,
        }
    }

    /// For words.
    pub(crate) fn style(self) -> Style {
        self.colour().on_default()
    }

    /// For cells of the strip. What nobody can touch is not filled.
    pub(crate) fn cell(self) -> Style {
        match self {
            Self::Guard | Self::Reserved => self.style(),
            _ => AnsiColor::Black.on(self.colour()),
        }
    }

    /// Where it stands in [`Kind::ALL`].
    pub(crate) fn index(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default()
    }
}
