//! The memcached protocol without I/O: codec and connection state machines for servers and clients.
//!
//! Bytes come in, requests and answers come out; sockets, clocks and memory for items are
//! someone else's.
//!
//! ```text
//!            Session (one a connection)                      your code
//!          ┌──────────────────────────────┐
//!   bytes  │ frame ─> parse_line ─> Request ──────────────> Handler::call
//!  ───────>│                              │                     │ writes into
//!  <───────│ send queue <──────────────────────────────────  Reply
//!   bytes  └──────────────────────────────┘
//! ```
//!
//! A [`Session`] is the server's end of a connection. It knows lines and values that arrive in
//! pieces, pipelining, `noreply` and quiet commands, answers that come late, and values that are
//! sent from where they lie. What a request *means* is the business of a [`Handler`].
//! [`parse_line`] is the codec alone.
//!
//! Text and [binary] clients are served by the same session and the same handler: the first
//! byte says which protocol is spoken ([`Speaks`]), and a [`Reply`] writes frames to whoever sends
//! frames. [`client`] has the other end of both.
//!
//! ```
//! use std::collections::HashMap;
//! use std::io::IoSlice;
//!
//! use nuthatch_proto::{Handler, Outcome, Pinned, Reply, Request, Session, Sink, Value, Want};
//! use nuthatch_proto::types::{ItemFlags, Stored};
//!
//! /// A cache in a hundred words: `get` and `set`.
//! #[derive(Default)]
//! struct Map(HashMap<Vec<u8>, (ItemFlags, Vec<u8>)>);
//!
//! /// The place for a value that is still arriving.
//! struct Buf(Vec<u8>, usize);
//!
//! impl Sink for Buf {
//!     fn space(&mut self) -> &mut [u8] { &mut self.0[self.1..] }
//!     fn filled(&mut self, n: usize) { self.1 += n }
//! }
//!
//! /// Values are always copied here, so nothing is ever pinned.
//! enum Never {}
//!
//! impl Pinned for Never {
//!     fn piece(&self, _: usize) -> Option<&[u8]> { None }
//! }
//!
//! impl Handler for Map {
//!     type Pin = Never;
//!     type Sink = Buf;
//!
//!     fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, Never>) -> Outcome {
//!         match request {
//!             Request::Get(get) => {
//!                 for key in get.keys() {
//!                     if let Some((flags, value)) = self.0.get(key.as_bytes()) {
//!                         reply.value(key, *flags, value, None);
//!                     }
//!                 }
//!                 reply.end();
//!             }
//!             Request::Set(set) => {
//!                 let Value::Here(value) = set.value else { unreachable!() };
//!                 self.0.insert(set.key.as_bytes().to_vec(), (set.flags, value.to_vec()));
//!                 reply.stored(Stored::Stored);
//!             }
//!             _ => reply.error("SERVER_ERROR not served here"),
//!         }
//!         Outcome::Done
//!     }
//!
//!     fn reserve(&mut self, _: &Request<'_>, len: usize) -> Result<Buf, &'static str> {
//!         Ok(Buf(vec![0; len], 0))
//!     }
//!
//!     fn commit(&mut self, request: Request<'_>, sink: Buf, reply: &mut Reply<'_, Never>) -> Outcome {
//!         if let Request::Set(set) = request {
//!             self.0.insert(set.key.as_bytes().to_vec(), (set.flags, sink.0));
//!         }
//!         reply.stored(Stored::Stored);
//!         Outcome::Done
//!     }
//! }
//!
//! let mut map = Map::default();
//! let mut session = Session::<Map>::new();
//! let input = b"set apple 0 0 5\r\ngreen\r\nget apple\r\n";
//! session.recv_space()[..input.len()].copy_from_slice(input);
//! session.received(input.len());
//!
//! assert_eq!(session.process(&mut map, 20), Want::Write);
//! let mut slices = [IoSlice::new(b""); 4];
//! let n = session.transmit(&mut slices);
//! let output: Vec<u8> = slices[..n].iter().flat_map(|slice| slice.to_vec()).collect();
//! assert_eq!(output, b"STORED\r\nVALUE apple 0 5\r\ngreen\r\nEND\r\n");
//! session.sent(output.len());
//! assert_eq!(session.process(&mut map, 20), Want::Read);
//! ```
//!
//! The behaviour is memcached 1.6.45's, byte for byte where a client can see it; the few
//! deliberate differences are listed at [`Session`].

#![forbid(unsafe_code)]

mod admin;
pub mod binary;
pub mod client;
mod error;
mod request;
mod response;
mod server;
mod text;
pub mod udp;

// The public interface.
pub use admin::{
    Admin, Cachedump, Classes, Config, DebugItem, DebugTime, Detail, Extstore, Lru, LruCrawler,
    Reassign, ShutdownMode, Slabs, Stats, WatchFlags,
};
pub use error::{ArgError, Error};
pub use nuthatch_types as types;
pub use request::{Auth, Count, Get, MECHANISM_LEN_MAX, Meta, MetaSet, Request, Sasl, Set, Value};
pub use server::{
    Buffers, DebugFacts, DumpFacts, FEED_BYTES_MAX, Fed, Feed, Handler, ItemFacts, Later,
    MetaStatus, Outcome, Output, Pinned, Reply, ReplyMark, SEND_QUEUE_BYTES_MAX, SINK_LEN_MIN,
    Session, Sink, Speaks, Ticket, Want,
};
pub use text::meta::MetaFlags;
pub use text::{Parsed, Scratch, parse_line};
