//! The settings that change while the store runs.
//!
//! Each is an atomic of its own, read `Relaxed` where it matters: they are advice that takes effect
//! from the next operation on, and no two of them must be seen together.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::config::{CRAWLER_SLEEP_MAX, Config};
use crate::{ConfigError, Store, checks};

/// How much HOT and WARM hold; for [`Store::tune_lru`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the words of `lru tune`, all of them needed")]
pub struct LruTuning {
    /// Share of a class's memory that HOT may hold, in percent.
    pub hot_pct: u8,
    /// Share of a class's memory that WARM may hold, in percent; with HOT at most 80.
    pub warm_pct: u8,
    /// An idle item leaves HOT at this multiple of the COLD tail's age; above 0.
    pub hot_max_factor: f64,
    /// An idle item leaves WARM at this multiple of the COLD tail's age; above 0.
    pub warm_max_factor: f64,
}

/// What of [`Config`] can change.
#[derive(Debug)]
pub(crate) struct Settings {
    segmented: AtomicBool,
    /// One more than the seconds; 0 is off.
    temporary_ttl: AtomicU64,
    hot_pct: AtomicU8,
    warm_pct: AtomicU8,
    /// The bits of an `f64`, as the next.
    hot_max_factor: AtomicU64,
    warm_max_factor: AtomicU64,
    crawler: AtomicBool,
    crawler_sleep_us: AtomicU32,
    crawler_limit: AtomicU32,
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            segmented: AtomicBool::new(config.segmented),
            temporary_ttl: AtomicU64::new(ttl_word(config.temporary_ttl)),
            hot_pct: AtomicU8::new(config.hot_lru_pct),
            warm_pct: AtomicU8::new(config.warm_lru_pct),
            hot_max_factor: AtomicU64::new(config.hot_max_factor.to_bits()),
            warm_max_factor: AtomicU64::new(config.warm_max_factor.to_bits()),
            crawler: AtomicBool::new(config.crawler),
            crawler_sleep_us: AtomicU32::new(micros(config.crawler_sleep)),
            crawler_limit: AtomicU32::new(config.crawler_limit),
        }
    }

    /// The settings as they are now, given those that stay.
    pub(crate) fn snapshot(&self, built: &Config) -> Config {
        Config {
            segmented: self.segmented(),
            temporary_ttl: self.temporary_ttl(),
            hot_lru_pct: self.hot_pct(),
            warm_lru_pct: self.warm_pct(),
            hot_max_factor: self.hot_max_factor(),
            warm_max_factor: self.warm_max_factor(),
            crawler: self.crawler(),
            crawler_sleep: self.crawler_sleep(),
            crawler_limit: self.crawler_limit(),
            ..built.clone()
        }
    }

    #[inline]
    pub(crate) fn segmented(&self) -> bool {
        self.segmented.load(Relaxed)
    }

    #[inline]
    pub(crate) fn temporary_ttl(&self) -> Option<u32> {
        let word = self.temporary_ttl.load(Relaxed).checked_sub(1)?;
        u32::try_from(word).ok()
    }

    pub(crate) fn hot_pct(&self) -> u8 {
        self.hot_pct.load(Relaxed)
    }

    pub(crate) fn warm_pct(&self) -> u8 {
        self.warm_pct.load(Relaxed)
    }

    pub(crate) fn hot_max_factor(&self) -> f64 {
        f64::from_bits(self.hot_max_factor.load(Relaxed))
    }

    pub(crate) fn warm_max_factor(&self) -> f64 {
        f64::from_bits(self.warm_max_factor.load(Relaxed))
    }

    pub(crate) fn crawler(&self) -> bool {
        self.crawler.load(Relaxed)
    }

    /// Switches the crawler; says what it was.
    pub(crate) fn swap_crawler(&self, on: bool) -> bool {
        self.crawler.swap(on, Relaxed)
    }

    pub(crate) fn crawler_sleep(&self) -> Duration {
        Duration::from_micros(u64::from(self.crawler_sleep_us.load(Relaxed)))
    }

    pub(crate) fn crawler_limit(&self) -> u32 {
        self.crawler_limit.load(Relaxed)
    }
}

