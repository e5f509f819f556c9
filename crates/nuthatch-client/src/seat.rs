//! Who goes on with a connection: its task, or a caller who is alone with it.
//!
//! ```text
//!                 idle, and the last call was alone too
//!     task ───────────────────────────────────────────────> caller's turn
//!      ^    the call is written and its answer read            │
//!      │    on the caller's own task, without the queue        │
//!      └───────────────────────────────────────────────────────┘
//!        answered; dropped; failed; another call has come; time for the alarm
//! ```
//!
//! A call that waits in the queue takes two turns of the connection's task, one to be written and
//! one to be answered, and several wake-ups. They are worth it where calls come together, for then
//! they are written and answered together; a task that makes one call after the other would pay
//! them for nothing. Which it is the last calls tell: only one that found nobody else with the
//! connection is followed by one with a turn of its own.
//!
//! The task takes a turn back whenever it is polled, and then has all that is under way; whoever
//! had it is woken, to wait like everybody else. So nobody depends on a caller: one that is dropped
//! hands over, and one that is not polled for long delays only itself, because any other call wakes
//! the task.
//!
//! Nor do callers set timers, which are dearer than all this. The task has an alarm instead, which
//! takes turns back now and then while there are any; a caller whose time is up only after the next
//! alarm need not look at the clock before. That is for callers on the task's own runtime: another
//! one may run while nobody drives this one, and then nothing would end a turn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nuthatch_transport::Stream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::call::{Answered, Call};
use crate::error::Cause;
use crate::link::LinkState;
use crate::wire::Wire;

/// The place at the connection. Whoever holds its lock goes on with it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    pub(crate) serving: Option<Serving>,
    /// Wakes the task.
    task: Option<Waker>,
    /// Wakes the caller whose turn it is, or was last.
    caller: Option<Waker>,
    last_turn: u64,
    /// What was found wrong in a caller's turn, for the task to act upon.
    pub(crate) fault: Option<Cause>,
    /// When turns are taken back.
    alarm_at: Option<Instant>,
    /// Whether anybody has wanted a turn since the last alarm.
    is_wanted: bool,
}

/// A connection that is being served.
#[derive(Debug)]
pub(crate) struct Serving {
    stream: Stream,
    pub(crate) wire: Wire,
    /// Whether the server has answered anything since it was made.
    pub(crate) is_proven: bool,
    /// Whether it has since it was last looked at whether it does.
    pub(crate) has_answered: bool,
    /// No more calls are taken; it ends when those under way are answered.
    pub(crate) is_ending: bool,
    /// How many calls have come since nothing was under way.
    n_together: usize,
    was_alone: bool,
}

/// Nobody's turn but the task's.
pub(crate) const NO_TURN: u64 = 0;

