#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod arena;
#[cfg(any(all(test, not(loom)), fuzzing))]
mod audit;
mod automove;
mod clock;
mod config;
mod counters;
mod error;
mod index;
mod item;
mod lru;
mod maintain;
mod mover;
mod refs;
mod store;
#[cfg(all(test, not(loom)))]
mod tests;

// The public interface.
pub use clock::SystemClock;
pub use config::{Automove, Builder, Config};
pub use counters::{ClassCounters, StoreCounters};
pub use error::{ConfigError, StoreError};
pub use item::{ItemView, Pieces};
pub use maintain::{Maintenance, MaintenanceThread};
pub use mover::ReassignError;
pub use nuthatch_types as types;
pub use store::{
    Cause, ClassStats, Commit, Committed, Counted, Entry, Item, ItemGuard, Leaving, MetaArith,
    MetaDelete, MetaGet, MetaHit, MetaNumber, NewItem, QueueStats, Reservation, Set, Store,
    StoreStats, Update, Updated,
};
