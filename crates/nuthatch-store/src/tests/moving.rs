//! Pages that change their class, and limits that change.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::compat::threads::work;
use super::{at, key, value_of};
use crate::types::Cas;
use crate::{
    Automove, Builder, Cause, ItemGuard, Maintenance, NewItem, Profile, ReassignError, Set, Store,
    StoreError,
};

const PAGE: usize = 64 << 10;

/// Pages of 64 KiB, chunks up to 16 KiB, moved by hand only.
fn pages(n: usize) -> Builder {
    Store::builder()
        .profile(Profile::Compat)
        .memory_limit(n * PAGE)
        .page_bytes(PAGE)
        .slab_chunk_max(PAGE / 4)
        .automove(Automove::Off)
}

fn value(n: usize, len: usize) -> Vec<u8> {
    let mut value = n.to_be_bytes().to_vec();
    value.resize(len, n.to_le_bytes()[0]);
    value
}

fn fill(store: &Store, name: &str, count: usize, len: usize) {
    for n in 0..count {
        store.set(key(&format!("{name}{n}")), &value(n, len), Set::default()).unwrap();
    }
}

fn assert_all(store: &Store, name: &str, count: usize, len: usize) {
    for n in 0..count {
        let found = value_of(store, &format!("{name}{n}"));
        assert_eq!(found, Some(value(n, len)), "{name}{n}");
    }
}

fn maintain(store: &Store, steps: usize) {
    let mut maintenance = Maintenance::new(store);
    for _ in 0..steps {
        maintenance.step(Duration::from_millis(1));
    }
}

/// The class that a value of this length goes to.
fn class_of(store: &Store, name: &str) -> u8 {
    store.peek(key(name), |item, _| item.class()).unwrap()
}

fn n_pages(store: &Store, class: u8) -> u64 {
    store.class_stats()[usize::from(class) - 1].total_pages
}

#[test]
fn items_survive_the_move_of_their_page() {
    let store = pages(32).build().unwrap();
    fill(&store, "a", 300, 1000);
    fill(&store, "b", 1, 3000);
    let (from, to) = (class_of(&store, "a0"), class_of(&store, "b0"));
    let cas_of = |n: usize| store.peek(key(&format!("a{n}")), |item, _| item.cas()).unwrap();
    let cas: Vec<Cas> = (0..300).map(cas_of).collect();
    let (had, got) = (n_pages(&store, from), n_pages(&store, to));
    for n in 1..=3 {
        store.reassign(Some(from), to).unwrap();
        assert_eq!(store.reassign(Some(from), to), Err(ReassignError::Busy));
        maintain(&store, 10);
        store.audit(Some(0));
        assert_eq!(store.stats().slabs_moved, n);
    }
    // Room for the copies was had from the limit, which is not reached.
    assert_eq!(n_pages(&store, to), got + 3);
    assert!(n_pages(&store, from) >= had - 1);
    assert_all(&store, "a", 300, 1000);
    assert_eq!((0..300).map(cas_of).collect::<Vec<_>>(), cas);
    let stats = store.stats();
    assert!(stats.slab_reassign_rescues > 100 && stats.totals.evicted == 0);
    store.reset_stats();
    let stats = store.stats();
    assert_eq!((stats.slab_reassign_rescues, stats.slabs_moved), (0, 0));
    assert_eq!(stats.slab_reassign_last_busy_status, "none");
}

#[test]
fn an_owner_is_looked_at_only_where_a_chunk_begins() {
    let store = pages(32).build().unwrap();
    // The head of the chain lies in the second chunk of the first page of its class.
    store.set(key("filler"), &value(0, 30), Set::default()).unwrap();
    fill(&store, "chain", 1, 50_000);
    let head = store.peek(key("chain0"), |item, _| item.id()).unwrap();
    assert!(store.inner.list_of(head).is_some());
    fill(&store, "a", 1000, 30);
    fill(&store, "b", 1, 9000);
    let (small, large) = (class_of(&store, "a0"), class_of(&store, "b0"));
    store.delete(key("chain0"));
    assert!(store.inner.list_of(head).is_none());
    // Its page goes to a class of large chunks, of which one is full of ones.
    let had = n_pages(&store, large);
    store.reassign(Some(small), large).unwrap();
    maintain(&store, 50);
    assert_eq!(n_pages(&store, large), had + 1);
    for n in 0..12 {
        store.set(key(&format!("ones{n}")), &[0xff; 9000], Set::default()).unwrap();
    }
    assert_eq!(store.inner.items.state(head), u32::MAX, "the page is another's");
    assert!(store.inner.list_of(head).is_none());
    store.audit(Some(0));
}

