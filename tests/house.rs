//! Rules of the house that a compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/os` is the only place that knows a platform.
#[test]
fn no_platform_is_named_outside_os() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    if !root.join("src").exists() {
        return eprintln!("skipped: no_platform_is_named_outside_os: the sources are not on this machine");
    }
    sources(&root.join("src"), &mut found);
    assert!(found.len() > 15);
    let mut bad = Vec::new();
    for path in found.iter().filter(|path| !path.starts_with(root.join("src/os"))) {
        for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            let named = [
                "target_os",
                "cfg(unix",
                "cfg(windows",
                "(unix,",
                "(windows,",
                "target_family",
                "target_vendor",
            ];
            if named.iter().any(|name| line.contains(name)) && !line.trim_start().starts_with("//") {
                bad.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// What a module offers to the floor above: its own functions and modules, and the names that it passes on from its parts or from
/// what several systems share.
fn offered(module: &str) -> Vec<&str> {
    let functions = module
        .lines()
        .filter_map(|line| line.strip_prefix("pub(crate) fn ")?.split_once('(').map(|(name, _)| name));
    let passed_on =
        module.split("\npub(crate) use ").skip(1).filter_map(|rest| rest.split_once(';')).flat_map(
            |(path, _)| {
                // The last word of each item: what stands behind `as`, where there is one.
                path.rsplit("::").next().unwrap().split(',').filter_map(|item| {
                    item.split(|c: char| !c.is_alphanumeric() && c != '_').rfind(|word| !word.is_empty())
                })
            },
        );
    let modules = module.lines().filter_map(|line| {
        line.strip_prefix("pub(crate) mod ")?.split_once([';', ' ']).map(|(name, _)| name)
    });
    functions.chain(passed_on).chain(modules).collect()
}

#[test]
fn names_that_are_passed_on_are_seen() {
    let module = "//! limits\npub(crate) fn own(x: u8) {}\nfn inner() {}\nuse a::hidden;\npub(crate) use b::one;\n\
                  pub(crate) use c::d::{\n    two, three as four,\n    five,\n};\n\
                  pub(crate) mod six;\npub(crate) mod seven {}\nmod inside;\n";
    assert_eq!(offered(module), ["own", "one", "two", "four", "five", "six", "seven"]);
}

/// Each backend has the same functions, so that two can be read side by side.
#[test]
fn every_backend_exports_the_same_names() {
    let os = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/os");
    let Ok(unsupported) = fs::read_to_string(os.join("unsupported.rs")) else {
        return eprintln!(
            "skipped: every_backend_exports_the_same_names: the sources are not on this machine"
        );
    };
    let names = offered(&unsupported);
    assert!(names.len() >= 10, "{names:?}");
    for backend in ["linux", "apple", "windows", "freebsd", "netbsd", "openbsd", "illumos"] {
        let module = fs::read_to_string(os.join(backend).join("mod.rs")).unwrap();
        let offered = offered(&module);
        for name in &names {
            assert!(offered.contains(name), "{backend} lacks {name}: {offered:?}");
        }
    }
}
