//! Cluster nodes and the membership list that auto-discovery passes around.
//!
//! A node answers `config get cluster` with a payload of two lines, the version of the list and
//! the list:
//!
//! ```text
//! 100\n
//! localhost|127.0.0.1|11211 node2.example.com|127.0.0.1|11212\n
//! ```
//!
//! [`ClusterConfig::parse`] reads it and [`Display`](fmt::Display) writes it. The address between
//! the bars may be missing; the bars may not. An IPv6 address stands there without brackets.

use std::fmt;

use crate::limits::CLUSTER_CONFIG_LEN_MAX;

/// A cache node as a membership list names it.
///
/// ```
/// use nuthatch_types::Node;
///
/// let node = Node::new("cache-1.example", "10.0.0.7", 11211)?;
/// assert_eq!(node.to_string(), "cache-1.example|10.0.0.7|11211");
/// assert_eq!(node.address(), Some("10.0.0.7"));
/// # Ok::<(), nuthatch_types::NodeError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Node {
    host: Box<str>,
    address: Box<str>,
    port: u16,
}

impl Node {
    /// The longest host name, in bytes: what DNS allows.
    pub const HOST_LEN_MAX: usize = 255;

    /// The longest address as text, in bytes: AWS' libmemcached drops nodes with longer ones, and
    /// the longest IPv6 address with a scope fits.
    pub const ADDRESS_LEN_MAX: usize = 49;

    /// Makes a node of its host name, its address as text (empty where it is not known) and its
    /// port.
    ///
    /// # Errors
    ///
    /// [`NodeError`] for what a list could not carry: a space, a bar or a control character, text
    /// beyond the limits, neither a name nor an address, or port 0.
    pub fn new(host: &str, address: &str, port: u16) -> Result<Self, NodeError> {
        if host.len() > Self::HOST_LEN_MAX || address.len() > Self::ADDRESS_LEN_MAX {
            return Err(NodeError::TooLong);
        }
        let carried = |text: &str| {
            text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != FIELD_SEPARATOR)
        };
        if !carried(host) || !carried(address) {
            return Err(NodeError::Forbidden);
        }
        if host.is_empty() && address.is_empty() {
            return Err(NodeError::Nameless);
        }
        if port == 0 {
            return Err(NodeError::Port);
        }
        Ok(Self { host: host.into(), address: address.into(), port })
    }

    /// The host name; empty only where the list gives an address alone.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address as text, where the list gives one.
    pub fn address(&self) -> Option<&str> {
        (!self.address.is_empty()).then_some(&*self.address)
    }

    /// The port it serves on, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Reads `host|address|port`, split at the first and the last bar as AWS' clients do.
    fn parse(text: &str) -> Result<Self, NodeError> {
        let (host, rest) = text.split_once(FIELD_SEPARATOR).ok_or(NodeError::Fields)?;
        let (address, port) = rest.rsplit_once(FIELD_SEPARATOR).ok_or(NodeError::Fields)?;
        Self::new(host, address, decimal(port).ok_or(NodeError::Port)?)
    }
}

impl fmt::Display for Node {
    /// `host|address|port`, as in a membership list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.host, self.address, self.port)
    }
}

/// A membership list with its version: the payload of an answer to `config get cluster`.
///
/// ```
/// use nuthatch_types::ClusterConfig;
///
/// let payload = b"100\nlocalhost|127.0.0.1|23260 node2.example.com|127.0.0.1|23211\n";
/// let config = ClusterConfig::parse(payload)?;
/// assert_eq!(config.version(), 100);
/// assert_eq!(config.nodes()[1].host(), "node2.example.com");
/// assert_eq!(config.to_string().as_bytes(), payload);
/// # Ok::<(), nuthatch_types::NodeError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterConfig {
    version: u64,
    nodes: Vec<Node>,
}

impl ClusterConfig {
    /// The longest payload, in bytes.
    pub const LEN_MAX: usize = CLUSTER_CONFIG_LEN_MAX;

    /// The name that clients ask for with `config get`.
    pub const NAME: &str = "cluster";

