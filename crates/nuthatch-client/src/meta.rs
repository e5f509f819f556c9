//! The meta commands, typed: what can be asked, and what is answered.

use bytes::Bytes;
use nuthatch_proto::MetaStatus;
use nuthatch_proto::client::{MetaOptions, MetaResponse};
use nuthatch_types::{Arith, Cas, ItemFlags, StoreMode, Stored, Ttl};

use crate::clock::exptime;

/// What [`Client::meta_get`](crate::Client::meta_get) asks for. Without anything it says only
/// whether the item is there.
///
/// A lease against the stampede to an item that has gone: the first who misses makes the item, and
/// the others see that somebody does.
///
/// ```no_run
/// use nuthatch_client::{Client, MetaGet, MetaSet, types::Ttl};
///
/// # async fn example(cache: Client) -> Result<(), nuthatch_client::Error> {
/// let lease = MetaGet::new().value().cas().vivify(Ttl::secs(30)).recache(Ttl::secs(10));
/// let page = cache.meta_get("page", lease).await?.expect("it is made where there is none");
/// if page.is_won {
///     // Ours to make, while others are told to wait or are given the old one.
///     let stored = MetaSet::new().ttl(Ttl::secs(300)).compare(page.cas.unwrap_or_default());
///     cache.meta_set("page", "<html>…", stored).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct MetaGet(pub(crate) MetaOptions<'static>);

impl MetaGet {
    /// Nothing but whether the item is there.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value.
    pub fn value(mut self) -> Self {
        self.0.return_value = true;
        self
    }

    /// The client's flags.
    pub fn flags(mut self) -> Self {
        self.0.return_flags = true;
        self
    }

    /// The CAS number.
    pub fn cas(mut self) -> Self {
        self.0.return_cas = true;
        self
    }

    /// The value's length.
    pub fn size(mut self) -> Self {
        self.0.return_size = true;
        self
    }

    /// How long the item has still to live.
    pub fn ttl(mut self) -> Self {
        self.0.return_ttl = true;
        self
    }

    /// Whether the item had been fetched before, and how long ago it was last touched.
    pub fn use_facts(mut self) -> Self {
        self.0.return_hit = true;
        self.0.return_last_access = true;
        self
    }

    /// Does not count as a use of the item.
    pub fn no_bump(mut self) -> Self {
        self.0.no_bump = true;
        self
    }

    /// Gives the item a new life span.
    pub fn touch(mut self, ttl: Ttl) -> Self {
        self.0.exptime = Some(exptime(ttl));
        self
    }

    /// Where there is no item, makes an empty one of this life span, whose maker has
    /// [won](MetaItem::is_won): the lease.
    pub fn vivify(mut self, ttl: Ttl) -> Self {
        self.0.vivify = Some(exptime(ttl));
        self
    }

    /// The first who asks when less than this is left to live has [won](MetaItem::is_won) and is to
    /// make the item anew, ahead of its end.
    pub fn recache(mut self, ttl: Ttl) -> Self {
        self.0.recache = Some(exptime(ttl));
        self
    }
}

/// How [`Client::meta_set`](crate::Client::meta_set) stores.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct MetaSet(pub(crate) MetaOptions<'static>);

impl MetaSet {
    /// Whatever is there, without end of life, without flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the item may live.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.0.exptime = Some(exptime(ttl));
        self
    }

    /// The number that is kept beside the value.
    pub fn flags(mut self, flags: ItemFlags) -> Self {
        self.0.flags = Some(flags);
        self
    }

    /// As `add`, `replace`, `append`, `prepend`.
    pub fn mode(mut self, mode: StoreMode) -> Self {
        self.0.mode = mode;
        self
    }

    /// `append` and `prepend` make an item of this life span where there is none.
    pub fn vivify(mut self, ttl: Ttl) -> Self {
        self.0.vivify = Some(exptime(ttl));
        self
    }

    /// Only if the item still has this number.
    pub fn compare(mut self, cas: Cas) -> Self {
        self.0.compare = Some(cas);
        self
    }

    /// The item's new number, where versions come from elsewhere.
    pub fn explicit_cas(mut self, cas: Cas) -> Self {
        self.0.explicit_cas = Some(cas);
        self
    }

    /// If the item's number is higher than the one [compared](Self::compare) with, stores all the
    /// same and marks the item stale.
    pub fn invalidate(mut self) -> Self {
        self.0.invalidate = true;
        self
    }

    /// Tells the item's new CAS number.
    pub fn return_cas(mut self) -> Self {
        self.0.return_cas = true;
        self
    }
}

/// How [`Client::meta_delete`](crate::Client::meta_delete) removes.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct MetaDelete(pub(crate) MetaOptions<'static>);

