//! A client and a server joined in memory, with the bytes between them cut at random.

use std::io::IoSlice;

use nuthatch_proto::client::{Command, Connection, Limits, MetaOptions, Response};
use nuthatch_proto::types::{Arith, Cas, ItemFlags, Key, StoreMode, Ttl};
use nuthatch_proto::{MetaStatus, Parsed, Request, Scratch, Session, Want, parse_line};
use proptest::prelude::*;

use crate::model::Model;

/// Both ends of a connection and the wire between them.
struct Pair {
    client: Connection<usize>,
    server: Session<Model>,
    model: Model,
    cuts: Box<dyn Iterator<Item = usize>>,
}

/// What became of a request: its answers as text.
type Heard = Vec<(usize, String)>;

impl Pair {
    fn new(cuts: Vec<usize>) -> Self {
        Self {
            client: Connection::new(Limits::default()),
            server: Session::new(),
            model: Model::default(),
            cuts: Box::new(cuts.into_iter().cycle()),
        }
    }

    fn cut(&mut self) -> usize {
        self.cuts.next().unwrap()
    }

    /// Moves bytes until neither end has anything to say.
    fn run(&mut self, heard: &mut Heard) {
        loop {
            let n = self.cut().min(self.client.transmit().len());
            if n > 0 {
                let space = self.server.recv_space();
                let n = n.min(space.len());
                space[..n].copy_from_slice(&self.client.transmit()[..n]);
                self.server.received(n);
                self.client.sent(n);
            }
            let want = self.server.process(&mut self.model, 3);
            while let Some((ticket, owed)) = self.model.owed.pop() {
                assert!(self.server.complete(ticket, |reply| owed.answer(reply)));
            }
            let cut = self.cut();
            let mut slices = [IoSlice::new(b""); 8];
            let n_slices = self.server.transmit(&mut slices);
            let bytes = slices[..n_slices].iter().flat_map(|slice| slice.iter()).copied();
            let space = self.client.recv_space();
            let bytes: Vec<u8> = bytes.take(cut.min(space.len())).collect();
            space[..bytes.len()].copy_from_slice(&bytes);
            self.client.received(bytes.len());
            self.server.sent(bytes.len());
            while let Some(answer) = self.client.poll().expect("both ends are in step") {
                let text = format!("{:?}", answer.response);
                match answer.tag {
                    nuthatch_proto::client::Tag::More(tag) => heard.push((*tag, text)),
                    nuthatch_proto::client::Tag::Done(tag) => heard.push((tag, text)),
                }
            }
            if want == Want::Read && self.client.transmit().is_empty() && bytes.is_empty() {
                return;
            }
        }
    }
}

/// A command that owns what it refers to.
#[derive(Clone, Debug)]
enum Owned {
    Get(Vec<Vec<u8>>, bool, Option<i32>),
    Store(StoreMode, Vec<u8>, u32, Option<u64>, Vec<u8>, bool),
    Delete(Vec<u8>, bool),
    Arith(Arith, Vec<u8>, u64, bool),
    Touch(Vec<u8>, i32, bool),
    Meta(u8, Vec<u8>, Box<Options>, Vec<u8>),
    Noop,
    Version,
    Stats,
    ConfigSet(Vec<u8>),
    ConfigGet,
}

/// The options that matter to the model.
#[derive(Clone, Debug)]
struct Options {
    quiet: bool,
    value: bool,
    key: bool,
    cas: bool,
    size: bool,
    opaque: Option<Vec<u8>>,
    exptime: Option<i32>,
    vivify: Option<i32>,
    flags: Option<u32>,
    compare: Option<u64>,
    invalidate: bool,
    mode: StoreMode,
    direction: Arith,
    delta: Option<u64>,
}

