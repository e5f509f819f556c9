//! The ranges of the settings, for those who build a store and those who change one.

use nuthatch_types::limits::{ITEM_SIZE_MAX, ITEM_SIZE_MIN, PAGE_BYTES};

use crate::arena::LIMIT_BYTES_MAX;
use crate::config::{CRAWLER_SLEEP_MAX, Config};
use crate::error::ConfigError;

/// The smallest slab page, in bytes.
pub(crate) const PAGE_BYTES_MIN: usize = 64 << 10;

/// The windows that automove can have, in seconds; memcached's bounds.
const AUTOMOVE_WINDOW: std::ops::RangeInclusive<u32> = 3..=1800;

/// The most that HOT and WARM hold together, in percent of their class, as in memcached.
const HOT_AND_WARM_PCT_MAX: u8 = 80;

/// As many items as ids can tell apart.
const EXPECTED_ITEMS_MAX: usize = 1 << 32;

/// How many sizes of chunks there can be besides the largest one, as in memcached.
const SLAB_SIZES_MAX: usize = 62;

/// The outcome of a check.
type Checked = Result<(), ConfigError>;

/// Refuses a setting for a reason, unless it is right.
pub(crate) fn require(is_right: bool, setting: &'static str, reason: &'static str) -> Checked {
    if is_right { Ok(()) } else { Err(ConfigError::OutOfRange { setting, reason }) }
}

/// Looks at all settings of a store that is to be built.
pub(crate) fn all(config: &Config) -> Checked {
    memory(config)?;
    ladder(config)?;
    automove_ratio(config.automove_ratio)?;
    automove_window(config.automove_window)?;
    let is_countable = config.expected_items <= EXPECTED_ITEMS_MAX;
    require(is_countable, "expected_items", "must be at most 2^32")?;
    let pct = 1..HOT_AND_WARM_PCT_MAX;
    let are_shares = pct.contains(&config.hot_lru_pct) && pct.contains(&config.warm_lru_pct);
    require(are_shares, "hot_lru_pct and warm_lru_pct", "must be 1 to 79")?;
    lru_shares("hot_lru_pct and warm_lru_pct", config.hot_lru_pct, config.warm_lru_pct)?;
    lru_factors(config.hot_max_factor, config.warm_max_factor)?;
    require(config.time_to_idle != Some(0), "time_to_idle", "must be above 0")?;
    let is_brief = config.crawler_sleep <= CRAWLER_SLEEP_MAX;
    require(is_brief, "crawler_sleep", "must be at most one second")
}

fn memory(config: &Config) -> Checked {
    let Config { memory_limit, item_size_max, .. } = *config;
    let is_namable = (PAGE_BYTES..=LIMIT_BYTES_MAX).contains(&memory_limit);
    require(is_namable, "memory_limit", "must be 1 MiB to 256 GiB")?;
    let is_item = (ITEM_SIZE_MIN..=ITEM_SIZE_MAX).contains(&item_size_max);
    require(is_item, "item_size_max", "must be 1 KiB to 1 GiB")?;
    require(item_size_max <= memory_limit, "item_size_max", "must be at most the memory limit")
}

/// Pages, and the chunks that they are cut into.
fn ladder(config: &Config) -> Checked {
    let Config { growth_factor, chunk_size_min, slab_chunk_max, page_bytes, .. } = *config;
    let is_growth = growth_factor.is_finite() && growth_factor > 1.0;
    require(is_growth, "growth_factor", "must be above 1")?;
    let is_chunk = (1..=slab_chunk_max).contains(&chunk_size_min);
    require(is_chunk, "chunk_size_min", "must be above 0 and at most slab_chunk_max")?;
    let is_page =
        (PAGE_BYTES_MIN..=PAGE_BYTES).contains(&page_bytes) && page_bytes.is_power_of_two();
    require(is_page, "page_bytes", "must be a power of two from 64 KiB to 1 MiB")?;
    let divides = (ITEM_SIZE_MIN..=page_bytes).contains(&slab_chunk_max)
        && page_bytes.is_multiple_of(slab_chunk_max);
    require(divides, "slab_chunk_max", "must be 1 KiB to a page and divide the page")?;
    let (sizes, range) = (&config.slab_sizes, chunk_size_min..=slab_chunk_max);
    let are_sizes = sizes.len() <= SLAB_SIZES_MAX
        && sizes.is_sorted()
        && sizes.iter().all(|size| range.contains(size));
    let reason = "must be at most 62, ascending, from chunk_size_min to slab_chunk_max";
    require(are_sizes, "slab_sizes", reason)
}

pub(crate) fn automove_ratio(ratio: f64) -> Checked {
    require(ratio > 0.0 && ratio <= 1.0, "automove_ratio", "must be above 0 and at most 1")
}

pub(crate) fn automove_window(secs: u32) -> Checked {
    require(AUTOMOVE_WINDOW.contains(&secs), "automove_window", "must be 3 to 1800")
}

/// What HOT and WARM hold together. `setting` is what whoever asks calls them.
pub(crate) fn lru_shares(setting: &'static str, hot_pct: u8, warm_pct: u8) -> Checked {
    let is_room = u16::from(hot_pct) + u16::from(warm_pct) <= u16::from(HOT_AND_WARM_PCT_MAX);
    require(is_room, setting, "must not exceed 80 together")
}

pub(crate) fn lru_factors(hot_max: f64, warm_max: f64) -> Checked {
    let is_factor = |factor: f64| factor.is_finite() && factor > 0.0;
    let are_factors = is_factor(hot_max) && is_factor(warm_max);
    require(are_factors, "hot_max_factor and warm_max_factor", "must be above 0")
}
