//! Requests as a server sees them: every command of the text protocol, borrowed from the line
//! it arrived on.

use nuthatch_types::{Arith, Cas, ItemFlags, Key, StoreMode, Ttl};

use crate::text::meta::MetaFlags;

/// One request, checked as far as the protocol alone can check it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get<'a>),
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Set(Set<'a>),
    /// `delete`.
    Delete(Key<'a>),
    /// `incr`, `decr`.
    Arith {
        /// The item.
        key: Key<'a>,
        /// Up or down.
        direction: Arith,
        /// By how much.
        delta: u64,
    },
    /// `touch`.
    Touch {
        /// The item.
        key: Key<'a>,
        /// Its new life span.
        ttl: Ttl,
    },
    /// `mg`.
    MetaGet(Meta<'a>),
    /// `ms`.
    MetaSet(MetaSet<'a>),
    /// `md`.
    MetaDelete(Meta<'a>),
    /// `ma`.
    MetaArith(Meta<'a>),
    /// `me`.
    MetaDebug(Key<'a>),
    /// Everything that serves the operator and not the application.
    Admin(Admin<'a>),
}

/// `get` and its relatives.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Get<'a> {
    /// The rest of the line: keys, each already known to have a legal length.
    pub(crate) keys: &'a [u8],
    /// Whether the answer carries CAS numbers (`gets`, `gats`).
    pub with_cas: bool,
    /// The new life span (`gat`, `gats`).
    pub touch: Option<Ttl>,
}

/// A classic store command.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Set<'a> {
    /// The item.
    pub key: Key<'a>,
    /// How to store it.
    pub mode: StoreMode,
    /// The client's flags.
    pub flags: ItemFlags,
    /// The life span.
    pub ttl: Ttl,
    /// The CAS number to compare (`cas` only).
    pub cas: Option<Cas>,
    /// The value.
    pub value: Value<'a>,
}

/// `ms`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetaSet<'a> {
    /// The key and the flags.
    pub meta: Meta<'a>,
    /// What the `M` flag asks for; [`StoreMode::Set`] without it.
    pub mode: StoreMode,
    /// The value.
    pub value: Value<'a>,
}

/// What `mg`, `ms`, `md` and `ma` have in common.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Meta<'a> {
    /// The item; decoded where the line gave it in base64.
    pub key: Key<'a>,
    /// The flags, read and checked.
    pub flags: MetaFlags<'a>,
}

/// Where the value of a store command is.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are these two places")]
pub enum Value<'a> {
    /// All of it, here, without its line end.
    Here(&'a [u8]),
    /// In the place that [`Handler::reserve`](crate::Handler::reserve) gave for it; so many bytes.
    Reserved(usize),
}
