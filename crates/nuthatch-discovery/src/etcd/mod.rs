//! Members in etcd: a key for each, kept by a lease of the member's own.
//!
//! ```text
//!   PREFIX/nodes/NAME    {"host":"a.example","address":"10.0.0.1","port":11211,"weight":1}
//!   PREFIX/version       a number, mostly 0; written whenever somebody has left
//! ```
//!
//! **Versions.** The version of the list is the revision of the last change under the prefix, which
//! etcd counts, plus the number in `PREFIX/version`. A change that adds or replaces a key leaves its
//! revision with the key, so whoever reads the keys knows it. One that removes a key does not:
//! therefore who leaves writes `PREFIX/version` in the same transaction, and when a lease has ended
//! the first member that hears of it does. So all who look see one version for one list, whether they
//! were there when it changed or came later. (Where everybody was away when somebody left, a reader
//! whose list has changed without a higher revision takes the revision of the store itself.)
//!
//! The number is there for stores that are set back, from a backup or by hand: their revisions begin
//! again below what everybody has. A member that notices adds what was reached to the number.
//!
//! **Following.** The prefix is read once and then watched from the revision after that. A watch that
//! breaks is taken up again at the revision it had come to; where etcd no longer has that
//! (compaction), everything is read again. A server that has stopped without closing connections is
//! found out by a question every few seconds.
//!
//! All this goes through etcd's JSON gateway, which every etcd 3.4 and later serves on its client port.

mod gateway;
mod io;
mod register;

use std::{collections::BTreeMap, fmt, time::Duration};

use nuthatch_types::Node;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{Member, Members, Next, Source, SourceError};
use gateway::{Gateway, Watch, bytes_of, number, text};

pub use gateway::EtcdSettings;
pub use register::register;

/// Where members are under the prefix.
const NODES: &str = "/nodes/";

/// What is written when somebody has left.
const VERSION: &str = "/version";

/// How often a server that says nothing is asked whether it is still there.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Follows the members under a prefix.
pub struct Etcd {
    gateway: Gateway,
    prefix: String,
    marks: bool,
    keys: BTreeMap<String, Key>,
    /// The revision of the last change under the prefix.
    changed: u64,
    /// What is added to it.
    base: u64,
    /// Where watching goes on; `None` before everything has been read.
    next: Option<u64>,
    watch: Option<Watch>,
    /// The list has still to be told, changed or not.
    owed: bool,
    told: Option<Members>,
}

/// A member's key.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    revision: u64,
    /// `None` for what is no member.
    member: Option<Member>,
}

impl Etcd {
    /// Of these servers.
    pub fn new(settings: EtcdSettings) -> Self {
        let prefix = settings.prefix.clone();
        Self {
            gateway: Gateway::new(settings),
            prefix,
            marks: false,
            keys: BTreeMap::new(),
            changed: 0,
            base: 0,
            next: None,
            watch: None,
            owed: true,
            told: None,
        }
    }

    /// Writes down that somebody has left whose lease has ended, for those who come later. Members
    /// do so, who may write; those who only look need not.
    #[must_use]
    pub fn marking(mut self, marks: bool) -> Self {
        self.marks = marks;
        self
    }

    async fn ask(&mut self) -> Result<Members, SourceError> {
        let answer = self.follow().await;
        if answer.is_err() {
            // Where it had come to is kept; the next call begins there, and tells the list again.
            self.watch = None;
            self.owed = true;
        }
        answer
    }

    async fn follow(&mut self) -> Result<Members, SourceError> {
        loop {
            if self.next.is_none() {
                self.read_all().await?;
                return Ok(self.tell());
            }
            if self.watch.is_none() {
                let from = self.next.unwrap_or_default();
                self.watch = Some(self.gateway.watch(&format!("{}/", self.prefix), from).await?);
                if self.owed {
                    // If nothing has changed meanwhile, this is still the list.
                    self.check().await?;
                    if self.next.is_none() {
                        continue;
                    }
                    return Ok(self.tell());
                }
            }
            if self.heed().await? {
                return Ok(self.tell());
            }
        }
    }

    /// Reads everything under the prefix.
    async fn read_all(&mut self) -> Result<(), SourceError> {
        let answer = self.gateway.range_prefix(&format!("{}/", self.prefix)).await?;
        let revision = number(&answer["header"]["revision"]);
        self.keys.clear();
        (self.changed, self.base) = (0, 0);
        for pair in answer["kvs"].as_array().into_iter().flatten() {
            self.put(pair);
        }
        self.next = Some(revision + 1);
        self.watch = None;
        if let Some(told) = &self.told {
            let now = self.list();
            if now.version() <= told.version()
                && Members::new(told.version(), now.members().to_vec()) != *told
            {
                // Somebody has left, and nobody was there to write it down.
                self.changed = revision;
            }
            if self.list().version() < told.version() {
                let (have, got) = (told.version(), self.list().version());
                self.next = None;
                return Err(SourceError::WentBack { have, got });
            }
        }
        Ok(())
    }

