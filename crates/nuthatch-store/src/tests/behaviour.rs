//! What memcached's users rely on, said one behaviour at a time.

use std::time::Duration;

use super::{at, key, small, value_of};
use crate::types::{Arith, Cas, ItemFlags, Key, StoreMode, Stored, Ttl};
use crate::{Commit, Counted, Maintenance, NewItem, Set, Store, StoreError};

fn put(store: &Store, name: &str, len: usize) {
    assert_eq!(
        store.set(key(name), &vec![b'v'; len], Set::default()).unwrap().stored,
        Stored::Stored
    );
}

#[test]
fn the_first_item_has_cas_2() {
    let store = small().build().unwrap();
    let done = store.set(key("a"), b"", Set::default()).unwrap();
    assert_eq!(done.cas, Cas(2));
}

#[test]
fn a_store_without_cas_answers_0_and_takes_8_bytes_less() {
    let (with, without) = (small().build().unwrap(), small().cas(false).build().unwrap());
    put(&with, "a", 10);
    put(&without, "a", 10);
    assert_eq!(without.get(key("a"), |item| item.cas()), Some(Cas(0)));
    assert_eq!(with.stats().bytes - without.stats().bytes, 8);
}

#[test]
fn an_item_is_gone_when_the_clock_reaches_its_deadline() {
    let store = small().build().unwrap();
    at(&store, 10);
    store.set(key("a"), b"x", Set { ttl: Ttl::secs(5), ..Set::default() }).unwrap();
    at(&store, 14);
    assert!(value_of(&store, "a").is_some());
    at(&store, 15);
    assert!(value_of(&store, "a").is_none());
    assert_eq!(store.stats().counters.get_expired, 1);
    assert_eq!(store.stats().curr_items, 0);
}

#[test]
fn a_flush_ends_what_was_stored_in_the_same_second_and_not_what_comes_after() {
    let store = small().build().unwrap();
    for round in 0..5 {
        put(&store, "before", 1);
        store.flush_all(None);
        assert!(value_of(&store, "before").is_none(), "round {round}");
        put(&store, "after", 1);
        assert!(value_of(&store, "after").is_some(), "round {round}");
    }
}

#[test]
fn a_flush_in_the_future_waits() {
    let store = small().build().unwrap();
    at(&store, 10);
    store.flush_all(Some(Ttl::secs(5)));
    put(&store, "a", 1);
    at(&store, 13);
    assert!(value_of(&store, "a").is_some());
    at(&store, 15);
    assert!(value_of(&store, "a").is_none());
    put(&store, "b", 1);
    assert!(value_of(&store, "b").is_some());
}

#[test]
fn flushing_again_and_again_moves_nothing() {
    let store = small().build().unwrap();
    put(&store, "a", 1);
    for _ in 0..10_000 {
        store.flush_all(None);
    }
    assert!(store.flushed_until() <= 3);
    // With items in between the marks move on, but not without end.
    for n in 0..10_000 {
        put(&store, "a", 1);
        store.flush_all(None);
        assert!(value_of(&store, "a").is_none(), "round {n}");
    }
    assert!(store.flushed_until() <= 2 + 3601);
    put(&store, "a", 1);
    assert!(value_of(&store, "a").is_some());
}

#[test]
fn a_flush_of_a_time_before_the_start_does_nothing_and_of_one_after_it_all() {
    let store = small().build().unwrap();
    at(&store, 100);
    put(&store, "a", 1);
    store.flush_all(Some(Ttl::at_unix(1_000_000_000)));
    assert!(value_of(&store, "a").is_some());
    store.flush_all(Some(Ttl::at_unix(super::UNIX_BASE + 50)));
    assert!(value_of(&store, "a").is_none());
}

#[test]
fn a_late_flush_spares_nothing_that_was_stored_before_it_was_asked_for() {
    let store = small().build().unwrap();
    at(&store, 10);
    for _ in 0..5 {
        put(&store, "x", 1);
        store.flush_all(None);
    }
    put(&store, "a", 1);
    store.flush_all(Some(Ttl::secs(2)));
    at(&store, 20);
    assert!(value_of(&store, "a").is_none());
}

#[test]
fn a_class_full_of_active_items_still_stores() {
    // Without maintenance nobody takes the queue of bumps up; it must not hold memory.
    let store = small().build().unwrap();
    for n in 0..60 {
        let name = format!("k{}", n % 30);
        assert!(store.set(key(&name), &[0; 66_000], Set::default()).is_ok(), "{n}");
        for _ in 0..3 {
            value_of(&store, &name);
        }
    }
    for n in 0..300 {
        let name = format!("new{n}");
        assert!(store.set(key(&name), &[0; 66_000], Set::default()).is_ok(), "{n}");
        value_of(&store, &name);
        value_of(&store, &name);
    }
    store.audit(Some(0));
}

