//! Dumps and iteration: what comes, in which order, and what happens behind their backs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{UNIX_BASE, at, key, small, value_of};
use crate::types::{Cas, ItemFlags, Ttl};
use crate::{CrawlError, CrawlTarget, Dump, DumpTarget, Maintenance, Set, Store};

fn put(store: &Store, name: &str, len: usize) {
    store.set(key(name), &vec![b'v'; len], Set::default()).unwrap();
}

/// The keys that are still to come, in the order in which they come.
fn rest(mut dump: Dump, max: usize) -> Vec<String> {
    let mut names = Vec::new();
    while dump.next(max, |item| names.push(String::from_utf8(item.key().to_vec()).unwrap())) {}
    assert!(!dump.next(max, |_| panic!("it has ended")));
    names
}

fn all(store: &Store, target: DumpTarget) -> Vec<String> {
    rest(store.dump(target).unwrap(), 7)
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// Items in two classes and all queues: `small0` on in class 1, `large0` on in a higher one.
fn filled() -> Store {
    let store = small().temporary_ttl(Some(30)).build().unwrap();
    at(&store, 10);
    for n in 0..100 {
        put(&store, &format!("small{n}"), 2);
        put(&store, &format!("large{n}"), 600);
    }
    store.set(key("temp"), b"x", Set { ttl: Ttl::secs(30), ..Set::default() }).unwrap();
    Maintenance::new(&store).step(Duration::from_secs(1));
    for n in 0..20 {
        (0..2).for_each(|_| assert!(value_of(&store, &format!("small{n}")).is_some()));
    }
    let mut maintenance = Maintenance::new(&store);
    maintenance.step(Duration::from_secs(1));
    let queues = store.stats().totals.queues;
    assert!([1, 2, 3].iter().all(|&queue: &usize| queues[queue].number > 0), "{queues:?}");
    store
}

#[test]
fn every_order_shows_every_item_once() {
    let store = filled();
    let mut names: Vec<String> =
        (0..100).flat_map(|n| [format!("small{n}"), format!("large{n}")]).collect();
    names.push("temp".to_owned());
    names.sort();
    for target in [DumpTarget::All, DumpTarget::Hash, DumpTarget::Classes((1..64).collect())] {
        for max in [1, 5, 32, 1000] {
            assert_eq!(sorted(rest(store.dump(target.clone()).unwrap(), max)), names);
        }
    }
    let mut seen: Vec<String> = Vec::new();
    store.for_each(|item| seen.push(String::from_utf8(item.key().to_vec()).unwrap()));
    assert_eq!(sorted(seen), names);
    let seen = store.iter().map(|item| String::from_utf8(item.view().key().to_vec()).unwrap());
    assert_eq!(sorted(seen.collect()), names);
}

#[test]
fn classes_and_cold_show_what_they_say() {
    let store = filled();
    assert!(all(&store, DumpTarget::Classes(vec![2, 62])).is_empty());
    let one = all(&store, DumpTarget::Classes(vec![1]));
    assert_eq!(one.len(), 101);
    assert!(one.iter().all(|name| !name.starts_with("large")));
    // From the newest down, and without those that were moved to WARM.
    let cold = all(&store, DumpTarget::Cold(1));
    let numbers: Vec<u32> = cold.iter().map(|name| name[5..].parse().unwrap()).collect();
    assert!(!numbers.is_empty() && numbers.iter().all(|&n| n >= 20));
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
}

#[test]
fn an_item_shows_what_a_dump_line_says() {
    let store = small().build().unwrap();
    at(&store, 10);
    let set = Set { flags: ItemFlags(9), ttl: Ttl::secs(50), ..Set::default() };
    store.set(key("a"), b"value", set).unwrap();
    put(&store, "b", 1);
    at(&store, 20);
    value_of(&store, "a");
    let mut seen = BTreeMap::new();
    store.for_each(|item| {
        let name = String::from_utf8(item.key().to_vec()).unwrap();
        let fields = (item.expires_at(), item.last_access(), item.was_fetched());
        seen.insert(name, (fields, item.cas(), item.class(), item.total_bytes(), item.flags()));
    });
    let unix = |second: u64| UNIX_BASE + second;
    let a = ((Some(unix(60)), unix(10), true), Cas(2), 1, 32 + 4 + 1 + 5, ItemFlags(9));
    let b = ((None, unix(10), false), Cas(3), 1, 32 + 1 + 1, ItemFlags(0));
    assert_eq!(seen, BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]));
}

