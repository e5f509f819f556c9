//! The server: listeners, workers, and connections dealt out between them.
//!
//! ```text
//!  accept (one task a listener) ──round robin──► worker 0: runtime, handler, its connections
//!        │ counts, refuses above the limit  ───► worker 1
//!        │                                  ───► …
//! ```
//!
//! Each worker is a thread with a runtime of its own; a connection stays with its worker, so that
//! nothing about it crosses threads. Handlers need not be `Send`: each worker makes its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nuthatch_proto::Handler;
use nuthatch_transport::tls::{ClientAuth, ServerTls};
use nuthatch_transport::{
    Accepted, AddrError, Bound, BoundUdp, ListenProtocol, Listener, Networks,
};
use tokio::runtime::{self, LocalRuntime};
use tokio::sync::{Notify, mpsc};

use crate::connection::{Connection, ConnectionSettings, Worker};
use crate::conns::Entry;
use crate::options::Protocol;
use crate::tls::{self, Security, Terms};
use crate::{ConnObserver, End, Stop, Telemetry, udp};

/// What a client above the limit is told before it is closed.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// The same for a client that expects TLS: a record with a fatal alert, `internal_error`. Closed
/// without a word, it would find that out when it writes, and a program that has not asked
/// otherwise is ended by that (SIGPIPE).
const TOO_MANY_TLS: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// How long accepting waits after the system had no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// A server that is about to run. Made by [`Server::builder`].
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Bound>,
    udp: Vec<BoundUdp>,
    settings: ConnectionSettings,
    protocol: Protocol,
    is_fast: bool,
    by_queue: bool,
    telemetry: Arc<Telemetry>,
    stop: Stop,
}

/// The settings of a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    listeners: Vec<Bound>,
    udp: Vec<BoundUdp>,
    udp_trust: Networks,
    threads: NonZeroUsize,
    conn_limit: u64,
    is_fast: bool,
    budget: usize,
    idle_timeout: Option<Duration>,
    protocol: Protocol,
    login: Login,
    security: Option<Security>,
    observer: Option<Arc<dyn ConnObserver>>,
    memory_limit: usize,
    by_queue: bool,
}

/// How clients must log in ([`ServerBuilder::login`]).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocols have these and no others")]
pub enum Login {
    /// They need not.
    #[default]
    None,
    /// By the text protocol: the handler gets
    /// [`Request::Auth`](nuthatch_proto::Request::Auth) to decide on.
    Text,
    /// By SASL, over the binary protocol: the handler gets
    /// [`Request::Sasl`](nuthatch_proto::Request::Sasl).
    Sasl,
}

impl ServerBuilder {
    /// Adds sockets to accept from; see [`nuthatch_transport::bind`].
    pub fn listen(mut self, bound: impl IntoIterator<Item = Bound>) -> Self {
        self.listeners.extend(bound);
        self
    }

    /// Adds UDP sockets to answer on; see [`nuthatch_transport::bind_udp`]. They are shared out
    /// between the workers in turn, so that an address with as many sockets as there are workers
    /// is served by all of them.
    pub fn listen_udp(mut self, bound: impl IntoIterator<Item = BoundUdp>) -> Self {
        self.udp.extend(bound);
        self
    }

    /// The networks whose UDP packets are believed to come from whom they say; default none but
    /// this machine. Any other address gets answers of at most three times the size of its
    /// request, or 128 bytes where that is more, and an error instead of a longer one: the request
    /// may have been sent in its name.
    pub fn udp_trust(mut self, networks: Networks) -> Self {
        self.udp_trust = networks;
        self
    }

    /// Worker threads; default 4.
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// How many clients may be connected at a time; default 1024.
    pub fn conn_limit(mut self, limit: u64) -> Self {
        self.conn_limit = limit;
        self
    }

    /// Whether a client above the limit is told so and closed (default), or waits until another
    /// one leaves.
    pub fn reject_above_limit(mut self, reject: bool) -> Self {
        self.is_fast = reject;
        self
    }

