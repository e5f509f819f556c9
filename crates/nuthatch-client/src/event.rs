//! What happens to a client behind its users' backs, and what they can see of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::error::Error;

/// Something that has happened; see [`Client::events`](crate::Client::events).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection to a node was made.
    Connected {
        /// The node.
        node: Arc<str>,
    },
    /// A connection to a node could not be made, or has ended.
    Failed {
        /// The node.
        node: Arc<str>,
        /// Why.
        error: Error,
    },
    /// A node is left out.
    Ejected {
        /// The node.
        node: Arc<str>,
    },
    /// A node is in use again.
    Returned {
        /// The node.
        node: Arc<str>,
    },
    /// The cluster has other nodes, or they are elsewhere.
    Members {
        /// The version of the list.
        version: u64,
        /// Those that came.
        added: Vec<Arc<str>>,
        /// Those that went.
        removed: Vec<Arc<str>>,
    },
    /// Where the nodes are learned from has failed; the list of before stays in force.
    DiscoveryFailed {
        /// Why.
        reason: String,
    },
}

/// Takes note of every call; see [`Builder::observer`](crate::Builder::observer).
pub trait Observer: Send + Sync + 'static {
    /// A call, or a call's part for one node, is over. This is called on the caller's task and
    /// should be quick.
    fn call(&self, call: &CallReport<'_>);

    /// Something has happened.
    fn event(&self, event: &Event) {
        let _ = event;
    }
}

/// One call that is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallReport<'a> {
    /// What was asked: `get`, `set`, `mg` and so on.
    pub operation: &'static str,
    /// Which node, where the call got as far as that.
    pub node: Option<&'a str>,
    /// How long it took, waiting and retries included.
    pub elapsed: Duration,
    /// How often it was tried again.
    pub n_retries: u32,
    /// Why it failed, if it did.
    pub error: Option<&'a Error>,
}

/// Where events go.
#[derive(Clone)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
    observer: Option<Arc<dyn Observer>>,
}

impl Default for Events {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Events {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self { sender: broadcast::Sender::new(EVENTS_KEPT), observer }
    }

    pub(crate) fn send(&self, event: Event) {
        match &event {
            Event::Connected { node } => tracing::debug!(node = &**node, "connected"),
            Event::Failed { node, error } => {
                tracing::debug!(node = &**node, %error, "connection failed");
            }
            Event::Ejected { node } => tracing::warn!(node = &**node, "node ejected"),
            Event::Returned { node } => tracing::info!(node = &**node, "node returned"),
            Event::Members { version, added, removed } => {
                tracing::info!(version, ?added, ?removed, "cluster members changed");
            }
            Event::DiscoveryFailed { reason } => tracing::warn!(reason, "discovery failed"),
        }
        if let Some(observer) = &self.observer {
            observer.event(&event);
        }
        // Nobody need listen.
        let _ = self.sender.send(event);
    }

    pub(crate) fn call(&self, call: &CallReport<'_>) {
        if let Some(observer) = &self.observer {
            observer.call(call);
        }
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("is_observed", &self.is_observed()).finish_non_exhaustive()
    }
}

/// How many events are kept for a listener that is slow; it is told how many it has missed.
const EVENTS_KEPT: usize = 256;

/// How a client's nodes are; see [`Client::status`](crate::Client::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The version of the list of nodes; 0 for one that was given.
    pub version: u64,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
}

/// How a node is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Its name: `host:port`, or the path of a socket.
    pub name: Arc<str>,
    /// Whether it is left out for now.
    pub is_ejected: bool,
    /// How many connections it is to have.
    pub n_connections: usize,
    /// How many there are.
    pub n_connected: usize,
    /// How many calls wait to be sent.
    pub n_queued: usize,
    /// Why there is none, where that is so.
    pub error: Option<Error>,
}
