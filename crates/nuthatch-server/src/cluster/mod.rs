//! Auto-discovery: the lists that `config get` tells, and who writes them.
//!
//! ```text
//!   config set, config delete ──► Cluster ──► config get, the mirror key, stats
//!     (from whom it may come)       ▲  one name belongs to the source
//!                                   │
//!   discovery::follow ── list ──────┘  thread `cluster`
//! ```
//!
//! A configuration is a name and bytes that nobody looks into: what a client stores is told as it
//! was stored. One name, `cluster` by default, belongs to the source of members if there is one, and
//! nobody else writes it then.

mod advertise;
mod thread;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use nuthatch_discovery::{Members, State, View};
use nuthatch_proto::Config;
use nuthatch_transport::{Networks, Peer};
use nuthatch_types::{ClusterConfig, ItemFlags, Key};
use parking_lot::RwLock;

pub use advertise::advertised;
pub use thread::ClusterThread;

/// The lists of a server, shared by its workers. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: ClusterRules,
    configurations: RwLock<BTreeMap<Box<[u8]>, Configuration>>,
    /// What the source says, and what it is; none where there is no source.
    source: RwLock<Option<Sourced>>,
    n_get: AtomicU64,
    n_set: AtomicU64,
    n_changes: AtomicU64,
    n_refused: AtomicU64,
}

/// A source of members, for `stats cluster`.
#[derive(Clone, Debug)]
pub(crate) struct Sourced {
    pub(crate) what: String,
    pub(crate) view: View,
    /// Whether this server is in the list by its own doing, and if not, why.
    pub(crate) joined: Option<Result<(), String>>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) flags: ItemFlags,
    pub(crate) payload: Arc<[u8]>,
}

/// Who may change what.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterRules {
    name: Box<[u8]>,
    allow: Networks,
    mirrors: bool,
}

impl Default for ClusterRules {
    /// `cluster`, this machine alone, and the mirror.
    fn default() -> Self {
        let name = ClusterConfig::NAME.as_bytes().into();
        Self { name, allow: Networks::default(), mirrors: true }
    }
}

impl ClusterRules {
    /// The name under which members are listed, `cluster` by default.
    pub fn name(mut self, name: Key<'_>) -> Self {
        self.name = name.as_bytes().into();
        self
    }

    /// From where lists may be changed, besides this machine: its loopback addresses and Unix
    /// sockets.
    pub fn allow(mut self, networks: Networks) -> Self {
        self.allow = networks;
        self
    }

    /// Whether who gets the item [`MIRROR_KEY`] is told the list of members, once there is one, and
    /// not what somebody has stored there. On by default.
    pub fn mirrors(mut self, mirrors: bool) -> Self {
        self.mirrors = mirrors;
        self
    }
}

/// The key under which old clients look for the list of members.
pub const MIRROR_KEY: &str = ClusterConfig::ITEM_KEY;

/// The most configurations (`config_max` of ElastiCache).
const CONFIGURATIONS_MAX: usize = 16;

/// How much of a payload is logged.
const LOGGED_LEN_MAX: usize = 400;

const NOT_ALLOWED: &str = "CLIENT_ERROR permission denied";
const HAS_A_SOURCE: &str = "CLIENT_ERROR the list comes from its source";
const NO_NAME: &str = "CLIENT_ERROR bad command line format";
const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
const TOO_MANY: &str = "SERVER_ERROR out of memory storing object";

impl Default for Cluster {
    fn default() -> Self {
        Self::new(ClusterRules::default())
    }
}

impl Cluster {
    /// Without any list.
    pub fn new(rules: ClusterRules) -> Self {
        Self(Arc::new(Inner {
            rules,
            configurations: RwLock::default(),
            source: RwLock::default(),
            n_get: AtomicU64::new(0),
            n_set: AtomicU64::new(0),
            n_changes: AtomicU64::new(0),
            n_refused: AtomicU64::new(0),
        }))
    }

