//! A rule applied to a list of nodes: what is asked for every key.

use std::fmt;
use std::sync::Arc;

use super::hash::{self, FNV_JS_BASIS, HashKind};
use super::node::{Node, Style};
use super::order::Order;
use super::points::{self, Points};
use super::router::{Custom, Rule};
use super::scores::{Scores, xxh3};

/// Which of a list of nodes has a key, by one rule. Made by [`Router::ring`](super::Router::ring);
/// never changes.
///
/// Nodes are named by their position in the list. Nothing here allocates but [`order`](Self::order)
/// on its way past the first node.
pub struct Ring {
    nodes: Arc<[Node]>,
    table: Table,
}

/// How a ring is looked up. In each, there is at least one node.
pub(super) enum Table {
    /// Points on a circle of 32 bits.
    Circle {
        points: Points<u32>,
        hash: KeyHash,
        rule: Next,
    },
    /// Points on a circle of 128 bits: [`Next::Above`], by MD5.
    WideCircle(Points<u128>),
    /// A hash modulo what weights sum up to. Node `i` has what is below `ends[i]`.
    Modulo {
        hash: KeyHash,
        ends: Box<[u32]>,
    },
    Jump,
    /// The node of the highest score.
    Scores(Scores),
    Custom(Custom),
    /// No node.
    Nothing,
}

/// Whose a place on a circle is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// The first point there or above.
    AtOrAbove,
    /// The first point there or below.
    AtOrBelow,
}

/// What is looked up for a key in 32 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyHash {
    Kit(HashKind),
    Sha384,
    Java31,
    Abs31,
    FnvJs,
    /// The 15 bits of [`HashKind::Crc`], but never 0.
    CrcNotZero,
}

impl KeyHash {
    pub(super) fn of(self, key: &[u8]) -> u32 {
        match self {
            Self::Kit(kind) => kind.hash(key),
            Self::Sha384 => {
                use sha2::Digest as _;
                hash::words(&sha2::Sha384::digest(key))[0]
            }
            Self::Java31 => hash::java31(key),
            Self::Abs31 => hash::abs31(key),
            Self::FnvJs => points::unsigned_order(hash::fnv_js(FNV_JS_BASIS, key)),
            Self::CrcNotZero => HashKind::Crc.hash(key).max(1),
        }
    }
}

impl Ring {
    pub(super) fn new(rule: &Rule, nodes: &[Node]) -> Self {
        let table = if nodes.is_empty() { Table::Nothing } else { table(rule, nodes) };
        Self { nodes: nodes.into(), table }
    }

    /// The nodes, in the order of the list that the ring was made of.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The position of the node that has a key; none only if there is no node.
    pub fn pick(&self, key: &[u8]) -> Option<usize> {
        Some(match &self.table {
            Table::Circle { points, hash, rule } => points.owner(points.at(hash.of(key), *rule)),
            Table::WideCircle(points) => points.owner(points.above(wide_hash(key))),
            Table::Modulo { hash, ends } => modulo(ends, hash.of(key)),
            Table::Jump => self.jump(key),
            Table::Scores(scores) => scores.best(key)?,
            Table::Custom(pick) => pick(key, &self.nodes) % self.nodes.len(),
            Table::Nothing => return None,
        })
    }

