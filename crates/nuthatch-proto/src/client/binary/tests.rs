//! What a binary client writes, and what it makes of what it hears.

use nuthatch_types::{Arith, Deleted, ItemFlags, Key, KeyError, StoreMode, Stored};

use super::*;
use crate::binary::{HEADER_LEN, Header, RESPONSE_MAGIC};

fn key(name: &str) -> Key<'_> {
    Key::binary(name.as_bytes()).unwrap()
}

fn get(name: &str, quiet: bool) -> BinaryCommand<'_> {
    BinaryCommand::Get { key: key(name), exptime: None, with_key: false, quiet }
}

fn store(mode: StoreMode, cas: Option<Cas>) -> BinaryCommand<'static> {
    BinaryCommand::Store {
        mode,
        key: key("k"),
        flags: ItemFlags(7),
        exptime: -1,
        cas,
        value: b"abc",
        quiet: false,
    }
}

/// What a command looks like on the wire: the header, and the body.
fn wire(command: &BinaryCommand<'_>) -> (Header, Vec<u8>) {
    let mut connection = BinaryConnection::new(Limits::default());
    connection.send(command, ()).unwrap();
    let (header, body) = connection.transmit().split_first_chunk().unwrap();
    let header = Header::from_bytes(header);
    assert_eq!(header.body_len as usize, body.len());
    (header, body.to_vec())
}

/// An answer.
fn frame(opcode: u8, status: u16, opaque: u32, extras: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    let header = Header {
        magic: RESPONSE_MAGIC,
        opcode,
        key_len: key.len().try_into().unwrap(),
        extras_len: extras.len().try_into().unwrap(),
        status,
        body_len: (extras.len() + key.len() + value.len()).try_into().unwrap(),
        opaque,
        cas: 9,
        ..Header::default()
    };
    [&header.to_bytes()[..], extras, key.as_bytes(), value].concat()
}

/// Feeds what a server says in steps, and gives everything that is heard.
fn hear(
    connection: &mut BinaryConnection<u32>,
    input: &[u8],
    step: usize,
) -> Result<Vec<(String, Option<u32>)>, Error> {
    let mut heard = Vec::new();
    for piece in input.chunks(step) {
        connection.recv_space()[..piece.len()].copy_from_slice(piece);
        connection.received(piece.len());
        while let Some(answer) = connection.poll()? {
            heard.push((format!("{:?}", answer.response), answer.done()));
        }
    }
    Ok(heard)
}

#[test]
fn commands_are_written_as_the_protocol_has_them() {
    let (header, body) = wire(&store(StoreMode::Replace, Some(Cas(5))));
    assert_eq!((header.opcode, header.extras_len, header.key_len, header.cas), (3, 8, 1, 5));
    // What is over on the wire is a moment in 1970.
    assert_eq!(body, b"\0\0\0\x07\0\x27\x8d\x01kabc");
    let (header, body) = wire(&store(StoreMode::Append, None));
    assert_eq!((header.opcode, header.extras_len, header.cas), (0x0e, 0, 0));
    assert_eq!(body, b"kabc");
    let arith = |initial| BinaryCommand::Arith {
        direction: Arith::Decr,
        key: key("n"),
        delta: 2,
        initial,
        cas: None,
        quiet: true,
    };
    let (header, body) = wire(&arith(Some((3, 4))));
    assert_eq!((header.opcode, header.extras_len), (0x16, 20));
    assert_eq!(body, b"\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x04n");
    assert_eq!(wire(&arith(None)).1, b"\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\xff\xff\xff\xffn");
    let gat = BinaryCommand::Get { key: key("a"), exptime: Some(60), with_key: true, quiet: true };
    assert_eq!((wire(&gat).0.opcode, wire(&gat).1), (0x24, b"\0\0\0\x3ca".to_vec()));
    let flush = |delay| wire(&BinaryCommand::Flush { delay, quiet: false }).1;
    assert_eq!((flush(None), flush(Some(-1))), (vec![], vec![0; 4]));
    assert_eq!(wire(&BinaryCommand::Stats(Some("items"))).1, b"items");
}

#[test]
fn what_cannot_be_sent_is_refused_and_leaves_nothing() {
    let mut connection = BinaryConnection::new(Limits::default());
    let long = "x".repeat(251);
    for command in
        [BinaryCommand::Stats(Some(&long)), BinaryCommand::SaslAuth { mechanism: &long, data: b"" }]
    {
        let error = connection.send(&command, ()).unwrap_err();
        assert_eq!(error, Error::Key(KeyError::TooLong { len: 251 }));
    }
    assert!(connection.is_idle());
}

