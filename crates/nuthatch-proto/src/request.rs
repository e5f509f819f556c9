//! Requests as a server sees them: every command of the text protocol, and what the binary
//! protocol asks that text cannot; borrowed from the line or frame they arrived in.

use nuthatch_types::{Arith, Cas, ItemFlags, Key, StoreMode, Ttl};

use crate::admin::{Admin, Config};
use crate::text::Tokens;
use crate::text::meta::MetaFlags;

/// One request, checked as far as the protocol alone can check it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get<'a>),
    /// One item, as the binary protocol asks for it (`get`, `getk`, `gat`, `gatk`): answered with
    /// [`Reply::value`](crate::Reply::value) and the CAS number, or with
    /// [`Reply::end`](crate::Reply::end) alone if there is none.
    GetOne {
        /// The item.
        key: Key<'a>,
        /// The new life span (`gat`, `gatk`).
        touch: Option<Ttl>,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Set(Set<'a>),
    /// `delete`.
    Delete(Key<'a>),
    /// `delete` of the binary protocol, with a CAS number.
    DeleteIf {
        /// The item.
        key: Key<'a>,
        /// The number it must have.
        cas: Cas,
    },
    /// `incr`, `decr`.
    Arith {
        /// The item.
        key: Key<'a>,
        /// Up or down.
        direction: Arith,
        /// By how much.
        delta: u64,
    },
    /// `increment`, `decrement` of the binary protocol.
    Count(Count<'a>),
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
    /// A log-in, on a session that asks for one
    /// ([`Session::with_login`](crate::Session::with_login)).
    Auth(Auth<'a>),
    /// A log-in of the binary protocol, or the question how one may be made.
    Sasl(Sasl<'a>),
    /// Everything that serves the operator and not the application.
    Admin(Admin<'a>),
}

impl<'a> Request<'a> {
    /// The item the request is about; the first one of a retrieval.
    pub fn key(&self) -> Option<Key<'a>> {
        match self {
            Self::Get(get) => get.keys().next(),
            Self::Set(set) => Some(set.key),
            Self::Delete(key)
            | Self::GetOne { key, .. }
            | Self::DeleteIf { key, .. }
            | Self::Arith { key, .. }
            | Self::Count(Count { key, .. })
            | Self::Touch { key, .. }
            | Self::MetaDebug(key) => Some(*key),
            Self::MetaGet(meta) | Self::MetaDelete(meta) | Self::MetaArith(meta) => Some(meta.key),
            Self::MetaSet(set) => Some(set.meta.key),
            Self::Auth(_) | Self::Sasl(_) | Self::Admin(_) => None,
        }
    }

    /// How many bytes of value belong to the request, for those that carry one.
    #[inline]
    pub fn value_len(&self) -> Option<usize> {
        self.value().map(|value| value.len())
    }

    /// Whether the handler may be asked for a place to put the value.
    pub(crate) const fn is_reservable(&self) -> bool {
        matches!(self, Self::Set(_) | Self::MetaSet(_))
    }

    /// The same request with its value at hand.
    #[must_use]
    pub(crate) const fn with_value(mut self, bytes: &'a [u8]) -> Self {
        match &mut self {
            Self::Set(Set { value, .. })
            | Self::MetaSet(MetaSet { value, .. })
            | Self::Sasl(Sasl::Auth { data: value, .. } | Sasl::Step { data: value, .. })
            | Self::Admin(Admin::Config(Config::Set { value, .. })) => *value = Value::Here(bytes),
            _ => {}
        }
        self
    }

    #[inline]
    const fn value(&self) -> Option<&Value<'a>> {
        match self {
            Self::Set(Set { value, .. })
            | Self::MetaSet(MetaSet { value, .. })
            | Self::Sasl(Sasl::Auth { data: value, .. } | Sasl::Step { data: value, .. })
            | Self::Admin(Admin::Config(Config::Set { value, .. })) => Some(value),
            _ => None,
        }
    }
}

/// `get` and its relatives.
///
/// A very long line is handed over in several requests, one after another, so that the answers to
/// it never pile up; [`Reply::end`](crate::Reply::end) knows which of them is the last.
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

impl<'a> Get<'a> {
    /// The keys, in the order in which they were asked for.
    pub fn keys(&self) -> impl Iterator<Item = Key<'a>> + use<'a> {
        // Every token has been found to be a key when the line was read.
        Tokens(self.keys).filter_map(|token| Key::binary(token).ok())
    }
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
    /// The CAS number to compare: of `cas`, and of any store command of the binary protocol. With
    /// it, that protocol's `add` is a [`StoreMode::Replace`].
    pub cas: Option<Cas>,
    /// The value.
    pub value: Value<'a>,
}

/// `increment` and `decrement` of the binary protocol; answered with
/// [`Reply::number_as`](crate::Reply::number_as).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Count<'a> {
    /// The item.
    pub key: Key<'a>,
    /// Up or down.
    pub direction: Arith,
    /// By how much.
    pub delta: u64,
    /// The number and the life span of an item to be made where there is none; without them that
    /// is a miss.
    pub initial: Option<(u64, Ttl)>,
    /// The CAS number the item must have.
    pub cas: Option<Cas>,
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

/// Who a client says it is: the value `user password` of a `set` with any key.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Auth<'a> {
    /// Everything before the first space.
    pub user: &'a [u8],
    /// Everything after it.
    pub password: &'a [u8],
}

impl std::fmt::Debug for Auth<'_> {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("user", &self.user.escape_ascii().to_string()).finish()
    }
}

/// A log-in by SASL, the binary protocol's.
///
/// It is asked for on every session, so that a server without logins can say so, and is all that
/// is asked besides the version on a session that
/// [demands one](crate::Session::with_login). Whoever had logged in is logged out when it is asked
/// for, as with memcached. A handler keeps what it must know between the steps with the connection
/// ([`Reply::keep`](crate::Reply::keep)); it answers with [`Reply::line`](crate::Reply::line) (the
/// mechanisms; `Authenticated`), [`Reply::challenge`](crate::Reply::challenge), or an error, and
/// says with [`Reply::log_in`](crate::Reply::log_in) who has logged in.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Sasl<'a> {
    /// Which mechanisms there are, with spaces between.
    List,
    /// The first step.
    Auth {
        /// The mechanism's name, 1 to 250 bytes; on a session that demands logins 1 to
        /// [`MECHANISM_LEN_MAX`].
        mechanism: &'a [u8],
        /// What the mechanism begins with; always [`Value::Here`] when a handler is called with
        /// it. Data that a receive buffer does not hold is refused.
        data: Value<'a>,
    },
    /// Another step.
    Step {
        /// The mechanism's name, as for the first step.
        mechanism: &'a [u8],
        /// The answer to the challenge, as for the first step.
        data: Value<'a>,
    },
}

