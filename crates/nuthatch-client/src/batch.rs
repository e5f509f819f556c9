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
use nuthatch_proto::client::KeyLine;
use nuthatch_types::{Key, KeyBuf};
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
    /// Retrievals; the items are in the order of the keys. If one fails, all do.
    pub(crate) async fn get_many(
        &self,
        keys: KeyLine,
        deadline: Deadline,
    ) -> Result<Vec<Option<Item>>, Error> {
        let n = keys.len();
        let (mut items, mut n_told, mut failure) = (Vec::new(), 0, None);
        let settle = |places: &[usize], reply| match items_of(reply, places.len()) {
            Ok(found) => {
                n_told += found.len();
                if found.len() == n {
                    items = found;
                    return;
                }
                items.resize(n, None);
                for (at, item) in places.iter().zip(found) {
                    items[*at] = item;
                }
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        };
        self.gets(keys, None, settle, deadline).await;
        match failure {
            Some(error) => Err(error),
            None if n_told < n => Err(Kind::NoNode.into()),
            None => Ok(items),
        }
    }

    /// Retrievals; the outcomes are in the order of the keys.
    pub(crate) async fn get_each(
        &self,
        keys: KeyLine,
        exptime: Option<i32>,
        deadline: Deadline,
    ) -> Vec<Result<Option<Item>, Error>> {
        let n = keys.len();
        let mut outcomes = Outcomes::new(n);
        let settle = |places: &[usize], reply| match items_of(reply, places.len()) {
            Ok(items) => outcomes.put(places, items.into_iter().map(Ok)),
            Err(error) => outcomes.put(places, places.iter().map(|_| Err(error.clone()))),
        };
        self.gets(keys, exptime, settle, deadline).await;
        outcomes.finish()
    }

    async fn gets(
        &self,
        keys: KeyLine,
        exptime: Option<i32>,
        settle: impl FnMut(&[usize], Result<Reply, Error>),
        deadline: Deadline,
    ) {
        let keys = Arc::new(keys);
        let deal = |shares: Vec<(Arc<Node>, Vec<usize>)>| {
            let part = |places: Vec<usize>| {
                // All of them are in their order, as places always are.
                let is_all = places.len() == keys.len();
                let keys = if is_all { Arc::clone(&keys) } else { Arc::new(keys.at(&places)) };
                Part { places, ask: Arc::new(Ask::GetMany { keys, exptime }) }
            };
            let load = |(node, places): (Arc<Node>, Vec<usize>)| Load {
                node,
                parts: lines(&keys, places).into_iter().map(part).collect(),
            };
            shares.into_iter().map(load).collect()
        };
        let span = span::batch(if exptime.is_some() { "gat_each" } else { "get_many" }, keys.len());
        let key = |at: usize| keys.key(at).as_bytes();
        self.rounds(keys.len(), key, deal, settle, deadline).instrument(span).await;
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
        let mut outcomes = Outcomes::new(good.len());
        let settle = |places: &[usize], reply| outcomes.put(places, std::iter::once(reply));
        let key = |at: usize| good[at].key.as_key().as_bytes();
        let span = span::batch(good.first().map_or("none", |job| job.ask.operation()), good.len());
        self.rounds(good.len(), key, deal, settle, deadline).instrument(span).await;
        let mut done = outcomes.finish().into_iter();
        let none = || Err(Kind::NoNode.into());
        let each = jobs.iter().map(|job| match job {
            Ok(_) => done.next().unwrap_or_else(none),
            Err(error) => Err(error.clone()),
        });
        each.collect()
    }

    /// Asks for all, and again for what failed and may be tried again; tells what has come of each
    /// part in the end. Places are always in their order. Those without a node are told nothing.
    async fn rounds<'a>(
        &self,
        n: usize,
        key: impl Fn(usize) -> &'a [u8],
        deal: impl Fn(Vec<(Arc<Node>, Vec<usize>)>) -> Vec<Load>,
        mut settle: impl FnMut(&[usize], Result<Reply, Error>),
        mut deadline: Deadline,
    ) {
        let mut left: Vec<usize> = (0..n).collect();
        let mut pauses = None;
        let mut n_retries = 0;
        let begun = Instant::now();
        while !left.is_empty() {
            let loads = deal(self.shares(left, &key));
            left = Vec::new();
            let parts = loads.iter().map(|load| {
                let span = span::part(&load.node);
                load.ask(deadline).instrument(span)
            });
            let answers = join_all(parts).await;
            let is_failed = answers.iter().flatten().any(Result::is_err);
            let pause = if is_failed { self.pause(&mut pauses, deadline) } else { None };
            for (load, replies) in loads.iter().zip(answers) {
                for (part, reply) in load.parts.iter().zip(replies) {
                    if n_retries == 0 {
                        self.budget.deposit();
                    }
                    let error = reply.as_ref().err();
                    let is_retried = pause.is_some()
                        && error.is_some_and(|error| self.may_retry(error, &part.ask, n_retries));
                    if is_retried {
                        left.extend(&part.places);
                    } else {
                        self.report(&part.ask, Some(&load.node), Some(begun), n_retries, error);
                        settle(&part.places, self.forgive(&part.ask, reply));
                    }
                }
            }
            if let Some(pause) = pause.filter(|_| !left.is_empty()) {
                n_retries += 1;
                left.sort_unstable();
                // What comes now has what is left of the time.
                deadline.is_short = true;
                time::sleep(pause).await;
            }
        }
    }

    /// Which nodes have these keys, and which keys they have. Keys without a node have none.
    fn shares<'a>(
        &self,
        places: Vec<usize>,
        key: &impl Fn(usize) -> &'a [u8],
    ) -> Vec<(Arc<Node>, Vec<usize>)> {
        let topology = self.topology();
        if let [only] = &*topology.nodes {
            return vec![(Arc::clone(only), places)];
        }
        let mut shares: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        for at in places {
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

/// What has come of each of several, in their order.
struct Outcomes<T> {
    /// Not yet known. An error is an allocation, so that there are none to begin with.
    each: Vec<Option<Result<T, Error>>>,
}

impl<T> Outcomes<T> {
    fn new(n: usize) -> Self {
        Self { each: (0..n).map(|_| None).collect() }
    }

    fn put(&mut self, places: &[usize], outcomes: impl Iterator<Item = Result<T, Error>>) {
        for (at, outcome) in places.iter().zip(outcomes) {
            self.each[*at] = Some(outcome);
        }
    }

    fn finish(self) -> Vec<Result<T, Error>> {
        let or_none = |outcome: Option<_>| outcome.unwrap_or_else(|| Err(Kind::NoNode.into()));
        self.each.into_iter().map(or_none).collect()
    }
}

/// The items of an answer, one a key.
fn items_of(reply: Result<Reply, Error>, n: usize) -> Result<Vec<Option<Item>>, Error> {
    match reply? {
        Reply::Items(items) if items.len() == n => Ok(items),
        other => Err(odd(&other)),
    }
}

/// Deals keys out to command lines.
fn lines(keys: &KeyLine, places: Vec<usize>) -> Vec<Vec<usize>> {
    if keys.is_text() {
        return short_lines(keys, places);
    }
    // Which of these a connection carries it knows itself; those of a kind share their fate.
    let mut kinds: [Vec<usize>; 3] = Default::default();
    for at in places {
        let key = keys.key(at);
        let kind = match Key::new(key.as_bytes()) {
            Ok(_) => 0,
            Err(_) => 1 + usize::from(key.len() > Key::LEN_MAX / 4 * 3),
        };
        kinds[kind].push(at);
    }
    kinds.into_iter().flat_map(|places| short_lines(keys, places)).collect()
}

fn short_lines(keys: &KeyLine, places: Vec<usize>) -> Vec<Vec<usize>> {
    if keys.as_bytes().len() <= LINE_KEY_BYTES_MAX {
        return if places.is_empty() { Vec::new() } else { vec![places] };
    }
    let (mut lines, mut line, mut line_bytes) = (Vec::new(), Vec::new(), 0);
    for at in places {
        let key_bytes = " ".len() + keys.key(at).len();
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
    use super::*;

    #[test]
    fn keys_are_dealt_out_to_lines() {
        let dealt = |n: usize| {
            let mut keys = KeyLine::new();
            (0..n).for_each(|n| keys.push(format!("{n:0250}")).unwrap());
            lines(&keys, (0..n).collect())
        };
        assert_eq!(dealt(0).len(), 0);
        assert_eq!(dealt(32).len(), 1);
        let three = dealt(70);
        assert_eq!(three.iter().map(Vec::len).collect::<Vec<_>>(), [32, 32, 6]);
        assert!(three.iter().flatten().copied().eq(0..70));
    }
}
