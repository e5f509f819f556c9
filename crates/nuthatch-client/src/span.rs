//! What `tracing` is told of calls: spans at the level of debugging, with OpenTelemetry's names for
//! what clients of databases do.
//!
//! ```text
//!   memcached{db.operation.name=get server.address=cache-1:11211}
//!
//!   memcached{db.operation.name=get_many db.operation.batch.size=100}
//!     node{server.address=cache-1:11211}
//!     node{server.address=cache-2:11211 error.type=timeout}
//! ```
//!
//! Keys and values are in none of them: they are other people's.

use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::error::Error;
use crate::node::Node;

/// A call for one key, or to one node.
pub(crate) fn call(operation: &'static str) -> Span {
    debug_span!(
        "memcached",
        db.system.name = "memcached",
        db.operation.name = operation,
        server.address = Empty,
        error.type = Empty,
    )
}

/// A call for many keys.
pub(crate) fn batch(operation: &'static str, n: usize) -> Span {
    debug_span!(
        "memcached",
        db.system.name = "memcached",
        db.operation.name = operation,
        db.operation.batch.size = n,
    )
}

/// A node's part of it, once a round.
pub(crate) fn part(node: &Node) -> Span {
    debug_span!("node", server.address = &*node.name, error.type = Empty)
}

/// Writes down, in the span that is entered, who was asked last and how it failed.
pub(crate) fn record(node: Option<&Node>, error: Option<&Error>) {
    let span = Span::current();
    if let Some(node) = node {
        span.record("server.address", &*node.name);
    }
    if let Some(error) = error {
        span.record("error.type", error.name());
    }
}