#[test]
#[should_panic(expected = "no more than the space given is written")]
fn filling_what_was_not_given_is_caught() {
    let store = Store::builder().memory_limit(8 << 20).item_size_max(4 << 20).build().unwrap();
    let mut place = store.reserve(key("a"), NewItem::default(), 2 << 20).unwrap();
    place.filled(2 << 20);
}

#[test]
fn pieces_can_be_asked_for_by_number() {
    let store = small().slab_chunk_max(4 << 10).build().unwrap();
    let value: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    store.set(key("a"), &value, Set::default()).unwrap();
    let pin = store.get(key("a"), |item| item.pin().unwrap()).unwrap();
    let pieces: Vec<u8> = (0..).map_while(|n| pin.piece(n)).flatten().copied().collect();
    assert!(pieces == value);
    put(&store, "b", 3);
    let pin = store.get(key("b"), |item| item.pin().unwrap()).unwrap();
    assert_eq!((pin.piece(0), pin.piece(1)), (Some(&b"vvv"[..]), None));
}

#[test]
fn without_cas_numbers_an_append_compares_with_nothing() {
    let store = small().cas(false).build().unwrap();
    put(&store, "a", 1);
    let append = Set { mode: StoreMode::Append, compare: Some(Cas(5)), ..Set::default() };
    assert_eq!(store.set(key("a"), b"w", append).unwrap().stored, Stored::Stored);
}

#[test]
fn a_full_store_evicts_the_oldest() {
    let store = small().build().unwrap();
    for n in 0..100 {
        put(&store, &format!("k{n}"), 66_000);
    }
    let stats = store.stats();
    assert!(stats.totals.evicted > 0);
    assert!(value_of(&store, "k0").is_none());
    assert!(value_of(&store, "k99").is_some());
    assert!(stats.pages * stats.page_bytes <= 2 << 20);
    store.audit(Some(0));
}

#[test]
fn without_evictions_a_full_store_refuses() {
    let store = small().evictions(false).build().unwrap();
    let mut refused = None;
    for n in 0..100 {
        if let Err(error) = store.set(key(&format!("k{n}")), &[0; 66_000], Set::default()) {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(
        refused,
        Some(StoreError::NoMemory { .. } | StoreError::NoMemoryForRest { .. })
    ));
    assert!(value_of(&store, "k0").is_some());
    assert_eq!(store.stats().totals.evicted, 0);
}

#[test]
fn items_above_the_limit_are_refused() {
    let store = small().build().unwrap();
    let error = store.set(key("a"), &vec![0; 1 << 20], Set::default()).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit: 1_048_576, .. }));
    put(&store, "a", (1 << 20) - 33);
}

#[test]
fn long_values_are_chained_and_read_back() {
    let store = Store::builder().memory_limit(64 << 20).item_size_max(20 << 20).build().unwrap();
    let value: Vec<u8> = (0..10_000_000u32).flat_map(|n| n.to_le_bytes()[..1].to_vec()).collect();
    store.set(key("a"), &value, Set { flags: ItemFlags(7), ..Set::default() }).unwrap();
    store.get(key("a"), |item| {
        assert_eq!(item.len(), value.len());
        assert_eq!(item.contiguous(), None);
        assert!(item.to_vec() == value);
        assert_eq!(item.flags(), ItemFlags(7));
    });
    let append = Set { mode: StoreMode::Append, ..Set::default() };
    assert_eq!(store.set(key("a"), b"tail", append).unwrap().len, value.len() + 4);
    store.get(key("a"), |item| assert!(item.to_vec().ends_with(b"tail")));
    assert_eq!(store.count(key("a"), Arith::Incr, 1), Counted::NonNumeric);
    store.audit(Some(0));
    store.delete(key("a"));
    store.audit(Some(0));
    let classes = store.class_stats();
    assert!(classes.iter().all(|class| class.free_chunks == class.total_chunks));
}

#[test]
fn a_long_value_takes_memory_only_as_it_arrives() {
    let store = Store::builder().memory_limit(8 << 20).item_size_max(4 << 20).build().unwrap();
    for n in 0..60 {
        put(&store, &format!("k{n}"), 100_000);
    }
    let place = store.reserve(key("big"), NewItem::default(), 4_000_000).unwrap();
    assert_eq!(store.stats().totals.evicted, 0);
    drop(place);
    store.audit(Some(0));
}

