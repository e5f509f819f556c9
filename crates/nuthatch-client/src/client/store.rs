//! Commands that store.

use std::sync::Arc;

use bytes::Bytes;
use nuthatch_types::{Cas, StoreMode, Stored};

use super::odd;
use crate::batch::Job;
use crate::call::{Ask, Reply, Store};
use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::item::StoreOptions;

impl Client {
    /// Stores an item, whatever is there. The answer is [`Stored::Stored`], if no proxy is in
    /// between that answers otherwise.
    ///
    /// `options` is a [`Ttl`](crate::types::Ttl) or [`StoreOptions`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_too_large`] for a value above the client's limit, [`Error::is_server_error`] for
    /// one above the server's.
    pub async fn set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: impl Into<StoreOptions>,
    ) -> Result<Stored, Error> {
        self.store(StoreMode::Set, key.as_ref(), value.into(), options.into(), None).await
    }

    /// Stores an item where none is; else the answer is [`Stored::NotStored`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub async fn add(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: impl Into<StoreOptions>,
    ) -> Result<Stored, Error> {
        self.store(StoreMode::Add, key.as_ref(), value.into(), options.into(), None).await
    }

    /// Stores an item where one is; else the answer is [`Stored::NotStored`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub async fn replace(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: impl Into<StoreOptions>,
    ) -> Result<Stored, Error> {
        self.store(StoreMode::Replace, key.as_ref(), value.into(), options.into(), None).await
    }

    /// Puts bytes behind the value of an item; its flags and life span stay. Where no item is the
    /// answer is [`Stored::NotStored`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub async fn append(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<Stored, Error> {
        let options = StoreOptions::new();
        self.store(StoreMode::Append, key.as_ref(), value.into(), options, None).await
    }

    /// Puts bytes before the value of an item; else as [`append`](Self::append).
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub async fn prepend(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<Stored, Error> {
        let options = StoreOptions::new();
        self.store(StoreMode::Prepend, key.as_ref(), value.into(), options, None).await
    }

    /// Stores an item if it is still the one that [`Item::cas`](crate::Item::cas) came with:
    /// [`Stored::Exists`] if it has changed, [`Stored::NotFound`] if it is gone.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub async fn cas(
        &self,
        key: impl AsRef<[u8]>,
        cas: Cas,
        value: impl Into<Bytes>,
        options: impl Into<StoreOptions>,
    ) -> Result<Stored, Error> {
        self.store(StoreMode::Set, key.as_ref(), value.into(), options.into(), Some(cas)).await
    }

    /// Stores several items, whatever is there, in one round trip to each node; the answers are in
    /// the order of the items, each with its own outcome.
    ///
    /// Cancel safe. A call that is dropped may have stored some.
    pub async fn set_many<K: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
        options: impl Into<StoreOptions>,
    ) -> Vec<Result<Stored, Error>> {
        let options = options.into();
        let jobs: Vec<_> = items
            .into_iter()
            .map(|(key, value)| {
                let (key, value) = (key.as_ref(), value.into());
                let ask = self.store_ask(StoreMode::Set, key, value, options, None)?;
                Ok(Job { key: self.key(key)?, ask: Arc::new(ask) })
            })
            .collect();
        let replies = self.shared.jobs(jobs, self.deadline()).await;
        replies.into_iter().map(|reply| reply.and_then(stored)).collect()
    }

    async fn store(
        &self,
        mode: StoreMode,
        key: &[u8],
        value: Bytes,
        options: StoreOptions,
        cas: Option<Cas>,
    ) -> Result<Stored, Error> {
        let ask = self.store_ask(mode, key, value, options, cas)?;
        stored(self.ask(key, ask).await?)
    }

    fn store_ask(
        &self,
        mode: StoreMode,
        key: &[u8],
        value: Bytes,
        options: StoreOptions,
        cas: Option<Cas>,
    ) -> Result<Ask, Error> {
        self.check_value(value.len())?;
        let StoreOptions { ttl, flags } = options;
        let (key, exptime) = (self.key(key)?, clock::exptime(ttl));
        Ok(Ask::Store(Store { mode, key, flags, exptime, cas, value }))
    }
}

fn stored(reply: Reply) -> Result<Stored, Error> {
    match reply {
        Reply::Stored(stored) => Ok(stored),
        other => Err(odd(&other)),
    }
}
