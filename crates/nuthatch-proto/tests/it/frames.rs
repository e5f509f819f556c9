//! The binary protocol: what a client hears, frame by frame.

use nuthatch_proto::binary::{HEADER_LEN, Header, Opcode, REQUEST_MAGIC, RESPONSE_MAGIC, Verb};
use nuthatch_proto::{Session, Speaks, Want};

use crate::model::{Model, TOO_LARGE};
use crate::rig::{Cuts, run, run_session};

/// A request in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) opcode: u8,
    pub(crate) extras: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) cas: u64,
    pub(crate) opaque: u32,
}

impl Ask {
    pub(crate) fn new(opcode: u8) -> Self {
        Self { opcode, opaque: 0x0102_0304, ..Self::default() }
    }

    fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = key.as_ref().to_vec();
        self
    }

    pub(crate) fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.value = value.as_ref().to_vec();
        self
    }

    fn extras(mut self, extras: impl AsRef<[u8]>) -> Self {
        self.extras = extras.as_ref().to_vec();
        self
    }

    fn cas(mut self, cas: u64) -> Self {
        self.cas = cas;
        self
    }

    pub(crate) fn header(&self) -> Header {
        let body_len = self.extras.len() + self.key.len() + self.value.len();
        Header {
            magic: REQUEST_MAGIC,
            opcode: self.opcode,
            key_len: self.key.len().try_into().unwrap(),
            extras_len: self.extras.len().try_into().unwrap(),
            body_len: body_len.try_into().unwrap(),
            opaque: self.opaque,
            cas: self.cas,
            ..Header::default()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.header().to_bytes()[..], &self.extras, &self.key, &self.value].concat()
    }
}

pub(crate) fn get(opcode: u8, key: &str) -> Ask {
    Ask::new(opcode).key(key)
}

fn set(opcode: u8, key: &str, value: &str) -> Ask {
    Ask::new(opcode).key(key).value(value).extras([0, 0, 0, 7, 0, 0, 0, 0])
}

fn incr(opcode: u8, key: &str, delta: u64, initial: u64, exptime: u32) -> Ask {
    let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()];
    Ask::new(opcode).key(key).extras(extras.concat())
}

fn config(opcode: u8, payload: &str) -> Ask {
    Ask::new(opcode).key("cluster").value(payload).extras([0; 4])
}

/// The answers in a readable form: the opcode, the status, the CAS number if there is one, and
/// what is in the body.
pub(crate) fn readable(mut output: &[u8]) -> Vec<String> {
    let mut answers = Vec::new();
    while let Some((header, rest)) = output.split_first_chunk::<HEADER_LEN>() {
        let header = Header::from_bytes(header);
        assert_eq!((header.magic, header.data_type), (RESPONSE_MAGIC, 0));
        assert_eq!(header.opaque, 0x0102_0304);
        let (body, rest) = rest.split_at(header.body_len.try_into().unwrap());
        let (extras, body) = body.split_at(header.extras_len.into());
        let (key, value) = body.split_at(header.key_len.into());
        let mut text = format!("{:02x} {:x}", header.opcode, header.status);
        if header.cas != 0 {
            text += &format!(" cas={}", header.cas);
        }
        if !extras.is_empty() {
            text += &format!(" {extras:?}");
        }
        for (name, bytes) in [("key", key), ("", value)] {
            if !bytes.is_empty() {
                text += &format!(" {name}'{}'", bytes.escape_ascii());
            }
        }
        answers.push(text);
        output = rest;
    }
    assert!(output.is_empty(), "whole frames come out");
    answers
}

fn answers_of(model: &mut Model, asked: &[Ask]) -> Vec<String> {
    let input: Vec<u8> = asked.iter().flat_map(Ask::bytes).collect();
    let run = run(model, &input, &Cuts::none());
    let mut answers = readable(&run.output);
    if run.end == Want::Close {
        answers.push("(close)".into());
    }
    answers
}

#[track_caller]
fn check(asked: &[Ask], expected: &[&str]) {
    assert_eq!(answers_of(&mut Model::default(), asked), expected);
}

#[test]
fn what_is_stored_is_fetched() {
    check(
        &[
            set(0x01, "a", "one"),
            get(0x00, "a"),
            get(0x0c, "a"),
            get(0x09, "a"),
            get(0x0d, "a"),
            get(0x00, "b"),
            get(0x0c, "b"),
            get(0x09, "b"),
            get(0x0d, "b"),
            Ask::new(0x0a),
        ],
        &[
            "01 0 cas=1",
            "00 0 cas=1 [0, 0, 0, 7] 'one'",
            "0c 0 cas=1 [0, 0, 0, 7] key'a' 'one'",
            "09 0 cas=1 [0, 0, 0, 7] 'one'",
            "0d 0 cas=1 [0, 0, 0, 7] key'a' 'one'",
            "00 1 'Not found'",
            "0c 1 key'b'",
            "0a 0",
        ],
    );
}

