//! Operations of process slices against a `Vec<u8>`: what the tests do with inputs by chance.
#![no_main]

#[path = "../../tests/slice_ops/mod.rs"]
mod slice_ops;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| slice_ops::run(input));
