//! What S3-FIFO does: who leaves first, and who comes back to which queue.

use super::{at, key, value_of};
use crate::types::Ttl;
use crate::{Profile, QueueStats, Set, Store};

/// A lean store with room for about 200 values of [`put`], all in one class.
fn store() -> Store {
    let store = Store::builder().profile(Profile::Lean).memory_limit(2 << 20).build().unwrap();
    at(&store, 10);
    store
}

fn put(store: &Store, name: &str) {
    store.set(key(name), &[b'v'; 10_000], Set::default()).unwrap();
}

fn fill(store: &Store, prefix: &str, n: usize) {
    (0..n).for_each(|n| put(store, &format!("{prefix}{n}")));
}

fn has(store: &Store, name: &str) -> bool {
    store.peek(key(name), |_, _| ()).is_some()
}

fn n_there(store: &Store, prefix: &str, n: usize) -> usize {
    (0..n).filter(|n| has(store, &format!("{prefix}{n}"))).count()
}

fn warm(store: &Store) -> u64 {
    let QueueStats { number, .. } = store.stats().totals.queues[1];
    number
}

#[test]
fn what_was_never_read_leaves_first() {
    let store = store();
    fill(&store, "read", 50);
    (0..50).for_each(|n| assert!(value_of(&store, &format!("read{n}")).is_some()));
    fill(&store, "unread", 1000);
    assert_eq!(n_there(&store, "read", 50), 50);
    assert_eq!(warm(&store), 50);
    assert!(!has(&store, "unread0"));
    store.audit(Some(0));
}

#[test]
fn a_scan_passes_through_a_tenth_and_leaves_main_alone() {
    let store = store();
    for round in 0..4 {
        for n in 0..170 {
            let name = format!("main{n}");
            if value_of(&store, &name).is_none() {
                assert!(round < 3, "the working set has settled");
                put(&store, &name);
            }
        }
    }
    fill(&store, "scan", 5000);
    assert!(n_there(&store, "main", 170) >= 165);
    assert!(n_there(&store, "scan", 5000) <= 50);
}

#[test]
fn what_comes_back_soon_goes_to_main() {
    let store = store();
    fill(&store, "main", 150);
    (0..150).for_each(|n| assert!(value_of(&store, &format!("main{n}")).is_some()));
    // The first of these were evicted not long ago.
    fill(&store, "new", 100);
    assert!(!has(&store, "new0"));
    let before = warm(&store);
    put(&store, "new0");
    assert_eq!(warm(&store), before + 1);
    assert_eq!(store.stats().totals.ghost_hits, 1);
    // A key never seen goes through HOT.
    put(&store, "never");
    assert_eq!(warm(&store), before + 1);
    // And so does one that was seen too long ago.
    fill(&store, "old", 2000);
    put(&store, "new1");
    assert_eq!(store.stats().totals.ghost_hits, 1);
    store.audit(Some(0));
}

#[test]
fn who_was_read_more_stays_longer() {
    let store = store();
    // All in WARM: read, and pushed on by what comes after.
    fill(&store, "main", 150);
    (0..150).for_each(|n| assert!(value_of(&store, &format!("main{n}")).is_some()));
    fill(&store, "new", 200);
    assert_eq!(warm(&store), 150);
    // The first half is read three times more, the other not again.
    for _ in 0..3 {
        (0..75).for_each(|n| assert!(value_of(&store, &format!("main{n}")).is_some()));
    }
    // Newcomers that are read push WARM round.
    for n in 0..75 {
        put(&store, &format!("late{n}"));
        value_of(&store, &format!("late{n}"));
    }
    fill(&store, "more", 100);
    assert_eq!(n_there(&store, "main", 75), 75, "those that were read have another round");
    assert!(n_there(&store, "main", 150) < 150);
}

#[test]
fn what_is_written_often_and_never_read_does_not_stay_in_main() {
    let store = store();
    put(&store, "a");
    value_of(&store, "a");
    put(&store, "a");
    assert_eq!(warm(&store), 1, "it had been read");
    put(&store, "a");
    assert_eq!(warm(&store), 0, "it had not");
    store.audit(Some(0));
}

#[test]
fn items_all_read_to_the_full_make_room_all_the_same() {
    let store = store();
    for n in 0..400 {
        let name = format!("k{n}");
        put(&store, &name);
        (0..5).for_each(|_| assert!(value_of(&store, &name).is_some(), "{n}"));
    }
    assert!(store.stats().totals.evicted >= 190);
    assert_eq!(store.stats().totals.outofmemory, 0);
    store.audit(Some(0));
}

#[test]
fn the_dead_go_before_the_living() {
    let store = store();
    for n in 0..100 {
        let set = Set { ttl: Ttl::secs(5), ..Set::default() };
        store.set(key(&format!("dead{n}")), &[b'v'; 10_000], set).unwrap();
        assert!(value_of(&store, &format!("dead{n}")).is_some());
    }
    at(&store, 20);
    fill(&store, "alive", 180);
    assert_eq!(n_there(&store, "alive", 180), 180);
    assert_eq!(store.stats().totals.evicted, 0);
}

#[test]
fn the_small_queue_can_be_set() {
    let builder = Store::builder().memory_limit(2 << 20);
    let store = builder.hot_lru_pct(40).build().unwrap();
    fill(&store, "main", 150);
    (0..150).for_each(|n| assert!(value_of(&store, &format!("main{n}")).is_some()));
    fill(&store, "scan", 1000);
    let there = n_there(&store, "main", 150);
    assert!((110..=130).contains(&there), "{there}");
}
