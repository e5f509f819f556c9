//! The operations behind the meta commands: each decides everything about an item, its staleness
//! and the right to recache it included, in one visit under its key's lock.

use nuthatch_types::{Arith, Cas, Deleted, ItemFlags, Key, Ttl, arith};

use super::alloc::Caller;
use super::writer::Writer;
use super::{Cause, Count, Counted, Extent, Inner, Item, Missed, Store};
use super::{closures, decimal, miss_counter};
use crate::arena::ItemId;
use crate::counters::{ClassCounter, Counter};
use crate::item::{Birth, FETCHED, STALE, TOKEN_SENT};

/// What `mg` asks for beside the value.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetaGet {
    /// Do not mark the item read (`u`).
    pub no_bump: bool,
    /// Make an empty item on a miss, with this life span; whoever made it has won (`N`).
    pub vivify: Option<Ttl>,
    /// One reader of an item with less than this left has won (`R`).
    pub recache: Option<Ttl>,
    /// `T` stands before `R`: the new life span counts.
    pub recache_after_touch: bool,
    /// Give the item this life span (`T`).
    pub touch: Option<Ttl>,
    /// `N` stands behind `T`: an item made on a miss keeps the life span of `N`.
    pub vivify_after_touch: bool,
    /// The CAS number of an item made on a miss (`E`).
    pub cas: Option<Cas>,
    /// The key came in base64 (`b`); remembered for an item made on a miss.
    pub key_is_binary: bool,
}

/// An item's standing, as it was before this command, and what the command changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetaHit {
    /// It had been read before (`h`).
    pub was_fetched: bool,
    /// Seconds since it was last stored or bumped (`l`).
    pub last_access_secs: u32,
    /// Seconds it had left, `None` for ever; for an item that this command made, what it was made
    /// with.
    pub ttl_before: Option<u32>,
    /// Seconds it has left now, `None` for ever.
    pub ttl_after: Option<u32>,
    /// This command made it (`N`).
    pub was_made: bool,
    /// Why there was nothing before, where this command made it.
    pub missed: Option<Missed>,
    /// It is out of date (`X`).
    pub is_stale: bool,
    /// Somebody else has won it before (`Z`).
    pub was_won: bool,
    /// The one who asks is to recache it (`W`).
    pub has_won: bool,
}

/// What `md` asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetaDelete {
    /// Only an item with this CAS number (`C`).
    pub compare: Option<Cas>,
    /// Mark it stale instead of removing it (`I`).
    pub mark_stale: bool,
    /// Leave an empty value in its place (`x`).
    pub remove_value: bool,
    /// The life span of what is marked or left (`T`); an empty value without one never expires.
    pub ttl: Option<Ttl>,
    /// The CAS number of what is marked or left (`E`).
    pub cas: Option<Cas>,
    /// The flags of an empty value (`F`).
    pub flags: ItemFlags,
}

/// The outcome of `md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetaDeleted {
    /// What became of the item.
    pub deleted: Deleted,
    /// The item there was before.
    pub before: Result<Extent, Missed>,
    /// The item that is there now: the one marked stale, or the empty one.
    pub after: Option<Extent>,
}

/// What `ma` asks for.
#[derive(Clone, Copy, Debug)]
pub struct MetaArith {
    /// Up or down (`M`).
    pub direction: Arith,
    /// By how much (`D`).
    pub delta: u64,
    /// Only an item with this CAS number; 0 compares with nothing (`C`).
    pub compare: Option<Cas>,
    /// Make an item on a miss: its life span and its number (`N`, `J`).
    pub vivify: Option<(Ttl, u64)>,
    /// Give the item this life span (`T`).
    pub touch: Option<Ttl>,
    /// `N` stands behind `T`: an item made on a miss keeps the life span of `N`.
    pub vivify_after_touch: bool,
    /// The CAS number the item gets, instead of the next one (`E`).
    pub cas: Option<Cas>,
    /// The key came in base64 (`b`); remembered for an item made on a miss.
    pub key_is_binary: bool,
}

impl Default for MetaArith {
    fn default() -> Self {
        Self {
            direction: Arith::Incr,
            delta: 1,
            compare: None,
            vivify: None,
            touch: None,
            vivify_after_touch: false,
            cas: None,
            key_is_binary: false,
        }
    }
}

