//! The index: from key to item, in shards with a lock each.
//!
//! A shard is a [`Table`] of 4-byte ids in buckets of a cache line; it takes 6.3 to 7.9 bytes an
//! item. The shard lock is the item lock: whoever holds it is alone with the shard's items. Many
//! small tables grow one at a time, where one large table would stop the world (a third of a second
//! at 7 million items): 600 items are moved in some 20 microseconds,
//! though the key of each is fetched from memory.
//!
//! The parts of a 64-bit hash do not overlap:
//!
//! ```text
//!  63            32 31     24 23            0
//!   | bucket       | tag     | shard        |
//! ```

mod table;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

use crate::arena::{ItemId, prefetch};
use crate::item::{ItemView, Items, Quiet};
use crate::store::closures;
use table::{BUCKET_BYTES, Table};

pub(crate) use table::Cursor;
#[cfg(all(test, not(loom)))]
pub(crate) use table::no_memory;

/// So much memory a shard: 1,024 shards at the default of 64 MiB. At 100 bytes an item a shard
/// then has about 650 of them; and the shards, a cache line each, take a thousandth of the memory.
const BYTES_PER_SHARD: usize = 64 << 10;
const SHARDS_MIN: usize = 64;
/// From 16 GiB on shards are larger. More of them would make looking at all of them slow.
const SHARDS_MAX: usize = 1 << 18;
const _: () = assert!(SHARDS_MAX <= 1 << TAG_SHIFT);

/// A header and a short key lie in so many cache lines.
const KEY_LINES: usize = 2;

/// Where the parts of a hash begin; the shard's at 0.
const TAG_SHIFT: u32 = 24;
const BUCKET_SHIFT: u32 = 32;

/// A hash of a key, by this store's seed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hash(u64);

/// All shards.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Shard]>,
    secrets: RapidSecrets,
    /// How many items the tables can hold before they grow.
    capacity: AtomicUsize,
    /// What the tables take, in bytes.
    table_bytes: AtomicUsize,
}

/// A shard on a cache line of its own, lock and table header together.
#[derive(Debug)]
#[repr(align(64))]
struct Shard {
    table: Mutex<Table>,
    /// Where the table's buckets begin and how many there are, for those who fetch one ahead
    /// without the lock. Not always true of the same moment, and out of date when it is read:
    /// nobody goes there but to fetch.
    base: AtomicUsize,
    n_buckets: AtomicUsize,
}

const _: () = assert!(size_of::<Shard>() == 64);

/// A locked shard. Holding it keeps the items of the shard as they are (A2).
#[derive(Debug)]
pub(crate) struct ShardGuard<'a> {
    table: MutexGuard<'a, Table>,
    index: &'a Index,
}

impl Quiet for ShardGuard<'_> {}

impl Shard {
    fn new(table: Table) -> Self {
        Self {
            base: AtomicUsize::new(table.base()),
            n_buckets: AtomicUsize::new(table.n_buckets()),
            table: Mutex::new(table),
        }
    }
}

impl Hash {
    /// Its bits.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The tag, not 0.
    #[inline]
    fn tag(self) -> u8 {
        (self.0 >> TAG_SHIFT).to_le_bytes()[0].max(1)
    }

    /// The bucket of so many in which an item of this hash belongs: the top 32 bits as a fraction.
    #[inline]
    fn bucket(self, n_buckets: usize) -> usize {
        (((self.0 >> BUCKET_SHIFT) * n_buckets as u64) >> 32) as usize
    }
}

impl Index {
    pub(crate) fn new(memory_limit: usize, expected_items: usize, seed: u64) -> Self {
        // To the next power of two, up or down.
        let n_shards = (memory_limit / BYTES_PER_SHARD * 3 / 4).next_power_of_two();
        let n_shards = n_shards.clamp(SHARDS_MIN, SHARDS_MAX);
        let room = expected_items.div_ceil(n_shards);
        let tables = (0..n_shards).map(|number| Table::with_room(room, number));
        let shards: Box<[_]> = tables.map(Shard::new).collect();
        let index = Self {
            shards,
            secrets: RapidSecrets::seed(seed),
            capacity: AtomicUsize::new(0),
            table_bytes: AtomicUsize::new(0),
        };
        for shard in &index.shards {
            let table = shard.table.lock();
            index.capacity.fetch_add(table.capacity(), Relaxed);
            index.table_bytes.fetch_add(table.bytes(), Relaxed);
        }
        index
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> Hash {
        // The variant for short inputs: a key has at most 250 bytes.
        Hash(rapidhash_v3_micro_inline::<true, false>(key, &self.secrets))
    }

    pub(crate) fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// How many items the tables can hold before they grow, and the index's memory in bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let shard_bytes = size_of_val(&*self.shards);
        (self.capacity.load(Relaxed), self.table_bytes.load(Relaxed) + shard_bytes)
    }

