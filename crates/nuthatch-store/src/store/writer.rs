//! Writing an item: a chunk or a chain that nobody else knows of yet, filled from the front.

use std::ops::Deref;

use super::Inner;
use super::alloc::Caller;
use crate::StoreError;
use crate::arena::ItemId;
use crate::counters::{ClassCounter, Counter};
use crate::item::{Birth, Sole};

/// An item being written; freed if it is dropped before it is handed on.
///
/// Chunks of a chain are taken as the value arrives, not before: a client that announces a
/// gigabyte and sends nothing evicts nothing.
#[derive(Debug)]
pub(crate) struct Writer<S: Deref<Target = Inner>> {
    store: S,
    id: ItemId,
    owner: Sole,
    caller: Caller,
    is_owned: bool,
    len: usize,
    filled: usize,
    /// How much of the last space given may still be filled.
    offered: usize,
    chain: Option<Chain>,
}

#[derive(Debug)]
struct Chain {
    /// The link being filled: its chunk, how many bytes it has and how many it can have.
    link: Option<(ItemId, usize, usize)>,
    /// Set when a link could not be had.
    failure: Option<StoreError>,
}

impl<S: Deref<Target = Inner>> Writer<S> {
    /// Begins an item. Takes its chunk, or the head of its chain.
    pub(crate) fn new(store: S, birth: Birth<'_>, caller: Caller) -> Result<Self, StoreError> {
        let (id, is_chained) = store.begin(birth, caller)?;
        Ok(Self::of(store, birth, caller, id, is_chained))
    }

    /// Begins an item for a value that somebody wants to store, and counts that he does, or why he
    /// cannot.
    pub(crate) fn for_set(store: S, birth: Birth<'_>, caller: Caller) -> Result<Self, StoreError> {
        let begun = store.begin(birth, caller);
        let (id, is_chained) = begun.inspect_err(|error| store.count_refusal(*error))?;
        store.counters.add_class(store.lru_class(id).idx(), ClassCounter::Sets);
        Ok(Self::of(store, birth, caller, id, is_chained))
    }

    fn of(store: S, birth: Birth<'_>, caller: Caller, id: ItemId, is_chained: bool) -> Self {
        Self {
            store,
            id,
            owner: Sole,
            caller,
            is_owned: true,
            len: birth.value_len,
            filled: 0,
            offered: 0,
            chain: is_chained.then_some(Chain { link: None, failure: None }),
        }
    }

    /// How the writer holds its store.
    pub(crate) fn store_handle(&self) -> &S {
        &self.store
    }

    /// Bytes still to come.
    pub(crate) fn left(&self) -> usize {
        self.len - self.filled
    }

    /// Why the item cannot be stored, found out while it was being written.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.chain.as_ref()?.failure
    }

    /// The next contiguous place for value bytes; empty when the value is complete, or its rest
    /// has no place ([`failure`](Self::failure)).
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let left = self.left();
        self.offered = 0;
        if left == 0 {
            return &mut [];
        }
        let Some(chain) = &mut self.chain else {
            self.offered = left;
            return &mut self.store.items.value_space(self.id, &self.owner)[self.filled..];
        };
        let is_full = chain.link.is_none_or(|(_, used, capacity)| used == capacity);
        if is_full && chain.failure.is_none() {
            match self.store.alloc_chain_chunk(self.id, left, self.caller) {
                Ok((chunk, capacity)) => {
                    match chain.link {
                        Some((before, ..)) => self.store.items.set_chain_next(before, chunk),
                        None => self.store.items.set_chain(self.id, chunk, &self.owner),
                    }
                    chain.link = Some((chunk, 0, capacity));
                }
                Err(error) => chain.failure = Some(error),
            }
        }
        if chain.failure.is_some() {
            return &mut [];
        }
        let (chunk, used, capacity) = chain.link.expect("a link was taken above");
        let to = capacity.min(used + left);
        self.offered = to - used;
        self.store.items.chain_space(chunk, used, to, &self.owner)
    }

    /// Says that the first `n` bytes of [`space`](Self::space) are written.
    pub(crate) fn filled(&mut self, n: usize) {
        assert!(n <= self.offered, "no more than the space given is written");
        self.offered -= n;
        self.filled += n;
        if let Some(Chain { link: Some((chunk, used, _)), .. }) = &mut self.chain {
            *used += n;
            self.store.items.set_chain_used(*chunk, *used);
        }
    }

    /// Writes bytes of the value; on an error, a part of them.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        assert!(bytes.len() <= self.left(), "no more than the value's length is written");
        while !bytes.is_empty() {
            let space = self.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.filled(n);
            if n == 0 {
                return Err(self.failure().expect("space ends only with the value or the memory"));
            }
        }
        Ok(())
    }

    /// Hands the item on: the caller links it or drops its reference.
    pub(crate) fn into_id(mut self) -> ItemId {
        debug_assert_eq!(self.left(), 0, "an item is linked with all of its value");
        self.is_owned = false;
        self.id
    }
}

impl Inner {
    /// Takes a chunk for an item, or for the head of its chain, and writes all of it but the value;
    /// says whether that is to be chained.
    fn begin(&self, birth: Birth<'_>, caller: Caller) -> Result<(ItemId, bool), StoreError> {
        let (items, ladder) = (&self.items, self.slabs.ladder());
        let bytes = items.total_bytes(birth.key.len(), birth.flags, birth.value_len);
        let limit = self.config.item_size_max;
        if bytes > limit {
            return Err(StoreError::TooLarge { bytes, limit });
        }
        let (class, is_chained) = match ladder.class_for(bytes) {
            Some(class) => (class, false),
            None => {
                let head = items.chain_head_bytes(birth.key.len(), birth.flags);
                let class = ladder.class_for(head);
                (class.expect("a head is below 300 bytes, the largest chunk at least 1 KiB"), true)
            }
        };
        if is_chained {
            self.check_chain(birth.value_len, class, caller, 0)?;
        }
        let id = self.alloc(class, caller)?;
        items.write_new(id, birth, is_chained, &Sole);
        Ok((id, is_chained))
    }

    fn count_refusal(&self, error: StoreError) {
        self.counters.add(match error {
            StoreError::TooLarge { .. } => Counter::TooLarge,
            _ => Counter::NoMemory,
        });
    }
}

impl<S: Deref<Target = Inner>> Drop for Writer<S> {
    fn drop(&mut self) {
        if self.is_owned {
            self.store.drop_ref(self.id);
        }
    }
}
