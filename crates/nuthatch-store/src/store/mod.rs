//! The store: all layers put together under one lock order.

mod alloc;
pub(crate) mod closures;
mod compute;
mod dump;
mod entry;
mod events;
mod expire;
mod fit;
mod flights;
mod guard;
mod iter;
mod listener;
mod many;
mod meta;
mod overwrite;
mod pull;
mod room;
mod s3fifo;
mod sizes;
mod stats;
mod write;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;
use nuthatch_types::{Arith, ArithError, Cas, Clock, Deleted, Key, Ttl, arith};

use crate::arena::{Arena, ClassId, ItemId, Ladder, Layout, Slabs};
use crate::clock::CoarseClock;
use crate::config::{Builder, Config};
use crate::counters::{ClassCounter, Counter, Counters};
use crate::crawler::Crawler;
use crate::ghosts::Ghosts;
use crate::index::{Cursor, Hash, Index, ShardGuard};
use crate::item::{
    ACTIVE, Birth, CHAINED, FETCHED, FREQUENCY_MASK, Head, Items, LINKED, Queue, queue_of,
};
use crate::lru::Lru;
use crate::maintain::Wake;
use crate::mover::Mover;
use crate::rings::Rings;
use crate::settings::Settings;
use crate::{ConfigError, Profile};

pub use compute::{Fetched, Origin};
pub use dump::{Dump, DumpItem, DumpTarget};
pub use entry::{Entry, Update, Updated};
pub use events::StoreEvent;
pub(crate) use events::Watcher;
pub use guard::{Extent, Item, ItemGuard, Missed};
pub use iter::Iter;
pub(crate) use listener::Listener;
pub use listener::{Cause, Leaving};
pub use meta::{MetaArith, MetaDelete, MetaDeleted, MetaGet, MetaHit, MetaNumber};
pub use stats::{ClassStats, QueueStats, StoreStats};
pub use write::{Commit, Committed, NewItem, Reservation, Set};

use alloc::Caller;
pub(crate) use pull::Pull;
use writer::Writer;

/// Hits in COLD that wait for the maintainer to move their item to WARM; memcached has as many
/// for each worker.
const BUMPS_MAX: usize = 8192;

/// How far stamps may run ahead of the clock, in seconds. Each flush that finds items stored since
/// the one before moves them on by one; beyond this a flush removes the items one by one instead.
const STAMP_LEAD_MAX: u32 = 3600;

/// How many items a flush that removes them does under one lock.
const REMOVED_AT_ONCE: usize = 500;

/// In a flat LRU an item moves to the head at most once in so many seconds.
const FLAT_BUMP_SECS: u32 = 60;

/// A cache: a handle, cheap to clone, all clones being the same cache.
///
/// Every method may be called from any thread. None waits for anything but short locks (an append
/// to a long value is the longest: it copies both under the key's lock); none reads a clock: [`set_clock`](Self::set_clock) says what time it is, which
/// [`spawn_maintenance`](Self::spawn_maintenance) does for those who want a thread to.
///
/// The memory goes back to the system when the last handle and the last
/// [`ItemGuard`] and [`Reservation`] are dropped.
///
/// ```
/// use nuthatch_store::{Set, Store, types::{Key, Ttl}};
///
/// let store = Store::builder().memory_limit(64 << 20).build()?;
/// let key = Key::new("greeting")?;
/// store.set(key, b"hello", Set { ttl: Ttl::secs(60), ..Set::default() })?;
/// assert_eq!(store.get(key, |item| item.to_vec()), Some(b"hello".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the handles share. Lock order: the crawler's state, shard, LRU queue, slab class, page pool;
/// against the order only by `try_lock`.
#[derive(Debug)]
pub(crate) struct Inner {
    /// The settings that stay as they were built. Those that change are in `settings`, `slabs` and
    /// `mover`, and what this has in their places is out of date.
    pub(crate) config: Config,
    pub(crate) settings: Settings,
    pub(crate) crawler: Crawler,
    pub(crate) n_dumps: AtomicU32,
    pub(crate) items: Items,
    pub(crate) slabs: Slabs,
    pub(crate) index: Index,
    pub(crate) lru: Lru,
    pub(crate) mover: Mover,
    /// Calls maintenance before it is due.
    pub(crate) wake: Wake,
    pub(crate) ghosts: Ghosts,
    /// Where expired items are taken away when their time comes.
    pub(crate) rings: Option<Rings>,
    pub(crate) clock: CoarseClock,
    pub(crate) counters: Counters,
    pub(crate) bumps: ArrayQueue<(ItemId, Hash)>,
    /// Who is told of items that leave.
    listener: Option<Listener>,
    /// Who is told what maintenance does.
    watcher: Option<Watcher>,
    /// How many items of which size there are, where that is asked for.
    pub(crate) sizes: Option<sizes::Sizes>,
    /// What callers are computing for keys that were not there.
    pub(crate) computing: compute::Computing,
    cas: AtomicU64,
    /// Items stamped at or before this reading are dead.
    flushed_until: AtomicU32,
    /// The latest stamp handed out.
    last_stamp: AtomicU32,
    /// When a flush that was asked for later comes due; 0 for none.
    flush_due: AtomicU32,
}

