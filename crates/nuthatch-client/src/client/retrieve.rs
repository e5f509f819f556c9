//! Commands that look up.

use nuthatch_proto::client::KeyLine;
use nuthatch_types::Ttl;

use super::odd;
use crate::call::{Ask, Reply};
use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::item::Item;

impl Client {
    /// Looks an item up.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_too_large`] if the value exceeds the client's limit; the connection has ended
    /// then.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, Error> {
        let ask = Ask::Get { key: self.key(&key)?, exptime: None };
        item(self.ask(key, ask).await?)
    }

    /// Looks an item up and gives it a new life span (`gat`, which came with memcached 1.5.3).
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn gat(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<Option<Item>, Error> {
        let ask = Ask::Get { key: self.key(&key)?, exptime: Some(clock::exptime(ttl)) };
        item(self.ask(key, ask).await?)
    }

    /// Looks several items up, in one round trip to each node that has any of them; the answers are
    /// in the order of the keys, `None` for those that are not there. Any number of keys will do:
    /// more than fit a line of 8 KiB are sent as several commands, one behind the other. If one of
    /// these fails, so does the call; [`get_each`](Self::get_each) tells key by key.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); if any of the keys cannot be sent, the call fails.
    pub async fn get_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<Option<Item>>, Error> {
        let keys = keys.into_iter();
        let mut line = KeyLine::new();
        line.reserve(keys.size_hint().0.min(N_RESERVED_MAX));
        for key in keys {
            self.put(&key, &mut line)?;
        }
        self.shared.get_many(line, self.deadline()).await
    }

    /// Looks several items up as [`get_many`](Self::get_many) does, with an outcome for each key: a
    /// node that fails takes no other node's keys with it. If any of the keys cannot be sent, it
    /// alone fails.
    ///
    /// Cancel safe.
    pub async fn get_each(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Vec<Result<Option<Item>, Error>> {
        let (line, bad) = self.gathered(keys);
        self.each(line, bad, None).await
    }

    /// Looks several items up and gives them a new life span; else as [`get_each`](Self::get_each).
    ///
    /// Cancel safe.
    pub async fn gat_each(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        ttl: Ttl,
    ) -> Vec<Result<Option<Item>, Error>> {
        let (line, bad) = self.gathered(keys);
        self.each(line, bad, Some(clock::exptime(ttl))).await
    }

    /// Keys that can be sent, and where others were, with the reasons. No future holds the iterator
    /// while it waits: one over borrowed keys would keep it from being spawned.
    fn gathered(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> (KeyLine, Vec<(usize, Error)>) {
        let keys = keys.into_iter();
        let mut line = KeyLine::new();
        line.reserve(keys.size_hint().0.min(N_RESERVED_MAX));
        let mut bad = Vec::new();
        for (at, key) in keys.enumerate() {
            if let Err(error) = self.put(&key, &mut line) {
                bad.push((at, error));
            }
        }
        (line, bad)
    }

    async fn each(
        &self,
        line: KeyLine,
        bad: Vec<(usize, Error)>,
        exptime: Option<i32>,
    ) -> Vec<Result<Option<Item>, Error>> {
        let mut each = self.shared.get_each(line, exptime, self.deadline()).await;
        if !bad.is_empty() {
            let mut good = each.into_iter();
            each = Vec::with_capacity(good.len() + bad.len());
            for (at, error) in bad {
                let n_before = at - each.len();
                each.extend(good.by_ref().take(n_before));
                each.push(Err(error));
            }
            each.extend(good);
        }
        each
    }

    /// Puts a key that can be sent to others.
    fn put(&self, key: &impl AsRef<[u8]>, line: &mut KeyLine) -> Result<(), Error> {
        // As `Client::key`.
        let takes_any = self.shared.settings.takes_any_key;
        if takes_any {
            line.push_binary(key)?
        } else {
            line.push(key)?
        }
        Ok(())
    }
}

/// For how many keys room is made before they have come: what an iterator says of itself may be
/// wrong.
const N_RESERVED_MAX: usize = 1024;

fn item(reply: Reply) -> Result<Option<Item>, Error> {
    match reply {
        Reply::Item(item) => Ok(item),
        other => Err(odd(&other)),
    }
}
