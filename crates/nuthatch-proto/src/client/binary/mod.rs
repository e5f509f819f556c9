//! The client's end of a connection that speaks the binary protocol.
//!
//! ```
//! use nuthatch_proto::client::{BinaryCommand, BinaryConnection, Limits, Response};
//! use nuthatch_proto::types::{Cas, Key};
//!
//! let mut connection = BinaryConnection::new(Limits::default());
//! let get = |name: &'static str| BinaryCommand::Get {
//!     key: Key::new(name).expect("it is a word"),
//!     exptime: None,
//!     with_key: false,
//!     quiet: true,
//! };
//! connection.send(&get("apple"), "an apple")?;
//! connection.send(&get("pear"), "a pear")?;
//! connection.send(&BinaryCommand::Noop, "no more")?;
//!
//! // What a server says that has a pear and no apple.
//! let pear = [&[0x81, 9, 0, 0, 4, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 1][..], &[0; 7], &[5], &[0; 4], b"yellow"];
//! let noop = [&[0x81, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], &[0; 8]];
//! let input = [pear.concat(), noop.concat()].concat();
//! connection.recv_space()[..input.len()].copy_from_slice(&input);
//! connection.received(input.len());
//!
//! let answer = connection.poll()?.unwrap();
//! assert_eq!(answer.response, Response::Unsaid);
//! assert_eq!(answer.done(), Some("an apple"));
//! let answer = connection.poll()?.unwrap();
//! assert!(matches!(answer.response, Response::Value { data: b"yellow", .. }));
//! assert_eq!((answer.cas, answer.done()), (Cas(5), Some("a pear")));
//! assert_eq!(connection.poll()?.unwrap().done(), Some("no more"));
//! # Ok::<(), nuthatch_proto::Error>(())
//! ```

mod answer;
mod command;

use std::collections::VecDeque;

use nuthatch_types::Cas;

pub use command::BinaryCommand;

use self::answer::Read;
use super::buffers::{Inbox, Outbox};
use super::{Limits, Tag};
use crate::binary::{Opcode, Status};
use crate::error::Error;
use crate::response::Response;

/// The client's end of one connection, without the connection, in the binary protocol.
///
/// It is driven as [`Connection`](super::Connection) is: [`send`](Self::send) queues commands,
/// [`transmit`](Self::transmit) and [`sent`](Self::sent) move them out,
/// [`recv_space`](Self::recv_space) and [`received`](Self::received) move answers in, and
/// [`poll`](Self::poll) is called until it gives `None`. An error of `poll` is final.
///
/// Every request carries an opaque number of the connection's own, by which its answer finds it.
///
/// **Quiet batches.** A quiet command may be left without an answer; it is settled by the next
/// answer to a later command, and is then [`Response::Unsaid`]: a retrieval has missed, anything
/// else has succeeded. So a batch ends with a command that is always answered, mostly
/// [`BinaryCommand::Noop`].
///
/// What it says in the words of [`Response`]: a retrieval that has missed is [`Response::End`]; a
/// `flush` that is done is the line `OK`; the mechanisms of a login, its challenges and its success
/// are lines, told apart by [`BinaryAnswer::status`]; a number that was not counted because its CAS
/// number was another is [`Stored::Exists`](nuthatch_types::Stored::Exists).
#[derive(Debug)]
pub struct BinaryConnection<T> {
    limits: Limits,
    out: Outbox,
    recv: Inbox,
    pending: VecDeque<Pending<T>>,
    next_opaque: u32,
    /// How many requests at the front of `pending` are known to be [`Response::Unsaid`].
    n_unsaid: usize,
}

/// A request that has not been answered.
#[derive(Debug)]
struct Pending<T> {
    asked: Asked,
    tag: T,
}

/// What has to be known of a request to understand its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    opcode: Opcode,
    opaque: u32,
    /// It had a CAS number.
    compares: bool,
}

/// An answer, or a part of one, and whose it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct BinaryAnswer<'a, T> {
    /// What the server said, in the words that both protocols share.
    pub response: Response<'a>,
    /// The status, as it came. What was left unsaid has the status that was not worth saying:
    /// [`Status::NOT_FOUND`] of a retrieval, [`Status::OK`] of anything else.
    pub status: Status,
    /// The CAS number of the item that was found or stored; 0 if there is none.
    pub cas: Cas,
    /// Who asked.
    pub tag: Tag<'a, T>,
}

