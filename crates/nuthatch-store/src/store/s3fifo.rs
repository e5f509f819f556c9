//! S3-FIFO: whom the lean profile evicts (Yang et al., "FIFO queues are all you need for cache
//! eviction", SOSP 2023), in memcached's frame of queues.
//!
//! ```text
//!            stored             not read         forgotten
//!  ─────────► HOT ───────────────────► ghosts ──────────►
//!              │ read                    │ stored again
//!              ▼                         ▼
//!             WARM ◄─────────────────────┘
//!             │  ▲ read: another round
//!             ▼  └──┘
//!          evicted
//! ```
//!
//! HOT is a FIFO for a tenth of the class's bytes: most of what is stored is never read again and
//! passes through there. What was read goes to WARM when it reaches HOT's end; so does, at once,
//! what is stored again while its ghost is remembered. WARM is a FIFO too: what was read goes
//! round again, once for each read (up to three), and what was not is evicted. COLD is not used.
//!
//! A hit adds to a counter of two bits in the item and nothing when that is full; no item moves
//! but at the end of a queue, when somebody needs memory.
//!
//! Two rules are ours. One read is enough to leave HOT, where the paper asks for two: in
//! simulation that makes 0.970 times memcached's misses, where two reads make 0.975 (means of
//! 16 points, without arc_p3). And a value that takes another's place goes to WARM if the old one had
//! been read, else through HOT again: otherwise what is written often and read never would stay
//! for good.
//!
//! FIFOs could do without links: a queue of ids beside the items, or sweeps in the order of
//! addresses. The links stay, for three reasons. A queue of ids takes 4 to 5 bytes an item, and
//! more for the stale ones that everything deleted or replaced leaves in it, so that little is
//! won. Sweeps by address forget who came first, which costs hits. And with the links an item's
//! overhead is 45 to 46 bytes (values up to 100 bytes; README, "Measured"), which is what the lean profile was to reach; the page mover, the
//! crawler and dumps walk the same lists in both profiles.

use super::Inner;
use crate::Profile;
use crate::arena::{ClassId, ItemId};
use crate::index::Hash;
use crate::item::{FETCHED, FREQUENCY_MASK, Queue};

use super::pull::{Pull, TAIL_TRIES};

/// How many items one call sends another round or on to WARM before it evicts whatever is at the
/// end; bounds the time that a store waits for.
const ROUNDS_MAX: usize = 256;

/// What became of the item at the end of a queue.
enum End {
    /// It is gone: evicted, or it was dead.
    Removed,
    /// It was read and has moved on.
    Kept,
    /// There is none, or none whose shard is free.
    None,
}

impl Inner {
    /// Whether the queues are S3-FIFO's.
    pub(crate) fn is_s3fifo(&self) -> bool {
        self.config.profile == Profile::Lean && self.settings.segmented()
    }

    /// Removes an item of a class, one that is dead or the one least worth keeping; says how many.
    /// The caller may hold one shard lock, whose items are passed over, but no other lock.
    pub(crate) fn evict_s3fifo(&self, class: ClassId) -> usize {
        if !self.config.evictions {
            return self.reclaim_s3fifo(class);
        }
        if self.ghosts.is_count_due() {
            self.count_main();
        }
        let mut rounds = 0;
        loop {
            let is_last = rounds >= ROUNDS_MAX;
            let end = if self.is_hot_full(class) {
                match self.end_of_hot(class, is_last) {
                    End::None => self.end_of_warm(class, &mut rounds),
                    end => end,
                }
            } else {
                match self.end_of_warm(class, &mut rounds) {
                    End::None => self.end_of_hot(class, is_last),
                    end => end,
                }
            };
            match end {
                End::Removed => return 1,
                End::Kept => rounds += 1,
                // What stood in a flat LRU before it was divided.
                End::None => return self.pull_tail(class, Queue::Cold, Pull::EVICT),
            }
        }
    }