#[test]
fn a_bump_that_waits_follows_its_item() {
    let store = pages(32).segmented(true).build().unwrap();
    fill(&store, "a", 200, 1000);
    // HOT has more than its share: most go to COLD.
    maintain(&store, 20);
    let class = class_of(&store, "a0");
    let in_warm = || store.class_stats()[usize::from(class) - 1].queues[1].number;
    assert_eq!(in_warm(), 0);
    (0..2).for_each(|_| assert!(value_of(&store, "a0").is_some()));
    store.reassign(Some(class), 0).unwrap();
    maintain(&store, 20);
    assert_eq!((in_warm(), store.stats().slabs_moved), (1, 1));
    store.audit(Some(0));
}

#[test]
fn a_listener_that_panics_while_a_page_is_emptied_leaves_it_to_maintenance() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let is_still = Arc::clone(&is_broken);
    let store = pages(16)
        .listener(&[Cause::Evicted], move |_| assert!(!is_still.load(Ordering::Relaxed), "broken"))
        .build()
        .unwrap();
    fill(&store, "s", 870, 1000);
    let from = class_of(&store, "s0");
    assert_eq!(store.stats().pages, 16);
    // The first page of their class, which has nothing to evict.
    let reserve = || store.reserve(key("l"), NewItem::default(), 15_000);
    let places: Vec<_> = (0..4).map(|_| reserve().unwrap()).collect();
    is_broken.store(true, Ordering::Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(reserve)).is_err());
    is_broken.store(false, Ordering::Relaxed);
    maintain(&store, 20);
    assert!(!store.stats().slab_reassign_running);
    store.audit(Some(4));
    let fifth = reserve().unwrap();
    store.reassign(Some(from), 0).unwrap();
    maintain(&store, 20);
    assert!(!store.stats().slab_reassign_running);
    drop((places, fifth));
    store.audit(Some(0));
}

#[test]
fn links_of_chains_move_and_values_stay_whole() {
    let store = pages(40).build().unwrap();
    fill(&store, "c", 20, 50_000);
    let last = class_of(&store, "c0");
    for n in (0..20).step_by(3) {
        store.delete(key(&format!("c{n}")));
    }
    while n_pages(&store, last) > 14 {
        store.reassign(Some(last), 0).unwrap();
        maintain(&store, 30);
        store.audit(Some(0));
    }
    let stats = store.stats();
    assert!(stats.slab_reassign_chunk_rescues > 0, "{stats:?}");
    for n in (0..20).filter(|n| n % 3 != 0) {
        assert_eq!(value_of(&store, &format!("c{n}")), Some(value(n, 50_000)));
    }
}

#[test]
fn a_pinned_value_is_read_to_its_end_and_then_the_page_goes() {
    let store = pages(32).build().unwrap();
    fill(&store, "a", 200, 1000);
    let from = class_of(&store, "a0");
    let pin = |n: usize| store.get(key(&format!("a{n}")), |item| item.pin().unwrap()).unwrap();
    let pins: Vec<ItemGuard> = (0..30).map(pin).collect();
    store.reassign(Some(from), 0).unwrap();
    maintain(&store, 20);
    let stats = store.stats();
    assert!(stats.slab_reassign_running && stats.slabs_moved == 0);
    assert!(stats.slab_reassign_busy_items > 0);
    assert_eq!(stats.slab_reassign_last_busy_status, "busy_floating");
    // They have been copied: what is pinned is the old copy.
    assert_all(&store, "a", 200, 1000);
    for (n, pin) in pins.iter().enumerate() {
        assert_eq!(pin.view().to_vec(), value(n, 1000));
    }
    drop(pins);
    maintain(&store, 20);
    assert_eq!(store.stats().slabs_moved, 1);
    assert_eq!(store.stats().slab_global_page_pool, 1);
    store.audit(Some(0));
}

#[test]
fn what_is_being_written_is_waited_for() {
    let store = pages(32).build().unwrap();
    let mut place = store.reserve(key("slow"), NewItem::default(), 1000).unwrap();
    fill(&store, "a", 100, 1000);
    let from = class_of(&store, "a0");
    store.reassign(Some(from), 0).unwrap();
    maintain(&store, 20);
    assert_eq!(store.stats().slabs_moved, 0);
    place.write(&value(7, 1000)).unwrap();
    place.commit(crate::Commit::default()).unwrap();
    maintain(&store, 20);
    assert_eq!(store.stats().slabs_moved, 1);
    assert_eq!(value_of(&store, "slow"), Some(value(7, 1000)));
}

