//! Many threads on few keys in little memory: no torn value, no lost chunk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{at, key, small};
use crate::types::{Arith, Ttl};
use crate::{Cause, Counted, CrawlTarget, DumpItem, DumpTarget, Maintenance, Set, Store};

/// A value that tells on itself: its first 8 bytes say what all others are.
fn stamped(stamp: u64, len: usize) -> Vec<u8> {
    let mut value = stamp.to_be_bytes().to_vec();
    value.resize(len.max(8), stamp.to_be_bytes()[7]);
    value
}

fn assert_whole(value: &[u8]) {
    let fill = value[7];
    assert!(value[8..].iter().all(|&byte| byte == fill), "a torn value");
}

pub(in super::super) fn work(store: &Store, thread: u64, rounds: u64) {
    let mut state = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut pins = Vec::new();
    for round in 0..rounds {
        let name = format!("key{}", random(1000));
        match random(10) {
            0..=3 => {
                let long = random(20) == 0;
                let len = if long { random(200_000) } else { random(3000) };
                let value = stamped(thread << 32 | round, usize::try_from(len).unwrap());
                // Pins and chains may use everything up for a moment.
                let _ = store.set(key(&name), &value, Set::default());
            }
            4..=6 => {
                store.get(key(&name), |item| assert_whole(&item.to_vec()));
            }
            7 => {
                store.delete(key(&name));
            }
            8 => {
                if let Some(Some(guard)) = store.get(key(&name), |item| item.pin()) {
                    pins.push(guard);
                }
            }
            _ => {
                pins.iter().for_each(|guard| assert_whole(&guard.view().to_vec()));
                if pins.len() > 3 {
                    pins.clear();
                }
            }
        }
    }
}

