//! What went wrong, where, and what can be done about it.

use crate::access_fault::{Fault, FaultKind};
use crate::range::PageRange;
use alloc::boxed::Box;
use core::fmt;
use core::ops::Range;

/// The result of folio's functions.
pub type Result<T> = core::result::Result<T, Error>;

/// What kind of thing went wrong: what a program decides by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing is mapped at the address, or the address is outside what a process may use.
    Unmapped,
    /// An argument made no sense: a length of zero, say. The text says which.
    InvalidInput,
    /// The system knows what was asked for and refuses to tell or do it.
    NotPermitted,
    /// No process has this identifier (or none that we may know of).
    NoSuchProcess,
    /// The process existed when it was opened and has ended since, or has given up its memory.
    ProcessEnded,
    /// This system, or this version of it, cannot do it.
    Unsupported,
    /// The system's answer could not be understood; the error carries it. Please report it.
    UnexpectedAnswer,
    /// A limit was reached: open files, memory, mappings, locked memory. Where it is one with a number, see
    /// [`Error::limit`].
    Exhausted,
    /// Something else is mapped where memory was to be put, and is left as it is.
    Occupied,
    /// Memory could not be read or written, and the copy ended there: see [`Error::fault`].
    Fault,
    /// Any other failure of the system; see [`Error::raw_os_error`] and [`Error::mach_error`].
    System,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmapped => "nothing is mapped there",
            Self::InvalidInput => "invalid argument",
            Self::NotPermitted => "not permitted",
            Self::NoSuchProcess => "no such process",
            Self::ProcessEnded => "the process has ended",
            Self::Unsupported => "not supported",
            Self::UnexpectedAnswer => "the system's answer could not be understood",
            Self::Exhausted => "a limit was reached",
            Self::Occupied => "something is mapped there already",
            Self::Fault => "the memory cannot be reached",
            Self::System => "the system refused",
        })
    }
}