    /// Takes what the watch says; whether the list may be another one then.
    async fn heed(&mut self) -> Result<bool, SourceError> {
        let Some(watch) = &mut self.watch else { return Ok(false) };
        let check_at = Instant::now() + CHECK_EVERY;
        let said = tokio::select! {
            said = watch.next() => said?,
            () = sleep_until(check_at) => {
                self.check().await?;
                return Ok(false);
            }
        };
        if said["canceled"] == true || number(&said["compact_revision"]) > 0 {
            self.watch = None;
            if number(&said["compact_revision"]) == 0 {
                let why = text(&said["cancel_reason"]);
                // A token that has run out, for one.
                self.gateway.forget_token();
                return Err(SourceError::Unreachable(format!("the watch has ended: {why}")));
            }
            // etcd has forgotten what was next.
            self.next = None;
            return Ok(false);
        }
        let Some(events) = said["events"].as_array().filter(|events| !events.is_empty()) else {
            return Ok(false);
        };
        let mut left_at = 0;
        for event in events {
            let pair = &event["kv"];
            if event["type"] == "DELETE" {
                let revision = number(&pair["mod_revision"]);
                if let Some(name) = self.name(pair)
                    && self.keys.remove(&name).is_some()
                {
                    left_at = left_at.max(revision);
                }
                self.changed = self.changed.max(revision);
            } else {
                self.put(pair);
            }
        }
        let revision = number(&said["header"]["revision"]).max(self.changed);
        self.next = Some(self.next.unwrap_or_default().max(revision + 1));
        if self.marks && left_at > 0 {
            let before = self.base;
            // Others try too, and whoever is first writes. Who fails will be corrected by the next
            // change; the list is right without.
            let _ = self.gateway.mark(&self.prefix, left_at, before).await;
        }
        Ok(true)
    }

    /// Asks whether the server is there, and lets us in.
    async fn check(&mut self) -> Result<(), SourceError> {
        let answer = self.gateway.peek(&format!("{}{VERSION}", self.prefix)).await?;
        let revision = number(&answer["header"]["revision"]);
        if revision + 1 < self.next.unwrap_or_default() {
            // The store has been set back. What is in it now is another one.
            self.next = None;
            self.watch = None;
        }
        Ok(())
    }

    fn put(&mut self, pair: &Value) {
        let revision = number(&pair["mod_revision"]);
        self.changed = self.changed.max(revision);
        let value = bytes_of(&pair["value"]);
        if let Some(name) = self.name(pair) {
            let member = member(&value);
            self.keys.insert(name, Key { revision, member });
        } else if bytes_of(&pair["key"]) == format!("{}{VERSION}", self.prefix).as_bytes() {
            self.base = String::from_utf8_lossy(&value).trim().parse().unwrap_or(0);
        }
    }

    /// The name of a member's key; `None` for any other key.
    fn name(&self, pair: &Value) -> Option<String> {
        let key = String::from_utf8(bytes_of(&pair["key"])).ok()?;
        key.strip_prefix(&self.prefix)?.strip_prefix(NODES).map(str::to_owned)
    }

    fn list(&self) -> Members {
        let members = self.keys.values().filter_map(|key| key.member.clone()).collect();
        Members::new(self.base.saturating_add(self.changed), members)
    }

    fn tell(&mut self) -> Members {
        self.owed = false;
        let list = self.list();
        self.told = Some(list.clone());
        list
    }
}

impl Source for Etcd {
    fn next(&mut self) -> Next<'_> {
        Box::pin(self.ask())
    }

    fn describe(&self) -> String {
        format!("etcd {} at {}", self.prefix, self.gateway.servers())
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("prefix", &self.prefix)
            .field("servers", &self.gateway.servers())
            .field("changed", &self.changed)
            .finish_non_exhaustive()
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
    if let Some(name) = text("tls_name") {
        member = member.with_tls_name(name);
    }
    if let Some(zone) = text("zone") {
        member = member.with_zone(zone);
    }
    Some(member)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            r#"{"port":1}"#,
            r#"{"host":"a|b","port":1}"#,
            r#"{"host":"a","port":"1"}"#,
        ] {
            assert_eq!(member(value.as_bytes()), None, "{value}");
        }
    }
}