    /// How many requests of one connection are answered before the others get their turn;
    /// default 20.
    pub fn reqs_per_event(mut self, requests: usize) -> Self {
        self.budget = requests;
        self
    }

    /// How long a TCP client may be silent between requests; default for ever.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The protocols that clients may speak where their listener does not say it; default whichever
    /// they begin with.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// How a client must log in before anything else is served; default not at all. Then the
    /// protocol of that login alone is spoken, whatever the listeners say.
    pub fn login(mut self, login: Login) -> Self {
        self.login = login;
        self
    }

    /// How much the buffers and answers of all connections may take, in bytes; 0, the default, is
    /// no limit. It is shared out between the workers. A pair of buffers, which a connection has
    /// while it is being served, counts as 24 KiB, an answer that waits to be sent as 1 KiB; a
    /// worker has one pair and eight answers at the least. Where there is no buffer, a client that
    /// sends something is closed; for what happens with answers see
    /// [`Session::set_answers_max`](nuthatch_proto::Session::set_answers_max). Values that are sent
    /// from the store, and lines of more than 16 KiB, are not counted.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Whether connections that come by the same queue of the network card go to the same worker
    /// (memcached's `-N`), so that one core has all to do with them; default in turn. Those that
    /// come by no known queue go in turn.
    pub fn deal_by_queue(mut self, by_queue: bool) -> Self {
        self.by_queue = by_queue;
        self
    }

    /// Serves with TLS what comes to TCP listeners, except those whose address says `notls:`; default
    /// without. Clients show certificates as `auth` says, unless the address says `btls:` (none) or
    /// `mtls:` (required). Unix sockets and UDP are always plain.
    ///
    /// A client may keep the server waiting for its handshake for ten seconds in all, or for the idle
    /// timeout if that is less; two where many do ([`ServerTls::accept_within`]).
    pub fn tls(mut self, tls: ServerTls, auth: ClientAuth) -> Self {
        self.security = Some(Security { tls, auth });
        self
    }

