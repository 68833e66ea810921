#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hongyan::edge::tunnel::wire::fuzz_wire(data));
