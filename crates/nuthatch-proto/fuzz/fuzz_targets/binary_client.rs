//! Whatever a server of the binary protocol says, cut in any way, is heard as in one piece, nothing
//! panics, and nobody is answered twice.
//!
//! The first eight bytes say what has been asked, the next four how to cut. Then a server speaks:
//! frames of six bytes each that say what their headers are, mostly the truth, until one that says
//! otherwise; what is left over is sent as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_proto::client::{BinaryCommand, BinaryConnection, Limits, Tag};
use nuthatch_proto::types::{Arith, Cas, ItemFlags, Key, StoreMode};

fn ask(connection: &mut BinaryConnection<usize>, what: u8, tag: usize) {
    let key = Key::new(b"a").expect("a letter is a key");
    let quiet = what & 0x10 != 0;
    let command = match what % 13 {
        0..3 => BinaryCommand::Get { key, exptime: None, with_key: what & 0x20 != 0, quiet },
        3 => BinaryCommand::Get { key, exptime: Some(1), with_key: true, quiet },
        4 => BinaryCommand::Store {
            mode: StoreMode::Set,
            key,
            flags: ItemFlags(0),
            exptime: 0,
            cas: (what & 0x20 != 0).then_some(Cas(1)),
            value: b"v",
            quiet,
        },
        5 => BinaryCommand::Delete { key, cas: None, quiet },
        6 => BinaryCommand::Touch { key, exptime: 0 },
        7 => BinaryCommand::Arith {
            direction: Arith::Incr,
            key,
            delta: 1,
            initial: None,
            cas: None,
            quiet,
        },
        8 => BinaryCommand::Flush { delay: None, quiet },
        9 => BinaryCommand::Version,
        10 => BinaryCommand::Stats(None),
        11 => BinaryCommand::ConfigGet(key),
        _ => BinaryCommand::Noop,
    };
    connection.send(&command, tag).expect("it can be sent");
}

/// Opcodes as they were sent, in order.
fn opcodes(mut sent: &[u8]) -> Vec<u8> {
    let mut opcodes = Vec::new();
    while let Some(header) = sent.first_chunk::<24>() {
        opcodes.push(header[1]);
        let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        sent = &sent[24 + body_len as usize..];
    }
    opcodes
}

fn answer(spec: [u8; 6], opcodes: &[u8], out: &mut Vec<u8>) {
    let [opaque, status, extras, key, value, lie] = spec;
    let opaque = opaque % 10;
    let opcode = opcodes.get(usize::from(opaque)).copied().unwrap_or(lie);
    let (extras, key, value) = (extras % 9, key % 5, value % 40);
    let body_len = u32::from(extras) + u32::from(key) + u32::from(value);
    let status = [0_u16, 0, 0, 1, 2, 4, 5, 6, 0x20, 0x21, 0x81, 0x82, 0x85][usize::from(status % 13)];
    out.extend_from_slice(&[0x81, opcode ^ (lie & 1), 0, key, extras, 0]);
    out.extend_from_slice(&status.to_be_bytes());
    out.extend_from_slice(&(body_len ^ u32::from(lie & 2) << 20).to_be_bytes());
    out.extend_from_slice(&u32::from(opaque).to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7]);
    out.resize(out.len() + body_len as usize, b'a');
}

/// Everything that is heard, and at the end the error, if there is one.
fn hear(asked: &[u8], spoken: &[u8], cuts: &[usize]) -> Vec<String> {
    let limits = Limits { line_bytes_max: 300, value_bytes_max: 5000 };
    let mut connection = BinaryConnection::new(limits);
    for (tag, what) in asked.iter().enumerate() {
        ask(&mut connection, *what, tag);
    }
    let opcodes = opcodes(connection.transmit());
    let mut says = Vec::new();
    let (specs, rest) = spoken.as_chunks::<6>();
    let mut raw: Vec<u8> = Vec::new();
    for (n, spec) in specs.iter().enumerate() {
        if spec[5] >= 0xf0 {
            raw.extend(specs[n..].iter().flatten());
            break;
        }
        answer(*spec, &opcodes, &mut says);
    }
    says.extend(raw);
    says.extend_from_slice(rest);

    let mut heard = Vec::new();
    let mut done = Vec::new();
    let mut rest = &says[..];
    for cut in cuts.iter().cycle() {
        loop {
            match connection.poll() {
                Ok(None) => break,
                Ok(Some(answer)) => {
                    let (tag, is_done) = match answer.tag {
                        Tag::More(tag) => (*tag, false),
                        Tag::Done(tag) => (tag, true),
                    };
                    assert!(!done.contains(&tag), "{tag} is answered twice");
                    assert!(done.last().is_none_or(|last| *last < tag), "{tag} is out of order");
                    if is_done {
                        done.push(tag);
                    }
                    heard.push(format!("{tag} {is_done} {:?} {:?}", answer.response, answer.status));
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
    assert_eq!(connection.into_pending().count(), asked.len() - done.len());
    heard
}

fuzz_target!(|data: &[u8]| {
    let Some((asked, rest)) = data.split_at_checked(8) else {
        return;
    };
    let Some((cuts, spoken)) = rest.split_at_checked(4) else {
        return;
    };
    let cuts: Vec<_> = cuts.iter().map(|byte| usize::from(*byte) + 1).collect();
    let (in_pieces, whole) = (hear(asked, spoken, &cuts), hear(asked, spoken, &[usize::MAX]));
    // An error shows how much was there.
    let n = in_pieces.len().saturating_sub(1);
    assert_eq!(in_pieces.len(), whole.len());
    assert_eq!(in_pieces[..n], whole[..n]);
});
