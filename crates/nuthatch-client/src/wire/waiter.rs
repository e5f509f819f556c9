//! Who waits for an answer, and what has come of it so far.

use std::sync::Arc;

use bytes::Bytes;
use nuthatch_proto::MetaStatus;
use nuthatch_proto::client::{KeyLine, MetaResponse, Response, Tag};
use nuthatch_types::{Deleted, Key, Stored};

use crate::call::{Answer, Ask, Call, Reply};
use crate::error::{Cause, Error};
use crate::item::{Item, Stats};
use crate::meta::MetaAnswer;

/// Whose a command is, in the protocol crate's queue.
#[derive(Debug)]
pub(crate) enum Slot {
    Whole(Waiter),
    /// One key of a retrieval whose waiter comes later.
    Part {
        ask: Arc<Ask>,
        at: usize,
    },
    /// The connection's own: greetings.
    Own,
}

/// A caller.
#[derive(Debug)]
pub(crate) struct Waiter {
    ask: Arc<Ask>,
    answer: Answer,
    partial: Partial,
}

/// What a call that waits for its answer takes in the queue of its connection, beside what it asks.
const _: () = assert!(size_of::<Slot>() <= 96);

/// What has come so far.
#[derive(Debug)]
enum Partial {
    Nothing,
    Item(Item),
    Items(Found),
    Stats(Stats),
    Config(Bytes),
}

/// The items of a retrieval, each in its key's place.
#[derive(Debug)]
struct Found {
    items: Vec<Option<Item>>,
    /// Where the next item is looked for first.
    next: usize,
}

/// What came for the parts of a batch.
#[derive(Debug, Default)]
pub(super) struct Parts {
    items: Vec<(usize, Item)>,
    error: Option<Error>,
}

/// Hands an answer, or a part of one, to whoever it is for; says whether a call is answered by it.
///
/// # Errors
///
/// [`Cause::WrongKey`]: answers and calls do not belong together any more.
pub(super) fn deliver(
    tag: Tag<'_, Slot>,
    response: &Response<'_>,
    parts: &mut Parts,
) -> Result<bool, Cause> {
    match (tag, response) {
        (Tag::More(Slot::Whole(waiter)), _) => waiter.take(response)?,
        (Tag::Done(Slot::Whole(waiter)), Response::Noop) => {
            waiter.finish_parts(parts);
            return Ok(true);
        }
        (Tag::Done(Slot::Whole(waiter)), _) => {
            // A batch whose end was refused has parts too, and they are nobody else's.
            *parts = Parts::default();
            waiter.finish(response)?;
            return Ok(true);
        }
        (Tag::Done(Slot::Part { ask, at }), _) => parts.take(&ask, at, response)?,
        (Tag::More(_) | Tag::Done(Slot::Own), _) => {}
    }
    Ok(false)
}

impl Waiter {
    pub(super) fn new(Call { ask, answer }: Call) -> Self {
        let partial = match &*ask {
            Ask::GetMany { keys, .. } => Partial::Items(Found::new(keys.len())),
            Ask::Stats(_) => Partial::Stats(Stats::default()),
            _ => Partial::Nothing,
        };
        Self { ask, answer, partial }
    }

    pub(super) fn ask(&self) -> &Arc<Ask> {
        &self.ask
    }

    /// Tells of a failure.
    pub(crate) fn fail(self, error: Error) {
        // Who has gone need not be told.
        let _ = self.answer.send(Err(error));
    }

    fn done(self, reply: Reply) {
        let _ = self.answer.send(Ok(reply));
    }

    /// Takes a part of the answer; more follows.
    ///
    /// # Errors
    ///
    /// [`Cause::WrongKey`]: answers and calls do not belong together any more.
    fn take(&mut self, response: &Response<'_>) -> Result<(), Cause> {
        let is_gone = self.answer.is_closed();
        match (&mut self.partial, &*self.ask, *response) {
            (partial, Ask::Get { key, .. }, Response::Value { key: own, flags, cas, data }) => {
                check_key(key.as_key(), own)?;
                if !is_gone {
                    *partial = Partial::Item(Item::new(data, flags, cas));
                }
            }
            (
                Partial::Items(found),
                Ask::GetMany { keys, .. },
                Response::Value { key, flags, cas, data },
            ) => {
                let at = found.place(keys, key).ok_or_else(|| wrong_key(key))?;
                if !is_gone {
                    found.items[at] = Some(Item::new(data, flags, cas));
                }
            }
            (Partial::Stats(stats), _, Response::Stat { name, value }) => {
                stats.push(name, value, !is_gone)?;
            }
            (Partial::Stats(stats), _, Response::Line(line)) => stats.push_line(line, !is_gone)?,
            (partial, Ask::Config(_), Response::Config { data, .. }) => {
                *partial = Partial::Config(Bytes::copy_from_slice(data));
            }
            // Other answers have no parts.
            _ => {}
        }
        Ok(())
    }

