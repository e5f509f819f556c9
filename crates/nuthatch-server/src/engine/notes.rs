//! What others want to know of a request: operators who count prefixes or read the log.
//!
//! Handlers tell a [`Notes`] what they find. While nobody is interested that is [`Silent`], of which
//! nothing is left in the compiled code: the price is the look at the [`Gate`].

use std::fmt;

use nuthatch_proto::{Outcome, Reply, Request};
use nuthatch_store::types::Key;

use super::{Engine, ItemPin, ItemSink};
use crate::gate::Gate;

/// Is told what a request meets.
pub(super) trait Notes {
    /// A key of `get` or one of its relatives has been looked up.
    fn got(&self, key: Key<'_>, is_hit: bool);
}

/// For requests that nobody is interested in.
pub(super) struct Silent;

impl Notes for Silent {
    fn got(&self, _: Key<'_>, _: bool) {}
}

/// For the others.
struct Spy<'a> {
    engine: &'a Engine,
    /// What the gate said when the request came.
    wanted: u32,
}

impl Notes for Spy<'_> {
    fn got(&self, key: Key<'_>, is_hit: bool) {
        if self.wanted & Gate::DETAIL != 0 {
            self.engine.shared.prefixes.get(key.as_bytes(), is_hit);
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
            tracing::debug!("< {}", Summary(&request));
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
        self.serve(request, sink, reply, &Spy { engine: self, wanted })
    }

    /// Notes a request whose value is still to come, and may never come.
    #[cold]
    pub(super) fn note_announced(&self, request: &Request<'_>) {
        if let Request::Set(set) = request
            && self.gate.load() & Gate::DETAIL != 0
        {
            self.shared.prefixes.set(set.key.as_bytes());
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
