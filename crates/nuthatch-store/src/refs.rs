//! The state word of an item: a reference count and flags in one atomic.
//!
//! ```text
//!  bit 31                16 15                    0
//!     | flags               | references           |
//! ```
//!
//! The index holds one reference to a linked item, each pin one more. References are only added
//! under the shard lock (to a linked item, whose count is therefore at least 1), but dropped
//! anywhere. Whoever drops the last one owns the chunk and gives it back.
//!
//! Flags change under the shard lock, by `fetch_or`/`fetch_and`, so that a pin dropped at the same
//! moment is never lost.
//!
//! The functions are generic over the atomic, so that `cargo xtask loom` checks these very lines.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed};

/// The bits that count references.
pub(crate) const REFS_MASK: u32 = 0xffff;

/// At so many references an item counts as too much in use to be read again: 60,000, as in
/// memcached, which leaves room for those that no limit is asked for (eviction, the maintainer).
pub(crate) const REFS_MAX: u32 = 60_000;

/// An atomic 32-bit word.
pub(crate) trait Word {
    fn load(&self, order: Ordering) -> u32;
    fn fetch_add(&self, n: u32, order: Ordering) -> u32;
    fn fetch_sub(&self, n: u32, order: Ordering) -> u32;
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            fn load(&self, order: Ordering) -> u32 {
                <$type>::load(self, order)
            }
            fn fetch_add(&self, n: u32, order: Ordering) -> u32 {
                <$type>::fetch_add(self, n, order)
            }
            fn fetch_sub(&self, n: u32, order: Ordering) -> u32 {
                <$type>::fetch_sub(self, n, order)
            }
        }
    };
}

word!(AtomicU32);
#[cfg(loom)]
word!(loom::sync::atomic::AtomicU32);

/// Adds a reference to a linked item; the caller holds its shard lock. Fails at [`REFS_MAX`].
pub(crate) fn retain(state: &impl Word) -> bool {
    let refs = state.load(Relaxed) & REFS_MASK;
    debug_assert!(refs > 0, "a linked item has the index's reference");
    if refs >= REFS_MAX {
        return false;
    }
    // Nobody else adds at the same time (the shard lock), so the count cannot pass the limit.
    state.fetch_add(1, Relaxed);
    true
}

/// Drops a reference; says whether it was the last one, in which case the caller owns the chunk.
#[must_use = "the last one to leave frees the chunk"]
pub(crate) fn release(state: &impl Word) -> bool {
    // Release: what this holder did with the bytes happens before the chunk is used again.
    // Acquire (for the last one): what every other holder did has happened.
    let before = state.fetch_sub(1, AcqRel);
    debug_assert!(before & REFS_MASK > 0, "a reference is dropped once");
    before & REFS_MASK == 1
}

/// Whether the index holds the only reference; the caller holds the shard lock, so that this
/// stays true until it lets go.
pub(crate) fn is_unshared(state: &impl Word) -> bool {
    // Acquire: pairs with `release`, so that the reads of a pin just dropped are over.
    state.load(Acquire) & REFS_MASK == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_to_leave_is_told() {
        let state = AtomicU32::new(1 << 20 | 1);
        assert!(is_unshared(&state));
        assert!(retain(&state));
        assert!(!is_unshared(&state));
        assert!(!release(&state));
        assert!(release(&state));
        assert_eq!(state.into_inner(), 1 << 20, "flags are not touched");
    }

    #[test]
    fn the_count_stops_at_its_limit() {
        let state = AtomicU32::new(REFS_MAX);
        assert!(!retain(&state));
        assert_eq!(state.into_inner(), REFS_MAX);
    }
}
