//! Whatever a server says, cut in any way, is heard as in one piece, and nothing panics.
//!
//! The first eight bytes say what has been asked, the next four how to cut, the rest is what the
//! server says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_proto::Error;
use nuthatch_proto::client::{Command, Connection, KeyLine, Limits, MetaOptions, Tag};
use nuthatch_proto::types::{Arith, ItemFlags, Key, StoreMode};

fn ask(connection: &mut Connection<usize>, what: u8, tag: usize) {
    let key = Key::new(b"a").expect("a letter is a key");
    let quiet = MetaOptions { quiet: true, ..MetaOptions::default() };
    let mut keys = KeyLine::new();
    keys.push("a").and_then(|()| keys.push("b")).expect("letters are keys");
    let command = match what % 17 {
        0 => Command::Get { keys: &[key], with_cas: true, exptime: None },
        1 => Command::Store {
            mode: StoreMode::Set,
            key,
            flags: ItemFlags(0),
            exptime: 0,
            cas: None,
            value: b"v",
            noreply: false,
        },
        2 => Command::Delete { key, noreply: false },
        3 => Command::Arith { direction: Arith::Incr, key, delta: 1, noreply: false },
        4 => Command::Touch { key, exptime: 0, noreply: false },
        5 => Command::MetaGet(key, MetaOptions::default()),
        6 | 7 => Command::MetaGet(key, quiet),
        8 => Command::MetaSet(key, quiet, b"v"),
        9 => Command::MetaNoop,
        10 => Command::MetaDebug(key),
        11 => Command::Version,
        12 => Command::Stats(None),
        13 => Command::Dump { keys_only: false, classes: "all" },
        14 => Command::ConfigGet("cluster"),
        15 => Command::GetLine { keys: &keys, with_cas: false, exptime: None },
        _ => Command::Line("verbosity 1"),
    };
    connection.send(&command, tag).expect("it can be sent");
}

/// Everything that is heard, and at the end the error, if there is one.
fn hear(asked: &[u8], says: &[u8], cuts: &[usize]) -> Vec<String> {
    let limits = Limits { line_bytes_max: 300, value_bytes_max: 5000 };
    let mut connection = Connection::new(limits);
    for (tag, what) in asked.iter().enumerate() {
        ask(&mut connection, *what, tag);
    }
    let mut heard = Vec::new();
    let mut rest = says;
    for cut in cuts.iter().cycle() {
        loop {
            match connection.poll() {
                Ok(None) => break,
                Ok(Some(answer)) => {
                    let (tag, is_done) = match answer.tag {
                        Tag::More(tag) => (*tag, false),
                        Tag::Done(tag) => (tag, true),
                    };
                    heard.push(format!("{tag} {is_done} {:?}", answer.response));
                }
                // Of an answer to nothing that was asked as much is told as had come.
                Err(Error::OutOfStep { .. }) => {
                    heard.push("out of step".to_owned());
                    return heard;
                }
                Err(error) => {
                    heard.push(error.to_string());
                    return heard;
                }
            }
        }
        if rest.is_empty() {
            break;
        }
        let space = connection.recv_space();
        let n = (*cut).min(space.len()).min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        connection.received(n);
        rest = &rest[n..];
    }
    heard
}

fuzz_target!(|data: &[u8]| {
    let Some((asked, rest)) = data.split_at_checked(8) else {
        return;
    };
    let Some((cuts, says)) = rest.split_at_checked(4) else {
        return;
    };
    let cuts: Vec<_> = cuts.iter().map(|byte| usize::from(*byte) + 1).collect();
    assert_eq!(hear(asked, says, &cuts), hear(asked, says, &[usize::MAX]));
});
