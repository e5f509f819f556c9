//! One connection: bytes between a socket and a session, nothing else.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nuthatch_proto::{Buffers, Handler, Session, Speaks, Want};
use nuthatch_transport::{Networks, Peer, Stream};
use tokio::time::Sleep;

use crate::conns::{CloseReason, ConnObserver, ConnState, Entry};
use crate::counters::WorkerTally;
use crate::options::Protocol;
use crate::server::{Login, Present};
use crate::tls::Security;
use crate::{Stop, Telemetry};

/// How many slices go to one `writev`. A pipelined batch of small answers is one slice, a large
/// value three; 64 hold sixteen chunks of half a MiB and more than a socket takes at once.
pub(crate) const SLICES_MAX: usize = 64;

/// Pairs of buffers a worker keeps for connections that become readable; 24 KiB each.
const POOL_MAX: usize = 64;

/// How long a client that has closed its sending side is kept for answers that are still to come.
/// Most such clients are gone; the others (`printf … | nc -N`) wait for what they asked.
pub(crate) const LINGER_MAX: Duration = Duration::from_secs(10);

/// How long a client that has been given a feed may take nothing of it; memcached's figure. A dump
/// keeps others from dumping meanwhile.
const STALL_MAX: Duration = Duration::from_secs(1800);

/// What a pair of buffers takes, in bytes.
pub(crate) const BUFFERS_BYTES: usize = 24 << 10;

/// What an answer that waits to be sent counts as where memory is limited, in bytes: room for the
/// longest line of it; memcached takes about as much for one.
const ANSWER_BYTES: usize = 1024;

/// The least that a worker is allowed, in bytes: a pair of buffers, and eight answers. Less serves
/// nobody.
const MEMORY_MIN: usize = BUFFERS_BYTES + 8 * ANSWER_BYTES;

/// What the connections of a worker share.
pub(crate) struct Worker<H> {
    pub(crate) handler: RefCell<H>,
    pub(crate) pool: RefCell<Vec<Buffers>>,
    pub(crate) settings: ConnectionSettings,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) number: usize,
    pub(crate) stop: Stop,
    /// Answers of all connections that wait to be sent.
    pub(crate) n_answers: Cell<usize>,
}

/// How connections are served.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSettings {
    /// Requests of one connection before others get their turn.
    pub(crate) budget: usize,
    /// How long a TCP client may be silent.
    pub(crate) idle_timeout: Option<Duration>,
    /// What the buffers and answers of one worker may take, in bytes; 0 is no limit.
    pub(crate) memory_max: usize,
    /// How a client must log in before anything else is served, if it must.
    pub(crate) login: Login,
    /// Whose UDP packets are taken to be from whom they say, besides this machine's.
    pub(crate) udp_trust: Networks,
    /// What TLS is done with, if it is.
    pub(crate) security: Option<Security>,
    /// Who hears of connections.
    pub(crate) observer: Option<Arc<dyn ConnObserver>>,
}

impl<H> Worker<H> {
    pub(crate) fn tally(&self) -> &WorkerTally {
        &self.telemetry.workers[self.number]
    }

    /// A pair of buffers, or `None` where the limit on memory leaves none.
    pub(crate) fn take_buffers(&self) -> Option<Buffers> {
        if let Some(buffers) = self.pool.borrow_mut().pop() {
            self.tally().buffers_free.sub(1);
            return Some(buffers);
        }
        let is_limited = self.settings.memory_max > 0;
        if is_limited && self.memory_left() < BUFFERS_BYTES {
            return None;
        }
        self.tally().buffers.add(1);
        Some(Buffers::new())
    }

    /// What is left of the limit on memory, in bytes.
    fn memory_left(&self) -> usize {
        let n_pairs = usize::try_from(self.tally().buffers.get()).unwrap_or(usize::MAX);
        let used = n_pairs * BUFFERS_BYTES + self.n_answers.get() * ANSWER_BYTES;
        self.settings.memory_max.max(MEMORY_MIN).saturating_sub(used)
    }

    pub(crate) fn give_buffers(&self, buffers: Buffers) {
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
    /// Its place among the connections; given up before the stream and its number are.
    entry: Entry,
    stream: Stream,
    session: Session<H>,
    stage: Stage,
    /// Whether the session has a pair of the worker's buffers.
    is_lent: bool,
    /// Ends the wait for a client that is silent, gone, or does not read; made anew whenever it
    /// has done something, and only where there is a limit.
    timer: Option<Pin<Box<Sleep>>>,
    /// What the session had done when that was made, if it is for silence.
    n_steps: u32,
    /// The client has closed its sending side, and waits for answers that are still to come.
    is_ending: bool,
    /// A feed has had its turn: others come first.
    has_fed: bool,
    /// Input has come since the wait for it began.
    has_read: bool,
    /// How many of its answers are counted among the worker's.
    n_answers: usize,
    /// Why it ends, once it does.
    reason: CloseReason,
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
    /// Waiting for an answer that somebody still has to find.
    Wait,
    /// Asking a feed for more.
    Feed,
}

impl<H: Handler> Worker<H> {
    /// A session for a client that may speak these protocols.
    pub(crate) fn session(&self, protocol: Protocol) -> Session<H> {
        let session = match self.settings.login {
            Login::None => Session::new(),
            Login::Text | Login::Sasl => Session::with_login(),
        };
        session.speaking(match protocol {
            Protocol::Auto => Speaks::Auto,
            Protocol::Ascii => Speaks::Text,
            Protocol::Binary => Speaks::Binary,
        })
    }
}

impl<H: Handler> Worker<H> {
    /// Tells a session how many answers it may have waiting, those included that are counted
    /// already.
    pub(crate) fn limit_answers(&self, session: &mut Session<H>, n_counted: usize) {
        if self.settings.memory_max > 0 {
            session.set_answers_max(self.memory_left() / ANSWER_BYTES + n_counted);
        }
    }