#[test]
fn keys_and_values_may_hold_any_byte() {
    let key = "a key\r\n\0";
    check(
        &[set(0x01, key, ""), get(0x0c, key), set(0x0e, key, "\r\n"), get(0x00, key)]
            .map(|ask| if ask.opcode == 0x0e { ask.extras([]) } else { ask }),
        &[
            "01 0 cas=1",
            r"0c 0 cas=1 [0, 0, 0, 7] key'a key\r\n\x00'",
            "0e 0 cas=2",
            r"00 0 cas=2 [0, 0, 0, 0] '\r\n'",
        ],
    );
}

#[test]
fn touching_answers_what_was_touched() {
    let extras = 100u32.to_be_bytes();
    let ask = |opcode, key| get(opcode, key).extras(extras);
    check(
        &[
            set(0x01, "a", "one"),
            ask(0x1c, "a"),
            ask(0x1d, "a"),
            ask(0x23, "a"),
            ask(0x1e, "a"),
            ask(0x24, "a"),
            ask(0x1c, "b"),
            ask(0x1d, "b"),
            ask(0x23, "b"),
            ask(0x1e, "b"),
            ask(0x24, "b"),
        ],
        &[
            "01 0 cas=1",
            "1c 0 cas=1 [0, 0, 0, 7]",
            "1d 0 cas=1 [0, 0, 0, 7] 'one'",
            "23 0 cas=1 [0, 0, 0, 7] key'a' 'one'",
            "1e 0 cas=1 [0, 0, 0, 7] 'one'",
            "24 0 cas=1 [0, 0, 0, 7] key'a' 'one'",
            "1c 1 'Not found'",
            "1d 1 'Not found'",
            "23 1 key'b'",
        ],
    );
}

#[test]
fn stores_fail_as_the_opcode_says() {
    check(
        &[
            set(0x02, "a", "1"),
            set(0x02, "a", "2"),
            set(0x03, "b", "2"),
            set(0x03, "a", "3"),
            get(0x0e, "b"),
            get(0x0f, "b"),
            // With a CAS number all three compare.
            set(0x01, "a", "4").cas(99),
            set(0x01, "b", "4").cas(99),
            set(0x02, "a", "4").cas(99),
            set(0x03, "b", "4").cas(99),
            set(0x02, "a", "4").cas(3),
            get(0x0e, "a").value("5").cas(99),
            get(0x0e, "a").value("5").cas(8),
        ],
        &[
            "02 0 cas=1",
            "02 2 'Data exists for key.'",
            "03 1 'Not found'",
            "03 0 cas=4",
            "0e 5 'Not stored.'",
            "0f 5 'Not stored.'",
            "01 2 'Data exists for key.'",
            "01 1 'Not found'",
            "02 2 'Data exists for key.'",
            "03 1 'Not found'",
            "02 2 'Data exists for key.'",
            "0e 2 'Data exists for key.'",
            "0e 2 'Data exists for key.'",
        ],
    );
}

#[test]
fn quiet_opcodes_leave_success_unsaid_and_nothing_else() {
    check(
        &[
            set(0x11, "a", "1"),
            set(0x12, "a", "1"),
            set(0x13, "b", "1"),
            set(0x12, "b", "1"),
            set(0x13, "b", "2"),
            get(0x19, "a").value("1"),
            get(0x1a, "x"),
            incr(0x15, "a", 1, 0, 0),
            incr(0x16, "x", 1, 0, u32::MAX),
            get(0x14, "b"),
            get(0x14, "b"),
            get(0x09, "a"),
            Ask::new(0x18),
            get(0x09, "a"),
            Ask::new(0x0a),
            Ask::new(0x17),
            Ask::new(0x0a),
        ],
        &[
            "12 2 'Data exists for key.'",
            "13 1 'Not found'",
            "1a 5 'Not stored.'",
            "16 1 'Not found'",
            "14 1 'Not found'",
            "09 0 cas=8 [0, 0, 0, 0] '12'",
            "0a 0",
            "(close)",
        ],
    );
}

