//! Storing: reserve a place, fill it, commit it under the key's lock.

use std::sync::Arc;

use nuthatch_types::{Cas, ItemFlags, Key, StoreMode, Stored, Ttl};

use super::alloc::{Caller, Draft};
use super::writer::Writer;
use super::{Extent, Inner, Missed, Store};
use crate::StoreError;
use crate::arena::ItemId;
use crate::counters::{ClassCounter, Counter};
use crate::index::{Hash, ShardGuard};
use crate::item::{Birth, ItemView, STALE, Sole, TOKEN_SENT};

/// How to store a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set {
    /// How to store it.
    pub mode: StoreMode,
    /// The client's flags.
    pub flags: ItemFlags,
    /// The life span.
    pub ttl: Ttl,
    /// Store only over an item with this CAS number.
    pub compare: Option<Cas>,
}

/// What an item is made with, besides its key and value.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewItem {
    /// The client's flags.
    pub flags: ItemFlags,
    /// The life span.
    pub ttl: Ttl,
    /// The key came in base64: the item remembers it, and meta commands show the key so.
    pub key_is_binary: bool,
}

/// An item without flags, with this life span.
impl From<Ttl> for NewItem {
    fn from(ttl: Ttl) -> Self {
        Self { ttl, ..Self::default() }
    }
}

/// On what terms a written value takes its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commit {
    /// How to store it.
    pub mode: StoreMode,
    /// Store only over an item with this CAS number. With [`StoreMode::Add`] it has no effect;
    /// with [`StoreMode::Append`] and [`StoreMode::Prepend`] 0 compares with nothing.
    pub compare: Option<Cas>,
    /// A number lower than the item's also does, but leaves the item stale and its life span as it
    /// was (`ms` with `I`).
    pub allow_stale: bool,
    /// The CAS number the item gets, instead of the next one (`E`); 0 is as good as none.
    pub cas: Option<Cas>,
    /// [`StoreMode::Append`] and [`StoreMode::Prepend`] make an item where there is none (`N`).
    pub vivify: bool,
}

/// What became of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Committed {
    /// The outcome.
    pub stored: Stored,
    /// The CAS number of the item stored; 0 if none was.
    pub cas: Cas,
    /// The length of the value that is now stored, in bytes, or of the one that was not: after an
    /// append that is the sum.
    pub len: usize,
    /// The slab class of the item with that value.
    pub class: u8,
    /// The item there was before.
    pub before: Result<Extent, Missed>,
}

/// A place for a value that is still arriving; made by [`Store::reserve`].
///
/// Write through [`space`](Self::space) and [`filled`](Self::filled), as one reads from a socket,
/// or by [`write`](Self::write); then [`commit`](Self::commit). Nobody sees the value before that;
/// dropping the reservation gives the memory back.
#[derive(Debug)]
pub struct Reservation {
    writer: Writer<Arc<Inner>>,
    hash: Hash,
}

impl Reservation {
    /// The next contiguous place for value bytes, 1 byte to a chunk; empty when the value is
    /// complete.
    ///
    /// A value above the largest chunk takes its memory as it arrives. If there is none, the place
    /// is empty although bytes are [`left`](Self::left), and [`commit`](Self::commit) reports it.
    pub fn space(&mut self) -> &mut [u8] {
        self.writer.space()
    }

    /// Says that the first `n` bytes of [`space`](Self::space) are written.
    ///
    /// # Panics
    ///
    /// If `n` is more than was given. (Bytes that were given and not written are whatever was in
    /// that memory before.)
    pub fn filled(&mut self, n: usize) {
        self.writer.filled(n);
    }

    /// Writes bytes of the value.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoMemoryForRest`] when the memory for a long value runs out.
    ///
    /// # Panics
    ///
    /// If they are more than the value's length that was reserved.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.writer.write(bytes)
    }

    /// How many bytes of the value are still to be written.
    pub fn left(&self) -> usize {
        self.writer.left()
    }

    /// Puts the value in its place.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoMemoryForRest`] when the memory for a long value ran out while it was
    /// written, [`StoreError::NoMemory`] when the index could not grow.
    ///
    /// # Panics
    ///
    /// If the value is not complete.
    pub fn commit(self, commit: Commit) -> Result<Committed, StoreError> {
        let Self { writer, hash } = self;
        if let Some(error) = writer.failure() {
            return Err(error);
        }
        assert_eq!(writer.left(), 0, "a value is committed when all of it is written");
        let store = Arc::clone(writer.store_handle());
        store.commit(writer.into_id(), hash, commit)
    }
}