#[test]
fn values_stay_whole_under_contention() {
    let store = small().slab_chunk_max(32 << 10).build().unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let maintainer = scope.spawn(|| {
            let mut maintenance = Maintenance::new(&store);
            while !is_done.load(Ordering::Relaxed) {
                maintenance.step(Duration::from_secs(1));
                std::thread::yield_now();
            }
        });
        let workers: Vec<_> = (1..=4)
            .map(|n| {
                scope.spawn({
                    let store = store.clone();
                    move || work(&store, n, 4000)
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        is_done.store(true, Ordering::Relaxed);
        maintainer.join().unwrap();
        // Takes up what the bump queue still holds.
        Maintenance::new(&store).step(Duration::from_secs(1));
    });
    store.audit(Some(0));
    assert!(store.stats().totals.evicted > 0, "the test is about a full store");
}

/// Calls a closure until a flag is raised and some times more, with how often it was called.
fn until(is_done: &AtomicBool, mut f: impl FnMut(u32)) {
    let mut left = 8;
    for round in 0.. {
        left -= u32::from(is_done.load(Ordering::Relaxed));
        if left == 0 {
            return;
        }
        f(round);
        std::thread::yield_now();
    }
}

#[test]
fn walks_run_beside_writers_evictions_and_changes_of_mode() {
    let store = small().slab_chunk_max(32 << 10).build().unwrap();
    at(&store, 2);
    let is_done = AtomicBool::new(false);
    let n_shown = AtomicU64::new(0);
    let see = |item: &DumpItem<'_>| {
        assert!(item.key().starts_with(b"key"));
        assert_whole(&item.to_vec());
        n_shown.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let (store, is_done, see, n_shown) = (&store, &is_done, &see, &n_shown);
        scope.spawn(move || {
            let mut maintenance = Maintenance::new(store);
            until(is_done, |_| {
                maintenance.step(Duration::from_secs(1));
            });
        });
        scope.spawn(move || {
            let mut maintenance = Maintenance::new(store);
            until(is_done, |round| {
                // Time flies, so that short lives end while they are walked over.
                at(store, 2 + round / 4);
                let _ = store.crawl(CrawlTarget::All);
                maintenance.step(Duration::from_secs(1));
                store.set_crawler(round % 64 != 63);
            });
        });
        scope.spawn(move || {
            until(is_done, |round| {
                let class = u8::try_from(round % 20 + 1).unwrap();
                let target = match round % 4 {
                    0 => DumpTarget::All,
                    1 => DumpTarget::Hash,
                    2 => DumpTarget::Classes(vec![class, 3]),
                    _ => DumpTarget::Cold(class),
                };
                // Refused while the crawler is off.
                let Ok(mut dump) = store.dump(target) else { return };
                while dump.next(17, |item| see(&item)) {
                    std::thread::yield_now();
                }
            });
        });
        scope.spawn(move || {
            until(is_done, |round| {
                for item in store.iter().take(300) {
                    assert_whole(&item.view().to_vec());
                    n_shown.fetch_add(1, Ordering::Relaxed);
                }
                store.set_lru_segmented(round % 8 != 0);
                store.set_temporary_ttl((round % 3 == 0).then_some(5));
            });
        });
        let workers: Vec<_> = (1..=2)
            .map(|n| {
                scope.spawn(move || {
                    let mut state: u64 = n;
                    for round in 0..6000u64 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
                        // Few classes, and more of what never ends than there is room for.
                        let name = format!("key{}", (state >> 33) % 20_000);
                        let len = if round % 50 == 0 { 40_000 } else { 3000 };
                        let len = usize::try_from(len + (state >> 20) % 1000).unwrap();
                        let ttl = if round % 2 == 0 { Ttl::NEVER } else { Ttl::secs(3) };
                        let set = Set { ttl, ..Set::default() };
                        let _ = store.set(key(&name), &stamped(n << 32 | round, len), set);
                        if round % 5 == 0 {
                            store.delete(key(&name));
                        }
                        store.get(key(&name), |item| assert_whole(&item.to_vec()));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|end| end.unwrap());
    });
    // Takes up what the bump queue still holds, and what a crawl has left to do.
    store.set_crawler(false);
    Maintenance::new(&store).step(Duration::from_secs(1));
    store.audit(Some(0));
    let stats = store.stats().totals;
    assert!(stats.evicted > 0 && stats.crawler_items_checked > 0, "{stats:?}");
    assert!(n_shown.into_inner() > 0);
}

#[test]
fn herds_compute_while_items_leave() {
    const KEYS: usize = 40;
    let n_told = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&n_told);
    let store = small()
        .slab_chunk_max(32 << 10)
        .listener(&Cause::ALL, move |item| {
            assert_whole(&item.to_vec());
            told.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let is_done = AtomicBool::new(false);
    let is_computing: [AtomicBool; KEYS] = std::array::from_fn(|_| AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (store, is_done, is_computing) = (&store, &is_done, &is_computing);
        scope.spawn(move || {
            let mut maintenance = Maintenance::new(store);
            until(is_done, |round| {
                maintenance.step(Duration::from_secs(1));
                store.evict(100_000);
                let name = format!("key{}", round as usize % KEYS);
                let updated = store.update(key(&name), |entry| match entry.item() {
                    Some(item) if round % 3 == 0 => entry.put_pieces(item.pieces(), Ttl::NEVER),
                    Some(_) if round % 3 == 1 => entry.remove(),
                    _ => entry.keep(),
                });
                // Pins and chains may use everything up for a moment.
                let _ = updated;
            });
        });
        let herd: Vec<_> = (0..4u64)
            .map(|n| {
                scope.spawn(move || {
                    for round in 0..6000 {
                        // All are after the same key for some rounds.
                        let number = round / 16 % KEYS;
                        let name = format!("key{number}");
                        let fetched = store.get_or_insert_with(key(&name), Ttl::NEVER, || {
                            let others = is_computing[number].swap(true, Ordering::Relaxed);
                            assert!(!others, "one at a time computes");
                            std::thread::yield_now();
                            is_computing[number].store(false, Ordering::Relaxed);
                            let len = if round % 100 == 0 { 100_000 } else { 10 + round };
                            (round % 7 != 0).then(|| stamped(n << 32 | round as u64, len)).ok_or(())
                        });
                        if let Ok(fetched) = fetched {
                            assert_whole(fetched.as_bytes());
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = herd.into_iter().map(|thread| thread.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|end| end.unwrap());
    });
    assert_eq!(store.inner.computing.len(), 0);
    // Takes up what the bump queue still holds.
    Maintenance::new(&store).step(Duration::from_secs(1));
    store.audit(Some(0));
    let n_linked = store.stats().counters.total_items;
    assert_eq!(n_told.load(Ordering::Relaxed) + store.len() as u64, n_linked);
    assert!(store.stats().totals.evicted > 0);
}

#[test]
fn no_increment_is_lost() {
    let store = small().build().unwrap();
    store.set(key("n"), b"0", Set::default()).unwrap();
    let sum = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 1..=4u64 {
            let (store, sum) = (&store, &sum);
            scope.spawn(move || {
                for _ in 0..2000 {
                    // Reading pins, so that some increments cannot happen in place.
                    let pin = store.get(key("n"), |item| item.pin());
                    let counted = store.count(key("n"), Arith::Incr, n);
                    assert!(matches!(counted, Counted::Value(..)));
                    sum.fetch_add(n, Ordering::Relaxed);
                    drop(pin);
                }
            });
        }
    });
    let value = store.get(key("n"), |item| item.to_vec()).unwrap();
    assert_eq!(String::from_utf8(value).unwrap().trim(), sum.into_inner().to_string());
    store.audit(Some(0));
}

#[test]
fn a_store_can_be_shared_and_sent() {
    fn check<T: Send + Sync>() {}
    check::<Store>();
    check::<crate::ItemGuard>();
    check::<crate::Reservation>();
    check::<crate::Dump>();
    check::<crate::Iter>();
    check::<crate::Fetched>();
    let _ = Ttl::NEVER;
}