#[test]
fn a_page_that_stays_busy_is_left_to_its_class() {
    let store = pages(32).build().unwrap();
    fill(&store, "a", 100, 1000);
    let from = class_of(&store, "a0");
    let pin = store.get(key("a0"), |item| item.pin().unwrap()).unwrap();
    store.reassign(Some(from), 0).unwrap();
    maintain(&store, 5000);
    assert!(!store.stats().slab_reassign_running);
    store.audit(Some(1));
    drop(pin);
    store.audit(Some(0));
}

#[test]
fn moves_are_refused_for_a_reason() {
    let store = pages(32).build().unwrap();
    fill(&store, "a", 100, 1000);
    let from = class_of(&store, "a0");
    let last = store.class_stats().len();
    let beyond = u8::try_from(last + 1).unwrap();
    assert_eq!(store.reassign(Some(from), beyond), Err(ReassignError::BadClass));
    assert_eq!(store.reassign(Some(beyond), 1), Err(ReassignError::BadClass));
    assert_eq!(store.reassign(Some(1), 1), Err(ReassignError::Same));
    assert_eq!(store.reassign(Some(2), 1), Err(ReassignError::NoSpare));
    assert_eq!(store.reassign(Some(0), 1), Err(ReassignError::NoSpare));
    let never = pages(32).slab_reassign(false).build().unwrap();
    assert_eq!(never.reassign(Some(2), 1), Err(ReassignError::Disabled));
}

#[test]
fn a_full_class_evicts_to_give_a_page() {
    let store = pages(16).build().unwrap();
    fill(&store, "a", 2000, 1000);
    let evicted = store.stats().totals.evicted;
    let from = class_of(&store, "a1999");
    store.reassign(Some(from), 1).unwrap();
    maintain(&store, 50);
    let stats = store.stats();
    assert_eq!(stats.slabs_moved, 1);
    assert!(stats.totals.evicted > evicted);
    store.audit(Some(0));
}

#[test]
fn a_lower_limit_gives_memory_back_and_a_higher_one_takes_it() {
    let store = pages(64).build().unwrap();
    fill(&store, "a", 5000, 1000);
    fill(&store, "b", 1000, 200);
    assert!(store.stats().pages >= 64);
    store.set_memory_limit(16 * PAGE).unwrap();
    maintain(&store, 1000);
    store.audit(Some(0));
    let stats = store.stats();
    assert!(stats.pages <= 17, "{} pages", stats.pages);
    assert_eq!(store.memory_limit(), 16 * PAGE);
    assert!(stats.curr_items > 500);
    // Pages that came back hold right values.
    store.set_memory_limit(64 * PAGE).unwrap();
    fill(&store, "c", 2000, 1000);
    store.audit(Some(0));
    assert_all(&store, "c", 2000, 1000);
    assert!(store.set_memory_limit(1000).is_err());
    assert!(store.set_memory_limit(1 << 45).is_err());
}

#[test]
fn without_evictions_a_lower_limit_takes_only_what_is_free() {
    let store = pages(32).evictions(false).build().unwrap();
    let mut n = 0;
    while store.set(key(&format!("a{n}")), &value(n, 1000), Set::default()).is_ok() {
        n += 1;
    }
    store.set_memory_limit(16 * PAGE).unwrap();
    maintain(&store, 200);
    assert_all(&store, "a", n, 1000);
    (0..n).step_by(2).for_each(|n| {
        store.delete(key(&format!("a{n}")));
    });
    maintain(&store, 400);
    assert!(store.stats().pages <= 18, "{} pages", store.stats().pages);
    (0..n).skip(1).step_by(2).for_each(|n| {
        assert_eq!(value_of(&store, &format!("a{n}")), Some(value(n, 1000)));
    });
    store.audit(Some(0));
}

#[test]
fn no_class_starves_when_the_load_moves_to_larger_values() {
    for evictions in [true, false] {
        let store = pages(64).automove(Automove::Gentle).evictions(evictions).build().unwrap();
        let mut n = 0;
        while n < 40_000 && store.set(key(&format!("s{n}")), &value(n, 100), Set::default()).is_ok()
        {
            n += 1;
        }
        if !evictions {
            // Everybody deletes; the small classes keep the pages.
            (0..n).for_each(|n| {
                store.delete(key(&format!("s{n}")));
            });
        }
        let before = store.stats().totals.outofmemory;
        // Each needs four times what the class's first page holds.
        for n in 0..12 {
            let stored = store.set(key(&format!("l{n}")), &value(n, 200_000), Set::default());
            stored.unwrap_or_else(|error| panic!("large value {n}: {error}"));
            assert_eq!(value_of(&store, &format!("l{n}")), Some(value(n, 200_000)));
        }
        store.audit(Some(0));
        let stats = store.stats();
        assert_eq!(stats.totals.outofmemory, before);
        // A store that evicts takes what it needs and then turns over the large class.
        assert!(stats.slabs_moved >= 2, "{evictions}: {stats:?}");
    }
}

