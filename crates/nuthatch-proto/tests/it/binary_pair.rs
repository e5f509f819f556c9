//! A client and a server that speak the binary protocol, joined in memory, with the bytes between
//! them cut at random.

use std::io::IoSlice;

use nuthatch_proto::binary::Status;
use nuthatch_proto::client::{BinaryCommand, BinaryConnection, Limits, Response, Tag};
use nuthatch_proto::types::{Arith, Cas, ItemFlags, Key, StoreMode};
use nuthatch_proto::{Session, Want};
use proptest::prelude::*;

use crate::model::Model;

/// What became of a request: its answers as text, with their statuses.
type Heard = Vec<(usize, Status, String)>;

/// A command that owns what it refers to.
#[derive(Clone, Debug)]
enum Owned {
    Get(Vec<u8>, Option<i32>, bool, bool),
    Store(StoreMode, Vec<u8>, u32, Option<u64>, Vec<u8>, bool),
    Delete(Vec<u8>, Option<u64>, bool),
    Arith(Arith, Vec<u8>, u64, Option<u64>, Option<u64>, bool),
    Touch(Vec<u8>, i32),
    Stats(Option<&'static str>),
    Version,
    Flush(bool),
    Noop,
    Sasl,
}

impl Owned {
    fn as_command(&self) -> BinaryCommand<'_> {
        fn key(bytes: &[u8]) -> Key<'_> {
            Key::binary(bytes).unwrap()
        }
        match self {
            Self::Get(name, exptime, with_key, quiet) => BinaryCommand::Get {
                key: key(name),
                exptime: *exptime,
                with_key: *with_key,
                quiet: *quiet,
            },
            Self::Store(mode, name, flags, cas, value, quiet) => BinaryCommand::Store {
                mode: *mode,
                key: key(name),
                flags: ItemFlags(*flags),
                exptime: 0,
                cas: cas.map(Cas),
                value,
                quiet: *quiet,
            },
            Self::Delete(name, cas, quiet) => {
                BinaryCommand::Delete { key: key(name), cas: cas.map(Cas), quiet: *quiet }
            }
            Self::Arith(direction, name, delta, initial, cas, quiet) => BinaryCommand::Arith {
                direction: *direction,
                key: key(name),
                delta: *delta,
                initial: initial.map(|initial| (initial, 0)),
                cas: cas.map(Cas),
                quiet: *quiet,
            },
            Self::Touch(name, exptime) => {
                BinaryCommand::Touch { key: key(name), exptime: *exptime }
            }
            Self::Stats(what) => BinaryCommand::Stats(*what),
            Self::Version => BinaryCommand::Version,
            Self::Flush(quiet) => BinaryCommand::Flush { delay: None, quiet: *quiet },
            Self::Noop => BinaryCommand::Noop,
            Self::Sasl => BinaryCommand::SaslAuth { mechanism: "SHARED", data: b"who" },
        }
    }
}

fn command() -> impl Strategy<Value = Owned> {
    let key = || {
        prop_oneof![
            5 => "[abc]".prop_map(String::into_bytes),
            1 => "late[12]".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 1..251),
        ]
    };
    let value = prop_oneof![
        4 => "[0-9]{0,4}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => (4000usize..45_000).prop_map(|len| vec![b'\n'; len]),
    ];
    let mode = prop_oneof![
        Just(StoreMode::Set),
        Just(StoreMode::Add),
        Just(StoreMode::Replace),
        Just(StoreMode::Append),
        Just(StoreMode::Prepend),
    ];
    let cas = || proptest::option::weighted(0.2, 1u64..9);
    let exptime = proptest::option::weighted(0.3, any::<i32>());
    let quiet = any::<bool>;
    let direction = prop_oneof![Just(Arith::Incr), Just(Arith::Decr)];
    let initial = proptest::option::of(any::<u64>());
    prop_oneof![
        5 => (key(), exptime, any::<bool>(), quiet())
            .prop_map(|(key, exptime, with_key, quiet)| Owned::Get(key, exptime, with_key, quiet)),
        5 => (mode, key(), any::<u32>(), cas(), value, quiet()).prop_map(
            |(mode, key, flags, cas, value, quiet)| Owned::Store(mode, key, flags, cas, value, quiet)
        ),
        1 => (key(), cas(), quiet()).prop_map(|(key, cas, quiet)| Owned::Delete(key, cas, quiet)),
        2 => (direction, key(), any::<u64>(), initial, cas(), quiet()).prop_map(
            |(way, key, by, initial, cas, quiet)| Owned::Arith(way, key, by, initial, cas, quiet)
        ),
        1 => (key(), any::<i32>()).prop_map(|(key, exptime)| Owned::Touch(key, exptime)),
        1 => prop_oneof![Just(None), Just(Some("detail dump")), Just(Some("conns"))]
            .prop_map(Owned::Stats),
        1 => prop_oneof![Just(Owned::Version), Just(Owned::Noop), Just(Owned::Sasl)],
        1 => quiet().prop_map(Owned::Flush),
    ]
}

