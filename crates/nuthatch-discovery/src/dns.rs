//! Members from DNS: the addresses of a name, or the services that it has.
//!
//! DNS has no version of a list, so each who asks makes one: the second, since 1970, at which it
//! first saw this list, and more than the one before in any case. So the versions of one process grow,
//! over restarts too as long as its clock does not go back. Two who ask see a change at different
//! times, up to a life span of the records apart, and give it versions that differ by as much; the
//! one with the higher version has seen the same list or a newer one, except where one was started
//! on a resolver that still had the list of before. Such a one is right again after one life span.
//! Clocks that differ make versions differ: a client keeps the list of the node whose clock is
//! ahead until the others have come as far.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, rdata::SRV},
};
use nuthatch_types::Node;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{Member, Members, Next, Source, SourceError, clock};

/// Asks DNS, again and again.
///
/// With a [name and a port](Self::addresses) every address of the name is a member (A records;
/// AAAA where there are none). Its identity is the address, so a node that comes back with another one is another
/// node.
///
/// With the [name of a service](Self::services) every target of its SRV records is one, by its own name:
/// what Kubernetes has for a headless service, and Consul for any. Of the records only those with
/// the lowest priority count; their weights are the members', divided by what they have in common.
/// The addresses of the targets are looked up too, for those who want them in the list.
///
/// It is asked again when the first record has expired, though not before the floor and not later
/// than the ceiling of [`refresh_between`](Self::refresh_between).
pub struct Dns {
    name: String,
    /// The port of each address; `None` asks for SRV records.
    port: Option<u16>,
    servers: Vec<SocketAddr>,
    floor: Duration,
    ceiling: Duration,
    resolver: Option<TokioResolver>,
    due: Option<Instant>,
    last: Option<Members>,
}

impl Dns {
    /// The members are the addresses of a name, all with this port.
    pub fn addresses(name: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            port: Some(port),
            servers: Vec::new(),
            floor: REFRESH_MIN,
            ceiling: REFRESH_MAX,
            resolver: None,
            due: None,
            last: None,
        }
    }

    /// The members are the targets of a service, such as `_memcached._tcp.cache.example`.
    pub fn services(name: impl Into<String>) -> Self {
        Self { port: None, ..Self::addresses(name, 0) }
    }

    /// Asks these servers, and not those of `/etc/resolv.conf`.
    #[must_use]
    pub fn at(mut self, servers: Vec<SocketAddr>) -> Self {
        self.servers = servers;
        self
    }

    /// The shortest and the longest time between two questions, whatever the records say; 5 s and
    /// 60 s by default.
    #[must_use]
    pub fn refresh_between(mut self, floor: Duration, ceiling: Duration) -> Self {
        self.floor = floor;
        self.ceiling = ceiling.max(floor);
        self
    }

    async fn ask(&mut self) -> Result<Members, SourceError> {
        if let Some(due) = self.due {
            sleep_until(due).await;
            self.due = None;
        }
        if self.resolver.is_none() {
            self.resolver = Some(resolver(&self.servers)?);
        }
        let Some(resolver) = &self.resolver else {
            return Err(SourceError::Setting("no resolver".to_owned()));
        };
        let asked = timeout(ANSWER_WITHIN, async {
            match self.port {
                Some(port) => addresses(resolver, &self.name, port).await,
                None => services(resolver, &self.name, self.last.as_ref()).await,
            }
        });
        let Ok(answer) = asked.await else {
            return Err(SourceError::Unreachable("no answer in time".to_owned()));
        };
        let (mut members, valid_for) = match answer {
            Ok(found) => found,
            Err(error) => {
                // The settings may be others by then, or the network.
                self.resolver = None;
                return Err(error);
            }
        };
        // Of two with one name and port the same one stays, however the server turns its answers.
        members.sort();
        self.due = Some(Instant::now() + valid_for.clamp(self.floor, self.ceiling));
        let version = match &self.last {
            Some(last) if Members::new(last.version(), members.clone()) == *last => last.version(),
            Some(last) => clock::unix_seconds().max(last.version() + 1),
            None => clock::unix_seconds(),
        };
        let members = Members::new(version, members);
        self.last = Some(members.clone());
        Ok(members)
    }
}

impl Source for Dns {
    fn next(&mut self) -> Next<'_> {
        Box::pin(self.ask())
    }

    fn describe(&self) -> String {
        match self.port {
            Some(port) => format!("DNS name {}:{port}", self.name),
            None => format!("DNS service {}", self.name),
        }
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns")
            .field("name", &self.name)
            .field("port", &self.port)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, SourceError> {
    let setting = |error: NetError| SourceError::Setting(format!("cannot ask DNS: {error}"));
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(setting)?
    } else {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // What it remembers would be asked for again when it has expired.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    builder.build().map_err(setting)
}

async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    port: u16,
) -> Result<(Vec<Member>, Duration), SourceError> {
    let found = resolver.lookup_ip(name).await.map_err(unanswered)?;
    let valid_for = valid_for(found.as_lookup().valid_until());
    let members = found.iter().map(|address| {
        let address = address.to_string();
        Ok(Member::new(node(&address, &address, port)?).with_tls_name(name))
    });
    Ok((members.collect::<Result<_, _>>()?, valid_for))
}

