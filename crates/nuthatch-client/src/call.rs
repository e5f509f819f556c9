//! A call on its way: what is asked, and who waits for the answer.
//!
//! The connection encodes an [`Ask`] and keeps the [`Waiter`] until the answer has come. Whether
//! anybody still waits is looked at before anything is sent or copied; an answer that nobody waits
//! for is read all the same, for the next one lies behind it.

use std::sync::Arc;

use bytes::Bytes;
use nuthatch_proto::client::{Command, Connection, Response};
use nuthatch_types::{Arith, Cas, Deleted, ItemFlags, Key, KeyBuf, StoreMode, Stored};
use tokio::sync::oneshot;

use crate::error::{Cause, Error};
use crate::item::{Item, Stats};

/// Where an answer goes. The other end is gone if the call was dropped.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What is asked and who asks, as it stands in the queue.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) ask: Ask,
    pub(crate) waiter: Waiter,
}

/// A command that owns what it is made of.
#[derive(Debug)]
pub(crate) enum Ask {
    Get(KeyBuf),
    GetMany(Arc<[KeyBuf]>),
    Store(Store),
    Delete(KeyBuf),
    Touch { key: KeyBuf, exptime: i32 },
    Arith { direction: Arith, key: KeyBuf, delta: u64 },
    FlushAll,
    Version,
    Stats(Option<String>),
}

/// A store command.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) mode: StoreMode,
    pub(crate) key: KeyBuf,
    pub(crate) flags: ItemFlags,
    pub(crate) exptime: i32,
    pub(crate) cas: Option<Cas>,
    pub(crate) value: Bytes,
}

/// Who waits, and what has come so far.
#[derive(Debug)]
pub(crate) enum Waiter {
    Item {
        key: KeyBuf,
        item: Option<Item>,
        answer: Answer<Option<Item>>,
    },
    Items {
        found: Found,
        answer: Answer<Vec<Option<Item>>>,
    },
    Stored(Answer<Stored>),
    Deleted(Answer<Deleted>),
    Touched(Answer<bool>),
    Number(Answer<Option<u64>>),
    /// For commands that are answered `OK`.
    Done(Answer<()>),
    Version(Answer<String>),
    Stats {
        stats: Stats,
        answer: Answer<Stats>,
    },
}

/// The items of a retrieval, each in its key's place.
#[derive(Debug)]
pub(crate) struct Found {
    keys: Arc<[KeyBuf]>,
    items: Vec<Option<Item>>,
    /// Where the next item is looked for first.
    next: usize,
}

impl Call {
    /// Encodes the command, unless nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// That the protocol cannot carry it. Callers look first, so that this is a bug; the
    /// connection ends then, as the call is lost and must not wait for ever.
    pub(crate) fn send(self, connection: &mut Connection<Waiter>) -> Result<(), Cause> {
        let Self { ask, waiter } = self;
        if waiter.is_gone() {
            return Ok(());
        }
        match &ask {
            Ask::Get(key) => connection.send(&get(&[key.as_key()]), waiter),
            Ask::GetMany(keys) => {
                let keys: Vec<_> = keys.iter().map(KeyBuf::as_key).collect();
                connection.send(&get(&keys), waiter)
            }
            ask => connection.send(&ask.command(), waiter),
        }?;
        Ok(())
    }
}

/// CAS numbers are always asked for: they cost twenty bytes at most.
fn get<'a>(keys: &'a [Key<'a>]) -> Command<'a> {
    Command::Get { keys, with_cas: true, exptime: None }
}

impl Ask {
    fn command(&self) -> Command<'_> {
        // Every command is answered: an error line for one with `noreply` could not be told from
        // the answer to the next.
        let noreply = false;
        match self {
            Self::Get(_) | Self::GetMany(_) => unreachable!("retrievals borrow a list of keys"),
            Self::Store(Store { mode, key, flags, exptime, cas, value }) => Command::Store {
                mode: *mode,
                key: key.as_key(),
                flags: *flags,
                exptime: *exptime,
                cas: *cas,
                value,
                noreply,
            },
            Self::Delete(key) => Command::Delete { key: key.as_key(), noreply },
            Self::Touch { key, exptime } => {
                Command::Touch { key: key.as_key(), exptime: *exptime, noreply }
            }
            Self::Arith { direction, key, delta } => {
                Command::Arith { direction: *direction, key: key.as_key(), delta: *delta, noreply }
            }
            Self::FlushAll => Command::FlushAll { delay: None, noreply },
            Self::Version => Command::Version,
            Self::Stats(what) => Command::Stats(what.as_deref()),
        }
    }
}

