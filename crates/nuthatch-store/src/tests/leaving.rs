//! Items that leave: by idleness, and under the eyes of a listener.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{at, key, small, value_of};
use crate::types::{Arith, Ttl};
use crate::{Builder, Cause, ConfigError, Maintenance, Set, Store};

type Told = Arc<Mutex<Vec<(String, Cause, Ttl, bool)>>>;

fn told_of(builder: Builder, causes: &[Cause]) -> (Store, Told) {
    let told = Told::default();
    let log = Arc::clone(&told);
    let builder = builder.listener(causes, move |item| {
        let name = String::from_utf8(item.key().to_vec()).unwrap();
        log.lock().push((name, item.cause(), item.ttl(), item.was_read()));
    });
    (builder.build().unwrap(), told)
}

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

fn put(store: &Store, name: &str, len: usize) {
    store.set(key(name), &vec![b'v'; len], Set::default()).unwrap();
}

#[test]
fn an_idle_item_dies_and_a_read_one_does_not() {
    for segmented in [true, false] {
        let store = small().segmented(segmented).time_to_idle(Some(10)).build().unwrap();
        at(&store, 100);
        put(&store, "read", 1);
        put(&store, "idle", 1);
        // Each of the first reads marks an item in its own way; the time must be kept by all.
        for now in [105, 112, 119, 128, 137] {
            at(&store, now);
            assert!(value_of(&store, "read").is_some(), "segmented {segmented}, at {now}");
        }
        assert!(value_of(&store, "idle").is_none());
        at(&store, 146);
        assert!(store.peek(key("read"), |_, _| ()).is_some());
        at(&store, 147);
        assert!(store.peek(key("read"), |_, _| ()).is_none(), "a peek is no read");
    }
}

#[test]
fn the_earlier_of_life_span_and_idleness_counts() {
    let store = small().time_to_idle(Some(10)).build().unwrap();
    at(&store, 100);
    store.set(key("short"), b"", Set { ttl: Ttl::secs(5), ..Set::default() }).unwrap();
    store.set(key("long"), b"", Set { ttl: Ttl::secs(50), ..Set::default() }).unwrap();
    at(&store, 105);
    assert!(value_of(&store, "short").is_none());
    at(&store, 110);
    assert!(value_of(&store, "long").is_none());
    assert!(matches!(
        small().time_to_idle(Some(0)).build(),
        Err(ConfigError::OutOfRange { setting: "time_to_idle", .. })
    ));
}

#[test]
fn a_late_move_to_warm_does_not_make_an_item_younger() {
    let store = small().time_to_idle(Some(10)).build().unwrap();
    let mut maintenance = Maintenance::new(&store);
    at(&store, 100);
    for n in 0..100 {
        put(&store, &format!("key{n}"), 1000);
    }
    maintenance.step(Duration::from_secs(2));
    assert!(value_of(&store, "key0").is_some());
    assert!(value_of(&store, "key0").is_some(), "active, in COLD, and queued to be moved");
    at(&store, 109);
    maintenance.step(Duration::from_secs(2));
    at(&store, 110);
    assert!(value_of(&store, "key0").is_none());
}

#[test]
fn idle_items_are_taken_away_without_being_asked_for() {
    let (store, told) = told_of(small().time_to_idle(Some(10)), &Cause::ALL);
    let mut maintenance = Maintenance::new(&store);
    at(&store, 100);
    for n in 0..100 {
        put(&store, &format!("key{n}"), 1000);
    }
    at(&store, 120);
    for _ in 0..100 {
        maintenance.step(Duration::from_secs(2));
    }
    assert_eq!(store.stats().curr_items, 0);
    let told = told.lock();
    assert_eq!(told.len(), 100);
    assert!(told.iter().all(|(_, cause, ttl, _)| (*cause, *ttl) == (Cause::Expired, Ttl::NEVER)));
}

