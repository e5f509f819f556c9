//! The threads that check logins, and what waits for them.

use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use nuthatch_transport::Origin;
use parking_lot::{Condvar, Mutex};

use super::failures::Failures;
use super::{Attempt, Tried};

/// How many logins may wait for their turn; a connection has one at a time. Each keeps what its
/// client sent, 8 KiB at most. When there are more, the address with the most of them loses one.
const WAITING_MAX: usize = 4096;

/// How many attempts from one address may wait because of earlier failures, and how many of all
/// addresses. What comes beyond them is refused unchecked, and takes no turn from anybody.
pub(super) const HELD_MAX: u32 = 32;
const HELD_MAX_IN_ALL: usize = 2048;

/// The most threads, and how many cores each is for: whatever is tried, most of the machine goes on
/// serving. (One thread hashes some hundred passwords a second.)
const THREADS_MAX: usize = 8;
const CORES_PER_THREAD: usize = 4;

/// Checks logins. The threads begin when they are needed and end with this.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    threads_max: usize,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Turns,
    /// Those that wait for their time.
    held: BinaryHeap<Held>,
    /// How many of each address wait for their time, or have waited and are not looked at yet; and of
    /// all addresses.
    n_held_of: HashMap<Origin, u32>,
    n_held: usize,
    failures: Failures,
    /// Numbers those that are held, so that of two with one time the first comes first.
    n_holds: u64,
    n_threads: usize,
    n_idle: usize,
    is_ended: bool,
}

impl Pool {
    /// A pool that nobody has asked for anything.
    pub(crate) fn new() -> Self {
        let n_cores = thread::available_parallelism().map_or(1, usize::from);
        let threads_max = (n_cores / CORES_PER_THREAD).clamp(1, THREADS_MAX);
        Self { inner: Arc::default(), threads_max }
    }

    /// Has an attempt checked that comes from here, on a connection with so many failures.
    pub(crate) fn try_later(
        &self,
        origin: Origin,
        n_failures: u32,
        attempt: impl Attempt + 'static,
    ) {
        let attempt = Box::new(attempt);
        let mut state = self.inner.state.lock();
        if !self.has_thread(&mut state) {
            drop(state);
            return attempt.refuse();
        }
        state.ready.push(Waiting { origin, n_failures, has_waited: false, attempt });
        let too_many = state.take_too_many();
        drop(state);
        self.inner.changed.notify_one();
        if let Some(waiting) = too_many {
            waiting.attempt.refuse();
        }
    }

    /// Notes a failure that showed without any work.
    pub(crate) fn note_failure(&self, origin: Origin) {
        self.inner.state.lock().failures.note(origin, now());
    }

    /// Begins a thread if all are busy and there may be another one; whether there is any.
    fn has_thread(&self, state: &mut State) -> bool {
        if state.n_idle == 0 && state.n_threads < self.threads_max {
            let inner = Arc::clone(&self.inner);
            let name = format!("nuthatch-auth-{}", state.n_threads);
            match thread::Builder::new().name(name).spawn(move || inner.work()) {
                Ok(_) => state.n_threads += 1,
                Err(error) => tracing::warn!("no thread to check logins: {error}"),
            }
        }
        state.n_threads > 0
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.state.lock().is_ended = true;
        self.inner.changed.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads_max", &self.threads_max).finish_non_exhaustive()
    }
}

/// What a thread does next.
enum Next {
    Check(Waiting),
    Refuse(Box<dyn Attempt>),
    /// Nobody waits for it any more.
    Drop(Box<dyn Attempt>),
    Wait(Option<Instant>),
    End,
}

impl Inner {
    /// A thread's life.
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            match state.next(now()) {
                Next::Check(waiting) => {
                    drop(state);
                    let origin = waiting.origin;
                    let is_wrong = check(waiting.attempt) == Tried::Wrong;
                    state = self.state.lock();
                    if is_wrong {
                        // Before the next one is looked at.
                        state.failures.note(origin, now());
                    }
                }
                Next::Refuse(attempt) => {
                    drop(state);
                    attempt.refuse();
                    state = self.state.lock();
                }
                Next::Drop(attempt) => {
                    drop(state);
                    drop(attempt);
                    state = self.state.lock();
                }
                Next::Wait(until) => {
                    state.n_idle += 1;
                    match until {
                        Some(until) => {
                            self.changed.wait_until(&mut state, until);
                        }
                        None => self.changed.wait(&mut state),
                    }
                    state.n_idle -= 1;
                }
                Next::End => return,
            }
        }
    }
}

