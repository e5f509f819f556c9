//! Being told of the items that leave, so that a second tier can take them.
//!
//! A listener is called under the lock of the item's shard, at times under its LRU queue's too,
//! at the last moment at which the item is whole. The other way would be to put leaving items on
//! a list and to call when the locks are gone. It lost: an item is evicted because its chunk is
//! wanted now, and a list would hold the chunk back, or copy what most listeners only look at, or
//! lose items when it is full. A call in place is lossless and predictable at the price of the rule
//! that holds for the closure of [`Store::get`](crate::Store::get): be quick, and leave the store
//! alone.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use nuthatch_types::Ttl;

use super::{Inner, closures};
use crate::arena::ItemId;
use crate::index::ShardGuard;
use crate::item::{FETCHED, ItemView};

/// Why an item left the cache.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// It was thrown out alive: to make room, or by [`Store::evict`](crate::Store::evict).
    Evicted,
    /// Its life span was over, or it was idle for too long. Told when the item is found dead, by
    /// whoever finds it: the maintenance, a lookup, or somebody in need of memory.
    Expired,
    /// A flush had ended it; told when it is found so.
    Flushed,
    /// Another value took its place. A number counted up where it stands is not replaced.
    Replaced,
    /// It was deleted, or discarded.
    Deleted,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Evicted, Self::Expired, Self::Flushed, Self::Replaced, Self::Deleted];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// An item that leaves, as a listener sees it: an [`ItemView`], why it leaves, and what a second
/// tier wants to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    view: ItemView<'a>,
    cause: Cause,
    ttl: Ttl,
    was_read: bool,
    last_access_secs: u32,
    class: u8,
}

impl<'a> Leaving<'a> {
    /// Why it leaves.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// What is left of its life span: [`Ttl::NEVER`] where it had none, [`Ttl::PAST`] where it is
    /// over.
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }

    /// Whether it was ever read: most items of most caches are not, and need no second tier.
    pub fn was_read(&self) -> bool {
        self.was_read
    }

    /// Seconds since it was last stored or bumped.
    pub fn last_access_secs(&self) -> u32 {
        self.last_access_secs
    }

    /// The slab class in whose LRU it is.
    pub fn class(&self) -> u8 {
        self.class
    }
}

impl<'a> Deref for Leaving<'a> {
    type Target = ItemView<'a>;

    fn deref(&self) -> &ItemView<'a> {
        &self.view
    }
}

/// A closure, and the causes it is called for.
#[derive(Clone)]
pub(crate) struct Listener {
    causes: u8,
    call: Arc<dyn Fn(Leaving<'_>) + Send + Sync>,
}

impl Listener {
    pub(crate) fn new(causes: &[Cause], call: Arc<dyn Fn(Leaving<'_>) + Send + Sync>) -> Self {
        Self { causes: causes.iter().fold(0, |causes, cause| causes | cause.bit()), call }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = Cause::ALL.iter().filter(|cause| self.causes & cause.bit() != 0);
        f.debug_set().entries(causes).finish()
    }
}

impl Inner {
    /// Tells the listener, if there is one, of an item that is about to leave. Comes before
    /// anything is changed, so that a listener that panics leaves the store as it was.
    #[inline]
    pub(crate) fn tell(&self, shard: &ShardGuard<'_>, id: ItemId, cause: Cause) {
        if let Some(listener) = &self.listener
            && listener.causes & cause.bit() != 0
        {
            self.tell_listener(listener, shard, id, cause);
        }
    }

    /// Why an item that is dead died.
    pub(crate) fn cause_of_death(&self, id: ItemId) -> Cause {
        if self.is_flushed(id) { Cause::Flushed } else { Cause::Expired }
    }

    #[cold]
    fn tell_listener(&self, listener: &Listener, shard: &ShardGuard<'_>, id: ItemId, cause: Cause) {
        let ttl = match self.items.expiry(id) {
            0 => Ttl::NEVER,
            expiry => Ttl::secs(expiry.saturating_sub(self.clock.now())),
        };
        let view = self.items.view(id, shard);
        let was_read = self.items.state(id) & FETCHED != 0;
        let last_access_secs = self.clock.now().saturating_sub(self.items.time(id));
        let class = self.lru_class(id).number();
        let leaving = Leaving { view, cause, ttl, was_read, last_access_secs, class };
        closures::lend(&self.index, || (listener.call)(leaving));
    }
}