/// What was being done when an [`Error`] occurred.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Looking up the region of an address: [`query`](crate::query()).
    Query,
    /// Listing regions: [`query_range`](crate::query_range), [`Process::mappings`](crate::Process::mappings), a
    /// [`Snapshot`](crate::Snapshot).
    List,
    /// Finding out what stands behind a region: [`Process::backing`](crate::Process::backing).
    Backing,
    /// Measuring what a region uses: [`Process::usage`](crate::Process::usage).
    Usage,
    /// Opening a process: [`Process::open`](crate::Process::open).
    OpenProcess,
    /// Getting pages: [`alloc`](crate::alloc()), [`alloc_at`](crate::alloc_at), [`alloc_near`](crate::alloc_near).
    Allocate,
    /// Giving pages back: [`Allocation::free`](crate::Allocation::free), and its drop.
    Free,
    /// Changing what pages grant: [`protect`](crate::protect), [`protect_with_handle`](crate::protect_with_handle).
    Protect,
    /// Giving pages back what they granted: [`ProtectGuard::restore`](crate::ProtectGuard::restore), and its drop.
    Restore,
    /// Keeping pages in memory: [`lock`](crate::lock), [`lock_on_fault`](crate::lock_on_fault).
    Lock,
    /// No longer keeping them: [`unlock`](crate::unlock), [`LockGuard::unlock`](crate::LockGuard::unlock), and its drop.
    Unlock,
    /// Turning pages into guard pages: [`guard`](crate::guard).
    Guard,
    /// Turning guard pages into ordinary ones: [`unguard`](crate::unguard).
    Unguard,
    /// Cutting a mapping in two: [`Pages::split_off`](crate::Pages::split_off).
    Split,
    /// Making one mapping of two: [`Pages::merge`](crate::Pages::merge).
    Merge,
    /// Making a mapping longer or shorter, or moving it: [`Pages::grow`](crate::Pages::grow).
    Resize,
    /// Writing to the file what was written to its pages: [`Pages::flush`](crate::Pages::flush).
    Flush,
    /// Telling the system how pages are used, or should be treated: [`Pages::advise`](crate::Pages::advise).
    Advise,
    /// Giving the memory of pages back, and what is in them: [`Pages::decommit`](crate::Pages::decommit).
    Decommit,
    /// Reading pages in: [`Pages::prefault`](crate::Pages::prefault).
    Prefault,
    /// Counting the pages that are in memory: [`Pages::resident`](crate::Pages::resident).
    Resident,
    /// Setting address space aside: [`Reservation::new`](crate::Reservation::new).
    Reserve,
    /// Getting memory for what is reserved: [`Reserved::commit`](crate::Reserved::commit).
    Commit,
    /// Making typed pages of a part of a reservation: [`Reservation::carve`](crate::Reservation::carve).
    Carve,
    /// Giving such pages back to it: [`Reservation::take_back`](crate::Reservation::take_back).
    TakeBack,
    /// Reaching what is in a reservation: [`Reservation::get`](crate::Reservation::get).
    Access,
    /// Making pages unchangeable: [`seal`](crate::seal), [`Allocation::seal`](crate::Allocation::seal).
    Seal,
    /// Letting the processor execute what was written: `Pages::flush_icache`, with the feature `allow_exec`.
    FlushInstructions,
    /// Finding a function inside pages: `Pages::get_fn` (feature `allow_exec`).
    Function,
    /// Letting code be executed: `CodeDraft::publish` (feature `allow_exec`).
    Publish,
    /// Changing code: `CodePiece::patch` (feature `allow_exec`).
    Patch,
    /// Getting, opening or giving back a protection key, and pages that carry it: [`KeyedPages`](crate::KeyedPages).
    Key,
    /// Reading the limits of this process and machine: [`Limits::current`](crate::Limits::current).
    Limits,
    /// Reaching memory that others can take away: [`fault::RawMemory`](crate::fault::RawMemory) and its kin.
    Copy,
    /// Reaching memory of a process that may end: a buffer or a slice of [`process`](crate::process).
    Enter,
    /// Catching faults: [`fault::install`](crate::fault::install).
    CatchFaults,
    /// Arithmetic on page boundaries: [`page::checked_ceil`](crate::page::checked_ceil), page sizes.
    Page,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Query => "query",
            Self::List => "list the regions",
            Self::Backing => "find the backing of",
            Self::Usage => "measure the usage of",
            Self::OpenProcess => "open the process",
            Self::Allocate => "allocate",
            Self::Free => "free",
            Self::Protect => "protect",
            Self::Restore => "restore the protection of",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Guard => "make guard pages of",
            Self::Unguard => "take the guard from",
            Self::Split => "split",
            Self::Merge => "merge",
            Self::Resize => "resize",
            Self::Flush => "flush",
            Self::Advise => "advise about",
            Self::Decommit => "give back the memory of",
            Self::Prefault => "read in",
            Self::Resident => "count what is in memory of",
            Self::Reserve => "reserve",
            Self::Commit => "commit",
            Self::Carve => "carve out",
            Self::TakeBack => "take back",
            Self::Access => "access",
            Self::Seal => "seal",
            Self::FlushInstructions => "flush the instruction cache of",
            Self::Function => "find a function in",
            Self::Publish => "publish the code in",
            Self::Patch => "patch the code in",
            Self::Key => "use keyed pages",
            Self::Limits => "read the limits",
            Self::Copy => "copy from or to",
            Self::Enter => "use the memory of a process",
            Self::CatchFaults => "catch faults",
            Self::Page => "compute a page boundary",
        })
    }
}

/// An error of any of folio's functions: what was tried, on what range, why it failed and, where there is one, the
/// remedy.
///
/// The type is opaque, so that it can say more in later versions; decide by [`kind`](Self::kind).
///
/// # Examples
///
/// ```
/// use folio::{ErrorKind, Operation};
///
/// let error = folio::query(core::ptr::null::<u8>()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Unmapped);
/// assert_eq!(error.operation(), Operation::Query);
/// assert_eq!(error.range(), Some(0..folio::page::size()));
/// println!("{error}"); // cannot query 0x0..0x1000: nothing is mapped there
/// ```
pub struct Error {
    operation: Operation,
    range: Option<PageRange>,
    pid: Option<u32>,
    failure: Failure,
    #[cfg(feature = "std")]
    source: Option<std::io::Error>,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The same error of an operation that a higher floor names otherwise.
    pub(crate) fn instead(mut self, operation: Operation) -> Self {
        self.operation = operation;
        self
    }

    /// The same error, after which these pages are not what they were.
    pub(crate) fn changing(self, range: PageRange) -> Self {
        Self { failure: self.failure.changed(range), ..self }
    }

    /// The addresses, in whole pages, on which it was tried; `None` when it did not concern a range. The end of a range
    /// that reaches the top of the address space saturates at `usize::MAX`.
    pub fn range(&self) -> Option<Range<usize>> {
        self.range.map(PageRange::to_range)
    }

