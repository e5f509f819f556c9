//! What each key may answer.
//!
//! Every key has one writer, who counts its versions up; a value says its key and version. An
//! answer is **wrong**, whatever has failed, if it
//!
//! - is another key's or is not whole,
//! - has a version that nobody has begun to write, or whose call failed as surely not sent,
//! - counts more than was counted (an `incr` done twice).
//!
//! Where the reader and the last acknowledged write went to the same node, and nothing has happened
//! to that node in between (its memory lost; put aside or taken back by any client, or by the
//! list), these are wrong too:
//!
//! - a miss, also as the answer to `cas` or `incr`,
//! - an older version than the acknowledged one,
//! - `EXISTS` for the one writer's own `cas`.
//!
//! With one exception, which is no cache's fault: a write that its caller was told nothing of (time
//! up, connection ended, dropped) may arrive **late**, after ones that came later on another
//! connection, when a stopped or cut off node goes on. Those are counted apart.
//!
//! Elsewhere a miss or an older version is what a cache is expected to do, and is counted: the node
//! has come back empty; or it has come back with what it had, while its keys were on another node
//! (`OnFailure::NextInRing`, or a list without it).

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Where a call went, and how often anything had happened to the nodes that it might have gone to.
/// Two that are the same mean the same memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) happened: Vec<(String, u64)>,
}

/// A place if it was the same before and after.
pub(super) fn steady(before: Option<Place>, after: Option<Place>) -> Option<Place> {
    before.filter(|before| after.as_ref() == Some(before))
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The highest version that was begun to be written.
    begun: u64,
    acked: u64,
    /// Where the acknowledged one is.
    place: Option<Place>,
    /// Begun and neither acknowledged nor surely not done.
    unknown: Vec<u64>,
    unsent: Vec<u64>,
}

/// What a reader knew before it asked.
#[derive(Debug)]
pub(super) struct Floor {
    acked: u64,
    place: Option<Place>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    Yes,
    No,
    Unsent,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    entry: Mutex<Entry>,
}

/// How often what was seen.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) n_right: AtomicU64,
    /// Answers that are wrong; the first few are kept.
    pub(super) n_wrong: AtomicU64,
    pub(super) wrong: Mutex<Vec<String>>,
    /// Legal where something has happened.
    pub(super) n_missing: AtomicU64,
    pub(super) n_old: AtomicU64,
    pub(super) n_late: AtomicU64,
}

impl Judge {
    pub(super) fn wrong(&self, what: String) {
        eprintln!("WRONG: {what}");
        self.n_wrong.fetch_add(1, Ordering::Relaxed);
        self.wrong.lock().push(what);
    }

    fn count(&self, of: &AtomicU64) {
        of.fetch_add(1, Ordering::Relaxed);
    }
}

impl Key {
    pub(super) fn new(name: String) -> Self {
        Self { name, entry: Mutex::default() }
    }

    /// A value for the next version.
    pub(super) fn begin(&self) -> (u64, String) {
        let mut entry = self.entry.lock();
        entry.begun += 1;
        (entry.begun, value(&self.name, entry.begun))
    }

    pub(super) fn end(&self, version: u64, written: Written, place: Option<Place>) {
        let mut entry = self.entry.lock();
        match written {
            Written::Yes => {
                entry.acked = version;
                entry.place = place;
            }
            Written::No => {}
            Written::Unsent => entry.unsent.push(version),
            Written::Unknown => entry.unknown.push(version),
        }
    }

    /// Whether something of this key may still be on its way.
    pub(super) fn has_unknown(&self) -> bool {
        !self.entry.lock().unknown.is_empty()
    }

    pub(super) fn floor(&self) -> Floor {
        let entry = self.entry.lock();
        Floor { acked: entry.acked, place: entry.place.clone() }
    }