    /// The nodes in the order in which a key falls to them: the one that has it, the one that would
    /// have it if that were gone, and so on, each once.
    ///
    /// For circles and scores this is where keys go when nodes leave the list, as far as points do
    /// not shift with weights; other rules go on to the next in the list. What other clients do
    /// while a node is down is often something else: [`dalli`](super::Router::dalli), for one,
    /// hashes again.
    pub fn order<'a>(&'a self, key: &'a [u8]) -> Order<'a> {
        Order::new(self, key)
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    fn jump(&self, key: &[u8]) -> usize {
        let buckets = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        hash::jump_bucket(xxh3(key), buckets) as usize
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

fn table(rule: &Rule, nodes: &[Node]) -> Table {
    let circle = |points: Points<u32>, hash| {
        // Absurd weights can leave nobody a point.
        let is_bare = points.values.is_empty();
        let points = if is_bare { std::iter::once((0, 0)).collect() } else { points };
        Table::Circle { points, hash, rule: Next::AtOrAbove }
    };
    let kit = KeyHash::Kit;
    match *rule {
        Rule::Rendezvous => Table::Scores(Scores::rendezvous(nodes)),
        Rule::Jump => Table::Jump,
        Rule::KetamaLibmemcached(hash) if nodes.iter().any(|node| node.weight() > 1) => {
            circle(points::weighted(nodes, Style::PortUnlessDefault), kit(hash))
        }
        Rule::KetamaLibmemcached(hash) => circle(points::unweighted(nodes, hash), kit(hash)),
        Rule::KetamaLibmemcachedWeighted => {
            circle(points::weighted(nodes, Style::PortUnlessDefault), kit(HashKind::Md5))
        }
        Rule::KetamaLibmemcachedSpy => {
            circle(points::weighted(nodes, Style::SlashPort), kit(HashKind::Md5))
        }
        Rule::KetamaTwemproxy(hash) => {
            circle(points::weighted(nodes, Style::PortUnlessDefault), kit(hash))
        }
        Rule::KetamaSpymemcached => circle(points::spymemcached(nodes), kit(HashKind::Md5)),
        Rule::KetamaAws => circle(points::aws(nodes), KeyHash::Sha384),
        Rule::NpmMemcached => circle(points::hashring(nodes), kit(HashKind::Md5)),
        Rule::NpmMemcache => circle(points::fnv_js(nodes), KeyHash::FnvJs),
        Rule::PerlKetama(n) => circle(points::crc_chain(nodes, n), kit(HashKind::Crc32)),
        Rule::Dalli => match circle(points::dalli(nodes), kit(HashKind::Crc32)) {
            Table::Circle { points, hash, .. } => {
                Table::Circle { points, hash, rule: Next::AtOrBelow }
            }
            other => other,
        },
        Rule::Bmemcached => Table::WideCircle(points::uhashring(nodes, Style::WithoutLogin)),
        Rule::MetaMemcache => Table::WideCircle(points::uhashring(nodes, Style::Port)),
        Rule::ModulaLibmemcached(hash) => even_modulo(nodes, kit(hash)),
        Rule::ModulaSpymemcached => even_modulo(nodes, KeyHash::Java31),
        Rule::NpmMemjs => even_modulo(nodes, KeyHash::Abs31),
        Rule::Gomemcache => even_modulo(nodes, kit(HashKind::Crc32)),
        Rule::ModulaTwemproxy(hash) => weighted_modulo(nodes, kit(hash)),
        Rule::Perl => weighted_modulo(nodes, kit(HashKind::Crc)),
        Rule::PythonMemcached => weighted_modulo(nodes, KeyHash::CrcNotZero),
        Rule::Pymemcache => Table::Scores(Scores::pymemcache(nodes)),
        Rule::Emcache => Table::Scores(Scores::emcache(nodes)),
        Rule::Custom(ref pick) => Table::Custom(Arc::clone(pick)),
    }
}

fn even_modulo(nodes: &[Node], hash: KeyHash) -> Table {
    Table::Modulo { hash, ends: (1..).take(nodes.len()).collect() }
}

fn weighted_modulo(nodes: &[Node], hash: KeyHash) -> Table {
    let ends = nodes.iter().scan(0_u32, |end, node| {
        *end = end.saturating_add(node.weight().into());
        Some(*end)
    });
    Table::Modulo { hash, ends: ends.collect() }
}

/// The node that has a number modulo the last of `ends`.
fn modulo(ends: &[u32], hash: u32) -> usize {
    let total = ends[ends.len() - 1];
    let place = hash % total;
    // Without weights every node has one number, its position.
    if total as usize == ends.len() {
        return place as usize;
    }
    ends.partition_point(|end| *end <= place)
}

impl Points<u32> {
    /// The place of the point that has a hash.
    pub(super) fn at(&self, hash: u32, rule: Next) -> usize {
        match rule {
            Next::AtOrAbove => {
                let place = self.values.partition_point(|value| *value < hash);
                if place == self.values.len() { 0 } else { place }
            }
            Next::AtOrBelow => {
                let above = self.values.partition_point(|value| *value <= hash);
                above.checked_sub(1).unwrap_or(self.values.len() - 1)
            }
        }
    }
}

impl Points<u128> {
    /// The place of the first point above a hash.
    pub(super) fn above(&self, hash: u128) -> usize {
        let place = self.values.partition_point(|value| *value <= hash);
        if place == self.values.len() { 0 } else { place }
    }
}

impl<T> Points<T> {
    fn owner(&self, place: usize) -> usize {
        self.owners[place] as usize
    }
}

pub(super) fn wide_hash(key: &[u8]) -> u128 {
    u128::from_be_bytes(hash::md5(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::Router;

    /// Every rule that has a name.
    fn routers() -> impl Iterator<Item = Router> {
        let names = super::super::RouterError::Rule.to_string();
        let (_, names) = names.split_once("there are ").unwrap();
        names.split(", ").map(|name| name.parse().unwrap()).collect::<Vec<_>>().into_iter()
    }

    fn nodes(count: usize) -> Vec<Node> {
        (0..count).map(|i| Node::new(format!("node-{i}.example"), 11211)).collect()
    }

    #[test]
    fn there_is_a_node_unless_there_is_none() {
        for router in routers() {
            let none = router.ring(&[]);
            assert_eq!((none.pick(b"key"), none.order(b"key").count()), (None, 0), "{router}");
            let one = router.ring(&nodes(1));
            assert_eq!((one.pick(b"key"), one.order(b"key").count()), (Some(0), 1), "{router}");
            assert_eq!(one.pick(b""), Some(0), "{router}");
        }
    }

    #[test]
    fn what_a_custom_rule_returns_is_a_node() {
        let ring = Router::custom(|_, _| usize::MAX).ring(&nodes(2));
        assert_eq!(ring.pick(b"key"), Some(1));
        assert_eq!(ring.order(b"key").collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn nodes_without_a_point_come_last() {
        let uneven = [Node::new("a", 1), Node::new("b", 1).with_weight(u16::MAX)];
        let ring = Router::ketama_libmemcached_weighted().ring(&uneven);
        assert_eq!(ring.order(b"key").collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn shares_follow_weights() {
        let weights = [1, 2, 3, 4];
        let nodes: Vec<_> =
            nodes(4).into_iter().zip(weights).map(|(node, w)| node.with_weight(w)).collect();
        let weighted = ["rendezvous", "ketama-libmemcached-weighted", "modula-twemproxy"];
        for name in weighted {
            let shares = name.parse::<Router>().unwrap().ring(&nodes).shares();
            for (share, weight) in shares.iter().zip(weights) {
                let expected = f64::from(weight) / 10.0;
                let tolerance = if name == "rendezvous" { 0.01 } else { 0.05 };
                assert!((share - expected).abs() < tolerance, "{name}: {shares:?}");
            }
        }
    }

    #[test]
    fn where_our_own_rules_put_keys_never_changes() {
        // From the first version. Whoever changes these moves everybody's keys.
        let even = Router::rendezvous().ring(&nodes(10));
        let uneven: Vec<_> =
            (1..).zip(nodes(10)).map(|(weight, node)| node.with_weight(weight)).collect();
        let weighted = Router::rendezvous().ring(&uneven);
        let jump = Router::jump().ring(&nodes(10));
        let places = |ring: &Ring| {
            (0..16).map(|i| ring.pick(format!("key:{i}").as_bytes()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(places(&even), [2, 6, 3, 0, 1, 6, 2, 7, 9, 9, 3, 6, 9, 3, 1, 5]);
        assert_eq!(places(&weighted), [2, 6, 3, 3, 9, 6, 9, 7, 9, 9, 7, 6, 9, 3, 1, 5]);
        assert_eq!(places(&jump), [0, 1, 8, 9, 8, 8, 5, 1, 2, 8, 8, 9, 9, 3, 4, 7]);
    }

    proptest! {
        #[test]
        fn an_order_has_every_node_once_and_begins_with_the_pick(
            key in prop::collection::vec(any::<u8>(), 0..300),
            weights in prop::collection::vec(any::<u16>(), 1..12),
        ) {
            let nodes: Vec<_> = nodes(weights.len())
                .into_iter()
                .zip(&weights)
                // Long rings of absurd weights take their time.
                .map(|(node, weight)| node.with_weight(weight % 20))
                .collect();
            for router in routers() {
                let ring = router.ring(&nodes);
                let mut order: Vec<_> = ring.order(&key).collect();
                prop_assert_eq!(order.first().copied(), ring.pick(&key), "{}", router);
                order.sort_unstable();
                prop_assert_eq!(order, (0..nodes.len()).collect::<Vec<_>>(), "{}", router);
            }
        }

        #[test]
        fn keys_of_a_lost_node_go_to_the_next_in_order(key: u64, count in 2..9_usize) {
            let key = key.to_string();
            let all = nodes(count);
            // Points of these do not shift when the list changes.
            let rules = "rendezvous ketama-libmemcached ketama-libmemcached-weighted \
                ketama-spymemcached ketama-aws dalli bmemcached pymemcache emcache perl-ketama";
            for name in rules.split_whitespace() {
                let router: Router = name.parse().unwrap();
                let ring = router.ring(&all);
                let mut left = all.clone();
                for node in ring.order(key.as_bytes()) {
                    let now = router.ring(&left).pick(key.as_bytes()).unwrap();
                    prop_assert_eq!(&left[now], &all[node], "{}", name);
                    left.remove(now);
                }
            }
        }
    }
}
