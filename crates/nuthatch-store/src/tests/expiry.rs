//! Items that go when their time has come, without being looked at.

use std::time::Duration;

use super::{at, key};
use crate::types::Ttl;
use crate::{Maintenance, Profile, Set, Store};

fn store() -> (Store, Maintenance) {
    let store = Store::builder().profile(Profile::Lean).memory_limit(16 << 20).build().unwrap();
    at(&store, 100);
    let maintenance = Maintenance::new(&store);
    (store, maintenance)
}

fn put(store: &Store, name: &str, ttl: u32) {
    let ttl = if ttl == 0 { Ttl::NEVER } else { Ttl::secs(ttl) };
    store.set(key(name), &[b'v'; 100], Set { ttl, ..Set::default() }).unwrap();
}

/// Goes on to a second and does what is due then.
fn run_to(store: &Store, maintenance: &mut Maintenance, now: u32) {
    at(store, now);
    while maintenance.step(Duration::from_millis(1)) <= Duration::from_millis(1)
        && store.stats().ring_bytes > 0
        && store.inner.expire_due()
    {}
}

#[test]
fn expired_items_go_in_their_second_wherever_they_stand() {
    let (store, mut maintenance) = store();
    // Immortal items at both ends of the queue keep the tail from being reclaimed.
    put(&store, "first", 0);
    (0..1000).for_each(|n| put(&store, &format!("k{n}"), 1 + n % 200));
    put(&store, "last", 0);
    for secs in 1..=200 {
        run_to(&store, &mut maintenance, 100 + secs);
        assert_eq!(store.stats().curr_items, 2 + 5 * u64::from(200 - secs), "after {secs} s");
    }
    assert_eq!(store.stats().totals.reclaimed, 1000);
    assert_eq!(store.inner.rings.as_ref().unwrap().n_ids(), 0);
    store.audit(Some(0));
}

#[test]
fn a_moved_deadline_counts_and_the_old_one_does_not() {
    let (store, mut maintenance) = store();
    put(&store, "first", 0);
    for name in ["longer", "shorter", "never", "again"] {
        put(&store, name, 50);
    }
    store.touch(key("longer"), Ttl::secs(80));
    store.touch(key("shorter"), Ttl::secs(20));
    store.touch(key("never"), Ttl::NEVER);
    put(&store, "again", 70);
    let there = |store: &Store| {
        let names = ["longer", "shorter", "never", "again"];
        names.map(|name| store.stats().curr_items > 0 && store.peek(key(name), |_, _| ()).is_some())
    };
    run_to(&store, &mut maintenance, 119);
    assert_eq!(store.stats().curr_items, 5);
    run_to(&store, &mut maintenance, 121);
    assert_eq!(store.stats().curr_items, 4);
    run_to(&store, &mut maintenance, 160);
    assert_eq!(there(&store), [true, false, true, true]);
    run_to(&store, &mut maintenance, 171);
    assert_eq!(store.stats().curr_items, 3);
    run_to(&store, &mut maintenance, 181);
    assert_eq!(there(&store), [false, false, true, false]);
    store.audit(Some(0));
}

#[test]
fn little_that_has_expired_is_held() {
    let (store, mut maintenance) = store();
    for n in 0..5000u32 {
        put(&store, &format!("k{n}"), 10 + n % 5000);
    }
    let total = store.stats().curr_items;
    for secs in (1..5200).step_by(17) {
        run_to(&store, &mut maintenance, 100 + secs);
        // Whose time, and 2 s or 2 % of it, is over.
        let over = (0..5000u32).filter(|n| {
            let ttl = 10 + n % 5000;
            ttl + (ttl / 50).max(2) <= secs
        });
        let may_live = total - over.count() as u64;
        assert!(store.stats().curr_items <= may_live + total / 100, "after {secs} s");
    }
    assert_eq!(store.stats().curr_items, 0);
}

