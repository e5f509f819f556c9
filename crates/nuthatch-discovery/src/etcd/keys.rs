//! What is known of the keys under a prefix: from what etcd says to lists and their versions.
//!
//! Nothing is asked here, so that tests and a fuzzer can say what no etcd says.

use std::collections::BTreeMap;

use nuthatch_types::Node;
use serde_json::{Value, json};

use super::{
    NODES, VERSION,
    gateway::{bytes_of, number, shown},
};
use crate::{Member, Members, SourceError};

/// The keys under a prefix, as far as they have been heard of.
pub(super) struct Keys {
    prefix: String,
    /// Members by their keys' names.
    members: BTreeMap<String, Member>,
    /// The revision of the last change under the prefix.
    changed: u64,
    /// What is added to it.
    base: u64,
    /// When the key of that was written.
    marked: u64,
    /// Which store it is, and how far it has come.
    store: Store,
}

/// What every answer says of who answers.
#[derive(Clone, Debug, Default)]
struct Store {
    cluster: String,
    term: u64,
    revision: u64,
}

/// What a watch has said.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// Nothing of keys.
    Nothing,
    /// What would be next is no longer there.
    Compacted,
    /// It ends, for this reason.
    Ended(String),
    /// Keys have changed; watching goes on at `next`. Perhaps somebody has left, and it is not
    /// written down.
    Changed { next: u64, has_left: bool },
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            members: BTreeMap::new(),
            changed: 0,
            base: 0,
            marked: 0,
            store: Store::default(),
        }
    }

    /// Takes everything that is under the prefix, and gives the revision at which that was so, and
    /// whether what was told before cannot have led to this list in this version: then somebody
    /// has left and nobody was there to write it down, or the store was set back. The list has the
    /// version of the store itself then.
    ///
    /// # Errors
    ///
    /// [`SourceError::WentBack`] where even that is less than what was told.
    pub(super) fn read(
        &mut self,
        answer: &Value,
        told: Option<&Members>,
    ) -> Result<(u64, bool), SourceError> {
        self.members.clear();
        (self.changed, self.base, self.marked) = (0, 0, 0);
        self.store = Store::of(answer);
        for pair in answer["kvs"].as_array().into_iter().flatten() {
            self.put(pair)?;
        }
        let revision = self.store.revision;
        let Some(told) = told else { return Ok((revision, false)) };
        let list = self.list();
        let is_lost =
            list.version() < told.version() || (list.version() == told.version() && list != *told);
        if is_lost {
            self.changed = revision;
        }
        let (have, got) = (told.version(), self.list().version());
        if got < have { Err(SourceError::WentBack { have, got }) } else { Ok((revision, is_lost)) }
    }

    /// Takes what a watch says.
    ///
    /// # Errors
    ///
    /// [`SourceError::TooMany`] for more members than can be meant.
    pub(super) fn heard(&mut self, said: &Value) -> Result<Said, SourceError> {
        if number(&said["compact_revision"]) > 0 {
            return Ok(Said::Compacted);
        }
        if said["canceled"] == true {
            return Ok(Said::Ended(shown(&said["cancel_reason"])));
        }
        let Some(events) = said["events"].as_array().filter(|events| !events.is_empty()) else {
            return Ok(Said::Nothing);
        };
        // Not the header's, which may be ahead of events that are still to come.
        let mut last = 0;
        let mut left_at = 0;
        for event in events {
            let pair = &event["kv"];
            let revision = number(&pair["mod_revision"]);
            last = last.max(revision);
            if event["type"] == "DELETE" {
                self.changed = self.changed.max(revision);
                left_at = left_at.max(revision);
                if let Some(name) = self.name(pair) {
                    self.members.remove(&name);
                }
            } else {
                self.put(pair)?;
            }
        }
        self.store.revision = self.store.revision.max(last);
        Ok(Said::Changed { next: last + 1, has_left: left_at > self.marked })
    }

    /// Whether who answers is another store than before, or has been set back.
    pub(super) fn is_other(&mut self, answer: &Value) -> bool {
        let store = Store::of(answer);
        let is_other = store.cluster != self.store.cluster
            || store.term < self.store.term
            || store.revision < self.store.revision;
        self.store = store;
        is_other
    }

    /// What is added to revisions.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// When that was written.
    pub(super) fn marked(&self) -> u64 {
        self.marked
    }

    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    pub(super) fn list(&self) -> Members {
        let version = self.base.saturating_add(self.changed).min(LARGEST_VERSION);
        Members::new(version, self.members.values().cloned().collect())
    }

    fn put(&mut self, pair: &Value) -> Result<(), SourceError> {
        let revision = number(&pair["mod_revision"]);
        self.changed = self.changed.max(revision);
        let value = bytes_of(&pair["value"]);
        if let Some(name) = self.name(pair) {
            match member(&value) {
                Some(member) => self.members.insert(name, member),
                None => self.members.remove(&name),
            };
            let members = self.members.len();
            if members > MEMBERS_MAX {
                return Err(SourceError::TooMany { members, limit: MEMBERS_MAX });
            }
        } else if bytes_of(&pair["key"]) == format!("{}{VERSION}", self.prefix).as_bytes() {
            self.base = base_of(&value);
            self.marked = revision;
        }
        Ok(())
    }

    /// The name of a member's key; `None` for any other key.
    fn name(&self, pair: &Value) -> Option<String> {
        let key = String::from_utf8(bytes_of(&pair["key"])).ok()?;
        key.strip_prefix(&self.prefix)?.strip_prefix(NODES).map(str::to_owned)
    }
}