impl State {
    fn next(&mut self, now: Instant) -> Next {
        if self.is_ended {
            return Next::End;
        }
        // Whose time has come takes its turn like everybody else: many that come due at a moment
        // would have all others wait until they are checked.
        while let Some(held) = self.held.peek_mut()
            && held.until <= now
        {
            self.ready.push(Waiting { has_waited: true, ..PeekMut::pop(held).waiting });
        }
        while let Some(waiting) = self.ready.pop() {
            if waiting.has_waited {
                self.release(&waiting);
                return Next::wanted(waiting);
            }
            let wait = self.failures.wait(waiting.origin, waiting.n_failures, now);
            if wait.is_zero() {
                return Next::wanted(waiting);
            }
            let n_held = self.n_held_of.get(&waiting.origin).copied().unwrap_or(0);
            if n_held >= HELD_MAX || self.n_held >= HELD_MAX_IN_ALL {
                return Next::Refuse(waiting.attempt);
            }
            self.n_held_of.insert(waiting.origin, n_held + 1);
            self.n_held += 1;
            self.n_holds += 1;
            self.held.push(Held { until: now + wait, number: self.n_holds, waiting });
        }
        Next::Wait(self.held.peek().map(|held| held.until))
    }

    /// If there are too many, the last one of the address with the most.
    fn take_too_many(&mut self) -> Option<Waiting> {
        let waiting = self.ready.take_too_many()?;
        if waiting.has_waited {
            self.release(&waiting);
        }
        Some(waiting)
    }

    /// One that has waited does so no more.
    fn release(&mut self, waiting: &Waiting) {
        self.n_held -= 1;
        if let Some(n) = self.n_held_of.get_mut(&waiting.origin) {
            *n -= 1;
            if *n == 0 {
                self.n_held_of.remove(&waiting.origin);
            }
        }
    }
}

impl Next {
    fn wanted(waiting: Waiting) -> Self {
        if waiting.attempt.is_wanted() { Self::Check(waiting) } else { Self::Drop(waiting.attempt) }
    }
}

/// Checks an attempt. One that panics is dropped, by which its client gets an error.
fn check(attempt: Box<dyn Attempt>) -> Tried {
    let today = today();
    panic::catch_unwind(AssertUnwindSafe(|| attempt.check(today))).unwrap_or(Tried::Unknown)
}

/// An attempt that waits.
struct Waiting {
    origin: Origin,
    n_failures: u32,
    /// For its earlier failures; what it waits for now is its turn.
    has_waited: bool,
    attempt: Box<dyn Attempt>,
}

/// One that waits for its time.
struct Held {
    until: Instant,
    number: u64,
    waiting: Waiting,
}

impl Ord for Held {
    /// The one whose time comes first is the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.until, other.number).cmp(&(self.until, self.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Held {}

/// Attempts that are to be checked: addresses take turns, and those of one address come in order.
#[derive(Default)]
struct Turns {
    by_origin: HashMap<Origin, VecDeque<Waiting>>,
    /// The addresses that have some, each once.
    turns: VecDeque<Origin>,
    len: usize,
}

impl Turns {
    fn push(&mut self, waiting: Waiting) {
        let of_origin = self.by_origin.entry(waiting.origin).or_default();
        if of_origin.is_empty() {
            self.turns.push_back(waiting.origin);
        }
        of_origin.push_back(waiting);
        self.len += 1;
    }

    /// If there are too many, the last one of the address with the most.
    fn take_too_many(&mut self) -> Option<Waiting> {
        if self.len <= WAITING_MAX {
            return None;
        }
        let origin = *self.by_origin.iter().max_by_key(|(_, of_origin)| of_origin.len())?.0;
        let of_origin = self.by_origin.get_mut(&origin)?;
        let waiting = of_origin.pop_back();
        if of_origin.is_empty() {
            self.by_origin.remove(&origin);
            self.turns.retain(|turn| *turn != origin);
        }
        self.len -= usize::from(waiting.is_some());
        waiting
    }

    fn pop(&mut self) -> Option<Waiting> {
        let origin = self.turns.pop_front()?;
        let of_origin = self.by_origin.get_mut(&origin)?;
        let waiting = of_origin.pop_front();
        if of_origin.is_empty() {
            self.by_origin.remove(&origin);
        } else {
            self.turns.push_back(origin);
        }
        self.len -= usize::from(waiting.is_some());
        waiting
    }
}

#[expect(clippy::disallowed_methods, reason = "these threads are their own clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "files are followed by their times")]
fn today() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
