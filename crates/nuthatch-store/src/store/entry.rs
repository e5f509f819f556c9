//! Read, decide and write in one visit under a key's lock.

use nuthatch_types::{Cas, Key, Ttl};

use super::alloc::Caller;
use super::guard::Item;
use super::write::NewItem;
use super::writer::Writer;
use super::{Cause, Inner, Store, closures};
use crate::StoreError;
use crate::arena::ItemId;
use crate::counters::{ClassCounter, Counter};
use crate::item::Birth;

/// A key and the item it has, if it has one, for the closure of [`Store::update`] to decide upon:
/// each method but [`item`](Self::item) and [`key`](Self::key) is a decision, and ends the visit.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    inner: &'a Inner,
    key: Key<'a>,
    item: Option<Item<'a>>,
}

/// What is to become of an entry; made by the methods of [`Entry`].
#[derive(Debug)]
#[must_use = "the closure of `update` returns it"]
pub struct Update<'a>(Decision<Result<Writer<&'a Inner>, StoreError>>);

#[derive(Debug)]
enum Decision<P> {
    Keep,
    Remove,
    Touch(Ttl),
    Put(P),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "these follow from what can be decided")]
pub enum Updated {
    /// There was no item, and there is none: to keep, to touch or to remove it did nothing.
    Absent,
    /// The item stays as it is; its CAS number.
    Kept(Cas),
    /// The item has a new life span; its CAS number, which stays.
    Touched(Cas),
    /// The item is gone.
    Removed,
    /// There was no item, and there is one now; its CAS number.
    Inserted(Cas),
    /// The item has been replaced; the new one's CAS number.
    Replaced(Cas),
}

impl Updated {
    /// The CAS number of the item there is now; 0 in a store without CAS.
    pub fn cas(self) -> Option<Cas> {
        match self {
            Self::Absent | Self::Removed => None,
            Self::Kept(cas) | Self::Touched(cas) | Self::Inserted(cas) | Self::Replaced(cas) => {
                Some(cas)
            }
        }
    }
}

impl<'a> Entry<'a> {
    /// The key.
    pub fn key(&self) -> Key<'a> {
        self.key
    }

    /// The item there is.
    pub fn item(&self) -> Option<Item<'a>> {
        self.item
    }

    /// Leaves everything as it is, and the item marked read.
    pub fn keep(self) -> Update<'a> {
        Update(Decision::Keep)
    }

    /// Removes the item, if there is one.
    pub fn remove(self) -> Update<'a> {
        Update(Decision::Remove)
    }

    /// Gives the item, if there is one, a new life span.
    pub fn touch(self, ttl: Ttl) -> Update<'a> {
        Update(Decision::Touch(ttl))
    }

    /// Puts a new item in place of the old one, or of none, with flags and life span as given.
    /// The bytes are copied to where they will lie, there and then.
    pub fn put(self, value: impl AsRef<[u8]>, item: impl Into<NewItem>) -> Update<'a> {
        self.put_pieces([value.as_ref()], item)
    }

    /// As [`put`](Self::put), with a value that is the sum of its pieces; those of the old item
    /// ([`ItemView::pieces`](crate::ItemView::pieces)) may be among them.
    pub fn put_pieces<'p>(
        self,
        pieces: impl IntoIterator<Item = &'p [u8], IntoIter: Clone>,
        item: impl Into<NewItem>,
    ) -> Update<'a> {
        let pieces = pieces.into_iter();
        let birth = self.inner.birth(self.key, item.into(), pieces.clone().map(<[u8]>::len).sum());
        self.write(pieces, birth)
    }

    /// Puts a new value in place of the old one. Flags and life span stay as they were; where there
    /// was no item, the new one has no flags and lives for ever.
    pub fn replace(self, value: impl AsRef<[u8]>) -> Update<'a> {
        let value = value.as_ref();
        let mut birth = self.inner.birth(self.key, NewItem::default(), value.len());
        if let Some(item) = self.item {
            birth.flags = item.flags();
            birth.key_is_binary = item.key_is_binary();
            birth.expiry = self.inner.items.expiry(item.id());
        }
        self.write([value].into_iter(), birth)
    }

    fn write<'p>(self, pieces: impl Iterator<Item = &'p [u8]>, birth: Birth<'_>) -> Update<'a> {
        let write = || {
            let mut writer = Writer::for_set(self.inner, birth, Caller::HoldsShard)?;
            for piece in pieces {
                writer.write(piece)?;
            }
            Ok(writer)
        };
        Update(Decision::Put(write()))
    }
}

impl Decision<Result<Writer<&Inner>, StoreError>> {
    /// Lets go of everything that is borrowed from the visit.
    fn settle(self) -> Result<Decision<ItemId>, StoreError> {
        Ok(match self {
            Self::Keep => Decision::Keep,
            Self::Remove => Decision::Remove,
            Self::Touch(ttl) => Decision::Touch(ttl),
            Self::Put(written) => Decision::Put(written?.into_id()),
        })
    }
}

