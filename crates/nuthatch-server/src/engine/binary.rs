//! What only the binary protocol can ask: one item at a time with its CAS number, counters that
//! begin by themselves; and `touch`, which tells more there.

use nuthatch_proto::{Count, Reply};
use nuthatch_store::types::{Cas, Deleted, Key, Ttl};
use nuthatch_store::{Counted, Item, MetaArith, Missed};

use super::{Engine, ItemPin, NO_MEMORY, NON_NUMERIC, Notes, Outgoing, outgoing};

impl Engine {
    pub(super) fn get_one(
        &self,
        key: Key<'_>,
        touch: Option<Ttl>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let answer = |item: Item<'_>| {
            notes.found(key, &item);
            if self.mirror(key, true, reply) {
                return;
            }
            let (flags, cas) = (item.flags(), Some(item.cas()));
            match outgoing(&item) {
                Outgoing::Copied(value) => reply.value(key, flags, value, cas),
                Outgoing::Gathered(value) => reply.value(key, flags, &value, cas),
                Outgoing::Pinned(pin) => reply.value_pinned(key, flags, item.len(), pin, cas),
            }
        };
        let found = match touch {
            None => self.store.lookup(key, answer),
            Some(ttl) => self.store.lookup_and_touch(key, ttl, answer),
        };
        notes.got(key, found.is_ok());
        if let Err(missed) = found {
            self.mirror(key, true, reply);
            notes.looked_up(key, Err(missed));
        }
        reply.end();
    }

    pub(super) fn touch(
        &self,
        key: Key<'_>,
        ttl: Ttl,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let found = self.store.lookup_and_touch(key, ttl, |item| {
            notes.found(key, &item);
            (item.flags(), item.cas())
        });
        if reply.is_binary() {
            // It is one of the retrievals there, and counted with them.
            notes.got(key, found.is_ok());
        }
        if let Err(missed) = found {
            notes.looked_up(key, Err(missed));
        }
        reply.touched_as(found.ok());
    }

    pub(super) fn delete_if<N: Notes>(
        &self,
        key: Key<'_>,
        cas: Cas,
        reply: &mut Reply<'_, ItemPin>,
        notes: &N,
    ) {
        let seen = if N::IS_SILENT { None } else { self.store.peek(key, |item, _| item.extent()) };
        let deleted = self.store.delete_if(key, cas);
        reply.deleted(deleted);
        notes.looked_up(key, seen.ok_or(Missed::NotFound));
        if let Some(extent) = seen.filter(|_| deleted == Deleted::Deleted) {
            notes.deleted(key, extent);
        }
    }

    pub(super) fn count(
        &self,
        count: &Count<'_>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let ask = MetaArith {
            direction: count.direction,
            delta: count.delta,
            compare: count.cas,
            vivify: count.initial.map(|(number, ttl)| (ttl, number)),
            ..MetaArith::default()
        };
        let done = self.store.meta_count(count.key, ask);
        notes.counted(count.key, &done);
        match done.counted {
            Counted::Value(number, cas) => reply.number_as(number, cas),
            Counted::NotFound => reply.line("NOT_FOUND"),
            Counted::Exists => reply.line("EXISTS"),
            Counted::NonNumeric => reply.error(NON_NUMERIC),
            Counted::NoMemory if done.before.is_err() => {
                reply.error("SERVER_ERROR Out of memory allocating new item");
            }
            Counted::NoMemory => reply.error(NO_MEMORY),
        }
    }
}
