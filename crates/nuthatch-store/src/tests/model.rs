//! Random operations against a plain map with a virtual clock: the store may forget, but it never
//! answers anything that the map would not, and it forgets only when it evicts.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::ledger::Ledger;
use super::{UNIX_BASE, at, small};
use crate::types::{Arith, Cas, Clock, Deleted, ItemFlags, Key, StoreMode, Stored, Ttl, arith};
use crate::{
    Commit, Counted, CrawlError, CrawlTarget, Dump, DumpItem, DumpTarget, ItemGuard, LruTuning,
    Maintenance, MetaArith, MetaDelete, MetaGet, NewItem, Profile, Set, Store, StoreError, Updated,
};

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    GetAndTouch(u8, i32),
    Store {
        key: u8,
        mode: StoreMode,
        len: usize,
        exptime: i32,
        flags: u32,
        compare: Compare,
    },
    Reserve {
        key: u8,
        len: usize,
        pieces: usize,
        abandon: bool,
    },
    Count {
        key: u8,
        direction: Arith,
        delta: u64,
    },
    Number {
        key: u8,
        value: u64,
    },
    Delete(u8),
    Touch(u8, i32),
    Flush(Option<i32>),
    Tick(u8),
    Maintain,
    Move(u8),
    Limit(u8),
    Pin(u8),
    Unpin,
    MetaGet {
        key: u8,
        vivify: bool,
        recache: Option<u8>,
        touch: Option<i32>,
        no_bump: bool,
    },
    MetaDelete {
        key: u8,
        stale: bool,
        empty: bool,
        compare: Compare,
    },
    MetaCount {
        key: u8,
        vivify: Option<u64>,
        delta: u64,
        compare: Compare,
    },
    Update {
        key: u8,
        decide: Decide,
        len: usize,
        exptime: i32,
    },
    Evict(usize),
    Crawl {
        class: Option<u8>,
        limit: u32,
    },
    SetCrawler(bool),
    /// Begins one, and goes on with one, of the dumps under way.
    Dump(DumpTarget),
    DumpNext {
        dump: usize,
        max: usize,
    },
    DumpEnd,
    DumpAll,
    SetSegmented(bool),
    SetTemporaryTtl(Option<u32>),
    Tune {
        hot_pct: u8,
        warm_pct: u8,
    },
}

/// What the closure of an update decides.
#[derive(Clone, Copy, Debug)]
enum Decide {
    Keep,
    Remove,
    Touch,
    Put,
    Replace,
    /// The old value twice, where there is one.
    Double,
}

/// Which CAS number an operation brings.
#[derive(Clone, Copy, Debug)]
enum Compare {
    None,
    Right,
    Wrong,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Vec<u8>,
    flags: u32,
    expiry: u32,
    /// When it was last read or written.
    time: u32,
    cas: u64,
    stale: bool,
    won: bool,
}

/// An item as a walk shows it.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    key: u8,
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    expires_at: Option<u64>,
}

impl Shown {
    fn of(item: &DumpItem<'_>) -> Self {
        Self {
            key: item.key()[1] - b'a',
            value: item.to_vec(),
            flags: item.flags().0,
            cas: item.cas().0,
            expires_at: item.expires_at(),
        }
    }
}

fn compare() -> impl Strategy<Value = Compare> {
    prop_oneof![5 => Just(Compare::None), 1 => Just(Compare::Right), 1 => Just(Compare::Wrong)]
}

fn exptime() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(0), 3 => 1..20i32, 1 => Just(-1), 1 => (1..40i32).prop_map(|s| 1_700_000_000 + s)]
}

