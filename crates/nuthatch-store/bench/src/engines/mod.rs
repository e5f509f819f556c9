//! The engines by name.

mod floors;
mod ours;
mod peers;

use crate::Result;
use crate::engine::{Capacity, Made};

use ours::Ours;
pub(crate) use ours::{Driver, exact_items};

/// The profiles of the store of this repository.
pub(crate) const OURS: &str = "nuthatch-lean,nuthatch-compat";

/// Every engine that is compared, without the floors' harness-only `null`.
pub(crate) const ALL: &str = "nuthatch-lean,nuthatch-lean-huge,nuthatch-compat,quick_cache,moka,foyer-s3fifo,segcache-merge,dashmap,hashbrown";

/// Whether an engine is bounded by the memory it really takes, not by what it is told items weigh.
pub(crate) fn counts_memory(name: &str) -> bool {
    name.starts_with("nuthatch-") || name.starts_with("segcache-") || name == "memcached"
}

/// Whether an engine never evicts.
pub(crate) fn is_unbounded(name: &str) -> bool {
    matches!(name, "null" | "hashbrown" | "dashmap")
}

/// Bytes that an engine takes for an item besides key and value, as `mem` measures them; charged
/// where engines are compared at equal memory and count only what they are told.
pub(crate) fn overhead(name: &str) -> u64 {
    match name {
        "moka" => 369,
        "quick_cache" => 107,
        "foyer-s3fifo" => 179,
        _ => 0,
    }
}

/// Makes an engine; `driver` says who does the maintenance of ours.
pub(crate) fn make(name: &str, capacity: &Capacity, driver: Driver) -> Result<Made> {
    if let Some(made) = floors::make(name) {
        return Ok(made);
    }
    if let Some(engine) = peers::make(name, capacity)? {
        return Ok(Made::Shared(engine));
    }
    Ok(Made::Shared(Box::new(Ours::new(name, capacity, driver)?)))
}
