//! Any operations of process slices, in any order, against a `Vec<u8>`.

#[path = "slice_ops/mod.rs"]
mod slice_ops;

use proptest::prelude::*;

proptest! {
    #[test]
    fn slices_are_as_vectors(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        slice_ops::run(&input);
    }
}

/// What the fuzzer has found worth keeping.
#[test]
fn the_corpus_of_the_fuzzer_holds() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/slices");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return eprintln!("skipped: the_corpus_of_the_fuzzer_holds: the sources are not on this machine");
    };
    let mut count = 0;
    for entry in entries {
        slice_ops::run(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert_ne!(count, 0);
}
