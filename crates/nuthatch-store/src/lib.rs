#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![cfg_attr(
    all(test, not(loom)),
    allow(clippy::duplicate_mod, reason = "some tests run once for each profile")
)]

mod arena;
#[cfg(any(all(test, not(loom)), fuzzing))]
mod audit;
mod automove;
mod checks;
mod clock;
mod config;
mod counters;
mod crawler;
mod error;
mod ghosts;
mod index;
mod item;
mod lru;
mod maintain;
mod mover;
mod refs;
mod rings;
mod settings;
mod store;
#[cfg(all(test, not(loom)))]
mod tests;

// The public interface.
pub use clock::SystemClock;
pub use config::{Automove, Builder, Config, Profile};
pub use counters::{ClassCounters, StoreCounters};
pub use crawler::{CrawlReport, CrawlTarget};
pub use error::{ConfigError, CrawlError, StoreError};
pub use item::{ItemView, Pieces};
pub use maintain::{Maintenance, MaintenanceThread};
pub use mover::ReassignError;
pub use nuthatch_types as types;
pub use settings::LruTuning;
pub use store::{
    Cause, ClassStats, Commit, Committed, Counted, Dump, DumpItem, DumpTarget, Entry, Extent,
    Fetched, Item, ItemGuard, Iter, Leaving, MetaArith, MetaDelete, MetaDeleted, MetaGet, MetaHit,
    MetaNumber, Missed, NewItem, Origin, QueueStats, Reservation, Set, Store, StoreEvent,
    StoreStats, Update, Updated,
};
