//! Handlers that answer later, from another thread, and handlers that go on sending: what a server
//! of one's own can do besides answering at once.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use nuthatch_server::proto::types::ItemFlags;
use nuthatch_server::proto::udp::request_header;
use nuthatch_server::proto::{
    Admin, Fed, Feed, Handler, Later, Outcome, Output, Pinned, Reply, Request,
    SEND_QUEUE_BYTES_MAX, Sink,
};
use nuthatch_server::transport::{BindOptions, ListenAddr, Local, bind, bind_udp};
use nuthatch_server::{End, Server, Stop};

use crate::support::{Client, eventually};

/// What the tests see of the handlers.
struct Shared {
    /// Duties to answer, with the key that was asked for.
    duties: mpsc::Sender<(String, Later<NoPin>)>,
    /// Feeds that have been made, and that are gone.
    n_feeds: AtomicUsize,
    n_dropped: AtomicUsize,
    /// What an endless feed has given, in bytes.
    fed: AtomicUsize,
    is_woken: AtomicBool,
}

/// `get KEY` is answered by whoever has the duty; `version` at once; `verbosity N` sends N lines
/// of 100 bytes, 0 of them being an endless stream; `shutdown` listens and is never told anything;
/// `delete` is a bug.
struct Slow(Arc<Shared>);

enum NoPin {}

impl Pinned for NoPin {
    fn piece(&self, _: usize) -> Option<&[u8]> {
        match *self {}
    }
}

struct NoSink;

impl Sink for NoSink {
    fn space(&mut self) -> &mut [u8] {
        &mut []
    }

    fn filled(&mut self, _: usize) {}
}

impl Handler for Slow {
    type Pin = NoPin;
    type Sink = NoSink;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, NoPin>) -> Outcome {
        match request {
            Request::Get(get) => {
                let key = get.keys().next().expect("the tests ask for one").to_string();
                let later = reply.later();
                self.0.duties.send((key, later)).unwrap();
                Outcome::Pending
            }
            Request::Admin(Admin::Verbosity(n_lines)) => {
                self.0.n_feeds.fetch_add(1, SeqCst);
                reply.line("OK");
                reply.feed(Lines { shared: Arc::clone(&self.0), left: n_lines, total: n_lines })
            }
            Request::Admin(Admin::Shutdown(_)) => {
                self.0.n_feeds.fetch_add(1, SeqCst);
                reply.feed(Lines { shared: Arc::clone(&self.0), left: 0, total: u32::MAX })
            }
            Request::Delete(_) => panic!("a handler that fails"),
            _ => {
                reply.line("VERSION 1");
                Outcome::Done
            }
        }
    }

    fn reserve(&mut self, _: &Request<'_>, _: usize) -> Result<NoSink, &'static str> {
        Err("SERVER_ERROR not stored here")
    }

    fn commit(&mut self, _: Request<'_>, _: NoSink, _: &mut Reply<'_, NoPin>) -> Outcome {
        Outcome::Done
    }
}

struct Lines {
    shared: Arc<Shared>,
    left: u32,
    total: u32,
}