async fn services(
    resolver: &TokioResolver,
    name: &str,
    last: Option<&Members>,
) -> Result<(Vec<Member>, Duration), SourceError> {
    let found = resolver.srv_lookup(name).await.map_err(unanswered)?;
    let mut valid_for = valid_for(found.valid_until());
    let services: Vec<&SRV> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) => Some(service),
            _ => None,
        })
        .collect();
    let first = services.iter().map(|service| service.priority).min();
    let services: Vec<_> =
        services.into_iter().filter(|service| Some(service.priority) == first).collect();
    // Who shall get hardly anything gets the least.
    let weight = |service: &SRV| u32::from(service.weight).max(1);
    let unit = services.iter().map(|service| weight(service)).fold(0, gcd).max(1);
    // Most servers tell the addresses with the records.
    let mut told: BTreeMap<&Name, BTreeSet<IpAddr>> = BTreeMap::new();
    for record in found.additionals() {
        if let Some(address) = record.data.ip_addr() {
            told.entry(&record.name).or_default().insert(address);
        }
    }
    let unknown = services.iter().map(|service| &service.target);
    let unknown: BTreeSet<_> = unknown.filter(|target| !told.contains_key(target)).collect();
    let asked = looked_up(resolver, unknown.into_iter().cloned().collect()).await;
    let mut members = Vec::with_capacity(services.len());
    for service in services {
        let (host, port) = (host_of(&service.target), service.port);
        // IPv4 comes first; of several the lowest, so that it is the same one each time.
        let lowest = |all: &BTreeSet<IpAddr>| all.first().map(ToString::to_string);
        let address = match (told.get(&service.target), asked.get(&service.target)) {
            (Some(told), _) => lowest(told),
            (_, Some((asked, until))) => {
                valid_for = valid_for.min(*until);
                lowest(asked)
            }
            // Nobody answered for this one: the others are none the worse, and it is where it was.
            (None, None) => last
                .and_then(|last| last.find((&host, port)))
                .and_then(|member| member.node().address().map(str::to_owned)),
        };
        let node = node(&host, &address.unwrap_or_default(), port)?;
        members.push(Member::new(node).with_weight(weight(service) / unit));
    }
    Ok((members, valid_for))
}

/// The addresses of names, and for how long they hold. A name that has none has an empty set; one
/// for which nobody answers in time has nothing.
async fn looked_up(
    resolver: &TokioResolver,
    names: Vec<Name>,
) -> BTreeMap<Name, (BTreeSet<IpAddr>, Duration)> {
    let turns = Arc::new(Semaphore::new(LOOKUPS_AT_ONCE));
    let mut lookups = JoinSet::new();
    for name in names {
        let (resolver, turns) = (resolver.clone(), Arc::clone(&turns));
        lookups.spawn(async move {
            let _turn = turns.acquire().await.ok()?;
            match resolver.lookup_ip(name.clone()).await {
                Ok(found) => {
                    let until = valid_for(found.as_lookup().valid_until());
                    Some((name, (found.iter().collect(), until)))
                }
                Err(error) if error.is_no_records_found() => {
                    Some((name, (BTreeSet::new(), Duration::MAX)))
                }
                Err(_) => None,
            }
        });
    }
    let mut found = BTreeMap::new();
    let all = async {
        while let Some(done) = lookups.join_next().await {
            found.extend(done.ok().flatten());
        }
    };
    // What is not there by then is not waited for.
    let _ = timeout(ADDRESSES_WITHIN, all).await;
    found
}

/// A target as a name for everybody: in the letters of DNS, whichever case a server has it in.
fn host_of(target: &Name) -> String {
    target.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn node(host: &str, address: &str, port: u16) -> Result<Node, SourceError> {
    Node::new(host, address, port)
        .map_err(|error| SourceError::Answer(format!("{host}|{address}|{port}: {error}")))
}

fn valid_for(until: std::time::Instant) -> Duration {
    Instant::from_std(until).saturating_duration_since(Instant::now())
}

fn unanswered(error: NetError) -> SourceError {
    if error.is_no_records_found() {
        return SourceError::Empty;
    }
    SourceError::Unreachable(error.to_string())
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How soon DNS is asked again at the earliest, and at the latest.
const REFRESH_MIN: Duration = Duration::from_secs(5);
const REFRESH_MAX: Duration = Duration::from_secs(60);

/// How long an answer may take, with the addresses of all targets.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long those may take alone, and how many are asked for at a time.
const ADDRESSES_WITHIN: Duration = Duration::from_secs(4);
const LOOKUPS_AT_ONCE: usize = 16;
