//! Auto-discovery: `config get`, `config set`, `config delete`, and `stats cluster`.

use nuthatch_discovery::State;
use nuthatch_proto::{Config, Reply, Value};
use nuthatch_store::types::{Cas, Deleted, Key, Stored};

use super::{Engine, ItemPin, TOO_LARGE};
use crate::cluster::{Cluster, MIRROR_KEY};

/// What memcached answers, which has none of this.
const UNKNOWN: &str = "ERROR";

impl Engine {
    pub(super) fn config(&self, config: Config<'_>, reply: &mut Reply<'_, ItemPin>) {
        let Some(cluster) = &self.shared.cluster else {
            return reply.error(UNKNOWN);
        };
        match config {
            Config::Get(name) => {
                cluster.each(name, |name, stored| {
                    reply.config(name, stored.flags, &stored.payload);
                });
                reply.end();
            }
            Config::Set { name, flags, value } => {
                // A session has a payload at hand when it asks.
                let Value::Here(payload) = value else { return reply.error(TOO_LARGE) };
                let who = self.peer(reply.conn());
                match cluster.set(who.as_ref(), name, flags, payload) {
                    Ok(()) => reply.stored(Stored::Stored),
                    Err(line) => reply.error(line),
                }
            }
            Config::Delete(name) => {
                let who = self.peer(reply.conn());
                match cluster.delete(who.as_ref(), name) {
                    Ok(true) => reply.deleted(Deleted::Deleted),
                    Ok(false) => reply.deleted(Deleted::NotFound),
                    Err(line) => reply.error(line),
                }
            }
            Config::Unusable(error) => reply.error(error.line()),
            _ => reply.error(UNKNOWN),
        }
    }

    /// What a payload gets that is too long to be at hand.
    pub(super) fn refuse_config(&self) -> &'static str {
        if self.shared.cluster.is_some() { TOO_LARGE } else { UNKNOWN }
    }

    /// Adds the list of members, if there is one and `key` is the one that old clients get it by;
    /// then whatever item has that key is not told.
    pub(super) fn mirror(
        &self,
        key: Key<'_>,
        with_cas: bool,
        reply: &mut Reply<'_, ItemPin>,
    ) -> bool {
        // Other keys must not pay for it; few are as long.
        if key.len() != MIRROR_KEY.len() {
            return false;
        }
        let Some(cluster) = &self.shared.cluster else { return false };
        let Some(list) = cluster.mirrored(key) else { return false };
        reply.value(key, list.flags, &list.payload, with_cas.then_some(Cas(0)));
        true
    }

    /// `stats cluster`, on a server that has one.
    pub(super) fn stats_cluster(cluster: &Cluster, reply: &mut Reply<'_, ItemPin>) {
        let (sourced, n_changes) = cluster.sourced();
        let Some(sourced) = sourced else {
            return reply.stat("source", "none");
        };
        reply.stat("source", &sourced.what);
        let (state, since, error) = match &sourced.view.state {
            State::Fresh => ("fresh", None, None),
            State::Stale { since, error, .. } => ("stale", Some(since), Some(error)),
            _ => ("waiting", None, None),
        };
        reply.stat("state", state);
        if let (Some(since), Some(error)) = (since, error) {
            reply.stat("stale_seconds", since.elapsed().as_secs());
            // What others say may have line ends in it.
            reply.stat("error", error.to_string().escape_debug());
        }
        let members = sourced.view.members.as_deref();
        reply.stat("version", members.map_or(0, |members| members.version()));
        reply.stat("members", members.map_or(0, |members| members.len()));
        reply.stat("changes", n_changes);
        match &sourced.joined {
            None => {}
            Some(Ok(())) => reply.stat("joined", "yes"),
            Some(Err(why)) => reply.stat("joined", format_args!("no: {}", why.escape_debug())),
        }
        for (idx, member) in members.iter().flat_map(|members| members.members()).enumerate() {
            reply.stat(format_args!("{idx}:node"), member.node());
            reply.stat(format_args!("{idx}:weight"), member.weight());
        }
    }
}