    /// Calls with each configuration of that name, or of any.
    pub(crate) fn each(
        &self,
        name: Option<Key<'_>>,
        mut tell: impl FnMut(Key<'_>, &Configuration),
    ) {
        self.0.n_get.fetch_add(1, Relaxed);
        let all = self.0.configurations.read();
        for (stored, configuration) in all.iter() {
            if let Ok(stored) = Key::binary(stored)
                && name.is_none_or(|name| name.as_bytes() == stored.as_bytes())
            {
                tell(stored, configuration);
            }
        }
    }

    /// What the mirror key stands for, if `key` is that and there is a list.
    pub(crate) fn mirrored(&self, key: Key<'_>) -> Option<Configuration> {
        if key.as_bytes() != MIRROR_KEY.as_bytes() || !self.0.rules.mirrors {
            return None;
        }
        self.0.configurations.read().get(&self.0.rules.name).cloned()
    }

    /// Stores a configuration for a client, or gives the line that says why not.
    pub(crate) fn set(
        &self,
        who: Option<&Peer>,
        name: Key<'_>,
        flags: ItemFlags,
        payload: &[u8],
    ) -> Result<(), &'static str> {
        self.may_change(who, name)?;
        // A frame may bring one that would be an answer of its own on a line.
        if Key::new(name.as_bytes()).is_err() {
            return Err(NO_NAME);
        }
        if payload.len() > Config::LEN_MAX {
            return Err(TOO_LARGE);
        }
        let mut all = self.0.configurations.write();
        if all.len() >= CONFIGURATIONS_MAX && !all.contains_key(name.as_bytes()) {
            return Err(TOO_MANY);
        }
        all.insert(name.as_bytes().into(), Configuration { flags, payload: payload.into() });
        drop(all);
        self.0.n_set.fetch_add(1, Relaxed);
        let shown = payload[..payload.len().min(LOGGED_LEN_MAX)].escape_ascii();
        tracing::info!("config set {} by {}: {shown}", name.as_bytes().escape_ascii(), Who(who));
        Ok(())
    }

    /// Removes a configuration for a client and says whether there was one, or gives the line that
    /// says why not.
    pub(crate) fn delete(&self, who: Option<&Peer>, name: Key<'_>) -> Result<bool, &'static str> {
        self.may_change(who, name)?;
        let found = self.0.configurations.write().remove(name.as_bytes()).is_some();
        if found {
            tracing::info!("config delete {} by {}", name.as_bytes().escape_ascii(), Who(who));
        }
        Ok(found)
    }

    fn may_change(&self, who: Option<&Peer>, name: Key<'_>) -> Result<(), &'static str> {
        // Over UDP nobody is at the other end whose address would be known.
        let is_allowed = match who {
            Some(Peer::Unix) => true,
            Some(Peer::Tcp(address)) => self.0.rules.allow.contain_or_loopback(*address),
            _ => false,
        };
        if !is_allowed {
            // Who may not must not be able to fill a log either.
            let n_refused = self.0.n_refused.fetch_add(1, Relaxed) + 1;
            if n_refused.is_power_of_two() {
                let shown = name.as_bytes().escape_ascii();
                tracing::warn!(
                    "config set or delete {shown} by {}: not allowed ({n_refused} since the start)",
                    Who(who)
                );
            }
            return Err(NOT_ALLOWED);
        }
        let is_sourced = self.0.source.read().is_some();
        if is_sourced && name.as_bytes() == &*self.0.rules.name {
            return Err(HAS_A_SOURCE);
        }
        Ok(())
    }

    /// How many configurations were asked for and stored, and how many there are.
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        let n_stored = self.0.configurations.read().len();
        (self.0.n_get.load(Relaxed), self.0.n_set.load(Relaxed), n_stored)
    }

    pub(crate) fn reset_counts(&self) {
        self.0.n_get.store(0, Relaxed);
        self.0.n_set.store(0, Relaxed);
    }

    /// What the source says, and how often the list has changed since the start.
    pub(crate) fn sourced(&self) -> (Option<Sourced>, u64) {
        (self.0.source.read().clone(), self.0.n_changes.load(Relaxed))
    }

    /// From now on the source's list is the one under its name.
    fn set_source(&self, what: String, view: View) {
        *self.0.source.write() = Some(Sourced { what, view, joined: None });
        self.0.configurations.write().remove(&self.0.rules.name);
    }

    /// Whether this server is in the list by its own doing.
    fn set_joined(&self, joined: Result<(), String>) {
        let mut source = self.0.source.write();
        let Some(sourced) = source.as_mut() else { return };
        let before = sourced.joined.replace(joined.clone());
        let what = sourced.what.clone();
        drop(source);
        match (before, joined) {
            (Some(Err(_)), Ok(())) => tracing::warn!("registered in {what}"),
            // The first word is that nothing has been asked yet.
            (Some(_), Err(why)) => tracing::warn!("not registered in {what}: it {why}"),
            _ => {}
        }
    }

    /// Takes what the source says, and logs what is new in it.
    fn take(&self, view: View) {
        let mut source = self.0.source.write();
        let Some(sourced) = source.as_mut() else { return };
        let before = std::mem::replace(&mut sourced.view, view.clone());
        let what = sourced.what.clone();
        drop(source);
        log_state(&what, &before.state, &view);
        let Some(members) = view.members else { return };
        if before.members.as_ref() == Some(&members) {
            return;
        }
        log_changes(&what, before.members.as_deref(), &members);
        self.0.n_changes.fetch_add(1, Relaxed);
        let payload = members.to_config().to_string();
        if payload.len() > Config::LEN_MAX {
            tracing::warn!(
                "the list of {} members has {} bytes, more than clients take: the one before stays",
                members.len(),
                payload.len()
            );
            return;
        }
        let configuration =
            Configuration { flags: ItemFlags(0), payload: payload.into_bytes().into() };
        self.0.configurations.write().insert(self.0.rules.name.clone(), configuration);
    }
}

fn log_state(what: &str, before: &State, view: &View) {
    match (before, &view.state) {
        (State::Stale { .. }, State::Fresh) => tracing::warn!("{what} answers again"),
        (_, State::Stale { error, .. }) if view.members.is_some() => {
            tracing::warn!("{what} {error}; the list of members stays as it was");
        }
        (_, State::Stale { error, .. }) => tracing::warn!("{what} {error}; there is no list yet"),
        _ => {}
    }
}

fn log_changes(what: &str, before: Option<&Members>, members: &Members) {
    let nobody = Members::default();
    let before = before.unwrap_or(&nobody);
    let (n, version) = (members.len(), members.version());
    tracing::warn!("{what}: {n} members in version {version}");
    for member in members.missing_in(before) {
        tracing::info!("{member} has joined");
    }
    for member in before.missing_in(members) {
        tracing::info!("{member} has left");
    }
    for member in members.members() {
        if before.find(member.identity()).is_some_and(|old| old != member) {
            tracing::info!("{member} has changed");
        }
    }
}

/// Somebody, for the log.
struct Who<'a>(Option<&'a Peer>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.fmt(f),
            None => f.write_str("somebody"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    fn set(cluster: &Cluster, who: Option<&Peer>, name: &str) -> Result<(), &'static str> {
        cluster.set(who, Key::new(name).unwrap(), ItemFlags(0), b"1\n\n")
    }