/// Mostly small values, now and then ones that fill classes or chain.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..200usize, 3 => 200..9000usize, 1 => 9000..300_000usize]
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..24u8;
    let mode = prop_oneof![
        6 => Just(StoreMode::Set), 1 => Just(StoreMode::Add), 1 => Just(StoreMode::Replace),
        1 => Just(StoreMode::Append), 1 => Just(StoreMode::Prepend)
    ];
    let direction = prop_oneof![Just(Arith::Incr), Just(Arith::Decr)];
    prop_oneof![
        6 => key.clone().prop_map(Op::Get),
        1 => (key.clone(), exptime()).prop_map(|(k, e)| Op::GetAndTouch(k, e)),
        8 => (key.clone(), mode, len(), exptime(), prop_oneof![Just(0), any::<u32>()], compare())
            .prop_map(|(key, mode, len, exptime, flags, compare)| {
                Op::Store { key, mode, len, exptime, flags, compare }
            }),
        2 => (key.clone(), len(), 1..5usize, any::<bool>())
            .prop_map(|(key, len, pieces, abandon)| Op::Reserve { key, len, pieces, abandon }),
        1 => (key.clone(), direction, prop_oneof![0..20u64, any::<u64>()])
            .prop_map(|(key, direction, delta)| Op::Count { key, direction, delta }),
        2 => (key.clone(), prop_oneof![0..20u64, any::<u64>()])
            .prop_map(|(key, value)| Op::Number { key, value }),
        2 => key.clone().prop_map(Op::Delete),
        1 => (key.clone(), exptime()).prop_map(|(k, e)| Op::Touch(k, e)),
        1 => proptest::option::of(exptime()).prop_map(Op::Flush),
        2 => (0..8u8).prop_map(Op::Tick),
        2 => Just(Op::Maintain),
        2 => (0..40u8).prop_map(Op::Move),
        1 => (8..24u8).prop_map(Op::Limit),
        1 => key.clone().prop_map(Op::Pin),
        1 => Just(Op::Unpin),
        2 => (key.clone(), any::<bool>(), proptest::option::of(0..20u8),
              proptest::option::of(exptime()), any::<bool>())
            .prop_map(|(key, vivify, recache, touch, no_bump)| {
                Op::MetaGet { key, vivify, recache, touch, no_bump }
            }),
        1 => (key.clone(), any::<bool>(), any::<bool>(), compare())
            .prop_map(|(key, stale, empty, compare)| Op::MetaDelete { key, stale, empty, compare }),
        1 => (key, proptest::option::of(0..100u64), 0..20u64, compare())
            .prop_map(|(key, vivify, delta, compare)| Op::MetaCount { key, vivify, delta, compare }),
        3 => update_op(),
        1 => prop_oneof![4 => 0..20_000usize, 1 => Just(usize::MAX)].prop_map(Op::Evict),
        4 => walk_op(),
    ]
}

/// Decisions under a key's lock.
fn update_op() -> impl Strategy<Value = Op> {
    let decide = prop_oneof![
        Just(Decide::Keep),
        Just(Decide::Remove),
        Just(Decide::Touch),
        Just(Decide::Put),
        Just(Decide::Replace),
        Just(Decide::Double)
    ];
    (0..24u8, decide, len(), exptime()).prop_map(|(key, decide, len, exptime)| Op::Update {
        key,
        decide,
        len,
        exptime,
    })
}

/// Walks through the store, and changes of how it is kept.
fn walk_op() -> impl Strategy<Value = Op> {
    let target = prop_oneof![
        2 => Just(DumpTarget::All), 1 => Just(DumpTarget::Hash),
        1 => proptest::collection::vec(1..10u8, 1..4).prop_map(DumpTarget::Classes),
        1 => (1..5u8).prop_map(DumpTarget::Cold)
    ];
    prop_oneof![
        4 => (proptest::option::of(1..10u8), prop_oneof![2 => Just(0), 1 => 1..5u32])
            .prop_map(|(class, limit)| Op::Crawl { class, limit }),
        1 => any::<bool>().prop_map(Op::SetCrawler),
        2 => target.prop_map(Op::Dump),
        4 => (0..4usize, 1..6usize).prop_map(|(dump, max)| Op::DumpNext { dump, max }),
        1 => Just(Op::DumpEnd),
        2 => Just(Op::DumpAll),
        2 => any::<bool>().prop_map(Op::SetSegmented),
        1 => proptest::option::of(0..20u32).prop_map(Op::SetTemporaryTtl),
        1 => (0..41u8, 0..40u8).prop_map(|(hot_pct, warm_pct)| Op::Tune { hot_pct, warm_pct }),
    ]
}

struct World {
    store: Store,
    maintenance: Maintenance,
    model: HashMap<u8, Entry>,
    now: u32,
    flush_due: Option<u32>,
    pins: Vec<(ItemGuard, Vec<u8>)>,
    dumps: Vec<Dump>,
    counter: u8,
    time_to_idle: Option<u32>,
    ledger: Ledger,
}

