//! What a client can ask for.

use nuthatch_types::{Arith, Cas, ItemFlags, Key, StoreMode};

use super::KeyLine;

/// A command to be sent.
///
/// Times are the wire's `exptime` (0 never, negative at once, up to 30 days relative, beyond that
/// a Unix time); [`Ttl::to_exptime`](nuthatch_types::Ttl::to_exptime) makes them. Classic commands
/// carry only keys that [`Key::new`] takes; meta commands send other keys in base64, and those may
/// have 186 bytes.
///
/// A classic command with `noreply` is never answered, not even when it fails. A meta command with
/// [`MetaOptions::quiet`] is answered when there is something to say, and the answers that were
/// left out are known when the batch ends: see [`Connection`](super::Connection).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `get`, `gets`; `gat`, `gats` with a time.
    Get {
        /// The items, at least one.
        keys: &'a [Key<'a>],
        /// Ask for CAS numbers too.
        with_cas: bool,
        /// The new life span.
        exptime: Option<i32>,
    },
    /// The same, of keys that have been gathered.
    GetLine {
        /// The items, at least one.
        keys: &'a KeyLine,
        /// Ask for CAS numbers too.
        with_cas: bool,
        /// The new life span.
        exptime: Option<i32>,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`; `cas` with a number (its mode is always
    /// [`StoreMode::Set`]).
    Store {
        /// How to store.
        mode: StoreMode,
        /// The item.
        key: Key<'a>,
        /// The client's flags.
        flags: ItemFlags,
        /// The life span.
        exptime: i32,
        /// Store only if the item still has this number.
        cas: Option<Cas>,
        /// The value.
        value: &'a [u8],
        /// No answer.
        noreply: bool,
    },
    /// `delete`.
    Delete {
        /// The item.
        key: Key<'a>,
        /// No answer.
        noreply: bool,
    },
    /// `incr`, `decr`.
    Arith {
        /// Up or down.
        direction: Arith,
        /// The item.
        key: Key<'a>,
        /// By how much.
        delta: u64,
        /// No answer.
        noreply: bool,
    },
    /// `touch`.
    Touch {
        /// The item.
        key: Key<'a>,
        /// The new life span.
        exptime: i32,
        /// No answer.
        noreply: bool,
    },
    /// `mg`.
    MetaGet(Key<'a>, MetaOptions<'a>),
    /// `ms` and the value; how to store is [`MetaOptions::mode`].
    MetaSet(Key<'a>, MetaOptions<'a>, &'a [u8]),
    /// `md`.
    MetaDelete(Key<'a>, MetaOptions<'a>),
    /// `ma`; which way is [`MetaOptions::direction`].
    MetaArith(Key<'a>, MetaOptions<'a>),
    /// `mn`.
    MetaNoop,
    /// `me`.
    MetaDebug(Key<'a>),
    /// `flush_all`, after so many seconds if a delay is given.
    FlushAll {
        /// The delay, as an exptime.
        delay: Option<i32>,
        /// No answer.
        noreply: bool,
    },
    /// `version`.
    Version,
    /// `stats`, with what to show.
    Stats(Option<&'a str>),
    /// `lru_crawler metadump` or `mgdump` of the given classes.
    Dump {
        /// Keys only (`mgdump`).
        keys_only: bool,
        /// `all`, `hash`, or class ids with commas between.
        classes: &'a str,
    },
    /// `config get`.
    ConfigGet(&'a str),
    /// `config set`.
    ConfigSet(&'a str, &'a [u8]),
    /// `config delete`.
    ConfigDelete(&'a str),
    /// The log-in of a server that was started with `-Y`.
    Auth {
        /// The user.
        user: &'a str,
        /// The password.
        password: &'a str,
    },
    /// Any other command that is answered with one line: `verbosity 1`, `slabs automove 0` …
    Line(&'a str),
}

/// The flags of a meta command. Those that mean nothing to a command are ignored by the server.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in, starting from the default")]
pub struct MetaOptions<'a> {
    /// `q`: leave out the answer that says nothing new. The connection then uses the opaque token
    /// for itself.
    pub quiet: bool,
    /// `O`: a token to be returned, up to 31 bytes without space or control byte.
    pub opaque: Option<&'a [u8]>,
    /// `k`: return the key.
    pub return_key: bool,
    /// `v`: return the value.
    pub return_value: bool,
    /// `c`: return the CAS number.
    pub return_cas: bool,
    /// `f`: return the client flags.
    pub return_flags: bool,
    /// `s`: return the length.
    pub return_size: bool,
    /// `t`: return the seconds left to live.
    pub return_ttl: bool,
    /// `h`: return whether the item had been fetched.
    pub return_hit: bool,
    /// `l`: return the seconds since the last access.
    pub return_last_access: bool,
    /// `u`: do not count this as a use of the item.
    pub no_bump: bool,
    /// `T`: set the life span.
    pub exptime: Option<i32>,
    /// `N`: create the item on a miss, with this life span.
    pub vivify: Option<i32>,
    /// `R`: win the recache token if less than this is left to live.
    pub recache: Option<i32>,
    /// `F`: the client's flags.
    pub flags: Option<ItemFlags>,
    /// `C`: compare the CAS number.
    pub compare: Option<Cas>,
    /// `E`: give the item this CAS number.
    pub explicit_cas: Option<Cas>,
    /// `I`: mark as stale (`md`), or take a lower CAS number (`ms`).
    pub invalidate: bool,
    /// `x`: remove the value and leave the item (`md`).
    pub remove_value: bool,
    /// `M` of `ms`.
    pub mode: StoreMode,
    /// `M` of `ma`.
    pub direction: Arith,
    /// `D`: by how much to count; 1 without it.
    pub delta: Option<u64>,
    /// `J`: where to start counting on an item that `N` creates; 0 without it.
    pub initial: Option<u64>,
}
