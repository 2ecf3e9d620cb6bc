//! `folio page`, seen from outside.

mod common;

use common::{good, json};

#[test]
fn the_text_has_every_section() {
    let out = good(&["page"]);
    let wanted = [
        "ordinary",
        "huge",
        "transparent",
        "mappings",
        "locked memory",
        "address space",
        "overcommit",
        "promised",
        "query",
        "other processes",
    ];
    for title in wanted {
        assert!(out.lines().any(|line| line.trim_start().starts_with(title)), "{title}: {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
}

#[test]
fn the_json_says_the_same() {
    let value = json(&["page", "--json"]);
    let size = value["page_size"].as_u64().unwrap();
    assert!(size.is_power_of_two() && size >= 512);
    assert_eq!(value["granularity"].as_u64().unwrap() % size, 0);
    assert!(value["limits"]["mappings"]["used"].as_u64().unwrap() > 5);
    assert!(value["capabilities"]["other_processes"].is_boolean());
}

#[cfg(target_os = "linux")]
#[test]
fn the_limits_are_those_of_the_kernel() {
    let value = json(&["page", "--json"]);
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    assert_eq!(value["limits"]["mappings"]["limit"].as_u64(), number("/proc/sys/vm/max_map_count"));
    let overcommit = match number("/proc/sys/vm/overcommit_memory") {
        Some(0) => "heuristic",
        Some(1) => "always",
        Some(2) => "never",
        other => panic!("{other:?}"),
    };
    assert_eq!(value["limits"]["overcommit"], overcommit);
}
