//! Values instead of bytes, and who computes one that is missing.
//!
//! ```text
//!  get_or_compute                        in this process               at the server
//!      task ──┐
//!      task ──┼──> one leads ──────────> mg key N R ──┬── hit ───────> value for all
//!      task ──┘    the others wait                    ├── won (W) ───> make, ms key C
//!                                                     └── being made ─> old value, or wait
//! ```

mod flights;
mod lease;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nuthatch_types::{Deleted, ItemFlags, Stored, Ttl};
use tokio::time::{Instant, timeout};

use self::flights::{Flights, Seat};
use self::lease::{Asked, Asking};
use crate::Client;
use crate::error::Error;
use crate::item::StoreOptions;
use crate::meta::MetaDelete;
use crate::values::{Codec, CodecError, Encoded};

/// A cache of values of one [`Codec`], which computes those that are missing once for all who ask.
///
/// Made by [`Client::typed`]; clones are cheap, and share computations that are under way, so make
/// one for each kind of value and clone it.
///
/// ```no_run
/// use nuthatch_client::types::Ttl;
/// use nuthatch_client::values::Text;
/// use nuthatch_client::Client;
///
/// # async fn render(name: &str) -> std::io::Result<String> { Ok(name.to_owned()) }
/// # async fn example(cache: Client) -> Result<(), Box<dyn std::error::Error>> {
/// let pages = cache
///     .typed(Text)
///     .ttl(Ttl::secs(300)) // how long a page is good
///     .refresh_ahead(Ttl::secs(30)); // in its last 30 s, one who asks makes it anew
/// let page = pages.get_or_compute("page:home", || render("home")).await?;
///
/// // What it shows has changed: one who asks makes it anew, the others see the old one meanwhile.
/// pages.invalidate("page:home", Ttl::secs(60)).await?;
/// # Ok(())
/// # }
/// ```
///
/// **Who computes.** Of the tasks in this process one asks the server, and the others wait for it,
/// for as long as [`patience`](Self::patience) says.
/// Of all processes that ask, the server lets one win, by the meta flags `N` (nothing there: an empty
/// item is made, a lease), `R` (about to end) and those that [`invalidate`](Self::invalidate) leaves.
/// Who wins computes and stores, and whoever asks meanwhile is given the old value if there is one,
/// and else asks again, after 10 ms at first and 250 ms at most. When a lease has run out, or was
/// given back because a computation failed or was dropped, the next one wins.
///
/// **When things fail.** A cache that cannot be reached, or answers with what the codec does not
/// know, keeps nobody from a value: it is computed, in the first case without being stored. A server
/// without meta commands is asked by `get`; then only tasks of one process share computations. A
/// value that was changed or deleted while it was computed is not stored.
///
/// An empty value without flags cannot be told from a lease. So one that is stored here gets bit 31
/// of the flags, and one that somebody else has stored is a miss.
#[derive(Debug)]
pub struct Typed<C> {
    cache: Client,
    codec: Arc<C>,
    flights: Arc<Flights>,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    ttl: Ttl,
    lease: Ttl,
    refresh_ahead: Option<Ttl>,
    patience: Duration,
}

/// Why there is no value, or it was not stored. `E` is what computing it can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError<E = Infallible> {
    /// The cache's reason.
    #[error(transparent)]
    Cache(#[from] Error),
    /// The codec's reason.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Others changed the item each time before it could be stored.
    #[error("item changed {0} times while it was being updated")]
    Contended(u32),
    /// Computing it failed.
    #[error("value could not be computed: {0}")]
    Compute(E),
}

impl Client {
    /// This cache as one of values; see [`Typed`].
    pub fn typed<C: Codec>(&self, codec: C) -> Typed<C> {
        Typed {
            cache: self.clone(),
            codec: Arc::new(codec),
            flights: Arc::default(),
            settings: Settings {
                ttl: Ttl::NEVER,
                lease: Ttl::secs(30),
                refresh_ahead: None,
                patience: Duration::from_secs(10),
            },
        }
    }
}

impl<C> Clone for Typed<C> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            codec: Arc::clone(&self.codec),
            flights: Arc::clone(&self.flights),
            settings: self.settings,
        }
    }
}

