//! `stats detail`: what is done with the keys of each prefix.
//!
//! The prefix of a key is what stands before its first delimiter (`-D`); keys without one belong to
//! none. Counting takes a lock that all workers share, as in memcached: it is for looking closely
//! for a while, and costs nothing while it is off (see [`Gate`]).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Bound;
use std::sync::Arc;
use std::task::{Context, Poll};

use nuthatch_proto::{Detail, Fed, Feed, Outcome, Output, Reply};
use parking_lot::Mutex;

use super::{Engine, ItemPin, Shared};
use crate::logger::Gate;

/// How many prefixes are told apart; those that come later are not counted. memcached's figure.
const PREFIXES_MAX: usize = 1 << 16;

/// How many prefixes one turn of a dump shows at most.
const LINES_PER_TURN: usize = 256;

/// Where a dump in the binary protocol ends, for it is a single frame and is made at once, in bytes.
const BINARY_DUMP_BYTES_MAX: usize = 1 << 20;

/// What was done with the keys of a prefix.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// The counts of all prefixes. In order, so that a dump can go on where it stopped.
#[derive(Debug)]
pub(super) struct Prefixes {
    delimiter: u8,
    counts: Mutex<BTreeMap<Box<[u8]>, Counts>>,
}

impl Prefixes {
    pub(super) fn new(delimiter: u8) -> Self {
        Self { delimiter, counts: Mutex::default() }
    }

    pub(super) fn get(&self, key: &[u8], is_hit: bool) {
        self.count(key, |counts| {
            counts.gets += 1;
            counts.hits += u64::from(is_hit);
        });
    }

    pub(super) fn set(&self, key: &[u8]) {
        self.count(key, |counts| counts.sets += 1);
    }

    pub(super) fn delete(&self, key: &[u8]) {
        self.count(key, |counts| counts.deletes += 1);
    }

    pub(super) fn clear(&self) {
        self.counts.lock().clear();
    }

    fn count(&self, key: &[u8], add: impl FnOnce(&mut Counts)) {
        let Some(prefix) = self.prefix(key) else { return };
        let mut all = self.counts.lock();
        if let Some(counts) = all.get_mut(prefix) {
            add(counts);
        } else if all.len() < PREFIXES_MAX {
            add(all.entry(prefix.into()).or_default());
        }
    }

    /// A byte 0, which only binary keys have, ends the search as it does in memcached.
    fn prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let len = key.iter().position(|&byte| byte == self.delimiter || byte == 0)?;
        (key[len] == self.delimiter).then(|| &key[..len])
    }
}

impl Engine {
    pub(super) fn stats_detail(&self, detail: Detail, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        match detail {
            Detail::On | Detail::Off => {
                self.gate.set(Gate::DETAIL, detail == Detail::On);
                reply.line("OK");
                Outcome::Done
            }
            Detail::Dump if reply.is_binary() => {
                let mut feed = PrefixFeed { shared: Arc::clone(&self.shared), after: None };
                let mut text = Vec::new();
                while text.len() < BINARY_DUMP_BYTES_MAX && feed.show(&mut Output::new(&mut text)) {
                }
                reply.raw(&text);
                reply.end();
                Outcome::Done
            }
            Detail::Dump => {
                reply.feed(PrefixFeed { shared: Arc::clone(&self.shared), after: None })
            }
        }
    }
}

/// Shows the prefixes at the pace of the client.
struct PrefixFeed {
    shared: Arc<Shared>,
    /// The last prefix shown.
    after: Option<Box<[u8]>>,
}

impl PrefixFeed {
    /// Appends some lines, and says whether there are more.
    fn show(&mut self, out: &mut Output<'_>) -> bool {
        let all = self.shared.prefixes.counts.lock();
        let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = all.range::<[u8], _>((from, Bound::Unbounded));
        let mut last = None;
        for _ in 0..LINES_PER_TURN {
            if out.room() == 0 {
                break;
            }
            let Some((prefix, counts)) = rest.next() else {
                out.push(b"END\r\n");
                return false;
            };
            let Counts { gets, hits, sets, deletes } = counts;
            out.push(b"PREFIX ");
            push_word(prefix, out);
            // Writing to memory does not fail.
            let _ = write!(out, " get {gets} hit {hits} set {sets} del {deletes}\r\n");
            last = Some(prefix.clone());
        }
        drop(all);
        if last.is_some() {
            self.after = last;
        }
        true
    }
}

impl Feed for PrefixFeed {
    fn poll_feed(&mut self, _: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed> {
        Poll::Ready(if self.show(out) { Fed::More } else { Fed::End })
    }
}

/// Appends a prefix as it is, but for what would end the word or the line: that goes as `%` and two
/// digits.
fn push_word(prefix: &[u8], out: &mut Output<'_>) {
    for &byte in prefix {
        if byte <= b' ' || byte == 0x7f {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(&[byte]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(prefixes: &Prefixes) -> Vec<(String, [u64; 4])> {
        let all = prefixes.counts.lock();
        all.iter()
            .map(|(prefix, &Counts { gets, hits, sets, deletes })| {
                (String::from_utf8_lossy(prefix).into_owned(), [gets, hits, sets, deletes])
            })
            .collect()
    }

    #[test]
    fn keys_count_for_what_stands_before_the_delimiter() {
        let prefixes = Prefixes::new(b':');
        prefixes.get(b"foo:1", true);
        prefixes.get(b"foo:2:3", false);
        prefixes.set(b"fo:1");
        prefixes.delete(b":");
        prefixes.set(b"foo");
        prefixes.set(b"foo\0:");
        prefixes.set(b"");
        assert_eq!(
            counted(&prefixes),
            [
                (String::new(), [0, 0, 0, 1]),
                ("fo".to_owned(), [0, 0, 1, 0]),
                ("foo".to_owned(), [2, 1, 0, 0])
            ]
        );
        prefixes.clear();
        assert_eq!(counted(&prefixes), []);
    }

    #[test]
    fn there_are_only_so_many_prefixes() {
        let prefixes = Prefixes::new(b'/');
        for n in 0..PREFIXES_MAX + 10 {
            prefixes.set(format!("{n}/x").as_bytes());
        }
        // Those that are there count on.
        prefixes.set(b"0/y");
        let counted = counted(&prefixes);
        assert_eq!(counted.len(), PREFIXES_MAX);
        assert_eq!(counted[0], ("0".to_owned(), [0, 0, 2, 0]));
    }
}
