//! The table against a plain map, under good hashes and bad ones.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::index::BUCKET_SHIFT;

/// Ids are keys and versions of them; the hash is that of the key.
const KEYS: u32 = 1 << 12;

const N_SLOTS: u32 = 12;

fn id(key: u32, version: u32) -> ItemId {
    ItemId::from_word(version * KEYS + key + 1).unwrap()
}

fn key_of(id: ItemId) -> u32 {
    (ItemId::to_word(Some(id)) - 1) % KEYS
}

/// How hashes are spread.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Even,
    /// Few buckets, few tags.
    Crowded,
    /// All in the last bucket, so that they go on at the first.
    Last,
}

impl Spread {
    fn hash(self, key: u32) -> Hash {
        let even = u64::from(key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let even = (even ^ even >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Hash(match self {
            Self::Even => even,
            Self::Crowded => even & 0xc000_0000_0300_0000,
            Self::Last => even | 0xffff_ffff << BUCKET_SHIFT,
        })
    }

    fn hash_of(self, id: ItemId) -> Hash {
        self.hash(key_of(id))
    }
}

fn spread() -> impl Strategy<Value = Spread> {
    prop_oneof![2 => Just(Spread::Even), 1 => Just(Spread::Crowded), 1 => Just(Spread::Last)]
}

fn insert(table: &mut Table, spread: Spread, id: ItemId) -> bool {
    let rehash = |id| spread.hash_of(id);
    table.insert(spread.hash_of(id), id, 7, |_| (), rehash)
}

fn find(table: &Table, spread: Spread, key: u32) -> Option<ItemId> {
    table.find(spread.hash(key), |id| (key_of(id) == key).then_some(id))
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    Replace(u32),
    Remove(u32),
    Find(u32),
}

fn op() -> impl Strategy<Value = Op> {
    // Few enough keys to meet again, enough to fill some buckets.
    let key = 0..300u32;
    prop_oneof![
        6 => key.clone().prop_map(Op::Insert),
        1 => key.clone().prop_map(Op::Replace),
        3 => key.clone().prop_map(Op::Remove),
        2 => key.prop_map(Op::Find),
    ]
}

proptest! {
    #[test]
    fn a_table_is_a_map(spread in spread(), ops in prop::collection::vec(op(), 1..600)) {
        let (mut table, mut map) = (Table::default(), HashMap::new());
        for (version, op) in (1..).zip(ops) {
            match op {
                Op::Insert(key) => {
                    if let std::collections::hash_map::Entry::Vacant(entry) = map.entry(key) {
                        entry.insert(id(key, version));
                        prop_assert!(insert(&mut table, spread, id(key, version)));
                    }
                }
                Op::Replace(key) => {
                    let new = id(key, version);
                    let old = map.get(&key).copied();
                    let is_done = old.is_some_and(|old| table.replace(spread.hash(key), old, new));
                    prop_assert_eq!(is_done, old.is_some());
                    map.entry(key).and_modify(|id| *id = new);
                    prop_assert!(!table.replace(spread.hash(key), id(key, version + 1), new));
                }
                Op::Remove(key) => {
                    let hash = spread.hash(key);
                    prop_assert!(!table.remove(hash, id(key, version)), "never an id that is not there");
                    if let Some(id) = map.remove(&key) {
                        prop_assert!(table.remove(hash, id));
                    }
                }
                Op::Find(key) => {
                    prop_assert_eq!(find(&table, spread, key), map.get(&key).copied());
                }
            }
            table.audit(|id| spread.hash_of(id));
        }
        for key in 0..300 {
            prop_assert_eq!(find(&table, spread, key), map.get(&key).copied());
        }
        let mut ids: Vec<_> = table.iter().map(|id| ItemId::to_word(Some(id))).collect();
        let mut expected: Vec<_> = map.values().map(|&id| ItemId::to_word(Some(id))).collect();
        ids.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(ids, expected);
    }

    #[test]
    fn a_walk_gives_what_stays(
        spread in spread(),
        n_before in 0..400u32,
        max in 0..80usize,
        n_between in prop::collection::vec(0..120u32, 0..12),
        room in 0..500usize,
    ) {
        let mut table = Table::with_room(room, 3);
        for key in 0..n_before {
            prop_assert!(insert(&mut table, spread, id(key, 0)));
        }
        // Every third one goes before or while the walk is under way.
        let stays = |key: &u32| !key.is_multiple_of(3);
        let mut going = (0..n_before).filter(|key| !stays(key));
        let mut coming = n_before..;
        let mut given = BTreeMap::new();
        let mut cursor = Cursor::default();
        let mut n_between = n_between.into_iter();
        let n_buckets = table.buckets.len();
        while table.ids_from(&mut cursor, max, |id| *given.entry(key_of(id)).or_insert(0) += 1) {
            for _ in 0..n_between.next().unwrap_or(0) {
                let new = id(coming.next().unwrap(), 0);
                prop_assert!(insert(&mut table, spread, new));
            }
            if let Some(key) = going.next() {
                prop_assert!(table.remove(spread.hash(key), id(key, 0)));
            }
        }
        for key in (0..n_before).filter(stays) {
            let times = given.get(&key).copied().unwrap_or(0);
            prop_assert!(times >= 1, "key {} is passed over", key);
            prop_assert!(times == 1 || table.buckets.len() > n_buckets, "key {} came again", key);
        }
    }

    #[test]
    fn no_equal_tag_is_overlooked(
        tags: [Option<u8>; SLOTS],
        tag in 1..=255u8,
        overflow in 0..=OVERFLOW_STUCK,
    ) {
        let mut bucket = Bucket::EMPTY;
        bucket.words[0] = overflow << OVERFLOW_SHIFT;
        for (slot, tag) in tags.iter().enumerate() {
            if let Some(tag) = *tag {
                bucket.put(slot, tag.max(1), id(1, 0));
            }
        }
        let found: Vec<usize> = bucket.matching(tag).collect();
        for slot in 0..SLOTS {
            let other = bucket.tag(slot);
            prop_assert!(other != tag || found.contains(&slot));
            prop_assert!(!found.contains(&slot) || other | 1 == tag | 1, "{} for {}", other, tag);
        }
        prop_assert!(found.iter().all(|&slot| slot < SLOTS));
        prop_assert_eq!(bucket.overflow(), overflow);
        let free = (0..SLOTS).find(|&slot| tags[slot].is_none());
        prop_assert_eq!(bucket.free_slot(), free);
    }
}

#[test]
fn equal_tags_are_found_in_every_slot() {
    for n in 0..SLOTS {
        let mut bucket = Bucket::EMPTY;
        (0..SLOTS).for_each(|slot| bucket.put(slot, 9, id(1, 0)));
        assert_eq!(bucket.free_slot(), None);
        bucket.put(n, 1, id(1, 0));
        assert_eq!(bucket.matching(1).collect::<Vec<_>>(), [n]);
        let others: Vec<usize> = bucket.matching(9).collect();
        assert_eq!(others.len(), SLOTS - 1);
        assert!(!others.contains(&n));
        bucket.clear(n);
        assert_eq!(bucket.free_slot(), Some(n));
    }
}

#[test]
fn colliding_items_fill_one_bucket_after_another() {
    let spread = Spread::Last;
    let mut table = Table::default();
    for key in 0..500 {
        assert!(insert(&mut table, spread, id(key, 0)));
    }
    assert_eq!(table.n_items, 500);
    table.audit(|id| spread.hash_of(id));
    assert_eq!(find(&table, spread, 500), None);
    for key in (0..500).step_by(2).chain((1..500).step_by(2)) {
        assert!(table.remove(spread.hash(key), id(key, 0)));
        assert_eq!(find(&table, spread, key), None);
        table.audit(|id| spread.hash_of(id));
    }
    assert!(table.buckets.iter().all(|bucket| bucket.overflow() == 0), "nothing is left behind");
}

#[test]
fn an_overflow_count_at_its_end_stays_there() {
    let spread = Spread::Last;
    let mut table = Table::with_room(100, 0);
    for key in 0..N_SLOTS {
        assert!(insert(&mut table, spread, id(key, 0)));
    }
    let last = table.buckets.len() - 1;
    table.buckets[last].words[0] |= (OVERFLOW_STUCK - 1) << OVERFLOW_SHIFT;
    for key in [50, 51, 52] {
        assert!(insert(&mut table, spread, id(key, 0)));
    }
    assert_eq!(table.buckets[last].overflow(), OVERFLOW_STUCK);
    for key in [50, 51, 52] {
        assert_eq!(find(&table, spread, key), Some(id(key, 0)));
        assert!(table.remove(spread.hash(key), id(key, 0)));
    }
    assert_eq!(table.buckets[last].overflow(), OVERFLOW_STUCK);
    assert_eq!(find(&table, spread, 53), None);
    table.audit(|id| spread.hash_of(id));
}

#[test]
fn a_table_that_cannot_grow_stays_as_it_is() {
    let spread = Spread::Even;
    let mut table = Table::default();
    for key in 0..N_SLOTS {
        assert!(insert(&mut table, spread, id(key, 0)));
    }
    no_memory(true);
    assert!(!insert(&mut table, spread, id(100, 0)));
    no_memory(false);
    assert_eq!(table.n_items, SLOTS);
    table.audit(|id| spread.hash_of(id));
    assert_eq!(find(&table, spread, 100), None);
    assert_eq!(find(&table, spread, 3), Some(id(3, 0)));
    assert!(insert(&mut table, spread, id(100, 0)));
    assert_eq!(find(&table, spread, 100), Some(id(100, 0)));
}

#[test]
fn more_than_there_is_memory_for_is_refused() {
    assert!(empty_buckets(usize::MAX / BUCKET_BYTES).is_none());
}

#[test]
fn tables_grow_by_a_fifth_to_a_quarter_each_in_its_own_step() {
    for number in 0..40 {
        for n_buckets in [0, 1, 2, 3, 7, 100, 1000, 1 << 20] {
            let more = grown(n_buckets, number) - n_buckets;
            assert!(more >= 1 && more <= 1.max(n_buckets / 4));
            assert!(n_buckets < 20 || more >= n_buckets / 5);
        }
    }
    let size_at = |number| {
        let mut n_buckets = 0;
        while capacity_of(n_buckets) < 600 {
            n_buckets = grown(n_buckets, number);
        }
        n_buckets
    };
    let sizes: std::collections::BTreeSet<usize> = (0..STEPS).map(size_at).collect();
    assert!(sizes.len() > STEPS / 3, "shards that fill alike differ in size: {sizes:?}");
}

#[test]
fn room_asked_for_is_there() {
    for n_items in [1, 12, 13, 100, 650, 10_000] {
        for number in 0..STEPS {
            let capacity = Table::with_room(n_items, number).capacity();
            assert!(capacity >= n_items && capacity <= n_items * 5 / 4 + 2 * SLOTS);
        }
    }
    assert_eq!(Table::with_room(0, 5).capacity(), 0);
}
