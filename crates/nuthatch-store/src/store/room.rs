//! How full the store is, and making room when its owner asks for it.

use super::{Inner, Store, closures};
use crate::arena::{CLASSES_MAX, ClassId};
use crate::item::Queue;

/// How often a class whose items all seem to be locked is asked again.
const TRIES_MAX: u32 = 10;

impl Store {
    /// How many items there are, dead ones not yet removed included.
    ///
    /// Asks the four queues of each class one after another: some microseconds, and not one
    /// moment's figure while others write.
    pub fn len(&self) -> usize {
        self.inner.fold_queues(|segment| segment.n_items)
    }

    /// Whether there is no item, not even a dead one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the items take, in bytes: headers, keys and values, before rounding up to chunks;
    /// [`ItemView::total_bytes`](crate::ItemView::total_bytes) summed up. As for
    /// [`len`](Self::len), dead ones count until they are removed.
    ///
    /// This is why no item has a weight to be told: the limit is one of bytes, and every item
    /// weighs what it takes.
    pub fn bytes(&self) -> usize {
        self.inner.fold_queues(|segment| segment.bytes)
    }

    /// Throws items out until they took at least so many bytes together, as [`bytes`](Self::bytes)
    /// counts, or as many as there were when it began; says how many bytes that were. Less only if
    /// nothing is left that may go.
    ///
    /// The items are those that the LRU would give up next, in every class at once: first the
    /// ones that were used longest ago. Dead ones met on the way go too, and count. Items that are
    /// never evicted stay (a store built without evictions, a short life in TEMP). The chunks go
    /// back to their classes; a pinned item's when its last guard is dropped. What others store or
    /// evict at the same moment in the same class can blur the count.
    ///
    /// ```
    /// use nuthatch_store::{Set, Store, types::Key};
    ///
    /// let store = Store::builder().build()?;
    /// for n in 0..1000 {
    ///     store.set(Key::new(&format!("key{n}"))?, &[b'x'; 500], Set::default())?;
    /// }
    /// let before = store.bytes();
    /// let freed = store.evict(100_000);
    /// assert!(freed >= 100_000);
    /// assert_eq!(store.bytes(), before - freed);
    /// store.evict(usize::MAX);
    /// assert!(store.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn evict(&self, bytes: usize) -> usize {
        let inner = &*self.inner;
        closures::assert_outside(&inner.index);
        // Beside others who store there is always something to evict.
        let bytes = bytes.min(self.bytes());
        let mut tries_left = [TRIES_MAX; CLASSES_MAX];
        let mut freed = 0;
        while freed < bytes {
            let candidates = inner.slabs.ladder().iter().filter(|c| tries_left[c.idx()] > 0);
            let Some((class, until)) = inner.oldest_class(candidates) else { break };
            // As long as this class's next item is no younger than those of all others.
            while freed < bytes && inner.next_to_go(class).is_some_and(|time| time <= until) {
                let before = inner.class_bytes(class);
                inner.give_up_one(class);
                let gone = before.saturating_sub(inner.class_bytes(class));
                freed += gone;
                if gone > 0 {
                    tries_left[class.idx()] = TRIES_MAX;
                } else {
                    tries_left[class.idx()] -= 1;
                    break;
                }
            }
        }
        freed
    }
}

impl Inner {
    /// Sums a figure up over all lists, asked one after another.
    pub(crate) fn fold_queues(&self, figure: impl Fn(&crate::lru::Segment) -> usize) -> usize {
        closures::assert_outside(&self.index);
        let classes = self.slabs.ladder().iter();
        classes.flat_map(|c| Queue::ALL.map(|queue| figure(&self.lru.lock(c, queue)))).sum()
    }

    fn class_bytes(&self, class: ClassId) -> usize {
        Queue::ALL.map(|queue| self.lru.lock(class, queue).bytes).iter().sum()
    }

    /// The class whose next item to go was used longest ago, and the time that the next item of
    /// any other class has.
    fn oldest_class(&self, classes: impl Iterator<Item = ClassId>) -> Option<(ClassId, u32)> {
        let (mut oldest, mut second) = (None, u32::MAX);
        for class in classes {
            let Some(time) = self.next_to_go(class) else { continue };
            match oldest {
                Some((_, least)) if time >= least => second = second.min(time),
                _ => {
                    second = oldest.map_or(second, |(_, least)| least);
                    oldest = Some((class, time));
                }
            }
        }
        oldest.map(|(class, _)| (class, second))
    }

    /// When the item was used that a class would give up next.
    fn next_to_go(&self, class: ClassId) -> Option<u32> {
        // COLD's tail goes first; where COLD is empty, it is filled from HOT, then from WARM, then
        // from a TEMP that has been switched off.
        let temp = self.settings.temporary_ttl().is_none().then_some(Queue::Temp);
        [Queue::Cold, Queue::Hot, Queue::Warm].into_iter().chain(temp).find_map(|queue| {
            let segment = self.lru.lock(class, queue);
            segment.tail.map(|id| self.items.time(id))
        })
    }
}