#[test]
fn a_long_value_without_memory_is_taken_and_refused() {
    let store = small().evictions(false).slab_chunk_max(64 << 10).build().unwrap();
    let mut refused = None;
    for n in 0..10 {
        let name = format!("k{n}");
        let mut place = store.reserve(key(&name), NewItem::default(), 900_000).unwrap();
        while !place.space().is_empty() {
            let n = place.space().len();
            place.filled(n);
        }
        if let Err(error) = place.commit(Commit::default()) {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::NoMemoryForRest { .. })));
    assert!(value_of(&store, "k0").is_some());
    store.audit(Some(0));
}

#[test]
fn a_pinned_item_outlives_its_deletion() {
    let store = small().build().unwrap();
    put(&store, "a", 5000);
    let guard = store.get(key("a"), |item| item.pin().unwrap()).unwrap();
    store.delete(key("a"));
    put(&store, "a", 10);
    assert_eq!(guard.view().to_vec(), vec![b'v'; 5000]);
    store.audit(Some(1));
    drop(guard);
    store.audit(Some(0));
}

#[test]
fn counting_keeps_its_place_or_takes_a_new_one() {
    let store = small().build().unwrap();
    store.set(key("n"), b"10", Set { flags: ItemFlags(3), ..Set::default() }).unwrap();
    assert!(matches!(store.count(key("n"), Arith::Decr, 1), Counted::Value(9, _)));
    assert_eq!(value_of(&store, "n"), Some(b"9 ".to_vec()));
    assert!(matches!(store.count(key("n"), Arith::Incr, 991), Counted::Value(1000, _)));
    assert_eq!(value_of(&store, "n"), Some(b"1000".to_vec()));
    assert_eq!(store.get(key("n"), |item| item.flags()), Some(ItemFlags(3)));
}

#[test]
fn items_read_twice_survive_a_scan() {
    let store = small().build().unwrap();
    let mut maintenance = Maintenance::new(&store);
    at(&store, 10);
    put(&store, "loved", 10_000);
    for n in 0..400u32 {
        at(&store, 10 + n);
        value_of(&store, "loved");
        put(&store, &format!("scan{n}"), 10_000);
        maintenance.step(Duration::from_secs(2));
    }
    assert!(store.stats().totals.evicted > 100);
    assert!(value_of(&store, "loved").is_some());
    assert_eq!(store.stats().totals.queues[1].number, 1, "it is the one warm item");
    store.audit(Some(0));
}

#[test]
fn maintenance_takes_expired_items_from_the_tail() {
    let store = small().build().unwrap();
    let mut maintenance = Maintenance::new(&store);
    at(&store, 10);
    for n in 0..50 {
        let set = Set { ttl: Ttl::secs(3), ..Set::default() };
        store.set(key(&format!("k{n}")), b"x", set).unwrap();
    }
    at(&store, 20);
    maintenance.step(Duration::from_secs(2));
    assert_eq!(store.stats().curr_items, 0);
    assert_eq!(store.stats().totals.reclaimed, 50);
    assert_eq!(store.stats().totals.expired_unfetched, 50);
}

#[test]
fn short_lived_items_are_never_evicted_where_temp_is_on() {
    let store = small().temporary_ttl(Some(60)).build().unwrap();
    at(&store, 10);
    store.set(key("temp"), &[0; 60_000], Set { ttl: Ttl::secs(30), ..Set::default() }).unwrap();
    for n in 0..100 {
        put(&store, &format!("k{n}"), 60_000);
    }
    assert!(store.stats().totals.evicted > 0);
    assert!(value_of(&store, "temp").is_some());
    assert_eq!(store.stats().totals.queues[3].number, 1);
}

#[test]
fn stats_can_be_reset_and_keep_what_is_there() {
    let store = small().build().unwrap();
    put(&store, "a", 1);
    value_of(&store, "a");
    value_of(&store, "b");
    let stats = store.stats();
    assert_eq!((stats.counters.cmd_get, stats.counters.get_misses), (2, 1));
    assert_eq!(stats.totals.get_hits(), 1);
    store.reset_stats();
    let stats = store.stats();
    assert_eq!((stats.counters.cmd_get, stats.totals.get_hits(), stats.curr_items), (0, 0, 1));
}

#[test]
fn keys_may_hold_any_byte() {
    let store = small().build().unwrap();
    let bytes = [0u8, 255, b' ', b'\r', b'\n'];
    let key = Key::binary(&bytes).unwrap();
    store.set(key, b"x", Set::default()).unwrap();
    assert_eq!(store.get(key, |item| item.key().to_vec()), Some(bytes.to_vec()));
}

#[test]
fn an_item_larger_than_the_memory_is_no_setting() {
    let build = |bytes| Store::builder().memory_limit(4 << 20).item_size_max(bytes).build();
    assert!(build(4 << 20).is_ok());
    assert!(matches!(build((4 << 20) + 1), Err(crate::ConfigError::OutOfRange { .. })));
}
