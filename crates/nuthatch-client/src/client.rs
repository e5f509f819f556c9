//! The handle: one method for each command.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuthatch_transport::ConnectAddr;
use nuthatch_types::{Arith, Cas, Deleted, Key, KeyBuf, KeyError, StoreMode, Stored};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use crate::builder::Builder;
use crate::call::{Answer, Ask, Call, Found, Store, Waiter};
use crate::clock;
use crate::conn::Fate;
use crate::error::{Cause, Error, Kind, Stage};
use crate::item::{Item, Stats, StoreOptions};

/// A handle to one connection to one server. Clones are cheap and share the connection; all
/// methods take `&self`, and calls of many tasks are under way at once.
///
/// **Order.** Calls are sent in the order in which they got a place in the queue, and the server
/// does them in that order. A call that is awaited to its end before the next is made is done
/// before it, from whichever clones.
///
/// **Cancellation.** Every method is cancel safe: a future can be dropped at any time, and so can
/// one that has run into the time limit. If the command has not been written to the connection's
/// buffer by then, it is never sent; else the server does it, and its answer is read and dropped.
/// The connection stays in step either way.
///
/// **Time.** Every call ends within [`Builder::timeout`], be it with an
/// [`is_timeout`](Error::is_timeout) error. The connection is not closed for that.
///
/// **End.** When the connection ends (the server closes it, the network fails, the server says
/// what cannot be understood) every call under way fails at once and every later one too, with
/// [`Error::is_closed`]. This version does not connect again; make a new client. When the last
/// clone is dropped the connection is closed.
///
/// **Keys** are 1 to 250 bytes without space or control byte; anything that shows bytes will do,
/// `&str` and [`Key`] among others. **Values** are whatever becomes [`Bytes`]: `&'static str`,
/// `String`, `Vec<u8>`.
///
/// Besides the errors that the methods name, all may fail with [`is_refused`](Error::is_refused),
/// [`is_timeout`](Error::is_timeout) or [`is_closed`](Error::is_closed), and those with a key with
/// [`is_key`](Error::is_key).
#[derive(Clone)]
pub struct Client {
    calls: mpsc::Sender<Call>,
    shared: Arc<Shared>,
}

struct Shared {
    fate: Fate,
    settings: Settings,
}

/// What the calls of a client have in common.
pub(crate) struct Settings {
    pub(crate) address: ConnectAddr,
    pub(crate) timeout: Duration,
    pub(crate) value_bytes_max: usize,
}

