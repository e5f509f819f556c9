//! Calls for many keys: dealt out to the nodes, asked all at once, told key by key.
//!
//! ```text
//!            ┌─ node a: ask ask ask ── answers ─┐
//!   keys ────┼─ node b: ask ── answer ──────────┼──> one outcome a key, in the keys' order
//!            └─ node c: ask ask ── time is up ──┘
//!       ^                                       │
//!       └──── what may be tried again ──────────┘
//! ```
//!
//! All that is for one node goes into its queue before the first answer is waited for, so that it
//! is one round trip. Every round looks anew which node has a key: the list of nodes may be another
//! one by then.

use std::sync::Arc;

use futures_util::future::join_all;
use nuthatch_types::KeyBuf;
use tokio::time::{self, Instant};
use tracing::Instrument;

use crate::call::{Ask, Reply};
use crate::client::odd;
use crate::cluster::Shared;
use crate::error::{Error, Kind};
use crate::item::Item;
use crate::node::Node;
use crate::options::OnFailure;
use crate::span;
use crate::time::Deadline;

/// A command for one key.
#[derive(Debug)]
pub(crate) struct Job {
    /// What it is routed by.
    pub(crate) key: KeyBuf,
    pub(crate) ask: Arc<Ask>,
}

/// A command to a node, and which of the outcomes are its.
struct Part {
    places: Vec<usize>,
    ask: Arc<Ask>,
}

/// What is for one node.
struct Load {
    node: Arc<Node>,
    parts: Vec<Part>,
}

impl Shared {
    /// Retrievals; the outcomes are in the order of the keys.
    pub(crate) async fn gets(
        &self,
        keys: Vec<KeyBuf>,
        exptime: Option<i32>,
        deadline: Deadline,
    ) -> Vec<Result<Option<Item>, Error>> {
        let keys: Arc<[KeyBuf]> = keys.into();
        let deal = |shares: Vec<(Arc<Node>, Vec<usize>)>| {
            let load = |(node, places): (Arc<Node>, Vec<usize>)| Load {
                node,
                parts: lines(&keys, &places)
                    .into_iter()
                    .map(|places| {
                        let keys = at_places(&keys, &places);
                        Part { places, ask: Arc::new(Ask::GetMany { keys, exptime }) }
                    })
                    .collect(),
            };
            shares.into_iter().map(load).collect()
        };
        let split = |reply: Reply, n: usize| match reply {
            Reply::Items(items) if items.len() == n => items.into_iter().map(Ok).collect(),
            other => vec_of(odd(&other), n),
        };
        let span = span::batch(if exptime.is_some() { "gat_each" } else { "get_many" }, keys.len());
        let key = |at: usize| keys[at].as_key().as_bytes();
        self.rounds(keys.len(), key, deal, split, deadline).instrument(span).await
    }

    /// Other commands; the outcomes are in their order. What cannot be sent fails alone.
    pub(crate) async fn jobs(
        &self,
        jobs: Vec<Result<Job, Error>>,
        deadline: Deadline,
    ) -> Vec<Result<Reply, Error>> {
        let good: Vec<&Job> = jobs.iter().filter_map(|job| job.as_ref().ok()).collect();
        let deal = |shares: Vec<(Arc<Node>, Vec<usize>)>| {
            let part = |at: usize| Part { places: vec![at], ask: Arc::clone(&good[at].ask) };
            let load = |(node, places): (Arc<Node>, Vec<usize>)| Load {
                node,
                parts: places.into_iter().map(part).collect(),
            };
            shares.into_iter().map(load).collect()
        };
        let split = |reply: Reply, _: usize| vec![Ok(reply)];
        let key = |at: usize| good[at].key.as_key().as_bytes();
        let span = span::batch(good.first().map_or("none", |job| job.ask.operation()), good.len());
        let done = self.rounds(good.len(), key, deal, split, deadline).instrument(span).await;
        let mut done = done.into_iter();
        let none = || Err(Kind::NoNode.into());
        let each = jobs.iter().map(|job| match job {
            Ok(_) => done.next().unwrap_or_else(none),
            Err(error) => Err(error.clone()),
        });
        each.collect()
    }

