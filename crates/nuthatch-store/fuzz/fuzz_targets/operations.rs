//! A stream of operations on a small store: every value tells on itself, and the audit checks every
//! invariant now and then. Run with AddressSanitizer, which sees what leaves the arena's pages.
//!
//! The first two bytes choose the settings; each four after them are an operation.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nuthatch_store::types::{Arith, Cas, Clock, Key, StoreMode, Ttl};
use nuthatch_store::{
    Automove, Cause, Commit, CrawlTarget, Dump, DumpTarget, ItemGuard, ItemView, LruTuning,
    Maintenance, MetaArith, MetaDelete, MetaGet, NewItem, Profile, Set, Store,
};

/// Operations between two audits.
const AUDIT_EVERY: usize = 32;

/// The lengths of values that are written over each other.
const LENS: [usize; 8] = [0, 1, 8, 30, 100, 101, 500, 2000];

fuzz_target!(|input: &[u8]| {
    let [first, second, operations @ ..] = input else { return };
    let mut world = World::new(*first, *second);
    for (n, operation) in operations.as_chunks().0.iter().enumerate() {
        world.step(*operation);
        if n % AUDIT_EVERY == AUDIT_EVERY - 1 {
            world.store.audit(None);
        }
    }
    world.end();
});

struct World {
    store: Store,
    maintenance: Maintenance,
    /// What is pinned, and its value then.
    pins: Vec<(ItemGuard, Vec<u8>)>,
    dumps: Vec<Dump>,
    now: u32,
    /// Flips with every operation, so that no two values in a row are the same.
    mark: u8,
}

/// What four bytes make, for the operations to take from.
struct Operation<'a> {
    key: Key<'a>,
    /// Mostly small, at times a chain.
    value: Vec<u8>,
    ttl: Ttl,
    a: u8,
    b: u8,
}

impl World {
    fn new(first: u8, second: u8) -> Self {
        let segmented = first & 1 == 0;
        let automove = [Automove::Off, Automove::Gentle, Automove::Eager, Automove::Eager];
        let automove = automove[usize::from(second >> 2 & 3)];
        let mut builder = Store::builder()
            .profile(if first & 32 == 0 { Profile::Compat } else { Profile::Lean })
            .memory_limit(1 << 20)
            .slab_chunk_max(if first & 2 == 0 { 64 << 10 } else { 4 << 10 })
            .cas(first & 4 == 0)
            .evictions(first & 8 == 0)
            .segmented(segmented)
            .temporary_ttl((segmented && first & 16 == 0).then_some(3))
            .automove(automove)
            .automove_window(3)
            .track_sizes(true)
            .slab_reassign(automove != Automove::Off || second & 128 == 0)
            .time_to_idle((second & 16 != 0).then_some(5));
        // A page of the profile's own size else.
        if let page_bytes @ 1..=2 = usize::from(second & 3) {
            builder = builder.page_bytes(page_bytes * (64 << 10));
        }
        if second & 96 == 96 {
            builder = builder.slab_sizes(vec![96, 200, 1000, 4000]);
        }
        if first & 64 != 0 {
            builder = builder.proactive_expiry(second & 128 == 0);
        }
        if first & 128 != 0 {
            builder = builder.listener(&Cause::ALL, |leaving| check(&leaving));
        }
        let store = builder.build().expect("settings within their ranges");
        let maintenance = Maintenance::new(&store);
        Self { store, maintenance, pins: Vec::new(), dumps: Vec::new(), now: 2, mark: 0 }
    }

    fn step(&mut self, [op, key, a, b]: [u8; 4]) {
        self.mark ^= 0x80;
        let name = [b'a' + key % 16];
        let ttl = match b >> 6 {
            0 => Ttl::PAST,
            1 => Ttl::secs(u32::from(a % 8) + 1),
            _ => Ttl::NEVER,
        };
        let operation = Operation {
            key: Key::new(&name).expect("a letter"),
            value: vec![name[0] | self.mark; usize::from(a) << (b % 11)],
            ttl,
            a,
            b,
        };
        match op % 36 {
            op @ 0..=9 => self.write(op, &operation),
            op @ 10..=18 => self.read(op, &operation),
            op @ 19..=24 => self.meta(op, &operation),
            op @ 25..=30 => self.keep(op, &operation),
            op => self.walk(op, &operation),
        }
    }

