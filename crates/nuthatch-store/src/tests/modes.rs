//! Changing how the LRU is kept while it is in use: nothing gets lost, and nothing gets stuck.

use std::time::Duration;

use super::{at, key, small, value_of};
use crate::types::Ttl;
use crate::{Builder, LruTuning, Maintenance, Profile, Set, Store};

const VALUE: [u8; 10_000] = [b'v'; 10_000];

fn put(store: &Store, name: &str, ttl: Ttl) {
    store.set(key(name), &VALUE, Set { ttl, ..Set::default() }).unwrap();
}

/// How many items are in HOT, WARM, COLD and TEMP.
fn queues(store: &Store) -> [u64; 4] {
    store.stats().totals.queues.map(|queue| queue.number)
}

/// Fills HOT and WARM with so much that a class of its own has room for little else.
fn full_of_hot_and_warm() -> Store {
    let store = small().auto_crawl(false).build().unwrap();
    at(&store, 10);
    let all = LruTuning { hot_pct: 40, warm_pct: 40, hot_max_factor: 1e9, warm_max_factor: 1e9 };
    store.tune_lru(all).unwrap();
    for n in 0..100 {
        put(&store, &format!("k{n}"), Ttl::NEVER);
        if n % 2 == 0 {
            (0..2).for_each(|_| assert!(value_of(&store, &format!("k{n}")).is_some()));
        }
    }
    Maintenance::new(&store).step(Duration::from_secs(1));
    let [hot, warm, _, temp] = queues(&store);
    assert!(hot > 0 && warm > 0 && temp == 0);
    store
}

#[test]
fn a_store_made_flat_moves_everything_to_cold() {
    let store = full_of_hot_and_warm();
    let n_items = store.stats().curr_items;
    store.set_lru_segmented(false);
    put(&store, "new", Ttl::NEVER);
    let mut maintenance = Maintenance::new(&store);
    maintenance.step(Duration::from_secs(1));
    store.audit(Some(0));
    assert_eq!(queues(&store), [0, 0, n_items + 1, 0]);
    store.set_lru_segmented(true);
    put(&store, "newer", Ttl::NEVER);
    assert_eq!(queues(&store), [1, 0, n_items + 1, 0]);
    assert!(value_of(&store, "k0").is_some());
}

#[test]
fn a_store_made_flat_evicts_from_hot_and_warm_without_maintenance() {
    let store = full_of_hot_and_warm();
    store.set_lru_segmented(false);
    // Four times over what there is room for.
    for n in 0..800 {
        put(&store, &format!("new{n}"), Ttl::NEVER);
    }
    store.audit(Some(0));
    let [hot, warm, cold, _] = queues(&store);
    assert!(cold > 0 && hot + warm < 100, "{:?}", queues(&store));
    assert!(value_of(&store, "new799").is_some());
    assert_eq!(store.stats().totals.outofmemory, 0);
    store.evict(usize::MAX);
    assert_eq!(store.stats().curr_items, 0);
}

#[test]
fn temp_is_emptied_once_it_is_off() {
    let store = small().temporary_ttl(Some(60)).auto_crawl(false).build().unwrap();
    at(&store, 10);
    (0..50).for_each(|n| put(&store, &format!("k{n}"), Ttl::secs(50)));
    assert_eq!(queues(&store), [0, 0, 0, 50]);
    let mut maintenance = Maintenance::new(&store);
    maintenance.step(Duration::from_secs(1));
    assert_eq!(queues(&store), [0, 0, 0, 50]);
    store.set_temporary_ttl(None);
    maintenance.step(Duration::from_secs(1));
    assert_eq!(queues(&store), [0, 0, 50, 0]);
    put(&store, "new", Ttl::secs(50));
    assert_eq!(queues(&store), [1, 0, 50, 0]);
    store.set_temporary_ttl(Some(50));
    put(&store, "short", Ttl::secs(50));
    put(&store, "long", Ttl::secs(51));
    assert_eq!(queues(&store), [2, 0, 50, 1]);
    store.audit(Some(0));
}