    /// Takes dead items from the ends of a class's queues, and living ones out of COLD; says how
    /// many.
    pub(crate) fn reclaim_s3fifo(&self, class: ClassId) -> usize {
        let reclaim = |queue| self.pull_tail(class, queue, Pull::DRAIN);
        reclaim(Queue::Hot) + reclaim(Queue::Warm) + reclaim(Queue::Cold)
    }

    /// Where an item begins that takes no other's place: in WARM if it left HOT not long ago.
    pub(crate) fn first_queue_s3fifo(&self, id: ItemId, hash: Hash) -> Queue {
        if !self.ghosts.take(hash) {
            return Queue::Hot;
        }
        self.lru.lock(self.lru_class(id), Queue::Warm).stats.ghost_hits += 1;
        Queue::Warm
    }

    fn is_hot_full(&self, class: ClassId) -> bool {
        let warm_bytes = self.lru.lock(class, Queue::Warm).bytes;
        let hot_bytes = self.lru.lock(class, Queue::Hot).bytes;
        hot_bytes * 100 > (hot_bytes + warm_bytes) * usize::from(self.settings.hot_pct())
    }

    /// The ghosts are as many as the main queues' items, all classes together.
    fn count_main(&self) {
        let n_in = |class| self.lru.lock(class, Queue::Warm).n_items;
        self.ghosts.set_main(self.slabs.ladder().iter().map(n_in).sum());
    }

    /// Deals with the item at the end of HOT; `evict` whether it was read or not.
    fn end_of_hot(&self, class: ClassId, evict: bool) -> End {
        let items = &self.items;
        let mut segment = self.lru.lock(class, Queue::Hot);
        let mut next = segment.tail;
        for _ in 0..TAIL_TRIES {
            let Some(id) = next else { break };
            next = items.prev(id);
            let Some((hash, mut shard)) = self.try_lock_item(id, &segment) else { continue };
            if self.is_dead(items.head(id)) {
                self.reclaim(&mut segment, &mut shard, hash, id);
                return End::Removed;
            }
            if items.state(id) & FREQUENCY_MASK == 0 || evict {
                self.ghosts.add(hash);
                self.evict(&mut segment, &mut shard, hash, id);
                return End::Removed;
            }
            items.clear_state(id, FREQUENCY_MASK);
            self.carry(segment, &shard, id, Queue::Warm);
            return End::Kept;
        }
        End::None
    }

    /// Goes on from the end of WARM until an item is removed; counts those kept in `rounds`.
    fn end_of_warm(&self, class: ClassId, rounds: &mut usize) -> End {
        let items = &self.items;
        let mut segment = self.lru.lock(class, Queue::Warm);
        let mut next = segment.tail;
        let mut tries = 0;
        while tries < TAIL_TRIES {
            let Some(id) = next else { break };
            let is_dead = self.is_dead(items.head(id));
            // Another round needs the lock of the list alone: the item stays in it. Only the
            // holder of that lock counts down, so what is above 0 here stays above it.
            if !is_dead && items.state(id) & FREQUENCY_MASK != 0 && *rounds < ROUNDS_MAX {
                let bytes = items.total_bytes_of(id);
                next = items.prev(id).or(Some(id));
                items.uncount_read(id);
                segment.unlink(items, id, bytes);
                segment.push_head(items, id, bytes);
                segment.stats.moves_within_lru += 1;
                *rounds += 1;
                continue;
            }
            next = items.prev(id);
            tries += 1;
            let Some((hash, mut shard)) = self.try_lock_item(id, &segment) else { continue };
            if is_dead && !self.is_dead(items.head(id)) {
                // It was given a new life span in between.
                continue;
            }
            if is_dead {
                self.reclaim(&mut segment, &mut shard, hash, id);
            } else {
                self.evict(&mut segment, &mut shard, hash, id);
            }
            return End::Removed;
        }
        End::None
    }

    /// The queue, HOT or WARM, for a value that takes another's place.
    pub(crate) fn next_queue_s3fifo(&self, old: ItemId) -> Queue {
        if self.items.state(old) & FETCHED != 0 { Queue::Warm } else { Queue::Hot }
    }
}