impl Client {
    /// Connects with the defaults of [`Builder`]; see [`Builder::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::is_connect`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without I/O or time.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::builder().connect(address).await
    }

    /// Settings to connect with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Whether the connection has ended, so that every further call would fail.
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    // Retrieval.

    /// Looks an item up (`gets`).
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_too_large`] if the value exceeds the client's limit; the connection has ended
    /// then.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, Error> {
        let key = key_buf(&key)?;
        let ask = Ask::Get(key.clone());
        self.call(ask, |answer| Waiter::Item { key, item: None, answer }).await
    }

    /// Looks several items up in one round trip (`gets`); the answers are in the order of the
    /// keys, `None` for those that are not there. Any number of keys will do: more than fit a line
    /// of 8 KiB are sent as several commands, one behind the other. If one of these fails, so does
    /// the call.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). If any of the keys cannot be sent, nothing is.
    pub async fn get_many(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<Option<Item>>, Error> {
        let lines = lines(keys)?;
        let mut stage = Stage::Queue;
        let all = async {
            let mut answers = Vec::with_capacity(lines.len());
            let mut items = Vec::new();
            for keys in lines {
                let found = Found::new(Arc::clone(&keys));
                let waiter = |answer| Waiter::Items { found, answer };
                answers.push(self.enqueue(Ask::GetMany(keys), waiter).await?);
                stage = Stage::Answer;
            }
            for answer in answers {
                items.extend(self.answer(answer).await?);
            }
            Ok(items)
        };
        match time::timeout(self.shared.settings.timeout, all).await {
            Ok(result) => result,
            Err(_) => Err(Kind::Timeout(stage).into()),
        }
    }

    // Storage.

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

    /// Stores an item if it is still the one that [`Item::cas`] came with: [`Stored::Exists`] if
    /// it has changed, [`Stored::NotFound`] if it is gone.
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

    // Other changes.

    /// Removes an item. The answer is never [`Deleted::Exists`].
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Deleted, Error> {
        self.call(Ask::Delete(key_buf(&key)?), Waiter::Deleted).await
    }

    /// Gives an item a new life span; says whether it was there.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn touch(
        &self,
        key: impl AsRef<[u8]>,
        ttl: nuthatch_types::Ttl,
    ) -> Result<bool, Error> {
        let ask = Ask::Touch { key: key_buf(&key)?, exptime: clock::exptime(ttl) };
        self.call(ask, Waiter::Touched).await
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
        let ask = Ask::Arith { direction: Arith::Incr, key: key_buf(&key)?, delta };
        self.call(ask, Waiter::Number).await
    }

    /// Counts down, stopping at 0; else as [`incr`](Self::incr).
    ///
    /// Cancel safe. A call that failed with a time limit may have counted.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the value is no number.
    pub async fn decr(&self, key: impl AsRef<[u8]>, delta: u64) -> Result<Option<u64>, Error> {
        let ask = Ask::Arith { direction: Arith::Decr, key: key_buf(&key)?, delta };
        self.call(ask, Waiter::Number).await
    }

    // The server.

    /// Forgets all items, at once.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_client_error`] if the server does not allow it (`-F`).
    pub async fn flush_all(&self) -> Result<(), Error> {
        self.call(Ask::FlushAll, Waiter::Done).await
    }

    /// The server's version, such as `1.6.45`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn version(&self) -> Result<String, Error> {
        self.call(Ask::Version, Waiter::Version).await
    }

    /// The general statistics.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// None of its own.
    pub async fn stats(&self) -> Result<Stats, Error> {
        let waiter = |answer| Waiter::Stats { stats: Stats::default(), answer };
        self.call(Ask::Stats(None), waiter).await
    }

    /// Other statistics: `items`, `slabs`, `settings`, `conns` and whatever else the server knows.
    /// `reset` sets the counters to zero and gives none.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::is_key`] for a control byte in `what`, [`Error::is_unknown_command`] for what the
    /// server does not know.
    pub async fn stats_of(&self, what: &str) -> Result<Stats, Error> {
        if let Some(at) = what.bytes().position(|byte| byte < b' ' || byte == 0x7f) {
            return Err(KeyError::Forbidden { at }.into());
        }
        let waiter = |answer| Waiter::Stats { stats: Stats::default(), answer };
        self.call(Ask::Stats(Some(what.to_owned())), waiter).await
    }

    // The way of a call.

    pub(crate) fn new(calls: mpsc::Sender<Call>, fate: Fate, settings: Settings) -> Self {
        Self { calls, shared: Arc::new(Shared { fate, settings }) }
    }

    async fn store(
        &self,
        mode: StoreMode,
        key: &[u8],
        value: Bytes,
        options: StoreOptions,
        cas: Option<Cas>,
    ) -> Result<Stored, Error> {
        let (len, limit) = (value.len(), self.shared.settings.value_bytes_max);
        if len > limit {
            return Err(Kind::ValueTooLarge { len, limit }.into());
        }
        let StoreOptions { ttl, flags } = options;
        let (key, exptime) = (key_buf(key)?, clock::exptime(ttl));
        let store = Store { mode, key, flags, exptime, cas, value };
        self.call(Ask::Store(store), Waiter::Stored).await
    }

    /// Asks and waits for the answer, within the time limit.
    async fn call<T>(
        &self,
        ask: Ask,
        waiter: impl FnOnce(Answer<T>) -> Waiter,
    ) -> Result<T, Error> {
        let mut stage = Stage::Queue;
        let call = async {
            let answer = self.enqueue(ask, waiter).await?;
            stage = Stage::Answer;
            self.answer(answer).await
        };
        match time::timeout(self.shared.settings.timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(Kind::Timeout(stage).into()),
        }
    }

    async fn enqueue<T>(
        &self,
        ask: Ask,
        waiter: impl FnOnce(Answer<T>) -> Waiter,
    ) -> Result<oneshot::Receiver<Result<T, Error>>, Error> {
        let (sender, answer) = oneshot::channel();
        let call = Call { ask, waiter: waiter(sender) };
        match self.calls.send(call).await {
            Ok(()) => Ok(answer),
            Err(_) => Err(self.closed(true)),
        }
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        // The task tells everybody before it ends, unless it was ended with its runtime.
        answer.await.unwrap_or_else(|_| Err(self.closed(false)))
    }

    fn closed(&self, is_unsent: bool) -> Error {
        match self.shared.fate.get() {
            Some(cause) => Error::closed(cause, is_unsent),
            None => Error::closed(&Arc::new(Cause::Runtime), is_unsent),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.shared.settings.address.to_string())
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

fn key_buf(key: &(impl AsRef<[u8]> + ?Sized)) -> Result<KeyBuf, Error> {
    Ok(Key::new(key)?.to_buf())
}

/// Deals keys out to command lines.
fn lines(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<Arc<[KeyBuf]>>, Error> {
    let (mut lines, mut line, mut line_bytes) = (Vec::new(), Vec::new(), 0);
    for key in keys {
        let key = key_buf(&key)?;
        let key_bytes = " ".len() + key.as_key().len();
        if line_bytes + key_bytes > LINE_KEY_BYTES_MAX {
            lines.push(std::mem::take(&mut line).into());
            line_bytes = 0;
        }
        line.push(key);
        line_bytes += key_bytes;
    }
    if !line.is_empty() {
        lines.push(line.into());
    }
    Ok(lines)
}

/// The most bytes of keys on one line: half of what the strictest server known allows for a line
/// (ElastiCache Serverless, 16 KiB), and 32 keys of the greatest length.
const LINE_KEY_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_calls_cross_threads() {
        fn check<T: Send + Sync>() {}
        fn check_future<T: Send>(_: impl FnOnce(&'static Client) -> T) {}
        check::<Client>();
        check_future(|client| client.get("key"));
        check_future(|client| client.get_many(["key"]));
        check_future(|client| client.set("key", "value", StoreOptions::new()));
        check_future(|client| client.stats());
    }

    #[test]
    fn keys_are_dealt_out_to_lines() {
        let keys = |n| (0..n).map(|n| format!("{n:0250}"));
        assert_eq!(lines(keys(0)).unwrap().len(), 0);
        assert_eq!(lines(keys(32)).unwrap().len(), 1);
        let three = lines(keys(70)).unwrap();
        assert_eq!(three.iter().map(|line| line.len()).collect::<Vec<_>>(), [32, 32, 6]);
        let all: Vec<_> = three.iter().flat_map(|line| line.iter()).collect();
        assert!(
            all.iter().zip(keys(70)).all(|(own, key)| own.as_key().as_bytes() == key.as_bytes())
        );
        assert!(lines(["good", "not good"]).unwrap_err().is_key());
    }
}
