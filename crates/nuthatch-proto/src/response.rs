//! What a client can hear.

use nuthatch_types::{Cas, Deleted, ItemFlags, Stored};

use crate::server::MetaStatus;
use crate::text::{Tokens, base64, number};

/// One answer, or one part of an answer that has several; borrowed from the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Response<'a> {
    /// An item of a retrieval. More follows.
    Value {
        /// The item's key.
        key: &'a [u8],
        /// The client flags.
        flags: ItemFlags,
        /// The CAS number, if it was asked for.
        cas: Option<Cas>,
        /// The value.
        data: &'a [u8],
    },
    /// The end of a retrieval, of statistics, of a dump or of configurations.
    End,
    /// The outcome of a store command.
    Stored(Stored),
    /// The outcome of a `delete`.
    Deleted(Deleted),
    /// The outcome of a `touch`: whether there was an item.
    Touched(bool),
    /// The outcome of `incr` and `decr`; `None` if there was no item.
    Number(Option<u64>),
    /// The answer to a meta command.
    Meta(MetaResponse<'a>),
    /// A quiet meta command was not answered: `mg` has missed, any other has succeeded.
    Unsaid,
    /// `mn` has been answered.
    Noop,
    /// The line of `me`, after the key; `None` if there was no item.
    Debug(Option<&'a [u8]>),
    /// The server's version.
    Version(&'a [u8]),
    /// A statistic. More follows.
    Stat {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// A configuration. More follows.
    Config {
        /// Its name; empty where a binary server was asked for this one.
        name: &'a [u8],
        /// The client flags.
        flags: ItemFlags,
        /// The payload.
        data: &'a [u8],
    },
    /// A line as it is: of a dump, of statistics that are not `STAT` lines, or the answer to
    /// another command.
    Line(&'a [u8]),
    /// The server refused.
    Error(ErrorReply<'a>),
}

/// An error line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ErrorReply<'a> {
    /// Who is to blame.
    pub kind: ErrorKind,
    /// What the server says about it; often nothing after `ERROR`.
    pub text: &'a [u8],
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum ErrorKind {
    /// `ERROR`: the server does not know the command.
    Unknown,
    /// `CLIENT_ERROR`: the command was wrong.
    Client,
    /// `SERVER_ERROR`: the server could not.
    Server,
}

impl<'a> ErrorReply<'a> {
    /// Reads an error line, if it is one.
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        let rest = |kind, name: &[u8]| {
            let rest = line.strip_prefix(name)?;
            // `SERVER_ERROR: shutdown not enabled` is memcached's own.
            let rest = rest.strip_prefix(b":").unwrap_or(rest);
            let is_word_end = rest.is_empty() || rest.starts_with(b" ");
            is_word_end.then(|| Self { kind, text: rest.trim_ascii_start() })
        };
        rest(ErrorKind::Client, b"CLIENT_ERROR")
            .or_else(|| rest(ErrorKind::Server, b"SERVER_ERROR"))
            .or_else(|| rest(ErrorKind::Unknown, b"ERROR"))
    }
}

/// The answer to a meta command.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MetaResponse<'a> {
    /// What became of it. A value (`VA`) counts as [`MetaStatus::Done`].
    pub status: MetaStatus,
    /// The value, if it came.
    pub value: Option<&'a [u8]>,
    flags: &'a [u8],
}

impl<'a> MetaResponse<'a> {
    pub(crate) const fn new(status: MetaStatus, value: Option<&'a [u8]>, flags: &'a [u8]) -> Self {
        Self { status, value, flags }
    }

    /// The return flags one by one, as they stand on the line.
    pub fn tokens(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Tokens(self.flags)
    }

    /// Whether a flag is there, by its letter.
    pub fn has(&self, letter: u8) -> bool {
        self.argument(letter).is_some()
    }

    /// What follows a flag's letter, if the flag is there.
    pub fn argument(&self, letter: u8) -> Option<&'a [u8]> {
        self.tokens().find(|token| token[0] == letter).map(|token| &token[1..])
    }

    /// `c`: the CAS number.
    pub fn cas(&self) -> Option<Cas> {
        number::u64_strict(self.argument(b'c')?).map(Cas)
    }

    /// `f`: the client flags.
    pub fn flags(&self) -> Option<ItemFlags> {
        number::u32_strict(self.argument(b'f')?).map(ItemFlags)
    }

    /// `k` as it stands on the line, `f` and `c`, all in one look at the line, for whoever gets many
    /// items with their keys.
    pub fn item(&self) -> (Option<&'a [u8]>, Option<ItemFlags>, Option<Cas>) {
        let (mut key, mut flags, mut cas) = (None, None, None);
        for token in self.tokens() {
            let argument = &token[1..];
            match token[0] {
                b'k' if key.is_none() => key = Some(argument),
                b'f' if flags.is_none() => flags = number::u32_strict(argument).map(ItemFlags),
                b'c' if cas.is_none() => cas = number::u64_strict(argument).map(Cas),
                _ => {}
            }
        }
        (key, flags, cas)
    }

    /// `s`: the value's length in bytes.
    pub fn size(&self) -> Option<usize> {
        usize::try_from(number::u64_strict(self.argument(b's')?)?).ok()
    }

    /// `t`: the seconds left to live; −1 if the item never expires.
    pub fn ttl(&self) -> Option<i64> {
        number::i64_strict(self.argument(b't')?)
    }

    /// `l`: the seconds since the last access.
    pub fn last_access(&self) -> Option<u32> {
        number::u32_strict(self.argument(b'l')?)
    }

    /// `h`: whether the item had been fetched before.
    pub fn is_hit_before(&self) -> Option<bool> {
        Some(self.argument(b'h')? == b"1")
    }

    /// `O`: the opaque token.
    pub fn opaque(&self) -> Option<&'a [u8]> {
        self.argument(b'O')
    }

    /// `k`: the key, decoded if it came in base64.
    pub fn key(&self) -> Option<Vec<u8>> {
        let key = self.argument(b'k')?;
        if !self.has(b'b') {
            return Some(key.to_vec());
        }
        let mut decoded = vec![0; key.len()];
        let len = base64::decode(key, &mut decoded)?;
        decoded.truncate(len);
        Some(decoded)
    }

    /// `W`: this client is to recache the item.
    pub fn is_won(&self) -> bool {
        self.has(b'W')
    }

    /// `X`: the item is stale.
    pub fn is_stale(&self) -> bool {
        self.has(b'X')
    }

    /// `Z`: another client has been given the recache token.
    pub fn is_token_sent(&self) -> bool {
        self.has(b'Z')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_other_lines() {
        let read = |line: &'static str| ErrorReply::read(line.as_bytes());
        let error = |kind, text: &'static str| Some(ErrorReply { kind, text: text.as_bytes() });
        assert_eq!(read("ERROR"), error(ErrorKind::Unknown, ""));
        assert_eq!(read("CLIENT_ERROR bad data chunk"), error(ErrorKind::Client, "bad data chunk"));
        assert_eq!(
            read("SERVER_ERROR: shutdown not enabled"),
            error(ErrorKind::Server, "shutdown not enabled")
        );
        assert_eq!(read("ERRORS"), None);
        assert_eq!(read("Error TLS not enabled"), None);
    }

    #[test]
    fn return_flags_are_read() {
        let meta = MetaResponse::new(
            MetaStatus::Done,
            None,
            b" c18446744073709551615 f7 s3 t-1 l4 h1 kZm9v b O12 W X Z",
        );
        assert_eq!(meta.cas(), Some(Cas(u64::MAX)));
        assert_eq!(meta.flags(), Some(ItemFlags(7)));
        assert_eq!((meta.size(), meta.ttl(), meta.last_access()), (Some(3), Some(-1), Some(4)));
        assert_eq!(meta.is_hit_before(), Some(true));
        assert_eq!(meta.key().as_deref(), Some(&b"foo"[..]));
        assert_eq!(meta.opaque(), Some(&b"12"[..]));
        assert!(meta.is_won() && meta.is_stale() && meta.is_token_sent() && !meta.has(b'v'));
    }
}
