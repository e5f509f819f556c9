//! The nodes, which of them has a key, and what becomes of a call that fails.
//!
//! ```text
//!   Client ─> Shared ─> Topology ──ring──> Node ─> Link, Link …
//!                          ^       order
//!     lists of nodes ──────┘   swapped whole; calls under way keep the one they began with
//! ```

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use backon::BackoffBuilder;
use nuthatch_discovery::Following;
use nuthatch_transport::ConnectAddr;
use tokio::time::{self, Instant};
use tracing::Instrument;

use crate::call::{Ask, Reply};
use crate::dial::Target;
use crate::error::{Error, Kind};
use crate::event::{CallReport, Event, Events};
use crate::node::{Node, NodeOptions};
use crate::options::{OnFailure, Retry};
use crate::route::{self, Ring, Router};
use crate::span;
use crate::time::Deadline;

/// What all handles of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    topology: ArcSwap<Topology>,
    pub(crate) settings: Settings,
    pub(crate) budget: Budget,
    pub(crate) events: Events,
    /// One list at a time.
    applying: parking_lot::Mutex<()>,
    /// Where lists come from, if they do.
    following: OnceLock<Following>,
}

/// What the calls of a client have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) router: Router,
    pub(crate) node: NodeOptions,
    pub(crate) timeout: Duration,
    pub(crate) value_bytes_max: usize,
    pub(crate) takes_any_key: bool,
    pub(crate) on_failure: OnFailure,
    pub(crate) retry: Retry,
}

/// The nodes at one time.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) version: u64,
    ring: Ring,
    /// In the ring's order.
    pub(crate) nodes: Vec<Arc<Node>>,
}

/// A node to be.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) node: route::Node,
    pub(crate) target: Target,
}

