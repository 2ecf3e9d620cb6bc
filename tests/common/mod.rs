//! What several tests need: pages in a chosen state, child processes, and a word for skipping.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

mod area;
pub mod cuts;
pub mod guests;
pub mod small;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use area::{Area, rounds, skipped};

use folio::{ErrorKind, Process, Protection, page};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// The protections that ordinary memory can have here.
pub fn protections() -> Vec<Protection> {
    let all = (0..8).map(Protection::from_bits_truncate);
    if cfg!(windows) {
        // There is no native constant for writing without reading.
        all.filter(|p| !p.contains(Protection::WRITE) || p.contains(Protection::READ)).collect()
    } else if cfg!(target_vendor = "apple") {
        // `mprotect` adds reading to whatever is not nothing, and refuses writing and executing together on Apple's processors.
        [Protection::NONE, Protection::READ, Protection::READ_WRITE, Protection::READ_EXECUTE].into()
    } else {
        all.collect()
    }
}

/// A child process: this very test binary, running one of its tests alone, with `FOLIO_CHILD` set.
///
/// The child speaks by lines that begin with `>`, and ends when its standard input is closed.
pub struct Helper {
    pub child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    pub fn start(test: &str, argument: impl Into<OsString>) -> Self {
        Self::try_start(test, argument, |_| {}).unwrap()
    }

    /// The same with more to be said of the command; an error where that does not work.
    pub fn try_start(
        test: &str,
        argument: impl Into<OsString>,
        change: impl FnOnce(&mut Command),
    ) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("FOLIO_CHILD", argument.into())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        change(&mut command);
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().unwrap());
        Ok(Self { child, lines })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A handle to the child. `None`, and the test is skipped, where even one's own child is not to be looked into: macOS
    /// wants root, or a signed program.
    pub fn open(&self, test: &str) -> Option<Process> {
        match Process::open(self.pid()) {
            Err(error) if cfg!(target_vendor = "apple") && error.kind() == ErrorKind::NotPermitted => {
                skipped(test, &format!("another process: {error}"));
                None
            }
            opened => Some(opened.unwrap()),
        }
    }

    /// The next line that the child says. The test runner's own words, before it on the same line too, are passed over.
    pub fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the child ended without a word");
            if let Some((_, said)) = line.split_once("> ") {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Waits for a child that ends by itself, and for how.
    pub fn wait(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().unwrap()
    }

    /// Lets the child end, and waits for it.
    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Whether a child died of touching what it may not touch. What else it may have died of is no answer.
pub fn died(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(signal) => {
                assert!(matches!(signal, libc::SIGSEGV | libc::SIGBUS), "signal {signal}");
                true
            }
            None => {
                assert_eq!(status.code(), Some(0));
                false
            }
        }
    }
    #[cfg(windows)]
    match status.code() {
        // An NTSTATUS of an error: STATUS_ACCESS_VIOLATION, or, where a debugger was to be started and is not there, that.
        Some(code) if u32::from_ne_bytes(code.to_ne_bytes()) >> 30 == 3 => true,
        code => {
            assert_eq!(code, Some(0));
            false
        }
    }
}

/// What a helper is to do; `None` in an ordinary run of the test.
pub fn role() -> Option<OsString> {
    std::env::var_os("FOLIO_CHILD")
}

/// A helper's word to its parent.
pub fn say(word: impl std::fmt::Display) {
    println!("> {word}");
    std::io::stdout().flush().unwrap();
}

/// Waits until the parent closes the pipe.
pub fn wait_for_parent() {
    let _read = std::io::stdin().read_line(&mut String::new());
}

/// What the page at an address grants.
pub fn shown(address: usize) -> Protection {
    folio::query(std::ptr::without_provenance::<u8>(address)).unwrap().protection()
}

/// How many bytes of these are in memory. They begin a page, and are anonymous.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn resident(pages: &[u8]) -> u64 {
    // Not what a region uses: the system joins it with neighbours that are another test's.
    let mut found = vec![0_u8; pages.len().div_ceil(page::size())];
    // SAFETY: mapped pages, and room for a byte each.
    let done =
        unsafe { libc::mincore(pages.as_ptr().cast_mut().cast(), pages.len(), found.as_mut_ptr().cast()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    (found.iter().filter(|page| *page & 1 != 0).count() * page::size()) as u64
}

/// How many bytes of these are in memory.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn resident(pages: &[u8]) -> u64 {
    let (start, end) = (pages.as_ptr().addr(), pages.as_ptr().addr() + pages.len());
    let mut next = start;
    let mut sum = 0;
    while next < end {
        let region = folio::query(std::ptr::without_provenance::<u8>(next)).unwrap().as_range();
        sum += Process::current().usage(next).unwrap().resident();
        next = region.end;
    }
    sum
}

/// An address where nothing is mapped of itself: each number is for one test of a binary, so that what is gone there stays gone.
pub fn place_of(number: usize) -> usize {
    number.wrapping_shl(if usize::BITS == 64 { 37 } else { 27 })
}
