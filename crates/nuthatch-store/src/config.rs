//! The settings of a store, each with its range and its memcached name.

use std::sync::Arc;
use std::time::Duration;

use nuthatch_types::limits::{ITEM_SIZE_DEFAULT, MEMORY_DEFAULT, PAGE_BYTES};

use crate::checks::{self, PAGE_BYTES_MIN};
use crate::store::{Listener, Watcher};
use crate::{Cause, ConfigError, Leaving, Store, StoreEvent};

/// The smallest memory limit, in bytes, for which a lean store asks for huge pages.
const HUGE_LIMIT_MIN: usize = 64 << 20;

/// The longest rest of the crawler, as in memcached.
pub(crate) const CRAWLER_SLEEP_MAX: Duration = Duration::from_secs(1);

/// The settings of a [`Store`]; made by [`Store::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) config: Config,
    listener: Option<Listener>,
    watcher: Option<Watcher>,
    chosen: Chosen,
}

/// How a store lays out its memory and whom it evicts. What its operations do is the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Profile {
    /// For programs: slab classes 8 % apart, S3-FIFO for eviction, and expired items taken away
    /// when their time comes. A small queue (HOT) holds what is new; what is read there, or comes
    /// back soon after it left, goes on to the main queue (WARM).
    #[default]
    Lean,
    /// For operators: memcached's slab classes, number by number, its HOT, WARM and COLD queues
    /// and their counters, and expired items that wait for a look or for maintenance.
    Compat,
}

/// Settings whose default is the profile's, where the caller has said otherwise.
#[derive(Clone, Debug, Default)]
struct Chosen {
    growth_factor: Option<f64>,
    chunk_size_min: Option<usize>,
    slab_chunk_max: Option<usize>,
    page_bytes: Option<usize>,
    hot_lru_pct: Option<u8>,
    proactive_expiry: Option<bool>,
    huge_pages: Option<bool>,
    auto_crawl: Option<bool>,
}

/// Settings as the engine keeps them; read them back with [`Store::config`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Whether the store is laid out for a program or for memcached's operators.
    pub profile: Profile,
    /// Whether expired items are taken away by maintenance when their time comes, rather than when
    /// they are looked at or a crawl finds them.
    pub proactive_expiry: bool,
    /// Item memory in bytes (`-m`). The index is not part of it, as in memcached; see the crate
    /// documentation for what comes on top.
    pub memory_limit: usize,
    /// Bytes of the limit that count as taken elsewhere (`T_MEMD_INITIAL_MALLOC`).
    pub memory_in_use: usize,
    /// The largest item in bytes, key and header counted (`-I`).
    pub item_size_max: usize,
    /// The ratio between neighbouring slab classes (`-f`).
    pub growth_factor: f64,
    /// Bytes for key, value and flags in the smallest class (`-n`).
    pub chunk_size_min: usize,
    /// The largest chunk in bytes (`-o slab_chunk_max`); larger items are chained.
    pub slab_chunk_max: usize,
    /// Whether items carry a CAS number (`-C` turns it off and saves 8 bytes an item).
    pub cas: bool,
    /// Whether a full store evicts (`-M` turns it off).
    pub evictions: bool,
    /// Whether the LRU has several queues (on) or is one list (`-o no_lru_maintainer`).
    pub segmented: bool,
    /// Share of a class's memory that HOT may hold, in percent (`-o hot_lru_pct`).
    pub hot_lru_pct: u8,
    /// Share of a class's memory that WARM may hold, in percent (`-o warm_lru_pct`). It and the
    /// two factors below rule memcached's queues: they count in the compat profile.
    pub warm_lru_pct: u8,
    /// An idle item leaves HOT at this multiple of the COLD tail's age (`-o hot_max_factor`).
    pub hot_max_factor: f64,
    /// An idle item leaves WARM at this multiple of the COLD tail's age (`-o warm_max_factor`).
    pub warm_max_factor: f64,
    /// Items that live at most so many seconds go to TEMP, where nothing is bumped or evicted
    /// (`-o temporary_ttl`); `None` is off.
    pub temporary_ttl: Option<u32>,
    /// Items not read or written for so many seconds are dead; `None` is off. memcached has no
    /// such setting.
    pub time_to_idle: Option<u32>,
    /// Whether the LRU crawler may run (`-o lru_crawler`).
    pub crawler: bool,
    /// Whether the crawler is sent out by itself to where items have expired. memcached's is, as
    /// long as its LRU maintainer runs.
    pub auto_crawl: bool,
    /// How long the crawler rests after every 1,000 items (`-o lru_crawler_sleep`).
    pub crawler_sleep: Duration,
    /// How many items of a queue one crawl looks at; 0 is all (`-o lru_crawler_tocrawl`).
    pub crawler_limit: u32,
    /// How many items the index has room for from the start (`-o hashpower`); it grows by itself.
    pub expected_items: usize,
    /// Bytes a slab page.
    pub page_bytes: usize,
    /// Chunk sizes of all classes but the last (`-o slab_sizes`); empty for the ladder that
    /// `chunk_size_min` and `growth_factor` make.
    pub slab_sizes: Vec<usize>,
    /// Whether the system is asked for huge pages (`-L`).
    pub huge_pages: bool,
    /// Whether pages may move between classes (`-o slab_reassign`).
    pub slab_reassign: bool,
    /// Whether and how pages are moved without being asked (`-o slab_automove`).
    pub automove: Automove,
    /// A class whose oldest items are younger than this share of another's age gets a page of it
    /// (`-o slab_automove_ratio`).
    pub automove_ratio: f64,
    /// Over how many seconds automove watches before it decides (`-o slab_automove_window`).
    pub automove_window: u32,
    /// Whether the sizes of items are counted (`-o track_sizes`).
    pub track_sizes: bool,
    /// Whether address space is reserved for the memory limit alone.
    pub fixed_limit: bool,
}

