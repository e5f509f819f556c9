//! Fetching memory into the cache ahead of its use.
//!
//! A hint and nothing else: it reads nothing, faults nowhere, and an address that is out of date
//! costs a line of cache. It pays where several addresses are known before the first one is
//! needed, so that their latencies pass at the same time.

use super::{Arena, ItemId};

/// What a cache line holds, in bytes, on the machines we care for.
const LINE_BYTES: usize = 64;

impl Arena {
    /// Fetches the first `n_lines` cache lines of a chunk.
    #[inline]
    pub(crate) fn prefetch(&self, id: ItemId, n_lines: usize) {
        let start = self.base.as_ptr().addr() + self.offset(id);
        for line in 0..n_lines {
            prefetch(start + line * LINE_BYTES);
        }
    }
}

/// Fetches the cache line of an address, which need not be one of anything.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an instruction that takes an address")]
#[inline]
pub(crate) fn prefetch(address: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: needs none of the invariants: the instruction makes no access that the language
    // knows of and faults at no address; every x86-64 has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address)) };
}

/// Does nothing on machines whose instruction for it stable Rust does not offer.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(crate) fn prefetch(_address: usize) {}
