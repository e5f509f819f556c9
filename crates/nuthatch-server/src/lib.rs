//! A memcached server to run as `nuthatchd` or to build one's own from.
//!
//! x

#![forbid(unsafe_code)]

mod connection;
mod counters;
mod engine;
pub mod log;
pub mod options;
pub mod process;
mod server;
mod stop;

// The public interface.
pub use counters::{ServerStats, Telemetry};
pub use engine::{Engine, EngineBuilder, ItemPin, ItemSink};
pub use nuthatch_proto as proto;
pub use nuthatch_store as store;
pub use nuthatch_transport as transport;
pub use server::{Server, ServerBuilder};
pub use stop::Stop;