/// Whether and how slab pages are moved between classes without being asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "memcached has these three")]
pub enum Automove {
    /// Never (`slab_automove=0`).
    Off,
    /// By memcached's rule: free pages go to the pool, and at most one page a second from the class
    /// with the oldest items to the one that evicts the youngest (`slab_automove=1`).
    #[default]
    Gentle,
    /// Also with every eviction, a page for the class that evicted (`slab_automove=2`).
    Eager,
}

impl Automove {
    /// The rule that memcached has under a number; 2 is the highest.
    pub fn from_level(level: u32) -> Self {
        match level {
            0 => Self::Off,
            1 => Self::Gentle,
            _ => Self::Eager,
        }
    }

    /// memcached's number for the rule.
    pub fn level(self) -> u8 {
        self as u8
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            chosen: Chosen::default(),
            config: Config {
                profile: Profile::default(),
                proactive_expiry: true,
                memory_limit: MEMORY_DEFAULT,
                memory_in_use: 0,
                item_size_max: ITEM_SIZE_DEFAULT,
                growth_factor: 1.25,
                chunk_size_min: 48,
                slab_chunk_max: PAGE_BYTES / 2,
                cas: true,
                evictions: true,
                segmented: true,
                hot_lru_pct: 20,
                warm_lru_pct: 40,
                hot_max_factor: 0.2,
                warm_max_factor: 2.0,
                temporary_ttl: None,
                time_to_idle: None,
                crawler: true,
                auto_crawl: true,
                crawler_sleep: Duration::from_micros(100),
                crawler_limit: 0,
                expected_items: 0,
                page_bytes: PAGE_BYTES,
                slab_sizes: Vec::new(),
                huge_pages: false,
                slab_reassign: true,
                automove: Automove::Gentle,
                automove_ratio: 0.8,
                automove_window: 10,
                track_sizes: false,
                fixed_limit: false,
            },
            listener: None,
            watcher: None,
        }
    }
}

/// What the profile decides where the caller does not.
impl Profile {
    /// The ratio between neighbouring slab classes.
    const fn growth_factor(self) -> f64 {
        match self {
            Self::Lean => 1.08,
            Self::Compat => 1.25,
        }
    }