    fn write(&mut self, op: u8, operation: &Operation<'_>) {
        let store = &self.store;
        let &Operation { key, ref value, ttl, a, b } = operation;
        match op {
            0 | 1 => {
                let _ = store.set(key, value, Set { ttl, ..Set::default() });
            }
            2 | 3 => {
                // Few lengths: one value is written over another.
                let value = vec![key.as_bytes()[0] | self.mark; LENS[usize::from(a % 8)]];
                let _ = store.set(key, &value, Set { ttl, ..Set::default() });
            }
            4 => {
                let mode = match b % 5 {
                    0 => StoreMode::Add,
                    1 => StoreMode::Append,
                    2 => StoreMode::Prepend,
                    3 => StoreMode::Replace,
                    _ => StoreMode::Set,
                };
                let compare = (a % 4 == 0).then_some(Cas(u64::from(b)));
                let _ = store.set(key, value, Set { mode, ttl, compare, ..Set::default() });
            }
            5 => {
                let item = NewItem { ttl, ..NewItem::default() };
                if let Ok(mut place) = store.reserve(key, item, value.len()) {
                    let part = if b % 3 == 0 { value.len() / 2 } else { value.len() };
                    if place.write(&value[..part]).is_ok() && part == value.len() {
                        let _ = place.commit(Commit::default());
                    }
                }
            }
            6 | 7 => {
                let _ = store.update(key, |entry| {
                    entry.item().inspect(|item| check(item));
                    match b % 6 {
                        0 => entry.keep(),
                        1 => entry.remove(),
                        2 => entry.touch(ttl),
                        3 => entry.put(value, ttl),
                        4 => entry.replace(value),
                        _ => match entry.item() {
                            Some(item) => entry.put_pieces(item.pieces().chain(item.pieces()), ttl),
                            None => entry.put_pieces([&value[..]], ttl),
                        },
                    }
                });
            }
            8 => {
                // Fails at times, and at times somebody else is faster.
                let fetched = store.get_or_insert_with(key, ttl, || match b % 4 {
                    0 => Err(()),
                    1 => {
                        let _ = store.set(key, value, Set::default());
                        Ok(value)
                    }
                    _ => Ok(value),
                });
                if let Ok(fetched) = fetched {
                    check_bytes(key.as_bytes()[0], fetched.as_bytes());
                }
            }
            _ => {
                store.delete(key);
            }
        }
    }

    fn read(&mut self, op: u8, operation: &Operation<'_>) {
        let store = &self.store;
        let &Operation { key, ttl, a, b, .. } = operation;
        match op {
            10 | 11 => {
                store.get(key, |item| check(&item));
            }
            12 => {
                store.get_and_touch(key, ttl, |item| check(&item));
            }
            13 => {
                let names = [[b'a' + a % 16], [b'a' + b % 16], [b'A' + a % 16], [b'a' + a / 16]];
                let keys = names[..usize::from(b % 5)].iter();
                let keys = keys.map(|name| Key::new(name).expect("a letter"));
                store.get_many(keys, |key, item| {
                    if let Ok(item) = item {
                        assert_eq!(item.key(), key.as_bytes());
                        check(&item);
                    }
                });
            }
            14 | 15 => {
                let pinned = store.get(key, |item| Some((item.pin()?, item.to_vec())));
                self.pins.extend(pinned.flatten());
                if self.pins.len() > 8 {
                    check_pin(&self.pins.remove(usize::from(b) % 8));
                }
            }
            16 => {
                self.pins.drain(..self.pins.len() / 2).for_each(|pin| check_pin(&pin));
            }
            17 => {
                store.touch(key, ttl);
            }
            _ => {
                store.peek(key, |item, _| check(&item));
            }
        }
    }

    fn meta(&mut self, op: u8, operation: &Operation<'_>) {
        let store = &self.store;
        let &Operation { key, ttl, a, b, .. } = operation;
        match op {
            19 | 20 => {
                // Numbers live under names of their own, for values tell their name.
                let name = [b'A' + key.as_bytes()[0] % 16];
                let key = Key::new(&name).expect("a letter");
                let vivify = (b % 2 == 0).then_some((ttl, u64::from(a)));
                let ask = MetaArith { delta: u64::MAX / 3, vivify, ..MetaArith::default() };
                store.meta_count(key, ask);
                store.count(key, Arith::Decr, u64::from(a));
            }
            21 | 22 => {
                let ask = MetaGet {
                    vivify: (a % 2 == 0).then_some(ttl),
                    recache: (a % 3 == 0).then_some(Ttl::secs(5)),
                    touch: (b % 3 == 0).then_some(ttl),
                    ..MetaGet::default()
                };
                let _ = store.meta_get(key, ask, |item, _| check(&item));
            }
            _ => {
                let ask = MetaDelete {
                    mark_stale: a % 2 == 0,
                    remove_value: a % 3 == 0,
                    ..MetaDelete::default()
                };
                let _ = store.meta_delete(key, ask);
            }
        }
    }