impl World {
    fn new(profile: Profile, segmented: bool, time_to_idle: Option<u32>) -> Self {
        let ledger = Ledger::default();
        let store = ledger
            .listen(small())
            .profile(profile)
            .time_to_idle(time_to_idle)
            .memory_limit(1 << 20)
            .page_bytes(128 << 10)
            .slab_chunk_max(64 << 10)
            .segmented(segmented)
            .temporary_ttl(segmented.then_some(3))
            .track_sizes(true)
            .build()
            .unwrap();
        at(&store, 2);
        let maintenance = Maintenance::new(&store);
        Self {
            store,
            maintenance,
            model: HashMap::new(),
            now: 2,
            flush_due: None,
            pins: Vec::new(),
            dumps: Vec::new(),
            counter: 0,
            time_to_idle,
            ledger,
        }
    }

    fn deadline(&self, ttl: Ttl) -> u32 {
        ttl.deadline(Clock { now: self.now, unix_base: UNIX_BASE })
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.counter = self.counter.wrapping_add(1);
        vec![self.counter; len]
    }

    /// The model's living entry, after taking the store's word that it evicted one.
    fn live(&mut self, key: u8) -> Option<Entry> {
        let is_idle = |entry: &Entry| {
            self.time_to_idle.is_some_and(|secs| self.now.saturating_sub(entry.time) >= secs)
        };
        self.model
            .retain(|_, entry| (entry.expiry == 0 || entry.expiry > self.now) && !is_idle(entry));
        let name = [b'k', b'a' + key];
        let found = self.store.peek(Key::new(&name).unwrap(), |item, _| {
            (item.to_vec(), item.flags().0, item.cas().0)
        });
        match (self.model.get(&key).cloned(), found) {
            (Some(entry), Some(found)) => {
                assert_eq!((entry.value.clone(), entry.flags, entry.cas), found);
                Some(entry)
            }
            (Some(entry), None) => {
                assert!(self.ledger.was_evicted(entry.cas), "nothing is lost unless evicted");
                self.model.remove(&key);
                None
            }
            (None, Some(found)) => panic!("an item that should not be: {found:?}"),
            (None, None) => None,
        }
    }

    fn compare(&self, with: Compare, entry: Option<&Entry>) -> Option<Cas> {
        match with {
            Compare::None => None,
            Compare::Right => Some(Cas(entry.map_or(77, |entry| entry.cas))),
            Compare::Wrong => Some(Cas(u64::MAX)),
        }
    }

    fn put(&mut self, key: u8, value: Vec<u8>, flags: u32, expiry: u32, cas: u64) {
        let time = self.stamp();
        self.model.insert(key, Entry { value, flags, expiry, time, cas, stale: false, won: false });
    }

    /// What the store stamps an item with that is read or written now.
    fn stamp(&self) -> u32 {
        self.now.max(self.store.flushed_until() + 1)
    }

    /// Notes that an item was read or written.
    fn used(&mut self, key: u8) {
        let stamp = self.stamp();
        self.model.entry(key).and_modify(|entry| entry.time = stamp);
    }