#[test]
fn debug_output_keeps_passwords() {
    let login = BinaryCommand::SaslAuth { mechanism: "PLAIN", data: b"\0me\0secret" };
    assert!(!format!("{login:?}").contains("secret"));
}

#[test]
fn answers_find_their_requests_however_they_are_cut() {
    let commands = [
        get("a", true),
        get("b", true),
        store(StoreMode::Add, None),
        get("c", true),
        BinaryCommand::Stats(None),
        BinaryCommand::Noop,
    ];
    let input = [
        frame(0x09, 0, 1, b"\0\0\0\x05", "", b"yellow"),
        frame(0x02, 2, 2, b"", "", b"Data exists for key."),
        frame(0x10, 0, 4, b"", "pid", b"1"),
        frame(0x10, 0, 4, b"", "", b""),
        frame(0x0a, 0, 5, b"", "", b""),
    ]
    .concat();
    let expected = [
        ("Unsaid", Some(0)),
        (
            "Value { key: [], flags: ItemFlags(5), cas: Some(Cas(9)), data: [121, 101, 108, 108, 111, 119] }",
            Some(1),
        ),
        ("Stored(NotStored)", Some(2)),
        ("Unsaid", Some(3)),
        ("Stat { name: [112, 105, 100], value: [49] }", None),
        ("End", Some(4)),
        ("Noop", Some(5)),
    ]
    .map(|(text, tag)| (text.to_owned(), tag));
    for step in [1, 7, 24, 1000] {
        let mut connection = BinaryConnection::new(Limits::default());
        for (tag, command) in (0..).zip(&commands) {
            connection.send(command, tag).unwrap();
        }
        assert_eq!(hear(&mut connection, &input, step).unwrap(), expected, "{step}");
        assert_eq!(connection.n_pending(), 0);
    }
}

#[test]
fn statuses_are_results_where_they_can_be() {
    let delete = BinaryCommand::Delete { key: key("k"), cas: Some(Cas(1)), quiet: false };
    let touch = BinaryCommand::Touch { key: key("k"), exptime: 0 };
    for (command, status, expected) in [
        (store(StoreMode::Set, Some(Cas(1))), 1, Response::Stored(Stored::NotFound)),
        (store(StoreMode::Set, Some(Cas(1))), 2, Response::Stored(Stored::Exists)),
        (store(StoreMode::Replace, None), 1, Response::Stored(Stored::NotStored)),
        (store(StoreMode::Replace, Some(Cas(1))), 1, Response::Stored(Stored::NotFound)),
        (store(StoreMode::Append, None), 5, Response::Stored(Stored::NotStored)),
        (delete, 1, Response::Deleted(Deleted::NotFound)),
        (delete, 2, Response::Deleted(Deleted::Exists)),
        (touch, 1, Response::Touched(false)),
        (get("k", false), 1, Response::End),
        (BinaryCommand::Flush { delay: None, quiet: false }, 0, Response::Line(b"OK")),
    ] {
        let mut connection = BinaryConnection::new(Limits::default());
        connection.send(&command, 0).unwrap();
        let opcode = connection.transmit()[1];
        let heard = hear(&mut connection, &frame(opcode, status, 0, b"", "", b""), 100).unwrap();
        assert_eq!(heard, [(format!("{expected:?}"), Some(0))], "{command:?} {status}");
    }
}

#[test]
fn errors_say_whose_fault_they_are() {
    use crate::response::ErrorKind::{Client, Server, Unknown};
    for (status, kind) in
        [(3, Server), (4, Client), (6, Client), (0x20, Client), (0x81, Unknown), (0x82, Server)]
    {
        let mut connection = BinaryConnection::new(Limits::default());
        connection.send(&store(StoreMode::Set, None), 0).unwrap();
        let input = frame(1, status, 0, b"", "", b"why");
        connection.recv_space()[..input.len()].copy_from_slice(&input);
        connection.received(input.len());
        let answer = connection.poll().unwrap().unwrap();
        assert_eq!(answer.status, Status(status));
        let Response::Error(error) = answer.response else { panic!("{answer:?}") };
        assert_eq!((error.kind, error.text), (kind, &b"why"[..]));
    }
}

