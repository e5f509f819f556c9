//! Many keys at once: their memory is fetched together before the first one is looked up.
//!
//! A lookup waits for three lines of memory one after another: the shard, the bucket, the item. In
//! groups, each step is begun for all keys before the next one needs what it brings, so that the
//! waits of a group pass at the same time; then the lookups themselves find everything near.

use nuthatch_types::{Key, Ttl};

use super::{Item, Missed, Store};
use crate::index::Hash;

/// Keys whose memory is fetched together: more than a core has fetches under way at once (10 to
/// 16), and few enough for a first-level cache to keep what was fetched.
const GROUP: usize = 16;

/// Cache lines of an item that are fetched: the header, a key, and the beginning of the value.
const ITEM_LINES: usize = 3;

/// A group of keys, each with its hash.
type Group<'k> = [Option<(Key<'k>, Hash)>; GROUP];

impl Store {
    /// Looks several items up: [`get`](Self::get) for one key after another, in their order, but
    /// about twice as fast where the items are many and memory is slow.
    ///
    /// `f` is called for each key, with the item or why there is none. As for [`get`](Self::get), it
    /// runs under the lock of that item's shard and must not call the store.
    ///
    /// ```
    /// use nuthatch_store::{Missed, Set, Store, types::Key};
    ///
    /// let store = Store::builder().build()?;
    /// store.set(Key::new("a")?, b"1", Set::default())?;
    /// let keys = [Key::new("a")?, Key::new("b")?];
    /// let mut found = Vec::new();
    /// store.get_many(keys, |key, item| found.push((key, item.map(|item| item.to_vec()))));
    /// assert_eq!(found, [(keys[0], Ok(b"1".to_vec())), (keys[1], Err(Missed::NotFound))]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<'k>(
        &self,
        keys: impl IntoIterator<Item = Key<'k>>,
        mut f: impl FnMut(Key<'k>, Result<Item<'_>, Missed>),
    ) {
        self.for_each_near(keys, 2, |key, hash| {
            let found = self.lookup_hashed(hash, key, |item| f(key, Ok(item)));
            found.unwrap_or_else(|missed| f(key, Err(missed)));
        });
    }

    /// Looks several items up and gives each a new life span:
    /// [`get_and_touch`](Self::get_and_touch) as [`get_many`](Self::get_many) does it.
    pub fn get_many_and_touch<'k>(
        &self,
        keys: impl IntoIterator<Item = Key<'k>>,
        ttl: Ttl,
        mut f: impl FnMut(Key<'k>, Result<Item<'_>, Missed>),
    ) {
        self.for_each_near(keys, 2, |key, hash| {
            let found = self.lookup_and_touch_hashed(hash, key, ttl, |item| f(key, Ok(item)));
            found.unwrap_or_else(|missed| f(key, Err(missed)));
        });
    }

    /// Fetches what the store knows of some keys into the processor's cache, for operations on
    /// them that follow soon; has no other effect. More than some sixteen keys at a time push out
    /// what was fetched first.
    pub fn prefetch<'k>(&self, keys: impl IntoIterator<Item = Key<'k>>) {
        self.for_each_near(keys, 1, |_, _| ());
    }

    /// Calls `f` with each key, when the memory of its group has been asked for: of groups of
    /// `n_keys_min` or more, since a key alone has nobody to share its waits with.
    #[inline]
    fn for_each_near<'k>(
        &self,
        keys: impl IntoIterator<Item = Key<'k>>,
        n_keys_min: usize,
        mut f: impl FnMut(Key<'k>, Hash),
    ) {
        let index = &self.inner.index;
        let mut keys = keys.into_iter().fuse();
        loop {
            let mut group: Group<'k> = [None; GROUP];
            let mut n_keys = 0;
            for (place, key) in group.iter_mut().zip(&mut keys) {
                let hash = index.hash(key.as_bytes());
                index.prefetch_shard(hash);
                *place = Some((key, hash));
                n_keys += 1;
            }
            let group = &group[..n_keys];
            if n_keys >= n_keys_min {
                self.prefetch_hashes(group);
            }
            group.iter().flatten().for_each(|&(key, hash)| f(key, hash));
            if n_keys < GROUP {
                return;
            }
        }
    }

    fn prefetch_hashes(&self, group: &[Option<(Key<'_>, Hash)>]) {
        let inner = &*self.inner;
        let hashes = || group.iter().flatten().map(|&(_, hash)| hash);
        hashes().for_each(|hash| inner.index.prefetch_bucket(hash));
        hashes().for_each(|hash| inner.index.prefetch_item(&inner.items, hash, ITEM_LINES));
    }
}
