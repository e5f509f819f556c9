//! What a store tells those who follow it: why there was nothing, how large what there was is, how
//! many items of which size there are, and what maintenance does.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{at, key, small};
use crate::types::{Arith, Cas, Deleted, StoreMode, Ttl};
use crate::{
    Automove, Cause, Commit, CrawlReport, Extent, LruTuning, Maintenance, MetaArith, MetaDelete,
    MetaGet, Missed, NewItem, Profile, Set, Store, StoreEvent,
};

fn put(store: &Store, name: &str, len: usize, ttl: Ttl) {
    store.set(key(name), &vec![b'1'; len], Set { ttl, ..Set::default() }).unwrap();
}

fn extent(store: &Store, name: &str) -> Extent {
    store.peek(key(name), |item, _| item.extent()).unwrap()
}

/// Has `look` look for three keys: one that never was, one that has expired, one that was flushed.
fn misses(look: impl Fn(&Store, &str) -> Result<usize, Missed>) -> [Result<usize, Missed>; 3] {
    ["none", "expired", "flushed"].map(|name| {
        let store = small().build().unwrap();
        at(&store, 100);
        put(&store, "expired", 3, Ttl::secs(5));
        at(&store, 110);
        put(&store, "flushed", 3, Ttl::secs(500));
        if name == "flushed" {
            store.flush_all(None);
        }
        look(&store, name)
    })
}

#[test]
fn every_lookup_says_why_there_is_nothing() {
    let expected = [Missed::NotFound, Missed::Expired, Missed::Flushed].map(Err::<usize, _>);
    let many = |store: &Store, name: &str, touch: bool| {
        let mut found = Ok(0);
        match touch {
            true => store.get_many_and_touch([key(name)], Ttl::NEVER, |_, item| {
                found = item.map(|item| item.len());
            }),
            false => store.get_many([key(name)], |_, item| found = item.map(|item| item.len())),
        }
        found
    };
    assert_eq!(misses(|store, name| store.lookup(key(name), |item| item.len())), expected);
    let touch = |store: &Store, name: &str| {
        store.lookup_and_touch(key(name), Ttl::secs(9), |item| item.len())
    };
    assert_eq!(misses(touch), expected);
    assert_eq!(misses(|store, name| many(store, name, false)), expected);
    assert_eq!(misses(|store, name| many(store, name, true)), expected);
    assert_eq!(misses(|store, name| store.take(key(name), |item| item.len())), expected);
    let meta = |store: &Store, name: &str| {
        store.meta_get(key(name), MetaGet::default(), |item, _| item.len())
    };
    assert_eq!(misses(meta), expected);
    let made = |store: &Store, name: &str| {
        let ask = MetaGet { vivify: Some(Ttl::secs(5)), ..MetaGet::default() };
        let missed = store.meta_get(key(name), ask, |_, hit| hit.missed).unwrap();
        assert_eq!(store.meta_get(key(name), ask, |_, hit| hit.missed), Ok(None));
        missed.map_or(Ok(0), Err)
    };
    assert_eq!(misses(made), expected);
    let len = |before: Result<Extent, Missed>| before.map(|extent| extent.len);
    let set =
        |store: &Store, name: &str| len(store.set(key(name), b"x", Set::default()).unwrap().before);
    assert_eq!(misses(set), expected);
    let delete = |store: &Store, name: &str| {
        len(store.meta_delete(key(name), MetaDelete::default()).unwrap().before)
    };
    assert_eq!(misses(delete), expected);
    let count =
        |store: &Store, name: &str| len(store.meta_count(key(name), MetaArith::default()).before);
    assert_eq!(misses(count), expected);
}

