//! One connection: bytes between a socket and a session, nothing else.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nuthatch_proto::{Buffers, Handler, Session, Want};
use nuthatch_transport::{Peer, Stream};
use tokio::time::Sleep;

use crate::Telemetry;
use crate::counters::WorkerTally;
use crate::options::Protocol;
use crate::server::Present;

/// How many slices go to one `writev`. A pipelined batch of small answers is one slice, a large
/// value three; 64 hold sixteen chunks of half a MiB and more than a socket takes at once.
const SLICES_MAX: usize = 64;

/// Pairs of buffers a worker keeps for connections that become readable; 24 KiB each.
const POOL_MAX: usize = 64;

/// The first byte of every binary request.
const BINARY_MAGIC: u8 = 0x80;

/// What the connections of a worker share.
pub(crate) struct Worker<H> {
    pub(crate) handler: RefCell<H>,
    pub(crate) pool: RefCell<Vec<Buffers>>,
    pub(crate) settings: ConnectionSettings,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) number: usize,
}

/// How connections are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    /// Requests of one connection before others get their turn.
    pub(crate) budget: usize,
    /// How long a TCP client may be silent.
    pub(crate) idle_timeout: Option<Duration>,
}

impl<H> Worker<H> {
    pub(crate) fn tally(&self) -> &WorkerTally {
        &self.telemetry.workers[self.number]
    }

    fn take_buffers(&self) -> Buffers {
        if let Some(buffers) = self.pool.borrow_mut().pop() {
            self.tally().buffers_free.sub(1);
            return buffers;
        }
        self.tally().buffers.add(1);
        Buffers::new()
    }

    fn give_buffers(&self, buffers: Buffers) {
        let mut pool = self.pool.borrow_mut();
        if pool.len() < POOL_MAX {
            pool.push(buffers);
            self.tally().buffers_free.add(1);
        } else {
            self.tally().buffers.sub(1);
        }
    }
}

/// A connection being served: a future that is over when the connection is.
///
/// It is written out by hand because there may be thousands of them, all but a few waiting: an
/// `async fn` would keep room for each of its stages side by side.
pub(crate) struct Connection<H: Handler> {
    stream: Stream,
    session: Session<H>,
    stage: Stage,
    /// What the client may speak.
    protocol: Protocol,
    /// Whether the session has a pair of the worker's buffers.
    is_lent: bool,
    /// The first byte the client sent, which says what it speaks.
    first: Option<u8>,
    /// Ends the wait for a silent client; made anew after each request, and only where there is a
    /// limit.
    silence: Option<Pin<Box<Sleep>>>,
    /// What the session had done when that was made.
    n_steps: u32,
    worker: Rc<Worker<H>>,
    /// Dropped with the connection, however that ends.
    _present: Present,
}

enum Stage {
    /// Waiting for input.
    Read,
    /// Answering what there is.
    Process,
    /// Sending the answers.
    Flush,
}

impl<H: Handler> Connection<H> {
    pub(crate) fn new(
        stream: Stream,
        protocol: Protocol,
        worker: Rc<Worker<H>>,
        present: Present,
    ) -> Self {
        Self {
            stream,
            session: Session::new(),
            stage: Stage::Read,
            protocol,
            is_lent: false,
            first: None,
            silence: None,
            n_steps: 0,
            worker,
            _present: present,
        }
    }

    /// Whether the client speaks what is served.
    fn is_text(&self) -> bool {
        match self.protocol {
            Protocol::Ascii => true,
            Protocol::Auto => self.first != Some(BINARY_MAGIC),
            Protocol::Binary => false,
        }
    }

    /// Whether a TCP client has asked nothing for too long. Half a request is nothing; part of a
    /// large value is something.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timeout) = self.worker.settings.idle_timeout else { return Poll::Pending };
        if !matches!(self.stream.peer(), Peer::Tcp(_)) {
            return Poll::Pending;
        }
        if self.n_steps != self.session.n_steps() || self.session.is_in_value() {
            self.n_steps = self.session.n_steps();
            self.silence = None;
        }
        let sleep = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(sleep.as_mut().poll(cx));
        self.worker.tally().idle_kicks.add(1);
        Poll::Ready(())
    }

    /// Reads what there is. While there is nothing, an idle session holds no buffers.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.is_lent {
            let spare = self.session.attach(self.worker.take_buffers());
            debug_assert!(spare.is_none(), "a session without buffers takes them");
            self.is_lent = true;
        }
        let space = self.session.recv_space();
        let read = self.stream.poll_read(cx, space);
        match read {
            Poll::Ready(Ok(n)) => {
                if self.first.is_none() {
                    self.first = space[..n].first().copied();
                }
                self.session.received(n);
                self.worker.tally().bytes_read.add(n as u64);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.reclaim(),
        }
        read
    }

    /// Writes until nothing is left to send.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let n_slices = self.session.transmit(&mut slices);
            if n_slices == 0 {
                return Poll::Ready(Ok(()));
            }
            let n = ready!(self.stream.poll_write(cx, &slices[..n_slices]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.session.sent(n);
            self.worker.tally().bytes_written.add(n as u64);
        }
    }

    fn reclaim(&mut self) {
        if let Some(buffers) = self.session.detach() {
            self.is_lent = false;
            self.worker.give_buffers(buffers);
        }
    }
}

impl<H: Handler> Future for Connection<H> {
    /// An error, the end of the input and the session's own end are all the same here: the client
    /// is gone, and there is nobody to tell.
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            match this.stage {
                Stage::Read => match this.poll_read(cx) {
                    Poll::Ready(Ok(n)) if n > 0 && this.is_text() => this.stage = Stage::Process,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return this.poll_silence(cx),
                },
                Stage::Process => {
                    let budget = this.worker.settings.budget;
                    let want = {
                        let handler = &mut *this.worker.handler.borrow_mut();
                        this.session.process(handler, budget)
                    };
                    match want {
                        Want::Read => this.stage = Stage::Read,
                        Want::Write => this.stage = Stage::Flush,
                        Want::Yield => {
                            this.worker.tally().conn_yields.add(1);
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        // Nobody here completes an answer that was left for later, or goes on with
                        // a connection that was taken over (see `Server::run`).
                        Want::Close | Want::Wait | Want::Stream => return Poll::Ready(()),
                    }
                }
                Stage::Flush => match ready!(this.poll_flush(cx)) {
                    Ok(()) => this.stage = Stage::Process,
                    Err(_) => return Poll::Ready(()),
                },
            }
        }
    }
}

// Nothing in it is pinned: the socket and the timer are reached by plain references.
impl<H: Handler> Unpin for Connection<H> {}

impl<H: Handler> Drop for Connection<H> {
    fn drop(&mut self) {
        tracing::trace!(worker = self.worker.number, peer = %self.stream.peer(), "connection closed");
        if std::thread::panicking() {
            self.worker.tally().panics.add(1);
        }
        self.reclaim();
        if self.is_lent {
            // Bytes that nobody wants any more are in them; they go with the session.
            self.worker.tally().buffers.sub(1);
        }
    }
}
