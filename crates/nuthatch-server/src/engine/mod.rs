//! The engine as a [`Handler`]: memcached's commands, answered from a [`Store`].

mod admin;
mod binary;
mod classic;
mod cluster;
mod conns;
mod debug;
mod detail;
mod dump;
mod login;
mod meta;
mod notes;
mod settings;
mod stats;
mod tune;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64};

use nuthatch_proto::{Admin, Handler, Outcome, Pinned, Reply, Request, Sink, Value};
use nuthatch_store::types::Key;
use nuthatch_store::{
    Commit, Committed, Item, ItemGuard, MaintenanceThread, NewItem, Reservation, Store, StoreError,
};
use nuthatch_transport::passwords::Passwords;
use nuthatch_transport::sasl::Authenticator;
use nuthatch_transport::tls::ServerTls;

use crate::cluster::Cluster;
use crate::logger::{Gate, Logger};
use crate::options::Options;
use crate::{Stop, Telemetry};
use detail::Prefixes;
use login::Logins;
use notes::{Notes, Silent, verb};

/// Values up to this length are copied into the send buffer under the lock of their shard, longer
/// ones are pinned and sent from where they are. Copying costs less than a slice of its own up to
/// about 4 KiB (0.57 of the cost at 64 bytes, 1.02 at 4 KiB, 1.2 at 16 KiB, measured for batches
/// of a hundred).
const COPY_LEN_MAX: usize = 4096;

const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
const NO_MEMORY_STORING: &str = "SERVER_ERROR out of memory storing object";
const NO_MEMORY_READING: &str = "SERVER_ERROR Out of memory during read";
const NO_MEMORY: &str = "SERVER_ERROR out of memory";
const NON_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";

/// Answers memcached's commands from a store. Clones share everything; each worker has one.
///
/// It is a [`Handler`] like any other: a server of one's own calls it for the requests that it
/// does not answer itself.
#[derive(Clone, Debug)]
pub struct Engine {
    store: Store,
    /// Who wants to know of requests.
    gate: Arc<Gate>,
    shared: Arc<Shared>,
}

/// What all workers' engines share.
#[derive(Debug)]
struct Shared {
    options: Options,
    telemetry: Option<Arc<Telemetry>>,
    stop: Option<Stop>,
    maintenance: Option<MaintenanceThread>,
    logins: Arc<Logins>,
    tls: Option<ServerTls>,
    cluster: Option<Cluster>,
    holds: debug::Holds,
    logger: Logger,
    prefixes: Prefixes,
    verbosity: AtomicU8,
    cmd_flush: AtomicU64,
    cmd_meta: AtomicU64,
    /// What those two were at the last `stats reset`.
    cmd_flush_base: AtomicU64,
    cmd_meta_base: AtomicU64,
    auth_cmds_base: AtomicU64,
    auth_errors_base: AtomicU64,
}

/// The parts an [`Engine`] is made of besides its store.
#[derive(Debug, Default)]
#[must_use]
pub struct EngineBuilder {
    options: Options,
    telemetry: Option<Arc<Telemetry>>,
    stop: Option<Stop>,
    maintenance: Option<MaintenanceThread>,
    passwords: Option<Passwords>,
    authenticator: Option<Authenticator>,
    tls: Option<ServerTls>,
    cluster: Option<Cluster>,
    logger: Option<Logger>,
}

impl EngineBuilder {
    /// What `stats settings` shows, and which commands are allowed.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The server's figures, for `stats`; without them it shows none of connections.
    pub fn telemetry(mut self, telemetry: Arc<Telemetry>) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// What the `shutdown` command stops, where the options allow it.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// The store's maintenance, which ends with the last clone of the engine. `debugtime` moves
    /// its clock.
    pub fn maintenance(mut self, maintenance: MaintenanceThread) -> Self {
        self.maintenance = Some(maintenance);
        self
    }

    /// Where events are noted for those who `watch`: the logger that the store has, so that they see
    /// evictions and maintenance too. Without one the engine makes its own.
    pub fn logger(mut self, logger: Logger) -> Self {
        self.logger = Some(logger);
        self
    }