    /// Takes what came for the parts before the end.
    fn finish_parts(mut self, parts: &mut Parts) {
        let Parts { items, error } = std::mem::take(parts);
        if let Some(error) = error {
            return self.fail(error);
        }
        let Partial::Items(found) = &mut self.partial else {
            return self.fail(Error::unexpected(b"parts of what has none"));
        };
        for (at, item) in items {
            found.items[at] = Some(item);
        }
        let items = std::mem::take(&mut found.items);
        self.done(Reply::Items(items));
    }

    /// Takes the end of the answer.
    ///
    /// # Errors
    ///
    /// [`Cause::WrongKey`]: answers and calls do not belong together any more. The caller has been
    /// told.
    fn finish(mut self, response: &Response<'_>) -> Result<(), Cause> {
        // An item that is the whole answer is taken like any other.
        if matches!(response, Response::Value { .. } | Response::Config { .. })
            && let Err(cause) = self.take(response)
        {
            return Err(self.mismatch(cause));
        }
        if let (Ask::Get { key, .. }, Response::Meta(meta)) = (&*self.ask, response) {
            // What is asked for most, in one look at the line.
            if let (Some(own), flags, cas) = meta.item()
                && let (MetaStatus::Done, Some(data)) = (meta.status, meta.value)
                && own == key.as_key().as_bytes()
            {
                let item = Item::new(data, flags.unwrap_or_default(), cas);
                self.done(Reply::Item(Some(item)));
                return Ok(());
            }
            if let Some(cause) = wrong_meta_key(key.as_key(), meta) {
                return Err(self.mismatch(cause));
            }
        }
        let partial = std::mem::replace(&mut self.partial, Partial::Nothing);
        let reply = match (&*self.ask, partial, response) {
            (_, _, Response::Error(reply)) => Err(Error::refused(reply)),
            (_, Partial::Items(found), Response::End) => Ok(Reply::Items(found.items)),
            (_, Partial::Stats(stats), Response::End | Response::Line(_)) => {
                // `stats reset` and `stats detail on` are answered with a word instead of a list.
                Ok(Reply::Stats(stats))
            }
            (Ask::Config(_), Partial::Config(payload), Response::End | Response::Config { .. }) => {
                Ok(Reply::Config(Some(payload)))
            }
            (Ask::Config(_), _, Response::End) => Ok(Reply::Config(None)),
            (Ask::Get { .. }, Partial::Item(item), Response::End | Response::Value { .. }) => {
                Ok(Reply::Item(Some(item)))
            }
            (Ask::Get { .. }, _, Response::End | Response::Value { .. }) => Ok(Reply::Item(None)),
            (_, _, Response::Stored(stored)) => Ok(Reply::Stored(*stored)),
            (_, _, Response::Deleted(deleted)) => Ok(Reply::Deleted(*deleted)),
            (_, _, Response::Touched(touched)) => Ok(Reply::Touched(*touched)),
            (_, _, Response::Number(number)) => Ok(Reply::Number(*number)),
            (_, _, Response::Debug(facts)) => Ok(Reply::Debug(facts.map(text))),
            (_, _, Response::Version(version)) => Ok(Reply::Version(text(version))),
            (_, _, Response::Line(b"OK")) => Ok(Reply::Done),
            (_, _, Response::Line(line)) => Err(Error::unexpected(line)),
            (ask, _, Response::Meta(meta)) => meta_reply(ask, meta),
            // The connection matches answers with commands, so that no other pair occurs.
            (_, _, response) => Err(Error::unexpected(format!("{response:?}").as_bytes())),
        };
        let _ = self.answer.send(reply);
        Ok(())
    }

    fn mismatch(self, cause: Cause) -> Cause {
        if let Cause::WrongKey { key } = &cause {
            let cause = Arc::new(Cause::WrongKey { key: key.clone() });
            self.fail(Error::culprit(&cause));
        }
        cause
    }
}

