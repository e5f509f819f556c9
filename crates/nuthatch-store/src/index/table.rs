//! The table of one shard: buckets of a cache line each, with the ids of up to twelve items.
//!
//! ```text
//!   0 tags      6 x u8    slots 0, 2, 4 …: a byte of each item's hash, so that few keys are
//!                         compared in vain; 0 where there is none
//!   6 overflow  u16       items that belong here or before and lie behind
//!   8 tags      6 x u8    slots 1, 3, 5 …
//!  14 –
//!  16 ids       12 x u32
//! ```
//!
//! An item belongs in the bucket that the top 32 bits of its hash name: as a fraction of the
//! number of buckets, so that there may be any number of them and a table grows by a fifth to a
//! quarter, where one that masks must double. Between two growths a table is 68 to 85 % full: 6.3
//! to 7.9 bytes an item.
//!
//! A full bucket sends its items to the next one. It counts those that passed over it, as F14
//! does: a search ends at the first bucket that nobody passed over, and removing leaves no
//! tombstones. At 85 % one item in twenty lies elsewhere than where it belongs.
//!
//! What is moved when a table grows is ids alone, but where to depends on the keys: memory far
//! away, which is fetched ahead of its use.
//!
//! A table knows ids and hashes. Whether an id is the one that is looked for is its caller's to
//! say, and so is the lock that guards it.

use super::Hash;
use crate::arena::ItemId;

/// As many ids as fit a cache line with their tags.
const SLOTS: usize = 12;

/// The buckets whose items are fetched ahead of the one being moved, when a table grows.
const BUCKETS_AHEAD: usize = 2;

/// An overflow count that has got so far stays there, and searches pass the bucket by for good.
/// (Only keys chosen to collide get there, and nobody knows the seed to choose them by.)
const OVERFLOW_STUCK: u64 = 0xffff;

/// The ids of one shard.
#[derive(Debug, Default)]
pub(super) struct Table {
    buckets: Vec<Bucket>,
    n_items: usize,
}

/// Where a walk through a shard has got to; [`Default`] is the beginning.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cursor {
    /// The next bucket, and how many there were when it was.
    bucket: usize,
    n_buckets: usize,
    /// The table has grown since the walk began.
    has_grown: bool,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// The tags of the even slots and of the odd ones, six bytes each; above those of the even
    /// ones the overflow count.
    words: [u64; 2],
    ids: [Option<ItemId>; SLOTS],
}

/// A cache line.
pub(super) const BUCKET_BYTES: usize = 64;
const _: () = assert!(size_of::<Bucket>() == BUCKET_BYTES);

/// A slot of a bucket.
#[derive(Clone, Copy, Debug)]
struct Place {
    bucket: usize,
    slot: usize,
}

impl Table {
    /// A table with room for so many items, or as many as there is memory for.
    pub(super) fn with_room(n_items: usize, number: usize) -> Self {
        let mut table = Self::default();
        if n_items > 0 {
            // Between 100 and 125 % of it, so that not all shards grow at once.
            let least = buckets_for(n_items);
            let jitter = (least / 4) * (number % STEPS) / STEPS;
            table.buckets = empty_buckets(least + jitter).unwrap_or_default();
        }
        table
    }

    /// How many items the table can hold before it grows.
    pub(super) fn capacity(&self) -> usize {
        capacity_of(self.buckets.len())
    }

    pub(super) fn n_buckets(&self) -> usize {
        self.buckets.len()
    }