/// The outcome of an arithmetic command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum Counted {
    /// The new value and CAS number.
    Value(u64, Cas),
    /// There is no such item.
    NotFound,
    /// The CAS number asked for did not match.
    Exists,
    /// The value is not a number.
    NonNumeric,
    /// The new value is longer than the old one and there is no memory for it.
    NoMemory,
}

impl Store {
    /// Begins the settings of a new store.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        config: Config,
        listener: Option<Listener>,
        watcher: Option<Watcher>,
    ) -> Result<Self, ConfigError> {
        let Config { memory_limit: limit, page_bytes, huge_pages: huge, .. } = config;
        let arena = Arena::reserve(Layout { limit, page_bytes, huge, least: config.fixed_limit })
            .map_err(|(bytes, source)| ConfigError::Reserve { bytes, source })?;
        let (unit, chunk_max) = (Arena::unit_bytes(limit), config.slab_chunk_max);
        let (min, factor) = (config.chunk_size_min, config.growth_factor);
        let items = Items::new(arena, config.cas);
        let ladder = if !config.slab_sizes.is_empty() {
            Ladder::of_sizes(&config.slab_sizes, chunk_max, unit, page_bytes)
        } else if config.profile == Profile::Lean {
            Ladder::lean(items.header_bytes() + min, factor, chunk_max, unit, page_bytes)
        } else {
            Ladder::new(min, factor, chunk_max, unit, page_bytes)
        };
        let n_classes = ladder.last().idx() + 1;
        let n_withheld = config.memory_in_use.div_ceil(page_bytes);
        Ok(Self {
            inner: Arc::new(Inner {
                items,
                slabs: Slabs::new(
                    ladder,
                    limit / page_bytes,
                    n_withheld,
                    config.profile == Profile::Compat,
                ),
                index: Index::new(config.memory_limit, config.expected_items, random_seed()),
                lru: Lru::new(n_classes),
                ghosts: Ghosts::new(),
                rings: config.proactive_expiry.then(|| Rings::new(limit)),
                mover: Mover::new(config.automove, config.automove_ratio, config.automove_window),
                wake: Wake::default(),
                clock: CoarseClock::new(),
                counters: Counters::new(),
                bumps: ArrayQueue::new(BUMPS_MAX),
                listener,
                watcher,
                sizes: config.track_sizes.then(sizes::Sizes::new),
                computing: compute::Computing::new(),
                // memcached's first item has CAS number 2.
                cas: AtomicU64::new(1),
                flushed_until: AtomicU32::new(0),
                last_stamp: AtomicU32::new(0),
                flush_due: AtomicU32::new(0),
                settings: Settings::new(&config),
                crawler: Crawler::new(),
                n_dumps: AtomicU32::new(0),
                config,
            }),
        })
    }

    /// The settings as they are now.
    pub fn config(&self) -> Config {
        let (automove, automove_ratio, automove_window) = self.automove();
        Config {
            memory_limit: self.memory_limit(),
            automove,
            automove_ratio,
            automove_window,
            ..self.inner.settings.snapshot(&self.inner.config)
        }
    }

    /// Says what time it is. Readings must not go back; a reading lets items expire and a flush
    /// that was asked for later come due.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Clock, Key, Ttl}};
    /// # let store = Store::builder().build()?;
    /// let at = |now| store.set_clock(Clock { now, unix_base: 1_700_000_000 });
    /// at(100);
    /// let key = Key::new("token")?;
    /// store.set(key, b"secret", Set { ttl: Ttl::secs(60), ..Set::default() })?;
    /// at(160);
    /// assert!(!store.contains(key));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_clock(&self, clock: Clock) {
        self.inner.clock.set(clock);
        self.inner.flush_if_due();
    }

    /// The last reading given.
    pub fn clock(&self) -> Clock {
        self.inner.clock.read()
    }

    /// Looks an item up, calls `f` with it, and marks it read.
    ///
    /// `f` runs under the lock of the item's index shard: it should copy or
    /// [`pin`](Item::pin), and must not call the store, which could wait for that very lock.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("numbers")?;
    /// store.set(key, &[1, 2, 3], Set::default())?;
    /// let sum = store.get(key, |item| item.pieces().flatten().sum::<u8>());
    /// assert_eq!(sum, Some(6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get<R>(&self, key: Key<'_>, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.lookup(key, f).ok()
    }

    /// [`get`](Self::get), for those who want to know why there is nothing.
    ///
    /// # Errors
    ///
    /// [`Missed`] where there is no item.
    ///
    /// ```
    /// # use nuthatch_store::{Missed, Set, Store, types::Key};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("page")?;
    /// assert_eq!(store.lookup(key, |item| item.len()), Err(Missed::NotFound));
    /// store.set(key, b"...", Set::default())?;
    /// assert_eq!(store.lookup(key, |item| item.len()), Ok(3));
    /// store.flush_all(None);
    /// assert_eq!(store.lookup(key, |item| item.len()), Err(Missed::Flushed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lookup<R>(&self, key: Key<'_>, f: impl FnOnce(Item<'_>) -> R) -> Result<R, Missed> {
        self.lookup_hashed(self.inner.index.hash(key.as_bytes()), key, f)
    }

    /// [`lookup`](Self::lookup) for a key whose hash is known.
    fn lookup_hashed<R>(
        &self,
        hash: Hash,
        key: Key<'_>,
        f: impl FnOnce(Item<'_>) -> R,
    ) -> Result<R, Missed> {
        let inner = &*self.inner;
        let mut shard = inner.index.lock(hash);
        let Some(view) = shard.find_view(&inner.items, hash, key.as_bytes()) else {
            inner.counters.add_both(Counter::Gets, Counter::GetMisses);
            return Err(Missed::NotFound);
        };
        let (id, head) = (view.id(), view.head());
        let state = head.state();
        let is_settled = inner.is_settled(state);
        let stamp = if is_settled { 0 } else { inner.stamp() };
        if inner.is_dead(head) {
            inner.counters.add_both(Counter::Gets, Counter::GetMisses);
            return Err(inner.bury(&mut shard, hash, id));
        }
        let class = inner.lru_class_in(id, state);
        inner.counters.add_with_class(Counter::Gets, class.idx(), hit_counter(state));
        if !is_settled {
            inner.bump(&shard, id, hash, stamp);
        }
        let item = Item::new(&self.inner, view);
        Ok(closures::lend(&inner.index, || f(item)))
    }

    /// Looks an item up, gives it a new life span, calls `f` with it, and marks it read (`gat`).
    /// As for [`get`](Self::get), `f` must not call the store.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Key, Ttl}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("session")?;
    /// store.set(key, b"...", Set { ttl: Ttl::secs(5), ..Set::default() })?;
    /// let length = store.get_and_touch(key, Ttl::secs(600), |item| item.len());
    /// assert_eq!(length, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_and_touch<R>(
        &self,
        key: Key<'_>,
        ttl: Ttl,
        f: impl FnOnce(Item<'_>) -> R,
    ) -> Option<R> {
        self.lookup_and_touch(key, ttl, f).ok()
    }

    /// [`get_and_touch`](Self::get_and_touch), for those who want to know why there is nothing.
    ///
    /// # Errors
    ///
    /// [`Missed`] where there is no item.
    pub fn lookup_and_touch<R>(
        &self,
        key: Key<'_>,
        ttl: Ttl,
        f: impl FnOnce(Item<'_>) -> R,
    ) -> Result<R, Missed> {
        self.lookup_and_touch_hashed(self.inner.index.hash(key.as_bytes()), key, ttl, f)
    }

    /// [`lookup_and_touch`](Self::lookup_and_touch) for a key whose hash is known.
    fn lookup_and_touch_hashed<R>(
        &self,
        hash: Hash,
        key: Key<'_>,
        ttl: Ttl,
        f: impl FnOnce(Item<'_>) -> R,
    ) -> Result<R, Missed> {
        let inner = &*self.inner;
        let shard = &mut inner.index.lock(hash);
        inner.counters.add(Counter::Touches);
        let stamp = inner.stamp();
        let id = inner
            .find_live(shard, hash, key)
            .inspect_err(|_| inner.counters.add(Counter::TouchMisses))?;
        inner.counters.add_class(inner.lru_class(id).idx(), ClassCounter::TouchHits);
        inner.bump(shard, id, hash, stamp);
        inner.set_deadline(id, ttl.deadline(inner.clock.read()));
        let item = Item::new(&self.inner, inner.items.view(id, shard));
        Ok(closures::lend(&inner.index, || f(item)))
    }

    /// Looks at an item and its standing without marking it read or counting it; `f` must not call
    /// the store.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Key, Ttl}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("page")?;
    /// store.set(key, b"...", Set { ttl: Ttl::secs(5), ..Set::default() })?;
    /// let standing = store.peek(key, |_, hit| (hit.was_fetched, hit.ttl_before));
    /// assert_eq!(standing, Some((false, Some(5))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn peek<R>(&self, key: Key<'_>, f: impl FnOnce(Item<'_>, MetaHit) -> R) -> Option<R> {
        let inner = &*self.inner;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let id = inner.find_live(shard, hash, key).ok()?;
        let hit = inner.standing(id);
        let item = Item::new(&self.inner, inner.items.view(id, shard));
        Some(closures::lend(&inner.index, || f(item, hit)))
    }

    /// A copy of an item's value, and the item marked read: [`get`](Self::get) with
    /// [`to_vec`](crate::ItemView::to_vec).
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// let store = Store::builder().build()?;
    /// let key = Key::new("greeting")?;
    /// assert_eq!(store.get_vec(key), None);
    /// store.set(key, b"hello", Set::default())?;
    /// assert_eq!(store.get_vec(key).as_deref(), Some(&b"hello"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_vec(&self, key: Key<'_>) -> Option<Vec<u8>> {
        self.get(key, |item| item.to_vec())
    }

    /// Pins an item where it lies, marked read: [`get`](Self::get) with [`pin`](Item::pin). `None`
    /// also where that gives none.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// let store = Store::builder().build()?;
    /// let key = Key::new("greeting")?;
    /// store.set(key, b"hello", Set::default())?;
    /// let guard = store.get_guard(key).expect("it was stored just now");
    /// store.delete(key);
    /// assert_eq!(guard.as_ref(), b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_guard(&self, key: Key<'_>) -> Option<ItemGuard> {
        self.get(key, |item| item.pin()).flatten()
    }

    /// Whether there is an item, without marking it read or counting it.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// let store = Store::builder().build()?;
    /// let key = Key::new("greeting")?;
    /// store.set(key, b"hello", Set::default())?;
    /// assert!(store.contains(key));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contains(&self, key: Key<'_>) -> bool {
        self.peek(key, |_, _| ()).is_some()
    }

    /// Gives an item a new life span and marks it read; false when there is none.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Key, Ttl}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("session")?;
    /// assert!(!store.touch(key, Ttl::secs(600)));
    /// store.set(key, b"...", Set { ttl: Ttl::secs(5), ..Set::default() })?;
    /// assert!(store.touch(key, Ttl::secs(600)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn touch(&self, key: Key<'_>, ttl: Ttl) -> bool {
        self.get_and_touch(key, ttl, |_| ()).is_some()
    }

    /// Removes an item.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Deleted, Key}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("page")?;
    /// store.set(key, b"...", Set::default())?;
    /// assert_eq!(store.delete(key), Deleted::Deleted);
    /// assert_eq!(store.delete(key), Deleted::NotFound);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&self, key: Key<'_>) -> Deleted {
        match self.take(key, |_| ()) {
            Ok(()) => Deleted::Deleted,
            Err(_) => Deleted::NotFound,
        }
    }

    /// Removes an item if it has this CAS number. Where it has another one, nothing is counted, as
    /// in memcached.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Cas, Deleted, Key}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("page")?;
    /// let cas = store.set(key, b"...", Set::default())?.cas;
    /// assert_eq!(store.delete_if(key, Cas(cas.0 + 1)), Deleted::Exists);
    /// assert_eq!(store.delete_if(key, cas), Deleted::Deleted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_if(&self, key: Key<'_>, cas: Cas) -> Deleted {
        let inner = &*self.inner;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let Ok(id) = inner.find_live(shard, hash, key) else {
            inner.counters.add(Counter::DeleteMisses);
            return Deleted::NotFound;
        };
        if inner.items.cas(id) != cas {
            return Deleted::Exists;
        }
        inner.counters.add_class(inner.lru_class(id).idx(), ClassCounter::DeleteHits);
        inner.unlink(shard, hash, id, Cause::Deleted);
        Deleted::Deleted
    }

    /// Removes an item and calls `f` with it, at the last moment at which it is whole: a
    /// [`delete`](Self::delete) that tells what it deleted. As for [`get`](Self::get), `f` must not
    /// call the store; should it panic, the item stays.
    ///
    /// # Errors
    ///
    /// [`Missed`] where there is no item.
    ///
    /// ```
    /// # use nuthatch_store::{Missed, Set, Store, types::Key};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("job")?;
    /// store.set(key, b"...", Set::default())?;
    /// assert_eq!(store.take(key, |item| item.to_vec()), Ok(b"...".to_vec()));
    /// assert_eq!(store.take(key, |item| item.to_vec()), Err(Missed::NotFound));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take<R>(&self, key: Key<'_>, f: impl FnOnce(Item<'_>) -> R) -> Result<R, Missed> {
        let inner = &*self.inner;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let id = inner
            .find_live(shard, hash, key)
            .inspect_err(|_| inner.counters.add(Counter::DeleteMisses))?;
        let item = Item::new(&self.inner, inner.items.view(id, shard));
        let result = closures::lend(&inner.index, || f(item));
        inner.counters.add_class(inner.lru_class(id).idx(), ClassCounter::DeleteHits);
        inner.unlink(shard, hash, id, Cause::Deleted);
        Ok(result)
    }

    /// Removes an item without counting it as a delete: what a failed store does to the old value,
    /// so that it does not outlive the one that was meant to replace it.
    pub fn discard(&self, key: Key<'_>) {
        let inner = &*self.inner;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        if let Ok(id) = inner.find_live(shard, hash, key) {
            inner.unlink(shard, hash, id, Cause::Deleted);
        }
    }

    /// Counts an item's decimal value up or down. The new number takes the old one's place where
    /// it stands if it fits, padded with spaces.
    ///
    /// ```
    /// # use nuthatch_store::{Counted, Set, Store, types::{Arith, Key}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("visits")?;
    /// assert_eq!(store.count(key, Arith::Incr, 1), Counted::NotFound);
    /// store.set(key, b"41", Set::default())?;
    /// assert!(matches!(store.count(key, Arith::Incr, 1), Counted::Value(42, _)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self, key: Key<'_>, direction: Arith, delta: u64) -> Counted {
        let inner = &*self.inner;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let counted = inner.count(shard, hash, key, direction, delta, None, None).counted;
        if counted == Counted::NotFound {
            inner.counters.add(miss_counter(direction));
        }
        counted
    }

    /// Ends the life of all items that exist now, or, given a life span, of those that exist when
    /// it has passed. Costs nothing but marking the moment; dead items go when they are next
    /// looked at, or by maintenance. A flush asked for later replaces one that is still to come.
    /// A moment that has passed is now; one before the clock began flushes nothing, as in
    /// memcached.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("page")?;
    /// store.set(key, b"...", Set::default())?;
    /// store.flush_all(None);
    /// assert!(!store.contains(key));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush_all(&self, when: Option<Ttl>) {
        let inner = &*self.inner;
        let clock = inner.clock.read();
        let moment = match when {
            None | Some(Ttl::PAST | Ttl::NEVER) => clock.now,
            Some(when) => when.deadline(clock),
        };
        // memcached's mark is the second before, and holds from then on; 0 is before the start.
        let mark = moment - 1;
        let is_later = mark > clock.now;
        inner.flush_due.store(if is_later { mark } else { 0 }, Relaxed);
        if mark > 0 && !is_later {
            inner.flush_now();
        }
    }
}