    /// Asks for all, and again for what failed and may be tried again.
    async fn rounds<'a, T>(
        &self,
        n: usize,
        key: impl Fn(usize) -> &'a [u8],
        deal: impl Fn(Vec<(Arc<Node>, Vec<usize>)>) -> Vec<Load>,
        split: impl Fn(Reply, usize) -> Vec<Result<T, Error>>,
        deadline: Deadline,
    ) -> Vec<Result<T, Error>> {
        // An error is an allocation, so that there are none to begin with.
        let mut outcomes: Vec<Option<Result<T, Error>>> = Vec::new();
        outcomes.resize_with(n, || None);
        let mut left: Vec<usize> = (0..n).collect();
        let mut pauses = None;
        let mut n_retries = 0;
        while !left.is_empty() {
            let loads = deal(self.shares(&left, &key));
            left.clear();
            let begun = Instant::now();
            let parts = loads.iter().map(|load| {
                let span = span::part(&load.node);
                load.ask(deadline).instrument(span)
            });
            let answers = join_all(parts).await;
            let pause = self.pause(&mut pauses, deadline);
            for (load, replies) in loads.iter().zip(answers) {
                for (part, reply) in load.parts.iter().zip(replies) {
                    if n_retries == 0 {
                        self.budget.deposit();
                    }
                    let error = reply.as_ref().err();
                    self.report(&part.ask, Some(&load.node), Some(begun), n_retries, error);
                    let is_retried = pause.is_some()
                        && error.is_some_and(|error| self.may_retry(error, &part.ask, n_retries));
                    if is_retried {
                        left.extend(&part.places);
                    }
                    let reply = if is_retried { reply } else { self.forgive(&part.ask, reply) };
                    let each = match reply {
                        Ok(reply) => split(reply, part.places.len()),
                        Err(error) => vec_of(error, part.places.len()),
                    };
                    for (at, outcome) in part.places.iter().zip(each) {
                        outcomes[*at] = Some(outcome);
                    }
                }
            }
            if let Some(pause) = pause.filter(|_| !left.is_empty()) {
                n_retries += 1;
                time::sleep(pause).await;
            }
        }
        let or_none = |outcome: Option<_>| outcome.unwrap_or_else(|| Err(Kind::NoNode.into()));
        outcomes.into_iter().map(or_none).collect()
    }

    /// Which nodes have these keys, and which keys they have. Keys without a node have none.
    fn shares<'a>(
        &self,
        places: &[usize],
        key: &impl Fn(usize) -> &'a [u8],
    ) -> Vec<(Arc<Node>, Vec<usize>)> {
        let topology = self.topology();
        if let [only] = &*topology.nodes {
            return vec![(Arc::clone(only), places.to_vec())];
        }
        let mut shares: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        for &at in places {
            let policy: OnFailure = self.settings.on_failure;
            let Ok(node) = topology.node(key(at), policy) else { continue };
            // Clusters are small, and neighbours are often together.
            match shares.iter_mut().find(|(own, _)| Arc::ptr_eq(own, node)) {
                Some((_, places)) => places.push(at),
                None => shares.push((Arc::clone(node), vec![at])),
            }
        }
        shares
    }
}

impl Load {
    /// Asks all, and then waits for all.
    async fn ask(&self, deadline: Deadline) -> Vec<Result<Reply, Error>> {
        let mut sent = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            sent.push(self.node.enqueue_until(&part.ask, deadline).await);
        }
        let mut replies = Vec::with_capacity(sent.len());
        for sent in sent {
            replies.push(match sent {
                Ok(sent) => self.node.answer_until(sent, deadline).await,
                Err(error) => Err(error),
            });
        }
        span::record(None, replies.iter().find_map(|reply| reply.as_ref().err()));
        replies
    }
}

fn vec_of<T>(error: Error, n: usize) -> Vec<Result<T, Error>> {
    (0..n).map(|_| Err(error.clone())).collect()
}

/// The keys at these places, in the order of the places. A list of them all is shared.
fn at_places(keys: &Arc<[KeyBuf]>, places: &[usize]) -> Arc<[KeyBuf]> {
    // Those that are tried again can be as many and in another order.
    if places.iter().copied().eq(0..keys.len()) {
        Arc::clone(keys)
    } else {
        places.iter().map(|at| keys[*at].clone()).collect()
    }
}

/// Deals keys out to command lines.
fn lines(keys: &[KeyBuf], places: &[usize]) -> Vec<Vec<usize>> {
    let (mut lines, mut line, mut line_bytes) = (Vec::new(), Vec::new(), 0);
    for &at in places {
        let key_bytes = " ".len() + keys[at].as_key().len();
        if line_bytes + key_bytes > LINE_KEY_BYTES_MAX {
            lines.push(std::mem::take(&mut line));
            line_bytes = 0;
        }
        line.push(at);
        line_bytes += key_bytes;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The most bytes of keys on one line: half of what the strictest server known allows for a line
/// (ElastiCache Serverless, 16 KiB), and 32 keys of the greatest length.
const LINE_KEY_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use nuthatch_types::Key;

    use super::*;

    #[test]
    fn keys_are_shared_where_they_are_all_and_in_order() {
        let keys = ["a", "b", "c"].map(|key| Key::new(key).unwrap().to_buf());
        let [a, b, c] = keys.clone();
        let keys: Arc<[KeyBuf]> = keys.into();
        assert!(Arc::ptr_eq(&at_places(&keys, &[0, 1, 2]), &keys));
        assert_eq!(*at_places(&keys, &[2, 0, 1]), [c.clone(), a.clone(), b.clone()]);
        assert_eq!(*at_places(&keys, &[0, 1]), [a, b.clone()]);
        assert_eq!(*at_places(&keys, &[1, 2]), [b, c]);
    }

    #[test]
    fn keys_are_dealt_out_to_lines() {
        let keys = |n: usize| -> Vec<_> {
            (0..n).map(|n| Key::new(&format!("{n:0250}")).unwrap().to_buf()).collect()
        };
        let dealt = |n: usize| lines(&keys(n), &(0..n).collect::<Vec<_>>());
        assert_eq!(dealt(0).len(), 0);
        assert_eq!(dealt(32).len(), 1);
        let three = dealt(70);
        assert_eq!(three.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 6]);
        assert!(three.iter().flatten().copied().eq(0..70));
    }
}