    /// Who hears of connections as they come and go; default nobody, which costs nothing.
    pub fn observer(mut self, observer: Arc<dyn ConnObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// A server with these settings.
    pub fn build(self) -> Server {
        Server {
            listeners: self.listeners,
            settings: ConnectionSettings {
                budget: self.budget,
                idle_timeout: self.idle_timeout,
                login: self.login,
                udp_trust: self.udp_trust,
                security: self.security,
                observer: self.observer,
                memory_max: self.memory_limit / self.threads.get(),
            },
            telemetry: Arc::new(Telemetry::new(
                self.threads.get(),
                self.conn_limit,
                self.udp.len() as u64,
            )),
            udp: self.udp,
            protocol: self.protocol,
            is_fast: self.is_fast,
            by_queue: self.by_queue,
            stop: Stop::new(),
        }
    }
}

impl Server {
    /// Begins the settings of a server.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            listeners: Vec::new(),
            udp: Vec::new(),
            udp_trust: Networks::default(),
            threads: NonZeroUsize::MIN.saturating_add(3),
            conn_limit: 1024,
            is_fast: true,
            budget: 20,
            idle_timeout: None,
            protocol: Protocol::Auto,
            login: Login::None,
            security: None,
            observer: None,
            memory_limit: 0,
            by_queue: false,
        }
    }

    /// What the server counts; ask before [`run`](Self::run), for the handlers to show.
    pub fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(&self.telemetry)
    }

    /// The signal that ends [`run`](Self::run).
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until `until` is over or [`stop`](Self::stop) is given, whichever is first. Each
    /// worker answers with a handler of its own, made by `make_handler`. Connections still open
    /// at the end are closed where they stand, as memcached does.
    ///
    /// This is the whole program's business and blocks the thread; it makes its own runtimes and
    /// must not be called inside one. `until` is polled on this thread, in a runtime with I/O and
    /// time enabled.
    ///
    /// A handler may answer later ([`Reply::later`]), from any thread, and may hand a connection
    /// over to a [`Feed`]; neither holds up other connections. A client that closes its sending
    /// side is kept for the answers it is owed, but no longer than 10 seconds; one that takes
    /// nothing of a feed for half an hour is closed. Tickets that nobody can complete here
    /// ([`Reply::ticket`]) keep their connection waiting until the client leaves, and
    /// [`Outcome::Stream`] without a feed closes it: drive a [`Session`] yourself for those.
    ///
    /// [`Feed`]: nuthatch_proto::Feed
    /// [`Outcome::Stream`]: nuthatch_proto::Outcome::Stream
    /// [`Reply::later`]: nuthatch_proto::Reply::later
    /// [`Reply::ticket`]: nuthatch_proto::Reply::ticket
    /// [`Session`]: nuthatch_proto::Session
    ///
    /// # Errors
    ///
    /// What the system said when it gave no thread, no runtime, or did not take a listener.
    pub fn run<H, F>(self, make_handler: F, until: impl Future<Output = ()>) -> io::Result<()>
    where
        H: Handler + 'static,
        F: Fn() -> H + Send + Sync + 'static,
    {
        let Self {
            listeners,
            udp,
            settings,
            protocol: default,
            is_fast,
            by_queue,
            telemetry,
            stop,
        } = self;
        let protocol_of = |listen| match (settings.login, listen) {
            // Who could speak another one would not be asked who they are.
            (Login::Text, _) => Protocol::Ascii,
            (Login::Sasl, _) => Protocol::Binary,
            (Login::None, Some(ListenProtocol::Ascii)) => Protocol::Ascii,
            (Login::None, Some(ListenProtocol::Binary)) => Protocol::Binary,
            (Login::None, Some(ListenProtocol::Negotiating)) => Protocol::Auto,
            (Login::None, _) => default,
        };
        let mut endpoints: Vec<Vec<(BoundUdp, Protocol)>> = Vec::new();
        endpoints.resize_with(telemetry.workers.len(), Vec::new);
        for (idx, bound) in udp.into_iter().enumerate() {
            let protocol = protocol_of(bound.protocol());
            endpoints[idx % telemetry.workers.len()].push((bound, protocol));
        }
        let make_handler = Arc::new(make_handler);
        let left = Arc::new(Notify::new());
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for (number, endpoints) in endpoints.into_iter().enumerate() {
            let (sender, inbox) = mpsc::unbounded_channel();
            let (make_handler, telemetry) = (Arc::clone(&make_handler), Arc::clone(&telemetry));
            let (left, stop, settings) = (Arc::clone(&left), stop.clone(), settings.clone());
            let runtime_ready = std::sync::mpsc::sync_channel(1);
            let ready = runtime_ready.0;
            let thread = std::thread::Builder::new().name(format!("nuthatch-{number}")).spawn(
                move || {
                    let begun = local_runtime().and_then(|runtime| {
                        let endpoints = runtime.block_on(async {
                            let endpoints = endpoints.into_iter();
                            let of = |(bound, protocol): (BoundUdp, Protocol)| {
                                Ok((bound.into_endpoint()?, protocol))
                            };
                            endpoints.map(of).collect::<io::Result<Vec<_>>>()
                        })?;
                        Ok((runtime, endpoints))
                    });
                    let (runtime, endpoints) = match begun {
                        Ok(begun) => begun,
                        Err(error) => {
                            // The receiver waits; if it is gone there is no server any more.
                            let _ = ready.send(Err(error));
                            return;
                        }
                    };
                    let handler = make_handler();
                    let _ = ready.send(Ok(()));
                    let worker = Rc::new(Worker {
                        handler: RefCell::new(handler),
                        pool: RefCell::default(),
                        settings,
                        telemetry,
                        number,
                        stop: stop.clone(),
                        n_answers: Cell::new(0),
                    });
                    runtime.block_on(async {
                        for (endpoint, protocol) in endpoints {
                            let worker = Rc::clone(&worker);
                            tokio::task::spawn_local(udp::serve(endpoint, protocol, worker));
                        }
                        work(worker, inbox, left, stop).await;
                    });
                },
            )?;
            runtime_ready
                .1
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("a worker ended before it began")))?;
            inboxes.push(sender);
            threads.push(thread);
        }

        let runtime = local_runtime()?;
        let served = runtime.block_on(async {
            let dealer = Rc::new(Dealer {
                inboxes,
                next: Cell::new(0),
                queues: by_queue.then(RefCell::default),
                telemetry,
                is_fast,
                left,
            });
            for bound in listeners {
                let protocol = protocol_of(bound.protocol());
                let tls = match (&settings.security, bound.tls()) {
                    (Some(security), _) => security.at(&bound),
                    (None, None) => None,
                    (None, Some(tls)) => {
                        let error = AddrError::TlsOnly { prefix: tls.prefix() };
                        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
                    }
                };
                let listener = bound.into_listener()?;
                let terms = Terms { protocol, tls };
                tokio::task::spawn_local(accept(listener, terms, Rc::clone(&dealer)));
            }
            tokio::task::spawn_local(count_seconds(Arc::clone(&dealer.telemetry)));
            tokio::select! {
                () = until => {}
                () = stop.stopped() => {}
            }
            Ok(())
        });
        stop.stop(End::AtOnce);
        // Ends the accepting tasks, and with them the listeners.
        drop(runtime);
        for thread in threads {
            // A worker that panicked has said so; the others end all the same.
            let _ = thread.join();
        }
        served
    }
}

