#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod call;
mod client;
mod clock;
mod conn;
mod error;
mod item;
pub mod route;

// The public interface.
pub use builder::Builder;
pub use bytes::Bytes;
pub use client::Client;
pub use error::Error;
pub use item::{Item, Stats, StoreOptions};
pub use nuthatch_transport::tls;
pub use nuthatch_types as types;