impl<T> BinaryAnswer<'_, T> {
    /// The tag, if the request is answered.
    pub fn done(self) -> Option<T> {
        match self.tag {
            Tag::Done(tag) => Some(tag),
            Tag::More(_) => None,
        }
    }
}

impl<T> BinaryConnection<T> {
    /// A connection on which nothing has been said yet.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            out: Outbox::new(),
            recv: Inbox::new(),
            pending: VecDeque::new(),
            next_opaque: 0,
            n_unsaid: 0,
        }
    }

    /// Queues a command.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] or [`Error::ValueUnsendable`] for what the protocol cannot carry; nothing is
    /// queued then.
    pub fn send(&mut self, command: &BinaryCommand<'_>, tag: T) -> Result<(), Error> {
        let opaque = self.next_opaque;
        let asked = command.append(&mut self.out.bytes, opaque)?;
        self.next_opaque = opaque.wrapping_add(1);
        self.pending.push_back(Pending { asked, tag });
        Ok(())
    }

    /// What is to be written.
    pub fn transmit(&self) -> &[u8] {
        self.out.transmit()
    }

    /// Takes note that the first `n` bytes of [`transmit`](Self::transmit) were written.
    pub fn sent(&mut self, n: usize) {
        self.out.sent(n);
    }

    /// How many requests have not been answered.
    pub fn n_pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing is to be sent and nobody waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.transmit().is_empty() && self.pending.is_empty()
    }

    /// The tags of the requests that have not been answered, in order.
    pub fn into_pending(self) -> impl Iterator<Item = T> {
        self.pending.into_iter().map(|pending| pending.tag)
    }

    /// Memory to read into, never empty.
    pub fn recv_space(&mut self) -> &mut [u8] {
        self.recv.space()
    }

    /// Takes note that `n` bytes were read into the beginning of
    /// [`recv_space`](Self::recv_space).
    pub fn received(&mut self, n: usize) {
        self.recv.received(n);
    }

    /// The next answer, or part of one; `None` if more input is needed.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfStep`] or [`Error::ValueTooLong`]. The connection is of no use then.
    pub fn poll(&mut self) -> Result<Option<BinaryAnswer<'_, T>>, Error> {
        if self.n_unsaid == 0 {
            let input = &self.recv.bytes[self.recv.start..self.recv.end];
            let Some(header) = answer::header(input, &self.limits)? else {
                return Ok(None);
            };
            // Only what is quiet may be passed over.
            let idx = self
                .pending
                .iter()
                .position(|pending| {
                    pending.asked.opaque == header.opaque || !pending.asked.opcode.quiet
                })
                .filter(|&idx| self.pending[idx].asked.opaque == header.opaque);
            self.n_unsaid = idx.ok_or_else(|| answer::out_of_step(input))?;
        }
        if self.n_unsaid > 0 {
            self.n_unsaid -= 1;
            let Some(Pending { asked, tag }) = self.pending.pop_front() else {
                unreachable!("what is unsaid was asked");
            };
            let is_miss = asked.opcode.verb.is_retrieval();
            return Ok(Some(BinaryAnswer {
                response: Response::Unsaid,
                status: if is_miss { Status::NOT_FOUND } else { Status::OK },
                cas: Cas(0),
                tag: Tag::Done(tag),
            }));
        }
        let input = &self.recv.bytes[self.recv.start..self.recv.end];
        let Some(asked) = self.pending.front().map(|pending| pending.asked) else {
            return Err(answer::out_of_step(input));
        };
        let Some(Read { response, status, cas, len, is_last }) =
            answer::read(asked, input, &self.limits)?
        else {
            return Ok(None);
        };
        self.recv.start += len;
        let tag = if is_last {
            self.pending.pop_front().map(|pending| Tag::Done(pending.tag))
        } else {
            self.pending.front_mut().map(|pending| Tag::More(&mut pending.tag))
        };
        let Some(tag) = tag else { unreachable!("the front has just been looked at") };
        Ok(Some(BinaryAnswer { response, status, cas, tag }))
    }
}

#[cfg(test)]
mod tests;
