//! The classic commands: `get` to `touch`.

use nuthatch_proto::{Get, Reply, Set};
use nuthatch_store::types::{Arith, Key, StoreMode};
use nuthatch_store::{Commit, Counted, Item, NewItem, Reservation, StoreError};

use super::{Engine, Incoming, ItemPin, ItemSink, NO_MEMORY, NON_NUMERIC, Outgoing, outgoing};
use super::{store_error, value_of};

impl Engine {
    pub(super) fn get(&self, get: Get<'_>, reply: &mut Reply<'_, ItemPin>) {
        for key in get.keys() {
            let mut answer = |item: Item<'_>| {
                let cas = get.with_cas.then(|| item.cas());
                match outgoing(&item) {
                    Outgoing::Copied(value) => reply.value(key, item.flags(), value, cas),
                    Outgoing::Gathered(value) => reply.value(key, item.flags(), &value, cas),
                    Outgoing::Pinned(pin) => {
                        reply.value_pinned(key, item.flags(), item.len(), pin, cas);
                    }
                }
            };
            match get.touch {
                None => self.store.get(key, &mut answer),
                Some(ttl) => self.store.get_and_touch(key, ttl, &mut answer),
            };
        }
        reply.end();
    }

    pub(super) fn set(
        &self,
        set: &Set<'_>,
        sink: Option<ItemSink>,
        reply: &mut Reply<'_, ItemPin>,
    ) {
        let commit = Commit { mode: set.mode, compare: set.cas, ..Commit::default() };
        let stored = match value_of(set.value, sink) {
            Incoming::Here(value) => self
                .store
                .put(set.key, value, new_item(set), commit)
                .inspect_err(|error| self.after_failed_set(set, *error)),
            Incoming::Reserved(place) => place.commit(commit),
        };
        match stored {
            Ok(committed) => reply.stored(committed.stored),
            Err(error) => reply.error(store_error(error)),
        }
    }

    pub(super) fn reserve_set(
        &self,
        set: &Set<'_>,
        len: usize,
    ) -> Result<Reservation, &'static str> {
        self.store.reserve(set.key, new_item(set), len).map_err(|error| {
            self.after_failed_set(set, error);
            store_error(error)
        })
    }

    /// A value that was to be replaced does not outlive the failure of its replacement. Only `set`
    /// takes it away, as in memcached: the other verbs depend on what is there.
    fn after_failed_set(&self, set: &Set<'_>, error: StoreError) {
        let failed_at_start = !matches!(error, StoreError::NoMemoryForRest { .. });
        if failed_at_start && set.mode == StoreMode::Set && set.cas.is_none() {
            self.store.discard(set.key);
        }
    }

    pub(super) fn arith(
        &self,
        key: Key<'_>,
        direction: Arith,
        delta: u64,
        reply: &mut Reply<'_, ItemPin>,
    ) {
        match self.store.count(key, direction, delta) {
            Counted::Value(number, _) => reply.number(number),
            Counted::NotFound | Counted::Exists => reply.line("NOT_FOUND"),
            Counted::NonNumeric => reply.error(NON_NUMERIC),
            Counted::NoMemory => reply.error(NO_MEMORY),
        }
    }
}

fn new_item(set: &Set<'_>) -> NewItem {
    NewItem { flags: set.flags, ttl: set.ttl, key_is_binary: false }
}
