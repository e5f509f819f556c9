//! A member's own key.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use super::{
    EtcdSettings, NODES, UNSEEN, VERSION,
    gateway::{Gateway, base64, bytes_of, number},
    keys::{base_of, value_of},
};
use crate::{Member, Registration, SourceError, follow::jitter};

/// Makes a member of whoever calls, on the tokio runtime it is called on, and keeps it one: by a
/// lease of `ttl` (whole seconds, at least 2) that is kept alive, taken anew when it was lost. So a
/// member that dies leaves when its lease has ended, and one that etcd has forgotten comes back.
///
/// Its key is that of its name and port; a key that is there already is taken over, because it is
/// mostly that of the process before this one.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn register(settings: EtcdSettings, member: &Member, ttl: Duration) -> Registration {
    let (name, port) = member.identity();
    let prefix = settings.prefix.clone();
    let (state, states) = watch::channel(Err("not yet".to_owned()));
    let (leave, leaving) = oneshot::channel();
    let holder = Holder {
        key: format!("{prefix}{NODES}{name}:{port}"),
        version: format!("{prefix}{VERSION}"),
        value: value_of(member),
        ttl: ttl.as_secs().max(2),
        gateway: Gateway::new(settings),
        lease: None,
        reached: 0,
        base: 0,
    };
    let task = tokio::spawn(holder.hold(state, leaving));
    Registration::new(states, leave, task)
}

struct Holder {
    gateway: Gateway,
    key: String,
    version: String,
    value: String,
    ttl: u64,
    lease: Option<String>,
    /// The highest version that this member knows there may be.
    reached: u64,
    /// What is added to revisions, as it was when this member joined.
    base: u64,
}

impl Holder {
    async fn hold(
        mut self,
        state: watch::Sender<Result<(), String>>,
        leaving: oneshot::Receiver<()>,
    ) {
        let keep = async {
            loop {
                let kept = self.keep().await;
                // Three times in the life of a lease or more; what fails is tried again sooner.
                let pause = match &kept {
                    Ok(()) => (Duration::from_secs(self.ttl) / 3).min(KEEP_EVERY_MAX),
                    Err(_) => jitter(RETRY_AFTER),
                };
                state.send_if_modified(|state| {
                    let kept = kept.map_err(|error| error.to_string());
                    let is_new = *state != kept;
                    *state = kept;
                    is_new
                });
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = keep => {}
            said = leaving => {
                if said.is_ok() {
                    // Unsaid, it is known when the lease ends.
                    self.leave().await;
                }
            }
        }
    }

    /// Keeps the lease alive and sees that the key is there, or begins with a new one.
    async fn keep(&mut self) -> Result<(), SourceError> {
        if let Some(lease) = self.lease.clone() {
            let answer = self.gateway.call("/v3/lease/keepalive", &json!({ "ID": lease })).await?;
            if number(&answer["result"]["TTL"]) == 0 {
                // It has ended: we were away for too long, or etcd is another one.
                self.lease = None;
            } else {
                let answer = self.gateway.peek(&self.key.clone()).await?;
                let is_set_back = self.version_at(&answer) < self.reached;
                self.note(&answer);
                let ours = |pair: &Value| number(&pair["lease"]) == number(&Value::from(&*lease));
                match answer["kvs"].get(0) {
                    // A backup had our lease too.
                    Some(pair) if ours(pair) && is_set_back => {}
                    Some(pair) if ours(pair) => return Ok(()),
                    Some(_) => {
                        return Err(SourceError::Refused(format!(
                            "another one is registered as {}",
                            self.key
                        )));
                    }
                    // Somebody has removed it.
                    None => {}
                }
            }
        }
        self.join().await
    }

    async fn join(&mut self) -> Result<(), SourceError> {
        let lease = match self.lease.clone() {
            Some(lease) => lease,
            None => {
                let ask = json!({ "TTL": self.ttl.to_string() });
                let answer = self.gateway.call("/v3/lease/grant", &ask).await?;
                let lease = answer["ID"].as_str().unwrap_or_default().to_owned();
                if lease.is_empty() {
                    return Err(SourceError::Answer("a lease without a number".to_owned()));
                }
                self.lease.insert(lease).clone()
            }
        };
        let before = self.gateway.peek(&self.version.clone()).await?;
        let version = before["kvs"].get(0).cloned().unwrap_or_default();
        let (at, base) = (number(&version["mod_revision"]), base_in(&version));
        let mut puts = vec![put(&self.key, &self.value, Some(&lease))];
        let mut compares = Vec::new();
        self.base = base;
        if self.version_at(&before) < self.reached {
            // The store was set back; versions must go on from where they were. Whoever is first
            // writes, the others see that it is done.
            self.base = self.reached.saturating_add(UNSEEN);
            puts.push(put(&self.version, &self.base.to_string(), None));
            compares.push(json!({
                "key": base64(&self.version), "target": "MOD", "result": "EQUAL",
                "mod_revision": at.to_string(),
            }));
        }
        let done = self
            .gateway
            .call("/v3/kv/txn", &json!({ "compare": compares, "success": puts }))
            .await?;
        if done["succeeded"] != true {
            // What they have written is read the next time.
            self.base = base;
            return Err(SourceError::Unreachable("somebody else was first".to_owned()));
        }
        self.note(&done);
        Ok(())
    }

    /// Takes note how far the store has come.
    fn note(&mut self, answer: &Value) {
        self.reached = self.reached.max(self.version_at(answer));
    }

    /// The highest version that there may be, by this answer.
    fn version_at(&self, answer: &Value) -> u64 {
        self.base.saturating_add(number(&answer["header"]["revision"]))
    }

    async fn leave(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        // Of several servers another one may still answer.
        for _ in 0..self.gateway.n_servers() {
            if self.give_up(&lease).await.is_ok() {
                return;
            }
        }
    }

    async fn give_up(&mut self, lease: &str) -> Result<(), SourceError> {
        let before = self.gateway.peek(&self.version.clone()).await?;
        let base = before["kvs"].get(0).map_or(0, base_in).to_string();
        let requests = [
            json!({ "request_delete_range": { "key": base64(&self.key) } }),
            put(&self.version, &base, None),
        ];
        // Not what somebody else has put there meanwhile.
        let ours = json!({
            "key": base64(&self.key), "target": "LEASE", "result": "EQUAL", "lease": lease,
        });
        let leave = json!({ "compare": [ours], "success": requests });
        self.gateway.call("/v3/kv/txn", &leave).await?;
        self.gateway.call("/v3/lease/revoke", &json!({ "ID": lease })).await?;
        Ok(())
    }
}

fn base_in(pair: &Value) -> u64 {
    base_of(&bytes_of(&pair["value"]))
}

fn put(key: &str, value: &str, lease: Option<&str>) -> Value {
    let mut put = json!({ "key": base64(key), "value": base64(value) });
    if let Some(lease) = lease {
        put["lease"] = lease.into();
    }
    json!({ "request_put": put })
}

/// How long nobody looks whether the key is still there, however long the lease lives.
const KEEP_EVERY_MAX: Duration = Duration::from_secs(10);

/// How long after a failure it is tried again, at most.
const RETRY_AFTER: Duration = Duration::from_secs(1);
