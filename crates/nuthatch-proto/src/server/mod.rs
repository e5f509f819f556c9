//! The server's end of a connection: bytes in, requests to a handler, answers out.
//!
//! ```text
//!              recv_space / received              process               transmit / sent
//!   socket ──────────────────────────> receive ───────────> handler ──> send ──────────> socket
//!                     │                buffer     line by line          queue
//!                     └─ a large value that is still arriving goes
//!                        straight into the place the handler gave
//! ```
//!
//! Requests are lines of the text protocol or frames of the binary one. The client's first byte
//! says which, and the rest is the same state machine.

mod buffers;
mod dump;
mod feed;
mod frames;
mod handler;
mod late;
mod reply;
mod sendq;

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context as Waiting, Poll};

use nuthatch_types::Ttl;

pub use buffers::Buffers;
pub use dump::DumpFacts;
pub use feed::{FEED_BYTES_MAX, Fed, Feed, Output};
pub use handler::{Handler, Outcome, Pinned, Sink};
pub use late::Later;
pub use reply::{DebugFacts, ItemFacts, MetaStatus, Reply, Ticket};
pub use sendq::ReplyMark;

use self::buffers::RECV_BYTES;
use self::frames::Skip;
use self::late::Desk;
use self::reply::{Context, Kind};
use self::sendq::{Retrieval, SendQueue};
use crate::binary::{Frame as BinaryFrame, Head, REQUEST_MAGIC, parse_frame};
use crate::error::{BAD_DATA_CHUNK, NO_MEMORY_READING};
use crate::request::{Get, Request};
use crate::text::encode::CRLF;
use crate::text::frame::{self, Frame};
use crate::text::login::{self, Login};
use crate::text::{Parsed, Scratch, parse_line};

/// No request is taken up while more than this is queued for sending, in bytes. A client that
/// does not read makes the server hold this much and the answer that went over it, no more.
pub const SEND_QUEUE_BYTES_MAX: usize = 256 << 10;

/// A place for a value is asked for when so much of its command and itself has arrived, in bytes:
/// a full receive buffer. Shorter commands wait there until they are whole. So whoever announces
/// a value and does not send it takes a buffer from the server and nothing from the cache.
pub const SINK_LEN_MIN: usize = RECV_BYTES;

/// When no more than this is missing of a value, it is read through the receive buffer, so that
/// its line end and what follows come with the same read.
const DIRECT_READ_MIN: usize = 4096;

/// So many bytes of keys of one line are handed to the handler at a time. At the least two bytes
/// a key that is 512 answers.
const RETRIEVAL_SLICE_BYTES: usize = 1024;

/// What a retrieval gets that has more keys than answers may wait to be sent.
const NO_MEMORY_WRITING: &str = "SERVER_ERROR out of memory writing get response";

/// No request is taken up while so many answers are still to come.
const GAPS_MAX: usize = 64;

/// What the client is told where an answer that came late would have been late once more.
const NO_SECOND_DELAY: &str = "SERVER_ERROR no answer";

/// The protocols that a client may speak on a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum Speaks {
    /// Whichever the first byte is of: [`REQUEST_MAGIC`](crate::binary::REQUEST_MAGIC) begins a
    /// binary session, any other byte one of text, and so it stays.
    #[default]
    Auto,
    /// The text protocols, classic and meta.
    Text,
    /// The binary protocol. A frame that does not begin as it must ends the connection.
    Binary,
}

/// What a session wants from its driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
#[expect(clippy::exhaustive_enums, reason = "a driver must act on each of them")]
pub enum Want {
    /// More input: read into [`Session::recv_space`]. There is nothing to send.
    Read,
    /// Output to be sent: write what [`Session::transmit`] gives, call [`Session::sent`], and
    /// process again, even if not all of it could be written.
    Write,
    /// A turn later: the budget is used up and input is left. What there is to send can wait for
    /// the answers to the rest, so that a batch is one write however small the budget is.
    Yield,
    /// An answer that is still to come: wait with [`Session::poll_late`], or call
    /// [`Session::complete`], before anything else.
    Wait,
    /// All has been sent that came before a request which took the connection over
    /// ([`Outcome::Stream`]), and all that was asked of its feed so far: call
    /// [`Session::poll_feed`]. Where there is no feed ([`Session::has_feed`]) the driver sends what
    /// it has to, and calls [`Session::resume`] if requests are to be served again.
    Stream,
    /// All has been sent: close the connection.
    Close,
}