/// What a meta command's answer means to who asked for something that it was used for.
fn meta_reply(ask: &Ask, meta: &MetaResponse<'_>) -> Result<Reply, Error> {
    use MetaStatus::{Done, Exists, Miss, NotFound, NotStored};
    let unexpected = || Error::unexpected(format!("{:?}", meta.status).as_bytes());
    Ok(match (ask, meta.status) {
        (Ask::Meta(_), _) => Reply::Meta(MetaAnswer::read(meta)),
        (Ask::Get { .. }, Done) => Reply::Item(Some(meta_item(meta).ok_or_else(unexpected)?)),
        (Ask::Get { .. }, Miss) => Reply::Item(None),
        (Ask::Store(_), Done) => Reply::Stored(Stored::Stored),
        (Ask::Store(_), NotStored) => Reply::Stored(Stored::NotStored),
        (Ask::Store(_), Exists) => Reply::Stored(Stored::Exists),
        (Ask::Store(_), NotFound) => Reply::Stored(Stored::NotFound),
        (Ask::Delete { .. }, Done) => Reply::Deleted(Deleted::Deleted),
        (Ask::Delete { .. }, NotFound) => Reply::Deleted(Deleted::NotFound),
        (Ask::Delete { .. }, Exists) => Reply::Deleted(Deleted::Exists),
        (Ask::Touch { .. }, Done) => Reply::Touched(true),
        (Ask::Touch { .. }, Miss | NotFound) => Reply::Touched(false),
        (Ask::Arith { .. }, Done) => {
            let number = meta.value.and_then(number).ok_or_else(unexpected)?;
            Reply::Number(Some(number))
        }
        (Ask::Arith { .. }, NotFound) => Reply::Number(None),
        _ => return Err(unexpected()),
    })
}

fn meta_item(meta: &MetaResponse<'_>) -> Option<Item> {
    let (_, flags, cas) = meta.item();
    Some(Item::new(meta.value?, flags.unwrap_or_default(), cas))
}

/// A number as counters have it.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim_end().parse().ok()
}

impl Parts {
    /// Takes the answer to one key of a batch.
    ///
    /// # Errors
    ///
    /// [`Cause::WrongKey`].
    fn take(&mut self, ask: &Ask, at: usize, response: &Response<'_>) -> Result<(), Cause> {
        let Ask::GetMany { keys, .. } = ask else { return Ok(()) };
        match *response {
            Response::Value { key, flags, cas, data } => {
                check_key(keys.key(at), key)?;
                self.items.push((at, Item::new(data, flags, cas)));
            }
            Response::Meta(meta) => {
                if let Some(cause) = wrong_meta_key(keys.key(at), &meta) {
                    return Err(cause);
                }
                if let Some(item) = meta_item(&meta) {
                    self.items.push((at, item));
                }
            }
            Response::Error(reply) if self.error.is_none() => {
                self.error = Some(Error::refused(&reply));
            }
            // A miss that was left out or said.
            _ => {}
        }
        Ok(())
    }
}

impl Found {
    fn new(n_keys: usize) -> Self {
        Self { items: vec![None; n_keys], next: 0 }
    }

    /// The place of an item that has come. Servers answer in the order of the keys, and twice for
    /// a key that was asked for twice; proxies answer in any order.
    fn place(&mut self, keys: &KeyLine, key: &[u8]) -> Option<usize> {
        let is_it = |at: &usize| self.items[*at].is_none() && keys.key(*at).as_bytes() == key;
        let at = (self.next..keys.len()).find(is_it).or_else(|| (0..self.next).find(is_it))?;
        self.next = at + 1;
        Some(at)
    }
}

fn check_key(key: Key<'_>, own: &[u8]) -> Result<(), Cause> {
    if own == key.as_bytes() { Ok(()) } else { Err(wrong_key(own)) }
}

/// The key of a hit is always asked for.
fn wrong_meta_key(key: Key<'_>, meta: &MetaResponse<'_>) -> Option<Cause> {
    if meta.status != MetaStatus::Done {
        return None;
    }
    let key = key.as_bytes();
    let own = meta.argument(b'k').unwrap_or_default();
    let is_it = own == key || (meta.has(b'b') && meta.key().as_deref() == Some(key));
    (!is_it).then(|| wrong_key(own))
}

fn wrong_key(key: &[u8]) -> Cause {
    Cause::WrongKey { key: key.escape_ascii().to_string() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use nuthatch_types::ItemFlags;

    use super::*;

    #[track_caller]
    fn check(keys: &[&str], answers: &[&str], places: &[Option<usize>]) {
        let mut line = KeyLine::new();
        keys.iter().for_each(|key| line.push(key).unwrap());
        let keys = line;
        let mut found = Found::new(keys.len());
        let got: Vec<_> = answers
            .iter()
            .map(|key| {
                let at = found.place(&keys, key.as_bytes());
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
