//! What a client writes, and what it makes of what it hears.

use nuthatch_types::{Arith, Cas, Deleted, ItemFlags, Key, KeyError, StoreMode, Stored};

use super::*;

fn key(name: &str) -> Key<'_> {
    Key::binary(name.as_bytes()).unwrap()
}

/// What a command looks like on the wire.
fn wire(command: &Command<'_>) -> Result<String, Error> {
    let mut connection = Connection::new(Limits::default());
    connection.send(command, ())?;
    Ok(String::from_utf8(connection.transmit().to_vec()).unwrap())
}

fn feed<T>(connection: &mut Connection<T>, input: &[u8]) {
    let mut rest = input;
    while !rest.is_empty() {
        let space = connection.recv_space();
        let n = space.len().min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        connection.received(n);
        rest = &rest[n..];
    }
}

/// All answers as text, with the tags of the requests that they end.
fn answers(connection: &mut Connection<u32>) -> Result<Vec<(String, Option<u32>)>, Error> {
    let mut all = Vec::new();
    while let Some(answer) = connection.poll()? {
        all.push((format!("{:?}", answer.response), answer.done()));
    }
    Ok(all)
}

#[test]
fn commands_are_written_as_the_protocol_has_them() {
    let store = Command::Store {
        mode: StoreMode::Append,
        key: key("k"),
        flags: ItemFlags(7),
        exptime: -1,
        cas: None,
        value: b"abc",
        noreply: true,
    };
    assert_eq!(wire(&store).unwrap(), "append k 7 -1 3 noreply\r\nabc\r\n");
    let options = MetaOptions {
        return_key: true,
        return_value: true,
        exptime: Some(60),
        compare: Some(Cas(5)),
        opaque: Some(b"me"),
        ..MetaOptions::default()
    };
    assert_eq!(wire(&Command::MetaGet(key("k"), options)).unwrap(), "mg k k v T60 C5 Ome\r\n");
    assert_eq!(
        wire(&Command::MetaSet(
            key("a b"),
            MetaOptions { mode: StoreMode::Add, quiet: true, ..MetaOptions::default() },
            b"v"
        ))
        .unwrap(),
        "ms YSBi 1 b q ME O0\r\nv\r\n"
    );
    let count = MetaOptions { direction: Arith::Decr, delta: Some(9), ..MetaOptions::default() };
    assert_eq!(wire(&Command::MetaArith(key("n"), count)).unwrap(), "ma n D9 MD\r\n");
    assert_eq!(
        wire(&Command::Auth { user: "me", password: "se cret" }).unwrap(),
        "set auth 0 0 10\r\nme se cret\r\n"
    );
}

#[test]
fn what_the_wire_cannot_carry_is_refused_and_leaves_nothing_behind() {
    let mut connection = Connection::new(Limits::default());
    let bad = Key::binary(b"a\nb").unwrap();
    let refused = connection.send(&Command::Delete { key: bad, noreply: false }, ());
    assert_eq!(refused, Err(Error::Key(KeyError::Forbidden { at: 1 })));
    let get = Command::Get { keys: &[key("a"), bad], with_cas: false, exptime: None };
    assert!(connection.send(&get, ()).is_err());
    let long = [b' '; 187];
    let long = Command::MetaDebug(Key::binary(&long).unwrap());
    assert_eq!(connection.send(&long, ()), Err(Error::Key(KeyError::TooLong { len: 187 })));
    let options = MetaOptions { opaque: Some(b"a b"), ..MetaOptions::default() };
    assert_eq!(connection.send(&Command::MetaGet(key("a"), options), ()), Err(Error::Opaque));
    assert!(connection.send(&Command::Line("stats\r\nquit"), ()).is_err());
    assert!(connection.send(&Command::ConfigGet("a b"), ()).is_err());
    assert!(connection.is_idle());
}