/// The server's end of one connection, without the connection.
///
/// A driver owns the socket and the session and moves bytes between them:
///
/// 1. [`recv_space`](Self::recv_space) gives memory to read into, and [`received`](Self::received)
///    takes note of what was read.
/// 2. [`process`](Self::process) answers what has arrived, at most so many requests, and says what
///    it [`Want`]s next.
/// 3. [`transmit`](Self::transmit) gives what to write, and [`sent`](Self::sent) takes note of what
///    was written. Any number of bytes is right.
///
/// ```
/// # use nuthatch_proto::{Handler, Session, Want};
/// # use std::io::{self, Read, Write, IoSlice};
/// fn drive<H: Handler>(mut socket: impl Read + Write, handler: &mut H) -> io::Result<()> {
///     let mut session = Session::new();
///     loop {
///         match session.process(handler, 20) {
///             Want::Read => match socket.read(session.recv_space())? {
///                 0 => return Ok(()),
///                 n => session.received(n),
///             },
///             Want::Write => {
///                 let mut slices = [IoSlice::new(&[]); 16];
///                 let n_slices = session.transmit(&mut slices);
///                 let n = socket.write_vectored(&slices[..n_slices])?;
///                 session.sent(n);
///             }
///             Want::Yield => {}
///             Want::Wait | Want::Stream | Want::Close => return Ok(()),
///         }
///     }
/// }
/// ```
///
/// **Memory.** A session works in [`Buffers`]. It makes its own when it is asked for space and has
/// none, but a driver of many connections lends them: [`attach`](Self::attach) when the socket is
/// readable, [`detach`](Self::detach) when the session wants to read and the socket has nothing.
/// `detach` gives them back only if nothing is in them. An idle session is a few hundred bytes.
/// The receive buffer has 16 KiB and grows only for the line of a retrieval, up to 8 MiB, and for
/// the payload of `config set`, up to 64 KiB; `detach` gives back what it has grown by. The send
/// queue is bounded by [`SEND_QUEUE_BYTES_MAX`] and one answer, of a long retrieval one slice: the
/// answers to 1 KiB of keys, 512 at most.
///
/// **Fragmentation.** The answers depend on the bytes and never on how they were cut. This is why
/// the length of a line is limited by what stands before its end, arrived or not, where memcached
/// looks at what its buffer happens to hold: a retrieval (`gat` and `gats` too) may have 8 MiB, a
/// store command 16 KiB, any other line 2048 bytes; beyond that the connection is closed.
///
/// **Protocols.** The client's first byte says whether it speaks text or binary, unless the driver
/// [says](Self::speaking) that there is no choice.
///
/// **Differences from memcached 1.6.45**, all deliberate: those of the binary protocol are in
/// [`crate::binary`]; no empty line follows the error about a
/// key that is too long in a retrieval, because clients read it as the next answer, and the answers
/// queued before that error are kept; `me key b`
/// decodes the key; an opaque token that is too long is refused before the command has acted, and
/// before the value's size is looked at; a retrieval with a bad key looks up none of its keys; a
/// key with a space or line end is always returned in base64.
/// What may be a value is never read as commands: a store command without a usable length, or whose
/// value is longer or shorter than it said, is answered with memcached's error, and then the
/// connection is closed. After a command without a length it stays open for others of that kind,
/// and is closed at the first that is not.
pub struct Session<H: Handler> {
    recv: Vec<u8>,
    /// `recv[start..end]` has been received and not yet processed.
    start: usize,
    end: usize,
    /// So many of these bytes are known to hold no line end.
    searched: usize,
    /// Fewer of these bytes than this are no use: a value is being waited for.
    need: usize,
    state: State<H::Sink>,
    /// What is spoken; `Auto` until the first byte has come.
    speaks: Speaks,
    /// Nothing is served without a login.
    asks_login: bool,
    /// The last line announced a value without saying how long it is.
    is_unbounded: bool,
    /// The end was asked for, by the client or the handler.
    is_end_wanted: bool,
    queue: SendQueue<H::Pin>,
    desk: Desk<H::Pin>,
    feed: Option<Box<dyn Feed>>,
    n_steps: u32,
    /// Answers queued since the queue was last empty, and how many there may be.
    n_answers: usize,
    answers_max: usize,
    /// Requests that met that limit.
    n_overflows: u32,
}