    /// The key that clients get the list by from servers without `config get`: ElastiCache's before
    /// 1.4.14.
    pub const ITEM_KEY: &str = "AmazonElastiCache:cluster";

    /// Makes a list. The order of the nodes is kept; it has no meaning.
    pub fn new(version: u64, nodes: Vec<Node>) -> Self {
        Self { version, nodes }
    }

    /// Grows with every change of the list. A client that reads a smaller one than it has keeps
    /// its own: the answer is stale.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The members, in the list's order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Reads a payload.
    ///
    /// Lines may end `\r\n`, the last one not at all, and any number of spaces may separate the
    /// nodes: such payloads are stored by tools and by AWS' own tests. A list without nodes is
    /// read as such; what to make of it is the client's business.
    ///
    /// # Errors
    ///
    /// [`NodeError`] for a payload beyond [`LEN_MAX`](Self::LEN_MAX), a version that is no
    /// number, a second line that is missing or a third one, and for the first node that cannot
    /// be read: a list is taken whole or not at all.
    pub fn parse(payload: &[u8]) -> Result<Self, NodeError> {
        if payload.len() > Self::LEN_MAX {
            return Err(NodeError::TooLong);
        }
        let text = str::from_utf8(payload).map_err(|_| NodeError::Forbidden)?;
        let mut lines = text.lines();
        let version = lines.next().and_then(|line| decimal(line.trim_matches(' ')));
        let version = version.ok_or(NodeError::Version)?;
        let (Some(list), None) = (lines.next(), lines.next()) else {
            return Err(NodeError::Lines);
        };
        let nodes = list
            .split(NODE_SEPARATOR)
            .filter(|node| !node.is_empty())
            .map(Node::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self { version, nodes })
    }
}

impl fmt::Display for ClusterConfig {
    /// The payload: both lines, each with `\n`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.version)?;
        for (position, node) in self.nodes.iter().enumerate() {
            if position > 0 {
                write!(f, "{NODE_SEPARATOR}")?;
            }
            node.fmt(f)?;
        }
        writeln!(f)
    }
}

/// Why text is not a membership list, or a node cannot be in one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// More text than a list, a name or an address may have.
    #[error("membership list, host name or address too long")]
    TooLong,
    /// The first line is not a number.
    #[error("membership list without a version")]
    Version,
    /// Not exactly two lines.
    #[error("membership list is not two lines")]
    Lines,
    /// Not `host|address|port`.
    #[error("node is not host|address|port")]
    Fields,
    /// A space, a bar, a control character, or bytes that are no text.
    #[error("node with a space, a bar or a control character in its name or address")]
    Forbidden,
    /// Neither a name nor an address.
    #[error("node without a name and without an address")]
    Nameless,
    /// Not a port from 1 to 65535.
    #[error("node without a valid port")]
    Port,
}

/// A decimal number without a sign.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Between the nodes of a list.
const NODE_SEPARATOR: char = ' ';

