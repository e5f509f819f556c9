//! One connection: bytes between a socket and a session, nothing else.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use nuthatch_proto::{Buffers, Handler, Session, Want};
use nuthatch_transport::{Peer, Stream};

use crate::counters::WorkerTally;
use crate::options::Protocol;

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
    pub(crate) telemetry: std::sync::Arc<crate::Telemetry>,
    pub(crate) number: usize,
}

/// How connections are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    /// Requests of one connection before others get their turn.
    pub(crate) budget: usize,
    /// How long a TCP client may be silent.
    pub(crate) idle_timeout: Option<Duration>,
    /// Which protocols clients may speak.
    pub(crate) protocol: Protocol,
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

/// Serves a connection until it ends.
pub(crate) async fn serve<H: Handler>(stream: Stream, worker: Rc<Worker<H>>) {
    let mut connection =
        Connection { stream, session: Session::new(), is_lent: false, first: None, worker };
    // An error is a client that went away; there is nobody to tell.
    let _ = connection.run().await;
}

struct Connection<H: Handler> {
    stream: Stream,
    session: Session<H>,
    /// Whether the session has a pair of the worker's buffers.
    is_lent: bool,
    /// The first byte the client sent, which says what it speaks.
    first: Option<u8>,
    worker: Rc<Worker<H>>,
}

impl<H: Handler> Connection<H> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            if self.read().await? == 0 || !self.is_text() {
                return Ok(());
            }
            loop {
                let budget = self.worker.settings.budget;
                let want = self.session.process(&mut *self.worker.handler.borrow_mut(), budget);
                match want {
                    Want::Read => break,
                    Want::Write => poll_fn(|cx| self.poll_flush(cx)).await?,
                    Want::Yield => {
                        self.worker.tally().conn_yields.add(1);
                        tokio::task::yield_now().await;
                    }
                    Want::Close => return Ok(()),
                    // No handler served here leaves answers for later or takes a connection over:
                    // whoever writes one has nothing to complete it with.
                    Want::Wait | Want::Stream => return Ok(()),
                }
            }
        }
    }

    /// Whether the client speaks what is served.
    fn is_text(&self) -> bool {
        match self.worker.settings.protocol {
            Protocol::Ascii => true,
            Protocol::Auto => self.first != Some(BINARY_MAGIC),
            Protocol::Binary => false,
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let timeout = self
            .worker
            .settings
            .idle_timeout
            .filter(|_| self.session.is_idle() && matches!(self.stream.peer(), Peer::Tcp(_)));
        let Some(timeout) = timeout else {
            return poll_fn(|cx| self.poll_read(cx)).await;
        };
        match tokio::time::timeout(timeout, poll_fn(|cx| self.poll_read(cx))).await {
            Ok(read) => read,
            Err(_) => {
                self.worker.tally().idle_kicks.add(1);
                Ok(0)
            }
        }
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
            let n = match self.stream.poll_write(cx, &slices[..n_slices]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
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

impl<H: Handler> Drop for Connection<H> {
    fn drop(&mut self) {
        let is_panic = std::thread::panicking();
        if is_panic {
            self.worker.tally().panics.add(1);
        }
        self.reclaim();
        if self.is_lent {
            // Bytes that nobody wants any more are in them; they go with the session.
            self.worker.tally().buffers.sub(1);
        }
    }
}