/// What counting came to.
struct Count {
    counted: Counted,
    /// The item that holds the result.
    id: Option<ItemId>,
    /// What there was before.
    before: Result<Extent, Missed>,
}

/// The counter of hits in the queue that a state word names.
fn hit_counter(state: u32) -> ClassCounter {
    match queue_of(state) {
        Queue::Hot => ClassCounter::HitsToHot,
        Queue::Warm => ClassCounter::HitsToWarm,
        Queue::Cold => ClassCounter::HitsToCold,
        Queue::Temp => ClassCounter::HitsToTemp,
    }
}

pub(crate) fn miss_counter(direction: Arith) -> Counter {
    match direction {
        Arith::Incr => Counter::IncrMisses,
        Arith::Decr => Counter::DecrMisses,
    }
}

/// A seed that no client knows, so that none can choose keys that collide.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u64)
}

impl Inner {
    /// The CAS number for an item: the one asked for, else the next. 0 would be none, so asking
    /// for it is asking for nothing.
    pub(crate) fn cas_or_next(&self, asked: Option<Cas>) -> Cas {
        match asked {
            Some(cas) if cas.0 != 0 => cas,
            _ => Cas(self.cas.fetch_add(1, Relaxed) + 1),
        }
    }

    /// What a new or bumped item is stamped with: the time, or just after the last flush where
    /// that is later. So a flush ends exactly the items stored before it, although the clock
    /// counts whole seconds.
    ///
    /// Taken at the beginning of an operation, before it looks whether an item is flushed: a flush
    /// in between then ends what the operation leaves.
    #[inline]
    pub(crate) fn stamp(&self) -> u32 {
        let stamp = self.clock.now().max(self.flushed_until.load(Relaxed).saturating_add(1));
        // Changes once a second: mostly this is a load.
        if self.last_stamp.load(Relaxed) < stamp {
            self.last_stamp.fetch_max(stamp, Relaxed);
        }
        stamp
    }