    /// What the buckets take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * BUCKET_BYTES
    }

    /// The address of the first bucket.
    pub(super) fn base(&self) -> usize {
        self.buckets.as_ptr().addr()
    }

    /// What `is_it` makes of the id of this hash that it knows.
    #[inline]
    pub(super) fn find<T>(&self, hash: Hash, is_it: impl Fn(ItemId) -> Option<T>) -> Option<T> {
        self.search(hash, is_it).map(|(_, found)| found)
    }

    /// An id that may be the one looked for, by its tag alone, in the bucket where it belongs.
    #[inline]
    pub(super) fn candidate(&self, hash: Hash) -> Option<ItemId> {
        let bucket = self.buckets.get(hash.bucket(self.buckets.len()))?;
        bucket.matching(hash.tag()).find_map(|slot| *bucket.ids.get(slot)?)
    }

    /// Adds an id that is not there; false if there is no memory to grow. A table that grows asks
    /// for the hashes of its ids (`rehash`), and says some time before which ones (`ahead`).
    /// `number` is the shard's.
    pub(super) fn insert(
        &mut self,
        hash: Hash,
        id: ItemId,
        number: usize,
        ahead: impl Fn(ItemId),
        rehash: impl Fn(ItemId) -> Hash,
    ) -> bool {
        if self.n_items >= self.capacity() && !self.grow(number, ahead, rehash) {
            return false;
        }
        place(&mut self.buckets, hash, id);
        self.n_items += 1;
        true
    }

    /// Puts an id in the place of another of the same hash; false if that is not there.
    pub(super) fn replace(&mut self, hash: Hash, old: ItemId, new: ItemId) -> bool {
        let Some((at, _)) = self.search(hash, |id| (id == old).then_some(())) else { return false };
        self.buckets[at.bucket].ids[at.slot] = Some(new);
        true
    }

    /// Removes an id; false if it is not there.
    pub(super) fn remove(&mut self, hash: Hash, id: ItemId) -> bool {
        let Some((at, _)) = self.search(hash, |other| (other == id).then_some(())) else {
            return false;
        };
        self.buckets[at.bucket].clear(at.slot);
        self.n_items -= 1;
        let mut passed = hash.bucket(self.buckets.len());
        while passed != at.bucket {
            self.buckets[passed].uncount_overflow();
            passed = next(passed, self.buckets.len());
        }
        true
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn iter(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.buckets.iter().flat_map(Bucket::ids)
    }

    /// Goes on with a walk: calls `f` with the ids of the next buckets, `max` of them or a few
    /// more; says whether there are any left.
    pub(super) fn ids_from(
        &self,
        cursor: &mut Cursor,
        max: usize,
        mut f: impl FnMut(ItemId),
    ) -> bool {
        let n_buckets = self.buckets.len();
        if cursor.n_buckets != n_buckets {
            cursor.has_grown = cursor.n_buckets != 0;
            cursor.bucket = moved_bucket(cursor.bucket, cursor.n_buckets, n_buckets);
            cursor.n_buckets = n_buckets;
        }
        let mut n_given = 0;
        while let Some(bucket) = self.buckets.get(cursor.bucket) {
            // Where nobody passed over, what belongs before lies before: a growth moves nothing
            // that is still to come to where the walk has been.
            let passed_over = cursor.bucket.checked_sub(1).map(|before| &self.buckets[before]);
            if n_given >= max.max(1) && passed_over.is_none_or(|before| before.overflow() == 0) {
                return true;
            }
            for id in bucket.ids() {
                f(id);
                n_given += 1;
            }
            cursor.bucket += 1;
        }
        if std::mem::take(&mut cursor.has_grown) {
            // What now lies at the front because the end is full was at the end when the walk
            // began, and has not been given yet.
            let overflowing = |before: &&Bucket| before.overflow() > 0;
            let last = self.buckets.last().into_iter();
            let n_wrapped = last.chain(&self.buckets).take_while(overflowing).count();
            self.buckets.iter().take(n_wrapped).flat_map(Bucket::ids).for_each(f);
        }
        false
    }

    #[inline]
    fn search<T>(&self, hash: Hash, is_it: impl Fn(ItemId) -> Option<T>) -> Option<(Place, T)> {
        let home = hash.bucket(self.buckets.len());
        // A table without buckets ends here at once.
        let bucket = self.buckets.get(home)?;
        let found = bucket.search(hash.tag(), &is_it);
        if let Some((slot, found)) = found {
            return Some((Place { bucket: home, slot }, found));
        }
        if bucket.overflow() == 0 {
            return None;
        }
        self.search_further(hash, is_it)
    }

    /// Goes on where an item is not where it belongs.
    #[cold]
    #[inline(never)]
    fn search_further<T>(
        &self,
        hash: Hash,
        is_it: impl Fn(ItemId) -> Option<T>,
    ) -> Option<(Place, T)> {
        let n_buckets = self.buckets.len();
        let home = hash.bucket(n_buckets);
        let mut at = next(home, n_buckets);
        while at != home {
            let bucket = &self.buckets[at];
            if let Some((slot, found)) = bucket.search(hash.tag(), &is_it) {
                return Some((Place { bucket: at, slot }, found));
            }
            if bucket.overflow() == 0 {
                return None;
            }
            at = next(at, n_buckets);
        }
        None
    }

    /// Moves all ids to a larger table; false if there is no memory for it.
    #[cold]
    #[inline(never)]
    fn grow(
        &mut self,
        number: usize,
        ahead: impl Fn(ItemId),
        rehash: impl Fn(ItemId) -> Hash,
    ) -> bool {
        let Some(mut larger) = empty_buckets(grown(self.buckets.len(), number)) else {
            return false;
        };
        self.buckets.iter().take(BUCKETS_AHEAD).flat_map(Bucket::ids).for_each(&ahead);
        for (n, bucket) in self.buckets.iter().enumerate() {
            self.buckets.get(n + BUCKETS_AHEAD).into_iter().flat_map(Bucket::ids).for_each(&ahead);
            for id in bucket.ids() {
                place(&mut larger, rehash(id), id);
            }
        }
        self.buckets = larger;
        true
    }

    /// Panics where the table is not what it should be.
    #[cfg(any(test, fuzzing))]
    pub(super) fn audit(&self, rehash: impl Fn(ItemId) -> Hash) {
        let n_buckets = self.buckets.len();
        let mut passed_over = vec![0; n_buckets];
        let mut n_items = 0;
        for (number, bucket) in self.buckets.iter().enumerate() {
            for slot in 0..SLOTS {
                let Some(id) = bucket.ids[slot] else {
                    assert_eq!(bucket.tag(slot), 0, "a free slot has no tag");
                    continue;
                };
                let hash = rehash(id);
                assert_eq!(bucket.tag(slot), hash.tag(), "a tag is that of its item's hash");
                let mut at = hash.bucket(n_buckets);
                while at != number {
                    passed_over[at] += 1;
                    at = next(at, n_buckets);
                }
                n_items += 1;
            }
        }
        assert_eq!(self.n_items, n_items, "a table knows its size");
        assert!(self.n_items <= self.capacity(), "a table grows before it is too full");
        for (bucket, passed_over) in self.buckets.iter().zip(passed_over) {
            let is_stuck = bucket.overflow() == OVERFLOW_STUCK;
            assert!(is_stuck || bucket.overflow() == passed_over, "overflow is counted");
        }
    }
}

