//! The parser of `/proc/PID/smaps`: any text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| folio::fuzzing::fuzz_usage(data));
