//! The vocabulary that every nuthatch crate shares.
//!
//! Nothing here does anything: no I/O, no clock, no memory of its own. A [`Key`] is a checked
//! name, a [`Ttl`] is a life span as the protocol writes it, [`arith`] holds the rules of
//! `incr` and `decr`, [`limits`] the numbers that more than one crate must agree on, and
//! [`ClusterConfig`] the membership list that auto-discovery passes around.
//!
//! The rules come from memcached 1.6.45; each item says which behaviour it follows.
//!
//! ```
//! use nuthatch_types::{Key, Ttl};
//!
//! let key = Key::new(b"user:42")?;
//! assert_eq!(key.as_bytes(), b"user:42");
//! assert_eq!(Ttl::from_exptime(-1), Ttl::PAST);
//! # Ok::<(), nuthatch_types::KeyError>(())
//! ```

#![forbid(unsafe_code)]

pub mod arith;
mod key;
pub mod limits;
mod node;
mod ttl;
mod value;

// The public interface.
pub use key::{Key, KeyBuf, KeyError};
pub use node::{ClusterConfig, Node, NodeError};
pub use ttl::{Clock, Ttl};
pub use value::{Arith, ArithError, Cas, Deleted, ItemFlags, StoreMode, Stored};