impl Bucket {
    const EMPTY: Self = Self { words: [0; 2], ids: [None; SLOTS] };

    /// The slot with an id that `is_it` knows, among those with this tag.
    #[inline]
    fn search<T>(&self, tag: u8, is_it: impl Fn(ItemId) -> Option<T>) -> Option<(usize, T)> {
        for slot in self.matching(tag) {
            if let Some(&Some(id)) = self.ids.get(slot)
                && let Some(found) = is_it(id)
            {
                return Some((slot, found));
            }
        }
        None
    }

    /// The slots whose tag this is, which is not 0. A slot whose tag differs in the lowest bit
    /// alone may be among them.
    #[inline]
    fn matching(&self, tag: u8) -> Slots {
        // The top bit of each byte that is zero, of six; where the one below it was zero too, 1
        // counts as zero, which costs a look at the id.
        let zero_bytes =
            |word: u64| word.wrapping_sub(LOW_BITS) & !word & (TAG_BITS & LOW_BITS << 7);
        let tags = LOW_BITS * u64::from(tag);
        let [even, odd] = self.words;
        Slots(zero_bytes(even ^ tags) >> 7 | zero_bytes(odd ^ tags) >> 3)
    }

    #[cfg(any(test, fuzzing))]
    fn tag(&self, slot: usize) -> u8 {
        self.words[slot % 2].to_le_bytes()[slot / 2]
    }

    fn set_tag(&mut self, slot: usize, tag: u8) {
        let mut bytes = self.words[slot % 2].to_le_bytes();
        bytes[slot / 2] = tag;
        self.words[slot % 2] = u64::from_le_bytes(bytes);
    }

    /// How many items passed over this bucket.
    #[inline]
    fn overflow(&self) -> u64 {
        self.words[0] >> OVERFLOW_SHIFT
    }

