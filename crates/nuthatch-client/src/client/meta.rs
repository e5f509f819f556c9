//! The meta commands as they are. They came with memcached 1.6.

use bytes::Bytes;
use nuthatch_proto::MetaStatus;
use nuthatch_proto::client::MetaOptions;
use nuthatch_types::{Deleted, Stored};

use super::odd;
use crate::call::{Ask, Meta, MetaVerb, Reply};
use crate::client::Client;
use crate::error::Error;
use crate::meta::{
    MetaAnswer, MetaCount, MetaCounted, MetaDelete, MetaGet, MetaItem, MetaSet, MetaStored,
};

impl Client {
    /// `mg`: looks an item up, with whatever else is asked of it: leases, early refreshing, what is
    /// left to live. `None` is a miss.
    ///
    /// Cancel safe. A call that failed with a time limit may have won a lease, which then nobody
    /// has.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] where the server knows no meta commands; else as
    /// [`get`](Self::get).
    pub async fn meta_get(
        &self,
        key: impl AsRef<[u8]>,
        options: MetaGet,
    ) -> Result<Option<MetaItem>, Error> {
        let answer = self.meta(MetaVerb::Get, key.as_ref(), options.0, Bytes::new()).await?;
        Ok(match answer.status {
            MetaStatus::Done => Some(answer.item),
            _ => None,
        })
    }

    /// `ms`: stores an item.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] where the server knows no meta commands; else as
    /// [`set`](Self::set).
    pub async fn meta_set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: MetaSet,
    ) -> Result<MetaStored, Error> {
        let value = value.into();
        self.check_value(value.len())?;
        let answer = self.meta(MetaVerb::Set, key.as_ref(), options.0, value).await?;
        let outcome = match answer.status {
            MetaStatus::Done => Stored::Stored,
            MetaStatus::Exists => Stored::Exists,
            MetaStatus::NotFound => Stored::NotFound,
            _ => Stored::NotStored,
        };
        Ok(MetaStored { outcome, cas: answer.item.cas })
    }

    /// `md`: removes an item, or marks it as stale.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] where the server knows no meta commands.
    pub async fn meta_delete(
        &self,
        key: impl AsRef<[u8]>,
        options: MetaDelete,
    ) -> Result<Deleted, Error> {
        let answer = self.meta(MetaVerb::Delete, key.as_ref(), options.0, Bytes::new()).await?;
        Ok(match answer.status {
            MetaStatus::Done => Deleted::Deleted,
            MetaStatus::Exists => Deleted::Exists,
            _ => Deleted::NotFound,
        })
    }

    /// `ma`: counts.
    ///
    /// Cancel safe. A call that failed with a time limit may have counted.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] where the server knows no meta commands;
    /// [`Error::is_client_error`] if the value is no number.
    pub async fn meta_count(
        &self,
        key: impl AsRef<[u8]>,
        options: MetaCount,
    ) -> Result<MetaCounted, Error> {
        let answer = self.meta(MetaVerb::Arith, key.as_ref(), options.0, Bytes::new()).await?;
        Ok(match answer.status {
            MetaStatus::Done => {
                let number = answer.item.value.as_deref().and_then(crate::wire::number);
                let Some(number) = number else {
                    return Err(odd(&Reply::Meta(answer)));
                };
                MetaCounted::Number { number, item: answer.item }
            }
            MetaStatus::Exists => MetaCounted::Exists,
            MetaStatus::NotStored => MetaCounted::NotStored,
            _ => MetaCounted::NotFound,
        })
    }

    /// `me`: what the server knows of an item, as it prints it (`exp=-1 la=2 cas=3 …`); `None` if
    /// there is none.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_unsupported`] where the server knows no meta commands.
    pub async fn meta_debug(&self, key: impl AsRef<[u8]>) -> Result<Option<String>, Error> {
        match self.ask(&key, Ask::MetaDebug(self.key(&key)?)).await? {
            Reply::Debug(facts) => Ok(facts),
            other => Err(odd(&other)),
        }
    }

    async fn meta(
        &self,
        verb: MetaVerb,
        key: &[u8],
        options: MetaOptions<'static>,
        value: Bytes,
    ) -> Result<MetaAnswer, Error> {
        let ask = Ask::Meta(Meta { verb, key: self.key(key)?, options, value });
        match self.ask(key, ask).await? {
            Reply::Meta(answer) => Ok(answer),
            other => Err(odd(&other)),
        }
    }
}