impl Spec {
    /// What tells nodes apart.
    fn name(&self) -> Arc<str> {
        match (&self.target.address, self.node.host()) {
            (ConnectAddr::Unix(_), path) => path.into(),
            (ConnectAddr::Tcp { .. }, host) => {
                let named = ConnectAddr::Tcp { host: host.to_owned(), port: self.node.port() };
                named.to_string().into()
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings, events: Events) -> Self {
        let topology = Topology { version: 0, ring: settings.router.ring(&[]), nodes: Vec::new() };
        Self {
            topology: ArcSwap::from_pointee(topology),
            budget: Budget::new(settings.retry.budget),
            settings,
            events,
            applying: parking_lot::Mutex::new(()),
            following: OnceLock::new(),
        }
    }

    /// Lists are followed for as long as this is there.
    pub(crate) fn keep(&self, following: Following) {
        // There is one: nobody else has the client yet.
        let _ = self.following.set(following);
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// Puts a list of nodes in force. Nodes that stay keep their connections and what is under way
    /// on them, also where their address is another one; those that go are drained.
    pub(crate) fn apply(&self, version: u64, specs: &[Spec]) {
        let _alone = self.applying.lock();
        let old = self.topology();
        let (mut added, mut nodes) = (Vec::new(), Vec::with_capacity(specs.len()));
        for spec in specs {
            let name = spec.name();
            let kept = old.nodes.iter().find(|node| node.name == name);
            nodes.push(match kept {
                Some(node) => {
                    node.retarget(spec.target.clone());
                    Arc::clone(node)
                }
                None => {
                    added.push(Arc::clone(&name));
                    let target = spec.target.clone();
                    Arc::new(Node::spawn(name, target, &self.settings.node, &self.events))
                }
            });
        }
        let is_gone = |node: &&Arc<Node>| !nodes.iter().any(|own| own.name == node.name);
        let removed: Vec<_> =
            old.nodes.iter().filter(is_gone).map(|node| Arc::clone(&node.name)).collect();
        let members: Vec<_> = specs.iter().map(|spec| spec.node.clone()).collect();
        let ring = self.settings.router.ring(&members);
        self.topology.store(Arc::new(Topology { version, ring, nodes }));
        if !added.is_empty() || !removed.is_empty() {
            self.events.send(Event::Members { version, added, removed });
        }
    }

    /// Asks whoever has the key, until a moment has come.
    pub(crate) async fn call(
        &self,
        key: &[u8],
        ask: Ask,
        deadline: Deadline,
    ) -> Result<Reply, Error> {
        let span = span::call(ask.operation());
        self.attempts(key, Arc::new(ask), deadline).instrument(span).await
    }

    async fn attempts(
        &self,
        key: &[u8],
        ask: Arc<Ask>,
        mut deadline: Deadline,
    ) -> Result<Reply, Error> {
        let begun = self.events.is_observed().then(Instant::now);
        self.budget.deposit();
        let mut pauses = None;
        let mut n_retries = 0;
        // Whose failure was the first.
        let mut before = None;
        let (node, result) = loop {
            let topology = self.topology();
            let node = match topology.node(key, self.settings.on_failure) {
                Ok(node) => node,
                Err(error) => break (None, Err(error)),
            };
            let result = if self.is_missing(node) {
                Err(node.status().error.unwrap_or_else(|| Kind::NoNode.into()).at(&node.name))
            } else {
                node.call(&ask, deadline).await
            };
            let error = match result {
                Err(error) => error,
                answer => break (Some(Arc::clone(node)), answer),
            };
            let is_retried = !self.is_missing(node) && self.may_retry(&error, &ask, n_retries);
            let pause = if is_retried { self.pause(&mut pauses, deadline) } else { None };
            let had_no_time = is_rest_of(&error, &ask);
            let failure = (Some(Arc::clone(node)), Err(error));
            let Some(pause) = pause else {
                break if had_no_time { before.unwrap_or(failure) } else { failure };
            };
            before.get_or_insert(failure);
            n_retries += 1;
            // What comes now has what is left of the time.
            deadline.is_short = true;
            time::sleep(pause).await;
        };
        span::record(node.as_deref(), result.as_ref().err());
        self.report(&ask, node.as_deref(), begun, n_retries, result.as_ref().err());
        self.forgive(&ask, result)
    }

    /// Whether calls for the node are misses without being asked.
    fn is_missing(&self, node: &Node) -> bool {
        self.settings.on_failure == OnFailure::TreatAsMiss && node.health.is_ejected()
    }

    /// Tells those who watch of a call.
    pub(crate) fn report(
        &self,
        ask: &Ask,
        node: Option<&Node>,
        begun: Option<Instant>,
        n_retries: u32,
        error: Option<&Error>,
    ) {
        if let Some(begun) = begun {
            self.events.call(&CallReport {
                operation: ask.operation(),
                node: node.map(|node| &*node.name),
                elapsed: begun.elapsed(),
                n_retries,
                error,
            });
        }
    }

    /// A miss for a failure, if that is the policy.
    pub(crate) fn forgive(&self, ask: &Ask, result: Result<Reply, Error>) -> Result<Reply, Error> {
        match result {
            Err(error)
                if self.settings.on_failure == OnFailure::TreatAsMiss && error.is_transport() =>
            {
                ask.miss().ok_or(error)
            }
            result => result,
        }
    }

    /// Whether another attempt may be made; it is then paid for.
    pub(crate) fn may_retry(&self, error: &Error, ask: &Ask, n_retries: u32) -> bool {
        let is_safe = error.is_retryable() || (ask.is_read() && error.is_cut_off());
        is_safe && n_retries < self.settings.retry.max && self.budget.withdraw()
    }

    /// How long to wait before the next attempt; `None` if that would be too late.
    pub(crate) fn pause(
        &self,
        pauses: &mut Option<backon::ExponentialBackoff>,
        deadline: Deadline,
    ) -> Option<Duration> {
        let make = || {
            let builder = backon::ExponentialBuilder::new();
            let builder = builder.with_min_delay(self.settings.retry.pause);
            builder.without_max_times().with_jitter().build()
        };
        let pause = pauses.get_or_insert_with(make).next()?;
        (Instant::now() + pause < deadline.at).then_some(pause)
    }
}

/// Whether the time of a call that was tried again was up, and nothing is lost if the failure
/// before is told instead: that is where the time went, and its node is the one to look at.
fn is_rest_of(error: &Error, ask: &Ask) -> bool {
    error.is_timeout() && (error.is_unsent() || ask.is_read())
}

impl Topology {
    /// The node to ask for a key.
    pub(crate) fn node(&self, key: &[u8], policy: OnFailure) -> Result<&Arc<Node>, Error> {
        if let [only] = &*self.nodes {
            return Ok(only);
        }
        let own = self.ring.pick(key).ok_or(Kind::NoNode)?;
        let own = &self.nodes[own];
        if let OnFailure::NextInRing { max } = policy
            && own.health.is_ejected()
        {
            let others = self.ring.order(key).skip(1).take(max).map(|at| &self.nodes[at]);
            let healthy = others.into_iter().find(|node| !node.health.is_ejected());
            return Ok(healthy.unwrap_or(own));
        }
        Ok(own)
    }

    /// The nodes of a key in their order, its own first.
    pub(crate) fn order(&self, key: &[u8]) -> Vec<Arc<str>> {
        self.ring.order(key).map(|at| Arc::clone(&self.nodes[at].name)).collect()
    }
}

/// What may be spent on retries, in thousandths of one.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Relaxed: it is only a count.
    left: AtomicI64,
    each: i64,
}

impl Budget {
    const RETRY: i64 = 1000;
    /// What gathers while all goes well: ten retries.
    const MAX: i64 = 10 * Self::RETRY;

    fn new(ratio: f32) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "it is between 0 and 1000")]
        let each = (f64::from(ratio).clamp(0.0, 1.0) * 1000.0) as i64;
        Self { left: AtomicI64::new(Self::MAX), each }
    }

    pub(crate) fn deposit(&self) {
        // Several at a time may go beyond the maximum by a little, which hurts nobody.
        if self.left.load(Ordering::Relaxed) < Self::MAX {
            self.left.fetch_add(self.each, Ordering::Relaxed);
        }
    }

    fn withdraw(&self) -> bool {
        let take = |left: i64| (left >= Self::RETRY).then_some(left - Self::RETRY);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_tenth_of_the_calls_may_be_retries() {
        let budget = Budget::new(0.1);
        let mut n_retries = 0;
        for _ in 0..1000 {
            budget.deposit();
            n_retries += i32::from(budget.withdraw());
        }
        assert!((100..=111).contains(&n_retries), "{n_retries}");
    }

    /// Lists without end: what was there is gone, and calls go on.
    #[tokio::test]
    async fn a_thousand_lists_leave_nothing_behind() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let n_open = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let mut addresses = Vec::new();
        for _ in 0..3 {
            let listener = listen().await;
            addresses.push(listener.local_addr().unwrap());
            let n_open = Arc::clone(&n_open);
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let n_open = Arc::clone(&n_open);
                    n_open.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        let mut asked = [0; 1024];
                        while let Ok(n @ 1..) = stream.read(&mut asked).await {
                            let answer: &[u8] = match &asked[..n] {
                                b"version\r\n" => b"VERSION 1\r\n",
                                b"mn\r\n" => b"MN\r\n",
                                asked => {
                                    &b"EN\r\n".repeat(asked.split(|b| *b == b'\n').count() - 1)
                                }
                            };
                            if stream.write_all(answer).await.is_err() {
                                break;
                            }
                        }
                        n_open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
        }
        let spec = |n: usize, host: &str, weight: u16| {
            let place: ConnectAddr = addresses[n].to_string().parse().unwrap();
            let node = route::Node::new(host, addresses[n].port()).with_weight(weight);
            Spec { node, target: Target::of(place) }
        };
        tokio::task::yield_now().await;
        let runtime = tokio::runtime::Handle::current();
        let n_before = runtime.metrics().num_alive_tasks();
        let client = crate::Client::builder().timeout(Duration::from_secs(20)).start();
        client.shared.apply(0, &[spec(0, "a", 1)]);
        let calls: Vec<_> = (0..4)
            .map(|task| {
                let client = client.clone();
                tokio::spawn(async move {
                    for n in 0..500 {
                        client.get(format!("{task}:{n}")).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for n in 1..=1000_usize {
            let weight = u16::try_from(n % 5 + 1).unwrap();
            let moved = spec(n % 3, "a", weight);
            let all = [moved, spec(1, "b", 1), spec(2, &format!("c{}", n % 7), weight)];
            client.shared.apply(n as u64, &all[..n % 3 + 1]);
            if n % 4 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(client.nodes().len(), 1000 % 3 + 1);
        client.get("a").await.unwrap();
        drop(client);
        let until = Instant::now() + Duration::from_secs(10);
        let is_left =
            || n_open.load(Ordering::Relaxed) > 0 || runtime.metrics().num_alive_tasks() > n_before;
        while is_left() {
            assert!(Instant::now() < until, "{n_open:?} {}", runtime.metrics().num_alive_tasks());
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    /// One node, wherever it is.
    fn node_at(listener: &TcpListener) -> Spec {
        let place: ConnectAddr = listener.local_addr().unwrap().to_string().parse().unwrap();
        Spec { node: route::Node::new("a", 11211), target: Target::of(place) }
    }

    /// What is under way is not answered: the machine where the node was is dead.
    #[tokio::test]
    async fn a_node_that_moves_from_a_dead_machine_costs_a_call_one_time_limit() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (dead, alive) = (listen().await, listen().await);
        let limit = Duration::from_millis(300);
        let builder = crate::Client::builder().protocol(crate::Protocol::Text).timeout(limit);
        let client = builder.start();
        let mut events = client.events();
        client.shared.apply(0, &[node_at(&dead)]);
        let patient = client.with_timeout(Duration::from_secs(20));
        let waiting = tokio::spawn(async move { patient.delete("waits").await });
        let (mut stream, _) = dead.accept().await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        let moved = node_at(&alive);
        tokio::spawn(async move {
            let (mut stream, _) = alive.accept().await.unwrap();
            let mut asked = [0; 64];
            while let Ok(n @ 1..) = stream.read(&mut asked).await {
                let is_greeting = &asked[..n] == b"version\r\n";
                let answer = if is_greeting { "VERSION 1\r\n" } else { "NOT_FOUND\r\n" };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        client.shared.apply(1, &[moved]);
        let mut n_failed = 0;
        while client.delete("a").await.is_err() {
            n_failed += 1;
            assert!(n_failed <= 1, "{n_failed} calls have failed");
        }
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.is_closed() && error.is_ambiguous(), "{error}");
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, Event::Ejected { .. } | Event::Failed { .. }), "{event:?}");
        }
    }

    /// What is not yet connected goes where it is to go at once.
    #[tokio::test]
    async fn a_node_that_moves_while_it_is_away_is_connected_to_once() {
        let (gone, there) = (listen().await, listen().await);
        let first = node_at(&gone);
        drop(gone);
        let client = crate::Client::builder().protocol(crate::Protocol::Binary).start();
        let mut events = client.events();
        client.shared.apply(0, &[first]);
        while !matches!(events.recv().await, Ok(Event::Failed { .. })) {}
        client.shared.apply(1, &[node_at(&there)]);
        let answering = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};

            let (mut stream, _) = there.accept().await.unwrap();
            let mut noop = [0; 24];
            stream.read_exact(&mut noop).await.unwrap();
            noop[0] = 0x81;
            stream.write_all(&noop).await.unwrap();
            stream.read(&mut noop).await
        };
        let read = time::timeout(Duration::from_millis(300), answering).await;
        assert!(read.is_err(), "the connection stays: {read:?}");
    }
}