impl Store {
    /// Looks a key up, calls `f` with what is there, and does what `f` decides, all under the
    /// key's lock: nobody sees or does anything in between.
    ///
    /// `f` must not call the store, and should be quick: others wait for keys of the same shard.
    /// It builds a new value where it likes (on its stack, say) and copies it to its place by the
    /// method that it ends with. If it panics, nothing has changed.
    ///
    /// Counts as a [`get`](Self::get), and beside that as the [`set`](Self::set),
    /// [`delete`](Self::delete) or [`touch`](Self::touch) that comes of it.
    ///
    /// # Errors
    ///
    /// When a new value is too large or there is no memory for it, as for [`set`](Self::set); the
    /// old item stays.
    ///
    /// # Examples
    ///
    /// A limit of three, a counter in 4 bytes, and taking an item out:
    ///
    /// ```
    /// use nuthatch_store::{Store, Updated, types::{Key, Ttl}};
    ///
    /// let store = Store::builder().build()?;
    /// let key = Key::new("tries")?;
    /// let mut is_allowed = false;
    /// for _ in 0..5 {
    ///     store.update(key, |entry| {
    ///         let tries = entry.item().and_then(|item| item.contiguous()?.try_into().ok());
    ///         let tries = tries.map_or(0, u32::from_be_bytes);
    ///         is_allowed = tries < 3;
    ///         match tries {
    ///             0 => entry.put(1u32.to_be_bytes(), Ttl::secs(60)),
    ///             1 | 2 => entry.replace((tries + 1).to_be_bytes()),
    ///             _ => entry.keep(),
    ///         }
    ///     })?;
    /// }
    /// assert!(!is_allowed);
    ///
    /// let mut taken = None;
    /// let updated = store.update(key, |entry| {
    ///     taken = entry.item().map(|item| item.to_vec());
    ///     entry.remove()
    /// })?;
    /// assert_eq!((updated, taken), (Updated::Removed, Some(vec![0, 0, 0, 3])));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A list that grows at its end, and forgets what is beyond a hundred bytes:
    ///
    /// ```
    /// # use nuthatch_store::{Store, types::{Key, Ttl}};
    /// # let store = Store::builder().build()?;
    /// # let key = Key::new("latest")?;
    /// for name in ["kea", "kaka", "kakapo"] {
    ///     store.update(key, |entry| {
    ///         let old = entry.item().and_then(|item| item.contiguous()).unwrap_or_default();
    ///         let old = &old[old.len().saturating_sub(100)..];
    ///         entry.put_pieces([old, name.as_bytes(), b"\n"], Ttl::NEVER)
    ///     })?;
    /// }
    /// assert_eq!(store.get_vec(key), Some(b"kea\nkaka\nkakapo\n".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update(
        &self,
        key: Key<'_>,
        f: impl FnOnce(Entry<'_>) -> Update<'_>,
    ) -> Result<Updated, StoreError> {
        let inner = &*self.inner;
        let (hash, ref mut shard) = inner.index.lock_key(key.as_bytes());
        inner.counters.add(Counter::Gets);
        let stamp = inner.stamp();
        let old = inner.find_live(shard, hash, key).ok();
        match old {
            Some(id) => inner.count_hit(id),
            None => inner.counters.add(Counter::GetMisses),
        }
        let decision = {
            let item = old.map(|id| Item::new(&self.inner, inner.items.view(id, shard)));
            let entry = Entry { inner, key, item };
            closures::lend(&inner.index, || f(entry)).0.settle()
        };
        let decision = match decision {
            Ok(decision) => decision,
            Err(error) => {
                old.inspect(|&id| inner.bump(shard, id, hash, stamp));
                return Err(error);
            }
        };
        let class_of = |id| inner.lru_class(id).idx();
        Ok(match (decision, old) {
            (Decision::Put(new), None) => {
                let cas = inner.cas_or_next(None);
                if !inner.link(shard, hash, new, cas, stamp) {
                    return Err(StoreError::NoMemory { class: 0 });
                }
                Updated::Inserted(inner.items.cas(new))
            }
            (Decision::Put(new), Some(id)) => {
                let cas = inner.cas_or_next(None);
                inner.relink(shard, hash, id, new, cas, stamp);
                Updated::Replaced(inner.items.cas(new))
            }
            (Decision::Touch(_), None) => {
                inner.counters.add(Counter::Touches);
                inner.counters.add(Counter::TouchMisses);
                Updated::Absent
            }
            (Decision::Touch(ttl), Some(id)) => {
                inner.counters.add(Counter::Touches);
                inner.counters.add_class(class_of(id), ClassCounter::TouchHits);
                inner.bump(shard, id, hash, stamp);
                inner.set_deadline(id, ttl.deadline(inner.clock.read()));
                Updated::Touched(inner.items.cas(id))
            }
            (Decision::Remove, None) => {
                inner.counters.add(Counter::DeleteMisses);
                Updated::Absent
            }
            (Decision::Remove, Some(id)) => {
                inner.counters.add_class(class_of(id), ClassCounter::DeleteHits);
                inner.unlink(shard, hash, id, Cause::Deleted);
                Updated::Removed
            }
            (Decision::Keep, None) => Updated::Absent,
            (Decision::Keep, Some(id)) => {
                inner.bump(shard, id, hash, stamp);
                Updated::Kept(inner.items.cas(id))
            }
        })
    }
}
