//! What all commands have in common: help, colours, errors, exit codes, closed pipes.

mod common;

use common::{Said, folio, good, tool};
use std::process::Stdio;

#[test]
fn help_shows_examples() {
    for command in [&["--help"][..], &["map", "--help"], &["query", "--help"], &["page", "--help"], &["-h"]] {
        let out = good(command);
        assert!(out.contains("Example") && out.contains("folio "), "{command:?}: {out}");
    }
    assert!(good(&["--help"]).contains("Exit codes"));
    assert!(good(&["--version"]).starts_with("folio "));
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = good(&["completions", shell]);
        assert!(out.contains("folio") && out.contains("query"), "{shell}: {out}");
    }
    assert_eq!(folio(&["completions", "abacus"]).code, Some(2));
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &[][..],
        &["mapp"],
        &["map", "--colour"],
        &["map", "1x"],
        &["map", "99999999999"],
        &["map", "self", "self"],
        &["map", "--sort", "name"],
        &["query", "self"],
        &["page", "1"],
    ] {
        let said = folio(arguments);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}");
        assert!(said.err.contains("Usage") || said.err.contains("--help"), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn colour_is_for_terminals_and_for_who_asks() {
    for command in ["map", "page"] {
        assert!(!good(&[command]).contains('\x1b'), "{command}: piped");
        assert!(good(&[command, "--color", "always"]).contains("\x1b["), "{command}: asked for");
        let run = |variable: &str, arguments: &[&str]| -> Said {
            tool().arg(command).args(arguments).env(variable, "1").output().unwrap().into()
        };
        assert!(!run("NO_COLOR", &[]).out.contains('\x1b'), "{command}: NO_COLOR");
        assert!(run("CLICOLOR_FORCE", &[]).out.contains("\x1b["), "{command}: CLICOLOR_FORCE");
        assert!(!run("CLICOLOR_FORCE", &["--color", "never"]).out.contains('\x1b'), "{command}: never");
    }
    assert!(!good(&["map", "--json", "--color", "always"]).contains('\x1b'), "JSON has no colours");
}

#[test]
fn a_process_that_does_not_exist_fails_and_is_named() {
    // Above every limit of identifiers that systems have; on Windows identifiers are multiples of four.
    for command in
        [&["map", "4194305003"][..], &["query", "4194305003", "0"], &["map", "4194305003", "--json"]]
    {
        let said = folio(command);
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{command:?}: {said:?}");
        assert!(said.err.starts_with("folio: ") && said.err.contains("4194305003"), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
}

/// As `folio map | head` does, only sooner: nobody reads at all.
#[test]
fn a_closed_pipe_is_the_end_and_no_error() {
    for arguments in [
        &["map"][..],
        &["map", "--json"],
        &["map", "--usage", "--summary"],
        &["page"],
        &["page", "--json"],
        &["completions", "zsh"],
        &["--help"],
    ] {
        let mut child = tool().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::common::{Cat, skipped};
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn output_that_cannot_be_written_is_an_error() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let Ok(full) = full else {
            return skipped("output_that_cannot_be_written_is_an_error", "no /dev/full");
        };
        let said = Said::from(tool().arg("map").stdout(full).stderr(Stdio::piped()).output().unwrap());
        assert_eq!(said.code, Some(1));
        assert!(said.err.starts_with("folio: cannot write the output: "), "{}", said.err);
    }

    /// With both closed, nobody can be told anything: all that is left is not to die.
    #[test]
    fn closed_standard_error_is_no_trouble() {
        let mut child = tool().args(["map", "4194305003"]).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }

    #[test]
    fn a_process_that_has_ended_fails() {
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id().to_string();
        let patience = Instant::now() + Duration::from_secs(10);
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
        };
        while !ended() {
            assert!(Instant::now() < patience, "`true` goes on and on");
            std::thread::sleep(Duration::from_millis(5));
        }
        for arguments in [&["map", &pid][..], &["map", &pid, "--usage"], &["query", &pid, "1000"]] {
            let said = folio(arguments);
            assert_eq!((said.code, &*said.out), (Some(1), ""), "{arguments:?}: {said:?}");
            assert!(said.err.contains("has ended"), "{}", said.err);
        }
        assert!(child.wait().unwrap().success());
    }

    /// The child ends at some moment of the reading: either the answer is whole, or there is none.
    #[test]
    fn a_process_that_ends_while_being_read_never_gives_half_an_answer() {
        for round in 0..30 {
            let mut cat = Cat::start();
            let pid = cat.pid();
            let whole = super::common::maps(&pid).len();
            let reader = tool()
                .args(["map", &pid, "--json", if round % 2 == 0 { "--usage" } else { "--no-strip" }])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(200 * round));
            cat.0.kill().unwrap();
            if round % 3 == 0 {
                cat.0.wait().unwrap();
            }
            let said = Said::from(reader.wait_with_output().unwrap());
            match said.code {
                Some(0) => {
                    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
                    assert_eq!(value["mappings"].as_array().unwrap().len(), whole);
                }
                code => {
                    assert_eq!((code, &*said.out), (Some(1), ""));
                    assert!(said.err.starts_with("folio: "), "{}", said.err);
                }
            }
        }
    }

    /// Somebody else's process: as root, ours, looked at by nobody; else process 1, if it is not ours.
    #[test]
    fn a_foreign_process_fails_and_the_remedy_is_named() {
        const NAME: &str = "a_foreign_process_fails_and_the_remedy_is_named";
        const NOBODY: u32 = 65534;
        let owner = |path: &str| std::fs::metadata(path).map(|data| data.uid());
        let cat = Cat::start();
        let (mut tool, pid) = match owner("/proc/self").unwrap() {
            0 => {
                // The program may lie where nobody else may go.
                let folder = tempfile::Builder::new()
                    .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
                    .tempdir()
                    .unwrap();
                let path = folder.path().join("folio");
                std::fs::copy(env!("CARGO_BIN_EXE_folio"), &path).unwrap();
                let mut tool = Command::new("/bin/sh");
                // By way of a shell, since another test's child may hold the copy open for a moment.
                tool.args([
                    "-c",
                    "\"$0\" \"$@\" || { c=$?; [ $c = 126 ] && sleep 1 && exec \"$0\" \"$@\"; exit $c; }",
                ]);
                tool.arg(folder.keep().join("folio")).uid(NOBODY).gid(NOBODY).current_dir("/");
                (tool, cat.pid())
            }
            me if owner("/proc/1").is_ok_and(|init| init != me) => (tool(), "1".to_owned()),
            _ => return skipped(NAME, "neither root, nor is process 1 somebody else's"),
        };
        let output = tool.args(["map", &pid]).stdin(Stdio::null()).output();
        if let Some(path) = tool.get_args().nth(2).map(std::path::Path::new)
            && path.is_absolute()
        {
            let _removed = std::fs::remove_dir_all(path.parent().unwrap());
        }
        let output = match output {
            Ok(output) => output,
            Err(error) => return skipped(NAME, &format!("cannot become nobody: {error}")),
        };
        let said = Said::from(output);
        if matches!(said.code, Some(126 | 127)) {
            return skipped(NAME, &format!("nobody may not run the tool: {}", said.err.trim_end()));
        }
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{said:?}");
        assert!(said.err.contains("not permitted") && said.err.contains("run as"), "{}", said.err);
    }
}
