//! The parser of `/proc/PID/maps` beside a naive one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| folio::fuzzing::fuzz_lines(data));
