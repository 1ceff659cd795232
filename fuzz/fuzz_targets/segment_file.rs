#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| affinis::fuzz::segment_file(data));
