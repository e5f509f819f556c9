//! A rule applied to a list of nodes: what is asked for every key.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use super::hash::{self, FNV_JS_BASIS, HashKind};
use super::node::{Node, Style};
use super::points::{self, Points};
use super::router::{Custom, Rule};

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
enum Table {
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
enum Next {
    /// The first point there or above.
    AtOrAbove,
    /// The first point there or below.
    AtOrBelow,
}

/// What is looked up for a key in 32 bits.
#[derive(Clone, Copy, Debug)]
enum KeyHash {
    Kit(HashKind),
    Sha384,
    Java31,
    Abs31,
    FnvJs,
    /// The 15 bits of [`HashKind::Crc`], but never 0.
    CrcNotZero,
}

impl KeyHash {
    fn of(self, key: &[u8]) -> u32 {
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

/// How nodes score for a key.
enum Scores {
    /// Ours: the XXH3 of each name, mixed with that of the key.
    Even(Box<[u64]>),
    /// The same, divided by weights.
    Weighted(Box<[(u64, f64)]>),
    /// MurmurHash3 of `name-key`.
    Pymemcache(Box<[Box<str>]>),
    /// MurmurHash3 of key and name, and of the name alone for ties.
    Emcache(Box<[(Box<str>, u32)]>),
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
        Order { ring: self, key, step: Step::First, left: self.nodes.len() }
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
        Rule::Pymemcache => {
            let names = nodes.iter().map(|node| node.called(Style::Port).into());
            Table::Scores(Scores::Pymemcache(names.collect()))
        }
        Rule::Emcache => {
            let names = nodes.iter().map(|node| node.called(Style::Joined));
            let names = names.map(|name| {
                let tie = emcache_hash(name.as_bytes(), &[]);
                (name.into(), tie)
            });
            Table::Scores(Scores::Emcache(names.collect()))
        }
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
    fn at(&self, hash: u32, rule: Next) -> usize {
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
    fn above(&self, hash: u128) -> usize {
        let place = self.values.partition_point(|value| *value <= hash);
        if place == self.values.len() { 0 } else { place }
    }
}

impl<T> Points<T> {
    fn owner(&self, place: usize) -> usize {
        self.owners[place] as usize
    }
}

fn wide_hash(key: &[u8]) -> u128 {
    u128::from_be_bytes(hash::md5(key))
}

impl Scores {
    fn rendezvous(nodes: &[Node]) -> Self {
        let seeds = nodes.iter().map(|node| xxh3(node.called(Style::Port).as_bytes()));
        if nodes.iter().all(|node| node.weight() == nodes[0].weight()) {
            return Self::Even(seeds.collect());
        }
        let weights = nodes.iter().map(|node| f64::from(node.weight()));
        Self::Weighted(seeds.zip(weights).collect())
    }

    /// The position of the highest score; none if there is no node.
    fn best(&self, key: &[u8]) -> Option<usize> {
        match self {
            Self::Even(seeds) => {
                let key = xxh3(key);
                best((0..).zip(seeds).map(|(i, seed)| (mixed(key, *seed), i)))
            }
            _ => self.below(key, None),
        }
    }

    /// The position of the highest score below that of another node.
    fn below(&self, key: &[u8], last: Option<usize>) -> Option<usize> {
        match self {
            Self::Even(seeds) => {
                let key = xxh3(key);
                next_best(last, seeds.len(), |i| mixed(key, seeds[i]))
            }
            Self::Weighted(nodes) => {
                let key = xxh3(key);
                next_best(last, nodes.len(), |i| weighted_score(mixed(key, nodes[i].0), nodes[i].1))
            }
            Self::Pymemcache(names) => next_best(last, names.len(), |i| {
                let name = &*names[i];
                let text = name.bytes().chain(*b"-").chain(hash::chars(key));
                (hash::murmur3_32(text, 0), name)
            }),
            Self::Emcache(nodes) => next_best(last, nodes.len(), |i| {
                let (name, tie) = &nodes[i];
                // Of equals the first stays.
                (emcache_hash(key, name.as_bytes()), *tie, std::cmp::Reverse(i))
            }),
        }
    }
}

/// The position with the highest score; of equals the last.
fn best(scores: impl Iterator<Item = (u64, usize)>) -> Option<usize> {
    scores.max().map(|(_, i)| i)
}

/// The position with the highest score among those that come after `last` in descending order.
fn next_best<S: Ord>(last: Option<usize>, len: usize, score: impl Fn(usize) -> S) -> Option<usize> {
    let limit = last.map(|last| (score(last), last));
    let scores = (0..len).map(|i| (score(i), i));
    scores.filter(|found| limit.as_ref().is_none_or(|limit| found < limit)).max().map(|(_, i)| i)
}

/// Key and node in one number: the finishing step of MurmurHash3 in 64 bits.
fn mixed(key: u64, seed: u64) -> u64 {
    let mut mix = key ^ seed;
    mix = (mix ^ mix >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mix = (mix ^ mix >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mix ^ mix >> 33
}

/// The score that makes shares proportional to weights: `weight / -ln(u)` for `u` even in 0 to 1.
/// As bits, which sort as the numbers do, none of them being negative.
fn weighted_score(mix: u64, weight: f64) -> u64 {
    (weight / minus_ln(mix)).to_bits()
}

/// `-ln((mix + ½) / 2⁶⁴)`, by steps that are exact to the bit on every machine, which `f64::ln` is
/// not: clients on two kinds of machine must agree.
fn minus_ln(mix: u64) -> f64 {
    // The upper 52 bits and one more, so that it is neither 0 nor 1.
    let odd = (mix >> 11) | 1;
    // odd = m · 2^e with m in 1 to 2.
    let e = 63 - odd.leading_zeros();
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let m = odd as f64 / (1_u64 << e) as f64;
    // ln m = 2 artanh((m - 1) / (m + 1)); the quotient is below 1/3, so the terms left out are
    // below 3⁻²³ / 23, a relative 2⁻⁴⁰.
    let q = (m - 1.0) / (m + 1.0);
    let q2 = q * q;
    let mut sum = 0.0;
    for k in (0..11).rev() {
        sum = sum * q2 + 1.0 / (2.0 * f64::from(k) + 1.0);
    }
    (53.0 - f64::from(e)) * std::f64::consts::LN_2 - 2.0 * q * sum
}

fn xxh3(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// What emcache keeps of the MurmurHash3 of two pieces: the first byte, and the signs of four. It
/// means to put four bytes together, but shifts its mask where it should shift the bytes, and the
/// bytes are signed.
fn emcache_hash(key: &[u8], name: &[u8]) -> u32 {
    let mut both = key.chain(name);
    let digest = murmur3::murmur3_x64_128(&mut both, 0).expect("reading from memory cannot fail");
    (0..4).zip(digest.to_le_bytes()).fold(0, |hash, (i, byte)| {
        let signed = i32::from(byte.cast_signed()).cast_unsigned();
        hash | signed & u32::MAX << (8 * i)
    })
}

/// The nodes in the order in which a key falls to them; see [`Ring::order`].
#[derive(Clone)]
pub struct Order<'a> {
    ring: &'a Ring,
    key: &'a [u8],
    step: Step,
    left: usize,
}

/// Where an [`Order`] stands.
#[derive(Clone)]
enum Step {
    /// Before its start.
    First,
    /// At a node, the first for this key.
    At(usize),
    /// At a place of a circle.
    Circle { place: usize, seen: Box<[bool]> },
}

impl Iterator for Order<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let node = match &mut self.step {
            Step::First => {
                let node = self.ring.pick(self.key)?;
                self.step = Step::At(node);
                return Some(node);
            }
            Step::At(last) => match &self.ring.table {
                Table::Circle { points, hash, rule } => {
                    let start = points.at(hash.of(self.key), *rule);
                    self.walk(start)?
                }
                Table::WideCircle(points) => self.walk(points.above(wide_hash(self.key)))?,
                Table::Scores(scores) => {
                    *last = scores.below(self.key, Some(*last))?;
                    *last
                }
                Table::Modulo { .. } | Table::Jump | Table::Custom(_) | Table::Nothing => {
                    *last = (*last + 1) % self.ring.nodes.len();
                    *last
                }
            },
            Step::Circle { place, .. } => {
                let place = *place;
                self.walk(place)?
            }
        };
        Some(node)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Order<'_> {
    /// Goes on from a place of a circle to the next node that was not seen. Nodes without a point
    /// come last, in the order of the list.
    fn walk(&mut self, start: usize) -> Option<usize> {
        let (owners, is_back) = match &self.ring.table {
            Table::Circle { points, rule, .. } => (&points.owners, matches!(rule, Next::AtOrBelow)),
            Table::WideCircle(points) => (&points.owners, false),
            _ => return None,
        };
        if let Step::At(first) = self.step {
            let mut seen = vec![false; self.ring.nodes.len()].into_boxed_slice();
            seen[first] = true;
            self.step = Step::Circle { place: start, seen };
        }
        let Step::Circle { place, seen } = &mut self.step else { return None };
        for _ in 0..owners.len() {
            *place = if is_back {
                place.checked_sub(1).unwrap_or(owners.len() - 1)
            } else {
                (*place + 1) % owners.len()
            };
            let node = owners[*place] as usize;
            if !seen[node] {
                seen[node] = true;
                return Some(node);
            }
        }
        let node = seen.iter().position(|seen| !seen)?;
        seen[node] = true;
        Some(node)
    }
}

impl fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("left", &self.left).finish_non_exhaustive()
    }
}
