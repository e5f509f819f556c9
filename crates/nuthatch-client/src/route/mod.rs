//! Which node of a cluster has a key.
//!
//! A [`Router`] is a rule, a [`Ring`] is the rule applied to a list of [`Node`]s. Clients agree on
//! where a key lies only if they share the rule, what the nodes are called, and for some rules the
//! order of the list:
//!
//! ```
//! use nuthatch_client::route::{Node, Router};
//!
//! let nodes = [0, 1, 2].map(|i| Node::new(format!("cache-0{i}.example.com"), 11211));
//! // As `OPT_LIBKETAMA_COMPATIBLE` does in PHP, and `ketama_weighted` in pylibmc.
//! let ring = Router::ketama_libmemcached_weighted().ring(&nodes);
//! assert_eq!(ring.pick(b"9QMDANMQ"), Some(1));
//! assert_eq!(ring.order(b"9QMDANMQ").collect::<Vec<_>>().len(), 3);
//! ```
//!
//! Every rule but our own and `gomemcache` is checked against keys that the real client, or the
//! library under it, has placed (`tests/it/vectors.rs`); which clients those are, each constructor
//! of [`Router`] says. `cargo xtask vectors` packs such recordings.
//!
//! This module opens no socket and knows no connection. What to do when the node that has a key
//! does not answer is decided above; [`Ring::order`] says who would be next.

mod hash;
mod names;
mod node;
mod order;
mod plan;
mod points;
mod ring;
mod router;
mod scores;

// The public interface.
pub use hash::{HashKind, jump_bucket};
pub use names::RouterError;
pub use node::Node;
pub use order::Order;
pub use plan::Moved;
pub use ring::Ring;
pub use router::Router;