#[test]
fn counters_begin_where_they_are_told() {
    check(
        &[
            incr(0x05, "n", 1, 10, 0),
            incr(0x05, "n", 5, 10, 0),
            incr(0x06, "n", 100, 0, 0),
            incr(0x05, "m", 1, 10, u32::MAX),
            incr(0x05, "n", 1, 0, 0).cas(99),
            set(0x01, "x", "word"),
            incr(0x06, "x", 1, 0, 0),
            get(0x00, "n"),
        ],
        &[
            r"05 0 cas=1 '\x00\x00\x00\x00\x00\x00\x00\n'",
            r"05 0 cas=2 '\x00\x00\x00\x00\x00\x00\x00\x0f'",
            r"06 0 cas=3 '\x00\x00\x00\x00\x00\x00\x00\x00'",
            "05 1 'Not found'",
            "05 2 'Data exists for key.'",
            "01 0 cas=5",
            "06 6 'Non-numeric server-side value for incr or decr'",
            "00 0 cas=3 [0, 0, 0, 0] '0'",
        ],
    );
}

#[test]
fn deletes_compare() {
    check(
        &[
            set(0x01, "a", "1"),
            get(0x04, "a").cas(7),
            get(0x04, "a").cas(1),
            get(0x04, "a").cas(1),
            get(0x04, "a"),
        ],
        &[
            "01 0 cas=1",
            "04 2 'Data exists for key.'",
            "04 0",
            "04 1 'Not found'",
            "04 1 'Not found'",
        ],
    );
}

#[test]
fn the_operator_is_answered() {
    check(
        &[
            Ask::new(0x0b),
            Ask::new(0x10),
            get(0x10, "reset"),
            get(0x10, "detail dump"),
            get(0x10, "detail"),
            get(0x10, "conns"),
            Ask::new(0x08),
            Ask::new(0x08).extras([0, 0, 0, 9]),
            Ask::new(0x07),
        ],
        &[
            "0b 0 'model'",
            "10 0 key'curr_items' '0'",
            "10 0",
            "10 0",
            r"10 0 key'detailed' 'PREFIX a\r\nEND\r\n'",
            "10 0",
            "10 1 'Not found'",
            "10 1 'Not found'",
            "08 0",
            "08 0",
            "07 0",
            "(close)",
        ],
    );
}

#[test]
fn an_unknown_opcode_takes_exactly_its_body() {
    check(
        &[
            Ask::new(0x1b).extras([0; 4]),
            Ask::new(0xee).extras([0; 4]).key("key").value("v".repeat(20_000)),
            Ask::new(0x0a),
        ],
        &["1b 81 'Unknown command'", "ee 81 'Unknown command'", "0a 0"],
    );
}

#[test]
fn wrong_lengths_end_the_connection_and_not_the_answers_before() {
    let noop = Ask::new(0x0a);
    for wrong in [
        get(0x00, ""),
        get(0x00, "a").value("more"),
        get(0x1c, "a").extras([0; 4]).value("more"),
        set(0x01, "a", "1").extras([0; 4]),
        Ask::new(0x0a).value("x"),
        get(0x00, &"k".repeat(251)),
        get(0x00, &"k".repeat(65_535)),
        get(0x10, "items").value("x"),
    ] {
        let expected = format!("{:02x} 4 'Invalid arguments'", wrong.opcode);
        check(&[noop.clone(), wrong, noop.clone()], &["0a 0", &expected, "(close)"]);
    }
}

#[test]
fn a_key_longer_than_the_body_is_no_request() {
    let mut bytes = get(0x00, "abc").bytes();
    bytes[11] = 2;
    bytes.extend(Ask::new(0x0a).bytes());
    let run = run(&mut Model::default(), &bytes, &Cuts::none());
    assert_eq!(readable(&run.output), ["00 81 'Unknown command'"]);
    assert_eq!(run.end, Want::Close);
}

#[test]
fn nothing_is_said_before_the_key_has_come() {
    for ask in [get(0x00, &"k".repeat(300)), get(0xee, &"k".repeat(30))] {
        let bytes = ask.bytes();
        let before = run(&mut Model::default(), &bytes[..bytes.len() - 1], &Cuts::none());
        assert_eq!((before.output.len(), before.end), (0, Want::Read));
    }
}

#[test]
fn a_bad_magic_ends_the_connection_without_an_answer() {
    let mut bytes = Ask::new(0x0a).bytes();
    bytes.extend([0x81; HEADER_LEN]);
    let run = run(&mut Model::default(), &bytes, &Cuts::none());
    assert_eq!((readable(&run.output), run.end), (vec!["0a 0".to_string()], Want::Close));
}

