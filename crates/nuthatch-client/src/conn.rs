//! The connection's task: writes what is asked, reads what is answered, until either side goes.
//!
//! ```text
//!   Client ─┐            queue                 Task
//!   Client ─┼─> [ Call Call Call … ] ─> Connection<Waiter> ─> Stream ─>
//!   Client ─┘                              │    ▲
//!      ▲                                   │    └──────────── Stream <─
//!      └────────── oneshot ────────────────┘
//! ```
//!
//! The task never waits for a caller: an answer goes into a oneshot channel, and one that nobody
//! waits for is dropped. It reads whenever something is there, also while it cannot write, so that
//! a server which stops reading until its answers are taken goes on.
//!
//! This module knows bytes and their order. It knows no time; callers have the clock.

use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use nuthatch_proto::client::{Connection, Limits, Tag};
use nuthatch_transport::Stream;
use tokio::sync::mpsc;

use crate::call::{Call, Waiter};
use crate::error::{Cause, Error};

/// Why the connection ended, once it has; shared with the handles.
pub(crate) type Fate = Arc<OnceLock<Arc<Cause>>>;

/// No call is encoded while more than this waits to be written, in bytes. It is some 20,000 small
/// commands, which fill any socket buffer; a server that does not read makes the client hold this
/// much and one value more.
const OUT_BYTES_MAX: usize = 1 << 20;

/// One connection and all that is under way on it.
#[derive(Debug)]
pub(crate) struct Task {
    stream: Stream,
    connection: Connection<Waiter>,
    calls: mpsc::Receiver<Call>,
    /// As many as there are places in the queue.
    n_in_flight_max: usize,
    fate: Fate,
}

/// What is over.
enum End {
    /// Nobody holds a handle any more.
    Unused,
    /// The connection.
    Broken(Cause),
}

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        Self::Broken(cause)
    }
}

impl Task {
    pub(crate) fn new(
        stream: Stream,
        limits: Limits,
        calls: mpsc::Receiver<Call>,
        fate: Fate,
    ) -> Self {
        let n_in_flight_max = calls.max_capacity();
        Self { stream, connection: Connection::new(limits), calls, n_in_flight_max, fate }
    }

    /// Serves calls until the connection or its users are gone.
    pub(crate) async fn run(mut self) {
        let end = std::future::poll_fn(|cx| match self.poll(cx) {
            Ok(pending) => pending,
            Err(end) => Poll::Ready(end),
        })
        .await;
        // Without a handle there is nobody to be told.
        let End::Broken(cause) = end else { return };
        self.close(cause).await;
    }

    /// Goes on as far as it goes: `Pending` is the only success.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<End>, End> {
        loop {
            // Everything that is asked goes out in as few writes as the kernel allows.
            let has_all = loop {
                if !self.takes_calls() {
                    break false;
                }
                match self.calls.poll_recv(cx) {
                    Poll::Ready(Some(call)) => call.send(&mut self.connection)?,
                    Poll::Ready(None) => return Err(End::Unused),
                    Poll::Pending => break true,
                }
            };
            if let Err(error) = self.write(cx) {
                // What the server said before it went is still an answer.
                while self.read(cx)?.is_ready() {}
                return Err(End::Broken(error.into()));
            }
            if self.read(cx)?.is_ready() {
                continue;
            }
            // Writing may have made room.
            if has_all || !self.takes_calls() {
                return Ok(Poll::Pending);
            }
        }
    }

    fn takes_calls(&self) -> bool {
        self.connection.n_pending() < self.n_in_flight_max
            && self.connection.transmit().len() <= OUT_BYTES_MAX
    }

    /// Writes until there is nothing to write or the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.connection.transmit().is_empty() {
            let bytes = [IoSlice::new(self.connection.transmit())];
            match self.stream.poll_write(cx, &bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => self.connection.sent(n),
                Poll::Pending => break,
            }
        }
        // Over TLS something may wait for the kernel to take it; then this wakes the task.
        let _ = self.stream.poll_flush(cx)?;
        Ok(())
    }

    /// Reads once and hands out the answers that are whole.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Cause> {
        match self.stream.poll_read(cx, self.connection.recv_space())? {
            Poll::Ready(0) => return Err(Cause::End),
            Poll::Ready(n) => self.connection.received(n),
            Poll::Pending => return Ok(Poll::Pending),
        }
        while let Some(answer) = self.connection.poll()? {
            match answer.tag {
                Tag::More(waiter) => waiter.take(&answer.response)?,
                Tag::Done(waiter) => waiter.finish(&answer.response),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Tells everybody that the connection has ended.
    async fn close(self, cause: Cause) {
        let Self { connection, mut calls, fate, .. } = self;
        let cause = Arc::new(cause);
        // Before the queue is closed: who finds it closed looks here.
        let _ = fate.set(Arc::clone(&cause));
        calls.close();
        let is_answer = !matches!(*cause, Cause::End | Cause::Io(_));
        for (n, waiter) in connection.into_pending().enumerate() {
            // A bad answer is the one to the first call that was not answered.
            let is_culprit = is_answer && n == 0;
            waiter.fail(if is_culprit {
                Error::culprit(&cause)
            } else {
                Error::closed(&cause, false)
            });
        }
        // Until those who were just about to put a call there have done so.
        while let Some(call) = calls.recv().await {
            call.waiter.fail(Error::closed(&cause, true));
        }
    }
}
