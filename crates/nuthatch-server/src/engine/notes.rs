//! What others want to know of a request: those who watch, count prefixes, or read the log.
//!
//! Handlers tell a [`Notes`] what they find. While nobody is interested that is [`Silent`], of which
//! nothing is left in the compiled code: the price is the look at the [`Gate`].

use std::fmt;

use nuthatch_proto::{Outcome, Reply, Request, WatchFlags};
use nuthatch_store::types::{Cas, Deleted, Key, StoreMode, Stored, Ttl};
use nuthatch_store::{Committed, Extent, Item, MetaDelete, MetaDeleted, MetaNumber, Missed};

use super::{Engine, ItemPin, ItemSink, TOO_LARGE};
use crate::logger::{Event, Gate, GetStatus, StoreStatus};

/// Is told what a request meets. What comes with an [`Item`] comes under the lock of its shard.
pub(super) trait Notes {
    /// Whether nobody listens, and nothing need be found out for them.
    const IS_SILENT: bool;

    /// A key of `get` or one of its relatives has been looked up.
    fn got(&self, key: Key<'_>, is_hit: bool);

    /// An item was there, for whichever command.
    fn found(&self, key: Key<'_>, item: &Item<'_>);

    /// An item was there or was not.
    fn looked_up(&self, key: Key<'_>, found: Result<Extent, Missed>);

    /// A value was stored or was not. `ttl` is what was asked for, `None` if that of an older item
    /// holds.
    fn stored(&self, key: Key<'_>, verb: &'static str, ttl: Option<Ttl>, done: &Committed);

    /// A value found no place; `line` says why.
    fn refused(&self, key: Key<'_>, verb: &'static str, line: &str);

    /// `delete` removes this item.
    fn deleting(&self, key: Key<'_>, item: &Item<'_>);

    /// `delete` has removed an item.
    fn deleted(&self, key: Key<'_>, extent: Extent);

    /// `md` is done.
    fn meta_deleted(&self, key: Key<'_>, ask: &MetaDelete, done: &MetaDeleted);

    /// A number was counted, or made, or was none.
    fn counted(&self, key: Key<'_>, done: &MetaNumber);
}

/// The verb of a store command, as lines show it.
pub(super) fn verb(mode: StoreMode, compare: Option<Cas>) -> &'static str {
    match mode {
        StoreMode::Set | StoreMode::Replace if compare.is_some() => "cas",
        StoreMode::Set => "set",
        StoreMode::Add => "add",
        StoreMode::Replace => "replace",
        StoreMode::Append => "append",
        StoreMode::Prepend => "prepend",
    }
}

/// For requests that nobody is interested in.
pub(super) struct Silent;

impl Notes for Silent {
    const IS_SILENT: bool = true;
    fn got(&self, _: Key<'_>, _: bool) {}
    fn found(&self, _: Key<'_>, _: &Item<'_>) {}
    fn looked_up(&self, _: Key<'_>, _: Result<Extent, Missed>) {}
    fn stored(&self, _: Key<'_>, _: &'static str, _: Option<Ttl>, _: &Committed) {}
    fn refused(&self, _: Key<'_>, _: &'static str, _: &str) {}
    fn deleting(&self, _: Key<'_>, _: &Item<'_>) {}
    fn deleted(&self, _: Key<'_>, _: Extent) {}
    fn meta_deleted(&self, _: Key<'_>, _: &MetaDelete, _: &MetaDeleted) {}
    fn counted(&self, _: Key<'_>, _: &MetaNumber) {}
}

/// For the others.
struct Spy<'a> {
    engine: &'a Engine,
    /// What the gate said when the request came.
    wanted: u32,
    /// The connection it came from, where that is known.
    conn: Option<u64>,
}

/// What a line about a store says of the item.
#[derive(Default)]
struct Standing {
    /// Seconds left to live, 0 for ever.
    ttl: u32,
    class: u8,
    len: usize,
}

impl Spy<'_> {
    fn is_watched(&self, kinds: WatchFlags) -> bool {
        self.wanted & u32::from(kinds.bits()) != 0
    }

    fn note(&self, kinds: WatchFlags, event: Event, key: Key<'_>) {
        self.engine.shared.logger.note(kinds, event, key.as_bytes());
    }

    fn note_store(&self, key: Key<'_>, cmd: &'static str, status: StoreStatus, item: Standing) {
        let Standing { ttl, class, len } = item;
        let event = Event::Store { status, cmd, ttl, class, conn: self.conn, len };
        self.note(WatchFlags::MUTATIONS, event, key);
    }

    fn note_deletion(&self, key: Key<'_>, cmd: &'static str, extent: Extent) {
        if self.is_watched(WatchFlags::DELETIONS) {
            let event = Event::Deleted { cmd, class: extent.class, len: extent.len };
            self.note(WatchFlags::DELETIONS, event, key);
        }
    }

    /// How long the item of a key lives, in seconds, as it is now; 0 for ever, or if it has just
    /// gone.
    fn ttl_now(&self, key: Key<'_>) -> u32 {
        self.engine.store.peek(key, |_, hit| hit.ttl_before).flatten().unwrap_or(0)
    }
}

impl Notes for Spy<'_> {
    const IS_SILENT: bool = false;

    fn got(&self, key: Key<'_>, is_hit: bool) {
        if self.wanted & Gate::DETAIL != 0 {
            self.engine.shared.prefixes.get(key.as_bytes(), is_hit);
        }
    }

    fn found(&self, key: Key<'_>, item: &Item<'_>) {
        self.looked_up(key, Ok(item.extent()));
    }

    fn looked_up(&self, key: Key<'_>, found: Result<Extent, Missed>) {
        if !self.is_watched(WatchFlags::FETCHERS) {
            return;
        }
        let status = match found {
            Ok(_) => GetStatus::Found,
            Err(Missed::NotFound) => GetStatus::NotFound,
            Err(Missed::Expired) => GetStatus::Expired,
            Err(Missed::Flushed) => GetStatus::Flushed,
        };
        let (class, len) = found.map_or((0, 0), |extent| (extent.class, extent.len));
        let event = Event::Get { status, class, conn: self.conn, len };
        self.note(WatchFlags::FETCHERS, event, key);
    }

    fn stored(&self, key: Key<'_>, verb: &'static str, ttl: Option<Ttl>, done: &Committed) {
        self.looked_up(key, done.before);
        if !self.is_watched(WatchFlags::MUTATIONS) {
            return;
        }
        let status = match done.stored {
            Stored::Stored => StoreStatus::Stored,
            Stored::NotStored => StoreStatus::NotStored,
            Stored::Exists => StoreStatus::Exists,
            Stored::NotFound => StoreStatus::NotFound,
        };
        let ttl = match ttl {
            Some(ttl) => {
                let clock = self.engine.store.clock();
                ttl.deadline(clock).saturating_sub(clock.now)
            }
            None => self.ttl_now(key),
        };
        self.note_store(key, verb, status, Standing { ttl, class: done.class, len: done.len });
    }

    fn refused(&self, key: Key<'_>, verb: &'static str, line: &str) {
        if self.is_watched(WatchFlags::MUTATIONS) {
            let is_size = line == TOO_LARGE;
            let status = if is_size { StoreStatus::TooLarge } else { StoreStatus::NoMemory };
            self.note_store(key, verb, status, Standing::default());
        }
    }

    fn deleting(&self, key: Key<'_>, item: &Item<'_>) {
        self.found(key, item);
        self.deleted(key, item.extent());
    }

    fn deleted(&self, key: Key<'_>, extent: Extent) {
        self.note_deletion(key, "delete", extent);
    }

    fn meta_deleted(&self, key: Key<'_>, ask: &MetaDelete, done: &MetaDeleted) {
        self.looked_up(key, done.before);
        let (Deleted::Deleted, Ok(before)) = (done.deleted, done.before) else { return };
        let left = done.after.filter(|_| ask.remove_value);
        if let Some(Extent { class, len, .. }) = left
            && self.is_watched(WatchFlags::MUTATIONS)
        {
            let empty = Standing { ttl: self.ttl_now(key), class, len };
            self.note_store(key, "set", StoreStatus::Stored, empty);
        }
        if !ask.mark_stale {
            self.note_deletion(key, "md", left.unwrap_or(before));
        }
    }

    fn counted(&self, key: Key<'_>, done: &MetaNumber) {
        self.looked_up(key, done.before);
        if done.was_made && self.is_watched(WatchFlags::MUTATIONS) {
            let made = self.engine.store.peek(key, |item, hit| {
                let Extent { class, len, .. } = item.extent();
                Standing { ttl: hit.ttl_before.unwrap_or(0), class, len }
            });
            // If it has gone already it was there all the same.
            self.note_store(key, "add", StoreStatus::Stored, made.unwrap_or_default());
        }
    }
}

impl Engine {
    /// Serves a request of which somebody wants to know.
    #[cold]
    pub(super) fn serve_noting(
        &self,
        wanted: u32,
        request: Request<'_>,
        sink: Option<ItemSink>,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        if wanted & Gate::VERBOSE != 0 {
            // The number in front of the command is how memcached's log begins, too.
            tracing::debug!("<{} {}", reply.conn(), Summary(&request));
        }
        if wanted & Gate::DETAIL != 0 {
            let prefixes = &self.shared.prefixes;
            match request {
                // One with a place for its value has been counted when it was announced.
                Request::Set(set) if sink.is_none() => prefixes.set(set.key.as_bytes()),
                Request::Delete(key) | Request::DeleteIf { key, .. } => {
                    prefixes.delete(key.as_bytes());
                }
                _ => {}
            }
        }
        let spy = Spy { engine: self, wanted, conn: Some(reply.conn()) };
        self.serve(request, sink, reply, &spy)
    }

    /// Notes a request whose value is still to come, or the line that says why there is no place
    /// for it.
    #[cold]
    pub(super) fn note_announced(
        &self,
        wanted: u32,
        request: &Request<'_>,
        refusal: Option<&'static str>,
    ) {
        if let Request::Set(set) = request
            && wanted & Gate::DETAIL != 0
        {
            self.shared.prefixes.set(set.key.as_bytes());
        }
        let Some(line) = refusal else { return };
        // Who asks is not said before all of the value is there.
        let spy = Spy { engine: self, wanted, conn: None };
        match request {
            Request::Set(set) => spy.refused(set.key, verb(set.mode, set.cas), line),
            Request::MetaSet(set) => {
                let compare = set.meta.flags.compare();
                spy.refused(set.meta.key, verb(set.mode, compare), line);
            }
            _ => {}
        }
    }
}

/// A request as the log shows it: its kind and key, never its value.
struct Summary<'a>(&'a Request<'a>);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            Request::Get(_) | Request::GetOne { .. } => "get",
            Request::Set(_) => "set",
            Request::Delete(_) | Request::DeleteIf { .. } => "delete",
            Request::Arith { .. } | Request::Count(_) => "incr/decr",
            Request::Touch { .. } => "touch",
            Request::MetaGet(_) => "mg",
            Request::MetaSet(_) => "ms",
            Request::MetaDelete(_) => "md",
            Request::MetaArith(_) => "ma",
            Request::MetaDebug(_) => "me",
            Request::Auth(_) | Request::Sasl(_) => "auth",
            _ => "admin",
        };
        f.write_str(name)?;
        match self.0 {
            Request::Get(get) => get.keys().try_for_each(|key| write!(f, " {key}")),
            request => match request.key() {
                Some(key) => write!(f, " {key}"),
                None => Ok(()),
            },
        }?;
        match self.0.value_len() {
            Some(len) => write!(f, " ({len} bytes)"),
            None => Ok(()),
        }
    }
}