#[test]
fn answers_are_matched_in_order() {
    let mut connection = Connection::new(Limits::default());
    let get = Command::Get { keys: &[key("a"), key("b")], with_cas: true, exptime: None };
    connection.send(&get, 1).unwrap();
    connection.send(&Command::Delete { key: key("a"), noreply: false }, 2).unwrap();
    let unanswered = Command::Delete { key: key("a"), noreply: true };
    assert_eq!(connection.send(&unanswered, 3), Ok(Some(3)));
    connection.send(&Command::Version, 4).unwrap();
    let count = Command::Arith { direction: Arith::Incr, key: key("a"), delta: 1, noreply: false };
    connection.send(&count, 5).unwrap();
    connection.send(&count, 6).unwrap();
    assert_eq!(connection.n_pending(), 5);
    feed(
        &mut connection,
        b"VALUE b 7 3 99\r\nE\r\n\r\nEND\r\nNOT_FOUND\r\nVERSION 1.6.45\r\n9 \r\nSERVER_ERROR no\r\n",
    );
    {
        let answer = connection.poll().unwrap().unwrap();
        assert_eq!(
            answer.response,
            Response::Value { key: b"b", flags: ItemFlags(7), cas: Some(Cas(99)), data: b"E\r\n" }
        );
        assert!(matches!(answer.tag, Tag::More(1)));
    }
    for (response, tag) in [
        (Response::End, 1),
        (Response::Deleted(Deleted::NotFound), 2),
        (Response::Version(b"1.6.45"), 4),
        (Response::Number(Some(9)), 5),
        (Response::Error(ErrorReply { kind: ErrorKind::Server, text: b"no" }), 6),
    ] {
        let answer = connection.poll().unwrap().unwrap();
        assert_eq!(answer.response, response);
        assert_eq!(answer.done(), Some(tag));
    }
    assert!(connection.poll().unwrap().is_none());
    assert_eq!(connection.n_pending(), 0);
}

/// Three quiet commands and an `mn`.
fn batch() -> Connection<u32> {
    let mut connection = Connection::new(Limits::default());
    let quiet = MetaOptions { quiet: true, ..MetaOptions::default() };
    for tag in 0..3 {
        connection.send(&Command::MetaSet(key("a"), quiet, b"v"), tag).unwrap();
    }
    connection.send(&Command::MetaNoop, 3).unwrap();
    connection
}

