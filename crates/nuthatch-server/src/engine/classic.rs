//! The classic commands: `get` to `touch`.

use nuthatch_proto::{Get, Reply, Set};
use nuthatch_store::types::{Arith, Deleted, Key, StoreMode, Ttl};
use nuthatch_store::{Commit, Counted, Item, MetaArith, Missed, NewItem};

use super::{
    Engine, ItemPin, ItemSink, NO_MEMORY, NON_NUMERIC, Notes, Outgoing, outgoing, value_of, verb,
};

impl Engine {
    pub(super) fn get(&self, get: Get<'_>, reply: &mut Reply<'_, ItemPin>, notes: &impl Notes) {
        let answer = |key: Key<'_>, item: Result<Item<'_>, Missed>| {
            notes.got(key, item.is_ok());
            if self.mirror(key, get.with_cas, reply) {
                return notes.looked_up(key, item.map(|item| item.extent()));
            }
            let item = match item {
                Ok(item) => item,
                Err(missed) => return notes.looked_up(key, Err(missed)),
            };
            notes.found(key, &item);
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
        notes: &impl Notes,
    ) {
        let Set { key, mode, cas: compare, .. } = *set;
        let commit = Commit { mode, compare, ..Commit::default() };
        let value = value_of(set.value, sink);
        match self.store_value(key, value, new_item(set), commit, drops_old(set)) {
            Ok(done) => {
                reply.stored_as(done.stored, done.cas);
                notes.stored(key, verb(mode, compare), own_ttl(mode, set.ttl), &done);
            }
            Err(line) => {
                reply.error(line);
                notes.refused(key, verb(mode, compare), line);
            }
        }
    }

    pub(super) fn delete(&self, key: Key<'_>, reply: &mut Reply<'_, ItemPin>, notes: &impl Notes) {
        match self.store.take(key, |item| notes.deleting(key, &item)) {
            Ok(()) => reply.deleted(Deleted::Deleted),
            Err(missed) => {
                reply.deleted(Deleted::NotFound);
                notes.looked_up(key, Err(missed));
            }
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
        notes: &impl Notes,
    ) {
        match self.count_number(key, direction, delta, notes) {
            Counted::Value(number, _) => reply.number(number),
            Counted::NotFound | Counted::Exists => reply.line("NOT_FOUND"),
            Counted::NonNumeric => reply.error(NON_NUMERIC),
            Counted::NoMemory => reply.error(NO_MEMORY),
        }
    }

    fn count_number<N: Notes>(
        &self,
        key: Key<'_>,
        direction: Arith,
        delta: u64,
        notes: &N,
    ) -> Counted {
        if N::IS_SILENT {
            return self.store.count(key, direction, delta);
        }
        // The same, and tells of the item.
        let ask = MetaArith { direction, delta, ..MetaArith::default() };
        let done = self.store.meta_count(key, ask);
        notes.counted(key, &done);
        done.counted
    }
}

/// The life span that a store asks for; `None` where that of the item that is there stays.
pub(super) fn own_ttl(mode: StoreMode, ttl: Ttl) -> Option<Ttl> {
    (!matches!(mode, StoreMode::Append | StoreMode::Prepend)).then_some(ttl)
}

fn new_item(set: &Set<'_>) -> NewItem {
    NewItem { flags: set.flags, ttl: set.ttl, key_is_binary: false }
}

/// Only a failed `set` takes the old value away, as in memcached: the other verbs depend on what is
/// there.
fn drops_old(set: &Set<'_>) -> bool {
    set.mode == StoreMode::Set && set.cas.is_none()
}
