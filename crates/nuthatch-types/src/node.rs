//! Cluster nodes and the membership list that auto-discovery passes around.

use std::fmt;

/// A cache node as a membership list names it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// The node's host name.
    pub host: String,
    /// The node's address as text; empty where the list gives only a name.
    pub address: String,
    /// The port it serves on.
    pub port: u16,
}

/// A membership list with its version, as the answer to `config get cluster` carries it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// Grows with every change.
    pub version: u64,
    /// The members, in the list's order.
    pub nodes: Vec<Node>,
}

/// Why text is not a membership list.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// x
    #[error("x")]
    X,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.host, self.address, self.port)
    }
}