    /// Bytes for key, value and flags in the smallest class: chunks of 48 and 96 bytes.
    const fn chunk_size_min(self) -> usize {
        match self {
            Self::Lean => 16,
            Self::Compat => 48,
        }
    }

    /// Bytes a slab page. With 1 MiB pages a small store would have too few for its classes.
    fn page_bytes(self, memory_limit: usize) -> usize {
        match self {
            Self::Lean => {
                (memory_limit / 256).next_power_of_two().clamp(PAGE_BYTES_MIN, PAGE_BYTES)
            }
            Self::Compat => PAGE_BYTES,
        }
    }

    /// Whether to ask for huge pages; see [`Builder::huge_pages`].
    fn huge_pages(self, memory_limit: usize) -> bool {
        self == Self::Lean && memory_limit >= HUGE_LIMIT_MIN
    }

    /// Share of a class's memory that HOT may hold, in percent. 10 is S3-FIFO's.
    const fn hot_lru_pct(self) -> u8 {
        match self {
            Self::Lean => 10,
            Self::Compat => 20,
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = $name;
            self
        })*
    };
}

macro_rules! chosen {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.chosen.$name = Some($name);
            self
        })*
    };
}

impl Builder {
    chosen! {
        /// The ratio between neighbouring slab classes; default 1.08 (lean) or 1.25 (compat),
        /// above 1. The lean profile raises it where it would make more than 127 classes.
        growth_factor: f64;
        /// Bytes for key, value and flags in the smallest class; default 16 (lean) or 48
        /// (compat), above 0.
        chunk_size_min: usize;
        /// The largest chunk in bytes; default half a page, 1 KiB to one page, a divisor of the
        /// page.
        slab_chunk_max: usize;
        /// Bytes a slab page, what a class takes at a time; default 1 MiB, or in the lean profile
        /// a 256th of the memory limit if that is less, a power of two from 64 KiB to 1 MiB.
        page_bytes: usize;
        /// Share of a class's memory that HOT may hold, in percent; default 10 (lean) or 20
        /// (compat), 1 to 79.
        hot_lru_pct: u8;
        /// Whether maintenance takes expired items away when their time comes: in the second after
        /// it, or a 64th of a longer life span. Costs 4 bytes for each item that expires, and as
        /// much for each that was written again or touched since; default yes (lean) or no
        /// (compat).
        proactive_expiry: bool;
        /// Whether the crawler is sent out by itself to where items have expired; default yes, but
        /// no in the lean profile with `proactive_expiry` and without `time_to_idle`: what expires
        /// is taken away then without a walk over what lives. (What is flushed leaves when it is
        /// looked at or is next to be evicted, or by [`Store::crawl`].)
        auto_crawl: bool;
        /// Whether the system is asked for huge pages (2 MiB); default yes in the lean profile
        /// with a memory limit of 64 MiB or more, else no. Where the system has none this has no
        /// effect.
        ///
        /// Items lie all over a large store, so that nearly every access needs an address
        /// translation of its own; with huge pages most of them are at hand. Measured, a get takes
        /// 335 ns of CPU time instead of 467 (README, "Measured"). The price is memory taken in
        /// steps of 2 MiB, which a small store would feel; the limit holds all the same.
        huge_pages: bool;
    }

