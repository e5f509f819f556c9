//! A small cache behind the session: a map that answers as memcached does, as far as the protocol
//! is concerned. There is no clock; what has expired is what was stored with a life span of none.

use std::collections::{BTreeMap, HashMap};

use nuthatch_proto::types::{Arith, ArithError, Cas, Deleted, StoreMode, Stored, Ttl, arith};
use nuthatch_proto::types::{ItemFlags, Key};
use nuthatch_proto::{
    Admin, Config, DebugFacts, Handler, ItemFacts, Meta, MetaStatus, Outcome, Pinned, Reply,
    Request, Sasl, Sink, Stats, Ticket, Value,
};

/// Values of this length and more are refused.
pub(crate) const TOO_LARGE: usize = 40_000;

/// Values from this length on are pinned and not copied.
const PIN_LEN_MIN: usize = 100;

/// Keys with this beginning are answered late.
pub(crate) const LATE: &[u8] = b"late";

#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    flags: ItemFlags,
    value: Vec<u8>,
    cas: u64,
    binary: bool,
    fetched: bool,
    stale: bool,
    token_sent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) items: HashMap<Vec<u8>, Item>,
    pub(crate) configs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) next_cas: u64,
    /// Answers still owed: the ticket and what to say.
    pub(crate) owed: Vec<(Ticket, Owed)>,
    /// Refuse to watch while answers are queued. That is a matter of timing, so tests of cuts do
    /// without it.
    pub(crate) is_strict: bool,
    /// How often a place was asked for, and how many were committed.
    pub(crate) n_reserved: usize,
    pub(crate) n_committed: usize,
}

/// An answer still to come.
#[derive(Debug)]
pub(crate) enum Owed {
    Get(Vec<(Vec<u8>, Item)>, bool),
    MetaGet(Option<Item>),
    /// What to say if it is right.
    Login(Option<&'static str>),
}

impl Owed {
    /// Says what is owed.
    pub(crate) fn answer(self, reply: &mut Reply<'_, Pin>) {
        match self {
            Self::Get(items, with_cas) => {
                for (key, item) in items {
                    value(reply, Key::binary(&key).unwrap(), &item, with_cas);
                }
                reply.end();
            }
            Self::MetaGet(None) => reply.meta_status(MetaStatus::Miss),
            Self::MetaGet(Some(item)) => reply.meta_value(&facts(&item), &item.value),
            Self::Login(None) => reply.error("CLIENT_ERROR authentication failure"),
            Self::Login(Some(line)) => {
                reply.line(line);
                reply.log_in(LATE);
            }
        }
    }
}

/// A value in pieces of 64 bytes, with an empty one in between.
#[derive(Debug)]
pub(crate) struct Pin(Vec<Vec<u8>>);

impl Pin {
    fn new(value: &[u8]) -> Self {
        let mut pieces: Vec<_> = value.chunks(64).map(<[u8]>::to_vec).collect();
        pieces.insert(1, Vec::new());
        Self(pieces)
    }
}

impl Pinned for Pin {
    fn piece(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index).map(|piece| &piece[..])
    }
}

/// A place of chunks of 5000 bytes, which may run out.
#[derive(Debug)]
pub(crate) struct Place {
    bytes: Vec<u8>,
    filled: usize,
    end: usize,
}

impl Sink for Place {
    fn space(&mut self) -> &mut [u8] {
        let end = (self.filled / 5000 * 5000 + 5000).min(self.end);
        &mut self.bytes[self.filled..end]
    }

    fn filled(&mut self, n: usize) {
        self.filled += n;
    }
}

fn facts(item: &Item) -> ItemFacts {
    ItemFacts {
        flags: item.flags,
        cas: Cas(item.cas),
        size: item.value.len(),
        ttl: None,
        last_access: 0,
        fetched: item.fetched,
        key_is_binary: item.binary,
        token_sent: item.token_sent,
        stale: item.stale,
        won: item.stale && !item.token_sent,
    }
}

fn value(reply: &mut Reply<'_, Pin>, key: Key<'_>, item: &Item, with_cas: bool) {
    let cas = with_cas.then_some(Cas(item.cas));
    if item.value.len() >= PIN_LEN_MIN {
        reply.value_pinned(key, item.flags, item.value.len(), Pin::new(&item.value), cas);
    } else {
        reply.value(key, item.flags, &item.value, cas);
    }
}

impl Model {
    fn cas(&mut self) -> u64 {
        self.next_cas += 1;
        self.next_cas
    }

