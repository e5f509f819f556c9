//! Commands that look up.

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
    /// As [`get`](Self::get). If any of the keys cannot be sent, nothing is.
    pub async fn get_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<Option<Item>>, Error> {
        let keys = keys.into_iter().map(|key| self.key(&key)).collect::<Result<Vec<_>, _>>()?;
        self.shared.gets(keys, None, self.deadline()).await.into_iter().collect()
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
        let keys: Vec<_> = keys.into_iter().map(|key| self.key(&key)).collect();
        let good = keys.iter().filter_map(|key| key.as_ref().ok().cloned()).collect();
        let mut found = self.shared.gets(good, None, self.deadline()).await.into_iter();
        let each = keys.into_iter().map(|key| key.and_then(|_| found.next().unwrap_or(Ok(None))));
        each.collect()
    }

    /// Looks several items up and gives them a new life span; else as [`get_each`](Self::get_each).
    ///
    /// Cancel safe.
    pub async fn gat_each(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        ttl: Ttl,
    ) -> Vec<Result<Option<Item>, Error>> {
        let keys: Vec<_> = keys.into_iter().map(|key| self.key(&key)).collect();
        let good = keys.iter().filter_map(|key| key.as_ref().ok().cloned()).collect();
        let mut found =
            self.shared.gets(good, Some(clock::exptime(ttl)), self.deadline()).await.into_iter();
        let each = keys.into_iter().map(|key| key.and_then(|_| found.next().unwrap_or(Ok(None))));
        each.collect()
    }
}

fn item(reply: Reply) -> Result<Option<Item>, Error> {
    match reply {
        Reply::Item(item) => Ok(item),
        other => Err(odd(&other)),
    }
}
