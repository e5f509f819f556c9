//! The handle: one method for each command.

mod change;
mod meta;
mod retrieve;
mod server;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuthatch_types::{Key, KeyBuf};
use tokio::sync::broadcast;

pub use self::server::NodeClient;
use crate::builder::Builder;
use crate::call::{Ask, Reply};
use crate::cluster::Shared;
use crate::error::{Error, Kind};
use crate::event::{Event, Status};
use crate::time::{Deadline, TimeLimit};

/// A handle to a cache: one server, or several among which the keys are spread. Clones are cheap
/// and share everything; all methods take `&self`, and calls of many tasks are under way at once.
///
/// **Order.** Calls to one node over one connection are sent in the order in which they got a place
/// in the queue, and the server does them in that order. A call that is awaited to its end before
/// the next is made is done before it, from whichever clones.
///
/// **Cancellation.** Every method is cancel safe: a future can be dropped at any time, and so can
/// one that has run into the time limit. If the command has not been written to the connection's
/// buffer by then, it is never sent; else the server does it, and its answer is read and dropped.
/// The connection stays in step either way.
///
/// **Time.** Every call ends within [`Builder::timeout`], or when
/// [`with_timeout`](Self::with_timeout) or [`with_deadline`](Self::with_deadline) say, be it with
/// an [`is_timeout`](Error::is_timeout) error; waiting for a place in the queue, for a connection
/// that is being made and for another attempt count. The connection is not closed for that, until so
/// many in a row were not answered that the server must be taken for
/// [gone](crate::Ejection::timeouts).
///
/// **Failure.** When a connection ends (the server closes it, the network fails, the server says
/// what cannot be understood) every call that was sent on it fails at once with
/// [`Error::is_closed`]; calls that were not sent wait for the next connection, which is made at
/// once. If that fails, calls fail at once with [`Error::is_connect`], and connecting is tried
/// again in the background, in growing intervals. What becomes of the keys meanwhile is
/// [`OnFailure`](crate::OnFailure)'s. Reads, and calls that were surely not sent, are tried again
/// within limits: [`Retry`](crate::Retry). When the last clone is dropped the connections are
/// closed.
///
/// **Keys** are 1 to 250 bytes without space or control byte; anything that shows bytes will do,
/// `&str` and [`Key`] among others. [`Builder::any_keys`] lifts the rule. **Values** are whatever
/// becomes [`Bytes`](crate::Bytes): `&'static str`, `String`, `Vec<u8>`.
///
/// Besides the errors that the methods name, all may fail with [`is_refused`](Error::is_refused),
/// [`is_timeout`](Error::is_timeout), [`is_closed`](Error::is_closed) or
/// [`is_connect`](Error::is_connect), and those with a key with [`is_key`](Error::is_key).
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) time: TimeLimit,
}

impl Client {
    /// Connects to a server, to those of a list, or as a URL says, with the defaults of
    /// [`Builder`]; [`Builder::connect`] lists all forms.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without I/O or time.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::builder().connect(address).await
    }

    /// Settings to connect with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A handle to the same, whose calls may take another time than [`Builder::timeout`] says.
    /// `Duration::MAX` is no limit.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(cache: nuthatch_client::Client) -> Result<(), nuthatch_client::Error> {
    /// let report = cache.with_timeout(Duration::from_secs(5)).get("report:2026").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), time: TimeLimit::Each(timeout) }
    }

    /// A handle to the same, all of whose calls end at a moment: for work that has to be done by
    /// then, however many calls it takes. A call after that moment fails at once with
    /// [`is_timeout`](Error::is_timeout), and is not sent.
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { shared: Arc::clone(&self.shared), time: TimeLimit::Until(deadline.into()) }
    }

    /// Whether there is a connection to any node at this moment.
    pub fn is_connected(&self) -> bool {
        self.shared.topology().nodes.iter().any(|node| node.is_connected())
    }

    /// How the nodes are at this moment.
    pub fn status(&self) -> Status {
        let topology = self.shared.topology();
        let nodes = topology.nodes.iter().map(|node| node.status()).collect();
        Status { version: topology.version, nodes }
    }

    /// What happens from now on: connections, ejections, members that come and go. Whoever is too
    /// slow misses some, and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// The names of the nodes that a key is looked for on: its own first, then those that come next
    /// for it.
    pub fn route(&self, key: impl AsRef<[u8]>) -> Vec<Arc<str>> {
        self.shared.topology().order(key.as_ref())
    }

    // The way of a call.

    /// A key that can be sent.
    pub(crate) fn key(&self, key: &(impl AsRef<[u8]> + ?Sized)) -> Result<KeyBuf, Error> {
        let key = key.as_ref();
        // Some protocols carry less; their connections look again.
        let takes_any = self.shared.settings.takes_any_key;
        let key = if takes_any { Key::binary(key) } else { Key::new(key) };
        Ok(key?.to_buf())
    }

    /// When a call that begins now is to end.
    fn deadline(&self) -> Deadline {
        self.time.deadline(self.shared.settings.timeout)
    }

    /// A handle for several calls that take no longer than one.
    fn at_once(&self) -> Self {
        let time = TimeLimit::Until(self.deadline().at);
        Self { shared: Arc::clone(&self.shared), time }
    }

    pub(crate) fn check_value(&self, len: usize) -> Result<(), Error> {
        let limit = self.shared.settings.value_bytes_max;
        if len > limit { Err(Kind::ValueTooLarge { len, limit }.into()) } else { Ok(()) }
    }

    /// Asks whoever has the key.
    async fn ask(&self, key: impl AsRef<[u8]>, ask: Ask) -> Result<Reply, Error> {
        self.shared.call(key.as_ref(), ask, self.deadline()).await
    }
}

/// For an answer that is none to what was asked; connections make sure that it is.
pub(crate) fn odd(reply: &Reply) -> Error {
    Error::unexpected(format!("{reply:?}").as_bytes())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.shared.topology();
        let names: Vec<_> = topology.nodes.iter().map(|node| &*node.name).collect();
        f.debug_struct("Client")
            .field("nodes", &names)
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use nuthatch_types::Ttl;

    use super::*;
    use crate::StoreOptions;

    #[test]
    fn handles_and_calls_cross_threads() {
        fn check<T: Send + Sync>() {}
        fn check_future<T: Send>(_: impl FnOnce(&'static Client) -> T) {}
        check::<Client>();
        check_future(|client| client.get("key"));
        check_future(|client| client.get_many(["key"]));
        check_future(|client| client.get_each(["key"]));
        check_future(|client| client.set_many([("key", "value")], Ttl::NEVER));
        check_future(|client| client.set("key", "value", StoreOptions::new()));
        check_future(|client| client.incr_from("key", 1, 0, Ttl::NEVER));
        check_future(|client| client.stats());
        check_future(|client| client.flush_all());
    }
}
