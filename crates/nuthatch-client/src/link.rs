//! A link: one queue of calls, and the connection that serves them, made anew whenever it ends.
//!
//! ```text
//!   Client ─┐            queue                 Task
//!   Client ─┼─> [ Call Call Call … ] ─> Wire (waiters) ─> Stream ─>
//!   Client ─┘                             │   ▲
//!      ▲                                  │   └────────── Stream <─
//!      └────────── oneshot ───────────────┘
//!
//!                  ┌──────────── a connection that has answered ends ────────────┐
//!                  v                                                             │
//!   first ──> connecting ── answered ─────────────────────────> serving ─────────┤
//!    calls wait    │                                               ^             │
//!                  └─ failed ─> down: calls fail at once ─ answered┘ <─ else ────┘
//!                                 │  ^ again after a pause
//!                                 └──┘
//! ```
//!
//! The task never waits for a caller: an answer goes into a oneshot channel, and one that nobody
//! waits for is dropped. It reads whenever something is there, also while it cannot write, so that
//! a server which stops reading until its answers are taken goes on. What was sent on a connection
//! that ends fails with it, and the connection is never used again, however little of an answer
//! had been read; what was not sent waits for the next one.
//!
//! A call that is alone does without queue and task; see [`crate::seat`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use backon::BackoffBuilder;
use futures_util::FutureExt;
use nuthatch_transport::Stream;
use parking_lot::Mutex;
use tokio::runtime::{self, Handle};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::call::Call;
use crate::dial::Dialer;
use crate::error::{Cause, Error};
use crate::event::{Event, Events};
use crate::health::{Health, millis};
use crate::node::NodeOptions;
use crate::options::Ejection;
use crate::seat::{Alarm, NO_TURN, Seat, Serving};
use crate::wire::Wire;

/// No call is encoded while more than this waits to be written, in bytes. It is some 20,000 small
/// commands, which fill any socket buffer; a server that does not read makes the client hold this
/// much and one value more.
const OUT_BYTES_MAX: usize = 1 << 20;

/// A server that has not answered for a second, whatever its callers would wait, is no cache.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Where calls end together they count as many in a row, be it that the server answers one after
/// the other; it is given up only if it answers nothing in this part of the usual time either.
const GRACE: u32 = 20;

/// The handle: a place to put calls.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) state: Arc<LinkState>,
    /// Its end tells the task that nobody will call any more.
    _is_held: oneshot::Sender<()>,
}

/// What both ends of the queue know.
#[derive(Debug)]
pub(crate) struct LinkState {
    phase: watch::Sender<Phase>,
    /// How many calls were on their way when the task last rested. Relaxed: it is only a count.
    pub(crate) n_in_flight: AtomicUsize,
    health: Arc<Health>,
    pub(crate) seat: Mutex<Seat>,
    /// Whose turn it is to go on with the connection. Written under the seat's lock.
    pub(crate) turn: AtomicU64,
    /// How many calls in a row were not answered in time. Relaxed: it is only a count.
    n_timeouts: AtomicU32,
    timeouts_max: u32,
    /// When the first of them ended, in milliseconds since `born`.
    row_began_ms: AtomicU64,
    born: Instant,
    /// Where the task is.
    pub(crate) runtime: runtime::Id,
    /// How long calls with short time limits may remain unanswered.
    patience: Duration,
    /// Wakes the task: the connection is to be given up, or made to another place.
    give_up: Notify,
    renew: Notify,
}

/// How the connection is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Connecting,
    Up,
    Down(Error),
}