    fn flush_now(&self) {
        // No item has a later stamp. If none was handed out since the last flush, this one finds
        // nothing to do, however often it is asked for.
        let mark = self.last_stamp.load(Relaxed);
        if mark <= self.flushed_until.load(Relaxed) {
            return;
        }
        if mark > self.clock.now().saturating_add(STAMP_LEAD_MAX) {
            self.remove_all();
        } else {
            self.flushed_until.fetch_max(mark, Relaxed);
        }
    }

    /// Removes every item, some at a time.
    fn remove_all(&self) {
        let mut ids = Vec::new();
        for number in 0..self.index.n_shards() {
            let mut cursor = Cursor::default();
            let mut is_more = true;
            while is_more {
                let shard = &mut self.index.lock_shard(number);
                is_more = shard.ids_from(&mut cursor, REMOVED_AT_ONCE, |id| ids.push(id));
                for id in ids.drain(..) {
                    let hash = self.index.hash(self.items.view(id, shard).key());
                    self.unlink(shard, hash, id, Cause::Flushed);
                }
            }
        }
    }

    pub(crate) fn flush_if_due(&self) {
        let due = self.flush_due.load(Relaxed);
        let is_due = due != 0 && due <= self.clock.now();
        if is_due && self.flush_due.compare_exchange(due, 0, Relaxed, Relaxed).is_ok() {
            // On time, it ends all there is; late, only what was stored up to its moment, unless
            // stamps have run past that.
            if due == self.clock.now() || self.flushed_until.load(Relaxed) >= due {
                self.flush_now();
            } else {
                self.flushed_until.fetch_max(due, Relaxed);
            }
        }
    }

