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
//! again below what everybody has. The first member that notices makes the number what was reached.
//!
//! **Following.** The prefix is read once and then watched from the revision after that. A watch that
//! breaks is taken up again at the revision it had come to; where etcd no longer has that
//! (compaction), everything is read again. A server that has stopped without closing connections is
//! found out by a question every few seconds.
//!
//! All this goes through etcd's JSON gateway, which every etcd 3.4 and later serves on its client port.

mod gateway;
mod io;
mod keys;
mod register;

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{Members, Next, Source, SourceError};
use gateway::{Gateway, Watch};
use keys::{Keys, Said};

pub(crate) use gateway::Credentials;
pub use gateway::EtcdSettings;
#[cfg(fuzzing)]
pub use keys::hear_etcd;
pub use register::register;

/// Where members are under the prefix.
const NODES: &str = "/nodes/";

/// What is written when somebody has left.
const VERSION: &str = "/version";

/// How many changes a store may have seen since it was last asked, before it was set back: many
/// hundreds a second, for as long as a lease may live.
const UNSEEN: u64 = 1_000_000;

/// How often a server that says nothing is asked whether it is still there.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Follows the members under a prefix.
pub struct Etcd {
    gateway: Gateway,
    prefix: String,
    marks: bool,
    keys: Keys,
    /// Where watching goes on; `None` before everything has been read.
    next: Option<u64>,
    watch: Option<Watch>,
    /// The history after the last reading was gone too.
    is_reread: bool,
    /// The list has still to be told, changed or not.
    owed: bool,
    told: Option<Members>,
}

impl Etcd {
    /// Of these servers.
    pub fn new(settings: EtcdSettings) -> Self {
        let prefix = settings.prefix.clone();
        Self {
            gateway: Gateway::new(settings),
            marks: false,
            keys: Keys::new(&prefix),
            prefix,
            next: None,
            watch: None,
            is_reread: false,
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
            } else if self.watch.is_none() {
                // Of what is known the last revision is asked for again: where etcd was compacted at
                // the next one and that was a departure, it would pass over it in silence.
                let from = self.next.unwrap_or_default().saturating_sub(1).max(1);
                self.watch = Some(self.gateway.watch(&format!("{}/", self.prefix), from).await?);
                if self.owed {
                    // If nothing has changed meanwhile, this is still the list.
                    self.check().await?;
                    continue;
                }
            }
            if self.owed {
                return Ok(self.tell());
            }
            self.heed().await?;
        }
    }

    /// Reads everything under the prefix. A store that was set back gets what was reached.
    async fn read_all(&mut self) -> Result<(), SourceError> {
        let mut read = self.read().await;
        if let Err(SourceError::WentBack { have, .. }) = read
            && self.marks
        {
            let base = have.saturating_add(UNSEEN);
            self.gateway.write_base(&self.prefix, self.keys.marked(), base).await?;
            read = self.read().await;
        }
        let (revision, is_lost) = read?;
        self.next = Some(revision + 1);
        self.owed = true;
        if is_lost {
            // So that all who look agree on when.
            self.mark().await;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(u64, bool), SourceError> {
        let answer = self.gateway.range_prefix(&format!("{}/", self.prefix)).await?;
        self.next = None;
        self.watch = None;
        self.keys.read(&answer, self.told.as_ref())
    }

    /// Writes down that somebody has left. Others try too, and whoever is first writes. Who fails
    /// will be corrected by the next change; the list is right without.
    async fn mark(&mut self) {
        if self.marks {
            let (seen, base) = (self.keys.marked(), self.keys.base());
            let _ = self.gateway.write_base(&self.prefix, seen, base).await;
        }
    }

    /// Takes what the watch says.
    async fn heed(&mut self) -> Result<(), SourceError> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        let check_at = Instant::now() + CHECK_EVERY;
        let said = tokio::select! {
            said = watch.next() => said?,
            () = sleep_until(check_at) => {
                self.check().await?;
                self.is_reread = false;
                return Ok(());
            }
        };
        let said = self.keys.heard(&said).inspect_err(|_| self.next = None)?;
        match said {
            Said::Nothing => Ok(()),
            Said::Compacted if self.is_reread => {
                // Reading again and again would help nobody.
                self.is_reread = false;
                self.next = None;
                Err(SourceError::Answer("no history after what has just been read".to_owned()))
            }
            Said::Compacted => {
                self.is_reread = true;
                self.next = None;
                self.watch = None;
                Ok(())
            }
            Said::Ended(why) => {
                // A token that has run out, for one.
                self.gateway.forget_token();
                Err(SourceError::Unreachable(format!("the watch has ended: {why}")))
            }
            Said::Changed { next, has_left } => {
                self.is_reread = false;
                self.next = self.next.max(Some(next));
                self.owed = true;
                if has_left {
                    self.mark().await;
                }
                Ok(())
            }
        }
    }

    /// Asks whether the server is there, and lets us in.
    async fn check(&mut self) -> Result<(), SourceError> {
        let answer = self.gateway.peek(&format!("{}{VERSION}", self.prefix)).await?;
        if self.keys.is_other(&answer) {
            // The store has been set back. What is in it now is another one.
            self.next = None;
            self.watch = None;
        }
        Ok(())
    }

    fn tell(&mut self) -> Members {
        self.owed = false;
        let list = self.keys.list();
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
            .field("changed", &self.keys.changed())
            .finish_non_exhaustive()
    }
}