/// What the next byte of input is.
enum State<S> {
    /// The beginning of a command line, or of a frame.
    Line,
    /// Part of a value that goes to a place the handler gave.
    Body(Box<Body<S>>),
    /// A value and its line end, `left` bytes in all, to be skipped; then `line` is the answer.
    Swallow { left: usize, line: &'static str, noreply: bool },
    /// The rest of a frame that is refused.
    Skip(Skip),
    /// More keys of a retrieval, `len` bytes up to and including its line end.
    Keys { len: usize, with_cas: bool, touch: Option<Ttl> },
    /// Not looked at before a login with this ticket has been answered.
    Login(u32),
    /// Not for this session until it is resumed.
    Stream,
    /// Not read any more.
    Closing,
}

struct Body<S> {
    sink: S,
    /// Bytes of the value still to come.
    left: usize,
    /// The command line, or the frame up to the value.
    line: Box<[u8]>,
}

/// How a step ended.
enum Step {
    /// A request was dealt with, or a part of it.
    Done,
    /// More input is needed.
    Starved,
}

impl<H: Handler> Session<H> {
    /// A session that has seen nothing yet, without buffers.
    pub const fn new() -> Self {
        Self {
            recv: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            need: 0,
            state: State::Line,
            speaks: Speaks::Auto,
            asks_login: false,
            is_unbounded: false,
            is_end_wanted: false,
            queue: SendQueue::new(),
            desk: Desk::new(),
            feed: None,
            n_steps: 0,
            n_answers: 0,
            answers_max: usize::MAX,
            n_overflows: 0,
        }
    }

    /// A session on which nothing is served until the client has logged in: the handler gets
    /// [`Request::Auth`], in the binary protocol [`Request::Sasl`] and the question for the
    /// version, and nothing else before it has said who the client is ([`Reply::log_in`]). What a
    /// client sends behind a login waits until that is answered.
    pub fn with_login() -> Self {
        Self { asks_login: true, ..Self::new() }
    }

    /// The same session for clients that speak as said; without this the first byte decides.
    #[must_use]
    pub const fn speaking(mut self, speaks: Speaks) -> Self {
        self.speaks = speaks;
        self
    }

    /// What is spoken: [`Speaks::Auto`] until the first byte has been looked at.
    pub const fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// Gives the connection a number by which handlers and logs name it
    /// ([`Reply::conn`]); 0 until then. memcached's is that of the socket's descriptor.
    pub const fn set_conn(&mut self, number: u64) {
        self.desk.conn = number;
    }

    /// Limits how many answers may wait to be sent, a key of a retrieval counting as one; without
    /// this there is no such limit besides [`SEND_QUEUE_BYTES_MAX`]. A retrieval that would go over
    /// it is answered with `SERVER_ERROR out of memory writing get response`, any other request ends
    /// the session, with what is queued unsaid: memcached's rules for `-o read_buf_mem_limit`.
    pub const fn set_answers_max(&mut self, n: usize) {
        self.answers_max = n;
    }

    /// How many answers have been queued since the queue was last empty.
    pub const fn n_answers(&self) -> usize {
        self.n_answers
    }

    /// How many requests have met the limit of [`set_answers_max`](Self::set_answers_max) since
    /// this was last asked.
    pub const fn take_overflows(&mut self) -> u32 {
        let n = self.n_overflows;
        self.n_overflows = 0;
        n
    }

    /// Whether the client has still to log in.
    pub const fn needs_login(&self) -> bool {
        self.asks_login && self.desk.user().is_none()
    }

    /// The user whom the client has logged in as, if it has ([`Reply::log_in`]).
    pub const fn user(&self) -> Option<&[u8]> {
        self.desk.user()
    }

    /// Lends buffers to the session. If it has some already, the new ones come straight back.
    pub fn attach(&mut self, buffers: Buffers) -> Option<Buffers> {
        if !self.recv.is_empty() {
            return Some(buffers);
        }
        self.recv = buffers.recv;
        // A late answer or a feed may have made one of its own.
        if self.queue.arena.capacity() == 0 {
            self.queue.arena = buffers.send;
        }
        None
    }

    /// Takes the buffers back, if there are any and the session needs nothing of what is in them.
    pub fn detach(&mut self) -> Option<Buffers> {
        if self.start != self.end || !self.queue.is_empty() || self.recv.is_empty() {
            return None;
        }
        let mut buffers = Buffers::none();
        std::mem::swap(&mut buffers.recv, &mut self.recv);
        buffers.send = self.queue.take_arena();
        (self.start, self.end, self.searched) = (0, 0, 0);
        buffers.trim();
        Some(buffers)
    }

    /// Whether the session is between requests: no input, no output, no answer still to come.
    /// Only such a connection is closed for being idle.
    pub fn is_idle(&self) -> bool {
        self.start == self.end && self.queue.is_empty() && matches!(self.state, State::Line)
    }