    /// The reading up to which items are flushed; 0 if they never were.
    pub(crate) fn flushed_until(&self) -> u32 {
        self.flushed_until.load(Relaxed)
    }

    pub(crate) fn is_flushed(&self, id: ItemId) -> bool {
        self.items.time(id) <= self.flushed_until.load(Relaxed)
    }

    /// When an item will die if nobody reads or touches it before.
    pub(crate) fn ends_at(&self, id: ItemId) -> Option<u32> {
        let expiry = Some(self.items.expiry(id)).filter(|&expiry| expiry != 0);
        let idle = self.config.time_to_idle.map(|secs| self.items.time(id).saturating_add(secs));
        expiry.into_iter().chain(idle).min()
    }

    /// Whether an item last read or written at `time` has been idle for as long as the settings
    /// allow.
    #[inline]
    fn is_idle_since(&self, time: u32, now: u32) -> bool {
        self.config.time_to_idle.is_some_and(|secs| now.saturating_sub(time) >= secs)
    }

    /// Finds an item that is alive; a dead one is removed on the way.
    #[inline]
    pub(crate) fn find_live(
        &self,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        key: Key<'_>,
    ) -> Result<ItemId, Missed> {
        let Some(id) = shard.find(&self.items, hash, key.as_bytes()) else {
            return Err(Missed::NotFound);
        };
        if self.is_dead(self.items.head(id)) {
            return Err(self.bury(shard, hash, id));
        }
        Ok(id)
    }