    /// Whether an answer must be at least as new as the floor.
    pub(super) fn is_strict(floor: &Floor, place: Option<&Place>) -> bool {
        place.is_some() && floor.acked > 0 && floor.place.as_ref() == place
    }

    /// An answer to one who knew `floor` when the question was asked at `place`.
    pub(super) fn judge(
        &self,
        judge: &Judge,
        who: &str,
        answer: Option<&[u8]>,
        floor: &Floor,
        place: Option<&Place>,
    ) {
        let is_strict = Self::is_strict(floor, place);
        let entry = self.entry.lock();
        let known = format!("{who}: {}, {floor:?} at {place:?}, {entry:?}", self.name);
        let Some(answer) = answer else {
            return match (is_strict, floor.acked) {
                (true, _) => judge.wrong(format!("a miss: {known}")),
                (false, 0) => judge.count(&judge.n_right),
                (false, _) => judge.count(&judge.n_missing),
            };
        };
        let Some(version) = version(&self.name, answer) else {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(100)]).into_owned();
            return judge.wrong(format!("not this key's: {shown}: {known}"));
        };
        if version > entry.begun || entry.unsent.contains(&version) {
            return judge.wrong(format!("nobody has sent version {version}: {known}"));
        }
        if version >= floor.acked {
            return judge.count(&judge.n_right);
        }
        if entry.unknown.contains(&version) {
            return judge.count(&judge.n_late);
        }
        if is_strict {
            return judge.wrong(format!("version {version} is old: {known}"));
        }
        judge.count(&judge.n_old);
    }
}

/// A value that says whose it is, of a length that differs from version to version.
fn value(key: &str, version: u64) -> String {
    let len = usize::try_from(version.wrapping_mul(2_654_435_761) % 1500).unwrap();
    let filler: String = key.chars().cycle().take(len).collect();
    format!("{key} {version} {len} {filler}.")
}

fn version(key: &str, answer: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(answer).ok()?;
    let version = text.strip_prefix(key)?.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
    (text == value(key, version)).then_some(version)
}

/// A number that is counted up.
#[derive(Debug, Default)]
pub(super) struct Counter {
    n_tried: u64,
    n_unknown: u64,
    last: u64,
    /// Where the last answer is from.
    place: Option<Place>,
    /// A number that was put there and may come late.
    is_unsure: bool,
}

impl Counter {
    pub(super) fn try_one(&mut self) {
        self.n_tried += 1;
    }

    pub(super) fn n_tried(&self) -> u64 {
        self.n_tried
    }

    /// The number was put there, or perhaps.
    pub(super) fn begun_anew(&mut self, written: Written, place: Option<Place>) {
        self.place = None;
        match written {
            Written::Yes => (self.last, self.place) = (self.n_tried, place),
            Written::Unknown => self.is_unsure = true,
            Written::No | Written::Unsent => {}
        }
    }

    pub(super) fn failed(&mut self, written: Written) {
        match written {
            Written::Unsent => self.n_tried -= 1,
            _ => self.n_unknown += 1,
        }
    }

    /// What `incr` has answered; whether the number has to be put there.
    pub(super) fn answered(
        &mut self,
        judge: &Judge,
        who: &str,
        answer: Option<u64>,
        place: Option<Place>,
    ) -> bool {
        let is_strict = place.is_some() && self.place == place;
        let Some(answer) = answer else {
            self.n_tried -= 1;
            if is_strict {
                judge.wrong(format!("{who}: no number: {self:?} at {place:?}"));
            }
            self.place = None;
            return true;
        };
        if answer > self.n_tried + self.n_unknown {
            judge.wrong(format!("{who}: {answer} is more than was counted: {self:?} at {place:?}"));
        } else if is_strict && !self.is_unsure && answer <= self.last {
            judge.wrong(format!("{who}: {answer} is less than was counted: {self:?}"));
        } else {
            judge.count(&judge.n_right);
        }
        (self.last, self.place) = (answer, place);
        false
    }
}