    fn apply(&mut self, op: Op) {
        let number = match op {
            Op::Get(key) | Op::GetAndTouch(key, _) | Op::Delete(key) | Op::Touch(key, _) => key,
            Op::Pin(key) => key,
            Op::Store { key, .. } | Op::Reserve { key, .. } | Op::Count { key, .. } => key,
            Op::Number { key, .. } | Op::MetaGet { key, .. } | Op::MetaDelete { key, .. } => key,
            Op::MetaCount { key, .. } | Op::Update { key, .. } => key,
            Op::Flush(_) | Op::Tick(_) | Op::Maintain | Op::Unpin | Op::Evict(_) => 0,
            Op::Move(_) | Op::Limit(_) => 0,
            _ => return self.apply_walk(op),
        };
        let name = [b'k', b'a' + number];
        let key = Key::new(&name).unwrap();
        let entry = self.live(number);
        let store = self.store.clone();
        match op {
            Op::Get(_) => {
                let found = store.get(key, |item| item.to_vec());
                assert_eq!(found, entry.map(|entry| entry.value));
                self.used(number);
            }
            Op::Update { decide, len, exptime, .. } => {
                self.update_op(number, entry, decide, len, Ttl::from_exptime(exptime));
            }
            Op::Evict(bytes) => {
                let before = (store.bytes(), self.ledger.bytes_told());
                let freed = store.evict(bytes);
                assert_eq!(store.bytes(), before.0 - freed);
                assert_eq!(self.ledger.bytes_told(), before.1 + freed);
                assert!(freed >= bytes || store.evict(1) == 0, "less only if there is no more");
            }
            Op::GetAndTouch(_, exptime) => {
                let ttl = Ttl::from_exptime(exptime);
                let found = store.get_and_touch(key, ttl, |item| item.to_vec());
                assert_eq!(found, entry.map(|entry| entry.value));
                self.used(number);
                let deadline = self.deadline(ttl);
                self.model.entry(number).and_modify(|entry| entry.expiry = deadline);
            }
            Op::Touch(_, exptime) => {
                let ttl = Ttl::from_exptime(exptime);
                assert_eq!(store.touch(key, ttl), entry.is_some());
                self.used(number);
                let deadline = self.deadline(ttl);
                self.model.entry(number).and_modify(|entry| entry.expiry = deadline);
            }
            Op::Delete(_) => {
                let expected = if entry.is_some() { Deleted::Deleted } else { Deleted::NotFound };
                assert_eq!(store.delete(key), expected);
                self.model.remove(&number);
            }
            Op::Store { mode, len, exptime, flags, compare, .. } => {
                let value = self.bytes(len);
                let compare = self.compare(compare, entry.as_ref());
                let ttl = Ttl::from_exptime(exptime);
                let set = Set { mode, flags: ItemFlags(flags), ttl, compare };
                self.store_op(number, entry, set, value);
            }
            Op::Reserve { len, pieces, abandon, .. } => {
                let value = self.bytes(len);
                let mut place = match store.reserve(key, NewItem::default(), len) {
                    Ok(place) => place,
                    Err(error) => return self.refused(error, len),
                };
                if abandon {
                    // Dropped with what it has, however far that is.
                    let _ = place.write(&value[..len / 2]);
                    return;
                }
                let mut pieces = value.chunks(len.div_ceil(pieces).max(1));
                if let Err(error) = pieces.try_for_each(|piece| place.write(piece)) {
                    return self.refused(error, len);
                }
                match place.commit(Commit::default()) {
                    Ok(done) => self.put(number, value, 0, 0, done.cas.0),
                    Err(error) => self.refused(error, len),
                }
            }
            Op::Number { value, .. } => {
                let set = Set::default();
                let value = value.to_string().into_bytes();
                self.store_op(number, entry, set, value);
            }
            Op::Count { direction, delta, .. } => {
                let counted = store.count(key, direction, delta);
                self.counted(number, entry, direction, delta, counted);
            }
            Op::Flush(exptime) => {
                let when = exptime.map(Ttl::from_exptime);
                store.flush_all(when);
                self.flush_due = None;
                match when {
                    None | Some(Ttl::PAST | Ttl::NEVER) => self.model.clear(),
                    Some(when) => match self.deadline(when) - 1 {
                        // Before the clock began.
                        0 => {}
                        mark if mark <= self.now => self.model.clear(),
                        mark => self.flush_due = Some(mark),
                    },
                }
            }
            Op::Tick(secs) => {
                // One second at a time: a flush comes due at its second.
                for _ in 0..secs {
                    self.now += 1;
                    at(&store, self.now);
                    self.flush_if_due();
                }
            }
            Op::Maintain => {
                self.maintenance.step(Duration::from_secs(2));
            }
            Op::Move(to) => {
                // Refused for one reason or another most of the time.
                let _ = store.reassign(None, to);
            }
            Op::Limit(pages) => store.set_memory_limit(usize::from(pages) << 17).unwrap(),
            Op::Pin(_) => {
                if let Some(guard) = store.get(key, |item| item.pin().unwrap()) {
                    self.pins.push((guard, entry.unwrap().value));
                    self.used(number);
                }
            }
            Op::Unpin => {
                self.pins.pop();
            }
            Op::MetaGet { vivify, recache, touch, no_bump, .. } => {
                let ask = MetaGet {
                    no_bump,
                    vivify: vivify.then_some(Ttl::secs(30)),
                    recache: recache.map(|secs| Ttl::secs(u32::from(secs) + 1)),
                    touch: touch.map(Ttl::from_exptime),
                    ..MetaGet::default()
                };
                let found = store.meta_get(key, ask, |item, hit| (item.to_vec(), item.cas(), hit));
                let Ok((value, cas, hit)) = found else {
                    assert!(entry.is_none());
                    // A vivify that found no memory, or none asked for.
                    return;
                };
                assert_eq!(hit.was_made, entry.is_none());
                if let Some(entry) = &entry {
                    assert_eq!((&value, cas.0), (&entry.value, entry.cas));
                    assert_eq!((hit.is_stale, hit.was_won), (entry.stale, entry.won));
                    let soon = recache.is_some_and(|secs| {
                        entry.expiry != 0 && entry.expiry < self.now + u32::from(secs) + 1
                    });
                    assert_eq!(hit.has_won, !entry.won && (entry.stale || soon));
                } else {
                    assert!(hit.has_won && value.is_empty());
                    let expiry = self.now + 30;
                    self.put(number, value, 0, expiry, cas.0);
                }
                let deadline = ask.touch.map(|ttl| self.deadline(ttl));
                if !no_bump {
                    self.used(number);
                }
                let entry = self.model.get_mut(&number).unwrap();
                entry.won |= hit.has_won;
                if let Some(deadline) = deadline {
                    entry.expiry = deadline;
                }
            }
            Op::MetaDelete { stale, empty, compare, .. } => {
                let compare = self.compare(compare, entry.as_ref());
                let ask = MetaDelete {
                    compare,
                    mark_stale: stale,
                    remove_value: empty,
                    ..MetaDelete::default()
                };
                let done = match store.meta_delete(key, ask) {
                    Ok(done) => done,
                    Err(error) => return self.refused(error, 0),
                };
                let len_before = done.before.ok().map(|extent| extent.len);
                assert_eq!(len_before, entry.as_ref().map(|entry| entry.value.len()));
                let deleted = done.deleted;
                let Some(entry) = entry else {
                    assert_eq!(deleted, Deleted::NotFound);
                    return;
                };
                if compare.is_some_and(|compare| compare.0 != entry.cas) {
                    assert_eq!(deleted, Deleted::Exists);
                    return;
                }
                assert_eq!(deleted, Deleted::Deleted);
                let left = if empty { 0 } else { entry.value.len() };
                assert_eq!(done.after.map(|after| after.len), (empty || stale).then_some(left));
                if !empty && !stale {
                    self.model.remove(&number);
                    return;
                }
                let cas = store.peek(key, |item, _| item.cas().0);
                let stamp = self.stamp();
                let entry = self.model.get_mut(&number).unwrap();
                if empty {
                    entry.time = stamp;
                    (entry.value, entry.flags, entry.expiry) = (Vec::new(), 0, 0);
                    (entry.stale, entry.won) = (false, false);
                }
                if stale {
                    (entry.stale, entry.won) = (true, false);
                    assert_ne!(cas, Some(entry.cas), "marking changes the CAS number");
                    // Evicted since? Then the next look finds out.
                    entry.cas = cas.unwrap_or(entry.cas);
                }
            }
            Op::MetaCount { vivify, delta, compare, .. } => {
                let compare = self.compare(compare, entry.as_ref());
                let ask = MetaArith {
                    delta,
                    compare,
                    vivify: vivify.map(|initial| (Ttl::NEVER, initial)),
                    ..MetaArith::default()
                };
                let number_now = store.meta_count(key, ask);
                let len_before = number_now.before.ok().map(|extent| extent.len);
                assert_eq!(len_before, entry.as_ref().map(|entry| entry.value.len()));
                if let (None, Some(initial), Counted::Value(value, cas)) =
                    (&entry, vivify, number_now.counted)
                {
                    assert_eq!(value, initial);
                    assert!(number_now.was_made);
                    self.put(number, initial.to_string().into_bytes(), 0, 0, cas.0);
                } else if entry.as_ref().is_some_and(|entry| {
                    !entry.value.is_empty() && compare.is_some_and(|compare| compare.0 != entry.cas)
                }) {
                    let is_number = entry.as_ref().unwrap().value.len() > 60_000;
                    assert!(is_number || number_now.counted == Counted::Exists);
                } else {
                    self.counted(number, entry, Arith::Incr, delta, number_now.counted);
                }
            }
            _ => unreachable!("the others have returned"),
        }
    }

