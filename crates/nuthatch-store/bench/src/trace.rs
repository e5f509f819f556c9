//! Traces: ECT1 files, and made-up ones.
//!
//! An ECT1 file, as it is or in zstd, is little endian: a header of 32 bytes, then whole columns one
//! after the other, each with an entry for every request.
//!
//! ```text
//!  0  "ECT1"             16  u32 number of objects
//!  4  u32 columns        20  u32 value size where there is no such column (0 = unit size)
//!  8  u64 requests       24  u32 key size where there is no such column
//!                        28  u32 0
//!
//!  id u32 | time u32 | vsize u32 | ksize u16 | ttl u32 | op u8      (bits 0 to 4 of columns: all
//!                                                                    but id, which is always there)
//! ```
//!
//! Times are seconds since the first request, a life span of 0 is for ever, and an op is 0 for a
//! get (filled when it misses), 1 for a set, 2 for a delete.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::Result;
use crate::load::{Rng, Zipf, mix};

pub(crate) const SET: u8 = 1;
pub(crate) const DELETE: u8 = 2;

/// Requests by columns; one that is empty means the default.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) n_objects: u32,
    pub(crate) id: Vec<u32>,
    time: Vec<u32>,
    value: Vec<u32>,
    key: Vec<u16>,
    ttl: Vec<u32>,
    op: Vec<u8>,
    value_default: u32,
    key_default: u16,
}

