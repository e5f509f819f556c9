//! Requests that serve the operator: settings, dumps, watchers, and the cluster list.
//!
//! The parser has checked the arguments; what is left is to act. Where memcached looks at a
//! setting first, the arguments are a `Result` (see [`ArgError`]).

use nuthatch_types::{ItemFlags, Key, Ttl};

use crate::error::ArgError;
use crate::request::Value;

/// An administrative request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Admin<'a> {
    /// `version`.
    Version,
    /// `stats [arg]`.
    Stats(Stats<'a>),
    /// `verbosity n`; memcached caps the level at 2.
    Verbosity(u32),
    /// `flush_all [delay]`: everything stored before that moment is dead once it has come; `None`
    /// is now. memcached counts the command even when `-F` forbids it.
    FlushAll(Result<Option<Ttl>, ArgError>),
    /// `cache_memlimit n`, in MiB, 8 to 1,000,000,000.
    CacheMemlimit(u32),
    /// `shutdown [graceful]`.
    Shutdown(Result<ShutdownMode, ArgError>),
    /// `slabs …`.
    Slabs(Slabs),
    /// `lru …`.
    Lru(Lru),
    /// `lru_crawler …`.
    LruCrawler(LruCrawler<'a>),
    /// `watch …`.
    Watch(Result<WatchFlags, ArgError>),
    /// `refresh_certs`.
    RefreshCerts,
    /// `extstore …`.
    Extstore(Extstore),
    /// `config …`, the membership list of ElastiCache.
    Config(Config<'a>),
    /// `debugtime …`; only a debug build of memcached knows it.
    DebugTime(DebugTime),
    /// `debugitem …`; only a debug build of memcached knows it.
    DebugItem {
        /// What to do.
        action: DebugItem,
        /// To which item.
        key: &'a [u8],
    },
    /// `misbehave`; only a debug build of memcached knows it.
    Misbehave,
}

/// What `stats` is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Stats<'a> {
    /// No argument: the general statistics.
    General,
    /// `reset`.
    Reset,
    /// `detail on|off|dump`; the error says how to use it.
    Detail(Result<Detail, ArgError>),
    /// `settings`.
    Settings,
    /// `cachedump class limit`.
    Cachedump(Result<Cachedump, ArgError>),
    /// `conns`.
    Conns,
    /// `extstore`.
    Extstore,
    /// `items`.
    Items,
    /// `slabs`.
    Slabs,
    /// `sizes`.
    Sizes,
    /// Any other word; memcached answers `ERROR`.
    Other(&'a [u8]),
}

/// What `stats detail` is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum Detail {
    /// Begin to count by prefix.
    On,
    /// Stop counting by prefix.
    Off,
    /// Show the counts.
    Dump,
}

/// The arguments of `stats cachedump`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the protocol has these and no others")]
pub struct Cachedump {
    /// The slab class, below 64.
    pub class: u32,
    /// The most keys to show; 0 for all that fit.
    pub limit: u32,
}

/// How to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum ShutdownMode {
    /// At once.
    Now,
    /// With the state saved where the server can.
    Graceful,
}

/// `slabs …`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Slabs {
    /// `slabs reassign src dst`; −1 as the source is any class.
    Reassign(Result<Reassign, ArgError>),
    /// `slabs automove 0|1|2`.
    Automove(u32),
    /// `slabs automove ratio x`.
    AutomoveRatio(f64),
    /// `slabs automove freeratio x`.
    AutomoveFreeratio(f64),
    /// `slabs automove window n`, 3 to 1800.
    AutomoveWindow(u32),
}

/// The arguments of `slabs reassign`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the protocol has these and no others")]
pub struct Reassign {
    /// The class to take a page from; −1 for any.
    pub src: i32,
    /// The class to give it to; 0 is the page pool.
    pub dst: i32,
}

/// `lru …`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Lru {
    /// `lru tune hot% warm% hotfactor warmfactor`; the shares sum to at most 80, the factors are
    /// above 0.
    Tune {
        /// The share of HOT, in percent.
        hot_pct: u32,
        /// The share of WARM, in percent.
        warm_pct: u32,
        /// The age limit of HOT, as a multiple of COLD's age.
        hot_factor: f64,
        /// The age limit of WARM, as a multiple of COLD's age.
        warm_factor: f64,
    },
    /// `lru mode segmented` (true) or `lru mode flat` (false). Needs the maintainer.
    Segmented(bool),
    /// `lru temp_ttl n`, in seconds; `None` (negative on the wire) turns TEMP off. Needs the
    /// maintainer.
    TempTtl(Option<u32>),
}