    fn apply_walk(&mut self, op: Op) {
        let store = self.store.clone();
        match op {
            Op::Crawl { class, limit } => {
                store.set_crawler_limit(limit);
                let target =
                    class.map_or(CrawlTarget::All, |class| CrawlTarget::Classes(vec![class]));
                let expected = match (store.config().crawler, store.is_crawling()) {
                    (false, _) => Err(CrawlError::Disabled),
                    (true, true) => Err(CrawlError::Busy),
                    (true, false) => Ok(()),
                };
                assert_eq!(store.crawl(target), expected);
                assert_eq!(store.is_crawling(), expected != Err(CrawlError::Disabled));
            }
            Op::SetCrawler(on) => {
                store.set_crawler(on);
            }
            Op::Dump(target) => {
                let is_room = self.dumps.len() < 4 && store.config().crawler;
                if is_room {
                    self.dumps.push(store.dump(target).unwrap());
                }
            }
            Op::DumpNext { dump, max } => {
                let Some(mut dump) = (dump < self.dumps.len()).then(|| self.dumps.remove(dump))
                else {
                    return;
                };
                let mut shown = Vec::new();
                let has_more = dump.next(max, |item| shown.push(Shown::of(&item)));
                self.check_shown(&shown);
                if has_more {
                    self.dumps.push(dump);
                }
            }
            Op::DumpEnd => {
                self.dumps.pop();
            }
            Op::DumpAll => {
                let mut shown = Vec::new();
                store.for_each(|item| shown.push(Shown::of(&item)));
                self.check_shown(&shown);
                let by_class = store.dump(DumpTarget::All);
                if let Ok(mut dump) = by_class {
                    let mut again = Vec::new();
                    while dump.next(3, |item| again.push(Shown::of(&item))) {}
                    let key = |shown: &Shown| shown.key;
                    shown.sort_by_key(key);
                    again.sort_by_key(key);
                    assert_eq!(shown, again, "two orders, the same items");
                }
                let n_found = (0..24u8).filter(|&key| self.live(key).is_some()).count();
                assert_eq!(shown.len(), n_found, "each once");
            }
            Op::SetSegmented(on) => store.set_lru_segmented(on),
            Op::SetTemporaryTtl(ttl) => store.set_temporary_ttl(ttl),
            Op::Tune { hot_pct, warm_pct } => {
                let (hot_max_factor, warm_max_factor) = (0.2, 2.0);
                let tuning = LruTuning { hot_pct, warm_pct, hot_max_factor, warm_max_factor };
                store.tune_lru(tuning).unwrap();
            }
            _ => unreachable!("no walk"),
        }
    }

