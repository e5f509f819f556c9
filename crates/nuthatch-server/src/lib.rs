//! A memcached server to run as `nuthatchd`, or to build one's own from.
//!
//! The parts are those of the other crates; this one puts them together:
//!
//! ```text
//!  Server ── accepts, deals connections out, one runtime and one handler a worker
//!    │ for each connection: bytes between a Stream (transport) and a Session (proto)
//!    ▼
//!  Handler ── your own, or
//!  Engine ── memcached's commands, answered from a Store
//! ```
//!
//! A server of one's own is a [`Handler`](proto::Handler), which may pass on to the [`Engine`] what
//! it does not answer itself:
//!
//! ```no_run
//! use nuthatch_server::store::Store;
//! use nuthatch_server::transport::{BindOptions, ListenAddr, bind};
//! use nuthatch_server::{Engine, Server};
//!
//! let store = Store::builder().memory_limit(256 << 20).build()?;
//! let maintenance = store.spawn_maintenance()?;
//! let engine = Engine::builder().maintenance(maintenance).build(store);
//! let bound = bind(&ListenAddr::parse_list("127.0.0.1:11311")?, 0, BindOptions::default())?;
//! Server::builder().listen(bound).build().run(move || engine.clone(), std::future::pending())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A handler need not answer at once: [`Reply::later`](proto::Reply::later) gives it the duty to
//! answer from any thread, and [`Reply::feed`](proto::Reply::feed) hands the connection over to
//! whoever goes on sending, at the pace of the client. `examples/read_through.rs` fills a cache
//! that way.
//!
//! A [`Logger`] tells those who `watch` what the store, the engine and the server do, and costs
//! nothing while nobody does.
//!
//! [`options`] is memcached's command line as a table; [`process`] is what a daemon does to its
//! own process before it serves; [`passwd`] makes entries for the password file; [`command_line`] is its reference; [`compatibility`] lists where `nuthatchd` differs from memcached.

#![forbid(unsafe_code)]

mod certs;
mod cluster;
mod connection;
mod conns;
mod counters;
mod engine;
pub mod log;
mod logger;
mod logins;
pub mod options;
pub mod passwd;
pub mod process;
mod server;
mod stop;
mod tls;
mod udp;

#[doc = include_str!("../docs/compatibility.md")]
pub mod compatibility {}

#[doc = include_str!("../docs/auto-discovery.md")]
pub mod auto_discovery {}

#[doc = include_str!("../docs/options.md")]
pub mod command_line {}

// The public interface.
pub use certs::CertWatcher;
pub use cluster::{Cluster, ClusterRules, ClusterThread, MIRROR_KEY, advertised};
pub use conns::{CloseReason, Conn, ConnObserver, ConnState};
pub use counters::{ServerStats, Telemetry};
pub use engine::{Engine, EngineBuilder, ItemPin, ItemSink};
pub use logger::Logger;
pub use nuthatch_discovery as discovery;
pub use nuthatch_proto as proto;
pub use nuthatch_store as store;
pub use nuthatch_transport as transport;
pub use server::{Login, Server, ServerBuilder};
pub use stop::{End, Stop};