    /// Who may log in by the text protocol. That somebody must is the server's affair:
    /// [`ServerBuilder::login`](crate::ServerBuilder::login).
    pub fn passwords(mut self, passwords: Passwords) -> Self {
        self.passwords = Some(passwords);
        self
    }

    /// Who may log in by the binary protocol, and how.
    pub fn sasl(mut self, authenticator: Authenticator) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// The certificates that `refresh_certs` reads again; those that the server was given
    /// ([`ServerBuilder::tls`](crate::ServerBuilder::tls)).
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The lists of auto-discovery; without them `config` is no command, as in memcached.
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// An engine for a store.
    pub fn build(self, store: Store) -> Engine {
        let options = self.options;
        let logger = self.logger.unwrap_or_else(|| Logger::new(&options));
        let gate = Arc::clone(logger.gate());
        gate.set(Gate::DETAIL, options.detail_enabled);
        gate.set(Gate::VERBOSE, options.verbosity > 1);
        let shared = Shared {
            logger,
            prefixes: Prefixes::new(options.stat_key_prefix),
            verbosity: AtomicU8::new(options.verbosity),
            options,
            telemetry: self.telemetry,
            stop: self.stop,
            maintenance: self.maintenance,
            logins: Arc::new(Logins::new(self.passwords, self.authenticator)),
            tls: self.tls,
            cluster: self.cluster,
            holds: debug::Holds::default(),
            cmd_flush: AtomicU64::new(0),
            cmd_meta: AtomicU64::new(0),
            cmd_flush_base: AtomicU64::new(0),
            cmd_meta_base: AtomicU64::new(0),
            auth_cmds_base: AtomicU64::new(0),
            auth_errors_base: AtomicU64::new(0),
        };
        Engine { store, gate, shared: Arc::new(shared) }
    }
}

impl Engine {
    /// An engine with memcached's defaults. Somebody has to keep the store's clock and LRU: see
    /// [`Store::spawn_maintenance`].
    pub fn new(store: Store) -> Self {
        EngineBuilder::default().build(store)
    }

    /// Begins an engine with more to it.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn answer(
        &self,
        request: Request<'_>,
        sink: Option<ItemSink>,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        match self.gate.load_for_request() {
            0 => self.serve(request, sink, reply, &Silent),
            wanted => self.serve_noting(wanted, request, sink, reply),
        }
    }

    /// Does what is asked for, and tells `notes` of it.
    fn serve(
        &self,
        request: Request<'_>,
        sink: Option<ItemSink>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) -> Outcome {
        match request {
            Request::Get(get) => self.get(get, reply, notes),
            Request::GetOne { key, touch } => self.get_one(key, touch, reply, notes),
            Request::Set(set) => self.set(&set, sink, reply, notes),
            Request::Delete(key) => self.delete(key, reply, notes),
            Request::DeleteIf { key, cas } => self.delete_if(key, cas, reply, notes),
            Request::Arith { key, direction, delta } => {
                self.arith(key, direction, delta, reply, notes);
            }
            Request::Count(count) => self.count(&count, reply, notes),
            Request::Touch { key, ttl } => self.touch(key, ttl, reply, notes),
            Request::MetaGet(meta) => self.meta_get(&meta, reply, notes),
            Request::MetaSet(set) => self.meta_set(&set, sink, reply, notes),
            Request::MetaDelete(meta) => self.meta_delete(&meta, reply, notes),
            Request::MetaArith(meta) => self.meta_arith(&meta, reply, notes),
            Request::MetaDebug(key) => self.meta_debug(key, reply, notes),
            Request::Auth(auth) => return self.log_in(auth, reply),
            Request::Sasl(sasl) => return self.sasl(sasl, reply),
            Request::Admin(admin) => return self.admin(admin, reply),
            // The protocol crate may learn commands before this one does.
            _ => reply.error("ERROR"),
        }
        Outcome::Done
    }
}

