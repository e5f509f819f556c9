//! Looking up or computing, once for all who ask.

use std::future::Future;
use std::sync::Arc;

use nuthatch_types::{Key, StoreMode, Stored};

use super::Store;
use super::alloc;
use super::flights::{Caller, Flights, Leader, Seat, Waited, block_on};
use super::guard::{Item, ItemGuard};
use super::write::{Commit, NewItem};
use super::writer::Writer;
use crate::StoreError;
use crate::item::ItemView;

/// The computations that callers of a store have under way.
pub(crate) type Computing = Flights<Shared>;

/// A value that was looked up or computed; made by [`Store::get_or_insert_with`] and
/// [`Store::get_or_insert_async`].
///
/// Mostly it is an item pinned where it lies, as by an [`ItemGuard`]: it stays whatever happens to
/// the key, and its memory comes back when this is dropped.
#[derive(Debug)]
pub struct Fetched {
    value: Value,
    origin: Origin,
}

/// Where a [`Fetched`] came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there are no other ways")]
pub enum Origin {
    /// It was in the cache.
    Cache,
    /// This call computed it.
    Computed,
    /// Another call computed it while this one waited.
    Waited,
}

#[derive(Debug)]
enum Value {
    /// The pin of this caller alone: a hit allocates nothing.
    Pinned(ItemGuard),
    Shared(Shared),
}

/// What several callers have in common.
#[derive(Clone, Debug)]
pub(crate) enum Shared {
    Pinned(Arc<ItemGuard>),
    /// A value that could not be stored, for this reason; with none, it could not be pinned.
    Copied(Arc<[u8]>, Option<StoreError>),
}

impl Fetched {
    /// The value, in one piece; see [`ItemGuard::as_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        match &self.value {
            Value::Pinned(guard) => guard.as_bytes(),
            Value::Shared(Shared::Pinned(guard)) => guard.as_bytes(),
            Value::Shared(Shared::Copied(value, _)) => value,
        }
    }

    /// The item, with its flags and CAS number; `None` for a value that is in no item.
    pub fn item(&self) -> Option<ItemView<'_>> {
        match &self.value {
            Value::Pinned(guard) => Some(guard.view()),
            Value::Shared(Shared::Pinned(guard)) => Some(guard.view()),
            Value::Shared(Shared::Copied(..)) => None,
        }
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Why the value could not be stored, if it was computed and could not.
    pub fn refusal(&self) -> Option<StoreError> {
        match self.value {
            Value::Shared(Shared::Copied(_, refusal)) => refusal,
            _ => None,
        }
    }
}

/// [`Fetched::as_bytes`].
impl AsRef<[u8]> for Fetched {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Value {
    fn of(item: Item<'_>) -> Self {
        match item.pin() {
            Some(guard) => Self::Pinned(guard),
            None => Self::Shared(Shared::Copied(item.to_vec().into(), None)),
        }
    }

