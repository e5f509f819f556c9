#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod batch;
pub mod blocking;
mod builder;
mod call;
mod client;
mod clock;
mod cluster;
mod compute;
mod dial;
mod discover;
mod error;
mod event;
mod health;
mod item;
mod link;
mod login;
mod meta;
mod node;
mod options;
pub mod route;
mod seat;
mod span;
mod time;
mod url;
pub mod values;
mod wire;

// The public interface.
pub use builder::Builder;
pub use bytes::Bytes;
pub use client::{Client, NodeClient};
pub use compute::{Typed, ValueError};
pub use discover::AutoDiscovery;
pub use error::Error;
pub use event::{CallReport, Event, NodeStatus, Observer, Status};
pub use item::{Item, Stats, StoreOptions};
pub use login::{Credentials, Login, ProviderError};
pub use meta::{MetaCount, MetaCounted, MetaDelete, MetaGet, MetaItem, MetaSet, MetaStored};
pub use nuthatch_discovery as discovery;
pub use nuthatch_transport::tls;
pub use nuthatch_types as types;
pub use options::{Ejection, OnFailure, Protocol, Retry};

/// Login mechanisms, for [`Login::mechanisms`].
pub mod sasl {
    pub use nuthatch_transport::sasl::{Mechanism, ScramHash};
}