#[test]
fn temp_gives_its_memory_up_once_it_is_off() {
    let store = small().temporary_ttl(Some(60)).auto_crawl(false).build().unwrap();
    at(&store, 10);
    let mut n_stored = 0;
    // TEMP is never evicted: it fills the store.
    while store.set(key(&format!("k{n_stored}")), &VALUE, short()).is_ok() {
        n_stored += 1;
    }
    assert!(n_stored > 100);
    store.set_temporary_ttl(None);
    assert!(store.set(key("new"), &VALUE, short()).is_ok());
    assert!(store.stats().totals.evicted > 0);
    store.audit(Some(0));
}

fn short() -> Set {
    Set { ttl: Ttl::secs(50), ..Set::default() }
}

#[test]
fn tuning_moves_the_border_between_hot_and_cold() {
    let store = small().auto_crawl(false).build().unwrap();
    at(&store, 10);
    // All of one size, so that a percent is an item.
    (0..100).for_each(|n| put(&store, &format!("k{n:02}"), Ttl::NEVER));
    let mut maintenance = Maintenance::new(&store);
    let hot_at = |maintenance: &mut Maintenance, hot_pct| {
        let (hot_max_factor, warm_max_factor) = (1e9, 1e9);
        store
            .tune_lru(LruTuning { hot_pct, warm_pct: 0, hot_max_factor, warm_max_factor })
            .unwrap();
        maintenance.step(Duration::from_secs(1));
        queues(&store)[0]
    };
    assert_eq!(hot_at(&mut maintenance, 60), 60);
    assert_eq!(hot_at(&mut maintenance, 30), 30);
    assert_eq!(hot_at(&mut maintenance, 60), 30, "nothing comes back");
    assert_eq!(hot_at(&mut maintenance, 0), 0);
    store.audit(Some(0));
}

#[test]
fn memory_in_use_elsewhere_is_withheld_in_whole_pages() {
    let withheld = (3 << 20) + 32;
    let store = small().memory_limit(6 << 20).memory_in_use(withheld).evictions(false);
    let store = store.build().unwrap();
    assert_eq!(store.memory_limit(), 6 << 20);
    assert_eq!((store.stats().pages, store.stats().memory_in_use), (0, withheld as u64));
    // Of the limit two pages are left; a page holds two chunks of the largest class.
    let n_stored = |name: &str| {
        let value = vec![b'x'; 400 << 10];
        (0..20)
            .filter(|n| store.set(key(&format!("{name}{n}")), &value, Set::default()).is_ok())
            .count()
    };
    assert_eq!(n_stored("a"), 4);
    assert_eq!(store.stats().pages, 2);
    // What is withheld stays so under another limit.
    store.set_memory_limit(8 << 20).unwrap();
    assert_eq!(store.memory_limit(), 8 << 20);
    assert_eq!(n_stored("b"), 4);
    store.audit(Some(0));
    // More than all: each class has its first page.
    let store = small().memory_in_use(usize::MAX).evictions(false).build().unwrap();
    let n_small = (0..)
        .take_while(|n| store.set(key(&format!("s{n}")), &[b'x'; 400], Set::default()).is_ok());
    assert!(n_small.count() > 1000);
    assert!(store.set(key("large"), &[b'x'; 4000], Set::default()).is_ok());
    assert_eq!(store.stats().pages, 2);
}

#[test]
fn the_profile_decides_about_huge_pages_and_crawls() {
    let large = || Store::builder().memory_limit(64 << 20);
    let decided = |builder: Builder| {
        let config = builder.config();
        (config.huge_pages, config.auto_crawl)
    };
    assert_eq!(decided(large()), (true, false));
    assert_eq!(decided(large().memory_limit((64 << 20) - 1)), (false, false));
    assert_eq!(decided(large().huge_pages(false).auto_crawl(true)), (false, true));
    assert_eq!(decided(large().proactive_expiry(false)), (true, true));
    assert_eq!(decided(large().time_to_idle(Some(60))), (true, true));
    let compat = || large().profile(Profile::Compat);
    assert_eq!(decided(compat()), (false, true));
    assert_eq!(decided(compat().proactive_expiry(true).huge_pages(true)), (true, true));
}
