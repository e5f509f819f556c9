//! A call on its way: what is asked, and who waits for the answer.
//!
//! An [`Ask`] is the same for all protocols; [`crate::wire`] writes it and reads what is answered
//! into a [`Reply`]. It is shared between the caller, who may have to ask again, and the
//! connection, which looks at it when the answer comes. Whether anybody still waits is looked at
//! before anything is sent or copied; an answer that nobody waits for is read all the same, for the
//! next one lies behind it.

use std::sync::Arc;

use bytes::Bytes;
use nuthatch_proto::client::{KeyLine, MetaOptions};
use nuthatch_types::{Arith, Cas, Deleted, ItemFlags, KeyBuf, StoreMode, Stored};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::item::{Item, Stats};
use crate::meta::{MetaAnswer, MetaItem};

/// What is asked and who asks, as it stands in the queue.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) ask: Arc<Ask>,
    pub(crate) answer: Answer,
}

/// Where an answer goes. The other end is gone if the call was dropped.
pub(crate) type Answer = oneshot::Sender<Answered>;

/// What comes of a call.
pub(crate) type Answered = Result<Reply, Error>;

/// A command that owns what it is made of. Exptimes are those of the wire.
#[derive(Debug)]
pub(crate) enum Ask {
    /// With a new life span: `gat`.
    Get {
        key: KeyBuf,
        exptime: Option<i32>,
    },
    GetMany {
        /// Shared with the caller, who may have to ask for some of them again.
        keys: Arc<KeyLine>,
        exptime: Option<i32>,
    },
    Store(Store),
    Delete {
        key: KeyBuf,
        cas: Option<Cas>,
    },
    Touch {
        key: KeyBuf,
        exptime: i32,
    },
    Arith {
        direction: Arith,
        key: KeyBuf,
        delta: u64,
        /// The number and exptime of an item to be made where there is none.
        initial: Option<(u64, i32)>,
    },
    Meta(Meta),
    MetaDebug(KeyBuf),
    FlushAll {
        delay: Option<i32>,
    },
    Version,
    Stats(Option<String>),
    /// A command that is answered `OK`.
    Line(String),
    /// `config get`.
    Config(KeyBuf),
}

/// A store command.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) mode: StoreMode,
    pub(crate) key: KeyBuf,
    pub(crate) flags: ItemFlags,
    pub(crate) exptime: i32,
    pub(crate) cas: Option<Cas>,
    pub(crate) value: Bytes,
}

/// A meta command as its caller has it.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) verb: MetaVerb,
    pub(crate) key: KeyBuf,
    pub(crate) options: MetaOptions<'static>,
    /// Of `ms`; else empty.
    pub(crate) value: Bytes,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MetaVerb {
    Get,
    Set,
    Delete,
    Arith,
}

/// What was answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Item(Option<Item>),
    /// Each in its key's place.
    Items(Vec<Option<Item>>),
    Stored(Stored),
    Deleted(Deleted),
    Touched(bool),
    Number(Option<u64>),
    Meta(MetaAnswer),
    Debug(Option<String>),
    Done,
    Version(String),
    Stats(Stats),
    Config(Option<Bytes>),
}

impl Ask {
    /// Whether a second time does nothing that the first did not do.
    pub(crate) fn is_read(&self) -> bool {
        match self {
            Self::Get { .. }
            | Self::GetMany { .. }
            | Self::MetaDebug(_)
            | Self::Version
            | Self::Config(_) => true,
            // Leases are given to one.
            Self::Meta(Meta { verb: MetaVerb::Get, options, .. }) => {
                options.vivify.is_none() && options.recache.is_none()
            }
            // `stats reset` is none.
            Self::Stats(what) => what.is_none(),
            _ => false,
        }
    }

    /// How OpenTelemetry names what is done.
    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Get { exptime: None, .. } => "get",
            Self::Get { exptime: Some(_), .. } => "gat",
            Self::GetMany { .. } => "get_many",
            Self::Store(Store { cas: Some(_), .. }) => "cas",
            Self::Store(Store { mode, .. }) => match mode {
                StoreMode::Set => "set",
                StoreMode::Add => "add",
                StoreMode::Replace => "replace",
                StoreMode::Append => "append",
                StoreMode::Prepend => "prepend",
            },
            Self::Delete { .. } => "delete",
            Self::Touch { .. } => "touch",
            Self::Arith { direction: Arith::Incr, .. } => "incr",
            Self::Arith { direction: Arith::Decr, .. } => "decr",
            Self::Meta(Meta { verb, .. }) => match verb {
                MetaVerb::Get => "mg",
                MetaVerb::Set => "ms",
                MetaVerb::Delete => "md",
                MetaVerb::Arith => "ma",
            },
            Self::MetaDebug(_) => "me",
            Self::FlushAll { .. } => "flush_all",
            Self::Version => "version",
            Self::Stats(_) => "stats",
            Self::Line(_) => "command",
            Self::Config(_) => "config get",
        }
    }

    /// What a caller hears who would rather take a node's failure for a miss; `None` where there is
    /// no such thing.
    pub(crate) fn miss(&self) -> Option<Reply> {
        Some(match self {
            Self::Get { .. } => Reply::Item(None),
            Self::GetMany { keys, .. } => Reply::Items(vec![None; keys.len()]),
            Self::Store(_) => Reply::Stored(Stored::NotStored),
            Self::Delete { .. } => Reply::Deleted(Deleted::NotFound),
            Self::Touch { .. } => Reply::Touched(false),
            Self::Arith { .. } => Reply::Number(None),
            Self::Meta(meta) => Reply::Meta(MetaAnswer {
                status: match meta.verb {
                    MetaVerb::Get => nuthatch_proto::MetaStatus::Miss,
                    MetaVerb::Set => nuthatch_proto::MetaStatus::NotStored,
                    MetaVerb::Delete | MetaVerb::Arith => nuthatch_proto::MetaStatus::NotFound,
                },
                item: MetaItem::default(),
            }),
            Self::MetaDebug(_) => Reply::Debug(None),
            _ => return None,
        })
    }
}
