//! Any bytes are read as a sasldb2 file or refused, in bounded time, and nothing panics.
//!
//! Few random bytes would get past the meta page, so one is put in front of them half of the time:
//! the first byte says whether, and in which byte order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_transport::sasldb::Database;

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    if how & 1 == 0 {
        read(rest);
        return;
    }
    let order = |value: u32| {
        if how & 2 == 0 { value.to_le_bytes() } else { value.to_be_bytes() }
    };
    // The smallest pages there are: the more of them in few bytes, the more may be wrong.
    let mut file = vec![0; 512];
    for (at, value) in [(12, 0x0006_1561), (16, 9), (20, 512), (32, 64)] {
        file[at..at + 4].copy_from_slice(&order(value));
    }
    file[25] = 8;
    file.extend_from_slice(rest);
    file.resize(file.len().next_multiple_of(512), 0);
    read(&file);
});

fn read(file: &[u8]) {
    let Ok(database) = Database::parse(file) else { return };
    for (user, realm) in database.users() {
        assert!(!user.contains(&0) && !realm.contains(&0));
    }
    assert!(database.len() <= file.len() / 4);
}
