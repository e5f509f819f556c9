//! The store of this repository.

use std::time::Duration;

use nuthatch_store::types::{Clock, Key, Ttl};
use nuthatch_store::{Item, Maintenance, MaintenanceThread, Profile, Set, Store};
use parking_lot::Mutex;

use crate::Result;
use crate::engine::{Capacity, Engine, Memory};

/// Who does the maintenance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Driver {
    /// The store's own thread, as in a program.
    Thread,
    /// [`Engine::tick`] and [`Engine::set_now`], so that a replay is the same every time.
    Ticks,
}

/// What a tick stands for: the time in which a server gets as many requests as lie between two.
const TICK: Duration = Duration::from_millis(1);

/// Steps of maintenance are no closer than this, which is about as long as one takes.
const STEP_MIN: Duration = Duration::from_micros(100);

/// The least that a store takes as its limit.
const LIMIT_MIN: usize = 1 << 20;

/// The largest value that a replay stores; traces of disks and CDNs have larger ones.
const ITEM_SIZE_MAX: usize = 8 << 20;

/// One store.
pub(crate) struct Ours {
    store: Store,
    maintenance: Mutex<Maintenance>,
    _thread: Option<MaintenanceThread>,
}

impl Ours {
    /// A store of the profile that the name says; the capacity is its memory limit.
    pub(crate) fn new(name: &str, capacity: &Capacity, driver: Driver) -> Result<Self> {
        let limit = if capacity.unit {
            limit_for(name, capacity)?
        } else {
            usize::try_from(capacity.amount)?.max(LIMIT_MIN)
        };
        let store = build(name, limit)?;
        let thread = match driver {
            Driver::Thread => Some(store.spawn_maintenance()?),
            Driver::Ticks => None,
        };
        Ok(Self { maintenance: Mutex::new(Maintenance::new(&store)), store, _thread: thread })
    }

    /// Does the maintenance that the store's own thread would do in so much time.
    fn maintain(&self, time: Duration) {
        let mut maintenance = self.maintenance.lock();
        let (mut left, mut passed) = (time, Duration::ZERO);
        loop {
            let due = maintenance.step(passed).max(STEP_MIN);
            let Some(rest) = left.checked_sub(due) else { return };
            (left, passed) = (rest, due);
        }
    }
}

fn build(name: &str, limit: usize) -> Result<Store> {
    let (profile, huge_pages) =
        name.strip_suffix("-huge").map_or((name, false), |profile| (profile, true));
    let profile = match profile {
        "nuthatch-compat" => Profile::Compat,
        "nuthatch-lean" => Profile::Lean,
        _ => return Err(format!("no engine {name}").into()),
    };
    let builder = Store::builder()
        .profile(profile)
        .memory_limit(limit)
        .item_size_max(limit.min(ITEM_SIZE_MAX));
    Ok(builder.huge_pages(huge_pages).build()?)
}

/// The memory limit at which a store holds about so many items of one size.
fn limit_for(name: &str, capacity: &Capacity) -> Result<usize> {
    Ok(fit(name, capacity.amount, capacity.item_bytes)?.0)
}

/// How many items of `item_bytes` each (with a key of 24) whole pages hold that come nearest to
/// `items`.
pub(crate) fn exact_items(name: &str, items: u64, item_bytes: usize) -> Result<u64> {
    Ok(fit(name, items, item_bytes)?.1)
}

/// The memory limit of whole pages that holds nearest to `items`, and how many it holds.
fn fit(name: &str, items: u64, item_bytes: usize) -> Result<(usize, u64)> {
    let mut limit = usize::try_from(items)? * (item_bytes + 64);
    // The size of a page depends on the limit, if only by powers of two.
    for _ in 0..4 {
        let probe = build(name, limit.max(LIMIT_MIN))?;
        probe.set(Key::new(&[b'k'; 24])?, &vec![0; item_bytes - 24], Set::default())?;
        let classes = probe.class_stats();
        let class =
            classes.iter().find(|class| class.number > 0).ok_or("the item is in no class")?;
        let page_bytes = probe.stats().page_bytes;
        let pages = ((items + class.chunks_per_page / 2) / class.chunks_per_page)
            .max((LIMIT_MIN as u64).div_ceil(page_bytes));
        let fitting = usize::try_from(pages * page_bytes)?;
        if build(name, fitting)?.stats().page_bytes == page_bytes {
            return Ok((fitting, pages * class.chunks_per_page));
        }
        limit = fitting;
    }
    Err(format!("no limit for {items} items of {item_bytes} bytes").into())
}

fn show(item: &Item<'_>, seen: &mut dyn FnMut(&[u8])) {
    match item.contiguous() {
        Some(value) => seen(value),
        None => item.pieces().for_each(seen),
    }
}

impl Engine for Ours {
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
        let Ok(key) = Key::binary(key) else { return false };
        self.store.get(key, |item| show(&item, seen)).is_some()
    }

    fn get_batch(&self, keys: &[&[u8]], seen: &mut dyn FnMut(&[u8])) -> usize {
        let mut hits = 0;
        let keys = keys.iter().filter_map(|key| Key::binary(key).ok());
        self.store.get_many(keys, |_, item| {
            if let Ok(item) = item {
                show(&item, seen);
                hits += 1;
            }
        });
        hits
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: u32) {
        let Ok(key) = Key::binary(key) else { return };
        let ttl = if ttl == 0 { Ttl::NEVER } else { Ttl::secs(ttl) };
        // A value that is refused is a value not stored, which a later get counts as a miss.
        let _ = self.store.set(key, value, Set { ttl, ..Set::default() });
    }

    fn delete(&self, key: &[u8]) {
        if let Ok(key) = Key::binary(key) {
            self.store.delete(key);
        }
    }

    fn set_now(&self, now: u32) -> bool {
        // The store's clock begins at 2.
        let clock = Clock { now: now + 2, unix_base: 0 };
        let passed = clock.now - self.store.clock().now;
        self.store.set_clock(clock);
        self.maintain(Duration::from_secs(u64::from(passed)));
        true
    }

    fn tick(&self) {
        self.maintain(TICK);
    }

    fn len(&self) -> Option<u64> {
        Some(self.store.stats().curr_items)
    }

    fn memory(&self) -> Option<Memory> {
        let stats = self.store.stats();
        Some(Memory { items: stats.pages * stats.page_bytes, index: stats.index_bytes })
    }
}
