//! Whatever an etcd says, lists can be told to clients, and versions that are read do not go down.
//!
//! The first byte says whether the rest is what the gateway says, or is made into answers that it
//! could give about keys with odd values, names and revisions.

#![no_main]

use base64ct::{Base64, Encoding};
use libfuzzer_sys::fuzz_target;

/// Takes bytes off the front.
fn some<'a>(data: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(n.min(data.len()));
    *data = rest;
    taken
}

fn byte(data: &mut &[u8]) -> u8 {
    some(data, 1).first().copied().unwrap_or_default()
}

fn revision(data: &mut &[u8]) -> String {
    match byte(data) {
        255 => u64::MAX.to_string(),
        254 => i64::MAX.to_string(),
        253 => "-1".to_owned(),
        n => n.to_string(),
    }
}

fn pair(data: &mut &[u8]) -> String {
    let name = byte(data);
    let key = match name {
        0..100 => format!("/p/nodes/{}", name % 8),
        100..150 => "/p/version".to_owned(),
        150..200 => format!("/p/{name}"),
        _ => String::from_utf8_lossy(some(data, usize::from(name % 16))).into_owned(),
    };
    let n = usize::from(byte(data));
    let value = match n {
        0..128 => {
            let host = String::from_utf8_lossy(some(data, n % 32)).escape_debug().to_string();
            format!(r#"{{"host":"{host}","port":{},"weight":{n}}}"#, revision(data)).into_bytes()
        }
        128..192 => revision(data).into_bytes(),
        _ => some(data, n).to_vec(),
    };
    let (key, value) = (Base64::encode_string(key.as_bytes()), Base64::encode_string(&value));
    let revision = revision(data);
    format!(r#"{{"key":"{key}","value":"{value}","mod_revision":"{revision}"}}"#)
}

fn answers(mut data: &[u8]) -> String {
    let mut lines = String::new();
    while !data.is_empty() {
        let (kind, n) = (byte(&mut data), byte(&mut data) % 4);
        let header = format!(
            r#""header":{{"cluster_id":"{}","raft_term":"{}","revision":"{}"}}"#,
            kind & 1,
            kind & 2,
            revision(&mut data)
        );
        let pairs: Vec<_> = (0..n).map(|_| pair(&mut data)).collect();
        lines += &match kind {
            0..64 => format!(r#"{{{header},"kvs":[{}]}}"#, pairs.join(",")),
            64..250 => {
                let event = |pair| {
                    let kind = if kind & 4 == 0 { "DELETE" } else { "PUT" };
                    format!(r#"{{"type":"{kind}","kv":{pair}}}"#)
                };
                let events: Vec<_> = pairs.into_iter().map(event).collect();
                format!(r#"{{{header},"events":[{}]}}"#, events.join(","))
            }
            250..253 => format!(r#"{{{header},"canceled":true}}"#),
            _ => format!(r#"{{{header},"compact_revision":"{n}"}}"#),
        };
        lines.push('\n');
    }
    lines
}

fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let piece = usize::from(*how / 2) + 1;
    if how % 2 == 0 {
        nuthatch_discovery::hear_etcd(data, piece);
    } else {
        nuthatch_discovery::hear_etcd(answers(data).as_bytes(), piece);
    }
});