    /// What a walk shows is what the model has.
    fn check_shown(&mut self, shown: &[Shown]) {
        for shown in shown {
            let entry = self.live(shown.key).expect("what is shown is alive");
            let expiry = (entry.expiry != 0).then(|| UNIX_BASE + u64::from(entry.expiry));
            let expected = Shown {
                key: shown.key,
                value: entry.value,
                flags: entry.flags,
                cas: entry.cas,
                expires_at: expiry,
            };
            assert_eq!(shown, &expected);
        }
    }

    fn update_op(
        &mut self,
        number: u8,
        entry: Option<Entry>,
        decide: Decide,
        len: usize,
        ttl: Ttl,
    ) {
        let store = self.store.clone();
        let name = [b'k', b'a' + number];
        let value = self.bytes(len);
        let updated = store.update(Key::new(&name).unwrap(), |visit| {
            let found = visit.item().map(|item| (item.to_vec(), item.cas().0));
            assert_eq!(found, entry.as_ref().map(|entry| (entry.value.clone(), entry.cas)));
            match decide {
                Decide::Keep => visit.keep(),
                Decide::Remove => visit.remove(),
                Decide::Touch => visit.touch(ttl),
                Decide::Put => visit.put(&value, ttl),
                Decide::Replace => visit.replace(&value),
                Decide::Double => match visit.item() {
                    Some(item) => visit.put_pieces(item.pieces().chain(item.pieces()), ttl),
                    None => visit.put_pieces([&value[..]], ttl),
                },
            }
        });
        self.used(number);
        let updated = match updated {
            Ok(updated) => updated,
            Err(error) => {
                let is_double = matches!(decide, Decide::Double);
                let old_len = entry.map_or(0, |entry| entry.value.len());
                return self.refused(error, if is_double { old_len * 2 } else { len });
            }
        };
        let deadline = self.deadline(ttl);
        let (value, flags, expiry) = match (decide, entry) {
            (Decide::Keep | Decide::Remove | Decide::Touch, None) => {
                assert_eq!(updated, Updated::Absent);
                return;
            }
            (Decide::Keep, Some(entry)) => {
                assert_eq!(updated, Updated::Kept(Cas(entry.cas)));
                return;
            }
            (Decide::Remove, Some(_)) => {
                assert_eq!(updated, Updated::Removed);
                self.model.remove(&number);
                return;
            }
            (Decide::Touch, Some(entry)) => {
                assert_eq!(updated, Updated::Touched(Cas(entry.cas)));
                self.model.entry(number).and_modify(|entry| entry.expiry = deadline);
                return;
            }
            (Decide::Replace, Some(entry)) => (value, entry.flags, entry.expiry),
            (Decide::Replace, None) => (value, 0, 0),
            (Decide::Double, Some(entry)) => (entry.value.repeat(2), 0, deadline),
            (Decide::Put | Decide::Double, _) => (value, 0, deadline),
        };
        assert_eq!(matches!(updated, Updated::Replaced(_)), self.model.contains_key(&number));
        self.put(number, value, flags, expiry, updated.cas().unwrap().0);
    }

