//! Values written over those they replace: no reader can tell.

use super::{key, small, value_of};
use crate::item::STATE_FREE;
use crate::types::{ItemFlags, Ttl};
use crate::{NewItem, Set, Store};

fn used_chunks(store: &Store) -> u64 {
    let totals = store.stats().totals;
    totals.total_chunks - totals.free_chunks
}

#[test]
fn a_value_that_fits_takes_no_chunk_and_is_a_new_item() {
    let store = small().build().unwrap();
    let first = store.set(key("a"), &[b'x'; 60], Set::default()).unwrap();
    for _ in 0..3 {
        store.get(key("a"), |_| ());
    }
    let set = Set { ttl: Ttl::secs(100), ..Set::default() };
    let second = store.set(key("a"), b"short", set).unwrap();
    assert!(second.cas.0 > first.cas.0);
    assert_eq!(value_of(&store, "a"), Some(b"short".to_vec()));
    let (was_fetched, ttl, cas) =
        store.peek(key("a"), |item, hit| (hit.was_fetched, hit.ttl_before, item.cas())).unwrap();
    assert!(was_fetched, "read just above");
    assert_eq!((ttl, cas), (Some(100), second.cas));
    store.set(key("a"), &[b'y'; 61], Set::default()).unwrap();
    let (was_fetched, bytes) =
        store.peek(key("a"), |item, hit| (hit.was_fetched, item.total_bytes())).unwrap();
    assert!(!was_fetched, "nobody has read the new value");
    assert_eq!(used_chunks(&store), 1);
    let stats = store.stats();
    assert_eq!((stats.curr_items, stats.bytes), (1, bytes as u64));
    assert_eq!((stats.counters.total_items, stats.totals.counters.cmd_set), (3, 3));
    store.audit(Some(0));
}

#[test]
fn reads_that_are_counted_down_meanwhile_are_not_lost() {
    let store = Store::builder().build().unwrap();
    store.set(key("a"), b"old", Set::default()).unwrap();
    store.get(key("a"), |_| ());
    let inner = &*store.inner;
    let id = store.peek(key("a"), |item, _| item.id()).unwrap();
    let (class, queue) = (inner.lru_class(id), inner.items.queue(id));
    // What S3-FIFO does at the end of its queue, while somebody overwrites the item.
    let list = inner.lru.lock(class, queue);
    std::thread::scope(|scope| {
        scope.spawn(|| store.set(key("a"), b"new", Set::default()).unwrap());
        let hash = inner.index.hash(b"a");
        while inner.index.try_lock(hash).is_some() {
            std::thread::yield_now();
        }
        for _ in 0..1000 {
            std::thread::yield_now();
        }
        inner.items.uncount_read(id);
        drop(list);
    });
    assert_eq!(inner.items.state(id) & STATE_FREE, 0);
    assert_eq!(value_of(&store, "a").as_deref(), Some(&b"new"[..]));
    store.audit(Some(0));
}

#[test]
fn what_somebody_holds_is_left_alone() {
    let store = small().build().unwrap();
    store.set(key("a"), b"held", Set::default()).unwrap();
    let pin = store.get(key("a"), |item| item.pin().unwrap()).unwrap();
    store.set(key("a"), b"next", Set::default()).unwrap();
    assert_eq!(pin.view().to_vec(), b"held");
    assert_eq!(value_of(&store, "a"), Some(b"next".to_vec()));
    assert_eq!(used_chunks(&store), 2);
    drop(pin);
    assert_eq!(used_chunks(&store), 1);
    store.audit(Some(0));
}

#[test]
fn flags_and_the_form_of_the_key_are_those_of_the_new_item() {
    let store = small().build().unwrap();
    let put = |flags: u32, key_is_binary: bool, value: &[u8]| {
        let item = NewItem { flags: ItemFlags(flags), key_is_binary, ..NewItem::default() };
        store.put(key("a"), value, item, crate::Commit::default()).unwrap();
        let seen = store
            .peek(key("a"), |item, _| (item.flags().0, item.key_is_binary(), item.to_vec()))
            .unwrap();
        assert_eq!(seen, (flags, key_is_binary, value.to_vec()));
    };
    put(7, false, b"with flags");
    put(8, true, b"with other flags");
    put(0, true, b"without");
    put(0, false, b"without and text");
    put(9, false, b"with again");
    store.audit(Some(0));
}

#[test]
fn a_full_store_evicts_nothing_for_what_it_has() {
    let store = small().build().unwrap();
    let mut n = 0;
    while store.stats().totals.evicted == 0 {
        store.set(key(&format!("k{n}")), &[b'v'; 1000], Set::default()).unwrap();
        n += 1;
    }
    let evicted = store.stats().totals.evicted;
    for round in 0..100u8 {
        store.set(key(&format!("k{}", n - 1)), &[round; 1000], Set::default()).unwrap();
    }
    assert_eq!(store.stats().totals.evicted, evicted);
    assert_eq!(value_of(&store, &format!("k{}", n - 1)), Some(vec![99; 1000]));
    store.audit(Some(0));
}