impl Store {
    /// Sets how much HOT and WARM hold (`lru tune`); items move as maintenance next comes to them.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] when the shares exceed 80 percent together or a factor is not
    /// above 0, as in memcached; nothing changes then.
    pub fn tune_lru(&self, tuning: LruTuning) -> Result<(), ConfigError> {
        let LruTuning { hot_pct, warm_pct, hot_max_factor, warm_max_factor } = tuning;
        checks::lru_shares("hot_pct and warm_pct", hot_pct, warm_pct)?;
        checks::lru_factors(hot_max_factor, warm_max_factor)?;
        let settings = &self.inner.settings;
        settings.hot_pct.store(hot_pct, Relaxed);
        settings.warm_pct.store(warm_pct, Relaxed);
        settings.hot_max_factor.store(hot_max_factor.to_bits(), Relaxed);
        settings.warm_max_factor.store(warm_max_factor.to_bits(), Relaxed);
        Ok(())
    }

    /// Divides the LRU into HOT, WARM and COLD, or makes it one list (`lru mode`).
    ///
    /// New items follow the new mode at once, and nothing else moves at once. What stands in HOT
    /// and WARM when the LRU is made flat is moved to COLD by maintenance, 500 items a class and
    /// step, or by a store that needs the memory, and can be found and evicted all the while.
    pub fn set_lru_segmented(&self, on: bool) {
        self.inner.settings.segmented.store(on, Relaxed);
    }

    /// Items stored from now on that live at most so many seconds go to TEMP, where nothing is
    /// bumped or evicted; `None` is off (`lru temp_ttl`). What stands in TEMP when it is switched
    /// off is moved to COLD by maintenance, or by a store that needs the memory. (memcached leaves
    /// it in TEMP.)
    pub fn set_temporary_ttl(&self, ttl_secs: Option<u32>) {
        self.inner.settings.temporary_ttl.store(ttl_word(ttl_secs), Relaxed);
    }

    /// Sets how long the crawler rests after every 1,000 items; more than a second is a second,
    /// memcached's limit.
    pub fn set_crawler_sleep(&self, sleep: Duration) {
        self.inner.settings.crawler_sleep_us.store(micros(sleep), Relaxed);
    }

    /// Sets how many items of each queue a crawl looks at, from the tail; 0 is all. A crawl that
    /// is under way keeps the limit it began with.
    pub fn set_crawler_limit(&self, items: u32) {
        self.inner.settings.crawler_limit.store(items, Relaxed);
    }
}

fn ttl_word(ttl: Option<u32>) -> u64 {
    ttl.map_or(0, |secs| u64::from(secs) + 1)
}

fn micros(sleep: Duration) -> u32 {
    u32::try_from(sleep.min(CRAWLER_SLEEP_MAX).as_micros()).expect("a second is 10^6 µs")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_what_has_changed_and_what_stays() {
        let store = Store::builder().memory_limit(2 << 20).build().unwrap();
        let built = store.config();
        store.set_lru_segmented(false);
        store.set_temporary_ttl(Some(u32::MAX));
        store.set_crawler_sleep(Duration::from_secs(5));
        store.set_crawler_limit(7);
        let tuning =
            LruTuning { hot_pct: 10, warm_pct: 70, hot_max_factor: 0.5, warm_max_factor: 3.5 };
        store.tune_lru(tuning).unwrap();
        let expected = Config {
            segmented: false,
            temporary_ttl: Some(u32::MAX),
            hot_lru_pct: 10,
            warm_lru_pct: 70,
            hot_max_factor: 0.5,
            warm_max_factor: 3.5,
            crawler_sleep: CRAWLER_SLEEP_MAX,
            crawler_limit: 7,
            ..built
        };
        assert_eq!(store.config(), expected);
        store.set_temporary_ttl(None);
        assert_eq!(store.config().temporary_ttl, None);
    }

    #[test]
    fn a_wrong_tuning_changes_nothing() {
        let store = Store::builder().memory_limit(2 << 20).build().unwrap();
        let built = store.config();
        let right =
            LruTuning { hot_pct: 40, warm_pct: 40, hot_max_factor: 1.0, warm_max_factor: 1.0 };
        for wrong in [
            LruTuning { warm_pct: 41, ..right },
            LruTuning { hot_pct: 255, warm_pct: 255, ..right },
            LruTuning { hot_max_factor: 0.0, ..right },
            LruTuning { warm_max_factor: f64::NAN, ..right },
        ] {
            assert!(matches!(store.tune_lru(wrong), Err(ConfigError::OutOfRange { .. })));
            assert_eq!(store.config(), built);
        }
        store.tune_lru(right).unwrap();
    }
}
