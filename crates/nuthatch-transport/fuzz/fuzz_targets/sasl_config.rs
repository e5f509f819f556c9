//! Any text is read as `memcached.conf`, as a file of users and as SCRAM keys, or refused, and what
//! is read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_transport::{
    passwords::Users,
    sasl::{Config, Name, Realms, ScramKeys},
};

fuzz_target!(|text: &[u8]| {
    match Config::parse(text) {
        Ok(config) => assert!(!config.mechanisms.is_empty() && config.log_level <= 7),
        Err((line, _)) => assert!(line >= 1),
    }
    if let Ok(users) = Users::parse(text) {
        assert!(users.len() <= text.len());
    }
    if let Ok(Some(keys)) = ScramKeys::parse(text) {
        assert_eq!(keys.to_string().as_bytes(), text);
    }
    if let Some(name) = Name::parse(text, &Realms::named(b"Host")) {
        assert!(!name.user().is_empty() && name.is_same(&name));
        assert!(name.realms().count() >= 1);
    }
});