#[test]
fn a_store_tells_what_was_there_and_what_there_is() {
    let store = small().build().unwrap();
    let small_one = store.set(key("a"), b"1", Set::default()).unwrap();
    assert_eq!(small_one.class, extent(&store, "a").class);
    // Over the old one, beside it, not at all, and joined to it.
    let written_over = store.set(key("a"), b"123", Set::default()).unwrap();
    assert_eq!(written_over.before, Ok(Extent { class: small_one.class, len: 1 }));
    assert_eq!(written_over.class, small_one.class);
    let long = store.set(key("a"), &[b'1'; 2000], Set::default()).unwrap();
    assert_eq!(long.before, Ok(Extent { class: small_one.class, len: 3 }));
    assert_eq!((long.len, long.class), (2000, extent(&store, "a").class));
    assert!(long.class > small_one.class);
    let add = Set { mode: StoreMode::Add, ..Set::default() };
    let refused = store.set(key("a"), b"12", add).unwrap();
    assert_eq!((refused.len, refused.class), (2, small_one.class));
    assert_eq!(refused.before, Ok(extent(&store, "a")));
    let append = Set { mode: StoreMode::Append, ..Set::default() };
    let joined = store.set(key("a"), &[b'1'; 600_000], append).unwrap();
    assert_eq!((joined.len, joined.class), (602_000, extent(&store, "a").class));
    assert_eq!(joined.before, Ok(Extent { class: long.class, len: 2000 }));

    let before = extent(&store, "a");
    let ask = MetaDelete { compare: Some(Cas(1 << 60)), ..MetaDelete::default() };
    let done = store.meta_delete(key("a"), ask).unwrap();
    assert_eq!((done.deleted, done.before, done.after), (Deleted::Exists, Ok(before), None));
    let ask = MetaDelete { mark_stale: true, ..MetaDelete::default() };
    let done = store.meta_delete(key("a"), ask).unwrap();
    assert_eq!((done.before, done.after), (Ok(before), Some(before)));
    let ask = MetaDelete { remove_value: true, ..MetaDelete::default() };
    let done = store.meta_delete(key("a"), ask).unwrap();
    let empty = Extent { class: small_one.class, len: 0 };
    assert_eq!((done.before, done.after), (Ok(before), Some(empty)));
    let done = store.meta_delete(key("a"), MetaDelete::default()).unwrap();
    assert_eq!((done.before, done.after), (Ok(empty), None));

    put(&store, "n", 2, Ttl::NEVER);
    let counted = store.meta_count(key("n"), MetaArith { delta: 100, ..MetaArith::default() });
    assert_eq!(counted.before, Ok(Extent { class: small_one.class, len: 2 }));
    assert_eq!(store.take(key("n"), |item| item.extent()).map(|extent| extent.len), Ok(3));
    assert_eq!(store.stats().totals.counters.delete_hits, 3);
}

#[test]
fn an_item_that_is_taken_stays_if_the_closure_panics() {
    let store = small().build().unwrap();
    put(&store, "a", 1, Ttl::NEVER);
    let take = || store.take(key("a"), |_| panic!("says a closure"));
    let taken: Result<Result<(), _>, _> =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(take));
    assert!(taken.is_err());
    assert!(store.contains(key("a")));
    store.audit(Some(0));
}

#[test]
fn what_leaves_says_where_it_was_and_when_it_was_used() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let listener = move |item: crate::Leaving<'_>| {
        log.lock().push((item.class(), item.last_access_secs(), item.len()));
    };
    let store = small().listener(&[Cause::Deleted], listener).build().unwrap();
    at(&store, 100);
    put(&store, "short", 1, Ttl::NEVER);
    put(&store, "chained", 700_000, Ttl::NEVER);
    let classes = [extent(&store, "short").class, extent(&store, "chained").class];
    at(&store, 130);
    store.delete(key("short"));
    at(&store, 131);
    store.delete(key("chained"));
    assert_eq!(*told.lock(), [(classes[0], 30, 1), (classes[1], 31, 700_000)]);
}

#[test]
fn sizes_are_those_of_the_items_there_are() {
    for profile in [Profile::Compat, Profile::Lean] {
        let store = small().profile(profile).track_sizes(true).build().unwrap();
        at(&store, 100);
        assert_eq!(store.sizes(), []);
        // 32 bytes before the key, 1 of key.
        put(&store, "a", 31, Ttl::NEVER);
        put(&store, "b", 32, Ttl::NEVER);
        put(&store, "c", 31, Ttl::secs(5));
        assert_eq!(store.sizes(), [(64, 2), (96, 1)]);
        put(&store, "a", 32, Ttl::NEVER);
        assert_eq!(store.sizes(), [(64, 1), (96, 2)]);
        store.count(key("b"), Arith::Incr, 1);
        assert_eq!(store.sizes(), [(64, 1), (96, 2)], "where it stands");
        at(&store, 106);
        assert!(store.get(key("c"), |_| ()).is_none());
        store.delete(key("b"));
        assert_eq!(store.sizes(), [(96, 1)]);
        for n in 0..50 {
            put(&store, &format!("long{n}"), 300_000, Ttl::NEVER);
            store.audit(Some(0));
        }
        assert!(store.stats().totals.evicted > 40);
        let reserved = store.reserve(key("r"), NewItem::default(), 1).unwrap();
        store.audit(Some(1));
        drop(reserved);
        store.evict(usize::MAX);
        assert_eq!(store.sizes(), []);
    }
    assert_eq!(small().build().unwrap().sizes(), []);
}