impl Trace {
    /// A file, `synth:CLUSTER[:REQUESTS]` or `zipf:OBJECTS:EXPONENT:REQUESTS`.
    pub(crate) fn load(spec: &str) -> Result<Self> {
        let words: Vec<&str> = spec.split(':').collect();
        match words[..] {
            ["synth", cluster] => synthetic(spec, cluster, 2_000_000),
            ["synth", cluster, requests] => synthetic(spec, cluster, requests.parse()?),
            ["zipf", objects, exponent, requests] => {
                Ok(zipf(spec, objects.parse()?, exponent.parse()?, requests.parse()?))
            }
            _ => read(spec).map_err(|error| format!("{spec}: {error}").into()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.id.len()
    }

    pub(crate) fn has_sizes(&self) -> bool {
        !self.value.is_empty()
    }

    pub(crate) fn has_ttls(&self) -> bool {
        !self.ttl.is_empty()
    }

    pub(crate) fn value_len(&self, at: usize) -> usize {
        self.value.get(at).copied().unwrap_or(self.value_default) as usize
    }

    pub(crate) fn key_len(&self, at: usize) -> usize {
        usize::from(self.key.get(at).copied().unwrap_or(self.key_default)).clamp(12, 250)
    }

    pub(crate) fn ttl(&self, at: usize) -> u32 {
        self.ttl.get(at).copied().unwrap_or(0)
    }

    pub(crate) fn time(&self, at: usize) -> u32 {
        self.time.get(at).copied().unwrap_or(0)
    }

    pub(crate) fn op(&self, at: usize) -> u8 {
        self.op.get(at).copied().unwrap_or(0)
    }

    fn size(&self, at: usize) -> u32 {
        (self.value_len(at) + self.key_len(at)) as u32
    }

    /// Key and value of all objects together.
    pub(crate) fn footprint(&self) -> u64 {
        let mut sizes = vec![0; self.n_objects as usize];
        for (at, id) in self.id.iter().enumerate() {
            sizes[*id as usize] = self.size(at);
        }
        sizes.iter().copied().map(u64::from).sum()
    }

    /// The most that key and value of the objects alive at one time come to.
    pub(crate) fn live_footprint(&self) -> u64 {
        if !self.has_ttls() {
            return self.footprint();
        }
        let mut ends = BinaryHeap::new();
        // Size and deadline; a size of 0 is an object that is not there.
        let mut objects = vec![(0u32, 0u32); self.n_objects as usize];
        let (mut sum, mut most) = (0u64, 0u64);
        for at in 0..self.len() {
            let now = self.time(at);
            while let Some(&Reverse((end, id))) = ends.peek()
                && end <= now
            {
                ends.pop();
                let (size, deadline) = &mut objects[id as usize];
                if *deadline == end {
                    sum -= u64::from(std::mem::take(size));
                }
            }
            let id = self.id[at];
            let object = &mut objects[id as usize];
            let op = self.op(at);
            if op == DELETE {
                sum -= u64::from(std::mem::take(&mut object.0));
            } else if op == SET || object.0 == 0 {
                sum = sum - u64::from(object.0) + u64::from(self.size(at));
                *object = (self.size(at), self.deadline(at));
                if object.1 != 0 {
                    ends.push(Reverse((object.1, id)));
                }
            }
            most = most.max(sum);
        }
        most
    }

    /// When an item stored by this request ends; 0 for never.
    pub(crate) fn deadline(&self, at: usize) -> u32 {
        match self.ttl(at) {
            0 => 0,
            ttl => self.time(at).saturating_add(ttl),
        }
    }
}

/// The key of an object: printable, distinct, `len` bytes, at least 12.
pub(crate) fn key_of(id: u32, len: usize, buffer: &mut [u8; 256]) -> &[u8] {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut exact, mut noise) = (id, mix(u64::from(id) + 1));
    for (at, byte) in buffer[..12].iter_mut().enumerate() {
        if at < 6 {
            *byte = LETTERS[(exact & 63) as usize];
            exact >>= 6;
        } else {
            *byte = LETTERS[(noise & 63) as usize];
            noise >>= 6;
        }
    }
    buffer[12..len].fill(b'.');
    &buffer[..len]
}

fn read(path: &str) -> Result<Trace> {
    let mut bytes = std::fs::read(path)?;
    if path.ends_with(".zst") {
        bytes = zstd::decode_all(&bytes[..])?;
    }
    let (magic, mut rest) = bytes.split_at_checked(4).ok_or("no header")?;
    if magic != b"ECT1" {
        return Err("no ECT1 trace".into());
    }
    let mut take = |n: usize| -> Result<&[u8]> {
        let (column, after) = rest.split_at_checked(n).ok_or("cut off")?;
        rest = after;
        Ok(column)
    };
    let columns = word(take(4)?);
    let n = u64::from_le_bytes(take(8)?.try_into()?) as usize;
    let mut trace = Trace {
        name: path
            .rsplit('/')
            .next()
            .and_then(|file| file.split('.').next())
            .unwrap_or(path)
            .into(),
        n_objects: word(take(4)?),
        value_default: word(take(4)?),
        key_default: word(take(4)?) as u16,
        ..Trace::default()
    };
    take(4)?;
    let mut words = |is_there: bool| -> Result<Vec<u32>> {
        Ok(take(if is_there { 4 * n } else { 0 })?.chunks_exact(4).map(word).collect())
    };
    trace.id = words(true)?;
    trace.time = words(columns & 1 != 0)?;
    trace.value = words(columns & 2 != 0)?;
    if columns & 4 != 0 {
        let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
        trace.key = take(2 * n)?.chunks_exact(2).map(half).collect();
    }
    if columns & 8 != 0 {
        trace.ttl = take(4 * n)?.chunks_exact(4).map(word).collect();
    }
    if columns & 16 != 0 {
        trace.op = take(n)?.to_vec();
    }
    Ok(trace)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes were taken"))
}

/// Published means of one of Twitter's clusters (twitter/cache-trace, stat/2020Mar.md, CC BY 4.0).
struct Cluster {
    name: &'static str,
    key: f64,
    value: f64,
    zipf: f64,
    /// Requests for an object.
    frequency: f64,
    sets: f64,
    deletes: f64,
    /// Life spans in seconds, and what share of the objects has each.
    ttls: &'static [(u32, f64)],
}

const DAY: u32 = 86_400;

const CLUSTERS: &[Cluster] = &[
    Cluster {
        name: "tw14",
        key: 96.0,
        value: 414.0,
        zipf: 1.2959,
        frequency: 35.4,
        sets: 0.13,
        deletes: 0.22,
        ttls: &[(DAY, 1.0)],
    },
    Cluster {
        name: "tw19",
        key: 42.0,
        value: 101.0,
        zipf: 0.735,
        frequency: 4.7,
        sets: 0.25,
        deletes: 0.0,
        ttls: &[(27_000, 0.25), (25_560, 0.25), (24_000, 0.25), (26_280, 0.25)],
    },
    Cluster {
        name: "tw29",
        key: 36.0,
        value: 799.0,
        zipf: 1.2323,
        frequency: 22.5,
        sets: 0.13,
        deletes: 0.0,
        ttls: &[(3600, 0.67), (7200, 0.33)],
    },
    Cluster {
        name: "tw45",
        key: 12.0,
        value: 120.0,
        zipf: 0.6372,
        frequency: 2.9,
        sets: 0.15,
        deletes: 0.0,
        ttls: &[(15 * DAY, 1.0)],
    },
    Cluster {
        name: "tw48",
        key: 44.0,
        value: 70.0,
        zipf: 0.8191,
        frequency: 3.5,
        sets: 0.35,
        deletes: 0.0,
        ttls: &[(DAY, 1.0)],
    },
];

/// Lengths of the key and the value that object `number` of a cluster has.
pub(crate) fn lengths(cluster: &str, number: u32) -> Result<(usize, usize)> {
    let cluster = find(cluster)?;
    let (key, value, _) = cluster.object(number);
    Ok((usize::from(key), value as usize))
}

fn find(name: &str) -> Result<&'static Cluster> {
    let found = CLUSTERS.iter().find(|cluster| cluster.name == name);
    found.ok_or_else(|| format!("no cluster {name}").into())
}

