//! The index: from key to item, in shards with a lock each.
//!
//! A shard is a [`hashbrown::HashTable`] of 4-byte ids; with one control byte a bucket it takes
//! 5.7 to 11.4 bytes an item. The shard lock is the item lock: whoever holds it is alone with the
//! shard's items. Many small tables grow one at a time, where one large table would stop the world
//! (a third of a second at 7 million items): a table of 7,000 items takes less than a millisecond,
//! one of the largest stores' (256 GiB, 170,000 items of 100 bytes a shard) some tens.
//!
//! The parts of a 64-bit hash do not overlap: hashbrown takes its tag from the top 7 bits and its
//! bucket from the low ones, the shard is chosen by bits 40 and up.

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use crate::arena::ItemId;
use crate::item::{Items, Quiet};
use crate::store::closures;

/// Shards are chosen by hash bits from here on.
const SHARD_SHIFT: u32 = 40;

/// So much memory a shard: 1,024 shards at the default of 64 MiB. At 100 bytes an item a shard
/// then has at most 650 of them and grows in microseconds.
const BYTES_PER_SHARD: usize = 64 << 10;
const SHARDS_MIN: usize = 64;
const SHARDS_MAX: usize = 1 << 14;

/// A hash of a key, by this store's seed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hash(u64);

/// All shards.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Shard]>,
    secrets: RapidSecrets,
}

/// A shard on a cache line of its own, lock and table header together.
#[derive(Debug)]
#[repr(align(64))]
struct Shard(Mutex<HashTable<ItemId>>);

/// A locked shard. Holding it keeps the items of the shard as they are (A2).
#[derive(Debug)]
pub(crate) struct ShardGuard<'a> {
    table: MutexGuard<'a, HashTable<ItemId>>,
    index: &'a Index,
}

impl Quiet for ShardGuard<'_> {}

impl Index {
    pub(crate) fn new(memory_limit: usize, expected_items: usize, seed: u64) -> Self {
        let n_shards =
            (memory_limit / BYTES_PER_SHARD).next_power_of_two().clamp(SHARDS_MIN, SHARDS_MAX);
        let room = expected_items / n_shards;
        Self {
            shards: (0..n_shards)
                .map(|_| Shard(Mutex::new(HashTable::with_capacity(room))))
                .collect(),
            secrets: RapidSecrets::seed(seed),
        }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> Hash {
        Hash(rapidhash_v3_seeded(key, &self.secrets))
    }

    pub(crate) fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// Waits for the shard of a hash.
    pub(crate) fn lock(&self, hash: Hash) -> ShardGuard<'_> {
        closures::assert_outside(self);
        ShardGuard { table: self.shards[self.shard_of(hash)].0.lock(), index: self }
    }

    /// Waits for the shard of a key, and gives the key's hash with it.
    pub(crate) fn lock_key(&self, key: &[u8]) -> (Hash, ShardGuard<'_>) {
        let hash = self.hash(key);
        (hash, self.lock(hash))
    }

    /// Takes the shard of a hash if nobody has it; for those who already hold an LRU lock.
    pub(crate) fn try_lock(&self, hash: Hash) -> Option<ShardGuard<'_>> {
        let table = self.shards[self.shard_of(hash)].0.try_lock()?;
        Some(ShardGuard { table, index: self })
    }

    /// Waits for a shard by number.
    pub(crate) fn lock_shard(&self, number: usize) -> ShardGuard<'_> {
        closures::assert_outside(self);
        ShardGuard { table: self.shards[number].0.lock(), index: self }
    }

    fn shard_of(&self, hash: Hash) -> usize {
        let bits = (hash.0 >> SHARD_SHIFT) as usize;
        bits & (self.shards.len() - 1)
    }
}

impl ShardGuard<'_> {
    pub(crate) fn find(&self, items: &Items, hash: Hash, key: &[u8]) -> Option<ItemId> {
        self.table.find(hash.0, |&id| items.view(id, self).key() == key).copied()
    }

    /// Whether the shard has this very item.
    pub(crate) fn has(&self, hash: Hash, id: ItemId) -> bool {
        self.table.find(hash.0, |&other| other == id).is_some()
    }

    /// Adds an item whose key is not there; false when the table cannot grow for want of memory.
    #[must_use = "the item is not in the index if there was no memory"]
    pub(crate) fn insert(&mut self, items: &Items, hash: Hash, id: ItemId) -> bool {
        let index = self.index;
        let rehash = |&id: &ItemId| index.hash(items.view(id, &Growing).key()).0;
        if self.table.try_reserve(1, rehash).is_err() {
            return false;
        }
        self.table.insert_unique(hash.0, id, rehash);
        true
    }

    /// Puts an item in the place of another of the same key.
    pub(crate) fn replace(&mut self, hash: Hash, old: ItemId, new: ItemId) {
        let slot = self.table.find_mut(hash.0, |&id| id == old);
        *slot.expect("the item being replaced is in the index") = new;
    }

    pub(crate) fn remove(&mut self, hash: Hash, id: ItemId) {
        let entry = self.table.find_entry(hash.0, |&other| other == id);
        entry.expect("the item being unlinked is in the index").remove();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.table.iter().copied()
    }

    /// How many items the table can hold before it grows, and its memory in bytes.
    pub(crate) fn table_size(&self) -> (usize, usize) {
        (self.table.capacity(), self.table.allocation_size())
    }
}

/// The witness while a table grows: its guard is borrowed by the table, but held all the same.
struct Growing;
impl Quiet for Growing {}