#[test]
fn automove_collects_free_pages_and_balances_ages() {
    let store = pages(64).automove(Automove::Gentle).automove_window(3).build().unwrap();
    at(&store, 2);
    fill(&store, "old", 6000, 500);
    let mut maintenance = Maintenance::new(&store);
    let small = class_of(&store, "old5999");
    let before = n_pages(&store, small);
    for now in 3..60 {
        at(&store, now);
        // A steady load of another size, never fitting.
        fill(&store, &format!("new{now}-"), 40, 3000);
        for _ in 0..20 {
            maintenance.step(Duration::from_millis(50));
        }
    }
    assert!(n_pages(&store, small) < before, "the idle class gives pages");
    store.audit(Some(0));
}

#[test]
fn automove_collects_pages_that_nobody_needs() {
    let store = pages(64).automove(Automove::Gentle).automove_window(3).build().unwrap();
    at(&store, 2);
    fill(&store, "a", 7000, 500);
    let mut maintenance = Maintenance::new(&store);
    (0..7000).filter(|n| n % 3 != 0).for_each(|n| {
        store.delete(key(&format!("a{n}")));
    });
    let before = store.stats();
    for now in 3..30 {
        at(&store, now);
        for _ in 0..50 {
            maintenance.step(Duration::from_millis(50));
        }
    }
    let stats = store.stats();
    assert!(stats.slab_global_page_pool > 20, "{stats:?}");
    assert!(stats.slab_reassign_rescues > 0);
    assert_eq!(stats.curr_items, before.curr_items, "collecting evicts nothing");
    store.audit(Some(0));
}

#[test]
fn given_chunk_sizes_and_huge_pages_serve() {
    let store = Store::builder()
        .memory_limit(8 << 20)
        .slab_sizes(vec![100, 500, 5000])
        .huge_pages(true)
        .build()
        .unwrap();
    fill(&store, "a", 1000, 400);
    fill(&store, "b", 10, 300_000);
    assert_eq!(class_of(&store, "a0"), 2);
    assert_all(&store, "a", 1000, 400);
    assert_eq!(store.class_stats().len(), 4);
    store.audit(Some(0));
    let refused = Store::builder().slab_sizes(vec![200, 100]).build();
    assert!(matches!(refused, Err(crate::ConfigError::OutOfRange { setting: "slab_sizes", .. })));
    let refused = pages(16).build().unwrap().set(key("x"), &[0; 2 << 20], Set::default());
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

/// Whether pages, items and links of chains have moved.
fn has_moved(store: &Store) -> bool {
    let stats = store.stats();
    stats.slabs_moved > 10
        && stats.slab_reassign_rescues > 0
        && stats.slab_reassign_chunk_rescues > 0
}

#[test]
fn values_stay_whole_while_pages_move_and_the_limit_changes() {
    let store = pages(64).automove(Automove::Eager).build().unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let maintainer = scope.spawn(|| {
            let mut maintenance = Maintenance::new(&store);
            let mut n = 0u32;
            while !is_done.load(Ordering::Relaxed) {
                maintenance.step(Duration::from_secs(1));
                n = n.wrapping_add(1);
                let class = (n / 7 % 20).to_le_bytes()[0];
                let _ = store.reassign(None, class);
                if n.is_multiple_of(50) {
                    let pages = 32 + (n as usize / 50 * 7) % 40;
                    store.set_memory_limit(pages * PAGE).unwrap();
                }
                std::thread::yield_now();
            }
        });
        let workers: Vec<_> = (1..=3)
            .map(|n| {
                scope.spawn({
                    let store = store.clone();
                    move || {
                        // Until all has been seen to move, but not for ever.
                        for batch in 0..2000 {
                            work(&store, n << 8 | batch, 1000);
                            if has_moved(&store) {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|end| end.unwrap());
        maintainer.join().unwrap();
    });
    store.audit(Some(0));
    assert!(has_moved(&store), "{:?}", store.stats());
}

#[test]
fn a_lean_store_comes_down_to_its_limit_whatever_classes_it_needs() {
    let store = Store::builder().memory_limit(8 << 20).build().unwrap();
    at(&store, 2);
    fill(&store, "same", 60_000, 120);
    // One of each size, each the first of its class.
    for n in 0..120 {
        let len = 20 + n * n;
        store.set(key(&format!("odd{n}")), &value(n, len.max(8)), Set::default()).unwrap();
    }
    maintain(&store, 2000);
    let (held, limit) = (store.stats().pages * store.stats().page_bytes, 8 << 20);
    assert!(held <= limit, "{held} bytes held");
    store.audit(Some(0));
}
