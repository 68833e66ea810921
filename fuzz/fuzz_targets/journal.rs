#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hongyan::store::embedded::fuzz_journal(data));