impl Store {
    fn of(answer: &Value) -> Self {
        let header = &answer["header"];
        Self {
            cluster: header["cluster_id"].as_str().unwrap_or_default().to_owned(),
            term: number(&header["raft_term"]),
            revision: number(&header["revision"]),
        }
    }
}

/// What `PREFIX/version` says. What others have put there is 0, and so is what would leave no room
/// above it.
pub(super) fn base_of(value: &[u8]) -> u64 {
    let base = str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
    base.filter(|base| *base <= LARGEST_BASE).unwrap_or(0)
}

/// Hears answers and what a watch says, a line each, that come in pieces so long; for fuzzing.
///
/// # Panics
///
/// Where a list cannot be told to clients, or one that is read has a lower version than before.
#[cfg(fuzzing)]
pub fn hear_etcd(bytes: &[u8], piece: usize) {
    let (mut keys, mut lines) = (Keys::new("/p"), super::gateway::Lines::default());
    let mut told: Option<Members> = None;
    for bytes in bytes.chunks(piece) {
        lines.push(bytes);
        while let Some(line) = lines.next() {
            let Ok(said) = serde_json::from_slice::<Value>(&line) else { continue };
            if said["kvs"].is_array() {
                if keys.read(&said, told.as_ref()).is_err() {
                    continue;
                }
                let before = told.as_ref().map_or(0, Members::version);
                assert!(keys.list().version() >= before, "versions have gone down");
            } else if keys.heard(&said).is_err() {
                continue;
            }
            keys.is_other(&said);
            let list = keys.list();
            let payload = list.to_config().to_string();
            if payload.len() <= nuthatch_types::ClusterConfig::LEN_MAX {
                let read = nuthatch_types::ClusterConfig::parse(payload.as_bytes());
                let read = read.expect("what is told can be read");
                assert_eq!(Members::from(&read).len(), list.len());
            }
            told = Some(list);
        }
    }
}

/// A member as its key has it.
pub(super) fn value_of(member: &Member) -> String {
    let node = member.node();
    let mut value = json!({
        "host": node.host(),
        "address": node.address().unwrap_or_default(),
        "port": node.port(),
        "weight": member.weight(),
    });
    if let Some(name) = member.tls_name() {
        value["tls_name"] = name.into();
    }
    if let Some(zone) = member.zone() {
        value["zone"] = zone.into();
    }
    value.to_string()
}

/// Reads such a value; what others have put there may be anything.
fn member(value: &[u8]) -> Option<Member> {
    let value: Value = serde_json::from_slice(value).ok()?;
    let text = |name: &str| value[name].as_str();
    let port = u16::try_from(value["port"].as_u64()?).ok()?;
    let node = Node::new(text("host").unwrap_or(""), text("address").unwrap_or(""), port).ok()?;
    let weight = value["weight"].as_u64().and_then(|weight| u32::try_from(weight).ok());
    let mut member = Member::new(node).with_weight(weight.unwrap_or(Member::WEIGHT));
    let short = |name: &str| text(name).filter(|text| text.len() <= Node::HOST_LEN_MAX);
    if let Some(name) = short("tls_name") {
        member = member.with_tls_name(name);
    }
    if let Some(zone) = short("zone") {
        member = member.with_zone(zone);
    }
    Some(member)
}

/// The largest version: clients read it as a number with a sign.
const LARGEST_VERSION: u64 = i64::MAX as u64;

/// The largest number that is added to revisions, so that they still count above it.
const LARGEST_BASE: u64 = LARGEST_VERSION / 2;