impl Handler for Engine {
    type Pin = ItemPin;
    type Sink = ItemSink;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        self.answer(request, None, reply)
    }

    fn reserve(&mut self, request: &Request<'_>, len: usize) -> Result<ItemSink, &'static str> {
        let reserved = match request {
            Request::Set(set) => self.reserve_set(set, len),
            Request::MetaSet(set) => self.reserve_meta_set(set, len),
            // A login that is longer than any.
            Request::Sasl(_) if self.shared.logins.authenticator.is_some() => {
                Err("SERVER_ERROR Out of memory")
            }
            Request::Admin(Admin::Config(_)) => Err(self.refuse_config()),
            _ => Err("ERROR"),
        };
        let wanted = self.gate.load_for_request();
        if wanted != 0 {
            self.note_announced(wanted, request, reserved.as_ref().err().copied());
        }
        reserved
    }

    fn commit(
        &mut self,
        request: Request<'_>,
        sink: ItemSink,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        self.answer(request, Some(sink), reply)
    }
}

impl Engine {
    /// Puts a value in its place, or gives the line that says why not. `drops_old` as in
    /// [`after_failure`](Self::after_failure).
    fn store_value(
        &self,
        key: Key<'_>,
        value: Incoming<'_>,
        item: NewItem,
        commit: Commit,
        drops_old: bool,
    ) -> Result<Committed, &'static str> {
        let stored = match value {
            Incoming::Here(value) => self.store.put(key, value, item, commit),
            Incoming::Reserved(place) => return place.commit(commit).map_err(store_error),
        };
        stored.map_err(|error| self.after_failure(key, error, drops_old))
    }

    /// Takes memory for a value that is still arriving, or gives the line that says why not.
    fn reserve_value(
        &self,
        key: Key<'_>,
        item: NewItem,
        len: usize,
        drops_old: bool,
    ) -> Result<ItemSink, &'static str> {
        let reserved = self.store.reserve(key, item, len);
        reserved.map(ItemSink).map_err(|error| self.after_failure(key, error, drops_old))
    }

    /// The answer to a store for which there was no place. With `drops_old`, the value that was to
    /// be replaced does not outlive that.
    fn after_failure(&self, key: Key<'_>, error: StoreError, drops_old: bool) -> &'static str {
        if drops_old && !matches!(error, StoreError::NoMemoryForRest { .. }) {
            self.store.discard(key);
        }
        store_error(error)
    }
}

/// The value of a store request: whichever place it is in.
fn value_of<'a>(value: Value<'a>, sink: Option<ItemSink>) -> Incoming<'a> {
    match (value, sink) {
        (_, Some(sink)) => Incoming::Reserved(sink.0),
        (Value::Here(bytes), None) => Incoming::Here(bytes),
        // A session gives a sink with every such value; without one there are no bytes.
        (Value::Reserved(_), None) => Incoming::Here(b""),
    }
}

enum Incoming<'a> {
    Here(&'a [u8]),
    Reserved(Reservation),
}

/// The answer to a store that failed.
fn store_error(error: StoreError) -> &'static str {
    match error {
        StoreError::TooLarge { .. } => TOO_LARGE,
        StoreError::NoMemoryForRest { .. } => NO_MEMORY_READING,
        _ => NO_MEMORY_STORING,
    }
}

/// An item that stays in place until it has been sent.
#[derive(Debug)]
pub struct ItemPin(ItemGuard);

impl Pinned for ItemPin {
    fn piece(&self, index: usize) -> Option<&[u8]> {
        self.0.piece(index)
    }
}

/// An item that is being received.
#[derive(Debug)]
pub struct ItemSink(Reservation);

impl Sink for ItemSink {
    fn space(&mut self) -> &mut [u8] {
        self.0.space()
    }

    fn filled(&mut self, n: usize) {
        self.0.filled(n);
    }
}

/// How a value is sent: copied now, or pinned and sent later.
enum Outgoing<'a> {
    Copied(&'a [u8]),
    Gathered(Vec<u8>),
    Pinned(ItemPin),
}

fn outgoing<'a>(item: &Item<'a>) -> Outgoing<'a> {
    match item.contiguous() {
        Some(value) if value.len() <= COPY_LEN_MAX => Outgoing::Copied(value),
        contiguous => match item.pin() {
            Some(guard) => Outgoing::Pinned(ItemPin(guard)),
            // Sixty thousand readers hold it already (memcached calls that a miss).
            None => contiguous.map_or_else(|| Outgoing::Gathered(item.to_vec()), Outgoing::Copied),
        },
    }
}
