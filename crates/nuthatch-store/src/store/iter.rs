//! Iteration for those who embed the store.

use std::fmt;

use super::{Dump, DumpItem, ItemGuard, Store};

/// How many items are pinned ahead.
const PINS_AHEAD: usize = 16;

/// How many items [`Store::for_each`] visits before it looks around.
const VISITS: usize = 1024;

impl Store {
    /// Goes through all items, pinning each for as long as the caller keeps it.
    ///
    /// The iterator is weakly consistent: a key that is there from beginning to end comes, with a
    /// value that it had meanwhile; twice where it is stored again or the index grows behind the
    /// iterator's back. One that is stored or removed meanwhile may come or not. It marks nothing
    /// read and counts nothing. Writers wait for it for as long as pinning some 16 items takes, a
    /// microsecond or two; between two items it holds no lock, only these items pinned.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// # let store = Store::builder().memory_limit(64 << 20).build()?;
    /// store.set(Key::new("a")?, b"apple", Set::default())?;
    /// store.set(Key::new("b")?, b"bean", Set::default())?;
    /// let mut values: Vec<Vec<u8>> = store.iter().map(|item| item.view().to_vec()).collect();
    /// values.sort();
    /// assert_eq!(values, [b"apple".to_vec(), b"bean".to_vec()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> Iter {
        Iter { dump: Dump::of_index(&self.inner), ready: Vec::new() }
    }

    /// Calls `f` with every item, where it lies: as [`iter`](Self::iter), without pinning. `f` runs
    /// under the lock of the item's index shard and must not call the store.
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// # let store = Store::builder().memory_limit(64 << 20).build()?;
    /// store.set(Key::new("a")?, b"apple", Set::default())?;
    /// let mut bytes = 0;
    /// store.for_each(|item| bytes += item.len());
    /// assert_eq!(bytes, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&self, mut f: impl FnMut(DumpItem<'_>)) {
        let mut dump = Dump::of_index(&self.inner);
        while dump.next(VISITS, &mut f) {}
    }
}

/// An iterator over all items of a store; made by [`Store::iter`].
pub struct Iter {
    dump: Dump,
    /// Pinned and not given out yet.
    ready: Vec<ItemGuard>,
}

impl Iterator for Iter {
    type Item = ItemGuard;

    fn next(&mut self) -> Option<ItemGuard> {
        let mut has_more = true;
        while self.ready.is_empty() && has_more {
            let ready = &mut self.ready;
            // An item pinned 60,000 times over is passed by.
            has_more = self.dump.next(PINS_AHEAD, |item| ready.extend(item.pin()));
        }
        self.ready.pop()
    }
}

impl IntoIterator for &Store {
    type Item = ItemGuard;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        self.iter()
    }
}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}
