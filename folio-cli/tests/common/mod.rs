//! What several tests need: the tool, children to look at, and a word for skipping.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

/// Says that a test was skipped and why; CI collects what is written to `FOLIO_SKIPPED`.
pub fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("FOLIO_SKIPPED") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Ok(mut file) = file {
            let _written = file.write_all(format!("{test}: {why}\n").as_bytes());
        }
    }
}

/// The tool, in an environment that says nothing about colours.
pub fn tool() -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_folio"));
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        tool.env_remove(variable);
    }
    tool.stdin(Stdio::null());
    tool
}

/// What a run of the tool gave.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let said = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("the output is UTF-8"),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        // Whatever a test is about: never this.
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said
    }
}

pub fn folio(arguments: &[&str]) -> Said {
    tool().args(arguments).output().unwrap().into()
}

/// The output of a run that has to succeed.
#[track_caller]
pub fn good(arguments: &[&str]) -> String {
    let said = folio(arguments);
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}: {said:?}");
    said.out
}

#[track_caller]
pub fn json(arguments: &[&str]) -> Value {
    let text = good(arguments);
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The mappings of a JSON output.
#[track_caller]
pub fn mappings(value: &Value) -> &[Value] {
    value["mappings"].as_array().unwrap()
}

#[track_caller]
pub fn address(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

/// A live child that has come to rest: `cat`, which has answered and now waits for more.
pub struct Cat(pub Child);

impl Cat {
    pub fn start() -> Self {
        Self::from(&mut Command::new("cat"))
    }

    /// The same program under another name.
    #[cfg(unix)]
    pub fn named(path: &std::path::Path) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join("cat"))
            .find(|path| path.is_file())
            .ok_or(std::io::ErrorKind::NotFound)?;
        std::fs::copy(found, path)?;
        // Another test may be between `fork` and `exec` just now, with the copy still open for writing.
        for _ in 0..100 {
            match Command::new(path).arg0("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                child => return child.map(Self::rested),
            }
        }
        Err(std::io::ErrorKind::ExecutableFileBusy.into())
    }

    fn from(command: &mut Command) -> Self {
        Self::rested(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn rested(mut child: Child) -> Self {
        child.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// A line of `/proc/PID/maps`.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Line {
    pub start: u64,
    pub end: u64,
    /// As in `r-xp`.
    pub rights: String,
    pub offset: u64,
    pub inode: u64,
    /// Lossy, with newlines as the kernel writes them.
    pub name: String,
}

/// What the kernel itself says.
#[cfg(target_os = "linux")]
pub fn maps(pid: &str) -> Vec<Line> {
    let text = std::fs::read(format!("/proc/{pid}/maps")).unwrap();
    let text = String::from_utf8_lossy(&text);
    let hexadecimal = |text| u64::from_str_radix(text, 16).unwrap();
    text.lines()
        .map(|line| {
            let mut fields = line.splitn(6, ' ');
            let mut field = || fields.next().unwrap_or_default();
            let (start, end) = field().split_once('-').unwrap();
            let (rights, offset, _device, inode) = (field(), field(), field(), field());
            Line {
                start: hexadecimal(start),
                end: hexadecimal(end),
                rights: rights.to_owned(),
                offset: hexadecimal(offset),
                inode: inode.parse().unwrap(),
                name: field().trim_start().to_owned(),
            }
        })
        .collect()
}
