//! How to connect, and within what limits.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nuthatch_discovery::{Source, SourceSpec};
use nuthatch_proto::client::Limits;
use nuthatch_transport::ConnectAddr;
use nuthatch_transport::tls::ClientTls;
use nuthatch_types::limits::VALUE_LEN_WIRE_MAX;

use crate::client::Client;
use crate::cluster::{Settings, Shared, Spec};
use crate::dial::{DialOptions, Target};
use crate::discover::{self, AutoDiscovery};
use crate::error::{Error, Kind};
use crate::event::{Events, Observer};
use crate::login::Login;
use crate::node::NodeOptions;
use crate::options::{Ejection, OnFailure, Protocol, Retry};
use crate::route::{self, Router};
use crate::time::TimeLimit;
use crate::url::{self, Nodes};

/// The settings of a [`Client`] to be.
///
/// ```no_run
/// use std::time::Duration;
///
/// use nuthatch_client::{Client, OnFailure, route::Router};
///
/// # async fn example() -> Result<(), nuthatch_client::Error> {
/// let cache = Client::builder()
///     .timeout(Duration::from_millis(250))
///     .router(Router::ketama_libmemcached_weighted())
///     .on_failure(OnFailure::NextInRing { max: 1 })
///     .connect("cache-1.example,cache-2.example:11212")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Builder {
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) queue_len: usize,
    pub(crate) value_bytes_max: usize,
    pub(crate) takes_any_key: bool,
    pub(crate) n_connections: usize,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) login: Option<Login>,
    pub(crate) router: Router,
    pub(crate) on_failure: OnFailure,
    pub(crate) ejection: Ejection,
    pub(crate) retry: Retry,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            connect_timeout: TIMEOUT_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            queue_len: QUEUE_LEN_DEFAULT,
            value_bytes_max: Limits::default().value_bytes_max,
            takes_any_key: false,
            n_connections: 1,
            protocol: Protocol::default(),
            tls: None,
            login: None,
            router: Router::default(),
            on_failure: OnFailure::default(),
            ejection: Ejection::default(),
            retry: Retry::default(),
            observer: None,
        }
    }
}

impl Builder {
    /// How long connecting may take, the look-up of the name included; 1 s without this. The first
    /// list of nodes from elsewhere may take five times as long, for it may be asked for at several
    /// places.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take, waiting for a place in the queue included; 1 s without this.
    /// `Duration::MAX` is no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many calls may wait to be sent; as many again may be sent and wait for their answers.
    /// A call beyond that waits for its turn, within its own time limit. 1024 without this; 0
    /// counts as 1.
    #[must_use]
    pub fn queue_len(mut self, len: usize) -> Self {
        self.queue_len = len.clamp(1, QUEUE_LEN_MAX);
        self
    }

