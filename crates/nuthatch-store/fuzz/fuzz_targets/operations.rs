//! A stream of operations on a small store: every value tells on itself, and the audit checks every
//! invariant now and then. Run with AddressSanitizer, which sees what leaves the arena's pages.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nuthatch_store::types::{Arith, Cas, Clock, Key, StoreMode, Ttl};
use nuthatch_store::{
    Commit, ItemGuard, ItemView, Maintenance, MetaArith, MetaDelete, MetaGet, NewItem, Profile, Set,
    Store,
};

/// Operations between two audits.
const AUDIT_EVERY: usize = 32;

fuzz_target!(|input: &[u8]| {
    let Some((&settings, mut rest)) = input.split_first() else { return };
    let segmented = settings & 1 == 0;
    let profile = if settings & 32 == 0 { Profile::Compat } else { Profile::Lean };
    let store = Store::builder()
        .profile(profile)
        .memory_limit(1 << 20)
        .slab_chunk_max(if settings & 2 == 0 { 64 << 10 } else { 4 << 10 })
        .cas(settings & 4 == 0)
        .evictions(settings & 8 == 0)
        .segmented(segmented)
        .temporary_ttl((segmented && settings & 16 == 0).then_some(3))
        .build()
        .expect("settings within their ranges");
    let mut maintenance = Maintenance::new(&store);
    let mut pins: Vec<ItemGuard> = Vec::new();
    let mut now = 2;
    let mut n_done = 0;
    while let [op, key, a, b, tail @ ..] = rest {
        rest = tail;
        step(&store, &mut maintenance, &mut pins, &mut now, [*op, *key, *a, *b]);
        n_done += 1;
        if n_done % AUDIT_EVERY == 0 {
            store.audit(None);
        }
    }
    pins.iter().for_each(|pin| check(&pin.view()));
    pins.clear();
    maintenance.step(Duration::from_secs(2));
    store.audit(Some(0));
});

fn step(
    store: &Store,
    maintenance: &mut Maintenance,
    pins: &mut Vec<ItemGuard>,
    now: &mut u32,
    [op, key, a, b]: [u8; 4],
) {
    let name = [b'a' + key % 16];
    let key = Key::new(&name).expect("a letter");
    // Mostly small, at times a chain.
    let len = usize::from(a) << (b % 11);
    let ttl = match b >> 6 {
        0 => Ttl::PAST,
        1 => Ttl::secs(u32::from(a % 8) + 1),
        _ => Ttl::NEVER,
    };
    let mode = match b % 5 {
        0 => StoreMode::Add,
        1 => StoreMode::Append,
        2 => StoreMode::Prepend,
        3 => StoreMode::Replace,
        _ => StoreMode::Set,
    };
    let value = vec![name[0]; len];
    match op % 14 {
        0 | 1 => {
            let _ = store.set(key, &value, Set { ttl, ..Set::default() });
        }
        2 => {
            let compare = (a % 4 == 0).then_some(Cas(u64::from(b)));
            let _ = store.set(key, &value, Set { mode, ttl, compare, ..Set::default() });
        }
        3 => {
            if let Ok(mut place) = store.reserve(key, NewItem { ttl, ..NewItem::default() }, len) {
                let part = if b % 3 == 0 { len / 2 } else { len };
                if place.write(&value[..part]).is_ok() && part == len {
                    let _ = place.commit(Commit::default());
                }
            }
        }
        4 | 5 => {
            store.get(key, |item| check(&item));
        }
        6 => {
            store.get_and_touch(key, ttl, |item| check(&item));
        }
        7 => {
            store.delete(key);
        }
        8 => {
            if let Some(Some(pin)) = store.get(key, |item| item.pin()) {
                pins.push(pin);
            }
            if pins.len() > 8 {
                check(&pins.remove(usize::from(b) % 8).view());
            }
        }
        9 => {
            // Numbers live under names of their own, for values tell their name.
            let name = [b'A' + name[0] % 16];
            let key = Key::new(&name).expect("a letter");
            let vivify = (b % 2 == 0).then_some((ttl, u64::from(a)));
            store.meta_count(key, MetaArith { delta: u64::MAX / 3, vivify, ..MetaArith::default() });
            store.count(key, Arith::Decr, u64::from(a));
        }
        10 => {
            let ask = MetaGet {
                vivify: (a % 2 == 0).then_some(ttl),
                recache: (a % 3 == 0).then_some(Ttl::secs(5)),
                touch: (b % 3 == 0).then_some(ttl),
                ..MetaGet::default()
            };
            store.meta_get(key, ask, |item, _| check(&item));
        }
        11 => {
            let ask = MetaDelete {
                mark_stale: a % 2 == 0,
                remove_value: a % 3 == 0,
                ..MetaDelete::default()
            };
            let _ = store.meta_delete(key, ask);
        }
        12 => {
            *now += u32::from(a % 4);
            store.set_clock(Clock { now: *now, unix_base: 1_700_000_000 });
            if a == 255 {
                store.flush_all((b % 2 == 0).then_some(ttl));
            }
        }
        _ => {
            maintenance.step(Duration::from_secs(1));
        }
    }
}

/// All bytes of a value are those of its key.
fn check(item: &ItemView<'_>) {
    let name = item.key()[0];
    let len: usize = item
        .pieces()
        .map(|piece| {
            assert!(piece.iter().all(|&byte| byte == name), "a value of another key");
            piece.len()
        })
        .sum();
    assert_eq!(len, item.len());
}
