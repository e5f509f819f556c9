//! Any line is read without a panic, and what is read keeps what is promised of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_proto::{Parsed, Request, Scratch, parse_line};

fuzz_target!(|line: &[u8]| {
    let mut scratch = Scratch::new();
    match parse_line(line, &mut scratch) {
        Parsed::Request { request, .. } => {
            if let Request::Get(get) = request {
                assert!(get.keys().next().is_some());
                assert!(get.keys().all(|key| (1..=250).contains(&key.len())));
            }
            if let Some(key) = request.key() {
                assert!((1..=250).contains(&key.len()));
            }
            assert!(request.value_len().is_none_or(|len| len <= 0x7fff_fffd));
        }
        Parsed::Malformed { line, swallow, .. } => {
            assert!(!line.is_empty() && !line.contains(['\r', '\n']));
            assert!(swallow == 0 || (2..=0x7fff_ffff).contains(&swallow));
        }
        _ => {}
    }
});
