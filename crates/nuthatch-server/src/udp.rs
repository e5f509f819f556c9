//! Requests that come as datagrams: each is answered by a session of its own.
//!
//! ```text
//!   datagram ─ header ─ payload ──► Session ──► answer, whole ──► datagrams 0, 1, 2 …
//! ```
//!
//! What a datagram leaves unfinished is forgotten with its session, so nothing that is sent can
//! wedge a socket. (memcached keeps the state of its last request, and an announced value that
//! does not come makes it deaf.) What is answered before that is sent.
//!
//! **Whose address it is.** A UDP packet can bear the address of somebody who did not send it, and
//! the answer goes to him: in 2018 memcached servers were made to send 51,000 times the bytes that
//! they were sent. So an address gets no more than [`FACTOR`] times what it sent, unless it is known
//! to be nobody's: of this machine, or in a network that the operator trusts
//! (`-o udp_trust`), whose own routers keep it from being borrowed.

use std::io::IoSlice;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use nuthatch_proto::binary::{Header, REQUEST_MAGIC, RESPONSE_MAGIC, Status};
use nuthatch_proto::udp::{DATAGRAM_LEN_MAX, Datagrams, HEADER_LEN, Request};
use nuthatch_proto::{Handler, Session, Want};
use nuthatch_transport::Endpoint;
use tokio::task;

use crate::connection::{LINGER_MAX, SLICES_MAX, Worker};
use crate::conns::{ConnState, Entry};
use crate::options::Protocol;
use crate::server::number_of;

/// How many times its request an answer may be, in bytes, where the sender is not trusted; what
/// QUIC allows itself before it knows an address (RFC 9000, section 8).
const FACTOR: usize = 3;

/// An answer may always be so long, header included, in bytes: room for the status lines and
/// refusals to the shortest requests.
const UNTRUSTED_LEN_MIN: usize = 128;

/// The longest answer to anybody, in bytes. It is put together before it is sent, because each
/// datagram says how many there are.
const ANSWER_LEN_MAX: usize = 8 << 20;

/// Datagrams taken from a socket before the worker's other connections get their turn.
const BATCH_MAX: usize = 32;

/// More than any UDP datagram has, in bytes.
const DATAGRAM_BYTES: usize = 64 << 10;

/// Answers of one socket that wait for somebody to find them; what comes beyond them is refused.
const WAITING_MAX: usize = 64;

/// An answer's buffer of more than this is not kept for the next one, in bytes.
const ANSWER_BYTES_KEPT_MAX: usize = 64 << 10;

const TOO_LONG_UNTRUSTED: &str = "SERVER_ERROR answer too large for this address, see udp_trust";
const TOO_LONG: &str = "SERVER_ERROR answer too large for UDP";
const NO_STREAM: &str = "SERVER_ERROR not available over UDP";
const TOO_MANY: &str = "SERVER_ERROR too many requests waiting";

/// Serves a socket for as long as the server runs.
pub(crate) async fn serve<H: Handler + 'static>(
    endpoint: Endpoint,
    protocol: Protocol,
    worker: Rc<Worker<H>>,
) {
    let waiting = Rc::new(());
    let entry = Entry::new(
        &worker.telemetry,
        number_of(&endpoint),
        None,
        Arc::clone(endpoint.local()),
        endpoint.tag().cloned(),
    );
    let socket = Rc::new(Socket { entry, endpoint, protocol, worker: Rc::clone(&worker), waiting });
    loop {
        // A panic takes the datagram that it came of, and not the socket.
        match task::spawn_local(receive(Rc::clone(&socket))).await {
            Err(error) if error.is_panic() => worker.tally().panics.add(1),
            _ => return,
        }
    }
}

struct Socket<H: Handler> {
    entry: Entry,
    endpoint: Endpoint,
    protocol: Protocol,
    worker: Rc<Worker<H>>,
    /// Held once by each answer that waits.
    waiting: Rc<()>,
}