/// Sends everything, a no-op last, and gives what was heard.
fn play(commands: &[Owned], cuts: Vec<usize>) -> Heard {
    let mut client = BinaryConnection::new(Limits::default());
    let mut server = Session::new();
    let mut model = Model::default();
    let mut heard = Heard::new();
    let mut cuts = cuts.into_iter().cycle();
    for (tag, command) in commands.iter().enumerate() {
        client.send(&command.as_command(), tag).expect("it can be sent");
    }
    client.send(&BinaryCommand::Noop, commands.len()).expect("it can be sent");
    loop {
        let space = server.recv_space();
        let n = cuts.next().unwrap().min(client.transmit().len()).min(space.len());
        space[..n].copy_from_slice(&client.transmit()[..n]);
        server.received(n);
        client.sent(n);
        let want = server.process(&mut model, 3);
        while let Some((ticket, owed)) = model.owed.pop() {
            assert!(server.complete(ticket, |reply| owed.answer(reply)));
        }
        let mut slices = [IoSlice::new(b""); 8];
        let n_slices = server.transmit(&mut slices);
        let ready = slices[..n_slices].iter().flat_map(|slice| slice.iter()).copied();
        let space = client.recv_space();
        let bytes: Vec<u8> = ready.take(cuts.next().unwrap().min(space.len())).collect();
        space[..bytes.len()].copy_from_slice(&bytes);
        client.received(bytes.len());
        server.sent(bytes.len());
        while let Some(answer) = client.poll().expect("both ends are in step") {
            let text = format!("{:?} {:?}", answer.response, answer.cas);
            let tag = match answer.tag {
                Tag::More(tag) => *tag,
                Tag::Done(tag) => tag,
            };
            heard.push((tag, answer.status, text));
        }
        if want == Want::Read && client.transmit().is_empty() && bytes.is_empty() {
            assert_eq!(client.n_pending(), 0, "every request has its answer");
            return heard;
        }
    }
}

/// The same commands, all of them loud.
fn loud(commands: &[Owned]) -> Vec<Owned> {
    let mut commands = commands.to_vec();
    for command in &mut commands {
        match command {
            Owned::Get(.., quiet)
            | Owned::Store(.., quiet)
            | Owned::Delete(.., quiet)
            | Owned::Arith(.., quiet)
            | Owned::Flush(quiet) => *quiet = false,
            _ => {}
        }
    }
    commands
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn client_and_server_stay_in_step(
        commands in proptest::collection::vec(command(), 1..30),
        cuts in proptest::collection::vec(prop_oneof![3 => 1usize..30, 1 => 1usize..9000], 2..20),
    ) {
        let expected = play(&commands, vec![usize::MAX]);
        prop_assert_eq!(play(&commands, cuts), expected);
    }

    /// A quiet command comes to what the loud one would have come to; what it leaves unsaid has the
    /// status that the loud one says.
    #[test]
    fn quiet_commands_come_to_the_same(commands in proptest::collection::vec(command(), 1..30)) {
        let quiet = play(&commands, vec![usize::MAX]);
        let loud = play(&loud(&commands), vec![usize::MAX]);
        let unsaid = format!("{:?} {:?}", Response::Unsaid, Cas(0));
        prop_assert_eq!(quiet.len(), loud.len());
        for (quiet, loud) in quiet.iter().zip(&loud) {
            prop_assert_eq!((quiet.0, quiet.1), (loud.0, loud.1));
            prop_assert!(quiet.2 == loud.2 || quiet.2 == unsaid, "{quiet:?} {loud:?}");
        }
    }
}
