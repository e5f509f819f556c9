#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod clock;
#[cfg(feature = "dns")]
mod dns;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod fixed;
mod follow;
mod member;
mod registration;
mod source;
mod spec;

// The public interface.
#[cfg(feature = "dns")]
pub use dns::Dns;
pub use error::SourceError;
#[cfg(all(feature = "etcd", fuzzing))]
pub use etcd::hear_etcd;
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdSettings, register};
pub use fixed::Static;
pub use follow::{Following, Limits, State, View, follow};
pub use member::{Member, Members};
pub use registration::{Joining, Registration};
pub use source::{Next, Source};
pub use spec::{Access, SourceSpec};