async fn receive<H: Handler + 'static>(socket: Rc<Socket<H>>) {
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let mut answer = Vec::new();
    loop {
        if let Err(error) = socket.endpoint.readable().await {
            return tracing::warn!("a UDP socket is lost: {error}");
        }
        for _ in 0..BATCH_MAX {
            // An error is of one datagram, such as that its answer reached nobody.
            let Ok((len, from)) = socket.endpoint.try_recv(&mut datagram) else { break };
            socket.worker.tally().bytes_read.add(len as u64);
            if let Some(request) = Request::parse(&datagram[..len]) {
                let conn = socket.entry.conn();
                conn.set_state(ConnState::ParseCmd);
                answer = socket.answer(request, from, answer).await;
                conn.set_state(ConnState::Read);
                conn.set_last_cmd(&socket.worker.telemetry);
            }
        }
        task::yield_now().await;
    }
}

impl<H: Handler + 'static> Socket<H> {
    /// Answers a request, in a buffer that it gives back, or leaves that to a task of its own.
    async fn answer(
        self: &Rc<Self>,
        request: Request<'_>,
        from: SocketAddr,
        buffer: Vec<u8>,
    ) -> Vec<u8> {
        let Some(mut exchange) = Exchange::new(self, request, from, buffer) else {
            return Vec::new();
        };
        let mut rest = request.payload;
        loop {
            match exchange.advance(&mut rest) {
                Next::Done => break,
                Next::Yield => task::yield_now().await,
                Next::Wait if Rc::strong_count(&self.waiting) > WAITING_MAX => {
                    exchange.refuse(TOO_MANY);
                    break;
                }
                Next::Wait => {
                    let waits = Rc::clone(&self.waiting);
                    let rest = rest.to_vec();
                    task::spawn_local(async move {
                        // Who asked has given up by then; what was found is sent.
                        let _ =
                            tokio::time::timeout(LINGER_MAX, exchange.finish_later(&rest)).await;
                        exchange.send().await;
                        drop(waits);
                    });
                    return Vec::new();
                }
            }
        }
        exchange.send().await
    }
}

/// A request, its session, and as much of its answer as there is.
struct Exchange<H: Handler> {
    socket: Rc<Socket<H>>,
    session: Session<H>,
    id: u16,
    from: SocketAddr,
    /// What a refusal says that it refuses, in the binary protocol.
    binary: Option<Header>,
    answer: Vec<u8>,
    answer_len_max: usize,
    too_long: &'static str,
}

/// What an exchange needs.
enum Next {
    Done,
    /// A turn later.
    Yield,
    /// An answer that somebody has still to find.
    Wait,
}

impl<H: Handler> Exchange<H> {
    /// `None` where there is no memory for it.
    fn new(
        socket: &Rc<Socket<H>>,
        request: Request<'_>,
        from: SocketAddr,
        mut answer: Vec<u8>,
    ) -> Option<Self> {
        let worker = &socket.worker;
        let Some(buffers) = worker.take_buffers() else {
            worker.tally().buffer_ooms.add(1);
            return None;
        };
        let mut session = worker.session(socket.protocol);
        session.set_conn(socket.entry.conn().number());
        worker.limit_answers(&mut session, 0);
        let spare = session.attach(buffers);
        debug_assert!(spare.is_none(), "a new session has no buffers");
        let binary = match request.payload.first_chunk() {
            Some(header) if header[0] == REQUEST_MAGIC && socket.protocol != Protocol::Ascii => {
                Some(Header::from_bytes(header))
            }
            _ => None,
        };
        let is_trusted = worker.settings.udp_trust.contain_or_loopback(from);
        let (answer_len_max, too_long) = if is_trusted {
            (ANSWER_LEN_MAX, TOO_LONG)
        } else {
            let len = FACTOR * (request.payload.len() + HEADER_LEN);
            // Each datagram of the answer has a header, which counts.
            let n_headers = len.div_ceil(DATAGRAM_LEN_MAX).max(1);
            let len = len.max(UNTRUSTED_LEN_MIN) - n_headers * HEADER_LEN;
            (len.min(ANSWER_LEN_MAX), TOO_LONG_UNTRUSTED)
        };
        answer.clear();
        let (socket, id) = (Rc::clone(socket), request.id);
        Some(Self { socket, session, id, from, binary, answer, answer_len_max, too_long })
    }