impl<C: Codec> Typed<C> {
    /// How long what is stored may live; [`Ttl::NEVER`] without this.
    #[must_use]
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// When less than this is left to live, one who asks computes the value anew while the others
    /// still have the old one. Not without this.
    #[must_use]
    pub fn refresh_ahead(mut self, left: Ttl) -> Self {
        self.settings.refresh_ahead = Some(left);
        self
    }

    /// How long one who computes has time before another may; 30 seconds without this.
    #[must_use]
    pub fn lease(mut self, ttl: Ttl) -> Self {
        self.settings.lease = ttl;
        self
    }

    /// How long to wait for a value that another computes, before it is computed here too; 10
    /// seconds without this. Of the tasks of a process one loses patience at a time, and whoever is
    /// ready first has the value for all.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// The cache below.
    pub fn cache(&self) -> &Client {
        &self.cache
    }

    /// Looks a value up. `None` is a miss.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ValueError::Cache`], [`ValueError::Codec`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<C::Value>, ValueError> {
        let Some(item) = self.cache.get(key).await? else { return Ok(None) };
        let stored = Encoded { data: item.value, flags: item.flags };
        if is_lease(&stored) {
            return Ok(None);
        }
        Ok(Some(self.decode(stored)?))
    }

    /// Stores a value, whatever is there.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ValueError::Cache`], [`ValueError::Codec`].
    pub async fn set(&self, key: impl AsRef<[u8]>, value: &C::Value) -> Result<(), ValueError> {
        let stored = self.encode(value)?;
        self.cache.set(key, stored.data, self.options(stored.flags)).await?;
        Ok(())
    }

    /// Stores a value only where none is: for one who has read it elsewhere after a miss, and must
    /// not overwrite what another has stored since. Whether it was stored.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ValueError::Cache`], [`ValueError::Codec`].
    pub async fn refill(
        &self,
        key: impl AsRef<[u8]>,
        value: &C::Value,
    ) -> Result<bool, ValueError> {
        let stored = self.encode(value)?;
        let outcome = self.cache.add(key, stored.data, self.options(stored.flags)).await?;
        Ok(outcome == Stored::Stored)
    }

    /// Marks a value as old, and lets it live on for `grace`: one who asks by
    /// [`get_or_compute`](Self::get_or_compute) computes it anew, the others have the old one until
    /// then. At a server without meta commands it is deleted. Whether there was one.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ValueError::Cache`].
    pub async fn invalidate(&self, key: impl AsRef<[u8]>, grace: Ttl) -> Result<bool, ValueError> {
        let stale = MetaDelete::new().invalidate(grace);
        let outcome = match self.cache.meta_delete(&key, stale).await {
            Err(error) if is_without_meta(&error) => self.cache.delete(&key).await?,
            outcome => outcome?,
        };
        Ok(outcome == Deleted::Deleted)
    }

    /// Changes a value: reads it, has a new one made of it (or of nothing), and stores that if the
    /// old one is still there; else all over again, up to 16 times. Returns the new one.
    ///
    /// Not for counters: the server can [count](Client::incr) by itself.
    ///
    /// Cancel safe; a call that is dropped may have stored. The same goes for one that fails with
    /// [`Error::is_ambiguous`].
    ///
    /// # Errors
    ///
    /// [`ValueError::Contended`] if others were quicker each time; [`ValueError::Cache`],
    /// [`ValueError::Codec`].
    pub async fn update(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<C::Value>) -> C::Value,
    ) -> Result<C::Value, ValueError> {
        let key = key.as_ref();
        for attempt in 0..UPDATES_MAX {
            if attempt > 0 {
                // Spread over a time that grows, so that many who update do not keep meeting.
                let most_ms = 1 << attempt.min(7);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=most_ms))).await;
            }
            let (old, cas) = match self.cache.get(key).await? {
                None => (None, None),
                Some(item) => {
                    let stored = Encoded { data: item.value, flags: item.flags };
                    let is_lease = is_lease(&stored);
                    (if is_lease { None } else { Some(self.decode(stored)?) }, Some(item.cas))
                }
            };
            let new = change(old);
            let stored = self.encode(&new)?;
            let options = self.options(stored.flags);
            let outcome = match cas {
                None => self.cache.add(key, stored.data, options).await?,
                Some(cas) => self.cache.cas(key, cas, stored.data, options).await?,
            };
            if outcome == Stored::Stored {
                return Ok(new);
            }
        }
        Err(ValueError::Contended(UPDATES_MAX))
    }

    /// Looks a value up, or else computes and stores it: once for all who ask at the same time.
    ///
    /// `make` is called at most once, and only if this call is the one to compute. If it fails, so
    /// does this call; those that wait for it compute themselves, one after the other. It is given
    /// all the time it takes, and must not ask for its own key: it would wait for itself.
    ///
    /// Cancel safe: a lease that was won is given back.
    ///
    /// # Errors
    ///
    /// [`ValueError::Compute`]; [`ValueError::Codec`] for a computed value that has no form;
    /// [`ValueError::Cache`] for a key that cannot be sent, and for nothing else.
    pub async fn get_or_compute<E, F, Fut>(
        &self,
        key: impl AsRef<[u8]>,
        make: F,
    ) -> Result<C::Value, ValueError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<C::Value, E>>,
    {
        let (key, began_at) = (key.as_ref(), Instant::now());
        let flight = loop {
            match self.flights.join(key, self.settings.patience) {
                Seat::Leading(flight) => break flight,
                Seat::Waiting(mut landed, left) => {
                    // Without a value those who led are late, have failed or were dropped: who is
                    // next?
                    if let Ok(Ok(stored)) = timeout(left, landed.wait_for(Option::is_some)).await
                        && let Some(stored) = stored.clone()
                    {
                        return Ok(self.decode(stored)?);
                    }
                }
            }
        };
        let asking = Asking { cache: &self.cache, key, settings: &self.settings, began_at };
        let (outcome, flight) = match asking.ask().await? {
            Asked::Hit(stored) => {
                if let Ok(value) = self.decode(stored.clone()) {
                    flight.land(stored);
                    return Ok(value);
                }
                (Asked::Miss, Some(flight))
            }
            Asked::Won(lease, Some(old)) if self.decode(old.clone()).is_ok() => {
                // The others need not wait for the new one, nor do those who come: the server has
                // the old one for them.
                flight.land(old);
                (Asked::Won(lease, None), None)
            }
            outcome => (outcome, Some(flight)),
        };
        let value = make().await.map_err(ValueError::Compute)?;
        let stored = self.encode(&value)?;
        let (data, options) = (stored.data.clone(), self.options(stored.flags));
        match outcome {
            Asked::Won(lease, _) => lease.fill(data, options).await,
            // Whether that worked makes no difference to who asked.
            Asked::Miss => drop(self.cache.set(key, data, options).await),
            Asked::Unreachable | Asked::Hit(_) => {}
        }
        if let Some(flight) = flight {
            flight.land(stored);
        }
        Ok(value)
    }

    fn encode(&self, value: &C::Value) -> Result<Encoded, CodecError> {
        let mut stored = self.codec.encode(value)?;
        if is_lease(&stored) {
            stored.flags = EMPTY;
        }
        Ok(stored)
    }

    fn decode(&self, stored: Encoded) -> Result<C::Value, CodecError> {
        let is_empty = stored.data.is_empty() && stored.flags == EMPTY;
        self.codec.decode(stored.data, if is_empty { ItemFlags(0) } else { stored.flags })
    }

    fn options(&self, flags: ItemFlags) -> StoreOptions {
        StoreOptions::new().ttl(self.settings.ttl).flags(flags)
    }
}

/// Whether this is what `N` makes: an item without anything.
fn is_lease(stored: &Encoded) -> bool {
    stored.data.is_empty() && stored.flags == ItemFlags(0)
}

/// Whether the server, or the protocol that is spoken with it, has no meta commands.
fn is_without_meta(error: &Error) -> bool {
    error.is_unsupported() || error.is_unknown_command()
}

/// The flags of an empty value, where the codec has none for it.
const EMPTY: ItemFlags = ItemFlags(1 << 31);

/// How often an update is tried. Of ten that update one item all the time, nobody needs more than
/// ten rounds.
const UPDATES_MAX: u32 = 16;
