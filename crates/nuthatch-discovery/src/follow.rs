//! Following a source: the last good list, and whether it is still to be believed.
//!
//! ```text
//!              lists                         lists in force, with their state
//!   source ───────────►  judge ── hold ──►  watch channel ──► whoever follows
//!      ▲    errors    │   version, length    changes in quick succession become one;
//!      └── pause ◄────┘   emptiness          departures wait for the grace time
//! ```
//!
//! Nothing here agrees with other nodes on anything: who has to agree reads from a source whose
//! versions agree.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{Member, Members, Source, SourceError};

/// How a source is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// The pause after the first of several failures; it doubles with each, and a random half of
    /// it is left out so that many who follow do not come back at once. 500 ms by default.
    pub pause_min: Duration,
    /// The longest pause. 30 s by default.
    pub pause_max: Duration,
    /// For how long changes are gathered before they come in force as one. 200 ms by default; the
    /// first list never waits.
    pub debounce: Duration,
    /// For how long a node that the source no longer lists stays. All other changes wait with it,
    /// so that each version stays one list, and of several that are missing all leave when the first
    /// has been away for so long. None by default: what the source says of departures is believed,
    /// and a lease or a record's life span is grace enough.
    pub grace: Duration,
    /// The same where more than half of the list is gone, for as long as any of that half is: that
    /// is more often the source's failure than that of so many nodes. A store that stood still for
    /// longer than leases live, for one, ends them all, and the nodes come back one by one. 10 s by
    /// default; members of etcd with a lease of up to 15 s are there again in half of that.
    pub grace_of_most: Duration,
    /// The longest list that is taken. 1024 members by default; a list much longer does not fit
    /// the 64 KiB of an answer to `config get`.
    pub members_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pause_min: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
            debounce: Duration::from_millis(200),
            grace: Duration::ZERO,
            grace_of_most: Duration::from_secs(10),
            members_max: 1024,
        }
    }
}

/// Whether a list is to be believed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// The source has not answered yet.
    Waiting,
    /// The source's last answer is the list.
    Fresh,
    /// The source has been failing, and the list is its last good answer, if there was one.
    Stale {
        /// When it began to fail.
        since: Instant,
        /// Why it failed the last time.
        error: SourceError,
    },
}

/// What is known of the members.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct View {
    /// The list in force; none before the source's first answer.
    pub members: Option<Arc<Members>>,
    /// Whether it is to be believed.
    pub state: State,
}

/// A source that is being followed. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Following {
    views: watch::Receiver<View>,
    task: JoinHandle<()>,
}

impl Following {
    /// What is known now.
    pub fn view(&self) -> View {
        self.views.borrow().clone()
    }

