//! The meta commands: `mg ms md ma me`.

use std::sync::atomic::Ordering::Relaxed;

use nuthatch_proto::{DebugFacts, ItemFacts, Meta, MetaFlags, MetaSet, MetaStatus, Reply};
use nuthatch_store::types::{Key, StoreMode};
use nuthatch_store::{Commit, Counted, MetaArith, MetaDelete, MetaGet, Missed, NewItem};

use super::classic::own_ttl;
use super::{
    Engine, ItemPin, ItemSink, NO_MEMORY, NON_NUMERIC, Notes, Outgoing, outgoing, value_of, verb,
};

/// In every mode, as in memcached, the old value does not outlive a failed `ms`.
const DROPS_OLD: bool = true;

impl Engine {
    pub(super) fn meta_get(
        &self,
        meta: &Meta<'_>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let flags = &meta.flags;
        let ask = MetaGet {
            no_bump: flags.is_no_bump(),
            vivify: flags.vivify(),
            recache: flags.recache(),
            recache_after_touch: stands_before(flags, b'T', b'R'),
            touch: flags.ttl(),
            vivify_after_touch: stands_before(flags, b'T', b'N'),
            cas: flags.explicit_cas(),
            key_is_binary: flags.is_key_base64(),
        };
        let found = self.store.meta_get(meta.key, ask, |item, hit| {
            match hit.missed {
                None => notes.found(meta.key, &item),
                Some(missed) => notes.looked_up(meta.key, Err(missed)),
            }
            let facts = ItemFacts {
                flags: item.flags(),
                cas: item.cas(),
                size: item.len(),
                ttl: shown_ttl(flags, hit.was_made, hit.ttl_before, hit.ttl_after),
                last_access: hit.last_access_secs,
                fetched: hit.was_fetched,
                key_is_binary: item.key_is_binary(),
                token_sent: hit.was_won,
                stale: hit.is_stale,
                won: hit.has_won,
            };
            if !flags.wants_value_of(item.cas()) {
                reply.meta_hit(&facts);
                return;
            }
            match outgoing(&item) {
                Outgoing::Copied(value) => reply.meta_value(&facts, value),
                Outgoing::Gathered(value) => reply.meta_value(&facts, &value),
                Outgoing::Pinned(pin) => reply.meta_value_pinned(&facts, item.len(), pin),
            }
        });
        if let Err(missed) = found {
            reply.meta_status(MetaStatus::Miss);
            notes.looked_up(meta.key, Err(missed));
        }
    }

    pub(super) fn meta_set(
        &self,
        set: &MetaSet<'_>,
        sink: Option<ItemSink>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let (key, flags) = (set.meta.key, &set.meta.flags);
        let verb = verb(set.mode, flags.compare());
        let commit = Commit {
            mode: set.mode,
            compare: flags.compare(),
            allow_stale: flags.is_invalidate(),
            cas: flags.explicit_cas(),
            vivify: flags.vivify().is_some(),
        };
        let value = value_of(set.value, sink);
        let item = new_item(set);
        match self.store_value(key, value, item, commit, DROPS_OLD) {
            Ok(done) => {
                reply.meta_stored(done.stored, done.cas, done.len);
                // An item that becomes stale keeps its life span.
                let ttl = own_ttl(set.mode, item.ttl).filter(|_| !commit.allow_stale);
                notes.stored(key, verb, ttl, &done);
            }
            Err(line) => {
                reply.error(line);
                notes.refused(key, verb, line);
            }
        }
    }