    /// The process concerned, when it was not simply the calling one.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The system's own code (`errno` on Unix, `GetLastError` on Windows); `None` when the failure was not a system call's,
    /// and for the calls of Apple's kernel whose codes are of another kind: see [`mach_error`](Self::mach_error).
    pub fn raw_os_error(&self) -> Option<i32> {
        self.failure.errno()
    }

    /// The code of a call of the Mach part of Apple's kernel, a `kern_return_t`: numbers of their own, which mean something
    /// else as an `errno`. `None` when the failure was not such a call's, and on all other systems.
    pub fn mach_error(&self) -> Option<i32> {
        match self.failure.code {
            Some(Code::Mach(code)) => Some(code),
            Some(Code::Os(_)) | None => None,
        }
    }

    /// What the caller can do about it, where there is something to do. The text is for people and may change.
    pub fn remedy(&self) -> Option<&str> {
        self.failure.remedy
    }

    /// For [`ErrorKind::UnexpectedAnswer`]: the bytes that the system gave and that could not be understood.
    pub fn evidence(&self) -> Option<&[u8]> {
        self.failure.extra.as_ref()?.evidence.as_deref()
    }

    /// For [`ErrorKind::Fault`]: how far the copy came, and why no further. (`None` where it was one to a slice of
    /// [`process`](crate::process).)
    pub fn fault(&self) -> Option<Fault> {
        match (self.failure.fault, self.failure.detail) {
            (Some((kind, write)), Detail::Offset(offset)) => Some(Fault { offset, kind, write }),
            _ => None,
        }
    }

    /// For calls that change a range page by page: the part of it that is changed in spite of the failure, and could not be
    /// changed back. `None` when all is as it was.
    ///
    /// It reaches from the first changed page to the last one; of the pages between, some may be as they were. Where the system
    /// does not tell how far it came, it is all that may be changed.
    pub fn changed(&self) -> Option<Range<usize>> {
        self.failure.extra.as_ref()?.changed.map(PageRange::to_range)
    }

    /// The limit that was reached, in the unit that the [operation](Self::operation) counts in (bytes of locked memory, keys,
    /// mappings), where the system tells.
    pub fn limit(&self) -> Option<u64> {
        self.failure.extra.as_ref()?.limit
    }

    /// How much of the [limit](Self::limit) was in use before, where the system tells.
    pub fn in_use(&self) -> Option<u64> {
        self.failure.extra.as_ref()?.in_use
    }

    /// The system's failure as an [`io::Error`](std::io::Error), or `None` when it was not a system call's.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn as_io_error(&self) -> Option<std::io::Error> {
        self.failure.errno().map(std::io::Error::from_raw_os_error)
    }

    /// This error as an [`io::Error`](std::io::Error) whose inner error is `self`.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn into_io_error(self) -> std::io::Error {
        self.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if let Some(range) = self.range() {
            write!(f, " {:#x}..{:#x}", range.start, range.end)?;
        }
        if let Some(pid) = self.pid {
            write!(f, " (process {pid})")?;
        }
        write!(f, ": {}", self.failure.kind)?;
        if let Detail::Text(detail) = self.failure.detail {
            if !detail.is_empty() {
                write!(f, ": {detail}")?;
            }
        }
        if let Some(fault) = self.fault() {
            write!(f, ": {fault}")?;
        }
        // Of a process that is not there, the system's own words ("no such file") only lead astray.
        if !matches!(self.failure.kind, ErrorKind::NoSuchProcess | ErrorKind::ProcessEnded) {
            #[cfg(feature = "std")]
            if let Some(source) = &self.source {
                write!(f, ": {source}")?;
            }
            #[cfg(not(feature = "std"))]
            if let Some(code) = self.failure.errno() {
                write!(f, " (os error {code})")?;
            }
            if let Some(code) = self.mach_error() {
                // Those of messages are known by their hexadecimal form.
                if code.unsigned_abs() > 0xffff {
                    write!(f, " (kern_return_t {code:#x})")?;
                } else {
                    write!(f, " (kern_return_t {code})")?;
                }
            }
        }
        if let Some(extra) = &self.failure.extra {
            fmt::Display::fmt(extra, f)?;
        }
        if let Some(remedy) = self.failure.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// The kind and the text: what `main` shows that returns an error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

/// Of what failed and was given back with the error: so that `?` takes the error and lets the other go.
impl<T> From<(T, Self)> for Error {
    fn from((_, error): (T, Self)) -> Self {
        error
    }
}