#[test]
fn what_a_quiet_batch_does_not_say_is_known_at_its_end() {
    let mut connection = batch();
    assert!(String::from_utf8_lossy(connection.transmit()).ends_with("ms a 1 q O2\r\nv\r\nmn\r\n"));
    feed(&mut connection, b"NS O1\r\n");
    let got = answers(&mut connection).unwrap();
    assert_eq!(got.iter().map(|(_, tag)| *tag).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(got[0].0, "Unsaid");
    assert!(got[1].0.contains("NotStored"), "{got:?}");
    feed(&mut connection, b"MN\r\n");
    let got = answers(&mut connection).unwrap();
    assert_eq!(got, [("Unsaid".to_string(), Some(2)), ("Noop".to_string(), Some(3))]);
}

#[test]
fn an_error_in_a_quiet_batch_is_everyones_who_may_have_caused_it() {
    let mut connection = batch();
    feed(&mut connection, b"SERVER_ERROR full\r\nNS O1\r\nMN\r\n");
    let got = answers(&mut connection).unwrap();
    assert!(got[0].0.starts_with("Error"), "{got:?}");
    assert!(got[1].0.contains("NotStored"), "{got:?}");
    assert_eq!(got[2].0, "Unsaid");
    assert_eq!(got.len(), 4);
}

#[test]
fn a_server_without_meta_commands_does_not_leave_a_batch_hanging() {
    let mut connection = batch();
    feed(&mut connection, &b"ERROR\r\n".repeat(4));
    let got = answers(&mut connection).unwrap();
    assert_eq!(got.len(), 4);
    assert!(got.iter().all(|(response, _)| response.starts_with("Error")), "{got:?}");
}

#[test]
fn a_batch_is_ended_before_another_command() {
    let mut connection = Connection::new(Limits::default());
    let quiet = MetaOptions { quiet: true, ..MetaOptions::default() };
    connection.send(&Command::MetaGet(key("a"), quiet), 0).unwrap();
    connection.send(&Command::Version, 1).unwrap();
    assert_eq!(connection.transmit(), b"mg a q O0\r\nmn\r\nversion\r\n");
    assert_eq!(connection.n_pending(), 2);
    feed(&mut connection, b"MN\r\nVERSION x\r\n");
    let got = answers(&mut connection).unwrap();
    assert_eq!(got.len(), 2, "the connection's own mn is nobody's: {got:?}");
}

#[test]
fn a_connection_that_is_out_of_step_says_so() {
    let mut connection = Connection::new(Limits::default());
    connection.send(&Command::Version, 1).unwrap();
    feed(&mut connection, b"STORED\r\n");
    assert!(matches!(answers(&mut connection), Err(Error::OutOfStep { .. })));
    assert_eq!(connection.into_pending().collect::<Vec<_>>(), [1]);

    let mut connection = Connection::<u32>::new(Limits::default());
    feed(&mut connection, b"ERROR Too many open connections\r\n");
    assert_eq!(
        answers(&mut connection),
        Err(Error::OutOfStep { line: "ERROR Too many open connections".into() })
    );

    let mut connection = Connection::new(Limits::default());
    connection
        .send(&Command::Get { keys: &[key("a")], with_cas: false, exptime: None }, 1)
        .unwrap();
    feed(&mut connection, b"VALUE a 0 1\r\nxyz\r\n");
    assert!(matches!(answers(&mut connection), Err(Error::OutOfStep { .. })));
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let limits = Limits { line_bytes_max: 100, value_bytes_max: 10 };
    let mut connection = Connection::new(limits);
    connection
        .send(&Command::Get { keys: &[key("a")], with_cas: false, exptime: None }, 1)
        .unwrap();
    feed(&mut connection, b"VALUE a 0 11\r\n");
    assert_eq!(answers(&mut connection), Err(Error::ValueTooLong { len: 11, limit: 10 }));

    for line in [[b'x'; 101].to_vec(), [&[b'x'; 100][..], b"\n"].concat()] {
        let mut connection = Connection::new(limits);
        connection.send(&Command::Version, 1).unwrap();
        feed(&mut connection, &line);
        assert_eq!(answers(&mut connection), Err(Error::LineTooLong { limit: 100 }));
    }
}

#[test]
fn lists_are_given_line_by_line() {
    let mut connection = Connection::new(Limits::default());
    connection.send(&Command::Stats(None), 1).unwrap();
    connection.send(&Command::Stats(Some("reset")), 2).unwrap();
    connection.send(&Command::Dump { keys_only: false, classes: "all" }, 3).unwrap();
    connection.send(&Command::Dump { keys_only: true, classes: "1" }, 4).unwrap();
    connection.send(&Command::ConfigGet("cluster"), 5).unwrap();
    connection.send(&Command::MetaDebug(key("a")), 6).unwrap();
    let store = Command::ConfigSet("cluster", b"1\n");
    connection.send(&store, 7).unwrap();
    feed(
        &mut connection,
        b"STAT pid 1\r\nSTAT rusage_user 0.1\r\nEND\r\nRESET\r\n\
          OK\r\nkey=a exp=-1 la=1 cas=2 fetch=no cls=1 size=3 flags=0 \nEND\r\nBUSY crawling\r\n\
          CONFIG cluster 0 3\r\n1\n\n\r\nEND\r\nME a exp=-1 la=0\r\nSTORED\r\n",
    );
    let got = answers(&mut connection).unwrap();
    let done: Vec<_> = got.iter().filter_map(|(_, tag)| *tag).collect();
    assert_eq!(done, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(got.len(), 12);
    assert_eq!(got[11].0, format!("{:?}", Response::Stored(Stored::Stored)));
}
