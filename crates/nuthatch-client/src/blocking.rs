//! The same client for programs without async: every call waits for its answer.
//!
//! ```no_run
//! use nuthatch_client::{blocking::Client, types::Ttl};
//!
//! # fn main() -> Result<(), nuthatch_client::Error> {
//! let cache = Client::connect("localhost:11211")?;
//! cache.set("greeting", "hello", Ttl::secs(60))?;
//! if let Some(item) = cache.get("greeting")? {
//!     println!("{:?}", item.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!   your threads ──┐                    one thread of the client's
//!   your threads ──┼── futures ──>   tokio: connections, timers
//!   your threads ──┘
//! ```
//!
//! Connections live on one thread that all clones share; the calls themselves run on the threads
//! that make them, and many threads share a connection as many tasks do. Inside a tokio runtime
//! these methods panic: there the other client is to be used.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nuthatch_types::{Cas, Deleted, Stored, Ttl};
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

use crate::error::{Error, Kind};
use crate::{
    Builder, Item, MetaCount, MetaCounted, MetaDelete, MetaGet, MetaItem, MetaSet, MetaStored,
    Stats, Status, StoreOptions,
};

/// A [`Client`](crate::Client) whose calls wait. Clones are cheap and share everything; when the
/// last one is dropped the connections are closed.
#[derive(Clone, Debug)]
pub struct Client {
    /// Before the thread that drives it.
    client: crate::Client,
    driver: Arc<Driver>,
}

/// The thread that the connections live on, and the way to end it.
#[derive(Debug)]
struct Driver {
    handle: Handle,
    /// Its end ends the thread.
    _is_used: oneshot::Sender<()>,
}

impl Driver {
    fn start() -> Result<Self, Error> {
        let failed = |error| Kind::Connect(Arc::new(error));
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (is_used, is_over) = oneshot::channel::<()>();
        let drive = move || {
            // It is never sent anything; it ends.
            let _ = runtime.block_on(is_over);
        };
        let thread = thread::Builder::new().name("memcached".to_owned());
        thread.spawn(drive).map_err(failed)?;
        Ok(Self { handle, _is_used: is_used })
    }
}

/// Methods that wait for those of the other client.
macro_rules! waiting {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        impl Client {
            $(
                #[doc = concat!(
                    "As [`Client::", stringify!($name), "`](crate::Client::", stringify!($name), ")."
                )]
                ///
                /// # Errors
                ///
                /// As there.
                ///
                /// # Panics
                ///
                /// Inside a tokio runtime.
                pub fn $name(&self, $($argument: $kind),*) -> Result<$result, Error> {
                    self.wait(async |client| client.$name($($argument),*).await)
                }
            )*
        }
    };
}