impl Owned {
    fn with<T>(&self, run: impl FnOnce(&Command<'_>) -> T) -> T {
        fn key(bytes: &[u8]) -> Key<'_> {
            Key::binary(bytes).unwrap()
        }
        match self {
            Self::Get(keys, with_cas, exptime) => {
                let keys: Vec<_> = keys.iter().map(|bytes| key(bytes)).collect();
                run(&Command::Get { keys: &keys, with_cas: *with_cas, exptime: *exptime })
            }
            Self::Store(mode, name, flags, cas, value, noreply) => run(&Command::Store {
                mode: *mode,
                key: key(name),
                flags: ItemFlags(*flags),
                exptime: 0,
                cas: cas.map(Cas),
                value,
                noreply: *noreply,
            }),
            Self::Delete(name, noreply) => {
                run(&Command::Delete { key: key(name), noreply: *noreply })
            }
            Self::Arith(direction, name, delta, noreply) => run(&Command::Arith {
                direction: *direction,
                key: key(name),
                delta: *delta,
                noreply: *noreply,
            }),
            Self::Touch(name, exptime, noreply) => {
                run(&Command::Touch { key: key(name), exptime: *exptime, noreply: *noreply })
            }
            Self::Meta(verb, name, options, value) => {
                let options = MetaOptions {
                    quiet: options.quiet,
                    return_value: options.value,
                    return_key: options.key,
                    return_cas: options.cas,
                    return_size: options.size,
                    opaque: options.opaque.as_deref().filter(|_| !options.quiet),
                    exptime: options.exptime,
                    vivify: options.vivify,
                    flags: options.flags.map(ItemFlags),
                    compare: options.compare.map(Cas),
                    invalidate: options.invalidate,
                    mode: options.mode,
                    direction: options.direction,
                    delta: options.delta,
                    ..MetaOptions::default()
                };
                run(&match verb {
                    b'g' => Command::MetaGet(key(name), options),
                    b's' => Command::MetaSet(key(name), options, value),
                    b'd' => Command::MetaDelete(key(name), options),
                    b'a' => Command::MetaArith(key(name), options),
                    _ => Command::MetaDebug(key(name)),
                })
            }
            Self::Noop => run(&Command::MetaNoop),
            Self::Version => run(&Command::Version),
            Self::Stats => run(&Command::Stats(None)),
            Self::ConfigSet(payload) => run(&Command::ConfigSet("cluster", payload)),
            Self::ConfigGet => run(&Command::ConfigGet("cluster")),
        }
    }
}

fn mode() -> impl Strategy<Value = StoreMode> {
    prop_oneof![
        Just(StoreMode::Set),
        Just(StoreMode::Add),
        Just(StoreMode::Replace),
        Just(StoreMode::Append),
        Just(StoreMode::Prepend),
    ]
}

fn direction() -> impl Strategy<Value = Arith> {
    prop_oneof![Just(Arith::Incr), Just(Arith::Decr)]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[0-9]{0,4}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => (4000usize..20_000).prop_map(|len| vec![b'\n'; len]),
    ]
}

fn options() -> impl Strategy<Value = Box<Options>> {
    let opt_time = || proptest::option::weighted(0.2, -1i32..100);
    let number = || proptest::option::weighted(0.2, 0u64..9);
    (
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        proptest::option::of("[!-~]{0,31}".prop_map(String::into_bytes)),
        (opt_time(), opt_time(), proptest::option::of(any::<u32>())),
        (number(), number(), proptest::bool::weighted(0.2), mode(), direction()),
    )
        .prop_map(
            |(
                (quiet, value, key, cas, size),
                opaque,
                (exptime, vivify, flags),
                (compare, delta, invalidate, mode, direction),
            )| {
                Box::new(Options {
                    quiet,
                    value,
                    key,
                    cas,
                    size,
                    opaque,
                    exptime,
                    vivify,
                    flags,
                    compare,
                    invalidate,
                    mode,
                    direction,
                    delta,
                })
            },
        )
}