impl Store {
    /// Stores a value.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve) and [`Reservation::commit`]. An old item of that key is left
    /// alone; [`discard`](Self::discard) it where the old value must not outlive the failure.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::{Key, Stored}};
    /// # let store = Store::builder().build()?;
    /// let key = Key::new("page")?;
    /// let first = store.set(key, b"one", Set::default())?;
    /// // Only if nobody has stored anything since.
    /// let compare = Set { compare: Some(first.cas), ..Set::default() };
    /// assert_eq!(store.set(key, b"two", compare)?.stored, Stored::Stored);
    /// assert_eq!(store.set(key, b"three", compare)?.stored, Stored::Exists);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set(&self, key: Key<'_>, value: &[u8], set: Set) -> Result<Committed, StoreError> {
        let item = NewItem { flags: set.flags, ttl: set.ttl, key_is_binary: false };
        let commit = Commit { mode: set.mode, compare: set.compare, ..Commit::default() };
        self.put(key, value, item, commit)
    }

    /// Stores a value on any terms: [`set`](Self::set) with everything the meta commands add.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn put(
        &self,
        key: Key<'_>,
        value: &[u8],
        item: NewItem,
        commit: Commit,
    ) -> Result<Committed, StoreError> {
        let inner = &*self.inner;
        let birth = inner.birth(key, item, value.len());
        let hash = inner.index.hash(key.as_bytes());
        if let Some(done) = inner.overwrite(&birth, hash, value, commit) {
            return Ok(done);
        }
        let mut writer = Writer::for_set(inner, birth, Caller::Free)?;
        writer.write(value)?;
        inner.commit(writer.into_id(), hash, commit)
    }

    /// Takes memory for a value of `len` bytes that is to be written piece by piece.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLarge`] or [`StoreError::NoMemory`].
    ///
    /// ```
    /// # use std::io::Read;
    /// # use nuthatch_store::{Commit, NewItem, Store, types::{Key, Ttl}};
    /// # let store = Store::builder().build()?;
    /// let mut source: &[u8] = b"a value that arrives in pieces";
    /// let key = Key::new("upload")?;
    /// let mut place = store.reserve(key, NewItem::from(Ttl::secs(60)), source.len())?;
    /// while place.left() > 0 {
    ///     let n = source.read(place.space())?;
    ///     if n == 0 {
    ///         break; // out of memory, or of source
    ///     }
    ///     place.filled(n);
    /// }
    /// place.commit(Commit::default())?;
    /// assert_eq!(store.get_vec(key).map(|value| value.len()), Some(30));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(
        &self,
        key: Key<'_>,
        item: NewItem,
        len: usize,
    ) -> Result<Reservation, StoreError> {
        let birth = self.inner.birth(key, item, len);
        let writer = Writer::for_set(Arc::clone(&self.inner), birth, Caller::Free)?;
        let hash = self.inner.index.hash(key.as_bytes());
        Ok(Reservation { writer, hash })
    }
}

