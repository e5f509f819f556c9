//! What a client does about a fault, and when: from its events, and from how its calls end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nuthatch_client::{CallReport, Client, Error, Event, Observer, OnFailure};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ledger::Place;

/// What has happened to the nodes so far, to any client's knowledge: a count for each.
#[derive(Debug, Default)]
pub(super) struct Happened(Mutex<BTreeMap<String, u64>>);

impl Happened {
    pub(super) fn to(&self, node: &str) {
        *self.0.lock().entry(node.to_owned()).or_default() += 1;
    }

    fn count(&self, node: &str) -> (String, u64) {
        (node.to_owned(), self.0.lock().get(node).copied().unwrap_or_default())
    }
}

/// One client under test.
pub(super) struct Watched {
    pub(super) name: &'static str,
    pub(super) client: Client,
    pub(super) policy: OnFailure,
    pub(super) log: Arc<Log>,
}

/// Who writes its log.
pub(super) struct Writer(pub(super) Arc<Log>);

pub(super) struct Log {
    born: Instant,
    happened: Arc<Happened>,
    /// By node.
    faults: Mutex<BTreeMap<String, Fault>>,
    /// How often its list was changed.
    pub(super) n_lists: AtomicU64,
    pub(super) n_calls: AtomicU64,
    pub(super) longest_us: AtomicU64,
    /// Errors of the keys of nodes with a fault, by [`Phase`]; and of others.
    pub(super) n_errors: [AtomicU64; Phase::ALL.len()],
    pub(super) kinds: Mutex<BTreeMap<String, u64>>,
    pub(super) figures: Mutex<Vec<Figures>>,
}

/// What a node suffers, and what the client has made of it.
#[derive(Clone, Copy, Debug)]
struct Fault {
    begun: Instant,
    undone: Option<Instant>,
    ejected: Option<Instant>,
    returned: Option<Instant>,
    unlisted: Option<Instant>,
    listed: Option<Instant>,
    answered: Option<Instant>,
    is_out: bool,
    is_unlisted: bool,
}

/// Where in the course of a fault a call was begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The node is at fault, and the client does not know.
    Unnoticed,
    Ejected,
    /// The list is without the node.
    Unlisted,
    /// The fault is over, and nothing of it was seen to be.
    Returning,
    /// The node has answered again.
    Back,
    /// The key is another node's, or there is no fault.
    Other,
}

impl Phase {
    pub(super) const ALL: [Self; 6] =
        [Self::Unnoticed, Self::Ejected, Self::Unlisted, Self::Returning, Self::Back, Self::Other];

    /// Whether a call may fail that was begun then.
    fn may_fail(self, policy: OnFailure) -> bool {
        match self {
            Self::Unnoticed | Self::Returning => true,
            Self::Ejected => policy == OnFailure::Fail,
            Self::Unlisted | Self::Back | Self::Other => false,
        }
    }
}

/// What a fault of one node came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// From the fault.
    pub(super) ejected: Option<Duration>,
    pub(super) unlisted: Option<Duration>,
    /// From its end.
    pub(super) listed: Option<Duration>,
    pub(super) answered: Option<Duration>,
}

impl Log {
    pub(super) fn new(happened: &Arc<Happened>) -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            happened: Arc::clone(happened),
            faults: Mutex::default(),
            n_lists: AtomicU64::new(0),
            n_calls: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
            n_errors: Default::default(),
            kinds: Mutex::default(),
            figures: Mutex::default(),
        })
    }

    fn at(&self, node: &str, change: impl FnOnce(&mut Fault)) {
        if let Some(fault) = self.faults.lock().get_mut(node) {
            change(fault);
        }
    }

    fn phase(&self, node: &str, begun: Instant) -> Phase {
        let faults = self.faults.lock();
        // What was under way when it began may fail as well.
        let Some(fault) = faults.get(node) else { return Phase::Other };
        let was = |at: Option<Instant>| at.is_some_and(|at| at <= begun);
        if fault.is_out && was(fault.ejected) {
            Phase::Ejected
        } else if fault.is_unlisted && was(fault.unlisted) {
            Phase::Unlisted
        } else if was(fault.answered) && !fault.is_out {
            Phase::Back
        } else if was(fault.undone) {
            Phase::Returning
        } else {
            Phase::Unnoticed
        }
    }
}

impl Observer for Writer {
    fn call(&self, call: &CallReport<'_>) {
        if let (Some(node), None) = (call.node, call.error) {
            let now = Instant::now();
            self.0.at(node, |fault| {
                if fault.answered.is_none()
                    && fault.undone.is_some_and(|undone| now - call.elapsed >= undone)
                {
                    fault.answered = Some(now);
                }
            });
        }
    }