impl Feed for Lines {
    fn poll_feed(&mut self, cx: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed> {
        if self.total == u32::MAX {
            // Nothing to tell; being woken for nothing must be harmless.
            if !self.shared.is_woken.swap(true, SeqCst) {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        while out.room() > 0 {
            if self.total > 0 && self.left == 0 {
                out.push(b"END\r\n");
                return Poll::Ready(Fed::End);
            }
            self.left = self.left.wrapping_sub(1);
            writeln!(out, "{:098}\r", self.total.wrapping_sub(self.left)).unwrap();
            self.shared.fed.fetch_add(100, SeqCst);
        }
        Poll::Ready(Fed::More)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.shared.n_dropped.fetch_add(1, SeqCst);
    }
}

/// A server with such handlers, on one worker, so that whoever holds it up holds up everybody.
struct Running {
    address: SocketAddr,
    udp_address: SocketAddr,
    shared: Arc<Shared>,
    duties: mpsc::Receiver<(String, Later<NoPin>)>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start() -> Self {
        let list = ListenAddr::parse_list("127.0.0.1:0").unwrap();
        let bound = bind(&list, 0, BindOptions::default()).unwrap();
        let Local::Tcp(address) = *bound[0].local() else { panic!("a TCP address was asked for") };
        let udp = bind_udp(&list, 0, NonZeroUsize::MIN, BindOptions::default()).unwrap();
        let Local::Udp(udp_address) = *udp[0].local() else { panic!("a UDP address") };
        let (sender, duties) = mpsc::channel();
        let shared = Arc::new(Shared {
            duties: sender,
            n_feeds: AtomicUsize::new(0),
            n_dropped: AtomicUsize::new(0),
            fed: AtomicUsize::new(0),
            is_woken: AtomicBool::new(false),
        });
        let server =
            Server::builder().listen(bound).listen_udp(udp).threads(NonZeroUsize::MIN).build();
        let stop = server.stop();
        let for_handlers = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            server.run(move || Slow(Arc::clone(&for_handlers)), std::future::pending()).unwrap();
        });
        Self { address, udp_address, shared, duties, stop, thread: Some(thread) }
    }

    fn connect(&self) -> Client<TcpStream> {
        Client::on(self.stream())
    }

    fn stream(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// The next duty, and what it is about.
    fn duty(&self) -> (String, Later<NoPin>) {
        self.duties.recv().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop(End::AtOnce);
        self.thread.take().expect("it is taken once").join().unwrap();
    }
}

fn answer(later: Later<NoPin>, text: &'static str) {
    later.answer(move |reply| {
        reply.value(
            nuthatch_server::proto::types::Key::new("k").unwrap(),
            ItemFlags(0),
            text.as_bytes(),
            None,
        );
        reply.end();
    });
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let server = Running::start();
    let mut client = server.connect();
    client.send("version\r\nget one\r\nversion\r\nget two\r\n");
    assert_eq!(client.line(), "VERSION 1");
    let (first, second) = (server.duty(), server.duty());
    assert_eq!((&*first.0, &*second.0), ("one", "two"));
    // Others are served meanwhile.
    assert_eq!(server.connect().ask("version"), "VERSION 1");
    // The second is answered first, each on a thread of its own.
    std::thread::spawn(|| answer(second.1, "second")).join().unwrap();
    std::thread::spawn(|| answer(first.1, "first")).join().unwrap();
    let expected = "VALUE k 0 5|first|END|VERSION 1|VALUE k 0 6|second|END";
    for line in expected.split('|') {
        assert_eq!(client.line(), line);
    }
    assert_eq!(client.ask("version"), "VERSION 1");
}

#[test]
fn a_duty_that_is_dropped_keeps_the_connection_in_step() {
    let server = Running::start();
    let mut client = server.connect();
    client.send("get one\r\nversion\r\n");
    drop(server.duty());
    assert_eq!(client.line(), "SERVER_ERROR no answer");
    assert_eq!(client.line(), "VERSION 1");
}

#[test]
fn a_pipeline_of_late_answers_is_taken_up_piece_by_piece() {
    let server = Running::start();
    let mut client = server.connect();
    let n_requests = 1000;
    client.send((0..n_requests).map(|n| format!("get {n}\r\n")).collect::<String>());
    let mut most = Vec::new();
    // However many a client asks for, so many are begun; the rest waits.
    for n in 0..64 {
        let (key, later) = server.duty();
        assert_eq!(key, n.to_string());
        most.push(later);
    }
    assert_eq!(server.connect().ask("version"), "VERSION 1");
    assert!(server.duties.try_recv().is_err(), "no more are begun than the limit");
    for later in most {
        answer(later, "v");
    }
    for _ in 64..n_requests {
        answer(server.duty().1, "v");
    }
    for _ in 0..n_requests {
        assert_eq!([client.line(), client.line(), client.line()], ["VALUE k 0 1", "v", "END"]);
    }
}

#[test]
fn who_has_a_duty_learns_that_the_client_is_gone() {
    let server = Running::start();
    let mut stream = server.stream();
    stream.write_all(b"version\r\nget one\r\n").unwrap();
    let (_, later) = server.duty();
    assert!(later.is_wanted());
    // Left with an answer unread, the connection is reset. `version` may still be on its way.
    let mut one = [0];
    stream.peek(&mut one).unwrap();
    drop(stream);
    eventually("nobody waits for the answer", || !later.is_wanted());
    later.answer(|_| panic!("nobody is there to be answered"));
    assert_eq!(server.connect().ask("version"), "VERSION 1");
}

#[test]
fn who_has_closed_its_sending_side_gets_what_is_owed() {
    let server = Running::start();
    let mut stream = server.stream();
    stream.write_all(b"get one\r\nversion\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (_, later) = server.duty();
    answer(later, "v");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "VALUE k 0 1\r\nv\r\nEND\r\nVERSION 1\r\n");
}

#[test]
fn a_feed_ends_and_requests_are_served_again() {
    let server = Running::start();
    let mut client = server.connect();
    // What is asked behind it waits for its end; what was asked before is answered before.
    client.send("version\r\nverbosity 10000\r\nversion\r\n");
    assert_eq!(client.line(), "VERSION 1");
    assert_eq!(client.line(), "OK");
    for n in 1..=10_000 {
        assert_eq!(client.line(), format!("{n:098}"));
    }
    assert_eq!(client.line(), "END");
    assert_eq!(client.line(), "VERSION 1");
    assert_eq!(server.shared.n_dropped.load(SeqCst), 1);
}

#[test]
fn a_feed_goes_at_its_readers_pace() {
    let server = Running::start();
    let mut slow = server.connect();
    assert_eq!(slow.ask("verbosity 0"), "OK");
    // The sockets' buffers take some megabytes; then it stands still.
    let mut before = usize::MAX;
    eventually("the feed stands still", || {
        let mut other = server.connect();
        for _ in 0..100 {
            assert_eq!(other.ask("version"), "VERSION 1", "others are served");
        }
        std::mem::replace(&mut before, server.shared.fed.load(SeqCst)) == before
    });
    let stalled = server.shared.fed.load(SeqCst);
    // Read as much as twice that, and the feed has gone on by about what was read: what the server
    // itself holds is less than a queue.
    let n_read = 2 * stalled / 100 * 100;
    let bytes = slow.exactly(n_read);
    assert!(bytes.chunks(100).all(|line| line.ends_with(b"\r\n")), "the lines are whole");
    assert!(server.shared.fed.load(SeqCst) <= n_read + stalled + SEND_QUEUE_BYTES_MAX);
    // Having left, it is forgotten.
    drop(slow);
    eventually("the feed is gone", || server.shared.n_dropped.load(SeqCst) == 1);
}

#[test]
fn a_feed_with_nothing_to_say_ends_with_its_client() {
    let server = Running::start();
    let mut client = server.connect();
    client.send("version\r\nshutdown\r\n");
    assert_eq!(client.line(), "VERSION 1");
    eventually("it has begun", || server.shared.n_feeds.load(SeqCst) == 1);
    // Words that nobody listens to, as far as a buffer holds them.
    client.send(vec![b'x'; 8 << 10]);
    assert_eq!(server.connect().ask("version"), "VERSION 1");
    assert_eq!(server.shared.n_dropped.load(SeqCst), 0);
    drop(client);
    eventually("the feed is gone", || server.shared.n_dropped.load(SeqCst) == 1);
}

#[test]
fn datagrams_wait_for_their_answers_apart() {
    let server = Running::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.udp_address).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let send = |id: u16, request: &str| {
        socket.send(&[&request_header(id)[..], request.as_bytes()].concat()).unwrap();
    };
    let hears = |id: u16, answer: &str| {
        let mut datagram = [0; 1500];
        let len = socket.recv(&mut datagram).expect("an answer");
        let expected = [&request_header(id)[..], answer.as_bytes()].concat();
        assert_eq!(String::from_utf8_lossy(&datagram[..len]), String::from_utf8_lossy(&expected));
    };
    send(1, "get one\r\nversion\r\n");
    let first = server.duty();
    send(2, "version\r\n");
    hears(2, "VERSION 1\r\n");
    send(3, "get three\r\n");
    drop(server.duty());
    hears(3, "SERVER_ERROR no answer\r\n");
    std::thread::spawn(|| answer(first.1, "first")).join().unwrap();
    hears(1, "VALUE k 0 5\r\nfirst\r\nEND\r\nVERSION 1\r\n");

    // What listens for ever is not for datagrams.
    send(4, "shutdown\r\n");
    hears(4, "SERVER_ERROR not available over UDP\r\n");
    eventually("the feed is gone", || server.shared.n_dropped.load(SeqCst) == 1);

    // A handler that fails takes its datagram with it, and nothing else.
    send(5, "delete a\r\n");
    send(6, "version\r\n");
    hears(6, "VERSION 1\r\n");

    // So many wait, and no more.
    let mut duties = Vec::new();
    for id in 0..64 {
        send(id, "get a\r\n");
        duties.push(server.duty());
    }
    send(64, "get a\r\n");
    hears(64, "SERVER_ERROR too many requests waiting\r\n");
    drop(server.duty());
    drop(duties.pop());
    hears(63, "SERVER_ERROR no answer\r\n");
    send(65, "get a\r\n");
    let last = server.duty();
    drop(last);
    hears(65, "SERVER_ERROR no answer\r\n");
}