    /// The largest value to send or to receive, in bytes; 64 MiB without this. The protocol
    /// carries no more than 2 GiB. See [`Error::is_too_large`] for what becomes of larger ones.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.value_bytes_max = bytes.min(VALUE_LEN_WIRE_MAX);
        self
    }

    /// Connects with TLS, to TCP addresses; a Unix socket stays plain. Without this nothing is
    /// encrypted.
    ///
    /// ```no_run
    /// use nuthatch_client::{Client, tls::ClientTls};
    ///
    /// # async fn example() -> Result<(), nuthatch_client::Error> {
    /// let tls = ClientTls::builder().roots("/etc/ssl/our-own-ca.pem").build()?;
    /// let cache = Client::builder().tls(tls).connect("cache.example:11211").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What is spoken; [`Protocol::Auto`] without this.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Who the client is: [`Credentials`](crate::Credentials), or a [`Login`] that has more to say.
    /// Nobody without this.
    #[must_use]
    pub fn login(mut self, login: impl Into<Login>) -> Self {
        self.login = Some(login.into());
        self
    }

    /// How many connections each node gets; 1 without this, at least 1. One carries any number of
    /// calls at once; several let calls pass large values that others wait for, since each call
    /// goes where the fewest are before it, and let more than one thread encrypt.
    #[must_use]
    pub fn connections_per_node(mut self, n: usize) -> Self {
        self.n_connections = n.clamp(1, CONNECTIONS_MAX);
        self
    }

    /// Takes keys of any bytes. The text protocols carry those with spaces and control bytes in
    /// base64, as meta commands, and no longer than 186 bytes; where the server knows no meta
    /// commands such calls fail with [`Error::is_key`]. Without this they always do, so that what
    /// one protocol carries every other does too.
    #[must_use]
    pub fn any_keys(mut self) -> Self {
        self.takes_any_key = true;
        self
    }

    /// How keys are dealt out among several nodes; [`Router::rendezvous`] without this. Clients
    /// that share a cluster must have the same.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// What becomes of a key whose node fails; [`OnFailure::Fail`] without this.
    #[must_use]
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// When a node counts as failed, and how it comes back.
    #[must_use]
    pub fn ejection(mut self, ejection: Ejection) -> Self {
        self.ejection = ejection;
        self
    }

    /// Whether calls are tried again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Who takes note of every call and event.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Connects to the nodes of a list with commas between: `host[:port[:weight]]` (port 11211
    /// where none is given; an IPv6 address with a port has brackets), or a Unix socket, whose path
    /// begins with `/` or `unix:`. One node is a list too.
    ///
    /// Or as a URL says, whose settings go before those made here:
    ///
    /// | URL | nodes |
    /// |---|---|
    /// | `memcached://[user:password@]host[:port[:weight]],…` | those |
    /// | `memcached://[user:password@]/path` | a Unix socket |
    /// | `memcached+discover://host:port,…` | what these tell: [`auto_discover`](Self::auto_discover) |
    /// | `memcached+dns://host:port` | the addresses of a name |
    /// | `memcached+srv://_memcached._tcp.name` | the SRV records of a name |
    /// | `memcached+etcd://host:port,…/prefix` | keys in etcd, with the feature `etcd` |
    /// | `memcached+etcds://host:port,…/prefix` | the same, with etcd asked over TLS |
    ///
    /// and the same with `memcacheds` over TLS, which etcd is then asked over too. A scheme alone
    /// turns TLS on with the machine's roots, or as [`tls`](Self::tls) has it.
    ///
    /// Settings stand behind a question mark with `&` between:
    ///
    /// | setting | value | see |
    /// |---|---|---|
    /// | `timeout` | `250ms`, `2s`, `1m`; a number alone is seconds | [`timeout`](Self::timeout) |
    /// | `connect_timeout` | the same | [`connect_timeout`](Self::connect_timeout) |
    /// | `protocol` | `auto`, `meta`, `text`, `binary` | [`Protocol`] |
    /// | `router` | a name, with a hash function where there is a choice: `ketama-twemproxy:fnv1a_64` | [`Router`] |
    /// | `on_failure` | `fail`, `miss`, `next`, `next:2` | [`OnFailure`] |
    /// | `connections` | a number | [`connections_per_node`](Self::connections_per_node) |
    /// | `queue` | a number | [`queue_len`](Self::queue_len) |
    /// | `value_bytes_max` | a number of bytes | [`value_bytes_max`](Self::value_bytes_max) |
    /// | `any_keys` | | [`any_keys`](Self::any_keys) |
    /// | `retries` | a number | [`Retry::max`] |
    /// | `eject_after` | a number | [`Ejection::failures`] |
    /// | `eject_after_timeouts` | a number | [`Ejection::timeouts`] |
    /// | `mechanisms` | `SCRAM-SHA-256,PLAIN` | [`Login::mechanisms`] |
    /// | `poll` | a time | [`AutoDiscovery::poll_every`] |
    /// | `endpoint_only` | | [`AutoDiscovery::endpoint_only`] |
    /// | `by_name` | | [`AutoDiscovery::by_name`], for any list that has names |
    /// | `discovery_dns` | `127.0.0.1:8600,…` (port 53 where none is given) | the DNS servers, in place of those of `/etc/resolv.conf` |
    /// | `discovery_login` | a file whose first line is `user:password` | who asks etcd |
    /// | `discovery_ca` | a file of PEM | who may sign etcd's certificate; without it the machine's roots |
    /// | `discovery_cert` | `chain.pem,key.pem`, or one file with both | what etcd is shown |
    /// | `ca` | a file of PEM | [`ClientTlsBuilder::roots`] |
    /// | `cert` | `chain.pem,key.pem`, or one file with both | [`ClientTlsBuilder::identity`] |
    /// | `server_name` | a name | [`ClientTlsBuilder::server_name`] |
    /// | `tls_min` | `1.2`, `1.3` | [`ClientTlsBuilder::min_version`] |
    /// | `danger_accept_any_name` | | [as it says](nuthatch_transport::tls::ClientTlsBuilder::danger_accept_any_name) |
    /// | `danger_accept_any_certificate` | | [as it says](nuthatch_transport::tls::ClientTlsBuilder::danger_accept_any_certificate) |
    ///
    /// Those without a value may have `true` (`yes`, `1`) or `false` (`no`, `0`). What is special in
    /// user, password, path or values is escaped with per cent signs. What is unknown, means nothing
    /// or would have no effect is refused. Files that are named are read on the spot, and those for
    /// etcd again whenever it is connected to anew.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), nuthatch_client::Error> {
    /// use nuthatch_client::Client;
    ///
    /// // What Consul has, from its own DNS server; at most 50 ms a call, and failures are misses.
    /// let url = "memcached+srv://_memcached._tcp.service.consul\
    ///            ?discovery_dns=127.0.0.1:8600&timeout=50ms&on_failure=miss";
    /// let cache = Client::connect(url).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`ClientTlsBuilder::roots`]: nuthatch_transport::tls::ClientTlsBuilder::roots
    /// [`ClientTlsBuilder::identity`]: nuthatch_transport::tls::ClientTlsBuilder::identity
    /// [`ClientTlsBuilder::server_name`]: nuthatch_transport::tls::ClientTlsBuilder::server_name
    /// [`ClientTlsBuilder::min_version`]: nuthatch_transport::tls::ClientTlsBuilder::min_version
    ///
    /// Waits until a connection to every node has been made or has failed. Spawns a task for each:
    /// the caller must be in a tokio runtime with I/O and time enabled, and the connections end
    /// with that runtime.
    ///
    /// Cancel safe: connections that are not returned are closed.
    ///
    /// # Errors
    ///
    /// [`Error::is_connect`] for an address or a URL that is none; and, if no node can be reached, for
    /// what the resolver, the system or TLS said, and for the time limit. [`Error::is_discovery`] if
    /// nobody tells in time who the nodes are. [`Error::is_login`] where the
    /// server does not take the credentials.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without I/O or time.
    pub async fn connect(&self, addresses: &str) -> Result<Client, Error> {
        if url::is_url(addresses) {
            let (builder, nodes) = url::read(addresses, self.clone())?;
            return match nodes {
                Nodes::List(list) => builder.connect_list(&list).await,
                Nodes::Auto(cluster) => builder.auto_discover(cluster).await,
                Nodes::Source { spec, access, is_by_name } => {
                    let spec: SourceSpec = spec.parse().map_err(Kind::Discovery)?;
                    let source = spec.open(&access).map_err(Kind::Discovery)?;
                    builder.follow(|_| source, is_by_name).await
                }
            };
        }
        self.connect_list(addresses).await
    }

    async fn connect_list(&self, addresses: &str) -> Result<Client, Error> {
        let specs: Vec<_> = addresses.split(',').map(spec).collect::<Result<_, _>>()?;
        let client = self.start();
        client.shared.apply(0, &specs);
        client.ready().await?;
        Ok(client)
    }

    /// Connects to the nodes of a cluster that tells who they are, and follows it as it changes.
    /// Nodes that stay keep their connections and the calls under way on them; those that go are
    /// drained.
    ///
    /// Waits for the first list, and then as [`connect`](Self::connect) does. Later a list that is
    /// older than the one in force is not taken, and while nobody answers the last one stays.
    ///
    /// Cancel safe, as there.
    ///
    /// # Errors
    ///
    /// [`Error::is_discovery`] if nobody tells in time; else as there.
    ///
    /// # Panics
    ///
    /// As there.
    pub async fn auto_discover(&self, cluster: AutoDiscovery) -> Result<Client, Error> {
        let is_by_name = cluster.is_by_name();
        let options = self.node_options();
        self.follow(|events| Box::new(cluster.source(options, events)), is_by_name).await
    }

    /// Connects to the nodes that a source of another kind tells, and follows it as it changes; see
    /// [`auto_discover`](Self::auto_discover). [`discovery`](crate::discovery) has such sources.
    ///
    /// ```no_run
    /// use nuthatch_client::Client;
    /// use nuthatch_client::discovery::{Access, SourceSpec};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let spec: SourceSpec = "etcds://etcd.example/cache".parse()?;
    /// let access = Access::default().login("reader", "S3cretPw").ca("/etc/ssl/our-own-ca.pem");
    /// let cache = Client::builder().discover(spec.open(&access)?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe, as there.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    pub async fn discover(&self, source: impl Source + 'static) -> Result<Client, Error> {
        self.follow(|_| Box::new(source), false).await
    }

    pub(crate) async fn follow(
        &self,
        source: impl FnOnce(&Events) -> Box<dyn Source>,
        is_by_name: bool,
    ) -> Result<Client, Error> {
        let client = self.start();
        let source = source(&client.shared.events);
        let following = nuthatch_discovery::follow(source, nuthatch_discovery::Limits::default());
        let patience = self.connect_timeout.saturating_mul(DISCOVERY_PATIENCE);
        let members = following.first(patience).await.map_err(Kind::Discovery)?;
        client.shared.apply(members.version(), &discover::specs(&members, is_by_name));
        discover::keep_up(Arc::downgrade(&client.shared), &following, is_by_name);
        // It is followed for as long as there is a client.
        client.shared.keep(following);
        client.ready().await?;
        Ok(client)
    }

    fn node_options(&self) -> NodeOptions {
        let limits = Limits { value_bytes_max: self.value_bytes_max, ..Limits::default() };
        let dial = DialOptions {
            connect_timeout: self.connect_timeout,
            limits,
            protocol: self.protocol,
            tls: self.tls.clone(),
            login: self.login.clone(),
        };
        NodeOptions {
            dial,
            timeout: self.timeout,
            ejection: self.ejection,
            queue_len: self.queue_len,
            n_connections: self.n_connections,
        }
    }

    /// A client without a node yet.
    pub(crate) fn start(&self) -> Client {
        let settings = Settings {
            router: self.router.clone(),
            node: self.node_options(),
            timeout: self.timeout,
            value_bytes_max: self.value_bytes_max,
            takes_any_key: self.takes_any_key,
            on_failure: self.on_failure,
            retry: self.retry,
        };
        let events = Events::new(self.observer.clone());
        let shared = Arc::new(Shared::new(settings, events));
        Client { shared, time: TimeLimit::Usual }
    }
}

