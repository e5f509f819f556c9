//! Dumps: all items, or those of some classes, a few at a time, at the pace of whoever reads them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Inner, Item, Store, closures};
use crate::CrawlError;
use crate::arena::{ClassId, ItemId};
use crate::index::{Cursor, Hash, ShardGuard};
use crate::item::{FETCHED, Queue};
use crate::lru::{End, Walker};

/// How many items are visited under one hold of a lock.
const ITEMS_PER_HOLD: usize = 32;

/// How many index shards one call goes through at the most: tens of microseconds when all of them
/// are empty.
const SHARDS_PER_CALL: usize = 1024;

/// How many dumps may be under way. Each is looked at when an item leaves a queue that it is in.
const DUMPS_MAX: u32 = 16;

/// What a dump goes through, and in which order; for [`Store::dump`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DumpTarget {
    /// All items, queue by queue from the oldest to the newest. Items that move from one queue to
    /// another meanwhile may be missed or come twice.
    All,
    /// All items in the order of the index: each that is there from beginning to end comes once,
    /// or, where the index grows meanwhile, now and then twice.
    Hash,
    /// As `All`, for these slab classes (1 to 63; one that the store does not have is an empty
    /// one).
    Classes(Vec<u8>),
    /// The COLD queue of one class, from the newest to the oldest (`stats cachedump`).
    Cold(u8),
}

/// A walk through the cache that its owner takes step by step; made by [`Store::dump`].
///
/// Between two calls of [`next`](Self::next) it holds no lock and no item, so it may be kept for as
/// long as its reader needs: nobody waits for a dump. It shows the items as they are when it comes
/// to them; what is stored behind its back is not shown.
pub struct Dump {
    inner: Arc<Inner>,
    walk: Walk,
    /// Counted against [`DUMPS_MAX`].
    is_counted: bool,
}

/// An item that a dump has come to, under the lock of its shard.
#[derive(Clone, Copy, Debug)]
pub struct DumpItem<'a> {
    item: Item<'a>,
}

/// How the next items are found.
#[derive(Debug)]
enum Walk {
    Index {
        shard: usize,
        cursor: Cursor,
    },
    Queues {
        /// Still to come, the next one last.
        queues: Vec<(ClassId, Queue)>,
        /// The one that it is in, and how many items it may still look at there.
        current: Option<(ClassId, Queue, usize)>,
        from: End,
        walker: Walker,
        /// Found and not shown, the next one last.
        ready: Vec<(ItemId, Hash)>,
    },
}

impl Store {
    /// Begins a dump (`lru_crawler metadump`). It does not share anything with crawls; as in
    /// memcached it counts as a start of the crawler, and there is none while that is off, but for
    /// [`DumpTarget::Cold`].
    ///
    /// ```
    /// # use nuthatch_store::{DumpTarget, Set, Store, types::Key};
    /// # let store = Store::builder().memory_limit(64 << 20).build()?;
    /// # store.set(Key::new("a")?, b"x", Set::default())?;
    /// let mut dump = store.dump(DumpTarget::All)?;
    /// let mut lines = String::new();
    /// while dump.next(100, |item| {
    ///     let key = String::from_utf8_lossy(item.key());
    ///     lines += &format!("{key} cls={} size={}\n", item.class(), item.total_bytes());
    /// }) {}
    /// assert_eq!(lines, "a cls=1 size=34\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CrawlError::Disabled`] while the crawler is off, [`CrawlError::Busy`] while 16 dumps are
    /// under way, [`CrawlError::BadClass`] and [`CrawlError::NothingToCrawl`] as for
    /// [`crawl`](Self::crawl).
    pub fn dump(&self, target: DumpTarget) -> Result<Dump, CrawlError> {
        let inner = &self.inner;
        let is_crawl = !matches!(target, DumpTarget::Cold(_));
        if is_crawl && !inner.settings.crawler() {
            return Err(CrawlError::Disabled);
        }
        let queues = |classes: Vec<ClassId>| {
            let queues =
                classes.into_iter().flat_map(|class| Queue::ALL.map(|queue| (class, queue)));
            Walk::queues(queues.collect(), End::Tail)
        };
        let walk = match target {
            DumpTarget::Hash => Walk::Index { shard: 0, cursor: Cursor::default() },
            DumpTarget::All => queues(inner.slabs.ladder().iter().collect()),
            DumpTarget::Classes(numbers) => queues(inner.named_classes(&numbers)?),
            DumpTarget::Cold(number) => {
                let classes = inner.named_classes(&[number])?;
                Walk::queues(classes.iter().map(|&class| (class, Queue::Cold)).collect(), End::Head)
            }
        };
        let is_room = |n| (n < DUMPS_MAX).then_some(n + 1);
        inner.n_dumps.fetch_update(Relaxed, Relaxed, is_room).map_err(|_| CrawlError::Busy)?;
        if is_crawl {
            inner.counters.add(crate::counters::Counter::CrawlerStarts);
        }
        Ok(Dump { inner: Arc::clone(inner), walk, is_counted: true })
    }
}

