//! What the server says of a value: here it is, make it, or somebody does.

use std::time::Duration;

use bytes::Bytes;
use nuthatch_proto::client::MetaOptions;
use nuthatch_types::Cas;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::{Settings, is_lease, is_without_meta};
use crate::Client;
use crate::error::Error;
use crate::item::StoreOptions;
use crate::meta::{MetaDelete, MetaGet, MetaSet};
use crate::values::Encoded;

/// Somebody who asks for a value.
pub(super) struct Asking<'a> {
    pub(super) cache: &'a Client,
    pub(super) key: &'a [u8],
    pub(super) settings: &'a Settings,
    pub(super) began_at: Instant,
}

/// What came of it.
pub(super) enum Asked {
    /// A value, be it an old one.
    Hit(Encoded),
    /// The caller is to make it; the old one if there is one.
    Won(Lease, Option<Encoded>),
    /// There is none, and nobody can be told to make it.
    Miss,
    /// The cache is of no use now.
    Unreachable,
}

impl Asking<'_> {
    /// Asks, and asks again while another makes the value and there is no old one.
    ///
    /// # Errors
    ///
    /// For a key that cannot be sent.
    pub(super) async fn ask(&self) -> Result<Asked, Error> {
        let Settings { lease, refresh_ahead, patience, .. } = *self.settings;
        let mut options = MetaGet::new().value().flags().cas().vivify(lease);
        if let Some(left) = refresh_ahead {
            options = options.recache(left);
        }
        let mut pause = PAUSE_MIN;
        loop {
            let item = match self.cache.meta_get(self.key, options).await {
                Ok(Some(item)) => item,
                // Nothing, and no room for an empty item either.
                Ok(None) => return Ok(Asked::Miss),
                Err(error) if is_without_meta(&error) => return self.ask_plainly().await,
                Err(error) if error.is_key() => return Err(error),
                Err(_) => return Ok(Asked::Unreachable),
            };
            let stored = Encoded {
                data: item.value.unwrap_or_default(),
                flags: item.flags.unwrap_or_default(),
            };
            if item.is_won {
                let is_empty = is_lease(&stored);
                let lease = self.lease(item.cas, true, is_empty);
                return Ok(Asked::Won(lease, (!is_empty).then_some(stored)));
            }
            if !(is_lease(&stored) && item.is_being_made) {
                // What is empty without flags and nobody's to make was stored so by another client.
                return Ok(if is_lease(&stored) { Asked::Miss } else { Asked::Hit(stored) });
            }
            let left = patience.saturating_sub(self.began_at.elapsed());
            if left.is_zero() {
                return Ok(Asked::Won(self.lease(item.cas, false, true), None));
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn lease(&self, cas: Option<Cas>, is_ours: bool, is_empty: bool) -> Lease {
        let (cache, key) = (self.cache.clone(), self.key.into());
        Lease(Some(Claim { cache, key, cas: cas.unwrap_or_default(), is_ours, is_empty }))
    }

    async fn ask_plainly(&self) -> Result<Asked, Error> {
        Ok(match self.cache.get(self.key).await {
            Ok(Some(item)) => Asked::Hit(Encoded { data: item.value, flags: item.flags }),
            Ok(None) => Asked::Miss,
            Err(error) if error.is_key() => return Err(error),
            Err(_) => Asked::Unreachable,
        })
    }
}

/// The right to make a value. One that was won is given back if it is dropped.
pub(super) struct Lease(Option<Claim>);

struct Claim {
    cache: Client,
    key: Box<[u8]>,
    /// What the item must still be: somebody may have stored another since.
    cas: Cas,
    /// Not if another has won it, and takes too long.
    is_ours: bool,
    /// Whether there is nothing but the lease itself.
    is_empty: bool,
}

impl Lease {
    /// Stores the value, if the item is still as it was when the lease was won. Whether that
    /// worked makes no difference to who made it.
    pub(super) async fn fill(mut self, data: Bytes, options: StoreOptions) {
        let Some(claim) = &self.0 else { return };
        let mut set = MetaSet::new().ttl(options.ttl).flags(options.flags);
        // A server that keeps no numbers (`-C`) answers 0 for each.
        if claim.cas != Cas(0) {
            set = set.compare(claim.cas);
        }
        let stored = claim.cache.meta_set(&claim.key, data, set).await;
        // Without an answer the lease may still be ours; it is given back then.
        if stored.is_ok() {
            self.0 = None;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(claim) = self.0.take().filter(|claim| claim.is_ours) else { return };
        // Without a runtime there is no connection either, and the lease runs out by itself.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(claim.give_back());
        }
    }
}

impl Claim {
    /// Lets the next who asks win: an empty item goes, an old value becomes one that is to be made
    /// anew, with the life span that it has.
    async fn give_back(self) {
        let compare = (self.cas != Cas(0)).then_some(self.cas);
        let invalidate = !self.is_empty;
        let options = MetaOptions { compare, invalidate, ..MetaOptions::default() };
        drop(self.cache.meta_delete(&self.key, MetaDelete(options)).await);
    }
}

/// How long to wait before asking again for a value that another makes.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);
