//! Other changes: removing, touching, counting.

use std::sync::Arc;

use nuthatch_types::{Arith, Cas, Deleted, Stored, Ttl};

use super::odd;
use crate::batch::Job;
use crate::call::{Ask, Reply};
use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::item::StoreOptions;

impl Client {
    /// Removes an item. The answer is never [`Deleted::Exists`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted, Error> {
        let ask = Ask::Delete { key: self.key(&key)?, cas: None };
        deleted(self.ask(key, ask).await?)
    }

    /// Removes an item if it is still the one that [`Item::cas`](crate::Item::cas) came with:
    /// [`Deleted::Exists`] if it has changed. Needs the meta commands or the binary protocol.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] where the server knows only classic text.
    pub async fn delete_cas(&self, key: impl AsRef<[u8]>, cas: Cas) -> Result<Deleted, Error> {
        let ask = Ask::Delete { key: self.key(&key)?, cas: Some(cas) };
        deleted(self.ask(key, ask).await?)
    }

    /// Removes several items, in one round trip to each node; the answers are in the order of the
    /// keys, each with its own outcome.
    ///
    /// Cancel safe. A call that is dropped may have removed some.
    pub async fn delete_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Vec<Result<Deleted, Error>> {
        let job = |key: Result<nuthatch_types::KeyBuf, Error>| {
            let key = key?;
            let ask = Arc::new(Ask::Delete { key: key.clone(), cas: None });
            Ok(Job { key, ask })
        };
        let jobs = keys.into_iter().map(|key| job(self.key(&key))).collect();
        let replies = self.shared.jobs(jobs, self.deadline()).await;
        replies.into_iter().map(|reply| reply.and_then(deleted)).collect()
    }

    /// Gives an item a new life span; says whether it was there.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: Ttl) -> Result<bool, Error> {
        let ask = Ask::Touch { key: self.key(&key)?, exptime: clock::exptime(ttl) };
        match self.ask(key, ask).await? {
            Reply::Touched(touched) => Ok(touched),
            other => Err(odd(&other)),
        }
    }

    /// Counts up, wrapping at 2^64, and gives the new number; `None` if there is no item. The
    /// value is decimal text.
    ///
    /// Cancel safe. A call that failed with a time limit may have counted.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the value is no number.
    pub async fn incr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        self.count(Arith::Incr, key.as_ref(), delta, None).await
    }

    /// Counts down, stopping at 0; else as [`incr`](Self::incr).
    ///
    /// Cancel safe. A call that failed with a time limit may have counted.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the value is no number.
    pub async fn decr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        self.count(Arith::Decr, key.as_ref(), delta, None).await
    }

    /// Counts up; where there is no item it makes one of the number `initial` and this life span,
    /// and gives that number.
    ///
    /// A server that knows only classic text is asked up to three times: to count, to add the item,
    /// and to count again if somebody else has added it.
    ///
    /// Cancel safe. A call that failed with a time limit may have counted.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the value is no number.
    pub async fn incr_from(
        &self,
        key: impl AsRef<[u8]>,
        delta: u64,
        initial: u64,
        ttl: Ttl,
    ) -> Result<u64, Error> {
        self.count_from(Arith::Incr, key.as_ref(), delta, initial, ttl).await
    }

    /// Counts down, stopping at 0; else as [`incr_from`](Self::incr_from).
    ///
    /// Cancel safe. A call that failed with a time limit may have counted.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the value is no number.
    pub async fn decr_from(
        &self,
        key: impl AsRef<[u8]>,
        delta: u64,
        initial: u64,
        ttl: Ttl,
    ) -> Result<u64, Error> {
        self.count_from(Arith::Decr, key.as_ref(), delta, initial, ttl).await
    }

    async fn count(
        &self,
        direction: Arith,
        key: &[u8],
        delta: u64,
        initial: Option<(u64, i32)>,
    ) -> Result<Option<u64>, Error> {
        let ask = Ask::Arith { direction, key: self.key(key)?, delta, initial };
        match self.ask(key, ask).await? {
            Reply::Number(number) => Ok(number),
            other => Err(odd(&other)),
        }
    }

    async fn count_from(
        &self,
        direction: Arith,
        key: &[u8],
        delta: u64,
        initial: u64,
        ttl: Ttl,
    ) -> Result<u64, Error> {
        let from = Some((initial, clock::exptime(ttl)));
        // All that it takes ends when one call would.
        let within = self.at_once();
        match within.count(direction, key, delta, from).await {
            Ok(Some(number)) => return Ok(number),
            // Only where a failure is taken for a miss.
            Ok(None) => return Ok(initial),
            Err(error) if !error.is_unsupported() => return Err(error),
            Err(_) => {}
        }
        // An item that goes each time between being there and being counted is not waited for.
        for _ in 0..ADD_ATTEMPTS {
            if let Some(number) = within.count(direction, key, delta, None).await? {
                return Ok(number);
            }
            let options = StoreOptions::new().ttl(ttl);
            if within.add(key, initial.to_string(), options).await? == Stored::Stored {
                return Ok(initial);
            }
        }
        Ok(initial)
    }
}

/// How often an item is added that others add and remove at the same time.
const ADD_ATTEMPTS: usize = 3;

fn deleted(reply: Reply) -> Result<Deleted, Error> {
    match reply {
        Reply::Deleted(deleted) => Ok(deleted),
        other => Err(odd(&other)),
    }
}
