//! Clusters whose nodes tell their clients who they are: ElastiCache, Memorystore, and nuthatch
//! with `-o discovery`.
//!
//! ```text
//!   AutoDiscovery ─> Asking (a source) ── config get cluster ──> an endpoint, a node
//!                      │    <── version, host|address|port … ──
//!                      v
//!                    follow: versions only grow, the last good list stays
//!                      v
//!                    Shared::apply
//! ```

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nuthatch_discovery::{Following, Members, Next, Source, SourceError, State, View};
use nuthatch_transport::ConnectAddr;
use nuthatch_types::{ClusterConfig, Key};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{self, Instant};

use crate::call::{Ask, Reply};
use crate::cluster::{Shared, Spec};
use crate::dial::Target;
use crate::error::{Error, Kind};
use crate::event::{Event, Events};
use crate::node::{Node, NodeOptions};
use crate::route;
use crate::time::Deadline;

/// Where to ask who the nodes of a cluster are, and how often; for
/// [`Builder::auto_discover`](crate::Builder::auto_discover).
///
/// ```no_run
/// use std::time::Duration;
///
/// use nuthatch_client::{AutoDiscovery, Client, route::Router};
///
/// # async fn example() -> Result<(), nuthatch_client::Error> {
/// let cluster = AutoDiscovery::at("my.cfg.use1.cache.amazonaws.com:11211")?;
/// let cache = Client::builder()
///     .router(Router::ketama_libmemcached_weighted())
///     .auto_discover(cluster.poll_every(Duration::from_secs(30)))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AutoDiscovery {
    endpoints: Vec<ConnectAddr>,
    poll_every: Duration,
    is_endpoint_only: bool,
    is_by_name: bool,
}

impl AutoDiscovery {
    /// Asks these, `host[:port]` with commas between: the cluster's configuration endpoint, or any
    /// of its nodes.
    ///
    /// # Errors
    ///
    /// [`Error::is_connect`] for an address that is none.
    pub fn at(endpoints: &str) -> Result<Self, Error> {
        let endpoints = endpoints.split(',').map(|text| text.trim().parse().map_err(Kind::Address));
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            poll_every: POLL_DEFAULT,
            is_endpoint_only: false,
            is_by_name: false,
        })
    }

    /// How often to ask; 60 s without this. Each time a random part of up to a tenth is left out,
    /// so that many clients do not ask at once. When a node is ejected it is asked after a second,
    /// and then in intervals that double until they are as before.
    pub fn poll_every(mut self, time: Duration) -> Self {
        self.poll_every = time.max(POLL_MIN);
        self
    }

    /// Asks the endpoints only, where they are not nodes themselves: Memorystore. Without this the
    /// nodes are asked by turns, and the endpoints, whose names are looked up anew each time, when
    /// they do not answer.
    pub fn endpoint_only(mut self) -> Self {
        self.is_endpoint_only = true;
        self
    }

    /// Connects to the nodes' names. Without this to the addresses that the list has for them, and
    /// to their names if that fails.
    pub fn by_name(mut self) -> Self {
        self.is_by_name = true;
        self
    }

    pub(crate) fn is_by_name(&self) -> bool {
        self.is_by_name
    }

    /// The events are those of the client that is to follow.
    pub(crate) fn source(self, options: NodeOptions, events: &Events) -> Asking {
        let events = events.subscribe();
        Asking {
            settings: self,
            options,
            events,
            nodes: Vec::new(),
            turn: 0,
            is_told: false,
            hurry: None,
        }
    }
}

/// Asks one after the other.
#[derive(Debug)]
pub(crate) struct Asking {
    settings: AutoDiscovery,
    /// As the cluster's own connections, login and TLS included.
    options: NodeOptions,
    events: broadcast::Receiver<Event>,
    /// The nodes of the last list.
    nodes: Vec<Target>,
    /// Which of them is asked first; modulo their number.
    turn: usize,
    /// Whether the last answer was a list. After a failure the next one is wanted as soon as the
    /// follower asks for it.
    is_told: bool,
    /// The next pause, if that is to be shorter than usual.
    hurry: Option<Duration>,
}

impl Source for Asking {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async {
            if self.is_told {
                self.pause().await;
            }
            let polled = self.poll().await;
            self.is_told = polled.is_ok();
            self.turn = self.turn.wrapping_add(1);
            polled
        })
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self.settings.endpoints.iter().map(ToString::to_string).collect();
        format!("auto-discovery at {}", names.join(", "))
    }
}

