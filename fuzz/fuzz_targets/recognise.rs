#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hc_fuzz_targets::recognise(data));