/// A trace with a cluster's means over a week: Zipf ranks, the objects behind which change
/// constantly; log-normal sizes; the life spans and the share of writes as published.
///
/// It is a model, for comparing engines with one another; it is not a trace of Twitter's.
fn synthetic(spec: &str, name: &str, requests: usize) -> Result<Trace> {
    let cluster = find(name)?;
    let mut rng = Rng::new(name.bytes().map(u64::from).sum::<u64>() * 7919 + 17);
    let objects = (requests as f64 / cluster.frequency).max(1000.0);
    let ranks = (objects * 0.5).max(500.0) as u32;
    let churn = objects * 0.5 / requests as f64;
    let zipf = Zipf::new(u64::from(ranks), cluster.zipf);
    let mut at_rank: Vec<u32> = (0..ranks).collect();
    let mut next = ranks;
    let mut ids = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let mut trace = Trace { name: spec.into(), key_default: 24, ..Trace::default() };
    for turn in 0..requests {
        if rng.fraction() < churn {
            at_rank[rng.below(u64::from(ranks)) as usize] = next;
            next += 1;
        }
        let object = at_rank[zipf.rank(&mut rng) as usize];
        let (key, value, ttl) = cluster.object(object);
        let id = ids.len() as u32;
        trace.id.push(*ids.entry(object).or_insert(id));
        trace.time.push((turn as f64 / requests as f64 * 7.0 * f64::from(DAY)) as u32);
        trace.key.push(key);
        trace.value.push(value);
        trace.ttl.push(ttl);
        let op = rng.fraction();
        let deletes = cluster.sets + cluster.deletes;
        trace.op.push(if op < cluster.sets {
            SET
        } else if op < deletes {
            DELETE
        } else {
            0
        });
    }
    trace.n_objects = ids.len() as u32;
    Ok(trace)
}

impl Cluster {
    /// Key length, value length and life span of an object.
    fn object(&self, object: u32) -> (u16, u32, u32) {
        const SIGMA: f64 = 0.9;
        let mut rng = Rng::new(u64::from(object) * 0x9E37 + 1);
        let value = (self.value.ln() - SIGMA * SIGMA / 2.0 + SIGMA * rng.normal()).exp();
        let key = (self.key + rng.normal() * self.key * 0.15).clamp(12.0, 200.0);
        let mut share = rng.fraction();
        let mut ttl = self.ttls[0].0;
        for &(secs, part) in self.ttls {
            ttl = secs;
            if share < part {
                break;
            }
            share -= part;
        }
        (key as u16, value.clamp(1.0, 900_000.0) as u32, ttl)
    }
}

/// Objects of one size, asked for by popularity alone.
fn zipf(spec: &str, objects: u64, exponent: f64, requests: usize) -> Trace {
    let zipf = Zipf::new(objects, exponent);
    let mut rng = Rng::new(42);
    let mut ids = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let id = (0..requests)
        .map(|_| {
            let id = ids.len() as u32;
            *ids.entry(zipf.rank(&mut rng)).or_insert(id)
        })
        .collect();
    let n_objects = ids.len() as u32;
    Trace { name: spec.into(), n_objects, id, key_default: 24, ..Trace::default() }
}
