//! A member of a cluster, as routing sees it.

use std::fmt::{self, Write as _};

/// A member of a cluster: what it is called, and how much of the keys it is to get.
///
/// What it is called decides which keys it has, so it must be written as the other clients of the
/// cluster write it: `localhost` and `127.0.0.1` are different nodes to a ring.
///
/// ```
/// use nuthatch_client::route::Node;
///
/// let node = Node::new("cache-1.example", 11212).with_address("10.0.0.7").with_weight(3);
/// assert_eq!(node.to_string(), "cache-1.example:11212");
/// assert_eq!((node.address(), node.weight()), (Some("10.0.0.7"), 3));
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Node {
    host: Box<str>,
    port: u16,
    address: Option<Box<str>>,
    name: Option<Box<str>>,
    weight: u16,
}

impl Node {
    /// A node of weight 1. A path of a Unix socket goes into `host`, with port 0.
    pub fn new(host: impl Into<Box<str>>, port: u16) -> Self {
        Self { host: host.into(), port, address: None, name: None, weight: 1 }
    }

    /// The same with its address as text, which some clients put into its name
    /// ([`Router::ketama_aws`](super::Router::ketama_aws),
    /// [`Router::ketama_spymemcached`](super::Router::ketama_spymemcached)).
    #[must_use]
    pub fn with_address(self, address: impl Into<Box<str>>) -> Self {
        Self { address: Some(address.into()), ..self }
    }

    /// The same under a name of its own, instead of the one that a router forms of host and port:
    /// the name behind a server in twemproxy's configuration, for example.
    #[must_use]
    pub fn with_name(self, name: impl Into<Box<str>>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The same with a weight: it is to get `weight` times the keys of a node of weight 1. As with
    /// libmemcached, 0 counts as 1.
    #[must_use]
    pub fn with_weight(self, weight: u16) -> Self {
        Self { weight: weight.max(1), ..self }
    }

    /// The host name, or an address where that is how the node is known.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as text, where it was given.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The name of its own, where it was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How many times the keys of a node of weight 1 it is to get; never 0.
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// What a ring calls the node.
    pub(super) fn called(&self, style: Style) -> String {
        if let Some(name) = &self.name {
            return name.to_string();
        }
        let Self { host, port, .. } = self;
        match style {
            Style::PortUnlessDefault if *port == DEFAULT_PORT => host.to_string(),
            Style::PortUnlessDefault | Style::Port => format!("{host}:{port}"),
            Style::SlashPort => format!("/{host}:{port}"),
            Style::AddressPort => format!("{}:{port}", self.address.as_ref().unwrap_or(host)),
            Style::HostAndAddress => {
                let mut name = host.to_string();
                if let Some(address) = self.address.as_ref().filter(|address| *address != host) {
                    let _ = write!(name, "/{address}");
                }
                name + &format!(":{port}")
            }
            Style::NulPort => format!("{host}\0{port}"),
            Style::Joined => format!("{host}{port}"),
            Style::WithoutLogin => format!("{host}:{port}_None_None"),
        }
    }
}

impl fmt::Display for Node {
    /// Its own name if it has one, or else `host:port`: what tells nodes of a list apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How clients form a node's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    /// `host:port`, or `host` alone for port 11211.
    PortUnlessDefault,
    /// `host:port`.
    Port,
    /// `/host:port`.
    SlashPort,
    /// `address:port`, with the host for want of an address.
    AddressPort,
    /// `host/address:port` as Java prints a socket address, or `host:port` where they are the same.
    HostAndAddress,
    /// `host`, a zero byte, `port`.
    NulPort,
    /// `hostport`.
    Joined,
    /// `host:port_None_None`: user and password stand in there as well.
    WithoutLogin,
}

/// The port that libmemcached and twemproxy leave out of names.
const DEFAULT_PORT: u16 = 11211;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn called(node: &Node, style: Style, name: &str) {
        assert_eq!(node.called(style), name, "{style:?}");
    }

    #[test]
    fn every_client_has_its_own_name_for_a_node() {
        let plain = Node::new("h", 11211);
        let odd = Node::new("h", 1).with_address("10.0.0.1");
        called(&plain, Style::PortUnlessDefault, "h");
        called(&odd, Style::PortUnlessDefault, "h:1");
        called(&plain, Style::Port, "h:11211");
        called(&plain, Style::SlashPort, "/h:11211");
        called(&plain, Style::AddressPort, "h:11211");
        called(&odd, Style::AddressPort, "10.0.0.1:1");
        called(&plain, Style::HostAndAddress, "h:11211");
        called(&odd, Style::HostAndAddress, "h/10.0.0.1:1");
        called(&Node::new("::1", 1).with_address("::1"), Style::HostAndAddress, "::1:1");
        called(&plain, Style::NulPort, "h\x0011211");
        called(&plain, Style::Joined, "h11211");
        called(&plain, Style::WithoutLogin, "h:11211_None_None");
        called(&odd.with_name("a"), Style::WithoutLogin, "a");
    }

    #[test]
    fn weight_0_counts_as_1() {
        assert_eq!(Node::new("h", 1).with_weight(0), Node::new("h", 1));
    }
}
