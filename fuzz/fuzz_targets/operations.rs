#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| affinis_testkit::fuzz::bodies::operations(data));
