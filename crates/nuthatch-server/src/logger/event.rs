//! Events and their lines, in memcached's words.

use std::io::Write as _;

/// What has happened, without the key it happened to. Lengths are those of values, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A key was looked up (`fetchers`), by whichever command; `class` and `len` are 0 where there
    /// was nothing. `conn` is the connection that asked, where that is known.
    Get { status: GetStatus, class: u8, conn: Option<u64>, len: usize },
    /// A value was to be stored (`mutations`). `ttl` is what is left of its life span, in seconds,
    /// 0 for ever.
    Store {
        status: StoreStatus,
        cmd: &'static str,
        ttl: u32,
        class: u8,
        conn: Option<u64>,
        len: usize,
    },
    /// An item was thrown out alive (`evictions`).
    Eviction { was_fetched: bool, ttl: Option<u32>, last_access_secs: u32, class: u8, len: usize },
    /// An item was deleted (`deletions`).
    Deleted { cmd: &'static str, class: u8, len: usize },
    /// Something rare, already in words.
    Text,
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum GetStatus {
    NotFound,
    Found,
    Flushed,
    Expired,
}

impl GetStatus {
    fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Found => "found",
            Self::Flushed => "flushed",
            Self::Expired => "expired",
        }
    }
}

/// What became of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StoreStatus {
    NotStored,
    Stored,
    Exists,
    NotFound,
    TooLarge,
    NoMemory,
}

impl StoreStatus {
    fn word(self) -> &'static str {
        match self {
            Self::NotStored => "not_stored",
            Self::Stored => "stored",
            Self::Exists => "exists",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::NoMemory => "no_memory",
        }
    }
}

impl Event {
    /// Appends what follows the number of the event; `text` is its key.
    pub(super) fn write(&self, text: &[u8], out: &mut Vec<u8>) {
        let key = |name: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(name.as_bytes());
            uri_encode(text, out);
        };
        // Writing to memory does not fail.
        let _ = match *self {
            Self::Get { status, class, conn, len } => {
                key("type=item_get key=", out);
                write!(out, " status={} clsid={class} cfd={} size={len}", status.word(), cfd(conn))
            }
            Self::Store { status, cmd, ttl, class, conn, len } => {
                key("type=item_store key=", out);
                let (status, conn) = (status.word(), cfd(conn));
                write!(
                    out,
                    " status={status} cmd={cmd} ttl={ttl} clsid={class} cfd={conn} size={len}"
                )
            }
            Self::Eviction { was_fetched, ttl, last_access_secs: la, class, len } => {
                key("type=eviction key=", out);
                let fetch = if was_fetched { "yes" } else { "no" };
                let ttl = ttl.map_or(-1, i64::from);
                write!(out, " fetch={fetch} ttl={ttl} la={la} clsid={class} size={len}")
            }
            Self::Deleted { cmd, class, len } => {
                key("type=deleted key=", out);
                write!(out, " cmd={cmd} clsid={class} size={len}")
            }
            Self::Text => {
                out.extend_from_slice(text);
                Ok(())
            }
        };
    }
}

/// A connection's number as lines show it.
fn cfd(conn: Option<u64>) -> i64 {
    conn.and_then(|number| i64::try_from(number).ok()).unwrap_or(-1)
}

/// Appends a key as one word: every byte that is not unreserved in a URI as `%` and two digits.
fn uri_encode(key: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        match byte {
            b'-' | b'.' | b'_' | b'~' => out.push(byte),
            byte if byte.is_ascii_alphanumeric() => out.push(byte),
            byte => {
                let digit = |four: u8| DIGITS[usize::from(four)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: Event, text: &[u8], line: &str) {
        let mut written = Vec::new();
        event.write(text, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), line);
    }

    #[test]
    fn lines_are_memcached_s() {
        check(
            Event::Get { status: GetStatus::Found, class: 1, conn: Some(26), len: 5 },
            b"a:b/c",
            "type=item_get key=a%3Ab%2Fc status=found clsid=1 cfd=26 size=5",
        );
        check(
            Event::Get { status: GetStatus::Expired, class: 0, conn: Some(26), len: 0 },
            b"a-b_c.d~e",
            "type=item_get key=a-b_c.d~e status=expired clsid=0 cfd=26 size=0",
        );
        check(
            Event::Store {
                status: StoreStatus::TooLarge,
                cmd: "cas",
                ttl: 60,
                class: 3,
                conn: None,
                len: 100,
            },
            &[0xff, b' ', b'\n'],
            "type=item_store key=%FF%20%0A status=too_large cmd=cas ttl=60 clsid=3 cfd=-1 size=100",
        );
        let eviction = |ttl| Event::Eviction {
            was_fetched: ttl == Some(5),
            ttl,
            last_access_secs: 9,
            class: 2,
            len: 11,
        };
        check(eviction(None), b"k", "type=eviction key=k fetch=no ttl=-1 la=9 clsid=2 size=11");
        check(eviction(Some(5)), b"k", "type=eviction key=k fetch=yes ttl=5 la=9 clsid=2 size=11");
        check(
            Event::Deleted { cmd: "md", class: 1, len: 4 },
            b"k",
            "type=deleted key=k cmd=md clsid=1 size=4",
        );
        check(
            Event::Text,
            b"type=slab_move src=1 dst=2 state=ok",
            "type=slab_move src=1 dst=2 state=ok",
        );
    }
}