#[test]
fn a_login_is_a_conversation() {
    let mut connection = BinaryConnection::new(Limits::default());
    connection.send(&BinaryCommand::SaslList, 0).unwrap();
    connection.send(&BinaryCommand::SaslAuth { mechanism: "PLAIN", data: b"x" }, 1).unwrap();
    connection.send(&BinaryCommand::SaslStep { mechanism: "PLAIN", data: b"y" }, 2).unwrap();
    let input = [
        frame(0x20, 0, 0, b"", "", b"PLAIN"),
        frame(0x21, 0x21, 1, b"", "", b"what?"),
        frame(0x22, 0, 2, b"", "", b"Authenticated"),
    ]
    .concat();
    connection.recv_space()[..input.len()].copy_from_slice(&input);
    connection.received(input.len());
    for (status, text) in
        [(Status::OK, "PLAIN"), (Status::AUTH_CONTINUE, "what?"), (Status::OK, "Authenticated")]
    {
        let answer = connection.poll().unwrap().unwrap();
        assert_eq!((answer.status, &answer.response), (status, &Response::Line(text.as_bytes())));
    }
}

#[test]
fn what_answers_nothing_is_an_error() {
    let fresh = || {
        let mut connection =
            BinaryConnection::new(Limits { line_bytes_max: 0, value_bytes_max: 9 });
        connection.send(&get("a", false), 0).unwrap();
        connection.send(&get("b", true), 1).unwrap();
        connection.send(&BinaryCommand::Noop, 2).unwrap();
        connection
    };
    for wrong in [
        // A request, another opcode, an opaque of nobody, one that passes over what is not quiet.
        [0x80; HEADER_LEN].to_vec(),
        frame(0x01, 0, 0, b"", "", b""),
        frame(0x00, 0, 77, b"", "", b""),
        frame(0x0a, 0, 2, b"", "", b""),
        // An item without flags.
        frame(0x00, 0, 0, b"", "", b"x"),
    ] {
        let error = hear(&mut fresh(), &wrong, 5).unwrap_err();
        assert!(matches!(error, Error::OutOfStep { .. }), "{error}");
    }
    let error = hear(&mut fresh(), &frame(0x00, 0, 0, b"", "", &[0; 10]), 100).unwrap_err();
    assert_eq!(error, Error::ValueTooLong { len: 10, limit: 9 });
    // Nobody has asked.
    let mut idle = BinaryConnection::new(Limits::default());
    assert!(hear(&mut idle, &frame(0x0a, 0, 0, b"", "", b""), 100).is_err());
}

#[test]
fn configurations_are_asked_for_and_heard() {
    let (header, body) = wire(&BinaryCommand::ConfigSet {
        name: key("cluster"),
        flags: ItemFlags(0),
        payload: b"1\n\n",
    });
    assert_eq!((header.opcode, header.extras_len, header.key_len), (0x64, 4, 7));
    assert_eq!(body, b"\0\0\0\0cluster1\n\n");
    // As AWS' Java client asks.
    let (header, body) = wire(&BinaryCommand::ConfigGet(key("cluster")));
    assert_eq!((header.opcode, header.extras_len, header.cas), (0x60, 0, 0));
    assert_eq!(body, b"cluster");

    let mut connection = BinaryConnection::new(Limits::default());
    connection.send(&BinaryCommand::ConfigGet(key("cluster")), 0).unwrap();
    connection.send(&BinaryCommand::ConfigGet(key("other")), 1).unwrap();
    connection.send(&BinaryCommand::ConfigList, 2).unwrap();
    connection.send(&BinaryCommand::ConfigDelete(key("other")), 3).unwrap();
    let input = [
        frame(0x60, 0, 0, b"\0\0\0\0", "", b"1\n\n"),
        frame(0x60, 1, 1, b"", "", b"Not found"),
        frame(0x68, 0, 2, b"\0\0\0\0", "a", b"1\n\n"),
        frame(0x68, 0, 2, b"\0\0\0\0", "b", b"2\n\n"),
        frame(0x68, 0, 2, b"", "", b""),
        frame(0x66, 1, 3, b"", "", b"Not found"),
    ]
    .concat();
    let heard = hear(&mut connection, &input, 7).unwrap();
    let config = |name: &str, data: &str| {
        let (name, data) = (name.as_bytes(), data.as_bytes());
        format!("{:?}", Response::Config { name, flags: ItemFlags(0), data })
    };
    assert_eq!(
        heard,
        [
            (config("", "1\n\n"), Some(0)),
            ("End".to_owned(), Some(1)),
            (config("a", "1\n\n"), None),
            (config("b", "2\n\n"), None),
            ("End".to_owned(), Some(2)),
            (format!("{:?}", Response::Deleted(Deleted::NotFound)), Some(3)),
        ]
    );
}