#[test]
fn what_is_written_again_and_again_does_not_fill_the_rings() {
    let (store, mut maintenance) = store();
    for now in 100..300 {
        (0..2000).for_each(|n| put(&store, &format!("k{}", n % 20), 100_000));
        (0..200).for_each(|n| assert!(store.touch(key("k1"), Ttl::secs(50_000 + n * 100))));
        run_to(&store, &mut maintenance, now);
    }
    for _ in 0..100 {
        maintenance.step(Duration::from_secs(1));
    }
    let n_ids = store.inner.rings.as_ref().unwrap().n_ids();
    assert!(n_ids < 6000, "{n_ids}");
    assert_eq!(store.stats().curr_items, 20);
    run_to(&store, &mut maintenance, 110_000);
    assert_eq!(store.stats().curr_items, 0);
    store.audit(Some(0));
}

#[test]
fn deadlines_that_move_on_leave_nothing_for_good() {
    let (store, mut maintenance) = store();
    (0..4000).for_each(|n| put(&store, &format!("k{n}"), 10_000));
    for now in 101..120 {
        at(&store, now);
        for n in 0..4000 {
            assert!(store.touch(key(&format!("k{n}")), Ttl::secs(10_000 + 100 * (now - 100))));
        }
    }
    let n_ids = || store.inner.rings.as_ref().unwrap().n_ids();
    assert_eq!(n_ids(), 20 * 4000);
    for _ in 0..500 {
        maintenance.step(Duration::from_secs(1));
    }
    assert!(n_ids() < 2 * 4000, "{}", n_ids());
    run_to(&store, &mut maintenance, 119 + 11_899);
    assert_eq!(store.stats().curr_items, 4000, "not before their time");
    run_to(&store, &mut maintenance, 119 + 12_200);
    assert_eq!(store.stats().curr_items, 0, "and all of them then");
    store.audit(Some(0));
}

#[test]
fn rings_that_fill_up_make_room_for_new_ids() {
    let store = Store::builder().memory_limit(1 << 20).cas(false).build().unwrap();
    let mut maintenance = Maintenance::new(&store);
    at(&store, 100);
    let ttl = |secs| Set { ttl: Ttl::secs(secs), ..Set::default() };
    let name = |n: u32| format!("{n:05}");
    for n in 0..18_000 {
        store.set(key(&name(n)), b"v", ttl(5000)).unwrap();
    }
    at(&store, 101);
    (0..18_000).for_each(|n| assert!(store.touch(key(&name(n)), Ttl::secs(9000))));
    let n_ids = || store.inner.rings.as_ref().unwrap().n_ids();
    let full = n_ids();
    assert!(full < 36_000, "more were not to be noted");
    for _ in 0..200 {
        maintenance.step(Duration::from_secs(1));
    }
    assert!(n_ids() < full / 8 * 7, "{} of {full}", n_ids());
    assert_eq!(store.stats().curr_items, 18_000);
}

#[test]
fn ids_of_pages_that_were_moved_do_no_harm() {
    let (store, mut maintenance) = store();
    for round in 0..6u32 {
        let len = 100 << round;
        for n in 0..(4 << 20) / len {
            let set = Set { ttl: Ttl::secs(50 + n), ..Set::default() };
            let value = vec![b'v'; len as usize];
            store.set(key(&format!("r{round}k{n}")), &value, set).unwrap();
        }
        for secs in 0..30 {
            run_to(&store, &mut maintenance, 100 + round * 40 + secs);
            let _ = store.reassign(None, 3 + u8::try_from(secs).unwrap());
        }
        store.audit(None);
    }
    run_to(&store, &mut maintenance, 100_000);
    while store.stats().slab_reassign_running {
        maintenance.step(Duration::from_secs(1));
    }
    assert_eq!(store.stats().curr_items, 0);
    assert!(store.stats().slabs_moved > 0);
    store.audit(Some(0));
}

#[test]
fn without_rings_nothing_is_noted() {
    let store = Store::builder().proactive_expiry(false).build().unwrap();
    put(&store, "a", 10);
    assert_eq!(store.stats().ring_bytes, 0);
    let compat = Store::builder().profile(Profile::Compat).build().unwrap();
    assert!(!compat.config().proactive_expiry);
}