#[test]
fn sizes_above_a_mebibyte_are_counted_too() {
    let store =
        small().memory_limit(16 << 20).item_size_max(8 << 20).track_sizes(true).build().unwrap();
    let store_len = |len: usize| {
        store.put(key("a"), &vec![0; len], NewItem::default(), Commit::default()).unwrap();
    };
    store_len(5_000_000);
    assert_eq!(store.sizes(), [(5_000_064, 1)]);
    store_len(3_000_000);
    assert_eq!(store.sizes(), [(3_000_064, 1)]);
    store.audit(Some(0));
    store.delete(key("a"));
    assert_eq!(store.sizes(), []);
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Crawl(CrawlReport),
    Move(u8, u8, bool),
}

/// A store that notes its events, and looks at itself while it does.
fn noting(builder: crate::Builder) -> (Store, Arc<Mutex<Vec<Told>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::new(Mutex::new(None::<Store>));
    let (log, handle) = (Arc::clone(&told), Arc::clone(&own));
    let events = move |event: StoreEvent<'_>| {
        // No lock is held: the crawler's and the mover's can be had.
        let store = handle.lock().clone().unwrap();
        store.crawl_reports();
        assert_ne!(store.reassign(Some(1), 1), Ok(()));
        log.lock().push(match event {
            StoreEvent::CrawlDone(report) => Told::Crawl(*report),
            StoreEvent::PageMoved { src, dst, ok } => Told::Move(src, dst, ok),
        });
    };
    let store = builder.events(events).build().unwrap();
    *own.lock() = Some(store.clone());
    (store, told)
}

#[test]
fn the_end_of_a_crawl_is_told_with_its_report() {
    let (store, told) = noting(small().segmented(false).automove(Automove::Off));
    let mut maintenance = Maintenance::new(&store);
    let mut run = |from: u32, to: u32| {
        for now in from..to {
            at(&store, now);
            for _ in 0..20 {
                maintenance.step(Duration::from_secs(1));
            }
        }
        std::mem::take(&mut *told.lock())
    };
    at(&store, 10);
    (0..10).for_each(|n| put(&store, &format!("key{n}"), 1, Ttl::secs(2)));
    (0..20).for_each(|n| put(&store, &format!("long{n}"), 1, Ttl::secs(7200)));
    let told = run(13, 16);
    let reports: Vec<_> = told
        .iter()
        .map(|told| match told {
            Told::Crawl(report) => *report,
            other => panic!("{other:?}"),
        })
        .collect();
    let cold = reports.iter().find(|report| (report.class, report.queue) == (1, 2)).unwrap();
    assert_eq!((cold.reclaimed, cold.examined, cold.number), (10, 20, 1));
    assert_eq!(store.crawl_reports(), reports, "each once");
}

#[test]
fn pages_that_maintenance_moves_are_told() {
    const PAGE: usize = 64 << 10;
    let builder = small()
        .memory_limit(16 * PAGE)
        .page_bytes(PAGE)
        .slab_chunk_max(PAGE / 4)
        .auto_crawl(false)
        .automove_window(3);
    let (store, told) = noting(builder);
    at(&store, 2);
    for n in 0..200 {
        put(&store, &format!("old{n}"), 3000, Ttl::NEVER);
    }
    let src = extent(&store, "old199").class;
    let mut maintenance = Maintenance::new(&store);
    let moves = |maintenance: &mut Maintenance, seconds: std::ops::Range<u32>| {
        for now in seconds {
            at(&store, now);
            for n in 0..1000 {
                put(&store, &format!("{now}-{n}"), 200, Ttl::NEVER);
            }
            for _ in 0..5 {
                maintenance.step(Duration::from_millis(1));
            }
        }
        std::mem::take(&mut *told.lock())
    };
    let told = moves(&mut maintenance, 2000..2010);
    let dst = extent(&store, "2009-999").class;
    assert!(!told.is_empty() && told.iter().all(|told| *told == Told::Move(src, dst, true)));
    assert_eq!(told.len() as u64, store.stats().slabs_moved);
}

#[test]
fn nobody_is_told_of_what_somebody_asked_for() {
    let (store, told) = noting(small().automove(Automove::Off).auto_crawl(false));
    let tuning = LruTuning { hot_pct: 1, warm_pct: 1, hot_max_factor: 1.0, warm_max_factor: 1.0 };
    store.tune_lru(tuning).unwrap();
    for n in 0..30_000 {
        put(&store, &format!("key{n}"), 10, Ttl::NEVER);
    }
    store.crawl(crate::CrawlTarget::All).unwrap();
    store.reassign(Some(1), 5).unwrap();
    let mut maintenance = Maintenance::new(&store);
    for now in 3..100 {
        at(&store, now);
        maintenance.step(Duration::from_secs(1));
    }
    assert_eq!(store.stats().slabs_moved, 1);
    assert_eq!(*told.lock(), []);
}
