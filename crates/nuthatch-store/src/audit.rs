//! The audit: walk everything, check every invariant. For tests and fuzzing.
//!
//! It wants a store that nobody else is using at the moment.

use std::collections::{BTreeMap, HashSet};

use crate::Store;
use crate::item::{CHAINED, IN_LIST, LINKED, Queue, STATE_FREE, Sole, chain_owner};

impl Store {
    /// Every item in the index, the dead included: CAS number and value by key.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> std::collections::HashMap<Vec<u8>, (u64, Vec<u8>)> {
        let mut contents = std::collections::HashMap::new();
        for number in 0..self.inner.index.n_shards() {
            let shard = self.inner.index.lock_shard(number);
            for id in shard.iter() {
                let item = self.inner.items.view(id, &shard);
                contents.insert(item.key().to_vec(), (item.cas().0, item.to_vec()));
            }
        }
        contents
    }

    /// Panics where the store is not what it should be.
    ///
    /// `n_held` is how many chunks are in neither index nor free list, because the caller holds
    /// reservations, or guards of items since replaced. `None` where the caller cannot tell.
    pub fn audit(&self, n_held: Option<usize>) {
        let inner = &*self.inner;
        let (items, ladder) = (&inner.items, inner.slabs.ladder());

        // Index: every id is a linked item, in the shard its key belongs to, once.
        let mut linked = HashSet::new();
        for number in 0..inner.index.n_shards() {
            let shard = inner.index.lock_shard(number);
            shard.audit(items);
            for id in shard.iter() {
                assert!(linked.insert(id), "an item is in the index once");
                let state = items.state(id);
                assert!(state & LINKED != 0 && state & STATE_FREE == 0, "indexed items are linked");
                assert!(items.refs(id) >= 1, "the index holds a reference");
                let key = items.view(id, &shard).key();
                let hash = inner.index.hash(key);
                assert_eq!(shard.find(items, hash, key), Some(id), "an item is found by its key");
            }
        }

        // Lists: both directions agree, counts and sums are right, all linked items are in one.
        let mut n_listed = 0;
        for class in ladder.iter() {
            for queue in Queue::ALL {
                let segment = inner.lru.lock(class, queue);
                let (mut n, mut bytes, mut before, mut next) = (0, 0, None, segment.head);
                while let Some(id) = next {
                    assert!(linked.contains(&id), "listed items are in the index");
                    assert!(items.state(id) & IN_LIST != 0, "listed items say so");
                    assert_eq!(items.prev(id), before, "links agree in both directions");
                    assert_eq!(items.queue(id), queue, "an item is in the list it says");
                    assert_eq!(inner.lru_class(id), class, "an item is in its class's list");
                    n += 1;
                    bytes += items.total_bytes_of(id);
                    (before, next) = (Some(id), items.next(id));
                }
                assert_eq!(segment.tail, before, "the tail is the last");
                for place in segment.walks().flatten() {
                    assert!(linked.contains(&place), "who walks a list stands on a linked item");
                    assert_eq!(items.queue(place), queue, "of that list");
                    assert_eq!(inner.lru_class(place), class, "of that list");
                }
                assert_eq!((segment.n_items, segment.bytes), (n, bytes), "a list knows its size");
                n_listed += n;
            }
        }
        assert_eq!(n_listed, linked.len(), "every item is in one list");
        if inner.config.track_sizes {
            let mut sizes = BTreeMap::<u64, u64>::new();
            for &id in &linked {
                *sizes.entry(items.total_bytes_of(id).next_multiple_of(32) as u64).or_default() +=
                    1;
            }
            assert_eq!(self.sizes(), sizes.into_iter().collect::<Vec<_>>(), "sizes are counted");
        }
        inner.ghosts.audit();
        if let Some(rings) = &inner.rings {
            rings.audit();
        }

        // Chunks: each is free, in an item, in a chain, or held by the caller.
        let mut used = HashSet::new();
        for &id in &linked {
            assert!(used.insert(id));
            if items.state(id) & CHAINED == 0 {
                continue;
            }
            let view = items.view(id, &Sole);
            let (len, mut next) = view.chain_info();
            assert_eq!(view.pieces().map(<[u8]>::len).sum::<usize>(), len, "a chain is complete");
            while let Some(chunk) = next {
                assert!(used.insert(chunk), "a chunk is in one chain");
                let owner = chain_owner(items.arena(), chunk, items.state(chunk));
                assert_eq!(owner, Some(id), "a link knows its item");
                next = items.chain_next(chunk);
            }
        }
        let mut n_missing = 0;
        for class in ladder.iter() {
            let usage = inner.slabs.usage(class);
            inner.slabs.for_each_free(items.arena(), class, |id| {
                assert_eq!(items.state(id), STATE_FREE, "free chunks say so");
                assert!(!used.contains(&id), "a chunk is free or used");
            });
            let n_used = used.iter().filter(|&&id| items.arena().class(id) == class).count();
            let n_drained = inner.slabs.count_drained(items.arena(), class);
            let n_gone = usage.n_chunks() - usage.n_free - n_drained;
            assert!(n_used <= n_gone, "class {}: {n_used} of {n_gone}", class.number());
            n_missing += n_gone - n_used;
        }
        if let Some(n_held) = n_held {
            assert_eq!(n_missing, n_held, "every chunk is accounted for");
        }
        let n_pages: usize = ladder.iter().map(|class| inner.slabs.usage(class).n_pages).sum();
        let n_classes = ladder.iter().filter(|&class| inner.slabs.usage(class).n_pages > 0).count();
        let pool = inner.slabs.pool();
        assert_eq!(pool.n_held, n_pages + pool.n_free, "a page is a class's or the pool's");
        let (counted, free) = inner.slabs.count_free_pages(items.arena());
        assert_eq!(counted, free, "pages all free are counted");
        // A limit that was lowered is come down to by maintenance, and is not gone away from.
        let n_allowed = pool.n_held_max.max(inner.slabs.n_held_least());
        assert!(pool.n_held <= n_allowed + n_classes, "the limit holds");
    }
}
