//! What is asked of servers and not of keys.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use nuthatch_types::{Key, KeyError, Ttl};
use tokio::time::Instant;
use tracing::Instrument;

use super::odd;
use crate::call::{Ask, Reply};
use crate::client::Client;
use crate::clock;
use crate::cluster::Shared;
use crate::error::{Error, Kind};
use crate::item::Stats;
use crate::node::Node;
use crate::span;
use crate::time::TimeLimit;

impl Client {
    /// The nodes, each to be asked by itself.
    pub fn nodes(&self) -> Vec<NodeClient> {
        let nodes = &self.shared.topology().nodes;
        let of = |node: &Arc<Node>| NodeClient {
            shared: Arc::clone(&self.shared),
            time: self.time,
            node: Arc::clone(node),
        };
        nodes.iter().map(of).collect()
    }

    /// Forgets all items, at once, on all nodes.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the server does not allow it (`-F`); that of the first node
    /// that fails, the others having been asked too.
    pub async fn flush_all(&self) -> Result<(), Error> {
        let nodes = self.nodes();
        let all = join_all(nodes.iter().map(|node| node.flush_all(None))).await;
        all.into_iter().collect()
    }

    /// How much the server writes to its log, on all nodes: 0 and up.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// That of the first node that fails, the others having been asked too.
    pub async fn verbosity(&self, level: u32) -> Result<(), Error> {
        let nodes = self.nodes();
        let all = join_all(nodes.iter().map(|node| node.verbosity(level))).await;
        all.into_iter().collect()
    }

    /// The server's version, such as `1.6.45`; the first node's, if there are several.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn version(&self) -> Result<String, Error> {
        self.first()?.version().await
    }

    /// The general statistics; the first node's, if there are several.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.first()?.stats().await
    }

    /// Other statistics: `items`, `slabs`, `settings`, `conns` and whatever else the server knows;
    /// the first node's, if there are several. `reset` sets the counters to zero and gives none.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_key`] for a control byte in `what`, [`Error::is_unknown_command`] for what the
    /// server does not know.
    pub async fn stats_of(&self, what: &str) -> Result<Stats, Error> {
        self.first()?.stats_of(what).await
    }

    fn first(&self) -> Result<NodeClient, Error> {
        Ok(self.nodes().into_iter().next().ok_or(Kind::NoNode)?)
    }
}

/// One node of a client, to be asked what is no matter of keys. It keeps the node's connections as
/// long as it is there itself.
#[derive(Clone)]
pub struct NodeClient {
    shared: Arc<Shared>,
    time: TimeLimit,
    node: Arc<Node>,
}

impl NodeClient {
    /// Its name: `host:port`, or the path of its socket.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Forgets all items, at once or when some time has passed.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the server does not allow it (`-F`).
    pub async fn flush_all(&self, after: Option<Ttl>) -> Result<(), Error> {
        self.done(Ask::FlushAll { delay: after.map(clock::exptime) }).await
    }

    /// How much the server writes to its log: 0 and up.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] in the binary protocol.
    pub async fn verbosity(&self, level: u32) -> Result<(), Error> {
        self.done(Ask::Line(format!("verbosity {level}"))).await
    }

    /// The server's version, such as `1.6.45`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn version(&self) -> Result<String, Error> {
        match self.call(Ask::Version).await? {
            Reply::Version(version) => Ok(version),
            other => Err(odd(&other)),
        }
    }

    /// The general statistics.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.stats_with(None).await
    }

    /// Other statistics; see [`Client::stats_of`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn stats_of(&self, what: &str) -> Result<Stats, Error> {
        if let Some(at) = what.bytes().position(|byte| byte < b' ' || byte == 0x7f) {
            return Err(KeyError::Forbidden { at }.into());
        }
        self.stats_with(Some(what.to_owned())).await
    }

    /// What the server keeps under a name for its clients (`config get`); `None` if nothing. The
    /// members of a cluster are under `cluster`:
    /// [`ClusterConfig::parse`](crate::types::ClusterConfig::parse) reads them.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_unknown_command`] from a server that keeps no such things.
    pub async fn config(&self, name: &str) -> Result<Option<Bytes>, Error> {
        match self.call(Ask::Config(Key::new(name)?.to_buf())).await? {
            Reply::Config(payload) => Ok(payload),
            other => Err(odd(&other)),
        }
    }

    /// Any other command of one line that is answered with `OK`: `cache_memlimit 128`,
    /// `lru_crawler enable`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_key`] for a control byte in the line, [`Error::is_unexpected`] for another
    /// answer, [`Error::is_unsupported`] in the binary protocol and for commands that are known to
    /// be answered by none or by several lines, or to have data behind them: they are not sent.
    pub async fn command(&self, line: &str) -> Result<(), Error> {
        if let Some(at) = line.bytes().position(|byte| byte < b' ' || byte == 0x7f) {
            return Err(KeyError::Forbidden { at }.into());
        }
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let Some(verb) = words.next() else { return Err(KeyError::Empty.into()) };
        let is_dump = verb == "lru_crawler" && words.clone().next().is_some_and(is_dump);
        if NOT_ONE_LINE.contains(&verb) || is_dump || words.next_back() == Some("noreply") {
            return Err(Kind::Unsupported("form of this as one line that is answered").into());
        }
        self.done(Ask::Line(line.to_owned())).await
    }

    async fn stats_with(&self, what: Option<String>) -> Result<Stats, Error> {
        match self.call(Ask::Stats(what)).await? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(odd(&other)),
        }
    }

    async fn done(&self, ask: Ask) -> Result<(), Error> {
        match self.call(ask).await? {
            Reply::Done => Ok(()),
            other => Err(odd(&other)),
        }
    }

    /// Asks this node and no other, once.
    async fn call(&self, ask: Ask) -> Result<Reply, Error> {
        let begun = Instant::now();
        let span = span::call(ask.operation());
        let ask = Arc::new(ask);
        let deadline = self.time.deadline(self.shared.settings.timeout);
        let call = async {
            let result = self.node.call(&ask, deadline).await;
            span::record(Some(&self.node), result.as_ref().err());
            result
        };
        let result = call.instrument(span).await;
        self.shared.report(&ask, Some(&self.node), Some(begun), 0, result.as_ref().err());
        result
    }
}

/// Commands whose answers would be taken for those to the calls that follow.
const NOT_ONE_LINE: [&str; 22] = [
    "get", "gets", "gat", "gats", "set", "add", "replace", "append", "prepend", "cas", "mg", "ms",
    "md", "ma", "mn", "me", "stats", "config", "watch", "quit", "shutdown", "auth",
];

/// Whether a word of `lru_crawler` asks for a list of items.
fn is_dump(word: &str) -> bool {
    word == "metadump" || word == "mgdump"
}

impl fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeClient").field("node", &self.node.name).finish_non_exhaustive()
    }
}