    fn flush_if_due(&mut self) {
        if self.flush_due.is_some_and(|due| due <= self.now) {
            self.flush_due = None;
            self.model.clear();
        }
    }

    fn refused(&self, error: StoreError, len: usize) {
        match error {
            StoreError::TooLarge { .. } => assert!(len > 900_000),
            // Chains compete with what is pinned for the few pages there are.
            StoreError::NoMemory { .. } | StoreError::NoMemoryForRest { .. } => {}
        }
    }

    fn counted(
        &mut self,
        number: u8,
        entry: Option<Entry>,
        direction: Arith,
        delta: u64,
        counted: Counted,
    ) {
        let Some(entry) = entry else {
            assert!(matches!(counted, Counted::NotFound | Counted::NoMemory));
            return;
        };
        let Ok(expected) = arith::apply(direction, &entry.value, delta) else {
            assert_eq!(counted, Counted::NonNumeric);
            return;
        };
        let (value, cas) = match counted {
            Counted::Value(value, cas) => (value, cas),
            // What stands behind a number and a space does not matter, but a chain is no number.
            Counted::NonNumeric if entry.value.len() > 60_000 => return,
            other => {
                assert_eq!(other, Counted::NoMemory);
                return;
            }
        };
        assert_eq!(value, expected);
        self.used(number);
        let mut text = value.to_string().into_bytes();
        let name = [b'k', b'a' + number];
        // In place, padded, or as a new item of its own length: which one depends on pins.
        let len = self.store.peek(Key::new(&name).unwrap(), |item, _| item.len());
        if let Some(len) = len {
            assert!(len == text.len() || len == entry.value.len());
            text.resize(len, b' ');
        }
        let model = self.model.get_mut(&number).unwrap();
        let replaced = text.len() > entry.value.len();
        (model.value, model.cas) = (text, cas.0);
        let state = self.store.peek(Key::new(&name).unwrap(), |_, hit| (hit.is_stale, hit.was_won));
        if let Some((stale, won)) = state {
            // A new item begins fresh.
            assert!(!replaced || (!stale && !won));
            (model.stale, model.won) = (stale, won);
        }
    }

