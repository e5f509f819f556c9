//! Whether a node is to be asked, from how its connections fare.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{self, Instant};

use crate::event::{Event, Events};
use crate::options::Ejection;

/// The record of one node; its connections write it and whoever routes reads it.
///
/// All are plain numbers that stand alone: nothing else is published through them, so that every
/// access is relaxed.
#[derive(Debug)]
pub(crate) struct Health {
    node: Arc<str>,
    ejection: Ejection,
    /// Whether there are other nodes is not known here; they change.
    events: Events,
    n_failures: AtomicU32,
    is_ejected: AtomicBool,
    born: Instant,
    /// When an ejected node that answers again is to be used, in milliseconds since `born`;
    /// [`NOT_BACK`] while it does not answer.
    back_at: AtomicU64,
}

/// No time: the node does not answer.
const NOT_BACK: u64 = u64::MAX;

impl Health {
    pub(crate) fn new(node: Arc<str>, ejection: Ejection, events: Events) -> Self {
        Self {
            node,
            ejection,
            events,
            n_failures: AtomicU32::new(0),
            is_ejected: AtomicBool::new(false),
            born: Instant::now(),
            back_at: AtomicU64::new(NOT_BACK),
        }
    }

    /// Whether its keys are others' now.
    pub(crate) fn is_ejected(&self) -> bool {
        if !self.is_ejected.load(Ordering::Relaxed) {
            return false;
        }
        let back_at = self.back_at.load(Ordering::Relaxed);
        if back_at == NOT_BACK || self.elapsed_ms() < back_at {
            return true;
        }
        // One of those who find out tells of it.
        if self.is_ejected.swap(false, Ordering::Relaxed) {
            self.events.send(Event::Returned { node: Arc::clone(&self.node) });
        }
        false
    }

    /// A connection has failed; `weight` failures' worth.
    pub(crate) fn failed(&self, weight: u32) {
        let before = self.n_failures.fetch_add(weight, Ordering::Relaxed);
        self.back_at.store(NOT_BACK, Ordering::Relaxed);
        let is_enough = before.saturating_add(weight) >= self.ejection.failures.max(1);
        if is_enough && !self.is_ejected.swap(true, Ordering::Relaxed) {
            self.events.send(Event::Ejected { node: Arc::clone(&self.node) });
        }
    }

    /// The server has answered.
    pub(crate) fn answered(self: &Arc<Self>) {
        if self.n_failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.n_failures.store(0, Ordering::Relaxed);
        if self.is_ejected.load(Ordering::Relaxed)
            && self.back_at.load(Ordering::Relaxed) == NOT_BACK
        {
            let within = millis(self.ejection.return_within);
            let jitter = if within == 0 { 0 } else { fastrand::u64(0..within) };
            self.back_at.store(self.elapsed_ms() + jitter, Ordering::Relaxed);
            // Where failures send nobody elsewhere, nobody else would ask and have it told.
            let health = Arc::downgrade(self);
            tokio::spawn(async move {
                time::sleep(Duration::from_millis(jitter + 1)).await;
                if let Some(health) = health.upgrade() {
                    health.is_ejected();
                }
            });
        }
    }

    fn elapsed_ms(&self) -> u64 {
        millis(self.born.elapsed())
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(ejection: Ejection) -> (Arc<Health>, tokio::sync::broadcast::Receiver<Event>) {
        let events = Events::default();
        let heard = events.subscribe();
        (Arc::new(Health::new("n".into(), ejection, events)), heard)
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_goes_after_failures_in_a_row_and_comes_back_in_time() {
        let (health, mut heard) = health(Ejection::default());
        health.failed(1);
        health.answered();
        health.failed(1);
        assert!(!health.is_ejected());
        health.failed(1);
        assert!(health.is_ejected());
        assert!(matches!(heard.try_recv(), Ok(Event::Ejected { .. })));
        time::advance(Duration::from_secs(60)).await;
        assert!(health.is_ejected(), "time alone brings nobody back");
        health.answered();
        // It is told without being asked for.
        let told = time::timeout(Duration::from_secs(1), heard.recv()).await;
        assert!(matches!(told, Ok(Ok(Event::Returned { .. }))));
        assert!(!health.is_ejected());
        assert!(heard.try_recv().is_err(), "each is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_again_before_its_return_stays_away() {
        let (health, _heard) = health(Ejection::default());
        health.failed(2);
        health.answered();
        health.failed(1);
        time::advance(Duration::from_secs(60)).await;
        assert!(health.is_ejected());
    }
}
