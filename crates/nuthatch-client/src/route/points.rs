//! Where nodes stand on a ring: each client's way to spread them.

use sha1::Digest as _;

use super::hash::{self, FNV_JS_BASIS, HashKind};
use super::node::{Node, Style};

/// Points in order, and who stands at each. Of equal points the node that comes first in the list
/// has the first.
#[derive(Debug)]
pub(super) struct Points<T> {
    pub(super) values: Box<[T]>,
    pub(super) owners: Box<[u32]>,
}

impl<T: Copy + Ord> FromIterator<(T, u32)> for Points<T> {
    fn from_iter<I: IntoIterator<Item = (T, u32)>>(points: I) -> Self {
        let mut points: Vec<_> = points.into_iter().collect();
        points.sort_unstable();
        let (values, owners): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        Self { values: values.into(), owners: owners.into() }
    }
}

/// libmemcached without weights: a hundred points a node, hashed as keys are.
pub(super) fn unweighted(nodes: &[Node], kind: HashKind) -> Points<u32> {
    named(nodes, Style::PortUnlessDefault)
        .flat_map(|(owner, _, name)| {
            (0..100).map(move |i| (kind.hash(format!("{name}-{i}").as_bytes()), owner))
        })
        .collect()
}

/// libketama's way, which libmemcached and twemproxy share: as many points as weights ask for, 160
/// a node on average, four to an MD5 digest.
pub(super) fn weighted(nodes: &[Node], style: Style) -> Points<u32> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.weight())).sum();
    named(nodes, style)
        .flat_map(|(owner, node, name)| {
            let digests = digests_single(node.weight(), total, nodes.len());
            fours(owner, name, digests, |name| hash::words(&hash::md5(name)))
        })
        .collect()
}

/// How many digests of four points each a node gets, in single precision, as others compute it: in
/// double precision 3 of 10 nodes may get one more.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rounding is what must be repeated; what is left is a small number, not negative"
)]
fn digests_single(weight: u16, total: u64, n_nodes: usize) -> u32 {
    let share = f32::from(weight) / total as f32;
    (share * 160.0 / 4.0 * n_nodes as f32 + 1e-10).floor() as u32
}

/// The same as npm's `hashring` has it, in double precision.
pub(super) fn hashring(nodes: &[Node]) -> Points<u32> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.weight())).sum();
    named(nodes, Style::Port)
        .flat_map(|(owner, node, name)| {
            let share = f64::from(node.weight()) / total_f64(total);
            let digests = floor(share * 40.0 * count_f64(nodes));
            fours(owner, name, digests, |name| hash::words(&hash::md5(name)))
        })
        .collect()
}

/// spymemcached's: 160 points for everybody.
pub(super) fn spymemcached(nodes: &[Node]) -> Points<u32> {
    named(nodes, Style::HostAndAddress)
        .flat_map(|(owner, _, name)| fours(owner, name, 40, |name| hash::words(&hash::md5(name))))
        .collect()
}

/// The same with SHA-384 instead of MD5.
pub(super) fn aws(nodes: &[Node]) -> Points<u32> {
    let digest = |name: &[u8]| hash::words(&sha2::Sha384::digest(name));
    named(nodes, Style::AddressPort)
        .flat_map(|(owner, _, name)| fours(owner, name, 40, digest))
        .collect()
}

/// dalli's: the start of a SHA-1 digest.
pub(super) fn dalli(nodes: &[Node]) -> Points<u32> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.weight())).sum();
    named(nodes, Style::Port)
        .flat_map(|(owner, node, name)| {
            let points =
                floor(count_f64(nodes) * 160.0 * f64::from(node.weight()) / total_f64(total));
            (0..points).map(move |i| {
                let digest = sha1::Sha1::digest(format!("{name}:{i}"));
                (u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]), owner)
            })
        })
        .collect()
}

/// Cache::Memcached::Fast's: a chain of CRCs, each over the one before.
pub(super) fn crc_chain(nodes: &[Node], n_points: u16) -> Points<u32> {
    named(nodes, Style::NulPort)
        .flat_map(|(owner, node, name)| {
            let start = crc32fast::hash(name.as_bytes());
            let mut point = 0_u32;
            (0..limited(n_points, node)).map(move |_| {
                let mut crc = crc32fast::Hasher::new_with_initial(start);
                crc.update(&point.to_le_bytes());
                point = crc.finalize();
                (point, owner)
            })
        })
        .collect()
}

/// npm's `memcache`: numbers with a sign, here moved up so that they sort without.
pub(super) fn fnv_js(nodes: &[Node]) -> Points<u32> {
    named(nodes, Style::Port)
        .flat_map(|(owner, node, name)| {
            (1..=limited(50, node)).map(move |i| {
                let text = format!("{name}\0{i}");
                (unsigned_order(hash::fnv_js(FNV_JS_BASIS, text.as_bytes())), owner)
            })
        })
        .collect()
}

/// A number with a sign as one without that sorts the same.
pub(super) fn unsigned_order(number: i32) -> u32 {
    number.cast_unsigned() ^ 1 << 31
}

/// uhashring's: whole MD5 digests, as big numbers.
pub(super) fn uhashring(nodes: &[Node], style: Style) -> Points<u128> {
    named(nodes, style)
        .flat_map(|(owner, node, name)| {
            (0..limited(160, node)).map(move |i| {
                let digest = hash::md5(format!("{name}-{i}").as_bytes());
                (u128::from_be_bytes(digest), owner)
            })
        })
        .collect()
}

/// Nodes with their positions and names.
fn named(nodes: &[Node], style: Style) -> impl Iterator<Item = (u32, &Node, String)> {
    (0..).zip(nodes).map(move |(owner, node)| (owner, node, node.called(style)))
}

/// Four points from the digest of each of `name-0`, `name-1`, ….
fn fours(
    owner: u32,
    name: String,
    digests: u32,
    digest: impl Fn(&[u8]) -> [u32; 4],
) -> impl Iterator<Item = (u32, u32)> {
    (0..digests)
        .flat_map(move |i| digest(format!("{name}-{i}").as_bytes()))
        .map(move |p| (p, owner))
}

/// Points of a node where weights simply multiply them, up to a limit.
fn limited(each: u16, node: &Node) -> u32 {
    (u32::from(each) * u32::from(node.weight())).min(POINTS_MAX)
}

/// More points than this no node gets: it bounds what a list of nodes with absurd weights can take
/// (1.3 MB a node at most), and is far from what is in use (150 times a weight of 400).
const POINTS_MAX: u32 = 65_536;

#[expect(clippy::cast_precision_loss, reason = "a sum of 16-bit weights fits")]
fn total_f64(total: u64) -> f64 {
    total as f64
}

#[expect(clippy::cast_precision_loss, reason = "nodes are few")]
fn count_f64(nodes: &[Node]) -> f64 {
    nodes.len() as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of points is small and not negative; fractions are to go"
)]
fn floor(number: f64) -> u32 {
    number.floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shared_out_in_single_precision() {
        assert_eq!(digests_single(1, 1, 1), 40);
        assert_eq!(digests_single(1, 10, 10), 40);
        assert_eq!(digests_single(100, 141, 10), 283);
        assert_eq!(digests_single(1, 1_000_000, 2), 0, "a node may get none at all");
    }

    #[test]
    fn no_weight_makes_more_points_than_the_limit() {
        let nodes = [Node::new("h", 1).with_weight(u16::MAX)];
        assert_eq!(uhashring(&nodes, Style::Port).values.len(), 65_536);
    }
}
