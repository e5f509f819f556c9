//! A load, and what becomes of it.
//!
//! The load is that of a cache in front of something: every key is read ten times a second, and one
//! that is not there is written again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use nuthatch_client::types::Ttl;
use nuthatch_client::{Client, Error, Event};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A client that is watched.
pub(crate) struct Watch {
    client: Client,
    keys: Vec<String>,
    begun: Instant,
    /// What became of the calls since the last line, node by node.
    tallies: RefCell<BTreeMap<Arc<str>, Tally>>,
}

#[derive(Default)]
struct Tally {
    n_hits: u32,
    n_misses: u32,
    n_errors: u32,
    /// The last of them.
    error: Option<Error>,
}

impl Watch {
    pub(crate) fn of(client: Client) -> Self {
        let keys = (0..N_KEYS).map(|n| format!("key:{n}")).collect();
        Self { client, keys, begun: Instant::now(), tallies: RefCell::default() }
    }

    /// Loads and tells, for as long as it is let.
    pub(crate) async fn run(&self) {
        let status = self.client.status();
        let names: Vec<_> = status.nodes.iter().map(|node| &*node.name).collect();
        self.say(format_args!("version {}: {}", status.version, names.join(", ")));
        self.say("from now on: hits/misses/errors of each node in a second");
        tokio::join!(self.load(), self.tell_counts(), self.tell_events());
    }

    pub(crate) fn n_nodes(&self) -> usize {
        self.client.nodes().len()
    }

    pub(crate) fn say(&self, what: impl Display) {
        println!("{:5.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    async fn load(&self) {
        let mut round = interval(ROUND);
        // While a node does not answer a round takes longer; what was left out is not made up for.
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            let owners = self.owners();
            let found = self.client.get_each(&self.keys).await;
            let mut missing = Vec::new();
            for ((key, owner), found) in self.keys.iter().zip(&owners).zip(found) {
                if matches!(found, Ok(None)) {
                    missing.push((key, key.clone()));
                }
                self.count(owner, found.map(|item| item.is_some()));
            }
            // A write that fails is as bad as a key that is not there: the next round shows it.
            self.client.set_many(missing, Ttl::NEVER).await;
        }
    }

    fn count(&self, node: &Arc<str>, found: Result<bool, Error>) {
        let mut tallies = self.tallies.borrow_mut();
        let tally = tallies.entry(Arc::clone(node)).or_default();
        match found {
            Ok(true) => tally.n_hits += 1,
            Ok(false) => tally.n_misses += 1,
            Err(error) => {
                tally.n_errors += 1;
                tally.error = Some(error);
            }
        }
    }

    async fn tell_counts(&self) {
        let mut second = interval(Duration::from_secs(1));
        second.tick().await;
        let mut told = BTreeSet::new();
        loop {
            second.tick().await;
            let tallies = self.tallies.take();
            let counts: Vec<_> = tallies
                .iter()
                .map(|(node, tally)| {
                    format!("{node} {}/{}/{}", tally.n_hits, tally.n_misses, tally.n_errors)
                })
                .collect();
            self.say(counts.join("  "));
            // Each reason once, for as long as it stays the same.
            let failing =
                tallies.into_iter().filter_map(|(node, tally)| Some((node, tally.error?)));
            let reasons = failing.map(|(node, error)| format!("    {node}: {error}")).collect();
            for reason in &reasons - &told {
                self.say(reason);
            }
            told = reasons;
        }
    }

    async fn tell_events(&self) {
        let mut events = self.client.events();
        let mut owners = self.owners();
        loop {
            match events.recv().await {
                Ok(Event::Ejected { node }) => self.say(format_args!("{node} is left out")),
                Ok(Event::Returned { node }) => self.say(format_args!("{node} is in use again")),
                Ok(Event::Members { version, added, removed }) => {
                    let before = std::mem::replace(&mut owners, self.owners());
                    let n_moved =
                        before.iter().zip(&owners).filter(|(old, new)| old != new).count();
                    let percent = 100 * n_moved / self.keys.len();
                    let came = added.iter().map(|node| format!("{node} has joined"));
                    let went = removed.iter().map(|node| format!("{node} has left"));
                    let changes: Vec<_> = came.chain(went).collect();
                    let changes = changes.join(", ");
                    self.say(format_args!(
                        "version {version}: {changes}; {percent} % of the keys moved"
                    ));
                }
                Ok(Event::DiscoveryFailed { reason }) => {
                    self.say(format_args!("no newer list: {reason}"));
                }
                // Connections that come and go.
                Ok(_) => {}
                Err(RecvError::Lagged(n)) => self.say(format_args!("{n} events were missed")),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// The node of each key.
    fn owners(&self) -> Vec<Arc<str>> {
        self.keys.iter().filter_map(|key| self.client.route(key).into_iter().next()).collect()
    }
}

/// How many keys there are: enough that each node's share shows.
const N_KEYS: usize = 300;

/// How often they are read.
const ROUND: Duration = Duration::from_millis(100);