fn command() -> impl Strategy<Value = Owned> {
    let text_key = || {
        prop_oneof![5 => "[abc]", 1 => "late[12]", 1 => "[!-~]{1,250}"].prop_map(String::into_bytes)
    };
    let any_key = || {
        prop_oneof![
            3 => text_key(),
            1 => proptest::collection::vec(any::<u8>(), 1..187),
        ]
    };
    let cas = proptest::option::weighted(0.2, 0u64..9);
    prop_oneof![
        (
            proptest::collection::vec(text_key(), 1..6),
            any::<bool>(),
            proptest::option::weighted(0.2, any::<i32>())
        )
            .prop_map(|(keys, with_cas, exptime)| Owned::Get(keys, with_cas, exptime)),
        (mode(), text_key(), any::<u32>(), cas, value(), any::<bool>()).prop_map(
            |(mode, key, flags, cas, value, noreply)| {
                let mode = if cas.is_some() { StoreMode::Set } else { mode };
                Owned::Store(mode, key, flags, cas, value, noreply)
            }
        ),
        (text_key(), any::<bool>()).prop_map(|(key, noreply)| Owned::Delete(key, noreply)),
        (direction(), text_key(), any::<u64>(), any::<bool>()).prop_map(
            |(direction, key, delta, noreply)| { Owned::Arith(direction, key, delta, noreply) }
        ),
        (text_key(), any::<i32>(), any::<bool>())
            .prop_map(|(key, exptime, noreply)| Owned::Touch(key, exptime, noreply)),
        (
            prop_oneof![
                Just(b'g'),
                Just(b's'),
                Just(b'g'),
                Just(b's'),
                Just(b'd'),
                Just(b'a'),
                Just(b'e')
            ],
            any_key(),
            options(),
            value()
        )
            .prop_map(|(verb, key, options, value)| Owned::Meta(verb, key, options, value)),
        Just(Owned::Noop),
        Just(Owned::Version),
        Just(Owned::Stats),
        value().prop_map(Owned::ConfigSet),
        Just(Owned::ConfigGet),
    ]
}

/// Sends everything and gives what was heard, request by request.
fn play(commands: &[Owned], cuts: Vec<usize>, batch: usize) -> Heard {
    let mut pair = Pair::new(cuts);
    let mut heard = Heard::new();
    for (number, batch) in commands.chunks(batch).enumerate() {
        for (idx, command) in batch.iter().enumerate() {
            let tag = number * 1000 + idx;
            command.with(|command| pair.client.send(command, tag)).expect("it can be sent");
        }
        // What is quiet to the end is known only after an `mn`.
        pair.client.send(&Command::MetaNoop, number * 1000 + 999).unwrap();
        pair.run(&mut heard);
        assert_eq!(pair.client.n_pending(), 0, "every request has its answer");
    }
    heard
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn client_and_server_stay_in_step(
        commands in proptest::collection::vec(command(), 1..30),
        cuts in proptest::collection::vec(prop_oneof![3 => 1usize..30, 1 => 1usize..9000], 2..20),
        batch in 1usize..30,
    ) {
        let expected = play(&commands, vec![usize::MAX], batch);
        prop_assert_eq!(play(&commands, cuts, batch), expected);
    }

    #[test]
    fn what_the_client_writes_the_server_reads(command in command()) {
        let mut client = Connection::new(Limits::default());
        command.with(|command| client.send(command, ())).expect("it can be sent");
        let wire = client.transmit();
        let line_len = wire.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut scratch = Scratch::new();
        let parsed = parse_line(&wire[..line_len], &mut scratch);
        if matches!(command, Owned::Noop) {
            prop_assert!(matches!(parsed, Parsed::Noop));
            return Ok(());
        }
        let Parsed::Request { request, noreply } = parsed else {
            panic!("{}: {parsed:?}", wire.escape_ascii());
        };
        let body = &wire[line_len..];
        match request.value_len() {
            Some(len) => prop_assert_eq!(body.len(), len + 2),
            None => prop_assert!(body.is_empty()),
        }
        match (&command, request) {
            (Owned::Get(keys, with_cas, exptime), Request::Get(get)) => {
                let got: Vec<_> = get.keys().map(|key| key.as_bytes().to_vec()).collect();
                prop_assert_eq!((&got, get.with_cas), (keys, *with_cas));
                prop_assert_eq!(get.touch, exptime.map(Ttl::from_exptime));
            }
            (Owned::Store(mode, key, flags, cas, value, quiet), Request::Set(set)) => {
                prop_assert_eq!(set.key.as_bytes(), &key[..]);
                prop_assert_eq!((set.mode, set.flags, set.ttl), (*mode, ItemFlags(*flags), Ttl::NEVER));
                prop_assert_eq!((set.cas, noreply), (cas.map(Cas), *quiet));
                prop_assert_eq!(&body[..body.len() - 2], &value[..]);
            }
            (Owned::Delete(key, quiet), Request::Delete(got)) => {
                prop_assert_eq!((got.as_bytes(), noreply), (&key[..], *quiet));
            }
            (Owned::Arith(way, key, by, quiet), Request::Arith { key: got, direction, delta }) => {
                prop_assert_eq!(got.as_bytes(), &key[..]);
                prop_assert_eq!((direction, delta, noreply), (*way, *by, *quiet));
            }
            (Owned::Touch(key, exptime, quiet), Request::Touch { key: got, ttl }) => {
                prop_assert_eq!(got.as_bytes(), &key[..]);
                prop_assert_eq!((ttl, noreply), (Ttl::from_exptime(*exptime), *quiet));
            }
            (Owned::Meta(b'e', key, ..), Request::MetaDebug(got)) => {
                prop_assert_eq!(got.as_bytes(), &key[..]);
            }
            (
                Owned::Meta(_, key, options, value),
                Request::MetaGet(meta) | Request::MetaDelete(meta) | Request::MetaArith(meta),
            ) => {
                let _ = value;
                check_meta(&meta, key, options)?;
                if matches!(request, Request::MetaArith(_)) {
                    prop_assert_eq!(meta.flags.direction(), options.direction);
                }
            }
            (Owned::Meta(b's', key, options, value), Request::MetaSet(set)) => {
                check_meta(&set.meta, key, options)?;
                prop_assert_eq!(set.mode, options.mode);
                prop_assert_eq!(&body[..body.len() - 2], &value[..]);
            }
            (Owned::Version | Owned::Stats, Request::Admin(_)) => {}
            (Owned::ConfigSet(_) | Owned::ConfigGet, Request::Admin(_)) => {}
            (command, request) => panic!("{command:?} was read as {request:?}"),
        }
    }
}

