//! Any frames of the binary protocol, cut in any way, are answered as in one piece, and nothing
//! panics.
//!
//! The first sixteen bytes say how to cut, and whether a login is asked for. Then each request is six bytes: what its header says of
//! itself, mostly the truth; what is left over is sent as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_proto::binary::{Header, REQUEST_MAGIC};

#[path = "../../tests/it/model.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod model;
#[path = "../../tests/it/rig.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod rig;

use model::Model;
use nuthatch_proto::Session;
use rig::{Cuts, run_session};

fn frame(spec: [u8; 6], out: &mut Vec<u8>) {
    let [opcode, lead, key, value, cas, lie] = spec;
    let extras_len = match opcode {
        0x01..=0x03 | 0x11..=0x13 => 8,
        0x05 | 0x06 | 0x15 | 0x16 => 20,
        0x1c..=0x1e | 0x23 | 0x24 => 4,
        _ => 0,
    };
    let extras = vec![if lead & 1 == 0 { 0 } else { 0xff }; extras_len];
    let key: &[u8] = match key % 9 {
        0 => b"",
        1..4 => b"a",
        4 => b"b c",
        5 => b"late1",
        6 => b"runs-out",
        7 => b"LATE",
        _ => &[b'k'; 260],
    };
    let value_len = match value {
        0..100 => 0,
        100..200 => usize::from(value - 100),
        _ => usize::from(value - 199) * 800,
    };
    let mut header = Header {
        magic: REQUEST_MAGIC,
        opcode,
        key_len: key.len() as u16,
        extras_len: extras.len() as u8,
        body_len: (extras.len() + key.len() + value_len) as u32,
        opaque: u32::from(lie),
        cas: if cas < 200 { 0 } else { u64::from(cas - 199) },
        ..Header::default()
    };
    match lie {
        250 => header.magic = cas,
        251 => header.key_len = u16::from(cas) << 8 | u16::from(lead),
        252 => header.extras_len = cas,
        253 => header.body_len = u32::from(cas) << 24,
        254 => header.body_len = header.body_len.wrapping_add(u32::from(cas)),
        255 => header.body_len = header.body_len.wrapping_sub(u32::from(cas)),
        _ => {}
    }
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&extras);
    out.extend_from_slice(key);
    if key == b"LATE" && value_len == 6 {
        return out.extend_from_slice(b"secret");
    }
    out.resize(out.len() + value_len, b'7');
}

fuzz_target!(|data: &[u8]| {
    let Some((how, specs)) = data.split_at_checked(16) else {
        return;
    };
    let mut input = Vec::new();
    let (specs, rest) = specs.as_chunks::<6>();
    specs.iter().for_each(|spec| frame(*spec, &mut input));
    input.extend_from_slice(rest);
    // Small cuts are the interesting ones; a byte above 200 is a large one.
    let size = |byte: &u8| match *byte {
        small @ ..200 => usize::from(small) + 1,
        large => usize::from(large - 199) * 300,
    };
    let cuts = Cuts {
        reads: how[..6].iter().map(size).collect(),
        writes: how[6..12].iter().map(size).collect(),
        n_slices: usize::from(how[12] % 8) + 1,
        budget: usize::from(how[13]),
        late_every: usize::from(how[14] % 8) + 1,
    };
    let (mut whole, mut cut) = (Model::default(), Model::default());
    let session = || if how[15] < 128 { Session::new() } else { Session::with_login() };
    let expected = run_session(session(), &mut whole, &input, &Cuts::none());
    let got = run_session(session(), &mut cut, &input, &cuts);
    assert_eq!(got.output.escape_ascii().to_string(), expected.output.escape_ascii().to_string());
    assert_eq!(got.end, expected.end);
});