fn local_runtime() -> io::Result<LocalRuntime> {
    runtime::Builder::new_current_thread().enable_all().build_local(Default::default())
}

/// Deals connections out.
struct Dealer {
    inboxes: Vec<mpsc::UnboundedSender<(Accepted, Terms)>>,
    next: Cell<usize>,
    /// Whose queue of the network card is whose, with `-N`.
    queues: Option<RefCell<Queues>>,
    telemetry: Arc<Telemetry>,
    is_fast: bool,
    /// Told whenever a connection ends.
    left: Arc<Notify>,
}

/// Counts seconds for figures that need no better clock.
async fn count_seconds(telemetry: Arc<Telemetry>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    // The first one comes at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        telemetry.seconds.fetch_add(1, Relaxed);
    }
}

async fn accept(listener: Listener, terms: Terms, dealer: Rc<Dealer>) {
    let _entry = Entry::new(
        &dealer.telemetry,
        number_of(&listener),
        None,
        Arc::clone(listener.local()),
        listener.tag().cloned(),
    );
    loop {
        if !dealer.is_fast && dealer.is_full() {
            dealer.wait_for_room().await;
        }
        match listener.accept().await {
            Ok(accepted) => dealer.deal(accepted, terms),
            // Out of descriptors or memory: what waits in the queue is still there later.
            Err(error) => {
                tracing::warn!("accepting failed: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

impl Dealer {
    fn is_full(&self) -> bool {
        self.telemetry.curr_connections.load(Relaxed) >= self.telemetry.max_connections
    }

    async fn wait_for_room(&self) {
        let telemetry = &self.telemetry;
        telemetry.accepting.store(0, Relaxed);
        telemetry.listen_disabled_num.fetch_add(1, Relaxed);
        let since = tokio::time::Instant::now();
        loop {
            let left = self.left.notified();
            if !self.is_full() {
                break;
            }
            left.await;
        }
        let waited = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        telemetry.listen_disabled_us.fetch_add(waited, Relaxed);
        telemetry.accepting.store(1, Relaxed);
        // Another listener may be waiting for the same.
        self.left.notify_one();
    }

    /// The worker for a connection.
    fn choose(&self, accepted: &Accepted) -> usize {
        if let Some(queues) = &self.queues {
            match accepted.napi_id() {
                Ok(id) if id > 0 => {
                    let (worker, is_unexpected) =
                        queues.borrow_mut().worker(id, self.inboxes.len());
                    if is_unexpected {
                        self.telemetry.unexpected_napi_ids.fetch_add(1, Relaxed);
                    }
                    return worker;
                }
                _ => self.telemetry.round_robin_fallback.fetch_add(1, Relaxed),
            };
        }
        let number = self.next.get();
        self.next.set((number + 1) % self.inboxes.len());
        number
    }

    fn deal(&self, accepted: Accepted, terms: Terms) {
        let telemetry = &self.telemetry;
        if self.is_fast && self.is_full() {
            telemetry.rejected_connections.fetch_add(1, Relaxed);
            accepted.refuse(if terms.tls.is_some() { TOO_MANY_TLS } else { TOO_MANY });
            return;
        }
        telemetry.curr_connections.fetch_add(1, Relaxed);
        telemetry.total_connections.fetch_add(1, Relaxed);
        let number = self.choose(&accepted);
        tracing::debug!(worker = number, peer = %accepted.peer(), "new connection");
        if self.inboxes[number].send((accepted, terms)).is_err() {
            // The worker has ended: the server is stopping.
            telemetry.curr_connections.fetch_sub(1, Relaxed);
        }
    }
}

/// Which queue of the network card belongs to which worker: the first that is seen to the first
/// worker, and so on.
#[derive(Debug, Default)]
struct Queues(Vec<u32>);

impl Queues {
    /// The worker of a queue, and whether there were more queues than workers. Then, as in
    /// memcached, all begin anew: queues change when a network card is set up again.
    fn worker(&mut self, id: u32, n_workers: usize) -> (usize, bool) {
        if let Some(worker) = self.0.iter().position(|known| *known == id) {
            return (worker, false);
        }
        let is_unexpected = self.0.len() >= n_workers;
        if is_unexpected {
            self.0.clear();
        }
        self.0.push(id);
        (self.0.len() - 1, is_unexpected)
    }
}

/// A worker's life: take connections up until the server stops.
async fn work<H: Handler + 'static>(
    worker: Rc<Worker<H>>,
    mut inbox: mpsc::UnboundedReceiver<(Accepted, Terms)>,
    left: Arc<Notify>,
    stop: Stop,
) {
    let serve_all = async {
        while let Some((accepted, terms)) = inbox.recv().await {
            let present =
                Present { telemetry: Arc::clone(&worker.telemetry), left: Arc::clone(&left) };
            let (local, tag) = (Arc::clone(accepted.local()), accepted.tag().cloned());
            match accepted.into_stream() {
                Ok(stream) => {
                    let peer = Some(*stream.peer());
                    let number = number_of(&stream);
                    let entry = Entry::new(&worker.telemetry, number, peer, local, tag);
                    let worker = Rc::clone(&worker);
                    if terms.tls.is_some() {
                        tokio::task::spawn_local(tls::begin(stream, entry, terms, worker, present));
                        continue;
                    }
                    let protocol = terms.protocol;
                    let connection = Connection::new(stream, entry, protocol, worker, present);
                    tokio::task::spawn_local(connection);
                }
                Err(error) => tracing::warn!("a connection could not be taken up: {error}"),
            }
        }
    };
    tokio::select! {
        () = serve_all => {}
        () = stop.stopped() => {}
    }
}

/// The number by which a socket is named.
pub(crate) fn number_of(socket: &impl AsFd) -> u64 {
    u64::from(socket.as_fd().as_raw_fd().unsigned_abs())
}

/// A connection counts as present until this is dropped, however it ends.
pub(crate) struct Present {
    telemetry: Arc<Telemetry>,
    left: Arc<Notify>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.telemetry.curr_connections.fetch_sub(1, Relaxed);
        self.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_belong_to_workers_until_there_are_too_many() {
        let mut queues = Queues::default();
        for (id, expected) in [
            (801, (0, false)),
            (802, (1, false)),
            (801, (0, false)),
            (802, (1, false)),
            // A third for two workers.
            (803, (0, true)),
            (801, (1, false)),
            (803, (0, false)),
        ] {
            assert_eq!(queues.worker(id, 2), expected, "{id}");
        }
    }
}
