//! Whether a long value can have its memory at all, asked before anything is evicted for it.
//!
//! A chain takes its chunks as the value arrives, evicting for each one. A value for which there
//! would never be enough would throw out everything there is, and then fail. What pages the largest
//! class could come to have is known beforehand: its own, those that nobody has, and all that other
//! classes have beside their last. What nobody can know is whether somebody will let go of what he
//! has pinned; such a value is begun, and may fail.

use super::Inner;
use super::alloc::Caller;
use crate::arena::ClassId;
use crate::item::CHAIN_HEADER_BYTES;
use crate::{Profile, StoreError};

impl Inner {
    /// Refuses a value in a chain that the store could not hold whatever it evicts. `head` is the
    /// class of the chain's head; `n_busy` chunks of the largest class stay with the caller.
    pub(super) fn check_chain(
        &self,
        len: usize,
        head: ClassId,
        caller: Caller,
        n_busy: usize,
    ) -> Result<(), StoreError> {
        let ladder = self.slabs.ladder();
        let last = ladder.last();
        let (n_links, end) = self.n_links(len);
        let n_pages = (n_links + n_busy).div_ceil(ladder.chunks_per_page(last));
        let usage = self.slabs.usage(last);
        if n_pages <= usage.n_pages.max(1) {
            return Ok(());
        }
        let pool = self.slabs.pool();
        let mut within_reach = usage.n_pages;
        if !pool.is_over() {
            within_reach += pool.n_free + pool.n_held_max.saturating_sub(pool.n_held);
        }
        if self.config.slab_reassign {
            let may_empty = caller == Caller::Free && self.config.evictions;
            within_reach += match may_empty {
                true => self.slabs.n_pages_spare(last),
                false => self.slabs.n_pages_free(),
            };
        }
        if self.config.profile == Profile::Lean {
            // Its limit is to hold: what goes beyond is emptied again.
            let is_new = |class: ClassId| usize::from(self.slabs.usage(class).n_pages == 0);
            within_reach = within_reach.saturating_sub(is_new(head) + end.map_or(0, is_new));
        }
        let class = last.number();
        if n_pages <= within_reach { Ok(()) } else { Err(StoreError::NoMemory { class }) }
    }

    /// How many chunks of the largest class a value takes in a chain, and the class of the smaller
    /// one at its end.
    pub(super) fn n_links(&self, len: usize) -> (usize, Option<ClassId>) {
        let ladder = self.slabs.ladder();
        let last = ladder.last();
        let link_bytes = ladder.chunk_bytes(last) - CHAIN_HEADER_BYTES;
        match len % link_bytes {
            0 => (len / link_bytes, None),
            rest => match ladder.class_for(rest + CHAIN_HEADER_BYTES) {
                Some(end) if end != last => (len / link_bytes, Some(end)),
                _ => (len / link_bytes + 1, None),
            },
        }
    }
}