    /// How many steps the session has taken, wrapping: requests answered, and parts of very long
    /// ones. A driver that counts silence looks whether this has changed.
    pub fn n_steps(&self) -> u32 {
        self.n_steps
    }

    /// Whether bytes of a large value are arriving, or are being skipped. Such a client is busy
    /// although its request takes long to complete.
    pub fn is_in_value(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Swallow { .. } | State::Skip(_))
    }

    /// Whether the rest of a value is being waited for, or the rest of what is skipped in its
    /// place, and not a command.
    pub fn awaits_value(&self) -> bool {
        self.is_in_value() || self.need > 0
    }

    /// Whether the rest of a value that was refused is being skipped.
    pub fn is_swallowing(&self) -> bool {
        matches!(self.state, State::Swallow { .. } | State::Skip(_))
    }

    /// Whether a session that is [to be closed](Want::Close) ends because somebody asked for it:
    /// the client by `quit`, or the handler. Otherwise the client has sent what ends a connection.
    pub fn is_end_wanted(&self) -> bool {
        self.is_end_wanted
    }

    /// How many bytes are queued for sending.
    pub fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// Memory to read into, never empty unless the connection is not to be read any more. What
    /// was read is announced by [`received`](Self::received) before anything else is called.
    pub fn recv_space(&mut self) -> &mut [u8] {
        if self.is_direct() {
            let State::Body(body) = &mut self.state else {
                unreachable!("only a body is read straight into its place");
            };
            let left = body.left;
            let space = body.sink.space();
            let len = space.len().min(left);
            return &mut space[..len];
        }
        self.make_room();
        &mut self.recv[self.end..]
    }

    /// Takes note that `n` bytes were read into the beginning of
    /// [`recv_space`](Self::recv_space).
    pub fn received(&mut self, n: usize) {
        if self.is_direct() {
            let State::Body(body) = &mut self.state else {
                unreachable!("only a body is read straight into its place");
            };
            debug_assert!(n <= body.left, "no more is received than there was space for");
            body.sink.filled(n);
            body.left -= n;
            return;
        }
        debug_assert!(n <= self.recv.len() - self.end, "no more is received than there was space");
        self.end += n;
    }

    /// Answers what has arrived: at most `budget` requests (memcached's `-R`; 0 counts as 1), and
    /// none while too much is queued for sending.
    pub fn process(&mut self, handler: &mut H, budget: usize) -> Want {
        let mut scratch = Scratch::new();
        let mut left = budget.max(1);
        if self.speaks == Speaks::Auto {
            self.look_at_first();
        }
        loop {
            match self.state {
                State::Closing => return self.when_drained(Want::Close),
                State::Stream => return self.when_drained(Want::Stream),
                State::Login(_) => {
                    return if self.queue.is_ready() { Want::Write } else { Want::Wait };
                }
                _ => {}
            }
            if self.queue.len() > SEND_QUEUE_BYTES_MAX || self.queue.n_gaps() >= GAPS_MAX {
                return if self.queue.is_ready() { Want::Write } else { Want::Wait };
            }
            if left == 0 && self.start != self.end {
                return Want::Yield;
            }
            if self.queue.is_empty() {
                self.n_answers = 0;
            }
            // A retrieval has been counted with its first keys.
            let n = usize::from(!matches!(self.state, State::Keys { .. }));
            match self.step(handler, &mut scratch) {
                Step::Done => {
                    self.n_answers += n;
                    if self.n_answers > self.answers_max {
                        self.n_overflows += 1;
                        self.queue.clear();
                        self.state = State::Closing;
                        continue;
                    }
                    left = left.saturating_sub(1);
                    self.n_steps = self.n_steps.wrapping_add(1);
                }
                Step::Starved => {
                    return if self.queue.is_ready() { Want::Write } else { Want::Read };
                }
            }
        }
    }

