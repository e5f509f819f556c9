//! Who is next: the nodes in the order in which a key falls to them.

use std::fmt;

use super::ring::{Next, Ring, Table, wide_hash};

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

impl<'a> Order<'a> {
    pub(super) fn new(ring: &'a Ring, key: &'a [u8]) -> Self {
        Self { ring, key, step: Step::First, left: ring.nodes().len() }
    }
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
            Step::At(last) => match self.ring.table() {
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
                    *last = (*last + 1) % self.ring.nodes().len();
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
        let (owners, is_back) = match self.ring.table() {
            Table::Circle { points, rule, .. } => (&points.owners, matches!(rule, Next::AtOrBelow)),
            Table::WideCircle(points) => (&points.owners, false),
            _ => return None,
        };
        if let Step::At(first) = self.step {
            let mut seen = vec![false; self.ring.nodes().len()].into_boxed_slice();
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