    fn event(&self, event: &Event) {
        let now = Instant::now();
        if std::env::var_os("NUTHATCH_FAULTS_EVENTS").is_some() {
            eprintln!("{:?} {event:?}", self.0.born.elapsed());
        }
        match event {
            Event::Ejected { node } => {
                self.0.happened.to(node);
                self.0.at(node, |fault| {
                    fault.ejected.get_or_insert(now);
                    fault.is_out = true;
                });
            }
            Event::Returned { node } => {
                self.0.happened.to(node);
                self.0.at(node, |fault| {
                    fault.is_out = false;
                    fault.returned = Some(now);
                });
            }
            Event::Members { added, removed, .. } => {
                self.0.n_lists.fetch_add(1, Ordering::SeqCst);
                for node in added.iter().chain(removed) {
                    self.0.happened.to(node);
                }
                for node in removed {
                    self.0.at(node, |fault| {
                        fault.unlisted.get_or_insert(now);
                        fault.is_unlisted = true;
                        fault.is_out = false;
                    });
                }
                for node in added {
                    self.0.at(node, |fault| {
                        fault.listed = Some(now);
                        fault.is_unlisted = false;
                    });
                }
            }
            _ => {}
        }
    }
}

impl Watched {
    /// Where a call for this key would go now; `None` if that is not to be told.
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        let n_lists = self.log.n_lists.load(Ordering::SeqCst);
        let order = self.client.route(key);
        let status = self.client.status();
        let n_tried = match self.policy {
            OnFailure::NextInRing { max } => 1 + max,
            _ => 1,
        };
        let is_in =
            |name: &str| status.nodes.iter().any(|node| *node.name == *name && !node.is_ejected);
        let mut happened = Vec::new();
        for name in order.iter().take(n_tried) {
            happened.push(self.log.happened.count(name));
            if n_tried == 1 || is_in(name) {
                let is_same = self.log.n_lists.load(Ordering::SeqCst) == n_lists;
                return is_same.then(|| Place { node: name.to_string(), happened });
            }
        }
        None
    }

    /// The key's own node.
    pub(super) fn home(&self, key: &str) -> Option<String> {
        self.client.route(key).first().map(|node| node.to_string())
    }

    /// Takes note of how a call ended for a key. Says so where it may not.
    pub(super) fn failed(
        &self,
        key: &str,
        homes: [Option<String>; 2],
        begun: Instant,
        error: &Error,
    ) -> Result<(), String> {
        let phases = homes.iter().flatten().map(|home| self.log.phase(home, begun));
        let mut phase = phases.fold(Phase::Other, |worst, phase| {
            let at = |phase| Phase::ALL.iter().position(|own| *own == phase);
            if at(phase) < at(worst) { phase } else { worst }
        });
        // Whoever failed must be at fault; but the time may have been up at the next one.
        if let Some(node) = error.node()
            && self.log.phase(node, begun) == Phase::Other
            && !error.is_timeout()
        {
            phase = Phase::Other;
        }
        let at = Phase::ALL.iter().position(|own| *own == phase).expect("it is one of them");
        self.log.n_errors[at].fetch_add(1, Ordering::Relaxed);
        let kind = format!("{phase:?} {}", error.name());
        *self.log.kinds.lock().entry(kind).or_default() += 1;
        if phase.may_fail(self.policy) {
            return Ok(());
        }
        let node = error.node();
        let fault = homes[0].as_ref().and_then(|home| self.log.faults.lock().get(home).copied());
        Err(format!(
            "{}: {key} of {homes:?} failed by {node:?} in phase {phase:?} {:?} after it began: \
             {error}; {fault:?}",
            self.name,
            begun.elapsed()
        ))
    }

    pub(super) fn fault(&self, node: &str) {
        let fault = Fault {
            begun: Instant::now(),
            undone: None,
            ejected: None,
            returned: None,
            unlisted: None,
            listed: None,
            answered: None,
            is_out: false,
            is_unlisted: false,
        };
        self.log.faults.lock().insert(node.to_owned(), fault);
    }

    pub(super) fn undone(&self, node: &str) {
        self.log.at(node, |fault| fault.undone = Some(Instant::now()));
    }

    /// The fault is forgotten: from now on no call may fail for it.
    pub(super) fn over(&self, node: &str) {
        let Some(fault) = self.log.faults.lock().remove(node) else { return };
        let since = |from: Option<Instant>, to: Option<Instant>| Some(to?.duration_since(from?));
        let begun = Some(fault.begun);
        self.log.figures.lock().push(Figures {
            ejected: since(begun, fault.ejected),
            unlisted: since(begun, fault.unlisted),
            listed: since(fault.undone, fault.listed),
            answered: since(fault.undone, fault.answered),
        });
    }

    pub(super) fn is_ejected(&self, node: &str) -> bool {
        self.client.status().nodes.iter().any(|own| *own.name == *node && own.is_ejected)
    }

    pub(super) fn is_listed(&self, node: &str) -> bool {
        self.client.status().nodes.iter().any(|own| *own.name == *node)
    }

    pub(super) fn has_answered(&self, node: &str) -> bool {
        let faults = self.log.faults.lock();
        faults.get(node).is_none_or(|fault| fault.answered.is_some())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |time: Option<Duration>| {
            time.map_or_else(|| "-".to_owned(), |time| format!("{:.2}", time.as_secs_f64()))
        };
        write!(
            f,
            "{:>7} {:>8} {:>7} {:>7}",
            show(self.ejected),
            show(self.unlisted),
            show(self.answered),
            show(self.listed)
        )
    }
}