/// The outcome of `ma`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MetaNumber {
    /// The number and CAS, or what stood in the way.
    pub counted: Counted,
    /// Seconds the item had left, `None` for ever; if this command made it, what it was made with.
    pub ttl_before: Option<u32>,
    /// Seconds it has left now, `None` for ever.
    pub ttl_after: Option<u32>,
    /// This command made it.
    pub was_made: bool,
    /// The item there was before.
    pub before: Result<Extent, Missed>,
}

impl Store {
    /// `mg`: looks an item up, or makes one, and calls `f` with it and its standing. As for
    /// [`get`](Self::get), `f` runs under the lock of the item's shard and must not call the store.
    ///
    /// # Errors
    ///
    /// [`Missed`] where there is no item, and none was made.
    pub fn meta_get<R>(
        &self,
        key: Key<'_>,
        ask: MetaGet,
        f: impl FnOnce(Item<'_>, MetaHit) -> R,
    ) -> Result<R, Missed> {
        let inner = &*self.inner;
        let items = &inner.items;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let clock = inner.clock.read();
        let stamp = inner.stamp();
        let mut was_made = false;
        let found = inner.find_live(shard, hash, key);
        let mut make = || {
            let ttl = ask.vivify?;
            let birth = Birth {
                key: key.as_bytes(),
                flags: ItemFlags(0),
                expiry: 0,
                value_len: 0,
                key_is_binary: ask.key_is_binary,
            };
            let id = Writer::new(inner, birth, Caller::HoldsShard).ok()?.into_id();
            // The deadline is set here, where it decides the item's queue.
            items.set_expiry(id, ttl.deadline(clock));
            let cas = inner.cas_or_next(ask.cas);
            was_made = inner.link(shard, hash, id, cas, stamp);
            was_made.then_some(id)
        };
        let id = found.or_else(|missed| make().ok_or(missed)).inspect_err(|_| {
            // Whether it was to touch is not looked at, as in memcached.
            inner.counters.add_both(Counter::Gets, Counter::GetMisses);
        })?;
        inner.counters.add(if ask.touch.is_some() { Counter::Touches } else { Counter::Gets });
        let mut hit = inner.standing(id);
        let expiry_before = items.expiry(id);
        if let Some(ttl) = ask.touch {
            if !(was_made && ask.vivify_after_touch) {
                inner.set_deadline(id, ttl.deadline(clock));
            }
            inner.counters.add_class(inner.lru_class(id).idx(), ClassCounter::TouchHits);
        } else {
            inner.count_hit(id);
        }
        hit.ttl_after = inner.ttl_left(items.expiry(id));
        if was_made {
            hit.was_made = true;
            hit.missed = found.err();
            hit.has_won = true;
        } else if let Some(threshold) = ask.recache {
            let expiry = if ask.recache_after_touch { items.expiry(id) } else { expiry_before };
            hit.has_won = !hit.was_won && expiry != 0 && expiry < threshold.deadline(clock);
        }
        // A stale item is won by the first who sees it.
        hit.has_won |= hit.is_stale && !hit.was_won;
        if hit.has_won {
            items.set_state(id, TOKEN_SENT);
        }
        let item = Item::new(&self.inner, items.view(id, shard));
        let result = closures::lend(&inner.index, || f(item, hit));
        if !ask.no_bump {
            inner.bump(shard, id, hash, stamp);
        }
        Ok(result)
    }

    /// `md`: removes an item, marks it stale, or leaves an empty one in its place.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoMemory`](crate::StoreError::NoMemory) where there is none for the empty one;
    /// the item stays as it was.
    pub fn meta_delete(
        &self,
        key: Key<'_>,
        ask: MetaDelete,
    ) -> Result<MetaDeleted, crate::StoreError> {
        let inner = &*self.inner;
        let items = &inner.items;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let stamp = inner.stamp();
        let found = inner.find_live(shard, hash, key);
        let before = found.map(|id| inner.extent(items.view(id, shard)));
        let refuse = |deleted| {
            inner.counters.add(Counter::DeleteMisses);
            Ok(MetaDeleted { deleted, before, after: None })
        };
        let Ok(mut id) = found else { return refuse(Deleted::NotFound) };
        if ask.compare.is_some_and(|compare| compare != items.cas(id)) {
            return refuse(Deleted::Exists);
        }
        let deadline = ask.ttl.map(|ttl| ttl.deadline(inner.clock.read()));
        if ask.remove_value {
            let birth = Birth {
                key: key.as_bytes(),
                flags: ask.flags,
                expiry: deadline.unwrap_or(0),
                value_len: 0,
                key_is_binary: items.view(id, shard).key_is_binary(),
            };
            let empty = Writer::new(inner, birth, Caller::HoldsShard)?.into_id();
            let cas = ask.cas.filter(|cas| cas.0 != 0).unwrap_or_else(|| items.cas(id));
            inner.relink(shard, hash, id, empty, cas, stamp);
            id = empty;
        }
        let is_left = ask.remove_value || ask.mark_stale;
        let after = is_left.then(|| inner.extent(items.view(id, shard)));
        let done = MetaDeleted { deleted: Deleted::Deleted, before, after };
        if ask.mark_stale {
            if let Some(deadline) = deadline {
                inner.set_deadline(id, deadline);
            }
            items.set_state(id, STALE);
            // Whoever reads it next may win it.
            items.clear_state(id, TOKEN_SENT);
            items.set_cas(id, inner.cas_or_next(ask.cas));
            return Ok(done);
        }
        inner.counters.add_class(inner.lru_class(id).idx(), ClassCounter::DeleteHits);
        if !ask.remove_value {
            inner.unlink(shard, hash, id, Cause::Deleted);
        }
        Ok(done)
    }

    /// `ma`: counts an item up or down, or makes one.
    pub fn meta_count(&self, key: Key<'_>, ask: MetaArith) -> MetaNumber {
        let inner = &*self.inner;
        let items = &inner.items;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        let clock = inner.clock.read();
        let Count { mut counted, mut id, before } =
            inner.count(shard, hash, key, ask.direction, ask.delta, ask.compare, ask.cas);
        let mut was_made = false;
        if counted == Counted::NotFound {
            match ask.vivify {
                None => inner.counters.add(miss_counter(ask.direction)),
                Some((ttl, initial)) => {
                    let mut digits = [0; arith::DIGITS_MAX];
                    let digits = decimal(initial, &mut digits);
                    let birth = Birth {
                        key: key.as_bytes(),
                        flags: ItemFlags(0),
                        expiry: ttl.deadline(clock),
                        value_len: digits.len(),
                        key_is_binary: ask.key_is_binary,
                    };
                    counted = Counted::NoMemory;
                    if let Ok(mut writer) = Writer::new(inner, birth, Caller::HoldsShard)
                        && writer.write(digits).is_ok()
                    {
                        let new = writer.into_id();
                        let cas = inner.cas_or_next(ask.cas);
                        if inner.link(shard, hash, new, cas, inner.stamp()) {
                            counted = Counted::Value(initial, items.cas(new));
                            id = Some(new);
                            was_made = true;
                        }
                    }
                }
            }
        }
        let Some(id) = id else {
            return MetaNumber { counted, ttl_before: None, ttl_after: None, was_made, before };
        };
        let ttl_before = inner.ttl_left(items.expiry(id));
        if let Some(ttl) = ask.touch
            && !(was_made && ask.vivify_after_touch)
        {
            inner.set_deadline(id, ttl.deadline(clock));
        }
        let ttl_after = inner.ttl_left(items.expiry(id));
        MetaNumber { counted, ttl_before, ttl_after, was_made, before }
    }
}

impl Inner {
    /// Seconds until a deadline; `None` for never.
    fn ttl_left(&self, expiry: u32) -> Option<u32> {
        (expiry != 0).then(|| expiry.saturating_sub(self.clock.now()))
    }

    /// How an item stands before anything is done to it; the caller holds its shard lock.
    pub(crate) fn standing(&self, id: ItemId) -> MetaHit {
        let state = self.items.state(id);
        let ttl = self.ttl_left(self.items.expiry(id));
        MetaHit {
            was_fetched: state & FETCHED != 0,
            last_access_secs: self.clock.now().saturating_sub(self.items.time(id)),
            ttl_before: ttl,
            ttl_after: ttl,
            was_made: false,
            missed: None,
            is_stale: state & STALE != 0,
            was_won: state & TOKEN_SENT != 0,
            has_won: false,
        }
    }
}
