//! What goes into a cache and what comes out.

use bytes::Bytes;
use nuthatch_types::{Cas, ItemFlags, Ttl};

use crate::error::Cause;

/// An item that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Item {
    /// The value, in memory of its own: it keeps nothing else alive.
    pub value: Bytes,
    /// What the client that stored the item put beside the value.
    pub flags: ItemFlags,
    /// The number for [`Client::cas`](crate::Client::cas); 0 from a server that keeps none (`-C`).
    pub cas: Cas,
}

impl Item {
    pub(crate) fn new(data: &[u8], flags: ItemFlags, cas: Option<Cas>) -> Self {
        Self { value: Bytes::copy_from_slice(data), flags, cas: cas.unwrap_or_default() }
    }
}

/// How to store an item. Made of a [`Ttl`] where that is all there is to say.
///
/// ```
/// use nuthatch_client::StoreOptions;
/// use nuthatch_client::types::{ItemFlags, Ttl};
///
/// let minute = StoreOptions::from(Ttl::secs(60));
/// assert_eq!(minute, StoreOptions::new().ttl(Ttl::secs(60)));
/// assert_ne!(minute, minute.flags(ItemFlags(1)));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreOptions {
    pub(crate) ttl: Ttl,
    pub(crate) flags: ItemFlags,
}

impl StoreOptions {
    /// No end of life, no flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the item may live; [`Ttl::NEVER`] without this.
    #[must_use]
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// The number that is kept beside the value; 0 without this.
    #[must_use]
    pub fn flags(mut self, flags: ItemFlags) -> Self {
        self.flags = flags;
        self
    }
}

impl From<Ttl> for StoreOptions {
    fn from(ttl: Ttl) -> Self {
        Self::new().ttl(ttl)
    }
}

/// Statistics, in the order in which the server gave them. Bytes that are no UTF-8 are replaced.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    all: Vec<(String, String)>,
    n_bytes: usize,
}

impl Stats {
    /// The value with this name, the first one if there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether the server had nothing to say: no item yet for `items`, or `reset`, which only acts.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes one more, unless nobody wants it.
    ///
    /// # Errors
    ///
    /// A server that does not come to an end.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8], is_wanted: bool) -> Result<(), Cause> {
        self.n_bytes += name.len() + value.len() + size_of::<(String, String)>();
        if self.n_bytes > STATS_BYTES_MAX {
            let (len, limit) = (self.n_bytes, STATS_BYTES_MAX);
            return Err(nuthatch_proto::Error::ValueTooLong { len, limit }.into());
        }
        if is_wanted {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            self.all.push((text(name), text(value)));
        }
        Ok(())
    }

    /// Takes a line that is not of the form `STAT name value` but has the same three parts:
    /// `ITEM key [5 b; 0 s]`, `PREFIX name get 1 hit 1 …`.
    pub(crate) fn push_line(&mut self, line: &[u8], is_wanted: bool) -> Result<(), Cause> {
        let mut parts = line.splitn(3, |byte| *byte == b' ').skip(1);
        let name = parts.next().unwrap_or_default();
        self.push(name, parts.next().unwrap_or_default(), is_wanted)
    }
}

/// More statistics than this no server has, in bytes of memory: a dump of a class of items ends at
/// 2 MiB.
const STATS_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_found_by_name_and_keep_their_order() {
        let mut stats = Stats::default();
        assert!(stats.is_empty());
        stats.push(b"pid", b"7", true).unwrap();
        stats.push(b"version", b"1.6 \xff", true).unwrap();
        stats.push_line(b"ITEM apple [5 b; 0 s]", true).unwrap();
        let all: Vec<_> = stats.iter().collect();
        assert_eq!(all, [("pid", "7"), ("version", "1.6 \u{fffd}"), ("apple", "[5 b; 0 s]")]);
        assert_eq!((stats.get("apple"), stats.get("pear")), (Some("[5 b; 0 s]"), None));
        assert_eq!(stats.len(), 3);
    }
}
