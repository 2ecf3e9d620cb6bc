//! Why memory could not be reached: plain data.

use crate::error::{ErrorKind, Failure};
use core::fmt;

/// Why a byte could not be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum FaultKind {
    /// Nothing is mapped there, or the address is none that a process could have.
    NotMapped = 1,
    /// What is mapped there does not grant the access: protection, protection key, guard page.
    NotPermitted = 2,
    /// The page is mapped, but nothing can be put behind it: it lies beyond the end of its file, which was cut short, say; a `tmpfs` is
    /// full; there is no huge page left; the file could not be read.
    NoBacking = 3,
    /// The memory is broken (`BUS_MCEERR_AR`).
    HardwarePoison = 4,
    /// The system does not say.
    Other = 5,
}

#[allow(dead_code, reason = "where a handler takes part")]
impl FaultKind {
    /// The code that handlers leave in a register.
    #[expect(clippy::as_conversions, reason = "the discriminants are given, and fit")]
    pub(crate) const fn code(self) -> usize {
        self as usize
    }

    pub(crate) const fn from_code(code: usize) -> Self {
        match code {
            1 => Self::NotMapped,
            2 => Self::NotPermitted,
            3 => Self::NoBacking,
            4 => Self::HardwarePoison,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotMapped => "nothing is mapped there",
            Self::NotPermitted => "the page does not grant it",
            Self::NoBacking => "there is no storage behind the page (a file cut short, a full file system)",
            Self::HardwarePoison => "the memory is broken",
            Self::Other => "the system does not say why",
        })
    }
}

/// Where and why an access to memory ended: see [`Error::fault`](crate::Error::fault).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fault {
    pub(crate) offset: usize,
    pub(crate) kind: FaultKind,
    pub(crate) write: bool,
}

impl Fault {
    /// The offset in the memory, from its first byte on, of the byte that could not be reached. Those that the
    /// call was to reach before it were copied (or filled, or found equal); those behind it were not written to, unless memory was
    /// taken away [in the midst](crate::fault) of the copy.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Why.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// Whether it was a write that failed. Of a copy, that tells which side did; accesses that read a word and write it back count as
    /// writes.
    pub fn is_write(&self) -> bool {
        self.write
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.write { "written" } else { "read" };
        write!(f, "the byte at offset {} could not be {what}: {}", self.offset, self.kind)
    }
}

/// A fault as the lowest floor knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stop {
    /// How many bytes were not copied: from the one that could not be reached on.
    pub(crate) left: usize,
    pub(crate) kind: FaultKind,
    pub(crate) write: bool,
    /// It was no fault: the system call by which a copy is made failed, with this code.
    pub(crate) refused: Option<(ErrorKind, i32)>,
}

#[allow(dead_code, reason = "where copies are made by system calls")]
impl Stop {
    /// What is to be said if it was no fault.
    pub(crate) fn refusal(self) -> Option<Failure> {
        let (kind, code) = self.refused?;
        let failure = Failure::system(kind, code)
            .detail(
                "the system refuses the call by which bytes are copied on this processor: process_vm_readv",
            )
            .remedy("permit the call, where a filter (seccomp) forbids it");
        Some(failure)
    }
}

/// Who catches faults now: the answer of [`fault::installed`](crate::fault::installed).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Installed {
    /// Nobody: nothing was installed yet.
    No,
    /// We do, before anybody else (or nobody has to: faults are the system's to report here).
    Yes,
    /// We did, until somebody else put a handler of his own in our place. If that one calls the handler that it found, all is as before;
    /// if not, faults end the process as if there were no handler of ours.
    Covered,
}