    setters! {
        /// For whom the store is laid out; default [`Profile::Lean`].
        profile: Profile;
        /// Item memory in bytes; default 64 MiB, at least one page (1 MiB), at most 256 GiB.
        memory_limit: usize;
        /// Bytes of the memory limit that count as taken by something else; default 0. The store
        /// has what is left of the limit in whole pages, be it nothing, and each class its first
        /// page all the same.
        ///
        /// memcached has this as a hook of its tests, which make a server of 4 GiB full so.
        memory_in_use: usize;
        /// The largest item in bytes, key and header counted; default 1 MiB, 1 KiB to 1 GiB, at
        /// most the memory limit.
        item_size_max: usize;
        /// Whether items carry a CAS number; default yes.
        cas: bool;
        /// Whether a full store evicts; default yes.
        evictions: bool;
        /// Whether the LRU is segmented; default yes.
        segmented: bool;
        /// Share of a class's memory that WARM may hold, in percent; default 40, 1 to 79, with
        /// HOT at most 80. In the lean profile WARM has what HOT has not.
        warm_lru_pct: u8;
        /// An idle item leaves HOT at this multiple of the COLD tail's age; default 0.2, above 0
        /// (compat).
        hot_max_factor: f64;
        /// An idle item leaves WARM at this multiple of the COLD tail's age; default 2, above 0
        /// (compat).
        warm_max_factor: f64;
        /// Items that live at most so many seconds are never bumped nor evicted; default none.
        temporary_ttl: Option<u32>;
        /// Items not read or written for so many seconds are dead; default none, above 0. Goes
        /// with an item's own life span: the earlier end counts.
        ///
        /// A [`touch`](Store::touch) counts as reading, a [`peek`](Store::peek) does not. With
        /// this set, a hit writes the time to the item, once in a second at most.
        ///
        /// ```
        /// use nuthatch_store::{Set, Store, types::{Clock, Key}};
        ///
        /// let store = Store::builder().time_to_idle(Some(60)).build()?;
        /// let at = |now| store.set_clock(Clock { now, unix_base: 1_700_000_000 });
        /// let key = Key::new("session")?;
        /// at(10);
        /// store.set(key, b"...", Set::default())?;
        /// at(69);
        /// assert!(store.get(key, |_| ()).is_some());
        /// at(128);
        /// assert!(store.get(key, |_| ()).is_some(), "read 59 seconds ago");
        /// at(188);
        /// assert!(store.get(key, |_| ()).is_none(), "idle for 60 seconds");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        time_to_idle: Option<u32>;
        /// Whether the LRU crawler may run; default yes.
        crawler: bool;
        /// How long the crawler rests after every 1,000 items; default 100 µs, at most 1 s.
        crawler_sleep: Duration;
        /// How many items of a queue one crawl looks at; default 0, which is all.
        crawler_limit: u32;
        /// How many items the index has room for from the start; default 0, at most 2^32; it grows
        /// by itself.
        expected_items: usize;
        /// Chunk sizes of all classes but the last, in place of the ladder that `chunk_size_min`
        /// and `growth_factor` make; ascending, at most 62, each from `chunk_size_min` to
        /// `slab_chunk_max`. Default empty: the ladder.
        slab_sizes: Vec<usize>;
        /// Whether slab pages may move between classes; default yes.
        slab_reassign: bool;
        /// Whether and how pages are moved without being asked; default [`Automove::Gentle`].
        automove: Automove;
        /// A class whose oldest items are younger than this share of another's age gets a page of
        /// it; default 0.8, above 0, at most 1.
        automove_ratio: f64;
        /// Over how many seconds automove watches before it decides; default 10, 3 to 1800.
        automove_window: u32;
        /// Whether the store counts its items by size, for [`Store::sizes`]; default no. Costs a few
        /// atomic additions for each item that comes or goes, and 256 KiB.
        track_sizes: bool;
        /// Whether address space is reserved for the memory limit alone, which cannot be raised
        /// then; default no, which is 32 GiB or more, none of it memory. For a process whose locked
        /// memory is limited: the system counts all address space.
        fixed_limit: bool;
    }