#[test]
fn the_first_byte_decides_unless_the_driver_does() {
    let noop = Ask::new(0x0a).bytes();
    let hear = |speaks, input: &[u8]| {
        let session = Session::new().speaking(speaks);
        run_session(session, &mut Model::default(), input, &Cuts::every(3))
    };
    let mixed = [&noop[..], b"version\r\nversion\r\nversion\r\n"].concat();
    for speaks in [Speaks::Auto, Speaks::Binary] {
        let run = hear(speaks, &mixed);
        assert_eq!((run.output.len(), run.end), (HEADER_LEN, Want::Close));
    }
    // What would be a frame later on is a line then: `\x80\x0b…`.
    let version = Ask::new(0x0b).bytes();
    let run = hear(Speaks::Auto, &[b"mn\r\n", &version[..], b"\r\nmn\r\n"].concat());
    assert_eq!(run.output, b"MN\r\nERROR\r\nMN\r\n");
    let run = hear(Speaks::Text, &[&version[..], b"\r\nmn\r\n"].concat());
    assert_eq!(run.output, b"ERROR\r\nMN\r\n");
    // memcached waits for a header's worth of text.
    let run = hear(Speaks::Binary, b"v");
    assert_eq!((run.output.len(), run.end), (0, Want::Close));
    assert_eq!(hear(Speaks::Binary, b"\x80").end, Want::Read);
}

#[test]
fn large_values_go_to_their_place() {
    let value: String = ('a'..='z').cycle().take(30_000).collect();
    let model = &mut Model::default();
    let asked = [set(0x01, "a", &value), get(0x0e, "a").value("!"), get(0x0c, "a")];
    let expected = format!("0c 0 cas=2 [0, 0, 0, 0] key'a' '{value}!'");
    assert_eq!(answers_of(model, &asked), ["01 0 cas=1", "0e 0 cas=2", &expected]);
    assert_eq!((model.n_reserved, model.n_committed), (1, 1));
}

#[test]
fn what_is_too_large_is_skipped_and_answered_even_if_quiet() {
    let large = "v".repeat(TOO_LARGE);
    check(
        &[
            set(0x01, "a", &large),
            set(0x11, "a", &large),
            get(0x19, "a").value(&large),
            set(0x11, "runs-out", &"v".repeat(30_000)),
            Ask::new(0x0a),
        ],
        &[
            "01 3 'Too large.'",
            "11 3 'Too large.'",
            "19 3 'Too large.'",
            "11 82 'Out of memory during read'",
            "0a 0",
        ],
    );
}

#[test]
fn late_answers_keep_their_place() {
    check(
        &[
            set(0x01, "late1", "one"),
            get(0x00, "late1"),
            get(0x0d, "late2"),
            get(0x0c, "late2"),
            get(0x0c, "late1"),
            Ask::new(0x0a),
        ],
        &[
            "01 0 cas=1",
            "00 0 cas=1 [0, 0, 0, 7] 'one'",
            "0c 1 key'late2'",
            "0c 0 cas=1 [0, 0, 0, 7] key'late1' 'one'",
            "0a 0",
        ],
    );
}

#[test]
fn strangers_log_in_first() {
    let hear = |asked: &[Ask]| {
        let input: Vec<u8> = asked.iter().flat_map(Ask::bytes).collect();
        let run =
            run_session(Session::with_login(), &mut Model::default(), &input, &Cuts::every(5));
        (readable(&run.output), run.end)
    };
    let noop = Ask::new(0x0a);
    let auth = |data: &str| get(0x21, "SHARED").value(data);
    let step = |data: &str| get(0x22, "SHARED").value(data);
    let (heard, end) = hear(&[Ask::new(0x0b), Ask::new(0x20), noop.clone(), noop.clone()]);
    assert_eq!(heard, ["0b 0 'model'", "20 0 'SHARED'", "0a 20 'Auth failure.'"]);
    assert_eq!(end, Want::Close);
    let (heard, end) = hear(&[
        auth("nobody"),
        auth("who"),
        step("wrong"),
        auth(&"d".repeat(20_000)),
        auth("who"),
        step("secret"),
        noop,
    ]);
    assert_eq!(
        heard,
        [
            "21 20 'Auth failure.'",
            "21 21 'what?'",
            "22 20 'Auth failure.'",
            "21 82 'Out of memory'",
            "21 21 'what?'",
            "22 0 'Authenticated'",
            "0a 0"
        ]
    );
    assert_eq!(end, Want::Read);
}