    /// Counts the answers that a session has waiting, instead of `n_counted`.
    pub(crate) fn count_answers(&self, session: &mut Session<H>, n_counted: &mut usize) {
        let n = if session.queued_bytes() == 0 { 0 } else { session.n_answers() };
        if n != *n_counted {
            self.n_answers.set(self.n_answers.get() + n - *n_counted);
            *n_counted = n;
        }
        self.count_overflows(session);
    }

    pub(crate) fn count_overflows(&self, session: &mut Session<H>) {
        match session.take_overflows() {
            0 => {}
            n => self.tally().answer_ooms.add(u64::from(n)),
        }
    }
}

impl<H: Handler> Connection<H> {
    pub(crate) fn new(
        stream: Stream,
        entry: Entry,
        protocol: Protocol,
        worker: Rc<Worker<H>>,
        present: Present,
    ) -> Self {
        let mut session = worker.session(protocol);
        session.set_conn(entry.conn().number());
        if let Some(observer) = &worker.settings.observer {
            observer.conn_new(entry.conn());
        }
        Self {
            entry,
            stream,
            session,
            stage: Stage::Read,
            is_lent: false,
            timer: None,
            n_steps: 0,
            is_ending: false,
            has_fed: false,
            has_read: false,
            n_answers: 0,
            reason: CloseReason::Error,
            worker,
            _present: present,
        }
    }

    /// Whether a TCP client has asked nothing for too long. Half a request is nothing; part of a
    /// large value is something.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timeout) = self.worker.settings.idle_timeout else { return Poll::Pending };
        if !matches!(self.stream.peer(), Peer::Tcp(_)) {
            return Poll::Pending;
        }
        let has_read = std::mem::take(&mut self.has_read);
        if self.n_steps != self.session.n_steps() || has_read && self.session.is_in_value() {
            self.n_steps = self.session.n_steps();
            self.timer = None;
        }
        ready!(self.poll_timer(cx, timeout));
        self.worker.tally().idle_kicks.add(1);
        self.reason = CloseReason::IdleTimeout;
        Poll::Ready(())
    }

    /// Whether `limit` has passed since the timer was last reset.
    fn poll_timer(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let sleep = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(cx)
    }

    /// Takes in what the client sends while something else is being waited for, as far as there is
    /// room: to learn whether it is still there. `Ready` once it has said that it sends no more,
    /// or is lost.
    fn poll_presence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.has_room() {
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Reads what there is. While there is nothing, an idle session holds no buffers.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.is_lent {
            let Some(buffers) = self.worker.take_buffers() else {
                // Who has sent something cannot be served; who has not needs no buffer.
                ready!(self.stream.poll_readable(cx))?;
                self.worker.tally().buffer_ooms.add(1);
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            };
            let spare = self.session.attach(buffers);
            debug_assert!(spare.is_none(), "a session without buffers takes them");
            self.is_lent = true;
        }
        let space = self.session.recv_space();
        let read = self.stream.poll_read(cx, space);
        match read {
            Poll::Ready(Ok(n)) => {
                self.has_read = true;
                self.session.received(n);
                self.worker.tally().bytes_read.add(n as u64);
            }
            Poll::Ready(Err(ref error)) => self.note_failure(error),
            Poll::Pending => self.reclaim(),
        }
        read
    }

    /// Counts what is no TLS where it must be; any other failure is the client's going.
    fn note_failure(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::InvalidData || self.stream.tls().is_none() {
            return;
        }
        self.worker.telemetry.ssl_proto_errors.fetch_add(1, Relaxed);
        if let Some(observer) = &self.worker.settings.observer {
            observer.conn_tls_error(self.entry.conn(), error);
        }
    }