    /// Time, maintenance and memory.
    fn keep(&mut self, op: u8, operation: &Operation<'_>) {
        let store = &self.store;
        let &Operation { ttl, a, b, .. } = operation;
        match op {
            25 => {
                self.now += u32::from(a % 4);
                store.set_clock(Clock { now: self.now, unix_base: 1_700_000_000 });
                if a == 255 {
                    store.flush_all((b % 2 == 0).then_some(ttl));
                }
            }
            26 | 27 => {
                for _ in 0..=a % 8 {
                    self.maintenance.step(Duration::from_millis(u64::from(b) * 8));
                }
            }
            28 => {
                // Refused for one reason or another at times.
                let _ = store.reassign((b % 2 == 0).then_some(b / 2 % 64), a % 64);
            }
            29 => {
                let bytes = (1 << 20) + (usize::from(a) << 13);
                store.set_memory_limit(bytes).expect("1 to 3 MiB");
            }
            _ => {
                store.evict(if a == 255 { usize::MAX } else { usize::from(a) << (b % 12) });
            }
        }
    }

    /// Walks through the store, and changes of how it is kept.
    fn walk(&mut self, op: u8, operation: &Operation<'_>) {
        let store = &self.store;
        let &Operation { a, b, .. } = operation;
        match op {
            31 => {
                store.set_crawler(b % 8 != 0);
                store.set_crawler_limit(u32::from(b % 4));
                let classes = CrawlTarget::Classes(vec![a % 64, b % 64]);
                let _ = store.crawl(if a % 2 == 0 { CrawlTarget::All } else { classes });
            }
            32 => {
                let target = match b % 4 {
                    0 => DumpTarget::All,
                    1 => DumpTarget::Hash,
                    2 => DumpTarget::Classes(vec![a % 64, a / 4]),
                    _ => DumpTarget::Cold(a % 64),
                };
                if self.dumps.len() < 4 {
                    self.dumps.extend(store.dump(target));
                }
            }
            33 => {
                let Some(which) = usize::from(b).checked_rem(self.dumps.len()) else { return };
                let has_more = self.dumps[which].next(usize::from(a % 8), |item| check(&item));
                if !has_more || a > 250 {
                    self.dumps.swap_remove(which);
                }
            }
            34 => match a % 4 {
                0 => store.for_each(|item| check(&item)),
                _ => {
                    let pins = store.iter().take(usize::from(b % 32));
                    pins.for_each(|pin| check(&pin.view()));
                }
            },
            _ => {
                match a % 4 {
                    0 => store.set_lru_segmented(b % 2 == 0),
                    1 => store.set_temporary_ttl((b % 2 == 0).then_some(u32::from(b % 16))),
                    2 => store.set_automove([Automove::Off, Automove::Eager][usize::from(b % 2)]),
                    _ => {
                        let (hot_pct, warm_pct) = (b % 41, b / 7);
                        let (hot_max_factor, warm_max_factor) = (0.2, 2.0);
                        let tuning =
                            LruTuning { hot_pct, warm_pct, hot_max_factor, warm_max_factor };
                        store.tune_lru(tuning).expect("at most 80 percent");
                    }
                };
            }
        }
    }

    fn end(mut self) {
        self.store.audit(None);
        self.pins.drain(..).for_each(|pin| check_pin(&pin));
        self.dumps.clear();
        // Takes up what the bump queue still holds.
        self.maintenance.step(Duration::from_secs(2));
        self.store.audit(Some(0));
    }
}

/// A pinned value stays as it was.
fn check_pin((pin, value): &(ItemGuard, Vec<u8>)) {
    check(&pin.view());
    assert_eq!(&pin.view().to_vec(), value, "a pinned value changed");
}

fn check(item: &ItemView<'_>) {
    let name = item.key()[0];
    let len: usize = item
        .pieces()
        .map(|piece| {
            check_bytes(name, piece);
            piece.len()
        })
        .sum();
    assert_eq!(len, item.len());
}

/// All bytes of a value are those of its key, or digits where its name says so.
fn check_bytes(name: u8, bytes: &[u8]) {
    let is_number = name.is_ascii_uppercase();
    let is_right = |&byte: &u8| match is_number {
        true => byte.is_ascii_digit() || byte == b' ',
        false => byte & 0x7f == name,
    };
    assert!(bytes.iter().all(is_right), "a value of another key");
}
