//! Members of a cluster, and lists of them with a version.

use std::collections::BTreeSet;
use std::fmt;

use nuthatch_types::{ClusterConfig, Node, NodeError};

/// A cache node, and what a source says of it besides where it is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Member {
    node: Node,
    weight: u32,
    tls_name: Option<Box<str>>,
    zone: Option<Box<str>>,
}

impl Member {
    /// The weight of a node that nobody gave one.
    pub const WEIGHT: u32 = 1;

    /// A member of weight 1.
    pub fn new(node: Node) -> Self {
        Self { node, weight: Self::WEIGHT, tls_name: None, zone: None }
    }

    /// Reads `host|address|port[|weight]`: a node as membership lists have it, and its weight.
    ///
    /// # Errors
    ///
    /// [`NodeError`] for what is no node, or no weight from 1 on ([`NodeError::Fields`]).
    pub fn parse(text: &str) -> Result<Self, NodeError> {
        let mut fields = text.split('|');
        let mut field = || fields.next().ok_or(NodeError::Fields);
        let (host, address, port) = (field()?, field()?, field()?);
        let port = port.parse().map_err(|_| NodeError::Port)?;
        let member = Self::new(Node::new(host, address, port)?);
        match (fields.next(), fields.next()) {
            (None, _) => Ok(member),
            (Some(weight), None) => match weight.parse() {
                Ok(weight @ 1..) => Ok(member.with_weight(weight)),
                _ => Err(NodeError::Fields),
            },
            (Some(_), Some(_)) => Err(NodeError::Fields),
        }
    }

    /// The share of keys it takes, against the weights of the others. 0 is taken as 1: a node
    /// that shall get no keys is left out of the list.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// The name that its certificate must show, where that is not its host name.
    #[must_use]
    pub fn with_tls_name(mut self, name: impl Into<Box<str>>) -> Self {
        self.tls_name = Some(name.into());
        self
    }

    /// Where it stands, in whatever words the source has for that.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Box<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Its host name, address and port.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its share, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The name that its certificate must show, if the source gives one.
    pub fn tls_name(&self) -> Option<&str> {
        self.tls_name.as_deref()
    }

    /// Where it stands, if the source says so.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// What makes it this member and no other: its host name (its address where there is no name)
    /// and its port. The address may change, and it is the same member still.
    pub fn identity(&self) -> (&str, u16) {
        let host = self.node.host();
        let name = if host.is_empty() { self.node.address().unwrap_or_default() } else { host };
        (name, self.node.port())
    }
}

impl From<Node> for Member {
    fn from(node: Node) -> Self {
        Self::new(node)
    }
}

impl fmt::Display for Member {
    /// The node as in a membership list, and the weight where it is not 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)?;
        if self.weight != Self::WEIGHT {
            write!(f, " weight {}", self.weight)?;
        }
        Ok(())
    }
}

/// All members of a cluster, and the version of that list.
///
/// A source sorts them by name and port, so that the same members are the same list on every
/// node; what a cluster tells stays in its order, which routing by position (`modula`) goes by.
/// Of two with one name and port the first stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Members {
    version: u64,
    members: Vec<Member>,
}

impl Members {
    /// Makes a list, sorted by name and port.
    pub fn new(version: u64, mut members: Vec<Member>) -> Self {
        // Stable: the first of two with one identity stays the first.
        members.sort_by(|a, b| a.identity().cmp(&b.identity()));
        Self::in_order(version, members)
    }

    /// Makes a list in the order that is given.
    pub fn in_order(version: u64, members: Vec<Member>) -> Self {
        let mut seen = BTreeSet::new();
        let is_new: Vec<_> = members.iter().map(|member| seen.insert(member.identity())).collect();
        let members = members.into_iter().zip(is_new);
        let members = members.filter_map(|(member, is_new)| is_new.then_some(member)).collect();
        Self { version, members }
    }

    /// Grows with every change of the list, not by one each time.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The members in their order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member of that identity.
    pub fn find(&self, identity: (&str, u16)) -> Option<&Member> {
        self.members.iter().find(|member| member.identity() == identity)
    }

    /// Those that are here and not in `other`, by identity.
    pub fn missing_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Member> {
        let others: BTreeSet<_> = other.members.iter().map(Member::identity).collect();
        self.members.iter().filter(move |member| !others.contains(&member.identity()))
    }

    /// The list as `config get cluster` answers it. Weights, names of certificates and zones have
    /// no place there.
    pub fn to_config(&self) -> ClusterConfig {
        ClusterConfig::new(
            self.version,
            self.members.iter().map(|member| member.node.clone()).collect(),
        )
    }
}

impl From<&ClusterConfig> for Members {
    /// In the order of the configuration.
    fn from(config: &ClusterConfig) -> Self {
        Self::in_order(config.version(), config.nodes().iter().cloned().map(Member::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: &str, address: &str, port: u16) -> Member {
        Member::new(Node::new(host, address, port).unwrap())
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let [a, b] = [member("a", "10.0.0.1", 1), member("b", "10.0.0.2", 1)];
        let moved = member("a", "10.0.0.9", 1);
        let expected = Members::new(1, vec![a.clone(), b.clone()]);
        assert_eq!(Members::new(1, vec![b.clone(), a.clone()]), expected);
        assert_eq!(Members::new(1, vec![a, b.clone(), moved]), expected);
        assert_eq!(expected.find(("b", 1)), Some(&b));
        assert_eq!(expected.find(("b", 2)), None);
    }

    #[test]
    fn a_list_that_is_told_keeps_its_order() {
        let told = ["c", "a", "b", "a", "c"].map(|name| member(name, "10.0.0.1", 1));
        let list = Members::in_order(1, told.to_vec());
        assert_eq!(list.members(), &told[..3]);
        for member in &told[..3] {
            assert_eq!(list.find(member.identity()), Some(member));
        }
        assert_eq!(list.find(("d", 1)), None);
        let sorted = Members::new(1, told.to_vec());
        assert_ne!(list, sorted);
        assert_eq!(list.missing_in(&sorted).chain(sorted.missing_in(&list)).count(), 0);
        assert_eq!(Members::in_order(1, sorted.members().to_vec()), sorted);
        let twice = vec![told[0].clone(), told[0].clone()];
        assert_eq!(Members::in_order(1, twice.clone()), Members::new(1, twice));
    }

    #[test]
    fn a_member_without_a_name_is_its_address() {
        assert_eq!(member("", "10.0.0.1", 5).identity(), ("10.0.0.1", 5));
        assert_eq!(member("a", "10.0.0.1", 5).identity(), ("a", 5));
    }

    #[test]
    fn those_that_left_and_came() {
        let old = Members::new(1, vec![member("a", "", 1), member("b", "", 1)]);
        let new = Members::new(2, vec![member("b", "10.0.0.1", 1), member("c", "", 1)]);
        let names = |list: Vec<&Member>| list.iter().map(|m| m.to_string()).collect::<Vec<_>>();
        assert_eq!(names(old.missing_in(&new).collect()), ["a||1"]);
        assert_eq!(names(new.missing_in(&old).collect()), ["c||1"]);
    }

    #[test]
    fn as_a_payload_and_back() {
        let payload = b"7\na|10.0.0.1|11211 b||11212\n";
        let config = ClusterConfig::parse(payload).unwrap();
        let members = Members::from(&config);
        assert_eq!(members.to_config(), config);
        assert_eq!(members.members()[0].weight(), 1);
    }
}