#[test]
fn the_dead_are_not_shown_and_not_removed() {
    let store = small().build().unwrap();
    at(&store, 10);
    store.set(key("short"), b"", Set { ttl: Ttl::secs(1), ..Set::default() }).unwrap();
    put(&store, "long", 1);
    at(&store, 20);
    assert_eq!(all(&store, DumpTarget::All), ["long"]);
    assert_eq!(all(&store, DumpTarget::Hash), ["long"]);
    store.flush_all(None);
    assert!(all(&store, DumpTarget::All).is_empty());
    assert_eq!(store.stats().curr_items, 2);
}

#[test]
fn a_dump_keeps_its_place_while_items_go_and_come() {
    for target in [DumpTarget::All, DumpTarget::Hash, DumpTarget::Cold(1)] {
        let store = small().segmented(false).build().unwrap();
        (0..1000).for_each(|n| put(&store, &format!("k{n}"), 2));
        let mut dump = store.dump(target.clone()).unwrap();
        let mut n_shown = 0;
        assert!(dump.next(500, |_| n_shown += 1));
        assert!((500..520).contains(&n_shown), "{n_shown}");
        for n in 0..1000 {
            if n % 10 != 0 {
                store.delete(key(&format!("k{n}")));
            }
            store.audit(Some(0));
            put(&store, &format!("new{n}"), 2);
        }
        let rest = rest(dump, 10);
        let olds: Vec<&String> = rest.iter().filter(|name| name.starts_with('k')).collect();
        assert!((25..=75).contains(&olds.len()), "{target:?}: {}", olds.len());
        assert!(olds.iter().all(|name| name.ends_with('0')), "what is deleted is not shown");
        store.audit(Some(0));
    }
}

#[test]
fn a_replaced_item_comes_with_one_of_its_values() {
    let store = small().build().unwrap();
    (0..500).for_each(|n| put(&store, &format!("k{n}"), 2));
    let mut iter = store.iter();
    let mut seen: Vec<_> = iter.by_ref().take(100).collect();
    (0..500).for_each(|n| put(&store, &format!("k{n}"), 3));
    seen.extend(iter);
    assert!(seen.iter().filter(|item| item.view().len() == 2).count() >= 100);
    let names = seen.iter().map(|item| String::from_utf8(item.view().key().to_vec()).unwrap());
    let mut names = sorted(names.collect());
    names.dedup();
    assert_eq!(names, sorted((0..500).map(|n| format!("k{n}")).collect()));
}

#[test]
fn an_iterator_that_is_dropped_holds_nothing() {
    let store = small().build().unwrap();
    (0..500).for_each(|n| put(&store, &format!("k{n}"), 2));
    let kept: Vec<_> = (&store).into_iter().take(3).collect();
    for n in 0..500 {
        store.delete(key(&format!("k{n}")));
    }
    store.audit(Some(3));
    drop(kept);
    store.audit(Some(0));
}

#[test]
fn dumps_are_refused_by_their_reasons() {
    let store = filled();
    let refused = |target| store.dump(target).map(|_| ()).unwrap_err();
    assert_eq!(refused(DumpTarget::Classes(vec![])), CrawlError::NothingToCrawl);
    assert_eq!(refused(DumpTarget::Classes(vec![0])), CrawlError::BadClass);
    assert_eq!(refused(DumpTarget::Cold(64)), CrawlError::BadClass);
    let dumps: Vec<Dump> = (0..16)
        .map(|_| {
            let mut dump = store.dump(DumpTarget::All).unwrap();
            assert!(dump.next(1, |_| ()));
            dump
        })
        .collect();
    assert_eq!(refused(DumpTarget::Hash), CrawlError::Busy);
    // Neither iteration nor a crawl is in their way.
    assert_eq!(store.iter().count(), 201);
    store.crawl(CrawlTarget::All).unwrap();
    drop(dumps);
    store.audit(Some(0));
    store.dump(DumpTarget::Hash).unwrap();
    store.set_crawler(false);
    assert_eq!(refused(DumpTarget::All), CrawlError::Disabled);
    assert_eq!(store.iter().count(), 201);
}