#[test]
fn every_question_who_it_is_makes_a_client_a_stranger() {
    let noop = Ask::new(0x0a);
    let ask = |opcode: u8, mechanism: &str, data: &str| get(opcode, mechanism).value(data);
    let log_in = [ask(0x21, "SHARED", "who"), ask(0x22, "any", "secret"), noop.clone()];
    let hear = |asked: &[Ask]| {
        let asked = [&log_in[..], asked, std::slice::from_ref(&noop)].concat();
        let input: Vec<u8> = asked.iter().flat_map(Ask::bytes).collect();
        let run =
            run_session(Session::with_login(), &mut Model::default(), &input, &Cuts::every(9));
        assert_eq!(readable(&run.output)[..3], ["21 21 'what?'", "22 0 'Authenticated'", "0a 0"]);
        (readable(&run.output)[3..].to_vec(), run.end)
    };
    let refused = "0a 20 'Auth failure.'";
    for (asked, said) in [
        (Ask::new(0x20), "20 0 'SHARED'"),
        (ask(0x21, "SHARED", "nobody"), "21 20 'Auth failure.'"),
        (ask(0x21, "SHARED", "who"), "21 21 'what?'"),
        (ask(0x22, "SHARED", "wrong"), "22 20 'Auth failure.'"),
        (ask(0x21, "LATE", "wrong"), "21 20 'Auth failure.'"),
    ] {
        assert_eq!(hear(&[asked]), (vec![said.to_owned(), refused.to_owned()], Want::Close));
    }
    // What memcached refuses before it looks at it changes nothing.
    let long = "M".repeat(33);
    let late = ask(0x21, "LATE", "secret");
    for (asked, said) in [
        (ask(0x21, &long, "who"), "21 4 'Invalid arguments'"),
        (ask(0x22, &long, &"d".repeat(20_000)), "22 4 'Invalid arguments'"),
        (ask(0x21, "SHARED", &"d".repeat(20_000)), "21 82 'Out of memory'"),
        (late, "21 0 'Authenticated'"),
    ] {
        assert_eq!(hear(&[asked]), (vec![said.to_owned(), "0a 0".to_owned()], Want::Read));
    }
}

#[test]
fn opcodes_have_names() {
    assert_eq!(Opcode::from_byte(0x24), Some(Opcode { verb: Verb::GatK, quiet: true }));
    assert_eq!(Opcode::from_byte(0x1b), None);
}

#[test]
fn configurations_are_stored_told_and_removed() {
    check(
        &[
            get(0x60, "cluster"),
            get(0x61, "cluster"),
            config(0x64, "1\nhost||1\n"),
            config(0x65, "2\nhost||1\n"),
            get(0x60, "cluster"),
            get(0x61, "cluster"),
            get(0x62, "cluster"),
            get(0x63, "cluster"),
            Ask::new(0x68),
            get(0x67, "cluster"),
            get(0x67, "cluster"),
            get(0x66, "cluster"),
            Ask::new(0x68),
        ],
        &[
            "60 1 'Not found'",
            "64 0",
            r"60 0 [0, 0, 0, 0] '2\nhost||1\n'",
            r"61 0 [0, 0, 0, 0] '2\nhost||1\n'",
            r"62 0 [0, 0, 0, 0] key'cluster' '2\nhost||1\n'",
            r"63 0 [0, 0, 0, 0] key'cluster' '2\nhost||1\n'",
            r"68 0 [0, 0, 0, 0] key'cluster' '2\nhost||1\n'",
            "68 0",
            "67 1 'Not found'",
            "66 1 'Not found'",
            "68 0",
        ],
    );
}

#[test]
fn configurations_of_any_allowed_size_are_at_hand() {
    let payload = "p".repeat(65_536);
    let got = format!("60 0 [0, 0, 0, 0] '{payload}'");
    check(&[config(0x64, &payload), get(0x60, "cluster")], &["64 0", &got]);
    // A longer one goes by, and the connection stays in step.
    let answers =
        answers_of(&mut Model::default(), &[config(0x64, &"p".repeat(65_537)), Ask::new(0x0a)]);
    assert_eq!(answers[1..], ["0a 0"], "{answers:?}");
    assert!(answers[0].starts_with("64 "), "{answers:?}");
}

#[test]
fn configuration_frames_with_wrong_lengths_are_no_commands() {
    check(
        &[
            get(0x60, "cluster").value("x"),
            get(0x64, "cluster").extras([0; 8]),
            Ask::new(0x66),
            get(0x68, "cluster"),
            Ask::new(0x0a),
        ],
        &[
            "60 81 'Unknown command'",
            "64 81 'Unknown command'",
            "66 81 'Unknown command'",
            "68 81 'Unknown command'",
            "0a 0",
        ],
    );
}
