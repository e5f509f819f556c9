//! Many threads on few keys in little memory: no torn value, no lost chunk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{key, small};
use crate::types::{Arith, Ttl};
use crate::{Counted, Maintenance, Set, Store};

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

fn work(store: &Store, thread: u64, rounds: u64) {
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
    let _ = Ttl::NEVER;
}