    #[test]
    fn changes_come_from_this_machine_or_from_where_they_may() {
        let cluster = Cluster::default();
        assert_eq!(set(&cluster, Some(&Peer::Unix), "cluster"), Ok(()));
        for here in ["127.0.0.1:9", "127.8.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(set(&cluster, Some(&tcp(here)), "cluster"), Ok(()), "{here}");
        }
        let away = tcp("10.0.0.7:9");
        assert_eq!(set(&cluster, Some(&away), "cluster"), Err(NOT_ALLOWED));
        assert_eq!(set(&cluster, None, "cluster"), Err(NOT_ALLOWED));
        let rules = ClusterRules::default().allow("10.0.0.0/8".parse().unwrap());
        let cluster = Cluster::new(rules);
        assert_eq!(set(&cluster, Some(&away), "cluster"), Ok(()));
        assert_eq!(set(&cluster, Some(&tcp("11.0.0.7:9")), "cluster"), Err(NOT_ALLOWED));
        assert_eq!(set(&cluster, None, "cluster"), Err(NOT_ALLOWED));
    }

    #[test]
    fn there_are_so_many_configurations_and_no_more() {
        let cluster = Cluster::default();
        for n in 0..CONFIGURATIONS_MAX {
            assert_eq!(set(&cluster, Some(&Peer::Unix), &format!("c{n}")), Ok(()));
        }
        assert_eq!(set(&cluster, Some(&Peer::Unix), "more"), Err(TOO_MANY));
        assert_eq!(set(&cluster, Some(&Peer::Unix), "c0"), Ok(()));
        let name = |name| Key::new(name).unwrap();
        assert_eq!(cluster.delete(Some(&Peer::Unix), name("c0")), Ok(true));
        assert_eq!(set(&cluster, Some(&Peer::Unix), "more"), Ok(()));
        let long = vec![b'x'; Config::LEN_MAX + 1];
        let refused = cluster.set(Some(&Peer::Unix), name("more"), ItemFlags(0), &long);
        assert_eq!(refused, Err(TOO_LARGE));
        assert_eq!(cluster.counts(), (0, 18, 16));
    }
}