impl LinkState {
    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Waits for the first attempt to connect.
    pub(crate) async fn tried(&self) -> Result<(), Error> {
        let mut phases = self.phase.subscribe();
        let tried = phases.wait_for(|phase| !matches!(phase, Phase::Connecting)).await;
        match tried.as_deref() {
            Ok(Phase::Down(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// A call that was sent was not answered in time. Where that was less than usual, the first of
    /// the row must be long enough ago: the impatience of some is not to cost all the connection.
    pub(crate) fn timed_out(&self, was_short: bool) {
        let now = self.born.elapsed();
        let n_before = self.n_timeouts.fetch_add(1, Ordering::Relaxed);
        if n_before == 0 {
            self.row_began_ms.store(millis(now), Ordering::Relaxed);
        }
        let began = Duration::from_millis(self.row_began_ms.load(Ordering::Relaxed));
        let is_long = !was_short || now.saturating_sub(began) >= self.patience;
        if is_long && n_before + 1 >= self.timeouts_max {
            self.give_up.notify_one();
        }
    }

    /// The server has answered.
    pub(crate) fn answered(&self) {
        self.n_timeouts.store(0, Ordering::Relaxed);
        self.health.answered();
    }

    /// The address is another one.
    pub(crate) fn renew(&self) {
        self.renew.notify_one();
    }

    /// Begins to look whether the server answers anything at all, until the moment that is
    /// returned.
    fn try_for(&self, time: Duration, is_ending: bool) -> Instant {
        if let Some(serving) = &mut self.seat.lock().serving {
            serving.has_answered = false;
            serving.is_ending |= is_ending;
        }
        Instant::now() + time
    }

    /// Ends the connection if it has not; says when to look again, if at all.
    fn verdict(&self) -> Result<Option<Instant>, End> {
        let (has_answered, is_ending) = match &self.seat.lock().serving {
            Some(serving) => (serving.has_answered, serving.is_ending),
            None => (false, false),
        };
        match (has_answered, is_ending) {
            (true, true) => Ok(Some(self.try_for(self.patience, true))),
            (true, false) => Ok(None),
            (false, true) => Err(End::Elsewhere),
            (false, false) => {
                let n = self.n_timeouts.load(Ordering::Relaxed);
                Err(End::Broken(Cause::Silent { n }))
            }
        }
    }
}

impl Link {
    /// Begins to connect, in the background.
    pub(crate) fn spawn(
        dialer: Arc<Dialer>,
        health: Arc<Health>,
        node: Arc<str>,
        events: Events,
        options: &NodeOptions,
    ) -> Self {
        let &NodeOptions { ejection, queue_len, timeout, .. } = options;
        let (calls, queue) = mpsc::channel(queue_len);
        let (is_held, is_left) = oneshot::channel();
        let state = Arc::new(LinkState {
            phase: watch::Sender::new(Phase::Connecting),
            n_in_flight: AtomicUsize::new(0),
            health: Arc::clone(&health),
            seat: Mutex::default(),
            turn: AtomicU64::new(NO_TURN),
            n_timeouts: AtomicU32::new(0),
            timeouts_max: ejection.timeouts.max(1),
            row_began_ms: AtomicU64::new(0),
            born: Instant::now(),
            runtime: Handle::current().id(),
            patience: timeout.min(PATIENCE_MAX),
            give_up: Notify::new(),
            renew: Notify::new(),
        });
        let task = Task {
            calls: queue,
            is_left,
            n_in_flight_max: queue_len,
            timeout,
            dialer,
            health,
            node,
            events,
            ejection,
            state: Arc::clone(&state),
        };
        tokio::spawn(task.run());
        Self { calls, state, _is_held: is_held }
    }

    /// How many calls wait to be sent.
    pub(crate) fn n_queued(&self) -> usize {
        self.calls.max_capacity() - self.calls.capacity()
    }

    /// How many a call would have before it.
    pub(crate) fn n_before(&self) -> usize {
        self.n_queued() + self.state.n_in_flight.load(Ordering::Relaxed)
    }
}

/// The connection's end of the queue.
struct Task {
    calls: mpsc::Receiver<Call>,
    /// Nothing is ever sent over it.
    is_left: oneshot::Receiver<()>,
    /// As many as there are places in the queue.
    n_in_flight_max: usize,
    /// What a call's time limit is usually.
    timeout: Duration,
    dialer: Arc<Dialer>,
    health: Arc<Health>,
    node: Arc<str>,
    events: Events,
    ejection: Ejection,
    state: Arc<LinkState>,
}

/// What is over.
enum End {
    /// Nobody holds a handle any more.
    Unused,
    /// The connection leads to where the node was. Nothing is under way on it, or nothing of it is
    /// answered.
    Elsewhere,
    /// The connection.
    Broken(Cause),
}

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        Self::Broken(cause)
    }
}

impl Task {
    async fn run(mut self) {
        let mut pauses = self.pauses();
        // Why the last attempt failed; calls do not wait for an attempt after one that did.
        let mut failure = None;
        let mut is_first = true;
        loop {
            let is_probe = !is_first;
            is_first = false;
            let Some(dialled) = self.dial(is_probe, failure.as_ref()).await else { return };
            let error = match dialled {
                Ok((stream, wire)) => {
                    if is_probe {
                        self.health.answered();
                    }
                    match self.serve(stream, wire).await {
                        Ok(()) => return,
                        Err(None) => {
                            failure = None;
                            pauses = self.pauses();
                            continue;
                        }
                        Err(Some(error)) => error,
                    }
                }
                Err(error) => {
                    self.health.failed(1);
                    error
                }
            };
            self.events.send(Event::Failed { node: Arc::clone(&self.node), error: error.clone() });
            self.state.phase.send_replace(Phase::Down(error.clone()));
            let pause = pauses.next().unwrap_or(self.ejection.pause_max);
            let is_used = self.refuse_until(tokio::time::sleep(pause), &error).await;
            if is_used.is_none() {
                return;
            }
            failure = Some(error);
        }
    }

    fn pauses(&self) -> backon::ExponentialBackoff {
        backon::ExponentialBuilder::new()
            .with_min_delay(self.ejection.pause_min)
            .with_max_delay(self.ejection.pause_max)
            .without_max_times()
            .with_jitter()
            .build()
    }

    /// Makes a connection; calls wait for it, unless the last attempt has failed. `None`: nobody
    /// waits for it any more.
    async fn dial(
        &mut self,
        is_probe: bool,
        failure: Option<&Error>,
    ) -> Option<Result<(Stream, Wire), Error>> {
        // It goes to where the node is by now.
        let _ = self.state.renew.notified().now_or_never();
        let dialer = Arc::clone(&self.dialer);
        let dial = dialer.dial(is_probe);
        match failure {
            None => tokio::select! {
                biased;
                dialled = dial => Some(dialled.map_err(|error| error.at(&self.node))),
                _ = &mut self.is_left => None,
            },
            Some(failure) => {
                let dialled = self.refuse_until(dial, failure).await?;
                Some(dialled.map_err(|error| error.at(&self.node)))
            }
        }
    }

    /// Waits, and fails all calls meanwhile. `None` if there will be none any more.
    async fn refuse_until<T>(
        &mut self,
        until: impl Future<Output = T>,
        error: &Error,
    ) -> Option<T> {
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                biased;
                done = &mut until => return Some(done),
                call = self.calls.recv() => {
                    // Who has gone need not be told.
                    let _ = call?.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Serves calls until the connection or its users are gone. `Ok` if it is its users; an error
    /// where it is not to be made anew at once.
    async fn serve(&mut self, stream: Stream, wire: Wire) -> Result<(), Option<Error>> {
        self.state.n_timeouts.store(0, Ordering::Relaxed);
        self.state.n_in_flight.store(0, Ordering::Relaxed);
        // Whoever waits for the connection has then been told of it.
        self.events.send(Event::Connected { node: Arc::clone(&self.node) });
        self.state.phase.send_replace(Phase::Up);
        let state = Arc::clone(&self.state);
        state.seat.lock().serving = Some(Serving::new(stream, wire));
        // Also where the task ends with its runtime: callers are not to wait for what nobody reads.
        let seated = Seated(&state);
        let mut alarm = Alarm::new(self.timeout);
        // When the server must have answered something.
        let mut trial = None;
        let end = loop {
            let poll = std::future::poll_fn(|cx| match self.poll(&mut alarm, cx) {
                Ok(pending) => pending,
                Err(end) => Poll::Ready(end),
            });
            tokio::select! {
                biased;
                end = poll => break end,
                () = state.give_up.notified() => {
                    let n = state.n_timeouts.load(Ordering::Relaxed);
                    // An answer may have come since.
                    if n >= state.timeouts_max && trial.is_none() {
                        trial = Some(state.try_for(state.patience / GRACE, false));
                    }
                }
                () = state.renew.notified() => {
                    trial = Some(state.try_for(state.patience, true));
                }
                () = sleep_until(trial.unwrap_or(state.born)), if trial.is_some() => {
                    trial = match state.verdict() {
                        Ok(again) => again,
                        Err(end) => break end,
                    };
                }
            }
        };
        let serving = state.vacate();
        drop(seated);
        let cause = match end {
            // Without a handle there is nobody to be told.
            End::Unused => return Ok(()),
            End::Elsewhere => {
                self.close(serving.map(|serving| serving.wire), Cause::Moved);
                return Err(None);
            }
            End::Broken(cause) => cause,
        };
        // Whoever does not answer at all is out at once.
        let is_silent = matches!(cause, Cause::Silent { .. });
        self.health.failed(if is_silent { self.ejection.failures.max(1) } else { 1 });
        let is_proven = serving.as_ref().is_some_and(|serving| serving.is_proven);
        let error = self.close(serving.map(|serving| serving.wire), cause);
        if is_proven && !is_silent {
            self.state.phase.send_replace(Phase::Connecting);
            self.events.send(Event::Failed { node: Arc::clone(&self.node), error });
            return Err(None);
        }
        Err(Some(error))
    }

    /// Goes on as far as it goes: `Pending` is the only success.
    fn poll(&mut self, alarm: &mut Alarm, cx: &mut Context<'_>) -> Result<Poll<End>, End> {
        let state = &*self.state;
        let mut seat = state.seat.lock();
        let seat = &mut *seat;
        state.take_turn(seat, cx);
        if let Some(cause) = seat.fault.take() {
            return Err(cause.into());
        }
        alarm.poll(seat, cx);
        let Some(serving) = &mut seat.serving else { unreachable!("only the task takes it away") };
        let takes_calls = |serving: &Serving| {
            !serving.is_ending
                && serving.wire.n_pending() < self.n_in_flight_max
                && serving.wire.transmit().len() <= OUT_BYTES_MAX
        };
        // What is there before anything is asked is mostly the end, and no answer to what comes now.
        while serving.wire.n_pending() == 0 && serving.read(cx, state)?.is_ready() {}
        loop {
            // Everything that is asked goes out in as few writes as the kernel allows.
            let has_all = loop {
                if !takes_calls(serving) {
                    // The queue would tell of it too.
                    if self.is_left.poll_unpin(cx).is_ready() {
                        return Err(End::Unused);
                    }
                    break serving.is_ending;
                }
                match self.calls.poll_recv(cx) {
                    Poll::Ready(Some(call)) => serving.send(call)?,
                    Poll::Ready(None) => return Err(End::Unused),
                    Poll::Pending => break true,
                }
            };
            if serving.is_ending && serving.wire.n_pending() == 0 {
                return Err(End::Elsewhere);
            }
            serving.write_or_hear(cx, state)?;
            if serving.read(cx, state)?.is_ready() {
                continue;
            }
            // Writing may have made room.
            if has_all || !takes_calls(serving) {
                state.n_in_flight.store(serving.wire.n_pending(), Ordering::Relaxed);
                return Ok(Poll::Pending);
            }
        }
    }

    /// Tells all whose calls were sent that the connection has ended.
    fn close(&self, wire: Option<Wire>, cause: Cause) -> Error {
        let cause = Arc::new(cause);
        let is_answer = matches!(*cause, Cause::Protocol(_) | Cause::WrongKey { .. });
        for (n, waiter) in wire.into_iter().flat_map(Wire::into_waiters).enumerate() {
            // A bad answer is the one to the first call that was not answered.
            let is_culprit = is_answer && n == 0;
            let error =
                if is_culprit { Error::culprit(&cause) } else { Error::closed(&cause, false) };
            waiter.fail(error.at(&self.node));
        }
        Error::closed(&cause, true).at(&self.node)
    }
}

/// Gives the connection up when it goes.
struct Seated<'a>(&'a LinkState);

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        drop(self.0.vacate());
    }
}
