//! `folio query`, seen from outside.

mod common;

use common::{address, folio};

#[test]
fn an_address_is_hexadecimal() {
    for text in ["", "zz", "0x", "-1", "7fff_0000", "123456789abcdef01"] {
        let said = folio(&["query", "self", "--", text]);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{text}: {said:?}");
        assert!(said.err.contains("address"), "{text}: {}", said.err);
    }
}

/// Address 0 is never mapped, and there is always something above it.
#[test]
fn an_unmapped_address_fails_and_shows_its_neighbours() {
    let said = folio(&["query", "self", "0"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("nothing is mapped there") && said.out.contains("\nabove "), "{}", said.out);
    assert!(said.out.contains("··· gap "), "{}", said.out);
    assert!(said.err.starts_with("folio: nothing is mapped at 0x0 in process "), "{}", said.err);

    let said = folio(&["query", "self", "0x0", "--json"]);
    assert_eq!(said.code, Some(1));
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(value["mapping"].is_null() && value["below"].is_null(), "{value}");
    assert_eq!(address(&value["above"]["mapping"]["start"]), value["above"]["gap"].as_u64().unwrap());
}

#[test]
fn the_top_of_the_address_space_is_no_trouble() {
    let said = folio(&["query", "self", "ffffffffffffffff"]);
    assert_eq!(said.code, Some(if usize::BITS == 64 { 1 } else { 2 }), "{said:?}");
    if usize::BITS == 64 {
        assert!(said.out.contains("below ") && !said.out.contains("above "), "{}", said.out);
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::common::{Cat, good, json, maps};
    use super::*;

    #[test]
    fn the_owner_and_its_neighbours_are_those_of_the_kernel() {
        let cat = Cat::start();
        let lines = maps(&cat.pid());
        for (index, line) in lines.iter().enumerate() {
            let inside = line.start + 0x123;
            let value = json(&["query", &cat.pid(), &format!("{inside:x}"), "--json"]);
            assert_eq!(address(&value["address"]), inside);
            assert_eq!(address(&value["mapping"]["start"]), line.start);
            let below = index.checked_sub(1).map(|index| &lines[index]);
            match below {
                Some(below) => {
                    assert_eq!(address(&value["below"]["mapping"]["start"]), below.start);
                    assert_eq!(value["below"]["gap"], line.start - below.end);
                }
                None => assert!(value["below"].is_null()),
            }
            match lines.get(index + 1) {
                Some(above) => {
                    assert_eq!(address(&value["above"]["mapping"]["start"]), above.start);
                    assert_eq!(value["above"]["gap"], above.start - line.end);
                }
                None => assert!(value["above"].is_null()),
            }
            if line.inode != 0 {
                assert_eq!(value["offset"], line.offset + 0x123);
            }
        }
    }

    #[test]
    fn the_text_names_the_file_and_the_place_in_it() {
        let cat = Cat::start();
        let lines = maps(&cat.pid());
        let code = lines.iter().find(|line| line.rights == "r-xp" && line.inode != 0).unwrap();
        for prefix in ["", "0x", "0X"] {
            let out = good(&["query", &cat.pid(), &format!("{prefix}{:x}", code.start + 5)]);
            for part in [&*code.name, "r-xp", "code", "0x5 bytes after the start"] {
                assert!(out.contains(part), "{part}: {out}");
            }
            assert!(out.contains(&format!("{:#x}\n", code.offset + 5)), "{out}");
        }
    }

    #[test]
    fn a_hole_is_shown_with_both_neighbours() {
        let cat = Cat::start();
        let lines = maps(&cat.pid());
        let hole = lines.windows(2).find(|pair| pair[0].end < pair[1].start).unwrap();
        let value = folio(&["query", &cat.pid(), &format!("{:x}", hole[0].end), "--json"]);
        assert_eq!(value.code, Some(1));
        let value: serde_json::Value = serde_json::from_str(&value.out).unwrap();
        assert_eq!(address(&value["below"]["mapping"]["end"]), hole[0].end);
        assert_eq!(value["below"]["gap"], 0);
        assert_eq!(value["above"]["gap"], hole[1].start - hole[0].end);
    }
}