impl Dump {
    /// All items in the order of the index, without counting as a dump.
    pub(crate) fn of_index(inner: &Arc<Inner>) -> Self {
        let walk = Walk::Index { shard: 0, cursor: Cursor::default() };
        Self { inner: Arc::clone(inner), walk, is_counted: false }
    }

    /// Visits up to `max` items, or a few more in the order of the index; false when there are no
    /// more. Dead ones are not shown, but count, and a call may show none at all.
    ///
    /// `f` runs under the lock of the item's index shard: it should copy or [`pin`](Item::pin), and
    /// must not call the store. No lock is held for more than some 32 items.
    pub fn next(&mut self, max: usize, mut f: impl FnMut(DumpItem<'_>)) -> bool {
        let inner = &self.inner;
        match &mut self.walk {
            Walk::Index { shard, cursor } => {
                let n_shards = inner.index.n_shards();
                let last = n_shards.min(*shard + SHARDS_PER_CALL);
                let mut left = max;
                while left > 0 && *shard < last {
                    let guard = inner.index.lock_shard(*shard);
                    let is_more = guard.ids_from(cursor, left.min(ITEMS_PER_HOLD), |id| {
                        left = left.saturating_sub(1);
                        show(inner, &guard, id, &mut f);
                    });
                    if !is_more {
                        *shard += 1;
                        *cursor = Cursor::default();
                    }
                }
                *shard < n_shards
            }
            Walk::Queues { queues, current, from, walker, ready } => {
                for _ in 0..max {
                    if ready.is_empty() {
                        while ready.is_empty() {
                            let next = current.take().or_else(|| {
                                let (class, queue) = queues.pop()?;
                                let mut segment = inner.lru.lock(class, queue);
                                Some((class, queue, segment.begin_walk(*walker, *from)))
                            });
                            let Some(next) = next else { return false };
                            *current = note_ready(inner, next, *walker, ready);
                        }
                        ready.reverse();
                    }
                    let Some((id, hash)) = ready.pop() else { break };
                    let shard = inner.index.lock(hash);
                    // It may have got another place since.
                    let here = shard.has(hash, id).then_some(id);
                    if let Some(id) = here.or_else(|| shard.find_hash(&inner.items, hash)) {
                        show(inner, &shard, id, &mut f);
                    }
                }
                true
            }
        }
    }
}

/// Notes the next items of a queue; says what is left of it.
fn note_ready(
    inner: &Inner,
    (class, queue, mut left): (ClassId, Queue, usize),
    walker: Walker,
    ready: &mut Vec<(ItemId, Hash)>,
) -> Option<(ClassId, Queue, usize)> {
    let mut segment = inner.lru.lock(class, queue);
    while left > 0 && ready.len() < ITEMS_PER_HOLD {
        let Some(id) = segment.walk(&inner.items, walker) else {
            left = 0;
            break;
        };
        left -= 1;
        ready.push((id, inner.index.hash(inner.items.key_in_list(id, &segment))));
    }
    if left == 0 {
        segment.end_walk(walker);
        return None;
    }
    Some((class, queue, left))
}

/// Shows an item if it is alive.
fn show(inner: &Arc<Inner>, shard: &ShardGuard<'_>, id: ItemId, f: &mut impl FnMut(DumpItem<'_>)) {
    if !inner.is_dead(inner.items.head(id)) {
        let item = Item::new(inner, inner.items.view(id, shard));
        closures::lend(&inner.index, || f(DumpItem { item }));
    }
}

impl Walk {
    fn queues(mut queues: Vec<(ClassId, Queue)>, from: End) -> Self {
        // The crawler is walker 0.
        static WALKERS: AtomicU64 = AtomicU64::new(1);
        queues.reverse();
        let walker = Walker(WALKERS.fetch_add(1, Relaxed));
        Self::Queues { queues, current: None, from, walker, ready: Vec::new() }
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        if let Walk::Queues { current: Some((class, queue, _)), walker, .. } = self.walk {
            self.inner.lru.lock(class, queue).end_walk(walker);
        }
        if self.is_counted {
            self.inner.n_dumps.fetch_sub(1, Relaxed);
        }
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dump").field("walk", &self.walk).finish_non_exhaustive()
    }
}

impl DumpItem<'_> {
    /// When the item expires, in seconds of Unix time; `None` for never.
    pub fn expires_at(&self) -> Option<u64> {
        let (inner, id) = (self.item.store(), self.id());
        let expiry = inner.items.expiry(id);
        (expiry != 0).then(|| inner.clock.read().unix_base + u64::from(expiry))
    }

    /// When the item was last stored or bumped, in seconds of Unix time.
    pub fn last_access(&self) -> u64 {
        let (inner, id) = (self.item.store(), self.id());
        let clock = inner.clock.read();
        // Stamps run ahead of the clock after a flush.
        clock.unix_base + u64::from(inner.items.time(id).min(clock.now))
    }

    /// Whether the item has been read since it was stored.
    pub fn was_fetched(&self) -> bool {
        self.item.store().items.state(self.id()) & FETCHED != 0
    }
}

impl<'a> Deref for DumpItem<'a> {
    type Target = Item<'a>;

    fn deref(&self) -> &Item<'a> {
        &self.item
    }
}
