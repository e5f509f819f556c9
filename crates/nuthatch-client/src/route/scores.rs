//! Rules by which every node scores for a key, and the highest score has it.

use std::io::Read as _;

use super::hash::{self, Murmur3};
use super::node::{Node, Style};

/// How nodes score for a key.
pub(super) enum Scores {
    /// Ours: the XXH3 of each name, mixed with that of the key.
    Even(Box<[u64]>),
    /// The same, divided by weights.
    Weighted(Box<[(u64, f64)]>),
    /// MurmurHash3 of `name-key`: that of `name-` so far, and the name for ties.
    Pymemcache(Box<[(Murmur3, Box<str>)]>),
    /// MurmurHash3 of key and name, and of the name alone for ties.
    Emcache(Box<[(Box<str>, u32)]>),
}

impl Scores {
    pub(super) fn rendezvous(nodes: &[Node]) -> Self {
        let seeds = nodes.iter().map(|node| xxh3(node.called(Style::Port).as_bytes()));
        if nodes.iter().all(|node| node.weight() == nodes[0].weight()) {
            return Self::Even(seeds.collect());
        }
        let weights = nodes.iter().map(|node| f64::from(node.weight()));
        Self::Weighted(seeds.zip(weights).collect())
    }

    /// pymemcache's, over characters.
    pub(super) fn pymemcache(nodes: &[Node]) -> Self {
        let names = nodes.iter().map(|node| node.called(Style::Port));
        let names = names.map(|name| {
            let start = Murmur3::default().fed(name.bytes()).fed(b"-".iter().copied());
            (start, name.into())
        });
        Self::Pymemcache(names.collect())
    }

    /// emcache's.
    pub(super) fn emcache(nodes: &[Node]) -> Self {
        let names = nodes.iter().map(|node| node.called(Style::Joined));
        let names = names.map(|name| {
            let tie = emcache_hash(name.as_bytes(), &[]);
            (name.into(), tie)
        });
        Self::Emcache(names.collect())
    }

    /// The position of the highest score; none if there is no node.
    pub(super) fn best(&self, key: &[u8]) -> Option<usize> {
        match self {
            Self::Even(seeds) => {
                let key = xxh3(key);
                best((0..).zip(seeds).map(|(i, seed)| (mixed(key, *seed), i)))
            }
            _ => self.below(key, None),
        }
    }

    /// The position of the highest score below that of another node.
    pub(super) fn below(&self, key: &[u8], last: Option<usize>) -> Option<usize> {
        match self {
            Self::Even(seeds) => {
                let key = xxh3(key);
                next_best(last, seeds.len(), |i| mixed(key, seeds[i]))
            }
            Self::Weighted(nodes) => {
                let key = xxh3(key);
                next_best(last, nodes.len(), |i| weighted_score(mixed(key, nodes[i].0), nodes[i].1))
            }
            Self::Pymemcache(nodes) => next_best(last, nodes.len(), |i| {
                let (start, name) = &nodes[i];
                // A character of ASCII is its byte.
                let end = if key.is_ascii() {
                    start.fed(key.iter().copied())
                } else {
                    start.fed(hash::chars(key))
                };
                (end.finish(), &**name)
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

/// XXH3 in 64 bits, which our own rules hash with.
pub(super) fn xxh3(bytes: &[u8]) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_logarithm_is_one() {
        for shift in 0..64 {
            for mix in [u64::MAX >> shift, 0xb504_f333_f9de_6484 >> shift, 1 << shift] {
                #[expect(clippy::cast_precision_loss, reason = "the reference is no better")]
                let u = ((mix >> 11) | 1) as f64 / (1_u64 << 53) as f64;
                assert!((minus_ln(mix) + u.ln()).abs() < 1e-9, "{mix}");
                assert!(minus_ln(mix) > 0.0, "{mix}");
            }
        }
    }
}