impl core::error::Error for Error {
    #[cfg(feature = "std")]
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(source),
            None => None,
        }
    }
}

/// The error itself is kept inside, so that nothing is lost; `raw_os_error` of the result is therefore `None` (ask
/// [`Error::raw_os_error`] before). The kind is that of the system's code where there is one, else chosen by [`Error::kind`].
#[cfg(feature = "std")]
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            ErrorKind::Unmapped | ErrorKind::NoSuchProcess | ErrorKind::ProcessEnded => Io::NotFound,
            ErrorKind::InvalidInput => Io::InvalidInput,
            ErrorKind::NotPermitted => Io::PermissionDenied,
            ErrorKind::Unsupported => Io::Unsupported,
            ErrorKind::UnexpectedAnswer => Io::InvalidData,
            ErrorKind::Occupied => Io::AlreadyExists,
            ErrorKind::Exhausted => error.as_io_error().map_or(Io::OutOfMemory, |inner| inner.kind()),
            ErrorKind::Fault => Io::Other,
            ErrorKind::System => error.as_io_error().map_or(Io::Other, |inner| inner.kind()),
        };
        Self::new(kind, error)
    }
}

/// A failure as the lower floors know it: without what was being done, which the caller adds by [`Failure::during`].
#[derive(Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    code: Option<Code>,
    detail: Detail,
    remedy: Option<&'static str>,
    extra: Option<Box<Extra>>,
    /// Of a fault, with [`Detail::Offset`]: why, and whether it was a write.
    fault: Option<(FaultKind, bool)>,
}

/// What a failure says besides its kind. A fault has a number there: without allocating, so that handlers of signals can have it, and
/// without making all errors larger.
#[derive(Clone, Copy, Debug)]
enum Detail {
    Text(&'static str),
    Offset(usize),
}

impl Detail {
    const NONE: Self = Self::Text("");
}

/// What only some failures have to say.
#[derive(Debug, Default)]
struct Extra {
    evidence: Option<Box<[u8]>>,
    changed: Option<PageRange>,
    limit: Option<u64>,
    in_use: Option<u64>,
    /// What these two count.
    unit: &'static str,
}

/// Each part after a separator of its own.
impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(evidence) = &self.evidence {
            write!(f, ": `{}`", evidence.escape_ascii())?;
        }
        if let Some(limit) = self.limit {
            write!(f, " (the limit is {limit} {}", self.unit)?;
            if let Some(in_use) = self.in_use {
                write!(f, ", of which {in_use} were in use")?;
            }
            f.write_str(")")?;
        }
        if let Some(changed) = self.changed.map(PageRange::to_range) {
            write!(f, "; {:#x}..{:#x} is changed nevertheless", changed.start, changed.end)?;
        }
        Ok(())
    }
}

/// The system's own code, by the space of numbers that it is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code, reason = "only Apple's systems have two")]
enum Code {
    /// `errno`, or what `GetLastError` gave.
    Os(i32),
    /// A `kern_return_t`.
    Mach(i32),
}

#[allow(dead_code, reason = "the backend of an unsupported system uses few of these")]
impl Failure {
    /// Memory that could not be reached.
    pub(crate) const fn fault(fault: Fault) -> Self {
        Self {
            kind: ErrorKind::Fault,
            code: None,
            detail: Detail::Offset(fault.offset),
            remedy: None,
            extra: None,
            fault: Some((fault.kind, fault.write)),
        }
    }

    /// A failure of this kind, without a code.
    pub(crate) const fn new(kind: ErrorKind) -> Self {
        Self { kind, code: None, detail: Detail::NONE, remedy: None, extra: None, fault: None }
    }

    /// A failed system call.
    pub(crate) const fn system(kind: ErrorKind, code: i32) -> Self {
        Self {
            kind,
            code: Some(Code::Os(code)),
            detail: Detail::NONE,
            remedy: None,
            extra: None,
            fault: None,
        }
    }

    /// A failed call of Mach, with its `kern_return_t`.
    pub(crate) const fn mach(kind: ErrorKind, code: i32) -> Self {
        Self {
            kind,
            code: Some(Code::Mach(code)),
            detail: Detail::NONE,
            remedy: None,
            extra: None,
            fault: None,
        }
    }