    /// To wait for changes: a receiver hears of every change of the list and of the state, the
    /// last one only if several came while it looked away. It ends when this is dropped.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// Waits for the first list.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// The source's error, if `patience` ends before there is a list.
    pub async fn first(&self, patience: Duration) -> Result<Arc<Members>, SourceError> {
        let mut views = self.views.clone();
        let listed = tokio::time::timeout(patience, views.wait_for(|view| view.members.is_some()));
        if let Ok(Ok(view)) = listed.await
            && let Some(members) = &view.members
        {
            return Ok(Arc::clone(members));
        }
        Err(match self.view().state {
            State::Stale { error, .. } => error,
            _ => SourceError::Unreachable("no answer in time".to_owned()),
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows a source, on the tokio runtime it is called on.
///
/// - The list in force stays while the source fails, whatever it answers that is no list.
/// - Its version never goes down: an older answer counts as a failure.
/// - A source that fails is asked again after a growing pause.
///
/// ```
/// use nuthatch_discovery::{Limits, State, Static, follow};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = Static::parse("cache-1.example,cache-2.example:11212:3")?;
/// let following = follow(Box::new(source), Limits::default());
/// let members = following.first(std::time::Duration::from_secs(5)).await?;
/// assert_eq!(members.members()[1].to_string(), "cache-2.example||11212 weight 3");
/// assert_eq!(following.view().state, State::Fresh);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn follow(source: Box<dyn Source>, limits: Limits) -> Following {
    let (sender, views) = watch::channel(View { members: None, state: State::Waiting });
    let task = tokio::spawn(
        Follower { limits, sender, held: None, most_left: None, failures: 0 }.run(source),
    );
    Following { views, task }
}

struct Follower {
    limits: Limits,
    sender: watch::Sender<View>,
    /// A newer list than the one in force, until its time has come.
    held: Option<Held>,
    /// Since when more than half of the list in force, or all of it, has been gone; none when
    /// nobody is missing any more.
    most_left: Option<Instant>,
    /// How often in a row the source failed.
    failures: u32,
}

struct Held {
    members: Members,
    /// When the first change came that is not in force.
    since: Instant,
    /// The members of the list in force that it has not, and since when they have been missing in
    /// what came after.
    leaving: Vec<(Member, Instant)>,
}

impl Follower {
    async fn run(mut self, mut source: Box<dyn Source>) {
        loop {
            let answer = self.releasing(asked(&mut *source)).await;
            match answer.and_then(|members| self.judge(members)) {
                Ok(()) => self.failures = 0,
                Err(error) => {
                    self.fail(error);
                    let pause = self.pause();
                    self.releasing(tokio::time::sleep(pause)).await;
                }
            }
        }
    }

    /// Waits for something, and puts in force meanwhile what has waited long enough.
    async fn releasing<T>(&mut self, waited_for: impl Future<Output = T>) -> T {
        let mut waited_for = std::pin::pin!(waited_for);
        loop {
            let Some(due) = self.due() else {
                return waited_for.await;
            };
            tokio::select! {
                biased;
                done = &mut waited_for => return done,
                () = sleep_until(due) => self.release(),
            }
        }
    }

    /// Takes a list, or says why not.
    fn judge(&mut self, members: Members) -> Result<(), SourceError> {
        let limit = self.limits.members_max;
        if members.is_empty() {
            // What was left on the way there is no list either.
            self.held.take_if(|held| !held.leaving.is_empty());
            if self.sender.borrow().members.is_some() {
                self.most_left.get_or_insert_with(Instant::now);
            }
            return Err(SourceError::Empty);
        }
        if members.len() > limit {
            return Err(SourceError::TooMany { members: members.len(), limit });
        }
        let current = self.sender.borrow().members.clone();
        let Some(current) = current else {
            self.publish(Some(members));
            return Ok(());
        };
        let newest = self.held.as_ref().map_or(&*current, |held| &held.members);
        if members.version() < newest.version()
            || (members.version() == newest.version() && members != *newest)
        {
            let have = newest.version();
            return Err(SourceError::WentBack { have, got: members.version() });
        }
        let now = Instant::now();
        let n_missing = current.missing_in(&members).count();
        if n_missing == 0 {
            self.most_left = None;
        } else if n_missing * 2 > current.len() {
            self.most_left.get_or_insert(now);
        }
        if members != *newest {
            let held = self.held.take();
            let since = held.as_ref().map_or(now, |held| held.since);
            let before = held.map(|held| held.leaving).unwrap_or_default();
            let missing = current.missing_in(&members).map(|member| {
                let left = before.iter().find(|(left, _)| left.identity() == member.identity());
                (member.clone(), left.map_or(now, |(_, since)| *since))
            });
            let leaving = missing.collect();
            self.held = Some(Held { members, since, leaving });
        }
        self.publish(None);
        Ok(())
    }

    /// When what is held comes in force.
    fn due(&self) -> Option<Instant> {
        let held = self.held.as_ref()?;
        let gathered = held.since + self.limits.debounce;
        let Some(first) = held.leaving.iter().map(|(_, since)| *since).min() else {
            return Some(gathered);
        };
        let most = self.most_left.map(|since| since + self.limits.grace_of_most);
        Some(gathered.max(first + self.limits.grace).max(most.unwrap_or(gathered)))
    }

    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.most_left = None;
            // Why the source fails since then, if it does, stays said.
            self.sender.send_modify(|view| view.members = Some(Arc::new(held.members)));
        }
    }

    /// The source is well, and perhaps has a list.
    fn publish(&self, members: Option<Members>) {
        self.sender.send_if_modified(|view| {
            let changed = members.is_some() || view.state != State::Fresh;
            view.state = State::Fresh;
            if let Some(members) = members {
                view.members = Some(Arc::new(members));
            }
            changed
        });
    }

    fn fail(&mut self, error: SourceError) {
        self.failures = self.failures.saturating_add(1);
        self.sender.send_if_modified(|view| {
            let since = match &view.state {
                State::Stale { error: before, .. } if *before == error => return false,
                State::Stale { since, .. } => *since,
                _ => Instant::now(),
            };
            view.state = State::Stale { since, error };
            true
        });
    }

    /// The pause after the failures there were.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let whole = self.limits.pause_min.saturating_mul(1 << doublings).min(self.limits.pause_max);
        jitter(whole)
    }
}

/// What a source says; a panic is what it says then, and does not end who follows it.
async fn asked(source: &mut dyn Source) -> Result<Members, SourceError> {
    let mut answer = std::pin::pin!(async move { source.next().await });
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
        polled.unwrap_or(Poll::Ready(Err(SourceError::Panicked)))
    })
    .await
}

/// Between half of a time and all of it, at random.
pub(crate) fn jitter(whole: Duration) -> Duration {
    // Without random numbers there is no jitter; nothing else suffers.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    whole.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests;