/// Between the three parts of a node.
const FIELD_SEPARATOR: char = '|';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(payload: &str) -> Result<ClusterConfig, NodeError> {
        ClusterConfig::parse(payload.as_bytes())
    }

    #[test]
    fn a_captured_payload() {
        // What AWS' Java client 1.2.4 was answered: 64 bytes, the last line end included.
        let payload = "100\nlocalhost|127.0.0.1|23260 node2.example.com|127.0.0.1|23211\n";
        assert_eq!(payload.len(), 64);
        let config = parse(payload).unwrap();
        assert_eq!(
            config,
            ClusterConfig::new(
                100,
                vec![
                    Node::new("localhost", "127.0.0.1", 23260).unwrap(),
                    Node::new("node2.example.com", "127.0.0.1", 23211).unwrap(),
                ]
            )
        );
        assert_eq!(config.to_string(), payload);
    }

    #[test]
    fn addresses_may_be_missing_or_ipv6() {
        let config = parse("2\nhost||11211 host6|2001:db8::1|11212 |10.0.0.1|1\n").unwrap();
        let nodes: Vec<_> =
            config.nodes().iter().map(|node| (node.host(), node.address(), node.port())).collect();
        assert_eq!(
            nodes,
            [
                ("host", None, 11211),
                ("host6", Some("2001:db8::1"), 11212),
                ("", Some("10.0.0.1"), 1)
            ]
        );
    }

    #[test]
    fn line_ends_and_spaces_are_taken_as_they_come() {
        let expected = parse("1\na|b|2 c|d|3\n").unwrap();
        for payload in ["1\r\na|b|2 c|d|3", "1\r\na|b|2 c|d|3\r\n", " 1 \n a|b|2   c|d|3 \n"] {
            assert_eq!(parse(payload).as_ref(), Ok(&expected), "{payload:?}");
        }
        assert_eq!(parse("7\n\n").unwrap(), ClusterConfig::new(7, Vec::new()));
    }

    #[test]
    fn lists_are_taken_whole_or_not_at_all() {
        for (payload, error) in [
            ("", NodeError::Version),
            ("\n\n", NodeError::Version),
            ("x\na|b|1\n", NodeError::Version),
            ("+1\na|b|1\n", NodeError::Version),
            ("-1\na|b|1\n", NodeError::Version),
            ("18446744073709551616\na|b|1\n", NodeError::Version),
            ("1", NodeError::Lines),
            ("1\n", NodeError::Lines),
            ("1\na|b|1\na|b|1\n", NodeError::Lines),
            ("1\na\n", NodeError::Fields),
            ("1\na|1\n", NodeError::Fields),
            ("1\na|b|1 x\n", NodeError::Fields),
            ("1\na|b|c|1\n", NodeError::Forbidden),
            ("1\na\tb|c|1\n", NodeError::Forbidden),
            ("1\n||1\n", NodeError::Nameless),
            ("1\na|b|\n", NodeError::Port),
            ("1\na|b|0\n", NodeError::Port),
            ("1\na|b|+1\n", NodeError::Port),
            ("1\na|b|65536\n", NodeError::Port),
        ] {
            assert_eq!(parse(payload), Err(error), "{payload:?}");
        }
        assert_eq!(ClusterConfig::parse(b"1\n\xff|b|1\n"), Err(NodeError::Forbidden));
    }

    #[test]
    fn lengths_have_limits() {
        let host = |len| Node::new(&"h".repeat(len), "", 1);
        assert!(host(Node::HOST_LEN_MAX).is_ok());
        assert_eq!(host(Node::HOST_LEN_MAX + 1), Err(NodeError::TooLong));
        let address = |len| Node::new("h", &"1".repeat(len), 1);
        assert!(address(Node::ADDRESS_LEN_MAX).is_ok());
        assert_eq!(address(Node::ADDRESS_LEN_MAX + 1), Err(NodeError::TooLong));
        let spaces = |len: usize| format!("1\n{}", " ".repeat(len - 2));
        assert!(parse(&spaces(ClusterConfig::LEN_MAX)).is_ok());
        assert_eq!(parse(&spaces(ClusterConfig::LEN_MAX + 1)), Err(NodeError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            version: u64,
            nodes in prop::collection::vec(
                ("[a-z0-9.-]{1,40}", "([0-9a-f:.]{0,39})", 1u16..),
                0..20,
            ),
        ) {
            let nodes = nodes
                .iter()
                .map(|(host, address, port)| Node::new(host, address, *port).unwrap())
                .collect();
            let config = ClusterConfig::new(version, nodes);
            prop_assert_eq!(ClusterConfig::parse(config.to_string().as_bytes()), Ok(config));
        }

        #[test]
        fn no_bytes_panic(payload: Vec<u8>) {
            let _ = ClusterConfig::parse(&payload);
        }

        #[test]
        fn nearly_lists_do_not_panic_and_what_is_read_reads_back(payload in "[0-9]{1,3}\n[a|1: ]{0,40}\n?") {
            if let Ok(config) = parse(&payload) {
                prop_assert_eq!(parse(&config.to_string()), Ok(config));
            }
        }
    }
}
