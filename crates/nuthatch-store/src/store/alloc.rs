//! Where chunks come from and go to: allocation under pressure, linking, and freeing.

use nuthatch_types::Cas;

use super::pull::Pull;
use super::{Cause, Inner, closures};
use crate::StoreError;
use crate::arena::{ClassId, ItemId};
use crate::counters::Counter;
use crate::index::{Hash, ShardGuard};
use crate::item::{CHAIN_HEADER_BYTES, CHAINED, LINKED, Queue, Sole};

/// How often a store tries to make room before it gives up, as in memcached.
const ALLOC_TRIES: u64 = 10;

/// How many items are moved at the most to find one that may go.
const FEED_MOVES_MAX: usize = 100;

/// What locks the one who asks for memory holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Caller {
    /// None.
    Free,
    /// One shard: its items cannot be evicted for it, nor pages emptied in which they lie.
    HoldsShard,
}

/// A written item that is not linked yet; freed when dropped.
pub(super) struct Draft<'a> {
    store: &'a Inner,
    id: ItemId,
}

impl<'a> Draft<'a> {
    pub(super) fn new(store: &'a Inner, id: ItemId) -> Self {
        Self { store, id }
    }

    pub(super) fn into_id(self) -> ItemId {
        let id = self.id;
        std::mem::forget(self);
        id
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.store.drop_ref(self.id);
    }
}

impl Inner {
    /// Takes a chunk of a class, evicting if need be.
    pub(crate) fn alloc(&self, class: ClassId, caller: Caller) -> Result<ItemId, StoreError> {
        self.find_chunk(class, caller).ok_or_else(|| {
            let stats = &mut self.lru.lock(class, Queue::Cold).stats;
            stats.direct_reclaims += ALLOC_TRIES;
            stats.outofmemory += 1;
            StoreError::NoMemory { class: class.number() }
        })
    }

    fn find_chunk(&self, class: ClassId, caller: Caller) -> Option<ItemId> {
        if caller == Caller::Free {
            closures::assert_outside(&self.index);
        }
        for round in 0..=ALLOC_TRIES {
            if round == ALLOC_TRIES && (caller == Caller::HoldsShard || !self.make_room(class)) {
                break;
            }
            if !self.settings.segmented() {
                // A flat LRU has no maintainer to take away what has expired.
                self.pull_tail(class, Queue::Cold, Pull::DRAIN);
            }
            if let Some(id) = self.slabs.take(self.items.arena(), class) {
                if round > 0 {
                    self.lru.lock(class, Queue::Cold).stats.direct_reclaims += round;
                }
                return Some(id);
            }
            // A page in which nothing is stored, wherever it is, goes before an item.
            if self.take_free_page(class) {
                continue;
            }
            self.give_up_one(class);
        }
        None
    }

    /// Throws out one item of a class, the one it would give up next for a new one; or brings one
    /// nearer to that.
    pub(crate) fn give_up_one(&self, class: ClassId) {
        if self.is_s3fifo() {
            self.evict_s3fifo(class);
        } else if self.pull_tail(class, Queue::Cold, Pull::EVICT) == 0 {
            self.feed_cold(class);
        }
    }

    /// COLD is empty: push HOT down, and WARM where HOT is empty too, until something has arrived.
    /// memcached moves one item a try and leaves WARM to its maintainer, and so may find no memory
    /// in a class that is all active. A flat LRU has only what was there when it was made flat.
    fn feed_cold(&self, class: ClassId) {
        for _ in 0..FEED_MOVES_MAX {
            // TEMP gives nothing but where it has been switched off.
            let queues = [Queue::Hot, Queue::Warm, Queue::Temp];
            if !queues.iter().any(|&queue| self.pull_tail(class, queue, Pull::DRAIN) > 0) {
                break;
            }
            if self.lru.lock(class, Queue::Cold).tail.is_some() {
                break;
            }
        }
    }

    /// Drops a reference; the last one frees the item.
    pub(crate) fn drop_ref(&self, id: ItemId) {
        let head = self.items.head(id);
        if head.release() {
            let state = head.state();
            debug_assert!(state & LINKED == 0, "the index holds a reference");
            self.free(id, state);
        }
    }