    /// Whether an item is flushed, its life span over, or idle for too long.
    #[inline]
    pub(crate) fn is_dead(&self, head: Head<'_>) -> bool {
        let (time, expiry) = (head.time(), head.expiry());
        let now = self.clock.now();
        time <= self.flushed_until.load(Relaxed)
            || expiry != 0 && expiry <= now
            || self.is_idle_since(time, now)
    }

    /// Counts and removes an item that was found dead.
    #[cold]
    #[inline(never)]
    fn bury(&self, shard: &mut ShardGuard<'_>, hash: Hash, id: ItemId) -> Missed {
        let cause = self.cause_of_death(id);
        let (counter, missed) = match cause {
            Cause::Flushed => (Counter::GetFlushed, Missed::Flushed),
            _ => (Counter::GetExpired, Missed::Expired),
        };
        self.counters.add(counter);
        self.unlink(shard, hash, id, cause);
        missed
    }

    /// The class in whose LRU an item is: that of its chunk, but the last one for a chained item,
    /// whose head lies in a small chunk.
    #[inline]
    pub(crate) fn lru_class(&self, id: ItemId) -> ClassId {
        self.lru_class_in(id, self.items.state(id))
    }

    /// [`lru_class`](Self::lru_class) of an item whose state word is known.
    #[inline]
    pub(crate) fn lru_class_in(&self, id: ItemId, state: u32) -> ClassId {
        if state & CHAINED != 0 { self.slabs.ladder().last() } else { self.items.arena().class(id) }
    }

