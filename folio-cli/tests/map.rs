//! `folio map`, seen from outside.

mod common;

use common::{address, folio, good, json, mappings};
use serde_json::Value;

/// The rows of the table: between its header and its sum.
fn rows(output: &str) -> Vec<&str> {
    output
        .lines()
        .skip_while(|line| !line.starts_with("ADDRESS "))
        .skip(1)
        .take_while(|line| !line.starts_with("total of "))
        .collect()
}

#[test]
fn without_arguments_the_tool_shows_itself() {
    for arguments in [&["map"][..], &["map", "self"]] {
        let out = good(arguments);
        let rows = rows(&out);
        assert!(rows.len() > 5, "{out}");
        assert!(out.contains(&format!("total of {} mappings", rows.len())), "{out}");
        for part in ["ADDRESS SPACE", "··· gap ", "C code", "· gap"] {
            assert!(out.contains(part), "{part}: {out}");
        }
        let strip = out.lines().skip_while(|line| !line.starts_with("ADDRESS SPACE"));
        assert!(strip.clone().all(|line| line.chars().count() <= 80), "{out}");
        assert!(!good(&["map", "--no-strip"]).contains("ADDRESS SPACE"));
    }
}

#[test]
fn columns_are_aligned() {
    for arguments in [&["map", "--no-strip"][..], &["map", "--usage", "--no-strip"]] {
        let out = good(arguments);
        let header = out.lines().find(|line| line.starts_with("ADDRESS ")).unwrap();
        let (kind, name) = (header.find("KIND").unwrap(), header.find("NAME").unwrap());
        for row in rows(&out) {
            let begins = |column: usize| {
                let bytes = row.as_bytes();
                bytes[column - 1] == b' ' && bytes[column] != b' '
            };
            assert!(begins(kind), "{row}");
            assert!(row.len() <= name || begins(name), "{row}");
        }
    }
}

#[test]
fn the_totals_are_the_sums() {
    let value = json(&["map", "--usage", "--json"]);
    let (totals, mappings) = (&value["totals"], mappings(&value));
    assert_eq!(totals["mappings"], mappings.len());
    let sum = |pick: &dyn Fn(&Value) -> u64| mappings.iter().map(pick).sum::<u64>();
    assert_eq!(totals["size"], sum(&|mapping| mapping["size"].as_u64().unwrap()));
    for figure in ["resident", "proportional", "dirty", "swapped", "huge", "locked"] {
        let of = |mapping: &Value| mapping["usage"][figure].as_u64();
        if mappings.iter().any(|mapping| of(mapping).is_some()) {
            assert_eq!(totals["usage"][figure], sum(&|mapping| of(mapping).unwrap_or(0)), "{figure}");
        } else {
            assert_eq!(totals["usage"][figure], Value::Null, "{figure}");
        }
    }
    assert!(totals["usage"]["resident"].as_u64().unwrap() > 0);
    assert!(value["taken"].as_u64().unwrap() > 1_600_000_000);
}

#[test]
fn without_usage_nothing_is_measured() {
    let value = json(&["map", "--json"]);
    assert_eq!(value["totals"].get("usage"), None);
    assert!(mappings(&value).iter().all(|mapping| mapping.get("usage").is_none()));
}

#[test]
fn sorting_puts_the_largest_first() {
    let keys = |by: &str, key: &dyn Fn(&Value) -> u64| -> Vec<u64> {
        mappings(&json(&["map", "--json", "--sort", by])).iter().map(key).collect()
    };
    assert!(keys("address", &|mapping| address(&mapping["start"])).is_sorted());
    assert!(keys("size", &|mapping| mapping["size"].as_u64().unwrap()).is_sorted_by(|a, b| a >= b));
    // Implies that usage is measured.
    let resident = keys("rss", &|mapping| mapping["usage"]["resident"].as_u64().unwrap());
    assert!(resident.is_sorted_by(|a, b| a >= b) && resident[0] > 0, "{resident:?}");
}