#[test]
fn every_cause_is_told_once() {
    let (store, told) = told_of(small(), &Cause::ALL);
    at(&store, 100);
    let take = |told: &Told| std::mem::take(&mut *told.lock());
    let a = String::from("a");

    put(&store, "a", 1);
    put(&store, "a", 2);
    assert_eq!(take(&told), [(a.clone(), Cause::Replaced, Ttl::NEVER, false)]);

    value_of(&store, "a");
    store.delete(key("a"));
    store.delete(key("a"));
    assert_eq!(take(&told), [(a.clone(), Cause::Deleted, Ttl::NEVER, true)]);

    store.set(key("a"), b"1", Set { ttl: Ttl::secs(7), ..Set::default() }).unwrap();
    at(&store, 105);
    store.count(key("a"), Arith::Incr, 1);
    assert_eq!(take(&told), [], "counted where it stands");
    store.count(key("a"), Arith::Incr, 100);
    assert_eq!(take(&told), [(a.clone(), Cause::Replaced, Ttl::secs(2), false)]);
    at(&store, 107);
    assert_eq!(take(&told), [], "told when found");
    assert!(value_of(&store, "a").is_none());
    assert_eq!(take(&told), [(a.clone(), Cause::Expired, Ttl::PAST, false)]);

    put(&store, "a", 1);
    store.flush_all(None);
    assert!(value_of(&store, "a").is_none());
    assert_eq!(take(&told), [(a, Cause::Flushed, Ttl::NEVER, false)]);

    for n in 0..10 {
        put(&store, &format!("key{n}"), 400_000);
    }
    let evicted = store.stats().totals.evicted;
    let told = take(&told);
    assert!(evicted > 0 && told.len() as u64 == evicted);
    assert!(told.iter().all(|(_, cause, ..)| *cause == Cause::Evicted));
}

#[test]
fn a_listener_is_told_of_the_causes_it_asked_for() {
    let (store, told) = told_of(small(), &[Cause::Deleted]);
    put(&store, "a", 1);
    put(&store, "a", 2);
    assert!(told.lock().is_empty());
    store.delete(key("a"));
    assert_eq!(told.lock().len(), 1);
}

#[test]
fn a_listener_that_panics_leaves_the_store_whole() {
    let store = small()
        .listener(&Cause::ALL, |item| assert_ne!(item.key(), b"bad", "what a listener says"))
        .build()
        .unwrap();
    put(&store, "bad", 10);
    assert!(panics(|| put(&store, "bad", 20)));
    store.audit(Some(0));
    assert_eq!(value_of(&store, "bad").map(|value| value.len()), Some(10));
    assert!(panics(|| store.delete(key("bad"))));
    store.audit(Some(0));
    // At the tail of a full class, under the lock of its queue.
    let rounds = 0..40_000;
    assert!(panics(|| rounds.for_each(|n| put(&store, &format!("{n}"), 50))));
    store.audit(Some(0));
    // (In its class "bad" stands at the tail as before.)
    put(&store, "good", 1000);
    assert!(!panics(|| store.delete(key("good"))));
}

#[test]
fn a_listener_that_panics_at_the_end_of_an_old_value_costs_no_memory() {
    let store = small().listener(&[Cause::Expired], |_| panic!("says a listener")).build().unwrap();
    at(&store, 100);
    store.set(key("a"), b"old", Set { ttl: Ttl::secs(5), ..Set::default() }).unwrap();
    at(&store, 200);
    assert!(panics(|| put(&store, "a", 20)));
    store.audit(Some(0));
}

#[test]
#[cfg(debug_assertions)]
fn a_closure_that_calls_its_store_is_caught() {
    let store = small().build().unwrap();
    let other = small().build().unwrap();
    put(&store, "a", 1);
    put(&other, "a", 2);
    // Another store is all right, and so is this one again once the closure is done.
    let sum = store.get(key("a"), |item| item.len() + value_of(&other, "a").unwrap().len());
    assert_eq!(sum, Some(3));
    // Even for a key of another shard, which would not wait.
    assert!(panics(|| store.get(key("a"), |_| store.delete(key("elsewhere")))));
    assert!(panics(|| store.peek(key("a"), |_, _| store.stats())));
    // A listener may be running under the lock of a queue, which these want.
    assert!(panics(|| store.get(key("a"), |_| store.len())));
    assert!(panics(|| store.get(key("a"), |_| store.evict(1))));
    assert!(panics(|| store.get(key("a"), |_| store.class_stats())));
    assert!(panics(|| store.get(key("a"), |_| store.reset_stats())));
    assert!(panics(|| store.get(key("a"), |_| drop(store.reserve(
        key("b"),
        Ttl::NEVER.into(),
        1
    )))));
    let through = |_: crate::Item<'_>| other.get(key("a"), |_| value_of(&store, "b"));
    assert!(panics(|| store.get(key("a"), through)));
    assert!(value_of(&store, "a").is_some());
}