    fn store_op(&mut self, number: u8, entry: Option<Entry>, set: Set, value: Vec<u8>) {
        let name = [b'k', b'a' + number];
        let evicted = self.store.stats().totals.evicted;
        let done = match self.store.set(Key::new(&name).unwrap(), &value, set) {
            Ok(done) => done,
            Err(error) => return self.refused(error, value.len()),
        };
        // Making room for a value may throw out the very item it was to be compared with.
        let has_evicted = self.store.stats().totals.evicted > evicted;
        let entry = entry.filter(|_| !has_evicted || !shows_absence(set, done.stored));
        let len_before = done.before.ok().map(|extent| extent.len);
        assert!(has_evicted || len_before == entry.as_ref().map(|entry| entry.value.len()));
        let expiry = self.deadline(set.ttl);
        let differs = |entry: &Entry| set.compare.is_some_and(|compare| compare.0 != entry.cas);
        let outcome = |entry: Option<Entry>, value: Vec<u8>| match (set.mode, entry) {
            (StoreMode::Set | StoreMode::Replace, None) if set.compare.is_some() => {
                (Stored::NotFound, None)
            }
            (StoreMode::Set | StoreMode::Add, None) => {
                (Stored::Stored, Some((value, set.flags.0, expiry)))
            }
            (_, None) | (StoreMode::Add, Some(_)) => (Stored::NotStored, None),
            (_, Some(entry)) if differs(&entry) => (Stored::Exists, None),
            (StoreMode::Set | StoreMode::Replace, Some(_)) => {
                (Stored::Stored, Some((value, set.flags.0, expiry)))
            }
            (StoreMode::Append, Some(entry)) => {
                (Stored::Stored, Some(([entry.value, value].concat(), entry.flags, entry.expiry)))
            }
            (StoreMode::Prepend, Some(entry)) => {
                (Stored::Stored, Some(([value, entry.value].concat(), entry.flags, entry.expiry)))
            }
        };
        let (mut expected, mut becomes) = outcome(entry, value.clone());
        if done.stored != expected && self.store.stats().totals.evicted > evicted {
            // The old item made room for the new one.
            (expected, becomes) = outcome(None, value);
        }
        if done.stored == Stored::NotStored && expected == Stored::Stored {
            // No memory, or too large, for the sum of the two.
            assert!(matches!(set.mode, StoreMode::Append | StoreMode::Prepend));
            return;
        }
        assert_eq!(done.stored, expected);
        if set.mode == StoreMode::Add && expected == Stored::NotStored {
            // Somebody wanted it.
            self.used(number);
        }
        if let Some((value, flags, expiry)) = becomes {
            assert_eq!(done.len, value.len());
            self.put(number, value, flags, expiry, done.cas.0);
        }
    }
}

/// Whether a store ends so only if there is no such item.
fn shows_absence(set: Set, stored: Stored) -> bool {
    match set.mode {
        StoreMode::Set => set.compare.is_some() && stored == Stored::NotFound,
        StoreMode::Replace => matches!(stored, Stored::NotFound | Stored::NotStored),
        StoreMode::Add => stored == Stored::Stored,
        // So it ends too when there is no memory for the sum of the two.
        StoreMode::Append | StoreMode::Prepend => stored == Stored::NotStored,
    }
}

fn run(profile: Profile, segmented: bool, time_to_idle: Option<u32>, ops: Vec<Op>) {
    let mut world = World::new(profile, segmented, time_to_idle);
    for op in ops {
        let in_place =
            matches!(op, Op::Count { .. } | Op::MetaCount { .. } | Op::MetaDelete { .. });
        world.apply(op);
        world.store.audit(None);
        world.ledger.check(&world.store, in_place);
        for (guard, value) in &world.pins {
            assert_eq!(&guard.view().to_vec(), value, "a pinned value stays as it was");
        }
    }
    world.pins.clear();
    world.dumps.clear();
    // Takes up what the bump queue still holds.
    world.maintenance.step(Duration::from_secs(2));
    world.store.audit(Some(0));
}

proptest! {
    #[test]
    fn the_store_agrees_with_a_map(ops in proptest::collection::vec(op(), 1..120)) {
        run(Profile::Compat, true, None, ops);
    }

    #[test]
    fn a_lean_store_agrees_with_a_map(ops in proptest::collection::vec(op(), 1..120)) {
        run(Profile::Lean, true, None, ops);
    }

    #[test]
    fn a_flat_lru_agrees_with_a_map(ops in proptest::collection::vec(op(), 1..120)) {
        run(Profile::Compat, false, None, ops);
    }

    #[test]
    fn a_store_of_which_the_idle_die_agrees_with_a_map(
        profile in prop_oneof![Just(Profile::Lean), Just(Profile::Compat)],
        segmented in any::<bool>(),
        time_to_idle in 3..12u32,
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        run(profile, segmented, Some(time_to_idle), ops);
    }
}