    /// Turns a value into one that others can have too.
    fn share(self) -> (Self, Shared) {
        let shared = match self {
            Self::Pinned(guard) => Shared::Pinned(Arc::new(guard)),
            Self::Shared(shared) => shared,
        };
        (Self::Shared(shared.clone()), shared)
    }
}

impl Store {
    /// Looks a key up; where there is nothing, computes a value by `make` and stores it. Of all
    /// who ask for a key at the same time one computes, and the others wait for what it gets.
    ///
    /// - Callers of different keys never wait for each other. `make` runs without a lock, may take
    ///   its time and may use the store, other keys' `get_or_insert_with` included.
    /// - If `make` fails or panics, that is its own caller's error or panic; of those who wait, one
    ///   goes on with its own `make`.
    /// - A value that somebody stores meanwhile stays, and is what everybody gets; a delete
    ///   meanwhile is overtaken by the value computed.
    /// - All who waited get the value computed, even if it could not be stored
    ///   ([`Fetched::refusal`] says why) or was evicted or deleted at once.
    ///
    /// Counts as one [`get`](Self::get), and where it computes, as an add. A hit allocates nothing;
    /// a miss, a note of the key and of who waits for it.
    ///
    /// A task that is polled must not block its thread: it calls
    /// [`get_or_insert_async`](Self::get_or_insert_async). Both meet in the same computation.
    ///
    /// # Errors
    ///
    /// Whatever `make` fails with.
    ///
    /// # Panics
    ///
    /// If `make` asks for the very key that it computes, on its own thread; on another, the two
    /// wait for each other for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use nuthatch_store::{Origin, Store, types::{Key, Ttl}};
    ///
    /// let store = Store::builder().build()?;
    /// let key = Key::new("answer")?;
    /// let think = || Ok::<_, std::io::Error>(b"42");
    /// let first = store.get_or_insert_with(key, Ttl::secs(60), think)?;
    /// let second = store.get_or_insert_with(key, Ttl::secs(60), think)?;
    /// assert_eq!((first.as_bytes(), second.as_bytes()), (&b"42"[..], &b"42"[..]));
    /// assert_eq!((first.origin(), second.origin()), (Origin::Computed, Origin::Cache));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_or_insert_with<V: AsRef<[u8]>, E>(
        &self,
        key: Key<'_>,
        item: impl Into<NewItem>,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Fetched, E> {
        if let Some(value) = self.get(key, Value::of) {
            return Ok(Fetched { value, origin: Origin::Cache });
        }
        let leader = match self.inner.computing.join(key, Caller::Thread) {
            Seat::Leader(leader) => leader,
            Seat::Waiter(waiter) => match block_on(waiter) {
                Waited::Landed(value) => return Ok(Fetched::waited(value)),
                Waited::TakenOver(leader) => leader,
            },
        };
        match self.look_again(key, leader) {
            Ok(fetched) => Ok(fetched),
            Err(leader) => Ok(self.land(leader, key, item.into(), make()?.as_ref())),
        }
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) for tasks: `make` is a future, which is
    /// polled only where there is nothing and nobody else computes, and dropped otherwise.
    ///
    /// Needs no runtime, and is safe to cancel: if the one who computes is dropped, one of those
    /// who wait goes on with its own future. As with every lock, one that is neither polled nor
    /// dropped lets the others wait.
    ///
    /// # Errors
    ///
    /// Whatever `make` fails with.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// use nuthatch_store::{Store, types::{Key, Ttl}};
    ///
    /// async fn page(store: &Store, name: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    ///     let key = Key::new(name)?;
    ///     let fetch = async { Ok::<_, std::io::Error>(format!("<h1>{name}</h1>")) };
    ///     let page = store.get_or_insert_async(key, Ttl::secs(60), fetch).await?;
    ///     Ok(page.as_bytes().to_vec())
    /// }
    /// # let store = Store::builder().build()?;
    /// # let page = pin!(page(&store, "kea")).poll(&mut Context::from_waker(Waker::noop()));
    /// # assert!(matches!(page, Poll::Ready(Ok(page)) if page == b"<h1>kea</h1>"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn get_or_insert_async<V: AsRef<[u8]>, E>(
        &self,
        key: Key<'_>,
        item: impl Into<NewItem>,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<Fetched, E> {
        if let Some(value) = self.get(key, Value::of) {
            return Ok(Fetched { value, origin: Origin::Cache });
        }
        // Made into plain data before the first wait, so that the future is `Send` if `make` is.
        let item = item.into();
        let leader = match self.inner.computing.join(key, Caller::Task) {
            Seat::Leader(leader) => leader,
            Seat::Waiter(waiter) => match waiter.await {
                Waited::Landed(value) => return Ok(Fetched::waited(value)),
                Waited::TakenOver(leader) => leader,
            },
        };
        match self.look_again(key, leader) {
            Ok(fetched) => Ok(fetched),
            Err(leader) => Ok(self.land(leader, key, item, make.await?.as_ref())),
        }
    }

    /// Looks for what a leader before this one may have stored since this one looked; gives the
    /// leader back if there is nothing.
    fn look_again<'a>(
        &self,
        key: Key<'_>,
        leader: Leader<'a, Shared>,
    ) -> Result<Fetched, Leader<'a, Shared>> {
        let Some(value) = self.peek(key, |item, _| Value::of(item)) else { return Err(leader) };
        let value = leader.land(value, Value::share);
        Ok(Fetched { value, origin: Origin::Cache })
    }

    /// Stores what a leader computed and hands it to all who wait.
    fn land(
        &self,
        leader: Leader<'_, Shared>,
        key: Key<'_>,
        item: NewItem,
        value: &[u8],
    ) -> Fetched {
        let value = match self.add_pinned(key, item, value) {
            Ok(guard) => Value::Pinned(guard),
            Err(refusal) => Value::Shared(Shared::Copied(value.into(), Some(refusal))),
        };
        let value = leader.land(value, Value::share);
        Fetched { value, origin: Origin::Computed }
    }

    /// Adds an item and pins it, or the one that somebody else has stored.
    fn add_pinned(
        &self,
        key: Key<'_>,
        item: NewItem,
        value: &[u8],
    ) -> Result<ItemGuard, StoreError> {
        let inner = &*self.inner;
        let birth = inner.birth(key, item, value.len());
        let mut writer = Writer::for_set(inner, birth, alloc::Caller::Free)?;
        writer.write(value)?;
        let id = writer.into_id();
        // Pinned before it is linked, so that nothing can come in between.
        let guard = ItemGuard::of_draft(&self.inner, id);
        let hash = inner.index.hash(key.as_bytes());
        let commit = Commit { mode: StoreMode::Add, ..Commit::default() };
        let committed = inner.commit(id, hash, commit)?;
        if committed.stored == Stored::Stored {
            return Ok(guard);
        }
        let theirs = self.peek(key, |item, _| item.pin()).flatten();
        Ok(theirs.unwrap_or(guard))
    }
}

impl Fetched {
    fn waited(value: Shared) -> Self {
        Self { value: Value::Shared(value), origin: Origin::Waited }
    }
}
