//! Published caches, each with its documented defaults unless a comment says otherwise.
//!
//! Keys are boxed bytes; values are `Arc<[u8]>` where the crate's `get` clones the value, boxed
//! bytes where it hands out a reference. The hasher is ahash everywhere.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::engine::{Capacity, Engine};

type Bytes = Box<[u8]>;
type Hasher = ahash::RandomState;
type Shared = Box<dyn Engine + Send + Sync>;

struct Moka(moka::sync::Cache<Bytes, Arc<[u8]>, Hasher>);

impl Engine for Moka {
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
        self.0.get(key).map(|value| seen(&value)).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8], _: u32) {
        self.0.insert(key.into(), value.into());
    }

    fn delete(&self, key: &[u8]) {
        self.0.invalidate(key);
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }

    fn len(&self) -> Option<u64> {
        self.0.run_pending_tasks();
        Some(self.0.entry_count())
    }
}

#[derive(Clone)]
struct Weight(Capacity);

impl quick_cache::Weighter<Bytes, Arc<[u8]>> for Weight {
    fn weight(&self, key: &Bytes, value: &Arc<[u8]>) -> u64 {
        self.0.weight(key.len(), value.len())
    }
}

struct QuickCache(quick_cache::sync::Cache<Bytes, Arc<[u8]>, Weight, Hasher>);

struct Foyer(foyer_memory::Cache<Bytes, Bytes, Hasher>);

impl Engine for Foyer {
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
        self.0.get(key).map(|entry| seen(entry.value())).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8], _: u32) {
        self.0.insert(key.into(), value.into());
    }

    fn delete(&self, key: &[u8]) {
        self.0.remove(key);
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.entries() as u64)
    }
}

struct Segcache(segcache::Segcache);

impl Engine for Segcache {
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
        let Some(item) = self.0.get(key) else { return false };
        if let segcache::Value::Bytes(value) = item.value() {
            seen(value);
        }
        true
    }

    fn set(&self, key: &[u8], value: &[u8], ttl: u32) {
        // An insert that finds no free segment is a value not stored, which a later get counts.
        let _ = self.0.insert(key, value, None, Duration::from_secs(u64::from(ttl)));
    }

    fn delete(&self, key: &[u8]) {
        self.0.delete(key);
    }
}

struct DashMap(dashmap::DashMap<Bytes, Bytes, Hasher>);

/// For caches whose methods have the names of a map's.
macro_rules! like_a_map {
    ($cache:ty) => {
        impl Engine for $cache {
            fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
                self.0.get(key).map(|value| seen(&value)).is_some()
            }

            fn set(&self, key: &[u8], value: &[u8], _: u32) {
                self.0.insert(key.into(), value.into());
            }

            fn delete(&self, key: &[u8]) {
                self.0.remove(key);
            }

            fn len(&self) -> Option<u64> {
                Some(self.0.len() as u64)
            }
        }
    };
}

like_a_map!(QuickCache);
like_a_map!(DashMap);

pub(super) fn make(name: &str, capacity: &Capacity) -> Result<Option<Shared>> {
    let weight = capacity.clone();
    let engine: Shared = match name {
        "moka" => Box::new(Moka(
            moka::sync::Cache::builder()
                .max_capacity(capacity.amount)
                .weigher(move |key: &Bytes, value: &Arc<[u8]>| {
                    u32::try_from(weight.weight(key.len(), value.len())).unwrap_or(u32::MAX)
                })
                .build_with_hasher(Hasher::new()),
        )),
        "quick_cache" => Box::new(QuickCache(quick_cache::sync::Cache::with(
            capacity.items,
            capacity.amount,
            Weight(weight),
            Hasher::new(),
            quick_cache::sync::DefaultLifecycle::default(),
        ))),
        "foyer-s3fifo" | "foyer-lru" => {
            let eviction: foyer_memory::EvictionConfig = if name == "foyer-lru" {
                foyer_memory::LruConfig::default().into()
            } else {
                foyer_memory::S3FifoConfig::default().into()
            };
            // Each of its 8 shards gets an eighth of the capacity, which is too coarse for few items.
            let shards = if capacity.unit && capacity.amount < 4096 { 1 } else { 8 };
            Box::new(Foyer(
                foyer_memory::CacheBuilder::new(usize::try_from(capacity.amount)?)
                    .with_shards(shards)
                    .with_eviction_config(eviction)
                    .with_hash_builder(Hasher::new())
                    .with_weighter(move |key: &Bytes, value: &Bytes| {
                        weight.weight(key.len(), value.len()) as usize
                    })
                    .build(),
            ))
        }
        "segcache-merge" => Box::new(Segcache(segcache(capacity)?)),
        "dashmap" => Box::new(DashMap(dashmap::DashMap::with_hasher(Hasher::new()))),
        _ => return Ok(None),
    };
    Ok(Some(engine))
}

fn segcache(capacity: &Capacity) -> Result<segcache::Segcache> {
    // Room for the items at 7/8 load; the power counts slots.
    let slots = (capacity.items as u64 * 8 / 7).max(1024);
    let power = (64 - slots.leading_zeros()).clamp(12, 30) as u8;
    let bytes = if capacity.unit {
        capacity.amount * (capacity.item_bytes as u64 + 8)
    } else {
        // Its table counts against a capacity in bytes.
        capacity.amount.saturating_sub(8 << power).max(4 << 20)
    };
    // Segments of 1 MiB, its default, or smaller ones where that would make fewer than 64.
    let segment =
        if bytes >= 64 << 20 { 1 << 20 } else { (bytes / 64 / 4096 * 4096).max(64 << 10) };
    Ok(segcache::Segcache::builder()
        .heap_size(usize::try_from(bytes.next_multiple_of(segment))?)
        .segment_size(i32::try_from(segment)?)
        .hash_power(power)
        .eviction(segcache::Policy::Merge { max: 8, merge: 4, compact: 2 })
        .build()?)
}
