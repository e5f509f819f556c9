//! Memory that runs out: what is evicted for whom, and what is refused without that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{at, key, value_of};
use crate::types::{StoreMode, Stored};
use crate::{
    Automove, Builder, Commit, ConfigError, Maintenance, NewItem, Profile, Set, Store, StoreError,
};

/// A mebibyte, and values up to that.
fn mebibyte(profile: Profile) -> Builder {
    Store::builder()
        .profile(profile)
        .memory_limit(1 << 20)
        .page_bytes(64 << 10)
        .item_size_max(1 << 20)
        .automove(Automove::Off)
}

/// Items of many classes, until the store is full.
fn fill(store: &Store, n: usize) {
    for n in 0..n {
        let len = [50, 300, 1000, 3000][n % 4];
        store.set(key(&format!("{n}")), &vec![b'x'; len], Set::default()).unwrap();
    }
}

fn filled(profile: Profile) -> Store {
    let store = mebibyte(profile).build().unwrap();
    at(&store, 2);
    fill(&store, 2000);
    assert!(store.stats().totals.evicted > 0);
    store
}

#[test]
fn a_long_value_that_cannot_fit_evicts_nothing() {
    for profile in [Profile::Compat, Profile::Lean] {
        let fits = |len: usize| {
            let store = filled(profile);
            let before = store.stats();
            // The youngest is the last to go, should there be too much.
            at(&store, 100);
            let done = store.set(key("long"), &vec![b'y'; len], Set::default());
            store.audit(Some(0));
            if let Err(error) = done {
                assert!(matches!(error, StoreError::NoMemory { .. }), "{len}: {error:?}");
                let after = store.stats();
                assert_eq!(after.totals.evicted, before.totals.evicted, "{len} bytes");
                assert_eq!(after.counters.store_no_memory, before.counters.store_no_memory + 1);
                return false;
            }
            // The limit is kept, and the value with it.
            let mut maintenance = Maintenance::new(&store);
            for _ in 0..500 {
                maintenance.step(Duration::from_secs(1));
            }
            assert_eq!(value_of(&store, "long").map(|value| value.len()), Some(len));
            true
        };
        // The four classes keep a page each, and so do those of the chain's head and end, which are
        // those of others or new ones.
        for len in (1..=100).map(|n| n * 10_000) {
            match len {
                ..=600_000 => assert!(fits(len), "{profile:?}: {len} bytes"),
                850_000.. => assert!(!fits(len), "{profile:?}: {len} bytes"),
                _ => _ = fits(len),
            }
        }
    }
}

#[test]
fn a_sum_that_cannot_fit_beside_its_parts_evicts_nothing() {
    let store = mebibyte(Profile::Compat).build().unwrap();
    at(&store, 2);
    fill(&store, 100);
    store.set(key("long"), &vec![b'y'; 500_000], Set::default()).unwrap();
    let (before, len) = (store.stats(), store.len());
    let append = Set { mode: StoreMode::Append, ..Set::default() };
    let done = store.set(key("long"), &vec![b'y'; 100_000], append).unwrap();
    assert_eq!(done.stored, Stored::NotStored);
    assert_eq!(store.stats().totals.evicted, before.totals.evicted);
    assert_eq!(store.len(), len);
    store.audit(Some(0));
}

#[test]
fn an_announced_value_that_cannot_fit_is_refused_before_it_comes() {
    let store = filled(Profile::Lean);
    let reserved = store.reserve(key("long"), NewItem::default(), 1_000_000);
    assert!(matches!(reserved, Err(StoreError::NoMemory { .. })));
}

#[test]
fn a_page_is_found_behind_those_in_use() {
    let store = mebibyte(Profile::Compat).build().unwrap();
    at(&store, 2);
    let len = 1000;
    let mut n = 0;
    while store.stats().totals.evicted == 0 {
        store.set(key(&format!("{n}")), &vec![b'x'; len], Set::default()).unwrap();
        n += 1;
    }
    let class = store.peek(key(&format!("{}", n - 1)), |item, _| item.class()).unwrap();
    let pages = store.class_stats()[usize::from(class) - 1].total_pages;
    assert!(pages > 12);
    // An item of each of the first ten pages is held: items lie in the order in which they came.
    let per_page = store.class_stats()[usize::from(class) - 1].chunks_per_page;
    let held: Vec<_> = (0..10)
        .map(|page| {
            let number = page * per_page + per_page / 2;
            store.get(key(&format!("{number}")), |item| item.pin().unwrap()).unwrap()
        })
        .collect();
    let evicted = store.stats().totals.evicted;
    // It needs two pages of large chunks: the first one that every class may have, and another.
    store.set(key("large"), &vec![b'y'; 100_000], Set::default()).unwrap();
    let (stats, classes) = (store.stats(), store.class_stats());
    assert_eq!(stats.slabs_moved, 1, "{stats:?}");
    assert_eq!(classes[usize::from(class) - 1].total_pages, pages - 1);
    // What was in that page has gone, and nothing else.
    assert!(stats.totals.evicted - evicted <= per_page);
    for guard in &held {
        assert_eq!(guard.as_bytes().len(), len);
    }
    drop(held);
    store.audit(Some(0));
}

#[test]
fn the_highest_limit_can_be_named_and_set_again() {
    for profile in [Profile::Compat, Profile::Lean] {
        let store = Store::builder().profile(profile).memory_limit(256 << 30).build().unwrap();
        for n in 0..50 {
            let value = vec![b'x'; n * n * 300];
            store.set(key(&format!("{n}")), &value, Set::default()).unwrap();
            assert_eq!(value_of(&store, &format!("{n}")), Some(value));
        }
        store.set_memory_limit(256 << 30).unwrap();
        assert_eq!(store.memory_limit(), 256 << 30);
        store.audit(Some(0));
    }
    let beyond = Store::builder().memory_limit((256 << 30) + 1).build();
    assert!(matches!(beyond, Err(ConfigError::OutOfRange { setting: "memory_limit", .. })));
}

#[test]
fn a_limit_that_is_fixed_can_be_lowered_and_set_again() {
    for profile in [Profile::Compat, Profile::Lean] {
        let store = mebibyte(profile).memory_limit(8 << 20).fixed_limit(true).build().unwrap();
        fill(&store, 20_000);
        store.set_memory_limit(4 << 20).unwrap();
        store.set_memory_limit(8 << 20).unwrap();
        assert!(store.set_memory_limit(64 << 20).is_err());
        fill(&store, 20_000);
        store.audit(Some(0));
    }
}

#[test]
fn emptying_a_store_beside_a_writer_ends() {
    for profile in [Profile::Compat, Profile::Lean] {
        let store = filled(profile);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut n = 0u64;
                while !is_done.load(Ordering::Relaxed) {
                    n += 1;
                    let (name, item) = (format!("w{n}"), NewItem::default());
                    store.put(key(&name), &[b'w'; 100], item, Commit::default()).unwrap();
                }
            });
            for _ in 0..20 {
                store.evict(usize::MAX);
            }
            is_done.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
        store.audit(Some(0));
        let bytes = store.bytes();
        assert_eq!(store.evict(usize::MAX), bytes);
        assert!(store.is_empty());
    }
}
