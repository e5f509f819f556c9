//! Deciding under the key's lock, and making room by hand.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{at, key, small, value_of};
use crate::types::{Cas, ItemFlags, Ttl};
use crate::{NewItem, Set, Store, StoreError, Updated};

fn put(store: &Store, name: &str, len: usize) {
    store.set(key(name), &vec![b'v'; len], Set::default()).unwrap();
}

#[test]
fn each_decision_does_what_it_says() {
    let store = small().build().unwrap();
    at(&store, 100);
    let a = key("a");
    let seen = |expected: Option<&[u8]>| {
        assert_eq!(value_of(&store, "a").as_deref(), expected);
    };

    for absent in [
        store.update(a, |entry| entry.keep()),
        store.update(a, |entry| entry.remove()),
        store.update(a, |entry| entry.touch(Ttl::NEVER)),
    ] {
        assert_eq!(absent, Ok(Updated::Absent));
    }
    let item = NewItem { flags: ItemFlags(7), ttl: Ttl::secs(10), ..NewItem::default() };
    let cas = store.update(a, |entry| entry.put("one", item)).unwrap().cas().unwrap();
    seen(Some(b"one"));

    let kept = store.update(a, |entry| {
        let item = entry.item().unwrap();
        assert_eq!(
            (item.key(), item.flags(), item.cas()),
            (entry.key().as_bytes(), item.flags(), cas)
        );
        entry.keep()
    });
    assert_eq!(kept, Ok(Updated::Kept(cas)));

    let standing = || store.peek(a, |item, hit| (item.flags().0, hit.ttl_before)).unwrap();
    let replaced = store.update(a, |entry| entry.replace("two"));
    assert_eq!(replaced, Ok(Updated::Replaced(Cas(cas.0 + 1))));
    assert_eq!(standing(), (7, Some(10)), "flags and life span stay");

    let touched = store.update(a, |entry| entry.touch(Ttl::secs(20)));
    assert_eq!(touched, Ok(Updated::Touched(Cas(cas.0 + 1))));
    assert_eq!(standing(), (7, Some(20)));

    let doubled = store.update(a, |entry| {
        let pieces = entry.item().unwrap().pieces();
        entry.put_pieces(pieces.clone().chain(pieces), Ttl::NEVER)
    });
    assert!(matches!(doubled, Ok(Updated::Replaced(_))));
    seen(Some(b"twotwo"));
    assert_eq!(standing(), (0, None));

    assert_eq!(store.update(a, |entry| entry.remove()), Ok(Updated::Removed));
    seen(None);
    store.audit(Some(0));

    let stats = store.stats();
    assert_eq!((stats.counters.cmd_touch, stats.counters.touch_misses), (2, 1));
    assert_eq!((stats.totals.counters.delete_hits, stats.counters.delete_misses), (1, 1));
    assert_eq!(stats.totals.counters.cmd_set, 3);
    assert_eq!((stats.totals.get_hits(), stats.counters.get_misses), (7, 5));
}

#[test]
fn an_update_sees_no_dead_item() {
    let store = small().build().unwrap();
    at(&store, 100);
    store.set(key("a"), b"x", Set { ttl: Ttl::secs(5), ..Set::default() }).unwrap();
    at(&store, 105);
    let updated = store.update(key("a"), |entry| {
        assert!(entry.item().is_none());
        entry.replace("y")
    });
    assert!(matches!(updated, Ok(Updated::Inserted(_))));
    assert_eq!(store.peek(key("a"), |_, hit| hit.ttl_before), Some(None));
}

#[test]
fn what_cannot_be_put_leaves_the_old_item() {
    let store = small().slab_chunk_max(64 << 10).build().unwrap();
    put(&store, "a", 5);
    let update = |len| store.update(key("a"), |entry| entry.replace(vec![0; len]));
    assert!(matches!(update(2 << 20), Err(StoreError::TooLarge { .. })));
    let all = catch_unwind(AssertUnwindSafe(|| {
        store.update(key("a"), |entry| {
            // Written, and never to be linked.
            let _ = entry.replace(vec![0; 500_000]);
            panic!("what a closure does")
        })
    }));
    assert!(all.is_err());
    store.audit(Some(0));
    assert_eq!(value_of(&store, "a").map(|value| value.len()), Some(5));
    assert!(update(500_000).is_ok());
    assert_eq!(value_of(&store, "a").map(|value| value.len()), Some(500_000));
    assert_eq!(store.get_guard(key("a")).unwrap().as_bytes(), vec![0; 500_000]);
    store.audit(Some(0));
}

#[test]
fn a_new_value_may_evict_but_never_the_item_it_is_made_of() {
    let store = small().build().unwrap();
    for n in 0..5 {
        put(&store, &format!("key{n}"), 400_000);
    }
    put(&store, "a", 400_000);
    for _ in 0..20 {
        let updated = store.update(key("a"), |entry| {
            let item = entry.item().expect("its shard is locked");
            let update = entry.put_pieces(item.pieces(), Ttl::NEVER);
            assert_eq!(item.to_vec(), vec![b'v'; 400_000]);
            update
        });
        // Where nothing else may go, there is no memory.
        assert!(matches!(updated, Ok(Updated::Replaced(_)) | Err(StoreError::NoMemory { .. })));
        store.audit(Some(0));
    }
}

#[test]
fn eviction_by_hand_takes_the_oldest_of_all_classes() {
    for segmented in [true, false] {
        let store = small().segmented(segmented).build().unwrap();
        let (mut now, mut names) = (100, Vec::new());
        // Classes take turns.
        for n in 0..100 {
            at(&store, now);
            now += 100;
            names.push(format!("key{n:02}"));
            put(&store, &names[n], [50, 500, 5000][n % 3]);
        }
        let sizes = |names: &[String]| {
            let size = |name: &String| store.peek(key(name), |item, _| item.total_bytes());
            names.iter().filter_map(size).sum::<usize>()
        };
        let (half, all) = (sizes(&names[..50]), sizes(&names));
        assert_eq!((store.len(), store.bytes()), (100, all));
        assert_eq!(store.evict(0), 0);
        assert_eq!(store.evict(half), half, "segmented {segmented}");
        assert_eq!(sizes(&names[50..]), all - half, "the younger half is all there");
        assert_eq!((store.len(), store.bytes()), (50, all - half));
        assert_eq!(store.evict(usize::MAX), all - half);
        assert!(store.is_empty());
        assert_eq!(store.evict(1), 0, "there is nothing left");
        assert_eq!(store.stats().totals.evicted, 100);
        store.audit(Some(0));
    }
}

#[test]
fn eviction_by_hand_ends_where_nothing_may_go() {
    let store = small().evictions(false).temporary_ttl(Some(10)).build().unwrap();
    at(&store, 100);
    put(&store, "lasting", 100);
    store.set(key("passing"), b"x", Set { ttl: Ttl::secs(5), ..Set::default() }).unwrap();
    assert_eq!(store.evict(usize::MAX), 0);
    assert_eq!(store.len(), 2);
}