impl Asking {
    /// Waits until it is time to ask again. A node that has failed may have left, which the others
    /// know at once or when it has not been heard of for a while; until the client knows it too the
    /// keys of that node are lost.
    async fn pause(&mut self) {
        let usual = self.settings.poll_every;
        let pause = self.hurry.map_or(usual, |pause| pause.min(usual));
        // Many clients do not ask at once.
        let jittered = |pause: Duration| pause - pause.mul_f64(fastrand::f64() / 10.0);
        let mut until = Instant::now() + jittered(pause);
        self.hurry = self.hurry.map(|pause| pause * 2).filter(|pause| *pause < usual);
        loop {
            tokio::select! {
                () = time::sleep_until(until) => return,
                event = self.events.recv() => match event {
                    Ok(Event::Ejected { .. }) => {
                        until = until.min(Instant::now() + jittered(HURRY.min(usual)));
                        self.hurry = Some(HURRY * 2).filter(|pause| *pause < usual);
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    // The client is gone, and soon so is this.
                    Err(RecvError::Closed) => return time::sleep_until(until).await,
                },
            }
        }
    }

    /// Asks up to two nodes, and then the endpoints.
    async fn poll(&mut self) -> Result<Members, SourceError> {
        let mut targets = Vec::new();
        if !self.settings.is_endpoint_only && !self.nodes.is_empty() {
            let first = self.turn % self.nodes.len();
            targets.extend(self.nodes.iter().cycle().skip(first).take(self.nodes.len().min(2)));
        }
        let endpoints: Vec<_> = self.settings.endpoints.iter().cloned().map(Target::of).collect();
        targets.extend(&endpoints);
        let mut last_error = SourceError::Empty;
        for target in targets {
            match self.ask(target).await {
                Ok(config) if config.nodes().is_empty() => last_error = SourceError::Empty,
                Ok(config) => {
                    let members = Members::from(&config);
                    self.nodes = specs(&members, self.settings.is_by_name)
                        .into_iter()
                        .map(|spec| spec.target)
                        .collect();
                    return Ok(members);
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Asks over a connection of its own, which is closed then.
    async fn ask(&self, target: &Target) -> Result<ClusterConfig, SourceError> {
        let name: Arc<str> = target.address.to_string().into();
        let said = |error: Error| format!("{}: {error}", target.address);
        let unreachable = |error: Error| SourceError::Unreachable(said(error));
        let options = NodeOptions { n_connections: 1, ..self.options.clone() };
        // What becomes of this connection is told by what becomes of the list.
        let node = Node::spawn(name, target.clone(), &options, &Events::default());
        node.tried().await.map_err(|error| {
            if error.is_login() { SourceError::Refused(said(error)) } else { unreachable(error) }
        })?;
        let until = || Deadline::after(options.dial.connect_timeout);
        let key = |name: &str| match Key::new(name) {
            Ok(key) => Ok(key.to_buf()),
            Err(error) => Err(SourceError::Setting(error.to_string())),
        };
        let config = Arc::new(Ask::Config(key(ClusterConfig::NAME)?));
        let payload = match node.call(&config, until()).await {
            Ok(Reply::Config(payload)) => payload,
            Err(error) if error.is_refused() || error.is_unsupported() => None,
            Err(error) => return Err(unreachable(error)),
            Ok(other) => return Err(SourceError::Answer(format!("{other:?}"))),
        };
        let payload = match payload {
            Some(payload) => payload,
            None => {
                // Engines before 1.4.14 have it as an item.
                let get = Arc::new(Ask::Get { key: key(ClusterConfig::ITEM_KEY)?, exptime: None });
                match node.call(&get, until()).await.map_err(unreachable)? {
                    Reply::Item(Some(item)) => item.value,
                    _ => {
                        return Err(SourceError::Answer(format!(
                            "{} has none for `config get {}`, and no item {}",
                            target.address,
                            ClusterConfig::NAME,
                            ClusterConfig::ITEM_KEY
                        )));
                    }
                }
            }
        };
        let wrong = |error| SourceError::Answer(format!("{}: {error}", target.address));
        ClusterConfig::parse(&payload).map_err(wrong)
    }
}

/// The nodes of a list, and where to connect to.
pub(crate) fn specs(members: &Members, is_by_name: bool) -> Vec<Spec> {
    let spec = |member: &nuthatch_discovery::Member| {
        let (host, port) = member.identity();
        let weight = u16::try_from(member.weight()).unwrap_or(u16::MAX);
        let mut node = route::Node::new(host, port).with_weight(weight);
        let by_name = ConnectAddr::Tcp { host: host.to_owned(), port };
        let mut target = Target::of(by_name.clone());
        if let Some(address) = member.node().address() {
            node = node.with_address(address);
            if !is_by_name && address != host {
                target.address = ConnectAddr::Tcp { host: address.to_owned(), port };
                target.other = Some(by_name);
            }
        }
        target.tls_name = Some(member.tls_name().unwrap_or(host).into());
        Spec { node, target }
    };
    members.members().iter().map(spec).collect()
}

/// Puts lists in force as they come, for as long as there is a client.
pub(crate) fn keep_up(shared: Weak<Shared>, following: &Following, is_by_name: bool) {
    let mut views = following.watch();
    let mut last = None;
    // The list that is there already is looked at first.
    views.mark_changed();
    tokio::spawn(async move {
        // The sender goes with the client.
        while views.changed().await.is_ok() {
            let View { members, state, .. } = views.borrow_and_update().clone();
            let Some(shared) = shared.upgrade() else { return };
            if let Some(members) = members
                && last.as_ref() != Some(&members)
            {
                shared.apply(members.version(), &specs(&members, is_by_name));
                last = Some(members);
            }
            if let State::Stale { error, .. } = state {
                shared.events.send(Event::DiscoveryFailed { reason: error.to_string() });
            }
        }
    });
}

impl fmt::Display for AutoDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, endpoint) in self.endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// As other clients of these services.
const POLL_DEFAULT: Duration = Duration::from_secs(60);

/// The pause when a node has been ejected; it doubles until it is what it was.
const HURRY: Duration = Duration::from_secs(1);

/// Less would be a load on the nodes.
const POLL_MIN: Duration = Duration::from_millis(100);
