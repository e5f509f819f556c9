//! The classic commands: `get` to `touch`.

use nuthatch_proto::{Get, Reply, Set};
use nuthatch_store::types::{Arith, Key, StoreMode};
use nuthatch_store::{Commit, Counted, Item, Missed, NewItem};

use super::{
    Engine, ItemPin, ItemSink, NO_MEMORY, NON_NUMERIC, Notes, Outgoing, outgoing, value_of,
};

impl Engine {
    pub(super) fn get(&self, get: Get<'_>, reply: &mut Reply<'_, ItemPin>, notes: &impl Notes) {
        let answer = |key: Key<'_>, item: Result<Item<'_>, Missed>| {
            notes.got(key, item.is_ok());
            let Ok(item) = item else { return };
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
            None => self.store.get_many(get.keys(), answer),
            Some(ttl) => self.store.get_many_and_touch(get.keys(), ttl, answer),
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
        let value = value_of(set.value, sink);
        match self.store_value(set.key, value, new_item(set), commit, drops_old(set)) {
            Ok(committed) => reply.stored_as(committed.stored, committed.cas),
            Err(line) => reply.error(line),
        }
    }

    pub(super) fn reserve_set(&self, set: &Set<'_>, len: usize) -> Result<ItemSink, &'static str> {
        self.reserve_value(set.key, new_item(set), len, drops_old(set))
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

/// Only a failed `set` takes the old value away, as in memcached: the other verbs depend on what is
/// there.
fn drops_old(set: &Set<'_>) -> bool {
    set.mode == StoreMode::Set && set.cas.is_none()
}