    /// Answers what there is to answer, of what is left of the request.
    fn advance(&mut self, rest: &mut &[u8]) -> Next {
        let socket = Rc::clone(&self.socket);
        let worker = &socket.worker;
        loop {
            let want = {
                let handler = &mut *worker.handler.borrow_mut();
                self.session.process(handler, worker.settings.budget)
            };
            match want {
                Want::Read if rest.is_empty() && self.session.n_owed() > 0 => return Next::Wait,
                Want::Read if rest.is_empty() => return Next::Done,
                Want::Read => {
                    let space = self.session.recv_space();
                    let n = space.len().min(rest.len());
                    let (now, later) = rest.split_at(n);
                    space[..n].copy_from_slice(now);
                    self.session.received(n);
                    *rest = later;
                }
                Want::Write => {
                    if self.answer.len() + self.session.queued_bytes() > self.answer_len_max {
                        self.refuse(self.too_long);
                        return Next::Done;
                    }
                    self.take_output();
                }
                Want::Yield => {
                    worker.tally().conn_yields.add(1);
                    return Next::Yield;
                }
                Want::Wait => return Next::Wait,
                Want::Stream => {
                    self.refuse(NO_STREAM);
                    return Next::Done;
                }
                Want::Close => return Next::Done,
            }
        }
    }

    /// Waits for what is still owed, and goes on.
    async fn finish_later(&mut self, mut rest: &[u8]) {
        loop {
            std::future::poll_fn(|cx| self.session.poll_late(cx)).await;
            loop {
                match self.advance(&mut rest) {
                    Next::Done => return,
                    Next::Yield => task::yield_now().await,
                    Next::Wait => break,
                }
            }
        }
    }

    /// Moves what the session has to send into the answer.
    fn take_output(&mut self) {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let n_slices = self.session.transmit(&mut slices);
            if n_slices == 0 {
                return;
            }
            let before = self.answer.len();
            slices[..n_slices].iter().for_each(|slice| self.answer.extend_from_slice(slice));
            self.session.sent(self.answer.len() - before);
        }
    }

    /// Says why there is no answer, instead of one.
    fn refuse(&mut self, line: &str) {
        self.answer.clear();
        match self.binary {
            None => {
                self.answer.extend_from_slice(line.as_bytes());
                self.answer.extend_from_slice(b"\r\n");
            }
            Some(Header { opcode, opaque, .. }) => {
                let header = Header {
                    magic: RESPONSE_MAGIC,
                    opcode,
                    // There is no status for this; this one is the nearest, and the text that comes
                    // with it says what it is.
                    status: Status::TOO_LARGE.0,
                    body_len: u32::try_from(line.len()).expect("refusals are short"),
                    opaque,
                    ..Header::default()
                };
                self.answer.extend_from_slice(&header.to_bytes());
                self.answer.extend_from_slice(line.as_bytes());
            }
        }
    }

    /// Sends the answer, and gives its buffer back.
    async fn send(mut self) -> Vec<u8> {
        let mut answer = mem::take(&mut self.answer);
        let Some(datagrams) = Datagrams::new(self.id, &answer) else { return answer };
        let mut datagram = [0; DATAGRAM_LEN_MAX];
        for (header, payload) in datagrams {
            let len = HEADER_LEN + payload.len();
            datagram[..HEADER_LEN].copy_from_slice(&header);
            datagram[HEADER_LEN..len].copy_from_slice(payload);
            if let Err(error) = self.socket.endpoint.send(&datagram[..len], self.from).await {
                // A part of an answer is none: the rest can stay here.
                tracing::trace!(to = %self.from, "a UDP answer was not sent: {error}");
                break;
            }
            self.socket.worker.tally().bytes_written.add(len as u64);
        }
        if answer.capacity() > ANSWER_BYTES_KEPT_MAX {
            answer = Vec::new();
        }
        answer
    }
}

impl<H: Handler> Drop for Exchange<H> {
    fn drop(&mut self) {
        self.socket.worker.count_overflows(&mut self.session);
        match self.session.detach() {
            Some(buffers) => self.socket.worker.give_buffers(buffers),
            // What is in them goes with the session.
            None => self.socket.worker.tally().buffers.sub(1),
        }
    }
}