    /// An argument that makes no sense, and why.
    pub(crate) const fn invalid(detail: &'static str) -> Self {
        Self {
            kind: ErrorKind::InvalidInput,
            code: None,
            detail: Detail::Text(detail),
            remedy: None,
            extra: None,
            fault: None,
        }
    }

    /// An answer of the system that could not be understood. Allocates for the evidence.
    pub(crate) fn unexpected(evidence: &[u8]) -> Self {
        Self::new(ErrorKind::UnexpectedAnswer).with(|extra| extra.evidence = Some(evidence.into()))
    }

    /// Adds what part of the range is changed in spite of the failure. Allocates.
    #[cold]
    pub(crate) fn changed(self, range: PageRange) -> Self {
        self.with(|extra| extra.changed = Some(range))
    }

    /// What part of the range is changed in spite of the failure.
    pub(crate) fn changed_part(&self) -> Option<PageRange> {
        self.extra.as_ref()?.changed
    }

    /// The failure without what is changed: it was changed back.
    pub(crate) fn unchanged(mut self) -> Self {
        if let Some(extra) = &mut self.extra {
            extra.changed = None;
        }
        self
    }

    /// Adds the limit that was reached, and how much of it was in use, and of what (in the plural). Allocates.
    #[cold]
    pub(crate) fn limit(self, limit: u64, in_use: Option<u64>, unit: &'static str) -> Self {
        self.with(|extra| {
            extra.unit = unit;
            extra.limit = Some(limit);
            extra.in_use = in_use;
        })
    }

    fn with(mut self, add: impl FnOnce(&mut Extra)) -> Self {
        add(self.extra.get_or_insert_default());
        self
    }

    /// Adds what makes the failure understandable.
    pub(crate) fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Detail::Text(detail);
        self
    }

    /// Adds what the caller can do.
    pub(crate) fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// The code, if it is one that the standard library knows.
    const fn errno(&self) -> Option<i32> {
        match self.code {
            Some(Code::Os(code)) => Some(code),
            Some(Code::Mach(_)) | None => None,
        }
    }

    /// Whether it is known what the caller can do.
    pub(crate) const fn has_remedy(&self) -> bool {
        self.remedy.is_some()
    }

    /// The kind, for floors that decide by it.
    pub(crate) const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Completes the failure into an error.
    #[cold]
    pub(crate) fn during(self, operation: Operation, range: Option<PageRange>, pid: Option<u32>) -> Error {
        Error {
            operation,
            range,
            pid,
            #[cfg(feature = "std")]
            source: self.errno().map(std::io::Error::from_raw_os_error),
            failure: self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_text_names_operation_range_process_cause_and_remedy() {
        let error = Failure::system(ErrorKind::NotPermitted, 13).remedy("ask root").during(
            Operation::Query,
            Some(PageRange::containing(0)),
            Some(7),
        );
        let text = error.to_string();
        assert!(text.starts_with("cannot query 0x0..0x"), "{text}");
        for part in [" (process 7): not permitted: ", "(os error 13)", "; ask root"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.raw_os_error(), Some(13));
        assert_eq!(error.pid(), Some(7));
        assert!(core::error::Error::source(&error).is_some());
    }

    /// A code of Mach is not taken for an `errno`, of which the smallest numbers mean quite different things.
    #[test]
    fn codes_of_mach_are_kept_apart() {
        let error = Failure::mach(ErrorKind::System, 5).during(Operation::List, None, None);
        assert_eq!((error.mach_error(), error.raw_os_error()), (Some(5), None));
        assert!(error.as_io_error().is_none() && core::error::Error::source(&error).is_none());
        assert!(error.to_string().ends_with("the system refused (kern_return_t 5)"), "{error}");
        let error = Failure::mach(ErrorKind::System, 0x1000_0004).during(Operation::List, None, None);
        assert!(error.to_string().ends_with("(kern_return_t 0x10000004)"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Other);
        let error = Failure::system(ErrorKind::System, 5).during(Operation::List, None, None);
        assert_eq!((error.mach_error(), error.raw_os_error()), (None, Some(5)));
    }

    #[test]
    fn evidence_is_carried_and_shown_without_raw_bytes() {
        let error = Failure::unexpected(b"bad\xff\nline").during(Operation::List, None, None);
        assert_eq!(error.evidence(), Some(&b"bad\xff\nline"[..]));
        assert!(error.to_string().contains(r"`bad\xff\nline`"), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_error_is_small_enough_to_return_by_value() {
        assert!(size_of::<Error>() <= 128, "{}", size_of::<Error>());
    }
}