    /// Gives the chunks of an item of this state back; the caller dropped its last reference.
    fn free(&self, id: ItemId, state: u32) {
        if state & CHAINED != 0 {
            let owner = Sole;
            let mut next = self.items.view(id, &owner).chain_info().1;
            while let Some(chunk) = next {
                next = self.items.chain_next(chunk);
                self.slabs.give(self.items.arena(), chunk);
            }
        }
        self.slabs.give(self.items.arena(), id);
    }

    /// Takes a chunk for the next link in the chain of `head`, of which `left` bytes are still to
    /// come: the last link is as small as it can be.
    pub(crate) fn alloc_chain_chunk(
        &self,
        head: ItemId,
        left: usize,
        caller: Caller,
    ) -> Result<(ItemId, usize), StoreError> {
        let class = self.slabs.ladder().last().number();
        let no_rest = |_| StoreError::NoMemoryForRest { class };
        let ladder = self.slabs.ladder();
        let last = ladder.last();
        let fitting = ladder.class_for(left + CHAIN_HEADER_BYTES).unwrap_or(last);
        // Classes in between may hold only such ends and have nothing to evict. No page is taken
        // from another class for them: a whole chunk does as well.
        let is_end = fitting != last;
        let end = is_end.then(|| self.find_chunk(fitting, Caller::HoldsShard)).flatten();
        let (id, class) = match end {
            Some(id) => (id, fitting),
            None => (self.alloc(last, caller).map_err(no_rest)?, last),
        };
        self.items.write_new_chain(id, head, &Sole);
        Ok((id, ladder.chunk_bytes(class) - CHAIN_HEADER_BYTES))
    }

    /// Links a new item whose key is not in the index; false (and the item freed) when the index
    /// has no memory to grow.
    #[must_use = "the item is gone if there was no memory"]
    pub(crate) fn link(
        &self,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        id: ItemId,
        cas: Cas,
        stamp: u32,
    ) -> bool {
        if !shard.insert(&self.items, hash, id) {
            self.drop_ref(id);
            return false;
        }
        let mut queue = self.first_queue(self.items.expiry(id));
        if queue == Queue::Hot && self.is_s3fifo() {
            queue = self.first_queue_s3fifo(id, hash);
        }
        self.link_in_lru(id, queue, cas, stamp);
        true
    }

    /// Puts a new item in the place of an old one of the same key.
    pub(crate) fn relink(
        &self,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        old: ItemId,
        new: ItemId,
        cas: Cas,
        stamp: u32,
    ) {
        // Frees the new item should the listener panic.
        let new = Draft::new(self, new);
        self.tell(shard, old, Cause::Replaced);
        let new = new.into_id();
        shard.replace(hash, old, new);
        let queue = self.next_queue(old, self.items.expiry(new));
        self.unlink_from_lru(old);
        self.link_in_lru(new, queue, cas, stamp);
    }

    fn link_in_lru(&self, id: ItemId, queue: Queue, cas: Cas, stamp: u32) {
        let items = &self.items;
        let head = items.head(id);
        items.set_cas(id, cas);
        head.begin(queue, stamp);
        let bytes = items.total_bytes_in(id, head);
        let class = self.lru_class_in(id, head.state());
        self.lru.lock(class, queue).push_head(items, id, bytes);
        self.count_in(bytes);
        self.note_deadline(id);
        self.counters.add(Counter::TotalItems);
    }

    /// The queue a new item begins in.
    fn first_queue(&self, expiry: u32) -> Queue {
        let short = |ttl: u32| expiry != 0 && expiry.saturating_sub(self.clock.now()) <= ttl;
        if self.settings.temporary_ttl().is_some_and(short) {
            Queue::Temp
        } else if self.settings.segmented() {
            Queue::Hot
        } else {
            Queue::Cold
        }
    }

    /// The queue that an item begins in which takes another's place.
    pub(crate) fn next_queue(&self, old: ItemId, expiry: u32) -> Queue {
        match self.first_queue(expiry) {
            Queue::Hot if self.is_s3fifo() => self.next_queue_s3fifo(old),
            queue => queue,
        }
    }
}
