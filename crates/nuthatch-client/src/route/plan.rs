//! Looking before leaping: who has how much, and what a change would move.

use super::node::Node;
use super::ring::Ring;

/// What a change of the list of nodes, or of the rule, would move.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moved {
    /// The part of the keys that would lie on another node, 0 to 1.
    pub share: f64,
    /// For each node of the planned ring, the part of all keys that it would take over from others.
    pub taken: Box<[f64]>,
}

impl Ring {
    /// Which part of the keys each node has, in the order of the list; together 1.
    ///
    /// Counted over 65,536 keys that stand for all, so it holds to about half a per cent.
    ///
    /// ```
    /// use nuthatch_client::route::{Node, Router};
    ///
    /// let nodes = [Node::new("a", 1).with_weight(3), Node::new("b", 1)];
    /// let shares = Router::rendezvous().ring(&nodes).shares();
    /// assert!((shares[0] - 0.75).abs() < 0.01);
    /// ```
    pub fn shares(&self) -> Box<[f64]> {
        let mut counts = vec![0_u32; self.nodes().len()];
        for i in 0..SAMPLE_LEN {
            if let Some(node) = self.pick(&sample(i)) {
                counts[node] += 1;
            }
        }
        shares_of(&counts)
    }

    /// What would move if this ring were replaced by another, without doing it.
    ///
    /// Nodes are the same where what [`Node`]'s `Display` says is the same. Counted as
    /// [`shares`](Self::shares) are.
    ///
    /// ```
    /// use nuthatch_client::route::{Node, Router};
    ///
    /// let nodes = ["a", "b", "c", "d"].map(|host| Node::new(host, 11211));
    /// let router = Router::ketama_libmemcached_weighted();
    /// let moved = router.ring(&nodes[..3]).moved(&router.ring(&nodes));
    /// assert!((0.2..0.3).contains(&moved.share)); // a quarter would be ideal
    /// assert_eq!(moved.taken[..3], [0.0; 3]);
    /// ```
    pub fn moved(&self, planned: &Self) -> Moved {
        let names = |ring: &Self| ring.nodes().iter().map(Node::to_string).collect::<Vec<_>>();
        let (old_names, new_names) = (names(self), names(planned));
        let mut counts = vec![0_u32; new_names.len()];
        for i in 0..SAMPLE_LEN {
            let key = sample(i);
            let old = self.pick(&key).map(|node| &old_names[node]);
            if let Some(new) = planned.pick(&key)
                && old != Some(&new_names[new])
            {
                counts[new] += 1;
            }
        }
        let taken = shares_of(&counts);
        Moved { share: taken.iter().sum(), taken }
    }
}

fn shares_of(counts: &[u32]) -> Box<[f64]> {
    counts.iter().map(|count| f64::from(*count) / f64::from(SAMPLE_LEN)).collect()
}

/// A key that stands for many. Spread over all bytes: some hash functions of old hardly mix keys
/// that differ in their last digits only.
fn sample(i: u32) -> [u8; 8] {
    let mut mixed = u64::from(i).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    // Printable, as keys are.
    mixed.to_be_bytes().map(|byte| b'0' + byte % 64)
}

const SAMPLE_LEN: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Router;

    #[test]
    fn a_change_of_rule_moves_nearly_everything_and_no_change_nothing() {
        let nodes: Vec<_> = (0..10).map(|i| Node::new(format!("n{i}"), 11211)).collect();
        let ring = Router::rendezvous().ring(&nodes);
        assert_eq!(ring.moved(&ring).share, 0.0);
        let other = Router::dalli().ring(&nodes);
        assert!((0.88..0.92).contains(&ring.moved(&other).share));
    }

    #[test]
    fn from_and_to_nothing() {
        let ring = Router::jump().ring(&[Node::new("a", 1)]);
        let none = Router::jump().ring(&[]);
        assert_eq!(none.shares().len(), 0);
        assert_eq!(none.moved(&ring), Moved { share: 1.0, taken: [1.0].into() });
        assert_eq!(ring.moved(&none), Moved { share: 0.0, taken: [].into() });
    }
}
