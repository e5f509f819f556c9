//! Statistics: what the store holds and what has happened, read without stopping anybody.

use std::sync::atomic::Ordering::Relaxed;

use super::{Store, closures};
use crate::counters::{ClassCounters, StoreCounters};
use crate::item::Queue;
use crate::lru::SegmentStats;

/// The whole store's figures.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Counters of commands and their outcomes.
    pub counters: StoreCounters,
    /// Items in the cache, dead ones not yet removed included.
    pub curr_items: u64,
    /// Their sizes, headers and keys included, before rounding up to chunks.
    pub bytes: u64,
    /// Slab pages that have memory: those of classes and those of the pool.
    pub pages: u64,
    /// Bytes a slab page.
    pub page_bytes: u64,
    /// Bytes of the limit that the store was told are taken elsewhere.
    pub memory_in_use: u64,
    /// Pages in the pool, which any class can have.
    pub slab_global_page_pool: u64,
    /// Items copied out of pages that were moved.
    pub slab_reassign_rescues: u64,
    /// Chunks of long values copied out of pages that were moved.
    pub slab_reassign_chunk_rescues: u64,
    /// Live items evicted from pages that were moved, since there was no chunk to copy them into.
    pub slab_reassign_evictions_nomem: u64,
    /// Dead items removed from pages that were moved.
    pub slab_reassign_inline_reclaim: u64,
    /// Times that a chunk of a page to be moved was found in use.
    pub slab_reassign_busy_items: u64,
    /// Long values in use that were removed, since their page could not be moved otherwise.
    pub slab_reassign_busy_deletes: u64,
    /// Times that there was no chunk to copy an item into.
    pub slab_reassign_busy_nomem: u64,
    /// What the page mover found at the last chunk it looked at, in memcached's words.
    pub slab_reassign_last_busy_status: &'static str,
    /// Whether a page is being moved.
    pub slab_reassign_running: bool,
    /// Pages moved.
    pub slabs_moved: u64,
    /// Memory of the index, in bytes.
    pub index_bytes: u64,
    /// Whether the LRU crawler is under way.
    pub lru_crawler_running: bool,
    /// Items the index can hold before it grows.
    pub index_capacity: u64,
    /// Memory of the ghosts that S3-FIFO remembers what it evicted by, in bytes; 0 in the compat
    /// profile.
    pub ghost_bytes: u64,
    /// Memory of the rings that say which items expire when, in bytes; 0 without them.
    pub ring_bytes: u64,
    /// Sums over all classes of what [`ClassStats`] tells apart.
    pub totals: ClassStats,
}

/// One slab class's figures; the names are those of `stats items` and `stats slabs`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClassStats {
    /// The class's number; 0 in totals.
    pub class: u8,
    /// Bytes a chunk.
    pub chunk_size: u64,
    /// Chunks a page.
    pub chunks_per_page: u64,
    /// Pages the class owns.
    pub total_pages: u64,
    /// Chunks those pages make.
    pub total_chunks: u64,
    /// Chunks not in use.
    pub free_chunks: u64,
    /// Counters of commands that met an item of this class.
    pub counters: ClassCounters,
    /// Items linked.
    pub number: u64,
    /// Items by queue: HOT, WARM, COLD, TEMP.
    pub queues: [QueueStats; 4],
    /// Sum of the items' sizes before rounding up.
    pub mem_requested: u64,
    /// Items evicted.
    pub evicted: u64,
    /// Evicted items that had an expiry time.
    pub evicted_nonzero: u64,
    /// Seconds since the item evicted last had been used.
    pub evicted_time: u64,
    /// Evicted items never read.
    pub evicted_unfetched: u64,
    /// Evicted items that were active.
    pub evicted_active: u64,
    /// Times that no memory could be had.
    pub outofmemory: u64,
    /// Dead items taken away at a tail.
    pub reclaimed: u64,
    /// Of these and of `crawler_reclaimed`, items never read.
    pub expired_unfetched: u64,
    /// Dead items that the crawler took away.
    pub crawler_reclaimed: u64,
    /// Items that the crawler looked at.
    pub crawler_items_checked: u64,
    /// Items in use found at a tail.
    pub lrutail_reflocked: u64,
    /// Items moved to COLD.
    pub moves_to_cold: u64,
    /// Items moved to WARM.
    pub moves_to_warm: u64,
    /// Active items kept in WARM.
    pub moves_within_lru: u64,
    /// Rounds that stores had to spend making room.
    pub direct_reclaims: u64,
    /// Items stored again soon after they were evicted unread (lean profile).
    pub ghost_hits: u64,
}

/// One LRU queue's figures.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Items in it.
    pub number: u64,
    /// Seconds since the item at its tail was used; 0 if there is none.
    pub age: u64,
}

impl ClassStats {
    /// Reads that found an item of this class.
    pub fn get_hits(&self) -> u64 {
        let hits = &self.counters;
        hits.hits_to_hot + hits.hits_to_warm + hits.hits_to_cold + hits.hits_to_temp
    }

    fn add(&mut self, other: &Self) {
        macro_rules! sum {
            ($($field:ident$(.$inner:ident)?)*) => {
                $(self.$field$(.$inner)? += other.$field$(.$inner)?;)*
            };
        }
        sum!(total_pages total_chunks free_chunks number mem_requested evicted evicted_nonzero
            evicted_unfetched evicted_active outofmemory reclaimed expired_unfetched
            lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru direct_reclaims
            crawler_reclaimed crawler_items_checked ghost_hits);
        sum!(counters.hits_to_hot counters.hits_to_warm counters.hits_to_cold
            counters.hits_to_temp counters.cmd_set counters.touch_hits counters.delete_hits
            counters.incr_hits counters.decr_hits counters.cas_hits counters.cas_badval);
        for (sum, queue) in self.queues.iter_mut().zip(other.queues) {
            sum.number += queue.number;
        }
    }
}