    /// Writes until nothing is left to send.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let n_slices = self.session.transmit(&mut slices);
            if n_slices == 0 {
                return match self.stream.poll_flush(cx) {
                    Poll::Pending => self.poll_stall(cx).map(Err),
                    done => done,
                };
            }
            let n = match self.stream.poll_write(cx, &slices[..n_slices])? {
                Poll::Ready(n) => n,
                Poll::Pending => return self.poll_stall(cx).map(Err),
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.timer = None;
            self.session.sent(n);
            self.worker.tally().bytes_written.add(n as u64);
        }
    }

    /// Whether a client has taken nothing of a feed for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.session.has_feed() {
            return Poll::Pending;
        }
        self.poll_timer(cx, STALL_MAX).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// The client sends no more, but answers are owed to it.
    fn begin_end(&mut self) {
        self.is_ending = true;
        self.timer = None;
    }

    /// `Ready` when nothing is owed any more, or it takes too long.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.session.n_owed() == 0 {
            return Poll::Ready(());
        }
        self.poll_timer(cx, LINGER_MAX)
    }

    /// What it is doing, now that it waits.
    fn state(&self) -> ConnState {
        match self.stage {
            Stage::Read if self.session.is_swallowing() => ConnState::Swallow,
            Stage::Read if self.session.awaits_value() => ConnState::Nread,
            Stage::Read => ConnState::Read,
            Stage::Process => ConnState::NewCmd,
            Stage::Flush => ConnState::Mwrite,
            Stage::Wait => ConnState::IoPending,
            Stage::Feed => ConnState::Watch,
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
        let done = this.advance(cx);
        this.worker.count_answers(&mut this.session, &mut this.n_answers);
        let conn = this.entry.conn();
        conn.set_state(this.state());
        conn.set_owed(this.session.n_owed());
        if this.worker.settings.login != Login::None {
            conn.set_user(this.session.user());
        }
        done
    }
}

impl<H: Handler> Connection<H> {
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let this = self;
        loop {
            match this.stage {
                Stage::Read => {
                    if this.session.poll_late(cx).is_ready() {
                        this.stage = Stage::Process;
                        continue;
                    }
                    let is_owed = this.session.n_owed() > 0;
                    if this.is_ending {
                        ready!(this.poll_end(cx));
                        return Poll::Ready(());
                    }
                    match this.poll_read(cx) {
                        Poll::Ready(Ok(n)) if n > 0 => this.stage = Stage::Process,
                        Poll::Ready(Ok(0)) if is_owed => this.begin_end(),
                        Poll::Ready(end) => {
                            if end.is_ok() {
                                this.reason = CloseReason::Normal;
                            }
                            return Poll::Ready(());
                        }
                        Poll::Pending if is_owed => return Poll::Pending,
                        Poll::Pending => return this.poll_silence(cx),
                    }
                }
                Stage::Process => {
                    let budget = this.worker.settings.budget;
                    this.entry.conn().set_state(ConnState::ParseCmd);
                    let n_steps = this.session.n_steps();
                    this.worker.limit_answers(&mut this.session, this.n_answers);
                    let want = {
                        let handler = &mut *this.worker.handler.borrow_mut();
                        this.session.process(handler, budget)
                    };
                    if this.session.n_steps() != n_steps {
                        this.entry.conn().set_last_cmd(&this.worker.telemetry);
                    }
                    match want {
                        Want::Read => this.stage = Stage::Read,
                        Want::Write => this.stage = Stage::Flush,
                        Want::Yield => {
                            this.worker.tally().conn_yields.add(1);
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Want::Wait => this.stage = Stage::Wait,
                        Want::Stream if this.session.has_feed() => this.stage = Stage::Feed,
                        // Without a feed nobody here knows what to send (see `Server::run`).
                        Want::Stream => return Poll::Ready(()),
                        Want::Close => {
                            if this.session.is_end_wanted() {
                                this.reason = CloseReason::Normal;
                            }
                            return Poll::Ready(());
                        }
                    }
                }
                Stage::Wait => {
                    if this.session.poll_late(cx).is_ready() {
                        this.stage = Stage::Process;
                    } else if this.is_ending {
                        return this.poll_end(cx);
                    } else {
                        match ready!(this.poll_presence(cx)) {
                            Ok(()) => this.begin_end(),
                            Err(_) => return Poll::Ready(()),
                        }
                    }
                }
                Stage::Feed => {
                    if std::mem::take(&mut this.has_fed) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    if this.session.poll_feed(cx).is_ready() {
                        this.has_fed = true;
                        this.stage = Stage::Process;
                    } else {
                        // Who listens and has nothing to hear is gone when it says so.
                        if ready!(this.poll_presence(cx)).is_ok() {
                            this.reason = CloseReason::Normal;
                        }
                        return Poll::Ready(());
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
            self.reason = CloseReason::Error;
        } else if self.worker.stop.end().is_some() {
            self.reason = CloseReason::Shutdown;
        }
        if let Some(observer) = &self.worker.settings.observer {
            observer.conn_close(self.entry.conn(), self.reason);
        }
        self.worker.n_answers.set(self.worker.n_answers.get() - self.n_answers);
        self.reclaim();
        if self.is_lent {
            // Bytes that nobody wants any more are in them; they go with the session.
            self.worker.tally().buffers.sub(1);
        }
    }
}
