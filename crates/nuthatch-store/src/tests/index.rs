//! The index seen from the store: memory it cannot have, many keys at once, many shards.

use super::{at, key, small, value_of};
use crate::index::no_memory;
use crate::types::{Key, Stored, Ttl};
use crate::{Set, Store, StoreError};

fn names(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("key{n}")).collect()
}

fn filled(n: usize) -> Store {
    let store = small().build().unwrap();
    for name in names(n) {
        store.set(key(&name), name.as_bytes(), Set::default()).unwrap();
    }
    store
}

#[test]
fn an_index_that_cannot_grow_refuses_new_keys_and_nothing_else() {
    let store = filled(100);
    no_memory(true);
    let mut n_refused = 0;
    for name in names(2000) {
        match store.set(key(&name), b"new", Set::default()) {
            Ok(done) => assert_eq!(done.stored, Stored::Stored),
            Err(error) => {
                assert!(matches!(error, StoreError::NoMemory { .. }));
                assert_eq!(value_of(&store, &name), None);
                n_refused += 1;
            }
        }
    }
    assert!(n_refused > 0 && n_refused < 1900, "old keys need no room: {n_refused}");
    store.audit(Some(0));
    no_memory(false);
    for name in names(2000) {
        assert!(store.set(key(&name), b"newer", Set::default()).is_ok());
    }
    store.audit(Some(0));
    assert_eq!(store.stats().curr_items, 2000);
}

#[test]
fn the_index_says_what_it_takes() {
    let empty = small().build().unwrap().stats();
    assert_eq!(empty.index_capacity, 0);
    let stats = filled(20_000).stats();
    let per_item = (stats.index_bytes - empty.index_bytes) as f64 / stats.curr_items as f64;
    assert!((6.2..8.2).contains(&per_item), "{per_item} bytes an item");
    assert!(stats.index_capacity >= stats.curr_items);
    let roomy = small().expected_items(20_000).build().unwrap().stats();
    assert!(roomy.index_capacity >= 20_000 && roomy.index_capacity < 30_000);
}

#[test]
fn many_are_looked_up_as_one_after_another() {
    for n_keys in [0, 1, 2, 15, 16, 17, 100] {
        let (one, many) = (filled(64), filled(64));
        // One that has expired, two that were never there, one twice.
        for store in [&one, &many] {
            at(store, 10);
            store.set(key("key3"), b"x", Set { ttl: Ttl::secs(5), ..Set::default() }).unwrap();
            at(store, 20);
        }
        let names = names(n_keys);
        let keys: Vec<Key<'_>> =
            names.iter().map(|name| key(name)).chain([key("key1"), key("none")]).collect();
        let mut singly = Vec::new();
        for &key in &keys {
            singly.push((key, one.lookup(key, |item| item.to_vec())));
        }
        let mut together = Vec::new();
        many.get_many(keys.iter().copied(), |key, item| {
            together.push((key, item.map(|item| item.to_vec())));
        });
        assert_eq!(singly, together);
        assert_eq!(one.stats().counters, many.stats().counters);
        assert_eq!(one.stats().totals, many.stats().totals);

        for &key in &keys {
            singly.push((key, one.lookup_and_touch(key, Ttl::secs(5), |item| item.to_vec())));
        }
        many.get_many_and_touch(keys.iter().copied(), Ttl::secs(5), |key, item| {
            together.push((key, item.map(|item| item.to_vec())));
        });
        assert_eq!(singly, together);
        assert_eq!(one.stats().counters, many.stats().counters);
        assert_eq!(one.stats().totals, many.stats().totals);
        at(&many, 25);
        assert_eq!(many.get(key("key1"), |_| ()), None, "the life span is the new one");
    }
}

#[test]
fn fetching_ahead_changes_nothing() {
    let store = filled(64);
    let before = store.stats();
    let names = names(100);
    store.prefetch(names.iter().map(|name| key(name)));
    store.prefetch([key("none")]);
    assert_eq!(store.stats(), before);
    store.audit(Some(0));
}

#[test]
fn a_flush_by_hand_removes_what_is_in_many_shards() {
    let store = filled(5000);
    // Stamps run ahead of the clock by one a flush, until items are removed instead.
    for _ in 0..4000 {
        store.set(key("again"), b"", Set::default()).unwrap();
        store.flush_all(None);
    }
    assert_eq!(store.stats().curr_items, 0);
    assert_eq!(value_of(&store, "key77"), None);
    store.audit(Some(0));
}