impl LinkState {
    /// Gives a call a turn, or gives it back for the queue. [`NO_TURN`] if it has ended already.
    pub(crate) fn begin(
        &self,
        call: Call,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Result<u64, Call> {
        if self.n_in_flight.load(Ordering::Relaxed) > 0 {
            return Err(call);
        }
        let Some(mut seat) = self.seat.try_lock() else { return Err(call) };
        let seat = &mut *seat;
        // The task is about to end it: nothing that comes over it is an answer any more.
        if seat.fault.is_some() || !self.is_at_home(seat, cx) {
            return Err(call);
        }
        let (serving, task) = match (&mut seat.serving, &seat.task) {
            (Some(serving), Some(task)) if serving.is_idle() && serving.was_alone => {
                (serving, task)
            }
            _ => return Err(call),
        };
        // Nor is what comes before anything is asked; mostly it is the end.
        if serving.stream.poll_readable(&mut Context::from_waker(task)).is_ready() {
            return Err(call);
        }
        seat.is_wanted = true;
        if seat.alarm_at.is_none_or(|at| at > deadline) {
            return Err(call);
        }
        if let Err(cause) = serving.send(call) {
            seat.fail(cause);
            return Ok(NO_TURN);
        }
        if serving.wire.n_pending() == 0 {
            return Ok(NO_TURN);
        }
        if let Err(cause) = serving.write_or_hear(cx, self) {
            seat.fail(cause);
            return Ok(NO_TURN);
        }
        keep(&mut seat.caller, cx);
        seat.last_turn += 1;
        self.turn.store(seat.last_turn, Ordering::Release);
        self.n_in_flight.store(1, Ordering::Relaxed);
        Ok(seat.last_turn)
    }

    /// Whether who polls is on the task's own runtime. Whoever was the last to have a turn is.
    fn is_at_home(&self, seat: &Seat, cx: &Context<'_>) -> bool {
        seat.caller.as_ref().is_some_and(|caller| caller.will_wake(cx.waker()))
            || Handle::try_current().is_ok_and(|handle| handle.id() == self.runtime)
    }

    /// Goes on with a call until its answer is there; `None` if it is no longer its turn.
    pub(crate) fn poll_turn(
        &self,
        turn: u64,
        answer: &mut oneshot::Receiver<Answered>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Answered>> {
        // Acquire and Release: a formality, since the lock decides.
        if self.turn.load(Ordering::Acquire) != turn {
            return Poll::Ready(None);
        }
        let mut seat = self.seat.lock();
        let seat = &mut *seat;
        let Some(serving) = &mut seat.serving else { return Poll::Ready(None) };
        if self.turn.load(Ordering::Relaxed) != turn {
            return Poll::Ready(None);
        }
        let has_gone_on = serving.write_or_hear(cx, self).and_then(|()| {
            while serving.wire.n_pending() > 0 && serving.read(cx, self)?.is_ready() {}
            Ok(())
        });
        if let Err(cause) = has_gone_on {
            self.turn.store(NO_TURN, Ordering::Release);
            seat.fail(cause);
            return Poll::Ready(None);
        }
        // The channel's own waker is not set: the answer comes in this very poll.
        let Ok(answered) = answer.try_recv() else {
            if serving.wire.n_pending() > 0 {
                keep(&mut seat.caller, cx);
                return Poll::Pending;
            }
            return self.end_turn(seat, None);
        };
        self.end_turn(seat, Some(answered))
    }

    fn end_turn(&self, seat: &mut Seat, answered: Option<Answered>) -> Poll<Option<Answered>> {
        self.turn.store(NO_TURN, Ordering::Release);
        self.n_in_flight.store(0, Ordering::Relaxed);
        seat.wait_by_task();
        Poll::Ready(answered.map(Some).unwrap_or_default())
    }

    /// Hands a turn over before its call is answered.
    pub(crate) fn leave(&self, turn: u64) {
        if self.turn.load(Ordering::Acquire) != turn {
            return;
        }
        let seat = self.seat.lock();
        if self.turn.load(Ordering::Relaxed) == turn {
            self.turn.store(NO_TURN, Ordering::Release);
            seat.wake_task();
        }
    }

    /// The task takes the turn.
    pub(crate) fn take_turn(&self, seat: &mut Seat, cx: &Context<'_>) {
        keep(&mut seat.task, cx);
        self.end_callers_turn(seat);
    }

    /// Nobody goes on with the connection any more.
    pub(crate) fn vacate(&self) -> Option<Serving> {
        let mut seat = self.seat.lock();
        self.end_callers_turn(&seat);
        // Turns are numbered on: one of before is not to be taken for one of the next connection.
        let empty = Seat { last_turn: seat.last_turn, ..Seat::default() };
        std::mem::replace(&mut *seat, empty).serving
    }

    fn end_callers_turn(&self, seat: &Seat) {
        if self.turn.swap(NO_TURN, Ordering::AcqRel) != NO_TURN
            && let Some(caller) = &seat.caller
        {
            caller.wake_by_ref();
        }
    }
}

/// Remembers whom to wake. It is mostly who it was before.
fn keep(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

impl Seat {
    /// Leaves what is wrong to the task.
    fn fail(&mut self, cause: Cause) {
        self.fault = Some(cause);
        self.wake_task();
    }

    fn wake_task(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    /// Has the task woken by whatever comes next: it is mostly the connection's end. It is the
    /// task that writes the rest of what was answered before all of it was there.
    fn wait_by_task(&mut self) {
        let (Some(serving), Some(task)) = (&mut self.serving, &self.task) else { return };
        let mut cx = Context::from_waker(task);
        let is_written =
            serving.wire.transmit().is_empty() && serving.stream.poll_flush(&mut cx).is_ready();
        if !is_written || serving.stream.poll_readable(&mut cx).is_ready() {
            task.wake_by_ref();
        }
    }
}

impl Serving {
    pub(crate) fn new(stream: Stream, wire: Wire) -> Self {
        Self {
            stream,
            wire,
            is_proven: false,
            has_answered: false,
            is_ending: false,
            n_together: 0,
            was_alone: true,
        }
    }

    fn is_idle(&self) -> bool {
        !self.is_ending && self.wire.n_pending() == 0 && self.wire.transmit().is_empty()
    }

    /// Encodes a call.
    pub(crate) fn send(&mut self, call: Call) -> Result<(), Cause> {
        self.n_together += 1;
        self.wire.send(call)
    }

    /// Writes until there is nothing to write or the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.wire.transmit().is_empty() {
            let bytes = [IoSlice::new(self.wire.transmit())];
            match self.stream.poll_write(cx, &bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => self.wire.sent(n),
                Poll::Pending => break,
            }
        }
        // Over TLS something may wait for the kernel to take it; then this wakes whose turn it is.
        let _ = self.stream.poll_flush(cx)?;
        Ok(())
    }

    /// Writes; if that fails, hears what the server said before it went, for it is still an answer.
    pub(crate) fn write_or_hear(
        &mut self,
        cx: &mut Context<'_>,
        link: &LinkState,
    ) -> Result<(), Cause> {
        let Err(error) = self.write(cx) else { return Ok(()) };
        while self.read(cx, link)?.is_ready() {}
        Err(error.into())
    }

    /// Reads once and hands out the answers that are whole.
    pub(crate) fn read(
        &mut self,
        cx: &mut Context<'_>,
        link: &LinkState,
    ) -> Result<Poll<()>, Cause> {
        let Self { stream, wire, .. } = self;
        match stream.poll_read(cx, wire.recv_space())? {
            Poll::Ready(0) => return Err(Cause::End),
            Poll::Ready(n) => wire.received(n),
            Poll::Pending => return Ok(Poll::Pending),
        }
        if wire.hear()? > 0 {
            if wire.n_pending() == 0 {
                self.was_alone = self.n_together <= 1;
                self.n_together = 0;
            }
            (self.is_proven, self.has_answered) = (true, true);
            link.answered();
        }
        Ok(Poll::Ready(()))
    }
}

/// Takes turns back now and then, while there are any.
#[derive(Debug)]
pub(crate) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    period: Duration,
}

impl Alarm {
    pub(crate) fn new(timeout: Duration) -> Self {
        // Often enough to be before the end of a usual call that begins at any time.
        let period = (timeout / 2).min(PERIOD_MAX);
        Self { sleep: Box::pin(sleep_until(Instant::now())), period }
    }

    /// Sets the alarm, if turns are wanted. The task has just taken the turn.
    pub(crate) fn poll(&mut self, seat: &mut Seat, cx: &mut Context<'_>) {
        loop {
            if seat.alarm_at.is_some() {
                if self.sleep.as_mut().poll(cx).is_pending() {
                    return;
                }
                seat.alarm_at = None;
            }
            if !std::mem::take(&mut seat.is_wanted) {
                return;
            }
            let at = Instant::now() + self.period;
            self.sleep.as_mut().reset(at);
            seat.alarm_at = Some(at);
        }
    }
}

/// An alarm costs next to nothing at this rate; without a limit a very long time limit would make
/// it useless for shorter ones.
const PERIOD_MAX: Duration = Duration::from_millis(500);