    /// Has `listener` called for every item that leaves for one of these causes: for a second
    /// tier, for an account of what goes, for what hangs on an item.
    ///
    /// It is called as the item leaves, under the locks that keep the item still; nothing is lost
    /// and nothing waits. The rule is that of the closure of [`Store::get`]: be quick (copy, or
    /// send to a channel), and do not call this store, which debug builds answer with a panic; a
    /// call of another store is all right. A listener that panics does so in the call that made
    /// the item leave, and the item stays.
    ///
    /// Not told: what is in a store that is dropped, and values changed where they stand
    /// ([`Store::count`]). Setting a listener replaces the one before.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use nuthatch_store::{Cause, Set, Store, types::Key};
    ///
    /// let (spill, spilled) = mpsc::channel();
    /// let store = Store::builder()
    ///     .listener(&[Cause::Evicted], move |item| {
    ///         // Gone is gone if nobody is listening any more.
    ///         let _ = spill.send((item.key().to_vec(), item.to_vec(), item.ttl()));
    ///     })
    ///     .memory_limit(1 << 20)
    ///     .build()?;
    /// for n in 0..100 {
    ///     store.set(Key::new(&format!("key{n}"))?, &[b'x'; 20_000], Set::default())?;
    /// }
    /// assert_eq!(spilled.try_iter().count() as u64, store.stats().totals.evicted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listener(
        mut self,
        causes: &[Cause],
        listener: impl Fn(Leaving<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Listener::new(causes, Arc::new(listener)));
        self
    }

    /// Has `events` called for what maintenance does beside its common work: the end of a crawl, the
    /// move of a page. For an operator's log.
    ///
    /// It is called by whoever does the [`Maintenance`](crate::Maintenance), without a lock, so that
    /// it may use the store; but maintenance waits for it. If it panics, so does that step, and what
    /// the event tells of is done all the same. Setting it replaces the one before.
    ///
    /// ```
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// use nuthatch_store::{Maintenance, Profile, Store, StoreEvent, types::Clock};
    ///
    /// let (log, lines) = mpsc::channel();
    /// let store = Store::builder()
    ///     .profile(Profile::Compat)
    ///     .events(move |event| {
    ///         if let StoreEvent::CrawlDone(report) = event {
    ///             let _ = log.send(format!("class {}: {} gone", report.class, report.reclaimed));
    ///         }
    ///     })
    ///     .build()?;
    /// let mut maintenance = Maintenance::new(&store);
    /// for now in 1..10 {
    ///     store.set_clock(Clock { now, unix_base: 1_700_000_000 });
    ///     maintenance.step(Duration::from_secs(1));
    /// }
    /// assert_eq!(lines.try_iter().next().as_deref(), Some("class 1: 0 gone"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events(mut self, events: impl Fn(StoreEvent<'_>) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Watcher::new(Arc::new(events)));
        self
    }

    /// The settings with the profile's word where the caller has said nothing.
    fn resolve(self) -> Config {
        let Self { mut config, chosen, .. } = self;
        let profile = config.profile;
        config.growth_factor = chosen.growth_factor.unwrap_or_else(|| profile.growth_factor());
        config.chunk_size_min = chosen.chunk_size_min.unwrap_or_else(|| profile.chunk_size_min());
        config.page_bytes =
            chosen.page_bytes.unwrap_or_else(|| profile.page_bytes(config.memory_limit));
        config.slab_chunk_max = chosen.slab_chunk_max.unwrap_or(config.page_bytes / 2);
        config.hot_lru_pct = chosen.hot_lru_pct.unwrap_or_else(|| profile.hot_lru_pct());
        config.proactive_expiry = chosen.proactive_expiry.unwrap_or(profile == Profile::Lean);
        let has_rings = profile == Profile::Lean && config.proactive_expiry;
        // The rings know ends of life spans; who is idle is found by looking.
        config.auto_crawl =
            chosen.auto_crawl.unwrap_or_else(|| !has_rings || config.time_to_idle.is_some());
        config.huge_pages =
            chosen.huge_pages.unwrap_or_else(|| profile.huge_pages(config.memory_limit));
        config
    }

    /// The settings that [`build`](Self::build) would take, not yet looked at: the profile's
    /// where nothing else has been asked for.
    pub fn config(&self) -> Config {
        self.clone().resolve()
    }

    /// Builds the store: reserves its address range and takes the first index memory.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for a setting outside its range, [`ConfigError::Reserve`] where
    /// the system refuses the address space.
    pub fn build(self) -> Result<Store, ConfigError> {
        let (listener, watcher) = (self.listener.clone(), self.watcher.clone());
        let config = self.resolve();
        checks::all(&config)?;
        Store::new(config, listener, watcher)
    }
}
