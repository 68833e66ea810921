#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hongyan::mesh::fuzz_hello(data));