impl Store {
    /// The whole store's figures. Each is true for some moment during the call; together they are
    /// not one moment's.
    pub fn stats(&self) -> StoreStats {
        let inner = &*self.inner;
        let mut totals = ClassStats::default();
        self.class_stats().iter().for_each(|class| totals.add(class));
        let (index_capacity, index_bytes) = inner.index.size();
        let (pool, mover) = (inner.slabs.pool(), &inner.mover.stats);
        StoreStats {
            counters: inner.counters.store_counters(),
            curr_items: totals.number,
            bytes: totals.mem_requested,
            pages: pool.n_held as u64,
            page_bytes: inner.items.arena().page_bytes() as u64,
            memory_in_use: inner.config.memory_in_use as u64,
            slab_global_page_pool: pool.n_free as u64,
            slab_reassign_rescues: mover.rescues.load(Relaxed),
            slab_reassign_chunk_rescues: mover.chunk_rescues.load(Relaxed),
            slab_reassign_evictions_nomem: mover.evictions_nomem.load(Relaxed),
            slab_reassign_inline_reclaim: mover.inline_reclaim.load(Relaxed),
            slab_reassign_busy_items: mover.busy_items.load(Relaxed),
            slab_reassign_busy_deletes: mover.busy_deletes.load(Relaxed),
            slab_reassign_busy_nomem: mover.busy_nomem.load(Relaxed),
            slab_reassign_last_busy_status: mover.last_status(),
            slab_reassign_running: mover.is_running.load(Relaxed),
            slabs_moved: mover.slabs_moved.load(Relaxed),
            index_bytes: index_bytes as u64,
            index_capacity: index_capacity as u64,
            lru_crawler_running: self.is_crawling(),
            ring_bytes: inner.rings.as_ref().map_or(0, |rings| rings.bytes() as u64),
            ghost_bytes: inner.ghosts.bytes() as u64,
            totals,
        }
    }

    /// The figures of every class that exists, in order.
    pub fn class_stats(&self) -> Vec<ClassStats> {
        let inner = &*self.inner;
        closures::assert_outside(&inner.index);
        let now = inner.clock.now();
        let classes = inner.slabs.ladder().iter();
        classes
            .map(|class| {
                let usage = inner.slabs.usage(class);
                let mut stats = ClassStats {
                    class: class.number(),
                    chunk_size: usage.chunk_bytes as u64,
                    chunks_per_page: usage.chunks_per_page as u64,
                    total_pages: usage.n_pages as u64,
                    total_chunks: usage.n_chunks() as u64,
                    free_chunks: usage.n_free as u64,
                    counters: inner.counters.class_counters(class.idx()),
                    ..ClassStats::default()
                };
                for queue in Queue::ALL {
                    let segment = inner.lru.lock(class, queue);
                    let age = |id| u64::from(now.saturating_sub(inner.items.time(id)));
                    stats.queues[queue as usize] = QueueStats {
                        number: segment.n_items as u64,
                        age: segment.tail.map_or(0, age),
                    };
                    stats.number += segment.n_items as u64;
                    stats.mem_requested += segment.bytes as u64;
                    let SegmentStats {
                        evicted,
                        evicted_nonzero,
                        evicted_unfetched,
                        evicted_active,
                        outofmemory,
                        reclaimed,
                        expired_unfetched,
                        lrutail_reflocked,
                        moves_to_cold,
                        moves_to_warm,
                        moves_within_lru,
                        direct_reclaims,
                        crawler_reclaimed,
                        crawler_items_checked,
                        ghost_hits,
                        evicted_time,
                    } = segment.stats;
                    // memcached's queues evict from COLD alone.
                    stats.evicted_time = stats.evicted_time.max(u64::from(evicted_time));
                    stats.ghost_hits += ghost_hits;
                    stats.evicted += evicted;
                    stats.evicted_nonzero += evicted_nonzero;
                    stats.evicted_unfetched += evicted_unfetched;
                    stats.evicted_active += evicted_active;
                    stats.outofmemory += outofmemory;
                    stats.reclaimed += reclaimed;
                    stats.expired_unfetched += expired_unfetched;
                    stats.lrutail_reflocked += lrutail_reflocked;
                    stats.moves_to_cold += moves_to_cold;
                    stats.moves_to_warm += moves_to_warm;
                    stats.moves_within_lru += moves_within_lru;
                    stats.direct_reclaims += direct_reclaims;
                    stats.crawler_reclaimed += crawler_reclaimed;
                    stats.crawler_items_checked += crawler_items_checked;
                }
                stats
            })
            .collect()
    }

    /// Sets the counters to 0; what the store holds stays as it is (`stats reset`).
    pub fn reset_stats(&self) {
        let inner = &*self.inner;
        closures::assert_outside(&inner.index);
        inner.counters.reset();
        inner.mover.stats.reset();
        for class in inner.slabs.ladder().iter() {
            for queue in Queue::ALL {
                inner.lru.lock(class, queue).stats = SegmentStats::default();
            }
        }
    }

    /// The reading of the clock up to which items are flushed; 0 if they never were
    /// (`stats settings` calls it `oldest`).
    pub fn flushed_until(&self) -> u32 {
        self.inner.flushed_until()
    }
}