    pub(super) fn reserve_meta_set(
        &self,
        set: &MetaSet<'_>,
        len: usize,
    ) -> Result<ItemSink, &'static str> {
        self.reserve_value(set.meta.key, new_item(set), len, DROPS_OLD)
    }

    pub(super) fn meta_delete(
        &self,
        meta: &Meta<'_>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let flags = &meta.flags;
        let ask = MetaDelete {
            compare: flags.compare(),
            mark_stale: flags.is_invalidate(),
            remove_value: flags.is_remove_value(),
            ttl: flags.ttl(),
            cas: flags.explicit_cas(),
            flags: flags.client_flags(),
        };
        match self.store.meta_delete(meta.key, ask) {
            Ok(done) => {
                reply.meta_status(done.deleted.into());
                notes.meta_deleted(meta.key, &ask, &done);
            }
            Err(_) => reply.error(NO_MEMORY),
        }
    }

    pub(super) fn meta_arith(
        &self,
        meta: &Meta<'_>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        let flags = &meta.flags;
        let ask = MetaArith {
            direction: flags.direction(),
            delta: flags.delta(),
            compare: flags.compare(),
            vivify: flags.vivify().map(|ttl| (ttl, flags.initial())),
            touch: flags.ttl(),
            vivify_after_touch: stands_before(flags, b'T', b'N'),
            cas: flags.explicit_cas(),
            key_is_binary: flags.is_key_base64(),
        };
        let done = self.store.meta_count(meta.key, ask);
        notes.counted(meta.key, &done);
        match done.counted {
            Counted::Value(number, cas) => {
                let ttl = shown_ttl(flags, done.was_made, done.ttl_before, done.ttl_after);
                reply.meta_number(number, cas, ttl);
            }
            Counted::NotFound => reply.meta_status(MetaStatus::NotFound),
            Counted::Exists => reply.meta_status(MetaStatus::Exists),
            Counted::NonNumeric => reply.error(NON_NUMERIC),
            Counted::NoMemory => reply.error(if flags.vivify().is_some() {
                "SERVER_ERROR Out of memory allocating new item"
            } else {
                NO_MEMORY
            }),
        }
    }

    pub(super) fn meta_debug(
        &self,
        key: Key<'_>,
        reply: &mut Reply<'_, ItemPin>,
        notes: &impl Notes,
    ) {
        self.shared.cmd_meta.fetch_add(1, Relaxed);
        let facts = self.store.peek(key, |item, hit| {
            notes.found(key, &item);
            DebugFacts {
                key_is_binary: item.key_is_binary(),
                ttl: hit.ttl_before,
                last_access: hit.last_access_secs,
                cas: item.cas(),
                fetched: hit.was_fetched,
                class: u32::from(item.class()),
                size: item.total_bytes(),
            }
        });
        if facts.is_none() {
            notes.looked_up(key, Err(Missed::NotFound));
        }
        reply.meta_debug(key, facts.as_ref());
    }
}

fn new_item(set: &MetaSet<'_>) -> NewItem {
    let flags = &set.meta.flags;
    // An append that may make its item gives it the life span of `N`.
    let ttl = match set.mode {
        StoreMode::Append | StoreMode::Prepend => flags.vivify().or_else(|| flags.ttl()),
        _ => flags.ttl(),
    };
    NewItem {
        flags: flags.client_flags(),
        ttl: ttl.unwrap_or_default(),
        key_is_binary: flags.is_key_base64(),
    }
}

/// What `t` shows. The flags act in the order in which they stand: it tells what the life span is
/// by the time it is asked for.
fn shown_ttl(
    flags: &MetaFlags<'_>,
    was_made: bool,
    before: Option<u32>,
    after: Option<u32>,
) -> Option<u32> {
    if stands_before(flags, b'T', b't') {
        after
    } else if was_made && !stands_before(flags, b'N', b't') {
        // Not yet given the life span that it is made with.
        None
    } else {
        before
    }
}

/// Whether both flags are there, the first of them first.
fn stands_before(flags: &MetaFlags<'_>, first: u8, second: u8) -> bool {
    if !flags.has(first) || !flags.has(second) {
        return false;
    }
    let mut letters = flags.tokens().filter_map(|token| token.first().copied());
    letters.find(|&letter| letter == first || letter == second) == Some(first)
}