impl MetaDelete {
    /// Whatever is there, at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the item still has this number.
    pub fn compare(mut self, cas: Cas) -> Self {
        self.0.compare = Some(cas);
        self
    }

    /// Marks the item as stale instead, for this long: the next who asks is to make it anew, and
    /// has the old value until then.
    pub fn invalidate(mut self, ttl: Ttl) -> Self {
        self.0.invalidate = true;
        self.0.exptime = Some(exptime(ttl));
        self
    }

    /// Removes the value and the flags, and leaves the item.
    pub fn remove_value(mut self) -> Self {
        self.0.remove_value = true;
        self
    }

    /// The item's new number, where it stays.
    pub fn explicit_cas(mut self, cas: Cas) -> Self {
        self.0.explicit_cas = Some(cas);
        self
    }
}

/// How [`Client::meta_count`](crate::Client::meta_count) counts.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct MetaCount(pub(crate) MetaOptions<'static>);

impl MetaCount {
    /// Up, by so much.
    pub fn incr(delta: u64) -> Self {
        Self(MetaOptions {
            return_value: true,
            direction: Arith::Incr,
            delta: Some(delta),
            ..MetaOptions::default()
        })
    }

    /// Down, by so much, and not below 0.
    pub fn decr(delta: u64) -> Self {
        let mut count = Self::incr(delta);
        count.0.direction = Arith::Decr;
        count
    }

    /// Where there is no item, makes one of this number and life span.
    pub fn initial(mut self, number: u64, ttl: Ttl) -> Self {
        self.0.initial = Some(number);
        self.0.vivify = Some(exptime(ttl));
        self
    }

    /// Gives the item a new life span.
    pub fn touch(mut self, ttl: Ttl) -> Self {
        self.0.exptime = Some(exptime(ttl));
        self
    }

    /// Only if the item still has this number.
    pub fn compare(mut self, cas: Cas) -> Self {
        self.0.compare = Some(cas);
        self
    }

    /// Tells the life span that is left and the new CAS number.
    pub fn facts(mut self) -> Self {
        self.0.return_ttl = true;
        self.0.return_cas = true;
        self
    }
}

/// What a meta command told of an item: what was asked for, and nothing else.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetaItem {
    /// The value.
    pub value: Option<Bytes>,
    /// The client's flags.
    pub flags: Option<ItemFlags>,
    /// The CAS number.
    pub cas: Option<Cas>,
    /// The value's length in bytes.
    pub size: Option<usize>,
    /// What is left to live.
    pub ttl: Option<Ttl>,
    /// Whether it had been fetched before.
    pub is_hit_before: Option<bool>,
    /// How many seconds ago it was last used.
    pub last_access_secs: Option<u32>,
    /// It is this caller's to make anew (`W`): nobody else is told so.
    pub is_won: bool,
    /// The value is old (`X`).
    pub is_stale: bool,
    /// Another caller was told to make it anew (`Z`).
    pub is_being_made: bool,
}

impl MetaItem {
    fn read(meta: &MetaResponse<'_>) -> Self {
        Self {
            value: meta.value.map(Bytes::copy_from_slice),
            flags: meta.flags(),
            cas: meta.cas(),
            size: meta.size(),
            ttl: meta.ttl().map(|secs| match u32::try_from(secs) {
                Ok(secs) => Ttl::secs(secs),
                Err(_) => Ttl::NEVER,
            }),
            is_hit_before: meta.is_hit_before(),
            last_access_secs: meta.last_access(),
            is_won: meta.is_won(),
            is_stale: meta.is_stale(),
            is_being_made: meta.is_token_sent(),
        }
    }
}

/// What became of a meta command, before it is known which it was.
#[derive(Debug)]
pub(crate) struct MetaAnswer {
    pub(crate) status: MetaStatus,
    pub(crate) item: MetaItem,
}

impl MetaAnswer {
    pub(crate) fn read(meta: &MetaResponse<'_>) -> Self {
        Self { status: meta.status, item: MetaItem::read(meta) }
    }
}

/// What became of a [`meta_set`](crate::Client::meta_set).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetaStored {
    /// As with the other commands that store.
    pub outcome: Stored,
    /// The item's new CAS number, if it was asked for.
    pub cas: Option<Cas>,
}

/// What became of a [`meta_count`](crate::Client::meta_count).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MetaCounted {
    /// It was counted.
    Number {
        /// The new number.
        number: u64,
        /// What was [asked for](MetaCount::facts) besides.
        item: MetaItem,
    },
    /// There is no item.
    NotFound,
    /// The item's CAS number is another.
    Exists,
    /// The item to be made could not be stored.
    NotStored,
}