/// `lru_crawler …`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LruCrawler<'a> {
    /// `enable`.
    Enable,
    /// `disable`.
    Disable,
    /// `crawl classes`.
    Crawl(Classes<'a>),
    /// `metadump classes`.
    Metadump(Classes<'a>),
    /// `mgdump classes`.
    Mgdump(Classes<'a>),
    /// `tocrawl n`, items a class and run; 0 is all.
    Tocrawl(u32),
    /// `sleep n`, in microseconds, at most a second.
    Sleep(u32),
}

/// Which classes to crawl: `all`, `hash`, or ids with commas between.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Classes<'a>(pub(crate) &'a [u8]);

impl<'a> Classes<'a> {
    /// The largest class id plus one.
    const ID_END: u32 = 64;

    /// The word as it was typed.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// `all`: every class.
    pub fn is_all(&self) -> bool {
        self.0 == b"all"
    }

    /// `hash`: the index, bucket by bucket.
    pub fn is_hash(&self) -> bool {
        self.0 == b"hash"
    }

    /// The ids as a set (bit n is class n); `None` where one of them is no class id, which
    /// memcached answers with `BADCLASS invalid class id`. Empty places between commas are
    /// skipped.
    pub fn ids(&self) -> Option<u64> {
        self.0.split(|byte| *byte == b',').filter(|part| !part.is_empty()).try_fold(
            0u64,
            |set, part| {
                let id = crate::text::number::flags_lenient(part)?;
                (1..Self::ID_END).contains(&id).then(|| set | 1 << id)
            },
        )
    }
}

/// What a watcher wants to see.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WatchFlags(u16);

impl WatchFlags {
    /// The words, in the order in which they are matched.
    pub(crate) const WORDS: [(&'static [u8], Self); 10] = [
        (b"rawcmds", Self::RAWCMDS),
        (b"evictions", Self::EVICTIONS),
        (b"fetchers", Self::FETCHERS),
        (b"mutations", Self::MUTATIONS),
        (b"sysevents", Self::SYSEVENTS),
        (b"connevents", Self::CONNEVENTS),
        (b"proxyreqs", Self::PROXYREQS),
        (b"proxyevents", Self::PROXYEVENTS),
        (b"proxyuser", Self::PROXYUSER),
        (b"deletions", Self::DELETIONS),
    ];

    /// `rawcmds`: memcached takes the word and never logs anything for it.
    pub const RAWCMDS: Self = Self(1 << 0);
    /// `evictions`.
    pub const EVICTIONS: Self = Self(1 << 1);
    /// `fetchers`: what a bare `watch` means.
    pub const FETCHERS: Self = Self(1 << 2);
    /// `mutations`.
    pub const MUTATIONS: Self = Self(1 << 3);
    /// `sysevents`.
    pub const SYSEVENTS: Self = Self(1 << 4);
    /// `connevents`.
    pub const CONNEVENTS: Self = Self(1 << 5);
    /// `proxyreqs`.
    pub const PROXYREQS: Self = Self(1 << 6);
    /// `proxyevents`.
    pub const PROXYEVENTS: Self = Self(1 << 7);
    /// `proxyuser`.
    pub const PROXYUSER: Self = Self(1 << 8);
    /// `deletions`.
    pub const DELETIONS: Self = Self(1 << 9);

    /// Whether all of `other` is wanted.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is wanted.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set as bits, for an atomic.
    pub const fn bits(self) -> u16 {
        self.0
    }
}

/// `extstore …`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Extstore {
    /// `free_memchunks class n`, accepted and without effect.
    FreeMemchunks,
    /// `item_size n`, in bytes.
    ItemSize(u32),
    /// `item_age n`, in seconds.
    ItemAge(u32),
    /// `low_ttl n`, in seconds.
    LowTtl(u32),
    /// `recache_rate n`: one in so many.
    RecacheRate(u32),
    /// `compact_under n`, in pages.
    CompactUnder(u32),
    /// `drop_under n`, in pages.
    DropUnder(u32),
    /// `max_sleep n`, in microseconds.
    MaxSleep(u32),
    /// `max_frag x`, a share.
    MaxFrag(f64),
    /// `drop_unread 0|1`.
    DropUnread(bool),
}

/// `config …`, the auto-discovery commands of ElastiCache.
///
/// memcached itself knows none of them and answers `ERROR`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Config<'a> {
    /// `config get [name]`; without a name every configuration is meant.
    Get(Option<Key<'a>>),
    /// `config set name flags bytes [noreply]` and the payload, at most [`Config::LEN_MAX`].
    Set {
        /// The configuration's name.
        name: Key<'a>,
        /// The client's flags.
        flags: ItemFlags,
        /// The payload, always [`Value::Here`] when a handler sees it. The binary protocol may
        /// bring a longer one; the handler has to look.
        value: Value<'a>,
    },
    /// `config delete name [noreply]`.
    Delete(Key<'a>),
    /// `get` or `delete` without what they need; the line that says so, where they are served at
    /// all.
    Unusable(ArgError),
}

impl Config<'_> {
    /// The largest payload, in bytes: `config_size_max` of ElastiCache's parameter groups.
    pub const LEN_MAX: usize = 64 << 10;
}

/// What to do to the clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum DebugTime {
    /// `p`: stop it.
    Pause,
    /// `r`: let it run.
    Resume,
    /// Move it by so many seconds.
    Move(i64),
}

/// What to do to an item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum DebugItem {
    /// Lock its bucket.
    Lock,
    /// Unlock its bucket.
    Unlock,
    /// Take a reference and keep it.
    Ref,
    /// Drop such a reference; of the key `reffed`, the last one taken.
    Unref,
}
