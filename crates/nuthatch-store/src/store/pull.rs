//! Pulling the tail of an LRU queue: reclaim what is dead, move what is active, evict what must go.
//!
//! The rules are memcached's (`lru_pull_tail`): look at up to five items from the tail, skip those
//! whose shard somebody has locked, take away dead ones on the way, and stop at the first live one
//! with whatever the queue does to it.

use super::{Cause, Inner};
use crate::arena::{ClassId, ItemId};
use crate::index::{Hash, ShardGuard};
use crate::item::{ACTIVE, FETCHED, LINKED, Queue};
use crate::lru::{SegmentGuard, SegmentStats};

/// How many items are looked at from the tail.
pub(crate) const TAIL_TRIES: usize = 5;

/// What pulling may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    /// Bytes that HOT and WARM of the class share out between them; 0 sends everything on.
    total_bytes: usize,
    /// An item idle for longer leaves HOT or WARM, in seconds.
    age_max: u32,
    /// COLD gives up its last item.
    evict: bool,
}

impl Pull {
    /// Send the last item on, whatever its age; in COLD, only take away what is dead.
    pub(crate) const DRAIN: Self = Self { total_bytes: 0, age_max: 0, evict: false };

    /// For COLD: give up the last item.
    pub(crate) const EVICT: Self = Self { evict: true, ..Self::DRAIN };

    /// For the maintainer: limits by share of the class's bytes and by age in seconds.
    pub(crate) fn within(total_bytes: usize, age_max: u32) -> Self {
        Self { total_bytes, age_max, evict: false }
    }
}

impl Inner {
    /// Pulls the tail of a queue; says how many items were removed or moved. The caller may hold
    /// one shard lock, whose items are passed over, but no other lock.
    pub(crate) fn pull_tail(&self, class: ClassId, queue: Queue, pull: Pull) -> usize {
        let items = &self.items;
        let mut moved = 0;
        let mut segment = self.lru.lock(class, queue);
        let mut next = segment.tail;
        for _ in 0..TAIL_TRIES {
            let Some(id) = next else { break };
            // The item may leave the list below.
            next = items.prev(id);
            let Some((hash, mut shard)) = self.try_lock_item(id, &segment) else { continue };
            let state = items.state(id);
            if !items.is_unshared(id) {
                // It can be unlinked all the same; its memory comes back with the last reference.
                segment.stats.lrutail_reflocked += 1;
            }
            if self.is_dead(items.head(id)) {
                self.reclaim(&mut segment, &mut shard, hash, id);
                moved += 1;
                continue;
            }
            let to = match queue {
                // S3-FIFO deals with the living itself.
                Queue::Hot | Queue::Warm if self.is_s3fifo() => None,
                Queue::Hot | Queue::Warm if state & ACTIVE != 0 => Some(Queue::Warm),
                Queue::Hot | Queue::Warm => {
                    let pct = match queue {
                        Queue::Hot => self.settings.hot_pct(),
                        _ => self.settings.warm_pct(),
                    };
                    let over = segment.bytes > pull.total_bytes * usize::from(pct) / 100;
                    let idle = self.clock.now().saturating_sub(items.time(id)) > pull.age_max;
                    (over || idle).then_some(Queue::Cold)
                }
                Queue::Cold if pull.evict => {
                    if self.config.evictions {
                        self.evict(&mut segment, &mut shard, hash, id);
                        moved += 1;
                    }
                    break;
                }
                // What a flat LRU has left behind.
                Queue::Cold if self.is_s3fifo() => Some(Queue::Warm),
                Queue::Cold if state & ACTIVE != 0 && self.settings.segmented() => {
                    Some(Queue::Warm)
                }
                // Nothing is kept from eviction once TEMP is switched off.
                Queue::Temp if self.settings.temporary_ttl().is_none() => Some(Queue::Cold),
                Queue::Cold | Queue::Temp => None,
            };
            let Some(to) = to else { break };
            moved += 1;
            items.clear_state(id, ACTIVE);
            if to == queue {
                let bytes = items.total_bytes_of(id);
                segment.unlink(items, id, bytes);
                segment.push_head(items, id, bytes);
                segment.stats.moves_within_lru += 1;
                continue;
            }
            self.carry(segment, &shard, id, to);
            return moved;
        }
        moved
    }

    /// Takes the shard of an item in a locked list if nobody has it: that is against the order of
    /// locks.
    pub(crate) fn try_lock_item(
        &self,
        id: ItemId,
        list: &SegmentGuard<'_>,
    ) -> Option<(Hash, ShardGuard<'_>)> {
        let hash = self.index.hash(self.items.key_in_list(id, list));
        Some((hash, self.index.try_lock(hash)?))
    }

    /// Moves an item, whose list and shard are locked, to the head of a queue of its class.
    pub(crate) fn carry(
        &self,
        mut from: SegmentGuard<'_>,
        _shard: &ShardGuard<'_>,
        id: ItemId,
        to: Queue,
    ) {
        let items = &self.items;
        match to {
            _ if to == items.queue(id) => {}
            Queue::Warm => from.stats.moves_to_warm += 1,
            Queue::Cold => from.stats.moves_to_cold += 1,
            Queue::Hot | Queue::Temp => {}
        }
        let bytes = items.total_bytes_of(id);
        from.unlink(items, id, bytes);
        // One LRU lock at a time. Nobody can unlink the item in between: its shard is locked.
        drop(from);
        items.set_queue(id, to);
        self.lru.lock(self.lru_class(id), to).push_head(items, id, bytes);
    }

    /// Removes a dead item from its list, which is locked, and the index.
    pub(crate) fn reclaim(
        &self,
        segment: &mut SegmentGuard<'_>,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        id: ItemId,
    ) {
        segment.stats.reclaimed += 1;
        segment.stats.expired_unfetched += u64::from(self.items.state(id) & FETCHED == 0);
        self.unlink_from(segment, shard, hash, id, self.cause_of_death(id));
    }

    /// Removes a living item from its list, which is locked, and the index.
    pub(crate) fn evict(
        &self,
        segment: &mut SegmentGuard<'_>,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        id: ItemId,
    ) {
        self.count_eviction(&mut segment.stats, id);
        self.mover.note_eviction(self.lru_class(id));
        self.unlink_from(segment, shard, hash, id, Cause::Evicted);
    }

    /// Counts an item that is about to be evicted.
    pub(crate) fn count_eviction(&self, stats: &mut SegmentStats, id: ItemId) {
        let items = &self.items;
        let state = items.state(id);
        stats.evicted += 1;
        stats.evicted_time = self.clock.now().saturating_sub(items.time(id));
        stats.evicted_nonzero += u64::from(items.expiry(id) != 0);
        stats.evicted_unfetched += u64::from(state & FETCHED == 0);
        stats.evicted_active += u64::from(state & ACTIVE != 0);
    }

    /// Takes an item out of its list, which the caller has locked, and out of the index, drops
    /// the index's reference, and tells why.
    pub(crate) fn unlink_from(
        &self,
        segment: &mut SegmentGuard<'_>,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        id: ItemId,
        cause: Cause,
    ) {
        self.tell(shard, id, cause);
        let bytes = self.items.total_bytes_of(id);
        segment.unlink(&self.items, id, bytes);
        self.count_out(bytes);
        shard.remove(hash, id);
        self.items.clear_state(id, LINKED);
        self.drop_ref(id);
    }
}