impl Inner {
    pub(crate) fn birth<'a>(&self, key: Key<'a>, item: NewItem, value_len: usize) -> Birth<'a> {
        Birth {
            key: key.as_bytes(),
            flags: item.flags,
            expiry: item.ttl.deadline(self.clock.read()),
            value_len,
            key_is_binary: item.key_is_binary,
        }
    }

    /// Decides under the key's lock what becomes of a written item; takes it over. `hash` is its
    /// key's.
    pub(crate) fn commit(
        &self,
        new: ItemId,
        hash: Hash,
        commit: Commit,
    ) -> Result<Committed, StoreError> {
        let items = &self.items;
        let owner = Sole;
        let view = items.view(new, &owner);
        let len = view.len();
        let key = Key::binary(view.key()).expect("items have keys");
        let shard = &mut self.index.lock(hash);
        let stamp = self.stamp();
        // Frees the new item should a listener panic at the old one's end.
        let draft = Draft::new(self, new);
        let old = self.find_live(shard, hash, key);
        let new = draft.into_id();
        let before = old.map(|old| self.extent(items.view(old, shard)));
        let class = self.lru_class(new).number();
        let refuse = |stored| {
            self.drop_ref(new);
            Ok(Committed { stored, cas: Cas(0), len, class, before })
        };
        let is_concat = matches!(commit.mode, StoreMode::Append | StoreMode::Prepend);
        let Ok(old) = old else {
            let stored = match commit.mode {
                StoreMode::Set | StoreMode::Replace if commit.compare.is_some() => {
                    self.counters.add(Counter::CasMisses);
                    Stored::NotFound
                }
                StoreMode::Set | StoreMode::Add => Stored::Stored,
                _ if is_concat && commit.vivify => Stored::Stored,
                _ => Stored::NotStored,
            };
            if stored != Stored::Stored {
                return refuse(stored);
            }
            let cas = self.cas_or_next(commit.cas);
            if !self.link(shard, hash, new, cas, stamp) {
                return Err(StoreError::NoMemory { class: 0 });
            }
            return Ok(Committed { stored, cas: items.cas(new), len, class, before });
        };
        let (mut new, mut len, mut class) = (new, len, class);
        match commit.mode {
            StoreMode::Add => {
                // Somebody wanted it: the old item is bumped.
                self.update(shard, old, stamp);
                return refuse(Stored::NotStored);
            }
            StoreMode::Set | StoreMode::Replace => {
                if let Some(compare) = commit.compare {
                    let class = self.lru_class(old).idx();
                    let old_cas = items.cas(old);
                    let is_stale = commit.allow_stale && compare.0 != 0 && compare.0 < old_cas.0;
                    if compare.0 == 0 || (compare != old_cas && !is_stale) {
                        self.counters.add_class(class, ClassCounter::CasBadval);
                        return refuse(Stored::Exists);
                    }
                    self.counters.add_class(class, ClassCounter::CasHits);
                    if is_stale {
                        items.set_expiry(new, items.expiry(old));
                        items.set_state(new, STALE | items.state(old) & TOKEN_SENT);
                    }
                }
            }
            StoreMode::Append | StoreMode::Prepend => {
                // Without CAS numbers there is nothing to compare with.
                let differs =
                    |compare: Cas| self.config.cas && compare.0 != 0 && compare != items.cas(old);
                if commit.compare.is_some_and(differs) {
                    return refuse(Stored::Exists);
                }
                let joined = self.concat(shard, old, new, commit.mode);
                self.drop_ref(new);
                let Some((id, joined_len)) = joined else {
                    let stored = Stored::NotStored;
                    return Ok(Committed { stored, cas: Cas(0), len, class, before });
                };
                new = id;
                len = joined_len;
                class = self.lru_class(new).number();
            }
        }
        let cas = self.cas_or_next(commit.cas);
        self.relink(shard, hash, old, new, cas, stamp);
        Ok(Committed { stored: Stored::Stored, cas: items.cas(new), len, class, before })
    }

    /// Makes an item of two values, with the key, flags and life span of the old one. The caller
    /// holds the shard lock of `old` and owns `added`. `None` when it would be too large or there
    /// is no memory.
    fn concat(
        &self,
        shard: &ShardGuard<'_>,
        old: ItemId,
        added: ItemId,
        mode: StoreMode,
    ) -> Option<(ItemId, usize)> {
        let owner = Sole;
        let (old, added) = (self.items.view(old, shard), self.items.view(added, &owner));
        let len = old.len() + added.len();
        let birth = Birth {
            key: old.key(),
            flags: old.flags(),
            expiry: self.items.expiry(old.id()),
            value_len: len,
            key_is_binary: old.key_is_binary(),
        };
        // Both stay where they are until they have been copied.
        let n_links =
            |view: ItemView<'_>| if view.is_chained() { self.n_links(view.len()).0 } else { 0 };
        if n_links(old) + n_links(added) > 0 {
            let head = self.lru_class(old.id());
            self.check_chain(len, head, Caller::HoldsShard, n_links(old) + n_links(added)).ok()?;
        }
        let mut writer = Writer::new(self, birth, Caller::HoldsShard).ok()?;
        let (first, second) = match mode {
            StoreMode::Prepend => (added, old),
            _ => (old, added),
        };
        for piece in first.pieces().chain(second.pieces()) {
            writer.write(piece).ok()?;
        }
        Some((writer.into_id(), len))
    }
}
