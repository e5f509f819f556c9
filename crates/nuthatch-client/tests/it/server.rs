//! A server to be told how to behave: the protocol crate's session before a map, or bytes as they
//! stand in the test.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use nuthatch_client::types::{Arith, ArithError, Cas, Deleted, ItemFlags, StoreMode, Stored, Ttl};
use nuthatch_client::types::{Key, arith};
use nuthatch_client::{Builder, Client, Protocol};
use nuthatch_proto::{
    Admin, Handler, Outcome, Pinned, Reply, Request, Session, Set, Sink, Stats, Value, Want,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::LONG;

/// A server, one connection to it at a time.
pub(crate) struct Server {
    gate: watch::Sender<bool>,
    n_seen: watch::Receiver<usize>,
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Script {
    /// Answers nothing before [`Server::open`].
    pub(crate) is_shut: bool,
    /// Reads nothing before [`Server::open`].
    pub(crate) is_deaf: bool,
    /// Closes the first connection when so many bytes have been answered.
    pub(crate) cut_after: Option<usize>,
    /// Takes no second connection.
    pub(crate) is_gone_then: bool,
    /// Answers at most so many bytes at a time.
    pub(crate) piece_bytes: Option<usize>,
}

impl Script {
    /// Answers nothing before [`Server::open`], and is well-behaved else.
    pub(crate) const SHUT: Self = Self {
        is_shut: true,
        is_deaf: false,
        cut_after: None,
        is_gone_then: false,
        piece_bytes: None,
    };
}

impl Server {
    /// A server that follows a script, and a client.
    pub(crate) async fn start(script: Script, builder: Builder) -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, mut is_open) = watch::channel(!script.is_shut && !script.is_deaf);
        let (seen, n_seen) = watch::channel(0);
        tokio::spawn(async move {
            let mut map = Map { seen, ..Map::default() };
            let mut script = script;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // How it ends is for the client to tell.
                let _ = serve(stream, &mut map, script, &mut is_open).await;
                script.cut_after = None;
                if script.is_gone_then {
                    break;
                }
            }
        });
        let client = text(builder).connect(&address.to_string()).await.unwrap();
        (Self { gate, n_seen }, client)
    }

    /// Lets the answers out.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until the server has taken so many requests, or fails.
    pub(crate) async fn has_seen(&mut self, n: usize) {
        let seen = self.n_seen.wait_for(|n_seen| *n_seen >= n);
        tokio::time::timeout(LONG, seen).await.expect("it takes them in time").unwrap();
    }

    /// How many requests the server has taken.
    pub(crate) fn n_seen(&self) -> usize {
        *self.n_seen.borrow()
    }
}

/// Classic text without a greeting: the first that the server hears is the first call.
pub(crate) fn text(builder: Builder) -> Builder {
    builder.protocol(Protocol::Text)
}

/// A server that behaves, and a client.
pub(crate) async fn good() -> (Server, Client) {
    Server::start(Script::default(), Client::builder().timeout(LONG)).await
}

/// A server that answers whatever comes first with these bytes and then says nothing more, and
/// has no more than one connection; and a client.
pub(crate) async fn parrot(answer: impl Into<Vec<u8>>, builder: Builder) -> Client {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the client asks something");
        stream.write_all(&answer).await.unwrap();
        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    });
    text(builder).connect(&address.to_string()).await.unwrap()
}

async fn serve(
    mut stream: TcpStream,
    map: &mut Map,
    script: Script,
    is_open: &mut watch::Receiver<bool>,
) -> io::Result<()> {
    // An answer goes out in several writes.
    stream.set_nodelay(true)?;
    if script.is_deaf && is_open.wait_for(|is_open| *is_open).await.is_err() {
        return Ok(());
    }
    let mut session = Session::<Map>::new();
    let mut left = script.cut_after.unwrap_or(usize::MAX);
    loop {
        match session.process(map, 20) {
            Want::Read => match stream.read(session.recv_space()).await? {
                0 => return Ok(()),
                n => session.received(n),
            },
            Want::Write => {
                if !*is_open.borrow() {
                    // What it does not answer it takes all the same.
                    tokio::select! {
                        opened = is_open.changed() => {
                            if opened.is_err() {
                                return Ok(());
                            }
                        }
                        read = stream.read(session.recv_space()) => match read? {
                            0 => return Ok(()),
                            n => session.received(n),
                        }
                    }
                    continue;
                }
                let mut slices = [IoSlice::new(b"")];
                session.transmit(&mut slices);
                let len = slices[0].len().min(left).min(script.piece_bytes.unwrap_or(usize::MAX));
                let n = stream.write(&slices[0][..len]).await?;
                session.sent(n);
                left -= n;
                if left == 0 {
                    return Ok(());
                }
                if script.piece_bytes.is_some() {
                    // So that the client reads piece by piece.
                    tokio::task::yield_now().await;
                }
            }
            Want::Yield => tokio::task::yield_now().await,
            Want::Wait | Want::Stream | Want::Close => return Ok(()),
        }
    }
}

