//! The LRU lists: four queues a class, each with its own lock.
//!
//! ```text
//!            stored              idle or too many          evicted
//!  ─────────► HOT ─────────────────────► COLD ──────────────────►
//!              │ active                ▲   │ active
//!              └───────► WARM ─────────┘   │
//!                         ▲ └─ active ─┐   │
//!                         └────────────┴───┘
//!
//!  stored with a short life ──► TEMP ──► expires
//! ```
//!
//! Reading an item twice marks it ACTIVE and moves nothing; moves happen at the tails, when the
//! maintainer or a store in need of memory pulls them (`store/pull.rs`). A flat LRU uses COLD only.
//!
//! The lean profile uses HOT, WARM and TEMP in another way: `store/s3fifo.rs`.
//!
//! The lists are links of ids in the item headers, so there is nothing unsafe about them: a wrong
//! link is a wrong list. An item is in the list that its state word names; both change under its
//! shard lock, and the list itself under the list's lock, which comes after the shard's.
//!
//! Those who walk a list (the crawler, dumps) keep their place in it as a [`Cursor`]: the id of the
//! next item to look at. An item that leaves the list hands the cursors that stand on it on to its
//! neighbour, so that a walk can stop for as long as it likes without holding lock or item.

use crossbeam::utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};

use crate::arena::{ClassId, ItemId};
use crate::item::{IN_LIST, Items, Queue};

/// All lists.
#[derive(Debug)]
pub(crate) struct Lru {
    segments: Box<[CachePadded<Mutex<Segment>>]>,
}

/// One queue of one class.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) head: Option<ItemId>,
    pub(crate) tail: Option<ItemId>,
    pub(crate) n_items: usize,
    /// The items' total sizes, before rounding up to chunks.
    pub(crate) bytes: usize,
    pub(crate) stats: SegmentStats,
    /// The places of those who walk this list; mostly nobody.
    cursors: Vec<Cursor>,
}

/// Who keeps a place in a list; each has at most one in a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Walker(pub(crate) u64);

/// Which end of a list a walk begins at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Tail,
    Head,
}

/// A place in a list.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    walker: Walker,
    from: End,
    /// The next item to look at; `None` at the end.
    next: Option<ItemId>,
}

impl Cursor {
    fn pass(&mut self, items: &Items, id: ItemId) {
        self.next = match self.from {
            End::Tail => items.prev(id),
            End::Head => items.next(id),
        };
    }
}

/// What has happened at the tail of a queue; names as in `stats items`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentStats {
    pub(crate) evicted: u64,
    pub(crate) evicted_nonzero: u64,
    pub(crate) evicted_time: u32,
    pub(crate) evicted_unfetched: u64,
    pub(crate) evicted_active: u64,
    pub(crate) expired_unfetched: u64,
    pub(crate) outofmemory: u64,
    pub(crate) reclaimed: u64,
    pub(crate) lrutail_reflocked: u64,
    pub(crate) moves_to_cold: u64,
    pub(crate) moves_to_warm: u64,
    pub(crate) moves_within_lru: u64,
    pub(crate) direct_reclaims: u64,
    pub(crate) crawler_reclaimed: u64,
    pub(crate) crawler_items_checked: u64,
    pub(crate) ghost_hits: u64,
}

/// A locked list. The items in it stay linked, and so keep their keys, while it is held:
/// unlinking needs this lock too.
#[derive(Debug)]
pub(crate) struct SegmentGuard<'a>(MutexGuard<'a, Segment>);

impl std::ops::Deref for SegmentGuard<'_> {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.0
    }
}

impl std::ops::DerefMut for SegmentGuard<'_> {
    fn deref_mut(&mut self) -> &mut Segment {
        &mut self.0
    }
}

impl Lru {
    /// Lists for classes 0 to `n_classes - 1`.
    pub(crate) fn new(n_classes: usize) -> Self {
        Self {
            segments: (0..n_classes * Queue::ALL.len()).map(|_| CachePadded::default()).collect(),
        }
    }

    pub(crate) fn lock(&self, class: ClassId, queue: Queue) -> SegmentGuard<'_> {
        SegmentGuard(self.segments[class.idx() * Queue::ALL.len() + queue as usize].lock())
    }
}

impl Segment {
    /// Puts an item at the head; it is in no list.
    pub(crate) fn push_head(&mut self, items: &Items, id: ItemId, bytes: usize) {
        let item = items.head(id);
        item.set_links(None, self.head);
        match self.head {
            Some(head) => items.set_prev(head, Some(id)),
            None => self.tail = Some(id),
        }
        self.head = Some(id);
        self.n_items += 1;
        self.bytes += bytes;
        item.set_state(IN_LIST);
    }

    /// Puts a copy in the place of an item.
    pub(crate) fn replace(&mut self, items: &Items, old: ItemId, new: ItemId) {
        let (prev, next) = (items.prev(old), items.next(old));
        items.set_prev(new, prev);
        items.set_next(new, next);
        match prev {
            Some(prev) => items.set_next(prev, Some(new)),
            None => self.head = Some(new),
        }
        match next {
            Some(next) => items.set_prev(next, Some(new)),
            None => self.tail = Some(new),
        }
        items.set_prev(old, None);
        items.set_next(old, None);
        for cursor in &mut self.cursors {
            if cursor.next == Some(old) {
                cursor.next = Some(new);
            }
        }
        items.clear_state(old, IN_LIST);
        items.set_state(new, IN_LIST);
    }

    /// Takes an item out; it is in this list.
    pub(crate) fn unlink(&mut self, items: &Items, id: ItemId, bytes: usize) {
        for cursor in &mut self.cursors {
            if cursor.next == Some(id) {
                cursor.pass(items, id);
            }
        }
        let item = items.head(id);
        let (prev, next) = item.links();
        match prev {
            Some(prev) => items.set_next(prev, next),
            None => {
                debug_assert_eq!(self.head, Some(id));
                self.head = next;
            }
        }
        match next {
            Some(next) => items.set_prev(next, prev),
            None => {
                debug_assert_eq!(self.tail, Some(id));
                self.tail = prev;
            }
        }
        item.set_links(None, None);
        item.clear_state(IN_LIST);
        self.n_items -= 1;
        self.bytes -= bytes;
    }

    /// Begins a walk at an end of the list; says how many items it has to look at. What is put at
    /// the head later is not among them.
    pub(crate) fn begin_walk(&mut self, walker: Walker, from: End) -> usize {
        // A walker that panicked has left its place.
        self.end_walk(walker);
        let next = match from {
            End::Tail => self.tail,
            End::Head => self.head,
        };
        self.cursors.push(Cursor { walker, from, next });
        self.n_items
    }

    /// The next item of a walk, which moves on; `None` at the end, or where no walk was begun.
    pub(crate) fn walk(&mut self, items: &Items, walker: Walker) -> Option<ItemId> {
        let cursor = self.cursors.iter_mut().find(|cursor| cursor.walker == walker)?;
        let id = cursor.next?;
        cursor.pass(items, id);
        Some(id)
    }

    /// Ends a walk, wherever it stands.
    pub(crate) fn end_walk(&mut self, walker: Walker) {
        self.cursors.retain(|cursor| cursor.walker != walker);
    }

    /// Where the walks stand; for the audit.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn walks(&self) -> impl Iterator<Item = Option<ItemId>> + '_ {
        self.cursors.iter().map(|cursor| cursor.next)
    }
}