    pub(crate) fn count_hit(&self, id: ItemId) {
        let state = self.items.state(id);
        self.counters.add_class(self.lru_class_in(id, state).idx(), hit_counter(state));
    }

    /// Whether reading an item of this state changes nothing: it is active, or was read
    /// often, and most reads are of those.
    #[inline]
    fn is_settled(&self, state: u32) -> bool {
        let is_noted = state & ACTIVE != 0 || state & FREQUENCY_MASK == FREQUENCY_MASK;
        is_noted && self.settings.segmented() && self.config.time_to_idle.is_none()
    }

    /// Marks an item of a locked shard read. The first read sets FETCHED, the next
    /// ACTIVE; an item that turns active in COLD is noted for the maintainer to move.
    pub(crate) fn bump(&self, shard: &ShardGuard<'_>, id: ItemId, hash: Hash, stamp: u32) {
        let items = &self.items;
        if !self.settings.segmented() {
            items.set_state(id, FETCHED);
            self.update(shard, id, stamp);
            return;
        }
        if self.config.time_to_idle.is_some() && items.time(id) != stamp {
            items.set_time(id, stamp);
        }
        if self.is_s3fifo() {
            if items.count_read(id) {
                items.set_time(id, stamp);
            }
            return;
        }
        let state = items.state(id);
        if state & ACTIVE != 0 {
            return;
        }
        if state & FETCHED == 0 {
            items.set_state(id, FETCHED);
            return;
        }
        if items.queue(id) != Queue::Cold {
            items.set_state(id, ACTIVE);
            items.set_time(id, stamp);
            return;
        }
        // The queue holds no reference, which would keep evicted memory: whoever takes the id up
        // looks first whether the index still has it.
        items.set_state(id, ACTIVE);
        if self.bumps.push((id, hash)).is_err() {
            items.clear_state(id, ACTIVE);
            self.counters.add(Counter::BumpsDropped);
        }
    }

    /// Marks an item of a locked shard stored or counted again (memcached's `do_item_update`).
    pub(crate) fn update(&self, shard: &ShardGuard<'_>, id: ItemId, stamp: u32) {
        let items = &self.items;
        if items.state(id) & LINKED == 0 {
            return;
        }
        if self.settings.segmented() {
            items.set_time(id, stamp);
            if items.queue(id) == Queue::Cold && items.state(id) & ACTIVE != 0 {
                items.clear_state(id, ACTIVE);
                self.requeue(shard, id, Queue::Warm);
            }
            return;
        }
        // The time of the last move serves as that of the last read, where that must be exact.
        let pause = if self.config.time_to_idle.is_some() { 0 } else { FLAT_BUMP_SECS };
        if items.time(id) < stamp.saturating_sub(pause) {
            items.set_time(id, stamp);
            self.requeue(shard, id, items.queue(id));
        }
    }