/// The items.
#[derive(Default)]
struct Map {
    items: HashMap<Vec<u8>, Entry>,
    last_cas: u64,
    seen: watch::Sender<usize>,
}

struct Entry {
    value: Arc<[u8]>,
    flags: ItemFlags,
    cas: Cas,
}

/// A value that is still arriving.
struct Buf {
    bytes: Vec<u8>,
    len: usize,
}

impl Sink for Buf {
    fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    fn filled(&mut self, n: usize) {
        self.len += n;
    }
}

/// A value being sent from where it is.
struct Pin(Arc<[u8]>);

impl Pinned for Pin {
    fn piece(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then_some(&self.0)
    }
}

impl Handler for Map {
    type Pin = Pin;
    type Sink = Buf;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, Pin>) -> Outcome {
        self.seen.send_modify(|n| *n += 1);
        match request {
            Request::Get(get) => {
                for key in get.keys() {
                    if let Some(Entry { value, flags, cas }) = self.items.get(key.as_bytes()) {
                        let (len, pin) = (value.len(), Pin(Arc::clone(value)));
                        reply.value_pinned(key, *flags, len, pin, get.with_cas.then_some(*cas));
                    }
                }
                reply.end();
            }
            Request::Set(set) => {
                let Value::Here(value) = set.value else { unreachable!("it would be committed") };
                reply.stored(self.store(&set, value));
            }
            Request::Delete(key) => reply.deleted(match self.items.remove(key.as_bytes()) {
                Some(_) => Deleted::Deleted,
                None => Deleted::NotFound,
            }),
            Request::Touch { key, ttl } => {
                reply.touched(self.items.contains_key(key.as_bytes()));
                if ttl == Ttl::PAST {
                    self.items.remove(key.as_bytes());
                }
            }
            Request::Arith { key, direction, delta } => match self.count(key, direction, delta) {
                Some(Ok(number)) => reply.number(number),
                Some(Err(error)) => reply.error(&format!("CLIENT_ERROR {error}")),
                None => reply.line("NOT_FOUND"),
            },
            Request::Admin(Admin::FlushAll(Ok(None))) => {
                self.items.clear();
                reply.line("OK");
            }
            Request::Admin(Admin::Version) => reply.line("VERSION 1.6.45"),
            Request::Admin(Admin::Stats(Stats::General)) => {
                reply.stat("curr_items", self.items.len());
                reply.stat("version", "1.6.45");
                reply.end();
            }
            Request::Admin(Admin::Stats(Stats::Reset)) => reply.line("RESET"),
            _ => reply.error("ERROR"),
        }
        Outcome::Done
    }

    fn reserve(&mut self, _: &Request<'_>, len: usize) -> Result<Buf, &'static str> {
        if len > LARGEST_BYTES {
            return Err("SERVER_ERROR object too large for cache");
        }
        Ok(Buf { bytes: vec![0; len], len: 0 })
    }

    fn commit(&mut self, request: Request<'_>, sink: Buf, reply: &mut Reply<'_, Pin>) -> Outcome {
        self.seen.send_modify(|n| *n += 1);
        let Request::Set(set) = request else { unreachable!("the client sends no other") };
        reply.stored(self.store(&set, &sink.bytes));
        Outcome::Done
    }
}

impl Map {
    fn store(&mut self, set: &Set<'_>, value: &[u8]) -> Stored {
        let old = self.items.get(set.key.as_bytes());
        match (set.mode, set.cas, old) {
            (_, Some(_), None) => return Stored::NotFound,
            (_, Some(cas), Some(old)) if cas != old.cas => return Stored::Exists,
            (_, Some(_), Some(_)) | (StoreMode::Set, ..) => {}
            (StoreMode::Add, _, None) => {}
            (StoreMode::Add, _, Some(_)) | (_, _, None) => return Stored::NotStored,
            (_, _, Some(_)) => {}
        }
        let (value, flags) = match (set.mode, old) {
            (StoreMode::Append, Some(old)) => ([&*old.value, value].concat(), old.flags),
            (StoreMode::Prepend, Some(old)) => ([value, &*old.value].concat(), old.flags),
            _ => (value.to_vec(), set.flags),
        };
        self.last_cas += 1;
        let entry = Entry { value: value.into(), flags, cas: Cas(self.last_cas) };
        self.items.insert(set.key.as_bytes().to_vec(), entry);
        Stored::Stored
    }

    fn count(
        &mut self,
        key: Key<'_>,
        direction: Arith,
        delta: u64,
    ) -> Option<Result<u64, ArithError>> {
        let entry = self.items.get_mut(key.as_bytes())?;
        let number = arith::apply(direction, &entry.value, delta);
        if let Ok(number) = number {
            entry.value = number.to_string().into_bytes().into();
        }
        Some(number)
    }
}

/// The largest value that the server takes, in bytes.
pub(crate) const LARGEST_BYTES: usize = 8 << 20;
