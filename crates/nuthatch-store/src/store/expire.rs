//! Taking expired items away when their time has come: the rings' ids, looked at one by one.
//!
//! An id in the rings is neither locked nor referred to: its item may be gone, and its page have
//! another grid of chunks. What makes looking safe is what the page mover relies on too: a page
//! changes its class under the class's lock, so what [`Slabs::state_at`] says under it is true;
//! and an item that is [`IN_LIST`] while its list is locked stays, and keeps its key.
//!
//! [`Slabs::state_at`]: crate::arena::Slabs::state_at

use super::Inner;
use crate::arena::{ClassId, ItemId};
use crate::item::{CHAINED, IN_LIST, LINKED, queue_of};
use crate::lru::SegmentGuard;
use crate::refs;
use crate::rings::Slot;

/// Lines of 15 ids looked at in one step: some 200 µs.
const LINES_PER_STEP: usize = 128;
/// So many ids are no reason to look for stale ones.
const IDS_SMALL: usize = 4096;

/// What has become of an item whose id was in the rings.
enum Fate {
    /// There is no such item any more, or it has been removed now.
    Gone,
    /// It lives, and dies at this reading of the clock; 0 is never.
    Lives(u32),
    /// Somebody is busy with it.
    Busy,
}

impl Inner {
    /// Gives an item a deadline; the caller holds its shard lock.
    pub(crate) fn set_deadline(&self, id: ItemId, expiry: u32) {
        if self.items.expiry(id) != expiry {
            self.items.set_expiry(id, expiry);
            self.note_deadline(id);
        }
    }

    /// Notes in the rings when an item dies, if it does.
    pub(crate) fn note_deadline(&self, id: ItemId) {
        let expiry = self.items.expiry(id);
        if expiry != 0
            && let Some(rings) = &self.rings
        {
            rings.add(id, expiry, self.clock.now());
        }
    }

    /// Takes away items that have fallen due, a bounded number; says whether there may be more.
    pub(crate) fn expire_due(&self) -> bool {
        let Some(rings) = &self.rings else { return false };
        let now = self.clock.now();
        for _ in 0..LINES_PER_STEP {
            let Some(ids) = rings.take_due(now) else {
                return self.sort_out_rings();
            };
            for id in ids.iter() {
                match self.expire(id) {
                    // Where the deadline was moved, it was noted again then.
                    Fate::Gone | Fate::Lives(_) => {}
                    Fate::Busy => rings.add(id, now + 1, now),
                }
            }
        }
        true
    }

    /// Goes through a bounded part of the rings if most of what is in them is stale; says whether
    /// there was reason to.
    fn sort_out_rings(&self) -> bool {
        let Some(rings) = &self.rings else { return false };
        let n_items = || self.fold_queues(|segment| segment.n_items);
        let is_much = || rings.is_nearly_full() || rings.n_ids() >= 2 * n_items();
        if rings.n_ids() < IDS_SMALL || !is_much() {
            return false;
        }
        let now = self.clock.now();
        let mut ids: Vec<(ItemId, Slot)> = Vec::new();
        for _ in 0..LINES_PER_STEP {
            let Some((line, slot)) = rings.take_old() else { break };
            ids.extend(line.iter().map(|id| (id, slot)));
        }
        // An item that is written or touched all the time is there many times over: in this slot,
        // and in those of deadlines that it no longer has.
        ids.sort_unstable_by_key(|&(id, slot)| (ItemId::to_word(Some(id)), slot));
        ids.dedup();
        for (id, slot) in ids {
            match self.expire(id) {
                Fate::Lives(expiry) if slot.is_of(expiry) => rings.add(id, expiry, now),
                Fate::Gone | Fate::Lives(_) => {}
                Fate::Busy => rings.put_back(id, slot),
            }
        }
        true
    }

    /// Removes an item that is dead.
    fn expire(&self, id: ItemId) -> Fate {
        let arena = self.items.arena();
        let Some((class, state)) = self.slabs.state_at(arena, id) else { return Fate::Gone };
        if state & LINKED == 0 {
            return Fate::Gone;
        }
        let Some(mut list) = self.list_of_stale(id, class, state) else { return Fate::Busy };
        let head = self.items.head(id);
        if !self.is_dead(head) {
            return Fate::Lives(head.expiry());
        }
        let Some((hash, mut shard)) = self.try_lock_item(id, &list) else { return Fate::Busy };
        if !self.is_dead(head) {
            // It was given a new life span in between.
            return Fate::Lives(head.expiry());
        }
        self.reclaim(&mut list, &mut shard, hash, id);
        Fate::Gone
    }

    /// Locks the list that an item was in a moment ago; `None` if it is in none or another now.
    pub(crate) fn list_of_stale(
        &self,
        id: ItemId,
        class: ClassId,
        state: u32,
    ) -> Option<SegmentGuard<'_>> {
        if state & IN_LIST == 0 {
            return None;
        }
        let list_class = if state & CHAINED != 0 { self.slabs.ladder().last() } else { class };
        let list = self.lru.lock(list_class, queue_of(state));
        // With the list locked: is it still this item's, or another's of the same list?
        let (class_now, state_now) = self.slabs.state_at(self.items.arena(), id)?;
        (class_now == class && refs::is_same_place(state, state_now)).then_some(list)
    }
}