#[test]
fn a_summary_has_a_row_for_each_kind_and_adds_up() {
    let value = json(&["map", "--usage", "--summary", "--json"]);
    assert_eq!(value.get("mappings"), None);
    let kinds = value["summary"]["kinds"].as_array().unwrap();
    let sum =
        |pick: &dyn Fn(&Value) -> Option<u64>| kinds.iter().map(|kind| pick(kind).unwrap()).sum::<u64>();
    assert_eq!(value["totals"]["mappings"], sum(&|kind| kind["mappings"].as_u64()));
    assert_eq!(value["totals"]["size"], sum(&|kind| kind["size"].as_u64()));
    assert_eq!(value["totals"]["usage"]["resident"], sum(&|kind| kind["usage"]["resident"].as_u64()));
    let names: Vec<_> = kinds.iter().map(|kind| kind["kind"].as_str().unwrap()).collect();
    assert!(names.contains(&"code") && names.contains(&"file"), "{names:?}");
    let files = value["summary"]["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["name"].as_str().unwrap().contains("folio")), "{files:?}");

    let out = good(&["map", "--summary"]);
    assert!(out.contains("KIND      COUNT  SIZE") && out.contains("COUNT  SIZE FILE"), "{out}");
}

#[test]
fn filters_keep_what_matches_and_all_have_to() {
    let protections = |arguments: &[&str]| -> Vec<String> {
        let value = json(&[&["map", "--json"], arguments].concat());
        assert!(value["mappings_in_process"].as_u64().unwrap() > mappings(&value).len() as u64);
        mappings(&value).iter().map(|mapping| mapping["protection"].as_str().unwrap().to_owned()).collect()
    };
    let some = |found: Vec<String>, right: &dyn Fn(&str) -> bool| {
        assert!(!found.is_empty() && found.iter().all(|protection| right(protection)), "{found:?}");
    };
    some(protections(&["--filter", "w"]), &|protection| protection.contains('w'));
    some(protections(&["-f", "rx"]), &|protection| protection == "r-x" || protection == "rwx");
    some(protections(&["--filter", "r--"]), &|protection| protection == "r--");
    some(protections(&["--filter", "code"]), &|protection| protection.contains('x'));
    some(protections(&["--filter", "file", "--filter", "x"]), &|protection| protection.contains('x'));
    assert!(protections(&["--filter", "r--", "--filter", "w"]).is_empty());

    for (filter, backings) in [("file", &["file", "image"][..]), ("anon", &["anonymous", "heap", "stack"])] {
        let value = json(&["map", "--json", "--filter", filter]);
        let found: Vec<_> =
            mappings(&value).iter().map(|mapping| mapping["backing"].as_str().unwrap()).collect();
        assert!(!found.is_empty() && found.iter().all(|found| backings.contains(found)), "{found:?}");
    }
    for glob in ["*folio*", "*[/\\]folio*", "*f?lio*"] {
        let value = json(&["map", "--json", "--filter", glob]);
        assert!(!mappings(&value).is_empty(), "{glob}");
        for mapping in mappings(&value) {
            assert!(mapping["name"].as_str().unwrap().contains("folio"), "{mapping}");
        }
    }
    let warned = |arguments: &[&str]| good(arguments).contains("there may be other mappings");
    assert!(warned(&["map", "--filter", "r"]) && !warned(&["map"]));
    let out = good(&["map", "--filter", "r--", "--filter", "w"]);
    assert!(out.starts_with("process ") && out.contains("0 mappings") && out.contains("r-- and w"), "{out}");
}

#[test]
fn a_filter_that_means_nothing_is_wrong_usage() {
    for filter in ["libc", "", "rq", "[z-a]"] {
        let said = folio(&["map", "--filter", filter]);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{filter}: {said:?}");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::common::{Cat, maps, skipped};
    use super::*;

    /// What a child has mapped, by the tool and by the kernel, name by name.
    #[test]
    fn the_json_agrees_with_the_kernel_about_a_live_child() {
        let cat = Cat::start();
        let value = json(&["map", &cat.pid(), "--json"]);
        assert_eq!(value["pid"], cat.0.id());
        let lines = maps(&cat.pid());
        assert_eq!(mappings(&value).len(), lines.len());
        for (mapping, line) in mappings(&value).iter().zip(&lines) {
            assert_eq!((address(&mapping["start"]), address(&mapping["end"])), (line.start, line.end));
            assert_eq!(mapping["size"], line.end - line.start);
            let shared = if mapping["shared"] == true { 's' } else { 'p' };
            assert_eq!(format!("{}{shared}", mapping["protection"].as_str().unwrap()), line.rights);
            assert_eq!(mapping["name"].as_str().unwrap_or(""), line.name);
            if line.inode != 0 {
                assert_eq!(
                    (&mapping["inode"], &mapping["offset"]),
                    (&line.inode.into(), &line.offset.into())
                );
            }
        }
        let kinds =
            |wanted: &str| mappings(&value).iter().filter(|mapping| mapping["kind"] == wanted).count();
        assert!(kinds("code") > 0 && kinds("file") > 0 && kinds("stack") == 1, "{value}");
    }

    #[test]
    fn the_table_agrees_with_the_kernel_about_a_live_child() {
        let cat = Cat::start();
        let out = good(&["map", &cat.pid()]);
        let (rows, lines) = (rows(&out), maps(&cat.pid()));
        assert_eq!(rows.len(), lines.len(), "{out}");
        for (row, line) in rows.iter().zip(&lines) {
            let fields: Vec<_> = row.split_whitespace().collect();
            assert_eq!(fields[0], format!("{:012x}-{:012x}", line.start, line.end));
            assert_eq!(fields[2], line.rights);
            assert!(row.ends_with(&line.name), "{row}: {line:?}");
        }
    }

    #[test]
    fn filters_by_rights_agree_with_the_kernel() {
        let cat = Cat::start();
        let lines = maps(&cat.pid());
        for filter in ["r--p", "rw-p", "r-xp", "r-x", "---", "rw-s"] {
            let expected: Vec<u64> =
                lines.iter().filter(|line| line.rights.starts_with(filter)).map(|line| line.start).collect();
            let value = json(&["map", &cat.pid(), "--json", "--filter", filter]);
            let found: Vec<u64> = mappings(&value).iter().map(|mapping| address(&mapping["start"])).collect();
            assert_eq!(found, expected, "{filter}");
        }
        let value = json(&["map", &cat.pid(), "--json", "--filter", "[stack]"]);
        assert_eq!(mappings(&value).len(), 1);
        assert_eq!(mappings(&value)[0]["name"], "[stack]");
    }

    /// A program whose path has a newline, an escape sequence and a byte that is no UTF-8.
    #[test]
    fn a_hostile_name_stays_on_one_row_and_says_nothing_to_the_terminal() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let name = b"odd\nname\xff \x1b[31m\xc2\x9b31mred";
        let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
        let cat = match Cat::named(&path) {
            Ok(cat) => cat,
            Err(error) => {
                return skipped("a_hostile_name_stays_on_one_row", &format!("no such program: {error}"));
            }
        };
        let out = good(&["map", &cat.pid(), "--usage"]);
        assert_eq!(rows(&out).len(), maps(&cat.pid()).len(), "{out}");
        let shown = r"odd\nname\xff \u{1b}[31m\u{9b}31mred";
        assert!(out.contains(shown), "{out}");
        assert!(out.chars().all(|character| character == '\n' || !character.is_control()), "{out:?}");
        assert!(good(&["map", &cat.pid(), "--summary"]).contains(shown));

        let text = good(&["map", &cat.pid(), "--json", "--filter", "*/odd*red"]);
        assert!(text.trim_end().chars().all(|character| !character.is_control()), "{text:?}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(!mappings(&value).is_empty());
        let bytes: String = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for mapping in mappings(&value) {
            assert_eq!(mapping["name"], path.to_string_lossy().as_ref());
            assert_eq!(mapping["name_bytes"], bytes.as_str());
        }
        let owner = good(&["query", &cat.pid(), value["mappings"][0]["start"].as_str().unwrap()]);
        assert!(owner.contains(shown) && !owner.contains('\x1b'), "{owner:?}");
    }

    #[test]
    fn a_deleted_file_is_called_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone");
        let cat = match Cat::named(&path) {
            Ok(cat) => cat,
            Err(error) => {
                return skipped("a_deleted_file_is_called_deleted", &format!("no such program: {error}"));
            }
        };
        std::fs::remove_file(&path).unwrap();
        assert!(good(&["map", &cat.pid()]).contains("/gone (deleted)\n"));
        let value = json(&["map", &cat.pid(), "--json", "--filter", "*/gone"]);
        assert!(!mappings(&value).is_empty());
        assert!(mappings(&value).iter().all(|mapping| mapping["deleted"] == true));
    }

    #[test]
    fn usage_is_that_of_smaps() {
        let cat = Cat::start();
        let value = json(&["map", &cat.pid(), "--usage", "--json"]);
        let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", cat.pid())).unwrap();
        let sum = |figure: &str| -> u64 {
            let kib = smaps.lines().filter_map(|line| line.strip_prefix(figure)?.strip_suffix("kB"));
            kib.map(|kib| kib.trim().parse::<u64>().unwrap() * 1024).sum()
        };
        assert_eq!(value["totals"]["size"], sum("Size:"));
        assert_eq!(value["totals"]["usage"]["resident"], sum("Rss:"));
        assert_eq!(value["totals"]["usage"]["locked"], sum("Locked:"));
    }
}