    fn refusal(&mut self, request: &Request<'_>, len: usize) -> Option<&'static str> {
        (len >= TOO_LARGE).then(|| {
            if let Some(key) = request.key() {
                self.items.remove(key.as_bytes());
            }
            "SERVER_ERROR object too large for cache"
        })
    }

    fn store(&mut self, request: &Request<'_>, bytes: &[u8], reply: &mut Reply<'_, Pin>) {
        let (key, mode, flags, ttl, compare) = match request {
            Request::Set(set) => (set.key, set.mode, set.flags, set.ttl, set.cas),
            Request::MetaSet(set) => {
                let flags = set.meta.flags;
                let ttl = flags.ttl().unwrap_or(Ttl::NEVER);
                (set.meta.key, set.mode, flags.client_flags(), ttl, flags.compare())
            }
            _ => unreachable!("only store commands have values"),
        };
        let cas = self.cas();
        let old = self.items.get(key.as_bytes());
        let item = |value| {
            let binary = matches!(request, Request::MetaSet(set) if set.meta.flags.is_key_base64());
            Item { flags, value, cas, binary, ..Item::default() }
        };
        let (stored, new) = match (mode, old, compare) {
            (_, None, Some(_)) => (Stored::NotFound, None),
            (_, Some(old), Some(compare)) if old.cas != compare.0 => (Stored::Exists, None),
            (StoreMode::Add, Some(_), _) => (Stored::NotStored, None),
            (StoreMode::Replace | StoreMode::Append | StoreMode::Prepend, None, _) => {
                (Stored::NotStored, None)
            }
            (StoreMode::Append, Some(old), _) => {
                (Stored::Stored, Some(item([&old.value[..], bytes].concat())))
            }
            (StoreMode::Prepend, Some(old), _) => {
                (Stored::Stored, Some(item([bytes, &old.value[..]].concat())))
            }
            _ => (Stored::Stored, Some(item(bytes.to_vec()))),
        };
        let size = new.as_ref().map_or(bytes.len(), |item| item.value.len());
        if let Some(item) = new {
            if ttl == Ttl::PAST {
                self.items.remove(key.as_bytes());
            } else {
                self.items.insert(key.as_bytes().to_vec(), item);
            }
        }
        match request {
            Request::MetaSet(_) => {
                let cas = if stored == Stored::Stored { cas } else { 0 };
                reply.meta_stored(stored, Cas(cas), size);
            }
            _ => reply.stored_as(stored, Cas(cas)),
        }
    }

    fn count(
        &mut self,
        key: Key<'_>,
        direction: Arith,
        delta: u64,
    ) -> Option<Result<(u64, u64), ArithError>> {
        let cas = self.cas();
        let item = self.items.get_mut(key.as_bytes())?;
        Some(arith::apply(direction, &item.value, delta).map(|number| {
            item.value = number.to_string().into_bytes();
            item.cas = cas;
            (number, cas)
        }))
    }

    fn meta_get(&mut self, meta: Meta<'_>, reply: &mut Reply<'_, Pin>) -> Outcome {
        let key = meta.key.as_bytes();
        if meta.flags.vivify().is_some() && !self.items.contains_key(key) {
            let cas = self.cas();
            self.items.insert(key.to_vec(), Item { cas, ..Item::default() });
        }
        let item = self.items.get_mut(key);
        if key.starts_with(LATE) {
            let owed = Owed::MetaGet(item.map(|item| item.clone()));
            self.owed.push((reply.ticket(), owed));
            return Outcome::Pending;
        }
        match item {
            None => reply.meta_status(MetaStatus::Miss),
            Some(item) => {
                let facts = facts(item);
                if !meta.flags.wants_value_of(Cas(item.cas)) {
                    reply.meta_hit(&facts);
                } else if item.value.len() >= PIN_LEN_MIN {
                    reply.meta_value_pinned(&facts, item.value.len(), Pin::new(&item.value));
                } else {
                    reply.meta_value(&facts, &item.value);
                }
                item.fetched = true;
                item.token_sent |= facts.won;
            }
        }
        Outcome::Done
    }

    fn admin(&mut self, admin: Admin<'_>, reply: &mut Reply<'_, Pin>) -> Outcome {
        match admin {
            Admin::Version => reply.line("VERSION model"),
            Admin::Verbosity(_) => reply.line("OK"),
            Admin::FlushAll(Ok(_)) => {
                self.items.clear();
                reply.line("OK");
            }
            Admin::FlushAll(Err(error)) => reply.error(error.line()),
            Admin::Stats(Stats::General) => {
                reply.stat("curr_items", self.items.len());
                reply.end();
            }
            Admin::Stats(Stats::Reset) => reply.line("RESET"),
            Admin::Stats(Stats::Detail(Ok(nuthatch_proto::Detail::Dump))) => {
                reply.raw(b"PREFIX a\r\nEND\r\n");
                if reply.is_binary() {
                    reply.end();
                }
            }
            Admin::Watch(_) if self.is_strict && reply.is_pipelined() => {
                reply.error("ERROR cannot pipeline other commands before watch");
            }
            Admin::Watch(_) => {
                reply.line("OK");
                return Outcome::Stream;
            }
            Admin::Shutdown(_) => return Outcome::Close,
            Admin::Config(Config::Get(name)) => {
                for (stored, payload) in &self.configs {
                    if name.is_none_or(|name| name.as_bytes() == stored) {
                        reply.config(Key::binary(stored).unwrap(), ItemFlags(0), payload);
                    }
                }
                reply.end();
            }
            Admin::Config(Config::Set { name, value, .. }) => {
                let Value::Here(payload) = value else { panic!("configurations are always here") };
                self.configs.insert(name.as_bytes().to_vec(), payload.to_vec());
                reply.stored(Stored::Stored);
            }
            Admin::Config(Config::Delete(name)) => {
                let found = self.configs.remove(name.as_bytes()).is_some();
                reply.deleted(if found { Deleted::Deleted } else { Deleted::NotFound });
            }
            _ => reply.error("ERROR"),
        }
        Outcome::Done
    }
}

impl Handler for Model {
    type Pin = Pin;
    type Sink = Place;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, Pin>) -> Outcome {
        match request {
            Request::Get(get) => {
                if get.keys().any(|key| key.as_bytes().starts_with(LATE)) {
                    let found = get.keys().filter_map(|key| {
                        let item = self.items.get(key.as_bytes())?;
                        Some((key.as_bytes().to_vec(), item.clone()))
                    });
                    let owed = Owed::Get(found.collect(), get.with_cas);
                    self.owed.push((reply.ticket(), owed));
                    return Outcome::Pending;
                }
                for key in get.keys() {
                    if let Some(item) = self.items.get_mut(key.as_bytes()) {
                        value(reply, key, item, get.with_cas);
                        item.fetched = true;
                    }
                }
                reply.end();
            }
            Request::GetOne { key, touch: _ } => {
                if key.as_bytes().starts_with(LATE) {
                    let found = self.items.get(key.as_bytes());
                    let found = found.map(|item| (key.as_bytes().to_vec(), item.clone()));
                    self.owed.push((reply.ticket(), Owed::Get(found.into_iter().collect(), true)));
                    return Outcome::Pending;
                }
                if let Some(item) = self.items.get_mut(key.as_bytes()) {
                    value(reply, key, item, true);
                    item.fetched = true;
                }
                reply.end();
            }
            Request::DeleteIf { key, cas } => {
                let found = self.items.get(key.as_bytes()).map(|item| item.cas == cas.0);
                if found == Some(true) {
                    self.items.remove(key.as_bytes());
                }
                reply.deleted(match found {
                    None => Deleted::NotFound,
                    Some(false) => Deleted::Exists,
                    Some(true) => Deleted::Deleted,
                });
            }
            Request::Count(count) => {
                let key = count.key.as_bytes();
                let old = self.items.get(key).map(|item| item.cas);
                if old.zip(count.cas).is_some_and(|(old, cas)| old != cas.0) {
                    reply.line("EXISTS");
                    return Outcome::Done;
                }
                if let (None, Some((initial, _))) = (old, count.initial) {
                    let cas = self.cas();
                    let value = initial.to_string().into_bytes();
                    self.items.insert(key.to_vec(), Item { value, cas, ..Item::default() });
                    reply.number_as(initial, Cas(cas));
                    return Outcome::Done;
                }
                match self.count(count.key, count.direction, count.delta) {
                    None => reply.line("NOT_FOUND"),
                    Some(Ok((number, cas))) => reply.number_as(number, Cas(cas)),
                    Some(Err(error)) => reply.error(&format!("CLIENT_ERROR {error}")),
                }
            }
            Request::Sasl(sasl) => match sasl {
                Sasl::List => reply.line("SHARED"),
                Sasl::Auth { mechanism: b"LATE", data: Value::Here(data) } => {
                    let owed = Owed::Login((data == b"secret").then_some("Authenticated"));
                    self.owed.push((reply.ticket(), owed));
                    return Outcome::Pending;
                }
                Sasl::Auth { data: Value::Here(b"who"), .. } => reply.challenge(b"what?"),
                Sasl::Step { data: Value::Here(b"secret"), .. } => {
                    reply.line("Authenticated");
                    reply.log_in(b"who");
                }
                _ => reply.error("CLIENT_ERROR authentication failure"),
            },
            Request::Set(_) | Request::MetaSet(_) => {
                let (Request::Set(nuthatch_proto::Set { value, .. })
                | Request::MetaSet(nuthatch_proto::MetaSet { value, .. })) = request
                else {
                    unreachable!()
                };
                let Value::Here(bytes) = value else { panic!("call is for values at hand") };
                match self.refusal(&request, bytes.len()) {
                    Some(line) => reply.error(line),
                    None => self.store(&request, bytes, reply),
                }
            }
            Request::Delete(key) => {
                let found = self.items.remove(key.as_bytes()).is_some();
                reply.deleted(if found { Deleted::Deleted } else { Deleted::NotFound });
            }
            Request::Arith { key, direction, delta } => match self.count(key, direction, delta) {
                None => reply.line("NOT_FOUND"),
                Some(Ok((number, _))) => reply.number(number),
                Some(Err(error)) => reply.error(&format!("CLIENT_ERROR {error}")),
            },
            Request::Touch { key, .. } => {
                let found = self.items.get(key.as_bytes());
                reply.touched_as(found.map(|item| (item.flags, Cas(item.cas))));
            }
            Request::MetaGet(meta) => return self.meta_get(meta, reply),
            Request::MetaDelete(meta) => {
                let status = match self.items.get_mut(meta.key.as_bytes()) {
                    None => MetaStatus::NotFound,
                    Some(item) if meta.flags.compare().is_some_and(|cas| cas.0 != item.cas) => {
                        MetaStatus::Exists
                    }
                    Some(item) if meta.flags.is_invalidate() => {
                        item.stale = true;
                        MetaStatus::Done
                    }
                    Some(_) => {
                        self.items.remove(meta.key.as_bytes());
                        MetaStatus::Done
                    }
                };
                reply.meta_status(status);
            }
            Request::MetaArith(meta) => {
                match self.count(meta.key, meta.flags.direction(), meta.flags.delta()) {
                    None => reply.meta_status(MetaStatus::NotFound),
                    Some(Ok((number, cas))) => reply.meta_number(number, Cas(cas), None),
                    Some(Err(error)) => reply.error(&format!("CLIENT_ERROR {error}")),
                }
            }
            Request::MetaDebug(key) => {
                let facts = self.items.get(key.as_bytes()).map(|item| DebugFacts {
                    key_is_binary: item.binary,
                    cas: Cas(item.cas),
                    fetched: item.fetched,
                    class: 1,
                    size: item.value.len(),
                    ..DebugFacts::default()
                });
                reply.meta_debug(key, facts.as_ref());
            }
            Request::Auth(auth) => {
                if (auth.user, auth.password) == (b"me", b"se cret") {
                    reply.stored(Stored::Stored);
                    reply.log_in(auth.user);
                } else if auth.user.starts_with(LATE) {
                    let owed = Owed::Login((auth.password == b"secret").then_some("STORED"));
                    self.owed.push((reply.ticket(), owed));
                    return Outcome::Pending;
                } else {
                    reply.error("CLIENT_ERROR authentication failure");
                }
            }
            Request::Admin(admin) => return self.admin(admin, reply),
            _ => reply.error("ERROR"),
        }
        Outcome::Done
    }

    fn reserve(&mut self, request: &Request<'_>, len: usize) -> Result<Place, &'static str> {
        self.n_reserved += 1;
        match self.refusal(request, len) {
            Some(line) => Err(line),
            None => {
                let runs_out = request.key().is_some_and(|key| key.as_bytes() == b"runs-out");
                let end = if runs_out { len / 2 } else { len };
                Ok(Place { bytes: vec![0; len], filled: 0, end })
            }
        }
    }

    fn commit(
        &mut self,
        request: Request<'_>,
        place: Place,
        reply: &mut Reply<'_, Pin>,
    ) -> Outcome {
        self.n_committed += 1;
        assert_eq!(place.filled, place.bytes.len(), "a place is committed when it is full");
        self.store(&request, &place.bytes, reply);
        Outcome::Done
    }
}
