//! Items found: what a closure sees under the lock, and what can be kept beyond it; and those not
//! found.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::Inner;
use crate::arena::ItemId;
use crate::item::{Held, ItemView};

/// Why a lookup found nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "memcached's watchers tell these apart")]
pub enum Missed {
    /// There is no such item.
    NotFound,
    /// There was one whose life span was over, or that had been idle for too long; now it is gone.
    Expired,
    /// There was one that a flush had ended; now it is gone.
    Flushed,
}

/// How large an item is and where it belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Extent {
    /// The slab class in whose LRU it is: of a value in a chain of chunks, the last one.
    pub class: u8,
    /// The length of its value in bytes.
    pub len: usize,
}

/// An item that was found, under the lock of its shard.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    store: &'a Arc<Inner>,
    view: ItemView<'a>,
}

impl<'a> Item<'a> {
    pub(crate) fn new(store: &'a Arc<Inner>, view: ItemView<'a>) -> Self {
        Self { store, view }
    }

    pub(crate) fn store(&self) -> &'a Inner {
        self.store
    }

    /// The slab class in whose LRU the item is.
    pub fn class(&self) -> u8 {
        self.store.lru_class(self.view.id()).number()
    }

    /// Its slab class and the length of its value.
    pub fn extent(&self) -> Extent {
        self.store.extent(self.view)
    }

    /// Keeps the item in place beyond the lock, without copying it. It may be replaced, deleted or
    /// evicted meanwhile: the guard goes on seeing the value it was made of, and the memory comes
    /// back when the guard is dropped.
    ///
    /// `None` when 60,000 guards of this item are held already (memcached's refcount overflow).
    pub fn pin(&self) -> Option<ItemGuard> {
        let id = self.view.id();
        let store = self.store;
        store.items.retain(id).then(|| ItemGuard {
            store: Arc::clone(store),
            id,
            chain: OnceLock::new(),
        })
    }
}

impl<'a> Deref for Item<'a> {
    type Target = ItemView<'a>;

    fn deref(&self) -> &ItemView<'a> {
        &self.view
    }
}

impl Inner {
    /// How large an item is and where it belongs.
    #[inline]
    pub(super) fn extent(&self, view: ItemView<'_>) -> Extent {
        let class = self.lru_class_in(view.id(), view.head().state());
        Extent { class: class.number(), len: view.len() }
    }
}

/// A reference to an item that outlives the lookup; made by [`Item::pin`].
pub struct ItemGuard {
    store: Arc<Inner>,
    id: ItemId,
    /// What was found out about a chained value.
    chain: OnceLock<Box<Chain>>,
}

struct Chain {
    /// The chunks, once somebody has asked for one by its number: to walk there each time would
    /// take time in the square of their number.
    chunks: Box<[ItemId]>,
    /// The value in one piece, once somebody has asked for that.
    whole: OnceLock<Box<[u8]>>,
}

impl ItemGuard {
    /// Takes a second reference to a new item that nobody else knows yet.
    pub(crate) fn of_draft(store: &Arc<Inner>, id: ItemId) -> Self {
        let has_room = store.items.retain(id);
        debug_assert!(has_room, "a new item has one reference");
        Self { store: Arc::clone(store), id, chain: OnceLock::new() }
    }

    /// The item.
    pub fn view(&self) -> ItemView<'_> {
        // The guard is the reference that keeps the item's bytes; `Held` stands for it.
        self.store.items.view(self.id, &Held)
    }

    /// The value's `index`-th piece; `None` after the last one. As
    /// [`pieces`](ItemView::pieces), for those who do not take them one after another.
    pub fn piece(&self, index: usize) -> Option<&[u8]> {
        let view = self.view();
        if let Some(value) = view.contiguous() {
            return (index == 0).then_some(value);
        }
        self.chain().chunks.get(index).map(|&chunk| view.chain_piece(chunk))
    }

    /// The value in one piece: where it lies, if that is one piece, which is so for items that fit
    /// the largest chunk; else a copy, made by the first call and kept with the guard.
    /// [`view`](Self::view) and [`ItemView::pieces`] never copy.
    pub fn as_bytes(&self) -> &[u8] {
        let view = self.view();
        match view.contiguous() {
            Some(value) => value,
            None => self.chain().whole.get_or_init(|| view.to_vec().into()),
        }
    }

    fn chain(&self) -> &Chain {
        self.chain.get_or_init(|| {
            Box::new(Chain { chunks: self.view().chain().into(), whole: OnceLock::new() })
        })
    }
}

/// [`ItemGuard::as_bytes`], for whoever takes an owner of bytes (`Bytes::from_owner`).
impl AsRef<[u8]> for ItemGuard {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Drop for ItemGuard {
    fn drop(&mut self) {
        self.store.drop_ref(self.id);
    }
}

impl fmt::Debug for ItemGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}