/// More members than any list has; what is more is not kept in memory.
const MEMBERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::{super::gateway::base64, *};

    #[test]
    fn a_member_is_what_its_key_says() {
        let node = Node::new("a.example", "10.0.0.1", 11211).unwrap();
        let plain = Member::new(node.clone());
        assert_eq!(
            value_of(&plain),
            r#"{"address":"10.0.0.1","host":"a.example","port":11211,"weight":1}"#
        );
        let full = Member::new(node).with_weight(3).with_tls_name("*.example").with_zone("z");
        for written in [plain, full] {
            assert_eq!(member(value_of(&written).as_bytes()), Some(written));
        }
        let sparse = member(br#"{"host":"b","port":1,"more":[]}"#).unwrap();
        assert_eq!(sparse.to_string(), "b||1");
    }

    #[test]
    fn what_others_have_put_there_is_no_member() {
        for value in [
            "",
            "x",
            "[]",
            "7",
            "{}",
            r#"{"host":"a"}"#,
            r#"{"host":"a","port":0}"#,
            r#"{"host":"a","port":65536}"#,
            r#"{"host":"a b","port":1}"#,
            r#"{"host":"a\n5 b","port":1}"#,
            r#"{"host":"a\u2028b","port":1}"#,
            r#"{"host":"a","address":"1 2","port":1}"#,
            r#"{"port":1}"#,
            r#"{"host":"a|b","port":1}"#,
            r#"{"host":"a","port":"1"}"#,
        ] {
            assert_eq!(member(value.as_bytes()), None, "{value}");
        }
    }

    fn pair(key: &str, value: &str, revision: u64) -> Value {
        json!({
            "key": base64(key), "value": base64(value), "mod_revision": revision.to_string(),
        })
    }

    fn node(name: &str, revision: u64) -> Value {
        let value = format!(r#"{{"host":"{name}","port":1}}"#);
        pair(&format!("/p/nodes/{name}"), &value, revision)
    }

    fn header(revision: u64) -> Value {
        json!({ "cluster_id": "7", "raft_term": "3", "revision": revision.to_string() })
    }

    fn all(revision: u64, pairs: &[Value]) -> Value {
        json!({ "header": header(revision), "kvs": pairs })
    }

    fn put(pair: Value) -> Value {
        json!({ "kv": pair })
    }

    fn gone(name: &str, revision: u64) -> Value {
        json!({ "type": "DELETE", "kv": node(name, revision) })
    }

    #[track_caller]
    fn check(keys: &Keys, expected: &str) {
        let list = keys.list();
        let hosts: Vec<_> = list.members().iter().map(|member| member.identity().0).collect();
        assert_eq!(format!("{} {}", list.version(), hosts.join(" ")), expected);
    }

    #[test]
    fn watching_goes_on_after_the_last_event_and_not_after_the_header() {
        let mut keys = Keys::new("/p");
        keys.read(&all(5, &[node("a", 3), node("b", 4)]), None).unwrap();
        check(&keys, "4 a b");
        // A watch that catches up says in each part how far the store is.
        let part = json!({ "header": header(5000), "events": [put(node("c", 6)), gone("a", 7)] });
        assert_eq!(keys.heard(&part), Ok(Said::Changed { next: 8, has_left: true }));
        check(&keys, "7 b c");
        let written = [gone("b", 9), put(pair("/p/version", "0", 9))];
        let part = json!({ "header": header(9), "events": written });
        assert_eq!(keys.heard(&part), Ok(Said::Changed { next: 10, has_left: false }));
        check(&keys, "9 c");
    }

    #[test]
    fn a_departure_that_nobody_wrote_down_is_seen() {
        let mut keys = Keys::new("/p");
        let told = Members::new(9, vec![]);
        assert_eq!(keys.read(&all(20, &[node("a", 3)]), Some(&told)), Ok((20, true)));
        check(&keys, "20 a");
        let told = keys.list();
        assert_eq!(keys.read(&all(30, &[node("a", 20)]), Some(&told)), Ok((30, false)));
        check(&keys, "20 a");
        assert_eq!(
            keys.read(&all(19, &[node("a", 3)]), Some(&told)),
            Err(SourceError::WentBack { have: 20, got: 19 })
        );
    }

    #[test]
    fn another_store_is_noticed() {
        let answer = |cluster: &str, term: u64, revision: u64| {
            json!({ "header": {
                "cluster_id": cluster, "raft_term": term.to_string(),
                "revision": revision.to_string(),
            }})
        };
        for (later, is_other) in [
            (answer("7", 3, 5), false),
            (answer("7", 4, 9), false),
            (answer("8", 3, 5), true),
            (answer("7", 2, 9), true),
            (answer("7", 3, 4), true),
            (json!({}), true),
        ] {
            let mut keys = Keys::new("/p");
            keys.read(&all(5, &[]), None).unwrap();
            assert_eq!(keys.is_other(&later), is_other, "{later}");
        }
    }

    #[test]
    fn numbers_beyond_all_sense_break_nothing() {
        let most = u64::MAX.to_string();
        let mut keys = Keys::new("/p");
        let everything = json!({ "header": { "revision": most }, "kvs": [
            pair("/p/version", &most, u64::MAX), node("a", u64::MAX),
        ]});
        keys.read(&everything, None).unwrap();
        check(&keys, "9223372036854775807 a");
        let events = json!({ "events": [put(node("b", u64::MAX)), gone("a", u64::MAX)] });
        keys.heard(&events).unwrap();
        check(&keys, "9223372036854775807 b");
        // Such a base leaves no room for revisions, and one that is no number is none.
        for base in [&most, "9223372036854775807", "-1", "x", ""] {
            keys.read(&all(5, &[node("a", 3), pair("/p/version", base, 4)]), None).unwrap();
            check(&keys, "4 a");
        }
        let many: Vec<_> = (0..=MEMBERS_MAX).map(|n| node(&format!("n{n}"), 1)).collect();
        assert!(matches!(keys.read(&all(5, &many), None), Err(SourceError::TooMany { .. })));
    }
}