/// The longest name of a mechanism, in bytes (memcached's limit): longer ones are answered with
/// [`Status::INVALID_ARGUMENTS`](crate::binary::Status::INVALID_ARGUMENTS).
pub const MECHANISM_LEN_MAX: usize = 32;

impl Sasl<'_> {
    /// How long the mechanism's name is.
    pub(crate) const fn mechanism_len(&self) -> usize {
        match self {
            Self::List => 0,
            Self::Auth { mechanism, .. } | Self::Step { mechanism, .. } => mechanism.len(),
        }
    }
}

impl std::fmt::Debug for Sasl<'_> {
    /// Without the data: a password may be in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, mechanism) = match self {
            Self::List => return f.write_str("List"),
            Self::Auth { mechanism, .. } => ("Auth", mechanism),
            Self::Step { mechanism, .. } => ("Step", mechanism),
        };
        let mechanism = mechanism.escape_ascii().to_string();
        f.debug_struct(name).field("mechanism", &mechanism).finish_non_exhaustive()
    }
}

/// Where the value of a store command is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there are these two places")]
pub enum Value<'a> {
    /// All of it, here, without its line end.
    Here(&'a [u8]),
    /// In the place that [`Handler::reserve`](crate::Handler::reserve) gave for it; so many bytes.
    Reserved(usize),
}

impl Value<'_> {
    /// The value's length in bytes.
    pub const fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Reserved(len) => *len,
        }
    }

    /// Whether the value has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