    /// Moves a linked item of a locked shard to the head of a queue.
    fn requeue(&self, shard: &ShardGuard<'_>, id: ItemId, to: Queue) {
        let from = self.lru.lock(self.lru_class(id), self.items.queue(id));
        self.carry(from, shard, id, to);
    }

    /// Takes an item out of the index and its list, drops the index's reference, and tells why.
    pub(crate) fn unlink(&self, shard: &mut ShardGuard<'_>, hash: Hash, id: ItemId, cause: Cause) {
        self.tell(shard, id, cause);
        shard.remove(hash, id);
        self.unlink_from_lru(id);
    }

    /// The part of unlinking that comes after the index: list, flag, reference.
    pub(crate) fn unlink_from_lru(&self, id: ItemId) {
        let head = self.items.head(id);
        let state = head.state();
        let bytes = self.items.total_bytes_in(id, head);
        let class = self.lru_class_in(id, state);
        self.lru.lock(class, queue_of(state)).unlink(&self.items, id, bytes);
        self.count_out(bytes);
        head.clear_state(LINKED);
        self.drop_ref(id);
    }

    /// Counts a value up or down under the shard lock.
    #[expect(clippy::too_many_arguments, reason = "the rules of incr and ma in one place")]
    fn count(
        &self,
        shard: &mut ShardGuard<'_>,
        hash: Hash,
        key: Key<'_>,
        direction: Arith,
        delta: u64,
        compare: Option<Cas>,
        new_cas: Option<Cas>,
    ) -> Count {
        let stamp = self.stamp();
        let found = self.find_live(shard, hash, key);
        let before = found.map(|id| self.extent(self.items.view(id, shard)));
        let refuse = |counted| Count { counted, id: None, before };
        let Ok(id) = found else {
            return refuse(Counted::NotFound);
        };
        let items = &self.items;
        let Some(old) = items.view(id, shard).contiguous().filter(|value| !value.is_empty()) else {
            return refuse(Counted::NonNumeric);
        };
        // 0 compares with nothing, as in memcached.
        if compare.is_some_and(|compare| compare.0 != 0 && compare != items.cas(id)) {
            return refuse(Counted::Exists);
        }
        let value = match arith::apply(direction, old, delta) {
            Ok(value) => value,
            Err(ArithError::NonNumeric | _) => return refuse(Counted::NonNumeric),
        };
        let hit = match direction {
            Arith::Incr => ClassCounter::IncrHits,
            Arith::Decr => ClassCounter::DecrHits,
        };
        self.counters.add_class(self.lru_class(id).idx(), hit);
        let mut digits = [0; arith::DIGITS_MAX];
        let digits = decimal(value, &mut digits);
        if digits.len() <= old.len()
            && let Some(place) = items.value_in_place(id, shard)
        {
            place[..digits.len()].copy_from_slice(digits);
            place[digits.len()..].fill(b' ');
            if self.config.cas {
                items.set_cas(id, self.cas_or_next(new_cas));
            }
            self.update(shard, id, stamp);
            return Count { counted: Counted::Value(value, items.cas(id)), id: Some(id), before };
        }
        let flags = items.view(id, shard).flags();
        let birth = Birth {
            key: key.as_bytes(),
            flags,
            expiry: items.expiry(id),
            value_len: digits.len(),
            key_is_binary: items.view(id, shard).key_is_binary(),
        };
        let Ok(mut writer) = Writer::new(self, birth, Caller::HoldsShard) else {
            return refuse(Counted::NoMemory);
        };
        if writer.write(digits).is_err() {
            return refuse(Counted::NoMemory);
        }
        let new = writer.into_id();
        let cas = self.cas_or_next(new_cas);
        self.relink(shard, hash, id, new, cas, stamp);
        Count { counted: Counted::Value(value, items.cas(new)), id: Some(new), before }
    }
}

/// Writes a number in decimal at the end of a buffer.
pub(crate) fn decimal(mut value: u64, buffer: &mut [u8; arith::DIGITS_MAX]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10).to_le_bytes()[0];
        value /= 10;
        if value == 0 {
            return &buffer[at..];
        }
    }
}