impl Client {
    /// Waits for the first attempts to connect; one node that answers is enough.
    async fn ready(&self) -> Result<(), Error> {
        let topology = self.shared.topology();
        let mut all = join_all(topology.nodes.iter().map(|node| node.tried())).await;
        if all.iter().any(Result::is_ok) {
            return Ok(());
        }
        all.pop().unwrap_or_else(|| Err(Kind::NoNode.into()))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("connect_timeout", &self.connect_timeout)
            .field("timeout", &self.timeout)
            .field("queue_len", &self.queue_len)
            .field("protocol", &self.protocol)
            .field("login", &self.login)
            .field("router", &self.router)
            .field("on_failure", &self.on_failure)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Reads `host[:port[:weight]]` or the path of a socket.
pub(crate) fn spec(text: &str) -> Result<Spec, Error> {
    let text = text.trim();
    let is_path = text.starts_with('/') || text.starts_with("unix:");
    if !is_path && text.contains('@') {
        // What stands before it is not for errors to show.
        return Err(Kind::Url("user and password need memcached:// before them".to_owned()).into());
    }
    let (place, weight) = split_weight(text)?;
    let address: ConnectAddr = place.parse().map_err(Kind::Address)?;
    let node = match &address {
        ConnectAddr::Tcp { host, port } => route::Node::new(host.as_str(), *port),
        ConnectAddr::Unix(path) => route::Node::new(path.display().to_string(), 0),
    };
    Ok(Spec { node: node.with_weight(weight), target: Target::of(address) })
}

/// `host:port:weight` has two colons and no more, unless its host is in brackets.
fn split_weight(text: &str) -> Result<(&str, u16), Kind> {
    let host_end = text.rfind(']').unwrap_or(0);
    let is_path = text.starts_with('/') || text.starts_with("unix:");
    let has_weight =
        !is_path && text[host_end..].matches(':').count() == 2 && text.parse::<Ipv6Addr>().is_err();
    match text.rsplit_once(':') {
        Some((place, weight)) if has_weight => match weight.parse() {
            Ok(weight) => Ok((place, weight)),
            Err(_) => Err(Kind::Url(format!("\"{weight}\" is no weight"))),
        },
        _ => Ok((text, 1)),
    }
}

/// A cache that takes longer than this is worth no waiting: what it saves is seldom slower.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// At 100 µs a round trip it is ten million calls a second, so that the queue is never what limits
/// the connection; as waiting values of 1 KiB it is 1 MiB.
const QUEUE_LEN_DEFAULT: usize = 1024;

/// What the runtime's channels can hold is far more on 64 bits, but not on 32.
const QUEUE_LEN_MAX: usize = 1 << 24;

/// How many connect times the first list may take: several endpoints, of several addresses each.
const DISCOVERY_PATIENCE: u32 = 5;

/// Each costs a task, a socket and buffers at both ends.
const CONNECTIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read() {
        let read = |text| {
            let spec = spec(text).unwrap();
            (spec.node.host().to_owned(), spec.node.port(), spec.node.weight())
        };
        assert_eq!(read("cache"), ("cache".to_owned(), 11211, 1));
        assert_eq!(read(" cache:5 "), ("cache".to_owned(), 5, 1));
        assert_eq!(read("cache:5:7"), ("cache".to_owned(), 5, 7));
        assert_eq!(read("[::1]:5:7"), ("::1".to_owned(), 5, 7));
        assert_eq!(read("::1"), ("::1".to_owned(), 11211, 1));
        assert_eq!(read("[::1]:5"), ("::1".to_owned(), 5, 1));
        assert_eq!(read("/run/a:1:2"), ("/run/a:1:2".to_owned(), 0, 1));
        assert!(spec("").is_err() && spec("a:b").is_err() && spec("a:1:x").is_err());
    }
}