    /// Waits for the shard of a hash.
    #[inline]
    pub(crate) fn lock(&self, hash: Hash) -> ShardGuard<'_> {
        closures::assert_outside(self);
        ShardGuard { table: self.shard(hash).table.lock(), index: self }
    }

    /// Waits for the shard of a key, and gives the key's hash with it.
    #[inline]
    pub(crate) fn lock_key(&self, key: &[u8]) -> (Hash, ShardGuard<'_>) {
        let hash = self.hash(key);
        (hash, self.lock(hash))
    }

    /// Takes the shard of a hash if nobody has it; for those who already hold an LRU lock.
    pub(crate) fn try_lock(&self, hash: Hash) -> Option<ShardGuard<'_>> {
        let table = self.shard(hash).table.try_lock()?;
        Some(ShardGuard { table, index: self })
    }

    /// Waits for a shard by number.
    pub(crate) fn lock_shard(&self, number: usize) -> ShardGuard<'_> {
        closures::assert_outside(self);
        ShardGuard { table: self.shards[number].table.lock(), index: self }
    }

    /// Fetches a hash's shard, the first of three lines on the way to an item.
    #[inline]
    pub(crate) fn prefetch_shard(&self, hash: Hash) {
        prefetch(std::ptr::from_ref(self.shard(hash)).addr());
    }

    /// Fetches a hash's bucket, the second line. Takes no lock.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: Hash) {
        let shard = self.shard(hash);
        let bucket = hash.bucket(shard.n_buckets.load(Relaxed));
        prefetch(shard.base.load(Relaxed).wrapping_add(bucket * BUCKET_BYTES));
    }

    /// Fetches `n_lines` of the item that a hash most probably belongs to, the third line and those
    /// behind it. Does nothing where somebody has the shard.
    #[inline]
    pub(crate) fn prefetch_item(&self, items: &Items, hash: Hash, n_lines: usize) {
        let Some(table) = self.shard(hash).table.try_lock() else { return };
        if let Some(id) = table.candidate(hash) {
            items.arena().prefetch(id, n_lines);
        }
    }

    #[inline]
    fn shard(&self, hash: Hash) -> &Shard {
        &self.shards[self.number_of(hash)]
    }

    #[inline]
    fn number_of(&self, hash: Hash) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
        let bits = hash.0 as usize;
        bits & (self.shards.len() - 1)
    }
}

impl ShardGuard<'_> {
    #[inline]
    pub(crate) fn find(&self, items: &Items, hash: Hash, key: &[u8]) -> Option<ItemId> {
        self.find_view(items, hash, key).map(|view| view.id())
    }

    /// [`find`](Self::find), for those who go on reading.
    #[inline]
    pub(crate) fn find_view<'a>(
        &'a self,
        items: &'a Items,
        hash: Hash,
        key: &[u8],
    ) -> Option<ItemView<'a>> {
        self.table.find(hash, |id| {
            let view = items.view(id, self);
            (view.key() == key).then_some(view)
        })
    }

    /// Whether the shard has this very item.
    pub(crate) fn has(&self, hash: Hash, id: ItemId) -> bool {
        self.table.find(hash, |other| (other == id).then_some(())).is_some()
    }

    /// The item whose key has this hash, if there is one.
    pub(crate) fn find_hash(&self, items: &Items, hash: Hash) -> Option<ItemId> {
        self.table
            .find(hash, |id| (self.index.hash(items.view(id, self).key()) == hash).then_some(id))
    }

    /// Adds an item whose key is not there; false when the table cannot grow for want of memory.
    #[must_use = "the item is not in the index if there was no memory"]
    pub(crate) fn insert(&mut self, items: &Items, hash: Hash, id: ItemId) -> bool {
        let index = self.index;
        let ahead = |id| items.arena().prefetch(id, KEY_LINES);
        let rehash = |id| index.hash(items.view(id, &Growing).key());
        let before = self.table.n_buckets();
        let (capacity, bytes) = (self.table.capacity(), self.table.bytes());
        let is_in = self.table.insert(hash, id, index.number_of(hash), ahead, rehash);
        if self.table.n_buckets() != before {
            let shard = index.shard(hash);
            shard.base.store(self.table.base(), Relaxed);
            shard.n_buckets.store(self.table.n_buckets(), Relaxed);
            index.capacity.fetch_add(self.table.capacity() - capacity, Relaxed);
            index.table_bytes.fetch_add(self.table.bytes() - bytes, Relaxed);
        }
        is_in
    }

    /// Puts an item in the place of another of the same key.
    pub(crate) fn replace(&mut self, hash: Hash, old: ItemId, new: ItemId) {
        let is_done = self.table.replace(hash, old, new);
        assert!(is_done, "the item being replaced is in the index");
    }

    pub(crate) fn remove(&mut self, hash: Hash, id: ItemId) {
        let is_done = self.table.remove(hash, id);
        assert!(is_done, "the item being unlinked is in the index");
    }

    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.table.iter()
    }

    /// Goes on with a walk through the shard's items: calls `f` with the next ones, `max` of them
    /// or a few more, and says whether there are any left. The lock may be let go between calls.
    ///
    /// An item that is there from the first call to the last is given, whatever is added or
    /// removed meanwhile: once if the table has not grown in between; where it has, those at the
    /// seam may be given again. An item that comes or goes during the walk is given or not; one
    /// whose key is stored again meanwhile may be given as old, as new, or as both.
    pub(crate) fn ids_from(&self, cursor: &mut Cursor, max: usize, f: impl FnMut(ItemId)) -> bool {
        self.table.ids_from(cursor, max, f)
    }

    /// Panics where the table is not what it should be.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn audit(&self, items: &Items) {
        self.table.audit(|id| self.index.hash(items.view(id, self).key()));
    }
}

/// The witness while a table grows: its guard is borrowed by the table, but held all the same.
struct Growing;
impl Quiet for Growing {}
