//! What a client can ask in the binary protocol, and how it is written.

use nuthatch_types::limits::VALUE_LEN_WIRE_MAX;
use nuthatch_types::{Arith, Cas, ItemFlags, Key, KeyError, StoreMode};

use super::Asked;
use crate::binary::{HEADER_LEN, Header, Opcode, REQUEST_MAGIC, Verb};
use crate::error::Error;

/// The exptime of `increment` and `decrement` that says: make no item.
const NO_INITIAL: u32 = u32::MAX;

/// An exptime that is over. There are no negative ones on the wire; this is one second more than
/// 30 days, and so a moment in January 1970.
const PAST: u32 = 60 * 60 * 24 * 30 + 1;

/// A command of the binary protocol. Exptimes are those of the text protocol: 0 is never, a
/// negative one is at once.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum BinaryCommand<'a> {
    /// `get`, `getk`, `gat`, `gatk`.
    Get {
        /// The item.
        key: Key<'a>,
        /// The item's new life span (`gat`, `gatk`).
        exptime: Option<i32>,
        /// Return the key too.
        with_key: bool,
        /// No answer to a miss.
        quiet: bool,
    },
    /// `set`, `add`, `replace`, `append`, `prepend`.
    Store {
        /// How to store.
        mode: StoreMode,
        /// The item.
        key: Key<'a>,
        /// The client's flags; `append` and `prepend` have none.
        flags: ItemFlags,
        /// The life span; `append` and `prepend` have none.
        exptime: i32,
        /// Store only if the item still has this number.
        cas: Option<Cas>,
        /// The value.
        value: &'a [u8],
        /// No answer to success.
        quiet: bool,
    },
    /// `delete`.
    Delete {
        /// The item.
        key: Key<'a>,
        /// Only if it still has this number.
        cas: Option<Cas>,
        /// No answer to success.
        quiet: bool,
    },
    /// `increment`, `decrement`.
    Arith {
        /// Up or down.
        direction: Arith,
        /// The item.
        key: Key<'a>,
        /// By how much.
        delta: u64,
        /// The number and exptime of an item to be made where there is none.
        initial: Option<(u64, i32)>,
        /// Only if the item still has this number.
        cas: Option<Cas>,
        /// No answer to success.
        quiet: bool,
    },
    /// `touch`.
    Touch {
        /// The item.
        key: Key<'a>,
        /// The new life span.
        exptime: i32,
    },
    /// `flush`, after so many seconds if a delay is given.
    Flush {
        /// The delay, as an exptime; at once if it is negative.
        delay: Option<i32>,
        /// No answer to success.
        quiet: bool,
    },
    /// `stat`, with what to show.
    Stats(Option<&'a str>),
    /// `version`.
    Version,
    /// `noop`: settles what was asked quietly before it.
    Noop,
    /// `quit`: the server answers, and closes.
    Quit,
    /// `config get`.
    ConfigGet(Key<'a>),
    /// Every configuration.
    ConfigList,
    /// `config set`.
    ConfigSet {
        /// The configuration's name.
        name: Key<'a>,
        /// The client's flags.
        flags: ItemFlags,
        /// The payload.
        payload: &'a [u8],
    },
    /// `config delete`.
    ConfigDelete(Key<'a>),
    /// The login mechanisms that the server offers, with spaces between.
    SaslList,
    /// The beginning of a login.
    SaslAuth {
        /// The mechanism.
        mechanism: &'a str,
        /// What it begins with.
        data: &'a [u8],
    },
    /// The next step of a login.
    SaslStep {
        /// The mechanism.
        mechanism: &'a str,
        /// The answer to the server's challenge.
        data: &'a [u8],
    },
}

impl BinaryCommand<'_> {
    /// Appends the command, and says what is to be known when its answer comes.
    pub(super) fn append(&self, out: &mut Vec<u8>, opaque: u32) -> Result<Asked, Error> {
        let (opcode, extras, cas) = self.head();
        let (key, value) = self.body();
        if key.len() > Key::LEN_MAX {
            return Err(Error::Key(KeyError::TooLong { len: key.len() }));
        }
        if value.len() > VALUE_LEN_WIRE_MAX {
            return Err(Error::ValueUnsendable { len: value.len() });
        }
        const FITS: &str = "lengths have been checked";
        let body_len = extras.len() + key.len() + value.len();
        let header = Header {
            magic: REQUEST_MAGIC,
            opcode: opcode.byte(),
            key_len: u16::try_from(key.len()).expect(FITS),
            extras_len: u8::try_from(extras.len()).expect(FITS),
            body_len: u32::try_from(body_len).expect(FITS),
            opaque,
            cas: cas.0,
            ..Header::default()
        };
        out.reserve(HEADER_LEN + body_len);
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(extras.as_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value);
        Ok(Asked { opcode, opaque, compares: cas.0 != 0 })
    }

    /// The opcode, the extras, and the CAS number.
    fn head(&self) -> (Opcode, Extras, Cas) {
        let loud = |verb| Opcode { verb, quiet: false };
        let plain = |verb| (loud(verb), Extras::new(), Cas(0));
        match *self {
            Self::Get { exptime, with_key, quiet, .. } => {
                let verb = match (exptime, with_key) {
                    (None, false) => Verb::Get,
                    (None, true) => Verb::GetK,
                    (Some(_), false) => Verb::Gat,
                    (Some(_), true) => Verb::GatK,
                };
                let mut extras = Extras::new();
                if let Some(exptime) = exptime {
                    extras.push(&wire_exptime(exptime).to_be_bytes());
                }
                (Opcode { verb, quiet }, extras, Cas(0))
            }
            Self::Store { mode, flags, exptime, cas, quiet, .. } => {
                let verb = match mode {
                    StoreMode::Set => Verb::Set,
                    StoreMode::Add => Verb::Add,
                    StoreMode::Replace => Verb::Replace,
                    StoreMode::Append => Verb::Append,
                    StoreMode::Prepend => Verb::Prepend,
                };
                let mut extras = Extras::new();
                if !matches!(mode, StoreMode::Append | StoreMode::Prepend) {
                    extras.push(&flags.0.to_be_bytes());
                    extras.push(&wire_exptime(exptime).to_be_bytes());
                }
                (Opcode { verb, quiet }, extras, cas.unwrap_or_default())
            }
            Self::Delete { cas, quiet, .. } => {
                (Opcode { verb: Verb::Delete, quiet }, Extras::new(), cas.unwrap_or_default())
            }
            Self::Arith { direction, delta, initial, cas, quiet, .. } => {
                let verb = match direction {
                    Arith::Incr => Verb::Increment,
                    Arith::Decr => Verb::Decrement,
                };
                let (initial, exptime) = match initial {
                    Some((initial, exptime)) => (initial, wire_exptime(exptime)),
                    None => (0, NO_INITIAL),
                };
                let mut extras = Extras::new();
                extras.push(&delta.to_be_bytes());
                extras.push(&initial.to_be_bytes());
                extras.push(&exptime.to_be_bytes());
                (Opcode { verb, quiet }, extras, cas.unwrap_or_default())
            }
            Self::Touch { exptime, .. } => {
                let mut extras = Extras::new();
                extras.push(&wire_exptime(exptime).to_be_bytes());
                (loud(Verb::Touch), extras, Cas(0))
            }
            Self::Flush { delay, quiet } => {
                let mut extras = Extras::new();
                // A moment before the server began flushes nothing; 0 is at once.
                if let Some(delay) = delay {
                    extras.push(&wire_exptime(delay.max(0)).to_be_bytes());
                }
                (Opcode { verb: Verb::Flush, quiet }, extras, Cas(0))
            }
            Self::Stats(_) => plain(Verb::Stat),
            Self::Version => plain(Verb::Version),
            Self::Noop => plain(Verb::Noop),
            Self::Quit => plain(Verb::Quit),
            Self::ConfigGet(_) => plain(Verb::ConfigGet),
            Self::ConfigList => plain(Verb::ConfigList),
            Self::ConfigSet { flags, .. } => {
                let mut extras = Extras::new();
                extras.push(&flags.0.to_be_bytes());
                (loud(Verb::ConfigSet), extras, Cas(0))
            }
            Self::ConfigDelete(_) => plain(Verb::ConfigDelete),
            Self::SaslList => plain(Verb::SaslList),
            Self::SaslAuth { .. } => plain(Verb::SaslAuth),
            Self::SaslStep { .. } => plain(Verb::SaslStep),
        }
    }

    /// The key and the value.
    fn body(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Get { key, .. }
            | Self::Delete { key, .. }
            | Self::Arith { key, .. }
            | Self::Touch { key, .. }
            | Self::ConfigGet(key)
            | Self::ConfigDelete(key) => (key.as_bytes(), b""),
            Self::ConfigSet { name, payload, .. } => (name.as_bytes(), payload),
            Self::Store { key, value, .. } => (key.as_bytes(), value),
            Self::SaslAuth { mechanism, data } | Self::SaslStep { mechanism, data } => {
                (mechanism.as_bytes(), data)
            }
            Self::Stats(what) => (what.unwrap_or_default().as_bytes(), b""),
            Self::Flush { .. }
            | Self::Version
            | Self::Noop
            | Self::Quit
            | Self::SaslList
            | Self::ConfigList => (b"", b""),
        }
    }
}

impl std::fmt::Debug for BinaryCommand<'_> {
    /// Without the value: a password may be in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Opcode { verb, quiet }, ..) = self.head();
        let key = self.body().0.escape_ascii().to_string();
        f.debug_struct("BinaryCommand")
            .field("verb", &verb)
            .field("quiet", &quiet)
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

fn wire_exptime(exptime: i32) -> u32 {
    u32::try_from(exptime).unwrap_or(PAST)
}

/// The extras of a request, 20 bytes at most.
struct Extras {
    bytes: [u8; 20],
    len: usize,
}

impl Extras {
    const fn new() -> Self {
        Self { bytes: [0; 20], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    const fn len(&self) -> usize {
        self.len
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