    /// Fills `slices` with what is to be sent next, in order, and says how many it filled: none
    /// if there is nothing, or if an answer that is still to come is in the way.
    pub fn transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.transmit(slices)
    }

    /// Takes note that the first `n` bytes of what [`transmit`](Self::transmit) gave were sent.
    pub fn sent(&mut self, n: usize) {
        let rest = self.queue.sent(n);
        debug_assert!(rest == 0, "no more is sent than there was");
    }

    /// Writes an answer that is still to come, and says whether it was: a ticket that is unknown
    /// or has been used does nothing.
    pub fn complete(
        &mut self,
        ticket: Ticket,
        answer: impl FnOnce(&mut Reply<'_, H::Pin>),
    ) -> bool {
        let Some(saved) = self.queue.saved(ticket.0) else {
            return false;
        };
        let line = saved.line.take();
        let mut context = Context::plain(saved.noreply);
        if let Some(retrieval) = saved.retrieval {
            context.kind = Kind::Retrieval(retrieval);
        }
        let mut scratch = Scratch::new();
        if self.speaks == Speaks::Binary {
            let frame = line.as_deref().map(|line| parse_frame(line, false));
            let Some(BinaryFrame::Request { header, opcode, .. }) = frame else {
                unreachable!("of a binary request all but the value is saved");
            };
            let line = line.as_deref().unwrap_or_default();
            context = Context::frame(Head::new(&header, opcode), line);
        } else if let Some(line) = &line
            && let Parsed::Request { request, noreply } = parse_line(line, &mut scratch)
        {
            context = Context::new(&request, noreply, line);
        }
        if matches!(self.state, State::Login(this) if this == ticket.0) {
            context.is_login = true;
            self.state = State::Line;
        }
        let mut queue = SendQueue::new();
        // A connection is taken over by what is answered at once, never by what comes late.
        let mut no_feed = None;
        answer(&mut Reply::new(&mut queue, &mut self.desk, &mut no_feed, context));
        if queue.n_gaps() > 0 {
            debug_assert!(false, "an answer that came late cannot be late again");
            queue = SendQueue::new();
            Reply::new(&mut queue, &mut self.desk, &mut no_feed, context).error(NO_SECOND_DELAY);
        }
        self.queue.fill_gap(ticket.0, queue);
        true
    }

    /// Writes the answers that have come from [`Later`]s, and says whether there were any; if not,
    /// `cx` is woken when one comes. A driver asks whenever it waits for anything, be it input or
    /// an answer ([`Want::Wait`]), and processes again if there were some.
    pub fn poll_late(&mut self, cx: &mut Waiting<'_>) -> Poll<()> {
        if self.queue.n_gaps() == 0 {
            return Poll::Pending;
        }
        let Some(mailbox) = self.desk.mailbox().map(Arc::clone) else { return Poll::Pending };
        mailbox.poll_take(cx.waker()).map(|answers| {
            for (ticket, write) in answers {
                self.complete(Ticket(ticket), write);
            }
        })
    }

    /// How many answers are still to come.
    pub const fn n_owed(&self) -> usize {
        self.queue.n_gaps()
    }

    /// Whether there is room to read into without growing; where there is none, whoever reads only
    /// to learn whether the client is still there does not.
    pub fn has_room(&mut self) -> bool {
        self.is_direct() || self.recv.is_empty() || self.end - self.start < self.recv.len()
    }

    /// Whether a [`Feed`] has the connection. If not, [`Want::Stream`] means that the driver has
    /// to know what is to be sent.
    pub const fn has_feed(&self) -> bool {
        self.feed.is_some()
    }

    /// Asks the [`Feed`] that took the connection over for more, on [`Want::Stream`]. When it is
    /// ready, process again: that is what sends, asks again after that, and goes on with requests
    /// when the feed has ended. `cx` is woken when a feed that had nothing has something.
    pub fn poll_feed(&mut self, cx: &mut Waiting<'_>) -> Poll<()> {
        let Some(feed) = &mut self.feed else { return Poll::Pending };
        let fed = feed.poll_feed(cx, &mut Output::new(&mut self.queue.arena));
        match fed {
            Poll::Ready(Fed::More) => {}
            Poll::Ready(end) => {
                self.feed = None;
                self.state = if end == Fed::End { State::Line } else { State::Closing };
                self.is_end_wanted = end == Fed::Close;
            }
            // What it had already is sent; having sent it, the driver asks again.
            Poll::Pending if self.queue.is_ready() => {}
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }

    /// Serves requests again after [`Want::Stream`]. A feed that is not at its end is dropped.
    pub fn resume(&mut self) {
        self.feed = None;
        if matches!(self.state, State::Stream) {
            self.state = State::Line;
        }
    }

    /// What to do when no more requests are served: drain first.
    fn when_drained(&self, want: Want) -> Want {
        if self.queue.is_ready() {
            Want::Write
        } else if self.queue.n_gaps() > 0 {
            Want::Wait
        } else {
            want
        }
    }

    /// Whether the next bytes are read straight into the handler's place.
    fn is_direct(&mut self) -> bool {
        match &mut self.state {
            State::Body(body) => {
                self.start == self.end
                    && body.left > DIRECT_READ_MIN
                    && !body.sink.space().is_empty()
            }
            _ => false,
        }
    }

    /// Makes sure that there is room behind what was received.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.recv.is_empty() {
            self.recv = vec![0; RECV_BYTES];
        }
        let needed = self.need.max(self.end - self.start + 1);
        if self.start > 0 {
            // What is left is part of one request, and mostly short.
            self.recv.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if needed > self.recv.len() {
            // The line of a retrieval or a configuration: `process` has closed on anything else.
            let len = needed.next_power_of_two().max(2 * self.recv.len());
            self.recv.resize(len, 0);
        }
    }

    fn consume(&mut self, n: usize) {
        self.start += n;
        self.searched = 0;
        self.need = 0;
    }

    /// Deals with what comes next.
    fn step(&mut self, handler: &mut H, scratch: &mut Scratch) -> Step {
        let needs_login = self.needs_login();
        match &mut self.state {
            State::Line if self.speaks == Speaks::Binary => self.step_frame(handler),
            State::Line if needs_login => self.step_login(handler),
            State::Line => self.step_line(handler, scratch),
            State::Body(_) => self.step_body(handler, scratch),
            State::Skip(_) => self.step_skip(),
            State::Swallow { left, line, noreply } => {
                let n = left.saturating_sub(CRLF.len()).min(self.end - self.start);
                *left -= n;
                let (left, line, noreply) = (*left, *line, *noreply);
                self.consume(n);
                let Some(end) = self.recv[self.start..self.end].get(..CRLF.len()) else {
                    return Step::Starved;
                };
                if left > CRLF.len() {
                    return Step::Starved;
                }
                // A value that does not end where it should is as bad as one that was taken.
                self.state = if end == CRLF { State::Line } else { State::Closing };
                self.is_end_wanted |= end != CRLF;
                self.consume(CRLF.len());
                self.error(line, noreply);
                Step::Done
            }
            State::Keys { len, with_cas, touch } => {
                let len = *len;
                let get = Get { keys: &[], with_cas: *with_cas, touch: *touch };
                self.state = State::Line;
                self.step_keys(handler, get, len)
            }
            State::Login(_) | State::Stream | State::Closing => Step::Starved,
        }
    }

    /// The first byte says what is spoken.
    #[cold]
    fn look_at_first(&mut self) {
        match self.recv[self.start..self.end].first() {
            None => {}
            Some(&REQUEST_MAGIC) => self.speaks = Speaks::Binary,
            Some(_) => self.speaks = Speaks::Text,
        }
    }

    fn step_login(&mut self, handler: &mut H) -> Step {
        let input = &self.recv[self.start..self.end];
        if input.is_empty() || input.len() < self.need {
            return Step::Starved;
        }
        let context = Context { is_login: true, ..Context::plain(false) };
        let n_gaps = self.queue.n_gaps();
        let mut reply = Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
        match login::read(input) {
            Login::Attempt(auth, len) => {
                let outcome = handler.call(Request::Auth(auth), &mut reply);
                self.consume(len);
                self.login_outcome(outcome, n_gaps)
            }
            Login::Refused(line, len) => {
                reply.error(line);
                self.consume(len);
                Step::Done
            }
            Login::Need(need) => {
                self.need = need;
                Step::Starved
            }
            Login::Alien => {
                self.state = State::Closing;
                Step::Done
            }
        }
    }

    fn step_line(&mut self, handler: &mut H, scratch: &mut Scratch) -> Step {
        let input = &self.recv[self.start..self.end];
        if input.len() < self.need {
            return Step::Starved;
        }
        let line_len = match frame::find(input, self.searched) {
            Frame::Line(len) => len,
            Frame::Partial => {
                self.searched = input.len();
                return Step::Starved;
            }
            Frame::TooLong => {
                self.state = State::Closing;
                return Step::Done;
            }
        };
        let (line, behind) = input.split_at(line_len);
        let parsed = parse_line(line, scratch);
        // Each key of a retrieval is an answer; counting them takes time that nobody owes who set
        // no limit.
        let n_keys = match &parsed {
            Parsed::Request { request: Request::Get(get), .. }
                if self.answers_max != usize::MAX =>
            {
                get.keys().count().max(1)
            }
            _ => 1,
        };
        if n_keys > 1
            && !self.is_unbounded
            && self.n_answers.saturating_add(n_keys) > self.answers_max
        {
            self.n_overflows += 1;
            self.consume(line_len);
            self.error(NO_MEMORY_WRITING, false);
            return Step::Done;
        }
        self.n_answers += n_keys - 1;
        match parsed {
            Parsed::Unbounded { line } => {
                self.is_unbounded = true;
                self.consume(line_len);
                self.error(line, false);
                Step::Done
            }
            // What follows such a line is as likely its value.
            _ if self.is_unbounded => {
                self.state = State::Closing;
                Step::Done
            }
            Parsed::Request { request: Request::Get(get), .. }
                if get.keys.len() > RETRIEVAL_SLICE_BYTES =>
            {
                // All keys stand at the end of the line; the first slice starts where they do.
                let keys_at = line.len() - get.keys.len() - line_end_len(line);
                let rest = line.len() - keys_at;
                let get = Get { keys: &[], with_cas: get.with_cas, touch: get.touch };
                self.consume(keys_at);
                self.step_keys(handler, get, rest)
            }
            Parsed::Request { request, noreply } => {
                let context = Context::new(&request, noreply, line);
                let Some(len) = request.value_len() else {
                    let mut reply =
                        Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
                    let outcome = handler.call(request, &mut reply);
                    self.consume(line_len);
                    return self.outcome(outcome);
                };
                if behind.len() < len + 2 {
                    return self.begin_value(handler, scratch, line_len, len);
                }
                let (value, end) = behind[..len + 2].split_at(len);
                let mut reply =
                    Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
                let outcome = if end == CRLF {
                    handler.call(request.with_value(value), &mut reply)
                } else {
                    // A value that arrives in pieces needs a place before its end is seen, and
                    // what goes wrong then is the answer. So it is here.
                    let refusal = if request.is_reservable() {
                        handler.reserve(&request, len).err()
                    } else {
                        None
                    };
                    reply.error(refusal.unwrap_or(BAD_DATA_CHUNK));
                    // Where the value really ends nobody knows.
                    Outcome::Close
                };
                self.consume(line_len + len + 2);
                self.outcome(outcome)
            }
            Parsed::Malformed { line: error, noreply, swallow } => {
                if swallow > 0 {
                    self.state = State::Swallow { left: swallow, line: error, noreply };
                } else {
                    let context = Context::plain(noreply);
                    Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context)
                        .error(error);
                }
                self.consume(line_len);
                Step::Done
            }
            Parsed::Noop => {
                // memcached sends what is queued at once. Here that happens anyway when the input
                // at hand is used up, and a write for each `mn` of a batch would be dear.
                self.queue.arena.extend_from_slice(b"MN\r\n");
                self.consume(line_len);
                Step::Done
            }
            parsed @ (Parsed::Quit | Parsed::Alien) => {
                self.is_end_wanted = matches!(parsed, Parsed::Quit);
                self.consume(line_len);
                self.state = State::Closing;
                Step::Done
            }
        }
    }

    /// The value of the request at hand has not arrived in full. Small ones are waited for, and
    /// the beginning of others; then the handler is asked for a place.
    fn begin_value(
        &mut self,
        handler: &mut H,
        scratch: &mut Scratch,
        line_len: usize,
        len: usize,
    ) -> Step {
        let line = &self.recv[self.start..self.start + line_len];
        let Parsed::Request { request, noreply } = parse_line(line, scratch) else {
            unreachable!("the line has just been read as a request");
        };
        let whole = line_len + len + 2;
        let enough = if request.is_reservable() { whole.min(SINK_LEN_MIN) } else { whole };
        if self.end - self.start < enough {
            self.need = enough;
            return Step::Starved;
        }
        match handler.reserve(&request, len) {
            Ok(sink) => {
                self.state = State::Body(Box::new(Body { sink, left: len, line: line.into() }));
            }
            Err(line) => {
                // The errors of meta commands are never muted, and `noreply` is not theirs.
                self.state = State::Swallow { left: len + 2, line, noreply };
            }
        }
        self.consume(line_len);
        Step::Done
    }

    fn step_body(&mut self, handler: &mut H, scratch: &mut Scratch) -> Step {
        let State::Body(body) = &mut self.state else {
            return Step::Starved;
        };
        while body.left > 0 && self.start < self.end {
            let space = body.sink.space();
            let n = space.len().min(body.left).min(self.end - self.start);
            if n == 0 {
                break;
            }
            space[..n].copy_from_slice(&self.recv[self.start..self.start + n]);
            body.sink.filled(n);
            body.left -= n;
            self.start += n;
        }
        if self.speaks == Speaks::Binary {
            return self.step_frame_body(handler);
        }
        if body.left > 0 && body.sink.space().is_empty() {
            // The handler had a place, and then no more of it.
            let noreply =
                matches!(parse_line(&body.line, scratch), Parsed::Request { noreply: true, .. });
            let left = body.left + 2;
            self.state = State::Swallow { left, line: NO_MEMORY_READING, noreply };
            return Step::Done;
        }
        if body.left > 0 {
            return Step::Starved;
        }
        let input = &self.recv[self.start..self.end];
        if input.len() < CRLF.len() {
            return Step::Starved;
        }
        let is_whole = input.starts_with(CRLF);
        self.start += CRLF.len();
        let State::Body(body) = std::mem::replace(&mut self.state, State::Line) else {
            unreachable!("the state is a body until here");
        };
        let Body { sink, line, .. } = *body;
        let Parsed::Request { request, noreply } = parse_line(&line, scratch) else {
            unreachable!("the line was read as a request before");
        };
        let context = Context::new(&request, noreply, &line);
        let mut reply = Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
        let outcome = if is_whole {
            handler.commit(request, sink, &mut reply)
        } else {
            drop(sink);
            reply.error(BAD_DATA_CHUNK);
            Outcome::Close
        };
        self.outcome(outcome)
    }

    /// Hands over the next keys of a retrieval whose last `len` bytes, line end included, are at
    /// the front of the input.
    fn step_keys(&mut self, handler: &mut H, get: Get<'static>, len: usize) -> Step {
        let line = &self.recv[self.start..self.start + len];
        let keys = &line[..len - line_end_len(line)];
        // The slice ends where a key does: at the last space of its bytes, or at the first one
        // after them.
        let slice_len = match keys.get(..RETRIEVAL_SLICE_BYTES) {
            None => keys.len(),
            Some(slice) => memchr::memrchr(b' ', slice)
                .filter(|at| *at > 0)
                .or_else(|| memchr::memchr(b' ', &keys[1..]).map(|at| at + 1))
                .unwrap_or(keys.len()),
        };
        let (slice, rest) = keys.split_at(slice_len);
        let is_last = rest.iter().all(|byte| *byte == b' ');
        let mut context = Context::plain(false);
        context.kind = Kind::Retrieval(Retrieval { is_last });
        let mut reply = Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context);
        let request = Request::Get(Get { keys: slice, ..get });
        let outcome = handler.call(request, &mut reply);
        let failed = reply.has_failed();
        let Get { with_cas, touch, .. } = get;
        if is_last || failed {
            self.consume(len);
        } else {
            self.consume(slice_len);
            let len = len - slice_len;
            self.state = State::Keys { len, with_cas, touch };
        }
        self.outcome(outcome)
    }

    fn error(&mut self, line: &'static str, noreply: bool) {
        let context = Context::plain(noreply);
        Reply::new(&mut self.queue, &mut self.desk, &mut self.feed, context).error(line);
    }

    /// What became of a login, before which so many answers were still to come. If it has not been
    /// answered, what follows waits: who may ask for it is not known yet.
    fn login_outcome(&mut self, outcome: Outcome, n_gaps: usize) -> Step {
        let step = self.outcome(outcome);
        if self.queue.n_gaps() > n_gaps && matches!(self.state, State::Line) {
            self.state = State::Login(self.desk.last_ticket());
        }
        step
    }

    #[inline]
    fn outcome(&mut self, outcome: Outcome) -> Step {
        if outcome != Outcome::Stream {
            self.feed = None;
        }
        match outcome {
            Outcome::Done | Outcome::Pending => {}
            Outcome::Stream => self.state = State::Stream,
            Outcome::Close => {
                self.is_end_wanted = true;
                self.state = State::Closing;
            }
        }
        Step::Done
    }
}

impl<H: Handler> Default for Session<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Handler> std::fmt::Debug for Session<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Line => "line",
            State::Body(_) => "body",
            State::Swallow { .. } => "swallow",
            State::Skip(_) => "skip",
            State::Keys { .. } => "keys",
            State::Login(_) => "login",
            State::Stream => "stream",
            State::Closing => "closing",
        };
        f.debug_struct("Session")
            .field("state", &state)
            .field("unprocessed_bytes", &(self.end - self.start))
            .field("queue", &self.queue)
            .finish()
    }
}

/// The length of the line end that `line` has.
fn line_end_len(line: &[u8]) -> usize {
    if line.ends_with(CRLF) { CRLF.len() } else { 1 }
}
