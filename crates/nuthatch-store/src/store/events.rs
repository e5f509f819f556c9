//! Being told what maintenance does, so that an operator can follow it.

use std::fmt;
use std::sync::Arc;

use super::Inner;
use crate::CrawlReport;

/// Something that maintenance has done; see [`Builder::events`](crate::Builder::events).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StoreEvent<'a> {
    /// The crawler, sent out by itself, has been through a queue, and what it found there has been
    /// thought about (memcached's watchers get it as `type=lru_crawler`). Of a crawl that somebody
    /// asked for nothing is told.
    CrawlDone(&'a CrawlReport),
    /// A page begins to move from a class to another, by a decision of the store: automove's, or
    /// because the memory limit was lowered (`type=slab_move`). What
    /// [`Store::reassign`](crate::Store::reassign) moves, and what a store in need takes at once, is
    /// not told.
    PageMoved {
        /// The class that gives it.
        src: u8,
        /// The class that gets it; 0 is the page pool.
        dst: u8,
        /// Whether the move could begin; if not, the class has no page to give.
        ok: bool,
    },
}

/// The closure that is told.
#[derive(Clone)]
pub(crate) struct Watcher(Arc<dyn Fn(StoreEvent<'_>) + Send + Sync>);

impl Watcher {
    pub(crate) fn new(call: Arc<dyn Fn(StoreEvent<'_>) + Send + Sync>) -> Self {
        Self(call)
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

impl Inner {
    /// Tells of an event, if anybody wants to know. The caller holds no lock.
    pub(crate) fn announce(&self, event: StoreEvent<'_>) {
        if let Some(Watcher(call)) = &self.watcher {
            call(event);
        }
    }
}