fn check_meta(
    meta: &nuthatch_proto::Meta<'_>,
    key: &[u8],
    options: &Options,
) -> Result<(), TestCaseError> {
    let flags = meta.flags;
    prop_assert_eq!(meta.key.as_bytes(), key);
    prop_assert_eq!(flags.is_quiet(), options.quiet);
    prop_assert_eq!(flags.wants_value(), options.value);
    prop_assert_eq!(flags.has(b'k'), options.key);
    prop_assert_eq!(flags.has(b'c'), options.cas);
    prop_assert_eq!(flags.has(b's'), options.size);
    prop_assert_eq!(flags.is_invalidate(), options.invalidate);
    prop_assert_eq!(flags.ttl(), options.exptime.map(Ttl::from_exptime));
    prop_assert_eq!(flags.vivify(), options.vivify.map(Ttl::from_exptime));
    prop_assert_eq!(flags.client_flags(), ItemFlags(options.flags.unwrap_or(0)));
    prop_assert_eq!(flags.compare(), options.compare.map(Cas));
    prop_assert_eq!(flags.delta(), options.delta.unwrap_or(1));
    if !options.quiet {
        prop_assert_eq!(flags.opaque(), options.opaque.as_deref());
    }
    Ok(())
}

#[test]
fn a_quiet_batch_tells_hits_from_misses() {
    let mut pair = Pair::new(vec![5, 3]);
    let mut heard = Heard::new();
    let key = |name: &'static str| Key::new(name).unwrap();
    let quiet = MetaOptions { quiet: true, return_value: true, ..MetaOptions::default() };
    pair.client.send(&Command::MetaSet(key("b"), MetaOptions::default(), b"here"), 0).unwrap();
    for (tag, name) in ["a", "b", "c"].into_iter().enumerate() {
        pair.client.send(&Command::MetaGet(key(name), quiet), tag + 1).unwrap();
    }
    pair.client.send(&Command::MetaNoop, 4).unwrap();
    pair.run(&mut heard);
    let tags: Vec<_> = heard.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, [0, 1, 2, 3, 4]);
    assert_eq!(heard[1].1, format!("{:?}", Response::Unsaid));
    assert!(heard[2].1.contains(&format!("{:?}", MetaStatus::Done)), "{heard:?}");
    assert_eq!(heard[3].1, format!("{:?}", Response::Unsaid));
}
