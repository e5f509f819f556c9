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

/// The largest value that a replay stores; traces of disks and CDNs have larger ones.
const ITEM_SIZE_MAX: usize = 8 << 20;

/// One store.
pub(crate) struct Ours {
    store: Store,
    maintenance: Mutex<Maintenance>,
    _thread: Option<MaintenanceThread>,
}

impl Ours {
    /// A store of one of the profiles `nuthatch-compat`; the capacity is its memory limit.
    pub(crate) fn new(name: &str, capacity: &Capacity, driver: Driver) -> Result<Self> {
        let limit = if capacity.unit {
            limit_for(name, capacity)?
        } else {
            usize::try_from(capacity.amount)?.max(1 << 20)
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
    let builder = match profile {
        "nuthatch-compat" => Store::builder().profile(Profile::Compat),
        "nuthatch-lean" => Store::builder(),
        _ => return Err(format!("no engine {name}").into()),
    };
    let builder = builder.memory_limit(limit).item_size_max(limit.min(ITEM_SIZE_MAX));
    Ok(builder.huge_pages(huge_pages).build()?)
}

/// The memory limit at which a store holds so many items of one size.
fn limit_for(name: &str, capacity: &Capacity) -> Result<usize> {
    let (pages, _) = pages_for(name, capacity.amount, capacity.item_bytes)?;
    Ok(usize::try_from(pages)? << 20)
}

/// How many pages hold about `items` of `item_bytes` each (with a key of 24), and how many items
/// that is exactly.
pub(crate) fn pages_for(name: &str, items: u64, item_bytes: usize) -> Result<(u64, u64)> {
    let probe = build(name, 64 << 20)?;
    probe.set(Key::new(&[b'k'; 24])?, &vec![0; item_bytes - 24], Set::default())?;
    let classes = probe.class_stats();
    let class = classes.iter().find(|class| class.number > 0).ok_or("the item is in no class")?;
    let pages = (items + class.chunks_per_page / 2) / class.chunks_per_page;
    Ok((pages.max(1), pages.max(1) * class.chunks_per_page))
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
            if let Some(item) = item {
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
        Some(Memory { items: stats.pages << 20, index: stats.index_bytes })
    }
}