waiting! {
    get(key: impl AsRef<[u8]>) -> Option<Item>;
    gat(key: impl AsRef<[u8]>, ttl: Ttl) -> Option<Item>;
    get_many(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Option<Item>>;
    set(key: impl AsRef<[u8]>, value: impl Into<Bytes>, options: impl Into<StoreOptions>) -> Stored;
    add(key: impl AsRef<[u8]>, value: impl Into<Bytes>, options: impl Into<StoreOptions>) -> Stored;
    replace(key: impl AsRef<[u8]>, value: impl Into<Bytes>, options: impl Into<StoreOptions>) -> Stored;
    append(key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Stored;
    prepend(key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> Stored;
    cas(key: impl AsRef<[u8]>, cas: Cas, value: impl Into<Bytes>, options: impl Into<StoreOptions>) -> Stored;
    delete(key: impl AsRef<[u8]>) -> Deleted;
    delete_cas(key: impl AsRef<[u8]>, cas: Cas) -> Deleted;
    touch(key: impl AsRef<[u8]>, ttl: Ttl) -> bool;
    incr(key: impl AsRef<[u8]>, delta: u64) -> Option<u64>;
    decr(key: impl AsRef<[u8]>, delta: u64) -> Option<u64>;
    incr_from(key: impl AsRef<[u8]>, delta: u64, initial: u64, ttl: Ttl) -> u64;
    decr_from(key: impl AsRef<[u8]>, delta: u64, initial: u64, ttl: Ttl) -> u64;
    meta_get(key: impl AsRef<[u8]>, options: MetaGet) -> Option<MetaItem>;
    meta_set(key: impl AsRef<[u8]>, value: impl Into<Bytes>, options: MetaSet) -> MetaStored;
    meta_delete(key: impl AsRef<[u8]>, options: MetaDelete) -> Deleted;
    meta_count(key: impl AsRef<[u8]>, options: MetaCount) -> MetaCounted;
    meta_debug(key: impl AsRef<[u8]>) -> Option<String>;
    flush_all() -> ();
    verbosity(level: u32) -> ();
    version() -> String;
    stats() -> Stats;
    stats_of(what: &str) -> Stats;
}

impl Client {
    /// As [`Client::connect`](crate::Client::connect).
    ///
    /// # Errors
    ///
    /// As there; and [`Error::is_connect`] if the system gives no thread.
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn connect(address: &str) -> Result<Self, Error> {
        crate::Client::builder().connect_blocking(address)
    }

    /// As [`Client::get_each`](crate::Client::get_each).
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn get_each(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Vec<Result<Option<Item>, Error>> {
        self.wait(async |client| client.get_each(keys).await)
    }

    /// As [`Client::gat_each`](crate::Client::gat_each).
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn gat_each(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        ttl: Ttl,
    ) -> Vec<Result<Option<Item>, Error>> {
        self.wait(async |client| client.gat_each(keys, ttl).await)
    }

    /// As [`Client::set_many`](crate::Client::set_many).
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn set_many<K: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
        options: impl Into<StoreOptions>,
    ) -> Vec<Result<Stored, Error>> {
        self.wait(async |client| client.set_many(items, options).await)
    }

    /// As [`Client::delete_many`](crate::Client::delete_many).
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn delete_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Vec<Result<Deleted, Error>> {
        self.wait(async |client| client.delete_many(keys).await)
    }

    /// As [`Client::with_timeout`](crate::Client::with_timeout).
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { client: self.client.with_timeout(timeout), driver: Arc::clone(&self.driver) }
    }

    /// As [`Client::with_deadline`](crate::Client::with_deadline).
    #[must_use]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { client: self.client.with_deadline(deadline), driver: Arc::clone(&self.driver) }
    }

    /// As [`Client::is_connected`](crate::Client::is_connected).
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// As [`Client::route`](crate::Client::route).
    pub fn route(&self, key: impl AsRef<[u8]>) -> Vec<Arc<str>> {
        self.client.route(key)
    }

    /// As [`Client::status`](crate::Client::status).
    pub fn status(&self) -> Status {
        self.client.status()
    }

    /// Waits for whatever is done with the client that does not wait: several calls at once, or
    /// those that have no method here.
    ///
    /// ```no_run
    /// # fn example(cache: nuthatch_client::blocking::Client) {
    /// let versions = cache.wait(async |cache| {
    ///     let mut versions = Vec::new();
    ///     for node in cache.nodes() {
    ///         versions.push(node.version().await);
    ///     }
    ///     versions
    /// });
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn wait<T>(&self, work: impl AsyncFnOnce(&crate::Client) -> T) -> T {
        self.driver.handle.block_on(work(&self.client))
    }
}

impl Builder {
    /// As [`connect`](Self::connect), for a client whose calls wait.
    ///
    /// # Errors
    ///
    /// As there; and [`Error::is_connect`] if the system gives no thread.
    ///
    /// # Panics
    ///
    /// Inside a tokio runtime.
    pub fn connect_blocking(&self, addresses: &str) -> Result<Client, Error> {
        let driver = Driver::start()?;
        let client = driver.handle.block_on(self.connect(addresses))?;
        Ok(Client { client, driver: Arc::new(driver) })
    }
}