    fn count_overflow(&mut self) {
        if self.overflow() != OVERFLOW_STUCK {
            self.words[0] += 1 << OVERFLOW_SHIFT;
        }
    }

    fn uncount_overflow(&mut self) {
        if self.overflow() != OVERFLOW_STUCK {
            self.words[0] -= 1 << OVERFLOW_SHIFT;
        }
    }

    fn ids(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.ids.iter().copied().flatten()
    }

    /// A slot without an id.
    #[inline]
    fn free_slot(&self) -> Option<usize> {
        // Exact, unlike `matching`: nothing is borrowed from a neighbour.
        let is_used = |word: u64| (((word & !(LOW_BITS << 7)) + !(LOW_BITS << 7)) | word) >> 7;
        let [even, odd] = self.words.map(|word| !is_used(word) & TAG_BITS & LOW_BITS);
        Slots(even | odd << 4).next()
    }

    fn put(&mut self, slot: usize, tag: u8, id: ItemId) {
        self.set_tag(slot, tag);
        self.ids[slot] = Some(id);
    }

    fn clear(&mut self, slot: usize) {
        self.set_tag(slot, 0);
        self.ids[slot] = None;
    }
}

/// A set of slots: slot `n` is bit `4 n`, as comparing two words with a tag in each byte leaves it.
struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 4;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
/// The tags in a word.
const TAG_BITS: u64 = (1 << OVERFLOW_SHIFT) - 1;
const OVERFLOW_SHIFT: u32 = 48;

/// Puts an id into the first bucket with a free slot, counting it in those before.
#[inline]
fn place(buckets: &mut [Bucket], hash: Hash, id: ItemId) {
    let n_buckets = buckets.len();
    let mut at = hash.bucket(n_buckets);
    loop {
        let bucket = &mut buckets[at];
        if let Some(slot) = bucket.free_slot() {
            bucket.put(slot, hash.tag(), id);
            return;
        }
        bucket.count_overflow();
        at = next(at, n_buckets);
    }
}

#[inline]
fn next(bucket: usize, n_buckets: usize) -> usize {
    if bucket + 1 == n_buckets { 0 } else { bucket + 1 }
}

fn empty_buckets(n_buckets: usize) -> Option<Vec<Bucket>> {
    #[cfg(test)]
    if NO_MEMORY.get() {
        return None;
    }
    let mut buckets = Vec::new();
    buckets.try_reserve_exact(n_buckets).ok()?;
    buckets.resize(n_buckets, Bucket::EMPTY);
    Some(buckets)
}

/// 85 % of the slots; but one bucket alone may be full.
const fn capacity_of(n_buckets: usize) -> usize {
    if n_buckets == 1 { SLOTS } else { n_buckets * SLOTS * 17 / 20 }
}

/// The least number of buckets that has room for so many items.
const fn buckets_for(n_items: usize) -> usize {
    if n_items <= SLOTS { 1 } else { (n_items * 20).div_ceil(SLOTS * 17) }
}

/// How many buckets a table of `n_buckets` grows to: between 20 and 25 % more, each shard by a
/// share of its own, so that shards that fill alike do not grow at the same moment.
const fn grown(n_buckets: usize, number: usize) -> usize {
    let more = n_buckets * (4 * STEPS + number % STEPS) / (20 * STEPS);
    if more == 0 { n_buckets + 1 } else { n_buckets + more }
}

/// How many different shares there are.
const STEPS: usize = 16;

/// Where the items that belonged in `bucket` of `before` and behind it begin when there are `now`.
const fn moved_bucket(bucket: usize, before: usize, now: usize) -> usize {
    if before == 0 {
        return 0;
    }
    // The lowest hash, as a fraction of 2^32, that belonged in the bucket.
    let lowest = ((bucket as u64) << 32).div_ceil(before as u64);
    ((lowest * now as u64) >> 32) as usize
}

#[cfg(test)]
thread_local! {
    static NO_MEMORY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Says whether tables of this thread find memory to grow.
#[cfg(test)]
pub(crate) fn no_memory(is_so: bool) {
    NO_MEMORY.set(is_so);
}

#[cfg(test)]
mod tests;