impl Waiter {
    /// Whether the call was dropped.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Item { answer, .. } => answer.is_closed(),
            Self::Items { answer, .. } => answer.is_closed(),
            Self::Stored(answer) => answer.is_closed(),
            Self::Deleted(answer) => answer.is_closed(),
            Self::Touched(answer) => answer.is_closed(),
            Self::Number(answer) => answer.is_closed(),
            Self::Done(answer) => answer.is_closed(),
            Self::Version(answer) => answer.is_closed(),
            Self::Stats { answer, .. } => answer.is_closed(),
        }
    }

    /// Tells of a failure.
    pub(crate) fn fail(self, error: Error) {
        // Who has gone need not be told.
        match self {
            Self::Item { answer, .. } => drop(answer.send(Err(error))),
            Self::Items { answer, .. } => drop(answer.send(Err(error))),
            Self::Stored(answer) => drop(answer.send(Err(error))),
            Self::Deleted(answer) => drop(answer.send(Err(error))),
            Self::Touched(answer) => drop(answer.send(Err(error))),
            Self::Number(answer) => drop(answer.send(Err(error))),
            Self::Done(answer) => drop(answer.send(Err(error))),
            Self::Version(answer) => drop(answer.send(Err(error))),
            Self::Stats { answer, .. } => drop(answer.send(Err(error))),
        }
    }

    /// Takes a part of the answer; more follows.
    ///
    /// # Errors
    ///
    /// [`Cause::WrongKey`]: answers and calls do not belong together any more.
    pub(crate) fn take(&mut self, response: &Response<'_>) -> Result<(), Cause> {
        let is_gone = self.is_gone();
        match (self, *response) {
            (Self::Item { key, item, .. }, Response::Value { key: own, flags, cas, data }) => {
                if own != key.as_key().as_bytes() {
                    return Err(wrong_key(own));
                }
                if !is_gone {
                    *item = Some(Item::new(data, flags, cas));
                }
            }
            (Self::Items { found, .. }, Response::Value { key, flags, cas, data }) => {
                let at = found.place(key).ok_or_else(|| wrong_key(key))?;
                if !is_gone {
                    found.items[at] = Some(Item::new(data, flags, cas));
                }
            }
            (Self::Stats { stats, .. }, Response::Stat { name, value }) => stats.push(name, value),
            (Self::Stats { stats, .. }, Response::Line(line)) => stats.push_line(line),
            // Other answers have no parts.
            _ => {}
        }
        Ok(())
    }

    /// Takes the end of the answer.
    pub(crate) fn finish(self, response: &Response<'_>) {
        match (self, *response) {
            (waiter, Response::Error(reply)) => waiter.fail(Error::refused(&reply)),
            (Self::Item { item, answer, .. }, Response::End) => drop(answer.send(Ok(item))),
            (Self::Items { found, answer }, Response::End) => drop(answer.send(Ok(found.items))),
            (Self::Stored(answer), Response::Stored(stored)) => drop(answer.send(Ok(stored))),
            (Self::Deleted(answer), Response::Deleted(deleted)) => drop(answer.send(Ok(deleted))),
            (Self::Touched(answer), Response::Touched(touched)) => drop(answer.send(Ok(touched))),
            (Self::Number(answer), Response::Number(number)) => drop(answer.send(Ok(number))),
            (Self::Done(answer), Response::Line(b"OK")) => drop(answer.send(Ok(()))),
            (Self::Version(answer), Response::Version(version)) => {
                drop(answer.send(Ok(String::from_utf8_lossy(version).into_owned())));
            }
            // `stats reset` and `stats detail on` are answered with a word instead of a list.
            (Self::Stats { stats, answer }, Response::End | Response::Line(_)) => {
                drop(answer.send(Ok(stats)));
            }
            (waiter, Response::Line(line)) => waiter.fail(Error::unexpected(line)),
            // The connection matches answers with commands, so that no other pair occurs.
            (waiter, response) => {
                waiter.fail(Error::unexpected(format!("{response:?}").as_bytes()));
            }
        }
    }
}

impl Found {
    pub(crate) fn new(keys: Arc<[KeyBuf]>) -> Self {
        Self { items: vec![None; keys.len()], keys, next: 0 }
    }

    /// The place of an item that has come. Servers answer in the order of the keys, and twice for
    /// a key that was asked for twice; proxies answer in any order.
    fn place(&mut self, key: &[u8]) -> Option<usize> {
        let is_it =
            |at: &usize| self.items[*at].is_none() && self.keys[*at].as_key().as_bytes() == key;
        let at = (self.next..self.keys.len()).find(is_it).or_else(|| (0..self.next).find(is_it))?;
        self.next = at + 1;
        Some(at)
    }
}

fn wrong_key(key: &[u8]) -> Cause {
    Cause::WrongKey { key: key.escape_ascii().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &[&str]) -> Found {
        Found::new(keys.iter().map(|key| Key::new(key).unwrap().to_buf()).collect())
    }

    #[track_caller]
    fn check(keys: &[&str], answers: &[&str], places: &[Option<usize>]) {
        let mut found = found(keys);
        let got: Vec<_> = answers
            .iter()
            .map(|key| {
                let at = found.place(key.as_bytes());
                if let Some(at) = at {
                    found.items[at] = Some(Item::new(b"", ItemFlags(0), None));
                }
                at
            })
            .collect();
        assert_eq!(got, places);
    }

    #[test]
    fn items_find_their_places() {
        check(&["a", "b", "c"], &["a", "c"], &[Some(0), Some(2)]);
        check(&["a", "b", "a"], &["a", "a"], &[Some(0), Some(2)]);
        check(&["a", "b", "c"], &["c", "a", "b"], &[Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn an_item_that_was_not_asked_for_has_no_place() {
        check(&["a", "b"], &["x"], &[None]);
        check(&["a", "b"], &["a", "a"], &[Some(0), None]);
    }
}
