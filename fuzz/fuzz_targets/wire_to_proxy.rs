#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hc_fuzz_targets::wire_to_proxy(data));
