#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hongyan::hub::fuzz_chunk(data));
