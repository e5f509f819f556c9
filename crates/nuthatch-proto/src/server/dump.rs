//! The lines of the dumps: `lru_crawler metadump`, `lru_crawler mgdump`, `stats cachedump`.

use std::io::Write as _;

use nuthatch_types::{Cas, ItemFlags};

use super::feed::Output;
use crate::text::{base64, encode};

/// What a dump says about an item.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "handlers make them; the protocol sets the fields")]
pub struct DumpFacts<'a> {
    /// The key, as it is.
    pub key: &'a [u8],
    /// The item was stored with a base64 key.
    pub key_is_binary: bool,
    /// When the item expires, in seconds of Unix time; `None` if it never does.
    pub expires_at: Option<u64>,
    /// When the item was last looked at, in seconds of Unix time.
    pub last_access: u64,
    /// The CAS number.
    pub cas: Cas,
    /// Whether the item has been fetched.
    pub fetched: bool,
    /// The slab class.
    pub class: u8,
    /// The item's whole size in bytes, header included.
    pub size: usize,
    /// The value's length in bytes.
    pub value_len: usize,
    /// The client flags.
    pub flags: ItemFlags,
}

impl Output<'_> {
    /// Appends a line of `lru_crawler metadump`. Keys are percent-encoded; a space and a bare line
    /// feed end the line.
    pub fn metadump(&mut self, facts: &DumpFacts<'_>) {
        self.push(b"key=");
        for &byte in facts.key {
            match byte {
                b'-' | b'.' | b'_' | b'~' => self.push(&[byte]),
                byte if byte.is_ascii_alphanumeric() => self.push(&[byte]),
                byte => self.format(format_args!("%{byte:02X}")),
            }
        }
        match facts.expires_at {
            Some(time) => self.format(format_args!(" exp={time}")),
            None => self.push(b" exp=-1"),
        }
        let DumpFacts { last_access, cas, class, size, flags, .. } = *facts;
        let fetched = if facts.fetched { "yes" } else { "no" };
        self.format(format_args!(
            " la={last_access} cas={} fetch={fetched} cls={class} size={size} flags={} \n",
            cas.0, flags.0
        ));
    }

    /// Appends a line of `lru_crawler mgdump`: a command that fetches the item.
    pub fn mgdump(&mut self, facts: &DumpFacts<'_>) {
        self.push(b"mg ");
        if facts.key_is_binary || encode::breaks_line(facts.key) {
            base64::encode(facts.key, self.bytes);
            self.push(b" b");
        } else {
            self.push(facts.key);
        }
        self.push(encode::CRLF);
    }

    /// Appends a line of `stats cachedump`, unless the key is binary.
    pub fn cachedump(&mut self, facts: &DumpFacts<'_>) {
        if facts.key_is_binary || encode::breaks_line(facts.key) {
            return;
        }
        self.push(b"ITEM ");
        self.push(facts.key);
        let (len, time) = (facts.value_len, facts.expires_at.unwrap_or(0));
        self.format(format_args!(" [{len} b; {time} s]\r\n"));
    }

    fn format(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(facts: DumpFacts<'_>, lines: [&str; 3]) {
        let mut written = [const { Vec::new() }; 3];
        let [meta, mg, cache] = &mut written;
        Output::new(meta).metadump(&facts);
        Output::new(mg).mgdump(&facts);
        Output::new(cache).cachedump(&facts);
        let written = written.map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(written.each_ref().map(String::as_str), lines);
    }

    /// As memcached 1.6.45 wrote them.
    #[test]
    fn lines_are_memcached_s() {
        let facts = DumpFacts {
            key: b"a%b",
            key_is_binary: false,
            expires_at: None,
            last_access: 1_795_364_491,
            cas: Cas(2),
            fetched: true,
            class: 1,
            size: 63,
            value_len: 1,
            flags: ItemFlags(0),
        };
        check(
            facts,
            [
                "key=a%25b exp=-1 la=1795364491 cas=2 fetch=yes cls=1 size=63 flags=0 \n",
                "mg a%b\r\n",
                "ITEM a%b [1 b; 0 s]\r\n",
            ],
        );
        let later = DumpFacts {
            key: "c:/~_-.é".as_bytes(),
            expires_at: Some(1_795_364_591),
            fetched: false,
            flags: ItemFlags(5),
            ..facts
        };
        check(
            later,
            [
                "key=c%3A%2F~_-.%C3%A9 exp=1795364591 la=1795364491 cas=2 fetch=no cls=1 size=63 \
                 flags=5 \n",
                "mg c:/~_-.é\r\n",
                "ITEM c:/~_-.é [1 b; 1795364591 s]\r\n",
            ],
        );
        let binary = DumpFacts { key: b"foo", key_is_binary: true, ..facts };
        check(
            binary,
            [
                "key=foo exp=-1 la=1795364491 cas=2 fetch=yes cls=1 size=63 flags=0 \n",
                "mg Zm9v b\r\n",
                "",
            ],
        );
    }

    #[test]
    fn a_key_that_breaks_lines_breaks_none() {
        let key = b"a b\r\n";
        let facts = DumpFacts {
            key,
            key_is_binary: false,
            expires_at: None,
            last_access: 0,
            cas: Cas(0),
            fetched: false,
            class: 1,
            size: 1,
            value_len: 0,
            flags: ItemFlags(0),
        };
        check(
            facts,
            [
                "key=a%20b%0D%0A exp=-1 la=0 cas=0 fetch=no cls=1 size=1 flags=0 \n",
                "mg YSBiDQo= b\r\n",
                "",
            ],
        );
    }
}
